"""Sums for densities that are tabulated, in NumPy arrays."""

from __future__ import annotations

import numpy as np

from ... import _kernels
from ..types import Floats, LogisticTopk, Pair, Table
from . import memory
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

    def logistic_topk(
        self, x: Floats, sign: float, levels: Floats, alpha: Floats, keep: bool
    ) -> LogisticTopk | None:
        """Select from sign x in the lanes where that takes a few passes."""
        p, slopes = np.empty(x.shape), memory.empty(x.shape if keep else (len(x), 0))
        density, solved = np.empty(len(x)), np.empty(len(x), np.int8)
        results = p, slopes, density, solved
        self._run(_kernels.logistic_topk, x.shape, x, sign, levels, alpha, *results)
        return LogisticTopk(p, slopes, density, solved != 0)
