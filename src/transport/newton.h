/* The solution of a plan by Newton's method. */
#ifndef LAPSUM_NEWTON_H
#define LAPSUM_NEWTON_H

#include "transport/laplacian.h"

/* Flows across a level that rounding of columns near one in size may have made count for nothing. */
#define ROUNDING 0x1p-52

/* b - P^T 1, summed up to each column, with the Laplacian and the tiles of the plan; the largest of
 * these flows. */
static int evaluate(const lap_plan *p, tiling *t, laplacian *h, double *flow, double *error)
{
    double most = 0.0, level = 0.0, all;
    ptrdiff_t k, i, j;
    int status = open_tiling(t, p);
    if (status != LAP_DONE || (status = open_laplacian(h, t)) != LAP_DONE)
        return status;
    for (j = 0; j < p->m; j++)
        flow[j] = 0.0;
    for (k = 0; k < t->count; k++) {
        const tile *one = &t->tiles[k];
        double *sums = t->scratch;
        fill(t, one);
        add_edges(h, t, one);
        memset(sums, 0, t->stride * sizeof(double));
        for (i = one->start; i < one->stop; i++)
            add(sums, p->a[i], t->rows + (i - one->start) * t->stride, one->hi - one->lo);
        for (j = one->lo; j < one->hi; j++)
            flow[j] += sums[j - one->lo];
    }
    *error = 0.0;
    for (j = 0; j < p->m; j++) {
        flow[j] = p->b[j] - flow[j];
        most = p->b[j] > most ? p->b[j] : most;
    }
    sum_up(flow, p->m);
    all = flow[p->m - 1];
    for (j = 0; j < p->m; j++) {
        /* The weights of both sides add up to one but for rounding, which is shared by all. */
        flow[j] -= (level += p->b[j]) * all;
        if (j + 1 == p->m || fabs(flow[j]) <= ROUNDING * most * sqrt((double)p->m))
            flow[j] = 0.0;
        if (!(fabs(flow[j]) <= *error))
            *error = fabs(flow[j]);
    }
    return *error == *error ? LAP_DONE : LAP_NOT_REACHED;
}

/* A step that changes an exponent of a row by more than FAR is held back: no shift by more than
 * NEAR. */
#define FAR 25.0
#define NEAR 6.0

/* The most that steps of the shifts change one exponent of a row against another. */
static double reach(const tiling *t, const double *step)
{
    double most = 0.0;
    ptrdiff_t k, j;
    for (k = 0; k < t->count; k++) {
        double sum = 0.0, up = 0.0, down = 0.0;
        for (j = t->tiles[k].lo; j + 1 < t->tiles[k].hi; j++) {
            sum += step[j];
            up = sum > up ? sum : up;
            down = sum < down ? sum : down;
        }
        most = up - down > most ? up - down : most;
    }
    return most;
}

/* Gives each column the shift with which rows send it its mass: where that is little beside others,
 * it is not seen in flows. */
static int settle_shifts(const lap_plan *p, double *sums)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (j = 0; j < p->m; j++)
        sums[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        fill(&t, one);
        for (i = one->start; i < one->stop; i++)
            add(sums + one->lo, p->a[i], t.rows + (i - one->start) * t.stride, one->hi - one->lo);
    }
    close_tiling(&t);
    for (j = 0; j < p->m; j++)
        sums[j] = sums[j] > 0.0 ? log(p->b[j] / sums[j]) : 0.0;
    for (j = 0; status == LAP_DONE && j + 1 < p->m; j++)
        p->shift[j] += sums[j + 1] - sums[j];
    return status;
}

static int NAME(solve)(const lap_plan *p, double *error, ptrdiff_t *evaluations)
{
    const ptrdiff_t m = p->m;
    laplacian h = {0};
    tiling t;
    double *flow = malloc(3 * m * sizeof(double)), *step, *from, before = INFINITY;
    int status, steps = 0;
    *error = INFINITY;
    *evaluations = 0;
    if (!flow)
        return LAP_NO_MEMORY;
    step = flow + m;
    from = step + m;
    status = evaluate(p, &t, &h, flow, error);
    ++*evaluations;
    while (status == LAP_DONE && *error > 0.0) {
        double slope = 0.0, by = 1.0, now;
        ptrdiff_t j;
        /* After the quadratic phase what is left is rounding. */
        if (before < 1e-8 && *error < 1e-12 && *error > 0.1 * before)
            break;
        if (steps++ == LAP_MOST_STEPS) {
            status = LAP_NOT_REACHED;
            break;
        }
        memcpy(step, flow, m * sizeof(double));
        factor(&h);
        substitute(&h, step);
        for (j = 0; j + 1 < m; j++)
            step[j] = step[j + 1] - step[j]; /* of the shifts */
        /* Where weights far apart share a row the dual has plateaus, from which Newton steps lead
         * too far; others must not wait for them. */
        if (reach(&t, step) > FAR) {
            memcpy(from, step, m * sizeof(double));
            for (j = 0; j + 1 < m; j++)
                step[j] = step[j] > NEAR ? NEAR : step[j] < -NEAR ? -NEAR : step[j];
            for (j = 0; j + 1 < m; j++)
                slope -= flow[j] * step[j];
            if (!(slope > 0.0)) {
                memcpy(step, from, m * sizeof(double));
                by = FAR / reach(&t, step);
            }
        }
        for (slope = 0.0, j = 0; j + 1 < m; j++)
            slope -= flow[j] * step[j];
        before = *error;
        memcpy(from, p->shift, (m - 1) * sizeof(double));
        for (;;) {
            for (j = 0; j + 1 < m; j++)
                p->shift[j] = from[j] + by * step[j];
            close_tiling(&t);
            status = evaluate(p, &t, &h, flow, error);
            ++*evaluations;
            if (status != LAP_DONE)
                break;
            /* The dual is concave: along the step its slope falls from `slope`, and may end at a
             * value as negative without harm. */
            for (now = 0.0, j = 0; j + 1 < m; j++)
                now -= flow[j] * step[j];
            if (now >= -0.5 * slope || before < 1e-9 || *evaluations >= LAP_MOST_EVALUATIONS)
                break;
            by *= slope / (slope - now) > 0.1 ? slope / (slope - now) : 0.1;
        }
        if (status == LAP_DONE && *evaluations >= LAP_MOST_EVALUATIONS && *error > 1e-12)
            status = LAP_NOT_REACHED;
    }
    close_tiling(&t);
    close_laplacian(&h);
    if (status == LAP_DONE && uneven(p))
        status = settle_shifts(p, flow);
    free(flow);
    return status;
}

#endif
