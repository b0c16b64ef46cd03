"""The kernels for CuPy arrays, with the names and meanings of `lapsum._numpy`.

Scans along a lane go through `Kernels._scan`: threads walk along chunks, the same is done with the
sums of the chunks, and the chunks are walked again with what came before them.  The order of all
additions is fixed, here and in sums, so results are the same in every run.  No kernel waits for the
device; the rules that call them do where they ask whether a flag is set.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import cupy
import numpy as np

from . import launch as _cuda

if int(cupy.__version__.partition(".")[0]) < 14:
    raise ImportError(f"lapsum needs CuPy 14 or newer, and this is {cupy.__version__}")

Array = Any

CHUNK = 32  # elements that one thread of a scan walks along

# Up to here one block solves a lane for its threshold; of longer ones, if few, many blocks do.
LONG = 32_768
LEAST_ENTRIES = 2048  # of one block
MOST_BLOCKS = 256  # of one lane; what each leaves behind is read by all of the next round
ALL_BLOCKS = 1024  # of a launch, enough for any device
ROUNDS = 5

_THREADS, _FEW_THREADS = 128, 32  # of a block, and of one for a short lane
_BRACKET, _PART = 21, 225  # doubles of lap_bracket and of lap_part
_REALS = {"f": "float", "d": "double"}

_numbers_kernel = cache(_cuda.numbers_kernel)
_select_kernel = cache(_cuda.select_kernel)
_sums_kernel = cache(_cuda.sums_kernel)


class Kernels:
    """The kernels for arrays on the current device, run on its current stream."""

    xp = cupy
    on_host = False

    def __init__(self) -> None:
        self._identities: dict[int, Array] = {}

    def quiet(self) -> Any:
        """Return a context in which nothing warns: a device never does."""
        return nullcontext()

    def holds(self, value: Any) -> bool:
        """Return whether `value` is an array of this backend."""
        return isinstance(value, cupy.ndarray)

    def identity(self, lanes: int) -> Array:
        """Return the key of lanes that are their own sources."""
        if lanes not in self._identities:
            self._identities[lanes] = cupy.arange(lanes, dtype=np.int64)
        return self._identities[lanes]

    def numbers(self, spread: dict[str, tuple[Array, tuple[int, ...]]]) -> dict[str, Array]:
        """Return what `Layout.spread` returns as float64 lanes, in one launch at most."""
        out, inputs, lanes = {}, [], []
        for name, (array, shape) in spread.items():
            there = isinstance(array, cupy.ndarray)
            if there and array.ndim and array.dtype == np.float64 and array.flags.c_contiguous:
                out[name] = array.reshape(shape)
            else:
                out[name] = cupy.empty(shape)
                inputs.append(cupy.broadcast_to(array, shape) if there else float(array))
                lanes.append(out[name])
        if lanes:
            kernel = _numbers_kernel(tuple(isinstance(array, cupy.ndarray) for array in inputs))
            sizes = [lane.size for lane in lanes]
            kernel(*inputs, *sizes, *lanes, size=max(sizes))
        return out

    def levels(self, q: Array, totals: Array | None, n: int) -> Array:
        """Return the levels q of the totals, NaN where q is not in (0, 1); None for these is n."""
        return _cuda.LEVELS(q, float(n) if totals is None else totals[:, None])

    def rescale(self, totals: Array, *arrays: Array) -> tuple[Array, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one."""
        return tuple(
            _cuda.RESCALE(totals.reshape(totals.shape + (1,) * (a.ndim - totals.ndim)), a)
            for a in arrays
        )

    def contiguous(self, a: Array) -> Array:
        """Return `a` as C-contiguous float64, the same object where it is that already.

        What was on the host is no more.
        """
        return cupy.ascontiguousarray(cupy.asarray(a), np.float64)

    def entries(self, a: Array) -> Array:
        """Do the same for what `select`, `pull` and `order` read: float32 stays as it is."""
        dtype = np.float32 if a.dtype == np.float32 else np.float64
        return cupy.ascontiguousarray(cupy.asarray(a), dtype)

    def own(self, a: Array) -> Array:
        """Return a copy of `a`, of the same dtype and in C order."""
        return a.copy(order="C")

    def finish(self, a: Array, dtype: Any) -> Array:
        """Return `a` rounded once to `dtype`."""
        return a.astype(dtype, copy=False)

    def freeze(self, a: Array) -> Array:
        """Return a copy of `a`, for want of arrays that cannot be written to."""
        return a.copy()

    def linear_operator(self, shape: Any, matvec: Any, rmatvec: Any, dtype: Any) -> Any:
        """Return a LinearOperator of cupyx."""
        from cupyx.scipy.sparse.linalg import LinearOperator

        return LinearOperator(shape, matvec, rmatvec, dtype=dtype)

    # ---------------------------------------------------------------------------------- in order

    def order(
        self, x: Array, alpha: Array, weights: Array | None, totals: Array | None
    ) -> tuple[Array, Array, Array | None, Array, Array]:
        """Bring the entries, as `entries` returns them, into ascending order, absent ones last.

        Returns four arrays in one, of which the first two hold the sorted entries and the distances
        between them over alpha; the order; the weights in it; how many entries are present; and
        which lanes count none since a NaN of non-zero weight spoils them, or since the host would
        refuse their alpha or their weights, of which `totals` are the sums.
        """
        block = cupy.empty((4, *x.shape))
        keys = self._keys(x, weights)
        # CuPy sorts integers of one lane much faster than what has two axes.
        order = cupy.argsort(keys.ravel() if len(x) == 1 else keys, axis=-1).reshape(x.shape)
        flags = x.shape[1], weights is not None, totals is not None
        arranged = None if weights is None else cupy.empty(x.shape)
        present = self._nothing_present(x.shape)
        inputs = x, _or_nothing(weights), order, alpha, _or_nothing(totals)
        _cuda.ARRANGE(*inputs, *flags, *block[:2], _or_nothing(arranged), *present)
        return block, order, arranged, *present

    def ascending(self, x: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Do what `order` does, without the order."""
        block = cupy.empty((4, *x.shape))
        keys = self._keys(x, None)
        (keys.ravel() if len(x) == 1 else keys).sort(axis=-1)
        present = self._nothing_present(x.shape)
        inputs = keys, alpha, _or_nothing(None), x.shape[1], False
        _cuda.NUMBERS(*inputs, *block[:2], *present)
        return block, *present

    def arrange(self, targets: Array, sources: int) -> tuple[Array, None]:
        """Return targets, which stay as they are: a device finds them all at once."""
        return self.contiguous(targets), None

    def _keys(self, x: Array, weights: Array | None) -> Array:
        """Return integers in the order of the entries, absent ones last, a NaN just before."""
        keys = cupy.empty(x.shape, np.int32 if x.dtype == np.float32 else np.int64)
        _cuda.KEYS(x, _or_nothing(weights), weights is not None, keys)
        return keys

    @staticmethod
    def _nothing_present(shape: tuple[int, int]) -> tuple[Array, Array]:
        """Return counts and flags that sorted entries, if any, are to overwrite."""
        lanes, n = shape
        create = cupy.empty if n else cupy.zeros
        return create(lanes, np.int64), create(lanes, bool)

    def sort(self, values: Array, permutation: Array, key: Array | None = None) -> Array:
        """Return every lane of `values` in the order of its lane, or that of `key`, there."""
        permutation = permutation if key is None else permutation[key]
        return cupy.take_along_axis(values, permutation, axis=-1)

    def unsort(self, values: Array, permutation: Array, key: Array | None = None) -> Array:
        """Undo `sort`."""
        permutation = permutation if key is None else permutation[key]
        out = cupy.empty(values.shape, values.dtype)
        _cuda.UNSORT(values, permutation, values.shape[1], out)
        return out

    def sum_lanes(self, values: Array, key: Array, lanes: int) -> Array:
        """Add up the lanes of `values` that share a key."""
        if len(values) == lanes:  # then each lane has a key of its own
            return values
        order = cupy.argsort(key)
        columns = self.contiguous(values.reshape(len(key), -1)[order].T)
        none = cupy.zeros(len(columns), np.int64)
        sums = self._sums_of_runs(key[order][None], columns, none, lanes)
        return self.contiguous(sums.T).reshape(lanes, *values.shape[1:])

    def min_lanes(self, values: Array, key: Array, lanes: int) -> Array:
        """Return the smallest of the values that share a key."""
        if len(values) == lanes:
            return values
        out = cupy.empty(lanes)
        order = cupy.argsort(key)
        _cuda.LEAST_OF_LANES(self.contiguous(values), order, key[order], len(key), out)
        return out

    def times(self, a: Array, b: Array) -> Array:
        """Return a * b, where nothing times an infinity is nothing."""
        return _cuda.TIMES(a, b)

    def decays(self, gap: Array) -> Array:
        """Return the gaps, which is what `scan` takes here."""
        return gap

    def scan(self, decay: Array | None, values: Array | None, key: Array, reverse: bool) -> Array:
        """out[m] = values[m] + e^{-gap[m]} out[m-1], or its mirror; values None means ones."""
        return self._scan(decay, values, None, key, backward=reverse)[0][0]

    def scan_both(
        self, gap: Array, values: Array | None, key: Array | None, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the scan of values and its mirror; without a key each lane has its own gaps."""
        left, right = self._scan(gap, values, None, key, both=True)[0]
        return left, right

    def cumulate(self, values: Array) -> tuple[Array, Array]:
        """Return running sums as unevaluated pairs."""
        (high,), (low,) = self._scan(None, values, None, None, keep_low=True)
        return high, low

    def totals(self, values: Array) -> Array:
        """Return sums of weights, rounded once from twice the precision.

        Of a lane with a weight that is negative, infinite or NaN the sum is NaN.
        """
        return self._sum(values, weights=True)

    def _sum(self, values: Array, weights: bool = False) -> Array:
        """Return the sum of each lane, rounded once from twice the precision."""
        lanes, n = values.shape
        blocks = _blocks(lanes, n)
        total, low = self._sum_parts(values, None, blocks, weights)
        if blocks > 1:
            total, low = self._sum_parts(total, low, 1, weights)
        return total[:, 0]

    @staticmethod
    def _sum_parts(
        high: Array, low: Array | None, blocks: int, weights: bool
    ) -> tuple[Array, Array | None]:
        """Return what each of some blocks sums up of a lane, as a pair; of one block, rounded."""
        lanes, n = high.shape
        total, last = cupy.empty((lanes, blocks)), blocks == 1
        rest = None if last else cupy.empty(total.shape)
        threads = next((t for t in (32, 64, 128) if n <= t), 256)
        flags = np.int32(low is not None), np.int32(last), np.int32(weights)
        inputs = high, _or_nothing(low), np.int64(n), np.int32(blocks), *flags
        if lanes:
            _sums_kernel()((total.size,), (threads,), (*inputs, total, _or_nothing(rest)))
        return total, rest

    def _scan(
        self,
        gap: Array | None,
        high: Array | None,
        low: Array | None,
        key: Array | None,
        both: bool = False,
        backward: bool = False,
        apart: bool = False,
        keep_low: bool = False,
    ) -> tuple[Array, Array]:
        """Return scans of high + low as (1 or 2, lanes, n), the low parts beside if kept.

        With `both`, forwards and backwards; of two arrays one after the other if `apart`.  Without
        `high` of ones; without a key each lane has its own gaps.
        """
        own: Any = high if gap is None else gap
        lanes, n = len(own if key is None else key), own.shape[-1]
        chunks = -(-n // CHUNK)
        keys = cupy.empty(1, np.int64) if key is None else key
        arrays = _or_nothing(gap), _or_nothing(high), _or_nothing(low), keys
        inputs = *arrays, lanes, n, chunks, CHUNK
        flags = high is None, low is not None, gap is None, key is None, backward, apart
        before = before_low = _or_nothing(None)
        if chunks > 1:
            # The sum of each chunk as a pair, and the gap from the last of the one before.
            total, total_low, span = cupy.empty((3, lanes * (1 + both), chunks))
            _cuda.SCAN_UP(*inputs, *flags, total, total_low, span)
            before, before_low = self._scan(span, total, total_low, None, keep_low=True)
        out = cupy.empty((1 + both, lanes, n))
        out_low = cupy.empty(out.shape if keep_low else 1)
        ends = before, before_low, keep_low, out, out_low
        _cuda.SCAN_DOWN(*inputs, *flags, *ends, size=(1 + both) * lanes * chunks)
        return out, out_low

    def _running_largest(self, values: Array, dtype: Any = np.float64) -> Array:
        lanes, n = values.shape
        out = cupy.empty(values.shape, dtype)
        chunks = -(-n // CHUNK)
        before = _or_nothing(None)
        if chunks > 1:
            largest = cupy.empty((lanes, chunks))
            _cuda.LARGEST_UP(values, n, chunks, CHUNK, largest)
            before = self._running_largest(largest)
        _cuda.LARGEST_DOWN(values, before, n, chunks, CHUNK, out, size=lanes * chunks)
        return out

    def ranks(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        invalid: Array,
        alpha: Array,
        weights: Array | None,
        pairs: tuple[Array, Array] | None,
        left: Array,
        right: Array,
        dtype: Any,
    ) -> Array:
        """1/2 + S at the sources, absent ones too, in the caller's order; NaN if invalid."""
        out = cupy.empty(gap.shape, dtype)
        sums = *(pairs or (left, left)), left, right
        inputs = x, order, count, invalid, alpha, _or_nothing(weights), *sums
        _cuda.RANKS(*inputs, gap.shape[1], weights is not None, out)
        return out

    def moments(self, decay: Array, step: Array, base: Array, key: Array, reverse: bool) -> Array:
        """sum_j w_j e^{-|x_m - x_j|/alpha} (v_m - v_j) over j < m, or of (v_j - v_m) over j > m."""
        values = cupy.empty(base.shape)
        _cuda.MOMENTS(decay, step, base, key, base.shape[1], reverse, values)
        return self.scan(decay, values, key, reverse)

    def pull_ranks(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        scans: tuple[Array, Array],
        alpha: Array,
        sign: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x and alpha for `bar`, finite, that of the ranks of lanes without weights.

        Both are in the caller's order, and the ranks are those of sources sign x.
        """
        n = x.shape[1]
        bar = self.sort(bar, order)
        steps = cupy.empty((2, *x.shape))
        _cuda.STEPS_OF_RANKS(gap, bar, *scans, x.size, n, steps)
        before, after = self._scan(gap, steps, None, None, both=True, apart=True)[0]
        x_bar, flux = cupy.empty((2, *x.shape))
        inputs = x, gap, order, bar, *scans, before, after, alpha
        _cuda.PULL_RANKS(*inputs, sign, n, x_bar, flux)
        return x_bar, -0.5 * self._sum(flux) / alpha

    def pull_sorted(
        self,
        x: Array,
        gap: Array,
        order: Array,
        count: Array,
        scans: tuple[Array, Array],
        first: float,
        bar: Array,
    ) -> tuple[Array, Array]:
        """Cotangents of x, in the caller's order, and alpha for `bar`, that of `sorted_values`."""
        n, key = x.shape[1], self.identity(len(x))
        index, _, _, factors = self.solve_steps(gap, count, *scans, first, bar.shape[1], 6)
        # Each threshold gives to its two neighbours, and two scans carry that on.  The thresholds
        # ascend: those that give to one node are side by side.
        shares, breaks = self.times(factors[2:4], bar), cupy.empty(bar.shape)
        _cuda.BREAKS(index, key, bar.shape[1], breaks)
        sums = self._scan(breaks, shares, None, None, both=True, apart=True)[0]
        nodes = cupy.empty((2, *x.shape))
        _cuda.NEIGHBOURS(index, sums, x.size, n, bar.shape[1], nodes)
        right, left = self._scan(gap, nodes, None, None, both=True, apart=True)[0]
        x_bar, along = cupy.empty((2, *x.shape))
        _cuda.PULL_SORTED(x, gap, order, *scans, left, right, n, x_bar, along)
        return x_bar, self._sum(along) + self._sum(self.times(bar, factors[5]))

    def level_ties(self, x: Array, key: Array, values: Array) -> None:
        """Give equal sources the result of the first of them, in place."""
        out = cupy.empty(values.shape)
        _cuda.LEVEL_TIES(x, values, key, values.shape[1], out)
        values[...] = out

    # ---------------------------------------------------------------------- targets and thresholds

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
        index = cupy.empty(lo.shape, np.int64)
        plain = u is None
        ends = (lo, lo, lo) if plain else (lo, hi, u)
        _cuda.LOCATE(x, count, alpha, *ends, key, x.shape[1], lo.shape[1], plain, index)
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
        left, right = cupy.empty((2, *lo.shape))
        plain = u is None
        ends = (lo, lo, lo) if plain else (lo, hi, u)
        sizes = x.shape[1], lo.shape[1]
        _cuda.DISTANCES(x, count, alpha, *ends, key, index, *sizes, plain, left, right)
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
        out = cupy.empty(targets.shape)
        lanes = x, count, alpha, left, right, *((left, right) if pairs is None else pairs)
        sizes = x.shape[1], targets.shape[1]
        _cuda.LEVEL(*lanes, targets, key, index, *sizes, pairs is None, out)
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
        rows: int | None = None,
    ) -> tuple[Array, Array, Array, Array | None]:
        """Roots of S(b) = level: nodes below, side of the anchor, offset, factors if `full`."""
        rows = rows or (6 if full else 0)
        shape = levels.shape
        index, side = cupy.empty(shape, np.int64), cupy.empty(shape, np.int8)
        u, factors = cupy.empty(shape), cupy.empty((max(rows, 1), *shape))
        high, low = pairs or (_or_nothing(None), _or_nothing(None))
        _cuda.SOLVE(
            gap,
            count,
            _or_nothing(weights),
            high,
            low,
            left,
            right,
            levels,
            key,
            gap.shape[1],
            shape[1],
            weights is not None,
            rows,
            index,
            side,
            u,
            factors,
        )
        return index, side, u, factors if rows else None

    def solve_steps(
        self,
        gap: Array,
        count: Array,
        left: Array,
        right: Array,
        first: float,
        steps: int,
        rows: int,
    ) -> Any:
        """`solve` at the levels first, first + 1, ... of every lane, for unit weights."""
        lanes = len(gap)
        levels = cupy.broadcast_to(cupy.arange(first, first + steps), (lanes, steps))
        key = self.identity(lanes)
        return self.solve(gap, count, None, None, left, right, levels, key, True, rows)

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
        out = cupy.empty((len(x), steps))
        _cuda.SORTED(x, gap, count, left, right, alpha, first, x.shape[1], steps, out)
        return self._running_largest(out, dtype)

    def anchors(self, x: Array, index: Array, side: Array, key: Array) -> tuple[Array, Array]:
        """Return the two nodes that anchor each threshold."""
        lo, hi = cupy.empty((2, *index.shape))
        _cuda.ANCHORS(x, index, side, key, x.shape[1], index.shape[1], lo, hi)
        return lo, hi

    def thresholds(self, lo: Array, hi: Array, u: Array, alpha: Array, key: Array) -> Array:
        """(lo + hi)/2 + alpha u, rounded."""
        out = cupy.empty(u.shape)
        _cuda.THRESHOLDS(lo, hi, u, alpha, key, u.shape[1], out)
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
        steps = at[0].shape[1]
        out = cupy.empty((len(key), steps))
        _cuda.GATHER(*nodes, key, *at, *by, lane, nodes[0].shape[1], steps, out)
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
        lanes, n = shape
        share = cupy.empty(2 * values.size)
        node = cupy.empty(share.shape, np.int64)
        steps = values.shape[1]
        # The nodes of one lane after those of another, and one more for what reaches none; then
        # the same for those on the right.
        _cuda.SHARES_OF_NODES(values, *at, *by, lane, key, n, steps, lanes * n, node, share)
        order = cupy.argsort(node)
        runs = node[order][None], share[order][None], self.identity(1)
        sums = self._sums_of_runs(*runs, 2 * (lanes * n + 1)).reshape(2, lanes * n + 1)
        left, right = sums[:, :-1]
        return left.reshape(shape), right.reshape(shape)

    def _sums_of_runs(self, node: Array, share: Array, key: Array, nodes: int) -> Array:
        """Return, for each node, the sum of the shares beside it in ascending lanes of nodes."""
        lanes, n = share.shape
        gap, out = cupy.empty(share.shape), cupy.zeros((lanes, nodes))
        if not share.size or not out.size:
            return out
        _cuda.BREAKS(node, key, n, gap)
        sums = self._scan(gap, share, None, None)[0][0]
        _cuda.LAST_OF_NODE(node, sums, key, n, nodes, out)
        return out

    # ---------------------------------------------------------------------------- entries of a lane

    def offsets(self, lo: Array, hi: Array, u: Array, x: Array, alpha: Array) -> Array:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        out = cupy.empty(x.shape)
        _cuda.OFFSETS(lo, hi, u, x, alpha, x.shape[1], u.shape[1] == 1, out)
        return out

    def steps(self, origin: Array, x: Array, alpha: Array) -> Array:
        """(x - origin)/alpha for one origin a lane."""
        out = cupy.empty(x.shape)
        _cuda.STEPS(origin, x, alpha, x.shape[1], out)
        return out

    def cdf(self, t: Array) -> Array:
        """F(t)."""
        return _cuda.CDF(t)

    def pdf(self, t: Array) -> Array:
        """f(t)."""
        return _cuda.PDF(t)

    def logcdf_slope(self, t: Array) -> Array:
        """f(t)/F(t)."""
        return _cuda.LOGCDF_SLOPE(t)

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
        out = cupy.empty(x.shape)
        _cuda.SHARES(*nodes, *q, density, x, t, alpha, x.shape[1], out)
        return out

    # --------------------------------------------------------------------------------- permutations

    def widths(self, lo: Array, hi: Array, u: Array, alpha: Array, n: int) -> Array:
        """(b_i - b_{i-1})/alpha of the n intervals between n - 1 thresholds."""
        out = cupy.empty((len(lo), n))
        _cuda.WIDTHS(lo, hi, u, alpha, n, out)
        return out

    def permutation(
        self,
        x: Array,
        order: Array,
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
        out = cupy.empty((lanes, n, n), dtype if dtype == np.float32 else np.float64)
        _cuda.PERMUTATION(x, order, *anchors, width, alpha, n, out, size=out.size)
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
        out = cupy.empty((lanes, n, n))
        _cuda.PERMUTATION_JVP(
            x,
            lo,
            hi,
            u,
            alpha,
            _or_nothing(x_dot),
            _or_nothing(b_dot),
            _or_nothing(alpha_dot),
            nodes,
            deviation,
            lanes,
            n,
            x_dot is not None,
            alpha_dot is not None,
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
        entry, lo, hi, u = x[:, None, :], lo[:, :, None], hi[:, :, None], u[:, :, None]
        inputs = entry, lo, hi, u, alpha[:, None, None], bar[:, :-1], bar[:, 1:]
        away = *nodes[:, :, :, None], *deviation[:, :, :, None]
        if x.shape[1] < 2:
            return cupy.empty(lo.shape[:2]), cupy.zeros(x.shape), cupy.zeros(len(x))
        return (
            _cuda.FLOW(*inputs, axis=2),
            -_cuda.FLOW(*inputs, axis=1),
            _cuda.FLOW_ALONG(*inputs, *away, axis=(1, 2)),
        )

    def intervals(
        self, x: Array, gap: Array, count: Array, scans: tuple[Array, Array], alpha: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return what the n intervals between the thresholds at the levels 1, 2, ... get.

        The interval that holds each node, and the share of its mass in it; the nodes next to each
        interval, and what they contribute.
        """
        lanes, n = x.shape
        index, side, u, factors = self.solve_steps(gap, count, *scans, 1.0, max(n - 1, 0), 2)
        lo, hi = self.anchors(x, index, side, self.identity(lanes))
        row, inside = cupy.empty(x.shape, np.int64), cupy.empty(x.shape)
        _cuda.INSIDES(x, count, index, lo, hi, u, alpha, n, row, inside)
        at, by = cupy.empty((2, lanes, n), np.int64), cupy.empty((2, lanes, n))
        _cuda.ROWS(index, lo, hi, u, alpha, factors, lanes, n, *at, *by)
        return row, inside, at, by

    def collect(self, values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
        """Add inside * values to `out`, by row."""
        n = values.shape[1]
        share = cupy.empty(values.shape)
        _cuda.WEIGH(values, inside, key, n, share)
        out += self._sums_of_runs(row, share, key, n)

    def spread(self, values: Array, inside: Array, row: Array, key: Array, out: Array) -> None:
        """Add the transpose of `collect` to `out`."""
        _cuda.SPREAD(values, inside, row, key, out, out.shape[1], out)

    # ------------------------------------------------------------------------- one threshold a lane

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
    ) -> Any:
        """Solve every lane of sign * x, as `entries` returns it, whatever its entries are.

        Returns x, or a copy of it to `keep`; None; what `Selection` holds as `found`;
        F((b - sign x)/alpha) if `fill` is 1, its logarithm if it is 2, of the dtype of x (and in
        the memory of `into`, if given); then which lanes are spoilt by a NaN or by what is not
        allowed, and which have no entries, None if none can be without.
        """
        x = x.copy() if keep else x
        lanes, n = x.shape
        found = cupy.empty((10, *levels.shape))
        invalid, absent = cupy.empty((2, *levels.shape), bool)
        kernel = _select_kernel(_REALS[x.dtype.char], weights is not None)
        threads = _THREADS if n > _FEW_THREADS else _FEW_THREADS
        blocks = _blocks(levels.size, n)
        rounds = ROUNDS if blocks > 1 else 0
        shapes = (2, levels.size, _BRACKET), (2, levels.size, blocks, _PART)
        brackets, parts = (cupy.empty(shape if rounds else (2, 1)) for shape in shapes)
        for turn in range(rounds + 1 if levels.size else 0):
            last = turn == rounds
            here = 1 if last else blocks
            kernel(
                (levels.size * here,),
                (threads,),
                (
                    x,
                    _or_nothing(weights),
                    np.int64(n),
                    np.float64(sign),
                    alpha,
                    levels,
                    _or_nothing(totals),
                    np.int32(levels.size // lanes),
                    np.int32(fill == 0),
                    np.int32(turn == 0),
                    np.int32(last),
                    np.int32(here),
                    np.int32(blocks),
                    brackets[turn % 2],
                    parts[turn % 2],
                    brackets[1 - turn % 2],
                    parts[1 - turn % 2],
                    found,
                    invalid,
                    absent,
                ),
            )
        p = into
        if fill:
            p = cupy.empty(x.shape, x.dtype) if p is None else p
            _cuda.PROBABILITIES(x, found, alpha, absent, sign, n, lanes, fill == 2, p)
        if not fill:
            invalid = invalid[:, 0]  # whatever the level
        some_absent = fill and (weights is not None or not n)
        return x, None, found, p, invalid, absent[:, None] if some_absent else None

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
        """Cotangents of x, of the level and of alpha for `bar`, in plain lanes.

        That is the cotangent of F, or of its logarithm.
        """
        lanes, n = x.shape
        density = cupy.ascontiguousarray(thresholds[7])
        mass, flow, x_bar, along = cupy.empty((4, *x.shape))
        weighted = weights is not None
        inputs = x, self.contiguous(bar), _or_nothing(weights), thresholds, alpha
        _cuda.DENSITIES(*inputs, sign, n, lanes, weighted, logarithm, mass, flow)
        total, pivot = self._sum(flow), cupy.argmax(mass, axis=-1)
        _cuda.PULL(x, x, mass, flow, total, pivot, density, alpha, sign, n, x_bar, along)
        rest = self._sum(x_bar)
        cupy.put_along_axis(x_bar, pivot[:, None], -rest[:, None], axis=-1)
        return x_bar / alpha[:, None], total / density, -self._sum(along) / alpha

    def softmax(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        alpha: Array,
        dot: Array | None,
        bar: Array | None,
    ) -> tuple[Array, Array, Array | None]:
        """Sum with the softmax weights q_ij of few thresholds b_i, in plain lanes.

        Returns sum_j q_ij dot_j, if there is `dot`; sum_j q_ij (b_i - x_j)/alpha; and
        sum_i bar_i q_ij, if there is `bar`.
        """
        (_, lanes, few), n = thresholds.shape, x.shape[1]
        sums = cupy.empty((1 if dot is None else 2, lanes, few, n))
        x_bar = cupy.empty(x.shape)
        arrays = (_or_nothing(a) for a in (weights, dot, bar))
        flags = weights is not None, dot is not None, bar is not None
        _cuda.SOFTMAX(x, thresholds, alpha, *arrays, n, lanes * few, few, *flags, x_bar, sums)
        totals = self._sum(sums.reshape(-1, n)).reshape(-1, lanes, few)
        return totals[-1], thresholds[9] + totals[0], None if bar is None else x_bar


def _blocks(lanes: int, n: int) -> int:
    """Return how many blocks share a lane."""
    if n < LONG or not lanes:
        return 1
    return max(1, min(n // LEAST_ENTRIES, MOST_BLOCKS, ALL_BLOCKS // lanes))


def _or_nothing(array: Array | None) -> Array:
    """Return `array`, or what a kernel takes in its place and does not look at."""
    return cupy.empty(1) if array is None else array
