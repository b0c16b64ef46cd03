"""What operators on short lanes share, whatever the density: their blocks, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import _kernels
from ..types import Array, Entries, Flags, Floats
from . import memory
from .threads import Threads

NAN = 2  # what loops say of a lane that holds one; 1 if they leave it, 0 if neither
SMALL = 2**17  # bytes; for larger arrays it matters where their memory comes from


def copy_of(x: Array) -> Array:
    """Return a copy, in memory that is kept for the next if there is much of it."""
    if x.nbytes <= SMALL:
        return x.copy()
    copy: Array = memory.empty(x.shape, x.dtype)
    copy[...] = x
    return copy


class ShortProducts:
    """What operators on short lanes share.

    Attributes
    ----------
    lanes : dict of str to array
        The arguments, without shares of a total.
    values : array
    left, nan : array of bool, shape (lanes,), or None
        The lanes whose values are anything, and those that hold a NaN; None for none.
    may_warn : bool
        Whether products need NumPy's arithmetic, which may warn of floating-point events.
    """

    values: Array
    may_warn = False
    left: Flags | None = None
    nan: Flags | None = None

    def __init__(
        self, threads: Threads, x: Entries, alpha: Floats, weights: Floats | None = None
    ) -> None:
        self.lanes: dict[str, Array] = {"x": x, "alpha": alpha}
        if weights is not None:
            self.lanes["weights"] = weights
        self._threads = threads
        lanes, n = x.shape
        self._blocks, size = _kernels.short_blocks(lanes)
        self._entries = size * n

    def _run(self, loop: Callable[..., None], x: Array, *args: Any) -> Flags | None:
        """Call a loop for all blocks; return which lanes it leaves."""
        found = bytearray(len(x)) if self.left is None else bytearray(self.left)
        if self._blocks == 1:
            loop(x, *args, found, 0, 1)
        else:
            self._threads._run(loop, (self._blocks, self._entries), x, *args, found)
        if found.count(0) == len(found):
            return None
        left = np.frombuffer(found, np.uint8)
        if NAN in found:  # known with the value
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
