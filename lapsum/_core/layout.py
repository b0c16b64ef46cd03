"""Between the caller's arrays and contiguous lanes: one for each element of the batch shape."""

from __future__ import annotations

from math import prod
from typing import Any


class Layout:
    """How an argument of a given shape is spread over the lanes of a batch.

    Parameters
    ----------
    kernels : Kernels
        The backend.
    shape : tuple of int
        Shape of the argument.
    axis : int or None
        The axis along which lanes lie, negative; None for one scalar a lane.
    batch : tuple of int
        Shape that the other axes broadcast to.
    flat : bool
        Whether the whole argument, raveled, is the same lane for every element of the batch.

    Attributes
    ----------
    size : int
        Length of a lane.
    invalid : array of bool, shape (lanes,), or None
        Lanes that hold a NaN, whose results are NaN whatever was computed.
    """

    def __init__(
        self,
        kernels: Any,
        shape: tuple[int, ...],
        axis: int | None,
        batch: tuple[int, ...],
        flat: bool = False,
    ) -> None:
        self.kernels = kernels
        self.shape = shape
        self.axis = axis
        self.batch = batch
        self.flat = flat
        self.invalid: Any = None
        self.size = prod(shape) if flat else 1 if axis is None else shape[axis]
        # The common case needs neither moving nor broadcasting.
        self._plain = axis == -1 and not flat and shape[:-1] == batch

    def pack(self, array: Any, entries: bool = False) -> Any:
        """Return `array` as float64 lanes: (lanes, n), or (lanes,) for scalars.

        With `entries` float32 stays float32, for the kernels that read it as it is.
        """
        kernels, lanes = self.kernels, prod(self.batch)
        if self.axis is None:
            return kernels.numbers({"": self.spread(array)})[""]
        contiguous = kernels.entries if entries else kernels.contiguous
        if self._plain:
            return contiguous(array).reshape(lanes, self.shape[-1])
        xp = kernels.xp
        array = xp.asarray(array)  # a list beside arrays of a device was still on the host
        array = xp.moveaxis(array, self.axis, -1)
        array = xp.broadcast_to(array, (*self.batch, self.size))
        return contiguous(array.reshape(lanes, self.size))

    def spread(self, array: Any) -> tuple[Any, tuple[int, ...]]:
        """Return scalars as a view with one, or all if flat, for each lane, and the lanes' shape.

        One for all lanes stays 0-d.
        """
        shape = (prod(self.batch), self.size) if self.flat else (prod(self.batch),)
        if not array.ndim:
            return array, shape
        xp = self.kernels.xp
        if self.flat:
            return xp.broadcast_to(xp.asarray(array).reshape(-1), shape), shape
        return xp.broadcast_to(xp.asarray(array), self.batch), shape

    def view(self, array: Any) -> Any:
        """Return the lanes of `array` where they lie in its own memory, one after another."""
        if not (self._plain and array.flags.c_contiguous):
            return None
        return array.reshape(-1, self.shape[-1]) if array.size else None

    def unpack(self, lanes: Any, spoil: bool = True) -> Any:
        """Return the transpose of `pack`: lanes that share an entry are added up.

        Invalid lanes become NaN, unless they are so already and `spoil` says no.
        """
        xp = self.kernels.xp
        if spoil and self.invalid is not None:
            spoilt = self.invalid.reshape(-1, *(1,) * (lanes.ndim - 1))
            lanes = xp.where(spoilt, xp.nan, lanes)
        if self._plain:
            return lanes.reshape(self.shape)
        if self.flat:
            return lanes.sum(axis=0).reshape(self.shape)
        if self.axis is None:
            return self._reduce(lanes.reshape(self.batch), self.shape)
        lanes = lanes.reshape(*self.batch, self.size)
        moved = self.shape[: self.axis] + self.shape[len(self.shape) + self.axis + 1 :]
        return xp.moveaxis(self._reduce(lanes, (*moved, self.size)), -1, self.axis)

    @staticmethod
    def _reduce(array: Any, shape: tuple[int, ...]) -> Any:
        extra = array.ndim - len(shape)
        axes = tuple(range(extra)) + tuple(
            extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1
        )
        return array.sum(axis=axes).reshape(shape) if axes else array.reshape(shape)


def key_of(kernels: Any, shape: tuple[int, ...], batch: tuple[int, ...]) -> Any:
    """Return, for each lane of `batch`, its lane in an array of batch shape `shape`."""
    own = kernels.identity(prod(shape)).reshape(shape)
    return kernels.xp.ascontiguousarray(kernels.xp.broadcast_to(own, batch).reshape(-1))
