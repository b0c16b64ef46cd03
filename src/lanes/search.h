/* The threshold of one lane by selection instead of sorting, and loops over a long lane in parts. */
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

#define LAP_FEW 8

/* lap_table.softmax of up to LAP_FEW thresholds together: x_bar, unless NULL, is the sum. */
void lap_lane_softmax(const lap_lane *lane, const lap_anchored *b, int few, const double *dot,
                      const double *bar, void *x_bar, lap_pulled *sums);

/* A copy of all entries, to `copy`. */
void lap_lane_copy(const lap_lane *lane);

/* F((b - z)/alpha) of all entries, or its logarithm. */
void lap_lane_cdf(const lap_lane *lane, const lap_anchored *b, int logarithm, void *out);

/* x_bar for the cotangent bar of p = F((b - z)/alpha), or of its logarithm; sums->h and sums->along
 * become the cotangent of b times alpha, and that of alpha times -alpha.  densities has room for n;
 * it may be x_bar, or NULL at the price of more exps. */
void lap_lane_pull(const lap_lane *lane, const lap_anchored *b, const void *bar, int logarithm,
                   double *densities, void *x_bar, lap_pulled *sums);

/* The tangent of p, or of its logarithm, for those of x (NULL for zeros), of the level and of alpha. */
void lap_lane_push(const lap_lane *lane, const lap_anchored *b, const double *dot,
                   double level_dot, double alpha_dot, int logarithm, double *out);

#endif
