"""Thresholds: where the sum of sorted sources reaches a level."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .launch import Array, elementwise, or_nothing
from .scans import Scans

SOLVE = elementwise(
    "solve",
    "raw float64 gap, raw int64 count, raw float64 weights, raw float64 high, raw float64 low, "
    "raw float64 A, raw float64 B, float64 level, raw int64 key, int64 length, int64 steps, "
    "bool weighted, int32 rows",
    "int64 index, int8 side, float64 u, raw float64 factors",
    """
    const ptrdiff_t lane = key[i / steps], start = lane * length, nodes = count[lane];
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
    "raw float64 x, int64 index, int8 side, raw int64 key, int64 length, int64 steps",
    "float64 lo, float64 hi",
    """
    const ptrdiff_t at = key[i / steps] * length + index;
    lo = hi = NAN;
    if (index > 0 || side != 0) {
        lo = x[side > 0 ? at : at - 1];
        hi = x[side < 0 ? at - 1 : at];
    }
    """,
)

THRESHOLDS = elementwise(
    "thresholds",
    "float64 lo, float64 hi, float64 u, raw float64 alpha, raw int64 key, int64 steps",
    "float64 b",
    "b = lap_threshold(lo, hi, u, alpha[key[i / steps]]);",
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
    """What solves for thresholds, and the sorted values, which are thresholds one level apart."""

    def solve(
        self,
        gap: Array,
        count: Array,
        weights: Array | None,
        pairs: tuple[Array, Array] | None,
        left: Array,
        right: Array,
        levels: Array,
        key: Array,
        full: bool,
        rows: int | None = None,
    ) -> tuple[Array, Array, Array, Array | None]:
        """Roots of S(b) = level: nodes below, side of the anchor, offset, factors if `full`."""
        rows = rows or (6 if full else 0)
        shape = levels.shape
        index, side = cupy.empty(shape, np.int64), cupy.empty(shape, np.int8)
        u, factors = cupy.empty(shape), cupy.empty((max(rows, 1), *shape))
        high, low = pairs or (or_nothing(None), or_nothing(None))
        SOLVE(
            gap,
            count,
            or_nothing(weights),
            high,
            low,
            left,
            right,
            levels,
            key,
            gap.shape[1],
            shape[1],
            weights is not None,
            rows,
            index,
            side,
            u,
            factors,
        )
        return index, side, u, factors if rows else None

    def solve_steps(
        self,
        gap: Array,
        count: Array,
        left: Array,
        right: Array,
        first: float,
        steps: int,
        rows: int,
    ) -> Any:
        """`solve` at the levels first, first + 1, ... of every lane, for unit weights."""
        lanes = len(gap)
        levels = cupy.broadcast_to(cupy.arange(first, first + steps), (lanes, steps))
        key = self.identity(lanes)
        return self.solve(gap, count, None, None, left, right, levels, key, True, rows)

    def sorted_values(
        self,
        x: Array,
        gap: Array,
        count: Array,
        left: Array,
        right: Array,
        alpha: Array,
        first: float,
        steps: int,
        dtype: Any,
    ) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending.

        NaN in lanes without sources.
        """
        out = cupy.empty((len(x), steps))
        SORTED(x, gap, count, left, right, alpha, first, x.shape[1], steps, out)
        return self._running_largest(out, dtype)

    def anchors(self, x: Array, index: Array, side: Array, key: Array) -> tuple[Array, Array]:
        """Return the two nodes that anchor each threshold."""
        lo, hi = cupy.empty((2, *index.shape))
        ANCHORS(x, index, side, key, x.shape[1], index.shape[1], lo, hi)
        return lo, hi

    def thresholds(self, lo: Array, hi: Array, u: Array, alpha: Array, key: Array) -> Array:
        """(lo + hi)/2 + alpha u, rounded."""
        out = cupy.empty(u.shape)
        THRESHOLDS(lo, hi, u, alpha, key, u.shape[1], out)
        return out

    def pull_sorted(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        scans: tuple[Array, Array],
        first: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`."""
        n, key = x.shape[1], self.identity(len(x))
        index, _, _, factors = self.solve_steps(gap, count, *scans, first, bar.shape[1], 6)
        # Each threshold gives to its two neighbours, and two scans carry that on.  The thresholds
        # ascend: those that give to one node are side by side.
        shares, breaks = self.times(factors[2:4], bar), self._breaks(index, key, bar.shape)
        sums = self._scan(breaks, shares, None, None, both=True, apart=True)[0]
        nodes = cupy.empty((2, *x.shape))
        NEIGHBOURS(index, sums, x.size, n, bar.shape[1], nodes)
        right, left = self._scan(gap, nodes, None, None, both=True, apart=True)[0]
        x_bar, along = cupy.empty((2, *x.shape))
        PULL_SORTED(x, gap, order, *scans, left, right, n, x_bar, along)
        return x_bar, self._sum(along) + self._sum(self.times(bar, factors[5]))
