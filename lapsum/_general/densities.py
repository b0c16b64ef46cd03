"""Even densities: what the operators need to know of each.

With the tail T(t) = F(-t) for t >= 0 nothing is lost by cancellation: F is T on the left, and
1 - T, at least one half, on the right.  Far from all entries T and f underflow, so their logarithms
and the ratios to another point have formulas of their own.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from .._backends.types import Floats
from .even_density import EvenDensity
from .own_density import Density
from .student import log_power


class Logistic(EvenDensity):
    """F(t) = 1/(1 + e^-t)."""

    strip = math.pi
    formula = "logistic"
    decay = 1.0

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        e = self.xp.exp(-t)
        return e / (1.0 + e)

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        xp = self.xp
        return -t - xp.log1p(xp.exp(-t))

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        e = self.xp.exp(-t)
        return e / ((1.0 + e) * (1.0 + e))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        xp = self.xp
        return -t - 2.0 * xp.log1p(xp.exp(-t))

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return 1.0 / (1.0 + self.xp.exp(-t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return 0.5 * self.xp.tanh(0.5 * t)

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        xp = self.xp
        return xp.log1p(-q) - xp.log(q)

    def _log_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log (1 + e^-t)/(1 + e^-(t + step))."""
        xp = self.xp
        return -xp.log1p(xp.expm1(-step) / (1.0 + xp.exp(t)))

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
        return 0.5 * self.kernels.erfc(t * math.sqrt(0.5))

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        return self.xp.log(0.5 * self.kernels.erfcx(t * math.sqrt(0.5))) - 0.5 * t * t

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return self.xp.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        return -0.5 * t * t - 0.5 * math.log(2.0 * math.pi)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return math.sqrt(2.0 / math.pi) / self.kernels.erfcx(t * math.sqrt(0.5))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return 0.5 * self.kernels.erf(t * math.sqrt(0.5))

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q, to 5e-4 (Abramowitz and Stegun 26.2.23)."""
        y = self.xp.sqrt(-2.0 * self.xp.log(q))
        above = 2.515517 + y * (0.802853 + y * 0.010328)
        return y - above / (1.0 + y * (1.432788 + y * (0.189269 + y * 0.001308)))

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        there, here = (self.kernels.erfcx(at * math.sqrt(0.5)) for at in (t + step, t))
        return self.xp.log(there / here) + self.log_pdf_ratio(t, step)

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
        return self.xp.arctan2(1.0, t) / math.pi

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        return self.xp.log(self.tail(t))

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return 1.0 / (math.pi * (1.0 + t * t))

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        xp = self.xp
        return -2.0 * xp.log(xp.hypot(1.0, t)) - math.log(math.pi)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        return 1.0 / ((1.0 + t * t) * self.xp.arctan2(1.0, t))

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return self.xp.arctan(t) / math.pi

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        return 1.0 / self.xp.tan(math.pi * q)

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        xp = self.xp
        # arctan2(1, t) - arctan2(1, t + step) is the angle between the two directions.
        near = xp.arctan2(1.0, t)
        part = xp.arctan2(step, 1.0 + t * (t + step)) / near
        far = xp.log(xp.arctan2(1.0, t + step) / near)
        return xp.where(part < 0.5, xp.log1p(-xp.minimum(part, 0.5)), far)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return log_power(self.xp, 1.0, t, step)


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
