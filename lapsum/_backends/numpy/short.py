"""Whole operators on short lanes of NumPy arrays, several lanes at once.

One pass over the memory of a block of lanes is all that a value takes, and another for a product;
what a product needs of the value is a byte an entry, or a few numbers a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ... import _kernels
from ..protocol import ShortLanes
from ..types import Array, Entries, EvenKernel, Flags, Floats, ShortOperator
from . import memory
from .even import Even
from .short_products import ShortProducts, copy_of
from .threads import Threads

FEW = 8  # levels of quantiles


class Short(Even):
    """The kernels of `protocol.Short`."""

    def short_lanes(
        self,
        operator: ShortOperator,
        density: EvenKernel | None,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return the results of an operator, None if the lanes are too long."""
        if density is not None:
            return self.even_lanes(density, operator, x, sign, alpha, levels, keep, out)
        lanes, n = x.shape
        if not lanes or not 0 < n <= _kernels.short_most():
            return None
        if keep:
            x, alpha = copy_of(x), alpha.copy()
        if levels is None:
            loops = _RANKS if operator == "ranks" else _SORTS
            return _InOrder(self, loops, x, sign, alpha, keep, out)
        if keep:
            levels = levels.copy()
        if operator == "quantiles":
            if not 0 < levels.shape[1] <= FEW:
                return None
            return _Quantiles(self, x, alpha, levels, keep)
        return _Topk(self, x, sign, alpha, levels, operator == "log_topk", keep, out)


class _InOrder(ShortProducts):
    """Ranks or sorted values, by all entries in order."""

    def __init__(
        self,
        threads: Threads,
        loops: tuple[Callable[..., None], ...],
        x: Entries,
        sign: float,
        alpha: Floats,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, x, alpha)
        value, self._vjp, self._jvp = loops
        self.values = np.empty(x.shape, x.dtype) if out is None else out
        places = memory.empty((self._blocks * self._entries,), np.uint8) if keep else None
        self._given = sign, alpha, places
        self.left = self._run(value, x, sign, alpha, self.values, places)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x))
        left = self._run(self._vjp, x, *self._given, bar, x_bar, alpha_bar)
        return {"x": x_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(x.shape)
        return out, self._run(self._jvp, x, *self._given, x_dot, alpha_dot, out)


class _Topk(ShortProducts):
    """F((b - z)/alpha), or its logarithm, by the threshold b of each lane."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats,
        logarithm: bool,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, x, alpha)
        self.lanes["k"] = levels
        self.values = p = np.empty(x.shape, x.dtype) if out is None else out
        found = np.empty(_kernels.short_found(len(x))) if keep else None
        self._given = sign, alpha, found, logarithm
        self.left = self._run(_kernels.short_topk, x, sign, alpha, levels, logarithm, p, found)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, k_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x)), np.empty(len(x))
        outputs = x_bar, k_bar, alpha_bar
        left = self._run(_kernels.short_topk_vjp, x, *self._given, bar, *outputs)
        return {"x": x_bar, "k": k_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        k_dot = tangents["k"] if "k" in tangents else np.zeros(len(x))
        out = np.empty(x.shape)
        dots = x_dot, k_dot, alpha_dot
        return out, self._run(_kernels.short_topk_jvp, x, *self._given, *dots, out)


class _Quantiles(ShortProducts):
    """Few thresholds of each lane, at shares q of how many entries it has."""

    def __init__(self, threads: Threads, x: Entries, alpha: Floats, q: Floats, keep: bool) -> None:
        super().__init__(threads, x, alpha)
        lanes, few = q.shape
        self.values = np.empty(q.shape)
        found = np.empty(_kernels.short_found(lanes) * few) if keep else None
        self._given = alpha, found, few
        levels = q * x.shape[1]
        self.left = self._run(_kernels.short_quantiles, x, alpha, levels, few, self.values, found)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x = self.lanes["x"]
        x_bar, levels_bar, alpha_bar = (
            np.empty(x.shape, x.dtype),
            np.empty(bar.shape),
            np.empty(len(x)),
        )
        outputs = x_bar, levels_bar, alpha_bar
        left = self._run(_kernels.short_quantiles_vjp, x, *self._given, bar, *outputs)
        return {"x": x_bar, "q": levels_bar * x.shape[1], "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(self.values.shape)
        levels_dot = tangents["q"] * x.shape[1] if "q" in tangents else np.zeros(out.shape)
        dots = x_dot, levels_dot, alpha_dot
        return out, self._run(_kernels.short_quantiles_jvp, x, *self._given, *dots, out)


_RANKS = _kernels.short_ranks, _kernels.short_ranks_vjp, _kernels.short_ranks_jvp
_SORTS = _kernels.short_sorts, _kernels.short_sorts_vjp, _kernels.short_sorts_jvp
