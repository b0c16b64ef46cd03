/* The loops over one long lane that are compiled once for every level of SIMD, behind one table.
 *
 * Lanes are finite and alpha is between LAP_SMALLEST and LAP_LARGEST, so that 1/alpha is a float and
 * a difference that overflows is one that does not matter; whoever calls checks.
 */
#ifndef LAPSUM_LOOPS_H
#define LAPSUM_LOOPS_H

#include <stddef.h>

#define LAP_SMALLEST 0x1p-960
#define LAP_LARGEST 0x1p960

/* What a part of the lane outside a bracket does to everything inside: its weight and its kernel
 * sum at the nearer end of the bracket, an entry equal to that end included. */
typedef struct {
    double below, A, above, B;
} lap_outside;

typedef struct {
    const char *name;
    /* Collapses what is <= lo and >= hi, copies what is between to inside (which may be x itself),
     * returns how many there are; -1 if an entry is not finite. */
    ptrdiff_t (*collapse)(const double *x, ptrdiff_t n, double lo, double hi, double alpha,
                          double *inside, lap_outside *outside);
    /* f(t). */
    void (*pdf)(const double *t, ptrdiff_t n, double *out);
    /* F((b - x)/alpha) for b = (lo + hi)/2 + alpha u. */
    void (*cdf)(const double *x, ptrdiff_t n, double lo, double hi, double u, double alpha,
                double *out);
} lap_table;

/* The table of a level, or NULL if the processor or this build lacks it; "" is the best there is. */
const lap_table *lap_find_table(const char *level);

#endif
