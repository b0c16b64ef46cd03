"""Soft permutation matrices, for any density."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .._backends.types import Array, Floats, Points, ShortOperator
from .._core.checks import check_flag
from .._core.layout import with_nan
from .._core.matrix_rule import MatrixRule
from .._core.rule import Tangents
from .permutation import Motion, Permutation
from .rules import GeneralEntries, column
from .sums import blocks


class GeneralPermutationMatrix(MatrixRule, GeneralEntries):
    """The rule of `soft_permutation`."""

    operator: ShortOperator | None = "permutation"

    def __init__(
        self,
        workers: int | None,
        x: Any,
        alpha: Any,
        *,
        axis: int | None = -1,
        descending: bool = False,
        density: Any,
    ) -> None:
        super().__init__(workers, {"x": x, "alpha": alpha}, axis=axis, density=density)
        self.descending = check_flag("descending", descending)

    @cached_property
    def permutation(self) -> Permutation:
        """The permutations."""
        return Permutation(self.sources)

    def _from_order(self, matrices: Floats) -> Floats:
        """Bring columns back into the caller's order."""
        xp = self.xp
        lanes, n = self.count, self.n
        source_lane = xp.repeat(xp.arange(lanes), n)
        return self.sources.from_order(matrices.reshape(lanes * n, n), source_lane).reshape(
            lanes, n, n
        )

    def value(self, out: Array | None = None) -> Array:
        """Return the matrices."""
        s, every = self.sources, slice(None)
        matrices = self.xp.empty((self.count, self.n, self.n))
        for lanes, rows in blocks(self.kernels, self.count, self.n, self.n):
            matrices[lanes, rows] = self.permutation.matrix(lanes, rows, every)
        return with_nan(self.kernels, s.nan_lanes, self._from_order(matrices))

    def _kernel(self) -> Floats:
        """Return f(t_ij), 0 for infinite entries: (lanes, thresholds, sources)."""
        s, b = self.sources, self.permutation.b
        points = Points(*(a[:, :, None] for a in b.points))  # type: ignore[index]
        t = self.kernels.apart(points, s.x[:, None, :], s.alpha[:, None, None])
        return s.c[:, None, :] * self.density.pdf_at(t)

    def _flow(self, motion: Motion) -> Floats:
        """Return dt_ij."""
        s, b = self.sources, self.permutation.b
        near = b.at_nearest(motion.dot)[:, :, None]
        alpha = s.alpha[:, None, None]
        return motion.mean[:, :, None] - self.kernels.step(near, motion.dot[:, None, :], alpha)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        xp = self.xp
        s, p = self.sources, self.permutation
        kernel = self._kernel()
        change = xp.zeros(kernel.shape)
        if "x" in tangents:
            flow = self._flow(p.motion(s.tangent(tangents["x"])))
            change = change + self.kernels.times(kernel, flow)
        if "alpha" in tangents:
            along = -self.kernels.times(kernel, self._flow(p.at_x)) / s.alpha[:, None, None]
            change = change + along * tangents["alpha"][:, None, None]
        none = xp.zeros((self.count, min(self.n, 1), self.n))
        rows = xp.concatenate([none, change, none], axis=1)
        return self._from_order((rows[:, 1:] - rows[:, :-1])[:, : self.n])

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        xp = self.xp
        s, p, b = self.sources, self.permutation, self.permutation.b
        lanes, n = self.count, self.n
        source_lane = xp.repeat(xp.arange(lanes), n)
        bar = s.to_order(bar.reshape(lanes * n, n), source_lane).reshape(lanes, n, n)
        flow = self.kernels.times(self._kernel(), bar[:, :-1] - bar[:, 1:])
        bars: dict[str, Array] = {}
        if "x" in wrt:
            every = slice(None)
            points = Points(*(a[:, :, None] for a in b.points))  # type: ignore[index]
            x = s.x[:, None, :]
            t = self.kernels.apart(points, x, s.alpha[:, None, None])
            q = s.c[:, None, :] * b.shares(x, t, every, every, 2)
            pulled = self.kernels.times(q, flow.sum(axis=2, keepdims=True)) - flow
            # Each threshold gives all nothing, and the nearest what the others lack.
            nearest = xp.arange(n) == b.nearest[:, :, None]
            rest = -xp.where(nearest, 0.0, pulled).sum(axis=2, keepdims=True)
            pulled = xp.where(nearest & b.solved[:, :, None], rest, pulled)
            bars["x"] = s.cotangent(pulled.sum(axis=1) / column(s.alpha))
        if "alpha" in wrt:
            bars["alpha"] = -self.kernels.times(flow, self._flow(p.at_x)).sum(axis=(1, 2)) / s.alpha
        return bars
