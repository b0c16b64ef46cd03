"""Thresholds: the points at which the sum of CDFs takes given levels.

With L and R the sums of tails T left and right of b, and d the level less the weight left of b,
S(b) is the level where R = d + L.  First the gap between two sources that holds b is looked for,
then Newton's method solves the equation between logarithms, log R = log(d + L) for d >= 0 and
log(R - d) = log L below: there both sides are nearly linear, and nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._backends import formulas
from .._backends.types import Flags, Floats, Indices, Points, sum_in_lane
from .sums import Sources, blocks

PARTS = (
    *("left", "right", "t_left", "t_right", "by_left", "by_right", "density"),
    *("nearest", "along", "by_alpha"),
)
OFFSET = 2  # the row of u
FAR = 1e150  # distances beyond are as good as this one, and its square is a float
ROWS = 13  # numbers that are known of a threshold: the fields of `Thresholds`
STEPS = 128  # of Newton's method, or halvings: many more than are ever taken


@dataclass
class Thresholds:
    """Thresholds b = (lo + hi)/2 + alpha u, each of the shape of the levels.

    Attributes
    ----------
    sources : Sources
    key : array of int, or None
        The lane of the sources of each lane.
    points : Points
        Infinite `u` for thresholds at infinity, NaN for none.
    left, right : arrays
        The sources next to b, infinite for none.
    t_left, t_right : arrays
        Their distances from b over alpha.
    by_left, by_right : arrays
        f((b - x_j)/alpha)/sum_k c_k f((b - x_k)/alpha) is this times the ratio of f to that of the
        neighbour on its side.
    density : array
        sum_j c_j f((b - x_j)/alpha).
    nearest : array of int
        The neighbour on the side with the larger part of that sum; what many things differ from.
    along : array
        The mean of (x_nearest - x_j)/alpha with the weights c_j f((b - x_j)/alpha).
    by_alpha : array
        db/dalpha, which is the mean of (b - x_j)/alpha.
    """

    sources: Sources
    key: Indices | None
    points: Points
    left: Floats
    right: Floats
    t_left: Floats
    t_right: Floats
    by_left: Floats
    by_right: Floats
    density: Floats
    nearest: Indices
    along: Floats
    by_alpha: Floats

    def of_sources(self, a: Floats) -> Floats:
        """Return what belongs to lanes of sources for lanes of thresholds."""
        return a if self.key is None else a[self.key]

    def value(self) -> Floats:
        """Return the thresholds, rounded."""
        lo, hi, u = self.points
        if hi is None or u is None:
            raise TypeError("thresholds are anchored")
        return formulas.threshold(np, lo, hi, u, self.of_sources(self.sources.alpha)[:, None])

    @property
    def solved(self) -> Flags:
        """Which of them are finite."""
        flags: Flags = np.isfinite(self.points.u)  # type: ignore[arg-type]
        return flags

    def shares(self, x: Floats, t: Floats, lanes: slice, rows: slice, axis: int) -> Floats:
        """f(t_ij)/sum_k c_k f(t_ik) for t_ij = (b_i - x_j)/alpha, with thresholds along an axis."""
        names = ("left", "right", "t_left", "t_right", "by_left", "by_right")
        left, right, t_left, t_right, by_left, by_right = (
            np.expand_dims(getattr(self, name)[lanes, rows], axis) for name in names
        )
        alpha = self.sources.alpha[lanes if self.key is None else self.key[lanes]][:, None, None]
        before, after = x <= left, x >= right
        # Only entries of zero weight lie between the two.
        inside = ~(before | after)
        on_left = before | (inside & (by_left > 0.0) & ((t > 0.0) | (by_right == 0.0)))
        near, by = np.where(on_left, t_left, t_right), np.where(on_left, by_left, by_right)
        step = over(np.where(before, left, x), np.where(before, x, right), alpha)
        step = np.where(inside, np.abs(t) - near, step)
        step = np.where(by == 0.0, FAR, np.clip(step, -near, FAR))
        ratio = np.exp(self.sources.density.log_pdf_ratio(near, step))
        return np.where(by == 0.0, 0.0, by * ratio)

    def at_nearest(self, values: Floats) -> Floats:
        """Return what belongs to the nearest source of each threshold."""
        n = self.sources.shape[1]
        if not n:
            return np.zeros(self.left.shape)
        return np.take_along_axis(self.of_sources(values), self.nearest, axis=1)

    def differences(self, values: Floats) -> Floats:
        """sum_j q_ij (v_j - v_nearest) with q_ij = c_j f_ij/sum_k c_k f_ik, for values in order."""
        s, origin = self.sources, self.at_nearest(values)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = lanes if self.key is None else self.key[lanes]
            q = s.c[source][:, None, :] * self.shares(s.x[source][:, None, :], t, lanes, rows, 2)
            apart = values[source][:, None, :] - origin[lanes, rows][:, :, None]
            return np.where(q == 0.0, 0.0, q * apart)

        return s.rows(self.points, term, self.key)

    def average(self, values: Floats) -> Floats:
        """sum_j q_ij v_j."""
        some = self.by_left + self.by_right > 0.0
        return np.where(some, self.at_nearest(values) + self.differences(values), 0.0)

    def average_transpose(self, bar: Floats) -> Floats:
        """sum_i q_ij w_i, for every source of each lane of thresholds."""
        s = self.sources

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = lanes if self.key is None else self.key[lanes]
            x, c = s.x[source][:, rows, None], s.c[source][:, rows, None]
            q = c * self.shares(x, t, lanes, slice(None), 1)
            return np.where(q == 0.0, 0.0, q * bar[lanes][:, None, :])

        return s.columns(self.points, term, self.key)

    def for_lanes(self, key: Indices) -> Thresholds:
        """Return the thresholds of the sources that lanes belong to, one lane after another."""
        if self.key is None and len(key) == len(self.left) and (key == np.arange(len(key))).all():
            return self
        parts = {name: getattr(self, name)[key] for name in PARTS}
        points = Points(*(None if a is None else a[key] for a in self.points))  # type: ignore[arg-type]
        return Thresholds(self.sources, key, points, **parts)

    def cdf_apart(self, x: Floats, given: Floats, lanes: slice, rows: slice, axis: int) -> Floats:
        """F(t_ij) - F(t_i,nearest), where t is infinite for infinite sources, as given."""
        s, f = self.sources, self.sources.density
        near = self.at_nearest(s.x)
        origin = np.where(near <= self.left, self.t_left, -self.t_right)
        near, origin = (np.expand_dims(a[lanes, rows], axis) for a in (near, origin))
        source = lanes if self.key is None else self.key[lanes]
        step = over(near, x, s.alpha[source][:, None, None])
        step = np.clip(np.where(np.isfinite(given), step, -given), -FAR, FAR)
        t = origin + step
        apart = f.between(np.minimum(origin, t), np.maximum(origin, t), np.abs(step))
        return np.copysign(apart, step)

    def rates(self) -> Floats:
        """Return db/dlevel, 0 for thresholds that no level moves."""
        rates = self.of_sources(self.sources.alpha)[:, None] / self.density
        return np.where(self.by_left + self.by_right > 0.0, rates, 0.0)


def over(a: Floats, b: Floats, alpha: Floats) -> Floats:
    """Return (a - b)/alpha, where the difference may overflow."""
    out = (a - b) / alpha
    return formulas.step(np, b, a, alpha) if np.isinf(out).any() else out


def thresholds_at(sources: Sources, levels: Floats, key: Indices | None = None) -> Thresholds:
    """Return the thresholds at levels, (lanes, levels), that lie between 0 and the total.

    Parameters
    ----------
    sources : Sources
    levels : array, shape (lanes, levels)
        Infinite for the total weight, NaN for none.
    key : array of int, shape (lanes,), optional
        For each lane of the levels, that of its sources.
    """
    lanes, m = levels.shape
    lane = np.arange(lanes) if key is None else key
    places = _places(sources, levels, key) if 4 * m >= sources.shape[1] > 0 else None
    out = np.zeros((ROWS, lanes, m))
    for a, b in blocks(lanes, m, sources.shape[1]):
        part = levels[a, b]
        at = np.repeat(lane[a], part.shape[1])
        start = None if places is None else places[a, b].reshape(-1)
        found = _Problems(sources, at, part.reshape(-1)).solve(start)
        out[:, a, b] = found.reshape(ROWS, *part.shape)
    lo, hi, u, *rest = out
    numbers = dict(zip(PARTS, rest, strict=True))
    nearest: Indices = numbers.pop("nearest").astype(np.intp)
    return Thresholds(sources, key, Points(lo, hi, u), nearest=nearest, **numbers)


def _places(s: Sources, levels: Floats, key: Indices | None) -> Indices:
    """Return how many sources are left of the threshold at each of many levels, or nearly so."""
    tail, lanes = s.density.tail, len(levels)
    place = np.arange(s.shape[1])

    def term(t: Floats, a: slice, b: slice) -> Floats:
        signed = np.where(place < place[b, None], 1.0, -1.0)
        return signed * s.c[a][:, None, :] * tail(np.abs(t))

    less = s.rows(Points(s.x, None, None), term)
    high, low = (part[:, :-1] for part in s.before)
    sums = (high + s.low[:, None]) + (low - less)
    sums = np.where(s.alive, sums, np.where(place < s.first[:, None], -np.inf, np.inf))
    sums = np.maximum.accumulate(sums, axis=-1) if s.shape[1] else sums
    out = np.empty(levels.shape, np.intp)
    for lane in range(lanes):
        source = lane if key is None else key[lane]
        out[lane] = np.searchsorted(sums[source], levels[lane])
    return out


class _Problems:
    """Levels to be solved for, one a problem, each among the sources of a lane."""

    def __init__(self, sources: Sources, lane: Indices, levels: Floats) -> None:
        s = self.s = sources
        self.lane = lane
        self.level = levels - s.low[lane]
        n = s.shape[1]
        self.first, self.count = s.first[lane], s.count[lane]
        # Of the weight of all finite sources: negative inside.
        self.short = (self.level - s.before[0][lane, n]) - s.before[1][lane, n]

    def solve(self, start: Indices | None) -> Floats:
        """Return the rows of `Thresholds`, for a first guess of where they are."""
        s, lane, some = self.s, self.lane, self.count > 0
        low, high = s.low[lane], s.high[lane]
        out = np.zeros((ROWS, len(lane)))
        ends = np.where(self.level <= 0.0, -np.inf, np.inf)
        apart = ~some & (self.level == 0.0) & (low > 0.0) & (high > 0.0)
        out[OFFSET] = np.where(np.isnan(self.level) | apart, np.nan, ends)
        inside = np.flatnonzero(some & (self.level > 0.0) & (self.short < 0.0))
        if len(inside):
            kept = _Problems(s, lane[inside], self.level[inside] + low[inside])
            kept.level, kept.short = self.level[inside], self.short[inside]
            out[:, inside] = kept._solve(kept._guess() if start is None else start[inside])
        first = some & (self.level == 0.0) & (low == 0.0)
        ends = np.flatnonzero(first | (some & (self.short >= 0.0) & (high == 0.0)))
        if len(ends):
            out[:, ends] = self._at_ends(ends, first[ends])
        return out

    def _at_ends(self, ends: Indices, first: Flags) -> Floats:
        """Return the same for levels at which the threshold tends to infinity."""
        s, lane = self.s, self.lane[ends]
        begin = s.first[lane]
        place = np.where(first, begin, begin + s.count[lane])
        left, right = s.x[lane, np.maximum(place - 1, 0)], s.x[lane, begin]
        alpha, far = s.alpha[lane], np.full(len(ends), FAR)
        sums = _GapSums(s, lane, place, left, right, alpha, ~first, first)
        found = sums.finish(far, far, np.zeros(len(ends), bool), first, far, 0.0 * far)
        by_left, by_right, _, along, _, _ = found
        nearest = np.where(first, begin, place - 1)
        zero, u = 0.0 * far, np.where(first, -np.inf, np.inf)
        left, right = np.where(first, -np.inf, left), np.where(first, right, np.inf)
        rows = zero, zero, u, left, right, far, far, by_left, by_right, zero
        return np.stack([*rows, nearest, along, u])

    def _guess(self) -> Indices:
        """Return how many sources are left of the threshold if alpha is small."""
        before = self.s.before[0][self.lane]
        found: Indices = np.asarray((before[:, 1:] < self.level[:, None]).sum(axis=-1))
        return found

    # ---------------------------------------------------------------------------- which gap it is

    def _place(self, guess: Indices) -> Indices:
        """Return how many sources are left of each threshold."""
        s = self.s
        low: Indices = self.first.copy()
        high: Indices = self.first + self.count
        probe = np.clip(guess, low, high - 1)
        active = np.arange(len(low))
        for round_ in range(4 * 64):
            lane, at = self.lane[active], probe[active]
            x, here = s.x[lane], s.x[lane, at]
            t = offsets_of(here, x, s.alpha[lane])
            right = np.arange(s.shape[1]) >= at[:, None]
            tails = s.c[lane] * s.density.tail(np.abs(t))
            more = sum_in_lane(np.where(right, tails, -tails))
            missing = (self.level[active] - s.before[0][lane, at]) - s.before[1][lane, at]
            lacks = missing > more  # the sum there lacks something: the threshold is further right
            low[active] = np.where(lacks, at + 1, low[active])
            high[active] = np.where(lacks, high[active], at)
            still = low[active] < high[active]
            if not still.any():
                break
            if round_ % 3 == 2:
                probe[active] = (low[active] + high[active]) // 2
            else:
                slope = sum_in_lane(s.c[lane] * s.density.pdf_at(t))
                step = np.where(slope > 0.0, (missing - more) / slope, np.sign(missing - more))
                step = np.where(step > 0.0, step + 1e-3, step)
                # Where the tangent is zero the next source is as good a guess as any.
                beyond = s.alive[lane] & (-t < step[:, None])
                probe[active] = self.first[active] + beyond.sum(axis=-1)
            probe[active] = np.clip(probe[active], low[active], high[active] - 1)
            active = active[still]
        return low

    # --------------------------------------------------------------------------- where in that gap

    def _solve(self, guess: Indices) -> Floats:
        s, lane = self.s, self.lane
        place = self._place(guess)
        has_left, has_right = place > self.first, place < self.first + self.count
        n = s.shape[1]
        left = s.x[lane, np.clip(place - 1, 0, n - 1)]
        right = s.x[lane, np.clip(place, 0, n - 1)]
        d = (self.level - s.before[0][lane, place]) - s.before[1][lane, place]
        # Rounded sums of weights may leave a little of the wrong sign at both ends.
        d = np.where(has_left, d, self.level)
        d = np.where(has_right, d, self.short)
        middle = (d == 0.0) & has_left & has_right
        lo = np.where(middle | (d < 0.0), left, right)
        hi = np.where(middle | (d > 0.0), right, left)
        alpha = s.alpha[lane]
        gap = np.where(has_left & has_right, formulas.half_step(np, left, right, alpha), np.inf)
        gap = np.minimum(gap, FAR)  # half of it

        def distances(u: Floats, some: Indices) -> tuple[Floats, Floats]:
            g, from_middle, up = gap[some], middle[some], d[some] > 0.0
            whole = 2.0 * g
            t_left = np.where(from_middle, g + u, np.where(up, whole + u, u))
            t_right = np.where(from_middle, g - u, np.where(up, -u, whole - u))
            return np.maximum(t_left, 0.0), np.maximum(t_right, 0.0)

        sums = _GapSums(s, lane, place, left, right, alpha, has_left, has_right)
        u_low, u_high, u = self._bracket(d, middle, gap, place, has_left, has_right)
        active = np.arange(len(u))
        for _ in range(STEPS):
            t_left, t_right = distances(u[active], active)
            residual, slope = sums.balance(active, t_left, t_right, d[active], u[active])
            now = u[active]
            step = -residual / slope
            size = np.maximum(np.abs(now), 1.0)
            # Before the bracket, which would take back the last of the steps.
            done = (np.abs(step) <= 4e-16 * size) | (residual == 0.0) | np.isnan(residual)
            rising = residual > 0.0
            u_high[active] = np.where(rising, np.minimum(u_high[active], now), u_high[active])
            u_low[active] = np.where(rising, u_low[active], np.maximum(u_low[active], now))
            low, high = u_low[active], u_high[active]
            there = now + step
            newton = (there >= low) & (there <= high)
            step_is_small = newton & (np.abs(step) <= 1e-9 * size)
            new = np.where(newton, there, _between(low, high))
            new = np.where(done & ~newton, now, new)
            u[active] = np.where(np.isnan(residual), now, new)
            done |= step_is_small | (high <= low) | (new == now)
            active = active[~done]
            if not len(active):
                break
        t_left, t_right = distances(u, np.arange(len(u)))
        found = sums.finish(t_left, t_right, middle, d > 0.0, gap, u)
        nearest = np.where(found.pop(), place - 1, place).clip(0, n - 1)
        by_left, by_right, density, along, by_alpha = found
        left, right = np.where(has_left, left, -np.inf), np.where(has_right, right, np.inf)
        rows = lo, hi, u, left, right, t_left, t_right, by_left, by_right, density
        return np.stack([*rows, nearest, along, by_alpha])

    def _bracket(
        self,
        d: Floats,
        middle: Flags,
        gap: Floats,
        place: Indices,
        has_left: Flags,
        has_right: Flags,
    ) -> tuple[Floats, Floats, Floats]:
        """Return bounds of u, and where to start."""
        s, n = self.s, self.s.shape[1]
        up = d > 0.0
        next_to = s.c[self.lane, np.clip(np.where(up, place, place - 1), 0, n - 1)]
        share = np.abs(d) / next_to
        end = ~(has_left & has_right)
        whole = s.before[0][self.lane, n]
        lacking = np.minimum(np.abs(d) / whole, 0.5)
        share = np.clip(np.where(end, lacking, share), 1e-308, 0.5)
        away = s.density.distance(share)
        away = np.where(np.isfinite(away), np.maximum(away, 0.0), FAR)
        # At the ends no threshold is further away than if all sources were at that end.
        reach = np.where(end, np.where(share > 1e-308, 1.01 * away + 1.0, FAR), 2.0 * gap)
        low = np.where(middle, -gap, np.where(up, -reach, 0.0))
        high = np.where(middle, gap, np.where(up, 0.0, reach))
        start = np.where(middle, 0.0, np.where(up, -away, away))
        return low, high, np.clip(start, low, high)


def offsets_of(origin: Floats, x: Floats, alpha: Floats) -> Floats:
    """(origin - x)/alpha for one origin a problem."""
    t = (origin[:, None] - x) / alpha[:, None]
    if np.isinf(t).any():
        t = formulas.step(np, x, origin[:, None], alpha[:, None])
    return t


def _between(low: Floats, high: Floats) -> Floats:
    """Return a point between two: in the middle, or of a magnitude in the middle."""
    near, far = np.minimum(np.abs(low), np.abs(high)), np.maximum(np.abs(low), np.abs(high))
    apart = (np.sign(low) * np.sign(high) >= 0.0) & (far > 4.0 * np.maximum(near, 1.0))
    size = np.sqrt(np.maximum(near, 1.0)) * np.sqrt(far)
    return np.where(apart, np.where(high > 0.0, size, -size), 0.5 * low + 0.5 * high)


class _GapSums:
    """Sums of tails and densities on both sides of gaps, relative to those of the neighbours."""

    def __init__(
        self,
        s: Sources,
        lane: Indices,
        place: Indices,
        left: Floats,
        right: Floats,
        alpha: Floats,
        has_left: Flags,
        has_right: Flags,
    ) -> None:
        self.density = s.density
        self.has_left, self.has_right = has_left, has_right
        x = s.x[lane]
        self.before = np.arange(s.shape[1]) < place[:, None]
        self.c = s.c[lane]
        apart = np.where(self.before, left[:, None], x), np.where(self.before, x, right[:, None])
        self.step = np.clip(over(*apart, alpha[:, None]), 0.0, FAR)

    def _sums(
        self,
        logs: str,
        some: Indices,
        t_left: Floats,
        t_right: Floats,
        values: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Return both sums of ratios, from the name of the function that has their logarithms."""
        before = self.before[some]
        t = np.where(before, t_left[:, None], t_right[:, None])
        ratios = self.c[some] * np.exp(getattr(self.density, logs)(t, self.step[some]))
        if values is not None:
            ratios = np.where(ratios == 0.0, 0.0, ratios * values)
        return (
            sum_in_lane(np.where(before, ratios, 0.0)),
            sum_in_lane(np.where(before, 0.0, ratios)),
        )

    def balance(
        self, some: Indices, t_left: Floats, t_right: Floats, d: Floats, u: Floats
    ) -> tuple[Floats, Floats]:
        """Return the logarithm of one side over the other, and its derivative in u."""
        f = self.density
        tails_left, tails_right = self._sums("log_tail_ratio", some, t_left, t_right)
        pdfs_left, pdfs_right = self._sums("log_pdf_ratio", some, t_left, t_right)
        has_left, has_right = self.has_left[some], self.has_right[some]
        hazard_left = np.where(has_left, f.hazard(t_left) * (pdfs_left / tails_left), 0.0)
        hazard_right = np.where(has_right, f.hazard(t_right) * (pdfs_right / tails_right), 0.0)
        log_left, log_right = f.logtail(t_left), f.logtail(t_right)
        left = np.where(has_left, np.exp(log_left) * tails_left, 0.0)
        right = np.where(has_right, np.exp(log_right) * tails_right, 0.0)
        beyond_left, beyond_right = np.abs(d) + left, np.abs(d) + right
        # Between them, in the middle of a gap, only what u changes.
        near = np.minimum(t_left, t_right)
        ahead = np.abs(f.log_tail_ratio(near, np.minimum(2.0 * np.abs(u), FAR)))
        even = np.where(u == 0.0, 0.0, np.copysign(ahead, u)) + np.log(tails_right / tails_left)
        up, down = d > 0.0, d < 0.0
        residual = np.where(up, log_right + np.log(tails_right / beyond_left), even)
        residual = np.where(down, np.log(beyond_right / tails_left) - log_left, residual)
        part_left = np.where(up, left / beyond_left, 1.0)
        part_right = np.where(down, right / beyond_right, 1.0)
        return residual, hazard_left * part_left + hazard_right * part_right

    def finish(
        self,
        t_left: Floats,
        t_right: Floats,
        middle: Flags,
        up: Flags,
        gap: Floats,
        u: Floats,
    ) -> list[Floats]:
        """Return the last rows of `Thresholds`, and whether the left side has the larger part."""
        f, every = self.density, np.arange(len(u))
        pdfs_left, pdfs_right = self._sums("log_pdf_ratio", every, t_left, t_right)
        tails_left, tails_right = self._sums("log_tail_ratio", every, t_left, t_right)
        steps_left, steps_right = self._sums("log_pdf_ratio", every, t_left, t_right, self.step)
        has_left, has_right = self.has_left, self.has_right
        # In the middle of a gap both tails are equal, to more digits than t tells.
        even_left = f.hazard(t_left) * (pdfs_left / tails_left)
        even_right = f.hazard(t_right) * (pdfs_right / tails_right)
        log_left = np.where(has_left, f.logpdf(t_left) + np.log(pdfs_left), -np.inf)
        log_right = np.where(has_right, f.logpdf(t_right) + np.log(pdfs_right), -np.inf)
        top = np.maximum(log_left, log_right)
        mass_left = np.where(middle, even_left, np.exp(log_left - top))
        mass_right = np.where(middle, even_right, np.exp(log_right - top))
        total = mass_left + mass_right
        part_left, part_right = mass_left / total, mass_right / total
        by_left = np.where(has_left, part_left / pdfs_left, 0.0)
        by_right = np.where(has_right, part_right / pdfs_right, 0.0)
        density = np.where(has_left, f.even_pdf(t_left) * pdfs_left, 0.0)
        density = density + np.where(has_right, f.even_pdf(t_right) * pdfs_right, 0.0)
        apart = by_left * steps_left - by_right * steps_right
        far_left, far_right = (
            np.where(part == 0.0, 0.0, part * (2.0 * gap)) for part in (part_left, part_right)
        )
        on_left = mass_left > mass_right
        along = np.where(on_left, -far_right, far_left) + apart
        uneven = (mass_left - mass_right) / total
        from_middle = np.where(uneven == 0.0, 0.0, uneven * gap)
        by_alpha = np.where(middle, from_middle, np.where(up, far_left, -far_right)) + u + apart
        return [by_left, by_right, density, along, by_alpha, on_left]
