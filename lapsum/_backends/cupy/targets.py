"""Sums of sources at targets, and at the sources themselves: ranks."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .launch import Array, elementwise, or_nothing
from .order import Order
from .scans import Scans

LOCATE = elementwise(
    "locate",
    "raw float64 x, raw int64 count, raw float64 alpha, float64 lo, float64 hi, float64 u, "
    "raw int64 key, int64 length, int64 steps, bool plain",
    "int64 index",
    """
    const ptrdiff_t lane = key[i / steps], start = lane * length;
    ptrdiff_t low = 0, high = isnan(lo) || (!plain && isnan(u)) ? 0 : count[lane];
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        const double source = x[start + middle];
        if (plain ? source <= lo : lap_offset(lo, hi, u, source, alpha[lane]) >= 0.0)
            low = middle + 1;
        else
            high = middle;
    }
    index = low;
    """,
)

DISTANCES = elementwise(
    "distances",
    "raw float64 x, raw int64 count, raw float64 alpha, float64 lo, float64 hi, float64 u, "
    "raw int64 key, int64 index, int64 length, int64 steps, bool plain",
    "float64 left, float64 right",
    """
    const ptrdiff_t lane = key[i / steps], at = lane * length + index;
    left = right = isnan(lo) || (!plain && isnan(u)) ? NAN : INFINITY;
    if (!isnan(left) && index > 0)
        left = plain ? lap_step(x[at - 1], lo, alpha[lane])
                     : lap_offset(lo, hi, u, x[at - 1], alpha[lane]);
    if (!isnan(right) && index < count[lane])
        right = plain ? lap_step(lo, x[at], alpha[lane])
                      : -lap_offset(lo, hi, u, x[at], alpha[lane]);
    """,
)

LEVEL = elementwise(
    "level",
    "raw float64 x, raw int64 count, raw float64 alpha, raw float64 A, raw float64 B, "
    "raw float64 high, raw float64 low, float64 target, raw int64 key, int64 index, "
    "int64 length, int64 steps, bool unit",
    "float64 out",
    """
    const ptrdiff_t lane = key[i / steps], at = lane * length + index;
    double tails = 0.0;
    if (index > 0)
        tails -= 0.5 * exp(-lap_step(x[at - 1], target, alpha[lane])) * A[at - 1];
    if (index < count[lane])
        tails += 0.5 * exp(-lap_step(target, x[at], alpha[lane])) * B[at];
    if (isnan(target))
        out = NAN;
    else if (unit || index == 0)
        out = index + tails;
    else
        out = high[at - 1] + (low[at - 1] + tails);
    """,
)

GATHER = elementwise(
    "gather",
    "raw float64 left, raw float64 right, raw int64 key, raw int64 left_at, raw int64 right_at, "
    "raw float64 left_by, raw float64 right_by, raw int64 lane, int64 length, int64 steps",
    "float64 out",
    """
    const ptrdiff_t start = key[i / steps] * length, at = lane[i / steps] * steps + i % steps;
    out = 0.0;
    if (left_at[at] >= 0 && left_at[at] < length && left_by[at] != 0.0)
        out += left_by[at] * left[start + left_at[at]];
    if (right_at[at] >= 0 && right_at[at] < length && right_by[at] != 0.0)
        out += right_by[at] * right[start + right_at[at]];
    """,
)

# The transpose of `gather` adds up what reaches one node in a fixed order: by node, then by target.
SHARES_OF_NODES = elementwise(
    "shares_of_nodes",
    "raw float64 values, raw int64 left_at, raw int64 right_at, raw float64 left_by, "
    "raw float64 right_by, raw int64 lane, raw int64 key, int64 length, int64 steps, int64 nodes",
    "int64 node, float64 share",
    """
    const ptrdiff_t size = _ind.size() / 2, side = i / size, target = i % size;
    const ptrdiff_t at = lane[target / steps] * steps + target % steps;
    const ptrdiff_t m = side == 0 ? left_at[at] : right_at[at];
    const double by = side == 0 ? left_by[at] : right_by[at];
    const ptrdiff_t first = side * (nodes + 1);
    node = first + nodes; // none
    share = 0.0;
    if (m >= 0 && m < length && by != 0.0 && values[target] != 0.0) {
        node = first + key[target / steps] * length + m;
        share = by * values[target];
    }
    """,
)

RANKS = elementwise(
    "ranks",
    "raw float64 x, int64 at, raw int64 count, raw bool invalid, raw float64 alpha, "
    "raw float64 weights, raw float64 high, raw float64 low, raw float64 left, raw float64 right, "
    "int64 length, bool weighted",
    "raw T out",
    """
    const ptrdiff_t lane = i / length, start = lane * length, present = count[lane];
    const double z = x[i];
    double rank = NAN;
    if (i - start < present) {
        // Equal entries have the rank of the first of them.
        const ptrdiff_t m = lap_first(x, start, i - start), f = start + m;
        rank = weighted ? high[f] + (low[f] + 0.5 * (((right[f] - weights[f]) - left[f]) + 1.0))
                        : (m + 1) + 0.5 * (right[f] - left[f]);
    } else if (!invalid[lane] && !isnan(z)) {
        // Absent ones are ranked among the others.
        const ptrdiff_t m = lap_up_to(x, start, present, z), f = start + m;
        const double before = m == 0 ? 0.0
            : left[f - 1] * exp(-lap_step(x[f - 1], z, alpha[lane]));
        const double after = m == present ? 0.0
            : right[f] * exp(-lap_step(z, x[f], alpha[lane]));
        rank = 0.5 * ((after - before) + 1.0);
        if (m > 0)
            rank = high[f - 1] + (low[f - 1] + rank);
    }
    out[start + at] = (T)rank;
    """,
)

# The cotangent of ranks: in differences of it nothing cancels, nor in what of them passes each gap,
# which is what alpha feels.
STEPS_OF_RANKS = elementwise(
    "steps_of_ranks",
    "raw float64 gap, raw float64 bar, raw float64 A, raw float64 B, int64 size, int64 length",
    "float64 value",
    """
    const ptrdiff_t at = i % size, m = at % length, right = i / size;
    value = 0.0;
    if (right ? m + 1 < length : m > 0) {
        const double factor = lap_decay_value(lap_decay(gap[at + right]));
        if (factor != 0.0)
            value = factor
                * ((bar[at + right] - bar[at + right - 1]) * (right ? B[at + 1] : A[at - 1]));
    }
    """,
)

PULL_RANKS = elementwise(
    "pull_ranks",
    "raw float64 x, raw float64 gap, int64 at, raw float64 bar, raw float64 A, raw float64 B, "
    "raw float64 before, raw float64 after, raw float64 alpha, float64 sign, int64 length",
    "raw float64 x_bar, float64 flux",
    """
    const ptrdiff_t lane = i / length;
    const double factor = i % length > 0 ? lap_decay_value(lap_decay(gap[i])) : 0.0;
    x_bar[lane * length + at] =
        isinf(x[i]) ? 0.0 : 0.5 * sign * (before[i] - after[i]) / alpha[lane];
    flux = 0.0;
    if (factor != 0.0)
        flux = gap[i] * factor
            * (A[i - 1] * after[i] + ((bar[i] - bar[i - 1]) * A[i - 1] + before[i - 1]) * B[i]);
    """,
)


class Targets(Scans, Order):
    """What is read between sorted sources, and what that gives back to them."""

    def locate(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        lo: Array,
        hi: Array | None,
        u: Array | None,
        key: Array,
    ) -> Array:
        """How many sources are <= each target (lo + hi)/2 + alpha u, or `lo`; 0 if it is NaN."""
        index = cupy.empty(lo.shape, np.int64)
        plain = u is None
        ends = (lo, lo, lo) if plain else (lo, hi, u)
        LOCATE(x, count, alpha, *ends, key, x.shape[1], lo.shape[1], plain, index)
        return index

    def distances(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        lo: Array,
        hi: Array | None,
        u: Array | None,
        key: Array,
        index: Array,
    ) -> tuple[Array, Array]:
        """Distances over alpha of such targets to the sources left and right of them."""
        left, right = cupy.empty((2, *lo.shape))
        plain = u is None
        ends = (lo, lo, lo) if plain else (lo, hi, u)
        sizes = x.shape[1], lo.shape[1]
        DISTANCES(x, count, alpha, *ends, key, index, *sizes, plain, left, right)
        return left, right

    def level(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        left: Array,
        right: Array,
        pairs: tuple[Array, Array] | None,
        targets: Array,
        key: Array,
        index: Array,
    ) -> Array:
        """S at targets, NaN where they are, from the scans of the weights and how these add up."""
        out = cupy.empty(targets.shape)
        lanes = x, count, alpha, left, right, *((left, right) if pairs is None else pairs)
        sizes = x.shape[1], targets.shape[1]
        LEVEL(*lanes, targets, key, index, *sizes, pairs is None, out)
        return out

    def gather(
        self,
        nodes: tuple[Array, Array],
        key: Array,
        at: tuple[Array, Array],
        by: tuple[Array, Array],
        lane: Array,
    ) -> Array:
        """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target."""
        steps = at[0].shape[1]
        out = cupy.empty((len(key), steps))
        GATHER(*nodes, key, *at, *by, lane, nodes[0].shape[1], steps, out)
        return out

    def scatter(
        self,
        values: Array,
        at: tuple[Array, Array],
        by: tuple[Array, Array],
        lane: Array,
        key: Array,
        shape: tuple[int, int],
    ) -> tuple[Array, Array]:
        """Apply the transpose of `gather`."""
        lanes, n = shape
        share = cupy.empty(2 * values.size)
        node = cupy.empty(share.shape, np.int64)
        steps = values.shape[1]
        # The nodes of one lane after those of another, and one more for what reaches none; then
        # the same for those on the right.
        SHARES_OF_NODES(values, *at, *by, lane, key, n, steps, lanes * n, node, share)
        order = cupy.argsort(node)
        runs = node[order][None], share[order][None], self.identity(1)
        sums = self._sums_of_runs(*runs, 2 * (lanes * n + 1)).reshape(2, lanes * n + 1)
        left, right = sums[:, :-1]
        return left.reshape(shape), right.reshape(shape)

    def ranks(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        invalid: Array,
        alpha: Array,
        weights: Array | None,
        pairs: tuple[Array, Array] | None,
        left: Array,
        right: Array,
        dtype: Any,
    ) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN if invalid."""
        out = cupy.empty(gap.shape, dtype)
        sums = *(pairs or (left, left)), left, right
        inputs = x, order, count, invalid, alpha, or_nothing(weights), *sums
        RANKS(*inputs, gap.shape[1], weights is not None, out)
        return out

    def pull_ranks(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        scans: tuple[Array, Array],
        alpha: Array,
        sign: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x and alpha for `bar`, finite, that of the ranks of lanes without weights.

        Both are in the caller's order, and the ranks are those of sources sign x.
        """
        n = x.shape[1]
        bar = self.sort(bar, order)
        steps = cupy.empty((2, *x.shape))
        STEPS_OF_RANKS(gap, bar, *scans, x.size, n, steps)
        before, after = self._scan(gap, steps, None, None, both=True, apart=True)[0]
        x_bar, flux = cupy.empty((2, *x.shape))
        inputs = x, gap, order, bar, *scans, before, after, alpha
        PULL_RANKS(*inputs, sign, n, x_bar, flux)
        return x_bar, -0.5 * self._sum(flux) / alpha
