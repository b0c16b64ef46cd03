"""The choice of kernels by array type."""

from collections import deque

import numpy as np
import pandas as pd
import pytest

import lapsum


def foreign(*names, on_instance=False):
    class Array:
        def __init__(self):
            if on_instance:
                for name in names:
                    setattr(self, name, lambda *args: None)

        def __array__(self, *args, **kwargs):
            raise AssertionError("converted")

    if not on_instance:
        for name in names:
            setattr(Array, name, lambda *args: None)
    return Array()


@pytest.mark.parametrize(
    "name",
    ["__array_namespace__", "__dlpack__", "__array_function__", "__cuda_array_interface__"],
)
@pytest.mark.parametrize("on_instance", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda a: a, lambda a: [a, a], lambda a: deque([a]), lambda a: [[a]]]
)
def test_foreign_arrays_are_named_and_never_converted(name, on_instance, wrap):
    array = wrap(foreign(name, on_instance=on_instance))
    with pytest.raises(TypeError, match=r"^`x` is an array of type .*Array, for which"):
        lapsum.soft_rank(array, 1.0)
    with pytest.raises(TypeError, match=r"^`weights` is an array of type .*Array beside numpy"):
        lapsum.soft_rank(np.ones(1), 1.0, weights=array)
    lin = lapsum.linearize(lapsum.soft_rank, np.ones(1), 1.0)
    with pytest.raises(TypeError, match="^`cotangent` is an array of type"):
        lin.vjp(array)
    with pytest.raises(TypeError, match="^`v` is an array of type"):
        lapsum.SoftPermutation(np.ones(1), 1.0) @ array


def test_two_foreign_kinds_are_both_named():
    a, b = np.ma.ones(3), foreign("__dlpack__")
    with pytest.raises(TypeError, match=r"MaskedArray beside .*Array"):
        lapsum.lap_sum(a, b, 1.0)


def test_advice_on_masks_keeps_them():
    masked = np.ma.masked_invalid([3.0, np.nan, 1.0])
    with pytest.raises(TypeError, match=r"; give its data and `weights=~numpy.ma.getmaskarray\("):
        lapsum.soft_quantile(masked, 0.5, 0.1)
    present = ~np.ma.getmaskarray(masked)
    assert lapsum.soft_quantile(masked.data, 0.5, 0.1, weights=present) == 2.0


def test_pandas_counts_as_numpy():
    x = [3.0, 1.0, 2.0]
    expected = lapsum.soft_rank(x, 0.5)
    np.testing.assert_array_equal(lapsum.soft_rank(pd.Series(x), 0.5), expected, strict=True)
    frame = pd.DataFrame({"a": x, "b": x})
    np.testing.assert_array_equal(lapsum.soft_rank(frame, 0.5, axis=0)[:, 1], expected)
    assert lapsum.soft_rank(pd.Series(x, dtype="float32"), 0.5).dtype == np.float32


def test_sequences_that_are_no_arrays():
    loop = []
    loop.append(loop)
    with pytest.raises((TypeError, ValueError), match="^`x`"):
        lapsum.soft_rank(loop, 1.0)
    deep = 1.0
    for _ in range(3000):
        deep = [deep]
    with pytest.raises((TypeError, ValueError), match="^`x`"):
        lapsum.soft_rank(deep, 1.0)


def test_subclasses_that_only_store_are_arrays(tmp_path):
    mapped = np.memmap(tmp_path / "x", dtype=float, mode="w+", shape=(3,))
    mapped[:] = [3.0, 1.0, 2.0]
    result = lapsum.soft_rank(mapped, 0.5)
    assert type(result) is np.ndarray
