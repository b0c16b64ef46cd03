"""Lanes in ascending order, and back.

Integers are sorted in place of entries: they put absent ones last and a NaN before these.
"""

from __future__ import annotations

import cupy
import numpy as np

from .lanes import Lanes
from .launch import Array, elementwise, or_nothing

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
        invalid[lane] = spoilt;
        count[lane] = present && !spoilt ? m + 1 : 0;
    }
"""

ARRANGE = elementwise(
    "arrange",
    "raw T x, raw float64 weights, raw int64 order, raw float64 alpha, raw float64 totals, "
    "int64 length, bool weighted, bool checking",
    "float64 sorted, float64 gap, raw float64 sorted_weights, raw int64 count, raw bool invalid",
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
    "float64 sorted, float64 gap, raw int64 count, raw bool invalid",
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

UNSORT = elementwise(
    "unsort",
    "T value, int64 at, int64 length",
    "raw T out",
    "out[i / length * length + at] = value;",
)


class Order(Lanes):
    """What sorts lanes, and what goes into an order that is known, or out of it."""

    def order(
        self, x: Array, alpha: Array, weights: Array | None, totals: Array | None
    ) -> tuple[Array, Array, Array | None, Array, Array]:
        """Bring the entries, as `entries` returns them, into ascending order, absent ones last.

        Returns four arrays in one, of which the first two hold the sorted entries and the distances
        between them over alpha; the order; the weights in it; how many entries are present; and
        which lanes count none since a NaN of non-zero weight spoils them, or since the host would
        refuse their alpha or their weights, of which `totals` are the sums.
        """
        block = cupy.empty((4, *x.shape))
        keys = self._keys(x, weights)
        # CuPy sorts integers of one lane much faster than what has two axes.
        order = cupy.argsort(keys.ravel() if len(x) == 1 else keys, axis=-1).reshape(x.shape)
        flags = x.shape[1], weights is not None, totals is not None
        arranged = None if weights is None else cupy.empty(x.shape)
        present = self._nothing_present(x.shape)
        inputs = x, or_nothing(weights), order, alpha, or_nothing(totals)
        ARRANGE(*inputs, *flags, *block[:2], or_nothing(arranged), *present)
        return block, order, arranged, *present

    def ascending(self, x: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Do what `order` does, without the order."""
        block = cupy.empty((4, *x.shape))
        keys = self._keys(x, None)
        (keys.ravel() if len(x) == 1 else keys).sort(axis=-1)
        present = self._nothing_present(x.shape)
        inputs = keys, alpha, or_nothing(None), x.shape[1], False
        NUMBERS(*inputs, *block[:2], *present)
        return block, *present

    def arrange(self, targets: Array, sources: int) -> tuple[Array, None]:
        """Return targets, which stay as they are: a device finds them all at once."""
        return self.contiguous(targets), None

    def _keys(self, x: Array, weights: Array | None) -> Array:
        """Return integers in the order of the entries, absent ones last, a NaN just before."""
        keys = cupy.empty(x.shape, np.int32 if x.dtype == np.float32 else np.int64)
        KEYS(x, or_nothing(weights), weights is not None, keys)
        return keys

    @staticmethod
    def _nothing_present(shape: tuple[int, int]) -> tuple[Array, Array]:
        """Return counts and flags that sorted entries, if any, are to overwrite."""
        lanes, n = shape
        create = cupy.empty if n else cupy.zeros
        return create(lanes, np.int64), create(lanes, bool)

    def sort(self, values: Array, permutation: Array, key: Array | None = None) -> Array:
        """Return every lane of `values` in the order of its lane, or that of `key`, there."""
        permutation = permutation if key is None else permutation[key]
        return cupy.take_along_axis(values, permutation, axis=-1)

    def unsort(self, values: Array, permutation: Array, key: Array | None = None) -> Array:
        """Undo `sort`."""
        permutation = permutation if key is None else permutation[key]
        out = cupy.empty(values.shape, values.dtype)
        UNSORT(values, permutation, values.shape[1], out)
        return out
