"""Which way integers are sorted: by NumPy, or by their digits."""

from __future__ import annotations

from functools import cache

import numpy as np

from ... import _kernels

FROM = 2**11  # shorter lanes are never sorted by digits


def by_digits(n: int) -> bool:
    """Return whether to sort n integers by their digits."""
    return FROM <= n < 2**32 and numpy_is_slow()


@cache
def numpy_is_slow() -> bool:
    """Return whether NumPy takes longer to sort integers than digits take.

    It does without vector instructions, and with those of AVX-512 on AMD's processors, where the
    one that it is built on is slow.  What counts is what NumPy dispatches on: its features change
    their names in some versions, and can be switched off.
    """
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    if any(features.get(name) for name in ("AVX512_SKX", "X86_V4")):
        return _kernels.vendor() == "amd"
    return not any(features.get(name) for name in ("AVX2", "X86_V3", "ASIMD", "VSX2", "VXE2"))
