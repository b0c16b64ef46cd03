"""What every operator asks of its arguments; each error names the argument and shows what came."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._backends.choose import SERIAL, array_kind, kernels_for
from .layout import Layout

_FLOATS = (np.float16, np.float32, np.float64)
_FLOAT64: np.dtype[np.float64] = np.dtype(np.float64)


def real_array(kernels: Any, name: str, value: Any) -> Any:
    """Return `value` as an array of bool, integers or floats of at most 64 bits.

    Numbers and sequences are NumPy's until they are laid out.
    """
    if type(value) is float or type(value) is int:
        try:
            return np.asarray(float(value))
        except OverflowError:
            bits = int(value).bit_length()  # it may have more digits than Python prints
            raise ValueError(
                f"`{name}` must be within the range of floats, got an integer of {bits} bits"
            ) from None
    if isinstance(value, np.ndarray) and kernels.on_host:
        array = value.view(np.ndarray)
    elif kernels.holds(value):
        array = value
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"`{name}` is not an array: {error}") from None
    if array.dtype.kind not in "biu" and array.dtype.type not in _FLOATS:
        raise TypeError(
            f"`{name}` must be real numbers of at most 64 bits, got {_described(value, array)}"
        )
    return array


def _described(value: Any, array: Any) -> str:
    """Return what `value`, whose dtype does not do, is called in an error."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if hasattr(value, "toarray"):
        return f"{kind}; make it dense by its method toarray"
    return kind if array.dtype == object and not array.ndim else f"{kind} of dtype {array.dtype}"


def array_beside(kernels: Any, name: str, value: Any) -> Any:
    """Return `value` as an array of the library that `kernels` are for, if it is not another's."""
    theirs = kernels_for({name: value})
    number = isinstance(value, np.generic)
    if theirs.xp is not kernels.xp and hasattr(value, "__array__") and not number:
        raise TypeError(f"`{name}` is a {type(value).__name__}, unlike the arrays it goes with")
    return real_array(kernels, name, value)


class Running(NamedTuple):
    """How a call is run.

    Attributes
    ----------
    workers : int or None
        Number of threads, as the caller gave it.
    keep : bool
        Whether the arrays are to be copied, since they outlive the call.
    spare : tuple of str
        Those of them that the rule does not keep, and which need no copy.
    out : array or None
        Where the caller wants the result.
    """

    workers: int | None = None
    keep: bool = False
    spare: tuple[str, ...] = ()
    out: Any = None


ALONE = Running()


def arguments(
    running: Running, values: Mapping[str, Any], weights: Any = None
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the kernels, the arrays by name, and the dtypes that their cotangents have."""
    if weights is not None:
        values = {**values, "weights": weights}
    workers = running.workers
    kernels = kernels_for(values, 1 if workers is None else worker_count(workers))
    arrays: dict[str, Any] = {}
    dtypes: dict[str, Any] = {}
    for name, value in values.items():
        if type(value) is np.ndarray and value.dtype is _FLOAT64:
            arrays[name], dtypes[name] = value, _FLOAT64
        elif type(value) is float or type(value) is int:
            arrays[name], dtypes[name] = real_array(kernels, name, value), _FLOAT64
        else:
            arrays[name] = array = real_array(kernels, name, value)
            dtypes[name] = float_dtype(value, array)
    if running.keep:
        for name in arrays.keys() - set(running.spare):
            arrays[name] = kernels.own(arrays[name])
    return kernels, arrays, dtypes


def float_dtype(value: Any, array: Any) -> np.dtype[Any]:
    """Return the dtype that `value` counts as: floats as they are, everything else float64."""
    if array.dtype == _FLOAT64:
        return _FLOAT64
    python = isinstance(value, (list, tuple, float)) and not isinstance(value, np.floating)
    if array.dtype.kind == "f" and not python:
        native: np.dtype[Any] = np.dtype(array.dtype.newbyteorder("="))
        return native
    return _FLOAT64


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


def check_out(kernels: Any, out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return `out` if it can hold a result: an array of exactly its shape and dtype."""
    if not kernels.holds(out) or array_kind(out) is not kernels.xp.ndarray:
        raise TypeError(f"`out` must be an array like the result, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"`out` must have shape {shape} and dtype {dtype}, got shape "
            f"{out.shape} and dtype {out.dtype}"
        )
    if kernels.on_host and not out.flags.writeable:
        raise ValueError("`out` must be writeable, got a read-only array")
    return out


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool, if it is one or the integer 0 or 1."""
    if value is True or value is False:
        return value
    try:
        number = operator.index(bool(value) if isinstance(value, np.bool_) else value)
    except TypeError:
        number = -1
    if number not in (0, 1):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return number == 1


def normalize_axis(axis: Any, ndim: int, name: str = "x") -> int:
    """Return `axis` as a negative number, counted from the end."""
    if type(axis) is int and -ndim <= axis < 0:
        return axis
    if axis is None or isinstance(axis, tuple):
        hint = "; ravel the array to work along all of it" if axis is None else ""
        raise TypeError(f"`axis` must be one integer, got {axis!r}{hint}")
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"`axis` must be one integer, got {axis!r}") from None
    if ndim == 0:
        raise ValueError(f"`{name}` must have at least one dimension, got a 0-d array")
    if not -ndim <= index < ndim:
        raise np.exceptions.AxisError(index, ndim)
    return index if index < 0 else index - ndim


def batch_of(name: str, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the axes of `shape` without `axis`, which counts from the end."""
    if len(shape) < -axis:
        raise ValueError(
            f"`{name}` of shape {shape} has no axis {axis}; it must be 1-D or have that axis"
        )
    position = len(shape) + axis
    return shape[:position] + shape[position + 1 :]


def joint_batch(first: str, a: tuple[int, ...], second: str, b: tuple[int, ...]) -> tuple[int, ...]:
    """Return the batch shape that two batch shapes broadcast to."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(
            f"`{first}` and `{second}` do not fit: their axes other than `axis`, {a} and {b}, do "
            "not broadcast"
        ) from None


def scalar_layout(kernels: Any, name: str, array: Any, batch: tuple[int, ...]) -> Layout:
    """Return the layout of one scalar a lane, which must broadcast to `batch`."""
    try:
        fits = np.broadcast_shapes(array.shape, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        each = f", or one for each lane, of shape {batch}" if batch else ""
        raise ValueError(
            f"`{name}` of shape {array.shape} does not broadcast to the batch shape {batch} (the "
            f"axes but `axis`): give one number{each}"
        )
    return Layout(kernels, array.shape, None, batch)


def weights_layout(
    kernels: Any, array: Any, shape: tuple[int, ...], axis: int, batch: tuple[int, ...], of: str
) -> Layout:
    """Return the layout of weights: of the shape of what they weigh, or 1-D along its axis."""
    if array.shape == shape:
        return Layout(kernels, shape, axis, batch)
    if array.shape == (shape[axis],):
        return Layout(kernels, array.shape, -1, batch)
    raise ValueError(
        f"`weights` of shape {array.shape} must have the shape {shape} of `{of}`, or be 1-D of "
        f"length {shape[axis]}"
    )


def _first(array: Any, bad: Any) -> Any:
    return array[bad].flat[0].item()


def check_alpha(alpha: Any) -> None:
    """Raise ValueError unless every alpha on the host is positive and finite."""
    if type(alpha) is not np.ndarray:
        return
    if not alpha.ndim and 0.0 < alpha.item() < math.inf:
        return
    bad = ~((alpha > 0) & np.isfinite(alpha))
    if bad.any():
        value = _first(alpha, bad)
        hint = ""
        if value == 0:
            hint = "; any tiny number gives the hard limit"
        elif value < 0:
            hint = "; the order is chosen by a keyword, not by a sign"
        raise ValueError(f"`alpha` must be positive and finite, got {value!r}{hint}")


def check_weights(weights: Any) -> None:
    """Raise ValueError unless every weight on the host is non-negative and finite."""
    if type(weights) is not np.ndarray or not weights.size:
        return
    if weights.min() >= 0 and weights.max() < np.inf:
        return
    bad = ~((weights >= 0) & np.isfinite(weights))
    if bad.any():
        raise ValueError(f"`weights` must be non-negative and finite, got {_first(weights, bad)!r}")


def check_total(total: Any) -> None:
    """Raise ValueError if weights on the host add up to more than the largest float."""
    if type(total) is np.ndarray and not np.isfinite(total).all():
        raise ValueError("`weights` must have a finite sum, got one that overflows")


def check_q(q: Any) -> None:
    """Raise ValueError unless every q on the host lies strictly between 0 and 1."""
    if type(q) is not np.ndarray:
        return
    if not q.ndim and 0.0 < q.item() < 1.0:
        return
    bad = ~((q > 0) & (q < 1))
    if bad.any():
        raise ValueError(f"`q` must lie strictly between 0 and 1, got {_first(q, bad)!r}")


def check_k(kernels: Any, given: Any, k: Any, total: Any, n: int) -> Any:
    """Return the levels k, one a lane, infinite where they are the total weight.

    That is `total`, or n without weights, and they may exceed it by a few roundings.  For a device
    they are returned as they are, and only k that were `given` on the host, beside entries without
    weights, are refused.
    """
    levels, bad = k, -1
    if kernels.on_host:
        levels, bad = kernels.check_levels(k, total, n)
    elif total is None and not kernels.holds(given):
        k = np.ravel(given).astype(float)
        _, bad = SERIAL.check_levels(k, total, n)
    if bad >= 0:
        most = f"{n}, the number of entries"
        if total is not None:
            most = f"the total weight {total[bad].item()!r}"
        raise ValueError(f"`k` must lie between 0 and {most}, got {k[bad].item()!r}")
    return levels
