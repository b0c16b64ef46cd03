"""The contract that every operator keeps, run on the list of all operators: what it is given."""

import inspect
import threading

import numpy as np
import pytest
from backends import BACKENDS, CAREFUL, HOST
from contract import batch_of, every_case, every_contract, every_host_case, lane_of, tangents_for


@every_case
def test_axes_strides_and_byte_orders_change_no_bit(contract, options, weighted, rng):
    lanes = [contract.random(rng, 5, weighted) for _ in range(3)]
    arguments = batch_of(contract, lanes)
    expected = contract.call(**arguments, **options)
    for at, lane in enumerate(lanes):
        np.testing.assert_array_equal(
            lane_of(contract, expected, at), contract.call(**lane, **options)
        )

    def changed(change):
        return {name: change(v) if name in contract.lanes else v for name, v in arguments.items()}

    for layout in (
        np.asfortranarray,
        lambda v: np.repeat(v, 2, axis=-1)[:, ::2],
        lambda v: v[::-1, ::-1].copy()[::-1, ::-1],
        lambda v: v.astype(">f8"),
        lambda v: v.tolist(),
    ):
        np.testing.assert_array_equal(
            contract.call(**changed(layout), **options), expected, strict=True
        )
    first = contract.call(**changed(np.transpose), **options, axis=0)
    if contract.core == "vector":
        first = first.T
    np.testing.assert_array_equal(first, expected)
    lin = contract.linearize(**changed(np.transpose), **options, axis=-2)
    assert lin.value.shape == (expected.T if contract.core == "vector" else expected).shape
    for bar, name in zip(lin.vjp(np.ones(lin.value.shape)), lin.parameters, strict=True):
        turned = arguments[name].T if name in contract.lanes else arguments[name]
        assert np.shape(bar) == np.shape(turned)


@every_host_case
def test_read_only_inputs_are_accepted_and_never_changed(contract, options, weighted, rng):
    arguments = contract.random(rng, 5, weighted)
    for value in arguments.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    before = {name: np.copy(v) for name, v in arguments.items()}
    lin = contract.linearize(**arguments, **options)
    bar = np.ones(lin.value.shape)
    bar.flags.writeable = False
    lin.vjp(bar)
    lin.jvp(*(before[name] for name in lin.parameters))
    for name, v in arguments.items():
        np.testing.assert_array_equal(v, before[name])
    assert (bar == 1).all()


@every_host_case
def test_a_linearization_keeps_copies(contract, options, weighted, rng):
    arguments = contract.random(rng, 5, weighted)
    arguments = {name: np.array(v) for name, v in arguments.items()}
    plain = contract.call(**arguments, **options)
    lin = contract.linearize(**arguments, **options)
    bars = contract.linearize(**arguments, **options).vjp(np.ones(plain.shape))
    for v in arguments.values():
        v[...] = 0.3
    np.testing.assert_array_equal(lin.value, plain, strict=True)
    for bar, expected in zip(lin.vjp(np.ones(plain.shape)), bars, strict=True):
        np.testing.assert_array_equal(bar, expected)
    if isinstance(lin.value, np.ndarray):
        with pytest.raises(ValueError, match="read-only"):
            lin.value[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            lin.value.flags.writeable = True


@every_case
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_floats_are_computed_in_double_and_rounded_once(
    contract, options, weighted, dtype, rng
):
    arguments = contract.random(rng, 5, weighted)
    small = {
        name: v.astype(dtype) if name in contract.lanes and name != "weights" else v
        for name, v in arguments.items()
    }
    wide = {name: np.asarray(v, float) for name, v in small.items()}
    value = contract.call(**small, **options)
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, contract.call(**wide, **options).astype(dtype))
    lin = contract.linearize(**small, **options)
    for bar, name in zip(lin.vjp(np.ones(value.shape)), lin.parameters, strict=True):
        given_as = np.asarray(small[name]).dtype
        assert bar.dtype == given_as


@every_host_case
def test_fused_and_careful_kernels_agree_on_float32(contract, options, weighted, rng):
    arguments = contract.random(rng, 200, weighted)
    small = {
        name: np.asarray(v, np.float32) if name in contract.lanes else v
        for name, v in arguments.items()
    }
    fused, careful = (
        contract.on(backend).linearize(**small, **options) for backend in (HOST, CAREFUL)
    )
    eps = np.finfo(np.float32).eps
    scale = np.abs(fused.value).max()
    np.testing.assert_allclose(fused.value, careful.value, rtol=eps, atol=1e-12 * scale)
    bar = rng.normal(size=np.shape(fused.value)).astype(np.float32)
    tangents = tangents_for(rng, small, fused.parameters)
    pairs = [
        (fused.jvp(*tangents), careful.jvp(*tangents)),
        *zip(fused.vjp(bar), careful.vjp(bar), strict=True),
    ]
    for one, other in pairs:
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=2 * eps * np.abs(other).max())


@every_case
def test_integers_count_as_double(contract, options, weighted, rng):
    arguments = contract.random(rng, 5, weighted)
    arguments[contract.data] = np.arange(5)
    value = contract.call(**arguments, **options)
    assert value.dtype == np.float64
    arguments[contract.data] = np.arange(5.0)
    np.testing.assert_array_equal(value, contract.call(**arguments, **options))


@every_case
def test_a_nan_spoils_its_lane_alone(contract, options, weighted, rng):
    lanes = [contract.random(rng, 5, weighted) for _ in range(3)]
    clean = contract.call(**batch_of(contract, lanes), **options)
    lanes[1][contract.data][2] = np.nan
    arguments = batch_of(contract, lanes)
    lin = contract.linearize(**arguments, **options)
    assert np.isnan(lane_of(contract, lin.value, 1)).all()
    for at in (0, 2):
        np.testing.assert_array_equal(
            lane_of(contract, lin.value, at), lane_of(contract, clean, at)
        )
    tangent = lin.jvp(*(np.ones(np.shape(arguments[name])) for name in lin.parameters))
    bars = lin.vjp(np.ones(lin.value.shape))
    for at in (0, 2):
        assert np.isfinite(lane_of(contract, tangent, at)).all()
        for bar, name in zip(bars, lin.parameters, strict=True):
            if name in contract.lanes:
                assert np.isfinite(bar[at]).all()


@every_case
def test_empty_batches_and_empty_axes(contract, options, weighted, rng):
    lanes = [contract.random(rng, 3, weighted) for _ in range(2)]
    arguments = {
        name: v[:0] if name in (*contract.lanes, *contract.scalars) else v
        for name, v in batch_of(contract, lanes).items()
    }
    lin = contract.linearize(**arguments, **options)
    assert lin.value.size == 0
    assert lin.jvp(*(arguments[name] for name in lin.parameters)).shape == lin.value.shape
    for bar, name in zip(lin.vjp(lin.value), lin.parameters, strict=True):
        assert np.shape(bar) == np.shape(arguments[name])
    empty = {
        name: v[:0] if name in (contract.data, "weights", "values") else v
        for name, v in lanes[0].items()
    }
    if "k" in empty:
        empty["k"] = 0.0
    if "k" in contract.positive:  # nothing can be chosen from nothing
        with pytest.raises(ValueError, match="^`k` must be positive"):
            contract.call(**empty, **options)
        return
    lin = contract.linearize(**empty, **options)
    for bar, name in zip(lin.vjp(np.ones(lin.value.shape)), lin.parameters, strict=True):
        assert np.shape(bar) == np.shape(empty[name])
    assert lin.jvp(*(empty[name] for name in lin.parameters)).shape == lin.value.shape


@every_case
def test_alpha_is_checked_and_never_enlarges(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 3, weighted), **options}
    for bad in (0, -0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^`alpha` must be positive and finite, got"):
            contract.call(**{**arguments, "alpha": bad})
    with pytest.raises(ValueError, match=r"^`alpha` of shape \(2,\) does not broadcast"):
        contract.call(**{**arguments, "alpha": [0.1, 0.2]})
    for bad in ("1", None, 1j, [object()]):
        with pytest.raises(TypeError, match="^`alpha` must be real numbers"):
            contract.call(**{**arguments, "alpha": bad})
    with pytest.raises(ValueError, match="^`alpha` must be within the range of floats, got an int"):
        contract.call(**{**arguments, "alpha": 10**5000})  # more digits than Python prints


class Foreign:
    """An array of a library that lapsum knows nothing of."""

    def __array_namespace__(self):
        raise AssertionError("converted")

    __array__ = __array_namespace__


@every_host_case
def test_types_that_are_not_arrays_of_reals(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 3, weighted), **options}
    data = contract.data
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    for bad in (
        masked,
        Foreign(),
        [Foreign(), Foreign(), Foreign()],
        np.array([1.0]).view(np.matrix),
    ):
        with pytest.raises(TypeError, match=rf"^`{data}` is an array of type .*lapsum has no"):
            contract.call(**{**arguments, data: bad})
        with pytest.raises(TypeError, match=rf"^`{data}` is an array of type"):
            contract.linearize(**{**arguments, data: bad})
    for bad in (
        "abc",
        None,
        [1j, 2, 3],
        np.ones(3, np.longdouble),
        [None, 1.0, 2.0],
        np.array(["2020-01-01"] * 3, "datetime64[D]"),
        {1: 2},
    ):
        with pytest.raises(TypeError, match=rf"^`{data}` must be real numbers"):
            contract.call(**{**arguments, data: bad})
    with pytest.raises(ValueError, match=rf"^`{data}` is not an array"):
        contract.call(**{**arguments, data: [[1.0], [1.0, 2.0]]})


@every_case
def test_axis_is_checked(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 3, weighted), **options}
    for bad in (1.0, "0", [0], *([] if contract.several_axes else [(0,)])):
        kinds = ", a tuple of integers or None" if contract.several_axes else " or None"
        with pytest.raises(TypeError, match=f"^`axis` must be an integer{kinds}, got"):
            contract.call(**arguments, axis=bad)
    with pytest.raises(np.exceptions.AxisError, match="^`axis` for `.*` of sh.* axis 1 is out of"):
        contract.call(**arguments, axis=1)
    with pytest.raises(ValueError, match=rf"^`{contract.data}` must have at least one dimension"):
        contract.call(**{**arguments, contract.data: 1.0})


@every_case
def test_axis_none_is_the_raveled_array(contract, options, weighted, rng):
    flat = {**contract.random(rng, 6, weighted), **options}
    folded = {
        name: np.reshape(v, (2, 3)) if np.shape(v) == (6,) and name in contract.lanes else v
        for name, v in flat.items()
    }
    expected = contract.linearize(**flat)
    lin = contract.linearize(**folded, axis=None)
    if contract.name in ("lap_sum", "lap_sum_inv"):  # each target stays where it is
        assert np.shape(lin.value) == np.shape(folded[lin.parameters[0]])
    else:
        assert np.shape(lin.value) == np.shape(expected.value)
    np.testing.assert_array_equal(np.ravel(lin.value), np.ravel(expected.value))
    np.testing.assert_array_equal(contract.call(**folded, axis=None), lin.value)
    bar = rng.normal(size=np.shape(lin.value))
    bars = lin.vjp(bar), expected.vjp(bar.reshape(np.shape(expected.value)))
    for got, want, name in zip(*bars, lin.parameters, strict=True):
        assert np.shape(got) == np.shape(folded[name])
        np.testing.assert_array_equal(np.ravel(got), np.ravel(want))
    tangents = tangents_for(rng, folded, lin.parameters)
    flat_tangents = [
        np.reshape(t, np.shape(flat[name]))
        for t, name in zip(tangents, lin.parameters, strict=True)
    ]
    got, want = lin.jvp(*tangents), expected.jvp(*flat_tangents)
    np.testing.assert_array_equal(np.ravel(got), np.ravel(want))


@every_contract(*BACKENDS, where=lambda c: c.several_axes)
@pytest.mark.parametrize("keepdims", [False, True])
def test_several_axes_are_one(contract, keepdims, rng):
    lanes = [contract.random(rng, 6, weighted=True) for _ in range(4)]
    arguments = batch_of(contract, lanes)
    expected = contract.linearize(**arguments)
    moved = {  # (2, 4, 3): the batch in the middle
        name: np.moveaxis(np.reshape(v, (4, 2, 3)), 0, 1) if name in contract.lanes else v
        for name, v in arguments.items()
    }
    lin = contract.linearize(**moved, axis=(0, -1), keepdims=keepdims)
    shape = np.shape(expected.value)
    assert np.shape(lin.value) == ((*shape[:-1], 1, 4, 1) if keepdims else shape)
    np.testing.assert_array_equal(np.reshape(lin.value, shape), expected.value)
    bar = rng.normal(size=shape)
    bars = lin.vjp(bar.reshape(np.shape(lin.value))), expected.vjp(bar)
    for got, want, name in zip(*bars, lin.parameters, strict=True):
        if name in contract.lanes:
            got = np.moveaxis(got, 1, 0).reshape(4, 6)
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="^`axis` names an axis twice"):
        contract.call(**moved, axis=(0, -3))


@every_case
def test_choices_are_true_or_false(contract, options, weighted, rng):
    """A text such as "no" is true to Python, and would turn the order without a word."""
    arguments = contract.random(rng, 3, weighted)
    parameters = inspect.signature(contract.func).parameters
    choices = {name: p.default for name, p in parameters.items() if type(p.default) is bool}
    if "per_lane" in choices:
        arguments["q"] = 0.3  # one level, whichever way
    for name in choices:
        for value in (False, True):
            expected = contract.call(**{**arguments, **options, name: value})
            for same in (int(value), np.bool_(value)):
                got = contract.call(**{**arguments, **options, name: same})
                np.testing.assert_array_equal(got, expected)
        for bad in ("no", None, 2, -1, 1.0, [True]):
            with pytest.raises(TypeError, match=f"^`{name}` must be True or False, got"):
                contract.call(**{**arguments, **options, name: bad})


@every_case
def test_binding_by_position_or_keyword(contract, options, weighted, rng):
    arguments = contract.random(rng, 4, weighted)
    positional = [
        name
        for name, p in inspect.signature(contract.func).parameters.items()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    rest = {k: v for k, v in arguments.items() if k not in positional} | options
    by_position = contract.call(*(arguments[name] for name in positional), **rest)
    np.testing.assert_array_equal(by_position, contract.call(**arguments, **options))
    tangents = tangents_for(rng, arguments, [*positional, *(["weights"] if weighted else [])])
    value, tangent = contract.jvp([arguments[name] for name in positional], tangents, **rest)
    lin = contract.linearize(**arguments, **options)
    np.testing.assert_array_equal(value, by_position)
    np.testing.assert_array_equal(tangent, lin.jvp(*tangents))
    value, pullback = contract.vjp(**arguments, **options)
    np.testing.assert_array_equal(value, by_position)
    assert len(pullback(value)) == len(tangents)


@every_host_case
def test_concurrent_calls_agree(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 200, weighted), **options}
    expected, results = contract.call(**arguments), []
    threads = [
        threading.Thread(target=lambda: results.append(contract.call(**arguments)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)
