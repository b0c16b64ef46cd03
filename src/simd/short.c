/* One level of the loops declared in short.h: the order of lanes and their sums. */
#include "short.h"
#include "laplace.h"
#include "loops.h"
#include "sums.h"
#include "vector.h"

#include <float.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)

/* Nodes of a lane fit into the nearest caches, and their places into bytes. */
#define MOST (LANES == 8 ? 128 : 256)

#include "short_rows.inc"

/* ------------------------------------------------------------------------------ lanes to be left */

INLINE mask no_lane(void)
{
    return v_lt(v_all(0.0), v_all(0.0));
}

INLINE void store_left(uint8_t *left, const block *b, mask bad, mask nan)
{
    double each[LANES];
    int l;
    v_store(each, v_if(nan, v_all(LAP_SHORT_NAN), v_if(bad, v_all(1.0), v_all(0.0))));
    for (l = 0; l < LANES && b->first + l < b->lanes; l++)
        left[b->first + l] |= (uint8_t)each[l];
}

INLINE mask bad_scale(vec alpha)
{
    const mask good = v_and(v_le(v_all(LAP_SMALLEST), alpha), v_le(alpha, v_all(LAP_LARGEST)));
    return v_neither(good, good);
}

INLINE mask finite(vec x)
{
    return v_lt(v_abs(x), v_all(INFINITY));
}

/* Which lanes have a NaN, which is `nan`, finite entries so large that differences overflow, or such
 * an alpha; they become ordinary ones. */
INLINE mask set_bad_aside(vec *x, int n, vec *alpha, mask *nan)
{
    const vec zero = v_all(0.0);
    mask bad = bad_scale(*alpha);
    int m;
    for (m = 0; m < n; m++) {
        const vec size = v_abs(x[m]);
        bad = v_or(bad, v_neither(v_lt(size, v_all(0x1p1022)), v_le(v_all(INFINITY), size)));
    }
    *nan = no_lane();
    if (v_count(bad)) {
        for (m = 0; m < n; m++) {
            const mask number = v_le(x[m], x[m]);
            *nan = v_or(*nan, v_neither(number, number));
            x[m] = v_if(bad, zero, x[m]);
        }
        *alpha = v_if(bad, v_all(1.0), *alpha);
    }
    return bad;
}

/* Infinite entries do not move. */
INLINE void clear_infinite(const vec *x, int n, vec *v)
{
    int m;
    for (m = 0; m < n; m++)
        v[m] = v_if(finite(x[m]), v[m], v_all(0.0));
}

/* Which lanes have values so large that differences of them could overflow, or NaN. */
INLINE mask too_large(const vec *v, int n)
{
    mask large = no_lane();
    int m;
    for (m = 0; m < n; m++)
        large = v_or(large, v_not_less(v_abs(v[m]), v_all(0x1p900)));
    return large;
}

/* ----------------------------------------------------------------------------------------- order */

INLINE void exchange(vec *a, vec *b)
{
    const vec lower = v_min(*a, *b), upper = v_max(*a, *b);
    *a = lower;
    *b = upper;
}

/* Merging of two sorted halves, at places 0, s, 2 s, ...: their even ones, their odd ones, and what
 * that leaves (Batcher; Knuth, volume 3, 5.3.4).  All of a short network is done in registers. */
INLINE void merge_4(vec *k, int s)
{
    exchange(k, k + 2 * s);
    exchange(k + s, k + 3 * s);
    exchange(k + s, k + 2 * s);
}

INLINE void merge_8(vec *k, int s)
{
    int i;
    merge_4(k, 2 * s);
    merge_4(k + s, 2 * s);
    for (i = 1; i < 7; i += 2)
        exchange(k + i * s, k + (i + 1) * s);
}

INLINE void merge_16(vec *k)
{
    int i;
    merge_8(k, 2);
    merge_8(k + 1, 2);
    for (i = 1; i < 15; i += 2)
        exchange(k + i, k + i + 1);
}

INLINE void sort_4(vec *k)
{
    exchange(k, k + 1);
    exchange(k + 2, k + 3);
    merge_4(k, 1);
}

INLINE void sort_8(vec *k)
{
    sort_4(k);
    sort_4(k + 4);
    merge_8(k, 1);
}

/* 16 entries of which those from any place on are not less than those before it, or not more. */
INLINE void clean(vec *k)
{
    int i;
    for (i = 0; i < 8; i++)
        exchange(k + i, k + i + 8);
    for (i = 0; i < 8; i++)
        exchange(k + i + (i & 4), k + i + (i & 4) + 4);
    for (i = 0; i < 8; i++)
        exchange(k + i + (i & 6), k + i + (i & 6) + 2);
    for (i = 0; i < 16; i += 2)
        exchange(k + i, k + i + 1);
}

static void sort_16(vec *k)
{
    vec r[16];
    memcpy(r, k, sizeof r);
    sort_8(r);
    sort_8(r + 8);
    merge_16(r);
    memcpy(k, r, sizeof r);
}

static void clean_16(vec *k)
{
    vec r[16];
    memcpy(r, k, sizeof r);
    clean(r);
    memcpy(k, r, sizeof r);
}

/* Bitonic merges of sorted runs of p entries, sixteen to begin with: the second run is taken from
 * its end, and then there are two halves to be merged on.  Infinities fill the last sixteen. */
static void sort(vec *k, int n)
{
    int p, h, i, start;
    for (i = n; n > 8 ? i % 16 > 0 : i < (n > 4 ? 8 : 4); i++)
        k[i] = v_all(INFINITY);
    if (n <= 4) {
        sort_4(k);
        return;
    }
    if (n <= 8) {
        sort_8(k);
        return;
    }
    n = i;
    for (i = 0; i < n; i += 16)
        sort_16(k + i);
    for (p = 16; p < n; p *= 2) {
        for (start = 0; start + p < n; start += 2 * p) /* the last run may be shorter */
            for (i = start + 2 * p > n ? start + 2 * p - n : 0; i < p; i++)
                exchange(k + start + i, k + start + 2 * p - 1 - i);
        for (h = p / 2; h >= 16; h /= 2)
            for (start = 0; start + h < n; start += 2 * h)
                for (i = start; i < start + h && i + h < n; i++)
                    exchange(k + i, k + i + h);
        for (i = 0; i < n; i += 16)
            clean_16(k + i);
    }
}

INLINE double *slot(vec *a, int m, int l)
{
    return (double *)a + m * LANES + l;
}

/* Insertion, for a lane almost in order. */
static void insert(vec *x, uint8_t *places, int n, int l)
{
    int m, k;
    for (m = 1; m < n; m++) {
        const double here = *slot(x, m, l);
        const uint8_t place = places[m * LANES + l];
        for (k = m; k > 0 && here < *slot(x, k - 1, l); k--) {
            *slot(x, k, l) = *slot(x, k - 1, l);
            places[k * LANES + l] = places[(k - 1) * LANES + l];
        }
        *slot(x, k, l) = here;
        places[k * LANES + l] = place;
    }
}

/* Entries x in ascending order, with their places: these are sorted along, in the last bits of the
 * entries, and what differs in no other bits is put right. */
INLINE void order(const vec *x, int n, vec *out, uint8_t *places)
{
    vec key[MOST];
    mask wrong = no_lane();
    int64_t size = 1, at[LANES];
    int m, l;
    while (size < n)
        size *= 2;
    for (m = 0; m < n; m++) { /* a tagged infinity would be NaN, and the tags of -0 descend */
        const vec most = v_all(DBL_MAX), bounded = v_max(v_min(x[m], most), -most);
        key[m] = v_tag(bounded + 0.0, size, m);
    }
    sort(key, n);
    for (m = 0; m < n; m++) {
        v_tags(key[m], size, at);
        for (l = 0; l < LANES; l++) {
            places[m * LANES + l] = (uint8_t)at[l];
            at[l] = at[l] * LANES + l;
        }
        out[m] = v_gather((const double *)x, at, 0);
        if (m > 0)
            wrong = v_or(wrong, v_lt(out[m], out[m - 1]));
    }
    if (v_count(wrong))
        for (l = 0; l < LANES; l++)
            insert(out, places, n, l);
}

/* ---------------------------------------------------------------------------------- decaying sums */

/* sum <- value + e^-gap sum; what rounding loses where gaps are small goes to low. */
INLINE vec scan(pair *sum, vec value, vec f, vec d)
{
    const vec base = v_if(v_lt(v_all(V_NEAR), f), sum->high, v_all(0.0));
    const vec high = v_fma(sum->high, f, value), more = v_fma(sum->high, d, value);
    const vec part = high - base;
    sum->low = v_fma(sum->low, f, (base - (high - part)) + (more - part));
    sum->high = high;
    return high + sum->low;
}

/* Sorted x[1..n], and all that the closed forms need of them: the gap before each, over alpha, with
 * f and d as `v_decay` returns them, and the decaying sums of ones.  Nodes 0 and n + 1 are empty. */
typedef struct {
    vec x[MOST + 2], gap[MOST + 2], f[MOST + 2], d[MOST + 2], A[MOST + 2], B[MOST + 2];
} nodes;

INLINE void prepare(nodes *s, int n, vec alpha)
{
    const vec one = v_all(1.0), zero = v_all(0.0);
    pair a = {one, zero}, b = a;
    int m;
    s->x[0] = s->x[1];
    s->x[n + 1] = s->x[n];
    s->f[1] = s->d[1] = s->f[n + 1] = s->d[n + 1] = zero;
    s->gap[1] = s->gap[n + 1] = v_all(INFINITY);
    for (m = 2; m <= n; m++) {
        const vec gap = (s->x[m] - s->x[m - 1]) / alpha;
        s->gap[m] = v_if(v_le(s->x[m], s->x[m - 1]), zero, gap); /* equal infinities are a tie */
        v_decay(s->gap[m], &s->f[m], &s->d[m]);
    }
    s->A[0] = s->B[n + 1] = zero;
    s->A[1] = s->B[n] = one;
    for (m = 2; m <= n; m++) {
        const int k = n + 1 - m;
        s->A[m] = scan(&a, one, s->f[m], s->d[m]);
        s->B[k] = scan(&b, one, s->f[k + 1], s->d[k + 1]);
    }
}

/* What an infinite gap lets pass is nothing. */
INLINE vec across(vec f, vec gap)
{
    return v_if(v_lt(v_all(0.0), f), gap, v_all(0.0));
}

/* Where slot l of node m[l] is, as an index for `v_gather`. */
INLINE void places_of(vec m, int64_t *at)
{
    static const double SLOT[8] = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0};
    const vec place = v_fma(m, v_all((double)LANES), v_load(SLOT));
    v_tags(place + 0x1p52, (int64_t)1 << 52, at);
}

#include "short_ranks.inc"
#include "short_topk.inc"
#include "short_quantiles.inc"
#include "short_sorts.inc"

/* Vectors of half the size leave room for twice as many entries. */
#if defined(LAP_HALF_LEVEL)
extern const lap_short_table PASTE(lap_short_table, LAP_HALF_LEVEL);
#define LONGER &PASTE(lap_short_table, LAP_HALF_LEVEL)
#else
#define LONGER NULL
#endif

const lap_short_table NAME(lap_short_table) = {
    MOST, LONGER, NAME(short_ranks), NAME(rank_products), NAME(short_topk), NAME(topk_pull),
    NAME(topk_push), NAME(short_sorts), NAME(sort_pull), NAME(sort_push),
    NAME(short_quantiles), NAME(quantile_pull), NAME(quantile_push),
};
