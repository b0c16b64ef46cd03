"""Dense Jacobians of every operator in mpmath, from closed forms; see ``oracle``."""

import itertools

from mpmath import mp, mpf
from oracle import (
    _cdf,
    _density,
    _flat,
    _float_total,
    _precision,
    _product,
    _quantile_levels,
    _signed,
    _topk_threshold,
    _transposed,
    _weights,
    lap_sum_inv,
    soft_permutation,
)


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
