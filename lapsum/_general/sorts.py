"""Soft sorting and soft quantiles, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .._backends.types import Array, Floats, ShortOperator, sum_in_lane
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.quantile_rule import QuantileRule
from .._core.rule import Tangents
from .rules import GeneralEntries, column
from .solving import thresholds_at
from .thresholds import Thresholds


class GeneralSort(GeneralEntries):
    """The rule of `soft_sort`."""

    operator: ShortOperator | None = "sorts"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        density: Any,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis, density=density)
        self.descending = check_flag("descending", descending)
        self.sign = -1.0 if self.descending else 1.0

    @cached_property
    def x(self) -> Floats:
        """The entries; the sign is only that of the order."""
        return self.kernels.contiguous(self.lanes["x"])

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds at the half-integer levels."""
        xp = self.xp
        levels = xp.broadcast_to(xp.arange(self.n) + 0.5, self.x.shape)
        return thresholds_at(self.sources, levels)

    def _reverse_if_descending(self, lanes: Floats) -> Floats:
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    def value(self, out: Array | None = None) -> Array:
        """Return the sorted values."""
        # Each is solved for by itself; rounding must not bring two of them out of order.
        y = self.b.value()
        y = self.kernels.running_largest(y) if self.n else y
        return self._reverse_if_descending(with_nan(self.kernels, self.sources.nan_lanes, y))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        out = self.xp.zeros(self.x.shape)
        if "x" in tangents:
            out = out + self.b.average(self.sources.tangent(tangents["x"]))
        if "alpha" in tangents:
            out = out + self.kernels.times(self.b.by_alpha, column(tangents["alpha"]))
        return self._reverse_if_descending(out)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bar = self._reverse_if_descending(bar)
        bars: dict[str, Array] = {}
        if "x" in wrt:
            bars["x"] = self.sources.cotangent(self.b.average_transpose(bar))
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(self.kernels.times(bar, self.b.by_alpha))
        return bars


class GeneralQuantile(GeneralEntries, QuantileRule):
    """The rule of `soft_quantile`."""

    operator: ShortOperator | None = "quantiles"

    def __init__(
        self, workers: int | None, x: Any, q: Any, alpha: Any, *, density: Any, **options: Any
    ) -> None:
        QuantileRule.__init__(self, workers, x, q, alpha, **options)
        self.take_density(density)

    def _levels_of_lanes(self) -> Floats:
        return self.q

    @cached_property
    def whole(self) -> Floats | float:
        """The total weights, rescaled."""
        return float(self.n) if self.total is None else column(self.rescale(self.total))

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds at the levels q W."""
        levels = self.kernels.levels(self.q, self.total, self.n)
        return thresholds_at(self.sources, self.rescale(levels))

    def value(self, out: Array | None = None) -> Array:
        """Return the quantiles."""
        xp = self.xp
        y = xp.where(self._empty(), xp.nan, self.b.value())
        return with_nan(self.kernels, self.sources.nan_lanes, y)

    def _empty(self) -> Array:
        """Return which lanes have no entries."""
        return column(self.sources.present.sum(axis=-1) == 0)

    # S(b) = q W says what q - F_nearest is: the mean of the F_j - F_nearest.  For large alpha these
    # are small, and q - F_j would be a small difference of rounded numbers.

    @cached_property
    def _mean(self) -> Floats:
        """sum_j c_j (F(t_ij) - F(t_i,nearest))/W."""
        s = self.sources

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            x, given, weight = (a[lanes][:, None, :] for a in (s.x, s.given, s.weight))
            apart = self.b.cdf_apart(x, given, lanes, rows, 2)
            return self.xp.where(weight == 0.0, 0.0, weight * apart)

        return s.rows(self.b.points, term) / self.whole

    def _rising(self, weights_dot: Floats) -> Floats:
        """sum_j (q_i - F(t_ij)) c_dot_j, infinite entries included."""
        xp = self.xp
        s = self.sources
        dot = xp.where(xp.isnan(s.given), 0.0, s.to_order(weights_dot))

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            x, given = s.x[lanes][:, None, :], s.given[lanes][:, None, :]
            apart = self.b.cdf_apart(x, given, lanes, rows, 2)
            return (self._mean[lanes, rows][:, :, None] - apart) * dot[lanes][:, None, :]

        return s.rows(self.b.points, term)

    def _rising_transpose(self, bar: Floats) -> Floats:
        xp = self.xp
        s = self.sources

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            x, given = s.x[lanes, rows][:, :, None], s.given[lanes, rows][:, :, None]
            apart = self.b.cdf_apart(x, given, lanes, slice(None), 1)
            return self.kernels.times(bar[lanes][:, None, :], self._mean[lanes][:, None, :] - apart)

        return s.from_order(xp.where(xp.isnan(s.given), 0.0, s.columns(self.b.points, term)))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        xp = self.xp
        out = xp.zeros(self.q.shape)
        if "q" in tangents:
            out = out + self.kernels.times(self.b.rates(), tangents["q"] * self.whole)
        if "weights" in tangents:
            out = out + self.kernels.times(
                self.b.rates(), self._rising(self.rescale(tangents["weights"]))
            )
        if "x" in tangents:
            out = out + self.b.average(self.sources.tangent(tangents["x"]))
        if "alpha" in tangents:
            out = out + self.kernels.times(self.b.by_alpha, column(tangents["alpha"]))
        return xp.where(self._empty(), 0.0, out)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bar = self.xp.where(self._empty(), 0.0, bar)
        bars: dict[str, Array] = {}
        if "x" in wrt:
            bars["x"] = self.sources.cotangent(self.b.average_transpose(bar))
        if "q" in wrt:
            bars["q"] = self.kernels.times(self.b.rates(), bar * self.whole)
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(self.kernels.times(bar, self.b.by_alpha))
        if "weights" in wrt:
            bars["weights"] = self.rescale(
                self._rising_transpose(self.kernels.times(self.b.rates(), bar))
            )
        return bars
