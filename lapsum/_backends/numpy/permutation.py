"""Differences of F between neighbouring thresholds, in NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _kernels
from ..types import Array, DType, Floats, Indices, Intervals, Pair, Points, SourceLanes
from .loops import PERMUTATION, written
from .order import Order


class Permutation(Order):
    """The kernels of `protocol.Permutation`."""

    def widths(self, lo: Floats, hi: Floats, u: Floats, alpha: Floats, n: int) -> Floats:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        out = np.empty((lo.shape[0], n))
        self._run(_kernels.widths, out.shape, lo, hi, u, alpha, out)
        return out

    def permutation(
        self, sources: SourceLanes, below: Indices, points: Points, width: Floats, dtype: DType
    ) -> Array:
        """F(t_ij) - F(t_{i-1,j}), (lanes, n, n), columns in the caller's order."""
        s, (lanes, n) = sources, sources.x.shape
        out = np.empty((lanes, n, n), written(dtype))
        rank = s.order.rank
        if s.order.part_of is not None:
            rank = self.to_order(np.arange(n) + np.zeros((lanes, 1)), s.order).astype(np.intp)
        inputs = s.x, rank, s.present, below, *points, width, s.alpha
        self._run(PERMUTATION[out.dtype], out.shape, *inputs, out)
        return out

    def permutation_jvp(
        self,
        x: Floats,
        points: Points,
        alpha: Floats,
        x_dot: Floats | None,
        b_dot: Floats | None,
        alpha_dot: Floats | None,
        nodes: Floats,
        deviation: Floats,
    ) -> Floats:
        """Tangent of the matrix of entries x, in the caller's order."""
        lanes, n = x.shape
        out = np.empty((lanes, n, n))
        tangents = x_dot, b_dot, alpha_dot
        inputs = x, *points, alpha, *tangents, nodes, deviation
        self._run(_kernels.permutation_jvp, out.shape, *inputs, out)
        return out

    def permutation_vjp(
        self,
        x: Floats,
        points: Points,
        alpha: Floats,
        nodes: Floats,
        deviation: Floats,
        bar: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Cotangents, times alpha, of the thresholds, of x at fixed thresholds, and of alpha."""
        outputs = np.empty(points.lo.shape), np.empty_like(x), np.empty(x.shape[0])
        inputs = x, *points, alpha, nodes, deviation, bar
        self._run(_kernels.permutation_vjp, bar.shape, *inputs, *outputs)
        return outputs

    def intervals(self, sources: SourceLanes) -> Intervals:
        """Return the rows of the permutation, as products need them."""
        s, shape = sources, sources.x.shape
        row, inside = np.empty(shape, np.intp), np.empty(shape)
        at, by = np.empty((2, *shape), np.intp), np.empty((2, *shape))
        inputs = s.x, s.gap, s.present, s.left, s.right, s.alpha
        self._run(_kernels.intervals, shape, *inputs, row, inside, at, by)
        (before, after), (from_left, from_right) = at, by
        return Intervals(row, inside, (before, after), (from_left, from_right))

    def collect(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add inside * values to `out`, by row."""
        self._run(_kernels.collect, out.shape, values, inside, row, source_lane, out)

    def collect_transpose(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add the transpose of `collect` to `out`."""
        self._run(_kernels.spread, out.shape, values, inside, row, source_lane, out)

    def level_ties(self, x: Floats, source_lane: Indices, values: Floats) -> None:
        """Give equal sources the result of the first of them, in place."""
        self._run(_kernels.level_ties, values.shape, x, source_lane, values)

    def transpose_product(
        self, sources: SourceLanes, rows: Intervals, positions: Floats, source_lane: Indices
    ) -> Floats:
        """P.T times lanes of finite positions, at the sorted sources."""
        s, (_, after) = sources, rows.at
        out, scratch = np.empty(positions.shape), np.empty(positions.shape)
        lanes = s.x, s.gap, s.present, s.left, s.right
        inputs = *lanes, rows.row, rows.inside, after, *rows.by, positions, source_lane
        self._run(_kernels.transpose_product, out.shape, *inputs, scratch, out)
        return out

    def permute_vjp(self, sources: SourceLanes, values: Floats, positions: Floats) -> Pair:
        """Cotangents of x and alpha of sum_ij positions_i P_ij values_j."""
        x_bar, alpha_bar = np.empty(values.shape), np.empty(len(values))
        inputs = *_lanes(sources), values, positions, self._block(6, sources.x.shape)
        self._run(_kernels.pull_permutation, x_bar.shape, *inputs, x_bar, alpha_bar)
        return x_bar, alpha_bar

    def permute_jvp(
        self,
        sources: SourceLanes,
        values: Floats,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats:
        """Tangent of P times values, in ascending order, due to those of x and alpha."""
        out = np.empty(values.shape)
        inputs = *_lanes(sources), values, x_dot, alpha_dot, self._block(8, sources.x.shape)
        self._run(_kernels.push_permutation, out.shape, *inputs, out)
        return out


def _lanes(s: SourceLanes) -> tuple[Any, ...]:
    return s.x, s.gap, *s.order, s.present, s.left, s.right, s.alpha
