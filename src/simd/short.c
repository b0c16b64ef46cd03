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
#include "short_places.inc"

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
 * f and d as `v_decay` returns them, and the decaying sums of the weights c.  Nodes 0 and n + 1 are
 * empty.  Running sums of the weights, high + low, are m where all of them are ones. */
typedef struct {
    vec x[MOST + 2], gap[MOST + 2], f[MOST + 2], d[MOST + 2], A[MOST + 2], B[MOST + 2];
    vec c[MOST + 2], high[MOST + 2], low[MOST + 2];
} nodes;

INLINE void prepare(nodes *s, int n, vec alpha, int weighted)
{
    const vec one = v_all(1.0), zero = v_all(0.0), rate = one / alpha;
    pair a = {weighted ? s->c[1] : one, zero}, b = {weighted ? s->c[n] : one, zero};
    int m;
    s->x[0] = s->x[1];
    s->x[n + 1] = s->x[n];
    s->f[1] = s->d[1] = s->f[n + 1] = s->d[n + 1] = zero;
    s->gap[1] = s->gap[n + 1] = v_all(INFINITY);
    for (m = 2; m <= n; m++) {
        const vec gap = v_quotient(s->x[m] - s->x[m - 1], alpha, rate);
        s->gap[m] = v_if(v_le(s->x[m], s->x[m - 1]), zero, gap); /* equal infinities are a tie */
        v_decay(s->gap[m], &s->f[m], &s->d[m]);
    }
    s->A[0] = s->B[n + 1] = zero;
    s->A[1] = a.high;
    s->B[n] = b.high;
    for (m = 2; m <= n; m++) {
        const int k = n + 1 - m;
        s->A[m] = scan(&a, weighted ? s->c[m] : one, s->f[m], s->d[m]);
        s->B[k] = scan(&b, weighted ? s->c[k] : one, s->f[k + 1], s->d[k + 1]);
    }
}

/* The weights in the order of the nodes, and their running sums. */
INLINE void order_weights(const lap_short_lanes *s, const block *b, const uint8_t *places, nodes *out)
{
    pair sum = {v_all(0.0), v_all(0.0)};
    int m;
    gather_rows(s->weights, 0, b->row, places, s->n, out->c + 1);
    out->high[0] = out->low[0] = sum.low;
    for (m = 1; m <= s->n; m++) {
        add(&sum, out->c[m]);
        out->high[m] = sum.high;
        out->low[m] = sum.low;
    }
}

/* Reads the entries z, and weights c, without what is not for these loops; returns which lanes that is.
 * Absent entries in z keep what they hold, and in `there` they are infinitely far away. */
INLINE mask load_entries(const lap_short_lanes *s, block *b, int weighted, vec *z, vec *c,
                         vec *there, mask *nan)
{
    const int n = s->n;
    mask bad = no_lane();
    int m;
    load_rows(s->x, s->single, b->row, n, z);
    scale_rows(z, n, s->sign);
    if (!weighted)
        return set_bad_aside(z, n, &b->alpha, nan);
    load_rows(s->weights, 0, b->row, n, c);
    absent_of(c, z, n);
    for (m = 0; m < n; m++)
        there[m] = v_if(v_le(c[m], v_all(0.0)), v_all(INFINITY), z[m]);
    bad = bad_weights(c, there, n);
    return v_or(bad, set_bad_aside(there, n, &b->alpha, nan));
}

/* The nodes of a lane in order: with their places, which weights need, or without. */
INLINE void order_nodes(const lap_short_lanes *s, const block *b, int weighted, const vec *z,
                        uint8_t *places, nodes *out)
{
    if (weighted || places) {
        uint8_t here[MOST * LANES], *at = places ? places : here;
        order(z, s->n, out->x + 1, at);
        if (weighted)
            order_weights(s, b, at, out);
    } else {
        memcpy(out->x + 1, z, s->n * sizeof(vec));
        sort(out->x + 1, s->n);
    }
    prepare(out, s->n, b->alpha, weighted);
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
#include "short_edges.inc"
#include "short_permute.inc"
#include "short_matrix.inc"

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
    NAME(short_permute), NAME(permute_pull), NAME(permute_push),
    NAME(short_permutation), NAME(permutation_pull), NAME(permutation_push),
    NAME(short_quantiles), NAME(quantile_pull), NAME(quantile_push),
};
