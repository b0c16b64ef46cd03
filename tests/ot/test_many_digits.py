"""Values and derivatives of the other operators, against differences in many digits."""

import numpy as np
import pytest
from mpmath import mp, mpf
from oracle_transport import DIGITS, Reference, plan

import lapsum
from lapsum import ot

EPS = 2.0**-52
STEP = mpf(10) ** -14


def exact(func, given, dots=None, sign=0):
    """The value of func in many digits, at arguments moved along tangents."""
    with mp.workdps(DIGITS):
        moved = {}
        for name, value in given.items():
            flat = [mpf(float(v)) for v in np.ravel(value)]
            if sign:
                ways = [mpf(float(v)) for v in np.ravel(dots[name])]
                flat = [v + sign * STEP * w for v, w in zip(flat, ways, strict=True)]
            moved[name] = flat if np.ndim(value) else flat[0]
        return func(**moved)


def check(operator, func, given, rng, bound, **options):
    """Compare value, jvp and vjp of an operator with a function in many digits."""
    lin = lapsum.linearize(operator, **given, **options)
    value = np.array(exact(func, given), float)
    np.testing.assert_allclose(np.ravel(lin.value), value, rtol=0, atol=bound)
    dots = {name: rng.normal(size=np.shape(v)) for name, v in given.items()}
    dots["epsilon"] *= given["epsilon"]
    up, down = (exact(func, given, dots, sign) for sign in (1, -1))
    with mp.workdps(DIGITS):
        tangent = np.array([float((u - d) / (2 * STEP)) for u, d in zip(up, down, strict=True)])
    scale = max(
        np.abs(lin.jvp(*(dots[k] if k == name else None for k in given))).max() for name in given
    )
    got = lin.jvp(*dots.values())
    np.testing.assert_allclose(np.ravel(got), tangent, rtol=0, atol=1e-12 * scale)
    bar = rng.normal(size=np.shape(got))
    pulled = sum(np.sum(p * q) for p, q in zip(lin.vjp(bar), dots.values(), strict=True))
    assert abs(pulled - np.sum(bar * got)) <= 1e-12 * scale * np.abs(bar).sum()


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [0.3, 2.0, 4.5])
@pytest.mark.parametrize("epsilon", [3.0, 0.1])
def test_soft_topk(rng, epsilon, k, largest):
    def func(x, k, epsilon):
        sign = 1 if largest else -1
        alpha = epsilon / 2

        def shares(b):
            return [1 / (1 + mp.exp((b - sign * v) / alpha)) for v in x]

        low, high = min(sign * v for v in x) - 200, max(sign * v for v in x) + 200
        for _ in range(190):
            middle = (low + high) / 2
            low, high = (middle, high) if mp.fsum(shares(middle)) > k else (low, middle)
        return shares(low)

    given = {"x": rng.normal(size=6), "k": k, "epsilon": epsilon}
    check(ot.soft_topk, func, given, rng, 16 * EPS, largest=largest)


@pytest.mark.parametrize("epsilon", [3.0, 0.3, 0.05])
def test_soft_topk_sorted(rng, epsilon):
    n, k = 6, 3
    x = rng.uniform(0.0, 3.0, n)
    y, b = np.arange(k + 1.0), np.r_[1 - k / n, np.full(k, 1 / n)]
    P = ot.SinkhornPlan(x, epsilon, targets=y, target_weights=b, squash=None)
    start = P.potentials[1] / epsilon

    def func(x, epsilon):
        a = [mpf(1) / n] * n
        shares = [mpf(n - k) / n, *[mpf(1) / n] * k]
        rows = plan(x, a, [mpf(j) for j in range(k + 1)], shares, epsilon, start)
        return [row[k - at] for at in range(k) for row in rows]

    given = {"x": x, "epsilon": epsilon}
    check(ot.soft_topk_sorted, func, given, rng, 64 * EPS, k=k)


@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize("q", [0.03, 0.4, 0.5])
@pytest.mark.parametrize("epsilon", [0.5, 0.02])
def test_sinkhorn_quantile(rng, epsilon, q, squash):
    n, x = 6, rng.uniform(size=6)
    first = 1 if q < 0.5 / n else 0  # where no mass is left for the first of the targets
    targets = np.array([0.0, 0.5, 1.0])[first:]

    def shares(q):
        width = min(1 / mpf(n), 2 * q, 2 - 2 * q)
        return [q - width / 2, width, 1 - q - width / 2][first:]

    weights = np.array(shares(q), float)
    P = ot.SinkhornPlan(x, epsilon, targets=targets, target_weights=weights, squash=squash)
    start = P.potentials[1] / epsilon

    def func(x, q, epsilon):
        b = {"targets": targets, "target_weights": shares(q)}
        return [Reference(x, epsilon, squash=squash, start=start, **b).sort()[1 - first]]

    given = {"x": x, "q": q, "epsilon": epsilon}
    check(ot.sinkhorn_quantile, func, given, rng, 32 * EPS, squash=squash)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("epsilon", [0.5, 0.02])
def test_sinkhorn_permute(rng, epsilon, transpose):
    n = 6
    x, values = rng.normal(size=n), rng.normal(size=n)
    start = ot.SinkhornPlan(x, epsilon).potentials[1] / epsilon

    def func(x, values, epsilon):
        found = Reference(x, epsilon, squash="logistic", start=start)
        return found.at_entries(values) if transpose else found.at_targets(values)

    given = {"x": x, "values": values, "epsilon": epsilon}
    check(ot.sinkhorn_permute, func, given, rng, 64 * EPS, transpose=transpose)
