"""Integers too large for floats, in operations on whole arrays."""

from __future__ import annotations

import numpy as np

from .protocol import Kernels
from .types import EXACT, Array, Floats, any_in_lane


class PortableIntegers:
    """What ranks ask of large integers."""

    def near_integers(self: Kernels, x: Array, alpha: Floats, reach: float) -> Floats:
        """Return floats with the same differences in lanes that hold integers beyond 2**53."""
        xp = self.xp
        order = xp.argsort(x, axis=-1)
        # As unsigned numbers all distances are below 2**64.
        ascending = xp.take_along_axis(x, order, axis=-1).astype(np.uint64)
        gaps = xp.diff(ascending, axis=-1).astype(np.float64)
        most = xp.maximum(2.0**52 / x.shape[1], reach * alpha[:, None])
        gaps = xp.minimum(gaps, xp.floor(most))
        near = xp.zeros(x.shape)
        near[:, 1:] = xp.cumsum(gaps, axis=-1)
        out = xp.zeros(x.shape)
        xp.put_along_axis(out, order, near, axis=-1)
        # Lanes do not depend on what the others hold.
        large = any_in_lane((x > EXACT) | (x < -EXACT))[:, None]
        return xp.where(large, out, x.astype(np.float64))
