"""Soft sorting."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._core.checks import Running, check_flag
from .._core.rule import LaneRule, evaluate, rule_of
from .._laplace.sources import Sources
from .._laplace.targets import Thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Array = Any


def soft_sort(
    x: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int = -1,
    descending: bool = False,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    r"""Soft sorting: the inverse Lap-Sum at the half-integer levels.

    .. math:: & y_i = S^{-1}(i - \tfrac12), \quad i = 1, \dots, n, \\
       & S(b) = \sum_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr)

    As alpha tends to zero this is ``np.sort(x)``.

    Parameters
    ----------
    x : array_like
        The entries to sort.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    axis : int, optional
        Axis along which to sort.
    descending : bool, optional
        Whether the largest value comes first.
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
    With the softmax weights :math:`q_{ij}` of :math:`-|y_i - x_j|/\alpha` over j,

    .. math:: \dot y_i = \sum_j q_{ij} \dot x_j
       + \frac{y_i - \sum_j q_{ij} x_j}{\alpha}\dot\alpha .

    One sort; products with the Jacobian are O(n).  The error is a few units in the last place of
    :math:`|y_i| + \alpha`, and the result is sorted to the last digit.  A NaN makes its lane NaN;
    entries padded with +inf (-inf when descending) come last and change nothing else.

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
    """
    return evaluate(_SoftSort, x, alpha, axis=axis, descending=descending, workers=workers, out=out)


@rule_of(soft_sort)
class _SoftSort(LaneRule):
    single = True
    spoils = False

    def __init__(
        self, running: Running, x: Any, alpha: Any, *, axis: int = -1, descending: bool = False
    ) -> None:
        running = running._replace(spare=("x",))
        super().__init__(running, {"x": x, "alpha": alpha}, axis=axis)
        self.descending = check_flag("descending", descending)
        # Values need no order, only derivatives do.
        self.sources = Sources(self.kernels, **self.lanes, ordered=running.keep)
        self.spoil(self.sources.invalid)
        self.forget("x")
        del self.sources.entries

    @cached_property
    def solved(self) -> Thresholds:
        """The thresholds with what derivatives need."""
        return self.sources.solve_steps(0.5, self.sources.shape[1], True)

    def turn(self, lanes: Array) -> Array:
        """Reverse the positions of a descending sort."""
        return self.kernels.contiguous(lanes[:, ::-1]) if self.descending else lanes

    def value(self) -> Array:
        y = self.sources.sorted_values(0.5, self.sources.shape[1], self.dtype)
        return self.kernels.xp.ascontiguousarray(y[:, ::-1]) if self.descending else y

    def jvp(self, x_dot: Array | None, alpha_dot: Array | None) -> Array:
        y = self.solved
        out = self.kernels.xp.zeros(self.sources.shape)
        if x_dot is not None:
            out = out + y.average(self.sources.tangent(x_dot))
        if alpha_dot is not None:
            out = out + y.slope() * alpha_dot[:, None]
        return self.turn(self.sources.spoil(out))

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, bar = self.sources, self.turn(bar)
        quick = self.kernels.xp.isfinite(bar).all(axis=-1)
        x_bar, alpha_bar = self.kernels.pull_sorted(
            s.x, s.gap, s.order, s.count, (s.left, s.right), 0.5, bar
        )
        pulled = {"x": x_bar, "alpha": alpha_bar}
        if quick.all():
            return pulled
        y = self.solved
        bars = {}
        if "x" in wrt:
            bars["x"] = self.sources.cotangent(y.average_transpose(bar))
        if "alpha" in wrt:
            bars["alpha"] = (bar * y.slope()).sum(axis=-1)
        return self.blend(quick, pulled, bars)
