"""Between the caller's arrays and contiguous lanes: one for each element of the batch shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import Any, Protocol

from .._backends.protocol import Kernels
from .._backends.types import Array, Entries, Flags, Floats, Indices
from .shapes import Shape, batch_of, broadcast_of, kept_shape


class Layout(ABC):
    """How an argument of a given shape is spread over the lanes of a batch.

    It is of shapes alone: what moves data is given the kernels of the arrays.

    Parameters
    ----------
    shape : tuple of int
        Shape of the argument.
    batch : tuple of int
        Shape with one element a lane.

    Attributes
    ----------
    scalar_lanes : tuple of int or None
        Shape of the lanes of numbers that do not lie along an axis; None for anything else.
    """

    scalar_lanes: Shape | None = None

    def __init__(self, shape: Shape, batch: Shape) -> None:
        self.shape = shape
        self.batch = batch

    @abstractmethod
    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64 lanes: (lanes, n), or (lanes,) for one number a lane."""

    @abstractmethod
    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Return the transpose of `pack`: lanes that share an element are added up."""

    def pack_entries(self, kernels: Kernels, array: Array) -> Entries:
        """Return the same as `pack`, but float32 may stay as it is."""
        return self.pack(kernels, array)

    def broadcast_scalars(self, kernels: Kernels, array: Array) -> Array:
        """Return a view with all numbers of each lane, or the one number for all."""
        return array


class AlongAxis(Layout):
    """Lanes that lie along an axis of the argument, counted from the end."""

    def __init__(self, shape: Shape, axis: int, batch: Shape) -> None:
        self.shape = shape
        self.batch = batch
        self.axis = axis
        self.lanes = prod(batch)
        self.size = shape[axis]
        # The common case needs neither moving nor broadcasting.
        self._plain = axis == -1 and shape[:-1] == batch

    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64 lanes."""
        lanes: Floats = self._lanes(kernels, array, kernels.contiguous)
        return lanes

    def pack_entries(self, kernels: Kernels, array: Array) -> Entries:
        """Return the same, but float32 stays as it is."""
        if self._plain:  # as it is for every small call
            return kernels.entries(array).reshape(self.lanes, self.size)
        lanes: Entries = self._lanes(kernels, array, kernels.entries)
        return lanes

    def _lanes(self, kernels: Kernels, array: Array, convert: Callable[[Array], Any]) -> Any:
        if self._plain:
            return convert(array).reshape(self.lanes, self.size)
        xp = kernels.xp
        array = xp.asarray(array)  # a list beside arrays of a device was still on the host
        array = xp.moveaxis(array, self.axis, -1)
        array = xp.broadcast_to(array, (*self.batch, self.size))
        return convert(array.reshape(self.lanes, self.size))

    def view(self, array: Array) -> Array | None:
        """Return the lanes of `array` where they lie in its own memory, one after another."""
        if not (self._plain and array.flags.c_contiguous):
            return None
        return array.reshape(-1, self.size) if array.size else None

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        if self._plain:
            return lanes.reshape(self.shape)
        lanes = lanes.reshape(*self.batch, self.size)
        moved = batch_of("", self.shape, self.axis)
        return kernels.xp.moveaxis(_reduced(kernels, lanes, (*moved, self.size)), -1, self.axis)


class AlongAxes(AlongAxis):
    """Lanes that lie along several axes, the last of them fastest; along all, the raveled array."""

    def __init__(self, shape: Shape, axes: Shape, batch: Shape) -> None:
        self.shape = shape
        self.batch = batch
        self.axes = axes
        self.ends = tuple(range(-len(axes), 0))
        self.lanes = prod(batch)
        self._plain = False
        self.size = prod(shape[axis] for axis in axes)

    def _lanes(self, kernels: Kernels, array: Array, convert: Callable[[Array], Any]) -> Any:
        xp = kernels.xp
        array = xp.moveaxis(xp.asarray(array), self.axes, self.ends)
        return convert(array.reshape(self.lanes, self.size))

    def view(self, array: Array) -> Array | None:
        """Return None: lanes of several axes are not looked for in place."""
        return None

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        along = tuple(self.shape[axis] for axis in self.axes)
        return kernels.xp.moveaxis(lanes.reshape((*self.batch, *along)), self.ends, self.axes)


class Scalars(Layout):
    """Numbers that do not lie along lanes."""

    scalar_lanes: Shape

    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64 lanes."""
        return kernels.numbers({"": (self.broadcast_scalars(kernels, array), self.scalar_lanes)})[
            ""
        ]


class PerLane(Scalars):
    """One number a lane."""

    def __init__(self, shape: Shape, batch: Shape) -> None:
        super().__init__(shape, batch)
        self.scalar_lanes = (prod(batch),)

    def broadcast_scalars(self, kernels: Kernels, array: Array) -> Array:
        """Return a view with one number for each lane, or the one number for all."""
        xp = kernels.xp
        return xp.broadcast_to(xp.asarray(array), self.batch) if array.shape else array

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        return _reduced(kernels, lanes.reshape(self.batch), self.shape)


class WholeInEveryLane(Scalars):
    """The whole argument, raveled, as the same lane for every element of the batch."""

    def __init__(self, shape: Shape, batch: Shape) -> None:
        super().__init__(shape, batch)
        self.scalar_lanes = prod(batch), prod(shape)

    def broadcast_scalars(self, kernels: Kernels, array: Array) -> Array:
        """Return a view with all numbers in each lane, or the one number for all."""
        xp = kernels.xp
        if not array.shape:
            return array
        return xp.broadcast_to(xp.asarray(array).reshape(-1), self.scalar_lanes)

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        if len(lanes) == 1:
            return lanes.reshape(self.shape)
        with kernels.quiet():
            total: Array = lanes.sum(axis=0)
        return total.reshape(self.shape)


class Reduced(Layout):
    """One number a lane, where axes were, which may be kept with length 1."""

    def __init__(self, entries: AlongAxis, axes: Shape, keepdims: bool) -> None:
        shape = kept_shape(entries.shape, axes) if keepdims else entries.batch
        super().__init__(shape, entries.batch)

    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64, (lanes,)."""
        return kernels.contiguous(array.reshape(prod(self.batch)))

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Undo `pack`."""
        return lanes.reshape(self.shape)


def _reduced(kernels: Kernels, array: Array, shape: Shape) -> Array:
    if array.size == 1:
        return array.reshape(shape)
    extra = array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1
    )
    if not axes:
        return array.reshape(shape)
    with kernels.quiet():
        total: Array = array.sum(axis=axes)
    return total.reshape(shape)


def pack_all(
    kernels: Kernels,
    layouts: Mapping[str, Layout],
    arrays: Mapping[str, Array],
    entries: Collection[str],
) -> dict[str, Any]:
    """Return arrays as lanes; those named in `entries` stay float32 if they are.

    Single numbers are converted together, on a device in one launch.
    """
    lanes: dict[str, Any] = {}
    scalars: dict[str, tuple[Array, Shape]] = {}
    for name, layout in layouts.items():
        array = arrays[name]
        if layout.scalar_lanes is None:
            lanes[name] = (
                layout.pack_entries(kernels, array)
                if name in entries
                else layout.pack(kernels, array)
            )
        else:
            number = layout.broadcast_scalars(kernels, array) if array.shape else array
            scalars[name] = number, layout.scalar_lanes
    lanes.update(kernels.numbers(scalars))
    return lanes


def with_nan(kernels: Kernels, nan_lanes: Flags | None, lanes: Array) -> Array:
    """Return lanes of which some become NaN."""
    if nan_lanes is None:
        return lanes
    flags = nan_lanes.reshape(-1, *(1,) * (lanes.ndim - 1))
    return kernels.xp.where(flags, kernels.xp.nan, lanes)


class SortedLanes(Protocol):
    """Sorted sources: (lanes, n), and which lanes hold a NaN, None for none."""

    @property
    def x(self) -> Floats: ...
    @property
    def nan_lanes(self) -> Flags | None: ...


def source_lane_of(kernels: Kernels, shape: Shape, batch: Shape) -> Indices:
    """Return, for each lane of `batch`, its lane in an array of batch shape `shape`."""
    if shape == batch:
        return kernels.identity(prod(shape))
    own = kernels.identity(prod(shape)).reshape(shape)
    return kernels.xp.ascontiguousarray(kernels.xp.broadcast_to(own, batch).reshape(-1))


def lanes_along(shape: Shape, axes: Shape, batch: Shape) -> AlongAxis:
    """Return the layout of an array whose lanes lie along one axis or several."""
    if len(axes) == 1:
        return AlongAxis(shape, axes[0], batch)
    return AlongAxes(shape, axes, batch)


def scalar_layout(name: str, shape: Shape, batch: Shape) -> PerLane:
    """Return the layout of one scalar a lane, which must broadcast to `batch`."""
    try:
        fits = broadcast_of(shape, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        each = f", or one for each lane, of shape {batch}" if batch else ""
        raise ValueError(
            f"`{name}` of shape {shape} does not broadcast to the batch shape {batch} (the "
            f"axes but `axis`): give one number{each}"
        )
    return PerLane(shape, batch)


def weights_layout(
    shape: Shape,
    entries: Shape,
    axes: Shape,
    batch: Shape,
    of: str,
    name: str = "weights",
) -> AlongAxis:
    """Return the layout of weights, and the like: of the shape of `of`, or 1-D along its lanes."""
    if shape == entries:
        return lanes_along(shape, axes, batch)
    n = prod(entries[axis] for axis in axes)
    if shape == (n,):
        return AlongAxis(shape, -1, batch)
    raise ValueError(
        f"`{name}` of shape {shape} must have the shape {entries} of `{of}`, or be 1-D of length "
        f"{n}"
    )
