"""Plans of optimal transport, for which NumPy's arrays alone have kernels."""

from __future__ import annotations

from .numpy.transport import Plan, Points, Transport

__all__ = ["Plan", "Points", "Transport"]
