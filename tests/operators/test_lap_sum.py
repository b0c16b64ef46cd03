import numpy as np
import pytest
from contract import Contract
from mpmath import mpf

import lapsum


def bound(exact, x, r, alpha, weights=None):
    lowest = min(v for i, v in enumerate(r) if weights is None or weights[i] > 0)
    below = [max(0, (mpf(float(lowest)) - mpf(float(t))) / mpf(float(alpha))) for t in x]
    return [8 * y * (1 + t) for y, t in zip(exact, below, strict=True)]


CONTRACT = Contract(
    lapsum.lap_sum,
    bound=bound,
    arguments=lambda rng, r, alpha, weights=None: {"x": np.append(rng.choice(r, 2), rng.normal())},
    data="r",
    lanes=("x", "r", "weights"),
    moves=("x", "r"),
)


def test_counts_half_of_the_ties():
    np.testing.assert_array_equal(
        lapsum.lap_sum([0.0, 1.0, 2.0], [1.0, 1.0, 2.0], 1e-3), [0.0, 1.0, 2.5]
    )


def test_shapes(rng):
    r = rng.normal(size=(4, 5, 6))
    assert lapsum.lap_sum(0.0, r, 0.1, axis=1).shape == (4, 6)
    assert lapsum.lap_sum(np.zeros(3), r, 0.1, axis=1).shape == (4, 3, 6)
    assert lapsum.lap_sum(np.zeros((2, 6)), r, 0.1, axis=1).shape == (4, 2, 6)
    assert lapsum.lap_sum(np.zeros((7, 1, 2, 6)), r, 0.1, axis=1).shape == (7, 4, 2, 6)
    assert lapsum.lap_sum(np.zeros((3, 9)), r[0, :, 0], 0.1).shape == (3, 9)
    assert lapsum.lap_sum([1.0], np.empty((2, 0)), 0.1).tolist() == [[0.0], [0.0]]
    with pytest.raises(ValueError, match="^`x` and `r` do not fit"):
        lapsum.lap_sum(np.zeros((3, 2)), r, 0.1)


def test_batched_cotangents_add_up(rng):
    r, x = rng.normal(size=(3, 1, 5)), rng.normal(size=(2, 4))
    lin = lapsum.linearize(lapsum.lap_sum, x, r, 0.4)
    g = rng.normal(size=lin.value.shape)
    x_bar, r_bar, alpha_bar = lin.vjp(g)
    assert x_bar.shape == x.shape
    assert r_bar.shape == r.shape
    total = 0
    for i in range(3):
        for j in range(2):
            one = lapsum.linearize(lapsum.lap_sum, x[j], r[i, 0], 0.4).vjp(g[i, j])
            x_bar[j] -= one[0]
            r_bar[i, 0] -= one[1]
            total += one[2]
    np.testing.assert_allclose(x_bar, 0, atol=1e-15)
    np.testing.assert_allclose(r_bar, 0, atol=1e-15)
    assert alpha_bar == pytest.approx(total)


def test_a_nan_target_spoils_only_itself(rng):
    x, r = rng.normal(size=(2, 6))
    x[2] = np.nan
    lin = lapsum.linearize(lapsum.lap_sum, x, r, 0.4, weights=np.ones(6))
    assert np.isnan(lin.value).tolist() == [False, False, True, False, False, False]
    x_bar, r_bar, alpha_bar, weights_bar = lin.vjp(np.ones(6))
    assert np.isnan(x_bar).sum() == 1
    clean = lapsum.linearize(lapsum.lap_sum, np.delete(x, 2), r, 0.4, weights=np.ones(6))
    for bar, expected in zip(
        (r_bar, alpha_bar, weights_bar), clean.vjp(np.ones(5))[1:], strict=True
    ):
        np.testing.assert_array_equal(bar, expected)


@pytest.mark.parametrize("heavy", [1e4, 1e8, 1e12])
def test_a_heavy_source_costs_the_others_nothing(heavy):
    lin = lapsum.linearize(lapsum.lap_sum, [0.0], [0.1, 0.25], 1.0, weights=[1.0, heavy])
    forward = lin.jvp(None, [1.0, 0.0], None, None)
    np.testing.assert_allclose(forward, -np.exp(-0.1) / 2, rtol=1e-14)
    np.testing.assert_allclose(lin.vjp([1.0])[1][0], -np.exp(-0.1) / 2, rtol=1e-14)


def test_the_order_of_many_targets_changes_no_bit(rng):
    r, x, w = rng.normal(size=(3, 40_000))
    x[:3], w = (np.nan, np.inf, -np.inf), np.abs(w)
    levels = rng.uniform(0.0, w.sum(), r.size)
    for weights in (None, w):
        for func, given in ((lapsum.lap_sum, x), (lapsum.lap_sum_inv, levels)):
            ascending = np.argsort(given)
            expected = func(given[ascending], r, 0.1, weights=weights)
            np.testing.assert_array_equal(func(given, r, 0.1, weights=weights)[ascending], expected)
