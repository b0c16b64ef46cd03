"""High-precision reference for every lapsum operator and its first derivatives.

Written from the definitions alone, in mpmath, and sharing no code with the package, so that
agreement between the two means something. One lane at a time: the arguments are 1-D sequences
of floats, taken as the exact binary numbers they are, and the results are (nested) lists of
``mpf``, never rounded to float64. Inputs are finite and weights not negative.

Throughout, ``F`` is the Laplace CDF, ``S(x) = sum_j c_j F((x - r_j)/alpha)`` and
``W = sum_j c_j``. The Jacobians are in ``oracle_jacobian``; ``test_oracle`` checks both.
"""

import itertools
import math
from bisect import bisect_right
from functools import lru_cache

import numpy as np
from mpmath import mp, mpf

GUARD_BITS = 64


def _flat(value):
    """All numbers in a scalar, an array or nested sequences, exact, in C order."""
    if value is None:
        return []
    if isinstance(value, mpf):
        return [value]
    if isinstance(value, (list, tuple)) or np.ndim(value):
        parts = ([part] if isinstance(part, mpf) else _flat(part) for part in value)
        return list(itertools.chain.from_iterable(parts))
    return [mpf(float(value))]


def _precision(digits, lengths, masses=()):
    """Context in which `digits` digits are left after every difference of the inputs.

    Differences of `lengths` (sources, targets, alpha) and of `masses` (weights, levels) cancel
    at most down to the smallest of them, so the spread of their magnitudes is added.
    """
    bits = int(digits * 3.33) + GUARD_BITS
    for group in (lengths, masses):
        magnitudes = [mp.mag(v) for v in _flat(group) if v != 0]
        bits += max(magnitudes, default=0) - min(magnitudes, default=0)
    return mp.workprec(bits)


def _weights(weights, n):
    return [mpf(1)] * n if weights is None else _flat(weights)


def _float_total(weights, n):
    """The correctly rounded float64 sum of the weights: the W that levels are checked against."""
    return float(n) if weights is None else math.fsum(weights)


def _exp(t):
    """e^t; of a large integer mpmath takes it by as many squarings as t has bits."""
    if mp.mag(t) > 60 and mp.isint(t):
        return mp.exp(t - mpf(0.5)) * mp.exp(mpf(0.5))
    return mp.exp(t)


def _cdf(t):
    return _exp(t) / 2 if t <= 0 else 1 - _exp(-t) / 2


def _log_cdf(t):
    return t - mp.log(2) if t <= 0 else mp.log1p(-_exp(-t) / 2)


def _cdf_difference(low, high):
    """F(high) - F(low) for low <= high, from the tail in which both are small."""
    if high <= 0:
        return -_exp(high) * mp.expm1(low - high) / 2
    if low >= 0:
        return -_exp(-low) * mp.expm1(low - high) / 2
    return -(mp.expm1(low) + mp.expm1(-high)) / 2


def _density(t):
    return _exp(-abs(t)) / 2


class _Sources:
    """Sorted sources of one lane: S at a point and S solved for a level.

    Interval m lies between ``low = nodes[m - 1]`` and ``high = nodes[m]``; there
    ``S(x) = count[m] - left[m]/2 e^{-(x - low)/alpha} + right[m]/2 e^{(x - high)/alpha}``
    with ``count`` the weight to the left, and ``left`` and ``right`` the weights of both sides
    discounted by their distances to the end of the interval.
    """

    def __init__(self, r, alpha, weights=None):
        self.alpha = alpha
        self.mass = _float_total(weights, len(r))
        pairs = sorted((v, c) for v, c in zip(r, _weights(weights, len(r)), strict=True) if c != 0)
        self.nodes = [v for v, _ in pairs]
        weights = [c for _, c in pairs]
        n = len(pairs)
        decay = [_exp((a - b) / alpha) for a, b in itertools.pairwise(self.nodes)]
        self.count = [mpf(0), *itertools.accumulate(weights)]
        self.left = [mpf(0)] * (n + 1)
        self.right = [mpf(0)] * (n + 1)
        for m in range(n):
            self.left[m + 1] = weights[m] + (decay[m - 1] * self.left[m] if m else 0)
        for m in reversed(range(n)):
            self.right[m] = weights[m] + (decay[m] * self.right[m + 1] if m + 1 < n else 0)
        self.node_levels = [self.at(v) for v in self.nodes]

    def _tails(self, m, x):
        """Missing from the left and reaching over from the right, at x in interval m."""
        left = right = mpf(0)
        if m > 0:
            left = self.left[m] * _exp(-(x - self.nodes[m - 1]) / self.alpha) / 2
        if m < len(self.nodes):
            right = self.right[m] * _exp((x - self.nodes[m]) / self.alpha) / 2
        return left, right

    def at(self, x):
        """S(x)."""
        m = bisect_right(self.nodes, x)
        left, right = self._tails(m, x)
        return self.count[m] - left + right

    def solve(self, level, digits):
        """The b with S(b) = level; -inf at 0, +inf at W, NaN outside."""
        if not 0 <= level <= self.mass or self.mass == 0:
            return mp.nan
        if level == 0 or level == self.mass:
            return -mp.inf if level == 0 else mp.inf
        # With y = e^{-(b - low)/alpha}, or z = e^{(b - high)/alpha}, S(b) = level is quadratic:
        #   left y^2 + 2 d y - right e = 0,   right z^2 - 2 d z - left e = 0,   e = e^{-gap/alpha},
        # and the sign of d says which one has its positive root without cancellation.
        m = bisect_right(self.node_levels, level)
        d = level - self.count[m]
        product = mpf(0)
        if 0 < m < len(self.nodes):
            gap = self.nodes[m] - self.nodes[m - 1]
            product = self.left[m] * self.right[m] * _exp(-gap / self.alpha)
        root = abs(d) + mp.sqrt(d * d + product)
        if d > 0:
            b = self.nodes[m] + self.alpha * mp.log(root / self.right[m])
        else:
            b = self.nodes[m - 1] - self.alpha * mp.log(root / self.left[m])
        # Put back, in the interval and relative to the tails, so that plateaus are tested too.
        left, right = self._tails(m, b)
        tolerance = mp.ldexp(1, int(3.33 * (5 - digits)))
        assert abs(right - left - d) <= tolerance * (left + right)
        slack = tolerance * (self.alpha + abs(b))
        assert m == 0 or self.nodes[m - 1] - slack <= b
        assert m == len(self.nodes) or b <= self.nodes[m] + slack
        return b


# --- values ---


@lru_cache(maxsize=4)
def _kept_sources(precision, r, alpha, weights):
    return _Sources(r, alpha, weights)


def _sources(r, alpha, weights):
    """The sources at the precision in force; the last few are kept, for other levels."""
    weights = None if weights is None else tuple(weights)
    return _kept_sources(mp.prec, tuple(_flat(r)), *_flat(alpha), weights)


def lap_sum(x, r, alpha, weights=None, *, digits=60):
    """S at every target x."""
    with _precision(digits, (x, r, alpha), (weights,)):
        sources = _sources(r, alpha, weights)
        return [sources.at(target) for target in _flat(x)]


def lap_sum_inv(w, r, alpha, weights=None, *, digits=60):
    """The points at which S takes the levels w."""
    with _precision(digits, (r, alpha), (w, weights)):
        sources = _sources(r, alpha, weights)
        return [sources.solve(level, digits) for level in _flat(w)]


def threshold(w, r, alpha, weights=None, *, digits=60):
    """The b with S(b) = w, for one level."""
    return lap_sum_inv([w], r, alpha, weights, digits=digits)[0]


def soft_rank(x, alpha, weights=None, descending=False, *, digits=60):
    """1/2 + S(x_i); descending, the same of -x."""
    x = _signed(x, descending)
    with _precision(digits, (x, alpha), (weights,)):
        return [mpf(1) / 2 + s for s in lap_sum(x, x, alpha, weights, digits=digits)]


def soft_sort(x, alpha, descending=False, *, digits=60):
    """The points at which S is 1/2, 3/2, ..., n - 1/2."""
    y = lap_sum_inv([i + 0.5 for i in range(len(x))], x, alpha, digits=digits)
    return y[::-1] if descending else y


def soft_topk(x, k, alpha, weights=None, largest=True, *, digits=60):
    """F((b - x_i)/alpha) with S(b) = k; largest, the same of -x."""
    return _topk(_cdf, x, k, alpha, weights, largest, digits)


def log_soft_topk(x, k, alpha, weights=None, largest=True, *, digits=60):
    """The logarithms of `soft_topk`."""
    return _topk(_log_cdf, x, k, alpha, weights, largest, digits)


def _topk(function, x, k, alpha, weights, largest, digits):
    z = _signed(x, largest)
    b = _topk_threshold(z, k, alpha, weights, digits)
    with _precision(digits, (z, alpha), (k, weights)):
        (alpha,) = _flat(alpha)
        return [function((b - v) / alpha) for v in z]


def _topk_threshold(z, k, alpha, weights, digits):
    # A k that exceeds W by rounding counts as W, and k = 0 = W counts as 0.
    k = min(_flat(k)[0], mpf(_float_total(weights, len(z))))
    return threshold(k, z, alpha, weights, digits=digits) if k else -mp.inf


def _signed(x, negate):
    # fneg(exact=True): a plain minus would round to the precision in force.
    return [mp.fneg(v, exact=True) if negate else v for v in _flat(x)]


def soft_quantile(x, q, alpha, weights=None, *, digits=60, rounded=True):
    """The points at which S is q W, a product rounded once (not at all if not `rounded`)."""
    levels = _quantile_levels(q, weights, len(x), digits, rounded)
    return lap_sum_inv(levels, x, alpha, weights, digits=digits)


def _quantile_levels(q, weights, n, digits, rounded):
    if rounded:
        return [float(v) * _float_total(weights, n) for v in q]
    with _precision(digits, (), (q, weights)):
        return [v * sum(_weights(weights, n)) for v in _flat(q)]


def soft_permutation(x, alpha, descending=False, *, digits=60):
    """F((b_i - x_j)/alpha) - F((b_{i-1} - x_j)/alpha) with S(b_i) = i, as n lists of n."""
    rows = _kept_permutation(tuple(_flat(x)), *_flat(alpha), digits)
    return rows[::-1] if descending else rows[:]


@lru_cache(maxsize=1)  # bounds ask for the matrix that values have just asked for
def _kept_permutation(x, alpha, digits):
    inner = lap_sum_inv(range(1, len(x)), x, alpha, digits=digits)
    bounds = [-mp.inf, *inner, mp.inf]
    with _precision(digits, (x, alpha)):
        return [
            [_cdf_difference((low - v) / alpha, (high - v) / alpha) for v in x]
            for low, high in itertools.pairwise(bounds[: len(x) + 1])
        ]


def soft_permute(x, values, alpha, descending=False, transpose=False, *, digits=60):
    """P @ values, or P.T @ values, with P the soft permutation of x."""
    matrix = soft_permutation(x, alpha, descending, digits=digits)
    with _precision(digits, (x, alpha)):
        return _product(_transposed(matrix) if transpose else matrix, _flat(values))


def _product(matrix, vector):
    return [mp.fdot(row, vector) for row in matrix]


def _transposed(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def units(computed, exact, scale):
    """The largest of ``|computed - exact| / (2**-52 scale)``, as a float.

    An infinity is right where the exact value is beyond the largest float64; NaN agrees with
    NaN only. Where the scale is 0 the values must be equal, else the result is inf.
    """
    computed = np.ravel(np.asarray(computed, dtype=np.float64))
    exact, scale = _flat(exact), _flat(scale)
    if len(scale) == 1:
        scale = scale * len(exact)
    if not len(computed) == len(exact) == len(scale):
        raise ValueError(f"{len(computed)} values, {len(exact)} exact ones, {len(scale)} scales")
    worst = mpf(0)
    with mp.workdps(60):
        for got, want, size in zip(computed, exact, scale, strict=True):
            if mp.isnan(want) or math.isnan(got):
                equal = mp.isnan(want) and math.isnan(got)
            elif math.isinf(got):
                equal = (want if got > 0 else -want) > mpf(np.finfo(np.float64).max)
            else:
                equal = mpf(float(got)) == want
            if not equal:
                error = abs(mpf(float(got)) - want)
                usable = size > 0 and mp.isfinite(error)
                worst = max(worst, error / size if usable else mp.inf)
        return float(worst * 2**52)
