"""What the paper proves of soft orders (theorems 3.2, 3.3 and 3.6), as far as it holds here."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import lapsum
from lapsum import ot

samples = arrays(float, st.integers(1, 25), elements=st.floats(-1e3, 1e3))
strengths = st.floats(-6.0, 3.0).map(lambda power: 10.0**power)
few = settings(max_examples=60, deadline=None, derandomize=True)


@few
@given(samples, strengths)
def test_ranks_are_in_order_and_add_up(x, epsilon):
    """Theorem 3.2 and the remarks on it."""
    n, ranks = len(x), ot.sinkhorn_rank(x, epsilon)
    assert ranks.sum() == pytest.approx(n * (n + 1) / 2, rel=1e-13)
    assert (np.diff(ranks[np.argsort(x)]) >= -1e-12 * n).all()
    assert (ranks >= 1.0 - 1e-12 * n).all()
    assert (ranks <= n + 1e-12 * n).all()
    np.testing.assert_allclose(ranks + ot.sinkhorn_rank(x, epsilon, descending=True), n + 1.0)
    spread = ot.sinkhorn_rank(x, 1e12)
    np.testing.assert_allclose(spread, (n + 1) / 2, rtol=1e-9)


@few
@given(samples)
def test_ranks_become_those_of_the_sample(x):
    """The limits of theorem 3.2, of entries that are not tied by squashing."""
    z, _ = ot.SinkhornPlan(x, 1.0).points
    gaps = np.diff(np.unique(z))
    if len(gaps) and gaps.min() < 1e-6:
        return
    np.testing.assert_allclose(ot.sinkhorn_rank(x, 1e-12), scipy.stats.rankdata(z), rtol=1e-9)


@few
@given(samples, st.floats(0.0, 1.0), strengths)
def test_top_k_adds_up_and_keeps_the_order(x, share, epsilon):
    """Theorem 3.3."""
    k = share * len(x)
    p = ot.soft_topk(x, k, epsilon)
    assert p.sum() == pytest.approx(k, rel=1e-12, abs=1e-300)
    assert ((p >= 0.0) & (p <= 1.0)).all()
    assert (np.diff(p[np.argsort(x, kind="stable")]) >= 0.0).all()
    np.testing.assert_allclose(ot.soft_topk(x, k, 1e12), share, rtol=1e-7, atol=1e-12)


@few
@given(samples, strengths)
def test_plans_are_doubly_stochastic(x, epsilon):
    """Theorem 3.6."""
    n, P = len(x), ot.SinkhornPlan(x, epsilon)
    matrix = n * P.toarray()
    assert (matrix >= 0.0).all()
    np.testing.assert_allclose(matrix.sum(axis=0), 1.0, rtol=1e-13)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-13)
    k = (n + 1) // 2
    rows = ot.soft_topk_sorted(x, k, epsilon)
    np.testing.assert_allclose(rows.sum(axis=-1), 1.0, rtol=1e-12)
    assert (rows.sum(axis=0) <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("n", [2, 20])
def test_plans_become_permutations(n, rng):
    x = rng.normal(size=n)
    matrix = n * ot.SinkhornPlan(x, 1e-12).toarray()
    expected = np.zeros((n, n))
    expected[np.argsort(x), np.arange(n)] = 1.0
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ot.soft_topk_sorted(x, n, 1e-12)[::-1].T, expected, atol=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("largest", [False, True])
def test_soft_topk_is_the_logistic_one_by_its_kernels(normalize, largest, rng):
    x = rng.normal(size=(3, 5000))
    x[1, 3] = np.inf  # its lane takes the careful way
    finite = np.where(np.isfinite(x), x, 0.0)
    upper = 1.0 if largest else -1.0
    cost = np.abs([finite, finite - upper]).max(axis=(0, 2)) ** 2 if normalize else 1.0
    ours = lapsum.linearize(ot.soft_topk, x, 70, 0.2, normalize=normalize, largest=largest)
    theirs = lapsum.linearize(
        lapsum.soft_topk, x, 70, 0.1 * np.asarray(cost), largest=largest, density="logistic"
    )
    assert ours._rule.topk.left.tolist() == [False, True, False]
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-12)
    dots = rng.normal(size=x.shape), 0.3, rng.normal()
    tangent = theirs.jvp(*dots[:2], 0.5 * cost * dots[2])
    np.testing.assert_allclose(ours.jvp(*dots), tangent, atol=1e-12 * np.abs(tangent).max())
    bar = rng.normal(size=x.shape)
    x_bar, k_bar, epsilon_bar = ours.vjp(bar)
    their_x, their_k, their_alpha = theirs.vjp(bar)
    np.testing.assert_allclose(x_bar, their_x, atol=1e-12 * np.abs(x_bar).max())
    np.testing.assert_allclose(k_bar, their_k, rtol=1e-10)
    np.testing.assert_allclose(epsilon_bar, np.sum(0.5 * cost * their_alpha), rtol=1e-10)
