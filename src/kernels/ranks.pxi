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
                _table.decays(&gap[l, b], size, ahead)
                _table.decays(&gap[l, m], size + 1, back)
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
