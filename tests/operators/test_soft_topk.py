import numpy as np
import pytest
from backends import EVERYWHERE
from contract import Contract, some_k, topk_thresholds
from oracle_jacobian import jacobian

import lapsum


def bound(exact, **arguments):
    return [16 * p * (1 + t) for p, t in zip(exact, topk_thresholds(**arguments), strict=True)]


CONTRACT = Contract(
    lapsum.soft_topk,
    bound=bound,
    arguments=some_k,
    options=({}, {"largest": False}),
    scalars=("k", "alpha"),
    follows=True,
)


@pytest.mark.parametrize("largest", [True, False])
def test_tends_to_the_indicator(rng, largest):
    x = rng.permutation(20).astype(float)
    expected = (x >= 15) if largest else (x < 5)
    np.testing.assert_array_equal(lapsum.soft_topk(x, 5, 1e-4, largest=largest), expected)


def test_probabilities_add_up_to_k(rng):
    x, c = rng.normal(size=(2, 1000))
    c = np.abs(c)
    for k in (1e-3, 1.0, 333.3, c.sum() * (1 - 1e-9)):
        p = lapsum.soft_topk(x, k, 0.3, weights=c)
        assert abs((c * p).sum() - k) < 1e-12 * k


def test_the_ends_of_k(rng):
    x, c = rng.normal(size=5), np.array([1.0, 0.5, 0.0, 2.0, 0.1])
    total = c.sum()
    np.testing.assert_array_equal(lapsum.soft_topk(x, 0, 0.3, weights=c), np.zeros(5))
    np.testing.assert_array_equal(lapsum.soft_topk(x, total, 0.3, weights=c), np.ones(5))
    tenths = np.full(10, 0.1)
    np.testing.assert_array_equal(
        lapsum.soft_topk(np.arange(10.0), tenths.sum(), 0.3, weights=tenths), np.ones(10)
    )
    lin = lapsum.linearize(lapsum.soft_topk, x, 0, 0.3)
    x_bar, k_bar, alpha_bar = lin.vjp(np.ones(5))
    np.testing.assert_array_equal(x_bar, np.zeros(5))
    assert alpha_bar == 0
    softmax = np.exp((x - x.max()) / 0.3)
    np.testing.assert_allclose(lin.jvp(None, 1.0, None), softmax / softmax.sum(), rtol=1e-14)
    assert k_bar == pytest.approx(1.0)


def test_minus_infinity_is_not_chosen_before_it_must_be():
    x = [-np.inf, 1.0, -np.inf, 2.0]
    p = lapsum.soft_topk(x, 2, 0.5)
    np.testing.assert_array_equal(p[[0, 2]], [0, 0])
    np.testing.assert_allclose(p[[1, 3]], [1, 1])
    np.testing.assert_allclose(lapsum.soft_topk(x, 3, 0.5), [0.5, 1, 0.5, 1])


def test_vjp_entries_add_up_to_zero(rng):
    lin = lapsum.linearize(lapsum.soft_topk, rng.normal(size=200), 20.5, 0.1)
    x_bar = lin.vjp(rng.normal(size=200), wrt=("x",))[0]
    assert abs(x_bar.sum()) < 1e-15 * np.abs(x_bar).sum()


def test_a_lane_without_weight_chooses_nothing():
    x = [[1.0, np.nan], [1.0, 2.0]]
    c = [[0.0, 0.0], [1.0, 1.0]]
    np.testing.assert_array_equal(lapsum.soft_topk(x, [0, 1], 0.5, weights=c)[0], [0, 0])
    with pytest.raises(ValueError, match=r"^`k` must lie between 0 and the total weight 0\.0"):
        lapsum.soft_topk(x, 1, 0.5, weights=c)


@pytest.mark.parametrize("k", [-1, 2.0000001, np.nan, np.inf])
def test_k_outside_its_range(k):
    with pytest.raises(
        ValueError, match="^`k` must lie between 0 and 2, the number of entr.*, got"
    ):
        lapsum.soft_topk([1.0, 2.0], k, 0.5)


@pytest.mark.parametrize("scale", [1e-312, 1e-300, 1e300, 1e307])
@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk, lapsum.soft_quantile])
def test_only_the_proportions_of_the_weights_matter(func, scale):
    x, c = np.array([1.0, 2.0, 0.0, 5.0]), np.array([1.0, 2.0, 1.0, 1.5])
    level = 0.3 if func is lapsum.soft_quantile else 1.5
    plain = lapsum.linearize(func, x, level, 0.7, weights=c)
    level = level if func is lapsum.soft_quantile else level * scale
    scaled = lapsum.linearize(func, x, level, 0.7, weights=c * scale)
    np.testing.assert_allclose(scaled.value, plain.value, rtol=1e-10)
    bar = np.ones_like(plain.value)
    for name in ("x", "alpha"):
        at = plain.parameters.index(name)
        expected = plain.vjp(bar, wrt=(name,))[at]
        np.testing.assert_allclose(scaled.vjp(bar, wrt=(name,))[at], expected, rtol=1e-9)


@pytest.mark.parametrize("heavy", [1e4, 1e8, 1e12])
def test_a_heavy_entry_away_from_the_threshold_costs_no_digit(heavy):
    arguments = {"x": np.array([0.0, 1.0]), "k": 1.0, "alpha": 10.0, "weights": [1.0, heavy]}
    lin = lapsum.linearize(lapsum.soft_topk, **arguments, largest=False)
    exact = jacobian("soft_topk", **arguments, largest=False)
    x_bar, _, alpha_bar, _ = lin.vjp([0.0, 1.0])
    np.testing.assert_allclose(x_bar, [float(v) for v in exact["x"][1]], rtol=1e-12)
    np.testing.assert_allclose(alpha_bar, float(exact["alpha"][1][0]), rtol=1e-12)


@pytest.mark.parametrize("largest", [False, True])
def test_a_level_in_the_middle_of_a_long_tie(largest):
    """There S is the level to the last digit: the entry cannot be both ends of a bracket."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(65, 400))
        x, weights = rng.integers(0, 3, n) * (seed % 2), rng.uniform(size=n)
        k = weights[x < 1].sum() + weights[x == 1].sum() / 2 if seed % 2 else weights.sum() / 2
        p = lapsum.soft_topk(x, k, 10.0 ** rng.integers(-3, 4), weights=weights, largest=largest)
        assert abs((weights * p).sum() - k) <= 1e-13 * weights.sum()


@pytest.mark.parametrize("k", [0.0, 5.0])
def test_derivatives_of_several_lanes_that_choose_nothing_or_all(k, rng):
    x = rng.normal(size=(3, 5))
    for func in (lapsum.soft_topk, lapsum.log_soft_topk):
        x_bar = lapsum.linearize(func, x, k, 1.0).vjp(np.ones((3, 5)))[0]
        for lane, bar in zip(x, x_bar, strict=True):
            alone = lapsum.linearize(func, lane, k, 1.0).vjp(np.ones(5))[0]
            np.testing.assert_array_equal(bar, alone)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8"])
@pytest.mark.parametrize("shape", [(3, 50), (40, 1100), (150_001,)], ids=str)
def test_a_linearization_keeps_the_entries_it_was_made_at(rng, shape, dtype):
    x = (4 * rng.normal(size=shape)).astype(dtype)
    before, bar = x.copy(), rng.normal(size=shape)
    for axis, workers in ((-1, None), (-1, 2), (0, None)):
        k = shape[axis] / 3
        lin = lapsum.linearize(lapsum.soft_topk, x, k, 0.5, axis=axis, workers=workers)
        x[...] = 0
        same = lapsum.linearize(lapsum.soft_topk, before, k, 0.5, axis=axis)
        np.testing.assert_array_equal(lin.value, same.value)
        for got, expected in zip(lin.vjp(bar), same.vjp(bar), strict=True):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(lin.jvp(bar, None, 1.0), same.jvp(bar, None, 1.0))
        x[...] = before


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [7, 700, 70_000])
def test_a_linearization_keeps_lanes_that_are_solved_in_different_ways(rng, n, weighted):
    x = rng.normal(size=(6, n))
    x[1, 2], x[2, n // 2], x[3] = np.inf, np.nan, 2.5
    weights = rng.integers(0, 3, x.shape) * 1.0 if weighted else None
    total = np.full(6, n) if weights is None else weights.sum(axis=-1)
    k, alpha = total * [0.3, 0.3, 0.3, 0.3, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1, 1e300, 1e-300]
    before, bar = x.copy(), rng.normal(size=x.shape)
    lin = lapsum.linearize(lapsum.soft_topk, x, k, alpha, weights=weights)
    x[...] = 0
    for lane in range(6):
        w = None if weights is None else weights[lane]
        alone = lapsum.linearize(lapsum.soft_topk, before[lane], k[lane], alpha[lane], weights=w)
        np.testing.assert_array_equal(lin.value[lane], alone.value)
        np.testing.assert_array_equal(lin.vjp(bar)[0][lane], alone.vjp(bar[lane])[0])
        np.testing.assert_array_equal(
            lin.jvp(bar, None, None, *[None] * weighted)[lane],
            alone.jvp(bar[lane], None, None, *[None] * weighted),
        )


@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
def test_weights_move_an_absent_entry_at_the_threshold_in_a_wide_gap(func):
    """There the far entry's share of the density is a number, though both of them underflow."""
    x, c = [0.0, 0.5, 1.0], [1.0, 0.0, 1.0]
    lin = lapsum.linearize(func, x, 1, 1e-4, weights=c, largest=False)
    expected = -0.25 if func is lapsum.soft_topk else -0.5
    assert lin.jvp(None, None, None, [0, 0, 1.0])[1] == expected
    assert lin.vjp([0, 1.0, 0])[3][2] == expected


@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
def test_an_absent_entry_without_a_threshold_leaves_the_others_alone(func):
    """A level just between the masses at both infinities is that of no threshold."""
    x, c = np.array([-np.inf, np.inf]), np.array([1.0, 1.0])
    without = lapsum.linearize(func, x, 1, 1.0, weights=c)
    lin = lapsum.linearize(func, np.append(0.3, x), 1, 1.0, weights=np.append(0.0, c))
    np.testing.assert_array_equal(lin.value, np.append(0.0, without.value))
    np.testing.assert_array_equal(
        lin.jvp(None, None, None, [0.0, 1, 1])[1:], without.jvp(None, None, None, c)
    )
    for got, expected in zip(lin.vjp([0.0, 1, 1]), without.vjp(c), strict=True):
        np.testing.assert_array_equal(got[-2:] if np.ndim(got) else got, expected)
        assert np.isfinite(got).all()


def test_an_absent_entry_in_the_middle_of_a_wide_gap_keeps_its_digits():
    x, c, alpha = np.array([1.3, 1.4, 1.5]), [1.0, 0.0, 1.0], 1e-9
    lin = lapsum.linearize(lapsum.soft_topk, x, 1, alpha, weights=c, largest=False)
    middle = ((x[0] - x[1]) + (x[2] - x[1])) / 2  # exact
    slope = np.exp(-abs(middle) / alpha) / (2 * alpha)
    np.testing.assert_allclose(
        lin.vjp([0.0, 1.0, 0.0])[0], [slope / 2, -slope, slope / 2], rtol=1e-13
    )


@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
def test_a_sum_of_weights_is_a_k(func, rng):
    x = rng.normal(size=1000)
    for _ in range(50):
        c = rng.random(1000, np.float32)
        c /= c.sum()
        d = rng.dirichlet(np.ones(1000))
        for k, weights in ((1, c), (np.cumsum(c)[-1], c), (sum(c), c), (1.0, d), (sum(d), d)):
            result = func(x, k, 0.1, weights=weights)
            if k >= weights.sum(dtype=float):
                np.testing.assert_array_equal(result, 1.0 if func is lapsum.soft_topk else 0.0)
    for k, weights in ((1.05, c), (1 + 1e-9, d), (1000 + 1e-9, None)):
        with pytest.raises(ValueError, match="^`k` must lie between 0 and"):
            func(x, k, 0.1, weights=weights)


def test_a_likely_swap_is_named():
    for x, alpha in (([3.0, 1.0, 2.0], 2), (np.zeros((2, 3)), [2, 3])):
        with pytest.raises(ValueError, match=r"with `alpha`: the order is \(x, k, alpha\)$"):
            lapsum.soft_topk(x, 50.0, alpha)
    for alpha, weights in ((1, [0.1, 0.2, 0.3]), ([2, 2.5], None)):  # no such k
        with pytest.raises(ValueError, match=r"(0\.6|entries), got 50\.0$"):
            lapsum.soft_topk(np.zeros((2, 3)), 50.0, alpha, weights=weights)


@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk, lapsum.soft_rank])
@pytest.mark.parametrize("held", [np.nan, np.inf, -np.inf])
def test_sums_are_right_whatever_pads(func, held, rng):
    """Products with the weights, forwards and backwards."""
    x, c = rng.normal(size=(2, 5)), np.array([[1.0, 2, 1, 1, 0], [1.0, 1, 0, 0, 0]])
    padded = np.where(c == 0, held, x)
    more = () if func is lapsum.soft_rank else (1.5,)
    lin = lapsum.linearize(func, padded, *more, 0.4, weights=c)
    target = rng.normal(size=x.shape)
    loss = (c * (lin.value - target) ** 2).sum()
    bars = lin.vjp(2 * c * (lin.value - target))
    assert np.isfinite(loss)
    assert all(np.isfinite(bar).all() for bar in bars)
    np.testing.assert_array_equal(bars[0][c == 0], 0.0)
    for i, n in enumerate((4, 2)):
        one = lapsum.linearize(func, x[i, :n], *more, 0.4, weights=c[i, :n])
        np.testing.assert_array_equal(lin.value[i, :n], one.value)
        x_bar = one.vjp(2 * c[i, :n] * (one.value - target[i, :n]))[0]
        np.testing.assert_allclose(bars[0][i, :n], x_bar, rtol=1e-13)


@pytest.mark.parametrize("backend", EVERYWHERE)
@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
@pytest.mark.parametrize("density", ["laplace", "logistic", "normal", "cauchy"])
@pytest.mark.parametrize("far", [-1e6, 1e6, np.nan, np.inf, -np.inf])
def test_no_rate_of_an_absent_entry_is_infinite_at_the_ends_of_levels(backend, func, density, far):
    x = np.array([[0.0, 1.0, far, 2.0]] * 2)
    weights, k = np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 3.0])
    options = {} if density == "laplace" else {"density": density}
    lin = backend.linearize(func, x=x, k=k, alpha=0.1, weights=weights, **options)
    rates = lin.jvp(None, np.ones(2), None, None)
    assert np.isfinite(lin.value[:, 2]).all()
    assert np.isfinite(rates[:, 2]).all()
    if np.isfinite(far):
        for bar in lin.vjp(np.array([[0.0, 0.0, 1.0, 0.0]] * 2)):
            assert np.isfinite(bar).all()


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_absent_entries_do_not_overflow(backend):
    x = np.array([0.0, 1.0, -1e30], np.float32)
    lin = backend.linearize(
        lapsum.log_soft_topk, x=x, k=1.0, alpha=1e-9, weights=np.array([1.0, 1.0, 0.0])
    )
    np.testing.assert_array_equal(lin.value[2], 0)
    assert lin.value.dtype == np.float32
