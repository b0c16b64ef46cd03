"""Operators on entries whose result is a square matrix for each lane."""

from __future__ import annotations

from .._backends.types import Array
from .entries_rule import EntriesRule


class MatrixRule(EntriesRule):
    """An operator with a row for each position, the last first where descending.

    Attributes
    ----------
    descending : bool
    """

    descending: bool

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result as batch shape + (n, n)."""
        if self.descending:
            lanes = lanes[:, ::-1]
        return lanes.reshape(*self.batch, self.n, self.n)

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`."""
        array = array.reshape(self.count, self.n, self.n)
        return self.kernels.contiguous(array[:, ::-1] if self.descending else array)
