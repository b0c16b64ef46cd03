/* Selection: a sample gives a bracket around the threshold, one pass collapses what is outside it
 * into four numbers, what is inside is the next lane, and the rest is solved in closed form.
 *
 * The sample is a fixed one, so the result is a function of the lane alone; and it only decides
 * how much is collapsed: a bracket that does not hold is noticed, and the sums are exact anyway. */
#include "selection.h"

#include <string.h>

#define SAMPLE 1024
#define SMALL 320
#define ROUNDS 40

/* Quicksort of a few hundred numbers; qsort's calls through a pointer would dominate here. */
static void sort(double *x, ptrdiff_t n)
{
    ptrdiff_t i, j;
    while (n > 24) {
        double a = x[0], b = x[n / 2], c = x[n - 1], pivot, swap;
        pivot = a < b ? (b < c ? b : (a < c ? c : a)) : (a < c ? a : (b < c ? c : b));
        for (i = 0, j = n - 1;; i++, j--) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i >= j)
                break;
            swap = x[i];
            x[i] = x[j];
            x[j] = swap;
        }
        if (i < n - i) { /* the smaller part by recursion, which bounds its depth */
            sort(x, i);
            x += i;
            n -= i;
        } else {
            sort(x + i, n - i);
            n = i;
        }
    }
    for (i = 1; i < n; i++) {
        double v = x[i];
        for (j = i; j > 0 && x[j - 1] > v; j--)
            x[j] = x[j - 1];
        x[j] = v;
    }
}

/* What is collapsed at both ends of the lane that is left; its ends are entries of the lane. */
typedef struct {
    int has_lo, has_hi;
    double lo, hi, below, A, B;
} frame;

/* Brackets the level between two entries: indices into the sorted sample, -1 and size for none.
 * Returns the index where the sample itself puts the level. */
static int bracket(const double *sample, int size, ptrdiff_t n, const frame *f, double level,
                    double alpha, int *first, int *last)
{
    double S[SAMPLE], left = 0.0, right = 0.0, scale = (double)n / size;
    double mean = 0.0, square = 0.0, spread, anchor;
    int i, middle;
    for (i = 0; i < size; i++) {
        left = (i ? left * exp(-lap_step(sample[i - 1], sample[i], alpha)) : 0.0) + 1.0;
        S[i] = f->below + scale * (i + 1.0 - 0.5 * left);
        if (f->has_lo)
            S[i] -= 0.5 * f->A * exp(-lap_step(f->lo, sample[i], alpha));
        if (f->has_hi)
            S[i] += 0.5 * f->B * exp(-lap_step(sample[i], f->hi, alpha));
    }
    for (i = size - 1; i >= 0; i--) {
        right = i < size - 1
                    ? (right + 1.0) * exp(-lap_step(sample[i], sample[i + 1], alpha)) : 0.0;
        S[i] += 0.5 * scale * right;
    }
    /* The error of the estimate at b is that of a mean of F((b - x)/alpha) over the sample. */
    for (middle = 0; middle < size - 1 && S[middle] < level;)
        middle++;
    anchor = sample[middle];
    for (i = 0; i < size; i++) {
        double t = lap_step(sample[i], anchor, alpha);
        double value = 0.5 * expm1(-fabs(t)) * (t <= 0.0 ? 1.0 : -1.0); /* F - 1/2, if tiny too */
        mean += value;
        square += value * value;
    }
    mean /= size;
    square = square / size - mean * mean;
    spread = 4.0 * n * sqrt((square > 0.0 ? square : 0.0) / size);
    /* A mean of few, or of nearly equal, values says little about its error. */
    spread += 2.0 * scale * (lap_cdf(lap_step(sample[0], anchor, alpha)) -
                             lap_cdf(lap_step(sample[size - 1], anchor, alpha)));
    spread += 1e-14 * n;
    for (*first = -1; *first + 1 < size && S[*first + 1] < level - spread;)
        ++*first;
    for (*last = size; *last - 1 >= 0 && S[*last - 1] > level + spread;)
        --*last;
    /* A margin, so that a sample which misses the tail still gives a bracket that holds. */
    if (*first >= 0 && *first < 1)
        *first = -1;
    if (*last < size && *last > size - 2)
        *last = size;
    return middle;
}

/* Closed form over the few nodes that are left, the ends of the frame among them.  Returns 0 if the
 * level lies outside the frame; where that can only be by rounding (exact), it is solved at the end. */
static int finish(double *nodes, ptrdiff_t m, const frame *f, double level, double alpha, int exact,
                  lap_selected *selected)
{
    double A[SMALL + 2], B[SMALL + 2], gap[SMALL + 2], decay[SMALL + 3], high, low;
    ptrdiff_t i, first, last;
    sort(nodes, m);
    if (f->has_lo) {
        memmove(nodes + 1, nodes, m * sizeof(double));
        nodes[0] = f->lo;
        m++;
    }
    if (f->has_hi)
        nodes[m++] = f->hi;
    if (m == 0)
        return 0;
    for (i = 0; i < m; i++) {
        gap[i] = i ? lap_step(nodes[i - 1], nodes[i], alpha) : INFINITY;
        decay[i] = lap_decay(gap[i]);
    }
    decay[m] = 0.0;
    high = low = 0.0;
    for (i = 0; i < m; i++) {
        /* The ends carry the sums of what was collapsed, themselves included. */
        if (i == 0 && f->has_lo)
            high = f->A;
        else if (i == m - 1 && f->has_hi)
            break;
        else
            lap_scan(1.0, decay[i], &high, &low);
        A[i] = high + low;
    }
    high = low = 0.0;
    for (i = m - 1; i >= 0; i--) {
        if (i == m - 1 && f->has_hi)
            high = f->B;
        else if (i == 0 && f->has_lo)
            break;
        else
            lap_scan(1.0, decay[i + 1], &high, &low);
        B[i] = high + low;
    }
    /* first: smallest node with S >= level.  The weight of the nodes up to node i is below + i,
     * counted from 1 where there is no collapsed end; S(x_i) needs the sums without the node. */
    first = 0;
    last = m;
    while (first < last) {
        double weight, before, after;
        i = (first + last) / 2;
        if (i == 0 && f->has_lo) {
            weight = f->below;
            before = A[0];
            after = m > 1 ? B[1] * lap_decay_value(decay[1]) : 0.0;
        } else {
            weight = f->below + (double)(f->has_lo ? i - 1 : i);
            before = i ? A[i - 1] * lap_decay_value(decay[i]) : 0.0;
            after = B[i];
        }
        if (level - weight > 0.5 * (after - before))
            first = i + 1;
        else
            last = i;
    }
    i = first;
    if ((i == 0 && f->has_lo) || (i == m && f->has_hi)) {
        if (!exact)
            return 0;
        i = i == 0 ? 1 : m - 1;
    }
    {
        double excess = level - (f->below + (double)(f->has_lo ? i - 1 : i));
        if (i == 0)
            selected->root = lap_solve_below(level, B[0]);
        else if (i == m)
            selected->root = lap_solve_above(excess, A[m - 1]);
        else
            selected->root = lap_solve_between(excess, A[i - 1], B[i], gap[i]);
    }
    selected->left_node = i ? nodes[i - 1] : NAN;
    selected->right_node = i < m ? nodes[i] : NAN;
    return 1;
}

/* Collapses at the ends given by lo and hi where has_lo, has_hi; returns how many are left. */
static ptrdiff_t narrow(const lap_table *table, const double *lane, ptrdiff_t m, int has_lo,
                        double lo, int has_hi, double hi, double alpha, double *inside, frame *f)
{
    lap_outside outside;
    ptrdiff_t left = table->collapse(lane, m, has_lo ? lo : -INFINITY, has_hi ? hi : INFINITY,
                                     alpha, inside, &outside);
    if (has_lo) {
        f->A = outside.A + (f->has_lo ? f->A * exp(-lap_step(f->lo, lo, alpha)) : 0.0);
        f->below += outside.below;
        f->lo = lo;
        f->has_lo = 1;
    }
    if (has_hi) {
        f->B = outside.B + (f->has_hi ? f->B * exp(-lap_step(hi, f->hi, alpha)) : 0.0);
        f->hi = hi;
        f->has_hi = 1;
    }
    return left;
}

/* Keeps the side of the entry v on which the level lies, by the exact S(v). */
static ptrdiff_t split(const lap_table *table, const double *lane, ptrdiff_t m, double v,
                       double level, double alpha, double *inside, frame *f)
{
    double nothing, ties, A, B;
    lap_outside at;
    if (table->collapse(lane, m, v, v, alpha, &nothing, &at) < 0)
        return -1;
    ties = at.below + at.above - (double)m;
    A = at.A + (f->has_lo ? f->A * exp(-lap_step(f->lo, v, alpha)) : 0.0);
    B = at.B + (f->has_hi ? f->B * exp(-lap_step(v, f->hi, alpha)) : 0.0);
    if (level > f->below + at.below - 0.5 * A + 0.5 * (B - ties))
        return narrow(table, lane, m, 1, v, 0, 0.0, alpha, inside, f);
    return narrow(table, lane, m, 0, 0.0, 1, v, alpha, inside, f);
}

/* One try: with brackets from the samples, or by splitting at their medians (exact). */
static int attempt(const lap_table *table, const double *x, ptrdiff_t n, double level, double alpha,
                   int exact, double *scratch, lap_selected *selected)
{
    frame f = {0, 0, 0.0, 0.0, 0.0, 0.0, 0.0};
    double nodes[SMALL + 2];
    const double *lane = x;
    ptrdiff_t m = n;
    int round;
    for (round = 0; m > SMALL; round++) {
        double sample[SAMPLE];
        int size = m > 64 * SAMPLE ? SAMPLE : m > 4 * SAMPLE ? SAMPLE / 4 : SAMPLE / 8, i, first, last, middle;
        ptrdiff_t stride = m / size, left;
        if (round == ROUNDS)
            return -1;
        for (i = 0; i < size; i++)
            sample[i] = lane[i * stride + (i * 7919) % stride];
        for (i = 0; i < size; i++)
            if (!isfinite(sample[i]))
                return -1;
        sort(sample, size);
        first = -1;
        last = size;
        middle = exact ? size / 2 : bracket(sample, size, m, &f, level, alpha, &first, &last);
        if ((first < 0 && last >= size) ||
            (first >= 0 && last < size && sample[first] == sample[last]))
            left = split(table, lane, m, sample[middle], level, alpha, scratch, &f);
        else
            left = narrow(table, lane, m, first >= 0, first >= 0 ? sample[first] : 0.0,
                          last < size, last < size ? sample[last] : 0.0, alpha, scratch, &f);
        if (left < 0)
            return -1;
        lane = scratch;
        m = left;
    }
    for (round = 0; round < m; round++) {
        if (!isfinite(lane[round]))
            return -1;
        nodes[round] = lane[round];
    }
    return finish(nodes, m, &f, level, alpha, exact, selected);
}

int lap_select(const lap_table *table, const double *x, ptrdiff_t n, double level, double alpha,
               double *scratch, lap_selected *selected)
{
    int found;
    if (!(LAP_SMALLEST <= alpha && alpha <= LAP_LARGEST))
        return 0;
    found = attempt(table, x, n, level, alpha, 0, scratch, selected);
    /* A sample that misses an outlier can mislead; medians take longer and cannot. */
    if (!found)
        found = attempt(table, x, n, level, alpha, 1, scratch, selected);
    return found > 0;
}
