"""Densities as tables, from which compiled loops read, and sums over many points by a tree."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray

from .._backends.protocol import Kernels
from .._backends.types import Floats, Pair, Table
from .densities import EvenDensity

CDF, EVEN, ODD = range(3)  # the kinds of kernels: F(t), f(t), t f(t)
DEGREE, PANELS = 8, 16  # of the polynomials; and how many make an octave of 1 + t/unit
NEGLIGIBLE = 2.0**-70  # of what is summed; there the table ends
MOST_OCTAVES = 1000
GOOD = 1e-14  # no table errs more, relative to the largest value, else there is none

LONG = 1000  # shorter lanes are summed directly
MOST = 1e200  # of the points over alpha, and of alpha: beyond, products overflow


_tables: WeakKeyDictionary[EvenDensity, dict[int, Table | None]] = WeakKeyDictionary()


def table_of(density: EvenDensity, kind: int) -> Table | None:
    """Return the table of a density, or None if it cannot be tabulated."""
    kept = _tables.setdefault(density, {})
    if kind not in kept:
        kept[kind] = None if density.strip is None else _tabulate(density, kind)
    return kept[kind]


def _tabulate(density: EvenDensity, kind: int) -> Table | None:
    strip, scale = density.strip, density.scale
    if strip is None:
        return None
    # F of a normal density grows away from the real line, though it has no singularity.
    reach = strip if strip <= 4.0 * scale else 2.5 * scale
    unit = 1.0 / min(scale, reach)

    def function(t: Floats) -> Floats:
        if kind == CDF:
            return density.tail(t)
        return density.even_pdf(t) if kind == EVEN else t * density.even_pdf(t)

    with np.errstate(all="ignore"):
        ends = (2.0 ** np.arange(MOST_OCTAVES + 1) - 1.0) / unit
        small = np.abs(function(ends)) * max(1.0, unit) < NEGLIGIBLE
        octaves = int(np.argmax(small[1:])) + 1 if small[1:].any() else MOST_OCTAVES
        nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
        starts = np.ldexp(1.0 + np.arange(PANELS) / PANELS, np.arange(octaves)[:, None])
        widths = np.ldexp(1.0 / PANELS, np.arange(octaves))[:, None, None]

        def at(s: NDArray[np.float64]) -> Floats:
            z = (starts[:, :, None] - 1.0) + widths * s
            return function(z.reshape(-1, len(s)) / unit)

        fitted = chebyshev.chebfit(nodes, at(0.5 * (nodes + 1.0)).T, DEGREE)
        coefficients = np.ascontiguousarray((_monomials().T @ fitted).T)
        coefficients[0, 0] = function(np.zeros(1))[0]
        check = np.linspace(0.0, 1.0, 7)[1:-1]
        found = polynomial.polyval(check, coefficients.T)
        wanted = at(check)
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
    return Table(coefficients, unit, reach, kind) if error < GOOD else None


def _monomials() -> Floats:
    """Return the Chebyshev polynomials of 2 s - 1 as coefficients of powers of s."""
    out = np.zeros((DEGREE + 1, DEGREE + 1))
    for m in range(DEGREE + 1):
        powers = chebyshev.cheb2poly([0.0] * m + [1.0])
        total = np.zeros(1)
        for power, factor in enumerate(powers):
            total = polynomial.polyadd(total, factor * polynomial.polypow([-1.0, 2.0], power))
        out[m, : len(total)] = total
    return out


def tree_sums(
    kernels: Kernels,
    density: EvenDensity,
    kind: int,
    x: Floats,
    low: Floats | None,
    values: Floats,
    alpha: Floats,
) -> Pair | None:
    """Return `kernels.tree_sums` for points in any order, None where sums are taken directly.

    They are over short lanes, over points or scales near the ends of what floats can hold, and for
    densities of which too little is known.
    """
    if x.shape[1] < LONG or density.strip is None:
        return None
    if not (np.abs(x).max() < MOST and alpha.min() > 1.0 / MOST and alpha.max() < MOST):
        return None
    table = table_of(density, kind)
    if table is None:
        return None
    values = kernels.contiguous(values)
    if (x[:, 1:] >= x[:, :-1]).all():
        return kernels.tree_sums(table, x, low, values, alpha)
    order = np.argsort(x, axis=1, kind="stable")
    x, values = (np.take_along_axis(a, order, axis=1) for a in (x, values))
    low = None if low is None else np.take_along_axis(low, order, axis=1)
    found = kernels.tree_sums(table, x, low, values, alpha)
    if found is None:
        return None
    out = np.empty((2, *x.shape))
    for part, sorted_part in zip(out, found, strict=True):
        np.put_along_axis(part, order, sorted_part, axis=1)
    return out[0], out[1]
