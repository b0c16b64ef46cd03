"""Against other libraries, converged as far as they go, and against what others published."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from lapsum import ot


@pytest.fixture(scope="module")
def pot():
    return pytest.importorskip("ot", reason="POT is not installed")


@pytest.fixture(scope="module")
def soft_sort():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    soft_sort = pytest.importorskip("ott.tools.soft_sort", reason="OTT is not installed")
    jax.config.update("jax_enable_x64", True)
    yield soft_sort
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
@pytest.mark.parametrize(("n", "m"), [(12, 9), (7, 20), (15, 15)])
def test_pot_finds_the_same_plan(pot, n, m, epsilon, rng):
    x, y = rng.normal(0.5, 0.3, n), np.sort(rng.uniform(size=m))
    a, b = rng.uniform(0.5, 1.0, n), rng.uniform(0.5, 1.0, m)
    a, b = a / a.sum(), b / b.sum()
    cost = (x[:, None] - y) ** 2
    theirs = pot.sinkhorn(
        a, b, cost, epsilon, method="sinkhorn_log", stopThr=1e-16, numItermax=2000, warn=False
    )
    P = ot.SinkhornPlan(x, epsilon, weights=a, targets=y, target_weights=b, squash=None)
    np.testing.assert_allclose(P.toarray(), theirs, rtol=0, atol=1e-14)


OTT = {"threshold": 1e-15, "max_iterations": 3000}


def squashed(x):
    """What OTT squashes by, without the 1e-10 that it adds to the standard deviation."""
    return 1.0 / (1.0 + np.exp(-(x - np.mean(x)) / np.std(x)))


def test_ott_finds_the_same(soft_sort, rng):
    n, epsilon = 15, 0.1
    x = rng.normal(size=n)
    z = squashed(x)
    options = {"epsilon": epsilon, "squashing_fun": lambda z: z, **OTT}
    close = {"rtol": 0, "atol": 1e-12}
    ranks = np.asarray(soft_sort.ranks(z, **options))
    np.testing.assert_allclose(ot.sinkhorn_rank(x, epsilon), ranks + 1.0, rtol=0, atol=1e-11)
    theirs = np.asarray(soft_sort.sort(z, **options))
    np.testing.assert_allclose(ot.sinkhorn_permute(x, z, epsilon), theirs, **close)
    np.testing.assert_allclose(ot.sinkhorn_sort(z, epsilon, squash=None), theirs, **close)
    theirs = np.asarray(soft_sort.quantile(z, q=0.3, weight=1 / n, **options))
    mine = ot.sinkhorn_quantile(z, 0.3, epsilon, squash=None)
    np.testing.assert_allclose(mine, theirs.item(), **close)
    theirs = np.asarray(soft_sort.topk_mask(z, k=6, **options))
    np.testing.assert_allclose(ot.soft_topk(z, 6, epsilon), theirs, **close)


def soft_by_iteration(x, k, epsilon, normalize, steps=20_000):
    """SOFT top-k as its authors wrote it, in logarithms, until it stands still."""
    n = len(x)
    cost = (x[:, None] - np.array([0.0, 1.0])) ** 2
    if normalize:
        cost = cost / cost.max()
    a, b = np.full(n, 1 / n), np.array([1 - k / n, k / n])
    f, g = np.zeros(n), np.zeros(2)
    for _ in range(steps):
        f = epsilon * np.log(a) - epsilon * scipy.special.logsumexp((g - cost) / epsilon, axis=1)
        new = epsilon * np.log(b) - epsilon * scipy.special.logsumexp(
            (f[:, None] - cost) / epsilon, axis=0
        )
        done = np.abs(new - g).max() <= 1e-17
        g = new
        if done:
            break
    return n * np.exp((f[:, None] + g - cost) / epsilon)[:, 1]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("epsilon", [0.5, 0.05])
def test_soft_top_k_is_that_of_its_authors(normalize, epsilon, rng):
    x, k = rng.uniform(-0.5, 1.5, 20), 5
    theirs = soft_by_iteration(x, k, epsilon, normalize)
    mine = ot.soft_topk(x, k, epsilon, normalize=normalize)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_soft_top_k_with_order_has_the_rows_of_a_plan(pot, rng):
    n, k, epsilon = 9, 3, 0.3
    x = rng.uniform(0.0, 3.0, n)
    y, b = np.arange(k + 1.0), np.r_[1 - k / n, np.full(k, 1 / n)]
    cost = (x[:, None] - y) ** 2
    theirs = n * pot.sinkhorn(
        np.full(n, 1 / n), b, cost, epsilon, method="sinkhorn_log", stopThr=1e-16,
        numItermax=5000, warn=False,
    )  # fmt: skip
    mine = ot.soft_topk_sorted(x, k, epsilon)
    np.testing.assert_allclose(mine, theirs[:, :0:-1].T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 17, 400])
def test_scipy_in_the_hard_limit(n, rng):
    """Little entropy; ties stay ties, and lanes may be long."""
    distinct, ties = rng.normal(size=n), rng.integers(0, 5, n).astype(float)
    for x in (distinct, ties):
        ranks = scipy.stats.rankdata(x)
        np.testing.assert_allclose(ot.sinkhorn_rank(x, 1e-12), ranks, rtol=1e-13)
        np.testing.assert_allclose(ot.sinkhorn_sort(x, 1e-12), np.sort(x), rtol=0, atol=1e-13)
        q = [0.1, 0.5, 0.93]
        expected = np.quantile(x, q, method="hazen")
        got = ot.sinkhorn_quantile(x, q, 1e-12)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    k = (n + 1) // 2
    hard = scipy.stats.rankdata(-distinct) <= k
    np.testing.assert_allclose(ot.soft_topk(distinct, k, 1e-12), hard, rtol=0, atol=1e-13)
