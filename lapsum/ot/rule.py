"""What the operators of this package share: their arguments, and the chain rule to the plan."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._backends.numpy.transport import Transport
from .._backends.types import Array, Flags, Floats, any_in_lane, sum_in_lane
from .._core.arguments import host_arguments, worker_count
from .._core.checks import check_alpha, check_flag, check_targets, check_total, check_weights
from .._core.layout import (
    AlongAxis,
    Layout,
    batch_of,
    normalize_axis,
    pack_all,
    scalar_layout,
    weights_layout,
    with_nan,
)
from .._core.rule import Rule, Tangents
from .._core.shapes import with_length
from .implicit import Dots, pull, push
from .sinkhorn import Coupling
from .squash import Squash, check_squash, evenly_spaced, squashed


class Weighed(NamedTuple):
    """Weights, divided by their sum, and this sum, 0 for lanes without any."""

    shares: Floats
    total: Floats


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
        weights: Any,
        targets: Any,
        target_weights: Any,
        squash: Any,
        axis: int,
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
        self.axis = axis = normalize_axis(axis, x.shape)
        self.batch = batch = batch_of("x", x.shape, axis)
        self.n = x.shape[axis]
        check_squash(squash)
        self.squash = squash
        self.descending = check_flag("descending", descending)
        self.layouts = self._layouts(arrays)
        check_alpha(arrays["epsilon"], "epsilon")
        for name in ("weights", "target_weights"):
            if name in arrays:
                check_weights(arrays[name], name)
        self.result = AlongAxis(
            self.kernels, with_length(x.shape, axis, self._length()), axis, batch
        )
        self.lanes = pack_all(self.kernels, self.layouts, arrays, entries=())
        self.entry_weights = self._weighed("weights", self.n)
        self.target_weights = self._weighed("target_weights", self.m)
        if "targets" in arrays:
            check_targets(self.lanes["targets"])
        if "target_weights" in arrays and not (self.target_weights.total > 0.0).all():
            raise ValueError("`target_weights` must have a positive sum, got one of 0")

    # ---------------------------------------------------------------------------------- arguments

    def _layouts(self, arrays: dict[str, Array]) -> dict[str, Layout]:
        kernels, axis, batch = self.kernels, self.axis, self.batch
        shape = arrays["x"].shape
        layouts: dict[str, Layout] = {}
        self.m = self.n
        self.targets_given = "targets" in arrays or "target_weights" in arrays
        for name in ("targets", "target_weights"):
            if name in arrays:
                layouts[name] = self._target_layout(name, arrays[name].shape, shape)
                length = arrays[name].shape[-1 if arrays[name].ndim == 1 else axis]
                if name == "target_weights" and "targets" in arrays and length != self.m:
                    raise ValueError(
                        f"`target_weights` has length {length} along its axis, and `targets` "
                        f"{self.m}; they must be equal"
                    )
                self.m = length
        for name, array in arrays.items():
            if name == "x":
                layouts[name] = AlongAxis(kernels, shape, axis, batch)
            elif name == "epsilon":
                layouts[name] = scalar_layout(kernels, name, array, batch)
            elif name == "weights":
                layouts[name] = weights_layout(kernels, array, shape, (axis,), batch, "x")
            elif name not in layouts:
                layouts[name] = self._layout(name, array)
        return {name: layouts[name] for name in arrays}

    def _layout(self, name: str, array: Array) -> Layout:
        """Return the layout of a further argument."""
        raise NotImplementedError(name)

    def _target_layout(
        self, name: str, shape: tuple[int, ...], entries: tuple[int, ...]
    ) -> AlongAxis:
        if len(shape) == 1:
            return AlongAxis(self.kernels, shape, -1, self.batch)
        if len(shape) == len(entries) and batch_of(name, shape, self.axis) == self.batch:
            return AlongAxis(self.kernels, shape, self.axis, self.batch)
        raise ValueError(
            f"`{name}` of shape {shape} must be 1-D, or have the shape {entries} of `x` but along "
            "the axis"
        )

    def _length(self) -> int:
        """Return how long the result is along the axis."""
        length: int = self.n if self.at_entries else self.m
        return length

    def _weighed(self, name: str, size: int) -> Weighed:
        lanes = prod(self.batch)
        if name not in self.lanes:
            return Weighed(np.full((lanes, size), 1.0 / max(size, 1)), np.full(lanes, float(size)))
        weights = self.lanes[name]
        total = self.kernels.totals(weights)
        check_total(total, name)
        scaled_total, scaled = self.kernels.rescale(total, total, weights)
        some = total > 0.0
        shares = scaled / np.where(some, scaled_total, 1.0)[:, None]
        shares = np.where(some[:, None], shares, 1.0 / max(size, 1))
        return Weighed(shares, total)

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
    def coupling(self) -> Coupling:
        """The plan."""
        lanes = self.lanes
        targets = lanes.get("targets")
        if targets is None:
            targets = evenly_spaced(self.m, prod(self.batch))
        a, b = self.entry_weights.shares, self.target_weights.shares
        return Coupling(
            self.transport,
            self.squashed.z,
            a,
            targets,
            b,
            lanes["epsilon"],
            targets_are_fixed=not (lanes.keys() & {"targets", "target_weights"}),
            at_entries=self.at_entries,
        )

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
        if self.at_entries:
            return self.coupling.unsort(self.coupling.mean_at_entries(source))
        return self.coupling.mean_at_targets(source)

    @cached_property
    def mean_of_source(self) -> Floats:
        """The mean of what is averaged."""
        return self.mean(self.source)

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

    def _shares_push(self, name: str, weighed: Weighed, tangents: Tangents) -> Floats | None:
        if name not in tangents:
            return None
        total = np.where(weighed.total > 0.0, weighed.total, np.inf)[:, None]
        dot = tangents[name] / total
        return dot - weighed.shares * sum_in_lane(dot)[:, None]

    @staticmethod
    def _shares_pull(weighed: Weighed, bar: Floats) -> Floats:
        total = np.where(weighed.total > 0.0, weighed.total, np.inf)[:, None]
        return (bar - sum_in_lane(weighed.shares * bar)[:, None]) / total

    def outcome_push(self, mean_dot: Floats, tangents: Tangents) -> Floats:
        """Return the tangent of the result, for that of the mean."""
        return mean_dot

    def outcome_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats:
        """Return the cotangent of the mean for that of the result; add those of parameters."""
        return bar

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the result."""
        c = self.coupling
        a_dot = self._shares_push("weights", self.entry_weights, tangents)
        b_dot = self._shares_push("target_weights", self.target_weights, tangents)
        z_dot = self.squashed.push(tangents.get("x"), a_dot)
        values_dot = self.carried_push(tangents, b_dot)
        if not self.at_entries and values_dot is not None:
            values_dot = c.sort(values_dot)
        dots = Dots(
            entries=None if z_dot is None else c.sort(z_dot),
            entry_weights=None if a_dot is None else c.sort(a_dot),
            targets=tangents.get("targets"),
            target_weights=b_dot,
            values=values_dot,
            epsilon=tangents.get("epsilon"),
        )
        mean = self.mean_of_source
        mean_dot = push(c, self.at_entries, self.source, self._ordered(mean), dots)
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
        mean = self._ordered(self.mean_of_source)
        found = pull(c, self.at_entries, self.source, mean, mean_bar)
        values_bar = found.values if self.at_entries else c.unsort(found.values)
        b_bar = self.carried_pull(values_bar, bars)
        b_bar = found.target_weights if b_bar is None else found.target_weights + b_bar
        x_bar, a_bar = self.squashed.pull(c.unsort(found.entries))
        a_bar = c.unsort(found.entry_weights) + (0.0 if a_bar is None else a_bar)
        bars["x"] = x_bar + bars["x"] if "x" in bars else x_bar
        bars["epsilon"] = found.epsilon
        bars["targets"] = found.targets
        bars["target_weights"] = self._shares_pull(self.target_weights, b_bar)
        weights_bar = np.where(self.absent, 0.0, self._shares_pull(self.entry_weights, a_bar))
        bars["weights"] = weights_bar + bars["weights"] if "weights" in bars else weights_bar
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}

    def _ordered(self, lanes: Floats) -> Floats:
        """Return lanes of the result in the order of the plan."""
        return self.coupling.sort(lanes) if self.at_entries else lanes
