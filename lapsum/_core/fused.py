"""Derivatives by fused kernels where these are right, else the careful way.

Derivatives are written once for lanes of any kind, in `_laplace`.  A backend may have a fused
kernel for the lanes of most calls; here the two are joined, lane by lane, so that no lane's result
depends on the others.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from .._backends.protocol import Kernels
from .._backends.types import Array, Flags, Floats, all_in_lane
from .rule import LARGE, Rule, Tangents


class FusedTangent(NamedTuple):
    """The tangent that a fused kernel made: in which lanes it is right, and from what."""

    lanes: Flags
    tangent: Floats
    parameters: frozenset[str]


class FusedCotangents(NamedTuple):
    """The cotangents that fused kernels made, and in which lanes they are right."""

    lanes: Flags
    cotangents: dict[str, Array]


class FusedRule(Rule):
    """A rule whose backend may have fused kernels for its derivatives."""

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return what a fused kernel makes of some of the tangents, None for nothing."""
        return None

    @abstractmethod
    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent of the result, in lanes of any kind."""

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return what fused kernels make of a cotangent, None for nothing."""
        return None

    @abstractmethod
    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters in `wrt`, in lanes of any kind."""

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result: fused where that is right, else careful."""
        fused = self.fused_jvp(tangents)
        every = fused is not None and bool(fused.lanes.all())
        if fused is None or not (every or fused.lanes.any()):
            return self.careful_jvp(tangents)
        out = fused.tangent
        rest = {name: dot for name, dot in tangents.items() if name not in fused.parameters}
        if rest:
            out = self.careful_jvp(rest) + out
        return out if every else self._choose(fused.lanes, out, self.careful_jvp(tangents))

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters: fused where that is right, else careful."""
        fused = self.fused_vjp(bar, wrt)
        every = fused is not None and bool(fused.lanes.all())
        if fused is None or not (every or fused.lanes.any()):
            return self.careful_vjp(self.kernels.contiguous(bar), wrt)
        bars = fused.cotangents
        rest = wrt - bars.keys() if every else wrt
        if not rest:
            return bars
        careful = self.careful_vjp(self.kernels.contiguous(bar), rest)
        if every:
            return {**bars, **careful}
        return {
            name: self._choose(fused.lanes, bars[name], other) if name in bars else other
            for name, other in careful.items()
        }

    def _choose(self, lanes: Flags, these: Array, those: Array) -> Array:
        """Return `these` in some lanes, else `those`."""
        flags = lanes.reshape(-1, *(1,) * (those.ndim - 1))
        return self.kernels.xp.where(flags, these, those)


def moderate(kernels: Kernels, arrays: Iterable[Array]) -> Flags:
    """Return, (lanes,), where no value is so large that differences overflow, nor NaN."""
    flags: list[Flags] = []
    for values in arrays:
        if kernels.surely_within(values, LARGE):
            flags.append(kernels.xp.ones(len(values)) > 0.0)
            continue
        within: Flags = (values < LARGE) & (values > -LARGE)
        flags.append(within if within.ndim == 1 else all_in_lane(within))
    first, *others = flags
    for more in others:
        first = first & more
    return first
