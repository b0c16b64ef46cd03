# Formulas of laplace.h, entry by entry.

def offsets(
    const double[:, ::1] lo,            # IN  thresholds: one a lane, or one for each x
    const double[:, ::1] hi,            # IN
    const double[:, ::1] u,             # IN
    const double[:, ::1] x,             # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT t = (b - x)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, at
    cdef bint one = u.shape[1] == 1
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                at = 0 if one else i
                out[l, i] = lap_offset(lo[l, at], hi[l, at], u[l, at], x[l, i], alpha[l])


def steps(
    const double[::1] origin,           # IN
    const double[:, ::1] x,             # IN
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT (x - origin)/alpha
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                out[l, i] = lap_step(origin[l], x[l, i], alpha[l])


def exps(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l
    with nogil:
        for l in range(start, stop if t.shape[1] > 0 else start):
            _table.exp(&t[l, 0], t.shape[1], &out[l, 0])


def cdf(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = lap_cdf(t[l, i])


def pdf(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = -abs(t[l, i])
            if t.shape[1] > 0:
                _table.exp(&out[l, 0], t.shape[1], &out[l, 0])
            for i in range(t.shape[1]):
                out[l, i] *= 0.5


def logcdf_slope(const double[:, ::1] t, double[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(t.shape[1]):
                out[l, i] = lap_logcdf_slope(t[l, i])


def shares(
    const double[::1] left,             # IN  the nodes on both sides of the threshold
    const double[::1] right,            # IN
    const double[::1] q_left,           # IN
    const double[::1] q_right,          # IN
    const double[::1] density,          # IN
    const double[:, ::1] x,             # IN
    const double[:, ::1] t,             # IN  (b - x)/alpha
    const double[::1] alpha,            # IN
    double[:, ::1] out,                 # OUT e^{-|t_i|}/sum_j c_j e^{-|t_j|}
    Py_ssize_t start, Py_ssize_t stop,
):
    """Measured from the nodes: |t| - min |t| would lose every digit in a wide gap."""
    cdef Py_ssize_t l, i
    with nogil:
        for l in range(start, stop):
            for i in range(x.shape[1]):
                if q_left[l] == 0.0 and q_right[l] == 0.0:
                    out[l, i] = 0.0
                elif q_left[l] != 0.0 and x[l, i] <= left[l]:
                    out[l, i] = q_left[l] * exp(lap_step(left[l], x[l, i], alpha[l]))
                elif q_right[l] != 0.0 and x[l, i] >= right[l]:
                    out[l, i] = q_right[l] * exp(lap_step(x[l, i], right[l], alpha[l]))
                elif x[l, i] != x[l, i]:
                    out[l, i] = NAN
                elif q_left[l] != 0.0 and t[l, i] > 0.0:
                    # Beyond the node: only entries of zero weight are here, and they may overflow.
                    out[l, i] = q_left[l] * exp(lap_step(left[l], x[l, i], alpha[l]))
                elif q_right[l] != 0.0 and t[l, i] <= 0.0:
                    out[l, i] = q_right[l] * exp(lap_step(x[l, i], right[l], alpha[l]))
                else:
                    out[l, i] = lap_pdf(t[l, i]) / density[l]
