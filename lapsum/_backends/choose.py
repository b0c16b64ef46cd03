"""The choice of kernels by the type of the arrays, and of nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

import numpy as np

from .numpy.kernels import kernels_of as host_kernels_of
from .protocol import Kernels
from .table import ADAPTED, OTHERS, TABLE, AdaptedType, ArrayType

# What the arrays of other libraries have and NumPy's guests (scalars, sequences, pandas) have not.
_FOREIGN = (
    "__array_namespace__",
    "__dlpack__",
    "__array_function__",
    "__cuda_array_interface__",
)
_MAXDIMS = 64  # of a NumPy array: sequences nested deeper are none
_NUMBERS_AND_ARRAYS = frozenset({bool, int, float, np.float64, np.ndarray, type(None)})


_ADAPTED: dict[type, AdaptedType | None] = {}
_MODULES: dict[type, Any] = {}  # that take such arrays, once they are imported


class ForAdapter(TypeError):
    """Among the arguments is an array that an adapter takes: its name, its type and its row.

    `evaluate` hands it over; whatever else meets it, such as `linearize`, has no use for it.
    """

    def __str__(self) -> str:
        name, kind, row = self.args
        return (
            f"`{name}` is a {full_name(kind)}, which only the operators themselves take; call them "
            f"and differentiate by {row.derivatives}, or convert it to a numpy.ndarray first"
        )

    def adapter(self) -> Any:
        """Return the module that takes it."""
        _, _, row = self.args
        return _load(row)


def adapter_of_first(args: Sequence[Any]) -> Any:
    """Return the module that takes the first of some arguments, None if there is none.

    It is `kernels_for` that looks at all arguments.
    """
    if not args or type(args[0]) is np.ndarray:
        return None
    kind = type(args[0])
    if kind in _MODULES:
        return _MODULES[kind]
    row = adapted_type(kind)
    if row is None:
        return None
    _MODULES[kind] = module = _load(row)
    return module


def _load(row: AdaptedType) -> Any:
    return sys.modules["lapsum._adapters"].load(row.adapter)


def adapted_type(kind: type) -> AdaptedType | None:
    """Return the row of the adapter that takes arrays of a type, None for none."""
    try:
        return _ADAPTED[kind]
    except KeyError:
        pass
    # By name, so that no library is imported; and by all bases, for subclasses and tracers.
    bases = {(base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__}
    found = (row for row in ADAPTED if not bases.isdisjoint(row.bases))
    _ADAPTED[kind] = row = next(found, None)
    return row


def array_kind(value: Any, depth: int = 0) -> type | None:
    """Return the type of the array that `value` is, or holds; None for numbers and the like."""
    if isinstance(value, (bool, int, float, np.generic, str)) or depth > _MAXDIMS:
        return None
    if isinstance(value, np.ndarray):
        masked = _is_masked(type(value))
        overrides = type(value).__array_function__ is not np.ndarray.__array_function__
        return type(value) if masked or overrides or isinstance(value, np.matrix) else np.ndarray
    if any(hasattr(value, name) for name in _FOREIGN) or _is_lazy(value):
        return type(value)
    if isinstance(value, Sequence):
        # One look per type, not per element: a long list of floats costs one pass.
        kinds = {type(item): item for item in value}
        nested = any(issubclass(kind, Sequence) for kind in kinds)
        found = (array_kind(item, depth + 1) for item in (value if nested else kinds.values()))
        return next((kind for kind in found if kind not in (None, np.ndarray)), None)
    return None


def _is_lazy(value: Any) -> bool:
    """Return whether looking at the values would compute them, as with xarray over Dask."""
    graph = getattr(value, "__dask_graph__", None)
    return graph is not None and graph() is not None


def _is_masked(kind: type) -> bool:
    ma = sys.modules.get("numpy.ma")
    return ma is not None and issubclass(kind, ma.MaskedArray)


def kernels_for(arguments: Mapping[str, Any], workers: int = 1) -> Kernels:
    """Return the kernels for the arrays among `arguments` (name: value).

    Raises
    ------
    TypeError
        For an array of a library without kernels here, and for arrays of two libraries.
    ForAdapter
        For an array of a library that has an adapter, whatever the others are.
    """
    for value in arguments.values():
        if type(value) not in _NUMBERS_AND_ARRAYS:
            other = _other_library(arguments)
            if other is not None:
                module = import_module(f"{__package__}.{other.kernels}")
                return cast(Kernels, module.kernels_of(arguments, workers))
            break
    return host_kernels_of(arguments, workers)


def _other_library(arguments: Mapping[str, Any]) -> ArrayType | None:
    """Return the library of the arrays, None for NumPy; refuse mixtures and any unknown one."""
    for name, value in arguments.items():
        row = adapted_type(type(value))
        if row is not None:
            raise ForAdapter(name, type(value), row)
    kinds = {
        name: kind for name, value in arguments.items() if (kind := array_kind(value)) is not None
    }
    for other in OTHERS:
        ours = getattr(sys.modules.get(other.library), other.name, None)
        if ours is not None and any(issubclass(kind, ours) for kind in kinds.values()):
            refuse_mixtures(arguments, ours)
            return other
    foreign = {name: kind for name, kind in kinds.items() if kind is not np.ndarray}
    if foreign:
        name, kind = next(iter(foreign.items()))
        others = sorted({full_name(other) for other in kinds.values()} - {full_name(kind)})
        beside = f" beside {' and '.join(others)}" if others else ""
        taken = ", ".join(f"{row.library}.{row.name}" for row in TABLE)
        advice = f"convert it to one of {taken} first"
        if adapted_type(kind) is not None:
            advice = "stack what the sequence holds into one array"
        elif any(_is_lazy(value) for value in arguments.values()):
            advice = "call its method compute first"
        elif _is_masked(kind):
            advice = (
                "give its data and `weights=~numpy.ma.getmaskarray(...)`; operators without "
                "weights skip keys of inf, or of -inf when descending"
            )
        raise TypeError(
            f"`{name}` is an array of type {full_name(kind)}{beside}, for which lapsum has no "
            f"kernels; {advice}"
        )
    return None


def refuse_mixtures(arguments: Mapping[str, Any], ours: type) -> None:
    """Raise TypeError unless all arrays are of one type."""
    arrays = {name: value for name, value in arguments.items() if isinstance(value, ours)}
    for name, value in arguments.items():
        if name in arrays or isinstance(value, np.generic):
            continue
        if array_kind(value) is not None or hasattr(value, "__array__"):
            beside = f" beside `{next(iter(arrays))}`" if arrays else ""
            raise TypeError(
                f"`{name}` is a {full_name(type(value))}{beside}, and {full_name(ours)} is what "
                "the arrays of this call must be; convert it first"
            )


def full_name(kind: type) -> str:
    """Return the name of a type with that of its module."""
    return f"{kind.__module__}.{kind.__qualname__}"
