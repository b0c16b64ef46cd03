"""The state of a rule as arrays: of the shapes that are told without data, and to the bit."""

import numpy as np
import pytest
from calls import EVERY, call_and_arrays

from lapsum._adapters.adapter import Linearized

NAMES = sorted(EVERY)
# What is composed is computed anew, and beside matrices the order costs nothing.
WITHOUT = {"soft_trimmed_mean", "soft_permutation"}
# With weights their cotangents need all results, too.
UNWEIGHTED = {"soft_topk", "log_soft_topk", "soft_quantile"}
LONG = 300  # no short lanes


def assert_restored(made, arrays, rng, has_state=True):
    """Both products are the same from the state as from the call that had it."""
    arrays = list(arrays.values())
    forms = made.state_forms([a.shape for a in arrays])
    assert bool(forms) == has_state
    one = Linearized(made, arrays)
    state = one.state() if forms else ()
    assert [(a.shape, a.dtype) for a in state] == list(forms)
    held = [a for a in state if a.base is not None and a.base.nbytes > 2 * a.nbytes]
    assert not held, "a state holds more memory than its own"
    again = Linearized(made, arrays, [a.copy() for a in state])
    bar = rng.normal(size=np.shape(one.value))
    dots = {n: rng.normal(size=a.shape) for n, a in zip(made.names, arrays, strict=True)}
    for found, expected in zip(again.vjp(bar, made.names), one.vjp(bar, made.names), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again.jvp(dots), one.jvp(dots))


@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": None}])
@pytest.mark.parametrize(
    ("name", "weighted"),
    [(n, w) for n in NAMES for w in (False, True) if EVERY[n].weighted or not w],
)
def test_to_the_bit(name, weighted, options, rng):
    shape = (LONG, 2) if options.get("axis") == 0 else (2, LONG)
    _, made, arrays = call_and_arrays(name, rng, options, shape, weighted)
    has_state = name not in WITHOUT and not (weighted and name in UNWEIGHTED)
    assert_restored(made, arrays, rng, has_state)


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT))
def test_hard_lanes(name, rng):
    """NaN, infinities, ties, extreme scales, levels at both ends."""
    _, made, arrays = call_and_arrays(name, rng, {}, (6, LONG), weighted=False)
    entries = arrays["r"] if "r" in arrays else arrays["x"]
    entries[0, 3], entries[1, :5], entries[2, ::2], entries[4] = np.nan, np.inf, -np.inf, 0.0
    arrays["alpha"] = np.array([0.1, 0.1, 0.1, 1e-300, 0.1, 1e300])
    if "k" in arrays:
        arrays["k"] = np.array([3.0, 0.0, LONG, 0.0, 2.5, 7.0])
    assert_restored(made, arrays, rng)


@pytest.mark.parametrize("name", ["soft_rank", "soft_sort", "lap_sum", "soft_permute"])
def test_long_lanes(name, rng):
    """Those that are ordered part by part."""
    _, made, arrays = call_and_arrays(name, rng, {}, (2, 2**18 + 3), weighted=False)
    arrays["alpha"] = np.asarray(1e-4)
    assert_restored(made, arrays, rng)


def test_weights_of_nothing(rng):
    _, made, arrays = call_and_arrays("soft_rank", rng, {}, (3, LONG))
    arrays["weights"][:, ::3] = 0.0
    arrays["weights"][2] = 0.0
    arrays["x"][0, 0], arrays["x"][1, 1] = np.nan, np.nan
    assert_restored(made, arrays, rng)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_absent_ranks_that_overflow(dtype, rng):
    """They have no derivatives, and only the ranks tell which these are."""
    _, made, arrays = call_and_arrays("soft_rank", rng, {}, (1, LONG))
    arrays["x"] = np.arange(LONG, dtype=dtype)[None]
    arrays["alpha"] = np.asarray(0.1)
    weights = np.full(LONG, 0.8 * float(np.finfo(dtype).max) / LONG)
    weights[:8] *= [1, 1, 0, 1, 1, 1, 1, 0.5 * LONG]
    weights[-1] = 0.0
    arrays["weights"] = weights[None]
    assert Linearized(made, list(arrays.values())).value[0, -1] == 0.0
    assert_restored(made, arrays, rng)


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT))
def test_float32_and_no_lanes(name, rng):
    _, made, arrays = call_and_arrays(name, rng, {}, (2, LONG), weighted=False)
    single = {n: a.astype(np.float32) for n, a in arrays.items()}
    assert_restored(made, single, rng)
    none = {n: a[:0] if a.ndim == 2 else a for n, a in arrays.items()}
    assert_restored(made, none, rng)


def test_short_lanes_and_densities_have_none(rng):
    _, made, arrays = call_and_arrays("soft_topk", rng, {}, (2, 9), weighted=False)
    assert_restored(made, arrays, rng, has_state=False)
    _, made, arrays = call_and_arrays(
        "soft_topk", rng, {"density": "logistic"}, (2, LONG), weighted=False
    )
    assert_restored(made, arrays, rng, has_state=False)
    _, made, arrays = call_and_arrays("soft_quantile", rng, {"per_lane": True}, (2, LONG), False)
    arrays["q"] = np.array([0.2, 0.4])
    assert_restored(made, arrays, rng)
