"""What every operator promises, for those of `lapsum.ot`; and hostile input."""

import doctest
import inspect
import subprocess
import sys
import time

import numpy as np
import pytest

import lapsum
from lapsum import ot
from lapsum._backends.numpy.transport import Points, Transport

SORTS = {
    "rank": lambda x, **o: (ot.sinkhorn_rank, (x, 0.05), o),
    "sort": lambda x, **o: (ot.sinkhorn_sort, (x, 0.05), o),
    "quantile": lambda x, **o: (ot.sinkhorn_quantile, (x, [0.3, 0.8], 0.05), o),
    "permute": lambda x, **o: (ot.sinkhorn_permute, (x, np.cos(np.arange(5)), 0.05), o),
    "topk": lambda x, **o: (ot.soft_topk, (x, 2.5, 0.5), o),
    "topk_sorted": lambda x, **o: (ot.soft_topk_sorted, (x, 2, 0.5), o),
}
every = pytest.mark.parametrize("name", list(SORTS))
weighted = pytest.mark.parametrize("name", ["rank", "sort", "quantile", "permute"])


def value(name, x, **options):
    func, args, kwargs = SORTS[name](x, **options)
    return func(*args, **kwargs)


def lane_of(name, result, at):
    return result[..., at] if name == "quantile" else result[at]


@every
def test_lanes_are_what_each_gives_alone(name, rng):
    x = rng.normal(size=(3, 5))
    together = value(name, x)
    for i in range(3):
        np.testing.assert_array_equal(lane_of(name, together, i), value(name, x[i]))


@every
def test_axis_and_layout_do_not_matter(name, rng):
    x = rng.normal(size=(4, 5))
    expected = value(name, x)
    got = value(name, np.asfortranarray(x.T), axis=0)
    if name in ("rank", "sort", "permute", "topk"):
        got = got.T
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(value(name, x.astype(">f8")), expected)
    np.testing.assert_array_equal(value(name, x.tolist()), expected)


@every
def test_all_axes_are_the_raveled_array(name, rng):
    x = rng.normal(size=(1, 5, 1))
    expected = value(name, x.ravel())
    np.testing.assert_array_equal(value(name, x, axis=None), expected)
    func, args, options = SORTS[name](x, axis=None)
    lin = lapsum.linearize(func, *args, **options)
    bar = rng.normal(size=expected.shape)
    flat = lapsum.linearize(func, x.ravel(), *args[1:])
    for got, alone in zip(lin.vjp(bar), flat.vjp(bar), strict=True):
        np.testing.assert_array_equal(np.ravel(got), np.ravel(alone))
    dots = [rng.normal(size=np.shape(bar)) for bar in lin.vjp(bar)]
    np.testing.assert_array_equal(lin.jvp(*dots), flat.jvp(dots[0].ravel(), *dots[1:]))
    one = value(name, 3.0, axis=None) if name == "rank" else np.ones(1)
    np.testing.assert_array_equal(one, [1.0])


def test_quantiles_along_several_axes(rng):
    x, weights = rng.normal(size=(3, 2, 4)), rng.uniform(size=(3, 2, 4))
    got = ot.sinkhorn_quantile(x, [0.3, 0.8], 0.05, weights=weights, axis=(0, -1), keepdims=True)
    flat, w = (np.swapaxes(v, 0, 1).reshape(2, 12) for v in (x, weights))
    expected = ot.sinkhorn_quantile(flat, [0.3, 0.8], 0.05, weights=w)
    np.testing.assert_array_equal(got, expected.reshape(2, 1, 2, 1))
    whole = ot.sinkhorn_quantile(x, 0.3, 0.05, axis=None)
    np.testing.assert_array_equal(whole, ot.sinkhorn_quantile(x.ravel(), 0.3, 0.05))


def test_all_axes_of_keys_and_values(rng):
    x, values = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    got = ot.sinkhorn_permute(x, values, 0.05, axis=None)
    np.testing.assert_array_equal(got, ot.sinkhorn_permute(x.ravel(), values.ravel(), 0.05))
    with pytest.raises(ValueError, match="`values` of shape"):
        ot.sinkhorn_permute(x, values[:2], 0.05, axis=None)
    with pytest.raises(ValueError, match="`targets` of shape"):
        ot.sinkhorn_rank(x, 0.05, axis=None, targets=x)


@every
def test_workers_do_not_matter(name, rng):
    x = rng.normal(size=(60, 5))
    np.testing.assert_array_equal(value(name, x, workers=3), value(name, x))
    with pytest.raises(ValueError, match="`workers`"):
        value(name, x, workers=0)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_floats_are_computed_in_float64_and_rounded_once(name, dtype, rng):
    x = rng.normal(size=5).astype(dtype)
    got, wide = value(name, x), value(name, x.astype(float))
    if name != "permute":  # whose values are float64
        assert got.dtype == dtype
    np.testing.assert_array_equal(got, wide.astype(got.dtype))
    func, args, _ = SORTS[name](x)
    lin = lapsum.linearize(func, *args)
    assert lin.vjp(np.ones(lin.value.shape))[0].dtype == dtype


@every
def test_linearize_is_the_plain_call_and_adjoint(name, rng):
    x = rng.normal(size=(2, 5))
    func, args, _ = SORTS[name](x)
    lin = lapsum.linearize(func, *args)
    np.testing.assert_array_equal(lin.value, func(*args))
    dots = [rng.normal(size=lin._rule.layouts[p].shape) for p in lin.parameters]
    bar = rng.normal(size=lin.value.shape)
    right = sum(np.sum(p * q) for p, q in zip(lin.vjp(bar), dots, strict=True))
    assert np.sum(bar * lin.jvp(*dots)) == pytest.approx(right, rel=1e-11)
    before = lin.vjp(bar)
    x[:] = 7.0
    for p, q in zip(lin.vjp(bar), before, strict=True):
        np.testing.assert_array_equal(p, q)


def test_parameters_are_in_signature_order(rng):
    x = rng.normal(size=4)
    given = {"target_weights": np.ones(4), "weights": np.ones(4), "targets": np.arange(4.0)}
    lin = lapsum.linearize(ot.sinkhorn_rank, x, 0.1, **given)
    assert lin.parameters == ("x", "epsilon", "weights", "targets", "target_weights")
    assert lapsum.linearize(ot.sinkhorn_permute, x, x, 0.1).parameters == ("x", "values", "epsilon")
    assert lapsum.linearize(ot.sinkhorn_quantile, x, 0.5, 0.1).parameters == ("x", "q", "epsilon")
    assert lapsum.linearize(ot.soft_topk, x, 2, 0.1).parameters == ("x", "k", "epsilon")
    assert lapsum.linearize(ot.soft_topk_sorted, x, 2, 0.1).parameters == ("x", "epsilon")


@every
def test_a_nan_spoils_its_lane_alone(name, rng):
    x = rng.normal(size=(3, 5))
    clean = value(name, x)
    x[1, 2] = np.nan
    spoilt = value(name, x)
    assert np.isnan(lane_of(name, spoilt, 1)).all()
    for i in (0, 2):
        np.testing.assert_array_equal(lane_of(name, spoilt, i), lane_of(name, clean, i))
    func, args, _ = SORTS[name](x)
    x_bar = lapsum.linearize(func, *args).vjp(np.ones(spoilt.shape))[0]
    assert np.isnan(x_bar[1]).all()
    assert np.isfinite(x_bar[[0, 2]]).all()


@weighted
@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize("there", [0.3, np.nan, np.inf, 1e300])
def test_an_entry_without_weight_influences_nothing(name, there, squash, rng):
    x, weights = rng.normal(size=5), np.array([1.0, 2.0, 0.0, 1.0, 0.5])
    options = {"weights": weights, "squash": squash}
    expected = value(name, x, **options)
    other = x.copy()
    other[2] = there
    func, args, _ = SORTS[name](other)
    lin = lapsum.linearize(func, *args, **options)
    present = [0, 1, 3, 4] if name == "rank" else slice(None)
    np.testing.assert_allclose(lin.value[present], expected[present], rtol=1e-14)
    bars = lin.vjp(np.where(np.arange(len(expected)) == 2, 0.0, 1.0))
    assert all(np.isfinite(bar).all() for bar in bars)
    assert bars[0][2] == 0.0 or name == "rank"
    if name == "rank" and not np.isfinite(there):
        assert lin.value[2] == 0.0


@weighted
def test_the_derivative_in_a_weight_of_zero(name, rng):
    x, weights = rng.normal(size=5), np.array([1.0, 2.0, 0.0, 1.0, 0.5])
    func, args, _ = SORTS[name](x)
    step = np.array([0.0, 0.0, 1e-7, 0.0, 0.0])
    lin = lapsum.linearize(func, *args, weights=weights)
    tangent = lin.jvp(*[None] * (len(lin.parameters) - 1), step / 1e-7)
    change = (func(*args, weights=weights + step) - lin.value) / 1e-7
    np.testing.assert_allclose(tangent, change, rtol=1e-4, atol=1e-5)
    bar = rng.normal(size=tangent.shape)
    assert lin.vjp(bar)[-1][2] == pytest.approx(bar @ tangent, rel=1e-9)


def test_infinite_entries_are_the_limit(rng):
    x = np.array([np.inf, 0.3, -1.0, -np.inf, 0.5])
    for squash in ("logistic", None):
        large = np.where(np.isinf(x), np.sign(x) * 1e250, x)
        np.testing.assert_allclose(
            ot.sinkhorn_rank(x, 1e-2, squash=squash), ot.sinkhorn_rank(large, 1e-2, squash=squash)
        )
        lin = lapsum.linearize(ot.sinkhorn_rank, x, 1e-2, squash=squash)
        assert all(np.isfinite(bar).all() for bar in lin.vjp(np.ones(5)))
    got = ot.sinkhorn_sort(x, 1e-9, squash=None)
    np.testing.assert_allclose(got, np.sort(x))
    assert np.isneginf(ot.sinkhorn_sort(x, 0.1)[0])


@every
def test_tied_entries_get_the_same_bits(name, rng):
    if name in ("sort", "quantile", "permute"):
        pytest.skip("one result for each target")
    x = np.array([0.0, 1.0, -0.0, 1.0, 0.0])
    got = value(name, x)
    for other in (2, 4):
        np.testing.assert_array_equal(got[..., other], got[..., 0])
    np.testing.assert_array_equal(got[..., 3], got[..., 1])


@pytest.mark.parametrize("n", [1, 2, 5, 30])
@pytest.mark.parametrize("epsilon", [1e-300, 1e-20, 1e-6, 1.0, 1e300])
@pytest.mark.parametrize("kind", ["constant", "ties", "outliers", "huge", "tiny", "spread"])
def test_hostile_input_has_finite_results(kind, epsilon, n, rng):
    x = {
        "constant": np.full(n, 0.1),
        "ties": rng.integers(0, 2, n).astype(float),
        "outliers": np.r_[rng.normal(size=n - 1), 1e300],
        "huge": 1.7e308 * rng.uniform(-1, 1, n),
        "tiny": 5e-324 * rng.integers(0, 5, n),
        "spread": 10.0 ** rng.uniform(-300, 300, n),
    }[kind]
    # With such an epsilon cotangents may be differences of numbers beyond the largest float.
    large = kind in ("outliers", "huge", "spread")
    for squash in ("logistic", None):
        for func in (ot.sinkhorn_rank, ot.sinkhorn_sort):
            for weights in (None, rng.uniform(size=n) ** 8):
                lin = lapsum.linearize(func, x, epsilon, squash=squash, weights=weights)
                assert np.isfinite(lin.value).all()
                bars = lin.vjp(np.ones(n))
                assert not any(np.isnan(bar).any() for bar in bars) or (large and epsilon < 1e-19)
    for k in (1, n):
        lin = lapsum.linearize(ot.soft_topk, x, k, epsilon)
        assert lin.value.sum() == pytest.approx(k)
        assert not any(np.isnan(bar).any() for bar in lin.vjp(np.ones(n)))
        lin = lapsum.linearize(ot.soft_topk_sorted, x, k, epsilon)
        np.testing.assert_allclose(lin.value.sum(axis=-1), 1.0)
        assert not any(np.isnan(bar).any() for bar in lin.vjp(np.ones(lin.value.shape)))


def test_a_constant_has_equal_ranks():
    np.testing.assert_allclose(ot.sinkhorn_rank(np.full(4, 0.1), 1e-3), 2.5)
    np.testing.assert_allclose(ot.sinkhorn_sort(np.full(4, 0.1), 1e-3), 0.1)
    assert (lapsum.linearize(ot.sinkhorn_rank, np.full(4, 0.1), 0.1).vjp(np.ones(4))[0] == 0).all()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_arrays(shape):
    x = np.zeros(shape)
    assert ot.sinkhorn_rank(x, 0.1).shape == shape
    assert ot.sinkhorn_sort(x, 0.1).shape == shape
    assert ot.soft_topk(x, 0, 0.1).shape == shape
    assert ot.soft_topk_sorted(x, 0, 0.1).shape == (*shape[:-1], 0, shape[-1])
    lin = lapsum.linearize(ot.sinkhorn_rank, x, 0.1)
    assert [np.shape(bar) for bar in lin.vjp(np.zeros(shape))] == [shape, ()]
    assert np.isnan(ot.sinkhorn_sort(x[..., :0], 0.1, target_weights=[1.0, 1.0])).all()


def test_no_weight_at_all():
    none = np.zeros(3)
    np.testing.assert_array_equal(ot.sinkhorn_rank([1.0, 2.0, 3.0], 0.1, weights=none), 0.5)
    assert np.isnan(ot.sinkhorn_sort([1.0, 2.0, 3.0], 0.1, weights=none)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epsilon": 0.0}, ValueError, "`epsilon` must be positive"),
        ({"epsilon": -1.0}, ValueError, "`epsilon` must be positive"),
        ({"epsilon": np.nan}, ValueError, "`epsilon` must be positive"),
        ({"epsilon": [0.1, 0.2]}, ValueError, "`epsilon` of shape"),
        ({"weights": [1.0, -1.0, 1.0]}, ValueError, "`weights` must be non-negative"),
        ({"weights": [1.0]}, ValueError, "`weights` of shape"),
        ({"targets": [0.0, 2.0, 1.0]}, ValueError, "`targets` must be in ascending order"),
        ({"targets": [0.0, np.nan]}, ValueError, "`targets` must be finite"),
        ({"targets": np.zeros((2, 2))}, ValueError, "`targets` of shape"),
        ({"target_weights": [0.0, 0.0]}, ValueError, "`target_weights` must have a positive sum"),
        ({"target_weights": [1.0, -1.0]}, ValueError, "`target_weights` must be non-negative"),
        (
            {"targets": [0.0, 1.0], "target_weights": [1.0]},
            ValueError,
            "`target_weights` has length",
        ),
        ({"squash": "normal"}, ValueError, "`squash` must be"),
        ({"squash": 1}, TypeError, "`squash` must be"),
        ({"descending": 2}, TypeError, "`descending` must be"),
        ({"axis": (0,)}, TypeError, "`axis` must be"),
        ({"axis": 0.5}, TypeError, "`axis` must be"),
        ({"x": 1.0}, ValueError, "`x` must have at least one dimension"),
        ({"x": [1j, 2, 3]}, TypeError, "`x` must be real"),
    ],
)
def test_errors_open_with_the_argument(arguments, error, text):
    with pytest.raises(error) as caught:
        ot.sinkhorn_rank(**{"x": [1.0, 2.0, 3.0], "epsilon": 0.1, **arguments})
    assert str(caught.value).startswith(text)


def test_more_errors():
    with pytest.raises(ValueError, match="`q` must lie"):
        ot.sinkhorn_quantile([1.0, 2.0], 1.0, 0.1)
    with pytest.raises(ValueError, match="`values` of shape"):
        ot.sinkhorn_permute([1.0, 2.0], [1.0], 0.1)
    with pytest.raises(ValueError, match="`k` must lie between 0 and 2"):
        ot.soft_topk([1.0, 2.0], 3, 0.1)
    with pytest.raises(ValueError, match="`k` must lie between 0 and 2"):
        ot.soft_topk_sorted([1.0, 2.0], 3, 0.1)
    with pytest.raises(TypeError, match="`k` must be an integer"):
        ot.soft_topk_sorted([1.0, 2.0], 1.5, 0.1)
    with pytest.raises(ValueError, match="`x` must be 1-D"):
        ot.SinkhornPlan([[1.0, 2.0]], 0.1)
    with pytest.raises(ValueError, match="`v` must have shape"):
        ot.SinkhornPlan([1.0, 2.0], 0.1) @ [1.0]


def test_a_plan_that_is_not_found_says_how_far_it_came():
    x = np.array([0.0, np.nan])
    starts = np.array([0, 2])
    points = Points(x, np.array([0.5, 0.5]), starts)
    with pytest.raises(RuntimeError, match="lane 0 did not converge: after .* on the wrong side"):
        Transport().solve(points, points._replace(at=np.array([0.0, 1.0])), np.array([1.0]))


def test_the_module_comes_when_it_is_asked_for():
    code = (
        "import sys, lapsum; assert 'lapsum.ot' not in sys.modules; lapsum.ot.sinkhorn_rank; "
        "assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("thing", [getattr(ot, name) for name in ot.__all__])
def test_documentation(thing):
    doc = inspect.getdoc(thing)
    assert ".. math::" in doc
    for name in inspect.signature(thing).parameters:
        assert f"{name} : " in doc or f"{name}, " in doc or f", {name} : " in doc, name
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs={}):
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries > 0


def test_work_is_bounded():
    """The worst of many small and nasty plans takes few evaluations of the 200 that are allowed."""
    rng, worst = np.random.default_rng(0), 0
    from lapsum import _kernels

    began = time.perf_counter()
    for _ in range(300):
        n, m = rng.integers(2, 12, 2)
        spread = 10.0 ** rng.uniform(-3, 3)
        x, y = np.sort(rng.normal(size=n) ** 3 * spread), np.sort(rng.uniform(size=m))
        a, b = rng.uniform(size=n) ** 6, rng.uniform(size=m) ** 6
        a, b = a / a.sum(), np.maximum(b / b.sum(), 1e-150)
        rows, columns = np.array([0, n]), np.array([0, m])
        edge, shift = np.zeros(m), np.zeros(m)
        error, count, status = np.zeros(1), np.zeros(1, np.intp), np.zeros(1, np.int32)
        rate = np.array([2.0 * 10.0 ** rng.uniform(-4, 9)])
        _kernels.transport_solve(
            x, a, y, b, edge, shift, rate, rows, columns, error, count, status, 0, 1
        )
        assert status[0] == 0
        worst = max(worst, int(count[0]))
    assert worst <= 40
    assert time.perf_counter() - began < 10.0
