/* One level of the loops declared in short.h: the order of lanes and their sums. */
#include "short.h"
#include "even.h"
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
#include "short_lanes.inc"

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

extern const lap_even_table NAME(lap_even_tables)[LAP_KINDS];

const lap_short_table NAME(lap_short_table) = {
    MOST, LONGER, NAME(lap_even_tables), NAME(short_ranks), NAME(rank_products), NAME(short_topk), NAME(topk_pull),
    NAME(topk_push), NAME(short_sorts), NAME(sort_pull), NAME(sort_push),
    NAME(short_quantiles), NAME(quantile_pull), NAME(quantile_push),
};
