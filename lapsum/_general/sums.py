"""Sorted sources, and sums over them at many points, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from .._backends import formulas
from .._backends.protocol import Kernels
from .._backends.types import Entries, Floats, Indices, Pair, Points, sum_in_lane
from .even_density import EvenDensity

BLOCK = 2**16  # pairs of a point and a source that are looked at together

# What is added up: a function of (b_i - x_j)/alpha, of the lanes and of the rows of the block.
Term = Callable[[Floats, slice, slice], Floats]


def blocks(lanes: int, rows: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Return slices of lanes and of rows, of `size` pairs each, that make blocks."""
    if not lanes or not rows:
        return
    several = max(1, BLOCK // max(1, rows * size))
    step = rows if rows * size <= BLOCK else max(1, BLOCK // max(1, size))
    for lane in range(0, lanes, several):
        for row in range(0, rows, step):
            yield slice(lane, lane + several), slice(row, row + step)


def offsets(points: Points, x: Floats, alpha: Floats) -> Floats:
    """(b - x)/alpha for points that are anchored at `lo`, or in the middle of `lo` and `hi`."""
    lo, hi, u = points
    t = (lo - x) / alpha
    if np.isinf(t).any():
        t = formulas.step(np, x, lo, alpha)
    if hi is None or u is None:
        return t
    t = t + u
    middle = lo != hi
    if middle.any():
        t = np.where(middle, formulas.step_to_middle(np, x, lo, hi, alpha) + u, t)
    if np.isinf(u).any():
        t = np.where(np.isinf(u), u, t)
    return t


def _part(points: Points, lanes: slice, rows: slice, axis: int) -> Points:
    """Return some of the points, with a new axis for the sources."""
    lo, hi, u = (None if a is None else np.expand_dims(a[lanes, rows], axis) for a in points)
    if lo is None:
        raise TypeError("points have an anchor")
    return Points(lo, hi, u)


class Sources:
    """The sorted sources of lanes; infinite and absent ones count as nothing, and are told apart.

    Parameters
    ----------
    kernels : Kernels
    density : EvenDensity
    x : array, shape (lanes, n)
    alpha : array, shape (lanes,)
    weights : array, shape (lanes, n), or None
        Rescaled.
    totals : array, shape (lanes,), or None
        Sums of the weights.

    Attributes
    ----------
    given : array, shape (lanes, n)
        The sources in ascending order, absent ones last.
    alive : array of bool, shape (lanes, n)
        Which of them are finite and present.
    x, c : arrays, shape (lanes, n)
        The same with those that are not finite moved to the ends of those that are, and the weights
        of the alive ones, zero for others.
    weighted : bool
        Whether there are weights.
    first, count : arrays of int, shape (lanes,)
        Where the finite ones begin, and how many they are.
    low, high : arrays, shape (lanes,)
        The weights at -inf and at inf.
    invalid : array of bool, shape (lanes,), or None
        Lanes that hold a NaN of non-zero weight.
    """

    def __init__(
        self,
        kernels: Kernels,
        density: EvenDensity,
        x: Entries,
        alpha: Floats,
        weights: Floats | None = None,
        totals: Floats | None = None,
    ) -> None:
        self.kernels, self.density, self.alpha = kernels, density, alpha
        ordered = kernels.order(x, alpha, weights, totals)
        self.given, self.order, self.invalid = ordered.x.copy(), ordered.order, ordered.invalid
        self.shape = lanes, n = self.given.shape
        present = np.arange(n) < ordered.present[:, None]
        self.present, self.weighted = present, weights is not None
        self.alive = alive = present & np.isfinite(self.given)
        weight = np.ones((lanes, n)) if ordered.weights is None else ordered.weights.copy()
        self.c = np.where(alive, weight, 0.0)
        self.weight = np.where(present, weight, 0.0)
        self.first = (present & (self.given == -np.inf)).sum(axis=-1)
        self.count = alive.sum(axis=-1)
        finite = np.isfinite(self.given)
        self.x = self.given
        if not finite.all():
            self.x = np.where(finite, self.given, 0.0)
            ends = self.first, self.first + self.count - 1
            low, high = (self._take(self.x, end)[:, None] for end in ends)
            self.x = np.where(finite, self.x, np.where(self.given < 0.0, low, high))
        infinite = np.where(alive, 0.0, self.weight)
        self.low = sum_in_lane(np.where(self.given < 0.0, infinite, 0.0))
        self.high = sum_in_lane(np.where(self.given > 0.0, infinite, 0.0))

    @cached_property
    def before(self) -> Pair:
        """The weight of the first m sources, (lanes, n + 1), as an unevaluated pair."""
        zero = np.zeros((len(self.c), 1))
        if self.weighted:
            pair = self.kernels.cumulate(self.c)
        else:
            pair = np.cumsum(self.c, axis=-1), np.zeros(self.shape)
        whole, rest = (np.concatenate([zero, part], axis=-1) for part in pair)
        return whole, rest

    @staticmethod
    def _take(a: Floats, at: Indices) -> Floats:
        """Return one element a lane, the nearest one for places outside."""
        clipped = np.clip(at, 0, a.shape[1] - 1)
        out: Floats = np.take_along_axis(a, clipped[:, None], axis=1)[:, 0]
        return out

    def to_order(self, values: Floats, key: Indices | None = None) -> Floats:
        """Bring lanes into the order of the sources."""
        return self.kernels.to_order(values, self.order, key)

    def from_order(self, values: Floats, key: Indices | None = None) -> Floats:
        """Undo `to_order`."""
        return self.kernels.from_order(values, self.order, key)

    def tangent(self, x_dot: Floats) -> Floats:
        """Return the tangent of the sources in order; those that are not finite do not move."""
        return np.where(np.isfinite(self.given), self.to_order(x_dot), 0.0)

    def cotangent(self, x_bar: Floats) -> Floats:
        """Undo `tangent`."""
        return self.from_order(np.where(np.isfinite(self.given), x_bar, 0.0))

    # ---------------------------------------------------------------------------------------- sums

    def rows(self, points: Points, term: Term, key: Indices | None = None) -> Floats:
        """Add up, for every point, a term over the sources: (lanes, points)."""
        lanes_of_points, m = points.lo.shape
        out = np.zeros((lanes_of_points, m))
        for lanes, rows in blocks(lanes_of_points, m, self.shape[1]):
            source = lanes if key is None else key[lanes]
            part = _part(points, lanes, rows, 2)
            t = offsets(part, self.x[source][:, None, :], self.alpha[source][:, None, None])
            out[lanes, rows] = term(t, lanes, rows).sum(axis=-1)
        return out

    def columns(self, points: Points, term: Term, key: Indices | None = None) -> Floats:
        """Add up, for every source, a term over the points: (lanes, sources)."""
        lanes_of_points, m = points.lo.shape
        out = np.zeros((lanes_of_points, self.shape[1]))
        every = slice(None)
        for lanes, rows in blocks(lanes_of_points, self.shape[1], m):
            source = lanes if key is None else key[lanes]
            part = _part(points, lanes, every, 1)
            x = self.x[source][:, rows, None]
            t = offsets(part, x, self.alpha[source][:, None, None])
            out[lanes, rows] = term(t, lanes, rows).sum(axis=-1)
        return out


def cdf_at(density: EvenDensity, t: Floats, point: Floats, source: Floats) -> Floats:
    """F(t) for t = (point - source)/alpha; infinities are far away, and equal ones tied."""
    out = density.at(t)
    finite = np.isfinite(point) & np.isfinite(source)
    if finite.all():
        return out
    return np.where(finite, out, 0.5 * (point > source) + 0.5 * (point >= source))
