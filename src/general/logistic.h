/* The threshold of a logistic top-k in one lane, without sorting it. */
#ifndef LAP_LOGISTIC_H
#define LAP_LOGISTIC_H

#include "../simd/loops.h"

/* Solve sum_j F((b - sign x_j)/alpha) = k for finite x, and write F((b - sign x_j)/alpha) to p and
   f there to slopes, if that is not NULL; the sum of f is *density.
   With `tails`, F above 1/2 is replaced by F - 1, to its last digit, or -0.  Returns 0, with nothing written that matters, where b
   lies too far from the entries for that, and in lanes of any other kind. */
int lap_logistic_topk(const lap_table *table, const double *x, ptrdiff_t n, double sign, double k,
                      double alpha, int tails, double *p, double *slopes, double *density);

#endif
