"""A soft permutation as a linear operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backends.types import Array, any_in_lane
from .._core.arguments import arguments, array_beside, float_dtype
from .._core.call import LAPLACE, operator, quiet
from .._core.checks import check_alpha, check_flag
from .._core.layout import with_nan
from .._core.products import Products
from .._laplace.product import Product
from .._laplace.sources import Sources
from .soft_permutation import soft_permutation


class SoftPermutation(Products):
    r"""Soft permutation matrix of a 1-D array as a linear operator, in O(n) memory.

    It multiplies vectors and matrices, as does its transpose `T`, without ever forming the matrix
    of `soft_permutation`.

    Parameters
    ----------
    x : array_like, shape (n,)
        The entries to order.
    alpha : float
        Positive scale, in the units of `x`.
    descending : bool, optional
        Whether the first position is that of the largest entry.
    density : str or object, optional
        Shape of the smoothing, as in `soft_permutation`; "laplace" by default.

    Attributes
    ----------
    shape : tuple of int
        (n, n).
    dtype : numpy.dtype
        Float dtype of `x`.
    T, H : SoftPermutation
        The transpose, which is the adjoint.

    Raises
    ------
    ValueError
        If `x` is not 1-D, or `alpha` is not one positive finite number.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    soft_permutation : The matrix itself.
    soft_permute : One product, with derivatives.

    Notes
    -----
    The matrix is

    .. math:: & P_{ij} = F\Bigl(\frac{b_i - x_j}{\alpha}\Bigr)
       - F\Bigl(\frac{b_{i-1} - x_j}{\alpha}\Bigr), \\
       & b_i = S^{-1}(i), \quad b_0 = -\infty, \quad b_n = \infty

    with :math:`F(t)` the Laplace CDF and :math:`S(b) = \sum_j F((b - x_j)/\alpha)`.  The operator
    takes one sort when it is made, and :math:`O(n)` for each product with a vector, with other
    densities :math:`O(n \log n)` for long ones.  Only `toarray` forms the matrix.
    ``scipy.sparse.linalg.aslinearoperator`` takes it.  Derivatives are those of
    `soft_permute`.  A NaN among the entries makes every product NaN.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, Definition 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> import lapsum
    >>> P = lapsum.SoftPermutation([3.0, 1.0, 2.0], 0.1)
    >>> (P @ np.array([30.0, 10.0, 20.0])).round(2)
    array([10.03, 20.  , 29.97])
    >>> (P.T @ np.array([1.0, 2.0, 3.0])).round(2)
    array([3., 1., 2.])

    A smoother of 2000 noisy points: ``P @ y`` puts them in order and averages neighbours, and
    ``P.T`` brings the averages back to the points.

    .. plot::
       :alt: Two thousand noisy points and their smoothed values along a sine curve

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       rng = np.random.default_rng(0)
       x = rng.uniform(0, 6, 2000)
       y = np.sin(x) + 0.3 * rng.normal(size=2000)
       P = lapsum.SoftPermutation(x, 0.1)
       plt.plot(x, y, ".", markersize=2, label="data")
       plt.plot(x, P.T @ (P @ y), ".", markersize=2, label="P.T @ (P @ y)")
       plt.xlabel("x")
       plt.ylabel("y")
       plt.legend()
       plt.show()
    """

    @operator
    def __init__(
        self, x: Any, alpha: Any, *, descending: bool = False, density: Any = LAPLACE
    ) -> None:
        kernels, arrays, dtypes = arguments(None, {"x": x, "alpha": alpha})
        x, alpha = arrays["x"], arrays["alpha"]
        if x.ndim != 1:
            raise ValueError(f"`x` must be 1-D, got shape {x.shape}")
        if alpha.ndim != 0:
            raise ValueError(f"`alpha` must be one number, got shape {alpha.shape}")
        self._kernels = kernels
        self._alpha = float(alpha)
        check_alpha(np.asarray(self._alpha))
        self._descending = check_flag("descending", descending)
        self._density = density
        self.shape = (x.size, x.size)
        self.dtype = dtypes["x"]
        self._x = kernels.contiguous(kernels.own(x))
        scale = kernels.own(kernels.numbers({"alpha": (alpha, (1,))})["alpha"])
        with quiet():
            if isinstance(density, str) and density == LAPLACE:
                product = Product(Sources(kernels, self._x[None, :], scale))
                self._multiply_lanes, self._nan = product.multiply, product.sources.nan_lanes
            else:
                from .._general.permute import product_of

                other = product_of(kernels, density, self._x[None, :], scale)
                self._multiply_lanes, self._nan = other.multiply_lanes, other.sources.nan_lanes

    def __repr__(self) -> str:
        n, _ = self.shape
        transposed = " transposed" if self._transposed else ""
        return f"<{n}x{n} SoftPermutation{transposed}, alpha={self._alpha!r}, dtype={self.dtype}>"

    def toarray(self) -> Array:
        """Return the matrix, of shape (n, n)."""
        out: Array = soft_permutation(
            self._x, self._alpha, descending=self._descending, density=self._density
        )
        out = out.T if self._transposed else out
        return out.astype(self.dtype, copy=False)

    def _operand(self, v: Any) -> Array:
        array = array_beside(self._kernels, "v", v)
        return array if self._kernels.holds(v) else array.astype(float_dtype(v, array))

    def _multiply(self, v: Array) -> Array:
        """Multiply the columns of `v`, all of them lanes of the one permutation."""
        kernels, nan_keys = self._kernels, self._nan
        xp = kernels.xp
        dtype = np.result_type(self.dtype, float_dtype(v, v))
        n, _ = self.shape
        with quiet():
            lanes = kernels.contiguous(v.reshape(n, -1).T) if n else xp.zeros((v.size and 1, 0))
            nan_lanes = any_in_lane(xp.isnan(lanes))
            lanes = xp.where(nan_lanes[:, None], 0.0, lanes)
            source_lane = xp.zeros(len(lanes)).astype(np.intp)
            out = self._multiply_lanes(
                lanes, source_lane, transpose=self._transposed, descending=self._descending
            )
            out = with_nan(kernels, nan_lanes if nan_keys is None else nan_lanes | nan_keys, out)
            result: Array = kernels.finish(out.T.reshape(v.shape), dtype)
            return result
