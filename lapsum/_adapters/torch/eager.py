"""Tensors through every operator: the value, on the autograd graph where it is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.autograd import Function, forward_ad

from ..._backends.choose import refuse_mixtures
from ..._core.rule import Rule
from ..adapter import Call, Linearized, call_of, repeated_call_of
from . import functions, ops
from .arrays import beside, check, dtype_of, result_dtype, to_array, to_tensor, untraced

_PLAIN = (torch.Tensor, torch.nn.Parameter)
NUMBERS = (int, float, torch.SymInt, torch.SymFloat)
unwrap_if_dead = torch._C._functorch.unwrap_if_dead


@untraced
class Operator(Function):
    """An operator on plain tensors, whose Linearization waits for the derivative.

    Attributes of a node of the graph live as long as the loss, unlike saved tensors; so it goes
    when it is used, and a second use makes it again.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, *values: Any) -> torch.Tensor:
        tensors: list[torch.Tensor] = []
        constants: list[Any] = []
        for value in values:
            if isinstance(value, torch.Tensor):
                tensors.append(value)
                constants.append(None)
            else:
                constants.append(value)
        ctx.call, ctx.constants = call, constants
        ctx.set_materialize_grads(False)
        ctx.linearized, result = beside(tensors[0], _linearized, call, values)
        if forward_ad._current_level >= 0:
            ctx.save_for_forward(*tensors)
        if ctx.linearized.rule.keeps_value:  # so that a change of it is noticed
            tensors.append(result)
        ctx.save_for_backward(*tensors)
        return result

    @staticmethod
    def backward(ctx: Any, bar: torch.Tensor | None) -> tuple[Any, ...]:
        call, needed = ctx.call, ctx.needs_input_grad[1:]
        if bar is None:
            return (None,) * (1 + len(needed))
        saved = ctx.saved_tensors
        linearized, ctx.linearized = ctx.linearized, None
        wrt = [name for name, need in zip(call.names, needed, strict=True) if need]
        if torch.is_grad_enabled() or is_transformed():  # create_graph=True, and other modes
            arrays = as_tensors(_values(ctx, saved), saved[0].device)
            found = iter(ops.pullback(bar, arrays, [], call.encode(), " ".join(wrt)))
            return (None, *[next(found) if need else None for need in needed])
        if linearized is None:
            linearized, _ = beside(bar, _linearized, call, _values(ctx, saved))
        return beside(bar, _cotangents, linearized, bar, wrt, needed, ctx.constants, iter(saved))

    @staticmethod
    def jvp(ctx: Any, _: Any, *dots: torch.Tensor | None) -> torch.Tensor:
        saved = ctx.saved_tensors
        arrays = as_tensors(_values(ctx, saved), saved[0].device)
        return functions.push_some(ctx.call.names, dots, arrays, ctx.call.encode())


# As `Function.apply` calls it, which also looks for what is not there: transforms, and a method
# `setup_context`.
_on_graph = super(Function, Operator).apply


def _values(ctx: Any, saved: Sequence[torch.Tensor]) -> list[Any]:
    """Return the arguments of a call: tensors that were saved, and constants."""
    tensors = iter(saved)
    return [next(tensors) if c is None else c for c in ctx.constants]


def _linearized(call: Call, values: Sequence[Any]) -> tuple[Linearized, torch.Tensor]:
    """Return the linearization of a call, and its value as a tensor."""
    arrays = [to_array(v) if isinstance(v, torch.Tensor) else v for v in values]
    linearized = Linearized(call, arrays)
    value = to_tensor(linearized.value, result_dtype(call, values))
    linearized.value = None
    return linearized, value


def _cotangents(
    linearized: Linearized,
    bar: torch.Tensor,
    wrt: Sequence[str],
    needed: Sequence[bool],
    constants: Sequence[Any],
    tensors: Iterator[torch.Tensor],
) -> tuple[Any, ...]:
    """Return what `Operator.backward` does: nothing for the call and for what needs none."""
    found = iter(linearized.rule.cotangents(to_array(bar), wrt))
    bars: list[Any] = [None]
    for need, constant in zip(needed, constants, strict=True):
        tensor = next(tensors) if constant is None else None
        bars.append(to_tensor(next(found), dtype_of(tensor)) if need else None)
    return tuple(bars)


def _value(call: Call, values: Sequence[Any]) -> torch.Tensor:
    return to_tensor(call.value([to_array(v) for v in values]), result_dtype(call, values))


@untraced
class Plain:
    """The value alone, which is what compilers fall back to where they cannot follow."""

    @staticmethod
    def value(call: Call, values: Sequence[Any], tensor: torch.Tensor) -> torch.Tensor:
        """Return the value of an operator, on no graph."""
        return beside(tensor, _value, call, values)


def is_transformed() -> bool:
    """Return whether tensors may be those of torch.func, or have tangents."""
    return forward_ad._current_level >= 0 or bool(torch._C._are_functorch_transforms_active())


def check_devices(call: Call, values: Sequence[Any]) -> None:
    """Raise TypeError unless all tensors are on one device."""
    both = zip(call.names, values, strict=True)
    tensors = [(n, v) for n, v in both if isinstance(v, torch.Tensor)]
    first, one = tensors[0]
    for name, other in tensors:
        if other.device != one.device:
            raise TypeError(
                f"`{name}` is a tensor on {other.device} beside `{first}` on {one.device}; all "
                "tensors of a call must be on one device"
            )


def as_tensors(values: Sequence[Any], device: torch.device) -> list[torch.Tensor]:
    """Return all arguments as tensors."""
    return [
        v
        if isinstance(v, torch.Tensor)
        else torch.full((), v, dtype=torch.float64, device=device)
        if isinstance(v, NUMBERS)
        else torch.as_tensor(v, dtype=torch.float64, device=device)
        for v in values
    ]


def evaluate(
    rule: type[Rule], args: tuple[Any, ...], kwargs: dict[str, Any], workers: int | None, out: Any
) -> torch.Tensor:
    """Return the value of an operator at tensors, and perhaps numbers."""
    compiling = torch.compiler.is_compiling()
    call, values = (call_of if compiling else repeated_call_of)(rule, args, kwargs, workers)
    plain, numbers, needed, tensors = not compiling, True, False, []
    for name, value in zip(call.names, values, strict=True):
        if isinstance(value, torch.Tensor):
            plain = check(name, value) and plain and type(value) in _PLAIN
            tensors.append(value)
            needed = needed or value.requires_grad
        elif not isinstance(value, NUMBERS):
            numbers = False
    if len(tensors) > 1:
        check_devices(call, values)
    if not numbers:
        refuse_mixtures(dict(zip(call.names, values, strict=True)), torch.Tensor)
    if (
        not plain
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state()  # torch.jit.trace, to which NumPy's work is a constant
    ):
        if out is not None:
            raise TypeError("`out` must be None where tensors are traced or transformed")
        result: torch.Tensor = ops.apply(as_tensors(values, tensors[0].device), call.encode())
        return result
    if (needed and torch.is_grad_enabled()) or forward_ad._current_level >= 0:
        if out is not None:
            raise TypeError(
                "`out` must be None where a tensor needs a gradient: results written in place "
                "are on no graph"
            )
        # Of a transform that has ended there may be wrappers left.
        values = tuple([unwrap_if_dead(v) if isinstance(v, torch.Tensor) else v for v in values])
        on_graph: torch.Tensor = _on_graph(call, *values)
        return on_graph
    value = Plain.value(call, values, tensors[0])
    return value if out is None else _written(out, value)


def _written(out: Any, value: torch.Tensor) -> torch.Tensor:
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"`out` must be a torch.Tensor, got {type(out).__name__}")
    if out.shape != value.shape or out.dtype != value.dtype or out.device != value.device:
        raise ValueError(
            f"`out` must have shape {tuple(value.shape)} and be {value.dtype} on {value.device}, "
            f"got shape {tuple(out.shape)} and {out.dtype} on {out.device}"
        )
    return out.copy_(value)
