"""Soft permutations and their products, for any density."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .._backends.types import Array, Floats, Indices, Points
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.matrix_rule import MatrixRule
from .._core.rule import Tangents
from .even_density import EvenDensity
from .roots import FAR, over
from .rules import GeneralEntries, column, times
from .solving import thresholds_at
from .sums import Sources, blocks, offsets
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
        lanes, n = s.shape
        levels = np.broadcast_to(np.arange(1.0, max(n, 1)), (lanes, max(n - 1, 0)))
        self.b = thresholds_at(s, levels)
        lo, hi, u = self.b.points
        if hi is None or u is None:
            raise TypeError("thresholds are anchored")
        self.width = np.minimum(s.kernels.widths(lo, hi, u, s.alpha, n), FAR)
        # Around them are thresholds at both infinities.
        none = np.zeros((lanes, min(n, 1)))
        ends = (none, none, none - np.inf), (none, none, none + np.inf)
        before, after = (
            Points(*(np.concatenate(parts, axis=1) for parts in sides))
            for sides in (
                ((ends[0][i], (lo, hi, u)[i]) for i in range(3)),
                (((lo, hi, u)[i], ends[1][i]) for i in range(3)),
            )
        )
        self.before, self.after = before, after
        steps = np.arange(n + 1.0)
        self.at_low, self.at_high = (
            np.diff(np.clip((steps - column(base)) / column(np.maximum(weight, 1.0)), 0.0, 1.0))
            for base, weight in ((0.0 * s.low, s.low), (s.low + s.before[0][:, -1], s.high))
        )

    def matrix(self, lanes: slice, rows: slice, columns: slice) -> Floats:
        """Return some rows and columns, the latter in order of the sources."""
        s = self.sources
        x, alpha = s.x[lanes, columns][:, None, :], s.alpha[lanes][:, None, None]
        low, high = (
            offsets(Points(*(a[lanes, rows][:, :, None] for a in side)), x, alpha)  # type: ignore[index]
            for side in (self.before, self.after)
        )
        low, high = np.clip(low, -FAR, FAR), np.clip(high, -FAR, FAR)
        out = self.density.between(low, high, self.width[lanes, rows][:, :, None])
        given = s.given[lanes, columns][:, None, :]
        out = np.where(given == -np.inf, self.at_low[lanes, rows][:, :, None], out)
        return np.where(given == np.inf, self.at_high[lanes, rows][:, :, None], out)

    def multiply(self, values: Floats, key: Indices, transpose: bool) -> Floats:
        """Return the product with every lane of values, whose entries are in order."""
        s = self.sources
        out = np.zeros(values.shape)
        n = s.shape[1]
        own = len(key) == s.shape[0] and bool((key == np.arange(len(key))).all())
        for lanes, rows in blocks(s.shape[0] if own else 0, n, n):
            part = self._part(lanes, rows, transpose)
            out[lanes, rows] = times(part, values[lanes][:, None, :] + 0.0 * part).sum(axis=-1)
        for lane in () if own else range(s.shape[0]):
            theirs = np.flatnonzero(key == lane)
            for _, rows in blocks(1, n, n):
                part = self._part(slice(lane, lane + 1), rows, transpose)[0]
                for i in theirs:
                    out[i, rows] = times(part, values[i] + 0.0 * part).sum(axis=-1)
        return out

    def _part(self, lanes: slice, rows: slice, transpose: bool) -> Floats:
        every = slice(None)
        if transpose:
            return np.ascontiguousarray(self.matrix(lanes, every, rows).swapaxes(1, 2))
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
        s, origin, mean = self.sources, b.at_nearest(motion.dot), b.of_sources(motion.mean)

        def flow(lanes: slice, rows: slice, columns: slice) -> Floats:
            source: Any = lanes if b.key is None else b.key[lanes]
            dot = np.expand_dims(motion.dot[source][:, columns], 3 - axis)
            near, base = (np.expand_dims(a[lanes][:, rows], axis) for a in (origin, mean))
            return base - over(dot, near, s.alpha[source][:, None, None])

        return flow

    def rows(self, b: Thresholds, values: Floats, motion: Motion) -> Floats:
        """sum_j v_j f(t_ij) dt_ij for every threshold."""
        s, f, every = self.sources, self.density, slice(None)
        flow = self._flow(b, motion, 2)
        weight = b.of_sources(s.c) * values

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return times(f.pdf_at(t) * weight[lanes][:, None, :], flow(lanes, rows, every))

        return s.rows(b.points, term, b.key)

    def columns(self, b: Thresholds, values: Floats, motion: Motion) -> Floats:
        """sum_i v_i f(t_ij) dt_ij for every source, 0 for those that are not finite."""
        s, f, every = self.sources, self.density, slice(None)
        flow = self._flow(b, motion, 1)

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return times(f.pdf_at(t) * values[lanes][:, None, :], flow(lanes, every, rows))

        return b.of_sources(s.c) * s.columns(b.points, term, b.key)

    def pull(self, b: Thresholds, values: Floats, h: Floats) -> Floats:
        """Return alpha times the cotangents of the sources, for every lane of values.

        Each threshold gives all sources together nothing, and the nearest what the others lack.
        """
        s, f = self.sources, self.density
        weight = b.of_sources(s.c) * values

        def kernel(t: Floats, lanes: slice, rows: slice) -> Floats:
            return f.pdf_at(t) * weight[lanes][:, None, :]

        b_bar = times(h, s.rows(b.points, kernel, b.key))
        place = np.arange(s.shape[1])

        def pulled(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if b.key is None else b.key[lanes]
            q = s.c[source][:, None, :] * b.shares(s.x[source][:, None, :], t, lanes, rows, 2)
            own = times(h[lanes, rows][:, :, None], kernel(t, lanes, rows))
            nearest = place == b.nearest[lanes, rows][:, :, None]
            return np.where(nearest, 0.0, times(q, b_bar[lanes, rows][:, :, None]) - own)

        def pulled_columns(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if b.key is None else b.key[lanes]
            x, c = s.x[source][:, rows, None], s.c[source][:, rows, None]
            q = c * b.shares(x, t, lanes, slice(None), 1)
            own = times(h[lanes][:, None, :], f.pdf_at(t) * weight[lanes, rows][:, :, None])
            nearest = place[rows, None] == b.nearest[lanes][:, None, :]
            return np.where(nearest, 0.0, times(q, b_bar[lanes][:, None, :]) - own)

        out = s.columns(b.points, pulled_columns, b.key)
        rest = np.where(b.solved, s.rows(b.points, pulled, b.key), 0.0)
        np.subtract.at(out, (np.arange(len(out))[:, None], b.nearest), rest)
        return out


class GeneralPermutationMatrix(MatrixRule, GeneralEntries):
    """The rule of `soft_permutation`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        density: Any,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis, density=density)
        self.descending = check_flag("descending", descending)

    @cached_property
    def permutation(self) -> Permutation:
        """The permutations."""
        return Permutation(self.sources)

    def _from_order(self, matrices: Floats) -> Floats:
        """Bring columns back into the caller's order."""
        lanes, n = self.count, self.n
        key = np.repeat(np.arange(lanes), n)
        return self.sources.from_order(matrices.reshape(lanes * n, n), key).reshape(lanes, n, n)

    def value(self, out: Array | None = None) -> Array:
        """Return the matrices."""
        s, every = self.sources, slice(None)
        matrices = np.empty((self.count, self.n, self.n))
        for lanes, rows in blocks(self.count, self.n, self.n):
            matrices[lanes, rows] = self.permutation.matrix(lanes, rows, every)
        return with_nan(self.kernels, s.invalid, self._from_order(matrices))

    def _kernel(self) -> Floats:
        """Return f(t_ij), 0 for infinite entries: (lanes, thresholds, sources)."""
        s, b = self.sources, self.permutation.b
        points = Points(*(a[:, :, None] for a in b.points))  # type: ignore[index]
        t = offsets(points, s.x[:, None, :], s.alpha[:, None, None])
        return s.c[:, None, :] * self.density.pdf_at(t)

    def _flow(self, motion: Motion) -> Floats:
        """Return dt_ij."""
        s, b = self.sources, self.permutation.b
        near = b.at_nearest(motion.dot)[:, :, None]
        alpha = s.alpha[:, None, None]
        return motion.mean[:, :, None] - over(motion.dot[:, None, :], near, alpha)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, p = self.sources, self.permutation
        kernel = self._kernel()
        change = np.zeros(kernel.shape)
        if "x" in tangents:
            change = change + times(kernel, self._flow(p.motion(s.tangent(tangents["x"]))))
        if "alpha" in tangents:
            along = -times(kernel, self._flow(p.at_x)) / s.alpha[:, None, None]
            change = change + along * tangents["alpha"][:, None, None]
        none = np.zeros((self.count, min(self.n, 1), self.n))
        rows = np.concatenate([none, change, none], axis=1)
        return self._from_order((rows[:, 1:] - rows[:, :-1])[:, : self.n])

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, p, b = self.sources, self.permutation, self.permutation.b
        lanes, n = self.count, self.n
        key = np.repeat(np.arange(lanes), n)
        bar = s.to_order(bar.reshape(lanes * n, n), key).reshape(lanes, n, n)
        flow = times(self._kernel(), bar[:, :-1] - bar[:, 1:])
        bars: dict[str, Array] = {}
        if "x" in wrt:
            every = slice(None)
            points = Points(*(a[:, :, None] for a in b.points))  # type: ignore[index]
            x = s.x[:, None, :]
            t = offsets(points, x, s.alpha[:, None, None])
            q = s.c[:, None, :] * b.shares(x, t, every, every, 2)
            pulled = times(q, flow.sum(axis=2, keepdims=True)) - flow
            # Each threshold gives all nothing, and the nearest what the others lack.
            nearest = np.arange(n) == b.nearest[:, :, None]
            rest = -np.where(nearest, 0.0, pulled).sum(axis=2, keepdims=True)
            pulled = np.where(nearest & b.solved[:, :, None], rest, pulled)
            bars["x"] = s.cotangent(pulled.sum(axis=1) / column(s.alpha))
        if "alpha" in wrt:
            bars["alpha"] = -times(flow, self._flow(p.at_x)).sum(axis=(1, 2)) / s.alpha
        return bars
