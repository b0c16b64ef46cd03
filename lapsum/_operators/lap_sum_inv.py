"""The inverse of the Lap-Sum."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import Running
from .._core.rule import evaluate, rule_of
from .._laplace.targets import Thresholds
from .lap_sum import TargetsRule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = Any


def lap_sum_inv(
    w: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    workers: int | None = None,
) -> Any:
    r"""Inverse of the Lap-Sum: where the sum of the sources' Laplace CDFs reaches a level.

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
    On the interval between two neighbouring sources, :math:`S(b) = w` is a quadratic equation in
    :math:`e^{b/\alpha}` with one root.  With the softmax weights

    .. math:: & q_j = \frac{c_j e^{-|b - r_j|/\alpha}}{\sum_k c_k e^{-|b - r_k|/\alpha}}, \\
       & l_j = \frac{e^{-|b - r_j|/\alpha}}{2\alpha},

    the derivative is

    .. math:: \dot b = {} & \sum_j q_j \dot r_j + \frac{b - \sum_j q_j r_j}{\alpha}\dot\alpha \\
       & + \frac{\dot w - \sum_j F((b - r_j)/\alpha)\,\dot c_j}{\sum_j c_j l_j} .

    In a wide gap the last denominator underflows, and the derivative is rightly infinite; a zero
    tangent or cotangent times it is zero.  One sort of the sources, and one of the levels if they
    are many; few are found in O(log n) each.  Products with the Jacobian are O(n).  The error is a
    few units in the last place of :math:`|b| + \alpha`.

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
    """
    return evaluate(_LapSumInv, w, r, alpha, weights=weights, axis=axis, workers=workers)


@rule_of(lap_sum_inv)
class _LapSumInv(TargetsRule):
    target = "w"

    def __init__(
        self, running: Running, w: Any, r: Any, alpha: Any, *, weights: Any = None, axis: int = -1
    ) -> None:
        super().__init__(running, w, r, alpha, weights=weights, axis=axis)
        self.keep = running.keep
        self.levels = self.rescale(self.targets)

    @cached_property
    def total(self) -> Array:
        """The total weight of each level's sources; a lane with a NaN has none, but a total."""
        return self.source_total[self.key][:, None]

    def admit(self, targets: Array) -> Array:
        inside = (targets >= 0.0) & (targets <= self.total)
        return self.kernels.xp.where(inside, targets, np.nan)

    def rescale(self, levels: Array) -> Array:
        """Return levels, or cotangents of such, as `kernels.rescale` does."""
        (levels,) = self.kernels.rescale(self.total, levels)
        return levels

    def scale(self, weights: Array) -> Array:
        (weights,) = self.kernels.rescale(self.source_total, weights)
        return weights

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds with what derivatives need."""
        return self.sources.solve(self.levels, self.key, True)

    def value(self) -> Array:
        xp = self.kernels.xp
        b = self.solved if self.keep else self.sources.solve(self.levels, self.key, False)
        b = b.value()
        if self.sources.weights is None:  # with counts the ends come out as they are
            return b
        b = xp.where(self.targets == 0.0, -np.inf, b)
        b = xp.where(self.targets == self.total, np.inf, b)
        return xp.where(self.total == 0.0, np.nan, b)

    def jvp(
        self,
        w_dot: Array | None,
        r_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        s, xp = self.sources, self.kernels.xp
        b = self.solved
        out = xp.zeros(self.levels.shape)
        if w_dot is not None:
            out = out + b.rate(self.rescale(self.tangent_of_targets(w_dot)))
        if weights_dot is not None:
            out = out - b.weights_rate(self.scale(weights_dot))
        if r_dot is not None:
            out = out + b.average(s.tangent(r_dot))
        if alpha_dot is not None:
            along = alpha_dot[self.key][:, None]
            out = out + xp.where(along == 0.0, 0.0, b.slope() * along)
        out = xp.where(b.invalid, np.nan, out)
        return xp.where(self.total == 0.0, 0.0, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, xp = self.sources, self.kernels.xp
        b = self.solved
        bar = xp.where(b.invalid, 0.0, bar)
        bars = {}
        if "w" in wrt:
            spoilt = b.invalid & (self.total != 0.0)
            w_bar = self.rescale(b.rate(bar))
            bars["w"] = self.cotangent_of_targets(xp.where(spoilt, np.nan, w_bar))
        if "r" in wrt:
            bars["r"] = s.cotangent(b.average_transpose(bar))
        if "alpha" in wrt:
            bars["alpha"] = self.sum_targets(xp.where(bar == 0.0, 0.0, bar * b.slope()))
        if "weights" in wrt:
            bars["weights"] = -self.scale(b.weights_rate_transpose(bar))
        return bars
