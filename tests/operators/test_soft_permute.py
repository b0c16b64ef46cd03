import numpy as np
import pytest
from contract import Contract, permutation_scales

import lapsum


def bound(exact, x, values, alpha, descending=False, transpose=False):
    scales = permutation_scales(x, alpha)
    scales = np.array(scales[::-1] if descending else scales, dtype=object)
    return list((scales.T if transpose else scales) @ np.abs(values))


CONTRACT = Contract(
    lapsum.soft_permute,
    bound=bound,
    arguments=lambda rng, x, alpha: {"values": rng.normal(size=len(x))},
    options=(
        {},
        {"descending": True},
        {"transpose": True},
        {"descending": True, "transpose": True},
    ),
    lanes=("x", "values"),
    weighted=False,
)


def test_tends_to_reordering(rng):
    x, v = rng.normal(size=(2, 20))
    np.testing.assert_allclose(lapsum.soft_permute(x, v, 1e-9), v[np.argsort(x)], atol=1e-12)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_is_the_matrix_product(rng, transpose, descending):
    x, v = rng.integers(0, 5, 30) / 3.0, rng.normal(size=(4, 30))
    P = lapsum.soft_permutation(x, 0.2, descending=descending)
    y = lapsum.soft_permute(x, v, 0.2, transpose=transpose, descending=descending)
    np.testing.assert_allclose(y, v @ (P if transpose else P.T), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 258, 700])
@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 1.0, 1e4])
def test_is_the_matrix_product_over_several_blocks(rng, n, alpha):
    normal, v = rng.normal(size=(2, n))
    gaps = np.where(rng.random(n) < 0.3, rng.choice([0.0, -np.inf, np.inf], n), normal)
    clusters = np.repeat([0.0, 1e3], [n - n // 3, n // 3]) + 1e-3 * normal
    for x in (normal, normal.round(1), gaps, clusters):
        P = lapsum.soft_permutation(x, alpha)
        for transpose in (False, True):
            y = lapsum.soft_permute(x, v, alpha, transpose=transpose)
            np.testing.assert_allclose(y, (P.T if transpose else P) @ v, atol=1e-13)


def test_shapes(rng):
    values = rng.normal(size=(4, 5, 6))
    x = rng.normal(size=5)
    y = lapsum.soft_permute(x, values, 0.1, axis=1)
    assert y.shape == values.shape
    np.testing.assert_array_equal(y[2, :, 3], lapsum.soft_permute(x, values[2, :, 3], 0.1))
    assert lapsum.soft_permute(rng.normal(size=(3, 1, 6)), values[0], 0.1).shape == (3, 5, 6)
    assert lapsum.soft_permute(values, x, 0.1, axis=1).shape == values.shape
    with pytest.raises(ValueError, match="^`values` of shape .* has length 6 along axis -1, and"):
        lapsum.soft_permute(x, values, 0.1)
    with pytest.raises(ValueError, match="^`values` of shape .* has length 5 along .* `x` has 1"):
        lapsum.soft_permute([1.0], x, 0.1)


def test_cotangents_of_shared_keys_add_up(rng):
    x, values = rng.normal(size=5), rng.normal(size=(3, 5))
    lin = lapsum.linearize(lapsum.soft_permute, x, values, 0.5)
    g = rng.normal(size=(3, 5))
    x_bar, values_bar, alpha_bar = lin.vjp(g)
    each = [
        lapsum.linearize(lapsum.soft_permute, x, v, 0.5).vjp(b)
        for v, b in zip(values, g, strict=True)
    ]
    np.testing.assert_allclose(x_bar, sum(e[0] for e in each), atol=1e-15)
    np.testing.assert_allclose(values_bar, [e[1] for e in each], atol=1e-15)
    assert alpha_bar == pytest.approx(sum(e[2] for e in each))


def test_infinite_values_are_the_limit_of_large_ones():
    x = [0.0, 1.0, 2.0, np.inf]
    y = lapsum.soft_permute(x, [1.0, np.inf, 2.0, 5.0], 0.5)
    np.testing.assert_array_equal(y, [np.inf, np.inf, np.inf, 5.0])
    assert np.isnan(lapsum.soft_permute(x, [1.0, np.nan, 2.0, 5.0], 0.5)).all()


@pytest.mark.parametrize("size", [5e307, 1.5e308])
def test_sums_of_large_values_do_not_overflow(size):
    for alpha in (1.0, 100.0):
        y = lapsum.soft_permute(np.arange(4.0), np.full(4, size), alpha)
        np.testing.assert_allclose(y, np.full(4, size), rtol=1e-13)


def test_tied_keys_get_identical_results_where_a_threshold_falls_on_them(rng):
    # In a lane that mirrors itself a whole level can lie on the tie in the middle, and rounding
    # decides between which of the tied keys it falls.
    for _ in range(500):
        side = rng.integers(1, 9, rng.integers(1, 5)) / 7.0
        x = np.concatenate([-side, np.zeros(rng.integers(2, 7)), side])
        values = rng.normal(size=len(x))
        back = lapsum.soft_permute(x, values, 10 ** rng.uniform(-1.5, 1), transpose=True)
        assert len(np.unique(back[x == 0])) == 1


def test_shared_keys_of_huge_cotangents_do_not_warn():
    lin = lapsum.linearize(
        lapsum.soft_permute, [0.2, 30.0], [[-4e299, 2e299], [-7e299, -2e300]], 0.13
    )
    with np.errstate(all="raise"):
        lin.vjp([[1e299, 3e298], [2e300, -7e299]])
