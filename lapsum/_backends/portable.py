"""Every kernel that follows from the primitives, in operations on whole arrays.

These are the careful twins of what a backend may have fused, and all that a new one has to begin
with.  They are correct for any lane, at the cost of memory and of passes over it.
"""

from __future__ import annotations

from typing import Any

from . import formulas
from .portable_integers import PortableIntegers
from .portable_permutation import PortablePermutation
from .portable_selection import PortableSelection
from .portable_short import PortableShort
from .protocol import Kernels
from .types import (
    Array,
    DType,
    Entries,
    Flags,
    Floats,
    Indices,
    Namespace,
    Ordered,
    Pair,
    Points,
    PulledTargets,
    Roots,
    SourceLanes,
    Table,
)


class Portable(PortableSelection, PortablePermutation, PortableIntegers, PortableShort):
    """The kernels that are no primitives."""

    # ------------------------------------------------------------------------------------- lanes

    def times(self: Kernels, a: Floats, b: Floats) -> Floats:
        """Return a * b, where nothing times an infinity is nothing."""
        return self.xp.where((a == 0.0) | (b == 0.0), 0.0, a * b)

    def detached(self: Kernels, a: Floats) -> Floats:
        """Return a copy of `a`, a row of more."""
        copy: Floats = self.own(a)
        return copy

    @property
    def pairs_at_once(self) -> int:
        """How many pairs of two entries are looked at together."""
        return 2**22

    def step(self: Kernels, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for finite numbers, which broadcast; their difference may overflow."""
        return formulas.step(self.xp, origin, x, alpha)

    def apart(self: Kernels, points: Points, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for points b and finite sources x, which broadcast."""
        lo, hi, u = points
        if hi is None or u is None:
            return formulas.step(self.xp, x, lo, alpha)
        return formulas.offset(self.xp, lo, hi, u, x, alpha)

    def maybe_any(self: Kernels, flags: Flags) -> bool:
        """Return whether any flag is set."""
        return bool(flags.any())

    def surely_within(self: Kernels, values: Array, bound: float) -> bool:
        """Return whether all values are smaller in size than `bound`, and none NaN."""
        return bool((self.xp.abs(values) < bound).all())

    def min_lanes(self: Kernels, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Return the smallest of the values that share a source lane."""
        if not lanes:
            return self.xp.zeros(0)
        ours = source_lane[None, :] == self.xp.arange(lanes)[:, None]
        none = self.xp.full((lanes, 1), self.xp.inf)
        both = [self.xp.where(ours, values, self.xp.inf), none]
        least: Floats = self.xp.concatenate(both, axis=-1).min(axis=-1)
        return least

    def rescale(self: Kernels, totals: Floats, *arrays: Floats) -> tuple[Floats, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one."""
        extreme = (totals > 0.0) & ((totals < 2.0**-960) | (totals > 2.0**1000))
        _, exponent = self.xp.frexp(totals)
        shift = -exponent * extreme
        return tuple(
            self.xp.ldexp(a, shift.reshape(shift.shape + (1,) * (a.ndim - shift.ndim)))
            for a in arrays
        )

    def mute(self: Kernels, results: Array, weights: Floats) -> Flags | None:
        """Make results of zero weight that are not finite 0, in place, and tell which."""
        absent = weights == 0.0
        if not absent.any():
            return None
        muted: Flags = absent & ~self.xp.isfinite(results)
        if not muted.any():
            return None
        results[...] = self.xp.where(muted, 0.0, results)
        return muted

    def round_beside(self: Kernels, weights: Floats, results: Array, dtype: DType) -> Array:
        """Return results rounded to `dtype`; those of zero weight that overflow are 0."""
        with self.quiet():
            rounded = results.astype(dtype)
        rounded[(weights == 0.0) & self.xp.isinf(rounded)] = 0.0
        return rounded

    def levels(self: Kernels, q: Floats, totals: Floats | None, n: int) -> Floats:
        """Return the levels q of the totals, NaN where q is not in (0, 1); None for these is n."""
        levels = q * (float(n) if totals is None else totals[:, None])
        return self.xp.where((q > 0.0) & (q < 1.0), levels, self.xp.nan)

    def allowed_levels(
        self: Kernels, levels: Floats, totals: Floats | None, n: int, allowance: float
    ) -> Floats:
        """Return levels, which have been checked."""
        return levels

    # ------------------------------------------------------------------------------------- order

    def ascending(self: Kernels, x: Entries, alpha: Floats) -> Ordered:
        """Return `order`'s result, which may hold more than was asked for."""
        return self.order(x, alpha, None, None)

    def arrange(self: Kernels, targets: Floats, sources: int) -> tuple[Floats, Any]:
        """Return targets, which stay as they are."""
        return self.contiguous(targets), None

    # ----------------------------------------------------------------------- targets and thresholds

    def distances(
        self: Kernels, sources: SourceLanes, points: Points, source_lane: Indices, below: Indices
    ) -> Pair:
        """Distances over alpha to the sources left and right, infinite for none; NaN for NaN."""
        xp, s = self.xp, sources
        lo, hi, u = points
        alpha = s.alpha[source_lane][:, None]
        spoilt = xp.isnan(lo) if u is None else xp.isnan(lo) | xp.isnan(u)

        def away(node: Floats, sign: float) -> Floats:
            if hi is None or u is None:
                return sign * formulas.step(xp, node, lo, alpha)
            return sign * formulas.offset(xp, lo, hi, u, node, alpha)

        out = []
        for at, there, sign in (
            (below - 1, below > 0, 1.0),
            (below, below < s.present[source_lane][:, None], -1.0),
        ):
            far = xp.where(spoilt, xp.nan, xp.inf)
            out.append(xp.where(there & ~spoilt, away(_read(xp, s.x, at, source_lane), sign), far))
        left, right = out
        return left, right

    def level(
        self: Kernels, sources: SourceLanes, targets: Floats, source_lane: Indices, below: Indices
    ) -> Floats:
        """S at targets, NaN where they are."""
        xp, s = self.xp, sources
        left, right = self.distances(s, Points(targets, None, None), source_lane, below)
        before, after = (
            _read(xp, s.left, below - 1, source_lane),
            _read(xp, s.right, below, source_lane),
        )
        tails = 0.5 * self.times(xp.exp(-right), after) - 0.5 * self.times(xp.exp(-left), before)
        out = below + tails
        if s.pairs is not None:
            high, low = (_read(xp, part, below - 1, source_lane) for part in s.pairs)
            out = xp.where(below == 0, out, high + (low + tails))
        return xp.where(xp.isnan(targets), xp.nan, out)

    def ranks(self: Kernels, sources: SourceLanes, dtype: DType) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN in lanes with one."""
        xp, s = self.xp, sources
        lanes, n = s.x.shape
        source_lane, here = self.identity(lanes), xp.arange(n)
        if s.weights is None or s.pairs is None:
            out = (here + 1) + 0.5 * (s.right - s.left)
        else:
            high, low = s.pairs
            out = high + (low + 0.5 * (((s.right - s.weights) - s.left) + 1.0))
        self.level_ties(s.x, source_lane, out)
        if s.weights is not None:
            # An absent one has the rank of its equals, or one among the others.
            below = self.locate(s, Points(s.x, None, None), source_lane)
            tied = (below > 0) & (_read(xp, s.x, below - 1, source_lane) == s.x)
            equal = _read(xp, out, below - 1, source_lane)
            absent = xp.where(tied, equal, 0.5 + self.level(s, s.x, source_lane, below))
            absent = xp.where(xp.isnan(s.x), 0.0, absent)
            out = xp.where(here < s.present[:, None], out, absent)
        out = self.from_order(out, s.order)
        return out if s.nan_lanes is None else xp.where(s.nan_lanes[:, None], xp.nan, out)

    def ranks_vjp(self: Kernels, sources: SourceLanes, sign: float, bar: Floats) -> Pair | None:
        """Return None: there is no such kernel."""
        return None

    def ranks_jvp(
        self: Kernels,
        sources: SourceLanes,
        sign: float,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats | None:
        """Return None: there is no such kernel."""
        return None

    def weighted_ranks_vjp(
        self: Kernels, sources: SourceLanes, sign: float, bar: Floats
    ) -> tuple[Floats, Floats, Floats] | None:
        """Return None: there is no such kernel."""
        return None

    def targets_vjp(
        self: Kernels, sources: SourceLanes, targets: Floats, below: Indices, bar: Floats
    ) -> PulledTargets | None:
        """Return None: there is no such kernel."""
        return None

    def levels_vjp(
        self: Kernels, sources: SourceLanes, levels: Floats, below: Indices, bar: Floats
    ) -> PulledTargets | None:
        """Return None: there is no such kernel."""
        return None

    def complete(
        self: Kernels, sources: SourceLanes, levels: Floats, roots: Roots, source_lane: Indices
    ) -> Roots:
        """Return the roots, solved once more."""
        return self.solve(sources, levels, source_lane, True)

    def solve_steps(
        self: Kernels, sources: SourceLanes, first: float, steps: int, full: bool
    ) -> Roots:
        """Solve the levels first, first + 1, ... of every lane, for unit weights."""
        lanes = len(sources.x)
        levels = self.xp.broadcast_to(first + 1.0 * self.xp.arange(steps), (lanes, steps))
        return self.solve(sources, self.contiguous(levels), self.identity(lanes), True)

    def anchors(self: Kernels, x: Floats, roots: Roots, source_lane: Indices) -> Pair:
        """Return the two sources that anchor each root."""
        below, side = roots.below, roots.side
        anchored = (below > 0) | (side != 0)
        lo, hi = (
            self.xp.where(anchored, _read(self.xp, x, at, source_lane), self.xp.nan)
            for at in (below - (side <= 0), below - (side < 0))
        )
        return lo, hi

    def thresholds(
        self: Kernels, sources: SourceLanes, roots: Roots, source_lane: Indices
    ) -> Floats:
        """(lo + hi)/2 + alpha u, rounded, of the anchors of each root."""
        s, (lo, hi) = sources, self.anchors(sources.x, roots, source_lane)
        return formulas.threshold(self.xp, lo, hi, roots.u, s.alpha[source_lane][:, None])

    def sorted_values(
        self: Kernels, sources: SourceLanes, first: float, steps: int, dtype: DType
    ) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending."""
        source_lane = self.identity(len(sources.x))
        roots = self.solve_steps(sources, first, steps, False)
        out = self.thresholds(sources, roots, source_lane)
        largest: Array = self.running_largest(out)
        return largest.astype(dtype, copy=False)

    def sorted_vjp(self: Kernels, sources: SourceLanes, first: float, bar: Floats) -> Pair | None:
        """Return None: there is no such kernel."""
        return None

    def places(self: Kernels, rising: Floats, values: Floats, source_lane: Indices) -> Indices:
        """Return how many numbers of its ascending lane each value exceeds."""
        n = rising.shape[1]
        low, high = 0 * (values < 0.0), 0 * (values < 0.0) + n
        for _ in range(n.bit_length()):
            middle = (low + high) // 2
            less = _read(self.xp, rising, middle, source_lane) < values
            less = less & (middle < high)
            low, high = self.xp.where(less, middle + 1, low), self.xp.where(less, high, middle)
        return low

    def running_largest(self: Kernels, values: Floats) -> Floats:
        """Return the largest value so far of each lane."""
        largest: Floats = _running_largest(self.xp, values)
        return largest

    has_trees = False

    def tree_sums(
        self: Kernels, table: Table, x: Floats, low: Floats | None, values: Floats, alpha: Floats
    ) -> Pair | None:
        """Return None: there is no such kernel."""
        return None

    def level_ties(self: Kernels, x: Floats, source_lane: Indices, values: Floats) -> None:
        """Give equal sources the result of the first of them, in place."""
        xp, n = self.xp, values.shape[1]
        if n:
            begins = xp.concatenate([x[:, :1] == x[:, :1], x[:, 1:] != x[:, :-1]], axis=-1)
            first = _running_largest(xp, begins * xp.arange(n))
            values[...] = xp.take_along_axis(values, first[source_lane], axis=-1)


def _read(xp: Namespace, nodes: Floats, at: Indices, source_lane: Indices) -> Floats:
    """Return what nodes hold at places of their lanes; anything where there is no such place."""
    n = nodes.shape[1]
    if not n:
        return xp.zeros(at.shape)
    return xp.take_along_axis(nodes[source_lane], at.clip(0, n - 1), axis=-1)


def _running_largest(xp: Namespace, values: Any) -> Any:
    """Return the largest value so far of each lane, by strides that double."""
    stride = 1
    while stride < values.shape[1]:
        larger = xp.maximum(values[:, stride:], values[:, :-stride])
        values = xp.concatenate([values[:, :stride], larger], axis=-1)
        stride *= 2
    return values
