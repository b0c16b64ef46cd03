"""One threshold a lane: by selection where that is possible, by sorting where it is not."""

from __future__ import annotations

from typing import Any

from ._sources import Sources

Array = Any


class OneThreshold:
    """The root of S(b) = level of each lane.

    Which of the two ways a lane takes depends on its own entries alone, and so does every bit of
    its result.

    Attributes
    ----------
    lo, hi, u : array, shape (lanes, 1)
        b = (lo + hi)/2 + alpha u.
    nodes : array, shape (2, lanes, 1)
        The entries next to b on both sides; NaN for none.
    softmax : tuple of array, shape (lanes, 1)
        Factors of the softmax weights left and right of b, as in `Thresholds`.
    density : array, shape (lanes, 1)
        alpha dS/db.
    count : array of int, shape (lanes,)
        How many entries a lane has: 0 where a NaN spoils it.
    invalid : array of bool, shape (lanes,), or None
    selected : array of bool, shape (lanes,)
        Which lanes were not sorted; all of their entries are finite.
    """

    def __init__(
        self, kernels: Any, x: Array, alpha: Array, levels: Array, weights: Array | None = None
    ) -> None:
        xp = kernels.xp
        lanes, n = x.shape
        self.count = xp.full(lanes, n, dtype=xp.intp)
        self.invalid: Array | None = None
        if weights is None:
            self.selected, found = kernels.select(x, levels, alpha)
        else:
            self.selected, found = xp.zeros(lanes, dtype=bool), xp.empty((8, lanes))
        rest = ~self.selected
        if rest.any():
            s = Sources(kernels, x[rest], alpha[rest], None if weights is None else weights[rest])
            b = s.solve(levels[rest, None], s.key, True)
            parts = (b.lo, b.hi, b.u, *b.nodes(), *b.softmax, b.density)
            found[:, rest] = xp.stack(parts)[:, :, 0]
            self.count[rest] = s.count
            if s.invalid is not None:
                self.invalid = xp.zeros(lanes, dtype=bool)
                self.invalid[rest] = s.invalid
        lo, hi, u, left, right, q_left, q_right, density = found[:, :, None]
        self.lo, self.hi, self.u = lo, hi, u
        self.nodes = xp.stack([left, right])
        self.softmax = (q_left, q_right)
        self.density = density
