/* One level of the loops declared in even.h. */
#include "even.h"
#include "laplace.h"
#include "loops.h"
#include "sums.h"
#include "vector.h"

#include <float.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)

#define MOST (LANES == 8 ? 128 : 256)

#include "short_rows.inc"
#include "short_lanes.inc"

#include "even_tails.inc"

/* Which lanes are not for these loops: those, and lanes with infinite entries, become ordinary. */
INLINE mask set_infinite_aside(vec *x, int n, vec *alpha, mask *nan)
{
    mask bad = set_bad_aside(x, n, alpha, nan), some = no_lane();
    int m;
    for (m = 0; m < n; m++)
        some = v_or(some, v_not_less(v_abs(x[m]), v_all(INFINITY)));
    if (v_count(some))
        for (m = 0; m < n; m++)
            x[m] = v_if(some, v_all(0.0), x[m]);
    return v_or(bad, some);
}

/* The entries z of a block of lanes, sides and differences of which are to be taken. */
INLINE block load_lanes(const lap_short_lanes *s, ptrdiff_t first, vec *z, uint8_t *left)
{
    block b = block_at(s, first);
    mask bad, nan;
    load_rows(s->x, s->single, b.row, s->n, z);
    scale_rows(z, s->n, s->sign);
    bad = set_infinite_aside(z, s->n, &b.alpha, &nan);
    store_left(left, &b, bad, nan);
    return b;
}

/* Where threshold i of each lane is in an array (lanes, m). */
INLINE void places_in(const block *b, int m, int i, int64_t *at)
{
    int l;
    for (l = 0; l < LANES; l++)
        at[l] = (b->first + l < b->lanes ? b->first + l : b->lanes - 1) * (int64_t)m + i;
}

INLINE void scatter(double *out, const int64_t *at, vec a)
{
    double each[LANES];
    int l;
    v_store(each, a);
    for (l = 0; l < LANES; l++)
        out[at[l]] = each[l];
}

#include "even_ranks.inc"
#include "even_gaps.inc"
#include "even_roots.inc"
#include "even_entries.inc"
#include "even_permutation.inc"

/* The loops for each kind of density. */
#define OF_KIND(kind)                                                                              \
    static void NAME(ranks_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,   \
                                   ptrdiff_t stop, void *y, uint8_t *left)                         \
    {                                                                                              \
        even_ranks(kind, f, s, start, stop, y, left);                                              \
    }                                                                                              \
    static void NAME(rank_products_##kind)(const lap_even *f, const lap_short_lanes *s,            \
                                           ptrdiff_t start, ptrdiff_t stop, const void *v,         \
                                           const double *alpha_dot, void *out, double *alpha_bar,  \
                                           uint8_t *left)                                          \
    {                                                                                              \
        even_rank_products(kind, f, s, start, stop, v, alpha_dot, out, alpha_bar, left);           \
    }                                                                                              \
    static void NAME(solve_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,   \
                                   ptrdiff_t stop, const double *levels, double first, int m,      \
                                   double *anchor, double *u, double *b, uint8_t *left)            \
    {                                                                                              \
        even_solve(kind, f, s, start, stop, levels, first, m, anchor, u, b, left);                 \
    }                                                                                              \
    static void NAME(entries_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start, \
                                     ptrdiff_t stop, const lap_even_points *b, int form,           \
                                     double *p, double *shares, double *slopes, double *density,   \
                                     uint8_t *left)                                                \
    {                                                                                              \
        even_entries(kind, f, s, start, stop, b, form, p, shares, slopes, density, left);          \
    }                                                                                              \
    static void NAME(pull_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,    \
                                  ptrdiff_t stop, const lap_even_points *b, const double *bar,     \
                                  double *x_bar, double *levels_bar, double *alpha_bar,            \
                                  uint8_t *left)                                                   \
    {                                                                                              \
        even_pull(kind, f, s, start, stop, b, bar, x_bar, levels_bar, alpha_bar, left);            \
    }                                                                                              \
    static void NAME(push_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,    \
                                  ptrdiff_t stop, const lap_even_points *b, const double *x_dot,   \
                                  const double *levels_dot, const double *alpha_dot,               \
                                  double *b_dot, uint8_t *left)                                    \
    {                                                                                              \
        even_push(kind, f, s, start, stop, b, x_dot, levels_dot, alpha_dot, b_dot, left);          \
    }                                                                                              \
    static void NAME(matrix_##kind)(const lap_even *f, const lap_short_lanes *s, ptrdiff_t start,  \
                                    ptrdiff_t stop, const lap_even_points *b, double *p,           \
                                    uint8_t *left)                                                 \
    {                                                                                              \
        even_matrix(kind, f, s, start, stop, b, p, left);                                          \
    }                                                                                              \
    static void NAME(matrix_pull_##kind)(const lap_even *f, const lap_short_lanes *s,              \
                                         ptrdiff_t start, ptrdiff_t stop,                          \
                                         const lap_even_points *b, const double *bar,              \
                                         double *x_bar, double *alpha_bar, uint8_t *left)          \
    {                                                                                              \
        even_matrix_pull(kind, f, s, start, stop, b, bar, x_bar, alpha_bar, left);                 \
    }                                                                                              \
    static void NAME(multiply_##kind)(const lap_even *f, const lap_short_lanes *s,                 \
                                      ptrdiff_t start, ptrdiff_t stop, const lap_even_points *b,   \
                                      const double *values, int transpose, double *product,        \
                                      uint8_t *left)                                               \
    {                                                                                              \
        even_multiply(kind, f, s, start, stop, b, values, transpose, product, left);               \
    }                                                                                              \
    static void NAME(multiply_pull_##kind)(const lap_even *f, const lap_short_lanes *s,            \
                                           ptrdiff_t start, ptrdiff_t stop,                        \
                                           const lap_even_points *b, const lap_bilinear *of,       \
                                           double *product, double *x_bar, double *alpha_bar,      \
                                           uint8_t *left)                                          \
    {                                                                                              \
        even_multiply_pull(kind, f, s, start, stop, b, of, product, x_bar, alpha_bar, left);       \
    }

OF_KIND(LAP_LOGISTIC)
OF_KIND(LAP_NORMAL)
OF_KIND(LAP_CAUCHY)
OF_KIND(LAP_STUDENT)
OF_KIND(LAP_TABLE)

#define TABLE_OF(kind)                                                                             \
    {                                                                                              \
        NAME(ranks_##kind), NAME(rank_products_##kind), NAME(solve_##kind), NAME(entries_##kind),  \
            NAME(pull_##kind), NAME(push_##kind), NAME(matrix_##kind), NAME(matrix_pull_##kind),   \
            NAME(multiply_##kind), NAME(multiply_pull_##kind),                                     \
    }

extern const lap_even_table NAME(lap_even_tables)[LAP_KINDS];

const lap_even_table NAME(lap_even_tables)[LAP_KINDS] = {
    TABLE_OF(LAP_LOGISTIC),
    TABLE_OF(LAP_NORMAL),
    TABLE_OF(LAP_CAUCHY),
    TABLE_OF(LAP_STUDENT),
    TABLE_OF(LAP_TABLE),
};
