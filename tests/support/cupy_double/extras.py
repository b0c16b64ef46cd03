"""The one thing of `cupyx` that is used here: a linear operator on arrays of the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import ndarray


class LinearOperator:
    """cupyx.scipy.sparse.linalg.LinearOperator, as far as vectors and matrices go."""

    __array_ufunc__ = None

    def __init__(
        self,
        shape: tuple[int, int],
        matvec: Callable[[Any], Any],
        rmatvec: Callable[[Any], Any] | None = None,
        matmat: Callable[[Any], Any] | None = None,
        dtype: Any = None,
        rmatmat: Callable[[Any], Any] | None = None,
    ) -> None:
        self.shape, self.ndim = tuple(shape), 2
        self.dtype = None if dtype is None else np.dtype(dtype)
        self._matvec, self._rmatvec = matvec, rmatvec
        self._matmat, self._rmatmat = matmat, rmatmat

    def matvec(self, x: Any) -> Any:
        """Return A @ x."""
        return self._apply(self._matvec, x, self.shape)

    def rmatvec(self, x: Any) -> Any:
        """Return A.T @ x."""
        if self._rmatvec is None:
            raise NotImplementedError("rmatvec is not defined")
        return self._apply(self._rmatvec, x, self.shape[::-1])

    @staticmethod
    def _apply(function: Callable[[Any], Any], x: Any, shape: tuple[int, ...]) -> Any:
        if not isinstance(x, ndarray):
            raise TypeError(f"Unsupported type {type(x)}")
        if x.shape not in ((shape[1],), (shape[1], 1)):
            raise ValueError("dimension mismatch")
        y = function(x)
        return y.reshape(shape[0]) if x.ndim == 1 else y.reshape(shape[0], 1)

    def matmat(self, x: Any) -> Any:
        """Return A @ x for a matrix x."""
        if self._matmat is not None:
            return self._matmat(x)
        from .namespace import cupy

        return cupy.hstack([self.matvec(column.reshape(-1, 1)) for column in x.T])

    def dot(self, x: Any) -> Any:
        """Return A @ x."""
        return self.matvec(x) if x.ndim == 1 else self.matmat(x)

    __matmul__ = __call__ = dot

    @property
    def H(self) -> LinearOperator:
        """The adjoint."""
        return LinearOperator(
            self.shape[::-1], self.rmatvec, self.matvec, self._rmatmat, self.dtype, self._matmat
        )

    T = H
