/* The two directions of a scan, which do not wait for each other, side by side in one register. */
#ifndef LAPSUM_SCAN_H
#define LAPSUM_SCAN_H

#include <stdint.h>

#include "laplace.h"

#if defined(__GNUC__)

typedef double lap_two __attribute__((vector_size(16)));
typedef int64_t lap_two_bits __attribute__((vector_size(16)));

static inline lap_two lap_both(double first, double second)
{
    return (lap_two){first, second};
}

static inline double lap_first(lap_two a)
{
    return a[0];
}

static inline double lap_second(lap_two a)
{
    return a[1];
}

static inline lap_two lap_total(lap_two high, lap_two low)
{
    return high + low;
}

/* lap_scan of both, but for rounding, where no sum is infinite.  A step waits for one product and one
 * sum of the step before: high need not be the rounded sum, since low takes what it lacks, up to
 * roundings of the increment.  Nor is there a branch, which nobody could predict where gaps are as often small as not. */
static inline void lap_scan_two(lap_two value, lap_two decay, lap_two *high, lap_two *low)
{
    const lap_two half = {0.5, 0.5};
    const lap_two_bits sign = (lap_two_bits)decay & INT64_MIN;
    const lap_two near = half - (lap_two)(sign | (lap_two_bits)half); /* 1 or 0 */
    const lap_two factor = near + decay, base = near * *high;
    const lap_two increment = value + *high * decay, sum = value + *high * factor;
    const lap_two part = sum - base;
    *low = *low * factor + ((base - (sum - part)) + (increment - part));
    *high = sum;
}

#else

typedef struct {
    double first, second;
} lap_two;

static inline lap_two lap_both(double first, double second)
{
    const lap_two both = {first, second};
    return both;
}

static inline double lap_first(lap_two a)
{
    return a.first;
}

static inline double lap_second(lap_two a)
{
    return a.second;
}

static inline lap_two lap_total(lap_two high, lap_two low)
{
    return lap_both(high.first + low.first, high.second + low.second);
}

static inline void lap_scan_two(lap_two value, lap_two decay, lap_two *high, lap_two *low)
{
    lap_scan(value.first, decay.first, &high->first, &low->first);
    lap_scan(value.second, decay.second, &high->second, &low->second);
}

#endif

#endif
