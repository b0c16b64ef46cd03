/* The scalar formulas of the Laplace distribution, written once for every loop and every backend.
 *
 * F(t) = e^t/2 for t <= 0 and 1 - e^{-t}/2 above.  Exponentials are taken of non-positive
 * arguments only, differences of inputs are divided by alpha last, and equal infinities are a tie.
 */
#ifndef LAPSUM_LAPLACE_H
#define LAPSUM_LAPLACE_H

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define LAP_FUNCTION __device__ __forceinline__
#undef INFINITY /* NVRTC has none, and elsewhere they are floats */
#undef NAN
#define INFINITY __longlong_as_double(0x7ff0000000000000LL)
#define NAN __longlong_as_double(0x7ff8000000000000LL)
#else
#include <math.h>
#define LAP_FUNCTION static inline
#endif

#define LAP_LOG2 0.69314718055994530942

/* difference/(2 alpha), without overflow on the way. */
LAP_FUNCTION double lap_half(double difference, double alpha)
{
    return fabs(difference) < 1.0 ? 0.5 * (difference / alpha) : 0.5 * difference / alpha;
}

/* (to - from)/(2 alpha), likewise. */
LAP_FUNCTION double lap_half_step(double from, double to, double alpha)
{
    double difference = to - from;
    if (from == to)
        return 0.0;
    if (isinf(difference) && !isinf(from) && !isinf(to))
        return (0.5 * to - 0.5 * from) / alpha;
    return lap_half(difference, alpha);
}

/* (to - from)/alpha, where the difference of two finite numbers may overflow. */
LAP_FUNCTION double lap_step(double from, double to, double alpha)
{
    double difference = to - from;
    if (from == to)
        return 0.0;
    if (isinf(difference))
        return 2.0 * lap_half_step(from, to, alpha);
    return difference / alpha;
}

/* What a - b lacks of the difference itself. */
LAP_FUNCTION double lap_residue(double a, double b)
{
    const double difference = a - b, part = difference - a;
    return (a - (difference - part)) - (b + part);
}

/* ((lo + hi)/2 - x)/alpha. */
LAP_FUNCTION double lap_step_to_middle(double x, double lo, double hi, double alpha)
{
    const double left = x - lo, right = hi - x, more = right - left;
    double rest;
    if (!(left > 0.0 && right > 0.0) || isinf(left) || isinf(right))
        return lap_half_step(x, lo, alpha) + lap_half_step(x, hi, alpha);
    /* In a wide gap these two cancel, and what was rounded away is many alpha. */
    rest = (lap_residue(hi, x) - lap_residue(x, lo)) + lap_residue(right, left);
    return lap_half(more + rest, alpha);
}

/* (b - x)/alpha for the threshold b = (lo + hi)/2 + alpha u, which is never rounded to a double. */
LAP_FUNCTION double lap_offset(double lo, double hi, double u, double x, double alpha)
{
    if (isinf(u))
        return x == x ? u : x;
    if (lo == hi)
        return lap_step(x, lo, alpha) + u;
    return lap_step_to_middle(x, lo, hi, alpha) + u;
}

/* (q - p)/alpha >= 0 for two such thresholds p <= q. */
LAP_FUNCTION double lap_width(double p_lo, double p_hi, double p_u,
                              double q_lo, double q_hi, double q_u, double alpha)
{
    double width = lap_half_step(p_lo, q_lo, alpha) + lap_half_step(p_hi, q_hi, alpha);
    if (p_u != q_u)
        width += q_u - p_u;
    return width < 0.0 ? 0.0 : width;
}

/* (lo + hi)/2 + alpha u, rounded. */
LAP_FUNCTION double lap_threshold(double lo, double hi, double u, double alpha)
{
    double middle;
    if (lo == hi)
        middle = lo;
    else {
        middle = 0.5 * (lo + hi);
        if (isinf(middle))
            middle = 0.5 * lo + 0.5 * hi;
    }
    if (isinf(middle))
        return isinf(u) ? u : middle;
    if (isinf(alpha * u)) {
        middle = 0.5 * middle + 0.5 * alpha * u;
        return middle + middle;
    }
    return middle + alpha * u;
}

/* A level of S, infinite from the total weight on, which it may exceed by a small part of itself;
 * NaN outside [0, total]. */
LAP_FUNCTION double lap_level(double level, double total, double allowance)
{
    if (!(level >= 0.0 && level <= total * (1.0 + allowance)))
        return NAN;
    return level < total ? level : INFINITY;
}

LAP_FUNCTION double lap_cdf(double t)
{
    return t <= 0.0 ? 0.5 * exp(t) : 1.0 - 0.5 * exp(-t);
}

LAP_FUNCTION double lap_pdf(double t)
{
    return 0.5 * exp(-fabs(t));
}

LAP_FUNCTION double lap_logcdf(double t)
{
    return t <= 0.0 ? t - LAP_LOG2 : log1p(-0.5 * exp(-t)) + 0.0; /* log 1 is 0, not -0 */
}

/* d log F/dt = f/F; 1 - F is never formed. */
LAP_FUNCTION double lap_logcdf_slope(double t)
{
    double tail;
    if (t <= 0.0)
        return 1.0;
    tail = 0.5 * exp(-t);
    return tail / (1.0 - tail);
}

/* F(t1) - F(t0) across zero: t0 <= 0 <= t1. */
LAP_FUNCTION double lap_cdf_across(double t0, double t1)
{
    return -0.5 * expm1(t0) - 0.5 * expm1(-t1);
}

/* F(t1) - F(t0), with width = t1 - t0 >= 0 known better than the difference. */
LAP_FUNCTION double lap_cdf_difference(double t0, double t1, double width)
{
    if (t1 <= 0.0)
        return -0.5 * exp(t1) * expm1(-width);
    if (t0 >= 0.0)
        return -0.5 * exp(-t0) * expm1(-width);
    return lap_cdf_across(t0, t1);
}

/* The decay e^{-gap} from one node to the next.  Near one it is kept as expm1(-gap), whose sign
 * bit is set: a decay that rounds to 1 - eps at every node of a grid is a bias, not noise. */
LAP_FUNCTION double lap_decay(double gap)
{
    return gap < 0.5 ? expm1(-gap) : exp(-gap);
}

LAP_FUNCTION double lap_decay_value(double decay)
{
    return signbit(decay) ? 1.0 + decay : decay;
}

/* high + low + term, exact up to rounding in low (TwoSum); an infinite sum has no remainder. */
LAP_FUNCTION void lap_add(double term, double *high, double *low)
{
    double sum = *high + term, part = sum - *high;
    *low = isinf(sum) ? 0.0 : *low + ((*high - (sum - part)) + (term - part));
    *high = sum;
}

/* high + low <- value + decay (high + low): one step of A_m = c_m + e^{-gap} A_{m-1}.  For small
 * gaps the increment value + expm1(-gap) A is what is rounded, and adding it is compensated, so
 * that the error does not grow with the memory 1/gap of the recurrence. */
LAP_FUNCTION void lap_scan(double value, double decay, double *high, double *low)
{
    if (signbit(decay)) {
        double increment = value + *high * decay;
        *low += *low * decay;
        lap_add(increment, high, low);
    } else {
        *high = value + decay * (*high + *low);
        *low = 0.0;
    }
}

/* The root of S(b) = w between two neighbouring nodes.  excess = w - C is the level above the
 * weight of the left node and all below it, A and B the decaying sums at the left and the right
 * node, gap their distance over alpha (all of them dimensionless but the weights).
 *   side      which node anchors b: -1 left, +1 right, 0 the middle of both
 *   u         (b - anchor)/alpha
 *   left      e^{-(b - left node)/alpha};   right likewise
 *   q_left    (share of the left nodes in sum_j c_j e^{-|b - x_j|/alpha})/A;  q_right likewise
 *   density   alpha dS/db
 *   centre    sum_j q_j (b - x_j)/alpha if all left mass sat on the left node, all right on the right
 */
typedef struct {
    int side;
    double u, left, right, q_left, q_right, density, centre;
} lap_root;

LAP_FUNCTION lap_root lap_solve_below(double w, double B)
{
    lap_root root;
    root.side = 1;
    root.left = root.q_left = 0.0;
    root.right = 2.0 * (w / B);
    root.q_right = 1.0 / B;
    root.density = w;
    root.u = root.centre = log(root.right);
    return root;
}

LAP_FUNCTION lap_root lap_solve_above(double excess, double A)
{
    lap_root root;
    double rest = excess < 0.0 ? -excess : 0.0;
    root.side = -1;
    root.right = root.q_right = 0.0;
    root.left = 2.0 * (rest / A);
    root.q_left = 1.0 / A;
    root.density = rest;
    root.u = root.centre = -log(root.left);
    return root;
}

LAP_FUNCTION lap_root lap_solve_between(double excess, double A, double B, double gap)
{
    lap_root root;
    double h = sqrt(A) * sqrt(B) * exp(-0.5 * gap);
    double P, Q, s, ratio, skew; /* P = B right/2, Q = A left/2: P - Q = excess, P Q = h^2/4 */
    s = hypot(excess, h);
    if (excess > 0.0) {
        P = 0.5 * s + 0.5 * excess;
        Q = 0.25 * h * (h / P);
    } else if (excess < 0.0) {
        Q = 0.5 * s - 0.5 * excess;
        P = 0.25 * h * (h / Q);
    } else
        P = Q = 0.5 * h;
    root.left = 2.0 * (Q / A);
    root.right = 2.0 * (P / B);
    /* Where h underflows, so do P, Q and s, but in the middle of a gap both sides count alike. */
    root.q_left = (excess != 0.0 ? Q / s : 0.5) / A;
    root.q_right = (excess != 0.0 ? P / s : 0.5) / B;
    root.density = s;
    if (excess > h) {
        root.side = 1;
        root.u = log(root.right);
        skew = s > 0.0 && Q > 0.0 ? gap * (Q / s) : 0.0;
    } else if (excess < -h) {
        root.side = -1;
        root.u = -log(root.left);
        skew = s > 0.0 && P > 0.0 ? -gap * (P / s) : 0.0;
    } else {
        ratio = A / B;
        root.side = 0;
        root.u = 0.5 * (ratio > 0.0 && !isinf(ratio) ? log(ratio) : log(A) - log(B));
        if (excess != 0.0)
            root.u += asinh(excess / h);
        skew = excess != 0.0 ? -0.5 * gap * (excess / s) : 0.0;
    }
    root.centre = root.u + skew;
    return root;
}

#endif
