"""A soft permutation ready to multiply, without its matrix."""

from __future__ import annotations

from functools import cached_property

from .._backends.protocol import Kernels
from .._backends.types import Floats, Indices, Pair, any_in_lane
from .._core.rule import LARGE
from .sources import Sources
from .thresholds import Thresholds, integer_thresholds


class Product:
    """P(x), and its transpose, for lanes of values, or of positions.

    The row of an interval (b_{i-1}, b_i] has three parts: nodes left of it contribute their kernel
    at b_{i-1} times 1 - e^{-width}, nodes right of it likewise at b_i, and those inside what they
    have there.  No sum over everything is subtracted from another, so small results keep
    their digits.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.intervals = sources.kernels.intervals(sources.lanes)

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds between the intervals, for derivatives."""
        return integer_thresholds(self.sources, full=True)

    def multiply(
        self, lanes: Floats, source_lane: Indices, *, transpose: bool, descending: bool
    ) -> Floats:
        """Return P, or P.T, times lanes given and returned in the caller's order."""
        s, kernels = self.sources, self.sources.kernels
        if transpose:
            positions = reverse_if(descending, kernels, lanes)
            out = self.apply_limits(positions, source_lane, transpose=True)
            return kernels.from_order(out, s.order, source_lane)
        values = kernels.to_order(lanes, s.order, source_lane)
        out = self.apply_limits(values, source_lane, transpose=False)
        return reverse_if(descending, kernels, out)

    def apply(self, values: Floats, source_lane: Indices) -> Floats:
        """Return P times lanes of sorted values."""
        s, kernels, rows = self.sources, self.sources.kernels, self.intervals
        lane = kernels.identity(len(values))
        out = kernels.gather(s.scan(values, source_lane), lane, rows.at, rows.by, source_lane)
        kernels.collect(values, rows.inside, rows.row, source_lane, out)
        return out

    def apply_transpose(self, positions: Floats, source_lane: Indices) -> Floats:
        """Return P.T times lanes of positions, at the sorted sources."""
        s = self.sources
        return s.kernels.transpose_product(s.lanes, self.intervals, positions, source_lane)

    def apply_limits(self, values: Floats, source_lane: Indices, *, transpose: bool) -> Floats:
        """Return P, or P.T, times values of which infinite ones are the limit of large ones."""
        kernels, xp = self.sources.kernels, self.sources.kernels.xp
        product = self.apply_transpose if transpose else self.apply
        if kernels.surely_within(values, LARGE):
            return product(values, source_lane)
        infinite = xp.isinf(values)
        bounded = not infinite.any()
        finite = values if bounded else xp.where(infinite, 0.0, values)
        # The sums on the way may overflow though the averages they make do not.
        large = any_in_lane(xp.abs(finite) > LARGE)[:, None]
        if large.any():
            shift = large * -200
            out = xp.ldexp(product(xp.ldexp(finite, shift), source_lane), -shift)
        else:
            out = product(finite, source_lane)
        if bounded:
            return out
        pull = product(xp.where(infinite, xp.sign(values), 0.0), source_lane)
        return xp.where(pull == 0.0, out, xp.copysign(xp.inf, pull))

    # ------------------------------------------------------ sums at the thresholds, for derivatives

    def kernel_sum(self, nodes: Pair, by: Pair, source_lane: Indices) -> Floats:
        """Read scans at the n - 1 thresholds."""
        kernels, (left, _) = self.sources.kernels, nodes
        return kernels.gather(nodes, kernels.identity(len(left)), self.b.at, by, source_lane)

    def collect_transpose(self, rows: Floats, by: Pair, source_lane: Indices) -> Pair:
        """Return the scans back of what each threshold gives to its two neighbours."""
        s, kernels = self.sources, self.sources.kernels
        lane, shape = kernels.identity(len(rows)), (len(rows), s.shape[1])
        return s.scan_back(
            kernels.scatter(rows, self.b.at, by, source_lane, lane, shape), source_lane
        )

    def kernel_transpose(self, rows: Floats, source_lane: Indices) -> Floats:
        """Return sum_i e^{-|b_i - x_j|/alpha} rows_i at the sorted sources."""
        left, right = self.collect_transpose(rows, self.b.kernel, source_lane)
        return left + right

    def _near(self) -> Pair:
        xp = self.sources.kernels.xp
        left, right = (
            xp.where(kernel == 0.0, 0.0, kernel * away)
            for kernel, away in zip(self.b.kernel, self.b.deviations(), strict=True)
        )
        return left, right

    def along_alpha(self, base: Pair, source_lane: Indices) -> Floats:
        """Return sum_j v_j e^{-|t_ij|} (x_j - sum_k q_ik x_k)/alpha; base holds the scans of v."""
        s, (left, right) = self.sources, self.b.kernel
        moments = s.moments(s.gap, base, source_lane)
        away = self.kernel_sum(moments, (-left, right), source_lane)
        return self.kernel_sum(base, self._near(), source_lane) + away

    def along_alpha_transpose(self, rows: Floats, source_lane: Indices) -> Floats:
        """Return the transpose of `along_alpha`'s map from v, at the sorted sources."""
        s, moments = self.sources, self.sources.kernels.moments
        left, right = self.collect_transpose(rows, self._near(), source_lane)
        scan_left, scan_right = self.collect_transpose(rows, self.b.kernel, source_lane)
        # The distance from the node where a row's share lands to the source it reaches.
        onward = moments(s.decay, s.gap, scan_left, source_lane, True)
        back = moments(s.decay, s.gap, scan_right, source_lane, False)
        return left + right - onward + back


def reverse_if(descending: bool, kernels: Kernels, lanes: Floats) -> Floats:
    """Return lanes of positions, reversed for a descending order."""
    return kernels.contiguous(lanes[:, ::-1]) if descending else lanes
