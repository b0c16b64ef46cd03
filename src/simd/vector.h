/* The few vector operations that the loops are written in, for the level being compiled.
 *
 * `vec` holds LANES doubles and takes + - * /; a `mask` is the result of a comparison, false where
 * a NaN is involved (but for v_not_less and v_nonzero).  Three forms: AVX-512; the vectors of GNU C
 * (AVX2, SSE2, NEON); plain doubles.
 */
#ifndef LAPSUM_VECTOR_H
#define LAPSUM_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Those of the processor, where this is GNU C too: clang-cl is not, but defines their names. */
#if defined(__GNUC__) && defined(__AVX512F__)
#define V_AVX512
#elif defined(__GNUC__) && defined(__AVX2__)
#define V_AVX2
#elif defined(__GNUC__) && defined(__SSE2__)
#define V_SSE2
#endif

#if defined(V_AVX512)
#include "vector_avx512.h"
#else
#include "vector_gnu.h"
#endif

/* a/b, with 1/b rounded: the same quotient, but for subnormal remainders, sooner than by the divider. */
static inline vec v_quotient(vec a, vec b, vec inverse)
{
#if defined(V_AVX512) || defined(V_AVX2)
    const vec q = a * inverse, better = v_fma(v_fma(-q, b, a), inverse, q);
    return v_if(v_lt(v_abs(q), v_all(INFINITY)), better, q);
#else
    (void)inverse;
    return a / b;
#endif
}

/* Asks for what will be read (0), or written (1), soon; any address does no harm. */
#if defined(__GNUC__)
#define v_ahead(p, write) __builtin_prefetch((const void *)(p), write, 2)
#else
#define v_ahead(p, write) ((void)(p))
#endif

/* So many bytes ahead in a long array: the processor's own prefetching ends with every page. */
#define AHEAD 4096

/* The next lanes of n doubles, filled up at their end; and the way back. */
static inline vec v_next(const double *p, ptrdiff_t n, double fill)
{
    return n >= LANES ? v_load(p) : v_load_part(p, n, fill);
}

static inline void v_put(double *p, ptrdiff_t n, vec a)
{
    if (n >= LANES)
        v_store(p, a);
    else
        v_store_part(p, n, a);
}

/* The address of entry i of an array of doubles, or of floats where `single`. */
static inline uintptr_t v_place(const void *p, int single, ptrdiff_t i)
{
    return (uintptr_t)p + (uintptr_t)i * (single ? sizeof(float) : sizeof(double));
}

/* The same as v_next and v_put, filled with 0, from entry i on of such an array, which is read or
 * written from end to end. */
static inline vec v_read(const void *p, int single, ptrdiff_t i, ptrdiff_t n)
{
    v_ahead(v_place(p, single, i) + AHEAD, 0);
    return single ? v_load_floats((const float *)p + i, n) : v_next((const double *)p + i, n, 0.0);
}

static inline void v_write(void *p, int single, ptrdiff_t i, ptrdiff_t n, vec a)
{
    v_ahead(v_place(p, single, i) + AHEAD, 1);
    if (single)
        v_store_floats((float *)p + i, n, a);
    else
        v_put((double *)p + i, n, a);
}

/* Appends those of the next lanes of `from`, of which n are left, that are in m to the first `size`
 * of an array that has room for n more; returns how many there are then. */
static inline ptrdiff_t v_append(void *p, int single, ptrdiff_t size, const void *from,
                                 ptrdiff_t n, mask m)
{
    /* What is stored in excess is overwritten or never read. */
    v_ahead(v_place(p, single, size) + AHEAD, 1);
    if (single)
        v_compress_floats((float *)p + size, from, n, m);
    else
        v_put((double *)p + size, n, v_compress(v_next(from, n, 0.0), m));
    return size + v_count(m);
}

/* The sum of the lanes, always in the same order. */
static inline double v_sum(vec a)
{
    double each[LANES];
    int i, half;
    v_store(each, a);
    for (half = LANES / 2; half; half /= 2)
        for (i = 0; i < half; i++)
            each[i] += each[i + half];
    return each[0];
}

/* c[0] + c[1] x + ... + c[9] x^9 */
static inline vec v_polynomial(const double *c, vec x)
{
    const vec x2 = x * x, x4 = x2 * x2;
    vec pair[5], first, next;
    int i;
    for (i = 0; i < 5; i++)
        pair[i] = v_fma(x, v_all(c[2 * i + 1]), v_all(c[2 * i]));
    first = v_fma(x2, pair[1], pair[0]);
    next = v_fma(x2, pair[3], pair[2]);
    return v_fma(x4, v_fma(x4, pair[4], next), first);
}

/* e^r = 1 + r + r^2 q(r) for |r| <= log(2)/2, with a near-minimax q. */
static const double V_EXP[10] = {
    0.5000000000000001, 0.16666666666666669, 0.04166666666662399, 0.008333333333330051,
    0.0013888888917281794, 0.00019841269863105968, 2.480152119021773e-05,
    2.7557268378684192e-06, 2.7620138719733994e-07, 2.5100424157005067e-08,
};

/* v_power: 2^n e^r or its half, with 0 outside m.  n = shifted - V_SHIFT is the exponent rounded, to
 * a sixteenth where there is a table, else to a whole number, and e^r is what that leaves. */
#if defined(V_AVX512)

#define V_SHIFT 0x1.8p48

/* 2^(j/16) and their halves, read by one permutation of two registers: the polynomial is half as
 * long. */
#define V_ROOTS_TIMES(half)                                                                       \
    {                                                                                             \
        0x1.0000000000000p+0 * half, 0x1.0b5586cf9890fp+0 * half, 0x1.172b83c7d517bp+0 * half,    \
        0x1.2387a6e756238p+0 * half, 0x1.306fe0a31b715p+0 * half, 0x1.3dea64c123422p+0 * half,    \
        0x1.4bfdad5362a27p+0 * half, 0x1.5ab07dd485429p+0 * half, 0x1.6a09e667f3bcdp+0 * half,    \
        0x1.7a11473eb0187p+0 * half, 0x1.8ace5422aa0dbp+0 * half, 0x1.9c49182a3f090p+0 * half,    \
        0x1.ae89f995ad3adp+0 * half, 0x1.c199bdd85529cp+0 * half, 0x1.d5818dcfba487p+0 * half,    \
        0x1.ea4afa2a490dap+0 * half,                                                              \
    }
static const double V_ROOTS[2][16] = {V_ROOTS_TIMES(1.0), V_ROOTS_TIMES(0.5)};

static inline vec v_power(mask m, int half, vec shifted, vec r)
{
    const vec n = shifted - v_all(V_SHIFT), r2 = r * r;
    const vec root = _mm512_permutex2var_pd(v_load(V_ROOTS[half]), (__m512i)shifted,
                                            v_load(V_ROOTS[half] + 8));
    vec q = v_fma(r2, v_all(0.0013889034639665864),
                  v_fma(r, v_all(0.008333449934107185), v_all(0.04166666666495362)));
    q = v_fma(r2, q, v_fma(r, v_all(0.16666666665296223), v_all(0.5)));
    return _mm512_maskz_scalef_pd(m, v_fma(root, v_fma(r2, q, r), root), n);
}

#else

#define V_SHIFT 0x1.8p52

static inline vec v_power(mask m, int half, vec shifted, vec r)
{
    /* Two factors: one would underflow before 2^n does.  Outside m they vanish, since subnormals
     * are slow. */
    const vec factor = V_FLOAT(v_shift_left(V_BITS(shifted) + (1023 + 512), 52) & m);
    const vec e = v_fma(r * r, v_polynomial(V_EXP, r), r) + 1.0;
    return V_FLOAT(V_BITS(e * factor * v_all(half ? 0x1p-513 : 0x1p-512)) & m);
}

#endif

#define V_LOG2E 1.4426950408889634074

/* e^x for x <= 100, to about one unit in the last place, with subnormal results.  Zeros are not
 * formed by underflow, which would cost a hundred times more. */
static inline vec v_exp(vec x)
{
    const vec shifted = v_fma(x, v_all(V_LOG2E), v_all(V_SHIFT)), n = shifted - v_all(V_SHIFT);
    vec r = v_fma(n, v_all(-6.93147180369123816490e-01), x);
    r = v_fma(n, v_all(-1.90821492927058770002e-10), r);
    return v_power(v_not_less(x, v_all(-745.2)), 0, shifted, r);
}

/* 2^x for x <= 0 or its half, the same way, with 0 below `least`, and anything for x > 0.  It costs
 * less, where arguments are scaled anyway. */
static inline vec v_exp2(double least, int half, vec x)
{
    vec shifted, n;
#if !defined(V_AVX512)
    x = v_minus_abs(x); /* some x > 0 would make subnormals */
#endif
    shifted = x + v_all(V_SHIFT);
    n = shifted - v_all(V_SHIFT);
    return v_power(v_not_less(x, v_all(least)), half, shifted, (x - n) * 0.69314718055994530942);
}

/* 2^{-|t|}/2. */
static inline vec v_half_exp2(vec t)
{
    return v_exp2(-1075.1, 1, v_minus_abs(t));
}

/* e^x - 1 for -1/2 <= x <= 0: x + x^2 q(x) with a near-minimax q. */
static inline vec v_expm1(vec x)
{
    static const double q[10] = {
        0.49999999999999983, 0.1666666666666533, 0.04166666666622169, 0.008333333325977068,
        0.0013888888188466728, 0.00019841228487855325, 2.4800021558304607e-05,
        2.7519165148887356e-06, 2.6976056756491464e-07, 1.9949853357350822e-08,
    };
    return v_fma(x * x, v_polynomial(q, x), x);
}

/* f = e^-gap for gap >= 0, zero below e^-708, and d, which is f - 1 where f > V_NEAR and better known
 * than that, else f: one polynomial for both. */
#define V_NEAR 0.71

static inline void v_decay(vec gap, vec *f, vec *d)
{
    const vec x = -gap, shifted = v_fma(x, v_all(V_LOG2E), v_all(0x1.8p52));
    const vec n = shifted - v_all(0x1.8p52);
    vec r = v_fma(n, v_all(-6.93147180369123816490e-01), x), p;
    r = v_fma(n, v_all(-1.90821492927058770002e-10), r);
    p = v_fma(r * r, v_polynomial(V_EXP, r), r);
    *f = v_if(v_le(gap, v_all(708.0)), v_scale(p + 1.0, shifted), v_all(0.0));
    *d = v_if(v_lt(v_all(V_NEAR), *f), p, *f); /* n = 0 there */
}

/* log x for positive normal x: absolute errors of about one unit of 1 + |log x|. */
static inline vec v_log(vec x)
{
    vec e, m = v_split(x, &e), f = m - 1.0, s = f / (2.0 + f), z = s * s, q;
    /* log m = 2 s + s^3 q(s^2), near minimax. */
    q = v_fma(z, v_all(0.146171283998073), v_all(0.15331666676597175));
    q = v_fma(z, q, v_all(0.1818289077802613));
    q = v_fma(z, q, v_all(0.22222211112104948));
    q = v_fma(z, q, v_all(0.2857142862611452));
    q = v_fma(z, q, v_all(0.399999999998992));
    q = v_fma(z, q, v_all(0.666666666666667));
    q = v_fma(s * z, q, e * 1.90821492927058770002e-10);
    return v_fma(e, v_all(6.93147180369123816490e-01), v_fma(v_all(2.0), s, q));
}

/* log(1 + x) for -1/2 <= x <= 0, to about two units in the last place: 2 atanh s, s = x/(2 + x), as
 * 2 s + s^3 q(s^2) with a near-minimax q. */
static inline vec v_log1p(vec x)
{
    static const double q[10] = {
        0.6666666666666631, 0.40000000000155117, 0.28571428548117744, 0.22222223953657502,
        0.1818174447881529, 0.15386548396131697, 0.13301121353962087, 0.12104944984574086,
        0.08344971532689703, 0.170097560329743,
    };
    const vec s = x / (2.0 + x), z = s * s;
    return v_fma(s * z, v_polynomial(q, z), s + s);
}

#endif
