"""Points at which sums over sorted sources reach a level, in NumPy arrays."""

from __future__ import annotations

import numpy as np

from ... import _kernels
from ..types import Array, DType, Floats, Indices, Pair, Roots, SourceLanes
from .lanes import Lanes


class Thresholds(Lanes):
    """The kernels of `protocol.Thresholds`."""

    def solve(
        self, sources: SourceLanes, levels: Floats, source_lane: Indices, full: bool
    ) -> Roots:
        """Roots of S(b) = level, with what derivatives need if `full`."""
        return self._solve(sources, levels, source_lane, full, None)

    def complete(
        self, sources: SourceLanes, levels: Floats, roots: Roots, source_lane: Indices
    ) -> Roots:
        """Return roots with what derivatives need; where they are is known."""
        return self._solve(sources, levels, source_lane, True, roots.below)

    def _solve(
        self,
        sources: SourceLanes,
        levels: Floats,
        source_lane: Indices,
        full: bool,
        known: Indices | None,
    ) -> Roots:
        s, shape = sources, levels.shape
        below = np.empty(shape, np.intp) if known is None else known
        side, u = np.empty(shape, np.int8), np.empty(shape)
        factors = np.empty((6, *shape)) if full else None
        lanes = s.gap, s.present, s.weights, *(s.pairs or (None, None)), s.left, s.right
        outputs = below, side, u, factors
        self._run(_kernels.solve, shape, *lanes, levels, source_lane, known is not None, *outputs)
        return _roots(below, side, u, factors)

    def solve_steps(self, sources: SourceLanes, first: float, steps: int, full: bool) -> Roots:
        """Return the same at the levels first, first + 1, ... of every lane, for unit weights."""
        s, shape = sources, (len(sources.gap), steps)
        below, side = np.empty(shape, np.intp), np.empty(shape, np.int8)
        block = self._block(7 if full else 3, shape)
        u, factors = block[0], block[1:]
        lanes = s.gap, s.present, s.left, s.right
        self._run(_kernels.solve_steps, shape, *lanes, first, below, side, u, factors)
        return _roots(below, side, u, factors)

    def anchors(self, x: Floats, roots: Roots, source_lane: Indices) -> Pair:
        """Return the two sources that anchor each root."""
        lo, hi = self._block(2, roots.below.shape)
        self._run(_kernels.anchors, hi.shape, x, roots.below, roots.side, source_lane, lo, hi)
        return lo, hi

    def thresholds(self, sources: SourceLanes, roots: Roots, source_lane: Indices) -> Floats:
        """(lo + hi)/2 + alpha u, rounded, of the anchors of each root."""
        s, out = sources, np.empty(roots.u.shape)
        inputs = s.x, roots.below, roots.side, roots.u, s.alpha, source_lane
        self._run(_kernels.thresholds, out.shape, *inputs, out)
        return out

    def sorted_values(self, sources: SourceLanes, first: float, steps: int, dtype: DType) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending."""
        s, out = sources, np.empty((len(sources.x), steps))
        lanes = s.x, s.gap, s.present, s.left, s.right, s.alpha
        self._run(_kernels.sorted_values, out.shape, *lanes, first, out)
        return out.astype(dtype, copy=False)

    def sorted_vjp(self, sources: SourceLanes, first: float, bar: Floats) -> Pair:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`."""
        s, x_bar, scratch = sources, np.empty(sources.x.shape), np.empty(sources.x.shape)
        alpha_bar = np.empty(len(s.x))
        inputs = s.x, s.gap, *s.order, s.present, s.left, s.right, first, bar
        self._run(_kernels.pull_sorted, s.x.shape, *inputs, scratch, x_bar, alpha_bar)
        return x_bar, alpha_bar


def _roots(below: Indices, side: Array, u: Floats, factors: Floats | None) -> Roots:
    """Return the roots with as many rows of factors as there are."""
    if factors is None:
        return Roots(below, side, u)
    left, right, *rest = factors
    if not rest:
        return Roots(below, side, u, (left, right))
    q_left, q_right, density, centre = rest
    return Roots(below, side, u, (left, right), (q_left, q_right), density, centre)
