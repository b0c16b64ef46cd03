"""Shapes of results without data, whose lengths may be symbols of a compiler."""

from __future__ import annotations

from collections.abc import Mapping

from .layout import Shape, batch_of, batch_without, joint_batch, kept_shape


def broadcast(first: str, a: Shape, second: str, b: Shape) -> Shape:
    """Return what two shapes broadcast to, as `joint_batch`; lengths may be symbols."""
    if len(a) < len(b):
        a, b = b, a
    lead = len(a) - len(b)
    if any(m != n and m != 1 and n != 1 for m, n in zip(a[lead:], b, strict=True)):
        return joint_batch(first, a, second, b)  # which raises
    return a[:lead] + tuple(n if m == 1 else m for m, n in zip(a[lead:], b, strict=True))


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
