"""What runs on the host whatever the arrays are: what other floors take of NumPy's backend."""

from __future__ import annotations

from .numpy.denormals import denormals_count
from .numpy.kernels import SERIAL
from .numpy.lanes import check_levels

__all__ = ["SERIAL", "check_levels", "denormals_count"]
