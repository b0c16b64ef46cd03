"""Fused kernels of derivatives at every SIMD level, against careful twins and long doubles."""

import numpy as np
import pytest
from backends import CAREFUL

import lapsum
from lapsum import _kernels
from lapsum._backends.numpy.loops import simd as BEST

LEVELS = [level for level in ("baseline", "avx2", "avx512") if _kernels.choose(level)]
_kernels.choose(BEST)

# Odd and even, of one block and several, and longer than what kernels for short lanes take.
LENGTHS = (257, 300, 1025)
LANES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ties": lambda rng, n: rng.integers(0, n // 4, n) / 7.0,
    "constant": lambda rng, n: np.full(n, 3.5),
    "clusters": lambda rng, n: rng.integers(0, 3, n) + 1e-9 * rng.normal(size=n),
    "offset": lambda rng, n: 1e8 + rng.integers(0, 1000, n) / 64.0,
    "outlier": lambda rng, n: np.append(rng.normal(size=n - 1), 1e12),
}
ALPHAS = (1e-3, 0.1, 30.0)


@pytest.fixture(params=LEVELS)
def level(request):
    _kernels.choose(request.param)
    yield request.param
    _kernels.choose(BEST)


def calls(rng, x, alpha):
    """Operators with fused kernels, and their arguments: lanes of x and others."""
    return {
        "soft_rank": (lapsum.soft_rank, {"x": x, "alpha": alpha}),
        "soft_rank descending": (
            lapsum.soft_rank,
            {"x": x, "alpha": alpha, "descending": True},
        ),
        "soft_sort": (lapsum.soft_sort, {"x": x, "alpha": alpha}),
    }


NAMES = list(calls(np.random.default_rng(0), np.zeros((1, 3)), 1.0))


def tangents_of(lin, arguments, rng):
    return [rng.normal(size=np.shape(arguments[name])) for name in lin.parameters]


def assert_close(got, expected, scale):
    """Within 1e-12 of the largest of each lane, or of a scale of the whole."""
    largest = np.max(np.abs(expected), axis=-1, keepdims=True) if np.ndim(expected) else scale
    assert np.shape(got) == np.shape(expected)
    assert (np.abs(got - expected) <= 1e-12 * np.maximum(largest, scale)).all()


@pytest.mark.parametrize("data", LANES)
@pytest.mark.parametrize("name", NAMES)
def test_fused_kernels_agree_with_their_careful_twins(level, name, data, rng):
    for n in LENGTHS:
        x = np.stack([LANES[data](rng, n), rng.normal(size=n)])
        for alpha in ALPHAS:
            func, arguments = calls(rng, x, alpha)[name]
            fused = lapsum.linearize(func, **arguments)
            careful = CAREFUL.linearize(func, **arguments)
            bar, dots = rng.normal(size=fused.value.shape), tangents_of(fused, arguments, rng)
            for got, expected in zip(fused.vjp(bar), careful.vjp(bar), strict=True):
                assert_close(got, expected, n / alpha if np.ndim(got) == 0 else 0.0)
            for alone in (None, *range(len(dots))):
                some = [dot if alone in (None, i) else None for i, dot in enumerate(dots)]
                assert_close(fused.jvp(*some), careful.jvp(*some), 0.0)


def weak(t):
    """e^{-|t|} of long doubles."""
    return np.exp(-np.abs(t))


@pytest.mark.parametrize("data", LANES)
def test_derivatives_of_ranks_against_long_doubles(level, data, rng):
    for n in LENGTHS[:2]:
        x = LANES[data](rng, n)
        for alpha in ALPHAS:
            t = (x[:, None] - x.astype(np.longdouble)) / alpha
            kernel = weak(t) / (2 * np.longdouble(alpha))
            jacobian = np.diag(kernel.sum(axis=1)) - kernel
            by_alpha = -(kernel * t).sum(axis=1)
            lin = lapsum.linearize(lapsum.soft_rank, x, alpha)
            bar, x_dot, alpha_dot = rng.normal(size=n), rng.normal(size=n), 0.7
            size = np.abs(kernel).sum(axis=1).max() * np.abs(x_dot).max()
            expected = jacobian @ x_dot + by_alpha * alpha_dot
            assert (np.abs(lin.jvp(x_dot, alpha_dot) - expected) <= 1e-13 * size).all()
            assert (np.abs(lin.jvp(None, alpha_dot) - by_alpha * alpha_dot) <= 1e-13 * size).all()
            x_bar, alpha_bar = lin.vjp(bar)
            assert (np.abs(x_bar - jacobian.T @ bar) <= 1e-13 * size).all()
            scale = (np.abs(bar) * np.abs(kernel * t).sum(axis=1)).sum()
            assert abs(alpha_bar - bar @ by_alpha) <= 1e-13 * scale


@pytest.mark.parametrize("name", NAMES)
def test_lanes_that_need_care_change_no_bit_of_the_others(level, name, rng):
    x = rng.normal(size=(4, 300))
    x[1, 5], x[2, 7] = np.inf, np.nan
    func, arguments = calls(rng, x, 0.3)[name]
    lin = lapsum.linearize(func, **arguments)
    bar, dots = rng.normal(size=lin.value.shape), tangents_of(lin, arguments, rng)
    bar[3, 0] = 1e300
    dots[0][3, 0] = 1e300
    together = [*lin.vjp(bar), lin.jvp(*dots)]
    one = [a[:1] if np.ndim(a) else a for a in arguments.values()]
    alone = lapsum.linearize(func, **dict(zip(arguments, one, strict=True)))
    dots = [dot[:1] if np.ndim(dot) else dot for dot in dots]
    for got, expected in zip(together, [*alone.vjp(bar[:1]), alone.jvp(*dots)], strict=True):
        if np.ndim(got):
            np.testing.assert_array_equal(got[:1], expected)


@pytest.mark.parametrize("name", NAMES)
def test_workers_change_no_bit(level, name, rng):
    func, arguments = calls(rng, rng.normal(size=(3, 20_000)), 0.01)[name]
    one, two = (lapsum.linearize(func, **arguments, workers=workers) for workers in (1, 2))
    bar, dots = rng.normal(size=one.value.shape), tangents_of(one, arguments, rng)
    for got, expected in zip(
        [*two.vjp(bar), two.jvp(*dots)], [*one.vjp(bar), one.jvp(*dots)], strict=True
    ):
        np.testing.assert_array_equal(got, expected)
