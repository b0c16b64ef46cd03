"""The module that stands for `cupy`, with the names of the real one and no others."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from . import compiler, extras, loops, raw
from .arrays import Device, apply, arrays_in, check_kind, memory_of, ndarray, unwrap, wrap
from .names import real, signature
from .recorder import note_launch, note_sync, note_upload

# The functions that must know on the host what is in an array.
_SYNCHRONIZING = {"nonzero", "flatnonzero", "argwhere", "unique", "compress", "extract", "isin"}
# NumPy gives a number of Python, CuPy a 0-d array.
_ZERO_D = {"allclose", "array_equal", "array_equiv", "count_nonzero"}
# Parameters that take an array of the device and nothing else.
_ARRAYS = {"a", "arr", "m", "ary", "v", "indices"}
_LENIENT = {"ndim", "shape", "size", "iscomplexobj", "isrealobj", "may_share_memory", "kron"}


class ufunc:  # CuPy's name
    """A universal function with the methods that CuPy's have."""

    def __init__(self, name: str, nin: int, nout: int, at: str | None) -> None:
        self.name = f"cupy_{name}"
        self.__name__ = name
        self.nin, self.nout, self.nargs = nin, nout, nin + nout
        self._at = at
        self._function = getattr(np, name)

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(
        self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind"
    ) -> Any:
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        for arg in args:
            memory_of(arg, self.__name__)
        outs = args[self.nin :]
        if outs:
            if out is not None:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            out = outs
        kwargs: dict[str, Any] = {"casting": casting}
        if dtype is not None:
            kwargs["dtype"] = dtype
        if out is not None:
            out = out if isinstance(out, tuple) else (out,)
            if any(not isinstance(o, (ndarray, type(None))) for o in out):
                raise TypeError("Output arguments type must be cupy.ndarray")
            kwargs["out"] = out
        return apply(self.__name__, self._function, args[: self.nin], kwargs)

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"`{self.name}.{method}` is not supported yet")

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        """Reduce, where CuPy can."""
        name = {"add": "sum", "multiply": "prod"}.get(self.__name__)
        if name is None:
            raise self._missing("reduce")
        return getattr(array, name)(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        """Accumulate, where CuPy can."""
        name = {"add": "cumsum", "multiply": "cumprod"}.get(self.__name__)
        if name is None:
            raise self._missing("accumulate")
        return getattr(array, name)(axis, dtype, out)

    def reduceat(self, *args: Any, **kwargs: Any) -> Any:
        """Reduce slices, where CuPy can."""
        if self.__name__ != "add":
            raise self._missing("reduceat")
        return apply("reduceat", np.add.reduceat, args, kwargs)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        """Apply in place, where CuPy can."""
        if self._at is None:
            raise self._missing("at")
        self._function.at(memory_of(a), unwrap(indices), unwrap(b))
        note_launch(f"{self.__name__}.at", [*arrays_in((a, indices, b))], [a._memory])

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        """Apply to all pairs."""
        return self(a.reshape(*a.shape, *(1,) * b.ndim), b, **kwargs)


def _zero_d(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: np.asarray(function(*args, **kwargs))


def _function(name: str, parameters: str) -> Callable[..., Any]:
    """Return NumPy's function of a name with CuPy's signature."""
    own = getattr(np, name, None)
    expected = signature(parameters)
    if name in _ZERO_D:
        own = _zero_d(own)

    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = expected.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"cupy.{name}: {error}") from None
        if own is None:
            raise NotImplementedError(f"the double has no cupy.{name}")
        if name not in _LENIENT:
            for key, value in bound.items():
                if key in _ARRAYS and not isinstance(value, ndarray):
                    raise TypeError(
                        f"Argument '{key}' has incorrect type (expected cupy.ndarray, got "
                        f"{type(value)}) (in cupy.{name})"
                    )
        sync = name in _SYNCHRONIZING or (name == "where" and len(bound) == 1)
        return apply(name, own, args, kwargs, sync=sync)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "cupy"
    return function


# --- What differs from NumPy by more than its arguments --------------------------------------


def _upload(name: str, value: Any, dtype: Any, order: Any) -> Any:
    nested = [*arrays_in(value)]
    if nested:  # of arrays on the device, as CuPy allows it
        return apply(name, lambda v: np.array(v, dtype), (value,), {})
    note_upload(name)
    return wrap(np.array(value, dtype, order=order if order in ("C", "F") else "C"))


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> Any:
    """Return a new array."""
    if isinstance(obj, ndarray):
        make = np.array if copy else np.asarray
        out = apply("array", lambda a: make(a, dtype, order=order), (obj,), {})
    else:
        out = _upload("array", obj, dtype, order)
    return out.reshape((1,) * (ndmin - out.ndim) + out.shape) if out.ndim < ndmin else out


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> Any:
    """Return an array in the memory of another library's, which here is the host's."""
    return wrap(np.from_dlpack(array))


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False
) -> Any:
    """Return an array, the same one where nothing changes."""
    if isinstance(a, ndarray):
        same = (dtype is None or a.dtype == np.dtype(dtype)) and order in (None, "K", "A")
        if same and not copy:
            return a
        make = np.array if copy else np.asarray
        return apply("asarray", lambda x: make(x, dtype, order=order), (a,), {})
    return _upload("asarray", a, dtype, order)


def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """Return a C-contiguous array, the same one where nothing changes."""
    if not isinstance(a, ndarray):
        raise TypeError(f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(a)})")
    if a.flags.c_contiguous and (dtype is None or a.dtype == np.dtype(dtype)):
        return a
    return apply("ascontiguousarray", lambda x: np.ascontiguousarray(x, dtype), (a,), {})


def asnumpy(
    a: Any, stream: Any = None, order: Any = "C", out: Any = None, *, blocking: bool = True
) -> np.ndarray:
    """Return a copy in the memory of the host."""
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> Any:
    """Return new memory, poisoned."""
    return ndarray(unwrap(shape, "empty"), dtype, order=order)


def empty_like(
    prototype: Any, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> Any:
    """Return new memory like that of an array, poisoned."""
    out = np.empty_like(_memory(prototype, "empty_like"), dtype, order=order, shape=shape)
    return wrap(loops.poison(out))


def _memory(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, ndarray):
        raise TypeError(f"expected cupy.ndarray, got {type(value)} (in cupy.{name})")
    return value._memory


def sort(a: Any, axis: Any = -1, kind: Any = None) -> Any:
    """Return a sorted copy."""
    check_kind(kind)
    _memory(a, "sort")
    return apply("sort", lambda x: np.sort(x, axis, kind="stable"), (a,), {})


def argsort(a: Any, axis: Any = -1, kind: Any = None) -> Any:
    """Return what would sort."""
    _memory(a, "argsort")
    check_kind(kind)
    return apply("argsort", lambda x: np.argsort(x, axis, kind="stable"), (a,), {})


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Return where to insert; of one sorted row only."""
    if _memory(a, "searchsorted").ndim != 1:
        raise ValueError("object of too small depth for desired array")
    return apply("searchsorted", np.searchsorted, (a, v), {"side": side, "sorter": sorter})


def broadcast_to(array: Any, shape: Any) -> Any:
    """Return a view of another shape; unlike NumPy's it can be written to."""
    own = asarray(array)
    return wrap(np.broadcast_to(own._memory, shape))


def frexp(x: Any, *out: Any) -> Any:
    """Return mantissa and exponent."""
    return ufunc("frexp", 1, 2, None)(x, *out)


def get_array_module(*args: Any) -> Any:
    """Return the module that the arguments' arrays belong to."""
    return cupy if any(isinstance(arg, ndarray) for arg in args) else np


# --- Kernels -------------------------------------------------------------------------------------


# Every kernel that was made, and the file and line of the call that made it.
CREATED: list[tuple[Any, str, int]] = []


class _OnDevice:
    """Kernels for arrays of the double, which tell the recorders of each launch."""

    name: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        caller = sys._getframe(1)
        CREATED.append((self, caller.f_code.co_filename, caller.f_lineno))

    def _array(self, argument: Any) -> np.ndarray | None:
        if isinstance(argument, ndarray):
            return argument._memory
        if isinstance(argument, np.ndarray):
            raise TypeError(f"Unsupported type {type(argument)} (in kernel {self.name!r})")
        return None

    def _wrap(self, memory: np.ndarray) -> Any:
        return wrap(memory)

    def _launched(self, record: dict[str, Any]) -> None:
        note_launch(self.name, record["inputs"], record["outputs"], record["kind"], record)


class ElementwiseKernel(_OnDevice, loops.ElementwiseKernel):
    """cupy.ElementwiseKernel."""


class ReductionKernel(_OnDevice, loops.ReductionKernel):
    """cupy.ReductionKernel."""


class RawKernel(_OnDevice, raw.RawKernel):
    """cupy.RawKernel."""


# --- The module ----------------------------------------------------------------------------------


class _Stream:
    """The one stream there is."""

    ptr = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def use(self) -> Any:
        """Make it the current one."""
        return self

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        note_sync("synchronize")


class _ExternalStream(_Stream):
    """A stream of another library."""

    def __init__(self, ptr: int, device_id: int = -1) -> None:
        self.ptr, self.device_id = ptr, device_id


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _make() -> tuple[Any, dict[str, Any]]:
    names = real()
    module = _Module("cupy", "A stand-in for CuPy on the CPU.")
    module.__path__ = []  # type: ignore[attr-defined]
    for name, parameters in names["functions"].items():
        setattr(module, name, _function(name, parameters))
    for name, entry in names["ufuncs"].items():
        if isinstance(getattr(np, name, None), np.ufunc):
            setattr(module, name, ufunc(name, entry["nin"], entry["nout"], entry["at"]))
        else:  # such as clip, which is no ufunc in NumPy
            setattr(module, name, _function(name, "*args, **kwargs"))
    for name in names["types and constants"]:
        if hasattr(np, name):
            setattr(module, name, getattr(np, name))
    for own in (
        *(array, asarray, ascontiguousarray, asnumpy, empty, empty_like, sort, argsort),
        from_dlpack,
        *(searchsorted, broadcast_to, get_array_module),
        *(ndarray, ufunc, ElementwiseKernel, ReductionKernel, RawKernel),
    ):
        setattr(module, own.__name__, own)
    module.asanyarray = asarray
    module.is_available = lambda: True
    module.__version__ = f"{names['version']}"

    cuda = _Module("cupy.cuda")
    cuda.Device, cuda.Stream = Device, _Stream
    _Stream.null = _Stream()  # type: ignore[attr-defined]
    cuda.ExternalStream = _ExternalStream
    cuda.is_available = lambda: True
    cuda.get_current_stream = lambda: _Stream.null  # type: ignore[attr-defined]
    cuda.get_device_id = lambda: 0
    cuda.runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        deviceSynchronize=lambda: note_sync("synchronize"),
        is_hip=False,
    )
    cuda.compiler = types.SimpleNamespace(CompileException=compiler.CompileException)
    module.cuda = cuda
    module.exceptions = np.exceptions
    modules = {"cupy": module, "cupy.cuda": cuda}
    inner: Any = None
    for name in ("cupyx.scipy.sparse.linalg", "cupyx.scipy.sparse", "cupyx.scipy", "cupyx"):
        modules[name] = one = _Module(name)
        one.__path__ = []
        if inner is not None:
            setattr(one, inner.__name__.rpartition(".")[2], inner)
        inner = one
    modules["cupyx.scipy.sparse.linalg"].LinearOperator = extras.LinearOperator
    for name, one in modules.items():
        one.__spec__ = ModuleSpec(name, None, is_package=hasattr(one, "__path__"))
    return module, modules


cupy, _MODULES = _make()
# Modules that have imported the double are set aside with it, for the next time.
_ASIDE: dict[str, Any] = {}
# The names of modules that have not, or that may keep it.
_FREE: set[str] = set()


def _holders(names: Any, which: Any) -> dict[str, Any]:
    """Return the modules of these names that have imported `which` as `cupy`."""
    modules = {name: sys.modules[name] for name in names}
    return {n: m for n, m in modules.items() if getattr(m, "__dict__", {}).get("cupy") is which}


@contextmanager
def installed() -> Iterator[Any]:
    """Make `import cupy` give the double.

    Afterwards all is as before: whatever module of a package has imported the double as `cupy` at
    its top is removed, and comes back when the double does.
    """
    if sys.modules.get("cupy") is cupy:  # nested
        yield cupy
        return
    before: dict[str, Any] = {}
    others: dict[str, Any] = {}
    if "cupy" in sys.modules or "cupyx" in sys.modules:
        before = {
            name: module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in ("cupy", "cupyx")
        }
        for name in before:
            del sys.modules[name]
        # What has imported the real one is to import the double, and to be found again afterwards.
        others = _holders(list(sys.modules), before.get("cupy", before))
        for name in others:
            _remove(name)
    _FREE.update(sys.modules)
    sys.modules.update(_MODULES)
    for name, module in _ASIDE.items():
        _put(name, module)
        _FREE.discard(name)
    try:
        yield cupy
    finally:
        for name, module in _holders(sys.modules.keys() - _FREE - _MODULES.keys(), cupy).items():
            _ASIDE[name] = module
            _remove(name)
        for name in _MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        for name, module in others.items():
            _put(name, module)


def _put(name: str, module: Any) -> None:
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _remove(name: str) -> None:
    del sys.modules[name]
    parent, _, child = name.rpartition(".")
    if parent in sys.modules and hasattr(sys.modules[parent], child):
        delattr(sys.modules[parent], child)
