"""The kernels for NumPy arrays: what `src/_kernels.pyx` loops over, allocated here.

A backend is a class with these names.  Every array is (lanes, n), C-contiguous float64, with one
scalar a lane in (lanes,); `key` says to which lane of the sources a lane belongs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from math import prod
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ... import _kernels
from . import memory

Array = Any

# Fewer entries than this are not worth a thread.
GRAIN = 32_768

# Longer lanes are ordered in parts, of at most 255, that fit into a cache each.
LONG, PART = 2**18, 2**14

# Shorter lanes are never sorted by digits.
FROM = 2**11

# Fewer targets, or among fewer sources, are found sooner than put in order.
FEW = 128

# The loops that read entries, or write results, as they are: by their dtype.
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_KINDS = {_SINGLE: "float", _DOUBLE: "double"}
(
    _PACK,
    _UNPACK,
    _DISTRIBUTE,
    _REARRANGE,
    _RANKS,
    _SELECT,
    _PULL,
    _PUSH,
    _SOFTMAX,
    _PERMUTATION,
) = (
    {dtype: loop[kind] for dtype, kind in _KINDS.items()}
    for loop in (
        _kernels.pack,
        _kernels.unpack,
        _kernels.distribute,
        _kernels.rearrange,
        _kernels.ranks,
        _kernels.select,
        _kernels.pull,
        _kernels.push,
        _kernels.softmax,
        _kernels.permutation,
    )
)

simd = _kernels.choose(os.environ.get("LAPSUM_SIMD", ""))
if simd is None:
    raise ImportError(
        f"LAPSUM_SIMD={os.environ['LAPSUM_SIMD']!r} is not a level of this processor; leave it "
        "unset, or set it to baseline, avx2 or avx512"
    )


def _written(dtype: Any) -> Any:
    """Return the dtype in which loops write a result that is to have the given one."""
    return _SINGLE if dtype == _SINGLE else _DOUBLE


def _by_digits(n: int) -> bool:
    """Return whether to sort n integers by their digits."""
    return FROM <= n < 2**32 and _numpy_is_slow()


@cache
def _numpy_is_slow() -> bool:
    """Return whether NumPy takes half as long again to sort integers as digits take.

    It does without SIMD, and by AVX-512 on AMD Zen 4.
    """
    width = 14
    keys = np.arange(2**width, dtype=np.uint64)[None]
    keys += (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(width) << np.uint64(width)

    def seconds(sort: Callable[[Array], object]) -> float:
        times = []
        for _ in range(5):
            copy = keys.copy()
            start = perf_counter()
            sort(copy)
            times.append(perf_counter() - start)
        return min(times)

    # Real data have fewer digits that differ; and the result is the same either way.
    return 1.5 * seconds(lambda copy: _kernels.sort(width, copy, 0, 1)) < seconds(np.ndarray.sort)


class Order(NamedTuple):
    """How entries are brought into order: part by part first, if lanes are long, then each part.

    Attributes
    ----------
    places : array of int, shape (lanes, n)
        Where each entry is among the distributed ones, in order.
    part, first : arrays or None
        The part of each entry, and where each part begins.
    """

    places: Array
    part: Array | None = None
    first: Array | None = None


class Kernels:
    """The kernels, run by a number of threads.

    Parameters
    ----------
    workers : int
        How many threads share the lanes of a call, or the parts of one long lane.
    """

    xp = np
    on_host = True

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def _run(self, kernel: Any, shape: tuple[int, ...], *args: Any) -> None:
        """Call a kernel for all lanes of work of a shape, shared among the threads."""
        lanes = shape[0]
        workers = self.workers
        if workers > 1:
            workers = min(workers, lanes) if prod(shape) >= GRAIN else 1
        if workers <= 1:
            kernel(*args, 0, lanes)
        else:
            _kernels.run_lanes(kernel, args, lanes, workers)

    def _run_long(self, kernel: Any, x: Array, *args: Any) -> None:
        """Call a kernel that can also share the parts of each lane."""
        if self.workers == 1 or (len(x) < self.workers and x.size >= GRAIN):
            kernel(self.workers, x, *args, 0, len(x))
        else:
            self._run(kernel, x.shape, 1, x, *args)

    def quiet(self) -> Any:
        """Return a context in which NumPy neither warns nor raises for floating-point events."""
        return np.errstate(all="ignore")

    def identity(self, lanes: int) -> Array:
        """Return the key of lanes that are their own sources."""
        return np.arange(lanes, dtype=np.intp)

    def holds(self, value: Any) -> bool:
        """Return whether `value` is an array of this backend."""
        return isinstance(value, np.ndarray)

    def numbers(self, spread: dict[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Array]:
        """Return what `Layout.spread` returns as float64 lanes."""
        lanes = {}
        for name, (array, shape) in spread.items():
            if array.ndim or shape[0] == 1:
                lanes[name] = self.contiguous(array.reshape(shape))
            else:
                lanes[name] = out = np.empty(shape)
                out.fill(array.item())
        return lanes

    def every(self, flags: Array) -> bool:
        """Return whether all flags are set."""
        return 0 not in flags.tobytes()  # the quickest way for the few that there are

    def check_levels(self, levels: Array, totals: Array | None, n: int) -> tuple[Array, int]:
        """Return levels, infinite from the total on, and the first that is not in [0, total].

        The latter is -1 if there is none; None for the totals is n.  Above the total, a few
        roundings are allowed.
        """
        out = np.empty(len(levels))
        return out, _kernels.check_levels(levels, totals, n, out)

    def rescale(self, totals: Array, *arrays: Array) -> tuple[Array, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one.

        The first axis of all is that of `totals`.  Only the proportions of weights matter to
        thresholds, but products of subnormal ones, or of some near the largest float, do not keep
        them.
        """
        extreme = (totals > 0.0) & ((totals < 2.0**-960) | (totals > 2.0**1000))
        if not extreme.any():
            return arrays
        exponent = np.where(extreme, -np.frexp(totals)[1], 0)
        with self.quiet():
            return tuple(
                np.ldexp(a, exponent.reshape(exponent.shape + (1,) * (a.ndim - exponent.ndim)))
                for a in arrays
            )

    def levels(self, q: Array, totals: Array | None, n: int) -> Array:
        """Return the levels q of the totals; None for these is n."""
        return q * (n if totals is None else totals[:, None])

    def contiguous(self, a: Array) -> Array:
        """Return `a` as C-contiguous float64, the same object where it is that already."""
        if a.dtype is _DOUBLE and a.flags.c_contiguous:
            return a
        return np.ascontiguousarray(a, np.float64)

    def entries(self, a: Array) -> Array:
        """Do the same for what `select`, `pull` and `order` read: float32 stays as it is."""
        return np.ascontiguousarray(a) if a.dtype == _SINGLE else self.contiguous(a)

    def own(self, a: Array) -> Array:
        """Return a copy of `a`, of the same dtype and in C order."""
        return a.copy(order="C")

    def finish(self, a: Array, dtype: Any) -> Array:
        """Return `a` rounded once to `dtype`; 0-d results are scalars."""
        a = a.astype(dtype, copy=False)
        return a[()] if a.ndim == 0 else a

    def freeze(self, a: Array) -> Array:
        """Return `a`, which nobody else holds, as a view that cannot be made writeable again."""
        if not isinstance(a, np.ndarray):
            return a
        owner = a
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        owner.flags.writeable = a.flags.writeable = False
        return a.view()

    def _block(self, arrays: int, shape: tuple[int, int]) -> Array:
        """Return several arrays in one: many large ones cost more in page faults than they hold."""
        return memory.empty((arrays, *shape))

    def order(
        self, x: Array, alpha: Array, weights: Array | None, totals: Array | None
    ) -> tuple[Array, Order, Array | None, Array, Array | None]:
        """Bring the entries, as `entries` returns them, into ascending order, absent ones last.

        Returns four arrays in one, of which the first two hold the sorted entries and the distances
        between them over alpha; the order; the weights in it; how many entries are present; and the
        lanes, if any, that are spoilt by a NaN of non-zero weight and count none.  No alpha and no
        weights are wrong by now.
        """
        block, order, count, invalid = self._arrange(x, weights, 4)
        self._gaps(block[0], count, alpha, block[1])
        arranged = None if weights is None else self.sort(weights, order)
        return block, order, arranged, count, invalid

    def arrange(self, targets: Array, sources: int) -> tuple[Array, Order | None]:
        """Return targets in ascending order, NaN last, and the order; None where they stay.

        To look for one after the other among many sources, in no order, misses the cache at every
        step.
        """
        if min(targets.shape[1], sources) < FEW or (targets[:, 1:] >= targets[:, :-1]).all():
            return self.contiguous(targets), None
        block, order, _, invalid = self._arrange(targets, None, 1)
        if invalid is not None:
            # A lane with a NaN may not be in order; without its NaN it is.
            block, order, _, _ = self._arrange(targets, 1.0 - np.isnan(targets), 1)
        return block[0], order

    def _arrange(
        self, x: Array, weights: Array | None, arrays: int
    ) -> tuple[Array, Order, Array, Array | None]:
        """Several arrays in one, the first of which holds x in order; the rest as `order` does."""
        places = np.empty(x.shape, np.intp)
        if x.shape[1] < LONG:
            block = self._block(arrays, x.shape)
            whole = x.dtype == _SINGLE
            return block, Order(places), *self._order(x, weights, whole, block[0], places)
        # Pages of the system are slow to get: with the parts in the block, all that ranks and sorts
        # and their cotangents take together is less than what is kept from call to call.
        size = 8 * arrays * x.size
        block_and_parts = memory.empty((size + x.size,), np.uint8)
        block = block_and_parts[:size].view(np.float64).reshape(arrays, *x.shape)
        part = block_and_parts[size:].reshape(x.shape)
        scratch = block[1] if arrays > 1 else np.empty(x.shape)
        outputs = block[0], scratch, places, part
        first, count, invalid = self._order_parts(x, weights, *outputs)
        return block, Order(places, part, first), count, invalid

    def _order(
        self, x: Array, weights: Array | None, whole: bool, values: Array, places: Array
    ) -> tuple[Array, Array | None]:
        lanes, n = x.shape
        # NumPy sorts integers much faster than it argsorts floats: the leading bits of the float
        # and its index in one, and what these bits leave in disorder is mended.  They are the whole
        # of what was float32 once.
        width = max(n - 1, 1).bit_length()
        keys, count = places.view(np.uint64), np.empty(lanes, np.intp)
        invalid, unsorted = np.empty(lanes, np.uint8), np.empty(lanes, np.uint8)
        self._run(_PACK[x.dtype], x.shape, x, weights, width, keys, count, invalid)
        self._sort_keys(keys, width)
        whole = whole and width <= 29
        self._run(_UNPACK[x.dtype], x.shape, x, width, whole, count, keys, values, unsorted)
        if unsorted.all():
            self._order_again(x, values, count, keys, width)
        elif unsorted.any():
            at = np.flatnonzero(unsorted)
            some_values, some_keys = values[at], keys[at]
            self._order_again(x[at], some_values, count[at], some_keys, width)
            values[at], keys[at] = some_values, some_keys
        return count, invalid.view(np.bool_) if invalid.any() else None

    def _order_parts(
        self,
        x: Array,
        weights: Array | None,
        values: Array,
        scratch: Array,
        places: Array,
        part: Array,
    ) -> tuple[Array, Array, Array | None]:
        """Order long lanes, where random access to all of a lane would miss the caches."""
        lanes, n = x.shape
        parts = min(-(-n // PART), 255)
        # The sample is spread evenly, by the golden ratio, whatever x may repeat.
        at = np.arange(16 * parts) * int(0.618 * n) % n
        sample = self.contiguous(np.sort(x[:, at], axis=-1))
        first = np.empty((lanes, 256), np.intp)
        count, invalid = np.empty(lanes, np.intp), np.empty(lanes, np.uint8)
        outputs = part, first, scratch, count, invalid
        self._run(_DISTRIBUTE[x.dtype], x.shape, x, weights, sample, parts, *outputs)
        whole = x.dtype == _SINGLE

        def order(places: Array, start: int, stop: int) -> None:
            for lane in range(start, stop):
                for a, b in pairwise(first[lane, : parts + 1]):
                    here = slice(lane, lane + 1), slice(a, b)
                    SERIAL._order(scratch[here], None, whole, values[here], places[here])
                    places[here] += a
                absent = slice(first[lane, parts], n)
                values[lane, absent], places[lane, absent] = scratch[lane, absent], range(n)[absent]

        self._run(order, x.shape, places)
        return first, count, invalid.view(np.bool_) if invalid.any() else None

    def _order_again(self, x: Array, values: Array, count: Array, keys: Array, width: int) -> None:
        """Order lanes of which many entries agree in their leading bits."""
        if 3 * width > 64:
            for lane, row, present in zip(x, keys, count, strict=True):
                row[:present] = row[:present][np.argsort(lane[row[:present]])]
            values[...] = self.sort(x, Order(keys.view(np.intp)))
            return
        # The place of the first that agrees, then the bits that were left out, then the index.
        self._run(_kernels.repack, x.shape, values, count, width, keys)
        self._sort_keys(keys, width)
        unsorted = np.empty(len(x), np.uint8)
        self._run(_UNPACK[x.dtype], x.shape, x, width, False, count, keys, values, unsorted)

    def ascending(self, x: Array, alpha: Array) -> tuple[Array, Array, Array | None]:
        """Do what `order` does, without the order."""
        if _by_digits(x.shape[1]):
            block, _, count, invalid = self._arrange(x, None, 4)
            self._gaps(block[0], count, alpha, block[1])
            return block, count, invalid
        block = self._block(4, x.shape)
        values, gap = block[:2]
        if x.dtype == _SINGLE:  # half as wide, and sorted in half the time
            x = x.copy()
            self._sort(x)
            values[...] = x
        else:
            values[...] = x
            self._sort(values)
        invalid = np.isnan(values[:, -1:]).any(axis=-1)
        count = np.where(invalid, 0, x.shape[1])
        self._gaps(values, count, alpha, gap)
        return block, count, invalid if invalid.any() else None

    def _sort_keys(self, keys: Array, width: int) -> None:
        """Sort integers whose last bits, so many, ascend where the others agree."""
        if _by_digits(keys.shape[1]):
            self._run(_kernels.sort, keys.shape, width, keys)
        else:
            self._sort(keys)

    def _sort(self, keys: Array) -> None:
        def sort(keys: Array, start: int, stop: int) -> None:
            keys[start:stop].sort(axis=-1)

        self._run(sort, keys.shape, keys)

    def sort(self, values: Array, order: Order, key: Array | None = None) -> Array:
        """Return every lane of `values` in the order of its lane, or that of `key`, there."""
        return self._rearrange(values, order, key, False, _DOUBLE)

    def unsort(
        self, values: Array, order: Order, key: Array | None = None, dtype: Any = _DOUBLE
    ) -> Array:
        """Undo `sort`; the result is rounded to float32 if that is the dtype."""
        return self._rearrange(values, order, key, True, _written(dtype))

    def _rearrange(
        self, values: Array, order: Order, key: Array | None, back: bool, dtype: Any
    ) -> Array:
        out = np.empty(values.shape, dtype)
        scratch = None if order.part is None else np.empty(values.shape)
        inputs = self.contiguous(values), *order, key, back
        self._run(_REARRANGE[dtype], out.shape, *inputs, scratch, out)
        return out

    def sum_lanes(self, values: Array, key: Array, lanes: int) -> Array:
        """Add up the lanes of `values` that share a key."""
        if values.shape[0] == lanes and np.array_equal(key, self.identity(lanes)):
            return values
        out = np.zeros((lanes, *values.shape[1:]))
        np.add.at(out, key, values)
        return out

    def min_lanes(self, values: Array, key: Array, lanes: int) -> Array:
        """Return the smallest of the values that share a key."""
        out = np.full(lanes, np.inf)
        np.minimum.at(out, key, values)
        return out

    def times(self, a: Array, b: Array) -> Array:
        """Return a * b, where nothing times an infinity is nothing."""
        return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)

    def _gaps(self, x: Array, count: Array, alpha: Array, out: Array) -> None:
        """(x[m] - x[m-1])/alpha between neighbours, infinite where there is no pair."""
        self._run(_kernels.gaps, out.shape, x, count, alpha, out)

    def decays(self, gap: Array) -> Array:
        """e^{-gap} in the form that `scan` takes."""
        out = np.empty_like(gap)
        self._run(_kernels.decays, out.shape, gap, out)
        return out

    def scan(self, decay: Array | None, values: Array | None, key: Array, reverse: bool) -> Array:
        """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; values None means ones."""
        out = np.empty(decay.shape if values is None else values.shape)  # type: ignore[union-attr]
        self._run(_kernels.scan, out.shape, decay, values, key, reverse, out)
        return out

    def scan_both(
        self, gap: Array, values: Array | None, key: Array | None, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the scan of values and its mirror; without a key each lane has its own gaps."""
        key = self.identity(len(gap)) if key is None else key
        shape = gap.shape if values is None else values.shape
        left, right = np.empty((2, *shape)) if out is None else out
        self._run(_kernels.scan_both, shape, gap, values, key, left, right)
        return left, right

    def ranks(
        self,
        x: Array,
        gap: Array,
        order: Order,
        count: Array,
        invalid: Array | None,
        alpha: Array,
        weights: Array | None,
        pairs: tuple[Array, Array] | None,
        left: Array,
        right: Array,
        dtype: Any,
    ) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN if invalid."""
        out = np.empty(gap.shape, _written(dtype))
        scratch = None if order.part is None else np.empty_like(gap)
        inputs = x, gap, *order, count, alpha, weights, *(pairs or (None, None)), left, right
        self._run(_RANKS[out.dtype], gap.shape, *inputs, scratch, out)
        if invalid is not None:
            out[invalid] = np.nan
        return self.finish(out, dtype)

    def moments(self, decay: Array, step: Array, base: Array, key: Array, reverse: bool) -> Array:
        """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m."""
        out = np.empty_like(base)
        self._run(_kernels.moments, out.shape, decay, step, base, key, reverse, out)
        return out

    def cumulate(self, values: Array) -> tuple[Array, Array]:
        """Return running sums as unevaluated pairs."""
        high, low = np.empty_like(values), np.empty_like(values)
        self._run(_kernels.cumulate, low.shape, values, high, low)
        return high, low

    def totals(self, values: Array) -> Array:
        """Correctly rounded sums of the lanes of non-negative values."""
        out = np.empty(values.shape[0])
        self._run(_kernels.totals, values.shape, values, out)
        return out

    def locate(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        lo: Array,
        hi: Array | None,
        u: Array | None,
        key: Array,
    ) -> Array:
        """How many sources are <= each target (lo + hi)/2 + alpha u, or `lo`; 0 if it is NaN."""
        index = np.empty(lo.shape, dtype=np.intp)
        self._run(_kernels.locate, lo.shape, x, count, alpha, lo, hi, u, key, index)
        return index

    def distances(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        lo: Array,
        hi: Array | None,
        u: Array | None,
        key: Array,
        index: Array,
    ) -> tuple[Array, Array]:
        """Distances over alpha of such targets to the sources left and right of them."""
        left, right = self._block(2, lo.shape)
        inputs = x, count, alpha, lo, hi, u, key, index
        self._run(_kernels.distances, lo.shape, *inputs, left, right)
        return left, right

    def level(
        self,
        x: Array,
        count: Array,
        alpha: Array,
        left: Array,
        right: Array,
        pairs: tuple[Array, Array] | None,
        targets: Array,
        key: Array,
        index: Array,
    ) -> Array:
        """S at targets, NaN where they are, from the scans of the weights and how these add up."""
        out = np.empty(targets.shape)
        lanes = x, count, alpha, left, right, *(pairs or (None, None))
        self._run(_kernels.level, out.shape, *lanes, targets, key, index, out)
        return out

    def solve(
        self,
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
        """Roots of S(b) = level: nodes below, side of the anchor, offset, factors if `full`."""
        index = np.empty(levels.shape, dtype=np.intp)
        side = np.empty(levels.shape, dtype=np.int8)
        u = np.empty_like(levels)
        factors = np.empty((6, *levels.shape)) if full else None
        high, low = (None, None) if pairs is None else pairs
        self._run(
            _kernels.solve,
            levels.shape,
            gap,
            count,
            weights,
            high,
            low,
            left,
            right,
            levels,
            key,
            index,
            side,
            u,
            factors,
        )
        return index, side, u, factors

    def solve_steps(
        self,
        gap: Array,
        count: Array,
        left: Array,
        right: Array,
        first: float,
        steps: int,
        rows: int,
    ) -> tuple[Array, Array, Array, Array]:
        """`solve` at the levels first, first + 1, ... of every lane, for unit weights.

        Of the factors, only the first `rows`.
        """
        shape = (len(gap), steps)
        index, side = np.empty(shape, np.intp), np.empty(shape, np.int8)
        block = self._block(rows + 1, shape)
        u, factors = block[0], block[1:]
        self._run(
            _kernels.solve_steps, shape, gap, count, left, right, first, index, side, u, factors
        )
        return index, side, u, factors

    def pull_ranks(
        self,
        x: Array,
        gap: Array,
        order: Order,
        count: Array,
        scans: tuple[Array, Array],
        alpha: Array,
        sign: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x and alpha for `bar`, finite, that of the ranks of lanes without weights.

        Both are in the caller's order, and the ranks are those of sources sign x.
        """
        x_bar, alpha_bar, scratch = np.empty(x.shape), np.empty(len(x)), np.empty(x.shape)
        self._run(
            _kernels.pull_ranks,
            x.shape,
            x,
            gap,
            *order,
            count,
            *scans,
            alpha,
            sign,
            bar,
            scratch,
            x_bar,
            alpha_bar,
        )
        return x_bar, alpha_bar

    def pull_sorted(
        self,
        x: Array,
        gap: Array,
        order: Order,
        count: Array,
        scans: tuple[Array, Array],
        first: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`."""
        x_bar, alpha_bar, scratch = np.empty(x.shape), np.empty(len(x)), np.empty(x.shape)
        self._run(
            _kernels.pull_sorted,
            x.shape,
            x,
            gap,
            *order,
            count,
            *scans,
            first,
            bar,
            scratch,
            x_bar,
            alpha_bar,
        )
        return x_bar, alpha_bar

    def select(
        self,
        x: Array,
        weights: Array | None,
        sign: float,
        levels: Array,
        totals: Array | None,
        alpha: Array,
        keep: bool,
        fill: int,
        into: Array | None,
    ) -> tuple[Array, Array, Array, Array | None, None, None]:
        """Solve the lanes of sign * x, as `entries` returns it, that need no sorting.

        Returns x, or a copy of it to `keep`; which lanes they are (2: but for absent entries that
        are not finite), what `Selection` holds as `found`, and F((b - sign x)/alpha) if `fill` is
        1, its logarithm if it is 2, of the dtype of x (and in the memory of `into`, if given);
        then None twice, since no lane that is spoilt or empty is solved.
        """
        if not fill:
            levels = self.levels(levels, totals, x.shape[1])
        if weights is not None:
            weights, levels, totals = self.rescale(totals, weights, levels, totals)
        copy, p = None, into
        if keep:
            copy = memory.empty(x.shape, x.dtype)  # lane by lane, when it is read anyway
        if fill and p is None:
            p = np.empty(x.shape, x.dtype)
        solved, out = np.empty(len(x), np.uint8), np.empty((10, len(x)))
        loop, rest = _SELECT[x.dtype], (totals, alpha, fill, copy, p, solved, out)
        if fill:
            self._run_long(loop, x, weights, sign, levels, *rest)
            return x if copy is None else copy, solved, out, p, None, None
        every, found = np.full(len(x), 2, np.uint8), np.empty((*out.shape, levels.shape[1]))
        for m in range(levels.shape[1]):
            self._run_long(loop, x, weights, sign, np.ascontiguousarray(levels[:, m]), *rest)
            np.minimum(every, solved, out=every)
            found[:, :, m] = out
        return x, every, found, p, None, None

    def anchors(self, x: Array, index: Array, side: Array, key: Array) -> tuple[Array, Array]:
        """Return the two nodes that anchor each threshold."""
        lo, hi = self._block(2, index.shape)
        self._run(_kernels.anchors, hi.shape, x, index, side, key, lo, hi)
        return lo, hi

    def sorted_values(
        self,
        x: Array,
        gap: Array,
        count: Array,
        left: Array,
        right: Array,
        alpha: Array,
        first: float,
        steps: int,
        dtype: Any,
    ) -> Array:
        """Return the roots that `solve_steps` gives, rounded, but never descending.

        NaN in lanes without sources.
        """
        out = np.empty((len(x), steps))
        self._run(_kernels.sorted_values, out.shape, x, gap, count, left, right, alpha, first, out)
        return self.finish(out, dtype)

    def thresholds(self, lo: Array, hi: Array, u: Array, alpha: Array, key: Array) -> Array:
        """(lo + hi)/2 + alpha u, rounded."""
        out = np.empty_like(u)
        self._run(_kernels.thresholds, out.shape, lo, hi, u, alpha, key, out)
        return out

    def gather(
        self,
        nodes: tuple[Array, Array],
        key: Array,
        at: tuple[Array, Array],
        by: tuple[Array, Array],
        lane: Array,
    ) -> Array:
        """by[0] nodes[0][at[0]] + by[1] nodes[1][at[1]] at every target."""
        out = np.empty((len(key), at[0].shape[1]))
        self._run(_kernels.gather, out.shape, *nodes, key, *at, *by, lane, out)
        return out

    def scatter(
        self,
        values: Array,
        at: tuple[Array, Array],
        by: tuple[Array, Array],
        lane: Array,
        key: Array,
        shape: tuple[int, int],
    ) -> tuple[Array, Array]:
        """Apply the transpose of `gather`."""
        left, right = np.zeros((2, *shape)), np.zeros((2, *shape))
        # Lanes may share the sources they are added to: one thread.
        _kernels.scatter(values, *at, *by, lane, key, left, right, 0, len(values))
        return left[0] + left[1], right[0] + right[1]

    def offsets(self, lo: Array, hi: Array, u: Array, x: Array, alpha: Array) -> Array:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        out = np.empty_like(x)
        self._run(_kernels.offsets, out.shape, lo, hi, u, x, alpha, out)
        return out

    def probabilities(
        self,
        thresholds: Array,
        x: Array,
        alpha: Array,
        logarithm: bool,
    ) -> Array:
        """F((b - x)/alpha), or its logarithm, for one threshold a lane."""
        out = np.empty(x.shape)
        self._run(_kernels.probabilities, x.shape, x, thresholds, alpha, logarithm, out)
        return out

    def pull(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        sign: float,
        alpha: Array,
        bar: Array,
        logarithm: bool,
    ) -> tuple[Array, Array, Array]:
        """Cotangents of x, of the level and of alpha for `bar`, in solved lanes.

        That is the cotangent of F, or of its logarithm.  x and `bar` are as `entries` returns
        them; the result for x is float32 if both are.
        """
        if x.dtype != bar.dtype:
            x, bar = self.contiguous(x), self.contiguous(bar)
        x_bar, level_bar, alpha_bar = np.empty_like(x), np.empty(len(x)), np.empty(len(x))
        outputs = x_bar, level_bar, alpha_bar
        self._run_long(
            _PULL[x.dtype], x, thresholds, weights, sign, alpha, bar, logarithm, *outputs
        )
        return outputs

    def push(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        sign: float,
        alpha: Array,
        x_dot: Array | None,
        level_dot: Array,
        alpha_dot: Array,
        logarithm: bool,
    ) -> Array:
        """Return the tangent of F, or of its logarithm, in solved lanes."""
        out = np.empty(x.shape)
        dot = None if x_dot is None else self.contiguous(x_dot)
        tangents = dot, self.contiguous(level_dot), self.contiguous(alpha_dot)
        self._run_long(
            _PUSH[x.dtype], x, thresholds, weights, sign, alpha, *tangents, logarithm, out
        )
        return out

    def softmax(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        alpha: Array,
        dot: Array | None,
        bar: Array | None,
    ) -> tuple[Array, Array, Array | None]:
        """Sum with the softmax weights q_ij of few thresholds b_i, in solved lanes.

        Returns sum_j q_ij dot_j, if there is `dot`; sum_j q_ij (b_i - x_j)/alpha; and
        sum_i bar_i q_ij, of the dtype of x, if there is `bar`.
        """
        average, slope = np.empty(thresholds.shape[1:]), np.empty(thresholds.shape[1:])
        x_bar = None if bar is None else np.empty_like(x)
        inputs = thresholds, weights, alpha, dot, bar
        self._run_long(_SOFTMAX[x.dtype], x, *inputs, x_bar, average, slope)
        return average, slope, x_bar

    def steps(self, origin: Array, x: Array, alpha: Array) -> Array:
        """(x - origin)/alpha for one origin a lane."""
        out = np.empty_like(x)
        self._run(_kernels.steps, out.shape, origin, x, alpha, out)
        return out

    def cdf(self, t: Array) -> Array:
        """F(t)."""
        out = np.empty_like(t)
        self._run(_kernels.cdf, out.shape, t, out)
        return out

    def pdf(self, t: Array) -> Array:
        """f(t)."""
        out = np.empty_like(t)
        self._run(_kernels.pdf, out.shape, t, out)
        return out

    def logcdf_slope(self, t: Array) -> Array:
        """f(t)/F(t)."""
        out = np.empty_like(t)
        self._run(_kernels.logcdf_slope, out.shape, t, out)
        return out

    def shares(
        self,
        nodes: tuple[Array, Array],
        q: tuple[Array, Array],
        density: Array,
        x: Array,
        t: Array,
        alpha: Array,
    ) -> Array:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane."""
        out = np.empty_like(x)
        self._run(_kernels.shares, out.shape, *nodes, *q, density, x, t, alpha, out)
        return out

    def widths(self, lo: Array, hi: Array, u: Array, alpha: Array, n: int) -> Array:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        out = np.empty((lo.shape[0], n))
        self._run(_kernels.widths, out.shape, lo, hi, u, alpha, out)
        return out

    def permutation(
        self,
        x: Array,
        order: Order,
        count: Array,
        index: Array,
        anchors: tuple[Array, Array, Array],
        width: Array,
        alpha: Array,
        dtype: Any,
    ) -> Array:
        """F(t_ij) - F(t_{i-1,j}) of sorted sources, one matrix a lane, columns as in `order`.

        It is float32 if `dtype` is, else float64.
        """
        lanes, n = x.shape
        out = np.empty((lanes, n, n), _written(dtype))
        places = order.places
        if order.part is not None:
            places = self.sort(np.arange(n) + np.zeros((lanes, 1)), order).astype(np.intp)
        self._run(
            _PERMUTATION[out.dtype],
            out.shape,
            x,
            places,
            count,
            index,
            *anchors,
            width,
            alpha,
            out,
        )
        return out

    def permutation_jvp(
        self,
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
        self._run(
            _kernels.permutation_jvp,
            out.shape,
            x,
            lo,
            hi,
            u,
            alpha,
            x_dot,
            b_dot,
            alpha_dot,
            nodes,
            deviation,
            out,
        )
        return out

    def permutation_vjp(
        self,
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
        b_bar, x_bar, alpha_bar = np.empty(lo.shape), np.empty_like(x), np.empty(x.shape[0])
        self._run(
            _kernels.permutation_vjp,
            bar.shape,
            x,
            lo,
            hi,
            u,
            alpha,
            nodes,
            deviation,
            bar,
            b_bar,
            x_bar,
            alpha_bar,
        )
        return b_bar, x_bar, alpha_bar

    def linear_operator(self, shape: Any, matvec: Any, rmatvec: Any, dtype: Any) -> Any:
        """Return a LinearOperator of scipy."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(shape, matvec, rmatvec, dtype=dtype)

    def intervals(
        self,
        x: Array,
        gap: Array,
        count: Array,
        scans: tuple[Array, Array],
        alpha: Array,
    ) -> tuple[Array, Array, Array, Array]:
        """Return what the n intervals between the thresholds at the levels 1, 2, ... get.

        The interval that holds each node, and the share of its mass in it; the nodes next to each
        interval, and what they contribute.
        """
        row, inside = np.empty(x.shape, np.intp), np.empty_like(x)
        at, by = np.empty((2, *x.shape), np.intp), np.empty((2, *x.shape))
        self._run(_kernels.intervals, x.shape, x, gap, count, *scans, alpha, row, inside, at, by)
        return row, inside, at, by

    def collect(self, values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
        """Add inside * values to `out`, by row."""
        self._run(_kernels.collect, out.shape, values, inside, row, key, out)

    def spread(self, values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
        """Add the transpose of `collect` to `out`."""
        self._run(_kernels.spread, out.shape, values, inside, row, key, out)

    def level_ties(self, x: Array, key: Array, values: Array) -> None:
        """Give equal sources the result of the first of them, in place."""
        self._run(_kernels.level_ties, values.shape, x, key, values)


SERIAL = Kernels()
