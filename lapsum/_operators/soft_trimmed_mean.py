"""Soft trimmed means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Floats, all_in_lane, any_in_lane, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag, check_trimming
from .._core.composed import Composed, Graph, Node
from .._core.layout import Reduced
from .._core.rule import LARGE
from .._core.shapes import Shape, reduced_shape
from .soft_topk import soft_topk


@operator
def soft_trimmed_mean(
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | tuple[int, ...] | None = -1,
    keepdims: bool = False,
    density: Any = "laplace",
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Soft trimmed mean: the mean of the entries between two quantiles.

    Entries below the quantile at `low` and above the one at `high` are left out, softly, so that
    outliers have no influence.  As alpha tends to zero this is the mean of the entries between the
    two quantiles, those at the ends counted in part.  Levels 0 and 1 give the plain mean.

    Parameters
    ----------
    x : array_like
        The sample.
    low : array_like
        The level above which entries count, in [0, 1]; must broadcast to the batch shape (the
        axes but `axis`).
    high : array_like
        The level below which entries count, in [0, 1] and greater than `low`; must broadcast to the
        batch shape.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_i`, of the shape of `x` or 1-D along `axis`.
    axis : int, tuple of int or None, optional
        Axis or axes along which the mean is taken; None for all of them.
    keepdims : bool, optional
        Whether the axes stay in the result, with length 1.
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
    soft_topk : What the shares are differences of.
    soft_quantile : The quantiles at the two levels.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, and :math:`b_l` and :math:`b_h` the soft quantiles at `low` and `high`.  Then

    .. math:: & y = \frac{\sum_i c_i s_i x_i}{\sum_i c_i s_i}, \\
       & s_i = F\Bigl(\frac{b_h - x_i}{\alpha}\Bigr) - F\Bigl(\frac{b_l - x_i}{\alpha}\Bigr) .

    The share :math:`s_i` is the difference of two soft top-k selections of the smallest, and
    :math:`\sum_i c_i s_i = (h - l) W` with W the total weight.  Derivatives follow from those of
    `soft_topk` by the chain rule.  Values and products with the Jacobian are :math:`O(n)`.

    The error is a few units in the last place of :math:`|y|` and of the distances of the entries
    from y, each times its share and :math:`1/(h - l)`.  A common offset of the entries costs no
    digit, but levels that nearly agree do.  A NaN of non-zero weight makes its lane NaN, and so
    does W = 0.  Infinite entries are the limit of large ones: those without a share change nothing.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_trimmed_mean([1.0, 2.0, 3.0, 4.0, 1000.0], 0.2, 0.8, 0.05).round(3)
    np.float64(3.0)
    >>> lapsum.soft_trimmed_mean([1.0, 2.0, 3.0, 4.0, 1000.0], 0.0, 1.0, 0.05).round(3)
    np.float64(202.0)

    One of twenty measurements goes astray.  The mean follows it, and the trimmed mean does not.

    .. plot::
       :alt: Mean and soft trimmed mean of twenty values against one outlier; only the mean follows

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       outlier = np.linspace(-10, 30, 200)
       data = np.tile(np.random.default_rng(0).normal(5, 1, 20), (200, 1))
       data[:, 0] = outlier
       plt.plot(outlier, data.mean(axis=1), label="mean")
       trimmed = lapsum.soft_trimmed_mean(data, 0.1, 0.9, 0.2)
       plt.plot(outlier, trimmed, label="soft trimmed mean, 10 % to 90 %")
       plt.xlabel("value of one measurement")
       plt.ylabel("mean of all")
       plt.legend()
       plt.show()
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
        density=density,
        workers=workers,
    )


@rule_of(soft_trimmed_mean)
class SoftTrimmedMean(Composed):
    """The rule of `soft_trimmed_mean`."""

    several_axes = True

    def __init__(
        self,
        workers: int | None,
        x: Any,
        low: Any,
        high: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
        density: Any = "laplace",
    ) -> None:
        values = {"x": x, "low": low, "high": high, "alpha": alpha}
        super().__init__(workers, values, weights, axis)
        self.result = Reduced(self.entries, self.axes, check_flag("keepdims", keepdims))
        self.density = density
        check_trimming(self.kernels, self.lanes["low"], self.lanes["high"])

    @classmethod
    def result_shape(
        cls, shapes: Mapping[str, Shape], axes: Shape | None, keepdims: bool = False, **options: Any
    ) -> Shape:
        """Return the shape of the result."""
        return reduced_shape(shapes["x"], axes, keepdims)

    def compose(self, graph: Graph, arguments: Mapping[str, Node]) -> Node:
        """Return the mean: an entry, and the mean distance of the others from it.

        What a selection changes is counted from its own quantile: it keeps its sum, so any origin
        will do, and there the large slopes meet tiny distances.
        """
        x, total = arguments["x"], self.total_weight(graph, arguments)
        xp, weights = self.kernels.xp, arguments.get("weights")
        finite = xp.isfinite(x.value)
        # The sums on the way may overflow, or underflow, though the mean does not.
        large = any_in_lane(finite & (xp.abs(x.value) > LARGE))[:, None]
        small = all_in_lane(~finite | (xp.abs(x.value) < 1.0 / LARGE))[:, None]
        unit = xp.where(large, 2.0**200, xp.where(small, 2.0**-200, xp.ones(large.shape)))

        def distance(origin: Floats) -> Node:
            return x.mapped(
                xp.where(finite, x.value / unit - origin / unit, 0.0),
                lambda dot: xp.where(finite, dot / unit, 0.0),
                lambda bar: xp.where(finite, bar / unit, 0.0),
            )

        def weighed(p: Node) -> Node:
            return p if weights is None else p * weights

        def rise(p: Node, k: Node) -> Node:
            edge, kept = self._edge(x.value, p.value, weights), xp.isfinite(p.value)
            moved = p if weights is None else p * graph.leaf(weights.value)
            beyond = k
            if weights is not None:
                beyond = k - weighed(graph.leaf(xp.where(kept, p.value, 0.0))).sum()
            moment = (moved * graph.leaf(distance(edge).value)).sum()
            return moment + beyond * graph.leaf(edge / unit - origin / unit)

        k_low, k_high = (arguments[name] * total for name in ("low", "high"))
        entries = {name: arguments[name] for name in ("x", "alpha", "weights") if name in arguments}
        options = {"largest": False, "density": self.density}
        p_low, p_high = (
            graph.apply(soft_topk, {**entries, "k": k}, **options) for k in (k_low, k_high)
        )
        mass = weighed(graph.leaf(p_high.value - p_low.value))
        origin = self._heaviest(x.value, mass.value)
        sum_of_distances = (distance(origin) * mass).sum()
        rising = sum_of_distances + (rise(p_high, k_high) - rise(p_low, k_low))
        whole, empty = k_high - k_low, total.value == 0.0
        whole = whole.replaced(xp.where(empty, 1.0, whole.value))
        mean = rising.replaced(sum_of_distances.value) / whole + graph.leaf(origin / unit)
        infinite = xp.where(xp.isinf(x.value), xp.sign(x.value), 0.0)
        pull = sum_in_lane(self.kernels.times(mass.value, infinite))[:, None]
        value = xp.where(pull == 0.0, mean.value * unit, xp.copysign(xp.inf, pull))

        def back(dot: Floats) -> Floats:
            return xp.where(empty, 0.0, dot * unit)

        return mean.mapped(xp.where(empty, xp.nan, value), back, back)

    def _heaviest(self, x: Floats, mass: Floats) -> Floats:
        """Return the finite entry with the largest mass of each lane, 0 for none."""
        xp, finite = self.kernels.xp, self.kernels.xp.isfinite(x)
        if not self.n:
            return xp.zeros((self.count, 1))
        at = xp.argmax(xp.where(finite, mass, -1.0), axis=-1)[:, None]
        return xp.take_along_axis(xp.where(finite, x, 0.0), at, axis=-1)

    def _edge(self, x: Floats, p: Floats, weights: Node | None) -> Floats:
        """Return the finite entry next to where a selection ends, 0 for none."""
        xp = self.kernels.xp
        if not self.n:
            return xp.zeros((self.count, 1))
        there = xp.isfinite(x)
        if weights is not None:
            there = there & (weights.value > 0.0)
        doubt = xp.where(there, xp.minimum(p, 1.0 - p), 0.0)
        # Where none is in doubt it is the last that is chosen, or the first of all.
        last = xp.where(there & (p >= 0.5), x, -xp.inf).max(axis=-1)[:, None]
        first = xp.where(there, x, xp.inf).min(axis=-1)[:, None]
        edge = xp.where(xp.isfinite(last), last, first)
        edge = xp.where(any_in_lane(doubt > 0.0)[:, None], self._heaviest(x, doubt), edge)
        return xp.where(xp.isfinite(edge), edge, 0.0)
