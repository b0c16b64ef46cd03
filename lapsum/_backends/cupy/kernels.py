"""All kernels for CuPy arrays.

Each group of them is a class in a file of its own, where the CUDA text of a kernel stands above the
method that launches it.  The order of all additions is fixed, so results are the same in every run.
No kernel waits for the device; the rules that call them do where they ask whether a flag is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import cupy

from ..portable import Portable
from ..protocol import Kernels as Protocol
from ..types import Namespace
from .densities import Densities
from .lanes import Lanes
from .order import Order
from .permutation import Permutation
from .scans import Scans
from .selection import Selection
from .targets import Targets
from .thresholds import Thresholds

if int(cupy.__version__.partition(".")[0]) < 14:
    raise ImportError(f"lapsum needs CuPy 14 or newer, and this is {cupy.__version__}")


class Kernels(
    Permutation, Selection, Densities, Thresholds, Targets, Scans, Order, Lanes, Portable
):
    """The kernels, run on the current stream; what is missing here is the portable one."""

    xp = cast(Namespace, cupy)
    array_type: type = cupy.ndarray
    on_host = False


def kernels_of(arrays: Mapping[str, object], workers: int) -> Protocol:
    """Return the kernels for the CuPy arrays among `arrays`; `workers` is for the host alone.

    Raises
    ------
    TypeError
        Unless they are on the current device.
    """
    given = (array for array in arrays.values() if isinstance(array, cupy.ndarray))
    devices = {str(array.device): array.device for array in given}
    if len(devices) > 1:
        raise TypeError(f"arrays are on several devices: {', '.join(sorted(devices))}")
    here = cupy.cuda.Device()
    for name, device in devices.items():
        if getattr(device, "id", None) != getattr(here, "id", None):
            raise TypeError(f"arrays are on {name}, and the current device is {here}")
    return Kernels()
