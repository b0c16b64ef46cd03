"""F and its derivatives at the entries of lanes."""

from __future__ import annotations

import cupy

from ..types import Floats, Pair
from .launch import elementwise

OFFSETS = elementwise(
    "offsets",
    "raw float64 lo, raw float64 hi, raw float64 u, T x, raw float64 alpha, int64 length, bool one",
    "float64 t",
    """
    const ptrdiff_t at = one ? i / length : i;
    t = lap_offset(lo[at], hi[at], u[at], (double)x, alpha[i / length]);
    """,
)

STEPS = elementwise(
    "steps",
    "raw T origin, T x, raw float64 alpha, int64 length",
    "float64 t",
    "t = lap_step((double)origin[i / length], (double)x, alpha[i / length]);",
)

CDF = elementwise("cdf", "float64 t", "float64 out", "out = lap_cdf(t);")

PDF = elementwise("pdf", "float64 t", "float64 out", "out = lap_pdf(t);")

LOGCDF_SLOPE = elementwise("logcdf_slope", "float64 t", "float64 out", "out = lap_logcdf_slope(t);")

SHARES = elementwise(
    "shares",
    "raw float64 left, raw float64 right, raw float64 q_left, raw float64 q_right, "
    "raw float64 density, T x, float64 t, raw float64 alpha, int64 length",
    "float64 out",
    """
    const ptrdiff_t l = i / length;
    const double z = (double)x;
    const bool has_left = q_left[l] != 0.0, has_right = q_right[l] != 0.0;
    // Measured from the nodes: |t| - min |t| would lose every digit in a wide gap.  Beyond them are
    // only entries of zero weight.
    if (!has_left && !has_right)
        out = 0.0;
    else if (isnan(z))
        out = NAN;
    else if (has_left && (z <= left[l] || (t > 0.0 && !(has_right && z >= right[l]))))
        out = q_left[l] * exp(lap_step(left[l], z, alpha[l]));
    else if (has_right && (z >= right[l] || t <= 0.0))
        out = q_right[l] * exp(lap_step(z, right[l], alpha[l]));
    else
        out = lap_pdf(t) / density[l];
    """,
)


class EntryKernels:
    """The kernels of `protocol.Selection` that look at one entry at a time."""

    def offsets(self, lo: Floats, hi: Floats, u: Floats, x: Floats, alpha: Floats) -> Floats:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        out: Floats = cupy.empty(x.shape)
        OFFSETS(lo, hi, u, x, alpha, x.shape[1], u.shape[1] == 1, out)
        return out

    def steps(self, origin: Floats, x: Floats, alpha: Floats) -> Floats:
        """(x - origin)/alpha for one origin a lane."""
        out: Floats = cupy.empty(x.shape)
        STEPS(origin, x, alpha, x.shape[1], out)
        return out

    def cdf(self, t: Floats) -> Floats:
        """F(t)."""
        out: Floats = CDF(t)
        return out

    def pdf(self, t: Floats) -> Floats:
        """f(t)."""
        out: Floats = PDF(t)
        return out

    def logcdf_slope(self, t: Floats) -> Floats:
        """f(t)/F(t)."""
        out: Floats = LOGCDF_SLOPE(t)
        return out

    def shares(
        self, nodes: Pair, q: Pair, density: Floats, x: Floats, t: Floats, alpha: Floats
    ) -> Floats:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane, from its neighbours."""
        out: Floats = cupy.empty(x.shape)
        SHARES(*nodes, *q, density, x, t, alpha, x.shape[1], out)
        return out
