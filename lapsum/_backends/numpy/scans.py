"""Sums along sorted lanes of NumPy arrays."""

from __future__ import annotations

import numpy as np

from ... import _kernels
from ..types import Floats, Indices, Pair
from .lanes import Lanes


class Scans(Lanes):
    """The kernels of `protocol.Scans`."""

    def decays(self, gap: Floats) -> Floats:
        """Return e^{-gap}, near one as expm1(-gap)."""
        out = np.empty_like(gap)
        self._run(_kernels.decays, out.shape, gap, out)
        return out

    def scan(
        self, decay: Floats | None, values: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; without decay running sums."""
        out = np.empty(values.shape)
        self._run(_kernels.scan, out.shape, decay, values, source_lane, reverse, out)
        return out

    def scan_both(
        self,
        gap: Floats,
        values: Floats | None,
        source_lane: Indices | None,
        out: Pair | None = None,
    ) -> Pair:
        """Return the scan of values, None for ones, and its mirror, in `out` if given."""
        source_lane = self.identity(len(gap)) if source_lane is None else source_lane
        shape = gap.shape if values is None else values.shape
        left, right = np.empty((2, *shape)) if out is None else out
        self._run(_kernels.scan_both, shape, gap, values, source_lane, left, right)
        return left, right

    def moments(
        self, decay: Floats, step: Floats, base: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m."""
        out = np.empty_like(base)
        self._run(_kernels.moments, out.shape, decay, step, base, source_lane, reverse, out)
        return out

    def cumulate(self, values: Floats) -> Pair:
        """Return running sums as unevaluated pairs."""
        high, low = np.empty_like(values), np.empty_like(values)
        self._run(_kernels.cumulate, low.shape, values, high, low)
        return high, low

    def totals(self, values: Floats) -> Floats:
        """Return correctly rounded sums of the lanes of non-negative values."""
        out = np.empty(values.shape[0])
        self._run(_kernels.totals, values.shape, values, out)
        return out
