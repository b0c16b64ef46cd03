"""What fused kernels make of derivatives, and in which lanes that is right."""

from __future__ import annotations

from typing import NamedTuple

from .._backends.types import Array, Flags, Floats


class FusedTangent(NamedTuple):
    """The tangent that a fused kernel made: in which lanes it is right, and from what."""

    lanes: Flags
    tangent: Floats
    parameters: frozenset[str]


class FusedCotangents(NamedTuple):
    """The cotangents that fused kernels made, and in which lanes they are right."""

    lanes: Flags
    cotangents: dict[str, Array]
