"""Kernels for short lanes, several at once, against the careful twins and against themselves."""

import numpy as np
import pytest
from backends import Careful
from levels import at_every_level

import lapsum
from lapsum import _kernels

EPS = 2.0**-52
CAREFUL = Careful()


def ranks(x, alpha, **options):
    return lapsum.soft_rank, (x, alpha), options


def sorts(x, alpha, **options):
    return lapsum.soft_sort, (x, alpha), options


def topk(x, alpha, **options):
    return lapsum.soft_topk, (x, x.shape[-1] / 3, alpha), options


def log_topk(x, alpha, **options):
    return lapsum.log_soft_topk, (x, x.shape[-1] / 3, alpha), options


CALLS = [
    pytest.param(call, options, id=f"{call.__name__} {options}")
    for call, name in (
        (ranks, "descending"),
        (sorts, "descending"),
        (topk, "largest"),
        (log_topk, "largest"),
    )
    for options in ({name: False}, {name: True})
]


def everything(call, x, alpha, options, bar=None, linearize=lapsum.linearize):
    """The value, all cotangents and a tangent of one call."""
    func, args, options = call(x, alpha, **options)
    lin = linearize(func, *args, **options)
    rng = np.random.default_rng(x.shape[-1])
    bar = rng.normal(size=x.shape[-1]) * np.ones(x.shape) if bar is None else bar
    dot = rng.normal(size=x.shape[-1])  # the same for every lane, as everything here
    dots = [np.ones(np.shape(a)) * (dot if np.ndim(a) > 1 else 0.7) for a in args]
    return [lin.value, *lin.vjp(bar.astype(x.dtype)), lin.jvp(*dots)]


def lanes_of(n, rng):
    """Lanes of every kind: some are for the kernels, some are left to others."""
    x = rng.normal(size=(13, n))
    x[1] = np.round(x[1])
    x[2] = rng.choice([0.0, -0.0, 1.0], n)
    x[3] += 1e8
    x[4] = 1.0 + rng.integers(0, 8 * n, n) * EPS
    x[5] = -x[4]
    x[6, 0] = np.nan
    x[7, : n // 2 + 1] = np.inf
    x[8, : n // 2 + 1] = -np.inf
    x[9] = 1.7e308 * np.tanh(x[9])
    x[10] *= 1e-310
    x[11] = rng.integers(0, 2, n) + 1e-9 * rng.normal(size=n)
    return x


def same(a, b):
    """Whether two lists of arrays hold the same bits, but for those of NaN."""
    return all(np.array_equal(p, q, equal_nan=True) for p, q in zip(a, b, strict=True))


def assert_near(got, expected, n, alpha):
    """Values within a few units of what they are beside 1, derivatives of their scale."""
    for at, (a, b) in enumerate(zip(got, expected, strict=True)):
        known = np.isfinite(b)  # in a wide gap the level's derivative may be infinite
        np.testing.assert_array_equal(np.isfinite(a), known)
        scale = 1.0 + np.abs(b) + alpha
        if at > 0:
            scale = np.abs(b[known]).max(initial=0.0) + n * (1.0 + 1.0 / alpha)
        error = np.abs(np.subtract(a, b, where=known, out=np.zeros(np.shape(b))))
        assert (error <= (64 if at == 0 else 500) * EPS * scale).all(), at


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_every_length_agrees_with_the_careful_way(call, options, rng):
    for n in range(1, 257):
        x = np.stack([rng.normal(size=n), np.round(2.0 * rng.normal(size=n)), np.arange(n) / 50.0])
        alpha = np.full(3, 10.0 ** rng.uniform(-2, 1))
        expected = everything(call, x, alpha, options, linearize=CAREFUL.linearize)
        got = everything(call, x, alpha, options)
        assert_near(got, expected, n, alpha[0])


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_levels_agree_with_the_careful_way(call, options, rng):
    for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 40, 100, 128):
        x = rng.normal(size=(9, n))
        for scale in (1e-3, 0.1, 3.0, 1e6):
            alpha = np.full(9, scale)
            expected = everything(call, x, alpha, options, linearize=CAREFUL.linearize)
            for _ in at_every_level():
                assert_near(everything(call, x, alpha, options), expected, n, scale)


@pytest.mark.parametrize(("call", "options"), CALLS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 33, 128])
def test_a_lane_does_not_depend_on_the_others(level, call, options, n, rng):
    x, alpha = lanes_of(n, rng), 10.0 ** rng.uniform(-2, 1, 13)
    alpha[12] = 1e-310  # not for these kernels
    together = everything(call, x, alpha, options)
    for lane in range(13):
        here = slice(lane, lane + 1)
        alone = everything(call, x[here], alpha[here], options)
        kept = [a[here] if np.ndim(a) and len(a) == 13 else None for a in together]
        for a, b in zip(alone, kept, strict=True):
            if b is not None:
                np.testing.assert_array_equal(a, b, strict=True)
        plain, args, more = call(x[here], alpha[here], **options)
        np.testing.assert_array_equal(plain(*args, **more), alone[0])


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_lanes_of_any_kind_agree_with_the_careful_way(level, call, options, rng):
    for n in (1, 2, 5, 31):
        x, alpha = lanes_of(n, rng), np.full(13, 0.5)
        got = everything(call, x, alpha, options)
        expected = everything(call, x, alpha, options, linearize=CAREFUL.linearize)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12 * n)


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_cotangents_that_are_left_change_no_other_lane(call, options, rng):
    x, bar, alpha = rng.normal(size=(9, 12)), rng.normal(size=(9, 12)), np.full(9, 0.3)
    expected = everything(call, x, alpha, options, bar)[1:-1]
    bar[4, 3], bar[6, 0] = np.nan, 1e300
    got = everything(call, x, alpha, options, bar)[1:-1]
    others = np.delete(np.arange(9), [4, 6])
    for a, b in zip(got, expected, strict=True):
        if np.ndim(a):
            np.testing.assert_array_equal(a[others], b[others])
    assert np.isnan(got[0][4]).any()


@pytest.mark.parametrize("n", [3, 10, 100])
def test_ties_have_identical_results(level, n, rng):
    x = rng.choice([-1.0, -0.0, 0.0, 1.0 / 3.0], (9, n))
    for call in (ranks, topk, log_topk):
        value, x_bar, *_ = everything(call, x, np.full(9, 0.2), {}, np.ones((9, n)))
        for lane, y, bar in zip(x, value, x_bar, strict=True):
            for entry in np.unique(lane):
                assert np.ptp(y[lane == entry]) == 0.0
                assert np.ptp(bar[lane == entry]) <= 1e-13 * n


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_workers_change_no_bit(call, options, rng):
    x, alpha = rng.normal(size=(3001, 13)), rng.uniform(0.1, 1.0, 3001)
    x[5, 3] = np.nan
    expected = everything(call, x, alpha, options)
    for workers in (2, 5):
        assert same(everything(call, x, alpha, {**options, "workers": workers}), expected)


@pytest.mark.parametrize(("call", "options"), CALLS)
@pytest.mark.parametrize("n", [3, 10, 65])
def test_single_precision_is_rounded_once(level, call, options, n, rng):
    x = rng.normal(size=(9, n)).astype(np.float32)
    alpha, bar = np.full(9, 0.3), rng.normal(size=(9, n)).astype(np.float32)
    for a, b in zip(
        everything(call, x, alpha, options, bar),
        everything(call, x.astype(float), alpha, options, bar.astype(float)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, np.asarray(b).astype(a.dtype))


@pytest.mark.parametrize("call", [ranks, sorts, topk, log_topk])
def test_the_length_alone_decides(level, call, rng):
    for n in (_kernels.short_most(), _kernels.short_most() + 1):
        func, args, _ = call(rng.normal(size=(2, n)), 0.1)
        short = lapsum.linearize(func, *args)._rule.short
        assert (short is not None) == (n <= _kernels.short_most())


def test_sorting_mends_what_the_places_hide(level):
    # Entries that differ in their last bits alone, where their places are while they are sorted.
    for n in (2, 9, 64, 128):
        x = 1.0 + np.arange(n)[::-1] * EPS
        for lane in (x, -x, x[::-1], 1e300 * x):
            lanes = np.tile(lane, (3, 1))
            np.testing.assert_allclose(
                lapsum.soft_sort(lanes, 1e-30 * np.abs(lane).max()), np.sort(lanes), rtol=4 * EPS
            )
            np.testing.assert_array_equal(
                lapsum.soft_rank(lanes, 1e-30 * np.abs(lane).max()).round(),
                np.argsort(np.argsort(lanes)) + 1.0,
            )


def test_gaps_of_more_alpha_than_floats_hold(level):
    for n in (5, 40):
        x = np.arange(n)[::-1] * 1e300
        x[1] = np.inf
        ranks = np.arange(n, 0.0, -1.0)
        ranks[:2] = n - 1, n
        alpha = 1e-20
        np.testing.assert_array_equal(lapsum.soft_rank(x, alpha), ranks)
        np.testing.assert_array_equal(lapsum.soft_topk(x, 3, alpha), ranks > n - 3)
        np.testing.assert_array_equal(lapsum.soft_sort(x, alpha), np.sort(x))
        np.testing.assert_array_equal(lapsum.soft_quantile(x, 1.5 / n, alpha), 1e300)
        P = lapsum.soft_permutation(x[2:], alpha)
        np.testing.assert_array_equal(P, np.eye(n - 2)[::-1])
        bars = lapsum.linearize(lapsum.soft_sort, x, alpha).vjp(np.ones(n))
        np.testing.assert_array_equal(bars[0], np.isfinite(x))


def test_results_go_where_they_are_wanted(rng):
    x = rng.normal(size=(5, 6))
    for call in (ranks, sorts, topk, log_topk):
        func, args, _ = call(x.copy(), 0.1)
        expected, out = func(*args), np.empty_like(x)
        assert func(*args, out=out) is out
        np.testing.assert_array_equal(out, expected)
        func(*args, out=args[0])
        np.testing.assert_array_equal(args[0], expected)


def test_a_loop_refuses_arrays_of_another_kind():
    x, left = np.ones((1, 3)), np.zeros(1, np.uint8)
    with pytest.raises(TypeError, match="items of 8 bytes"):
        _kernels.short_ranks(x, 1.0, np.ones(1, np.float32), None, x, None, left, 0, 1)
    with pytest.raises(ValueError, match="contiguous"):
        _kernels.short_ranks(np.ones((3, 2)).T, 1.0, np.ones(2), None, x, None, left, 0, 1)


def quantiles(x, alpha, q, linearize=lapsum.linearize, **options):
    """The quantiles, all cotangents and a tangent, lanes first."""
    lin = linearize(lapsum.soft_quantile, x, q, alpha, **options)
    rng = np.random.default_rng(x.shape[-1])
    bar = rng.normal(size=np.shape(q)[:1]) * np.ones(lin.value.T.shape)
    x_bar, _, alpha_bar = lin.vjp(bar.T.astype(x.dtype))
    dots = rng.normal(size=x.shape[-1]) * np.ones(x.shape), rng.normal(size=np.shape(q))
    return [lin.value.T, x_bar, alpha_bar, lin.jvp(*dots, np.full(len(x), 0.7)).T]


@pytest.mark.parametrize("q", [0.5, 1e-9, [0.1, 0.5, 0.9]])
def test_quantiles_of_any_lane(level, q, rng):
    for n in (1, 2, 3, 10, 33, 128):
        x, alpha = lanes_of(n, rng), 10.0 ** rng.uniform(-2, 1, 13)
        alpha[12] = 1e-310
        q = np.asarray(q)
        together = quantiles(x, alpha, q)
        for a, b in zip(together, quantiles(x, alpha, q, CAREFUL.linearize), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-11 * n)
        for lane in range(13):
            here = slice(lane, lane + 1)
            alone = quantiles(x[here], alpha[here], q)
            assert same(alone, [a[here] for a in together])
            plain = lapsum.soft_quantile(x[here], q, alpha[here]).T
            np.testing.assert_array_equal(plain, alone[0])


def test_quantiles_of_every_length_agree_with_the_careful_way(rng):
    for n in range(1, 257):
        x, q = rng.normal(size=(3, n)), rng.uniform(0.01, 0.99, 2)
        alpha = np.full(3, 10.0 ** rng.uniform(-2, 1))
        expected = quantiles(x, alpha, q, CAREFUL.linearize)
        assert_near(quantiles(x, alpha, q), expected, n, alpha[0])


def test_quantiles_one_level_a_lane(rng):
    x, q, alpha = rng.normal(size=(9, 20)), rng.uniform(size=9), np.full(9, 0.3)
    x[4, 2] = np.nan
    lin = lapsum.linearize(lapsum.soft_quantile, x, q, alpha, per_lane=True)
    bars, dot = lin.vjp(np.ones(9)), lin.jvp(x, q, alpha)
    for lane in range(9):
        one = lapsum.linearize(lapsum.soft_quantile, x[lane], q[lane], alpha[lane])
        np.testing.assert_array_equal(lin.value[lane], one.value)
        for a, b in zip(bars, one.vjp(1.0), strict=True):
            np.testing.assert_array_equal(a[lane], b)
        np.testing.assert_array_equal(dot[lane], one.jvp(x[lane], q[lane], alpha[lane]))


def test_quantiles_by_workers_and_in_single_precision(rng):
    x, alpha, q = rng.normal(size=(3001, 13)), rng.uniform(0.1, 1.0, 3001), np.array([0.2, 0.7])
    x[5, 3] = np.nan
    assert same(quantiles(x, alpha, q, workers=3), quantiles(x, alpha, q))
    single = x[:9].astype(np.float32)
    got = quantiles(single, alpha[:9], q)
    expected = quantiles(single.astype(float), alpha[:9], q)
    np.testing.assert_array_equal(got[0], expected[0].astype(np.float32))
