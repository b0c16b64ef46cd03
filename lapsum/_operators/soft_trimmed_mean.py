"""Soft trimmed means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._backends.types import Floats, any_in_lane, sum_in_lane
from .._core.call import evaluate, rule_of
from .._core.checks import check_flag, check_trimming
from .._core.composed import Composed, Graph, Node
from .._core.layout import Reduced
from .._core.rule import LARGE
from .soft_topk import soft_topk

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def soft_trimmed_mean(
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    keepdims: bool = False,
    workers: int | None = None,
) -> Any:
    r"""Soft trimmed mean: the weighted mean of the entries between two quantile levels.

    .. math:: & y = \frac{\sum_i c_i s_i x_i}{\sum_i c_i s_i}, \\
       & s_i = F\Bigl(\frac{b_h - x_i}{\alpha}\Bigr) - F\Bigl(\frac{b_l - x_i}{\alpha}\Bigr)

    where :math:`b_l` and :math:`b_h` are the soft quantiles at `low` and `high`, so that the share
    :math:`s_i` is the difference of two soft top-k selections of the smallest, and
    :math:`\sum_i c_i s_i = (h - l) W` with W the total weight.  As alpha tends to zero this is the
    mean of the entries between the two quantiles, those at the ends counted in part.

    Parameters
    ----------
    x : array_like
        The sample.
    low, high : array_like
        The levels between which entries count, ``0 <= low < high <= 1``; must broadcast to the
        batch shape (the axes but `axis`).
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_i`, of the shape of `x` or 1-D along `axis`.
    axis : int, optional
        Axis along which the mean is taken.
    keepdims : bool, optional
        Whether `axis` stays in the result, with length 1.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray or scalar
        Of the batch shape; float dtype of `x`.

    Raises
    ------
    ValueError
        If `low` and `high` are not in [0, 1] and in that order, `alpha` is not positive and finite,
        a weight is negative or not finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    soft_topk : The selections whose difference the shares are.
    soft_quantile : The levels' quantiles.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Derivatives follow from those of `soft_topk` by the chain rule.  Values and products with the
    Jacobian are O(n).  The error is a few units in the last place of :math:`|y|` and of the
    distances of the entries from y, each times its share and :math:`1/(h - l)`: a common offset of
    the entries costs no digit, levels that nearly agree do.  A NaN of non-zero weight makes its
    lane NaN, and so does W = 0.  Infinite entries are the limit of large ones: those without a
    share change nothing.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_trimmed_mean([1.0, 2.0, 3.0, 4.0, 1000.0], 0.2, 0.8, 0.1).round(3)
    np.float64(3.0)
    >>> lapsum.soft_trimmed_mean([1.0, 2.0, 3.0, 4.0, 1000.0], 0.0, 1.0, 0.1).round(3)
    np.float64(202.0)
    """
    return evaluate(
        SoftTrimmedMean,
        x,
        low,
        high,
        alpha,
        weights=weights,
        axis=axis,
        keepdims=keepdims,
        workers=workers,
    )


@rule_of(soft_trimmed_mean)
class SoftTrimmedMean(Composed):
    """The rule of `soft_trimmed_mean`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        low: Any,
        high: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int = -1,
        keepdims: bool = False,
    ) -> None:
        values = {"x": x, "low": low, "high": high, "alpha": alpha}
        super().__init__(workers, values, weights, axis)
        self.result = Reduced(self.kernels, self.batch, self.axis, check_flag("keepdims", keepdims))
        if self.kernels.on_host:
            check_trimming(self.lanes["low"], self.lanes["high"])

    def compose(self, graph: Graph, arguments: Mapping[str, Node]) -> Node:
        """Return the mean: an entry, and the mean distance of the others from it."""
        x, low, high = (arguments[name] for name in ("x", "low", "high"))
        xp, total = self.kernels.xp, self.total_weight(graph, arguments)
        entries = {name: arguments[name] for name in ("x", "alpha", "weights") if name in arguments}

        def up_to(level: Node) -> Node:
            return graph.apply(soft_topk, {**entries, "k": level * total}, largest=False)

        mass = up_to(high) - up_to(low)
        if "weights" in arguments:
            mass = mass * arguments["weights"]
        origin = self._heaviest(x.value, mass.value)
        # The sums on the way may overflow though the mean does not.
        large = any_in_lane(xp.isfinite(x.value) & (xp.abs(x.value) > LARGE))[:, None]
        unit = xp.where(large, 2.0**200, xp.ones(large.shape))
        finite = xp.isfinite(x.value)
        away = x.mapped(
            xp.where(finite, x.value / unit - origin / unit, 0.0),
            lambda dot: xp.where(finite, dot / unit, 0.0),
            lambda bar: xp.where(finite, bar / unit, 0.0),
        )
        empty = total.value == 0.0
        whole = (high - low) * total
        whole = whole.mapped(xp.where(empty, 1.0, whole.value), lambda dot: dot, lambda bar: bar)
        mean = (away * mass).sum() / whole + graph.leaf(origin / unit)
        infinite = xp.where(xp.isinf(x.value), xp.sign(x.value), 0.0)
        pull = sum_in_lane(self.kernels.times(mass.value, infinite))[:, None]
        value = mean.value * unit
        value = xp.where(pull == 0.0, value, xp.copysign(xp.inf, pull))
        return mean.mapped(
            xp.where(empty, xp.nan, value), lambda dot: dot * unit, lambda bar: bar * unit
        )

    def _heaviest(self, x: Floats, mass: Floats) -> Floats:
        """Return the finite entry with the largest mass of each lane, 0 for none."""
        xp, finite = self.kernels.xp, self.kernels.xp.isfinite(x)
        if not self.n:
            return xp.zeros((self.count, 1))
        at = xp.argmax(xp.where(finite, mass, -1.0), axis=-1)[:, None]
        return xp.take_along_axis(xp.where(finite, x, 0.0), at, axis=-1)
