"""Denormal numbers, which some libraries have the processor take for zero in their threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ... import _kernels


@contextmanager
def denormals_count() -> Iterator[None]:
    """Return a context in which they are what they are, in this thread."""
    mode = _kernels.keep_denormals()
    try:
        yield
    finally:
        _kernels.set_float_mode(mode)
