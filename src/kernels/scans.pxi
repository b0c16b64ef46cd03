# Sums along sorted lanes: the two decaying scans, plain running sums, totals.

def gaps(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[::1] count,        # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT (x[m] - x[m-1])/alpha; inf where there is no pair
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    with nogil:
        for l in range(start, stop):
            if count[l] > 0:
                out[l, 0] = INFINITY
                _table.steps(&x[l, 0], &x[l, 0] + 1, count[l] - 1, alpha[l], &out[l, 0] + 1)
            for m in range(count[l], x.shape[1]):
                out[l, m] = INFINITY


def decays(
    const double[:, ::1] gap,           # IN
    double[:, ::1] out,                 # OUT lap_decay(gap)
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    with nogil:
        for l in range(start, stop):
            if gap.shape[1] > 0:
                _table.decays(&gap[l, 0], gap.shape[1], &out[l, 0], NULL)


def scan(
    const double[:, ::1] decay,         # IN  None: no decay, plain running sums
    const double[:, ::1] values,        # IN  None: ones
    const Py_ssize_t[::1] source_lane,  # IN  lane of decay
    bint reverse,                       # IN
    double[:, ::1] out,                 # OUT out[m] = values[m] + e^{-gap[m]} out[m-1], or mirrored
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, m, n = out.shape[1]
    cdef bint unit = values is None, plain = decay is None
    cdef double high, low, value, factor
    with nogil:
        for l in range(start, stop):
            high = low = 0.0
            for i in range(n):
                m = n - 1 - i if reverse else i
                value = 1.0 if unit else values[l, m]
                if plain:
                    lap_add(value, &high, &low)
                else:
                    factor = 0.0
                    if i > 0:
                        factor = decay[source_lane[l], m + 1 if reverse else m]
                    lap_scan(value, factor, &high, &low)
                out[l, m] = high + low


def scan_both(
    const double[:, ::1] gap,           # IN
    const double[:, ::1] values,        # IN  None: ones
    const Py_ssize_t[::1] source_lane,  # IN  lane of gap
    double[:, ::1] left,                # OUT scan(values), not reversed
    double[:, ::1] right,               # OUT and reversed
    Py_ssize_t start, Py_ssize_t stop,
):
    """The two directions do not wait for each other: together they take hardly longer than one."""
    cdef Py_ssize_t l, m, k, b, size, n = left.shape[1]
    cdef double ahead[BLOCK]
    cdef double back[BLOCK]
    cdef double first_high, first_low, last_high, last_low
    cdef lap_two high, low, high_before, low_before, sum, value = lap_both(1.0, 1.0)
    with nogil:
        for l in range(start, stop if n > 0 else start):
            if values is not None:
                value = lap_both(values[l, 0], values[l, n - 1])
            left[l, 0] = lap_first(value)
            right[l, n - 1] = lap_second(value)
            high, low = value, lap_both(0.0, 0.0)
            b = 1
            while b < n:
                size = BLOCK if b + BLOCK < n else n - b
                _table.decays(&gap[source_lane[l], b], size, ahead, NULL)
                _table.decays(&gap[source_lane[l], n - b - size + 1], size, back, NULL)
                high_before, low_before = high, low
                for m in range(size):
                    k = n - 1 - (b + m)
                    if values is not None:
                        value = lap_both(values[l, b + m], values[l, k])
                    lap_scan_two(value, lap_both(ahead[m], back[size - 1 - m]), &high, &low)
                    sum = lap_total(high, low)
                    left[l, b + m] = lap_first(sum)
                    right[l, k] = lap_second(sum)
                if values is not None and not (isfinite(lap_first(high))
                                               and isfinite(lap_second(high))):
                    # A sum is infinite, or NaN, and stays so: once more, with care.
                    first_high, last_high = lap_first(high_before), lap_second(high_before)
                    first_low, last_low = lap_first(low_before), lap_second(low_before)
                    for m in range(size):
                        k = n - 1 - (b + m)
                        lap_scan(values[l, b + m], ahead[m], &first_high, &first_low)
                        lap_scan(values[l, k], back[size - 1 - m], &last_high, &last_low)
                        left[l, b + m] = first_high + first_low
                        right[l, k] = last_high + last_low
                    high, low = lap_both(first_high, last_high), lap_both(first_low, last_low)
                b += size


def moments(
    const double[:, ::1] decay,         # IN
    const double[:, ::1] step,          # IN  v[m] - v[m-1] at m
    const double[:, ::1] base,          # IN  scan(w) in the same direction
    const Py_ssize_t[::1] source_lane,  # IN  lane of decay and step
    bint reverse,                       # IN
    double[:, ::1] out,                 # OUT sum_j w_j e^{-|x_m - x_j|/alpha} |v_m - v_j|, signed
    Py_ssize_t start, Py_ssize_t stop,
):
    """The differences v_m - v_j (j below m, or v_j - v_m above), weighted by the kernel."""
    cdef Py_ssize_t l, i, m, at, n = out.shape[1]
    cdef double high, low, factor, value
    with nogil:
        for l in range(start, stop):
            high = low = 0.0
            for i in range(n):
                m = n - 1 - i if reverse else i
                if i > 0:
                    at = m + 1 if reverse else m
                    factor = lap_decay_value(decay[source_lane[l], at])
                    value = 0.0
                    if factor != 0.0:
                        value = factor * step[source_lane[l], at] * base[l, m + 1 if reverse else m - 1]
                    lap_scan(value, decay[source_lane[l], at], &high, &low)
                out[l, m] = high + low


def cumulate(
    const double[:, ::1] values,        # IN
    double[:, ::1] high,                # OUT running sums as unevaluated pairs
    double[:, ::1] low,                 # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, m
    cdef double hi, lo
    with nogil:
        for l in range(start, stop):
            hi = lo = 0.0
            for m in range(values.shape[1]):
                lap_add(values[l, m], &hi, &lo)
                high[l, m] = hi
                low[l, m] = lo


def totals(
    const double[:, ::1] values,        # IN  non-negative
    double[::1] out,                    # OUT correctly rounded sums
    Py_ssize_t start, Py_ssize_t stop,
):
    """Three-fold compensated, so that what is lost is far below half a unit in the last place."""
    cdef Py_ssize_t l, n = values.shape[1]
    cdef double part[3]
    cdef double first, second, error, rest, half
    with nogil:
        for l in range(start, stop):
            _table.add_up(&values[l, 0] if n > 0 else NULL, n, part)
            # Make the three parts non-overlapping, then round once.
            first, error, rest = part[0], 0.0, 0.0
            lap_add(part[1], &first, &error)
            lap_add(part[2], &error, &rest)
            second = 0.0
            lap_add(error, &first, &second)
            if (second > 0.0 and rest > 0.0) or (second < 0.0 and rest < 0.0):
                # Half a unit was rounded to even, and the third part says it was more than half.
                half = first + 2.0 * second
                if half - first == 2.0 * second:
                    first = half
            out[l] = first
