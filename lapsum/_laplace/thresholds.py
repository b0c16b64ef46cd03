"""Targets that are solved for, and what of sources and levels moves them."""

from __future__ import annotations

from functools import cached_property

from .._backends.types import Floats, Indices, Pair, Points, Roots, any_in_lane
from .rates import Rates
from .sources import Sources
from .targets import Targets


class Thresholds(Targets):
    """Roots b_i = (lo + hi)/2 + alpha u of S(b) = level.

    `softmax` holds the factors that turn a kernel sum into sum_j q_ij v_j, where
    q_ij = c_j e^{-|b_i - x_j|/alpha} / sum_k c_k e^{-|b_i - x_k|/alpha}; `density` is alpha dS/db.
    They, `centre` and `kernel` are there if the roots were solved in full.
    """

    softmax: Pair
    density: Floats
    centre: Floats

    def __init__(self, sources: Sources, roots: Roots, source_lane: Indices) -> None:
        self.sources, self.source_lane, self.below = sources, source_lane, roots.below
        self.roots, self.u = roots, roots.u
        if roots.kernel is not None:
            self.kernel = roots.kernel
        if roots.softmax is not None and roots.density is not None and roots.centre is not None:
            self.softmax, self.density, self.centre = roots.softmax, roots.density, roots.centre
            self.nan = sources.kernels.xp.isnan(roots.u)

    @cached_property
    def points(self) -> Points:  # type: ignore[override]
        """The anchors and the offsets from them."""
        s = self.sources
        return Points(*s.kernels.anchors(s.x, self.roots, self.source_lane), self.u)

    @property
    def lo(self) -> Floats:
        """The lower anchors, or the only ones."""
        return self.points.lo

    @property
    def hi(self) -> Floats:
        """The upper anchors."""
        _, hi, _ = self.points
        return self.points.lo if hi is None else hi

    def complete(self, levels: Floats) -> Thresholds:
        """Return the thresholds at these levels with what derivatives need."""
        s = self.sources
        return Thresholds(
            s, s.kernels.complete(s.lanes, levels, self.roots, self.source_lane), self.source_lane
        )

    @property
    def alpha(self) -> Floats:
        """The scale at each threshold, (lanes, 1)."""
        return self.sources.alpha[self.source_lane][:, None]

    @cached_property
    def rates(self) -> Rates:
        """The derivatives in the levels."""
        return Rates(self)

    def value(self) -> Floats:
        """Return the thresholds, rounded."""
        s = self.sources
        return s.kernels.thresholds(s.lanes, self.roots, self.source_lane)

    def average(self, values: Floats) -> Floats:
        """Return db for a tangent of the sorted sources: sum_j q_ij values_j."""
        s = self.sources
        return self.sum(s.scan(s.weigh(values)), self.softmax)

    def average_transpose(self, values: Floats) -> Floats:
        """Return sum_i q_ij values_i at the sorted sources."""
        return self.sources.weigh(self.transpose(values, self.softmax))

    def by_alpha(self) -> Floats:
        """Return db/dalpha = sum_j q_ij (b_i - x_j)/alpha."""
        return self.centre + self.tails()

    def by_weights(self, weights_dot: Floats) -> Floats:
        """Return alpha sum_j F_ij c_dot_j / density: minus db.

        F_ij over the density is a softmax weight right of b, where both may underflow; absent
        entries have none.
        """
        s, others, absent = self.sources, self.targets_with_absent, self.sources.absent()
        if others is None or absent is None:
            return self._by_weights_of_present(weights_dot)
        xp = s.kernels.xp
        beside = others.cdf_sum_of_present(xp.where(absent, weights_dot, 0.0))
        own = self._by_weights_of_present(xp.where(absent, 0.0, weights_dot))
        out = own + self.rates.times(beside)
        # Opposite infinities add up as what they are the rates of.
        both = self.rates.times(others.cdf_sum_of_present(weights_dot))
        out = xp.where(xp.isnan(out), both, out)
        return xp.where(any_in_lane(absent)[self.source_lane][:, None], out, own)

    def _by_weights_of_present(self, weights_dot: Floats) -> Floats:
        s = self.sources
        xp, times = s.kernels.xp, s.kernels.times
        values = s.to_order(weights_dot)
        whole = self.running_sum(values)
        left, right = self.softmax
        near = self.sum(s.scan(values), (-left, right))
        out = times(times(whole, 1.0 / self.density) + near, self.alpha)
        if not s.kernels.maybe_any(self.rates.wide):
            return out
        in_gap = self.rates.times(whole) + times(near, self.alpha)
        return xp.where(self.rates.wide, in_gap, out)

    def by_weights_transpose(self, values: Floats) -> Floats:
        """Return the transpose of `by_weights`, in the caller's order."""
        s, others, absent = self.sources, self.targets_with_absent, self.sources.absent()
        left, right = self.softmax
        near = self.transpose(values, (-left, right))
        out = s.from_order(self.rates.transpose(self.running_sum_transpose, values, near))
        if others is None or absent is None:
            return out
        beside = self.rates.transpose(others.cdf_transpose_of_present, values)
        return s.kernels.xp.where(absent, beside, out)

    def nodes(self) -> Floats:
        """Return the two neighbours of each threshold, (2, lanes, thresholds); NaN for none."""
        s = self.sources
        xp = s.kernels.xp
        n = s.shape[1]
        if not n:
            return xp.full((2, *self.u.shape), xp.nan)
        # One row of nodes for each row of thresholds.
        sides = []
        for at in self.at:
            node = xp.take_along_axis(s.x, at.clip(0, n - 1), axis=-1)
            there = (at >= 0) & (at < s.present[self.source_lane][:, None])
            sides.append(xp.where(there, node, xp.nan))
        return xp.stack(sides)

    def offsets(self) -> Pair:
        """Return t_ij = (b_i - x_j)/alpha of the two neighbours of each threshold."""
        s = self.sources
        alpha = s.alpha[self.source_lane]
        left, right = (
            s.kernels.offsets(self.lo, self.hi, self.u, node, alpha) for node in self.nodes()
        )
        return left, right

    def tails(self) -> Floats:
        """Return sum_j q_ij (y - x_j)/alpha with y = x_j's neighbour of b_i on its own side."""
        s = self.sources
        left, right = self.softmax
        return self.sum(s.moments(s.gap, s.base), (left, -right))

    def deviations(self) -> Floats:
        """Return (y - sum_j q_ij x_j)/alpha for both neighbours y of each threshold, stacked.

        Neither b nor a mean of x is formed: where alpha is large these are tiny differences.
        """
        s = self.sources
        xp = s.kernels.xp
        tails = self.tails()
        ones, zeros = xp.ones(self.u.shape), xp.zeros(self.u.shape)
        left, right = self.softmax
        share_left = self.sum(s.base, (left, zeros))
        share_right = self.sum(s.base, (zeros, right))
        gap = self.sum((s.gap, s.gap), (zeros, ones))
        times = s.kernels.times
        return xp.stack([tails - times(gap, share_right), tails + times(gap, share_left)])


def thresholds_at(
    sources: Sources, levels: Floats, source_lane: Indices | None = None, *, full: bool
) -> Thresholds:
    """Return the thresholds b with S(b) = level; `full` if derivatives will be asked for."""
    source_lane = sources.source_lane if source_lane is None else source_lane
    return Thresholds(
        sources, sources.kernels.solve(sources.lanes, levels, source_lane, full), source_lane
    )


def thresholds_at_steps(sources: Sources, first: float, steps: int, *, full: bool) -> Thresholds:
    """Return the thresholds at the levels first, first + 1, ..., without weights."""
    roots = sources.kernels.solve_steps(sources.lanes, first, steps, full)
    return Thresholds(sources, roots, sources.source_lane)


def integer_thresholds(sources: Sources, *, full: bool) -> Thresholds:
    """Return the n - 1 thresholds between neighbouring positions."""
    return thresholds_at_steps(sources, 1.0, max(sources.shape[1] - 1, 0), full=full)
