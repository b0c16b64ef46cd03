"""High-precision reference for every lapsum operator and its first derivatives.

Written from the definitions alone, in mpmath, and sharing no code with the package, so that
agreement between the two means something. One lane at a time: the arguments are 1-D sequences
of floats, taken as the exact binary numbers they are, and the results are (nested) lists of
``mpf``, never rounded to float64. Inputs are finite and weights not negative.

Throughout, ``F`` is the Laplace CDF, ``S(x) = sum_j c_j F((x - r_j)/alpha)`` and
``W = sum_j c_j``. Run as a script, the file checks itself: ``python tests/oracle.py``.
"""

import itertools
import math
from bisect import bisect_right

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
        return [number for part in value for number in _flat(part)]
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


def _cdf(t):
    return mp.exp(t) / 2 if t <= 0 else 1 - mp.exp(-t) / 2


def _log_cdf(t):
    return t - mp.log(2) if t <= 0 else mp.log1p(-mp.exp(-t) / 2)


def _cdf_difference(low, high):
    """F(high) - F(low) for low <= high, from the tail in which both are small."""
    if high <= 0:
        return -mp.exp(high) * mp.expm1(low - high) / 2
    if low >= 0:
        return -mp.exp(-low) * mp.expm1(low - high) / 2
    return -(mp.expm1(low) + mp.expm1(-high)) / 2


def _density(t):
    return mp.exp(-abs(t)) / 2


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
        decay = [mp.exp((a - b) / alpha) for a, b in itertools.pairwise(self.nodes)]
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
            left = self.left[m] * mp.exp(-(x - self.nodes[m - 1]) / self.alpha) / 2
        if m < len(self.nodes):
            right = self.right[m] * mp.exp((x - self.nodes[m]) / self.alpha) / 2
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
            product = self.left[m] * self.right[m] * mp.exp(-gap / self.alpha)
        root = abs(d) + mp.sqrt(d * d + product)
        if d > 0:
            b = self.nodes[m] + self.alpha * mp.log(root / self.right[m])
        else:
            b = self.nodes[m - 1] - self.alpha * mp.log(root / self.left[m])
        # Put back, in the interval and relative to the tails, so that plateaus are tested too.
        left, right = self._tails(m, b)
        tolerance = mpf(10) ** (5 - digits)
        assert abs(right - left - d) <= tolerance * (left + right)
        slack = tolerance * (self.alpha + abs(b))
        assert m == 0 or self.nodes[m - 1] - slack <= b
        assert m == len(self.nodes) or b <= self.nodes[m] + slack
        return b


# --- values ---


def lap_sum(x, r, alpha, weights=None, *, digits=60):
    """S at every target x."""
    with _precision(digits, (x, r, alpha), (weights,)):
        sources = _Sources(_flat(r), *_flat(alpha), weights)
        return [sources.at(target) for target in _flat(x)]


def lap_sum_inv(w, r, alpha, weights=None, *, digits=60):
    """The points at which S takes the levels w."""
    with _precision(digits, (r, alpha), (w, weights)):
        sources = _Sources(_flat(r), *_flat(alpha), weights)
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
    inner = lap_sum_inv(range(1, len(x)), x, alpha, digits=digits)
    bounds = [-mp.inf, *inner, mp.inf]
    with _precision(digits, (x, alpha)):
        x, (alpha,) = _flat(x), _flat(alpha)
        rows = [
            [_cdf_difference((low - v) / alpha, (high - v) / alpha) for v in x]
            for low, high in itertools.pairwise(bounds[: len(x) + 1])
        ]
    return rows[::-1] if descending else rows


def soft_permute(x, values, alpha, descending=False, transpose=False, *, digits=60):
    """P @ values, or P.T @ values, with P the soft permutation of x."""
    matrix = soft_permutation(x, alpha, descending, digits=digits)
    with _precision(digits, (x, alpha)):
        return _product(_transposed(matrix) if transpose else matrix, _flat(values))


def _product(matrix, vector):
    return [mp.fdot(row, vector) for row in matrix]


def _transposed(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


# --- derivatives ---


def jacobian(name, *, digits=60, **arguments):
    """Derivatives of the operator `name`, dense.

    Returns a dict from the differentiable parameters, in signature order, to nested lists
    ``d out_i / d parameter_j`` (outputs in C order, one column for a scalar parameter). At the
    ends of the range of k they are the one-sided limits.
    """
    lengths = [arguments.get(key) for key in ("x", "r", "alpha")]
    masses = [arguments.get(key) for key in ("w", "k", "q", "weights")]
    with _precision(digits, lengths, masses):
        result = _JACOBIANS[name](digits=digits, **arguments)
        return {key: value for key, value in result.items() if value is not None}


def _diagonal(entries):
    n = len(entries)
    return [[entries[i] if i == j else mpf(0) for j in range(n)] for i in range(n)]


def _column(entries):
    return [[entry] for entry in entries]


def _lap_sum_jacobian(x, r, alpha, weights=None, *, digits):
    x, r, (alpha,), c = _flat(x), _flat(r), _flat(alpha), _weights(weights, len(r))
    t = [[(target - source) / alpha for source in r] for target in x]
    slopes = [[cj * _density(tij) / alpha for cj, tij in zip(c, row, strict=True)] for row in t]
    return {
        "x": _diagonal([sum(row) for row in slopes]),
        "r": [[-slope for slope in row] for row in slopes],
        "alpha": _column([-mp.fdot(*rows) for rows in zip(slopes, t, strict=True)]),
        "weights": None if weights is None else [[_cdf(tij) for tij in row] for row in t],
    }


def _lap_sum_inv_jacobian(w, r, alpha, weights=None, *, digits):
    """From sum_j c_j F((b - r_j)/alpha) = w, differentiated implicitly."""
    points = lap_sum_inv(w, r, alpha, weights, digits=digits)
    r, (alpha,), c = _flat(r), _flat(alpha), _weights(weights, len(r))
    by_w, by_r, by_alpha, by_weights = [], [], [], []
    for b in points:
        t = [(b - source) / alpha for source in r]
        slopes = [cj * _density(tj) / alpha for cj, tj in zip(c, t, strict=True)]
        total = sum(slopes)
        by_w.append(1 / total)
        by_r.append([slope / total for slope in slopes])
        by_alpha.append(mp.fdot(slopes, t) / total)
        by_weights.append([-_cdf(tj) / total for tj in t])
    return {
        "w": _diagonal(by_w),
        "r": by_r,
        "alpha": _column(by_alpha),
        "weights": None if weights is None else by_weights,
    }


def _soft_rank_jacobian(x, alpha, weights=None, descending=False, *, digits):
    """`lap_sum` with targets and sources moving together: they are the same numbers."""
    z, sign = _signed(x, descending), -1 if descending else 1
    parts = _lap_sum_jacobian(z, z, alpha, weights, digits=digits)
    by_x = [[sign * entry for entry in row] for row in parts["r"]]
    for i, row in enumerate(by_x):
        # The self term cancels; leaving it out rather than subtracting it keeps all digits.
        row[i] = -sum(entry for j, entry in enumerate(row) if j != i)
    return {"x": by_x, "alpha": parts["alpha"], "weights": parts["weights"]}


def _soft_sort_jacobian(x, alpha, descending=False, *, digits):
    levels = [i + 0.5 for i in range(len(x))]
    parts = _lap_sum_inv_jacobian(levels, x, alpha, digits=digits)
    step = -1 if descending else 1
    return {"x": parts["r"][::step], "alpha": parts["alpha"][::step]}


def _soft_quantile_jacobian(x, q, alpha, weights=None, *, digits, rounded=True):
    """The level q W moves with q and with every weight."""
    levels = _quantile_levels(q, weights, len(x), digits, rounded)
    parts = _lap_sum_inv_jacobian(levels, x, alpha, weights, digits=digits)
    total, by_level, by_weights = sum(_weights(weights, len(x))), parts["w"], parts["weights"]
    if weights is not None:
        by_weights = [
            [by_level[i][i] * qi + entry for entry in by_weights[i]]
            for i, qi in enumerate(_flat(q))
        ]
    return {
        "x": parts["r"],
        "q": [[total * entry for entry in row] for row in by_level],
        "alpha": parts["alpha"],
        "weights": by_weights,
    }


def _topk_jacobian(x, k, alpha, weights=None, largest=True, *, digits, log):
    """Chain rule through t_i = (b - z_i)/alpha with z = x, or -x for the largest.

    `slope` is the derivative of output i by b alone, and `rate` that of p_i by k, which stays
    finite at both ends of the range of k although the slopes of p vanish there.
    """
    z, sign = _signed(x, largest), -1 if largest else 1
    b = _topk_threshold(z, k, alpha, weights, digits)
    (alpha,), c, n = _flat(alpha), _weights(weights, len(x)), len(x)
    if _float_total(weights, n) == 0:
        square, column = _diagonal([mpf(0)] * n), _column([mpf(0)] * n)
        by_weights = None if weights is None else square
        return {"x": square, "k": column, "alpha": column, "weights": by_weights}

    at_zero = b == -mp.inf
    if mp.isinf(b):
        kernel = [mp.exp(((min(z) - v) if at_zero else (v - max(z))) / alpha) for v in z]
        p = [mpf(0) if at_zero else mpf(1)] * n
        slope = [1 / alpha if at_zero and log else mpf(0)] * n
    else:
        t = [(b - v) / alpha for v in z]
        kernel = [_density(ti) / alpha for ti in t]
        p = [_cdf(ti) for ti in t]
        slope = [li / pi if log else li for li, pi in zip(kernel, p, strict=True)]
    total = mp.fdot(c, kernel)
    rate = [li / total for li in kernel]
    q = [cj * rj for cj, rj in zip(c, rate, strict=True)]

    # Entry (i, i) has the factor q_i - 1, written without the cancellation.
    others = [sum(q[:i]) + sum(q[i + 1 :]) for i in range(n)]
    by_x = [
        [sign * slope[i] * (-others[i] if i == j else q[j]) for j in range(n)] for i in range(n)
    ]
    by_alpha = [slope[i] * mp.fdot(q, [(z[i] - v) / alpha for v in z]) for i in range(n)]
    if log and at_zero:
        # Here log p_i = log k - z_i/alpha - log sum_j c_j e^{-z_j/alpha}.
        by_k = [mp.inf] * n
        by_weights = [[-rj for rj in rate] for _ in range(n)]
    else:
        by_k = [ri / pi if log else ri for ri, pi in zip(rate, p, strict=True)]
        by_weights = [[-entry * pj for pj in p] for entry in by_k]
    return {
        "x": by_x,
        "k": _column(by_k),
        "alpha": _column(by_alpha),
        "weights": None if weights is None else by_weights,
    }


def _soft_topk_jacobian(*args, **kwargs):
    return _topk_jacobian(*args, log=False, **kwargs)


def _log_soft_topk_jacobian(*args, **kwargs):
    return _topk_jacobian(*args, log=True, **kwargs)


def _permutation_slopes(x, alpha, descending, digits):
    """``d P_ij / d x_m`` and ``d P_ij / d alpha``, as nested lists indexed [i][j]([m]).

    Row i is the difference of F((b_i - x_j)/alpha) at two neighbouring bounds, each of which
    moves with x as in `lap_sum_inv`; at b_0 and b_n nothing moves.
    """
    x, (alpha,), n = _flat(x), _flat(alpha), len(x)
    zeros = [mpf(0)] * n
    by_x, by_alpha = [[zeros] * n], [zeros]
    for b in lap_sum_inv(range(1, n), x, alpha, digits=digits):
        slopes = [_density((b - v) / alpha) / alpha for v in x]
        total = sum(slopes)
        q = [slope / total for slope in slopes]
        by_x.append([[slopes[j] * (q[m] - (j == m)) for m in range(n)] for j in range(n)])
        by_alpha.append([slopes[j] * mp.fdot(q, [(x[j] - v) / alpha for v in x]) for j in range(n)])
    by_x.append([zeros] * n)
    by_alpha.append(zeros)
    step = -1 if descending else 1
    by_x = [
        [_minus(*rows) for rows in zip(high, low, strict=True)]
        for low, high in itertools.pairwise(by_x)
    ]
    by_alpha = [_minus(high, low) for low, high in itertools.pairwise(by_alpha)]
    return by_x[::step], by_alpha[::step]


def _minus(a, b):
    return [u - v for u, v in zip(a, b, strict=True)]


def _soft_permutation_jacobian(x, alpha, descending=False, *, digits):
    by_x, by_alpha = _permutation_slopes(x, alpha, descending, digits)
    return {
        "x": [entry for row in by_x for entry in row],
        "alpha": _column([entry for row in by_alpha for entry in row]),
    }


def _soft_permute_jacobian(x, values, alpha, descending=False, transpose=False, *, digits):
    matrix = soft_permutation(x, alpha, descending, digits=digits)
    by_x, by_alpha = _permutation_slopes(x, alpha, descending, digits)
    if transpose:
        matrix, by_x, by_alpha = map(_transposed, (matrix, by_x, by_alpha))
    values = _flat(values)
    return {
        "x": [_product(_transposed(row), values) for row in by_x],
        "values": matrix,
        "alpha": _column(_product(by_alpha, values)),
    }


_JACOBIANS = {
    "lap_sum": _lap_sum_jacobian,
    "lap_sum_inv": _lap_sum_inv_jacobian,
    "soft_rank": _soft_rank_jacobian,
    "soft_sort": _soft_sort_jacobian,
    "soft_topk": _soft_topk_jacobian,
    "log_soft_topk": _log_soft_topk_jacobian,
    "soft_quantile": _soft_quantile_jacobian,
    "soft_permutation": _soft_permutation_jacobian,
    "soft_permute": _soft_permute_jacobian,
}


# --- comparison ---


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
                worst = max(worst, error / (size * mpf(2) ** -52) if usable else mp.inf)
        return float(worst)


# --- the oracle's own check ---


def _central_differences(name, arguments, parameter, step, digits):
    """`jacobian(name, ...)[parameter]` from values alone."""
    columns, point = [], _flat(arguments[parameter])
    scalar = np.ndim(arguments[parameter]) == 0
    for j in range(len(point)):
        ends = []
        for change in (step, -step):
            moved = [mp.fadd(v, change if i == j else 0, exact=True) for i, v in enumerate(point)]
            changed = {**arguments, parameter: moved[0] if scalar else moved}
            ends.append(_flat(globals()[name](**changed, digits=digits)))
        columns.append([(high - low) / (2 * step) for high, low in zip(*ends, strict=True)])
    return _transposed(columns)


def _distance(a, b):
    """Largest difference of two nested lists, relative where entries exceed 1."""
    a, b = _flat(a), _flat(b)
    assert len(a) == len(b)
    return max(abs(u - v) / max(1, abs(v)) for u, v in zip(a, b, strict=True))


def _cases(rng, n=5):
    """Every operator with its keywords, on random data without ties."""
    x, r, v = (rng.normal(size=n).tolist() for _ in range(3))
    alpha = float(10 ** rng.uniform(-1, 1))
    for c in (None, rng.uniform(0.2, 2, n).tolist()):
        total = _float_total(c, n)
        w = (rng.uniform(0.01, 0.99, 3) * total).tolist()
        base = {"alpha": alpha} if c is None else {"alpha": alpha, "weights": c}
        yield "lap_sum", {"x": x[:3], "r": r, **base}
        yield "lap_sum_inv", {"w": w, "r": r, **base}
        yield "soft_quantile", {"x": x, "q": [0.03, 0.5, 0.81], "rounded": False, **base}
        for flag in (False, True):
            yield "soft_rank", {"x": x, "descending": flag, **base}
            for k in w:
                yield "soft_topk", {"x": x, "k": k, "largest": flag, **base}
                yield "log_soft_topk", {"x": x, "k": k, "largest": flag, **base}
    for flag in (False, True):
        base = {"x": x, "alpha": alpha, "descending": flag}
        yield "soft_sort", base
        yield "soft_permutation", base
        for transpose in (False, True):
            yield "soft_permute", {**base, "values": v, "transpose": transpose}


def _check_jacobians(rng, digits):
    """Against central differences: every entry, every parameter."""
    worst, step = {}, mpf(10) ** -40
    for _ in range(3):
        for name, arguments in _cases(rng):
            result = jacobian(name, **arguments, digits=digits)
            known = {"x", "r", "w", "values", "k", "q", "alpha", "weights"}
            assert set(result) == known & set(arguments), name
            for parameter, entries in result.items():
                expected = _central_differences(name, arguments, parameter, step, digits)
                assert [len(row) for row in entries] == [len(row) for row in expected], name
                error = _distance(entries, expected)
                worst[name] = max(worst.get(name, 0), error)
                assert error < mpf(10) ** -30, (name, parameter, mp.nstr(error, 3))
    return worst


def _check_values(rng, digits):
    """Against dense sums and the identities of the definitions, ties included."""
    errors = []
    for alpha in (1e-3, 0.3, 1e4):
        x = [*rng.normal(size=8).tolist(), 0.25, 0.25, 1e8]
        c = [*rng.uniform(0, 2, len(x) - 1).tolist(), 0.0]
        n = len(x)
        dense = [
            sum(mpf(cj) * _cdf((mpf(u) - mpf(v)) / mpf(alpha)) for v, cj in zip(x, c, strict=True))
            for u in x
        ]
        errors.append(_distance(lap_sum(x, x, alpha, c, digits=digits), dense))
        levels = [1e-300, *(rng.uniform(0, 1, 5) * sum(c)).tolist()]
        points = lap_sum_inv(levels, x, alpha, c, digits=digits)
        sums = lap_sum(points, x, alpha, c, digits=digits)
        errors += [_distance(sums, levels), abs(sums[0] / levels[0] - 1)]
        matrix = soft_permutation(x, alpha, digits=digits)
        ones = [1] * n
        errors += [_distance([sum(row) for row in m], ones) for m in (matrix, _transposed(matrix))]
        for largest in (False, True):
            p = soft_topk(x, 3.7, alpha, c, largest, digits=digits)
            errors.append(_distance([mp.fdot(c, p)], [3.7]))
            logs = log_soft_topk(x, 3.7, alpha, c, largest, digits=digits)
            errors.append(_distance([mp.exp(v) for v in logs], p))
        up, down = (soft_rank(x, alpha, c, flag, digits=digits) for flag in (False, True))
        total = sum(map(mpf, c)) + 1
        errors.append(_distance([a + b for a, b in zip(up, down, strict=True)], [total] * n))
    assert soft_rank([2.0, 1.0, 2.0], 1e-3)[1] - 1 < 1e-300
    assert soft_topk([3.0, 1.0], 0, 1.0) == [0, 0]
    assert soft_topk([3.0, 1.0], 2, 1.0) == [1, 1]
    assert max(errors) < mpf(10) ** (20 - digits), max(errors)
    return max(errors)


def _check_ends(digits):
    """Jacobians at k = 0, k = W and weight 0 continue those beside them."""
    x, c, tiny, errors = [0.3, -1.0, 2.5, 0.9], [1.0, 0.5, 0.0, 2.0], mpf(10) ** -60, []
    nearby_c = [mpf(v) if v else tiny for v in c]
    for name, largest in itertools.product(("soft_topk", "log_soft_topk"), (False, True)):
        base = {"x": x, "alpha": 0.7, "largest": largest, "digits": digits}
        for k, nearby in ((0, tiny), (1.3, mpf(1.3)), (3.5, mpf(3.5) - tiny)):
            at = jacobian(name, k=k, weights=c, **base)
            # W moves by tiny with the zero weight; keep the distance to it.
            beside = jacobian(name, k=nearby, weights=nearby_c, **base)
            if name == "log_soft_topk" and k == 0:
                assert all(v == mp.inf for v in _flat(at.pop("k")))
                assert min(_flat(beside.pop("k"))) > 1e50
            errors += [_distance(at[key], beside[key]) for key in at]
    assert max(errors) < mpf(10) ** -50, max(errors)
    return max(errors)


def self_check(seed=0, digits=120):
    """Check values, Jacobians and limits; print the largest errors."""
    rng = np.random.default_rng(seed)
    with mp.workdps(digits):
        print(f"values: {mp.nstr(_check_values(rng, digits), 3)}")
        print(f"ends: {mp.nstr(_check_ends(digits), 3)}")
        for name, error in _check_jacobians(rng, digits).items():
            print(f"jacobian of {name}: {mp.nstr(error, 3)}")


if __name__ == "__main__":
    self_check()
