/* Sums of a smooth kernel over sorted points, at the same points. */
#ifndef LAP_TREE_H
#define LAP_TREE_H

#include <stddef.h>

enum { LAP_CDF, LAP_EVEN, LAP_ODD };

/* A kernel of |t|: with z = 1 + unit |t|, 2^bits panels an octave of z, and on each a polynomial of
   LAP_DEGREE in the place s in [0, 1) within the panel, the constant first; past the last, zero.
   LAP_CDF: the table is T, the kernel F(t) = T(-t) for t <= 0 and 1 - T(t) above.  LAP_EVEN and
   LAP_ODD: the table is the kernel for t >= 0.  `reach` is how far from the real line it is smooth. */
#define LAP_DEGREE 8

typedef struct {
    const double *table;
    ptrdiff_t panels;
    double unit, reach;
    int kind, bits;
} lap_kernel;

/* sums[i] + steps[i] = sum_j v[j] K((x[i] + low[i] - x[j] - low[j])/alpha) for x in ascending order.
   `steps` holds the whole steps of F, exact where v holds whole numbers.  `low`, if not NULL, is what
   x lacks to the last digit.  Returns 0, or -1 if there is no memory. */
int lap_tree_sums(const lap_kernel *kernel, ptrdiff_t n, const double *x, const double *low,
                  const double *v, double alpha, double *sums, double *steps);

#endif
