"""`workers=` and `out=`: how a call is run changes no result."""

import os
import signal

import numpy as np
import pytest
from calls import EVERY, call
from contract import tangents_for

import lapsum
from lapsum import _kernels
from lapsum._core.call import RULES

WITH_OUT = ["lap_sum", "soft_rank", "soft_sort", "soft_topk", "log_soft_topk", "soft_permute"]


@pytest.mark.parametrize(
    ("name", "weighted"),
    [(c.name, w) for c in EVERY.values() for w in (False, True) if c.weighted or not w],
)
@pytest.mark.parametrize("shape", [(40, 1100), (2, 20_000), (200_001,)], ids=str)
def test_results_are_the_same_bits_for_any_number_of_workers(name, shape, weighted, rng):
    if EVERY[name].core == "matrix":
        shape = (40, 40)
    func, arguments = call(name, rng, shape, weighted)
    one = lapsum.linearize(func, **arguments)
    bar = rng.normal(size=one.value.shape)
    tangents = tangents_for(rng, arguments, one.parameters)
    for workers in (2, 3, -1):
        np.testing.assert_array_equal(func(**arguments, workers=workers), one.value)
        lin = lapsum.linearize(func, **arguments, workers=workers)
        np.testing.assert_array_equal(lin.value, one.value)
        np.testing.assert_array_equal(lin.jvp(*tangents), one.jvp(*tangents))
        for got, expected in zip(lin.vjp(bar), one.vjp(bar), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("soft_rank", (40, 1100)), ("soft_topk", (40, 1100)), ("soft_topk", (200_001,))],
)
def test_threads_that_cannot_start_are_not_needed(name, shape, rng, monkeypatch):
    """A container may allow no more of them; half-done work must not look like a result."""

    tried = []

    def start_new_thread(*args):
        tried.append(args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_kernels, "start_new_thread", start_new_thread)
    func, arguments = call(name, rng, shape)
    expected = func(**arguments)
    np.testing.assert_array_equal(func(**arguments, workers=3), expected)
    assert tried


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that interrupt")
@pytest.mark.parametrize("shape", [(2, 200_001), (400_001,)], ids=str)
def test_interrupted_calls_raise_and_leave_the_rest_alone(shape, rng):
    """Ctrl-C, at any moment, while threads write to memory of the thread that it interrupts."""

    def interrupt(*args):
        raise KeyboardInterrupt

    func, arguments = call("soft_topk", rng, shape)
    expected = func(**arguments)
    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for delay in rng.uniform(1e-5, 2e-3, 150):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                p = func(**arguments, workers=2)
                signal.setitimer(signal.ITIMER_REAL, 0)
                np.testing.assert_array_equal(p, expected)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    np.testing.assert_array_equal(func(**arguments, workers=2), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside BLAS' threads
@pytest.mark.filterwarnings("ignore:os.fork")  # JAX, if other tests have imported it
def test_a_forked_process_has_threads_of_its_own(rng):
    func, arguments = call("soft_topk", rng, (200_001,))
    expected = func(**arguments, workers=2)
    child = os.fork()
    if child == 0:
        same = np.array_equal(func(**arguments, workers=2), expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("name", EVERY)
def test_workers_are_checked(name, rng):
    func, arguments = call(name, rng, (2, 5))
    with pytest.raises(ValueError, match="^`workers` must be positive.*got 0"):
        func(**arguments, workers=0)
    with pytest.raises(ValueError, match="^`workers`"):
        func(**arguments, workers=-(os.cpu_count() or 1) - 1)
    for wrong in (1.0, "2"):
        with pytest.raises(TypeError, match="^`workers` must be an integer or None"):
            func(**arguments, workers=wrong)
    with pytest.raises(ValueError, match="^`workers`"):
        lapsum.linearize(func, **arguments, workers=0)


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_receives_the_result(name, rng):
    func, arguments = call(name, rng, (3, 7))
    expected = func(**arguments)
    for out in (np.empty((3, 7)), np.empty((7, 3)).T, np.empty((3, 14))[:, ::2]):
        assert func(**arguments, out=out) is out
        np.testing.assert_array_equal(out, expected)
    data = EVERY[name].data if name != "soft_permute" else "values"
    assert func(**arguments, out=arguments[data]) is arguments[data]
    np.testing.assert_array_equal(arguments[data], expected)


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_may_overlap_an_argument(name, rng):
    func, arguments = call(name, rng, (3, 7))
    data = EVERY[name].data if name != "soft_permute" else "values"
    expected = func(**arguments)
    for start in (0, 3, 14):
        memory = np.empty(40)
        shared, out = (memory[i : i + 21].reshape(3, 7) for i in (10, start))
        shared[...] = arguments[data]
        assert func(**{**arguments, data: shared}, out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
@pytest.mark.parametrize("func", [lapsum.soft_topk, lapsum.log_soft_topk])
def test_out_of_lanes_that_are_solved_in_different_ways(func, dtype, rng):
    x = rng.normal(size=(5, 70)).astype(dtype)
    x[1, 3], x[2, 4], x[3, :] = np.inf, np.nan, 1.0
    k, out = [3.0, 70.0, 5.0, 7.5, 0.0], np.full_like(x, 7.0)
    assert func(x, k, 0.5, out=out) is out
    np.testing.assert_array_equal(out, func(x, k, 0.5))


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_is_checked_and_untouched_by_errors(name, rng):
    func, arguments = call(name, rng, (3, 7))
    for wrong in (np.zeros((3, 6)), np.zeros((3, 7), np.float32), np.zeros((1, 3, 7))):
        with pytest.raises(ValueError, match=r"^`out` must have shape \(3, 7\) and dtype float64"):
            func(**arguments, out=wrong)
        assert not wrong.any()
    frozen = np.zeros((3, 7))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="^`out` must be writeable"):
        func(**arguments, out=frozen)
    for other in ([[0.0] * 7] * 3, np.ma.zeros((3, 7))):
        with pytest.raises(TypeError, match="^`out` must be an array"):
            func(**arguments, out=other)
    out = np.zeros((3, 7))
    with pytest.raises(ValueError, match="^`alpha`"):
        func(**{**arguments, "alpha": -1.0}, out=out)
    assert not out.any()
    with pytest.raises(TypeError, match="^linearize takes no `out`"):
        lapsum.linearize(func, **arguments, out=out)


@pytest.mark.parametrize("name", WITH_OUT)
def test_a_wrong_out_is_refused_before_the_work(name, rng, monkeypatch):
    func, arguments = call(name, rng, (3, 7))
    rule = RULES[func]
    monkeypatch.setattr(rule, "value", lambda self: pytest.fail("computed"))
    with pytest.raises(ValueError, match="^`out` must have shape"):
        func(**arguments, out=np.zeros(7))


def test_out_of_half_precision(rng):
    x = rng.normal(size=(3, 7)).astype(np.float16)
    out = np.empty_like(x)
    assert lapsum.soft_rank(x, 0.1, out=out) is out
    np.testing.assert_array_equal(out, lapsum.soft_rank(x, 0.1))


def test_operators_without_out_take_none(rng):
    for name in set(EVERY) - set(WITH_OUT):
        func, arguments = call(name, rng, (3, 7))
        with pytest.raises(TypeError, match="out"):
            func(**arguments, out=np.empty((3, 7)))


@pytest.mark.parametrize(
    ("name", "weighted"),
    [(c.name, w) for c in EVERY.values() for w in (False, True) if c.weighted or not w],
)
def test_a_lane_does_not_depend_on_what_the_others_hold(name, weighted, rng):
    func, arguments = call(name, rng, (3, 40), weighted)
    data, clean = EVERY[name].data, lapsum.linearize(func, **arguments)
    bar = rng.normal(size=clean.value.shape)
    first = (lambda a: a[..., 0]) if EVERY[name].core == "first" else (lambda a: a[0])
    expected = [first(clean.value), *(v[0] for v in clean.vjp(bar)[:1])]

    def check(arguments, bar):
        lin = lapsum.linearize(func, **arguments)
        with np.errstate(invalid="ignore"):
            got = [first(lin.value), *(v[0] for v in lin.vjp(bar)[:1])]
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    for bad in (np.nan, np.inf, -np.inf):
        spoilt = {**arguments, data: arguments[data].copy()}
        spoilt[data][1, 3] = bad
        check(spoilt, bar)
    far = {**arguments, data: arguments[data].copy()}
    far[data][2] *= 1e6
    check(far, bar)
    if weighted:
        absent = {**arguments, "weights": arguments["weights"].copy()}
        absent["weights"][1, :5] = 0.0
        check(absent, bar)
    odd = bar.copy()
    if EVERY[name].core == "first":
        odd[..., 1] = np.inf
    else:
        odd[1] = np.inf
    check(arguments, odd)
