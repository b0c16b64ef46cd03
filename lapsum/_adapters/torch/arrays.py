"""Between tensors and NumPy arrays, without copies where the memory can be shared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch

from ..adapter import Call
from . import cuda

_REAL = {
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
}
_SHARED = {torch.float64, torch.float32}


Kind = TypeVar("Kind", bound=type)
Result = TypeVar("Result")


def untraced(cls: Kind) -> Kind:
    """Keep torch.compile, where it falls back to eager frames, from tracing the methods of a class.

    `torch.compiler.disable` does, and would import the compiler for those who never use it.
    """

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        disabled: list[Callable[..., Any]] = []

        @wraps(method)
        def run(*args: Any) -> Any:
            if not disabled:
                if "torch._dynamo" not in sys.modules:
                    return method(*args)
                disabled.append(torch.compiler.disable(method))
            return disabled[0](*args)

        return run

    for name, method in list(vars(cls).items()):
        if isinstance(method, staticmethod):
            setattr(cls, name, staticmethod(wrapped(method.__func__)))
    return cls


def to_array(value: Any) -> Any:
    """Return a tensor's memory as a NumPy or CuPy array, and anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.dtype is torch.bfloat16:  # which NumPy has not; in float32 it is exact
        value = value.to(torch.float32)
    # What would change nothing takes time as well.
    value = value.detach() if value.requires_grad else value
    value = value.resolve_neg() if value.is_neg() else value
    return cuda.to_array(value) if cuda.holds(value) else value.numpy()


def beside(tensor: torch.Tensor, function: Callable[..., Result], *args: Any) -> Result:
    """Call a function whose kernels run where a tensor is."""
    if not cuda.holds(tensor):
        return function(*args)
    with cuda.on_current_stream(tensor.device):
        return function(*args)


def check(name: str, value: torch.Tensor) -> bool:
    """Raise TypeError unless a tensor is one of real numbers where there are kernels.

    Return whether it has memory there; a meta tensor has none.
    """
    nested = value.is_nested
    if value.dtype in _SHARED and value.is_cpu and value.layout is torch.strided and not nested:
        return True
    if value.dtype not in _REAL:
        raise TypeError(
            f"`{name}` must be real numbers of at most 64 bits, got a tensor of {value.dtype}"
        )
    if nested:
        raise TypeError(
            f"`{name}` is a nested tensor; pad it by `torch.nested.to_padded_tensor`, and give "
            "`weights` of 0 to what is filled in"
        )
    if value.layout is not torch.strided:
        raise TypeError(
            f"`{name}` is a tensor of layout {value.layout}; make it dense by its method to_dense"
        )
    if cuda.holds(value):
        cuda.check(name, value)
    elif not value.is_cpu and not value.is_meta:
        raise TypeError(
            f"`{name}` is a tensor on the device {value.device}, and lapsum takes tensors on the "
            "CPU and on CUDA devices; move it by its method cpu, through which gradients go back"
        )
    return not value.is_meta


def to_tensor(array: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return a NumPy or CuPy array, or a scalar, that nothing else holds as a tensor."""
    if not isinstance(array, (np.ndarray, np.generic)):
        return cuda.to_tensor(array, dtype)
    array = np.asarray(array)
    flags = array.flags
    if not flags.writeable or not (flags.c_contiguous or min(array.strides) >= 0):
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def dtype_of(tensor: torch.Tensor) -> torch.dtype:
    """Return the dtype that a tensor counts as: floats as they are, everything else float64."""
    dtype = tensor.dtype
    return dtype if dtype.is_floating_point else torch.float64


def result_dtype(call: Call, values: Sequence[Any]) -> torch.dtype:
    """Return the dtype of the result."""
    if "dtype" in call.options:
        asked: torch.dtype = getattr(torch, call.options["dtype"])
        return asked
    data, result = call.rule.along_axis, None
    for name, value in zip(call.names, values, strict=True):
        if name in data:
            one = value.dtype if isinstance(value, torch.Tensor) else torch.float64
            one = one if one.is_floating_point else torch.float64
            result = one if result is None else torch.promote_types(result, one)
    assert result is not None
    return result
