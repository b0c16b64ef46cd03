"""SOFT top-k: transport to two targets, or to one for each of the k positions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Flags, Floats, any_in_lane
from .._core.arguments import host_arguments
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_alpha, check_flag, check_k
from .._core.layout import AlongAxis, lanes_along, pack_all, scalar_layout, with_nan
from .._core.rule import Rule, Tangents
from .._core.shapes import batch_without, normalize_axes
from .logistic import LogisticLanes


@operator
def soft_topk(
    x: ArrayLike,
    k: ArrayLike,
    epsilon: ArrayLike,
    *,
    normalize: bool = False,
    axis: int | None = -1,
    largest: bool = True,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""SOFT top-k: the share of each entry that is transported to the upper one of two targets.

    The shares lie between 0 and 1 and add up to `k`.  As epsilon tends to zero they are 1 for the k
    largest entries and 0 for the others.

    Parameters
    ----------
    x : array_like
        The entries to select from.
    k : array_like
        How many, a real number in [0, n]; must broadcast to the batch shape (the axes but `axis`).
    epsilon : array_like
        Positive strength of the entropy; must broadcast to the batch shape.
    normalize : bool, optional
        Whether costs are divided by the largest of their lane, as in the authors' code: alpha is
        then multiplied by it, and derivatives take it as constant.
    axis : int or None, optional
        Axis along which to select; None for all of the raveled array, and a flat result.
    largest : bool, optional
        Whether the largest are selected, or the smallest.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.

    Returns
    -------
    ndarray
        Of the shape and float dtype of `x`, between 0 and 1, with sum k.

    Raises
    ------
    ValueError
        If `k` is not in [0, n], `epsilon` is not positive and finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.
    RuntimeError
        If the threshold was not found; the text says how far it came.

    See Also
    --------
    soft_topk_sorted : The same, with the order of the k.
    lapsum.soft_topk : The same with Laplace CDFs, or with any density's.

    Notes
    -----
    Entries of weight :math:`1/n` are transported to the targets 0 and 1, of weights
    :math:`1 - k/n` and :math:`k/n`, at squared cost.  The second column of the plan, times n, is

    .. math:: p_i = \Bigl(1 + e^{(b - x_i)/\alpha}\Bigr)^{-1} \quad\text{with}\quad
       \sum_i p_i = k, \qquad \alpha = \frac{\varepsilon}{2} .

    With two targets the dual problem has one number, the threshold b: every row of the plan is
    :math:`e^{-(x_i - y)^2/\varepsilon}` times a factor of each target, and the quotient of its two
    entries depends on x by :math:`e^{2 x_i/\varepsilon}` alone.  It is found by Newton's method,
    with some five passes over the entries and at most 200.  With
    :math:`l_i = p_i (1 - p_i)/\alpha` and :math:`q = l/\sum_j l_j`,

    .. math:: \dot p_i = l_i \Bigl(\dot x_i - \sum_j q_j \dot x_j\Bigr) + q_i \dot k
       - l_i \Bigl(x_i - \sum_j q_j x_j\Bigr) \frac{\dot\varepsilon}{\varepsilon} .

    Entries are within a few units in the last place of p, times ``1 + |t|`` with t the exponent
    above.
    Tied entries get identical results.  A NaN makes its lane NaN; infinite entries are the limit of
    large ones.

    References
    ----------
    .. [1] Yujia Xie et al., "Differentiable Top-k with Optimal Transport", NeurIPS 2020.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.soft_topk([3.0, 1.0, 2.0], 1, 0.2).round(3)
    array([0.993, 0.   , 0.007])
    >>> lapsum.ot.soft_topk([3.0, 1.0, 2.0], 1, 2.0).round(3)
    array([0.549, 0.141, 0.309])

    .. plot::
       :alt: Shares of twenty scores in the top five for three epsilon

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       scores = np.sort(np.random.default_rng(0).normal(size=20))
       for epsilon in (0.01, 0.2, 1.0):
           shares = lapsum.ot.soft_topk(scores, 5, epsilon)
           plt.plot(scores, shares, "o-", label=f"epsilon = {epsilon:g}")
       plt.xlabel("score")
       plt.ylabel("share in the top 5")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SoftTopk,
        x,
        k,
        epsilon,
        normalize=normalize,
        axis=axis,
        largest=largest,
        workers=workers,
    )


class Selection(Rule):
    """What the two have in common: entries, the strength of the entropy, and the order."""

    keeps_value = True

    def __init__(
        self,
        workers: int | None,
        values: dict[str, Any],
        normalize: Any,
        axis: int | None,
        largest: Any,
    ) -> None:
        self.kernels, arrays, self.dtypes = kernels, arrays, _ = host_arguments(
            "lapsum.ot", workers, values
        )
        self.dtype = self.dtypes["x"]
        shape = arrays["x"].shape
        axes = normalize_axes(axis, shape)
        self.batch = batch = batch_without(shape, axes)
        self.entries = lanes_along(shape, axes, batch)
        self.n = self.entries.size
        self.layouts = {"x": self.entries}
        for name in arrays.keys() - {"x"}:
            self.layouts[name] = scalar_layout(name, arrays[name].shape, batch)
        self.layouts = {name: self.layouts[name] for name in values}
        check_alpha(arrays["epsilon"], "epsilon")
        self.normalize = check_flag("normalize", normalize)
        self.sign = 1.0 if check_flag("largest", largest) else -1.0
        self.lanes = pack_all(kernels, self.layouts, arrays, entries=())
        self.given = arrays

    @cached_property
    def nan_lanes(self) -> Flags | None:
        """Lanes with a NaN."""
        nan = any_in_lane(np.isnan(self.lanes["x"]))
        return nan if nan.any() else None

    @cached_property
    def x(self) -> Floats:
        """The entries in the order in which the largest come first; zeros in lanes with a NaN."""
        x = self.lanes["x"] if self.sign > 0.0 else -self.lanes["x"]
        return x if self.nan_lanes is None else np.where(self.nan_lanes[:, None], 0.0, x)

    def largest_cost(self, last: float) -> Floats:
        """Return the largest squared distance of a finite entry from targets 0 to `last`."""
        if not self.normalize:
            return np.ones(len(self.x))
        x, finite = self.x, np.isfinite(self.x)
        if not finite.all():
            x = np.where(finite, x, 0.0)
        # The ends are farthest from any target; without entries 0 is one.
        ends = x.max(axis=-1, initial=0.0 if not self.n else -np.inf), x.min(axis=-1, initial=last)
        far = np.maximum(np.abs(ends), np.abs(np.subtract(ends, last))).max(axis=0)
        cost: Floats = np.minimum(np.maximum(far, last), 1e150) ** 2
        return cost


@rule_of(soft_topk)
class SoftTopk(Selection):
    """The rule of `soft_topk`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        k: Any,
        epsilon: Any,
        *,
        normalize: bool = False,
        axis: int | None = -1,
        largest: bool = True,
    ) -> None:
        values = {"x": x, "k": k, "epsilon": epsilon}
        super().__init__(workers, values, normalize, axis, largest)
        flat = AlongAxis((self.n,), -1, ())
        self.result = self.entries if len(self.entries.shape) == len(self.batch) + 1 else flat
        levels = check_k(self.kernels, self.given, self.lanes["k"], None, self.n, self.dtypes)
        self.lanes["k"] = np.minimum(levels, self.n)

    @cached_property
    def alpha_by_epsilon(self) -> Floats:
        """Half of the largest cost, or of one."""
        return 0.5 * self.largest_cost(1.0)

    def _topk(self, keep: bool) -> LogisticLanes:
        """Return the selection of the smallest of minus the entries, with derivatives if `keep`."""
        alpha = np.clip(self.alpha_by_epsilon * self.lanes["epsilon"], 1e-300, 1e300)
        return LogisticLanes(self.kernels, self.x, self.lanes["k"], alpha, keep)

    @cached_property
    def topk(self) -> LogisticLanes:
        """The selection, kept for derivatives."""
        return self._topk(keep=True)

    def value(self, out: Array | None = None) -> Array:
        """Return the shares."""
        return with_nan(self.kernels, self.nan_lanes, self._topk(keep=False).p)

    def linearize(self) -> Array:
        """Return the shares, and keep what derivatives need."""
        self.lanes = {name: self.kernels.own(lanes) for name, lanes in self.lanes.items()}
        return with_nan(self.kernels, self.nan_lanes, self.topk.p)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the shares."""
        x_dot = self.sign * tangents["x"] if "x" in tangents else None
        alpha_dot = None
        if "epsilon" in tangents:
            alpha_dot = self.alpha_by_epsilon * tangents["epsilon"]
        out = self.topk.push(x_dot, tangents.get("k"), alpha_dot)
        return with_nan(self.kernels, self.nan_lanes, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters."""
        x_bar, k_bar, alpha_bar = self.topk.pull(bar)
        bars = {
            "x": self.sign * x_bar,
            "k": k_bar,
            "epsilon": self.alpha_by_epsilon * alpha_bar,
        }
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}
