"""The plan of a transport as a linear operator."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .._backends.types import Array, Floats
from .._core.arguments import array_beside, float_dtype
from .._core.call import quiet
from .._core.products import Products
from .sinkhorn import Coupling
from .sorts import SinkhornSort


class SinkhornPlan(Products):
    r"""Transport plan of a 1-D array to ascending targets, as a linear operator.

    Rows are entries, and columns are targets.  Entry (i, j) of the plan is the mass that goes from
    one to the other.  As epsilon tends to zero the plan sorts.

    Parameters
    ----------
    x : array_like, shape (n,)
        The entries.
    epsilon : float
        Positive strength of the entropy.
    weights : array_like, shape (n,), optional
        Non-negative weights of the entries.
    targets, target_weights : array_like, shape (m,), optional
        Ascending points and their weights, as in `sinkhorn_rank`.
    squash : {"logistic", None}, optional
        As in `sinkhorn_rank`.

    Attributes
    ----------
    shape : tuple of int
        (n, m): a row for each entry, a column for each target.
    dtype : numpy.dtype
        float64.
    marginals : tuple of ndarray
        The sums a over rows and b over columns, each of which adds up to one.
    points : tuple of ndarray
        The squashed entries z and the targets y.
    potentials : tuple of ndarray
        f and g.  Adding a constant to one and subtracting it from the other changes nothing, so the
        mean of g is set to zero.
    T, H : SinkhornPlan
        The transpose, which is the adjoint.

    Raises
    ------
    ValueError
        If `x` is not 1-D or not finite, or as `sinkhorn_rank`.
    TypeError
        If an argument is not made of real numbers of at most 64 bits.
    RuntimeError, MemoryError
        As `sinkhorn_rank`.

    See Also
    --------
    sinkhorn_permute : One product, over a marginal, with derivatives.

    Notes
    -----
    With z the squashed entries, and all else as in `sinkhorn_rank`, the plan is

    .. math:: & P = \operatorname*{argmin}_{P 1 = a,\ P^T 1 = b} \sum_{ij} P_{ij} (z_i - y_j)^2
         + \varepsilon \sum_{ij} P_{ij} \log P_{ij}, \\
       & P_{ij} = a_i b_j e^{(f_i + g_j - (z_i - y_j)^2)/\varepsilon} .

    The plan is found once, when the operator is made.  A product costs as much as one evaluation of
    it, and only `toarray` forms the matrix.  The errors of the potentials are rounding errors of
    the squared distances, which can be large; products do not use the potentials.

    References
    ----------
    .. [1] Marco Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", NIPS
       2013.

    Examples
    --------
    >>> import numpy as np
    >>> import lapsum
    >>> P = lapsum.ot.SinkhornPlan([3.0, 1.0, 2.0], 0.05)
    >>> (P @ np.ones(3)).round(3)
    array([0.333, 0.333, 0.333])
    >>> (3.0 * (P.T @ np.array([3.0, 1.0, 2.0]))).round(2)
    array([1.06, 2.  , 2.94])

    .. plot::
       :alt: Transport plans of eight entries to eight targets for three epsilon

       import matplotlib.pyplot as plt
       import numpy as np
       import lapsum

       x = np.array([2.6, 0.5, 4.4, 1.0, 5.0, 3.0, 1.3, 3.7])
       figure, panels = plt.subplots(1, 3, sharey=True)
       for axes, epsilon in zip(panels, (1e-4, 1e-2, 0.1)):
           plan = lapsum.ot.SinkhornPlan(x, epsilon).toarray()
           axes.imshow(plan, vmin=0, vmax=1 / 8, cmap="Blues")
           axes.set(title=f"epsilon = {epsilon:g}", xlabel="target")
           axes.grid(False)
       panels[0].set_ylabel("entry")
       plt.show()
    """

    def __init__(
        self,
        x: Any,
        epsilon: Any,
        *,
        weights: Any = None,
        targets: Any = None,
        target_weights: Any = None,
        squash: Any = "logistic",
    ) -> None:
        if np.ndim(x) != 1:
            raise ValueError(f"`x` must be 1-D, got shape {np.shape(x)}")
        with quiet():
            rule = SinkhornSort(
                None,
                x,
                epsilon,
                weights=weights,
                targets=targets,
                target_weights=target_weights,
                squash=squash,
            )
            rule.linearize()
        if not np.isfinite(rule.lanes["x"]).all():
            raise ValueError("`x` must be finite")
        self._kernels = rule.kernels
        coupling = rule.coupling
        assert isinstance(coupling, Coupling)  # of one lane
        self._coupling = coupling
        (self._z,) = rule.squashed.z
        self._epsilon = float(rule.lanes["epsilon"][0])
        (self._a,), (self._b,) = rule.entry_weights.shares, rule.target_weights.shares
        self.shape: tuple[int, int] = (rule.n, rule.m)
        self.dtype = np.dtype(np.float64)

    def __repr__(self) -> str:
        rows, columns = self.shape
        transposed = " transposed" if self._transposed else ""
        return f"<{rows}x{columns} SinkhornPlan{transposed}, epsilon={self._epsilon!r}>"

    def _pair(self, entries: Floats, targets: Floats) -> tuple[Floats, Floats]:
        pair = entries.copy(), targets.copy()
        return pair[::-1] if self._transposed else pair

    @property
    def marginals(self) -> tuple[Floats, Floats]:
        """The sums over rows and over columns."""
        return self._pair(self._a, self._b)

    @property
    def points(self) -> tuple[Floats, Floats]:
        """The points of the rows and of the columns."""
        return self._pair(self._z, self._coupling.targets[0])

    @property
    def potentials(self) -> tuple[Floats, Floats]:
        """The potentials of the rows and of the columns."""
        with quiet():
            entries, targets = self._coupling.potentials()
        shift = targets.mean() if targets.size else 0.0
        return self._pair(self._coupling.unsort(entries)[0] + shift, targets[0] - shift)

    def toarray(self) -> Floats:
        """Return the matrix."""
        matrix: Floats = self._coupling.matrix()[0] * self._a[:, None]
        return matrix.T if self._transposed else matrix

    def _operand(self, v: Any) -> Array:
        array = array_beside(self._kernels, "v", v)
        return array.astype(np.result_type(float_dtype(v, array), np.float64))

    def _multiply(self, v: Array) -> Array:
        """Multiply the columns of `v`, one after the other."""
        c = self._coupling
        columns = np.ascontiguousarray(v.reshape(len(v), -1).T)
        out = np.empty((self.shape[0], prod(v.shape[1:])))
        with quiet():
            for k, column in enumerate(columns):
                if self._transposed:
                    out[:, k] = self._b * c.mean(False, c.sort(column[None]))[0]
                else:
                    out[:, k] = self._a * c.unsort(c.mean(True, column[None]))[0]
        return out.reshape(self.shape[0], *v.shape[1:])
