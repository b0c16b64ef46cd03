import numpy as np
import oracle
import oracle_jacobian
import pytest
from contract import Contract, topk_thresholds, total_of
from mpmath import mp, mpf
from scipy import stats

import lapsum


def levels_of(low, high, n, weights):
    """The levels low W and high W as floats, each rounded once."""
    total = total_of(n, weights)
    return float(low) * total, float(high) * total


def exact(x, low, high, alpha, weights=None, *, digits=60):
    """The mean by its definition."""
    shares, (k_low, k_high) = shares_of(x, low, high, alpha, weights, digits)
    with mp.workdps(digits):
        return [mp.fdot(shares, map(mpf, map(float, x))) / (mpf(k_high) - mpf(k_low))]


def shares_of(x, low, high, alpha, weights, digits):
    """The weights times the differences of two top-k."""
    levels = levels_of(low, high, len(x), weights)
    below, upto = (
        oracle.soft_topk(x, k, alpha, weights, largest=False, digits=digits) for k in levels
    )
    with mp.workdps(digits):
        c = oracle._weights(weights, len(x))
        return [cj * (b - a) for cj, a, b in zip(c, below, upto, strict=True)], levels


def bound(exact, x, low, high, alpha, weights=None):
    """What the errors of both top-k, 16 (1 + |t|) p, make of the mean, and 16 |y|."""
    levels = levels_of(low, high, len(x), weights)
    c = oracle._weights(weights, len(x))
    error = mpf(0)
    for k in levels:
        p = oracle.soft_topk(x, k, alpha, weights, largest=False)
        t = topk_thresholds(x, k, alpha, weights, largest=False)
        error += sum(
            16 * cj * pj * (1 + tj) * abs(mpf(float(v)) - exact[0])
            for cj, pj, tj, v in zip(c, p, t, x, strict=True)
        )
    return [error / (mpf(levels[1]) - mpf(levels[0])) + 16 * (abs(exact[0]) + mpf(float(alpha)))]


def jacobian(x, low, high, alpha, weights=None, *, digits=60):
    """By the quotient and chain rules from the Jacobians of the two top-k."""
    with mp.workdps(digits):
        n, (low, high) = len(x), (mpf(float(v)) for v in (low, high))
        c, entries = oracle._weights(weights, n), [mpf(float(v)) for v in x]
        total = mpf(total_of(n, weights))
        y = exact(x, low, high, alpha, weights, digits=digits)[0]
        size = (high - low) * total
        shares, _ = shares_of(x, low, high, alpha, weights, digits)
        out = {"x": [s / size for s in shares], "low": mpf(0), "high": mpf(0), "alpha": mpf(0)}
        out["weights"] = [
            s / cj * (v - y) / size if cj else None
            for s, cj, v in zip(shares, c, entries, strict=True)
        ]
        for level, sign, name in ((high, 1, "high"), (low, -1, "low")):
            by = oracle_jacobian.jacobian(
                "soft_topk",
                x=x,
                k=float(level * total),
                alpha=alpha,
                weights=weights,
                largest=False,
                digits=digits,
            )
            # What a share changes in the mean.
            worth = [sign * cj * (v - y) / size for cj, v in zip(c, entries, strict=True)]
            for j in range(n):
                out["x"][j] += mp.fdot(worth, [row[j] for row in by["x"]])
            by_k = mp.fdot(worth, [row[0] for row in by["k"]])
            out[name] += by_k * total
            out["alpha"] += mp.fdot(worth, [row[0] for row in by["alpha"]])
            for j in range(n) if weights is not None else ():
                out["weights"][j] += mp.fdot(worth, [row[j] for row in by["weights"]])
                out["weights"][j] += by_k * level
        if weights is None:
            del out["weights"]
        return {
            name: [value if isinstance(value, list) else [value]] for name, value in out.items()
        }


CONTRACT = Contract(
    lapsum.soft_trimmed_mean,
    bound=bound,
    arguments=lambda rng, x, alpha, weights=None: {"low": 0.125, "high": 0.75},
    scalars=("alpha", "low", "high"),
    core="first",
    several_axes=True,
    sums=("low", "high", "weights"),
    shifts=1,
    degree=1,
    unbounded=True,
    exact=exact,
    jacobian=jacobian,
)


def test_tends_to_scipys_trimmed_mean(rng):
    x = rng.normal(size=(3, 20))
    for cut in (0.1, 0.25, 0.4):
        expected = stats.trim_mean(x, cut, axis=1)
        result = lapsum.soft_trimmed_mean(x, cut, 1 - cut, 1e-12)
        np.testing.assert_allclose(result, expected, rtol=1e-9)


def test_all_of_the_levels_is_the_mean(rng):
    x, c = rng.normal(size=(2, 3, 9)) ** 2
    for alpha in (1e-3, 1.0, 1e3):
        result = lapsum.soft_trimmed_mean(x, 0, 1, alpha, weights=c)
        np.testing.assert_allclose(result, np.average(x, axis=-1, weights=c), rtol=1e-14)


def test_outliers_have_no_pull(rng):
    x = np.append(rng.normal(size=20), [1e9, np.inf, -np.inf])
    lin = lapsum.linearize(lapsum.soft_trimmed_mean, x, 0.2, 0.8, 0.01)
    assert abs(lin.value) < 3
    x_bar = lin.vjp(1.0)[0]
    np.testing.assert_array_equal(x_bar[-3:], [0, 0, 0])
    assert abs(x_bar.sum() - 1) < 1e-12


@pytest.mark.parametrize("keepdims", [False, True])
def test_shapes(rng, keepdims):
    x, low = rng.normal(size=(4, 5, 6)), rng.uniform(0, 0.4, 6)
    lin = lapsum.linearize(lapsum.soft_trimmed_mean, x, low, 0.9, 0.1, axis=1, keepdims=keepdims)
    shape = (4, 1, 6) if keepdims else (4, 6)
    assert lin.value.shape == shape
    bars = lin.vjp(np.ones(shape))
    assert [np.shape(bar) for bar in bars] == [x.shape, (6,), (), ()]
    assert lin.jvp(x, low, 1.0, 1.0).shape == shape
    one = lapsum.soft_trimmed_mean(x[2, :, 3], low[3], 0.9, 0.1)
    assert one == lin.value.reshape(4, 6)[2, 3]


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-0.1, 0.5, "^`low` must lie between 0 and 1, got -0.1"),
        (0.1, 1.5, "^`high` must lie between 0 and 1, got 1.5"),
        (np.nan, 0.5, "^`low` must lie between 0 and 1, got nan"),
        (0.5, 0.5, "^`low` must be less than `high`, got 0.5 and 0.5"),
        ([0.1, 0.6], [0.5, 0.4], "^`low` must be less than `high`, got 0.6 and 0.4"),
    ],
)
def test_levels_are_checked(low, high, message):
    with pytest.raises(ValueError, match=message):
        lapsum.soft_trimmed_mean(np.zeros((2, 3)), low, high, 0.1)


def test_no_weight_is_nan():
    lin = lapsum.linearize(lapsum.soft_trimmed_mean, [1.0, 2.0], 0.1, 0.5, 0.1, weights=[0.0, 0.0])
    assert np.isnan(lin.value)
    for bar in lin.vjp(1.0):
        np.testing.assert_array_equal(bar, np.zeros(np.shape(bar)))
    assert np.isnan(lapsum.soft_trimmed_mean([], 0.1, 0.5, 0.1))


def test_the_weight_of_an_absent_nan_has_no_derivative():
    lin = lapsum.linearize(
        lapsum.soft_trimmed_mean, [1.0, np.nan, 3.0], 0.2, 0.7, 0.3, weights=[1.0, 0.0, 1.0]
    )
    *_, weights_bar = lin.vjp(1.0)
    assert weights_bar[1] == 0.0
    assert abs(weights_bar[0]) > 0.5
    assert lin.jvp(None, None, None, None, [0.0, 1.0, 0.0]) == 0.0
