"""A batch axis of `torch.func.vmap`: one call for all, or each call for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..adapter import decode
from ..batch import Batch, Front, batched
from .ops import Tensors

Dims = Sequence[int | None]


def front(array: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    """Return an array with the mapped axis in front."""
    return array.expand(size, *array.shape) if dim is None else array.movedim(dim, 0)


def _fitted(array: torch.Tensor, how: Front) -> torch.Tensor:
    moved = array.reshape(how.reshaped).movedim(how.movable, how.moved)
    return moved.expand(how.stretched)


class Mapped:
    """A call whose arguments have a mapped axis, some of them."""

    def __init__(self, size: int, dims: Dims, text: str, arrays: Tensors) -> None:
        call = decode(text)
        self.size, self.call = size, call
        given = zip(call.names, arrays, dims, strict=True)
        self.arrays = [a if n in call.whole else front(a, d, size) for n, a, d in given]
        both = zip(call.names, self.arrays, strict=True)
        self.shapes = {n: tuple(a.shape[n not in call.whole :]) for n, a in both}
        batch = batched(call, self.shapes, size)
        self.batch: Batch = batch
        self.text = batch.call.encode()
        self.result = call.shape(list(self.shapes.values()))

    def stretched(self, names: Sequence[str], arrays: Tensors) -> list[torch.Tensor]:
        """Return arguments, or their tangents, which have the axis in front, as one call's."""
        fronts, whole = self.batch.fronts, self.call.whole
        both = zip(names, arrays, strict=True)
        return [a if n in whole else _fitted(a, fronts[n]) for n, a in both]

    def own(self) -> list[torch.Tensor]:
        """Return the arguments as one call's."""
        return self.stretched(self.call.names, self.arrays)

    def restored(self, name: str, bar: torch.Tensor) -> torch.Tensor:
        """Undo `stretched` for a cotangent."""
        how = self.batch.fronts[name]
        bar = bar.sum(how.summed, keepdim=True) if how.summed else bar
        bar = bar.movedim(how.moved, how.movable)
        return bar.reshape(self.size, *self.shapes[name])

    def from_result(self, y: torch.Tensor) -> torch.Tensor:
        """Return a result of the one call with the axis in front."""
        return y.movedim(self.batch.at, 0).reshape(self.size, *self.result)

    def to_result(self, y: torch.Tensor) -> torch.Tensor:
        """Undo `from_result`."""
        at, shape = self.batch.at, self.batch.result
        return y.reshape(self.size, *shape[:at], *shape[at + 1 :]).movedim(0, at)

    def from_state(self, state: Tensors) -> list[torch.Tensor]:
        """Return the state of the one call as that of each, with the axis in front."""
        forms = self.call.state_forms(list(self.shapes.values()))
        both = zip(state, forms, strict=True)
        # Lanes are those of the first call, then those of the second, and so on.
        return [one.reshape(self.size, *shape) for one, (shape, _) in both]

    def to_state(self, state: Tensors, dims: Dims) -> list[torch.Tensor]:
        """Undo `from_state`."""
        both = zip(state, dims, strict=True)
        return [front(one, dim, self.size).flatten(0, 1) for one, dim in both]


def each(
    size: int, dims: Dims, arrays: Tensors, one: Callable[[Tensors], Tensors]
) -> tuple[torch.Tensor, ...]:
    """Return what one call after the other gives, stacked."""
    fronts = [front(array, dim, size) for array, dim in zip(arrays, dims, strict=True)]
    if size:
        rows = [one([array[i] for array in fronts]) for i in range(size)]
        return tuple(map(torch.stack, zip(*rows, strict=True)))
    metas = one([array.new_empty(array.shape[1:], device="meta") for array in fronts])
    return tuple(fronts[0].new_empty((0, *m.shape), dtype=m.dtype) for m in metas)


def each_alone(text: str, dims: Dims, wrt: Sequence[str]) -> bool:
    """Return whether calls are made one after the other.

    So they are where the levels that all lanes share, or their derivatives, are mapped over.
    """
    call = decode(text)
    return call.is_single or any(
        n in call.whole and (d is not None or n in wrt)
        for n, d in zip(call.names, dims, strict=True)
    )
