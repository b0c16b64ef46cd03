"""Few thresholds a lane: by selection where that is possible, by sorting where it is not."""

from __future__ import annotations

from typing import Any

from .sources import Sources

Array = Any

NEAR = 1e-12  # the least density alpha dS/db of a threshold whose softmax weights are quotients


class Selection:
    """The roots of S(b) = level of each lane.

    Which of the two ways a lane takes depends on its own entries and levels alone, and so does
    every bit of its result.  Weights and levels are taken as `kernels.rescale` returns them.

    Parameters
    ----------
    kernels : Kernels
    x : array, shape (lanes, n)
        As `kernels.entries` returns it.
    sign : float
        1 or -1: the thresholds are those of z = sign x.
    alpha, totals : array, shape (lanes,)
        Scales, and total weights, which are None for lanes without weights; for a device, what no
        check has seen.
    levels : array, shape (lanes,) or (lanes, steps)
        If p is asked for, one a lane: in [0, total], and infinite where it is the total, which a
        device sees to.  If not, several, as shares of the total.
    weights : array, shape (lanes, n), optional
    keep : bool, optional
        Whether x is kept, and must be a copy.
    fill : int, optional
        Whether p is asked for: 0 for no, 1 for F, 2 for its logarithm.
    into : array, shape (lanes, n), optional
        Where p goes, of the dtype of x and apart from it in memory.

    Attributes
    ----------
    x : array, shape (lanes, n)
        The entries, copied if `keep`.
    found : array, shape (10,) + levels.shape
        Of each threshold b = (lo + hi)/2 + alpha u: lo, hi, u, the entries next to it on both
        sides, or points nearer to it (NaN for none), the factors of the softmax weights left and
        right of them as in `Thresholds`, alpha dS/db, b rounded, and the centre as in `laplace.h`.
        A lane of no entries has u = -inf if p is asked for, and else NaN.
    p : array, shape (lanes, n)
        F((b - z)/alpha), or its logarithm, of the dtype of x.
    absent : array of bool, shape (lanes, 1), or None
        Which lanes have no entries: those of zero weight, and those that a NaN spoils.
    invalid : array of bool, shape (lanes,), or None
    solved : array of int, shape (lanes,), or None
        0: by sorting; 1: by selection; 2: so too, but absent entries are not finite.  None: all by
        selection, with nothing known of their entries.
    """

    def __init__(
        self,
        kernels: Any,
        x: Array,
        sign: float,
        alpha: Array,
        levels: Array,
        totals: Array | None,
        weights: Array | None = None,
        keep: bool = False,
        fill: int = 1,
        into: Array | None = None,
    ) -> None:
        self.x, self.solved, self.found, self.p, self.invalid, self.absent = kernels.select(
            x, weights, sign, levels, totals, alpha, keep, fill, into
        )
        if self.solved is None or kernels.every(self.solved):
            return
        with kernels.quiet():
            self._sort(kernels, x, sign, alpha, levels, totals, weights, fill)

    def _sort(
        self,
        kernels: Any,
        x: Array,
        sign: float,
        alpha: Array,
        levels: Array,
        totals: Array | None,
        weights: Array | None,
        fill: int,
    ) -> None:
        """Solve the lanes that are left by sorting them."""
        xp = kernels.xp
        rest = self.solved == 0
        z = sign * kernels.contiguous(x[rest])
        levels, totals = levels[rest], None if totals is None else totals[rest]
        if not fill:
            levels = kernels.levels(levels, totals, x.shape[1])
        if weights is not None:
            weights, levels = kernels.rescale(totals, weights[rest], levels)
        s = Sources(kernels, z, alpha[rest], weights)
        b = s.solve(levels.reshape(len(z), -1), s.key, True)
        parts = (b.lo, b.hi, b.u, *b.nodes(), *b.softmax, b.density, b.value(), b.centre)
        self.found[:, rest] = xp.stack(parts).reshape(len(parts), *levels.shape)
        if not s.count.all():
            self.absent = xp.zeros((len(x), 1), dtype=bool)
            self.absent[rest, 0] = s.count == 0
            empty = self.absent[:, 0]
            self.found[:2, empty] = 0.0
            self.found[2, empty] = self.found[8, empty] = -xp.inf if fill else xp.nan
        if fill:
            found = xp.ascontiguousarray(self.found[:, rest])
            self.p[rest] = kernels.probabilities(found, z, s.alpha, fill == 2)
            if self.absent is not None:
                self.p[self.absent[:, 0]] = -xp.inf if fill == 2 else 0.0
        if s.invalid is not None:
            self.invalid = xp.zeros(len(x), dtype=bool)
            self.invalid[rest] = s.invalid

    @property
    def anchors(self) -> tuple[Array, Array, Array]:
        """lo, hi and u, each of shape (lanes, 1), where there is one threshold a lane."""
        lo, hi, u = self.found[:3, :, None]
        return lo, hi, u

    @property
    def density(self) -> Array:
        """Alpha dS/db, of the same shape."""
        return self.found[7, :, None]

    @property
    def value(self) -> Array:
        """The thresholds, rounded."""
        return self.found[8]
