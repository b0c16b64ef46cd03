/* The first entry equal to entry m of the sorted lane that begins at `start`. */
template <typename X> __device__ ptrdiff_t lap_first(const X &x, ptrdiff_t start, ptrdiff_t m)
{
    ptrdiff_t low = 0, high = m;
    if (m == 0 || x[start + m - 1] != x[start + m])
        return m;
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        if (x[start + middle] < x[start + m])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many entries of an ascending lane are at most `value`. */
template <typename X, typename V>
__device__ ptrdiff_t lap_up_to(const X &x, ptrdiff_t start, ptrdiff_t length, V value)
{
    ptrdiff_t low = 0, high = length;
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        if (x[start + middle] <= value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* lap_scan for pairs, where a decay to nothing ends an infinite sum and no decay keeps it. */
__device__ void lap_carry(double value, double value_low, double gap, double &high, double &low)
{
    const double decay = lap_decay(gap);
    if (gap == 0.0)
        lap_add(value, &high, &low);
    else if (decay == 0.0) {
        high = value;
        low = 0.0;
    } else
        lap_scan(value, decay, &high, &low);
    low += value_low;
}

/* The root of S(b) = level among the nodes of the lane that begins at `start`: m are below. */
template <typename G, typename W, typename H, typename L, typename S, typename T>
__device__ lap_root lap_solve(double level, const G &gap, const W &weights, const H &high,
                              const L &low, const S &A, const T &B, ptrdiff_t start,
                              ptrdiff_t nodes, bool weighted, ptrdiff_t &m)
{
    // The level above the weight of the first nodes.
    const auto excess = [&](ptrdiff_t below) {
        if (below == 0)
            return level;
        const ptrdiff_t last = start + below - 1;
        return weighted ? (level - high[last]) - low[last] : level - below;
    };
    ptrdiff_t above = nodes;
    m = 0;
    while (m < above) {
        const ptrdiff_t middle = (m + above) / 2, at = start + middle;
        // Not S itself, which would round the small levels away.
        if (excess(middle) > 0.5 * ((B[at] - A[at]) + (weighted ? weights[at] : 1.0)))
            m = middle + 1;
        else
            above = middle;
    }
    return m == 0 ? lap_solve_below(level, B[start])
        : m == nodes ? lap_solve_above(excess(m), A[start + m - 1])
        : lap_solve_between(excess(m), A[start + m - 1], B[start + m], gap[start + m]);
}

/* (b_m - x)/alpha with b_{-1} = -inf and b_steps = inf around the thresholds of a lane. */
template <typename X>
__device__ double lap_bound(const X &lo, const X &hi, const X &u, ptrdiff_t start, ptrdiff_t m,
                            ptrdiff_t steps, double x, double alpha)
{
    if (m < 0)
        return -INFINITY;
    if (m >= steps)
        return INFINITY;
    return lap_offset(lo[start + m], hi[start + m], u[start + m], x, alpha);
}

/* What F((b - x)/alpha) of two rows, t = (b - x)/alpha, gives to b for their cotangents. */
__device__ double lap_flow(double bar, double below, double t)
{
    const double kernel = lap_pdf(t);
    return kernel == 0.0 ? 0.0 : (bar - below) * kernel;
}

/* The same for alpha: times (x - sum_k q_k x_k)/alpha, known from both neighbours of b. */
__device__ double lap_along(double flow, double x, double left, double right, double off_left,
                            double off_right, double alpha)
{
    if (flow == 0.0)
        return 0.0;
    return flow * (x <= left ? off_left + lap_step(left, x, alpha)
                             : off_right + lap_step(right, x, alpha));
}

/* The level that is a share q of the total, NaN outside (0, 1). */
__device__ double lap_share(double q, double total)
{
    return q > 0.0 && q < 1.0 ? q * total : NAN;
}

/* Whether no host would take an alpha, or weights with that sum. */
__device__ bool lap_refused(double alpha, double total)
{
    return !(alpha > 0.0) || isinf(alpha) || isnan(total);
}

/* The power of two that brings an extreme total of weights near one. */
__device__ int lap_exponent(double total)
{
    int exponent = 0;
    if (total > 0.0 && (total < 0x1p-960 || total > 0x1p1000))
        frexp(total, &exponent);
    return -exponent;
}

/* A float's bits as an integer of the same order; a NaN comes after all numbers. */
__device__ long long lap_ordered(double x)
{
    const long long bits = __double_as_longlong(x + 0.0);
    return isnan(x) ? 0x7ffffffffffffffeLL : bits ^ ((bits >> 63) & 0x7fffffffffffffffLL);
}

__device__ int lap_ordered(float x)
{
    const int bits = __float_as_int(x + 0.0f);
    return isnan(x) ? 0x7ffffffe : bits ^ ((bits >> 31) & 0x7fffffff);
}

/* And back. */
__device__ double lap_number(long long key)
{
    return __longlong_as_double(key ^ ((key >> 63) & 0x7fffffffffffffffLL));
}

__device__ double lap_number(int key)
{
    return (double)__int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

/* F(t) of Student's t over f(t): F(-t) where t is `outside`, F(t) - 1/2 where it is not.
 *
 * Both are incomplete beta functions; this is their continued fraction as DiDonato and Morris have
 * it (1992, ACM Transactions on Mathematical Software 18, algorithm 708), evaluated from the front. */
__device__ double lap_student(double t, double df, bool &outside)
{
    const double s = t / sqrt(df), square = s * s;
    const double near = s > 1e9 ? 1.0 : square / (1.0 + square), far = 1.0 / (1.0 + square);
    outside = near * (df + 5.0) > 3.0;
    const double a = outside ? 0.5 * df : 0.5, b = outside ? 0.5 : 0.5 * df;
    const double x = outside ? far : near, y = outside ? near : far;
    const double base = a * y - b * x + 1.0;
    double fraction = a * base / (a + 1.0), C = fraction, D = 0.0;
    for (int m = 1; m < 3000; ++m) {
        const double at = a + 2.0 * m - 1.0;
        const double above = (a + m - 1.0) / at * ((a + b + m - 1.0) / at) * m * (b - m) * x * x;
        const double below = m + m * (b - m) * x / at + (a + m) * (base + m * (2.0 - x)) / (at + 2.0);
        D = 1.0 / (below + above * D);
        C = below + above / C;
        fraction *= C * D;
        if (!(fabs(C * D - 1.0) > 4e-16))
            break;
    }
    return 0.5 * t / fraction;
}
