"""How thresholds at the levels q W follow the weights, which move W and S together."""

from __future__ import annotations

from .._backends.protocol import Kernels
from .._backends.types import Flags, Floats, sum_in_lane
from .thresholds import Thresholds


class WeightedLevels:
    """Levels q W of some thresholds: the same tangent for all weights in proportion is nothing.

    Parameters
    ----------
    kernels : Kernels
    solved : Thresholds
        Those at the levels.
    weights : array, shape (lanes, n)
        Rescaled.
    whole : array, shape (lanes, 1), or float
        Their sums.
    nan : array of bool, shape (lanes, n)
        Entries whose weights change nothing.
    """

    def __init__(
        self,
        kernels: Kernels,
        solved: Thresholds,
        weights: Floats,
        whole: Floats | float,
        nan: Flags,
    ) -> None:
        self.kernels = kernels
        self.solved = solved
        self.weights = weights
        self.whole = whole
        self.nan = nan

    def rising(self, weights_dot: Floats) -> Floats:
        """Return q sum_j c_dot_j - sum_j F_ij c_dot_j at each threshold."""
        xp, weights = self.kernels.xp, self.weights
        weights_dot = xp.where(self.nan, 0.0, weights_dot)
        even = sum_in_lane(weights_dot)[:, None] / self.whole
        uneven = weights_dot - weights * even
        # They add up to zero; the heaviest one, a small difference, is got from the others.
        heaviest = xp.argmax(weights, axis=-1)[:, None]
        xp.put_along_axis(uneven, heaviest, 0.0, axis=-1)
        xp.put_along_axis(uneven, heaviest, -sum_in_lane(uneven)[:, None], axis=-1)
        return -self.solved.centred_cdf_sum(uneven)

    def rising_transpose(self, values: Floats) -> Floats:
        """Return the transpose of `rising`."""
        xp = self.kernels.xp
        falling = xp.where(self.nan, 0.0, self.solved.centred_cdf_transpose(values))
        even = sum_in_lane(self.weights * falling)[:, None] / self.whole
        even = xp.where(xp.isnan(even), 0.0, even)
        return xp.where(self.nan, 0.0, even - falling)
