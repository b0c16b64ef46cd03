import numpy as np
import pytest
from contract import Contract, threshold_bound

import lapsum

CONTRACT = Contract(
    lapsum.soft_quantile,
    bound=threshold_bound,
    arguments=lambda rng, x, alpha, weights=None: {"q": np.array([0.5, 0.11, 0.93])},
    core="first",
    several_axes=True,
    shifts=1,
    degree=1,
    unbounded=True,
)


def test_tends_to_the_averaged_inverted_cdf(rng):
    x, q = rng.normal(size=20), np.linspace(0.05, 0.95, 19)
    expected = np.quantile(x, q, method="averaged_inverted_cdf")
    np.testing.assert_allclose(lapsum.soft_quantile(x, q, 1e-12), expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_shapes(rng, shape):
    x, q = rng.normal(size=(4, 5, 6)), rng.uniform(0.1, 0.9, shape)
    assert np.shape(lapsum.soft_quantile(x, q, 0.1, axis=1)) == (*shape, 4, 6)
    kept = lapsum.soft_quantile(x, q, 0.1, axis=1, keepdims=True)
    assert np.shape(kept) == (*shape, 4, 1, 6)
    lin = lapsum.linearize(lapsum.soft_quantile, x, q, 0.1, axis=1, keepdims=True)
    np.testing.assert_array_equal(lin.value, kept)
    bars = lin.vjp(np.ones(kept.shape))
    assert [np.shape(bar) for bar in bars] == [x.shape, shape, ()]


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, np.nan, [0.5, 2.0]])
def test_q_outside_its_range(q):
    with pytest.raises(ValueError, match=r"^`q` must lie strictly between 0 and 1, got"):
        lapsum.soft_quantile([1.0, 2.0], q, 0.5)


def test_weights_in_proportion_do_not_matter(rng):
    x, c = rng.normal(size=8), rng.uniform(1, 2, 8)
    for alpha in (1e-3, 1.0, 1e12):
        lin = lapsum.linearize(lapsum.soft_quantile, x, 0.3, alpha, weights=c)
        weights_bar = lin.vjp(1.0, wrt=("weights",))[3]
        assert abs((c * weights_bar).sum()) <= 1e-14 * np.abs(c * weights_bar).sum()


def test_no_weight_is_nan():
    lin = lapsum.linearize(lapsum.soft_quantile, [1.0, 2.0], 0.5, 0.1, weights=[0.0, 0.0])
    assert np.isnan(lin.value)
    np.testing.assert_array_equal(lin.vjp(1.0)[0], [0, 0])
    assert np.isnan(lapsum.soft_quantile([], 0.5, 0.1))


def test_weights_on_a_plateau_pull_from_both_sides():
    x = np.array([3.0, 1.0, 4.0, 1.5])
    lin = lapsum.linearize(lapsum.soft_quantile, x, 0.5, 1e-3, weights=np.ones(4))
    np.testing.assert_array_equal(lin.vjp(1.0)[-1], [np.inf, -np.inf, np.inf, -np.inf])


@pytest.mark.parametrize("heavy", [1e4, 1e8, 1e12])
def test_a_heavy_weight_costs_the_tangent_nothing(heavy):
    lin = lapsum.linearize(lapsum.soft_quantile, [0.0, 1.0], 0.5, 1.0, weights=[heavy, 1.0])
    forward = lin.jvp(None, None, None, [1.0, 0.0])
    np.testing.assert_allclose(forward, lin.vjp(1.0)[-1][0], rtol=1e-12)


def test_no_levels_have_derivatives():
    x = np.arange(6.0).reshape(2, 3)
    lin = lapsum.linearize(lapsum.soft_quantile, x, [], 0.5, weights=np.ones((2, 3)))
    for bar, argument in zip(lin.vjp(np.ones((0, 2))), (x, [], 0.5, x), strict=True):
        np.testing.assert_array_equal(bar, np.zeros(np.shape(argument)))


@pytest.mark.parametrize("n", [1, 5, 8, 31, 1000, 40_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("workers", [None, 2])
def test_derivatives_are_those_of_the_softmax_weights(n, dtype, weighted, workers, rng):
    x, q, alpha = rng.normal(size=n).astype(dtype), np.array([0.1, 0.45, 0.8]), 0.3
    c = rng.integers(0, 4, n) + (np.arange(n) == 0.0) if weighted else np.ones(n)
    lin = lapsum.linearize(
        lapsum.soft_quantile, x, q, alpha, weights=c if weighted else None, workers=workers
    )
    # The value is rounded to dtype: take it from doubles.
    b = lapsum.soft_quantile(x.astype(float), q, alpha, weights=c)[:, None]
    t = (b - x.astype(float)) / alpha
    kernel = c * np.exp(-np.abs(t) + np.abs(t).min(axis=-1, keepdims=True))
    share = kernel / kernel.sum(axis=-1, keepdims=True)
    rate = c.sum() * alpha / (0.5 * c * np.exp(-np.abs(t))).sum(axis=-1)
    slope = (share * t).sum(axis=-1)
    bar, dot = rng.normal(size=3).astype(dtype), rng.normal(size=n).astype(dtype)
    close = {"rtol": 5e-7 if dtype == np.float32 else 1e-11, "atol": 1e-12}
    x_bar, q_bar, alpha_bar, *_ = lin.vjp(bar)
    np.testing.assert_allclose(x_bar, bar @ share, **close)
    np.testing.assert_allclose(q_bar, bar * rate, **close)
    np.testing.assert_allclose(alpha_bar, bar @ slope, rtol=1e-11, atol=1e-11)
    rest = (None, 2.0, None)[: len(lin.parameters) - 1]
    np.testing.assert_allclose(lin.jvp(dot, *rest), share @ dot + 2.0 * slope, **close)


def test_derivatives_of_plain_lanes_do_not_depend_on_others(rng):
    x = rng.normal(size=(4, 50))
    x[1, 3], x[2, 5] = np.inf, np.nan
    q, bar = [0.2, 0.5], rng.normal(size=(2, 4))
    whole = lapsum.linearize(lapsum.soft_quantile, x, q, 0.3)
    x_bar, _, _ = whole.vjp(bar)
    tangent = whole.jvp(x, None, 1.0)
    for lane in (0, 1, 3):
        alone = lapsum.linearize(lapsum.soft_quantile, x[lane], q, 0.3)
        np.testing.assert_array_equal(x_bar[lane], alone.vjp(bar[:, lane])[0])
        np.testing.assert_array_equal(tangent[:, lane], alone.jvp(x[lane], None, 1.0))
    assert np.isnan(x_bar[2]).all()
    assert np.isnan(tangent[:, 2]).all()


def test_one_level_for_each_lane(rng):
    x, q = rng.normal(size=(3, 4, 5)), rng.uniform(0.1, 0.9, (3, 5))
    c = rng.uniform(0.5, 1.0, x.shape)
    lin = lapsum.linearize(
        lapsum.soft_quantile, x, q, 0.1, weights=c, axis=1, per_lane=True, keepdims=True
    )
    assert lin.value.shape == (3, 1, 5)
    bar, tangents = rng.normal(size=(3, 1, 5)), [rng.normal(size=a.shape) for a in (x, q)]
    x_bar, q_bar, _, c_bar = lin.vjp(bar)
    out = lin.jvp(*tangents, None, c)
    for i, j in np.ndindex(3, 5):
        one = lapsum.linearize(lapsum.soft_quantile, x[i, :, j], q[i, j], 0.1, weights=c[i, :, j])
        assert lin.value[i, 0, j] == one.value
        bars = one.vjp(bar[i, 0, j])
        np.testing.assert_array_equal(x_bar[i, :, j], bars[0])
        np.testing.assert_array_equal(q_bar[i, j], bars[1])
        np.testing.assert_array_equal(c_bar[i, :, j], bars[3])
        dots = tangents[0][i, :, j], tangents[1][i, j]
        assert out[i, 0, j] == one.jvp(*dots, None, c[i, :, j])
    many = lapsum.soft_quantile(x, q[:, 0], 0.1, axis=1)
    assert many.shape == (3, 3, 5)  # every level for every lane
    with pytest.raises(ValueError, match="^`q` of shape"):
        lapsum.soft_quantile(x, [0.1, 0.2], 0.1, axis=1, per_lane=True)


def test_the_ends_are_named():
    with pytest.raises(ValueError, match=r"soft_sort\(x, alpha\)\[0\] is the soft minimum"):
        lapsum.soft_quantile([1.0, 2.0], 0.0, 0.5)
    with pytest.raises(ValueError, match=r"soft_sort\(x, alpha\)\[-1\] is the soft maximum"):
        lapsum.soft_quantile([1.0, 2.0], 1, 0.5)
