"""Derivatives of F((b - z)/alpha) and of its logarithm, b solved for, in lanes of any kind.

The careful way: a dozen passes over the entries.  Infinite entries, levels at both ends, thresholds
far from all entries and absent entries have their limits here.
"""

from __future__ import annotations

from functools import cached_property

from .._backends.protocol import Kernels
from .._backends.types import NEAR, Entries, Flags, Floats, Indices, Pair, any_in_lane, sum_in_lane
from .selection import Selection, given


class TopkDerivatives:
    """Derivatives of p = F((b - z)/alpha) for z = sign x.

    Parameters
    ----------
    kernels : Kernels
    b : Selection
        The threshold of each lane.
    sign : float
    alpha : array, shape (lanes,)
    weights : array, shape (lanes, n), or None
        Rescaled, as all levels and cotangents of levels and weights here.
    p : array, shape (lanes, n), or None
        The results, which only weights need.
    """

    def __init__(
        self,
        kernels: Kernels,
        b: Selection,
        sign: float,
        alpha: Floats,
        weights: Floats | None,
        p: Entries | None,
    ) -> None:
        self.kernels = kernels
        self.b = b
        self.absent = b.absent
        self.sign = sign
        self.alpha = alpha
        self.weights = weights
        self.result = p

    # ------------------------------------------------------------------------------- ingredients

    @cached_property
    def z(self) -> Floats:
        """The entries, negative where the largest are sought."""
        return self.sign * self.kernels.contiguous(self.b.x)

    @cached_property
    def t(self) -> Floats:
        """(b - z)/alpha."""
        b = self.b.thresholds
        lo, hi, u = b.lo[:, None], b.hi[:, None], b.u[:, None]
        t = self.kernels.offsets(lo, hi, u, self.z, self.alpha)
        return t if self.absent is None else self.kernels.xp.where(self.absent, -self._inf, t)

    @property
    def _inf(self) -> float:
        return self.kernels.xp.inf

    @cached_property
    def density(self) -> Floats:
        """Alpha dS/db, (lanes, 1)."""
        return self.b.selected.density[:, None]

    @cached_property
    def probabilities(self) -> Floats:
        """The probabilities F(t)."""
        return self.kernels.contiguous(given(self.result))

    def by_threshold(self) -> Floats:
        """Return alpha times the derivative of the result in the threshold b."""
        return self.kernels.pdf(self.t)

    def by_level(self) -> Floats:
        """Return the derivative of the result in the level: q_i/c_i."""
        return self._rates(self.shares)

    def _rates(self, rates: Floats) -> Floats:
        """Return rates of results, of which those of absent entries are 0 if not finite."""
        if self.weights is None:
            return rates
        xp = self.kernels.xp
        return xp.where((self.weights == 0.0) & ~xp.isfinite(rates), 0.0, rates)

    def level_vjp(self, bar: Floats) -> Floats:
        """Return the cotangent of the level, (lanes,)."""
        return sum_in_lane(self.kernels.times(bar, self.by_level()))

    @cached_property
    def shares(self) -> Floats:
        """l_i/sum_j c_j l_j, the softmax weights q over c."""
        b, pdf = self.b.thresholds, self.kernels.pdf(self.t)
        # Where the threshold lies far from all entries both are tiny or zero.
        far = ~(b.density > NEAR)
        shares = pdf / self.density
        if far.any():
            left, right, q_left, q_right, density = (
                row[far] for row in (b.left, b.right, b.q_left, b.q_right, b.density)
            )
            shares[far] = self.kernels.shares(
                (left, right), (q_left, q_right), density, self.z[far], self.t[far], self.alpha[far]
            )
        return shares

    @cached_property
    def softmax(self) -> Floats:
        """The softmax weights q of the entries."""
        if self.weights is None:
            return self.shares
        xp = self.kernels.xp
        return xp.where(self.weights == 0.0, 0.0, self.weights * self.shares)

    @cached_property
    def pivot(self) -> Indices:
        """The finite entry that has most of q, as an index of shape (lanes, 1)."""
        xp = self.kernels.xp
        return xp.argmax(xp.where(xp.isfinite(self.z), self.softmax, -1.0), axis=-1)[:, None]

    def deviations(self) -> tuple[Floats, Floats]:
        """Return (z_i - sum_j q_j z_j)/unit, 0 at infinite entries, by differences, and unit/alpha.

        The unit is alpha, but where a difference over alpha overflows.
        """
        xp = self.kernels.xp
        finite = xp.isfinite(self.z)
        origin = xp.take_along_axis(self.z, self.pivot, axis=-1)[:, 0]
        step = self.kernels.steps(origin, self.z, self.alpha)
        overflow = any_in_lane(finite & xp.isinf(step))
        unit = xp.where(overflow, 1024.0, self.alpha)
        if overflow.any():
            step = self.kernels.steps(origin, self.z, unit)
        step = xp.where(finite, step, 0.0)
        step = step - sum_in_lane(self.kernels.times(self.softmax, step))[:, None]
        # Where infinite entries have q, all finite ones are infinitely far from the mean.
        beyond = sum_in_lane(xp.where(xp.isinf(self.z), self.softmax * xp.sign(self.z), 0.0))
        step = step - self.kernels.times(beyond, xp.full(beyond.shape, xp.inf))[:, None]
        return xp.where(finite, step, 0.0), (unit / self.alpha)[:, None]

    def chosen(self) -> Floats:
        """Return the probabilities, and 0 at absent entries where they are NaN."""
        xp = self.kernels.xp
        return xp.where(xp.isnan(self.t), 0.0, self.probabilities)

    def _sides(self) -> Pair:
        """Return p below the threshold and q/c above, where p over the density is that; else 0.

        The result's derivative in c_j is minus that in b times q_j/c_j, or that in the level times
        p_j.  Of factors that underflow and overflow in wide gaps, these meet in neither.
        """
        xp = self.kernels.xp
        below = xp.where(self.t > 0.0, self.chosen(), 0.0)
        return below, xp.where(self.t <= 0.0, self.shares, 0.0)

    # ------------------------------------------------------------------------------- the products

    def jvp(
        self,
        x_dot: Floats | None,
        level_dot: Floats | None,
        alpha_dot: Floats | None,
        weights_dot: Floats | None,
    ) -> Floats:
        """Return the tangent of the results."""
        xp, times = self.kernels.xp, self.kernels.times
        out = xp.zeros(self.b.x.shape)
        if not self.b.x.shape[1]:
            return out
        by_threshold = self.by_threshold()
        if x_dot is not None:
            z_dot = xp.where(xp.isfinite(self.z), self.sign * x_dot, 0.0)
            z_dot = z_dot - xp.take_along_axis(z_dot, self.pivot, axis=-1)
            b_dot = sum_in_lane(self.softmax * z_dot)[:, None]
            out = out + by_threshold * (b_dot - z_dot) / self.alpha[:, None]
        if alpha_dot is not None:
            deviations, unit = self.deviations()
            rate = times(times(by_threshold, deviations) / self.alpha[:, None], unit)
            out = out + times(rate, alpha_dot[:, None])
        if level_dot is not None:
            out = out + times(level_dot[:, None], self.by_level())
        if weights_dot is not None:
            below, above = self._sides()
            falling = sum_in_lane(times(below, weights_dot))[:, None]
            rising = sum_in_lane(times(above, weights_dot))[:, None]
            out = out - (times(falling, self.by_level()) + times(rising, self.by_threshold()))
        out = xp.where(xp.isnan(self.z), xp.nan, out)
        return out if self.absent is None else xp.where(self.absent, 0.0, out)

    def dense_in_x(self) -> Floats | None:
        """Return s_i (q_j - [i = j])/alpha, s the slopes, where all entries are finite."""
        xp = self.kernels.xp
        if self.absent is not None or not xp.isfinite(self.z).all():
            return None
        lane, own = xp.arange(len(self.z))[:, None], xp.arange(self.z.shape[1])
        # One q may be near 1: then q - 1 is minus the sum of the others.
        others = self.softmax.copy()
        xp.put_along_axis(others, self.pivot, 0.0, axis=-1)
        by_threshold = self.sign * self.by_threshold() / self.alpha[:, None]
        out = by_threshold[:, :, None] * self.softmax[:, None, :]
        out[:, own, own] = by_threshold * (self.softmax - 1.0)
        out[lane, self.pivot, self.pivot] = (
            xp.take_along_axis(-by_threshold, self.pivot, axis=-1) * sum_in_lane(others)[:, None]
        )
        return out

    def vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Floats]:
        """Return the cotangents of "x", "k" (the level), "alpha" and "weights"."""
        xp, times = self.kernels.xp, self.kernels.times
        if not self.b.x.shape[1]:
            lanes = xp.zeros(self.alpha.shape)
            entries = xp.zeros(self.b.x.shape)
            return {name: lanes if name in ("k", "alpha") else entries for name in wrt}
        bars = {}
        nothing = self._nothing()
        bar = xp.where(nothing, 0.0, bar)
        by_threshold = xp.where(nothing, 0.0, self.by_threshold())
        h = bar * by_threshold
        if "x" in wrt:
            z_bar = self.softmax * sum_in_lane(h)[:, None] - h
            # The entries of z_bar add up to zero; where one q is near 1 only this is accurate.
            xp.put_along_axis(z_bar, self.pivot, 0.0, axis=-1)
            rest = -sum_in_lane(z_bar)[:, None]
            xp.put_along_axis(z_bar, self.pivot, rest, axis=-1)
            z_bar = self.sign * z_bar / self.alpha[:, None]
            bars["x"] = xp.where(xp.isfinite(self.z), z_bar, 0.0)
        if "alpha" in wrt:
            deviations, unit = self.deviations()
            along = sum_in_lane(times(h, deviations))
            bars["alpha"] = times(along / self.alpha, unit[:, 0])
        if "k" in wrt:
            bars["k"] = self.level_vjp(bar)
        if "weights" in wrt:
            below, above = self._sides()
            falling = self.level_vjp(bar)[:, None]
            rising = sum_in_lane(times(bar, self.by_threshold()))[:, None]
            out = times(below, falling) + times(above, rising)
            bars["weights"] = -xp.where(nothing, 0.0, out)
        return bars

    def _nothing(self) -> Flags:
        """Return which entries have no results: NaN, or in lanes without entries."""
        nothing = self.kernels.xp.isnan(self.t)
        return nothing if self.absent is None else nothing | self.absent


class LogTopkDerivatives(TopkDerivatives):
    """Derivatives of log F((b - z)/alpha); 1 - F is never formed."""

    @cached_property
    def probabilities(self) -> Floats:
        """The probabilities F(t)."""
        return self.kernels.cdf(self.t)

    def by_threshold(self) -> Floats:
        """Return f/F, but 0 where -inf entries give log p = -inf: not that of the limit."""
        return self.kernels.xp.where(self._gone, 0.0, self.kernels.logcdf_slope(self.t))

    @cached_property
    def _gone(self) -> Flags:
        """Which entries are infinitely far beyond the threshold."""
        xp, u = self.kernels.xp, self.b.thresholds.u[:, None]
        return xp.isinf(self.z) & (self.t < -1e308) & ~xp.isinf(u)

    @cached_property
    def _small(self) -> Flags:
        """Which entries have p <= 1/2, where dlog p/dk is the same for all of them."""
        return (self.t <= 0.0) & ~self._gone

    def _by_level_of_large(self) -> Floats:
        return self.kernels.xp.where(self.t <= 0.0, 0.0, self.shares / self.probabilities)

    def by_level(self) -> Floats:
        """Return the derivative of the result in the level."""
        xp = self.kernels.xp
        return self._rates(xp.where(self._small, 1.0 / self.density, self._by_level_of_large()))

    def level_vjp(self, bar: Floats) -> Floats:
        """Return the cotangent of the level, (lanes,)."""
        # One product for all the small entries: in a wide gap their common rate is infinite.
        xp, times = self.kernels.xp, self.kernels.times
        of_small = self._rates(xp.where(self._small, 1.0 / self.density, 0.0)) > 0.0
        small = sum_in_lane(xp.where(of_small, bar, 0.0))
        large = sum_in_lane(times(bar, self._rates(self._by_level_of_large())))
        return times(small, 1.0 / self.density[:, 0]) + large
