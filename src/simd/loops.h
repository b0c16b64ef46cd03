/* The loops that are compiled once for every level of SIMD, behind one table.
 *
 * Loops over the entries x of a lane see z = sign x, sign being 1 or -1.  Their lanes are finite
 * and alpha is between LAP_SMALLEST and LAP_LARGEST, so that 1/alpha is a float and a difference
 * that overflows is one that does not matter; whoever calls checks.  Where `single`, these entries,
 * the results of the same shape and the cotangents are floats, else doubles: floats are widened in
 * registers, and the result is rounded once.
 */
#ifndef LAPSUM_LOOPS_H
#define LAPSUM_LOOPS_H

#include "transport/plan.h"
#include "short.h"

#include <stddef.h>
#include <stdint.h>

#define LAP_SMALLEST 0x1p-960
#define LAP_LARGEST 0x1p960

/* A sum kept as high + low. */
typedef struct {
    double high, low;
} lap_pair;

/* What a part of the lane outside a bracket does to everything inside: its weight and its kernel
 * sum at the nearer end of the bracket, an entry equal to that end included. */
typedef struct {
    lap_pair below, A, above, B;
} lap_outside;

/* b = (lo + hi)/2 + alpha u; its derivative times alpha in the level is 1/density. */
typedef struct {
    double lo, hi, u, density;
    double left, right; /* the entries next to it, NaN for none: for `softmax` alone */
} lap_anchored;

/* The two sums of a derivative, and the entry (of those seen) with most of q. */
typedef struct {
    lap_pair h, along;
    double most;
    ptrdiff_t pivot;
} lap_pulled;

/* A tangent of p = F((b - z)/alpha) is its slope in b times
 * level + rate (mean_dot - (dot - dot_there)) + alpha_rate (step - mean_step),
 * step = (x - x_there)/alpha, where all differences are from one entry. */
typedef struct {
    double x_there, dot_there, mean_dot, mean_step;
    double level, rate, alpha_rate;
} lap_pushed;

/* Thresholds in ascending order among sorted nodes, and their distances, over alpha, to the nodes
 * next to them: `before` to lo on the left, `after` to hi on the right, and place + u again to lo,
 * with place 0, half the gap or all of it.  index: how many nodes are left of each. */
#define LAP_EDGES 257
typedef struct {
    double index[LAP_EDGES], lo[LAP_EDGES], hi[LAP_EDGES], u[LAP_EDGES], place[LAP_EDGES];
    double before[LAP_EDGES], after[LAP_EDGES];
} lap_edges;

/* What entries far from [low, high] do there: the sums of powers of e^-|t| from each end, in units
 * of alpha from an anchor, and how many are below. */
#define LAP_POWERS 4
#define LAP_DISTANT 9.3 /* e^-|t| to that power is nothing beside one */
typedef struct {
    double low, high, below;
    double left[LAP_POWERS], right[LAP_POWERS];
} lap_far;

typedef struct {
    const char *name;
    /* Collapses z <= lo and z >= hi, moves the x of what is between to inside (which may be x) and
     * its weights c (NULL for ones) to inside_c, returns how many there are; -1 if an entry is
     * not finite.  inside is NULL where nothing is between.  Unless copy is NULL, all x go there. */
    ptrdiff_t (*collapse)(const void *x, int single, const double *c, ptrdiff_t n, double sign,
                          double lo, double hi, double alpha, void *inside, double *inside_c,
                          void *copy, lap_outside *outside);
    /* The place of each of a few hundred numbers in ascending order, equal ones in order. */
    void (*places)(const double *x, ptrdiff_t n, int *place);
    /* e^x for x <= 0. */
    void (*exp)(const double *x, ptrdiff_t n, double *out);
    /* The sum of x in three parts, threefold compensated; inf, 0 and 0 where it overflows. */
    void (*add_up)(const double *x, ptrdiff_t n, double parts[3]);
    /* lap_decay, and, unless that is NULL, lap_decay_value of it. */
    void (*decays)(const double *gap, ptrdiff_t n, double *out, double *values);
    /* lap_step from from[i] to to[i]. */
    void (*steps)(const double *from, const double *to, ptrdiff_t n, double alpha, double *out);
    /* For unit weights, how many of the levels first + i are at most S(x_j) = j + 1/2 + (B - A)/2,
     * j = m, m + 1, ... (a float, which may be negative). */
    void (*levels_up_to)(const double *A, const double *B, ptrdiff_t n, ptrdiff_t m, double first,
                         double *out);
    /* The roots of lap_solve_between for `excesses`, or, where that is NULL, for the levels first + i
     * and unit weights, if m[i] sources lie below root i, some below and some above: side, u and,
     * unless factors is NULL, at a distance of `stride`, the first `rows` of left, right, q_left,
     * q_right, density, centre. */
    void (*solve)(const double *A, const double *B, const double *gap, const ptrdiff_t *m,
                  ptrdiff_t n, const double *excesses, double first, signed char *side, double *u,
                  double *factors, int rows, ptrdiff_t stride);
    /* lap_threshold. */
    void (*thresholds)(const double *lo, const double *hi, const double *u, ptrdiff_t n,
                       double alpha, double *out);
    /* (1 - e^{-width})/2 of the n intervals between n + 1 thresholds. */
    void (*shares)(const lap_edges *edges, ptrdiff_t n, double alpha, double *out);
    /* What F gains at x[i] from threshold row[i], left of it, to the next, right of it. */
    void (*insides)(const lap_edges *edges, const int64_t *row, const double *x, ptrdiff_t n,
                    double alpha, double *out);
    /* lap_width from threshold i to i + 1, of n + 1. */
    void (*widths)(const double *lo, const double *hi, const double *u, ptrdiff_t n, double alpha,
                   double *out);
    /* F((b - z)/alpha), or its logarithm. */
    void (*cdf)(const void *x, int single, ptrdiff_t n, double sign, const lap_anchored *b,
                double alpha, int logarithm, void *out);
    /* Two passes over the entries of a vector-Jacobian product of p = F((b - z)/alpha), or of its
     * logarithm.  The second needs sums of the first over all entries, and gives nothing to the
     * entry `pivot`, at z = origin.  densities, which may be x_bar, is written by the first and
     * read by the second; where NULL, they are computed twice.  Without bar, the first finds the
     * densities and the pivot alone. */
    void (*pull_sums)(const void *x, int single, const double *c, const void *bar, ptrdiff_t n,
                      double sign, const lap_anchored *b, double alpha, int logarithm,
                      double *densities, lap_pulled *sums);
    void (*pull_entries)(const void *x, int single, const double *c, const void *bar, ptrdiff_t n,
                         double sign, const lap_anchored *b, double alpha, int logarithm, double h,
                         ptrdiff_t pivot, double origin, const double *densities, void *x_bar,
                         lap_pulled *sums);
    /* Two passes of a Jacobian-vector product, given the densities; dot may be NULL.  The sums: h, of
     * c times density times dot - dot_there, and along, of c times density times step.  The tangent
     * takes the place of the densities. */
    void (*push_sums)(const void *x, int single, const double *c, const double *dot, ptrdiff_t n,
                      double alpha, const lap_pushed *with, const double *densities,
                      lap_pulled *sums);
    void (*push_entries)(const void *x, int single, const double *dot, ptrdiff_t n, double sign,
                         const lap_anchored *b, double alpha, int logarithm,
                         const lap_pushed *with, double *out);
    /* The softmax weights q of -|b - x|/alpha, times c.  Adds bar q to `running`, or starts it if
     * first; x_bar is what it holds then.  Either may be NULL.  h: the sum of q dot, unless dot is
     * NULL; along: that of q (y - x)/alpha to the neighbour y of b on the side of x. */
    void (*softmax)(const void *x, int single, const double *c, const double *dot, ptrdiff_t n,
                    const lap_anchored *b, double alpha, double bar, int first, double *running,
                    void *x_bar, lap_pulled *sums);
    /* F((b - x)/alpha) less that at some point between b and the entries: the sum of c times that, or,
     * unless out is NULL, factor times what it exceeds `mean` by, added to out. */
    void (*rises)(const void *x, int single, const double *c, ptrdiff_t n, const lap_anchored *b,
                  double alpha, double mean, double factor, double *out, lap_pair *sum);
    /* For t = (anchor - sign x) rate + u and the logistic F: the sums of the tails F(-|t|) where
     * t > 0 and elsewhere, those of f there, and how many t > 0. */
    void (*logistic_sums)(const double *x, ptrdiff_t n, double sign, double anchor, double rate,
                          double u, double sums[5]);
    /* Splits the entries into those far from b, for all b from low to high, and the x of the others;
     * returns how many these are, or -1 if an entry is not finite. */
    ptrdiff_t (*logistic_collapse)(const double *x, ptrdiff_t n, double sign, double anchor,
                                   double rate, double low, double high, double *inside,
                                   lap_far *far);
    /* F(t), or its logarithm, and unless they are NULL f(t) and the derivative of these; the sum of
     * f(t) is returned. */
    double (*logistic_entries)(const double *x, ptrdiff_t n, double sign, double anchor,
                               double rate, double u, int logarithm, double *p, double *f,
                               double *slopes);
    const lap_transport *transport;
    const lap_short_table *shorts;
} lap_table;

/* The table of a level, or NULL if the processor or this build lacks it; "" is the best there is. */
const lap_table *lap_find_table(const char *level);

/* "amd" or "intel"; "" for another, or where this build does not ask. */
const char *lap_vendor(void);

#endif
