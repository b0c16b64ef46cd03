"""Elementwise and reduction kernels, run on NumPy's memory by the host's C++ compiler.

The signatures and the rules for dtypes, shapes and scalars are CuPy's; the C++ around the body of
a kernel has the names that CuPy's has, and checks what a GPU does not.
"""

from __future__ import annotations

import ctypes
from math import gcd, prod
from typing import Any

import numpy as np

from . import compiler
from .errors import RaceError, TrapError

# A kernel that has used this much processor time hangs.
SECONDS = 60.0

_CTYPES = {
    "float64": "double",
    "float32": "float",
    "float16": "float16",
    "int64": "long long",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint64": "unsigned long long",
    "uint32": "unsigned int",
    "uint16": "unsigned short",
    "uint8": "unsigned char",
    "bool": "bool",
}
_SCALARS = (bool, int, float, np.generic)


def ctype(dtype: Any) -> str:
    """Return the C++ name of a dtype."""
    try:
        return _CTYPES[np.dtype(dtype).name]
    except KeyError:
        raise TypeError(f"Unable to find C++ type for dtype {dtype}") from None


def poison(array: np.ndarray) -> np.ndarray:
    """Fill new memory with what nobody can mistake for a result: CuPy's is not zero either."""
    if array.dtype.kind in "fc":
        array.fill(np.nan)
    elif array.dtype.kind == "b":
        array.reshape(-1)[::2] = True
        array.reshape(-1)[1::2] = False
    else:
        array.reshape(-1).view(np.uint8).fill(0x7B)
    return array


class Parameter:
    """One entry of a parameter list, such as ``raw T x``."""

    def __init__(self, text: str, const: bool) -> None:
        words = text.split()
        if len(words) < 2:
            raise Exception(f"Syntax error: {text}")
        *flags, kind, self.name = words
        self.dtype = None if len(kind) == 1 else np.dtype(kind)
        self.ctype = kind if self.dtype is None else ctype(self.dtype)
        self.raw = "raw" in flags
        self.const = const and "_non_const" not in flags
        if unknown := set(flags) - {"raw", "_non_const"}:
            raise Exception(f'Unknown keyword "{unknown.pop()}"')


def _parameters(text: str, const: bool) -> tuple[Parameter, ...]:
    return tuple(Parameter(item, const) for item in text.split(",")) if text.strip() else ()


class _Words:
    """The words of a launch that describe its arrays, see CArray in device.h."""

    def __init__(self, parameters: int) -> None:
        self._heads: list[int] = []
        self._tails: list[int] = []
        self._start = 5 * parameters

    def add(self, array: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        """Append an array, seen in a shape it broadcasts to."""
        if array.size == 1 and prod(shape) >= 1 and not any(strides):
            layout = 2
        elif array.shape == shape and array.strides == strides and array.flags.c_contiguous:
            layout = 1
        else:
            layout = 0
        tail = self._start + len(self._tails)
        pointer = array.__array_interface__["data"][0]
        self._heads += (pointer, prod(shape), len(shape), layout, tail)
        self._tails += shape
        self._tails += strides

    def pack(self) -> Any:
        words = self._heads + self._tails
        return (ctypes.c_ssize_t * len(words))(*words)


def _strides(array: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array that is broadcast to a shape."""
    if array.shape == shape:
        return array.strides
    extra = len(shape) - array.ndim
    return (0,) * extra + tuple(
        0 if own == 1 and size != 1 else stride
        for own, size, stride in zip(array.shape, shape[extra:], array.strides, strict=True)
    )


def _bits_differ(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() != b.tobytes()


def _where_differ(a: np.ndarray, b: np.ndarray) -> str:
    kind = f"V{a.itemsize}"
    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    at = int(np.flatnonzero(a.view(kind) != b.view(kind))[0])
    return f"element {at} is {a[at]!r} or {b[at]!r}"


class _LoopKernel:
    """What elementwise and reduction kernels share."""

    in_params: tuple[Parameter, ...]
    out_params: tuple[Parameter, ...]
    name: str
    options: tuple[str, ...]

    # What a backend of the double overrides: its arrays, and who is told of a launch.

    def _array(self, argument: Any) -> np.ndarray | None:
        """Return the memory of an argument, or None if it is a scalar."""
        return argument if isinstance(argument, np.ndarray) else None

    def _wrap(self, array: np.ndarray) -> Any:
        """Return an array as the caller is to see it."""
        return array

    def _launched(self, record: dict[str, Any]) -> None:
        """Take note of a launch."""

    def _arrays(self, arguments: Any) -> list[np.ndarray | None]:
        arrays = [self._array(argument) for argument in arguments]
        for argument, array in zip(arguments, arrays, strict=True):
            if array is None and not isinstance(argument, _SCALARS):
                raise TypeError(f"Unsupported type {type(argument)}")
        return arrays

    def _decide_types(
        self, ins: list[np.ndarray | None], outs: list[np.ndarray | None]
    ) -> tuple[list[np.dtype], list[np.dtype], dict[str, np.dtype]]:
        """Return the dtypes of the parameters; arrays decide, scalars follow them."""
        types: dict[str, np.dtype] = {}
        if any(array is None for array in outs):
            raise TypeError("Output arguments type must be cupy.ndarray")
        pairs = [*zip(self.out_params, outs, strict=False), *zip(self.in_params, ins, strict=True)]
        for p, array in pairs:
            if array is None:
                continue
            expected = types.setdefault(p.ctype, array.dtype) if p.dtype is None else p.dtype
            if expected != array.dtype:
                letter = f" {p.ctype}" if p.dtype is None else ""
                raise TypeError(
                    f"Type is mismatched. {p.name} {array.dtype} {expected}{letter} "
                    f"(in kernel {self.name!r})"
                )
        ins_ = [types[p.ctype] if p.dtype is None else p.dtype for p in self.in_params]
        outs_ = [types[p.ctype] if p.dtype is None else p.dtype for p in self.out_params]
        return ins_, outs_, types

    def _broadcast(self, arrays: list[np.ndarray | None], sized: bool) -> tuple[int, ...]:
        parameters = (*self.in_params, *self.out_params)
        shapes = [
            array.shape
            for p, array in zip(parameters, arrays, strict=False)
            if array is not None and not p.raw
        ]
        if sized:
            if shapes:
                raise ValueError(
                    "Specified 'size' can be used only if all of the ndarray are 'raw'."
                )
            return ()
        if not shapes:
            raise ValueError("Loop size is undecided.")
        first = shapes[0]
        return first if all(s == first for s in shapes) else np.broadcast_shapes(*shapes)

    def _outputs(
        self,
        given: list[np.ndarray | None],
        dtypes: list[np.dtype],
        shape: tuple[int, ...],
        sized: bool,
    ) -> list[np.ndarray]:
        if not given:
            if not sized and any(p.raw for p in self.out_params):
                raise ValueError("Output array size is Undecided")
            return [poison(np.empty(shape, dtype)) for dtype in dtypes]
        for p, array in zip(self.out_params, given, strict=True):
            if not p.raw and array.shape != shape:
                raise ValueError("Out shape is mismatched")
        return given

    def _typedefs(self, types: dict[str, np.dtype]) -> str:
        return "".join(f"typedef {ctype(dtype)} {letter};\n" for letter, dtype in types.items())

    def _declarations(self, dtypes: list[np.dtype], scalars: tuple[bool, ...]) -> str:
        """Return the C++ that makes the parameters of the launch's words."""
        lines = []
        for at, (p, dtype) in enumerate(
            zip((*self.in_params, *self.out_params), dtypes, strict=True)
        ):
            const, kind = "const " if p.const else "", ctype(dtype)
            if scalars[at]:
                lines.append(f"{const}{kind} {p.name} = *(const {kind} *)_words[{5 * at}];")
            else:
                name = p.name if p.raw else f"_raw_{p.name}"
                lines.append(f"{const}CArray<{kind}> {name}(_words, {at});")
        return "\n  ".join(lines)

    def _run(self, function: Any, words: Any, outer: int, inner: int, step: int) -> None:
        fault = compiler.Fault()
        compiler.runtime().cuda_run_loop(
            function, words, outer, inner, step, SECONDS, ctypes.byref(fault)
        )
        if not fault.code:
            return
        parameters = (*self.in_params, *self.out_params)
        if fault.code == 1:
            raise IndexError(
                f"kernel {self.name!r}: index {fault.index} of the raw array "
                f"{parameters[fault.where].name!r} is out of bounds for size {fault.size}"
            )
        if fault.code == 7:
            raise IndexError(
                f"kernel {self.name!r}: {fault.index} indices for the raw array "
                f"{parameters[fault.where].name!r} of {fault.size} dimensions"
            )
        raise_fault(self.name, fault)


def raise_fault(name: str, fault: compiler.Fault) -> None:
    """Raise the error that all kinds of kernels can have."""
    if fault.code == 3:
        raise TimeoutError(f"kernel {name!r} has run for {SECONDS} seconds: an endless loop?")
    if fault.code == 4:
        raise IndexError(f"kernel {name!r} touched memory at {fault.where:#x} that is not its own")
    if fault.code == 6:
        raise TrapError(f"kernel {name!r}: an assertion failed in line {fault.index}")
    raise TrapError(
        f"kernel {name!r} does something undefined: an index outside of a local or shared array, "
        "an integer overflow or division by zero, a float that its integer type cannot hold"
    )


def _scalar(value: Any, dtype: np.dtype) -> np.ndarray:
    """Return a scalar as the kernel gets it, with the rules of an assignment."""
    out = np.empty((), dtype)
    with np.errstate(all="ignore"):
        out[()] = value
    return out


class ElementwiseKernel(_LoopKernel):
    """The same as cupy.ElementwiseKernel."""

    def __init__(
        self,
        in_params: str,
        out_params: str,
        operation: str,
        name: str = "kernel",
        reduce_dims: bool = True,
        preamble: str = "",
        no_return: bool = False,
        return_tuple: bool = False,
        *,
        options: tuple[str, ...] = (),
        loop_prep: str = "",
        after_loop: str = "",
    ) -> None:
        if not name.isidentifier():
            raise ValueError(f'Invalid kernel name: "{name}"')
        self.constructor = {
            "in_params": in_params,
            "out_params": out_params,
            "operation": operation,
            "name": name,
            "reduce_dims": reduce_dims,
            "preamble": preamble,
            "options": tuple(options),
            "loop_prep": loop_prep,
            "after_loop": after_loop,
        }
        self.in_params = _parameters(in_params, True)
        self.out_params = _parameters(out_params, False)
        self.nin, self.nout = len(self.in_params), len(self.out_params)
        self.nargs = self.nin + self.nout
        if "i" in {p.name for p in (*self.in_params, *self.out_params)}:
            raise ValueError("Can not use 'i' as a parameter name")
        self.operation, self.preamble = operation, preamble
        self.loop_prep, self.after_loop = loop_prep, after_loop
        self.name = self.__name__ = name
        self.options = tuple(options)
        self.no_return, self.return_tuple = no_return, return_tuple
        self._functions: dict[Any, Any] = {}

    def source(
        self, types: dict[str, np.dtype], dtypes: list[np.dtype], scalars: tuple[bool, ...]
    ) -> str:
        """Return the C++ of the kernel for given dtypes; `scalars`: which are no arrays."""
        elements = []
        for p, scalar in zip((*self.in_params, *self.out_params), scalars, strict=True):
            if not scalar and not p.raw:
                const = "const " if p.const else ""
                elements.append(f"{const}{p.ctype} &{p.name} = _raw_{p.name}.element(i);")
        loads = "\n      ".join(elements)
        # In CuPy the body stands in a loop: `continue` and `return` end this element there too.
        return f"""#include "device.h"
{self._typedefs(types)}
{self.preamble}
extern "C" void cuda_loop(const ptrdiff_t *_words, ptrdiff_t _outer, ptrdiff_t, ptrdiff_t _step)
{{
  {self._declarations(dtypes, scalars)}
  const CIndexer _ind(_outer);
  {self.loop_prep};
  for (CudaOrder _order(_outer, _step); _order.more(); _order.next()) {{
    const ptrdiff_t i = _order.i;
    [&] {{ for (bool _once = true; _once; _once = false) {{
      {loads}
      {self.operation};
    }} }}();
  }}
  {self.after_loop};
}}
"""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the kernel."""
        size = kwargs.pop("size", -1)
        kwargs.pop("stream", None)
        if kwargs.pop("block_size", 128) <= 0:
            raise ValueError("block_size must be greater than zero")
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        arrays = self._arrays(args)
        shape = self._broadcast(arrays, size != -1)
        ins, outs = arrays[: self.nin], arrays[self.nin :]
        in_types, out_types, types = self._decide_types(ins, outs)
        if size != -1:
            shape = (size,)
        fresh = not outs
        outs = self._outputs(outs, out_types, shape, size != -1)
        if self.no_return:
            result = None
        elif fresh:
            result = tuple(self._wrap(out) for out in outs)
        else:
            result = tuple(args[self.nin :])
        if result is not None and self.nout == 1 and not self.return_tuple:
            result = result[0]
        loops = prod(shape)
        if loops == 0:
            return result
        scalars = (*(array is None for array in ins), *(False for _ in outs))
        values = [
            _scalar(value, dtype) if array is None else array
            for value, array, dtype in zip(args, ins, in_types, strict=False)
        ]
        dtypes = in_types + out_types
        key = (*(dtype.char for dtype in dtypes), *scalars)
        function = self._functions.get(key)
        if function is None:
            source = self.source(types, dtypes, scalars)
            library = compiler.load(source, self.name, self.options)
            function = self._functions[key] = library.cuda_loop
        words = _Words(self.nargs)
        for p, array in zip((*self.in_params, *self.out_params), values + outs, strict=True):
            seen = array.shape if p.raw else shape
            words.add(array, seen, _strides(array, seen))
        packed = words.pack()
        with compiler.LOCK:
            if self._order_may_matter(ins, outs, fresh):
                self._run_twice(function, packed, loops, outs)
            else:
                self._run(function, packed, loops, 0, 0)
        self._launched(
            {
                "kind": "elementwise",
                "kernel": self,
                "arrays": [*ins, *outs],
                "inputs": [array for array in ins if array is not None],
                "outputs": outs,
                "dtypes": dtypes,
                "shape": shape,
            }
        )
        return result

    def _order_may_matter(
        self, ins: list[np.ndarray | None], outs: list[np.ndarray], fresh: bool
    ) -> bool:
        """Return whether an element can see what the loop does for another one."""
        if any(p.raw for p in self.out_params):
            return True
        if fresh:
            return False
        for p, array in zip(self.in_params, ins, strict=True):
            for out in outs:
                if array is None or not np.may_share_memory(array, out):
                    continue
                same = (
                    array.shape == out.shape
                    and array.strides == out.strides
                    and array.__array_interface__["data"] == out.__array_interface__["data"]
                )
                if p.raw or not same:
                    return True
        return False

    def _run_twice(self, function: Any, words: Any, loops: int, outs: list[np.ndarray]) -> None:
        """Run in two orders, from the same memory, and compare every bit."""
        before = [out.copy() for out in outs]
        self._run(function, words, loops, 0, 0)
        first = [out.copy() for out in outs]
        for out, old in zip(outs, before, strict=True):
            out[...] = old
        self._run(function, words, loops, 0, _step((loops + 31) // 32))
        for p, one, other in zip(self.out_params, first, outs, strict=True):
            if _bits_differ(one, other):
                raise RaceError(
                    f"kernel {self.name!r}: {p.name!r} depends on the order of the threads: "
                    f"{_where_differ(one, other)}"
                )


def _step(groups: int) -> int:
    """Return a step that visits all groups, in a scattered order."""
    step = max(1, int(0.618 * groups))
    while gcd(step, groups) != 1:
        step += 1
    return step


class ReductionKernel(_LoopKernel):
    """The same as cupy.ReductionKernel."""

    def __init__(
        self,
        in_params: str,
        out_params: str,
        map_expr: str,
        reduce_expr: str,
        post_map_expr: str,
        identity: Any,
        name: str = "reduce_kernel",
        reduce_type: str | None = None,
        reduce_dims: bool = True,
        preamble: str = "",
        options: tuple[str, ...] = (),
    ) -> None:
        if not name.isidentifier():
            raise ValueError(f'Invalid kernel name: "{name}"')
        self.identity = "" if identity is None else str(identity)
        self.constructor = {
            "in_params": in_params,
            "out_params": out_params,
            "map_expr": map_expr,
            "reduce_expr": reduce_expr,
            "post_map_expr": post_map_expr,
            "identity": self.identity,
            "name": name,
            "reduce_type": reduce_type,
            "reduce_dims": reduce_dims,
            "preamble": preamble,
            "options": tuple(options),
        }
        self.in_params = _parameters(in_params, True)
        self.out_params = _parameters(out_params, False)
        self.nin, self.nout = len(self.in_params), len(self.out_params)
        self.nargs = self.nin + self.nout
        self.map_expr, self.reduce_expr = map_expr, reduce_expr
        self.post_map_expr, self.preamble = post_map_expr, preamble
        self.reduce_type = reduce_type or self.out_params[0].ctype
        self.name = self.__name__ = name
        self.options = tuple(options)
        self._functions: dict[Any, Any] = {}

    def source(
        self,
        types: dict[str, np.dtype],
        dtypes: list[np.dtype],
        scalars: tuple[bool, ...],
        block: bool,
    ) -> str:
        """Return the C++ of the kernel; `block`: as CuPy writes it for CUB's block reduction.

        For CUB, CuPy replaces the names of the two parameters in the text of the expressions, be
        they whole words or not, and has no indexers.
        """
        map_expr, post_map_expr = self.map_expr, self.post_map_expr
        names = written = [p.name for p in (*self.in_params, *self.out_params)]
        indexers = "const CIndexer _in_ind(_outer * _inner), _out_ind(_outer);"
        extra = ""
        if block:
            map_expr = map_expr.replace(names[0], "in0")
            post_map_expr = post_map_expr.replace(names[1], "out0")
            names = ["in0", "out0"]
            extra = (
                f"typedef {ctype(dtypes[0])} type_in0_raw;\n"
                f"typedef {ctype(dtypes[1])} type_out0_raw;\n"
            )
            if "mean" not in self.name:
                indexers = ""
        loads, stores, trials, scales = [], [], [], []
        parameters = (*self.in_params, *self.out_params)
        for at, (p, name, scalar) in enumerate(zip(parameters, names, scalars, strict=True)):
            if scalar or p.raw:
                continue
            if p.const:
                loads.append(f"const {p.ctype} {name} = _raw_{p.name}.element(_j);")
            else:
                stores.append(f"{p.ctype} &{name} = _raw_{p.name}.element(_i);")
                trials.append(f"{p.ctype} {name} = {p.ctype}();")
                scale = f"((double *)_words[{5 * (self.nargs + at - self.nin)}])[_i]"
                scales.append(f"{scale} = max({scale}, cuda_magnitude((double){name}));")
        limit = ""
        if block:
            # With these very names CuPy forgets to define the types.
            extra = "" if names == written else extra
            limit = (
                "static_assert(sizeof(_type_reduce) <= 32);\n"
                "typedef type_in0_raw type_mid_in; typedef type_out0_raw type_mid_out;"
            )
        return f"""#include "device.h"
typedef long long IndexT;
{self._typedefs(types)}{extra}
{self.preamble}
#define REDUCE(a, b) ({self.reduce_expr})
#define POST_MAP(a) ({post_map_expr})
typedef {self.reduce_type} _type_reduce;
{limit}
extern "C" void cuda_loop(const ptrdiff_t *_words, ptrdiff_t _outer, ptrdiff_t _inner,
                          ptrdiff_t _step)
{{
  {self._declarations(dtypes, scalars)}
  {indexers}
  /* As many lanes as a GPU might have, each from the identity, then a tree. */
  const int _lanes = _step ? 32 : 8;
  for (ptrdiff_t _i = 0; _i < _outer; ++_i) {{
    _type_reduce _data[32];
    for (int _lane = 0; _lane < _lanes; ++_lane)
      _data[_lane] = _type_reduce({self.identity});
    ptrdiff_t _count = 0;
    for (CudaOrder _order(_inner, _step); _order.more(); _order.next()) {{
      const IndexT _J = _order.i;
      const ptrdiff_t _j = _J * _outer + _i;
      _type_reduce _own;
      {{
        {" ".join(loads)}
        const _type_reduce _a = static_cast<_type_reduce>({map_expr});
        _type_reduce _s = _data[_count % _lanes];
        _data[_count++ % _lanes] = REDUCE(_s, _a);
        _own = _a;
      }}
      if (_step) {{
        /* How large results are made of one element: the rounding errors are relative to it. */
        {" ".join(trials)}
        POST_MAP(_own);
        {" ".join(scales)}
      }}
    }}
    for (int _offset = _lanes / 2; _offset; _offset /= 2)
      for (int _lane = 0; _lane < _offset; ++_lane) {{
        _type_reduce _a = _data[_lane], _b = _data[_lane + _offset];
        _data[_lane] = REDUCE(_a, _b);
      }}
    _type_reduce _s = _data[0];
    {" ".join(stores)}
    POST_MAP(_s);
  }}
}}
"""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the kernel; like CuPy's, it returns the first output only."""
        out = kwargs.pop("out", None)
        axis = kwargs.pop("axis", None)
        keepdims = kwargs.pop("keepdims", False)
        kwargs.pop("stream", None)
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(f"Wrong number of arguments for {self.name}")
        given = list(args[self.nin :])
        if out is not None:
            if self.nout != 1:
                raise NotImplementedError("")
            if given:
                raise ValueError("cannot specify 'out' as both a positional and keyword argument")
            given = [out]
        ins, outs = self._arrays(args[: self.nin]), self._arrays(given)
        shape = self._broadcast(ins, False)
        in_types, out_types, types = self._decide_types(ins, outs)
        reduced = _axes(axis, len(shape))
        kept = tuple(d for d in range(len(shape)) if d not in reduced)
        if keepdims:
            out_shape = tuple(1 if d in reduced else n for d, n in enumerate(shape))
        else:
            out_shape = tuple(shape[d] for d in kept)
        outs = self._outputs(outs, out_types, out_shape, False)
        result = given[0] if given else self._wrap(outs[0])
        outer, inner = prod(shape[d] for d in kept), prod(shape[d] for d in reduced)
        if outer == 0:
            return result
        if inner == 0 and not self.identity:
            raise ValueError(
                f"zero-size array to reduction operation {self.name} which has no identity"
            )
        permutation = reduced + kept
        if permutation != tuple(range(len(shape))) and any(p.raw for p in self.in_params):
            raise NotImplementedError("Illegal conditions")
        scalars = (*(array is None for array in ins), *(False for _ in outs))
        values = [
            _scalar(value, dtype) if array is None else array
            for value, array, dtype in zip(args, ins, in_types, strict=False)
        ]
        block = (
            self.nin == self.nout == 1
            and not self.in_params[0].raw
            and (values[0].flags.c_contiguous or values[0].flags.f_contiguous)
        )
        dtypes = in_types + out_types
        key = (*(dtype.char for dtype in dtypes), *scalars, block)
        function = self._functions.get(key)
        if function is None:
            source = self.source(types, dtypes, scalars, block)
            library = compiler.load(source, self.name, self.options)
            function = self._functions[key] = library.cuda_loop
        # Again to memory of our own: sums of floats need not agree in every bit.
        again = [np.array(o) if p.raw else np.empty_like(o) for p, o in self._pairs(outs)]
        scales = [np.zeros(out_shape) for _ in outs]

        def words(outputs: list[np.ndarray]) -> Any:
            words = _Words(self.nargs + self.nout)
            for p, array in zip(self.in_params, values, strict=True):
                seen = array.shape if p.raw else shape
                strides = _strides(array, seen)
                if not p.raw:
                    seen = tuple(seen[d] for d in permutation)
                    strides = tuple(strides[d] for d in permutation)
                words.add(array, seen, strides)
            for array in (*outputs, *scales):
                words.add(array, array.shape, array.strides)
            return words.pack()

        with compiler.LOCK:
            self._run(function, words(again), outer, inner, _step(max(1, (inner + 31) // 32)))
            self._run(function, words(outs), outer, inner, 0)
        self._compare(outs, again, scales, inner)
        self._launched(
            {
                "kind": "reduction",
                "kernel": self,
                "arrays": [*ins, *outs],
                "inputs": [array for array in ins if array is not None],
                "outputs": outs,
                "dtypes": dtypes,
                "shape": shape,
                "axes": reduced,
            }
        )
        return result

    def _pairs(self, outs: list[np.ndarray]) -> Any:
        return zip(self.out_params, outs, strict=True)

    def _compare(
        self,
        one: list[np.ndarray],
        other: list[np.ndarray],
        scales: list[np.ndarray],
        inner: int,
    ) -> None:
        """Raise RaceError unless two orders agree as well as rounding lets them."""
        for p, a, b, scale in zip(self.out_params, one, other, scales, strict=True):
            if p.raw:
                continue
            if a.dtype.kind == "f":
                eps = float(np.finfo(a.dtype).eps)
                with np.errstate(all="ignore"):
                    wide = a.astype(np.float64), b.astype(np.float64)
                    slack = eps**0.5 * np.maximum(abs(wide[0]), abs(wide[1]))
                    slack += 16 * (inner + 1) * eps * scale
                    fine = (wide[0] == wide[1]) | (abs(wide[0] - wide[1]) <= slack)
                    fine |= np.isnan(a) & np.isnan(b)
            else:
                fine = a == b
            if not np.all(fine):
                at = int(np.flatnonzero(~np.asarray(fine))[0])
                raise RaceError(
                    f"kernel {self.name!r}: {p.name!r} depends on the order of the elements: "
                    f"{a.reshape(-1)[at]!r} or {b.reshape(-1)[at]!r} at {at}"
                )


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes of a reduction in ascending order."""
    if axis is None:
        return tuple(range(ndim))
    axes = np.lib.array_utils.normalize_axis_tuple(axis, ndim)
    return tuple(sorted(axes))
