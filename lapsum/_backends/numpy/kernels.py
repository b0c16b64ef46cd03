"""All kernels for NumPy arrays: what loops of `src/` compute, in arrays allocated here."""

from __future__ import annotations

from collections.abc import Mapping

from ..portable import Portable
from ..protocol import Kernels as Protocol
from .densities import Densities
from .order import Order
from .permutation import Permutation
from .scans import Scans
from .selection import Selection
from .short import Short
from .targets import Targets
from .thresholds import Thresholds


class Kernels(
    Short, Densities, Permutation, Selection, Targets, Thresholds, Scans, Order, Portable
):
    """The kernels, run by a number of threads; what is missing here is the portable one."""


SERIAL: Protocol = Kernels()


def kernels_of(arrays: Mapping[str, object], workers: int) -> Protocol:
    """Return the kernels for any NumPy arrays."""
    return SERIAL if workers == 1 else Kernels(workers)
