"""Soft permutations and their products, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .._backends.types import Array, Floats, Indices, Points, sum_in_lane
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.permute_rule import PermuteRule
from .._core.rule import Tangents
from .densities import EvenDensity
from .roots import FAR, thresholds_at
from .rules import GeneralEntries, column, density_for, times
from .sums import Sources, blocks, offsets


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

    # ------------------------------------------- derivatives, of products with lanes of any number

    def kernel_rows(self, values: Floats, key: Indices | None) -> Floats:
        """sum_j f(t_ij) v_j for every threshold, over finite sources."""
        s, f = self.sources, self.density

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = lanes if key is None else key[lanes]
            return f.pdf_at(t) * (s.c[source] * values[lanes])[:, None, :]

        return s.rows(self._points(key), term, key)

    def kernel_columns(self, values: Floats, key: Indices | None) -> Floats:
        """sum_i f(t_ij) w_i for every source, 0 for those that are not finite."""
        s, f = self.sources, self.density

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            return f.pdf_at(t) * values[lanes][:, None, :]

        source: Any = slice(None) if key is None else key
        return s.c[source] * s.columns(self._points(key), term, key)

    def along_alpha(self, values: Floats, key: Indices | None) -> Floats:
        """sum_j f(t_ij) v_j (sum_k q_ik t_ik - t_ij) for every threshold."""
        s, f = self.sources, self.density
        mean = self.b.by_alpha()

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if key is None else key[lanes]
            kernel = f.pdf_at(t)
            away = np.where(kernel == 0.0, 0.0, mean[source][:, rows, None] - t)
            return kernel * away * (s.c[source] * values[lanes])[:, None, :]

        return s.rows(self._points(key), term, key)

    def along_alpha_columns(self, values: Floats, key: Indices | None) -> Floats:
        """The transpose of `along_alpha`."""
        s, f = self.sources, self.density
        mean = self.b.by_alpha()

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source: Any = lanes if key is None else key[lanes]
            kernel = f.pdf_at(t)
            away = np.where(kernel == 0.0, 0.0, mean[source][:, None, :] - t)
            return kernel * away * values[lanes][:, None, :]

        source: Any = slice(None) if key is None else key
        return s.c[source] * s.columns(self._points(key), term, key)

    def _points(self, key: Indices | None) -> Points:
        if key is None:
            return self.b.points
        lo, hi, u = (None if a is None else a[key] for a in self.b.points)
        if lo is None:
            raise TypeError("thresholds are anchored")
        return Points(lo, hi, u)


class GeneralPermutationMatrix(GeneralEntries):
    """The rule of `soft_permutation`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int = -1,
        descending: bool = False,
        density: Any,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis, density=density)
        self.descending = check_flag("descending", descending)

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result as batch shape + (n, n)."""
        if self.descending:
            lanes = lanes[:, ::-1]
        return lanes.reshape(*self.batch, self.n, self.n)

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`."""
        array = array.reshape(self.count, self.n, self.n)
        return self.kernels.contiguous(array[:, ::-1] if self.descending else array)

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

    def _kernel(self) -> tuple[Floats, Floats]:
        """Return f(t_ij), 0 for infinite entries, and t_ij: (lanes, thresholds, sources)."""
        s, b = self.sources, self.permutation.b
        points = Points(*(a[:, :, None] for a in b.points))  # type: ignore[index]
        t = offsets(points, s.x[:, None, :], s.alpha[:, None, None])
        return s.c[:, None, :] * self.density.pdf_at(t), t

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, b = self.sources, self.permutation.b
        kernel, t = self._kernel()
        change = np.zeros(kernel.shape)
        if "x" in tangents:
            x_dot = s.tangent(tangents["x"])
            change = change + kernel * (b.average(x_dot)[:, :, None] - x_dot[:, None, :])
        if "alpha" in tangents:
            away = np.where(kernel == 0.0, 0.0, b.by_alpha()[:, :, None] - t)
            change = change + kernel * away * tangents["alpha"][:, None, None]
        none = np.zeros((self.count, min(self.n, 1), self.n))
        rows = np.concatenate([none, change / s.alpha[:, None, None], none], axis=1)
        return self._from_order((rows[:, 1:] - rows[:, :-1])[:, : self.n])

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, b = self.sources, self.permutation.b
        lanes, n = self.count, self.n
        key = np.repeat(np.arange(lanes), n)
        bar = s.to_order(bar.reshape(lanes * n, n), key).reshape(lanes, n, n)
        kernel, t = self._kernel()
        flow = times(kernel, bar[:, :-1] - bar[:, 1:])
        bars: dict[str, Array] = {}
        if "x" in wrt:
            x_bar = b.average_transpose(flow.sum(axis=2)) - flow.sum(axis=1)
            bars["x"] = s.cotangent(x_bar / column(s.alpha))
        if "alpha" in wrt:
            away = np.where(kernel == 0.0, 0.0, b.by_alpha()[:, :, None] - t)
            bars["alpha"] = times(flow, away).sum(axis=(1, 2)) / s.alpha
        return bars


class GeneralPermute(PermuteRule):
    """The rule of `soft_permute`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        values: Any,
        alpha: Any,
        *,
        axis: int = -1,
        descending: bool = False,
        transpose: bool = False,
        density: Any,
    ) -> None:
        super().__init__(
            workers, x, values, alpha, axis=axis, descending=descending, transpose=transpose
        )
        self.density = density_for(self.kernels, density)

    @cached_property
    def sources(self) -> Sources:
        """The sorted keys."""
        return Sources(self.kernels, self.density, self.lanes["x"], self.lanes["alpha"])

    @cached_property
    def product(self) -> Permutation:
        """The permutation."""
        return Permutation(self.sources)

    def _reverse(self, lanes: Floats) -> Floats:
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    def multiply(self, lanes: Floats, transpose: bool) -> Floats:
        """Return the product of the permutation, or of its transpose, with lanes."""
        s, key = self.sources, self.key
        if transpose:
            return s.from_order(self.product.multiply(self._reverse(lanes), key, True), key)
        return self._reverse(self.product.multiply(s.to_order(lanes, key), key, False))

    def jvp_of_permutation(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation."""
        s, product, key = self.sources, self.product, self.key
        x_dot = None if x_dot is None else s.tangent(x_dot)
        alpha = column(s.alpha[key])
        if self.transpose:
            h = _fall(self._reverse(self.finite_values))
            out = np.zeros(self.values.shape)
            if x_dot is not None:
                b_dot = product.b.average(x_dot)[key]
                out = out + product.kernel_columns(h * b_dot, key)
                out = out - x_dot[key] * product.kernel_columns(h, key)
            if alpha_dot is not None:
                out = out + product.along_alpha_columns(h, key) * column(alpha_dot[key])
            return s.from_order(out / alpha, key)
        values = s.to_order(self.finite_values, key)
        rows = np.zeros((len(values), product.b.left.shape[1]))
        if x_dot is not None:
            b_dot = product.b.average(x_dot)[key]
            rows = rows + b_dot * product.kernel_rows(values, key)
            rows = rows - product.kernel_rows(values * x_dot[key], key)
        if alpha_dot is not None:
            rows = rows + product.along_alpha(values, key) * column(alpha_dot[key])
        none = np.zeros((len(rows), 1))
        change = np.diff(np.concatenate([none, rows, none], axis=1), axis=1)[:, : self.n]
        return self._reverse(change / alpha)

    def vjp_of_permutation(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        """Return the cotangents of keys and alpha, for both sides of the product."""
        s, product, key = self.sources, self.product, self.key
        values = s.to_order(entries, key)
        h = _fall(self._reverse(positions))
        lanes = s.shape[0]
        bars: dict[str, Floats] = {}
        if "x" in wrt:
            b_bar = h * product.kernel_rows(values, key)
            b_bar = self.kernels.sum_lanes(b_bar, key, lanes)
            own = self.kernels.sum_lanes(values * product.kernel_columns(h, key), key, lanes)
            x_bar = product.b.average_transpose(b_bar) - own
            bars["x"] = s.cotangent(x_bar / column(s.alpha))
        if "alpha" in wrt:
            along = sum_in_lane(h * product.along_alpha(values, key))
            bars["alpha"] = self.kernels.sum_lanes(along, key, lanes) / s.alpha
        return bars


def _fall(positions: Floats) -> Floats:
    """Return u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
