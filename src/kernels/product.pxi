# Products with soft permutations, without the matrix: what its rows hold of each node.

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
    const Py_ssize_t[::1] source_lane,  # IN  lane of inside and row
    double[:, ::1] out,                 # OUT sums by row, added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, j, k
    cdef double low
    with nogil:
        for l in range(start, stop):
            k = source_lane[l]
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
    const Py_ssize_t[::1] source_lane,  # IN
    double[:, ::1] out,                 # OUT the transpose of collect, added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, j
    with nogil:
        for l in range(start, stop):
            for j in range(out.shape[1]):
                out[l, j] += inside[source_lane[l], j] * values[l, row[source_lane[l], j]]


def level_ties(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] source_lane,  # IN
    double[:, ::1] values,              # IN, OUT one result per group of equal sources
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    with nogil:
        for l in range(start, stop):
            for m in range(1, values.shape[1]):
                if x[source_lane[l], m] == x[source_lane[l], m - 1]:
                    values[l, m] = values[l, m - 1]
