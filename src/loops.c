/* One level of the loops declared in loops.h: LAP_LEVEL names it, compiler flags make it. */
#include "laplace.h"
#include "loops.h"

#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#define BLOCK 64 /* few enough additions that their rounding stays below a few units */

#ifdef __FMA__
#define FMA(a, b, c) fma(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

static inline double power_of_two(double shifted)
{
    uint64_t bits;
    double power;
    memcpy(&bits, &shifted, 8);
    bits = (bits + 1023) << 52;
    memcpy(&power, &bits, 8);
    return power;
}

/* e^x for x <= 0 to about one unit in the last place, subnormal results included: 2^n e^r with
 * |r| <= log(2)/2 and a polynomial for e^r.  Branch-free, so that compilers vectorise it. */
static inline double exp_nonpositive(double x)
{
    const double log2e = 1.4426950408889634074, shift = 0x1.8p52;
    const double high = 6.93147180369123816490e-01, low = 1.90821492927058770002e-10;
    /* Below this the result is 0, and forming it by underflow would cost a hundred times more. */
    double bounded = x < -745.2 ? -1.0 : x;
    double shifted = FMA(bounded, log2e, shift), n = shifted - shift;
    double r = FMA(n, -low, FMA(n, -high, bounded)), r2 = r * r, r4 = r2 * r2;
    double a = FMA(r, 0.16666666666666666, 0.5);
    double b = FMA(r, 0.008333333333333333, 0.041666666666666664);
    double c = FMA(r, 0.0001984126984126984, 0.001388888888888889);
    double d = FMA(r, 2.7557319223985893e-06, 2.48015873015873e-05);
    double e = FMA(r, 2.505210838544172e-08, 2.755731922398589e-07);
    double f = FMA(r, 1.6059043836821613e-10, 2.08767569878681e-09);
    double q = FMA(r4 * r4, FMA(r2, f, e), FMA(r4, FMA(r2, d, c), FMA(r2, b, a)));
    double p = 1.0 + FMA(r2, q, r);
    /* 2^n in two halves: one power alone would underflow before the product does. */
    double first = n * 0.5 + shift, half = first - shift, second = (n - half) + shift;
    double result = p * power_of_two(first) * power_of_two(second);
    return x < -745.2 ? 0.0 : result;
}

/* Appends those of the first size entries of a block that lie strictly between lo and hi. */
static inline ptrdiff_t keep(const double *block, ptrdiff_t size, double lo, double hi,
                             double *inside, ptrdiff_t m)
{
    ptrdiff_t i = 0;
#ifdef __AVX512F__
    const __m512d low = _mm512_set1_pd(lo), high = _mm512_set1_pd(hi);
    for (; i + 8 <= size; i += 8) {
        __m512d v = _mm512_loadu_pd(block + i);
        __mmask8 between = _mm512_cmp_pd_mask(v, low, _CMP_GT_OQ) &
                           _mm512_cmp_pd_mask(v, high, _CMP_LT_OQ);
        if (between) {
            _mm512_mask_compressstoreu_pd(inside + m, between, v);
            m += __builtin_popcount(between);
        }
    }
#endif
    for (; i < size; i++) {
        inside[m] = block[i];
        m += (block[i] > lo) & (block[i] < hi);
    }
    return m;
}

static ptrdiff_t NAME(collapse)(const double *x, ptrdiff_t n, double lo, double hi, double alpha,
                                double *inside, lap_outside *outside)
{
    double A = 0.0, A_low = 0.0, B = 0.0, B_low = 0.0, below = 0.0, above = 0.0, bad = 0.0;
    const double rate = 1.0 / alpha;
    ptrdiff_t start, i, m = 0;
    for (start = 0; start < n; start += BLOCK) {
        double block[BLOCK], a = 0.0, b = 0.0, less = 0.0, more = 0.0, wrong = 0.0;
        ptrdiff_t size = n - start < BLOCK ? n - start : BLOCK;
        memcpy(block, x + start, size * sizeof(double)); /* inside may be x itself */
#pragma omp simd reduction(+ : a, b, less, more, wrong)
        for (i = 0; i < size; i++) {
            double v = block[i], near_lo = v - lo, near_hi = hi - v;
            double nearest = near_lo < near_hi ? near_lo : near_hi;
            double kernel = exp_nonpositive((nearest < 0.0 ? nearest : 0.0) * rate);
            a += near_lo <= 0.0 ? kernel : 0.0;
            b += near_hi <= 0.0 ? kernel : 0.0;
            less += near_lo <= 0.0 ? 1.0 : 0.0;
            more += near_hi <= 0.0 ? 1.0 : 0.0;
            wrong += v - v;
        }
        below += less;
        above += more;
        bad += wrong;
        lap_add(a, &A, &A_low);
        lap_add(b, &B, &B_low);
        m = keep(block, size, lo, hi, inside, m);
    }
    outside->below = below;
    outside->above = above;
    outside->A = A + A_low;
    outside->B = B + B_low;
    return bad == 0.0 ? m : -1;
}

static void NAME(pdf)(const double *t, ptrdiff_t n, double *out)
{
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        out[i] = 0.5 * exp_nonpositive(-fabs(t[i]));
}

static void NAME(cdf)(const double *x, ptrdiff_t n, double lo, double hi, double u, double alpha,
                      double *out)
{
    const double rate = 1.0 / alpha;
    ptrdiff_t i;
    if (lo == hi)
        for (i = 0; i < n; i++) {
            double t = (lo - x[i]) * rate + u, tail = 0.5 * exp_nonpositive(-fabs(t));
            out[i] = t <= 0.0 ? tail : 1.0 - tail;
        }
    else
        for (i = 0; i < n; i++) {
            double t = (0.5 * ((lo - x[i]) * rate) + 0.5 * ((hi - x[i]) * rate)) + u;
            double tail = 0.5 * exp_nonpositive(-fabs(t));
            out[i] = t <= 0.0 ? tail : 1.0 - tail;
        }
}

const lap_table NAME(lap_table) = {TEXT(LAP_LEVEL), NAME(collapse), NAME(pdf), NAME(cdf)};
