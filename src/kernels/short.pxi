# Whole operators on short lanes, several at once, in blocks start to stop.  The loops are in simd/short.c.
#
# `left` becomes 1 for lanes that are not for these loops, whose results are anything.


def short_most():
    """Return how many entries a lane may have."""
    return _table.shorts.most


def short_blocks(Py_ssize_t lanes):
    """Return how many blocks there are of so many lanes, and what they hold each."""
    return (lanes + LAP_SHORT_BLOCK - 1) // LAP_SHORT_BLOCK, LAP_SHORT_BLOCK


def short_found(Py_ssize_t lanes):
    """Return how many numbers `short_topk` finds."""
    return short_blocks(lanes)[0] * LAP_SHORT_BLOCK * LAP_SHORT_ROWS


cdef inline lap_short_lanes _short(
    const entry[:, ::1] x, double sign, const double[::1] alpha
) noexcept nogil:
    cdef lap_short_lanes s
    s.x, s.single, s.n = &x[0, 0], entry is float, <int>x.shape[1]
    s.lanes, s.sign, s.alpha = x.shape[0], sign, &alpha[0]
    return s


def short_ranks(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN  the ranks are those of sign x
    const double[::1] alpha,            # IN
    entry[:, ::1] y,                    # OUT
    unsigned char[::1] places,          # OUT for the products, None if they are not needed
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.ranks(&s, start, stop, &y[0, 0], NULL if places is None else &places[0],
                            &left[0])


def short_ranks_vjp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const unsigned char[::1] places,    # IN
    const entry[:, ::1] bar,            # IN
    entry[:, ::1] x_bar,                # OUT
    double[::1] alpha_bar,              # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.rank_products(&s, start, stop, &places[0], &bar[0, 0], NULL, &x_bar[0, 0],
                                    &alpha_bar[0], &left[0])


def short_ranks_jvp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const unsigned char[::1] places,    # IN
    const entry[:, ::1] x_dot,          # IN
    const double[::1] alpha_dot,        # IN
    entry[:, ::1] y_dot,                # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.rank_products(&s, start, stop, &places[0], &x_dot[0, 0], &alpha_dot[0],
                                    &y_dot[0, 0], NULL, &left[0])


def short_topk(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN  1: solved for x, -1: for -x
    const double[::1] alpha,            # IN
    const double[::1] levels,           # IN
    bint logarithm,                     # IN
    entry[:, ::1] p,                    # OUT F((b - sign x)/alpha), or its logarithm
    double[::1] found,                  # OUT for the products, None if they are not needed
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.topk(&s, start, stop, &levels[0], logarithm, &p[0, 0], NULL,
                           NULL if found is None else &found[0], &left[0])


def short_topk_vjp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const double[::1] found,            # IN
    bint logarithm,                     # IN
    const entry[:, ::1] bar,            # IN
    entry[:, ::1] x_bar,                # OUT
    double[::1] level_bar,              # OUT
    double[::1] alpha_bar,              # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.topk_pull(&s, start, stop, &found[0], logarithm, &bar[0, 0], &x_bar[0, 0],
                                &level_bar[0], &alpha_bar[0], &left[0])


def short_topk_jvp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const double[::1] found,            # IN
    bint logarithm,                     # IN
    const entry[:, ::1] x_dot,          # IN
    const double[::1] level_dot,        # IN
    const double[::1] alpha_dot,        # IN
    entry[:, ::1] p_dot,                # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.topk_push(&s, start, stop, &found[0], logarithm, &x_dot[0, 0], &level_dot[0],
                                &alpha_dot[0], &p_dot[0, 0], &left[0])


def short_sorts(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN  -1: descending
    const double[::1] alpha,            # IN
    entry[:, ::1] y,                    # OUT
    unsigned char[::1] places,          # OUT for the products, None if they are not needed
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.sorts(&s, start, stop, &y[0, 0], NULL if places is None else &places[0],
                            &left[0])


def short_sorts_vjp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const unsigned char[::1] places,    # IN
    const entry[:, ::1] bar,            # IN
    entry[:, ::1] x_bar,                # OUT
    double[::1] alpha_bar,              # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.sort_pull(&s, start, stop, &places[0], &bar[0, 0], &x_bar[0, 0],
                                &alpha_bar[0], &left[0])


def short_sorts_jvp(
    const entry[:, ::1] x,              # IN
    double sign,                        # IN
    const double[::1] alpha,            # IN
    const unsigned char[::1] places,    # IN
    const entry[:, ::1] x_dot,          # IN
    const double[::1] alpha_dot,        # IN
    entry[:, ::1] y_dot,                # OUT
    unsigned char[::1] left,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef lap_short_lanes s = _short(x, sign, alpha)
    with nogil:
        _table.shorts.sort_push(&s, start, stop, &places[0], &x_dot[0, 0], &alpha_dot[0],
                                &y_dot[0, 0], &left[0])
