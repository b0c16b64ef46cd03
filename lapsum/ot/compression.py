"""Nodes that stand for the points of a measure: the Gauss quadrature of each of its cells.

As a function of a point, the plan of a row or column changes at the scale of the square root of
epsilon.  So the points of an interval of about that width may be replaced by the nodes of its Gauss
quadrature, whose weights are positive: a transport of fewer points, with a plan that is the same
function.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backends.transport import Points, Transport
from .._backends.types import Flags, Floats, Indices

NODES = 24  # in a cell, where it has more points than these and half as many again
_FEW = NODES + NODES // 2
LONG = 200  # points of a lane, from which on it is compressed
# What width times deviation, over epsilon, of a cell may be; and where deviations in it differ by
# more than a factor, since poles are then nearer.
_RESOLVED, _CHANGING, _EVEN = 1.4, 0.8, 1.5
_AREA = 2.25  # of the pieces of the hard plan that are the first cells, over epsilon
# A quadrature is good if no node has less of the mass, and interpolation gives the same weights.
_LITTLE, _TRUSTED = 1e-7, 1e-9
_MOST_HALVINGS = 100
_MOST_PIECES = 16  # that a cell is split into at once


class Cells(NamedTuple):
    """Cells of distinct points, one after another: their starts and ends, and their lanes."""

    starts: Indices
    stops: Indices
    lanes: Indices


class Compression:
    """A measure, its cells, and the nodes that stand for it.

    Parameters
    ----------
    kernels : Transport
    points : Points
        The measure.
    epsilon : array, shape (lanes,)
    cell_of_point : array of int
        Ascending in each lane.

    Attributes
    ----------
    nodes : Points
        What stands for it.
    """

    def __init__(
        self, kernels: Transport, points: Points, epsilon: Floats, cell_of_point: Indices
    ) -> None:
        self.kernels, self.epsilon = kernels, epsilon
        self.lanes = len(points.starts) - 1
        lane_of_point = np.repeat(np.arange(self.lanes), np.diff(points.starts))
        new = np.ones(len(points.at), bool)
        new[1:] = (points.at[1:] != points.at[:-1]) | (lane_of_point[1:] != lane_of_point[:-1])
        self.first = np.flatnonzero(new)
        self.at = points.at[self.first]
        self.weights = np.add.reduceat(points.weights, self.first)
        self.lane = lane_of_point[self.first]
        self._cut(cell_of_point[self.first])

    def _cut(self, label: Indices, of: Indices | None = None) -> None:
        """Make cells of points with one label in one lane, and in one of the cells that were."""
        change = np.ones(len(self.at), bool)
        change[1:] = (label[1:] != label[:-1]) | (self.lane[1:] != self.lane[:-1])
        if of is not None:
            change[1:] |= of[1:] != of[:-1]
        starts = np.flatnonzero(change).astype(np.intp)
        stops = np.append(starts[1:], len(self.at)).astype(np.intp)
        self.cells = Cells(starts, stops, self.lane[starts])
        if of is None:  # lanes of which much is saved
            sizes = np.where(stops - starts > _FEW, NODES, stops - starts)
            nodes = np.bincount(self.cells.lanes, weights=sizes, minlength=self.lanes)
            self.worth = 5 * nodes <= 4 * np.bincount(self.lane, minlength=self.lanes)
        self._find_nodes()

    def _find_nodes(self) -> None:
        starts, stops, lanes = self.cells
        known = np.zeros(len(starts), bool)
        t_nodes, barycentric, weights = np.zeros((3, len(starts), NODES))
        for _ in range(_MOST_HALVINGS):
            new = np.flatnonzero((stops - starts > _FEW) & self.worth[lanes] & ~known)
            if not len(new):
                break
            of, t = self._inside(starts[new], stops[new])
            t_nodes[new], barycentric[new], weights[new], good = self._quadrature(
                t, starts[new], stops[new]
            )
            known[new] = True
            poor = new[~good]
            if not len(poor):
                break
            sizes = np.bincount(of[t < 0.0], minlength=len(new))
            middle = (starts[new] + sizes)[np.isin(new, poor)]
            known[poor] = False
            pieces = np.ones(len(starts), np.intp)
            pieces[poor] = 2
            starts, stops, lanes, known, t_nodes, barycentric, weights = (
                np.repeat(v, pieces, axis=0)
                for v in (starts, stops, lanes, known, t_nodes, barycentric, weights)
            )
            half = poor + np.arange(len(poor))
            stops[half] = starts[half + 1] = middle
        self.cells = Cells(starts, stops, lanes)
        many = known
        self.full = Cells(starts[many], stops[many], lanes[many])
        self.t_nodes, self.barycentric = t_nodes[many], barycentric[many]
        kept = ~np.repeat(many, stops - starts)
        self.kept = np.flatnonzero(kept)
        self.t = np.zeros(len(self.at))
        _, self.t[~kept] = self._inside(self.full.starts, self.full.stops)
        # Nodes and kept points together, in ascending order: cell by cell.
        sizes = np.where(many, NODES, stops - starts)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
        self.node_starts = offsets
        self.of_full = offsets[:-1][many][:, None] + np.arange(NODES)
        cell_of = np.repeat(np.arange(len(starts)), stops - starts)[self.kept]
        self.of_kept = offsets[cell_of] + self.kept - starts[cell_of]
        at, mass = np.empty(offsets[-1]), np.empty(offsets[-1])
        at[self.of_kept], mass[self.of_kept] = self.at[self.kept], self.weights[self.kept]
        lo, hi = self.at[self.full.starts][:, None], self.at[self.full.stops - 1][:, None]
        nodes = (0.5 * lo + 0.5 * hi) + (0.5 * hi - 0.5 * lo) * self.t_nodes
        at[self.of_full] = np.clip(nodes, lo, hi)
        mass[self.of_full] = weights[many]
        counts = np.bincount(lanes, weights=sizes, minlength=self.lanes).astype(np.intp)
        lane_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
        self.nodes = Points(at, mass, lane_starts)

    def _inside(self, starts: Indices, stops: Indices) -> tuple[Indices, Floats]:
        """Return which cell each point of some cells is in, and where there, from -1 to 1."""
        of = np.repeat(np.arange(len(starts)), stops - starts)
        lo, hi = self.at[starts], self.at[stops - 1]
        centre, radius = 0.5 * lo + 0.5 * hi, 0.5 * hi - 0.5 * lo
        return of, (self.at[_points_of(starts, stops)] - centre[of]) / radius[of]

    def _quadrature(
        self, t: Floats, starts: Indices, stops: Indices
    ) -> tuple[Floats, Floats, Floats, Flags]:
        """Return nodes between -1 and 1, barycentric weights, weights, and whether these are good.

        The recurrence loses orthogonality where points lie far apart, or are few.
        """
        ends = np.cumsum(stops - starts).astype(np.intp)
        begins, weights = ends - (stops - starts), self.weights[_points_of(starts, stops)]
        diagonal, above = self.kernels.gauss(t, weights, begins, ends, NODES)
        matrices = np.zeros((len(diagonal), NODES, NODES))
        i = np.arange(NODES)
        matrices[:, i, i] = diagonal
        matrices[:, i[1:], i[:-1]] = matrices[:, i[:-1], i[1:]] = np.sqrt(above[:, 1:])
        nodes, vectors = np.linalg.eigh(matrices)
        nodes, shares = np.clip(nodes, -1.0, 1.0), vectors[:, 0] ** 2
        away = nodes[:, :, None] - nodes[:, None, :]
        away[:, i, i] = 1.0
        # Twice the distances, so that products of many stay in range.
        barycentric = 1.0 / np.prod(2.0 * away, axis=-1)
        found = above[:, :1] * shares
        parts = self.kernels.onto_nodes(t, begins, ends, nodes, barycentric, weights)
        good = (shares > _LITTLE) & (np.abs(parts - found) <= _TRUSTED * found)
        return nodes, barycentric, found, good.all(axis=1)

    def probes(self) -> Points:
        """Return where a plan shows whether cells resolve it: their nodes and both ends."""
        starts, stops, lanes = self.cells
        counts = np.diff(self.node_starts) + 2
        self.probe_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
        at = np.empty(self.probe_starts[-1])
        inner = np.ones(len(at), bool)
        inner[self.probe_starts[:-1]] = inner[self.probe_starts[1:] - 1] = False
        at[self.probe_starts[:-1]] = self.at[starts]
        at[self.probe_starts[1:] - 1] = self.at[stops - 1]
        at[inner] = self.nodes.at
        per_lane = np.bincount(lanes, weights=counts, minlength=self.lanes)
        lane_starts = np.concatenate([[0], np.cumsum(per_lane)]).astype(np.intp)
        self.probed = at
        return Points(at, np.ones(len(at)), lane_starts)

    def refine(self, mean: Floats, deviation: Floats) -> bool:
        """Split the cells that do not resolve the plan; return whether there were any.

        Mean and deviation are those of the other measure, given each probe.
        """
        starts, stops, lanes = self.cells
        first, last = self.probe_starts[:-1], self.probe_starts[1:] - 1
        rise = 0.5 * np.abs(mean[last] - mean[first])
        most = np.maximum(np.maximum.reduceat(deviation, first), rise)
        width = self.at[stops - 1] - self.at[starts]
        splits = (stops - starts > _FEW) & self.worth[lanes]
        changes = most > _EVEN * np.minimum.reduceat(deviation, first)
        resolved = np.where(changes, _CHANGING, _RESOLVED) * self.epsilon[lanes]
        splits &= width * most > resolved
        if not splits.any():
            return False
        # Pieces have equal shares of the integral of the deviation, and of a floor under it.
        bad = np.flatnonzero(splits)
        probes = first[bad][:, None] + np.arange(NODES + 2)
        at, density = self.probed[probes], deviation[probes] / most[bad][:, None]
        density = np.where(density <= 1.0, density, 1.0) + 0.125  # whatever is infinite
        part = 0.5 * (density[:, 1:] + density[:, :-1]) * np.diff(at)
        integral = np.concatenate([np.zeros((len(bad), 1)), np.cumsum(part, axis=1)], axis=1)
        pieces = np.ceil(integral[:, -1] * most[bad] / resolved[bad])
        pieces = np.clip(pieces, 2.0, _MOST_PIECES)[:, None]
        due = np.arange(1, _MOST_PIECES) / pieces
        due = np.where(due < 1.0, due * integral[:, -1:], np.inf)
        k = np.minimum((integral[:, None] <= due[:, :, None]).sum(axis=-1) - 1, NODES)
        low, high = (np.take_along_axis(at, i, axis=1) for i in (k, k + 1))
        over = due - np.take_along_axis(integral, k, axis=1)
        bounds = low + (high - low) * over / np.take_along_axis(part, k, axis=1)
        label = np.zeros(len(self.at), np.intp)
        inside = np.repeat(splits, stops - starts)
        of_bad = np.repeat(np.arange(len(bad)), (stops - starts)[bad])
        label[inside] = (self.at[inside][:, None] >= bounds[of_bad]).sum(axis=1)
        self._cut(label, np.repeat(np.arange(len(starts)), stops - starts))
        return True

    def onto_nodes(self, values: Floats) -> Floats:
        """Return the values, one for each point, that the nodes have in integrals."""
        distinct = np.add.reduceat(values, self.first)
        out = np.empty(len(self.nodes.at))
        out[self.of_kept] = distinct[self.kept]
        out[self.of_full] = self.kernels.onto_nodes(
            self.t, self.full.starts, self.full.stops, self.t_nodes, self.barycentric, distinct
        )
        return out


def _points_of(starts: Indices, stops: Indices) -> Indices:
    sizes = stops - starts
    ends = np.cumsum(sizes)
    points: Indices = np.repeat(starts - ends + sizes, sizes) + np.arange(sizes.sum())
    return points


def compressed(
    kernels: Transport, rows: Points, columns: Points, epsilon: Floats
) -> tuple[Compression | None, Compression | None]:
    """Return the nodes of two measures, None unless their lanes are long."""
    long = [np.diff(points.starts).max(initial=0) > LONG for points in (rows, columns)]
    if not any(long):
        return None, None
    of_rows, of_columns = kernels.cells(rows, columns, _AREA * epsilon)
    return (
        Compression(kernels, rows, epsilon, of_rows) if long[0] else None,
        Compression(kernels, columns, epsilon, of_columns) if long[1] else None,
    )
