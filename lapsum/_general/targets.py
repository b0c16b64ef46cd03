"""Sums of CDFs at targets and their inverse, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .._backends.types import Array, Floats, Namespace, Points, sum_in_lane
from .._core.layout import with_nan
from .._core.rule import Tangents
from .._core.targets_rule import TargetsRule
from .rules import column, density_for
from .solving import thresholds_at
from .sums import Sources, cdf_at
from .tables import CDF, EVEN, ODD
from .thresholds import Thresholds, sums_between


class GeneralTargets(TargetsRule):
    """A rule on targets, or levels, for a density that is an argument."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        r: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        density: Any,
    ) -> None:
        super().__init__(workers, x, r, alpha, weights=weights, axis=axis)
        self.density = density_for(self.kernels, density)

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.kernels.xp

    @cached_property
    def sources(self) -> Sources:
        """The sorted sources."""
        totals = None if self.weights is None else self.total_of_sources
        r, alpha = self.lanes["r"], self.lanes["alpha"]
        return Sources(self.kernels, self.density, r, alpha, self.weights, totals)

    @property
    def alpha(self) -> Floats:
        """Alpha, for every lane of targets: (lanes, 1)."""
        return column(self.sources.alpha[self.source_lane])

    def sum_of_cdfs(self, points: Points, places: Floats, values: Floats) -> Floats:
        """sum_j F(t_ij) v_j for points at places that may be infinite, values in order."""
        s, f, source_lane = self.sources, self.density, self.source_lane
        found = self._of_cdfs(points, places, values[source_lane], self.xp.zeros(places.shape))
        if found is not None:
            _, parts, steps = found
            return parts + steps

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = source_lane[lanes]
            place, given = places[lanes, rows][:, :, None], s.given[source][:, None, :]
            return cdf_at(f, t, place, given) * values[source][:, None, :]

        return s.rows(points, term, source_lane)

    def _of_cdfs(
        self, points: Points, places: Floats, values: Floats, weights: Floats
    ) -> tuple[Floats, Floats, Floats] | None:
        """Return `sums_between` of F, None where they are few or something is not finite."""
        xp = self.xp
        s = self.sources
        if not (xp.isfinite(places).all() and xp.isfinite(s.given).all()):
            return None
        return sums_between(s, CDF, points, values, weights, self.source_lane)

    def sum_of_cdfs_transpose(self, points: Points, places: Floats, bar: Floats) -> Floats:
        """sum_i F(t_ij) w_i for every source, in the caller's order."""
        xp = self.xp
        s, f, source_lane = self.sources, self.density, self.source_lane
        found = self._of_cdfs(points, places, xp.zeros((len(bar), s.shape[1])), bar)
        if found is not None:  # F(t) = 1 - F(-t)
            sums = sum_in_lane(bar)[:, None] - found[0]
            return s.from_order(self.kernels.sum_lanes(sums, source_lane, s.shape[0]))

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            place, given = places[lanes][:, None, :], s.given[source_lane[lanes]][:, rows, None]
            return cdf_at(f, t, place, given) * bar[lanes][:, None, :]

        sums = self.kernels.sum_lanes(s.columns(points, term, source_lane), source_lane, s.shape[0])
        known = s.present | xp.isfinite(s.given)
        return s.from_order(xp.where(known, sums, 0.0))


class GeneralCdfSum(GeneralTargets):
    """The rule of `cdf_sum`."""

    @cached_property
    def points(self) -> Points:
        """The targets as points; those that are not finite are any."""
        xp = self.xp
        return Points(xp.where(xp.isfinite(self.targets), self.targets, 0.0), None, None)

    def value(self, out: Array | None = None) -> Array:
        """Return the sums."""
        xp = self.xp
        s, source_lane, x = self.sources, self.source_lane, self.targets
        found = self._by_tree(CDF, s.c[source_lane], xp.zeros(x.shape))
        if found is None:
            sums = self.sum_of_cdfs(self.points, x, s.weight)
        else:
            low, high = column(s.low[source_lane]), column(s.high[source_lane])
            _, parts, steps = found
            whole = column(s.before[0][source_lane, -1])
            sums = xp.where(x == -xp.inf, 0.5 * low, low + (parts + steps))
            sums = xp.where(x == xp.inf, (low + whole) + 0.5 * high, sums)
        sums = xp.where(xp.isnan(self.targets), xp.nan, sums)
        return with_nan(self.kernels, self.nan_lanes, sums)

    def _by_tree(
        self, kind: int, values: Floats, weights: Floats
    ) -> tuple[Floats, Floats, Floats] | None:
        """Return `sums_between` sources and targets: None where these are few."""
        return sums_between(self.sources, kind, self.points, values, weights, self.source_lane)

    def _sum_of_pdfs(self, x_dot: Floats, r_dot: Floats) -> Floats:
        """sum_j c_j f(t_ij) (x_dot_i - r_dot_j), for finite targets."""
        xp = self.xp
        s, f, source_lane = self.sources, self.density, self.source_lane
        none = xp.zeros(self.targets.shape)
        slopes = self._by_tree(EVEN, s.c[source_lane], none)
        if slopes is not None:
            origin = r_dot[source_lane][:, :1]
            moved = self._by_tree(EVEN, s.c[source_lane] * (r_dot[source_lane] - origin), none)
            if moved is not None:
                sums = (x_dot - origin) * slopes[1] - moved[1]
                return xp.where(xp.isfinite(self.targets), sums, 0.0)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = source_lane[lanes]
            apart = x_dot[lanes, rows][:, :, None] - r_dot[source][:, None, :]
            return self.kernels.times(s.c[source][:, None, :] * f.pdf_at(t), apart)

        return xp.where(xp.isfinite(self.targets), s.rows(self.points, term, source_lane), 0.0)

    @cached_property
    def _moments(self) -> Floats:
        """sum_j c_j f(t_ij) t_ij, for finite targets."""
        xp = self.xp
        s, f, source_lane = self.sources, self.density, self.source_lane
        found = self._by_tree(ODD, s.c[source_lane], xp.zeros(self.targets.shape))
        if found is not None:
            return xp.where(xp.isfinite(self.targets), found[1], 0.0)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return self.kernels.times(s.c[source_lane[lanes]][:, None, :] * f.pdf_at(t), t)

        return xp.where(xp.isfinite(self.targets), s.rows(self.points, term, source_lane), 0.0)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the sums."""
        xp = self.xp
        s = self.sources
        out = xp.zeros(self.targets.shape)
        if tangents.keys() & {"x", "r"}:
            ours, theirs = xp.zeros(self.targets.shape), xp.zeros(s.shape)
            if "x" in tangents:
                ours = self.tangent_of_targets(tangents["x"])
            if "r" in tangents:
                theirs = s.tangent(tangents["r"])
            out = out + self._sum_of_pdfs(ours, theirs) / self.alpha
        if "alpha" in tangents:
            out = out - self._moments / self.alpha * column(tangents["alpha"][self.source_lane])
        if "weights" in tangents:
            dot = xp.where(xp.isnan(s.given), 0.0, s.to_order(tangents["weights"]))
            out = out + self.sum_of_cdfs(self.points, self.targets, dot)
        out = xp.where(xp.isnan(self.targets), xp.nan, out)
        return with_nan(self.kernels, self.nan_lanes, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of targets, sources, alpha and weights."""
        xp = self.xp
        s, f, source_lane, kernels = self.sources, self.density, self.source_lane, self.kernels
        nan = xp.isnan(self.targets)
        bar = xp.where(nan, 0.0, bar)
        moving = xp.where(xp.isfinite(self.targets), bar, 0.0)
        bars: dict[str, Array] = {}
        if "r" in wrt:

            def pulled(t: Floats, lanes: slice, rows: slice) -> Floats:
                return self.kernels.times(f.pdf_at(t), moving[lanes][:, None, :])

            found = self._by_tree(EVEN, xp.zeros((len(bar), s.shape[1])), moving)
            sums = s.columns(self.points, pulled, source_lane) if found is None else found[0]
            sums = kernels.sum_lanes(sums, source_lane, s.shape[0])
            bars["r"] = s.cotangent(-s.c * sums / column(s.alpha))
        if "alpha" in wrt:
            bars["alpha"] = -self.sum_targets(self.kernels.times(bar, self._moments)) / s.alpha
        if "weights" in wrt:
            bars["weights"] = self.sum_of_cdfs_transpose(self.points, self.targets, bar)
        bars = {name: with_nan(kernels, s.nan_lanes, lanes) for name, lanes in bars.items()}
        if "x" in wrt:
            density = self._sum_of_pdfs(xp.ones(bar.shape), xp.zeros(s.shape))
            x_bar = xp.where(nan, xp.nan, self.kernels.times(bar, density) / self.alpha)
            bars["x"] = self.cotangent_of_targets(with_nan(kernels, self.nan_lanes, x_bar))
        return bars


class GeneralCdfSumInverse(GeneralTargets):
    """The rule of `cdf_sum_inv`, whose targets are levels."""

    target = "w"

    def __init__(
        self,
        workers: int | None,
        w: Any,
        r: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        density: Any,
    ) -> None:
        super().__init__(workers, w, r, alpha, weights=weights, axis=axis, density=density)

    @cached_property
    def total(self) -> Floats:
        """The total weight of each level's sources."""
        return column(self.total_of_sources[self.source_lane])

    def admit(self, targets: Array) -> Array:
        """Return the levels, NaN outside [0, W]."""
        return self.levels_within(targets, self.total)

    def rescale(self, levels: Floats) -> Floats:
        """Return levels, or cotangents of such, as `kernels.rescale` does."""
        (levels,) = self.kernels.rescale(self.total, levels)
        return levels

    def scale(self, weights: Floats) -> Floats:
        """Return the weights, rescaled."""
        (weights,) = self.kernels.rescale(self.total_of_sources, weights)
        return weights

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds."""
        xp = self.xp
        levels = xp.where(self.targets == self.total, xp.inf, self.rescale(self.targets))
        return thresholds_at(self.sources, levels, self.source_lane)

    def value(self, out: Array | None = None) -> Array:
        """Return the thresholds."""
        xp = self.xp
        b = xp.where(self.targets == 0.0, -xp.inf, self.b.value())
        b = xp.where(self.total == 0.0, xp.nan, b)
        return with_nan(self.kernels, self.nan_lanes, b)

    @cached_property
    def rates(self) -> Floats:
        """Return db/dw."""
        return self.b.rates()

    @cached_property
    def nan(self) -> Array:
        """Which levels have no threshold."""
        nan: Array = self.xp.isnan(self.b.value()) & (self.total != 0.0)
        return nan

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the thresholds."""
        xp = self.xp
        s, b = self.sources, self.b
        out = xp.zeros(self.targets.shape)
        if "w" in tangents:
            out = out + self.kernels.times(
                self.rates, self.rescale(self.tangent_of_targets(tangents["w"]))
            )
        if "weights" in tangents:
            dot = xp.where(xp.isnan(s.given), 0.0, s.to_order(self.scale(tangents["weights"])))
            out = out - self.kernels.times(self.rates, self.sum_of_cdfs(b.points, b.value(), dot))
        if "r" in tangents:
            out = out + b.average(s.tangent(tangents["r"]))
        if "alpha" in tangents:
            out = out + self.kernels.times(
                b.by_alpha, column(tangents["alpha"][self.source_lane]) + 0.0 * out
            )
        out = xp.where(self.nan, xp.nan, xp.where(self.total == 0.0, 0.0, out))
        return with_nan(self.kernels, self.nan_lanes, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of levels, sources, alpha and weights."""
        xp = self.xp
        s, b, kernels, source_lane = self.sources, self.b, self.kernels, self.source_lane
        bar = xp.where(self.nan | (self.total == 0.0), 0.0, bar)
        bars: dict[str, Array] = {}
        if "r" in wrt:
            sums = kernels.sum_lanes(b.average_transpose(bar), source_lane, s.shape[0])
            bars["r"] = s.cotangent(sums)
        if "alpha" in wrt:
            bars["alpha"] = self.sum_targets(self.kernels.times(bar, b.by_alpha))
        if "weights" in wrt:
            falling = self.kernels.times(self.rates, bar)
            sums = self.sum_of_cdfs_transpose(b.points, b.value(), falling)
            bars["weights"] = -self.scale(sums)
        bars = {name: with_nan(kernels, s.nan_lanes, lanes) for name, lanes in bars.items()}
        if "w" in wrt:
            w_bar = xp.where(self.nan, xp.nan, self.rescale(self.kernels.times(self.rates, bar)))
            w_bar = self.cotangent_of_targets(w_bar)
            bars["w"] = with_nan(kernels, self.nan_lanes, w_bar)
        return bars
