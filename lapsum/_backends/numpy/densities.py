"""Sums for densities that are tabulated, in NumPy arrays."""

from __future__ import annotations

import numpy as np

from ... import _kernels
from ..types import Floats, Pair, Table
from .lanes import Lanes


class Densities(Lanes):
    """The kernels of `protocol.Densities`."""

    def tree_sums(
        self, table: Table, x: Floats, low: Floats | None, values: Floats, alpha: Floats
    ) -> Pair | None:
        """sum_j v_j K((x_i - x_j)/alpha) for points x + low in ascending order of x, in two parts.

        The second holds the whole steps of a CDF, exact where values are whole numbers.
        """
        sums, steps = np.empty(x.shape), np.empty(x.shape)
        kernel = table.coefficients, table.unit, table.reach, table.kind, table.bits
        self._run(_kernels.tree_sums, x.shape, *kernel, x, low, values, alpha, sums, steps)
        return sums, steps
