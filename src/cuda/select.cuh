/* Few thresholds a lane without sorting, for a GPU.  The text before this one is laplace.h, the device
 * functions of device.cuh, `real`, the type of the entries, and LAP_WEIGHTED, 0 or 1.
 *
 * The threshold lies in a bracket between two nodes.  Whatever is outside acts through three numbers:
 * the weight up to the lower node, and the decaying sums A at the lower and B at the upper one.  In a
 * round, seven entries from inside the bracket become candidates for its ends, and one pass sums what
 * lies between neighbouring candidates; S at each of them follows, and with it a bracket that holds
 * a small part of the entries.  The candidates surround the threshold of a sample of the entries
 * inside, scaled up.  A bracket with nothing inside has the closed form of laplace.h.
 *
 * A long lane is passed over by many blocks, one launch a round.  Each block of the next launch adds
 * up what all of them left, in the same order and so with the same result: between launches nothing
 * else has to wait.  In the last launch one block a lane goes on until nothing is inside.  Several
 * levels of a lane are solved side by side, as if each had a lane of its own.
 */

#define LAP_THREADS 128
#define LAP_CANDIDATES 7
#define LAP_BUCKETS (LAP_CANDIDATES + 1)
#define LAP_SEGMENTS 16 /* of the threads of a block: each adds up its own first */

/* What is known of a bucket (left end, right end], each a sum high + low. */
enum { LAP_COUNT, LAP_TIES, LAP_TIED, LAP_WEIGHT, LAP_A, LAP_B, LAP_SUMS };

typedef struct {
    double high, low;
} lap_pair;

typedef struct {
    double has_lo, has_hi, lo, hi; /* the bracket: S(lo) <= w < S(hi) */
    lap_pair weight;               /* of the entries up to lo */
    double A, B;                   /* sum c e^{-|x - end|/alpha} of those up to lo, and from hi on */
    double inside, mass;           /* number and weight of the entries strictly inside */
    double invalid;                /* is there a NaN? */
    double poor;                   /* did the last round leave much inside? */
    double chosen, candidates, at[LAP_CANDIDATES];
} lap_bracket;

/* What one block knows after its pass. */
typedef struct {
    lap_pair sums[LAP_BUCKETS][LAP_SUMS];
    double sample[LAP_BUCKETS][LAP_SEGMENTS]; /* index of an entry of the bucket, -1 for none */
    double invalid;
} lap_part;

/* What the host allocates, in doubles. */
static_assert(sizeof(lap_bracket) == 21 * sizeof(double), "_BRACKET_DOUBLES of selection.py");
static_assert(sizeof(lap_part) == 225 * sizeof(double), "_PART_DOUBLES of selection.py");

typedef struct {
    const real *x;
    const double *c;
    long long length;
    int exponent; /* of two, by which weights and level are multiplied */
    double sign, alpha, level;
} lap_lane;

__device__ __forceinline__ double lap_entry(const lap_lane &lane, long long at)
{
    return lane.sign * (double)lane.x[at] + 0.0; /* -0 is 0 */
}

__device__ __forceinline__ double lap_weight(const lap_lane &lane, long long at)
{
    if (!LAP_WEIGHTED)
        return 1.0;
    return lane.exponent == 0 ? lane.c[at] : ldexp(lane.c[at], lane.exponent);
}

__device__ __forceinline__ void lap_add_pair(lap_pair term, lap_pair &sum)
{
    lap_add(term.high, &sum.high, &sum.low);
    sum.low += term.low;
}

/* e^{-(to - from)/alpha} for from <= to. */
__device__ __forceinline__ double lap_reach(double from, double to, double alpha)
{
    return exp(-lap_step(from, to, alpha));
}

/* A number that has nothing to do with where an entry is, so that the largest is a fair sample. */
__device__ __forceinline__ unsigned lap_hash(long long at)
{
    unsigned h = (unsigned)at ^ (unsigned)(at >> 32) * 0x9e3779b9u;
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    return h ^ (h >> 16);
}

/* Sums the entries start, start + stride, ... of a lane into buckets. */
__device__ __forceinline__ void lap_pass(const lap_lane &lane, const lap_bracket &s, long long start,
                         long long stride, lap_pair sums[LAP_BUCKETS][LAP_SUMS],
                         long long sample[LAP_BUCKETS], int *invalid)
{
    unsigned best[LAP_BUCKETS];
    const int candidates = (int)s.candidates;
#pragma unroll
    for (int j = 0; j < LAP_BUCKETS; ++j) {
        best[j] = 0;
        sample[j] = -1;
        for (int q = 0; q < LAP_SUMS; ++q)
            sums[j][q].high = sums[j][q].low = 0.0;
    }
    for (long long at = start; at < lane.length; at += stride) {
        const double z = lap_entry(lane, at), c = lap_weight(lane, at);
        if (!(c > 0.0))
            continue;
        if (isnan(z)) {
            *invalid = 1; /* every thread that writes writes this */
            continue;
        }
        if ((s.has_lo != 0.0 && !(z > s.lo)) || (s.has_hi != 0.0 && !(z < s.hi)))
            continue;
        int bucket = 0;
        double left = s.lo, right = s.hi;
#pragma unroll
        for (int j = LAP_CANDIDATES - 1; j >= 0; --j)
            if (j < candidates && !(s.at[j] < z))
                right = s.at[j];
#pragma unroll
        for (int j = 0; j < LAP_CANDIDATES; ++j)
            if (j < candidates && s.at[j] < z) {
                bucket = j + 1;
                left = s.at[j];
            }
        const double a = bucket < candidates || s.has_hi != 0.0
            ? c * lap_reach(z, right, lane.alpha) : 0.0;
        const double b = bucket > 0 || s.has_lo != 0.0
            ? c * lap_reach(left, z, lane.alpha) : 0.0;
        const bool tie = bucket < candidates && z == right;
        const unsigned hash = lap_hash(at) | 1u;
#pragma unroll
        for (int j = 0; j < LAP_BUCKETS; ++j) /* by constant index, or the sums leave the registers */
            if (j == bucket) {
                sums[j][LAP_COUNT].high += 1.0;
                sums[j][LAP_TIES].high += tie ? 1.0 : 0.0;
                if (LAP_WEIGHTED) {
                    sums[j][LAP_TIED].high += tie ? c : 0.0;
                    lap_add(c, &sums[j][LAP_WEIGHT].high, &sums[j][LAP_WEIGHT].low);
                }
                lap_add(a, &sums[j][LAP_A].high, &sums[j][LAP_A].low);
                lap_add(b, &sums[j][LAP_B].high, &sums[j][LAP_B].low);
                if (hash > best[j]) {
                    best[j] = hash;
                    sample[j] = at;
                }
            }
    }
    if (!LAP_WEIGHTED) {
#pragma unroll
        for (int j = 0; j < LAP_BUCKETS; ++j) {
            sums[j][LAP_TIED] = sums[j][LAP_TIES];
            sums[j][LAP_WEIGHT] = sums[j][LAP_COUNT];
        }
    }
}

/* Narrows a bracket to one of its buckets, with no candidates yet. */
__device__ void lap_narrow(lap_bracket &s, const lap_pair sums[LAP_BUCKETS][LAP_SUMS],
                           const lap_lane &lane)
{
    const int candidates = (int)s.candidates;
    double beyond[LAP_BUCKETS], all = 0.0; /* sum c e^{-(x - candidate)/alpha} of the entries right of it */
    int j;
    beyond[candidates] = s.B;
    for (j = candidates - 1; j >= 0; --j) {
        const lap_pair b = sums[j + 1][LAP_B];
        beyond[j] = b.high + b.low;
        if (j + 1 < candidates || s.has_hi != 0.0)
            beyond[j] += beyond[j + 1]
                * lap_reach(s.at[j], j + 1 < candidates ? s.at[j + 1] : s.hi, lane.alpha);
    }
    for (j = 0; j < candidates; ++j) {
        lap_pair weight = s.weight;
        double A = sums[j][LAP_A].high + sums[j][LAP_A].low;
        if (s.has_lo != 0.0)
            A += s.A * lap_reach(s.lo, s.at[j], lane.alpha);
        lap_add_pair(sums[j][LAP_WEIGHT], weight);
        /* Not S itself, which would round the small levels away. */
        if ((lane.level - weight.high) - weight.low < 0.5 * (beyond[j] - A)) {
            s.has_hi = 1.0;
            s.hi = s.at[j];
            s.B = beyond[j] + sums[j][LAP_TIED].high;
            break;
        }
        s.has_lo = 1.0;
        s.lo = s.at[j];
        s.weight = weight;
        s.A = A;
    }
    for (int i = 0; i <= candidates; ++i)
        all += sums[i][LAP_COUNT].high;
    s.chosen = j;
    s.inside = sums[j][LAP_COUNT].high;
    s.poor = s.inside > 0.125 * all;
    s.mass = sums[j][LAP_WEIGHT].high + sums[j][LAP_WEIGHT].low;
    if (j < candidates) {
        s.inside -= sums[j][LAP_TIES].high;
        s.mass -= sums[j][LAP_TIED].high;
    }
    s.candidates = 0.0;
}

__device__ void lap_settle(lap_bracket &s, const lap_pair sums[LAP_BUCKETS][LAP_SUMS],
                           const lap_lane &lane, int invalid)
{
    lap_narrow(s, sums, lane);
    s.invalid = invalid;
    if (invalid)
        s.inside = 0.0; /* nothing more is to be done */
}

/* Candidates around the threshold of the sample z, c: one entry a thread, NaN for none.  `scale` is
 * the weight that each unit of the sample's stands for. */
__device__ void lap_propose(const lap_lane &lane, lap_bracket &s, const double *z, const double *c,
                            double *below, double scale)
{
    const int me = threadIdx.x, size = blockDim.x;
    int rank = 0, number = 0, under = 0;
    if (!isnan(z[me])) {
        double S = 0.0;
        for (int t = 0; t < size; ++t)
            if (!isnan(z[t])) {
                S += c[t] * lap_cdf(lap_step(z[t], z[me], lane.alpha));
                rank += z[t] < z[me] || (z[t] == z[me] && t < me);
            }
        S *= scale;
        if (s.has_lo != 0.0)
            S += s.weight.high - 0.5 * s.A * lap_reach(s.lo, z[me], lane.alpha);
        if (s.has_hi != 0.0)
            S += 0.5 * s.B * lap_reach(z[me], s.hi, lane.alpha);
        below[me] = S <= lane.level;
    } else
        below[me] = 0.0;
    __syncthreads();
    for (int t = 0; t < size; ++t) {
        number += !isnan(z[t]);
        under += below[t] != 0.0;
    }
    /* `under` is off by some half square root of the sample: a few ranks near it, a few farther.  A
     * few entries far out make S of the sample worth less than that: then even steps. */
    const double sd = 0.5 * sqrt((double)number);
    const int near = (int)(0.35 * sd), far = (int)sd, edge = (int)(2.6 * sd) + 1;
    const int offsets[LAP_CANDIDATES] = {-1 - edge, -1 - far, -1 - near, -1, near, far, edge};
    if (!isnan(z[me])) {
#pragma unroll
        for (int j = 0; j < LAP_CANDIDATES; ++j) {
            const int aim = s.poor != 0.0 ? (j + 1) * number / LAP_BUCKETS : under + offsets[j];
            if (rank == (aim < 0 ? 0 : aim < number ? aim : number - 1))
                s.at[j] = z[me];
        }
    }
    if (me == 0)
        s.candidates = number > 0 ? LAP_CANDIDATES : 0;
    __syncthreads();
}

__device__ __forceinline__ lap_pair lap_sum_segments(const lap_pair segments[LAP_SEGMENTS])
{
    lap_pair sum = segments[0];
    for (int t = 1; t < LAP_SEGMENTS; ++t)
        lap_add_pair(segments[t], sum);
    return sum;
}

/* Adds the sums of all threads up, and keeps a sample of each segment of them. */
__device__ __forceinline__ void lap_add_threads(lap_pair sums[LAP_BUCKETS][LAP_SUMS],
                                                const long long sample[LAP_BUCKETS],
                                                lap_pair slots[][LAP_SUMS],
                                                lap_pair halves[LAP_SUMS][LAP_SEGMENTS],
                                                double *taken, lap_part &part)
{
    const int me = threadIdx.x, size = blockDim.x, run = size / LAP_SEGMENTS;
#pragma unroll 1
    for (int j = 0; j < LAP_BUCKETS; ++j) {
#pragma unroll
        for (int b = 0; b < LAP_BUCKETS; ++b)
            if (b == j) {
#pragma unroll
                for (int q = 0; q < LAP_SUMS; ++q)
                    slots[me][q] = sums[b][q];
                taken[me] = (double)sample[b];
            }
        __syncthreads();
        for (int task = me; task < (LAP_SUMS + 1) * LAP_SEGMENTS; task += size) {
            const int q = task / LAP_SEGMENTS, segment = task % LAP_SEGMENTS;
            if (q < LAP_SUMS) {
                lap_pair sum = slots[segment * run][q];
                for (int t = 1; t < run; ++t)
                    lap_add_pair(slots[segment * run + t][q], sum);
                halves[q][segment] = sum;
            } else {
                double best = -1.0;
                for (int t = 0; t < run; ++t) {
                    const double one = taken[segment * run + t];
                    if (one >= 0.0
                        && (best < 0.0 || lap_hash((long long)one) > lap_hash((long long)best)))
                        best = one;
                }
                part.sample[j][segment] = best;
            }
        }
        __syncthreads();
        if (me < LAP_SUMS)
            part.sums[j][me] = lap_sum_segments(halves[me]);
    }
    __syncthreads();
}

/* One launch: first, in between, or last (both where one block a lane does it all).
 *
 * There are `steps` levels a lane, either `shares` of the total weight, and then a lane of no entries
 * has no threshold, or one, and then it has -inf.  The grid has `parts` blocks for each, and the
 * launch before had `before` of them.  Nothing is known of alpha and of the total (NaN: weights that
 * are refused).  `found` is (10, lanes, steps): lo, hi, u, the neighbours, q_left, q_right, density, b,
 * centre. */
extern "C" __global__ void __launch_bounds__(LAP_THREADS) lap_select(
    const real *x, const double *c, long long length, double sign, const double *alpha,
    const double *level, const double *total, double allowance, int steps, int shares, int first,
    int last, int parts, int before, const lap_bracket *brackets, const lap_part *known,
    lap_bracket *brackets_out, lap_part *out, double *found, unsigned char *invalid,
    unsigned char *absent)
{
    __shared__ lap_bracket s;
    __shared__ lap_part part;
    __shared__ lap_pair slots[LAP_THREADS][LAP_SUMS], halves[LAP_SUMS][LAP_SEGMENTS];
    __shared__ double z[LAP_THREADS], weight[LAP_THREADS], work[LAP_THREADS];
    __shared__ int spoilt;
    const int me = threadIdx.x, size = blockDim.x;
    const long long at = blockIdx.x / parts, at_part = blockIdx.x % parts, all = gridDim.x / parts;
    const long long at_lane = at / steps;
    const double weighs = LAP_WEIGHTED ? total[at_lane] : (double)length, scale_x = alpha[at_lane];
    const int exponent = LAP_WEIGHTED ? lap_exponent(weighs) : 0;
    const lap_lane lane = {x + at_lane * length, LAP_WEIGHTED ? c + at_lane * length : c, length,
                           exponent, sign, scale_x,
                           ldexp(shares ? lap_share(level[at], weighs)
                                        : lap_level(level[at], weighs, allowance), exponent)};
    const bool refused = lap_refused(scale_x, weighs);
    long long drawn = -1;
    double scale = 0.0;

    if (me == 0) {
        if (first) {
            s.has_lo = s.has_hi = s.lo = s.hi = s.weight.high = s.weight.low = s.A = s.B = 0.0;
            s.invalid = s.poor = s.mass = s.chosen = s.candidates = 0.0;
            for (int j = 0; j < LAP_CANDIDATES; ++j)
                s.at[j] = 0.0;
            s.inside = refused ? 0.0 : 1.0; /* or more */
        } else
            s = brackets[at];
        spoilt = 0;
    }
    __syncthreads();
    if (first) {
        /* One entry from each stretch of the lane. */
        const double share = (lap_hash(me) + 0.5) / 4294967296.0;
        drawn = length <= size ? me : (long long)((me + share) * ((double)length / size));
        drawn = drawn < length ? drawn : -1;
        scale = length <= size ? 1.0 : (double)length / size;
    } else if (s.inside > 0.0) {
        /* What the blocks of the launch before found out, together. */
        const lap_part *theirs = known + at * before;
        for (int j = 0; j < LAP_BUCKETS; ++j) {
            for (int task = me; task < LAP_SUMS * LAP_SEGMENTS; task += size) {
                const int q = task / LAP_SEGMENTS, segment = task % LAP_SEGMENTS;
                lap_pair sum = {0.0, 0.0};
                for (int b = segment; b < before; b += LAP_SEGMENTS)
                    lap_add_pair(theirs[b].sums[j][q], sum);
                halves[q][segment] = sum;
            }
            __syncthreads();
            if (me < LAP_SUMS)
                part.sums[j][me] = lap_sum_segments(halves[me]);
            __syncthreads();
        }
        for (int b = me; b < before; b += size)
            if (theirs[b].invalid != 0.0)
                spoilt = 1;
        __syncthreads();
        if (me == 0)
            lap_settle(s, part.sums, lane, spoilt);
        __syncthreads();
        const int chosen = (int)s.chosen;
        for (int slot = me; slot < before * LAP_SEGMENTS; slot += size) {
            const long long one =
                (long long)theirs[slot / LAP_SEGMENTS].sample[chosen][slot % LAP_SEGMENTS];
            if (one >= 0 && (drawn < 0 || lap_hash(one) > lap_hash(drawn)))
                drawn = one;
        }
    }
    for (bool fresh = first != 0;; fresh = false) {
        if (s.inside > 0.0) {
            const bool usable = drawn >= 0 && lap_weight(lane, drawn) > 0.0;
            z[me] = usable ? lap_entry(lane, drawn) : NAN;
            weight[me] = usable ? lap_weight(lane, drawn) : 0.0;
            __syncthreads();
            if (!fresh) {
                double total = 0.0;
                for (int t = 0; t < size; ++t)
                    total += weight[t];
                scale = s.mass / total;
            }
            lap_propose(lane, s, z, weight, work, scale);
        }
        if (!last && me == 0 && at_part == 0)
            brackets_out[at] = s;
        if (!(s.inside > 0.0))
            break;
        lap_pair sums[LAP_BUCKETS][LAP_SUMS];
        long long sample[LAP_BUCKETS];
        lap_pass(lane, s, at_part * size + me, (long long)parts * size, sums, sample, &spoilt);
        lap_add_threads(sums, sample, slots, halves, work, part);
        if (me == 0) {
            if (last)
                lap_settle(s, part.sums, lane, spoilt);
            else {
                part.invalid = spoilt;
                out[blockIdx.x] = part;
            }
        }
        if (!last)
            return;
        __syncthreads();
        drawn = -1;
#pragma unroll
        for (int j = 0; j < LAP_BUCKETS; ++j)
            if (j == (int)s.chosen)
                drawn = sample[j];
    }
    if (last && me == 0) {
        const double excess = (lane.level - s.weight.high) - s.weight.low;
        const bool below = s.has_lo != 0.0, above = s.has_hi != 0.0;
        const bool spoiled = s.invalid != 0.0 || refused, wrong = spoiled || isnan(lane.level);
        lap_root root;
        invalid[at] = shares ? spoiled : wrong;
        absent[at] = !wrong && !below && !above;
        if (below && above)
            root = lap_solve_between(excess, s.A, s.B, lap_step(s.lo, s.hi, lane.alpha));
        else if (above)
            root = lap_solve_below(lane.level, s.B);
        else if (below)
            root = lap_solve_above(excess, s.A);
        else {
            /* Nothing there: below everything, or nowhere. */
            root.side = 0;
            root.u = shares ? NAN : -INFINITY;
            root.q_left = root.q_right = root.density = root.centre = 0.0;
            s.lo = s.hi = 0.0;
        }
        if (wrong) {
            root.side = 0;
            s.lo = s.hi = root.u = root.q_left = root.q_right = root.density = root.centre = NAN;
        }
        found[at] = root.side > 0 ? s.hi : s.lo;
        found[all + at] = root.side < 0 ? s.lo : s.hi;
        found[2 * all + at] = root.u;
        found[3 * all + at] = below ? s.lo : NAN;
        found[4 * all + at] = above ? s.hi : NAN;
        found[5 * all + at] = root.q_left;
        found[6 * all + at] = root.q_right;
        found[7 * all + at] = root.density;
        found[8 * all + at] = lap_threshold(found[at], found[all + at], root.u, scale_x);
        found[9 * all + at] = root.centre;
    }
}
