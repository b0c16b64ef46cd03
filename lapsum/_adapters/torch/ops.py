"""The operators as opaque ones of PyTorch, for everything but plain eager tensors.

`lapsum::apply` is any operator's value, `lapsum::pushforward` and `lapsum::pullback` are products
with its Jacobian and the transpose.  Compilers save tensors and nothing else; so the value of
`lapsum::linearize` comes with what a pullback can begin with, where the operator has that as
arrays.  What differentiates them is in `functions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..._core.rule import Forms
from ..adapter import Call, Linearized, decode
from .arrays import beside, check, dtype_of, result_dtype, to_array, to_tensor

Tensors = Sequence[torch.Tensor]

library = torch.library.Library("lapsum", "DEF")
_TAGS = (torch.Tag.pt2_compliant_tag,)
library.define("apply(Tensor[] arrays, str call) -> Tensor", tags=_TAGS)
library.define(
    "pushforward(Tensor[] dots, Tensor[] arrays, str call, str wrt) -> Tensor", tags=_TAGS
)
library.define(
    "pullback(Tensor bar, Tensor[] arrays, Tensor[] state, str call, str wrt) -> Tensor[]",
    tags=_TAGS,
)
library.define("linearize(Tensor[] arrays, str call) -> (Tensor, Tensor[])", tags=_TAGS)
apply = torch.ops.lapsum.apply.default
pushforward = torch.ops.lapsum.pushforward.default
pullback = torch.ops.lapsum.pullback.default
linearize = torch.ops.lapsum.linearize.default


# ----------------------------------------------------------------------------------------- kernels


def _arrays_of(call: Call, arrays: Tensors) -> list[Any]:
    for name, array in zip(call.names, arrays, strict=True):
        check(name, array)
    return [to_array(array) for array in arrays]


def _apply(arrays: Tensors, text: str) -> torch.Tensor:
    call = decode(text)

    def value() -> torch.Tensor:
        value = call.value(_arrays_of(call, arrays))
        return to_tensor(value, result_dtype(call, arrays)).contiguous()

    return beside(arrays[0], value)


def _pushforward(dots: Tensors, arrays: Tensors, text: str, wrt: str) -> torch.Tensor:
    call = decode(text)

    def tangent() -> torch.Tensor:
        tangents = {name: to_array(dot) for name, dot in zip(wrt.split(), dots, strict=True)}
        tangent = Linearized(call, _arrays_of(call, arrays)).jvp(tangents)
        return to_tensor(tangent, result_dtype(call, arrays)).contiguous()

    return beside(arrays[0], tangent)


def _linearize(arrays: Tensors, text: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    call = decode(text)
    linearized = Linearized(call, _arrays_of(call, arrays))
    value = to_tensor(linearized.value, result_dtype(call, arrays))
    # Its memory may be the rule's, which the state is taken from first.
    state = [to_tensor(a, getattr(torch, a.dtype.name)) for a in linearized.state()]
    return value.contiguous(), state


def _pullback(
    bar: torch.Tensor, arrays: Tensors, state: Tensors, text: str, wrt: str
) -> list[torch.Tensor]:
    call, names = decode(text), wrt.split()
    at = dict(zip(call.names, arrays, strict=True))

    def cotangents() -> list[torch.Tensor]:
        kept = [to_array(array) for array in state if array.numel()]
        bars = Linearized(call, _arrays_of(call, arrays), kept).vjp(to_array(bar), names)
        both = zip(names, bars, strict=True)
        return [to_tensor(b, dtype_of(at[name])).contiguous() for name, b in both]

    return beside(arrays[0], cotangents)


def _like(call: Call, arrays: Tensors) -> torch.Tensor:
    shape = call.shape([tuple(array.shape) for array in arrays])
    return arrays[0].new_empty(shape, dtype=result_dtype(call, arrays))


def _fake_apply(arrays: Tensors, text: str) -> torch.Tensor:
    return _like(decode(text), arrays)


def _fake_pushforward(dots: Tensors, arrays: Tensors, text: str, wrt: str) -> torch.Tensor:
    return _like(decode(text), arrays)


def forms_of_state(call: Call, arrays: Tensors) -> Forms:
    """Return the shapes and dtypes of the state of a call, which there is on the host."""
    if not arrays[0].is_cpu:
        return ()
    return call.state_forms([tuple(array.shape) for array in arrays])


def _fake_linearize(arrays: Tensors, text: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    call, new = decode(text), arrays[0].new_empty
    forms = forms_of_state(call, arrays)
    state = [new(shape, dtype=getattr(torch, dtype.name)) for shape, dtype in forms]
    return _like(call, arrays), state


def _fake_pullback(
    bar: torch.Tensor, arrays: Tensors, state: Tensors, text: str, wrt: str
) -> list[torch.Tensor]:
    at = dict(zip(decode(text).names, arrays, strict=True))
    return [at[n].new_empty(at[n].shape, dtype=dtype_of(at[n])) for n in wrt.split()]


for _name, _kernel, _fake in (
    ("apply", _apply, _fake_apply),
    ("pushforward", _pushforward, _fake_pushforward),
    ("pullback", _pullback, _fake_pullback),
    ("linearize", _linearize, _fake_linearize),
):
    library.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"lapsum::{_name}", _fake, lib=library)
