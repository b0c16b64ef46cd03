"""Lanes, or the parts of long ones, shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ... import _kernels
from ..types import Array

GRAIN = 32_768  # fewer entries than this are not worth a thread


class Threads:
    """What runs compiled loops over all lanes.

    Parameters
    ----------
    workers : int
        How many threads share the lanes of a call, or the parts of one long lane.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def _run(self, loop: Callable[..., object], shape: tuple[int, ...], *args: Any) -> None:
        """Call a loop for all lanes of work of a shape, shared among the threads."""
        lanes, workers = shape[0], self.workers
        if workers > 1 < lanes and prod(shape) >= GRAIN:
            _kernels.run_lanes(loop, args, lanes, min(workers, lanes))
        else:
            loop(*args, 0, lanes)

    def _run_long(self, loop: Callable[..., object], x: Array, *args: Any) -> None:
        """Call a loop that can also share the parts of each lane."""
        if self.workers == 1 or (len(x) < self.workers and x.size >= GRAIN):
            loop(self.workers, x, *args, 0, len(x))
        else:
            self._run(loop, x.shape, 1, x, *args)
