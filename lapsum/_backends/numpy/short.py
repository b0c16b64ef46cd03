"""Whole operators on short lanes of NumPy arrays, several lanes at once.

One pass over the memory of a block of lanes is all that a value takes, and another for a product;
what a product needs of the value is a byte an entry, or a few numbers a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ... import _kernels
from ..protocol import ShortLanes
from ..types import Array, Entries, EvenKernel, Flags, Floats, ShortOperator
from . import memory
from .even import Even
from .short_permute import ShortMatrix, ShortPermute
from .short_products import ShortProducts, copy_of
from .threads import Threads

FEW = 8  # levels of quantiles


class Short(Even):
    """The kernels of `protocol.Short`."""

    longest_short: int = _kernels.short_most()

    def short_lanes(
        self,
        operator: ShortOperator,
        density: EvenKernel | None,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        weights: Floats | None,
        total: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return the results of an operator, None if the lanes are too long."""
        if density is not None:
            if weights is not None:
                return None
            return self._even_lanes(density, operator, x, sign, alpha, levels, keep, out)
        lanes, n = x.shape
        if not lanes or not 0 < n <= self.longest_short:
            return None
        if keep:
            x, alpha = copy_of(x), alpha.copy()
            weights = weights if weights is None else copy_of(weights)
        if operator == "permutation":
            return ShortMatrix(self, x, alpha, keep)
        if levels is None:
            if operator == "sorts":
                return _Sorts(self, x, sign, alpha, keep, out)
            return _Ranks(self, x, sign, alpha, weights, keep, out)
        if keep:
            levels = levels.copy()
        if operator == "quantiles":
            if not 0 < levels.shape[1] <= FEW:
                return None
            return _Quantiles(self, x, alpha, levels, weights, total, keep)
        return _Topk(self, x, sign, alpha, levels, weights, operator == "log_topk", keep, out)

    def short_permute(
        self,
        x: Entries,
        sign: float,
        alpha: Floats,
        values: Floats,
        transpose: bool,
        keep: bool,
    ) -> ShortLanes | None:
        """Return products of permutations with values, None if the lanes are too long."""
        lanes, n = x.shape
        if not lanes or not 0 < n <= self.longest_short:
            return None
        return ShortPermute(self, x, sign, alpha, values, transpose, keep)


class _Ranks(ShortProducts):
    """Ranks, by all entries in order."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        sign: float,
        alpha: Floats,
        weights: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, x, alpha, weights)
        self.values = np.empty(x.shape, x.dtype) if out is None else out
        places = memory.empty((self._blocks * self._entries,), np.uint8) if keep else None
        self._given = sign, alpha, weights, places
        loop = _kernels.short_ranks
        self.left = self._run(loop, x, sign, alpha, weights, self.values, places)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x))
        bars, weights_bar = self._bars(x_bar, alpha_bar)
        outputs = x_bar, alpha_bar, weights_bar
        return bars, self._run(_kernels.short_ranks_vjp, x, *self._given, bar, *outputs)

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out, dots = np.empty(x.shape), (x_dot, alpha_dot, tangents.get("weights"))
        return out, self._run(_kernels.short_ranks_jvp, x, *self._given, *dots, out)


class _Sorts(ShortProducts):
    """Sorted values, by all entries in order."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        sign: float,
        alpha: Floats,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, x, alpha, None)
        self.values = np.empty(x.shape, x.dtype) if out is None else out
        places = memory.empty((self._blocks * self._entries,), np.uint8) if keep else None
        self._given = sign, alpha, places
        self.left = self._run(_kernels.short_sorts, x, sign, alpha, self.values, places)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x))
        left = self._run(_kernels.short_sorts_vjp, x, *self._given, bar, x_bar, alpha_bar)
        return {"x": x_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(x.shape)
        return out, self._run(_kernels.short_sorts_jvp, x, *self._given, x_dot, alpha_dot, out)


class _Topk(ShortProducts):
    """F((b - z)/alpha), or its logarithm, by the threshold b of each lane."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats,
        weights: Floats | None,
        logarithm: bool,
        keep: bool,
        out: Array | None,
    ) -> None:
        super().__init__(threads, x, alpha, weights)
        self.lanes["k"] = levels
        self.values = p = np.empty(x.shape, x.dtype) if out is None else out
        found = np.empty(_kernels.short_found(len(x))) if keep else None
        self._given = sign, alpha, weights, found, logarithm
        given, loop = (x, sign, alpha, weights, levels, logarithm), _kernels.short_topk
        self.left = self._run(loop, *given, p, found)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, k_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x)), np.empty(len(x))
        bars, weights_bar = self._bars(x_bar, alpha_bar)
        bars["k"] = k_bar
        outputs = x_bar, k_bar, alpha_bar, weights_bar
        return bars, self._run(_kernels.short_topk_vjp, x, *self._given, bar, *outputs)

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        k_dot = tangents["k"] if "k" in tangents else np.zeros(len(x))
        out, dots = np.empty(x.shape), (x_dot, k_dot, alpha_dot, tangents.get("weights"))
        return out, self._run(_kernels.short_topk_jvp, x, *self._given, *dots, out)


class _Quantiles(ShortProducts):
    """Few thresholds of each lane, at shares q of the total weight."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        alpha: Floats,
        q: Floats,
        weights: Floats | None,
        total: Floats | None,
        keep: bool,
    ) -> None:
        super().__init__(threads, x, alpha, weights)
        lanes, few = q.shape
        whole = x.shape[1] if total is None else total[:, None]
        self.values = np.empty(q.shape)
        found = np.empty(_kernels.short_found(lanes) * few) if keep else None
        self._given = alpha, weights, found, q, total, few
        given = x, alpha, weights, q * whole, few
        self.left = self._run(_kernels.short_quantiles, *given, self.values, found)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x = self.lanes["x"]
        x_bar, q_bar = np.empty(x.shape, x.dtype), np.empty(bar.shape)
        alpha_bar = np.empty(len(x))
        bars, weights_bar = self._bars(x_bar, alpha_bar)
        bars["q"] = q_bar
        outputs = x_bar, q_bar, alpha_bar, weights_bar
        return bars, self._run(_kernels.short_quantiles_vjp, x, *self._given, bar, *outputs)

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(self.values.shape)
        q_dot = np.zeros(out.shape)
        if "q" in tangents:
            q_dot = np.ascontiguousarray(tangents["q"]).reshape(out.shape)
        dots = x_dot, q_dot, alpha_dot, tangents.get("weights")
        return out, self._run(_kernels.short_quantiles_jvp, x, *self._given, *dots, out)
