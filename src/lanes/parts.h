/* The parts of a long lane, what runs them, and the addresses and sums that they need. */
#ifndef LAPSUM_PARTS_H
#define LAPSUM_PARTS_H

#include "search.h"

#define PART 65536 /* entries of a part of a long lane */
#define PARTS 128

static inline void add(lap_pair *sum, lap_pair term)
{
    lap_add(term.high, &sum->high, &sum->low);
    sum->low += term.low;
}

static inline double value(lap_pair sum)
{
    return sum.high + sum.low;
}

static inline void run(const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks)
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
static inline void run_back(const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks)
{
    backwards way = {task, context, tasks - 1};
    run(runner, run_backwards, &way, tasks);
}

/* How a lane is cut for threads: by its length alone, so that no sum depends on their number. */
static inline ptrdiff_t parts(ptrdiff_t n)
{
    return n <= PART ? 1 : n / PART < PARTS ? n / PART : PARTS;
}

static inline ptrdiff_t part_start(ptrdiff_t n, ptrdiff_t i)
{
    return n / parts(n) * i;
}

static inline ptrdiff_t part_size(ptrdiff_t n, ptrdiff_t i)
{
    return i == parts(n) - 1 ? n - part_start(n, i) : n / parts(n);
}

/* Reads and writes of arrays like the entries of a lane. */
static inline double get(const lap_lane *lane, const void *array, ptrdiff_t i)
{
    return lane->single ? ((const float *)array)[i] : ((const double *)array)[i];
}

static inline void set(const lap_lane *lane, void *array, ptrdiff_t i, double value)
{
    if (lane->single)
        ((float *)array)[i] = (float)value;
    else
        ((double *)array)[i] = value;
}

static inline void *from(const lap_lane *lane, const void *array, ptrdiff_t start)
{
    return (char *)array + start * (ptrdiff_t)(lane->single ? sizeof(float) : sizeof(double));
}

#endif
