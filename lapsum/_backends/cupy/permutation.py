"""Permutation matrices, and their products with arrays without the matrix."""

from __future__ import annotations

import cupy
import numpy as np

from ..types import Array, DType, Floats, Indices, Intervals, Points, Roots, SourceLanes
from .launch import elementwise, or_nothing, reduction
from .thresholds import Thresholds

WIDTHS = elementwise(
    "widths",
    "raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, int64 length",
    "float64 width",
    """
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1) + m;
    width = INFINITY;
    if (m > 0 && m < length - 1)
        width = lap_width(lo[b - 1], hi[b - 1], u[b - 1], lo[b], hi[b], u[b], alpha[lane]);
    """,
)

PERMUTATION = elementwise(
    "permutation",
    "raw float64 x, raw int64 order, raw float64 lo, raw float64 hi, raw float64 u, "
    "raw float64 width, raw float64 alpha, int64 length",
    "raw T out",
    """
    const ptrdiff_t lane = i / (length * length), row = i / length % length, m = i % length;
    const ptrdiff_t start = lane * length, b = lane * (length - 1);
    const double z = x[start + m];
    out[(start + row) * length + order[start + m]] = (T)lap_cdf_difference(
        lap_bound(lo, hi, u, b, row - 1, length - 1, z, alpha[lane]),
        lap_bound(lo, hi, u, b, row, length - 1, z, alpha[lane]), width[start + row]);
    """,
)

PERMUTATION_JVP = elementwise(
    "permutation_jvp",
    "raw float64 x, raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, "
    "raw float64 x_dot, raw float64 b_dot, raw float64 alpha_dot, raw float64 nodes, "
    "raw float64 deviation, int64 lanes, int64 length, bool along_x, bool along_alpha",
    "float64 out",
    """
    const ptrdiff_t lane = i / (length * length), row = i / length % length, m = i % length;
    const double z = x[lane * length + m];
    out = 0.0;
    for (ptrdiff_t end = 0; end < 2; ++end) {
        if (row == (end ? 0 : length - 1))
            continue;
        const ptrdiff_t b = lane * (length - 1) + row - end;
        const ptrdiff_t r = b + lanes * (length - 1);
        const double kernel = lap_pdf(lap_offset(lo[b], hi[b], u[b], z, alpha[lane]));
        double change = 0.0;
        if (kernel == 0.0)
            continue;
        if (along_x)
            change += kernel * (b_dot[b] - x_dot[lane * length + m]);
        if (along_alpha)
            change += lap_along(kernel * alpha_dot[lane], z, nodes[b], nodes[r], deviation[b],
                                deviation[r], alpha[lane]);
        out += end ? -change : change;
    }
    out /= alpha[lane]; // last, since two overflowing rows have no difference
    """,
)

# The transpose: what a threshold b changes in F((b - x)/alpha), summed over x, b, or both.
_ENTRIES = (
    "float64 entry, float64 lo, float64 hi, float64 u, float64 alpha, float64 bar, float64 below"
)

_FLOW = "lap_flow(bar, below, lap_offset(lo, hi, u, entry, alpha))"

FLOW = reduction("flow", _ENTRIES, _FLOW)

FLOW_ALONG = reduction(
    "flow_along",
    _ENTRIES + ", float64 left, float64 right, float64 off_left, float64 off_right",
    f"lap_along({_FLOW}, entry, left, right, off_left, off_right, alpha)",
)

INSIDES = elementwise(
    "insides",
    "raw float64 x, raw int64 count, raw int64 index, raw float64 lo, raw float64 hi, "
    "raw float64 u, raw float64 alpha, int64 length",
    "int64 row, float64 inside",
    """
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1);
    row = 0;
    inside = 0.0;
    if (m < count[lane]) {
        row = lap_up_to(index, b, length - 1, m);
        const double t0 = lap_bound(lo, hi, u, b, row - 1, length - 1, x[i], alpha[lane]);
        const double t1 = lap_bound(lo, hi, u, b, row, length - 1, x[i], alpha[lane]);
        inside = lap_cdf_across(t0 < 0.0 ? t0 : 0.0, t1 > 0.0 ? t1 : 0.0);
    }
    """,
)

ROWS = elementwise(
    "rows",
    "raw int64 index, raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, "
    "raw float64 factors, int64 lanes, int64 length",
    "int64 left_at, int64 right_at, float64 left_by, float64 right_by",
    """
    // From outside an interval: the kernel at its near end times (1 - e^{-width})/2.
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1) + m;
    const bool first = m == 0, last = m == length - 1;
    double half = 0.5;
    if (!first && !last)
        half = -0.5
            * expm1(-lap_width(lo[b - 1], hi[b - 1], u[b - 1], lo[b], hi[b], u[b], alpha[lane]));
    left_at = first ? -1 : index[b - 1] - 1;
    left_by = first ? 0.0 : half * factors[b - 1];
    right_at = last ? -1 : index[b];
    right_by = last ? 0.0 : half * factors[lanes * (length - 1) + b];
    """,
)

WEIGH = elementwise(
    "weigh",
    "raw float64 values, raw float64 inside, raw int64 source_lane, int64 length",
    "float64 out",
    "out = inside[source_lane[i / length] * length + i % length] * values[i];",
)

SPREAD = elementwise(
    "spread",
    "raw float64 values, raw float64 inside, raw int64 row, raw int64 source_lane, float64 given, "
    "int64 length",
    "float64 out",
    """
    const ptrdiff_t at = source_lane[i / length] * length + i % length;
    out = given + inside[at] * values[i / length * length + row[at]];
    """,
)

LEVEL_TIES = elementwise(
    "level_ties",
    "raw float64 x, raw float64 values, raw int64 source_lane, int64 length",
    "float64 out",
    """
    const ptrdiff_t lane = i / length, m = i % length;
    out = values[lane * length + lap_first(x, source_lane[lane] * length, m)];
    """,
)


class Permutation(Thresholds):
    """The kernels of `protocol.Permutation`."""

    def widths(self, lo: Floats, hi: Floats, u: Floats, alpha: Floats, n: int) -> Floats:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        out: Floats = cupy.empty((len(lo), n))
        WIDTHS(lo, hi, u, alpha, n, out)
        return out

    def permutation(
        self, sources: SourceLanes, below: Indices, points: Points, width: Floats, dtype: DType
    ) -> Array:
        """F(t_ij) - F(t_{i-1,j}), (lanes, n, n), columns in the caller's order."""
        s, (lanes, n) = sources, sources.x.shape
        out: Array = cupy.empty((lanes, n, n), dtype if dtype == np.float32 else np.float64)
        PERMUTATION(s.x, s.order, *points, width, s.alpha, n, out, size=out.size)
        return out

    def permutation_jvp(
        self,
        x: Floats,
        points: Points,
        alpha: Floats,
        x_dot: Floats | None,
        b_dot: Floats | None,
        alpha_dot: Floats | None,
        nodes: Floats,
        deviation: Floats,
    ) -> Floats:
        """Tangent of the matrix of entries x, in the caller's order."""
        lanes, n = x.shape
        out: Floats = cupy.empty((lanes, n, n))
        tangents = or_nothing(x_dot), or_nothing(b_dot), or_nothing(alpha_dot)
        inputs = x, *points, alpha, *tangents, nodes, deviation
        PERMUTATION_JVP(*inputs, lanes, n, x_dot is not None, alpha_dot is not None, out)
        return out

    def permutation_vjp(
        self,
        x: Floats,
        points: Points,
        alpha: Floats,
        nodes: Floats,
        deviation: Floats,
        bar: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Cotangents, times alpha, of the thresholds, of x at fixed thresholds, and of alpha."""
        if x.shape[1] < 2:
            return cupy.empty(points.lo.shape), cupy.zeros(x.shape), cupy.zeros(len(x))
        columns = (a if a is None else a[:, :, None] for a in points)
        inputs = x[:, None, :], *columns, alpha[:, None, None], bar[:, :-1], bar[:, 1:]
        away = *nodes[:, :, :, None], *deviation[:, :, :, None]
        return (
            FLOW(*inputs, axis=2),
            -FLOW(*inputs, axis=1),
            FLOW_ALONG(*inputs, *away, axis=(1, 2)),
        )

    def intervals(self, sources: SourceLanes) -> Intervals:
        """Return the rows of the permutation, as products need them."""
        s, (lanes, n) = sources, sources.x.shape
        below, side, u, factors = self._solve_steps(s, 1.0, max(n - 1, 0), 2)
        lo, hi = self.anchors(s.x, Roots(below, side, u), self.identity(lanes))
        row, inside = cupy.empty(s.x.shape, np.int64), cupy.empty(s.x.shape)
        INSIDES(s.x, s.present, below, lo, hi, u, s.alpha, n, row, inside)
        before, after = cupy.empty((2, lanes, n), np.int64)
        from_left, from_right = cupy.empty((2, lanes, n))
        outputs = before, after, from_left, from_right
        ROWS(below, lo, hi, u, s.alpha, factors, lanes, n, *outputs)
        return Intervals(row, inside, (before, after), (from_left, from_right))

    def collect(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add inside * values to `out`, by row."""
        n = values.shape[1]
        share = cupy.empty(values.shape)
        WEIGH(values, inside, source_lane, n, share)
        out += self._sums_of_runs(row, share, source_lane, n)

    def collect_transpose(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add the transpose of `collect` to `out`."""
        SPREAD(values, inside, row, source_lane, out, out.shape[1], out)

    def level_ties(self, x: Floats, source_lane: Indices, values: Floats) -> None:
        """Give equal sources the result of the first of them, in place."""
        out = cupy.empty(values.shape)
        LEVEL_TIES(x, values, source_lane, values.shape[1], out)
        values[...] = out
