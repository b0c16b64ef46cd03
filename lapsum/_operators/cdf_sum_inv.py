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
    r"""Inverse of `cdf_sum`: where the sum of the sources' CDFs reaches a level.

    .. math:: & S^{-1}(w) = b \quad\text{with} \\
       & S(b) = \sum_j c_j F\Bigl(\frac{b - r_j}{\alpha}\Bigr) = w, \\
       & 0 < w < W = \sum_j c_j

    As alpha tends to zero this is the weighted quantile of the sources at :math:`w/W`.

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
    axis : int, optional
        Axis of `r` along which the sum is taken.
    density : str or object, optional
        Density whose CDF F is: "laplace" (the default), "logistic", "normal", "cauchy", a
        `StudentT`, a `Density`, or a frozen distribution of ``scipy.stats`` that is symmetric about
        zero.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray or scalar
        :math:`b`, of the shape of the levels; float dtype of `w` and `r`.  As for a `ppf`: -inf at
        level 0, inf at W, NaN outside, and NaN where W is 0.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, a weight is negative or not finite, `density` is no
        even density, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    cdf_sum : The function inverted.
    soft_quantile : The inverse at levels given as fractions of W.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With :math:`l_j = f((b - r_j)/\alpha)/\alpha` and :math:`q_j = c_j l_j/\sum_k c_k l_k` the
    derivative is

    .. math:: \dot b = {} & \sum_j q_j \dot r_j + \frac{b - \sum_j q_j r_j}{\alpha}\dot\alpha \\
       & + \frac{\dot w - \sum_j F((b - r_j)/\alpha)\,\dot c_j}{\sum_j c_j l_j} .

    In a wide gap the last denominator underflows, and the derivative is rightly infinite; a zero
    tangent or cotangent times it is zero.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.cdf_sum_inv([0.5, 1.5, 2.5], [1.0, 2.0, 3.0], 0.1, density="normal").round(3)
    array([1., 2., 3.])
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
