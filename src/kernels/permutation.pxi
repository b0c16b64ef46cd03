# Soft permutations as matrices, and their derivatives.

cdef enum:
    GROUP = 32                          # columns of a matrix


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
