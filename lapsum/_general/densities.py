"""Even densities: what the operators need to know of each.

With the tail T(t) = F(-t) for t >= 0 nothing is lost by cancellation: F is T on the left, and
1 - T, at least one half, on the right.  Far from all entries T and f underflow, so their logarithms
and the ratios to another point have formulas of their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .._backends.types import Floats


def _special() -> Any:
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
    scale : float
        How wide it is, in order of magnitude.
    decay : float
        Limit of -f'/f: how fast f falls in the end.
    """

    strip: float | None = None
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


class Logistic(EvenDensity):
    """F(t) = 1/(1 + e^-t)."""

    strip = math.pi
    decay = 1.0

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = _special().expit(-t)
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
    decay = math.inf

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = _special().ndtr(-t)
        return out

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        out: Floats = _special().log_ndtr(-t)
        return out

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        return -0.5 * t * t - 0.5 * math.log(2.0 * math.pi)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t)."""
        out: Floats = math.sqrt(2.0 / math.pi) / _special().erfcx(t * math.sqrt(0.5))
        return out

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        out: Floats = 0.5 * _special().erf(t * math.sqrt(0.5))
        return out

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        out: Floats = -_special().ndtri(q)
        return out

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t)."""
        erfcx = _special().erfcx
        bend: Floats = np.log(erfcx((t + step) * math.sqrt(0.5)) / erfcx(t * math.sqrt(0.5)))
        return bend + self.log_pdf_ratio(t, step)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return -0.5 * step * (2.0 * t + step)


class Cauchy(EvenDensity):
    """f(t) = 1/(pi (1 + t^2))."""

    strip = 1.0
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
        beta: float = _special().betaln(0.5, 0.5 * self.df)
        return -beta - 0.5 * math.log(self.df)

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        out: Floats = _special().stdtr(self.df, -t)
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
        out: Floats = 0.5 * _special().betainc(0.5, 0.5 * self.df, part)
        return out

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q."""
        out: Floats = -_special().stdtrit(self.df, q)
        return out

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t)."""
        return 0.5 * (self.df + 1.0) * _log_power(self.df, t, step)


class Density(EvenDensity):
    """An even density of your own, to be given as `density`.

    Parameters
    ----------
    cdf, pdf : callable
        The CDF, strictly increasing with ``cdf(-t) == 1 - cdf(t)``, and its derivative, of arrays.
        Far out, ``cdf(-t)`` should be small to its last digit.
    logcdf : callable, optional
        Logarithm of the CDF; by default that of `cdf`, which ends where it underflows.
    ppf : callable, optional
        Inverse of the CDF, from which solving starts; by default it starts elsewhere.
    strip : float, optional
        Distance of the nearest complex singularity of the CDF from the real line (pi for the
        logistic one, 1 for Cauchy's, ``inf`` for the normal one), if it is known.

    Raises
    ------
    ValueError
        If the functions are not those of a density that is symmetric about zero.

    Notes
    -----
    Sums of many entries at many targets cost O(n^2) time, in blocks of bounded memory.

    Examples
    --------
    >>> import numpy as np
    >>> import lapsum
    >>> hyperbolic = lapsum.Density(
    ...     lambda t: 2 / np.pi * np.arctan(np.exp(np.pi / 2 * t)),
    ...     lambda t: 0.5 / np.cosh(np.pi / 2 * t),
    ... )
    >>> lapsum.soft_rank([30.0, 10.0, 20.0], 5.0, density=hyperbolic).round(3)
    array([2.971, 1.029, 2.   ])
    """

    def __init__(
        self,
        cdf: Callable[[Any], Any],
        pdf: Callable[[Any], Any],
        *,
        logcdf: Callable[[Any], Any] | None = None,
        ppf: Callable[[Any], Any] | None = None,
        strip: float | None = None,
    ) -> None:
        for name, function in (("cdf", cdf), ("pdf", pdf), ("logcdf", logcdf), ("ppf", ppf)):
            if not (callable(function) or (function is None and name in ("logcdf", "ppf"))):
                raise TypeError(f"`{name}` must be callable, got {type(function).__name__}")
        if strip is not None and not strip > 0.0:
            raise ValueError(f"`strip` must be positive, got {strip!r}")
        self.cdf, self.pdf, self.logcdf, self.ppf = cdf, pdf, logcdf, ppf
        self.strip = None if strip is None else float(strip)
        with np.errstate(all="ignore"):
            self.scale = self._scale()
            self._check()
            self.decay = self._decay()

    def _array(self, function: Callable[[Any], Any], t: Any) -> Floats:
        with np.errstate(all="ignore"):
            out: Floats = np.asarray(function(t), dtype=np.float64)
        return out

    def _check(self) -> None:
        """Raise unless a few values are those of an even density."""
        t = self.scale * np.array([0.0, 0.25, 0.5, 1.0, 2.0])
        low, high, f = (self._array(*a) for a in ((self.cdf, -t), (self.cdf, t), (self.pdf, t)))
        if not low.shape == high.shape == f.shape == t.shape:
            raise ValueError("`density` must have a cdf and a pdf that take arrays")
        even = np.allclose(low + high, 1.0, rtol=0.0, atol=1e-12)
        even = even and np.allclose(self._array(self.pdf, -t), f, rtol=1e-9)
        if not even:
            raise ValueError("`density` must be symmetric about zero")
        if not ((np.diff(high) > 0.0).all() and (low > 0.0).all() and (f > 0.0).all()):
            raise ValueError("`density` must have a strictly increasing cdf")
        h = 1e-4 * self.scale
        slope = (self._array(self.cdf, t + h) - self._array(self.cdf, t - h)) / (2.0 * h)
        if not np.allclose(slope[1:], f[1:], rtol=1e-3):
            raise ValueError("`density` must have a pdf that is the derivative of its cdf")

    def _scale(self) -> float:
        """Return a power of two of the size of the upper decile."""
        t = 1.0
        for factor in (2.0, 0.5):
            for _ in range(200):
                tail = float(self._array(self.cdf, -np.array([t]))[0])
                if not (tail > 0.1 if factor > 1.0 else tail < 0.05):
                    break
                t *= factor
        return t

    def _decay(self) -> float:
        """Return -f'/f as far out as f is a normal float, or 0 or inf if it goes there."""
        t = self.scale
        logs = []
        for _ in range(400):
            near, far = self.logpdf(np.array([t, 1.5 * t]))
            if not (far > -650.0 and t < 1e100):
                break
            logs.append((near - far) / (0.5 * t))
            t *= 1.5
        if len(logs) < 2:
            return math.inf
        ratio = logs[-1] / logs[-2]
        return 0.0 if ratio < 0.9 else math.inf if ratio > 1.1 else float(logs[-1])

    def tail(self, t: Floats) -> Floats:
        """T(t)."""
        return self._array(self.cdf, -t)

    def logtail(self, t: Floats) -> Floats:
        """Log T(t)."""
        if self.logcdf is not None:
            return self._array(self.logcdf, -t)
        return np.log(self.tail(t))

    def even_pdf(self, t: Floats) -> Floats:
        """f(t)."""
        return self._array(self.pdf, t)

    def logpdf(self, t: Floats) -> Floats:
        """Log f(t)."""
        with np.errstate(all="ignore"):
            return np.log(self.even_pdf(t))

    def log_tail_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log T(t + step)/T(t), of which nothing is known where both underflow."""
        ratio = super().log_tail_ratio(t, step)
        return np.where(np.isnan(ratio), np.where(step == 0.0, 0.0, -np.inf), ratio)

    def log_pdf_ratio(self, t: Floats, step: Floats) -> Floats:
        """Log f(t + step)/f(t), likewise."""
        ratio = super().log_pdf_ratio(t, step)
        far = np.where(step == 0.0, 0.0, -self.decay * step)
        return np.where(np.isnan(ratio), far, ratio)

    def hazard(self, t: Floats) -> Floats:
        """f(t)/T(t), or its limit where both underflow."""
        f, tail = self.even_pdf(t), self.tail(t)
        return np.where((f > 0.0) & (tail > 0.0), f / tail, self.decay)

    def centre(self, t: Floats) -> Floats:
        """F(t) - 1/2."""
        return self._array(self.cdf, t) - 0.5

    def distance(self, q: Floats) -> Floats:
        """Return the t at which T(t) = q, or about that."""
        if self.ppf is not None:
            return -self._array(self.ppf, q)
        low, high = np.zeros(q.shape), np.full(q.shape, self.scale)
        for _ in range(1100):
            short = self.tail(high) > q
            if not short.any():
                break
            low, high = np.where(short, high, low), np.where(short, 2.0 * high, high)
        for _ in range(60):
            middle = 0.5 * low + 0.5 * high
            short = self.tail(middle) > q
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return 0.5 * low + 0.5 * high


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
