"""The choice of kernels by the type of the arrays, and of nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from . import _numpy

# What the arrays of other libraries have and NumPy's guests (scalars, sequences, pandas) have not.
_FOREIGN = (
    "__array_namespace__",
    "__dlpack__",
    "__array_function__",
    "__cuda_array_interface__",
)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _foreign_in(value: Any) -> type | None:
    """Return the type of an array NumPy would convert silently or wrongly, if there is one."""
    if isinstance(value, np.ndarray):
        ma = sys.modules.get("numpy.ma")
        if isinstance(value, np.matrix) or (ma is not None and isinstance(value, ma.MaskedArray)):
            return type(value)
        overrides = type(value).__array_function__ is not np.ndarray.__array_function__
        return type(value) if overrides else None
    if isinstance(value, np.generic):
        return None
    if isinstance(value, (list, tuple)):
        # One look per type, not per element: a long list of floats costs one pass.
        kinds = {type(item): item for item in value}
        if any(issubclass(kind, (list, tuple)) for kind in kinds):
            nested: Iterable[Any] = value
        else:
            nested = kinds.values()
        return next(filter(None, map(_foreign_in, nested)), None)
    if any(hasattr(type(value), name) for name in _FOREIGN):
        return type(value)
    return None


def kernels_for(arguments: Mapping[str, Any]) -> ModuleType:
    """Return the module of kernels for the arrays among `arguments` (name: value).

    Raises
    ------
    TypeError
        For an array of a library without kernels here, and for arrays of two libraries.
    """
    host: type | None = None
    for name, value in arguments.items():
        foreign = _foreign_in(value)
        if foreign is None:
            if isinstance(value, np.ndarray):
                host = np.ndarray
            continue
        for other in arguments.values():
            if isinstance(other, np.ndarray) and not isinstance(value, np.ndarray):
                host = np.ndarray
        beside = f" beside {_name(host)}" if host is not None else ""
        raise TypeError(
            f"`{name}` is an array of type {_name(foreign)}{beside}, for which lapsum has no "
            "kernels; convert it to a numpy.ndarray first"
        )
    return _numpy
