# One threshold a lane, or a few, from entries in any order, and derivatives.  The loops are in lanes/.

cdef enum:
    DENSITIES = 4000000                 # of floats, 32 MB: more are sooner computed again than kept


cdef inline lap_lane _lane(
    const entry[:, ::1] x, const double[:, ::1] weights, double sign, const double[::1] alpha,
    Py_ssize_t l, const lap_runner *runner,
) noexcept nogil:
    cdef lap_lane lane
    lane.table = _table
    lane.runner = runner
    lane.x = &x[l, 0]
    lane.copy = NULL
    lane.single = entry is float
    lane.c = NULL
    if weights is not None:
        lane.c = &weights[l, 0]
    lane.n = x.shape[1]
    lane.sign = sign
    lane.alpha = alpha[l]
    return lane


def check_levels(
    const double[::1] levels,           # IN
    const double[::1] totals,           # IN  None: n
    double n,                           # IN
    double allowance,                   # IN  by which part of itself a level may exceed the total
    double[::1] out,                    # OUT levels, and infinity from the total on
):
    """Return the first lane whose level is not in [0, total], or -1."""
    cdef Py_ssize_t l
    for l in range(levels.shape[0]):
        out[l] = lap_level(levels[l], n if totals is None else totals[l], allowance)
        if out[l] != out[l]:
            return l
    return -1


cdef inline int _select(
    lap_lane *lane, double level, double total, void *scratch, double *scratch_c,
    double[:, ::1] out, Py_ssize_t l, lap_anchored *b,
) noexcept nogil:
    """Select one threshold, as lap_select does; the copy of the lane is made too, if one is wanted."""
    cdef lap_selected s
    cdef int found = 0
    s.copied = 0
    if 0.0 < level < total:
        found = lap_select(lane, level, total, scratch, scratch_c, &s)
    if lane.copy is not NULL:
        if not s.copied:
            lap_lane_copy(lane)
        lane.x = lane.copy
    if not found:
        return 0
    b.lo = s.right_node if s.root.side > 0 else s.left_node
    b.hi = s.left_node if s.root.side < 0 else s.right_node
    b.u = s.root.u
    out[0, l] = b.lo
    out[1, l] = b.hi
    out[2, l] = b.u
    out[3, l] = s.left_node
    out[4, l] = s.right_node
    out[5, l] = s.root.q_left
    out[6, l] = s.root.q_right
    out[7, l] = s.root.density
    out[8, l] = lap_threshold(b.lo, b.hi, b.u, lane.alpha)
    out[9, l] = s.root.centre
    return found


def select_topk(
    Py_ssize_t workers,                 # threads that share the parts of a lane
    const entry[:, ::1] x,              # IN  entries in any order
    const double[:, ::1] weights,       # IN  None: ones
    double sign,                        # IN  1: solved for x, -1: for -x
    const double[::1] levels,           # IN
    const double[::1] totals,           # IN  sums of the weights, None: n
    const double[::1] alpha,            # IN
    bint logarithm,                     # IN
    entry[:, ::1] copy,                 # OUT None, or a copy of x
    entry[:, ::1] p,                    # OUT F((b - sign x)/alpha), or its logarithm
    unsigned char[::1] solved,          # OUT as lap_select returns it
    double[:, ::1] out,                 # OUT (10, lanes): lo, hi, u, the neighbours of the
    Py_ssize_t start, Py_ssize_t stop,  #     threshold, q_left, q_right, density, b, centre
):
    """Select one threshold a lane, where the lane allows it; p holds entries on the way."""
    cdef Py_ssize_t l
    cdef double *scratch_c = NULL
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef lap_anchored b
    cdef double total = x.shape[1]
    if weights is not None:
        scratch_c = <double*>malloc((x.shape[1] + 1) * sizeof(double))
        if scratch_c is NULL:
            raise MemoryError
    with nogil:
        for l in range(start, stop):
            lane = _lane(x, weights, sign, alpha, l, runner)
            if copy is not None:
                lane.copy = &copy[l, 0]
            if totals is not None:
                total = totals[l]
            solved[l] = _select(&lane, levels[l], total, &p[l, 0], scratch_c, out, l, &b)
            if solved[l]:
                lap_lane_cdf(&lane, &b, logarithm, &p[l, 0])
    free(scratch_c)


def select_thresholds(
    Py_ssize_t workers,                 # as for `select_topk`, and the others too
    const entry[:, ::1] x,              # IN
    const double[:, ::1] weights,       # IN
    const double[::1] levels,           # IN
    const double[::1] totals,           # IN
    const double[::1] alpha,            # IN
    unsigned char[::1] solved,          # OUT
    double[:, ::1] out,                 # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Select the thresholds alone."""
    cdef Py_ssize_t l, n = x.shape[1]
    cdef entry *scratch = <entry*>malloc((n + 1) * sizeof(entry))
    cdef double *scratch_c = NULL
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef lap_anchored b
    cdef double total = n
    if scratch is NULL:
        raise MemoryError
    if weights is not None:
        scratch_c = <double*>malloc((n + 1) * sizeof(double))
        if scratch_c is NULL:
            free(scratch)
            raise MemoryError
    with nogil:
        for l in range(start, stop):
            lane = _lane(x, weights, 1.0, alpha, l, runner)
            if totals is not None:
                total = totals[l]
            solved[l] = _select(&lane, levels[l], total, scratch, scratch_c, out, l, &b)
    free(scratch)
    free(scratch_c)


def probabilities(
    const double[:, ::1] x,             # IN
    const double[:, ::1] thresholds,    # IN  as `select_topk` leaves them
    const double[::1] alpha,            # IN
    bint logarithm,                     # IN
    double[:, ::1] out,                 # OUT F((b - x)/alpha), or its logarithm
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i
    cdef double t
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                t = lap_offset(thresholds[0, l], thresholds[1, l], thresholds[2, l], x[l, i],
                               alpha[l])
                out[l, i] = lap_logcdf(t) if logarithm else lap_cdf(t)


cdef inline lap_anchored _anchored(const double[:, ::1] thresholds, Py_ssize_t l) noexcept nogil:
    """The threshold of a lane, for derivatives."""
    cdef lap_anchored b
    b.lo, b.hi, b.u = thresholds[0, l], thresholds[1, l], thresholds[2, l]
    b.left, b.right, b.density = thresholds[3, l], thresholds[4, l], thresholds[7, l]
    return b


def pull(
    Py_ssize_t workers,                 # as for `select_topk`
    const entry[:, ::1] x,              # IN
    const double[:, ::1] thresholds,    # IN  as `select_topk` leaves them, for lanes it solved
    const double[:, ::1] weights,       # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const entry[:, ::1] bar,            # IN  cotangent of F, or of its logarithm
    bint logarithm,                     # IN
    entry[:, ::1] x_bar,                # OUT
    double[::1] level_bar,              # OUT
    double[::1] alpha_bar,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Cotangents of x, of the level and of alpha, by two passes over each lane."""
    cdef Py_ssize_t l
    cdef lap_anchored b
    cdef lap_lane lane
    cdef lap_pulled sums
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef double *scratch = NULL
    if entry is float and x.shape[1] <= DENSITIES:
        scratch = <double*>malloc((x.shape[1] + 1) * sizeof(double))
        if scratch is NULL:
            raise MemoryError
    with nogil:
        for l in range(start, stop):
            b = _anchored(thresholds, l)
            lane = _lane(x, weights, sign, alpha, l, runner)
            lap_lane_pull(&lane, &b, &bar[l, 0], logarithm,
                          scratch if entry is float else &x_bar[l, 0], &x_bar[l, 0], &sums)
            level_bar[l] = (sums.h.high + sums.h.low) / b.density
            alpha_bar[l] = -(sums.along.high + sums.along.low) / alpha[l]
    free(scratch)


def push(
    Py_ssize_t workers,                 # as for `select_topk`
    const entry[:, ::1] x,              # IN
    const double[:, ::1] thresholds,    # IN  as `select_topk` leaves them, for lanes it solved
    const double[:, ::1] weights,       # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] dot,           # IN  None: zeros
    const double[::1] level_dot,        # IN
    const double[::1] alpha_dot,        # IN
    bint logarithm,                     # IN
    double[:, ::1] out,                 # OUT the tangent of F, or of its logarithm
    Py_ssize_t start, Py_ssize_t stop,
):
    """The tangent for those of x, of the level and of alpha, by three passes over each lane."""
    cdef Py_ssize_t l
    cdef lap_anchored b
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef const double *dots = NULL
    with nogil:
        for l in range(start, stop):
            b = _anchored(thresholds, l)
            lane = _lane(x, weights, sign, alpha, l, runner)
            if dot is not None:
                dots = &dot[l, 0]
            lap_lane_push(&lane, &b, dots, level_dot[l], alpha_dot[l], logarithm, &out[l, 0])


cdef inline lap_anchored _one_of_few(
    const double[:, :, ::1] thresholds, Py_ssize_t l, Py_ssize_t i,
) noexcept nogil:
    cdef lap_anchored b
    b.lo, b.hi, b.u = thresholds[0, l, i], thresholds[1, l, i], thresholds[2, l, i]
    b.left, b.right, b.density = thresholds[3, l, i], thresholds[4, l, i], thresholds[7, l, i]
    return b


def softmax(
    Py_ssize_t workers,                 # as for `select_topk`
    const entry[:, ::1] x,              # IN
    const double[:, :, ::1] thresholds, # IN  (10, lanes, few) as `select_topk` leaves them
    const double[:, ::1] weights,       # IN  None: ones
    const double[::1] alpha,            # IN
    const double[:, ::1] dot,           # IN  None: no average
    const double[:, ::1] bar,           # IN  None: no x_bar
    entry[:, ::1] x_bar,                # OUT sum_i bar_i q_ij
    double[:, ::1] average,             # OUT sum_j q_ij dot_j
    double[:, ::1] slope,               # OUT sum_j q_ij (b_i - x_j)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    """Sums with the softmax weights q_ij of -|b_i - x_j|/alpha, times c_j, over j."""
    cdef Py_ssize_t l, i, few = thresholds.shape[2]
    cdef lap_anchored b[LAP_FEW]
    cdef lap_pulled sums[LAP_FEW]
    cdef lap_lane lane
    cdef _threads threads
    cdef const lap_runner *runner = _runner(&threads, workers)
    cdef const double *dots = NULL
    cdef const double *bars = NULL
    if few > LAP_FEW:
        raise ValueError(f"at most {LAP_FEW} thresholds, got {few}")
    with nogil:
        for l in range(start, stop):
            for i in range(few):
                b[i] = _one_of_few(thresholds, l, i)
            if dot is not None:
                dots = &dot[l, 0]
            if bar is not None:
                bars = &bar[l, 0]
            lane = _lane(x, weights, 1.0, alpha, l, runner)
            lap_lane_softmax(&lane, b, few, dots, bars, &x_bar[l, 0] if bars else NULL, sums)
            for i in range(few):
                average[l, i] = sums[i].h.high + sums[i].h.low
                slope[l, i] = thresholds[9, l, i] + (sums[i].along.high + sums[i].along.low)


def pull_weights(
    const entry[:, ::1] x,              # IN
    const double[:, :, ::1] thresholds, # IN  (10, lanes, few) at shares of the total, as `softmax`
    const double[:, ::1] weights,       # IN
    const double[::1] totals,           # IN  of the weights
    const double[::1] alpha,            # IN
    const double[:, ::1] bar,           # IN
    double[:, ::1] out,                 # OUT sum_i bar_i alpha (mean_k F_ik - F_ij)/density_i
    Py_ssize_t start, Py_ssize_t stop,
):
    """In differences of F: weights that grow in proportion change nothing, and a large alpha makes
    all F alike."""
    cdef Py_ssize_t l, i, n = x.shape[1]
    cdef lap_anchored b
    cdef lap_pair sum
    with nogil:
        for l in range(start, stop if n > 0 else start):
            memset(&out[l, 0], 0, n * sizeof(double))
            for i in range(thresholds.shape[2]):
                b = _one_of_few(thresholds, l, i)
                _table.rises(&x[l, 0], entry is float, &weights[l, 0], n, &b, alpha[l], 0.0, 0.0,
                             NULL, &sum)
                _table.rises(&x[l, 0], entry is float, NULL, n, &b, alpha[l],
                             (sum.high + sum.low) / totals[l], -(bar[l, i] / b.density * alpha[l]),
                             &out[l, 0], NULL)
