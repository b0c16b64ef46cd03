"""Permutation matrices, and products without them, in operations on whole arrays."""

from __future__ import annotations

from . import formulas
from .protocol import Kernels
from .types import Array, DType, Floats, Indices, Intervals, Pair, Points, SourceLanes


class PortablePermutation:
    """The kernels of `protocol.Permutation`, but for ties."""

    def widths(self: Kernels, lo: Floats, hi: Floats, u: Floats, alpha: Floats, n: int) -> Floats:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        xp, out = self.xp, self.xp.full((len(lo), n), self.xp.inf)
        if n > 2:
            far = alpha[:, None]
            width = formulas.half_step(xp, lo[:, :-1], lo[:, 1:], far)
            width = width + formulas.half_step(xp, hi[:, :-1], hi[:, 1:], far)
            same = u[:, 1:] == u[:, :-1]
            width = width + xp.where(same, 0.0, u[:, 1:] - u[:, :-1])
            out[:, 1:-1] = xp.where(width < 0.0, 0.0, width)
        return out

    def permutation(
        self: Kernels,
        sources: SourceLanes,
        below: Indices,
        points: Points,
        width: Floats,
        dtype: DType,
    ) -> Array:
        """F(t_ij) - F(t_{i-1,j}), (lanes, n, n), columns in the caller's order."""
        s, (lanes, n) = sources, sources.x.shape
        t = _bounds(self, points, s.x, s.alpha)
        out = formulas.cdf_difference(self.xp, t[:, :-1], t[:, 1:], width[:, :, None])
        rows, source_lane = out.reshape(lanes * n, n), self.identity(lanes).repeat(n)
        return self.from_order(rows, s.order, source_lane).reshape(lanes, n, n)

    def permutation_jvp(
        self: Kernels,
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
        kernel = self.pdf(_bounds(self, points, x, alpha)[:, 1:-1])
        change = 0.0 * kernel
        if x_dot is not None and b_dot is not None:
            change = change + self.times(kernel, b_dot[:, :, None] - x_dot[:, None, :])
        if alpha_dot is not None:
            away = _deviations(self, x, alpha, nodes, deviation)
            change = change + self.times(kernel * alpha_dot[:, None, None], away)
        none = self.xp.zeros((len(x), min(x.shape[1], 1), x.shape[1]))
        # Divided last, since two overflowing rows have no difference.
        rows = self.xp.concatenate([none, change, none], axis=1)
        return (rows[:, 1:] - rows[:, :-1])[:, : x.shape[1]] / alpha[:, None, None]

    def permutation_vjp(
        self: Kernels,
        x: Floats,
        points: Points,
        alpha: Floats,
        nodes: Floats,
        deviation: Floats,
        bar: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Cotangents, times alpha, of the thresholds, of x at fixed thresholds, and of alpha."""
        kernel = self.pdf(_bounds(self, points, x, alpha)[:, 1:-1])
        flow = self.times(kernel, bar[:, :-1] - bar[:, 1:])
        away = self.times(flow, _deviations(self, x, alpha, nodes, deviation))
        return flow.sum(axis=2), -flow.sum(axis=1), away.sum(axis=(1, 2))

    def intervals(self: Kernels, sources: SourceLanes) -> Intervals:
        """Return the rows of the permutation, as products need them."""
        xp, s = self.xp, sources
        lanes, n = s.x.shape
        source_lane, present = self.identity(lanes), xp.arange(n) < s.present[:, None]
        roots = self.solve_steps(s, 1.0, max(n - 1, 0), True)
        lo, hi = self.anchors(s.x, roots, source_lane)
        # How many thresholds are left of a node: those with at most so many nodes below.
        row = (roots.below[:, None, :] <= xp.arange(n)[:, None]).sum(axis=-1) * present
        t = _bounds(self, Points(lo, hi, roots.u), s.x, s.alpha)
        t0, t1 = (
            (xp.take_along_axis(t, at[:, None, :], axis=1)[:, 0] for at in (row, row + 1))
            if n
            else (s.x, s.x)
        )
        inside = formulas.cdf_across(xp, xp.minimum(t0, 0.0), xp.maximum(t1, 0.0))
        # From outside an interval: the kernel at its near end times (1 - e^{-width})/2.
        share = -0.5 * xp.expm1(-self.widths(lo, hi, roots.u, s.alpha, n))
        zero = xp.zeros((lanes, min(n, 1)))
        left, right = roots.kernel or (zero, zero)
        before = xp.concatenate([zero, left], axis=-1) * share
        after = xp.concatenate([right, zero], axis=-1) * share
        none = (0.0 * zero).astype(row.dtype)
        at = (
            xp.concatenate([none, roots.below], axis=-1).astype(row.dtype) - 1,
            xp.concatenate([roots.below, none + n], axis=-1).astype(row.dtype),
        )
        lane = s.present[:, None] > 0
        by = xp.where(lane, before, 0.0), xp.where(lane, after, 0.0)
        return Intervals(row, xp.where(present, inside, 0.0), at, by)

    def collect(
        self: Kernels,
        values: Floats,
        inside: Floats,
        row: Indices,
        source_lane: Indices,
        out: Floats,
    ) -> None:
        """Add inside * values to `out`, by row."""
        lane, none = self.identity(len(values)), 0.0 * out
        by = inside[source_lane] * values
        sums, _ = self.scatter(
            by, (row[source_lane], row[source_lane]), (none + 1.0, none), lane, lane, out.shape
        )
        out += sums

    def collect_transpose(
        self: Kernels,
        values: Floats,
        inside: Floats,
        row: Indices,
        source_lane: Indices,
        out: Floats,
    ) -> None:
        """Add the transpose of `collect` to `out`."""
        out += inside[source_lane] * self.xp.take_along_axis(values, row[source_lane], axis=-1)

    def transpose_product(
        self: Kernels,
        sources: SourceLanes,
        rows: Intervals,
        positions: Floats,
        source_lane: Indices,
    ) -> Floats:
        """P.T times lanes of positions, at the sorted sources."""
        s, lane, shape = sources, self.identity(len(positions)), positions.shape
        left, right = self.scatter(positions, rows.at, rows.by, source_lane, lane, shape)
        decay = self.decays(s.gap)
        out = self.scan(decay, left, source_lane, True) + self.scan(
            decay, right, source_lane, False
        )
        self.collect_transpose(positions, rows.inside, rows.row, source_lane, out)
        self.level_ties(s.x, source_lane, out)
        return out

    def permute_vjp(
        self: Kernels, sources: SourceLanes, values: Floats, positions: Floats
    ) -> Pair | None:
        """Return None: there is no such kernel."""
        return None

    def permute_jvp(
        self: Kernels,
        sources: SourceLanes,
        values: Floats,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats | None:
        """Return None: there is no such kernel."""
        return None


def _bounds(kernels: Kernels, points: Points, x: Floats, alpha: Floats) -> Floats:
    """Return (b_i - x_j)/alpha, (lanes, i, j), with b_0 = -inf and b_n = inf around the points."""
    xp, (lo, hi, u) = kernels.xp, points
    if hi is None or u is None:
        raise TypeError("thresholds are points with anchors and offsets")
    lo, hi, u = (a[:, :, None] for a in (lo, hi, u))
    t = formulas.offset(xp, lo, hi, u, x[:, None, :], alpha[:, None, None])
    end = xp.full((len(x), 1, x.shape[1]), xp.inf)
    return xp.concatenate([-end, t, end], axis=1)


def _deviations(
    kernels: Kernels, x: Floats, alpha: Floats, nodes: Floats, deviation: Floats
) -> Floats:
    """Return (x_j - sum_k q_ik x_k)/alpha, from the neighbour of threshold i on the side of x_j."""
    xp, scale = kernels.xp, alpha[:, None, None]
    (left, right), (off_left, off_right) = nodes[:, :, :, None], deviation[:, :, :, None]
    entry = x[:, None, :]
    before = off_left + formulas.step(xp, left, entry, scale)
    return xp.where(entry <= left, before, off_right + formulas.step(xp, right, entry, scale))
