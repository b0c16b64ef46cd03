"""The oracle against dense sums, identities and finite differences in many digits."""

import itertools

import numpy as np
import oracle
import pytest
from mpmath import mp, mpf
from oracle_jacobian import jacobian


def _central_differences(name, arguments, parameter, step, digits):
    """`jacobian(name, ...)[parameter]` from values alone."""
    columns, point = [], oracle._flat(arguments[parameter])
    scalar = np.ndim(arguments[parameter]) == 0
    for j in range(len(point)):
        ends = []
        for change in (step, -step):
            moved = [mp.fadd(v, change if i == j else 0, exact=True) for i, v in enumerate(point)]
            changed = {**arguments, parameter: moved[0] if scalar else moved}
            ends.append(oracle._flat(getattr(oracle, name)(**changed, digits=digits)))
        columns.append([(high - low) / (2 * step) for high, low in zip(*ends, strict=True)])
    return oracle._transposed(columns)


def _distance(a, b):
    """Largest difference of two nested lists, relative where entries exceed 1."""
    a, b = oracle._flat(a), oracle._flat(b)
    assert len(a) == len(b)
    return max(abs(u - v) / max(1, abs(v)) for u, v in zip(a, b, strict=True))


def _cases(rng, n=5):
    """Every operator with its keywords, on random data without ties."""
    x, r, v = (rng.normal(size=n).tolist() for _ in range(3))
    alpha = float(10 ** rng.uniform(-1, 1))
    for c in (None, rng.uniform(0.2, 2, n).tolist()):
        total = oracle._float_total(c, n)
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


def test_jacobians_match_central_differences():
    rng, digits, step = np.random.default_rng(0), 120, mpf(10) ** -40
    with mp.workdps(digits):
        for name, arguments in _cases(rng):
            result = jacobian(name, **arguments, digits=digits)
            known = {"x", "r", "w", "values", "k", "q", "alpha", "weights"}
            assert set(result) == known & set(arguments), name
            for parameter, entries in result.items():
                expected = _central_differences(name, arguments, parameter, step, digits)
                assert [len(row) for row in entries] == [len(row) for row in expected], name
                error = _distance(entries, expected)
                assert error < mpf(10) ** -30, (name, parameter, mp.nstr(error, 3))


@pytest.fixture(autouse=True)
def many_digits():
    with mp.workdps(120):
        yield


def test_values_match_dense_sums_and_identities():
    rng, digits, errors = np.random.default_rng(0), 120, []
    for alpha in (1e-3, 0.3, 1e4):
        x = [*rng.normal(size=8).tolist(), 0.25, 0.25, 1e8]
        c = [*rng.uniform(0, 2, len(x) - 1).tolist(), 0.0]
        n = len(x)
        dense = [
            sum(
                mpf(cj) * oracle._cdf((mpf(u) - mpf(v)) / mpf(alpha))
                for v, cj in zip(x, c, strict=True)
            )
            for u in x
        ]
        errors.append(_distance(oracle.lap_sum(x, x, alpha, c, digits=digits), dense))
        levels = [1e-300, *(rng.uniform(0, 1, 5) * sum(c)).tolist()]
        points = oracle.lap_sum_inv(levels, x, alpha, c, digits=digits)
        sums = oracle.lap_sum(points, x, alpha, c, digits=digits)
        errors += [_distance(sums, levels), abs(sums[0] / levels[0] - 1)]
        matrix = oracle.soft_permutation(x, alpha, digits=digits)
        ones = [1] * n
        errors += [
            _distance([sum(row) for row in m], ones) for m in (matrix, oracle._transposed(matrix))
        ]
        for largest in (False, True):
            p = oracle.soft_topk(x, 3.7, alpha, c, largest, digits=digits)
            errors.append(_distance([mp.fdot(c, p)], [3.7]))
            logs = oracle.log_soft_topk(x, 3.7, alpha, c, largest, digits=digits)
            errors.append(_distance([mp.exp(v) for v in logs], p))
        up, down = (oracle.soft_rank(x, alpha, c, flag, digits=digits) for flag in (False, True))
        total = sum(map(mpf, c)) + 1
        errors.append(_distance([a + b for a, b in zip(up, down, strict=True)], [total] * n))
    assert oracle.soft_rank([2.0, 1.0, 2.0], 1e-3)[1] - 1 < 1e-300
    assert oracle.soft_topk([3.0, 1.0], 0, 1.0) == [0, 0]
    assert oracle.soft_topk([3.0, 1.0], 2, 1.0) == [1, 1]
    assert max(errors) < mpf(10) ** (20 - digits), max(errors)


def test_jacobians_at_the_ends_continue_those_beside_them():
    digits = 120
    x, c, tiny, errors = [0.3, -1.0, 2.5, 0.9], [1.0, 0.5, 0.0, 2.0], mpf(10) ** -60, []
    nearby_c = [mpf(v) if v else tiny for v in c]
    for name, largest in itertools.product(("soft_topk", "log_soft_topk"), (False, True)):
        base = {"x": x, "alpha": 0.7, "largest": largest, "digits": digits}
        for k, nearby in ((0, tiny), (1.3, mpf(1.3)), (3.5, mpf(3.5) - tiny)):
            at = jacobian(name, k=k, weights=c, **base)
            # W moves by tiny with the zero weight; keep the distance to it.
            beside = jacobian(name, k=nearby, weights=nearby_c, **base)
            if name == "log_soft_topk" and k == 0:
                assert all(v == mp.inf for v in oracle._flat(at.pop("k")))
                assert min(oracle._flat(beside.pop("k"))) > 1e50
            errors += [_distance(at[key], beside[key]) for key in at]
    assert max(errors) < mpf(10) ** -50, max(errors)
