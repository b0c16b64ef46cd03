/* With L and R the sums of tails left and right of b and d = k less the number of entries left of b,
   b solves R = d + L; Newton's method on the logarithms of both sides takes a few passes.  It starts
   from the threshold of a sample, and b is carried as an entry and an offset in units of alpha.
   Where the sample says about where b is, one pass over a long lane is enough: entries far from
   there are only sums of powers for all passes that follow. */
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
#define DEVIATIONS 6.0     /* of the threshold of a sample from that of all */
#define RARE 4.0           /* entries of a sample that say little */
#define FEW_INSIDE 0.7     /* parts of all entries that are worth a pass that leaves the others out */

typedef struct {
    const lap_table *table;
    const double *x;
    ptrdiff_t n;
    double sign, k, rate, anchor, u, low, high; /* low <= u <= high */
    double density;                             /* the sum of f there, about */
    const lap_far *far;                         /* entries besides, or NULL */
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

/* T = e/(1 + e) and f = e/(1 + e)^2 in powers of e = e^-|t|. */
static void lap_add_far(const double *powers, double e, double *tails, double *slopes) {
    double y = e;
    for (int m = 1; m <= LAP_POWERS; m++) {
        double term = m % 2 ? y * powers[m - 1] : -(y * powers[m - 1]);
        *tails += term;
        *slopes += m * term;
        y *= e;
    }
}

static void lap_sums_of(const lap_lane_of *lane, double s[5]) {
    const lap_far *far = lane->far;
    lane->table->logistic_sums(lane->x, lane->n, lane->sign, lane->anchor, lane->rate, lane->u, s);
    if (far) {
        lap_add_far(far->left, exp(far->low - lane->u), &s[0], &s[2]);
        lap_add_far(far->right, exp(lane->u - far->high), &s[1], &s[3]);
        s[4] += far->below;
    }
}

/* Newton's method in the lane until steps are below `enough`; returns whether they came to be. */
static int lap_newton(lap_lane_of *lane, double enough) {
    for (int pass = 0; pass < PASSES; pass++) {
        double s[5]; /* tails left and right, their slopes, and how many are left */
        lap_sums_of(lane, s);
        double d = lane->k - s[4];
        double more = d >= 0.0 ? s[1] : s[1] - d, less = d >= 0.0 ? d + s[0] : s[0];
        double slope = s[3] / more + s[2] / less;
        lane->density = s[2] + s[3];
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
        /* Far from b its steps are a few alpha only. */
        int halve = pass > 3 && pass % 2 == 0 && lane->high - lane->low > 16.0;
        int newton = !halve && there >= lane->low && there <= lane->high;
        lane->u = newton ? there : 0.5 * lane->low + 0.5 * lane->high;
        if (newton && fabs(step) <= enough * size)
            return 1;
    }
    return 0;
}

/* Where the threshold can be: at the ends of the entries, as far from them as the level asks. */
static void lap_bound(lap_lane_of *lane, double least, double most) {
    double even = log(lane->k) - log(lane->n - lane->k), slack = 1e-12 * (1.0 + fabs(even));
    lane->low = (least - lane->anchor) * lane->rate + even;
    lane->high = (most - lane->anchor) * lane->rate + even;
    lane->low -= slack + 1e-12 * fabs(lane->low), lane->high += slack + 1e-12 * fabs(lane->high);
    if (!(lane->low <= lane->u && lane->high >= lane->u))
        lane->u = 0.5 * lane->low + 0.5 * lane->high;
}

/* Start from the threshold of a sample, at the same share of its entries.  Returns how far that may
   be off. */
static double lap_start(lap_lane_of *lane, const double *sample, ptrdiff_t size, double enough) {
    lap_lane_of part = *lane;
    part.x = sample, part.n = size, part.sign = 1.0, part.k = lane->k * size / lane->n;
    double least = sample[0], most = sample[0];
    for (ptrdiff_t i = 0; i < size; i++) {
        least = sample[i] < least ? sample[i] : least;
        most = sample[i] > most ? sample[i] : most;
    }
    lap_bound(&part, least, most);
    if (!lap_newton(&part, enough))
        return INFINITY;
    lap_anchor(&part, sample, size, 1.0);
    lane->anchor = part.anchor, lane->u = part.u;
    return DEVIATIONS * sqrt(fmin(part.k, size - part.k) + 1.0) / part.density;
}

/* Sets the ends of a lane's entries, several at once, so that none waits for the last. */
static void lap_ends(const double *x, ptrdiff_t n, double sign, double *least, double *most) {
    double ends[2][WIDE];
    for (int q = 0; q < WIDE; q++)
        ends[0][q] = ends[1][q] = x[q < n ? q : 0];
    for (ptrdiff_t i = 0; i + WIDE <= n; i += WIDE)
        for (int q = 0; q < WIDE; q++) {
            ends[0][q] = x[i + q] < ends[0][q] ? x[i + q] : ends[0][q];
            ends[1][q] = x[i + q] > ends[1][q] ? x[i + q] : ends[1][q];
        }
    double lowest = x[0], highest = x[0];
    for (int q = 0; q < WIDE; q++) {
        lowest = fmin(lowest, ends[0][q]);
        highest = fmax(highest, ends[1][q]);
    }
    for (ptrdiff_t i = n / WIDE * WIDE; i < n; i++) {
        lowest = fmin(lowest, x[i]);
        highest = fmax(highest, x[i]);
    }
    *least = sign < 0.0 ? -highest : lowest;
    *most = sign < 0.0 ? -lowest : highest;
}

/* Solve with the entries far from u summed up once, if b is no further from u than `off`. */
static int lap_solve_near(lap_lane_of *lane, const double *sample, ptrdiff_t size, double off) {
    double reach = off + LAP_DISTANT;
    ptrdiff_t few = 0;
    for (ptrdiff_t i = 0; i < size; i++)
        few += fabs((lane->anchor - sample[i]) * lane->rate + lane->u) <= reach;
    if (!(few < FEW_INSIDE * size))
        return 0;
    double *inside = malloc((lane->n + 64) * sizeof *inside);
    if (!inside)
        return 0;
    lap_lane_of part = *lane;
    lap_far far;
    part.x = inside, part.far = &far, part.low = lane->u - off, part.high = lane->u + off;
    part.n = lane->table->logistic_collapse(lane->x, lane->n, lane->sign, lane->anchor, lane->rate,
                                            part.low, part.high, inside, &far);
    int solved = part.n >= 0 && lap_newton(&part, 1e-9);
    if (solved && fabs(part.u) > 1.0) { /* so far from the anchor t is less exact than it can be */
        double before = part.anchor, shift;
        lap_anchor(&part, inside, part.n, lane->sign);
        shift = (before - part.anchor) * lane->rate;
        far.low += shift, far.high += shift;
        part.low = fmax(part.u - 1.0, far.low), part.high = fmin(part.u + 1.0, far.high);
        solved = lap_newton(&part, 1e-9);
    }
    solved = solved && part.u > far.low && part.u < far.high;
    if (solved)
        lane->anchor = part.anchor, lane->u = part.u;
    free(inside);
    return solved;
}

/* Solve by passes over all entries. */
static int lap_solve_all(lap_lane_of *lane) {
    double least, most;
    lap_ends(lane->x, lane->n, lane->sign, &least, &most);
    if (!((most - least) * lane->rate < 1e300))
        return 0;
    lap_bound(lane, least, most);
    if (!lap_newton(lane, 1e-9))
        return 0;
    if (fabs(lane->u) > 1.0) {
        lap_anchor(lane, lane->x, lane->n, lane->sign);
        lane->low = lane->u - 1.0, lane->high = lane->u + 1.0;
        return lap_newton(lane, 1e-9);
    }
    return 1;
}

static void lap_take(const double *x, ptrdiff_t n, double sign, double *sample, ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < size; i++)
        sample[i] = sign * x[n <= size ? i : (ptrdiff_t)((double)i * n / size)];
}

int lap_logistic_topk(const lap_table *table, const double *x, ptrdiff_t n, double sign, double k,
                      double alpha, int logarithm, double *p, double *f, double *slopes,
                      double *density) {
    if (!(k > 0.0 && k < (double)n && alpha > LAP_SMALLEST && alpha < LAP_LARGEST))
        return 0;
    double sample[SAMPLE], rate = 1.0 / alpha;
    ptrdiff_t size = n < SAMPLE ? n : SAMPLE;
    lap_take(x, n, sign, sample, size);
    qsort(sample, size, sizeof *sample, lap_ascending);
    ptrdiff_t place = (ptrdiff_t)(k * size / n);
    lap_lane_of lane = {table, x, n, sign, k, rate, 0.0, 0.0, 0.0, 0.0, 0.0, NULL};
    lane.anchor = sample[place < size ? place : size - 1];
    int solved = 0;
    if (n > SAMPLE)
        lap_start(&lane, sample, size, 1e-2);
    if (n > 4 * LARGE_SAMPLE) {
        double *larger = malloc(LARGE_SAMPLE * sizeof *larger);
        if (larger) {
            lap_take(x, n, sign, larger, LARGE_SAMPLE);
            double off = lap_start(&lane, larger, LARGE_SAMPLE, 1e-3);
            static const double WIDER[] = {4.0, 1.0, 32.0};
            int wide = fmin(k, n - k) * LARGE_SAMPLE / n > RARE;
            for (; isfinite(off) && !solved && wide < 3; wide++)
                solved = lap_solve_near(&lane, larger, LARGE_SAMPLE, WIDER[wide] * off);
            free(larger);
        }
    }
    if (!solved && !lap_solve_all(&lane))
        return 0;
    *density = table->logistic_entries(x, n, sign, lane.anchor, rate, lane.u, logarithm,
                                       p, f, slopes);
    return *density >= LEAST_DENSITY;
}
