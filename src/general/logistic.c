/* With L and R the sums of tails left and right of b and d = k less the number of entries left of b,
   b solves R = d + L; Newton's method on the logarithms of both sides takes a few passes.  It starts
   from the threshold of a sample, and b is carried as an entry and an offset in units of alpha. */
#include "logistic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512
#define SAMPLE 1024
#define PASSES 40
#define LEAST_DENSITY 1e-8 /* below, b is in a gap whose two sides need more care */

typedef struct {
    const lap_table *table;
    const double *x;
    ptrdiff_t n;
    double sign, k, rate, anchor, u, low, high; /* low <= u <= high */
} lap_lane_of;

typedef struct {
    double left, right, slope_left, slope_right, below;
} lap_sides;

/* t = (anchor - z)/alpha + u and e^-|t| for one block. */
static void lap_block(const lap_lane_of *lane, const double *x, ptrdiff_t size, double *t,
                      double *e) {
    double anchor = lane->anchor, sign = lane->sign, rate = lane->rate, u = lane->u;
    for (ptrdiff_t i = 0; i < size; i++)
        t[i] = (anchor - sign * x[i]) * rate + u;
    for (ptrdiff_t i = 0; i < size; i++)
        e[i] = -fabs(t[i]);
    lane->table->exp(e, size, e);
}

static lap_sides lap_pass(const lap_lane_of *lane) {
    lap_sides total = {0.0, 0.0, 0.0, 0.0, 0.0};
    for (ptrdiff_t begin = 0; begin < lane->n; begin += BLOCK) {
        ptrdiff_t size = lane->n - begin < BLOCK ? lane->n - begin : BLOCK;
        double t[BLOCK], e[BLOCK];
        double left[4] = {0.0}, right[4] = {0.0}, rise[4] = {0.0}, fall[4] = {0.0}, below[4] = {0.0};
        lap_block(lane, lane->x + begin, size, t, e);
        for (ptrdiff_t i = size; i & 3; i++)
            t[i] = 0.0, e[i] = 0.0;
        for (ptrdiff_t i = 0; i < size; i += 4)
            for (int q = 0; q < 4; q++) {
                double whole = 1.0 / (1.0 + e[i + q]), tail = e[i + q] * whole, f = tail * whole;
                double on_left = t[i + q] > 0.0 ? 1.0 : 0.0;
                left[q] += on_left * tail;
                right[q] += tail - on_left * tail;
                rise[q] += on_left * f;
                fall[q] += f - on_left * f;
                below[q] += on_left;
            }
        total.left += (left[0] + left[2]) + (left[1] + left[3]);
        total.right += (right[0] + right[2]) + (right[1] + right[3]);
        total.slope_left += (rise[0] + rise[2]) + (rise[1] + rise[3]);
        total.slope_right += (fall[0] + fall[2]) + (fall[1] + fall[3]);
        total.below += (below[0] + below[2]) + (below[1] + below[3]);
    }
    return total;
}

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
        lap_sides s = lap_pass(lane);
        double d = lane->k - s.below, more, less, slope;
        if (d >= 0.0) {
            more = s.right, less = d + s.left;
            slope = s.slope_right / more + s.slope_left / less;
        } else {
            more = s.right - d, less = s.left;
            slope = s.slope_right / more + s.slope_left / less;
        }
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

int lap_logistic_topk(const lap_table *table, const double *x, ptrdiff_t n, double sign, double k,
                      double alpha, double *p, double *slopes, double *density) {
    if (!(k > 0.0 && k < (double)n && alpha > LAP_SMALLEST && alpha < LAP_LARGEST))
        return 0;
    double least = x[0], most = x[0], nothing = 0.0;
    for (ptrdiff_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        nothing += 0.0 * x[i];
    }
    double rate = 1.0 / alpha;
    if (nothing != 0.0 || !((most - least) * rate < 1e300))
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
    if (n > SAMPLE) {
        lap_lane_of part = lane;
        part.x = sample, part.n = size, part.sign = 1.0, part.k = level;
        if (lap_newton(&part, 1e-3)) {
            lap_anchor(&part, sample, size, 1.0);
            double shift = (lane.anchor - part.anchor) * rate;
            lane.low += shift, lane.high += shift;
            lane.anchor = part.anchor, lane.u = fmin(fmax(part.u, lane.low), lane.high);
        }
    }
    if (!lap_newton(&lane, n > SAMPLE ? 1e-5 : 1e-9))
        return 0;
    if (fabs(lane.u) > 1.0) {
        lap_anchor(&lane, x, n, sign);
        lane.low = lane.u - 1.0, lane.high = lane.u + 1.0;
        if (!lap_newton(&lane, 1e-9))
            return 0;
    } else if (n > SAMPLE && !lap_newton(&lane, 1e-9)) {
        return 0;
    }
    double total = 0.0;
    for (ptrdiff_t begin = 0; begin < n; begin += BLOCK) {
        ptrdiff_t part = n - begin < BLOCK ? n - begin : BLOCK;
        double t[BLOCK], e[BLOCK], sum = 0.0;
        lap_block(&lane, x + begin, part, t, e);
        for (ptrdiff_t i = 0; i < part; i++) {
            double whole = 1.0 / (1.0 + e[i]), tail = e[i] * whole;
            p[begin + i] = t[i] > 0.0 ? whole : tail;
            slopes[begin + i] = tail * whole;
        }
        for (ptrdiff_t i = 0; i < part; i++)
            sum += slopes[begin + i];
        total += sum;
    }
    *density = total;
    return total >= LEAST_DENSITY;
}
