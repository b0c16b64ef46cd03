/* One level of the loops declared in plan.h: LAP_LEVEL names it, compiler flags make it. */
#include "transport/plan.h"
#include "simd/vector.h"

#include <stdlib.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)

#include "transport/newton.h"
#include "transport/derivatives.h"

static int NAME(products)(const lap_plan *p, const double *s, const double *v, double *rows,
                          double *column_sums, double *columns, double *log_sums, ptrdiff_t *top)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (j = 0; column_sums && j < p->m; j++)
        column_sums[j] = 0.0;
    for (j = 0; columns && j < p->m; j++)
        columns[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t width = one->hi - one->lo;
        const double *at = s ? s + one->lo : NULL;
        double about;
        fill(&t, one);
        about = s ? s[t.heaviest] : 0.0;
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            if (rows) {
                for (j = 0; j < width; j++)
                    t.scratch[j] = at[j] - about;
                rows[i] = about + dot(row, t.scratch, width);
            }
            if (column_sums)
                add(column_sums + one->lo, p->a[i], row, width);
            if (columns)
                add(columns + one->lo, p->a[i] * v[i], row, width);
            if (log_sums) {
                log_sums[i] = t.log_sums[i - one->start];
                top[i] = one->top;
            }
        }
    }
    close_tiling(&t);
    return status;
}

/* The eighth moment of the standard normal distribution. */
#define EIGHTH 105.0

static int NAME(deviations)(const lap_plan *p, double *mean, double *deviation)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t width = one->hi - one->lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            const double along = dot(row, t.step, width);
            double two = 0.0, eight = 0.0;
            for (j = 0; j < width; j++) {
                const double away = t.step[j] - along, root = sqrt(row[j]);
                const double second = root * away, part = sqrt(sqrt(root)) * away;
                const double squared = part * part;
                two += second * second;
                eight += squared * squared * squared * squared;
            }
            mean[i] = p->y[one->top] + along;
            two = sqrt(two);
            eight = sqrt(sqrt(sqrt(eight / EIGHTH)));
            deviation[i] = eight > two ? eight : two;
        }
    }
    close_tiling(&t);
    return status;
}

/* log sum_j b_j e^{E_ij} as a function of x: it rises from row k to the next by
 * rate (x_k+1 - x_k) edge_k - shift_k, where edge_k lies between the columns that are their tops. */
static int NAME(mirror)(const lap_plan *p, double *edge, double *shift)
{
    tiling t;
    ptrdiff_t k, i, j, before = 0;
    double log_before = 0.0;
    int status = open_tiling(&t, p);
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double log_sum = t.log_sums[i - one->start];
            if (i > 0) {
                const double along = p->rate * (p->x[i] - p->x[i - 1]);
                const double across = p->y[one->top] - p->y[before];
                double climb = 0.0, part;
                ptrdiff_t near = before;
                for (j = before; j < one->top; j++)
                    climb += rise(p, j, p->x[i]);
                for (j = one->top; j < before; j++)
                    climb -= rise(p, j, p->x[i]);
                if (!(along * across < 1e300)) { /* nothing is shared */
                    edge[i - 1] = p->y[before] + 0.5 * across;
                    shift[i - 1] = 0.0;
                } else {
                    /* From the nearest column, and the shift makes up for the rounding of the edge:
                     * with a large rate the last digit of an edge decides what goes where. */
                    while (near < one->top &&
                           2.0 * climb > along * (p->y[near + 1] - p->y[before] +
                                                  (p->y[near] - p->y[before])))
                        near++;
                    if (near > before) {
                        climb = 0.0;
                        for (j = before; j < near; j++)
                            climb += rise(p, j, p->x[i - 1]);
                        for (j = near; j < one->top; j++)
                            climb += rise(p, j, p->x[i]);
                    }
                    part = along > 0.0 && across > 0.0 ? climb / along : 0.0;
                    part = part > -across ? part < across ? part : across : -across;
                    part = near == before && part < 0.0 ? 0.0 : part;
                    part = near == one->top && part > 0.0 ? 0.0 : part;
                    edge[i - 1] = p->y[near] + part;
                    climb -= along * (edge[i - 1] - p->y[near]);
                    shift[i - 1] = log_before - log_sum - climb;
                }
            }
            before = one->top;
            log_before = log_sum;
        }
    }
    if (p->n > 0)
        edge[p->n - 1] = shift[p->n - 1] = 0.0;
    close_tiling(&t);
    return status;
}

static int NAME(matrix)(const lap_plan *p, double *out)
{
    tiling t;
    ptrdiff_t k, i;
    int status = open_tiling(&t, p);
    if (status == LAP_DONE)
        memset(out, 0, p->n * p->m * sizeof(double));
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        fill(&t, one);
        for (i = one->start; i < one->stop; i++)
            memcpy(out + i * p->m + one->lo, t.rows + (i - one->start) * t.stride,
                   (one->hi - one->lo) * sizeof(double));
    }
    close_tiling(&t);
    return status;
}

const lap_transport NAME(lap_transport) = {
    NAME(solve),     NAME(products), NAME(deviations), NAME(mirror), NAME(matrix),
    NAME(equations), NAME(pull),     NAME(push),
};
