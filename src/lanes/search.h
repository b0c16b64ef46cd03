/* One lane, and its threshold by selection instead of sorting. */
#ifndef LAPSUM_SEARCH_H
#define LAPSUM_SEARCH_H

#include "laplace.h"
#include "simd/loops.h"

typedef void (*lap_task)(void *context, ptrdiff_t i);

/* Calls task(context, i) for i below `tasks`, in any order, maybe from several threads. */
typedef struct lap_runner {
    void (*run)(const struct lap_runner *self, lap_task task, void *context, ptrdiff_t tasks);
} lap_runner;

typedef struct {
    lap_root root;
    double left_node, right_node; /* next to the threshold: entries, or points nearer to it, or NaN
                                   * for none */
    int copied;                   /* whether the lane was, on the way */
} lap_selected;

/* Entries of a lane: x, floats where `single` and else doubles, or -x for sign = -1, with weights c
 * (NULL for ones). */
typedef struct {
    const lap_table *table;
    const lap_runner *runner; /* NULL: one part after another */
    const void *x;
    void *copy; /* where selection may leave a copy of x, or NULL */
    int single;
    const double *c;
    ptrdiff_t n;
    double sign, alpha;
} lap_lane;

/* Solves S(b) = level, 0 < level < total weight.  Returns 0 if the lane must be sorted instead, since
 * an entry is not finite or alpha is too extreme, and 2 if entries of zero weight, which do not
 * matter, are not finite.  scratch has room for n entries like x, and scratch_c for n weights if
 * there are any. */
int lap_select(const lap_lane *lane, double level, double total, void *scratch,
               double *scratch_c, lap_selected *selected);

#endif
