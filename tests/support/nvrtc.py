"""Compile every CUDA kernel, for every type it is used with, without a GPU.

    python tests/support/nvrtc.py --record FILE
        runs the operators on the double of CuPy and writes down which kernels they launch, and
        on what
    python tests/support/nvrtc.py --compile FILE
        makes the same kernels with the real CuPy and has NVRTC compile them for sm_75, sm_80
        and sm_90

The second step needs CuPy 14 and NVRTC, as wheels (`.ci/gpu-compile` installs them), and goes
through interfaces of CuPy that are private: what NVRTC gets is the very text CuPy would give it.
It fails if a kernel does not compile, and the first one if a kernel of lapsum was never launched.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

ARCHITECTURES = (75, 80, 90)
CUPY_MAJOR = 14

# --- What is launched ----------------------------------------------------------------------------

DTYPES = (np.float64, np.float32, np.float16)
LANES, ENTRIES = 3, 40
LONG = 70_000  # entries of a lane that many blocks share
DENSITIES = ("logistic", "normal", "cauchy", 3.0)  # by name, or degrees of freedom of Student's t
MATRICES = {"soft_permutation"}  # of n rows and columns: never long


def _arguments(function: Any, x: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Return an operator's own arguments, but `alpha`, for lanes `x` of entries."""
    lanes, n = x.shape
    some = {
        "x": x[:, : max(1, n // 2)] + x.dtype.type(0.5),  # the targets of lap_sum
        "w": (rng.uniform(0.1, 0.9, (lanes, 5)) * n).astype(x.dtype),
        "r": x,
        "k": np.asarray(n / 3),
        "q": np.asarray([0.25, 0.5]),
        "low": np.asarray(0.2),
        "high": np.asarray(0.7),
        "values": rng.normal(size=x.shape).astype(x.dtype),
    }
    wanted = [p for p, at in signature(function).parameters.items() if at.default is at.empty]
    if "r" not in wanted:
        some["x"] = x
    if unknown := set(wanted) - {*some, "alpha"}:
        raise SystemExit(f"{function.__name__}: no arguments known for {sorted(unknown)}")
    return {p: some[p] for p in wanted if p in some}


# A level for each lane: one number broadcasts with the batch.
_LEVEL: dict[str, dict[str, Any]] = {"per_lane": {"q": 0.25}}


def _calls(cupy: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield every operator with a rule, in every way that may need another kernel."""
    import lapsum
    from lapsum._core.call import RULES

    rng = np.random.default_rng(0)
    for function in (getattr(lapsum, name) for name in lapsum.__all__):
        if not callable(function) or function not in RULES:
            continue
        parameters = signature(function).parameters
        switches = [p for p, at in parameters.items() if isinstance(at.default, bool)]
        for dtype in DTYPES:
            x = rng.normal(size=(LANES, ENTRIES)).astype(dtype)
            weights = cupy.asarray(rng.uniform(0.1, 2.0, ENTRIES).astype(dtype))
            host = _arguments(function, x, rng)
            given = {p: cupy.asarray(value) for p, value in host.items()} | {"alpha": 0.5}
            yield function, given
            yield function, given | {"alpha": cupy.full(LANES, 0.5, dtype)}
            for switch in switches:
                yield function, given | {switch: True} | _LEVEL.get(switch, {})
            if "weights" in parameters:
                yield function, given | {"weights": weights}
            for name in DENSITIES if "density" in parameters else ():
                density = name if isinstance(name, str) else lapsum.StudentT(name)
                yield function, given | {"density": density}
            if "k" in parameters:  # a threshold far from all entries
                yield function, given | {"k": 1e-20, "alpha": 1e-3}
            # Lanes that are not contiguous, one lane for all others, and lanes of one entry.
            turned = {p: v.T if np.ndim(v) == 2 else v for p, v in given.items()}
            yield function, turned | {"axis": 0}
            for name in given.keys() & {"x", "r"}:
                yield function, given | {name: given[name][0]}
                yield function, given | {name: given[name][:1]}
                if "weights" in parameters:  # and some of its entries absent
                    absent = cupy.where(cupy.arange(ENTRIES) == 1, 0, weights)
                    yield function, given | {name: given[name][0], "weights": absent}
            few = _arguments(function, x[:, :1], rng)
            yield function, {p: cupy.asarray(value) for p, value in few.items()} | {"alpha": 0.5}
            if dtype != np.float16 and function.__name__ not in MATRICES:
                many = _arguments(function, rng.normal(size=(1, LONG)).astype(dtype), rng)
                long = {p: cupy.asarray(value) for p, value in many.items()} | {"alpha": 0.5}
                yield function, long
                if "weights" in parameters:
                    yield function, long | {"weights": cupy.ones(LONG, dtype)}
    for dtype in (np.int64, np.uint64):  # whose distances are exact
        yield lapsum.soft_rank, {"x": cupy.arange(ENTRIES, dtype=dtype), "alpha": 0.5}


def _run_operators(cupy: Any) -> Iterator[None]:
    """Run values and derivatives; yields now and then, for what is recorded to be looked at."""
    import lapsum

    for function, arguments in _calls(cupy):
        function(**arguments)
        point = lapsum.linearize(function, **arguments)
        yield
        ones = [cupy.ones(np.shape(arguments[p])) for p in point.parameters]
        bar = cupy.ones(point.value.shape, point.value.dtype)
        point.jvp(*ones)
        point.vjp(bar)
        yield
        if max(map(np.size, arguments.values())) >= LONG:
            continue
        for at, name in enumerate(point.parameters):
            point.jvp(*(one if k == at else None for k, one in enumerate(ones)))
            point.vjp(bar, wrt=(name,))
        yield
    for dtype in DTYPES:
        matrix = lapsum.SoftPermutation(cupy.arange(12.0).astype(dtype), 0.5)
        for vectors in (cupy.ones(12, dtype), cupy.ones((12, 2), dtype)):
            matrix @ vectors
            matrix.T @ vectors
    yield


def _run_demonstration(cupy: Any) -> Iterator[None]:
    """Launch a kernel of each kind, without lapsum."""
    for dtype in (np.float64, np.float32, np.float16):
        x = cupy.ones((4, 6), dtype)
        twice = cupy.ElementwiseKernel("T x, int64 n", "T y", "y = x * n", "demo_times")
        twice(x, 2)
        twice(x.T, 2)
        gather = cupy.ElementwiseKernel("raw T x, int64 at", "T y", "y = x[at]", "demo_gather")
        gather(x, cupy.zeros(3, np.int64))
        for options in ({"axis": 1}, {"axis": 0}, {}):
            cupy.ReductionKernel(
                "T entry", "T sum", "(double)entry", "a + b", "sum = a", "0", "demo_sum", "double"
            )(x, **options)
        cupy.ReductionKernel(
            "T u, T v", "T w", "(double)u * v", "a + b", "w = a", "0", "demo_dot", "double"
        )(x, 2.0, axis=1)
    cupy.RawKernel(
        'extern "C" __global__ void demo_raw(double *x) { __shared__ double s[32]; '
        "s[threadIdx.x] = x[threadIdx.x]; __syncthreads(); x[threadIdx.x] = s[31 - threadIdx.x]; }",
        "demo_raw",
    )((1,), (32,), (cupy.ones(32),))
    yield


def record(path: Path, demonstration: bool) -> int:
    """Write down what is launched; return the number of kernels that are not."""
    from cupy_double import installed, namespace, recording

    found: dict[str, dict[str, Any]] = {}
    launched, count = set(), 0
    with installed() as cupy, recording() as log:
        for _ in (_run_demonstration if demonstration else _run_operators)(cupy):
            for launch in log.launches:
                if launch.detail is not None:
                    launched.add(id(launch.detail["kernel"]))
                    entry = _entry(launch.detail)
                    found.setdefault(_key(entry), entry)
            count += len(log.launches)
            log.launches.clear()  # with the arrays that they hold
        idle = [
            f"{Path(file).name}:{line}: kernel {kernel.name!r} was never launched"
            for kernel, file, line in namespace.CREATED
            if id(kernel) not in launched
        ]
        idle += [] if demonstration else _unused_makers(namespace.CREATED)
    path.write_text(json.dumps([*found.values()], indent=1) + "\n")
    names = {entry["constructor"]["name"] for entry in found.values()}
    print(f"{count} launches, {len(names)} kernels, {len(found)} variants of them: {path}")
    for line in idle:
        print(line)
    return len(idle)


def _unused_makers(created: list[tuple[Any, str, int]]) -> list[str]:
    """Return the places in lapsum that make kernels, but did not."""
    import lapsum

    out: list[str] = []
    for file in sorted(Path(lapsum.__file__).parent.rglob("*.py")):
        lines = [line for _, name, line in created if Path(name) == file]
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith(("Kernel", "RawModule"))
                and ast.unparse(node.func).startswith("cupy.")
                and not any(node.lineno <= line <= (node.end_lineno or 0) for line in lines)
            ):
                out.append(f"{file.name}:{node.lineno}: no kernel was made here")
    return out


def _entry(detail: dict[str, Any]) -> dict[str, Any]:
    """Return what there is to know of a launch to compile its kernel again."""
    kernel, kind = detail["kernel"], detail["kind"]
    entry = {"kind": kind, "constructor": kernel.constructor, "arguments": []}
    entry["seen"] = ", ".join(
        f"{dtype.name}{'' if array is None else ' *'}"
        for array, dtype in zip(detail["arrays"], detail["dtypes"], strict=True)
    )
    if kind == "raw":
        return entry
    shape = detail["shape"]
    parameters = (*kernel.in_params, *kernel.out_params)
    flat = True
    for p, array, dtype in zip(parameters, detail["arrays"], detail["dtypes"], strict=True):
        argument = {"dtype": dtype.name, "scalar": array is None, "raw": p.raw}
        if array is not None:
            whole = p.raw or array.shape == shape or kind == "reduction"
            argument["contiguous"] = bool(whole and array.flags.c_contiguous)
            argument["ndim"] = array.ndim
            flat = flat and (p.raw or argument["contiguous"])
        entry["arguments"].append(argument)
    # CuPy makes one axis of those that allow it: always, where all arrays are contiguous.
    entry["ndim"] = 1 if flat else max(2, len(shape))
    if kind == "reduction":
        entry["whole"] = len(detail["axes"]) == len(shape)
    return entry


def _key(entry: dict[str, Any]) -> str:
    """Return what tells variants apart; the number of axes does not."""
    arguments = [{**argument, "ndim": None} for argument in entry["arguments"]]
    same = {"arguments": arguments, "ndim": None, "seen": None}
    return json.dumps(entry | same, sort_keys=True)


# --- What is compiled ----------------------------------------------------------------------------


class _Sources:
    """The texts that CuPy gives to NVRTC, from its private interfaces."""

    def __init__(self) -> None:
        import cupy

        found = cupy.__version__
        if int(found.partition(".")[0]) != CUPY_MAJOR:
            raise SystemExit(
                f"this goes through private interfaces of CuPy {CUPY_MAJOR}, found CuPy {found}: "
                "look through tests/support/nvrtc.py for what has changed, then set CUPY_MAJOR"
            )
        from cupy._core import _carray, _cub_reduction, _kernel, _reduction, _scalar, core
        from cupy.cuda import compiler

        self.cupy, self.core, self.compiler = cupy, core, compiler
        self.kernels, self.reductions, self.blocks = _kernel, _reduction, _cub_reduction
        self.indexer, self.scalar = _carray.Indexer, _scalar.CScalar
        # CuPy asks the device for what it can take, and there is none.
        compiler._get_arch_for_options_for_nvrtc = lambda arch: (f"-arch=sm_{arch}", "cubin")

    def of(self, entry: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return, for each text of a variant, what it is, the text itself, and the options."""
        return getattr(self, entry["kind"])(entry)

    def compile(self, source: str, options: tuple[str, ...], architecture: int) -> int:
        """Return the size of the machine code."""
        code, _ = self.compiler.compile_using_nvrtc(
            source, options, str(architecture), cache_in_memory=True
        )
        return len(code)

    def _options(self, options: Any) -> tuple[str, ...]:
        return (*self.core.assemble_cupy_compiler_options(tuple(options)), "-ftz=true")

    def _headers(self) -> str:
        return "".join(f"#include <{name}>\n" for name in self.core._cupy_header_list)

    def _array(self, dtype: Any, ndim: int, contiguous: bool) -> Any:
        kinds = 1, self.cupy.ndarray  # ARG_KIND_NDARRAY
        return self.kernels._ArgInfo(*kinds, np.dtype(dtype), ndim, contiguous, True)

    def _indexer(self, ndim: int) -> Any:
        return self.kernels._ArgInfo(2, self.indexer, None, ndim, True, True)

    def _scalar(self, dtype: Any) -> Any:
        return self.kernels._ArgInfo(3, self.scalar, np.dtype(dtype), 0, True, True)

    def _arguments(self, entry: dict[str, Any], ndim: int) -> list[Any]:
        return [
            self._scalar(a["dtype"])
            if a["scalar"]
            else self._array(a["dtype"], a["ndim"] if a["raw"] else ndim, a["contiguous"])
            for a in entry["arguments"]
        ]

    def _types(self, kernel: Any, entry: dict[str, Any]) -> Any:
        types = [None if a["scalar"] else np.dtype(a["dtype"]).type for a in entry["arguments"]]
        nin = len(kernel.in_params)
        return self.kernels._decide_params_type(
            kernel.in_params, kernel.out_params, tuple(types[:nin]), tuple(types[nin:])
        )

    def elementwise(self, entry: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return the one text of an elementwise kernel."""
        constructor = dict(entry["constructor"])
        options = tuple(constructor.pop("options"))
        kernel = self.cupy.ElementwiseKernel(**constructor)
        arguments = [*self._arguments(entry, entry["ndim"]), self._indexer(entry["ndim"])]
        source = self.kernels._get_elementwise_kernel_code(
            tuple(arguments),
            self._types(kernel, entry)[2],
            kernel.params,
            kernel.operation,
            kernel.name,
            kernel.preamble,
            **kernel.kwargs,
        )
        return [("", self._headers() + source, self._options(options))]

    def reduction(self, entry: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return the text of a reduction, and those for CUB's block reduction if it may be used."""
        constructor = dict(entry["constructor"])
        constructor["options"] = options = tuple(constructor["options"])
        kernel = self.cupy.ReductionKernel(**constructor)
        in_types, out_types, type_map = self._types(kernel, entry)
        type_map = self.kernels._TypeMap((*type_map._pairs, ("IndexT", "int32")))
        arguments = [
            *self._arguments(entry, 2),
            *(self._indexer(2), self._indexer(2), self._scalar("int32")),
        ]
        source = self.reductions._ReductionKernel_get_cached_function_code(
            kernel.nin,
            kernel.nout,
            kernel._params,
            tuple(arguments),
            type_map,
            kernel.name,
            512,
            kernel.reduce_type,
            kernel.identity,
            kernel.map_expr,
            kernel.reduce_expr,
            kernel.post_map_expr,
            kernel.preamble,
            kernel.options,
        )
        texts = [("", self._headers() + source, self._options(options))]
        first = entry["arguments"][0]
        if kernel.nin == kernel.nout == 1 and not first["raw"] and first["contiguous"]:
            texts += self._block_reduction(kernel, in_types[0], out_types[0], type_map, entry)
        return texts

    def _block_reduction(
        self, kernel: Any, in_type: Any, out_type: Any, type_map: Any, entry: dict[str, Any]
    ) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return the texts for CUB: of the passes for whole arrays, else of the only one."""
        info, type_of = self.kernels._get_param_info, self.kernels._TypeMap
        type_map = type_of((*type_map._pairs, ("sizeT", "int32")))
        parameters = kernel._params[:2]
        mapped, posted = kernel.map_expr, kernel.post_map_expr
        names = [p.name for p in parameters]
        if names != ["in0", "out0"]:  # CuPy replaces the names in the text, wherever they occur
            parameters = info("T in0", True) + info("T out0", False)
            mapped, posted = mapped.replace(names[0], "in0"), posted.replace(names[1], "out0")
            raw = (("type_in0_raw", in_type), ("type_out0_raw", out_type))
            type_map = type_of(type_map._pairs + raw)
        sizes = info("int32 _segment_size", True) + info("int32 _array_size", True)
        arguments = (
            *(self._array(in_type, 1, True), self._array(out_type, 1, True)),
            *(self._scalar("int32"), self._scalar("int32")),
        )
        make = self.blocks._SimpleCubReductionKernel_get_cached_function.__wrapped__
        passes = [("block", (), mapped)]
        if entry["whole"]:
            passes = [
                ("block, pass 1", ("-DFIRST_PASS=1",), mapped),
                ("block, pass 2", ("-DSECOND_PASS=1",), "in0"),
            ]
        texts = []
        for label, defines, map_expr in passes:
            captured = self._capture(
                make,
                *(map_expr, kernel.reduce_expr, posted, kernel.reduce_type),
                *(parameters + sizes, arguments, type_map, kernel.name, 256, kernel.identity),
                *(kernel.preamble, defines, 4),
            )
            texts.append((label, *captured))
        return texts

    def _capture(self, make: Any, *args: Any) -> tuple[str, tuple[str, ...]]:
        """Return what CuPy is about to compile."""

        class Caught(Exception):
            pass

        def catch(source: str, options: tuple[str, ...] = (), *rest: Any, **more: Any) -> None:
            raise Caught(source, options)

        real = self.compiler._compile_module_with_cache
        self.compiler._compile_module_with_cache = catch
        try:
            make(*args)
        except Caught as caught:
            source, options = caught.args
            return source, (*options, "-ftz=true")
        finally:
            self.compiler._compile_module_with_cache = real
        raise SystemExit("CuPy compiles block reductions in another way than expected")

    def raw(self, entry: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return the text of a raw kernel, which CuPy takes as it is."""
        constructor = entry["constructor"]
        return [("", constructor["code"], self._options(constructor["options"]))]


_sources: Any = None


def _compile(entry: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return a line for each text of a variant, and the errors."""
    global _sources
    if _sources is None:
        _sources = _Sources()
    lines, errors = [], []
    label = f"{entry['constructor']['name']}({entry['seen']})"
    for part, source, options in _sources.of(entry):
        started, sizes = time.perf_counter(), []
        for architecture in ARCHITECTURES:
            try:
                size = _sources.compile(source, options, architecture)
                sizes.append(f"sm_{architecture} {size:,}")
            except _sources.compiler.CompileException as error:
                sizes.append(f"sm_{architecture} FAILED")
                errors.append(f"{label} {part} sm_{architecture}:\n{error}")
        seconds = time.perf_counter() - started
        lines.append(f"{seconds:4.1f} s  {'; '.join(sizes)}  {part or entry['kind']}  {label}")
    return lines, errors


def compile_all(path: Path) -> int:
    """Compile what was written down; return the number of errors."""
    entries = json.loads(path.read_text())
    # What takes longest first, so that no process is left with it alone.
    entries.sort(key=lambda entry: (entry["kind"] == "elementwise", entry["constructor"]["name"]))
    started, errors = time.perf_counter(), []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for lines, found in pool.map(_compile, entries):
            print(*lines, sep="\n", flush=True)
            errors += found
    for error in errors:
        print(f"\n{error}")
    kernels = {entry["constructor"]["name"] for entry in entries}
    print(
        f"{len(kernels)} kernels, {len(entries)} variants, {len(ARCHITECTURES)} architectures: "
        f"{len(errors)} errors, {time.perf_counter() - started:.0f} s"
    )
    return len(errors)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--record", type=Path, metavar="FILE")
    step.add_argument("--compile", type=Path, metavar="FILE")
    parser.add_argument(
        "--demonstration", action="store_true", help="record a kernel of each kind, not lapsum's"
    )
    options = parser.parse_args()
    if options.record:
        return bool(record(options.record, options.demonstration))
    return bool(compile_all(options.compile))


if __name__ == "__main__":
    sys.exit(main())
