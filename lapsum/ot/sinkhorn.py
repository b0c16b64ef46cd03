"""The plan between entries and targets on a line: its solution, and means over it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from .._backends.transport import Plan, Points, Transport
from .._backends.types import Floats, Indices, any_in_lane
from .compression import Compression, compressed

# Points of a side that have less than this, all together, cannot be told from absent ones.  It
# stands for zero where derivatives divide by weights: their quotients are the limit.
ABSENT = 1e-17

_MOST_ROUNDS = 12  # of splitting cells


class Side:
    """Entries, or targets: their points in flat ascending lanes, and the nodes that stand for them.

    Parameters
    ----------
    at, weights : array, shape (lanes, n)
    """

    def __init__(self, at: Floats, weights: Floats) -> None:
        self.shape = lanes, n = at.shape
        starts: Indices = np.arange(lanes + 1, dtype=np.intp) * n
        self.points = Points(at.reshape(-1), np.ascontiguousarray(weights).reshape(-1), starts)
        floor = ABSENT / max(n, 1)
        self.some = self.points._replace(weights=np.maximum(self.points.weights, floor))
        self.light = bool((self.points.weights <= ABSENT).any())
        self.compression: Compression | None = None
        self.first_of_ties = _first_of_ties(at)

    @property
    def nodes(self) -> Points:
        """What stands for the points."""
        return self.some if self.compression is None else self.compression.nodes

    @property
    def is_solved_for(self) -> bool:
        """Whether its points are all what a plan is solved for, and not nodes or the heavy ones."""
        return self.compression is None and not self.light

    @property
    def heavy(self) -> Points:
        """The nodes but those that are as good as absent, to which Newton steps find no way."""
        if not self.light:
            return self.nodes
        at, weights, starts = self.nodes
        heavy = weights > ABSENT
        before = np.concatenate([[0], np.cumsum(heavy)]).astype(np.intp)
        return Points(at[heavy], weights[heavy], before[starts])

    def onto_heavy(self, values: Floats) -> Floats:
        """Return flat values of the points as the heavy nodes have them in sums."""
        if not self.light:
            return self.onto_nodes(values)
        # Of no weight, but they may be of any size.
        values = self.onto_nodes(np.where(self.points.weights > ABSENT, values, 0.0))
        return values[self.nodes.weights > ABSENT]

    def onto_nodes(self, values: Floats) -> Floats:
        """Return flat values of the points as the nodes have them in sums."""
        if self.compression is None:
            return values
        weighed = self.compression.onto_nodes(self.some.weights * values)
        return weighed / self.compression.nodes.weights


class Coupling:
    """Entropic optimal transport of entries to targets, for lanes of equal lengths.

    Parameters
    ----------
    kernels : Transport
    entries, entry_weights : array, shape (lanes, n)
        Finite, in any order; weights add up to one.
    targets, target_weights : array, shape (lanes, m)
        Finite, ascending; weights add up to one.
    epsilon : array, shape (lanes,)
    whole_targets : bool, optional
        Whether targets are never compressed, so that they are columns of `plan(True)` themselves.

    Notes
    -----
    The plan is solved for in one number a column, and its rows follow; columns are the fewer of the
    two.  Long sides are solved for between nodes.  Whatever is asked for all points of a side comes
    from a plan that has them as rows: that one, or its mirror image.
    """

    def __init__(
        self,
        kernels: Transport,
        entries: Floats,
        entry_weights: Floats,
        targets: Floats,
        target_weights: Floats,
        epsilon: Floats,
        whole_targets: bool = False,
    ) -> None:
        self.kernels = kernels
        self.epsilon = epsilon
        self.order = np.argsort(entries, axis=-1, kind="stable")
        self.entries, self.targets = np.take_along_axis(entries, self.order, axis=-1), targets
        self.of_entries = Side(self.entries, np.take_along_axis(entry_weights, self.order, axis=-1))
        self.of_targets = Side(targets, target_weights)
        self.empty = not (entries.size and targets.size)
        self.entries_are_rows = entries.shape[1] >= targets.shape[1]
        if not self.empty:
            self._solve(whole_targets)

    def side(self, entries: bool) -> Side:
        """Return the entries, or the targets."""
        return self.of_entries if entries else self.of_targets

    def _solve(self, whole_targets: bool) -> None:
        """Find the plan, between nodes where lanes are long, and cells until these resolve it."""
        rows, columns = self.side(self.entries_are_rows), self.side(not self.entries_are_rows)
        rate = np.minimum(2.0 / self.epsilon, 1e300)
        rows.compression, columns.compression = compressed(
            self.kernels, rows.some, columns.some, self.epsilon
        )
        if whole_targets:
            self.of_targets.compression = None
        for _ in range(_MOST_ROUNDS):
            x, y = rows.heavy, columns.heavy
            edge, shift = self.kernels.solve(x, y, rate)
            self.solved = Plan(x, x, y, edge, shift, rate)
            if not self._refine(rows, columns):
                return
        raise RuntimeError(
            f"the transport did not converge: after {_MOST_ROUNDS} rounds of splitting, cells are "
            "still too wide"
        )

    def _refine(self, rows: Side, columns: Side) -> bool:
        """Split the cells that do not resolve the plan; return whether there were any."""
        if rows.compression is None and columns.compression is None:
            return False
        split = False
        plans = self.solved, self._mirror()
        for plan, cells in zip(plans, (rows.compression, columns.compression), strict=True):
            if cells is not None:
                seen = self.kernels.deviations(plan._replace(rows=cells.probes()))
                split |= cells.refine(*seen)
        return split

    def _mirror(self) -> Plan:
        """Return the solved plan with rows as columns."""
        rows, columns, rate = self.solved.rows, self.solved.columns, self.solved.rate
        edge, shift = self.kernels.mirror(self.solved)
        return Plan(columns, columns, rows, edge, shift, rate)

    @cached_property
    def _plan_of_rows(self) -> Plan:
        return self.solved._replace(rows=self.side(self.entries_are_rows).points)

    @cached_property
    def _plan_of_columns(self) -> Plan:
        return self._mirror()._replace(rows=self.side(not self.entries_are_rows).points)

    def plan(self, entries: bool) -> Plan:
        """Return the plan with entries, or targets, as rows, and heavy nodes of the others."""
        return self._plan_of_rows if entries == self.entries_are_rows else self._plan_of_columns

    def plan_of_all(self, entries: bool) -> Plan:
        """Return the same with all nodes of the others, for derivatives."""
        others = self.side(not entries)
        return self._onto(entries, others.nodes) if others.light else self.plan(entries)

    def _onto(self, entries: bool, others: Points) -> Plan:
        """Return the plan with any points of the others as columns."""
        edge, shift = self.kernels.mirror(self.plan(not entries)._replace(rows=others))
        return self.plan(entries)._replace(columns=others, edge=edge, shift=shift)

    def columns_are_points(self, entries: bool) -> bool:
        """Return whether the entries, or the targets, are the columns of the solved plan."""
        return entries != self.entries_are_rows and self.side(entries).is_solved_for

    def sort(self, values: Floats) -> Floats:
        """Return lanes of entries in ascending order."""
        return np.take_along_axis(values, self.order, axis=-1)

    def unsort(self, values: Floats) -> Floats:
        """Undo `sort`."""
        out = np.empty_like(values)
        np.put_along_axis(out, self.order, values, axis=-1)
        return out

    def mean(self, at_entries: bool, values: Floats) -> Floats:
        """Return, for each entry, the mean of values of the targets, or the other way round.

        Entries are in ascending order.
        """
        side = self.side(at_entries)
        if self.empty:
            return np.full(side.shape, np.nan)
        flat = np.ascontiguousarray(values).reshape(-1)
        mean = self.flat_mean(at_entries, flat).reshape(side.shape)
        return _level(mean, side.first_of_ties)

    def flat_mean(self, at_entries: bool, values: Floats) -> Floats:
        """Return the same of flat values, where ties differ in rounding."""
        if self.columns_are_points(at_entries):
            _, mean = self.kernels.products(self.plan(not at_entries), v=values)
        else:
            s = self.side(not at_entries).onto_heavy(values)
            mean, _ = self.kernels.products(self.plan(at_entries), s=s)
        assert mean is not None
        return mean

    def matrix(self) -> Floats:
        """Return the plan, each row divided by its weight: (lanes, n, m), in the caller's order."""
        (lanes, n), (_, m) = self.of_entries.shape, self.of_targets.shape
        if self.empty:
            return np.zeros((lanes, n, m))
        if self.columns_are_points(False):
            matrix = self.kernels.matrix(self.plan(True))
        elif self.columns_are_points(True):
            a, b = self.of_entries.some.weights, self.of_targets.points.weights
            matrix = self.kernels.matrix(self.plan(False)) * b.reshape(lanes, m, 1)
            matrix = np.swapaxes(matrix, 1, 2) / a.reshape(lanes, n, 1)
        else:  # with all points as columns, too
            targets = self.of_targets
            matrix = self.kernels.matrix(self._onto(True, targets.some))
            # Those of no weight have no mass.
            matrix *= (targets.points.weights / targets.some.weights).reshape(lanes, 1, m)
        out = np.empty_like(matrix)
        np.put_along_axis(out, self.order[:, :, None], matrix, axis=1)
        return out

    def potentials(self) -> tuple[Floats, Floats]:
        """Return f, of the entries in ascending order, and g, up to a constant between them."""
        shapes = self.of_entries.shape, self.of_targets.shape
        if self.empty:
            return np.zeros(shapes[0]), np.zeros(shapes[1])
        lanes = len(self.epsilon)
        one, other = self.plan(True), self.plan(False)
        f = self._row_potentials(one, np.zeros(lanes))
        # The other way round, beginning with the first node of the entries.
        starts = one.nodes.starts
        g = self._row_potentials(
            other, self._row_potentials(one._replace(rows=one.nodes), np.zeros(lanes))[starts[:-1]]
        )
        return f.reshape(shapes[0]), g.reshape(shapes[1])

    def _row_potentials(self, p: Plan, first: Floats) -> Floats:
        """Return the potentials of rows, from those of the first columns."""
        y, starts = p.columns.at, p.columns.starts
        lane = np.repeat(np.arange(len(first)), np.diff(starts))
        g: Floats = np.zeros_like(y)
        g[1:] = np.diff(y) * (y[1:] + y[:-1] - 2.0 * p.edge[:-1])
        g[1:] += self.epsilon[lane[1:]] * p.shift[:-1]
        g[starts[:-1]] = first
        g = np.concatenate([np.cumsum(part) for part in np.split(g, starts[1:-1])])
        logs, top = self.kernels.row_sums(p)
        row_lane = np.repeat(np.arange(len(first)), np.diff(p.rows.starts))
        at = top + starts[row_lane]
        f: Floats = (p.rows.at - y[at]) ** 2 - g[at] - self.epsilon[row_lane] * logs
        return f


class Couplings:
    """Couplings of the lanes of several kinds, as one.

    Parameters
    ----------
    parts : list of (array of int, Coupling)
        The lanes of each kind, all of them together.
    """

    def __init__(self, parts: list[tuple[Indices, Coupling]]) -> None:
        self.parts = parts

    def join(self, parts: Sequence[Floats]) -> Floats:
        """Return what belongs to all lanes from what belongs to those of each kind."""
        out = np.empty((sum(len(part) for part in parts), *parts[0].shape[1:]))
        for (lanes, _), part in zip(self.parts, parts, strict=True):
            out[lanes] = part
        return out

    def sort(self, values: Floats) -> Floats:
        """Return lanes of entries in ascending order."""
        return self.join([c.sort(values[lanes]) for lanes, c in self.parts])

    def unsort(self, values: Floats) -> Floats:
        """Undo `sort`."""
        return self.join([c.unsort(values[lanes]) for lanes, c in self.parts])

    def mean(self, at_entries: bool, values: Floats) -> Floats:
        """Return means as `Coupling.mean` does."""
        return self.join([c.mean(at_entries, values[lanes]) for lanes, c in self.parts])


def coupled(
    kernels: Transport,
    entries: Floats,
    entry_weights: Floats,
    targets: Floats,
    target_weights: Floats,
    epsilon: Floats,
) -> Coupling | Couplings:
    """Return the coupling of some lanes, for which no lane goes another way due to the others."""
    light_entries, light_targets = (
        any_in_lane(weights <= ABSENT) for weights in (entry_weights, target_weights)
    )
    kind = 2 * light_entries + light_targets

    def of(lanes: slice | Indices) -> Coupling:
        return Coupling(
            kernels,
            entries[lanes],
            entry_weights[lanes],
            targets[lanes],
            target_weights[lanes],
            epsilon[lanes],
        )

    kinds = [np.flatnonzero(kind == one) for one in np.unique(kind)]
    if len(kinds) <= 1:
        return of(slice(None))
    return Couplings([(lanes, of(lanes)) for lanes in kinds])


def _first_of_ties(x: Floats) -> Indices | None:
    """Return, for each element of ascending lanes, the first that equals it; None without ties."""
    tied = x[:, 1:] == x[:, :-1]
    if not tied.any():
        return None
    at = np.where(tied, 0, np.arange(1, x.shape[1]))
    start = np.zeros((len(x), 1), at.dtype)
    return np.maximum.accumulate(np.concatenate([start, at], axis=-1), axis=-1)


def _level(values: Floats, first: Indices | None) -> Floats:
    """Return values, those of ties as that of the first: they differ in rounding alone."""
    return values if first is None else np.take_along_axis(values, first, axis=-1)
