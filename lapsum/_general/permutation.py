"""Soft permutations of sorted sources, for any density."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from .._backends.types import Floats, Indices, Namespace, Points
from .even_density import EvenDensity
from .long_products import LongSums, product_by_tree
from .roots import FAR
from .rules import column
from .solving import thresholds_at
from .sums import Sources, blocks
from .thresholds import Thresholds

Flow = Callable[[slice, slice, slice], Floats]


class Motion(NamedTuple):
    """Tangents of sources, and for each threshold their mean over alpha, less that of the nearest.

    The mean is taken with the weights c_j f((b - x_j)/alpha): it is how the threshold moves.
    """

    dot: Floats
    mean: Floats


class Permutation:
    """The soft permutations of sorted sources: row i lies between the thresholds at i - 1 and i."""

    def __init__(self, sources: Sources) -> None:
        s = self.sources = sources
        self.density: EvenDensity = s.density
        self.kernels, xp = s.kernels, s.xp
        lanes, n = s.shape
        levels = xp.broadcast_to(1.0 + xp.arange(max(n - 1, 0)), (lanes, max(n - 1, 0)))
        self.b = thresholds_at(s, levels)
        lo, hi, u = self.b.points
        if hi is None or u is None:
            raise TypeError("thresholds are anchored")
        self.width = xp.minimum(s.kernels.widths(lo, hi, u, s.alpha, n), FAR)
        # Around them are thresholds at both infinities.
        none = xp.zeros((lanes, min(n, 1)))
        ends = (none, none, none - xp.inf), (none, none, none + xp.inf)
        before, after = (
            Points(*(xp.concatenate(parts, axis=1) for parts in sides))
            for sides in (
                ((ends[0][i], (lo, hi, u)[i]) for i in range(3)),
                (((lo, hi, u)[i], ends[1][i]) for i in range(3)),
            )
        )
        self.before, self.after = before, after
        steps = 1.0 * xp.arange(n + 1)
        self.at_low, self.at_high = (
            xp.diff(xp.clip((steps - column(base)) / column(weight), 0.0, 1.0), axis=-1)
            for base, weight in (
                (0.0 * s.low, xp.maximum(s.low, 1.0)),
                (s.low + s.before[0][:, -1], xp.maximum(s.high, 1.0)),
            )
        )

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.sources.xp

    def matrix(self, lanes: slice, rows: slice, columns: slice) -> Floats:
        """Return some rows and columns, the latter in order of the sources."""
        xp = self.xp
        s = self.sources
        x, alpha = s.x[lanes, columns][:, None, :], s.alpha[lanes][:, None, None]
        low, high = (
            self.kernels.apart(Points(*(a[lanes, rows][:, :, None] for a in side)), x, alpha)  # type: ignore[index]
            for side in (self.before, self.after)
        )
        low, high = xp.clip(low, -FAR, FAR), xp.clip(high, -FAR, FAR)
        out = self.density.between(low, high, self.width[lanes, rows][:, :, None])
        given = s.given[lanes, columns][:, None, :]
        out = xp.where(given == -xp.inf, self.at_low[lanes, rows][:, :, None], out)
        return xp.where(given == xp.inf, self.at_high[lanes, rows][:, :, None], out)

    def multiply(self, values: Floats, source_lane: Indices, transpose: bool) -> Floats:
        """Return the product with every lane of values, whose entries are in order."""
        xp = self.xp
        s = self.sources
        long = product_by_tree(s, self.b.for_lanes(source_lane), values, source_lane, transpose)
        if long is not None:
            return long
        out = xp.zeros(values.shape)
        n = s.shape[1]
        own = len(source_lane) == s.shape[0] and bool(
            (source_lane == xp.arange(len(source_lane))).all()
        )
        times = self.kernels.times
        if own:
            for lanes, rows in blocks(self.kernels, len(source_lane), n, n):
                part = self._part(lanes, rows, transpose)
                out[lanes, rows] = times(part, values[lanes][:, None, :]).sum(axis=-1)
            return out
        for lane in range(s.shape[0]):
            theirs = xp.flatnonzero(source_lane == lane)
            for some, rows in blocks(self.kernels, len(theirs), n, n):
                part = self._part(slice(lane, lane + 1), rows, transpose)
                out[theirs[some], rows] = times(part, values[theirs[some]][:, None, :]).sum(axis=-1)
        return out

    def _part(self, lanes: slice, rows: slice, transpose: bool) -> Floats:
        every = slice(None)
        if transpose:
            return self.xp.ascontiguousarray(self.matrix(lanes, every, rows).swapaxes(1, 2))
        return self.matrix(lanes, rows, every)

    # ----------------------- derivatives of sum_ij h_i v_j F(t_ij), for thresholds b in any lanes

    @cached_property
    def at_x(self) -> Motion:
        """What the sources themselves would be as a tangent: minus alpha times that in alpha."""
        return Motion(self.sources.x, -self.b.along)

    def motion(self, x_dot: Floats) -> Motion:
        """Return how the sources move, and their means."""
        return Motion(x_dot, self.b.differences(x_dot) / column(self.sources.alpha))

    def _flow(self, b: Thresholds, motion: Motion, axis: int) -> Flow:
        """Return a function that has dt_ij for a block: (b_dot_i - x_dot_j)/alpha."""
        xp = self.xp
        s, origin, mean = self.sources, b.at_nearest(motion.dot), b.of_sources(motion.mean)

        def flow(lanes: slice, rows: slice, columns: slice) -> Floats:
            source: Any = lanes if b.source_lane is None else b.source_lane[lanes]
            dot = xp.expand_dims(motion.dot[source][:, columns], 3 - axis)
            near, base = (xp.expand_dims(a[lanes][:, rows], axis) for a in (origin, mean))
            return base - self.kernels.step(near, dot, s.alpha[source][:, None, None])

        return flow

    def rows(self, b: Thresholds, values: Floats, motion: Motion) -> Floats:
        """sum_j v_j f(t_ij) dt_ij for every threshold."""
        long = LongSums.of(self.sources, b)
        if long is not None:
            out = long.rows(values, *motion, motion is self.at_x)
            for lane, at, part in b.sparse():
                some = Motion(motion.dot, motion.mean[:, at])
                out[lane, at] = self.rows(part, values[lane : lane + 1], some)[0]
            return out
        s, f, every = self.sources, self.density, slice(None)
        flow = self._flow(b, motion, 2)
        weight = b.of_sources(s.c) * values

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return self.kernels.times(
                f.pdf_at(t) * weight[lanes][:, None, :], flow(lanes, rows, every)
            )

        return s.rows(b.points, term, b.source_lane)

    def columns(self, b: Thresholds, values: Floats, motion: Motion) -> Floats:
        """sum_i v_i f(t_ij) dt_ij for every source, 0 for those that are not finite."""
        long = LongSums.of(self.sources, b)
        if long is not None:
            out = long.columns(values, *motion, motion is self.at_x)
            for lane, at, part in b.sparse():
                some = Motion(motion.dot, motion.mean[:, at])
                out[lane] += self.columns(part, values[lane : lane + 1, at], some)[0]
            return out
        s, f, every = self.sources, self.density, slice(None)
        flow = self._flow(b, motion, 1)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return self.kernels.times(
                f.pdf_at(t) * values[lanes][:, None, :], flow(lanes, every, rows)
            )

        return b.of_sources(s.c) * s.columns(b.points, term, b.source_lane)

    def pull(self, b: Thresholds, values: Floats, h: Floats) -> Floats:
        """Return alpha times the cotangents of the sources, for every lane of values.

        Each threshold gives all sources together nothing, and the nearest what the others lack.
        """
        xp = self.xp
        long = LongSums.of(self.sources, b)
        if long is not None:
            out = long.pull(values, h)
            for lane, at, part in b.sparse():
                out[lane] += self.pull(part, values[lane : lane + 1], h[lane : lane + 1, at])[0]
            return out
        s, f = self.sources, self.density
        weight = b.of_sources(s.c) * values

        def kernel(t: Floats, lanes: slice, rows: slice) -> Floats:
            return f.pdf_at(t) * weight[lanes][:, None, :]

        b_bar = self.kernels.times(h, s.rows(b.points, kernel, b.source_lane))
        place = xp.arange(s.shape[1])

        def pulled(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if b.source_lane is None else b.source_lane[lanes]
            q = s.c[source][:, None, :] * b.shares(s.x[source][:, None, :], t, lanes, rows, 2)
            own = self.kernels.times(h[lanes, rows][:, :, None], kernel(t, lanes, rows))
            nearest = place == b.nearest[lanes, rows][:, :, None]
            return xp.where(
                nearest, 0.0, self.kernels.times(q, b_bar[lanes, rows][:, :, None]) - own
            )

        def pulled_columns(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if b.source_lane is None else b.source_lane[lanes]
            x, c = s.x[source][:, rows, None], s.c[source][:, rows, None]
            q = c * b.shares(x, t, lanes, slice(None), 1)
            own = self.kernels.times(
                h[lanes][:, None, :], f.pdf_at(t) * weight[lanes, rows][:, :, None]
            )
            nearest = place[rows, None] == b.nearest[lanes][:, None, :]
            others = self.kernels.times(q, b_bar[lanes][:, None, :]) - own
            return xp.where(nearest, rest[lanes][:, None, :], others)

        rest = xp.where(b.solved, -s.rows(b.points, pulled, b.source_lane), 0.0)
        return s.columns(b.points, pulled_columns, b.source_lane)

    def multiply_lanes(
        self, lanes: Floats, source_lane: Indices, *, transpose: bool, descending: bool
    ) -> Floats:
        """Return P, or P.T, times lanes given and returned in the caller's order."""
        s = self.sources

        def turned(a: Floats) -> Floats:
            return s.kernels.contiguous(a[:, ::-1]) if descending else a

        if transpose:
            return s.from_order(self.multiply(turned(lanes), source_lane, True), source_lane)
        return turned(self.multiply(s.to_order(lanes, source_lane), source_lane, False))
