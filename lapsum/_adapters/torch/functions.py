"""What differentiates the opaque operators, and gives them a batch axis.

Under transforms of `torch.func`, and under autograd, each becomes the Function below that belongs
to it, whichever way it was called; so no derivative can get lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import Function, forward_ad

from ..adapter import FIRST_ORDER, Batch, Front, batched, decode
from .arrays import untraced
from .ops import Tensors, apply, forms_of_state, library, linearize, pullback, pushforward

Dims = Sequence[int | None]


# ------------------------------------------------------------------------------- a batch axis


def _front(array: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    return array.expand(size, *array.shape) if dim is None else array.movedim(dim, 0)


def _fitted(array: torch.Tensor, front: Front) -> torch.Tensor:
    moved = array.reshape(front.reshaped).movedim(front.movable, front.moved)
    return moved.expand(front.stretched)


class _Mapped:
    """A call whose arguments have a mapped axis, some of them."""

    def __init__(self, size: int, dims: Dims, text: str, arrays: Tensors) -> None:
        call = decode(text)
        self.size, self.call = size, call
        given = zip(call.names, arrays, dims, strict=True)
        self.arrays = [a if n in call.whole else _front(a, d, size) for n, a, d in given]
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
        return self.stretched(self.call.names, self.arrays)

    def restored(self, name: str, bar: torch.Tensor) -> torch.Tensor:
        """Undo `stretched` for a cotangent."""
        front = self.batch.fronts[name]
        bar = bar.sum(front.summed, keepdim=True) if front.summed else bar
        bar = bar.movedim(front.moved, front.movable)
        return bar.reshape(self.size, *self.shapes[name])

    def from_result(self, y: torch.Tensor) -> torch.Tensor:
        """Return a result of the one call with the axis in front."""
        return y.movedim(self.batch.at, 0).reshape(self.size, *self.result)

    def to_result(self, y: torch.Tensor) -> torch.Tensor:
        """Undo `from_result`."""
        at, shape = self.batch.at, self.batch.result
        return y.reshape(self.size, *shape[:at], *shape[at + 1 :]).movedim(0, at)


def _each(
    size: int, dims: Dims, arrays: Tensors, one: Callable[[Tensors], Tensors]
) -> tuple[torch.Tensor, ...]:
    """Return what one call after the other gives, stacked."""
    fronts = [_front(array, dim, size) for array, dim in zip(arrays, dims, strict=True)]
    if size:
        rows = [one([front[i] for front in fronts]) for i in range(size)]
        return tuple(map(torch.stack, zip(*rows, strict=True)))
    metas = one([front.new_empty(front.shape[1:], device="meta") for front in fronts])
    return tuple(fronts[0].new_empty((0, *m.shape), dtype=m.dtype) for m in metas)


# ---------------------------------------------------------------------------------------- autograd


def _below(op: Any, *args: Any) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def _refuse(needed: Sequence[Any]) -> None:
    if any(needed):
        raise NotImplementedError(FIRST_ORDER)


@untraced
class Apply(Function):
    """Any operator: (call, *arrays)."""

    @staticmethod
    def forward(text: str, *arrays: torch.Tensor) -> torch.Tensor:
        return _below(apply, arrays, text)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.text, *arrays = inputs
        ctx.save_for_backward(*arrays)
        ctx.save_for_forward(*arrays)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, bar: torch.Tensor | None) -> tuple[Any, ...]:
        names = decode(ctx.text).names
        wrt = [n for n, needed in zip(names, ctx.needs_input_grad[1:], strict=True) if needed]
        if bar is None:
            return (None,) * (1 + len(names))
        bars = dict(
            zip(wrt, pullback(bar, ctx.saved_tensors, [], ctx.text, " ".join(wrt)), strict=True)
        )
        return (None, *(bars.get(name) for name in names))

    @staticmethod
    def jvp(ctx: Any, _: Any, *dots: torch.Tensor | None) -> torch.Tensor:
        names = decode(ctx.text).names
        wrt = [n for n, dot in zip(names, dots, strict=True) if dot is not None]
        given = [dot for dot in dots if dot is not None]
        return pushforward(given, ctx.saved_tensors, ctx.text, " ".join(wrt))

    @staticmethod
    def vmap(info: Any, in_dims: Dims, text: str, *arrays: torch.Tensor) -> Any:
        size, dims = info.batch_size, in_dims[1:]
        if _each_alone(text, dims, ()):
            return _each(size, dims, arrays, lambda a: [apply(a, text)])[0], 0
        mapped = _Mapped(size, dims, text, arrays)
        return mapped.from_result(apply(mapped.own(), mapped.text)), 0


@untraced
class Linearize(Function):
    """Its value too, outside of transforms, and what pullbacks begin with: (call, *arrays)."""

    @staticmethod
    def forward(ctx: Any, text: str, *arrays: torch.Tensor) -> Any:
        value, state = _below(linearize, arrays, text)
        ctx.text, ctx.states = text, len(state)
        ctx.save_for_backward(*arrays, *state)
        ctx.save_for_forward(*arrays)
        ctx.mark_non_differentiable(*state)
        ctx.set_materialize_grads(False)
        return value, *state

    @staticmethod
    def backward(ctx: Any, bar: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
        names = decode(ctx.text).names
        wrt = [n for n, needed in zip(names, ctx.needs_input_grad[1:], strict=True) if needed]
        if bar is None:
            return (None,) * (1 + len(names))
        saved, m = ctx.saved_tensors, len(names)
        found = pullback(bar, saved[:m], saved[m:], ctx.text, " ".join(wrt))
        bars = dict(zip(wrt, found, strict=True))
        return (None, *(bars.get(name) for name in names))

    @staticmethod
    def jvp(ctx: Any, _: Any, *dots: torch.Tensor | None) -> tuple[Any, ...]:
        arrays = ctx.saved_tensors
        dot = push_some(decode(ctx.text).names, dots, arrays, ctx.text)
        return dot, *(None,) * ctx.states


@untraced
class Pushforward(Function):
    """Its tangent: (call, wrt, *tangents, *arrays)."""

    @staticmethod
    def forward(text: str, wrt: str, *both: torch.Tensor) -> torch.Tensor:
        m = len(wrt.split())
        return _below(pushforward, both[:m], both[m:], text, wrt)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.text, ctx.wrt, *both = inputs
        ctx.m = m = len(ctx.wrt.split())
        ctx.save_for_backward(*both[m:])
        ctx.save_for_forward(*both[m:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, bar: torch.Tensor | None) -> tuple[Any, ...]:
        needed, arrays = ctx.needs_input_grad[2:], ctx.saved_tensors
        if bar is None:
            return (None,) * (2 + len(needed))
        _refuse(needed[ctx.m :])
        bars = pullback(bar, arrays, [], ctx.text, ctx.wrt)
        return (None, None, *bars, *(None,) * len(arrays))

    @staticmethod
    def jvp(ctx: Any, _: Any, __: Any, *dots: torch.Tensor | None) -> torch.Tensor:
        _refuse([dot is not None for dot in dots[ctx.m :]])
        return push_some(ctx.wrt.split(), dots[: ctx.m], ctx.saved_tensors, ctx.text)

    @staticmethod
    def vmap(info: Any, in_dims: Dims, text: str, wrt: str, *both: torch.Tensor) -> Any:
        size, dims, names = info.batch_size, in_dims[2:], wrt.split()
        m = len(names)
        if _each_alone(text, dims[m:], names):

            def one(both: Tensors) -> Tensors:
                return [pushforward(both[:m], both[m:], text, wrt)]

            return _each(size, dims, both, one)[0], 0
        mapped = _Mapped(size, dims[m:], text, both[m:])
        dots = [_front(dot, d, size) for dot, d in zip(both[:m], dims[:m], strict=True)]
        dots = mapped.stretched(names, dots)
        return mapped.from_result(pushforward(dots, mapped.own(), mapped.text, wrt)), 0


@untraced
class Pullback(Function):
    """Its cotangents: (call, wrt, cotangent, *arrays, *state)."""

    @staticmethod
    def forward(text: str, wrt: str, bar: torch.Tensor, *both: torch.Tensor) -> Any:
        m = len(decode(text).names)
        return tuple(_below(pullback, bar, both[:m], both[m:], text, wrt))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.text, ctx.wrt, _, *both = inputs
        arrays = both[: len(decode(ctx.text).names)]
        ctx.save_for_backward(*arrays)
        ctx.save_for_forward(*arrays)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *dots: torch.Tensor | None) -> tuple[Any, ...]:
        _, _, bar_needed, *needed = ctx.needs_input_grad
        bar = None
        if any(dot is not None for dot in dots):
            _refuse(needed)
            if bar_needed:
                bar = push_some(ctx.wrt.split(), dots, ctx.saved_tensors, ctx.text)
        return (None, None, bar, *(None,) * len(needed))

    @staticmethod
    def jvp(ctx: Any, _: Any, __: Any, bar: torch.Tensor | None, *dots: Any) -> Any:
        _refuse([dot is not None for dot in dots])
        return tuple(pullback(bar, ctx.saved_tensors, [], ctx.text, ctx.wrt))

    @staticmethod
    def vmap(
        info: Any, in_dims: Dims, text: str, wrt: str, bar: torch.Tensor, *both: torch.Tensor
    ) -> Any:
        m, size, names = len(decode(text).names), info.batch_size, wrt.split()
        dims, arrays = in_dims[2 : 3 + m], both[:m]
        if _each_alone(text, dims[1:], names):

            def one(both: Tensors) -> Tensors:
                found: Tensors = pullback(both[0], both[1:], [], text, wrt)
                return found

            return _each(size, dims, (bar, *arrays), one), (0,) * len(names)
        mapped = _Mapped(size, dims[1:], text, arrays)
        bar = mapped.to_result(_front(bar, dims[0], size))
        bars = pullback(bar, mapped.own(), [], mapped.text, wrt)
        return (
            tuple(mapped.restored(n, b) for n, b in zip(names, bars, strict=True)),
            (0,) * len(names),
        )


def push_some(
    names: Sequence[str], dots: Sequence[torch.Tensor | None], arrays: Tensors, text: str
) -> torch.Tensor:
    """Return the tangent for those of some parameters, None where they are zero."""
    given = {n: dot for n, dot in zip(names, dots, strict=True) if dot is not None}
    tangent: torch.Tensor = pushforward(list(given.values()), arrays, text, " ".join(given))
    return tangent


def _each_alone(text: str, dims: Dims, wrt: Sequence[str]) -> bool:
    """Return whether calls are made one after the other.

    So they are where the levels that all lanes share, or their derivatives, are mapped over.
    """
    call = decode(text)
    return call.is_single or any(
        n in call.whole and (d is not None or n in wrt)
        for n, d in zip(call.names, dims, strict=True)
    )


# ------------------------------------------------------------------------------------ registration


def _graph_apply(arrays: Tensors, text: str) -> Any:
    if not _needs_graph(arrays):
        return _below(apply, arrays, text)
    if forms_of_state(decode(text), arrays):
        return Linearize.apply(text, *arrays)[0]
    return Apply.apply(text, *arrays)


def _graph_linearize(arrays: Tensors, text: str) -> Any:
    if not _needs_graph(arrays):
        return _below(linearize, arrays, text)
    value, *state = Linearize.apply(text, *arrays)
    return value, state


def _needs_graph(arrays: Tensors) -> bool:
    if forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and any(array.requires_grad for array in arrays)


def _transformed_apply(arrays: Tensors, text: str) -> Any:
    return Apply.apply(text, *arrays)


def _transformed_linearize(arrays: Tensors, text: str) -> Any:
    # The state of what is mapped is not that of each; with none a pullback begins anew.
    forms = forms_of_state(decode(text), arrays)
    return Apply.apply(text, *arrays), [arrays[0].new_empty(0) for _ in forms]


def _pushforward(dots: Tensors, arrays: Tensors, text: str, wrt: str) -> Any:
    return Pushforward.apply(text, wrt, *dots, *arrays)


def _pullback(bar: torch.Tensor, arrays: Tensors, state: Tensors, text: str, wrt: str) -> Any:
    return list(Pullback.apply(text, wrt, bar, *arrays, *state))


for _name, _graph, _transformed in (
    ("apply", _graph_apply, _transformed_apply),
    ("linearize", _graph_linearize, _transformed_linearize),
    ("pushforward", _pushforward, _pushforward),
    ("pullback", _pullback, _pullback),
):
    library.impl(_name, _graph, "Autograd")
    # Else vmap would find no rule, and forward mode would not see the Functions.
    library.impl(_name, _transformed, "FuncTorchDynamicLayerFrontMode")
