"""Fused kernels of derivatives at every SIMD level, against careful twins and long doubles."""

from itertools import product

import numpy as np
import pytest
from backends import CAREFUL
from levels import at_every_level

import lapsum

# Odd and even, of one block and several, and longer than what kernels for short lanes take.
LENGTHS = (257, 1024)
LANES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ties": lambda rng, n: rng.integers(0, n // 4, n) / 7.0,
    "constant": lambda rng, n: np.full(n, 3.5),
    "clusters": lambda rng, n: rng.integers(0, 3, n) + 1e-9 * rng.normal(size=n),
    "offset": lambda rng, n: 1e8 + rng.integers(0, 1000, n) / 64.0,
    "outlier": lambda rng, n: np.append(rng.normal(size=n - 1), 1e12),
}
ALPHAS = (1e-3, 0.1, 30.0)


def calls(rng, x, alpha):
    """Operators with fused kernels, and their arguments: lanes of x and others."""
    lanes, n = x.shape
    weights = rng.uniform(0.5, 1.5, x.shape)
    spread = np.ptp(x, axis=-1, keepdims=True) + alpha
    targets = x.min(axis=-1, keepdims=True) + spread * rng.uniform(-0.2, 1.2, (lanes, 2 * n))
    shares = rng.uniform(size=(lanes, 2 * n))
    sums = {"r": x, "alpha": alpha}
    heavy = {**sums, "weights": weights}
    return {
        "soft_rank weighted": (lapsum.soft_rank, {"x": x, "alpha": alpha, "weights": weights}),
        "lap_sum": (lapsum.lap_sum, {"x": targets, **sums}),
        "lap_sum weighted": (lapsum.lap_sum, {"x": targets, **heavy}),
        "lap_sum_inv": (lapsum.lap_sum_inv, {"w": shares * n, **sums}),
        "lap_sum_inv weighted": (
            lapsum.lap_sum_inv,
            {"w": shares * weights.sum(axis=-1, keepdims=True), **heavy},
        ),
        "soft_rank": (lapsum.soft_rank, {"x": x, "alpha": alpha}),
        "soft_rank descending": (
            lapsum.soft_rank,
            {"x": x, "alpha": alpha, "descending": True},
        ),
        "soft_sort": (lapsum.soft_sort, {"x": x, "alpha": alpha}),
        "soft_permute": (
            lapsum.soft_permute,
            {"x": x, "values": rng.normal(size=x.shape), "alpha": alpha},
        ),
        "soft_permute transposed": (
            lapsum.soft_permute,
            {
                "x": x,
                "values": rng.normal(size=x.shape),
                "alpha": alpha,
                "transpose": True,
                "descending": True,
            },
        ),
        "soft_quantile weighted": (
            lapsum.soft_quantile,
            {"x": x, "q": np.array([0.01, 0.3, 0.8]), "alpha": alpha, "weights": weights},
        ),
        "soft_quantile many": (
            lapsum.soft_quantile,
            {"x": x, "q": rng.uniform(size=n), "alpha": alpha, "weights": weights},
        ),
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
def test_fused_kernels_agree_with_their_careful_twins(name, data, rng):
    for n, alpha in product(LENGTHS, ALPHAS):
        x = np.stack([LANES[data](rng, n), rng.normal(size=n)])
        func, arguments = calls(rng, x, alpha)[name]
        careful = CAREFUL.linearize(func, **arguments)
        bar, dots = rng.normal(size=careful.value.shape), tangents_of(careful, arguments, rng)
        bars = careful.vjp(bar)
        alone = [
            [dot if i == at else None for i, dot in enumerate(dots)] for at in range(len(dots))
        ]
        tangents = [(some, careful.jvp(*some)) for some in (dots, *alone)]
        for _ in at_every_level():
            fused = lapsum.linearize(func, **arguments)
            for got, expected in zip(fused.vjp(bar), bars, strict=True):
                assert_close(got, expected, n / alpha if np.ndim(got) == 0 else 0.0)
            for some, expected in tangents:
                assert_close(fused.jvp(*some), expected, 0.0)


def kernels_of(x, r, alpha):
    """(x_i - r_j)/alpha, F and f/alpha there, in long doubles."""
    t = (x.astype(np.longdouble)[:, None] - r.astype(np.longdouble)) / alpha
    tail = np.exp(-np.abs(t)) / 2
    return t, np.where(t > 0, 1 - tail, tail), tail / alpha


def assert_derivatives(func, arguments, jacobians, rng, by=1e-13):
    """Products with Jacobians in long doubles, within `by` of products of absolute values."""
    bar = rng.normal(size=np.shape(jacobians[0])[:1])
    bars = [(j.T @ bar, (np.abs(j).T @ np.abs(bar)).max()) for j in jacobians]
    dots = [rng.normal(size=jacobian.shape[1:]) for jacobian in jacobians]
    pairs = list(zip(jacobians, dots, strict=True))
    tangent = sum(jacobian @ dot if dot.ndim else jacobian * dot for jacobian, dot in pairs)
    most = sum(np.abs(j) @ np.abs(dot) if dot.ndim else np.abs(j * dot) for j, dot in pairs).max()
    for _ in at_every_level():
        lin = lapsum.linearize(func, **arguments)
        for got, (expected, scale) in zip(lin.vjp(bar), bars, strict=True):
            assert (np.abs(got - expected) <= by * scale).all()
        assert (np.abs(lin.jvp(*dots) - tangent) <= by * most).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", LANES)
def test_derivatives_of_ranks_against_long_doubles(data, weighted, rng):
    for n in (257, 300):
        x, c = LANES[data](rng, n), rng.uniform(0.5, 1.5, n) if weighted else np.ones(n)
        for alpha in ALPHAS:
            t, F, kernel = kernels_of(x, x, np.longdouble(alpha))
            np.fill_diagonal(kernel, 0)
            by_x = np.diag((kernel * c).sum(axis=1)) - kernel * c
            by_alpha = -(kernel * c * t).sum(axis=1)
            given = {"x": x, "alpha": alpha, **({"weights": c} if weighted else {})}
            jacobians = [by_x, by_alpha, F][: 2 + weighted]
            assert_derivatives(lapsum.soft_rank, given, jacobians, rng)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", LANES)
def test_derivatives_of_sums_against_long_doubles(data, weighted, rng):
    for n in (257, 300):
        r, c = LANES[data](rng, n), rng.uniform(0.5, 1.5, n) if weighted else np.ones(n)
        x = np.append(rng.choice(r, 200), rng.uniform(r.min() - 1, r.max() + 1, 350))
        for alpha in ALPHAS:
            t, F, kernel = kernels_of(x, r, np.longdouble(alpha))
            own = (kernel * c).sum(axis=1)
            jacobians = [np.diag(own), -kernel * c, -(kernel * c * t).sum(axis=1), F]
            given = {"x": x, "r": r, "alpha": alpha, **({"weights": c} if weighted else {})}
            assert_derivatives(lapsum.lap_sum, given, jacobians[: 3 + weighted], rng)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", ["normal", "ties", "constant", "clusters"])
def test_derivatives_of_thresholds_against_long_doubles(data, weighted, rng):
    for n in (257, 300):
        r, c = LANES[data](rng, n), rng.uniform(0.5, 1.5, n) if weighted else np.ones(n)
        for alpha in (0.1, 30.0):
            w = rng.uniform(0.001, 0.999, 550) * c.sum()
            options = {"weights": c} if weighted else {}
            b = lapsum.lap_sum_inv(w, r, alpha, **options)
            t, F, kernel = kernels_of(b, r, np.longdouble(alpha))
            # Newton's step in long doubles puts the rounding of b right.
            step = (w - (c * F).sum(axis=1)) / (c * kernel).sum(axis=1)
            t, F, kernel = kernels_of(b + step, r, np.longdouble(alpha))
            slope = (kernel * c).sum(axis=1)
            q = kernel * c / slope[:, None]
            jacobians = [np.diag(1 / slope), q, (q * t).sum(axis=1), -F / slope[:, None]]
            given = {"w": w, "r": r, "alpha": alpha, **options}
            assert_derivatives(lapsum.lap_sum_inv, given, jacobians[: 3 + weighted], rng)


def test_weights_of_any_scale_have_thresholds(level, rng):
    r = rng.normal(size=300)
    c = 10.0 ** rng.uniform(-150, 150, 300)
    for weights in (c, c * 1e140, c * 1e-140, 1e-200 * np.ones(300), 1e200 * np.ones(300)):
        w = weights.sum() * rng.uniform(0.01, 0.99, 400)
        for alpha in (1e-3, 0.1, 30.0):
            b = lapsum.lap_sum_inv(w, r, alpha, weights=weights)
            one = [lapsum.lap_sum_inv(some, r, alpha, weights=weights) for some in w[:20]]
            np.testing.assert_array_equal(b[:20], one)
            found = lapsum.lap_sum(b, r, alpha, weights=weights)
            density = np.abs(b) * weights.sum() * 2.0**-52 / alpha
            assert (np.abs(found - w) <= 16 * density + 1e-13 * w).all()


@pytest.mark.parametrize("name", NAMES)
def test_lanes_that_need_care_change_no_bit_of_the_others(level, name, rng):
    func, arguments = calls(rng, rng.normal(size=(4, 300)), 0.3)[name]
    sources = arguments["r" if "r" in arguments else "x"]
    sources[1, 5], sources[2, 7] = np.inf, np.nan
    if "weights" in arguments:
        arguments["weights"][1, 1] = 0.0
    lin = lapsum.linearize(func, **arguments)
    bar, dots = rng.normal(size=lin.value.shape), tangents_of(lin, arguments, rng)
    at = 1 if name.startswith("soft_quantile") else 0  # the axis of the lanes
    dots[0][3, 0] = 1e300
    if at == 0:
        bar[3, 0] = 1e300
    one = {
        key: a[:1] if isinstance(a, np.ndarray) and a.ndim == 2 else a
        for key, a in arguments.items()
    }
    alone = lapsum.linearize(func, **one)
    first = bar.take([0], axis=at)
    for got, expected in zip(lin.vjp(bar), alone.vjp(first), strict=True):
        if np.ndim(got) == 2:
            np.testing.assert_array_equal(got[:1], expected)
    got = lin.jvp(*dots).take([0], axis=at)
    dots = [dot[:1] if np.ndim(dot) == 2 else dot for dot in dots]
    np.testing.assert_array_equal(got, alone.jvp(*dots))


@pytest.mark.parametrize("name", NAMES)
def test_workers_change_no_bit(level, name, rng):
    func, arguments = calls(rng, rng.normal(size=(3, 20_000)), 0.01)[name]
    one, two = (lapsum.linearize(func, **arguments, workers=workers) for workers in (1, 2))
    bar, dots = rng.normal(size=one.value.shape), tangents_of(one, arguments, rng)
    for got, expected in zip(
        [*two.vjp(bar), two.jvp(*dots)], [*one.vjp(bar), one.jvp(*dots)], strict=True
    ):
        np.testing.assert_array_equal(got, expected)
