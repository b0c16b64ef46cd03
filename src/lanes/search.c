/* Selection: a sample gives a bracket around the threshold, one pass collapses what is outside it
 * into four numbers, what is inside is the next lane, and the rest is solved in closed form.
 *
 * The sample is a fixed one, so the result is a function of the lane alone; and it only decides
 * how much is collapsed: a bracket that does not hold is noticed, what S is at its end bounds the
 * threshold for certain, and the sums are exact anyway. */
#include "search.h"
#include "parts.h"
#include "simd/scan.h"

#include <stdint.h>
#include <string.h>

#define SAMPLE 512 /* entries of the largest sample */
#define SMALL 64   /* entries that are sorted and solved */
#define ROUNDS 80
#define AIMED 5 /* rounds that may go by the exact S at a guess */
#define TRIES 2 /* with samples, before the medians */

/* What is collapsed at both ends of the lane that is left; its ends are entries of the lane, or
 * lie so near to entries that A + B, as exact there as at an entry, cannot vanish. */
typedef struct {
    int has_lo, has_hi;
    double lo, hi, A, B;
    lap_pair below, above;
} frame;

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

#include "bracket.inc"
#include "finish.inc"

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
