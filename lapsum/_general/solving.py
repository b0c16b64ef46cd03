"""Thresholds found: each by itself, or many of them together."""

from __future__ import annotations

import numpy as np

from .._backends.types import Floats, Indices, Points
from .roots import FAR, PARTS, Problems
from .sums import Sources, blocks
from .tables import CDF, EVEN, ODD, tree_sums
from .thresholds import MANY, SPARSE, Thresholds, from_parts, sums_between

ROUNDS = 30  # of Newton's method over all thresholds at once


def thresholds_at(
    sources: Sources, levels: Floats, source_lane: Indices | None = None
) -> Thresholds:
    """Return the thresholds at levels, (lanes, levels), that lie between 0 and the total.

    Parameters
    ----------
    sources : Sources
    levels : array, shape (lanes, levels)
        Infinite for the total weight, NaN for none.
    source_lane : array of int, shape (lanes,), optional
        For each lane of the levels, that of its sources.
    """
    lanes, m = levels.shape
    xp, n = sources.xp, sources.shape[1]
    if m * n > MANY and sources.density.strip is not None:
        together = Many(sources, levels, source_lane).solve()
        if together is not None:
            return together
    lane = sources.kernels.identity(lanes) if source_lane is None else source_lane
    places = _places(sources, levels, lane) if 4 * m >= n > 0 else None
    out = xp.zeros((len(PARTS), lanes, m))
    for a, b in blocks(sources.kernels, lanes, m, n):
        part = levels[a, b]
        at = xp.repeat(lane[a], part.shape[1])
        start = None if places is None else places[a, b].reshape(-1)
        found = Problems(sources, at, part.reshape(-1)).solve(start)
        out[:, a, b] = found.reshape(len(PARTS), *part.shape)
    return from_parts(sources, source_lane, dict(zip(PARTS, out, strict=True)))


def _places(s: Sources, levels: Floats, lane: Indices) -> Indices:
    """Return how many sources are left of the threshold at each of many levels, or nearly so."""
    xp, tail = s.xp, s.density.tail
    place = xp.arange(s.shape[1])

    def term(t: Floats, a: slice, b: slice) -> Floats:
        signed = xp.where(place < place[b, None], 1.0, -1.0)
        terms: Floats = signed * s.c[a][:, None, :] * tail(xp.abs(t))
        return terms

    found = tree_sums(s.kernels, s.density, CDF, s.x, None, s.c, s.alpha)
    if found is not None:
        sums = s.low[:, None] + (found[0] + found[1])
    else:
        less = s.rows(Points(s.x, None, None), term)
        high, low = (part[:, :-1] for part in s.before)
        sums = (high + s.low[:, None]) + (low - less)
    sums = xp.where(s.alive, sums, xp.where(place < s.first[:, None], -xp.inf, xp.inf))
    return s.kernels.places(s.kernels.running_largest(sums), s.kernels.contiguous(levels), lane)


class Many:
    """Many levels of long lanes, solved together: each step is two sums over all sources.

    Sources and thresholds are the points of one tree.  Thresholds in wide gaps and at infinity are
    solved for one by one.  Trees are for NumPy's arrays.
    """

    def __init__(self, sources: Sources, levels: Floats, source_lane: Indices | None) -> None:
        self.s, self.levels, self.source_lane = sources, levels, source_lane
        self.lane = np.arange(len(levels)) if source_lane is None else source_lane

    def _sums(self, kind: int, points: Points) -> tuple[Floats, Floats, Floats] | None:
        none = np.zeros(points.lo.shape)
        return sums_between(self.s, kind, points, self.s.c[self.lane], none, self.source_lane)

    def solve(self) -> Thresholds | None:
        """Return the thresholds, None if the density is not tabulated."""
        s, lane, f = self.s, self.lane, self.s.density
        first, last = s.first[lane][:, None], (s.first + s.count)[lane][:, None]
        place = np.clip(_places(s, self.levels, self.lane), first, last)
        x, alpha = s.x[lane], s.alpha[lane][:, None]
        n = s.shape[1]
        left = np.take_along_axis(x, np.clip(place - 1, 0, n - 1), axis=1)
        right = np.take_along_axis(x, np.clip(place, 0, n - 1), axis=1)
        has_left, has_right = place > first, place < last
        both, origin = has_left & has_right, np.where(has_left, left, right)
        gap = np.where(both, np.maximum(s.kernels.step(left, right, alpha), 0.0), FAR)
        level, whole = self.levels - s.low[lane][:, None], s.before[0][lane, -1:]
        single = ~((level > 0.0) & (level < whole))
        # Beyond all sources thresholds are no further away than if all were at that end.
        before, after = (
            f.distance(np.clip(part / whole, 1e-300, 0.5)) for part in (level, whole - level)
        )
        low = np.where(has_left, 0.0, -1.01 * before - f.scale)
        high = np.where(both, gap, np.where(has_left, 1.01 * after + f.scale, 0.0))
        u = np.where(both, 0.5 * gap, np.where(has_left, after, -before))
        done = single
        for _ in range(ROUNDS):
            points = Points(origin, origin, u)
            sums, slopes = self._sums(CDF, points), self._sums(EVEN, points)
            if sums is None or slopes is None:
                return None
            (_, parts, whole_steps), (_, slope, _) = sums, slopes
            residual = (whole_steps - level) + parts
            step = np.where(done, 0.0, -residual / slope)
            low = np.where(residual < 0.0, np.maximum(low, u), low)
            high = np.where(residual > 0.0, np.minimum(high, u), high)
            # Roundings of the sums may have put the threshold into the next gap, if that is near.
            near = 1e-6 * f.scale
            newton = (u + step >= low - near) & (u + step <= high + near)
            u = np.where(done, u, np.where(newton, u + step, 0.5 * low + 0.5 * high))
            done = done | (newton & (np.abs(step) <= 1e-8 * f.scale))
            if done.all():
                break
        points = Points(origin, origin, u)
        slopes, moments = self._sums(EVEN, points), self._sums(ODD, points)
        if slopes is None or moments is None:
            return None
        density = slopes[1]
        single = single | ~done | (density < SPARSE)
        t_left = np.where(has_left, np.maximum(u, 0.0), FAR)
        t_right = np.where(has_right, np.maximum(np.where(both, gap - u, -u), 0.0), FAR)
        by_alpha, on_left = moments[1] / density, t_left < t_right
        by_left = np.where(has_left, f.even_pdf(t_left) / density, 0.0)
        by_right = np.where(has_right, f.even_pdf(t_right) / density, 0.0)
        left, right = np.where(has_left, left, -np.inf), np.where(has_right, right, np.inf)
        nearest = np.where(on_left, place - 1.0, place)
        along = by_alpha - np.where(on_left, t_left, -t_right)
        rows = origin, origin, u, left, right, t_left, t_right, by_left, by_right, density
        out = np.stack([*rows, nearest, along, by_alpha])
        for row in np.flatnonzero(single.any(axis=1)):
            at = np.flatnonzero(single[row])
            for some in np.array_split(at, 1 + len(at) * n // s.kernels.pairs_at_once):
                lanes = np.full(len(some), lane[row])
                problems = Problems(s, lanes, self.levels[row, some])
                out[:, row, some] = problems.solve(place[row, some])
        return from_parts(s, self.source_lane, dict(zip(PARTS, out, strict=True)))
