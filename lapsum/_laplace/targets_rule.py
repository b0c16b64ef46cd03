"""Operators on targets among sources, for the Laplace density."""

from __future__ import annotations

from functools import cached_property

from .._core.targets_rule import TargetsRule
from .sources import Sources


class LaplaceTargets(TargetsRule):
    """A rule on targets whose sources are summed by scans."""

    @cached_property
    def sources(self) -> Sources:
        """The sorted sources."""
        r, alpha = self.lanes["r"], self.lanes["alpha"]
        if self.weights is None:
            return Sources(self.kernels, r, alpha)
        return Sources(self.kernels, r, alpha, self.weights, self.total_of_sources)
