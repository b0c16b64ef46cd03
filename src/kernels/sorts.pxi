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
