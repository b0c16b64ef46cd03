"""The ordering by packed integers, which all sorted operators stand on."""

import numpy as np
import pytest

import lapsum
from lapsum import _kernels
from lapsum._backends.numpy import digits
from lapsum._backends.numpy import order as in_order
from lapsum._backends.numpy.kernels import SERIAL as kernels

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


def ordered(x, weights=None):
    """The sorted entries, the places they come from, and what else `order` tells of them."""
    lanes = kernels.order(x, np.ones(len(x)), weights, None)
    values, order, count, invalid = lanes.x, lanes.order, lanes.present, lanes.nan_lanes
    indices = kernels.to_order(np.arange(x.shape[1]) + np.zeros((len(x), 1)), order).astype(int)
    back = kernels.from_order(kernels.contiguous(indices), order)
    assert (back == np.arange(x.shape[1])).all()
    return values, indices, count, invalid


def every_kind(rng, n):
    """Lanes of every kind, and one with a NaN."""
    x = np.array([make(rng, n) for make in (*LANES.values(), LANES["normal"])])
    x[-1, 5] = np.nan
    return x


@pytest.fixture
def short_parts(monkeypatch):
    """Have lanes ordered in parts that are short enough for tests."""
    monkeypatch.setattr(in_order, "LONG_LANE", 2)
    monkeypatch.setattr(in_order, "PART", 24)


# With more than 2**21 entries place, left-out bits and index do not fit into one integer.
@pytest.mark.parametrize("n", [1, 2, 5, 100, 5000, 2**21 + 5])
@pytest.mark.parametrize("name", LANES)
def test_entries_are_ordered_and_absent_ones_come_last(name, n, rng, monkeypatch):
    monkeypatch.setattr(in_order, "LONG_LANE", 2**30)  # all in one piece
    check_order(name, n, rng)


@pytest.mark.parametrize("n", [2, 5, 100, 5000])
@pytest.mark.parametrize("name", LANES)
def test_so_are_the_entries_of_long_lanes(name, n, rng, short_parts):
    check_order(name, n, rng)


@pytest.mark.parametrize("n", [2, 5, 100, 5000])
@pytest.mark.parametrize("name", LANES)
def test_so_they_are_by_digits(name, n, rng, monkeypatch):
    x = LANES[name](rng, n)
    monkeypatch.setattr(digits, "by_digits", lambda n: False)
    _, by_numpy, _, _ = ordered(x[None])
    monkeypatch.setattr(digits, "by_digits", lambda n: True)
    _, order, _, _ = ordered(x[None])
    np.testing.assert_array_equal(order, by_numpy)
    check_order(name, n, rng)
    for dtype in (float, np.float32):
        with np.errstate(over="ignore"):
            lane = x.astype(dtype)[None]
        values = kernels.ascending(lane, np.ones(1)).x
        np.testing.assert_array_equal(values, np.sort(lane))


def test_absent_entries_need_no_order(rng, monkeypatch):
    """Their values are in none, which is no reason to sort the lane once more."""
    monkeypatch.setattr(type(kernels), "_order_again", lambda *args: pytest.fail("sorted twice"))
    for x in (rng.normal(size=20_000), rng.integers(0, 3, 20_000) * 1.0):
        ordered(x[None], rng.integers(0, 2, (1, 20_000)) * 1.0)


@pytest.mark.parametrize("width", [0, 3, 14, 40])
@pytest.mark.parametrize("bits", [1, 11, 12, 24, 64])
def test_digits_sort_as_numpy_does(width, bits, rng):
    n = min(4099, 1 << width) if width else 4099
    leading = rng.integers(0, 2**64, (3, n), np.uint64, endpoint=False) >> np.uint64(64 - bits)
    keys = leading << np.uint64(width) | np.arange(n, dtype=np.uint64) if width else leading
    keys[2] = np.sort(keys[2])[::-1]
    expected = np.sort(keys)
    _kernels.sort(width, keys, 0, 2)
    np.testing.assert_array_equal(keys[:2], expected[:2])
    assert not np.array_equal(keys[2], expected[2])  # no other lane than asked for


def check_order(name, n, rng):
    x = LANES[name](rng, n)
    values, order, count, invalid = ordered(x[None])
    assert count == n
    assert invalid is None
    np.testing.assert_array_equal(values[0], np.sort(x))
    np.testing.assert_array_equal(x[order[0]], values[0])
    assert (np.bincount(order[0], minlength=n) == 1).all()

    weights = (rng.random(n) < 0.6) * 1.0
    x[(weights == 0) & (rng.random(n) < 0.3)] = np.nan
    values, order, count, invalid = ordered(x[None], weights[None])
    m = int(weights.sum())
    assert count == m
    assert invalid is None
    np.testing.assert_array_equal(values[0, :m], np.sort(x[weights > 0]))
    assert (weights[order[0, m:]] == 0).all()
    assert (np.bincount(order[0], minlength=n) == 1).all()


@pytest.mark.parametrize("parts", [False, True])
def test_a_nan_spoils_its_lane_only(parts, rng, request):
    if parts:
        request.getfixturevalue("short_parts")
    x = rng.normal(size=(3, 50))
    x[1, 7] = np.nan
    values, order, count, invalid = ordered(x)
    np.testing.assert_array_equal(count, [50, 0, 50])
    np.testing.assert_array_equal(invalid, [False, True, False])
    np.testing.assert_array_equal(values[[0, 2]], np.sort(x[[0, 2]], axis=-1))
    assert (np.sort(order, axis=-1) == np.arange(50)).all()


def derivatives(func, *args, **kwargs):
    rng = np.random.default_rng(1)
    lin = lapsum.linearize(func, *args, **kwargs)
    tangents = [rng.normal(size=np.shape(a)) for a in args]
    tangents += [rng.normal(size=kwargs[w].shape) for w in ("weights",) if w in kwargs]
    return lin.value, lin.jvp(*tangents), *lin.vjp(rng.normal(size=lin.value.shape))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("func", "arrays", "weighted"),
    [
        (lapsum.soft_rank, 1, False),
        (lapsum.soft_rank, 1, True),
        (lapsum.soft_sort, 1, False),
        (lapsum.soft_permute, 2, False),
        (lapsum.soft_permutation, 1, False),
    ],
)
def test_parts_change_nothing(func, arrays, weighted, workers, rng, request):
    n = 700 if func is not lapsum.soft_permutation else 60
    x = every_kind(rng, n)
    args = (*[x, rng.normal(size=x.shape)][:arrays], 0.3)
    kwargs = {"workers": workers}
    if weighted:
        kwargs["weights"] = rng.integers(0, 3, x.shape) * 1.0
    whole = derivatives(func, *args, **kwargs)
    request.getfixturevalue("short_parts")
    for expected, got in zip(whole, derivatives(func, *args, **kwargs), strict=True):
        # Absent entries come in another order, and so do the terms of a sum over all.
        np.testing.assert_allclose(got, expected, rtol=1e-13 if weighted else 0.0, atol=0.0)


@pytest.mark.parametrize("alpha", [1e-6, 0.3, 1e6])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("func", [lapsum.lap_sum, lapsum.lap_sum_inv])
def test_the_order_of_targets_changes_nothing(func, weighted, alpha, rng, monkeypatch, short_parts):
    """But for the terms of sums over targets, which come in that order.

    A level that S has at many nodes, in floats, may be found at any of them: there are none here.
    """
    n = 300
    targets, sources = every_kind(rng, n), rng.normal(size=(len(LANES) + 1, 200))
    sources[0, 3], sources[1, :9] = np.nan, 1.0
    alpha = np.full(len(sources), alpha)
    kwargs = {"weights": rng.integers(0, 3, sources.shape) * 1.0} if weighted else {}
    if func is lapsum.lap_sum_inv:
        targets = 40.0 * np.abs(targets)
    results = {}
    for few in (0, 10**9):
        monkeypatch.setattr(in_order, "LEAST_TARGETS", few)
        results[few] = derivatives(func, targets, sources, alpha, **kwargs)
    for i, (got, expected) in enumerate(zip(*results.values(), strict=True)):
        exact = i < 3  # the value, its tangent, and the cotangents of targets
        size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
        error = 0.0 if exact else 1e-13
        np.testing.assert_allclose(got, expected, rtol=error, atol=error * size.max())


@pytest.mark.parametrize("parts", [False, True])
def test_targets_ascend_with_nan_last(parts, rng, request):
    if parts:
        request.getfixturevalue("short_parts")
    targets = every_kind(rng, 400)
    targets[6, 11] = np.nan  # among many that agree in their leading bits
    ascending, order = kernels.arrange(targets, 400)
    np.testing.assert_array_equal(ascending, np.sort(targets, axis=-1))
    np.testing.assert_array_equal(kernels.from_order(ascending, order), targets)


@pytest.mark.parametrize("func", [lapsum.lap_sum, lapsum.lap_sum_inv])
def test_cotangents_of_float32_targets_are_added_up_in_double(func, rng):
    n = 2 * in_order.LEAST_TARGETS  # enough to be put in order
    targets, sources = rng.uniform(0, 150, n).astype(np.float32), rng.normal(size=(7, n))
    if func is lapsum.lap_sum:
        targets = np.float32(0.02) * (targets - 75)
    bar = rng.normal(size=(7, n))
    single, double = (
        lapsum.linearize(func, t, sources, 0.3).vjp(bar)[0]
        for t in (targets, targets.astype(float))
    )
    np.testing.assert_array_equal(single, double.astype(np.float32))
