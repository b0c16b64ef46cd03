"""Densities as tables, from which compiled loops read, and sums over many points by a tree."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from .._backends.protocol import Kernels
from .._backends.types import EvenKernel, Floats, Pair, Table
from .even_density import EvenDensity

CDF, EVEN, ODD = range(3)  # the kinds of kernels: F(t), f(t), t f(t)
DEGREE = 8  # of the polynomials
NEGLIGIBLE = 2.0**-70  # of what is summed; there the table ends
MOST_OCTAVES = 1000
# Relative to the values, but where these are faint, tables err no more; or if need be, than fair.
GOOD, FAIR = 1e-14, 1e-12
FAINT = 1e-7
REACH = 1.5  # of densities without singularities nearby, in scales

NARROWEST = 2.0**-4  # kernels for short lanes end when steps are small beside one
LONG = 1000  # shorter lanes are summed directly


_tables: WeakKeyDictionary[EvenDensity, dict[int, Table | None]] = WeakKeyDictionary()


def table_of(density: EvenDensity, kind: int) -> Table | None:
    """Return the table of a density, or None if it cannot be tabulated."""
    kept = _tables.setdefault(density, {})
    if kind not in kept:
        kept[kind] = None if density.strip is None else _tabulate(density, kind)
    return kept[kind]


def kernel_of(density: EvenDensity) -> EvenKernel | None:
    """Return a density as kernels know it, or None if they cannot."""
    if density.formula is not None:
        return EvenKernel(density.formula, student=density.series)
    if density.scale < NARROWEST:
        return None
    tail, pdf = table_of(density, CDF), table_of(density, EVEN)
    return None if tail is None or pdf is None else EvenKernel("table", tail, pdf)


def _tabulate(density: EvenDensity, kind: int) -> Table | None:
    strip, scale = density.strip, density.scale
    if strip is None:
        return None
    # F of a normal density grows away from the real line, though it has no singularity.
    reach = strip if strip <= 4.0 * scale else REACH * scale
    unit = 1.0 / min(scale, reach)

    def function(t: Floats) -> Floats:
        if kind == CDF:
            return density.tail(t)
        return density.even_pdf(t) if kind == EVEN else t * density.even_pdf(t)

    with np.errstate(all="ignore"):
        ends: Floats = (np.ldexp(1.0, np.arange(MOST_OCTAVES + 1)) - 1.0) / unit
        # Values of f of a wide density are all small.
        factor = max(1.0, unit, 1.0 / unit if kind == EVEN else 1.0)
        small = np.abs(function(ends)) * factor < NEGLIGIBLE
        octaves = int(np.argmax(small[1:])) + 1 if small[1:].any() else MOST_OCTAVES
        for bits, good in ((4, GOOD), (5, GOOD), (6, GOOD), (6, FAIR)):
            coefficients, error, size = _fitted(function, unit, octaves, bits)
            if (error <= good * (size + FAINT * size.max())).all():
                return Table(coefficients, unit, reach, kind, bits)
    return None


def _fitted(
    function: Callable[[Floats], Floats], unit: float, octaves: int, bits: int
) -> tuple[Floats, Floats, Floats]:
    """Return the polynomials on all panels, and their errors at some points beside the values."""
    panels = 2**bits
    starts = np.ldexp(1.0 + np.arange(panels) / panels, np.arange(octaves)[:, None])[:, :, None]
    widths = np.ldexp(1.0 / panels, np.arange(octaves))[:, None, None]

    def at(s: Floats) -> Floats:
        z = (starts - 1.0) + widths * s
        return function(z.reshape(-1, len(s)) / unit)

    nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    fitted = chebyshev.chebfit(nodes, at(0.5 * (nodes + 1.0)).T, DEGREE)
    coefficients = np.ascontiguousarray((_monomials().T @ fitted).T)
    coefficients[0, 0] = function(np.zeros(1))[0]
    check = np.linspace(0.0, 1.0, 7)[1:-1]
    values = at(check)
    return coefficients, np.abs(polynomial.polyval(check, coefficients.T) - values), np.abs(values)


def _monomials() -> Floats:
    """Return the Chebyshev polynomials of 2 s - 1 as coefficients of powers of s."""
    out = np.zeros((DEGREE + 1, DEGREE + 1))
    for m in range(DEGREE + 1):
        powers = chebyshev.cheb2poly([0.0] * m + [1.0])
        total: Floats = np.zeros(1)
        for power, factor in enumerate(powers):
            step = factor * polynomial.polypow([-1.0, 2.0], power)
            total = np.asarray(polynomial.polyadd(total, step), float)
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

    They are for densities of which too little is known, and for values of f in short lanes: all of
    them may be small there, and no table is exact relative to them.
    """
    if density.strip is None or not x.size or (kind != CDF and x.shape[1] < LONG):
        return None
    table = table_of(density, kind)
    if table is None:
        return None
    values = kernels.contiguous(values)
    # Near the ends of what floats can hold, differences or 1/alpha would overflow.
    largest = np.abs(x).max(axis=1)
    factor = np.where(largest > 2.0**1000, 2.0**-60, 1.0)
    factor = np.where((alpha < 2.0**-1000) & (largest < 2.0**900), 2.0**60, factor)
    if (factor != 1.0).any():
        x, alpha = x * factor[:, None], alpha * factor
        low = None if low is None else low * factor[:, None]
    # Nodes lie between the points: they are rounded less where these are near zero.
    origin = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
    moved = x - origin
    back = moved - x
    lost = (x - (moved - back)) - (origin + back)
    x, low = moved, lost if low is None else low + lost
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
