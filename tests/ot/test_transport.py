"""Sinkhorn operators against many digits, other libraries, and their own laws."""

import re

import numpy as np
import pytest
import scipy.stats
from mpmath import mp, mpf
from oracle_transport import DIGITS, Reference

import lapsum
from lapsum import ot

EPS = 2.0**-52


def start_of(x, epsilon, **options):
    with np.errstate(all="ignore"):
        return ot.SinkhornPlan(x, epsilon, **options).potentials[1] / epsilon


def lane(rng, n, m):
    return {
        "x": rng.normal(size=n),
        "weights": rng.uniform(0.2, 2.0, n),
        "targets": np.sort(rng.uniform(0.0, 1.0, m)),
        "target_weights": rng.uniform(0.2, 2.0, m),
    }


def reference(arguments, epsilon, squash):
    options = {k: v for k, v in arguments.items() if k != "x"}
    start = start_of(arguments["x"], epsilon, squash=squash, **options)
    return Reference(arguments["x"], epsilon, squash=squash, start=start, **options)


@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (7, 7), (6, 3)])
@pytest.mark.parametrize("epsilon", [30.0, 0.3, 0.02, 1e-3])
def test_values_have_all_digits(rng, n, m, epsilon, squash):
    arguments = lane(rng, n, m)
    exact = reference(arguments, epsilon, squash)
    ranks = ot.sinkhorn_rank(epsilon=epsilon, squash=squash, **arguments)
    total = float(exact.total)
    np.testing.assert_allclose(ranks, np.array(exact.rank(), float), rtol=0, atol=24 * EPS * total)
    scale = np.abs(arguments["x"]).max()
    sort = ot.sinkhorn_sort(epsilon=epsilon, squash=squash, **arguments)
    np.testing.assert_allclose(sort, np.array(exact.sort(), float), rtol=0, atol=32 * EPS * scale)
    u, v = rng.normal(size=n), rng.normal(size=m)
    x = arguments.pop("x")
    got = ot.sinkhorn_permute(x, u, epsilon, squash=squash, **arguments)
    np.testing.assert_allclose(got, np.array(exact.at_targets(u), float), rtol=0, atol=64 * EPS)
    got = ot.sinkhorn_permute(x, v, epsilon, squash=squash, transpose=True, **arguments)
    np.testing.assert_allclose(got, np.array(exact.at_entries(v), float), rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (3, 5), (5, 3)])
@pytest.mark.parametrize("epsilon", [0.3, 0.03, 3e-3])
@pytest.mark.parametrize("name", ["rank", "sort"])
def test_derivatives_have_nearly_all_digits(rng, name, n, m, epsilon, squash):
    func = getattr(ot, f"sinkhorn_{name}")
    arguments = lane(rng, n, m)
    options = {k: v for k, v in arguments.items() if k != "x"}
    start = start_of(arguments["x"], epsilon, squash=squash, **options)
    lin = lapsum.linearize(func, arguments["x"], epsilon, squash=squash, **options)
    given = {"x": arguments["x"], "epsilon": epsilon, **options}
    dots = {k: rng.normal(size=np.shape(v)) for k, v in given.items()}
    dots["epsilon"] = epsilon
    step = mpf(10) ** -14

    def moved(sign):
        with mp.workdps(DIGITS):
            at = {
                k: [mpf(float(p)) + sign * step * mpf(float(q)) for p, q in zip(*both, strict=True)]
                for k, both in ((k, (np.ravel(given[k]), np.ravel(dots[k]))) for k in given)
            }
        at["epsilon"] = at["epsilon"][0]
        return getattr(Reference(squash=squash, start=start, **at), name)()

    with mp.workdps(DIGITS):
        exact = [float((p - q) / (2 * step)) for p, q in zip(moved(1), moved(-1), strict=True)]
    tangent = lin.jvp(*(dots[k] for k in lin.parameters))
    parts = [
        np.abs(lin.jvp(*(dots[k] if k == p else None for k in lin.parameters))).max()
        for p in lin.parameters
    ]
    assert np.abs(tangent - exact).max() <= 1e-12 * max(parts)
    bar = rng.normal(size=tangent.shape)
    pulled = sum(np.sum(p * dots[k]) for p, k in zip(lin.vjp(bar), lin.parameters, strict=True))
    assert abs(pulled - np.dot(bar, exact)) <= 1e-12 * max(parts) * np.abs(bar).sum()


@pytest.mark.parametrize("n", [3, 40, 200])
@pytest.mark.parametrize("kind", ["normal", "clustered", "cauchy", "ties", "offset", "outliers"])
@pytest.mark.parametrize("epsilon", [1e2, 0.1, 1e-3, 1e-6])
def test_marginals_hold_on_nasty_data(rng, kind, n, epsilon):
    x = {
        "normal": lambda: rng.normal(size=n),
        "clustered": lambda: np.r_[1e-4 * rng.normal(size=n // 2), 9 + rng.normal(size=n - n // 2)],
        "cauchy": lambda: rng.standard_cauchy(n),
        "ties": lambda: rng.integers(0, 4, n) / 3.0,
        "offset": lambda: 1e6 + rng.uniform(size=n),
        "outliers": lambda: np.r_[rng.uniform(size=n - 2), -1e3, 1e300],
    }[kind]()
    for m in (n, 5, 2 * n):
        for squash in ("logistic", None):
            options = {
                "weights": rng.uniform(0.1, 1.0, n),
                "target_weights": rng.uniform(0.1, 1, m),
            }
            P = ot.SinkhornPlan(x, epsilon, squash=squash, **options)
            a, b = P.marginals
            np.testing.assert_allclose(P @ np.ones(m), a, rtol=1e-14)
            np.testing.assert_allclose(P.T @ np.ones(n), b, rtol=1e-14)
            assert np.abs(P.toarray().sum(axis=0) - b).max() <= 64 * EPS * max(b.max(), 1 / n)


@pytest.mark.parametrize("descending", [False, True])
def test_the_hard_limit(rng, descending):
    x = rng.normal(size=(4, 30))
    order = -x if descending else x
    ranks = ot.sinkhorn_rank(x, 1e-9, descending=descending)
    np.testing.assert_allclose(ranks, scipy.stats.rankdata(order, axis=-1), atol=1e-13)
    hard = np.sort(x, axis=-1)[:, ::-1] if descending else np.sort(x, axis=-1)
    np.testing.assert_allclose(ot.sinkhorn_sort(x, 1e-9, descending=descending), hard, atol=1e-13)
    v = rng.normal(size=(4, 30))
    got = ot.sinkhorn_permute(x, v, 1e-9, descending=descending)
    expected = np.take_along_axis(v, np.argsort(order, axis=-1), axis=-1)
    np.testing.assert_allclose(got, expected, atol=1e-13)
    back = ot.sinkhorn_permute(x, expected, 1e-9, descending=descending, transpose=True)
    np.testing.assert_allclose(back, v, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 11, 50])
def test_the_hard_limit_of_quantiles(rng, n):
    x = rng.normal(size=(n, 3))
    q = np.array([[0.001, 0.1, 0.25], [0.5, 0.77, 0.9999]])
    got = ot.sinkhorn_quantile(x, q, 1e-9, axis=0)
    np.testing.assert_allclose(got, np.quantile(x, q, method="hazen", axis=0), atol=1e-13)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("q", [0.5, [0.2, 0.5], []])
def test_quantiles_of_nothing_are_as_soft_ones(shape, q):
    x = np.zeros(shape)
    for more in ({}, {"weights": np.zeros(shape)}, {"keepdims": True}):
        got = ot.sinkhorn_quantile(x, q, 1.0, **more)
        np.testing.assert_array_equal(got, lapsum.soft_quantile(x, q, 1.0, **more))
    lin = lapsum.linearize(ot.sinkhorn_quantile, x, q, 1.0)
    np.testing.assert_array_equal(lin.value, lapsum.soft_quantile(x, q, 1.0))
    bars = lin.vjp(np.ones(lin.value.shape))
    assert [np.shape(bar) for bar in bars] == [shape, np.shape(q), ()]
    assert np.shape(lin.jvp(x, np.ones(np.shape(q)), 1.0)) == lin.value.shape


@pytest.mark.parametrize(("q", "end"), [(0.0, "[0] is the soft m"), (1.0, "[-1] is the soft m")])
def test_the_ends_are_those_of_a_sinkhorn_sort(q, end):
    with pytest.raises(ValueError, match=re.escape(f"; sinkhorn_sort(x, epsilon){end}")):
        ot.sinkhorn_quantile([1.0, 2.0], q, 1.0)


def test_the_limit_of_much_entropy(rng):
    x = rng.normal(size=12)
    np.testing.assert_allclose(ot.sinkhorn_rank(x, 1e300), 6.5)
    np.testing.assert_allclose(ot.sinkhorn_sort(x, 1e300), x.mean())
    np.testing.assert_allclose(ot.sinkhorn_quantile(x, 0.1, 1e300), x.mean())


def test_ascending_and_descending_ranks_mirror(rng):
    arguments = lane(rng, 9, 6)
    up = ot.sinkhorn_rank(epsilon=0.05, **arguments)
    down = ot.sinkhorn_rank(epsilon=0.05, descending=True, **arguments)
    np.testing.assert_allclose(up + down, arguments["weights"].sum() + 1.0)
    # The same problem, mirrored.
    mirrored = {
        "x": -arguments["x"],
        "weights": arguments["weights"],
        "targets": 1.0 - arguments["targets"][::-1],
        "target_weights": arguments["target_weights"][::-1],
    }
    np.testing.assert_allclose(ot.sinkhorn_rank(epsilon=0.05, **mirrored), down, rtol=1e-13)


def test_weights_are_frequencies(rng):
    x, w = rng.normal(size=6), np.array([1.0, 2.0, 3.0, 1.0, 1.0, 2.0])
    targets = np.linspace(0.0, 1.0, 7)
    repeated = np.repeat(x, w.astype(int))
    ranks = ot.sinkhorn_rank(x, 0.05, weights=w, targets=targets)
    many = ot.sinkhorn_rank(repeated, 0.05, targets=targets)
    np.testing.assert_allclose(np.repeat(ranks, w.astype(int)), many, rtol=1e-13)
    np.testing.assert_allclose(
        ot.sinkhorn_sort(x, 0.05, weights=w, targets=targets),
        ot.sinkhorn_sort(repeated, 0.05, targets=targets),
        rtol=1e-13,
    )


def test_a_shift_of_entries_without_squash_changes_nothing(rng):
    """The squared cost: only products of entries and targets matter."""
    x = rng.integers(0, 2**20, 50) / 2.0**20
    at_zero = ot.sinkhorn_rank(x, 1e-3, squash=None)
    np.testing.assert_allclose(
        ot.sinkhorn_rank(x + 2.0**20, 1e-3, squash=None), at_zero, rtol=1e-13
    )


@pytest.mark.parametrize("squash", ["logistic", None])
def test_derivatives_of_a_sort_do_not_feel_an_offset(squash, rng):
    x, weights, bar = (
        rng.integers(0, 2**16, 9) / 2.0**16,
        rng.uniform(0.2, 1.0, 9),
        rng.normal(size=9),
    )
    near, far = (
        lapsum.linearize(ot.sinkhorn_sort, z, 0.1, target_weights=weights, squash=squash).vjp(bar)
        for z in (x, x + 2.0**27)
    )
    for a, b in zip(near, far, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_epsilon_does_not_feel_ties_that_part_at_its_rate():
    lin = lapsum.linearize(ot.sinkhorn_rank, [1.0, 1.0, 2.0, 2.0, 3.0], 1e-300)
    np.testing.assert_array_equal(lin.value, [1.5, 1.5, 3.5, 3.5, 5.0])
    _, epsilon_bar = lin.vjp(np.arange(5.0))
    assert epsilon_bar == 0.0
