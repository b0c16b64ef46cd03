"""Selections that leave every lane to be sorted, and F of entries, in whole arrays."""

from __future__ import annotations

from . import formulas
from .protocol import Kernels
from .types import AnchoredThresholds, Array, Entries, Flags, Floats, Pair, Products, Selected

ROWS = len(AnchoredThresholds._fields)


class PortableSelection:
    """The kernels of `protocol.Selection`."""

    def select_topk(
        self: Kernels,
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
        """Leave every lane to be solved by sorting."""
        p = self.xp.empty(x.shape, x.dtype) if out is None else out
        return _unsolved(self, self.own(x) if copy else x, p, levels.shape)

    def select_quantiles(
        self: Kernels,
        x: Entries,
        weights: Floats | None,
        q: Floats,
        totals: Floats | None,
        alpha: Floats,
    ) -> Selected:
        """Leave every lane to be solved by sorting."""
        return _unsolved(self, x, None, q.shape)

    def fused_lanes(self: Kernels, selected: Selected) -> Flags:
        """Return that no lane is for the kernels of derivatives."""
        lanes = selected.block.shape[1]
        return self.xp.zeros(lanes) > 0.0

    def topk_vjp(
        self: Kernels,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        bar: Entries,
        logarithm: bool,
    ) -> tuple[Array, Floats, Floats] | None:
        """Return None: there is no such kernel."""
        return None

    def topk_jvp(
        self: Kernels,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        x_dot: Floats | None,
        level_dot: Floats,
        alpha_dot: Floats,
        logarithm: bool,
    ) -> Floats | None:
        """Return None: there is no such kernel."""
        return None

    def softmax_products(
        self: Kernels,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        alpha: Floats,
        dot: Floats | None,
        bar: Floats | None,
    ) -> Products | None:
        """Return None: there is no such kernel."""
        return None

    def quantiles_vjp(
        self: Kernels,
        block: Floats,
        x: Entries,
        weights: Floats,
        totals: Floats,
        alpha: Floats,
        bar: Floats,
    ) -> Floats | None:
        """Return None: there is no such kernel."""
        return None

    def probabilities(
        self: Kernels, block: Floats, x: Floats, alpha: Floats, logarithm: bool
    ) -> Floats:
        """F((b - x)/alpha), or its logarithm, for one threshold a lane."""
        lo, hi, u, *_ = block[:, :, None]
        t = self.offsets(lo, hi, u, x, alpha)
        return (formulas.logcdf if logarithm else formulas.cdf)(self.xp, t)

    def offsets(
        self: Kernels, lo: Floats, hi: Floats, u: Floats, x: Floats, alpha: Floats
    ) -> Floats:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        return formulas.offset(self.xp, lo, hi, u, x, alpha[:, None])

    def steps(self: Kernels, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for one origin a lane."""
        return formulas.step(self.xp, origin[:, None], x, alpha[:, None])

    def exp(self: Kernels, t: Floats) -> Floats:
        """e^t for t <= 0."""
        return self.xp.exp(t)

    def cdf(self: Kernels, t: Floats) -> Floats:
        """F(t)."""
        return formulas.cdf(self.xp, t)

    def pdf(self: Kernels, t: Floats) -> Floats:
        """f(t)."""
        return formulas.pdf(self.xp, t)

    def logcdf_slope(self: Kernels, t: Floats) -> Floats:
        """f(t)/F(t)."""
        return formulas.logcdf_slope(self.xp, t)

    def shares(
        self: Kernels, nodes: Pair, q: Pair, density: Floats, x: Floats, t: Floats, alpha: Floats
    ) -> Floats:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane, from its neighbours.

        |t| - min |t| would lose every digit in a wide gap.
        """
        xp = self.xp
        (left, right), (q_left, q_right) = ((a[:, None] for a in pair) for pair in (nodes, q))
        beside, alpha = density[:, None], alpha[:, None]
        has_left, has_right = q_left != 0.0, q_right != 0.0
        from_left = q_left * xp.exp(formulas.step(xp, left, x, alpha))
        from_right = q_right * xp.exp(formulas.step(xp, x, right, alpha))
        out = self.pdf(t) / beside
        # Between the nodes are only entries of zero weight, and they may overflow.
        out = xp.where(has_right & (t <= 0.0), from_right, out)
        out = xp.where(has_left & (t > 0.0), from_left, out)
        out = xp.where(has_right & (x >= right), from_right, out)
        out = xp.where(has_left & (x <= left), from_left, out)
        out = xp.where(xp.isnan(x), xp.nan, out)
        return xp.where(has_left | has_right, out, 0.0)


def _unsolved(kernels: Kernels, x: Entries, p: Entries | None, shape: tuple[int, ...]) -> Selected:
    """Return that nothing has been found yet."""
    xp, lanes = kernels.xp, len(x)
    unsolved = xp.zeros(lanes) == 0.0
    return Selected(xp.zeros((ROWS, *shape)), unsolved if lanes else None, None, x, p, None, None)
