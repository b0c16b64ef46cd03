# Whole operators on short lanes, several at once, in blocks start to stop.  The loops are in simd/short.c.
#
# `left` has bits for lanes whose results are anything: 1 if they are not for these loops, 2 if they are NaN since an
# entry is.


def short_most():
    """Return how many entries a lane may have."""
    return _table.shorts.most if _table.shorts.longer is NULL else _table.shorts.longer.most


cdef inline const lap_short_table *_shorts(int n) noexcept nogil:
    """The loops for lanes of that length."""
    return _table.shorts if n <= _table.shorts.most else _table.shorts.longer


def short_blocks(Py_ssize_t lanes):
    """Return how many blocks there are of so many lanes, and what they hold each."""
    return (lanes + LAP_SHORT_BLOCK - 1) // LAP_SHORT_BLOCK, LAP_SHORT_BLOCK


def short_found(Py_ssize_t lanes):
    """Return how many numbers `short_topk` finds, or `short_quantiles` of each level."""
    return short_blocks(lanes)[0] * LAP_SHORT_BLOCK * LAP_SHORT_ROWS


cdef class _Buffers:
    """The memory of the arrays of one call.  Typed memoryviews take longer than the loops of a lane."""

    cdef Py_buffer views[12]
    cdef int opened

    def __cinit__(self):
        self.opened = 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.opened):
            PyBuffer_Release(&self.views[i])

    cdef void *open(self, object array, Py_ssize_t itemsize, int flags=PyBUF_SIMPLE) except? NULL:
        """Return where a C-contiguous array of items of such a size lies, NULL for None."""
        cdef Py_buffer *view = &self.views[self.opened]
        if array is None:
            return NULL
        PyObject_GetBuffer(array, view, flags)
        self.opened += 1
        if view.itemsize != itemsize:
            raise TypeError(f"items of {itemsize} bytes are expected, got {view.itemsize}")
        return view.buf

    cdef double *doubles(self, object array) except? NULL:
        return <double*>self.open(array, sizeof(double))

    cdef unsigned char *bytes(self, object array) except? NULL:
        return <unsigned char*>self.open(array, 1)

    cdef lap_short_lanes lanes(self, object x, double sign, object alpha, object weights) except *:
        cdef lap_short_lanes s
        s.single = x.itemsize == sizeof(float)
        s.x = self.open(x, sizeof(float) if s.single else sizeof(double), PyBUF_C_CONTIGUOUS)
        s.lanes, s.n = self.views[0].shape[0], <int>self.views[0].shape[1]
        if s.n > short_most():
            raise ValueError(f"at most {short_most()} entries a lane, got {s.n}")
        s.sign, s.alpha, s.weights = sign, self.doubles(alpha), self.doubles(weights)
        return s

    cdef void *entries(self, object array) except? NULL:
        """The same for an array like the entries."""
        return self.open(array, self.views[0].itemsize)


def short_ranks(
    object x,                           # IN
    double sign,                        # IN  the ranks are those of sign x
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object y,                           # OUT
    object places,                      # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef void *y_ = buffers.entries(y)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).ranks(&s, start, stop, y_, places_, left_)


def short_ranks_vjp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object places,                      # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object weights_bar,                 # OUT None without weights
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef void *bar_ = buffers.entries(bar)
    cdef void *x_bar_ = buffers.entries(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef double *weights_bar_ = buffers.doubles(weights_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).rank_products(&s, start, stop, places_, bar_, NULL, NULL, x_bar_, alpha_bar_,
                                   weights_bar_, left_)


def short_ranks_jvp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object places,                      # IN
    object x_dot,                       # IN
    object alpha_dot,                   # IN
    object weights_dot,                 # IN  None: zeros
    object y_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef void *x_dot_ = buffers.entries(x_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *weights_dot_ = buffers.doubles(weights_dot)
    cdef void *y_dot_ = buffers.entries(y_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).rank_products(&s, start, stop, places_, x_dot_, alpha_dot_, weights_dot_,
                                   y_dot_, NULL, NULL, left_)


def short_topk(
    object x,                           # IN
    double sign,                        # IN  1: solved for x, -1: for -x
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object levels,                      # IN
    bint logarithm,                     # IN
    object p,                           # OUT F((b - sign x)/alpha), or its logarithm
    object found,                       # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef double *levels_ = buffers.doubles(levels)
    cdef void *p_ = buffers.entries(p)
    cdef double *found_ = buffers.doubles(found)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).topk(&s, start, stop, levels_, logarithm, p_, found_, left_)


def short_topk_vjp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object found,                       # IN
    bint logarithm,                     # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object level_bar,                   # OUT
    object alpha_bar,                   # OUT
    object weights_bar,                 # OUT None without weights
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef double *found_ = buffers.doubles(found)
    cdef void *bar_ = buffers.entries(bar)
    cdef void *x_bar_ = buffers.entries(x_bar)
    cdef double *level_bar_ = buffers.doubles(level_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef double *weights_bar_ = buffers.doubles(weights_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).topk_pull(&s, start, stop, found_, logarithm, bar_, x_bar_,
                                level_bar_, alpha_bar_, weights_bar_, left_)


def short_topk_jvp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object found,                       # IN
    bint logarithm,                     # IN
    object x_dot,                       # IN
    object level_dot,                   # IN
    object alpha_dot,                   # IN
    object weights_dot,                 # IN  None: zeros
    object p_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, weights)
    cdef double *found_ = buffers.doubles(found)
    cdef void *x_dot_ = buffers.entries(x_dot)
    cdef double *level_dot_ = buffers.doubles(level_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *weights_dot_ = buffers.doubles(weights_dot)
    cdef void *p_dot_ = buffers.entries(p_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).topk_push(&s, start, stop, found_, logarithm, x_dot_, level_dot_,
                                alpha_dot_, weights_dot_, p_dot_, left_)


def short_sorts(
    object x,                           # IN
    double sign,                        # IN  -1: descending
    object alpha,                       # IN
    object y,                           # OUT
    object places,                      # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef void *y_ = buffers.entries(y)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).sorts(&s, start, stop, y_, places_, left_)


def short_sorts_vjp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object places,                      # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef void *bar_ = buffers.entries(bar)
    cdef void *x_bar_ = buffers.entries(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).sort_pull(&s, start, stop, places_, bar_, x_bar_,
                                alpha_bar_, left_)


def short_sorts_jvp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object places,                      # IN
    object x_dot,                       # IN
    object alpha_dot,                   # IN
    object y_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef void *x_dot_ = buffers.entries(x_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef void *y_dot_ = buffers.entries(y_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).sort_push(&s, start, stop, places_, x_dot_, alpha_dot_,
                                y_dot_, left_)


def short_quantiles(
    object x,                           # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object levels,                      # IN  (lanes, few)
    int few,                            # IN
    object b,                           # OUT the roots at the levels
    object found,                       # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, weights)
    cdef double *levels_ = buffers.doubles(levels)
    cdef double *b_ = buffers.doubles(b)
    cdef double *found_ = buffers.doubles(found)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).quantiles(&s, start, stop, levels_, few, b_, found_, left_)


def short_quantiles_vjp(
    object x,                           # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object found,                       # IN
    object q,                           # IN  the levels as shares of the total
    object total,                       # IN  None without weights
    int few,                            # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object q_bar,                  # OUT
    object alpha_bar,                   # OUT
    object weights_bar,                 # OUT None without weights
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, weights)
    cdef double *found_ = buffers.doubles(found)
    cdef double *q_ = buffers.doubles(q)
    cdef double *total_ = buffers.doubles(total)
    cdef double *bar_ = buffers.doubles(bar)
    cdef void *x_bar_ = buffers.entries(x_bar)
    cdef double *q_bar_ = buffers.doubles(q_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef double *weights_bar_ = buffers.doubles(weights_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).quantile_pull(&s, start, stop, found_, q_, total_, few, bar_, x_bar_, q_bar_,
                                   alpha_bar_, weights_bar_, left_)


def short_quantiles_jvp(
    object x,                           # IN
    object alpha,                       # IN
    object weights,                     # IN  None: ones
    object found,                       # IN
    object q,                           # IN  the levels as shares of the total
    object total,                       # IN  None without weights
    int few,                            # IN
    object x_dot,                       # IN
    object q_dot,                  # IN
    object alpha_dot,                   # IN
    object weights_dot,                 # IN  None: zeros
    object b_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, weights)
    cdef double *found_ = buffers.doubles(found)
    cdef double *q_ = buffers.doubles(q)
    cdef double *total_ = buffers.doubles(total)
    cdef void *x_dot_ = buffers.entries(x_dot)
    cdef double *q_dot_ = buffers.doubles(q_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *weights_dot_ = buffers.doubles(weights_dot)
    cdef double *b_dot_ = buffers.doubles(b_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).quantile_push(&s, start, stop, found_, q_, total_, few, x_dot_, q_dot_,
                                   alpha_dot_, weights_dot_, b_dot_, left_)
