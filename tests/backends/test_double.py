"""The double of CuPy: what must fail there fails here, and ordinary kernels are right."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cupy_double import (
    CompileException,
    DivergenceError,
    RaceError,
    TrapError,
    installed,
    loops,
    recording,
)

SQUARE = "template <typename T> __device__ T square(T x) { return x * x; }"


# --- Ordinary kernels are right ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_elementwise(cupy, rng, dtype):
    kernel = cupy.ElementwiseKernel(
        "T a, T b, T c", "T out", "out = square(a - b) * c", "difference", preamble=SQUARE
    )
    a = rng.normal(size=(5, 7)).astype(dtype)[::2, ::-1]
    b = rng.normal(size=(3, 1)).astype(dtype)
    out = kernel(cupy.asarray(a), cupy.asarray(b), 2.0)
    assert type(out) is cupy.ndarray
    assert out.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(out.get(), (a - b) ** 2 * 2, rtol=8 * eps, atol=8 * eps)


def test_strided_and_broadcast_arrays(cupy):
    kernel = cupy.ElementwiseKernel("T a, T b", "T out", "out = a + b", "sum")
    a = cupy.arange(24.0).reshape(2, 3, 4)
    strided, b = a[:, ::2, ::-1], cupy.asarray([[10.0], [20.0]])
    assert (kernel(strided, b).get() == strided.get() + b.get()).all()
    target = cupy.zeros((2, 4, 2))
    kernel(strided, b, target.transpose(0, 2, 1))
    assert (target.get() == (strided.get() + b.get()).transpose(0, 2, 1)).all()


def test_raw_arrays_several_outputs_and_size(cupy, rng):
    kernel = cupy.ElementwiseKernel(
        "raw T x, int64 n",
        "T low, T high, int64 at",
        "low = high = x[i * n]; for (ptrdiff_t j = 1; j < n; ++j) "
        "{ low = min(low, x[i * n + j]); high = max(high, x[i * n + j]); } at = i + _ind.size();",
        "ends",
    )
    x = rng.normal(size=(6, 5))
    low, high, at = kernel(cupy.asarray(x.T.copy()).T, 5, size=6)
    assert (low.get() == x.min(1)).all()
    assert (high.get() == x.max(1)).all()
    assert at.dtype == np.int64
    assert at.get().tolist() == [6, 7, 8, 9, 10, 11]


def test_raw_arrays_by_several_indices(cupy):
    kernel = cupy.ElementwiseKernel(
        "raw T x", "T y", "const ptrdiff_t at[2] = {i % 3, i / 3}; y = x[at]", "transposed"
    )
    x = np.arange(12.0).reshape(3, 4)
    assert (kernel(cupy.asarray(x), size=12).get() == x.T.ravel()).all()
    with pytest.raises(IndexError, match="index 4 .*'x'.* size 4"):
        kernel(cupy.asarray(x), size=13)
    with pytest.raises(IndexError, match="2 indices .*'x' of 1 dimensions"):
        kernel(cupy.ones(3), size=2)


def test_outputs_in_place(cupy):
    kernel = cupy.ElementwiseKernel("T x", "T y", "if (x > 1) continue; y = x + 1", "some")
    x = cupy.asarray([0.0, 1.0, 2.0])
    assert kernel(x, x) is x
    assert x.get().tolist() == [1.0, 2.0, 2.0]


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reduction(cupy, rng, axis, keepdims):
    kernel = cupy.ReductionKernel(
        "T u, T v",
        "T w",
        "square(u - v)",
        "a + b",
        "w = a",
        "0",
        "distance",
        "double",
        preamble=SQUARE,
    )
    u, v = rng.normal(size=(3, 4, 5)), rng.normal(size=(4, 1))
    out = kernel(cupy.asarray(u), cupy.asarray(v), axis=axis, keepdims=keepdims)
    assert type(out) is cupy.ndarray
    expected = ((u - v) ** 2).sum(axis, keepdims=keepdims)
    np.testing.assert_allclose(out.get(), expected, rtol=1e-14, strict=True)


def test_reduction_of_structs(cupy, rng):
    pair = """
    struct Pair { double top, sum; };
    __device__ Pair none() { return {-INFINITY, 0.0}; }
    __device__ Pair join(const Pair &p, const Pair &q)
    {
        const double top = max(p.top, q.top);
        if (isinf(top)) return none();
        return {top, p.sum * exp(p.top - top) + q.sum * exp(q.top - top)};
    }
    struct Start : Pair {
        __device__ Start(Pair p) : Pair(p) {}
        __device__ Start() {}
    };"""
    kernel = cupy.ReductionKernel(
        "T u",
        "T w",
        "Pair{u, 1.0}",
        "join(a, b)",
        "w = a.top + log(a.sum)",
        "none()",
        "logsumexp",
        "Start",
        preamble=pair,
    )
    u = rng.normal(size=(6, 50))
    np.testing.assert_allclose(kernel(cupy.asarray(u), axis=1).get(), np.log(np.exp(u).sum(1)))


def test_reductions_to_several_outputs_return_the_first(cupy, rng):
    kernel = cupy.ReductionKernel(
        "T u, T v", "T p, T q", "u * v", "a + b", "p = a; q = -a", "0", "twice"
    )
    with pytest.raises(CompileException):  # the last step is an expression in CuPy
        kernel(cupy.ones(3), cupy.ones(3))
    kernel = cupy.ReductionKernel(
        "T u, T v", "T p, T q", "u * v", "a + b", "p = a, q = -a", "0", "twice"
    )
    p, q = cupy.zeros(()), cupy.zeros(())
    assert kernel(cupy.arange(3.0), cupy.ones(3), p, q) is p
    assert (float(p), float(q)) == (3.0, -3.0)


SUMS = r"""
extern "C" __global__ void sums(const double *x, double *y, int n)
{
    __shared__ double part[8];
    double sum = 0;
    const int t = threadIdx.x;
    for (int i = t; i < n; i += blockDim.x)
        sum += x[(blockIdx.y * gridDim.x + blockIdx.x) * (size_t)n + i];
    for (int d = 16; d > 0; d >>= 1)
        sum += __shfl_down_sync(0xffffffff, sum, d);
    if (t % 32 == 0)
        part[t / 32] = sum;
    __syncthreads();
    if (t == 0) {
        sum = 0;
        for (int w = 0; w < blockDim.x / 32; ++w)
            sum += part[w];
        y[blockIdx.y * gridDim.x + blockIdx.x] = sum;
    }
}"""


def test_raw_kernel_with_shared_memory(cupy, rng):
    kernel = cupy.RawKernel(SUMS, "sums")
    x, y = rng.normal(size=(6, 1000)), cupy.empty((6,))
    kernel((2, 3), (256,), (cupy.asarray(x), y, np.int32(1000)))
    np.testing.assert_allclose(y.get(), x.sum(1), rtol=1e-12)


def test_raw_kernel_with_dynamic_shared_memory(cupy):
    kernel = cupy.RawKernel(
        'extern "C" __global__ void turn(int *x) { extern __shared__ int s[]; '
        "s[threadIdx.x] = x[threadIdx.x]; __syncthreads(); "
        "x[threadIdx.x] = s[(threadIdx.x + 1) % blockDim.x]; }",
        "turn",
    )
    x = cupy.arange(40, dtype=np.int32)
    kernel((1,), (40,), (x,), shared_mem=160)
    assert (x.get() == np.roll(np.arange(40), -1)).all()
    with pytest.raises(IndexError):
        kernel((1,), (40,), (x,), shared_mem=120)


def test_raw_kernel_where_the_last_block_adds_up(cupy):
    kernel = cupy.RawKernel(
        'extern "C" __global__ void last(int *part, unsigned *count, int *out) {'
        "__shared__ bool mine; part[blockIdx.x] = blockIdx.x; __threadfence();"
        "if (threadIdx.x == 0) mine = atomicAdd(count, 1u) == gridDim.x - 1; __syncthreads();"
        "if (mine && threadIdx.x == 0) for (int k = 0; k < gridDim.x; ++k) *out += part[k]; }",
        "last",
    )
    part, count, out = cupy.empty(9, np.int32), cupy.zeros(1, np.uint32), cupy.zeros(1, np.int32)
    kernel((9,), (32,), (part, count, out))
    assert int(out[0]) == 36


# --- What must fail ----------------------------------------------------------------------------


def test_out_of_bounds(cupy):
    kernel = cupy.ElementwiseKernel("raw T x, int64 n", "T y", "y = x[i + n]", "shifted")
    x = cupy.arange(5.0)
    assert kernel(x, 1, size=4).get().tolist() == [1, 2, 3, 4]
    for shift, index in ((2, 5), (-1, -1)):
        with pytest.raises(
            IndexError, match=f"'shifted': index {index} .*'x' is out of bounds for size 5"
        ):
            kernel(x, shift, size=4)
    kernel = cupy.RawKernel(SUMS, "sums")
    with pytest.raises(IndexError, match=r"'sums': index .* of argument 0 .* size 12"):
        kernel((4,), (32,), (cupy.ones(12), cupy.empty(4), np.int32(4)))
    with pytest.raises(IndexError, match=r"index 3 of argument 1"):
        kernel((4,), (32,), (cupy.ones(12), cupy.empty(3), np.int32(3)))
    kernel = cupy.RawKernel(
        'extern "C" __global__ void f(double *x) { x[(int)threadIdx.x - 1] = 0; }', "f"
    )
    with pytest.raises(IndexError, match="index -1 of argument 0"):
        kernel((1,), (32,), (cupy.ones(32),))


def test_out_of_bounds_of_local_and_shared_arrays(cupy):
    kernel = cupy.ElementwiseKernel(
        "int64 n", "raw T y", "double a[3] = {1, 2, 3}; y[i] = a[n]", "local"
    )
    y = cupy.empty(1)
    kernel(2, y, size=1)
    assert float(y[0]) == 3
    with pytest.raises(TrapError, match="'local' .* an index outside of a local"):
        kernel(3, y, size=1)
    kernel = cupy.RawKernel(SUMS, "sums")
    with pytest.raises(TrapError, match="'sums'"):
        kernel((1,), (512,), (cupy.ones(12), cupy.empty(1), np.int32(12)))


def test_order_dependent_reductions(cupy, rng):
    x = cupy.asarray(rng.normal(size=100))
    for reduce, identity in (("a - b", 0), ("a * 0.5 + b", 0), ("b", 0), ("a + b", 1)):
        kernel = cupy.ReductionKernel("T u", "T w", "u", reduce, "w = a", identity, "wrong")
        with pytest.raises(RaceError, match="'wrong': 'w' depends on the order of the elements"):
            kernel(x)
    cancelling = cupy.ReductionKernel("T u", "T w", "u", "a + b", "w = a", "0", "fine")
    assert abs(float(cancelling(cupy.concatenate([x, -x])))) < 1e-13
    first = cupy.ReductionKernel(
        "raw T u",
        "int64 w",
        "u[_J] == 1 ? _J : -1",
        "max(a, b)",
        "w = a",
        "-1",
        "last",
        "long long",
    )
    with pytest.raises(ValueError, match="Loop size is undecided"):
        first(x)


def test_elementwise_kernel_that_reads_a_sibling_s_output(cupy):
    running = cupy.ElementwiseKernel("raw T x", "T y", "y = i ? x[i - 1] + 1 : 0", "running")
    x = cupy.zeros(100)
    assert running(x, cupy.empty(100))[5] == 1
    with pytest.raises(
        RaceError, match="'running': 'y' depends on the order of the threads: element"
    ):
        running(x, x)
    scatter = cupy.ElementwiseKernel("T x, raw int64 at", "raw T y", "y[at[i]] = x", "scatter")
    x, y = cupy.arange(4.0), cupy.zeros(4)
    scatter(x, cupy.asarray([3, 1, 0, 2]), y)
    assert y.get().tolist() == [2, 1, 3, 0]
    with pytest.raises(RaceError):
        scatter(x, cupy.asarray([3, 1, 3, 2]), y)


@pytest.mark.parametrize(
    "body",
    [
        "s[t] = t; x[t] = s[(t + 1) % 64];",  # no barrier
        "x[t] = s[t]; __syncthreads();",  # nobody wrote
        "s[t % 32] = t; __syncthreads(); x[t] = s[t % 32];",  # two write
        "if (t == 0) x[0] = blockIdx.x;",  # between blocks
    ],
)
def test_races_in_raw_kernels(cupy, body):
    code = (
        'extern "C" __global__ void race(double *x) '
        "{ __shared__ double s[64]; const int t = threadIdx.x; %s }"
    )
    with pytest.raises(RaceError, match="'race': its result depends on the order"):
        cupy.RawKernel(code % body, "race")((2,), (64,), (cupy.zeros(64),))


@pytest.mark.parametrize(
    "body",
    [
        "if (t < 5) return; __syncthreads();",
        "if (t < 5)\n __syncthreads();\n else\n __syncthreads();",
        "if (t < 40) __shfl_sync(0xffffffff, t, 0);\n else __syncthreads();",
    ],
)
def test_divergent_barriers(cupy, body):
    code = (
        'extern "C" __global__ void part(double *x) { const int t = threadIdx.x; %s\n x[t] = 1; }'
    )
    kernel, x = cupy.RawKernel(code % body, "part"), cupy.zeros(64)
    with pytest.raises(DivergenceError, match="'part'"):
        kernel((1,), (64,), (x,))
    sums, y = cupy.RawKernel(SUMS, "sums"), cupy.empty(1)  # and the fibres work as before
    sums((1,), (64,), (cupy.ones(100), y, np.int32(100)))
    assert float(y[0]) == 100


def test_endless_loops(cupy, monkeypatch):
    monkeypatch.setattr(loops, "SECONDS", 0.2)
    kernel = cupy.ElementwiseKernel("T x", "T y", "volatile int on = 1; while (on); y = x", "hang")
    with pytest.raises(TimeoutError, match="'hang'"):
        kernel(cupy.ones(1))
    kernel = cupy.RawKernel(
        'extern "C" __global__ void spin(volatile int *x) { while (!*x) __syncthreads(); }', "spin"
    )
    with pytest.raises(TimeoutError, match="'spin'"):
        kernel((1,), (64,), (cupy.zeros(1, np.int32),))


def test_kernels_that_do_not_compile(cupy):
    x = cupy.ones(3)
    with pytest.raises(CompileException, match=r"'broken' does not compile(.|\n)*unknown"):
        cupy.ElementwiseKernel("T x", "T y", "y = unknown(x)", "broken")(x)
    with pytest.raises(CompileException):  # inputs are const
        cupy.ElementwiseKernel("raw T x", "T y", "x[i] = 0; y = 0", "broken")(x, size=3)
    with pytest.raises(cupy.cuda.compiler.CompileException):
        cupy.RawKernel('extern "C" __global__ void broken() { int }', "broken")((1,), (1,), ())
    # CuPy replaces the name of the parameter wherever it occurs in the text: exp becomes ein0p.
    with pytest.raises(CompileException):
        cupy.ReductionKernel("T x", "T y", "exp(x)", "a + b", "y = a", "0", "broken")(x)


def test_dtypes_and_shapes_are_those_of_cupy(cupy):
    kernel = cupy.ElementwiseKernel("T x, T y, int64 n", "T z", "z = x + y * n", "k")
    x = cupy.ones(3)
    assert kernel(x.astype("f4"), 0.5, 2.0).dtype == np.float32  # scalars follow
    with pytest.raises(TypeError, match="Type is mismatched. y float32 float64 T"):
        kernel(x, x.astype("f4"), 2)
    with pytest.raises(TypeError, match="Type is mismatched. n float64 int64"):
        kernel(x, x, x)
    with pytest.raises(ValueError, match="Loop size is undecided"):
        kernel(1.0, 2.0, 3)
    with pytest.raises(ValueError, match="'size' can be used only"):
        kernel(x, x, 2, size=3)
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        kernel(cupy.ones((2, 3)), x, 2, cupy.empty(3))
    with pytest.raises(TypeError, match="Wrong number of arguments for 'k'"):
        kernel(x, x)
    with pytest.raises(TypeError, match="Unsupported type"):
        kernel(x, [1.0, 2.0, 3.0], 2)
    with pytest.raises(ValueError, match="as a parameter name"):
        cupy.ElementwiseKernel("T i", "T y", "y = i")
    raw = cupy.ElementwiseKernel("raw T x", "raw T y", "y[i] = x[i]")
    with pytest.raises(ValueError, match="Loop size is undecided"):
        raw(x, x)
    with pytest.raises(KeyError):  # a type that no array decides
        cupy.ElementwiseKernel("raw T x, S s", "T y", "y = s")(x, 1.0, size=3)
    sum_ = cupy.ReductionKernel("T u, raw T v", "T w", "u * v[_J]", "a + b", "w = a", "0", "dot")
    assert float(sum_(x, x)) == 3
    with pytest.raises(NotImplementedError):  # CuPy moves the axes, but cannot move raw ones
        sum_(cupy.ones((2, 3)), x, axis=1)


def test_arguments_of_raw_kernels(cupy):
    kernel, x = cupy.RawKernel(SUMS, "sums"), cupy.ones(4)
    with pytest.raises(
        TypeError, match="parameter 2 is a integer type of 32 bits, got a scalar of int64"
    ):
        kernel((1,), (32,), (x, cupy.empty(1), 4))
    with pytest.raises(TypeError, match="parameter 1 is a pointer to a floating type of 64 bits"):
        kernel((1,), (32,), (x, cupy.empty(1, np.float32), np.int32(4)))
    with pytest.raises(TypeError, match="3 parameters, got 2"):
        kernel((1,), (32,), (x, x))
    with pytest.raises(ValueError, match="no grid"):
        kernel((1,), (2048,), (x, cupy.empty(1), np.int32(4)))


def test_numpy_arrays_are_refused(cupy):
    x, host = cupy.ones(3), np.ones(3)
    kernel = cupy.ElementwiseKernel("T x", "T y", "y = x", "copy")
    for call in (
        lambda: kernel(host),
        lambda: cupy.RawKernel(SUMS, "sums")((1,), (32,), (host, x, np.int32(3))),
        lambda: x + host,
        lambda: host + x,
        lambda: cupy.exp(host),
        lambda: np.add(x, host),
        lambda: cupy.where(x > 0, host, x),
        lambda: cupy.concatenate([x, host]),
        lambda: cupy.sum(host),
        lambda: x.__setitem__(0, host),
    ):
        with pytest.raises(TypeError):
            call()


def test_there_is_no_way_to_numpy_but_those_that_say_so(cupy):
    x = cupy.asarray([1.0, 2.0])
    assert not isinstance(x, np.ndarray)
    for convert in (np.asarray, np.array, lambda a: np.copyto(np.empty(2), a), memoryview):
        with pytest.raises(TypeError):
            convert(x)
    with recording() as log:
        assert np.array_equal(cupy.asnumpy(x), x.get())
        assert x[0].item() == float(x[0]) == 1
        assert bool((x > 0).all())
        assert int(x[1]) == 2
        x[x > 1]
        x.tolist()
        repr(x)
    assert log.syncs == ["get", "get", "item", "float", "bool", "int", "getitem", "tolist", "repr"]
    with pytest.raises(TypeError):
        range(cupy.asarray(2))  # no __index__


def test_only_what_cupy_has(cupy):
    x = cupy.ones(3)
    for missing in ("errstate", "nditer", "geomspace", "spacing", "float128"):
        assert hasattr(np, missing)
        with pytest.raises(AttributeError, match=missing):
            getattr(cupy, missing)
    with pytest.raises(AttributeError):
        x.ctypes  # noqa: B018
    with pytest.raises(AttributeError):
        x.flags.writeable = False
    for call, error in (
        (lambda: cupy.maximum.accumulate(x), NotImplementedError),
        (lambda: cupy.logaddexp.reduce(x), NotImplementedError),
        (lambda: cupy.multiply.at(x, 0, 2.0), NotImplementedError),
        (lambda: cupy.sum(x, where=x > 0), TypeError),
        (lambda: cupy.add(x, x, where=x > 0), TypeError),
        (lambda: x.min(initial=0.0), TypeError),
        (lambda: cupy.sort(x, kind="quicksort"), ValueError),
        (lambda: x.sort(kind="heapsort"), ValueError),
        (lambda: cupy.sum([1.0, 2.0]), TypeError),
        (lambda: cupy.searchsorted(cupy.ones((2, 2)), x), ValueError),
        (lambda: cupy.asarray(["text"]), TypeError),
        (lambda: np.vecdot(x, x), TypeError),
    ):
        with pytest.raises(error):
            call()


def test_results_are_arrays_of_the_device(cupy):
    x = cupy.asarray([3.0, 1.0, 2.0])
    for result in (
        x.sum(),
        x[0],
        cupy.max(x),
        np.sum(x),
        np.exp(x),
        x + 1,
        1 + x,
        -x,
        x.T,
        cupy.sort(x),
        np.array_equal(x, x),
        cupy.frexp(x)[1],
        cupy.count_nonzero(x),
    ):
        assert type(result) is cupy.ndarray
    assert (x.sum().shape, x[0].shape) == ((), ())
    assert (x.astype("f4") * 2.0).dtype == np.float32
    assert (x.astype("f4") * np.float64(2.0)).dtype == np.float64
    assert cupy.get_array_module(x) is cupy
    assert cupy.get_array_module(x.get()) is np
    interface = x.__cuda_array_interface__
    assert (interface["shape"], interface["typestr"]) == ((3,), "<f8")
    assert interface["data"][0] == x.data.ptr
    assert x.device == cupy.cuda.Device(0)
    with x.device:
        pass


def test_new_memory_is_poisoned(cupy):
    assert np.isnan(cupy.empty(3).get()).all()
    assert (abs(cupy.empty(3, np.int64).get()) > 2**60).all()
    assert np.isnan(cupy.empty_like(cupy.ones(3)).get()).all()
    kernel = cupy.ElementwiseKernel("T x", "T y", "if (x > 0) y = x", "half")
    assert np.isnan(kernel(cupy.asarray([-1.0, 1.0])).get()).tolist() == [True, False]


def test_recording(cupy):
    x, y = cupy.arange(6.0), cupy.ones(6)
    kernel = cupy.ElementwiseKernel("T x", "T y", "y = x", "copy")
    with recording() as log:
        z = kernel(x)
        w = x[::2] + y[::2]
        z.sort()
        v = z.reshape(2, 3).T  # a view: nothing is launched
        cupy.broadcast_to(x, (2, 6))
        cupy.moveaxis(v, 0, 1)
        kernel(cupy.empty(0))
        cupy.empty(0) + 1
        cupy.asarray([1.0])
        cupy.sum(w)
    assert log.names == ["copy", "add", "sort", "sum"]
    assert (log.count(), log.count("copy"), log.count("none")) == (4, 1, 0)
    assert (log.reads(x), log.reads(y), log.reads(z), log.reads(w)) == (2, 1, 1, 1)
    assert log.reads(x[1::2]) == 2
    assert (log.writes(z), log.writes(x)) == (2, 0)
    assert (log.syncs, log.uploads) == ([], ["asarray"])
    assert log.launches[0].detail["kernel"] is kernel
    kernel(x)
    assert log.count() == 4


def test_installed_only_for_a_while():
    before = sys.modules.get("cupy")
    with installed() as cupy:
        import cupy as imported

        assert imported is cupy is sys.modules["cupy"]
        with installed() as again:
            assert again is cupy
        assert sys.modules["cupy"] is cupy
    assert sys.modules.get("cupy") is before


def test_modules_that_imported_the_double_go_with_it(tmp_path, monkeypatch):
    (tmp_path / "imports_cupy.py").write_text("import cupy\n")
    monkeypatch.syspath_prepend(tmp_path)
    with installed():
        import imports_cupy

        first = imports_cupy
    assert "imports_cupy" not in sys.modules
    with installed():
        import imports_cupy

        assert imports_cupy is first
    assert "imports_cupy" not in sys.modules


def test_modules_that_imported_the_real_one_come_back(tmp_path, monkeypatch):
    (tmp_path / "imports_either.py").write_text("import cupy\n")
    monkeypatch.syspath_prepend(tmp_path)
    real = ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", real)
    import imports_either

    with installed() as cupy:
        import imports_either as again

        assert again.cupy is cupy
    assert sys.modules["imports_either"] is imports_either
    assert sys.modules["cupy"] is imports_either.cupy is real
    del sys.modules["imports_either"]


def test_several_processes_build_the_same_kernel(cupy, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cupy_double import installed\n"
        "with installed() as cupy:\n"
        "    k = cupy.ElementwiseKernel('T x', 'T y', 'y = x + ' + sys.argv[2], 'k')\n"
        "    assert float(k(cupy.ones(1))[0]) == 8\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1] / "support"), "7"]
    env = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin"}
    runs = [subprocess.Popen(command, env=env) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
