"""What a backend is: kernels by topic.

Arrays are as `types` says.  `source_lane` holds, for each lane, the lane of the sources that it
belongs to.
What `portable.Portable` lacks of these is what a new backend must have: its primitives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from .types import (
    Array,
    DType,
    Entries,
    EvenKernel,
    Flags,
    Floats,
    Indices,
    Intervals,
    Namespace,
    Ordered,
    Pair,
    Points,
    Products,
    PulledTargets,
    Roots,
    Selected,
    ShortOperator,
    SourceLanes,
    Table,
)


class LinearProducts(Protocol):
    """A matrix that is known by its products."""

    shape: tuple[int, int]
    dtype: DType

    def matvec(self, v: Array) -> Array:
        """Return the product with a vector."""
        ...

    def rmatvec(self, v: Array) -> Array:
        """Return the product of the transpose with a vector."""
        ...

    def toarray(self) -> Array:
        """Return the matrix."""
        ...


class Lanes(Protocol):
    """Conversions between the caller's arrays and lanes, and what is done with any lanes.

    `on_host` tells arrays that NumPy can read, whose values may be looked at without waiting.
    """

    @property
    def xp(self) -> Namespace: ...
    @property
    def array_type(self) -> type: ...
    @property
    def on_host(self) -> bool: ...

    def quiet(self) -> AbstractContextManager[object]:
        """Return a context in which nothing warns of floating-point events."""
        ...

    def holds(self, value: object) -> bool:
        """Return whether `value` is an array of this backend."""
        ...

    def identity(self, lanes: int) -> Indices:
        """Return the source lane of lanes that are their own sources."""
        ...

    def numbers(self, scalars: Mapping[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Floats]:
        """Return arrays, one number each or one for every lane, in the shapes given with them."""
        ...

    def contiguous(self, a: Array) -> Floats:
        """Return `a` as C-contiguous float64, the same object where it is that already."""
        ...

    def entries(self, a: Array) -> Entries:
        """Return the same of an array whose reader takes float32 as it is."""
        ...

    def own(self, a: Any) -> Any:
        """Return a copy of `a`, of the same dtype and in C order."""
        ...

    def detached(self, a: Floats) -> Floats:
        """Return `a`, a row of more, so that it keeps no memory of what is beside it alive."""
        ...

    def finish(self, a: Array, dtype: DType) -> Any:
        """Return `a` rounded once to `dtype`; 0-d results may be scalars."""
        ...

    def freeze(self, a: Any) -> Any:
        """Return `a`, which nobody else holds, so that no change of it reaches who gave it."""
        ...

    def linear_operator(self, products: LinearProducts) -> Any:
        """Return a LinearOperator of the library."""
        ...

    def times(self, a: Floats, b: Floats) -> Floats:
        """Return a * b, where nothing times an infinity is nothing."""
        ...

    @property
    def pairs_at_once(self) -> int:
        """How many pairs of two entries are looked at together, where all of them are."""
        ...

    def step(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for finite numbers, which broadcast; their difference may overflow."""
        ...

    def apart(self, points: Points, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for points b and finite sources x, which broadcast."""
        ...

    def maybe_any(self, flags: Flags) -> bool:
        """Return whether any flag may be set; a device says yes rather than wait to know."""
        ...

    def surely_within(self, values: Array, bound: float) -> bool:
        """Return whether all values are smaller in size than `bound`; a device says no likewise."""
        ...

    def sum_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Add up the lanes of `values` that share a source lane: (lanes, ...)."""
        ...

    def min_lanes(self, values: Floats, source_lane: Indices, lanes: int) -> Floats:
        """Return the smallest of the values, one a lane, that share a source lane: (lanes,)."""
        ...

    def rescale(self, totals: Floats, *arrays: Floats) -> tuple[Floats, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one.

        The first axis of all is that of `totals`.  Only the proportions of weights matter to
        thresholds, but products of subnormal ones, or of some near the largest float, do not keep
        them.
        """
        ...

    def mute(self, results: Array, weights: Floats) -> Flags | None:
        """Make results of zero weight that are not finite 0, in place, and tell which; None: none.

        For backends whose selection does not do so itself.
        """
        ...

    def round_beside(self, weights: Floats, results: Array, dtype: DType) -> Array:
        """Return results rounded to `dtype`; those of zero weight that overflow are 0.

        A device's kernels that write results of that type have made them so.
        """
        ...

    def levels(self, q: Floats, totals: Floats | None, n: int) -> Floats:
        """Return the levels q, (lanes, steps), of the totals; None for these is n.

        On a device they are NaN where q is not in (0, 1), which nobody has checked.
        """
        ...


class Order(Protocol):
    """Entries brought into ascending order, and lanes beside them."""

    def order(
        self,
        x: Entries,
        alpha: Floats,
        weights: Floats | None,
        totals: Floats | None,
        known: Any = None,
    ) -> Ordered:
        """Order the entries, as `entries` returns them; weights of zero are absent entries.

        `known` is their order, where it is.  On a device lanes are spoilt, too, by an alpha or by
        weights (NaN among their `totals`) that the host would have refused.
        """
        ...

    def ascending(self, x: Entries, alpha: Floats) -> Ordered:
        """Return the same, perhaps without the order."""
        ...

    def near_integers(self, x: Array, alpha: Floats, reach: float) -> Floats:
        """Return floats with the same differences in lanes that hold integers beyond 2**53.

        `x` are of 64 bits, (lanes, n), signed or not; other lanes stay as they are.  Gaps
        wider than `reach` alpha, across which nothing is felt, shrink, and the others keep all
        their digits.
        """
        ...

    def arrays_of_order(self, order: Any) -> tuple[Array, ...]:
        """Return an order as arrays that nobody else holds, the first axis that of lanes."""
        ...

    def order_of_arrays(self, arrays: Sequence[Array]) -> Any:
        """Undo `arrays_of_order`."""
        ...

    def forms_of_order(self, lanes: int, n: int) -> tuple[tuple[tuple[int, ...], DType], ...]:
        """Return the shapes and dtypes of these arrays for lanes of n entries."""
        ...

    def arrange(self, targets: Floats, sources: int) -> tuple[Floats, Any]:
        """Return targets in the order that finds them soonest, and that order; None: as given."""
        ...

    def to_order(self, values: Array, order: Any, source_lane: Indices | None = None) -> Floats:
        """Return every lane of `values` in the order of its lane, or of its source lane."""
        ...

    def from_order(
        self,
        values: Floats,
        order: Any,
        source_lane: Indices | None = None,
        dtype: DType | None = None,
    ) -> Floats:
        """Undo `to_order`; where `dtype` is float32 the result may be rounded to it."""
        ...


class Scans(Protocol):
    """Sums along sorted lanes, without growing errors."""

    def decays(self, gap: Floats) -> Floats:
        """Return e^{-gap} in the form that `scan` and `moments` take."""
        ...

    def scan(
        self, decay: Floats | None, values: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; without decay running sums."""
        ...

    def scan_both(
        self,
        gap: Floats,
        values: Floats | None,
        source_lane: Indices | None,
        out: Pair | None = None,
    ) -> Pair:
        """Return the scan of values, None for ones, and its mirror, in `out` if given.

        Without `source_lane` each lane has its own gaps.
        """
        ...

    def moments(
        self, decay: Floats, step: Floats, base: Floats, source_lane: Indices, reverse: bool
    ) -> Floats:
        """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m.

        `step` holds v_m - v_{m-1}, `base` the scan of w in the same direction.
        """
        ...

    def cumulate(self, values: Floats) -> Pair:
        """Return running sums as unevaluated pairs."""
        ...

    def places(self, rising: Floats, values: Floats, source_lane: Indices) -> Indices:
        """Return how many numbers of its ascending lane each value exceeds."""
        ...

    def running_largest(self, values: Floats) -> Floats:
        """Return the largest value so far of each lane."""
        ...

    def totals(self, values: Floats) -> Floats:
        """Return correctly rounded sums, (lanes,), of non-negative values."""
        ...


class Targets(Protocol):
    """Points among sorted sources: reads of their sums, the transposes, and ranks."""

    def locate(self, sources: SourceLanes, points: Points, source_lane: Indices) -> Indices:
        """How many sources are <= each point; 0 if it is NaN."""
        ...

    def distances(
        self, sources: SourceLanes, points: Points, source_lane: Indices, below: Indices
    ) -> Pair:
        """Distances over alpha to the sources left and right, infinite for none; NaN for NaN."""
        ...

    def level(
        self, sources: SourceLanes, targets: Floats, source_lane: Indices, below: Indices
    ) -> Floats:
        """S at targets, NaN where they are."""
        ...

    def gather(
        self,
        nodes: Pair,
        source_lane: Indices,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
    ) -> Floats:
        """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target; none where `at` has none.

        A lane of the result reads the lane of `nodes` that `source_lane` says, and those of `at`
        and `by` that `lane` says.
        """
        ...

    def scatter(
        self,
        values: Floats,
        at: tuple[Indices, Indices],
        by: Pair,
        lane: Indices,
        source_lane: Indices,
        shape: tuple[int, int],
    ) -> Pair:
        """Apply the transpose of `gather`."""
        ...

    def ranks(self, sources: SourceLanes, dtype: DType) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN in lanes with one.

        An absent NaN has the rank 0.
        It is float32 if `dtype` is; other dtypes are rounded to later.
        """
        ...

    def ranks_vjp(self, sources: SourceLanes, sign: float, bar: Floats) -> Pair | None:
        """Cotangents of x and alpha for `bar`, finite, that of the ranks of lanes without weights.

        Both are in the caller's order, and the ranks are those of sources sign x.  None if the
        backend has no such kernel.
        """
        ...

    def ranks_jvp(
        self, sources: SourceLanes, sign: float, x_dot: Floats | None, alpha_dot: Floats | None
    ) -> Floats | None:
        """Tangent of the same ranks, in the caller's order, for finite ones of x and alpha.

        None for these is zero, and as a result that the backend has no such kernel.
        """
        ...

    def weighted_ranks_vjp(
        self, sources: SourceLanes, sign: float, bar: Floats
    ) -> tuple[Floats, Floats, Floats] | None:
        """Cotangents of x, alpha and the weights for a finite `bar`, in lanes without absent ones.

        All are in the caller's order; None if the backend has no such kernel.
        """
        ...

    def targets_vjp(
        self, sources: SourceLanes, targets: Floats, below: Indices, bar: Floats
    ) -> PulledTargets | None:
        """Cotangents for a finite `bar` of S at ascending targets, NaN last, of lanes of their own.

        `below` is as from `locate`.  None if the backend has no such kernel.
        """
        ...


class Thresholds(Protocol):
    """Points at which the sum of the sources' CDFs reaches a level."""

    def solve(
        self, sources: SourceLanes, levels: Floats, source_lane: Indices, full: bool
    ) -> Roots:
        """Roots of S(b) = level, with what derivatives need if `full`."""
        ...

    def solve_steps(self, sources: SourceLanes, first: float, steps: int, full: bool) -> Roots:
        """Return the same at the levels first, first + 1, ... of every lane, for unit weights."""
        ...

    def complete(
        self, sources: SourceLanes, levels: Floats, roots: Roots, source_lane: Indices
    ) -> Roots:
        """Return roots that `solve` gave, with what derivatives need."""
        ...

    def anchors(self, x: Floats, roots: Roots, source_lane: Indices) -> Pair:
        """Return the two sources that anchor each root."""
        ...

    def levels_vjp(
        self, sources: SourceLanes, levels: Floats, below: Indices, bar: Floats
    ) -> PulledTargets | None:
        """Cotangents for a finite `bar` of the roots at ascending levels, NaN last.

        `below` is that of the roots.  None if the backend has no such kernel.
        """
        ...

    def thresholds(self, sources: SourceLanes, roots: Roots, source_lane: Indices) -> Floats:
        """(lo + hi)/2 + alpha u, rounded, of the anchors of each root."""
        ...

    def sorted_values(self, sources: SourceLanes, first: float, steps: int, dtype: DType) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending.

        NaN in lanes without sources.
        """
        ...

    def sorted_vjp(self, sources: SourceLanes, first: float, bar: Floats) -> Pair | None:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`.

        None if the backend has no such kernel.
        """
        ...


class Selection(Protocol):
    """Few thresholds a lane without sorting, and F((b - z)/alpha) of all entries z = sign x.

    `x` is as `entries` returns it.  Kernels of derivatives are for `fused_lanes` alone.
    """

    def select_topk(
        self,
        x: Entries,
        weights: Floats | None,
        sign: float,
        levels: Floats,
        totals: Floats | None,
        alpha: Floats,
        allowance: float,
        logarithm: bool,
        copy: bool,
        out: Entries | None,
    ) -> Selected:
        """Solve one level a lane, infinite where it is the total; results at the entries.

        On a device levels are not so yet: one that exceeds the total by up to `allowance` of it
        counts as it.
        These are F((b - z)/alpha) or its logarithm, of the dtype of x or in the memory of `out`.
        With `copy`, x is copied as it is read.
        """
        ...

    def select_quantiles(
        self, x: Entries, weights: Floats | None, q: Floats, totals: Floats | None, alpha: Floats
    ) -> Selected:
        """Solve a few levels a lane, given as shares q, (lanes, few), of the total."""
        ...

    def allowed_levels(
        self, levels: Floats, totals: Floats | None, n: int, allowance: float
    ) -> Floats:
        """Return levels as `select_topk` takes them, infinite where they are the total.

        On a device they are NaN where they are not in [0, total], which nobody has checked.
        """
        ...

    def fused_lanes(self, selected: Selected) -> Flags:
        """Return, (lanes,), for which the kernels of derivatives below are right."""
        ...

    def topk_vjp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        bar: Entries,
        logarithm: bool,
    ) -> tuple[Array, Floats, Floats] | None:
        """Cotangents of x, of the level and of alpha for that of F or of its logarithm.

        None if the backend has no such kernel.
        """
        ...

    def topk_jvp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        x_dot: Floats | None,
        level_dot: Floats,
        alpha_dot: Floats,
        logarithm: bool,
    ) -> Floats | None:
        """Tangent of F or of its logarithm; None if the backend has no such kernel."""
        ...

    def softmax_products(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        alpha: Floats,
        dot: Floats | None,
        bar: Floats | None,
    ) -> Products | None:
        """Return sums with the softmax weights of few thresholds; None without such a kernel."""
        ...

    def quantiles_vjp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats,
        totals: Floats,
        alpha: Floats,
        bar: Floats,
    ) -> Floats | None:
        """Cotangent of the weights for that of a few thresholds a lane at shares of their total.

        None if the backend has no such kernel.
        """
        ...

    def probabilities(self, block: Floats, x: Floats, alpha: Floats, logarithm: bool) -> Floats:
        """F((b - x)/alpha), or its logarithm, for one threshold a lane."""
        ...

    def offsets(self, lo: Floats, hi: Floats, u: Floats, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for one threshold a lane, (lanes, 1), or for as many as there are x."""
        ...

    def steps(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for one origin a lane, (lanes,)."""
        ...

    def exp(self, t: Floats) -> Floats:
        """e^t for t <= 0."""
        ...

    def cdf(self, t: Floats) -> Floats:
        """F(t)."""
        ...

    def pdf(self, t: Floats) -> Floats:
        """f(t)."""
        ...

    def logcdf_slope(self, t: Floats) -> Floats:
        """f(t)/F(t)."""
        ...

    def shares(
        self, nodes: Pair, q: Pair, density: Floats, x: Floats, t: Floats, alpha: Floats
    ) -> Floats:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane, from its neighbours."""
        ...


class Permutation(Protocol):
    """Differences of F between neighbouring thresholds: matrices, and products without them."""

    def widths(self, lo: Floats, hi: Floats, u: Floats, alpha: Floats, n: int) -> Floats:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        ...

    def permutation(
        self,
        sources: SourceLanes,
        below: Indices,
        points: Points,
        width: Floats,
        dtype: DType,
    ) -> Array:
        """F(t_ij) - F(t_{i-1,j}), (lanes, n, n), columns in the caller's order.

        It is float32 if `dtype` is, else float64.
        """
        ...

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
        """Tangent of the matrix of entries x, in the caller's order.

        `nodes` and `deviation`, (2, lanes, n - 1), are the neighbours of the thresholds and how far
        they are, over alpha, from the mean of all entries.
        """
        ...

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
        ...

    def intervals(self, sources: SourceLanes) -> Intervals:
        """Return the rows of the permutation, as products need them."""
        ...

    def collect(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add inside * values to `out`, by row."""
        ...

    def collect_transpose(
        self, values: Floats, inside: Floats, row: Indices, source_lane: Indices, out: Floats
    ) -> None:
        """Add the transpose of `collect` to `out`."""
        ...

    def transpose_product(
        self, sources: SourceLanes, rows: Intervals, positions: Floats, source_lane: Indices
    ) -> Floats:
        """P.T times lanes of finite positions, at the sorted sources."""
        ...

    def permute_vjp(self, sources: SourceLanes, values: Floats, positions: Floats) -> Pair | None:
        """Cotangents of x and alpha of sum_ij positions_i P_ij values_j, in lanes of their own.

        Values, and the cotangent of x, are in the caller's order, positions in ascending order; all
        are finite.  None if the backend has no such kernel.
        """
        ...

    def permute_jvp(
        self,
        sources: SourceLanes,
        values: Floats,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats | None:
        """Tangent of P times values, in ascending order, due to those of x and alpha, likewise."""
        ...

    def level_ties(self, x: Floats, source_lane: Indices, values: Floats) -> None:
        """Give equal sources the result of the first of them, in place."""
        ...


class ShortLanes(Protocol):
    """An operator on short lanes: its values, and products with its derivatives.

    `lanes` are its arguments by name but for "q", or copies if products are to follow.  Of each
    result comes which lanes, (lanes,), are left to other kernels, and hold anything; None for none.
    So do all results in `nan` lanes, which hold a NaN.  Where products `may_warn` of floating-point
    events they are to be had in a quiet context.
    """

    @property
    def may_warn(self) -> bool: ...
    @property
    def lanes(self) -> dict[str, Array]: ...
    @property
    def values(self) -> Array: ...
    @property
    def left(self) -> Flags | None: ...
    @property
    def nan(self) -> Flags | None: ...

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents by name, that of "x" in float32 if it and `bar` are."""
        ...

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent of the values."""
        ...


class ShortPermutation(Protocol):
    """Soft permutations of short lanes x, and derivatives of products with them.

    `source_lane` holds which of x the lanes of values belong to.  Rows are in ascending order; what
    belongs to entries is as it was given.  With F(t_ij) at the thresholds between the rows, `left`,
    (lanes,), says for which lanes of x all results are anything; None for none.
    """

    @property
    def x(self) -> Array: ...
    @property
    def nan_lanes(self) -> Flags | None: ...
    @property
    def left(self) -> Flags | None: ...

    def multiply(self, values: Floats, source_lane: Indices, transpose: bool) -> Floats:
        """Return P, or its transpose, times lanes of values."""
        ...

    def pull(
        self, entries: Floats, rows: Floats, by_rows: bool, source_lane: Indices
    ) -> tuple[Floats, Floats, Floats]:
        """Return the derivatives of sum_ij rows_i P_ij entries_j, for lanes of both.

        They are that in the rows, or else in the entries, and those in x and alpha.
        """
        ...

    def push(
        self,
        values: Floats | None,
        h: Floats | None,
        source_lane: Indices,
        x_dot: Floats | None,
        alpha_dot: Floats | None,
    ) -> Floats:
        """Return the tangent of sum_j F(t_ij) v_j, (lanes, n - 1), or of sum_i h_i F(t_ij)."""
        ...


class Short(Protocol):
    """Whole operators on lanes so short that several are done at once.

    These have at most `longest_short` entries; it is 0 if there are no such kernels.
    """

    @property
    def longest_short(self) -> int: ...

    def short_lanes(
        self,
        operator: ShortOperator,
        density: EvenKernel | None,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        weights: Floats | None,
        total: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return the results of an operator on z = sign x; None where there is no such kernel.

        `density` is None for Laplace's; by another, lanes may be longer for some operators.

        `levels` are those of top-k, one a lane and infinite where it is the total, or, for
        quantiles, shares of `total`, (lanes, few).  Sorts have no weights: x itself is sorted, in
        descending order where the sign is -1.  Values like x are of its dtype, or in the memory of
        `out`; products may follow if `keep`.
        """
        ...

    def short_permutation(
        self, density: EvenKernel, x: Entries, alpha: Floats
    ) -> ShortPermutation | None:
        """Return the permutations of lanes x; None where there is no such kernel."""
        ...

    def short_permute(
        self,
        x: Entries,
        sign: float,
        alpha: Floats,
        values: Floats,
        transpose: bool,
        keep: bool,
    ) -> ShortLanes | None:
        """Return products of the permutation of x, or its transpose, with values, likewise.

        Rows are in descending order where the sign is -1.
        """
        ...


class Densities(Protocol):
    """What other densities need: sums by tables, and functions that no array library has.

    Of Student's t, `log_pdf` is log f(t), and t is not negative.
    """

    @property
    def has_trees(self) -> bool:
        """Whether `tree_sums` is there."""
        ...

    def erf(self, t: Floats) -> Floats:
        """Return the error function of t."""
        ...

    def erfc(self, t: Floats) -> Floats:
        """1 - erf(t)."""
        ...

    def erfcx(self, t: Floats) -> Floats:
        """e^{t^2} erfc(t)."""
        ...

    def student_tail(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(-t)."""
        ...

    def student_centre(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(t) - 1/2."""
        ...

    def student_distance(self, df: float, q: Floats, log_top: float) -> Floats:
        """Return about the t at which F(-t) = q, for 0 < q <= 1/2; `log_top` is log f(0)."""
        ...

    def tree_sums(
        self, table: Table, x: Floats, low: Floats | None, values: Floats, alpha: Floats
    ) -> Pair | None:
        """sum_j v_j K((x_i - x_j)/alpha) for points x + low in ascending order of x, in two parts.

        The second holds the whole steps of a CDF, exact where values are whole numbers.  None if
        the backend has no such kernel.
        """
        ...


class Kernels(
    Lanes, Order, Scans, Targets, Thresholds, Selection, Permutation, Short, Densities, Protocol
):
    """All that a backend offers."""
