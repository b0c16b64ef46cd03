"""A batch axis in front of all arguments of a call: one call for many."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from .._core.shapes import Shape
from .adapter import Call


class Front(NamedTuple):
    """How an argument with a new axis in front fits in: reshaped, moved, then stretched.

    Attributes
    ----------
    reshaped, stretched : tuple of int
        Its shape after the first step and after the last.
    moved : tuple of int
        Where as many axes go as these are, those after the new one.
    summed : tuple of int
        The axes over which a cotangent of the stretched argument is added up.
    """

    reshaped: Shape
    stretched: Shape
    moved: tuple[int, ...] = ()
    summed: tuple[int, ...] = ()

    @property
    def movable(self) -> tuple[int, ...]:
        """The axes that go to `moved`."""
        return tuple(range(1, 1 + len(self.moved)))


class Batch(NamedTuple):
    """A call for a batch of calls, one for each element of a new axis.

    Attributes
    ----------
    call : Call
    fronts : dict of str to Front
        What becomes of each argument, which has the new axis in front.
    result : tuple of int
        The shape of its result, with the new axis at `at`, where another of length 1 may follow.
    at : int
    """

    call: Call
    fronts: dict[str, Front]
    result: Shape
    at: int


def batched(call: Call, shapes: Mapping[str, Shape], size: int) -> Batch:
    """Return one call for `size` of them, whose arguments have these shapes.

    All share the levels q, which have no axis in front.
    """
    rule, axes = call.rule, call.axes(shapes)
    most = max(len(shapes[name]) for name in rule.along_axis)
    last = rule.along_axis[-1]

    def along(n: int) -> Shape:
        shape = [size] + [1] * most
        shape[axes[0] if axes else -1] = n
        return tuple(shape)

    def front(name: str, shape: Shape) -> Front:
        if name in call.whole:
            return Front(shape, shape)
        if name == "weights" and shape != shapes[last]:  # 1-D along the lanes
            full = fronts[last].stretched
            at = tuple(len(full) + axis for axis in axes or (-1,))
            others = tuple(i for i in range(1, len(full)) if i not in at)
            along_lanes = (size, *(full[i] for i in at), *(1 for _ in others))
            return Front(along_lanes, full, at, others)
        if axes is None:  # all of each: a lane
            ravelled = name in rule.along_axis or name == "weights"
            reshaped = (size, *((prod(shape),) if ravelled else shape))
        elif name == "weights":
            reshaped = fronts[last].stretched
        elif name not in rule.along_axis:
            batch = most - len(axes)
            reshaped = (size, *(1,) * (batch - len(shape)), *shape)
        elif len(shape) < 2 and len(axes) == 1:
            # Along the axis, wherever that is; a number is one target there.
            reshaped = along(shape[0] if shape else 1)
        else:
            reshaped = (size, *(1,) * (most - len(shape)), *shape)
        return Front(reshaped, reshaped)

    fronts: dict[str, Front] = {}
    for name in (*rule.along_axis, *(name for name in call.names if name not in rule.along_axis)):
        fronts[name] = front(name, shapes[name])
    options = {**call.options, "axis": -1 if axes is None else axes if axes[1:] else axes[0]}
    new = call._replace(options=options)
    at = len(shapes[call.whole[0]]) if call.whole else 0
    result = new.shape([fronts[name].stretched for name in call.names])
    return Batch(new, fronts, result, at)
