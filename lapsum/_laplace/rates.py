"""Derivatives in the level, which are infinite where the density underflows.

A threshold b moves by alpha level_dot/density, with density = alpha dS/db.  In a gap of more than
1420 alpha the density is subnormal or zero, yet times alpha, or times a weight that is as small,
the rate may be a float: there it is taken in two factors from its logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from .._backends.types import Flags, Floats

if TYPE_CHECKING:
    from .thresholds import Thresholds

SUBNORMAL = 1e-290  # smaller densities have few digits, or will on the way


class Rates:
    """The rates alpha/density of solved thresholds."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.b = thresholds
        self.kernels = thresholds.sources.kernels

    @cached_property
    def low(self) -> Flags:
        """Which densities are so small that they have few digits, or will on the way."""
        return self.b.density < SUBNORMAL

    @cached_property
    def wide(self) -> Flags:
        """Which of them lie in a gap, where they are e^{-distance}/(2 q_left), or 0."""
        q_left, _ = self.b.softmax
        return self.low & (q_left > 0.0)

    @cached_property
    def half(self) -> Floats:
        """1/sqrt(density) where that is low, from its logarithm in a gap; else 0."""
        xp, (q_left, _), (left, _) = self.kernels.xp, self.b.softmax, self.b.distance
        in_gap = xp.sqrt(2.0 * q_left) * xp.exp(0.5 * left)
        half = xp.where(self.wide, in_gap, 1.0 / xp.sqrt(self.b.density))
        return xp.where(self.low, half, 0.0)

    def times(self, level_dot: Floats) -> Floats:
        """Return db for a tangent of the levels, alpha level_dot/density.

        The rate may be infinite, not times zero; or a float times alpha, where it is none.
        """
        times, alpha = self.kernels.times, self.b.alpha
        out = times(times(level_dot, 1.0 / self.b.density), alpha)
        if not self.kernels.maybe_any(self.wide):
            return out
        in_gap = times(times(level_dot, alpha * self.half), self.half)
        return self.kernels.xp.where(self.wide, in_gap, out)

    def transpose(
        self, pull: Callable[[Floats], Floats], values: Floats, near: Floats | float = 0.0
    ) -> Floats:
        """Return alpha (pull(values/density) + near); `pull` is linear, from thresholds to sources.

        Of densities that underflow the least one in each lane divides at the end, which keeps
        infinities from meeting on the way; they are apart, for it leaves nothing of the others.
        """
        b, s, xp, times = self.b, self.b.sources, self.kernels.xp, self.kernels.times
        alpha = s.alpha[:, None]
        if not values.shape[1]:
            return times(pull(values) + near, alpha)
        plain = times(xp.where(self.low, 0.0, values), 1.0 / b.density)
        plain = times(pull(plain) + near, alpha)
        if not self.kernels.maybe_any(self.low):
            return plain
        most = -self.kernels.min_lanes((-self.half).min(axis=-1), b.source_lane, len(s.x))[:, None]
        ours = most[b.source_lane]
        relative = xp.where(self.half == ours, 1.0, self.half / ours)
        out = pull(xp.where(self.low, times(values, relative * relative), 0.0))
        out = times(times(out, alpha * most), most)
        return plain + xp.where(most > 0.0, out, 0.0)
