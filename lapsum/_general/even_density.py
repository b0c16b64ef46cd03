"""What every even density has: its CDF, tails and ratios of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .._backends.types import Floats


def special() -> Any:
    """Return scipy.special, which `import lapsum` does not load."""
    import scipy.special

    return scipy.special


class EvenDensity(ABC):
    """An even density f with the CDF F, in arrays; every `t` and `step` is at least zero.

    Attributes
    ----------
    strip : float or None
        Distance of the nearest complex singularity of F from the real line, infinite for none;
        None if it is not known.
    formula : str or None
        By which name kernels know it, if they do.
    scale : float
        How wide it is, in order of magnitude.
    decay : float
        Limit of -f'/f: how fast f falls in the end.
    """

    strip: float | None = None
    formula: str | None = None
    decay: float
    scale: float = 1.0

    @abstractmethod
    def tail(self, t: Floats) -> Floats:
        """T(t)."""

    @abstractmethod
    def logtail(self, t: Floats) -> Floats:
        """Log T(t), finite where T underflows."""

    @abstractmethod
    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""

    @abstractmethod
    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""

    @abstractmethod
    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""

    @abstractmethod
    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2, without cancellation at small t."""

    @abstractmethod
    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q, for 0 < q <= 1/2."""

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        return self.logtail(t + step) - self.logtail(t)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t); `step` may be negative down to -t."""
        return self.logpdf(t + step) - self.logpdf(t)

    # --------------------------------------------------------------- on the whole line, from these

    def at(self, t: Floats) -> Floats:
        """F(t) for any t."""
        tail = self.tail(np.abs(t))
        return np.where(t > 0.0, 1.0 - tail, tail)

    def log_at(self, t: Floats) -> Floats:
        """Log F(t) for any t."""
        away = np.abs(t)
        return np.where(t > 0.0, np.log1p(-self.tail(away)), self.logtail(away))

    def pdf_at(self, t: Floats) -> Floats:
        """f(t) for any t."""
        return self.even_pdf(np.abs(t))

    def log_slope_at(self, t: Floats) -> Floats:
        """f(t)/F(t) for any t."""
        away = np.abs(t)
        right = self.even_pdf(away) / (1.0 - self.tail(away))
        return np.where(t > 0.0, right, self.hazard(away))

    def between(self, t0: Floats, t1: Floats, width: Floats) -> Floats:
        """F(t1) - F(t0), with width = t1 - t0 >= 0 known better than the difference."""
        near = np.minimum(np.abs(t0), np.abs(t1))
        tail = self.tail(near)
        beyond = np.where(tail == 0.0, 0.0, -tail * np.expm1(self.log_tail_ratio(near, width)))
        across = self.centre(np.maximum(t1, 0.0)) + self.centre(np.maximum(-t0, 0.0))
        return np.where((t0 < 0.0) & (t1 > 0.0), across, np.where(width > 0.0, beyond, 0.0))
