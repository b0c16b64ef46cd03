"""Memory kept between calls: who holds an array is never robbed of it, and one block stays."""

import gc
import threading

import numpy as np
import pytest
from calls import call
from contract import contracts

import lapsum
from lapsum._backends.numpy import memory as _memory


@pytest.fixture
def kept(monkeypatch):
    """Have small arrays, too, in the memory of one that is gone; the list of what is kept."""
    monkeypatch.setattr(_memory, "LEAST", 0)
    yield _memory._kept
    gc.collect()
    _memory._kept.clear()


def test_memory_is_used_again_when_no_view_is_left(kept):
    first = _memory.empty((3, 4))
    place, row = first.ctypes.data, first[1]
    assert first.flags.writeable
    assert first.dtype == np.float64
    del first
    assert _memory.empty((3, 4)).ctypes.data != place, "a row is still held"
    del row
    kept.clear()
    again = _memory.empty((2, 3), np.float32)
    place = again.ctypes.data
    again.flags.writeable = False
    del again
    again = _memory.empty((6,), np.float32)
    assert again.ctypes.data == place
    assert again.flags.writeable


def test_one_block_is_kept_and_none_that_is_too_large(kept, monkeypatch):
    arrays = [_memory.empty((10,)) for _ in range(3)]
    del arrays
    assert len(kept) == 1
    monkeypatch.setattr(_memory, "MOST", 80)
    kept.clear()
    _memory.empty((11,))
    assert not kept
    _memory.empty((10,))
    assert [memory.nbytes for memory in kept] == [80]


def test_small_arrays_are_numpy_s_own():
    before = len(_memory._kept)
    assert _memory.empty((1000,)).base is None
    assert len(_memory._kept) == before


@pytest.mark.parametrize("name", [c.name for c in contracts()])
def test_derivatives_of_earlier_calls_stay(name, rng, kept):
    """Whatever later calls write, and whatever the memory held before."""
    func, arguments = call(name, rng, (6, 6) if name == "soft_permute" else (4, 150))
    x = next(iter(arguments))
    bar = rng.normal(size=func(**arguments).shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_memory, "MOST", 0)
        lin = lapsum.linearize(func, **arguments)
        expected = lin.value, *lin.vjp(bar)
    for _ in range(2):
        kept[:] = [np.full(2**16, 255, np.uint8)]
        lin = lapsum.linearize(func, **arguments)
        other = lapsum.linearize(func, **arguments | {x: arguments[x][::-1] + 1.0})
        del other
        lapsum.linearize(func, **arguments | {x: 2.0 * arguments[x]})
        for got, want in zip((lin.value, *lin.vjp(bar)), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_threads_do_not_share_memory(rng, kept):
    xs = rng.normal(size=(4, 8, 300))
    expected = [lapsum.linearize(lapsum.soft_rank, x, 0.1).vjp(x)[0] for x in xs]
    wrong = []

    def work(i):
        for _ in range(50):
            got = lapsum.linearize(lapsum.soft_rank, xs[i], 0.1).vjp(xs[i])[0]
            if not np.array_equal(got, expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
