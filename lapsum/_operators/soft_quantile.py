"""Soft quantiles."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import Running, check_flag, check_q
from .._core.rule import LaneRule, evaluate, rule_of
from .._laplace.selection import NEAR, Selection
from .._laplace.sources import Sources
from .._laplace.targets import Thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = Any

# From more levels on, one sort costs less than selecting each.
FEW = 8


def soft_quantile(
    x: ArrayLike,
    q: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    keepdims: bool = False,
    workers: int | None = None,
) -> Any:
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
        Probabilities, strictly between 0 and 1, of any shape.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`.
    axis : int, optional
        Axis along which the quantiles are taken.
    keepdims : bool, optional
        Whether `axis` stays in the result, with length 1.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray or scalar
        Of shape ``q.shape + batch shape``; float dtype of `x`.

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
        _SoftQuantile, x, q, alpha, weights=weights, axis=axis, keepdims=keepdims, workers=workers
    )


@rule_of(soft_quantile)
class _SoftQuantile(LaneRule):
    single = True

    def __init__(
        self,
        running: Running,
        x: Any,
        q: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int = -1,
        keepdims: bool = False,
    ) -> None:
        super().__init__(running, {"x": x, "q": q, "alpha": alpha}, weights, axis)
        check_q(self.arrays["q"])
        at = len(self.batch) + 1 + self.axis
        kept = (1,) if check_flag("keepdims", keepdims) else ()
        self.shape = (*self.arrays["q"].shape, *self.batch[:at], *kept, *self.batch[at:])
        self.q = self.lanes.pop("q")
        kernels, x, alpha = self.kernels, self.lanes["x"], self.lanes["alpha"]
        self.chosen = None
        if 0 < self.q.shape[1] <= FEW:
            given = self.lanes.get("weights")
            self.chosen = Selection(kernels, x, 1.0, alpha, self.q, self.total, given, fill=0)
            self.spoil(self.chosen.invalid)
        else:
            self.spoil(self.sources.invalid)

    @property
    def whole(self) -> Array:
        """The total weights, to go with several levels."""
        return float(self.result.size) if self.total is None else self.total[:, None]

    @cached_property
    def sources(self) -> Sources:
        """The sorted entries, for derivatives and for many levels."""
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        return Sources(self.kernels, x, alpha, self.weights, totals=self.total)

    @cached_property
    def invalid(self) -> Array:
        """Which lanes have no entries."""
        return (self.sources.count == 0)[:, None]

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds at the levels q W."""
        levels = self.kernels.levels(self.q, self.total, self.result.size)
        levels = self.rescale(levels)
        return self.sources.solve(levels, self.sources.key, True)

    def place(self, lanes: Array) -> Array:
        """Return the lanes of a result as q.shape + batch shape."""
        return lanes.T.reshape(self.shape)

    def take(self, array: Array) -> Array:
        """Undo `place`."""
        lanes, m = self.q.shape
        return self.kernels.contiguous(array.reshape(m, lanes).T)

    def value(self) -> Array:
        if self.chosen is None:
            return self.kernels.xp.where(self.invalid, np.nan, self.solved.value())
        value = self.chosen.value
        return value.copy() if self.kernels.on_host else value  # a view would keep all it found

    def plain(self) -> Array | None:
        """Return in which lanes one pass over the entries is all that derivatives need.

        Those in the weights need the entries in order.
        """
        b = self.chosen
        if b is None:
            return None
        near = (b.found[7] > NEAR).all(axis=-1)
        if b.solved is None:
            return self.kernels.xp.isfinite(b.found[:3]).all(axis=(0, 2)) & near
        return (b.solved == 1) & near

    def softmax(self, b: Selection, dot: Array | None, bar: Array | None) -> tuple[Array, ...]:
        """Return sum_j q_ij dot_j, db_i/dalpha and sum_i bar_i q_ij, of plain lanes."""
        lanes = self.lanes["x"], self.weights, self.lanes["alpha"]
        sums: tuple[Array, ...] = self.kernels.softmax(b.found, *lanes, dot, bar)
        return sums

    def rates(self, b: Selection) -> Array:
        """Return db_i/dq_i, of plain lanes."""
        alpha = self.lanes["alpha"][:, None]
        return self.kernels.times(self.rescale(self.whole) / b.found[7], alpha)

    def jvp(
        self,
        x_dot: Array | None,
        q_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        b, plain, times = self.chosen, self.plain(), self.kernels.times
        if b is None or plain is None or not plain.any():
            return self.jvp_in_order(x_dot, q_dot, alpha_dot, weights_dot)
        out = self.kernels.xp.zeros(self.q.shape)
        if x_dot is not None or alpha_dot is not None:
            average, slope, _ = self.softmax(b, x_dot, None)
            out = out if x_dot is None else average
            if alpha_dot is not None:
                out = out + times(slope, alpha_dot[:, None])
        if q_dot is not None:
            out = out + times(q_dot, self.rates(b))
        if weights_dot is not None:
            out = out + self.jvp_in_order(None, None, None, weights_dot)
        if plain.all():
            return out
        other = self.jvp_in_order(x_dot, q_dot, alpha_dot, weights_dot)
        return self.kernels.xp.where(plain[:, None], out, other)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        b, plain, times = self.chosen, self.plain(), self.kernels.times
        if b is None or plain is None or not plain.any():
            return self.vjp_in_order(bar, wrt)
        bars = {}
        if "q" in wrt:
            bars["q"] = times(bar, self.rates(b))
        if "x" in wrt or "alpha" in wrt:
            _, slope, x_bar = self.softmax(b, None, bar)
            both = {"x": x_bar, "alpha": times(slope, bar).sum(axis=-1)}
            bars.update((name, both[name]) for name in wrt & both.keys())
        every = bool(plain.all())
        rest = wrt - bars.keys() if every else wrt
        if not rest:
            return bars
        other = self.vjp_in_order(bar, rest)
        bars = {**other, **bars}
        return bars if every else self.blend(plain, bars, other)

    def jvp_in_order(
        self,
        x_dot: Array | None,
        q_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        """Return `jvp`, whatever the lanes hold."""
        s, xp = self.sources, self.kernels.xp
        y = self.solved
        out = xp.zeros(self.q.shape)
        whole = self.rescale(self.whole)
        level_dot = None if q_dot is None else q_dot * whole
        if weights_dot is not None and s.shape[1]:
            # With the level q W, the same tangent for all weights in proportion changes nothing.
            weights_dot = xp.where(xp.isnan(s.given), 0.0, self.rescale(weights_dot))
            even = weights_dot.sum(axis=-1)[:, None] / whole
            uneven = weights_dot - self.weights * even
            # They add up to zero; the heaviest one, a small difference, is got from the others.
            heaviest = xp.argmax(self.weights, axis=-1)[:, None]
            xp.put_along_axis(uneven, heaviest, 0.0, axis=-1)
            xp.put_along_axis(uneven, heaviest, -uneven.sum(axis=-1)[:, None], axis=-1)
            rising = -y.centred_cdf_sum(uneven)
            level_dot = rising if level_dot is None else level_dot + rising
        if level_dot is not None:
            out = out + y.rate(level_dot)
        if x_dot is not None:
            out = out + y.average(s.tangent(x_dot))
        if alpha_dot is not None:
            out = out + y.slope() * alpha_dot[:, None]
        return s.spoil(xp.where(self.invalid, 0.0, out))

    def vjp_in_order(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return `vjp`, whatever the lanes hold."""
        s, xp = self.sources, self.kernels.xp
        y, whole = self.solved, self.rescale(self.whole)
        bar = xp.where(self.invalid, 0.0, bar)
        bars = {}
        if "x" in wrt:
            bars["x"] = s.cotangent(y.average_transpose(bar))
        if "q" in wrt:
            bars["q"] = y.rate(bar * whole)
        if "alpha" in wrt:
            bars["alpha"] = xp.where(bar == 0.0, 0.0, bar * y.slope()).sum(axis=-1)
        if "weights" in wrt:

            def pull(values: Array) -> Array:
                falling = y.centred_cdf_transpose(values)
                falling = xp.where(xp.isnan(s.given), 0.0, falling)
                even = (self.weights * falling).sum(axis=-1)[:, None] / whole
                even = xp.where(self.invalid, 0.0, even)
                return xp.where(xp.isnan(s.given), 0.0, even - falling)

            bars["weights"] = self.rescale(y.rate_transpose(pull, bar))
        return bars
