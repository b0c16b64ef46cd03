"""Soft ranks, for any density."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backends.types import Array, Flags, Floats, sum_in_lane
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.rule import Tangents
from .rules import GeneralEntries, column


class GeneralRank(GeneralEntries):
    """The rule of `soft_rank`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int = -1,
        descending: bool = False,
        density: Any,
    ) -> None:
        sign = -1.0 if check_flag("descending", descending) else 1.0
        values = {"x": x, "alpha": alpha}
        super().__init__(workers, values, weights, axis, density=density, sign=sign)

    def value(self, out: Array | None = None) -> Array:
        """Return the ranks."""
        s, f = self.sources, self.density

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return s.c[lanes][:, None, :] * f.at(t)

        low, high = column(s.low), column(s.high)
        ranks = 0.5 + (low + s.rows(self.entries_as_points, term))
        ranks = np.where(s.given == -np.inf, 0.5 + 0.5 * low, ranks)
        whole = column(s.before[0][:, -1])
        ranks = np.where(s.given == np.inf, 0.5 + ((low + whole) + 0.5 * high), ranks)
        absent = ~s.present & ~np.isfinite(s.given)
        return with_nan(self.kernels, s.invalid, s.from_order(np.where(absent, 0.0, ranks)))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, f = self.sources, self.density
        moving = np.isfinite(s.given)
        out = np.zeros(s.shape)
        if "x" in tangents:
            x_dot = s.tangent(self.sign * tangents["x"])

            def along_x(t: Floats, lanes: slice, rows: slice) -> Floats:
                apart = x_dot[lanes, rows][:, :, None] - x_dot[lanes][:, None, :]
                return s.c[lanes][:, None, :] * f.pdf_at(t) * apart

            out = out + s.rows(self.entries_as_points, along_x) / column(s.alpha)
        if "alpha" in tangents:
            out = out - self._moments() / column(s.alpha) * column(tangents["alpha"])
        out = np.where(moving, out, 0.0)
        if "weights" in tangents:
            out = out + self._by_weights(tangents["weights"])
        return s.from_order(out)

    def _moments(self) -> Floats:
        """sum_j c_j f(t_ij) t_ij."""
        s, f = self.sources, self.density

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            near = f.pdf_at(t)
            return s.c[lanes][:, None, :] * np.where(near == 0.0, 0.0, near * t)

        return s.rows(self.entries_as_points, term)

    def _by_weights(self, weights_dot: Floats) -> Floats:
        """sum_j F(t_ij) c_dot_j, infinite entries included."""
        s = self.sources
        dot = s.to_order(weights_dot)
        dot = np.where(np.isnan(s.given), 0.0, dot)
        moving = np.where(np.isfinite(s.given), dot, 0.0)

        at_low, at_high = self._ends()
        low, high = (column(sum_in_lane(np.where(end, dot, 0.0))) for end in (at_low, at_high))
        whole = column(sum_in_lane(moving))
        out = low + self._all_pairs(moving)
        out = np.where(at_low, 0.5 * low, np.where(at_high, low + whole + 0.5 * high, out))
        return np.where(at_low | at_high | np.isfinite(s.given), out, 0.0)

    def _ends(self) -> tuple[Flags, Flags]:
        """Return which entries are at -inf and at inf."""
        s = self.sources
        return s.present & (s.given == -np.inf), s.present & (s.given == np.inf)

    def _all_pairs(self, values: Floats, transpose: bool = False) -> Floats:
        """sum_j F(t_ij) v_j for finite entries, those of zero weight included, or the transpose."""
        s, f = self.sources, self.density
        back = -1.0 if transpose else 1.0

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return values[lanes][:, None, :] * f.at(back * t)

        return s.rows(self.entries_as_points, term)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, f = self.sources, self.density
        bar = s.to_order(bar)
        moving = np.where(np.isfinite(s.given), bar, 0.0)
        bars: dict[str, Array] = {}
        if "x" in wrt:

            def along_x(t: Floats, lanes: slice, rows: slice) -> Floats:
                c, ours = s.c[lanes], moving[lanes]
                flow = c[:, None, :] * ours[:, rows, None] - c[:, rows, None] * ours[:, None, :]
                return f.pdf_at(t) * flow

            x_bar = s.rows(self.entries_as_points, along_x) / column(s.alpha)
            bars["x"] = s.cotangent(self.sign * x_bar)
        if "alpha" in wrt:
            bars["alpha"] = -sum_in_lane(moving * self._moments()) / s.alpha
        if "weights" in wrt:
            at_low, at_high = self._ends()
            low, high = (column(sum_in_lane(np.where(end, bar, 0.0))) for end in (at_low, at_high))
            out = high + self._all_pairs(moving, transpose=True)
            above = column(sum_in_lane(moving)) + high
            out = np.where(at_low, above + 0.5 * low, np.where(at_high, 0.5 * high, out))
            known = at_low | at_high | np.isfinite(s.given)
            bars["weights"] = s.from_order(np.where(known, out, 0.0))
        return bars
