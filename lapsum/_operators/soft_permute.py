"""Products with soft permutations, in O(n log n) and without the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Array, Flags, Floats, any_in_lane, sum_in_lane
from .._core.arguments import arguments
from .._core.call import evaluate, operator, rule_of
from .._core.checks import check_alpha, check_flag
from .._core.layout import (
    AlongAxis,
    PerLane,
    batch_of,
    joint_batch,
    key_of,
    lanes_along,
    normalize_axes,
    normalize_axis,
    pack_all,
    scalar_layout,
    with_nan,
)
from .._core.rule import Rule, Tangents
from .._laplace.product import Product, reverse_if
from .._laplace.sources import Sources


@operator
def soft_permute(
    x: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int | None = -1,
    descending: bool = False,
    transpose: bool = False,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Order one thing by another: the soft permutation of the keys, times the values.

    .. math:: & y_i = \sum_j P_{ij} v_j = G(b_i) - G(b_{i-1}), \\
       & G(b) = \sum_j v_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr)

    with P and b as in `soft_permutation`, and P never formed.  As alpha tends to zero this is
    ``np.take(values, np.argsort(x), axis)`` for 1-D keys.

    Parameters
    ----------
    x : array_like
        The keys.  A 1-D `x` lies along `axis` of `values`, and is ordered once.
    values : array_like
        What is ordered.  Both have the same length along `axis`; the other axes broadcast.
    alpha : array_like
        Positive scale, in the units of `x`; must broadcast to the batch shape (the axes but
        `axis`).
    axis : int or None, optional
        Axis along which to order, of `values` (of `x` if that has more axes); None for all of both
        raveled arrays, and a flat result.
    descending : bool, optional
        Whether the value of the largest key comes first.
    transpose : bool, optional
        Whether to take ``P.T @ values``: back from positions to entries.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.
    out : ndarray, optional
        Receives the result; of exactly its shape and dtype, else a ValueError.  May be `values`
        itself.

    Returns
    -------
    ndarray
        Ordered values; float dtype of `x` and `values`.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    SoftPermutation : Many products with one permutation.
    soft_sort : Not ``soft_permute(x, x)``, though both tend to the sorted array.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With :math:`l_{ij} = e^{-|b_i - x_j|/\alpha}/(2\alpha)` and :math:`q_{ij}` the softmax weights
    of :math:`-|b_i - x_j|/\alpha` over j,

    .. math:: \dot G_i = {} & \sum_j F\Bigl(\frac{b_i - x_j}{\alpha}\Bigr)\dot v_j \\
       & + \sum_j v_j l_{ij} \Bigl(\sum_k q_{ik} \dot x_k - \dot x_j \\
       & \qquad + \frac{x_j - \sum_k q_{ik} x_k}{\alpha}\dot\alpha\Bigr) .

    One sort; products and derivatives are O(n).  The error is a few units in the last place of
    :math:`\sum_j P_{ij} |v_j|`, times :math:`1 + \alpha/(b_i - b_{i-1})`.  A NaN among keys or
    values makes its lane NaN; keys of +inf (-inf when descending) are padding.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 3.4.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_permute([3.0, 1.0, 2.0], [30.0, 10.0, 20.0], 0.01)
    array([10., 20., 30.])
    >>> lapsum.soft_permute([3.0, 1.0, 2.0], [1.0, 0.0, 0.0], 0.5).round(3)
    array([0.023, 0.173, 0.804])

    Rows of a table by the keys of its rows:

    >>> table = [[30.0, 3.0], [10.0, 1.0], [20.0, 2.0]]
    >>> lapsum.soft_permute([3.0, 1.0, 2.0], table, 0.01, axis=0)
    array([[10.,  1.],
           [20.,  2.],
           [30.,  3.]])
    """
    return evaluate(
        SoftPermute,
        x,
        values,
        alpha,
        axis=axis,
        descending=descending,
        transpose=transpose,
        workers=workers,
        out=out,
    )


@rule_of(soft_permute)
class SoftPermute(Rule):
    """The rule of `soft_permute`."""

    def __init__(
        self,
        workers: int | None,
        x: Any,
        values: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        transpose: bool = False,
    ) -> None:
        given = {"x": x, "values": values, "alpha": alpha}
        self.kernels, arrays, self.dtypes = kernels, arrays, _ = arguments(workers, given)
        self.dtype = np.result_type(self.dtypes["x"], self.dtypes["values"])
        shapes = {name: array.shape for name, array in arrays.items()}
        axes = {name: self._axes(name, shapes, axis) for name in ("x", "values")}
        batches = {
            name: batch_of(name, shapes[name], at[0]) if axis is not None else ()
            for name, at in axes.items()
        }
        batch = joint_batch("x", batches["x"], "values", batches["values"])
        lengths = {name: prod(shapes[name][i] for i in at) for name, at in axes.items()}
        self.n = n = lengths["x"]
        if lengths["values"] != n:
            raise ValueError(
                f"`values` of shape {shapes['values']} has length {lengths['values']} along axis "
                f"{None if axis is None else axes['values'][0]}, and `x` has {n}; they must be "
                "equal"
            )
        scalar_layout(kernels, "alpha", arrays["alpha"], batch)
        # Keys are ordered once for every alpha they meet, not for every lane of values.
        keys = np.broadcast_shapes(batches["x"], shapes["alpha"])
        self.layouts = {
            "x": lanes_along(kernels, shapes["x"], axes["x"], keys),
            "values": lanes_along(kernels, shapes["values"], axes["values"], batch),
            "alpha": PerLane(kernels, shapes["alpha"], keys),
        }
        check_alpha(arrays["alpha"])
        end = -1 if axis is None else min(axes["x"][0], axes["values"][0])
        at = len(batch) + 1 + end
        self.result = AlongAxis(kernels, (*batch[:at], n, *batch[at:]), end, batch)
        self.key = key_of(kernels, keys, batch)
        self.descending = check_flag("descending", descending)
        self.transpose = check_flag("transpose", transpose)
        self.lanes = pack_all(kernels, self.layouts, arrays, entries=("x",))

    @staticmethod
    def _axes(name: str, shapes: Mapping[str, tuple[int, ...]], axis: Any) -> tuple[int, ...]:
        """Return the axes of an array along which its lanes lie."""
        if axis is None:
            return normalize_axes(None, shapes[name])
        normalize_axis(-1, shapes[name], name)
        at = normalize_axis(axis, max(shapes["x"], shapes["values"], key=len))
        return (-1,) if len(shapes[name]) == 1 else (at,)

    @cached_property
    def sources(self) -> Sources:
        """The sorted keys."""
        return Sources(self.kernels, self.lanes["x"], self.lanes["alpha"])

    @cached_property
    def product(self) -> Product:
        """The permutation."""
        return Product(self.sources)

    @cached_property
    def nan_lanes(self) -> Flags | None:
        """Lanes of the result that hold a NaN among values or keys, None for none."""
        nan = any_in_lane(self.kernels.xp.isnan(self.lanes["values"]))
        if self.sources.invalid is not None:
            nan = nan | self.sources.invalid[self.key]
        return nan if nan.any() else None

    @cached_property
    def nan_keys(self) -> Flags | None:
        """Lanes of the keys that one of these belongs to, None for none."""
        if self.nan_lanes is None:
            return None
        nan = self.kernels.xp.where(self.nan_lanes, 1.0, 0.0)
        counts = self.kernels.sum_lanes(nan, self.key, len(self.sources.x))
        return counts > 0.0

    @cached_property
    def values(self) -> Floats:
        """The values; those of lanes that hold a NaN are zero."""
        if self.nan_lanes is None:
            return self.lanes["values"]
        return self.kernels.xp.where(self.nan_lanes[:, None], 0.0, self.lanes["values"])

    def _multiply(self, lanes: Floats, transpose: bool) -> Floats:
        return self.product.multiply(
            lanes, self.key, transpose=transpose, descending=self.descending
        )

    def value(self, out: Array | None = None) -> Array:
        """Return the ordered values."""
        lanes = self._multiply(self.values, self.transpose)
        return with_nan(self.kernels, self.nan_lanes, lanes)

    @cached_property
    def finite_values(self) -> Floats:
        """The values with infinite ones as zeros: their derivatives are zero."""
        xp = self.kernels.xp
        return xp.where(xp.isfinite(self.values), self.values, 0.0)

    def jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the ordered values."""
        xp = self.kernels.xp
        out = xp.zeros(self.values.shape)
        if "values" in tangents:
            moving = xp.where(xp.isfinite(self.values), tangents["values"], 0.0)
            out = out + self._multiply(moving, self.transpose)
        if tangents.keys() & {"x", "alpha"}:
            along = self._jvp_of_transpose if self.transpose else self._jvp_of_product
            x_dot = self.sources.tangent(tangents["x"]) if "x" in tangents else None
            out = out + along(x_dot, tangents.get("alpha"))
        return with_nan(self.kernels, self.nan_lanes, out)

    def _jvp_of_product(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation, for sorted tangents."""
        s, product, b, key = self.sources, self.product, self.product.b, self.key
        xp, kernels = self.kernels.xp, self.kernels
        values = kernels.to_order(self.finite_values, s.order, key)
        base = s.scan(values, key)
        rows = xp.zeros((len(values), b.u.shape[1]))
        if x_dot is not None:
            moved = s.scan(values * x_dot[key], key)
            total = product.kernel_sum(base, b.kernel, key)
            rows = rows + b.average(x_dot)[key] * total
            rows = rows - product.kernel_sum(moved, b.kernel, key)
        if alpha_dot is not None:
            rows = rows + product.along_alpha(base, key) * alpha_dot[key][:, None]
        # G_i - G_{i-1} over the n positions, with nothing outside the n - 1 thresholds.
        none = xp.zeros((len(rows), 1))
        change = xp.diff(xp.concatenate([none, rows, none], axis=-1), axis=-1)[:, : self.n]
        return reverse_if(self.descending, kernels, 0.5 * change / s.alpha[key][:, None])

    def _jvp_of_transpose(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the same for P.T, by summation by parts."""
        s, product, b, key = self.sources, self.product, self.product.b, self.key
        positions = reverse_if(self.descending, self.kernels, self.finite_values)
        h = _fall(positions)
        out = self.kernels.xp.zeros(positions.shape)
        if x_dot is not None:
            out = out + product.kernel_transpose(h * b.average(x_dot)[key], key)
            out = out - x_dot[key] * product.kernel_transpose(h, key)
        if alpha_dot is not None:
            out = out + product.along_alpha_transpose(h, key) * alpha_dot[key][:, None]
        out = 0.5 * out / s.alpha[key][:, None]
        return self.kernels.from_order(out, s.order, key)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents of keys, values and alpha."""
        kernels, xp = self.kernels, self.kernels.xp
        bars: dict[str, Array] = {}
        if self.nan_lanes is not None:
            bar = xp.where(self.nan_lanes[:, None], 0.0, bar)
        if "values" in wrt:
            values_bar = self._multiply(bar, not self.transpose)
            values_bar = xp.where(xp.isfinite(self.values), values_bar, 0.0)
            bars["values"] = with_nan(kernels, self.nan_lanes, values_bar)
        if not wrt & {"x", "alpha"}:
            return bars
        s, product, b, key = self.sources, self.product, self.product.b, self.key
        # Both products are bilinear in (positions, entries): the same derivative of P serves.
        entries, positions = self.finite_values, bar
        if self.transpose:
            entries, positions = positions, entries
        values = kernels.to_order(entries, s.order, key)
        h = _fall(reverse_if(self.descending, kernels, positions))
        base = s.scan(values, key)
        lanes = len(s.x)
        if "x" in wrt:
            total = product.kernel_sum(base, b.kernel, key)
            b_bar = kernels.sum_lanes(h * total, key, lanes)
            own = values * product.kernel_transpose(h, key)
            x_bar = b.average_transpose(b_bar) - kernels.sum_lanes(own, key, lanes)
            x_bar = 0.5 * s.cotangent(x_bar) / s.alpha[:, None]
            bars["x"] = with_nan(kernels, self.nan_keys, x_bar)
        if "alpha" in wrt:
            along = sum_in_lane(h * product.along_alpha(base, key))
            alpha_bar = 0.5 * kernels.sum_lanes(along, key, lanes) / s.alpha
            bars["alpha"] = with_nan(kernels, self.nan_keys, alpha_bar)
        return bars


def _fall(positions: Floats) -> Floats:
    """Return u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
