# Derivatives of products with soft permutations, at the thresholds b_i of the levels 1, ..., n - 1,
# which are found again: what they need takes longer to keep than to compute.  From the middle of a gap
# a kernel reaches both of its ends, if that is not wider than 2 FAR.

cdef inline double _read(_scans *scans, Py_ssize_t m, double left, double right) noexcept nogil:
    """What a threshold with m nodes left of it reads of both scans, with these factors."""
    cdef double sum = 0.0
    if m > 0:
        sum += left * scans.left[m - 1]
    if m < scans.n:
        sum += right * scans.right[m]
    return sum


def pull_permutation(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN  all of them, or none
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] values,        # IN  finite, in the caller's order
    const double[:, ::1] positions,     # IN  finite, in ascending order
    double[:, :, ::1] scratch,          # six
    double[:, ::1] x_bar,               # OUT cotangents of positions @ P @ values, caller's order
    double[::1] alpha_bar,              # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """With h_i = u_i - u_{i+1} the product is that of h and G(b_i) = sum_j v_j F_ij, and

    dG_i = sum_j v_j e_ij (sum_k q_ik (x_dot_k - x_dot_j) + ... )/(2 alpha): each threshold gives
    shares q of h_i sum_j v_j e_ij, and h_i e_ij, to its neighbours.
    """
    cdef Py_ssize_t l, i, b, m, size, n = x.shape[1]
    cdef ptrdiff_t index[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double factors[FACTORS]
    cdef double high, low, value, h, before, after
    cdef double *v
    cdef double *V_left
    cdef double *V_right
    cdef _walk walk
    cdef _nodes shares, kernels
    cdef _order order
    with nogil:
        for l in range(start, stop if n > 0 else start):
            alpha_bar[l] = 0.0
            if count[l] == 0:
                memset(&x_bar[l, 0], 0, n * sizeof(double))
                continue
            V_left, V_right = &scratch[0, l, 0], &scratch[1, l, 0]
            order = _order_of(places, part, first, l)
            v = &scratch[5, l, 0]
            _sort(&values[l, 0], order, V_left, v)
            _scan_lane(v, &gap[l, 0], n, V_left, V_right)
            _receive(&shares, n, &scratch[2, l, 0], &scratch[3, l, 0], NULL)
            _receive(&kernels, n, &x_bar[l, 0], &scratch[4, l, 0], NULL)
            walk = _walk(1.0, n, 0, 0)
            high = low = 0.0
            b = 0
            while b < n - 1:
                size = BLOCK if b + BLOCK < n - 1 else n - 1 - b
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, size, index, side, u, factors,
                       6, BLOCK)
                value = 0.0
                for i in range(size):
                    m = index[i]
                    h = positions[l, b + i] - positions[l, b + i + 1]
                    before = factors[i] * V_left[m - 1] if m > 0 else 0.0
                    after = factors[BLOCK + i] * V_right[m] if m < n else 0.0
                    if 0 < m < n:
                        value += min(gap[l, m], 2.0 * FAR) * (h * (
                            after * (factors[2 * BLOCK + i] * A[l, m - 1])
                            - before * (factors[3 * BLOCK + i] * B[l, m])
                        ))
                    factors[2 * BLOCK + i] *= h * (before + after)
                    factors[3 * BLOCK + i] *= h * (before + after)
                    factors[i] *= h
                    factors[BLOCK + i] *= h
                _give(&shares, index, size, factors + 2 * BLOCK, factors + 3 * BLOCK, NULL)
                _give(&kernels, index, size, factors, factors + BLOCK, NULL)
                lap_add(value, &high, &low)
                b += size
            lap_add(_carry(&shares, &gap[l, 0], &A[l, 0], &B[l, 0]), &high, &low)
            lap_add(-_carry(&kernels, &gap[l, 0], V_left, V_right), &high, &low)
            alpha_bar[l] = 0.5 * (high + low) / alpha[l]
            for i in range(n):
                shares.right[i] -= v[i] * kernels.right[i]
            _give_back(shares.right, &x[l, 0], 0.5, alpha[l], order, shares.left, &x_bar[l, 0])


def push_permutation(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[:, ::1] places,    # IN  their order
    const unsigned char[:, ::1] part,   # IN
    const Py_ssize_t[:, ::1] first,     # IN
    const Py_ssize_t[::1] count,        # IN  all of them, or none
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    const double[::1] alpha,            # IN
    const double[:, ::1] values,        # IN  finite, in the caller's order
    const double[:, ::1] x_dot,         # IN  finite, in the caller's order; None: zero
    const double[::1] alpha_dot,        # IN  None: zero
    double[:, :, ::1] scratch,          # eight
    double[:, ::1] out,                 # OUT tangent of P @ values, in ascending order
    Py_ssize_t start, Py_ssize_t stop,
):
    """dG_i = sum_j v_j e_ij (sum_k q_ik z_k - z_j)/(2 alpha), z = x_dot - alpha_dot x/alpha; of x
    differences alone are seen, from the node next to b_i on each side."""
    cdef Py_ssize_t l, i, b, m, size, n = x.shape[1]
    cdef ptrdiff_t index[BLOCK]
    cdef signed char side[BLOCK]
    cdef double u[BLOCK]
    cdef double factors[FACTORS]
    cdef double last, row, before, after, along
    cdef double *z
    cdef double *v
    cdef _scans V, Z, VZ
    cdef _walk walk
    cdef _order order
    with nogil:
        for l in range(start, stop if n > 0 else start):
            if count[l] == 0:
                memset(&out[l, 0], 0, n * sizeof(double))
                continue
            z, v = &scratch[0, l, 0], &scratch[1, l, 0]
            V = _scans(&scratch[2, l, 0], &scratch[3, l, 0], n)
            Z = _scans(&scratch[4, l, 0], &scratch[5, l, 0], n)
            VZ = _scans(&scratch[6, l, 0], &scratch[7, l, 0], n)
            order = _order_of(places, part, first, l)
            _sort(&values[l, 0], order, V.left, v)
            if x_dot is None:
                memset(z, 0, n * sizeof(double))
            else:
                _sort(&x_dot[l, 0], order, V.left, z)
            for i in range(n):
                if x[l, i] - x[l, i] != 0.0:
                    z[i] = 0.0          # infinite ones do not move
            along = 0.0 if alpha_dot is None else alpha_dot[l]
            _scan_moving(v, z, along, &gap[l, 0], &A[l, 0], &B[l, 0], n, &V, &Z, &VZ)
            walk = _walk(1.0, n, 0, 0)
            last = 0.0
            b = 0
            while b < n - 1:
                size = BLOCK if b + BLOCK < n - 1 else n - 1 - b
                _roots(&walk, &gap[l, 0], &A[l, 0], &B[l, 0], b, size, index, side, u, factors,
                       6, BLOCK)
                for i in range(size):
                    m = index[i]
                    before = factors[i] * V.left[m - 1] if m > 0 else 0.0
                    after = factors[BLOCK + i] * V.right[m] if m < n else 0.0
                    row = _read(&Z, m, factors[2 * BLOCK + i], factors[3 * BLOCK + i])
                    row *= before + after
                    row -= _read(&VZ, m, factors[i], factors[BLOCK + i])
                    if 0 < m < n:
                        row += along * min(gap[l, m], 2.0 * FAR) * (
                            after * (factors[2 * BLOCK + i] * A[l, m - 1])
                            - before * (factors[3 * BLOCK + i] * B[l, m])
                        )
                    out[l, b + i] = 0.5 * (row - last) / alpha[l]
                    last = row
                b += size
            out[l, n - 1] = 0.5 * (0.0 - last) / alpha[l]


def transpose_product(
    const double[:, ::1] x,             # IN  sorted sources
    const double[:, ::1] gap,           # IN
    const Py_ssize_t[::1] count,        # IN
    const double[:, ::1] A,             # IN  scans of unit weights
    const double[:, ::1] B,             # IN
    const Py_ssize_t[:, ::1] row,       # IN  as from `intervals`
    const double[:, ::1] inside,        # IN
    const Py_ssize_t[:, ::1] after,     # IN  the node right of each interval
    const double[:, ::1] before_by,     # IN  what the nodes on both sides contribute to it
    const double[:, ::1] after_by,      # IN
    const double[:, ::1] positions,     # IN  finite
    const Py_ssize_t[::1] source_lane,  # IN  lane of all these but positions
    double[:, ::1] scratch,
    double[:, ::1] out,                 # OUT P.T @ positions, at the sorted sources
    Py_ssize_t start, Py_ssize_t stop,
):
    """Each threshold gives what the interval right of it has from the nodes on its left, and what
    that left of it has from the nodes on its right."""
    cdef Py_ssize_t l, i, b, k, size, n = x.shape[1]
    cdef double to_left[BLOCK]
    cdef double to_right[BLOCK]
    cdef _nodes nodes
    with nogil:
        for l in range(start, stop if n > 0 else start):
            k = source_lane[l]
            if count[k] == 0:
                memset(&out[l, 0], 0, n * sizeof(double))
                continue
            _receive(&nodes, n, &scratch[l, 0], &out[l, 0], NULL)
            b = 0
            while b < n - 1:
                size = BLOCK if b + BLOCK < n - 1 else n - 1 - b
                for i in range(size):
                    to_left[i] = before_by[k, b + i + 1] * positions[l, b + i + 1]
                    to_right[i] = after_by[k, b + i] * positions[l, b + i]
                _give(&nodes, <const ptrdiff_t*>&after[k, b], size, to_left, to_right, NULL)
                b += size
            _carry(&nodes, &gap[k, 0], &A[k, 0], &B[k, 0])
            for i in range(n):
                if i > 0 and x[k, i] == x[k, i - 1]:
                    out[l, i] = out[l, i - 1]
                else:
                    out[l, i] += inside[k, i] * positions[l, row[k, i]]
