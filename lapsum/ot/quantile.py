"""Sinkhorn quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.protocol import Kernels
from .._backends.types import Array, Floats, sum_in_lane
from .._core.arguments import host_arguments
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag, check_q
from .._core.layout import (
    AlongAxis,
    Layout,
    Reduced,
    WholeInEveryLane,
    lanes_along,
    pack_all,
    scalar_layout,
    weights_layout,
)
from .._core.rule import Rule, Tangents
from .._core.shapes import Shape, batch_without, normalize_axes, reduced_shape
from .sorts import SinkhornSort


@operator
def sinkhorn_quantile(
    x: ArrayLike,
    q: ArrayLike,
    epsilon: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    squash: str | None = "logistic",
    axis: int | tuple[int, ...] | None = -1,
    keepdims: bool = False,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Sinkhorn quantiles: the values below which given fractions of the sample lie.

    The sample is transported to three targets, of which the middle one lies at the level.  The
    quantile is the mean of what arrives there.  As epsilon tends to zero this is
    ``np.quantile(x, q, method="hazen")``.

    Parameters
    ----------
    x : array_like
        The sample.
    q : array_like
        Levels strictly between 0 and 1, of any shape, the same for every lane.
    epsilon : array_like
        Positive strength of the entropy, in units of the squared distance of the outer targets;
        must broadcast to the batch shape (the axes but `axis`).
    weights : array_like, optional
        Non-negative weights of the entries, of the shape of `x` or 1-D along `axis`.
    squash : {"logistic", None}, optional
        How the entries are squashed before they are transported, as in `sinkhorn_rank`.
    axis : int, tuple of int or None, optional
        Axis or axes along which the quantiles are taken; None for all of them.
    keepdims : bool, optional
        Whether the axes stay in the result, with length 1.
    workers : int, optional
        Number of threads, which share the lanes: one by default; negative numbers count from the
        CPUs, and 0 is a ValueError.

    Returns
    -------
    ndarray or scalar
        Of the shape of `q` and then the batch shape; float dtype of `x`.

    Raises
    ------
    ValueError
        If q does not lie strictly between 0 and 1; else as `sinkhorn_rank`.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.
    RuntimeError, MemoryError
        As `sinkhorn_rank`.

    See Also
    --------
    sinkhorn_sort : Any targets.
    lapsum.soft_quantile : Quantiles by Laplace CDFs, in :math:`O(n)`.

    Notes
    -----
    With the plan P as in `sinkhorn_rank`, one for each level, the result is

    .. math:: & S_2 = \frac{1}{b_2} \sum_i P_{i2} x_i, \qquad y = \Bigl(0, \frac12, 1\Bigr), \\
       & b = \Bigl(q - \frac{w}{2},\ w,\ 1 - q - \frac{w}{2}\Bigr), \qquad
         w = \min\Bigl(\frac1n, 2 q, 2 (1 - q)\Bigr) .

    No level depends on the others, and each takes :math:`O(n)` after a sort.  Errors and the bound
    of the work are those of `sinkhorn_sort`.  The derivative in q is the one in the shares of the
    targets; where two branches of w meet, it is that of the wide target.  Entries of zero weight
    are counted in n.

    References
    ----------
    .. [1] M. Cuturi, O. Teboul, J.-P. Vert, "Differentiable Ranks and Sorting using Optimal
       Transport", NeurIPS 2019.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.sinkhorn_quantile([1.0, 2.0, 4.0, 8.0, 16.0], 0.5, 1e-3).round(3)
    np.float64(4.0)
    >>> lapsum.ot.sinkhorn_quantile([1.0, 2.0, 4.0, 8.0, 16.0], [0.3, 0.5], 0.1).round(3)
    array([2.748, 4.076])

    .. plot::
       :alt: Sinkhorn quantiles of twenty values against the level, hard and for two epsilon

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = np.random.default_rng(0).normal(size=20)
       q = np.linspace(0.02, 0.98, 60)
       hard = np.quantile(x, q, method="hazen")
       plt.plot(q, hard, color="0.8", linewidth=6, label="np.quantile, hazen")
       for epsilon in (0.003, 0.1):
           soft = lapsum.ot.sinkhorn_quantile(x, q, epsilon)
           plt.plot(q, soft, label=f"epsilon = {epsilon:g}")
       plt.xlabel("level q")
       plt.ylabel("quantile")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SinkhornQuantile,
        x,
        q,
        epsilon,
        weights=weights,
        squash=squash,
        axis=axis,
        keepdims=keepdims,
        workers=workers,
    )


@rule_of(sinkhorn_quantile)
class SinkhornQuantile(Rule):
    """The rule of `sinkhorn_quantile`: a sort of every lane for every level."""

    several_axes = True
    in_every_lane: tuple[str, ...] = ("q",)
    keeps_value = True

    @classmethod
    def result_shape(
        cls,
        shapes: Mapping[str, Shape],
        axes: Shape | None,
        keepdims: bool = False,
        **options: Any,
    ) -> Shape:
        """Return the shape of the result."""
        return *shapes["q"], *reduced_shape(shapes["x"], axes, keepdims)

    def __init__(
        self,
        workers: int | None,
        x: Any,
        q: Any,
        epsilon: Any,
        *,
        weights: Any = None,
        squash: Any = "logistic",
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
    ) -> None:
        given = {} if weights is None else {"weights": weights}
        values = {"x": x, "q": q, "epsilon": epsilon, **given}
        self.kernels, arrays, self.dtypes = kernels, arrays, _ = host_arguments(
            "lapsum.ot", workers, values
        )
        shape = arrays["x"].shape
        self.dtype = self.dtypes["x"]
        axes = normalize_axes(axis, shape, several=True)
        self.batch = batch = batch_without(shape, axes)
        entries = lanes_along(shape, axes, batch)
        self.n = entries.size
        self.layouts = {
            "x": entries,
            "q": WholeInEveryLane(arrays["q"].shape, batch),
            "epsilon": scalar_layout("epsilon", arrays["epsilon"].shape, batch),
        }
        if weights is not None:
            self.layouts["weights"] = weights_layout(
                arrays["weights"].shape, shape, axes, batch, "x"
            )
        check_q(arrays["q"], "sinkhorn_sort(x, epsilon)")
        self.result = LevelsFirst(arrays["q"].shape, entries, axes, keepdims)
        self.lanes = pack_all(kernels, self.layouts, arrays, entries=())
        self.levels = prod(arrays["q"].shape)
        self.q = np.ascontiguousarray(np.broadcast_to(arrays["q"].reshape(-1, 1), self.shape))
        of_levels = {
            name: self._for_every_level(self.lanes[name]) for name in values if name != "q"
        }
        self.sort = SinkhornSort(
            workers,
            of_levels["x"],
            of_levels["epsilon"],
            weights=of_levels.get("weights"),
            target_weights=self._shares(),
            squash=squash,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """How many levels there are, and how many lanes."""
        return self.levels, prod(self.batch)

    def _for_every_level(self, lanes: Floats) -> Floats:
        every = np.broadcast_to(lanes, (self.levels, *lanes.shape))
        count = self.levels * len(lanes)
        flat: Floats = np.ascontiguousarray(every).reshape(count, *lanes.shape[1:])
        return flat

    def _shares(self) -> Floats:
        """Return the weights of the three targets."""
        q = self.q.reshape(-1)
        width = np.minimum(1.0 / max(self.n, 1), 2.0 * np.minimum(q, 1.0 - q))
        shares = np.stack([q - 0.5 * width, width, (1.0 - q) - 0.5 * width], axis=-1)
        shares_of_targets: Floats = np.maximum(shares, 0.0)
        return shares_of_targets

    @cached_property
    def shares_by_q(self) -> Floats:
        """Their derivatives in the level."""
        q = self.q.reshape(-1)
        whole = 1.0 / max(self.n, 1) <= 2.0 * np.minimum(q, 1.0 - q)
        width = np.where(whole, 0.0, np.where(q < 0.5, 2.0, -2.0))
        return np.stack([1.0 - 0.5 * width, width, -1.0 - 0.5 * width], axis=-1)

    def value(self, out: Array | None = None) -> Array:
        """Return the quantiles."""
        quantiles: Array = self.sort.value()[:, 1]
        return quantiles.reshape(self.shape)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the quantiles."""
        dots = {name: self._for_every_level(dot) for name, dot in tangents.items() if name != "q"}
        if "q" in tangents:
            q_dot = np.ascontiguousarray(tangents["q"].T).reshape(-1, 1)
            dots["target_weights"] = q_dot * self.shares_by_q
        tangent: Array = self.sort.jvp(dots)[:, 1]
        return tangent.reshape(self.shape)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters."""
        bar_of_sort = np.zeros((bar.size, 3))
        bar_of_sort[:, 1] = bar.reshape(-1)
        names = (wrt - {"q"}) | {"target_weights"}
        found = self.sort.vjp(bar_of_sort, names)
        shares_bar = found.pop("target_weights")
        bars = {
            name: lanes.reshape(*self.shape, *lanes.shape[1:]).sum(axis=0)
            for name, lanes in found.items()
        }
        bars["q"] = sum_in_lane(shares_bar * self.shares_by_q).reshape(self.shape).T
        return bars


class LevelsFirst(Layout):
    """One number for each level and lane, whose axis may be kept with length 1."""

    def __init__(self, levels: Shape, entries: AlongAxis, axes: Shape, keepdims: bool) -> None:
        of_batch = Reduced(entries, axes, check_flag("keepdims", keepdims))
        super().__init__((*levels, *of_batch.shape), entries.batch)
        self.levels = prod(levels)

    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64, (levels, lanes)."""
        return kernels.contiguous(array).reshape(self.levels, prod(self.batch))

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Undo `pack`."""
        return lanes.reshape(self.shape)
