"""Operators on targets among sources, for the Laplace density."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

from .._core.shapes import Shape, batch_without, broadcast
from .._core.targets_rule import TargetsRule
from .sources import Sources
from .state import OrderedRule, lanes_along


class LaplaceTargets(OrderedRule, TargetsRule):
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
