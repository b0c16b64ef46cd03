"""The compiled loops by the dtype of what they read or write, and the choice of SIMD level."""

from __future__ import annotations

import os

import numpy as np

from ... import _kernels
from ..types import DType

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NAMES = {FLOAT32: "float", FLOAT64: "double"}

PACK = {dtype: _kernels.pack[name] for dtype, name in _NAMES.items()}
UNPACK = {dtype: _kernels.unpack[name] for dtype, name in _NAMES.items()}
DISTRIBUTE = {dtype: _kernels.distribute[name] for dtype, name in _NAMES.items()}
REARRANGE = {dtype: _kernels.rearrange[name] for dtype, name in _NAMES.items()}
RANKS = {dtype: _kernels.ranks[name] for dtype, name in _NAMES.items()}
SELECT_TOPK = {dtype: _kernels.select_topk[name] for dtype, name in _NAMES.items()}
SELECT_THRESHOLDS = {dtype: _kernels.select_thresholds[name] for dtype, name in _NAMES.items()}
PULL = {dtype: _kernels.pull[name] for dtype, name in _NAMES.items()}
PUSH = {dtype: _kernels.push[name] for dtype, name in _NAMES.items()}
SOFTMAX = {dtype: _kernels.softmax[name] for dtype, name in _NAMES.items()}
PULL_WEIGHTS = {dtype: _kernels.pull_weights[name] for dtype, name in _NAMES.items()}
PERMUTATION = {dtype: _kernels.permutation[name] for dtype, name in _NAMES.items()}

simd = _kernels.choose(os.environ.get("LAPSUM_SIMD", ""))
if simd is None:
    levels = [level for level in ("baseline", "avx2", "avx512") if _kernels.choose(level)]
    raise ImportError(
        f"LAPSUM_SIMD={os.environ['LAPSUM_SIMD']!r} is not a level of this processor; leave it "
        f"unset, or set it to {' or '.join(levels)}"
    )


def written(dtype: DType | None) -> DType:
    """Return the dtype in which loops write a result that is to have the given one."""
    return FLOAT32 if dtype == FLOAT32 else FLOAT64
