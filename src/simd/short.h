/* Whole operators on lanes so short that LANES of them are done at once, one in each slot of the
 * vectors: entry m of all of them is one vector.
 *
 * Every step is elementwise, so a lane's result depends on nothing but the lane.  Lanes come in
 * blocks, of which each call does those from start to stop.  `left` gets bits for lanes whose results
 * are anything: 1 where they are not for these loops, LAP_SHORT_NAN where they are NaN since an
 * entry is.  Entries, results and cotangents are
 * floats where `single`.
 */
#ifndef LAPSUM_SHORT_H
#define LAPSUM_SHORT_H

#include <stddef.h>
#include <stdint.h>

#define LAP_SHORT_BLOCK 8 /* lanes: a multiple of LANES at every level */
#define LAP_SHORT_NAN 2
#define LAP_SHORT_ROWS 9  /* numbers that are kept of each threshold */

struct lap_even_table;

typedef struct {
    const void *x; /* (lanes, n), z = sign x */
    int single, n;
    ptrdiff_t lanes;
    double sign;
    const double *alpha;
    const double *weights; /* (lanes, n), NULL for ones; sorts have none */
} lap_short_lanes;

typedef struct lap_short_table {
    int most; /* entries of a lane */
    const struct lap_short_table *longer; /* what takes more, NULL for none */
    const struct lap_even_table *even;    /* for other densities, by their kind */
    /* The ranks of z, and the places of the entries in ascending order, (lanes, n) in whole blocks;
     * NULL if nobody needs them. */
    void (*ranks)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop, void *y,
                  uint8_t *places, uint8_t *left);
    /* With alpha_bar: the cotangents of x, alpha and weights for that of the ranks, v.  With
     * alpha_dot: the tangent for those of x, v, of alpha and of weights (NULL for none). */
    void (*rank_products)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                          const uint8_t *places, const void *v, const double *alpha_dot,
                          const double *weights_dot, void *out, double *alpha_bar,
                          double *weights_bar, uint8_t *left);
    /* p = F((b - z)/alpha), or its logarithm, with S(b) = level; of each b, LAP_SHORT_ROWS numbers
     * for the products, again in whole blocks. */
    void (*topk)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop, const double *levels,
                 int logarithm, void *p, double *found, uint8_t *left);
    void (*topk_pull)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                      const double *found, int logarithm, const void *bar, void *x_bar,
                      double *level_bar, double *alpha_bar, double *weights_bar, uint8_t *left);
    void (*topk_push)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                      const double *found, int logarithm, const void *x_dot,
                      const double *level_dot, const double *alpha_dot, const double *weights_dot,
                      void *p_dot, uint8_t *left);
    /* The roots of S at 1/2, 3/2, ..., in descending order where sign is -1; x itself is sorted. */
    void (*sorts)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop, void *y,
                  uint8_t *places, uint8_t *left);
    void (*sort_pull)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                      const uint8_t *places, const void *bar, void *x_bar, double *alpha_bar,
                      uint8_t *left);
    void (*sort_push)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                      const uint8_t *places, const void *x_dot, const double *alpha_dot,
                      void *y_dot, uint8_t *left);
    /* The soft permutation of keys x times values, or its transpose, both (lanes, n); rows are in
     * descending order where sign is -1.  Tangents are of the product itself. */
    void (*permute)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                    const double *values, int transpose, double *y, uint8_t *places,
                    uint8_t *left);
    void (*permute_pull)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                         const uint8_t *places, const double *values, int transpose,
                         const double *bar, double *x_bar, double *values_bar, double *alpha_bar,
                         uint8_t *left);
    void (*permute_push)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                         const uint8_t *places, const double *values, const double *x_dot,
                         const double *values_dot, const double *alpha_dot, double *y_dot,
                         uint8_t *left);
    /* The permutation itself, (lanes, n, n), rows in ascending order whatever the sign. */
    void (*permutation)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop, void *out,
                        uint8_t *places, uint8_t *left);
    void (*permutation_pull)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                             const uint8_t *places, const double *bar, double *x_bar,
                             double *alpha_bar, uint8_t *left);
    void (*permutation_push)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                             const uint8_t *places, const double *x_dot, const double *alpha_dot,
                             double *p_dot, uint8_t *left);
    /* The roots b at few levels, (lanes, few), of each lane; `found` for each of them.  In products the
     * levels are shares q of the total weight, which is n where that is NULL. */
    void (*quantiles)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                      const double *levels, int few, double *b, double *found, uint8_t *left);
    void (*quantile_pull)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                          const double *found, const double *q, const double *total, int few,
                          const double *bar, void *x_bar, double *q_bar, double *alpha_bar,
                          double *weights_bar, uint8_t *left);
    void (*quantile_push)(const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                          const double *found, const double *q, const double *total, int few,
                          const void *x_dot, const double *q_dot, const double *alpha_dot,
                          const double *weights_dot, double *b_dot, uint8_t *left);
} lap_short_table;

#endif
