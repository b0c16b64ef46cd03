/* The equations of a plan. */
#ifndef LAPSUM_LAPLACIAN_H
#define LAPSUM_LAPLACIAN_H

#include "transport/tiles.h"

/* The matrix diag(P^T 1) - P^T diag(1/a) P of the equations, a graph Laplacian of the columns: the
 * weights of its edges, in row j those to columns j + 1 to stop[j] - 1, the farthest that share a row
 * of the plan with it or with one before it, with room for a vector beyond.  Factored it holds those
 * at the moment of elimination, and their sums. */
typedef struct {
    ptrdiff_t m, length, capacity; /* length: of a row of the panel, with room for two vectors */
    ptrdiff_t *stop, *start; /* of each row; `start` in `edges` */
    double *edges, *pivots, *panel;
} laplacian;

static void close_laplacian(laplacian *h)
{
    free(h->edges);
    free(h->stop);
}

static int open_laplacian(laplacian *h, const tiling *t)
{
    const ptrdiff_t m = t->plan->m;
    ptrdiff_t size = 0, last = 0, most = 0, j, k;
    if (!h->stop) {
        h->stop = malloc(2 * (m + 4) * sizeof(ptrdiff_t));
        if (!h->stop)
            return LAP_NO_MEMORY;
        h->start = h->stop + m + 4;
    }
    h->m = m;
    for (j = 0; j < m + 4; j++)
        h->stop[j] = j + 1;
    for (k = 0; k < t->count; k++)
        if (h->stop[t->tiles[k].lo] < t->tiles[k].hi)
            h->stop[t->tiles[k].lo] = t->tiles[k].hi;
    for (j = 0; j < m + 4; j++) {
        if (h->stop[j] < last)
            h->stop[j] = last;
        last = h->stop[j];
        h->start[j] = size;
        most = last - j > most ? last - j : most;
        size += last - j + LANES;
        if (size > LAP_MOST_IN_FACTOR)
            return LAP_TOO_LARGE;
    }
    h->length = most + 4 + 2 * LANES;
    size += m + 4 * h->length;
    if (size > LAP_MOST_IN_FACTOR)
        return LAP_TOO_LARGE;
    if (size > h->capacity) {
        free(h->edges);
        h->edges = malloc(size * sizeof(double));
        h->capacity = h->edges ? size : 0;
        if (!h->edges)
            return LAP_NO_MEMORY;
    }
    h->panel = h->edges + size - 4 * h->length;
    h->pivots = h->panel - m;
    memset(h->edges, 0, size * sizeof(double));
    return LAP_DONE;
}

/* Adds sum_i a_i Pi_ij Pi_ik of the rows of a tile. */
static void add_edges(laplacian *h, const tiling *t, const tile *one)
{
    const ptrdiff_t width = one->hi - one->lo, rows = one->stop - one->start;
    const double *a = t->plan->a + one->start;
    ptrdiff_t i, j, q;
    for (i = 0; i < rows; i += 4) {
        const double *row[4], *weight[4];
        const double none = 0.0;
        for (q = 0; q < 4; q++) {
            row[q] = t->rows + (i + q < rows ? i + q : i) * t->stride;
            weight[q] = i + q < rows ? a + i + q : &none;
        }
        for (j = 0; j + 1 < width; j++) {
            double f[4];
            for (q = 0; q < 4; q++)
                f[q] = *weight[q] * row[q][j];
            add_four(h->edges + h->start[one->lo + j], f, row[0] + j + 1, row[1] + j + 1,
                     row[2] + j + 1, row[3] + j + 1, width - j - 1);
        }
    }
}

/* Eliminates one column after the other, by additions alone: no digit is lost, however weak some
 * edges are beside others. */
static void factor(laplacian *h)
{
    const ptrdiff_t length = h->length;
    ptrdiff_t k, q, s, j;
    for (k = 0; k < h->m; k += 4) {
        const ptrdiff_t last = h->stop[k + 3];
        double *panel = h->panel;
        for (q = 0; q < 4; q++) {
            double *scaled = panel + q * length, *edges = h->edges + h->start[k + q];
            const ptrdiff_t width = h->stop[k + q] - (k + q) - 1;
            double sum = 0.0;
            memset(scaled, 0, (last - k + 2 * LANES) * sizeof(double));
            if (k + q >= h->m)
                continue;
            for (s = 0; s < q; s++) {
                const ptrdiff_t away = q - s, left = h->stop[k + s] - (k + q) - 1;
                const double by = left >= 0 ? h->edges[h->start[k + s] + away - 1] : 0.0;
                for (j = 0; j < left; j++)
                    edges[j] += by * panel[s * length + j + away];
            }
            for (j = 0; j < width; j++)
                sum += edges[j];
            if (sum < 1e-280) { /* nothing holds the columns on both sides together */
                sum = 0.0;
                memset(edges, 0, width * sizeof(double));
            }
            h->pivots[k + q] = sum;
            for (j = 0; j < width; j++)
                scaled[j] = sum > 0.0 ? edges[j] / sum : 0.0;
        }
        for (j = k + 4; j < last; j++) {
            double f[4];
            for (q = 0; q < 4; q++)
                f[q] = j < h->stop[k + q] ? h->edges[h->start[k + q] + j - (k + q) - 1] : 0.0;
            add_four(h->edges + h->start[j], f, panel + j - k, panel + length + j - k - 1,
                     panel + 2 * length + j - k - 2, panel + 3 * length + j - k - 3,
                     last - j - 1);
        }
    }
}

/* Solves for z, in the place of the flows: the right side, which adds up to zero, summed up to each
 * column.  Where columns are held together weakly, little flows, and what does keeps its digits. */
static void substitute(const laplacian *h, double *z)
{
    ptrdiff_t k, j;
    for (k = 0; k + 1 < h->m; k++) {
        const double *edges = h->edges + h->start[k];
        if (h->pivots[k] > 0.0) {
            const double by = z[k] / h->pivots[k];
            double beyond = 0.0;
            for (j = h->stop[k] - k - 2; j >= 0; j--) {
                z[k + 1 + j] -= by * beyond;
                beyond += edges[j];
            }
        }
    }
    z[h->m - 1] = 0.0;
    for (k = h->m - 2; k >= 0; k--) {
        const double *edges = h->edges + h->start[k];
        double sum = z[k];
        if (!(h->pivots[k] > 0.0)) {
            z[k] = z[k + 1];
            continue;
        }
        for (j = 0; k + 1 + j < h->stop[k]; j++)
            sum += edges[j] * z[k + 1 + j];
        z[k] = sum / h->pivots[k];
    }
}

/* The right side summed up to each column, in its place. */
static void sum_up(double *z, ptrdiff_t m)
{
    double sum = 0.0, lost = 0.0;
    ptrdiff_t j;
    for (j = 0; j < m; j++) {
        const double part = z[j] - lost, next = sum + part;
        lost = (next - sum) - part;
        z[j] = sum = next;
    }
}

#endif
