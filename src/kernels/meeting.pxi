# Two decaying scans of a lane, from its two ends, that meet in the middle: together they take hardly
# longer than one, and what the first of them brings to an entry waits there for the other.

cdef extern from *:
    """
    #define FAR 1000.0 /* alpha: nothing reaches across such a gap */
    """
    const double FAR

cdef struct _meeting:                   # a block of entries of each scan, as long as the other
    const double *gap
    Py_ssize_t n, at, mirror, size      # entries at + i from the left, mirror + i from the right
    bint begins                         # whether these are the first ones
    lap_two high, low
    double ahead[BLOCK + 1]             # e^{-gap} of the gap before entry at + i, and lap_decay
    double ahead_decay[BLOCK + 1]
    double back[BLOCK + 1]              # the same before entry mirror + i
    double back_decay[BLOCK + 1]
    double left[BLOCK + 1]              # left[i + 1] is what entry at + i adds, then the sum there
    double right[BLOCK + 1]             # right[i] likewise at mirror + i
    # left[0] and right[size] are the sums that came before.


cdef inline void _meet(_meeting *scan, const double *gap, Py_ssize_t n) noexcept nogil:
    """Begin with the scans of n entries."""
    scan.gap, scan.n = gap, n
    scan.at = scan.size = 0
    scan.high = scan.low = lap_both(0.0, 0.0)
    scan.left[0] = scan.right[0] = 0.0


cdef inline bint _advance(_meeting *scan) noexcept nogil:
    """Go on to the next blocks, if any; none of them goes beyond the middle from before it."""
    cdef Py_ssize_t half = scan.n // 2
    cdef bint ends
    cdef double after = scan.right[0]
    scan.at += scan.size
    scan.left[0] = scan.left[scan.size]
    if scan.at >= scan.n:
        return False
    scan.begins = scan.at == 0
    scan.size = min(<Py_ssize_t>BLOCK, scan.n - scan.at)
    if scan.at < half < scan.at + scan.size:
        scan.size = half - scan.at
    scan.mirror = scan.n - scan.at - scan.size
    scan.right[scan.size] = after
    ends = scan.mirror == 0
    # Nothing comes from beyond the ends.
    scan.ahead[scan.size] = scan.ahead_decay[scan.size] = 0.0
    scan.back[scan.size] = scan.back_decay[scan.size] = 0.0
    _table.decays(scan.gap + scan.at, scan.size + (not ends), scan.ahead_decay, scan.ahead)
    _table.decays(scan.gap + scan.mirror, scan.size + (not scan.begins), scan.back_decay, scan.back)
    if scan.begins:
        scan.ahead[0] = scan.ahead_decay[0] = 0.0
    if ends:
        scan.back[0] = scan.back_decay[0] = 0.0
    return True


cdef inline void _scan(_meeting *scan) noexcept nogil:
    """Turn what the entries of both blocks add into the sums there."""
    cdef Py_ssize_t i, j
    cdef lap_two sum, high = scan.high, low = scan.low      # which stay in registers
    for i in range(scan.size):
        j = scan.size - 1 - i
        lap_scan_two(lap_both(scan.left[i + 1], scan.right[j]),
                     lap_both(scan.ahead_decay[i], scan.back_decay[j + 1]), &high, &low)
        sum = lap_total(high, low)
        scan.left[i + 1] = lap_first(sum)
        scan.right[j] = lap_second(sum)
    scan.high, scan.low = high, low


cdef inline bint _have_met(const _meeting *scan) noexcept nogil:
    """Whether the entries of these blocks have the other sum: either may be the one in the middle,
    which then is the first of the left block and the last of the right one."""
    return scan.at >= scan.n // 2


cdef inline Py_ssize_t _not_middle(const _meeting *scan) noexcept nogil:
    """How many entries of the right block are not in the left one."""
    return scan.size - (scan.at == scan.mirror + scan.size - 1)


cdef inline void _add_differences(
    _meeting *scan, const double *v, double along, const double *A, const double *B,
) noexcept nogil:
    """Have entries add what makes the sums those of w_j e^{-|x_i - x_j|/alpha} times v_i - v_j on the
    left, and v_j - v_i on the right, for v less along times x/alpha; A and B are the scans of w."""
    cdef Py_ssize_t i, k
    cdef double step
    scan.left[1] = scan.right[scan.size - 1] = 0.0
    for i in range(scan.begins, scan.size):
        k = scan.at + i
        step = (v[k] - v[k - 1]) - along * min(scan.gap[k], FAR)
        scan.left[i + 1] = scan.ahead[i] * (step * A[k - 1])
    for i in range(scan.size - scan.begins):
        k = scan.mirror + i + 1
        step = (v[k] - v[k - 1]) - along * min(scan.gap[k], FAR)
        scan.right[i] = scan.back[i + 1] * (step * B[k])


cdef inline void _bring(_meeting *scan, const double *v) noexcept nogil:
    """Have entries add v."""
    memcpy(scan.left + 1, v + scan.at, scan.size * sizeof(double))
    memcpy(scan.right, v + scan.mirror, scan.size * sizeof(double))


cdef void _scan_lane(
    const double *v, const double *gap, Py_ssize_t n, double *left, double *right,
) noexcept nogil:
    """Both scans of a whole lane."""
    cdef _meeting scan
    _meet(&scan, gap, n)
    while _advance(&scan):
        _bring(&scan, v)
        _scan(&scan)
        memcpy(left + scan.at, scan.left + 1, scan.size * sizeof(double))
        memcpy(right + scan.mirror, scan.right, scan.size * sizeof(double))


cdef struct _scans:                     # both scans of a lane of n
    double *left
    double *right
    Py_ssize_t n


cdef struct _carried:                   # what one of several scans of a lane brings along
    lap_two high, low


cdef inline void _scan_also(
    _meeting *scan, _carried *carried, _scans *sums,
) noexcept nogil:
    """Scan the blocks for one of several scans of a lane, and write its sums there."""
    scan.high, scan.low = carried.high, carried.low
    _scan(scan)
    carried.high, carried.low = scan.high, scan.low
    memcpy(sums.left + scan.at, scan.left + 1, scan.size * sizeof(double))
    memcpy(sums.right + scan.mirror, scan.right, scan.size * sizeof(double))


cdef inline void _move(
    _meeting *scan, double along, const double *A, const double *B,
) noexcept nogil:
    """Have entries also add along times what the sources at a distance, over alpha, are worth: more
    on the left, less on the right.  A and B are the scans of weights."""
    cdef Py_ssize_t i, k
    for i in range(scan.begins, scan.size):
        k = scan.at + i
        scan.left[i + 1] += along * min(scan.gap[k], FAR) * (scan.ahead[i] * A[k - 1])
    for i in range(scan.size - scan.begins):
        k = scan.mirror + i + 1
        scan.right[i] -= along * min(scan.gap[k], FAR) * (scan.back[i + 1] * B[k])


cdef void _scan_moving(
    const double *v, const double *z, double along, const double *gap,
    const double *A, const double *B, Py_ssize_t n, _scans *V, _scans *Z, _scans *VZ,
) noexcept nogil:
    """Both scans of a whole lane of v, and of z and v z that move; A and B are the scans of ones."""
    cdef Py_ssize_t i
    cdef _meeting scan
    cdef _carried of_v, of_z, of_vz
    of_v.high = of_v.low = lap_both(0.0, 0.0)
    of_z = of_vz = of_v
    _meet(&scan, gap, n)
    while _advance(&scan):
        _bring(&scan, v)
        _scan_also(&scan, &of_v, V)
        _bring(&scan, z)
        _move(&scan, along, A, B)
        _scan_also(&scan, &of_z, Z)
        for i in range(scan.size):
            scan.left[i + 1] = v[scan.at + i] * z[scan.at + i]
            scan.right[i] = v[scan.mirror + i] * z[scan.mirror + i]
        _move(&scan, along, V.left, V.right)
        _scan_also(&scan, &of_vz, VZ)
