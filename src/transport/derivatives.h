/* Derivatives of means over a plan. */
#ifndef LAPSUM_DERIVATIVES_H
#define LAPSUM_DERIVATIVES_H

#include "transport/laplacian.h"

/* Puts into each column of a solution what the others imply: one of little weight beside others has
 * but the digits of their flows. */
static void settle(tiling *t, const double *right, double *z, double *sums, double *due)
{
    const lap_plan *p = t->plan;
    ptrdiff_t k, i, j;
    for (j = 0; j < p->m; j++) {
        sums[j] = 0.0;
        due[j] = right[j];
    }
    for (k = 0; k < t->count; k++) {
        const tile *one = &t->tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        double about;
        fill(t, one);
        about = z[t->heaviest];
        for (j = 0; j < width; j++)
            t->scratch[j] = z[lo + j] - about;
        for (i = one->start; i < one->stop; i++) {
            const double *row = t->rows + (i - one->start) * t->stride;
            const double mean = dot(row, t->scratch, width);
            for (j = 0; j < width; j++)
                due[lo + j] += p->a[i] * row[j] * (mean - t->scratch[j]);
            add(sums + lo, p->a[i], row, width);
        }
    }
    for (j = 0; j < p->m; j++)
        if (sums[j] > 0.0)
            z[j] += due[j] / sums[j];
}

static int NAME(equations)(const lap_plan *p, double *z)
{
    const ptrdiff_t m = p->m;
    laplacian h = {0};
    tiling t;
    ptrdiff_t k;
    double *right = malloc(3 * m * sizeof(double));
    int status = open_tiling(&t, p);
    if (!right)
        status = LAP_NO_MEMORY;
    if (status == LAP_DONE)
        status = open_laplacian(&h, &t);
    if (status == LAP_DONE) {
        memcpy(right, z, m * sizeof(double));
        for (k = 0; k < t.count; k++) {
            fill(&t, &t.tiles[k]);
            add_edges(&h, &t, &t.tiles[k]);
        }
        factor(&h);
        sum_up(z, m);
        substitute(&h, z);
        if (uneven(p))
            settle(&t, right, z, right + m, right + 2 * m);
    }
    free(right);
    close_laplacian(&h);
    close_tiling(&t);
    return status;
}

/* Where a level divides a row, and epsilon is small, parts of derivatives are opposite but for
 * rounding: what that may have made of them is nothing, since it would be multiplied by the rate. */
#define ROUNDED 0x1p-47

/* v_j minus its mean over a row, to `out`; returns the mean. */
static inline double centred(const double *row, const double *v, double about, ptrdiff_t width,
                             double *out)
{
    double mean;
    ptrdiff_t j;
    for (j = 0; j < width; j++)
        out[j] = v[j] - about;
    mean = dot(row, out, width);
    for (j = 0; j < width; j++)
        out[j] -= mean;
    return about + mean;
}

/* Where in x column j is, roughly. */
static inline double place(const lap_plan *p, ptrdiff_t j)
{
    return p->m == 1 ? p->x[p->n / 2] : p->edge[j + 1 < p->m ? j : p->m - 2];
}

static inline double product(double a, double b)
{
    return a == 0.0 || b == 0.0 ? 0.0 : a * b;
}

static int NAME(pull)(const lap_plan *p, const lap_plan *nodes, const double *r, const double *c,
                      const double *d, double *lambda, double *mean_lambda, double *mean_c,
                      double *x_bar, double *y_bar, double *column_sums)
{
    tiling t;
    ptrdiff_t k, i, j, m = p->m;
    double *all, *sums, *sizes, *other;
    int status = open_tiling(&t, p);
    all = malloc((3 * m + 4 * LANES) * sizeof(double));
    if (!all)
        status = LAP_NO_MEMORY;
    for (j = 0; j < m; j++)
        lambda[j] = y_bar[j] = column_sums[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            centred(row, c + lo, c[t.heaviest], width, t.scratch);
            for (j = 0; j < width; j++)
                lambda[lo + j] -= row[j] * r[i] * t.scratch[j];
            if (d) {
                centred(row, d + lo, d[t.heaviest], width, t.scratch);
                for (j = 0; j < width; j++)
                    lambda[lo + j] -= row[j] * p->a[i] * t.scratch[j];
            }
        }
    }
    if (status == LAP_DONE)
        status = NAME(equations)(nodes, lambda);
    if (status == LAP_DONE)
        for (j = 0; j < m; j++)
            all[j] = lambda[j] + (d ? d[j] : 0.0);
    sums = all ? all + m : NULL;
    sizes = all ? sums + m : NULL;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        const double middle = p->x[one->middle];
        fill(&t, one);
        other = t.base; /* which is of no more use */
        for (j = 0; j < width; j++)
            sums[j] = 0.0;
        for (i = one->start; i < one->stop; i++) {
            double *row = t.rows + (i - one->start) * t.stride, x = 0.0, size = 0.0, away;
            add(column_sums + lo, r[i], row, width);
            mean_lambda[i] = centred(row, all + lo, all[t.heaviest], width, t.scratch);
            mean_c[i] = centred(row, c + lo, c[t.heaviest], width, other);
            away = p->x[i] == middle ? 0.0 : p->x[i] - middle;
            for (j = 0; j < width; j++) {
                t.scratch[j] *= p->a[i];
                other[j] *= r[i];
                sizes[j] = fabs(t.scratch[j]) + fabs(other[j]);
            }
            size = dot(row, sizes, width);
            for (j = 0; j < width; j++) {
                const double part = t.scratch[j] + other[j];
                const double bar = fabs(part) > ROUNDED * (size + sizes[j]) ? row[j] * part : 0.0;
                row[j] = bar;
                sums[j] += bar;
                y_bar[lo + j] -= p->rate * product(bar, away);
            }
            x = dot(row, t.step, width);
            x_bar[i] = -p->rate * x;
        }
        for (j = 0; j < width; j++)
            y_bar[lo + j] -= p->rate * product(sums[j], middle - place(p, lo + j));
    }
    free(all);
    close_tiling(&t);
    return status;
}

/* rate ((y_j - y_top) x_dot_i + (x_i - place_j) y_dot_j) */
static inline void moved(const tiling *t, const tile *one, ptrdiff_t i, double x_dot,
                         const double *y_dot, double *out)
{
    const lap_plan *p = t->plan;
    const ptrdiff_t lo = one->lo, width = one->hi - lo;
    const double along = p->rate * x_dot;
    ptrdiff_t j;
    for (j = 0; j < width; j++)
        out[j] = product(along, t->step[j]);
    if (y_dot)
        for (j = 0; j < width; j++)
            out[j] += product(p->rate * y_dot[lo + j], p->x[i] - place(p, lo + j));
}

/* sum_i Pi_ij (a_dot_i + a_i (moved_ij - its mean)), subtracted. */
static int charges(const lap_plan *p, const double *x_dot, const double *y_dot,
                   const double *a_dot, double *out)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            moved(&t, one, i, x_dot ? x_dot[i] : 0.0, y_dot, t.scratch);
            centred(row, t.scratch, t.scratch[t.heaviest - lo], width, t.scratch);
            for (j = 0; j < width; j++)
                out[lo + j] -= row[j] * (p->a[i] * t.scratch[j] + (a_dot ? a_dot[i] : 0.0));
        }
    }
    close_tiling(&t);
    return status;
}

static int NAME(push)(const lap_plan *p, const lap_plan *nodes, const double *x_dot,
                      const double *y_dot, const double *a_dot, const double *b_dot,
                      const double *s, const double *rows, double *rows_dot, const double *v,
                      const double *columns, double *columns_dot)
{
    tiling t;
    ptrdiff_t k, i, j, m = p->m;
    double *h = malloc((3 * m + LANES) * sizeof(double)), *sums = h + m, *sizes = sums + m;
    int status = h ? LAP_DONE : LAP_NO_MEMORY;
    for (j = 0; h && j < m; j++) {
        h[j] = b_dot ? b_dot[j] : 0.0;
        sums[j] = 0.0;
    }
    if (status == LAP_DONE)
        status = charges(p, x_dot, y_dot, a_dot, h);
    if (status == LAP_DONE)
        status = NAME(equations)(nodes, h);
    if (status != LAP_DONE) {
        free(h);
        return status;
    }
    status = open_tiling(&t, p);
    for (j = 0; columns_dot && j < m; j++)
        columns_dot[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            double *q = t.scratch, *log_dot = t.base, mean, size, sum = 0.0;
            moved(&t, one, i, x_dot ? x_dot[i] : 0.0, y_dot, q);
            for (j = 0; j < width; j++) {
                log_dot[j] = h[lo + j] - h[t.heaviest];
                sizes[j] = fabs(log_dot[j]) + fabs(q[j]);
                log_dot[j] += q[j];
            }
            mean = dot(row, log_dot, width);
            size = dot(row, sizes, width);
            for (j = 0; j < width; j++) {
                const double dot_ij = log_dot[j] - mean;
                log_dot[j] = fabs(dot_ij) > ROUNDED * (size + sizes[j]) ? dot_ij : 0.0;
            }
            if (rows_dot) {
                for (j = 0; j < width; j++)
                    sum += row[j] * (s[lo + j] - rows[i]) * log_dot[j];
                rows_dot[i] = sum;
            }
            if (columns_dot) {
                const double own = a_dot ? a_dot[i] : 0.0;
                for (j = 0; j < width; j++)
                    columns_dot[lo + j] +=
                        row[j] * (v[i] - columns[lo + j]) * (own + p->a[i] * log_dot[j]);
                add(sums + lo, p->a[i], row, width);
            }
        }
    }
    for (j = 0; status == LAP_DONE && columns_dot && j < m; j++)
        columns_dot[j] /= sums[j];
    free(h);
    close_tiling(&t);
    return status;
}

#endif
