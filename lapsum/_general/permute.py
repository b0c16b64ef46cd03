"""Products with soft permutations, for any density."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from .._backends.protocol import Kernels
from .._backends.types import Floats, Namespace, sum_in_lane
from .._core.permute_rule import PermuteRule
from .permutation import Permutation
from .rules import column, density_for
from .sums import Sources
from .thresholds import Thresholds

Flow = Callable[[slice, slice, slice], Floats]


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

    @cached_property
    def sources(self) -> Sources:
        """The sorted keys."""
        return Sources(self.kernels, self.density, self.lanes["x"], self.lanes["alpha"])

    @cached_property
    def product(self) -> Permutation:
        """The permutation."""
        return Permutation(self.sources)

    def _reverse(self, lanes: Floats) -> Floats:
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    def multiply(self, lanes: Floats, transpose: bool) -> Floats:
        """Return the product of the permutation, or of its transpose, with lanes."""
        return self.product.multiply_lanes(
            lanes, self.key, transpose=transpose, descending=self.descending
        )

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds of the keys, for every lane of values."""
        return self.product.b.for_lanes(self.key)

    def jvp_of_permutation(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation."""
        xp = self.xp
        s, product, key, b = self.sources, self.product, self.key, self.b
        if self.transpose:
            along, values = product.columns, _fall(self._reverse(self.finite_values))
            out = xp.zeros(self.values.shape)
        else:
            along, values = product.rows, s.to_order(self.finite_values, key)
            out = xp.zeros(b.left.shape)
        if x_dot is not None:
            out = out + along(b, values, product.motion(s.tangent(x_dot)))
        if alpha_dot is not None:
            out = out - along(b, values, product.at_x) * column((alpha_dot / s.alpha)[key])
        if self.transpose:
            return s.from_order(out, key)
        none = xp.zeros((len(out), 1))
        change = xp.diff(xp.concatenate([none, out, none], axis=1), axis=1)[:, : self.n]
        return self._reverse(change)

    def vjp_of_permutation(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        """Return the cotangents of keys and alpha."""
        s, product, key, b = self.sources, self.product, self.key, self.b
        values = s.to_order(entries, key)
        h = _fall(self._reverse(positions))
        lanes = s.shape[0]
        bars: dict[str, Floats] = {}
        if "x" in wrt:
            pulled = self.kernels.sum_lanes(product.pull(b, values, h), key, lanes)
            bars["x"] = s.cotangent(pulled / column(s.alpha))
        if "alpha" in wrt:
            along = -sum_in_lane(self.kernels.times(h, product.rows(b, values, product.at_x)))
            bars["alpha"] = self.kernels.sum_lanes(along, key, lanes) / s.alpha
        return bars


def _fall(positions: Floats) -> Floats:
    """Return u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
