"""Soft quantiles."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Flags, Floats, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.fused import FusedCotangents, FusedTangent
from .._core.quantile_rule import QuantileRule
from .._core.rule import Rule, Tangents
from .._laplace.selection import Question, Selection, select_quantiles
from .._laplace.sources import Sources
from .._laplace.thresholds import Thresholds, thresholds_at

MOST_SELECTED = 8  # from more levels on, one sort costs less than selecting each


@operator
def soft_quantile(
    x: ArrayLike,
    q: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | tuple[int, ...] | None = -1,
    keepdims: bool = False,
    per_lane: bool = False,
    density: Any = "laplace",
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Soft quantiles: the inverse Lap-Sum at fractions of the total weight.

    .. math:: & y = S^{-1}(q W), \\
       & S(b) = \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr), \quad
       W = \sum_j c_j

    As alpha tends to zero this is ``np.quantile(x, q, method="averaged_inverted_cdf")``.

    Parameters
    ----------
    x : array_like
        The sample.
    q : array_like
        Probabilities, strictly between 0 and 1, of any shape: all of them for every lane, unless
        `per_lane`.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`.
    axis : int, tuple of int or None, optional
        Axis or axes along which the quantiles are taken; None for all of them.
    keepdims : bool, optional
        Whether the axes stay in the result, with length 1.
    per_lane : bool, optional
        Whether `q` is one level for each lane: it must broadcast to the batch shape, which the
        result then has.  A keyword says so, since a `q` of that shape could mean either.
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
        Of shape ``q.shape + batch shape``, or of the batch shape if `per_lane`; float dtype of `x`.

    Raises
    ------
    ValueError
        If `q` is not strictly between 0 and 1, `alpha` is not positive and finite, a weight is
        negative or not finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    lap_sum_inv : The same at levels that are no fractions.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    The level :math:`q W` is rounded once, and W is the correctly rounded sum.  Derivatives are
    those of `lap_sum_inv` with :math:`\dot w = \dot q W + q \sum_j \dot c_j`: with :math:`q_j` the
    softmax weights of :math:`-|y - x_j|/\alpha` and :math:`l_j = e^{-|y - x_j|/\alpha}/(2\alpha)`,

    .. math:: \dot y = {} & \sum_j q_j \dot x_j + \frac{y - \sum_j q_j x_j}{\alpha}\dot\alpha \\
       & + \frac{\dot q W + \sum_j (q - F((y - x_j)/\alpha))\,\dot c_j}{\sum_j c_j l_j} .

    Up to eight levels of finite entries are found by selection, in O(n) expected time each, and
    one pass over the entries is all that a product with the Jacobian takes; more levels, infinite
    entries, and derivatives in the weights take one sort.  The error is a few units in the last
    place of :math:`|y| + \alpha`.  A NaN of non-zero weight makes its lane NaN, and so does W = 0.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, Observation 3.1 and appendix C.1.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_quantile([1.0, 2.0, 3.0, 10.0], 0.5, 0.1).round(3)
    np.float64(2.5)
    >>> lapsum.soft_quantile([1.0, 2.0, 3.0, 10.0], [0.25, 0.75], 1.0).round(3)
    array([1.343, 6.704])
    """
    return evaluate(
        SoftQuantile,
        x,
        q,
        alpha,
        weights=weights,
        axis=axis,
        keepdims=keepdims,
        per_lane=per_lane,
        density=density,
        workers=workers,
    )


@rule_of(soft_quantile)
class SoftQuantile(QuantileRule):
    """The rule of `soft_quantile`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.sorts import GeneralQuantile

        return GeneralQuantile

    operator = "quantiles"
    selection: Selection | None = None

    def _levels_of_lanes(self) -> Floats:
        return self.q

    @cached_property
    def whole(self) -> Floats | float:
        """The total weights, rescaled, to go with several levels."""
        return float(self.n) if self.total is None else self.rescale(self.total)[:, None]

    @cached_property
    def sources(self) -> Sources:
        """The sorted entries, for derivatives and for many levels."""
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        return Sources(self.kernels, x, alpha, self.weights, self.total)

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds at the levels q W."""
        levels = self.rescale(self.kernels.levels(self.q, self.total, self.n))
        return thresholds_at(self.sources, levels, full=True)

    def value(self, out: Array | None = None) -> Array:
        """Return the quantiles: by selection if they are few, else in order."""
        kernels, lanes = self.kernels, self.lanes
        if 0 < self.q.shape[1] <= MOST_SELECTED:
            weights = lanes.get("weights")
            question = Question(lanes["x"], weights, 1.0, self.q, self.total, lanes["alpha"])
            self.selection = select_quantiles(kernels, question)
            self.nan_lanes = self.selection.invalid
            return kernels.detached(self.selection.selected.value)
        self.nan_lanes = self.sources.invalid
        return kernels.xp.where(self._empty(), kernels.xp.nan, self.solved.value())

    def _empty(self) -> Flags:
        """Return which lanes have no entries."""
        empty: Flags = self.sources.present == 0
        return empty[:, None]

    # --------------------------------------------- one pass over the entries, where that is right

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return the tangent due to all but the weights."""
        b, kernels, times = self.selection, self.kernels, self.kernels.times
        handled = tangents.keys() - {"weights"}
        if b is None or not handled:
            return None
        lanes = kernels.fused_lanes(b.selected)
        if not lanes.any():
            return None
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        out = kernels.xp.zeros(self.q.shape)
        if handled & {"x", "alpha"}:
            x_dot = tangents.get("x")
            sums = kernels.softmax_products(b.block, x, self.weights, alpha, x_dot, None)
            if sums is None:
                return None
            out = out if x_dot is None else sums.average
            if "alpha" in tangents:
                out = out + times(sums.by_alpha, tangents["alpha"][:, None])
        if "q" in tangents:
            out = out + times(tangents["q"], self._rates(b))
        return FusedTangent(lanes, out, frozenset(handled))

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return the cotangents of all but the weights."""
        b, kernels, times = self.selection, self.kernels, self.kernels.times
        if b is None:
            return None
        lanes = kernels.fused_lanes(b.selected)
        if not lanes.any():
            return None
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        bars: dict[str, Array] = {}
        if "q" in wrt:
            bars["q"] = times(bar, self._rates(b))
        if wrt & {"x", "alpha"}:
            sums = kernels.softmax_products(b.block, x, self.weights, alpha, None, bar)
            if sums is None or sums.x_bar is None:
                return None
            both = {"x": sums.x_bar, "alpha": sum_in_lane(times(sums.by_alpha, bar))}
            bars.update((name, both[name]) for name in wrt & both.keys())
        return FusedCotangents(lanes, bars)

    def _rates(self, b: Selection) -> Floats:
        """Return db_i/dq_i."""
        alpha = self.lanes["alpha"][:, None]
        return self.kernels.times(self.whole / b.selected.density, alpha)

    # ---------------------------------------------------------------- in order, whatever lanes hold

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, xp, y = self.sources, self.kernels.xp, self.solved
        out = xp.zeros(self.q.shape)
        level_dot = None
        if "q" in tangents:
            level_dot = tangents["q"] * self.whole
        if "weights" in tangents and s.shape[1]:
            rising = self._rising(self.rescale(tangents["weights"]))
            level_dot = rising if level_dot is None else level_dot + rising
        if level_dot is not None:
            out = out + y.rates.times(level_dot)
        if "x" in tangents:
            out = out + y.average(s.tangent(tangents["x"]))
        if "alpha" in tangents:
            out = out + y.by_alpha() * tangents["alpha"][:, None]
        return xp.where(self._empty(), 0.0, out)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, xp, y = self.sources, self.kernels.xp, self.solved
        bar = xp.where(self._empty(), 0.0, bar)
        bars: dict[str, Array] = {}
        if "x" in wrt:
            bars["x"] = s.cotangent(y.average_transpose(bar))
        if "q" in wrt:
            bars["q"] = y.rates.times(bar * self.whole)
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(xp.where(bar == 0.0, 0.0, bar * y.by_alpha()))
        if "weights" in wrt:
            bars["weights"] = self.rescale(y.rates.transpose(self._rising_transpose, bar))
        return bars

    # With the level q W, the same tangent for all weights in proportion changes nothing.

    def _rising(self, weights_dot: Floats) -> Floats:
        """Return q sum_j c_dot_j - sum_j F_ij c_dot_j at each threshold."""
        xp, weights = self.kernels.xp, self._weights()
        weights_dot = xp.where(self._nan_entries(), 0.0, weights_dot)
        even = sum_in_lane(weights_dot)[:, None] / self.whole
        uneven = weights_dot - weights * even
        # They add up to zero; the heaviest one, a small difference, is got from the others.
        heaviest = xp.argmax(weights, axis=-1)[:, None]
        xp.put_along_axis(uneven, heaviest, 0.0, axis=-1)
        xp.put_along_axis(uneven, heaviest, -sum_in_lane(uneven)[:, None], axis=-1)
        return -self.solved.centred_cdf_sum(uneven)

    def _rising_transpose(self, values: Floats) -> Floats:
        xp, nan = self.kernels.xp, self._nan_entries()
        falling = xp.where(nan, 0.0, self.solved.centred_cdf_transpose(values))
        even = sum_in_lane(self._weights() * falling)[:, None] / self.whole
        even = xp.where(self._empty(), 0.0, even)
        return xp.where(nan, 0.0, even - falling)

    def _weights(self) -> Floats:
        if self.weights is None:
            raise TypeError("there are no weights")
        return self.weights

    def _nan_entries(self) -> Flags:
        return self.kernels.xp.isnan(self.kernels.contiguous(self.lanes["x"]))
