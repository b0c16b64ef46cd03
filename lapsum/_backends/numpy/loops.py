"""The compiled loops by the dtype of what they read or write, and the choice of SIMD level."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _kernels
from ..types import DType

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NAMES: dict[DType, str] = {FLOAT32: "float", FLOAT64: "double"}


def by_dtype(loop: Any) -> dict[DType, Callable[..., None]]:
    """Return a loop compiled for entries of both kinds by their dtype."""
    return {dtype: loop[name] for dtype, name in _NAMES.items()}


PACK = by_dtype(_kernels.pack)
UNPACK = by_dtype(_kernels.unpack)
DISTRIBUTE = by_dtype(_kernels.distribute)
REARRANGE = by_dtype(_kernels.rearrange)
RANKS = by_dtype(_kernels.ranks)
SELECT = by_dtype(_kernels.select)
PULL = by_dtype(_kernels.pull)
PUSH = by_dtype(_kernels.push)
SOFTMAX = by_dtype(_kernels.softmax)
PERMUTATION = by_dtype(_kernels.permutation)

simd = _kernels.choose(os.environ.get("LAPSUM_SIMD", ""))
if simd is None:
    raise ImportError(
        f"LAPSUM_SIMD={os.environ['LAPSUM_SIMD']!r} is not a level of this processor; leave it "
        "unset, or set it to baseline, avx2 or avx512"
    )


def written(dtype: DType | None) -> DType:
    """Return the dtype in which loops write a result that is to have the given one."""
    return FLOAT32 if dtype == FLOAT32 else FLOAT64
