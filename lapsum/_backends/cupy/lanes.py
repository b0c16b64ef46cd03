"""Arrays as lanes on the device, and lanes as results."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import cupy
import numpy as np

from .launch import Array, elementwise


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


class Lanes:
    """What every group may need: lanes from arrays, results from lanes, copies, products."""

    def __init__(self) -> None:
        self._identities: dict[int, Array] = {}

    def quiet(self) -> Any:
        """Return a context in which nothing warns: a device never does."""
        return nullcontext()

    def holds(self, value: Any) -> bool:
        """Return whether `value` is an array of this backend."""
        return isinstance(value, cupy.ndarray)

    def identity(self, lanes: int) -> Array:
        """Return the key of lanes that are their own sources."""
        if lanes not in self._identities:
            self._identities[lanes] = cupy.arange(lanes, dtype=np.int64)
        return self._identities[lanes]

    def numbers(self, spread: dict[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Array]:
        """Return what `Layout.spread` returns as float64 lanes, in one launch at most."""
        out, inputs, lanes = {}, [], []
        for name, (array, shape) in spread.items():
            there = isinstance(array, cupy.ndarray)
            if there and array.ndim and array.dtype == np.float64 and array.flags.c_contiguous:
                out[name] = array.reshape(shape)
            else:
                out[name] = cupy.empty(shape)
                inputs.append(cupy.broadcast_to(array, shape) if there else float(array))
                lanes.append(out[name])
        if lanes:
            kernel = numbers_kernel(tuple(isinstance(array, cupy.ndarray) for array in inputs))
            sizes = [lane.size for lane in lanes]
            kernel(*inputs, *sizes, *lanes, size=max(sizes))
        return out

    def contiguous(self, a: Array) -> Array:
        """Return `a` as C-contiguous float64, the same object where it is that already.

        What was on the host is no more.
        """
        return cupy.ascontiguousarray(cupy.asarray(a), np.float64)

    def entries(self, a: Array) -> Array:
        """Do the same for what `select`, `pull` and `order` read: float32 stays as it is."""
        dtype = np.float32 if a.dtype == np.float32 else np.float64
        return cupy.ascontiguousarray(cupy.asarray(a), dtype)

    def own(self, a: Array) -> Array:
        """Return a copy of `a`, of the same dtype and in C order."""
        return a.copy(order="C")

    def finish(self, a: Array, dtype: Any) -> Array:
        """Return `a` rounded once to `dtype`."""
        return a.astype(dtype, copy=False)

    def freeze(self, a: Array) -> Array:
        """Return a copy of `a`, for want of arrays that cannot be written to."""
        return a.copy()

    def linear_operator(self, shape: Any, matvec: Any, rmatvec: Any, dtype: Any) -> Any:
        """Return a LinearOperator of cupyx."""
        from cupyx.scipy.sparse.linalg import LinearOperator

        return LinearOperator(shape, matvec, rmatvec, dtype=dtype)

    def times(self, a: Array, b: Array) -> Array:
        """Return a * b, where nothing times an infinity is nothing."""
        return TIMES(a, b)
