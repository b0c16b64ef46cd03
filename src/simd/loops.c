/* One level of the loops declared in loops.h: LAP_LEVEL names it, compiler flags make it. */
#include "loops.h"
#include "laplace.h"
#include "sums.h"
#include "vector.h"

#include <float.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

static const double COUNT[8] = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0};

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

static void NAME(decays)(const double *gap, ptrdiff_t n, double *out, double *values)
{
    const vec near = v_all(0.5);
    ptrdiff_t i;
    for (i = 0; i < n; i += LANES) {
        const vec g = v_next(gap + i, n - i, 0.0), d = decay(g);
        v_put(out + i, n - i, d);
        if (values)
            v_put(values + i, n - i, v_if(v_lt(g, near), 1.0 + d, d));
    }
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

#include "roots.inc"

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

#include "products.inc"
#include "logistic.inc"

extern const lap_transport NAME(lap_transport);

extern const lap_short_table NAME(lap_short_table);

const lap_table NAME(lap_table) = {
    TEXT(LAP_LEVEL), NAME(collapse), NAME(places), NAME(exp), NAME(add_up), NAME(decays), NAME(steps),
    NAME(levels_up_to), NAME(solve), NAME(thresholds), NAME(shares), NAME(insides), NAME(widths),
    NAME(cdf), NAME(pull_sums), NAME(pull_entries), NAME(push_sums), NAME(push_entries),
    NAME(softmax), NAME(rises), NAME(logistic_sums), NAME(logistic_collapse),
    NAME(logistic_entries),
    &NAME(lap_transport),
    &NAME(lap_short_table),
};
