"""SOFT top-k with its order, by optimal transport to k + 1 targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.protocol import Kernels
from .._backends.transport import Transport
from .._backends.types import Array, DType, Flags, Floats, sum_in_lane
from .._core.arguments import worker_count
from .._core.call import evaluate, operator, rule_of
from .._core.layout import Layout, with_nan
from .._core.rule import Tangents
from .._core.shapes import Shape, batch_without
from .sinkhorn import Coupling
from .squash import FAR
from .topk import Selection


@operator
def soft_topk_sorted(
    x: ArrayLike,
    k: int,
    epsilon: ArrayLike,
    *,
    normalize: bool = False,
    axis: int | None = -1,
    largest: bool = True,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""SOFT top-k with its order: to what extent each entry is the l-th largest, for l from 1 to k.

    Each row adds up to one.  As epsilon tends to zero, row l is 1 for the l-th largest entry and 0
    for the others.

    Parameters
    ----------
    x : array_like
        The entries to select from, in the units of the targets.
    k : int
        How many, from 0 to n.
    epsilon : array_like
        Positive strength of the entropy; must broadcast to the batch shape (the axes but `axis`).
    normalize : bool, optional
        Whether costs are divided by the largest of their lane, as in the authors' code; derivatives
        take it as constant.
    axis : int or None, optional
        Axis along which to select; None for all of the raveled array.
    largest : bool, optional
        Whether the largest are selected, or the smallest, of which row l then indicates the l-th.
    workers : int, optional
        Number of threads, which share the lanes: one by default; negative numbers count from the
        CPUs, and 0 is a ValueError.

    Returns
    -------
    ndarray
        Of the batch shape and then (k, n), row = position; float dtype of `x`.  Each row adds up to
        one, and each column to at most one.

    Raises
    ------
    ValueError
        If `k` is not from 0 to n, `epsilon` is not positive and finite, or shapes do not fit.
    TypeError
        If `k` is not an integer, or an argument is not made of real numbers of at most 64 bits.
    RuntimeError, MemoryError
        As `sinkhorn_rank`.

    See Also
    --------
    soft_topk : The selection without its order.
    sinkhorn_permute : Products with such a matrix, without it.

    Notes
    -----
    Entries of weight :math:`1/n` are transported to the targets 0, of weight :math:`1 - k/n`, and
    1 to k, of weight :math:`1/n` each:

    .. math:: & p_{li} = n P_{i,k+1-l}, \\
       & P = \operatorname*{argmin}_{P 1 = a,\ P^T 1 = b}
         \sum_{ij} P_{ij} (x_i - y_j)^2 + \varepsilon \sum_{ij} P_{ij} \log P_{ij} .

    The plan is found as for `sinkhorn_rank`, within the bounds given there.  An evaluation of it is
    :math:`O(n k)`, and a step :math:`O(k^3)` at most.  With q the
    derivative of minus the cost over epsilon and h the solution of the equations given there,

    .. math:: \dot p_{li} = p_{li} (h_l + q_{il} - \text{the mean of these over entry } i) .

    A NaN makes its lane NaN; infinite entries are the limit of large ones.

    References
    ----------
    .. [1] Yujia Xie et al., "Differentiable Top-k with Optimal Transport", NeurIPS 2020.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.soft_topk_sorted([3.0, 1.0, 2.0], 2, 0.5).round(3)
    array([[0.887, 0.   , 0.112],
           [0.112, 0.112, 0.775]])

    .. plot::
       :alt: Matrices of the three largest of eight entries for two epsilon

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = np.array([2.6, 0.5, 4.4, 1.0, 5.0, 3.0, 1.3, 3.7])
       figure, panels = plt.subplots(2, 1, sharex=True, figsize=(5, 4))
       for axes, epsilon in zip(panels, (0.01, 1.0)):
           rows = lapsum.ot.soft_topk_sorted(x, 3, epsilon)
           axes.imshow(rows, vmin=0, vmax=1, cmap="Blues")
           axes.set(title=f"epsilon = {epsilon:g}", ylabel="l")
           axes.set_yticks(range(3), [1, 2, 3])
           axes.grid(False)
       panels[1].set_xlabel("entry")
       plt.show()
    """
    return evaluate(
        SoftTopkSorted,
        x,
        k,
        epsilon,
        normalize=normalize,
        axis=axis,
        largest=largest,
        workers=workers,
    )


class Matrices(Layout):
    """Lanes that are matrices."""

    def __init__(self, batch: Shape, shape: Shape) -> None:
        super().__init__((*batch, *shape), batch)

    def pack(self, kernels: Kernels, array: Array) -> Floats:
        """Return `array` as float64, a matrix a lane."""
        return kernels.contiguous(array).reshape(prod(self.batch), *self.shape[-2:])

    def unpack(self, kernels: Kernels, lanes: Array) -> Array:
        """Undo `pack`."""
        return lanes.reshape(self.shape)


@rule_of(soft_topk_sorted)
class SoftTopkSorted(Selection):
    """The rule of `soft_topk_sorted`."""

    not_arrays = ("k",)

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result."""
        x = shapes["x"]
        axes = tuple(range(-len(x), 0)) if axes is None else axes
        return *batch_without(x, axes), options["k"], prod(x[axis] for axis in axes)

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
        super().__init__(workers, {"x": x, "epsilon": epsilon}, normalize, axis, largest)
        try:
            self.k = index(k)
        except TypeError:
            raise TypeError(f"`k` must be an integer, got {k!r}") from None
        if not 0 <= self.k <= self.n:
            raise ValueError(f"`k` must lie between 0 and {self.n}, the number of entries, got {k}")
        self.result = Matrices(self.batch, (self.k, self.n))
        self.transport = Transport(1 if workers is None else worker_count(workers))
        self.dtype: DType = self.dtypes["x"]

    @cached_property
    def coupling(self) -> Coupling:
        """The plan."""
        lanes, n, k = len(self.x), self.n, self.k
        targets, shares = np.arange(k + 1.0), np.full(k + 1, 1.0 / max(n, 1))
        shares[0] = (n - k) / max(n, 1)
        if k == n:
            targets, shares = targets[1:], shares[1:]
        epsilon = np.clip(self.lanes["epsilon"] * self.largest_cost(float(k)), 1e-300, 1e300)
        return Coupling(
            self.transport,
            np.clip(self.x, -FAR, FAR),
            np.full((lanes, n), 1.0 / max(n, 1)),
            np.tile(targets, (lanes, 1)),
            np.tile(shares, (lanes, 1)),
            epsilon,
            whole_targets=True,
        )

    @cached_property
    def matrix(self) -> Floats:
        """The plan, each row divided by its weight: (lanes, n, targets)."""
        return self.coupling.matrix()

    def _rows(self, matrix: Floats) -> Floats:
        rows = np.swapaxes(matrix, 1, 2)[:, ::-1][:, : self.k]
        return with_nan(self.kernels, self.nan_lanes, rows)

    def value(self, out: Array | None = None) -> Array:
        """Return the rows of the positions."""
        return self._rows(self.matrix)

    @property
    def moving(self) -> Flags:
        """The entries that the result has derivatives in."""
        return np.isfinite(self.x)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the rows."""
        c, matrix = self.coupling, self.matrix
        along = np.zeros(self.x.shape)
        if "x" in tangents:
            along = along + np.where(self.moving, self.sign * tangents["x"], 0.0)
        if "epsilon" in tangents:
            along = along - self._away * (tangents["epsilon"] / self.lanes["epsilon"])[:, None]
        rate = c.plan(True).rate[:, None, None]
        q = self._centred(rate * along[:, :, None] * c.targets[:, None, :])
        right = -(matrix * q).sum(axis=1) / max(self.n, 1)
        h = self._equations(right)
        return self._rows(matrix * (q + self._centred(np.broadcast_to(h[:, None], q.shape))))

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of the parameters."""
        c, matrix = self.coupling, self.matrix
        full = np.zeros_like(matrix)
        first = self.coupling.targets.shape[-1] - self.k
        full[..., first:] = np.swapaxes(bar[:, ::-1], 1, 2)
        change = matrix * self._centred(full)
        weight = self._equations(change.sum(axis=1))
        every = np.broadcast_to(weight[:, None], matrix.shape)
        change = change - matrix * self._centred(every) / max(self.n, 1)
        x_bar = c.plan(True).rate[:, None] * (change * c.targets[:, None, :]).sum(axis=-1)
        x_bar = np.where(self.moving, x_bar, 0.0)
        bars = {
            "x": self.sign * x_bar,
            "epsilon": -sum_in_lane(self.kernels.times(x_bar, self._away)) / self.lanes["epsilon"],
        }
        return {name: with_nan(self.kernels, self.nan_lanes, bars[name]) for name in wrt}

    def _centred(self, values: Floats) -> Floats:
        """Return values for entries and targets, minus their means over each entry."""
        mean: Floats = (self.matrix * values).sum(axis=-1)[:, :, None]
        size: Floats = (self.matrix * np.abs(values)).sum(axis=-1)[:, :, None]
        away = values - mean
        # What rounding may have made is nothing, since the rate may be large.
        return np.where(np.abs(away) <= 2.0**-50 * (np.abs(values) + size), 0.0, away)

    @property
    def _away(self) -> Floats:
        """Distances from an entry in the middle, 0 for infinite ones."""
        c = self.coupling
        if not self.n:
            return self.x
        middle = c.entries[:, self.n // 2, None]
        return np.where(self.moving, self.x - middle, 0.0)

    def _equations(self, right: Floats) -> Floats:
        if self.coupling.empty:
            return right
        flat = np.ascontiguousarray(right).reshape(-1)
        return self.transport.equations(self.coupling.plan(True), flat).reshape(right.shape)
