"""Sums for densities that are tabulated, and functions of scipy.special, in NumPy arrays."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ... import _kernels
from ..types import Floats, Pair, Table
from .lanes import Lanes


class Densities(Lanes):
    """The kernels of `protocol.Densities`."""

    has_trees = True

    def erf(self, t: Floats) -> Floats:
        """Return the error function of t."""
        return cast(Floats, _special().erf(t))

    def erfc(self, t: Floats) -> Floats:
        """1 - erf(t)."""
        return cast(Floats, _special().erfc(t))

    def erfcx(self, t: Floats) -> Floats:
        """e^{t^2} erfc(t)."""
        return cast(Floats, _special().erfcx(t))

    def student_tail(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(-t) of Student's t."""
        return cast(Floats, _special().stdtr(df, -t))

    def student_centre(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(t) - 1/2 of Student's t."""
        part = np.square(t / np.hypot(t, df**0.5))
        near = 0.5 * _special().betainc(0.5, 0.5 * df, part)
        # Far out the tail, a power of 1 - part, would feel the rounding of part.
        return np.where(part < 0.5, near, 0.5 - self.student_tail(df, t, log_pdf))

    def student_distance(self, df: float, q: Floats, log_top: float) -> Floats:
        """Return the t at which F(-t) = q of Student's t."""
        t: Floats = -_special().stdtrit(df, q)
        # So far out the tail is a power of t; older versions of SciPy end at 1e100.
        log_factor = log_top + 0.5 * (df - 1.0) * np.log(df)
        return np.where(t < 1e50, t, np.exp((log_factor - np.log(q)) / df))

    def tree_sums(
        self, table: Table, x: Floats, low: Floats | None, values: Floats, alpha: Floats
    ) -> Pair | None:
        """sum_j v_j K((x_i - x_j)/alpha) for points x + low in ascending order of x, in two parts.

        The second holds the whole steps of a CDF, exact where values are whole numbers.
        """
        sums, steps = np.empty(x.shape), np.empty(x.shape)
        kernel = table.coefficients, table.unit, table.reach, table.kind, table.bits
        self._run(_kernels.tree_sums, x.shape, *kernel, x, low, values, alpha, sums, steps)
        return sums, steps


def _special() -> Any:
    """Return scipy.special, which `import lapsum` does not load."""
    import scipy.special

    return scipy.special
