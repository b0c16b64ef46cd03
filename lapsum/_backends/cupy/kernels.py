"""The kernels for CuPy arrays, with the names and meanings of those for NumPy arrays.

Each group of them is a class in a file of its own, where the CUDA text of a kernel stands above the
method that launches it.  The order of all additions is fixed, so results are the same in every run.
No kernel waits for the device; the rules that call them do where they ask whether a flag is set.
"""

from __future__ import annotations

import cupy

from .lanes import Lanes
from .order import Order
from .permutation import Permutation
from .scans import Scans
from .selection import Selection
from .targets import Targets
from .thresholds import Thresholds

if int(cupy.__version__.partition(".")[0]) < 14:
    raise ImportError(f"lapsum needs CuPy 14 or newer, and this is {cupy.__version__}")


class Kernels(Permutation, Selection, Thresholds, Targets, Scans, Order, Lanes):
    """The kernels for arrays on the current device, run on its current stream."""

    xp = cupy
    on_host = False
