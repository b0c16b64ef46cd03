# Values moved into an order and back, and long lanes cut into ascending parts.

cdef enum:
    PARTS = 256                         # at most, of a long lane
    CELLS = 4096
    LINE = 8                            # entries of a line of the cache

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
    unsigned char[::1] nan_lanes,    # OUT
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
            nan_lanes[l] = 0
            memset(count_of, 0, sizeof(count_of))
            for i in range(n):
                p = part_of[_cell(x[l, i], low, rate)]
                if x[l, i] != x[l, i] or (weights is not None and weights[l, i] == 0.0):
                    p = parts
                    nan_lanes[l] |= weights is None or weights[l, i] != 0.0
                part[l, i] = <unsigned char>p
                count_of[p] += 1
            count[l] = 0 if nan_lanes[l] else n - count_of[parts]
            total = 0
            for p in range(PARTS):
                first[l, p] = total
                total += count_of[p]
            _distribute(&x[l, 0], &part[l, 0], &first[l, 0], n, &out[l, 0])


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
    const Py_ssize_t[::1] source_lane,  # IN  lane of the order, None: one's own
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
            order = _order_of(places, part, first, l if source_lane is None else source_lane[l])
            if scratch is not None:
                other = &scratch[l, 0]
            if back:
                _unsort(&values[l, 0], order, other, &out[l, 0])
            else:
                _sort(&values[l, 0], order, other, &out[l, 0])
