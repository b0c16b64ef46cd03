"""Soft top-k and its logarithm, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .._backends.types import Array, Flags, Floats, Indices, ShortOperator, sum_in_lane
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.rule import Tangents
from .roots import over
from .rules import GeneralEntries, column, times
from .solving import thresholds_at
from .sums import offsets
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
        return self.rescale(self.lanes["k"])

    @cached_property
    def weight(self) -> Floats:
        """The weights of the entries, ones without any."""
        return np.ones(self.x.shape) if self.weights is None else self.weights

    @cached_property
    def finite(self) -> Flags:
        """Which entries are finite, in lanes that hold no NaN."""
        flags: Flags = np.isfinite(self.x)
        return flags

    @cached_property
    def t(self) -> Floats:
        """(b - z)/alpha; for infinite entries any number."""
        z = np.where(self.finite, self.x, 0.0)
        return offsets(self.b.points, z, column(self.sources.alpha))

    @cached_property
    def chosen(self) -> Floats:
        """The probabilities."""
        s, level = self.sources, column(self.level)
        low, high = column(s.low), column(s.high)
        whole = column(s.before[0][:, -1])
        # Of the entries at infinity all have the same, and 0 or 1 unless b is there too.
        # Absent ones there are beyond any b that is not.
        at_low = np.where(low > 0.0, np.clip(level / low, 0.0, 1.0), np.sign(level))
        rest = np.clip((level - low - whole) / high, 0.0, 1.0)
        at_high = np.where(high > 0.0, rest, np.where(np.isinf(level), 1.0, 0.0))
        p = self.density.at(self.t)
        p = np.where(self.x == -np.inf, at_low, np.where(self.x == np.inf, at_high, p))
        empty = (low + whole + high) == 0.0
        return np.where(empty | self.ignored, 0.0, p)

    @cached_property
    def ignored(self) -> Flags:
        """Which entries are NaN, and have no weight."""
        flags: Flags = (self.weight == 0.0) & np.isnan(self.x)
        return flags

    # ------------------------------------------------------------------------ in lanes of any kind

    def value(self, out: Array | None = None) -> Array:
        """Return the probabilities, or their logarithms."""
        p = self.chosen
        if self.logarithm:
            some = (self.sources.count > 0)[:, None]
            far = self.finite & np.isfinite(self.t) & some
            p = np.where(far, self.density.log_at(self.t) + 0.0, np.log(p))
            p = np.where(self.ignored, 0.0, p)
        muted = (self.weight == 0.0) & np.isinf(p)
        if muted.any():
            self.muted = muted
            p = np.where(muted, 0.0, p)
        return with_nan(self.kernels, self.sources.invalid, p)

    # --------------------------------------------------------------------------------- derivatives

    @cached_property
    def share(self) -> Floats:
        """f(t_i)/sum_j c_j f(t_j), or its limit: the derivative of p in k."""
        s, every = self.sources, slice(None)
        z = np.where(self.finite, self.x, 0.0)
        inner = self.b.shares(z[:, None, :], self.t[:, None, :], every, every, 2)[:, 0]
        out = np.where(self.finite, inner, 0.0)
        # With the level between entries at one infinity each of them has an equal part.
        level, whole = column(self.level), column(s.low + s.before[0][:, -1])
        out = np.where((self.x == -np.inf) & (level < column(s.low)), 1.0 / column(s.low), out)
        high = column(s.high)
        out = np.where((self.x == np.inf) & (level > whole) & (high > 0.0), 1.0 / high, out)
        return np.where(self.ignored, 0.0, out)

    @cached_property
    def slope(self) -> Floats:
        """f(t_i), divided by p_i for the logarithm; 0 for infinite entries."""
        f = self.density
        ends = np.where(self.t < 0.0, f.decay, 0.0) if self.logarithm else np.zeros(self.t.shape)
        near = f.log_slope_at(self.t) if self.logarithm else f.pdf_at(self.t)
        near = np.where(np.isfinite(self.t), near, ends)
        return np.where(self.finite & (self.sources.count > 0)[:, None], near, 0.0)

    @cached_property
    def by_level(self) -> Floats:
        """The derivative of the result in k."""
        if not self.logarithm:
            return self.share
        left = np.where(self.b.density == 0.0, np.inf, self.slope / self.b.density)
        by_level = np.where(self.t > 0.0, self.share / self.chosen, left)
        infinite = np.where(self.share == 0.0, 0.0, self.share / self.chosen)
        moved = self.b.by_left + self.b.by_right > 0.0
        return np.where(self.finite & moved & ~self.ignored, by_level, infinite)

    @cached_property
    def q(self) -> Floats:
        """The shares of finite entries times their weights, which add up to one."""
        return np.where(self.finite, self.weight * self.share, 0.0)

    @cached_property
    def nearest(self) -> Indices:
        """The entry with the largest part of q: what the others differ from, (lanes, 1)."""
        found: Indices = np.argmax(self.q, axis=1)[:, None]
        return found

    def _differences(self, values: Floats) -> Floats:
        """sum_j q_j (v_j - v_i), where nothing cancels if one of the q_j is nearly all of them."""
        apart = values - np.take_along_axis(values, self.nearest, axis=1)
        return column(sum_in_lane(times(self.q, apart))) - apart

    @cached_property
    def along_alpha(self) -> Floats:
        """Alpha dt_i/dalpha = sum_j q_j t_j - t_i."""
        z = np.where(self.finite, self.x, 0.0)
        alpha = column(self.sources.alpha)
        return self._differences(over(np.take_along_axis(z, self.nearest, axis=1), z, alpha))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        alpha = column(self.sources.alpha)
        out = np.zeros(self.x.shape)
        if not self.n:
            return out
        if "x" in tangents:
            dot = np.where(self.finite, self.sign * tangents["x"], 0.0)
            out = out + times(self.slope, self._differences(dot)) / alpha
        if "alpha" in tangents:
            along = times(self.slope, self.along_alpha) / alpha
            out = out + times(along, column(tangents["alpha"]))
        level_dot = np.zeros((len(out), 1))
        if "k" in tangents:
            level_dot = level_dot + column(self.rescale(tangents["k"]))
        if "weights" in tangents:
            moved = times(self.chosen, self.rescale(tangents["weights"]))
            level_dot = level_dot - column(sum_in_lane(moved))
        return np.where(self.ignored, 0.0, out + times(self.by_level, level_dot))

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        alpha = self.sources.alpha
        bar = np.where(self.ignored, 0.0, bar)
        flow = times(bar, self.slope)
        bars: dict[str, Array] = {}
        if not self.n:
            return {name: np.zeros(self.lanes[name].shape) for name in wrt}
        if "x" in wrt:
            x_bar = times(self.q, column(sum_in_lane(flow))) - flow
            # They add up to zero; what is nearly all of q is a difference, got from the others.
            others = np.where(np.arange(self.n) == self.nearest, 0.0, x_bar)
            there = (np.arange(self.n) == self.nearest) & self.q.any(axis=1, keepdims=True)
            x_bar = np.where(there, -column(sum_in_lane(others)), x_bar)
            bars["x"] = np.where(self.finite, self.sign * x_bar / column(alpha), 0.0)
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(times(flow, self.along_alpha)) / alpha
        level_bar = sum_in_lane(times(bar, self.by_level))
        if "k" in wrt:
            bars["k"] = self.rescale(level_bar)
        if "weights" in wrt:
            bars["weights"] = self.rescale(-times(self.chosen, column(level_bar)))
        return bars


class GeneralLogTopk(GeneralTopk):
    """The rule of `log_soft_topk`."""

    operator: ShortOperator | None = "log_topk"
    logarithm = True
