/* The operations of vector.h by AVX-512: eight doubles, and masks of a bit each. */
#ifndef LAPSUM_VECTOR_AVX512_H
#define LAPSUM_VECTOR_AVX512_H

#include <immintrin.h>
#define LANES 8
typedef __m512d vec;
typedef __mmask8 mask;
#define v_all(a) _mm512_set1_pd(a)
#define v_load(p) _mm512_loadu_pd(p)
#define v_store(p, a) _mm512_storeu_pd(p, a)
#define v_le(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)
#define v_lt(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)
#define v_not_less(a, b) _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ)
#define v_and(m, k) ((mask)((m) & (k)))
#define v_if(m, a, b) _mm512_mask_blend_pd(m, b, a)
#define v_or(m, k) ((mask)((m) | (k)))
#define v_count(m) __builtin_popcount(m)
#define v_neither(m, k) ((mask)~((m) | (k)))
#define v_nonzero(a) _mm512_cmp_pd_mask(a, v_all(0.0), _CMP_NEQ_UQ) /* or a NaN */
#define v_add_if(m, a, b) _mm512_mask_add_pd(a, m, a, b)
#define v_sub_if(m, a, b) _mm512_mask_sub_pd(b, m, a, b) /* b elsewhere */
#define v_min(a, b) _mm512_min_pd(a, b)
#define v_max(a, b) _mm512_max_pd(a, b)
#define v_abs(a) _mm512_abs_pd(a)
#define v_minus_abs(a) _mm512_or_pd(a, v_all(-0.0))
#define v_sqrt(a) _mm512_sqrt_pd(a)
#define v_fma(a, b, c) _mm512_fmadd_pd(a, b, c)

/* 1/a and the square root, to about one unit in the last place, of normal numbers whose squares are
 * normal too: Newton's method takes less than half of the divider's time. */
static inline vec v_near_inverse(vec a)
{
    const vec one = v_all(1.0);
    vec y = _mm512_rcp14_pd(a);
    y = v_fma(y, _mm512_fnmadd_pd(a, y, one), y);
    return v_fma(y, _mm512_fnmadd_pd(a, y, one), y);
}

static inline vec v_near_sqrt(vec a)
{
    vec y = _mm512_rsqrt14_pd(a), root = a * y, half = 0.5 * y, rest;
    rest = _mm512_fnmadd_pd(root, half, v_all(0.5));
    root = v_fma(root, rest, root);
    half = v_fma(half, rest, half);
    return v_fma(_mm512_fnmadd_pd(root, root, a), half, root);
}

/* p at `shift` from each of the places. */
static inline vec v_gather(const double *p, const int64_t *at, ptrdiff_t shift)
{
    p += shift; /* by loads, which AMD does sooner than a gather */
    return _mm512_setr_pd(p[at[0]], p[at[1]], p[at[2]], p[at[3]],
                          p[at[4]], p[at[5]], p[at[6]], p[at[7]]);
}

/* The places as numbers. */
#define v_places(at) _mm512_cvtepi64_pd(_mm512_loadu_si512(at))

/* m and e with x = m 2^e and sqrt(1/2) <= m < sqrt(2), for positive normal x. */
static inline vec v_split(vec x, vec *e)
{
    /* Counted from sqrt(1/2), the exponent field is that of a mantissa in [sqrt(1/2), sqrt(2)). */
    __m512i bits = _mm512_sub_epi64((__m512i)x, _mm512_set1_epi64(0x3fe6a09e667f3bcd));
    __m512i field = _mm512_srai_epi64(bits, 52);
    *e = _mm512_cvtepi64_pd(field);
    return (vec)_mm512_sub_epi64((__m512i)x, _mm512_slli_epi64(field, 52));
}

/* a 2^n of normal results, with n = shifted - 0x1.8p52. */
static inline vec v_scale(vec a, vec shifted)
{
    return _mm512_scalef_pd(a, shifted - v_all(0x1.8p52));
}

/* a, with whole numbers below `size`, a power of two, in place of its last bits, and these. */
static inline vec v_tag(vec a, int64_t size, int64_t tag)
{
    const __m512i rest = _mm512_andnot_si512(_mm512_set1_epi64(size - 1), (__m512i)a);
    return (vec)_mm512_or_si512(rest, _mm512_set1_epi64(tag));
}

static inline void v_tags(vec a, int64_t size, int64_t *tags)
{
    _mm512_storeu_si512(tags, _mm512_and_si512((__m512i)a, _mm512_set1_epi64(size - 1)));
}

/* LANES vectors as the rows of a matrix, whose columns they become. */
static inline void v_transpose(vec *a)
{
    vec pairs[8], fours[8];
    int i;
    for (i = 0; i < 8; i += 2) {
        pairs[i] = _mm512_unpacklo_pd(a[i], a[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_pd(a[i], a[i + 1]);
    }
    for (i = 0; i < 2; i++) {
        fours[i] = _mm512_shuffle_f64x2(pairs[i], pairs[i + 2], 0x88);
        fours[i + 2] = _mm512_shuffle_f64x2(pairs[i], pairs[i + 2], 0xdd);
        fours[i + 4] = _mm512_shuffle_f64x2(pairs[i + 4], pairs[i + 6], 0x88);
        fours[i + 6] = _mm512_shuffle_f64x2(pairs[i + 4], pairs[i + 6], 0xdd);
    }
    for (i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f64x2(fours[i], fours[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_f64x2(fours[i], fours[i + 4], 0xdd);
    }
}

/* Four vectors as LANES records of four, lane after lane; and the vectors of records at any places. */
static inline void v_store_records(double *p, const vec *a)
{
    vec pairs[4];
    int i;
    for (i = 0; i < 2; i++) {
        pairs[i] = _mm512_unpacklo_pd(a[2 * i], a[2 * i + 1]);
        pairs[i + 2] = _mm512_unpackhi_pd(a[2 * i], a[2 * i + 1]);
    }
    for (i = 0; i < 4; i += 2) { /* lanes 0, 2, 4, 6, then the others */
        const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        const vec few = _mm512_permutex2var_pd(pairs[i], first, pairs[i + 1]);
        const vec more = _mm512_permutex2var_pd(pairs[i], last, pairs[i + 1]);
        _mm256_storeu_pd(p + 2 * i, _mm512_castpd512_pd256(few));
        _mm256_storeu_pd(p + 2 * i + 8, _mm512_extractf64x4_pd(few, 1));
        _mm256_storeu_pd(p + 2 * i + 16, _mm512_castpd512_pd256(more));
        _mm256_storeu_pd(p + 2 * i + 24, _mm512_extractf64x4_pd(more, 1));
    }
}

static inline void v_load_records(const double *p, const int64_t *at, vec *a)
{
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    vec two[4], low[2], high[2];
    int i;
    for (i = 0; i < 4; i++) /* lanes i and i + 4 */
        two[i] = _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(p + 4 * at[i])),
                                    _mm256_loadu_pd(p + 4 * at[i + 4]), 1);
    for (i = 0; i < 2; i++) {
        low[i] = _mm512_unpacklo_pd(two[2 * i], two[2 * i + 1]);
        high[i] = _mm512_unpackhi_pd(two[2 * i], two[2 * i + 1]);
    }
    a[0] = _mm512_permutex2var_pd(low[0], even, low[1]);
    a[1] = _mm512_permutex2var_pd(high[0], even, high[1]);
    a[2] = _mm512_permutex2var_pd(low[0], odd, low[1]);
    a[3] = _mm512_permutex2var_pd(high[0], odd, high[1]);
}

/* The first n < LANES doubles at p, and fill. */
static inline vec v_load_part(const double *p, ptrdiff_t n, double fill)
{
    return _mm512_mask_loadu_pd(v_all(fill), (mask)((1 << n) - 1), p);
}

static inline void v_store_part(double *p, ptrdiff_t n, vec a)
{
    _mm512_mask_storeu_pd(p, (mask)((1 << n) - 1), a);
}

static inline mask v_first(ptrdiff_t n)
{
    return (mask)((1 << n) - 1);
}

/* The same for floats, widened and rounded on the way. */
static inline vec v_load_floats(const float *p, ptrdiff_t n)
{
    if (n >= LANES)
        return _mm512_cvtps_pd(_mm256_loadu_ps(p));
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(v_first(n), p));
}

static inline void v_store_floats(float *p, ptrdiff_t n, vec a)
{
    if (n >= LANES)
        _mm256_storeu_ps(p, _mm512_cvtpd_ps(a));
    else
        _mm256_mask_storeu_ps(p, v_first(n), _mm512_cvtpd_ps(a));
}

/* The lanes of a that are in m, in order, then anything. */
static inline vec v_compress(vec a, mask m)
{
    return _mm512_maskz_compress_pd(m, a);
}

/* The same of n floats, written to p, where there is room for as many. */
static inline void v_compress_floats(float *p, const float *from, ptrdiff_t n, mask m)
{
    const __m256 a = n >= LANES ? _mm256_loadu_ps(from) : _mm256_maskz_loadu_ps(v_first(n), from);
    if (n >= LANES)
        _mm256_storeu_ps(p, _mm256_maskz_compress_ps(m, a));
    else
        _mm256_mask_storeu_ps(p, v_first(n), _mm256_maskz_compress_ps(m, a));
}

#endif
