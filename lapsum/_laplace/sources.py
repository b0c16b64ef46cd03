"""Sorted sources, and the decaying sums over them.

With sources x_1 <= ... <= x_n of weights c_j and a target b between x_m and x_{m+1},

    sum_j c_j v_j e^{-|b - x_j|/alpha}
        = e^{-(b - x_m)/alpha} A_m + e^{-(x_{m+1} - b)/alpha} B_{m+1},
    A_m = c_m v_m + e^{-(x_m - x_{m-1})/alpha} A_{m-1},      B_m the same from the right:

two decaying scans over the sources, then two reads a target; the transpose runs backwards.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .._backends.protocol import Kernels
from .._backends.types import Entries, Flags, Floats, Indices, Ordered, Pair, SourceLanes

LIGHT = 2.0**100  # times `LARGE` and the number of entries this is a float


class Sources:
    """The sources of every lane, sorted, and the decaying sums of their weights.

    Parameters
    ----------
    kernels : Kernels
        The backend.
    x : array, shape (lanes, n)
        Sources, as `kernels.entries` returns them; entries of zero weight are absent, whatever they
        hold.
    alpha : array, shape (lanes,)
    weights : array, shape (lanes, n), optional
    totals : array, shape (lanes,), optional
        The sums of the weights, for a device: there NaN tells that the host would refuse them.
    known : optional
        Their order, where it is known.

    Attributes
    ----------
    lanes : SourceLanes
        What kernels take; each of its arrays is an attribute here, too.
    """

    def __init__(
        self,
        kernels: Kernels,
        x: Entries,
        alpha: Floats,
        weights: Floats | None = None,
        totals: Floats | None = None,
        known: Any = None,
    ) -> None:
        self._finish(kernels, x, alpha, kernels.order(x, alpha, weights, totals, known))

    @classmethod
    def without_order(cls, kernels: Kernels, x: Entries, alpha: Floats) -> Sources:
        """Return sources beside which nothing will be brought into order."""
        self = cls.__new__(cls)
        self._finish(kernels, x, alpha, kernels.ascending(x, alpha))
        return self

    def _finish(self, kernels: Kernels, x: Entries, alpha: Floats, ordered: Ordered) -> None:
        sorted_x, gap, present, nan_lanes, order, weights, room = ordered
        pairs = None if weights is None else kernels.cumulate(weights)
        left, right = kernels.scan_both(gap, weights, None, room)
        self.kernels = kernels
        self.lanes = SourceLanes(
            sorted_x, gap, present, nan_lanes, order, alpha, weights, pairs, left, right
        )
        self.x, self.gap, self.present = sorted_x, gap, present
        self.nan_lanes, self.order = nan_lanes, order
        self.alpha, self.weights, self.left, self.right = alpha, weights, left, right
        # What weights change when they grow depends on where the absent entries are.
        self.entries = None if weights is None else x

    @cached_property
    def source_lane(self) -> Indices:
        """The lane of each lane: its own."""
        return self.kernels.identity(len(self.x))

    @cached_property
    def decay(self) -> Floats:
        """e^{-gap} in the form that scans take."""
        return self.kernels.decays(self.gap)

    @cached_property
    def fused_lanes(self) -> Flags:
        """Lanes that fused kernels of weighted sums take: none is absent, nor do weights overflow.

        Products of cotangents up to `LARGE` with sums of the weights are finite there.
        """
        xp = self.kernels.xp
        if self.lanes.pairs is None or not self.shape[1]:
            return xp.isfinite(self.alpha)
        totals, _ = self.lanes.pairs
        whole: Flags = (self.present == self.shape[1]) & (totals[:, -1] < LIGHT)
        return whole

    @property
    def shape(self) -> tuple[int, int]:
        """Lanes and sources a lane."""
        lanes, n = self.x.shape
        return lanes, n

    @property
    def base(self) -> Pair:
        """The decaying sums of the weights from both sides."""
        return self.left, self.right

    def to_order(self, values: Floats) -> Floats:
        """Return `values`, given in the caller's order, in ascending order of the sources."""
        return self.kernels.to_order(values, self.order)

    def from_order(self, values: Floats) -> Floats:
        """Undo `to_order`."""
        return self.kernels.from_order(values, self.order)

    def tangent(self, values: Floats) -> Floats:
        """Return the tangent of the sorted sources; infinite ones do not move."""
        xp = self.kernels.xp
        return xp.where(xp.isfinite(self.x), self.to_order(values), 0.0)

    def cotangent(self, values: Floats) -> Floats:
        """Return the cotangent, in the caller's order, of which `values` are the sorted entries."""
        xp = self.kernels.xp
        return self.from_order(xp.where(xp.isfinite(self.x), values, 0.0))

    def weigh(self, values: Floats) -> Floats:
        """Return sorted `values` times the weights; those of absent entries are zero."""
        if self.weights is None:
            return values
        return self.kernels.xp.where(self.weights == 0.0, 0.0, self.weights * values)

    def scan(self, values: Floats, source_lane: Indices | None = None) -> Pair:
        """Return the decaying sums of sorted `values` from the left and from the right."""
        return self.kernels.scan_both(
            self.gap, values, self.source_lane if source_lane is None else source_lane
        )

    def running_sum(self, values: Floats, reverse: bool = False) -> Floats:
        """Return the sums of sorted `values` up to each, or from each on."""
        return self.kernels.scan(None, values, self.source_lane, reverse)

    def scan_back(self, pair: Pair, source_lane: Indices | None = None) -> Pair:
        """Apply the transposes of both scans to what was read from each."""
        left, right = pair
        source_lane = self.source_lane if source_lane is None else source_lane
        scan = self.kernels.scan
        return scan(self.decay, left, source_lane, True), scan(
            self.decay, right, source_lane, False
        )

    def moments(self, step: Floats, base: Pair, source_lane: Indices | None = None) -> Pair:
        """Return the scans of differences, see `Kernels.moments`."""
        source_lane = self.source_lane if source_lane is None else source_lane
        left, right = base
        moments, decay = self.kernels.moments, self.decay
        return moments(decay, step, left, source_lane, False), moments(
            decay, step, right, source_lane, True
        )

    def falls(self) -> Floats:
        """Return 1 - e^{-gap} to the source before, 0 where there is none."""
        xp, here = self.kernels.xp, self.kernels.xp.arange(self.shape[1])
        linked = (here > 0) & (here < self.present[:, None])
        return xp.where(linked, -xp.expm1(-self.gap), 0.0)

    def absent(self) -> Flags | None:
        """Return which entries of each lane, in the caller's order, are absent; None for none."""
        if self.weights is None:
            return None
        absent: Flags = self.weights == 0.0
        return self.from_order(self.weights) == 0.0 if absent.any() else None

    @cached_property
    def with_absent(self) -> Sources | None:
        """The sources with the absent ones back, if any, for what weights change when they grow."""
        if self.weights is None or self.entries is None or not (self.weights == 0.0).any():
            return None
        xp, x = self.kernels.xp, self.kernels.contiguous(self.entries)
        return Sources(self.kernels, x, self.alpha, xp.where(xp.isnan(x), 0.0, xp.ones(x.shape)))
