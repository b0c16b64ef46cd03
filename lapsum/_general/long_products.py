"""Products with soft permutations, and their derivatives, by sums over a tree."""

from __future__ import annotations

import numpy as np

from .._backends.types import Floats, Indices, sum_in_lane
from .sums import Sources
from .tables import CDF, EVEN, ODD, table_of
from .thresholds import MANY, Thresholds, sums_between


def product_by_tree(
    s: Sources, b: Thresholds, values: Floats, source_lane: Indices, transpose: bool
) -> Floats | None:
    """Return the product of the permutation with thresholds b, None where there is no tree.

    The whole steps of F are sums of many values, of which the products see only differences:
    they are exact for values rounded to a grid, and nearly nothing for what that leaves.
    """
    if not (_is_long(s, b) and np.isfinite(values).all()):
        return None
    # Rows and columns of the permutation add up to one.
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    alike = (low > 0.5 * high) | (high < 0.5 * low)
    middle = np.where(alike, 0.5 * low + 0.5 * high, 0.0)
    values = values - middle
    largest = np.abs(values).max(axis=1, keepdims=True) * s.shape[1]
    grid = np.ldexp(1.0, np.frexp(np.where(largest > 0.0, largest, 1.0))[1] - 51)
    rounded = np.rint(values / grid) * grid
    out = np.zeros(values.shape) + middle
    for part in (rounded, values - rounded):
        if transpose:  # F(t) = 1 - F(-t)
            fall = part[:, :-1] - part[:, 1:]
            found = sums_between(s, CDF, b.points, np.zeros(part.shape), fall, source_lane)
            if found is None:
                return None
            out += part[:, :1] - found[0]
            continue
        found = sums_between(s, CDF, b.points, part, np.zeros(b.left.shape), source_lane)
        if found is None:
            return None
        _, near, steps = found
        none = np.zeros((len(out), 1))
        steps = np.concatenate([none, steps, sum_in_lane(part)[:, None]], axis=1)
        out += np.diff(np.concatenate([none, near, none], axis=1)) + np.diff(steps)
    return out


def _is_long(s: Sources, b: Thresholds) -> bool:
    return s.shape[1] * b.left.shape[1] > MANY and bool(s.alive.all())


class LongSums:
    """Sums of f between the sources and thresholds b: of those that are dense enough for a tree."""

    def __init__(self, s: Sources, b: Thresholds) -> None:
        self.s, self.b, self.dense = s, b, b.dense
        self.alpha = b.of_sources(s.alpha)[:, None]

    @classmethod
    def of(cls, s: Sources, b: Thresholds) -> LongSums | None:
        """Return the sums, None where they are taken directly."""
        if not _is_long(s, b) or table_of(s.density, EVEN) is None:
            return None
        return cls(s, b) if b.dense.mean() > 0.5 else None

    def _sums(self, kind: int, values: Floats | None, weights: Floats | None) -> Floats:
        """Return sums at the thresholds of values of sources, or the other way round."""
        b, n = self.b, self.s.shape[1]
        v = np.zeros((len(b.left), n)) if values is None else values
        w = np.zeros(b.left.shape) if weights is None else np.where(self.dense, weights, 0.0)
        found = sums_between(self.s, kind, b.points, v, w, b.source_lane)
        if found is None:
            raise ValueError("there is no tree for this density")
        return found[1] if weights is None else found[0]

    def _from_origin(self, dot: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """Return dt_ij alpha as a part of the thresholds less one of the sources."""
        b = self.b
        theirs = b.of_sources(dot)
        theirs = theirs - theirs[:, :1]
        near = np.take_along_axis(theirs, b.nearest, axis=1)
        return b.of_sources(mean) * self.alpha + near, theirs

    def _from_offsets(self, mean: Floats) -> Floats:
        """Return what dt_ij exceeds t_ij by, if the sources move as far as they are away."""
        b = self.b
        near = np.where(b.at_nearest(self.s.x) <= b.left, b.t_left, -b.t_right)
        return b.of_sources(mean) - near

    def rows(self, values: Floats, dot: Floats, mean: Floats, stretched: bool) -> Floats:
        """sum_j v_j f(t_ij) dt_ij for every threshold."""
        sums = self._sums(EVEN, values, None)
        if stretched:
            return self._from_offsets(mean) * sums + self._sums(ODD, values, None)
        ours, theirs = self._from_origin(dot, mean)
        return (ours * sums - self._sums(EVEN, values * theirs, None)) / self.alpha

    def columns(self, values: Floats, dot: Floats, mean: Floats, stretched: bool) -> Floats:
        """sum_i v_i f(t_ij) dt_ij for every source."""
        if stretched:
            ours = self._sums(EVEN, None, values * self._from_offsets(mean))
            return ours - self._sums(ODD, None, values)
        ours, theirs = self._from_origin(dot, mean)
        moved = self._sums(EVEN, None, values * ours)
        return (moved - theirs * self._sums(EVEN, None, values)) / self.alpha

    def pull(self, values: Floats, h: Floats) -> Floats:
        """Return alpha times the cotangents of the sources, for every lane of values."""
        b_bar = h * self._sums(EVEN, values, None) / self.b.density
        return self._sums(EVEN, None, b_bar) - values * self._sums(EVEN, None, h)
