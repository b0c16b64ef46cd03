# Plans of optimal transport between measures on a line, see transport/plan.h.
#
# Lanes may differ in length: lane l of an array has the elements from[l] to from[l + 1], with
# `at` = (rows, nodes, columns) the three kinds of `from`.  Nodes stand for rows where sums over
# these are asked for.  Edges and shifts have one element a column, of which the last is not used.

cdef inline const double *_from(const double[::1] a, Py_ssize_t start) noexcept nogil:
    """None for an array that is None, and any address in one that is empty."""
    if a is None:
        return NULL
    return <const double*>&a[0] + start if a.shape[0] else NULL


cdef inline double *_into(double[::1] a, Py_ssize_t start) noexcept nogil:
    if a is None:
        return NULL
    return <double*>&a[0] + start if a.shape[0] else NULL


cdef inline lap_plan _plan(
    const double[::1] x, const double[::1] a, const double[::1] y, const double[::1] b,
    const double[::1] edge, double[::1] shift, const double[::1] rate,
    const Py_ssize_t[::1] rows, const Py_ssize_t[::1] columns, Py_ssize_t l,
) noexcept nogil:
    cdef lap_plan p
    p.x, p.a = _from(x, rows[l]), _from(a, rows[l])
    p.y, p.b = _from(y, columns[l]), _from(b, columns[l])
    p.edge, p.shift = _from(edge, columns[l]), _into(shift, columns[l])
    p.n, p.m = rows[l + 1] - rows[l], columns[l + 1] - columns[l]
    p.rate = rate[l]
    return p


cdef void _hard_edges(const lap_plan *p, double *edge) noexcept nogil:
    """Where the hard plan goes to the next column.

    An edge is amid two rows if the columns up to it have the mass of the rows up to there.
    """
    cdef Py_ssize_t i = 0, j, near
    cdef double mass = p.a[0] if p.n else 0.0, level = 0.0, slack
    for j in range(p.m):
        level += p.b[j]
        slack = 1e-12 * level
        while i + 1 < p.n and mass < level - slack:
            i += 1
            mass += p.a[i]
        near = i
        if i + 1 < p.n and mass <= level + slack:
            near = i + 1
        edge[j] = 0.5 * p.x[i] + 0.5 * p.x[near] if i < p.n else 0.0


cdef int _solve(const lap_plan *p, double *edge, double *error, ptrdiff_t *evaluations) noexcept nogil:
    """Solve for the fewer of rows and columns, if they are fewer by far."""
    cdef lap_plan q
    cdef double *memory
    cdef Py_ssize_t i
    cdef int status
    if 2 * p.n >= p.m:
        _hard_edges(p, edge)
        return _table.transport.solve(p, error, evaluations)
    memory = <double*>malloc(3 * p.n * sizeof(double))
    if memory == NULL:
        return LAP_NO_MEMORY
    for i in range(p.n):
        memory[i] = p.a[i] if p.a[i] > 1e-150 else 1e-150
        memory[p.n + i] = 0.0
    q.x, q.a, q.n = p.y, p.b, p.m
    q.y, q.b, q.m = p.x, memory, p.n
    q.shift, q.edge, q.rate = memory + p.n, memory + 2 * p.n, p.rate
    _hard_edges(&q, memory + 2 * p.n)
    status = _table.transport.solve(&q, error, evaluations)
    if status == LAP_DONE:
        status = _table.transport.mirror(&q, edge, p.shift)
    free(memory)
    return status


def transport_solve(
    const double[::1] x,                # IN  nodes
    const double[::1] a,                # IN
    const double[::1] y,                # IN  columns
    const double[::1] b,                # IN
    double[::1] edge,                   # OUT where the hard plan goes to the next column, about
    double[::1] shift,                  # INOUT from zeros
    const double[::1] rate,             # IN  2/epsilon
    const Py_ssize_t[::1] nodes,        # IN
    const Py_ssize_t[::1] columns,      # IN
    double[::1] error,                  # OUT one a lane
    Py_ssize_t[::1] evaluations,        # OUT
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, nodes, columns, l)
            status[l] = _solve(
                &p, _into(edge, columns[l]), &error[l], <ptrdiff_t*>&evaluations[l]
            )


def transport_products(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] columns,      # IN
    const double[::1] s,                # IN  one a column, or None
    const double[::1] v,                # IN  one a row, or None
    double[::1] over_columns,           # OUT sum_j Pi_ij s_j, or None
    double[::1] column_sums,            # OUT sum_i a_i Pi_ij, or None
    double[::1] over_rows,              # OUT sum_i a_i Pi_ij v_i, or None
    double[::1] log_sums,               # OUT of e^E over columns, relative to the top, or None
    Py_ssize_t[::1] top,                # OUT the column that is the top, or None
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    cdef ptrdiff_t *tops
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            tops = NULL
            if top is not None and p.n > 0:
                tops = <ptrdiff_t*>&top[rows[l]]
            status[l] = _table.transport.products(
                &p, _from(s, columns[l]), _from(v, rows[l]), _into(over_columns, rows[l]),
                _into(column_sums, columns[l]), _into(over_rows, columns[l]),
                _into(log_sums, rows[l]), tops,
            )


def transport_deviations(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] columns,      # IN
    double[::1] mean,                   # OUT of y over each row
    double[::1] deviation,              # OUT
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            status[l] = _table.transport.deviations(
                &p, _into(mean, rows[l]), _into(deviation, rows[l])
            )


def transport_mirror(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] columns,      # IN
    double[::1] row_edge,               # OUT of the same plan with rows as columns
    double[::1] row_shift,              # OUT
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            status[l] = _table.transport.mirror(
                &p, _into(row_edge, rows[l]), _into(row_shift, rows[l])
            )


def transport_matrix(
    const double[::1] x,                # IN  n rows in each lane
    const double[::1] a,                # IN
    const double[::1] y,                # IN  and m columns
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] columns,      # IN
    double[:, :, ::1] out,              # OUT (lanes, n, m): Pi
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            status[l] = _table.transport.matrix(&p, &out[l, 0, 0])


def transport_equations(
    const double[::1] x,                # IN  nodes
    const double[::1] a,                # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] nodes,        # IN
    const Py_ssize_t[::1] columns,      # IN
    double[::1] z,                      # INOUT the right side, then the solution
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l
    cdef lap_plan p
    with nogil:
        for l in range(start, stop):
            p = _plan(x, a, y, b, edge, shift, rate, nodes, columns, l)
            status[l] = _table.transport.equations(&p, _into(z, columns[l]))


def transport_pull(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] nodes_x,          # IN
    const double[::1] nodes_a,          # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] nodes,        # IN
    const Py_ssize_t[::1] columns,      # IN
    const double[::1] r,                # IN  as in plan.h
    const double[::1] c,                # IN
    const double[::1] d,                # IN  or None
    double[::1] lambda_,                # OUT
    double[::1] mean_lambda,            # OUT
    double[::1] mean_c,                 # OUT
    double[::1] x_bar,                  # OUT
    double[::1] y_bar,                  # OUT
    double[::1] column_sums,            # OUT
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, j
    cdef lap_plan p, q
    with nogil:
        for l in range(start, stop):
            i, j = rows[l], columns[l]
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            q = _plan(nodes_x, nodes_a, y, b, edge, shift, rate, nodes, columns, l)
            status[l] = _table.transport.pull(
                &p, &q, _from(r, i), _from(c, j), _from(d, j), _into(lambda_, j),
                _into(mean_lambda, i), _into(mean_c, i), _into(x_bar, i), _into(y_bar, j),
                _into(column_sums, j),
            )


def transport_push(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] nodes_x,          # IN
    const double[::1] nodes_a,          # IN
    const double[::1] y,                # IN
    const double[::1] b,                # IN
    const double[::1] edge,             # IN
    double[::1] shift,                  # IN
    const double[::1] rate,             # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] nodes,        # IN
    const Py_ssize_t[::1] columns,      # IN
    const double[::1] x_dot,            # IN  tangents; None: zero
    const double[::1] y_dot,            # IN
    const double[::1] a_dot,            # IN
    const double[::1] b_dot,            # IN
    const double[::1] s,                # IN  one a column, or None
    const double[::1] over_columns,     # IN  sum_j Pi_ij s_j, or None
    double[::1] over_columns_dot,       # OUT or None
    const double[::1] v,                # IN  one a row, or None
    const double[::1] over_rows,        # IN  the mean of v in each column, or None
    double[::1] over_rows_dot,          # OUT or None
    int[::1] status,                    # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t l, i, j
    cdef lap_plan p, q
    with nogil:
        for l in range(start, stop):
            i, j = rows[l], columns[l]
            p = _plan(x, a, y, b, edge, shift, rate, rows, columns, l)
            q = _plan(nodes_x, nodes_a, y, b, edge, shift, rate, nodes, columns, l)
            status[l] = _table.transport.push(
                &p, &q, _from(x_dot, i), _from(y_dot, j), _from(a_dot, i), _from(b_dot, j),
                _from(s, j), _from(over_columns, i),
                _into(over_columns_dot, i), _from(v, i), _from(over_rows, j),
                _into(over_rows_dot, j),
            )


# Cells of points, which few nodes stand for: those of Gauss quadrature.

def transport_cells(
    const double[::1] x,                # IN  rows
    const double[::1] a,                # IN
    const double[::1] y,                # IN  columns
    const double[::1] b,                # IN
    const Py_ssize_t[::1] rows,         # IN
    const Py_ssize_t[::1] columns,      # IN
    const double[::1] area,             # IN  one a lane
    Py_ssize_t[::1] row_cells,          # OUT the cell of each point
    Py_ssize_t[::1] column_cells,       # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Pieces of the hard plan, a staircase from corner to corner, that fit into some area."""
    cdef Py_ssize_t l, i, j, cell
    cdef double x_first, y_first, mass, level
    with nogil:
        for l in range(start, stop):
            i, j, cell = rows[l], columns[l], 0
            if i == rows[l + 1] or j == columns[l + 1]:
                continue
            x_first, y_first, mass, level = x[i], y[j], a[i], b[j]
            row_cells[i] = column_cells[j] = 0
            while i + 1 < rows[l + 1] or j + 1 < columns[l + 1]:
                if j + 1 == columns[l + 1] or (i + 1 < rows[l + 1] and mass <= level):
                    i += 1
                    mass += a[i]
                else:
                    j += 1
                    level += b[j]
                if (x[i] - x_first) * (y[j] - y_first) > area[l]:
                    cell, x_first, y_first = cell + 1, x[i], y[j]
                # The last point of the other kind stays where it is.
                if row_cells[i] < 0:
                    row_cells[i] = cell
                if column_cells[j] < 0:
                    column_cells[j] = cell


def transport_gauss(
    const double[::1] t,                # IN  points, ascending, between -1 and 1 in each cell
    const double[::1] w,                # IN  positive weights
    const Py_ssize_t[::1] cells,        # IN  starts of cells, with more points than nodes
    const Py_ssize_t[::1] stops,        # IN  their ends
    double[:, ::1] scratch,             # two as long as the points
    double[:, ::1] diagonal,            # OUT (cells, nodes) of their Jacobi matrices
    double[:, ::1] above,               # OUT the squares beside it; first the mass
    Py_ssize_t start, Py_ssize_t stop,
):
    """The recurrence of the polynomials that are orthogonal over a cell, by Stieltjes."""
    cdef Py_ssize_t c, i, k, nodes = diagonal.shape[1]
    cdef double mass, lost, part, total, centre, before, size
    with nogil:
        for c in range(start, stop):
            mass = lost = 0.0
            for i in range(cells[c], stops[c]):
                _add_to(&mass, &lost, w[i])
            above[c, 0] = mass
            for i in range(cells[c], stops[c]):
                scratch[0, i], scratch[1, i] = 0.0, 1.0 / sqrt(mass)
            before = 0.0
            for k in range(nodes):
                centre = lost = 0.0
                for i in range(cells[c], stops[c]):
                    _add_to(&centre, &lost, w[i] * scratch[1, i] * scratch[1, i] * t[i])
                diagonal[c, k] = centre
                if k + 1 == nodes:
                    break
                size = lost = 0.0
                for i in range(cells[c], stops[c]):
                    part = (t[i] - centre) * scratch[1, i] - before * scratch[0, i]
                    scratch[0, i], scratch[1, i] = scratch[1, i], part
                    _add_to(&size, &lost, w[i] * part * part)
                above[c, k + 1], before = size, sqrt(size)
                for i in range(cells[c], stops[c]):
                    scratch[1, i] = scratch[1, i] / before if before > 0.0 else 0.0


cdef inline void _add_to(double *total, double *lost, double part) noexcept nogil:
    cdef double due = part - lost[0], new = total[0] + due
    lost[0] = (new - total[0]) - due
    total[0] = new


def transport_onto_nodes(
    const double[::1] t,                # IN  points
    const Py_ssize_t[::1] cells,        # IN  starts of cells
    const Py_ssize_t[::1] stops,        # IN
    const double[:, ::1] nodes,         # IN  (cells, nodes)
    const double[:, ::1] weights,       # IN  barycentric
    const double[::1] at_points,        # IN
    double[:, ::1] at_nodes,            # OUT
    Py_ssize_t start, Py_ssize_t stop,
):
    """Shares for the nodes of each cell that keep integrals of polynomials."""
    cdef Py_ssize_t c, i, k, hit, count = nodes.shape[1]
    cdef double row[64]
    cdef double total, value
    with nogil:
        for c in range(start, stop):
            for k in range(count):
                at_nodes[c, k] = 0.0
            for i in range(cells[c], stops[c]):
                total, hit = 0.0, -1
                for k in range(count):
                    value = t[i] - nodes[c, k]
                    if value == 0.0:
                        hit = k
                    row[k] = weights[c, k] / value
                    total += row[k]
                if hit >= 0:
                    at_nodes[c, hit] += at_points[i]
                else:
                    value = at_points[i] / total
                    for k in range(count):
                        at_nodes[c, k] += row[k] * value
