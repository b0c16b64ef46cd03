"""Operators with other even densities on NumPy arrays: short lanes pair by pair, several at once.

Top-k by the logistic density takes a few passes over lanes of any length.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ... import _kernels
from ..protocol import ShortLanes, ShortPermutation
from ..types import Array, Entries, EvenKernel, Flags, Floats, Indices, ShortOperator, sum_in_lane
from . import memory
from .even_permutation import EvenMatrices, EvenPermutation
from .even_products import LOGARITHM, PLAIN, EvenProducts, rounded, times
from .lanes import Lanes
from .short_products import copy_of
from .threads import Threads

KINDS = {"logistic": 0, "normal": 1, "cauchy": 2, "student": 3, "table": 4}
# Sums of f so small belong to thresholds in gaps whose two sides need more care.
LEAST, LEAST_OF_TABLES = 1e-250, 1e-3
SMALL = 1e-6  # smaller F have too few digits in a table, which errs as near F(0)
FARTHEST = 1e150  # the square of t, which Student's takes, may overflow beyond
FAINT_SUM = 3e-17  # beside smaller sums of f, F above 1/2 is 1


class Even(Lanes):
    """What `short_lanes` does for other densities."""

    def _even_lanes(
        self,
        density: EvenKernel,
        operator: ShortOperator,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return the results of an operator, None if there is no kernel for lanes like these."""
        lanes, n = x.shape
        short = 0 < n <= _kernels.short_most()
        topk = operator in ("topk", "log_topk")
        if not lanes or not (short or (n and topk and density.name == "logistic")):
            return None
        far = _far_in(density)
        f = _loops_for(density)
        if keep:
            x, alpha = copy_of(x), alpha.copy()
        if operator == "permutation":
            return EvenMatrices(self, f, x, alpha, far) if n > 1 else None
        if operator == "ranks":
            return _Ranks(self, f, x, sign, alpha, out)
        if levels is None:
            return _Roots(self, f, x, sign, alpha, np.empty((0, n)), keep, out)
        if operator == "quantiles":
            return _Roots(self, f, x, sign, alpha, levels, keep, out)
        levels = levels.copy() if keep else levels
        make = _Topk if short else _LogisticTopk
        return make(self, f, x, sign, alpha, levels, far, operator == "log_topk", keep, out)

    def short_permutation(
        self, density: EvenKernel, x: Entries, alpha: Floats
    ) -> ShortPermutation | None:
        """Return the permutations of lanes, None if they are too long."""
        lanes, n = x.shape
        if not lanes or not 1 < n <= _kernels.short_most():
            return None
        f, far = _loops_for(density), _far_in(density)
        return EvenPermutation(self, f, copy_of(x), alpha.copy(), far)


def _far_in(density: EvenKernel) -> float:
    """Return the t beyond which F(-t) is not exact relative to itself."""
    table = density.tail
    if table is None:
        return FARTHEST if density.name == "student" else np.inf
    small = table.coefficients[:, 0] < SMALL  # F(-t) where each polynomial begins
    octave, panel = divmod(int(np.argmax(small)), 2**table.bits)
    begins = np.ldexp(1.0 + panel / 2**table.bits, octave) - 1.0
    return float(begins / table.unit) if small.any() else np.inf


def _loops_for(density: EvenKernel) -> _kernels.Even:
    least = LEAST_OF_TABLES if density.name == "table" else LEAST
    return _kernels.Even(KINDS[density.name], least, *density[1:])


class _Ranks(EvenProducts):
    """Ranks, by the sums over all pairs of entries."""

    def __init__(
        self,
        threads: Threads,
        f: _kernels.Even,
        x: Entries,
        sign: float,
        alpha: Floats,
        out: Array | None,
    ) -> None:
        super().__init__(threads, f, x, alpha)
        self.values = np.empty(x.shape, x.dtype) if out is None else out
        self._given = sign, alpha
        self.left = self._even(_kernels.even_ranks, x, *self._given, self.values)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x))
        left = self._even(_kernels.even_ranks_vjp, x, *self._given, bar, x_bar, alpha_bar)
        return {"x": x_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(x.shape)
        return out, self._even(_kernels.even_ranks_jvp, x, *self._given, x_dot, alpha_dot, out)


class _Roots(EvenProducts):
    """Thresholds at several levels: at shares of how many entries there are, or sorted values."""

    def __init__(
        self,
        threads: Threads,
        f: _kernels.Even,
        x: Entries,
        sign: float,
        alpha: Floats,
        shares: Floats,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, f, x, alpha)
        lanes = len(x)
        self._sorts, self._sign = not len(shares), sign
        m = shares.shape[1]
        levels = None if self._sorts else shares * x.shape[1]
        anchor, u, b = (memory.empty((lanes, m)) for _ in range(3))
        results = anchor, u, b
        self.left = self._even(_kernels.even_solve, x, 1.0, alpha, levels, 0.5, m, *results)
        if self._sorts:
            b = self._turned(np.maximum.accumulate(b, axis=1))
        self.values = np.empty(b.shape, x.dtype if self._sorts else b.dtype) if out is None else out
        rounded(b, self.values)
        if keep:
            self._given = alpha, anchor, u, m

    def _turned(self, b: Array) -> Array:
        return b[:, ::-1] if self._sorts and self._sign < 0.0 else b

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self.lanes["x"], np.ascontiguousarray(self._turned(bar), np.float64)
        x_bar, levels_bar, alpha_bar = np.empty(x.shape), np.empty(bar.shape), np.empty(len(x))
        outputs = x_bar, levels_bar, alpha_bar
        left = self._even(_kernels.even_solve_vjp, x, *self._given, bar, *outputs)
        bars: dict[str, Array] = {"x": x_bar, "alpha": alpha_bar}
        if not self._sorts:
            bars["q"] = levels_bar * x.shape[1]
        return bars, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out, levels_dot = np.empty(self.values.shape), None
        if "q" in tangents:
            levels_dot = np.ascontiguousarray(tangents["q"] * x.shape[1]).reshape(out.shape)
        dots = x_dot, levels_dot, alpha_dot
        left = self._even(_kernels.even_solve_jvp, x, *self._given, *dots, out)
        return self._turned(out), left


class _Topk(EvenProducts):
    """F(t) with t = (b - z)/alpha, or its logarithm, by the threshold b of each lane."""

    def __init__(
        self,
        threads: Threads,
        f: _kernels.Even,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats,
        far: float,
        logarithm: bool,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, f, x, alpha)
        self.lanes["k"] = levels
        self._sign, self._far, self._logarithm = sign, far, logarithm
        values = out if out is not None and out.dtype == np.float64 else np.empty(x.shape)
        kept, nothing = x.shape if keep else (len(x), 0), np.empty((len(x), 0))
        self._shares = memory.empty(kept)
        # The derivative in t of a logarithm, and of F, but for the sums.
        self._flow = memory.empty(kept) if logarithm else self._shares
        self._sums, self._b = np.empty((2, len(x)))
        self._solve(values, self._shares, self._flow if logarithm else nothing)
        self.values = values
        if out is not None or x.dtype != np.float64:
            self.values = rounded(values, np.empty(x.shape, x.dtype) if out is None else out)

    def _solve(self, p: Floats, shares: Floats, flow: Floats) -> None:
        """Find F(t) or its logarithm, shares and sums of f(t), and the logarithm's derivative."""
        x, alpha, levels = self.lanes["x"], self.lanes["alpha"], self.lanes["k"]
        anchor, u = np.empty((2, len(x)))
        given = x, self._sign, alpha
        self.left = self._even(_kernels.even_solve, *given, levels, 0.0, 1, anchor, u, self._b)
        if self._far < np.inf:
            largest = self._sign * (x.max(axis=1) if self._sign > 0.0 else x.min(axis=1))
            self._leave_distant(largest - self._b, self._far)
        kept = (a if a.size else None for a in (shares, flow))
        form = LOGARITHM if self._logarithm else PLAIN
        left = self._even(_kernels.even_entries, *given, anchor, u, form, p, *kept, self._sums)
        if left is not None:
            self._leave(left)

    def _differences(self) -> tuple[Indices, Floats]:
        """Return the entry of each lane with the largest share, and how far the others are."""
        origin = np.argmax(self._shares, axis=1)[:, None]
        x = self.lanes["x"].astype(np.float64, copy=False)
        return origin, x - np.take_along_axis(x, origin, axis=1)

    @property
    def _rate(self) -> Floats | float:
        """What derivatives of the values in t are over `_flow`."""
        return 1.0 if self._logarithm else self._sums

    def _above(self) -> Flags:
        """Return where F is 1 though derivatives of its logarithm may be anything, by `_flow`."""
        some = self._sums < FAINT_SUM
        if not some.any():
            return np.zeros(self._flow.shape, bool)
        return some[:, None] & (self._sign * self.lanes["x"] < self._b[:, None])

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        alpha = self.lanes["alpha"][:, None]
        origin, apart = self._differences()
        dot = np.zeros(apart.shape)
        if "x" in tangents:
            dot = self._sign * tangents["x"] / alpha
        if "alpha" in tangents:
            dot = dot - self._sign * apart / alpha * tangents["alpha"][:, None] / alpha
        dot = dot - np.take_along_axis(dot, origin, axis=1)
        dot = sum_in_lane(self._shares * dot)[:, None] - dot
        out = self._flow * (np.reshape(self._rate, (-1, 1)) * dot)
        if "k" in tangents:
            by_level = self._shares
            if self._logarithm:
                above = self._above()
                by_level = np.where(above, by_level, self._flow / self._sums[:, None])
            out = out + times(tangents["k"][:, None], by_level)
        return out, self.left

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        alpha, rate = self.lanes["alpha"], self._rate
        origin, apart = self._differences()
        flow = bar * self._flow
        total = sum_in_lane(flow)
        level_bar = total
        if self._logarithm:
            above = self._above()
            below = sum_in_lane(np.where(above, 0.0, flow)) if above.any() else total
            level_bar = np.where(below == 0.0, 0.0, below / self._sums)
            if above.any():
                level_bar = level_bar + sum_in_lane(np.where(above, bar * self._shares, 0.0))
        pulled = self._shares * total[:, None]
        pulled -= flow
        # What belongs to the origin counts for nothing here.
        alpha_bar = -self._sign * rate * sum_in_lane(pulled * apart) / alpha / alpha
        # All add up to zero; what is nearly all of the shares is a difference, got from the others.
        np.put_along_axis(pulled, origin, 0.0, axis=1)
        np.put_along_axis(pulled, origin, -sum_in_lane(pulled)[:, None], axis=1)
        pulled *= (self._sign * rate / alpha)[:, None]
        return {"x": pulled, "k": level_bar, "alpha": alpha_bar}, self.left


class _LogisticTopk(_Topk):
    """The same by passes over lanes of any length."""

    def _solve(self, p: Floats, shares: Floats, flow: Floats) -> None:
        x, alpha, levels = self.lanes["x"], self.lanes["alpha"], self.lanes["k"]
        x = np.ascontiguousarray(x, np.float64)
        solved = np.empty(len(x), np.int8)
        results = p, shares, flow, self._sums, solved
        given = x, self._sign, levels, alpha, self._logarithm
        self._threads._run(_kernels.logistic_topk, x.shape, *given, *results)
        if not solved.all():
            self.left = solved == 0
            self._sums[self.left] = 1.0
        shares /= self._sums[:, None]
