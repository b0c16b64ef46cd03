"""Targets among sorted sources: the reads of decaying sums, and their transposes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from .._backends.types import Flags, Floats, Indices, Pair, Points, any_in_lane
from .sources import Sources


class Targets:
    """Points among sources: how many sources are left of each, and e^{-distance} to both sides.

    Parameters
    ----------
    sources : Sources
    source_lane : array of int, shape (lanes,)
        The lane of the sources of each lane of targets.
    points : Points
        The targets, (lanes, targets).
    below : array of int, shape (lanes, targets), optional
        How many sources are left of each, if that is known.
    """

    def __init__(
        self, sources: Sources, source_lane: Indices, points: Points, below: Indices | None = None
    ) -> None:
        if below is None:
            below = sources.kernels.locate(sources.lanes, points, source_lane)
        self.sources = sources
        self.source_lane = source_lane
        self.points = points
        self.below = below

    @cached_property
    def at(self) -> tuple[Indices, Indices]:
        """The nodes left and right of each target."""
        return self.below - 1, self.below

    @cached_property
    def distance(self) -> Pair:
        """The distances over alpha to both sides, infinite without a node there."""
        s = self.sources
        return s.kernels.distances(s.lanes, self.points, self.source_lane, self.below)

    @cached_property
    def nan(self) -> Flags:
        """Which targets are NaN."""
        left, _ = self.distance
        return self.sources.kernels.xp.isnan(left)

    @cached_property
    def kernel(self) -> Pair:
        """e^{-distance} to both sides."""
        kernels = self.sources.kernels
        left, right = (kernels.xp.where(self.nan, 0.0, kernels.exp(-d)) for d in self.distance)
        return left, right

    @property
    def lanes(self) -> Indices:
        """Key of targets that read from sources of their own."""
        return self.sources.kernels.identity(len(self.source_lane))

    def sum(self, nodes: Pair, by: Pair | None = None) -> Floats:
        """Read two scans of the sources at the targets."""
        by = self.kernel if by is None else by
        return self.sources.kernels.gather(nodes, self.source_lane, self.at, by, self.lanes)

    def collect_transpose(self, values: Floats, by: Pair) -> Pair:
        """Add up, at the nodes left and right, what each target gives to its neighbours."""
        s = self.sources
        return s.kernels.scatter(values, self.at, by, self.lanes, self.source_lane, s.shape)

    def transpose(self, values: Floats, by: Pair | None = None) -> Floats:
        """Return, at the sorted sources, the sums of `values` over the targets."""
        by = self.kernel if by is None else by
        left, right = self.sources.scan_back(self.collect_transpose(values, by))
        return left + right

    def running_sum(self, values: Floats) -> Floats:
        """Return the sums of sorted `values` of the sources left of each target."""
        running = self.sources.running_sum(values)
        return self.sum((running, running), self._once())

    def running_sum_transpose(self, values: Floats) -> Floats:
        """Return the transpose of `running_sum`, at the sorted sources."""
        whole, _ = self.collect_transpose(values, self._once())
        return self.sources.running_sum(whole, reverse=True)

    def level(self) -> Floats:
        """Return S at the targets, NaN at those that are."""
        s = self.sources
        return s.kernels.level(s.lanes, self.points.lo, self.source_lane, self.below)

    def cdf_sum(self, values: Floats) -> Floats:
        """Return sum_j F((b - x_j)/alpha) values_j, for values in the caller's order."""
        return self._by_lane(Targets.cdf_sum_of_present, values)

    def cdf_sum_of_present(self, values: Floats) -> Floats:
        """Return `cdf_sum` over the entries that are not absent."""
        t, s = self, self.sources
        xp = s.kernels.xp
        values = s.to_order(values)
        values = xp.where(xp.isnan(s.x), 0.0, values)
        return t.running_sum(values) + t.sum(s.scan(values), t._cdf_factors())

    def cdf_transpose(self, values: Floats) -> Floats:
        """Return sum_i F((b_i - x_j)/alpha) values_i in the caller's order."""
        return self._by_lane(Targets.cdf_transpose_of_present, values, transpose=True)

    def cdf_transpose_of_present(self, values: Floats) -> Floats:
        """Return `cdf_transpose` at the entries that are not absent."""
        t, s = self, self.sources
        xp = s.kernels.xp
        values = xp.where(t.nan, 0.0, values)
        out = t.running_sum_transpose(values) + t.transpose(values, t._cdf_factors())
        return s.from_order(xp.where(xp.isnan(s.x), 0.0, out))

    def centred_cdf_sum(self, values: Floats) -> Floats:
        """Return `cdf_sum` of values that add up to zero, from the differences of F alone.

        Summed by parts: sum_j F_ij v_j = sum_j (F_{i,j-1} - F_ij) (v_1 + ... + v_{j-1}).
        """
        return self._by_lane(Targets._centred_cdf_sum, values)

    def _centred_cdf_sum(self, values: Floats) -> Floats:
        t, s = self, self.sources
        xp = s.kernels.xp
        values = s.to_order(values)
        values = xp.where(xp.isnan(s.x), 0.0, values)
        running = s.running_sum(values)
        jumps = s.falls() * t._moved_right(running)
        left = s.kernels.scan(s.decay, jumps, s.source_lane, False)
        right = s.kernels.scan(s.decay, t._moved_left(jumps), s.source_lane, True)
        _, none = t._once()
        between = t.sum((running, running), (t.across(), none))
        return between + 0.5 * t.sum((left, right))

    def centred_cdf_transpose(self, values: Floats) -> Floats:
        """Return `cdf_transpose`, but for a constant a lane, by accumulating differences of F."""
        return self._by_lane(Targets._centred_cdf_transpose, values, transpose=True)

    def _centred_cdf_transpose(self, values: Floats) -> Floats:
        t, s = self, self.sources
        xp = s.kernels.xp
        values = xp.where(t.nan, 0.0, values)
        left, right = s.scan_back(t.collect_transpose(values, t.kernel))
        _, none = t._once()
        _, between = t.collect_transpose(values, (none, t.across()))
        fall = between + 0.5 * s.falls() * (left + t._moved_right(right))
        return s.from_order(-s.running_sum(fall))

    def across(self) -> Floats:
        """Return F(b - left neighbour) - F(b - right neighbour), 0 where one is missing."""
        xp = self.sources.kernels.xp
        left, right = self.offsets()
        before, after = self.at
        both = (before >= 0) & (after < self.sources.present[self.source_lane][:, None])
        return xp.where(both, -0.5 * xp.expm1(-left) - 0.5 * xp.expm1(right), 0.0)

    def offsets(self) -> Pair:
        """Return t_ij = (b_i - x_j)/alpha of the two neighbours of each target."""
        left, right = self.distance
        return left, -right

    def difference(self, base: Pair, ours: Floats, theirs: Floats) -> Floats:
        """Return sum_j w_j e^{-|t_ij|} (ours_i - theirs_j), theirs sorted; base = scan(w).

        Only differences enter, so that a common offset of the two costs no digit.
        """
        s = self.sources
        ones, zeros = self._once()
        step = theirs - s.kernels.xp.concatenate([theirs[:, :1], theirs[:, :-1]], axis=-1)
        plus, minus = self.kernel
        near = (
            plus * (ours - self.sum((theirs, theirs), (ones, zeros))),
            minus * (ours - self.sum((theirs, theirs), (zeros, ones))),
        )
        return self.sum(base, near) + self.sum(s.moments(step, base), (plus, -minus))

    def moment(self, base: Pair) -> Floats:
        """Return sum_j w_j e^{-|t_ij|} t_ij with t = (target - x_j)/alpha; base = scan(w)."""
        s = self.sources
        xp = s.kernels.xp
        plus, minus = self.kernel
        left, right = self.distance
        near = (
            xp.where(plus == 0.0, 0.0, plus * left),
            xp.where(minus == 0.0, 0.0, -minus * right),
        )
        return self.sum(base, near) + self.sum(s.moments(s.gap, base), (plus, -minus))

    def _once(self) -> Pair:
        xp, shape = self.sources.kernels.xp, self.below.shape
        return xp.ones(shape), xp.zeros(shape)

    def _cdf_factors(self) -> Pair:
        left, right = self.kernel
        return -0.5 * left, 0.5 * right

    def _moved_right(self, values: Floats) -> Floats:
        """Return lanes of the sources moved by one place, a zero coming in."""
        xp = self.sources.kernels.xp
        zero = xp.zeros((values.shape[0], min(values.shape[1], 1)))
        return xp.concatenate([zero, values[:, :-1]], axis=-1)

    def _moved_left(self, values: Floats) -> Floats:
        xp = self.sources.kernels.xp
        zero = xp.zeros((values.shape[0], min(values.shape[1], 1)))
        return xp.concatenate([values[:, 1:], zero], axis=-1)

    def _by_lane(
        self, method: Callable[[Targets, Floats], Floats], values: Floats, transpose: bool = False
    ) -> Floats:
        """Return `method` of these targets, or among all sources in lanes with absent ones.

        That is what weights change when they grow.  No lane may depend on the others.
        """
        others, weights = self.targets_with_absent, self.sources.weights
        if others is None or weights is None:
            return method(self, values)
        absent = any_in_lane(weights == 0.0)
        absent = absent if transpose else absent[self.source_lane]
        return self.sources.kernels.xp.where(
            absent[:, None], method(others, values), method(self, values)
        )

    @cached_property
    def targets_with_absent(self) -> Targets | None:
        """The same targets among all sources, if any are absent."""
        with_absent = self.sources.with_absent
        return None if with_absent is None else Targets(with_absent, self.source_lane, self.points)


class Neighbours(Targets):
    """The sources, in ascending order, as targets of all sources but themselves.

    Their own kernel, one, would drown the others' where those are tiny.
    """

    def __init__(self, sources: Sources) -> None:
        s, xp = sources, sources.kernels.xp
        lanes, n = s.shape
        here = xp.broadcast_to(xp.arange(n), (lanes, n))
        present = here < s.present[:, None]
        after = xp.concatenate([s.gap[:, 1:], xp.full((lanes, min(n, 1)), xp.inf)], axis=-1)
        below, left, right = xp.where(present, here, 0), s.gap, after
        if s.weights is not None:
            absent = targets_at(s, s.x)
            below = xp.where(present, here, absent.below)
            left, right = (
                xp.where(present, near, far)
                for near, far in zip((left, right), absent.distance, strict=True)
            )
        super().__init__(s, s.source_lane, Points(s.x, None, None), below)
        self.distance = left, right
        self.at = (below - 1, xp.where(present, below + 1, below))


def targets_at(sources: Sources, x: Floats, source_lane: Indices | None = None) -> Targets:
    """Return points x, (lanes, targets), as targets among sources."""
    return Targets(
        sources, sources.source_lane if source_lane is None else source_lane, Points(x, None, None)
    )
