/* One level of the loops declared in plan.h: LAP_LEVEL names it, compiler flags make it. */
#include "transport/plan.h"
#include "simd/vector.h"

#include <stdlib.h>

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)
#define NAME(function) PASTE(function, LAP_LEVEL)

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

/* The matrix diag(P^T 1) - P^T diag(1/a) P of the equations, a graph Laplacian of the columns: the
 * weights of its edges, columns j + 1 to j + band in row j, with room for a vector beyond.  Factored
 * it holds those at the moment of elimination, and their sums. */
typedef struct {
    ptrdiff_t m, band, stride, capacity;
    double *edges, *pivots, *panel;
} laplacian;

static void close_laplacian(laplacian *h)
{
    free(h->edges);
}

static int open_laplacian(laplacian *h, ptrdiff_t m, ptrdiff_t band)
{
    const ptrdiff_t stride = band + 2 * LANES;
    const ptrdiff_t size = (m + 4) * stride + m + 4 * (stride + LANES);
    if (size > LAP_MOST_IN_FACTOR)
        return LAP_TOO_LARGE;
    if (size > h->capacity) {
        free(h->edges);
        h->edges = malloc(size * sizeof(double));
        h->capacity = h->edges ? size : 0;
        if (!h->edges)
            return LAP_NO_MEMORY;
    }
    h->m = m;
    h->band = band;
    h->stride = stride;
    h->pivots = h->edges + (m + 4) * stride;
    h->panel = h->pivots + m;
    memset(h->edges, 0, size * sizeof(double));
    return LAP_DONE;
}

/* Adds sum_i a_i Pi_ij Pi_ik of the rows of a tile. */
static void add_edges(laplacian *h, const tiling *t, const tile *one)
{
    const ptrdiff_t width = one->hi - one->lo, rows = one->stop - one->start;
    const double *a = t->plan->a + one->start;
    ptrdiff_t i, j, q;
    for (i = 0; i < rows; i += 4) {
        const double *row[4], *weight[4];
        const double none = 0.0;
        for (q = 0; q < 4; q++) {
            row[q] = t->rows + (i + q < rows ? i + q : i) * t->stride;
            weight[q] = i + q < rows ? a + i + q : &none;
        }
        for (j = 0; j + 1 < width; j++) {
            double f[4];
            for (q = 0; q < 4; q++)
                f[q] = *weight[q] * row[q][j];
            add_four(h->edges + (one->lo + j) * h->stride, f, row[0] + j + 1, row[1] + j + 1,
                     row[2] + j + 1, row[3] + j + 1, width - j - 1);
        }
    }
}

/* Eliminates one column after the other, by additions alone: no digit is lost, however weak some
 * edges are beside others. */
static void factor(laplacian *h)
{
    const ptrdiff_t length = h->stride + LANES;
    ptrdiff_t k, q, s, j;
    for (k = 0; k < h->m; k += 4) {
        double *panel = h->panel;
        for (q = 0; q < 4; q++) {
            double *scaled = panel + q * length, *edges = h->edges + (k + q) * h->stride;
            double sum = 0.0;
            memset(scaled, 0, length * sizeof(double));
            if (k + q >= h->m)
                continue;
            for (s = 0; s < q; s++) {
                const double by = h->edges[(k + s) * h->stride + q - s - 1];
                if (q - s - 1 < h->band)
                    for (j = 0; j + q - s < h->band; j++)
                        edges[j] += by * panel[s * length + j + q - s];
            }
            for (j = 0; j < h->band; j++)
                sum += edges[j];
            if (sum < 1e-280) { /* nothing holds the columns on both sides together */
                sum = 0.0;
                memset(edges, 0, h->band * sizeof(double));
            }
            h->pivots[k + q] = sum;
            for (j = 0; j < h->band; j++)
                scaled[j] = sum > 0.0 ? edges[j] / sum : 0.0;
        }
        for (j = k + 4; j < h->m && j <= k + 3 + h->band; j++) {
            double f[4];
            const ptrdiff_t left = k + 3 + h->band - j;
            for (q = 0; q < 4; q++) {
                const ptrdiff_t at = j - (k + q) - 1;
                f[q] = at < h->band ? h->edges[(k + q) * h->stride + at] : 0.0;
            }
            if (left > 0)
                add_four(h->edges + j * h->stride, f, panel + j - k, panel + length + j - k - 1,
                         panel + 2 * length + j - k - 2, panel + 3 * length + j - k - 3, left);
        }
    }
}

/* Solves for z, in the place of the flows: the right side, which adds up to zero, summed up to each
 * column.  Where columns are held together weakly, little flows, and what does keeps its digits. */
static void substitute(const laplacian *h, double *z)
{
    ptrdiff_t k, j;
    for (k = 0; k + 1 < h->m; k++) {
        const double *edges = h->edges + k * h->stride;
        const ptrdiff_t width = h->band < h->m - 1 - k ? h->band : h->m - 1 - k;
        if (h->pivots[k] > 0.0) {
            const double by = z[k] / h->pivots[k];
            double beyond = 0.0;
            for (j = width - 1; j >= 0; j--) {
                z[k + 1 + j] -= by * beyond;
                beyond += edges[j];
            }
        }
    }
    z[h->m - 1] = 0.0;
    for (k = h->m - 2; k >= 0; k--) {
        const double *edges = h->edges + k * h->stride;
        const ptrdiff_t width = h->band < h->m - 1 - k ? h->band : h->m - 1 - k;
        double sum = z[k];
        if (!(h->pivots[k] > 0.0)) {
            z[k] = z[k + 1];
            continue;
        }
        for (j = 0; j < width; j++)
            sum += edges[j] * z[k + 1 + j];
        z[k] = sum / h->pivots[k];
    }
}

/* The right side summed up to each column, in its place. */
static void sum_up(double *z, ptrdiff_t m)
{
    double sum = 0.0, lost = 0.0;
    ptrdiff_t j;
    for (j = 0; j < m; j++) {
        const double part = z[j] - lost, next = sum + part;
        lost = (next - sum) - part;
        z[j] = sum = next;
    }
}

/* Flows across a level that rounding of columns near one in size may have made count for nothing. */
#define ROUNDING 0x1p-52

/* b - P^T 1, summed up to each column, with the Laplacian and the tiles of the plan; the largest of
 * these flows. */
static int evaluate(const lap_plan *p, tiling *t, laplacian *h, double *flow, double *error)
{
    double most = 0.0, level = 0.0, all;
    ptrdiff_t k, i, j;
    int status = open_tiling(t, p);
    if (status != LAP_DONE || (status = open_laplacian(h, p->m, t->width - 1)) != LAP_DONE)
        return status;
    for (j = 0; j < p->m; j++)
        flow[j] = 0.0;
    for (k = 0; k < t->count; k++) {
        const tile *one = &t->tiles[k];
        double *sums = t->scratch;
        fill(t, one);
        add_edges(h, t, one);
        memset(sums, 0, t->stride * sizeof(double));
        for (i = one->start; i < one->stop; i++)
            add(sums, p->a[i], t->rows + (i - one->start) * t->stride, one->hi - one->lo);
        for (j = one->lo; j < one->hi; j++)
            flow[j] += sums[j - one->lo];
    }
    *error = 0.0;
    for (j = 0; j < p->m; j++) {
        flow[j] = p->b[j] - flow[j];
        most = p->b[j] > most ? p->b[j] : most;
    }
    sum_up(flow, p->m);
    all = flow[p->m - 1];
    for (j = 0; j < p->m; j++) {
        /* The weights of both sides add up to one but for rounding, which is shared by all. */
        flow[j] -= (level += p->b[j]) * all;
        if (j + 1 == p->m || fabs(flow[j]) <= ROUNDING * most * sqrt((double)p->m))
            flow[j] = 0.0;
        if (!(fabs(flow[j]) <= *error))
            *error = fabs(flow[j]);
    }
    return *error == *error ? LAP_DONE : LAP_NOT_REACHED;
}

/* A step that changes an exponent of a row by more than FAR is held back: no shift by more than
 * NEAR. */
#define FAR 25.0
#define NEAR 6.0

/* The most that steps of the shifts change one exponent of a row against another. */
static double reach(const tiling *t, const double *step)
{
    double most = 0.0;
    ptrdiff_t k, j;
    for (k = 0; k < t->count; k++) {
        double sum = 0.0, up = 0.0, down = 0.0;
        for (j = t->tiles[k].lo; j + 1 < t->tiles[k].hi; j++) {
            sum += step[j];
            up = sum > up ? sum : up;
            down = sum < down ? sum : down;
        }
        most = up - down > most ? up - down : most;
    }
    return most;
}

static int NAME(solve)(const lap_plan *p, double *error, ptrdiff_t *evaluations)
{
    const ptrdiff_t m = p->m;
    laplacian h = {0};
    tiling t;
    double *flow = malloc(3 * m * sizeof(double)), *step, *from, before = INFINITY;
    int status, steps = 0;
    *error = INFINITY;
    *evaluations = 0;
    if (!flow)
        return LAP_NO_MEMORY;
    step = flow + m;
    from = step + m;
    status = evaluate(p, &t, &h, flow, error);
    ++*evaluations;
    while (status == LAP_DONE && *error > 0.0) {
        double slope = 0.0, by = 1.0, now;
        ptrdiff_t j;
        /* After the quadratic phase what is left is rounding. */
        if (before < 1e-8 && *error < 1e-12 && *error > 0.1 * before)
            break;
        if (steps++ == LAP_MOST_STEPS) {
            status = LAP_NOT_REACHED;
            break;
        }
        memcpy(step, flow, m * sizeof(double));
        factor(&h);
        substitute(&h, step);
        for (j = 0; j + 1 < m; j++)
            step[j] = step[j + 1] - step[j]; /* of the shifts */
        /* Where weights far apart share a row the dual has plateaus, from which Newton steps lead
         * too far; others must not wait for them. */
        if (reach(&t, step) > FAR) {
            memcpy(from, step, m * sizeof(double));
            for (j = 0; j + 1 < m; j++)
                step[j] = step[j] > NEAR ? NEAR : step[j] < -NEAR ? -NEAR : step[j];
            for (j = 0; j + 1 < m; j++)
                slope -= flow[j] * step[j];
            if (!(slope > 0.0)) {
                memcpy(step, from, m * sizeof(double));
                by = FAR / reach(&t, step);
            }
        }
        for (slope = 0.0, j = 0; j + 1 < m; j++)
            slope -= flow[j] * step[j];
        before = *error;
        memcpy(from, p->shift, (m - 1) * sizeof(double));
        for (;;) {
            for (j = 0; j + 1 < m; j++)
                p->shift[j] = from[j] + by * step[j];
            close_tiling(&t);
            status = evaluate(p, &t, &h, flow, error);
            ++*evaluations;
            if (status != LAP_DONE)
                break;
            /* The dual is concave: along the step its slope falls from `slope`, and may end at a
             * value as negative without harm. */
            for (now = 0.0, j = 0; j + 1 < m; j++)
                now -= flow[j] * step[j];
            if (now >= -0.5 * slope || before < 1e-9 || *evaluations >= LAP_MOST_EVALUATIONS)
                break;
            by *= slope / (slope - now) > 0.1 ? slope / (slope - now) : 0.1;
        }
        if (status == LAP_DONE && *evaluations >= LAP_MOST_EVALUATIONS && *error > 1e-12)
            status = LAP_NOT_REACHED;
    }
    close_tiling(&t);
    close_laplacian(&h);
    free(flow);
    return status;
}

static int NAME(products)(const lap_plan *p, const double *s, const double *v, double *rows,
                          double *column_sums, double *columns, double *log_sums, ptrdiff_t *top)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (j = 0; column_sums && j < p->m; j++)
        column_sums[j] = 0.0;
    for (j = 0; columns && j < p->m; j++)
        columns[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t width = one->hi - one->lo;
        const double *at = s ? s + one->lo : NULL, about = s ? s[one->top] : 0.0;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            if (rows) {
                for (j = 0; j < width; j++)
                    t.scratch[j] = at[j] - about;
                rows[i] = about + dot(row, t.scratch, width);
            }
            if (column_sums)
                add(column_sums + one->lo, p->a[i], row, width);
            if (columns)
                add(columns + one->lo, p->a[i] * v[i], row, width);
            if (log_sums) {
                log_sums[i] = t.log_sums[i - one->start];
                top[i] = one->top;
            }
        }
    }
    close_tiling(&t);
    return status;
}

static int NAME(matrix)(const lap_plan *p, double *out)
{
    tiling t;
    ptrdiff_t k, i;
    int status = open_tiling(&t, p);
    if (status == LAP_DONE)
        memset(out, 0, p->n * p->m * sizeof(double));
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        fill(&t, one);
        for (i = one->start; i < one->stop; i++)
            memcpy(out + i * p->m + one->lo, t.rows + (i - one->start) * t.stride,
                   (one->hi - one->lo) * sizeof(double));
    }
    close_tiling(&t);
    return status;
}

static int NAME(equations)(const lap_plan *p, double *z)
{
    laplacian h = {0};
    tiling t;
    ptrdiff_t k;
    int status = open_tiling(&t, p);
    if (status == LAP_DONE)
        status = open_laplacian(&h, p->m, t.width - 1);
    if (status == LAP_DONE) {
        for (k = 0; k < t.count; k++) {
            fill(&t, &t.tiles[k]);
            add_edges(&h, &t, &t.tiles[k]);
        }
        factor(&h);
        sum_up(z, p->m);
        substitute(&h, z);
    }
    close_laplacian(&h);
    close_tiling(&t);
    return status;
}

/* Where a level divides a row, and epsilon is small, parts of derivatives are opposite but for
 * rounding: what that may have made of them is nothing, since it would be multiplied by the rate. */
#define ROUNDED 0x1p-47

/* v_j minus its mean over a row, to `out`; returns the mean. */
static inline double centred(const double *row, const double *v, double about, ptrdiff_t width,
                             double *out)
{
    double mean;
    ptrdiff_t j;
    for (j = 0; j < width; j++)
        out[j] = v[j] - about;
    mean = dot(row, out, width);
    for (j = 0; j < width; j++)
        out[j] -= mean;
    return about + mean;
}

/* Where in x column j is, roughly. */
static inline double place(const lap_plan *p, ptrdiff_t j)
{
    return p->m == 1 ? p->x[p->n / 2] : p->edge[j + 1 < p->m ? j : p->m - 2];
}

static inline double product(double a, double b)
{
    return a == 0.0 || b == 0.0 ? 0.0 : a * b;
}

static int NAME(pull)(const lap_plan *p, const lap_plan *nodes, const double *r, const double *c,
                      const double *d, double *lambda, double *mean_lambda, double *mean_c,
                      double *x_bar, double *y_bar, double *column_sums)
{
    tiling t;
    ptrdiff_t k, i, j, m = p->m;
    double *all, *sums, *sizes, *other;
    int status = open_tiling(&t, p);
    all = malloc((3 * m + 4 * LANES) * sizeof(double));
    if (!all)
        status = LAP_NO_MEMORY;
    for (j = 0; j < m; j++)
        lambda[j] = y_bar[j] = column_sums[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            centred(row, c + lo, c[one->top], width, t.scratch);
            for (j = 0; j < width; j++)
                lambda[lo + j] -= row[j] * r[i] * t.scratch[j];
            if (d) {
                centred(row, d + lo, d[one->top], width, t.scratch);
                for (j = 0; j < width; j++)
                    lambda[lo + j] -= row[j] * p->a[i] * t.scratch[j];
            }
        }
    }
    if (status == LAP_DONE)
        status = NAME(equations)(nodes, lambda);
    if (status == LAP_DONE)
        for (j = 0; j < m; j++)
            all[j] = lambda[j] + (d ? d[j] : 0.0);
    sums = all ? all + m : NULL;
    sizes = all ? sums + m : NULL;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        const double middle = p->x[one->middle];
        fill(&t, one);
        other = t.base; /* which is of no more use */
        for (j = 0; j < width; j++)
            sums[j] = 0.0;
        for (i = one->start; i < one->stop; i++) {
            double *row = t.rows + (i - one->start) * t.stride, x = 0.0, size = 0.0, away;
            add(column_sums + lo, r[i], row, width);
            mean_lambda[i] = centred(row, all + lo, all[one->top], width, t.scratch);
            mean_c[i] = centred(row, c + lo, c[one->top], width, other);
            away = p->x[i] == middle ? 0.0 : p->x[i] - middle;
            for (j = 0; j < width; j++) {
                t.scratch[j] *= p->a[i];
                other[j] *= r[i];
                sizes[j] = fabs(t.scratch[j]) + fabs(other[j]);
            }
            size = dot(row, sizes, width);
            for (j = 0; j < width; j++) {
                const double part = t.scratch[j] + other[j];
                const double bar = fabs(part) > ROUNDED * (size + sizes[j]) ? row[j] * part : 0.0;
                row[j] = bar;
                sums[j] += bar;
                y_bar[lo + j] -= p->rate * product(bar, away);
            }
            x = dot(row, t.step, width);
            x_bar[i] = -p->rate * x;
        }
        for (j = 0; j < width; j++)
            y_bar[lo + j] -= p->rate * product(sums[j], middle - place(p, lo + j));
    }
    free(all);
    close_tiling(&t);
    return status;
}

/* rate ((y_j - y_top) x_dot_i + (x_i - place_j) y_dot_j) */
static inline void moved(const tiling *t, const tile *one, ptrdiff_t i, double x_dot,
                         const double *y_dot, double *out)
{
    const lap_plan *p = t->plan;
    const ptrdiff_t lo = one->lo, width = one->hi - lo;
    const double along = p->rate * x_dot;
    ptrdiff_t j;
    for (j = 0; j < width; j++)
        out[j] = product(along, t->step[j]);
    if (y_dot)
        for (j = 0; j < width; j++)
            out[j] += product(p->rate * y_dot[lo + j], p->x[i] - place(p, lo + j));
}

/* sum_i Pi_ij (a_dot_i + a_i (moved_ij - its mean)), subtracted. */
static int charges(const lap_plan *p, const double *x_dot, const double *y_dot,
                   const double *a_dot, double *out)
{
    tiling t;
    ptrdiff_t k, i, j;
    int status = open_tiling(&t, p);
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            moved(&t, one, i, x_dot ? x_dot[i] : 0.0, y_dot, t.scratch);
            centred(row, t.scratch, t.scratch[one->top - lo], width, t.scratch);
            for (j = 0; j < width; j++)
                out[lo + j] -= row[j] * (p->a[i] * t.scratch[j] + (a_dot ? a_dot[i] : 0.0));
        }
    }
    close_tiling(&t);
    return status;
}

static int NAME(push)(const lap_plan *p, const lap_plan *nodes, const double *x_dot,
                      const double *y_dot, const double *a_dot, const double *b_dot,
                      const double *s, const double *rows, double *rows_dot, const double *v,
                      const double *columns, double *columns_dot)
{
    tiling t;
    ptrdiff_t k, i, j, m = p->m;
    double *h = malloc((3 * m + LANES) * sizeof(double)), *sums = h + m, *sizes = sums + m;
    int status = h ? LAP_DONE : LAP_NO_MEMORY;
    for (j = 0; h && j < m; j++) {
        h[j] = b_dot ? b_dot[j] : 0.0;
        sums[j] = 0.0;
    }
    if (status == LAP_DONE)
        status = charges(p, x_dot, y_dot, a_dot, h);
    if (status == LAP_DONE)
        status = NAME(equations)(nodes, h);
    if (status != LAP_DONE) {
        free(h);
        return status;
    }
    status = open_tiling(&t, p);
    for (j = 0; columns_dot && j < m; j++)
        columns_dot[j] = 0.0;
    for (k = 0; status == LAP_DONE && k < t.count; k++) {
        const tile *one = &t.tiles[k];
        const ptrdiff_t lo = one->lo, width = one->hi - lo;
        fill(&t, one);
        for (i = one->start; i < one->stop; i++) {
            const double *row = t.rows + (i - one->start) * t.stride;
            double *q = t.scratch, *log_dot = t.base, mean, size, sum = 0.0;
            moved(&t, one, i, x_dot ? x_dot[i] : 0.0, y_dot, q);
            for (j = 0; j < width; j++) {
                log_dot[j] = h[lo + j] - h[one->top];
                sizes[j] = fabs(log_dot[j]) + fabs(q[j]);
                log_dot[j] += q[j];
            }
            mean = dot(row, log_dot, width);
            size = dot(row, sizes, width);
            for (j = 0; j < width; j++) {
                const double dot_ij = log_dot[j] - mean;
                log_dot[j] = fabs(dot_ij) > ROUNDED * (size + sizes[j]) ? dot_ij : 0.0;
            }
            if (rows_dot) {
                for (j = 0; j < width; j++)
                    sum += row[j] * (s[lo + j] - rows[i]) * log_dot[j];
                rows_dot[i] = sum;
            }
            if (columns_dot) {
                const double own = a_dot ? a_dot[i] : 0.0;
                for (j = 0; j < width; j++)
                    columns_dot[lo + j] +=
                        row[j] * (v[i] - columns[lo + j]) * (own + p->a[i] * log_dot[j]);
                add(sums + lo, p->a[i], row, width);
            }
        }
    }
    for (j = 0; status == LAP_DONE && columns_dot && j < m; j++)
        columns_dot[j] /= sums[j];
    free(h);
    close_tiling(&t);
    return status;
}

const lap_transport NAME(lap_transport) = {
    NAME(solve), NAME(products), NAME(matrix), NAME(equations), NAME(pull), NAME(push),
};
