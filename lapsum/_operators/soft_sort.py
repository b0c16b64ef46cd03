"""Soft sorting."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Floats, all_in_lane, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag
from .._core.fused import FusedCotangents, moderate
from .._core.rule import Rule, Tangents
from .._laplace.sources import Sources
from .._laplace.state import OrderedEntriesRule
from .._laplace.thresholds import Thresholds, thresholds_at_steps

FIRST_LEVEL = 0.5  # of the positions' levels, which are one apart


@operator
def soft_sort(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int | None = -1,
    descending: bool = False,
    density: Any = "laplace",
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Soft sorting: the entries in ascending or descending order.

    Each result is a smooth function of all entries near it.  As alpha tends to zero this is
    ``np.sort(x)``.  A large alpha spreads the results beyond the range of the data; averages of
    the entries, which stay within it, are ``soft_permute(x, x, alpha)``.

    Parameters
    ----------
    x : array_like
        The entries to sort.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    axis : int or None, optional
        Axis along which to sort; None for all of the raveled array, and a flat result.
    descending : bool, optional
        Whether the largest value comes first.
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
        Values in order, of the shape and float dtype of `x`.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, or its shape does not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    soft_rank : The inverse view: the rank of each value.
    soft_permute : Order one thing by another.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  The results are the values at which the sum of the CDFs
    reaches the half-integers,

    .. math:: & y_i = S^{-1}(i - \tfrac12), \quad i = 1, \dots, n, \\
       & S(b) = \sum_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) .

    With the softmax weights :math:`q_{ij}` of :math:`-|y_i - x_j|/\alpha` over j the derivative is

    .. math:: \dot y_i = \sum_j q_{ij} \dot x_j
       + \frac{y_i - \sum_j q_{ij} x_j}{\alpha}\dot\alpha .

    The values take one sort, and products with the Jacobian :math:`O(n)`.  With another density f
    :math:`q_{ij}` is proportional to :math:`f((y_i - x_j)/\alpha)`, and both take a few sums as in
    `soft_rank`.  The error is a few units in the last place of :math:`|y_i| + \alpha`, and the
    results are in order to the last digit.

    A NaN makes its lane NaN.  Entries of +inf (-inf when descending) come last and change nothing
    else, so they serve as padding.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.2.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_sort([30.0, 10.0, 20.0], 1.0).round(3)
    array([10., 20., 30.])
    >>> lapsum.soft_sort([30.0, 10.0, 20.0], 20.0, descending=True).round(3)
    array([43.605, 20.   , -3.605])

    Thirty incomes in order, hard and soft.  The ends move out as alpha grows.

    .. plot::
       :alt: Thirty sorted values for three scales; the ends spread with alpha

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       incomes = np.random.default_rng(0).lognormal(0.5, 0.6, 30)
       place = np.arange(1, 31)
       for alpha in (0.01, 0.3, 1.0):
           plt.plot(place, lapsum.soft_sort(incomes, alpha), ".-", label=f"alpha = {alpha:g}")
       plt.xlabel("position")
       plt.ylabel("income")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SoftSort,
        x,
        alpha,
        axis=axis,
        descending=descending,
        density=density,
        workers=workers,
        out=out,
    )


@rule_of(soft_sort)
class SoftSort(OrderedEntriesRule):
    """The rule of `soft_sort`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.sorts import GeneralSort

        return GeneralSort

    operator = "sorts"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis)
        self.descending = check_flag("descending", descending)
        self.sign = -1.0 if self.descending else 1.0

    def value(self, out: Array | None = None) -> Array:
        """Return the sorted values, which need no order of the entries."""
        return self._values(Sources.without_order(self.kernels, **self.lanes))

    def linearize(self) -> Array:
        """Return the same, and keep the sorted sources."""
        self.keep_sources()
        return self._values(self.sources)

    def keep_sources(self) -> None:
        """Sort the entries and keep them."""
        x, alpha = self.lanes["x"], self.kernels.own(self.lanes["alpha"])
        self.sources = Sources(self.kernels, x, alpha, known=self.known_order)
        self.lanes = {}
        self.nan_lanes = self.sources.nan_lanes

    def _values(self, sources: Sources) -> Array:
        kernels = self.kernels
        y = kernels.sorted_values(sources.lanes, FIRST_LEVEL, self.n, self.dtype)
        return kernels.xp.ascontiguousarray(y[:, ::-1]) if self.descending else y

    def _reverse_if_descending(self, lanes: Floats) -> Floats:
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds with what derivatives need."""
        return thresholds_at_steps(self.sources, FIRST_LEVEL, self.n, full=True)

    def dense_in_x(self) -> Array | None:
        """Return the Jacobian of lanes whose entries are finite: the softmax weights q_ij.

        They are q of the neighbour of b_i on the same side, times e^{-distance from it/alpha}.
        """
        s, xp = self.sources, self.kernels.xp
        if not moderate(self.kernels, [s.x]).all():
            return None
        (left, right), (q_left, q_right) = self.solved.nodes()[:, :, :, None], self.solved.softmax
        z = s.from_order(s.x)[:, None, :]
        below = z <= left
        out = xp.where(below, z - left, right - z)
        out /= s.alpha[:, None, None]
        out = xp.exp(out)
        out *= xp.where(below, q_left[:, :, None], q_right[:, :, None])
        return out[:, ::-1] if self.descending else out

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        out = self.kernels.xp.zeros(self.sources.shape)
        if "x" in tangents:
            out = out + self.solved.average(self.sources.tangent(tangents["x"]))
        if "alpha" in tangents:
            out = out + self.solved.by_alpha() * tangents["alpha"][:, None]
        return self._reverse_if_descending(out)

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return the cotangents of x and alpha in lanes whose cotangent is finite."""
        bar = self._reverse_if_descending(bar)
        bars = self.kernels.sorted_vjp(self.sources.lanes, FIRST_LEVEL, bar)
        if bars is None:
            return None
        x_bar, alpha_bar = bars
        lanes = all_in_lane(self.kernels.xp.isfinite(bar))
        return FusedCotangents(lanes, {"x": x_bar, "alpha": alpha_bar})

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bar, bars = self._reverse_if_descending(bar), {}
        if "x" in wrt:
            bars["x"] = self.sources.cotangent(self.solved.average_transpose(bar))
        if "alpha" in wrt:
            bars["alpha"] = sum_in_lane(bar * self.solved.by_alpha())
        return bars
