"""Selection in place of sorting, at every SIMD level that this processor has."""

import math
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from levels import LEVELS

import lapsum
from lapsum import _kernels
from lapsum._backends.numpy.kernels import SERIAL as kernels
from lapsum._laplace.selection import Question, select_topk
from lapsum._laplace.sources import Sources
from lapsum._laplace.thresholds import thresholds_at, thresholds_at_steps

EPS = 2.0**-52
N = 30_000

LANES = {
    "normal": lambda rng: rng.normal(size=N),
    "sorted": lambda rng: np.sort(rng.normal(size=N)),
    "reversed": lambda rng: -np.sort(rng.normal(size=N)),
    "ties": lambda rng: rng.integers(0, 100, N) / 7.0,
    "two values": lambda rng: np.arange(N) % 2.0,
    "constant": lambda rng: np.full(N, 3.5),
    "Cauchy": lambda rng: rng.standard_cauchy(N),
    "outlier": lambda rng: np.append(rng.normal(size=N - 1), 1e12),
    "clusters": lambda rng: rng.integers(0, 3, N) + 1e-9 * rng.normal(size=N),
    "offset": lambda rng: 1e8 + rng.normal(size=N),
    "denormal": lambda rng: rng.integers(-50, 50, N) * 5e-324,
    "huge": lambda rng: 1.7e308 * rng.uniform(-1, 1, N),
}
KS = (1e-3, 1.0, 2.0, 100.5, N / 3, N / 2, N - 1.0, N - 0.25)


def selected(x, alpha, levels, totals=None, weights=None):
    """The selection of one level a lane, and the probabilities."""
    question = Question(x, weights, 1.0, levels, totals, alpha)
    return select_topk(kernels, question, logarithm=False, copy=False, out=None)


def by_sorting(x, k, alpha, weights=None):
    """The thresholds' offsets t and the probabilities, without selection."""
    s = Sources(kernels, x, alpha, weights)
    b = thresholds_at(s, k[:, None], full=True)
    t = kernels.offsets(b.lo, b.hi, b.u, x, alpha)
    return t, kernels.cdf(t)


@pytest.mark.parametrize("name", LANES)
def test_selection_agrees_with_sorting(level, name, rng):
    x = np.tile(LANES[name](rng), (len(KS), 1))
    k = np.array(KS)
    for alpha in (1e-9, 1e-3, 0.3, 30.0, 1e6, 1e9):
        scale = np.full(len(KS), alpha)
        b, p = selected(x, scale, k)
        # No bad day: a sort is what is left where a lane cannot be bracketed at all.
        assert b.unsolved is None
        t, expected = by_sorting(x, k, scale)
        assert (
            np.abs(p - expected) <= 16 * EPS * expected * (1 + np.minimum(np.abs(t), 1e4)) + 1e-320
        ).all()
        np.testing.assert_allclose(p.sum(axis=-1), k, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.03, 0.1, 0.3, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("away", [-1e9, -300.0, 300.0, 1e9])
def test_selection_is_put_right_where_its_sample_misleads(level, away, alpha, rng):
    # Where `draw` of lanes/search.c looks, nothing lies far away.
    seen = np.arange(128) * (N // 128)
    seen += (np.arange(128) * 40503 % 2**16 * (N // 128)) >> 16
    unseen = np.setdiff1d(np.arange(N), seen)
    x = np.empty((12, N))
    for lane, share in zip(x, np.repeat([0.001, 0.03, 0.1, 0.3], 3), strict=True):
        lane[:] = rng.uniform(-1, 1, N)
        lane[rng.permutation(unseen)[: int(share * N)]] = away
    k = N * np.tile([0.2, 0.45, 0.7], 4)
    scale = np.full(12, alpha)
    b, p = selected(x, scale, k)
    assert b.unsolved is None
    assert not np.isnan(b.block[[0, 1, 2, 5, 6, 7, 8, 9]]).any()
    t, expected = by_sorting(x, k, scale)
    assert (np.abs(p - expected) <= 16 * EPS * expected * (1 + np.minimum(np.abs(t), 1e4))).all()


@pytest.mark.parametrize("gap", [300.0, 800.0, 1e6])
@pytest.mark.parametrize("width", [1e-12, 1e-3, 1.0, 100.0])
def test_selection_among_clusters_far_apart(level, width, gap, rng):
    n = 1000
    for m in (60, 500, 940):
        x = np.concatenate([rng.normal(size=m), rng.normal(size=n - m)]) * width
        x[m:] += gap
        k = np.repeat([0.3 * m, m - 1.0, m - 1e-3, m, m + 1e-3, m + 0.3 * (n - m)], 8)
        x, scale = rng.permuted(np.tile(x, (len(k), 1)), axis=1), np.full(len(k), 1.0)
        b, p = selected(x, scale, k)
        assert b.unsolved is None
        assert not np.isnan(b.block[[0, 1, 2, 5, 6, 7, 8, 9]]).any()
        t, expected = by_sorting(x, k, scale)
        bound = 16 * EPS * expected * (1 + np.minimum(np.abs(t), 1e4)) + 1e-320
        assert (np.abs(p - expected) <= bound).all()


def test_a_threshold_between_neighbouring_floats_at_a_tiny_scale(level):
    low = 1e300
    x = np.array([low] * 5 + [np.nextafter(low, np.inf)] * 5)
    np.testing.assert_array_equal(lapsum.soft_topk(x, 5.0, 1e-30), [0.0] * 5 + [1.0] * 5)
    np.testing.assert_array_equal(lapsum.log_soft_topk(x, 5.0, 1e-30), [-np.inf] * 5 + [0.0] * 5)


@pytest.mark.parametrize("name", LANES)
def test_selection_of_weighted_lanes_agrees_with_sorting(level, name, rng):
    x = np.tile(LANES[name](rng), (3, 1))
    weights = np.stack(
        [rng.uniform(0.5, 2.0, N), 10.0 ** rng.uniform(-8, 8, N), rng.integers(0, 3, N) * 1.0]
    )
    total = kernels.totals(weights)
    for share in (1e-7, 0.3, 0.9):
        for alpha in (1e-6, 0.3, 1e6):
            scale = np.full(3, alpha)
            b, p = selected(x, scale, share * total, total, weights)
            assert b.unsolved is None
            t, expected = by_sorting(x, share * total, scale, weights)
            error = np.abs(p - expected)
            bound = 16 * EPS * expected * (1 + np.minimum(np.abs(t), 1e4)) + 1e-320
            assert (error <= bound)[weights > 0].all()


@pytest.mark.parametrize("n", [2, 3, 9, 40, 1000])
@pytest.mark.parametrize("first", [0.5, 1.0])
def test_thresholds_at_whole_steps_are_those_of_any_levels(level, n, first, rng):
    steps = n if first == 0.5 else n - 1
    levels = np.tile(first + np.arange(steps), (2, 1))
    x = np.stack([rng.normal(size=n), np.round(rng.normal(size=n), 1)])
    for alpha in (1e-9, 1e-3, 0.1, 1.0, 100.0, 1e9):
        s = Sources(kernels, x, np.full(2, alpha))
        stepwise = thresholds_at_steps(s, first, steps, full=True)
        expected = thresholds_at(s, levels, full=True)
        np.testing.assert_array_equal(stepwise.below, expected.below)
        np.testing.assert_allclose(stepwise.u, expected.u, rtol=8 * EPS, atol=8 * EPS)
        for name in ("kernel", "softmax", "density"):
            got, exact = getattr(stepwise, name), getattr(expected, name)
            np.testing.assert_allclose(got, exact, rtol=1e-13)
        np.testing.assert_allclose(stepwise.centre, expected.centre, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 63, 64, 65, 127, 128, 129, 1000, 4097])
def test_lanes_of_every_length(level, n, rng):
    x = rng.normal(size=(3, n))
    for share in (0.01, 0.5, 0.99):
        k = np.full(3, share * n)
        t, expected = by_sorting(x, k, np.full(3, 0.1))
        p = lapsum.soft_topk(x, k, 0.1, largest=False)
        assert (np.abs(p - expected) <= 16 * EPS * expected * (1 + np.abs(t))).all()


def test_lanes_that_are_not_finite_are_sorted(level, rng):
    x = rng.normal(size=(4, 1000))
    clean = lapsum.soft_topk(x, 7.5, 0.1)
    x[0, 3], x[1, 5], x[2, 7] = np.nan, np.inf, -np.inf
    p = lapsum.soft_topk(x, 7.5, 0.1)
    assert np.isnan(p[0]).all()
    np.testing.assert_array_equal(p[3], clean[3])
    np.testing.assert_allclose(p[1:3].sum(axis=-1), 7.5, rtol=1e-13)
    assert p[1, 5] == 1
    assert p[2, 7] == 0


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_vjp_of_lanes_of_nan_writes_to_them_alone(level, kind, weighted, rng):
    for n in range(1, 18):
        x, bar = rng.normal(size=(2, 3, n)).astype("f4" if kind == "float" else "f8")
        x[2] = np.nan
        weights = rng.uniform(0.5, 1.0, size=(3, n)) if weighted else None
        found = np.full((10, 3), np.nan)
        found[:, :2] = 0.3
        memory = np.full((9, n), 7.0, x.dtype)
        bars = np.empty((2, 3))
        inputs = x, found, weights, 1.0, np.ones(3), bar
        for logarithm in (False, True):
            _kernels.pull[kind](1, *inputs, logarithm, memory[3:6], *bars, 0, 3)
            assert (memory[:3] == 7).all()
            assert (memory[6:] == 7).all()
            assert np.isfinite(memory[3:5]).all()


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double here")
@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 65, 1000, 70_001])
def test_derivatives_of_a_lane(level, func, dtype, n, rng):
    """By its formulas in long double, from the probabilities."""
    x, bar, x_dot = rng.normal(size=(3, n)).astype(dtype)
    alpha, k_dot, alpha_dot = 0.3, -0.7, 1.3
    for k, weights in ((0.3 * n, None), (0.7 * n, None), (0.4, rng.uniform(0.1, 1.0, n))):
        p = lapsum.soft_topk(x.astype(float), k, alpha, weights=weights)
        c = np.ones(n) if weights is None else weights
        f = np.minimum(p, lapsum.soft_topk(-x.astype(float), c.sum() - k, alpha, weights=weights))
        p, f, c, v, z = (a.astype(np.longdouble) for a in (p, f, c, bar, -x))
        density, slope = (c * f).sum(), f / p if func is lapsum.log_soft_topk else f
        h = (v * slope).sum()
        z_bar = c * f * h / density - v * slope
        mean = (c * f * z).sum() / density
        alpha_bar = (v * slope * (z - mean)).sum() / alpha**2
        bars = lapsum.linearize(func, x, k, alpha, weights=weights).vjp(bar)
        assert bars[0].dtype == dtype
        scale = np.abs(v * slope).sum()
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(bars[0], -z_bar / alpha, rtol=2 * eps, atol=1e-12 * scale)
        close = partial(np.testing.assert_allclose, rtol=1e-12)
        close(float(bars[1]), float(h / density), atol=1e-12 * scale / density)
        close(float(bars[2]), float(alpha_bar), atol=1e-11 * scale)
        weights_dot = np.zeros(n)
        if weights is not None:
            close(bars[3], -p * h / density, atol=1e-12 * scale / density)
            weights_dot = rng.normal(size=n)
        z_dot = -x_dot.astype(np.longdouble)
        rise = ((c * f * z_dot).sum() / density - z_dot) / alpha + alpha_dot * (z - mean) / alpha**2
        expected = slope * (rise + (k_dot - (p * weights_dot).sum()) / density)
        tangents = (x_dot, k_dot, alpha_dot, weights_dot)[: 3 if weights is None else 4]
        lin = lapsum.linearize(func, x, k, alpha, weights=weights)
        got = lin.jvp(*tangents)
        atol = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected.astype(float), rtol=2 * eps, atol=atol)
        # A tangent that is the same for all changes nothing.
        offset = [np.full(n, 1e8, dtype), *[None] * (len(tangents) - 1)]
        assert not lin.jvp(*offset).any()
        shared = lapsum.linearize(func, x, k, alpha, weights=weights, workers=2)
        np.testing.assert_array_equal(shared.jvp(*tangents), got)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double here")
def test_the_exponential_is_good_to_about_one_unit(level):
    t = -np.concatenate([np.linspace(0, 745.5, 200_001), np.logspace(-300, 0, 1001), [800, 1e300]])
    exact = np.exp(t.astype(np.longdouble)) / 2
    p = kernels.pdf(t[None])[0]
    assert (np.abs(p - exact) <= 1.5 * np.spacing(exact.astype(float))).all()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 64, 1001])
@pytest.mark.parametrize("decades", [0, 1, 17, 40, 300])
def test_totals_are_rounded_correctly(level, n, decades, rng):
    values = 10.0 ** (decades * rng.uniform(-1, 1, size=(20, n))) * rng.integers(0, 3, size=(20, n))
    values[:, ::5] = 2.0**-53 * values.max(initial=1.0)  # halves of a unit
    assert kernels.totals(values).tolist() == [math.fsum(lane) for lane in values]
    if n > 1:
        values[:] = 1.7e308
        assert (kernels.totals(values) == np.inf).all()


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double here")
def test_decays_are_good_to_about_one_unit(level):
    gap = np.concatenate([np.linspace(0, 1, 100_001), np.logspace(-320, 3, 5001), [0.0, np.inf]])
    decay = kernels.decays(gap[None])[0]
    near = gap < 0.5
    assert (np.signbit(decay) == near).all()
    exact = np.where(near, np.expm1(-gap.astype(np.longdouble)), np.exp(-gap.astype(np.longdouble)))
    assert (np.abs(decay - exact) <= 1.5 * np.spacing(np.abs(exact).astype(float))).all()


def test_a_level_can_be_forced_and_only_one_that_exists():
    code = "from lapsum._backends.numpy.loops import simd; print(simd)"

    def run(level):
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "LAPSUM_SIMD": level},
            capture_output=True,
            text=True,
            check=False,
        )

    for level in LEVELS:
        assert run(level).stdout.strip() == level
    assert "ImportError: LAPSUM_SIMD='sse9' is not a level" in run("sse9").stderr


@pytest.mark.parametrize("shape", [(3, 10), (4, 1000), (2, N), (2, 150_000)])
@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
def test_float32_is_float64_rounded_once(level, func, shape, rng):
    x, bar = rng.normal(size=(2, *shape)).astype(np.float32)
    x[-1, 0] = np.inf  # a lane that is sorted
    weights = rng.integers(0, 3, shape) * rng.uniform(0.5, 2.0, shape)
    for options in ({}, {"largest": False}, {"weights": weights}):
        lin = lapsum.linearize(func, x, shape[1] / 3, 0.1, **options)
        wide = lapsum.linearize(func, x.astype(float), shape[1] / 3, 0.1, **options)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(lin.value, wide.value.astype(np.float32))
            np.testing.assert_array_equal(func(x, shape[1] / 3, 0.1, **options), lin.value)
            for cotangent in (bar, bar.astype(float)):
                for ours, theirs in zip(lin.vjp(cotangent), wide.vjp(cotangent), strict=True):
                    np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_of_one_is_not_negative(level, dtype, rng):
    x = np.append(rng.normal(size=20), [1e3] * 5).astype(dtype)
    p = lapsum.log_soft_topk(x, 6.0, 0.1)[-5:]
    assert (p == 0).all()
    assert not np.signbit(p).any()


@pytest.mark.parametrize("n", [10, 1000, N])
def test_float32_quantiles_are_float64_rounded_once(level, n, rng):
    x = rng.normal(size=n).astype(np.float32)
    q = lapsum.soft_quantile(x, [0.01, 0.5], 0.1)
    assert q.dtype == np.float32
    np.testing.assert_array_equal(
        q, lapsum.soft_quantile(x.astype(float), [0.01, 0.5], 0.1).astype(np.float32)
    )


@pytest.mark.parametrize("shape", [(2, 7), (3, 1000)])
@pytest.mark.parametrize("name", ["soft_rank", "soft_sort", "soft_permutation"])
def test_float32_is_ordered_as_float64(name, shape, rng):
    func = getattr(lapsum, name)
    for x in (rng.normal(size=shape), rng.integers(0, 3, shape), 1 + 1e-6 * rng.normal(size=shape)):
        x = x.astype(np.float32)
        x[0, 0], x[1, 1] = np.nan, np.inf
        for descending in (False, True):
            lin = lapsum.linearize(func, x, 0.1, descending=descending)
            wide = lapsum.linearize(func, x.astype(float), 0.1, descending=descending)
            np.testing.assert_array_equal(lin.value, wide.value.astype(np.float32))
            bar = rng.normal(size=wide.value.shape)
            for ours, theirs in zip(lin.vjp(bar), wide.vjp(bar), strict=True):
                np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))


@pytest.mark.parametrize("weighted", [False, True])
def test_both_scans_at_once_are_the_two_scans(level, weighted, rng):
    gap = 10.0 ** rng.uniform(-3, 2, (6, 600))  # small and large ones by turns
    gap[0] = 1e-3
    gap[1, :300] = gap[1, 301:] = 1e-3  # so that they come by turns in one block alone
    values = rng.exponential(size=gap.shape) if weighted else None
    if weighted:
        values[2, 300] = np.inf
        values[3, 100:500:40] = 1.7e308
        values[4, 350] = np.nan
        values[5] *= 1e-300
    with np.errstate(all="ignore"):
        both = kernels.scan_both(gap, values, None)
        decay, key = kernels.decays(gap), kernels.identity(len(gap))
        once = np.ones(gap.shape) if values is None else values
        apart = [kernels.scan(decay, once, key, reverse) for reverse in (False, True)]
    for scan, expected in zip(both, apart, strict=True):
        np.testing.assert_allclose(scan, expected, rtol=1e-15)
