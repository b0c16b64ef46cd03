# Soft permutations of short lanes, and products with them, as in `short.pxi`.

def short_permute(
    object x,                           # IN
    double sign,                        # IN  -1: rows in descending order
    object alpha,                       # IN
    object values,                      # IN
    bint transpose,                     # IN
    object y,                           # OUT P values, or P.T values
    object places,                      # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef double *values_ = buffers.doubles(values)
    cdef double *y_ = buffers.doubles(y)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permute(&s, start, stop, values_, transpose, y_, places_, left_)


def short_permute_vjp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object values,                      # IN
    bint transpose,                     # IN
    object places,                      # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object values_bar,                  # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef double *values_ = buffers.doubles(values)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef double *bar_ = buffers.doubles(bar)
    cdef double *x_bar_ = buffers.doubles(x_bar)
    cdef double *values_bar_ = buffers.doubles(values_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permute_pull(&s, start, stop, places_, values_, transpose, bar_, x_bar_,
                                  values_bar_, alpha_bar_, left_)


def short_permute_jvp(
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object values,                      # IN
    object places,                      # IN
    object x_dot,                       # IN
    object values_dot,                  # IN
    object alpha_dot,                   # IN
    object y_dot,                       # OUT the tangent of P values
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef double *values_ = buffers.doubles(values)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef double *x_dot_ = buffers.doubles(x_dot)
    cdef double *values_dot_ = buffers.doubles(values_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *y_dot_ = buffers.doubles(y_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permute_push(&s, start, stop, places_, values_, x_dot_, values_dot_,
                                  alpha_dot_, y_dot_, left_)


def short_permutation(
    object x,                           # IN
    object alpha,                       # IN
    object out,                         # OUT (lanes, n, n)
    object places,                      # OUT for the products, None if they are not needed
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef void *out_ = buffers.entries(out)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permutation(&s, start, stop, out_, places_, left_)


def short_permutation_vjp(
    object x,                           # IN
    object alpha,                       # IN
    object places,                      # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef double *bar_ = buffers.doubles(bar)
    cdef double *x_bar_ = buffers.doubles(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permutation_pull(&s, start, stop, places_, bar_, x_bar_, alpha_bar_, left_)


def short_permutation_jvp(
    object x,                           # IN
    object alpha,                       # IN
    object places,                      # IN
    object x_dot,                       # IN
    object alpha_dot,                   # IN
    object p_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef unsigned char *places_ = buffers.bytes(places)
    cdef double *x_dot_ = buffers.doubles(x_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *p_dot_ = buffers.doubles(p_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    with nogil:
        _shorts(s.n).permutation_push(&s, start, stop, places_, x_dot_, alpha_dot_, p_dot_, left_)
