"""Ordering one thing by another, along a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Floats, any_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_flag
from .._core.layout import AlongAxes, Layout
from .._core.rule import Tangents
from .._core.shapes import Shape
from .rule import SinkhornRule
from .sorts import SinkhornSort


@operator
def sinkhorn_permute(
    x: ArrayLike,
    values: ArrayLike,
    epsilon: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    target_weights: ArrayLike | None = None,
    squash: str | None = "logistic",
    axis: int | None = -1,
    descending: bool = False,
    transpose: bool = False,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Order one array by another: means of values over the transport plan of the keys.

    As epsilon tends to zero, for as many targets of equal weight as entries, this is
    ``values[np.argsort(x)]``.  With `transpose`, each entry is given the value that belongs to its
    rank, which is quantile normalisation.

    Parameters
    ----------
    x : array_like
        The keys.
    values : array_like
        What is ordered, one for each key; transposed, one for each target.  Of the shape of `x` but
        along `axis`, or 1-D along it.
    epsilon : array_like
        Positive strength of the entropy, as in `sinkhorn_rank`.
    weights : array_like, optional
        Non-negative weights of the keys, of the shape of `x` or 1-D along `axis`.
    targets : array_like, optional
        Ascending points, as in `sinkhorn_rank`.
    target_weights : array_like, optional
        Non-negative weights of the targets; equal by default.
    squash : {"logistic", None}, optional
        How the keys are squashed before they are transported, as in `sinkhorn_rank`.
    axis : int or None, optional
        Axis along which to order; None for all of the raveled arrays, and a flat result.
    descending : bool, optional
        Whether the value of the largest key comes first: the targets are counted from the last.
    transpose : bool, optional
        Whether to take means over the targets, one for each key.
    workers : int, optional
        Number of threads, which share the lanes: one by default; negative numbers count from the
        CPUs, and 0 is a ValueError.

    Returns
    -------
    ndarray
        One value for each target, or for each key if transposed, along `axis`; float dtype of `x`
        and `values`.

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
    SinkhornPlan : Many products with one plan.
    sinkhorn_sort : The keys themselves as values.
    lapsum.soft_permute : The same with a soft permutation, in :math:`O(n \log n)`.

    Notes
    -----
    With the plan P and the shares a and b as in `sinkhorn_rank` the results are

    .. math:: y_j = \frac{1}{b_j} \sum_i P_{ij} v_i \qquad \text{or, transposed,} \qquad
       y_i = \frac{1}{a_i} \sum_j P_{ij} v_j .

    Solution, cost, the bound of the work and derivatives are those of `sinkhorn_rank`; values are
    within some 64 units of rounding of the largest one.  Tied keys count the same.  A NaN
    among the keys or the values, of non-zero weight, makes its lane NaN.  Infinite ones are the
    limit of large ones, as in `sinkhorn_sort`.

    References
    ----------
    .. [1] M. Cuturi, O. Teboul, J.-P. Vert, "Differentiable Ranks and Sorting using Optimal
       Transport", NeurIPS 2019.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.sinkhorn_permute([3.0, 1.0, 2.0], [30.0, 10.0, 20.0], 1e-3).round(3)
    array([10., 20., 30.])

    Two samples with the quantiles of a third:

    >>> samples = [[3.0, 1.0, 2.0], [40.0, 60.0, 10.0]]
    >>> reference = [0.0, 5.0, 7.0]
    >>> lapsum.ot.sinkhorn_permute(samples, reference, 1e-3, transpose=True).round(3)
    array([[7., 0., 5.],
           [5., 7., 0.]])

    Noisy measurements in the order of a key, averaged over neighbours:

    .. plot::
       :alt: Values in the order of their keys for two epsilon; the larger one is smoother

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       rng = np.random.default_rng(0)
       keys = rng.uniform(0, 6, 80)
       values = np.sin(keys) + 0.3 * rng.normal(size=80)
       for epsilon, style in ((1e-6, "."), (0.003, "-")):
           ordered = lapsum.ot.sinkhorn_permute(keys, values, epsilon)
           plt.plot(np.arange(1, 81), ordered, style, label=f"epsilon = {epsilon:g}")
       plt.xlabel("position")
       plt.ylabel("value")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SinkhornPermute,
        x,
        values,
        epsilon,
        weights=weights,
        targets=targets,
        target_weights=target_weights,
        squash=squash,
        axis=axis,
        descending=descending,
        transpose=transpose,
        workers=workers,
    )


@rule_of(sinkhorn_permute)
class SinkhornPermute(SinkhornRule):
    """The rule of `sinkhorn_permute`."""

    along_axis = ("x", "values")

    @classmethod
    def reference(cls, shapes: Mapping[str, Shape]) -> Shape:
        """Return the shape whose axes `axis` counts."""
        return shapes["x"]

    @classmethod
    def result_shape(cls, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any) -> Shape:
        """Return the shape of the result."""
        if options.get("transpose"):
            return shapes["x"]
        return SinkhornSort.result_shape(shapes, axes)

    def __init__(
        self,
        workers: int | None,
        x: Any,
        values: Any,
        epsilon: Any,
        *,
        weights: Any = None,
        targets: Any = None,
        target_weights: Any = None,
        squash: Any = "logistic",
        axis: int | None = -1,
        descending: bool = False,
        transpose: bool = False,
    ) -> None:
        self.at_entries = check_flag("transpose", transpose)
        super().__init__(
            workers,
            x,
            epsilon,
            weights=weights,
            targets=targets,
            target_weights=target_weights,
            squash=squash,
            axis=axis,
            descending=descending,
            more={"values": values},
        )
        nan = any_in_lane(np.isnan(self._values))
        if nan.any():
            self.nan_lanes = nan if self.nan_lanes is None else self.nan_lanes | nan

    def _layouts(self, arrays: dict[str, Array]) -> dict[str, Layout]:
        layouts = super()._layouts(arrays)
        shape, entries = arrays["values"].shape, arrays["x"].shape
        if len(self.axes) == 1 or len(shape) == 1:
            values = self._beside("values", shape, entries)
        else:
            values = AlongAxes(shape, tuple(range(-len(shape), 0)), ())
        if self.at_entries and not self.targets_given:
            self.m = values.size
        length = self.m if self.at_entries else self.n
        if values.size != length:
            raise ValueError(
                f"`values` of shape {shape} must have length {length} along the axis, got "
                f"{values.size}"
            )
        layouts["values"] = values
        return layouts

    @property
    def _values(self) -> Floats:
        """The values; those of absent keys that are not finite as zeros."""
        values: Floats = self.lanes["values"]
        weights = self.lanes.get("target_weights" if self.at_entries else "weights")
        if weights is None:
            return values
        return np.where((weights == 0.0) & ~np.isfinite(values), 0.0, values)

    def carried(self) -> Floats:
        """Return the values."""
        values = self._values
        values = np.where(np.isnan(values), 0.0, values)
        return values[:, ::-1] if self.at_entries and self.descending else values

    def carried_push(self, tangents: Tangents, b_dot: Floats | None) -> Floats | None:
        """Return the tangent of the values."""
        if "values" not in tangents:
            return None
        dot = np.where(np.isfinite(self.lanes["values"]), tangents["values"], 0.0)
        return dot[:, ::-1] if self.at_entries and self.descending else dot

    def carried_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats | None:
        """Add the cotangent of the values."""
        bar = bar[:, ::-1] if self.at_entries and self.descending else bar
        bars["values"] = np.where(np.isfinite(self.lanes["values"]), bar, 0.0)
        return None
