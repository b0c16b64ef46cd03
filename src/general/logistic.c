/* With L and R the sums of tails left and right of b and d = k less the number of entries left of b,
   b solves R = d + L; Newton's method on the logarithms of both sides takes a few passes.  It starts
   from the threshold of a sample, and b is carried as an entry and an offset in units of alpha. */
#include "logistic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDE 16
#define SAMPLE 1024
#define LARGE_SAMPLE 32768
#define PASSES 40
#define LEAST_DENSITY 1e-8 /* below, b is in a gap whose two sides need more care */

typedef struct {
    const lap_table *table;
    const double *x;
    ptrdiff_t n;
    double sign, k, rate, anchor, u, low, high; /* low <= u <= high */
} lap_lane_of;

static int lap_ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Take the entry nearest to b of those given as the anchor. */
static void lap_anchor(lap_lane_of *lane, const double *x, ptrdiff_t size, double sign) {
    double best = fabs(lane->u), anchor = lane->anchor;
    for (ptrdiff_t i = 0; i < size; i++) {
        double away = fabs((lane->anchor - sign * x[i]) * lane->rate + lane->u);
        if (away < best)
            best = away, anchor = sign * x[i];
    }
    double shift = (lane->anchor - anchor) * lane->rate;
    lane->u += shift, lane->low += shift, lane->high += shift;
    lane->anchor = anchor;
}

/* Newton's method in the lane until steps are below `enough`; returns whether they came to be. */
static int lap_newton(lap_lane_of *lane, double enough) {
    for (int pass = 0; pass < PASSES; pass++) {
        double s[5]; /* tails left and right, their slopes, and how many are left */
        lane->table->logistic_sums(lane->x, lane->n, lane->sign, lane->anchor, lane->rate, lane->u, s);
        double d = lane->k - s[4];
        double more = d >= 0.0 ? s[1] : s[1] - d, less = d >= 0.0 ? d + s[0] : s[0];
        double slope = s[3] / more + s[2] / less;
        if (!(more > DBL_MIN && less > DBL_MIN))
            return 0;
        double residual = log(more / less), step = -residual / slope;
        double size = fmax(fabs(lane->u), 1.0), there = lane->u + step;
        if (fabs(step) <= 4e-16 * size)
            return 1;
        if (residual > 0.0)
            lane->high = fmin(lane->high, lane->u);
        else
            lane->low = fmax(lane->low, lane->u);
        int newton = there >= lane->low && there <= lane->high;
        lane->u = newton ? there : 0.5 * lane->low + 0.5 * lane->high;
        if (newton && fabs(step) <= enough * size)
            return 1;
    }
    return 0;
}

/* Start from the threshold of a sample, at the same share of its entries. */
static void lap_start(lap_lane_of *lane, const double *sample, ptrdiff_t size, double sign,
                      double enough) {
    lap_lane_of part = *lane;
    part.x = sample, part.n = size, part.sign = sign, part.k = lane->k * size / lane->n;
    if (!lap_newton(&part, enough))
        return;
    lap_anchor(&part, sample, size, sign);
    double shift = (lane->anchor - part.anchor) * lane->rate;
    lane->low += shift, lane->high += shift;
    lane->anchor = part.anchor, lane->u = fmin(fmax(part.u, lane->low), lane->high);
}

int lap_logistic_topk(const lap_table *table, const double *x, ptrdiff_t n, double sign, double k,
                      double alpha, double *p, double *slopes, double *density) {
    if (!(k > 0.0 && k < (double)n && alpha > LAP_SMALLEST && alpha < LAP_LARGEST))
        return 0;
    double ends[2][WIDE]; /* several of each, so that none waits for the last */
    for (int q = 0; q < WIDE; q++)
        ends[0][q] = ends[1][q] = x[q < n ? q : 0];
    for (ptrdiff_t i = 0; i + WIDE <= n; i += WIDE)
        for (int q = 0; q < WIDE; q++) {
            ends[0][q] = x[i + q] < ends[0][q] ? x[i + q] : ends[0][q];
            ends[1][q] = x[i + q] > ends[1][q] ? x[i + q] : ends[1][q];
        }
    double least = x[0], most = x[0];
    for (int q = 0; q < WIDE; q++) {
        least = fmin(least, ends[0][q]);
        most = fmax(most, ends[1][q]);
    }
    for (ptrdiff_t i = n / WIDE * WIDE; i < n; i++) {
        least = fmin(least, x[i]);
        most = fmax(most, x[i]);
    }
    double rate = 1.0 / alpha;
    if (!((most - least) * rate < 1e300))
        return 0;
    if (sign < 0.0) {
        double lowest = -most;
        most = -least, least = lowest;
    }
    double sample[SAMPLE];
    ptrdiff_t size = n < SAMPLE ? n : SAMPLE;
    for (ptrdiff_t i = 0; i < size; i++)
        sample[i] = sign * x[n <= SAMPLE ? i : (ptrdiff_t)((double)i * n / size)];
    qsort(sample, size, sizeof *sample, lap_ascending);
    double level = k * size / n, even = log(k) - log(n - k);
    ptrdiff_t place = (ptrdiff_t)level;
    lap_lane_of lane = {table, x, n, sign, k, rate, 0.0, 0.0, 0.0, 0.0};
    lane.anchor = sample[place < size ? place : size - 1];
    lane.low = (least - lane.anchor) * rate + even;
    lane.high = (most - lane.anchor) * rate + even;
    double slack = 1e-12 * (1.0 + fabs(even));
    lane.low -= slack + 1e-12 * fabs(lane.low), lane.high += slack + 1e-12 * fabs(lane.high);
    if (!(lane.low <= 0.0 && lane.high >= 0.0))
        lane.u = 0.5 * lane.low + 0.5 * lane.high;
    if (n > SAMPLE)
        lap_start(&lane, sample, size, 1.0, 1e-2);
    if (n > 4 * LARGE_SAMPLE) {
        double *larger = malloc(LARGE_SAMPLE * sizeof *larger);
        if (larger) {
            for (ptrdiff_t i = 0; i < LARGE_SAMPLE; i++)
                larger[i] = sign * x[(ptrdiff_t)((double)i * n / LARGE_SAMPLE)];
            lap_start(&lane, larger, LARGE_SAMPLE, 1.0, 1e-3);
            free(larger);
        }
    }
    if (!lap_newton(&lane, 1e-9))
        return 0;
    if (fabs(lane.u) > 1.0) { /* so far from the anchor t is less exact than it can be */
        lap_anchor(&lane, x, n, sign);
        lane.low = lane.u - 1.0, lane.high = lane.u + 1.0;
        if (!lap_newton(&lane, 1e-9))
            return 0;
    }
    *density = table->logistic_entries(x, n, sign, lane.anchor, rate, lane.u, p, slopes);
    return *density >= LEAST_DENSITY;
}
