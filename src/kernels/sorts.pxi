# Soft sorts, which are the thresholds at evenly spaced levels, and their cotangents.

cdef enum:
    FACTORS = 1536                      # six blocks


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
    cdef Py_ssize_t l, i, b, n, size, steps = bar.shape[1]
    cdef ptrdiff_t index[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double factors[FACTORS]
    cdef double total, rest, value
    cdef _walk walk
    cdef _nodes nodes
    with nogil:
        for l in range(start, stop):
            n = count[l]
            walk = _walk(lowest, n, 0, 0)
            alpha_bar[l] = 0.0
            if n == 0:
                for i in range(x.shape[1]):
                    x_bar[l, i] = 0.0
                continue
            # The sums end up in the second: it is not where they are to be distributed from.
            if part is None:
                _receive(&nodes, n, &x_bar[l, 0], &scratch[l, 0], NULL)
            else:
                _receive(&nodes, n, &scratch[l, 0], &x_bar[l, 0], NULL)
            total = rest = 0.0
            b = 0
            while b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, size, index, side, u, factors,
                       6, BLOCK)
                value = 0.0
                for i in range(size):
                    factors[i] = factors[2 * BLOCK + i] * bar[l, b + i]
                    factors[BLOCK + i] = factors[3 * BLOCK + i] * bar[l, b + i]
                    if bar[l, b + i] != 0.0:
                        value += bar[l, b + i] * factors[5 * BLOCK + i]
                _give(&nodes, index, size, factors, factors + BLOCK, NULL)
                lap_add(value, &total, &rest)
                b += size
            lap_add(_carry(&nodes, &gap[l, 0], &A[l, 0], &B[l, 0]), &total, &rest)
            alpha_bar[l] = total + rest
            _give_back(nodes.right, &x[l, 0], 1.0, 1.0, _order_of(places, part, first, l),
                       nodes.left, &x_bar[l, 0])
