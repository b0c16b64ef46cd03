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

from typing import NamedTuple

import numpy as np

from .._backends.types import Floats, sum_in_lane
from .._core.rule import LARGE
from .sinkhorn import Coupling


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


def pull(coupling: Coupling, at_entries: bool, values: Floats, mean: Floats, bar: Floats) -> Bars:
    """Return the cotangents of a mean over the plan, at entries or at targets."""
    c = coupling
    shapes = c.shape_of_entries, c.shape_of_targets
    if c.empty:
        entries, targets = (np.zeros(shape) for shape in shapes)
        nothing = np.zeros(values.shape)
        return Bars(entries, entries, targets, targets, nothing, np.zeros(len(c.epsilon)))
    rows, columns = shapes if c.entries_are_rows else shapes[::-1]
    a = c.plan.rows.weights.reshape(rows)
    unit = np.ones((1, 1))
    b = c.columns.weights
    if at_entries == c.entries_are_rows:
        found = c.kernels.pull(c.plan, _flat(-bar), c.onto_columns(_flat(values)), None)
        a_bar = -found.mean_lambda.reshape(rows)
        share = c.from_columns(found.column_sums / c.plan.columns.weights)
        values_bar = -(b * share).reshape(columns)
    else:
        # A common offset changes nothing; differences of large values would overflow.
        unit = np.where(np.abs(values).max(axis=-1) > LARGE, 2.0**200, 1.0)[:, None]
        values, mean = values / unit, mean / unit
        centre = values[:, values.shape[1] // 2, None]
        values, mean = values - centre, mean - centre
        by = -_flat(bar) / b
        found = c.kernels.pull(
            c.plan,
            _flat(a * values),
            c.onto_columns(by),
            c.onto_columns(-by * _flat(mean)),
        )
        mean_by = found.mean_c.reshape(rows)
        a_bar = -found.mean_lambda.reshape(rows) - values * mean_by
        values_bar = -a * mean_by
    if c.column_nodes is not None:  # whoever fixed the targets asks for no cotangents of them
        found = found._replace(y_bar=np.zeros(len(b)), lambda_=np.zeros(len(b)))
    x_bar, y_bar = unit * found.x_bar.reshape(rows), unit * found.y_bar.reshape(columns)
    a_bar, b_bar = unit * a_bar, unit * found.lambda_.reshape(columns)
    if not c.entries_are_rows:
        x_bar, a_bar, y_bar, b_bar = y_bar, b_bar, x_bar, a_bar
    away = np.where(x_bar == 0.0, 0.0, c.entries - _middle(c))
    epsilon_bar = -sum_in_lane(x_bar * away) / c.epsilon
    return Bars(x_bar, a_bar, y_bar, b_bar, values_bar, epsilon_bar)


def push(coupling: Coupling, at_entries: bool, values: Floats, mean: Floats, dots: Dots) -> Floats:
    """Return the tangent of a mean over the plan, at entries or at targets."""
    c, x_dot = coupling, dots.entries
    shape = c.shape_of_entries if at_entries else c.shape_of_targets
    if c.empty:
        return np.zeros(shape)
    if dots.epsilon is not None:
        along = (dots.epsilon / c.epsilon)[:, None] * (_middle(c) - c.entries)
        x_dot = along if x_dot is None else x_dot + along
    out = np.zeros(shape)
    both = (x_dot, dots.entry_weights), (dots.targets, dots.target_weights)
    rows, columns = both if c.entries_are_rows else both[::-1]
    if any(dot is not None for dot in (*rows, *columns)):
        over_columns = at_entries == c.entries_are_rows
        if over_columns:
            s, v = c.onto_columns(_flat(values)), None
            value = _flat(mean)
        else:
            s, v = None, _flat(values)
            value = c.mean_at_columns(v)
        pushed = c.kernels.push(c.plan, _all_flat(rows), _all_flat(columns), s, v, value)
        out = (pushed if over_columns else c.from_columns(pushed)).reshape(shape)
    if dots.values is not None:
        product = c.mean_at_entries if at_entries else c.mean_at_targets
        out = out + product(dots.values)
    return out


def _middle(c: Coupling) -> Floats:
    return c.entries[:, c.entries.shape[1] // 2, None]


def _flat(lanes: Floats) -> Floats:
    return np.ascontiguousarray(lanes).reshape(-1)


def _all_flat(
    dots: tuple[Floats | None, Floats | None],
) -> tuple[Floats | None, Floats | None]:
    first, second = dots
    return (
        None if first is None else _flat(first),
        None if second is None else _flat(second),
    )
