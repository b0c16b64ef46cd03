"""Few thresholds a lane of NumPy arrays without sorting, and F((b - z)/alpha) of all entries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _kernels
from ..types import NEAR, Array, Entries, Flags, Floats, Pair, Products, Selected
from . import memory
from .lanes import Lanes
from .loops import PULL, PULL_WEIGHTS, PUSH, SELECT_THRESHOLDS, SELECT_TOPK, SOFTMAX

ROWS = 10  # of a block of `AnchoredThresholds`


class Selection(Lanes):
    """The kernels of `protocol.Selection`."""

    def select_topk(
        self,
        x: Entries,
        weights: Floats | None,
        sign: float,
        levels: Floats,
        totals: Floats | None,
        alpha: Floats,
        allowance: float,
        logarithm: bool,
        copy: bool,
        out: Entries | None,
    ) -> Selected:
        """Solve one level a lane, and write F((b - sign x)/alpha), or its logarithm."""
        if weights is not None and totals is not None:
            weights, levels, totals = self.rescale(totals, weights, levels, totals)
        kept = memory.empty(x.shape, x.dtype) if copy else None  # lane by lane, as it is read
        p = np.empty(x.shape, x.dtype) if out is None else out
        solved, block = np.empty(len(x), np.uint8), np.empty((ROWS, len(x)))
        rest = totals, alpha, logarithm, kept, p, solved, block
        self._run_long(SELECT_TOPK[x.dtype], x, weights, sign, levels, *rest)
        return Selected(
            block, _unsolved(solved), solved, x if kept is None else kept, p, None, None
        )

    def select_quantiles(
        self, x: Entries, weights: Floats | None, q: Floats, totals: Floats | None, alpha: Floats
    ) -> Selected:
        """Solve a few levels a lane, given as shares q of the total."""
        levels = self.levels(q, totals, x.shape[1])
        if weights is not None and totals is not None:
            weights, levels, totals = self.rescale(totals, weights, levels, totals)
        solved, one = np.empty(len(x), np.uint8), np.empty((ROWS, len(x)))
        every, block = np.full(len(x), 2, np.uint8), np.empty((*one.shape, levels.shape[1]))
        for m in range(levels.shape[1]):
            level = np.ascontiguousarray(levels[:, m])
            rest = level, totals, alpha, solved, one
            self._run_long(SELECT_THRESHOLDS[x.dtype], x, weights, *rest)
            np.minimum(every, solved, out=every)
            block[:, :, m] = one
        return Selected(block, _unsolved(every), every, x, None, None, None)

    def fused_lanes(self, selected: Selected) -> Flags:
        """Return which lanes were solved, all entries being finite, near to entries."""
        near = selected.density > NEAR
        solved: Flags = selected.state == 1
        return solved & (near if near.ndim == 1 else near.all(axis=-1))

    def topk_vjp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        bar: Entries,
        logarithm: bool,
    ) -> tuple[Array, Floats, Floats]:
        """Cotangents of x, of the level and of alpha; the first is float32 if x and `bar` are."""
        if x.dtype != bar.dtype:
            x, bar = self.contiguous(x), self.contiguous(bar)
        x_bar, level_bar, alpha_bar = np.empty_like(x), np.empty(len(x)), np.empty(len(x))
        outputs = x_bar, level_bar, alpha_bar
        self._run_long(PULL[x.dtype], x, block, weights, sign, alpha, bar, logarithm, *outputs)
        return outputs

    def topk_jvp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        x_dot: Floats | None,
        level_dot: Floats,
        alpha_dot: Floats,
        logarithm: bool,
    ) -> Floats:
        """Tangent of F or of its logarithm."""
        out = np.empty(x.shape)
        dot = None if x_dot is None else self.contiguous(x_dot)
        tangents = dot, self.contiguous(level_dot), self.contiguous(alpha_dot)
        self._run_long(PUSH[x.dtype], x, block, weights, sign, alpha, *tangents, logarithm, out)
        return out

    def softmax_products(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        alpha: Floats,
        dot: Floats | None,
        bar: Floats | None,
    ) -> Products:
        """Return sums with the softmax weights of few thresholds; `x_bar` has the dtype of x."""
        average, by_alpha = np.empty(block.shape[1:]), np.empty(block.shape[1:])
        x_bar = None if bar is None else np.empty_like(x)
        inputs = block, weights, alpha, dot, bar
        self._run_long(SOFTMAX[x.dtype], x, *inputs, x_bar, average, by_alpha)
        return Products(average, by_alpha, x_bar)

    def quantiles_vjp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats,
        totals: Floats,
        alpha: Floats,
        bar: Floats,
    ) -> Floats:
        """Cotangent of the weights for that of a few thresholds a lane at shares of their total."""
        out = np.empty(x.shape)
        inputs = x, block, weights, totals, alpha, self.contiguous(bar)
        self._run(PULL_WEIGHTS[x.dtype], x.shape, *inputs, out)
        return out

    def probabilities(self, block: Floats, x: Floats, alpha: Floats, logarithm: bool) -> Floats:
        """F((b - x)/alpha), or its logarithm, for one threshold a lane."""
        out = np.empty(x.shape)
        self._run(_kernels.probabilities, x.shape, x, block, alpha, logarithm, out)
        return out

    def offsets(self, lo: Floats, hi: Floats, u: Floats, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        out = np.empty_like(x)
        self._run(_kernels.offsets, out.shape, lo, hi, u, x, alpha, out)
        return out

    def steps(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for one origin a lane."""
        out = np.empty_like(x)
        self._run(_kernels.steps, out.shape, origin, x, alpha, out)
        return out

    def exp(self, t: Floats) -> Floats:
        """e^t for t <= 0."""
        out = np.empty_like(t)
        self._run(_kernels.exps, out.shape, t, out)
        return out

    def cdf(self, t: Floats) -> Floats:
        """F(t)."""
        out = np.empty_like(t)
        self._run(_kernels.cdf, out.shape, t, out)
        return out

    def pdf(self, t: Floats) -> Floats:
        """f(t)."""
        out = np.empty_like(t)
        self._run(_kernels.pdf, out.shape, t, out)
        return out

    def logcdf_slope(self, t: Floats) -> Floats:
        """f(t)/F(t)."""
        out = np.empty_like(t)
        self._run(_kernels.logcdf_slope, out.shape, t, out)
        return out

    def shares(
        self, nodes: Pair, q: Pair, density: Floats, x: Floats, t: Floats, alpha: Floats
    ) -> Floats:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane, from its neighbours."""
        out = np.empty_like(x)
        self._run(_kernels.shares, out.shape, *nodes, *q, density, x, t, alpha, out)
        return out


def _unsolved(solved: NDArray[np.uint8]) -> Flags | None:
    """Return the lanes left over: 0 among 1, solved, and 2, with absent entries not finite."""
    # This is the quickest way for the few that there are.
    return None if 0 not in solved.tobytes() else solved == 0
