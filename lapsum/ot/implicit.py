r"""Derivatives of means over a plan, by the implicit function theorem.

The plan of rows :math:`x_i` and columns :math:`y_j` is :math:`P_{ij} = a_i \Pi_{ij}`, and its
equations have the graph Laplacian :math:`H = \mathrm{diag}(b) - P^T \mathrm{diag}(a)^{-1} P`.  With
:math:`q_{ij} = 2 (y_j \dot x_i + x_i \dot y_j)/\varepsilon`, which is minus the tangent of the cost
but for terms of a row or a column,

.. math:: H h = \dot b - \Pi^T \dot a - \sum_i a_i \Pi_{ij} (q_{ij} - \bar q_i), \qquad
   \dot\Pi_{ij} = \Pi_{ij} (h_j + q_{ij} - \text{the mean of these over row } i).

Only the products x y over epsilon matter, so that a tangent of epsilon is one of x.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from .._backends.types import Floats, Indices, sum_in_lane
from .._core.rule import LARGE
from .sinkhorn import ABSENT, Coupling, Couplings


class Bars(NamedTuple):
    """Cotangents: of entries and of what belongs to them in ascending order, and of epsilon.

    Those of weights are for tangents that add up to zero.
    """

    entries: Floats
    entry_weights: Floats
    targets: Floats
    target_weights: Floats
    values: Floats
    epsilon: Floats


class Dots(NamedTuple):
    """Tangents, as in `Bars`, None for zero."""

    entries: Floats | None = None
    entry_weights: Floats | None = None
    targets: Floats | None = None
    target_weights: Floats | None = None
    values: Floats | None = None
    epsilon: Floats | None = None


_ROUNDED = 2.0**-47  # of sums of opposite parts, as in the loops

PointDots: TypeAlias = "tuple[Floats | None, Floats | None]"  # tangents of points and weights


class SideBars(NamedTuple):
    """Cotangents of one side, in lanes: of its points and weights, and of values if it has them."""

    points: Floats
    weights: Floats
    values: Floats | None


def pull(
    coupling: Coupling | Couplings,
    at_entries: bool,
    values: Floats,
    mean: Floats,
    bar: Floats,
    of_targets: bool = True,
) -> Bars:
    """Return the cotangents of a mean over the plan, at entries or at targets.

    Those of targets and what belongs to them may be zero unless they are asked for.
    """
    if isinstance(coupling, Couplings):
        found = [
            pull(c, at_entries, values[lanes], mean[lanes], bar[lanes], of_targets)
            for lanes, c in coupling.parts
        ]
        return Bars(*(coupling.join(parts) for parts in zip(*found, strict=True)))
    c = coupling
    shapes = c.of_entries.shape, c.of_targets.shape
    empty = [SideBars(*(np.zeros(shape),) * 3) for shape in shapes]
    if c.empty:
        entries, targets = empty
        nothing, epsilon_bar = np.zeros(values.shape), np.zeros(len(c.epsilon))
        return _both(entries, targets, nothing, epsilon_bar)
    sides: dict[bool, SideBars] = {}
    first = c.entries_are_rows
    for rows in (first, not first):
        if rows not in sides and (rows or of_targets or c.columns_are_points(not rows)):
            sides[rows], columns = _pull(c, rows, at_entries, values, mean, bar)
            if columns is not None:
                sides.setdefault(not rows, columns)
    entries, targets = sides[True], sides.get(False, empty[1])
    of_points = _together(entries.points, c.of_entries.first_of_ties)
    away = np.where(of_points == 0.0, 0.0, c.entries - _middle(c))
    largest = np.abs(away).max(axis=-1, initial=0.0)
    # Products beyond the largest float, of both signs, would add up to NaN.
    unit = np.where(largest > LARGE, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    epsilon_bar = -sum_in_lane(of_points * (away / unit[:, None])) * unit / c.epsilon
    carried = targets.values if at_entries else entries.values
    assert carried is not None
    return _both(entries, targets, carried, epsilon_bar)


def _together(bar: Floats, first: Indices | None) -> Floats:
    """Return cotangents of ascending lanes, those of ties added up for the first of them.

    Ties may move against each other at a rate of 1/epsilon; what rounding leaves of a sum of such
    cotangents is nothing.
    """
    if first is None:
        return bar
    total, size = np.zeros_like(bar), np.zeros_like(bar)
    lane = np.arange(len(bar))[:, None]
    np.add.at(total, (lane, first), bar)
    np.add.at(size, (lane, first), np.abs(bar))
    return np.where(np.abs(total) > _ROUNDED * size, total, 0.0)


def _both(entries: SideBars, targets: SideBars, values: Floats, epsilon: Floats) -> Bars:
    return Bars(entries.points, entries.weights, targets.points, targets.weights, values, epsilon)


def _pull(
    c: Coupling, rows_are_entries: bool, at_entries: bool, values: Floats, mean: Floats, bar: Floats
) -> tuple[SideBars, SideBars | None]:
    """Return the cotangents of rows, and those of columns where these are points."""
    at_rows = at_entries == rows_are_entries
    plan = c.plan(rows_are_entries)
    rows, columns = c.side(rows_are_entries), c.side(not rows_are_entries)
    a = plan.rows.weights.reshape(rows.shape)
    b = columns.some.weights
    row_values = column_values = None
    if at_rows:
        found = c.kernels.pull(plan, _flat(-bar), columns.onto_heavy(_flat(values)), None)
        a_bar = -found.mean_lambda.reshape(rows.shape)
        if columns.is_solved_for:
            column_values = -found.column_sums.reshape(columns.shape)
    else:
        by, r, flat_mean = -_flat(bar) / b, _flat(a * values), _flat(mean)
        light = columns.points.weights <= ABSENT
        part = np.where(light, 0.0, by)
        found = c.kernels.pull(
            plan, r, columns.onto_heavy(part), columns.onto_heavy(-part * flat_mean)
        )
        part = np.where(light, by, 0.0)
        if part.any():
            of_light = c.kernels.pull(
                c.plan_of_all(rows_are_entries),
                r,
                columns.onto_nodes(part),
                columns.onto_nodes(-part * flat_mean),
            )
            found = found._replace(
                mean_lambda=found.mean_lambda + of_light.mean_lambda,
                mean_c=found.mean_c + of_light.mean_c,
                x_bar=found.x_bar + of_light.x_bar,
            )
        mean_by = found.mean_c.reshape(rows.shape)
        a_bar = -found.mean_lambda.reshape(rows.shape) - values * mean_by
        row_values = -a * mean_by
    of_rows = SideBars(found.x_bar.reshape(rows.shape), a_bar, row_values)
    if not columns.is_solved_for:
        return of_rows, None
    y_bar, b_bar = (bar.reshape(columns.shape) for bar in (found.y_bar, found.lambda_))
    return of_rows, SideBars(y_bar, b_bar, column_values)


def push(
    coupling: Coupling | Couplings, at_entries: bool, values: Floats, mean: Floats, dots: Dots
) -> Floats:
    """Return the tangent of a mean over the plan, at entries or at targets."""
    if isinstance(coupling, Couplings):
        of_kinds = []
        for lanes, c in coupling.parts:
            some = Dots(*(None if dot is None else dot[lanes] for dot in dots))
            of_kinds.append(push(c, at_entries, values[lanes], mean[lanes], some))
        return coupling.join(of_kinds)
    c, x_dot = coupling, dots.entries
    shape = c.side(at_entries).shape
    if c.empty:
        return np.zeros(shape)
    if dots.epsilon is not None:
        along = (dots.epsilon / c.epsilon)[:, None] * (_middle(c) - c.entries)
        x_dot = along if x_dot is None else x_dot + along
    both = (x_dot, dots.entry_weights), (dots.targets, dots.target_weights)
    if not at_entries:
        both = both[::-1]
    of_result, of_values = (
        (None if at is None else _flat(at), None if weights is None else _flat(weights))
        for at, weights in both
    )
    out = np.zeros(shape)
    if any(dot is not None for dot in (*of_result, *of_values)):
        if c.columns_are_points(at_entries):
            v = _flat(values)
            value = c.flat_mean(at_entries, v)
            pushed = c.kernels.push(c.plan(not at_entries), of_values, of_result, None, v, value)
        else:
            pushed = _push_rows(c, at_entries, _flat(values), _flat(mean), of_result, of_values)
        out = pushed.reshape(shape)
    if dots.values is not None:
        out = out + c.mean(at_entries, dots.values)
    return out


def _push_rows(
    c: Coupling,
    rows_are_entries: bool,
    values: Floats,
    mean: Floats,
    row_dots: PointDots,
    column_dots: PointDots,
) -> Floats:
    """Return the tangent of the means over rows, of which the columns may be nodes."""
    plan = c.plan(rows_are_entries)
    rows, columns = c.side(rows_are_entries), c.side(not rows_are_entries)
    y_dot, b_dot = column_dots
    s = columns.onto_heavy(values)
    if columns.is_solved_for or (y_dot is None and b_dot is None):
        return c.kernels.push(plan, row_dots, column_dots, s, None, mean)
    # Tangents of columns need not be smooth, as nodes require.  But h is b_dot / b, plus q with x
    # from its mean over each column, plus something smooth.
    at_nodes = plan._replace(rows=plan.nodes)

    def means(values: Floats, to_all: bool = False) -> tuple[Floats, Floats]:
        to = c.plan_of_all(rows_are_entries) if to_all else plan
        nodes = columns.onto_nodes(values) if to_all else columns.onto_heavy(values)
        over_rows, _ = c.kernels.products(to, s=nodes)
        over_nodes, _ = c.kernels.products(to._replace(rows=to.nodes), s=nodes)
        assert over_rows is not None
        assert over_nodes is not None
        return over_rows, over_nodes

    charge = np.zeros(len(plan.nodes.at))
    out = np.zeros(len(plan.rows.at))
    if b_dot is not None:
        relative = b_dot / columns.some.weights
        light = columns.points.weights <= ABSENT
        for some, to_all in ((~light, False), (light, True)):
            if some.any():
                part = np.where(some, relative, 0.0)
                along, more = means(part, to_all)
                charge = charge + more
                out = out + means(values * part, to_all)[0] - mean * along
    if y_dot is not None:
        middle = rows.points.at.reshape(rows.shape)[:, rows.shape[1] // 2]
        x, x_nodes = (
            points.at - np.repeat(middle, np.diff(points.starts))
            for points in (plan.rows, plan.nodes)
        )
        rate, rate_nodes = (
            np.repeat(plan.rate, np.diff(points.starts)) for points in (plan.rows, plan.nodes)
        )
        y_dot_x = y_dot * c.flat_mean(not rows_are_entries, x)
        along, along_nodes = means(y_dot)
        along_x, along_x_nodes = means(y_dot_x)
        charge = charge + rate_nodes * (x_nodes * along_nodes - along_x_nodes)
        together, together_x = means(values * y_dot)[0], means(values * y_dot_x)[0]
        out = out + rate * (x * (together - mean * along) - (together_x - mean * along_x))
    _, charge_of_columns = c.kernels.products(at_nodes, v=charge)
    assert charge_of_columns is not None
    smooth = charge_of_columns * c.kernels.column_sums(at_nodes)
    return out + c.kernels.push(plan, row_dots, (None, smooth), s, None, mean)


def _middle(c: Coupling) -> Floats:
    return c.entries[:, c.entries.shape[1] // 2, None]


def _flat(lanes: Floats) -> Floats:
    return np.ascontiguousarray(lanes).reshape(-1)
