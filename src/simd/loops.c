/* One level of the loops declared in loops.h: LAP_LEVEL names it, compiler flags make it. */
#include "loops.h"
#include "laplace.h"
#include "vector.h"

#include <float.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Sums are plain over a block, few enough additions that their rounding stays below a few units,
 * and compensated from block to block. */
#define BLOCK (32 * LANES)

static const double COUNT[8] = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0};

typedef struct {
    vec high, low;
} pair;

/* What a sum loses when a term is added to it. */
INLINE vec lost(vec *sum, vec term)
{
    const vec total = *sum + term, part = total - *sum;
    const vec rest = (*sum - (total - part)) + (term - part);
    *sum = total;
    return rest;
}

INLINE void add(pair *sum, vec term)
{
    const vec rest = lost(&sum->high, term);
    sum->low = sum->low + rest;
}

INLINE lap_pair reduce(pair sum)
{
    double high[LANES], low[LANES];
    lap_pair out = {0.0, 0.0};
    int i;
    v_store(high, sum.high);
    v_store(low, sum.low);
    for (i = 0; i < LANES; i++) {
        lap_add(high[i], &out.high, &out.low);
        out.low += low[i];
    }
    return out;
}

INLINE ptrdiff_t collapse(const void *x, int single, const double *c, ptrdiff_t n, double sign,
                          double lo, double hi, double alpha, void *inside, double *inside_c,
                          void *copy, lap_outside *outside)
{
    const vec zero = v_all(0.0), one = v_all(1.0), rate = v_all(V_LOG2E / alpha);
    /* x lies between -hi and -lo where sign is -1, and what is below is above. */
    const vec low = v_all(sign > 0.0 ? lo : -hi), high = v_all(sign > 0.0 ? hi : -lo);
    lap_outside found;
    pair A = {zero, zero}, B = A, below = A, above = A;
    vec wrong = zero;
    ptrdiff_t start, i, m = 0, less = 0;
    for (start = 0; start < n; start += BLOCK) {
        ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK;
        vec a = zero, b = zero;
        for (i = start; i < stop; i += LANES) {
            ptrdiff_t left = stop - i;
            vec v = v_read(x, single, i, left), w = c ? v_next(c + i, left, 0.0) : one;
            vec near_lo = v - low, near_hi = high - v;
            /* Of no use between.  Beside a kernel of one, subnormals, which are slow, vanish. */
            vec kernel = v_exp2(c ? -1075.1 : -1021.0, 0, v_min(near_lo, near_hi) * rate);
            mask is_below = v_le(near_lo, zero), is_above = v_le(near_hi, zero);
            mask between = v_neither(is_below, is_above);
            wrong = v_fma(v, zero, wrong);
            if (copy)
                v_write(copy, single, i, left, v);
            if (left < LANES) {
                mask valid = v_first(left);
                is_below = v_and(is_below, valid);
                is_above = v_and(is_above, valid);
                between = v_and(between, valid);
            }
            if (c) {
                kernel = w * kernel;
                add(&below, v_if(is_below, w, zero));
                add(&above, v_if(is_above, w, zero));
            } else
                less += v_count(is_below);
            a = v_add_if(is_below, a, kernel);
            b = v_add_if(is_above, b, kernel);
            if (c && inside)
                v_append(inside_c, 0, m, c + i, left, between);
            if (inside)
                m = v_append(inside, single, m, (const void *)v_place(x, single, i), left, between);
        }
        add(&A, a);
        add(&B, b);
    }
    if (c) {
        found.below = reduce(below);
        found.above = reduce(above);
    } else { /* whole numbers */
        found.below = (lap_pair){(double)less, 0.0};
        found.above = (lap_pair){(double)(n - m - less), 0.0};
    }
    found.A = reduce(A);
    found.B = reduce(B);
    *outside = sign > 0.0 ? found : (lap_outside){found.above, found.B, found.below, found.A};
    return v_sum(wrong) == 0.0 ? m : -1;
}

/* Calls a loop with constants for its options, so that each of them has code of its own. */
#define BY_CASE(loop, x, single, c, ...)           \
    (single ? c ? loop(x, 1, c, __VA_ARGS__)       \
                : loop(x, 1, NULL, __VA_ARGS__)    \
     : c    ? loop(x, 0, c, __VA_ARGS__)           \
            : loop(x, 0, NULL, __VA_ARGS__))

static ptrdiff_t NAME(collapse)(const void *x, int single, const double *c, ptrdiff_t n,
                                double sign, double lo, double hi, double alpha, void *inside,
                                double *inside_c, void *copy, lap_outside *outside)
{
    return BY_CASE(collapse, x, single, c, n, sign, lo, hi, alpha, inside, inside_c, copy, outside);
}

/* How many of x are smaller than each of v, or not larger (equal). */
INLINE vec smaller(const double *x, ptrdiff_t n, vec v, int equal)
{
    const vec one = v_all(1.0);
    vec count[4] = {v_all(0.0), v_all(0.0), v_all(0.0), v_all(0.0)}; /* they do not wait */
    ptrdiff_t i, j;
    for (i = 0; i + 4 <= n; i += 4)
        for (j = 0; j < 4; j++) {
            const vec other = v_all(x[i + j]);
            count[j] = v_add_if(equal ? v_le(other, v) : v_lt(other, v), count[j], one);
        }
    for (; i < n; i++)
        count[0] = v_add_if(equal ? v_le(v_all(x[i]), v) : v_lt(v_all(x[i]), v), count[0], one);
    return (count[0] + count[1]) + (count[2] + count[3]);
}

static void NAME(places)(const double *x, ptrdiff_t n, int *place)
{
    ptrdiff_t i, j;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t after = i + LANES < n ? i + LANES : n;
        const vec v = v_next(x + i, n - i, INFINITY);
        /* Entries before one count if they are not larger, the others if they are smaller. */
        vec count = smaller(x, i, v, 1) + smaller(x + i, n - i, v, 0);
        double each[LANES];
        for (j = i; j < after - 1; j++) {
            const vec other = v_all(x[j]);
            const mask apart = v_or(v_lt(other, v), v_lt(v, other));
            count = v_add_if(v_neither(apart, v_first(j - i + 1)), count, v_all(1.0));
        }
        v_store(each, count);
        for (j = i; j < after; j++)
            place[j] = (int)each[j - i];
    }
}

static void NAME(exp)(const double *x, ptrdiff_t n, double *out)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES)
        v_put(out + i, n - i, v_exp(v_next(x + i, n - i, 0.0)));
}

INLINE int all_finite(vec t)
{
    return v_count(v_lt(v_abs(t), v_all(INFINITY))) == LANES;
}

static void add_one(double x, double parts[3])
{
    double error = 0.0;
    lap_add(x, &parts[0], &error);
    lap_add(error, &parts[1], &parts[2]);
}

static void NAME(add_up)(const double *x, ptrdiff_t n, double parts[3])
{
    vec first = v_all(0.0), second = first, third = first;
    ptrdiff_t i, j;
    parts[0] = parts[1] = parts[2] = 0.0;
    for (i = 0; i + LANES <= n; i += LANES) {
        vec rest = lost(&first, v_load(x + i));
        rest = lost(&second, rest);
        third = third + rest;
    }
    if (all_finite(first)) {
        double each[3 * LANES];
        v_store(each, first);
        v_store(each + LANES, second);
        v_store(each + 2 * LANES, third);
        for (j = 0; j < 3 * LANES; j++)
            add_one(each[j], parts);
    } else
        i = 0;
    for (; i < n; i++)
        add_one(x[i], parts);
}

/* lap_decay. */
INLINE vec decay(vec gap)
{
    const mask near = v_lt(gap, v_all(0.5));
    const int count = v_count(near);
    vec out = gap;
    if (count > 0)
        out = -v_abs(v_expm1(-gap)); /* the sign is set for a gap of zero, too */
    if (count < LANES)
        out = v_if(near, out, v_exp(-gap));
    return out;
}

/* 1 - e^{-gap}. */
INLINE vec fall(vec gap)
{
    const vec d = decay(gap);
    return v_if(v_lt(gap, v_all(0.5)), -d, 1.0 - d);
}

static void NAME(decays)(const double *gap, ptrdiff_t n, double *out)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES)
        v_put(out + i, n - i, decay(v_next(gap + i, n - i, 0.0)));
}

/* lap_step, of `left` lanes. */
INLINE vec step(vec from, vec to, double alpha, ptrdiff_t left)
{
    const vec difference = to - from;
    vec out = difference / v_all(alpha);
    if (!all_finite(difference)) { /* an overflow, or infinities, which may be equal */
        double starts[LANES], ends[LANES], steps[LANES];
        int j;
        v_store(starts, from);
        v_store(ends, to);
        v_store(steps, out);
        for (j = 0; j < LANES && j < left; j++)
            steps[j] = lap_step(starts[j], ends[j], alpha);
        out = v_load(steps);
    }
    return out;
}

static void NAME(steps)(const double *from, const double *to, ptrdiff_t n, double alpha,
                        double *out)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        v_put(out + i, left, step(v_next(from + i, left, 0.0), v_next(to + i, left, 0.0), alpha, left));
    }
}

static void NAME(levels_up_to)(const double *A, const double *B, ptrdiff_t n, ptrdiff_t m,
                               double first, double *out)
{
    const vec zero = v_all(0.0), half = v_all(0.5), round = v_all(0x1.8p52), count = v_load(COUNT);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec jump = half * (v_next(B + i, left, 0.0) - v_next(A + i, left, 0.0)) + (0.5 - first);
        const vec whole = (jump + round) - round; /* the nearest one */
        const vec down = v_if(v_lt(jump, whole), v_all(1.0), zero);
        v_put(out + i, left, ((whole - down) + (double)(m + i + 1)) + count);
    }
}

#define TINY 2 /* side of a root whose squares underflow, and a larger excess does not hide it */

/* The intervals between two nodes in which the roots of a block of levels lie: what lap_solve_between
 * takes, e^{-gap/2}, its h^2 and its s.  They are worked on in several short loops, since in a long
 * one each vector waits for its own exp, square root, divisions and logarithm. */
typedef struct {
    double A[BLOCK], B[BLOCK], gap[BLOCK], excess[BLOCK], half_decay[BLOCK], H[BLOCK], s[BLOCK];
} intervals;

INLINE void find_intervals(const double *A, const double *B, const double *gap, const ptrdiff_t *m,
                           ptrdiff_t n, const double *levels, double first, intervals *at)
{
    const vec count = v_load(COUNT);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        int64_t node[LANES];
        vec g, excess;
        int j;
        if (left >= LANES && sizeof(*m) == sizeof(*node))
            memcpy(node, m + i, sizeof(node));
        else
            for (j = 0; j < LANES; j++)
                node[j] = m[j < left ? i + j : i];
        if (levels)
            excess = v_next(levels + i, left, 0.0) - v_places(node);
        else
            excess = (v_all(first + (double)i) - v_places(node)) + count;
        g = v_gather(gap, node, 0);
        v_store(at->A + i, v_gather(A, node, -1));
        v_store(at->B + i, v_gather(B, node, 0));
        v_store(at->gap + i, g);
        v_store(at->excess + i, excess);
        v_store(at->half_decay + i, v_exp(-0.5 * g));
    }
}

/* Writes the side and e^u, which is 2 P/B or A/(2 Q), or that of log(A/B)/2 + asinh(excess/h) without
 * a difference; returns whether some sides are TINY. */
INLINE int place_roots(intervals *at, ptrdiff_t n, signed char *side, double *u)
{
    const vec zero = v_all(0.0), one = v_all(1.0);
    ptrdiff_t i;
    int j, some = 0;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec a = v_load(at->A + i), b = v_load(at->B + i), E = v_load(at->half_decay + i);
        const vec excess = v_load(at->excess + i), size = v_abs(excess);
        const vec H = a * b * E * E, s = v_sqrt(v_fma(size, size, H)), sum = s + size;
        const mask up = v_lt(zero, excess), far = v_lt(H, size * size);
        const mask tiny = v_and(v_lt(size, v_all(0.25)), v_lt(H, v_all(1e-280)));
        const vec scale = v_if(far, one, E);
        double each[LANES];
        v_store(at->H + i, H);
        v_store(at->s + i, s);
        v_put(u + i, left, v_if(up, sum, a * scale) / v_if(up, b * scale, sum));
        v_store(each, v_if(tiny, v_all(TINY), v_if(far, v_if(up, one, -one), zero)));
        some |= v_count(tiny);
        for (j = 0; j < LANES && j < left; j++)
            side[i + j] = (signed char)each[j];
    }
    return some;
}

INLINE void fill_factors(const intervals *at, ptrdiff_t n, double *factors, int rows,
                         ptrdiff_t stride)
{
    const vec zero = v_all(0.0);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec excess = v_load(at->excess + i), size = v_abs(excess), H = v_load(at->H + i);
        const vec s = v_load(at->s + i), most = 0.5 * (s + size);
        const mask up = v_lt(zero, excess), far = v_lt(H, size * size);
        vec least = 0.25 * (H / most), scale;
        const vec P = v_if(up, most, least) / v_load(at->B + i);
        const vec Q = v_if(up, least, most) / v_load(at->A + i);
        v_put(factors + i, left, 2.0 * Q);
        v_put(factors + stride + i, left, 2.0 * P);
        if (rows == 2)
            continue;
        scale = 1.0 / s;
        v_put(factors + 2 * stride + i, left, Q * scale);
        v_put(factors + 3 * stride + i, left, P * scale);
        v_put(factors + 4 * stride + i, left, s);
        least = v_if(far, v_if(up, least, -least), -0.5 * excess) * scale;
        least = v_if(v_le(v_abs(least), zero), zero, v_load(at->gap + i) * least);
        v_put(factors + 5 * stride + i, left, least);
    }
}

static void roots(const double *A, const double *B, const double *gap, const ptrdiff_t *m,
                  ptrdiff_t n, const double *levels, double first, signed char *side, double *u,
                  double *factors, int rows, ptrdiff_t stride)
{
    intervals at;
    ptrdiff_t i;
    int some;
    find_intervals(A, B, gap, m, n, levels, first, &at);
    some = place_roots(&at, n, side, u);
    if (factors)
        fill_factors(&at, n, factors, rows, stride);
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec log_e = v_log(v_next(u + i, left, 1.0));
        v_put(u + i, left, log_e);
        if (factors && rows > 2) {
            double *centre = factors + 5 * stride + i;
            v_put(centre, left, log_e + v_next(centre, left, 0.0));
        }
    }
    for (i = 0; some && i < n; i++) {
        lap_root root;
        if (side[i] != TINY)
            continue;
        root = lap_solve_between(at.excess[i], at.A[i], at.B[i], at.gap[i]);
        side[i] = (signed char)root.side;
        u[i] = root.u;
        if (factors) {
            factors[i] = root.left;
            factors[stride + i] = root.right;
        }
        if (factors && rows > 2) {
            factors[2 * stride + i] = root.q_left;
            factors[3 * stride + i] = root.q_right;
            factors[4 * stride + i] = root.density;
            factors[5 * stride + i] = root.centre;
        }
    }
}

static void NAME(solve)(const double *A, const double *B, const double *gap, const ptrdiff_t *m,
                        ptrdiff_t n, const double *levels, double first, signed char *side,
                        double *u, double *factors, int rows, ptrdiff_t stride)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += BLOCK)
        roots(A, B, gap, m + i, n - i < BLOCK ? n - i : BLOCK, levels ? levels + i : NULL,
              first + (double)i, side + i, u + i, factors ? factors + i : NULL, rows, stride);
}

static void NAME(thresholds)(const double *lo, const double *hi, const double *u, ptrdiff_t n,
                             double alpha, double *out)
{
    const vec scale = v_all(alpha);
    ptrdiff_t i, j;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        vec y = 0.5 * (v_next(lo + i, left, 0.0) + v_next(hi + i, left, 0.0));
        y = y + scale * v_next(u + i, left, 0.0);
        v_put(out + i, left, y);
        if (!all_finite(y)) /* an overflow, an infinity or a NaN */
            for (j = i; j < n && j < i + LANES; j++)
                out[j] = lap_threshold(lo[j], hi[j], u[j], alpha);
    }
}

static void NAME(shares)(const lap_edges *edges, ptrdiff_t n, double alpha, double *out)
{
    const vec zero = v_all(0.0);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec from = v_next(edges->place + i, left, 0.0);
        const vec to = v_next(edges->place + i + 1, left, 0.0);
        /* Both in one gap, or with nodes between them. */
        vec width = v_if(v_lt(from, to), to - from, zero);
        vec across = step(v_next(edges->hi + i, left, 0.0), v_next(edges->lo + i + 1, left, 0.0),
                          alpha, left);
        width = width + (v_next(edges->u + i + 1, left, 0.0) - v_next(edges->u + i, left, 0.0));
        across = across + v_next(edges->after + i, left, 0.0);
        across = across + v_next(edges->before + i + 1, left, 0.0);
        width = v_if(v_lt(v_next(edges->index + i, left, 0.0),
                          v_next(edges->index + i + 1, left, 0.0)), across, width);
        v_put(out + i, left, 0.5 * fall(v_if(v_lt(width, zero), zero, width)));
    }
}

static void NAME(insides)(const lap_edges *edges, const int64_t *row, const double *x, ptrdiff_t n,
                          double alpha, double *out)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec v = v_next(x + i, left, 0.0);
        int64_t at[LANES];
        vec below, above;
        int j;
        for (j = 0; j < LANES; j++)
            at[j] = row[j < left ? i + j : i];
        below = v_gather(edges->after, at, 0) + step(v_gather(edges->hi, at, 0), v, alpha, left);
        above = v_gather(edges->before, at, 1) + step(v, v_gather(edges->lo, at, 1), alpha, left);
        v_put(out + i, left, 0.5 * fall(below) + 0.5 * fall(above));
    }
}

static void NAME(widths)(const double *lo, const double *hi, const double *u, ptrdiff_t n,
                         double alpha, double *out)
{
    const vec scale = v_all(alpha), zero = v_all(0.0);
    ptrdiff_t i, j;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        vec t = 0.5 * ((v_next(lo + i + 1, left, 0.0) - v_next(lo + i, left, 0.0)) / scale);
        t = t + 0.5 * ((v_next(hi + i + 1, left, 0.0) - v_next(hi + i, left, 0.0)) / scale);
        t = t + (v_next(u + i + 1, left, 0.0) - v_next(u + i, left, 0.0));
        v_put(out + i, left, v_if(v_lt(t, zero), zero, t));
        if (!all_finite(t))
            for (j = i; j < n && j < i + LANES; j++)
                out[j] = lap_width(lo[j], hi[j], u[j], lo[j + 1], hi[j + 1], u[j + 1], alpha);
    }
}

/* A threshold: (b - sign x)/(alpha log 2), for powers of two, is (x - from) rate + u.  What the
 * middle of lo and hi loses by rounding is in u, which is finite: an infinity there would take its
 * sign from a rounding. */
typedef struct {
    vec from, rate, u;
} threshold;

INLINE double bounded(double x)
{
    return x > DBL_MAX ? DBL_MAX : x < -DBL_MAX ? -DBL_MAX : x;
}

INLINE threshold threshold_of(const lap_anchored *b, double sign, double alpha)
{
    double middle = 0.5 * b->lo, lost = 0.0, u;
    lap_add(0.5 * b->hi, &middle, &lost);
    u = bounded(V_LOG2E * (b->u + bounded(lost / alpha)));
    return (threshold){v_all(sign * middle), v_all(-sign * (V_LOG2E / alpha)), v_all(u)};
}

INLINE vec offset(threshold b, vec x)
{
    return v_fma(x - b.from, b.rate, b.u);
}

INLINE void cdf(const void *x, int single, ptrdiff_t n, double sign, const lap_anchored *b,
                double alpha, int logarithm, void *out)
{
    const vec zero = v_all(0.0), one = v_all(1.0), unit = v_all(LAP_LOG2);
    const threshold at = threshold_of(b, sign, alpha);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        vec v = v_read(x, single, i, n - i);
        vec t = offset(at, v), tail = v_half_exp2(t), p;
        if (logarithm) {
            /* log 1 is 0, not -0. */
            p = v_if(v_le(t, zero), v_fma(t, unit, -unit), v_log1p(zero - tail));
            if (v_count(v_lt(v_abs(t), v_all(DBL_MAX))) < LANES) { /* a difference that overflows */
                double entry[LANES], far[LANES], value[LANES];
                int j;
                v_store(entry, sign * v);
                v_store(far, t);
                v_store(value, p);
                for (j = 0; j < LANES; j++)
                    if (fabs(far[j]) >= DBL_MAX)
                        value[j] = lap_logcdf(lap_offset(b->lo, b->hi, b->u, entry[j], alpha));
                p = v_load(value);
            }
        } else
            p = v_sub_if(v_lt(zero, t), one, tail);
        v_write(out, single, i, n - i, p);
    }
}

static void NAME(cdf)(const void *x, int single, ptrdiff_t n, double sign, const lap_anchored *b,
                      double alpha, int logarithm, void *out)
{
    if (logarithm && single)
        cdf(x, 1, n, sign, b, alpha, 1, out);
    else if (logarithm)
        cdf(x, 0, n, sign, b, alpha, 1, out);
    else if (single)
        cdf(x, 1, n, sign, b, alpha, 0, out);
    else
        cdf(x, 0, n, sign, b, alpha, 0, out);
}

/* lap_logcdf_slope(t), of the density f(t). */
INLINE vec log_slope(vec t, vec f)
{
    return v_if(v_le(t, v_all(0.0)), v_all(1.0), f / (1.0 - f));
}

INLINE void pull_sums(const void *x, int single, const double *c, const void *bar, ptrdiff_t n,
                      double sign, const lap_anchored *b, double alpha, int logarithm,
                      double *densities, lap_pulled *sums)
{
    const vec zero = v_all(0.0);
    const threshold middle = threshold_of(b, sign, alpha);
    vec most = v_all(-1.0), at = zero, here = v_load(COUNT); /* of each lane of the vectors */
    pair h = {zero, zero};
    double shares[LANES], places[LANES];
    ptrdiff_t start, i, j;
    for (start = 0; start < n; start += BLOCK) {
        ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK;
        vec sum = zero;
        for (i = start; i < stop; i += LANES) {
            ptrdiff_t left = stop - i;
            vec t = offset(middle, v_read(x, single, i, left)), f = v_half_exp2(t);
            mask more;
            if (bar)
                sum = sum + v_read(bar, single, i, left) * (logarithm ? log_slope(t, f) : f);
            if (densities)
                v_write(densities, 0, i, left, f);
            if (c)
                f = f * v_next(c + i, left, 0.0);
            more = v_lt(most, f);
            if (left < LANES)
                more = v_and(more, v_first(left)); /* else a lane of NaN has its pivot beyond */
            most = v_if(more, f, most);
            at = v_if(more, here, at);
            here = here + (double)LANES;
        }
        add(&h, sum);
    }
    sums->h = reduce(h);
    v_store(shares, most);
    v_store(places, at);
    sums->most = shares[0];
    sums->pivot = (ptrdiff_t)places[0];
    for (j = 1; j < LANES; j++) {
        const ptrdiff_t place = (ptrdiff_t)places[j];
        if (shares[j] > sums->most || (shares[j] == sums->most && place < sums->pivot)) {
            sums->most = shares[j];
            sums->pivot = place;
        }
    }
}

static void NAME(pull_sums)(const void *x, int single, const double *c, const void *bar,
                            ptrdiff_t n, double sign, const lap_anchored *b, double alpha,
                            int logarithm, double *densities, lap_pulled *sums)
{
    BY_CASE(pull_sums, x, single, c, bar, n, sign, b, alpha, logarithm, densities, sums);
}

INLINE void pull_entries(const void *x, int single, const double *c, const void *bar, ptrdiff_t n,
                         double sign, const lap_anchored *b, double alpha, int logarithm, double h,
                         ptrdiff_t pivot, double origin, const double *densities, void *x_bar,
                         lap_pulled *sums)
{
    const vec zero = v_all(0.0), rate = v_all(sign / alpha);
    const vec share = v_all(h / b->density), from = v_all(sign * origin);
    const threshold middle = threshold_of(b, sign, alpha);
    pair rest = {zero, zero}, along = rest;
    ptrdiff_t start, i;
    for (start = 0; start < n; start += BLOCK) {
        ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK;
        vec sum = zero, moment = zero;
        for (i = start; i < stop; i += LANES) {
            ptrdiff_t left = stop - i;
            vec v = v_read(x, single, i, left), cotangent = v_read(bar, single, i, left);
            vec f = densities ? v_next(densities + i, left, 0.0)
                              : v_half_exp2(offset(middle, v));
            vec step = (v - from) * rate;
            vec w = c ? v_next(c + i, left, 0.0) : v_all(1.0), z_bar;
            if (logarithm)
                z_bar = f * (share * w) - cotangent * log_slope(offset(middle, v), f);
            else
                z_bar = f * (share * w - cotangent);
            if (!densities && left < LANES)
                z_bar = v_if(v_first(left), z_bar, zero);
            if (i <= pivot && pivot < i + LANES)
                z_bar = v_if(v_first(pivot - i), z_bar, v_if(v_first(pivot - i + 1), zero, z_bar));
            sum = sum + z_bar;
            moment = v_add_if(v_nonzero(z_bar), moment, step * z_bar);
            v_write(x_bar, single, i, left, z_bar * rate);
        }
        add(&rest, sum);
        add(&along, moment);
    }
    sums->h = reduce(rest);
    sums->along = reduce(along);
}

static void NAME(pull_entries)(const void *x, int single, const double *c, const void *bar,
                               ptrdiff_t n, double sign, const lap_anchored *b, double alpha,
                               int logarithm, double h, ptrdiff_t pivot, double origin,
                               const double *densities, void *x_bar, lap_pulled *sums)
{
    BY_CASE(pull_entries, x, single, c, bar, n, sign, b, alpha, logarithm, h, pivot, origin,
            densities, x_bar, sums);
}

INLINE void push_sums(const void *x, int single, const double *c, const double *dot, ptrdiff_t n,
                      double alpha, const lap_pushed *with, const double *densities,
                      lap_pulled *sums)
{
    const vec zero = v_all(0.0), rate = v_all(1.0 / alpha);
    const vec x_there = v_all(with->x_there), dot_there = v_all(with->dot_there);
    pair mean = {zero, zero}, along = mean;
    ptrdiff_t start, i;
    for (start = 0; start < n; start += BLOCK) {
        ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK;
        vec sum = zero, moment = zero;
        for (i = start; i < stop; i += LANES) {
            ptrdiff_t left = stop - i;
            vec q = v_next(densities + i, left, 0.0);
            vec step = (v_read(x, single, i, left) - x_there) * rate;
            if (c)
                q = q * v_next(c + i, left, 0.0);
            moment = v_add_if(v_nonzero(q), moment, q * step);
            if (dot)
                sum = sum + q * (v_next(dot + i, left, 0.0) - dot_there);
        }
        add(&mean, sum);
        add(&along, moment);
    }
    sums->h = reduce(mean);
    sums->along = reduce(along);
}

static void NAME(push_sums)(const void *x, int single, const double *c, const double *dot,
                            ptrdiff_t n, double alpha, const lap_pushed *with,
                            const double *densities, lap_pulled *sums)
{
    BY_CASE(push_sums, x, single, c, dot, n, alpha, with, densities, sums);
}

INLINE void push_entries(const void *x, int single, const double *dot, ptrdiff_t n, double sign,
                         const lap_anchored *b, double alpha, int logarithm,
                         const lap_pushed *with, double *out)
{
    const vec zero = v_all(0.0), per_alpha = v_all(1.0 / alpha), level = v_all(with->level);
    const vec x_there = v_all(with->x_there), dot_there = v_all(with->dot_there);
    const vec mean_dot = v_all(with->mean_dot), mean_step = v_all(with->mean_step);
    const vec rate = v_all(with->rate), alpha_rate = v_all(with->alpha_rate);
    const threshold middle = threshold_of(b, sign, alpha);
    const int turning = with->alpha_rate != 0.0;
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const ptrdiff_t left = n - i;
        const vec v = v_read(x, single, i, left);
        vec slope = v_next(out + i, left, 0.0), rise = level;
        if (logarithm)
            slope = log_slope(offset(middle, v), slope);
        if (dot)
            rise = rise + rate * (mean_dot - (v_next(dot + i, left, 0.0) - dot_there));
        if (turning)
            rise = rise + alpha_rate * ((v - x_there) * per_alpha - mean_step);
        v_write(out, 0, i, left, slope * v_if(v_nonzero(slope), rise, zero));
    }
}

static void NAME(push_entries)(const void *x, int single, const double *dot, ptrdiff_t n,
                               double sign, const lap_anchored *b, double alpha, int logarithm,
                               const lap_pushed *with, double *out)
{
    if (single)
        push_entries(x, 1, dot, n, sign, b, alpha, logarithm, with, out);
    else
        push_entries(x, 0, dot, n, sign, b, alpha, logarithm, with, out);
}

INLINE void softmax(const void *x, int single, const double *c, const double *dot, ptrdiff_t n,
                    const lap_anchored *b, double alpha, double bar, int first, double *running,
                    void *x_bar, lap_pulled *sums)
{
    const vec zero = v_all(0.0), rate = v_all(1.0 / alpha);
    const vec scale = v_all(1.0 / b->density), given = v_all(bar);
    const vec before = v_all(b->left), after = v_all(b->right);
    const threshold middle = threshold_of(b, 1.0, alpha);
    pair mean = {zero, zero}, along = mean;
    ptrdiff_t start, i;
    for (start = 0; start < n; start += BLOCK) {
        ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK;
        vec sum = zero, moment = zero;
        for (i = start; i < stop; i += LANES) {
            ptrdiff_t left = stop - i;
            vec v = v_read(x, single, i, left);
            vec q = scale * v_half_exp2(offset(middle, v));
            vec step = (v_if(v_le(v, before), before, after) - v) * rate;
            mask some;
            if (c)
                q = q * v_next(c + i, left, 0.0);
            if (left < LANES)
                q = v_if(v_first(left), q, zero);
            some = v_nonzero(q);
            moment = v_add_if(some, moment, q * step);
            if (dot)
                sum = v_add_if(some, sum, q * v_next(dot + i, left, 0.0));
            if (!running)
                continue;
            q = v_fma(given, q, first ? zero : v_next(running + i, left, 0.0));
            v_put(running + i, left, q);
            if (x_bar)
                v_write(x_bar, single, i, left, q);
        }
        add(&mean, sum);
        add(&along, moment);
    }
    sums->h = reduce(mean);
    sums->along = reduce(along);
}

static void NAME(softmax)(const void *x, int single, const double *c, const double *dot,
                          ptrdiff_t n, const lap_anchored *b, double alpha, double bar, int first,
                          double *running, void *x_bar, lap_pulled *sums)
{
    BY_CASE(softmax, x, single, c, dot, n, b, alpha, bar, first, running, x_bar, sums);
}

const lap_table NAME(lap_table) = {
    TEXT(LAP_LEVEL), NAME(collapse), NAME(places), NAME(exp), NAME(add_up), NAME(decays), NAME(steps),
    NAME(levels_up_to), NAME(solve), NAME(thresholds), NAME(shares), NAME(insides), NAME(widths),
    NAME(cdf), NAME(pull_sums), NAME(pull_entries), NAME(push_sums), NAME(push_entries),
    NAME(softmax),
};
