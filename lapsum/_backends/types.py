"""The types of arrays, and what kernels return.

An array is (lanes, n) in C order, with one number a lane in (lanes,), float64 unless it says
otherwise.  All arrays are typed as NumPy's, whose methods and operators those of other libraries
share.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Entries: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Flags: TypeAlias = NDArray[np.bool_]
Pair: TypeAlias = tuple[Floats, Floats]
DType: TypeAlias = np.dtype[Any]
ShortOperator: TypeAlias = Literal["topk", "log_topk", "ranks", "sorts", "quantiles", "permutation"]

EXACT = 2**53  # the largest integer up to which all are floats
NEAR = 1e-12  # the least density alpha dS/db of a threshold whose softmax weights are quotients


class Ordered(NamedTuple):
    """Entries in ascending order, absent ones last.

    `gap` holds the distances between neighbours over alpha, infinite where there is no pair;
    `present`, (lanes,), how many are not absent; `nan_lanes`, (lanes,), which lanes are spoilt and
    hold none, or None if none is; `order` is the backend's own, None if it was not asked for;
    `room` is memory for two more arrays of that shape.
    """

    x: Floats
    gap: Floats
    present: Indices
    nan_lanes: Flags | None
    order: Any
    weights: Floats | None
    room: Pair


class SourceLanes(NamedTuple):
    """Sorted sources, as in `Ordered`, and the sums of their weights.

    `left` and `right` are the decaying sums from both sides, `pairs` the running sums as
    unevaluated pairs; without weights, which then are all one, `weights` and `pairs` are None.
    """

    x: Floats
    gap: Floats
    present: Indices
    nan_lanes: Flags | None
    order: Any
    alpha: Floats
    weights: Floats | None
    pairs: Pair | None
    left: Floats
    right: Floats


class Points(NamedTuple):
    """The points (lo + hi)/2 + alpha u, or `lo` where the others are None."""

    lo: Floats
    hi: Floats | None
    u: Floats | None


class Roots(NamedTuple):
    """Roots b of S(b) = level, each of the shape of the levels.

    `below` sources are below b; `side` says which of the two next to it anchors it: -1, 1, or 0 for
    both; `u` is its offset from there.  `kernel` holds e^{-distance} to both, `softmax` the factors
    that make softmax weights of it, `density` alpha dS/db, `centre` is as in `laplace.h`; they are
    None unless derivatives were asked for.
    """

    below: Indices
    side: NDArray[np.int8]
    u: Floats
    kernel: Pair | None = None
    softmax: Pair | None = None
    density: Floats | None = None
    centre: Floats | None = None


class AnchoredThresholds(NamedTuple):
    """Thresholds b = (lo + hi)/2 + alpha u among unsorted entries, one a lane or several.

    `left` and `right` are the entries next to b on both sides, or points nearer to it (NaN for
    none); `q_left` and `q_right` the factors of the softmax weights there, as in `Roots`; `density`
    alpha dS/db; `value` b rounded; `centre` as in `laplace.h`.  Kernels give and take them stacked,
    as one `block`.
    """

    lo: Floats
    hi: Floats
    u: Floats
    left: Floats
    right: Floats
    q_left: Floats
    q_right: Floats
    density: Floats
    value: Floats
    centre: Floats


DENSITY, VALUE = (AnchoredThresholds._fields.index(name) for name in ("density", "value"))


class Selected(NamedTuple):
    """What a selection found.

    `block` is the stacked `AnchoredThresholds`.  `unsolved`, (lanes,), are the lanes that are left
    to be solved by sorting, None for none; `state` is the backend's own.  `x` holds the entries, a
    copy if one was asked for, `p` the results at them, if they were.  `nan_lanes`, (lanes,), and
    `absent`, (lanes, 1), are the lanes that are spoilt and those without entries, `muted`,
    (lanes, n), the entries of no weight whose results were not finite, and are 0; None for none
    known.
    """

    block: Floats
    unsolved: Flags | None
    state: Any
    x: Entries
    p: Entries | None
    nan_lanes: Flags | None
    absent: Flags | None
    muted: Flags | None = None

    @property
    def thresholds(self) -> AnchoredThresholds:
        """The rows of the block."""
        return AnchoredThresholds(*self.block)

    @property
    def density(self) -> Floats:
        """Its row of densities, which is asked for alone."""
        row: Floats = self.block[DENSITY]
        return row

    @property
    def value(self) -> Floats:
        """Its row of rounded thresholds, likewise."""
        row: Floats = self.block[VALUE]
        return row


class Products(NamedTuple):
    """Sums with the softmax weights q_ij of thresholds b_i.

    `average` is sum_j q_ij dot_j, `by_alpha` sum_j q_ij (b_i - x_j)/alpha, and `x_bar` is
    sum_i bar_i q_ij.  The first is not defined without `dot`, the last is None without `bar`.
    """

    average: Floats
    by_alpha: Floats
    x_bar: Array | None


class PulledTargets(NamedTuple):
    """Cotangents of targets or levels, in their order, and of sources, alpha and weights.

    Those of the sources are in the caller's order, and None without weights; all are right in the
    `lanes`, (lanes,).
    """

    targets: Floats
    sources: Floats
    alpha: Floats
    weights: Floats | None
    lanes: Flags


class Table(NamedTuple):
    """A kernel K(t) of one number as polynomials in |t|, as `src/general/tree.h` has it.

    `kind` is 0 for a CDF, tabulated by its tail, 1 for an even kernel and 2 for an odd one; 2^bits
    polynomials make an octave; `unit` is the inverse of the scale on which it changes, and `reach`
    how far from the real line it is smooth.
    """

    coefficients: Floats
    unit: float
    reach: float
    kind: int
    bits: int


class StudentSeries(NamedTuple):
    """Student's t for few degrees of freedom: a series, as `src/simd/even_tails.inc` says."""

    series: Floats
    df: float
    top: float


class EvenKernel(NamedTuple):
    """An even density as kernels know it: by its name, or by tables of its tail and of itself."""

    name: str
    tail: Table | None = None
    pdf: Table | None = None
    student: StudentSeries | None = None


class Intervals(NamedTuple):
    """The n intervals between the thresholds at the levels 1, 2, ..., n - 1.

    `row`, (lanes, n), is the interval that holds each node and `inside` the share of its mass in
    it; `at`, two of (lanes, n), are the nodes next to each interval and `by` what they contribute.
    """

    row: Indices
    inside: Floats
    at: tuple[Indices, Indices]
    by: Pair


class Namespace(Protocol):
    """The functions of an array library that are used on its arrays, as NumPy has them."""

    nan: float
    inf: float

    def asarray(self, a: Any, /) -> Array: ...
    def ascontiguousarray(self, a: Array, /) -> Array: ...
    def arange(self, stop: int, /) -> Indices: ...
    def repeat(self, a: Indices, times: int, /) -> Indices: ...
    def flatnonzero(self, a: Flags, /) -> Indices: ...
    def zeros(self, shape: int | tuple[int, ...], /) -> Floats: ...
    def ones(self, shape: int | tuple[int, ...], /) -> Floats: ...
    def full(self, shape: int | tuple[int, ...], value: float, /) -> Floats: ...
    def empty(self, shape: int | tuple[int, ...], dtype: Any = ..., /) -> Array: ...
    @overload
    def where(self, condition: Flags, a: Indices, b: Indices | int, /) -> Indices: ...
    @overload
    def where(self, condition: Flags, a: Floats | float, b: Floats | float, /) -> Floats: ...
    def isnan(self, a: Array, /) -> Flags: ...
    def isinf(self, a: Array, /) -> Flags: ...
    def isfinite(self, a: Array, /) -> Flags: ...
    def abs(self, a: Floats, /) -> Floats: ...
    def exp(self, a: Floats, /) -> Floats: ...
    def expm1(self, a: Floats, /) -> Floats: ...
    def log1p(self, a: Floats, /) -> Floats: ...
    def log(self, a: Floats, /) -> Floats: ...
    def tan(self, a: Floats, /) -> Floats: ...
    def tanh(self, a: Floats, /) -> Floats: ...
    def arctan(self, a: Floats, /) -> Floats: ...
    def arctan2(self, a: Floats | float, b: Floats, /) -> Floats: ...
    def hypot(self, a: Floats | float, b: Floats, /) -> Floats: ...
    def sqrt(self, a: Floats, /) -> Floats: ...
    def sign(self, a: Floats, /) -> Floats: ...
    def floor(self, a: Floats, /) -> Floats: ...
    def copysign(self, a: Floats | float, b: Floats, /) -> Floats: ...
    def maximum(self, a: Floats | float, b: Floats | float, /) -> Floats: ...
    def minimum(self, a: Floats | float, b: Floats | float, /) -> Floats: ...
    @overload
    def clip(self, a: Floats, low: Floats | float, high: Floats | float, /) -> Floats: ...
    @overload
    def clip(self, a: Indices, low: Indices | int, high: Indices | int, /) -> Indices: ...
    def ldexp(self, a: Floats, exponent: Any, /) -> Floats: ...
    def frexp(self, a: Floats, /) -> tuple[Floats, Array]: ...
    def ravel(self, a: Array, /) -> Array: ...
    def cumsum(self, a: Floats, /, *, axis: int) -> Floats: ...
    def expand_dims(self, a: Floats, axis: int, /) -> Floats: ...
    def diff(self, a: Array, /, *, axis: int) -> Array: ...
    def argmax(self, a: Floats, /, *, axis: int) -> Indices: ...
    def argsort(self, a: Array, /, *, axis: int) -> Indices: ...
    def stack(self, arrays: Any, /) -> Floats: ...
    def concatenate(self, arrays: Any, /, *, axis: int) -> Floats: ...
    def broadcast_to(self, a: Array, shape: tuple[int, ...], /) -> Array: ...
    def moveaxis(self, a: Array, source: Any, destination: Any, /) -> Array: ...
    def take_along_axis(self, a: Floats, at: Indices, /, *, axis: int) -> Floats: ...
    def put_along_axis(
        self, a: Floats, at: Indices, b: Floats | float, /, *, axis: int
    ) -> None: ...
    def may_share_memory(self, a: Array, b: Array, /) -> bool: ...


def any_in_lane(flags: Flags) -> Flags:
    """Return, (lanes,), in which lanes any flag is set."""
    return cast(Flags, flags.any(axis=-1))


def all_in_lane(flags: Flags) -> Flags:
    """Return, (lanes,), in which lanes all flags are set."""
    return cast(Flags, flags.all(axis=-1))


def sum_in_lane(values: Floats) -> Floats:
    """Return the sum, (lanes,), of each lane."""
    return cast(Floats, values.sum(axis=-1))
