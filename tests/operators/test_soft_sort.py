import numpy as np
from contract import Contract, threshold_bound

import lapsum

CONTRACT = Contract(
    lapsum.soft_sort,
    bound=threshold_bound,
    options=({}, {"descending": True}),
    weighted=False,
    shifts=1,
    degree=1,
    unbounded=True,
)


def test_tends_to_the_sorted_array(rng):
    x = rng.normal(size=40)
    np.testing.assert_allclose(lapsum.soft_sort(x, 1e-12), np.sort(x), atol=1e-11)


def test_is_sorted_to_the_last_digit(rng):
    # Neighbouring results closer than their rounding errors.
    for width in (2.0**-52, 1e-13, 1e-6):
        x = 1.0 + rng.integers(0, 50, 200_000) * width
        for alpha in (2.5e-16, 6e-16, 1.3e-15, 2e-14, 1e-9, 1.0):
            y = lapsum.soft_sort(x, alpha)
            assert (np.diff(y) >= 0).all()
            np.testing.assert_array_equal(lapsum.soft_sort(x, alpha, descending=True), y[::-1])


def test_padding_changes_nothing_else(rng):
    x = rng.normal(size=5)
    padded = np.append(x, [np.inf, np.inf])
    np.testing.assert_array_equal(
        lapsum.soft_sort(padded, 0.3), np.append(lapsum.soft_sort(x, 0.3), [np.inf, np.inf])
    )


def test_softmax_weights_add_up_to_one(rng):
    lin = lapsum.linearize(lapsum.soft_sort, rng.normal(size=30), 0.3)
    np.testing.assert_allclose(lin.jvp(np.ones(30), None), np.ones(30), rtol=1e-14)


def test_plateaus_keep_their_derivatives():
    # In a gap of 1e12 alpha every l underflows; the middle belongs to both neighbours equally.
    lin = lapsum.linearize(lapsum.lap_sum_inv, 1.0, [0.0, 1.0], 1e-12)
    w_bar, r_bar, alpha_bar = lin.vjp(1.0)
    np.testing.assert_array_equal(r_bar, [0.5, 0.5])
    assert w_bar == np.inf
    assert alpha_bar == 0.0
