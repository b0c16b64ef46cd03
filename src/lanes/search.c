/* Selection: a sample gives a bracket around the threshold, one pass collapses what is outside it
 * into four numbers, what is inside is the next lane, and the rest is solved in closed form.
 *
 * The sample is a fixed one, so the result is a function of the lane alone; and it only decides
 * how much is collapsed: a bracket that does not hold is noticed, what S is at its end bounds the
 * threshold for certain, and the sums are exact anyway. */
#include "search.h"
#include "simd/scan.h"

#include <stdint.h>
#include <string.h>

#define SAMPLE 512 /* entries of the largest sample */
#define SMALL 64   /* entries that are sorted and solved */
#define ROUNDS 80
#define AIMED 5 /* rounds that may go by the exact S at a guess */
#define TRIES 2 /* with samples, before the medians */
#define PART 65536 /* entries of a part of a long lane */
#define PARTS 128
#define CHUNK 2048 /* entries that all thresholds of a lane pass over in turn */

static void add(lap_pair *sum, lap_pair term)
{
    lap_add(term.high, &sum->high, &sum->low);
    sum->low += term.low;
}

static double value(lap_pair sum)
{
    return sum.high + sum.low;
}

static void run(const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks)
{
    ptrdiff_t i;
    if (runner && tasks > 1)
        runner->run(runner, task, context, tasks);
    else
        for (i = 0; i < tasks; i++)
            task(context, i);
}

typedef struct {
    lap_task task;
    void *context;
    ptrdiff_t last;
} backwards;

static void run_backwards(void *context, ptrdiff_t i)
{
    const backwards *way = context;
    way->task(way->context, way->last - i);
}

/* From the end: of what another pass has just read, that is still in the cache. */
static void run_back(const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks)
{
    backwards way = {task, context, tasks - 1};
    run(runner, run_backwards, &way, tasks);
}

/* How a lane is cut for threads: by its length alone, so that no sum depends on their number. */
static ptrdiff_t parts(ptrdiff_t n)
{
    return n <= PART ? 1 : n / PART < PARTS ? n / PART : PARTS;
}

static ptrdiff_t part_start(ptrdiff_t n, ptrdiff_t i)
{
    return n / parts(n) * i;
}

static ptrdiff_t part_size(ptrdiff_t n, ptrdiff_t i)
{
    return i == parts(n) - 1 ? n - part_start(n, i) : n / parts(n);
}

/* Reads and writes of arrays like the entries of a lane. */
static double get(const lap_lane *lane, const void *array, ptrdiff_t i)
{
    return lane->single ? ((const float *)array)[i] : ((const double *)array)[i];
}

static void set(const lap_lane *lane, void *array, ptrdiff_t i, double value)
{
    if (lane->single)
        ((float *)array)[i] = (float)value;
    else
        ((double *)array)[i] = value;
}

static void *from(const lap_lane *lane, const void *array, ptrdiff_t start)
{
    return (char *)array + start * (ptrdiff_t)(lane->single ? sizeof(float) : sizeof(double));
}

/* What is collapsed at both ends of the lane that is left; its ends are entries of the lane, or
 * lie so near to entries that A + B, as exact there as at an entry, cannot vanish. */
typedef struct {
    int has_lo, has_hi;
    double lo, hi, A, B;
    lap_pair below, above;
} frame;

/* How many of the ascending S are below a level. */
static int below(const double *S, int size, double level)
{
    int first = 0, last = size;
    while (first < last) {
        const int i = (first + last) / 2;
        if (S[i] < level)
            first = i + 1;
        else
            last = i;
    }
    return first;
}

/* Brackets the level between two entries: indices into the sorted sample, -1 and size for none.
 * Returns the index where the sample itself puts the level, and at which guess between the entries.
 * weight is that of the n entries left. */
static int bracket(const lap_table *table, const double *sample, const double *c, int size,
                   ptrdiff_t n, const frame *f, double level, double weight, double alpha,
                   int *first, int *last, double *guess)
{
    double S[SAMPLE], left[SAMPLE], right[SAMPLE], running[SAMPLE], kernel[3 * SAMPLE];
    double *decay = kernel, *lower = kernel + size, *upper = kernel + 2 * size;
    double all = 0.0, ahead = 0.0, back = 0.0, once = 0.0, twice = 0.0, mean = 0.0, square = 0.0;
    double scale, spread;
    const double rate = 1.0 / alpha, rest = 1.0 - (double)size / n;
    int i, middle;
    for (i = 0; i < size; i++) {
        decay[i] = i ? (sample[i - 1] - sample[i]) * rate : 0.0;
        lower[i] = f->has_lo ? (f->lo - sample[i]) * rate : 0.0;
        upper[i] = f->has_hi ? (sample[i] - f->hi) * rate : 0.0;
    }
    table->exp(kernel, f->has_lo || f->has_hi ? 3 * size : size, kernel);
    /* None of the three sums waits for another. */
    for (i = 0; i < size; i++) {
        const int j = size - 1 - i;
        left[i] = ahead = ahead * decay[i] + c[i];
        right[j] = back;
        back = (back + c[j]) * decay[j];
        running[i] = all += c[i];
    }
    scale = weight / all;
    for (i = 0; i < size; i++) {
        S[i] = f->A * lower[i] - f->B * upper[i] + scale * (left[i] - right[i]);
        S[i] = f->below.high + scale * running[i] - 0.5 * S[i];
    }
    middle = below(S, size - 1, level);
    *guess = sample[middle];
    if (middle && S[middle - 1] < level && level < S[middle])
        *guess -= (S[middle] - level) / (S[middle] - S[middle - 1]) * (*guess - sample[middle - 1]);
    /* The error of the estimate at b is that of a weighted mean of F((b - x)/alpha) - 1/2. */
    for (i = 0; i < size; i++)
        decay[i] = -fabs(sample[i] - sample[middle]) * rate;
    table->exp(decay, size, decay);
    for (i = 0; i < size; i++) {
        const double F = i <= middle ? 0.5 - 0.5 * decay[i] : 0.5 * decay[i] - 0.5, cF = c[i] * F;
        once += c[i] * c[i];
        twice += c[i] * cF;
        mean += cF;
        square += cF * cF;
    }
    mean /= all;
    square = fmax(square - mean * (2.0 * twice - mean * once), 0.0);
    /* Two deviations: a bracket that does not hold, in about one lane of a hundred, is put right by
     * another try, for less than what a wider one would cost every time. */
    spread = 2.0 * scale * sqrt(rest * square);
    /* A mean of few, or of nearly equal, values says little about its error. */
    spread += 2.0 * scale * c[middle] * (1.0 - 0.5 * (decay[0] + decay[size - 1]));
    spread += 1e-14 * (weight + f->below.high);
    *first = below(S, size, level - spread) - 1;
    *last = below(S, size, level + spread);
    /* A margin, so that a sample which misses the tail still gives a bracket that holds. */
    if (*first == 0)
        *first = -1;
    if (*last == size - 1)
        *last = size;
    return middle;
}

/* Sorts z and c, of at most SAMPLE entries. */
static void sort(const lap_table *table, double *z, double *c, ptrdiff_t n)
{
    double z_sorted[SAMPLE], c_sorted[SAMPLE];
    int place[SAMPLE];
    ptrdiff_t i;
    table->places(z, n, place);
    for (i = 0; i < n; i++) {
        z_sorted[place[i]] = z[i];
        c_sorted[place[i]] = c[i];
    }
    memcpy(z, z_sorted, n * sizeof(double));
    memcpy(c, c_sorted, n * sizeof(double));
}

/* What is known for certain of the threshold, from brackets that did not hold; else infinite. */
typedef struct {
    double lo, hi;
} bounds;

/* The threshold is beyond an end, where S misses the level by `missed`, up to rounding: above for
 * side = 1, below for -1.  S' changes by at most a factor e in a step of alpha, which bounds the
 * way from both sides; if it is short, most of A and B is there. */
static void go_beyond(bounds *known, int side, double end, double missed, double rounding,
                      double density, double alpha)
{
    const double least = (missed - rounding) / density, most = (missed + rounding) / density;
    double near = 0.0, far = INFINITY;
    if (0.0 < least && most < 0.5) {
        near = fmax(alpha * log1p(least) - 4e-16 * fabs(end), 0.0);
        far = 4e-16 * fabs(end) - alpha * log1p(-most);
    }
    known->lo = fmax(known->lo, side > 0 ? end + near : end - far);
    known->hi = fmin(known->hi, side > 0 ? end + far : end - near);
}

/* Closed form over the few nodes that are left, the ends of the frame among them, which carry what
 * was collapsed.  z and c have room for two more.  Returns 0 if the level lies outside the frame,
 * which then is known; where that can only be by rounding (exact), it is solved at the end. */
static int finish(const lap_table *table, double *z, double *c, ptrdiff_t m, const frame *f,
                  double level, double alpha, int exact, bounds *known, lap_selected *selected)
{
    double A[SMALL + 2], B[SMALL + 2], gap[SMALL + 2], decay[SMALL + 2];
    double weight_high[SMALL + 3], weight_low[SMALL + 3]; /* of what lies left of node i > 0 */
    double high = f->below.high, low = f->below.low;
    double before = 0.0, after = 0.0, missed = 0.0;
    lap_two sum, rest, both;
    ptrdiff_t i, j, first, last;
    sort(table, z, c, m);
    if (f->has_lo) {
        memmove(z + 1, z, m * sizeof(double));
        memmove(c + 1, c, m * sizeof(double));
        z[0] = f->lo;
        c[0] = 0.0;
        m++;
    }
    if (f->has_hi) {
        z[m] = f->hi;
        c[m++] = 0.0;
    }
    if (m == 0)
        return 0;
    gap[0] = INFINITY;
    table->steps(z, z + 1, m - 1, alpha, gap + 1);
    table->decays(gap, m, decay);
    sum = lap_both(f->has_lo ? f->A : c[0], f->has_hi ? f->B : c[m - 1]);
    rest = lap_both(0.0, 0.0);
    /* None of the three sums waits for another. */
    for (i = 0, j = m - 1; i < m; i++, j--) {
        if (i > 0)
            lap_scan_two(lap_both(c[i], c[j]), lap_both(decay[i], decay[j + 1]), &sum, &rest);
        both = lap_total(sum, rest);
        A[i] = lap_first(both);
        B[j] = lap_second(both);
        weight_high[i] = high;
        weight_low[i] = low;
        lap_add(c[i], &high, &low);
    }
    weight_high[m] = high;
    weight_low[m] = low;
    /* first: smallest node with S >= level. */
    first = 0;
    last = m;
    while (first < last) {
        i = (first + last) / 2;
        missed = (level - weight_high[i]) - weight_low[i];
        if (i == 0 && f->has_lo) {
            before = A[0];
            after = m > 1 ? B[1] * lap_decay_value(decay[1]) : 0.0;
        } else {
            before = i ? A[i - 1] * lap_decay_value(decay[i]) : 0.0;
            after = B[i];
        }
        missed -= 0.5 * (after - before);
        if (missed > 0.0)
            first = i + 1;
        else
            last = i;
    }
    if ((first == 0 && f->has_lo) || (first == m && f->has_hi)) {
        if (!exact) { /* the last node seen was the end */
            go_beyond(known, first ? 1 : -1, z[i], fabs(missed),
                      1e-14 * (weight_high[m] + f->above.high), 0.5 * (before + after), alpha);
            return 0;
        }
        first = first ? m - 1 : 1;
    }
    i = first;
    {
        double excess = (level - weight_high[i]) - weight_low[i];
        if (i == 0)
            selected->root = lap_solve_below(level, B[0]);
        else if (i == m)
            selected->root = lap_solve_above(excess, A[m - 1]);
        else
            selected->root = lap_solve_between(excess, A[i - 1], B[i], gap[i]);
        /* No share is left of what the end of a frame lies more than 745 alpha away from. */
        if (0 < i && i < m && A[i - 1] == 0.0)
            selected->root.left = selected->root.q_left = 0.0;
        if (0 < i && i < m && B[i] == 0.0)
            selected->root.right = selected->root.q_right = 0.0;
    }
    selected->left_node = i ? z[i - 1] : NAN;
    selected->right_node = i < m ? z[i] : NAN;
    return 1;
}

/* One pass over a lane: every part of it on its own, then put together in order. */
typedef struct {
    const lap_lane *lane;
    double lo, hi;
    void *inside;
    double *inside_c;
    ptrdiff_t left; /* so far, where no other thread takes part */
    ptrdiff_t sizes[PARTS];
    lap_outside outside[PARTS];
} collapsing;

static void collapse_part(void *context, ptrdiff_t i)
{
    collapsing *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i), at = lane->runner ? start : all->left;
    void *inside = all->inside ? from(lane, all->inside, at) : NULL;
    double *inside_c = all->inside_c ? all->inside_c + at : NULL;
    void *copy = lane->copy ? from(lane, lane->copy, start) : NULL;
    all->sizes[i] = lane->table->collapse(
        from(lane, lane->x, start), lane->single, lane->c ? lane->c + start : NULL,
        part_size(lane->n, i), lane->sign, all->lo, all->hi, lane->alpha, inside, inside_c, copy,
        &all->outside[i]);
    if (!lane->runner && all->sizes[i] > 0)
        all->left += all->sizes[i];
}

static ptrdiff_t collapse(const lap_lane *lane, double lo, double hi, void *inside,
                          double *inside_c, lap_outside *outside)
{
    collapsing all;
    ptrdiff_t i, m = 0, start;
    all.lane = lane;
    all.lo = lo;
    all.hi = hi;
    all.inside = inside;
    all.inside_c = inside_c;
    all.left = 0;
    run(lane->runner, collapse_part, &all, parts(lane->n));
    memset(outside, 0, sizeof(*outside));
    for (i = 0; i < parts(lane->n); i++) {
        if (all.sizes[i] < 0)
            return -1;
        add(&outside->below, all.outside[i].below);
        add(&outside->above, all.outside[i].above);
        add(&outside->A, all.outside[i].A);
        add(&outside->B, all.outside[i].B);
        start = part_start(lane->n, i);
        if (inside && lane->runner)
            memmove(from(lane, inside, m), from(lane, inside, start),
                    (char *)from(lane, inside, all.sizes[i]) - (char *)inside);
        if (inside_c && lane->runner)
            memmove(inside_c + m, inside_c + start, all.sizes[i] * sizeof(double));
        m += all.sizes[i];
    }
    return m;
}

/* Collapses at the ends given by lo and hi where has_lo, has_hi; returns how many are left. */
static ptrdiff_t narrow(const lap_lane *lane, int has_lo, double lo, int has_hi, double hi,
                        void *inside, double *inside_c, frame *f)
{
    lap_outside outside;
    ptrdiff_t left = collapse(lane, has_lo ? lo : -INFINITY, has_hi ? hi : INFINITY, inside,
                              inside_c, &outside);
    if (has_lo) {
        f->A = value(outside.A) + (f->has_lo ? f->A * exp(-lap_step(f->lo, lo, lane->alpha)) : 0.0);
        add(&f->below, outside.below);
        f->lo = lo;
        f->has_lo = 1;
    }
    if (has_hi) {
        f->B = value(outside.B) + (f->has_hi ? f->B * exp(-lap_step(hi, f->hi, lane->alpha)) : 0.0);
        add(&f->above, outside.above);
        f->hi = hi;
        f->has_hi = 1;
    }
    return left;
}

/* Keeps the side of the entry v on which the level lies, by the exact S(v). */
static ptrdiff_t split(const lap_lane *lane, double v, double level, void *inside,
                       double *inside_c, frame *f)
{
    const double next = nextafter(v, INFINITY), alpha = lane->alpha;
    lap_outside at;
    double A, B;
    if (collapse(lane, v, next, NULL, NULL, &at) < 0)
        return -1;
    A = value(at.A) + (f->has_lo ? f->A * exp(-lap_step(f->lo, v, alpha)) : 0.0);
    B = value(at.B) * exp(-lap_step(v, next, alpha)) +
        (f->has_hi ? f->B * exp(-lap_step(v, f->hi, alpha)) : 0.0);
    add(&at.below, f->below);
    if ((level - at.below.high) - at.below.low > 0.5 * (B - A))
        return narrow(lane, 1, v, 0, 0.0, inside, inside_c, f);
    return narrow(lane, 0, 0.0, 1, v, inside, inside_c, f);
}

/* Brackets the level of a frame with two ends by the exact S at a guess, a step from there, and some
 * entries on both sides.  Returns 0 where entries are too far apart for that: only where some are
 * within alpha of each other, S is smooth.  weight is that of the entries left. */
static int aim(const lap_lane *lane, double level, double weight, const frame *f, double *guess,
               double *lo, double *hi)
{
    const double next = nextafter(*guess, INFINITY), alpha = lane->alpha, unit = weight / lane->n;
    const double width = f->has_lo && f->has_hi ? lap_step(f->lo, f->hi, alpha) : INFINITY;
    double A, B, excess, sign, density, step = 0.0, slope = 0.0, passed, rounding, spread, near, far;
    lap_outside at;
    int i;
    if (!(f->lo < *guess && next < f->hi && width < 64.0 && 2.0 * width < lane->n && unit > 0.0))
        return 0;
    collapse(lane, *guess, next, NULL, NULL, &at);
    A = value(at.A) + f->A * exp(-lap_step(f->lo, *guess, alpha));
    B = value(at.B) + f->B * exp(-lap_step(*guess, f->hi, alpha));
    add(&at.below, f->below);
    excess = ((level - at.below.high) - at.below.low) - 0.5 * (B - A);
    sign = excess < 0.0 ? -1.0 : 1.0;
    if (sign < 0.0) { /* mirrored, the level is always above */
        const double other = A;
        A = B;
        B = other;
    }
    /* S if what lies ahead has the density, in alpha, of the frame.  A long step forgets B. */
    density = weight / width;
    for (i = 0; i < 2; i++) {
        const double fading = expm1(-step);
        double rise;
        if (step < 1.0) { /* sinh(step) - step is about step^3/6 */
            const double growing = expm1(step), bend = 0.5 * density * step * step;
            rise = 0.5 * (B * growing - A * fading) - bend * step / 3.0;
            slope = 0.5 * (A + B + B * growing + A * fading) - bend;
        } else {
            rise = density * step - (0.5 * (A + B) - density) * fading;
            slope = density + (0.5 * (A + B) - density) * (1.0 + fading);
        }
        slope = fmax(slope, 0.05 * (A + B));
        step = fmin(fmax(step + (fabs(excess) - rise) / slope, 0.0), width);
    }
    /* In a step that is short against alpha it matters little where entries are. */
    passed = density * step / unit;
    rounding = 1e-14 * (weight + f->below.high) / slope;
    spread = unit * (1.5 * sqrt(passed) + 0.05 * passed) * fmin(step * step, 1.0) / slope;
    spread += 3.0 * unit / density + rounding;
    near = fmax(step - spread, -rounding);
    far = step + spread;
    *lo = *guess + sign * alpha * (sign < 0.0 ? far : near);
    *hi = *guess + sign * alpha * (sign < 0.0 ? near : far);
    *guess += sign * alpha * step;
    return *lo < *hi && *lo < f->hi && f->lo < *hi && (f->lo < *lo || *hi < f->hi);
}

/* Every so many entries of the lane; returns how many, -1 if one is not finite. */
static int draw(const lap_lane *lane, double *z, double *c)
{
    const ptrdiff_t n = lane->n;
    const int size = n > 262144 ? SAMPLE : n > 65536 ? SAMPLE / 2 : n > 8192 ? SAMPLE / 4
                     : n > 1024 ? SAMPLE / 8 : SAMPLE / 16;
    const ptrdiff_t stride = n / size;
    int i;
    for (i = 0; i < size; i++) {
        /* Somewhere in the i-th stretch: even steps would meet every period of the data. */
        const ptrdiff_t at = i * stride + (ptrdiff_t)(((i * 40503u & 0xffff) * (uint64_t)stride) >> 16);
        c[i] = lane->c ? lane->c[at] : 1.0;
        z[i] = lane->sign * get(lane, lane->x, at);
        if (!isfinite(z[i]))
            return -1;
    }
    return size;
}

/* One try: with brackets from the samples, or by splitting at their medians (exact). */
static int attempt(const lap_lane *whole, double level, double total, int exact, bounds *known,
                   void *scratch, double *scratch_c, lap_selected *selected)
{
    frame f = {0, 0, 0.0, 0.0, 0.0, 0.0, {0.0, 0.0}, {0.0, 0.0}};
    double z[SMALL + 2], c[SMALL + 2];
    lap_lane lane = *whole;
    double guess = NAN, lo, hi;
    ptrdiff_t i, m, size;
    int round;
    for (round = 0; lane.n > SMALL; round++) {
        double sample[SAMPLE], sample_c[SAMPLE];
        const double weight = total - f.below.high - f.above.high;
        int first = -1, last, middle;
        if (round == ROUNDS)
            return -1;
        if (round == 0 && !(known->lo < known->hi))
            /* The level is S(v) to the last digit: v cannot be both ends. */
            m = split(&lane, known->lo, level, scratch, scratch_c, &f);
        else if (round == 0 && (isfinite(known->lo) || isfinite(known->hi)))
            m = narrow(&lane, isfinite(known->lo), known->lo, isfinite(known->hi), known->hi,
                       scratch, scratch_c, &f);
        else if (round < AIMED && aim(&lane, level, weight, &f, &guess, &lo, &hi))
            m = narrow(&lane, f.lo < lo, lo, hi < f.hi, hi, scratch, scratch_c, &f);
        else {
            size = last = draw(&lane, sample, sample_c);
            if (size < 0)
                return -1;
            sort(lane.table, sample, sample_c, size);
            middle = size / 2;
            if (!exact)
                middle = bracket(lane.table, sample, sample_c, size, lane.n, &f, level, weight,
                                 lane.alpha, &first, &last, &guess);
            if ((first < 0 && last >= size) ||
                (first >= 0 && last < size && sample[first] == sample[last]))
                m = split(&lane, sample[middle], level, scratch, scratch_c, &f);
            else
                m = narrow(&lane, first >= 0, first >= 0 ? sample[first] : 0.0, last < size,
                           last < size ? sample[last] : 0.0, scratch, scratch_c, &f);
        }
        if (lane.copy)
            selected->copied = 1;
        if (m < 0)
            return -1;
        lane.x = scratch;
        lane.copy = NULL; /* of the whole lane alone */
        lane.c = whole->c ? scratch_c : NULL;
        lane.n = m;
    }
    for (i = 0; i < lane.n; i++) {
        z[i] = lane.sign * get(&lane, lane.x, i);
        c[i] = lane.c ? lane.c[i] : 1.0;
        if (!isfinite(z[i]))
            return -1;
    }
    return finish(lane.table, z, c, lane.n, &f, level, lane.alpha, exact, known, selected);
}

static int some_absent(const lap_lane *lane)
{
    ptrdiff_t i, absent = 0;
    for (i = 0; lane->c && i < lane->n; i++)
        absent += lane->c[i] == 0.0;
    return absent > 0;
}

/* The entries that are present: those of zero weight influence nothing, not even a rounding.
 * Returns whether the absent ones are finite. */
static int present(const lap_lane *whole, void *scratch, double *scratch_c, lap_lane *lane)
{
    ptrdiff_t i, m = 0;
    int finite = 1;
    for (i = 0; i < whole->n; i++) {
        const double x = get(whole, whole->x, i);
        set(whole, scratch, m, x);
        scratch_c[m] = whole->c[i];
        finite &= whole->c[i] > 0.0 || isfinite(x);
        m += whole->c[i] > 0.0;
    }
    lane->x = scratch;
    lane->copy = NULL;
    lane->c = scratch_c;
    lane->n = m;
    return finite;
}

int lap_select(const lap_lane *whole, double level, double total, void *scratch,
               double *scratch_c, lap_selected *selected)
{
    bounds known = {-INFINITY, INFINITY};
    lap_lane lane = *whole;
    int found = 0, tries, finite = 1;
    const int absent = some_absent(whole);
    selected->copied = 0;
    if (!(LAP_SMALLEST <= lane.alpha && lane.alpha <= LAP_LARGEST))
        return 0;
    for (tries = 0; !found && tries <= TRIES; tries++) {
        if (absent)
            finite = present(whole, scratch, scratch_c, &lane);
        found = attempt(&lane, level, total, tries == TRIES, &known, scratch, scratch_c, selected);
        lane.copy = NULL;
    }
    return found > 0 ? (finite ? 1 : 2) : 0;
}

/* The loops over entries, part by part. */
typedef struct {
    const lap_lane *lane;
    const lap_anchored *b;
    const void *bar;
    const double *dot;
    double *densities;
    void *out;
    double h, origin;
    ptrdiff_t pivot;
    int logarithm;
    lap_pushed with;
    lap_pulled sums[PARTS];
} entries;

static void cdf_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i);
    lane->table->cdf(from(lane, lane->x, start), lane->single, part_size(lane->n, i), lane->sign,
                     all->b, lane->alpha, all->logarithm, from(lane, all->out, start));
}

static void copy_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i), size = part_size(lane->n, i);
    memcpy(from(lane, lane->copy, start), from(lane, lane->x, start),
           (char *)from(lane, lane->copy, size) - (char *)lane->copy);
}

void lap_lane_copy(const lap_lane *lane)
{
    entries all;
    all.lane = lane;
    run(lane->runner, copy_part, &all, parts(lane->n));
}

void lap_lane_cdf(const lap_lane *lane, const lap_anchored *b, int logarithm, void *out)
{
    entries all;
    all.lane = lane;
    all.b = b;
    all.logarithm = logarithm;
    all.out = out;
    run_back(lane->runner, cdf_part, &all, parts(lane->n));
}

static void sums_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i);
    lane->table->pull_sums(from(lane, lane->x, start), lane->single,
                           lane->c ? lane->c + start : NULL,
                           all->bar ? from(lane, all->bar, start) : NULL, part_size(lane->n, i),
                           lane->sign, all->b, lane->alpha, all->logarithm,
                           all->densities ? all->densities + start : NULL, &all->sums[i]);
}

static void entries_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i);
    lane->table->pull_entries(from(lane, lane->x, start), lane->single,
                              lane->c ? lane->c + start : NULL, from(lane, all->bar, start),
                              part_size(lane->n, i), lane->sign, all->b, lane->alpha,
                              all->logarithm, all->h, all->pivot - start, all->origin,
                              all->densities ? all->densities + start : NULL,
                              from(lane, all->out, start), &all->sums[i]);
}

/* The first pass: densities, the sum over all entries, and the entry with most of q. */
static lap_pulled sums_of(entries *all)
{
    const lap_lane *lane = all->lane;
    const ptrdiff_t tasks = parts(lane->n);
    lap_pulled sums;
    ptrdiff_t i;
    run(lane->runner, sums_part, all, tasks);
    sums = all->sums[0];
    for (i = 1; i < tasks; i++) {
        add(&sums.h, all->sums[i].h);
        if (all->sums[i].most > sums.most) {
            sums.most = all->sums[i].most;
            sums.pivot = part_start(lane->n, i) + all->sums[i].pivot;
        }
    }
    return sums;
}

void lap_lane_pull(const lap_lane *lane, const lap_anchored *b, const void *bar, int logarithm,
                   double *densities, void *x_bar, lap_pulled *sums)
{
    const ptrdiff_t tasks = parts(lane->n);
    lap_pair rest = {0.0, 0.0};
    entries all;
    ptrdiff_t i;
    all.lane = lane;
    all.b = b;
    all.bar = bar;
    all.logarithm = logarithm;
    all.densities = densities;
    all.out = x_bar;
    *sums = sums_of(&all);
    all.h = value(sums->h);
    all.pivot = sums->pivot;
    all.origin = lane->sign * get(lane, lane->x, all.pivot);
    run_back(lane->runner, entries_part, &all, tasks);
    sums->along.high = sums->along.low = 0.0;
    for (i = 0; i < tasks; i++) {
        add(&rest, all.sums[i].h);
        add(&sums->along, all.sums[i].along);
    }
    /* The cotangents add up to zero, and where one share is near 1 only this is accurate. */
    set(lane, x_bar, all.pivot, -lane->sign * (value(rest) / lane->alpha));
}

static void push_sums_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i);
    lane->table->push_sums(from(lane, lane->x, start), lane->single,
                           lane->c ? lane->c + start : NULL, all->dot ? all->dot + start : NULL,
                           part_size(lane->n, i), lane->alpha, &all->with,
                           all->densities + start, &all->sums[i]);
}

static void push_entries_part(void *context, ptrdiff_t i)
{
    entries *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t start = part_start(lane->n, i);
    lane->table->push_entries(from(lane, lane->x, start), lane->single,
                              all->dot ? all->dot + start : NULL, part_size(lane->n, i),
                              lane->sign, all->b, lane->alpha, all->logarithm, &all->with,
                              all->densities + start);
}

void lap_lane_push(const lap_lane *lane, const lap_anchored *b, const double *dot,
                   double level_dot, double alpha_dot, int logarithm, double *out)
{
    const ptrdiff_t tasks = parts(lane->n);
    lap_pair mean = {0.0, 0.0}, along = mean;
    entries all;
    ptrdiff_t i;
    all.lane = lane;
    all.b = b;
    all.bar = NULL;
    all.dot = dot;
    all.logarithm = logarithm;
    all.densities = out;
    all.pivot = sums_of(&all).pivot;
    all.with.x_there = get(lane, lane->x, all.pivot);
    all.with.dot_there = dot ? dot[all.pivot] : 0.0;
    run_back(lane->runner, push_sums_part, &all, tasks);
    for (i = 0; i < tasks; i++) {
        add(&mean, all.sums[i].h);
        add(&along, all.sums[i].along);
    }
    all.with.mean_dot = value(mean) / b->density;
    all.with.mean_step = value(along) / b->density;
    all.with.level = level_dot / b->density;
    all.with.rate = lane->sign / lane->alpha;
    all.with.alpha_rate = lane->sign * (alpha_dot / lane->alpha);
    run(lane->runner, push_entries_part, &all, tasks);
}

typedef struct {
    const lap_lane *lane;
    const lap_anchored *b;
    int few;
    const double *dot, *bar;
    void *x_bar;
    lap_pulled sums[PARTS][LAP_FEW];
} few_thresholds;

static void softmax_part(void *context, ptrdiff_t i)
{
    few_thresholds *all = context;
    const lap_lane *lane = all->lane;
    const ptrdiff_t stop = part_start(lane->n, i) + part_size(lane->n, i);
    double running[CHUNK];
    ptrdiff_t at, n;
    int m;
    memset(all->sums[i], 0, sizeof(all->sums[i]));
    for (at = part_start(lane->n, i); at < stop; at += n) {
        n = stop - at < CHUNK ? stop - at : CHUNK;
        for (m = 0; m < all->few; m++) {
            const int last = all->x_bar && m == all->few - 1;
            lap_pulled sums;
            lane->table->softmax(from(lane, lane->x, at), lane->single,
                                 lane->c ? lane->c + at : NULL, all->dot ? all->dot + at : NULL, n,
                                 &all->b[m], lane->alpha, all->bar ? all->bar[m] : 0.0, m == 0,
                                 all->x_bar ? running : NULL,
                                 last ? from(lane, all->x_bar, at) : NULL, &sums);
            add(&all->sums[i][m].h, sums.h);
            add(&all->sums[i][m].along, sums.along);
        }
    }
}

void lap_lane_softmax(const lap_lane *lane, const lap_anchored *b, int few, const double *dot,
                      const double *bar, void *x_bar, lap_pulled *sums)
{
    const ptrdiff_t tasks = parts(lane->n);
    few_thresholds all;
    ptrdiff_t i;
    int m;
    all.lane = lane;
    all.b = b;
    all.few = few;
    all.dot = dot;
    all.bar = bar;
    all.x_bar = x_bar;
    run(lane->runner, softmax_part, &all, tasks);
    for (m = 0; m < few; m++) {
        sums[m] = all.sums[0][m];
        for (i = 1; i < tasks; i++) {
            add(&sums[m].h, all.sums[i][m].h);
            add(&sums[m].along, all.sums[i][m].along);
        }
    }
}
