"""Soft permutation matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import Running, check_flag
from .._core.rule import LaneRule, evaluate, rule_of
from .._laplace.sources import Sources
from .._laplace.targets import Thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = Any


def soft_permutation(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int = -1,
    descending: bool = False,
    workers: int | None = None,
) -> Any:
    r"""Soft permutation matrix: to what extent each entry is at each position of the sorted order.

    .. math:: & P_{ij} = F\Bigl(\frac{b_i - x_j}{\alpha}\Bigr)
       - F\Bigl(\frac{b_{i-1} - x_j}{\alpha}\Bigr), \\
       & b_i = S^{-1}(i), \quad b_0 = -\infty, \quad b_n = \infty

    with :math:`S(b) = \sum_j F((b - x_j)/\alpha)`.  As alpha tends to zero this is the permutation
    matrix with ``P @ x = np.sort(x)``; it is doubly stochastic for every alpha.

    Parameters
    ----------
    x : array_like
        The entries to order.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    axis : int, optional
        Axis along which the entries lie.
    descending : bool, optional
        Whether the first position is that of the largest entry: the rows are reversed.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray
        Of shape ``batch shape + (n, n)``, row = position, column = entry; float dtype of `x`.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, or its shape does not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    soft_permute : The product with an array, without the matrix.
    SoftPermutation : The matrix as a linear operator of O(n) memory.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With :math:`l_{ij} = e^{-|b_i - x_j|/\alpha}/(2\alpha)` and :math:`q_{ij}` the softmax weights
    of :math:`-|b_i - x_j|/\alpha` over j, the derivative of :math:`F((b_i - x_j)/\alpha)` is

    .. math:: l_{ij} \Bigl(\sum_k q_{ik} \dot x_k - \dot x_j
       + \frac{x_j - \sum_k q_{ik} x_k}{\alpha}\dot\alpha\Bigr),

    and that of P the difference of two rows.  Values and products with the Jacobian are O(n^2),
    the size of the result.  Entries are never negative; their relative error is a few units in
    the last place times :math:`(1 + |b_i - x_j|/\alpha)(1 + \alpha/(b_i - b_{i-1}))`.  A NaN makes
    its lane NaN.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, Definition 3.5 and Theorem 3.6.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_permutation([3.0, 1.0, 2.0], 0.1).round(3)
    array([[0.   , 0.997, 0.003],
           [0.003, 0.003, 0.993],
           [0.997, 0.   , 0.003]])
    """
    return evaluate(_SoftPermutation, x, alpha, axis=axis, descending=descending, workers=workers)


def integer_thresholds(sources: Sources, full: bool) -> Thresholds:
    """Return the n - 1 thresholds between neighbouring positions."""
    return sources.solve_steps(1.0, max(sources.shape[1] - 1, 0), full)


@rule_of(soft_permutation)
class _SoftPermutation(LaneRule):
    single = True

    def __init__(
        self, running: Running, x: Any, alpha: Any, *, axis: int = -1, descending: bool = False
    ) -> None:
        super().__init__(running, {"x": x, "alpha": alpha}, axis=axis)
        self.descending = check_flag("descending", descending)
        self.sources = Sources(self.kernels, **self.lanes)
        self.spoil(self.sources.invalid)
        self.b = integer_thresholds(self.sources, running.keep)

    def place(self, lanes: Array) -> Array:
        """Return the lanes of a result as batch shape + (n, n)."""
        if self.result.invalid is not None:
            lanes = self.kernels.xp.where(self.result.invalid[:, None, None], np.nan, lanes)
        if self.descending:
            lanes = lanes[:, ::-1]
        return lanes.reshape(*self.batch, *lanes.shape[1:])

    def take(self, array: Array) -> Array:
        """Undo `place`."""
        lanes, n = self.sources.shape
        array = array.reshape(lanes, n, n)
        return self.kernels.contiguous(array[:, ::-1] if self.descending else array)

    def value(self) -> Array:
        s, b = self.sources, self.b
        width = self.kernels.widths(b.lo, b.hi, b.u, s.alpha, s.shape[1])
        return self.kernels.permutation(
            s.x, s.order, s.count, b.index, b.where, width, s.alpha, self.dtype
        )

    def jvp(self, x_dot: Array | None, alpha_dot: Array | None) -> Array:
        s, b, xp = self.sources, self.b, self.kernels.xp
        b_dot = None
        if x_dot is not None:
            b_dot = b.average(s.tangent(x_dot))
            x_dot = xp.where(xp.isfinite(s.given), x_dot, 0.0)
        return self.kernels.permutation_jvp(
            s.given, b.lo, b.hi, b.u, s.alpha, x_dot, b_dot, alpha_dot, b.nodes(), b.deviations()
        )

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, b, xp = self.sources, self.b, self.kernels.xp
        b_bar, x_bar, alpha_bar = self.kernels.permutation_vjp(
            s.given, b.lo, b.hi, b.u, s.alpha, b.nodes(), b.deviations(), bar
        )
        bars = {}
        if "x" in wrt:
            x_bar = x_bar + s.cotangent(b.average_transpose(b_bar))
            x_bar = xp.where(xp.isfinite(s.given), x_bar, 0.0)
            bars["x"] = x_bar / s.alpha[:, None]
        if "alpha" in wrt:
            bars["alpha"] = alpha_bar / s.alpha
        return bars
