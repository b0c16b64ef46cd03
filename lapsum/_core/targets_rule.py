"""What operators on targets among sources share: shapes, lanes and the sorted sources."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .._backends.types import Array, DType, Flags, Floats, sum_in_lane
from .arguments import arguments
from .checks import allowance_of, check_alpha, check_total, check_weights
from .layout import (
    AlongAxis,
    PerLane,
    SortedLanes,
    lanes_along,
    pack_all,
    scalar_layout,
    source_lane_of,
    weights_layout,
)
from .rule import Rule
from .shapes import Shape, batch_of, broadcast_of, joint_batch, normalize_axes, shape_along_axis


class TargetsRule(Rule):
    """An operator whose result belongs to targets, or levels, among sources r.

    Parameters
    ----------
    workers : int or None
    x, r, alpha, weights : array_like
    axis : int
    """

    target = "x"  # what the targets are called
    along_axis = ("x", "r")

    def __init__(
        self,
        workers: int | None,
        x: Any,
        r: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
    ) -> None:
        given = {self.target: x, "r": r, "alpha": alpha}
        self.kernels, arrays, self.dtypes = kernels, arrays, _ = arguments(workers, given, weights)
        shapes = {name: array.shape for name, array in arrays.items()}
        x_shape, r_shape = shapes[self.target], shapes["r"]
        self.dtype = np.result_type(self.dtypes[self.target], self.dtypes["r"])
        axes = normalize_axes(axis, r_shape, "r")
        r_batch: tuple[int, ...]
        x_axes: tuple[int, ...]
        x_batch: tuple[int, ...]
        if axis is None:  # every target meets all sources, wherever it is
            r_batch, x_axes, x_batch = (), tuple(range(-len(x_shape), 0)), ()
        else:
            r_batch = batch_of("r", r_shape, axes[0])
            x_axes = () if not x_shape else (-1,) if len(x_shape) == 1 else axes
            x_batch = batch_of(self.target, x_shape, x_axes[0]) if x_axes else ()
        batch = joint_batch(self.target, x_batch, "r", r_batch)
        scalar_layout("alpha", shapes["alpha"], batch)
        # The sources are sorted and summed once for every alpha they meet, not for every target.
        sources = broadcast_of(r_batch, shapes["alpha"])
        self.layouts = {
            self.target: PerLane(x_shape, batch)
            if not x_axes
            else lanes_along(x_shape, x_axes, batch),
            "r": lanes_along(r_shape, axes, sources),
            "alpha": PerLane(shapes["alpha"], sources),
        }
        if weights is not None:
            self.layouts["weights"] = weights_layout(shapes["weights"], r_shape, axes, sources, "r")
            check_weights(arrays["weights"])
        check_alpha(arrays["alpha"])
        self.source_lane = source_lane_of(kernels, sources, batch)
        self.lanes = pack_all(kernels, self.layouts, arrays, entries=("r", self.target))
        self.n = prod(r_shape[at] for at in axes)
        self.count = prod(sources)
        if weights is not None:
            check_total(self.total_of_sources)
        if not x_axes:
            self.result = PerLane(batch, batch)
        elif axis is None:
            self.result = self.layouts[self.target]
        else:
            at = len(batch) + 1 + axes[0]
            shape = (*batch[:at], x_shape[x_axes[0]], *batch[at:])
            self.result = AlongAxis(shape, axes[0], batch)

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result."""
        if axes is None:
            return shapes[cls.target]
        return shape_along_axis(shapes, (cls.target, "r"), axes[0])

    @cached_property
    def total_of_sources(self) -> Floats:
        """The total weight of each lane of sources; one with a NaN has none, but a total."""
        if "weights" not in self.lanes:
            return self.kernels.xp.full((self.count,), float(self.n))
        return self.kernels.totals(self.lanes["weights"])

    @property
    @abstractmethod
    def sources(self) -> SortedLanes:
        """The sorted sources."""

    @cached_property
    def weights(self) -> Floats | None:
        """The weights that the sums are taken with, or None."""
        weights = self.lanes.get("weights")
        return None if weights is None else self.scale(weights)

    @cached_property
    def _arranged(self) -> tuple[Floats, Any]:
        # Found in ascending order, and kept in it until results are given back.
        targets = self.admit(self._as_lanes(self.lanes[self.target]))
        return self.kernels.arrange(targets, self.n)

    @property
    def targets(self) -> Floats:
        """The targets, (lanes, targets), in the order in which they are found."""
        targets, _ = self._arranged
        return targets

    @property
    def order(self) -> Any:
        """That order, None for the caller's."""
        _, order = self._arranged
        return order

    def admit(self, targets: Array) -> Array:
        """Return the targets, NaN where there is no result."""
        return targets

    def levels_within(self, levels: Array, total: Floats) -> Array:
        """Return levels, NaN outside [0, W]; those above by no more than roundings are W."""
        xp, weights = self.kernels.xp, self.dtypes.get("weights")
        most = total * (1.0 + allowance_of(self.dtypes[self.target], weights, self.n))
        inside = (levels >= 0.0) & (levels <= most)
        return xp.where(inside, xp.minimum(levels, total), xp.nan)

    def scale(self, weights: Floats) -> Floats:
        """Return the weights that the sums are taken with."""
        return weights

    @property
    def nan_lanes(self) -> Flags | None:
        """Lanes of the result whose sources hold a NaN, None for none."""
        nan_lanes = self.sources.nan_lanes
        return None if nan_lanes is None else nan_lanes[self.source_lane]

    def _as_lanes(self, targets: Array) -> Array:
        """Return one target a lane as (lanes, 1)."""
        return targets[:, None] if targets.ndim == 1 else targets

    def to_order(self, lanes: Array) -> Array:
        """Bring what belongs to the targets into their order, as (lanes, targets)."""
        lanes = self._as_lanes(lanes)
        return lanes if self.order is None else self.kernels.to_order(lanes, self.order)

    def from_order(self, lanes: Array, dtype: DType | None = None) -> Array:
        """Undo `to_order`, and perhaps round to float32 if that is the dtype."""
        if self.order is not None:
            lanes = self.kernels.from_order(lanes, self.order, dtype=dtype)
        return lanes[:, 0] if self.result.scalar_lanes else lanes

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape."""
        return self.result.unpack(self.kernels, self.from_order(lanes, self.dtype))

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`."""
        return self.to_order(self.result.pack(self.kernels, array))

    def tangent_of_targets(self, lanes: Floats) -> Floats:
        """Return the tangent of the targets as (lanes, targets), in their order."""
        return self.to_order(lanes)

    def cotangent_of_targets(self, lanes: Floats) -> Floats:
        """Undo `tangent_of_targets`, in double: they may yet be added up."""
        if self.order is not None:
            lanes = self.kernels.from_order(lanes, self.order)
        return lanes[:, 0] if self.layouts[self.target].scalar_lanes else lanes

    def sum_targets(self, values: Floats) -> Floats:
        """Add up the values of all targets that share a lane of sources."""
        return self.kernels.sum_lanes(sum_in_lane(values), self.source_lane, len(self.sources.x))
