"""Nodes that stand for the points of a measure: the Gauss quadrature of each of its cells.

As a function of a point, the plan of a row or column changes at the scale of the square root of
epsilon.  So the points of an interval of about that width may be replaced by the nodes of its Gauss
quadrature, whose weights are positive: a transport of fewer points, with a plan that is the same
function.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backends.numpy.transport import Points, Transport
from .._backends.types import Flags, Floats, Indices

NODES = 24  # in a cell, where it has more points than these and half as many again
_FEW = NODES + NODES // 2
LONG = 200  # points of a lane, from which on it is compressed
# What width times deviation, over epsilon, of a cell may be: where the plan is summed, and where a
# quotient of sums is interpolated, whose poles are nearer.
SUMMED, INTERPOLATED = 1.4, 0.8


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
    resolved : float
        `SUMMED` or `INTERPOLATED`.
    spread : array, shape (lanes,)
        The width of the bulk of the other measure.

    Attributes
    ----------
    nodes : Points
        What stands for it.
    """

    def __init__(
        self, kernels: Transport, points: Points, epsilon: Floats, resolved: float, spread: Floats
    ) -> None:
        self.kernels, self.epsilon, self.resolved = kernels, epsilon, resolved
        self.lanes = len(points.starts) - 1
        lane_of_point = np.repeat(np.arange(self.lanes), np.diff(points.starts))
        new = np.ones(len(points.at), bool)
        new[1:] = (points.at[1:] != points.at[:-1]) | (lane_of_point[1:] != lane_of_point[:-1])
        self.first = np.flatnonzero(new)
        self.distinct_of_point = np.cumsum(new) - 1
        self.at = points.at[self.first]
        self.weights = np.add.reduceat(points.weights, self.first)
        self.lane = lane_of_point[self.first]
        origin = points.at[points.starts[:-1]]
        # Right for measures much alike; against a narrow one, cells may be wider.
        alike = np.sqrt(0.5 * epsilon)
        wider = np.clip(alike / np.maximum(spread, 1e-300), 1.0, 4.0)
        width = 1.28 * resolved * np.sqrt(epsilon) * wider
        self._cut(np.floor((self.at - origin[self.lane]) / width[self.lane]))

    def _cut(self, label: Floats, of: Indices | None = None) -> None:
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
            self.worth = 2 * nodes <= np.bincount(self.lane, minlength=self.lanes)
        self._find_nodes()

    def _find_nodes(self) -> None:
        starts, stops, lanes = self.cells
        many = (stops - starts > _FEW) & self.worth[lanes]
        self.full = Cells(starts[many], stops[many], lanes[many])
        kept = ~np.repeat(many, stops - starts)
        self.kept = np.flatnonzero(kept)
        lo, hi = self.at[self.full.starts], self.at[self.full.stops - 1]
        centre, radius = 0.5 * lo + 0.5 * hi, 0.5 * hi - 0.5 * lo
        cell_of = np.repeat(np.arange(len(starts)), stops - starts)
        position = np.cumsum(many) - 1
        self.t = np.zeros(len(self.at))
        inside = ~kept
        cell = position[cell_of[inside]]
        self.t[inside] = (self.at[inside] - centre[cell]) / radius[cell]
        diagonal, above = self.kernels.gauss(self.t, self.weights, *self.full[:2], NODES)
        matrices = np.zeros((len(diagonal), NODES, NODES))
        i = np.arange(NODES)
        matrices[:, i, i] = diagonal
        matrices[:, i[1:], i[:-1]] = matrices[:, i[:-1], i[1:]] = np.sqrt(above[:, 1:])
        t_nodes, vectors = np.linalg.eigh(matrices)
        self.t_nodes = np.clip(t_nodes, -1.0, 1.0)
        gauss_weights = above[:, :1] * vectors[:, 0] ** 2
        away = self.t_nodes[:, :, None] - self.t_nodes[:, None, :]
        away[:, i, i] = 1.0
        # Twice the distances, so that products of many stay in range.
        self.barycentric = 1.0 / np.prod(2.0 * away, axis=-1)
        # Nodes and kept points together, in ascending order: cell by cell.
        sizes = np.where(many, NODES, stops - starts)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
        self.node_starts = offsets
        self.of_full = offsets[:-1][many][:, None] + i
        within = self.kept - starts[cell_of[self.kept]]
        self.of_kept = offsets[cell_of[self.kept]] + within
        at, weights = np.empty(offsets[-1]), np.empty(offsets[-1])
        at[self.of_kept], weights[self.of_kept] = self.at[self.kept], self.weights[self.kept]
        at[self.of_full] = centre[:, None] + radius[:, None] * self.t_nodes
        weights[self.of_full] = gauss_weights
        counts = np.bincount(lanes, weights=sizes, minlength=self.lanes).astype(np.intp)
        lane_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
        self.nodes = Points(at, weights, lane_starts)

    def leave(self, lanes: Flags) -> None:
        """Keep the points of some lanes."""
        if (self.worth & lanes).any():
            self.worth = self.worth & ~lanes
            self._find_nodes()

    def refine(self, mean: Floats, deviation: Floats) -> bool:
        """Split the cells that do not resolve the plan; return whether there were any.

        Mean and deviation are those of the other measure, given each node.
        """
        starts, stops, lanes = self.cells
        first, last = self.node_starts[:-1], self.node_starts[1:] - 1
        rise = 0.5 * np.abs(mean[last] - mean[first])
        most = np.maximum(np.maximum.reduceat(deviation, first), rise)
        width = self.at[stops - 1] - self.at[starts]
        pieces = np.ceil(width * most / (self.resolved * self.epsilon[lanes]))
        splits = (stops - starts > _FEW) & self.worth[lanes]
        pieces = np.where(splits, np.clip(pieces, 1.0, 8.0), 1.0)
        if (pieces <= 1.0).all():
            return False
        of = np.repeat(np.arange(len(starts)), stops - starts)
        share = (self.at - self.at[starts][of]) / np.where(width > 0.0, width, 1.0)[of]
        self._cut(np.minimum(np.floor(share * pieces[of]), pieces[of] - 1.0), of)
        return True

    def onto_nodes(self, values: Floats) -> Floats:
        """Return the values, one for each point, that the nodes have in integrals."""
        distinct = np.add.reduceat(values, self.first)
        out = np.empty(len(self.nodes.at))
        out[self.of_kept] = distinct[self.kept]
        out[self.of_full] = self.kernels.interpolate_transpose(
            self.t, *self.full[:2], self.t_nodes, self.barycentric, distinct
        )
        return out

    def at_points(self, values: Floats) -> Floats:
        """Return values of a smooth function at the points, from those at the nodes."""
        distinct = self.kernels.interpolate(
            self.t, *self.full[:2], self.t_nodes, self.barycentric, values[self.of_full]
        )
        distinct[self.kept] = values[self.of_kept]
        points: Floats = distinct[self.distinct_of_point]
        return points


def compressed(
    kernels: Transport, points: Points, epsilon: Floats, resolved: float, spread: Floats
) -> Compression | None:
    """Return the nodes of a measure, None unless its lanes are long."""
    if len(points.starts) > 1 and np.diff(points.starts).max() > LONG:
        return Compression(kernels, points, epsilon, resolved, spread)
    return None
