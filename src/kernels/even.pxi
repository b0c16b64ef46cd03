# Even densities on short lanes, several at once, in blocks start to stop, as in short.pxi.  The loops are in
# simd/even.c.


@cython.final
cdef class Even:
    """A density as these loops take it: by formula, or by tables of its tail and of itself.

    Student's t is a series, as even_tails.inc says, `df` and f(0).
    """

    cdef lap_even f
    cdef object tables, student
    cdef const double[::1] series

    def __reduce__(self):
        return Even, (self.f.kind, self.f.least, *self.tables, self.student)

    def __init__(self, int kind, double least, object tail, object pdf, object student):
        if not 0 <= kind <= LAP_TABLE:
            raise ValueError(f"no such kind of density: {kind}")
        self.f.kind, self.f.least, self.tables = kind, least, (tail, pdf)
        self.student = student
        if kind == LAP_STUDENT:
            self.series, self.f.df, self.f.top = student
            if self.series.shape[0] != LAP_SERIES or not 1.0 <= self.f.df < 16.0:
                raise ValueError(f"{LAP_SERIES} terms and 1 to 16 degrees of freedom are needed")
            self.f.root_df = sqrt(self.f.df)
            self.f.series = &self.series[0]
        if kind == LAP_TABLE:
            self.f.tail = _table_of(tail[0], tail[1], tail[2], tail[3], tail[4])
            self.f.pdf = _table_of(pdf[0], pdf[1], pdf[2], pdf[3], pdf[4])


cdef inline const lap_even_table *_evens(Even density, int n):
    return <const lap_even_table*>_shorts(n).even + density.f.kind


def even_ranks(
    Even density,                       # IN
    object x,                           # IN
    double sign,                        # IN  the ranks are those of sign x
    object alpha,                       # IN
    object y,                           # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef void *y_ = buffers.entries(y)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    with nogil:
        loops.ranks(&density.f, &s, start, stop, y_, left_)


def even_ranks_vjp(
    Even density,                       # IN
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef void *bar_ = buffers.entries(bar)
    cdef void *x_bar_ = buffers.entries(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    with nogil:
        loops.rank_products(&density.f, &s, start, stop, bar_, NULL, x_bar_, alpha_bar_, left_)


def even_ranks_jvp(
    Even density,                       # IN
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object x_dot,                       # IN
    object alpha_dot,                   # IN
    object y_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef void *x_dot_ = buffers.entries(x_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef void *y_dot_ = buffers.entries(y_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    with nogil:
        loops.rank_products(&density.f, &s, start, stop, x_dot_, alpha_dot_, y_dot_, NULL, left_)


def even_solve(
    Even density,                       # IN
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object levels,                      # IN  (lanes, m), or None for first, first + 1, ...
    double first,                       # IN
    int m,                              # IN
    object anchor,                      # OUT thresholds anchor + alpha u, (lanes, m)
    object u,                           # OUT
    object b,                           # OUT the same, rounded
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef double *levels_ = buffers.doubles(levels)
    cdef double *anchor_ = buffers.doubles(anchor)
    cdef double *u_ = buffers.doubles(u)
    cdef double *b_ = buffers.doubles(b)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    with nogil:
        loops.solve(&density.f, &s, start, stop, levels_, first, m, anchor_, u_, b_, left_)


def even_entries(
    Even density,                       # IN
    object x,                           # IN
    double sign,                        # IN
    object alpha,                       # IN
    object anchor,                      # IN  one threshold a lane
    object u,                           # IN
    int form,                           # IN  of F: 0, itself; 1, less one above 1/2; 2, its logarithm
    object p,                           # OUT F((b - sign x)/alpha) in that form
    object shares,                      # OUT f there over its sum, or None
    object slopes,                      # OUT f/F, of logarithms, or None
    object sums,                        # OUT the sums of f
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, sign, alpha, None)
    cdef lap_even_points points
    cdef double *p_ = buffers.doubles(p)
    cdef double *shares_ = buffers.doubles(shares)
    cdef double *slopes_ = buffers.doubles(slopes)
    cdef double *sums_ = buffers.doubles(sums)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), 1
    with nogil:
        loops.entries(&density.f, &s, start, stop, &points, form, p_, shares_, slopes_, sums_, left_)


def even_solve_vjp(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN
    object u,                           # IN
    int m,                              # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object levels_bar,                  # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef double *bar_ = buffers.doubles(bar)
    cdef double *x_bar_ = buffers.doubles(x_bar)
    cdef double *levels_bar_ = buffers.doubles(levels_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), m
    with nogil:
        loops.pull(&density.f, &s, start, stop, &points, bar_, x_bar_, levels_bar_, alpha_bar_, left_)


def even_solve_jvp(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN
    object u,                           # IN
    int m,                              # IN
    object x_dot,                       # IN
    object levels_dot,                  # IN  or None
    object alpha_dot,                   # IN
    object b_dot,                       # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef double *x_dot_ = buffers.doubles(x_dot)
    cdef double *levels_dot_ = buffers.doubles(levels_dot)
    cdef double *alpha_dot_ = buffers.doubles(alpha_dot)
    cdef double *b_dot_ = buffers.doubles(b_dot)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), m
    with nogil:
        loops.push(&density.f, &s, start, stop, &points, x_dot_, levels_dot_, alpha_dot_, b_dot_, left_)

def even_matrix(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN  (lanes, n - 1)
    object u,                           # IN
    object p,                           # OUT (lanes, n, n)
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef double *p_ = buffers.doubles(p)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), s.n - 1
    with nogil:
        loops.matrix(&density.f, &s, start, stop, &points, p_, left_)


def even_matrix_vjp(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN  (lanes, n - 1)
    object u,                           # IN
    object bar,                         # IN
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef double *bar_ = buffers.doubles(bar)
    cdef double *x_bar_ = buffers.doubles(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), s.n - 1
    with nogil:
        loops.matrix_pull(&density.f, &s, start, stop, &points, bar_, x_bar_, alpha_bar_, left_)


def even_multiply(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN  (lanes, n - 1)
    object u,                           # IN
    object values,                      # IN
    bint transpose,                     # IN
    object product,                     # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef double *values_ = buffers.doubles(values)
    cdef double *product_ = buffers.doubles(product)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), s.n - 1
    with nogil:
        loops.multiply(&density.f, &s, start, stop, &points, values_, transpose, product_, left_)


def even_multiply_vjp(
    Even density,                       # IN
    object x,                           # IN
    object alpha,                       # IN
    object anchor,                      # IN  (lanes, n - 1)
    object u,                           # IN
    object rows,                        # IN  sum_ij rows_i P_ij entries_j counts
    object entries,                     # IN
    bint by_rows,                       # IN  whether its derivative in the rows is asked for
    object product,                     # OUT that, or the one in the entries
    object x_bar,                       # OUT
    object alpha_bar,                   # OUT
    object left,                        # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef _Buffers buffers = _Buffers()
    cdef lap_short_lanes s = buffers.lanes(x, 1.0, alpha, None)
    cdef lap_even_points points
    cdef lap_bilinear of
    cdef double *product_ = buffers.doubles(product)
    cdef double *x_bar_ = buffers.doubles(x_bar)
    cdef double *alpha_bar_ = buffers.doubles(alpha_bar)
    cdef unsigned char *left_ = buffers.bytes(left)
    cdef const lap_even_table *loops = _evens(density, s.n)
    points.anchor, points.u, points.m = buffers.doubles(anchor), buffers.doubles(u), s.n - 1
    of.rows, of.entries, of.by_rows = buffers.doubles(rows), buffers.doubles(entries), by_rows
    with nogil:
        loops.multiply_pull(&density.f, &s, start, stop, &points, &of, product_, x_bar_, alpha_bar_, left_)
