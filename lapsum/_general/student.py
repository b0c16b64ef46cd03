"""Student's t density, and the series that kernels need of it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev

from .._backends.types import Floats, Namespace, StudentSeries
from .._core.checks import check_number
from .even_density import EvenDensity

TERMS, NODES = 28, 64  # of series, and those that they are made from
FAINT = 1e-290  # smaller T(t) have too few digits for a logarithm
DISTANT, LARGEST = 1e150, 1e308  # squares of such t overflow; an infinite one counts as this
FAR_TERMS, MANY_DEGREES = 12, 400.0  # of series for them, and where one begins to be the shorter
MOST_DEGREES = 10.0  # of freedom for which they are good
FEWEST_DEGREES = 0.1  # beyond the distances that are looked at lies less than 1e-15 of these


def log_power(xp: Namespace, df: float, t: Floats, step: Floats) -> Floats:
    """Log (df + t^2)/(df + (t + step)^2)."""
    size = xp.maximum(xp.abs(t), math.sqrt(df))
    near = df / size / size + (t / size) * (t / size)
    return -xp.log1p((step / size) * ((2.0 * t + step) / size) / near)


class StudentT(EvenDensity):
    """Student's t density, to be given as `density`.

    Parameters
    ----------
    df : float
        Degrees of freedom, at least 0.1 and finite.  1 is the Cauchy density; the more, the nearer
        to the normal one.

    Raises
    ------
    ValueError
        If df is not positive and finite, or less than 0.1: so much of such a density lies beyond
        the largest floats that thresholds could not be found.
    TypeError
        If df is no number.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_rank([30.0, 10.0, 20.0], 2.0, density=lapsum.StudentT(3)).round(3)
    array([2.991, 1.009, 2.   ])
    """

    decay = 0.0

    def __init__(self, df: float) -> None:
        self.df = check_number("df", df)
        if not 0.0 < self.df < math.inf:
            raise ValueError(f"`df` must be positive and finite, got {df!r}")
        if self.df < FEWEST_DEGREES:
            raise ValueError(
                f"`df` must be at least {FEWEST_DEGREES}, got {df!r}: too much of the density "
                "would lie beyond the largest floats"
            )
        self.strip = math.sqrt(self.df)
        self._log_top = _log_top(self.df)
        if 1.0 <= self.df <= MOST_DEGREES:
            self.formula = "student" if self.df > 1.0 else "cauchy"

    def __repr__(self) -> str:
        return f"StudentT({self.df!r})"

    @cached_property
    def series(self) -> StudentSeries | None:  # type: ignore[override]
        """What kernels need to know for few degrees of freedom."""
        return _student_series(self) if self.formula == "student" else None

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        tail = self.kernels.student_tail(self.df, t, self.logpdf(t))
        distant = t > DISTANT
        if self.kernels.maybe_any(distant):
            tail = self.xp.where(distant, self.xp.exp(self._log_far_tail(t)), tail)
        return tail

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        xp = self.xp
        tail = self.tail(t)
        return xp.where(tail > FAINT, xp.log(xp.maximum(tail, FAINT)), self._log_far_tail(t))

    def _log_far_tail(self, t: Floats) -> Floats:
        """Log T(t), where T is small."""
        xp = self.xp
        t = xp.minimum(t, LARGEST)
        return self.logpdf(t) + xp.log(xp.maximum(t, 1.0)) + xp.log(self._far_share(t))

    def _far_share(self, t: Floats) -> Floats:
        """T(t)/(t f(t)), where T is small.

        With g = 1 + t^2/df, f g^(k+1) t^-(2k+1) falls by f g^k t^-2k (df - 1 - 2 k)/df and more: a
        series in 1/df + 1/t^2, for many degrees.  For few of them df/(df + t^2) is small there, and
        the incomplete beta function is a series in that.
        """
        xp, df = self.xp, self.df
        total: Floats
        if df < MANY_DEGREES:
            part = xp.minimum(t, 1e150) / math.sqrt(df)
            step = 1.0 / (1.0 + part * part)
            term = total = 0.0 * t + 1.0 / df
            for k in range(FAR_TERMS):
                term = term * step * ((df + 1.0 + 2.0 * k) / (df + 2.0 + 2.0 * k))
                total = total + term
            return total
        inverse = 1.0 / xp.maximum(t, 30.0)
        step = 1.0 / df + inverse * inverse
        total = term = step * (df / (df - 1.0))
        for k in range(1, FAR_TERMS):
            term = -term * step * ((2.0 * k - 1.0) * (df / (df - 1.0 - 2.0 * k)))
            total = total + term
        return total

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return self.xp.exp(self.logpdf(t))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        xp = self.xp
        part = xp.minimum(t, 1e150) / math.sqrt(self.df)
        near, far = xp.log1p(part * part), 2.0 * xp.log(xp.maximum(t, 1.0) / math.sqrt(self.df))
        return self._log_top - 0.5 * (self.df + 1.0) * xp.where(part < 1e9, near, far)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return self.xp.exp(self.logpdf(t) - self.logtail(t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return self.kernels.student_centre(self.df, t, self.logpdf(t))

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q, or about that."""
        return self.kernels.student_distance(self.df, q, self._log_top)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return 0.5 * (self.df + 1.0) * log_power(self.xp, self.df, t, step)


def _log_top(df: float) -> float:
    """Return log f(0) of Student's t, without a difference of large logarithms of Gamma.

    That of a + 1/2 and a is known at a + 100 by a few terms of a series, and a hundred steps back.
    """
    a = 0.5 * df
    b = a + 100.0
    part = 1.0 / b
    far = -part / 8.0 + part**3 / 192.0 - part**5 / 640.0
    steps = math.fsum(math.log1p(0.5 / (a + i)) for i in range(100))
    return 0.5 * math.log(b / df / math.pi) + far - steps


def _student_series(density: StudentT) -> StudentSeries:
    """Return the coefficients that even_tails.inc says: of a finite sum, or of G."""
    k = density.df / 2.0
    if k == int(k):
        terms = [math.comb(int(k) - 1 + j, j) if j < k else 0 for j in range(TERMS)]
        series = np.asarray(terms, float)
    else:
        series = _series_of_smooth_part(density)
    return StudentSeries(series, density.df, math.exp(density._log_top))


def _series_of_smooth_part(density: StudentT) -> Floats:
    """Return G as powers of y = 2 s - 1, from its values at Chebyshev nodes."""
    half = np.pi * (2 * np.arange(NODES) + 1) / (4 * NODES)
    s = np.cos(half) ** 2
    w = np.sin(half) * np.sqrt(1.0 + s)
    values = density.tail(math.sqrt(density.df) * s / w) / w**density.df
    # Cosines of whole parts of a turn, so that no argument is rounded.
    turns = np.outer(np.arange(TERMS), 2 * np.arange(NODES) + 1) % (4 * NODES)
    cosines = np.cos(np.pi * np.arange(4 * NODES) / (2 * NODES))[turns]
    terms = [2.0 / NODES * math.fsum(values * row) for row in cosines]
    terms[0] *= 0.5
    return np.asarray(chebyshev.cheb2poly(terms), np.float64)
