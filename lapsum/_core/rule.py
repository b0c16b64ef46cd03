"""The rule of an operator: one call of it, its arguments checked and laid out as lanes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

from .._backends.protocol import Kernels
from .._backends.types import Array, DType, Flags, Floats
from .checks import check_out
from .layout import Layout
from .shapes import Shape

LARGE = 2.0**900  # no sum of smaller values, or of their differences, overflows

# Tangents by the names of the parameters; those that are zero are left out.
Tangents = Mapping[str, Floats]

# Shapes and dtypes of arrays that nobody has yet.
Forms = tuple[tuple[Shape, DType], ...]


class Rule(ABC):
    """One call of an operator: its checked arguments as lanes, its value and its derivatives.

    A subclass takes the number of workers and the operator's own arguments, and sets these.

    Attributes
    ----------
    name : str
        The operator's, with that of its family in front if it is in a public one.
    positional : tuple of str
        Its positional parameters.
    along_axis : tuple of str
        Those of them that lie along `axis`, which counts the axes of the last.
    several_axes : bool
        Whether `axis` may be a tuple.
    in_every_lane : tuple of str
        Parameters that each lane has whole.
    array_keywords : tuple of str
        Keyword parameters that are arrays, and differentiable.
    not_arrays : tuple of str
        Positional parameters that are numbers, and not differentiable.
    of_one_call : tuple of str
        Parameters with which several calls cannot be made one along a new axis.
    keeps_value : bool
        Whether derivatives need what `linearize` returned, and its memory unchanged.
    general : callable or None
        What imports the rule for any other density, which takes `density` besides.
    kernels : Kernels
        The backend of the arrays.
    layouts : dict of str to Layout
        The differentiable parameters, in signature order.
    dtypes : dict of str to dtype
        What the cotangents of these parameters are rounded to.
    lanes : dict of str to array
        The arguments as lanes, which may lie in the caller's memory.
    dtype : dtype
        What the result is rounded to.
    result : Layout
        Where the lanes of the result go.
    """

    name: ClassVar[str]
    positional: ClassVar[tuple[str, ...]]
    along_axis: ClassVar[tuple[str, ...]] = ("x",)
    keeps_value: ClassVar[bool] = False
    several_axes: ClassVar[bool] = False
    array_keywords: ClassVar[tuple[str, ...]] = ("weights",)
    not_arrays: ClassVar[tuple[str, ...]] = ()
    of_one_call: ClassVar[tuple[str, ...]] = ()
    in_every_lane: tuple[str, ...] = ()
    general: ClassVar[Callable[[], type[Rule]] | None] = None

    kernels: Kernels
    layouts: dict[str, Layout]
    dtypes: dict[str, DType]
    lanes: dict[str, Array]
    dtype: DType
    result: Layout

    @classmethod
    def reference(cls, shapes: Mapping[str, Shape]) -> Shape:
        """Return the one of these shapes of arguments whose axes `axis` counts."""
        return shapes[cls.along_axis[-1]]

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result for arguments of these shapes, whose data nobody has.

        `axes` are those along which lanes lie, counted from the end; None is the raveled array.
        """
        return (prod(shapes["x"]),) if axes is None else shapes["x"]

    @property
    def nan_lanes(self) -> Flags | None:
        """Lanes of the result that are NaN since they hold one; None for none."""
        return None

    @abstractmethod
    def value(self, out: Array | None = None) -> Array:
        """Return the lanes of the result, perhaps written to `out`; nothing is kept."""

    def quiet_value(self, out: Array | None = None) -> Array:
        """Return the same where nothing warns of floating-point events."""
        with self.kernels.quiet():
            return self.value(out)

    def linearize(self) -> Array:
        """Return `value()`, and keep what derivatives need, in memory of our own."""
        self.lanes = {name: self.kernels.own(lanes) for name, lanes in self.lanes.items()}
        return self.value()

    def quiet_linearize(self) -> Array:
        """Return the same where nothing warns of floating-point events."""
        with self.kernels.quiet():
            return self.linearize()

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what `state` is like for arguments of these shapes; () if there is none.

        The first axis of each array is that of lanes.
        """
        return ()

    def state(self) -> tuple[Array, ...]:
        """Return what `linearize` found, in arrays that nobody else holds, for `restore`."""
        return ()

    def restore(self, state: Sequence[Array]) -> None:
        """Be as after `linearize`, by its state and without its work; by that, if there is none.

        What is restored may lie in the caller's memory.
        """
        self.quiet_linearize()

    @abstractmethod
    def jvp(self, tangents: Tangents) -> Array:
        """Return the lanes of the result's tangent, for lanes of tangents of parameters."""

    @abstractmethod
    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the lanes of the cotangents of at least the parameters named in `wrt`."""

    def quiet_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent's lanes where nothing warns of floating-point events."""
        with self.kernels.quiet():
            return self.jvp(tangents)

    def quiet_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents' lanes where nothing warns of floating-point events."""
        with self.kernels.quiet():
            return self.vjp(bar, wrt)

    def tangent(self, tangents: Mapping[str, Array]) -> Any:
        """Return the tangent of the result for those of some parameters, in the caller's shapes."""
        kernels, layouts = self.kernels, self.layouts
        lanes = {name: layouts[name].pack(kernels, dot) for name, dot in tangents.items()}
        return kernels.finish(self.to_result(self.quiet_jvp(lanes)), self.dtype)

    def cotangents(self, bar: Array, wrt: Sequence[str]) -> list[Any]:
        """Return the cotangents of some parameters, in the caller's shapes."""
        kernels, layouts, dtypes = self.kernels, self.layouts, self.dtypes
        bars = self.quiet_vjp(self.from_result(bar), frozenset(wrt))
        return [
            kernels.finish(layouts[name].unpack(kernels, bars[name]), dtypes[name]) for name in wrt
        ]

    def dense(self, name: str) -> Array | None:
        """Return the Jacobian of every lane in a parameter, (lanes, results, entries).

        None where there is no formula for its elements: products have to do.
        """
        return None

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape."""
        return self.result.unpack(self.kernels, lanes)

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`."""
        return self.result.pack(self.kernels, array)

    def out_lanes(self, out: Array | None) -> Array | None:
        """Return the lanes of `out`, or new ones, if the result is to be written there."""
        if out is not None:
            check_out(self.kernels, out, self.result.shape, self.dtype)
        return None
