"""Weights, divided by their sum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backends.protocol import Kernels
from .._backends.types import Floats, sum_in_lane
from .._core.checks import check_total


class Shares(NamedTuple):
    """Weights divided by their sum, and this sum, 0 for lanes without any."""

    shares: Floats
    total: Floats

    @property
    def _divisor(self) -> Floats:
        return np.where(self.total > 0.0, self.total, np.inf)[:, None]

    def push(self, dot: Floats | None) -> Floats | None:
        """Return the tangent of the shares, None for zero."""
        if dot is None:
            return None
        dot = dot / self._divisor
        return dot - self.shares * sum_in_lane(dot)[:, None]

    def pull(self, bar: Floats) -> Floats:
        """Return the cotangent of the weights."""
        return (bar - sum_in_lane(self.shares * bar)[:, None]) / self._divisor


def shares_of(
    kernels: Kernels, weights: Floats | None, shape: tuple[int, int], name: str
) -> Shares:
    """Return the shares of weights, of equal ones for None or where all are zero."""
    lanes, size = shape
    equal = 1.0 / max(size, 1)
    if weights is None:
        return Shares(np.full(shape, equal), np.full(lanes, float(size)))
    total = kernels.totals(weights)
    check_total(total, name)
    scaled_total, scaled = kernels.rescale(total, total, weights)
    some = total > 0.0
    shares = scaled / np.where(some, scaled_total, 1.0)[:, None]
    return Shares(np.where(some[:, None], shares, equal), total)
