"""Arrays of other libraries on the same devices, and the streams that these run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cupy

from ..types import Array


@contextmanager
def on_stream(pointer: int, device: int) -> Iterator[None]:
    """Have kernels run on another library's stream of a device; memory goes back in its order."""
    with cupy.cuda.Device(device), cupy.cuda.ExternalStream(pointer, device):
        yield


def from_dlpack(array: Any) -> Array:
    """Return an array in the memory of another library's."""
    shared: Array = cupy.from_dlpack(array)
    return shared
