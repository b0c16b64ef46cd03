"""What happened on the double: launches, synchronizations, copies to the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_ACTIVE: list[Any] = []


@dataclass(frozen=True)
class Launch:
    """One kernel, reduction, sort, copy or fill.

    Attributes
    ----------
    name : of the kernel, or of CuPy's function, ufunc or method
    kind : "elementwise", "reduction", "raw", or "cupy" for what is CuPy's own
    inputs, outputs : the arrays' memory; it is kept, so that no address is used twice
    detail : of a kernel: what tests/support/nvrtc.py needs to compile it again
    """

    name: str
    kind: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    detail: dict[str, Any] | None = None


@dataclass
class Log:
    """What happened while it was recording.

    Attributes
    ----------
    launches : list of Launch
    syncs : the names of what waited for the device, such as "item" or "bool"
    uploads : the names of what copied host memory to the device
    """

    launches: list[Launch] = field(default_factory=list)
    syncs: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the launches, in order."""
        return [launch.name for launch in self.launches]

    def count(self, name: str | None = None) -> int:
        """Return the number of launches, or of those of one name."""
        return len(self.launches) if name is None else self.names.count(name)

    def reads(self, array: Any) -> int:
        """Return how many launches take `array`, or memory of it, as an input."""
        return self._touched(array, "inputs")

    def writes(self, array: Any) -> int:
        """Return how many launches write to `array` or to memory of it."""
        return self._touched(array, "outputs")

    def _touched(self, array: Any, side: str) -> int:
        memory = getattr(array, "_memory", array)
        return sum(
            any(np.may_share_memory(memory, other) for other in getattr(launch, side))
            for launch in self.launches
        )


@contextmanager
def recording() -> Iterator[Log]:
    """Record what happens inside; recordings may be nested, and each sees everything."""
    log = Log()
    _ACTIVE.append(log)
    try:
        yield log
    finally:
        _ACTIVE.remove(log)


def is_recording() -> bool:
    """Return whether anybody is to be told."""
    return bool(_ACTIVE)


def note_launch(
    name: str,
    inputs: Any = (),
    outputs: Any = (),
    kind: str = "cupy",
    detail: dict[str, Any] | None = None,
) -> None:
    """Tell the recorders of a launch."""
    if _ACTIVE:
        launch = Launch(name, kind, tuple(inputs), tuple(outputs), detail)
        for log in _ACTIVE:
            log.launches.append(launch)


def note_sync(name: str) -> None:
    """Tell the recorders that the host has waited for the device."""
    for log in _ACTIVE:
        log.syncs.append(name)


def note_upload(name: str) -> None:
    """Tell the recorders that host memory was copied to the device."""
    for log in _ACTIVE:
        log.uploads.append(name)
