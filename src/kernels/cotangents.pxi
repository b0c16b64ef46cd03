# Cotangents of sums at ascending targets, and of thresholds at ascending levels: each of them gives
# something to the two sources next to it, and two scans carry that on.

cdef void _sources_bar(
    _nodes *nodes, const double *x, const double[:, ::1] weights, Py_ssize_t l, double factor,
    double divisor, _order order, double *out,
) noexcept nogil:
    """factor times the sums that nodes have over divisor, times the weights, in the caller's order."""
    cdef Py_ssize_t j
    if weights is not None:
        for j in range(nodes.n):
            nodes.right[j] *= weights[l, j]
    memset(nodes.right + nodes.n, 0, (order.n - nodes.n) * sizeof(double))
    _give_back(nodes.right, x, factor, divisor, order, nodes.left, out)


cdef void _weights_bar(
    _nodes *nodes, double share, double factor, _order order, double *out,
) noexcept nogil:
    """factor times what targets right of each node gave and a share of what scans differ by."""
    cdef Py_ssize_t j
    for j in range(nodes.n):
        nodes.whole[j] = factor * (nodes.whole[j] + share * nodes.left[j])
    memset(nodes.whole + nodes.n, 0, (order.n - nodes.n) * sizeof(double))
    _unsort(nodes.whole, order, nodes.left, out)


cdef inline bint _follow(
    const Py_ssize_t *index, const double *targets, Py_ssize_t size, ptrdiff_t *last,
    ptrdiff_t *out,
) noexcept nogil:
    """The index of each target, that of a NaN being the one before; whether they never descend."""
    cdef Py_ssize_t i
    cdef bint ascend = True
    for i in range(size):
        if targets[i] == targets[i]:
            ascend &= index[i] >= last[0]
            last[0] = index[i]
        out[i] = last[0]
    return ascend


def pull_targets(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] A,             # IN  scans of the weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] targets,       # IN  ascending, NaN last
    const Py_ssize_t[:, ::1] index,     # IN  as from `locate`
    const double[:, ::1] bar,           # IN  finite cotangent of the sums, in the order of targets
    double[:, ::1] left,                # scratch
    double[:, ::1] right,               # scratch
    double[:, ::1] whole,               # scratch, None with weights_bar
    double[:, ::1] targets_bar,         # OUT in the order of the targets, NaN for NaN
    double[:, ::1] x_bar,               # OUT in the caller's order
    double[::1] alpha_bar,              # OUT
    double[:, ::1] weights_bar,         # OUT None without weights
    unsigned char[::1] ascending,       # OUT else all other results are of no use
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, b, m, size, n, steps = targets.shape[1]
    cdef ptrdiff_t at[BLOCK]
    cdef double before[BLOCK]
    cdef double after[BLOCK]
    cdef double near[BLOCK]
    cdef double far[BLOCK]
    cdef double plain[BLOCK]
    cdef double total, rest, value, t, own
    cdef ptrdiff_t last
    cdef _order order
    cdef _nodes nodes
    with nogil:
        for l in range(start, stop if x.shape[1] > 0 else start):
            n = count[l]
            order = _order_of(places, part, first, l)
            _receive(&nodes, n, &left[l, 0], &right[l, 0], NULL if whole is None else &whole[l, 0])
            total = rest = 0.0
            ascending[l] = True
            last = b = 0
            while b < steps and ascending[l]:
                size = BLOCK if b + BLOCK < steps else steps - b
                ascending[l] = _follow(&index[l, b], &targets[l, b], size, &last, at)
                _steps(&x[l, 0], n, alpha[l], &targets[l, b], &index[l, b], size, before, after)
                for i in range(size):
                    near[i] = -before[i]
                    far[i] = -after[i]
                _table.exp(near, size, near)
                _table.exp(far, size, far)
                value = 0.0
                for i in range(size):
                    t = targets[l, b + i]
                    m = at[i]
                    plain[i] = bar[l, b + i]
                    own = 0.0
                    if t != t:
                        near[i] = far[i] = plain[i] = 0.0
                        own = t
                    if near[i] != 0.0:
                        own += near[i] * A[l, m - 1]
                        value += plain[i] * (near[i] * before[i] * A[l, m - 1])
                    if far[i] != 0.0:
                        own += far[i] * B[l, m]
                        value -= plain[i] * (far[i] * after[i] * B[l, m])
                    if t - t == 0.0 or t != t:
                        targets_bar[l, b + i] = 0.5 * (bar[l, b + i] * own) / alpha[l]
                    else:
                        targets_bar[l, b + i] = 0.0     # an infinite one does not move
                    near[i] *= plain[i]
                    far[i] *= plain[i]
                _give(&nodes, at, size, near, far, plain)
                lap_add(value, &total, &rest)
                b += size
            lap_add(_carry(&nodes, &gap[l, 0], &A[l, 0], &B[l, 0]), &total, &rest)
            alpha_bar[l] = -0.5 * (total + rest) / alpha[l]
            if weights_bar is not None:
                _weights_bar(&nodes, 0.5, 1.0, order, &weights_bar[l, 0])
            _sources_bar(&nodes, &x[l, 0], weights, l, -0.5, alpha[l], order, &x_bar[l, 0])


def pull_levels(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] high,          # IN  running sums of the weights as pairs, None: counts
    const double[:, ::1] low,           # IN
    const double[:, ::1] A,             # IN  scans of the weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] levels,        # IN  ascending, NaN last
    const Py_ssize_t[:, ::1] index,     # IN  as from `solve`
    const double[:, ::1] bar,           # IN  finite cotangent of the thresholds, in their order
    double[:, ::1] left,                # scratch
    double[:, ::1] right,               # scratch
    double[:, ::1] whole,               # scratch, None with weights_bar
    double[:, ::1] levels_bar,          # OUT in the order of the levels, NaN for NaN
    double[:, ::1] x_bar,               # OUT in the caller's order
    double[::1] alpha_bar,              # OUT
    double[:, ::1] weights_bar,         # OUT None without weights
    unsigned char[::1] plain,           # OUT whether levels ascend and no density is LOW, else all
    Py_ssize_t start, Py_ssize_t stop,  #     other results are of no use
):
    cdef Py_ssize_t l, i, b, size, n, steps = levels.shape[1]
    cdef ptrdiff_t at[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double factors[FACTORS]
    cdef double total, rest, value, given
    cdef ptrdiff_t last
    cdef _order order
    cdef _nodes nodes
    with nogil:
        for l in range(start, stop if x.shape[1] > 0 else start):
            n = count[l]
            order = _order_of(places, part, first, l)
            _receive(&nodes, n, &left[l, 0], &right[l, 0], NULL if whole is None else &whole[l, 0])
            total = rest = 0.0
            plain[l] = True
            last = b = 0
            while b < steps and plain[l]:
                size = BLOCK if b + BLOCK < steps else steps - b
                plain[l] = _follow(&index[l, b], &levels[l, b], size, &last, at)
                _solve_at(gap, high, low, A, B, l, n, &levels[l, b], &index[l, b], size,
                          side, u, factors, BLOCK)
                value = 0.0
                for i in range(size):
                    given = bar[l, b + i]
                    if n == 0 or u[i] != u[i]:
                        levels_bar[l, b + i] = 0.0 if n == 0 else NAN
                        factors[i] = factors[BLOCK + i] = factors[2 * BLOCK + i] = 0.0
                        continue
                    plain[l] &= factors[4 * BLOCK + i] >= LOW
                    if given != 0.0:
                        value += given * factors[5 * BLOCK + i]
                    factors[i] = factors[2 * BLOCK + i] * given
                    factors[BLOCK + i] = factors[3 * BLOCK + i] * given
                    given *= 1.0 / factors[4 * BLOCK + i]
                    factors[2 * BLOCK + i] = given
                    levels_bar[l, b + i] = given * alpha[l]
                _give(&nodes, at, size, factors, factors + BLOCK, factors + 2 * BLOCK)
                lap_add(value, &total, &rest)
                b += size
            lap_add(_carry(&nodes, &gap[l, 0], &A[l, 0], &B[l, 0]), &total, &rest)
            alpha_bar[l] = total + rest
            if weights_bar is not None:
                _weights_bar(&nodes, 1.0, -alpha[l], order, &weights_bar[l, 0])
            _sources_bar(&nodes, &x[l, 0], weights, l, 1.0, 1.0, order, &x_bar[l, 0])
