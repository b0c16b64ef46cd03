"""What quantiles share: levels, in every lane or one for each, and the shape of the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._backends.types import Array, Floats
from .checks import check_flag
from .entries_rule import EntriesRule
from .layout import Reduced
from .rule import Tangents
from .shapes import Shape, reduced_shape


class QuantileRule(EntriesRule):
    """Quantiles of the entries x of lanes at the levels q.

    Parameters
    ----------
    workers : int or None
    x, q, alpha, weights : array_like
    axis : int, None or tuple of int
    keepdims, per_lane : bool
    """

    several_axes = True
    in_every_lane: tuple[str, ...] = ("q",)

    def __init__(
        self,
        workers: int | None,
        x: Any,
        q: Any,
        alpha: Any,
        *,
        weights: Any = None,
        axis: int | tuple[int, ...] | None = -1,
        keepdims: bool = False,
        per_lane: bool = False,
    ) -> None:
        self.per_lane = check_flag("per_lane", per_lane)
        self.in_every_lane = () if self.per_lane else ("q",)
        super().__init__(workers, {"x": x, "q": q, "alpha": alpha}, weights, axis)
        kept = Reduced(self.entries, self.axes, check_flag("keepdims", keepdims)).shape
        self.shape = kept if self.per_lane else (*self.layouts["q"].shape, *kept)

    @property
    def q(self) -> Floats:
        """The levels, (lanes, levels)."""
        return self._levels(self.lanes["q"])

    @classmethod
    def result_shape(
        cls,
        shapes: Mapping[str, Shape],
        axes: Shape | None,
        keepdims: bool = False,
        per_lane: bool = False,
        **options: Any,
    ) -> Shape:
        """Return the shape of the result."""
        kept = reduced_shape(shapes["x"], axes, keepdims)
        return kept if per_lane else (*shapes["q"], *kept)

    def to_result(self, lanes: Array) -> Array:
        """Return the lanes of a result as q.shape + batch shape."""
        return lanes.T.reshape(self.shape)

    def from_result(self, array: Array) -> Array:
        """Undo `to_result`."""
        lanes, m = self.q.shape
        return self.kernels.contiguous(array.reshape(m, lanes).T)

    def _levels(self, lanes: Floats) -> Floats:
        """Return what belongs to the levels as (lanes, levels)."""
        return lanes[:, None] if self.per_lane else lanes

    def long_jvp(self, tangents: Tangents) -> Array:
        """Return the tangent of the quantiles of lanes of any length."""
        if "q" in tangents:
            tangents = {**tangents, "q": self._levels(tangents["q"])}
        return super().long_jvp(tangents)
