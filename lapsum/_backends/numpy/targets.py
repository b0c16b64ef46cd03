"""Points among sorted sources in NumPy arrays, and ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _kernels
from ..types import Array, DType, Floats, Indices, Pair, Points, PulledTargets, SourceLanes
from .lanes import Lanes
from .loops import RANKS, written


class Targets(Lanes):
    """The kernels of `protocol.Targets`."""

    def locate(self, sources: SourceLanes, points: Points, source_lane: Indices) -> Indices:
        """How many sources are <= each point; 0 if it is NaN."""
        s, below = sources, np.empty(points.lo.shape, dtype=np.intp)
        self._run(
            _kernels.locate, below.shape, s.x, s.present, s.alpha, *points, source_lane, below
        )
        return below

    def distances(
        self, sources: SourceLanes, points: Points, source_lane: Indices, below: Indices
    ) -> Pair:
        """Distances over alpha to the sources left and right, infinite for none; NaN for NaN."""
        s = sources
        left, right = self._block(2, points.lo.shape)
        inputs = s.x, s.present, s.alpha, *points, source_lane, below
        self._run(_kernels.distances, below.shape, *inputs, left, right)
        return left, right

    def level(
        self, sources: SourceLanes, targets: Floats, source_lane: Indices, below: Indices
    ) -> Floats:
        """S at targets, NaN where they are."""
        s, out = sources, np.empty(targets.shape)
        lanes = s.x, s.present, s.alpha, s.left, s.right, *(s.pairs or (None, None))
        self._run(_kernels.level, out.shape, *lanes, targets, source_lane, below, out)
        return out

    def gather(
        self,
        nodes: Pair,
        source_lane: Indices,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
    ) -> Floats:
        """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target."""
        before, _ = at
        out = np.empty((len(source_lane), before.shape[1]))
        self._run(_kernels.gather, out.shape, *nodes, source_lane, *at, *by, lane, out)
        return out

    def scatter(
        self,
        values: Floats,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
        source_lane: Indices,
        shape: tuple[int, int],
    ) -> Pair:
        """Apply the transpose of `gather`."""
        left, left_low = left_parts = np.zeros((2, *shape))
        right, right_low = right_parts = np.zeros((2, *shape))
        # Lanes may share the sources they are added to: one thread.
        _kernels.scatter(
            values, *at, *by, lane, source_lane, left_parts, right_parts, 0, len(values)
        )
        return left + left_low, right + right_low

    def ranks(self, sources: SourceLanes, dtype: DType) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN in lanes with one."""
        s, out = sources, np.empty(sources.gap.shape, written(dtype))
        scratch = None if s.order.part_of is None else np.empty_like(s.gap)
        sums = *(s.pairs or (None, None)), s.left, s.right
        inputs = s.x, s.gap, *s.order, s.present, s.alpha, s.weights, *sums
        self._run(RANKS[out.dtype], out.shape, *inputs, scratch, out)
        if s.nan_lanes is not None:
            out[s.nan_lanes] = np.nan
        return out

    def ranks_vjp(self, sources: SourceLanes, sign: float, bar: Floats) -> Pair:
        """Cotangents of x and alpha for a finite `bar` of the ranks of lanes without weights."""
        s, x_bar, scratch = sources, np.empty(sources.x.shape), np.empty(sources.x.shape)
        alpha_bar = np.empty(len(s.x))
        inputs = s.x, s.gap, *s.order, s.present, s.left, s.right, s.alpha, sign, bar
        self._run(_kernels.pull_ranks, x_bar.shape, *inputs, scratch, x_bar, alpha_bar)
        return x_bar, alpha_bar

    def ranks_jvp(
        self, sources: SourceLanes, sign: float, x_dot: Floats | None, alpha_dot: Floats | None
    ) -> Floats:
        """Tangent of the ranks for finite ones of x and alpha."""
        s, out, scratch = sources, np.empty(sources.x.shape), np.empty(sources.x.shape)
        along = None if alpha_dot is None else sign * alpha_dot
        inputs = s.x, s.gap, *s.order, s.present, s.left, s.right, s.alpha, sign, x_dot, along
        self._run(_kernels.push_ranks, out.shape, *inputs, scratch, out)
        return out

    def weighted_ranks_vjp(
        self, sources: SourceLanes, sign: float, bar: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Cotangents of x, alpha and weights for a finite `bar`, in lanes without absent ones."""
        s, shape = sources, bar.shape
        x_bar, weights_bar, alpha_bar = np.empty(shape), np.empty(shape), np.empty(shape[0])
        inputs = s.x, s.gap, *s.order, s.present, s.weights, s.left, s.right, s.alpha, sign, bar
        scratch = np.empty(shape), np.empty(shape)
        outputs = x_bar, alpha_bar, weights_bar
        self._run(_kernels.pull_weighted_ranks, shape, *inputs, *scratch, *outputs)
        return x_bar, alpha_bar, weights_bar

    def targets_vjp(
        self, sources: SourceLanes, targets: Floats, below: Indices, bar: Floats
    ) -> PulledTargets:
        """Cotangents for a finite `bar` of S at ascending targets."""
        s = sources
        lanes = s.x, s.gap, *s.order, s.present, s.weights, s.left, s.right, s.alpha
        return self._pull(_kernels.pull_targets, s, *lanes, targets, below, bar)

    def levels_vjp(
        self, sources: SourceLanes, levels: Floats, below: Indices, bar: Floats
    ) -> PulledTargets:
        """Cotangents for a finite `bar` of the roots at ascending levels."""
        s, sums = sources, sources.pairs or (None, None)
        lanes = s.x, s.gap, *s.order, s.present, s.weights, *sums, s.left, s.right, s.alpha
        return self._pull(_kernels.pull_levels, s, *lanes, levels, below, bar)

    def _pull(
        self, loop: Callable[..., object], sources: SourceLanes, *inputs: Any
    ) -> PulledTargets:
        lanes, n = sources.x.shape
        weighted, steps = sources.weights is not None, inputs[-1].shape[1]
        targets_bar, x_bar, alpha_bar = (
            np.empty((lanes, steps)),
            np.empty((lanes, n)),
            np.empty(lanes),
        )
        # The sums end up in the second: not where they are brought back to the caller's order.
        left, right = np.empty((lanes, n)), x_bar
        if sources.order.part_of is None:
            left, right = right, left
        whole, weights_bar = (np.empty((lanes, n)) if weighted else None for _ in range(2))
        right_lanes = np.empty(lanes, np.uint8)
        outputs = targets_bar, x_bar, alpha_bar, weights_bar, right_lanes
        self._run(loop, (lanes, max(n, steps)), *inputs, left, right, whole, *outputs)
        return PulledTargets(targets_bar, x_bar, alpha_bar, weights_bar, right_lanes.view(np.bool_))
