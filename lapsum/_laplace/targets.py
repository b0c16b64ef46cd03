"""Targets among sorted sources: the reads of decaying sums, and their transposes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sources import Sources

Array = Any
Pair = tuple[Array, Array]

SUBNORMAL = 1e-290  # smaller densities have few digits, or will on the way


def _shift(xp: Any, values: Array, by: int) -> Array:
    """Return lanes moved by one place to the right (1) or to the left (-1), zeros coming in."""
    zero = xp.zeros((values.shape[0], min(values.shape[1], 1)))
    parts = [zero, values[:, :-1]] if by > 0 else [values[:, 1:], zero]
    return xp.concatenate(parts, axis=-1)


class Targets:
    """Points among sources: how many sources are left of each, and e^{-distance} to both sides."""

    def __init__(
        self,
        sources: Sources,
        key: Array,
        index: Array,
        lo: Array,
        hi: Array | None,
        u: Array | None,
    ) -> None:
        self.sources = sources
        self.key = key
        self.index = index
        self.where = (lo, hi, u)

    @cached_property
    def at(self) -> Pair:
        """The nodes left and right of each target."""
        return self.index - 1, self.index

    @cached_property
    def distance(self) -> Pair:
        """The distances over alpha to both sides, infinite without a node there."""
        s = self.sources
        pair: Pair = s.kernels.distances(s.x, s.count, s.alpha, *self.where, self.key, self.index)
        return pair

    @cached_property
    def invalid(self) -> Array:
        """Which targets are NaN."""
        return self.sources.kernels.xp.isnan(self.distance[0])

    @cached_property
    def kernel(self) -> Pair:
        """e^{-distance} to both sides."""
        xp = self.sources.kernels.xp
        left, right = (xp.where(self.invalid, 0.0, xp.exp(-d)) for d in self.distance)
        return left, right

    @property
    def lanes(self) -> Array:
        """Key of targets that read from sources of their own."""
        return self.sources.kernels.identity(len(self.key))

    def sum(self, nodes: Pair, by: Pair | None = None) -> Array:
        """Read two scans of the sources at the targets."""
        by = self.kernel if by is None else by
        return self.sources.kernels.gather(nodes, self.key, self.at, by, self.lanes)

    def transpose(self, values: Array, by: Pair | None = None) -> Array:
        """Return, at the sorted sources, the sums of `values` over the targets."""
        by = self.kernel if by is None else by
        s = self.sources
        left, right = s.kernels.scatter(values, self.at, by, self.lanes, self.key, s.shape)
        return s.kernels.scan(s.decay, left, s.key, True) + s.kernels.scan(
            s.decay, right, s.key, False
        )

    def level(self) -> Array:
        """Return S at the targets, NaN at those that are."""
        s = self.sources
        lanes = s.x, s.count, s.alpha, s.left, s.right, s.pairs
        out: Array = s.kernels.level(*lanes, self.where[0], self.key, self.index)
        return out

    def cdf_sum(self, values: Array) -> Array:
        """Return sum_j F((b - x_j)/alpha) values_j, for values in the caller's order."""
        return self._by_lane(Targets._cdf_sum, values)

    def _cdf_sum(self, values: Array) -> Array:
        t, s = self, self.sources
        values = s.sort(values)
        values = s.kernels.xp.where(s.kernels.xp.isnan(s.x), 0.0, values)
        running = s.kernels.scan(None, values, s.key, False)
        whole = s.kernels.gather((running, running), t.key, t.at, t._once(), t.lanes)
        return whole + t.sum(s.scan(values), t._cdf_factors())

    def cdf_transpose(self, values: Array) -> Array:
        """Return sum_i F((b_i - x_j)/alpha) values_i in the caller's order."""
        return self._by_lane(Targets._cdf_transpose, values, transpose=True)

    def _cdf_transpose(self, values: Array) -> Array:
        t, s = self, self.sources
        xp = s.kernels.xp
        values = xp.where(t.invalid, 0.0, values)
        whole, _ = s.kernels.scatter(values, t.at, t._once(), t.lanes, t.key, s.shape)
        out = s.kernels.scan(None, whole, s.key, True) + t.transpose(values, t._cdf_factors())
        return s.unsort(xp.where(xp.isnan(s.x), 0.0, out))

    def centred_cdf_sum(self, values: Array) -> Array:
        """Return `cdf_sum` of values that add up to zero, from the differences of F alone.

        Summed by parts: sum_j F_ij v_j = sum_j (F_{i,j-1} - F_ij) (v_1 + ... + v_{j-1}).
        """
        return self._by_lane(Targets._centred_cdf_sum, values)

    def _centred_cdf_sum(self, values: Array) -> Array:
        t, s = self, self.sources
        xp = s.kernels.xp
        values = s.sort(values)
        values = xp.where(xp.isnan(s.x), 0.0, values)
        running = s.kernels.scan(None, values, s.key, False)
        jumps = s.falls() * _shift(xp, running, 1)
        left = s.kernels.scan(s.decay, jumps, s.key, False)
        right = s.kernels.scan(s.decay, _shift(xp, jumps, -1), s.key, True)
        between = s.kernels.gather(
            (running, running), t.key, t.at, (t.across(), t._once()[1]), t.lanes
        )
        return between + 0.5 * t.sum((left, right))

    def centred_cdf_transpose(self, values: Array) -> Array:
        """Return `cdf_transpose`, but for a constant a lane, by accumulating differences of F."""
        return self._by_lane(Targets._centred_cdf_transpose, values, transpose=True)

    def _centred_cdf_transpose(self, values: Array) -> Array:
        t, s = self, self.sources
        xp = s.kernels.xp
        values = xp.where(t.invalid, 0.0, values)
        left, right = s.kernels.scatter(values, t.at, t.kernel, t.lanes, t.key, s.shape)
        left = s.kernels.scan(s.decay, left, s.key, True)
        right = s.kernels.scan(s.decay, right, s.key, False)
        _, between = s.kernels.scatter(
            values, t.at, (t._once()[1], t.across()), t.lanes, t.key, s.shape
        )
        fall = between + 0.5 * s.falls() * (left + _shift(xp, right, 1))
        return s.unsort(-s.kernels.scan(None, fall, s.key, False))

    def across(self) -> Array:
        """Return F(b - left neighbour) - F(b - right neighbour), 0 where one is missing."""
        xp = self.sources.kernels.xp
        left, right = self.distances()
        both = (self.at[0] >= 0) & (self.at[1] < self.sources.count[self.key][:, None])
        return xp.where(both, -0.5 * xp.expm1(-left) - 0.5 * xp.expm1(right), 0.0)

    def distances(self) -> Pair:
        """Return t_ij = (b_i - x_j)/alpha of the two neighbours of each target."""
        return self.distance[0], -self.distance[1]

    def difference(self, base: Pair, ours: Array, theirs: Array) -> Array:
        """Return sum_j w_j e^{-|t_ij|} (ours_i - theirs_j), theirs sorted; base = scan(w).

        Only differences enter, so that a common offset of the two costs no digit.
        """
        s = self.sources
        xp = s.kernels.xp
        ones, zeros = self._once()
        step = theirs - xp.concatenate([theirs[:, :1], theirs[:, :-1]], axis=-1)
        plus, minus = self.kernel
        near = (
            plus * (ours - self.sum((theirs, theirs), (ones, zeros))),
            minus * (ours - self.sum((theirs, theirs), (zeros, ones))),
        )
        return self.sum(base, near) + self.sum(s.moments(step, base), (plus, -minus))

    def moment(self, base: Pair) -> Array:
        """Return sum_j w_j e^{-|t_ij|} t_ij with t = (target - x_j)/alpha; base = scan(w)."""
        s = self.sources
        xp = s.kernels.xp
        plus, minus = self.kernel
        near = (
            xp.where(plus == 0.0, 0.0, plus * self.distance[0]),
            xp.where(minus == 0.0, 0.0, -minus * self.distance[1]),
        )
        return self.sum(base, near) + self.sum(s.moments(s.gap, base), (plus, -minus))

    def _once(self) -> Pair:
        xp = self.sources.kernels.xp
        return xp.ones(self.at[0].shape), xp.zeros(self.at[0].shape)

    def _cdf_factors(self) -> Pair:
        left, right = self.kernel
        return -0.5 * left, 0.5 * right

    def _by_lane(self, method: Any, values: Array, transpose: bool = False) -> Array:
        """Return `method` of these targets, or among all sources in lanes with absent ones.

        That is what weights change when they grow.  No lane may depend on the others.
        """
        others = self._among_everyone
        if others is None:
            return method(self, values)
        absent = (self.sources.weights == 0.0).any(axis=-1)
        absent = absent if transpose else absent[self.key]
        return self.sources.kernels.xp.where(
            absent[:, None], method(others, values), method(self, values)
        )

    @cached_property
    def _among_everyone(self) -> Targets | None:
        """The same targets among all sources, if any are absent."""
        everyone = self.sources.everyone
        return None if everyone is None else everyone.locate(*self.where, self.key)


class Thresholds(Targets):
    """Targets b_i = (lo + hi)/2 + alpha u solved for, with the softmax weights of their sources.

    `softmax` holds the factors that turn a kernel sum into sum_j q_ij v_j, where
    q_ij = c_j e^{-|b_i - x_j|/alpha} / sum_k c_k e^{-|b_i - x_k|/alpha}; `density` is alpha dS/db.
    """

    def __init__(
        self,
        sources: Sources,
        key: Array,
        index: Array,
        lo: Array,
        hi: Array,
        u: Array,
        factors: Array | None,
    ) -> None:
        self.sources = sources
        self.key = key
        self.index = index
        self.lo, self.hi, self.u = lo, hi, u
        self.where = (lo, hi, u)
        if factors is not None:
            self.factors = factors
            self.kernel = (factors[0], factors[1])
        if factors is not None and len(factors) == 6:
            _, _, q_left, q_right, self.density, self.centre = factors
            self.softmax = (q_left, q_right)
            self.invalid = sources.kernels.xp.isnan(u)

    def value(self) -> Array:
        """Return the thresholds, rounded."""
        s = self.sources
        return s.kernels.thresholds(self.lo, self.hi, self.u, s.alpha, self.key)

    def average(self, values: Array) -> Array:
        """Return db for a tangent of the sorted sources: sum_j q_ij values_j."""
        s = self.sources
        return self.sum(s.scan(s.weigh(values)), self.softmax)

    def average_transpose(self, values: Array) -> Array:
        """Return sum_i q_ij values_i at the sorted sources."""
        return self.sources.weigh(self.transpose(values, self.softmax))

    @cached_property
    def _low(self) -> Array:
        """Which densities are so small that they have few digits, or will on the way."""
        return self.density < SUBNORMAL

    @cached_property
    def _wide(self) -> Array:
        """Which of them lie in a gap, where they are e^{-distance}/(2 left), or 0."""
        return self._low & (self.softmax[0] > 0.0)

    @cached_property
    def _half_rate(self) -> Array:
        """1/sqrt(density) where that is low, from its logarithm in a gap; else 0."""
        xp = self.sources.kernels.xp
        half = xp.sqrt(2.0 * self.softmax[0]) * xp.exp(0.5 * self.distance[0])
        half = xp.where(self._wide, half, 1.0 / xp.sqrt(self.density))
        return xp.where(self._low, half, 0.0)

    def rate(self, level_dot: Array) -> Array:
        """Return db for a tangent of the levels, alpha level_dot/density.

        The rate may be infinite, not times zero; or a float times alpha, where it is none.
        """
        s, xp = self.sources, self.sources.kernels.xp
        times = s.kernels.times
        alpha = s.alpha[self.key][:, None]
        out = times(times(level_dot, 1.0 / self.density), alpha)
        if s.kernels.on_host and not self._wide.any():
            return out
        half = self._half_rate
        return xp.where(self._wide, times(times(level_dot, alpha * half), half), out)

    def weights_rate(self, weights_dot: Array) -> Array:
        """Return alpha sum_j F_ij c_dot_j / density: minus db.

        F_ij over the density is a softmax weight right of b, where both may underflow; absent
        entries have none.
        """
        s, others = self.sources, self._among_everyone
        if others is None:
            return self._weights_rate(weights_dot)
        xp, absent = s.kernels.xp, self._absent()
        beside = others._cdf_sum(xp.where(absent, weights_dot, 0.0))
        own = self._weights_rate(xp.where(absent, 0.0, weights_dot))
        out = own + self.rate(beside)
        # Opposite infinities add up as what they are the rates of.
        both = self.rate(others._cdf_sum(weights_dot))
        out = xp.where(xp.isnan(out), both, out)
        return xp.where(absent.any(axis=-1)[self.key][:, None], out, own)

    def _weights_rate(self, weights_dot: Array) -> Array:
        s = self.sources
        xp, times = s.kernels.xp, s.kernels.times
        alpha = s.alpha[self.key][:, None]
        values = s.sort(weights_dot)
        running = s.kernels.scan(None, values, s.key, False)
        whole = s.kernels.gather((running, running), self.key, self.at, self._once(), self.lanes)
        left, right = self.softmax
        near = self.sum(s.scan(values), (-left, right))
        out = times(times(whole, 1.0 / self.density) + near, alpha)
        if s.kernels.on_host and not self._wide.any():
            return out
        return xp.where(self._wide, self.rate(whole) + times(near, alpha), out)

    def weights_rate_transpose(self, values: Array) -> Array:
        """Return the transpose of `weights_rate`, in the caller's order."""
        s, others = self.sources, self._among_everyone

        def pull(rates: Array) -> Array:
            whole, _ = s.kernels.scatter(
                rates, self.at, self._once(), self.lanes, self.key, s.shape
            )
            return s.kernels.scan(None, whole, s.key, True)

        left, right = self.softmax
        near = self.transpose(values, (-left, right))
        out = s.unsort(self.rate_transpose(pull, values, near))
        if others is None:
            return out
        beside = self.rate_transpose(others._cdf_transpose, values)
        return s.kernels.xp.where(self._absent(), beside, out)

    def _absent(self) -> Array:
        """Return which entries of each lane, in the caller's order, are absent."""
        s = self.sources
        return s.unsort(s.weights) == 0.0

    def rate_transpose(
        self, pull: Callable[[Array], Array], values: Array, near: Array | float = 0.0
    ) -> Array:
        """Return alpha (pull(values/density) + near); `pull` is linear, from thresholds to sources.

        Of densities that underflow the least one in each lane divides at the end, which keeps
        infinities from meeting on the way; they are apart, for it leaves nothing of the others.
        """
        s, xp = self.sources, self.sources.kernels.xp
        times, alpha = s.kernels.times, s.alpha[:, None]
        if not values.shape[1]:
            return times(pull(values) + near, alpha)
        plain = times(xp.where(self._low, 0.0, values), 1.0 / self.density)
        plain = times(pull(plain) + near, alpha)
        if s.kernels.on_host and not self._low.any():
            return plain
        half = self._half_rate
        most = -s.kernels.min_lanes((-half).min(axis=-1), self.key, len(s.x))[:, None]
        ours = most[self.key]
        relative = xp.where(half == ours, 1.0, half / ours)
        out = pull(xp.where(self._low, times(values, relative * relative), 0.0))
        out = times(times(out, alpha * most), most)
        return plain + xp.where(most > 0.0, out, 0.0)

    def nodes(self) -> Array:
        """Return the two neighbours of each threshold, (2, lanes, thresholds); NaN for none."""
        s = self.sources
        xp = s.kernels.xp
        n = s.shape[1]
        out = xp.full((2, *self.u.shape), xp.nan)
        for side, at in enumerate(self.at):
            if n:
                node = xp.take_along_axis(s.x, at.clip(0, n - 1), axis=-1)
                out[side] = xp.where((at >= 0) & (at < s.count[self.key][:, None]), node, xp.nan)
        return out

    def distances(self) -> Pair:
        """Return t_ij = (b_i - x_j)/alpha of the two neighbours of each threshold."""
        s = self.sources
        lo, hi, u = self.where
        alpha = s.alpha[self.key]
        left, right = (s.kernels.offsets(lo, hi, u, node, alpha) for node in self.nodes())
        return left, right

    def tails(self) -> Array:
        """Return sum_j q_ij (y - x_j)/alpha with y = x_j's neighbour of b_i on its own side."""
        s = self.sources
        left, right = self.softmax
        return self.sum(s.moments(s.gap, (s.left, s.right)), (left, -right))

    def deviations(self) -> Array:
        """Return (y - sum_j q_ij x_j)/alpha for both neighbours y of each threshold, stacked.

        Neither b nor a mean of x is formed: where alpha is large these are tiny differences.
        """
        s = self.sources
        xp = s.kernels.xp
        tails = self.tails()
        zeros = xp.zeros(self.u.shape)
        left, right = self.softmax
        share_left = self.sum((s.left, s.right), (left, zeros))
        share_right = self.sum((s.left, s.right), (zeros, right))
        gap = s.kernels.gather((s.gap, s.gap), self.key, self.at, self._once()[::-1], self.lanes)
        return xp.stack(
            [
                tails - s.kernels.times(gap, share_right),
                tails + s.kernels.times(gap, share_left),
            ]
        )

    def slope(self) -> Array:
        """Return db/dalpha = sum_j q_ij (b_i - x_j)/alpha."""
        return self.centre + self.tails()
