"""Sinkhorn ranks and sorts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._backends.types import Floats, sum_in_lane
from .._core.call import evaluate, operator, rule_of
from .._core.rule import Tangents
from .rule import SinkhornRule


@operator
def sinkhorn_rank(
    x: ArrayLike,
    epsilon: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    target_weights: ArrayLike | None = None,
    squash: str | None = "logistic",
    axis: int | None = -1,
    descending: bool = False,
    workers: int | None = None,
) -> NDArray[Any] | np.floating[Any]:
    r"""Sinkhorn ranks: the mean position of the targets to which each entry is transported.

    The entries are transported to ascending targets at the least cost, and an entropy spreads each
    over several targets.  As epsilon tends to zero these are ranks: for as many targets of equal
    weight as entries, ``scipy.stats.rankdata(x, "average")``.

    Parameters
    ----------
    x : array_like
        The entries to rank.
    epsilon : array_like
        Positive strength of the entropy, in units of the squared distance of the targets; must
        broadcast to the batch shape (the axes but `axis`).
    weights : array_like, optional
        Non-negative weights of the entries, of the shape of `x` or 1-D along `axis`.
    targets : array_like, optional
        Ascending points :math:`y_j`, 1-D, or of the shape of `x` but along `axis`; evenly spaced
        from 0 to 1 by default, as many as `target_weights` has, or else `x` along `axis`.
    target_weights : array_like, optional
        Non-negative weights of the targets, of the same shape or 1-D; equal by default.
    squash : {"logistic", None}, optional
        How z follows from x: ``1/(1 + exp(-(x - mean)/std))``, with the weighted mean and standard
        deviation, or x as it is.  Where std is 0, z is 1/2.
    axis : int or None, optional
        Axis along which to rank; None for all of the raveled array, and a flat result.
    descending : bool, optional
        Whether the largest entry has the smallest rank.
    workers : int, optional
        Number of threads, which share the lanes: one by default; negative numbers count from the
        CPUs, and 0 is a ValueError.

    Returns
    -------
    ndarray
        Ranks, of the shape and float dtype of `x`.  Ascending and descending ranks add up to
        W + 1.

    Raises
    ------
    ValueError
        If `epsilon` is not positive and finite, a weight is negative or not finite, targets are not
        ascending, or shapes do not fit.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.
    RuntimeError
        If the plan was not found; the text says how far it came.
    MemoryError
        If the equations of a plan do not fit into 1 GiB.

    See Also
    --------
    sinkhorn_sort : The means in the other direction.
    SinkhornPlan : The plan itself.
    lapsum.soft_rank : Ranks by Laplace CDFs, in :math:`O(n \log n)`.

    Notes
    -----
    Let z be the squashed entries, a the weights of the entries divided by their total W (without
    weights the number of entries), and b those of the targets divided by theirs.  The ranks are

    .. math:: & R_i = \frac12 + W \sum_j \Pi_{ij} s_j, \qquad
         s_j = b_1 + \dots + b_{j-1} + \frac{b_j}{2}, \\
       & P = \operatorname*{argmin}_{P 1 = a,\ P^T 1 = b}
         \sum_{ij} P_{ij} (z_i - y_j)^2 + \varepsilon \sum_{ij} P_{ij} \log P_{ij}, \qquad
         \Pi_{ij} = \frac{P_{ij}}{a_i} .

    The dual problem has one unknown for each target, or for each entry if these are fewer.  It is
    solved by Newton's method, from the dual of the hard plan, until only rounding is left of the
    mass on the wrong side of any target.  Costs are never formed, only their differences along the
    hard plan.  So a small epsilon or a common offset loses no digit: ranks over W are within some
    24 units of rounding.  Let N be the number of points, and w the number of points to which one
    entry sends mass: those within about :math:`13 \sqrt{\varepsilon}` times the distance of the
    outermost ones.  A step costs :math:`O(N w)` for the plan, and :math:`O(N w^2)` for the
    equations.

    If there are more than 200 entries or targets, fewer points stand for them: the nodes of Gauss
    quadratures in small cells.  For targets from 0 to 1 there are some
    :math:`20/\sqrt{\varepsilon}` nodes, and an entry sends mass to some 200 of them.  The ranks
    then take :math:`O(n w)` after a sort.

    The work is bounded for any input.  Cells are split in at most 12 rounds, each round takes at
    most 60 steps and 200 evaluations of the plan, and there are never more nodes than points.
    Tests with heavy tails, clusters, ties, outliers of 1e300 and any epsilon took at most 6 rounds
    of 20 evaluations.  On targets from 0 to 1 they took at most
    :math:`200 + 60/\sqrt{\varepsilon}` nodes, except for samples with hundreds of different scales,
    which are solved without nodes.  The slowest case is many points at an epsilon just large
    enough for each to reach hundreds of others.

    The derivative is

    .. math:: \dot R_i = W \sum_j \dot\Pi_{ij} s_j + W \sum_j \Pi_{ij} \dot s_j
       + \dot W \sum_j \Pi_{ij} s_j ,

    with :math:`\dot\Pi` by the implicit function theorem.  It costs two evaluations of the plan and
    one step.  It is within some 1e-12 of its scale if epsilon is at least 1e-3 of the squared
    distance of the outermost targets.  It includes what goes through the mean and the standard
    deviation; where the latter is zero, that part is taken as zero.

    Tied entries get identical ranks.  A NaN makes its lane NaN.  Infinite entries are the limit of
    large ones; beside them finite ones are tied if they are squashed.  An entry of zero weight is
    ranked and influences no other.

    References
    ----------
    .. [1] M. Cuturi, O. Teboul, J.-P. Vert, "Differentiable Ranks and Sorting using Optimal
       Transport", NeurIPS 2019.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.ot.sinkhorn_rank([30.0, 10.0, 20.0], 1e-3).round(3)
    array([3., 1., 2.])
    >>> lapsum.ot.sinkhorn_rank([30.0, 10.0, 20.0], 0.1).round(3)
    array([2.81, 1.19, 2.  ])

    .. plot::
       :alt: Sinkhorn ranks of five entries against epsilon, whole numbers at the left

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = [0.0, 1.0, 1.4, 3.0, 4.0]
       epsilon = np.geomspace(1e-4, 10, 60)
       lanes = np.broadcast_to(x, (60, 5))
       plt.semilogx(epsilon, lapsum.ot.sinkhorn_rank(lanes, epsilon))
       plt.xlabel("epsilon")
       plt.ylabel("rank")
       plt.legend([f"x = {value:g}" for value in x])
       plt.show()
    """
    return evaluate(
        SinkhornRank,
        x,
        epsilon,
        weights=weights,
        targets=targets,
        target_weights=target_weights,
        squash=squash,
        axis=axis,
        descending=descending,
        workers=workers,
    )


@rule_of(sinkhorn_rank)
class SinkhornRank(SinkhornRule):
    """The rule of `sinkhorn_rank`."""

    at_entries = True

    def carried(self) -> Floats:
        """Return the levels of the targets."""
        shares = self.target_weights.shares
        if "target_weights" not in self.lanes:
            levels: Floats = (np.arange(self.m) + 0.5) / max(self.m, 1)
            return np.broadcast_to(levels, shares.shape)
        return _levels(shares)

    def carried_push(self, tangents: Tangents, b_dot: Floats | None) -> Floats | None:
        """Return the tangent of the levels."""
        return None if b_dot is None else _levels(b_dot)

    def carried_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats | None:
        """Return the cotangent of the shares of the targets."""
        return _levels(bar[:, ::-1])[:, ::-1]

    def outcome(self) -> Floats:
        """Return the ranks."""
        total = self.entry_weights.total[:, None]
        below = total * self.mean_of_source
        return (total - below if self.descending else below) + 0.5

    def outcome_push(self, mean_dot: Floats, tangents: Tangents) -> Floats:
        """Return the tangent of the ranks."""
        sign = -1.0 if self.descending else 1.0
        out = sign * self.entry_weights.total[:, None] * mean_dot
        if "weights" in tangents:
            out = out + self._below * sum_in_lane(tangents["weights"])[:, None]
        return out

    def outcome_pull(self, bar: Floats, bars: dict[str, Floats]) -> Floats:
        """Return the cotangent of the mean levels."""
        total_bar = sum_in_lane(bar * self._below)[:, None]
        bars["weights"] = np.where(self.absent, 0.0, total_bar)
        sign = -1.0 if self.descending else 1.0
        return sign * self.entry_weights.total[:, None] * bar

    @property
    def _below(self) -> Floats:
        """The share of the targets below, or above where these come first."""
        return 1.0 - self.mean_of_source if self.descending else self.mean_of_source


def _levels(shares: Floats) -> Floats:
    return np.cumsum(shares, axis=-1) - 0.5 * shares
