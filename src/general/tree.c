/* A dual tree: boxes of sorted points, halved until they are small or the kernel is smooth on them.
   Far from a box, as its size goes, what its points do is done by P points instead, at the Chebyshev
   nodes of the box, and what happens to its points is interpolated from there.  How far that must be
   follows from the distance of the kernel's nearest singularity: the interpolation error is
   RATIO^-P, where RATIO is the sum of half axes of the ellipse through it. */
#include "tree.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define P 22
#define RATIO 5.6
#define FEW P          /* boxes of so few points are not halved, nor replaced by nodes */
#define MANY 1024      /* larger ones are halved even if the kernel is smooth: short sums err less */
#define BLOCK 64       /* so many terms are added up straight */
#define LEAST 0.5      /* which is added to sums of the CDF, as ranks have it */
#define ERROR 0x1p-49  /* of interpolation, beside such sums */
#define MOST 16.0      /* ratio that is asked for: tables have no digits for more, nor is there time */
#define HALF_PI 1.57079632679489661923

typedef struct {
    ptrdiff_t begin, end;
    double lo, hi, weight, steps;
    ptrdiff_t left, right; /* children, 0 for none */
    ptrdiff_t nodes;       /* which nodes it has, -1 for none */
    int touched;           /* whether something happened at its nodes */
} lap_box;

typedef struct {
    const lap_kernel *kernel;
    const double *x, *low, *v;
    double alpha, scale;
    double *sums, *steps;
    double *before; /* the absolute values of v before each point, for the CDF */
    lap_box *boxes;
    ptrdiff_t count, room, with_nodes;
    double *weights, *values; /* at the nodes: of the sources, of the sum */
    int failed;
    double place[P], cheb[P][P]; /* last, since small sums do without */
} lap_tree;

/* sum_k w[k] K((x - at[k])/alpha), where all at[k] are on one side if `apart` (then of T alone). */
static double lap_row(const lap_tree *tree, double x, double low, const double *at,
                      const double *low_at, const double *w, ptrdiff_t size, int apart) {
    const lap_kernel *kernel = tree->kernel;
    int cdf = kernel->kind == LAP_CDF, odd = kernel->kind == LAP_ODD;
    double total = 0.0;
    for (ptrdiff_t begin = 0; begin < size; begin += BLOCK) {
        ptrdiff_t end = begin + BLOCK < size ? begin + BLOCK : size;
        double sum = 0.0;
        for (ptrdiff_t k = begin; k < end; k++) {
            double t = ((x - at[k]) + (low - (low_at ? low_at[k] : 0.0))) * tree->scale;
            double value = lap_lookup(kernel, fabs(t));
            if (cdf && !apart)
                value = t > 0.0 ? 1.0 - value : value;
            else if (odd)
                value = copysign(value, t);
            sum += w[k] * value;
        }
        total += sum;
    }
    return total;
}

static double lap_centre(const lap_box *box) { return 0.5 * box->lo + 0.5 * box->hi; }

static double lap_radius(const lap_box *box) { return 0.5 * box->hi - 0.5 * box->lo; }

/* The ratio by which each further node lessens the error of interpolation across a box, of the kernel
   between it and a point `gap` from its centre. */
static double lap_ratio(const lap_tree *tree, const lap_box *box, double gap) {
    double r = lap_radius(box);
    if (r == 0.0)
        return INFINITY;
    double re = gap / r, im = tree->kernel->reach * tree->alpha / r;
    if (re > 1e9 || im > 1e9)
        return INFINITY;
    double s = 0.5 * (sqrt((re + 1.0) * (re + 1.0) + im * im) +
                      sqrt((re - 1.0) * (re - 1.0) + im * im));
    return s + sqrt(s * s - 1.0);
}

static double lap_ratio_for(const lap_tree *tree, const lap_box *box, const lap_box *other) {
    double centre = lap_centre(box), gap = 0.0;
    if (centre < other->lo)
        gap = other->lo - centre;
    else if (centre > other->hi)
        gap = centre - other->hi;
    return lap_ratio(tree, box, gap);
}

/* The least ratio for what the points of b, right of a, add to the small sums of the CDF there: errors
   go as the kernel does near its singularities, and sums are at least half of what is at their left. */
static double lap_ratio_between(const lap_tree *tree, const lap_box *a, const lap_box *b) {
    double size = tree->before[b->end] - tree->before[b->begin];
    double least = LEAST + 0.5 * tree->before[a->begin];
    return size > least ? fmin(fmax(RATIO, pow(size / least / ERROR, 1.0 / P)), MOST) : RATIO;
}

static ptrdiff_t lap_build(lap_tree *tree, ptrdiff_t begin, ptrdiff_t end) {
    if (tree->count == tree->room) {
        lap_box *boxes = realloc(tree->boxes, 2 * tree->room * sizeof *boxes);
        if (!boxes) {
            tree->failed = 1;
            return 0;
        }
        tree->boxes = boxes;
        tree->room *= 2;
    }
    ptrdiff_t here = tree->count++, size = end - begin;
    lap_box box = {begin, end, tree->x[begin], tree->x[end - 1], 0.0, 0.0, 0, 0, -1, 0};
    if (size > FEW)
        box.nodes = tree->with_nodes++;
    tree->boxes[here] = box;
    if (size > FEW && box.hi > box.lo && (size > MANY || lap_ratio(tree, &box, 0.0) < RATIO)) {
        double centre = lap_centre(&box);
        ptrdiff_t lo = begin, hi = end - 1; /* x[lo] <= centre < x[hi] */
        while (hi - lo > 1) {
            ptrdiff_t middle = lo + (hi - lo) / 2;
            if (tree->x[middle] <= centre)
                lo = middle;
            else
                hi = middle;
        }
        ptrdiff_t left = lap_build(tree, begin, hi);
        ptrdiff_t right = tree->failed ? 0 : lap_build(tree, hi, end);
        tree->boxes[here].left = left;
        tree->boxes[here].right = right;
    }
    return here;
}

/* Add sum_j v_j T_m(s_j) to the moments, for points at s = (x + low - centre)/radius. */
static void lap_moments(const double *x, const double *low, const double *v, ptrdiff_t size,
                        double centre, double inverse, double *moments) {
    for (ptrdiff_t begin = 0; begin < size; begin += BLOCK) {
        ptrdiff_t end = begin + BLOCK < size ? begin + BLOCK : size;
        double sums[P] = {0.0};
        for (ptrdiff_t j = begin; j + 4 <= end; j += 4) {
            double s[4], before[4], now[4], twice[4];
            for (int q = 0; q < 4; q++) {
                s[q] = ((x[j + q] - centre) + (low ? low[j + q] : 0.0)) * inverse;
                before[q] = v[j + q];
                now[q] = v[j + q] * s[q];
                twice[q] = 2.0 * s[q];
            }
            for (int m = 0; m < P; m++) {
                sums[m] += (before[0] + before[2]) + (before[1] + before[3]);
                for (int q = 0; q < 4; q++) {
                    double next = twice[q] * now[q] - before[q];
                    before[q] = now[q];
                    now[q] = next;
                }
            }
        }
        for (ptrdiff_t j = begin + (end - begin) / 4 * 4; j < end; j++) {
            double s = ((x[j] - centre) + (low ? low[j] : 0.0)) * inverse;
            double before = v[j], now = v[j] * s;
            for (int m = 0; m < P; m++) {
                double next = 2.0 * s * now - before;
                sums[m] += before;
                before = now;
                now = next;
            }
        }
        for (int m = 0; m < P; m++)
            moments[m] += sums[m];
    }
}

static double lap_inverse(const lap_box *box) {
    double r = lap_radius(box);
    return r > 0.0 ? 1.0 / r : 0.0;
}

/* The nodes, as unevaluated sums: in a box far from zero, and small, a float is too coarse. */
static void lap_positions(const lap_tree *tree, const lap_box *box, double *out, double *low) {
    double centre = lap_centre(box), r = lap_radius(box);
    for (int k = 0; k < P; k++) {
        double step = r * tree->place[k], sum = centre + step, back = sum - centre;
        out[k] = sum;
        low[k] = (centre - (sum - back)) + (step - back);
    }
}

/* From the points to the nodes of their boxes, children before parents. */
static void lap_gather(lap_tree *tree) {
    for (ptrdiff_t i = tree->count - 1; i >= 0; i--) {
        lap_box *box = tree->boxes + i;
        double moments[P] = {0.0}, centre = lap_centre(box), inverse = lap_inverse(box);
        if (!box->left) {
            ptrdiff_t begin = box->begin;
            lap_moments(tree->x + begin, tree->low ? tree->low + begin : NULL, tree->v + begin,
                        box->end - begin, centre, inverse, moments);
            box->weight = moments[0];
        } else {
            for (int side = 0; side < 2; side++) {
                lap_box *child = tree->boxes + (side ? box->right : box->left);
                box->weight += child->weight;
                if (child->nodes >= 0) {
                    double at[P], low[P];
                    lap_positions(tree, child, at, low);
                    lap_moments(at, low, tree->weights + child->nodes * P, P, centre, inverse,
                                moments);
                } else {
                    ptrdiff_t begin = child->begin;
                    lap_moments(tree->x + begin, tree->low ? tree->low + begin : NULL,
                                tree->v + begin, child->end - begin, centre, inverse, moments);
                }
            }
        }
        if (box->nodes < 0)
            continue;
        double *weights = tree->weights + box->nodes * P;
        moments[0] = box->weight;
        for (int k = 0; k < P; k++) {
            double sum = 0.0;
            for (int m = 1; m < P; m++)
                sum += tree->cheb[k][m] * moments[m];
            weights[k] = (moments[0] + 2.0 * sum) / P;
        }
    }
}

/* What the points of one box do at those of another. */
static void lap_interact(lap_tree *tree, ptrdiff_t target, ptrdiff_t source) {
    lap_box *a = tree->boxes + target, *b = tree->boxes + source;
    const lap_kernel *kernel = tree->kernel;
    int right = a->lo > b->hi, apart = right || b->lo > a->hi;
    double gap = right ? a->lo - b->hi : b->lo - a->hi;
    if (apart && kernel->unit * gap * tree->scale >= ldexp(1.0, (int)(kernel->panels >> kernel->bits))) {
        if (right && kernel->kind == LAP_CDF)
            a->steps += b->weight;
        return;
    }
    double least = RATIO;
    if (apart && !right && kernel->kind == LAP_CDF)
        least = lap_ratio_between(tree, a, b);
    int near_a = lap_ratio_for(tree, a, b) < least, near_b = lap_ratio_for(tree, b, a) < least;
    int few_a = a->nodes < 0 || (near_a && !a->left), few_b = b->nodes < 0 || (near_b && !b->left);
    near_a = near_a && a->left, near_b = near_b && b->left;
    if (near_a || near_b) {
        /* A box that is not smooth can be halved; the larger one is. */
        int halve_a = near_a && (!near_b || a->hi - a->lo >= b->hi - b->lo);
        ptrdiff_t left = halve_a ? a->left : b->left, other = halve_a ? a->right : b->right;
        lap_interact(tree, halve_a ? left : target, halve_a ? source : left);
        lap_interact(tree, halve_a ? other : target, halve_a ? source : other);
        return;
    }
    double at_source[P], low_source[P], at_target[P], low_target[P];
    const double *from = tree->x + b->begin, *w = tree->v + b->begin;
    const double *low = tree->low ? tree->low + b->begin : NULL;
    ptrdiff_t size = b->end - b->begin;
    if (!few_b) {
        lap_positions(tree, b, at_source, low_source);
        from = at_source, low = low_source, w = tree->weights + b->nodes * P, size = P;
    }
    double sign = 1.0;
    if (apart && kernel->kind == LAP_CDF && right) {
        a->steps += b->weight;
        sign = -1.0;
    }
    if (few_a) {
        for (ptrdiff_t i = a->begin; i < a->end; i++)
            tree->sums[i] += sign * lap_row(tree, tree->x[i], tree->low ? tree->low[i] : 0.0, from,
                                            low, w, size, apart);
        return;
    }
    lap_positions(tree, a, at_target, low_target);
    double *values = tree->values + a->nodes * P;
    a->touched = 1;
    for (int k = 0; k < P; k++)
        values[k] += sign * lap_row(tree, at_target[k], low_target[k], from, low, w, size, apart);
}

/* The interpolant with these values at the nodes, as coefficients of Chebyshev polynomials. */
static void lap_coefficients(const lap_tree *tree, const double *values, double *out) {
    for (int m = 0; m < P; m++) {
        double sum = 0.0;
        for (int k = 0; k < P; k++)
            sum += tree->cheb[k][m] * values[k];
        out[m] = sum * (m ? 2.0 : 1.0) / P;
    }
}

static void lap_interpolate(const double *c, const double *x, const double *low, ptrdiff_t size,
                            double centre, double inverse, double *out) {
    ptrdiff_t i = 0;
    for (; i + 4 <= size; i += 4) {
        double s[4], one[4] = {0.0}, two[4] = {0.0};
        for (int q = 0; q < 4; q++)
            s[q] = ((x[i + q] - centre) + (low ? low[i + q] : 0.0)) * inverse;
        for (int m = P - 1; m >= 1; m--)
            for (int q = 0; q < 4; q++) {
                double next = 2.0 * s[q] * one[q] - two[q] + c[m];
                two[q] = one[q];
                one[q] = next;
            }
        for (int q = 0; q < 4; q++)
            out[i + q] += s[q] * one[q] - two[q] + c[0];
    }
    for (; i < size; i++) {
        double s = ((x[i] - centre) + (low ? low[i] : 0.0)) * inverse, one = 0.0, two = 0.0;
        for (int m = P - 1; m >= 1; m--) {
            double next = 2.0 * s * one - two + c[m];
            two = one;
            one = next;
        }
        out[i] += s * one - two + c[0];
    }
}

/* From the nodes of boxes to their points, parents before children. */
static void lap_scatter(lap_tree *tree) {
    for (ptrdiff_t i = 0; i < tree->count; i++) {
        lap_box *box = tree->boxes + i;
        double c[P], centre = lap_centre(box), inverse = lap_inverse(box);
        if (box->touched)
            lap_coefficients(tree, tree->values + box->nodes * P, c);
        for (int side = 0; box->left && side < 2; side++) {
            lap_box *child = tree->boxes + (side ? box->right : box->left);
            child->steps += box->steps;
            if (box->touched && child->nodes >= 0) {
                double at[P], low[P];
                lap_positions(tree, child, at, low);
                lap_interpolate(c, at, low, P, centre, inverse, tree->values + child->nodes * P);
                child->touched = 1;
            } else if (box->touched) {
                ptrdiff_t begin = child->begin;
                lap_interpolate(c, tree->x + begin, tree->low ? tree->low + begin : NULL,
                                child->end - begin, centre, inverse, tree->sums + begin);
            }
        }
        if (!box->left) {
            ptrdiff_t begin = box->begin, size = box->end - begin;
            if (box->touched)
                lap_interpolate(c, tree->x + begin, tree->low ? tree->low + begin : NULL, size,
                                centre, inverse, tree->sums + begin);
            for (ptrdiff_t j = begin; j < box->end; j++)
                tree->steps[j] = box->steps;
        }
    }
}

int lap_tree_sums(const lap_kernel *kernel, ptrdiff_t n, const double *x, const double *low,
                  const double *v, double alpha, double *sums, double *steps) {
    lap_tree tree;
    memset(&tree, 0, offsetof(lap_tree, place));
    tree.kernel = kernel, tree.x = x, tree.low = low, tree.v = v;
    tree.alpha = alpha, tree.scale = fmin(1.0 / alpha, DBL_MAX);
    tree.sums = sums, tree.steps = steps;
    memset(sums, 0, n * sizeof *sums);
    memset(steps, 0, n * sizeof *steps);
    if (n <= FEW) {
        for (ptrdiff_t i = 0; i < n; i++)
            sums[i] = lap_row(&tree, x[i], low ? low[i] : 0.0, x, low, v, n, 0);
        return 0;
    }
    for (int k = 0; k < P; k++) {
        tree.place[k] = cos(HALF_PI * (2 * k + 1) / P);
        for (int m = 0; m < P; m++)
            /* The argument as a fraction of a whole turn, of which only the rest counts. */
            tree.cheb[k][m] = cos(HALF_PI * (m * (2 * k + 1) % (4 * P)) / P);
    }
    tree.room = 64;
    tree.boxes = malloc(tree.room * sizeof *tree.boxes);
    tree.failed = !tree.boxes;
    if (!tree.failed && kernel->kind == LAP_CDF) {
        tree.before = malloc((n + 1) * sizeof *tree.before);
        tree.failed = !tree.before;
        for (ptrdiff_t i = 0; !tree.failed && i <= n; i++)
            tree.before[i] = i ? tree.before[i - 1] + fabs(v[i - 1]) : 0.0;
    }
    if (!tree.failed)
        lap_build(&tree, 0, n);
    if (!tree.failed) {
        tree.weights = calloc(2 * P * tree.with_nodes + 1, sizeof *tree.weights);
        tree.failed = !tree.weights;
    }
    if (!tree.failed) {
        tree.values = tree.weights + P * tree.with_nodes;
        lap_gather(&tree);
        lap_interact(&tree, 0, 0);
        lap_scatter(&tree);
    }
    free(tree.before);
    free(tree.boxes);
    free(tree.weights);
    return tree.failed ? -1 : 0;
}
