"""Kernels for short lanes with weights, against the careful twins and against themselves."""

import numpy as np
import pytest
from backends import Careful
from levels import at_every_level

import lapsum

EPS = 2.0**-52
CAREFUL = Careful()


def ranks(x, weights, alpha, **options):
    return lapsum.soft_rank, (x, alpha), options


def topk(x, weights, alpha, **options):
    return lapsum.soft_topk, (x, 0.3 * weights.sum(axis=-1), alpha), options


def log_topk(x, weights, alpha, **options):
    return lapsum.log_soft_topk, (x, 0.3 * weights.sum(axis=-1), alpha), options


def quantiles(x, weights, alpha, **options):
    return lapsum.soft_quantile, (x, np.array([0.1, 0.6]), alpha), options


CALLS = [
    pytest.param(call, options, id=f"{call.__name__} {options}")
    for call, options in (
        (ranks, {"descending": False}),
        (ranks, {"descending": True}),
        (topk, {"largest": False}),
        (topk, {"largest": True}),
        (log_topk, {"largest": False}),
        (log_topk, {"largest": True}),
        (quantiles, {}),
    )
]


def everything(call, x, weights, alpha, options, linearize=lapsum.linearize, bar=None):
    """The value, all cotangents and a tangent of one call, each with the lanes first."""
    func, args, options = call(x, weights, alpha, **options)
    lin = linearize(func, *args, weights=weights, **options)
    rng = np.random.default_rng(x.shape[-1])
    axis = 1 if func is lapsum.soft_quantile else 0  # of the lanes
    value = np.moveaxis(lin.value, axis, 0)
    if bar is None:
        bar = rng.normal(size=value.shape[-1]) * np.ones(value.shape)
    bars = dict(zip(lin.parameters, lin.vjp(np.moveaxis(bar, 0, axis)), strict=True))
    bars.pop("q", None)  # the levels of all lanes together
    dots = [rng.normal(size=x.shape[-1]) * np.ones(x.shape) for _ in range(2)]
    others = [np.full(np.shape(a), 0.7) for a in args[1:]]
    dot = lin.jvp(dots[0], *others, dots[1])
    return [value, *bars.values(), np.moveaxis(dot, axis, 0)]


def assert_near(got, expected, n, alpha, weights):
    """Values within a few units of what they are beside 1, derivatives of their scale."""
    spread = weights.max() / weights[weights > 0].min()
    for at, (a, b) in enumerate(zip(got, expected, strict=True)):
        known = np.isfinite(b)
        np.testing.assert_array_equal(np.isfinite(a), known)
        scale = 1.0 + np.abs(b) + alpha
        if at > 0:
            scale = np.abs(b[known]).max(initial=0.0) + n * spread * (1.0 + 1.0 / alpha)
        error = np.abs(np.subtract(a, b, where=known, out=np.zeros(np.shape(b))))
        assert (error <= (64 if at == 0 else 500) * EPS * scale).all(), at


def lanes_of(n, rng):
    """Lanes of every kind, with weights of every kind."""
    x, weights = rng.normal(size=(16, n)), rng.uniform(0.5, 2.0, (16, n))
    x[1] = np.round(x[1])
    x[2] = rng.choice([0.0, -0.0, 1.0], n)
    x[3] += 1e8
    x[4, 0] = np.nan
    x[5, : n // 2 + 1] = np.inf
    x[6, : n // 2 + 1] = -np.inf
    x[7] = 1.7e308 * np.tanh(x[7])
    weights[8] = 10.0 ** rng.uniform(-9, 9, n)
    weights[9, : n // 2] = 0.0
    weights[10, : n // 2] = 0.0
    x[10, : n // 2] = np.nan
    weights[11, 0] = 0.0
    x[11, 0] = np.inf
    weights[12] = 0.0
    weights[13] = 1e-200
    weights[14] = 1e200
    return x, weights


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_every_length_agrees_with_the_careful_way(call, options, rng):
    for n in [*range(1, 34), 63, 64, 65, 100, 127, 128, 129, 200, 255, 256]:
        x = np.stack([rng.normal(size=n), np.round(2.0 * rng.normal(size=n)), np.arange(n) / 50.0])
        alpha, weights = np.full(3, 10.0 ** rng.uniform(-2, 1)), rng.uniform(0.1, 3.0, (3, n))
        expected = everything(call, x, weights, alpha, options, CAREFUL.linearize)
        got = everything(call, x, weights, alpha, options)
        assert_near(got, expected, n, alpha[0], weights)


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_levels_agree_with_the_careful_way(call, options, rng):
    for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 40, 128):
        x, weights = rng.normal(size=(9, n)), rng.uniform(0.1, 3.0, (9, n))
        weights[4, : n // 3] = 0.0
        for scale in (1e-3, 0.1, 3.0, 1e6):
            alpha = np.full(9, scale)
            expected = everything(call, x, weights, alpha, options, CAREFUL.linearize)
            for _ in at_every_level():
                got = everything(call, x, weights, alpha, options)
                assert_near(got, expected, n, scale, weights)


@pytest.mark.parametrize(("call", "options"), CALLS)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 33])
def test_lanes_of_any_kind(level, call, options, n, rng):
    # Each is right, and the same bits alone, with others, and without derivatives.
    (x, weights), alpha = lanes_of(n, rng), 10.0 ** rng.uniform(-1, 1, 16)
    alpha[15] = 1e-310
    together = everything(call, x, weights, alpha, options)
    expected = everything(call, x, weights, alpha, options, CAREFUL.linearize)
    for a, b in zip(together, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-11 * n)
    for lane in range(16):
        here = slice(lane, lane + 1)
        alone = everything(call, x[here], weights[here], alpha[here], options)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a, b[here], strict=True)
        plain, args, more = call(x[here], weights[here], alpha[here], **options)
        plain = plain(*args, weights=weights[here], **more)
        np.testing.assert_array_equal(plain, alone[0].T if call is quantiles else alone[0])


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_the_short_loops_do_it(call, options, rng):
    x, weights = rng.normal(size=(5, 9)), rng.uniform(0.5, 2.0, (5, 9))
    weights[2, :3] = 0.0
    x[1, 1], weights[1, 1] = np.nan, 0.0
    x[3, 1] = np.inf
    func, args, options = call(x, weights, np.full(5, 0.3), **options)
    short = lapsum.linearize(func, *args, weights=weights, **options)._rule.short
    np.testing.assert_array_equal(short.left, [False, False, False, True, False])


@pytest.mark.parametrize("call", [ranks, topk, log_topk, quantiles])
def test_ones_are_no_weights(level, call, rng):
    x, alpha = rng.normal(size=(9, 23)), np.full(9, 0.2)
    ones = np.ones(x.shape)
    func, args, _ = call(x, ones, alpha)
    with_ones = lapsum.linearize(func, *args, weights=ones)
    without = lapsum.linearize(func, *args)
    np.testing.assert_allclose(with_ones.value, without.value, rtol=8 * EPS, atol=8 * EPS)
    bar = rng.normal(size=with_ones.value.shape)
    for a, b in zip(with_ones.vjp(bar), without.vjp(bar), strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("call", [ranks, topk, log_topk, quantiles])
def test_cotangents_of_weights_are_those_of_differences(call, rng):
    x, weights, alpha = rng.normal(size=(3, 6)), rng.uniform(0.5, 2.0, (3, 6)), np.full(3, 0.5)
    func, args, _ = call(x, weights, alpha)
    lin = lapsum.linearize(func, *args, weights=weights)
    bar, dot = rng.normal(size=lin.value.shape), rng.normal(size=x.shape)
    h = 1e-6
    up, down = (func(*args, weights=weights + step * dot) for step in (h, -h))
    expected = np.sum(bar * (up - down)) / (2 * h)
    np.testing.assert_allclose(np.sum(lin.vjp(bar)[-1] * dot), expected, rtol=1e-7)
    tangents = [None] * (len(lin.parameters) - 1)
    np.testing.assert_allclose(np.sum(bar * lin.jvp(*tangents, dot)), expected, rtol=1e-7)


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_workers_and_single_precision(call, options, rng):
    x, weights = rng.normal(size=(3001, 13)), rng.uniform(0.5, 2.0, (3001, 13))
    alpha = rng.uniform(0.1, 1.0, 3001)
    x[5, 3], weights[6, :4] = np.nan, 0.0
    expected = everything(call, x, weights, alpha, options)
    got = everything(call, x, weights, alpha, {**options, "workers": 3})
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    single = x[:9].astype(np.float32)
    got = everything(call, single, weights[:9], alpha[:9], options)
    expected = everything(call, single.astype(float), weights[:9], alpha[:9], options)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b).astype(a.dtype))


@pytest.mark.parametrize(("call", "options"), CALLS)
def test_cotangents_that_are_left_change_no_other_lane(call, options, rng):
    x, weights, alpha = rng.normal(size=(9, 12)), rng.uniform(0.5, 2.0, (9, 12)), np.full(9, 0.3)
    bar = rng.normal(size=(9, 2 if call is quantiles else 12))
    expected = everything(call, x, weights, alpha, options, bar=bar)
    bar[4, 1], bar[6, 0] = np.nan, 1e300
    got = everything(call, x, weights, alpha, options, bar=bar)
    others = np.delete(np.arange(9), [4, 6])
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    assert np.isnan(got[1][4]).any()
