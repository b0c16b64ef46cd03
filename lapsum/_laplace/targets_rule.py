"""Operators on targets among sources, for the Laplace density."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

from .._backends.types import Array, PulledTargets
from .._core.fused import FusedCotangents, FusedRule, moderate
from .._core.layout import with_nan
from .._core.shapes import Shape, batch_without, broadcast
from .._core.targets_rule import TargetsRule
from .sources import Sources
from .state import OrderedRule, lanes_along


class LaplaceTargets(FusedRule, OrderedRule, TargetsRule):
    """A rule on targets whose sources are summed by scans."""

    @cached_property
    def sources(self) -> Sources:
        """The sorted sources."""
        r, alpha = self.lanes["r"], self.lanes["alpha"]
        totals = None if self.weights is None else self.total_of_sources
        return Sources(self.kernels, r, alpha, self.weights, totals, self.known_order)

    def order_of_sources(self) -> Any:
        """Return the order of the sources."""
        return self.sources.order

    @classmethod
    def shape_of_sources(cls, shapes: Mapping[str, Shape], axes: Shape | None) -> tuple[int, int]:
        """Return how many lanes of sources there are, and how long."""
        r, alpha = shapes["r"], shapes["alpha"]
        if axes is None:
            return lanes_along(r, None)
        return prod(broadcast("r", batch_without(r, axes), "alpha", alpha)), r[axes[0]]

    def linearize(self) -> Array:
        """Return `value()`, and keep what derivatives need: of sources, the sorted ones.

        But for what weights change, which depends on where absent entries are.
        """
        sorted_alone = set() if "weights" in self.lanes else {"r"}
        own = self.kernels.own
        self.lanes = {
            name: lanes if name in sorted_alone else own(lanes)
            for name, lanes in self.lanes.items()
        }
        y = self.value()
        for name in sorted_alone:
            del self.lanes[name]
        return y

    @abstractmethod
    def pull(self, bar: Array) -> PulledTargets | None:
        """Return all cotangents by a fused kernel; None for no such kernel."""

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return all cotangents where each lane of targets has sources of its own."""
        s = self.sources
        if len(self.source_lane) != len(s.x):
            return None
        lanes = moderate(s.kernels, [bar]) & s.fused_lanes
        pulled = self.pull(bar) if lanes.any() else None
        if pulled is None:
            return None
        bars = {
            self.target: self.cotangent_of_targets(pulled.targets),
            "r": pulled.sources,
            "alpha": pulled.alpha,
        }
        if pulled.weights is not None:
            bars["weights"] = self.scale(pulled.weights)
        bars = {name: with_nan(self.kernels, s.nan_lanes, lanes) for name, lanes in bars.items()}
        return FusedCotangents(lanes & pulled.lanes, bars)
