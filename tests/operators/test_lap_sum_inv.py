import numpy as np
import pytest
from contract import Contract, threshold_bound, total_of

import lapsum


def levels(rng, r, alpha, weights=None):
    return {"w": rng.uniform(0.05, 0.95, 3) * total_of(len(r), weights)}


CONTRACT = Contract(
    lapsum.lap_sum_inv,
    bound=threshold_bound,
    arguments=levels,
    data="r",
    lanes=("w", "r", "weights"),
    shifts=1,
    degree=1,
    moves=("r",),
    unbounded=True,
)


def test_inverts_the_lap_sum(rng):
    r, c = rng.normal(size=30), rng.uniform(0, 1, 30)
    w = np.linspace(1e-6, 1 - 1e-6, 40) * c.sum()
    b = lapsum.lap_sum_inv(w, r, 0.2, weights=c)
    np.testing.assert_allclose(lapsum.lap_sum(b, r, 0.2, weights=c), w, rtol=1e-12)


def test_outside_as_a_ppf():
    b = lapsum.lap_sum_inv([-1.0, 0.0, 2.0, 2.5, np.nan], [np.inf, 3.0], 0.1)
    np.testing.assert_array_equal(b, [np.nan, -np.inf, np.inf, np.nan, np.nan])
    assert np.isnan(lapsum.lap_sum_inv(0.0, [], 0.1))


def test_a_level_between_opposite_infinities_is_nan():
    r = [-np.inf, -np.inf, np.inf]
    b = lapsum.lap_sum_inv([1.0, 2.0, 2.5], r, 0.1)
    np.testing.assert_array_equal(b, [-np.inf, np.nan, np.inf])


@pytest.mark.parametrize("weights", [None, [1.0, 1.0]])
@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_the_ends_of_sources_that_are_all_infinite(infinite, weights):
    b = lapsum.lap_sum_inv([0.0, 0.5, 1.0, 2.0], [infinite] * 2, 0.1, weights=weights)
    np.testing.assert_array_equal(b, [-np.inf, infinite, infinite, np.inf])


def test_levels_outside_do_not_spoil_the_cotangents(rng):
    r = rng.normal(size=6)
    lin = lapsum.linearize(lapsum.lap_sum_inv, [2.0, 9.0, np.nan], r, 0.4)
    w_bar, r_bar, alpha_bar = lin.vjp(np.ones(3))
    assert np.isnan(w_bar).tolist() == [False, True, True]
    expected = lapsum.linearize(lapsum.lap_sum_inv, [2.0], r, 0.4).vjp(np.ones(1))
    np.testing.assert_array_equal(r_bar, expected[1])
    assert alpha_bar == expected[2]


def test_weights_on_a_plateau_where_everything_underflows():
    for gap in (10.0, 1000.0, 1500.0, 1e4, 1e12):
        lin = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, gap], 1.0, weights=np.ones(2))
        np.testing.assert_allclose(lin.jvp(None, None, None, [0.0, 1.0]), -0.5, rtol=1e-3)
        bar = lin.vjp(1.0)[-1]
        np.testing.assert_allclose(bar[1], -0.5, rtol=1e-3)
        assert bar[0] < -50
        np.testing.assert_array_equal(lin.vjp(0.0)[-1], [0, 0])


def test_weights_beside_absent_entries_on_a_plateau():
    arguments = {"w": [1.0], "r": [0.0, 5e3, 1e4], "alpha": 1.0, "weights": [1.0, 0.0, 1.0]}
    lin = lapsum.linearize(lapsum.lap_sum_inv, **arguments)
    for tangent in np.eye(3):
        assert not np.isnan(lin.jvp(None, None, None, tangent)).any()
    assert not np.isnan(lin.vjp([1.0])[-1]).any()


@pytest.mark.parametrize("gap", [1430.0, 1450.0, 1480.0, 1487.0, 1489.0, 1500.0])
def test_the_middle_of_a_gap_where_the_density_underflows(gap):
    """On the way there it is subnormal, and a quotient of such numbers has no digits."""
    plain = lapsum.linearize(lapsum.soft_quantile, [0.0, gap], 0.5, 1.0)
    np.testing.assert_array_equal(plain.vjp(1.0)[0], [0.5, 0.5])
    uneven = lapsum.linearize(lapsum.soft_quantile, [0.0, 0.0, 0.0, gap], 0.75, 1.0)
    np.testing.assert_allclose(uneven.vjp(1.0)[0], [1 / 6, 1 / 6, 1 / 6, 1 / 2], rtol=1e-15)
    clusters = np.concatenate([np.arange(50.0), gap + np.arange(49.0, 99.0)])
    median = lapsum.linearize(lapsum.soft_quantile, clusters, 0.5, 1.0)
    np.testing.assert_allclose(median.vjp(1.0)[0].sum(), 1.0, rtol=1e-14)
    chosen = lapsum.linearize(lapsum.soft_topk, [0.0, gap], 1, 1.0)
    np.testing.assert_array_equal(chosen.jvp(None, 1.0, None), [0.5, 0.5])
    log = lapsum.linearize(lapsum.log_soft_topk, [gap, 0.0], 1, 1.0)
    np.testing.assert_array_equal(log.vjp([0.0, 1.0])[0], [-0.5, 0.5])
    np.testing.assert_allclose(log.jvp(None, None, 1.0)[1], gap / 2, rtol=1e-15)
    weighted = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, gap], 1.0, weights=[1, 1])
    assert weighted.vjp(1.0)[3][1] == -0.5


@pytest.mark.parametrize(("alpha", "gap"), [(1e-12, 1440.0), (1e-100, 1600.0), (1e-300, 2700.0)])
def test_a_rate_that_overflows_only_over_alpha(alpha, gap):
    rate = (np.exp(gap / 4) * alpha) * np.exp(gap / 4)
    inverse = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, gap * alpha], alpha)
    np.testing.assert_allclose(inverse.vjp(1.0)[0], rate, rtol=1e-12)
    median = lapsum.linearize(lapsum.soft_quantile, [0.0, gap * alpha], 0.5, alpha)
    np.testing.assert_allclose(median.vjp(1.0)[1], 2 * rate, rtol=1e-12)
    x, ones = [0.0, gap * alpha], np.ones(2)
    inverse = lapsum.linearize(lapsum.lap_sum_inv, 1.0, x, alpha, weights=ones)
    np.testing.assert_allclose(inverse.vjp(1.0)[3], [-rate, -alpha / 2], rtol=1e-12)
    np.testing.assert_allclose(inverse.jvp(None, None, None, [1.0, 0.0]), -rate, rtol=1e-12)
    np.testing.assert_allclose(inverse.jvp(None, None, None, [0.0, 1.0]), -alpha / 2, rtol=1e-12)
    median = lapsum.linearize(lapsum.soft_quantile, x, 0.5, alpha, weights=ones)
    np.testing.assert_allclose(median.vjp(1.0)[3], [-rate / 2, rate / 2], rtol=1e-12)
    np.testing.assert_allclose(median.jvp(None, None, None, [0.0, 1.0]), rate / 2, rtol=1e-12)


@pytest.mark.parametrize("absent", [-50.0, 0.5, 50.0])
def test_an_absent_entry_leaves_the_weights_derivatives_on_a_plateau_alone(absent):
    lin = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, 2.0], 1e-3, weights=[1, 1])
    more = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, 2.0, absent], 1e-3, weights=[1, 1, 0])
    np.testing.assert_array_equal(more.vjp(1.0)[3][:2], lin.vjp(1.0)[3])
    for tangent in ([0.0, 1.0], [1.0, 0.0]):
        expected = lin.jvp(None, None, None, tangent)
        assert more.jvp(None, None, None, [*tangent, 0.0]) == expected


def test_a_threshold_in_a_wide_gap_leaves_the_weights_of_another_alone():
    x, weights = [0.0, 1.0, 2.0, 3.0], np.ones(4)
    alone = lapsum.linearize(lapsum.soft_quantile, x, [0.3], 1e-4, weights=weights)
    both = lapsum.linearize(lapsum.soft_quantile, x, [0.3, 0.5], 1e-4, weights=weights)
    expected = alone.vjp([1.0])[3]
    assert abs(expected).min() > 1e-6
    np.testing.assert_allclose(both.vjp([1.0, 0.0])[3], expected, rtol=1e-12)
    r, c = [*x, 0.5], [1, 1, 1, 1, 0.0]
    alone = lapsum.linearize(lapsum.lap_sum_inv, [1.2], r, 1e-4, weights=c)
    both = lapsum.linearize(lapsum.lap_sum_inv, [1.2, 2.0], r, 1e-4, weights=c)
    np.testing.assert_allclose(both.vjp([1.0, 0.0])[3], alone.vjp([1.0])[3], rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e-3, 1e100, 1e271])
def test_tiny_weights_at_a_huge_scale(alpha, rng):
    """On the way to cotangents that are floats, 1/density and alpha together may not be."""
    x, bar = 1e8 + rng.normal(size=15), [1.0, -0.7, 0.3]
    weights, tangent = 1e-200 * rng.uniform(size=15), 1e-200 * rng.normal(size=15)
    lin = lapsum.linearize(lapsum.soft_quantile, x, [0.03, 0.8, 0.6], alpha, weights=weights)
    weights_bar = lin.vjp(bar)[3]
    assert np.isfinite(weights_bar).all()
    # The same for all in proportion changes nothing.
    products = weights_bar * weights
    np.testing.assert_allclose(products.sum(), 0.0, atol=1e-6 * abs(products).max())
    # Opposite rates do not meet as infinities.
    inverse = lapsum.linearize(lapsum.lap_sum_inv, weights.sum() / 3, x, alpha, weights=weights)
    assert not np.isnan(inverse.vjp(-1.0)[3]).any()
    assert not np.isnan(inverse.jvp(None, None, None, tangent))


@pytest.mark.parametrize("density", ["laplace", "logistic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_weights_are_the_total_whatever_their_roundings(density, dtype, rng):
    for n in (3, 100, 3000):
        c = rng.random(n).astype(dtype)
        r = rng.normal(size=n)
        levels = np.array([np.cumsum(c)[-1], sum(c), c.sum(), 1.01 * c.sum()])
        b = lapsum.cdf_sum_inv(levels, r, 0.1, weights=c, density=density)
        assert np.isposinf(b[levels >= c.sum(dtype=float)][:-1]).all()
        assert np.isnan(b[-1])
        assert not np.isnan(b[:-1]).any()
