"""CuPy arrays: what is theirs alone.  On the double, and with -m gpu on CuPy itself."""

import math
import sys
from inspect import signature

import cupy_double
import numpy as np
import pandas as pd
import pytest
from backends import DEVICES
from contract import contracts

import lapsum
from lapsum._backends.numpy.kernels import SERIAL
from lapsum._backends.protocol import Kernels

EVERY = [pytest.param(c, id=c.name) for c in contracts()]


@pytest.fixture(params=[pytest.param(b, id=b.name, marks=b.marks) for b in DEVICES])
def device(request):
    """A backend with a device, entered."""
    with request.param.active():
        yield request.param


@pytest.fixture
def log(cupy):
    """What happens on the double during the test."""
    with cupy_double.recording() as log:
        yield log


# ------------------------------------------------------------------------ which arrays go where


def test_results_stay_on_the_device(device, rng):
    import cupy

    x = device.put(rng.normal(size=(2, 5)))
    for value in (
        lapsum.soft_rank(x, 0.5),
        lapsum.soft_topk(x, 2, 0.5, weights=x * x),
        lapsum.soft_quantile(x[0], 0.5, 0.5),
        lapsum.SoftPermutation(x[0], 0.5) @ x[1],
        *lapsum.linearize(lapsum.lap_sum, x, x[0], 0.5).vjp(x),
    ):
        assert isinstance(value, cupy.ndarray)
    assert lapsum.soft_quantile(x[0], 0.5, 0.5).shape == ()


def test_numpy_s_results_do_not_need_cupy(rng):
    assert not any(name.partition(".")[0] == "cupy" for name in sys.modules)
    assert "lapsum._backends.cupy.kernels" not in sys.modules


def test_two_libraries_in_one_call_are_refused(device, rng):
    x = rng.normal(size=4)
    there = device.put(x)
    for mixed in (
        lambda: lapsum.soft_rank(there, 0.5, weights=np.ones(4)),
        lambda: lapsum.soft_rank(x, 0.5, weights=there),
        lambda: lapsum.soft_topk(there, 2, np.array(0.5)),
        lambda: lapsum.soft_rank(there, 0.5, weights=pd.Series(np.ones(4))),
        lambda: lapsum.linearize(lapsum.lap_sum, there, x, 0.5),
        lambda: lapsum.linearize(lapsum.soft_rank, there, 0.5).vjp(x),
        lambda: lapsum.linearize(lapsum.soft_rank, x, 0.5).jvp(there, None),
        lambda: lapsum.SoftPermutation(there, 0.5) @ x,
        lambda: lapsum.SoftPermutation(x, 0.5) @ there,
        lambda: lapsum.soft_rank(there, 0.5, out=np.empty(4)),
        lambda: lapsum.soft_rank(x, 0.5, out=there),
        lambda: lapsum.soft_rank([there, there], 0.5),
    ):
        with pytest.raises(TypeError, match=r"^`[\w ]+`"):
            mixed()


def test_numbers_and_lists_go_with_any_array(device, rng):
    x = rng.normal(size=(2, 4))
    for func, arguments in (
        (lapsum.soft_topk, {"k": [1, 2], "alpha": np.float32(0.5)}),
        (lapsum.soft_quantile, {"q": [[0.2, 0.5], [0.7, 0.9]], "alpha": 1}),
        (lapsum.lap_sum, {"r": [0.0, 1.0], "alpha": 0.5}),
    ):
        expected = func(x, **arguments)
        got = device.get(func(device.put(x), **arguments))
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_types_that_are_not_real(device):
    there = device.put(np.ones(3))
    with pytest.raises(TypeError, match="^`x` must be real numbers"):
        lapsum.soft_rank(there * 1j, 0.5)
    with pytest.raises(TypeError, match="^`alpha` must be real numbers"):
        lapsum.soft_rank(there, "0.5")
    with pytest.raises(TypeError, match="^`func` must be an operator"):
        lapsum.linearize(there, there)


# ------------------------------------------------------------------------------- what is checked


def test_numbers_on_the_host_are_checked_as_ever(device):
    x = device.put(np.arange(3.0))
    for call, text in (
        (
            lambda: lapsum.soft_rank(x, -1.0),
            "`alpha` must be positive and finite, got -1.0; an order is chosen by `largest` or",
        ),
        (lambda: lapsum.soft_topk(x, 4, 1.0), "`k` must lie between 0 and 3, .*, got 4.0"),
        (lambda: lapsum.soft_topk(x, np.nan, 1.0), "`k` must lie between 0 and"),
        (lambda: lapsum.soft_quantile(x, 1.0, 1.0), "`q` must lie strictly between"),
        (lambda: lapsum.soft_rank(x, 1.0, weights=x[:2]), "`weights` of shape"),
        (lambda: lapsum.soft_rank(x, 1.0, out=x[:2]), "`out` must have shape"),
        (lambda: lapsum.soft_permute(x, x[:2], 1.0), "`values` of shape .* has length 2"),
    ):
        with pytest.raises(ValueError, match=f"^{text}"):
            call()


@pytest.mark.parametrize("contract", EVERY)
def test_a_bad_alpha_on_the_device_spoils_its_lane(device, contract, rng):
    lanes = [contract.random(rng, 4) for _ in range(5)]
    arguments = {
        name: np.stack([lane[name] for lane in lanes])
        if name in (*contract.lanes, *contract.scalars)
        else lanes[0][name]
        for name in lanes[0]
    }
    good = contract.func(**arguments)
    arguments["alpha"][:4] = [0.0, -1.0, np.nan, np.inf]
    there = {name: device.put(value) for name, value in arguments.items()}
    lin = lapsum.linearize(contract.func, **there)
    value = device.get(lin.value)
    bars = device.get(lin.vjp(device.put(np.ones(value.shape))))
    if contract.core == "first":
        value, good = np.moveaxis(value, -1, 0), np.moveaxis(good, -1, 0)
    assert np.isnan(value[:4]).all()
    np.testing.assert_allclose(value[4], good[4], rtol=1e-13)
    for name, bar in zip(lin.parameters, bars, strict=True):
        if name in (*contract.lanes, "alpha"):
            assert np.isnan(bar[:4]).all(), name
            assert np.isfinite(bar[4]).all(), name


def test_a_bad_alpha_spoils_the_ranks_of_large_integers(device):
    x = device.put(np.array([[2**60, 2**60 + 1, -(2**63)]] * 5))
    alpha = device.put(np.array([0.0, -1.0, np.nan, np.inf, 1e-3]))
    ranks = device.get(lapsum.soft_rank(x, alpha))
    assert np.isnan(ranks[:4]).all()
    np.testing.assert_array_equal(ranks[4], [2.0, 3.0, 1.0])


def test_bad_k_q_and_weights_on_the_device_spoil_their_lanes(device, rng):
    x = device.put(rng.normal(size=(4, 5)))
    p = device.get(lapsum.soft_topk(x, device.put(np.array([-1.0, 5.1, np.nan, 5.0])), 0.5))
    assert np.isnan(p[:3]).all()
    np.testing.assert_array_equal(p[3], 1.0)
    weights = np.ones((4, 5))
    weights[0, 1], weights[1, 2], weights[2] = -1.0, np.nan, 1.7e308
    weights = device.put(weights)
    for func in (lapsum.soft_rank, lapsum.soft_topk, lapsum.soft_quantile, lapsum.lap_sum_inv):
        given = {lapsum.soft_rank: (), lapsum.lap_sum_inv: (x,)}.get(func, (0.5,))
        first = (device.put(np.full((4, 1), 2.5)),) if func is lapsum.lap_sum_inv else (x,)
        lin = lapsum.linearize(func, *first, *given, 0.5, weights=weights)
        value = device.get(lin.value).reshape(4, -1)
        assert np.isnan(value[:3]).all()
        assert np.isfinite(value[3]).all()
        for bar in lin.vjp(device.put(np.ones(lin.value.shape))):
            bar = device.get(bar)
            assert np.isnan(bar).all() if not bar.ndim else np.isnan(bar.reshape(4, -1)[:3]).all()
    q = device.get(lapsum.soft_quantile(x, device.put(np.array([0.0, 0.5, 1.0, np.nan])), 0.5))
    assert np.isnan(q[[0, 2, 3]]).all()
    assert np.isfinite(q[1]).all()


# --------------------------------------------------------------------------- arrays as they come


def test_any_strides(device, rng):
    host = rng.normal(size=(6, 8, 10))
    there = device.put(host)
    for view in (
        lambda a: a[::2, ::-1, 3],
        lambda a: a.T[1],
        lambda a: a[0].T,
        lambda a: a[:, :1, ::3],
    ):
        for axis in (0, -1):
            got = device.get(lapsum.soft_topk(view(there), 1, 0.5, axis=axis))
            np.testing.assert_allclose(got, lapsum.soft_topk(view(host), 1, 0.5, axis=axis), 1e-13)
            got = device.get(lapsum.soft_sort(view(there), 0.5, axis=axis))
            expected = lapsum.soft_sort(view(host), 0.5, axis=axis)
            np.testing.assert_allclose(got, expected, 1e-13, 1e-13 * 0.5)  # of |y| + alpha


@pytest.mark.parametrize(
    ("targets", "sources"),
    [((4, 1), (9,)), ((3, 5, 2), (7,)), ((6, 3), (1, 9)), ((2, 3, 4), (3, 8))],
)
def test_lanes_of_targets_that_share_sources(device, targets, sources, rng):
    x, r, weights = rng.normal(size=targets), rng.normal(size=sources), rng.uniform(size=sources)
    levels = rng.uniform(0.1, 0.9, size=targets) * weights.sum(axis=-1).min()
    for func, first in ((lapsum.lap_sum, x), (lapsum.lap_sum_inv, levels)):
        lin = lapsum.linearize(func, first, r, 0.3, weights=weights)
        bar = rng.normal(size=lin.value.shape)
        there = device.linearize(func, first, r, 0.3, weights=weights)
        for got, expected in zip(there.vjp(bar), lin.vjp(bar), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("contract", EVERY)
def test_a_linearization_keeps_copies(device, contract, rng):
    arguments = {
        name: device.put(np.asarray(value)) for name, value in contract.random(rng, 5).items()
    }
    lin = lapsum.linearize(contract.func, **arguments)
    value, bar = device.get(lin.value), device.put(np.ones(lin.value.shape))
    bars = device.get(lin.vjp(bar))
    for argument in arguments.values():
        argument[...] = 0.3
    np.testing.assert_array_equal(device.get(lin.value), value)
    lin.value[...] = 7.0  # nor does the value belong to what derivatives are made of
    for again, before in zip(device.get(lin.vjp(bar)), bars, strict=True):
        np.testing.assert_array_equal(again, before)


def test_out(device, rng):
    x = device.put(rng.normal(size=(3, 6)))
    expected = device.get(lapsum.soft_topk(x, 2, 0.5))
    out = x.copy()
    assert lapsum.soft_topk(out, 2, 0.5, out=out) is out
    np.testing.assert_array_equal(device.get(out), expected)


def test_a_soft_permutation_is_an_operator(device, rng):
    x, v = rng.normal(size=(2, 9))
    dense = lapsum.soft_permutation(x, 0.3, descending=True)
    P = lapsum.SoftPermutation(device.put(x), 0.3, descending=True)
    there = device.put(v)
    for got, expected in (
        (P @ there, dense @ v),
        (there @ P, v @ dense),
        (P.T @ device.put(np.outer(v, x)), dense.T @ np.outer(v, x)),
        (P.rmatvec(there), dense.T @ v),
        (P.matmat(device.put(np.outer(v, x))), dense @ np.outer(v, x)),
        (P.toarray(), dense),
    ):
        np.testing.assert_allclose(device.get(got), expected, atol=1e-13)
    x[3] = np.nan
    assert np.isnan(device.get(lapsum.SoftPermutation(device.put(x), 0.3) @ there)).all()


@pytest.mark.gpu
def test_a_soft_permutation_goes_where_cupyx_takes_an_operator():
    device = DEVICES[1]
    with device.active():
        import cupy
        from cupyx.scipy.sparse.linalg import LinearOperator, aslinearoperator, gmres

        P = lapsum.SoftPermutation(cupy.arange(5.0), 0.3)
        A = aslinearoperator(P)
        assert isinstance(A, LinearOperator)
        v, _ = gmres(A, cupy.ones(5))
        cupy.testing.assert_allclose(P @ v, 1.0, rtol=1e-4)


def test_lists_are_checked_like_all_that_is_on_the_host(device):
    x = device.put(np.arange(8.0).reshape(2, 4))
    for call, name in (
        (lambda: lapsum.soft_topk(x, [1, 9], 0.5), "k"),
        (lambda: lapsum.soft_topk(x, 1, [0.5, -1.0]), "alpha"),
        (lambda: lapsum.soft_quantile(x, [0.5, 2.0], 0.5), "q"),
        (lambda: lapsum.soft_rank(x, 0.5, weights=[1, 1, 1, -1]), "weights"),
        (lambda: lapsum.SoftPermutation(x[0], device.put(np.array(-1.0))), "alpha"),
    ):
        with pytest.raises(ValueError, match=f"^`{name}` must"):
            call()


def test_derivatives_where_products_overflow(device):
    """What NumPy's path gives: no 0 times inf, and alpha divided by last."""
    for x, k, alpha, bar in (
        (np.zeros(4), 2.0, 5e-324, [1.0, -2.0, 0.5, 3.0]),
        ([0.0, 1e-310, 2e-310, 1.0], 1.5, 1e-310, [1.0, -2.0, 0.5, 3.0]),
        ([-np.inf, 0.0, 1.0, np.inf], 1.5, 0.5, [1.0, 2.0, 0.0, 0.0]),
    ):
        expected = lapsum.linearize(lapsum.soft_topk, np.array(x), k, alpha).vjp(bar)
        lin = lapsum.linearize(lapsum.soft_topk, device.put(np.array(x)), k, alpha)
        got = device.get(lin.vjp(device.put(np.array(bar))))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    # Two thresholds, one of them in a gap where the density underflows.
    x, c, q = np.arange(4.0), np.ones(4), np.array([0.3, 0.5])
    for bar in np.eye(2):
        expected = lapsum.linearize(lapsum.soft_quantile, x, q, 1e-4, weights=c).vjp(bar)[3]
        there = (device.put(a) for a in (x, q, np.array(1e-4)))
        lin = lapsum.linearize(lapsum.soft_quantile, *there, weights=device.put(c))
        got = device.get(lin.vjp(device.put(bar))[3])
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    x = np.array([0.0, 1.0, 2000.0])
    expected = lapsum.linearize(lapsum.soft_permutation, x, 1.0).jvp(None, np.inf)
    got = lapsum.linearize(lapsum.soft_permutation, device.put(x), 1.0).jvp(None, np.inf)
    np.testing.assert_array_equal(device.get(got), expected)


# ----------------------------------------------------------------------------------- long lanes

LANES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "sorted": lambda rng, n: np.sort(rng.normal(size=n)),
    "reversed": lambda rng, n: np.sort(rng.normal(size=n))[::-1],
    "constant": lambda rng, n: np.ones(n),
    "two values": lambda rng, n: rng.integers(0, 2, n) * 1.0,
    "clustered": lambda rng, n: rng.integers(0, 5, n) + 1e-9 * rng.normal(size=n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "one huge": lambda rng, n: np.where(np.arange(n) == n // 3, 1e300, rng.normal(size=n)),
    "all magnitudes": lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
    "few far out": lambda rng, n: np.where(np.arange(n) % 100, 1.0, 1e6) * rng.normal(size=n),
    "infinities": lambda rng, n: np.where(rng.uniform(size=n) < 0.3, np.inf, rng.normal(size=n)),
}


def assert_close_by_distance(p, expected):
    """Both within the bound of the contract, 16 eps (1 + |b - x|/alpha), of what is exact."""
    distance = -np.log(np.maximum(expected, 1e-300))
    bound = 32 * 2.0**-52 * (1 + distance) * expected + 1e-300
    assert (np.abs(p - expected) <= bound).all()


@pytest.mark.parametrize("entries", LANES)
@pytest.mark.parametrize("alpha", [1e-9, 0.3, 1e9])
def test_thresholds_of_lanes_that_many_blocks_share(device, entries, alpha, rng):
    n = 33_000  # beyond what one block does
    x = LANES[entries](rng, n)
    weights = np.where(rng.uniform(size=n) < 0.1, 0.0, 10.0 ** rng.uniform(-8, 8, n))
    there, heavy = device.put(x), device.put(weights)
    for k in (0, 1e-3, n // 2, n):
        got = device.get(lapsum.soft_topk(there, k, alpha))
        assert_close_by_distance(got, lapsum.soft_topk(x, k, alpha))
    k = 0.4 * weights.sum()
    got = device.get(lapsum.soft_topk(there, k, alpha, weights=heavy, largest=False))
    expected = lapsum.soft_topk(x, k, alpha, weights=weights, largest=False)
    assert_close_by_distance(got, expected)


def test_a_nan_in_a_long_lane(device, rng):
    x = rng.normal(size=(2, 70_000))
    x[1, 60_000] = np.nan
    got = device.get(lapsum.soft_topk(device.put(x), 100, 0.5))
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()


def test_sums_do_not_lose_digits_along_a_grid(device):
    """Equal steps round alike: a bias that a plain recurrence adds up."""
    n, step, alpha = 100_000, 2.0**-10, 7.0
    got = device.get(lapsum.soft_rank(device.put(np.arange(n) * step), alpha))
    decay = -math.expm1(-step / alpha)
    for m in (0, 1, n // 3, n - 1):
        left = -math.expm1(-(m + 1) * step / alpha) / decay
        right = -math.expm1(-(n - m) * step / alpha) / decay
        exact = m + 1 + (right - left) / 2
        assert abs(got[m] - exact) <= 8 * 2.0**-52 * max(exact, left, right)


@pytest.mark.parametrize("contract", EVERY)
def test_results_are_the_same_in_every_run(device, contract, rng):
    arguments = contract.random(rng, 200 if contract.core == "vector" else 40)
    there = {name: device.put(value) for name, value in arguments.items()}

    def run():
        lin = lapsum.linearize(contract.func, **there)
        bar = device.put(np.cos(np.arange(lin.value.size, dtype=float)).reshape(lin.value.shape))
        return device.get((lin.value, *lin.vjp(bar)))

    for first, second in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(first, second)


# ------------------------------------------------------- what is launched, read and waited for


@pytest.mark.parametrize("shape", [(1,), (10,), (20, 300), (1000,), (40, 50), (33_000,)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("numbers", ["on the host", "on the device"])
def test_thresholds_take_few_launches_and_reads(cupy, log, shape, weighted, numbers, rng):
    dtype = np.float32 if weighted == (numbers == "on the host") else np.float64
    x = cupy.asarray(rng.normal(size=shape).astype(dtype))
    weights = cupy.asarray(rng.uniform(size=shape)) if weighted else None
    there = cupy.asarray if numbers == "on the device" else float
    k, alpha, q = there(0.3), there(0.1), cupy.asarray([0.2, 0.3, 0.7])
    q = [there(0.3), q if numbers == "on the device" else [0.2, 0.3, 0.7]]
    if not weighted and numbers == "on the host" and len(shape) > 1:
        alpha = cupy.asarray(rng.uniform(0.1, 1.0, size=shape[:-1]))
    for call in (
        lambda: lapsum.soft_topk(x, k, alpha, weights=weights),
        lambda: lapsum.soft_topk(x, k, alpha, weights=weights, largest=False),
        lambda: lapsum.log_soft_topk(x, k, alpha, weights=weights),
        lambda: lapsum.soft_quantile(x, q[0], alpha, weights=weights),
        lambda: lapsum.soft_quantile(x, q[1], alpha, weights=weights),
    ):
        before = log.count(), log.reads(x)
        call()
        assert log.count() - before[0] <= 12, log.names[before[0] :]
        assert log.reads(x) - before[1] <= 10
    assert not log.syncs


def scattered(cupy, array):
    """The same array on the device, with gaps between its entries."""
    return cupy.asarray(np.repeat(array, 2, axis=-1))[..., ::2]


@pytest.mark.parametrize("shape", [(1,), (2, 300), (2, 33_000)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_thresholds_of_arrays_that_are_copied_first(cupy, log, shape, dtype, rng):
    x = scattered(cupy, (10 * rng.normal(size=shape)).astype(dtype))
    weights = scattered(cupy, (10 * rng.uniform(0.1, 1.0, size=shape)).astype(dtype))
    k, alpha = cupy.asarray(0.3, np.float32), cupy.asarray(0.1, np.float16)
    for call in (
        lambda: lapsum.soft_topk(x, k, alpha, weights=weights),
        lambda: lapsum.soft_topk(x, 0.3, 0.1, weights=weights),
        lambda: lapsum.log_soft_topk(x, 0.3, alpha, weights=weights),
        lambda: lapsum.soft_quantile(x, k, alpha, weights=weights),
        lambda: lapsum.soft_quantile(x, [0.3, 0.4], 0.1, weights=weights),
    ):
        before = log.count()
        call()
        assert log.count() - before <= 12, log.names[before:]


@pytest.mark.parametrize(
    ("lanes", "n"),
    [(1, 1), (3, 1), (3, 2), (1, 3), (1, 4), (3, 10), (1, 100), (3, 1000), (1, 1100), (1, 33_000)],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_ranks_and_sorts_take_one_sort(cupy, log, lanes, n, dtype, rng):
    x = scattered(cupy, (10 * rng.normal(size=(lanes, n))).astype(dtype))
    weights = scattered(cupy, rng.integers(0, 3, size=(lanes, n)).astype(dtype))
    alpha = cupy.asarray(rng.uniform(0.1, 1.0, size=lanes).astype(np.float32))
    # Ranks of integers sort these too, however large, which the host does not know.
    of_ranks = 2 if dtype is np.int64 else 1
    for sorts, call in (
        (of_ranks, lambda: lapsum.soft_rank(x, 0.1)),
        (of_ranks, lambda: lapsum.soft_rank(x, alpha, descending=True)),
        (of_ranks, lambda: lapsum.soft_rank(x, alpha, weights=weights, descending=True)),
        (1, lambda: lapsum.soft_sort(x, 0.1)),
        (1, lambda: lapsum.soft_sort(x, alpha, descending=True)),
    ):
        before = list(log.names)
        call()
        names = log.names[len(before) :]
        assert sum("sort" in name and "lapsum" not in name for name in names) == sorts
        assert len(names) <= 1 + 2 * math.log2(n) + 10 + 6 * (sorts - 1), names
    assert not log.syncs


@pytest.mark.parametrize("contract", EVERY)
def test_nothing_of_size_n_crosses_to_the_host(cupy, log, contract, rng):
    arguments = contract.random(rng, 40)
    there = {n: cupy.asarray(v) if np.ndim(v) else v for n, v in arguments.items()}
    uploads = len(log.uploads)
    contract.func(**there)
    # Only products ask whether a value is infinite, or huge.
    assert len(log.syncs) <= (3 if contract.name == "soft_permute" else 0)
    lin = lapsum.linearize(contract.func, **there)
    bar = cupy.ones(lin.value.shape)
    lin.vjp(bar)
    lin.jvp(*(there[name] if np.ndim(arguments[name]) else 1.0 for name in lin.parameters))
    assert not set(log.syncs) - {"bool"}
    assert len(log.uploads) == uploads


def test_scratch_is_of_the_order_of_n(cupy, log, rng):
    n = 100_000
    x = cupy.asarray(rng.normal(size=n))
    lapsum.linearize(lapsum.soft_rank, x, 0.1).vjp(x)
    lapsum.linearize(lapsum.soft_topk, x, 100, 0.1).vjp(x)
    biggest = max(array.size for launch in log.launches for array in launch.outputs)
    assert biggest <= 4 * n


def test_arrays_of_several_devices_are_refused(cupy, monkeypatch):
    a, b = cupy.ones(3), cupy.ones(3)
    monkeypatch.setattr(
        cupy.ndarray, "device", property(lambda array: f"<CUDA Device {array is b:d}>")
    )
    with pytest.raises(TypeError, match="^arrays are on several devices: <CUDA Device 0>, <CUDA"):
        lapsum.soft_rank(a, 0.5, weights=b)
    with monkeypatch.context() as patch:
        patch.setattr(type(cupy.cuda.Device()), "id", 3, raising=False)
        patch.setattr(cupy.ndarray, "device", "<CUDA Device 0>")
        with pytest.raises(TypeError, match="^arrays are on <CUDA Device 0>, and the current"):
            lapsum.soft_rank(a, 0.5)


def test_the_backends_have_the_names_and_parameters_of_the_protocol(cupy):
    from lapsum._backends.cupy import kernels as cupy_kernels

    def public(kernels):
        return {name for name in dir(kernels) if not name.startswith("_")}

    def parameters(kernels, name):
        return [p for p in signature(getattr(kernels, name)).parameters if p != "self"]

    protocol = public(Kernels)
    methods = {name for name in protocol if callable(getattr(Kernels, name))}
    # `workers` is what the host's kernels were made with.
    for kernels, more in ((SERIAL, {"workers"}), (cupy_kernels.Kernels(), set())):
        assert public(kernels) == protocol | more
        for name in methods:
            assert parameters(kernels, name) == parameters(Kernels, name), name
