"""Thresholds: where the sum of sorted sources reaches a level."""

from __future__ import annotations

import cupy
import numpy as np

from ..types import Array, DType, Floats, Indices, Pair, Roots, SourceLanes
from .launch import elementwise, or_nothing
from .scans import Scans

SOLVE = elementwise(
    "solve",
    "raw float64 gap, raw int64 count, raw float64 weights, raw float64 high, raw float64 low, "
    "raw float64 A, raw float64 B, float64 level, raw int64 source_lane, int64 length, "
    "int64 steps, bool weighted, int32 rows",
    "int64 index, int8 side, float64 u, raw float64 factors",
    """
    const ptrdiff_t lane = source_lane[i / steps], start = lane * length, nodes = count[lane];
    const ptrdiff_t size = _ind.size();
    index = side = 0;
    u = NAN;
    if (nodes == 0 || isnan(level)) {
        for (int r = 0; r < rows; ++r)
            factors[r * size + i] = nodes == 0 ? 0.0 : NAN;
    } else {
        ptrdiff_t m;
        const lap_root root =
            lap_solve(level, gap, weights, high, low, A, B, start, nodes, weighted, m);
        index = m;
        side = root.side;
        u = root.u;
        if (rows > 0) {
            factors[i] = root.left;
            factors[size + i] = root.right;
        }
        if (rows > 2) {
            factors[2 * size + i] = root.q_left;
            factors[3 * size + i] = root.q_right;
            factors[4 * size + i] = root.density;
            factors[5 * size + i] = root.centre;
        }
    }
    """,
)

SORTED = elementwise(
    "sorted",
    "raw float64 x, raw float64 gap, raw int64 count, raw float64 A, raw float64 B, "
    "raw float64 alpha, float64 first, int64 length, int64 steps",
    "float64 y",
    """
    const ptrdiff_t lane = i / steps, start = lane * length, nodes = count[lane];
    y = NAN;
    if (nodes > 0) {
        ptrdiff_t m;
        const lap_root root =
            lap_solve(first + i % steps, gap, A, A, A, A, B, start, nodes, false, m);
        y = lap_threshold(x[start + (root.side > 0 ? m : m - 1)],
                          x[start + (root.side < 0 ? m - 1 : m)], root.u, alpha[lane]);
    }
    """,
)

ANCHORS = elementwise(
    "anchors",
    "raw float64 x, int64 index, int8 side, raw int64 source_lane, int64 length, int64 steps",
    "float64 lo, float64 hi",
    """
    const ptrdiff_t at = source_lane[i / steps] * length + index;
    lo = hi = NAN;
    if (index > 0 || side != 0) {
        lo = x[side > 0 ? at : at - 1];
        hi = x[side < 0 ? at - 1 : at];
    }
    """,
)

THRESHOLDS = elementwise(
    "thresholds",
    "float64 lo, float64 hi, float64 u, raw float64 alpha, raw int64 source_lane, int64 steps",
    "float64 b",
    "b = lap_threshold(lo, hi, u, alpha[source_lane[i / steps]]);",
)

# Of ascending thresholds with `index` nodes below: the sums of what they give to the node on their
# right, then on their left; the scans of the latter come first, and end where a run ends.
NEIGHBOURS = elementwise(
    "neighbours",
    "raw int64 index, raw float64 sums, int64 size, int64 length, int64 steps",
    "float64 out",
    """
    const ptrdiff_t left = i / size, m = i % size % length, lane = i % size / length;
    const ptrdiff_t start = lane * steps, total = size / length * steps;
    const ptrdiff_t end = lap_up_to(index, start, steps, left ? m + 1 : m - 1);
    out = 0.0;
    if (left && end > 0 && index[start + end - 1] == m + 1)
        out = sums[start + end - 1];
    if (!left && end < steps && index[start + end] == m)
        out = sums[total + start + end];
    """,
)

PULL_SORTED = elementwise(
    "pull_sorted",
    "raw float64 x, raw float64 gap, int64 at, raw float64 A, raw float64 B, raw float64 left, "
    "raw float64 right, int64 length",
    "raw float64 x_bar, float64 along",
    """
    const double factor = i % length > 0 ? lap_decay_value(lap_decay(gap[i])) : 0.0;
    x_bar[i / length * length + at] = isinf(x[i]) ? 0.0 : left[i] + right[i];
    along = 0.0;
    if (factor != 0.0)
        along = gap[i] * factor * (left[i] * A[i - 1] - right[i - 1] * B[i]);
    """,
)


class Thresholds(Scans):
    """The kernels of `protocol.Thresholds`."""

    def solve(
        self, sources: SourceLanes, levels: Floats, source_lane: Indices, full: bool
    ) -> Roots:
        """Roots of S(b) = level, with what derivatives need if `full`."""
        below, side, u, factors = self._solve(sources, levels, source_lane, 6 if full else 0)
        return _roots(below, side, u, factors) if full else Roots(below, side, u)

    def solve_steps(self, sources: SourceLanes, first: float, steps: int, full: bool) -> Roots:
        """Return the same at the levels first, first + 1, ...; without `full`, their `kernel`."""
        return _roots(*self._solve_steps(sources, first, steps, 6 if full else 2))

    def _solve(
        self, sources: SourceLanes, levels: Floats, source_lane: Indices, rows: int
    ) -> tuple[Indices, Array, Floats, Floats]:
        """Return `below`, `side` and `u` of roots, and so many rows of factors (or one, empty)."""
        s, shape = sources, levels.shape
        below, side = cupy.empty(shape, np.int64), cupy.empty(shape, np.int8)
        u, factors = cupy.empty(shape), cupy.empty((max(rows, 1), *shape))
        high, low = s.pairs or (or_nothing(None), or_nothing(None))
        lanes = s.gap, s.present, or_nothing(s.weights), high, low, s.left, s.right
        sizes = s.gap.shape[1], shape[1], s.weights is not None, rows
        SOLVE(*lanes, levels, source_lane, *sizes, below, side, u, factors)
        return below, side, u, factors

    def _solve_steps(
        self, sources: SourceLanes, first: float, steps: int, rows: int
    ) -> tuple[Indices, Array, Floats, Floats]:
        """Return the same at the levels first, first + 1, ... of every lane."""
        lanes = len(sources.gap)
        levels = cupy.broadcast_to(cupy.arange(first, first + steps), (lanes, steps))
        return self._solve(sources, levels, self.identity(lanes), rows)

    def anchors(self, x: Floats, roots: Roots, source_lane: Indices) -> Pair:
        """Return the two sources that anchor each root."""
        shape = roots.below.shape
        lo, hi = cupy.empty((2, *shape))
        ANCHORS(x, roots.below, roots.side, source_lane, x.shape[1], shape[1], lo, hi)
        return lo, hi

    def thresholds(self, sources: SourceLanes, roots: Roots, source_lane: Indices) -> Floats:
        """(lo + hi)/2 + alpha u, rounded, of the anchors of each root."""
        out: Floats = cupy.empty(roots.u.shape)
        ends = self.anchors(sources.x, roots, source_lane)
        THRESHOLDS(*ends, roots.u, sources.alpha, source_lane, out.shape[1], out)
        return out

    def sorted_values(self, sources: SourceLanes, first: float, steps: int, dtype: DType) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending."""
        s = sources
        out = cupy.empty((len(s.x), steps))
        lanes = s.x, s.gap, s.present, s.left, s.right, s.alpha
        SORTED(*lanes, first, s.x.shape[1], steps, out)
        return self._running_largest(out, dtype)

    def sorted_vjp(self, sources: SourceLanes, first: float, bar: Floats) -> Pair:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`."""
        s, n, source_lane = sources, sources.x.shape[1], self.identity(len(sources.x))
        below, _, _, factors = self._solve_steps(s, first, bar.shape[1], 6)
        # Each threshold gives to its two neighbours, and two scans carry that on.  The thresholds
        # ascend: those that give to one node are side by side.
        _, softmax, (_, centre) = factors.reshape(3, 2, *bar.shape)
        shares, breaks = self.times(softmax, bar), self._breaks(below, source_lane, bar.shape)
        sums, _ = self._scan(breaks, shares, None, None, both=True, apart=True)
        nodes = cupy.empty((2, *s.x.shape))
        NEIGHBOURS(below, sums, s.x.size, n, bar.shape[1], nodes)
        (right, left), _ = self._scan(s.gap, nodes, None, None, both=True, apart=True)
        x_bar, along = cupy.empty((2, *s.x.shape))
        PULL_SORTED(s.x, s.gap, s.order, s.left, s.right, left, right, n, x_bar, along)
        return x_bar, self._sum(along) + self._sum(self.times(bar, centre))


def _roots(below: Indices, side: Array, u: Floats, factors: Floats) -> Roots:
    """Return the roots with as many rows of factors as there are."""
    left, right, *rest = factors
    if not rest:
        return Roots(below, side, u, (left, right))
    q_left, q_right, density, centre = rest
    return Roots(below, side, u, (left, right), (q_left, q_right), density, centre)
