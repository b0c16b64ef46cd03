"""Products with soft permutations, for any density."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

from .._backends.protocol import Kernels, ShortPermutation
from .._backends.types import Flags, Floats, Namespace, sum_in_lane
from .._core.layout import SortedLanes
from .._core.permute_rule import PermuteRule
from .permutation import Permutation
from .rules import column, density_for
from .sums import Sources
from .tables import kernel_of
from .thresholds import Thresholds


def product_of(kernels: Kernels, density: Any, x: Floats, alpha: Floats) -> Permutation:
    """Return the permutation of lanes x by a density that an argument asks for."""
    return Permutation(Sources(kernels, density_for(kernels, density), x, alpha))


class GeneralPermute(PermuteRule):
    """The rule of `soft_permute`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        values: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        transpose: bool = False,
        density: Any,
    ) -> None:
        super().__init__(
            workers, x, values, alpha, axis=axis, descending=descending, transpose=transpose
        )
        self.density = density_for(self.kernels, density)

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.kernels.xp

    # --------------------------------------------------- short lanes, and those that these leave

    @cached_property
    def short(self) -> ShortPermutation | None:
        """The permutation by kernels for short lanes, None where there are none."""
        even = kernel_of(self.density)
        if even is None:
            return None
        return self.kernels.short_permutation(even, self.lanes["x"], self.lanes["alpha"])

    @cached_property
    def rest(self) -> _Rest | None:
        """The lanes that these kernels leave, as a call of their own."""
        if self.short is None or self.short.left is None:
            return None
        keys: Flags = self.short.left
        which = keys[self.source_lane]
        rest = copy(self)
        for name in ("short", "rest", "sources", "values", "finite_values", "nan_lanes"):
            rest.__dict__.pop(name, None)
        rest.short = None
        rest.lanes = {
            name: lanes[which if name == "values" else keys] for name, lanes in self.lanes.items()
        }
        rest.source_lane = (keys.cumsum() - 1)[self.source_lane[which]]
        return _Rest(rest, which, keys)

    @cached_property
    def sources(self) -> SortedLanes:
        """The keys, sorted unless they are short."""
        return self.sorted if self.short is None else self.short

    def multiply(self, lanes: Floats, transpose: bool) -> Floats:
        """Return the product of the permutation, or of its transpose, with lanes."""
        if self.short is None:
            return self.product.multiply_lanes(
                lanes, self.source_lane, transpose=transpose, descending=self.descending
            )
        given = self._reverse(lanes) if transpose else lanes
        out = self.short.multiply(given, self.source_lane, transpose)
        out = out if transpose else self._reverse(out)
        if self.rest is not None:
            rest, which, _ = self.rest
            out = self._joined(out, rest.multiply(lanes[which], transpose), which)
        return out

    def jvp_of_permutation(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation."""
        if self.short is None:
            return self._careful_jvp(x_dot, alpha_dot)
        values, dots = self.finite_values, (x_dot, alpha_dot)
        if self.transpose:
            out = self.short.push(None, _fall(self._reverse(values)), self.source_lane, *dots)
        else:
            out = self._changes(self.short.push(values, None, self.source_lane, *dots))
        if self.rest is not None:
            rest, which, keys = self.rest
            some = (None if dot is None else dot[keys] for dot in dots)
            out = self._joined(out, rest._careful_jvp(*some), which)
        return out

    def vjp_of_permutation(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        """Return the cotangents of keys and alpha."""
        if self.short is None:
            return self._careful_vjp(entries, positions, wrt)
        lanes, sum_lanes = len(self.sources.x), self.kernels.sum_lanes
        rows, by_rows = self._reverse(positions), self.transpose
        values_bar, *pulled = self.short.pull(entries, rows, by_rows, self.source_lane)
        x_bar, alpha_bar = (sum_lanes(part, self.source_lane, lanes) for part in pulled)
        values_bar = self._reverse(values_bar) if by_rows else values_bar
        bars = {"x": x_bar, "alpha": alpha_bar, "values": values_bar}
        if self.rest is not None:
            rest, which, keys = self.rest
            for name, part in rest._careful_vjp(entries[which], positions[which], wrt).items():
                bars[name] = self._joined(bars[name], part, keys)
            bar = entries if by_rows else positions
            part = rest.multiply(bar[which], not self.transpose)
            bars["values"] = self._joined(values_bar, part, which)
        return {name: bars[name] for name in wrt & bars.keys()}

    @staticmethod
    def _joined(out: Floats, some: Floats, which: Flags) -> Floats:
        out[which] = some
        return out

    # ------------------------------------------------------------------------ lanes of any kind

    @cached_property
    def sorted(self) -> Sources:
        """The sorted keys."""
        return Sources(self.kernels, self.density, self.lanes["x"], self.lanes["alpha"])

    @cached_property
    def product(self) -> Permutation:
        """The permutation."""
        return Permutation(self.sorted)

    def _reverse(self, lanes: Floats) -> Floats:
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds of the keys, for every lane of values."""
        return self.product.b.for_lanes(self.source_lane)

    def _careful_jvp(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        s, product, source_lane, b = self.sorted, self.product, self.source_lane, self.b
        if self.transpose:
            along, values = product.columns, _fall(self._reverse(self.finite_values))
            out = self.xp.zeros(self.values.shape)
        else:
            along, values = product.rows, s.to_order(self.finite_values, source_lane)
            out = self.xp.zeros(b.left.shape)
        if x_dot is not None:
            out = out + along(b, values, product.motion(s.tangent(x_dot)))
        if alpha_dot is not None:
            out = out - along(b, values, product.at_x) * column((alpha_dot / s.alpha)[source_lane])
        return s.from_order(out, source_lane) if self.transpose else self._changes(out)

    def _changes(self, sums: Floats) -> Floats:
        """Return the rows, of which the sums at the thresholds are known."""
        none = self.xp.zeros((len(sums), 1))
        change = self.xp.diff(self.xp.concatenate([none, sums, none], axis=1), axis=1)
        return self._reverse(change[:, : self.n])

    def _careful_vjp(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        s, product, source_lane, b = self.sorted, self.product, self.source_lane, self.b
        values = s.to_order(entries, source_lane)
        h = _fall(self._reverse(positions))
        lanes = s.shape[0]
        bars: dict[str, Floats] = {}
        if "x" in wrt:
            pulled = self.kernels.sum_lanes(product.pull(b, values, h), source_lane, lanes)
            bars["x"] = s.cotangent(pulled / column(s.alpha))
        if "alpha" in wrt:
            along = -sum_in_lane(self.kernels.times(h, product.rows(b, values, product.at_x)))
            bars["alpha"] = self.kernels.sum_lanes(along, source_lane, lanes) / s.alpha
        return bars


class _Rest(NamedTuple):
    """Some lanes of a call, and which lanes of values and of keys they are."""

    rule: GeneralPermute
    which: Flags
    keys: Flags


def _fall(positions: Floats) -> Floats:
    """Return u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
