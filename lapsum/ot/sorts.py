"""Sinkhorn sorts."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Floats
from .._core.call import evaluate, operator, rule_of
from .._core.rule import Tangents
from .._core.shapes import Shape, with_length
from .rule import SinkhornRule


@operator
def sinkhorn_sort(
    x: ArrayLike,
    epsilon: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    target_weights: ArrayLike | None = None,
    squash: str | None = "logistic",
    axis: int | None = -1,
    descending: bool = False,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Sinkhorn sort: the mean of the entries that are transported to each target.

    As epsilon tends to zero, for as many targets of equal weight as entries, this is
    ``np.sort(x)``.  As means of entries, the results stay within the range of the data.

    Parameters
    ----------
    x : array_like
        The entries to sort.
    epsilon : array_like
        Positive strength of the entropy, as in `sinkhorn_rank`.
    weights : array_like, optional
        Non-negative weights of the entries, of the shape of `x` or 1-D along `axis`.
    targets : array_like, optional
        Ascending points, as in `sinkhorn_rank`.
    target_weights : array_like, optional
        Non-negative weights of the targets; equal by default.
    squash : {"logistic", None}, optional
        How the entries are squashed before they are transported, as in `sinkhorn_rank`.  Their
        means are taken of `x` itself.
    axis : int or None, optional
        Axis along which to sort; None for all of the raveled array, and a flat result.
    descending : bool, optional
        Whether the largest comes first: the result is reversed.
    workers : int, optional
        Number of threads, which share the lanes: one by default; negative numbers count from the
        CPUs, and 0 is a ValueError.

    Returns
    -------
    ndarray
        One value for each target, along `axis`, in the units and the float dtype of `x`.

    Raises
    ------
    ValueError
        As `sinkhorn_rank`.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.
    RuntimeError, MemoryError
        As `sinkhorn_rank`.

    See Also
    --------
    sinkhorn_quantile : Few targets.
    sinkhorn_permute : The same of other values.
    lapsum.soft_sort : Sorting by Laplace CDFs, in :math:`O(n \log n)`.

    Notes
    -----
    With the plan P and the shares b as in `sinkhorn_rank` the results are

    .. math:: S_j = \frac{1}{b_j} \sum_i P_{ij} x_i .

    Solution, cost, the bound of the work and derivatives are those of `sinkhorn_rank`; values are
    within some 32 units of rounding of the largest entry.  For derivatives,
    :math:`\dot S_j = \sum_i (P_{ij}/b_j)^{\textstyle\cdot} x_i + \sum_i (P_{ij}/b_j) \dot x_i`.  A
    target of zero weight influences nothing, and gets the limit of a small weight.  A NaN of
    non-zero weight makes its lane NaN, and so do weights that are all zero.  Infinite
    entries are the limit of large ones, so that every target with a share of them is infinite.

    References
    ----------
    .. [1] M. Cuturi, O. Teboul, J.-P. Vert, "Differentiable Ranks and Sorting using Optimal
       Transport", NeurIPS 2019.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.sinkhorn_sort([30.0, 10.0, 20.0], 1e-3).round(3)
    array([10., 20., 30.])
    >>> lapsum.ot.sinkhorn_sort([30.0, 10.0, 20.0], 0.1).round(3)
    array([11.903, 20.   , 28.097])

    .. plot::
       :alt: Sinkhorn sort of five entries against epsilon, the sorted entries at the left

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = [3.0, 1.0, 0.0, 1.4, 4.0]
       epsilon = np.geomspace(1e-4, 10, 60)
       plt.semilogx(epsilon, lapsum.ot.sinkhorn_sort(np.broadcast_to(x, (60, 5)), epsilon))
       plt.xlabel("epsilon")
       plt.ylabel("value")
       plt.legend([f"position {i}" for i in range(1, 6)])
       plt.show()
    """
    return evaluate(
        SinkhornSort,
        x,
        epsilon,
        weights=weights,
        targets=targets,
        target_weights=target_weights,
        squash=squash,
        axis=axis,
        descending=descending,
        workers=workers,
    )


@rule_of(sinkhorn_sort)
class SinkhornSort(SinkhornRule):
    """The rule of `sinkhorn_sort`."""

    at_entries = False

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result: the targets' along the axis."""
        x = shapes["x"]
        targets = shapes.get("targets", shapes.get("target_weights", x))
        if axes is None:
            return (prod(targets),)
        (axis,) = axes
        return with_length(x, axis, targets[-1 if len(targets) == 1 else axis])

    def carried(self) -> Floats:
        """Return the entries."""
        return self.x

    def carried_push(self, tangents: Tangents, b_dot: Floats | None) -> Floats | None:
        """Return the tangent of the entries."""
        return np.where(np.isfinite(self.x), tangents["x"], 0.0) if "x" in tangents else None

    def carried_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats | None:
        """Add the cotangent of the entries."""
        bars["x"] = np.where(np.isfinite(self.x) & ~self.absent, bar, 0.0)
        return None
