"""Lanes in ascending order, and back.

Integers are sorted in place of entries: they put absent ones last and a NaN before these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cupy
import numpy as np

from ..types import Array, DType, Entries, Flags, Floats, Indices, Ordered
from .lanes import Lanes
from .launch import elementwise, or_nothing

# What a sort leaves to be written: with each entry the gap to the one before, and with the last
# that is present how many there are.  None are in lanes that are refused, or where that is a NaN.
_IN_ORDER = """
    const ptrdiff_t lane = i / length, m = i % length;
    const double scale = alpha[lane];
    const bool refused = lap_refused(scale, checking ? totals[lane] : 0.0);
    const bool present = lap_present(i);
    sorted = lap_entry(i);
    gap = m > 0 && present && !refused ? lap_step(lap_entry(i - 1), sorted, scale) : INFINITY;
    if (present ? m + 1 == length || !lap_present(i + 1) : m == 0) {
        const bool spoilt = refused || (present && isnan(sorted));
        nan_lanes[lane] = spoilt;
        count[lane] = present && !spoilt ? m + 1 : 0;
    }
"""

ARRANGE = elementwise(
    "arrange",
    "raw T x, raw float64 weights, raw int64 order, raw float64 alpha, raw float64 totals, "
    "int64 length, bool weighted, bool checking",
    "float64 sorted, float64 gap, raw float64 sorted_weights, raw int64 count, raw bool nan_lanes",
    """
    const auto lap_from = [&](ptrdiff_t at) { return at / length * length + order[at]; };
    const auto lap_entry = [&](ptrdiff_t at) { return (double)x[lap_from(at)]; };
    const auto lap_present =
        [&](ptrdiff_t at) { return !weighted || weights[lap_from(at)] != 0.0; };
    if (weighted)
        sorted_weights[i] = weights[lap_from(i)];
    """
    + _IN_ORDER,
)

NUMBERS = elementwise(
    "numbers",
    "raw K keys, raw float64 alpha, raw float64 totals, int64 length, bool checking",
    "float64 sorted, float64 gap, raw int64 count, raw bool nan_lanes",
    """
    const auto lap_entry = [&](ptrdiff_t at) { return lap_number(keys[at]); };
    const auto lap_present = [&](ptrdiff_t) { return true; };
    """
    + _IN_ORDER,
)

KEYS = elementwise(
    "keys",
    "T x, raw float64 weights, bool weighted",
    "K key",
    """
    // Absent entries come last.
    key = weighted && weights[i] == 0.0 ? ~(K(1) << (8 * sizeof(K) - 1)) : K(lap_ordered(x));
    """,
)

# Distances of large integers from the least of their lane, in integers, which add up to the same in
# any order; all are below 2**64.
GAPS = elementwise(
    "gaps_of_integers",
    "raw T x, int64 at, raw int64 order, raw float64 alpha, int64 length, float64 reach",
    "uint64 gap",
    """
    const ptrdiff_t lane = i / length, m = i % length;
    gap = 0;
    if (m > 0)
        gap = (unsigned long long)x[lane * length + at]
            - (unsigned long long)x[lane * length + order[i - 1]];
    const double most = floor(fmax(4503599627370496.0 / (double)length, reach * alpha[lane]));
    if ((double)gap > most)
        gap = (unsigned long long)most;
    """,
)

NEAR = elementwise(
    "near_integers",
    "uint64 distance, int64 at, raw int64 order, raw T x, int64 length",
    "raw float64 out",
    """
    const ptrdiff_t first = i / length * length;
    const T exact = (T)9007199254740992LL;
    const T least = x[first + order[first]], most = x[first + order[first + length - 1]];
    // Unsigned integers have no least one, and none is below zero.
    const bool large = most > exact || (T(-1) < T(0) && least < T(0) - exact);
    out[first + at] = large ? (double)distance : (double)x[first + at];
    """,
)

UNSORT = elementwise(
    "unsort",
    "T value, int64 at, int64 length",
    "raw T out",
    "out[i / length * length + at] = value;",
)


class Order(Lanes):
    """The kernels of `protocol.Order`."""

    def order(
        self,
        x: Entries,
        alpha: Floats,
        weights: Floats | None,
        totals: Floats | None,
        known: Indices | None = None,
    ) -> Ordered:
        """Order the entries, absent ones last.

        Lanes count none that a NaN of non-zero weight spoils, or whose alpha, or weights, of which
        `totals` are the sums, the host would refuse.
        """
        sorted_x, gap, left, right = cupy.empty((4, *x.shape))
        order = self._argsort(x, weights) if known is None else known
        flags = x.shape[1], weights is not None, totals is not None
        arranged = None if weights is None else cupy.empty(x.shape)
        present, nan_lanes = self._nothing_present(x.shape)
        inputs = x, or_nothing(weights), order, alpha, or_nothing(totals)
        ARRANGE(*inputs, *flags, sorted_x, gap, or_nothing(arranged), present, nan_lanes)
        return Ordered(sorted_x, gap, present, nan_lanes, order, arranged, (left, right))

    def near_integers(self, x: Array, alpha: Floats, reach: float) -> Floats:
        """Return floats with the same differences in lanes that hold integers beyond 2**53."""
        order, n = self._order_of(x), x.shape[1]
        gaps = cupy.empty(x.shape, np.uint64)
        GAPS(x, order, order, alpha, n, reach, gaps)
        out: Floats = cupy.empty(x.shape)
        NEAR(cupy.cumsum(gaps, axis=-1), order, order, x, n, out)
        return out

    def _argsort(self, x: Entries, weights: Floats | None) -> Indices:
        return self._order_of(self._keys(x, weights))

    @staticmethod
    def _order_of(keys: Array) -> Indices:
        # CuPy sorts integers of one lane much faster than what has two axes.
        order = cupy.argsort(keys.ravel() if len(keys) == 1 else keys, axis=-1)
        return cast(Indices, order.reshape(keys.shape))

    def arrays_of_order(self, order: Indices) -> tuple[Array, ...]:
        """Return an order as arrays that nobody else holds."""
        return (order.copy(),)

    def order_of_arrays(self, arrays: Sequence[Array]) -> Indices:
        """Undo `arrays_of_order`."""
        (order,) = arrays
        return order

    def forms_of_order(self, lanes: int, n: int) -> tuple[tuple[tuple[int, int], DType], ...]:
        """Return the shapes and dtypes of these arrays for lanes of n entries."""
        return (((lanes, n), np.dtype(np.int64)),)

    def ascending(self, x: Entries, alpha: Floats) -> Ordered:
        """Return the same without the order."""
        sorted_x, gap, left, right = cupy.empty((4, *x.shape))
        keys = self._keys(x, None)
        (keys.ravel() if len(x) == 1 else keys).sort(axis=-1)
        present, nan_lanes = self._nothing_present(x.shape)
        inputs = keys, alpha, or_nothing(None), x.shape[1], False
        NUMBERS(*inputs, sorted_x, gap, present, nan_lanes)
        return Ordered(sorted_x, gap, present, nan_lanes, None, None, (left, right))

    def arrange(self, targets: Floats, sources: int) -> tuple[Floats, None]:
        """Return targets, which stay as they are: a device finds them all at once."""
        return self.contiguous(targets), None

    def _keys(self, x: Entries, weights: Floats | None) -> Array:
        """Return integers in the order of the entries, absent ones last, a NaN just before."""
        keys: Array = cupy.empty(x.shape, np.int32 if x.dtype == np.float32 else np.int64)
        KEYS(x, or_nothing(weights), weights is not None, keys)
        return keys

    @staticmethod
    def _nothing_present(shape: tuple[int, ...]) -> tuple[Indices, Flags]:
        """Return counts and flags that sorted entries, if any, are to overwrite."""
        lanes, n = shape
        create = cupy.empty if n else cupy.zeros
        return create(lanes, np.int64), create(lanes, bool)

    def to_order(
        self, values: Floats, order: Indices, source_lane: Indices | None = None
    ) -> Floats:
        """Return every lane of `values` in the order of its lane, or of its source lane."""
        order = order if source_lane is None else order[source_lane]
        out: Floats = cupy.take_along_axis(values, order, axis=-1)
        return out

    def from_order(
        self,
        values: Floats,
        order: Indices,
        source_lane: Indices | None = None,
        dtype: DType | None = None,
    ) -> Floats:
        """Undo `to_order`; nothing is rounded."""
        order = order if source_lane is None else order[source_lane]
        out: Floats = cupy.empty(values.shape, values.dtype)
        UNSORT(values, order, values.shape[1], out)
        return out
