"""Where the contract is run: on NumPy's arrays, on the double of CuPy, and on a GPU."""

from contextlib import contextmanager, nullcontext

import cupy_double
import numpy as np
import pytest

import lapsum
from lapsum._backends import choose
from lapsum._backends.numpy.kernels import Kernels
from lapsum._backends.portable import Portable


class Host:
    """NumPy arrays."""

    name = "numpy"
    marks = ()

    def active(self):
        """What must be entered before arrays are made."""
        return nullcontext()

    def put(self, value):
        """An argument as an array of the backend."""
        return value

    def get(self, value):
        """A result as NumPy's."""
        return value

    def call(self, func, /, *args, **kwargs):
        """Call `func` with host arrays for arrays of the backend."""
        with self.active():
            given = {name: self.put(value) for name, value in kwargs.items()}
            return self.get(func(*map(self.put, args), **given))

    def linearize(self, func, /, *args, **kwargs):
        """Do the same for `linearize`."""
        return OnHost(self, self.call(lapsum.linearize, func, *args, **kwargs))


class Careful(Host):
    """NumPy arrays without any fused kernel: the primitives, and `Portable` over them."""

    name = "numpy-careful"

    @contextmanager
    def active(self):
        before = choose.host_kernels_of
        choose.host_kernels_of = lambda arrays, workers: CarefulKernels(workers)
        try:
            yield
        finally:
            choose.host_kernels_of = before


DERIVED = {name for name in dir(Portable) if not name.startswith("_")}
CarefulKernels = type(
    "CarefulKernels", (Kernels,), {name: getattr(Portable, name) for name in DERIVED}
)


class Double(Host):
    """The double of CuPy: arrays go there and come back."""

    name = "cupy-double"
    marks = (pytest.mark.skipif(not cupy_double.available(), reason="no C++ compiler"),)

    def active(self):
        return cupy_double.installed()

    def put(self, value):
        import cupy

        if isinstance(value, (list, tuple)):
            return type(value)(map(self.put, value))
        return cupy.asarray(value) if isinstance(value, np.ndarray) else value

    def get(self, value):
        import cupy

        if isinstance(value, tuple):
            return tuple(map(self.get, value))
        return value.get()[()] if isinstance(value, cupy.ndarray) else value


class Gpu(Double):
    """CuPy itself."""

    name = "cupy"
    marks = (pytest.mark.gpu,)

    def active(self):
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
        if not cupy.cuda.is_available():
            pytest.skip("there is no CUDA device")
        return nullcontext()


class OnHost:
    """A Linearization of a backend, given and giving NumPy arrays."""

    def __init__(self, backend, lin):
        self._backend, self._lin = backend, lin
        self.parameters = lin.parameters
        with backend.active():
            self.value = backend.get(lin.value)

    def jvp(self, *tangents):
        return self._backend.call(self._lin.jvp, *tangents)

    def vjp(self, cotangent, **kwargs):
        return self._backend.call(self._lin.vjp, np.asarray(cotangent), **kwargs)

    def jacobian(self, name):
        with self._backend.active():
            return Matrix(self._backend, self._lin.jacobian(name))


class Matrix:
    """A LinearOperator of a backend, given and giving NumPy arrays."""

    def __init__(self, backend, operator):
        self._backend, self._operator = backend, operator
        self.shape = operator.shape

    @property
    def T(self):
        return Matrix(self._backend, self._operator.T)

    def __matmul__(self, other):
        return self._backend.call(lambda v: self._operator @ v, other)


HOST, CAREFUL = Host(), Careful()
BACKENDS = (HOST, CAREFUL, Double(), Gpu())
DEVICES = BACKENDS[2:]
EVERYWHERE = [pytest.param(b, id=b.name, marks=b.marks) for b in BACKENDS]
# Those that need no device; the double only where there is a compiler.
ON_CPU = BACKENDS[: 2 + cupy_double.available()]
