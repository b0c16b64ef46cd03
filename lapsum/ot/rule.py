"""What the operators of this package share: their arguments, and the chain rule to the plan."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .._backends.transport import Transport
from .._backends.types import Array, Flags, Floats, any_in_lane
from .._core.arguments import host_arguments, worker_count
from .._core.checks import check_alpha, check_flag, check_targets, check_weights
from .._core.layout import (
    AlongAxis,
    Layout,
    lanes_along,
    pack_all,
    scalar_layout,
    weights_layout,
    with_nan,
)
from .._core.rule import LARGE, Rule, Tangents
from .._core.shapes import batch_of, batch_without, normalize_axes, with_length
from .implicit import Dots, pull, push
from .shares import Shares, shares_of
from .sinkhorn import Coupling, Couplings, coupled
from .squash import Squash, check_squash, evenly_spaced, squashed


class SinkhornRule(Rule):
    """A mean of some values over the plan between entries and targets.

    Parameters
    ----------
    workers : int or None
    x, epsilon, weights, targets, target_weights, squash, axis, descending
        As in `sinkhorn_rank`.
    more : mapping of str to array_like, optional
        Further arguments, which a subclass lays out.

    Attributes
    ----------
    at_entries : bool
        Whether there is a result for each entry, of values of the targets; else the other way.
    """

    keeps_value = True
    array_keywords = ("weights", "targets", "target_weights")
    of_one_call = ("targets", "target_weights", "values")
    at_entries: bool
    targets_given: bool

    def __init__(
        self,
        workers: int | None,
        x: Any,
        epsilon: Any,
        *,
        weights: Any = None,
        targets: Any = None,
        target_weights: Any = None,
        squash: Any = "logistic",
        axis: int | None = -1,
        descending: bool = False,
        more: dict[str, Any] | None = None,
    ) -> None:
        more = more or {}
        optional = {"weights": weights, "targets": targets, "target_weights": target_weights}
        given = {name: value for name, value in optional.items() if value is not None}
        values = {"x": x, **more, "epsilon": epsilon, **given}
        self.kernels, arrays, self.dtypes = host_arguments("lapsum.ot", workers, values)
        self.transport = Transport(1 if workers is None else worker_count(workers))
        x = arrays["x"]
        self.dtype = np.result_type(*(self.dtypes[name] for name in ("x", *more)))
        self.axes = axes = normalize_axes(axis, x.shape)
        self.batch = batch_without(x.shape, axes)
        self.n = prod(x.shape[axis] for axis in axes)
        check_squash(squash)
        self.squash = squash
        self.descending = check_flag("descending", descending)
        layouts = self._layouts(arrays)
        self.layouts = {name: layouts[name] for name in arrays}
        check_alpha(arrays["epsilon"], "epsilon")
        for name in ("weights", "target_weights"):
            if name in arrays:
                check_weights(arrays[name], name)
        self.result = self._result(x.shape)
        self.lanes = pack_all(self.kernels, self.layouts, arrays, entries=())
        self.entry_weights = self._shares("weights", self.n)
        self.target_weights = self._shares("target_weights", self.m)
        if "targets" in arrays:
            check_targets(self.lanes["targets"])
        if "target_weights" in arrays and not (self.target_weights.total > 0.0).all():
            raise ValueError("`target_weights` must have a positive sum, got one of 0")

    # ---------------------------------------------------------------------------------- arguments

    def _layouts(self, arrays: dict[str, Array]) -> dict[str, Layout]:
        """Return the layouts of the arguments; a subclass adds those of its own."""
        axes, batch = self.axes, self.batch
        shape = arrays["x"].shape
        layouts: dict[str, Layout] = {
            "x": lanes_along(shape, axes, batch),
            "epsilon": scalar_layout("epsilon", arrays["epsilon"].shape, batch),
        }
        if "weights" in arrays:
            layouts["weights"] = weights_layout(arrays["weights"].shape, shape, axes, batch, "x")
        self.m = self.n
        self.targets_given = "targets" in arrays or "target_weights" in arrays
        for name in ("targets", "target_weights"):
            if name in arrays:
                layouts[name] = layout = self._beside(name, arrays[name].shape, shape)
                if name == "target_weights" and "targets" in arrays and layout.size != self.m:
                    raise ValueError(
                        f"`target_weights` has length {layout.size} along its axis, and `targets` "
                        f"{self.m}; they must be equal"
                    )
                self.m = layout.size
        return layouts

    def _beside(self, name: str, shape: tuple[int, ...], entries: tuple[int, ...]) -> AlongAxis:
        """Return the layout of what lies beside entries of some shape, of any length."""
        if len(shape) == 1:
            return AlongAxis(shape, -1, self.batch)
        if len(self.axes) == 1 and len(shape) == len(entries):
            (axis,) = self.axes
            if batch_of(name, shape, axis) == self.batch:
                return AlongAxis(shape, axis, self.batch)
        raise ValueError(
            f"`{name}` of shape {shape} must be 1-D, or have the shape {entries} of `x` but along "
            "the axis"
        )

    def _result(self, shape: tuple[int, ...]) -> AlongAxis:
        length = self.n if self.at_entries else self.m
        if len(self.axes) != 1:
            return AlongAxis((*self.batch, length), -1, self.batch)
        (axis,) = self.axes
        return AlongAxis(with_length(shape, axis, length), axis, self.batch)

    def _shares(self, name: str, size: int) -> Shares:
        return shares_of(self.kernels, self.lanes.get(name), (prod(self.batch), size), name)

    # -------------------------------------------------------------------------------------- value

    @cached_property
    def absent(self) -> Flags:
        """Entries that are not finite and have no weight."""
        if "weights" not in self.lanes:
            return np.zeros(self.lanes["x"].shape, bool)
        absent: Flags = (self.lanes["weights"] == 0.0) & ~np.isfinite(self.lanes["x"])
        return absent

    @cached_property
    def x(self) -> Floats:
        """The entries, those that are absent or NaN as zeros."""
        x = self.lanes["x"]
        return np.where(self.absent | np.isnan(x), 0.0, x)

    @cached_property
    def nan_lanes(self) -> Flags | None:
        """Lanes that are NaN since they hold one, or since nothing is there to be transported."""
        nan = any_in_lane(np.isnan(self.lanes["x"]) & ~self.absent)
        if not self.at_entries:
            nan = nan | (self.entry_weights.total == 0.0)
        return nan if nan.any() else None

    @cached_property
    def squashed(self) -> Squash:
        """The entries that are transported."""
        return squashed(self.squash, self.x, self.entry_weights.shares)

    @cached_property
    def coupling(self) -> Coupling | Couplings:
        """The plan."""
        lanes = self.lanes
        targets = lanes.get("targets")
        if targets is None:
            targets = evenly_spaced(self.m, prod(self.batch))
        a, b = self.entry_weights.shares, self.target_weights.shares
        return coupled(self.transport, self.squashed.z, a, targets, b, lanes["epsilon"])

    @abstractmethod
    def carried(self) -> Floats:
        """Return what is averaged: values of targets, or of entries in the caller's order.

        None is NaN; infinite ones are the limit of large ones, in which nothing has a derivative.
        """

    @abstractmethod
    def carried_push(self, tangents: Tangents, b_dot: Floats | None) -> Floats | None:
        """Return its tangent, None for zero."""

    @abstractmethod
    def carried_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats | None:
        """Add the cotangents of parameters; return that of the shares of targets, None for zero."""

    @cached_property
    def values(self) -> Floats:
        """What is averaged."""
        return self.carried()

    @cached_property
    def source(self) -> Floats:
        """The same, with infinities as zeros, in the order of the plan."""
        return self._source(np.where(np.isfinite(self.values), self.values, 0.0))

    def _source(self, values: Floats) -> Floats:
        return values if self.at_entries else self.coupling.sort(values)

    def mean(self, source: Floats) -> Floats:
        """Return the mean over the plan, in the caller's order."""
        mean = self.coupling.mean(self.at_entries, source)
        return self.coupling.unsort(mean) if self.at_entries else mean

    @cached_property
    def _source_shares(self) -> Floats:
        """The weights of what is averaged, in the order of the plan."""
        if self.at_entries:
            return self.target_weights.shares
        return self.coupling.sort(self.entry_weights.shares)

    @cached_property
    def mean_of_source(self) -> Floats:
        """The mean of what is averaged."""
        return self.mean(self.source)

    @cached_property
    def unit(self) -> Floats:
        """By what large values are divided for derivatives, whose differences would overflow."""
        present = np.where(self._source_shares > 0.0, np.abs(self.source), 0.0)
        largest = present.max(axis=-1, initial=0.0)
        near = np.ldexp(1.0, np.frexp(largest)[1] - 1)
        return np.where(largest > LARGE, near, 1.0)[:, None]

    @cached_property
    def _in_units(self) -> tuple[Floats, Floats]:
        """What is averaged, and its mean, as derivatives take them: a common offset is nothing."""
        source = self.source / self.unit
        if source.size:
            # From the median, which has a weight: others may be of any size.
            middle = np.argmax(np.cumsum(self._source_shares, axis=-1) >= 0.5, axis=-1)[:, None]
            source = source - np.take_along_axis(source, middle, axis=-1)
        return source, self.coupling.mean(self.at_entries, source)

    def _finished(self, lanes: Floats) -> Floats:
        if self.at_entries:
            lanes = np.where(self.absent, 0.0, lanes)
        elif self.descending:
            lanes = lanes[:, ::-1]
        return with_nan(self.kernels, self.nan_lanes, lanes)

    def outcome(self) -> Floats:
        """Return the result, from the mean: infinite where infinite values have a share."""
        infinite = np.where(np.isinf(self.values), np.sign(self.values), 0.0)
        if not infinite.any():
            return self.mean_of_source
        share = self.mean(self._source(infinite))
        return np.where(share == 0.0, self.mean_of_source, np.copysign(np.inf, share))

    def value(self, out: Array | None = None) -> Array:
        """Return the result."""
        return self._finished(self.outcome())

    # -------------------------------------------------------------------------------- derivatives

    def outcome_push(self, mean_dot: Floats, tangents: Tangents) -> Floats:
        """Return the tangent of the result, for that of the mean."""
        return mean_dot

    def outcome_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats:
        """Return the cotangent of the mean for that of the result; add those of parameters."""
        return bar

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result."""
        c = self.coupling
        a_dot = self.entry_weights.push(tangents.get("weights"))
        b_dot = self.target_weights.push(tangents.get("target_weights"))
        z_dot = self.squashed.push(tangents.get("x"), a_dot)
        values_dot = self.carried_push(tangents, b_dot)
        if not self.at_entries and values_dot is not None:
            values_dot = c.sort(values_dot)
        dots = Dots(
            entries=None if z_dot is None else c.sort(z_dot),
            entry_weights=None if a_dot is None else c.sort(a_dot),
            targets=tangents.get("targets"),
            target_weights=b_dot,
            values=None if values_dot is None else values_dot / self.unit,
            epsilon=tangents.get("epsilon"),
        )
        mean_dot = self.unit * push(c, self.at_entries, *self._in_units, dots)
        if self.at_entries:
            mean_dot = c.unsort(mean_dot)
        return self._finished(self.outcome_push(mean_dot, tangents))

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters."""
        c = self.coupling
        if self.nan_lanes is not None:
            bar = np.where(self.nan_lanes[:, None], 0.0, bar)
        if self.at_entries:
            bar = np.where(self.absent, 0.0, bar)
        elif self.descending:
            bar = bar[:, ::-1]
        bars: dict[str, Floats] = {}
        mean_bar = self._ordered(self.outcome_pull(bar, bars))
        of_targets = not wrt.isdisjoint(self._of_targets)
        found = pull(c, self.at_entries, *self._in_units, mean_bar, of_targets)
        values_bar = found.values if self.at_entries else c.unsort(found.values)
        b_bar = self.carried_pull(values_bar, bars)
        b_bar = found.target_weights if b_bar is None else found.target_weights + b_bar
        x_bar, a_bar = self.squashed.pull(c.unsort(found.entries))
        a_bar = c.unsort(found.entry_weights) + (0.0 if a_bar is None else a_bar)
        shared = self.entry_weights.pull(a_bar)
        parts = {
            "x": x_bar,
            "epsilon": found.epsilon,
            "targets": found.targets,
            "target_weights": self.target_weights.pull(b_bar),
            "weights": np.where(self.absent, 0.0, shared),
        }
        for name, part in parts.items():
            part = self.kernels.times(part, self.unit if part.ndim == 2 else self.unit[:, 0])
            bars[name] = part + bars[name] if name in bars else part
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}

    @property
    def _of_targets(self) -> set[str]:
        """The parameters that belong to targets."""
        return {"targets", "target_weights", *(["values"] if self.at_entries else [])}

    def _ordered(self, lanes: Floats) -> Floats:
        """Return lanes of the result in the order of the plan."""
        return self.coupling.sort(lanes) if self.at_entries else lanes
