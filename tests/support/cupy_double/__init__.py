"""A test double of CuPy: its interface, held to the real one's, on the CPU.

`installed()` puts the module in the place of `cupy`; `recording()` shows what would have run on
the device.  Kernels are the very same CUDA C++, compiled by the host's compiler and run in more
than one order of their threads, between fences.
"""

from __future__ import annotations

from .compiler import CompileException, available
from .errors import DivergenceError, RaceError, TrapError
from .namespace import installed
from .recorder import Log, recording

__all__ = [
    "CompileException",
    "DivergenceError",
    "Log",
    "RaceError",
    "TrapError",
    "available",
    "installed",
    "recording",
]
