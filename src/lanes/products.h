/* What needs all entries of a lane and its threshold: probabilities and derivatives. */
#ifndef LAPSUM_PRODUCTS_H
#define LAPSUM_PRODUCTS_H

#include "search.h"

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
