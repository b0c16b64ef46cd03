"""The equation of a threshold b: the sum of CDFs there is a level.

With L and R the sums of tails T left and right of b, and d the level less the weight left of b,
S(b) is the level where R = d + L.  First the gap between two sources that holds b is looked for,
then Newton's method solves the equation between logarithms, log R = log(d + L) for d >= 0 and
log(R - d) = log L below: there both sides are nearly linear, and nothing cancels.
"""

from __future__ import annotations

from .._backends import formulas
from .._backends.types import Flags, Floats, Indices, Namespace, sum_in_lane
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


class Problems:
    """Levels to be solved for, one a problem, each among the sources of a lane."""

    def __init__(self, sources: Sources, lane: Indices, levels: Floats) -> None:
        s = self.s = sources
        self.xp: Namespace = s.xp
        self.lane = lane
        self.level = levels - s.low[lane]
        n = s.shape[1]
        self.first, self.count = s.first[lane], s.count[lane]
        # Of the weight of all finite sources: negative inside.
        self.short = (self.level - s.before[0][lane, n]) - s.before[1][lane, n]

    def solve(self, start: Indices | None) -> Floats:
        """Return the rows of `Thresholds`, for a first guess of where they are."""
        xp = self.xp
        s, lane, some = self.s, self.lane, self.count > 0
        low, high = s.low[lane], s.high[lane]
        out = xp.zeros((len(PARTS), len(lane)))
        ends = xp.where(self.level <= 0.0, -xp.inf, xp.inf)
        apart = ~some & (self.level == 0.0) & (low > 0.0) & (high > 0.0)
        out[OFFSET] = xp.where(xp.isnan(self.level) | apart, xp.nan, ends)
        inside = xp.flatnonzero(some & (self.level > 0.0) & (self.short < 0.0))
        if len(inside):
            kept = Problems(s, lane[inside], self.level[inside] + low[inside])
            kept.level, kept.short = self.level[inside], self.short[inside]
            out[:, inside] = kept._solve(kept._guess() if start is None else start[inside])
        first = some & (self.level == 0.0) & (low == 0.0)
        outside = xp.flatnonzero(first | (some & (self.short >= 0.0) & (high == 0.0)))
        if len(outside):
            out[:, outside] = self._at_ends(outside, first[outside])
        return out

    def _at_ends(self, ends: Indices, first: Flags) -> Floats:
        """Return the same for levels at which the threshold tends to infinity."""
        xp = self.xp
        s, lane = self.s, self.lane[ends]
        begin = s.first[lane]
        place = xp.where(first, begin, begin + s.count[lane])
        left, right = s.x[lane, xp.maximum(place - 1, 0)], s.x[lane, begin]
        alpha, far = s.alpha[lane], xp.full(len(ends), FAR)
        sums = _GapSums(s, lane, place, left, right, alpha, ~first, first)
        found = sums.finish(far, far, far < 0.0, first, far, 0.0 * far)
        by_left, by_right, _, along, _, _ = found
        nearest = xp.where(first, begin, place - 1)
        zero, u = 0.0 * far, xp.where(first, -xp.inf, xp.inf)
        left, right = xp.where(first, -xp.inf, left), xp.where(first, right, xp.inf)
        rows = zero, zero, u, left, right, far, far, by_left, by_right, zero
        return xp.stack([*rows, nearest, along, u])

    def _guess(self) -> Indices:
        """Return how many sources are left of the threshold if alpha is small."""
        before = self.s.before[0][self.lane]
        found: Indices = self.xp.asarray((before[:, 1:] < self.level[:, None]).sum(axis=-1))
        return found

    # ---------------------------------------------------------------------------- which gap it is

    def _place(self, guess: Indices) -> Indices:
        """Return how many sources are left of each threshold."""
        xp = self.xp
        s = self.s
        low: Indices = self.first.copy()
        high: Indices = self.first + self.count
        probe = xp.clip(guess, low, high - 1)
        active = xp.arange(len(low))
        for round_ in range(4 * 64):
            lane, at = self.lane[active], probe[active]
            x, here = s.x[lane], s.x[lane, at]
            t = s.kernels.step(x, here[:, None], s.alpha[lane][:, None])
            right = xp.arange(s.shape[1]) >= at[:, None]
            tails = s.c[lane] * s.density.tail(xp.abs(t))
            more = sum_in_lane(xp.where(right, tails, -tails))
            missing = (self.level[active] - s.before[0][lane, at]) - s.before[1][lane, at]
            lacks = missing > more  # the sum there lacks something: the threshold is further right
            low[active] = xp.where(lacks, at + 1, low[active])
            high[active] = xp.where(lacks, high[active], at)
            still = low[active] < high[active]
            if not still.any():
                break
            if round_ % 3 == 2:
                probe[active] = (low[active] + high[active]) // 2
            else:
                slope = sum_in_lane(s.c[lane] * s.density.pdf_at(t))
                step = xp.where(slope > 0.0, (missing - more) / slope, xp.sign(missing - more))
                step = xp.where(step > 0.0, step + 1e-3, step)
                # Where the tangent is zero the next source is as good a guess as any.
                beyond = s.alive[lane] & (-t < step[:, None])
                probe[active] = self.first[active] + beyond.sum(axis=-1)
            probe[active] = xp.clip(probe[active], low[active], high[active] - 1)
            active = active[still]
        return low

    # --------------------------------------------------------------------------- where in that gap

    def _solve(self, guess: Indices) -> Floats:
        xp = self.xp
        s, lane = self.s, self.lane
        place = self._place(guess)
        has_left, has_right = place > self.first, place < self.first + self.count
        n = s.shape[1]
        left = s.x[lane, xp.clip(place - 1, 0, n - 1)]
        right = s.x[lane, xp.clip(place, 0, n - 1)]
        d = (self.level - s.before[0][lane, place]) - s.before[1][lane, place]
        # Rounded sums of weights may leave a little of the wrong sign at both ends.
        d = xp.where(has_left, d, self.level)
        d = xp.where(has_right, d, self.short)
        middle = (d == 0.0) & has_left & has_right
        lo = xp.where(middle | (d < 0.0), left, right)
        hi = xp.where(middle | (d > 0.0), right, left)
        alpha = s.alpha[lane]
        gap = xp.where(has_left & has_right, formulas.half_step(xp, left, right, alpha), xp.inf)
        gap = xp.minimum(gap, FAR)  # half of it

        def distances(u: Floats, some: Indices) -> tuple[Floats, Floats]:
            g, from_middle, up = gap[some], middle[some], d[some] > 0.0
            whole = 2.0 * g
            t_left = xp.where(from_middle, g + u, xp.where(up, whole + u, u))
            t_right = xp.where(from_middle, g - u, xp.where(up, -u, whole - u))
            return xp.maximum(t_left, 0.0), xp.maximum(t_right, 0.0)

        sums = _GapSums(s, lane, place, left, right, alpha, has_left, has_right)
        u_low, u_high, u = self._bracket(d, middle, gap, place, has_left, has_right)
        active, scale = xp.arange(len(u)), s.density.scale
        for _ in range(STEPS):
            t_left, t_right = distances(u[active], active)
            residual, slope = sums.balance(active, t_left, t_right, d[active], u[active])
            now = u[active]
            step = -residual / slope
            size = xp.maximum(xp.abs(now), scale)
            # Before the bracket, which would take back the last of the steps.
            done: Flags = (xp.abs(step) <= 4e-16 * size) | (residual == 0.0) | xp.isnan(residual)
            rising = residual > 0.0
            u_high[active] = xp.where(rising, xp.minimum(u_high[active], now), u_high[active])
            u_low[active] = xp.where(rising, u_low[active], xp.maximum(u_low[active], now))
            low, high = u_low[active], u_high[active]
            there = now + step
            newton = (there >= low) & (there <= high)
            step_is_small = newton & (xp.abs(step) <= 1e-9 * size)
            new = xp.where(newton, there, _between(xp, low, high, scale))
            new = xp.where(done & ~newton, now, new)
            u[active] = xp.where(xp.isnan(residual), now, new)
            done |= step_is_small | (high <= low) | (new == now)
            active = active[~done]
            if not len(active):
                break
        t_left, t_right = distances(u, xp.arange(len(u)))
        found = sums.finish(t_left, t_right, middle, d > 0.0, gap, u)
        nearest = xp.where(found.pop() > 0.0, place - 1, place).clip(0, n - 1)
        by_left, by_right, density, along, by_alpha = found
        left, right = xp.where(has_left, left, -xp.inf), xp.where(has_right, right, xp.inf)
        rows = lo, hi, u, left, right, t_left, t_right, by_left, by_right, density
        return xp.stack([*rows, nearest, along, by_alpha])

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
        xp = self.xp
        s, n = self.s, self.s.shape[1]
        up = d > 0.0
        next_to = s.c[self.lane, xp.clip(xp.where(up, place, place - 1), 0, n - 1)]
        share = xp.abs(d) / next_to
        end = ~(has_left & has_right)
        whole = s.before[0][self.lane, n]
        lacking = xp.minimum(xp.abs(d) / whole, 0.5)
        share = xp.clip(xp.where(end, lacking, share), 1e-308, 0.5)
        away = s.density.distance(share)
        away = xp.where(xp.isfinite(away), xp.maximum(away, 0.0), FAR)
        # At the ends no threshold is further away than if all sources were at that end.
        beyond = 1.01 * away + s.density.scale
        reach = xp.where(end, xp.where(share > 1e-308, beyond, FAR), 2.0 * gap)
        low = xp.where(middle, -gap, xp.where(up, -reach, 0.0))
        high = xp.where(middle, gap, xp.where(up, 0.0, reach))
        start = xp.where(middle, 0.0, xp.where(up, -away, away))
        return low, high, xp.clip(start, low, high)


def _between(xp: Namespace, low: Floats, high: Floats, scale: float) -> Floats:
    """Return a point between two: in the middle, or of a magnitude in the middle."""
    near, far = xp.minimum(xp.abs(low), xp.abs(high)), xp.maximum(xp.abs(low), xp.abs(high))
    apart = (xp.sign(low) * xp.sign(high) >= 0.0) & (far > 4.0 * xp.maximum(near, scale))
    size = xp.sqrt(xp.maximum(near, scale)) * xp.sqrt(far)
    return xp.where(apart, xp.where(high > 0.0, size, -size), 0.5 * low + 0.5 * high)


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
        self.xp: Namespace = s.xp
        xp = self.xp
        self.has_left, self.has_right = has_left, has_right
        x = s.x[lane]
        self.before = xp.arange(s.shape[1]) < place[:, None]
        self.c = s.c[lane]
        apart = xp.where(self.before, x, right[:, None]), xp.where(self.before, left[:, None], x)
        self.step = xp.clip(s.kernels.step(*apart, alpha[:, None]), 0.0, FAR)

    def _sums(
        self,
        logs: str,
        some: Indices,
        t_left: Floats,
        t_right: Floats,
        values: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Return both sums of ratios, from the name of the function that has their logarithms."""
        xp = self.xp
        before = self.before[some]
        t = xp.where(before, t_left[:, None], t_right[:, None])
        ratios = self.c[some] * xp.exp(getattr(self.density, logs)(t, self.step[some]))
        if values is not None:
            ratios = xp.where(ratios == 0.0, 0.0, ratios * values)
        return (
            sum_in_lane(xp.where(before, ratios, 0.0)),
            sum_in_lane(xp.where(before, 0.0, ratios)),
        )

    def balance(
        self, some: Indices, t_left: Floats, t_right: Floats, d: Floats, u: Floats
    ) -> tuple[Floats, Floats]:
        """Return the logarithm of one side over the other, and its derivative in u."""
        xp = self.xp
        f = self.density
        tails_left, tails_right = self._sums("log_tail_ratio", some, t_left, t_right)
        pdfs_left, pdfs_right = self._sums("log_pdf_ratio", some, t_left, t_right)
        has_left, has_right = self.has_left[some], self.has_right[some]
        hazard_left = xp.where(has_left, f.hazard(t_left) * (pdfs_left / tails_left), 0.0)
        hazard_right = xp.where(has_right, f.hazard(t_right) * (pdfs_right / tails_right), 0.0)
        log_left, log_right = f.logtail(t_left), f.logtail(t_right)
        left = xp.where(has_left, xp.exp(log_left) * tails_left, 0.0)
        right = xp.where(has_right, xp.exp(log_right) * tails_right, 0.0)
        beyond_left, beyond_right = xp.abs(d) + left, xp.abs(d) + right
        # Between them, in the middle of a gap, only what u changes.
        near = xp.minimum(t_left, t_right)
        ahead = xp.abs(f.log_tail_ratio(near, xp.minimum(2.0 * xp.abs(u), FAR)))
        even = xp.where(u == 0.0, 0.0, xp.copysign(ahead, u)) + xp.log(tails_right / tails_left)
        up, down = d > 0.0, d < 0.0
        residual = xp.where(up, log_right + xp.log(tails_right / beyond_left), even)
        residual = xp.where(down, xp.log(beyond_right / tails_left) - log_left, residual)
        part_left = xp.where(up, left / beyond_left, 1.0)
        part_right = xp.where(down, right / beyond_right, 1.0)
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
        """Return the last rows of `Thresholds`, and 1 where the left side has the larger part."""
        xp = self.xp
        f, every = self.density, xp.arange(len(u))
        pdfs_left, pdfs_right = self._sums("log_pdf_ratio", every, t_left, t_right)
        tails_left, tails_right = self._sums("log_tail_ratio", every, t_left, t_right)
        steps_left, steps_right = self._sums("log_pdf_ratio", every, t_left, t_right, self.step)
        has_left, has_right = self.has_left, self.has_right
        # In the middle of a gap both tails are equal, to more digits than t tells.
        even_left = f.hazard(t_left) * (pdfs_left / tails_left)
        even_right = f.hazard(t_right) * (pdfs_right / tails_right)
        log_left = xp.where(has_left, f.logpdf(t_left) + xp.log(pdfs_left), -xp.inf)
        log_right = xp.where(has_right, f.logpdf(t_right) + xp.log(pdfs_right), -xp.inf)
        top = xp.maximum(log_left, log_right)
        mass_left = xp.where(middle, even_left, xp.exp(log_left - top))
        mass_right = xp.where(middle, even_right, xp.exp(log_right - top))
        total = mass_left + mass_right
        part_left, part_right = mass_left / total, mass_right / total
        by_left = xp.where(has_left, part_left / pdfs_left, 0.0)
        by_right = xp.where(has_right, part_right / pdfs_right, 0.0)
        density = xp.where(has_left, f.even_pdf(t_left) * pdfs_left, 0.0)
        density = density + xp.where(has_right, f.even_pdf(t_right) * pdfs_right, 0.0)
        apart = by_left * steps_left - by_right * steps_right
        far_left, far_right = (
            xp.where(part == 0.0, 0.0, part * (2.0 * gap)) for part in (part_left, part_right)
        )
        on_left: Flags = mass_left > mass_right
        along = xp.where(on_left, -far_right, far_left) + apart
        uneven = (mass_left - mass_right) / total
        from_middle = xp.where(uneven == 0.0, 0.0, uneven * gap)
        by_alpha = xp.where(middle, from_middle, xp.where(up, far_left, -far_right)) + u + apart
        return [by_left, by_right, density, along, by_alpha, xp.where(on_left, 1.0, 0.0)]
