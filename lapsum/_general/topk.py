"""Soft top-k and its logarithm, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .._backends.types import Array, Flags, Floats, Indices, ShortOperator, sum_in_lane
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.rule import Tangents
from .rules import GeneralEntries, column
from .solving import thresholds_at
from .thresholds import Thresholds


class GeneralTopk(GeneralEntries):
    """The rule of `soft_topk`, in the caller's order of the entries.

    In each lane p_i = F(t_i) with t_i = (b - z_i)/alpha, and dp_i = f(t_i) dt_i.
    """

    operator: ShortOperator | None = "topk"
    logarithm = False
    keeps_value = True

    def __init__(
        self,
        workers: int | None,
        x: Any,
        k: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        largest: bool = True,
        density: Any,
    ) -> None:
        # The largest are the smallest of -x, at the level k: W - k is never formed.
        sign = -1.0 if check_flag("largest", largest) else 1.0
        values = {"x": x, "k": k, "alpha": alpha}
        super().__init__(workers, values, weights, axis, density=density, sign=sign)

    @cached_property
    def b(self) -> Thresholds:
        """The threshold of each lane."""
        return thresholds_at(self.sources, column(self.level))

    @cached_property
    def level(self) -> Floats:
        """The levels, infinite for the total weight."""
        k = self.lanes["k"]
        return self.rescale(self.kernels.allowed_levels(k, self.total, self.n, self.allowance))

    @cached_property
    def weight(self) -> Floats:
        """The weights of the entries, ones without any."""
        return self.xp.ones(self.x.shape) if self.weights is None else self.weights

    @cached_property
    def finite(self) -> Flags:
        """Which entries are finite, in lanes that hold no NaN."""
        flags: Flags = self.xp.isfinite(self.x)
        return flags

    @cached_property
    def t(self) -> Floats:
        """(b - z)/alpha; for infinite entries any number."""
        z = self.xp.where(self.finite, self.x, 0.0)
        return self.kernels.apart(self.b.points, z, column(self.sources.alpha))

    @cached_property
    def chosen(self) -> Floats:
        """The probabilities."""
        xp = self.xp
        s, level = self.sources, column(self.level)
        low, high = column(s.low), column(s.high)
        whole = column(s.before[0][:, -1])
        # Of the entries at infinity all have the same, and 0 or 1 unless b is there too.
        # Absent ones there are beyond any b that is not.
        at_low = xp.where(low > 0.0, xp.clip(level / low, 0.0, 1.0), xp.sign(level))
        rest = xp.clip((level - low - whole) / high, 0.0, 1.0)
        at_high = xp.where(high > 0.0, rest, xp.where(xp.isinf(level), 1.0, 0.0))
        p = self.density.at(self.t)
        p = xp.where(self.x == -xp.inf, at_low, xp.where(self.x == xp.inf, at_high, p))
        empty = (low + whole + high) == 0.0
        return xp.where(empty | self.ignored, 0.0, p)

    @cached_property
    def ignored(self) -> Flags:
        """Which entries are NaN, and have no weight."""
        flags: Flags = (self.weight == 0.0) & self.xp.isnan(self.x)
        return flags

    # ------------------------------------------------------------------------ in lanes of any kind

    def value(self, out: Array | None = None) -> Array:
        """Return the probabilities, or their logarithms."""
        xp = self.xp
        p = self.chosen
        if self.logarithm:
            some = (self.sources.count > 0)[:, None]
            far = self.finite & xp.isfinite(self.t) & some
            p = xp.where(far, self.density.log_at(self.t) + 0.0, xp.log(p))
            p = xp.where(self.ignored, 0.0, p)
        muted = (self.weight == 0.0) & xp.isinf(p)
        if muted.any():
            self.muted = muted
            p = xp.where(muted, 0.0, p)
        return with_nan(self.kernels, self.sources.nan_lanes, p)

    # --------------------------------------------------------------------------------- derivatives

    @cached_property
    def share(self) -> Floats:
        """f(t_i)/sum_j c_j f(t_j), or its limit: the derivative of p in k."""
        xp = self.xp
        s, every = self.sources, slice(None)
        z = xp.where(self.finite, self.x, 0.0)
        inner = self.b.shares(z[:, None, :], self.t[:, None, :], every, every, 2)[:, 0]
        out = xp.where(self.finite, inner, 0.0)
        # With the level between entries at one infinity each of them has an equal part.
        level, whole = column(self.level), column(s.low + s.before[0][:, -1])
        out = xp.where((self.x == -xp.inf) & (level < column(s.low)), 1.0 / column(s.low), out)
        high = column(s.high)
        out = xp.where((self.x == xp.inf) & (level > whole) & (high > 0.0), 1.0 / high, out)
        return xp.where(self.ignored, 0.0, out)

    @cached_property
    def by_threshold(self) -> Floats:
        """f(t_i), divided by p_i for the logarithm; 0 for infinite entries."""
        xp = self.xp
        f = self.density
        ends = xp.where(self.t < 0.0, f.decay, 0.0) if self.logarithm else xp.zeros(self.t.shape)
        near = f.log_slope_at(self.t) if self.logarithm else f.pdf_at(self.t)
        near = xp.where(xp.isfinite(self.t), near, ends)
        return xp.where(self.finite & (self.sources.count > 0)[:, None], near, 0.0)

    @cached_property
    def by_level(self) -> Floats:
        """The derivative of the result in k."""
        xp = self.xp
        if not self.logarithm:
            return self.share
        left = xp.where(self.b.density == 0.0, xp.inf, self.by_threshold / self.b.density)
        by_level = xp.where(self.t > 0.0, self.share / self.chosen, left)
        infinite = xp.where(self.share == 0.0, 0.0, self.share / self.chosen)
        moved = self.b.by_left + self.b.by_right > 0.0
        return xp.where(self.finite & moved & ~self.ignored, by_level, infinite)

    @cached_property
    def q(self) -> Floats:
        """The shares of finite entries times their weights, which add up to one."""
        return self.xp.where(self.finite, self.weight * self.share, 0.0)

    @cached_property
    def nearest(self) -> Indices:
        """The entry with the largest part of q: what the others differ from, (lanes, 1)."""
        found: Indices = self.xp.argmax(self.q, axis=1)[:, None]
        return found

    def _differences(self, values: Floats) -> Floats:
        """sum_j q_j (v_j - v_i), where nothing cancels if one of the q_j is nearly all of them."""
        apart = values - self.xp.take_along_axis(values, self.nearest, axis=1)
        return column(sum_in_lane(self.kernels.times(self.q, apart))) - apart

    @cached_property
    def along_alpha(self) -> Floats:
        """Alpha dt_i/dalpha = sum_j q_j t_j - t_i."""
        xp = self.xp
        z = xp.where(self.finite, self.x, 0.0)
        alpha = column(self.sources.alpha)
        origin = xp.take_along_axis(z, self.nearest, axis=1)
        return self._differences(self.kernels.step(z, origin, alpha))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        xp = self.xp
        alpha = column(self.sources.alpha)
        out = xp.zeros(self.x.shape)
        if not self.n:
            return out
        if "x" in tangents:
            dot = xp.where(self.finite, self.sign * tangents["x"], 0.0)
            out = out + self.kernels.times(self.by_threshold, self._differences(dot)) / alpha
        if "alpha" in tangents:
            along = self.kernels.times(self.by_threshold, self.along_alpha) / alpha
            out = out + self.kernels.times(along, column(tangents["alpha"]))
        level_dot = xp.zeros((len(out), 1))
        if "k" in tangents:
            level_dot = level_dot + column(self.rescale(tangents["k"]))
        if "weights" in tangents:
            moved = self.kernels.times(self.chosen, self.rescale(tangents["weights"]))
            level_dot = level_dot - column(sum_in_lane(moved))
        return xp.where(self.ignored, 0.0, out + self.kernels.times(self.by_level, level_dot))

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        xp = self.xp
        alpha = self.sources.alpha
        bar = xp.where(self.ignored, 0.0, bar)
        flow = self.kernels.times(bar, self.by_threshold)
        bars: dict[str, Array] = {}
        if not self.n:
            return {name: xp.zeros(self.lanes[name].shape) for name in wrt}
        if "x" in wrt:
            x_bar = self.kernels.times(self.q, column(sum_in_lane(flow))) - flow
            # They add up to zero; what is nearly all of q is a difference, got from the others.
            others = xp.where(xp.arange(self.n) == self.nearest, 0.0, x_bar)
            there = (xp.arange(self.n) == self.nearest) & self.q.any(axis=1, keepdims=True)
            x_bar = xp.where(there, -column(sum_in_lane(others)), x_bar)
            bars["x"] = xp.where(self.finite, self.sign * x_bar / column(alpha), 0.0)
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(self.kernels.times(flow, self.along_alpha)) / alpha
        level_bar = sum_in_lane(self.kernels.times(bar, self.by_level))
        if "k" in wrt:
            bars["k"] = self.rescale(level_bar)
        if "weights" in wrt:
            bars["weights"] = self.rescale(-self.kernels.times(self.chosen, column(level_bar)))
        return bars


class GeneralLogTopk(GeneralTopk):
    """The rule of `log_soft_topk`."""

    operator: ShortOperator | None = "log_topk"
    logarithm = True
