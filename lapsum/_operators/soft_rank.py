"""Soft ranks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import Running, check_flag
from .._core.rule import LARGE, LaneRule, evaluate, rule_of
from .._laplace.sources import Sources
from .._laplace.targets import Targets

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Array = Any


def soft_rank(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    descending: bool = False,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    r"""Soft ranks: one half plus the Lap-Sum of all entries at each of them.

    .. math:: y_i = \frac12 + \sum_j c_j F\Bigl(\frac{x_i - x_j}{\alpha}\Bigr)

    As alpha tends to zero this is ``scipy.stats.rankdata(x, "average")``.

    Parameters
    ----------
    x : array_like
        The entries to rank.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`; an
        entry of weight 2 counts as two equal entries, one of weight 0 for nothing.
    axis : int, optional
        Axis along which to rank.
    descending : bool, optional
        Whether the largest entry has the smallest rank.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.
    out : ndarray, optional
        Receives the result; of exactly its shape and dtype, else a ValueError.  May be `x`
        itself.

    Returns
    -------
    ndarray
        Ranks, of the shape and float dtype of `x`, in [1, n] without weights.  Ascending and
        descending ranks add up to W + 1, with W the total weight.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, a weight is negative or not finite, or shapes do
        not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    lap_sum : The same sum at arbitrary targets.
    soft_sort : The inverse view: the value at each rank.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With :math:`K_{ij} = e^{-|x_i - x_j|/\alpha}/(2\alpha)` the derivative is, ascending,

    .. math:: \dot y_i = {} & \sum_j c_j K_{ij} \Bigl(\dot x_i - \dot x_j
       - \frac{x_i - x_j}{\alpha}\dot\alpha\Bigr) \\
       & + \sum_j F\Bigl(\frac{x_i - x_j}{\alpha}\Bigr)\dot c_j ,

    a graph Laplacian in :math:`\dot x`, symmetric for unit weights.  One sort; products with the
    Jacobian are O(n).  The relative error is a few units in the last place at any n, and up to
    :math:`1 + t` times that where an entry at a distance of :math:`t \alpha` outweighs all nearer
    ones, as one of :math:`10^7` times their weight can.  Tied entries get identical ranks.  A NaN
    makes its lane NaN; m entries at -inf share the rank (m + 1)/2; an entry of zero weight is
    ranked but counts for nothing.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.2 and Theorem 3.2.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_rank([30.0, 10.0, 20.0], 1.0).round(3)
    array([3., 1., 2.])
    >>> lapsum.soft_rank([30.0, 10.0, 20.0], 10.0).round(3)
    array([2.748, 1.252, 2.   ])
    """
    return evaluate(
        _SoftRank,
        x,
        alpha,
        weights=weights,
        axis=axis,
        descending=descending,
        workers=workers,
        out=out,
    )


@rule_of(soft_rank)
class _SoftRank(LaneRule):
    single = True
    spoils = False

    def __init__(
        self,
        running: Running,
        x: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int = -1,
        descending: bool = False,
    ) -> None:
        if weights is None:
            running = running._replace(spare=("x",))
        super().__init__(running, {"x": x, "alpha": alpha}, weights, axis)
        self.sign = -1.0 if check_flag("descending", descending) else 1.0
        if descending:
            self.lanes["x"] = -self.lanes["x"]
        self.sources = Sources(self.kernels, **self.lanes, totals=self.total)
        self.spoil(self.sources.invalid)
        if weights is None:
            self.forget("x")
            del self.sources.entries

    @cached_property
    def at(self) -> Targets:
        """The entries as targets: all of them; absent ones, last, hold any value."""
        s = self.sources
        return s.locate(s.x, None, None, s.key)

    def value(self) -> Array:
        s = self.sources
        lanes = s.x, s.gap, s.order, s.count, s.invalid, s.alpha
        y: Array = self.kernels.ranks(*lanes, s.weights, s.pairs, s.left, s.right, self.dtype)
        return y

    def pull(self, lanes: Array) -> tuple[Array | None, Array, Array]:
        """Return products of lanes with the Jacobian in x, and with the derivative in alpha.

        First comes for which lanes they are right, None if for none: those without weights, where
        the Jacobian is symmetric, and without values so large that differences overflow.
        """
        if self.sources.weights is not None:
            return None, None, None
        s, quick = self.sources, ((lanes < LARGE) & (lanes > -LARGE)).all(axis=-1)
        if not quick.any():
            return None, None, None
        return quick, *self.kernels.pull_ranks(
            s.x, s.gap, s.order, s.count, (s.left, s.right), s.alpha, self.sign, lanes
        )

    def jvp(
        self,
        x_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        s, xp = self.sources, self.kernels.xp
        base = s.left, s.right
        alpha = s.alpha[:, None]
        quick, moved, _ = (None, None, None) if x_dot is None else self.pull(x_dot)
        every = quick is not None and bool(quick.all())
        if every and alpha_dot is None:
            return s.spoil(moved)
        out = xp.zeros(s.shape)
        if x_dot is not None and not every:
            x_dot = s.tangent(self.sign * x_dot)
            out = 0.5 * s.neighbours().difference(base, x_dot, x_dot) / alpha
            out = out if quick is None else xp.where(quick[:, None], 0.0, out)
        if alpha_dot is not None:
            out = out - 0.5 * s.neighbours().moment(base) / alpha * alpha_dot[:, None]
        if weights_dot is not None:
            out = out + self.at.cdf_sum(weights_dot)
        out = s.unsort(xp.where(self.at.invalid, np.nan, out))
        if quick is not None:
            moved = moved if alpha_dot is None else out + moved
            out = xp.where(quick[:, None], moved, out)
        return s.spoil(out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, xp = self.sources, self.kernels.xp
        base = s.left, s.right
        quick, x_bar, alpha_bar = self.pull(bar)
        pulled = {"x": x_bar, "alpha": alpha_bar}
        if quick is not None and quick.all():
            return pulled
        others = s.neighbours()
        bar = xp.where(self.at.invalid, 0.0, s.sort(bar))
        bars = {}
        if "x" in wrt:
            if s.weights is None:
                # The Jacobian is symmetric, and in differences nothing cancels.
                x_bar = others.difference(base, bar, bar)
            else:
                x_bar = bar * others.sum(base) - s.weigh(others.transpose(bar))
            bars["x"] = s.cotangent(0.5 * self.sign * x_bar / s.alpha[:, None])
        if "alpha" in wrt:
            bars["alpha"] = -0.5 * (bar * others.moment(base)).sum(axis=-1) / s.alpha
        if "weights" in wrt:
            bars["weights"] = self.at.cdf_transpose(bar)
        return bars if quick is None else self.blend(quick, pulled, bars)
