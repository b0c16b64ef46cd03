"""Memory for large arrays that never leave this package."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from ..types import Array

# Freed blocks of up to 32 MiB are kept by glibc's malloc, 64 MiB of them in all; what is more goes
# back to the system, whose new pages take longer to get than to fill.
MALLOC_KEEPS = 2**25

# From half of that on, the arrays of one call may be more than 64 MiB together.
LEAST, MOST = 2**24, 2**26

_kept: list[Array] = []


@cache
def _teach_malloc() -> None:
    """Have malloc keep that much: it starts with less, and learns from what it gets back."""
    np.empty(MALLOC_KEEPS - 2**16, np.uint8)


class _Loan:
    """Memory that is kept for the next array once no view of this one is left."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self, kept: list[Array] = _kept) -> None:
        kept[:] = [self.memory]


def empty(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Return an array as `np.empty` does; if large, in the memory of one that is gone.

    One block of at most `MOST` bytes is kept for that, so no result may be made here: what users
    hold, and for how long, is theirs to say.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > 2**17:
        _teach_malloc()
    if not LEAST < size <= MOST:
        return np.empty(shape, dtype)
    memory: Array | None = None
    with suppress(IndexError):  # another thread may be first
        memory = _kept.pop()
    if memory is None or memory.nbytes < size:
        memory = np.empty(size, np.uint8)
    block: Array = np.asarray(_Loan(memory))
    block = block[:size].view(dtype)
    return block.reshape(shape)
