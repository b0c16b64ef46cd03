"""Sums of the CDFs of sources at targets, for any even density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.call import evaluate, operator, rule_of
from .._core.rule import Rule
from .lap_sum import LapSum


@operator
def cdf_sum(
    x: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    density: Any = "laplace",
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""How many sources lie below each target, softly, for any density symmetric about zero.

    This is `lap_sum` with another CDF in place of the Laplace one.  As alpha tends to zero it is
    the weight of the sources below each target, with half of those at it.

    Parameters
    ----------
    x : array_like
        Targets, in the units of `r`.  A 0-d `x` is one target per lane of `r`; a 1-D `x` lies
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
    out : ndarray, optional
        Receives the result; of exactly its shape and dtype, else a ValueError.  May be `x`
        itself.

    Returns
    -------
    ndarray or scalar
        :math:`S(x_i)`, of the shape of the targets; float dtype of `x` and `r`.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, a weight is negative or not finite, `density` is not
        symmetric about zero, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    cdf_sum_inv : The inverse function.
    lap_sum : The same for the Laplace density alone.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With the CDF F and its derivative f the sums are

    .. math:: S(x_i) = \sum_j c_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr) .

    With :math:`K_{ij} = f((x_i - r_j)/\alpha)/\alpha` the derivative is

    .. math:: \dot S_i = {} & \sum_j c_j K_{ij} \Bigl(\dot x_i - \dot r_j
       - \frac{x_i - r_j}{\alpha}\dot\alpha\Bigr) \\
       & + \sum_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr) \dot c_j .

    A NaN target makes only its own result NaN, and a NaN source all results of its lane.  Infinite
    entries are the limit of large ones.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.cdf_sum([0.0, 1.5, 9.0], [1.0, 2.0, 3.0], 0.1, density="logistic").round(3)
    array([0., 1., 3.])

    Four densities of scale one, and the same three points:

    .. plot::
       :alt: Sum of the CDFs of three points for four densities

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       b = np.linspace(-4, 12, 300)
       for density in ("laplace", "logistic", "normal", "cauchy"):
           plt.plot(b, lapsum.cdf_sum(b, [0.0, 3.0, 8.0], 1.0, density=density), label=density)
       plt.xlabel("b")
       plt.ylabel("points below b")
       plt.legend()
       plt.show()
    """
    return evaluate(
        CdfSum,
        x,
        r,
        alpha,
        weights=weights,
        axis=axis,
        density=density,
        workers=workers,
        out=out,
    )


@rule_of(cdf_sum)
class CdfSum(LapSum):
    """The rule of `cdf_sum`: for the Laplace density that of `lap_sum`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.targets import GeneralCdfSum

        return GeneralCdfSum
