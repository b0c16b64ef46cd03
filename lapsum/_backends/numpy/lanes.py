"""Conversions between NumPy arrays and lanes, and what is done with any lanes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np

from ... import _kernels
from .. import formulas
from ..protocol import LinearProducts
from ..types import Array, DType, Entries, Flags, Floats, Indices, Namespace, Points
from . import memory
from .loops import FLOAT32, FLOAT64
from .threads import Threads


class Lanes(Threads):
    """The kernels of `protocol.Lanes`."""

    xp = cast(Namespace, np)
    array_type: type = np.ndarray
    on_host = True
    pairs_at_once = 2**16  # what they need stays in the cache

    def quiet(self) -> AbstractContextManager[object]:
        """Return a context in which NumPy neither warns nor raises for floating-point events."""
        return np.errstate(all="ignore")

    def holds(self, value: object) -> bool:
        """Return whether `value` is a NumPy array."""
        return isinstance(value, np.ndarray)

    def identity(self, lanes: int) -> Indices:
        """Return the source lane of lanes that are their own sources."""
        return np.arange(lanes, dtype=np.intp)

    def numbers(self, scalars: Mapping[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Floats]:
        """Return arrays, one number each or one for every lane, in the shapes given with them."""
        lanes: dict[str, Floats] = {}
        for name, (array, shape) in scalars.items():
            if array.dtype is FLOAT64 and shape == (1,):
                lanes[name] = array.reshape(1)
            elif array.ndim:
                lanes[name] = self.contiguous(array.reshape(shape))
            else:
                lanes[name] = out = np.empty(shape)
                out.fill(array.item())
        return lanes

    def contiguous(self, a: Array) -> Floats:
        """Return `a` as C-contiguous float64, the same object where it is that already."""
        if a.dtype is FLOAT64 and a.flags.c_contiguous:
            return a
        return np.ascontiguousarray(a, np.float64)

    def entries(self, a: Array) -> Entries:
        """Return the same of an array whose reader takes float32 as it is."""
        if a.dtype is FLOAT64 and a.flags.c_contiguous:
            return a
        single = a.dtype == FLOAT32
        return np.ascontiguousarray(a, np.float32) if single else self.contiguous(a)

    def own(self, a: Any) -> Any:
        """Return a copy of `a`, of the same dtype and in C order."""
        return a.copy(order="C")

    def finish(self, a: Array, dtype: DType) -> Any:
        """Return `a` rounded once to `dtype`; 0-d results are scalars."""
        if a.dtype != dtype:
            with self.quiet():
                a = a.astype(dtype)
        return a if a.shape else a[()]

    def freeze(self, a: Any) -> Any:
        """Return `a`, which nobody else holds, as a view that cannot be made writeable again."""
        if not isinstance(a, np.ndarray):
            return a
        a.setflags(write=False)
        if a.base is None:
            return a.view()
        owner: Any = a.base
        while isinstance(owner, np.ndarray):
            owner.setflags(write=False)
            owner = owner.base
        return a

    def linear_operator(self, products: LinearProducts) -> Any:
        """Return a LinearOperator of scipy."""
        from .linear_operator import ProductsOperator

        return ProductsOperator(products)

    def times(self, a: Floats, b: Floats) -> Floats:
        """Return a * b, where nothing times an infinity is nothing."""
        return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)

    def step(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for finite numbers, which broadcast; their difference may overflow."""
        out = (x - origin) / alpha
        return formulas.step(self.xp, origin, x, alpha) if np.isinf(out).any() else out

    def apart(self, points: Points, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for points b and finite sources x, which broadcast."""
        lo, hi, u = points
        t = self.step(x, lo, alpha)
        if hi is None or u is None:
            return t
        t = t + u
        middle = lo != hi
        if middle.any():
            t = np.where(middle, formulas.step_to_middle(self.xp, x, lo, hi, alpha) + u, t)
        if np.isinf(u).any():
            t = np.where(np.isinf(u), u, t)
        return t

    def maybe_any(self, flags: Flags) -> bool:
        """Return whether any flag is set."""
        return bool(flags.any())

    def surely_within(self, values: Array, bound: float) -> bool:
        """Return whether all values are smaller in size than `bound`, and none NaN."""
        return not values.size or bool(values.max() < bound and values.min() > -bound)

    def sum_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Add up the lanes of `values` that share a source lane."""
        if values.shape[0] == lanes and np.array_equal(source_lane, self.identity(lanes)):
            return values
        out = np.zeros((lanes, *values.shape[1:]))
        np.add.at(out, source_lane, values)
        return out

    def min_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Return the smallest of the values that share a source lane."""
        out = np.full(lanes, np.inf)
        np.minimum.at(out, source_lane, values)
        return out

    def rescale(self, totals: Floats, *arrays: Floats) -> tuple[Floats, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one."""
        extreme = (totals > 0.0) & ((totals < 2.0**-960) | (totals > 2.0**1000))
        if not extreme.any():
            return arrays
        exponent = np.where(extreme, -np.frexp(totals)[1], 0)
        with self.quiet():
            return tuple(
                np.ldexp(a, exponent.reshape(exponent.shape + (1,) * (a.ndim - exponent.ndim)))
                for a in arrays
            )

    def levels(self, q: Floats, totals: Floats | None, n: int) -> Floats:
        """Return the levels q of the totals; None for these is n."""
        return q * (n if totals is None else totals[:, None])

    def allowed_levels(
        self, levels: Floats, totals: Floats | None, n: int, allowance: float
    ) -> Floats:
        """Return levels, which have been checked."""
        return levels

    def places(self, rising: Floats, values: Floats, source_lane: Indices) -> Indices:
        """Return how many numbers of its ascending lane each value exceeds."""
        out = np.empty(values.shape, np.intp)
        for lane, source in enumerate(source_lane):
            out[lane] = np.searchsorted(rising[source], values[lane])
        return out

    def running_largest(self, values: Floats) -> Floats:
        """Return the largest value so far of each lane."""
        return np.maximum.accumulate(values, axis=-1) if values.size else values

    def _block(self, arrays: int, shape: tuple[int, int]) -> Floats:
        """Return several arrays in one: many large ones cost more in page faults than they hold."""
        return memory.empty((arrays, *shape))


def check_levels(
    levels: Floats, totals: Floats | None, n: int, allowance: float
) -> tuple[Floats, int]:
    """Return levels, infinite from the total on, and the first that is not in [0, total].

    The latter is -1 if there is none; None for the totals is n.  Above the total, `allowance` of it
    is allowed.
    """
    out = np.empty(len(levels))
    return out, _kernels.check_levels(levels, totals, n, allowance, out)
