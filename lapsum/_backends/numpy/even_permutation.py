"""Soft permutations of short lanes with other densities: all pairs of an entry and a threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ... import _kernels
from ..types import Array, Entries, Flags, Floats, Indices
from .even_products import TAILS, EvenProducts, times
from .threads import Threads

PAIRS = 2**16  # that are looked at together
LARGE = 2.0**500  # products of two smaller numbers do not overflow


class _Pairs(NamedTuple):
    """Some lanes, F and shares of f at all t_ij = (b_i - x_j)/alpha of theirs, (lanes, n - 1, n).

    F is less by one where `above`, for t > 0.
    """

    lanes: slice
    tails: Floats
    above: Flags
    shares: Floats
    sums: Floats  # of f, for every threshold
    alpha: Floats  # (lanes, 1)
    x: Floats
    anchor: Floats
    u: Floats

    @property
    def t(self) -> Floats:
        """t_ij."""
        away = self.anchor[:, :, None] - self.x[:, None, :]
        out: Floats = away / self.alpha[:, :, None] + self.u[:, :, None]
        return out


class EvenPermutation(EvenProducts):
    """The soft permutations of lanes x, whose thresholds b are at the levels 1, ..., n - 1.

    `source_lane` holds which of x the lanes of products belong to.  Rows are in ascending order,
    and what belongs to entries is in the caller's.
    """

    def __init__(
        self, threads: Threads, f: _kernels.Even, x: Entries, alpha: Floats, far: float
    ) -> None:
        super().__init__(threads, f, x, alpha)
        lanes, n = x.shape
        self.x: Array = x
        self.anchor, self.u, b = np.empty((3, lanes, n - 1))
        results = self.anchor, self.u, b
        self.left = self._even(_kernels.even_solve, x, 1.0, alpha, None, 1.0, n - 1, *results)
        if far < np.inf:
            away = np.maximum(b[:, -1] - x.min(axis=1), x.max(axis=1) - b[:, 0])
            self._leave_distant(away, far)

    @property
    def nan_lanes(self) -> Flags | None:
        """Which lanes hold a NaN."""
        return self.nan

    def _pairs(self, source_lane: Indices | None, count: int) -> Iterator[_Pairs]:
        """Yield all pairs of so many lanes, which are those of x without `source_lane`."""
        n = self.x.shape[1]
        m = n - 1
        for first in range(0, count, max(1, PAIRS // (m * n))):
            lanes = slice(first, min(first + max(1, PAIRS // (m * n)), count))
            own = lanes if source_lane is None else source_lane[lanes]
            x, alpha = self.x[own].astype(np.float64, copy=False), self.lanes["alpha"][own]
            anchor, u = self.anchor[own], self.u[own]
            tails, shares = np.empty((2, len(x), m, n))
            each, sums = np.repeat(x, m, axis=0), np.empty((len(x), m))
            blocks, size = _kernels.short_blocks(len(each))
            self._threads._run(
                partial(_kernels.even_entries, self._f),
                (blocks, size * n),
                *(each, 1.0, np.repeat(alpha, m), anchor.reshape(-1), u.reshape(-1), TAILS),
                *(tails.reshape(-1, n), shares.reshape(-1, n), None, sums.reshape(-1)),
                np.zeros(len(each), np.uint8),
            )
            above, points = np.signbit(tails), (x, anchor, u)
            yield _Pairs(lanes, tails, above, shares, sums, alpha[:, None], *points)

    @staticmethod
    def _matrix(pairs: _Pairs) -> Floats:
        """Return differences of F between neighbouring thresholds, in the tail that is small."""
        count, m, n = pairs.tails.shape
        rows, above = np.zeros((count, m + 2, n)), np.zeros((count, m + 2, n), bool)
        rows[:, 1:-1], above[:, 1:-1], above[:, -1] = pairs.tails, pairs.above, True
        matrix = rows[:, 1:] - rows[:, :-1]
        matrix += above[:, 1:] ^ above[:, :-1]
        return matrix

    def _of_lanes(self, loop: Callable[..., None], source_lane: Indices, *args: Any) -> Indices:
        """Call a loop for lanes of values; return those with numbers that it leaves."""
        given = self.x, self.lanes["alpha"], self.anchor, self.u
        count = len(source_lane)
        if count != len(self.x) or not (source_lane == np.arange(count)).all():
            given = tuple(a[source_lane] for a in given)  # type: ignore[assignment]
        blocks, size = _kernels.short_blocks(count)
        found = np.zeros(count, np.uint8)
        shape = blocks, size * self.x.shape[1]
        self._threads._run(partial(loop, self._f), shape, *given, *args, found)
        if not found.any():
            return np.empty(0, np.intp)
        for known in (self.left, self.nan):
            if known is not None:
                found[known[source_lane]] = 0
        return np.flatnonzero(found)

    def multiply(self, values: Floats, source_lane: Indices, transpose: bool) -> Floats:
        """Return P, or its transpose, times lanes of values."""
        out = np.empty(values.shape)
        some = self._of_lanes(_kernels.even_multiply, source_lane, values, transpose, out)
        if len(some):
            out[some] = self._multiply_any(values[some], source_lane[some], transpose)
        return out

    def _multiply_any(self, values: Floats, source_lane: Indices, transpose: bool) -> Floats:
        """Return the same for values of any size."""
        out = np.empty(values.shape)
        for pairs in self._pairs(source_lane, len(values)):
            matrix, v = self._matrix(pairs), values[pairs.lanes]
            terms = times(matrix, v[:, :, None] if transpose else v[:, None, :])
            out[pairs.lanes] = terms.sum(axis=1 if transpose else 2)
        return out

    # ------------------------------------------------------------------- derivatives of F(t_ij)

    @staticmethod
    def _pulled(pairs: _Pairs, flow: Floats) -> tuple[Floats, Floats]:
        """Return the cotangents of x and alpha for those of F times shares of f."""
        pulled = pairs.shares * flow.sum(axis=2)[:, :, None] - flow
        pulled *= pairs.sums[:, :, None]
        alpha_bar = (pulled * pairs.t).sum(axis=(1, 2)) / pairs.alpha[:, 0]
        return pulled.sum(axis=1) / pairs.alpha, alpha_bar

    @staticmethod
    def _pushed(pairs: _Pairs, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangents of F."""
        dot = np.zeros(pairs.shares.shape)
        if x_dot is not None:
            dot += x_dot[:, None, :]
        if alpha_dot is not None:
            dot += pairs.t * alpha_dot[:, None, None]
        mean = (pairs.shares * dot).sum(axis=2)
        f = pairs.shares * pairs.sums[:, :, None]
        out: Floats = f * (mean[:, :, None] - dot) / pairs.alpha[:, :, None]
        return out

    def pull(
        self, entries: Floats, rows: Floats, by_rows: bool, source_lane: Indices
    ) -> tuple[Floats, Floats, Floats]:
        """Return the derivatives of sum_ij rows_i P_ij entries_j: in rows or entries, x, alpha."""
        out = np.empty(rows.shape), np.empty(rows.shape), np.empty(len(rows))
        given = rows, entries, by_rows
        some = self._of_lanes(_kernels.even_multiply_vjp, source_lane, *given, *out)
        if len(some):
            lanes, v = source_lane[some], entries[some] if by_rows else rows[some]
            product = self._multiply_any(v, lanes, not by_rows)
            again = self._pull_any(entries[some], rows[some], lanes)
            for part, known in zip(out, (product, *again), strict=True):
                part[some] = known
        return out

    def _pull_any(
        self, entries: Floats, rows: Floats, source_lane: Indices
    ) -> tuple[Floats, Floats]:
        """Return those in x and alpha for numbers of any size."""
        x_bar, alpha_bar = np.empty(rows.shape), np.empty(len(rows))
        h = rows[:, :-1] - rows[:, 1:]
        for pairs in self._pairs(source_lane, len(rows)):
            lanes = pairs.lanes
            flow = times(times(pairs.shares, entries[lanes][:, None, :]), h[lanes][:, :, None])
            x_bar[lanes], alpha_bar[lanes] = self._pulled(pairs, flow)
        return x_bar, alpha_bar

    def push(
        self,
        values: Floats | None,
        h: Floats | None,
        source_lane: Indices,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats:
        """Return the tangent of sum_j F(t_ij) v_j, (lanes, n - 1), or of sum_i h_i F(t_ij)."""
        count, n = len(source_lane), self.x.shape[1]
        out = np.empty((count, n if values is None else n - 1))
        for pairs in self._pairs(source_lane, count):
            own, lanes = source_lane[pairs.lanes], pairs.lanes
            change = self._pushed(
                pairs,
                None if x_dot is None else x_dot[own],
                None if alpha_dot is None else alpha_dot[own],
            )
            if values is not None:
                out[lanes] = times(change, values[lanes][:, None, :]).sum(axis=2)
            elif h is not None:
                out[lanes] = times(change, h[lanes][:, :, None]).sum(axis=1)
        return out


class EvenMatrices(EvenPermutation):
    """The same as matrices."""

    def __init__(
        self, threads: Threads, f: _kernels.Even, x: Entries, alpha: Floats, far: float
    ) -> None:
        super().__init__(threads, f, x, alpha, far)
        lanes, n = x.shape
        self.values = np.empty((lanes, n, n))
        self._even(_kernels.even_matrix, x, alpha, self.anchor, self.u, self.values)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x_bar, alpha_bar = np.empty(self.x.shape), np.empty(len(self.x))
        given = self.lanes["alpha"], self.anchor, self.u, bar
        left = self._even(_kernels.even_matrix_vjp, self.x, *given, x_bar, alpha_bar)
        return {"x": x_bar, "alpha": alpha_bar}, left

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        lanes_of_x, n = self.x.shape
        out = np.empty((lanes_of_x, n, n))
        x_dot, alpha_dot = tangents.get("x"), tangents.get("alpha")
        for pairs in self._pairs(None, len(out)):
            lanes = pairs.lanes
            rows = np.zeros((len(pairs.shares), n + 1, n))
            rows[:, 1:-1] = self._pushed(
                pairs,
                None if x_dot is None else x_dot[lanes],
                None if alpha_dot is None else alpha_dot[lanes],
            )
            out[lanes] = rows[:, 1:] - rows[:, :-1]
        return out, self._with_large(*tangents.values())

    def _with_large(self, *arrays: Array) -> Flags | None:
        """Return the lanes that are left, and those of numbers whose differences may overflow."""
        large = np.zeros(len(self.x), bool)
        for a in arrays:
            large |= ~(np.abs(a) < LARGE).reshape(len(a), -1).all(axis=1)
        if self.left is not None:
            large |= self.left
        return large if large.any() else None
