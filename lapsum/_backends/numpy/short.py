"""Whole operators on short lanes of NumPy arrays, several lanes at once.

One pass over the memory of a block of lanes is all that a value takes, and another for a product;
what a product needs of the value is a byte an entry, or a few numbers a lane.
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

SMALL = 2**17  # bytes; for larger arrays it matters where their memory comes from


class Short(Lanes):
    """The kernels of `protocol.Short`."""

    def short_lanes(
        self,
        operator: ShortOperator,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return the results of an operator, None if the lanes are too long."""
        lanes, n = x.shape
        if not lanes or not 0 < n <= _kernels.short_most():
            return None
        if keep:
            x, alpha, levels = _copy(x), alpha.copy(), None if levels is None else levels.copy()
        values = np.empty(x.shape, x.dtype) if out is None else out
        if levels is None:
            return _InOrder(self, operator, x, sign, alpha, values, keep)
        return _Selected(self, operator, x, sign, alpha, levels, values, keep)


def _copy(x: Entries) -> Entries:
    if x.nbytes <= SMALL:
        return x.copy()
    copy: Entries = memory.empty(x.shape, x.dtype)
    copy[...] = x
    return copy


class _Short:
    """What the operators share.

    Attributes
    ----------
    lanes : dict of str to array
        The arguments.
    values : array, shape (lanes, n)
    left : array of bool, shape (lanes,), or None
        The lanes whose values are anything, None for none.
    """

    def __init__(self, threads: Threads, lanes: dict[str, Array], values: Array) -> None:
        self.lanes = lanes
        self.values = values
        self.left: Flags | None = None
        self._threads = threads
        count, n = values.shape
        blocks, size = _kernels.short_blocks(count)
        self._shape = blocks, size * n

    def _run(self, loop: Callable[..., None], x: Array, *args: Any) -> Flags | None:
        """Call a loop for all blocks; return which lanes it leaves."""
        left = np.zeros(len(x), np.uint8)
        if self.left is not None:
            left[self.left] = 1
        self._threads._run(loop, self._shape, x, *args, left)
        return left.view(np.bool_) if 1 in left.tobytes() else None

    def _alike(self, values: Array) -> tuple[Array, Array]:
        """Return the entries and `values` in one dtype, that of both or float64."""
        x = self.lanes["x"]
        if x.dtype != values.dtype:
            return x.astype(np.float64, copy=False), values.astype(np.float64, copy=False)
        return x, values

    def _tangents(self, tangents: Mapping[str, Array]) -> tuple[Array, Array, Array, Array]:
        """Return the entries, and tangents of them, of alpha and of the level."""
        zeros = np.zeros(len(self.values))
        alpha_dot = tangents.get("alpha", zeros)
        level_dot = tangents.get("k", zeros)
        x = self.lanes["x"].astype(np.float64, copy=False)
        return x, tangents["x"] if "x" in tangents else np.zeros(x.shape), alpha_dot, level_dot


class _InOrder(_Short):
    """Ranks or sorted values, by all entries in order."""

    def __init__(
        self,
        threads: Threads,
        operator: ShortOperator,
        x: Array,
        sign: float,
        alpha: Floats,
        values: Array,
        keep: bool,
    ) -> None:
        super().__init__(threads, {"x": x, "alpha": alpha}, values)
        self._sign = sign
        value, self._vjp, self._jvp = _RANKS if operator == "ranks" else _SORTS
        blocks, entries = self._shape
        self._places = memory.empty((blocks * entries,), np.uint8) if keep else None
        self.left = self._run(value, x, sign, alpha, values, self._places)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x))
        arguments = self._sign, self.lanes["alpha"], self._places
        left = self._run(self._vjp, x, *arguments, bar, x_bar, alpha_bar)
        return {"x": x_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot, _ = self._tangents(tangents)
        out = np.empty(x.shape)
        arguments = self._sign, self.lanes["alpha"], self._places
        return out, self._run(self._jvp, x, *arguments, x_dot, alpha_dot, out)


class _Selected(_Short):
    """F((b - z)/alpha), or its logarithm, by the threshold b of each lane."""

    def __init__(
        self,
        threads: Threads,
        operator: ShortOperator,
        x: Array,
        sign: float,
        alpha: Floats,
        levels: Floats,
        values: Array,
        keep: bool,
    ) -> None:
        super().__init__(threads, {"x": x, "alpha": alpha, "k": levels}, values)
        self._sign = sign
        self._logarithm = operator == "log_topk"
        self._found = np.empty(_kernels.short_found(len(x))) if keep else None
        self.left = self._run(
            _kernels.short_topk, x, sign, alpha, levels, self._logarithm, values, self._found
        )

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, bar = self._alike(bar)
        x_bar, level_bar, alpha_bar = np.empty(x.shape, x.dtype), np.empty(len(x)), np.empty(len(x))
        arguments = self._sign, self.lanes["alpha"], self._found, self._logarithm
        left = self._run(_kernels.short_topk_vjp, x, *arguments, bar, x_bar, level_bar, alpha_bar)
        return {"x": x_bar, "k": level_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot, level_dot = self._tangents(tangents)
        out = np.empty(x.shape)
        arguments = self._sign, self.lanes["alpha"], self._found, self._logarithm
        return out, self._run(
            _kernels.short_topk_jvp, x, *arguments, x_dot, level_dot, alpha_dot, out
        )


_RANKS = _kernels.short_ranks, _kernels.short_ranks_vjp, _kernels.short_ranks_jvp
_SORTS = _kernels.short_sorts, _kernels.short_sorts_vjp, _kernels.short_sorts_jvp
