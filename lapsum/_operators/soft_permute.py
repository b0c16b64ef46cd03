"""Products with soft permutations, in O(n log n) and without the matrix."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import (
    Running,
    arguments,
    batch_of,
    check_alpha,
    check_flag,
    joint_batch,
    normalize_axis,
    scalar_layout,
)
from .._core.layout import Layout, key_of
from .._core.rule import LARGE, Rule, evaluate, rule_of
from .._laplace.sources import Sources
from .._laplace.targets import Thresholds
from .soft_permutation import integer_thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Array = Any


def soft_permute(
    x: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int = -1,
    descending: bool = False,
    transpose: bool = False,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
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
    axis : int, optional
        Axis along which to order, of `values` (of `x` if that has more axes).
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
        _SoftPermute,
        x,
        values,
        alpha,
        axis=axis,
        descending=descending,
        transpose=transpose,
        workers=workers,
        out=out,
    )


class Product:
    """P(x) ready to multiply lanes of values, or of positions, by it or by its transpose.

    The row of an interval (b_{i-1}, b_i] has three parts: nodes left of it contribute their kernel
    at b_{i-1} times 1 - e^{-width}, nodes right of it likewise at b_i, and those inside what they
    have there.  No sum over everything is subtracted from another, so small results keep
    their digits.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = s = sources
        self.row, self.inside, self.at, self.by = s.kernels.intervals(
            s.x, s.gap, s.count, (s.left, s.right), s.alpha
        )

    @cached_property
    def b(self) -> Thresholds:
        """The thresholds between the intervals, for derivatives."""
        return integer_thresholds(self.sources, True)

    def apply(self, values: Array, key: Array) -> Array:
        """Return P times lanes of sorted values."""
        s, kernels = self.sources, self.sources.kernels
        lane = kernels.identity(len(values))
        out = kernels.gather(s.scan(values, key), lane, self.at, self.by, key)
        kernels.collect(values, self.inside, self.row, key, out)
        return out

    def apply_transpose(self, positions: Array, key: Array) -> Array:
        """Return P.T times lanes of positions, at the sorted sources."""
        s, kernels = self.sources, self.sources.kernels
        lane = kernels.identity(len(positions))
        left, right = kernels.scatter(
            positions, self.at, self.by, key, lane, (len(positions), s.shape[1])
        )
        out = kernels.scan(s.decay, left, key, True) + kernels.scan(s.decay, right, key, False)
        kernels.spread(positions, self.inside, self.row, key, out)
        kernels.level_ties(s.x, key, out)
        return out

    def kernel_sum(self, nodes: Any, by: Any, key: Array) -> Array:
        """Read scans at the n - 1 thresholds."""
        kernels = self.sources.kernels
        return kernels.gather(nodes, kernels.identity(len(nodes[0])), self.b.at, by, key)

    def kernel_transpose(self, rows: Array, key: Array) -> Array:
        """Return sum_i e^{-|b_i - x_j|/alpha} rows_i at the sorted sources."""
        s, kernels = self.sources, self.sources.kernels
        lane = kernels.identity(len(rows))
        left, right = kernels.scatter(
            rows, self.b.at, self.b.kernel, key, lane, (len(rows), s.shape[1])
        )
        return kernels.scan(s.decay, left, key, True) + kernels.scan(s.decay, right, key, False)

    def apply_limits(self, values: Array, key: Array, transpose: bool) -> Array:
        """Return P, or P.T, times values of which infinite ones are the limit of large ones."""
        xp = self.sources.kernels.xp
        product = self.apply_transpose if transpose else self.apply
        infinite = xp.isinf(values)
        bounded = not infinite.any()
        finite = values if bounded else xp.where(infinite, 0.0, values)
        # The sums on the way may overflow though the averages they make do not.
        large = (xp.abs(finite) > LARGE).any(axis=-1)[:, None]
        shift = xp.where(large, -200, 0)
        out = (
            xp.ldexp(product(xp.ldexp(finite, shift), key), -shift)
            if large.any()
            else product(finite, key)
        )
        if bounded:
            return out
        pull = product(xp.where(infinite, xp.sign(values), 0.0), key)
        return xp.where(pull == 0.0, out, xp.copysign(np.inf, pull))


@rule_of(soft_permute)
class _SoftPermute(Rule):
    def __init__(
        self,
        running: Running,
        x: Any,
        values: Any,
        alpha: Any,
        *,
        axis: int = -1,
        descending: bool = False,
        transpose: bool = False,
    ) -> None:
        self.kernels, arrays, self.dtypes = arguments(
            running, {"x": x, "values": values, "alpha": alpha}
        )
        x, values, alpha = arrays["x"], arrays["values"], arrays["alpha"]
        xp = self.kernels.xp
        self.dtype = np.result_type(self.dtypes["x"], self.dtypes["values"])
        for name in ("x", "values"):
            normalize_axis(-1, arrays[name].ndim, name)
        axis = normalize_axis(axis, max(x.ndim, values.ndim))
        axes = {"x": -1 if x.ndim == 1 else axis, "values": -1 if values.ndim == 1 else axis}
        batches = {name: batch_of(name, arrays[name].shape, axes[name]) for name in axes}
        batch = joint_batch("x", batches["x"], "values", batches["values"])
        n = x.shape[axes["x"]]
        if values.shape[axes["values"]] != n:
            raise ValueError(
                f"`values` of shape {values.shape} has length {values.shape[axes['values']]} along "
                f"axis {axis}, and `x` has {n}; they must be equal"
            )
        scalar_layout(self.kernels, "alpha", alpha, batch)
        keys = np.broadcast_shapes(batches["x"], alpha.shape)
        self.layouts = {
            "x": Layout(self.kernels, x.shape, axes["x"], keys),
            "values": Layout(self.kernels, values.shape, axes["values"], batch),
            "alpha": Layout(self.kernels, alpha.shape, None, keys),
        }
        check_alpha(alpha)
        at = len(batch) + 1 + axis
        shape = (*batch[:at], n, *batch[at:])
        self.result = Layout(self.kernels, shape, axis, batch)
        self.key = key_of(self.kernels, keys, batch)
        self.descending = check_flag("descending", descending)
        self.transpose = check_flag("transpose", transpose)
        lanes = {
            name: self.layouts[name].pack(arrays[name], name == "x") for name in ("x", "alpha")
        }
        self.sources = Sources(self.kernels, **lanes)
        self.product = Product(self.sources)
        self.values = self.layouts["values"].pack(values)
        invalid = xp.isnan(self.values).any(axis=-1)
        if self.sources.invalid is not None:
            invalid = invalid | self.sources.invalid[self.key]
        if invalid.any():
            self.layouts["values"].invalid = self.result.invalid = invalid
            self.values = xp.where(invalid[:, None], 0.0, self.values)
            spoilt = self.kernels.sum_lanes(invalid * 1.0, self.key, len(self.sources.x)) > 0
            self.layouts["x"].invalid = self.layouts["alpha"].invalid = spoilt

    def turn(self, positions: Array) -> Array:
        """Reverse the positions of a descending order."""
        return self.kernels.contiguous(positions[:, ::-1]) if self.descending else positions

    def to_sources(self, entries: Array) -> Array:
        """Bring lanes of entries into the order of the keys."""
        return self.kernels.sort(entries, self.sources.order, self.key)

    def to_entries(self, sorted_values: Array) -> Array:
        """Undo `to_sources`."""
        return self.kernels.unsort(sorted_values, self.sources.order, self.key)

    def multiply(self, lanes: Array, transpose: bool) -> Array:
        """Return P, or P.T, times lanes given and returned in the caller's order."""
        if transpose:
            return self.to_entries(
                self.product.apply_limits(self.turn(lanes), self.key, transpose=True)
            )
        return self.turn(
            self.product.apply_limits(self.to_sources(lanes), self.key, transpose=False)
        )

    def value(self) -> Array:
        return self.multiply(self.values, self.transpose)

    def finite_values(self) -> Array:
        """Return the values with infinite ones as zeros: their derivatives are zero."""
        xp = self.kernels.xp
        return xp.where(xp.isfinite(self.values), self.values, 0.0)

    def jvp(self, x_dot: Array | None, values_dot: Array | None, alpha_dot: Array | None) -> Array:
        xp = self.kernels.xp
        out = xp.zeros(self.values.shape)
        if values_dot is not None:
            moving = xp.where(xp.isfinite(self.values), values_dot, 0.0)
            out = out + self.multiply(moving, self.transpose)
        if x_dot is None and alpha_dot is None:
            return out
        s, b, key = self.sources, self.product.b, self.key
        x_sorted = None if x_dot is None else s.tangent(x_dot)
        values = self.finite_values()
        if self.transpose:
            return out + self.to_entries(self._transpose_jvp(values, x_sorted, alpha_dot))
        values = self.to_sources(values)
        base = s.scan(values, key)
        rows = xp.zeros((len(values), b.u.shape[1]))
        if x_sorted is not None:
            moved = s.scan(values * x_sorted[key], key)
            total = self.product.kernel_sum(base, b.kernel, key)
            rows = rows + b.average(x_sorted)[key] * total
            rows = rows - self.product.kernel_sum(moved, b.kernel, key)
        if alpha_dot is not None:
            rows = rows + self._alpha_rows(base) * alpha_dot[key][:, None]
        change = 0.5 * _difference(xp, rows)[:, : out.shape[1]] / s.alpha[key][:, None]
        return out + self.turn(change)

    def _alpha_rows(self, base: Any) -> Array:
        """Return sum_j v_j e^{-|t_ij|} (x_j - sum_k q_ik x_k)/alpha at the thresholds."""
        s, b, key, xp = self.sources, self.product.b, self.key, self.kernels.xp
        moments = s.moments(s.gap, base, key)
        left, right = b.kernel
        near = tuple(
            xp.where(b.kernel[i] == 0.0, 0.0, b.kernel[i] * d) for i, d in enumerate(b.deviations())
        )
        away = self.product.kernel_sum(moments, (-left, right), key)
        return self.product.kernel_sum(base, near, key) + away

    def _transpose_jvp(
        self, positions: Array, x_dot: Array | None, alpha_dot: Array | None
    ) -> Array:
        """Return the tangent of P.T u at the sorted sources, by summation by parts."""
        s, b, key = self.sources, self.product.b, self.key
        h = _fall(self.turn(positions))
        out = self.kernels.xp.zeros(positions.shape)
        if x_dot is not None:
            kernel_transpose = self.product.kernel_transpose
            out = out + kernel_transpose(h * b.average(x_dot)[key], key)
            out = out - x_dot[key] * kernel_transpose(h, key)
        if alpha_dot is not None:
            out = out + self._alpha_nodes(h) * alpha_dot[key][:, None]
        return 0.5 * out / s.alpha[key][:, None]

    def _alpha_nodes(self, h: Array) -> Array:
        """Return the transpose of `_alpha_rows`' map from v, at the sorted sources."""
        s, b, key, kernels = self.sources, self.product.b, self.key, self.kernels
        xp = kernels.xp
        lane = kernels.identity(len(h))
        shape = (len(h), s.shape[1])
        near = tuple(
            xp.where(b.kernel[i] == 0.0, 0.0, b.kernel[i] * d) for i, d in enumerate(b.deviations())
        )
        left, right = kernels.scatter(h, b.at, near, key, lane, shape)
        out = kernels.scan(s.decay, left, key, True) + kernels.scan(s.decay, right, key, False)
        left, right = kernels.scatter(h, b.at, b.kernel, key, lane, shape)
        # The distance from the node where a row's share lands to the source it reaches.
        scans = kernels.scan(s.decay, left, key, True), kernels.scan(s.decay, right, key, False)
        onward = kernels.moments(s.decay, s.gap, scans[0], key, True)
        back = kernels.moments(s.decay, s.gap, scans[1], key, False)
        return out - onward + back

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, b, key, xp = self.sources, self.product.b, self.key, self.kernels.xp
        bars = {}
        if self.result.invalid is not None:
            bar = xp.where(self.result.invalid[:, None], 0.0, bar)
        if "values" in wrt:
            values_bar = self.multiply(bar, not self.transpose)
            bars["values"] = xp.where(xp.isfinite(self.values), values_bar, 0.0)
        if not wrt & {"x", "alpha"}:
            return bars
        # Both products are bilinear in (positions, entries): the same derivative of P serves.
        entries, positions = (
            (bar, self.finite_values()) if self.transpose else (self.finite_values(), bar)
        )
        values, h = self.to_sources(entries), _fall(self.turn(positions))
        base = s.scan(values, key)
        lanes = len(s.x)
        if "x" in wrt:
            total = self.product.kernel_sum(base, b.kernel, key)
            b_bar = self.kernels.sum_lanes(h * total, key, lanes)
            own = values * self.product.kernel_transpose(h, key)
            x_bar = b.average_transpose(b_bar) - self.kernels.sum_lanes(own, key, lanes)
            bars["x"] = 0.5 * s.cotangent(x_bar) / s.alpha[:, None]
        if "alpha" in wrt:
            along = (h * self._alpha_rows(base)).sum(axis=-1)
            bars["alpha"] = 0.5 * self.kernels.sum_lanes(along, key, lanes) / s.alpha
        return bars


def _difference(xp: Any, rows: Array) -> Array:
    """Return G_i - G_{i-1} over the n positions, with nothing outside the n - 1 thresholds."""
    none = xp.zeros((len(rows), 1))
    return xp.diff(xp.concatenate([none, rows, none], axis=-1), axis=-1)


def _fall(positions: Array) -> Array:
    """Return the transpose of `_difference`: u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
