"""Products with permutations of short lanes, several at once, against the careful twins."""

import numpy as np
import pytest
from backends import CAREFUL
from levels import at_every_level

import lapsum
from lapsum import _kernels

EVERY = pytest.mark.parametrize(
    "options",
    [{}, {"descending": True}, {"transpose": True}, {"descending": True, "transpose": True}],
    ids=str,
)
KINDS = {
    "normal": lambda x: x,
    "ties": lambda x: x.round(1),
    "constant": lambda x: np.full(x.shape, 3.5),
    "clusters": lambda x: np.sign(x) + 1e-9 * x,
    "offset": lambda x: 1e8 + (16 * x).round() / 64,
    "wide": lambda x: 1e4 * x,
    "padded": lambda x: np.where(x < 1.0, x, np.inf),
    "both infinities": lambda x: np.where(np.abs(x) < 1.0, x, np.copysign(np.inf, x)),
}


def everything(x, values, alpha, options, linearize=lapsum.linearize, bar=None):
    """The value, all cotangents, and tangents of one and of all parameters."""
    lin = linearize(lapsum.soft_permute, x, values, alpha, **options)
    rows = np.random.default_rng(x.shape[-1]).normal(size=(3, x.shape[-1]))
    given, x_dot, values_dot = (np.ones(values.shape) * row for row in rows)
    along = np.full(np.shape(alpha), 0.7)
    return [
        lin.value,
        *lin.vjp(given if bar is None else bar),
        lin.jvp(x_dot, None, None),
        lin.jvp(None, values_dot, None),
        lin.jvp(x_dot, values_dot, along),
    ]


def assert_near(got, expected, n, alpha):
    """Within 1e-12 of the largest and of what derivatives of such keys may be."""
    for at, (a, b) in enumerate(zip(got, expected, strict=True)):
        scale = np.abs(b).max(initial=0.0)
        if at not in (0, 2, 5):
            scale += 1.0 + min(n, 1.0 / alpha)
        assert np.abs(a - b).max(initial=0.0) <= 1e-12 * scale, at


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_careful_way(options, kind, rng):
    for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 100, 128):
        x, values = KINDS[kind](rng.normal(size=(5, n))), rng.normal(size=(5, n))
        for alpha in (1e-3, 0.1, 1.0, 30.0):
            expected = everything(x, values, alpha, options, CAREFUL.linearize)
            for _ in at_every_level():
                assert_near(everything(x, values, alpha, options), expected, n, alpha)


@EVERY
def test_every_length_agrees_with_the_careful_way(options, rng):
    for n in range(1, 257):
        x, values = rng.normal(size=(3, n)), rng.normal(size=(3, n))
        x[1], alpha = np.round(2.0 * x[1]), 10.0 ** rng.uniform(-2, 1)
        expected = everything(x, values, alpha, options, CAREFUL.linearize)
        assert_near(everything(x, values, alpha, options), expected, n, alpha)


def lanes_of(n, rng):
    """Keys and values of every kind: some are for the kernels, some are left to others."""
    x, values = rng.normal(size=(14, n)), rng.normal(size=(14, n))
    for lane, kind in enumerate(KINDS):
        x[lane] = KINDS[kind](x[lane])
    x[8, 0] = np.nan
    x[9] = 1.7e308 * np.tanh(x[9])
    x[10] *= 1e-310
    values[11, 0] = np.nan
    values[12, n // 2] = np.inf
    values[13] *= 1e305
    return x, values


@EVERY
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 33, 128])
def test_a_lane_does_not_depend_on_the_others(level, options, n, rng):
    x, values = lanes_of(n, rng)
    alpha = 10.0 ** rng.uniform(-2, 1, 14)
    alpha[7] = 1e-310  # not for these kernels
    together = everything(x, values, alpha, options)
    careful = everything(x, values, alpha, options, CAREFUL.linearize)
    for a, b in zip(together, careful, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-11 * n)
    for lane in range(14):
        here = slice(lane, lane + 1)
        alone = everything(x[here], values[here], alpha[here], options)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a, b[here], strict=True)
        plain = lapsum.soft_permute(x[here], values[here], alpha[here], **options)
        np.testing.assert_array_equal(plain, alone[0])


@EVERY
def test_cotangents_that_are_left_change_no_other_lane(options, rng):
    x, values, bar = rng.normal(size=(3, 9, 12))
    alpha = np.full(9, 0.3)
    expected = everything(x, values, alpha, options, bar=bar)[1:4]
    bar[4, 3], bar[6, 0] = np.nan, 1e300
    got = everything(x, values, alpha, options, bar=bar)[1:4]
    others = np.delete(np.arange(9), [4, 6])
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    assert np.isnan(got[1][4]).any()


@EVERY
def test_keys_that_lanes_of_values_share_are_keys_of_each(options, rng):
    x, values, alpha = rng.normal(size=11), rng.normal(size=(2, 3, 11)), 0.2
    together = lapsum.linearize(lapsum.soft_permute, x, values, alpha, **options)
    bars, dot = together.vjp(values), together.jvp(x, values, 1.0)
    total = np.zeros(11)
    for at in np.ndindex(2, 3):
        one = lapsum.linearize(lapsum.soft_permute, x, values[at], alpha, **options)
        x_bar, values_bar, _ = one.vjp(values[at])
        total += x_bar
        np.testing.assert_array_equal(together.value[at], one.value)
        np.testing.assert_array_equal(bars[1][at], values_bar)
        np.testing.assert_array_equal(dot[at], one.jvp(x, values[at], 1.0))
    np.testing.assert_allclose(bars[0], total, rtol=1e-12)


@EVERY
def test_workers_change_no_bit_and_the_length_alone_decides(options, rng):
    x, values, alpha = *rng.normal(size=(2, 3001, 13)), rng.uniform(0.1, 1.0, 3001)
    x[5, 3] = np.nan
    expected = everything(x, values, alpha, options)
    got = everything(x, values, alpha, {**options, "workers": 3})
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for n in (_kernels.short_most(), _kernels.short_most() + 1):
        lin = lapsum.linearize(lapsum.soft_permute, np.arange(n) / 7.0, np.ones(n), 0.1, **options)
        assert (lin._rule.short is not None) == (n <= _kernels.short_most())


@EVERY
def test_single_precision_is_rounded_once(level, options, rng):
    for n in (3, 10, 65):
        x, values, bar = rng.normal(size=(3, 9, n)).astype(np.float32)
        alpha = np.full(9, 0.3)
        single = everything(x, values, alpha, options, bar=bar)[:4]
        double = everything(*(a.astype(float) for a in (x, values)), alpha, options, bar=bar)
        for a, b in zip(single, double[:4], strict=True):
            np.testing.assert_array_equal(a, b.astype(a.dtype))


def test_ties_have_identical_results(level, rng):
    for n in (3, 10, 100):
        x, values = rng.choice([-1.0, -0.0, 0.0, 1.0 / 3.0], (9, n)), rng.normal(size=(9, n))
        back = lapsum.soft_permute(x, values, 0.2, transpose=True)
        for lane, y in zip(x, back, strict=True):
            for entry in np.unique(lane):
                assert np.ptp(y[lane == entry]) == 0.0
