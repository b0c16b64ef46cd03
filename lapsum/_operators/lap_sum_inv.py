"""The inverse of the Lap-Sum."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Floats, PulledTargets
from .._core.call import evaluate, operator, rule_of
from .._core.layout import with_nan
from .._core.rule import Tangents
from .._laplace.targets_rule import LaplaceTargets
from .._laplace.thresholds import Thresholds, thresholds_at


@operator
def lap_sum_inv(
    w: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Inverse of the Lap-Sum: the point below which a given number of sources lie, softly.

    `lap_sum` rises from 0 to the total weight W, so each level between is reached at one point.  As
    alpha tends to zero that is the weighted quantile of the sources at w/W.

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
        If `alpha` is not positive and finite, a weight is negative or not finite, or shapes do
        not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    lap_sum : The function inverted.
    soft_quantile : The inverse at levels given as fractions of W.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above.  The result is the point b at which

    .. math:: S(b) = \sum_j c_j F\Bigl(\frac{b - r_j}{\alpha}\Bigr) = w, \qquad
       0 < w < W = \sum_j c_j .

    Between two neighbouring sources this is a quadratic equation in :math:`e^{b/\alpha}` with one
    root.  With the softmax weights

    .. math:: & q_j = \frac{c_j e^{-|b - r_j|/\alpha}}{\sum_k c_k e^{-|b - r_k|/\alpha}}, \\
       & l_j = \frac{e^{-|b - r_j|/\alpha}}{2\alpha},

    the derivative is

    .. math:: \dot b = {} & \sum_j q_j \dot r_j + \frac{b - \sum_j q_j r_j}{\alpha}\dot\alpha \\
       & + \frac{\dot w - \sum_j F((b - r_j)/\alpha)\,\dot c_j}{\sum_j c_j l_j} .

    In a wide gap the last denominator underflows and the derivative is infinite, rightly.  A
    tangent or cotangent of zero times that is zero.

    The sources are sorted, and so are the levels if they are many.  A few levels are found in
    :math:`O(\log n)` each.  Products with the Jacobian are :math:`O(n)`.  The error is a few units
    in the last place of :math:`|b| + \alpha`.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, Observation 3.1, section 4 and appendix C.1.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.lap_sum_inv([0.5, 1.5, 2.5], [1.0, 2.0, 3.0], 0.1).round(3)
    array([1., 2., 3.])
    >>> lapsum.lap_sum_inv([0.0, 3.0, 4.0], [1.0, 2.0, 3.0], 0.1)
    array([-inf,  inf,  nan])

    The point below which w of ten sources lie.  It crosses the gap between them at w = 5.

    .. plot::
       :alt: Inverse of the Lap-Sum of ten sources in two groups against the level, for three scales

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       rng = np.random.default_rng(0)
       sources = np.r_[rng.uniform(0, 1, 5), rng.uniform(3, 4, 5)]
       w = np.linspace(0.1, 9.9, 400)
       for alpha in (0.02, 0.2, 1.0):
           plt.plot(w, lapsum.lap_sum_inv(w, sources, alpha), label=f"alpha = {alpha:g}")
       plt.xlabel("level w")
       plt.ylabel("b")
       plt.legend()
       plt.show()
    """
    return evaluate(LapSumInverse, w, r, alpha, weights=weights, axis=axis, workers=workers)


@rule_of(lap_sum_inv)
class LapSumInverse(LaplaceTargets):
    """The rule of `lap_sum_inv`, whose targets are levels."""

    target = "w"
    along_axis = ("w", "r")

    def __init__(
        self,
        workers: int | None,
        w: Any,
        r: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
    ) -> None:
        super().__init__(workers, w, r, alpha, weights=weights, axis=axis)

    @cached_property
    def total(self) -> Floats:
        """The total weight of each level's sources."""
        return self.total_of_sources[self.source_lane][:, None]

    def admit(self, targets: Array) -> Array:
        """Return the levels, NaN outside [0, W]."""
        return self.levels_within(targets, self.total)

    def rescale(self, levels: Floats) -> Floats:
        """Return levels, or cotangents of such, as `kernels.rescale` does."""
        (levels,) = self.kernels.rescale(self.total, levels)
        return levels

    def scale(self, weights: Floats) -> Floats:
        """Return the weights, rescaled."""
        (weights,) = self.kernels.rescale(self.total_of_sources, weights)
        return weights

    @cached_property
    def levels(self) -> Floats:
        """The levels, rescaled."""
        return self.rescale(self.targets)

    @cached_property
    def found(self) -> Thresholds:
        """The thresholds."""
        return thresholds_at(self.sources, self.levels, self.source_lane, full=False)

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds with what derivatives need."""
        return self.found.complete(self.levels)

    def value(self, out: Array | None = None) -> Array:
        """Return the thresholds."""
        return self._values(self.found)

    def _values(self, thresholds: Thresholds) -> Array:
        xp, b = self.kernels.xp, thresholds.value()
        if self.sources.weights is not None:  # with counts the ends come out as they are
            b = xp.where(self.targets == 0.0, -xp.inf, b)
            b = xp.where(self.targets == self.total, xp.inf, b)
            b = xp.where(self.total == 0.0, xp.nan, b)
        return with_nan(self.kernels, self.nan_lanes, b)

    def careful_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the thresholds."""
        s, xp, b = self.sources, self.kernels.xp, self.solved
        out = xp.zeros(self.levels.shape)
        if "w" in tangents:
            w_dot = self.rescale(self.tangent_of_targets(tangents["w"]))
            out = out + b.rates.times(w_dot)
        if "weights" in tangents:
            out = out - b.by_weights(self.scale(tangents["weights"]))
        if "r" in tangents:
            out = out + b.average(s.tangent(tangents["r"]))
        if "alpha" in tangents:
            along = tangents["alpha"][self.source_lane][:, None]
            out = out + xp.where(along == 0.0, 0.0, b.by_alpha() * along)
        out = xp.where(b.nan, xp.nan, out)
        out = xp.where(self.total == 0.0, 0.0, out)
        return with_nan(self.kernels, self.nan_lanes, out)

    def pull(self, bar: Array) -> PulledTargets | None:
        """Return all cotangents by a fused kernel."""
        s, below = self.sources, self.found.below
        pulled = self.kernels.levels_vjp(s.lanes, self.levels, below, bar)
        return pulled and pulled._replace(targets=self.rescale(pulled.targets))

    def careful_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of levels, sources, alpha and weights."""
        s, xp, b, kernels = self.sources, self.kernels.xp, self.solved, self.kernels
        bar = xp.where(b.nan, 0.0, bar)
        bars: dict[str, Array] = {}
        if "r" in wrt:
            bars["r"] = s.cotangent(b.average_transpose(bar))
        if "alpha" in wrt:
            bars["alpha"] = self.sum_targets(xp.where(bar == 0.0, 0.0, bar * b.by_alpha()))
        if "weights" in wrt:
            bars["weights"] = -self.scale(b.by_weights_transpose(bar))
        bars = {name: with_nan(kernels, s.nan_lanes, lanes) for name, lanes in bars.items()}
        if "w" in wrt:
            nan = b.nan & (self.total != 0.0)
            w_bar = self.rescale(b.rates.times(bar))
            w_bar = self.cotangent_of_targets(xp.where(nan, xp.nan, w_bar))
            bars["w"] = with_nan(kernels, self.nan_lanes, w_bar)
        return bars
