"""Sums of sources at targets, and at the sources themselves: ranks."""

from __future__ import annotations

import cupy
import numpy as np

from ..types import Array, DType, Floats, Indices, Pair, Points, SourceLanes
from .launch import elementwise, or_nothing
from .order import Order
from .scans import Scans

LOCATE = elementwise(
    "locate",
    "raw float64 x, raw int64 count, raw float64 alpha, float64 lo, float64 hi, float64 u, "
    "raw int64 source_lane, int64 length, int64 steps, bool plain",
    "int64 index",
    """
    const ptrdiff_t lane = source_lane[i / steps], start = lane * length;
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
    "raw int64 source_lane, int64 index, int64 length, int64 steps, bool plain",
    "float64 left, float64 right",
    """
    const ptrdiff_t lane = source_lane[i / steps], at = lane * length + index;
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
    "raw float64 high, raw float64 low, float64 target, raw int64 source_lane, int64 index, "
    "int64 length, int64 steps, bool unit",
    "float64 out",
    """
    const ptrdiff_t lane = source_lane[i / steps], at = lane * length + index;
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
    "raw float64 left, raw float64 right, raw int64 source_lane, raw int64 left_at, "
    "raw int64 right_at, raw float64 left_by, raw float64 right_by, raw int64 lane, "
    "int64 length, int64 steps",
    "float64 out",
    """
    const ptrdiff_t start = source_lane[i / steps] * length;
    const ptrdiff_t at = lane[i / steps] * steps + i % steps;
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
    "raw float64 right_by, raw int64 lane, raw int64 source_lane, int64 length, int64 steps, "
    "int64 nodes",
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
        node = first + source_lane[target / steps] * length + m;
        share = by * values[target];
    }
    """,
)

RANKS = elementwise(
    "ranks",
    "raw float64 x, int64 at, raw int64 count, raw bool nan_lanes, raw float64 alpha, "
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
    } else if (!nan_lanes[lane] && isnan(z)) {
        rank = 0.0;
    } else if (!nan_lanes[lane]) {
        // Absent ones are ranked among the others.
        const ptrdiff_t m = lap_up_to(x, start, present, z), f = start + m;
        const double before = m == 0 ? 0.0
            : left[f - 1] * exp(-lap_step(x[f - 1], z, alpha[lane]));
        const double after = m == present ? 0.0
            : right[f] * exp(-lap_step(z, x[f], alpha[lane]));
        rank = 0.5 * ((after - before) + 1.0);
        if (m > 0)
            rank = high[f - 1] + (low[f - 1] + rank);
        if (isinf((double)(T)rank))
            rank = 0.0;
    }
    out[start + at] = (T)rank;
    """,
)

# The cotangent of ranks: in differences of it nothing cancels, nor in what of them passes each gap,
# which is what alpha feels.
STEPS_OF_RANKS = elementwise(
    "steps_of_ranks",
    "raw float64 gap, raw float64 bar, raw float64 along, raw float64 A, raw float64 B, "
    "int64 size, int64 length",
    "float64 value",
    """
    const ptrdiff_t at = i % size, m = at % length, right = i / size;
    value = 0.0;
    if (right ? m + 1 < length : m > 0) {
        const double factor = lap_decay_value(lap_decay(gap[at + right]));
        if (factor != 0.0)
            value = factor
                * (((bar[at + right] - bar[at + right - 1]) - along[at / length] * gap[at + right])
                   * (right ? B[at + 1] : A[at - 1]));
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
    """The kernels of `protocol.Targets`."""

    def locate(self, sources: SourceLanes, points: Points, source_lane: Indices) -> Indices:
        """How many sources are <= each point; 0 if it is NaN."""
        s, shape = sources, points.lo.shape
        below: Indices = cupy.empty(shape, np.int64)
        ends, plain = _ends(points)
        LOCATE(s.x, s.present, s.alpha, *ends, source_lane, s.x.shape[1], shape[1], plain, below)
        return below

    def distances(
        self, sources: SourceLanes, points: Points, source_lane: Indices, below: Indices
    ) -> Pair:
        """Distances over alpha to the sources left and right, infinite for none; NaN for NaN."""
        s, shape = sources, points.lo.shape
        left, right = cupy.empty((2, *shape))
        ends, plain = _ends(points)
        inputs = s.x, s.present, s.alpha, *ends, source_lane, below
        DISTANCES(*inputs, s.x.shape[1], shape[1], plain, left, right)
        return left, right

    def level(
        self, sources: SourceLanes, targets: Floats, source_lane: Indices, below: Indices
    ) -> Floats:
        """S at targets, NaN where they are."""
        s = sources
        out: Floats = cupy.empty(targets.shape)
        lanes = s.x, s.present, s.alpha, s.left, s.right, *(s.pairs or (s.left, s.right))
        sizes = s.x.shape[1], targets.shape[1]
        LEVEL(*lanes, targets, source_lane, below, *sizes, s.pairs is None, out)
        return out

    def gather(
        self,
        nodes: Pair,
        source_lane: Indices,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
    ) -> Floats:
        """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target."""
        (left, _), (before, _) = nodes, at
        steps = before.shape[1]
        out: Floats = cupy.empty((len(source_lane), steps))
        GATHER(*nodes, source_lane, *at, *by, lane, left.shape[1], steps, out)
        return out

    def scatter(
        self,
        values: Floats,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
        source_lane: Indices,
        shape: tuple[int, int],
    ) -> Pair:
        """Apply the transpose of `gather`."""
        lanes, n = shape
        share = cupy.empty(2 * values.size)
        node = cupy.empty(share.shape, np.int64)
        steps = values.shape[1]
        # The nodes of one lane after those of another, and one more for what reaches none; then
        # the same for those on the right.
        SHARES_OF_NODES(values, *at, *by, lane, source_lane, n, steps, lanes * n, node, share)
        order = cupy.argsort(node)
        runs = node[order][None], share[order][None], self.identity(1)
        sums = self._sums_of_runs(*runs, 2 * (lanes * n + 1)).reshape(2, lanes * n + 1)
        left, right = sums[:, :-1]
        return left.reshape(shape), right.reshape(shape)

    def ranks(self, sources: SourceLanes, dtype: DType) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN in lanes with one.

        They are rounded once, to whatever `dtype` is.
        """
        s = sources
        out: Array = cupy.empty(s.gap.shape, dtype)
        sums = *(s.pairs or (s.left, s.left)), s.left, s.right
        inputs = s.x, s.order, s.present, s.nan_lanes, s.alpha, or_nothing(s.weights), *sums
        RANKS(*inputs, s.gap.shape[1], s.weights is not None, out)
        return out

    def ranks_vjp(self, sources: SourceLanes, sign: float, bar: Floats) -> Pair:
        """Cotangents of x and alpha for `bar`, finite, that of ranks of lanes without weights."""
        return self._pull_ranks(sources, sign, bar, cupy.zeros(len(bar)))

    def ranks_jvp(
        self, sources: SourceLanes, sign: float, x_dot: Floats | None, alpha_dot: Floats | None
    ) -> Floats:
        """Tangent of the ranks for finite ones of x and alpha."""
        v = cupy.zeros(sources.x.shape) if x_dot is None else x_dot
        along = cupy.zeros(len(v)) if alpha_dot is None else sign * alpha_dot
        tangent, _ = self._pull_ranks(sources, sign, v, along)
        return tangent

    def _pull_ranks(self, sources: SourceLanes, sign: float, bar: Floats, along: Floats) -> Pair:
        s, n, scans = sources, sources.x.shape[1], (sources.left, sources.right)
        bar = self.to_order(bar, s.order)
        steps = cupy.empty((2, *s.x.shape))
        STEPS_OF_RANKS(s.gap, bar, along, *scans, s.x.size, n, steps)
        (before, after), _ = self._scan(s.gap, steps, None, None, both=True, apart=True)
        x_bar, flux = cupy.empty((2, *s.x.shape))
        inputs = s.x, s.gap, s.order, bar, *scans, before, after, s.alpha
        PULL_RANKS(*inputs, sign, n, x_bar, flux)
        return x_bar, -0.5 * self._sum(flux) / s.alpha


def _ends(points: Points) -> tuple[tuple[Floats, Floats, Floats], bool]:
    """Return three arrays for points of any kind, and whether only the first is looked at."""
    lo, hi, u = points
    if hi is None or u is None:
        return (lo, lo, lo), True
    return (lo, hi, u), False
