"""Soft ranks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._backends.types import Array, Floats, sum_in_lane
from .._core.arguments import float_type
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag
from .._core.fused import FusedCotangents, FusedTangent, moderate
from .._core.integers import exponential_reach, near_integers
from .._core.rule import Rule, Tangents
from .._laplace.sources import Sources
from .._laplace.state import OrderedEntriesRule
from .._laplace.targets import Neighbours, Targets, targets_at


@operator
def soft_rank(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = -1,
    descending: bool = False,
    dtype: DTypeLike | None = None,
    density: Any = "laplace",
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Soft ranks: the position of each entry in the sorted order, from 1.

    A rank counts the entries below.  Here an entry far below counts as one, an entry far above as
    nothing, and one within a few alpha in part, so that ranks change smoothly with `x`.  As alpha
    tends to zero this is ``scipy.stats.rankdata(x, "average")``.

    Parameters
    ----------
    x : array_like
        The entries to rank.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative frequency weights :math:`c_j`, of the shape of `x` or 1-D along `axis`.  An
        entry of weight 2 counts as two equal entries, and one of weight 0 as none: its own rank is
        the one that it would have among the others, and 0 for a NaN.
    axis : int or None, optional
        Axis along which to rank; None for all of the raveled array, and a flat result.  The rows of
        a DataFrame are ranked by default; ``axis=0`` ranks its columns, as pandas does.
    descending : bool, optional
        Whether the largest entry has the smallest rank.
    dtype : dtype, optional
        Float type of the result, by default that of `x`.  float16 cannot tell ranks above 2048
        apart.
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
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  The ranks are

    .. math:: y_i = \frac12 + \sum_j c_j F\Bigl(\frac{x_i - x_j}{\alpha}\Bigr) .

    With :math:`K_{ij} = e^{-|x_i - x_j|/\alpha}/(2\alpha)` the derivative is, ascending,

    .. math:: \dot y_i = {} & \sum_j c_j K_{ij} \Bigl(\dot x_i - \dot x_j
       - \frac{x_i - x_j}{\alpha}\dot\alpha\Bigr) \\
       & + \sum_j F\Bigl(\frac{x_i - x_j}{\alpha}\Bigr)\dot c_j ,

    a graph Laplacian in :math:`\dot x`, which is symmetric for unit weights.

    The values take one sort, and products with the Jacobian :math:`O(n)`.  With another density
    f, :math:`K_{ij}` is :math:`f((x_i - x_j)/\alpha)/\alpha`, and both take :math:`O(n \log n)`.
    For a `Density` without `strip` they take :math:`O(n^2)`, in blocks of bounded memory.

    The relative error is a few units in the last place at any n.  It is up to :math:`1 + t` times
    that where an entry at a distance of :math:`t \alpha` outweighs all nearer ones, as an entry of
    :math:`10^7` times their weight can.  With another density, weights below :math:`10^{-21}` of
    the total may be lost.

    Tied entries get identical ranks.  A NaN makes its lane NaN.  m entries at -inf share the rank
    :math:`(m + 1)/2`.

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

    Twelve runners: with a small alpha the ranks are whole numbers; with a larger one, runners who
    finish close together share their ranks.

    .. plot::
       :alt: Soft ranks of twelve times for three scales, from a staircase to a smooth curve

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       times = np.sort(np.random.default_rng(0).normal(100, 5, 12))
       for alpha in (0.01, 1.0, 5.0):
           plt.plot(times, lapsum.soft_rank(times, alpha), "o-", label=f"alpha = {alpha:g}")
       plt.xlabel("time (s)")
       plt.ylabel("soft rank")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SoftRank,
        x,
        alpha,
        weights=weights,
        axis=axis,
        descending=descending,
        dtype=dtype,
        density=density,
        workers=workers,
        out=out,
    )


@rule_of(soft_rank)
class SoftRank(OrderedEntriesRule):
    """The rule of `soft_rank`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.ranks import GeneralRank

        return GeneralRank

    operator = "ranks"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | None = -1,
        descending: bool = False,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, weights, axis)
        self.sign = -1.0 if check_flag("descending", descending) else 1.0
        if dtype is not None:
            self.dtype = float_type("dtype", dtype)

    def entries_of(self, x: Array, alpha: Array) -> Array:
        """Return large integers by distances that are exact before they become floats."""
        reach = exponential_reach("weights" in self.dtypes)
        return near_integers(self.kernels, x, self.axes, alpha, self.batch, reach)

    def _sources(self, alpha: Floats) -> Sources:
        lanes = self.lanes
        x = -lanes["x"] if self.sign < 0 else lanes["x"]
        known = self.known_order
        return Sources(self.kernels, x, alpha, lanes.get("weights"), self.total, known)

    def value(self, out: Array | None = None) -> Array:
        """Return the ranks."""
        return self.kernels.ranks(self._sources(self.lanes["alpha"]).lanes, self.dtype)

    def linearize(self) -> Array:
        """Return the ranks, and keep the sorted sources."""
        self.keep_sources()
        # What absent entries overflow is seen before it is rounded.
        dtype = self.dtype if self.total is None else float_type("dtype", float)
        return self.kernels.ranks(self.sources.lanes, dtype)

    def keep_sources(self) -> None:
        """Sort the entries and keep them, and which absent ones are muted."""
        kernels, lanes = self.kernels, self.lanes
        if self.total is not None:  # absent entries stay where they were given
            lanes["x"] = kernels.own(lanes["x"])
            muted = (lanes["weights"] == 0.0) & kernels.xp.isnan(lanes["x"])
            self.muted = muted if kernels.maybe_any(muted) else None
        self.sources = self._sources(kernels.own(lanes["alpha"]))
        self.nan_lanes = self.sources.nan_lanes
        self.lanes = {}

    def dense_in_x(self) -> Array | None:
        """Return the Jacobian of lanes without weights whose entries are finite.

        With f_ij = f((x_i - x_j)/alpha)/alpha it is -f_ij, and sum_k f_ik - f_ii on the diagonal.
        """
        s, xp = self.sources, self.kernels.xp
        if self.total is not None or not moderate(self.kernels, [s.x]).all():
            return None
        z, own = s.from_order(s.x), xp.arange(self.n)
        t = z[:, :, None] - z[:, None, :]
        t /= s.alpha[:, None, None]
        out = self.kernels.pdf(t.reshape(len(z), -1)).reshape(t.shape)
        out *= (-self.sign / s.alpha)[:, None, None]
        out[:, own, own] = 0.0
        out[:, own, own] = -out.sum(axis=-1)
        return out

    @cached_property
    def at(self) -> Targets:
        """The entries as targets: all of them; absent ones, last, hold any value."""
        return targets_at(self.sources, self.sources.x)

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return the tangent due to those of x and alpha, in lanes without weights."""
        handled = tangents.keys() - {"weights"}
        if self.total is not None or not handled:
            return None
        lanes = moderate(self.kernels, (tangents[name] for name in handled))
        if not lanes.any():
            return None
        x_dot, alpha_dot = tangents.get("x"), tangents.get("alpha")
        out = self.kernels.ranks_jvp(self.sources.lanes, self.sign, x_dot, alpha_dot)
        return None if out is None else FusedTangent(lanes, out, frozenset(handled))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        s, xp = self.sources, self.kernels.xp
        alpha = s.alpha[:, None]
        out = xp.zeros(s.shape)
        others = Neighbours(s) if tangents.keys() & {"x", "alpha"} else None
        if others is not None and "x" in tangents:
            x_dot = s.tangent(self.sign * tangents["x"])
            out = 0.5 * others.difference(s.base, x_dot, x_dot) / alpha
        if others is not None and "alpha" in tangents:
            out = out - 0.5 * others.moment(s.base) / alpha * tangents["alpha"][:, None]
        if "weights" in tangents:
            out = out + self.at.cdf_sum(tangents["weights"])
        return s.from_order(xp.where(self.at.nan, xp.nan, out))

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return all cotangents."""
        kernels, s = self.kernels, self.sources
        lanes = moderate(kernels, [bar]) & s.fused_lanes
        if not lanes.any():
            return None
        bars: dict[str, Array]
        if self.total is None:
            pair = kernels.ranks_vjp(s.lanes, self.sign, bar)
            bars = {} if pair is None else dict(zip(("x", "alpha"), pair, strict=True))
        else:
            three = kernels.weighted_ranks_vjp(s.lanes, self.sign, bar)
            names = "x", "alpha", "weights"
            bars = {} if three is None else dict(zip(names, three, strict=True))
        return FusedCotangents(lanes, bars) if bars else None

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        s, others = self.sources, Neighbours(self.sources)
        bar = self.kernels.xp.where(self.at.nan, 0.0, s.to_order(bar))
        bars: dict[str, Array] = {}
        if "x" in wrt:
            if s.weights is None:
                # The Jacobian is symmetric, and in differences nothing cancels.
                x_bar = others.difference(s.base, bar, bar)
            else:
                x_bar = bar * others.sum(s.base) - s.weigh(others.transpose(bar))
            bars["x"] = s.cotangent(0.5 * self.sign * x_bar / s.alpha[:, None])
        if "alpha" in wrt:
            bars["alpha"] = -0.5 * sum_in_lane(bar * others.moment(s.base)) / s.alpha
        if "weights" in wrt:
            bars["weights"] = self.at.cdf_transpose(bar)
        return bars
