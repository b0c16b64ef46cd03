"""Soft ranks, for any density."""

from __future__ import annotations

from functools import cached_property
from math import inf
from typing import Any

from numpy.typing import DTypeLike

from .._backends.types import Array, Flags, Floats, ShortOperator, sum_in_lane
from .._core.arguments import float_type
from .._core.checks import check_flag
from .._core.integers import exponential_reach, near_integers
from .._core.layout import with_nan
from .._core.rule import Tangents
from .densities import density_of
from .rules import GeneralEntries, column
from .sums import cdf_at
from .tables import CDF, EVEN, ODD, tree_sums


class GeneralRank(GeneralEntries):
    """The rule of `soft_rank`."""

    operator: ShortOperator | None = "ranks"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        descending: bool = False,
        dtype: DTypeLike | None = None,
        density: Any,
    ) -> None:
        sign = -1.0 if check_flag("descending", descending) else 1.0
        values = {"x": x, "alpha": alpha}
        self._light_tails = density_of(density).decay >= 1.0
        super().__init__(workers, values, weights, axis, density=density, sign=sign)
        if dtype is not None:
            self.dtype = float_type("dtype", dtype)

    def entries_of(self, x: Array, alpha: Array) -> Array:
        """Return large integers by distances that are exact before they become floats."""
        reach = exponential_reach("weights" in self.dtypes) if self._light_tails else inf
        return near_integers(self.kernels, x, self.axes, alpha, self.batch, reach)

    def value(self, out: Array | None = None) -> Array:
        """Return the ranks."""
        s = self.sources
        ranks = self.xp.where(self._ranked, 0.5 + self._sum_of_cdfs(s.weight), 0.0)
        return with_nan(self.kernels, s.nan_lanes, s.from_order(ranks))

    @property
    def _ranked(self) -> Flags:
        """Which entries have a rank: all but absent NaN."""
        flags: Flags = self.sources.present | ~self.xp.isnan(self.sources.given)
        return flags

    def _sum_of_cdfs(self, values: Floats, transpose: bool = False) -> Floats:
        """sum_j F(t_ij) v_j, or sum_i F(t_ij) v_i."""
        xp = self.xp
        s, f = self.sources, self.density
        finite = xp.isfinite(s.given)
        sums = self._by_tree(CDF, xp.where(finite, values, 0.0))
        if sums is None:
            sign = -1.0 if transpose else 1.0  # F(t_ij) = F(-t_ji)

            def term(t: Floats, lanes: slice, rows: slice) -> Floats:
                point, source = s.given[lanes, rows][:, :, None], s.given[lanes][:, None, :]
                return cdf_at(f, sign * t, sign * point, sign * source) * values[lanes][:, None, :]

            return s.rows(self.entries_as_points, term)
        low, between, high = (
            column(sum_in_lane(xp.where(some, values, 0.0)))
            for some in (s.given == -xp.inf, finite, s.given == xp.inf)
        )
        sums = xp.where(s.given == -xp.inf, 0.5 * low, low + sums)
        sums = xp.where(s.given == xp.inf, (low + between) + 0.5 * high, sums)
        return (low + between + high) - sums if transpose else sums

    def _by_tree(self, kind: int, values: Floats) -> Floats | None:
        """sum_j K(t_ij) v_j in long lanes, None in short ones."""
        s = self.sources
        found = tree_sums(self.kernels, self.density, kind, s.x, None, values, s.alpha)
        return None if found is None else found[0] + found[1]

    @cached_property
    def _slopes(self) -> Floats | None:
        """sum_j c_j f(t_ij) in long lanes."""
        return self._by_tree(EVEN, self.sources.c)

    def _flow(self, ours: Floats, theirs: Floats) -> Floats:
        """sum_j c_j f(t_ij) (a_i - b_j), exactly nothing for equal numbers."""
        s, f = self.sources, self.density
        if self._slopes is not None:
            origin = theirs[:, :1]
            sums = self._by_tree(EVEN, s.c * (theirs - origin))
            if sums is not None:
                return (ours - origin) * self._slopes - sums

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            apart = ours[lanes, rows][:, :, None] - theirs[lanes][:, None, :]
            return self.kernels.times(s.c[lanes][:, None, :] * f.pdf_at(t), apart)

        return s.rows(self.entries_as_points, term)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        xp = self.xp
        s = self.sources
        moving = xp.isfinite(s.given)
        out = xp.zeros(s.shape)
        if "x" in tangents:
            x_dot = s.tangent(self.sign * tangents["x"])
            out = out + self._flow(x_dot, x_dot) / column(s.alpha)
        if "alpha" in tangents:
            out = out - self._moments() / column(s.alpha) * column(tangents["alpha"])
        out = xp.where(moving, out, 0.0)
        if "weights" in tangents:
            dot = xp.where(self._ranked, s.to_order(tangents["weights"]), 0.0)
            out = out + xp.where(self._ranked, self._sum_of_cdfs(dot), 0.0)
        return s.from_order(out)

    def _moments(self) -> Floats:
        """sum_j c_j f(t_ij) t_ij."""
        s, f = self.sources, self.density
        sums = self._by_tree(ODD, s.c)
        if sums is not None:
            return sums

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            near = f.pdf_at(t)
            return s.c[lanes][:, None, :] * self.xp.where(near == 0.0, 0.0, near * t)

        return s.rows(self.entries_as_points, term)

    def _pull(self, bar: Floats) -> Floats:
        """sum_j f(t_ij) (c_j w_i - c_i w_j)."""
        s, f = self.sources, self.density
        if self._slopes is not None:
            # The tangent of weighted entries would have c_j in both terms.
            sums = self._by_tree(EVEN, bar)
            if s.weighted and sums is not None:
                return bar * self._slopes - s.c * sums
            return self._flow(bar, bar)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            c, ours = s.c[lanes], bar[lanes]
            flow = c[:, None, :] * ours[:, rows, None] - c[:, rows, None] * ours[:, None, :]
            return self.kernels.times(f.pdf_at(t), flow)

        return s.rows(self.entries_as_points, term)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        xp = self.xp
        s = self.sources
        bar = s.to_order(bar)
        moving = xp.where(xp.isfinite(s.given), bar, 0.0)
        bars: dict[str, Array] = {}
        if "x" in wrt:
            x_bar = self._pull(moving) / column(s.alpha)
            bars["x"] = s.cotangent(self.sign * x_bar)
        if "alpha" in wrt:
            bars["alpha"] = -sum_in_lane(moving * self._moments()) / s.alpha
        if "weights" in wrt:
            sums = self._sum_of_cdfs(xp.where(self._ranked, bar, 0.0), transpose=True)
            bars["weights"] = s.from_order(xp.where(self._ranked, sums, 0.0))
        return bars
