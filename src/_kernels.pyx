# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Loops over lanes of float64 arrays; the formulas are in laplace.h.

Every array is (lanes, n), C-contiguous; `count[l]` nodes of lane l are in use, sorted ascending.
`key[l]` names the lane of the sources that lane l of the targets or the values belongs to.
Inputs are marked # IN and outputs # OUT.  Each call takes lanes start to stop, so that several
threads can share the lanes of one array.
"""

from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from _thread import start_new_thread

from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "laplace.h" nogil:
    ctypedef struct lap_root:
        int side
        double u, left, right, q_left, q_right, density, centre

    double lap_step(double, double, double)
    double lap_offset(double, double, double, double, double)
    double lap_threshold(double, double, double, double)
    double lap_level(double, double)
    double lap_cdf(double)
    double lap_pdf(double)
    double lap_logcdf(double)
    double lap_logcdf_slope(double)
    double lap_cdf_difference(double, double, double)
    double lap_decay_value(double)
    void lap_add(double, double*, double*)
    void lap_scan(double, double, double*, double*)
    lap_root lap_solve_below(double, double)
    lap_root lap_solve_above(double, double)
    lap_root lap_solve_between(double, double, double, double)

cdef extern from "simd/scan.h" nogil:
    ctypedef struct lap_two:
        pass
    lap_two lap_both(double, double)
    double lap_first(lap_two)
    double lap_second(lap_two)
    lap_two lap_total(lap_two, lap_two)
    void lap_scan_two(lap_two, lap_two, lap_two*, lap_two*)

cdef extern from "simd/loops.h" nogil:
    ctypedef struct lap_pair:
        double high, low

    ctypedef struct lap_anchored:
        double lo, hi, u, density, left, right

    ctypedef struct lap_pulled:
        lap_pair h, along

    enum:
        LAP_EDGES

    ctypedef struct lap_edges:
        double *index
        double *lo
        double *hi
        double *u
        double *place
        double *before
        double *after

    ctypedef struct lap_table:
        const char *name
        void (*exp)(const double*, ptrdiff_t, double*) noexcept nogil
        void (*add_up)(const double*, ptrdiff_t, double*) noexcept nogil
        void (*decays)(const double*, ptrdiff_t, double*) noexcept nogil
        void (*steps)(const double*, const double*, ptrdiff_t, double, double*) noexcept nogil
        void (*levels_up_to)(const double*, const double*, ptrdiff_t, ptrdiff_t, double,
                             double*) noexcept nogil
        void (*solve)(const double*, const double*, const double*, const ptrdiff_t*, ptrdiff_t,
                      const double*, double, signed char*, double*, double*, int,
                      ptrdiff_t) noexcept nogil
        void (*thresholds)(const double*, const double*, const double*, ptrdiff_t, double,
                           double*) noexcept nogil
        void (*shares)(const lap_edges*, ptrdiff_t, double, double*) noexcept nogil
        void (*insides)(const lap_edges*, const int64_t*, const double*, ptrdiff_t, double,
                        double*) noexcept nogil
        void (*widths)(const double*, const double*, const double*, ptrdiff_t, double,
                       double*) noexcept nogil

    const lap_table *lap_find_table(const char*)

cdef extern from "lanes/search.h" nogil:
    ctypedef void (*lap_task)(void*, ptrdiff_t) noexcept nogil

    ctypedef struct lap_runner:
        void (*run)(const lap_runner*, lap_task, void*, ptrdiff_t) noexcept nogil

    ctypedef struct lap_selected:
        lap_root root
        double left_node, right_node
        int copied

    ctypedef struct lap_lane:
        const lap_table *table
        const lap_runner *runner
        const void *x
        void *copy
        int single
        const double *c
        ptrdiff_t n
        double sign, alpha

    int lap_select(const lap_lane*, double, double, void*, double*, lap_selected*)
    void lap_lane_copy(const lap_lane*)
    void lap_lane_cdf(const lap_lane*, const lap_anchored*, int, void*)
    void lap_lane_pull(const lap_lane*, const lap_anchored*, const void*, int, double*, void*,
                       lap_pulled*)
    void lap_lane_push(const lap_lane*, const lap_anchored*, const double*, double, double, int,
                       double*)
    const int LAP_FEW
    void lap_lane_softmax(const lap_lane*, const lap_anchored*, int, const double*, const double*,
                          void*, lap_pulled*)

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define AHEAD(p, write) __builtin_prefetch(p, write)
    #else
    #define AHEAD(p, write) ((void)(p))
    #endif
    #define DISTANCE 24 /* entries: what random access waits for is then there */
    """
    void AHEAD(const void*, int) nogil
    const Py_ssize_t DISTANCE

cdef extern from "math.h" nogil:
    double exp(double)
    double expm1(double)
    double INFINITY
    double NAN


cdef enum:
    PARTS = 256                         # at most, of a long lane
    CELLS = 4096
    LINE = 8                            # entries of a line of the cache
    DIGIT = 11                          # bits, of which RADIX is the number of values
    RADIX = 2048
    DIGITS = 6                          # of an integer, the first of 9 bits
    BLOCK = 256                         # what fits into the nearest cache several times

    FACTORS = 1536                      # six blocks
    GROUP = 32                          # columns of a matrix
    DENSITIES = 4000000                 # of floats, 32 MB: more are sooner computed again than kept

ctypedef fused entry:                   # floats are read as they are, and results rounded once
    float
    double


cdef const lap_table *_table = NULL


def choose(str level):
    """Take the loops of a SIMD level, "" for the best that this processor has; return its name."""
    global _table
    cdef bytes name = level.encode()
    cdef const lap_table *table = lap_find_table(name)
    if table is NULL:
        return None
    _table = table
    return table.name.decode()


# ------------------------------------------------------------------------------- sorted sources

# Random access goes through loops that do nothing else: many entries are then on their way at once.

cdef inline void _gather(
    const double *values, const Py_ssize_t *order, Py_ssize_t b, Py_ssize_t size, Py_ssize_t n,
    entry *out,
) noexcept nogil:
    """out[m] = values[order[b + m]] for m below size; there are n in order."""
    cdef Py_ssize_t m, some = max(0, min(size, n - b - DISTANCE))
    for m in range(some):
        AHEAD(&values[order[b + m + DISTANCE]], 0)
        out[m] = <entry>values[order[b + m]]
    for m in range(some, size):
        out[m] = <entry>values[order[b + m]]


cdef inline void _scatter(
    const double *values, const Py_ssize_t *order, Py_ssize_t b, Py_ssize_t size, Py_ssize_t n,
    entry *out,
) noexcept nogil:
    """out[order[b + m]] = values[m], the same way back."""
    cdef Py_ssize_t m, some = max(0, min(size, n - b - DISTANCE))
    for m in range(some):
        AHEAD(&out[order[b + m + DISTANCE]], 1)
        out[order[b + m]] = <entry>values[m]
    for m in range(some, size):
        out[order[b + m]] = <entry>values[m]


cdef inline void _distribute(
    const entry *values, const unsigned char *part, const Py_ssize_t *first, Py_ssize_t n,
    double *out,
) noexcept nogil:
    """Bring values part by part, each in the order given; part p begins at first[p]."""
    cdef Py_ssize_t next[PARTS]
    cdef Py_ssize_t i, to
    memcpy(next, first, sizeof(next))
    for i in range(n):
        to = next[part[i]]
        next[part[i]] = to + 1
        AHEAD(&out[to + LINE], 1)
        out[to] = values[i]


cdef inline void _collect(
    const double *values, const unsigned char *part, const Py_ssize_t *first, Py_ssize_t n,
    entry *out,
) noexcept nogil:
    """Undo `_distribute`."""
    cdef Py_ssize_t next[PARTS]
    cdef Py_ssize_t i, at
    memcpy(next, first, sizeof(next))
    for i in range(n):
        at = next[part[i]]
        next[part[i]] = at + 1
        AHEAD(&values[at + LINE], 0)
        out[i] = <entry>values[at]


cdef inline uint64_t _ordered(double x) noexcept nogil:
    """Bits that are ordered as x is, for x that is no NaN."""
    cdef uint64_t bits
    x += 0.0                            # -0.0 and 0.0 are a tie
    memcpy(&bits, &x, 8)
    return bits ^ (<uint64_t>(-<int64_t>(bits >> 63)) | (<uint64_t>1 << 63))


cdef inline double _value(uint64_t bits, uint64_t mask) noexcept nogil:
    """Undo `_ordered`, of a float whose bits in a mask are zeros."""
    cdef double x
    bits = (bits ^ (((bits >> 63) - 1) | (<uint64_t>1 << 63))) & ~mask
    memcpy(&x, &bits, 8)
    return x


def pack(
    const entry[:, ::1] x,              # IN
    const double[:, ::1] weights,       # IN  None: ones
    int width,                          # IN  bits of an index
    uint64_t[:, ::1] keys,              # OUT leading bits of x, then its index; absent ones last
    Py_ssize_t[::1] count,              # OUT entries of non-zero weight, 0 if one is NaN
    unsigned char[::1] invalid,         # OUT whether one is NaN
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, none, n = x.shape[1]
    cdef uint64_t mask = (<uint64_t>1 << width) - 1
    cdef bint absent
    with nogil:
        for l in range(start, stop):
            invalid[l] = 0
            none = 0
            for i in range(n):
                keys[l, i] = (_ordered(x[l, i]) & ~mask) | i
                none += x[l, i] != x[l, i]
            if none > 0 or weights is not None:
                none = 0
                for i in range(n):
                    absent = weights is not None and weights[l, i] == 0.0
                    if absent or x[l, i] != x[l, i]:
                        invalid[l] |= not absent
                        keys[l, i] = ~mask | i
                        none += 1
            count[l] = 0 if invalid[l] else n - none


cdef inline Py_ssize_t _cell(double x, double low, double rate) noexcept nogil:
    """One of CELLS cells, each between the same two values, whatever low and rate are."""
    cdef double t = (x - low) * rate
    t = t if t > 0.0 else 0.0           # of a NaN too
    return <Py_ssize_t>(t if t < CELLS - 1 else CELLS - 1)


def distribute(
    const entry[:, ::1] x,              # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] sample,        # IN  of x, sorted
    int parts,                          # IN
    unsigned char[:, ::1] part,         # OUT ascending with x; absent ones are in part `parts`
    Py_ssize_t[:, ::1] first,           # OUT where each part begins; n beyond the last
    double[:, ::1] out,                 # OUT x, part by part
    Py_ssize_t[::1] count,              # OUT as for `pack`
    unsigned char[::1] invalid,         # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Parts are unions of cells, and get as many entries of the sample each as these let them."""
    cdef Py_ssize_t l, i, p, below, n = x.shape[1], size = sample.shape[1], total
    cdef Py_ssize_t count_of[PARTS]
    cdef unsigned char part_of[CELLS]
    cdef double low, rate
    with nogil:
        for l in range(start, stop):
            # What half a part holds may be far away, on each side.
            low = sample[l, size // (2 * parts)]
            rate = CELLS / (sample[l, size - 1 - size // (2 * parts)] - low)
            i = 0
            for p in range(CELLS):
                below = i
                while i < size and _cell(sample[l, i], low, rate) == p:
                    i += 1
                part_of[p] = <unsigned char>((below + i) * parts // (2 * size + 1))
            invalid[l] = 0
            memset(count_of, 0, sizeof(count_of))
            for i in range(n):
                p = part_of[_cell(x[l, i], low, rate)]
                if x[l, i] != x[l, i] or (weights is not None and weights[l, i] == 0.0):
                    p = parts
                    invalid[l] |= weights is None or weights[l, i] != 0.0
                part[l, i] = <unsigned char>p
                count_of[p] += 1
            count[l] = 0 if invalid[l] else n - count_of[parts]
            total = 0
            for p in range(PARTS):
                first[l, p] = total
                total += count_of[p]
            _distribute(&x[l, 0], &part[l, 0], &first[l, 0], n, &out[l, 0])


def sort(
    int width,                          # IN  bits at the end; they ascend where the others agree
    uint64_t[:, ::1] keys,              # IN  fewer than 2^32; OUT sorted
    Py_ssize_t start, Py_ssize_t stop,
):
    """Sort by digits, from the last to the first that differs."""
    cdef Py_ssize_t l, i, n = keys.shape[1]
    cdef uint32_t counts[DIGITS][RADIX]
    cdef uint32_t count, total
    cdef uint64_t differ, key
    cdef uint64_t *here
    cdef uint64_t *there
    cdef int digits, d, shift
    cdef uint64_t *scratch = <uint64_t*>malloc((n + 1) * sizeof(uint64_t))
    if scratch is NULL:
        raise MemoryError
    with nogil:
        for l in range(start, stop):
            here, there = &keys[l, 0], scratch
            differ = 0
            for i in range(n):
                differ |= here[i] ^ here[0]
            digits = 0
            while digits < DIGITS and differ >> width >> (digits * DIGIT):
                digits += 1
            memset(counts, 0, digits * sizeof(counts[0]))
            for i in range(n):
                key = here[i] >> width
                for d in range(digits):
                    counts[d][key & (RADIX - 1)] += 1
                    key >>= DIGIT
            for d in range(digits):
                shift = width + d * DIGIT
                if counts[d][(here[0] >> shift) & (RADIX - 1)] == n:
                    continue
                total = 0
                for i in range(RADIX):
                    count = counts[d][i]
                    counts[d][i] = total
                    total += count
                for i in range(n):
                    key = here[i]
                    there[counts[d][(key >> shift) & (RADIX - 1)]] = key
                    counts[d][(key >> shift) & (RADIX - 1)] += 1
                here, there = there, here
            if here != &keys[l, 0]:
                memcpy(&keys[l, 0], here, n * sizeof(uint64_t))
    free(scratch)


def repack(
    const double[:, ::1] x,             # IN  ordered by their leading bits
    const Py_ssize_t[::1] count,        # IN
    int width,                          # IN
    uint64_t[:, ::1] keys,              # IN  the indices; OUT where equal leading bits start, the
    Py_ssize_t start, Py_ssize_t stop,  #     other bits, the index
):
    cdef Py_ssize_t l, m
    cdef uint64_t mask = (<uint64_t>1 << width) - 1, bits, lead, last, first
    with nogil:
        for l in range(start, stop):
            first = last = 0
            for m in range(x.shape[1]):
                bits = ~<uint64_t>0 if m >= count[l] else _ordered(x[l, m])
                lead = bits >> width
                if m == 0 or lead != last:
                    first = m
                    last = lead
                keys[l, m] |= ((first << width) | (bits & mask)) << width


def unpack(
    const entry[:, ::1] x,              # IN
    int width,                          # IN
    bint whole,                         # IN  whether the leading bits are all there are but zeros
    const Py_ssize_t[::1] count,        # IN  as `pack` returns it
    uint64_t[:, ::1] keys,              # IN  sorted; OUT the indices
    double[:, ::1] out,                 # OUT x in that order
    unsigned char[::1] unsorted,        # OUT whether the leading bits left much out of order
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m, i, n = x.shape[1], moves, first, done = 0
    cdef uint64_t mask = (<uint64_t>1 << width) - 1, index, lead, last
    cdef double v
    with nogil:
        for l in range(start, stop):
            if whole:
                done = count[l]
                for m in range(done):
                    out[l, m] = _value(keys[l, m], mask)
                    keys[l, m] &= mask
            for m in range(done, n - DISTANCE):
                AHEAD(&x[l, <Py_ssize_t>(keys[l, m + DISTANCE] & mask)], 0)
                out[l, m] = x[l, <Py_ssize_t>(keys[l, m] & mask)]
            for m in range(max(done, n - DISTANCE), n):
                out[l, m] = x[l, <Py_ssize_t>(keys[l, m] & mask)]
            moves = n // 4 + 16
            first = done
            last = 0
            m = done
            while m < count[l] and moves > 0:     # absent entries, which come last, need no order
                lead = keys[l, m] >> width
                index = keys[l, m] & mask
                keys[l, m] = index
                if m == done or lead != last:
                    first = m
                    last = lead
                elif out[l, m] < out[l, m - 1]:
                    v = out[l, m]
                    i = m
                    while i > first and v < out[l, i - 1] and moves > 0:
                        out[l, i] = out[l, i - 1]
                        keys[l, i] = keys[l, i - 1]
                        i -= 1
                        moves -= 1
                    out[l, i] = v
                    keys[l, i] = index
                m += 1
            for m in range(m, n):
                keys[l, m] &= mask
            unsorted[l] = moves == 0


# An order is the places, after `distribute`, of what is in order, with what `distribute` wrote, or
# None twice where a lane is short and nothing was distributed.

cdef struct _order:                     # of one lane
    const Py_ssize_t *places
    const unsigned char *part           # NULL for None
    const Py_ssize_t *first
    Py_ssize_t n


cdef inline _order _order_of(
    const Py_ssize_t[:, ::1] places, const unsigned char[:, ::1] part,
    const Py_ssize_t[:, ::1] first, Py_ssize_t l,
) noexcept nogil:
    if part is None:
        return _order(&places[l, 0], NULL, NULL, places.shape[1])
    return _order(&places[l, 0], &part[l, 0], &first[l, 0], places.shape[1])


cdef inline void _sort(
    const double *values, _order order, double *scratch, entry *out,
) noexcept nogil:
    """Bring values into an order; scratch is used if there are parts."""
    if order.part is not NULL:
        _distribute(values, order.part, order.first, order.n, scratch)
        values = scratch
    _gather(values, order.places, 0, order.n, order.n, out)


cdef inline void _unsort(
    const double *values, _order order, double *scratch, entry *out,
) noexcept nogil:
    """Undo `_sort`."""
    if order.part is NULL:
        _scatter(values, order.places, 0, order.n, order.n, out)
    else:
        _scatter(values, order.places, 0, order.n, order.n, scratch)
        _collect(scratch, order.part, order.first, order.n, out)


def rearrange(
    const double[:, ::1] values,        # IN
    const Py_ssize_t[:, ::1] places,    # IN  an order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] key,          # IN  lane of the order, None: one's own
    bint back,                          # IN
    double[:, ::1] scratch,             # None without parts
    entry[:, ::1] out,                  # OUT values in that order, or brought back from it
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef double *other = NULL
    cdef _order order
    with nogil:
        for l in range(start, stop if values.shape[1] > 0 else start):
            order = _order_of(places, part, first, l if key is None else key[l])
            if scratch is not None:
                other = &scratch[l, 0]
            if back:
                _unsort(&values[l, 0], order, other, &out[l, 0])
            else:
                _sort(&values[l, 0], order, other, &out[l, 0])


def gaps(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT (x[m] - x[m-1])/alpha; inf where there is no pair
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    with nogil:
        for l in range(start, stop):
            if count[l] > 0:
                out[l, 0] = INFINITY
                _table.steps(&x[l, 0], &x[l, 0] + 1, count[l] - 1, alpha[l], &out[l, 0] + 1)
            for m in range(count[l], x.shape[1]):
                out[l, m] = INFINITY


def decays(
    const double[:, ::1] gap,           # IN
    double[:, ::1] out,                 # OUT lap_decay(gap)
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    with nogil:
        for l in range(start, stop):
            if gap.shape[1] > 0:
                _table.decays(&gap[l, 0], gap.shape[1], &out[l, 0])


def scan(
    const double[:, ::1] decay,         # IN  None: no decay, plain running sums
    const double[:, ::1] values,        # IN  None: ones
    const Py_ssize_t[::1] key,          # IN  lane of decay
    bint reverse,                       # IN
    double[:, ::1] out,                 # OUT out[m] = values[m] + e^{-gap[m]} out[m-1], or mirrored
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, m, n = out.shape[1]
    cdef bint unit = values is None, plain = decay is None
    cdef double high, low, value, factor
    with nogil:
        for l in range(start, stop):
            high = low = 0.0
            for i in range(n):
                m = n - 1 - i if reverse else i
                value = 1.0 if unit else values[l, m]
                if plain:
                    lap_add(value, &high, &low)
                else:
                    factor = 0.0
                    if i > 0:
                        factor = decay[key[l], m + 1 if reverse else m]
                    lap_scan(value, factor, &high, &low)
                out[l, m] = high + low


def scan_both(
    const double[:, ::1] gap,           # IN
    const double[:, ::1] values,        # IN  None: ones
    const Py_ssize_t[::1] key,          # IN  lane of gap
    double[:, ::1] left,                # OUT scan(values), not reversed
    double[:, ::1] right,               # OUT and reversed
    Py_ssize_t start, Py_ssize_t stop,
):
    """The two directions do not wait for each other: together they take hardly longer than one."""
    cdef Py_ssize_t l, m, k, b, size, n = left.shape[1]
    cdef double ahead[BLOCK]
    cdef double back[BLOCK]
    cdef double first_high, first_low, last_high, last_low
    cdef lap_two high, low, high_before, low_before, sum, value = lap_both(1.0, 1.0)
    with nogil:
        for l in range(start, stop if n > 0 else start):
            if values is not None:
                value = lap_both(values[l, 0], values[l, n - 1])
            left[l, 0] = lap_first(value)
            right[l, n - 1] = lap_second(value)
            high, low = value, lap_both(0.0, 0.0)
            b = 1
            while b < n:
                size = BLOCK if b + BLOCK < n else n - b
                _table.decays(&gap[key[l], b], size, ahead)
                _table.decays(&gap[key[l], n - b - size + 1], size, back)
                high_before, low_before = high, low
                for m in range(size):
                    k = n - 1 - (b + m)
                    if values is not None:
                        value = lap_both(values[l, b + m], values[l, k])
                    lap_scan_two(value, lap_both(ahead[m], back[size - 1 - m]), &high, &low)
                    sum = lap_total(high, low)
                    left[l, b + m] = lap_first(sum)
                    right[l, k] = lap_second(sum)
                if values is not None and not (isfinite(lap_first(high))
                                               and isfinite(lap_second(high))):
                    # A sum is infinite, or NaN, and stays so: once more, with care.
                    first_high, last_high = lap_first(high_before), lap_second(high_before)
                    first_low, last_low = lap_first(low_before), lap_second(low_before)
                    for m in range(size):
                        k = n - 1 - (b + m)
                        lap_scan(values[l, b + m], ahead[m], &first_high, &first_low)
                        lap_scan(values[l, k], back[size - 1 - m], &last_high, &last_low)
                        left[l, b + m] = first_high + first_low
                        right[l, k] = last_high + last_low
                    high, low = lap_both(first_high, last_high), lap_both(first_low, last_low)
                b += size


cdef inline Py_ssize_t _up_to(
    const double[:, ::1] x, Py_ssize_t l, Py_ssize_t count, double value
) noexcept nogil:
    """How many of the first entries of a lane, ascending, are at most `value`."""
    cdef Py_ssize_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if x[l, middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


def ranks(
    const double[:, ::1] x,             # IN  sorted sources, absent ones last
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] high,          # IN  running sums of the weights as pairs
    const double[:, ::1] low,           # IN
    const double[:, ::1] left,          # IN  scans of the weights
    const double[:, ::1] right,         # IN
    double[:, ::1] scratch,             # None without parts
    entry[:, ::1] out,                  # OUT 1/2 + S at the sources, in the caller's order
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m, i, b, size, n = gap.shape[1]
    cdef double y = 0.0
    cdef double some[BLOCK]
    cdef bint unit = weights is None
    with nogil:
        for l in range(start, stop if n > 0 else start):
            b = 0
            while b < count[l]:
                size = BLOCK if b + BLOCK < count[l] else count[l] - b
                for m in range(b, b + size):
                    if gap[l, m] != 0.0:    # else a tie, which has one rank
                        if unit:
                            y = (m + 1) + 0.5 * (right[l, m] - left[l, m])
                        else:
                            y = 0.5 * (((right[l, m] - weights[l, m]) - left[l, m]) + 1.0)
                            y = high[l, m] + (low[l, m] + y)
                    some[m - b] = y
                if part is None:
                    _scatter(some, &places[l, 0], b, size, n, &out[l, 0])
                else:
                    _scatter(some, &places[l, 0], b, size, n, &scratch[l, 0])
                b += size
            for m in range(count[l], n):
                i = _up_to(x, l, count[l], x[l, m])
                if i > 0 and x[l, i - 1] == x[l, m]:
                    i = places[l, i - 1]
                    y = out[l, i] if part is None else scratch[l, i]
                else:
                    y = 0.5
                    if i < count[l]:
                        y += 0.5 * right[l, i] * exp(-lap_step(x[l, m], x[l, i], alpha[l]))
                    if i > 0:
                        y -= 0.5 * left[l, i - 1] * exp(-lap_step(x[l, i - 1], x[l, m], alpha[l]))
                        y = high[l, i - 1] + (low[l, i - 1] + y)
                    y = y if x[l, m] == x[l, m] else NAN
                if part is None:
                    out[l, places[l, m]] = <entry>y
                else:
                    scratch[l, places[l, m]] = y
            if part is not None:
                _collect(&scratch[l, 0], &part[l, 0], &first[l, 0], n, &out[l, 0])


def moments(
    const double[:, ::1] decay,         # IN
    const double[:, ::1] step,          # IN  v[m] - v[m-1] at m
    const double[:, ::1] base,          # IN  scan(w) in the same direction
    const Py_ssize_t[::1] key,          # IN  lane of decay and step
    bint reverse,                       # IN
    double[:, ::1] out,                 # OUT sum_j w_j e^{-|x_m - x_j|/alpha} |v_m - v_j|, signed
    Py_ssize_t start, Py_ssize_t stop,
):
    """The differences v_m - v_j (j below m, or v_j - v_m above), weighted by the kernel."""
    cdef Py_ssize_t l, i, m, at, n = out.shape[1]
    cdef double high, low, factor, value
    with nogil:
        for l in range(start, stop):
            high = low = 0.0
            for i in range(n):
                m = n - 1 - i if reverse else i
                if i > 0:
                    at = m + 1 if reverse else m
                    factor = lap_decay_value(decay[key[l], at])
                    value = 0.0
                    if factor != 0.0:
                        value = factor * step[key[l], at] * base[l, m + 1 if reverse else m - 1]
                    lap_scan(value, decay[key[l], at], &high, &low)
                out[l, m] = high + low


cdef inline void _give_back(
    const double *values, const double *x, double factor, double divisor, _order order,
    double *scratch, double *out,
) noexcept nogil:
    """`_unsort` of factor times values over divisor, 0 where x, which is sorted, is infinite."""
    cdef double some[BLOCK]
    cdef double *to = out if order.part is NULL else scratch
    cdef Py_ssize_t i, b = 0, size, n = order.n, low = 0, high = n
    while low < n and x[low] == -INFINITY:
        low += 1
    while high > 0 and x[high - 1] == INFINITY:
        high -= 1
    while b < n:
        size = BLOCK if b + BLOCK < n else n - b
        for i in range(size):
            some[i] = factor * values[b + i] / divisor
        for i in range(b, min(b + size, low)):
            some[i - b] = 0.0
        for i in range(max(b, high), b + size):
            some[i - b] = 0.0
        _scatter(some, order.places, b, size, n, to)
        b += size
    if order.part is not NULL:
        _collect(scratch, order.part, order.first, n, out)


cdef inline double _flux(double gap, double decay, double before_b, double a_after) noexcept nogil:
    """What passes a gap in sum_ij e^{-|x_i - x_j|/alpha} (v_j - v_i), times the gap."""
    cdef double value = lap_decay_value(decay)
    return gap * (value * a_after + before_b) if value != 0.0 else 0.0


def pull_ranks(
    const double[:, ::1] x,             # IN  sorted sources, of weight one
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN  all of them, or none
    const double[:, ::1] A,             # IN  scans of ones
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    double sign,                        # IN
    const double[:, ::1] bar,           # IN  finite cotangent, in the caller's order
    double[:, ::1] scratch,
    double[:, ::1] x_bar,               # OUT sign sum_j K_ij (bar_i - bar_j), caller's order
    double[::1] alpha_bar,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """In differences of the cotangent nothing cancels; nor does the flux of them through each gap,
    which is what alpha feels."""
    cdef Py_ssize_t l, i, k, m, b, size, n = x.shape[1]
    cdef double ahead[BLOCK]
    cdef double back[BLOCK + 1]
    cdef double before, after, total, rest, value
    cdef lap_two high, low, sum
    cdef double *v
    cdef double *out
    cdef const double *rise
    cdef const double *fall
    cdef _order order
    with nogil:
        for l in range(start, stop):
            alpha_bar[l] = 0.0
            if count[l] == 0:
                for m in range(n):
                    x_bar[l, m] = 0.0
                continue
            v = &x_bar[l, 0] if part is None else &scratch[l, 0]
            out = &scratch[l, 0] if part is None else &x_bar[l, 0]
            order = _order_of(places, part, first, l)
            _sort(&bar[l, 0], order, out, v)
            total = rest = out[0] = out[n - 1] = 0.0
            high = low = lap_both(0.0, 0.0)
            b = 1
            while b < n:
                # The scans meet in the middle: until then each entry gets what the first of them
                # brings, then the difference to what the other brings.
                size = BLOCK if b + BLOCK < n else n - b
                if b <= (n - 2) // 2 < b + size - 1:
                    size = (n - 2) // 2 - b + 1
                m = n - b - size
                _table.decays(&gap[l, b], size, ahead)
                _table.decays(&gap[l, m], size + 1, back)
                rise = v + b
                fall = v + m
                value = 0.0
                for i in range(size):
                    k = b + i
                    before = lap_decay_value(ahead[i]) * ((rise[i] - rise[i - 1]) * A[l, k - 1])
                    m = size - i
                    after = lap_decay_value(back[m]) * ((fall[m] - fall[m - 1]) * B[l, n - k])
                    lap_scan_two(lap_both(before, after), lap_both(ahead[i], back[m]), &high, &low)
                    sum = lap_total(high, low)
                    before, after = lap_first(sum), lap_second(sum)
                    m = n - 1 - k
                    if k < m:
                        out[k] = before
                        out[m] = after
                        continue
                    if k == m:
                        out[k] = after
                    value += _flux(gap[l, k], ahead[i], before * B[l, k], A[l, k - 1] * out[k])
                    out[k] = before - out[k]
                    if k > m:
                        if m > 0:
                            value += _flux(gap[l, m], back[size - 1 - i], out[m] * B[l, m],
                                           A[l, m - 1] * after)
                        out[m] -= after
                lap_add(value, &total, &rest)
                b += size
            alpha_bar[l] = -0.5 * (total + rest) / alpha[l]  # 2 alpha may overflow
            _give_back(out, &x[l, 0], 0.5 * sign, alpha[l], order, v, &x_bar[l, 0])


def cumulate(
    const double[:, ::1] values,        # IN
    double[:, ::1] high,                # OUT running sums as unevaluated pairs
    double[:, ::1] low,                 # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    cdef double hi, lo
    with nogil:
        for l in range(start, stop):
            hi = lo = 0.0
            for m in range(values.shape[1]):
                lap_add(values[l, m], &hi, &lo)
                high[l, m] = hi
                low[l, m] = lo


def totals(
    const double[:, ::1] values,        # IN  non-negative
    double[::1] out,                    # OUT correctly rounded sums
    Py_ssize_t start, Py_ssize_t stop,
):
    """Three-fold compensated, so that what is lost is far below half a unit in the last place."""
    cdef Py_ssize_t l, n = values.shape[1]
    cdef double part[3]
    cdef double first, second, error, rest, half
    with nogil:
        for l in range(start, stop):
            _table.add_up(&values[l, 0] if n > 0 else NULL, n, part)
            # Make the three parts non-overlapping, then round once.
            first, error, rest = part[0], 0.0, 0.0
            lap_add(part[1], &first, &error)
            lap_add(part[2], &error, &rest)
            second = 0.0
            lap_add(error, &first, &second)
            if (second > 0.0 and rest > 0.0) or (second < 0.0 and rest < 0.0):
                # Half a unit was rounded to even, and the third part says it was more than half.
                half = first + 2.0 * second
                if half - first == 2.0 * second:
                    first = half
            out[l] = first


cdef inline bint _reached(
    const double[:, ::1] lo, const double[:, ::1] hi, const double[:, ::1] u,
    Py_ssize_t l, Py_ssize_t i, double x, double alpha, bint plain,
) noexcept nogil:
    """Whether a source at x is not right of target i."""
    if plain:
        return x <= lo[l, i]
    return lap_offset(lo[l, i], hi[l, i], u[l, i], x, alpha) >= 0.0


cdef inline Py_ssize_t _ascending(const double *values, Py_ssize_t size) noexcept nogil:
    """How many of the first values ascend."""
    cdef Py_ssize_t i = 0
    while i < size and values[i] >= (values[i - 1] if i > 0 else -INFINITY):
        i += 1
    return i


# Two ascending lists are merged without a branch, since none can be guessed.

cdef inline Py_ssize_t _merge(
    const double *x, Py_ssize_t n, const double *targets, Py_ssize_t size, Py_ssize_t *found,
    Py_ssize_t *index,
) noexcept nogil:
    """Write to `index` how many sources are <= each target, as far as targets ascend: for `found`
    of them.  Returns a number to go on from."""
    cdef Py_ssize_t low = 0, i = 0, last = _ascending(targets, size)
    cdef bint reached
    while i < last and low < n:
        reached = x[low] <= targets[i]
        index[i] = low
        low += reached
        i += 1 - reached
    for i in range(i, last):
        index[i] = n
    found[0] = last
    return low


cdef inline bint _missing(
    const double[:, ::1] lo, const double[:, ::1] u, Py_ssize_t l, Py_ssize_t i, bint plain,
) noexcept nogil:
    """Whether target i is NaN."""
    return lo[l, i] != lo[l, i] or (not plain and u[l, i] != u[l, i])


def locate(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] lo,            # IN  the targets (lo + hi)/2 + alpha u
    const double[:, ::1] hi,            # IN  None: the targets are lo
    const double[:, ::1] u,             # IN  None with hi
    const Py_ssize_t[::1] key,          # IN
    Py_ssize_t[:, ::1] index,           # OUT how many sources are <= the target, 0 if it is NaN
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, n, low, high, middle, stride, size = lo.shape[1]
    cdef bint plain = u is None
    with nogil:
        for l in range(start, stop if size > 0 else start):
            k = key[l]
            n = count[k]
            low = i = 0
            if plain and n < 8 * size:
                low = _merge(&x[k, 0], n, &lo[l, 0], size, &i, &index[l, 0])
            for i in range(i, size):
                index[l, i] = 0
                if _missing(lo, u, l, i, plain):
                    continue
                # Gallop from the last answer: the next of sorted targets is not far from it.
                stride = 1
                high = low
                while high < n and _reached(lo, hi, u, l, i, x[k, high], alpha[k], plain):
                    low = high + 1
                    high += stride
                    stride *= 2
                if high > n:
                    high = n
                if stride == 1:
                    while low > 0 and not _reached(lo, hi, u, l, i, x[k, low - 1], alpha[k], plain):
                        high = low - 1
                        low -= stride
                        stride *= 2
                    if low < 0:
                        low = 0
                while low < high:
                    middle = (low + high) // 2
                    if _reached(lo, hi, u, l, i, x[k, middle], alpha[k], plain):
                        low = middle + 1
                    else:
                        high = middle
                index[l, i] = low


cdef inline void _steps(
    const double *x, Py_ssize_t count, double alpha, const double *targets,
    const Py_ssize_t *index, Py_ssize_t size, double *left, double *right,
) noexcept nogil:
    """Steps to at most BLOCK targets from the source left of each, and on to the next."""
    cdef double before[BLOCK]
    cdef double after[BLOCK]
    cdef Py_ssize_t i
    for i in range(size):
        before[i] = x[index[i] - 1] if index[i] > 0 else targets[i]
        after[i] = x[index[i]] if index[i] < count else targets[i]
    _table.steps(before, targets, size, alpha, left)
    _table.steps(targets, after, size, alpha, right)
    for i in range(size):
        if index[i] == 0:
            left[i] += INFINITY         # NaN for a target that is
        if index[i] == count:
            right[i] += INFINITY


def distances(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] lo,            # IN  targets as for `locate`
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const Py_ssize_t[::1] key,          # IN
    const Py_ssize_t[:, ::1] index,     # IN
    double[:, ::1] left,                # OUT (target - x[index-1])/alpha, inf without such a source
    double[:, ::1] right,               # OUT (x[index] - target)/alpha, inf without such a source
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, b, m, size, steps = lo.shape[1]
    with nogil:
        for l in range(start, stop):
            k = key[l]
            b = 0
            while u is None and b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                _steps(&x[k, 0], count[k], alpha[k], &lo[l, b], &index[l, b], size, &left[l, b],
                       &right[l, b])
                b += size
            for i in range(b, steps):
                m = index[l, i]
                left[l, i] = right[l, i] = NAN if _missing(lo, u, l, i, False) else INFINITY
                if left[l, i] == INFINITY and m > 0:
                    left[l, i] = lap_offset(lo[l, i], hi[l, i], u[l, i], x[k, m - 1], alpha[k])
                if right[l, i] == INFINITY and m < count[k]:
                    right[l, i] = -lap_offset(lo[l, i], hi[l, i], u[l, i], x[k, m], alpha[k])


def level(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] A,             # IN  scans of the weights
    const double[:, ::1] B,             # IN
    const double[:, ::1] high,          # IN  running sums of the weights as pairs, None: counts
    const double[:, ::1] low,           # IN
    const double[:, ::1] targets,       # IN
    const Py_ssize_t[::1] key,          # IN
    const Py_ssize_t[:, ::1] index,     # IN  as from `locate`
    double[:, ::1] out,                 # OUT S at the targets
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, b, m, size, steps = out.shape[1]
    cdef double before[BLOCK]
    cdef double after[BLOCK]
    cdef double tails
    with nogil:
        for l in range(start, stop):
            k = key[l]
            b = 0
            while b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                _steps(&x[k, 0], count[k], alpha[k], &targets[l, b], &index[l, b], size, before,
                       after)
                for i in range(size):
                    before[i] = -before[i]
                    after[i] = -after[i]
                _table.exp(before, size, before)
                _table.exp(after, size, after)
                for i in range(size):
                    m = index[l, b + i]
                    tails = 0.0
                    if m > 0:
                        tails -= 0.5 * before[i] * A[k, m - 1]
                    if m < count[k]:
                        tails += 0.5 * after[i] * B[k, m]
                    if targets[l, b + i] != targets[l, b + i]:
                        out[l, b + i] = NAN
                    elif high is None or m == 0:
                        out[l, b + i] = m + tails
                    else:
                        out[l, b + i] = high[k, m - 1] + (low[k, m - 1] + tails)
                b += size


cdef inline double _excess(
    double w, const double[:, ::1] high, const double[:, ::1] low, Py_ssize_t k, Py_ssize_t m,
) noexcept nogil:
    """w less the weight of the first m sources."""
    return w - m if high is None or m == 0 else (w - high[k, m - 1]) - low[k, m - 1]


cdef inline bint _above(
    double w, const double[:, ::1] weights, const double[:, ::1] high, const double[:, ::1] low,
    const double[:, ::1] A, const double[:, ::1] B, Py_ssize_t k, Py_ssize_t m,
) noexcept nogil:
    """Whether w is above S at source m, which itself would round the small levels away."""
    cdef double c = 1.0 if weights is None else weights[k, m]
    return _excess(w, high, low, k, m) > 0.5 * ((B[k, m] - A[k, m]) + c)


cdef inline Py_ssize_t _merge_levels(
    const double *A, const double *B, Py_ssize_t n, const double *levels, Py_ssize_t size,
    Py_ssize_t *found, Py_ssize_t *index,
) noexcept nogil:
    """`_merge` of levels and S at the sources, for unit weights."""
    cdef Py_ssize_t low = 0, i = 0, j, some, last = _ascending(levels, size)
    cdef double half[BLOCK]
    cdef bint above
    while i < last and low < n:
        some = BLOCK if low + BLOCK < n else n - low
        for j in range(some):
            half[j] = 0.5 * ((B[low + j] - A[low + j]) + 1.0)
        j = 0
        while i < last and j < some:
            above = levels[i] - (low + j) > half[j]
            index[i] = low + j
            j += above
            i += 1 - above
        low += j
    for i in range(i, last):
        index[i] = n
    found[0] = last
    return low


cdef inline void _put(
    lap_root root, signed char *side, double *u, double *factors, int rows, ptrdiff_t stride,
) noexcept nogil:
    """Write a root, and unless factors is NULL the first `rows` of them at a distance of `stride`."""
    side[0] = root.side
    u[0] = root.u
    if factors is not NULL:
        factors[0] = root.left
        factors[stride] = root.right
    if factors is not NULL and rows == 6:
        factors[2 * stride] = root.q_left
        factors[3 * stride] = root.q_right
        factors[4 * stride] = root.density
        factors[5 * stride] = root.centre


def solve(
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] high,          # IN  running sums of the weights as pairs, None: counts
    const double[:, ::1] low,           # IN
    const double[:, ::1] A,             # IN
    const double[:, ::1] B,             # IN
    const double[:, ::1] levels,        # IN
    const Py_ssize_t[::1] key,          # IN
    Py_ssize_t[:, ::1] index,           # OUT nodes left of the threshold
    signed char[:, ::1] side,           # OUT anchor of the threshold, as in lap_root
    double[:, ::1] u,                   # OUT offset from it
    double[:, :, ::1] factors,          # OUT None, or left, right, q_left, q_right, density, centre
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, j, k, m, lo, hi, stride, n, size = levels.shape[1]
    cdef Py_ssize_t distance = 0 if factors is None else factors.shape[1] * size
    cdef bint unit = weights is None
    cdef double w, excess
    cdef double *out = NULL
    cdef lap_root root
    with nogil:
        for l in range(start, stop):
            k = key[l]
            n = count[k]
            m = i = 0
            if unit and n < 8 * size:
                m = _merge_levels(&A[k, 0], &B[k, 0], n, &levels[l, 0], size, &i, &index[l, 0])
            for i in range(i, size):
                w = levels[l, i]
                index[l, i] = 0
                if w != w:
                    continue
                stride = 1
                lo, hi = m, m
                while hi < n and _above(w, weights, high, low, A, B, k, hi):
                    lo = hi + 1
                    hi += stride
                    stride *= 2
                if hi > n:
                    hi = n
                if lo == m:
                    stride = 1
                    while lo > 0 and not _above(w, weights, high, low, A, B, k, lo - 1):
                        hi = lo - 1
                        lo -= stride
                        stride *= 2
                    if lo < 0:
                        lo = 0
                while lo < hi:
                    m = (lo + hi) // 2
                    if _above(w, weights, high, low, A, B, k, m):
                        lo = m + 1
                    else:
                        hi = m
                m = lo
                index[l, i] = m
            i = 0
            while i < size:
                m = index[l, i]
                w = levels[l, i]
                if factors is not None:
                    out = &factors[0, l, i]
                j = i + 1
                if n == 0 or w != w:
                    side[l, i] = 0
                    u[l, i] = NAN
                    if factors is not None:
                        for lo in range(6):
                            factors[lo, l, i] = 0.0 if n == 0 else NAN
                elif unit and 0 < m < n:
                    while j < size and 0 < index[l, j] < n:
                        j += 1
                    _table.solve(&A[k, 0], &B[k, 0], &gap[k, 0], <ptrdiff_t*>&index[l, i], j - i,
                                 &levels[l, i], 0.0, &side[l, i], &u[l, i], out, 6, distance)
                else:
                    excess = _excess(w, high, low, k, m)
                    if m == 0:
                        root = lap_solve_below(w, B[k, 0])
                    elif m == n:
                        root = lap_solve_above(excess, A[k, n - 1])
                    else:
                        root = lap_solve_between(excess, A[k, m - 1], B[k, m], gap[k, m])
                    _put(root, &side[l, i], &u[l, i], out, 6, distance)
                i = j


cdef struct _walk:                      # along the levels first + i of a lane of unit weights
    double first
    Py_ssize_t n, passed, below         # sources, those looked at, those below the last level


cdef void _roots(
    _walk *walk, const double *gap, const double *A, const double *B, Py_ssize_t b, Py_ssize_t size,
    ptrdiff_t *index, signed char *side, double *u, double *factors, int rows, ptrdiff_t stride,
) noexcept nogil:
    """The next `size` thresholds, those from level b on, as `solve_steps` returns them."""
    cdef Py_ssize_t i, k, some, low = 0, high = size, below = walk.below
    cdef double up_to[BLOCK]
    cdef double level
    cdef lap_root root
    # The last source below each level, then the last one below it or a lower level.
    memset(index, 0, size * sizeof(ptrdiff_t))
    i = some = 0
    while i == some and walk.passed < walk.n:
        some = min(BLOCK, walk.n - walk.passed)
        _table.levels_up_to(A + walk.passed, B + walk.passed, some, walk.passed, walk.first, up_to)
        i = 0
        while i < some:
            k = <Py_ssize_t>up_to[i]
            if k >= b + size:
                break
            i += 1
            index[k - b if k > b else 0] = walk.passed + i
        walk.passed += i
    for i in range(size):
        below = max(below, index[i])
        index[i] = below
    walk.below = below
    while low < size and index[low] == 0:
        low += 1
    while high > 0 and index[high - 1] == walk.n:
        high -= 1
    for i in range(size):
        if low <= i < high:
            continue
        level = walk.first + (b + i)
        if index[i] == 0:
            root = lap_solve_below(level, B[0])
        else:
            root = lap_solve_above(level - walk.n, A[walk.n - 1])
        _put(root, side + i, u + i, NULL if factors is NULL else factors + i, rows, stride)
    if low < high:
        _table.solve(A, B, gap, index + low, high - low, NULL, walk.first + (b + low), side + low,
                     u + low, NULL if factors is NULL else factors + low, rows, stride)


def solve_steps(
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    double first,                       # IN  the levels are first + i, in (0, count)
    Py_ssize_t[:, ::1] index,           # OUT as for `solve`
    signed char[:, ::1] side,           # OUT
    double[:, ::1] u,                   # OUT
    double[:, :, ::1] factors,          # OUT as for `solve`, or the first two
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, steps = index.shape[1]
    cdef _walk walk
    with nogil:
        for l in range(start, stop):
            walk = _walk(first, count[l], 0, 0)
            if walk.n > 0 and steps > 0:
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], 0, steps, <ptrdiff_t*>&index[l, 0],
                       &side[l, 0], &u[l, 0], &factors[0, l, 0], factors.shape[0],
                       factors.shape[1] * steps)
                continue
            for i in range(steps):
                index[l, i] = side[l, i] = 0
                u[l, i] = NAN
                for k in range(factors.shape[0]):
                    factors[k, l, i] = 0.0


def anchors(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[:, ::1] index,     # IN
    const signed char[:, ::1] side,     # IN
    const Py_ssize_t[::1] key,          # IN
    double[:, ::1] lo,                  # OUT the two nodes that anchor each threshold
    double[:, ::1] hi,                  # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, m
    with nogil:
        for l in range(start, stop):
            for i in range(index.shape[1]):
                m = index[l, i]
                if m == 0 and side[l, i] == 0:      # a lane without sources
                    lo[l, i] = hi[l, i] = NAN
                else:
                    lo[l, i] = x[key[l], m if side[l, i] > 0 else m - 1]
                    hi[l, i] = x[key[l], m - 1 if side[l, i] < 0 else m]


def sorted_values(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    double first,                       # IN  the levels are first + i, in (0, count)
    double[:, ::1] out,                 # OUT the thresholds, rounded, but never descending
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, b, k, size, steps = out.shape[1]
    cdef ptrdiff_t index[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double lo[BLOCK]
    cdef double hi[BLOCK]
    cdef double last
    cdef _walk walk
    with nogil:
        for l in range(start, stop):
            walk = _walk(first, count[l], 0, 0)
            last = -INFINITY
            b = 0
            while b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                if walk.n == 0:
                    for i in range(size):
                        out[l, b + i] = NAN
                    b += size
                    continue
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, size, index, side, u, NULL, 0, 0)
                for i in range(size):
                    k = index[i]
                    lo[i] = x[l, k - (side[i] <= 0)]
                    hi[i] = x[l, k - (side[i] < 0)]
                _table.thresholds(lo, hi, u, size, alpha[l], &out[l, b])
                for i in range(size):
                    if out[l, b + i] < last:
                        out[l, b + i] = last
                    last = out[l, b + i]
                b += size


def pull_sorted(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    double lowest,                      # IN  the levels are lowest + i, in (0, count)
    const double[:, ::1] bar,           # IN  finite cotangent of the thresholds
    double[:, ::1] scratch,
    double[:, ::1] x_bar,               # OUT sum_i q_ij bar_i, in the caller's order
    double[::1] alpha_bar,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Each threshold gives to its two neighbours, and two scans carry that on."""
    cdef Py_ssize_t l, i, b, m, k, n, last, size, blank, steps = bar.shape[1]
    cdef ptrdiff_t index[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double same[BLOCK]
    cdef double factors[FACTORS]
    cdef double ahead[BLOCK]
    cdef double back[BLOCK + 1]
    cdef double high, low, other_high, other_low, total, rest, value, decay, before, after
    cdef double right_sum, left_sum
    cdef lap_two sums, rests, both
    cdef double *left
    cdef double *right
    cdef double *out
    cdef _walk walk
    cdef _order order
    with nogil:
        for l in range(start, stop):
            n = count[l]
            walk = _walk(lowest, n, 0, 0)
            alpha_bar[l] = 0.0
            if n == 0:
                for m in range(x.shape[1]):
                    x_bar[l, m] = 0.0
                continue
            left = &x_bar[l, 0]
            right = &scratch[l, 0]
            blank = 0
            total = rest = high = low = other_high = other_low = 0.0
            last = -1
            b = 0
            while b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, size, index, side, u, factors,
                       6, BLOCK)
                k = min(n, index[size - 1] + 1)
                if k > blank:
                    memset(left + blank, 0, (k - blank) * sizeof(double))
                    memset(right + blank, 0, (k - blank) * sizeof(double))
                    blank = k
                same[0] = before = after = value = 0.0
                for i in range(1, size):
                    # 1 or 0, without a branch, which would often be guessed wrong.
                    same[i] = 1 + (<int64_t>(index[i - 1] - index[i]) >> 63)
                for i in range(size):
                    # What reaches one node is overwritten until it is complete.
                    m = index[i]
                    before = before * same[i] + factors[2 * BLOCK + i] * bar[l, b + i]
                    after = after * same[i] + factors[3 * BLOCK + i] * bar[l, b + i]
                    if m > 0:
                        left[m - 1] = before
                    if m < n:
                        right[m] = after
                    if bar[l, b + i] != 0.0:
                        value += bar[l, b + i] * factors[5 * BLOCK + i]
                lap_add(value, &total, &rest)
                # A node may get something from many blocks.
                m = index[0]
                if m == last and m > 0:
                    lap_add(left[m - 1], &high, &low)
                    left[m - 1] = high + low
                if m == last and m < n:
                    lap_add(right[m], &other_high, &other_low)
                    right[m] = other_high + other_low
                if index[size - 1] != last:
                    last = index[size - 1]
                    high = before
                    other_high = after
                    low = other_low = 0.0
                b += size
            memset(left + blank, 0, (n - blank) * sizeof(double))
            memset(right + blank, 0, (n - blank) * sizeof(double))
            out = right if part is None else left
            sums = both = lap_both(right[0], left[n - 1])
            rests = lap_both(0.0, 0.0)
            if n == 1:
                out[0] = left[0] + right[0]
            b = 1
            while b < n:
                # As in `pull_ranks`, the scan that comes second adds what the first has left.
                size = BLOCK if b + BLOCK < n else n - b
                if b <= (n - 2) // 2 < b + size - 1:
                    size = (n - 2) // 2 - b + 1
                _table.decays(&gap[l, b], size, ahead)
                _table.decays(&gap[l, n - b - size], size + 1, back)
                value = 0.0
                for i in range(size):
                    k = b + i
                    m = n - 1 - k
                    before = lap_first(both)
                    lap_scan_two(lap_both(right[k], left[m]), lap_both(ahead[i], back[size - i]),
                                 &sums, &rests)
                    both = lap_total(sums, rests)
                    right_sum, left_sum = lap_first(both), lap_second(both)
                    if k < m:
                        right[k] = right_sum
                        left[m] = left_sum
                        continue
                    if k > m:
                        if m > 0:
                            decay = lap_decay_value(back[size - 1 - i])
                            if decay != 0.0:
                                value += gap[l, m] * decay * (left_sum * A[l, m - 1]
                                                              - right[m - 1] * B[l, m])
                        out[m] = left_sum + right[m]
                    else:
                        left[k] = left_sum
                    decay = lap_decay_value(ahead[i])
                    if decay != 0.0:
                        value += gap[l, k] * decay * (left[k] * A[l, k - 1] - before * B[l, k])
                    out[k] = left[k] + right_sum
                lap_add(value, &total, &rest)
                b += size
            order = _order_of(places, part, first, l)
            _give_back(out, &x[l, 0], 1.0, 1.0, order, right, &x_bar[l, 0])
            alpha_bar[l] = total + rest


def thresholds(
    const double[:, ::1] lo,            # IN
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[::1] alpha,            # IN
    const Py_ssize_t[::1] key,          # IN
    double[:, ::1] out,                 # OUT (lo + hi)/2 + alpha u
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            if u.shape[1] > 0:
                _table.thresholds(&lo[l, 0], &hi[l, 0], &u[l, 0], u.shape[1], alpha[key[l]],
                                  &out[l, 0])


# ----------------------------------------------------------------- from nodes to targets and back

def gather(
    const double[:, ::1] left,          # IN  values at the nodes
    const double[:, ::1] right,         # IN
    const Py_ssize_t[::1] key,          # IN  lane of left and right
    const Py_ssize_t[:, ::1] left_at,   # IN  node read; outside [0, n) nothing is
    const Py_ssize_t[:, ::1] right_at,  # IN
    const double[:, ::1] left_by,       # IN  its factor; where that is 0 nothing is read
    const double[:, ::1] right_by,      # IN
    const Py_ssize_t[::1] lane,         # IN  lane of the four arrays above
    double[:, ::1] out,                 # OUT left_by left[left_at] + right_by right[right_at]
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, p, m, n = left.shape[1]
    cdef double total
    with nogil:
        for l in range(start, stop):
            k = key[l]
            p = lane[l]
            for i in range(out.shape[1]):
                if i + DISTANCE < out.shape[1]:
                    AHEAD(&left[k, left_at[p, i + DISTANCE]], 0)
                    AHEAD(&right[k, right_at[p, i + DISTANCE]], 0)
                total = 0.0
                m = left_at[p, i]
                if 0 <= m < n and left_by[p, i] != 0.0:
                    total += left_by[p, i] * left[k, m]
                m = right_at[p, i]
                if 0 <= m < n and right_by[p, i] != 0.0:
                    total += right_by[p, i] * right[k, m]
                out[l, i] = total


def scatter(
    const double[:, ::1] values,        # IN  values at the targets
    const Py_ssize_t[:, ::1] left_at,   # IN
    const Py_ssize_t[:, ::1] right_at,  # IN
    const double[:, ::1] left_by,       # IN
    const double[:, ::1] right_by,      # IN
    const Py_ssize_t[::1] lane,         # IN
    const Py_ssize_t[::1] key,          # IN  lane of left and right
    double[:, :, ::1] left,             # OUT the transpose of gather: (2, lanes, n), sums as pairs
    double[:, :, ::1] right,            # OUT   added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, p, m, n = left.shape[2]
    with nogil:
        for l in range(start, stop):
            k = key[l]
            p = lane[l]
            for i in range(values.shape[1]):
                if i + DISTANCE < values.shape[1]:
                    m = left_at[p, i + DISTANCE]
                    AHEAD(&left[0, k, m], 1)
                    AHEAD(&left[1, k, m], 1)
                    m = right_at[p, i + DISTANCE]
                    AHEAD(&right[0, k, m], 1)
                    AHEAD(&right[1, k, m], 1)
                if values[l, i] == 0.0:
                    continue
                m = left_at[p, i]
                if 0 <= m < n and left_by[p, i] != 0.0:
                    lap_add(left_by[p, i] * values[l, i], &left[0, k, m], &left[1, k, m])
                m = right_at[p, i]
                if 0 <= m < n and right_by[p, i] != 0.0:
                    lap_add(right_by[p, i] * values[l, i], &right[0, k, m], &right[1, k, m])


# ------------------------------------------------------------------------------ one threshold a lane

cdef struct _threads:
    lap_runner runner
    Py_ssize_t workers


cdef class _Work:
    """Tasks to be done once each; every call does those that nobody has begun."""

    cdef lap_task task
    cdef void *context
    cdef ptrdiff_t tasks, begun, done
    cdef PyThread_type_lock counts, unfinished

    def __cinit__(self):
        self.begun = self.done = 0
        self.counts = PyThread_allocate_lock()
        self.unfinished = PyThread_allocate_lock()
        if self.counts is NULL or self.unfinished is NULL:
            raise MemoryError
        PyThread_acquire_lock(self.unfinished, WAIT_LOCK)

    def __dealloc__(self):
        if self.counts is not NULL:
            PyThread_free_lock(self.counts)
        if self.unfinished is not NULL:
            PyThread_free_lock(self.unfinished)

    def __call__(self):
        with nogil:
            self.work()

    cdef void work(self) noexcept nogil:
        cdef ptrdiff_t i, done
        while True:
            PyThread_acquire_lock(self.counts, WAIT_LOCK)
            i = self.begun
            self.begun += i < self.tasks
            PyThread_release_lock(self.counts)
            if i >= self.tasks:
                return
            self.task(self.context, i)
            PyThread_acquire_lock(self.counts, WAIT_LOCK)
            self.done += 1
            done = self.done
            PyThread_release_lock(self.counts)
            if done == self.tasks:
                PyThread_release_lock(self.unfinished)


cdef void _share(
    lap_task task, void *context, ptrdiff_t tasks, Py_ssize_t workers
) noexcept with gil:
    """Do all tasks, in this thread and in others.

    What they write to may end with the caller, so none is left when this returns.  Nothing here is
    Python code, which signals such as Ctrl-C could interrupt, and what cannot be had, memory or
    threads, is not needed.
    """
    cdef Py_ssize_t i
    cdef _Work work
    try:
        work = _Work()
        work.task, work.context, work.tasks = task, context, tasks
        for i in range(min(workers, tasks) - 1):
            start_new_thread(work, ())
    except BaseException:
        pass
    if work is None:
        for i in range(tasks):
            task(context, i)
        return
    with nogil:
        work.work()
        PyThread_acquire_lock(work.unfinished, WAIT_LOCK)
        PyThread_release_lock(work.unfinished)


cdef class _Lanes:
    """Lanes that a kernel works on, in parts."""

    cdef object kernel
    cdef tuple args
    cdef Py_ssize_t lanes, parts
    cdef list errors


cdef void _some_lanes(void *context, ptrdiff_t i) noexcept with gil:
    cdef _Lanes all = <_Lanes>context
    try:
        all.kernel(*all.args, all.lanes * i // all.parts, all.lanes * (i + 1) // all.parts)
    except BaseException as error:
        all.errors.append(error)


def run_lanes(kernel, tuple args, Py_ssize_t lanes, Py_ssize_t workers):
    """Call kernel(*args, start, stop) in so many threads, for as many parts of the lanes."""
    cdef _Lanes all = _Lanes()
    all.kernel, all.args, all.lanes, all.parts, all.errors = kernel, args, lanes, workers, []
    _share(_some_lanes, <void*>all, workers, workers)
    if all.errors:
        raise all.errors[0]


cdef void _run_parts(
    const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks
) noexcept nogil:
    _share(task, context, tasks, (<_threads*>runner).workers)


cdef inline const lap_runner *_runner(_threads *threads, Py_ssize_t workers) noexcept nogil:
    """What shares the parts of a lane among threads, or NULL for one."""
    if workers == 1:
        return NULL
    threads.runner.run = _run_parts
    threads.workers = workers
    return &threads.runner


cdef inline lap_lane _lane(
    const entry[:, ::1] x, const double[:, ::1] weights, double sign, const double[::1] alpha,
    Py_ssize_t l, const lap_runner *runner,
) noexcept nogil:
    cdef lap_lane lane
    lane.table = _table
    lane.runner = runner
    lane.x = &x[l, 0]
    lane.copy = NULL
    lane.single = entry is float
    lane.c = NULL
    if weights is not None:
        lane.c = &weights[l, 0]
    lane.n = x.shape[1]
    lane.sign = sign
    lane.alpha = alpha[l]
    return lane


def check_levels(
    const double[::1] levels,           # IN
    const double[::1] totals,           # IN  None: n
    double n,                           # IN
    double[::1] out,                    # OUT levels, and infinity from the total on
):
    """Return the first lane whose level is not in [0, total], some roundings above allowed, or -1."""
    cdef Py_ssize_t l
    for l in range(levels.shape[0]):
        out[l] = lap_level(levels[l], n if totals is None else totals[l])
        if out[l] != out[l]:
            return l
    return -1


def select(
    Py_ssize_t workers,                 # threads that share the parts of a lane
    const entry[:, ::1] x,              # IN  entries in any order
    const double[:, ::1] weights,       # IN  None: ones
    double sign,                        # IN  1: solved for x, -1: for -x
    const double[::1] levels,           # IN
    const double[::1] totals,           # IN  sums of the weights, None: n
    const double[::1] alpha,            # IN
    int fill,                           # IN  1: with F, 2: with its logarithm
    entry[:, ::1] copy,                 # OUT None, or a copy of x
    entry[:, ::1] p,                    # OUT if fill, F((b - sign x)/alpha) of solved lanes
    unsigned char[::1] solved,          # OUT as lap_select returns it
    double[:, ::1] out,                 # OUT (10, lanes): lo, hi, u, the neighbours of the
    Py_ssize_t start, Py_ssize_t stop,  #     threshold, q_left, q_right, density, b, centre
):
    """Select one threshold a lane, where the lane allows it; p, if any, holds entries on the way."""
    cdef Py_ssize_t l, n = x.shape[1]
    cdef entry *scratch = NULL
    cdef double *scratch_c = NULL
    cdef lap_lane lane
    cdef _threads threads
    cdef lap_selected s
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef lap_anchored b
    cdef double total = n
    cdef int found
    if not fill:
        scratch = <entry*>malloc((n + 1) * sizeof(entry))
        if scratch is NULL:
            raise MemoryError
    if weights is not None:
        scratch_c = <double*>malloc((n + 1) * sizeof(double))
        if scratch_c is NULL:
            free(scratch)
            raise MemoryError
    with nogil:
        for l in range(start, stop):
            solved[l] = 0
            lane = _lane(x, weights, sign, alpha, l, runner)
            if copy is not None:
                lane.copy = &copy[l, 0]
            found = s.copied = 0
            if totals is not None:
                total = totals[l]
            if 0.0 < levels[l] < total:
                found = lap_select(&lane, levels[l], total, &p[l, 0] if fill else scratch,
                                   scratch_c, &s)
            if copy is not None:
                if not s.copied:
                    lap_lane_copy(&lane)
                lane.x = lane.copy
            if not found:
                continue
            b.lo = s.right_node if s.root.side > 0 else s.left_node
            b.hi = s.left_node if s.root.side < 0 else s.right_node
            b.u = s.root.u
            if fill:
                lap_lane_cdf(&lane, &b, fill == 2, &p[l, 0])
            solved[l] = found
            out[0, l] = b.lo
            out[1, l] = b.hi
            out[2, l] = b.u
            out[3, l] = s.left_node
            out[4, l] = s.right_node
            out[5, l] = s.root.q_left
            out[6, l] = s.root.q_right
            out[7, l] = s.root.density
            out[8, l] = lap_threshold(b.lo, b.hi, b.u, alpha[l])
            out[9, l] = s.root.centre
    free(scratch)
    free(scratch_c)


def probabilities(
    const double[:, ::1] x,             # IN
    const double[:, ::1] thresholds,    # IN  as `select` leaves them
    const double[::1] alpha,            # IN
    bint logarithm,                     # IN
    double[:, ::1] out,                 # OUT F((b - x)/alpha), or its logarithm
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i
    cdef double t
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                t = lap_offset(thresholds[0, l], thresholds[1, l], thresholds[2, l], x[l, i],
                               alpha[l])
                out[l, i] = lap_logcdf(t) if logarithm else lap_cdf(t)


cdef inline lap_anchored _anchored(const double[:, ::1] thresholds, Py_ssize_t l) noexcept nogil:
    """The threshold of a lane, for derivatives."""
    cdef lap_anchored b
    b.lo, b.hi, b.u = thresholds[0, l], thresholds[1, l], thresholds[2, l]
    b.left, b.right, b.density = thresholds[3, l], thresholds[4, l], thresholds[7, l]
    return b


def pull(
    Py_ssize_t workers,                 # as for `select`
    const entry[:, ::1] x,              # IN
    const double[:, ::1] thresholds,    # IN  as `select` leaves them, for lanes it solved
    const double[:, ::1] weights,       # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const entry[:, ::1] bar,            # IN  cotangent of F, or of its logarithm
    bint logarithm,                     # IN
    entry[:, ::1] x_bar,                # OUT
    double[::1] level_bar,              # OUT
    double[::1] alpha_bar,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Cotangents of x, of the level and of alpha, by two passes over each lane."""
    cdef Py_ssize_t l
    cdef lap_anchored b
    cdef lap_lane lane
    cdef lap_pulled sums
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef double *scratch = NULL
    if entry is float and x.shape[1] <= DENSITIES:
        scratch = <double*>malloc((x.shape[1] + 1) * sizeof(double))
        if scratch is NULL:
            raise MemoryError
    with nogil:
        for l in range(start, stop):
            b = _anchored(thresholds, l)
            lane = _lane(x, weights, sign, alpha, l, runner)
            lap_lane_pull(&lane, &b, &bar[l, 0], logarithm,
                          scratch if entry is float else &x_bar[l, 0], &x_bar[l, 0], &sums)
            level_bar[l] = (sums.h.high + sums.h.low) / b.density
            alpha_bar[l] = -(sums.along.high + sums.along.low) / alpha[l]
    free(scratch)


def push(
    Py_ssize_t workers,                 # as for `select`
    const entry[:, ::1] x,              # IN
    const double[:, ::1] thresholds,    # IN  as `select` leaves them, for lanes it solved
    const double[:, ::1] weights,       # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] dot,           # IN  None: zeros
    const double[::1] level_dot,        # IN
    const double[::1] alpha_dot,        # IN
    bint logarithm,                     # IN
    double[:, ::1] out,                 # OUT the tangent of F, or of its logarithm
    Py_ssize_t start, Py_ssize_t stop,
):
    """The tangent for those of x, of the level and of alpha, by three passes over each lane."""
    cdef Py_ssize_t l
    cdef lap_anchored b
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef const double *dots = NULL
    with nogil:
        for l in range(start, stop):
            b = _anchored(thresholds, l)
            lane = _lane(x, weights, sign, alpha, l, runner)
            if dot is not None:
                dots = &dot[l, 0]
            lap_lane_push(&lane, &b, dots, level_dot[l], alpha_dot[l], logarithm, &out[l, 0])


def softmax(
    Py_ssize_t workers,                 # as for `select`
    const entry[:, ::1] x,              # IN
    const double[:, :, ::1] thresholds, # IN  (10, lanes, few) as `select` leaves them
    const double[:, ::1] weights,       # IN  None: ones
    const double[::1] alpha,            # IN
    const double[:, ::1] dot,           # IN  None: no average
    const double[:, ::1] bar,           # IN  None: no x_bar
    entry[:, ::1] x_bar,                # OUT sum_i bar_i q_ij
    double[:, ::1] average,             # OUT sum_j q_ij dot_j
    double[:, ::1] slope,               # OUT sum_j q_ij (b_i - x_j)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    """Sums with the softmax weights q_ij of -|b_i - x_j|/alpha, times c_j, over j."""
    cdef Py_ssize_t l, i, few = thresholds.shape[2]
    cdef lap_anchored b[LAP_FEW]
    cdef lap_pulled sums[LAP_FEW]
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef const double *dots = NULL
    cdef const double *bars = NULL
    if few > LAP_FEW:
        raise ValueError(f"at most {LAP_FEW} thresholds, got {few}")
    with nogil:
        for l in range(start, stop):
            for i in range(few):
                b[i].lo, b[i].hi = thresholds[0, l, i], thresholds[1, l, i]
                b[i].u, b[i].density = thresholds[2, l, i], thresholds[7, l, i]
                b[i].left, b[i].right = thresholds[3, l, i], thresholds[4, l, i]
            if dot is not None:
                dots = &dot[l, 0]
            if bar is not None:
                bars = &bar[l, 0]
            lane = _lane(x, weights, 1.0, alpha, l, runner)
            lap_lane_softmax(&lane, b, few, dots, bars, &x_bar[l, 0] if bars else NULL, sums)
            for i in range(few):
                average[l, i] = sums[i].h.high + sums[i].h.low
                slope[l, i] = thresholds[9, l, i] + (sums[i].along.high + sums[i].along.low)


# ------------------------------------------------------------------------------- entries of a lane

def offsets(
    const double[:, ::1] lo,            # IN  thresholds: one a lane, or one for each x
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[:, ::1] x,             # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT t = (b - x)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, at
    cdef bint one = u.shape[1] == 1
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                at = 0 if one else i
                out[l, i] = lap_offset(lo[l, at], hi[l, at], u[l, at], x[l, i], alpha[l])


def steps(
    const double[::1] origin,           # IN
    const double[:, ::1] x,             # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT (x - origin)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                out[l, i] = lap_step(origin[l], x[l, i], alpha[l])


def cdf(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = lap_cdf(t[l, i])


def pdf(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = -abs(t[l, i])
            if t.shape[1] > 0:
                _table.exp(&out[l, 0], t.shape[1], &out[l, 0])
            for i in range(t.shape[1]):
                out[l, i] *= 0.5


def logcdf_slope(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = lap_logcdf_slope(t[l, i])


def shares(
    const double[::1] left,             # IN  the nodes on both sides of the threshold
    const double[::1] right,            # IN
    const double[::1] q_left,           # IN
    const double[::1] q_right,          # IN
    const double[::1] density,          # IN
    const double[:, ::1] x,             # IN
    const double[:, ::1] t,             # IN  (b - x)/alpha
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT e^{-|t_i|}/sum_j c_j e^{-|t_j|}
    Py_ssize_t start, Py_ssize_t stop,
):
    """Measured from the nodes: |t| - min |t| would lose every digit in a wide gap."""
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                if q_left[l] == 0.0 and q_right[l] == 0.0:
                    out[l, i] = 0.0
                elif q_left[l] != 0.0 and x[l, i] <= left[l]:
                    out[l, i] = q_left[l] * exp(lap_step(left[l], x[l, i], alpha[l]))
                elif q_right[l] != 0.0 and x[l, i] >= right[l]:
                    out[l, i] = q_right[l] * exp(lap_step(x[l, i], right[l], alpha[l]))
                elif x[l, i] != x[l, i]:
                    out[l, i] = NAN
                elif q_left[l] != 0.0 and t[l, i] > 0.0:
                    # Beyond the node: only entries of zero weight are here, and they may overflow.
                    out[l, i] = q_left[l] * exp(lap_step(left[l], x[l, i], alpha[l]))
                elif q_right[l] != 0.0 and t[l, i] <= 0.0:
                    out[l, i] = q_right[l] * exp(lap_step(x[l, i], right[l], alpha[l]))
                else:
                    out[l, i] = lap_pdf(t[l, i]) / density[l]


# ----------------------------------------------------------------------------------- permutations

def widths(
    const double[:, ::1] lo,            # IN  n - 1 thresholds a lane
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT n: (b_i - b_{i-1})/alpha, inf at both ends
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, n = out.shape[1]
    with nogil:
        for l in range(start, stop):
            if n > 2:
                _table.widths(&lo[l, 0], &hi[l, 0], &u[l, 0], n - 2, alpha[l], &out[l, 1])
            if n > 0:
                out[l, 0] = out[l, n - 1] = INFINITY


cdef inline double _threshold_offset(
    const double[:, ::1] lo, const double[:, ::1] hi, const double[:, ::1] u, Py_ssize_t l,
    Py_ssize_t i, double x, double alpha,
) noexcept nogil:
    """(b_i - x)/alpha with b_{-1} = -inf and b_{n-1} = +inf around the n - 1 thresholds."""
    if i < 0:
        return -INFINITY
    if i >= u.shape[1]:
        return INFINITY
    return lap_offset(lo[l, i], hi[l, i], u[l, i], x, alpha)


def permutation(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[:, ::1] order,     # IN
    const Py_ssize_t[::1] count,        # IN  all of them, or none
    const Py_ssize_t[:, ::1] index,     # IN  nodes left of each of the n - 1 thresholds
    const double[:, ::1] lo,            # IN
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[:, ::1] width,         # IN
    const double[::1] alpha,            # IN
    entry[:, :, ::1] out,               # OUT (lanes, n, n): row = position, column = entry
    Py_ssize_t start, Py_ssize_t stop,
):
    """Where a group of columns lies on one side of a row's interval its entries are products: of
    what the row has at the near end of the group, and of the decay from there to each column."""
    cdef Py_ssize_t l, i, m, g, first, last, below, above, n = x.shape[1]
    cdef Py_ssize_t groups = (n + GROUP - 1) // GROUP
    cdef bint finite, ties
    cdef double t0, t1, half, factor
    cdef double *to_end = <double*>malloc((3 * n + 2 * groups + 1) * sizeof(double))
    cdef double *to_start = to_end + n
    cdef double *row = to_start + n
    cdef double *at_end = row + n
    cdef double *at_start = at_end + groups
    if to_end is NULL:
        raise MemoryError
    with nogil:
        for l in range(start, stop):
            finite = count[l] > 0 and x[l, n - 1] - x[l, 0] < INFINITY
            for i in range(n - 1):
                finite = finite and -INFINITY < u[l, i] < INFINITY
            ties = False
            for m in range(n):
                ties = ties or (m > 0 and x[l, m] == x[l, m - 1])
                last = (m // GROUP + 1) * GROUP
                last = n if last > n else last
                to_end[m] = lap_step(x[l, last - 1], x[l, m], alpha[l])
                to_start[m] = lap_step(x[l, m], x[l, m // GROUP * GROUP], alpha[l])
            if n > 0 and finite:
                _table.exp(to_end, 2 * n, to_end)
            for i in range(n):
                half = -0.5 * expm1(-width[l, i])
                below = 0 if i == 0 else index[l, i - 1]
                above = n if i == n - 1 else index[l, i]
                for g in range(groups):
                    first, last = g * GROUP, (g + 1) * GROUP
                    last = n if last > n else last
                    # Of no use, but harmless, on the other side.
                    t0 = _threshold_offset(lo, hi, u, l, i - 1, x[l, last - 1], alpha[l])
                    t1 = _threshold_offset(lo, hi, u, l, i, x[l, first], alpha[l])
                    at_end[g] = -t0 if t0 > 0.0 else 0.0
                    at_start[g] = t1 if t1 < 0.0 else 0.0
                _table.exp(at_end, 2 * groups, at_end)
                for g in range(groups):
                    first, last = g * GROUP, (g + 1) * GROUP
                    last = n if last > n else last
                    if finite and last <= below:
                        factor = half * at_end[g]
                        for m in range(first, last):
                            row[m] = factor * to_end[m]
                    elif finite and first >= above:
                        factor = half * at_start[g]
                        for m in range(first, last):
                            row[m] = factor * to_start[m]
                    else:
                        for m in range(first, last):
                            row[m] = lap_cdf_difference(
                                _threshold_offset(lo, hi, u, l, i - 1, x[l, m], alpha[l]),
                                _threshold_offset(lo, hi, u, l, i, x[l, m], alpha[l]),
                                width[l, i],
                            )
                if ties:
                    for m in range(1, n):
                        if x[l, m] == x[l, m - 1]:
                            row[m] = row[m - 1]
                for m in range(n):
                    out[l, i, order[l, m]] = <entry>row[m]
    free(to_end)


cdef inline double _deviation(
    const double[:, :, ::1] nodes, const double[:, :, ::1] deviation, Py_ssize_t l, Py_ssize_t i,
    double x, double alpha,
) noexcept nogil:
    """(x - sum_k q_ik x_k)/alpha, from the neighbour of b_i on the side of x."""
    cdef Py_ssize_t side = 0 if x <= nodes[0, l, i] else 1
    return deviation[side, l, i] + lap_step(nodes[side, l, i], x, alpha)


def permutation_jvp(
    const double[:, ::1] x,             # IN
    const double[:, ::1] lo,            # IN
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] x_dot,         # IN  None: zero
    const double[:, ::1] b_dot,         # IN  tangents of the thresholds due to x_dot
    const double[::1] alpha_dot,        # IN  None: zero
    const double[:, :, ::1] nodes,      # IN  (2, lanes, n - 1) neighbours of the thresholds
    const double[:, :, ::1] deviation,  # IN  of the neighbours from the mean, see _deviation
    double[:, :, ::1] out,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, j, n = x.shape[1]
    cdef double kernel, change
    cdef bint along_x = x_dot is not None, along_alpha = alpha_dot is not None
    with nogil:
        for l in range(start, stop):
            for i in range(n):
                for j in range(n):
                    out[l, i, j] = 0.0
            for i in range(n - 1):
                for j in range(n):
                    kernel = lap_pdf(lap_offset(lo[l, i], hi[l, i], u[l, i], x[l, j], alpha[l]))
                    if kernel == 0.0:
                        continue
                    change = 0.0
                    if along_x:
                        change += kernel * (b_dot[l, i] - x_dot[l, j])
                    if along_alpha:
                        change += (kernel * alpha_dot[l]
                                   * _deviation(nodes, deviation, l, i, x[l, j], alpha[l]))
                    out[l, i, j] += change
                    out[l, i + 1, j] -= change
            # Last, since two overflowing rows have no difference.
            for i in range(n):
                for j in range(n):
                    out[l, i, j] /= alpha[l]


def permutation_vjp(
    const double[:, ::1] x,             # IN
    const double[:, ::1] lo,            # IN
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[::1] alpha,            # IN
    const double[:, :, ::1] nodes,      # IN
    const double[:, :, ::1] deviation,  # IN
    const double[:, :, ::1] bar,        # IN  cotangent of the matrix
    double[:, ::1] b_bar,               # OUT cotangents of the thresholds, times alpha
    double[:, ::1] x_bar,               # OUT cotangents of x at fixed thresholds, times alpha
    double[::1] alpha_bar,              # OUT times alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, j, n = x.shape[1]
    cdef double kernel, value, high, low, alpha_high, alpha_low
    with nogil:
        for l in range(start, stop):
            alpha_high = alpha_low = 0.0
            for i in range(n - 1):
                b_bar[l, i] = 0.0
            for j in range(n):
                high = low = 0.0
                for i in range(n - 1):
                    kernel = lap_pdf(lap_offset(lo[l, i], hi[l, i], u[l, i], x[l, j], alpha[l]))
                    if kernel == 0.0:
                        continue
                    value = (bar[l, i, j] - bar[l, i + 1, j]) * kernel
                    b_bar[l, i] += value
                    lap_add(-value, &high, &low)
                    lap_add(value * _deviation(nodes, deviation, l, i, x[l, j], alpha[l]),
                            &alpha_high, &alpha_low)
                x_bar[l, j] = high + low
            alpha_bar[l] = alpha_high + alpha_low


cdef inline void _edge(
    lap_edges *edges, Py_ssize_t t, Py_ssize_t m, int side, double u, const double *x,
    const double *gap, Py_ssize_t n,
) noexcept nogil:
    """Threshold t, with m of n nodes left of it."""
    cdef double whole = gap[m] if m < n else INFINITY
    edges.index[t] = <double>m
    edges.lo[t] = x[m - 1 if m > 0 else 0]
    edges.hi[t] = x[m if m < n else n - 1]
    edges.u[t] = u
    if side < 0:
        edges.place[t] = 0.0
        edges.before[t] = u
        edges.after[t] = whole - u
    elif side == 0:
        # Apart from both ends, where the gap is infinite too.
        edges.place[t] = 0.5 * whole if whole < INFINITY else 1e308
        edges.before[t] = 0.5 * whole + u
        edges.after[t] = 0.5 * whole - u
    else:
        edges.place[t] = whole
        edges.before[t] = whole + u
        edges.after[t] = -u
    if edges.before[t] < 0.0:
        edges.before[t] = 0.0
    if edges.after[t] < 0.0:
        edges.after[t] = 0.0


def intervals(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN  all of them, or none
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    Py_ssize_t[:, ::1] row,             # OUT the interval (b_{i-1}, b_i] that holds each node
    double[:, ::1] inside,              # OUT F(t_i) - F(t_{i-1}) there
    Py_ssize_t[:, :, ::1] at,           # OUT (2, lanes, n) the nodes next to each of n intervals
    double[:, :, ::1] by,               # OUT what they contribute to it
    Py_ssize_t start, Py_ssize_t stop,
):
    """Between the thresholds b_i at the levels i: the n rows of a permutation.

    From outside, an interval gets the kernel at its near end times (1 - e^{-width})/2.
    """
    cdef Py_ssize_t l, i, j, m, b, t, size, first, held, n = x.shape[1]
    cdef ptrdiff_t index[LAP_EDGES]
    cdef signed char side[LAP_EDGES]
    cdef double u[LAP_EDGES]
    cdef double factors[2 * LAP_EDGES]
    cdef double half[BLOCK]
    cdef int64_t rows[BLOCK]
    cdef lap_edges edges
    cdef _walk walk
    with nogil:
        for l in range(start, stop):
            if count[l] == 0:
                for i in range(n):
                    row[l, i] = at[0, l, i] = at[1, l, i] = 0
                    inside[l, i] = by[0, l, i] = by[1, l, i] = 0.0
                continue
            walk = _walk(1.0, n, 0, 0)
            # Threshold b - 1 of the lane is the first of a block, and what is below all is the
            # first of the lane.
            index[0] = 0
            factors[0] = factors[LAP_EDGES] = 0.0
            _edge(&edges, 0, 0, 1, 0.0, &x[l, 0], &gap[l, 0], n)
            edges.place[0] = -INFINITY
            edges.after[0] = INFINITY
            b = 0
            while b < n:
                size = BLOCK if b + BLOCK < n else n - b
                held = size if b + size < n else size - 1
                if held > 0:
                    _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, held, index + 1, side + 1,
                           u + 1, factors + 1, 2, LAP_EDGES)
                for t in range(1, held + 1):
                    _edge(&edges, t, index[t], side[t], u[t], &x[l, 0], &gap[l, 0], n)
                if held < size:         # and what is above all its last
                    index[size] = n
                    factors[size] = factors[LAP_EDGES + size] = 0.0
                    _edge(&edges, size, n, 1, 0.0, &x[l, 0], &gap[l, 0], n)
                    edges.before[size] = INFINITY
                _table.shares(&edges, size, alpha[l], half)
                for i in range(size):
                    at[0, l, b + i] = index[i] - 1
                    at[1, l, b + i] = index[i + 1]
                    by[0, l, b + i] = half[i] * factors[i]
                    by[1, l, b + i] = half[i] * factors[LAP_EDGES + i + 1]
                m = index[0]
                t = 0
                while m < index[size]:
                    held = BLOCK if m + BLOCK < index[size] else index[size] - m
                    # How many thresholds are left of a node, counted up.
                    memset(rows, 0, held * sizeof(int64_t))
                    while index[t + 1] < m + held:
                        j = index[t + 1] - m
                        rows[j if j > 0 else 0] += 1
                        t += 1
                    first = b if m == index[0] else row[l, m - 1]
                    for j in range(held):
                        first += rows[j]
                        row[l, m + j] = first
                        rows[j] = first - b
                    _table.insides(&edges, rows, &x[l, m], held, alpha[l], &inside[l, m])
                    m += held
                # The last threshold is the first of the next block.
                index[0] = index[size]
                factors[0] = factors[size]
                factors[LAP_EDGES] = factors[LAP_EDGES + size]
                edges.index[0] = edges.index[size]
                edges.lo[0] = edges.lo[size]
                edges.hi[0] = edges.hi[size]
                edges.u[0] = edges.u[size]
                edges.place[0] = edges.place[size]
                edges.before[0] = edges.before[size]
                edges.after[0] = edges.after[size]
                b += size


def collect(
    const double[:, ::1] values,        # IN  values at the nodes
    const double[:, ::1] inside,        # IN
    const Py_ssize_t[:, ::1] row,       # IN  ascending
    const Py_ssize_t[::1] key,          # IN  lane of inside and row
    double[:, ::1] out,                 # OUT sums by row, added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, j, k
    cdef double low
    with nogil:
        for l in range(start, stop):
            k = key[l]
            low = 0.0
            for j in range(values.shape[1]):
                if j > 0 and row[k, j] != row[k, j - 1]:
                    out[l, row[k, j - 1]] += low
                    low = 0.0
                lap_add(inside[k, j] * values[l, j], &out[l, row[k, j]], &low)
            if values.shape[1] > 0:
                out[l, row[k, values.shape[1] - 1]] += low


def spread(
    const double[:, ::1] values,        # IN  values at the rows
    const double[:, ::1] inside,        # IN
    const Py_ssize_t[:, ::1] row,       # IN
    const Py_ssize_t[::1] key,          # IN
    double[:, ::1] out,                 # OUT the transpose of collect, added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, j
    with nogil:
        for l in range(start, stop):
            for j in range(out.shape[1]):
                out[l, j] += inside[key[l], j] * values[l, row[key[l], j]]


def level_ties(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] key,          # IN
    double[:, ::1] values,              # IN, OUT one result per group of equal sources
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    with nogil:
        for l in range(start, stop):
            for m in range(1, values.shape[1]):
                if x[key[l], m] == x[key[l], m - 1]:
                    values[l, m] = values[l, m - 1]
