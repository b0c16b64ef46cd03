# Soft ranks from the scans, and their cotangents.

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
                    y = y if x[l, m] == x[l, m] else 0.0
                if part is None:
                    out[l, places[l, m]] = <entry>y
                else:
                    scratch[l, places[l, m]] = y
            if part is not None:
                _collect(&scratch[l, 0], &part[l, 0], &first[l, 0], n, &out[l, 0])


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


cdef inline double _kept_apart(
    const double *kernel, const double *gap, const double *A, const double *B, const double *before,
    const double *after, bint begins, Py_ssize_t size, double *out,
) noexcept nogil:
    """out = before - after; returns what passes the gaps in sum_ij e^{-|x_i - x_j|/alpha}
    (v_j - v_i), times the gaps.  There is none where the lane begins."""
    cdef Py_ssize_t i
    cdef double value = 0.0
    for i in range(begins, size):
        value += min(gap[i], FAR) * (
            kernel[i] * (A[i - 1] * after[i]) + before[i] * B[i]
        )
    for i in range(size):
        out[i] = before[i] - after[i]
    return value


cdef double _laplacian(
    const double *v, double along, const double *gap, const double *A, const double *B,
    Py_ssize_t n, double *out,
) noexcept nogil:
    """out_i = sum_j e^{-|x_i - x_j|/alpha} (v_i - v_j), for v less along times x/alpha.

    In differences of v nothing cancels; nor does the flux of them through each gap, which is what
    alpha feels: twice that is returned.
    """
    cdef Py_ssize_t i, k, some
    cdef double value, total = 0.0, rest = 0.0
    cdef _meeting scan
    _meet(&scan, gap, n)
    while _advance(&scan):
        _add_differences(&scan, v, along, A, B)
        _scan(&scan)
        if not _have_met(&scan):
            memcpy(out + scan.at, scan.left + 1, scan.size * sizeof(double))
            memcpy(out + scan.mirror, scan.right, scan.size * sizeof(double))
            continue
        some = _not_middle(&scan)
        if some < scan.size:
            out[scan.at] = scan.right[some]
        k = scan.at
        value = _kept_apart(scan.ahead, gap + k, A + k, B + k, scan.left + 1, out + k, k == 0,
                            scan.size, out + k)
        k = scan.mirror
        value += _kept_apart(scan.back, gap + k, A + k, B + k, out + k, scan.right, k == 0, some,
                             out + k)
        lap_add(value, &total, &rest)
    return total + rest


def push_ranks(
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
    const double[:, ::1] x_dot,         # IN  finite, in the caller's order; None: zero
    const double[::1] along,            # IN  None: zero
    double[:, ::1] scratch,
    double[:, ::1] out,                 # OUT sign sum_j K_ij (x_dot_i - x_dot_j), caller's order,
                                        #     less the same of along x/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, n = x.shape[1]
    cdef double *v
    cdef double *sums
    cdef _order order
    with nogil:
        for l in range(start, stop if n > 0 else start):
            if count[l] == 0:
                memset(&out[l, 0], 0, n * sizeof(double))
                continue
            v = &out[l, 0] if part is None else &scratch[l, 0]
            sums = &scratch[l, 0] if part is None else &out[l, 0]
            order = _order_of(places, part, first, l)
            if x_dot is None:
                memset(v, 0, n * sizeof(double))
            else:
                _sort(&x_dot[l, 0], order, sums, v)
            _laplacian(v, 0.0 if along is None else along[l], &gap[l, 0], &A[l, 0],
                       &B[l, 0], n, sums)
            _give_back(sums, &x[l, 0], 0.5 * sign, alpha[l], order, v, &out[l, 0])


cdef inline double _weighted(
    const _meeting *scan, const double *kernel, Py_ssize_t k, const double *A, const double *B,
    const double *c, const double *v, const double *before, const double *after, Py_ssize_t size,
    double *sums, double *differences,
) noexcept nogil:
    """sum_j e_kj (c_j v_k - c_k v_j), without k itself, from scans of v before and after each entry;
    v_k/2 and half their difference; returns what of that passes the gaps, times the gaps."""
    cdef Py_ssize_t i
    cdef bint begins = k == 0, ends = k + size == scan.n
    cdef double total = 0.0, A_before = 0.0, B_after
    for i in range(size):
        B_after = 0.0
        if i < size - ends:
            B_after = kernel[i + 1] * B[k + i + 1]
        if i >= begins:
            A_before = kernel[i] * A[k + i - 1]
            total += min(scan.gap[k + i], FAR) * (
                A_before * (after[i] + v[k + i]) - before[i] * B[k + i]
            )
        differences[i] = 0.5 * ((before[i] - after[i]) + v[k + i])
        sums[i] = v[k + i] * (A_before + B_after) - c[k + i] * (before[i] + after[i])
    return total


cdef double _weighted_laplacian(
    const double *v, const double *c, const double *gap, const double *A, const double *B,
    Py_ssize_t n, double *sums, double *cdf,
) noexcept nogil:
    """sums_k = sum_j e^{-|x_k - x_j|/alpha} (c_j v_k - c_k v_j), cdf_k = sum_i F_ik v_i; returns
    sum_ij v_i c_j e^{-|x_i - x_j|/alpha} (x_i - x_j)/alpha."""
    cdef Py_ssize_t i, k, some
    cdef double value, total = 0.0, rest = 0.0, high = 0.0, low = 0.0
    cdef _meeting scan
    _meet(&scan, gap, n)
    while _advance(&scan):
        # An entry's own kernel, one, would drown the others' where those are tiny.
        scan.left[1] = scan.right[scan.size - 1] = 0.0
        for i in range(scan.begins, scan.size):
            scan.left[i + 1] = scan.ahead[i] * v[scan.at + i - 1]
        for i in range(scan.size - scan.begins):
            scan.right[i] = scan.back[i + 1] * v[scan.mirror + i + 1]
        _scan(&scan)
        if not _have_met(&scan):
            memcpy(sums + scan.at, scan.left + 1, scan.size * sizeof(double))
            memcpy(sums + scan.mirror, scan.right, scan.size * sizeof(double))
            continue
        some = _not_middle(&scan)
        if some < scan.size:
            sums[scan.at] = scan.right[some]
        k = scan.at
        value = _weighted(&scan, scan.ahead, k, A, B, c, v, scan.left + 1, sums + k, scan.size,
                          sums + k, cdf + k)
        k = scan.mirror
        value += _weighted(&scan, scan.back, k, A, B, c, v, sums + k, scan.right, some, sums + k,
                           cdf + k)
        lap_add(value, &total, &rest)
    for k in range(n - 1, -1, -1):
        cdf[k] += high + low
        lap_add(v[k], &high, &low)
    for k in range(1, n):               # a tie has one result
        if gap[k] == 0.0:
            cdf[k] = cdf[k - 1]
    return total + rest


def pull_weighted_ranks(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN  all of them; lanes of which some are absent are left
    const double[:, ::1] weights,       # IN
    const double[:, ::1] A,             # IN  scans of the weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    double sign,                        # IN
    const double[:, ::1] bar,           # IN  finite cotangent, in the caller's order
    double[:, ::1] sorted_bar,          # scratch
    double[:, ::1] scratch,
    double[:, ::1] x_bar,               # OUT cotangents, in the caller's order
    double[::1] alpha_bar,              # OUT
    double[:, ::1] weights_bar,         # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, n = x.shape[1]
    cdef double *v
    cdef double *sums
    cdef double *cdf
    cdef _order order
    with nogil:
        for l in range(start, stop):
            alpha_bar[l] = 0.0
            if count[l] < n or n == 0:
                continue
            v, sums, cdf = &sorted_bar[l, 0], &scratch[l, 0], &x_bar[l, 0]
            order = _order_of(places, part, first, l)
            _sort(&bar[l, 0], order, sums, v)
            alpha_bar[l] = -0.5 * _weighted_laplacian(v, &weights[l, 0], &gap[l, 0], &A[l, 0],
                                                      &B[l, 0], n, sums, cdf) / alpha[l]
            _unsort(cdf, order, v, &weights_bar[l, 0])
            _give_back(sums, &x[l, 0], 0.5 * sign, alpha[l], order, v, &x_bar[l, 0])
