"""The ordering by packed integers, which all sorted operators stand on."""

import numpy as np
import pytest

from lapsum import _numpy

kernels = _numpy.SERIAL

LANES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ties": lambda rng, n: rng.integers(0, 9, n) * 1.0,
    "constant": lambda rng, n: np.full(n, 2.0),
    "signed zeros": lambda rng, n: np.where(rng.random(n) < 0.5, -0.0, 0.0),
    "clusters": lambda rng, n: rng.integers(0, 5, n) + 1e-12 * rng.normal(size=n),
    "offset": lambda rng, n: 1e8 + 1e-6 * rng.normal(size=n),
    "denormal": lambda rng, n: 5e-324 * rng.integers(-9, 9, n),
    "outlier": lambda rng, n: np.append(rng.normal(size=n - 1), 1e300),
    "infinities": lambda rng, n: np.where(rng.random(n) < 0.1, -np.inf, rng.normal(size=n)),
    "last bits": lambda rng, n: 1.0 + 2.0**-52 * rng.permutation(n),
}


# With more than 2**21 entries place, left-out bits and index do not fit into one integer.
@pytest.mark.parametrize("n", [1, 2, 5, 100, 5000, 2**21 + 5])
@pytest.mark.parametrize("name", LANES)
def test_entries_are_ordered_and_absent_ones_come_last(name, n, rng):
    x = LANES[name](rng, n)
    values, gap = np.empty((2, 1, n))
    order, _, count, invalid = kernels.order(x[None], np.ones(1), None, None, values, gap)
    assert count == n
    assert invalid is None
    np.testing.assert_array_equal(values[0], np.sort(x))
    np.testing.assert_array_equal(x[order[0]], values[0])
    assert (np.bincount(order[0], minlength=n) == 1).all()

    weights = (rng.random(n) < 0.6) * 1.0
    x[(weights == 0) & (rng.random(n) < 0.3)] = np.nan
    order, _, count, invalid = kernels.order(x[None], np.ones(1), weights[None], None, values, gap)
    m = int(weights.sum())
    assert count == m
    assert invalid is None
    np.testing.assert_array_equal(values[0, :m], np.sort(x[weights > 0]))
    assert (weights[order[0, m:]] == 0).all()
    assert (np.bincount(order[0], minlength=n) == 1).all()


def test_a_nan_spoils_its_lane_only(rng):
    x = rng.normal(size=(3, 50))
    x[1, 7] = np.nan
    values, gap = np.empty((2, *x.shape))
    order, _, count, invalid = kernels.order(x, np.ones(3), None, None, values, gap)
    np.testing.assert_array_equal(count, [50, 0, 50])
    np.testing.assert_array_equal(invalid, [False, True, False])
    np.testing.assert_array_equal(values[[0, 2]], np.sort(x[[0, 2]], axis=-1))
    assert (np.sort(order, axis=-1) == np.arange(50)).all()
