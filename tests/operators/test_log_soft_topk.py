import numpy as np
import pytest
from contract import Contract, some_k, topk_thresholds

import lapsum


def bound(exact, **arguments):
    """As for the probability: relative to log p where that is large, else times 1 + t."""
    return [
        16 * abs(y) * (1 + (t if y > -0.7 else 0))
        for y, t in zip(exact, topk_thresholds(**arguments), strict=True)
    ]


CONTRACT = Contract(
    lapsum.log_soft_topk,
    bound=bound,
    arguments=some_k,
    options=({}, {"largest": False}),
    scalars=("k", "alpha"),
    follows=True,
    unbounded=True,
)


def test_is_finite_where_the_probability_underflows():
    y = lapsum.log_soft_topk([0.0, 1e6, 2e6], 2, 1.0)
    np.testing.assert_allclose(y[0], -5e5 - np.log(2), rtol=1e-6)
    assert (y[1:] <= 0).all()


def test_the_end_k_0():
    x = np.array([0.0, 1.0, 3.0])
    lin = lapsum.linearize(lapsum.log_soft_topk, x, 0, 0.5, weights=np.ones(3))
    np.testing.assert_array_equal(lin.value, np.full(3, -np.inf))
    q = np.exp((x - 3) / 0.5)
    q /= q.sum()
    np.testing.assert_allclose(
        lin.jvp([1, 0, 0], None, None, None), np.array([1, 0, 0]) / 0.5 - q[0] / 0.5
    )
    np.testing.assert_array_equal(lin.jvp(None, 1.0, None, None), np.full(3, np.inf))
    np.testing.assert_array_equal(lin.jvp(None, 0.0, None, None), np.zeros(3))
    np.testing.assert_allclose(lin.jvp(None, None, None, [0, 0, 1]), np.full(3, -q[2]))
    assert lin.vjp([0.0, 0.0, 0.0])[1] == 0
    assert np.isfinite(lin.vjp([1.0, 2.0, 3.0])[0]).all()


def test_an_entry_of_minus_infinity_has_no_derivatives():
    lin = lapsum.linearize(lapsum.log_soft_topk, [1.0, 2.0, -np.inf], 1, 0.7)
    np.testing.assert_array_equal([bar.sum() for bar in lin.vjp([0.0, 0.0, 1.0])], [0, 0, 0])
    for tangents in (([1.0, 0, 0], None, None), (None, 1.0, None), (None, None, 1.0)):
        assert lin.jvp(*tangents)[2] == 0


def test_k_on_a_plateau_with_cotangents_of_both_signs():
    lin = lapsum.linearize(lapsum.log_soft_topk, [0.0, 1.0, 2.0, 3.0], 2, 1e-4)
    assert lin.vjp([1.0, -0.3, 0.0, 0.0])[1] == np.inf
    np.testing.assert_allclose(lin.vjp([1.0, -1.0, 0.5, 0.25])[1], 0.25, rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e300, 1e307])
def test_alpha_where_differences_overflow(alpha):
    """Scaled down, all that there is to know is the same."""
    x, bar, scale = np.array([-1.7e308, 0.0, 1.7e308, 1e307]), [1.0, -2.0, 0.5, 0.25], 2.0**-900
    for k in (1, 1.5, 2, 3.2):
        lin = lapsum.linearize(lapsum.log_soft_topk, x, k, alpha)
        small = lapsum.linearize(lapsum.log_soft_topk, x * scale, k, alpha * scale)
        for bars, wrt in ((lin.vjp(bar), None), (lin.vjp(bar, wrt="x"), "x")):
            expected = small.vjp(bar) if wrt is None else small.vjp(bar, wrt=wrt)
            np.testing.assert_allclose(bars[0], expected[0] * scale, rtol=1e-12)
            if wrt is None:
                np.testing.assert_allclose(bars[1], expected[1], rtol=1e-12)
                np.testing.assert_allclose(bars[2], expected[2] * scale, rtol=1e-12)


def test_a_lane_whose_differences_overflow_leaves_the_others_alone(rng):
    x, bar = rng.normal(size=(2, 2, 4))
    alone = lapsum.linearize(lapsum.log_soft_topk, x[0], 1.5, 0.5).vjp(bar[0])
    x[1] = [-1.7e308, 0.0, 1.7e308, 1e307]
    alpha = np.array([0.5, 1e300])
    both = lapsum.linearize(lapsum.log_soft_topk, x, 1.5, alpha).vjp(bar)
    np.testing.assert_array_equal(both[0][0], alone[0])
    assert both[2][0] == alone[2]
    assert np.isfinite(both[2]).all()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing(shape):
    lin = lapsum.linearize(lapsum.log_soft_topk, np.empty(shape), 0, 1.0)
    x_bar, k_bar, alpha_bar = lin.vjp(np.empty(shape))
    assert x_bar.shape == shape
    assert (k_bar, alpha_bar) == (0, 0)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [2, 0, 4, 1, 3], [4, 3, 2, 1, 0]])
def test_entries_infinitely_far_beyond_the_level_fall_infinitely_fast_with_alpha(order):
    x = np.array([np.inf, np.inf, 0.0, 1.0, 3.0])[order]
    lin = lapsum.linearize(lapsum.log_soft_topk, x, 0.5, 0.3)
    expected = np.where(np.isinf(x), 0.0, np.inf)
    np.testing.assert_array_equal(lin.jvp(None, None, 1.0), expected)
    assert lin.vjp(expected == 0.0)[2] == 0.0
    assert lin.vjp(np.ones(5))[2] == np.inf


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("pad", [np.finfo(float).min, np.finfo(float).max, -1e308])
def test_the_weight_of_an_absent_entry_that_was_muted_moves_nothing(pad, largest):
    x, weights = [0.3, -1.0, 0.7, pad], np.array([1.0, 0.5, 0.7, 0.0])
    lin = lapsum.linearize(lapsum.log_soft_topk, x, 0.5, 0.25, weights=weights, largest=largest)
    if (pad < 0) == largest:  # its logarithm would be -inf
        assert lin.value[3] == 0.0
        assert lin.vjp(weights)[3][3] == 0.0
    unit = np.array([0.0, 0.0, 0.0, 1.0])
    apart = lin.jvp(None, None, 1.0, None) + lin.jvp(None, None, None, unit)
    np.testing.assert_allclose(lin.jvp(None, None, 1.0, unit), apart, rtol=1e-13)


@pytest.mark.parametrize("n", [4, 400])
def test_absent_logarithms_that_overflow_are_zero_in_out_too(n):
    x, weights = np.arange(n).astype("f4"), np.ones(n)
    x[1], weights[1] = np.finfo("f4").min, 0.0
    out = np.empty(n, "f4")
    lapsum.log_soft_topk(x, 1, 0.1, weights=weights, out=out)
    np.testing.assert_array_equal(out, lapsum.log_soft_topk(x, 1, 0.1, weights=weights))
    assert out[1] == 0.0
    lin = lapsum.linearize(lapsum.log_soft_topk, x, 1, 0.1, weights=weights)
    for cotangent in lin.vjp(np.where(np.arange(n) == 1, np.inf, 0.0)):
        np.testing.assert_array_equal(cotangent, 0.0)
    assert lin.jvp(None, 1.0, 1.0, None)[1] == 0.0
    dense = lin.jacobian("x").toarray()
    np.testing.assert_array_equal(dense[1], 0.0)
    np.testing.assert_array_equal(dense[0], lin.vjp(np.eye(n)[0])[0])
