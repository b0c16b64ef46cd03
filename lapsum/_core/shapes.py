"""Shapes and axes without data; in shapes of results lengths may be symbols of a compiler."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def broadcast(first: str, a: Shape, second: str, b: Shape) -> Shape:
    """Return what two shapes broadcast to, as `joint_batch`; lengths may be symbols."""
    if len(a) < len(b):
        a, b = b, a
    lead = len(a) - len(b)
    if any(m != n and m != 1 and n != 1 for m, n in zip(a[lead:], b, strict=True)):
        return joint_batch(first, a, second, b)  # which raises
    return a[:lead] + tuple(n if m == 1 else m for m, n in zip(a[lead:], b, strict=True))


def broadcast_of(a: Shape, b: Shape) -> Shape:
    """Return what two shapes broadcast to; mostly they agree, or one is empty."""
    if a == b or not b:
        return a
    return np.broadcast_shapes(a, b) if a else b


def reduced_shape(shape: Shape, axes: Shape | None, keepdims: bool) -> Shape:
    """Return a shape without some axes, None for all, or with 1 there."""
    axes = tuple(range(-len(shape), 0)) if axes is None else axes
    return kept_shape(shape, axes) if keepdims else batch_without(shape, axes)


def with_length(shape: Shape, axis: int, length: int) -> Shape:
    """Return a shape with another length along an axis, which counts from the end."""
    at = len(shape) + axis
    return (*shape[:at], length, *shape[at + 1 :])


def shape_along_axis(shapes: Mapping[str, Shape], names: tuple[str, str], axis: int) -> Shape:
    """Return the shape of what is computed for each element along `axis` of the first of two.

    A 1-D argument lies along that axis, and a 0-d one is a number in each lane.
    """
    first, second = (shapes[name] for name in names)
    axes = [-1 if len(shape) == 1 else axis for shape in (first, second)]
    of_second = batch_of(names[1], second, axes[1])
    if not first:
        return of_second
    batch = broadcast(names[0], batch_of(names[0], first, axes[0]), names[1], of_second)
    at = len(batch) + 1 + axis
    return (*batch[:at], first[axes[0]], *batch[at:])


def kept_shape(shape: Shape, axes: Shape) -> Shape:
    """Return a shape with ones at axes that count from the end."""
    return tuple(1 if i - len(shape) in axes else n for i, n in enumerate(shape))


def normalize_axis(axis: Any, shape: Shape, name: str = "x", *, several: bool = False) -> int:
    """Return `axis` of an array of that shape as a negative number, counted from the end."""
    ndim = len(shape)
    if type(axis) is int and -ndim <= axis < 0:
        return axis
    try:
        index = operator.index(axis)
    except TypeError:
        kinds = "an integer, a tuple of integers or None" if several else "an integer or None"
        raise TypeError(f"`axis` must be {kinds}, got {axis!r}") from None
    if ndim == 0:
        raise ValueError(
            f"`{name}` must have at least one dimension, got a 0-d array; `axis=None` takes that"
        )
    if not -ndim <= index < ndim:
        raise np.exceptions.AxisError(index, ndim, f"`axis` for `{name}` of shape {shape}")
    return index if index < 0 else index - ndim


def normalize_axes(axis: Any, shape: Shape, name: str = "x", *, several: bool = False) -> Shape:
    """Return the axes along which lanes lie, counted from the end; None is all of them."""
    ndim = len(shape)
    if type(axis) is int and -ndim <= axis < 0:
        return (axis,)
    if axis is None:
        return tuple(range(-ndim, 0))
    if several and isinstance(axis, tuple):
        axes = tuple(normalize_axis(one, shape, name) for one in axis)
        if len(set(axes)) < len(axes):
            raise ValueError(f"`axis` names an axis twice, got {axis!r}")
        return axes
    return (normalize_axis(axis, shape, name, several=several),)


def batch_without(shape: Shape, axes: Shape) -> Shape:
    """Return the axes of `shape` without some that count from the end."""
    return tuple(n for i, n in enumerate(shape) if i - len(shape) not in axes)


def batch_of(name: str, shape: Shape, axis: int) -> Shape:
    """Return the axes of `shape` without `axis`, which counts from the end."""
    if len(shape) < -axis:
        raise ValueError(
            f"`{name}` of shape {shape} has no axis {axis}; it must be 1-D or have that axis"
        )
    position = len(shape) + axis
    return shape[:position] + shape[position + 1 :]


def joint_batch(first: str, a: Shape, second: str, b: Shape) -> Shape:
    """Return the batch shape that two batch shapes broadcast to."""
    try:
        return broadcast_of(a, b)
    except ValueError:
        raise ValueError(
            f"`{first}` and `{second}` do not fit: their axes other than `axis`, {a} and {b}, do "
            "not broadcast"
        ) from None
