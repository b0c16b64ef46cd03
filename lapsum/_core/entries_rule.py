"""What operators on the entries of one array share."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._backends.protocol import ShortLanes
from .._backends.types import Array, EvenKernel, Flags, Floats, ShortOperator
from .arguments import arguments
from .checks import (
    allowance_of,
    check_alpha,
    check_k,
    check_out,
    check_q,
    check_total,
    check_weights,
)
from .layout import (
    AlongAxes,
    AlongAxis,
    Layout,
    WholeInEveryLane,
    pack_all,
    scalar_layout,
    weights_layout,
    with_nan,
)
from .rule import Tangents
from .shapes import Shape, batch_of, batch_without, normalize_axes
from .short_rule import ShortRule


class Arrangement(NamedTuple):
    """Where the lanes of a call lie."""

    batch: Shape
    entries: AlongAxis
    result: AlongAxis
    layouts: dict[str, Layout]


@lru_cache(maxsize=256)
def laid_out(
    axes: Shape,
    names: tuple[str, ...],
    shapes: tuple[Shape, ...],
    along_axis: tuple[str, ...],
    in_every_lane: tuple[str, ...],
) -> Arrangement:
    """Return how lanes of entries "x" lie, and the arguments beside them.

    It follows from shapes alone, and many calls have the same.
    """
    of = dict(zip(names, shapes, strict=True))
    x = of["x"]
    result: AlongAxis
    if len(axes) == 1:
        batch = batch_of("x", x, axes[0])
        result = entries = AlongAxis(x, axes[0], batch)
    else:
        batch = batch_without(x, axes)
        entries = AlongAxes(x, axes, batch)
        result = AlongAxis((*batch, entries.size), -1, batch)
    layouts: dict[str, Layout] = {}
    for name, shape in of.items():
        if name == "x":
            layouts[name] = entries
        elif name == "weights" or name in along_axis:
            layouts[name] = weights_layout(shape, x, axes, batch, "x", name)
        elif name in in_every_lane:
            layouts[name] = WholeInEveryLane(shape, batch)
        else:
            layouts[name] = scalar_layout(name, shape, batch)
    return Arrangement(batch, entries, result, layouts)


class EntriesRule(ShortRule):
    """An operator on the entries x of lanes: shapes, checks, lanes and total weights.

    Parameters
    ----------
    workers : int or None
    values : mapping of str to array_like
        "x", the entries, and the other parameters but weights, in signature order.  Those named in
        `along_axis`, which ends with "x", are laid out as weights are, one number for each entry;
        others are one number a lane, but for those that every lane has whole.  The lanes of "k" are
        levels, infinite where they are the total weight.
    weights : array_like or None
    axis : int, None or tuple of int

    Attributes
    ----------
    total : array, shape (lanes,), or None
        Correctly rounded sums of the weights, if there are any; on a device, NaN for weights that
        the host would refuse.
    nan_lanes : array of bool, shape (lanes,), or None
        Lanes that are NaN since they hold one; None for none.  Known with the value.
    muted : array of bool, shape (lanes, n), or None
        Absent entries whose results are not finite, so that they, and all their derivatives, are 0:
        what adds nothing to a sum.  None for none, likewise.
    beside : array, shape (lanes, n), or None
        The weights, for results that are rounded: absent ones may overflow in a smaller type.
    overflow : array of bool, shape (lanes, n), or None
        Absent entries whose results do, so that they are muted as well; known when linearized.
    """

    total: Floats | None = None
    nan_lanes: Flags | None = None
    muted: Flags | None = None
    beside: Floats | None = None
    overflow: Flags | None = None
    operator: ShortOperator | None = None  # what kernels for short lanes call it, if there are any
    even: EvenKernel | None = None  # the density, as they know it; None for Laplace's
    sign = 1.0
    entries: AlongAxis

    def __init__(
        self,
        workers: int | None,
        values: Mapping[str, Any],
        weights: Any = None,
        axis: int | tuple[int, ...] | None = -1,
    ) -> None:
        self.workers = workers
        kernels, arrays, dtypes = arguments(workers, values, weights)
        self.kernels, self.dtypes = kernels, dtypes
        x = arrays["x"]
        self.dtype = dtypes["x"]
        if len(self.along_axis) > 1:
            self.dtype = np.result_type(*(dtypes[name] for name in self.along_axis))
        self.axes = axes = normalize_axes(axis, x.shape, several=self.several_axes)
        shapes = tuple([array.shape for array in arrays.values()])
        kinds = self.along_axis, self.in_every_lane
        self.batch, self.entries, self.result, self.layouts = laid_out(
            axes, tuple(arrays), shapes, *kinds
        )
        check_alpha(arrays["alpha"])
        if weights is not None:
            check_weights(arrays["weights"])
        arrays["x"] = self.entries_of(x, arrays["alpha"])
        self.lanes = lanes = pack_all(kernels, self.layouts, arrays, entries=("x",))
        if weights is not None:
            self.total = kernels.totals(lanes["weights"])
            check_total(self.total)
            self.beside = lanes["weights"]
        if "q" in arrays:
            check_q(arrays["q"])
        if "k" in arrays:
            lanes["k"] = check_k(kernels, arrays, lanes["k"], self.total, self.n, dtypes)

    def entries_of(self, x: Array, alpha: Array) -> Array:
        """Return the entries that stand for x."""
        return x

    @property
    def n(self) -> int:
        """How many entries a lane has."""
        return self.entries.size

    @property
    def allowance(self) -> float:
        """By which part of itself k may exceed the total weight."""
        return allowance_of(self.dtypes["k"], self.dtypes.get("weights"), self.n)

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return prod(self.batch)

    @cached_property
    def weights(self) -> Floats | None:
        """The weights, rescaled, or None."""
        weights = self.lanes.get("weights")
        return None if weights is None else self.rescale(weights)

    def rescale(self, lanes: Floats) -> Floats:
        """Return weights, levels, or cotangents of such, as `kernels.rescale` does."""
        if self.total is None:
            return lanes
        (lanes,) = self.kernels.rescale(self.total, lanes)
        return lanes

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`; float32 stays as it is where kernels read it."""
        lanes = self.packed(array)
        return lanes if self.overflow is None else self._without_overflow(lanes)

    def packed(self, array: Array) -> Array:
        """Return an array of the result's shape as lanes."""
        kernels, result = self.kernels, self.result
        if self.short is None:
            return result.pack(kernels, array)
        return result.pack_entries(kernels, array)

    def quiet_linearize(self) -> Array:
        """Return the results, and keep what derivatives need."""
        y = super().quiet_linearize()
        if self.beside is None:
            return y
        weights = self._rounded_beside(y)
        self.beside = None
        if weights is not None:
            self.beside = weights = self.kernels.own(weights)
            with self.kernels.quiet():
                overflow = (weights == 0.0) & self.kernels.xp.isinf(y.astype(self.dtype))
            self.overflow = overflow if self.kernels.maybe_any(overflow) else None
        return y

    def _rounded_beside(self, lanes: Array) -> Floats | None:
        """Return the weights beside results, if these are to be rounded to a smaller type."""
        weights = self.beside
        if weights is None or self.dtype.itemsize == 8 or weights.shape != lanes.shape:
            return None
        return weights

    def lanes_of_out(self, out: Array | None) -> Array | None:
        """Return where a result like x may be written: in `out`, in new lanes, or None for neither.

        The lanes of `out` are apart from the arguments, and of a dtype that kernels write: on the
        host that of the entries, on a device any.
        """
        kernels, x = self.kernels, self.lanes["x"]
        if out is None and kernels.on_host:
            return None
        fits = self.dtype == x.dtype or not kernels.on_host
        if out is None:
            new = fits and self.dtype != x.dtype
            return kernels.xp.empty(x.shape, self.dtype) if new else None
        check_out(kernels, out, self.result.shape, self.dtype)
        if any(kernels.xp.may_share_memory(out, lanes) for lanes in self.lanes.values()):
            return None
        if kernels.on_host and self._rounded_beside(x) is not None:
            return None  # results are rounded beside their weights
        place = self.result
        return place.view(out) if fits and isinstance(place, AlongAxis) else None

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape; absent ones do not overflow."""
        weights = None if self.beside is None else self._rounded_beside(lanes)
        if weights is not None:
            lanes = self._without_overflow(lanes)
            lanes = self.kernels.round_beside(weights, lanes, self.dtype)
        return self.result.unpack(self.kernels, lanes)

    def _without_overflow(self, lanes: Array) -> Array:
        return lanes if self.overflow is None else self.kernels.xp.where(self.overflow, 0.0, lanes)

    def _without_muted(self, lanes: Array) -> Array:
        return lanes if self.muted is None else self.kernels.xp.where(self.muted, 0.0, lanes)

    # ------------------------------------------------------------------------------- short lanes

    def short_lanes(self, keep: bool, out: Array | None) -> ShortLanes | None:
        """Return the results by kernels for short lanes, None if there are no such."""
        if self.operator is None:
            return None
        lanes, levels = self.lanes, self._levels_of_lanes()
        given = lanes["x"], self.sign, lanes["alpha"], levels, lanes.get("weights"), self.total
        return self.kernels.short_lanes(self.operator, self.even, *given, keep, out)

    def _levels_of_lanes(self) -> Floats | None:
        """Return the levels of thresholds, or shares of the total, as `short_lanes` takes them."""
        return self.lanes.get("k")

    def some_lanes(self, which: Flags) -> EntriesRule:
        """Return the same call of some of the lanes, by kernels for lanes of any length."""
        some: EntriesRule = copy(self)
        some.short = some.others = None
        some.__dict__.pop("weights", None)  # those of all lanes
        some.lanes = {name: lanes[which] for name, lanes in self.lanes.items()}
        some.batch = (len(some.lanes["alpha"]),)
        if self.total is not None:
            some.total = self.total[which]
        return some

    # ------------------------------------------------------------------------------- derivatives

    def dense(self, name: str) -> Array | None:
        """Return the Jacobian of every lane in x, where it has a formula; else None."""
        if name != "x" or not self.n or not self.count or self.overflow is not None:
            return None
        if self.short is None:
            return self.dense_in_x()
        call = self.some_lanes(self.lanes["alpha"] > 0.0)
        call.linearize()
        return call.dense_in_x()

    def dense_in_x(self) -> Array | None:
        """Return the same of a call that kernels for lanes of any length linearized."""
        return None

    def long_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result of lanes of any length."""
        tangent = self._without_muted(super().long_jvp(tangents))
        return with_nan(self.kernels, self.nan_lanes, tangent)

    def long_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters of lanes of any length."""
        bars = super().long_vjp(self._without_muted(bar), wrt)
        if self.nan_lanes is None:
            return bars
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}
