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
