"""What a kernel of the double can be accused of, beside IndexError, TypeError and TimeoutError."""

from __future__ import annotations


class RaceError(RuntimeError):
    """The result depends on the order in which threads run."""


class DivergenceError(RuntimeError):
    """Some threads of a block wait at a barrier that others never reach."""


class TrapError(RuntimeError):
    """Something undefined: an index outside of a local array, an overflow, a failed assertion."""
