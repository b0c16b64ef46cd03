"""What operators with other densities on short lanes share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ... import _kernels
from ..types import Array, Entries, Flags, Floats
from .short_products import ShortProducts
from .threads import Threads

PLAIN, TAILS, LOGARITHM = range(3)  # forms of F, as `src/simd/even.h` has them


def times(a: Floats, b: Floats) -> Floats:
    """Return a * b, where nothing times an infinity is nothing."""
    out = a * b
    infinite = ~np.isfinite(b)
    return np.where((a == 0.0) & infinite, 0.0, out) if infinite.any() else out


def rounded(values: Array, out: Array) -> Array:
    """Return `out` with values written to it, whatever they become in a smaller type."""
    if out is not values:
        with np.errstate(all="ignore"):
            out[...] = values
    return out


class EvenProducts(ShortProducts):
    """What they share: the density."""

    may_warn = True

    def __init__(self, threads: Threads, f: _kernels.Even, x: Entries, alpha: Floats) -> None:
        super().__init__(threads, x, alpha)
        self._f = f

    def _leave(self, lanes: Flags) -> None:
        """Leave these lanes to other loops as well."""
        if lanes.any():
            self.left = lanes if self.left is None else self.left | lanes

    def _leave_distant(self, distance: Floats, far: float) -> None:
        """Leave lanes in which something is further away than `far` alpha."""
        with np.errstate(all="ignore"):
            self._leave(distance > far * self.lanes["alpha"])

    def _even(self, loop: Callable[..., None], x: Array, *args: Any) -> Flags | None:
        """Call a loop for all blocks; return which lanes it leaves."""
        return self._run(partial(loop, self._f), x, *args)
