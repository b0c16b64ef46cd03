"""Soft top-k selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._backends.protocol import Kernels
from .._backends.types import (
    Array,
    Entries,
    Floats,
    ShortOperator,
    all_in_lane,
    sum_in_lane,
)
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag
from .._core.entries_rule import EntriesRule
from .._core.fused import FusedCotangents, FusedTangent
from .._core.rule import Forms, Rule, Tangents
from .._core.shapes import Shape
from .._laplace.selection import Question, Selection, given, select_topk, topk_values
from .._laplace.state import are_short, lanes_along
from .._laplace.topk import TopkDerivatives


@operator
def soft_topk(
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
    r"""Soft top-k selection: to what extent each entry is among the k largest.

    Entries far above a threshold get 1, entries far below it 0, and those within a few alpha of it
    a share between the two.  The shares add up to `k`.  As alpha tends to zero they are 1 for the k
    largest entries and 0 for the others.

    Parameters
    ----------
    x : array_like
        The entries to choose from.
    k : array_like
        How many entries to choose: any real number from 0 to W, the total weight, which is n
        without weights.  Must broadcast to the batch shape (the axes but `axis`).
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.  It stands after
        `k`: ``soft_topk(x, 2, 0.1)`` chooses two entries at the scale 0.1, and
        ``soft_topk(x, 0.1, 2)`` a tenth of one at the scale 2.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`.  An
        entry of weight 2 counts as two equal entries, and one of weight 0 as none: its own share is
        what the formula gives, and 0 where that is not finite.
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
        Probabilities in [0, 1], of the shape and float dtype of `x`;
        :math:`\sum_i c_i p_i = k`.

    Raises
    ------
    ValueError
        If `k` is outside [0, W], `alpha` is not positive and finite, a weight is negative or not
        finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    log_soft_topk : The logarithm, accurate where the probability is tiny.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  For the k smallest the shares and their threshold b are

    .. math:: p_i = F\Bigl(\frac{b - x_i}{\alpha}\Bigr) \quad\text{with}\quad
       \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) = k .

    The k largest of x are the k smallest of -x.  With
    :math:`l_i = e^{-|b - x_i|/\alpha}/(2\alpha)`, :math:`q = c\,l/\sum_j c_j l_j` and s = 1 for the
    smallest, -1 for the largest, the derivative is

    .. math:: \dot p_i = {} & s\,l_i \Bigl(\sum_j q_j \dot x_j - \dot x_i\Bigr) \\
       & + \frac{l_i}{\sum_j c_j l_j} \Bigl(\dot k - \sum_j p_j \dot c_j\Bigr) \\
       & + s\,l_i \frac{x_i - \sum_j q_j x_j}{\alpha}\dot\alpha .

    The threshold of finite entries is found by selection, in :math:`O(n)` expected time.  Lanes
    with infinite entries are sorted.  The Jacobian in x is a diagonal matrix plus one of rank one,
    and products with it are :math:`O(n)`.  Every share, the small ones included, has a relative
    error of a few units in the last place times :math:`1 + |b - x_i|/\alpha`, since the threshold
    is never rounded to a float.

    A NaN of non-zero weight makes its lane NaN.  An entry of -inf is not chosen by
    ``largest=True`` while `k` is at most the weight of the other entries.  At k = 0 and k = W
    derivatives are the one-sided limits.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.3, Theorem 3.3 and appendices A and C.2.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_topk([3.0, 1.0, 4.0, 1.5], 2, 0.1).round(3)
    array([1., 0., 1., 0.])
    >>> lapsum.soft_topk([3.0, 1.0, 4.0, 1.5], 2, 1.0).round(3)
    array([0.744, 0.132, 0.906, 0.218])

    Two lanes with a scale each.  The second has an entry less:

    >>> x, present = [[3.0, 1.0, 4.0], [3.0, 1.0, 0.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    >>> lapsum.soft_topk(x, 1, [0.5, 2.0], weights=present).round(3)
    array([[0.182, 0.003, 0.814],
           [0.697, 0.303, 0.184]])

    The best 5 of 20 scores.  The shares fall from 1 to 0 within a few alpha of the threshold.

    .. plot::
       :alt: Shares of twenty scores in the top five for three scales, a step that becomes a ramp

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       scores = np.sort(np.random.default_rng(0).normal(size=20))
       for alpha in (0.01, 0.1, 0.5):
           shares = lapsum.soft_topk(scores, 5, alpha)
           plt.plot(scores, shares, "o-", label=f"alpha = {alpha:g}")
       plt.xlabel("score")
       plt.ylabel("share in the top 5")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SoftTopk,
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


@rule_of(soft_topk)
class SoftTopk(EntriesRule):
    """The rule of `soft_topk`, and of its logarithm."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.topk import GeneralTopk

        return GeneralTopk

    operator: ShortOperator | None = "topk"
    logarithm = False
    keeps_value = True
    derivatives = TopkDerivatives

    def __init__(
        self,
        workers: int | None,
        x: Any,
        k: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        largest: bool = True,
    ) -> None:
        super().__init__(workers, {"x": x, "k": k, "alpha": alpha}, weights, axis)
        # The largest are the smallest of -x, at the level k: W - k is never formed.
        self.sign = -1.0 if check_flag("largest", largest) else 1.0

    out_lanes = EntriesRule.lanes_of_out  # the result is written there as it is made

    def _question(self) -> Question:
        lanes = self.lanes
        weights = lanes.get("weights")
        alpha, allowance = lanes["alpha"], self.allowance
        return Question(lanes["x"], weights, self.sign, lanes["k"], self.total, alpha, allowance)

    def value(self, out: Array | None = None) -> Array:
        """Return the probabilities, or their logarithms."""
        return topk_values(self.kernels, self._question(), self.logarithm, out)

    def linearize(self) -> Array:
        """Return the same, and keep the threshold."""
        kernels, lanes = self.kernels, self.lanes
        if self.total is not None:  # for the cotangents of weights p must not be rounded
            lanes["x"] = kernels.contiguous(lanes["x"])
            lanes["weights"] = kernels.own(lanes["weights"])
        self.b, p = select_topk(kernels, self._question(), self.logarithm, True, None)
        self._keep(p)
        return p

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what the thresholds are like; with weights all results are needed, too."""
        lanes, n = lanes_along(shapes["x"], axes)
        if "weights" in shapes or are_short(cls, kernels, n):
            return ()
        return (Selection.state_form(lanes, 1),)

    def state(self) -> tuple[Array, ...]:
        """Return the thresholds."""
        return (self.b.state(),)

    def restore(self, state: Sequence[Array]) -> None:
        """Be as after `linearize`."""
        if not state:
            super().restore(state)
            return
        self.b = Selection.restored(self.kernels, self._question(), state[0])
        self._keep(None)

    def _keep(self, p: Entries | None) -> None:
        """Keep what derivatives need, and release the arguments."""
        kernels, lanes = self.kernels, self.lanes
        self.nan_lanes = self.b.nan_lanes
        self.muted = self.b.muted
        self.alpha = kernels.own(lanes["alpha"])
        del lanes["x"], lanes["k"], lanes["alpha"]
        self.careful = self.derivatives(kernels, self.b, self.sign, self.alpha, self.weights, p)

    def packed(self, array: Array) -> Array:
        """Return an array of the result's shape as lanes; kernels read float32 as it is."""
        kernels, result = self.kernels, self.result
        if self.total is None:
            return result.pack_entries(kernels, array)
        return result.pack(kernels, array)

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return the tangent by three passes over the entries, where it is finite."""
        kernels, xp = self.kernels, self.kernels.xp
        if not self.n:
            return None
        level_dot = zero = xp.zeros(self.alpha.shape)
        if "k" in tangents:
            level_dot = self.rescale(tangents["k"])
        if "weights" in tangents:
            weights_dot = self.rescale(tangents["weights"])
            level_dot = level_dot - sum_in_lane(self._plain_probabilities() * weights_dot)
        tangent = kernels.topk_jvp(
            self.b.block,
            self.b.x,
            self.weights,
            self.sign,
            self.alpha,
            tangents.get("x"),
            level_dot,
            tangents.get("alpha", zero),
            self.logarithm,
        )
        if tangent is None:
            return None
        # Where something overflows only the careful way has the limits right.
        lanes = kernels.fused_lanes(self.b.selected) & all_in_lane(xp.isfinite(tangent))
        return FusedTangent(lanes, tangent, frozenset(tangents))

    def dense_in_x(self) -> Array | None:
        """Return the Jacobian of lanes whose entries are finite."""
        return self.careful.dense_in_x()

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        level_dot, weights_dot = (
            self.rescale(tangents[name]) if name in tangents else None for name in ("k", "weights")
        )
        return self.careful.jvp(tangents.get("x"), level_dot, tangents.get("alpha"), weights_dot)

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return the cotangents by two passes over the entries."""
        kernels, xp = self.kernels, self.kernels.xp
        lanes = kernels.fused_lanes(self.b.selected)
        if not self.n or not lanes.any():
            return None
        pulled = kernels.topk_vjp(
            self.b.block, self.b.x, self.weights, self.sign, self.alpha, bar, self.logarithm
        )
        if pulled is None:
            return None
        x_bar, level_bar, alpha_bar = pulled
        bars = {"x": x_bar, "alpha": alpha_bar}
        if "k" in wrt:
            bars["k"] = self.rescale(level_bar)
        if "weights" in wrt:
            p = self._plain_probabilities()
            bars["weights"] = self.rescale(-kernels.times(p, level_bar[:, None]))
        if self.logarithm and "alpha" in wrt:
            # log p depends on alpha even where the distance over alpha overflows.
            lanes = lanes & xp.isfinite(alpha_bar)
        return FusedCotangents(lanes, bars)

    def _plain_probabilities(self) -> Floats:
        """Return p by the value, which is not rounded where there are weights; 0 for NaN."""
        xp, p = self.kernels.xp, self.kernels.contiguous(given(self.careful.result))
        p = self._without_muted(xp.exp(p)) if self.logarithm else p
        nothing = xp.isnan(p)
        return xp.where(nothing, 0.0, p) if self.kernels.maybe_any(nothing) else p

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bars: dict[str, Array] = {**self.careful.vjp(bar, wrt)}
        for name in bars.keys() & {"k", "weights"}:
            bars[name] = self.rescale(bars[name])
        return bars
