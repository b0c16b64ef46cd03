"""Plans of optimal transport between measures on a line, in NumPy arrays.

Lanes may differ in length and lie one after another in flat arrays, lane l from `starts[l]` to
`starts[l + 1]`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ... import _kernels
from ..types import Floats, Indices
from .threads import Threads

_DONE, _NOT_REACHED, _TOO_LARGE = range(3)


class Points(NamedTuple):
    """Points of some weight, ascending in each lane."""

    at: Floats
    weights: Floats
    starts: Indices


class Plan(NamedTuple):
    """A solved plan: sums over rows use `rows`, and its equations `nodes`, which stand for them.

    `edge` and `shift` hold what is solved for, one element a column; `rate`, (lanes,), is
    2/epsilon.
    """

    rows: Points
    nodes: Points
    columns: Points
    edge: Floats
    shift: Floats
    rate: Floats


class Pulled(NamedTuple):
    """Cotangents, see `src/transport/plan.h`."""

    lambda_: Floats
    mean_lambda: Floats
    mean_c: Floats
    x_bar: Floats
    y_bar: Floats
    column_sums: Floats


class Transport(Threads):
    """The kernels."""

    def solve(self, nodes: Points, columns: Points, rate: Floats) -> tuple[Floats, Floats]:
        """Return the edges and shifts of a plan, all weights of columns positive."""
        lanes = len(rate)
        work = lanes, _most(nodes.starts) * _most(columns.starts)
        edge, shift = np.empty(len(columns.at)), np.zeros(len(columns.at))
        error, evaluations = np.empty(lanes), np.empty(lanes, np.intp)
        status = np.zeros(lanes, np.int32)
        self._run(
            _kernels.transport_solve,
            work,
            *nodes[:2],
            *columns[:2],
            edge,
            shift,
            rate,
            nodes.starts,
            columns.starts,
            error,
            evaluations,
            status,
        )
        _check(status, error, evaluations)
        return edge, shift

    def products(
        self, plan: Plan, s: Floats | None = None, v: Floats | None = None
    ) -> tuple[Floats | None, Floats | None]:
        """Return means: of s over the columns of each row, and of v over the rows of each column.

        Without s or v the result is None.
        """
        rows, columns = plan.rows, plan.columns
        over_columns = None if s is None else np.empty(len(rows.at))
        over_rows = None if v is None else np.empty(len(columns.at))
        sums = None if v is None else np.empty(len(columns.at))
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, rows)
        self._run(
            _kernels.transport_products,
            self._work(plan),
            *inputs,
            s,
            v,
            over_columns,
            sums,
            over_rows,
            None,
            None,
            status,
        )
        _check(status)
        return over_columns, None if over_rows is None or sums is None else over_rows / sums

    def column_sums(self, plan: Plan) -> Floats:
        """Return the masses of the columns."""
        sums = np.empty(len(plan.columns.at))
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, plan.rows)
        outputs = None, None, None, sums, None, None, None, status
        self._run(_kernels.transport_products, self._work(plan), *inputs, *outputs)
        _check(status)
        return sums

    def row_sums(self, plan: Plan) -> tuple[Floats, Indices]:
        """Return log sum_j b_j e^{E_ij - E_ic}, for a column c of each row; and which that is."""
        logs, top = np.empty(len(plan.rows.at)), np.empty(len(plan.rows.at), np.intp)
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, plan.rows)
        outputs = None, None, None, None, None, logs, top, status
        self._run(_kernels.transport_products, self._work(plan), *inputs, *outputs)
        _check(status)
        return logs, top

    def deviations(self, plan: Plan) -> tuple[Floats, Floats]:
        """Return the mean of the columns' points over each row, and how far they are from it."""
        mean, deviation = np.empty(len(plan.rows.at)), np.empty(len(plan.rows.at))
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, plan.rows)
        self._run(_kernels.transport_deviations, self._work(plan), *inputs, mean, deviation, status)
        _check(status)
        return mean, deviation

    def mirror(self, plan: Plan) -> tuple[Floats, Floats]:
        """Return the edges and shifts of the same plan with rows as columns."""
        edge, shift = np.empty(len(plan.rows.at)), np.empty(len(plan.rows.at))
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, plan.rows)
        self._run(_kernels.transport_mirror, self._work(plan), *inputs, edge, shift, status)
        _check(status)
        return edge, shift

    def matrix(self, plan: Plan) -> Floats:
        """Return the plan with each row divided by its weight: (lanes, rows, columns)."""
        lanes = len(plan.rate)
        shape = _most(plan.rows.starts), _most(plan.columns.starts)
        out, status = np.empty((lanes, *shape)), np.zeros(lanes, np.int32)
        inputs = self._plan(plan, plan.rows)
        self._run(_kernels.transport_matrix, self._work(plan), *inputs, out, status)
        _check(status)
        return out

    def equations(self, plan: Plan, right: Floats) -> Floats:
        """Return z with (diag(b) - P.T @ diag(1/a) @ P) @ z = right, which adds up to zero."""
        z, status = right.copy(), np.zeros(len(plan.rate), np.int32)
        inputs = self._plan(plan, plan.nodes)
        self._run(_kernels.transport_equations, self._work(plan), *inputs, z, status)
        _check(status)
        return z

    def pull(self, plan: Plan, r: Floats, c: Floats, d: Floats | None) -> Pulled:
        """Return cotangents of what depends on a plan by r_i c_j + a_i d_j."""
        rows, columns = plan.rows, plan.columns
        n, m = len(rows.at), len(columns.at)
        pulled = Pulled(*(np.empty(size) for size in (m, n, n, n, m, m)))
        status = np.zeros(len(plan.rate), np.int32)
        inputs = self._both(plan)
        self._run(_kernels.transport_pull, self._work(plan), *inputs, r, c, d, *pulled, status)
        _check(status)
        return pulled

    def push(
        self,
        plan: Plan,
        rows_dot: tuple[Floats | None, Floats | None],
        columns_dot: tuple[Floats | None, Floats | None],
        s: Floats | None,
        v: Floats | None,
        value: Floats,
    ) -> Floats:
        """Return the tangent of `products`, which was `value`, due to those of points and weights.

        One of s and v is given.
        """
        x_dot, a_dot = rows_dot
        y_dot, b_dot = columns_dot
        out = np.empty(len(value))
        status = np.zeros(len(plan.rate), np.int32)
        over_columns = (s, value, out) if s is not None else (None, None, None)
        over_rows = (v, value, out) if v is not None else (None, None, None)
        tangents = x_dot, y_dot, a_dot, b_dot
        self._run(
            _kernels.transport_push,
            self._work(plan),
            *self._both(plan),
            *tangents,
            *over_columns,
            *over_rows,
            status,
        )
        _check(status)
        return out

    def gauss(
        self, t: Floats, weights: Floats, starts: Indices, stops: Indices, nodes: int
    ) -> tuple[Floats, Floats]:
        """Return the diagonals of the Jacobi matrices of cells, and the squares beside these."""
        cells = len(starts)
        diagonal, above = np.empty((cells, nodes)), np.empty((cells, nodes))
        scratch = np.empty((2, len(t)))
        work = cells, len(t)
        self._run(
            _kernels.transport_gauss, work, t, weights, starts, stops, scratch, diagonal, above
        )
        return diagonal, above

    def cells(self, rows: Points, columns: Points, area: Floats) -> tuple[Indices, Indices]:
        """Return which pieces of the hard plan, of at most some area each, points belong to."""
        row_cells = np.full(len(rows.at), -1, np.intp)
        column_cells = np.full(len(columns.at), -1, np.intp)
        work = len(area), _most(rows.starts) + _most(columns.starts)
        starts = rows.starts, columns.starts
        outputs = row_cells, column_cells
        self._run(_kernels.transport_cells, work, *rows[:2], *columns[:2], *starts, area, *outputs)
        return outputs

    def onto_nodes(
        self,
        t: Floats,
        starts: Indices,
        stops: Indices,
        nodes: Floats,
        barycentric: Floats,
        values: Floats,
    ) -> Floats:
        """Return the shares of the nodes of cells in values of points, for sums."""
        out, work = np.empty(nodes.shape), (len(starts), len(t))
        cells = t, starts, stops, nodes, barycentric, values, out
        self._run(_kernels.transport_onto_nodes, work, *cells)
        return out

    @staticmethod
    def _plan(plan: Plan, rows: Points) -> tuple[Floats | Indices, ...]:
        columns = plan.columns
        solved = plan.edge, plan.shift, plan.rate
        return *rows[:2], *columns[:2], *solved, rows.starts, columns.starts

    @staticmethod
    def _both(plan: Plan) -> tuple[Floats | Indices, ...]:
        rows, nodes, columns = plan.rows, plan.nodes, plan.columns
        solved = plan.edge, plan.shift, plan.rate
        starts = rows.starts, nodes.starts, columns.starts
        return *rows[:2], *nodes[:2], *columns[:2], *solved, *starts

    @staticmethod
    def _work(plan: Plan) -> tuple[int, int]:
        return len(plan.rate), _most(plan.rows.starts) * _most(plan.columns.starts)


def _most(starts: Indices) -> int:
    return int(np.diff(starts).max()) if len(starts) > 1 else 0


def _check(
    status: np.ndarray[tuple[int], np.dtype[np.int32]],
    error: Floats | None = None,
    evaluations: Indices | None = None,
) -> None:
    """Raise the error of the first lane that has one."""
    if not status.any():
        return
    lane = int(np.flatnonzero(status)[0])
    if status[lane] == _NOT_REACHED and error is not None and evaluations is not None:
        raise RuntimeError(
            f"the transport of lane {lane} did not converge: after {evaluations[lane]} evaluations "
            f"of the plan a mass of {error[lane]:.1e} of one is still on the wrong side of a target"
        )
    if status[lane] == _TOO_LARGE:
        raise MemoryError(
            f"the transport of lane {lane} is too large: its equations take more than 1 GiB; use a "
            "smaller `epsilon`, or fewer `targets`"
        )
    raise MemoryError(f"not enough memory for the transport of lane {lane}")
