"""Soft permutation matrices."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Floats
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.matrix_rule import MatrixRule
from .._core.rule import Rule, Tangents
from .._core.shapes import Shape, reduced_shape
from .._laplace.sources import Sources
from .._laplace.thresholds import Thresholds, integer_thresholds


@operator
def soft_permutation(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int | None = -1,
    descending: bool = False,
    density: Any = "laplace",
    workers: int | None = None,
) -> NDArray[Any]:
    r"""Soft permutation matrix: to what extent each entry is at each position of the sorted order.

    Rows are positions, and columns are entries.  All rows and columns add up to one, for every
    alpha.  As alpha tends to zero this is the permutation matrix with ``P @ x = np.sort(x)``.

    Parameters
    ----------
    x : array_like
        The entries to order.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    axis : int or None, optional
        Axis along which the entries lie; None for all of the raveled array.
    descending : bool, optional
        Whether the first position is that of the largest entry: the rows are reversed.
    density : str or object, optional
        Shape of the smoothing: "laplace" (the default), "logistic", "normal", "cauchy", a
        `StudentT`, a `Density`, or a frozen distribution of ``scipy.stats`` that is symmetric about
        zero.
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
    SoftPermutation : The matrix as a linear operator, in :math:`O(n)` memory.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  With :math:`S(b) = \sum_j F((b - x_j)/\alpha)` the matrix is

    .. math:: & P_{ij} = F\Bigl(\frac{b_i - x_j}{\alpha}\Bigr)
       - F\Bigl(\frac{b_{i-1} - x_j}{\alpha}\Bigr), \\
       & b_i = S^{-1}(i), \quad b_0 = -\infty, \quad b_n = \infty .

    With :math:`l_{ij} = e^{-|b_i - x_j|/\alpha}/(2\alpha)` and :math:`q_{ij}` the softmax weights
    of :math:`-|b_i - x_j|/\alpha` over j, the derivative of :math:`F((b_i - x_j)/\alpha)` is

    .. math:: l_{ij} \Bigl(\sum_k q_{ik} \dot x_k - \dot x_j
       + \frac{x_j - \sum_k q_{ik} x_k}{\alpha}\dot\alpha\Bigr),

    and that of P is the difference of two rows of it.  Values and products with the Jacobian are
    :math:`O(n^2)`, the size of the result.  Entries are never negative.  Their relative error is a
    few units in the last place times
    :math:`(1 + |b_i - x_j|/\alpha)(1 + \alpha/(b_i - b_{i-1}))`.  A NaN makes its lane NaN.

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

    Eight shuffled entries.  Where two are close, their positions mix first.

    .. plot::
       :alt: Soft permutation matrices of eight entries for three scales, from sharp to blurred

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = np.array([2.6, 0.5, 4.4, 1.0, 5.0, 3.0, 1.3, 3.7])
       figure, panels = plt.subplots(1, 3, sharey=True)
       for axes, alpha in zip(panels, (0.01, 0.2, 1.0)):
           axes.imshow(lapsum.soft_permutation(x, alpha), vmin=0, vmax=1, cmap="Blues")
           axes.set(title=f"alpha = {alpha:g}", xlabel="entry")
           axes.grid(False)
       panels[0].set_ylabel("position")
       plt.show()
    """
    return evaluate(
        PermutationMatrix,
        x,
        alpha,
        axis=axis,
        descending=descending,
        density=density,
        workers=workers,
    )


@rule_of(soft_permutation)
class PermutationMatrix(MatrixRule):
    """The rule of `soft_permutation`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.permutation_matrix import GeneralPermutationMatrix

        return GeneralPermutationMatrix

    operator = "permutation"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis)
        self.descending = check_flag("descending", descending)

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result."""
        x = shapes["x"]
        n = prod(x) if axes is None else x[axes[0]]
        return *reduced_shape(x, axes, False), n, n

    def value(self, out: Array | None = None) -> Array:
        """Return the matrices."""
        sources = Sources(self.kernels, **self.lanes)
        return self._matrices(integer_thresholds(sources, full=False))

    def linearize(self) -> Array:
        """Return the same, and keep the thresholds."""
        lanes = {name: self.kernels.own(lanes) for name, lanes in self.lanes.items()}
        self.sources = Sources(self.kernels, **lanes)
        self.x = self.kernels.contiguous(lanes["x"])
        self.lanes = {}
        self.b = integer_thresholds(self.sources, full=True)
        self.nan_lanes = self.sources.nan_lanes
        return self._matrices(self.b)

    def _matrices(self, b: Thresholds) -> Array:
        s, kernels = b.sources, self.kernels
        width = kernels.widths(b.lo, b.hi, b.u, s.alpha, self.n)
        out = kernels.permutation(s.lanes, b.below, b.points, width, self.dtype)
        return with_nan(kernels, s.nan_lanes, out)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, b, xp = self.sources, self.b, self.kernels.xp
        x_dot = b_dot = None
        if "x" in tangents:
            b_dot = b.average(s.tangent(tangents["x"]))
            x_dot = xp.where(xp.isfinite(self.x), tangents["x"], 0.0)
        alpha_dot, away = tangents.get("alpha"), (b.nodes(), b.deviations())
        return self.kernels.permutation_jvp(
            self.x, b.points, s.alpha, x_dot, b_dot, alpha_dot, *away
        )

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, b, xp = self.sources, self.b, self.kernels.xp
        b_bar, x_bar, alpha_bar = self.kernels.permutation_vjp(
            self.x, b.points, s.alpha, b.nodes(), b.deviations(), bar
        )
        bars: dict[str, Array] = {}
        if "x" in wrt:
            x_bar = x_bar + s.cotangent(b.average_transpose(b_bar))
            x_bar = xp.where(xp.isfinite(self.x), x_bar, 0.0)
            bars["x"] = x_bar / s.alpha[:, None]
        if "alpha" in wrt:
            bars["alpha"] = alpha_bar / s.alpha
        return bars
