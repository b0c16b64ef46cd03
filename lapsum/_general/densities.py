"""Even densities: what the operators need to know of each.

With the tail T(t) = F(-t) for t >= 0 nothing is lost by cancellation: F is T on the left, and
1 - T, at least one half, on the right.  Far from all entries T and f underflow, so their logarithms
and the ratios to another point have formulas of their own.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from .._backends.types import Floats
from .even_density import EvenDensity, special
from .own_density import Density


class Logistic(EvenDensity):
    """F(t) = 1/(1 + e^-t)."""

    strip = math.pi
    formula = "logistic"
    decay = 1.0

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = special().expit(-t)
        return out

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        return -t - np.log1p(np.exp(-t))

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        e = np.exp(-t)
        return e / ((1.0 + e) * (1.0 + e))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        return -t - 2.0 * np.log1p(np.exp(-t))

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return 1.0 / (1.0 + np.exp(-t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return 0.5 * np.tanh(0.5 * t)

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        return np.log1p(-q) - np.log(q)

    def _log_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log (1 + e^-t)/(1 + e^-(t + step))."""
        return -np.log1p(np.expm1(-step) / (1.0 + np.exp(t)))

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        return self._log_ratio(t, step) - step

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return 2.0 * self._log_ratio(t, step) - step


class Normal(EvenDensity):
    """The standard normal density."""

    strip = math.inf
    formula = "normal"
    decay = math.inf

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = special().ndtr(-t)
        return out

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        out: Floats = special().log_ndtr(-t)
        return out

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        return -0.5 * t * t - 0.5 * math.log(2.0 * math.pi)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        out: Floats = math.sqrt(2.0 / math.pi) / special().erfcx(t * math.sqrt(0.5))
        return out

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        out: Floats = 0.5 * special().erf(t * math.sqrt(0.5))
        return out

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        out: Floats = -special().ndtri(q)
        return out

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        erfcx = special().erfcx
        bend: Floats = np.log(erfcx((t + step) * math.sqrt(0.5)) / erfcx(t * math.sqrt(0.5)))
        return bend + self.log_pdf_ratio(t, step)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return -0.5 * step * (2.0 * t + step)


class Cauchy(EvenDensity):
    """f(t) = 1/(pi (1 + t^2))."""

    strip = 1.0
    formula = "cauchy"
    decay = 0.0

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        return np.arctan2(1.0, t) / math.pi

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        return np.log(self.tail(t))

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return 1.0 / (math.pi * (1.0 + t * t))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        return -2.0 * np.log(np.hypot(1.0, t)) - math.log(math.pi)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return 1.0 / ((1.0 + t * t) * np.arctan2(1.0, t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return np.arctan(t) / math.pi

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        return 1.0 / np.tan(math.pi * q)

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        # arctan2(1, t) - arctan2(1, t + step) is the angle between the two directions.
        near = np.arctan2(1.0, t)
        part = np.arctan2(step, 1.0 + t * (t + step)) / near
        far = np.log(np.arctan2(1.0, t + step) / near)
        return np.where(part < 0.5, np.log1p(-np.minimum(part, 0.5)), far)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return _log_power(1.0, t, step)


def _log_power(df: float, t: Floats, step: Floats) -> Floats:
    """Log (df + t^2)/(df + (t + step)^2)."""
    size = np.maximum(np.abs(t), math.sqrt(df))
    near = df / size / size + (t / size) * (t / size)
    return -np.log1p((step / size) * ((2.0 * t + step) / size) / near)


class StudentT(EvenDensity):
    """Student's t density, to be given as `density`.

    Parameters
    ----------
    df : float
        Degrees of freedom, positive and finite.  1 is the Cauchy density; the more, the nearer to
        the normal one.

    Examples
    --------
    >>> import lapsum
    >>> lapsum.soft_rank([30.0, 10.0, 20.0], 2.0, density=lapsum.StudentT(3)).round(3)
    array([2.991, 1.009, 2.   ])
    """

    decay = 0.0

    def __init__(self, df: float) -> None:
        try:
            self.df = float(df)
        except TypeError:
            raise TypeError(f"`df` must be a number, got {type(df).__name__}") from None
        if not 0.0 < self.df < math.inf:
            raise ValueError(f"`df` must be positive and finite, got {df!r}")
        self.strip = math.sqrt(self.df)

    def __repr__(self) -> str:
        return f"StudentT({self.df!r})"

    def _log_constant(self) -> float:
        """Return log f(0)."""
        beta: float = special().betaln(0.5, 0.5 * self.df)
        return -beta - 0.5 * math.log(self.df)

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = special().stdtr(self.df, -t)
        return out

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        tail = self.tail(t)
        # Far out it is f times t/df; to rounding where it underflows.
        far = self.logpdf(t) + np.log(np.maximum(t, 1.0)) - math.log(self.df)
        return np.where(tail > 0.0, np.log(tail), far)

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return np.exp(self.logpdf(t))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        part = np.minimum(t, 1e150) / math.sqrt(self.df)
        near, far = np.log1p(part * part), 2.0 * np.log(np.maximum(t, 1.0) / math.sqrt(self.df))
        return self._log_constant() - 0.5 * (self.df + 1.0) * np.where(part < 1e9, near, far)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return np.exp(self.logpdf(t) - self.logtail(t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        part = np.square(t / np.hypot(t, math.sqrt(self.df)))
        out: Floats = 0.5 * special().betainc(0.5, 0.5 * self.df, part)
        return out

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        out: Floats = -special().stdtrit(self.df, q)
        return out

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return 0.5 * (self.df + 1.0) * _log_power(self.df, t, step)


@cache
def _named(name: str) -> EvenDensity | None:
    kinds: dict[str, type[EvenDensity]] = {
        "logistic": Logistic,
        "normal": Normal,
        "cauchy": Cauchy,
    }
    kind = kinds.get(name)
    return None if kind is None else kind()


def density_of(value: Any) -> EvenDensity:
    """Return the density that an argument asks for, which is not the Laplace one."""
    if isinstance(value, EvenDensity):
        return value
    if isinstance(value, str):
        density = _named(value)
        if density is None:
            raise ValueError(
                "`density` must be 'laplace', 'logistic', 'normal', 'cauchy', a StudentT, a "
                f"Density or a frozen distribution of scipy.stats, got {value!r}"
            )
        return density
    if not (callable(getattr(value, "cdf", None)) and callable(getattr(value, "pdf", None))):
        raise TypeError(
            f"`density` must be a name or have methods cdf and pdf, got {type(value).__name__}"
        )
    return Density(
        value.cdf,
        value.pdf,
        logcdf=getattr(value, "logcdf", None),
        ppf=getattr(value, "ppf", None),
    )
