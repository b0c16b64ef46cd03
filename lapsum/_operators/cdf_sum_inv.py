"""The inverse of sums of CDFs, for any even density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.call import evaluate, operator, rule_of
from .._core.rule import Rule
from .lap_sum_inv import LapSumInverse


@operator
def cdf_sum_inv(
    w: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    density: Any = "laplace",
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Inverse of `cdf_sum`: the point below which a given number of sources lie, softly.

    This is `lap_sum_inv` with another CDF in place of the Laplace one.  As alpha tends to zero it
    is the weighted quantile of the sources at w/W, with W the total weight.

    Parameters
    ----------
    w : array_like
        Levels, in the units of `weights`.  A 0-d `w` is one level per lane of `r`; a 1-D `w` lies
        along `axis`; otherwise the axes but `axis` broadcast against those of `r`.
    r : array_like
        Sources.
    alpha : array_like
        Positive scale, in the units of `r`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative weights :math:`c_j`, of the shape of `r` or 1-D along `axis`; 1 by default.
    axis : int or None, optional
        Axis of `r` along which the sum is taken; None for all of the raveled `r`, and a result of
        the shape of the targets.
    density : str or object, optional
        Shape of the smoothing: "laplace" (the default), "logistic", "normal", "cauchy", a
        `StudentT`, a `Density`, or a frozen distribution of ``scipy.stats`` that is symmetric about
        zero.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray or scalar
        :math:`b`, of the shape of the levels; float dtype of `w` and `r`.  It is -inf at level 0,
        inf at the total weight W, and NaN outside.  A level above W by the rounding of a sum of
        the weights counts as W.  Where W is 0, all are NaN.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, a weight is negative or not finite, `density` is not
        symmetric about zero, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    cdf_sum : The function inverted.
    soft_quantile : The inverse at levels given as fractions of W.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With the CDF F and its derivative f the result is the point b at which

    .. math:: S(b) = \sum_j c_j F\Bigl(\frac{b - r_j}{\alpha}\Bigr) = w, \qquad
       0 < w < W = \sum_j c_j .

    With :math:`l_j = f((b - r_j)/\alpha)/\alpha` and :math:`q_j = c_j l_j/\sum_k c_k l_k` the
    derivative is

    .. math:: \dot b = {} & \sum_j q_j \dot r_j + \frac{b - \sum_j q_j r_j}{\alpha}\dot\alpha \\
       & + \frac{\dot w - \sum_j F((b - r_j)/\alpha)\,\dot c_j}{\sum_j c_j l_j} .

    In a wide gap the last denominator underflows and the derivative is infinite, rightly.  A
    tangent or cotangent of zero times that is zero.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.cdf_sum_inv([0.5, 1.5, 2.5], [1.0, 2.0, 3.0], 0.1, density="normal").round(3)
    array([1., 2., 3.])

    The inverse for four densities of scale one, and the same three points:

    .. plot::
       :alt: Inverse of the sum of the CDFs of three points for four densities

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       w = np.linspace(0.1, 2.9, 300)
       for density in ("laplace", "logistic", "normal", "cauchy"):
           b = lapsum.cdf_sum_inv(w, [0.0, 3.0, 8.0], 1.0, density=density)
           plt.plot(w, b, label=density)
       plt.xlabel("level w")
       plt.ylabel("b")
       plt.legend()
       plt.show()
    """
    return evaluate(
        CdfSumInverse,
        w,
        r,
        alpha,
        weights=weights,
        axis=axis,
        density=density,
        workers=workers,
    )


@rule_of(cdf_sum_inv)
class CdfSumInverse(LapSumInverse):
    """The rule of `cdf_sum_inv`: for the Laplace density that of `lap_sum_inv`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.targets import GeneralCdfSumInverse

        return GeneralCdfSumInverse
