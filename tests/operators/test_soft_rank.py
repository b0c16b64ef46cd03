import numpy as np
import oracle
import pytest
from backends import EVERYWHERE
from contract import Contract, relative
from scipy.stats import rankdata

import lapsum

CONTRACT = Contract(
    lapsum.soft_rank,
    bound=relative(8),
    options=({}, {"descending": True}),
    follows=True,
)


def test_tends_to_average_ranks(rng):
    x = rng.integers(0, 5, 40).astype(float)
    np.testing.assert_array_equal(lapsum.soft_rank(x, 1e-9), rankdata(x, "average"))


def test_ascending_and_descending_add_up_to_the_total_plus_one(rng):
    x, c = rng.normal(size=(2, 50))
    c = np.abs(c)
    up = lapsum.soft_rank(x, 0.3, weights=c)
    down = lapsum.soft_rank(x, 0.3, weights=c, descending=True)
    np.testing.assert_allclose(up + down, c.sum() + 1, rtol=1e-14)


def test_unweighted_ranks_stay_in_range(rng):
    for alpha in (1e-3, 1.0, 1e3, 1e9):
        y = lapsum.soft_rank(rng.normal(size=100), alpha)
        assert y.min() >= 1
        assert y.max() <= 100


def test_equal_infinities_share_a_rank():
    x = [-np.inf, 0.0, -np.inf, np.inf]
    np.testing.assert_array_equal(lapsum.soft_rank(x, 0.01), [1.5, 3.0, 1.5, 4.0])


def test_the_jacobian_is_a_graph_laplacian(rng):
    lin = lapsum.linearize(lapsum.soft_rank, rng.normal(size=12), 0.5)
    jacobian = lin.jacobian("x") @ np.eye(12)
    np.testing.assert_allclose(jacobian, jacobian.T, rtol=1e-13)
    assert np.abs(jacobian.sum(axis=1)).max() < 1e-14


def test_a_common_offset_costs_the_derivatives_nothing(rng):
    x, x_dot = rng.integers(0, 1000, (2, 20)) / 64.0
    plain = lapsum.linearize(lapsum.soft_rank, x, 0.5)
    moved = lapsum.linearize(lapsum.soft_rank, x + 2.0**30, 0.5)
    np.testing.assert_array_equal(moved.jvp(x_dot, 1.0), plain.jvp(x_dot, 1.0))
    np.testing.assert_array_equal(plain.jvp(np.full(20, 1e8), None), np.zeros(20))


def test_a_tangent_that_is_not_finite_leaves_the_other_lanes_alone(rng):
    x, x_dot, bar = rng.normal(size=(3, 4, 40))
    lin = lapsum.linearize(lapsum.soft_rank, x, 0.2)
    tangent, cotangent = lin.jvp(x_dot, 1.0), lin.vjp(bar)[0]
    x_dot[2, 5] = bar[2, 5] = np.inf
    spoilt = ~np.isfinite(lin.jvp(x_dot, 1.0)), ~np.isfinite(lin.vjp(bar)[0])
    for lanes in spoilt:
        np.testing.assert_array_equal(lanes.any(axis=1), [False, False, True, False])
    others = [0, 1, 3]
    np.testing.assert_array_equal(lin.jvp(x_dot, 1.0)[others], tangent[others])
    np.testing.assert_array_equal(lin.vjp(bar)[0][others], cotangent[others])


def test_zeros_have_the_same_sign_whatever_other_lanes_hold():
    x = np.array([[0.0, 1.0, 2.0]] * 2)
    lin = lapsum.linearize(lapsum.soft_rank, x, 0.5, descending=True)
    x_dot = np.ones((2, 3))
    alone = lin.jvp(x_dot, None)[0]
    x_dot[1, 0] = np.inf
    assert alone.tobytes() == lin.jvp(x_dot, None)[0].tobytes()


def test_tangents_of_infinite_entries_do_not_matter():
    x = np.array([-np.inf, -np.inf, 0.0, 0.1, np.inf])
    lin = lapsum.linearize(lapsum.soft_rank, x, 0.5)
    x_dot = np.array([1.7e308, -1.7e308, 1.0, 2.0, -1e308])
    expected = lin.jvp(np.where(np.isinf(x), 0.0, x_dot), None)
    np.testing.assert_allclose(lin.jvp(x_dot, None), expected, rtol=1e-15)


def test_ranks_that_a_far_entry_dominates_feel_the_rounding_of_its_distance_only(rng):
    for _ in range(100):
        x = np.sort(rng.normal(size=3))
        alpha = 10.0 ** rng.uniform(-2, 1)
        weights = 10.0 ** rng.uniform(-15, 15, 3)
        y = lapsum.soft_rank(x, alpha, weights=weights)
        exact = oracle.soft_rank(x, alpha, weights)
        scale = [8 * e * (1 + (x[-1] - v) / alpha) for e, v in zip(exact, x, strict=True)]
        assert oracle.units(y, exact, scale) <= 1


def test_an_absent_entry_ranks_as_the_present_ones_it_is_tied_with(rng):
    for n in (3, 40, 300_000):
        x = rng.integers(0, max(3, n // 9), n).astype(float)
        weights = rng.uniform(size=n) * (rng.random(n) < 0.5)
        ranks = lapsum.soft_rank(x, 0.13, weights=weights)
        low, high = np.full((2, n), np.inf)
        np.minimum.at(low, x.astype(int), ranks)
        np.minimum.at(high, x.astype(int), -ranks)
        present = np.isfinite(low)
        np.testing.assert_array_equal(low[present], -high[present])


def test_the_dtype_of_the_result(rng):
    x = np.arange(4096).astype(np.float16)  # which has no odd ranks above 2048
    ranks = lapsum.soft_rank(x, 1e-3, dtype=np.float64)
    np.testing.assert_array_equal(ranks, rankdata(x))
    lin = lapsum.linearize(lapsum.soft_rank, x, 0.3, dtype="f4")
    assert lin.value.dtype == np.float32
    assert [bar.dtype for bar in lin.vjp(np.ones(4096))] == [np.float16, np.float64]
    out = np.empty(4096)
    assert lapsum.soft_rank(x, 0.3, dtype=float, out=out) is out
    for bad in (int, "f2,f2", complex, np.longdouble):
        with pytest.raises(TypeError, match="^`dtype` must be float16, float32 or float64, got"):
            lapsum.soft_rank(x, 0.3, dtype=bad)


@pytest.mark.parametrize(
    "x",
    [
        np.array([2**60 + 3, 2**60 + 1, 2**60 + 2, 2**60 + 1]),
        np.array([[2**64 - 1, 2**64 - 2, 2**64 - 3], [5, 4, 3]], np.uint64),
        np.array([-(2**63), -(2**63) + 1, -(2**63) + 2]),
        [2**55 + 1, 2**55, 2**55 + 2],
    ],
)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_integers_are_ranked_by_their_differences(backend, x):
    x = np.asarray(x)
    ranks = backend.call(lapsum.soft_rank, x=x, alpha=1e-3)
    np.testing.assert_array_equal(ranks, rankdata(x, axis=-1))


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("offset", [0, 2**53 - 3, -(2**53) - 3, 2**60, -(2**60)])
def test_integers_one_apart_have_one_rank_each_whatever_their_size(backend, dtype, offset, rng):
    if dtype is np.uint64 and offset < 0:
        offset += 2**64
    steps = np.array([0, 1, 2, 3, 4, 5, 5, 40])[rng.permutation(8)]
    x = np.array([offset + int(step) for step in steps], dtype)
    alpha = np.array([0.3, 40.0])
    lin = backend.linearize(lapsum.soft_rank, x=np.stack([x, x[::-1]]), alpha=alpha)
    for i, order in enumerate((slice(None), slice(None, None, -1))):
        expected = backend.linearize(lapsum.soft_rank, x=steps[order] * 1.0, alpha=alpha[i])
        np.testing.assert_allclose(lin.value[i], expected.value, rtol=4e-15)
        np.testing.assert_array_equal(*lin.value[i][steps[order] == 5])
        bar = rng.normal(size=8)
        x_bar = lin.vjp(np.where(np.arange(2)[:, None] == i, bar, 0.0))[0]
        np.testing.assert_allclose(x_bar[i], expected.vjp(bar)[0], atol=1e-14)


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_large_integers_along_several_axes_and_any(backend, rng):
    steps = rng.permutation(24).reshape(2, 3, 4)
    x, alpha = 2**60 + steps, 1e-3
    raveled = backend.call(lapsum.soft_rank, x=x, alpha=alpha, axis=None)
    np.testing.assert_array_equal(raveled, 1.0 + steps.ravel())
    along = backend.call(lapsum.soft_rank, x=x, alpha=np.full((2, 1), alpha), axis=1)
    np.testing.assert_array_equal(along, rankdata(steps, axis=1))


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_absent_ranks_do_not_overflow(backend, dtype):
    x, weights = np.array([0.0, 1.0, 2.0], dtype), np.array([1e39, 1.0, 0.0])
    ranks = backend.call(lapsum.soft_rank, x=x, alpha=0.1, weights=weights)
    assert np.isinf(ranks[1])
    assert ranks[2] == 0.0


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_large_integers_after_a_wide_gap_keep_their_order(backend):
    x = np.r_[-(2**63) + np.arange(500), 2**62 + np.arange(500)]
    ranks = backend.call(lapsum.soft_rank, x=x, alpha=1e14)
    alone = lapsum.soft_rank(np.arange(500.0), 1e14)
    np.testing.assert_allclose(ranks[500:], 500 + alone, rtol=8 * 2**-52)


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("density", ["laplace", "logistic"])
def test_a_heavy_weight_is_felt_across_a_wide_gap_as_far_as_it_reaches(backend, density):
    """With distances exact in floats, which the ranks are compared with."""
    x, alpha = np.array([0, 2**62, 2**62 + 2**54]), 2.0 ** np.array([54, 55, 57])
    weights = np.array([1e60, 1.0, 1.0])
    ranks = [
        backend.call(
            lapsum.soft_rank,
            x=np.tile(entries, (3, 1)),
            alpha=alpha,
            weights=weights,
            density=density,
            descending=True,
        )
        for entries in (x, x.astype(float))
    ]
    np.testing.assert_allclose(*ranks, rtol=1e-13)


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("density", ["cauchy", lapsum.StudentT(0.5)])
def test_large_integers_feel_heavy_tails(backend, density):
    x = np.array([[0, 2**62, 2**62 + 1], [2**40, 2**60, -(2**63)]])
    expected = lapsum.soft_rank(x.astype(float), 1e15, density=density)
    ranks = backend.call(lapsum.soft_rank, x=x, alpha=1e15, density=density)
    np.testing.assert_allclose(ranks, expected, rtol=1e-15)
    near = backend.call(lapsum.soft_rank, x=2**62 + np.arange(3), alpha=0.5, density=density)
    alone = lapsum.soft_rank(np.arange(3.0), 0.5, density=density)
    np.testing.assert_allclose(near, alone, rtol=4e-15)


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize(("offset", "alpha"), [(0, [2.0**45] * 2), (2**61, [2.0**45, 2.0**60])])
def test_lanes_of_large_integers_change_no_other_lane(backend, offset, alpha):
    x = np.array([[offset, offset + 2**52], [2**62, 2**62 + 1]])
    both = backend.linearize(lapsum.soft_rank, x=x, alpha=alpha)
    bar = np.array([[1.0, 0.0], [0.5, -2.0]])
    for i in range(2):
        one = backend.linearize(lapsum.soft_rank, x=x[i], alpha=alpha[i])
        np.testing.assert_array_equal(both.vjp(bar)[0][i], one.vjp(bar[i])[0])


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("n", [40, 700])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_absent_ranks_that_overflow_are_zero_and_have_no_derivatives(rng, backend, n, dtype):
    x, weights = np.arange(n).astype(dtype), np.full(n, 0.8 * float(np.finfo(dtype).max) / n)
    x[-1], weights[[2, n - 1]] = 30.0 * n, 0.0
    weights[:8] *= [1, 1, 0, 1, 1, 1, 1, 0.5 * n]
    plain = backend.call(lapsum.soft_rank, x, 0.1, weights=weights)
    lin = backend.linearize(lapsum.soft_rank, x, 0.1, weights=weights)
    assert plain[-1] == 0.0
    np.testing.assert_array_equal(lin.value, plain)
    bar = np.zeros(n)
    bar[-1] = np.nan
    for cotangent in lin.vjp(bar):
        np.testing.assert_array_equal(cotangent, 0.0)
    assert lin.jvp(None, None, rng.normal(size=n))[-1] == 0.0
