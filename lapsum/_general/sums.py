"""Sorted sources, and sums over them at many points, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from .._backends.protocol import Kernels
from .._backends.types import Entries, Floats, Indices, Namespace, Pair, Points, sum_in_lane
from .even_density import EvenDensity

# What is added up: a function of (b_i - x_j)/alpha, of the lanes and of the rows of the block.
Term = Callable[[Floats, slice, slice], Floats]


def blocks(kernels: Kernels, lanes: int, rows: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Return slices of lanes and of rows, of `size` pairs each, that make blocks."""
    if not lanes or not rows:
        return
    most = kernels.pairs_at_once
    several = max(1, most // max(1, rows * size))
    step = rows if rows * size <= most else max(1, most // max(1, size))
    for lane in range(0, lanes, several):
        for row in range(0, rows, step):
            yield slice(lane, lane + several), slice(row, row + step)


def _part(xp: Namespace, points: Points, lanes: slice, rows: slice, axis: int) -> Points:
    """Return some of the points, with a new axis for the sources."""
    lo, hi, u = (None if a is None else xp.expand_dims(a[lanes, rows], axis) for a in points)
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
    nan_lanes : array of bool, shape (lanes,), or None
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
        xp = kernels.xp
        self.kernels, self.density, self.alpha = kernels, density, alpha
        ordered = kernels.order(x, alpha, weights, totals)
        self.given, self.order, self.nan_lanes = ordered.x.copy(), ordered.order, ordered.nan_lanes
        self.shape = lanes, n = self.given.shape
        present = xp.arange(n) < ordered.present[:, None]
        self.present, self.weighted = present, weights is not None
        self.alive = alive = present & xp.isfinite(self.given)
        weight = xp.ones((lanes, n)) if ordered.weights is None else ordered.weights.copy()
        self.c = xp.where(alive, weight, 0.0)
        self.weight = xp.where(present, weight, 0.0)
        self.first = (present & (self.given == -xp.inf)).sum(axis=-1)
        self.count = alive.sum(axis=-1)
        finite = xp.isfinite(self.given)
        self.x = self.given
        if not finite.all():
            self.x = xp.where(finite, self.given, 0.0)
            ends = self.first, self.first + self.count - 1
            low, high = (self._take(self.x, end)[:, None] for end in ends)
            self.x = xp.where(finite, self.x, xp.where(self.given < 0.0, low, high))
        infinite = xp.where(alive, 0.0, self.weight)
        self.low = sum_in_lane(xp.where(self.given < 0.0, infinite, 0.0))
        self.high = sum_in_lane(xp.where(self.given > 0.0, infinite, 0.0))

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.kernels.xp

    @cached_property
    def before(self) -> Pair:
        """The weight of the first m sources, (lanes, n + 1), as an unevaluated pair."""
        xp = self.xp
        zero = xp.zeros((len(self.c), 1))
        if self.weighted:
            pair = self.kernels.cumulate(self.c)
        else:
            pair = xp.cumsum(self.c, axis=-1), xp.zeros(self.shape)
        whole, rest = (xp.concatenate([zero, part], axis=-1) for part in pair)
        return whole, rest

    def _take(self, a: Floats, at: Indices) -> Floats:
        """Return one element a lane, the nearest one for places outside."""
        return self.xp.take_along_axis(a, at.clip(0, a.shape[1] - 1)[:, None], axis=1)[:, 0]

    def to_order(self, values: Floats, source_lane: Indices | None = None) -> Floats:
        """Bring lanes into the order of the sources."""
        return self.kernels.to_order(values, self.order, source_lane)

    def from_order(self, values: Floats, source_lane: Indices | None = None) -> Floats:
        """Undo `to_order`."""
        return self.kernels.from_order(values, self.order, source_lane)

    def tangent(self, x_dot: Floats) -> Floats:
        """Return the tangent of the sources in order; those that are not finite do not move."""
        xp = self.xp
        return xp.where(xp.isfinite(self.given), self.to_order(x_dot), 0.0)

    def cotangent(self, x_bar: Floats) -> Floats:
        """Undo `tangent`."""
        xp = self.xp
        return self.from_order(xp.where(xp.isfinite(self.given), x_bar, 0.0))

    # ---------------------------------------------------------------------------------------- sums

    def rows(self, points: Points, term: Term, source_lane: Indices | None = None) -> Floats:
        """Add up, for every point, a term over the sources: (lanes, points)."""
        xp = self.xp
        lanes_of_points, m = points.lo.shape
        out = xp.zeros((lanes_of_points, m))
        for lanes, rows in blocks(self.kernels, lanes_of_points, m, self.shape[1]):
            source = lanes if source_lane is None else source_lane[lanes]
            part = _part(xp, points, lanes, rows, 2)
            t = self.kernels.apart(
                part, self.x[source][:, None, :], self.alpha[source][:, None, None]
            )
            out[lanes, rows] = term(t, lanes, rows).sum(axis=-1)
        return out

    def columns(self, points: Points, term: Term, source_lane: Indices | None = None) -> Floats:
        """Add up, for every source, a term over the points: (lanes, sources)."""
        xp = self.xp
        lanes_of_points, m = points.lo.shape
        out = xp.zeros((lanes_of_points, self.shape[1]))
        every = slice(None)
        for lanes, rows in blocks(self.kernels, lanes_of_points, self.shape[1], m):
            source = lanes if source_lane is None else source_lane[lanes]
            part = _part(xp, points, lanes, every, 1)
            x = self.x[source][:, rows, None]
            t = self.kernels.apart(part, x, self.alpha[source][:, None, None])
            out[lanes, rows] = term(t, lanes, rows).sum(axis=-1)
        return out


def cdf_at(density: EvenDensity, t: Floats, point: Floats, source: Floats) -> Floats:
    """F(t) for t = (point - source)/alpha; infinities are far away, and equal ones tied."""
    out = density.at(t)
    xp = density.xp
    finite = xp.isfinite(point) & xp.isfinite(source)
    if not density.kernels.maybe_any(~finite):
        return out
    return xp.where(finite, out, 0.5 * (point > source) + 0.5 * (point >= source))
