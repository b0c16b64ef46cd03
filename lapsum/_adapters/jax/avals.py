"""Abstract arrays of results, under shard_map too: over which axes of devices they vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.core import ShapedArray, Tracer
from jax.interpreters import ad
from jax.sharding import NamedSharding, PartitionSpec


def aval_of(array: Any) -> Any:
    """Return the abstract array of an array."""
    return jax.typeof(array) if hasattr(jax, "typeof") else array.aval


def zero_tangent(array: Any) -> ad.Zero:
    """Return the symbolic zero that is the tangent of an array."""
    return ad.Zero(aval_of(array).to_tangent_aval())


def _varying(aval: Any) -> frozenset[str]:
    """Return the axes of devices over which an abstract array varies, under shard_map."""
    kind = getattr(aval, "manual_axis_type", None)
    found: frozenset[str] = getattr(aval, "vma", frozenset()) if kind is None else kind.varying
    return found


def varying_alike(arrays: Sequence[Any]) -> list[Any]:
    """Return the arrays, each of them varying over all axes over which one of them does.

    The transpose of that adds up the cotangents of what all devices share.
    """
    own = [_varying(a.aval) if isinstance(a, Tracer) else frozenset() for a in arrays]
    union = frozenset().union(*own)
    return [
        a if axes == union else _cast(a, tuple(union - axes))
        for a, axes in zip(arrays, own, strict=True)
    ]


def _cast(array: Any, axes: tuple[str, ...]) -> Any:
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(array, axes, to="varying")
    return jax.lax.pvary(array, axes)


def aval_like(shape: Any, dtype: Any, like: Sequence[Any]) -> Any:
    """Return an abstract array that varies over devices as these do, under shard_map."""
    first = like[0]  # all vary alike
    if first.shape == shape:
        return first.update(dtype=dtype, weak_type=False)
    if _varying(first):
        spec = PartitionSpec(*(None,) * len(shape))
        whole = NamedSharding(first.sharding.mesh, spec)
        return first.update(shape=shape, dtype=dtype, weak_type=False, sharding=whole)
    return ShapedArray(shape, dtype)
