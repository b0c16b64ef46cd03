"""The equation of a threshold b: the sum of CDFs there is a level.

With L and R the sums of tails T left and right of b, and d the level less the weight left of b,
S(b) is the level where R = d + L.  First the gap between two sources that holds b is looked for,
then Newton's method solves the equation between logarithms, log R = log(d + L) for d >= 0 and
log(R - d) = log L below: there both sides are nearly linear, and nothing cancels.
"""

from __future__ import annotations

import numpy as np

from .._backends import formulas
from .._backends.types import Flags, Floats, Indices, sum_in_lane
from .sums import Sources

# What is known of a threshold (lo + hi)/2 + alpha u: what `Thresholds` holds.
BESIDE_POINTS = (
    *("left", "right", "t_left", "t_right", "by_left", "by_right", "density"),
    *("nearest", "along", "by_alpha"),
)
PARTS = ("lo", "hi", "u", *BESIDE_POINTS)
OFFSET = PARTS.index("u")
FAR = 1e150  # distances beyond are as good as this one, and its square is a float
STEPS = 128  # of Newton's method, or halvings: many more than are ever taken


def over(a: Floats, b: Floats, alpha: Floats) -> Floats:
    """Return (a - b)/alpha, where the difference may overflow."""
    out = (a - b) / alpha
    return formulas.step(np, b, a, alpha) if np.isinf(out).any() else out


class Problems:
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
        out = np.zeros((len(PARTS), len(lane)))
        ends = np.where(self.level <= 0.0, -np.inf, np.inf)
        apart = ~some & (self.level == 0.0) & (low > 0.0) & (high > 0.0)
        out[OFFSET] = np.where(np.isnan(self.level) | apart, np.nan, ends)
        inside = np.flatnonzero(some & (self.level > 0.0) & (self.short < 0.0))
        if len(inside):
            kept = Problems(s, lane[inside], self.level[inside] + low[inside])
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
