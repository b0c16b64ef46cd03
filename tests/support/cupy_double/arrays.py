"""The double's ndarray: NumPy's memory behind CuPy's interface, and no way to NumPy but `get`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from .loops import poison
from .names import real, signature
from .recorder import is_recording, note_launch, note_sync, note_upload

_SCALARS = (bool, int, float, complex, np.generic)


class Device:
    """The one device there is."""

    def __init__(self, device: Any = None) -> None:
        if device not in (None, 0) and not isinstance(device, Device):
            raise RuntimeError(f"cudaErrorInvalidDevice: invalid device ordinal {device}")
        self.id = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "<CUDA Device 0>"

    def use(self) -> None:
        """Make it the current one, which it is."""

    def synchronize(self) -> None:
        """Wait for the device."""
        note_sync("synchronize")


class _Pointer:
    """Where the memory of an array begins."""

    device_id = 0

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr
        self.device = Device()


class _Flags:
    """What CuPy tells of the layout; there is no `writeable`."""

    __slots__ = ("c_contiguous", "f_contiguous", "owndata")

    def __init__(self, flags: Any) -> None:
        self.c_contiguous = bool(flags.c_contiguous)
        self.f_contiguous = bool(flags.f_contiguous)
        self.owndata = bool(flags.owndata)

    def __getitem__(self, name: str) -> bool:
        return getattr(self, name.lower())


def memory_of(value: Any, name: str = "") -> np.ndarray | None:
    """Return the memory of an array, None for a scalar; all else is refused as by CuPy."""
    if isinstance(value, ndarray):
        return value._memory
    if isinstance(value, _SCALARS):
        return None
    raise TypeError(f"Unsupported type {type(value)}" + f" (in {name})" * bool(name))


def wrap(value: Any) -> Any:
    """Return NumPy's arrays and scalars, also in tuples and lists, as arrays of the double."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _new(np.asarray(value))
    if type(value) in (tuple, list):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value: Any, name: str = "") -> Any:
    """Return the memory in place of arrays, also in tuples, lists and slices."""
    if isinstance(value, ndarray):
        return value._memory
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}" + f" (in {name})" * bool(name))
    if type(value) in (tuple, list):
        return type(value)(unwrap(item, name) for item in value)
    return value


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Yield the memory of all arrays of the double in nested tuples and lists."""
    if isinstance(value, ndarray):
        yield value._memory
    elif type(value) in (tuple, list):
        for item in value:
            yield from arrays_in(item)


def _new(memory: np.ndarray) -> ndarray:
    if memory.dtype.kind not in "biufc" or memory.dtype.itemsize > 8 * (
        1 + (memory.dtype.kind == "c")
    ):
        raise TypeError(f"Unsupported dtype {memory.dtype}")
    out = ndarray.__new__(ndarray)
    out._memory = memory
    return out


def _is_view(memory: np.ndarray, inputs: list[np.ndarray]) -> bool:
    """Return whether a result is no more than another look at one of the inputs."""
    return any(np.may_share_memory(memory, other) for other in inputs)


def apply(
    name: str, function: Callable[..., Any], args: Any, kwargs: Any, sync: bool = False
) -> Any:
    """Call a function of NumPy as CuPy's of that name, and note what it takes of the device."""
    plain = [unwrap(arg, name) for arg in args]
    plain_kwargs = {key: unwrap(value, name) for key, value in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*plain, **plain_kwargs)
    out = kwargs.get("out")
    out = out[0] if isinstance(out, tuple) and len(out) == 1 else out
    wrapped = out if out is not None else wrap(result)
    if sync:
        note_sync(name)
    if is_recording():
        inputs = [*arrays_in(args), *arrays_in(list(kwargs.values()))]
        new = [o for o in arrays_in(wrapped) if out is not None or not _is_view(o, inputs)]
        if new and (any(o.size for o in new) or any(i.size for i in inputs)):
            note_launch(name, inputs, new)
    return wrapped


def _operator(name: str, reflected: bool = False, inplace: bool = False) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: ndarray, other: Any) -> Any:
        if not isinstance(other, ndarray) and _defers(other):
            return NotImplemented
        memory_of(other, name)
        args = (other, self) if reflected else (self, other)
        return apply(name, function, args, {"out": (self,)} if inplace else {})

    return method


def _defers(other: Any) -> bool:
    """Return whether Python is to ask the other operand, as CuPy decides it."""
    if isinstance(other, (*_SCALARS, np.ndarray)):
        return False
    none = getattr(type(other), "__array_ufunc__", 0) is None
    return none or getattr(other, "__array_priority__", 0) > ndarray.__array_priority__


class ndarray:  # CuPy's name
    """An array on the device."""

    __slots__ = ("__weakref__", "_memory")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    _memory: np.ndarray

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: Any = None,
        strides: Any = None,
        order: Any = "C",
    ) -> None:
        if memptr is not None or strides is not None:
            raise NotImplementedError("the double makes no array of given memory")
        self._memory = poison(np.empty(shape, dtype, order or "C"))

    # No way to NumPy that is not asked for.

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .namespace import cupy

        out = kwargs.pop("out", None)
        if out is not None:
            if len(out) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            kwargs["out"] = out[0]
        own = getattr(cupy, ufunc.__name__, None)
        if own is None:
            return NotImplemented
        if method == "__call__":
            return own(*inputs, **kwargs)
        return getattr(own, method)(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .namespace import cupy

        own: Any = cupy
        for part in [*func.__module__.split(".")[1:], func.__name__]:
            own = getattr(own, part, None)
        if own is None or any(t not in (ndarray, np.ndarray) for t in types):
            return NotImplemented
        return own(*args, **kwargs)

    def get(
        self, stream: Any = None, order: Any = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        """Return a copy in the memory of the host."""
        note_sync("get")
        if out is not None:
            out[...] = self._memory
            return out
        return np.array(self._memory, order=order)

    def set(self, arr: Any, stream: Any = None) -> None:
        """Copy an array of the host to this one."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        note_upload("set")
        self._memory[...] = arr

    def item(self) -> Any:
        """Return the only element as a number of Python."""
        note_sync("item")
        return self._memory.item()

    def tolist(self) -> Any:
        """Return the elements as numbers of Python."""
        note_sync("tolist")
        return self._memory.tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """Return the elements' bytes."""
        note_sync("tobytes")
        return self._memory.tobytes(order)

    def __bool__(self) -> bool:
        note_sync("bool")
        return bool(self._memory)

    def __int__(self) -> int:
        note_sync("int")
        return int(self._memory)

    def __float__(self) -> float:
        note_sync("float")
        return float(self._memory)

    def __complex__(self) -> complex:
        note_sync("complex")
        return complex(self._memory)

    def __repr__(self) -> str:
        note_sync("repr")
        return repr(self._memory)

    def __str__(self) -> str:
        note_sync("str")
        return str(self._memory)

    def __format__(self, spec: str) -> str:
        note_sync("format")
        return format(self._memory, spec)

    def __reduce__(self) -> Any:
        from .namespace import cupy

        return cupy.array, (self.get(),)

    # What the host knows.

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._memory.shape

    @shape.setter
    def shape(self, shape: tuple[int, ...]) -> None:
        self._memory = self._memory.view()
        self._memory.shape = shape

    dtype = property(lambda self: self._memory.dtype)
    ndim = property(lambda self: self._memory.ndim)
    size = property(lambda self: self._memory.size)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    strides = property(lambda self: self._memory.strides)
    flags = property(lambda self: _Flags(self._memory.flags))
    base = property(lambda self: wrap(self._memory.base))
    device = property(lambda self: Device())
    data = property(lambda self: _Pointer(self._memory.__array_interface__["data"][0]))
    T = property(lambda self: _new(self._memory.T))
    mT = property(lambda self: _new(self._memory.mT))
    real = property(lambda self: _new(self._memory.real))
    imag = property(lambda self: _new(self._memory.imag))

    @property
    def flat(self) -> Any:
        """The elements in C order."""
        return self.ravel()  # type: ignore[attr-defined]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if self._memory.flags.c_contiguous else self.strides,
            "data": (self.data.ptr, False),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> Any:
        return self.copy()  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()  # type: ignore[attr-defined]

    # Elements.

    def __getitem__(self, key: Any) -> Any:
        return apply("getitem", lambda a, k: np.asarray(a[k]), (self, key), {}, sync=_has_mask(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        memory_of(value, "setitem")
        if _has_mask(key) and isinstance(value, ndarray) and value.ndim:
            note_sync("setitem")
        before = self._memory
        with np.errstate(all="ignore"):
            before[unwrap(key, "setitem")] = unwrap(value)
        if before.size:
            note_launch("setitem", [*arrays_in(key), *arrays_in(value)], [before])

    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
        """Return a view where the strides allow it, else a copy."""
        return apply("reshape", lambda a: a.reshape(*shape, order=order), (self,), {})

    def transpose(self, *axes: Any) -> Any:
        """Return a view with permuted axes."""
        return _new(self._memory.transpose(*axes))

    def astype(
        self,
        dtype: Any,
        order: Any = "K",
        casting: Any = None,
        subok: Any = None,
        copy: bool = True,
    ) -> Any:
        """Return the elements as another type."""
        kwargs = {"order": order, "casting": casting or "unsafe", "copy": copy}
        return apply("astype", lambda a: a.astype(dtype, **kwargs), (self,), {})

    def view(self, dtype: Any = None, type: Any = None) -> Any:
        """Return the same memory, as another type if asked for."""
        return _new(self._memory.view() if dtype is None else self._memory.view(dtype))

    def fill(self, value: Any) -> None:
        """Set all elements."""
        memory_of(value, "fill")
        self._memory.fill(unwrap(value))
        if self.size:
            note_launch("fill", arrays_in(value), [self._memory])

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        """Sort in place."""
        check_kind(kind)
        self._memory.sort(axis, kind="stable")
        if self.size:
            note_launch("sort", [self._memory], [self._memory])

    def argsort(self, axis: int = -1, kind: Any = None) -> Any:
        """Return what would sort."""
        check_kind(kind)
        return apply("argsort", lambda a: np.argsort(a, axis, kind="stable"), (self,), {})


def check_kind(kind: Any) -> None:
    """Raise ValueError for a kind of sorting that CuPy has not."""
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")


def _has_mask(key: Any) -> bool:
    """Return whether the size of the result is only known to the device."""
    return any(
        memory.dtype.kind == "b" for memory in arrays_in(key if type(key) is tuple else [key])
    )


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "matmul": "matmul",
}
for _short, _long in _BINARY.items():
    setattr(ndarray, f"__{_short}__", _operator(_long))
    setattr(ndarray, f"__r{_short}__", _operator(_long, reflected=True))
    if _short != "matmul":
        setattr(ndarray, f"__i{_short}__", _operator(_long, inplace=True))
for _short, _long in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}.items():
    setattr(ndarray, f"__{_short}__", _operator(_long))
for _short, _long in {
    "neg": "negative",
    "pos": "positive",
    "abs": "absolute",
    "invert": "invert",
}.items():
    setattr(
        ndarray,
        f"__{_short}__",
        lambda self, _name=_long: apply(_name, getattr(np, _name), (self,), {}),
    )


def _method(name: str, parameters: str) -> Callable[..., Any]:
    expected = signature(parameters)

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        try:
            expected.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"cupy.ndarray.{name}: {error}") from None
        own = getattr(np.ndarray, name, None)
        if own is None:
            raise NotImplementedError(f"the double has no ndarray.{name}")
        return apply(name, own, (self, *args), kwargs, sync=name in ("nonzero", "compress"))

    method.__name__ = name
    return method


for _name, _parameters in real()["methods"].items():
    if _name not in vars(ndarray):
        setattr(ndarray, _name, _method(_name, _parameters))
ndarray.__module__ = "cupy"
