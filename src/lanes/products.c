/* The loops over all entries of a lane, once its threshold is known, part by part. */
#include "products.h"
#include "parts.h"

#include <string.h>

#define CHUNK 2048 /* entries that all thresholds of a lane pass over in turn */

/* What the parts of a lane are given, and what they leave. */
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
