# The order of entries by integers: the leading bits of each and its index in one.

cdef enum:
    DIGIT = 11                          # bits, of which RADIX is the number of values
    RADIX = 2048
    DIGITS = 6                          # of an integer, the first of 9 bits


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
    unsigned char[::1] nan_lanes,    # OUT whether one is NaN
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, none, n = x.shape[1]
    cdef uint64_t mask = (<uint64_t>1 << width) - 1
    cdef bint absent
    with nogil:
        for l in range(start, stop):
            nan_lanes[l] = 0
            none = 0
            for i in range(n):
                keys[l, i] = (_ordered(x[l, i]) & ~mask) | i
                none += x[l, i] != x[l, i]
            if none > 0 or weights is not None:
                none = 0
                for i in range(n):
                    absent = weights is not None and weights[l, i] == 0.0
                    if absent or x[l, i] != x[l, i]:
                        nan_lanes[l] |= not absent
                        keys[l, i] = ~mask | i
                        none += 1
            count[l] = 0 if nan_lanes[l] else n - none


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
