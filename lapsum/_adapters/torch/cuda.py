"""Tensors on CUDA devices as CuPy's arrays, on PyTorch's own stream; nothing waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any

import torch

# Return whether a tensor is on such a device.
holds: Callable[[torch.Tensor], bool] = attrgetter("is_cuda")


def on_current_stream(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which CuPy's kernels go where PyTorch's next ones on a device will go."""
    stream = torch.cuda.current_stream(device)
    context: AbstractContextManager[None] = _exchange().on_stream(
        stream.cuda_stream, stream.device_index
    )
    return context


def device_of(array: Any) -> torch.device:
    """Return the device of a CuPy array."""
    return torch.device("cuda", array.device.id)


def to_array(tensor: torch.Tensor) -> Any:
    """Return the memory of a tensor as CuPy's array."""
    return _exchange().from_dlpack(tensor)


def to_tensor(array: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return what a CuPy array holds as a tensor in memory of PyTorch's.

    For memory of CuPy's `record_stream` would have no meaning.
    """
    own = getattr(torch, array.dtype.name)
    tensor = torch.empty(array.shape, dtype=own, device=device_of(array))
    to_array(tensor)[...] = array
    return tensor.to(dtype)


def check(name: str, tensor: torch.Tensor) -> None:
    """Raise TypeError without CuPy, whose kernels these are."""
    try:
        _exchange()
    except ImportError as error:
        raise TypeError(
            f"`{name}` is a tensor on the device {tensor.device}, for which lapsum needs CuPy "
            f"({error}); install it, or move the tensor by its method cpu, through which gradients "
            "go back"
        ) from None


def _exchange() -> Any:
    from ..._backends.cupy import exchange  # imports CuPy

    return exchange
