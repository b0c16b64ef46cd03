"""Products with permutations of short keys."""

from __future__ import annotations

from copy import copy

from .._backends.protocol import ShortLanes
from .._backends.types import Array, Flags
from .permute_rule import PermuteRule
from .rule import Tangents
from .short_rule import ShortRule


class ShortPermuteRule(ShortRule, PermuteRule):
    """A permutation times values; where lanes are short, each lane of values has its own keys."""

    _shared: int = 0  # how many lanes of keys there are, if fewer

    def short_lanes(self, keep: bool, out: Array | None) -> ShortLanes | None:
        """Return the products by kernels for short lanes, None if there are no such."""
        kernels, lanes = self.kernels, self.lanes
        if not 0 < self.n <= kernels.longest_short or not len(self.source_lane):
            return None
        if len(self.source_lane) != len(lanes["x"]):
            self._shared = len(lanes["x"])
            self.lanes = {
                **lanes,
                "x": lanes["x"][self.source_lane],
                "alpha": lanes["alpha"][self.source_lane],
            }
        x, alpha, values = (self.lanes[name] for name in ("x", "alpha", "values"))
        sign = -1.0 if self.descending else 1.0
        return kernels.short_permute(x, sign, alpha, values, self.transpose, keep)

    def some_lanes(self, which: Flags) -> ShortPermuteRule:
        """Return the same call of some of the lanes, by kernels for lanes of any length."""
        some = copy(self)
        some.short = some.others = None
        some.__dict__.pop("nan_lanes", None)  # those of all lanes
        some.lanes = {name: lanes[which] for name, lanes in self.lanes.items()}
        some.source_lane = self.kernels.identity(len(some.lanes["x"]))
        return some

    def short_jvp(self, short: ShortLanes, tangents: Tangents) -> Array:
        """Return the tangent of the products."""
        if self._shared:
            tangents = {
                name: dot if name == "values" else dot[self.source_lane]
                for name, dot in tangents.items()
            }
        return super().short_jvp(short, tangents)

    def short_vjp(self, short: ShortLanes, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, of shared keys their sums."""
        bars = super().short_vjp(short, bar, wrt)
        if not self._shared:
            return bars
        with self.kernels.quiet():
            for name in bars.keys() - {"values"}:
                bars[name] = self.kernels.sum_lanes(bars[name], self.source_lane, self._shared)
        return bars
