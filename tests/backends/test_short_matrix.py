"""Permutation matrices of short lanes, several at once, against the careful twins."""

import numpy as np
import pytest
from backends import CAREFUL
from levels import at_every_level

import lapsum

EVERY = pytest.mark.parametrize("descending", [False, True])
KINDS = {
    "normal": lambda x: x,
    "ties": lambda x: x.round(1),
    "constant": lambda x: np.full(x.shape, 3.5),
    "clusters": lambda x: np.sign(x) + 1e-9 * x,
    "offset": lambda x: 1e8 + (16 * x).round() / 64,
    "wide": lambda x: 1e4 * x,
    "both infinities": lambda x: np.where(np.abs(x) < 1.0, x, np.copysign(np.inf, x)),
}


def everything(x, alpha, descending, linearize=lapsum.linearize, workers=None):
    """The value, all cotangents, and tangents of one and of all parameters."""
    options = {"descending": descending, "workers": workers}
    lin = linearize(lapsum.soft_permutation, x, alpha, **options)
    n = x.shape[-1]
    bar = np.random.default_rng(n).normal(size=(n, n)) * np.ones((len(x), 1, 1))
    dot = np.random.default_rng(n).normal(size=n) * np.ones(x.shape)
    along = np.full(np.shape(alpha), 0.7)
    return [lin.value, *lin.vjp(bar), lin.jvp(dot, None), lin.jvp(None, along), lin.jvp(dot, along)]


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_careful_way(descending, kind, rng):
    for n in (1, 2, 3, 4, 5, 9, 17, 33, 70):
        x = KINDS[kind](rng.normal(size=(5, n)))
        for alpha in (1e-3, 0.1, 1.0, 30.0):
            expected = everything(x, alpha, descending, CAREFUL.linearize)
            for _ in at_every_level():
                got = everything(x, alpha, descending)
                for at, (a, b) in enumerate(zip(got, expected, strict=True)):
                    scale = np.abs(b).max(initial=0.0) + (at > 0) * (1.0 + min(n, 1.0 / alpha))
                    assert np.abs(a - b).max(initial=0.0) <= 1e-12 * scale, at
                # Small entries keep their digits.
                np.testing.assert_allclose(got[0], expected[0], rtol=1e-11, atol=1e-280)


@EVERY
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 33])
def test_a_lane_does_not_depend_on_the_others(level, descending, n, rng):
    x, alpha = rng.normal(size=(12, n)), 10.0 ** rng.uniform(-2, 1, 12)
    for lane, kind in enumerate(KINDS):
        x[lane] = KINDS[kind](x[lane])
    x[7, 0], alpha[8] = np.nan, 1e-310
    x[9] = 1.7e308 * np.tanh(x[9])
    x[10] *= 1e-310
    together = everything(x, alpha, descending)
    careful = everything(x, alpha, descending, CAREFUL.linearize)
    for a, b in zip(together, careful, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-11 * n)
    for a, b in zip(everything(x, alpha, descending, workers=3), together, strict=True):
        np.testing.assert_array_equal(a, b)
    for lane in range(12):
        here = slice(lane, lane + 1)
        alone = everything(x[here], alpha[here], descending)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a, b[here], strict=True)
        plain = lapsum.soft_permutation(x[here], alpha[here], descending=descending)
        np.testing.assert_array_equal(plain, alone[0])


def test_cotangents_that_are_left_change_no_other_lane(rng):
    x, bar = rng.normal(size=(9, 6)), rng.normal(size=(9, 6, 6))
    lin = lapsum.linearize(lapsum.soft_permutation, x, 0.3)
    expected, _ = lin.vjp(bar)
    bar[4, 3, 2], bar[6, 0, 0] = np.nan, np.inf
    got, _ = lin.vjp(bar)
    others = np.delete(np.arange(9), [4, 6])
    np.testing.assert_array_equal(got[others], expected[others])
    assert np.isnan(got[4]).any()


def test_single_precision_is_rounded_once(level, rng):
    x = rng.normal(size=(9, 10)).astype(np.float32)
    single = everything(x, np.full(9, 0.3), False)
    double = everything(x.astype(float), np.full(9, 0.3), False)
    for a, b in zip(single, double, strict=True):
        np.testing.assert_array_equal(a, b.astype(a.dtype))


def test_columns_of_ties_are_identical(level, rng):
    for n in (3, 10, 60):
        x = rng.choice([-1.0, -0.0, 0.0, 1.0 / 3.0], (9, n))
        for lane, P in zip(x, lapsum.soft_permutation(x, 0.2), strict=True):
            for entry in np.unique(lane):
                assert (np.ptp(P[:, lane == entry], axis=1) == 0.0).all()
