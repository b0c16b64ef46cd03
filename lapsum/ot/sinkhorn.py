"""The plan between entries and targets on a line: its solution, and means over it."""

from __future__ import annotations

import numpy as np

from .._backends.numpy.transport import Plan, Points, Transport
from .._backends.types import Floats, Indices
from .compression import INTERPOLATED, SUMMED, Compression, compressed

# Stands for a weight of zero where a plan divides by weights: what has it influences nothing else,
# and its own quotients are the limit.
ABSENT = 1e-150

_MOST_ROUNDS = 12  # of splitting cells


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
    targets_are_fixed : bool, optional
        Whether no derivatives in targets and their weights will be asked for, so that long lanes of
        them may be compressed.  Entries always may.
    at_entries : bool, optional
        Whether means are taken at entries alone.

    Notes
    -----
    The plan is solved for in one number a column, and its rows follow; columns are the fewer of the
    two.  Both ways, a mean over the plan is one over its rows or one over its columns.
    """

    def __init__(
        self,
        kernels: Transport,
        entries: Floats,
        entry_weights: Floats,
        targets: Floats,
        target_weights: Floats,
        epsilon: Floats,
        *,
        targets_are_fixed: bool = False,
        at_entries: bool = False,
    ) -> None:
        self.kernels = kernels
        self.epsilon = epsilon
        self.shape_of_entries, self.shape_of_targets = entries.shape, targets.shape
        self.order = np.argsort(entries, axis=-1, kind="stable")
        self.entries, self.targets = np.take_along_axis(entries, self.order, axis=-1), targets
        self.entry_weights = np.take_along_axis(entry_weights, self.order, axis=-1)
        self.target_weights = target_weights
        self.first_of_ties = _first_of_ties(self.entries), _first_of_ties(targets)
        self.empty = not (entries.size and targets.size)
        self.entries_are_rows = entries.shape[1] >= targets.shape[1]
        rows = _points(self.entries, self.entry_weights)
        columns = _points(targets, target_weights)
        if not self.entries_are_rows:
            rows, columns = columns, rows
        columns = columns._replace(weights=np.maximum(columns.weights, ABSENT))
        self.columns = columns
        self.column_nodes: Compression | None = None
        rate = np.minimum(2.0 / epsilon, 1e300)
        nothing = np.zeros(0)
        self.plan = Plan(rows, rows, columns, nothing, nothing, rate)
        if not self.empty:
            self._solve(targets_are_fixed, INTERPOLATED if not at_entries else SUMMED)

    def _solve(self, targets_are_fixed: bool, resolved: float) -> None:
        """Find the plan, between nodes where lanes are long, and cells until these resolve it."""
        kernels, (rows, _, columns, _, _, rate) = self.kernels, self.plan
        some = rows._replace(weights=np.maximum(rows.weights, ABSENT))
        row_nodes = compressed(kernels, some, self.epsilon, SUMMED, _bulk(columns))
        if targets_are_fixed and self.entries_are_rows:
            self.column_nodes = compressed(kernels, columns, self.epsilon, resolved, _bulk(rows))
            if row_nodes is not None and self.column_nodes is not None:
                row_nodes.leave(~self.column_nodes.worth)
        for _ in range(_MOST_ROUNDS):
            nodes = rows if row_nodes is None else row_nodes.nodes
            if self.column_nodes is not None:
                columns = self.column_nodes.nodes
            plan = Plan(nodes, nodes, columns, *kernels.solve(nodes, columns, rate), rate)
            found = [c for c in (row_nodes, self.column_nodes) if c is not None]
            if not found or not self._refine(plan, row_nodes):
                self.plan = plan._replace(rows=rows)
                return
        raise RuntimeError(
            f"the transport did not converge: after {_MOST_ROUNDS} rounds of splitting, cells are "
            "still too wide"
        )

    def _refine(self, plan: Plan, row_nodes: Compression | None) -> bool:
        """Split the cells that do not resolve a plan; return whether there were any."""
        x, y = plan.nodes.at, plan.columns.at
        mean_y, mean_x = self.kernels.products(plan, y, x)
        square_y, square_x = self.kernels.products(plan, y * y, x * x)
        split = False
        for cells, mean, square in (
            (row_nodes, mean_y, square_y),
            (self.column_nodes, mean_x, square_x),
        ):
            if cells is not None and mean is not None and square is not None:
                deviation = np.sqrt(np.maximum(square - mean * mean, 0.0))
                split |= cells.refine(mean, deviation)
        return split

    def onto_columns(self, values: Floats) -> Floats:
        """Return flat values of columns as the columns of the plan have them in sums."""
        if self.column_nodes is None:
            return values
        weighed = self.column_nodes.onto_nodes(self.columns.weights * values)
        return weighed / self.plan.columns.weights

    def from_columns(self, values: Floats) -> Floats:
        """Return a smooth function of columns, from its flat values at those of the plan."""
        return values if self.column_nodes is None else self.column_nodes.at_points(values)

    def sort(self, values: Floats) -> Floats:
        """Return lanes of entries in ascending order."""
        return np.take_along_axis(values, self.order, axis=-1)

    def unsort(self, values: Floats) -> Floats:
        """Undo `sort`."""
        out = np.empty_like(values)
        np.put_along_axis(out, self.order, values, axis=-1)
        return out

    def mean_at_entries(self, values: Floats) -> Floats:
        """Return, for each entry in ascending order, the mean of values of the targets."""
        if self.empty:
            return np.full(self.shape_of_entries, np.nan)
        mean = self._mean(values, self.entries_are_rows).reshape(self.shape_of_entries)
        return _level(mean, self.first_of_ties[0])

    def mean_at_targets(self, values: Floats) -> Floats:
        """Return, for each target, the mean of values of the entries in ascending order."""
        if self.empty:
            return np.full(self.shape_of_targets, np.nan)
        mean = self._mean(values, not self.entries_are_rows).reshape(self.shape_of_targets)
        return _level(mean, self.first_of_ties[1])

    def matrix(self) -> Floats:
        """Return the plan, each row divided by its weight: (lanes, n, m), in the caller's order."""
        lanes, n = self.shape_of_entries
        m = self.shape_of_targets[1]
        if self.empty:
            return np.zeros((lanes, n, m))
        if self.column_nodes is not None:
            entries, weights = self.unsort(self.entries), self.unsort(self.entry_weights)
            targets = self.targets, self.target_weights
            return Coupling(self.kernels, entries, weights, *targets, self.epsilon).matrix()
        matrix = self.kernels.matrix(self.plan)
        if not self.entries_are_rows:
            weights = self.plan.rows.weights.reshape(self.shape_of_targets)
            shares = self.plan.columns.weights.reshape(self.shape_of_entries)
            matrix = np.swapaxes(matrix * weights[:, :, None], 1, 2) / shares[:, :, None]
        out = np.empty_like(matrix)
        np.put_along_axis(out, self.order[:, :, None], matrix, axis=1)
        return out

    def potentials(self) -> tuple[Floats, Floats]:
        """Return f, of the entries in ascending order, and g, up to a constant between them."""
        p, epsilon = self.plan, self.epsilon[:, None]
        shapes = self.shape_of_entries, self.shape_of_targets
        if self.empty:
            return np.zeros(shapes[0]), np.zeros(shapes[1])
        rows, columns = shapes if self.entries_are_rows else shapes[::-1]
        y, starts = p.columns.at, p.columns.starts
        lane = np.repeat(np.arange(len(epsilon)), np.diff(starts))
        g: Floats = np.zeros_like(y)
        g[1:] = np.diff(y) * (y[1:] + y[:-1] - 2.0 * p.edge[:-1])
        g[1:] += self.epsilon[lane[1:]] * p.shift[:-1]
        g[starts[:-1]] = 0.0
        g = np.cumsum(g)
        g -= g[starts[:-1]][lane]
        logs, top = self.kernels.row_sums(p)
        at = top.reshape(rows) + starts[:-1, None]
        f = (p.rows.at.reshape(rows) - y[at]) ** 2 - g[at] - epsilon * logs.reshape(rows)
        g = self.from_columns(g).reshape(columns)
        return (f, g) if self.entries_are_rows else (g, f)

    def _mean(self, values: Floats, at_rows: bool) -> Floats:
        flat = np.ascontiguousarray(values).reshape(-1)
        if at_rows:
            mean, _ = self.kernels.products(self.plan, s=self.onto_columns(flat))
            assert mean is not None
            return mean
        return self.from_columns(self.mean_at_columns(flat))

    def mean_at_columns(self, values: Floats) -> Floats:
        """Return the mean of flat values of the rows for each column of the plan."""
        _, mean = self.kernels.products(self.plan, v=values)
        assert mean is not None
        return mean


def _points(at: Floats, weights: Floats) -> Points:
    lanes, n = at.shape
    starts: Indices = np.arange(lanes + 1, dtype=np.intp) * n
    return Points(at.reshape(-1), np.ascontiguousarray(weights).reshape(-1), starts)


def _bulk(points: Points) -> Floats:
    """Return the distance between the quartiles of each lane, whatever the weights."""
    first, count = points.starts[:-1], np.diff(points.starts)
    width: Floats = points.at[first + 3 * (count - 1) // 4] - points.at[first + (count - 1) // 4]
    return width


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
