/* Sums of even densities over lanes so short that LANES of them are done at once, as in short.h.
 *
 * They are taken pair by pair: of every two entries, or of every entry and every threshold.  Lanes
 * with infinite entries are left to other loops.
 */
#ifndef LAPSUM_EVEN_H
#define LAPSUM_EVEN_H

#include "general/tree.h"
#include "short.h"

enum { LAP_LOGISTIC, LAP_NORMAL, LAP_CAUCHY, LAP_STUDENT, LAP_TABLE, LAP_KINDS };

#define LAP_SERIES 28

/* Forms of F(t): itself; for t > 0 the other tail, negative, so that it has its digits; its logarithm. */
enum { LAP_PLAIN, LAP_TAILS, LAP_LOGARITHM };

/* A density by its formula, or by tables of its tail T and of itself. */
typedef struct {
    int kind;
    lap_kernel tail, pdf; /* of LAP_TABLE alone */
    double least;         /* sums of f below are left to other loops */
    /* Of LAP_STUDENT alone: a series as in even_tails.inc, degrees of freedom, their root, and f(0). */
    const double *series;
    double df, root_df, top;
} lap_even;

/* Thresholds b = anchor + alpha u, (lanes, m) each. */
typedef struct {
    const double *anchor, *u;
    int m;
} lap_even_points;

/* sum_ij r_i P_ij v_j; its derivative in v is to be known, or that in r. */
typedef struct {
    const double *rows, *entries;
    int by_rows;
} lap_bilinear;

typedef struct lap_even_table {
    void (*ranks)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                  void *y, uint8_t *left);
    /* As `rank_products` of short.h. */
    void (*rank_products)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,
                          ptrdiff_t stop, const void *v, const double *alpha_dot, void *out,
                          double *alpha_bar, uint8_t *left);
    /* The thresholds at `levels`, (lanes, m), or at first, first + 1, ... where that is NULL. */
    void (*solve)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                  const double *levels, double first, int m, double *anchor, double *u, double *b,
                  uint8_t *left);
    /* F(t), t = (b - z)/alpha, in a form, for one threshold a lane; the shares of f(t), whose sum is
     * the density; and f(t)/F(t) for the logarithm.  Shares and slopes may be NULL. */
    void (*entries)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                    const lap_even_points *b, int form, double *p, double *shares, double *slopes,
                    double *density, uint8_t *left);
    /* The cotangents of x, levels and alpha for that of b. */
    void (*pull)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                 const lap_even_points *b, const double *bar, double *x_bar, double *levels_bar,
                 double *alpha_bar, uint8_t *left);
    /* The tangent of b; levels_dot may be NULL. */
    void (*push)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                 const lap_even_points *b, const double *x_dot, const double *levels_dot,
                 const double *alpha_dot, double *b_dot, uint8_t *left);
    /* The soft permutations with thresholds b, (lanes, n, n), and the cotangents of x and alpha. */
    void (*matrix)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                   const lap_even_points *b, double *p, uint8_t *left);
    void (*matrix_pull)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,
                        ptrdiff_t stop, const lap_even_points *b, const double *bar,
                        double *x_bar, double *alpha_bar, uint8_t *left);
    /* They, or their transposes, times values; and what `of` says, and the same of its sum. */
    void (*multiply)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, ptrdiff_t stop,
                     const lap_even_points *b, const double *values, int transpose,
                     double *product, uint8_t *left);
    void (*multiply_pull)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,
                          ptrdiff_t stop, const lap_even_points *b, const lap_bilinear *of,
                          double *product, double *x_bar, double *alpha_bar, uint8_t *left);
} lap_even_table;

#endif
