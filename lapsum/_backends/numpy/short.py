"""Whole operators on short lanes of NumPy arrays, several lanes at once.

One pass over the memory of a block of lanes is all that a value takes, and another for a product;
what a product needs of the value is a byte an entry, or a few numbers a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import _kernels
from ..protocol import ShortLanes
from ..types import Array, Entries, Flags, Floats, ShortOperator
from . import memory
from .lanes import Lanes
from .threads import Threads

FEW = 8  # levels of quantiles
NAN = 2  # what loops say of a lane that holds one; 1 if they leave it, 0 if neither
SMALL = 2**17  # bytes; for larger arrays it matters where their memory comes from


class Short(Lanes):
    """The kernels of `protocol.Short`."""

    longest_short: int = _kernels.short_most()

    def short_lanes(
        self,
        operator: ShortOperator,
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
        lanes, n = x.shape
        if not lanes or not 0 < n <= self.longest_short:
            return None
        if keep:
            x, alpha = _copy(x), alpha.copy()
            weights = weights if weights is None else _copy(weights)
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


def _copy(x: Array) -> Array:
    if x.nbytes <= SMALL:
        return x.copy()
    copy: Array = memory.empty(x.shape, x.dtype)
    copy[...] = x
    return copy


class _Short:
    """What the operators share.

    Attributes
    ----------
    lanes : dict of str to array
        The arguments, without shares of a total.
    values : array
    left, nan : array of bool, shape (lanes,), or None
        The lanes whose values are anything, and those that hold a NaN; None for none.
    """

    values: Array

    def __init__(self, threads: Threads, x: Entries, alpha: Floats, weights: Floats | None) -> None:
        self.lanes: dict[str, Array] = {"x": x, "alpha": alpha}
        if weights is not None:
            self.lanes["weights"] = weights
        self.left: Flags | None = None
        self.nan: Flags | None = None
        self._threads = threads
        lanes, n = x.shape
        self._blocks, size = _kernels.short_blocks(lanes)
        self._entries = size * n

    def _run(self, loop: Callable[..., None], x: Array, *args: Any) -> Flags | None:
        """Call a loop for all blocks; return which lanes it leaves."""
        left = np.zeros(len(x), np.uint8)
        if self.left is not None:
            left[self.left] = 1
        self._threads._run(loop, (self._blocks, self._entries), x, *args, left)
        if left.tobytes().count(0) == len(left):
            return None
        if NAN in left:  # known with the value
            self.nan = left == NAN
        some: Flags = left == 1
        if self.nan is not None:
            some &= ~self.nan
        return some if some.any() else None

    def _alike(self, values: Array) -> tuple[Array, Array]:
        """Return the entries and `values` in one dtype, that of both or float64."""
        x = self.lanes["x"]
        if x.dtype != values.dtype:
            return x.astype(np.float64, copy=False), values.astype(np.float64, copy=False)
        return x, values

    def _bars(self, x_bar: Array, alpha_bar: Floats) -> tuple[dict[str, Array], Floats | None]:
        """Return cotangents by name, and that of weights, if there are any."""
        bars = {"x": x_bar, "alpha": alpha_bar}
        if "weights" not in self.lanes:
            return bars, None
        bars["weights"] = weights_bar = np.empty(x_bar.shape)
        return bars, weights_bar

    def _tangents(self, tangents: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """Return the entries, and tangents of them and of alpha."""
        x = self.lanes["x"].astype(np.float64, copy=False)
        x_dot = tangents["x"] if "x" in tangents else np.zeros(x.shape)
        return x, x_dot, tangents["alpha"] if "alpha" in tangents else np.zeros(len(x))


class _Ranks(_Short):
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


class _Sorts(_Short):
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


class _Topk(_Short):
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


class _Quantiles(_Short):
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
        self._whole = x.shape[1] if total is None else total[:, None]
        self.values = np.empty(q.shape)
        found = np.empty(_kernels.short_found(lanes) * few) if keep else None
        self._given = alpha, weights, found, q, few
        given = x, alpha, weights, q * self._whole, few
        self.left = self._run(_kernels.short_quantiles, *given, self.values, found)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x = self.lanes["x"]
        x_bar, levels_bar = np.empty(x.shape, x.dtype), np.empty(bar.shape)
        alpha_bar = np.empty(len(x))
        bars, weights_bar = self._bars(x_bar, alpha_bar)
        outputs = x_bar, levels_bar, alpha_bar, weights_bar
        left = self._run(_kernels.short_quantiles_vjp, x, *self._given, bar, *outputs)
        bars["q"] = levels_bar * self._whole
        return bars, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(self.values.shape)
        levels_dot = tangents["q"] * self._whole if "q" in tangents else np.zeros(out.shape)
        dots = x_dot, levels_dot, alpha_dot, tangents.get("weights")
        return out, self._run(_kernels.short_quantiles_jvp, x, *self._given, *dots, out)
