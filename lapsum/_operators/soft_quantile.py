"""Soft quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.protocol import Kernels
from .._backends.types import Array, Flags, Floats, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.fused import FusedCotangents, FusedTangent
from .._core.quantile_rule import QuantileRule
from .._core.rule import Forms, Rule, Tangents
from .._core.shapes import Shape
from .._laplace.selection import Question, Selection, select_quantiles
from .._laplace.sources import Sources
from .._laplace.state import are_short, lanes_along
from .._laplace.thresholds import Thresholds, thresholds_at
from .._laplace.weighted_levels import WeightedLevels

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
    r"""Soft quantiles: the values below which given fractions of the sample lie.

    A quantile depends smoothly on all entries within a few alpha of it, not on one or two of them
    alone.  As alpha tends to zero this is
    ``np.quantile(x, q, method="averaged_inverted_cdf")``.  A percentile p is the quantile at
    ``q=p / 100``, and the median that at ``q=0.5``.

    Parameters
    ----------
    x : array_like
        The sample.
    q : array_like
        Levels, strictly between 0 and 1, of any shape.  Every lane gets all of them, unless
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
        Shape of the smoothing: "laplace" (the default), "logistic", "normal", "cauchy", a
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
    lap_sum_inv : The same at levels that are counts, not fractions.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  The quantiles are the values at which the sum of the CDFs
    reaches a fraction of its end,

    .. math:: y = S^{-1}(q W), \qquad
       S(b) = \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr), \qquad W = \sum_j c_j .

    The level :math:`q W` is rounded once, and W is the correctly rounded sum.  Derivatives are
    those of `lap_sum_inv` with :math:`\dot w = \dot q W + q \sum_j \dot c_j`: with :math:`q_j` the
    softmax weights of :math:`-|y - x_j|/\alpha` and :math:`l_j = e^{-|y - x_j|/\alpha}/(2\alpha)`,

    .. math:: \dot y = {} & \sum_j q_j \dot x_j + \frac{y - \sum_j q_j x_j}{\alpha}\dot\alpha \\
       & + \frac{\dot q W + \sum_j (q - F((y - x_j)/\alpha))\,\dot c_j}{\sum_j c_j l_j} .

    Up to eight levels of finite entries are found by selection, in :math:`O(n)` expected time each,
    and a product with the Jacobian takes one pass over the entries.  More levels, infinite entries,
    and derivatives in the weights take one sort.  The error is a few units in the last place of
    :math:`|y| + \alpha`.  A NaN of non-zero weight makes its lane NaN, and so does W = 0.

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

    All quantiles of a sample of forty, hard and soft:

    .. plot::
       :alt: Quantiles of forty values against the level, hard and for two scales

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = np.random.default_rng(0).normal(size=40)
       q = np.linspace(0.01, 0.99, 300)
       hard = np.quantile(x, q, method="averaged_inverted_cdf")
       plt.plot(q, hard, color="0.5", label="np.quantile")
       for alpha in (0.05, 0.3):
           plt.plot(q, lapsum.soft_quantile(x, q, alpha), label=f"alpha = {alpha:g}")
       plt.xlabel("level q")
       plt.ylabel("quantile")
       plt.legend()
       plt.show()
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
    def _arranged(self) -> tuple[Floats, Any]:
        # Found in ascending order, and kept in it until results are given back.
        return self.kernels.arrange(self.q, self.n)

    def _to_order(self, lanes: Floats) -> Floats:
        _, order = self._arranged
        return lanes if order is None else self.kernels.to_order(lanes, order)

    def _from_order(self, lanes: Floats) -> Floats:
        _, order = self._arranged
        return lanes if order is None else self.kernels.from_order(lanes, order)

    @cached_property
    def levels(self) -> Floats:
        """The levels q W, in ascending order."""
        q, _ = self._arranged
        return self.rescale(self.kernels.levels(q, self.total, self.n))

    @cached_property
    def found(self) -> Thresholds:
        """The thresholds at these levels."""
        return thresholds_at(self.sources, self.levels, full=False)

    @cached_property
    def solved(self) -> Thresholds:
        """The same with what derivatives need."""
        return self.found.complete(self.levels)

    def value(self, out: Array | None = None) -> Array:
        """Return the quantiles: by selection if they are few, else in order."""
        kernels = self.kernels
        if 0 < self.q.shape[1] <= MOST_SELECTED:
            self.selection = select_quantiles(kernels, self._question())
            self.nan_lanes = self.selection.nan_lanes
            return kernels.detached(self.selection.selected.value)
        self.nan_lanes = self.sources.nan_lanes
        y = kernels.xp.where(self._empty(), kernels.xp.nan, self.found.value())
        return self._from_order(y)

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what few thresholds are like."""
        lanes, n = lanes_along(shapes["x"], axes)
        steps = 1 if options.get("per_lane") else prod(shapes["q"])
        if "weights" in shapes or are_short(cls, kernels, n) or not 0 < steps <= MOST_SELECTED:
            return ()
        return (Selection.state_form(lanes, steps),)

    def state(self) -> tuple[Array, ...]:
        """Return the thresholds."""
        return () if self.selection is None else (self.selection.state(),)

    def restore(self, state: Sequence[Array]) -> None:
        """Be as after `linearize`."""
        if not state:
            super().restore(state)
            return
        steps = self.q.shape[1:]
        self.selection = Selection.restored(self.kernels, self._question(), state[0], steps)
        self.nan_lanes = self.selection.nan_lanes

    def _question(self) -> Question:
        lanes = self.lanes
        return Question(lanes["x"], lanes.get("weights"), 1.0, self.q, self.total, lanes["alpha"])

    def _empty(self) -> Flags:
        empty: Flags = self.sources.present == 0
        return empty[:, None]

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return the tangent due to all but the weights, by one pass over the entries."""
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
        """Return the cotangents."""
        b, kernels, times = self.selection, self.kernels, self.kernels.times
        lanes = None if b is None else kernels.fused_lanes(b.selected)
        if b is None or lanes is None or not lanes.any():
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
        if "weights" in wrt and self.weights is not None and self.total is not None:
            totals = self.rescale(self.total)
            found = kernels.quantiles_vjp(b.block, x, self.weights, totals, alpha, bar)
            if found is not None:
                bars["weights"] = self.rescale(found)
        return FusedCotangents(lanes, bars)

    def _rates(self, b: Selection) -> Floats:
        alpha = self.lanes["alpha"][:, None]
        return self.kernels.times(self.whole / b.selected.density, alpha)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, xp, y = self.sources, self.kernels.xp, self.solved
        out = xp.zeros(self.q.shape)
        level_dot = None
        if "q" in tangents:
            level_dot = self._to_order(tangents["q"]) * self.whole
        if "weights" in tangents and self.weights is not None and s.shape[1]:
            rising = self._weighted(self.weights).rising(self.rescale(tangents["weights"]))
            level_dot = rising if level_dot is None else level_dot + rising
        if level_dot is not None:
            out = out + y.rates.times(level_dot)
        if "x" in tangents:
            out = out + y.average(s.tangent(tangents["x"]))
        if "alpha" in tangents:
            out = out + y.by_alpha() * tangents["alpha"][:, None]
        return self._from_order(xp.where(self._empty(), 0.0, out))

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, xp, y = self.sources, self.kernels.xp, self.solved
        bar = self._to_order(xp.where(self._empty(), 0.0, bar))
        bars: dict[str, Array] = {}
        if "x" in wrt:
            bars["x"] = s.cotangent(y.average_transpose(bar))
        if "q" in wrt:
            bars["q"] = self._from_order(y.rates.times(bar * self.whole))
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(xp.where(bar == 0.0, 0.0, bar * y.by_alpha()))
        if "weights" in wrt and self.weights is not None:
            transpose = self._weighted(self.weights).rising_transpose
            bars["weights"] = self.rescale(y.rates.transpose(transpose, bar))
        return bars

    def _weighted(self, weights: Floats) -> WeightedLevels:
        nan = self.kernels.xp.isnan(self.kernels.contiguous(self.lanes["x"]))
        return WeightedLevels(self.kernels, self.solved, weights, self.whole, nan)
