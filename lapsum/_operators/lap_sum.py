"""The Lap-Sum of sources at targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.checks import (
    Running,
    arguments,
    batch_of,
    check_alpha,
    check_total,
    check_weights,
    joint_batch,
    normalize_axis,
    scalar_layout,
    weights_layout,
)
from .._core.layout import Layout, key_of
from .._core.rule import Rule, evaluate, rule_of
from .._laplace.sources import Sources

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Array = Any


def lap_sum(
    x: ArrayLike,
    r: ArrayLike,
    alpha: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    axis: int = -1,
    workers: int | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    r"""Sum of the Laplace CDFs of sources, at targets.

    .. math:: & S(x_i) = \sum_j c_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr), \\
       & F(t) = \begin{cases} e^t/2 & t \le 0 \\ 1 - e^{-t}/2 & t > 0 \end{cases}

    As alpha tends to zero this is the weight of the sources below :math:`x_i`, half of those at it.

    Parameters
    ----------
    x : array_like
        Targets, in the units of `r`.  A 0-d `x` is one target per lane of `r`; a 1-D `x` lies
        along `axis`; otherwise the axes but `axis` broadcast against those of `r`.
    r : array_like
        Sources.
    alpha : array_like
        Positive scale, in the units of `r`; must broadcast to the batch shape (the axes but
        `axis`).
    weights : array_like, optional
        Non-negative weights :math:`c_j`, of the shape of `r` or 1-D along `axis`; 1 by default.
    axis : int, optional
        Axis of `r` along which the sum is taken.
    workers : int, optional
        Number of threads: one by default; negative numbers count from the CPUs, and 0 is a
        ValueError.
    out : ndarray, optional
        Receives the result; of exactly its shape and dtype, else a ValueError.  May be `x`
        itself.

    Returns
    -------
    ndarray or scalar
        :math:`S(x_i)`, of the shape of the targets; float dtype of `x` and `r`.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite, a weight is negative or not finite, or shapes do
        not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.

    See Also
    --------
    lap_sum_inv : The inverse function.
    soft_rank : The same sum at the sources themselves.
    linearize, jvp, vjp : Its derivatives.

    Notes
    -----
    With :math:`K_{ij} = e^{-|x_i - r_j|/\alpha}/(2\alpha)` the derivative is

    .. math:: \dot S_i = {} & \sum_j c_j K_{ij} \Bigl(\dot x_i - \dot r_j
       - \frac{x_i - r_j}{\alpha}\dot\alpha\Bigr) \\
       & + \sum_j F\Bigl(\frac{x_i - r_j}{\alpha}\Bigr) \dot c_j .

    One sort of the sources, and one of the targets if they are many; few are found in O(log n)
    each.  Products with the Jacobian are O(n).  Relative accuracy is a few units in the last
    place, times :math:`1 + |x - r|/\alpha` far below all sources, or all but some that hardly weigh
    beside them.  A NaN target spoils only itself, a NaN source its lane; infinite entries are the
    limit of large ones.

    References
    ----------
    .. [1] Ł. Struski et al., "LapSum -- One Method to Differentiate Them All: Ranking, Sorting and
       Top-k Selection", ICML 2025, section 4.1 and Proposition 4.2.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.lap_sum([0.0, 1.5, 9.0], [1.0, 2.0, 3.0], 0.1).round(3)
    array([0., 1., 3.])
    >>> lapsum.lap_sum(2.0, [1.0, 2.0, 3.0], 0.5)
    np.float64(1.5)
    """
    return evaluate(_LapSum, x, r, alpha, weights=weights, axis=axis, workers=workers, out=out)


class TargetsRule(Rule):
    """What operators on targets among sources share: shapes, lanes and the sorted sources."""

    target = "x"

    def __init__(
        self, running: Running, x: Any, r: Any, alpha: Any, *, weights: Any = None, axis: int = -1
    ) -> None:
        self.kernels, arrays, self.dtypes = arguments(
            running, {self.target: x, "r": r, "alpha": alpha}, weights
        )
        x, r, alpha, weights = (arrays.get(n) for n in (self.target, "r", "alpha", "weights"))
        self.dtype = np.result_type(self.dtypes[self.target], self.dtypes["r"])
        axis = normalize_axis(axis, r.ndim, "r")
        r_batch = batch_of("r", r.shape, axis)
        x_axis = None if x.ndim == 0 else -1 if x.ndim == 1 else axis
        x_batch = () if x_axis is None else batch_of(self.target, x.shape, x_axis)
        batch = joint_batch(self.target, x_batch, "r", r_batch)
        scalar_layout(self.kernels, "alpha", alpha, batch)
        # The sources are sorted and summed once for every alpha they meet, not for every target.
        sources = np.broadcast_shapes(r_batch, alpha.shape)
        self.layouts = {
            self.target: Layout(self.kernels, x.shape, x_axis, batch),
            "r": Layout(self.kernels, r.shape, axis, sources),
            "alpha": Layout(self.kernels, alpha.shape, None, sources),
        }
        if weights is not None:
            self.layouts["weights"] = weights_layout(
                self.kernels, weights, r.shape, axis, sources, "r"
            )
            check_weights(weights)
        check_alpha(alpha)
        self.key = key_of(self.kernels, sources, batch)
        lanes = {
            n: layout.pack(arrays[n], n in ("r", self.target)) for n, layout in self.layouts.items()
        }
        self.targets = lanes.pop(self.target)
        xp = self.kernels.xp
        if weights is None:
            self.source_total = xp.full(lanes["alpha"].shape, float(r.shape[axis]))
        else:
            self.source_total = lanes["totals"] = self.kernels.totals(lanes["weights"])
            check_total(self.source_total)
            lanes["weights"] = self.scale(lanes["weights"])
        self.sources = Sources(self.kernels, lanes.pop("r"), **lanes)
        if x_axis is None:
            self.targets = self.targets[:, None]
            self.result = Layout(self.kernels, batch, None, batch)
        else:
            at = len(batch) + 1 + axis
            shape = (*batch[:at], x.shape[x_axis], *batch[at:])
            self.result = Layout(self.kernels, shape, axis, batch)
        # Found in ascending order, and kept in it until results are placed.
        targets = self.admit(self.targets)
        self.targets, self.order = self.kernels.arrange(targets, self.sources.shape[1])
        invalid = self.sources.invalid
        if invalid is not None:
            for layout in self.layouts.values():
                layout.invalid = invalid
            self.layouts[self.target].invalid = self.result.invalid = invalid[self.key]

    def sort(self, lanes: Array) -> Array:
        """Bring what belongs to the targets into their order."""
        return lanes if self.order is None else self.kernels.sort(lanes, self.order)

    def unsort(self, lanes: Array, dtype: Any = np.float64) -> Array:
        """Undo `sort`, and round to float32 if that is the dtype."""
        return lanes if self.order is None else self.kernels.unsort(lanes, self.order, dtype=dtype)

    def admit(self, targets: Array) -> Array:
        """Return the targets, NaN where there is no result."""
        return targets

    def scale(self, weights: Array) -> Array:
        """Return the weights that the sums are taken with."""
        return weights

    def place(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape."""
        lanes = self.unsort(lanes, self.dtype)
        return self.result.unpack(lanes[:, 0] if self.result.axis is None else lanes)

    def take(self, array: Array) -> Array:
        """Undo `place`."""
        lanes = self.result.pack(array)
        return self.sort(lanes[:, None] if self.result.axis is None else lanes)

    def tangent_of_targets(self, lanes: Array) -> Array:
        """Return the tangent of the targets as (lanes, targets), in their order."""
        return self.sort(lanes[:, None] if lanes.ndim == 1 else lanes)

    def cotangent_of_targets(self, lanes: Array) -> Array:
        """Undo `tangent_of_targets`."""
        lanes = self.unsort(lanes)  # in double: they may yet be added up
        return lanes[:, 0] if self.layouts[self.target].axis is None else lanes

    def sum_targets(self, values: Array) -> Array:
        """Add up the values of all targets that share a lane of sources."""
        return self.kernels.sum_lanes(values.sum(axis=-1), self.key, len(self.sources.x))


@rule_of(lap_sum)
class _LapSum(TargetsRule):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at = self.sources.locate(self.targets, None, None, self.key)

    def value(self) -> Array:
        return self.at.level()

    def jvp(
        self,
        x_dot: Array | None,
        r_dot: Array | None,
        alpha_dot: Array | None,
        weights_dot: Array | None = None,
    ) -> Array:
        s, at, xp = self.sources, self.at, self.kernels.xp
        out = xp.zeros(self.targets.shape)
        base = s.left, s.right
        alpha = s.alpha[self.key][:, None]
        if x_dot is not None:
            ours = xp.where(xp.isfinite(self.targets), self.tangent_of_targets(x_dot), 0.0)
            out = out + 0.5 * (ours * at.sum(base)) / alpha
        if r_dot is not None:
            out = out - 0.5 * at.sum(s.scan(s.weigh(s.tangent(r_dot)))) / alpha
        if alpha_dot is not None:
            out = out - 0.5 * at.moment(base) / alpha * alpha_dot[self.key][:, None]
        if weights_dot is not None:
            out = out + at.cdf_sum(weights_dot)
        return xp.where(at.invalid, np.nan, out)

    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        s, at, xp = self.sources, self.at, self.kernels.xp
        base = s.left, s.right
        bar = xp.where(at.invalid, 0.0, bar)
        bars = {}
        if "x" in wrt:
            x_bar = 0.5 * (bar * at.sum(base)) / s.alpha[self.key][:, None]
            x_bar = xp.where(xp.isfinite(self.targets), x_bar, 0.0)
            bars["x"] = self.cotangent_of_targets(xp.where(at.invalid, np.nan, x_bar))
        if "r" in wrt:
            bars["r"] = s.cotangent(-0.5 * s.weigh(at.transpose(bar)) / s.alpha[:, None])
        if "alpha" in wrt:
            bars["alpha"] = -0.5 * self.sum_targets(bar * at.moment(base)) / s.alpha
        if "weights" in wrt:
            bars["weights"] = at.cdf_transpose(bar)
        return bars
