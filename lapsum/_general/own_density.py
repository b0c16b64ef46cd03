"""A density given by functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._backends.types import Floats
from .._core.checks import check_number
from .even_density import EvenDensity

OCTAVES = 200  # up and down from 1: where the scale is looked for


class Density(EvenDensity):
    r"""An even density of your own, to be given as `density`.

    Parameters
    ----------
    cdf, pdf : callable
        The CDF, strictly increasing with ``cdf(-t) == 1 - cdf(t)``, and its derivative, of arrays.
        Far out, ``cdf(-t)`` should be small to its last digit.
    logcdf : callable, optional
        Logarithm of the CDF.  By default it is taken of `cdf`, and is -inf where that underflows.
    ppf : callable, optional
        Inverse of the CDF.  Searches for a threshold start there, which saves time.
    strip : float, optional
        Distance of the nearest complex singularity of the CDF from the real line (pi for the
        logistic one, 1 for Cauchy's, ``inf`` for the normal one), if it is known.

    Raises
    ------
    ValueError
        If the functions are not those of a density that is symmetric about zero, or of a scale
        between 1e-60 and 1e60.
    TypeError
        If a function cannot be called, or does not return real numbers.

    Notes
    -----
    Sums of many entries at many targets take :math:`O(n \log n)` time by a tree if `strip` is given
    and the CDF is smooth enough for it; else :math:`O(n^2)`, in blocks of bounded memory.

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
        self.strip = None if strip is None else check_number("strip", strip)
        if self.strip is not None and not self.strip > 0.0:
            raise ValueError(f"`strip` must be positive, got {strip!r}")
        self.cdf, self.pdf, self.logcdf, self.ppf = cdf, pdf, logcdf, ppf
        with np.errstate(all="ignore"):
            self._check_functions()
            self.scale = self._scale()
            self._check()
            self.decay = self._decay()

    def _array(self, function: Callable[[Any], Any], t: Any) -> Floats:
        with np.errstate(all="ignore"):
            out: Floats = np.asarray(function(t), dtype=np.float64)
        return out

    def _check_functions(self) -> None:
        """Raise unless each function takes an array, and returns as many real numbers."""
        t = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
        given = {"cdf": t, "pdf": t, "logcdf": t, "ppf": 0.1 * (t + 2.0)}
        for name, points in given.items():
            function = getattr(self, name)
            if function is None:
                continue
            must = f"`density` must have a {name} that takes an array and returns as many numbers"
            try:
                values = np.asarray(function(points))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{must}, got {type(error).__name__}: {error}") from error
            if values.dtype.kind not in "biufO":
                raise TypeError(f"{must}, got dtype {values.dtype}")
            if values.shape != points.shape:
                raise ValueError(f"{must}, got shape {values.shape} for {points.shape}")
            try:
                values.astype(np.float64)
            except (TypeError, ValueError):
                raise TypeError(f"{must}, got dtype {values.dtype}") from None

    def _check(self) -> None:
        """Raise unless a few values are those of an even density."""
        t = self.scale * np.array([0.0, 0.25, 0.5, 1.0, 2.0])
        low, high, f = (self._array(*a) for a in ((self.cdf, -t), (self.cdf, t), (self.pdf, t)))
        even = np.allclose(low + high, 1.0, rtol=0.0, atol=1e-12)
        even = even and np.allclose(self._array(self.pdf, -t), f, rtol=1e-9)
        if not even:
            raise ValueError("`density` must be symmetric about zero")
        (tail,) = self._array(self.cdf, -np.array([self.scale]))
        wide = tail > 0.1 and self.scale >= 2.0**OCTAVES
        if wide or tail < 0.05:
            raise ValueError(
                "`density` must be of a scale between 1e-60 and 1e60, got one that is "
                f"{'larger' if wide else 'smaller'}; `alpha` is what entries are measured in"
            )
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
            for _ in range(OCTAVES):
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
