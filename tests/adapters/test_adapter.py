"""What adapters share, without their libraries: shapes without data, and a batch axis in front."""

import itertools
from inspect import signature

import numpy as np
import pytest
import scipy.stats as st
from calls import EVERY, call_and_arrays

import lapsum
from lapsum._adapters.adapter import Linearized, decode
from lapsum._adapters.batch import batched

NAMES = sorted(EVERY)
WITH_DENSITY = [n for n in NAMES if "density" in signature(EVERY[n].func).parameters]
OPTIONS = [{}, {"axis": 0}, {"axis": 1}, {"axis": None}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_shape_without_data(name, options, rng):
    keep = [{}, {"keepdims": True}] if name in ("soft_quantile", "soft_trimmed_mean") else [{}]
    for more in keep:
        func, made, arrays = call_and_arrays(name, rng, {**options, **more})
        expected = np.shape(func(**arrays, **options, **more))
        assert made.shape([a.shape for a in arrays.values()]) == expected


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_text_and_back(name, options, rng):
    _, made, _ = call_and_arrays(name, rng, options)
    made = made._replace(workers=2, constants={"alpha": 0.1})
    assert decode(made.encode()) == made


def assert_is_a_loop(func, made, arrays, options, rng, size=3):
    """The one call's value, tangent and cotangents are those of the calls, to the bit."""
    several = {n: np.stack([(1 + 0.1 * i) * a for i in range(size)]) for n, a in arrays.items()}
    for name in made.whole:
        several[name] = np.stack([arrays[name]] * size)
    batch = batched(made, {n: a.shape for n, a in arrays.items()}, size)

    def fitted(array, front):
        moved = np.moveaxis(array.reshape(front.reshaped), front.movable, front.moved)
        return np.broadcast_to(moved, front.stretched)

    def stretched(of):
        return [of[n][0] if n in made.whole else fitted(of[n], batch.fronts[n]) for n in made.names]

    result = made.shape([a.shape for a in arrays.values()])

    def from_result(y):
        return np.moveaxis(y, batch.at, 0).reshape(size, *result)

    values = [func(**{n: a[i] for n, a in several.items()}, **options) for i in range(size)]
    one = Linearized(batch.call, stretched(several))
    assert np.shape(one.value) == batch.result
    np.testing.assert_array_equal(from_result(one.value), np.stack(values))
    bar = rng.normal(size=(size, *result))
    at, whole = batch.at, batch.result
    moved = np.moveaxis(bar.reshape(size, *whole[:at], *whole[at + 1 :]), 0, at)
    wrt = [n for n in made.names if n not in made.whole]
    bars = one.vjp(moved.reshape(whole), wrt)
    each = [
        Linearized(made, [a[i] for a in several.values()]).vjp(bar[i], wrt) for i in range(size)
    ]
    for name, found, expected in zip(wrt, bars, zip(*each, strict=True), strict=True):
        front = batch.fronts[name]
        restored = np.moveaxis(found.sum(front.summed, keepdims=True), front.moved, front.movable)
        restored = restored.reshape(size, *arrays[name].shape)
        np.testing.assert_allclose(restored, np.stack(expected), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop(name, options, rng):
    func, made, arrays = call_and_arrays(name, rng, options)
    assert_is_a_loop(func, made, arrays, options, rng)


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_any_density(name, rng):
    for density in ("logistic", lapsum.StudentT(4.0)):
        options = {"density": density}
        func, made, arrays = call_and_arrays(name, rng, options)
        assert decode(made.encode()).encode() == made.encode()
        assert_is_a_loop(func, made, arrays, options, rng)


def test_objects_of_other_processes(rng):
    """Their texts are refused here; a StudentT is text itself."""
    own = lapsum.Density(st.hypsecant.cdf, st.hypsecant.pdf)
    for density in (own, st.t(3.0)):
        _, made, _ = call_and_arrays("soft_rank", rng, {"density": density})
        text = made.encode()
        assert decode(text) == made
        with pytest.raises(ValueError, match="`density` is an object of the process"):
            decode(text + "0")
    _, made, _ = call_and_arrays("soft_rank", rng, {"density": lapsum.StudentT(1e20)})
    assert "object" not in made.encode()
    assert decode(made.encode()).options["density"].df == 1e20


@pytest.mark.parametrize("name", [n for n in NAMES if EVERY[n].weighted])
def test_weights_along_the_axis(name, rng):
    for options in OPTIONS:
        weights = rng.uniform(1, 2, 16 if options.get("axis", -1) is None else 4)
        func, made, arrays = call_and_arrays(name, rng, options, weights=weights)
        assert_is_a_loop(func, made, arrays, options, rng)


@pytest.mark.parametrize(
    ("target", "sources", "axis"),
    [
        ((), (5,), -1),
        ((), (5,), 0),
        ((), (2, 5), -1),
        ((), (5, 2), 0),
        ((3,), (5, 2), 0),
        ((3,), (2, 5), -1),
        ((2, 3), (5,), -1),
        ((2, 1, 3), (4, 5), -1),
        ((1, 3), (4, 5), 1),
    ],
)
def test_targets_and_sources(target, sources, axis, rng):
    for name, of_target in (("lap_sum", "x"), ("lap_sum_inv", "w")):
        given = {
            of_target: rng.uniform(0.5, 3.0, target),
            "r": rng.normal(size=sources),
            "weights": rng.uniform(1, 2, sources),
        }
        options = {"axis": axis}
        func, made, arrays = call_and_arrays(name, rng, options, **given)
        assert made.shape([a.shape for a in arrays.values()]) == np.shape(func(**arrays, **options))
        assert_is_a_loop(func, made, arrays, options, rng)


@pytest.mark.parametrize(
    ("keys", "values", "axis"),
    [
        ((5,), (5,), 0),
        ((5,), (5, 3), 0),
        ((5,), (2, 5), 1),
        ((2, 5), (5,), 1),
        ((5, 1), (2, 5, 3), 1),
    ],
)
def test_keys_and_values(keys, values, axis, rng):
    options = {"axis": axis}
    given = {"x": rng.normal(size=keys), "values": rng.normal(size=values)}
    func, made, arrays = call_and_arrays("soft_permute", rng, options, **given)
    assert made.shape([a.shape for a in arrays.values()]) == np.shape(func(**arrays, **options))
    assert_is_a_loop(func, made, arrays, options, rng)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [(0, 2), (-1, 0), (1,), None])
def test_several_axes(axis, keepdims, rng):
    options = {"axis": axis, "keepdims": keepdims}
    for name, more in (
        ("soft_quantile", {}),
        ("soft_quantile", {"per_lane": True}),
        ("soft_trimmed_mean", {}),
    ):
        given = {"q": 0.3} if more else {}
        every = {**options, **more}
        func, made, arrays = call_and_arrays(name, rng, every, shape=(2, 3, 4), **given)
        expected = np.shape(func(**arrays, **every))
        assert made.shape([a.shape for a in arrays.values()]) == expected
        assert decode(made.encode()) == made
        assert_is_a_loop(func, made, arrays, every, rng)


@pytest.mark.parametrize("axis", [(0, 2), (2, 0), (-1, -3, 1), (2, 1), None])
def test_weights_along_several_axes(axis, rng):
    """1-D, in the order in which the axes are named."""
    shape = (2, 3, 4)
    n = np.prod([shape[i] for i in axis] if axis else shape)
    for name in ("soft_quantile", "soft_trimmed_mean"):
        options, given = {"axis": axis}, {"weights": rng.uniform(1, 2, n)}
        func, made, arrays = call_and_arrays(name, rng, options, shape=shape, **given)
        assert_is_a_loop(func, made, arrays, options, rng)


def test_levels_of_each_lane(rng):
    given = {"q": np.array([0.1, 0.3, 0.5, 0.7])}
    options = {"per_lane": True}
    func, made, arrays = call_and_arrays("soft_quantile", rng, options, **given)
    assert_is_a_loop(func, made, arrays, options, rng)


@pytest.mark.parametrize("name", ["soft_topk", "soft_trimmed_mean", "soft_rank"])
def test_numbers_of_some_lanes(name, rng):
    func, made, arrays = call_and_arrays(name, rng, {}, shape=(2, 3, 4), alpha=[0.1, 0.2, 0.4])
    assert_is_a_loop(func, made, arrays, {}, rng)


@pytest.mark.parametrize("density", [None, "logistic"])
def test_what_keeps_its_value_says_so(density, rng):
    """A change of the value changes no derivative, or `keeps_value` says that it may."""
    for name, shape in itertools.product(NAMES, [(4, 4), (1, 1)]):
        options = {"density": density} if density is not None else {}
        if density is not None and name not in WITH_DENSITY:
            continue
        _, made, arrays = call_and_arrays(name, rng, options, shape=shape)
        one, other = (Linearized(made, list(arrays.values())) for _ in range(2))
        bar = rng.normal(size=np.shape(one.value))
        expected = other.vjp(bar, made.names)
        assert not any(np.may_share_memory(found, bar) for found in expected)
        assert not any(np.may_share_memory(one.value, a) for a in arrays.values())
        if one.rule.keeps_value:
            continue
        one.value[...] = 7.0
        for found, exact in zip(one.vjp(bar, made.names), expected, strict=True):
            np.testing.assert_array_equal(found, exact)
