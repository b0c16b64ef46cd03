"""What every even density has: its CDF, tails and ratios of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TypeVar

from .._backends.host import SERIAL
from .._backends.protocol import Kernels
from .._backends.types import Floats, Namespace, StudentSeries

Some = TypeVar("Some", bound="EvenDensity")


class EvenDensity(ABC):
    """An even density f with the CDF F, in arrays; every `t` and `step` is at least zero.

    Attributes
    ----------
    strip : float or None
        Distance of the nearest complex singularity of F from the real line, infinite for none;
        None if it is not known.
    formula : str or None
        By which name kernels know it, if they do.
    series : StudentSeries or None
        What they need to know besides.
    scale : float
        How wide it is, in order of magnitude.
    decay : float
        Limit of -f'/f: how fast f falls in the end.
    kernels : Kernels
        Those of the arrays that its functions take.
    """

    strip: float | None = None
    formula: str | None = None
    series: StudentSeries | None = None
    decay: float
    scale: float = 1.0
    kernels: Kernels = SERIAL

    @property
    def xp(self) -> Namespace:
        """The functions of the library of these arrays."""
        return self.kernels.xp

    def of(self: Some, kernels: Kernels) -> Some:
        """Return this density for arrays of a backend; without loops for it, less is known."""
        if kernels.has_trees:
            return self
        density = copy(self)
        density.kernels, density.strip, density.formula = kernels, None, None
        return density

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
        xp = self.xp
        tail = self.tail(xp.abs(t))
        return xp.where(t > 0.0, 1.0 - tail, tail)

    def log_at(self, t: Floats) -> Floats:
        """Log F(t) for any t."""
        xp = self.xp
        away = xp.abs(t)
        return xp.where(t > 0.0, xp.log1p(-self.tail(away)), self.logtail(away))

    def pdf_at(self, t: Floats) -> Floats:
        """f(t) for any t."""
        return self.even_pdf(self.xp.abs(t))

    def log_slope_at(self, t: Floats) -> Floats:
        """f(t)/F(t) for any t."""
        xp = self.xp
        away = xp.abs(t)
        right = self.even_pdf(away) / (1.0 - self.tail(away))
        return xp.where(t > 0.0, right, self.hazard(away))

    def between(self, t0: Floats, t1: Floats, width: Floats) -> Floats:
        """F(t1) - F(t0), with width = t1 - t0 >= 0 known better than the difference."""
        xp = self.xp
        near = xp.minimum(xp.abs(t0), xp.abs(t1))
        tail = self.tail(near)
        beyond = xp.where(tail == 0.0, 0.0, -tail * xp.expm1(self.log_tail_ratio(near, width)))
        across = self.centre(xp.maximum(t1, 0.0)) + self.centre(xp.maximum(-t0, 0.0))
        return xp.where((t0 < 0.0) & (t1 > 0.0), across, xp.where(width > 0.0, beyond, 0.0))
