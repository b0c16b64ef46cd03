"""JAX's arrays through every operator: three primitives, one for the value and two for derivatives.

`lapsum_pushforward` and `lapsum_pullback` are products with the Jacobian and its transpose, hence
each other's transposes; everything else that JAX does with derivatives follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..._backends.choose import refuse_mixtures
from ..._backends.types import Array
from ..._core.rule import Rule
from ..adapter import FIRST_ORDER, Batch, Call, Front, Linearized, batched, call_of, decode
from . import ffi
from .avals import aval_like, varying_alike

TARGET = "lapsum_host"

value_p = Primitive("lapsum")
pushforward_p = Primitive("lapsum_pushforward")
pullback_p = Primitive("lapsum_pullback")
pullback_p.multiple_results = True

# ------------------------------------------------------------------------------------ on the host


def _host(array: Any) -> Array:
    """Return a JAX array, or what XLA holds, as NumPy's: nothing of JAX may run in a callback."""
    found: Array = np.asarray(array)
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found


def _value(*arrays: Any, call: str) -> list[Any]:
    return [decode(call).value([_host(a) for a in arrays])]


def _pushforward(*both: Any, call: str, wrt: tuple[str, ...]) -> list[Any]:
    hosts = [_host(a) for a in both]
    m = len(wrt)
    return [Linearized(decode(call), hosts[m:]).jvp(dict(zip(wrt, hosts[:m], strict=True)))]


def _pullback(bar: Any, *arrays: Any, call: str, wrt: tuple[str, ...]) -> list[Any]:
    return Linearized(decode(call), [_host(a) for a in arrays]).vjp(_host(bar), wrt)


_HOSTS: dict[str, Callable[..., list[Any]]] = {
    "lapsum": _value,
    "lapsum_pushforward": _pushforward,
    "lapsum_pullback": _pullback,
}


@lru_cache(maxsize=1024)
def _decoded(text: str) -> tuple[Callable[..., list[Any]], dict[str, Any]]:
    name, wrt, call = text.split("/", 2)
    params: dict[str, Any] = {"call": call}
    if name != "lapsum":
        params["wrt"] = tuple(wrt.split())
    return _HOSTS[name], params


def _run(text: str, args: list[Array], results: list[Array]) -> None:
    host, params = _decoded(text)
    for result, value in zip(results, host(*args, **params), strict=True):
        result[...] = value


HAS_FFI = ffi.register(jax.ffi, TARGET, _run) if hasattr(jax, "ffi") else False


# ------------------------------------------------------------------------- shapes without data


def _dtype(call: Call, avals: Sequence[Any]) -> Any:
    """Return the dtype of the result: that of the data, where what is no float counts as float."""
    if "dtype" in call.options:
        return jax.dtypes.canonicalize_dtype(call.options["dtype"])
    data = [a.dtype for n, a in zip(call.names, avals, strict=True) if n in call.data]
    floats = (
        d if jnp.issubdtype(d, jnp.floating) else jax.dtypes.canonicalize_dtype(float) for d in data
    )
    return reduce(jnp.promote_types, floats)


def _dtypes(p: Any, args: Sequence[Any], call: str, wrt: tuple[str, ...] = ()) -> list[Any]:
    """Return the dtypes of the results of a primitive."""
    decoded = decode(call)
    if p is not pullback_p:
        return [_dtype(decoded, args[len(wrt) :])]
    at = dict(zip(decoded.names, args[1:], strict=True))
    return [at[name].dtype for name in wrt]


def _value_aval(*avals: Any, call: str) -> Any:
    decoded = decode(call)
    return aval_like(decoded.shape([a.shape for a in avals]), _dtype(decoded, avals), avals)


def _pushforward_aval(*avals: Any, call: str, wrt: tuple[str, ...]) -> Any:
    decoded, arrays = decode(call), avals[len(wrt) :]
    return aval_like(decoded.shape([a.shape for a in arrays]), _dtype(decoded, arrays), avals)


def _pullback_aval(bar: Any, *arrays: Any, call: str, wrt: tuple[str, ...]) -> Any:
    at = dict(zip(decode(call).names, arrays, strict=True))
    return [aval_like(at[n].shape, at[n].dtype, (at[n], bar, *arrays)) for n in wrt]


# ------------------------------------------------------------------------------- evaluation


def _lowered(p: Any, aval: Callable[..., Any]) -> Callable[..., Any]:
    def through_host(*args: Any, **params: Any) -> Any:
        avals = aval(*(jax.typeof(a) if hasattr(jax, "typeof") else a.aval for a in args), **params)
        several = avals if p.multiple_results else [avals]
        results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in several]
        if HAS_FFI:
            text = "/".join([p.name, " ".join(params.get("wrt", ())), params["call"]])
            found = jax.ffi.ffi_call(TARGET, results)(*args, call=text)
        else:

            def callback(*args: Any) -> list[Array]:
                values = _HOSTS[p.name](*args, **params)
                return [np.asarray(v).astype(r.dtype) for v, r in zip(values, results, strict=True)]

            found = jax.pure_callback(callback, results, *args)
        return found if p.multiple_results else found[0]

    return through_host


def _eager(p: Any) -> Callable[..., Any]:
    """Return what evaluates a primitive outside of jit, without compiling each call anew."""

    @lru_cache(maxsize=256)
    def jitted(params: Any) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(lambda *args: p.bind(*args, **dict(params)))
        return compiled

    def evaluated(*args: Any, **params: Any) -> Any:
        args = tuple(a if hasattr(a, "dtype") else jnp.asarray(a, float) for a in args)
        devices = {d for a in args if isinstance(a, jax.Array) for d in a.devices()}
        if len(devices) > 1 or any(d.platform != "cpu" for d in devices):
            return jitted(tuple(params.items()))(*args)
        device = next(iter(devices), None)
        values = _HOSTS[p.name](*args, **params)
        found = [
            jax.device_put(np.asarray(v).astype(dtype, copy=False), device)
            for v, dtype in zip(values, _dtypes(p, args, **params), strict=True)
        ]
        return found if p.multiple_results else found[0]

    return evaluated


for _p, _of in (
    (value_p, _value_aval),
    (pushforward_p, _pushforward_aval),
    (pullback_p, _pullback_aval),
):
    _p.def_abstract_eval(_of)
    _p.def_impl(_eager(_p))
    mlir.register_lowering(
        _p, mlir.lower_fun(_lowered(_p, _of), multiple_results=_p.multiple_results), platform="cpu"
    )


# ---------------------------------------------------------------------------------- derivatives


def _is_zero(dot: Any) -> bool:
    return type(dot) is ad.Zero or getattr(dot, "dtype", None) == jax.dtypes.float0


def _value_jvp(arrays: Any, dots: Any, *, call: str) -> Any:
    y = value_p.bind(*arrays, call=call)
    given = {n: t for n, t in zip(decode(call).names, dots, strict=True) if not _is_zero(t)}
    if not given:
        return y, ad.Zero.from_primal_value(y)
    given = {n: ad.instantiate_zeros(t) for n, t in given.items()}
    return y, pushforward_p.bind(*given.values(), *arrays, call=call, wrt=tuple(given))


def _refuse(dots: Sequence[Any]) -> None:
    if not all(_is_zero(dot) for dot in dots):
        raise NotImplementedError(FIRST_ORDER)


def _pushforward_jvp(both: Any, dots: Any, *, call: str, wrt: tuple[str, ...]) -> Any:
    m = len(wrt)
    y = pushforward_p.bind(*both, call=call, wrt=wrt)
    _refuse(dots[m:])
    moved = map(ad.instantiate_zeros, dots[:m])
    return y, pushforward_p.bind(*moved, *both[m:], call=call, wrt=wrt)


def _pullback_jvp(both: Any, dots: Any, *, call: str, wrt: tuple[str, ...]) -> Any:
    y = pullback_p.bind(*both, call=call, wrt=wrt)
    _refuse(dots[1:])
    return y, pullback_p.bind(ad.instantiate_zeros(dots[0]), *both[1:], call=call, wrt=wrt)


def _pushforward_transpose(bar: Any, *both: Any, call: str, wrt: tuple[str, ...]) -> Any:
    arrays = both[len(wrt) :]
    if any(ad.is_undefined_primal(a) for a in arrays):
        raise NotImplementedError(FIRST_ORDER)
    needed = tuple(n for n, t in zip(wrt, both, strict=False) if ad.is_undefined_primal(t))
    bars: dict[str, Any] = {}
    if type(bar) is not ad.Zero and needed:
        bars = dict(zip(needed, pullback_p.bind(bar, *arrays, call=call, wrt=needed), strict=True))
    return [bars.get(n) for n in wrt] + [None] * len(arrays)


def _pullback_transpose(dots: Any, bar: Any, *arrays: Any, call: str, wrt: tuple[str, ...]) -> Any:
    if any(ad.is_undefined_primal(a) for a in arrays):
        raise NotImplementedError(FIRST_ORDER)
    given = {n: t for n, t in zip(wrt, dots, strict=True) if type(t) is not ad.Zero}
    moved = None
    if given:
        moved = pushforward_p.bind(*given.values(), *arrays, call=call, wrt=tuple(given))
    return [moved] + [None] * len(arrays)


ad.primitive_jvps[value_p] = _value_jvp
ad.primitive_jvps[pushforward_p] = _pushforward_jvp
ad.primitive_jvps[pullback_p] = _pullback_jvp
ad.primitive_transposes[pushforward_p] = _pushforward_transpose
ad.primitive_transposes[pullback_p] = _pullback_transpose


# ------------------------------------------------------------------------------------ a batch axis


def _front(array: Any, dim: int | None, size: int) -> Any:
    if dim is None:
        return jnp.broadcast_to(array, (size, *array.shape))
    return jnp.moveaxis(array, dim, 0)


def _fitted(array: Any, front: Front) -> Any:
    return jnp.broadcast_to(array.reshape(front.reshaped), front.stretched)


def _stretched(batch: Batch, names: Sequence[str], arrays: Sequence[Any]) -> list[Any]:
    fronts, whole = batch.fronts, batch.call.whole
    both = zip(names, arrays, strict=True)
    return [a[0] if n in whole else _fitted(a, fronts[n]) for n, a in both]


def _batcher(p: Any, leading: Callable[[tuple[str, ...]], int]) -> Callable[..., Any]:
    """Return the rule of a primitive whose arrays come after some that are bars or tangents."""

    def rule(args: Any, dims: Any, **params: Any) -> Any:
        call, wrt = decode(params["call"]), params.get("wrt", ())
        m = leading(wrt)
        size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        args = [_front(a, d, size) for a, d in zip(args, dims, strict=True)]
        of_arrays = zip(call.names, dims[m:], strict=True)
        varying = (n for n, d in of_arrays if d is not None or n in wrt)
        if any(n in call.whole for n in varying):
            # All lanes share the levels, so that each call has its own.
            found = jax.lax.map(lambda each: p.bind(*each, **params), tuple(args))
            return found, [0] * len(found) if p.multiple_results else 0
        first, arrays = args[:m], args[m:]
        shapes = {n: np.shape(c) for n, c in call.constants.items()}
        shapes.update((n, a.shape[1:]) for n, a in zip(call.names, arrays, strict=True))
        batch = batched(call, shapes, size)
        result = call.shape([shapes[n] for n in call.names])
        if p is pullback_p:
            at, whole = batch.at, batch.result
            bar = first[0].reshape(size, *whole[:at], *whole[at + 1 :])
            first = [jnp.moveaxis(bar, 0, at)]
        else:
            first = _stretched(batch, wrt, first)
        new = {**params, "call": batch.call.encode()}
        found = p.bind(*first, *_stretched(batch, call.names, arrays), **new)
        if p is not pullback_p:
            return jnp.moveaxis(found, batch.at, 0).reshape(size, *result), 0
        bars = [b.sum(batch.fronts[n].summed) for n, b in zip(wrt, found, strict=True)]
        return [b.reshape(size, *shapes[n]) for n, b in zip(wrt, bars, strict=True)], [0] * len(wrt)

    return rule


batching.primitive_batchers[value_p] = _batcher(value_p, lambda wrt: 0)
batching.primitive_batchers[pushforward_p] = _batcher(pushforward_p, len)
batching.primitive_batchers[pullback_p] = _batcher(pullback_p, lambda wrt: 1)


# ------------------------------------------------------------------------------------ the entry


def evaluate(
    rule: type[Rule], args: tuple[Any, ...], kwargs: dict[str, Any], workers: int | None, out: Any
) -> Any:
    """Return the value of an operator at JAX arrays, and perhaps numbers."""
    call, values = call_of(rule, args, kwargs, workers)
    if out is not None:
        raise TypeError("`out` must be None for JAX's arrays, which nothing can write to")
    by_name = dict(zip(call.names, values, strict=True))
    refuse_mixtures(by_name, jax.Array)
    arrays: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for name, value in by_name.items():
        if isinstance(value, jax.Array):
            _check(name, value.dtype)
            arrays[name] = value
            continue
        numbers = np.asarray(value)
        _check(name, numbers.dtype)
        if name in call.data or name == "weights":
            arrays[name] = jnp.asarray(numbers, float)
        else:  # as they are: without x64 an array of JAX's would round alpha to float32
            constants[name] = numbers.astype(float).tolist()
    call = call._replace(names=tuple(arrays), constants=constants)
    return value_p.bind(*varying_alike(list(arrays.values())), call=call.encode())


def _check(name: str, dtype: Any) -> None:
    if dtype.kind not in "biuf" and dtype.name != "bfloat16":
        raise TypeError(
            f"`{name}` must be real numbers of at most 64 bits, got an array of dtype {dtype}"
        )
