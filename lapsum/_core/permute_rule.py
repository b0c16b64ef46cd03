"""What products with soft permutations share: shapes, lanes, and what is linear in the values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from math import inf, prod
from typing import Any

import numpy as np

from .._backends.types import Array, Flags, Floats, any_in_lane
from .arguments import arguments
from .checks import check_alpha, check_flag
from .layout import (
    AlongAxis,
    PerLane,
    SortedLanes,
    lanes_along,
    pack_all,
    scalar_layout,
    source_lane_of,
    with_nan,
)
from .rule import Rule, Tangents
from .shapes import (
    Shape,
    batch_of,
    broadcast_of,
    joint_batch,
    normalize_axes,
    normalize_axis,
    shape_along_axis,
)


class PermuteRule(Rule):
    """The soft permutation of keys x, or its transpose, times values.

    Parameters
    ----------
    workers : int or None
    x, values, alpha : array_like
    axis : int
    descending, transpose : bool
    """

    along_axis = ("x", "values")

    def __init__(
        self,
        workers: int | None,
        x: Any,
        values: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        transpose: bool = False,
    ) -> None:
        given = {"x": x, "values": values, "alpha": alpha}
        self.kernels, arrays, self.dtypes = kernels, arrays, _ = arguments(workers, given)
        self.dtype = np.result_type(self.dtypes["x"], self.dtypes["values"])
        shapes = {name: array.shape for name, array in arrays.items()}
        axes = {name: self._axes(name, shapes, axis) for name in ("x", "values")}
        batches = {
            name: batch_of(name, shapes[name], at[0]) if axis is not None else ()
            for name, at in axes.items()
        }
        batch = joint_batch("x", batches["x"], "values", batches["values"])
        lengths = {name: prod(shapes[name][i] for i in at) for name, at in axes.items()}
        self.n = n = lengths["x"]
        if lengths["values"] != n:
            raise ValueError(
                f"`values` of shape {shapes['values']} has length {lengths['values']} along axis "
                f"{None if axis is None else axes['values'][0]}, and `x` has {n}; they must be "
                "equal"
            )
        scalar_layout("alpha", shapes["alpha"], batch)
        # Keys are ordered once for every alpha they meet, not for every lane of values.
        keys = broadcast_of(batches["x"], shapes["alpha"])
        self.layouts = {
            "x": lanes_along(shapes["x"], axes["x"], keys),
            "values": lanes_along(shapes["values"], axes["values"], batch),
            "alpha": PerLane(shapes["alpha"], keys),
        }
        check_alpha(arrays["alpha"])
        end = -1 if axis is None else min(axes["x"][0], axes["values"][0])
        at = len(batch) + 1 + end
        self.result = AlongAxis((*batch[:at], n, *batch[at:]), end, batch)
        self.source_lane = source_lane_of(kernels, keys, batch)
        self.descending = check_flag("descending", descending)
        self.transpose = check_flag("transpose", transpose)
        self.lanes = pack_all(kernels, self.layouts, arrays, entries=("x",))

    @staticmethod
    def _axes(name: str, shapes: Mapping[str, tuple[int, ...]], axis: Any) -> tuple[int, ...]:
        """Return the axes of an array along which its lanes lie."""
        if axis is None:
            return normalize_axes(None, shapes[name])
        normalize_axis(-1, shapes[name], name)
        longest = max(("x", "values"), key=lambda one: len(shapes[one]))
        at = normalize_axis(axis, shapes[longest], longest)
        return (-1,) if len(shapes[name]) == 1 else (at,)

    @classmethod
    def reference(cls, shapes: Mapping[str, Shape]) -> Shape:
        """Return the one of these shapes whose axes `axis` counts."""
        return max(shapes["x"], shapes["values"], key=len)

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result."""
        if axes is None:
            return (prod(shapes["x"]),)
        return shape_along_axis(shapes, cls.along_axis, axes[0])

    @property
    @abstractmethod
    def sources(self) -> SortedLanes:
        """The sorted keys."""

    @abstractmethod
    def multiply(self, lanes: Floats, transpose: bool) -> Floats:
        """Return the product of the permutation, or of its transpose, with lanes."""

    @abstractmethod
    def jvp_of_permutation(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation."""

    @abstractmethod
    def vjp_of_permutation(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        """Return the cotangents of keys and alpha, and of the values if they come on the way.

        The product is bilinear in what belongs to entries and what belongs to positions.
        """

    @cached_property
    def ordinary(self) -> bool:
        """Whether values are surely neither NaN nor infinite."""
        return self.kernels.surely_within(self.lanes["values"], inf)

    @cached_property
    def nan_lanes(self) -> Flags | None:
        """Lanes of the result that hold a NaN among values or keys, None for none."""
        nan = None if self.sources.nan_lanes is None else self.sources.nan_lanes[self.source_lane]
        if not self.ordinary:
            here = any_in_lane(self.kernels.xp.isnan(self.lanes["values"]))
            nan = here if nan is None else here | nan
        return nan if nan is not None and nan.any() else None

    @cached_property
    def nan_keys(self) -> Flags | None:
        """Lanes of the keys that one of these belongs to, None for none."""
        if self.nan_lanes is None:
            return None
        nan = self.kernels.xp.where(self.nan_lanes, 1.0, 0.0)
        counts = self.kernels.sum_lanes(nan, self.source_lane, len(self.sources.x))
        return counts > 0.0

    @cached_property
    def values(self) -> Floats:
        """The values; those of lanes that hold a NaN are zero."""
        if self.nan_lanes is None:
            return self.lanes["values"]
        return self.kernels.xp.where(self.nan_lanes[:, None], 0.0, self.lanes["values"])

    @cached_property
    def finite_values(self) -> Floats:
        """The values with infinite ones as zeros: their derivatives are zero."""
        if self.ordinary:
            return self.values
        xp = self.kernels.xp
        finite = xp.isfinite(self.values)
        if not self.kernels.maybe_any(~finite):
            return self.values
        return xp.where(finite, self.values, 0.0)

    def _of_finite_values(self, lanes: Floats) -> Floats:
        """Return lanes beside the values; infinite values do not move."""
        if self.ordinary:
            return lanes
        return self.kernels.xp.where(self.kernels.xp.isfinite(self.values), lanes, 0.0)

    def value(self, out: Array | None = None) -> Array:
        """Return the ordered values."""
        lanes = self.multiply(self.values, self.transpose)
        return with_nan(self.kernels, self.nan_lanes, lanes)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the ordered values."""
        out: Array | None = None
        if "values" in tangents:
            moving = self._of_finite_values(tangents["values"])
            out = self.multiply(moving, self.transpose)
        if tangents.keys() & {"x", "alpha"}:
            moved = self.jvp_of_permutation(tangents.get("x"), tangents.get("alpha"))
            out = moved if out is None else out + moved
        if out is None:
            out = self.kernels.xp.zeros(self.values.shape)
        return with_nan(self.kernels, self.nan_lanes, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of keys, values and alpha."""
        kernels, xp = self.kernels, self.kernels.xp
        bars: dict[str, Array] = {}
        if self.nan_lanes is not None:
            bar = xp.where(self.nan_lanes[:, None], 0.0, bar)
        found: dict[str, Floats] = {}
        if wrt & {"x", "alpha"}:
            # Both products are bilinear in (positions, entries): the same derivative of P serves.
            entries, positions = self.finite_values, bar
            if self.transpose:
                entries, positions = positions, entries
            found = self.vjp_of_permutation(entries, positions, wrt)
        if "values" in wrt:
            values_bar = found.pop("values", None)
            if values_bar is None:
                values_bar = self.multiply(bar, not self.transpose)
            bars["values"] = with_nan(kernels, self.nan_lanes, self._of_finite_values(values_bar))
        for name, lanes in found.items():
            bars[name] = with_nan(kernels, self.nan_keys, lanes)
        return bars
