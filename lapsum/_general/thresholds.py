"""Thresholds: the points at which the sum of CDFs takes given levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._backends import formulas
from .._backends.types import Flags, Floats, Indices, Namespace, Points
from .roots import BESIDE_POINTS, FAR
from .sums import Sources
from .tables import EVEN, tree_sums

SPARSE = 1e-3  # sums of f below are not summed by tables, whose errors are relative to f(0)
MANY = 2**22  # from so many pairs of a threshold and a source on, sums are taken by a tree


def sums_between(
    sources: Sources,
    kind: int,
    points: Points,
    values: Floats,
    weights: Floats,
    source_lane: Indices | None,
) -> tuple[Floats, Floats, Floats] | None:
    """Return sums over lanes of sources and points, for values of both, by a tree.

    That is sum_k w_k K((x_j - x_k)/alpha) at the sources, where these sums and whole steps are one,
    and at the points, where they are two.  None where there is no tree.
    """
    lanes, m = points.lo.shape
    n = sources.shape[1]
    if n * m <= MANY or sources.density.strip is None:
        return None
    lane = np.arange(lanes) if source_lane is None else source_lane
    x, alpha = sources.x[lane], sources.alpha[lane]
    away = np.zeros(points.lo.shape)
    if points.u is not None:
        away = alpha[:, None] * np.where(np.isfinite(points.u), points.u, 0.0)
    if points.hi is not None:
        away = away + (0.5 * points.hi - 0.5 * points.lo)
    place = points.lo + away
    moved = place - points.lo
    low = (points.lo - (place - moved)) + (away - moved)  # what the sum was rounded by
    found = tree_sums(
        sources.kernels,
        sources.density,
        kind,
        np.concatenate([x, place], axis=1),
        np.concatenate([np.zeros((lanes, n)), low], axis=1),
        np.concatenate([values, weights], axis=1),
        alpha,
    )
    if found is None:
        return None
    sums, steps = found
    return (sums + steps)[:, :n], sums[:, n:], steps[:, n:]


@dataclass
class Thresholds:
    """Thresholds b = (lo + hi)/2 + alpha u, each of the shape of the levels.

    Attributes
    ----------
    sources : Sources
    source_lane : array of int, or None
        The lane of the sources of each lane.
    points : Points
        Infinite `u` for thresholds at infinity, NaN for none.
    left, right : arrays
        The sources next to b, infinite for none.
    t_left, t_right : arrays
        Their distances from b over alpha.
    by_left, by_right : arrays
        f((b - x_j)/alpha)/sum_k c_k f((b - x_k)/alpha) is this times the ratio of f to that of the
        neighbour on its side.
    density : array
        sum_j c_j f((b - x_j)/alpha).
    nearest : array of int
        The neighbour on the side with the larger part of that sum; what many things differ from.
    along : array
        The mean of (x_nearest - x_j)/alpha with the weights c_j f((b - x_j)/alpha).
    by_alpha : array
        db/dalpha, which is the mean of (b - x_j)/alpha.
    """

    sources: Sources
    source_lane: Indices | None
    points: Points
    left: Floats
    right: Floats
    t_left: Floats
    t_right: Floats
    by_left: Floats
    by_right: Floats
    density: Floats
    nearest: Indices
    along: Floats
    by_alpha: Floats

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.sources.xp

    def over(self, a: Floats, b: Floats, alpha: Floats) -> Floats:
        """Return (a - b)/alpha, where the difference may overflow."""
        return self.sources.kernels.step(b, a, alpha)

    def of_sources(self, a: Floats) -> Floats:
        """Return what belongs to lanes of sources for lanes of thresholds."""
        return a if self.source_lane is None else a[self.source_lane]

    def value(self) -> Floats:
        """Return the thresholds, rounded."""
        lo, hi, u = self.points
        if hi is None or u is None:
            raise TypeError("thresholds are anchored")
        return formulas.threshold(self.xp, lo, hi, u, self.of_sources(self.sources.alpha)[:, None])

    @property
    def solved(self) -> Flags:
        """Which of them are finite."""
        flags: Flags = self.xp.isfinite(self.points.u)  # type: ignore[arg-type]
        return flags

    def shares(self, x: Floats, t: Floats, lanes: slice, rows: slice, axis: int) -> Floats:
        """f(t_ij)/sum_k c_k f(t_ik) for t_ij = (b_i - x_j)/alpha, with thresholds along an axis."""
        xp = self.xp
        names = ("left", "right", "t_left", "t_right", "by_left", "by_right")
        left, right, t_left, t_right, by_left, by_right = (
            xp.expand_dims(getattr(self, name)[lanes, rows], axis) for name in names
        )
        alpha = self.sources.alpha[lanes if self.source_lane is None else self.source_lane[lanes]][
            :, None, None
        ]
        before, after = x <= left, x >= right
        # Only entries of zero weight lie between the two.
        inside = ~(before | after)
        on_left = before | (inside & (by_left > 0.0) & ((t > 0.0) | (by_right == 0.0)))
        near, by = xp.where(on_left, t_left, t_right), xp.where(on_left, by_left, by_right)
        step = self.over(xp.where(before, left, x), xp.where(before, x, right), alpha)
        step = xp.where(inside, xp.abs(t) - near, step)
        step = xp.where(by == 0.0, FAR, xp.clip(step, -near, FAR))
        ratio = xp.exp(self.sources.density.log_pdf_ratio(near, step))
        return xp.where(by == 0.0, 0.0, by * ratio)

    def at_nearest(self, values: Floats) -> Floats:
        """Return what belongs to the nearest source of each threshold."""
        xp = self.xp
        n = self.sources.shape[1]
        if not n:
            return xp.zeros(self.left.shape)
        return xp.take_along_axis(self.of_sources(values), self.nearest, axis=1)

    def differences(self, values: Floats) -> Floats:
        """sum_j q_ij (v_j - v_nearest) with q_ij = c_j f_ij/sum_k c_k f_ik, for values in order."""
        xp = self.xp
        s, origin = self.sources, self.at_nearest(values)
        base = self.of_sources(values)[:, :1]
        weighted = self.of_sources(s.c) * (self.of_sources(values) - base)
        found = self._by_tree(weighted, xp.zeros(self.left.shape))
        if found is not None:
            out = xp.where(self.solved, found[1] / self.density - (origin - base), 0.0)
            for lane, at, part in self.sparse():
                out[lane, at] = part.differences(values)[0]
            return out

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = lanes if self.source_lane is None else self.source_lane[lanes]
            q = s.c[source][:, None, :] * self.shares(s.x[source][:, None, :], t, lanes, rows, 2)
            apart = values[source][:, None, :] - origin[lanes, rows][:, :, None]
            return xp.where(q == 0.0, 0.0, q * apart)

        return s.rows(self.points, term, self.source_lane)

    @property
    def dense(self) -> Flags:
        """Which of them are not in so wide a gap that tables say nothing of it."""
        flags: Flags = self.xp.asarray(~self.solved | (self.density >= SPARSE))
        return flags

    def sparse(self) -> Iterator[tuple[int, Indices, Thresholds]]:
        """Yield the others, of NumPy's: lanes, which of their thresholds, and these."""
        sparse = ~self.dense
        for lane in np.flatnonzero(sparse.any(axis=1)):
            at = np.flatnonzero(sparse[lane])
            parts = {name: getattr(self, name)[lane : lane + 1, at] for name in BESIDE_POINTS}
            points = Points(*(None if a is None else a[lane : lane + 1, at] for a in self.points))  # type: ignore[arg-type]
            source_lane = np.array([lane if self.source_lane is None else self.source_lane[lane]])
            yield int(lane), at, Thresholds(self.sources, source_lane, points, **parts)

    def _by_tree(self, values: Floats, weights: Floats) -> tuple[Floats, Floats, Floats] | None:
        """Return `sums_between` of f, None if no lane is long, or none of them dense enough."""
        if not self.dense.any():
            return None
        return sums_between(self.sources, EVEN, self.points, values, weights, self.source_lane)

    def average(self, values: Floats) -> Floats:
        """sum_j q_ij v_j."""
        some = self.by_left + self.by_right > 0.0
        return self.xp.where(some, self.at_nearest(values) + self.differences(values), 0.0)

    def average_transpose(self, bar: Floats) -> Floats:
        """sum_i q_ij w_i, for every source of each lane of thresholds."""
        xp = self.xp
        s = self.sources
        rates = xp.where(self.solved & self.dense, bar / self.density, 0.0)
        found = self._by_tree(xp.zeros((len(bar), s.shape[1])), rates)
        if found is not None:
            out = self.of_sources(s.c) * found[0]
            for lane, at, part in self.sparse():
                out[lane] += part.average_transpose(bar[lane : lane + 1, at])[0]
            return out

        def term(t: Floats, lanes: slice, rows: slice) -> Floats:
            source = lanes if self.source_lane is None else self.source_lane[lanes]
            x, c = s.x[source][:, rows, None], s.c[source][:, rows, None]
            q = c * self.shares(x, t, lanes, slice(None), 1)
            return xp.where(q == 0.0, 0.0, q * bar[lanes][:, None, :])

        return s.columns(self.points, term, self.source_lane)

    def for_lanes(self, source_lane: Indices) -> Thresholds:
        """Return the thresholds of the sources that lanes belong to, one lane after another."""
        xp = self.xp
        if (
            self.source_lane is None
            and len(source_lane) == len(self.left)
            and (source_lane == xp.arange(len(source_lane))).all()
        ):
            return self
        parts = {name: getattr(self, name)[source_lane] for name in BESIDE_POINTS}
        points = Points(*(None if a is None else a[source_lane] for a in self.points))  # type: ignore[arg-type]
        return Thresholds(self.sources, source_lane, points, **parts)

    def cdf_apart(self, x: Floats, given: Floats, lanes: slice, rows: slice, axis: int) -> Floats:
        """F(t_ij) - F(t_i,nearest), where t is infinite for infinite sources, as given."""
        xp = self.xp
        s, f = self.sources, self.sources.density
        near = self.at_nearest(s.x)
        origin = xp.where(near <= self.left, self.t_left, -self.t_right)
        near, origin = (xp.expand_dims(a[lanes, rows], axis) for a in (near, origin))
        source = lanes if self.source_lane is None else self.source_lane[lanes]
        step = self.over(near, x, s.alpha[source][:, None, None])
        step = xp.clip(xp.where(xp.isfinite(given), step, -given), -FAR, FAR)
        t = origin + step
        apart = f.between(xp.minimum(origin, t), xp.maximum(origin, t), xp.abs(step))
        return xp.copysign(apart, step)

    def rates(self) -> Floats:
        """Return db/dlevel, 0 for thresholds that no level moves."""
        rates = self.of_sources(self.sources.alpha)[:, None] / self.density
        return self.xp.where(self.by_left + self.by_right > 0.0, rates, 0.0)


def from_parts(
    sources: Sources, source_lane: Indices | None, parts: dict[str, Floats]
) -> Thresholds:
    """Return thresholds from what is known of them, by name."""
    points = Points(*(parts.pop(name) for name in ("lo", "hi", "u")))
    nearest: Indices = parts.pop("nearest").astype(np.intp)
    return Thresholds(sources, source_lane, points, nearest=nearest, **parts)
