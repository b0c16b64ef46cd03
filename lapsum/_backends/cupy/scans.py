"""What passes along lanes: scans, sums, running maxima, and sums of runs of equal keys.

Scans go through `Scans._scan`: threads walk along chunks, the same is done with the sums of the
chunks, and the chunks are walked again with what came before them.
"""

from __future__ import annotations

from math import prod
from typing import Any

import cupy
import numpy as np

from ..types import Array, Floats, Indices, Pair
from .lanes import Lanes
from .launch import blocks_of, elementwise, or_nothing, raw, text_of

CHUNK = 32  # elements that one thread of a scan walks along

# What both passes of a scan share: the lane and direction of a thread, and its chunk of elements.
_WALK = """
    const ptrdiff_t row = i / chunks, lane = row % lanes, start = i % chunks * chunk;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    const bool reverse = backward || row >= lanes;
    for (ptrdiff_t j = start; j < stop; ++j) {
        const ptrdiff_t m = reverse ? length - 1 - j : j;
        const double value = unit ? 1.0 : high[(apart ? row : lane) * length + m];
        const double rest = pairs ? low[lane * length + m] : 0.0;
        double step = 0.0;
        if (j == 0)
            step = INFINITY;
        else if (!plain)
            step = gap[(own ? lane : source_lane[lane]) * length + (reverse ? m + 1 : m)];
"""

_SCAN_INPUTS = (
    "raw float64 gap, raw float64 high, raw float64 low, raw int64 source_lane, int64 lanes, "
    "int64 length, int64 chunks, int64 chunk, bool unit, bool pairs, bool plain, "
    "bool own, bool backward, bool apart"
)

SCAN_UP = elementwise(
    "scan_up",
    _SCAN_INPUTS,
    "float64 total, float64 total_low, float64 span",
    "double sum = 0.0, sum_low = 0.0, far = 0.0, far_low = 0.0;"
    + _WALK
    + """
        lap_carry(value, rest, j == start ? INFINITY : step, sum, sum_low);
        lap_add(step, &far, &far_low);
    }
    total = sum;
    total_low = sum_low;
    span = far + far_low;
    """,
)

SCAN_DOWN = elementwise(
    "scan_down",
    _SCAN_INPUTS + ", raw float64 before, raw float64 before_low, bool keep_low",
    "raw float64 out, raw float64 out_low",
    "double sum = 0.0, sum_low = 0.0;"
    "if (i % chunks > 0) { sum = before[i - 1]; sum_low = before_low[i - 1]; }"
    + _WALK
    + """
        lap_carry(value, rest, step, sum, sum_low);
        out[row * length + m] = keep_low ? sum : sum + sum_low;
        if (keep_low)
            out_low[row * length + m] = sum_low;
    }
    """,
)

MOMENTS = elementwise(
    "moments",
    "raw float64 gap, raw float64 step, raw float64 base, raw int64 source_lane, int64 length, "
    "bool reverse",
    "float64 value",
    """
    const ptrdiff_t m = i % length, near = reverse ? m + 1 : m, other = reverse ? i + 1 : i - 1;
    value = 0.0;
    if (reverse ? m + 1 < length : m > 0) {
        const ptrdiff_t at = source_lane[i / length] * length + near;
        const double factor = lap_decay_value(lap_decay(gap[at]));
        if (factor != 0.0)
            value = factor * step[at] * base[other];
    }
    """,
)

# A reduction kernel gives a lane to one block, however long it is.
SUMS = raw("lap_sums", text_of("sums.cuh"))

BREAKS = elementwise(
    "breaks",
    "raw int64 node, raw int64 source_lane, int64 length",
    "float64 gap",
    """
    const ptrdiff_t at = source_lane[i / length] * length + i % length;
    gap = i % length > 0 && node[at - 1] == node[at] ? 0.0 : INFINITY;
    """,
)

LAST_OF_NODE = elementwise(
    "last_of_node",
    "raw int64 node, raw float64 sums, raw int64 source_lane, int64 length, int64 nodes",
    "float64 out",
    """
    // The running sum where the node's entries end, if it has any.
    const ptrdiff_t lane = i / nodes, start = source_lane[lane] * length;
    const ptrdiff_t end = lap_up_to(node, start, length, i % nodes);
    out = end > 0 && node[start + end - 1] == i % nodes ? sums[lane * length + end - 1] : 0.0;
    """,
)

LEAST_OF_LANES = elementwise(
    "least_of_lanes",
    "raw float64 values, raw int64 order, raw int64 source_lane, int64 lanes",
    "float64 out",
    """
    const ptrdiff_t stop = lap_up_to(source_lane, 0, lanes, i);
    out = INFINITY;
    for (ptrdiff_t m = lap_up_to(source_lane, 0, lanes, i - 1); m < stop; ++m)
        if (values[order[m]] < out)
            out = values[order[m]];
    """,
)

LARGEST_UP = elementwise(
    "largest_up",
    "raw float64 values, int64 length, int64 chunks, int64 chunk",
    "float64 largest",
    """
    const ptrdiff_t start = i % chunks * chunk, lane = i / chunks * length;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    largest = values[lane + start];
    for (ptrdiff_t m = start + 1; m < stop; ++m)
        if (!(values[lane + m] < largest))
            largest = values[lane + m];
    """,
)

LARGEST_DOWN = elementwise(
    "largest_down",
    "raw float64 values, raw float64 before, int64 length, int64 chunks, int64 chunk",
    "raw T out",
    """
    const ptrdiff_t start = i % chunks * chunk, lane = i / chunks * length;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    double largest = i % chunks > 0 ? before[i - 1] : values[lane + start];
    for (ptrdiff_t m = start; m < stop; ++m) {
        if (!(values[lane + m] < largest))
            largest = values[lane + m];
        out[lane + m] = (T)largest;
    }
    """,
)


PLACES = elementwise(
    "places",
    "raw float64 rising, float64 value, raw int64 source_lane, int64 length, int64 steps",
    "int64 place",
    """
    const ptrdiff_t start = source_lane[i / steps] * length;
    ptrdiff_t low = 0, high = length;
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        if (rising[start + middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    place = low;
    """,
)


class Scans(Lanes):
    """The kernels of `protocol.Scans`, in an order of additions that is fixed."""

    def decays(self, gap: Floats) -> Floats:
        """Return the gaps, which is what `scan` takes here."""
        return gap

    def scan(
        self, decay: Floats | None, values: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; without decay running sums."""
        sums, _ = self._scan(decay, values, None, source_lane, backward=reverse)
        out: Floats = sums[0]
        return out

    def scan_both(
        self,
        gap: Floats,
        values: Floats | None,
        source_lane: Indices | None,
        out: Pair | None = None,
    ) -> Pair:
        """Return the scan of values, None for ones, and its mirror, in memory of their own."""
        left, right = self._scan(gap, values, None, source_lane, both=True)[0]
        return left, right

    def cumulate(self, values: Floats) -> Pair:
        """Return running sums as unevaluated pairs."""
        (high,), (low,) = self._scan(None, values, None, None, keep_low=True)
        return high, low

    def moments(
        self, decay: Floats, step: Floats, base: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m."""
        values = cupy.empty(base.shape)
        MOMENTS(decay, step, base, source_lane, base.shape[1], reverse, values)
        return self.scan(decay, values, source_lane, reverse)

    def _scan(
        self,
        gap: Floats | None,
        high: Floats | None,
        low: Floats | None,
        source_lane: Indices | None,
        both: bool = False,
        backward: bool = False,
        apart: bool = False,
        keep_low: bool = False,
    ) -> Pair:
        """Return scans of high + low as (1 or 2, lanes, n), the low parts beside if kept.

        With `both`, forwards and backwards; of two arrays one after the other if `apart`.  Without
        `high` of ones; without `source_lane` each lane has its own gaps.
        """
        own: Any = high if gap is None else gap
        lanes, n = len(own if source_lane is None else source_lane), own.shape[-1]
        chunks = -(-n // CHUNK)
        keys = cupy.empty(1, np.int64) if source_lane is None else source_lane
        arrays = or_nothing(gap), or_nothing(high), or_nothing(low), keys
        inputs = *arrays, lanes, n, chunks, CHUNK
        flags = high is None, low is not None, gap is None, source_lane is None, backward, apart
        before = before_low = or_nothing(None)
        if chunks > 1:
            # The sum of each chunk as a pair, and the gap from the last of the one before.
            total, total_low, span = cupy.empty((3, lanes * (1 + both), chunks))
            SCAN_UP(*inputs, *flags, total, total_low, span)
            before, before_low = self._scan(span, total, total_low, None, keep_low=True)
        out = cupy.empty((1 + both, lanes, n))
        out_low = cupy.empty(out.shape if keep_low else 1)
        ends = before, before_low, keep_low, out, out_low
        SCAN_DOWN(*inputs, *flags, *ends, size=(1 + both) * lanes * chunks)
        return out, out_low

    def totals(self, values: Floats) -> Floats:
        """Return sums of weights, rounded once from twice the precision.

        Of a lane with a weight that is negative, infinite or NaN the sum is NaN.
        """
        return self._sum(values, weights=True)

    def _sum(self, values: Floats, weights: bool = False) -> Floats:
        """Return the sum of each lane, rounded once from twice the precision."""
        lanes, n = values.shape
        blocks = blocks_of(lanes, n)
        total, low = self._sum_parts(values, None, blocks, weights)
        if blocks > 1:
            total, low = self._sum_parts(total, low, 1, weights)
        return total[:, 0]

    @staticmethod
    def _sum_parts(
        high: Floats, low: Floats | None, blocks: int, weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Return what each of some blocks sums up of a lane, as a pair; of one block, rounded."""
        lanes, n = high.shape
        total, last = cupy.empty((lanes, blocks)), blocks == 1
        rest = None if last else cupy.empty(total.shape)
        threads = next((t for t in (32, 64, 128) if n <= t), 256)
        flags = np.int32(low is not None), np.int32(last), np.int32(weights)
        inputs = high, or_nothing(low), np.int64(n), np.int32(blocks), *flags
        if lanes:
            SUMS((total.size,), (threads,), (*inputs, total, or_nothing(rest)))
        return total, rest

    @staticmethod
    def _breaks(node: Indices, source_lane: Indices, shape: tuple[int, ...]) -> Floats:
        """Return gaps for scans that begin again where a run of equal nodes does."""
        gap: Floats = cupy.empty(shape)
        BREAKS(node, source_lane, shape[1], gap)
        return gap

    def _sums_of_runs(
        self, node: Indices, share: Floats, source_lane: Indices, nodes: int
    ) -> Floats:
        """Return, for each node, the sum of the shares beside it in ascending lanes of nodes."""
        lanes, n = share.shape
        out: Floats = cupy.zeros((lanes, nodes))
        if not share.size or not out.size:
            return out
        breaks = self._breaks(node, source_lane, share.shape)
        sums = self._scan(breaks, share, None, None)[0][0]
        LAST_OF_NODE(node, sums, source_lane, n, nodes, out)
        return out

    def sum_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Add up the lanes of `values` that share a source lane."""
        if len(values) == lanes:  # then each lane has a source lane of its own
            return values
        order = cupy.argsort(source_lane)
        flat = values.reshape(len(source_lane), prod(values.shape[1:]))
        columns = self.contiguous(flat[order].T)
        none = cupy.zeros(len(columns), np.int64)
        sums = self._sums_of_runs(source_lane[order][None], columns, none, lanes)
        return self.contiguous(sums.T).reshape(lanes, *values.shape[1:])

    def min_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Return the smallest of the values that share a source lane."""
        if len(values) == lanes:
            return values
        out: Floats = cupy.empty(lanes)
        order = cupy.argsort(source_lane)
        LEAST_OF_LANES(self.contiguous(values), order, source_lane[order], len(source_lane), out)
        return out

    def places(self, rising: Floats, values: Floats, source_lane: Indices) -> Indices:
        """Return how many numbers of its ascending lane each value exceeds."""
        out: Indices = cupy.empty(values.shape, np.int64)
        PLACES(rising, values, source_lane, rising.shape[1], values.shape[1], out)
        return out

    def running_largest(self, values: Floats) -> Floats:
        """Return the largest value up to each one."""
        largest: Floats = self._running_largest(values)
        return largest

    def _running_largest(self, values: Floats, dtype: Any = np.float64) -> Array:
        """Return the largest value up to each one, rounded to `dtype`."""
        lanes, n = values.shape
        out: Array = cupy.empty(values.shape, dtype)
        chunks = -(-n // CHUNK)
        before = or_nothing(None)
        if chunks > 1:
            largest = cupy.empty((lanes, chunks))
            LARGEST_UP(values, n, chunks, CHUNK, largest)
            before = self._running_largest(largest)
        LARGEST_DOWN(values, before, n, chunks, CHUNK, out, size=lanes * chunks)
        return out
