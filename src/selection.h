/* The threshold of one lane of unit weights without sorting it. */
#ifndef LAPSUM_SELECTION_H
#define LAPSUM_SELECTION_H

#include "laplace.h"
#include "loops.h"

typedef struct {
    lap_root root;
    double left_node, right_node; /* neighbours of the threshold, NaN where there is none */
} lap_selected;

/* Solves S(b) = level for 0 < level < n; scratch holds n doubles.  Returns 0 if this lane has to be
 * sorted instead: an entry is not finite, or alpha is outside the range of the loops. */
int lap_select(const lap_table *table, const double *x, ptrdiff_t n, double level, double alpha,
               double *scratch, lap_selected *selected);

#endif
