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

    Parameters
    ----------
    kernels : Kernels
        The backend.
    shape : tuple of int
        Shape of the argument.
    batch : tuple of int
        Shape with one element a lane.

    Attributes
    ----------
    scalars : bool
        Whether these are numbers that do not lie along an axis.
    """

    scalars = False

    def __init__(self, kernels: Kernels, shape: Shape, batch: Shape) -> None:
        self.kernels = kernels
        self.shape = shape
        self.batch = batch

    @abstractmethod
    def pack(self, array: Array) -> Floats:
        """Return `array` as float64 lanes: (lanes, n), or (lanes,) for one number a lane."""

    @abstractmethod
    def unpack(self, lanes: Array) -> Array:
        """Return the transpose of `pack`: lanes that share an element are added up."""

    def pack_entries(self, array: Array) -> Entries:
        """Return the same as `pack`, but float32 may stay as it is."""
        return self.pack(array)

    def broadcast_scalars(self, array: Array) -> tuple[Array, Shape]:
        """Return numbers as a view with all of each lane, or one for all; and the lanes' shape."""
        return array, array.shape


class AlongAxis(Layout):
    """Lanes that lie along an axis of the argument, counted from the end."""

    def __init__(self, kernels: Kernels, shape: Shape, axis: int, batch: Shape) -> None:
        self.kernels = kernels
        self.shape = shape
        self.batch = batch
        self.axis = axis
        self.size = shape[axis]
        # The common case needs neither moving nor broadcasting.
        self._plain = axis == -1 and shape[:-1] == batch

    def pack(self, array: Array) -> Floats:
        """Return `array` as float64 lanes."""
        lanes: Floats = self._lanes(array, self.kernels.contiguous)
        return lanes

    def pack_entries(self, array: Array) -> Entries:
        """Return the same, but float32 stays as it is."""
        if self._plain:  # as it is for every small call
            return self.kernels.entries(array).reshape(prod(self.batch), self.size)
        lanes: Entries = self._lanes(array, self.kernels.entries)
        return lanes

    def _lanes(self, array: Array, convert: Callable[[Array], Any]) -> Any:
        lanes = prod(self.batch)
        if self._plain:
            return convert(array).reshape(lanes, self.size)
        xp = self.kernels.xp
        array = xp.asarray(array)  # a list beside arrays of a device was still on the host
        array = xp.moveaxis(array, self.axis, -1)
        array = xp.broadcast_to(array, (*self.batch, self.size))
        return convert(array.reshape(lanes, self.size))

    def view(self, array: Array) -> Array | None:
        """Return the lanes of `array` where they lie in its own memory, one after another."""
        if not (self._plain and array.flags.c_contiguous):
            return None
        return array.reshape(-1, self.size) if array.size else None

    def unpack(self, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        if self._plain:
            return lanes.reshape(self.shape)
        lanes = lanes.reshape(*self.batch, self.size)
        moved = batch_of("", self.shape, self.axis)
        return self.kernels.xp.moveaxis(_reduced(lanes, (*moved, self.size)), -1, self.axis)


class AlongAxes(AlongAxis):
    """Lanes that lie along several axes, the last of them fastest; along all, the raveled array."""

    def __init__(self, kernels: Kernels, shape: Shape, axes: Shape, batch: Shape) -> None:
        self.kernels = kernels
        self.shape = shape
        self.batch = batch
        self.axes = axes
        self.ends = tuple(range(-len(axes), 0))
        self._plain = False
        self.size = prod(shape[axis] for axis in axes)

    def _lanes(self, array: Array, convert: Callable[[Array], Any]) -> Any:
        xp = self.kernels.xp
        array = xp.moveaxis(xp.asarray(array), self.axes, self.ends)
        return convert(array.reshape(prod(self.batch), self.size))

    def view(self, array: Array) -> Array | None:
        """Return None: lanes of several axes are not looked for in place."""
        return None

    def unpack(self, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        along = tuple(self.shape[axis] for axis in self.axes)
        return self.kernels.xp.moveaxis(lanes.reshape((*self.batch, *along)), self.ends, self.axes)


class Scalars(Layout):
    """Numbers that do not lie along lanes."""

    scalars = True

    def pack(self, array: Array) -> Floats:
        """Return `array` as float64 lanes."""
        return self.kernels.numbers({"": self.broadcast_scalars(array)})[""]


class PerLane(Scalars):
    """One number a lane."""

    def broadcast_scalars(self, array: Array) -> tuple[Array, Shape]:
        """Return a view with one for each lane, or one for all, and (lanes,)."""
        count = (prod(self.batch),)
        if not array.shape:
            return array, count
        xp = self.kernels.xp
        return xp.broadcast_to(xp.asarray(array), self.batch), count

    def unpack(self, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        return _reduced(lanes.reshape(self.batch), self.shape)


class WholeInEveryLane(Scalars):
    """The whole argument, raveled, as the same lane for every element of the batch."""

    def broadcast_scalars(self, array: Array) -> tuple[Array, Shape]:
        """Return a view with all numbers in each lane, or one for all, and the lanes' shape."""
        shape = prod(self.batch), prod(self.shape)
        if not array.shape:
            return array, shape
        xp = self.kernels.xp
        return xp.broadcast_to(xp.asarray(array).reshape(-1), shape), shape

    def unpack(self, lanes: Array) -> Array:
        """Return the transpose of `pack`."""
        total: Array = lanes.sum(axis=0)
        return total.reshape(self.shape)


class Reduced(Layout):
    """One number a lane, where axes were, which may be kept with length 1."""

    def __init__(self, entries: AlongAxis, axes: Shape, keepdims: bool) -> None:
        shape = kept_shape(entries.shape, axes) if keepdims else entries.batch
        super().__init__(entries.kernels, shape, entries.batch)

    def pack(self, array: Array) -> Floats:
        """Return `array` as float64, (lanes,)."""
        return self.kernels.contiguous(array.reshape(prod(self.batch)))

    def unpack(self, lanes: Array) -> Array:
        """Undo `pack`."""
        return lanes.reshape(self.shape)


def _reduced(array: Array, shape: Shape) -> Array:
    if array.size == 1:
        return array.reshape(shape)
    extra = array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1
    )
    return array.sum(axis=axes).reshape(shape) if axes else array.reshape(shape)


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
        if layout.scalars:
            scalars[name] = layout.broadcast_scalars(array)
        else:
            lanes[name] = layout.pack_entries(array) if name in entries else layout.pack(array)
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


def lanes_along(kernels: Kernels, shape: Shape, axes: Shape, batch: Shape) -> AlongAxis:
    """Return the layout of an array whose lanes lie along one axis or several."""
    if len(axes) == 1:
        return AlongAxis(kernels, shape, axes[0], batch)
    return AlongAxes(kernels, shape, axes, batch)


def scalar_layout(kernels: Kernels, name: str, array: Array, batch: Shape) -> PerLane:
    """Return the layout of one scalar a lane, which must broadcast to `batch`."""
    try:
        fits = broadcast_of(array.shape, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        each = f", or one for each lane, of shape {batch}" if batch else ""
        raise ValueError(
            f"`{name}` of shape {array.shape} does not broadcast to the batch shape {batch} (the "
            f"axes but `axis`): give one number{each}"
        )
    return PerLane(kernels, array.shape, batch)


def weights_layout(
    kernels: Kernels,
    array: Array,
    shape: Shape,
    axes: Shape,
    batch: Shape,
    of: str,
    name: str = "weights",
) -> AlongAxis:
    """Return the layout of weights, and the like: of the shape of `of`, or 1-D along its lanes."""
    if array.shape == shape:
        return lanes_along(kernels, shape, axes, batch)
    n = prod(shape[axis] for axis in axes)
    if array.shape == (n,):
        return AlongAxis(kernels, array.shape, -1, batch)
    raise ValueError(
        f"`{name}` of shape {array.shape} must have the shape {shape} of `{of}`, or be 1-D of "
        f"length {n}"
    )
