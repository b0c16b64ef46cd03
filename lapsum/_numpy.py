"""The kernels for NumPy arrays: what `src/_kernels.pyx` loops over, allocated here.

A backend is a module with these names.  Every array is (lanes, n), C-contiguous float64, with one
scalar a lane in (lanes,); `key` says to which lane of the sources a lane belongs.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import _kernels

xp = np
Array = Any

simd = _kernels.choose(os.environ.get("LAPSUM_SIMD", ""))
if simd is None:
    raise ImportError(
        f"LAPSUM_SIMD={os.environ['LAPSUM_SIMD']!r} is not a level of this processor; leave it "
        "unset, or set it to baseline, avx2 or avx512"
    )


def identity(lanes: int) -> Array:
    """Return the key of lanes that are their own sources."""
    return np.arange(lanes, dtype=np.intp)


def contiguous(a: Array) -> Array:
    """Return `a` as C-contiguous float64, the same object where it is that already."""
    return np.ascontiguousarray(a, dtype=np.float64)


def own(a: Array) -> Array:
    """Return a copy of `a`, of the same dtype."""
    return np.array(a, copy=True, subok=False)


def finish(a: Array, dtype: Any) -> Array:
    """Return `a` rounded once to `dtype`; 0-d results are scalars."""
    a = a.astype(dtype, copy=False)
    return a[()] if a.ndim == 0 else a


def freeze(a: Array) -> Array:
    """Return `a` as a view that cannot be made writeable again."""
    if not isinstance(a, np.ndarray):
        return a
    frozen = a.copy() if a.base is not None else a
    frozen.flags.writeable = False
    return frozen.view()


def order(x: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    """Return the ascending order of the entries of non-zero weight, their number, and bad lanes.

    Absent entries come last.  A lane with a NaN of non-zero weight counts no entry at all and is
    True in the last result, which is None if there is no such lane.
    """
    keys = x if weights is None else np.where(weights == 0.0, np.nan, x)
    permutation = np.argsort(keys, axis=-1)
    lanes, n = x.shape
    count = np.full(lanes, n, dtype=np.intp)
    nan = np.isnan(keys)
    if not nan.any():
        return permutation, count, None
    count -= nan.sum(axis=-1)
    spoilt = np.isnan(x) if weights is None else np.isnan(x) & (weights != 0.0)
    invalid = spoilt.any(axis=-1)
    count[invalid] = 0
    return permutation, count, invalid if invalid.any() else None


def sort(values: Array, permutation: Array) -> Array:
    """Return every lane of `values` in the order of `permutation`."""
    return np.take_along_axis(values, permutation, axis=-1)


def unsort(values: Array, permutation: Array) -> Array:
    """Undo `sort`."""
    out = np.empty_like(values)
    np.put_along_axis(out, permutation, values, axis=-1)
    return out


def sum_lanes(values: Array, key: Array, lanes: int) -> Array:
    """Add up the lanes of `values` that share a key."""
    if values.shape[0] == lanes and np.array_equal(key, identity(lanes)):
        return values
    out = np.zeros((lanes, *values.shape[1:]))
    np.add.at(out, key, values)
    return out


def min_lanes(values: Array, key: Array, lanes: int) -> Array:
    """Return the smallest of the values that share a key."""
    out = np.full(lanes, np.inf)
    np.minimum.at(out, key, values)
    return out


def times(a: Array, b: Array) -> Array:
    """Return a * b, where nothing times an infinity is nothing."""
    return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)


def _like(a: Array) -> Array:
    return np.empty(a.shape)


def gaps(x: Array, count: Array, alpha: Array) -> Array:
    """(x[m] - x[m-1])/alpha between neighbours, infinite where there is no pair."""
    out = _like(x)
    _kernels.gaps(x, count, alpha, out)
    return out


def decays(gap: Array) -> Array:
    """e^{-gap} in the form that `scan` takes."""
    out = _like(gap)
    _kernels.decays(gap, out)
    return out


def scan(decay: Array | None, values: Array | None, key: Array, reverse: bool) -> Array:
    """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; values None means ones."""
    out = np.empty(decay.shape if values is None else values.shape)  # type: ignore[union-attr]
    _kernels.scan(decay, values, key, reverse, out)
    return out


def moments(decay: Array, step: Array, base: Array, key: Array, reverse: bool) -> Array:
    """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m."""
    out = _like(base)
    _kernels.moments(decay, step, base, key, reverse, out)
    return out


def cumulate(values: Array) -> tuple[Array, Array]:
    """Return running sums as unevaluated pairs."""
    high, low = _like(values), _like(values)
    _kernels.cumulate(values, high, low)
    return high, low


def totals(values: Array) -> Array:
    """Correctly rounded sums of the lanes of non-negative values."""
    out = np.empty(values.shape[0])
    _kernels.totals(values, out)
    return out


def locate(
    x: Array,
    count: Array,
    alpha: Array,
    lo: Array,
    hi: Array | None,
    u: Array | None,
    key: Array,
) -> tuple[Array, Array, Array]:
    """How many sources are <= each target, and the distances over alpha to its two neighbours."""
    index, left, right = np.empty(lo.shape, dtype=np.intp), _like(lo), _like(lo)
    _kernels.locate(x, count, alpha, lo, hi, u, key, index, left, right)
    return index, left, right


def solve(
    gap: Array,
    count: Array,
    weights: Array | None,
    pairs: tuple[Array, Array] | None,
    left: Array,
    right: Array,
    levels: Array,
    key: Array,
    full: bool,
) -> tuple[Array, Array, Array, Array | None]:
    """Roots of S(b) = level: nodes below, side of the anchor, offset, and the factors if `full`."""
    index = np.empty(levels.shape, dtype=np.intp)
    side = np.empty(levels.shape, dtype=np.int8)
    u = _like(levels)
    factors = np.empty((6, *levels.shape)) if full else None
    high, low = (None, None) if pairs is None else pairs
    _kernels.solve(
        gap, count, weights, high, low, left, right, levels, key, index, side, u, factors
    )
    return index, side, u, factors


def select(x: Array, levels: Array, alpha: Array) -> tuple[Array, Array]:
    """Return which lanes were solved by selection, and (8, lanes) of what `OneThreshold` holds."""
    solved, out = np.empty(len(x), dtype=np.uint8), np.empty((8, len(x)))
    _kernels.select(x, levels, alpha, np.empty(x.shape[1]), solved, out)
    return solved.view(bool), out


def anchors(x: Array, index: Array, side: Array, key: Array) -> tuple[Array, Array]:
    """Return the two nodes that anchor each threshold."""
    lo, hi = np.empty(index.shape), np.empty(index.shape)
    _kernels.anchors(x, index, side, key, lo, hi)
    return lo, hi


def thresholds(lo: Array, hi: Array, u: Array, alpha: Array, key: Array) -> Array:
    """(lo + hi)/2 + alpha u, rounded."""
    out = _like(u)
    _kernels.thresholds(lo, hi, u, alpha, key, out)
    return out


def gather(
    nodes: tuple[Array, Array],
    key: Array,
    at: tuple[Array, Array],
    by: tuple[Array, Array],
    lane: Array,
) -> Array:
    """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target."""
    out = np.empty((len(key), at[0].shape[1]))
    _kernels.gather(*nodes, key, *at, *by, lane, out)
    return out


def scatter(
    values: Array,
    at: tuple[Array, Array],
    by: tuple[Array, Array],
    lane: Array,
    key: Array,
    shape: tuple[int, int],
) -> tuple[Array, Array]:
    """Apply the transpose of `gather`."""
    left, right = np.zeros((2, *shape)), np.zeros((2, *shape))
    _kernels.scatter(values, *at, *by, lane, key, left, right)
    return left[0] + left[1], right[0] + right[1]


def offsets(lo: Array, hi: Array, u: Array, x: Array, alpha: Array) -> Array:
    """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
    out = _like(x)
    _kernels.offsets(lo, hi, u, x, alpha, out)
    return out


def probabilities(lo: Array, hi: Array, u: Array, x: Array, alpha: Array, plain: Array) -> Array:
    """F((b - x)/alpha) for one threshold a lane; `plain` says which lanes are finite."""
    out = _like(x)
    _kernels.probabilities(lo, hi, u, x, alpha, plain.view(np.uint8), out)
    return out


def steps(origin: Array, x: Array, alpha: Array) -> Array:
    """(x - origin)/alpha for one origin a lane."""
    out = _like(x)
    _kernels.steps(origin, x, alpha, out)
    return out


def cdf(t: Array) -> Array:
    """F(t)."""
    out = _like(t)
    _kernels.cdf(t, out)
    return out


def pdf(t: Array) -> Array:
    """f(t)."""
    out = _like(t)
    _kernels.pdf(t, out)
    return out


def logcdf(t: Array) -> Array:
    """Log F(t)."""
    out = _like(t)
    _kernels.logcdf(t, out)
    return out


def logcdf_slope(t: Array) -> Array:
    """f(t)/F(t)."""
    out = _like(t)
    _kernels.logcdf_slope(t, out)
    return out


def shares(
    nodes: tuple[Array, Array],
    q: tuple[Array, Array],
    density: Array,
    x: Array,
    t: Array,
    alpha: Array,
) -> Array:
    """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane."""
    out = _like(x)
    _kernels.shares(*nodes, *q, density, x, t, alpha, out)
    return out


def widths(lo: Array, hi: Array, u: Array, alpha: Array, n: int) -> Array:
    """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
    out = np.empty((lo.shape[0], n))
    _kernels.widths(lo, hi, u, alpha, out)
    return out


def permutation(x: Array, lo: Array, hi: Array, u: Array, width: Array, alpha: Array) -> Array:
    """F(t_ij) - F(t_{i-1,j}), one matrix a lane."""
    lanes, n = x.shape
    out = np.empty((lanes, n, n))
    _kernels.permutation(x, lo, hi, u, width, alpha, out)
    return out


def permutation_jvp(
    x: Array,
    lo: Array,
    hi: Array,
    u: Array,
    alpha: Array,
    x_dot: Array | None,
    b_dot: Array | None,
    alpha_dot: Array | None,
    nodes: Array,
    deviation: Array,
) -> Array:
    """Return the tangent of `permutation`."""
    lanes, n = x.shape
    out = np.empty((lanes, n, n))
    _kernels.permutation_jvp(x, lo, hi, u, alpha, x_dot, b_dot, alpha_dot, nodes, deviation, out)
    return out


def permutation_vjp(
    x: Array,
    lo: Array,
    hi: Array,
    u: Array,
    alpha: Array,
    nodes: Array,
    deviation: Array,
    bar: Array,
) -> tuple[Array, Array, Array]:
    """Cotangents, times alpha, of the thresholds, of x at fixed thresholds, and of alpha."""
    b_bar, x_bar, alpha_bar = np.empty(lo.shape), _like(x), np.empty(x.shape[0])
    _kernels.permutation_vjp(x, lo, hi, u, alpha, nodes, deviation, bar, b_bar, x_bar, alpha_bar)
    return b_bar, x_bar, alpha_bar


def insides(
    x: Array, count: Array, index: Array, lo: Array, hi: Array, u: Array, alpha: Array
) -> tuple[Array, Array]:
    """Return the interval that holds each node, and the share of its mass in it."""
    row, out = np.empty(x.shape, dtype=np.intp), _like(x)
    _kernels.insides(x, count, index, lo, hi, u, alpha, row, out)
    return row, out


def collect(values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
    """Add inside * values to `out`, by row."""
    _kernels.collect(values, inside, row, key, out)


def spread(values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
    """Add the transpose of `collect` to `out`."""
    _kernels.spread(values, inside, row, key, out)


def level_ties(x: Array, key: Array, values: Array) -> None:
    """Give equal sources the result of the first of them, in place."""
    _kernels.level_ties(x, key, values)


def climb(values: Array) -> None:
    """Replace values by their running maxima, in place."""
    _kernels.climb(values)
