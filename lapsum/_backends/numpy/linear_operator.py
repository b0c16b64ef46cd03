"""SciPy's LinearOperator of a matrix that is known by its products."""

from __future__ import annotations

from scipy.sparse.linalg import LinearOperator

from ..protocol import LinearProducts
from ..types import Array


class ProductsOperator(LinearOperator):  # type: ignore[misc]
    """A LinearOperator that can also be written out, and pickled."""

    def __init__(self, products: LinearProducts) -> None:
        super().__init__(products.dtype, products.shape)
        self._products = products

    def _matvec(self, x: Array) -> Array:
        return self._products.matvec(x)

    def _rmatvec(self, x: Array) -> Array:
        return self._products.rmatvec(x)

    def toarray(self) -> Array:
        """Return the matrix."""
        return self._products.toarray()

    def _transpose(self) -> ProductsOperator:
        return ProductsOperator(Transposed(self._products))

    _adjoint = _transpose


class Transposed:
    """The transpose of a matrix that is known by its products."""

    def __init__(self, products: LinearProducts) -> None:
        rows, columns = products.shape
        self.shape, self.dtype = (columns, rows), products.dtype
        self.matvec, self.rmatvec = products.rmatvec, products.matvec
        self._products = products

    def toarray(self) -> Array:
        """Return the matrix."""
        return self._products.toarray().T
