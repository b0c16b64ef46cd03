"""Soft top-k selection and its logarithm."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import Running, check_flag, check_k
from .._core.rule import LaneRule, evaluate, rule_of
from .._laplace.selection import NEAR, Selection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Array = Any


def soft_topk(
    x: ArrayLike,
    k: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    largest: bool = True,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    r"""Soft top-k selection: to what extent each entry is among the k largest.

    .. math:: & p_i = F\Bigl(\frac{b - x_i}{\alpha}\Bigr), \\
       & \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) = k

    for the k smallest; for the k largest the same of -x.  As alpha tends to zero this is the
    indicator of the k smallest, or largest, entries.

    Parameters
    ----------
    x : array_like
        The entries to choose from.
    k : array_like
        How much weight to choose, any real number in [0, W] with W the total weight (n without
        weights); must broadcast to the batch shape (the axes but `axis`).
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`; an
        entry of weight 2 counts as two equal entries, one of weight 0 for nothing (its own
        output is still what the formula gives: multiply by the weights before you sum).
    axis : int, optional
        Axis along which to choose.
    largest : bool, optional
        Whether to choose the largest entries or the smallest.
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
    With :math:`l_i = e^{-|b - x_i|/\alpha}/(2\alpha)`, :math:`q = c\,l/\sum_j c_j l_j` and s = 1
    for the smallest, -1 for the largest,

    .. math:: \dot p_i = {} & s\,l_i \Bigl(\sum_j q_j \dot x_j - \dot x_i\Bigr) \\
       & + \frac{l_i}{\sum_j c_j l_j} \Bigl(\dot k - \sum_j p_j \dot c_j\Bigr) \\
       & + s\,l_i \frac{x_i - \sum_j q_j x_j}{\alpha}\dot\alpha .

    The threshold of finite entries is found by selection, in O(n) expected time; lanes with
    infinite ones are sorted. The Jacobian in x is a diagonal plus a matrix of rank one; products
    with it are O(n). Every entry, the small ones included, has a relative error of a few units in
    the last place times :math:`1 + |b - x_i|/\alpha`: the threshold b is never rounded to a float.
    A NaN of non-zero weight makes its lane NaN; -inf is never chosen by ``largest=True`` while k is
    at most the weight of the other entries. At k = 0 and k = W derivatives are the one-sided
    limits.

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

    Two lanes, with one scale each, of which the second lacks an entry:

    >>> x, present = [[3.0, 1.0, 4.0], [3.0, 1.0, 0.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    >>> lapsum.soft_topk(x, 1, [0.5, 2.0], weights=present).round(3)
    array([[0.182, 0.003, 0.814],
           [0.697, 0.303, 0.184]])
    """
    return evaluate(
        _SoftTopk,
        x,
        k,
        alpha,
        weights=weights,
        axis=axis,
        largest=largest,
        workers=workers,
        out=out,
    )


def log_soft_topk(
    x: ArrayLike,
    k: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    largest: bool = True,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    r"""Logarithm of soft top-k selection, computed as such.

    .. math:: & \log p_i = \log F\Bigl(\frac{b - x_i}{\alpha}\Bigr), \\
       & \sum_j c_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) = k

    for the k smallest; for the k largest the same of -x.

    Parameters
    ----------
    x : array_like
        The entries to choose from.
    k : array_like
        How much weight to choose, any real number in [0, W] with W the total weight (n without
        weights); must broadcast to the batch shape (the axes but `axis`).
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape.
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`; an
        entry of weight 0 counts for nothing, and has an output of its own.
    axis : int, optional
        Axis along which to choose.
    largest : bool, optional
        Whether to choose the largest entries or the smallest.
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
    The derivative is that of `soft_topk` divided by p, where :math:`l_i/p_i` is
    :math:`1/\alpha` for :math:`p_i \le 1/2` and :math:`(1 - p_i)/(\alpha p_i)` above, and 1 - p
    is never formed.  At k = 0 the value is -inf, the derivative in x stays finite, and that in k
    is inf; a zero tangent or cotangent times it is zero.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, appendix C.3.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.log_soft_topk([3000.0, 1.0, 4000.0, 1.5], 2, 1.0).round(3)
    array([    0.  , -1500.68,     0.  , -1500.18])
    """
    return evaluate(
        _LogSoftTopk,
        x,
        k,
        alpha,
        weights=weights,
        axis=axis,
        largest=largest,
        workers=workers,
        out=out,
    )


@rule_of(soft_topk)
class _SoftTopk(LaneRule):
    fill = 1
    calm = True

    def __init__(
        self,
        running: Running,
        x: Any,
        k: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int = -1,
        largest: bool = True,
    ) -> None:
        # For the cotangents of weights p must not be rounded.
        self.single = weights is None or not running.keep
        keep = running.keep
        if keep:
            running = running._replace(spare=("x",))  # which is copied where it is read first
        super().__init__(running, {"x": x, "k": k, "alpha": alpha}, weights, axis)
        self.alpha = self.lanes["alpha"]
        # A level of exactly the total is where the running sums must not decide.
        total, n = self.total, self.result.size
        levels = check_k(self.kernels, self.arrays["k"], self.lanes["k"], total, n)
        # The largest are the smallest of -x, at the level k: W - k is never formed.
        self.sign = -1.0 if check_flag("largest", largest) else 1.0
        self.b = b = Selection(
            self.kernels,
            self.lanes["x"],
            self.sign,
            self.alpha,
            levels,
            total,
            self.lanes.get("weights"),
            keep,
            self.fill,
            self.into(running),
        )
        self.x = b.x
        # On a device the lanes that are invalid have a threshold that is NaN.
        self.spoils = self.kernels.on_host
        self.forget("x")
        if b.invalid is not None:
            self.spoil(b.invalid)
        self.absent = b.absent

    @cached_property
    def z(self) -> Array:
        """The entries, negative where the largest are sought."""
        return self.sign * self.kernels.contiguous(self.x)

    @cached_property
    def t(self) -> Array:
        """(b - z)/alpha."""
        t = self.kernels.offsets(*self.b.anchors, self.z, self.alpha)
        return t if self.absent is None else self.kernels.xp.where(self.absent, -np.inf, t)

    @property
    def p(self) -> Array:
        """The probabilities F(t)."""
        return self.b.p

    def value(self) -> Array:
        return self.b.p

    def take(self, array: Array) -> Array:
        return self.result.pack(array, self.single)

    def slope(self) -> Array:
        """Return alpha times the derivative of the value in the threshold b."""
        return self.kernels.pdf(self.t)

    def k_slope(self) -> Array:
        """Return the derivative of the value in k: q_i/c_i."""
        return self.shares

    @cached_property
    def shares(self) -> Array:
        """l_i/sum_j c_j l_j, the softmax weights q over c."""
        b = self.b
        pdf = self.kernels.pdf(self.t)
        # Where the threshold lies far from all entries both are tiny or zero.
        far = ~self.near
        if not far.any():
            return pdf / b.density
        shares = pdf / b.density
        left, right, q_left, q_right, density = self.kernels.contiguous(b.found[3:8, far])
        shares[far] = self.kernels.shares(
            (left, right), (q_left, q_right), density, self.z[far], self.t[far], self.alpha[far]
        )
        return shares

    @property
    def near(self) -> Array:
        """Which lanes have a threshold so near to entries that q is a plain quotient."""
        near: Array = self.b.found[7] > NEAR
        return near

    def softmax(self) -> tuple[Array, Array]:
        """Return q and, as an index of (lanes, 1), the finite entry that has most of it."""
        xp = self.kernels.xp
        q = self.shares
        if self.weights is not None:
            q = xp.where(self.weights == 0.0, 0.0, self.weights * q)
        return q, xp.argmax(xp.where(xp.isfinite(self.z), q, -1.0), axis=-1)[:, None]

    def jvp(
        self,
        x_dot: Array | None,
        k_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        xp = self.kernels.xp
        alpha = self.alpha[:, None]
        if not self.x.shape[1]:
            return xp.zeros(self.x.shape)
        pushed: Array | None = None
        if self.kernels.on_host and (plain := self.plain()).any():
            pushed = self.push(x_dot, k_dot, alpha_dot, weights_dot)
            # Where something is infinite, or overflows, only what follows has the limits right.
            plain = plain & xp.isfinite(pushed).all(axis=-1)
            if plain.all():
                return pushed
        out = xp.zeros(self.x.shape)
        slope = self.slope()
        q, pivot = self.softmax()
        if x_dot is not None:
            z_dot = xp.where(xp.isfinite(self.z), self.sign * x_dot, 0.0)
            z_dot = z_dot - xp.take_along_axis(z_dot, pivot, axis=-1)
            b_dot = (q * z_dot).sum(axis=-1)[:, None]
            out = out + slope * (b_dot - z_dot) / alpha
        if alpha_dot is not None:
            spread, unit = self.spread(q, pivot)
            rate = self.kernels.times(self.kernels.times(slope, spread) / alpha, unit)
            out = out + self.kernels.times(rate, alpha_dot[:, None])
        if k_dot is not None:
            out = out + self.kernels.times(self.rescale(k_dot[:, None]), self.k_slope())
        if weights_dot is not None:
            out = out - self.weights_jvp(self.rescale(weights_dot))
        out = xp.where(xp.isnan(self.z), np.nan, out)
        if self.absent is not None:
            out = xp.where(self.absent, 0.0, out)
        return out if pushed is None else xp.where(plain[:, None], pushed, out)

    def push(
        self,
        x_dot: Array | None,
        k_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None,
    ) -> Array:
        """Return the tangent of plain lanes for those of the parameters."""
        zero = self.kernels.xp.zeros(self.alpha.shape)
        level_dot = zero if k_dot is None else self.rescale(k_dot[:, None])[:, 0]
        if weights_dot is not None:
            level_dot = level_dot - (self.probabilities() * self.rescale(weights_dot)).sum(axis=-1)
        tangents = x_dot, level_dot, zero if alpha_dot is None else alpha_dot
        lanes = self.b.found, self.x, self.weights, self.sign, self.alpha
        out: Array = self.kernels.push(*lanes, *tangents, self.fill == 2)
        return out

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        xp = self.kernels.xp
        alpha = self.alpha
        bars: dict[str, Array] = {}
        if not self.x.shape[1]:
            zero = xp.zeros(alpha.shape)
            return {name: zero if name in ("k", "alpha") else self.x for name in wrt}
        plain = self.plain()
        pulled = self.pull(bar, wrt) if plain.any() or plain.all() else {}
        if self.fill == 2 and pulled and "alpha" in wrt:
            # log p depends on alpha even where the distance over alpha overflows.
            plain = plain & xp.isfinite(pulled["alpha"])
        if plain.all():
            return pulled
        nothing = xp.isnan(self.t)
        if self.absent is not None:
            nothing = nothing | self.absent
        bar = xp.where(nothing, 0.0, self.kernels.contiguous(bar))
        slope = xp.where(nothing, 0.0, self.slope())
        h = bar * slope
        q, pivot = self.softmax()
        if "x" in wrt:
            z_bar = q * h.sum(axis=-1)[:, None] - h
            # The entries of z_bar add up to zero; where one q is near 1 only this is accurate.
            xp.put_along_axis(z_bar, pivot, 0.0, axis=-1)
            rest = -z_bar.sum(axis=-1)[:, None]
            xp.put_along_axis(z_bar, pivot, rest, axis=-1)
            bars["x"] = xp.where(xp.isfinite(self.z), self.sign * z_bar / alpha[:, None], 0.0)
        if "alpha" in wrt:
            spread, unit = self.spread(q, pivot)
            along = self.kernels.times(h, spread).sum(axis=-1)
            bars["alpha"] = self.kernels.times(along / alpha, unit[:, 0])
        if "k" in wrt:
            bars["k"] = self.rescale(self.k_vjp(bar)[:, None])[:, 0]
        if "weights" in wrt:
            weights_bar = -xp.where(nothing, 0.0, self.weights_vjp(bar))
            bars["weights"] = self.rescale(weights_bar)
        return self.blend(plain, pulled, bars) if plain.any() else bars

    def plain(self) -> Array:
        """Return in which lanes two passes over the entries are all that a vjp needs."""
        b = self.b
        if b.solved is None:
            return self.kernels.xp.isfinite(b.found[:3]).all(axis=0) & self.near
        return (b.solved == 1) & self.near

    def pull(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of `wrt` for plain lanes."""
        x_bar, k_bar, alpha_bar = self.kernels.pull(
            self.b.found, self.x, self.weights, self.sign, self.alpha, bar, self.fill == 2
        )
        bars = {"x": x_bar, "alpha": alpha_bar}
        if "k" in wrt:
            bars["k"] = self.rescale(k_bar[:, None])[:, 0]
        if "weights" in wrt:
            p = self.probabilities() if self.b.solved is not None else self.chosen()
            bars["weights"] = self.rescale(-self.kernels.times(p, k_bar[:, None]))
        return bars

    def probabilities(self) -> Array:
        """Return p of plain lanes, by the value, which is not rounded where weights are kept."""
        return self.b.p

    def spread(self, q: Array, pivot: Array) -> tuple[Array, Array]:
        """Return (z_i - sum_j q_j z_j)/unit, 0 at infinite entries, by differences, and unit/alpha.

        The unit is alpha, but where a difference over alpha overflows.
        """
        xp = self.kernels.xp
        finite = xp.isfinite(self.z)
        origin = xp.take_along_axis(self.z, pivot, axis=-1)[:, 0]
        step = self.kernels.steps(origin, self.z, self.alpha)
        overflow = (finite & xp.isinf(step)).any(axis=-1)
        unit = xp.where(overflow, 1024.0, self.alpha)
        if overflow.any():
            step = self.kernels.steps(origin, self.z, unit)
        step = xp.where(finite, step, 0.0)
        step = step - self.kernels.times(q, step).sum(axis=-1)[:, None]
        return xp.where(finite, step, 0.0), (unit / self.alpha)[:, None]

    def k_vjp(self, bar: Array) -> Array:
        """Return sum_i bar_i dp_i/dk."""
        return self.kernels.times(bar, self.k_slope()).sum(axis=-1)

    def chosen(self) -> Array:
        """Return p, and 0 at absent entries where it is NaN."""
        return self.kernels.xp.where(self.kernels.xp.isnan(self.t), 0.0, self.p)

    def sides(self) -> tuple[Array, Array]:
        """Return p below the threshold and q/c above, where p over the density is that; else 0.

        The value's derivative in c_j is minus its slope times q_j/c_j, or its derivative in k
        times p_j.  Of factors that underflow and overflow in wide gaps, these meet in neither.
        """
        xp = self.kernels.xp
        below = xp.where(self.t > 0.0, self.chosen(), 0.0)
        return below, xp.where(self.t <= 0.0, self.shares, 0.0)

    def weights_jvp(self, weights_dot: Array) -> Array:
        """Return minus the tangent due to the weights."""
        times = self.kernels.times
        below, above = self.sides()
        falling = times(below, weights_dot).sum(axis=-1)[:, None]
        rising = times(above, weights_dot).sum(axis=-1)[:, None]
        return times(falling, self.k_slope()) + times(rising, self.slope())

    def weights_vjp(self, bar: Array) -> Array:
        """Return the transpose of `weights_jvp`."""
        times = self.kernels.times
        below, above = self.sides()
        falling = self.k_vjp(bar)[:, None]
        rising = times(bar, self.slope()).sum(axis=-1)[:, None]
        return times(below, falling) + times(above, rising)


@rule_of(log_soft_topk)
class _LogSoftTopk(_SoftTopk):
    fill = 2

    @cached_property
    def p(self) -> Array:
        """The probabilities F(t)."""
        return self.kernels.cdf(self.t)

    def probabilities(self) -> Array:
        return self.kernels.xp.exp(self.b.p)

    def slope(self) -> Array:
        # Where -inf entries give log p = -inf the derivatives are 0, not those of the limit.
        return self.kernels.xp.where(self.gone(), 0.0, self.kernels.logcdf_slope(self.t))

    def gone(self) -> Array:
        """Return which entries are infinitely far beyond the threshold."""
        return (
            self.kernels.xp.isinf(self.z)
            & (self.t < -1e308)
            & ~self.kernels.xp.isinf(self.b.anchors[2])
        )

    def small(self) -> Array:
        """Return which entries have p <= 1/2, where dlog p/dk is the same for all of them."""
        return (self.t <= 0.0) & ~self.gone()

    def k_slope(self) -> Array:
        xp = self.kernels.xp
        large = xp.where(self.t <= 0.0, 0.0, self.shares / self.p)
        return xp.where(self.small(), 1.0 / self.b.density, large)

    def k_vjp(self, bar: Array) -> Array:
        # One product for all the small entries: in a wide gap their common rate is infinite.
        xp, times = self.kernels.xp, self.kernels.times
        small = xp.where(self.small(), bar, 0.0).sum(axis=-1)
        large = xp.where(self.t <= 0.0, 0.0, self.shares / self.p)
        return times(small, 1.0 / self.b.density[:, 0]) + times(bar, large).sum(axis=-1)
