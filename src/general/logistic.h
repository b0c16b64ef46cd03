/* The threshold of a logistic top-k in one lane, without sorting it. */
#ifndef LAP_LOGISTIC_H
#define LAP_LOGISTIC_H

#include "../simd/loops.h"

/* Solve sum_j F((b - sign x_j)/alpha) = k for finite x, and write what `logistic_entries` does at b.
   Returns 0, with nothing written that matters, where b lies too far from the entries for that, and
   in lanes of any other kind. */
int lap_logistic_topk(const lap_table *table, const double *x, ptrdiff_t n, double sign, double k,
                      double alpha, int logarithm, double *p, double *f, double *slopes,
                      double *density);

#endif
