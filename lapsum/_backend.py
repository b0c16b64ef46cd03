"""The choice of kernels by the type of the arrays, and of nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _numpy

SERIAL = _numpy.SERIAL

# What the arrays of other libraries have and NumPy's guests (scalars, sequences, pandas) have not.
_FOREIGN = (
    "__array_namespace__",
    "__dlpack__",
    "__array_function__",
    "__cuda_array_interface__",
)
_MAXDIMS = 64  # of a NumPy array: sequences nested deeper are none
_NUMBERS_AND_ARRAYS = frozenset({bool, int, float, np.float64, np.ndarray, type(None)})


def array_kind(value: Any, depth: int = 0) -> type | None:
    """Return the type of the array that `value` is, or holds; None for numbers and the like."""
    if isinstance(value, (bool, int, float, np.generic, str)) or depth > _MAXDIMS:
        return None
    if isinstance(value, np.ndarray):
        masked = _is_masked(type(value))
        overrides = type(value).__array_function__ is not np.ndarray.__array_function__
        return type(value) if masked or overrides or isinstance(value, np.matrix) else np.ndarray
    if any(hasattr(value, name) for name in _FOREIGN):
        return type(value)
    if isinstance(value, Sequence):
        # One look per type, not per element: a long list of floats costs one pass.
        kinds = {type(item): item for item in value}
        nested = any(issubclass(kind, Sequence) for kind in kinds)
        found = (array_kind(item, depth + 1) for item in (value if nested else kinds.values()))
        return next((kind for kind in found if kind not in (None, np.ndarray)), None)
    return None


def _is_masked(kind: type) -> bool:
    ma = sys.modules.get("numpy.ma")
    return ma is not None and issubclass(kind, ma.MaskedArray)


def kernels_for(arguments: Mapping[str, Any], workers: int = 1) -> Any:
    """Return the kernels for the arrays among `arguments` (name: value).

    Raises
    ------
    TypeError
        For an array of a library without kernels here, and for arrays of two libraries.
    """
    for value in arguments.values():
        if type(value) not in _NUMBERS_AND_ARRAYS:
            if _on_device(arguments):
                from ._backends.cupy import kernels

                return kernels.Kernels()
            break
    return SERIAL if workers == 1 else _numpy.Kernels(workers)


def _on_device(arguments: Mapping[str, Any]) -> bool:
    """Return whether the arrays are CuPy's; refuse those of any library but it and NumPy."""
    kinds = {
        name: kind for name, value in arguments.items() if (kind := array_kind(value)) is not None
    }
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(issubclass(kind, cupy.ndarray) for kind in kinds.values()):
        _refuse_mixtures(arguments, cupy)
        return True
    foreign = {name: kind for name, kind in kinds.items() if kind is not np.ndarray}
    if foreign:
        name, kind = next(iter(foreign.items()))
        others = sorted({_full_name(other) for other in kinds.values()} - {_full_name(kind)})
        beside = f" beside {' and '.join(others)}" if others else ""
        advice = "convert it to a numpy.ndarray first"
        if _is_masked(kind):
            advice = (
                "give its data and `weights=~numpy.ma.getmaskarray(...)`; operators without "
                "weights skip keys of inf, or of -inf when descending"
            )
        raise TypeError(
            f"`{name}` is an array of type {_full_name(kind)}{beside}, for which lapsum has no "
            f"kernels; {advice}"
        )
    return False


def _refuse_mixtures(arguments: Mapping[str, Any], cupy: Any) -> None:
    """Raise TypeError unless all arrays are CuPy's, and on the current device."""
    ours = cupy.ndarray
    arrays = {name: value for name, value in arguments.items() if isinstance(value, ours)}
    for name, value in arguments.items():
        if name in arrays or isinstance(value, np.generic):
            continue
        if array_kind(value) is not None or hasattr(value, "__array__"):
            beside = f" beside `{next(iter(arrays))}`" if arrays else ""
            raise TypeError(
                f"`{name}` is a {_full_name(type(value))}{beside}, and {_full_name(ours)} is what "
                "the arrays of this call must be; convert it first"
            )
    devices = {str(array.device): array.device for array in arrays.values()}
    if len(devices) > 1:
        raise TypeError(f"arrays are on several devices: {', '.join(sorted(devices))}")
    here = cupy.cuda.Device()
    for name, device in devices.items():
        if getattr(device, "id", None) != getattr(here, "id", None):
            raise TypeError(f"arrays are on {name}, and the current device is {here}")


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
