# Cotangents of ranks and of sorts.  The two scans of `meeting.pxi` stand here within the loops that
# use them: by blocks, as there, these two calls are a tenth slower at 10^6 entries.

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
                _table.decays(&gap[l, b], size, ahead, NULL)
                _table.decays(&gap[l, m], size + 1, back, NULL)
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
                _table.decays(&gap[l, b], size, ahead, NULL)
                _table.decays(&gap[l, n - b - size], size + 1, back, NULL)
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
