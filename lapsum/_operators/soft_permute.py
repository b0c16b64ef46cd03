"""Products with soft permutations, in O(n log n) and without the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._backends.protocol import Kernels
from .._backends.types import Array, Flags, Floats, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.fused import FusedCotangents, FusedTangent, moderate
from .._core.layout import with_nan
from .._core.permute_rule import PermuteRule
from .._core.rule import Forms, Rule, Tangents
from .._core.shapes import Shape, batch_without, broadcast
from .._core.short_permute_rule import ShortPermuteRule
from .._laplace.product import Product, reverse_if
from .._laplace.sources import Sources
from .._laplace.state import OrderedRule, lanes_along


@operator
def soft_permute(
    x: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    *,
    axis: int | None = -1,
    descending: bool = False,
    transpose: bool = False,
    density: Any = "laplace",
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Order one array by another: the soft permutation of the keys, times the values.

    Each result is an average of the values whose keys belong near its position.  As alpha tends to
    zero this is ``values[np.argsort(x)]``.  The permutation matrix is never formed.

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
        Whether to take ``P.T @ values``, which goes back from positions to entries.
    density : str or object, optional
        Shape of the smoothing: "laplace" (the default), "logistic", "normal", "cauchy", a
        `StudentT`, a `Density`, or a frozen distribution of ``scipy.stats`` that is symmetric about
        zero.
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
    Let :math:`F(t)` be the Laplace CDF, :math:`e^t/2` for :math:`t \le 0` and :math:`1 - e^{-t}/2`
    above, or that of the `density`.  With the matrix P of `soft_permutation` and its
    thresholds :math:`b_i`, at which the sum of the CDFs reaches i, the results are

    .. math:: & y_i = \sum_j P_{ij} v_j = G(b_i) - G(b_{i-1}), \\
       & G(b) = \sum_j v_j F\Bigl(\frac{b - x_j}{\alpha}\Bigr) .

    With :math:`l_{ij} = e^{-|b_i - x_j|/\alpha}/(2\alpha)` and :math:`q_{ij}` the softmax weights
    of :math:`-|b_i - x_j|/\alpha` over j,

    .. math:: \dot G_i = {} & \sum_j F\Bigl(\frac{b_i - x_j}{\alpha}\Bigr)\dot v_j \\
       & + \sum_j v_j l_{ij} \Bigl(\sum_k q_{ik} \dot x_k - \dot x_j \\
       & \qquad + \frac{x_j - \sum_k q_{ik} x_k}{\alpha}\dot\alpha\Bigr) .

    The values take one sort and :math:`O(n)` more, and so do products with the Jacobian.  With
    other densities each is a few sums as in `soft_rank`, and takes :math:`O(n^2)` time, but not
    memory, for keys far apart or infinite.  The error is a few units in the last place of
    :math:`\sum_j P_{ij} |v_j|`, times :math:`1 + \alpha/(b_i - b_{i-1})`.

    A NaN among keys or values makes its lane NaN.  Keys of +inf (-inf when descending) serve as
    padding.

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

    Noisy measurements in the order of a key.  A larger alpha averages over more neighbours.

    .. plot::
       :alt: Values in the order of their keys, for two scales; the larger scale is smoother

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       rng = np.random.default_rng(0)
       keys = rng.uniform(0, 6, 80)
       values = np.sin(keys) + 0.3 * rng.normal(size=80)
       place = np.arange(1, 81)
       for alpha, style in ((1e-6, "."), (0.2, "-")):
           ordered = lapsum.soft_permute(keys, values, alpha)
           plt.plot(place, ordered, style, label=f"alpha = {alpha:g}")
       plt.xlabel("position")
       plt.ylabel("value")
       plt.legend()
       plt.show()
    """
    return evaluate(
        SoftPermute,
        x,
        values,
        alpha,
        axis=axis,
        descending=descending,
        transpose=transpose,
        density=density,
        workers=workers,
        out=out,
    )


@rule_of(soft_permute)
class SoftPermute(ShortPermuteRule, OrderedRule, PermuteRule):
    """The rule of `soft_permute`."""

    @staticmethod
    def general() -> type[Rule]:
        """Return the rule for any other density."""
        from .._general.permute import GeneralPermute

        return GeneralPermute

    @cached_property
    def sources(self) -> Sources:
        """The sorted keys."""
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        return Sources(self.kernels, x, alpha, known=self.known_order)

    def order_of_sources(self) -> Any:
        """Return the order of the keys."""
        return self.sources.order

    @classmethod
    def shape_of_sources(cls, shapes: Mapping[str, Shape], axes: Shape | None) -> tuple[int, int]:
        """Return how many lanes of keys there are, and how long."""
        x, alpha = shapes["x"], shapes["alpha"]
        if axes is None:
            return lanes_along(x, None)
        at = (-1,) if len(x) == 1 else axes
        return prod(broadcast("x", batch_without(x, at), "alpha", alpha)), x[at[0]]

    @classmethod
    def state_forms(
        cls, kernels: Kernels, shapes: Mapping[str, Shape], axes: Shape | None, **options: Any
    ) -> Forms:
        """Return what the order is like, () for short lanes."""
        if cls.shape_of_sources(shapes, axes)[1] <= kernels.longest_short:
            return ()
        return super().state_forms(kernels, shapes, axes, **options)

    def state(self) -> tuple[Array, ...]:
        """Return the order, () for short lanes."""
        return () if self.n <= self.kernels.longest_short else super().state()

    def restore(self, state: Sequence[Array]) -> None:
        """Bring the keys into a known order."""
        if state:
            super().restore(state)
        else:
            Rule.restore(self, state)

    @cached_property
    def product(self) -> Product:
        """The permutation."""
        return Product(self.sources)

    def multiply(self, lanes: Floats, transpose: bool) -> Floats:
        """Return the product of the permutation, or of its transpose, with lanes."""
        return self.product.multiply(
            lanes, self.source_lane, transpose=transpose, descending=self.descending
        )

    def linearize(self) -> Array:
        """Return the ordered values, and keep what derivatives need: of keys, the sorted ones."""
        own = self.kernels.own
        self.lanes.update(values=own(self.lanes["values"]), alpha=own(self.lanes["alpha"]))
        y = self.value()
        del self.lanes["x"]
        return y

    def _fused_lanes(self, *arrays: Array | None) -> Flags | None:
        """Return where fused kernels are right; None for keys that lanes of values share."""
        if len(self.source_lane) != len(self.sources.x):
            return None
        given = [a for a in (self.finite_values, *arrays) if a is not None]
        lanes = moderate(self.kernels, given)
        return lanes if lanes.any() else None

    def fused_jvp(self, tangents: Tangents) -> FusedTangent | None:
        """Return the tangent due to that of the permutation, not of its transpose."""
        x_dot, alpha_dot = tangents.get("x"), tangents.get("alpha")
        if self.transpose or (x_dot is None and alpha_dot is None):
            return None
        lanes = self._fused_lanes(x_dot, alpha_dot)
        if lanes is None:
            return None
        s, kernels, values = self.sources, self.kernels, self.finite_values
        out = kernels.permute_jvp(s.lanes, values, x_dot, alpha_dot)
        if out is None:
            return None
        out = with_nan(kernels, self.nan_lanes, reverse_if(self.descending, kernels, out))
        return FusedTangent(lanes, out, frozenset({"x", "alpha"}))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        return PermuteRule.jvp(self, tangents)

    def fused_vjp(self, bar: Array, wrt: frozenset[str]) -> FusedCotangents | None:
        """Return the cotangents of keys and alpha."""
        lanes = self._fused_lanes(bar) if wrt & {"x", "alpha"} else None
        if lanes is None:
            return None
        entries, positions = self.finite_values, self.kernels.contiguous(bar)
        if self.transpose:
            entries, positions = positions, entries
        positions = reverse_if(self.descending, self.kernels, positions)
        pair = self.kernels.permute_vjp(self.sources.lanes, entries, positions)
        if pair is None:
            return None
        bars = (with_nan(self.kernels, self.nan_keys, lanes) for lanes in pair)
        return FusedCotangents(lanes, dict(zip(("x", "alpha"), bars, strict=True)))

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        return PermuteRule.vjp(self, bar, wrt)

    def jvp_of_permutation(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation."""
        along = self._jvp_of_transpose if self.transpose else self._jvp_of_product
        return along(None if x_dot is None else self.sources.tangent(x_dot), alpha_dot)

    def _jvp_of_product(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent due to that of the permutation, for sorted tangents."""
        s, product, b, source_lane = self.sources, self.product, self.product.b, self.source_lane
        xp, kernels = self.kernels.xp, self.kernels
        values = kernels.to_order(self.finite_values, s.order, source_lane)
        base = s.scan(values, source_lane)
        rows = xp.zeros((len(values), b.u.shape[1]))
        if x_dot is not None:
            moved = s.scan(values * x_dot[source_lane], source_lane)
            total = product.kernel_sum(base, b.kernel, source_lane)
            rows = rows + b.average(x_dot)[source_lane] * total
            rows = rows - product.kernel_sum(moved, b.kernel, source_lane)
        if alpha_dot is not None:
            rows = rows + product.along_alpha(base, source_lane) * alpha_dot[source_lane][:, None]
        # G_i - G_{i-1} over the n positions, with nothing outside the n - 1 thresholds.
        none = xp.zeros((len(rows), 1))
        change = xp.diff(xp.concatenate([none, rows, none], axis=-1), axis=-1)[:, : self.n]
        return reverse_if(self.descending, kernels, 0.5 * change / s.alpha[source_lane][:, None])

    def _jvp_of_transpose(self, x_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the same for P.T, by summation by parts."""
        s, product, b, source_lane = self.sources, self.product, self.product.b, self.source_lane
        positions = reverse_if(self.descending, self.kernels, self.finite_values)
        h = _fall(positions)
        out = self.kernels.xp.zeros(positions.shape)
        if x_dot is not None:
            out = out + product.kernel_transpose(h * b.average(x_dot)[source_lane], source_lane)
            out = out - x_dot[source_lane] * product.kernel_transpose(h, source_lane)
        if alpha_dot is not None:
            out = (
                out
                + product.along_alpha_transpose(h, source_lane) * alpha_dot[source_lane][:, None]
            )
        out = 0.5 * out / s.alpha[source_lane][:, None]
        return self.kernels.from_order(out, s.order, source_lane)

    def vjp_of_permutation(
        self, entries: Floats, positions: Floats, wrt: frozenset[str]
    ) -> dict[str, Floats]:
        """Return the cotangents of keys and alpha."""
        kernels, s, product = self.kernels, self.sources, self.product
        b, source_lane = product.b, self.source_lane
        values = kernels.to_order(entries, s.order, source_lane)
        h = _fall(reverse_if(self.descending, kernels, positions))
        base = s.scan(values, source_lane)
        lanes = len(s.x)
        bars: dict[str, Floats] = {}
        if "x" in wrt:
            total = product.kernel_sum(base, b.kernel, source_lane)
            b_bar = kernels.sum_lanes(h * total, source_lane, lanes)
            own = values * product.kernel_transpose(h, source_lane)
            x_bar = b.average_transpose(b_bar) - kernels.sum_lanes(own, source_lane, lanes)
            bars["x"] = 0.5 * s.cotangent(x_bar) / s.alpha[:, None]
        if "alpha" in wrt:
            along = sum_in_lane(h * product.along_alpha(base, source_lane))
            bars["alpha"] = 0.5 * kernels.sum_lanes(along, source_lane, lanes) / s.alpha
        return bars


def _fall(positions: Floats) -> Floats:
    """Return u_i - u_{i+1}."""
    return positions[:, :-1] - positions[:, 1:]
