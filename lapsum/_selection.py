"""One threshold a lane: by selection where that is possible, by sorting where it is not."""

from __future__ import annotations

from typing import Any

from ._sources import Sources

Array = Any


class OneThreshold:
    """The root of S(b) = level of each lane.

    Which of the two ways a lane takes depends on its own entries alone, and so does every bit of
    its result.

    Parameters
    ----------
    kernels : Kernels
    x : array, shape (lanes, n)
    sign : float
        1 or -1: the thresholds are those of z = sign x.
    alpha, levels, totals : array, shape (lanes,)
        Scales, levels and total weights.
    weights : array, shape (lanes, n), optional
    scratch : array, shape (lanes, n), optional
        Overwritten.

    Attributes
    ----------
    found : array, shape (8, lanes)
        Of each threshold b = (lo + hi)/2 + alpha u: lo, hi, u, the entries next to it on both
        sides (NaN for none), the factors of the softmax weights left and right of it as in
        `Thresholds`, and alpha dS/db.
    count : array of int, shape (lanes,)
        How many entries a lane has: 0 where a NaN spoils it.
    invalid : array of bool, shape (lanes,), or None
    selected : array of bool, shape (lanes,)
        Which lanes were not sorted; all of their entries are finite.
    """

    def __init__(
        self,
        kernels: Any,
        x: Array,
        sign: float,
        alpha: Array,
        levels: Array,
        totals: Array,
        weights: Array | None = None,
        scratch: Array | None = None,
    ) -> None:
        xp = kernels.xp
        lanes, n = x.shape
        self.count = xp.full(lanes, n, dtype=xp.intp)
        self.invalid: Array | None = None
        self.selected, self.found = kernels.select(
            x,
            weights,
            sign,
            levels,
            totals,
            alpha,
            xp.empty(x.shape) if scratch is None else scratch,
        )
        if self.selected.all():
            return
        rest = ~self.selected
        s = Sources(
            kernels, sign * x[rest], alpha[rest], None if weights is None else weights[rest]
        )
        b = s.solve(levels[rest, None], s.key, True)
        parts = (b.lo, b.hi, b.u, *b.nodes(), *b.softmax, b.density)
        self.found[:, rest] = xp.stack(parts)[:, :, 0]
        self.count[rest] = s.count
        if s.invalid is not None:
            self.invalid = xp.zeros(lanes, dtype=bool)
            self.invalid[rest] = s.invalid

    @property
    def anchors(self) -> tuple[Array, Array, Array]:
        """lo, hi and u, each of shape (lanes, 1)."""
        lo, hi, u = self.found[:3, :, None]
        return lo, hi, u

    @property
    def density(self) -> Array:
        """Alpha dS/db, of shape (lanes, 1)."""
        return self.found[7, :, None]
