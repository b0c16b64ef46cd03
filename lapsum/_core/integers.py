"""Integers too large for floats, which ranks know by their distances."""

from __future__ import annotations

from math import prod

from .._backends.protocol import Kernels
from .._backends.types import EXACT, Array
from .layout import PerLane
from .shapes import Shape


def near_integers(
    kernels: Kernels,
    x: Array,
    axes: Shape,
    alpha: Array,
    batch: Shape,
    narrow: bool = True,
) -> Array:
    """Return integers too large for floats as floats with the same differences, for ranks.

    A wide gap is made narrower, yet stays so wide that nothing is felt across it, and the others
    keep all their digits.  For densities whose tails are no exponentials gaps stay as they are, and
    `narrow` is False.  A device is not asked how large its integers are: lanes of 64-bit integers
    are sorted once more there.
    """
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or not x.size:
        return x
    if kernels.on_host and not ((x > EXACT) | (x < -EXACT)).any():
        return x
    xp, ends = kernels.xp, tuple(range(-len(axes), 0))
    moved = xp.moveaxis(xp.asarray(x), axes, ends)
    lanes = xp.ascontiguousarray(moved.reshape(prod(batch), -1))
    of_lanes = PerLane(alpha.shape, batch).pack(kernels, alpha)
    near = kernels.near_integers(lanes, of_lanes, narrow)
    return xp.moveaxis(near.reshape(moved.shape), ends, axes)
