"""What came in: arrays of real numbers, the kernels for them, and the dtypes of results."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._backends.choose import array_kind, full_name, kernels_for
from .._backends.protocol import Kernels
from .._backends.types import Array, DType

_FLOATS = (np.float16, np.float32, np.float64)
_FLOAT64: np.dtype[np.float64] = np.dtype(np.float64)


def real_array(kernels: Kernels, name: str, value: Any) -> Array:
    """Return `value` as an array of bool, integers or floats of at most 64 bits.

    Numbers and sequences are NumPy's until they are laid out.
    """
    if type(value) is float or type(value) is int:
        return _number(name, value)
    if isinstance(value, np.ndarray) and kernels.on_host:
        array = value.view(np.ndarray)
    elif kernels.holds(value):
        array = value
    else:
        _refuse_missing(name, value)
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"`{name}` is not an array: {error}") from None
    if array.dtype.kind not in "biu" and array.dtype.type not in _FLOATS:
        raise TypeError(
            f"`{name}` must be real numbers of at most 64 bits, got {_described(value, array)}"
        )
    return array


def _number(name: str, value: float) -> Array:
    """Return a number of Python as an array."""
    try:
        return np.asarray(float(value))
    except OverflowError:
        bits = int(value).bit_length()  # it may have more digits than Python prints
        raise ValueError(
            f"`{name}` must be within the range of floats, got an integer of {bits} bits"
        ) from None


def _refuse_missing(name: str, value: Any) -> None:
    """Raise TypeError for categories and for missing values of pandas, which are no numbers."""
    isna = getattr(value, "isna", None)
    if isna is None:
        return
    if hasattr(value, "dtypes") and hasattr(value, "items") and not hasattr(value, "dtype"):
        for _, column in value.items():  # of a table
            _refuse_missing(name, column)
        return
    dtype = getattr(value, "dtype", None)
    if dtype is None or isinstance(dtype, np.dtype):
        return
    kind = f"{type(value).__name__} of dtype {dtype}"
    if str(dtype) == "category":
        raise TypeError(f"`{name}` must be real numbers, got {kind}; its codes are `.cat.codes`")
    if isna().any():
        weightless = ", and give them no weight" if name in ("x", "r") else ""
        raise TypeError(
            f"`{name}` must be real numbers, got {kind} with missing values; fill them{weightless}"
        )


def _described(value: Any, array: Array) -> str:
    """Return what `value`, whose dtype does not do, is called in an error."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if hasattr(value, "toarray"):
        return f"{kind}; make it dense by its method toarray"
    return kind if array.dtype == object and not array.ndim else f"{kind} of dtype {array.dtype}"


def array_beside(kernels: Kernels, name: str, value: Any) -> Array:
    """Return `value` as an array of the library that `kernels` are for, if it is not another's."""
    if type(value) is np.ndarray and value.dtype is _FLOAT64 and kernels.on_host:
        return value
    theirs = kernels_for({name: value})
    number = isinstance(value, np.generic)
    if theirs.xp is not kernels.xp and hasattr(value, "__array__") and not number:
        raise TypeError(f"`{name}` is a {type(value).__name__}, unlike the arrays it goes with")
    return real_array(kernels, name, value)


def array_of_shape(kernels: Kernels, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return `value` as `array_beside` does, if it has that shape."""
    array = array_beside(kernels, name, value)
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {array.shape}")
    return array


def arguments(
    workers: int | None, values: Mapping[str, Any], weights: Any = None
) -> tuple[Kernels, dict[str, Array], dict[str, DType]]:
    """Return the kernels, the arrays by name, and the dtypes that their cotangents have.

    Arrays are the caller's, and those of numbers and sequences NumPy's.
    """
    if weights is not None:
        values = {**values, "weights": weights}
    kernels = kernels_for(values, 1 if workers is None else worker_count(workers))
    arrays: dict[str, Array] = {}
    dtypes: dict[str, DType] = {}
    for name, value in values.items():
        kind = type(value)
        if kind is np.ndarray and value.dtype is _FLOAT64:
            arrays[name] = value
            dtypes[name] = _FLOAT64
        elif kind is float or kind is int:
            arrays[name] = _number(name, value)
            dtypes[name] = _FLOAT64
        else:
            arrays[name] = array = real_array(kernels, name, value)
            dtypes[name] = float_dtype(value, array)
    return kernels, arrays, dtypes


def host_arguments(
    module: str, workers: int | None, values: Mapping[str, Any]
) -> tuple[Kernels, dict[str, Array], dict[str, DType]]:
    """Return the same for a module whose kernels are for NumPy arrays alone."""
    found = arguments(workers, values)
    if found[0].on_host:
        return found
    name, value = next((n, a) for n, a in values.items() if array_kind(a) not in (None, np.ndarray))
    raise TypeError(
        f"`{name}` is an array of type {full_name(type(value))}, for which {module} has no "
        "kernels; convert it to a numpy.ndarray first"
    )


def float_dtype(value: Any, array: Array) -> DType:
    """Return the dtype that `value` counts as: floats as they are, everything else float64."""
    if array.dtype == _FLOAT64:
        return _FLOAT64
    python = isinstance(value, (list, tuple, float)) and not isinstance(value, np.floating)
    if array.dtype.kind == "f" and not python:
        native: DType = np.dtype(array.dtype.newbyteorder("="))
        return native
    return _FLOAT64


def float_type(name: str, dtype: Any) -> DType:
    """Return a dtype that results may have: float16, float32 or float64."""
    try:
        result: DType = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result.type not in _FLOATS:
        raise TypeError(f"`{name}` must be float16, float32 or float64, got {dtype!r}")
    return result.newbyteorder("=")


def worker_count(workers: Any) -> int:
    """Return how many threads `workers` asks for; negative ones count from the CPUs."""
    try:
        count = operator.index(workers)
    except TypeError:
        raise TypeError(f"`workers` must be an integer or None, got {workers!r}") from None
    cpus = os.cpu_count() or 1
    if count < 0:
        count += 1 + cpus
    if count <= 0:
        raise ValueError(
            f"`workers` must be positive, or at least -{cpus} to count from the CPUs, got {workers}"
        )
    return count
