"""What a backend without kernels for short lanes answers."""

from __future__ import annotations

from .protocol import Kernels, ShortLanes, ShortPermutation
from .types import Array, Entries, EvenKernel, Floats, ShortOperator


class PortableShort:
    """Short lanes go the way of all others."""

    longest_short = 0

    def short_lanes(
        self: Kernels,
        operator: ShortOperator,
        density: EvenKernel | None,
        x: Entries,
        sign: float,
        alpha: Floats,
        levels: Floats | None,
        weights: Floats | None,
        total: Floats | None,
        keep: bool,
        out: Array | None,
    ) -> ShortLanes | None:
        """Return None: there are no such kernels."""
        return None

    def short_permutation(
        self: Kernels, density: EvenKernel, x: Entries, alpha: Floats
    ) -> ShortPermutation | None:
        """Return None: there are no such kernels."""
        return None

    def short_permute(
        self: Kernels,
        x: Entries,
        sign: float,
        alpha: Floats,
        values: Floats,
        transpose: bool,
        keep: bool,
    ) -> ShortLanes | None:
        """Return None likewise."""
        return None
