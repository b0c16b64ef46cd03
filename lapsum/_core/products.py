"""Matrices that are known by their products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from .._backends.types import Array, DType


class Products(ABC):
    """A real matrix by its products, as ``scipy.sparse.linalg.aslinearoperator`` takes it.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    """

    __array_ufunc__ = None  # so that `array @ P` is ours

    shape: tuple[int, int]
    dtype: DType
    _transposed = False

    @abstractmethod
    def _operand(self, v: Any) -> Array:
        """Return what is multiplied as an array, or raise."""

    @abstractmethod
    def _multiply(self, v: Array) -> Array:
        """Multiply the columns of `v`, which fits."""

    @property
    def T(self) -> Self:
        """The transpose."""
        other = object.__new__(type(self))
        other.__dict__.update(
            self.__dict__, _transposed=not self._transposed, shape=self.shape[::-1]
        )
        return other

    @property
    def H(self) -> Self:
        """The adjoint, which is the transpose."""
        return self.T

    def matvec(self, v: Any) -> Array:
        """Product with a vector of shape (n,) or (n, 1), n columns."""
        v = self._operand(v)
        _, n = self.shape
        if v.shape not in ((n,), (n, 1)):
            raise ValueError(f"`v` must have shape {(n,)} or {(n, 1)}, got {v.shape}")
        return self._multiply(v)

    def rmatvec(self, v: Any) -> Array:
        """Product of the transpose with a vector."""
        return self.T.matvec(v)

    def matmat(self, v: Any) -> Array:
        """Product with a matrix of shape (n, m), n columns."""
        v = self._operand(v)
        _, n = self.shape
        if v.ndim != 2 or v.shape[0] != n:
            raise ValueError(f"`v` must have shape ({n}, m), got {v.shape}")
        return self._multiply(v)

    def rmatmat(self, v: Any) -> Array:
        """Product of the transpose with a matrix."""
        return self.T.matmat(v)

    def __matmul__(self, v: Any) -> Array:
        v = self._operand(v)
        return self.matvec(v) if v.ndim == 1 else self.matmat(v)

    def __rmatmul__(self, v: Any) -> Array:
        v = self._operand(v)
        return self.T.matvec(v) if v.ndim == 1 else self.T.matmat(v.T).T
