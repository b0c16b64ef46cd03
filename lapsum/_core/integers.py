"""Integers too large for floats, which ranks know by their distances."""

from __future__ import annotations

from math import prod

from .._backends.protocol import Kernels
from .._backends.types import EXACT, Array
from .layout import PerLane
from .shapes import Shape


def exponential_reach(weighted: bool) -> float:
    """Return the distance, in alpha, across which no rank feels an exponential tail.

    Of 64 alpha e^-64 is left, and of 1500 less than a rounding of the ratio of any two weights.
    """
    return 1500.0 if weighted else 64.0


def near_integers(
    kernels: Kernels,
    x: Array,
    axes: Shape,
    alpha: Array,
    batch: Shape,
    reach: float,
) -> Array:
    """Return integers too large for floats as floats with the same differences, for ranks.

    A gap wider than `reach` alpha, which nothing is felt across, is made narrower, and the others
    keep all their digits.  A device is not asked how large its integers are: lanes of 64-bit
    integers are sorted once more there.
    """
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or not x.size:
        return x
    if kernels.on_host and not ((x > EXACT) | (x < -EXACT)).any():
        return x
    xp, ends = kernels.xp, tuple(range(-len(axes), 0))
    moved = xp.moveaxis(xp.asarray(x), axes, ends)
    lanes = xp.ascontiguousarray(moved.reshape(prod(batch), -1))
    of_lanes = PerLane(alpha.shape, batch).pack(kernels, alpha)
    near = kernels.near_integers(lanes, of_lanes, reach)
    return xp.moveaxis(near.reshape(moved.shape), ends, axes)
