/* Sums of vectors that lose little. */
#ifndef LAPSUM_SUMS_H
#define LAPSUM_SUMS_H

#include "laplace.h"
#include "loops.h"
#include "vector.h"

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Sums are plain over a block, few enough additions that their rounding stays below a few units,
 * and compensated from block to block. */
#define BLOCK (32 * LANES)

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

#endif
