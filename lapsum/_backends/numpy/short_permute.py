"""Soft permutations of short lanes of NumPy arrays, several lanes at once, and their products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ... import _kernels
from ..types import Array, Entries, Flags, Floats
from . import memory
from .short_products import ShortProducts, copy_of
from .threads import Threads


class ShortPermute(ShortProducts):
    """The permutation of each lane of keys x, or its transpose, times values."""

    def __init__(
        self,
        threads: Threads,
        x: Entries,
        sign: float,
        alpha: Floats,
        values: Floats,
        transpose: bool,
        keep: bool,
    ) -> None:
        if keep:
            x, alpha, values = copy_of(x), alpha.copy(), copy_of(values)
        super().__init__(threads, x, alpha)
        self.lanes["values"] = values
        self.values = np.empty(x.shape)
        self._transpose = transpose
        self._given = sign, alpha, values
        self._places = memory.empty((self._blocks * self._entries,), np.uint8) if keep else None
        loop, outputs = _kernels.short_permute, (self.values, self._places)
        self.left = self._run(loop, x, *self._given, transpose, *outputs)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x = self.lanes["x"]
        bars = {name: np.empty(lanes.shape) for name, lanes in self.lanes.items()}
        outputs = bars["x"], bars["values"], bars["alpha"]
        given, loop = (*self._given, self._transpose, self._places, bar), _kernels.short_permute_vjp
        return bars, self._run(loop, x, *given, *outputs)

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything: all of the transpose."""
        out = np.empty(self.values.shape)
        if self._transpose:
            return out, np.ones(len(out), bool)
        dots = [
            tangents[name] if name in tangents else np.zeros(self.lanes[name].shape)
            for name in ("x", "values", "alpha")
        ]
        given, loop = (*self._given, self._places, *dots), _kernels.short_permute_jvp
        return out, self._run(loop, self.lanes["x"], *given, out)


class ShortMatrix(ShortProducts):
    """The permutation of each lane as a matrix."""

    def __init__(self, threads: Threads, x: Entries, alpha: Floats, keep: bool) -> None:
        super().__init__(threads, x, alpha)
        lanes, n = x.shape
        self._entries *= n
        self.values = np.empty((lanes, n, n), x.dtype)
        size = self._blocks * self._entries // n
        self._places = memory.empty((size,), np.uint8) if keep else None
        outputs = self.values, self._places
        self.left = self._run(_kernels.short_permutation, x, alpha, *outputs)

    def vjp(self, bar: Array) -> tuple[dict[str, Array], Flags | None]:
        """Return the cotangents, and the lanes for which they are anything."""
        x, alpha = self.lanes["x"], self.lanes["alpha"]
        bars = {name: np.empty(lanes.shape) for name, lanes in self.lanes.items()}
        given, outputs = (alpha, self._places, bar), (bars["x"], bars["alpha"])
        return bars, self._run(_kernels.short_permutation_vjp, x, *given, *outputs)

    def jvp(self, tangents: Mapping[str, Array]) -> tuple[Array, Flags | None]:
        """Return the tangent, and the lanes for which it is anything."""
        x, x_dot, alpha_dot = self._tangents(tangents)
        out = np.empty(self.values.shape)
        given = self.lanes["alpha"], self._places, x_dot, alpha_dot
        return out, self._run(_kernels.short_permutation_jvp, x, *given, out)
