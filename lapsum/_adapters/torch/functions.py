"""What differentiates the opaque operators, and gives them a batch axis.

Under transforms of `torch.func`, and under autograd, each becomes the Function below that belongs
to it, whichever way it was called; so no derivative can get lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import Function

from ..adapter import FIRST_ORDER, decode
from .arrays import untraced
from .mapped import Dims, Mapped, each, each_alone, front
from .ops import Tensors, apply, forms_of_state, library, linearize, pullback, pushforward

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
        if each_alone(text, dims, ()):
            return each(size, dims, arrays, lambda a: [apply(a, text)])[0], 0
        mapped = Mapped(size, dims, text, arrays)
        return mapped.from_result(apply(mapped.own(), mapped.text)), 0


@untraced
class Linearize(Function):
    """Its value too, and what pullbacks begin with: (call, *arrays)."""

    @staticmethod
    def forward(text: str, *arrays: torch.Tensor) -> Any:
        value, state = _below(linearize, arrays, text)
        return value, *state

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        (ctx.text, *arrays), (_, *state) = inputs, output
        ctx.states = len(state)
        ctx.save_for_backward(*arrays, *state)
        ctx.save_for_forward(*arrays)
        ctx.mark_non_differentiable(*state)
        ctx.set_materialize_grads(False)

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

    @staticmethod
    def vmap(info: Any, in_dims: Dims, text: str, *arrays: torch.Tensor) -> Any:
        size, dims = info.batch_size, in_dims[1:]
        if each_alone(text, dims, ()):

            def one(arrays: Tensors) -> Tensors:
                value, state = linearize(arrays, text)
                return [value, *state]

            found = each(size, dims, arrays, one)
            return found, (0,) * len(found)
        mapped = Mapped(size, dims, text, arrays)
        value, state = linearize(mapped.own(), mapped.text)
        found = mapped.from_result(value), *mapped.from_state(state)
        return found, (0,) * len(found)


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
        if each_alone(text, dims[m:], names):

            def one(both: Tensors) -> Tensors:
                return [pushforward(both[:m], both[m:], text, wrt)]

            return each(size, dims, both, one)[0], 0
        mapped = Mapped(size, dims[m:], text, both[m:])
        dots = [front(dot, d, size) for dot, d in zip(both[:m], dims[:m], strict=True)]
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
        bar_dim, dims, of_state = in_dims[2], in_dims[3 : 3 + m], in_dims[3 + m :]
        if each_alone(text, dims, names):

            def one(all: Tensors) -> Tensors:
                bar, *both = all
                found: Tensors = pullback(bar, both[:m], both[m:], text, wrt)
                return found

            return each(size, in_dims[2:], (bar, *both), one), (0,) * len(names)
        mapped = Mapped(size, dims, text, both[:m])
        state = mapped.to_state(both[m:], of_state)
        bar = mapped.to_result(front(bar, bar_dim, size))
        bars = pullback(bar, mapped.own(), state, mapped.text, wrt)
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


# ------------------------------------------------------------------------------------ registration


def _graph_apply(arrays: Tensors, text: str) -> Any:
    return _differentiated(arrays, text) if _needs_graph(arrays) else _below(apply, arrays, text)


def _differentiated(arrays: Tensors, text: str) -> Any:
    if forms_of_state(decode(text), arrays):
        return Linearize.apply(text, *arrays)[0]
    return Apply.apply(text, *arrays)


def _graph_linearize(arrays: Tensors, text: str) -> Any:
    if not _needs_graph(arrays):
        return _below(linearize, arrays, text)
    return _transformed_linearize(arrays, text)


def _needs_graph(arrays: Tensors) -> bool:
    if torch.is_grad_enabled() and any(array.requires_grad for array in arrays):
        return True
    # A compiled program enters levels of forward mode without a word to `forward_ad`.
    floats = [array for array in arrays if array.is_floating_point()]
    return any(torch._VF._unpack_dual(array, level=0)[1] is not None for array in floats)


def _transformed_apply(arrays: Tensors, text: str) -> Any:
    transform = torch._C._functorch.peek_interpreter_stack().key()
    if transform == torch._C._functorch.TransformType.Grad:
        return _differentiated(arrays, text)
    return Apply.apply(text, *arrays)


def _transformed_linearize(arrays: Tensors, text: str) -> Any:
    value, *state = Linearize.apply(text, *arrays)
    return value, state


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
