"""Sorted sources, and the Laplace-kernel sums from them to the targets among them.

With sources x_1 <= ... <= x_n of weights c_j and a target b between x_m and x_{m+1},

    sum_j c_j v_j e^{-|b - x_j|/alpha}
        = e^{-(b - x_m)/alpha} A_m + e^{-(x_{m+1} - b)/alpha} B_{m+1},
    A_m = c_m v_m + e^{-(x_m - x_{m-1})/alpha} A_{m-1},      B_m the same from the right:

two decaying scans over the sources, then two reads a target; the transpose runs backwards.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .targets import Targets, Thresholds

Array = Any
Pair = tuple[Array, Array]


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
    ordered : bool, optional
        Whether anything but the sources will be brought into their order; if not, no weights.
    totals : array, shape (lanes,), optional
        The sums of the weights, for a device: there NaN tells that the host would refuse them.

    Attributes
    ----------
    count : array of int, shape (lanes,)
        How many are present; none in invalid lanes.
    invalid : array of bool, shape (lanes,), or None
        Lanes that are spoilt by a NaN; on a device, too, those of an alpha or of weights that the
        host would refuse.
    """

    def __init__(
        self,
        kernels: Any,
        x: Array,
        alpha: Array,
        weights: Array | None = None,
        ordered: bool = True,
        totals: Array | None = None,
    ) -> None:
        self.kernels = kernels
        self.entries = x
        self.alpha = alpha
        if ordered:
            block, self.order, self.weights, *lanes = kernels.order(x, alpha, weights, totals)
        else:
            self.weights = None
            block, *lanes = kernels.ascending(x, alpha)
        self.x, self.gap, *scans = block
        self.count, self.invalid = lanes
        self.left, self.right = kernels.scan_both(self.gap, self.weights, None, scans)
        self.pairs = None if weights is None else kernels.cumulate(self.weights)

    @cached_property
    def key(self) -> Array:
        """The lane of each lane: its own."""
        return self.kernels.identity(len(self.x))

    @cached_property
    def given(self) -> Array:
        """The sources in the caller's order."""
        return self.kernels.contiguous(self.entries)

    @cached_property
    def decay(self) -> Array:
        """e^{-gap} in the form that scans take."""
        return self.kernels.decays(self.gap)

    @property
    def shape(self) -> tuple[int, int]:
        """Lanes and sources a lane."""
        lanes, n = self.x.shape
        return lanes, n

    def sort(self, values: Array) -> Array:
        """Return `values`, given in the caller's order, in ascending order of the sources."""
        return self.kernels.sort(values, self.order)

    def unsort(self, values: Array) -> Array:
        """Undo `sort`."""
        return self.kernels.unsort(values, self.order)

    def tangent(self, values: Array) -> Array:
        """Return the tangent of the sorted sources; infinite ones do not move."""
        xp = self.kernels.xp
        return xp.where(xp.isfinite(self.x), self.sort(values), 0.0)

    def cotangent(self, values: Array) -> Array:
        """Return the cotangent, in the caller's order, of which `values` are the sorted entries."""
        xp = self.kernels.xp
        return self.unsort(xp.where(xp.isfinite(self.x), values, 0.0))

    def spoil(self, values: Array) -> Array:
        """Return `values` with NaN in invalid lanes."""
        if self.invalid is None:
            return values
        return self.kernels.xp.where(self.invalid[:, None], np.nan, values)

    def weigh(self, values: Array) -> Array:
        """Return sorted `values` times the weights; those of absent entries are zero."""
        if self.weights is None:
            return values
        return self.kernels.xp.where(self.weights == 0.0, 0.0, self.weights * values)

    def scan(self, values: Array | None, key: Array | None = None) -> Pair:
        """Return the decaying sums of sorted `values` from the left and from the right."""
        key = self.key if key is None else key
        pair: Pair = self.kernels.scan_both(self.gap, values, key)
        return pair

    def moments(self, step: Array, base: Pair, key: Array | None = None) -> Pair:
        """Return the scans of differences, see `Kernels.moments`."""
        key = self.key if key is None else key
        moments, decay = self.kernels.moments, self.decay
        return (
            moments(decay, step, base[0], key, False),
            moments(decay, step, base[1], key, True),
        )

    def locate(self, lo: Array, hi: Array | None, u: Array | None, key: Array) -> Targets:
        """Return the targets (lo + hi)/2 + alpha u, or `lo` where the others are None."""
        index = self.kernels.locate(self.x, self.count, self.alpha, lo, hi, u, key)
        return Targets(self, key, index, lo, hi, u)

    def solve(self, levels: Array, key: Array, full: bool) -> Thresholds:
        """Return the thresholds b with S(b) = level; `full` if derivatives will be asked for."""
        index, side, u, factors = self.kernels.solve(
            self.gap,
            self.count,
            self.weights,
            self.pairs,
            self.left,
            self.right,
            levels,
            key,
            full,
        )
        lo, hi = self.kernels.anchors(self.x, index, side, key)
        return Thresholds(self, key, index, lo, hi, u, factors)

    def solve_steps(self, first: float, steps: int, full: bool) -> Thresholds:
        """Return the thresholds at the levels first, first + 1, ..., without weights."""
        index, side, u, factors = self.kernels.solve_steps(
            self.gap, self.count, self.left, self.right, first, steps, 6 if full else 2
        )
        lo, hi = self.kernels.anchors(self.x, index, side, self.key)
        return Thresholds(self, self.key, index, lo, hi, u, factors)

    def sorted_values(self, first: float, steps: int, dtype: Any) -> Array:
        """Return the thresholds at the levels first, first + 1, ..., rounded to dtype, in order."""
        lanes = self.x, self.gap, self.count, self.left, self.right, self.alpha
        values: Array = self.kernels.sorted_values(*lanes, first, steps, dtype)
        return values

    def falls(self) -> Array:
        """Return 1 - e^{-gap} to the source before, 0 where there is none."""
        xp = self.kernels.xp
        return xp.where(self._linked(), -xp.expm1(-self.gap), 0.0)

    def _linked(self) -> Array:
        here = self.kernels.xp.arange(self.shape[1])
        return (here > 0) & (here < self.count[:, None])

    def neighbours(self) -> Targets:
        """Return the sources, in ascending order, as targets of all sources but themselves.

        Their own kernel, one, would drown the others' where those are tiny.
        """
        xp = self.kernels.xp
        lanes, n = self.shape
        here = xp.broadcast_to(xp.arange(n), (lanes, n))
        present = here < self.count[:, None]
        after = xp.concatenate([self.gap[:, 1:], xp.full((lanes, min(n, 1)), xp.inf)], axis=-1)
        index = xp.where(present, here, 0)
        left, right = self.gap, after
        if self.weights is not None:
            absent = self.locate(self.x, None, None, self.key)
            index = xp.where(present, here, absent.at[1])
            left = xp.where(present, left, absent.distance[0])
            right = xp.where(present, right, absent.distance[1])
        targets = Targets(self, self.key, index, self.x, None, None)
        targets.distance = left, right
        targets.at = (index - 1, xp.where(present, index + 1, index))
        return targets

    @cached_property
    def everyone(self) -> Sources | None:
        """The sources with the absent ones back, if any, for what weights change when they grow."""
        if self.weights is None or not (self.weights == 0.0).any():
            return None
        xp = self.kernels.xp
        return Sources(
            self.kernels, self.given, self.alpha, xp.where(xp.isnan(self.given), 0.0, 1.0)
        )
