# Targets among sorted sources: where they lie, S there, and values from nodes to targets and back.

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
    const Py_ssize_t[::1] source_lane,  # IN
    Py_ssize_t[:, ::1] index,           # OUT how many sources are <= the target, 0 if it is NaN
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, n, low, high, middle, stride, size = lo.shape[1]
    cdef bint plain = u is None
    with nogil:
        for l in range(start, stop if size > 0 else start):
            k = source_lane[l]
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
    const Py_ssize_t[::1] source_lane,  # IN
    const Py_ssize_t[:, ::1] index,     # IN
    double[:, ::1] left,                # OUT (target - x[index-1])/alpha, inf without such a source
    double[:, ::1] right,               # OUT (x[index] - target)/alpha, inf without such a source
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, b, m, size, steps = lo.shape[1]
    with nogil:
        for l in range(start, stop):
            k = source_lane[l]
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
    const Py_ssize_t[::1] source_lane,  # IN
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
            k = source_lane[l]
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


def gather(
    const double[:, ::1] left,          # IN  values at the nodes
    const double[:, ::1] right,         # IN
    const Py_ssize_t[::1] source_lane,  # IN  lane of left and right
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
            k = source_lane[l]
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
    const Py_ssize_t[::1] source_lane,  # IN  lane of left and right
    double[:, :, ::1] left,             # OUT the transpose of gather: (2, lanes, n), sums as pairs
    double[:, :, ::1] right,            # OUT   added to what is there
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, p, m, n = left.shape[2]
    with nogil:
        for l in range(start, stop):
            k = source_lane[l]
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
