/* Sums of lanes in twice the precision, for a GPU.  The text before this one is laplace.h.
 *
 * Each of `parts` blocks adds up what it meets of a lane, threads side by side, and then its threads
 * in a fixed order.  A second launch, one block a lane, does the same with what the blocks left.
 */

#define LAP_THREADS 256

/* The first launch has no low parts, and the last rounds instead of leaving any.  A negative weight
 * makes the sum NaN, and so does a sum of weights that overflows. */
extern "C" __global__ void __launch_bounds__(LAP_THREADS) lap_sums(
    const double *high, const double *low, long long length, int parts, int pairs, int last,
    int weights, double *sum, double *rest)
{
    __shared__ double above[LAP_THREADS], below[LAP_THREADS];
    const int me = threadIdx.x;
    const long long start = blockIdx.x / parts * length, part = blockIdx.x % parts;
    double a = 0.0, b = 0.0;
    for (long long m = part * blockDim.x + me; m < length; m += (long long)parts * blockDim.x) {
        const double value = high[start + m];
        lap_add(weights && !(value >= 0.0) ? NAN : value, &a, &b);
        if (pairs)
            b += low[start + m];
    }
    above[me] = a;
    below[me] = b;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (me < half) {
            lap_add(above[me + half], &above[me], &below[me]);
            below[me] += below[me + half];
        }
    }
    if (me == 0) {
        if (last)
            sum[blockIdx.x] = weights && isinf(above[0]) ? NAN : above[0] + below[0];
        else {
            sum[blockIdx.x] = above[0];
            rest[blockIdx.x] = below[0];
        }
    }
}
