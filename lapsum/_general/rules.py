"""What the rules for any density share: the density, and where it can be had."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from .._backends.protocol import Kernels
from .._backends.types import Array, Floats, Namespace, Points
from .._core.checks import check_numpy
from .._core.entries_rule import EntriesRule
from .densities import density_of
from .even_density import EvenDensity
from .own_density import Density
from .sums import Sources
from .tables import kernel_of


def density_for(kernels: Kernels, value: Any) -> EvenDensity:
    """Return the density that an argument asks for, for arrays of these kernels."""
    density = density_of(value)
    if isinstance(density, Density):
        check_numpy(kernels, "a `density` given by functions")
    return density.of(kernels)


class GeneralEntries(EntriesRule):
    """An operator on the entries of lanes, for a density that is an argument.

    Parameters
    ----------
    workers : int or None
    values : mapping of str to array_like
    weights : array_like or None
    axis : int or None
    density : str or object
    sign : float
        What the entries are multiplied by before they are sorted.
    """

    sign = 1.0

    def __init__(
        self,
        workers: int | None,
        values: Mapping[str, Any],
        weights: Any = None,
        axis: int | None = -1,
        *,
        density: Any,
        sign: float = 1.0,
    ) -> None:
        super().__init__(workers, values, weights, axis)
        self.take_density(density)
        self.sign = sign

    def take_density(self, density: Any) -> None:
        """Set the density, and what kernels for short lanes know of it."""
        self.density = density_for(self.kernels, density)
        self.even = kernel_of(self.density)
        if self.even is None:
            self.operator = None

    @property
    def xp(self) -> Namespace:
        """The functions of the library of the arrays."""
        return self.kernels.xp

    @cached_property
    def x(self) -> Floats:
        """The entries, with their sign."""
        return self.sign * self.kernels.contiguous(self.lanes["x"])

    @cached_property
    def sources(self) -> Sources:
        """The sorted entries."""
        found = Sources(
            self.kernels, self.density, self.x, self.lanes["alpha"], self.weights, self.total
        )
        self.nan_lanes = found.nan_lanes
        return found

    @property
    def entries_as_points(self) -> Points:
        """The entries in order as points; those that are not finite are any."""
        return Points(self.sources.x, None, None)


def column(lanes: Array) -> Floats:
    """Return one number a lane as (lanes, 1)."""
    return lanes[:, None]
