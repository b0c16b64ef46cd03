"""The thresholds of top-k and quantiles, without sorting, and functions of entries around them."""

from __future__ import annotations

import cupy
import numpy as np

from ..types import (
    NEAR,
    AnchoredThresholds,
    Array,
    Entries,
    Flags,
    Floats,
    Products,
    Selected,
)
from .entries import EntryKernels
from .launch import DEVICE, blocks_of, elementwise, or_nothing, raw, text_of
from .scans import Scans

SHARED_ROUNDS = 5  # in which several blocks pass over a lane, before one goes on alone
_THREADS, _FEW_THREADS = 128, 32  # of a block, and of one for a short lane
_BRACKET_DOUBLES, _PART_DOUBLES = 21, 225  # of lap_bracket and of lap_part in select.cuh

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
    "T x, raw float64 weights, raw float64 found, raw float64 alpha, raw bool absent, "
    "float64 sign, int64 length, int64 lanes, bool weighted, bool logarithm",
    "U p, raw bool muted",
    """
    const ptrdiff_t lane = i / length;
    const double t = absent[lane] ? -INFINITY
        : lap_offset(found[lane], found[lanes + lane], found[2 * lanes + lane], sign * (double)x,
                     alpha[lane]);
    const double result = logarithm ? lap_logcdf(t) : lap_cdf(t);
    // Of an absent entry, but in a lane that a NaN spoils, where the threshold is one.
    const bool nothing = weighted && weights[i] == 0.0 && !isfinite(result)
        && !isnan(found[2 * lanes + lane]);
    if (weighted)
        muted[i] = nothing;
    const bool overflows = weighted && weights[i] == 0.0 && isinf((double)(U)result);
    p = (U)(nothing || overflows ? 0.0 : result);
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


class Selection(EntryKernels, Scans):
    """The kernels of `protocol.Selection`."""

    def select_topk(
        self,
        x: Entries,
        weights: Floats | None,
        sign: float,
        levels: Floats,
        totals: Floats | None,
        alpha: Floats,
        allowance: float,
        logarithm: bool,
        copy: bool,
        out: Entries | None,
    ) -> Selected:
        """Solve one level a lane, and write F((b - sign x)/alpha), or its logarithm.

        Every lane is solved, whatever its entries are.
        """
        x = x.copy() if copy else x
        lanes, n = x.shape
        block, nan_lanes, absent = self._select(
            x, weights, sign, levels, totals, alpha, allowance, False
        )
        p = cupy.empty(x.shape, x.dtype) if out is None else out
        weighted = weights is not None
        muted = cupy.empty(x.shape, bool) if weighted else None
        flags = weighted, logarithm
        inputs = x, or_nothing(weights), block, alpha, absent, sign, n, lanes, *flags
        PROBABILITIES(*inputs, p, cupy.empty(1, bool) if muted is None else muted)
        some_absent = absent[:, None] if weighted or not n else None
        return Selected(block, None, None, x, p, nan_lanes, some_absent, muted)

    def select_quantiles(
        self, x: Entries, weights: Floats | None, q: Floats, totals: Floats | None, alpha: Floats
    ) -> Selected:
        """Solve a few levels a lane, given as shares q of the total; every lane is solved."""
        block, nan_lanes, _ = self._select(x, weights, 1.0, q, totals, alpha, 0.0, True)
        return Selected(block, None, None, x, None, nan_lanes[:, 0], None)  # whatever the level

    def _select(
        self,
        x: Entries,
        weights: Floats | None,
        sign: float,
        levels: Floats,
        totals: Floats | None,
        alpha: Floats,
        allowance: float,
        shares: bool,
    ) -> tuple[Floats, Flags, Flags]:
        """Return the thresholds of sign * x, stacked, at levels or at shares of the total.

        Beside each, whether a NaN spoils its lane, or what is not allowed; and whether that has no
        entries.
        """
        lanes, n = x.shape
        block = cupy.empty((len(AnchoredThresholds._fields), *levels.shape))
        nan_lanes, absent = cupy.empty((2, *levels.shape), bool)
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
                    np.float64(allowance),
                    np.int32(levels.size // lanes),
                    np.int32(shares),
                    np.int32(turn == 0),
                    np.int32(last),
                    np.int32(here),
                    np.int32(blocks),
                    brackets[turn % 2],
                    parts[turn % 2],
                    brackets[1 - turn % 2],
                    parts[1 - turn % 2],
                    block,
                    nan_lanes,
                    absent,
                ),
            )
        return block, nan_lanes, absent

    def fused_lanes(self, selected: Selected) -> Flags:
        """Return which lanes have finite thresholds near to entries."""
        lo_hi_u, density = selected.block[:3], selected.density
        lanes: Flags
        if density.ndim == 1:
            lanes = cupy.isfinite(lo_hi_u).all(axis=0) & (density > NEAR)
        else:
            near = (density > NEAR).all(axis=-1)
            lanes = cupy.isfinite(lo_hi_u).all(axis=(0, 2)) & near
        return lanes

    def topk_vjp(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        sign: float,
        alpha: Floats,
        bar: Entries,
        logarithm: bool,
    ) -> tuple[Array, Floats, Floats]:
        """Cotangents of x, of the level and of alpha, all of them float64."""
        lanes, n = x.shape
        density = cupy.ascontiguousarray(AnchoredThresholds(*block).density)
        mass, flow, x_bar, along = cupy.empty((4, *x.shape))
        weighted = weights is not None
        inputs = x, self.contiguous(bar), or_nothing(weights), block, alpha
        DENSITIES(*inputs, sign, n, lanes, weighted, logarithm, mass, flow)
        total, pivot = self._sum(flow), cupy.argmax(mass, axis=-1)
        PULL(x, x, mass, flow, total, pivot, density, alpha, sign, n, x_bar, along)
        rest = self._sum(x_bar)
        cupy.put_along_axis(x_bar, pivot[:, None], -rest[:, None], axis=-1)
        return x_bar / alpha[:, None], total / density, -self._sum(along) / alpha

    def softmax_products(
        self,
        block: Floats,
        x: Entries,
        weights: Floats | None,
        alpha: Floats,
        dot: Floats | None,
        bar: Floats | None,
    ) -> Products:
        """Return sums with the softmax weights of few thresholds."""
        (_, lanes, few), n = block.shape, x.shape[1]
        kinds = 1 if dot is None else 2
        sums = cupy.empty((kinds, lanes, few, n))
        x_bar = cupy.empty(x.shape)
        arrays = (or_nothing(a) for a in (weights, dot, bar))
        flags = weights is not None, dot is not None, bar is not None
        SOFTMAX(x, block, alpha, *arrays, n, lanes * few, few, *flags, x_bar, sums)
        totals = self._sum(sums.reshape(kinds * lanes * few, n)).reshape(kinds, lanes, few)
        by_alpha = AnchoredThresholds(*block).centre + totals[0]
        return Products(totals[-1], by_alpha, None if bar is None else x_bar)
