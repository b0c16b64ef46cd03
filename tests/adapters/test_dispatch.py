"""Which arrays go where, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

import lapsum
from lapsum._backends.choose import adapted_type
from lapsum._backends.table import ADAPTED, TABLE

X = np.array([3.0, 1.0, 2.0])


def assert_same(found, expected):
    """But for float32, which JAX makes of what it is given unless told otherwise."""
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)


def given(library):
    """An array of a library, and its type's name in errors."""
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "torch":
        return module.tensor(X), "torch.Tensor"
    return module.numpy.asarray(X), "jax"


every_library = pytest.mark.parametrize("library", [row.library for row in ADAPTED])


@every_library
def test_the_table_says_where_the_type_is(library):
    array, _ = given(library)
    (row,) = (row for row in ADAPTED if row.library == library)
    assert isinstance(array, getattr(sys.modules[library], row.name))
    assert adapted_type(type(array)) is row
    assert len({row.library for row in TABLE}) == len(TABLE)


@every_library
def test_what_comes_in_goes_out(library):
    array, _ = given(library)
    out = lapsum.soft_rank(array, 0.5)
    assert adapted_type(type(out)) is adapted_type(type(array))
    assert_same(out, lapsum.soft_rank(X, 0.5))


@every_library
def test_numbers_and_sequences_are_constants(library):
    array, _ = given(library)
    expected = lapsum.soft_quantile(X, [0.25, 0.5], 0.5)
    for alpha in (0.5, np.float64(0.5), np.float32(0.5), np.array(0.5)[()]):
        out = lapsum.soft_quantile(array, [0.25, 0.5], alpha)
        assert_same(out, expected)
    out = lapsum.soft_topk(array, 1, 0.5, weights=[1, 2, 1])
    assert_same(out, lapsum.soft_topk(X, 1, 0.5, weights=[1, 2, 1]))
    # And the data may be a sequence, or a number, beside an array.
    alpha = array.sum() / 12.0
    assert_same(lapsum.soft_rank(list(X), alpha), lapsum.soft_rank(X, 0.5))
    assert_same(lapsum.lap_sum(1.5, array, 0.5), lapsum.lap_sum(1.5, X, 0.5))


@every_library
def test_numpy_and_pandas_beside_it_are_refused(library):
    import pandas as pd

    array, name = given(library)
    for other, theirs in ((X, "numpy.ndarray"), (pd.Series(X), "Series")):
        for arguments, weights in (((array, 0.5), other), ((other, 0.5), array)):
            with pytest.raises(TypeError, match=f"(?s)(?=.*{name})(?=.*{theirs})"):
                lapsum.soft_rank(*arguments, weights=weights)
    with pytest.raises(TypeError, match=f"{name}.*stack"):
        lapsum.soft_rank([array, array], 0.5)


def test_errors_name_what_is_taken():
    class Foreign:
        __dlpack__ = None

    with pytest.raises(
        TypeError, match=r"numpy\.ndarray, cupy\.ndarray, torch\.Tensor, jax\.Array"
    ):
        lapsum.soft_rank(Foreign(), 0.5)


def test_two_libraries_are_refused():
    (tensor, _), (array, _) = given("torch"), given("jax")
    for x, weights in ((tensor, array), (array, tensor)):
        with pytest.raises(TypeError, match="(?=.*torch.Tensor)(?=.*jax)"):
            lapsum.soft_rank(x, 0.5, weights=weights)


def test_two_devices_are_refused():
    tensor, _ = given("torch")
    with pytest.raises(TypeError, match="(?=.*cpu)(?=.*meta)"):
        lapsum.soft_rank(tensor, tensor.sum().to("meta"))


@every_library
def test_linearize_points_at_the_library_s_own(library):
    array, name = given(library)
    means = {"torch": "backward", "jax": "jax.grad"}[library]
    for func in (
        lambda x: lapsum.linearize(lapsum.soft_rank, x, 0.5),
        lambda x: lapsum.vjp(lapsum.soft_rank, x, 0.5),
        lambda x: lapsum.jvp(lapsum.soft_rank, (x, 0.5), (x, None)),
        lambda x: lapsum.SoftPermutation(x, 0.5),
    ):
        with pytest.raises(TypeError, match=f"`x` is a .*{name}.*{means}"):
            func(array)
    lin = lapsum.linearize(lapsum.soft_rank, X, 0.5)
    with pytest.raises(TypeError, match=name):
        lin.vjp(array)


def test_tracers_and_tensors_that_need_gradients_likewise():
    import contextlib

    with contextlib.suppress(ImportError):
        import jax

        with pytest.raises(TypeError, match=r"Tracer.*jax\.grad"):
            jax.jit(lambda x: lapsum.vjp(lapsum.soft_rank, x, 0.5)[0])(jax.numpy.asarray(X))
    tensor, _ = given("torch")
    with pytest.raises(TypeError, match=r"torch\.Tensor.*backward"):
        lapsum.vjp(lapsum.soft_rank, tensor.requires_grad_(), 0.5)


def test_subclasses():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Marked(torch.Tensor):
        pass

    for kind in (torch.nn.Parameter, Marked):
        assert adapted_type(kind).library == "torch"
    marked = torch.tensor(X).as_subclass(Marked)
    np.testing.assert_array_equal(
        np.asarray(lapsum.soft_rank(marked, 0.5)), lapsum.soft_rank(X, 0.5)
    )


def test_lazy_arrays_are_not_computed():
    class Lazy:
        """As xarray over Dask: a guest of NumPy, but with a graph."""

        def __init__(self, graph):
            self.graph = graph

        def __array__(self, dtype=None, copy=None):
            assert self.graph is None, "computed"
            return X

        def __dask_graph__(self):
            return self.graph

    with pytest.raises(TypeError, match="`x` is an array of type .*Lazy.*compute first"):
        lapsum.soft_rank(Lazy({}), 0.5)
    np.testing.assert_array_equal(lapsum.soft_rank(Lazy(None), 0.5), lapsum.soft_rank(X, 0.5))


def test_xarray_over_dask():
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    dask = pytest.importorskip("dask.array", reason="Dask is not installed")
    lazy = xarray.DataArray(dask.from_array(X), dims="i")
    with pytest.raises(TypeError, match="`x` is an array of type xarray"):
        lapsum.soft_rank(lazy, 0.5)
    assert type(lapsum.soft_rank(lazy.compute(), 0.5)) is np.ndarray


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_count_as_numpy(library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    assert type(lapsum.soft_rank(module.Series(X), 0.5)) is np.ndarray


def test_plain_calls_import_nothing():
    code = """
import sys
import numpy as np
import pandas as pd
import lapsum
x = np.ones(3)
for given in (x, [1.0, 2.0], x.astype(np.float32), pd.Series(x)):
    lapsum.soft_topk(given, 1, np.float64(0.5))
    lapsum.linearize(lapsum.soft_rank, given, 0.5).vjp(lapsum.soft_rank(given, 0.5))
print([m for m in sys.modules if m.partition(".")[0] in ("torch", "jax", "jaxlib", "dask")
       or m.startswith("lapsum._adapters.")])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
