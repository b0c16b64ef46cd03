"""Rules whose short lanes go to kernels for whole operators, several lanes at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from .._backends.protocol import ShortLanes
from .._backends.types import Array, Flags
from .fused import FusedRule
from .layout import with_nan
from .rule import Tangents

Some = TypeVar("Some", bound="ShortRule")


class ShortRule(FusedRule):
    """A rule whose backend may have such kernels; what these leave goes the way of long lanes.

    Attributes
    ----------
    short : ShortLanes or None
        The call of all lanes, if derivatives follow.
    others : ShortRule or None
        The call of the lanes that those kernels left.
    """

    short: ShortLanes | None = None
    others: ShortRule | None = None
    nan_lanes: Flags | None

    @abstractmethod
    def short_lanes(self, keep: bool, out: Array | None) -> ShortLanes | None:
        """Return the results by kernels for short lanes, None if there are no such."""

    @abstractmethod
    def some_lanes(self: Some, which: Flags) -> Some:
        """Return the same call of some of the lanes, by kernels for lanes of any length."""

    def quiet_value(self, out: Array | None = None) -> Array:
        """Return the results, by kernels for short lanes where there are such."""
        short = self.short_lanes(keep=False, out=out)
        return super().quiet_value(out) if short is None else self._joined(short)

    def quiet_linearize(self) -> Array:
        """Return the same, and keep what derivatives need."""
        self.short = short = self.short_lanes(keep=True, out=None)
        if short is None:
            return super().quiet_linearize()
        kept = short.lanes
        self.lanes = {
            name: kept[name] if name in kept else self.kernels.own(lanes)
            for name, lanes in self.lanes.items()
        }
        if short.nan is None and short.left is None:
            return short.values
        return self._joined(short)

    def _joined(self, short: ShortLanes) -> Array:
        """Return the results of kernels for short lanes; what these leave goes the other way."""
        if short.nan is not None:
            self.nan_lanes = short.nan
            short.values[short.nan] = self.kernels.xp.nan
        if short.left is not None:
            self.others = others = self.some_lanes(short.left)
            with self.kernels.quiet():
                values = others.value() if self.short is None else others.linearize()
                short.values[short.left] = values
        return short.values

    def _left(self, short: ShortLanes, left: Flags) -> ShortRule:
        """Return the call of the lanes that a product leaves: those of the value, or more."""
        if self.others is not None and short.left is not None and (left == short.left).all():
            return self.others
        others = self.some_lanes(left)
        others.linearize()
        return others

    def short_jvp(self, short: ShortLanes, tangents: Tangents) -> Array:
        """Return the tangent of the result of short lanes."""
        tangent, left = short.jvp(tangents)
        if left is not None:
            dots = {name: dot[left] for name, dot in tangents.items()}
            with self.kernels.quiet():
                tangent[left] = self._left(short, left).long_jvp(dots)
        return with_nan(self.kernels, self.nan_lanes, tangent)

    def short_vjp(self, short: ShortLanes, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of short lanes."""
        bars, left = short.vjp(bar)
        if left is not None:
            with self.kernels.quiet():
                others, rest = self._left(short, left), self.kernels.contiguous(bar[left])
                for name, lanes in others.long_vjp(rest, wrt).items():
                    bars[name][left] = lanes
        if self.nan_lanes is None:
            return bars
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}

    def quiet_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent where nothing warns; what never does needs no context for that."""
        if self.short is None or self.short.may_warn:
            return super().quiet_jvp(tangents)
        return self.short_jvp(self.short, tangents)

    def quiet_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents where nothing warns, likewise."""
        if self.short is None or self.short.may_warn:
            return super().quiet_vjp(bar, wrt)
        return self.short_vjp(self.short, bar, wrt)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result: fused where that is right, else careful."""
        if self.short is not None:
            return self.short_jvp(self.short, tangents)
        return self.long_jvp(tangents)

    def long_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result of lanes of any length."""
        return super().jvp(tangents)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters: fused where that is right, else careful."""
        if self.short is not None:
            return self.short_vjp(self.short, bar, wrt)
        return self.long_vjp(bar, wrt)

    def long_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters of lanes of any length."""
        return super().vjp(bar, wrt)
