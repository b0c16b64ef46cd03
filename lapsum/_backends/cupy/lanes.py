"""Arrays as lanes on the device, and lanes as results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import cupy
import numpy as np

from ..protocol import LinearProducts
from ..types import Array, DType, Entries, Flags, Floats, Indices, Points
from .launch import elementwise


@cache
def numbers_kernel(on_device: tuple[bool, ...]) -> Any:
    """Return the kernel that lays several arrays out in order.

    Each is of any dtype and any strides, or one float on the host.
    """
    several = range(len(on_device))
    kinds = [f"raw {'TUVW'[k]}" if there else "float64" for k, there in enumerate(on_device)]
    entries = [f"in{k}[i]" if there else f"in{k}" for k, there in enumerate(on_device)]
    return elementwise(
        "numbers_of_lanes",
        ", ".join([*(f"{kinds[k]} in{k}" for k in several), *(f"int64 size{k}" for k in several)]),
        ", ".join(f"raw float64 out{k}" for k in several),
        "\n".join(f"if (i < size{k}) out{k}[i] = (double){entries[k]};" for k in several),
    )


TIMES = elementwise(
    "times", "float64 a, float64 b", "float64 out", "out = a == 0.0 || b == 0.0 ? 0.0 : a * b;"
)

LEVELS = elementwise(
    "levels",
    "float64 q, float64 total",
    "float64 level",
    "level = lap_share(q, total);",
)

ALLOWED_LEVELS = elementwise(
    "allowed_levels",
    "float64 k, float64 total, float64 allowance",
    "float64 level",
    "level = lap_level(k, total, allowance);",
)

STEP = elementwise(
    "step",
    "float64 origin, float64 x, float64 alpha",
    "float64 t",
    "t = lap_step(origin, x, alpha);",
)

APART = elementwise(
    "apart",
    "float64 lo, float64 hi, float64 u, float64 x, float64 alpha",
    "float64 t",
    "t = lap_offset(lo, hi, u, x, alpha);",
)

RESCALE = elementwise(
    "rescale", "float64 total, float64 a", "float64 out", "out = ldexp(a, lap_exponent(total));"
)

ROUND = elementwise(
    "round_beside",
    "float64 weight, T result",
    "U rounded",
    """
    rounded = (U)result;
    if (weight == 0.0 && isinf((double)rounded)) rounded = (U)0.0;
    """,
)


class Lanes:
    """The kernels of `protocol.Lanes` that need no scans."""

    def __init__(self) -> None:
        self._identities: dict[int, Indices] = {}

    def quiet(self) -> AbstractContextManager[object]:
        """Return a context in which nothing warns: a device never does."""
        return nullcontext()

    def holds(self, value: object) -> bool:
        """Return whether `value` is an array of this backend."""
        return isinstance(value, cupy.ndarray)

    def identity(self, lanes: int) -> Indices:
        """Return the source lane of lanes that are their own sources."""
        if lanes not in self._identities:
            self._identities[lanes] = cupy.arange(lanes, dtype=np.int64)
        return self._identities[lanes]

    def numbers(self, scalars: Mapping[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Floats]:
        """Return arrays, one number each or one for every lane, in one launch at most."""
        out: dict[str, Floats] = {}
        inputs, lanes = [], []
        for name, (array, shape) in scalars.items():
            there = isinstance(array, cupy.ndarray)
            if there and array.ndim and array.dtype == np.float64 and array.flags.c_contiguous:
                out[name] = array.reshape(shape)
            else:
                out[name] = cupy.empty(shape)
                if there:
                    spread = array.reshape(shape) if array.ndim else cupy.broadcast_to(array, shape)
                inputs.append(spread if there else float(array))
                lanes.append(out[name])
        if lanes:
            kernel = numbers_kernel(tuple(isinstance(array, cupy.ndarray) for array in inputs))
            sizes = [lane.size for lane in lanes]
            kernel(*inputs, *sizes, *lanes, size=max(sizes))
        return out

    def contiguous(self, a: Array) -> Floats:
        """Return `a` as C-contiguous float64, the same object where it is that already.

        What was on the host is no more.
        """
        out: Floats = cupy.ascontiguousarray(cupy.asarray(a), np.float64)
        return out

    def entries(self, a: Array) -> Entries:
        """Return the same of an array whose reader takes float32 as it is."""
        dtype = np.float32 if a.dtype == np.float32 else np.float64
        out: Entries = cupy.ascontiguousarray(cupy.asarray(a), dtype)
        return out

    def own(self, a: Any) -> Any:
        """Return a copy of `a`, of the same dtype and in C order."""
        return a.copy(order="C")

    def detached(self, a: Floats) -> Floats:
        """Return `a` itself: what is beside it is small, and a copy would be a launch."""
        return a

    def round_beside(self, weights: Floats, results: Array, dtype: DType) -> Array:
        """Return results rounded to `dtype`; those of zero weight that overflow are 0."""
        if results.dtype == dtype:
            return results
        rounded: Array = ROUND(weights, results, cupy.empty(results.shape, dtype))
        return rounded

    def finish(self, a: Array, dtype: DType) -> Any:
        """Return `a` rounded once to `dtype`."""
        return a.astype(dtype, copy=False)

    def freeze(self, a: Any) -> Any:
        """Return a copy of `a`, for want of arrays that cannot be written to."""
        return a.copy()

    def linear_operator(self, products: LinearProducts) -> Any:
        """Return a LinearOperator of cupyx."""
        from cupyx.scipy.sparse.linalg import LinearOperator

        p = products
        operator = LinearOperator(p.shape, p.matvec, p.rmatvec, dtype=p.dtype)
        operator.toarray = p.toarray
        return operator

    def times(self, a: Floats, b: Floats) -> Floats:
        """Return a * b, where nothing times an infinity is nothing."""
        out: Floats = TIMES(a, b)
        return out

    def step(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for finite numbers, which broadcast."""
        out: Floats = STEP(origin, x, alpha)
        return out

    def apart(self, points: Points, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for points b and finite sources x, which broadcast."""
        lo, hi, u = points
        if hi is None or u is None:
            return self.step(x, lo, alpha)
        out: Floats = APART(lo, hi, u, x, alpha)
        return out

    def maybe_any(self, flags: Flags) -> bool:
        """Return True: to know would be to wait for the device."""
        return True

    def surely_within(self, values: Array, bound: float) -> bool:
        """Return False: to know would be to wait for the device."""
        return False

    def rescale(self, totals: Floats, *arrays: Floats) -> tuple[Floats, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one."""
        return tuple(
            RESCALE(totals.reshape(totals.shape + (1,) * (a.ndim - totals.ndim)), a) for a in arrays
        )

    def levels(self, q: Floats, totals: Floats | None, n: int) -> Floats:
        """Return the levels q of the totals, NaN where q is not in (0, 1); None for these is n."""
        out: Floats = LEVELS(q, float(n) if totals is None else totals[:, None])
        return out

    def allowed_levels(
        self, levels: Floats, totals: Floats | None, n: int, allowance: float
    ) -> Floats:
        """Return levels, infinite at the total, NaN where they are not in [0, total]."""
        out: Floats = ALLOWED_LEVELS(levels, float(n) if totals is None else totals, allowance)
        return out
