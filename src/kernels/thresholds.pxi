# Thresholds b with S(b) at given levels, among sorted sources.

cdef extern from *:
    """
    #define LOW 1e-290 /* smaller densities have few digits, or will on the way */
    """
    const double LOW

cdef inline double _excess(
    double w, const double[:, ::1] high, const double[:, ::1] low, Py_ssize_t k, Py_ssize_t m,
) noexcept nogil:
    """w less the weight of the first m sources."""
    return w - m if high is None or m == 0 else (w - high[k, m - 1]) - low[k, m - 1]


cdef inline bint _above(
    double w, const double[:, ::1] weights, const double[:, ::1] high, const double[:, ::1] low,
    const double[:, ::1] A, const double[:, ::1] B, Py_ssize_t k, Py_ssize_t m,
) noexcept nogil:
    """Whether w is above S at source m, which itself would round the small levels away."""
    cdef double c = 1.0 if weights is None else weights[k, m]
    return _excess(w, high, low, k, m) > 0.5 * ((B[k, m] - A[k, m]) + c)


cdef inline Py_ssize_t _merge_levels(
    const double *A, const double *B, Py_ssize_t n, const double *levels, Py_ssize_t size,
    Py_ssize_t *found, Py_ssize_t *index,
) noexcept nogil:
    """`_merge` of levels and S at the sources, for unit weights."""
    cdef Py_ssize_t low = 0, i = 0, j, some, last = _ascending(levels, size)
    cdef double half[BLOCK]
    cdef bint above
    while i < last and low < n:
        some = BLOCK if low + BLOCK < n else n - low
        for j in range(some):
            half[j] = 0.5 * ((B[low + j] - A[low + j]) + 1.0)
        j = 0
        while i < last and j < some:
            above = levels[i] - (low + j) > half[j]
            index[i] = low + j
            j += above
            i += 1 - above
        low += j
    for i in range(i, last):
        index[i] = n
    found[0] = last
    return low


cdef inline void _put(
    lap_root root, signed char *side, double *u, double *factors, int rows, ptrdiff_t stride,
) noexcept nogil:
    """Write a root, and unless factors is NULL the first `rows` of them at a distance of `stride`."""
    side[0] = root.side
    u[0] = root.u
    if factors is not NULL:
        factors[0] = root.left
        factors[stride] = root.right
    if factors is not NULL and rows == 6:
        factors[2 * stride] = root.q_left
        factors[3 * stride] = root.q_right
        factors[4 * stride] = root.density
        factors[5 * stride] = root.centre


cdef void _solve_at(
    const double[:, ::1] gap, const double[:, ::1] high, const double[:, ::1] low,
    const double[:, ::1] A, const double[:, ::1] B, Py_ssize_t k, Py_ssize_t n,
    const double *levels, const Py_ssize_t *index, Py_ssize_t size,
    signed char *side, double *u, double *factors, ptrdiff_t stride,
) noexcept nogil:
    """The roots at a block of levels, with index[i] of n nodes left of each; all six rows of factors,
    or none if that is NULL."""
    cdef Py_ssize_t i = 0, j
    cdef double excess[BLOCK]
    cdef int row
    cdef lap_root root
    for j in range(size):
        excess[j] = _excess(levels[j], high, low, k, index[j])
    while i < size:
        j = i
        while j < size and 0 < index[j] < n and levels[j] == levels[j]:
            j += 1
        if i < j:
            _table.solve(&A[k, 0], &B[k, 0], &gap[k, 0], <const ptrdiff_t*>index + i, j - i,
                         excess + i, 0.0, side + i, u + i, NULL if factors is NULL else factors + i,
                         6, stride)
        elif n == 0 or levels[i] != levels[i]:
            j = i + 1
            side[i] = 0
            u[i] = NAN
            for row in range(6 if factors is not NULL else 0):
                factors[row * stride + i] = 0.0 if n == 0 else NAN
        else:
            j = i + 1
            if index[i] == 0:
                root = lap_solve_below(levels[i], B[k, 0])
            else:
                root = lap_solve_above(excess[i], A[k, n - 1])
            _put(root, side + i, u + i, NULL if factors is NULL else factors + i, 6, stride)
        i = j


def solve(
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] weights,       # IN  None: ones
    const double[:, ::1] high,          # IN  running sums of the weights as pairs, None: counts
    const double[:, ::1] low,           # IN
    const double[:, ::1] A,             # IN
    const double[:, ::1] B,             # IN
    const double[:, ::1] levels,        # IN
    const Py_ssize_t[::1] source_lane,  # IN
    bint known,                         # IN  whether index is
    Py_ssize_t[:, ::1] index,           # OUT nodes left of the threshold
    signed char[:, ::1] side,           # OUT anchor of the threshold, as in lap_root
    double[:, ::1] u,                   # OUT offset from it
    double[:, :, ::1] factors,          # OUT None, or left, right, q_left, q_right, density, centre
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, b, k, m, lo, hi, stride, n, some, size = levels.shape[1]
    cdef Py_ssize_t distance = 0 if factors is None else factors.shape[1] * size
    cdef bint unit = weights is None
    cdef double w
    with nogil:
        for l in range(start, stop):
            k = source_lane[l]
            n = count[k]
            m = i = 0
            if known:
                i = size
            elif unit and n < 8 * size:
                m = _merge_levels(&A[k, 0], &B[k, 0], n, &levels[l, 0], size, &i, &index[l, 0])
            for i in range(i, size):
                w = levels[l, i]
                index[l, i] = 0
                if w != w:
                    continue
                stride = 1
                lo, hi = m, m
                while hi < n and _above(w, weights, high, low, A, B, k, hi):
                    lo = hi + 1
                    hi += stride
                    stride *= 2
                if hi > n:
                    hi = n
                if lo == m:
                    stride = 1
                    while lo > 0 and not _above(w, weights, high, low, A, B, k, lo - 1):
                        hi = lo - 1
                        lo -= stride
                        stride *= 2
                    if lo < 0:
                        lo = 0
                while lo < hi:
                    m = (lo + hi) // 2
                    if _above(w, weights, high, low, A, B, k, m):
                        lo = m + 1
                    else:
                        hi = m
                m = lo
                index[l, i] = m
            b = 0
            while b < size:
                some = BLOCK if b + BLOCK < size else size - b
                _solve_at(gap, high, low, A, B, k, n, &levels[l, b], &index[l, b], some,
                          &side[l, b], &u[l, b], NULL if factors is None else &factors[0, l, b],
                          distance)
                b += some


cdef struct _walk:                      # along the levels first + i of a lane of unit weights
    double first
    Py_ssize_t n, passed, below         # sources, those looked at, those below the last level


cdef void _roots(
    _walk *walk, const double *gap, const double *A, const double *B, Py_ssize_t b, Py_ssize_t size,
    ptrdiff_t *index, signed char *side, double *u, double *factors, int rows, ptrdiff_t stride,
) noexcept nogil:
    """The next `size` thresholds, those from level b on, as `solve_steps` returns them."""
    cdef Py_ssize_t i, k, some, low = 0, high = size, below = walk.below
    cdef double up_to[BLOCK]
    cdef double level
    cdef lap_root root
    # The last source below each level, then the last one below it or a lower level.
    memset(index, 0, size * sizeof(ptrdiff_t))
    i = some = 0
    while i == some and walk.passed < walk.n:
        some = min(BLOCK, walk.n - walk.passed)
        _table.levels_up_to(A + walk.passed, B + walk.passed, some, walk.passed, walk.first, up_to)
        i = 0
        while i < some:
            k = <Py_ssize_t>up_to[i]
            if k >= b + size:
                break
            i += 1
            index[k - b if k > b else 0] = walk.passed + i
        walk.passed += i
    for i in range(size):
        below = max(below, index[i])
        index[i] = below
    walk.below = below
    while low < size and index[low] == 0:
        low += 1
    while high > 0 and index[high - 1] == walk.n:
        high -= 1
    for i in range(size):
        if low <= i < high:
            continue
        level = walk.first + (b + i)
        if index[i] == 0:
            root = lap_solve_below(level, B[0])
        else:
            root = lap_solve_above(level - walk.n, A[walk.n - 1])
        _put(root, side + i, u + i, NULL if factors is NULL else factors + i, rows, stride)
    if low < high:
        _table.solve(A, B, gap, index + low, high - low, NULL, walk.first + (b + low), side + low,
                     u + low, NULL if factors is NULL else factors + low, rows, stride)


def solve_steps(
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    double first,                       # IN  the levels are first + i, in (0, count)
    Py_ssize_t[:, ::1] index,           # OUT as for `solve`
    signed char[:, ::1] side,           # OUT
    double[:, ::1] u,                   # OUT
    double[:, :, ::1] factors,          # OUT as for `solve`, or the first two
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, k, steps = index.shape[1]
    cdef _walk walk
    with nogil:
        for l in range(start, stop):
            walk = _walk(first, count[l], 0, 0)
            if walk.n > 0 and steps > 0:
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], 0, steps, <ptrdiff_t*>&index[l, 0],
                       &side[l, 0], &u[l, 0], &factors[0, l, 0], factors.shape[0],
                       factors.shape[1] * steps)
                continue
            for i in range(steps):
                index[l, i] = side[l, i] = 0
                u[l, i] = NAN
                for k in range(factors.shape[0]):
                    factors[k, l, i] = 0.0


cdef inline void _anchors(
    const double *x, const Py_ssize_t *index, const signed char *side, Py_ssize_t size, double *lo,
    double *hi,
) noexcept nogil:
    """The two nodes that anchor each threshold."""
    cdef Py_ssize_t i, m
    for i in range(size):
        m = index[i]
        if m == 0 and side[i] == 0:     # a lane without sources
            lo[i] = hi[i] = NAN
        else:
            lo[i] = x[m - (side[i] <= 0)]
            hi[i] = x[m - (side[i] < 0)]


def anchors(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[:, ::1] index,     # IN
    const signed char[:, ::1] side,     # IN
    const Py_ssize_t[::1] source_lane,  # IN
    double[:, ::1] lo,                  # OUT the two nodes that anchor each threshold
    double[:, ::1] hi,                  # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, size = index.shape[1]
    with nogil:
        for l in range(start, stop if size > 0 else start):
            _anchors(&x[source_lane[l], 0], &index[l, 0], &side[l, 0], size, &lo[l, 0], &hi[l, 0])


def thresholds(
    const double[:, ::1] x,             # IN  sorted sources
    const Py_ssize_t[:, ::1] index,     # IN
    const signed char[:, ::1] side,     # IN
    const double[:, ::1] u,             # IN
    const double[::1] alpha,            # IN
    const Py_ssize_t[::1] source_lane,  # IN
    double[:, ::1] out,                 # OUT (lo + hi)/2 + alpha u, of the anchors
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, k, b, size, steps = u.shape[1]
    cdef double lo[BLOCK]
    cdef double hi[BLOCK]
    with nogil:
        for l in range(start, stop):
            k = source_lane[l]
            b = 0
            while b < steps:
                size = BLOCK if b + BLOCK < steps else steps - b
                _anchors(&x[k, 0], &index[l, b], &side[l, b], size, lo, hi)
                _table.thresholds(lo, hi, &u[l, b], size, alpha[k], &out[l, b])
                b += size
