"""The logarithm of soft top-k selection."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._core.call import evaluate, operator, rule_of
from .._core.rule import Rule
from .._laplace.topk import LogTopkDerivatives
from .soft_topk import SoftTopk


@operator
def log_soft_topk(
    x: ArrayLike,
    k: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    largest: bool = True,
    density: Any = "laplace",
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Logarithm of soft top-k selection, accurate where the selection itself underflows.

    Minus this is the loss of a classifier whose label should be among the k best.  Far below the
    threshold it falls in a straight line of slope 1/alpha, so that its gradient does not vanish.

    Parameters
    ----------
    x : array_like
        The entries to choose from.
    k : array_like
        How many entries to choose: any real number from 0 to W, the total weight, which is n
        without weights.  Must broadcast to the batch shape (the axes but `axis`).
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.  It stands after
        `k`: ``log_soft_topk(x, 2, 0.1)`` chooses two entries at the scale 0.1, and
        ``log_soft_topk(x, 0.1, 2)`` a tenth of one at the scale 2.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`.  An
        entry of weight 0 counts as none: its own result is what the formula gives, and 0 where that
        is not finite.
    axis : int or None, optional
        Axis along which to choose; None for all of the raveled array, and a flat result.
    largest : bool, optional
        Whether to choose the largest entries or the smallest.
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
    ndarray
        Logarithms of the probabilities, of the shape and float dtype of `x`; finite where the
        probability itself underflows.

    Raises
    ------
    ValueError
        If `k` is outside [0, W], `alpha` is not positive and finite, a weight is negative or not
        finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    soft_topk : The probabilities, with the notes that hold here too.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  For the k smallest the results and their threshold b are

    .. math:: \log p_i = \log F\Bigl(\frac{b - x_i}{\alpha}\Bigr) \quad\text{with}\quad
       \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) = k .

    The k largest of x are the k smallest of -x.  The derivative is that of `soft_topk` divided by
    p.  There :math:`l_i/p_i` is :math:`1/\alpha` for :math:`p_i \le 1/2` and
    :math:`(1 - p_i)/(\alpha p_i)` above, and :math:`1 - p_i` is computed without cancellation.

    At k = 0 the value is -inf, the derivative in x stays finite, and the one in k is inf.  A
    tangent or cotangent of zero times that is zero.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, appendix C.3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.log_soft_topk([3000.0, 1.0, 4000.0, 1.5], 2, 1.0).round(3)
    array([    0.  , -1500.68,     0.  , -1500.18])

    The loss of one class against its score, beside five others:

    .. plot::
       :alt: Minus the log share of one class against its score for k of 1, 2 and 4

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       score = np.linspace(-4, 5, 200)
       others = np.broadcast_to([-1.0, 0.0, 1.0, 2.0, 3.0], (200, 5))
       logits = np.column_stack([score, others])
       for k in (1, 2, 4):
           plt.plot(score, -lapsum.log_soft_topk(logits, k, 0.5)[:, 0], label=f"k = {k}")
       plt.xlabel("score of the label")
       plt.ylabel("loss")
       plt.legend()
       plt.show()
    """
    return evaluate(
        LogSoftTopk,
        x,
        k,
        alpha,
        weights=weights,
        axis=axis,
        largest=largest,
        density=density,
        workers=workers,
        out=out,
    )


@rule_of(log_soft_topk)
class LogSoftTopk(SoftTopk):
    """The rule of `log_soft_topk`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.topk import GeneralLogTopk

        return GeneralLogTopk

    operator = "log_topk"
    logarithm = True
    derivatives = LogTopkDerivatives
