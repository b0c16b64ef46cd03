"""NumPy arrays brought into ascending order.

Entries are packed with their indices into integers, which are sorted; long lanes are ordered part
by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import _kernels
from ..types import Array, DType, Entries, Flags, Floats, Indices, Ordered, any_in_lane
from . import digits, memory
from .lanes import Lanes
from .loops import DISTRIBUTE, FLOAT32, FLOAT64, PACK, REARRANGE, UNPACK, written

LONG_LANE, PART = 2**18, 2**14  # longer lanes are ordered in parts, which fit into a cache each
MOST_PARTS = 255
LEAST_TARGETS = 128  # fewer, or among fewer sources, are found sooner than put in order


class Places(NamedTuple):
    """How entries are brought into order: part by part first, if lanes are long, then each part.

    Attributes
    ----------
    rank : array of int, shape (lanes, n)
        Where each entry is among the distributed ones, in order.
    part_of, part_starts : arrays or None
        The part of each entry, and where each part begins.
    """

    rank: Indices
    part_of: NDArray[np.uint8] | None = None
    part_starts: Indices | None = None


class Order(Lanes):
    """The kernels of `protocol.Order`."""

    def order(
        self,
        x: Entries,
        alpha: Floats,
        weights: Floats | None,
        totals: Floats | None,
        known: Places | None = None,
    ) -> Ordered:
        """Order the entries, absent ones last; no alpha and no weights are wrong by now."""
        if known is None:
            block, places, present, nan_lanes = self._arrange(x, weights, 4)
        else:
            block, places, present, nan_lanes = self._arrange_as(known, x, weights)
        sorted_x, gap, left, right = block
        self._gaps(sorted_x, present, alpha, gap)
        arranged = None if weights is None else self.to_order(weights, places)
        return Ordered(sorted_x, gap, present, nan_lanes, places, arranged, (left, right))

    def ascending(self, x: Entries, alpha: Floats) -> Ordered:
        """Return the same without the order."""
        if digits.by_digits(x.shape[1]):
            return self.order(x, alpha, None, None)
        values, gap, left, right = self._block(4, x.shape)
        if x.dtype == FLOAT32:  # half as wide, and sorted in half the time
            x = x.copy()
            self._sort(x)
            values[...] = x
        else:
            values[...] = x
            self._sort(values)
        nan_lanes = np.isnan(values[:, -1:]).any(axis=-1)
        present = np.where(nan_lanes, 0, x.shape[1])
        self._gaps(values, present, alpha, gap)
        spoilt = nan_lanes if nan_lanes.any() else None
        return Ordered(values, gap, present, spoilt, None, None, (left, right))

    def arrange(self, targets: Floats, sources: int) -> tuple[Floats, Places | None]:
        """Return targets in ascending order, NaN last, and the order; None where they stay.

        To look for one after the other among many sources, in no order, misses the cache at every
        step.
        """
        few = min(targets.shape[1], sources) < LEAST_TARGETS
        if few or (targets[:, 1:] >= targets[:, :-1]).all():
            return self.contiguous(targets), None
        block, places, _, nan_lanes = self._arrange(targets, None, 1)
        if nan_lanes is not None:
            # A lane with a NaN may not be in order; without its NaN it is.
            block, places, _, _ = self._arrange(targets, 1.0 - np.isnan(targets), 1)
        (arranged,) = block
        return arranged, places

    def to_order(self, values: Floats, order: Places, source_lane: Indices | None = None) -> Floats:
        """Return every lane of `values` in the order of its lane, or of its source lane."""
        return self._rearrange(values, order, source_lane, False, FLOAT64)

    def from_order(
        self,
        values: Floats,
        order: Places,
        source_lane: Indices | None = None,
        dtype: DType | None = None,
    ) -> Floats:
        """Undo `to_order`; the result is rounded to float32 if that is the dtype."""
        return self._rearrange(values, order, source_lane, True, written(dtype))

    def arrays_of_order(self, order: Places) -> tuple[Array, ...]:
        """Return an order as arrays that nobody else holds."""
        if order.part_of is None or order.part_starts is None:
            return (order.rank,)
        return order.rank, order.part_of.copy(), order.part_starts

    def order_of_arrays(self, arrays: Sequence[Array]) -> Places:
        """Undo `arrays_of_order`."""
        return Places(*arrays)

    def forms_of_order(self, lanes: int, n: int) -> tuple[tuple[tuple[int, int], DType], ...]:
        """Return the shapes and dtypes of these arrays for lanes of n entries."""
        rank = (lanes, n), np.dtype(np.intp)
        if n < LONG_LANE:
            return (rank,)
        return rank, ((lanes, n), np.dtype(np.uint8)), ((lanes, MOST_PARTS + 1), np.dtype(np.intp))

    def _arrange_as(
        self, known: Places, x: Entries, weights: Floats | None
    ) -> tuple[Floats, Places, Indices, Flags | None]:
        """Return what `_arrange` does where the order is known."""
        block, (lanes, n) = self._block(4, x.shape), x.shape
        self._rearrange(self.contiguous(x), known, None, False, FLOAT64, block[0])
        there = np.full(lanes, n, np.intp)
        nan: Flags = np.isnan(x)
        if weights is not None:
            there, nan = np.count_nonzero(weights, axis=-1), nan & (weights != 0.0)
        nan_lanes = any_in_lane(nan)
        present = np.where(nan_lanes, 0, there)
        return block, known, present, nan_lanes if nan_lanes.any() else None

    def _rearrange(
        self,
        values: Floats,
        order: Places,
        source_lane: Indices | None,
        back: bool,
        dtype: DType,
        out: Array | None = None,
    ) -> Floats:
        out = np.empty(values.shape, dtype) if out is None else out
        scratch = None if order.part_of is None else np.empty(values.shape)
        inputs = self.contiguous(values), *order, source_lane, back
        self._run(REARRANGE[dtype], out.shape, *inputs, scratch, out)
        return out

    def _gaps(self, x: Floats, present: Indices, alpha: Floats, out: Floats) -> None:
        """(x[m] - x[m-1])/alpha between neighbours, infinite where there is no pair."""
        self._run(_kernels.gaps, out.shape, x, present, alpha, out)

    def _arrange(
        self, x: Entries, weights: Floats | None, arrays: int
    ) -> tuple[Floats, Places, Indices, Flags | None]:
        """Return several arrays in one, the first of which holds x in order, and what goes with it.

        That is where entries went, how many are present, and which lanes, if any, are spoilt by a
        NaN of non-zero weight and count none.
        """
        rank = np.empty(x.shape, np.intp)
        if x.shape[1] < LONG_LANE:
            block = self._block(arrays, x.shape)
            whole = x.dtype == FLOAT32
            return block, Places(rank), *self._order(x, weights, whole, block[0], rank)
        # Pages of the system are slow to get: with the parts in the block, all that ranks and sorts
        # and their cotangents take together is less than what is kept from call to call.
        size = 8 * arrays * x.size
        bytes_of_all = memory.empty((size + x.size,), np.uint8)
        block = bytes_of_all[:size].view(np.float64).reshape(arrays, *x.shape)
        part_of = bytes_of_all[size:].reshape(x.shape)
        values, scratch = block[0], block[1] if arrays > 1 else np.empty(x.shape)
        starts, present, nan_lanes = self._order_parts(x, weights, values, scratch, rank, part_of)
        return block, Places(rank, part_of, starts), present, nan_lanes

    def _order(
        self, x: Entries, weights: Floats | None, whole: bool, values: Floats, rank: Indices
    ) -> tuple[Indices, Flags | None]:
        """Write the entries in order to `values`; they are `whole` if float32 in any dtype."""
        lanes, n = x.shape
        # NumPy sorts integers much faster than it argsorts floats: the leading bits of the float
        # and its index in one, and what these bits leave in disorder is mended.  They are the whole
        # of what was float32 once.
        width = max(n - 1, 1).bit_length()
        keys, present = rank.view(np.uint64), np.empty(lanes, np.intp)
        nan_lanes, unsorted = np.empty(lanes, np.uint8), np.empty(lanes, np.uint8)
        self._run(PACK[x.dtype], x.shape, x, weights, width, keys, present, nan_lanes)
        self._sort_keys(keys, width)
        whole = whole and width <= 29
        self._run(UNPACK[x.dtype], x.shape, x, width, whole, present, keys, values, unsorted)
        if unsorted.all():
            self._order_again(x, values, present, keys, width)
        elif unsorted.any():
            at = np.flatnonzero(unsorted)
            some_values, some_keys = values[at], keys[at]
            self._order_again(x[at], some_values, present[at], some_keys, width)
            values[at], keys[at] = some_values, some_keys
        return present, nan_lanes.view(np.bool_) if nan_lanes.any() else None

    def _order_parts(
        self,
        x: Entries,
        weights: Floats | None,
        values: Floats,
        scratch: Floats,
        rank: Indices,
        part_of: NDArray[np.uint8],
    ) -> tuple[Indices, Indices, Flags | None]:
        """Order long lanes, where random access to all of a lane would miss the caches."""
        lanes, n = x.shape
        parts = min(-(-n // PART), MOST_PARTS)
        # The sample is spread evenly, by the golden ratio, whatever x may repeat.
        at = np.arange(16 * parts) * int(0.618 * n) % n
        sample = self.contiguous(np.sort(x[:, at], axis=-1))
        starts = np.empty((lanes, MOST_PARTS + 1), np.intp)
        present, nan_lanes = np.empty(lanes, np.intp), np.empty(lanes, np.uint8)
        outputs = part_of, starts, scratch, present, nan_lanes
        self._run(DISTRIBUTE[x.dtype], x.shape, x, weights, sample, parts, *outputs)
        whole = x.dtype == FLOAT32

        def order(rank: Indices, start: int, stop: int) -> None:
            for lane in range(start, stop):
                for a, b in pairwise(starts[lane, : parts + 1]):
                    here = slice(lane, lane + 1), slice(a, b)
                    _ALONE._order(scratch[here], None, whole, values[here], rank[here])
                    rank[here] += a
                absent = slice(starts[lane, parts], n)
                values[lane, absent], rank[lane, absent] = scratch[lane, absent], range(n)[absent]

        self._run(order, x.shape, rank)
        return starts, present, nan_lanes.view(np.bool_) if nan_lanes.any() else None

    def _order_again(
        self, x: Entries, values: Floats, present: Indices, keys: NDArray[np.uint64], width: int
    ) -> None:
        """Order lanes of which many entries agree in their leading bits."""
        if 3 * width > 64:
            for lane, row, n in zip(x, keys, present, strict=True):
                row[:n] = row[:n][np.argsort(lane[row[:n]])]
            values[...] = self.to_order(self.contiguous(x), Places(keys.view(np.intp)))
            return
        # The place of the first that agrees, then the bits that were left out, then the index.
        self._run(_kernels.repack, x.shape, values, present, width, keys)
        self._sort_keys(keys, width)
        unsorted = np.empty(len(x), np.uint8)
        self._run(UNPACK[x.dtype], x.shape, x, width, False, present, keys, values, unsorted)

    def _sort_keys(self, keys: NDArray[np.uint64], width: int) -> None:
        """Sort integers whose last bits, so many, ascend where the others agree."""
        if digits.by_digits(keys.shape[1]):
            self._run(_kernels.sort, keys.shape, width, keys)
        else:
            self._sort(keys)

    def _sort(self, keys: Array) -> None:
        def sort(keys: Array, start: int, stop: int) -> None:
            keys[start:stop].sort(axis=-1)

        self._run(sort, keys.shape, keys)


_ALONE = Order()
