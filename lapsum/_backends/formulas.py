"""The scalar formulas of `laplace.h` in operations on whole arrays, which broadcast.

Exponentials are taken of non-positive arguments only, differences of inputs are divided by alpha
last, and equal infinities are a tie.
"""

from __future__ import annotations

from .types import Floats, Namespace

LOG2 = 0.69314718055994530942


def half(xp: Namespace, difference: Floats, alpha: Floats) -> Floats:
    """difference/(2 alpha), without overflow on the way."""
    small = xp.abs(difference) < 1.0
    return xp.where(small, 0.5 * (difference / alpha), 0.5 * difference / alpha)


def half_step(xp: Namespace, origin: Floats, x: Floats, alpha: Floats) -> Floats:
    """(x - origin)/(2 alpha), likewise."""
    overflow = xp.isinf(x - origin) & xp.isfinite(origin) & xp.isfinite(x)
    out = half(xp, x - origin, alpha)
    out = xp.where(overflow, (0.5 * x - 0.5 * origin) / alpha, out)
    return xp.where(origin == x, 0.0, out)


def step(xp: Namespace, origin: Floats, x: Floats, alpha: Floats) -> Floats:
    """(x - origin)/alpha, where the difference of two finite numbers may overflow."""
    difference = x - origin
    out = xp.where(xp.isinf(difference), 2.0 * half_step(xp, origin, x, alpha), difference / alpha)
    return xp.where(origin == x, 0.0, out)


def residue(a: Floats, b: Floats) -> Floats:
    """What the rounded difference lacks of a - b."""
    difference = a - b
    part = difference - a
    return (a - (difference - part)) - (b + part)


def step_to_middle(xp: Namespace, x: Floats, lo: Floats, hi: Floats, alpha: Floats) -> Floats:
    """((lo + hi)/2 - x)/alpha."""
    left, right = x - lo, hi - x
    between = (left > 0.0) & (right > 0.0) & xp.isfinite(left) & xp.isfinite(right)
    # In a wide gap the two sides cancel, and what was rounded away is many alpha.
    rest = (residue(hi, x) - residue(x, lo)) + residue(right, left)
    near = half(xp, (right - left) + rest, alpha)
    return xp.where(between, near, half_step(xp, x, lo, alpha) + half_step(xp, x, hi, alpha))


def offset(xp: Namespace, lo: Floats, hi: Floats, u: Floats, x: Floats, alpha: Floats) -> Floats:
    """(b - x)/alpha for the threshold b = (lo + hi)/2 + alpha u, which is never rounded."""
    away = xp.where(lo == hi, step(xp, x, lo, alpha), step_to_middle(xp, x, lo, hi, alpha)) + u
    return xp.where(xp.isinf(u), xp.where(xp.isnan(x), x, u), away)


def threshold(xp: Namespace, lo: Floats, hi: Floats, u: Floats, alpha: Floats) -> Floats:
    """(lo + hi)/2 + alpha u, rounded."""
    middle = 0.5 * (lo + hi)
    middle = xp.where(xp.isinf(middle), 0.5 * lo + 0.5 * hi, middle)
    middle = xp.where(lo == hi, lo, middle)
    halves = 0.5 * middle + 0.5 * alpha * u
    out = xp.where(xp.isinf(alpha * u), halves + halves, middle + alpha * u)
    return xp.where(xp.isinf(middle), xp.where(xp.isinf(u), u, middle), out)


def cdf(xp: Namespace, t: Floats) -> Floats:
    """F(t)."""
    tail = 0.5 * xp.exp(-xp.abs(t))
    return xp.where(t <= 0.0, tail, 1.0 - tail)


def pdf(xp: Namespace, t: Floats) -> Floats:
    """f(t)."""
    return 0.5 * xp.exp(-xp.abs(t))


def logcdf(xp: Namespace, t: Floats) -> Floats:
    """Log F(t)."""
    return xp.where(t <= 0.0, t - LOG2, xp.log1p(-0.5 * xp.exp(-xp.abs(t))) + 0.0)


def logcdf_slope(xp: Namespace, t: Floats) -> Floats:
    """f(t)/F(t); 1 - F is never formed."""
    tail = 0.5 * xp.exp(-xp.abs(t))
    return xp.where(t <= 0.0, 1.0, tail / (1.0 - tail))


def cdf_across(xp: Namespace, t0: Floats, t1: Floats) -> Floats:
    """F(t1) - F(t0) across zero: t0 <= 0 <= t1."""
    return -0.5 * xp.expm1(t0) - 0.5 * xp.expm1(-t1)


def cdf_difference(xp: Namespace, t0: Floats, t1: Floats, width: Floats) -> Floats:
    """F(t1) - F(t0), with width = t1 - t0 >= 0 known better than the difference."""
    inside = -0.5 * xp.expm1(-width)
    across = cdf_across(xp, xp.minimum(t0, 0.0), xp.maximum(t1, 0.0))
    beyond = xp.where(t1 <= 0.0, inside * xp.exp(-xp.abs(t1)), inside * xp.exp(-xp.abs(t0)))
    return xp.where((t1 <= 0.0) | (t0 >= 0.0), beyond, across)
