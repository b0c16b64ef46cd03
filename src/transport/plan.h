/* Entropic optimal transport between two measures on a line, with squared cost.
 *
 * Rows are points x_i of weight a_i, columns points y_j of weight b_j, both ascending; each set of
 * weights adds up to one, and b_j > 0.  The plan is P_ij = a_i Pi_ij, where every row of Pi adds up
 * to one:
 *
 *     Pi_ij = b_j e^{E_ij} / sum_k b_k e^{E_ik},
 *     E_i,j+1 - E_ij = rate (y_j+1 - y_j) (x_i - edge_j) + shift_j,    rate = 2/epsilon.
 *
 * The edges are where the hard plan goes from column j to the next, and the shifts, which are all
 * that is solved for, what the entropy adds: no potential of the size of the cost is ever formed.
 * E_ij is concave in j, so that a row needs those columns alone in which E is not far below its
 * largest value.  Rows near each other are taken together, in tiles: there
 * E_ij = E_rj + rate (x_i - x_r) (y_j - y_c) but for a term of the row, about a row r and its
 * largest column c.
 */
#ifndef LAPSUM_PLAN_H
#define LAPSUM_PLAN_H

#include <stddef.h>

typedef struct {
    const double *x, *a;
    const double *y, *b;
    const double *edge;
    double *shift;
    ptrdiff_t n, m;
    double rate;
} lap_plan;

/* How a call ended. */
enum { LAP_DONE, LAP_NOT_REACHED, LAP_TOO_LARGE, LAP_NO_MEMORY };

/* The most doubles that a factor may have. */
#define LAP_MOST_IN_FACTOR ((ptrdiff_t)1 << 27)

/* Newton steps, and evaluations of the plan, that a solution may take. */
#define LAP_MOST_STEPS 60
#define LAP_MOST_EVALUATIONS 200

typedef struct {
    /* Solves for the shifts, from those given.  error: the mass that is on the wrong side of some
     * level; evaluations: of the plan. */
    int (*solve)(const lap_plan *plan, double *error, ptrdiff_t *evaluations);
    /* rows_i = sum_j Pi_ij s_j; column_sums_j = sum_i a_i Pi_ij; columns_j = sum_i a_i Pi_ij v_i;
     * log_sums_i = log sum_j b_j e^{E_ij - E_i,top_i}.  Each may be NULL, with its input. */
    int (*products)(const lap_plan *plan, const double *s, const double *v, double *rows,
                    double *column_sums, double *columns, double *log_sums, ptrdiff_t *top);
    /* The mean of y over each row, and the standard deviation, or that of a normal distribution with
     * the same eighth moment, if larger. */
    int (*deviations)(const lap_plan *plan, double *mean, double *deviation);
    /* Edges and shifts of the same plan with rows as columns: one for each row, of which the last
     * is not used. */
    int (*mirror)(const lap_plan *plan, double *edge, double *shift);
    /* Pi itself, n rows of m. */
    int (*matrix)(const lap_plan *plan, double *out);
    /* Solves (diag(P^T 1) - P^T diag(1/a) P) z = z, for a right side that adds up to zero. */
    int (*equations)(const lap_plan *plan, double *z);
    /* Cotangents, of what depends on the plan by K_ij = r_i c_j + a_i d_j: that of rate times the
     * cost at i, j is Pi_ij (K_ij + a_i lambda_j - mean of these over row i), with lambda such that
     * it adds up to zero in every column.  means: over the rows of lambda + d, and of c;
     * column_sums: sum_i Pi_ij r_i. `nodes` stands for the plan in the equations for lambda. */
    int (*pull)(const lap_plan *plan, const lap_plan *nodes, const double *r, const double *c,
                const double *d, double *lambda, double *mean_lambda, double *mean_c,
                double *x_bar, double *y_bar, double *column_sums);
    /* Tangents of x, y, a and b, of which each may be NULL, make those of
     * rows_i = sum_j Pi_ij s_j and of columns_j = sum_i a_i Pi_ij v_i / sum_i a_i Pi_ij, given
     * these values. */
    int (*push)(const lap_plan *plan, const lap_plan *nodes, const double *x_dot,
                const double *y_dot, const double *a_dot, const double *b_dot, const double *s,
                const double *rows, double *rows_dot, const double *v, const double *columns,
                double *columns_dot);
} lap_transport;

#endif
