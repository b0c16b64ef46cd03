# What ascending targets give to the nodes next to them, and what every node gets of that.

cdef struct _nodes:                     # of one lane
    Py_ssize_t n, blank, last           # from `blank` on nothing is written yet
    double *left                        # what targets give to the nodes left of them,
    double *right                       # to those right of them,
    double *whole                       # and without a kernel to those left of them; NULL: nothing
    double high[3]                      # the sums at the last node, which may get more
    double low[3]


cdef inline void _receive(
    _nodes *nodes, Py_ssize_t n, double *left, double *right, double *whole,
) noexcept nogil:
    """Begin with n nodes that have nothing."""
    nodes.n, nodes.blank, nodes.last = n, 0, -1
    nodes.left, nodes.right, nodes.whole = left, right, whole
    memset(nodes.high, 0, sizeof(nodes.high))
    memset(nodes.low, 0, sizeof(nodes.low))


cdef inline void _blank_up_to(_nodes *nodes, Py_ssize_t stop) noexcept nogil:
    """Write zeros, where nothing is written yet, to nodes below `stop`."""
    cdef Py_ssize_t size = stop - nodes.blank
    if size <= 0:
        return
    memset(nodes.left + nodes.blank, 0, size * sizeof(double))
    memset(nodes.right + nodes.blank, 0, size * sizeof(double))
    if nodes.whole is not NULL:
        memset(nodes.whole + nodes.blank, 0, size * sizeof(double))
    nodes.blank = stop


cdef inline void _more(_nodes *nodes, int which, double *sum) noexcept nogil:
    """Add to what the last node had from blocks before: it may get something from many."""
    lap_add(sum[0], &nodes.high[which], &nodes.low[which])
    sum[0] = nodes.high[which] + nodes.low[which]


cdef inline void _give(
    _nodes *nodes, const ptrdiff_t *index, Py_ssize_t size, const double *to_left,
    const double *to_right, const double *plain,
) noexcept nogil:
    """Add what a block of targets gives; index[i] nodes are left of target i, never fewer than
    before."""
    cdef Py_ssize_t i, m, n = nodes.n
    cdef double same[BLOCK]
    cdef double before = 0.0, after = 0.0, both = 0.0
    _blank_up_to(nodes, min(n, index[size - 1] + 1))
    same[0] = 0.0
    for i in range(1, size):
        # 1 or 0, without a branch, which would often be guessed wrong.
        same[i] = 1 + (<int64_t>(index[i - 1] - index[i]) >> 63)
    for i in range(size):
        # What reaches one node is overwritten until it is complete.
        m = index[i]
        before = before * same[i] + to_left[i]
        after = after * same[i] + to_right[i]
        if m > 0:
            nodes.left[m - 1] = before
        if m < n:
            nodes.right[m] = after
    if nodes.whole is not NULL:
        for i in range(size):
            both = both * same[i] + plain[i]
            if index[i] > 0:
                nodes.whole[index[i] - 1] = both
    m = index[0]
    if m == nodes.last:
        if m > 0:
            _more(nodes, 0, &nodes.left[m - 1])
        if m < n:
            _more(nodes, 1, &nodes.right[m])
        if m > 0 and nodes.whole is not NULL:
            _more(nodes, 2, &nodes.whole[m - 1])
    if index[size - 1] != nodes.last:
        nodes.last = index[size - 1]
        nodes.high[0], nodes.high[1], nodes.high[2] = before, after, both
        memset(nodes.low, 0, sizeof(nodes.low))


cdef inline double _passing(
    const double *kernel, const double *gap, const double *A, const double *B,
    const double *from_left, const double *from_right, bint begins, Py_ssize_t size,
) noexcept nogil:
    """What passes gaps in sum_ij (x_i - x_j)/alpha between targets i and weights j, times the gaps;
    from_left is that before each gap.  There is no gap where the lane begins."""
    cdef Py_ssize_t i
    cdef double value = 0.0
    for i in range(begins, size):
        value += min(gap[i], FAR) * (
            kernel[i] * (from_right[i] * A[i - 1] - from_left[i] * B[i])
        )
    return value


cdef inline void _join(
    const double *from_left, const double *from_right, Py_ssize_t size, double *sums,
    double *differences,
) noexcept nogil:
    """The sums of the two, and, unless that is NULL, their differences."""
    cdef Py_ssize_t i
    cdef double before, after
    for i in range(size):
        before, after = from_left[i], from_right[i]
        sums[i] = before + after
        if differences is not NULL:
            differences[i] = before - after


cdef double _carry(
    _nodes *nodes, const double *gap, const double *A, const double *B,
) noexcept nogil:
    """Scan from the left what is right of targets, and from the right what is left of them: `right`
    becomes the sums of the two and, if `whole` is there, `left` their differences and `whole` what
    the targets right of each node gave.  Returns what of all that passes gaps, times the gaps.
    """
    cdef Py_ssize_t i, k, some, n = nodes.n
    cdef double value, total = 0.0, rest = 0.0, high = 0.0, low = 0.0
    cdef double *left = nodes.left
    cdef double *right = nodes.right
    cdef double *apart = NULL if nodes.whole is NULL else left
    cdef _meeting scan
    _blank_up_to(nodes, n)
    _meet(&scan, gap, n)
    while _advance(&scan):
        memcpy(scan.left + 1, right + scan.at, scan.size * sizeof(double))
        memcpy(scan.right, left + scan.mirror, scan.size * sizeof(double))
        _scan(&scan)
        if not _have_met(&scan):
            memcpy(right + scan.at, scan.left + 1, scan.size * sizeof(double))
            memcpy(left + scan.mirror, scan.right, scan.size * sizeof(double))
            continue
        some = _not_middle(&scan)
        if some < scan.size:
            left[scan.at] = scan.right[some]
        k = scan.at
        value = _passing(scan.ahead, gap + k, A + k, B + k, scan.left, left + k, k == 0,
                         scan.size)
        i = scan.mirror
        value += _passing(scan.back, gap + i, A + i, B + i, right + i - 1, scan.right,
                          i == 0, some)
        lap_add(value, &total, &rest)
        _join(scan.left + 1, left + k, scan.size, right + k, apart + k if apart is not NULL else NULL)
        _join(right + i, scan.right, some, right + i, apart + i if apart is not NULL else NULL)
    if nodes.whole is not NULL:
        for i in range(n - 1, -1, -1):
            lap_add(nodes.whole[i], &high, &low)
            nodes.whole[i] = high + low
    return total + rest
