"""Few thresholds a lane: by selection where that is possible, by sorting where it is not.

Which of the two ways a lane takes depends on its own entries and levels alone, and so does every
bit of its result.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from .._backends.protocol import Kernels
from .._backends.types import AnchoredThresholds, DType, Entries, Flags, Floats, Selected
from .sources import Sources
from .thresholds import Thresholds, thresholds_at


class Question(NamedTuple):
    """What is sought: the roots of S(b) = level among z = sign x, in each lane.

    `levels` are (lanes,), one a lane, or (lanes, steps) and then shares of the total.  `totals` are
    None without weights; weights and levels are not yet rescaled.  By `allowance` of itself a total
    may be exceeded.
    """

    x: Entries
    weights: Floats | None
    sign: float
    levels: Floats
    totals: Floats | None
    alpha: Floats
    allowance: float = 0.0


class Selection:
    """The roots that a question asks for.

    Attributes
    ----------
    selected : Selected
        What kernels of derivatives take.
    x : array, shape (lanes, n)
        The entries, or a copy of them.
    nan_lanes : array of bool, shape (lanes,), or None
        Lanes spoilt by a NaN or by what is not allowed.
    absent : array of bool, shape (lanes, 1), or None
        Lanes without entries: those of zero weight, and those that a NaN spoils.
    muted : array of bool, shape (lanes, n), or None
        Absent entries whose results were not finite.
    """

    def __init__(self, kernels: Kernels, question: Question, selected: Selected) -> None:
        self.kernels = kernels
        self.selected = selected
        self.x = selected.x
        self.nan_lanes, self.absent, self.muted = (
            selected.nan_lanes,
            selected.absent,
            selected.muted,
        )
        self.unsolved = selected.unsolved
        if self.unsolved is not None:
            self._sort(question, self.unsolved)

    @staticmethod
    def state_form(lanes: int, steps: int) -> tuple[tuple[int, int], DType]:
        """Return the shape and dtype of `state` for so many thresholds a lane."""
        return (lanes, len(AnchoredThresholds._fields) * steps + 3), np.dtype(np.float64)

    def state(self) -> Floats:
        """Return all but the entries, a row for each lane."""
        xp, (fields, lanes, *steps) = self.kernels.xp, self.block.shape
        rows = xp.moveaxis(self.block, 1, 0).reshape(lanes, fields * prod(steps))
        absent = None if self.absent is None else self.absent[:, 0]
        flags = [
            xp.zeros((lanes, 1)) if flag is None else 1.0 * flag[:, None]
            for flag in (self.selected.state, self.nan_lanes, absent)
        ]
        return self.kernels.contiguous(xp.concatenate([rows, *flags], axis=-1))

    @classmethod
    def restored(
        cls, kernels: Kernels, question: Question, state: Floats, steps: tuple[int, ...] = ()
    ) -> Selection:
        """Return what had a state, for entries without weights.

        `steps` is empty for one threshold a lane, else how many there are.
        """
        rows = len(AnchoredThresholds._fields)
        block = kernels.xp.moveaxis(state[:, :-3].reshape(len(state), rows, *steps), 0, 1)
        solved, nan_lanes, absent = state[:, -3], state[:, -2] > 0.0, state[:, -1:] > 0.0
        selected = Selected(
            kernels.contiguous(block),
            None,
            solved,
            question.x,
            None,
            nan_lanes if kernels.maybe_any(nan_lanes) else None,
            absent if kernels.maybe_any(absent) else None,
        )
        return cls(kernels, question, selected)

    @property
    def block(self) -> Floats:
        """The stacked thresholds, for kernels."""
        return self.selected.block

    @cached_property
    def thresholds(self) -> AnchoredThresholds:
        """The thresholds, each row of shape (lanes,) or (lanes, steps)."""
        return self.selected.thresholds

    def _sort(self, question: Question, rest: Flags) -> None:
        """Solve the lanes that are left by sorting them."""
        kernels, q, xp = self.kernels, question, self.kernels.xp
        z = q.sign * kernels.contiguous(q.x[rest])
        levels, totals = q.levels[rest], None if q.totals is None else q.totals[rest]
        if levels.ndim > 1:
            levels = kernels.levels(levels, totals, z.shape[1])
        weights = None
        if q.weights is not None and totals is not None:
            weights, levels = kernels.rescale(totals, q.weights[rest], levels)
        s = Sources(kernels, z, q.alpha[rest], weights)
        b = thresholds_at(s, levels.reshape(len(z), -1), full=True)
        found = _rows(b)
        self.block[:, rest] = xp.stack(found).reshape(len(found), *levels.shape)
        if not s.present.all():
            self.absent = xp.zeros((len(rest), 1)) > 0.0
            self.absent[rest, 0] = s.present == 0
        if s.nan_lanes is not None:
            self.nan_lanes = xp.zeros(len(rest)) > 0.0
            self.nan_lanes[rest] = s.nan_lanes

    def empty(self) -> Flags | None:
        """Return, (lanes,), which lanes have no entries and were solved by sorting."""
        if self.unsolved is None or self.absent is None:
            return None
        return self.absent[:, 0]


def _rows(b: Thresholds) -> AnchoredThresholds:
    left, right = b.nodes()
    q_left, q_right = b.softmax
    return AnchoredThresholds(
        b.lo, b.hi, b.u, left, right, q_left, q_right, b.density, b.value(), b.centre
    )


def select_topk(
    kernels: Kernels, question: Question, logarithm: bool, copy: bool, out: Entries | None
) -> tuple[Selection, Entries]:
    """Return the threshold of each lane, and F((b - z)/alpha) or its logarithm at the entries.

    With `copy`, the entries are copied as they are read, and kept.  Results are of the dtype of x,
    or in `out`, which is apart from x in memory; those of NaN lanes are NaN, and 0 at absent
    entries where they were not finite.
    """
    selected = kernels.select_topk(*question, logarithm, copy, out)
    return _finished(kernels, question, selected, given(selected.p), logarithm)


def topk_values(
    kernels: Kernels, question: Question, logarithm: bool, out: Entries | None
) -> Entries:
    """Return the results alone."""
    selected = kernels.select_topk(*question, logarithm, False, out)
    if selected.unsolved is None and question.weights is None and selected.p is not None:
        return selected.p
    _, p = _finished(kernels, question, selected, given(selected.p), logarithm)
    return p


def _finished(
    kernels: Kernels, question: Question, selected: Selected, p: Entries, logarithm: bool
) -> tuple[Selection, Entries]:
    """Return the thresholds and the results, those of lanes solved by sorting among them."""
    if selected.unsolved is None and question.weights is None:
        return Selection(kernels, question, selected), p
    with kernels.quiet():
        b = Selection(kernels, question, selected)
        if selected.unsolved is not None:
            _fill_sorted(b, question, selected.unsolved, p, logarithm)
        if question.weights is not None and b.muted is None:
            b.muted = kernels.mute(p, question.weights)
        if selected.unsolved is not None and b.nan_lanes is not None:
            p[b.nan_lanes] = kernels.xp.nan
    return b, p


def _fill_sorted(
    b: Selection, question: Question, rest: Flags, p: Entries, logarithm: bool
) -> None:
    """Write the results of the lanes that were solved by sorting."""
    kernels, xp = b.kernels, b.kernels.xp
    none, nothing = -xp.inf if logarithm else 0.0, b.empty()
    if nothing is not None:
        thresholds = b.thresholds
        thresholds.lo[nothing] = thresholds.hi[nothing] = 0.0
        thresholds.u[nothing] = thresholds.value[nothing] = -xp.inf
    found = xp.ascontiguousarray(b.block[:, rest])
    z = question.sign * kernels.contiguous(question.x[rest])
    p[rest] = kernels.probabilities(found, z, question.alpha[rest], logarithm)
    if nothing is not None:
        p[nothing] = none


def given(p: Entries | None) -> Entries:
    if p is None:
        raise TypeError("select_topk returns results at the entries")
    return p


def select_quantiles(kernels: Kernels, question: Question) -> Selection:
    """Return a few thresholds of each lane; they are NaN in lanes without entries."""
    q = question
    selected = kernels.select_quantiles(q.x, q.weights, q.levels, q.totals, q.alpha)
    with kernels.quiet():
        b = Selection(kernels, q, selected)
    nothing, xp = b.empty(), kernels.xp
    if nothing is not None:
        thresholds = b.thresholds
        thresholds.lo[nothing] = thresholds.hi[nothing] = 0.0
        thresholds.u[nothing] = thresholds.value[nothing] = xp.nan
    return b
