"""What operators with other densities on short lanes share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ... import _kernels
from ..types import Array, Entries, Flags, Floats
from .short_products import ShortProducts
from .threads import Threads


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

    def _even(self, loop: Callable[..., None], x: Array, *args: Any) -> Flags | None:
        """Call a loop for all blocks; return which lanes it leaves."""
        return self._run(partial(loop, self._f), x, *args)
