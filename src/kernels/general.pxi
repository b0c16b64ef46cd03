# Sums for densities that are tabulated.

TABLE_DEGREE = LAP_DEGREE


cdef lap_kernel _table_of(const double[:, ::1] table, double unit, double reach, int kind, int bits):
    cdef lap_kernel kernel
    kernel.table, kernel.panels = &table[0, 0], table.shape[0]
    kernel.unit, kernel.reach, kernel.kind, kernel.bits = unit, reach, kind, bits
    return kernel


def tree_sums(
    const double[:, ::1] table,         # IN  of the kernel, as `lap_kernel` says
    double unit, double reach,          # IN
    int kind,                           # IN  0 for F, 1 for even kernels, 2 for odd ones
    int bits,                           # IN  2^bits panels an octave
    const double[:, ::1] x,             # IN  points in ascending order
    const double[:, ::1] low,           # IN  what they lack, or None
    const double[:, ::1] v,             # IN  values at the points
    const double[::1] alpha,            # IN
    double[:, ::1] sums,                # OUT sums of the kernel times the values, at the points
    double[:, ::1] steps,               # OUT whole steps of F to be added
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, n = x.shape[1]
    cdef lap_kernel kernel
    cdef bint failed = False
    if n == 0:
        return
    kernel = _table_of(table, unit, reach, kind, bits)
    with nogil:
        for l in range(start, stop):
            failed |= lap_tree_sums(
                &kernel, n, &x[l, 0], NULL if low is None else &low[l, 0], &v[l, 0], alpha[l],
                &sums[l, 0], &steps[l, 0],
            ) != 0
    if failed:
        raise MemoryError


def logistic_topk(
    const double[:, ::1] x,             # IN
    double sign,                        # IN
    const double[::1] level,            # IN
    const double[::1] alpha,            # IN
    bint logarithm,                     # IN  whether that of F is asked for
    double[:, ::1] p,                   # OUT F((b - sign x)/alpha)
    double[:, ::1] f,                   # OUT f there, or without columns if nobody needs it
    double[:, ::1] slopes,              # OUT f/F there, likewise
    double[::1] density,                # OUT their sum
    char[::1] solved,                   # OUT whether these are right
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, n = x.shape[1]
    with nogil:
        for l in range(start, stop):
            solved[l] = n > 0 and lap_logistic_topk(
                _table, &x[l, 0], n, sign, level[l], alpha[l], logarithm, &p[l, 0],
                NULL if f.shape[1] == 0 else &f[l, 0],
                NULL if slopes.shape[1] == 0 else &slopes[l, 0], &density[l]
            )
