"""The CUDA kernels of the CuPy backend: a thread for each element, all lanes in one launch.

Arrays are (lanes, length), C-contiguous; raw ones are read at `lane * length + m`.  The formulas
are those of `laplace.h`, the very text that the CPU compiles.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import cupy

_FORMULAS = files("lapsum").joinpath("laplace.h").read_text()
_DEVICE = "\n" + files("lapsum").joinpath("device.cuh").read_text()


# Every operation is rounded, as on the CPU: where a*b + c is not, bits depend on the compiler.
_OPTIONS = ("--fmad=false",)


def _elementwise(name: str, inputs: str, outputs: str, body: str) -> Any:
    return cupy.ElementwiseKernel(
        inputs,
        outputs,
        body,
        f"lapsum_{name}",
        preamble=_FORMULAS + _DEVICE,
        options=_OPTIONS,
    )


def _reduction(name: str, inputs: str, mapped: str) -> Any:
    """Return the kernel for sums of what an expression of the inputs is at each element."""
    return cupy.ReductionKernel(
        inputs,
        "float64 total",
        mapped,
        "a + b",
        "total = a",
        "0",
        f"lapsum_{name}",
        preamble=_FORMULAS + _DEVICE,
        options=_OPTIONS,
    )


# ------------------------------------------------------------------------------------ in order

KEYS = _elementwise(
    "keys",
    "T x, raw float64 weights, bool weighted",
    "K key",
    """
    // Absent entries come last.
    key = weighted && weights[i] == 0.0 ? ~(K(1) << (8 * sizeof(K) - 1)) : K(lap_ordered(x));
    """,
)

# What a sort leaves to be written: with each entry the gap to the one before, and with the last
# that is present how many there are.  None are in lanes that are refused, or where that is a NaN.
_IN_ORDER = """
    const ptrdiff_t lane = i / length, m = i % length;
    const double scale = alpha[lane];
    const bool refused = lap_refused(scale, checking ? totals[lane] : 0.0);
    const bool present = lap_present(i);
    sorted = lap_entry(i);
    gap = m > 0 && present && !refused ? lap_step(lap_entry(i - 1), sorted, scale) : INFINITY;
    if (present ? m + 1 == length || !lap_present(i + 1) : m == 0) {
        const bool spoilt = refused || (present && isnan(sorted));
        invalid[lane] = spoilt;
        count[lane] = present && !spoilt ? m + 1 : 0;
    }
"""

NUMBERS = _elementwise(
    "numbers",
    "raw K keys, raw float64 alpha, raw float64 totals, int64 length, bool checking",
    "float64 sorted, float64 gap, raw int64 count, raw bool invalid",
    """
    const auto lap_entry = [&](ptrdiff_t at) { return lap_number(keys[at]); };
    const auto lap_present = [&](ptrdiff_t) { return true; };
    """
    + _IN_ORDER,
)

ARRANGE = _elementwise(
    "arrange",
    "raw T x, raw float64 weights, raw int64 order, raw float64 alpha, raw float64 totals, "
    "int64 length, bool weighted, bool checking",
    "float64 sorted, float64 gap, raw float64 sorted_weights, raw int64 count, raw bool invalid",
    """
    const auto lap_from = [&](ptrdiff_t at) { return at / length * length + order[at]; };
    const auto lap_entry = [&](ptrdiff_t at) { return (double)x[lap_from(at)]; };
    const auto lap_present =
        [&](ptrdiff_t at) { return !weighted || weights[lap_from(at)] != 0.0; };
    if (weighted)
        sorted_weights[i] = weights[lap_from(i)];
    """
    + _IN_ORDER,
)

UNSORT = _elementwise(
    "unsort",
    "T value, int64 at, int64 length",
    "raw T out",
    "out[i / length * length + at] = value;",
)

# What both passes of a scan share: the lane and direction of a thread, and its chunk of elements.
_CHUNK = """
    const ptrdiff_t row = i / chunks, lane = row % lanes, start = i % chunks * chunk;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    const bool reverse = backward || row >= lanes;
    for (ptrdiff_t j = start; j < stop; ++j) {
        const ptrdiff_t m = reverse ? length - 1 - j : j;
        const double value = unit ? 1.0 : high[(apart ? row : lane) * length + m];
        const double rest = pairs ? low[lane * length + m] : 0.0;
        double step = 0.0;
        if (j == 0)
            step = INFINITY;
        else if (!plain)
            step = gap[(own ? lane : key[lane]) * length + (reverse ? m + 1 : m)];
"""
_CHUNKS = (
    "raw float64 gap, raw float64 high, raw float64 low, raw int64 key, int64 lanes, int64 length, "
    "int64 chunks, int64 chunk, bool unit, bool pairs, bool plain, bool own, bool backward, "
    "bool apart"
)

SCAN_UP = _elementwise(
    "scan_up",
    _CHUNKS,
    "float64 total, float64 total_low, float64 span",
    "double sum = 0.0, sum_low = 0.0, far = 0.0, far_low = 0.0;"
    + _CHUNK
    + """
        lap_carry(value, rest, j == start ? INFINITY : step, sum, sum_low);
        lap_add(step, &far, &far_low);
    }
    total = sum;
    total_low = sum_low;
    span = far + far_low;
    """,
)

SCAN_DOWN = _elementwise(
    "scan_down",
    _CHUNKS + ", raw float64 before, raw float64 before_low, bool keep_low",
    "raw float64 out, raw float64 out_low",
    "double sum = 0.0, sum_low = 0.0;"
    "if (i % chunks > 0) { sum = before[i - 1]; sum_low = before_low[i - 1]; }"
    + _CHUNK
    + """
        lap_carry(value, rest, step, sum, sum_low);
        out[row * length + m] = keep_low ? sum : sum + sum_low;
        if (keep_low)
            out_low[row * length + m] = sum_low;
    }
    """,
)

LARGEST_UP = _elementwise(
    "largest_up",
    "raw float64 values, int64 length, int64 chunks, int64 chunk",
    "float64 largest",
    """
    const ptrdiff_t start = i % chunks * chunk, lane = i / chunks * length;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    largest = values[lane + start];
    for (ptrdiff_t m = start + 1; m < stop; ++m)
        if (!(values[lane + m] < largest))
            largest = values[lane + m];
    """,
)

LARGEST_DOWN = _elementwise(
    "largest_down",
    "raw float64 values, raw float64 before, int64 length, int64 chunks, int64 chunk",
    "raw T out",
    """
    const ptrdiff_t start = i % chunks * chunk, lane = i / chunks * length;
    const ptrdiff_t stop = start + chunk < length ? start + chunk : length;
    double largest = i % chunks > 0 ? before[i - 1] : values[lane + start];
    for (ptrdiff_t m = start; m < stop; ++m) {
        if (!(values[lane + m] < largest))
            largest = values[lane + m];
        out[lane + m] = (T)largest;
    }
    """,
)

RANKS = _elementwise(
    "ranks",
    "raw float64 x, int64 at, raw int64 count, raw bool invalid, raw float64 alpha, "
    "raw float64 weights, raw float64 high, raw float64 low, raw float64 left, raw float64 right, "
    "int64 length, bool weighted",
    "raw T out",
    """
    const ptrdiff_t lane = i / length, start = lane * length, present = count[lane];
    const double z = x[i];
    double rank = NAN;
    if (i - start < present) {
        // Equal entries have the rank of the first of them.
        const ptrdiff_t m = lap_first(x, start, i - start), f = start + m;
        rank = weighted ? high[f] + (low[f] + 0.5 * (((right[f] - weights[f]) - left[f]) + 1.0))
                        : (m + 1) + 0.5 * (right[f] - left[f]);
    } else if (!invalid[lane] && !isnan(z)) {
        // Absent ones are ranked among the others.
        const ptrdiff_t m = lap_up_to(x, start, present, z), f = start + m;
        const double before = m == 0 ? 0.0
            : left[f - 1] * exp(-lap_step(x[f - 1], z, alpha[lane]));
        const double after = m == present ? 0.0
            : right[f] * exp(-lap_step(z, x[f], alpha[lane]));
        rank = 0.5 * ((after - before) + 1.0);
        if (m > 0)
            rank = high[f - 1] + (low[f - 1] + rank);
    }
    out[start + at] = (T)rank;
    """,
)

MOMENTS = _elementwise(
    "moments",
    "raw float64 gap, raw float64 step, raw float64 base, raw int64 key, int64 length, "
    "bool reverse",
    "float64 value",
    """
    const ptrdiff_t m = i % length, near = reverse ? m + 1 : m, other = reverse ? i + 1 : i - 1;
    value = 0.0;
    if (reverse ? m + 1 < length : m > 0) {
        const ptrdiff_t at = key[i / length] * length + near;
        const double factor = lap_decay_value(lap_decay(gap[at]));
        if (factor != 0.0)
            value = factor * step[at] * base[other];
    }
    """,
)

# The cotangent of ranks: in differences of it nothing cancels, nor in what of them passes each gap,
# which is what alpha feels.
STEPS_OF_RANKS = _elementwise(
    "steps_of_ranks",
    "raw float64 gap, raw float64 bar, raw float64 A, raw float64 B, int64 size, int64 length",
    "float64 value",
    """
    const ptrdiff_t at = i % size, m = at % length, right = i / size;
    value = 0.0;
    if (right ? m + 1 < length : m > 0) {
        const double factor = lap_decay_value(lap_decay(gap[at + right]));
        if (factor != 0.0)
            value = factor
                * ((bar[at + right] - bar[at + right - 1]) * (right ? B[at + 1] : A[at - 1]));
    }
    """,
)

PULL_RANKS = _elementwise(
    "pull_ranks",
    "raw float64 x, raw float64 gap, int64 at, raw float64 bar, raw float64 A, raw float64 B, "
    "raw float64 before, raw float64 after, raw float64 alpha, float64 sign, int64 length",
    "raw float64 x_bar, float64 flux",
    """
    const ptrdiff_t lane = i / length;
    const double factor = i % length > 0 ? lap_decay_value(lap_decay(gap[i])) : 0.0;
    x_bar[lane * length + at] =
        isinf(x[i]) ? 0.0 : 0.5 * sign * (before[i] - after[i]) / alpha[lane];
    flux = 0.0;
    if (factor != 0.0)
        flux = gap[i] * factor
            * (A[i - 1] * after[i] + ((bar[i] - bar[i - 1]) * A[i - 1] + before[i - 1]) * B[i]);
    """,
)

PULL_SORTED = _elementwise(
    "pull_sorted",
    "raw float64 x, raw float64 gap, int64 at, raw float64 A, raw float64 B, raw float64 left, "
    "raw float64 right, int64 length",
    "raw float64 x_bar, float64 along",
    """
    const double factor = i % length > 0 ? lap_decay_value(lap_decay(gap[i])) : 0.0;
    x_bar[i / length * length + at] = isinf(x[i]) ? 0.0 : left[i] + right[i];
    along = 0.0;
    if (factor != 0.0)
        along = gap[i] * factor * (left[i] * A[i - 1] - right[i - 1] * B[i]);
    """,
)

LEVEL_TIES = _elementwise(
    "level_ties",
    "raw float64 x, raw float64 values, raw int64 key, int64 length",
    "float64 out",
    """
    const ptrdiff_t lane = i / length, m = i % length;
    out = values[lane * length + lap_first(x, key[lane] * length, m)];
    """,
)

# ------------------------------------------------------------------------- targets and thresholds

LOCATE = _elementwise(
    "locate",
    "raw float64 x, raw int64 count, raw float64 alpha, float64 lo, float64 hi, float64 u, "
    "raw int64 key, int64 length, int64 steps, bool plain",
    "int64 index",
    """
    const ptrdiff_t lane = key[i / steps], start = lane * length;
    ptrdiff_t low = 0, high = isnan(lo) || (!plain && isnan(u)) ? 0 : count[lane];
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        const double source = x[start + middle];
        if (plain ? source <= lo : lap_offset(lo, hi, u, source, alpha[lane]) >= 0.0)
            low = middle + 1;
        else
            high = middle;
    }
    index = low;
    """,
)

DISTANCES = _elementwise(
    "distances",
    "raw float64 x, raw int64 count, raw float64 alpha, float64 lo, float64 hi, float64 u, "
    "raw int64 key, int64 index, int64 length, int64 steps, bool plain",
    "float64 left, float64 right",
    """
    const ptrdiff_t lane = key[i / steps], at = lane * length + index;
    left = right = isnan(lo) || (!plain && isnan(u)) ? NAN : INFINITY;
    if (!isnan(left) && index > 0)
        left = plain ? lap_step(x[at - 1], lo, alpha[lane])
                     : lap_offset(lo, hi, u, x[at - 1], alpha[lane]);
    if (!isnan(right) && index < count[lane])
        right = plain ? lap_step(lo, x[at], alpha[lane])
                      : -lap_offset(lo, hi, u, x[at], alpha[lane]);
    """,
)

LEVEL = _elementwise(
    "level",
    "raw float64 x, raw int64 count, raw float64 alpha, raw float64 A, raw float64 B, "
    "raw float64 high, raw float64 low, float64 target, raw int64 key, int64 index, "
    "int64 length, int64 steps, bool unit",
    "float64 out",
    """
    const ptrdiff_t lane = key[i / steps], at = lane * length + index;
    double tails = 0.0;
    if (index > 0)
        tails -= 0.5 * exp(-lap_step(x[at - 1], target, alpha[lane])) * A[at - 1];
    if (index < count[lane])
        tails += 0.5 * exp(-lap_step(target, x[at], alpha[lane])) * B[at];
    if (isnan(target))
        out = NAN;
    else if (unit || index == 0)
        out = index + tails;
    else
        out = high[at - 1] + (low[at - 1] + tails);
    """,
)

SOLVE = _elementwise(
    "solve",
    "raw float64 gap, raw int64 count, raw float64 weights, raw float64 high, raw float64 low, "
    "raw float64 A, raw float64 B, float64 level, raw int64 key, int64 length, int64 steps, "
    "bool weighted, int32 rows",
    "int64 index, int8 side, float64 u, raw float64 factors",
    """
    const ptrdiff_t lane = key[i / steps], start = lane * length, nodes = count[lane];
    const ptrdiff_t size = _ind.size();
    index = side = 0;
    u = NAN;
    if (nodes == 0 || isnan(level)) {
        for (int r = 0; r < rows; ++r)
            factors[r * size + i] = nodes == 0 ? 0.0 : NAN;
    } else {
        ptrdiff_t m;
        const lap_root root =
            lap_solve(level, gap, weights, high, low, A, B, start, nodes, weighted, m);
        index = m;
        side = root.side;
        u = root.u;
        if (rows > 0) {
            factors[i] = root.left;
            factors[size + i] = root.right;
        }
        if (rows > 2) {
            factors[2 * size + i] = root.q_left;
            factors[3 * size + i] = root.q_right;
            factors[4 * size + i] = root.density;
            factors[5 * size + i] = root.centre;
        }
    }
    """,
)

SORTED = _elementwise(
    "sorted",
    "raw float64 x, raw float64 gap, raw int64 count, raw float64 A, raw float64 B, "
    "raw float64 alpha, float64 first, int64 length, int64 steps",
    "float64 y",
    """
    const ptrdiff_t lane = i / steps, start = lane * length, nodes = count[lane];
    y = NAN;
    if (nodes > 0) {
        ptrdiff_t m;
        const lap_root root =
            lap_solve(first + i % steps, gap, A, A, A, A, B, start, nodes, false, m);
        y = lap_threshold(x[start + (root.side > 0 ? m : m - 1)],
                          x[start + (root.side < 0 ? m - 1 : m)], root.u, alpha[lane]);
    }
    """,
)

ANCHORS = _elementwise(
    "anchors",
    "raw float64 x, int64 index, int8 side, raw int64 key, int64 length, int64 steps",
    "float64 lo, float64 hi",
    """
    const ptrdiff_t at = key[i / steps] * length + index;
    lo = hi = NAN;
    if (index > 0 || side != 0) {
        lo = x[side > 0 ? at : at - 1];
        hi = x[side < 0 ? at - 1 : at];
    }
    """,
)

THRESHOLDS = _elementwise(
    "thresholds",
    "float64 lo, float64 hi, float64 u, raw float64 alpha, raw int64 key, int64 steps",
    "float64 b",
    "b = lap_threshold(lo, hi, u, alpha[key[i / steps]]);",
)

GATHER = _elementwise(
    "gather",
    "raw float64 left, raw float64 right, raw int64 key, raw int64 left_at, raw int64 right_at, "
    "raw float64 left_by, raw float64 right_by, raw int64 lane, int64 length, int64 steps",
    "float64 out",
    """
    const ptrdiff_t start = key[i / steps] * length, at = lane[i / steps] * steps + i % steps;
    out = 0.0;
    if (left_at[at] >= 0 && left_at[at] < length && left_by[at] != 0.0)
        out += left_by[at] * left[start + left_at[at]];
    if (right_at[at] >= 0 && right_at[at] < length && right_by[at] != 0.0)
        out += right_by[at] * right[start + right_at[at]];
    """,
)

# The transpose of `gather` adds up what reaches one node in a fixed order: by node, then by target.
SHARES_OF_NODES = _elementwise(
    "shares_of_nodes",
    "raw float64 values, raw int64 left_at, raw int64 right_at, raw float64 left_by, "
    "raw float64 right_by, raw int64 lane, raw int64 key, int64 length, int64 steps, int64 nodes",
    "int64 node, float64 share",
    """
    const ptrdiff_t size = _ind.size() / 2, side = i / size, target = i % size;
    const ptrdiff_t at = lane[target / steps] * steps + target % steps;
    const ptrdiff_t m = side == 0 ? left_at[at] : right_at[at];
    const double by = side == 0 ? left_by[at] : right_by[at];
    const ptrdiff_t first = side * (nodes + 1);
    node = first + nodes; // none
    share = 0.0;
    if (m >= 0 && m < length && by != 0.0 && values[target] != 0.0) {
        node = first + key[target / steps] * length + m;
        share = by * values[target];
    }
    """,
)

BREAKS = _elementwise(
    "breaks",
    "raw int64 node, raw int64 key, int64 length",
    "float64 gap",
    """
    const ptrdiff_t at = key[i / length] * length + i % length;
    gap = i % length > 0 && node[at - 1] == node[at] ? 0.0 : INFINITY;
    """,
)

LAST_OF_NODE = _elementwise(
    "last_of_node",
    "raw int64 node, raw float64 sums, raw int64 key, int64 length, int64 nodes",
    "float64 out",
    """
    // The running sum where the node's entries end, if it has any.
    const ptrdiff_t lane = i / nodes, start = key[lane] * length;
    const ptrdiff_t end = lap_up_to(node, start, length, i % nodes);
    out = end > 0 && node[start + end - 1] == i % nodes ? sums[lane * length + end - 1] : 0.0;
    """,
)

# Of ascending thresholds with `index` nodes below: the sums of what they give to the node on their
# right, then on their left; the scans of the latter come first, and end where a run ends.
NEIGHBOURS = _elementwise(
    "neighbours",
    "raw int64 index, raw float64 sums, int64 size, int64 length, int64 steps",
    "float64 out",
    """
    const ptrdiff_t left = i / size, m = i % size % length, lane = i % size / length;
    const ptrdiff_t start = lane * steps, total = size / length * steps;
    const ptrdiff_t end = lap_up_to(index, start, steps, left ? m + 1 : m - 1);
    out = 0.0;
    if (left && end > 0 && index[start + end - 1] == m + 1)
        out = sums[start + end - 1];
    if (!left && end < steps && index[start + end] == m)
        out = sums[total + start + end];
    """,
)

LEAST_OF_LANES = _elementwise(
    "least_of_lanes",
    "raw float64 values, raw int64 order, raw int64 key, int64 lanes",
    "float64 out",
    """
    const ptrdiff_t stop = lap_up_to(key, 0, lanes, i);
    out = INFINITY;
    for (ptrdiff_t m = lap_up_to(key, 0, lanes, i - 1); m < stop; ++m)
        if (values[order[m]] < out)
            out = values[order[m]];
    """,
)

# ------------------------------------------------------------------------------ entries of a lane


def numbers_kernel(on_device: tuple[bool, ...]) -> Any:
    """Return the kernel that lays several arrays out in order.

    Each is of any dtype and any strides, or one float on the host.
    """
    several = range(len(on_device))
    kinds = [f"raw {'TUVW'[k]}" if there else "float64" for k, there in enumerate(on_device)]
    entries = [f"in{k}[i]" if there else f"in{k}" for k, there in enumerate(on_device)]
    return _elementwise(
        "numbers_of_lanes",
        ", ".join([*(f"{kinds[k]} in{k}" for k in several), *(f"int64 size{k}" for k in several)]),
        ", ".join(f"raw float64 out{k}" for k in several),
        "\n".join(f"if (i < size{k}) out{k}[i] = (double){entries[k]};" for k in several),
    )


LEVELS = _elementwise(
    "levels",
    "float64 q, float64 total",
    "float64 level",
    "level = lap_share(q, total);",
)

RESCALE = _elementwise(
    "rescale", "float64 total, float64 a", "float64 out", "out = ldexp(a, lap_exponent(total));"
)

PROBABILITIES = _elementwise(
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
DENSITIES = _elementwise(
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

PULL = _elementwise(
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

SOFTMAX = _elementwise(
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

OFFSETS = _elementwise(
    "offsets",
    "raw float64 lo, raw float64 hi, raw float64 u, T x, raw float64 alpha, int64 length, bool one",
    "float64 t",
    """
    const ptrdiff_t at = one ? i / length : i;
    t = lap_offset(lo[at], hi[at], u[at], (double)x, alpha[i / length]);
    """,
)

STEPS = _elementwise(
    "steps",
    "raw T origin, T x, raw float64 alpha, int64 length",
    "float64 t",
    "t = lap_step((double)origin[i / length], (double)x, alpha[i / length]);",
)

CDF = _elementwise("cdf", "float64 t", "float64 out", "out = lap_cdf(t);")
PDF = _elementwise("pdf", "float64 t", "float64 out", "out = lap_pdf(t);")
LOGCDF_SLOPE = _elementwise(
    "logcdf_slope", "float64 t", "float64 out", "out = lap_logcdf_slope(t);"
)
TIMES = _elementwise(
    "times", "float64 a, float64 b", "float64 out", "out = a == 0.0 || b == 0.0 ? 0.0 : a * b;"
)

SHARES = _elementwise(
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

# ----------------------------------------------------------------------------------- permutations

WIDTHS = _elementwise(
    "widths",
    "raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, int64 length",
    "float64 width",
    """
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1) + m;
    width = INFINITY;
    if (m > 0 && m < length - 1)
        width = lap_width(lo[b - 1], hi[b - 1], u[b - 1], lo[b], hi[b], u[b], alpha[lane]);
    """,
)

PERMUTATION = _elementwise(
    "permutation",
    "raw float64 x, raw int64 order, raw float64 lo, raw float64 hi, raw float64 u, "
    "raw float64 width, raw float64 alpha, int64 length",
    "raw T out",
    """
    const ptrdiff_t lane = i / (length * length), row = i / length % length, m = i % length;
    const ptrdiff_t start = lane * length, b = lane * (length - 1);
    const double z = x[start + m];
    out[(start + row) * length + order[start + m]] = (T)lap_cdf_difference(
        lap_bound(lo, hi, u, b, row - 1, length - 1, z, alpha[lane]),
        lap_bound(lo, hi, u, b, row, length - 1, z, alpha[lane]), width[start + row]);
    """,
)

PERMUTATION_JVP = _elementwise(
    "permutation_jvp",
    "raw float64 x, raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, "
    "raw float64 x_dot, raw float64 b_dot, raw float64 alpha_dot, raw float64 nodes, "
    "raw float64 deviation, int64 lanes, int64 length, bool along_x, bool along_alpha",
    "float64 out",
    """
    const ptrdiff_t lane = i / (length * length), row = i / length % length, m = i % length;
    const double z = x[lane * length + m];
    out = 0.0;
    for (ptrdiff_t end = 0; end < 2; ++end) {
        if (row == (end ? 0 : length - 1))
            continue;
        const ptrdiff_t b = lane * (length - 1) + row - end;
        const ptrdiff_t r = b + lanes * (length - 1);
        const double kernel = lap_pdf(lap_offset(lo[b], hi[b], u[b], z, alpha[lane]));
        double change = 0.0;
        if (kernel == 0.0)
            continue;
        if (along_x)
            change += kernel * (b_dot[b] - x_dot[lane * length + m]);
        if (along_alpha)
            change += lap_along(kernel * alpha_dot[lane], z, nodes[b], nodes[r], deviation[b],
                                deviation[r], alpha[lane]);
        out += end ? -change : change;
    }
    out /= alpha[lane]; // last, since two overflowing rows have no difference
    """,
)

# The transpose: what a threshold b changes in F((b - x)/alpha), summed over x, b, or both.
_ENTRIES = (
    "float64 entry, float64 lo, float64 hi, float64 u, float64 alpha, float64 bar, float64 below"
)
_FLOW = "lap_flow(bar, below, lap_offset(lo, hi, u, entry, alpha))"

FLOW = _reduction("flow", _ENTRIES, _FLOW)

FLOW_ALONG = _reduction(
    "flow_along",
    _ENTRIES + ", float64 left, float64 right, float64 off_left, float64 off_right",
    f"lap_along({_FLOW}, entry, left, right, off_left, off_right, alpha)",
)

INSIDES = _elementwise(
    "insides",
    "raw float64 x, raw int64 count, raw int64 index, raw float64 lo, raw float64 hi, "
    "raw float64 u, raw float64 alpha, int64 length",
    "int64 row, float64 inside",
    """
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1);
    row = 0;
    inside = 0.0;
    if (m < count[lane]) {
        row = lap_up_to(index, b, length - 1, m);
        const double t0 = lap_bound(lo, hi, u, b, row - 1, length - 1, x[i], alpha[lane]);
        const double t1 = lap_bound(lo, hi, u, b, row, length - 1, x[i], alpha[lane]);
        inside = lap_cdf_across(t0 < 0.0 ? t0 : 0.0, t1 > 0.0 ? t1 : 0.0);
    }
    """,
)

ROWS = _elementwise(
    "rows",
    "raw int64 index, raw float64 lo, raw float64 hi, raw float64 u, raw float64 alpha, "
    "raw float64 factors, int64 lanes, int64 length",
    "int64 left_at, int64 right_at, float64 left_by, float64 right_by",
    """
    // From outside an interval: the kernel at its near end times (1 - e^{-width})/2.
    const ptrdiff_t lane = i / length, m = i % length, b = lane * (length - 1) + m;
    const bool first = m == 0, last = m == length - 1;
    double half = 0.5;
    if (!first && !last)
        half = -0.5
            * expm1(-lap_width(lo[b - 1], hi[b - 1], u[b - 1], lo[b], hi[b], u[b], alpha[lane]));
    left_at = first ? -1 : index[b - 1] - 1;
    left_by = first ? 0.0 : half * factors[b - 1];
    right_at = last ? -1 : index[b];
    right_by = last ? 0.0 : half * factors[lanes * (length - 1) + b];
    """,
)

WEIGH = _elementwise(
    "weigh",
    "raw float64 values, raw float64 inside, raw int64 key, int64 length",
    "float64 out",
    "out = inside[key[i / length] * length + i % length] * values[i];",
)

SPREAD = _elementwise(
    "spread",
    "raw float64 values, raw float64 inside, raw int64 row, raw int64 key, float64 given, "
    "int64 length",
    "float64 out",
    """
    const ptrdiff_t at = key[i / length] * length + i % length;
    out = given + inside[at] * values[i / length * length + row[at]];
    """,
)

# ----------------------------------------------------------------------------- one threshold a lane

_SELECT = files("lapsum").joinpath("select.cuh").read_text()
_SUMS = files("lapsum").joinpath("sums.cuh").read_text()


def select_kernel(real: str, weighted: bool) -> Any:
    """Return the kernel of `select.cuh` for entries of the type `real`.

    A round needs the sums of eight buckets from all threads of a block, and in the last launch goes
    on until nothing is left to do: neither an elementwise nor a reduction kernel has the shared
    memory and the barriers for that.
    """
    head = f"typedef {real} real;\n#define LAP_WEIGHTED {int(weighted)}\n"
    return cupy.RawKernel(_FORMULAS + _DEVICE + head + _SELECT, "lap_select", options=_OPTIONS)


def sums_kernel() -> Any:
    """Return the kernel of `sums.cuh`.

    A reduction kernel gives a lane to one block, however long it is.
    """
    return cupy.RawKernel(_FORMULAS + _SUMS, "lap_sums", options=_OPTIONS)
