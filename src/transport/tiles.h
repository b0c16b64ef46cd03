/* A plan in tiles: rows near each other, and the columns that they reach. */
#ifndef LAPSUM_TILES_H
#define LAPSUM_TILES_H

/* e^-CUT is nothing beside one. */
#define CUT 45.0
/* Rows of a tile, and how far its exponents may be from those of its middle row. */
#define ROWS 32
#define SPREAD 12.0

typedef struct {
    ptrdiff_t start, stop; /* rows */
    ptrdiff_t lo, hi;      /* columns */
    ptrdiff_t middle, top; /* the row in the middle, and its largest column */
    double spread;         /* the most that exponents of two rows differ, relative to this column */
} tile;

/* Tiles of a plan, and memory for the plan in one of them: a row after `stride` doubles, filled up
 * with zeros. */
typedef struct {
    const lap_plan *plan;
    tile *tiles;
    ptrdiff_t count, width, stride;
    double *rows, *base, *step, *scratch;
    double log_sums[ROWS];
    ptrdiff_t heaviest; /* the column of the most mass in the middle row of the tile last filled */
} tiling;

/* E_i,j+1 - E_ij at x. */
static inline double rise(const lap_plan *p, ptrdiff_t j, double x)
{
    const double gap = p->y[j + 1] - p->y[j], t = (x - p->edge[j]) * p->rate;
    return (gap > 0.0 ? t * gap : 0.0) + p->shift[j];
}

/* The column with the largest E at x, from j on; of tied columns the first that is met. */
static ptrdiff_t largest(const lap_plan *p, double x, ptrdiff_t j)
{
    for (;;) {
        ptrdiff_t next = j + 1;
        while (next + 1 < p->m && p->y[next] == p->y[j])
            next++;
        if (next >= p->m || !(rise(p, next - 1, x) > 0.0))
            break;
        j = next;
    }
    for (;;) {
        ptrdiff_t next = j - 1;
        while (next > 0 && p->y[next] == p->y[j])
            next--;
        if (next < 0 || !(rise(p, next, x) < 0.0))
            break;
        j = next;
    }
    return j;
}

static ptrdiff_t leftmost(const lap_plan *p, double x, ptrdiff_t j, double cut)
{
    double e = 0.0;
    while (j > 0 && (e -= rise(p, j - 1, x)) >= -cut)
        j--;
    return j;
}

static ptrdiff_t rightmost(const lap_plan *p, double x, ptrdiff_t j, double cut)
{
    double e = 0.0;
    while (j + 1 < p->m && (e += rise(p, j, x)) >= -cut)
        j++;
    return j + 1;
}

/* Whether weights of columns differ so much that sums over all hide some. */
static int uneven(const lap_plan *p)
{
    double most = 0.0, least = INFINITY;
    ptrdiff_t j;
    for (j = 0; j < p->m; j++) {
        most = p->b[j] > most ? p->b[j] : most;
        least = p->b[j] < least ? p->b[j] : least;
    }
    return least < 1e-4 * most;
}

/* How far below the largest exponent of a row others still count: weights differ, and on the way to
 * the solution E need not be quite concave. */
static double cut_of(const lap_plan *p)
{
    double most = 0.0, least = INFINITY, dents = 0.0, crossing = -INFINITY;
    ptrdiff_t j;
    for (j = 0; j < p->m; j++) {
        most = p->b[j] > most ? p->b[j] : most;
        least = p->b[j] < least ? p->b[j] : least;
    }
    for (j = 0; j + 1 < p->m; j++) {
        /* E has its largest values at j and j + 1 where x is this. */
        const double slope = (p->y[j + 1] - p->y[j]) * p->rate;
        const double at = p->edge[j] - p->shift[j] / slope;
        if (!(slope > 0.0))
            dents += fabs(p->shift[j]);
        else if (at >= crossing)
            crossing = at;
        else
            dents += slope * (crossing - at);
    }
    return CUT + log(most / least) + (dents < 1e300 ? dents : 1e300);
}

static void close_tiling(tiling *t)
{
    free(t->tiles);
    free(t->rows);
}

static int open_tiling(tiling *t, const lap_plan *p)
{
    const double cut = cut_of(p);
    ptrdiff_t i, first = 0, last = 0, most = 64;
    t->plan = p;
    t->count = 0;
    t->width = 1;
    t->rows = NULL;
    t->tiles = malloc(most * sizeof(tile));
    if (!t->tiles)
        return LAP_NO_MEMORY;
    for (i = 0; i < p->n;) {
        tile one;
        double across;
        one.start = i;
        first = largest(p, p->x[i], first);
        one.lo = leftmost(p, p->x[i], first, cut);
        one.hi = rightmost(p, p->x[i], first, cut);
        across = (p->y[one.hi - 1] - p->y[one.lo]) * p->rate;
        one.stop = i + 1;
        while (one.stop < p->n && one.stop < i + ROWS &&
               (p->x[one.stop] == p->x[i] || (p->x[one.stop] - p->x[i]) * across <= SPREAD))
            one.stop++;
        for (;;) {
            const double x = p->x[one.stop - 1];
            last = largest(p, x, first);
            one.hi = rightmost(p, x, last, cut);
            across = (p->y[one.hi - 1] - p->y[one.lo]) * p->rate;
            if (one.stop == i + 1 || x == p->x[i] || (x - p->x[i]) * across <= 2.0 * SPREAD)
                break;
            one.stop = i + (one.stop - i + 1) / 2;
        }
        one.middle = i + (one.stop - i) / 2;
        one.top = largest(p, p->x[one.middle], first);
        if (p->x[one.stop - 1] == p->x[i])
            one.spread = 0.0;
        else
            one.spread = (p->x[one.stop - 1] - p->x[i]) * across;
        if (t->count == most) {
            tile *more = realloc(t->tiles, 2 * most * sizeof(tile));
            if (!more)
                return LAP_NO_MEMORY;
            t->tiles = more;
            most *= 2;
        }
        t->width = one.hi - one.lo > t->width ? one.hi - one.lo : t->width;
        t->tiles[t->count++] = one;
        i = one.stop;
    }
    t->stride = (t->width + LANES - 1) / LANES * LANES + LANES;
    t->rows = malloc((ROWS + 3) * t->stride * sizeof(double));
    if (!t->rows)
        return LAP_NO_MEMORY;
    t->base = t->rows + ROWS * t->stride;
    t->step = t->base + t->stride;
    t->scratch = t->step + t->stride;
    return LAP_DONE;
}

/* Pi in the rows of a tile; beyond its columns there are zeros. */
static void fill(tiling *t, const tile *one)
{
    const lap_plan *p = t->plan;
    const double middle = p->x[one->middle];
    const ptrdiff_t width = one->hi - one->lo, top = one->top - one->lo;
    double e = 0.0, most = 0.0;
    ptrdiff_t i, j;
    t->base[top] = 0.0;
    for (j = top + 1; j < width; j++) {
        t->base[j] = e += rise(p, one->lo + j - 1, middle);
        most = e > most ? e : most;
    }
    for (e = 0.0, j = top - 1; j >= 0; j--) {
        t->base[j] = e -= rise(p, one->lo + j, middle);
        most = e > most ? e : most;
    }
    most += one->spread;
    for (j = 0; j < width; j++) {
        t->base[j] -= most;
        t->step[j] = p->y[one->lo + j] - p->y[one->top];
    }
    for (; j < t->stride; j++)
        t->base[j] = t->step[j] = 0.0;
    for (i = one->start; i < one->stop; i++) {
        const vec along = v_all(p->x[i] == middle ? 0.0 : (p->x[i] - middle) * p->rate);
        const vec zero = v_all(0.0);
        double *row = t->rows + (i - one->start) * t->stride, sum;
        vec sums = zero, scale;
        for (j = 0; j < width; j += LANES) {
            vec z = v_fma(along, v_load(t->step + j), v_load(t->base + j));
            vec mass = v_exp(v_min(z, zero)) * v_next(p->b + one->lo + j, width - j, 0.0);
            sums = sums + mass;
            v_store(row + j, mass);
        }
        for (; j < t->stride; j += LANES)
            v_store(row + j, zero);
        sum = v_sum(sums);
        scale = v_all(1.0 / sum);
        for (j = 0; j < width; j += LANES)
            v_store(row + j, v_load(row + j) * scale);
        t->log_sums[i - one->start] = log(sum) + most;
    }
    for (i = j = 0; j < width; j++)
        if (t->rows[(one->middle - one->start) * t->stride + j] >
            t->rows[(one->middle - one->start) * t->stride + i])
            i = j;
    t->heaviest = one->lo + i;
}

/* sum_j row_j v_j */
static inline double dot(const double *row, const double *v, ptrdiff_t width)
{
    vec sum = v_all(0.0), other = sum;
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= width; j += 2 * LANES) {
        sum = v_fma(v_load(row + j), v_load(v + j), sum);
        other = v_fma(v_load(row + j + LANES), v_load(v + j + LANES), other);
    }
    for (; j < width; j += LANES)
        sum = v_fma(v_load(row + j), v_next(v + j, width - j, 0.0), sum);
    return v_sum(sum + other);
}

/* out_j += factor row_j, without reading what lies beyond. */
static inline void add(double *out, double factor, const double *row, ptrdiff_t width)
{
    const vec by = v_all(factor);
    ptrdiff_t j;
    for (j = 0; j < width; j += LANES)
        v_put(out + j, width - j,
              v_fma(by, v_load(row + j), v_next(out + j, width - j, 0.0)));
}

/* out_j += f_0 r_0j + ... + f_3 r_3j, for whole vectors. */
static inline void add_four(double *out, const double f[4], const double *r0, const double *r1,
                            const double *r2, const double *r3, ptrdiff_t width)
{
    const vec a = v_all(f[0]), b = v_all(f[1]), c = v_all(f[2]), d = v_all(f[3]);
    ptrdiff_t j;
    for (j = 0; j < width; j += LANES) {
        vec sum = v_fma(a, v_load(r0 + j), v_load(out + j));
        vec more = v_fma(c, v_load(r2 + j), d * v_load(r3 + j));
        v_store(out + j, v_fma(b, v_load(r1 + j), sum) + more);
    }
}

#endif
