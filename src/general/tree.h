/* Sums of a smooth kernel over sorted points, at the same points. */
#ifndef LAP_TREE_H
#define LAP_TREE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LAP_CDF, LAP_EVEN, LAP_ODD };

/* A kernel of |t|: with z = 1 + unit |t|, 2^bits panels an octave of z, and on each a polynomial of
   LAP_DEGREE in the place s in [0, 1) within the panel, the constant first; past the last, zero.
   LAP_CDF: the table is T, the kernel F(t) = T(-t) for t <= 0 and 1 - T(t) above.  LAP_EVEN and
   LAP_ODD: the table is the kernel for t >= 0.  `reach` is how far from the real line it is smooth. */
#define LAP_DEGREE 8

typedef struct {
    const double *table;
    ptrdiff_t panels;
    double unit, reach;
    int kind, bits;
} lap_kernel;

/* The coefficients on the panel of t >= 0, and the place s in it; NULL past the last. */
static inline const double *lap_panel(const lap_kernel *kernel, double t, double *s) {
    double z = 1.0 + kernel->unit * t;
    uint64_t bits;
    memcpy(&bits, &z, 8);
    ptrdiff_t panel = (ptrdiff_t)(bits >> (52 - kernel->bits)) - ((ptrdiff_t)1023 << kernel->bits);
    if (panel >= kernel->panels)
        return NULL;
    bits = (bits & (0x000fffffffffffffULL >> kernel->bits)) | 0x3ff0000000000000ULL;
    memcpy(s, &bits, 8);
    *s = (*s - 1.0) * (double)(1 << kernel->bits);
    return kernel->table + panel * (LAP_DEGREE + 1);
}

/* The table at t >= 0. */
static inline double lap_lookup(const lap_kernel *kernel, double t) {
    double s;
    const double *c = lap_panel(kernel, t, &s);
    if (!c)
        return 0.0;
    double s2 = s * s, s4 = s2 * s2;
    double a = c[0] + c[1] * s, b = c[2] + c[3] * s, d = c[4] + c[5] * s, e = c[6] + c[7] * s;
    return (a + b * s2) + ((d + e * s2) + c[8] * s4) * s4;
}

/* The same, and minus its derivative in t, and its second one. */
static inline double lap_lookup_all(const lap_kernel *kernel, double t, double *fall, double *bend) {
    double s, z = 1.0 + kernel->unit * t, octave;
    const double *c = lap_panel(kernel, t, &s);
    *fall = *bend = 0.0;
    if (!c)
        return 0.0;
    uint64_t bits;
    memcpy(&bits, &z, 8);
    bits &= 0x7ff0000000000000ULL;
    memcpy(&octave, &bits, 8);
    double s2 = s * s, s4 = s2 * s2;
    double a = c[0] + c[1] * s, b = c[2] + c[3] * s, d = c[4] + c[5] * s, e = c[6] + c[7] * s;
    double rise = (c[1] + 2.0 * c[2] * s) + (3.0 * c[3] + 4.0 * c[4] * s) * s2 +
                  ((5.0 * c[5] + 6.0 * c[6] * s) + (7.0 * c[7] + 8.0 * c[8] * s) * s2) * s4;
    double curve = (2.0 * c[2] + 6.0 * c[3] * s) + (12.0 * c[4] + 20.0 * c[5] * s) * s2 +
                   ((30.0 * c[6] + 42.0 * c[7] * s) + 56.0 * c[8] * s2) * s4;
    double scale = kernel->unit * (double)(1 << kernel->bits) / octave;
    *fall = -rise * scale;
    *bend = curve * scale * scale;
    return (a + b * s2) + ((d + e * s2) + c[8] * s4) * s4;
}

/* sums[i] + steps[i] = sum_j v[j] K((x[i] + low[i] - x[j] - low[j])/alpha) for x in ascending order.
   `steps` holds the whole steps of F, exact where v holds whole numbers.  `low`, if not NULL, is what
   x lacks to the last digit.  Returns 0, or -1 if there is no memory. */
int lap_tree_sums(const lap_kernel *kernel, ptrdiff_t n, const double *x, const double *low,
                  const double *v, double alpha, double *sums, double *steps);

#endif
