"""Raw kernels: every thread of a block is a fibre, every array lies between two fences."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np

from . import compiler, loops
from .errors import DivergenceError, RaceError
from .loops import _SCALARS, _bits_differ, _where_differ, raise_fault

_PAGE = 4096
_MAX_SHARED = 48 * 1024
_BARRIERS = re.compile(r"__syncthreads|__syncwarp|_sync\s*\(")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w\s]+?)\s+(\w+)\s*\[\s*\]\s*;")

# What is asked of the kernel's own signature: CUDA takes any bytes for any parameter.
_SIGNATURE = """
template <class T> struct CudaReal { enum { real = 0, compound = __is_class(T) }; };
template <> struct CudaReal<double> { enum { real = 1, compound = 0 }; };
template <> struct CudaReal<float> { enum { real = 1, compound = 0 }; };
template <> struct CudaReal<float16> { enum { real = 1, compound = 0 }; };
template <class T> struct CudaParameter : CudaReal<T> {
  enum { pointer = 0, constant = 0, size = sizeof(T) };
};
template <class T> struct CudaParameter<T *> : CudaReal<T> {
  enum { pointer = 1, constant = 0, size = sizeof(T) };
};
template <class T> struct CudaParameter<const T *> : CudaReal<T> {
  enum { pointer = 1, constant = 1, size = sizeof(T) };
};
template <class... P> static int cuda_describe(void (*)(P...), int *out)
{
  const int all[] = {(CudaParameter<P>::pointer | CudaParameter<P>::constant << 1
                      | CudaParameter<P>::real << 2 | CudaParameter<P>::compound << 3
                      | CudaParameter<P>::size << 4)..., 0};
  for (size_t k = 0; k < sizeof...(P); ++k) out[k] = all[k];
  return sizeof...(P);
}
template <class T> struct CudaPlain { typedef T type; };
template <class T> struct CudaPlain<const T> { typedef T type; };
template <size_t...> struct CudaPlaces {};
template <size_t n, size_t... k> struct CudaCount : CudaCount<n - 1, n - 1, k...> {};
template <size_t... k> struct CudaCount<0, k...> { typedef CudaPlaces<k...> type; };
template <class... P, size_t... k>
static void cuda_call(void (*f)(P...), void **a, CudaPlaces<k...>)
{
  f(*(typename CudaPlain<P>::type *)a[k]...);
}
template <class... P> static void cuda_call(void (*f)(P...), void **a)
{
  cuda_call(f, a, typename CudaCount<sizeof...(P)>::type());
}
extern "C" char __start_cuda_shared[] __attribute__((weak));
extern "C" char __stop_cuda_shared[] __attribute__((weak));
extern "C" char *cuda_shared_start() { return __start_cuda_shared; }
extern "C" ptrdiff_t cuda_shared_size() { return __stop_cuda_shared - __start_cuda_shared; }
extern "C" int cuda_signature(int *out) { return cuda_describe(&NAME, out); }
extern "C" void cuda_thread(void **arguments) { cuda_call(&NAME, arguments); }
"""


class _RawCall(ctypes.Structure):
    _fields_ = (
        ("thread", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_void_p),
        *((name, ctypes.c_ssize_t) for name in ("shared_size", "dynamic_size")),
        *((name, ctypes.c_ssize_t) for name in ("poison", "barriers", "seed")),
    )


class _Fences:
    """Blocks of memory whose neighbouring pages cannot be touched, used again and again."""

    def __init__(self) -> None:
        self._free: dict[int, list[int]] = {}

    def take(self, size: int) -> tuple[int, int]:
        """Return the address of the first page, and the number of pages."""
        pages = max(1, -(-size // _PAGE))
        free = self._free.get(pages)
        if free:
            return free.pop(), pages
        first = compiler.runtime().cuda_fenced(pages)
        if first is None:
            raise MemoryError(f"no room for {size} bytes between fences")
        return first, pages

    def give(self, first: int, pages: int) -> None:
        """Take back a block; only small ones are kept."""
        free = self._free.setdefault(pages, [])
        if pages <= 64 and len(free) < 16:
            free.append(first)
        else:
            compiler.runtime().cuda_unfence(first, pages)


_FENCES = _Fences()


class _Group:
    """Arguments that share memory: they stay together when they move between the fences."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.members: list[int] = []
        self.written = False
        self.first = self.pages = self.base = 0

    @property
    def size(self) -> int:
        return self.high - self.low


def _group(arrays: dict[int, np.ndarray]) -> list[_Group]:
    groups: list[_Group] = []
    bounds = {at: np.lib.array_utils.byte_bounds(array) for at, array in arrays.items()}
    for at in sorted(bounds, key=lambda at: bounds[at]):
        low, high = bounds[at]
        if groups and low < groups[-1].high:
            groups[-1].high = max(groups[-1].high, high)
        else:
            groups.append(_Group(low, high))
        groups[-1].members.append(at)
    return groups


class RawKernel:
    """The same as cupy.RawKernel, on NumPy's memory.

    Each launch runs twice, with blocks and threads in two orders, the arrays at the end and at the
    start of their pages, and other garbage in shared memory: every bit of the result must agree.
    """

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        *,
        enable_cooperative_groups: bool = False,
        jitify: Any = None,
    ) -> None:
        if enable_cooperative_groups or translate_cucomplex:
            raise NotImplementedError("the double knows neither cooperative groups nor cuComplex")
        self.constructor = {"code": code, "name": name, "options": tuple(options)}
        self.code = code
        self.name = self.__name__ = name
        self.options = tuple(options)
        self._library: Any = None

    # What a backend of the double overrides, as for the other kernels.

    def _array(self, argument: Any) -> np.ndarray | None:
        """Return the memory of an argument, or None if it is a scalar."""
        return argument if isinstance(argument, np.ndarray) else None

    def _launched(self, record: dict[str, Any]) -> None:
        """Take note of a launch."""

    def source(self) -> str:
        """Return the C++ of the kernel."""
        dynamic = r"\1 *const \2 = reinterpret_cast<\1 *>(cuda_dynamic_shared);"
        code = _DYNAMIC.sub(dynamic, self.code)
        return f'#include "device.h"\n{code}\n{_SIGNATURE.replace("NAME", self.name)}'

    def compile(self, log_stream: Any = None) -> None:
        """Compile now."""
        self._load()

    def _load(self) -> Any:
        if self._library is None:
            library = compiler.load(self.source(), self.name, self.options)
            library.cuda_shared_start.restype = ctypes.c_void_p
            library.cuda_shared_size.restype = ctypes.c_ssize_t
            room = (ctypes.c_int * 64)()
            count = library.cuda_signature(room)
            library.signature = room[:count]
            library.thread = ctypes.cast(library.cuda_thread, ctypes.c_void_p).value
            if library.cuda_shared_size() > _MAX_SHARED:
                raise ValueError(f"kernel {self.name!r} has more than 48 KiB of shared memory")
            self._library = library
        return self._library

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        *,
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        """Run the kernel."""
        grid, block = _triple("grid", grid), _triple("block", block)
        if block[0] * block[1] * block[2] > 1024 or block[2] > 64 or grid[1] > 65535:
            raise ValueError(f"CUDA has no grid {grid} of blocks {block}")
        library = self._load()
        if len(args) != len(library.signature):
            raise TypeError(
                f"kernel {self.name!r} has {len(library.signature)} parameters, got {len(args)}"
            )
        arrays: dict[int, np.ndarray] = {}
        values: list[Any] = []
        for at, (argument, word) in enumerate(zip(args, library.signature, strict=True)):
            array = self._array(argument)
            if array is None and not isinstance(argument, _SCALARS):
                raise TypeError(f"Unsupported type {type(argument)}")
            value = np.asarray(argument) if array is None else array
            self._check(at, value, array is not None, word)
            if array is not None:
                arrays[at] = array
            values.append(value)
        if library.cuda_shared_size() + shared_mem > _MAX_SHARED:
            raise ValueError(f"kernel {self.name!r}: more than 48 KiB of shared memory")
        written = {at for at in arrays if not library.signature[at] >> 1 & 1}
        with compiler.LOCK:
            self._run_twice(grid, block, values, arrays, written, shared_mem)
        self._launched(
            {
                "kind": "raw",
                "kernel": self,
                "arrays": [arrays.get(at) for at in range(len(args))],
                "inputs": list(arrays.values()),
                "outputs": [arrays[at] for at in sorted(written)],
                "dtypes": [value.dtype for value in values],
                "grid": grid,
                "block": block,
            }
        )

    def _check(self, at: int, value: np.ndarray, array: bool, word: int) -> None:
        """Raise TypeError unless the argument has the type of its parameter."""
        pointer, real, compound, size = word & 1, word >> 2 & 1, word >> 3 & 1, word >> 4
        if compound and array and pointer:  # a struct in plain memory
            return
        if bool(pointer) != array or size != value.itemsize or (value.dtype.kind == "f") != real:
            kind = f"{'floating' if real else 'integer'} type of {8 * size} bits"
            raise TypeError(
                f"kernel {self.name!r}: parameter {at} is {'a pointer to ' if pointer else ''}"
                f"a {kind}, got {'an array' if array else 'a scalar'} of {value.dtype}"
            )

    def _run_twice(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        values: list[Any],
        arrays: dict[int, np.ndarray],
        written: set[int],
        shared_mem: int,
    ) -> None:
        groups = _group({at: a for at, a in arrays.items() if a.size})
        for group in groups:
            group.written = any(at in written for at in group.members)
        first = self._run(grid, block, values, arrays, groups, shared_mem, 0)
        second = self._run(grid, block, values, arrays, groups, shared_mem, 1)
        for group, one, other in zip(groups, first, second, strict=True):
            if not group.written:
                continue
            if _bits_differ(one, other):
                raise RaceError(
                    f"kernel {self.name!r}: its result depends on the order of the threads, or on "
                    f"memory that nobody wrote: {self._difference(group, one, other, arrays)}"
                )
            ctypes.memmove(group.low, one.ctypes.data, group.size)

    def _difference(
        self, group: _Group, one: np.ndarray, other: np.ndarray, arrays: dict[int, np.ndarray]
    ) -> str:
        for at in group.members:
            array = arrays[at]
            start = array.__array_interface__["data"][0] - group.low
            views = [
                np.ndarray(array.shape, array.dtype, bytes_, start, array.strides)
                for bytes_ in (one, other)
            ]
            if _bits_differ(*views):
                return f"argument {at}, {_where_differ(*views)}"
        return "between the elements of its arrays"

    def _run(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        values: list[Any],
        arrays: dict[int, np.ndarray],
        groups: list[_Group],
        shared_mem: int,
        variant: int,
    ) -> list[np.ndarray]:
        """Run once and return the bytes of each group afterwards."""
        library = self._library
        holders: list[Any] = [None] * len(values)
        taken = []
        try:
            for group in groups:
                first, pages = _FENCES.take(group.size)
                taken.append((first, pages))
                group.first, group.pages = first, pages
                # Once the fence is right behind the last byte, once right before the first.
                group.base = first if variant else first + pages * _PAGE - group.size
                ctypes.memset(first, 0x7B if variant else 0xFF, pages * _PAGE)
                ctypes.memmove(group.base, group.low, group.size)
                for at in group.members:
                    offset = arrays[at].__array_interface__["data"][0] - group.low
                    holders[at] = ctypes.c_void_p(group.base + offset)
            for at, value in enumerate(values):
                if holders[at] is None:
                    empty = at in arrays  # an array of size zero: a pointer to nothing
                    holders[at] = (
                        ctypes.c_void_p(0)
                        if empty
                        else ctypes.create_string_buffer(value.tobytes(), 8)
                    )
            dynamic, pages = _FENCES.take(shared_mem)
            taken.append((dynamic, pages))
            pointers = (ctypes.c_void_p * max(1, len(holders)))(*map(ctypes.addressof, holders))
            call = _RawCall(
                library.thread,
                ctypes.addressof(pointers),
                grid,
                block,
                library.cuda_shared_start(),
                library.cuda_shared_size(),
                shared_mem,
                0x7B if variant else 0xFF,
                _BARRIERS.search(self.code) is not None,
                12345 + 6789 * variant,
            )
            fault = compiler.Fault()
            compiler.runtime().cuda_run_raw(
                ctypes.byref(call),
                dynamic + pages * _PAGE - shared_mem & ~7,
                loops.SECONDS,
                ctypes.byref(fault),
            )
            if fault.code:
                self._raise(fault, groups, arrays)
            return [
                np.frombuffer(ctypes.string_at(group.base, group.size), np.uint8).copy()
                if group.written
                else np.empty(0, np.uint8)
                for group in groups
            ]
        finally:
            for first, pages in taken:
                _FENCES.give(first, pages)

    def _raise(
        self, fault: compiler.Fault, groups: list[_Group], arrays: dict[int, np.ndarray]
    ) -> None:
        place = f"block {tuple(fault.block)}, thread {tuple(fault.thread)}"
        if fault.code == 2:
            raise DivergenceError(
                f"kernel {self.name!r}: of {fault.size} threads {fault.index} wait at one "
                f"__syncthreads and {fault.where} have ended, the others wait elsewhere "
                f"(block {tuple(fault.block)})"
            )
        if fault.code == 4:
            for group in groups:
                if group.first - _PAGE <= fault.where < group.first + (group.pages + 1) * _PAGE:
                    at = group.members[0]
                    start = arrays[at].__array_interface__["data"][0] - group.low + group.base
                    index = (fault.where - start) // arrays[at].itemsize
                    raise IndexError(
                        f"kernel {self.name!r}: index {index} of argument {at} is out of bounds "
                        f"for size {arrays[at].size} ({place})"
                    )
        raise_fault(self.name, fault)


def _triple(name: str, sizes: tuple[int, ...]) -> tuple[int, int, int]:
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
        raise ValueError(f"{name} must be a tuple of one to three integers, got {sizes!r}")
    if any(int(size) < 1 for size in sizes):
        raise ValueError(f"{name} must be positive, got {sizes!r}")
    a, b, c = (*map(int, sizes), 1, 1)[:3]
    return a, b, c
