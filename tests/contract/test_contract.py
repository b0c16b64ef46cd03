"""The contract that every operator keeps, run on the list of all operators: the mathematics."""

import warnings
from inspect import signature
from itertools import product

import numpy as np
import oracle
import pytest
from backends import BACKENDS
from contract import (
    batch_of,
    every_case,
    every_case_by_entries,
    every_contract,
    tangents_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp


@every_case
def test_value_is_within_its_bound(contract, options, weighted, rng):
    for n in (1, 2, 7):
        arguments = {**contract.random(rng, n, weighted), **options}
        assert contract.units(contract.call(**arguments), **arguments) <= 1


@every_case
def test_derivatives_match_the_dense_jacobian(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 5, weighted), **options}
    exact = contract.exact_jacobian(**arguments)
    lin = contract.linearize(**arguments)
    assert lin.parameters == tuple(exact)
    for name in lin.parameters:
        entries = np.array(exact[name], dtype=float)
        matrix = lin.jacobian(name)
        assert matrix.shape == entries.shape
        scale = 1e-12 * np.abs(entries).max()
        np.testing.assert_allclose(matrix @ np.eye(entries.shape[1]), entries, atol=scale, rtol=0)
        np.testing.assert_allclose(matrix.T @ np.eye(len(entries)), entries.T, atol=scale, rtol=0)


@every_case
def test_jvp_matches_finite_differences(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 6, weighted), **options}
    lin = contract.linearize(**arguments)
    for name in lin.parameters:
        direction = rng.normal(size=np.shape(arguments[name]))
        step = 1e-5
        ends = [
            contract.call(**{**arguments, name: arguments[name] + s * direction})
            for s in (step, -step)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        tangent = lin.jvp(*(direction if p == name else None for p in lin.parameters))
        np.testing.assert_allclose(tangent, expected, atol=1e-4 * np.abs(expected).max())


@every_case
def test_jvp_and_vjp_are_adjoint(contract, options, weighted, rng):
    lanes = [contract.random(rng, 8, weighted) for _ in range(3)]
    arguments = {**batch_of(contract, lanes), **options}
    lin = contract.linearize(**arguments)
    tangents = tangents_for(rng, arguments, lin.parameters)
    cotangent = rng.normal(size=lin.value.shape)
    forward = (lin.jvp(*tangents) * cotangent).sum()
    bars = lin.vjp(cotangent)
    backward = sum((b * t).sum() for b, t in zip(bars, tangents, strict=True))
    size = sum(np.abs(b * t).sum() for b, t in zip(bars, tangents, strict=True))
    assert abs(forward - backward) <= 1e-13 * size


@every_case
def test_derivatives_are_linear_and_selective(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 5, weighted), **options}
    lin = contract.linearize(**arguments)
    tangents = tangents_for(rng, arguments, lin.parameters)
    parts = [
        lin.jvp(*(t if i == j else None for j, t in enumerate(tangents)))
        for i in range(len(tangents))
    ]
    np.testing.assert_allclose(lin.jvp(*tangents), sum(parts), atol=1e-13 * np.abs(parts).max())
    nothing = lin.jvp(*[None] * len(tangents))
    assert nothing.dtype == lin.value.dtype
    np.testing.assert_array_equal(nothing, np.zeros_like(lin.value))
    bars = lin.vjp(np.ones(lin.value.shape))
    for i, name in enumerate(lin.parameters):
        alone = lin.vjp(np.ones(lin.value.shape), wrt=(name,))
        assert [bar is None for bar in alone] == [j != i for j in range(len(bars))]
        np.testing.assert_array_equal(alone[i], bars[i])
        assert np.shape(bars[i]) == np.shape(arguments[name])


@every_case
def test_equivariance_under_scaling_is_exact(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 6, weighted), **options}
    value = contract.call(**arguments)
    for factor in (2.0**-30, 2.0**40):
        scaled = dict(arguments)
        for name in (*contract.moves, "alpha"):
            scaled[name] = scaled[name] * factor
        np.testing.assert_array_equal(
            contract.call(**scaled), value * factor**contract.degree, strict=True
        )


@every_case
def test_equivariance_under_translation(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 6, weighted), **options}
    for name in contract.moves:  # so that adding the shift is exact
        arguments[name] = np.round(arguments[name] * 64) / 64
    moved = dict(arguments)
    for name in contract.moves:
        moved[name] = moved[name] + 1024.0
    value, after = contract.call(**arguments), contract.call(**moved)
    if contract.shifts:
        np.testing.assert_allclose(after, value + 1024.0, rtol=1e-15)
    else:
        np.testing.assert_array_equal(after, value)


@every_case
def test_permuting_the_entries(contract, options, weighted, rng):
    arguments = {**contract.random(rng, 7, weighted), **options}
    turn = rng.permutation(7)
    back = options.get("transpose")  # from positions, which stay, to entries
    turned = {
        name: v[turn]
        if np.shape(v) == (7,) and name in contract.lanes and not (back and name == "values")
        else v
        for name, v in arguments.items()
    }
    value, after = contract.call(**arguments), contract.call(**turned)
    if contract.core == "matrix":
        value = value[:, turn]
    elif contract.follows or back:
        value = value[turn]
    np.testing.assert_allclose(after, value, rtol=1e-14)


@every_contract(*BACKENDS, where=lambda c: c.weighted)
@pytest.mark.parametrize("held", [np.nan, np.inf, -np.inf, 1e300])
def test_zero_weight_means_absent(contract, held, rng):
    for options in contract.options:
        check_zero_weight(contract, options, held, rng)


def check_zero_weight(contract, options, held, rng):
    arguments = contract.random(rng, 5, weighted=True)
    padded = dict(arguments)
    padded[contract.data] = np.insert(arguments[contract.data], 2, held)
    padded["weights"] = np.insert(arguments["weights"], 2, 0.0)
    here = np.delete(np.arange(6), 2) if contract.follows else ...
    small = contract.linearize(**arguments, **options)
    large = contract.linearize(**padded, **options)
    np.testing.assert_array_equal(large.value[here], small.value)
    bar = rng.normal(size=small.value.shape)
    wide = np.zeros(large.value.shape)
    wide[here] = bar
    if contract.follows and not np.isfinite(held) and large.value[2] == 0:
        wide[2] = 1.0  # its own output adds nothing to other cotangents
    if contract.follows:
        assert np.isfinite(large.value).all()
    for name, a, b in zip(small.parameters, large.vjp(wide), small.vjp(bar), strict=True):
        if name == contract.data:
            assert a[2] == 0
        if name in (contract.data, "weights"):
            assert np.isfinite(a).all() or not np.isnan(held)
            a = np.delete(a, 2)
        np.testing.assert_allclose(a, b, rtol=1e-13, err_msg=name)


@every_contract(*BACKENDS, where=lambda c: c.weighted)
@pytest.mark.parametrize(("dtype", "alpha"), [(np.float16, 1e-4), (np.float32, 1e-36)])
@pytest.mark.parametrize("held", [np.nan, 6e4, -6e4])
def test_results_of_absent_entries_do_not_overflow(contract, dtype, alpha, held, rng):
    others = [{"density": "normal"}] if "density" in signature(contract.func).parameters else []
    x, weights, here = np.array([0.5, 1.0, held, 2.0]), np.array([1.0, 1e5, 0.0, 1.0]), [0, 1, 3]
    padded = contract.lane(rng, x, alpha, weights)
    small = {n: v[here] if n in (contract.data, "weights") else v for n, v in padded.items()}
    for arguments in (padded, small):
        arguments[contract.data] = arguments[contract.data].astype(dtype)
    for options, density in product(contract.options, [{}, *others]):
        value = contract.call(**padded, **options, **density)
        expected = contract.call(**small, **options, **density)
        assert value.dtype == expected.dtype
        if contract.follows:
            assert np.isfinite(value[2])
            value = value[here]
        np.testing.assert_array_equal(value, expected)


@every_contract(*BACKENDS, where=lambda c: c.weighted)
def test_weights_are_frequencies(contract, rng):
    arguments = contract.random(rng, 4, weighted=True)
    counts = np.array([1, 3, 2, 1])
    arguments = contract.lane(rng, arguments[contract.data], arguments["alpha"], counts)
    repeated = {name: v for name, v in arguments.items() if name != "weights"}
    repeated[contract.data] = np.repeat(arguments[contract.data], counts)
    value, expected = contract.call(**arguments), contract.call(**repeated)
    if contract.follows:
        value = np.repeat(value, counts)
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@every_contract(*BACKENDS, where=lambda c: c.weighted)
def test_weights_may_be_one_dimensional(contract, rng):
    lanes = [contract.random(rng, 5, weighted=True) for _ in range(2)]
    for lane in lanes:
        lane["weights"] = lanes[0]["weights"]
        if "k" in lane:
            lane["k"] = 2.5
    arguments = batch_of(contract, lanes)
    expected = contract.call(**arguments)
    lin = contract.linearize(**{**arguments, "weights": lanes[0]["weights"]})
    np.testing.assert_array_equal(lin.value, expected)
    full = contract.linearize(**arguments).vjp(np.ones(expected.shape))[-1]
    bar = lin.vjp(np.ones(expected.shape))[-1]
    np.testing.assert_allclose(bar, full.sum(axis=0), rtol=1e-14)
    with pytest.raises(ValueError, match="^`weights` of shape"):
        contract.call(**{**arguments, "weights": np.ones(4)})


@every_case_by_entries
def test_tied_entries_get_identical_results(contract, options, weighted, rng):
    x = np.array([0.0, 1.0, -0.0, 1.0, 0.5, 1.0])
    weights = np.ones(6) if weighted else None
    arguments = contract.lane(rng, x, 0.4, weights)
    value = contract.call(**arguments, **options)
    if contract.core == "matrix":
        value = value.T
    np.testing.assert_array_equal(value[0], value[2])
    np.testing.assert_array_equal(value[1], value[3])
    np.testing.assert_array_equal(value[1], value[5])


@every_case
@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-9, 1e9, 1e300, 1.7e308])
def test_extreme_alpha_neither_warns_nor_gives_nan(contract, options, weighted, alpha, rng):
    x = np.array([0.3, -1.2, 0.3, 5.0, 1e-310])
    weights = rng.uniform(0.1, 2, 5) if weighted else None
    arguments = contract.lane(rng, x, alpha, weights)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        lin = contract.linearize(**arguments, **options)
        assert not np.isnan(lin.value).any()
        np.testing.assert_array_equal(contract.call(**arguments, **options), lin.value)
        lin.jvp(*tangents_for(rng, arguments, lin.parameters))
        bars = lin.vjp(np.ones(lin.value.shape))
    for bar, name in zip(bars, lin.parameters, strict=True):
        if name in (contract.data, "values"):
            assert not np.isnan(bar).any(), name


@every_case
def test_derivatives_do_not_end_with_the_largest_alpha(contract, options, weighted, rng):
    # Twice this alpha is no float, but the derivatives are: by homogeneity, known ones scaled.
    scale = 2.0**1023
    weights = rng.uniform(0.1, 2.0, 5) if weighted else None
    arguments = contract.lane(rng, rng.uniform(-0.3, 0.3, 5), 1.05, weights)
    scaled = (*contract.moves, "alpha")
    large = {name: a * scale if name in scaled else a for name, a in arguments.items()}
    near, far = (contract.linearize(**a, **options) for a in (arguments, large))
    size = scale**contract.degree
    cotangent = rng.uniform(0.1, 0.2, np.shape(near.value))
    pairs = [(far.value, near.value, size)]
    for name, *bars in zip(near.parameters, far.vjp(cotangent), near.vjp(cotangent), strict=True):
        if contract.degree and name not in scaled:
            continue  # a threshold moves by at least 2 alpha/W with its level, which is no float
        tangent = rng.uniform(0.1, 0.2, np.shape(arguments[name]))
        tangents = [tangent if p == name else None for p in near.parameters]
        factor = size / scale if name in scaled else size
        pairs += [(*bars, factor), (far.jvp(*tangents), near.jvp(*tangents), factor)]
    for result, expected, factor in pairs:
        error = 1e-12 * np.abs(expected).max() + 1e-14
        with np.errstate(over="ignore"):  # some thresholds do end there
            expected = expected * factor
        np.testing.assert_allclose(result, expected, rtol=0, atol=error * factor)


@every_case
def test_infinities_are_the_limit_of_large_entries(contract, options, weighted, rng):
    x = np.array([0.3, -np.inf, 0.8, np.inf, -0.1, -np.inf, 2.0])
    weights = rng.uniform(0.5, 2, 7) if weighted else None
    arguments = contract.lane(rng, x, 0.5, weights)
    large = dict(arguments)
    for name in contract.moves:
        large[name] = np.nan_to_num(arguments[name], posinf=1e7, neginf=-1e7)
    lin = contract.linearize(**arguments, **options)
    near = contract.linearize(**large, **options)
    expected = near.value
    if contract.unbounded:
        expected = np.where(np.abs(expected) > 1e6, np.copysign(np.inf, expected), expected)
    np.testing.assert_allclose(lin.value, expected, rtol=1e-12, atol=1e-12)
    bars = lin.vjp(np.ones(lin.value.shape))
    infinite = np.isinf(x)
    data_bar = bars[lin.parameters.index(contract.data)]
    np.testing.assert_array_equal(data_bar[infinite], np.zeros(infinite.sum()))
    assert np.isfinite(data_bar).all()
    assert not np.isnan(lin.jvp(*(np.ones(np.shape(arguments[p])) for p in lin.parameters))).any()
    # An infinite entry that moves moves nothing.
    moving = [infinite * 1.0 if p == contract.data else None for p in lin.parameters]
    np.testing.assert_array_equal(lin.jvp(*moving), np.zeros_like(lin.value))


@every_contract(*BACKENDS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_finite_lane_is_within_its_bound(contract, data):
    number = st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-1e6, 1e6),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    x = data.draw(st.lists(number, min_size=1, max_size=6))
    exponent = data.draw(st.integers(-12, 12))
    spread = max(x) / 2 - min(x) / 2
    alpha = min(max(10.0**exponent * (spread or 1.0), 1e-300), 1e300)
    weights = None
    if contract.weighted and data.draw(st.booleans()):
        weights = data.draw(st.lists(st.floats(1e-8, 1), min_size=len(x), max_size=len(x)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    arguments = contract.lane(rng, x, alpha, weights)
    assert contract.units(contract.call(**arguments), **arguments) <= 1


def test_the_oracle_is_not_rounded():
    with mp.workdps(60):
        assert len(mp.nstr(oracle.soft_rank([0.0, 1.0], 1.0)[0], 50)) > 40
