"""Few thresholds a lane, without sorting, and the functions of entries around them."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .launch import DEVICE, Array, blocks_of, elementwise, or_nothing, raw, text_of
from .scans import Scans

SHARED_ROUNDS = 5  # in which several blocks pass over a lane, before one goes on alone
_THREADS, _FEW_THREADS = 128, 32  # of a block, and of one for a short lane
_BRACKET_DOUBLES, _PART_DOUBLES = 21, 225  # of lap_bracket and of lap_part in select.cuh

LEVELS = elementwise(
    "levels",
    "float64 q, float64 total",
    "float64 level",
    "level = lap_share(q, total);",
)

RESCALE = elementwise(
    "rescale", "float64 total, float64 a", "float64 out", "out = ldexp(a, lap_exponent(total));"
)

# A round needs the sums of eight buckets from all threads of a block, and in the last launch goes
# on until nothing is left to do: neither an elementwise nor a reduction kernel has the shared
# memory and the barriers for that.  By the type of the entries, and whether these have weights.
SELECT = {
    (dtype, weighted): raw(
        "lap_select",
        DEVICE,
        f"typedef {real} real;\n#define LAP_WEIGHTED {int(weighted)}\n",
        text_of("select.cuh"),
    )
    for dtype, real in (("f", "float"), ("d", "double"))
    for weighted in (False, True)
}

PROBABILITIES = elementwise(
    "probabilities",
    "T x, raw float64 found, raw float64 alpha, raw bool absent, float64 sign, int64 length, "
    "int64 lanes, bool logarithm",
    "U p",
    """
    const ptrdiff_t lane = i / length;
    const double t = absent[lane] ? -INFINITY
        : lap_offset(found[lane], found[lanes + lane], found[2 * lanes + lane], sign * (double)x,
                     alpha[lane]);
    p = (U)(logarithm ? lap_logcdf(t) : lap_cdf(t));
    """,
)

# The cotangent of F((b - z)/alpha) or its logarithm: densities and slopes first, then what is left
# of the weighted mean of these.
DENSITIES = elementwise(
    "densities",
    "T x, float64 bar, raw float64 weights, raw float64 found, raw float64 alpha, float64 sign, "
    "int64 length, int64 lanes, bool weighted, bool logarithm",
    "float64 mass, float64 flow",
    """
    const ptrdiff_t lane = i / length;
    const double z = sign * (double)x;
    double f = 0.0, slope = 0.0;
    if (!isnan(z) && !isinf(z)) {
        const double t = lap_offset(found[lane], found[lanes + lane], found[2 * lanes + lane], z,
                                    alpha[lane]);
        f = lap_pdf(t);
        slope = logarithm ? lap_logcdf_slope(t) : f;
    }
    mass = weighted ? weights[i] * f : f;
    flow = slope == 0.0 ? 0.0 : bar * slope;
    """,
)

PULL = elementwise(
    "pull",
    "T x, raw T entries, float64 mass, float64 flow, raw float64 total, raw int64 pivot, "
    "raw float64 density, raw float64 alpha, float64 sign, int64 length",
    "float64 x_bar, float64 along",
    """
    // Times alpha.  That of the entry with the largest share is known better from the others.
    const ptrdiff_t lane = i / length;
    x_bar = along = 0.0;
    if (i % length != pivot[lane] && !isinf(x)) {
        const double share = mass == 0.0 ? 0.0 : mass / density[lane] * total[lane];
        x_bar = sign * (share - flow);
    }
    if (x_bar != 0.0)
        along = x_bar
            * lap_step((double)entries[lane * length + pivot[lane]], (double)x, alpha[lane]);
    """,
)

SOFTMAX = elementwise(
    "softmax",
    "T x, raw float64 found, raw float64 alpha, raw float64 weights, raw float64 dot, "
    "raw float64 bar, int64 length, int64 all, int64 few, bool weighted, bool pushing, "
    "bool pulling",
    "float64 x_bar, raw float64 sums",
    """
    const ptrdiff_t lane = i / length, m = i % length;
    const double z = (double)x;
    x_bar = 0.0;
    for (ptrdiff_t b = lane * few; b < (lane + 1) * few; ++b) {
        const double t = lap_offset(found[b], found[all + b], found[2 * all + b], z, alpha[lane]);
        double q = weighted ? weights[i] : 1.0;
        if (q != 0.0)
            q *= lap_pdf(t) / found[7 * all + b];
        if (pulling && q != 0.0)
            x_bar += bar[b] * q;
        // To the neighbour of b on the same side.
        const double before = found[3 * all + b], after = found[4 * all + b];
        sums[b * length + m] =
            q == 0.0 ? 0.0 : q * lap_step(z, z <= before ? before : after, alpha[lane]);
        if (pushing)
            sums[(all + b) * length + m] = q == 0.0 ? 0.0 : q * dot[i];
    }
    """,
)

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


class Selection(Scans):
    """What finds a threshold among unsorted entries, and what is computed for each of these."""

    def levels(self, q: Array, totals: Array | None, n: int) -> Array:
        """Return the levels q of the totals, NaN where q is not in (0, 1); None for these is n."""
        return LEVELS(q, float(n) if totals is None else totals[:, None])

    def rescale(self, totals: Array, *arrays: Array) -> tuple[Array, ...]:
        """Return arrays times the power of two that brings extreme totals of weights near one."""
        return tuple(
            RESCALE(totals.reshape(totals.shape + (1,) * (a.ndim - totals.ndim)), a) for a in arrays
        )

    def select(
        self,
        x: Array,
        weights: Array | None,
        sign: float,
        levels: Array,
        totals: Array | None,
        alpha: Array,
        keep: bool,
        fill: int,
        into: Array | None,
    ) -> Any:
        """Solve every lane of sign * x, as `entries` returns it, whatever its entries are.

        Returns x, or a copy of it to `keep`; None; what `Selection` holds as `found`;
        F((b - sign x)/alpha) if `fill` is 1, its logarithm if it is 2, of the dtype of x (and in
        the memory of `into`, if given); then which lanes are spoilt by a NaN or by what is not
        allowed, and which have no entries, None if none can be without.
        """
        x = x.copy() if keep else x
        lanes, n = x.shape
        found = cupy.empty((10, *levels.shape))
        invalid, absent = cupy.empty((2, *levels.shape), bool)
        kernel = SELECT[x.dtype.char, weights is not None]
        threads = _THREADS if n > _FEW_THREADS else _FEW_THREADS
        blocks = blocks_of(levels.size, n)
        rounds = SHARED_ROUNDS if blocks > 1 else 0
        shapes = (2, levels.size, _BRACKET_DOUBLES), (2, levels.size, blocks, _PART_DOUBLES)
        brackets, parts = (cupy.empty(shape if rounds else (2, 1)) for shape in shapes)
        for turn in range(rounds + 1 if levels.size else 0):
            last = turn == rounds
            here = 1 if last else blocks
            kernel(
                (levels.size * here,),
                (threads,),
                (
                    x,
                    or_nothing(weights),
                    np.int64(n),
                    np.float64(sign),
                    alpha,
                    levels,
                    or_nothing(totals),
                    np.int32(levels.size // lanes),
                    np.int32(fill == 0),
                    np.int32(turn == 0),
                    np.int32(last),
                    np.int32(here),
                    np.int32(blocks),
                    brackets[turn % 2],
                    parts[turn % 2],
                    brackets[1 - turn % 2],
                    parts[1 - turn % 2],
                    found,
                    invalid,
                    absent,
                ),
            )
        p = into
        if fill:
            p = cupy.empty(x.shape, x.dtype) if p is None else p
            PROBABILITIES(x, found, alpha, absent, sign, n, lanes, fill == 2, p)
        if not fill:
            invalid = invalid[:, 0]  # whatever the level
        some_absent = fill and (weights is not None or not n)
        return x, None, found, p, invalid, absent[:, None] if some_absent else None

    def pull(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        sign: float,
        alpha: Array,
        bar: Array,
        logarithm: bool,
    ) -> tuple[Array, Array, Array]:
        """Cotangents of x, of the level and of alpha for `bar`, in plain lanes.

        That is the cotangent of F, or of its logarithm.
        """
        lanes, n = x.shape
        density = cupy.ascontiguousarray(thresholds[7])
        mass, flow, x_bar, along = cupy.empty((4, *x.shape))
        weighted = weights is not None
        inputs = x, self.contiguous(bar), or_nothing(weights), thresholds, alpha
        DENSITIES(*inputs, sign, n, lanes, weighted, logarithm, mass, flow)
        total, pivot = self._sum(flow), cupy.argmax(mass, axis=-1)
        PULL(x, x, mass, flow, total, pivot, density, alpha, sign, n, x_bar, along)
        rest = self._sum(x_bar)
        cupy.put_along_axis(x_bar, pivot[:, None], -rest[:, None], axis=-1)
        return x_bar / alpha[:, None], total / density, -self._sum(along) / alpha

    def softmax(
        self,
        thresholds: Array,
        x: Array,
        weights: Array | None,
        alpha: Array,
        dot: Array | None,
        bar: Array | None,
    ) -> tuple[Array, Array, Array | None]:
        """Sum with the softmax weights q_ij of few thresholds b_i, in plain lanes.

        Returns sum_j q_ij dot_j, if there is `dot`; sum_j q_ij (b_i - x_j)/alpha; and
        sum_i bar_i q_ij, if there is `bar`.
        """
        (_, lanes, few), n = thresholds.shape, x.shape[1]
        sums = cupy.empty((1 if dot is None else 2, lanes, few, n))
        x_bar = cupy.empty(x.shape)
        arrays = (or_nothing(a) for a in (weights, dot, bar))
        flags = weights is not None, dot is not None, bar is not None
        SOFTMAX(x, thresholds, alpha, *arrays, n, lanes * few, few, *flags, x_bar, sums)
        totals = self._sum(sums.reshape(-1, n)).reshape(-1, lanes, few)
        return totals[-1], thresholds[9] + totals[0], None if bar is None else x_bar

    def offsets(self, lo: Array, hi: Array, u: Array, x: Array, alpha: Array) -> Array:
        """(b - x)/alpha for one threshold a lane, or for as many as there are x."""
        out = cupy.empty(x.shape)
        OFFSETS(lo, hi, u, x, alpha, x.shape[1], u.shape[1] == 1, out)
        return out

    def steps(self, origin: Array, x: Array, alpha: Array) -> Array:
        """(x - origin)/alpha for one origin a lane."""
        out = cupy.empty(x.shape)
        STEPS(origin, x, alpha, x.shape[1], out)
        return out

    def cdf(self, t: Array) -> Array:
        """F(t)."""
        return CDF(t)

    def pdf(self, t: Array) -> Array:
        """f(t)."""
        return PDF(t)

    def logcdf_slope(self, t: Array) -> Array:
        """f(t)/F(t)."""
        return LOGCDF_SLOPE(t)

    def shares(
        self,
        nodes: tuple[Array, Array],
        q: tuple[Array, Array],
        density: Array,
        x: Array,
        t: Array,
        alpha: Array,
    ) -> Array:
        """e^{-|t_i|}/sum_j c_j e^{-|t_j|} for one threshold a lane."""
        out = cupy.empty(x.shape)
        SHARES(*nodes, *q, density, x, t, alpha, x.shape[1], out)
        return out
