"""The Lap-Sum of sources at targets."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, PulledTargets
from .._core.call import evaluate, operator, rule_of
from .._core.layout import with_nan
from .._core.rule import Tangents
from .._laplace.targets import Targets, targets_at
from .._laplace.targets_rule import LaplaceTargets


@operator
def lap_sum(
    x: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Lap-Sum: how many sources lie below each target, softly.

    A source far below a target counts as one, a source far above it as nothing, and one within a
    few alpha in part: by the Laplace CDF of its distance.  As alpha tends to zero this is the
    weight of the sources below each target, with half of those at it.

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
        If `alpha` is not positive and finite, a weight is negative or not finite, or shapes do
        not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    lap_sum_inv : The inverse function.
    soft_rank : The same sum at the sources themselves.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With the Laplace CDF F the sums are

    .. math:: & S(x_i) = \sum_j c_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr), \\
       & F(t) = \begin{cases} e^t/2 & t \le 0 \\ 1 - e^{-t}/2 & t > 0 \end{cases}

    With :math:`K_{ij} = e^{-|x_i - r_j|/\alpha}/(2\alpha)` the derivative is

    .. math:: \dot S_i = {} & \sum_j c_j K_{ij} \Bigl(\dot x_i - \dot r_j
       - \frac{x_i - r_j}{\alpha}\dot\alpha\Bigr) \\
       & + \sum_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr) \dot c_j .

    The sources are sorted, and so are the targets if they are many.  A few targets are found in
    :math:`O(\log n)` each.  Products with the Jacobian are :math:`O(n)`.  The relative error is a
    few units in the last place.  Far below all sources, or below all but some of very little
    weight, it is :math:`1 + |x - r|/\alpha` times that.

    A NaN target makes only its own result NaN, and a NaN source all results of its lane.  Infinite
    entries are the limit of large ones.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 4.1 and Proposition 4.2.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.lap_sum([0.0, 1.5, 9.0], [1.0, 2.0, 3.0], 0.1).round(3)
    array([0., 1., 3.])
    >>> lapsum.lap_sum(2.0, [1.0, 2.0, 3.0], 0.5)
    np.float64(1.5)

    How many of seven points lie below b: the staircase of the hard count becomes smooth.

    .. plot::
       :alt: The Lap-Sum of seven points for three scales, a staircase that becomes a smooth curve

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       points = np.array([0.5, 1.0, 1.3, 2.6, 3.0, 4.4, 5.0])
       b = np.linspace(-1.5, 7, 400)
       for alpha in (0.02, 0.2, 1.0):
           plt.plot(b, lapsum.lap_sum(b, points, alpha), label=f"alpha = {alpha:g}")
       plt.xlabel("b")
       plt.ylabel("points below b")
       plt.legend()
       plt.show()
    """
    return evaluate(LapSum, x, r, alpha, weights=weights, axis=axis, workers=workers, out=out)


@rule_of(lap_sum)
class LapSum(LaplaceTargets):
    """The rule of `lap_sum`."""

    @cached_property
    def at(self) -> Targets:
        """The targets among the sources."""
        return targets_at(self.sources, self.targets, self.source_lane)

    def value(self, out: Array | None = None) -> Array:
        """Return the sums."""
        return with_nan(self.kernels, self.nan_lanes, self.at.level())

    def careful_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the sums."""
        s, at, xp = self.sources, self.at, self.kernels.xp
        out = xp.zeros(self.targets.shape)
        alpha = s.alpha[self.source_lane][:, None]
        if "x" in tangents:
            moving = xp.isfinite(self.targets)
            ours = xp.where(moving, self.tangent_of_targets(tangents["x"]), 0.0)
            out = out + 0.5 * (ours * at.sum(s.base)) / alpha
        if "r" in tangents:
            out = out - 0.5 * at.sum(s.scan(s.weigh(s.tangent(tangents["r"])))) / alpha
        if "alpha" in tangents:
            along = tangents["alpha"][self.source_lane][:, None]
            out = out - 0.5 * at.moment(s.base) / alpha * along
        if "weights" in tangents:
            out = out + at.cdf_sum(tangents["weights"])
        out = xp.where(at.nan, xp.nan, out)
        return with_nan(self.kernels, self.nan_lanes, out)

    def pull(self, bar: Array) -> PulledTargets | None:
        """Return all cotangents by a fused kernel."""
        return self.kernels.targets_vjp(self.sources.lanes, self.targets, self.at.below, bar)

    def careful_vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of targets, sources, alpha and weights."""
        s, at, xp, kernels = self.sources, self.at, self.kernels.xp, self.kernels
        bar = xp.where(at.nan, 0.0, bar)
        bars: dict[str, Array] = {}
        if "r" in wrt:
            bars["r"] = s.cotangent(-0.5 * s.weigh(at.transpose(bar)) / s.alpha[:, None])
        if "alpha" in wrt:
            bars["alpha"] = -0.5 * self.sum_targets(bar * at.moment(s.base)) / s.alpha
        if "weights" in wrt:
            bars["weights"] = at.cdf_transpose(bar)
        bars = {name: with_nan(kernels, s.nan_lanes, lanes) for name, lanes in bars.items()}
        if "x" in wrt:
            x_bar = 0.5 * (bar * at.sum(s.base)) / s.alpha[self.source_lane][:, None]
            x_bar = xp.where(xp.isfinite(self.targets), x_bar, 0.0)
            x_bar = self.cotangent_of_targets(xp.where(at.nan, xp.nan, x_bar))
            bars["x"] = with_nan(kernels, self.nan_lanes, x_bar)
        return bars
