"""What derivatives need of a value, as arrays: the order of sources, or a few numbers a lane.

Where the arguments and these are kept, and nothing else, no work of `linearize` is done twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from .._backends.protocol import Kernels
from .._backends.types import Array
from .._core.entries_rule import EntriesRule
from .._core.rule import Forms, Rule
from .._core.shapes import Shape, batch_without
from .sources import Sources


def lanes_along(shape: Shape, axes: Shape | None) -> tuple[int, int]:
    """Return how many lanes along axes, None for all, there are, and how long they are."""
    if axes is None:
        return 1, prod(shape)
    return prod(batch_without(shape, axes)), prod(shape[axis] for axis in axes)


def are_short(rule: type[EntriesRule], kernels: Kernels, n: int) -> bool:
    """Return whether lanes of n entries are for kernels of short lanes, which have no state."""
    return rule.operator is not None and n <= kernels.longest_short


class OrderedRule(Rule):
    """A rule whose state is the order of its sources.

    Attributes
    ----------
    known_order : optional
        The order, where it is known before the sources are.
    """

    known_order: Any = None

    @abstractmethod
    def order_of_sources(self) -> Any:
        """Return the order of the sources, which are there."""

    @classmethod
    @abstractmethod
    def shape_of_sources(cls, shapes: Mapping[str, Shape], axes: Shape | None) -> tuple[int, int]:
        """Return how many lanes of sources there are for arguments of these shapes, how long."""

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what the order is like."""
        return kernels.forms_of_order(*cls.shape_of_sources(shapes, axes))

    def state(self) -> tuple[Array, ...]:
        """Return the order."""
        return self.kernels.arrays_of_order(self.order_of_sources())

    def restore(self, state: Sequence[Array]) -> None:
        """Bring the sources into a known order."""
        if state:
            self.known_order = self.kernels.order_of_arrays(state)


class OrderedEntriesRule(OrderedRule, EntriesRule):
    """A rule on entries whose state is their order; those of short lanes have none."""

    sources: Sources

    def order_of_sources(self) -> Any:
        """Return the order of the entries."""
        return self.sources.order

    @classmethod
    def shape_of_sources(cls, shapes: Mapping[str, Shape], axes: Shape | None) -> tuple[int, int]:
        """Return how many lanes of entries there are, and how long."""
        return lanes_along(shapes["x"], axes)

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what the order is like, () for short lanes."""
        _, n = cls.shape_of_sources(shapes, axes)
        if are_short(cls, kernels, n):
            return ()
        return super().state_forms(kernels, shapes, axes, **options)

    @abstractmethod
    def keep_sources(self) -> None:
        """Sort the entries, unless their order is known, and keep what derivatives need."""

    def restore(self, state: Sequence[Array]) -> None:
        """Bring the entries into a known order; absent ones may overflow, as the results tell."""
        super().restore(state)
        if not state or (self.beside is not None and self.dtype.itemsize < 8):
            EntriesRule.restore(self, state)
            return
        with self.kernels.quiet():
            self.keep_sources()
