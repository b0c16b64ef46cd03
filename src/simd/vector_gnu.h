/* The operations of vector.h by the vectors of GNU C (AVX2, SSE2, NEON), or for plain doubles. */
#ifndef LAPSUM_VECTOR_GNU_H
#define LAPSUM_VECTOR_GNU_H

#if defined(__GNUC__)
#if defined(V_AVX2)
#include <immintrin.h>
#define LANES 4
#else
#if defined(V_SSE2)
#include <emmintrin.h>
#endif
#define LANES 2
#endif
typedef double vec __attribute__((vector_size(8 * LANES)));
typedef int64_t mask __attribute__((vector_size(8 * LANES)));
#define v_le(a, b) ((mask)((a) <= (b)))
#define v_lt(a, b) ((mask)((a) < (b)))
#define V_BITS(a) ((mask)(a))
#define V_FLOAT(a) ((vec)(a))
#define V_LANE(a, i) ((a)[i])
#else
#define LANES 1
typedef double vec;
typedef int64_t mask;
#define v_le(a, b) (-(int64_t)((a) <= (b)))
#define v_lt(a, b) (-(int64_t)((a) < (b)))
static inline mask V_BITS(vec a)
{
    mask bits;
    memcpy(&bits, &a, 8);
    return bits;
}
static inline vec V_FLOAT(mask bits)
{
    vec a;
    memcpy(&a, &bits, 8);
    return a;
}
#define V_LANE(a, i) (a)
#endif

static inline mask v_shift_left(mask m, int by)
{
#if LANES == 1
    return (mask)((uint64_t)m << by);
#else
    return m << by;
#endif
}

static inline vec v_all(double a)
{
    return a - (vec){0.0};
}

static inline vec v_load(const double *p)
{
    vec a;
    memcpy(&a, p, sizeof(vec));
    return a;
}

static inline void v_store(double *p, vec a)
{
    memcpy(p, &a, sizeof(vec));
}

static inline mask v_and(mask m, mask k)
{
    return m & k;
}

static inline mask v_not_less(vec a, vec b)
{
    return ~v_lt(a, b);
}

static inline vec v_if(mask m, vec a, vec b)
{
    return V_FLOAT((m & V_BITS(a)) | (~m & V_BITS(b)));
}

static inline mask v_or(mask m, mask k)
{
    return m | k;
}

static inline mask v_neither(mask m, mask k)
{
    return ~(m | k);
}

static inline vec v_add_if(mask m, vec a, vec b)
{
    return a + v_if(m, b, v_all(0.0));
}

static inline vec v_sub_if(mask m, vec a, vec b)
{
    return v_if(m, a - b, b);
}

static inline mask v_nonzero(vec a)
{
    return ~(v_le(a, v_all(0.0)) & v_le(v_all(0.0), a));
}

static inline int v_count(mask m)
{
#if defined(V_AVX2)
    return __builtin_popcount(_mm256_movemask_pd((vec)m));
#elif defined(V_SSE2)
    const int bits = _mm_movemask_pd((vec)m);
    return (bits >> 1) + (bits & 1);
#else
    int i, count = 0;
    for (i = 0; i < LANES; i++)
        count -= (int)V_LANE(m, i);
    return count;
#endif
}

static inline vec v_min(vec a, vec b)
{
#if defined(V_AVX2)
    return _mm256_min_pd(a, b);
#elif defined(V_SSE2)
    return _mm_min_pd(a, b);
#else
    return v_if(v_lt(a, b), a, b);
#endif
}

static inline vec v_max(vec a, vec b)
{
#if defined(V_AVX2)
    return _mm256_max_pd(a, b);
#elif defined(V_SSE2)
    return _mm_max_pd(a, b);
#else
    return v_if(v_lt(b, a), a, b);
#endif
}

static inline vec v_abs(vec a)
{
    return V_FLOAT(V_BITS(a) & INT64_MAX);
}

static inline vec v_minus_abs(vec a)
{
    return V_FLOAT(V_BITS(a) | INT64_MIN);
}

static inline vec v_sqrt(vec a)
{
#if defined(V_AVX2)
    return _mm256_sqrt_pd(a);
#else
    double each[LANES];
    int i;
    v_store(each, a);
    for (i = 0; i < LANES; i++)
        each[i] = sqrt(each[i]);
    return v_load(each);
#endif
}

static inline vec v_near_inverse(vec a)
{
    return 1.0 / a;
}

static inline vec v_near_sqrt(vec a)
{
    return v_sqrt(a);
}

static inline vec v_fma(vec a, vec b, vec c)
{
#if defined(V_AVX2)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__FP_FAST_FMA) || defined(__ARM_FEATURE_FMA) /* older clang has the latter alone */
    vec out;
    int i;
    for (i = 0; i < LANES; i++)
        V_LANE(out, i) = fma(V_LANE(a, i), V_LANE(b, i), V_LANE(c, i));
    return out;
#else
    return a * b + c; /* whoever calls does not rely on the single rounding */
#endif
}

static inline vec v_split(vec x, vec *e)
{
    mask bits = V_BITS(x) - 0x3fe6a09e667f3bcd, field = bits & ~(((int64_t)1 << 52) - 1);
    /* field 2^-52 as a float, by way of the bits of 2^52 + 2^51 + number. */
    mask unsigned_field = ((field ^ INT64_MIN) >> 52) & 0xfff;
    *e = V_FLOAT(unsigned_field + V_BITS(v_all(0x1p52))) - v_all(0x1p52 + 2048.0);
    return V_FLOAT(V_BITS(x) - field);
}

static inline vec v_gather(const double *p, const int64_t *at, ptrdiff_t shift)
{
#if defined(V_AVX2)
    p += shift;
    return _mm256_setr_pd(p[at[0]], p[at[1]], p[at[2]], p[at[3]]);
#else
    double each[LANES];
    int i;
    for (i = 0; i < LANES; i++)
        each[i] = p[at[i] + shift];
    return v_load(each);
#endif
}

static inline vec v_scale(vec a, vec shifted)
{
    return a * V_FLOAT(v_shift_left(V_BITS(shifted) + 1023, 52));
}

static inline vec v_tag(vec a, int64_t size, int64_t tag)
{
    return V_FLOAT((V_BITS(a) & ~(size - 1)) | tag);
}

static inline void v_tags(vec a, int64_t size, int64_t *tags)
{
    const mask bits = V_BITS(a) & (size - 1);
    memcpy(tags, &bits, sizeof(mask));
}

static inline void v_transpose(vec *a)
{
#if defined(V_AVX2)
    const __m256d e = _mm256_unpacklo_pd(a[0], a[1]), f = _mm256_unpackhi_pd(a[0], a[1]);
    const __m256d g = _mm256_unpacklo_pd(a[2], a[3]), h = _mm256_unpackhi_pd(a[2], a[3]);
    a[0] = _mm256_permute2f128_pd(e, g, 0x20);
    a[1] = _mm256_permute2f128_pd(f, h, 0x20);
    a[2] = _mm256_permute2f128_pd(e, g, 0x31);
    a[3] = _mm256_permute2f128_pd(f, h, 0x31);
#elif LANES == 2
    const vec first = {a[0][0], a[1][0]}, second = {a[0][1], a[1][1]};
    a[0] = first;
    a[1] = second;
#else
    (void)a;
#endif
}

static inline void v_store_records(double *p, const vec *a)
{
#if defined(V_AVX2)
    vec rows[4] = {a[0], a[1], a[2], a[3]};
    v_transpose(rows);
    memcpy(p, rows, sizeof rows);
#else
    int i, l;
    for (l = 0; l < LANES; l++)
        for (i = 0; i < 4; i++)
            p[4 * l + i] = V_LANE(a[i], l);
#endif
}

static inline void v_load_records(const double *p, const int64_t *at, vec *a)
{
#if defined(V_AVX2)
    int l;
    for (l = 0; l < 4; l++)
        a[l] = v_load(p + 4 * at[l]);
    v_transpose(a);
#else
    int i;
    for (i = 0; i < 4; i++) {
        double each[LANES];
        int l;
        for (l = 0; l < LANES; l++)
            each[l] = p[4 * at[l] + i];
        a[i] = v_load(each);
    }
#endif
}

static inline vec v_places(const int64_t *at)
{
    double each[LANES];
    int i;
    for (i = 0; i < LANES; i++)
        each[i] = (double)at[i];
    return v_load(each);
}

static inline vec v_load_part(const double *p, ptrdiff_t n, double fill)
{
    double each[LANES];
    int i;
    for (i = 0; i < LANES; i++)
        each[i] = i < n ? p[i] : fill;
    return v_load(each);
}

static inline void v_store_part(double *p, ptrdiff_t n, vec a)
{
    memcpy(p, &a, n * sizeof(double));
}

/* The first n lanes. */
static inline mask v_first(ptrdiff_t n)
{
    int64_t each[LANES];
    mask m;
    int i;
    for (i = 0; i < LANES; i++)
        each[i] = -(int64_t)(i < n);
    memcpy(&m, each, sizeof(mask));
    return m;
}

static inline vec v_load_floats(const float *p, ptrdiff_t n)
{
    vec a = v_all(0.0);
    int i;
    if (n >= LANES) {
#if defined(V_AVX2)
        a = _mm256_cvtps_pd(_mm_loadu_ps(p));
#elif defined(V_SSE2)
        a = _mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)p)));
#else
        for (i = 0; i < LANES; i++)
            V_LANE(a, i) = p[i];
#endif
    } else
        for (i = 0; i < n; i++)
            V_LANE(a, i) = p[i];
    return a;
}

static inline void v_store_floats(float *p, ptrdiff_t n, vec a)
{
    int i;
    if (n >= LANES) {
#if defined(V_AVX2)
        _mm_storeu_ps(p, _mm256_cvtpd_ps(a));
#elif defined(V_SSE2)
        _mm_storel_epi64((__m128i *)p, _mm_castps_si128(_mm_cvtpd_ps(a)));
#else
        for (i = 0; i < LANES; i++)
            p[i] = (float)V_LANE(a, i);
#endif
    } else
        for (i = 0; i < n; i++)
            p[i] = (float)V_LANE(a, i);
}

#if defined(V_AVX2)
/* For each mask, the halves of the lanes in it. */
static const int8_t V_HALVES[16][8] = {
    {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1}, {2, 3}, {0, 1, 2, 3}, {4, 5}, {0, 1, 4, 5}, {2, 3, 4, 5},
    {0, 1, 2, 3, 4, 5}, {6, 7}, {0, 1, 6, 7}, {2, 3, 6, 7}, {0, 1, 2, 3, 6, 7}, {4, 5, 6, 7},
    {0, 1, 4, 5, 6, 7}, {2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7},
};
#endif

static inline vec v_compress(vec a, mask m)
{
#if defined(V_AVX2)
    const __m128i halves = _mm_loadl_epi64((const __m128i *)V_HALVES[_mm256_movemask_pd((vec)m)]);
    return (vec)_mm256_permutevar8x32_epi32((__m256i)a, _mm256_cvtepi8_epi32(halves));
#elif LANES == 2
    const vec other = {a[1], a[1]};
    return v_if((mask){m[0], m[0]}, a, other);
#else
    (void)m; /* one lane, written in excess where it is not in m */
    return a;
#endif
}

static inline void v_compress_floats(float *p, const float *from, ptrdiff_t n, mask m)
{
    v_store_floats(p, n, v_compress(v_load_floats(from, n), m));
}

#endif
