"""JAX's arrays through every operator: four primitives, two for the value and two for derivatives.

`lapsum_pushforward` and `lapsum_pullback` are products with the Jacobian and its transpose, hence
each other's transposes; everything else that JAX does with derivatives follows from that.  Both can
begin with the state that `lapsum_linearize` gives beside the value: bytes, since without x64 JAX
has no wider numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

from ..._backends.host import denormals_count
from ..._backends.types import Array
from ..adapter import Call, Linearized, decode
from . import ffi
from .avals import aval_like, aval_of

TARGET = "lapsum_host"

value_p = Primitive("lapsum")
linearize_p = Primitive("lapsum_linearize")
pushforward_p = Primitive("lapsum_pushforward")
pullback_p = Primitive("lapsum_pullback")
linearize_p.multiple_results = pullback_p.multiple_results = True

# ------------------------------------------------------------------------------------ on the host


def _host(array: Any) -> Array:
    """Return a JAX array, or what XLA holds, as NumPy's: nothing of JAX may run in a callback."""
    found: Array = np.asarray(array)
    return found.astype(np.float32) if found.dtype.kind == "V" else found  # bfloat16


def _value(*arrays: Any, call: str) -> list[Any]:
    return [decode(call).value([_host(a) for a in arrays])]


def _linearize(*arrays: Any, call: str) -> list[Any]:
    found = Linearized(decode(call), [_host(a) for a in arrays])
    return [found.value, *(a.view(np.uint8) for a in found.state())]


def _linearized(call: Call, both: Sequence[Any]) -> Linearized:
    """Return the derivative at arrays, which begins with the state that comes after them."""
    m = len(call.names)
    arrays = [_host(a) for a in both[:m]]
    forms = call.state_forms([a.shape for a in arrays]) if both[m:] else ()
    state = [_host(s).view(dtype) for s, (_, dtype) in zip(both[m:], forms, strict=True)]
    return Linearized(call, arrays, state)


def _pushforward(*args: Any, call: str, wrt: tuple[str, ...]) -> list[Any]:
    m = len(wrt)
    dots = dict(zip(wrt, map(_host, args[:m]), strict=True))
    return [_linearized(decode(call), args[m:]).jvp(dots)]


def _pullback(bar: Any, *both: Any, call: str, wrt: tuple[str, ...]) -> list[Any]:
    return _linearized(decode(call), both).vjp(_host(bar), wrt)


_HOSTS: dict[str, Callable[..., list[Any]]] = {
    "lapsum": _value,
    "lapsum_linearize": _linearize,
    "lapsum_pushforward": _pushforward,
    "lapsum_pullback": _pullback,
}


@lru_cache(maxsize=1024)
def _decoded(text: str) -> tuple[Callable[..., list[Any]], dict[str, Any]]:
    name, wrt, call = text.split("/", 2)
    params: dict[str, Any] = {"call": call}
    if wrt:
        params["wrt"] = tuple(wrt.split())
    return _HOSTS[name], params


def _run(text: str, args: list[Array], results: list[Array]) -> None:
    host, params = _decoded(text)
    for result, value in zip(results, _in_thread(host, args, params), strict=True):
        result[...] = value


def _in_thread(host: Callable[..., list[Any]], args: Sequence[Any], params: Any) -> list[Any]:
    """Call in a thread of XLA's, which takes denormal numbers for zero."""
    with denormals_count():
        return host(*args, **params)


HAS_FFI = ffi.register(jax.ffi, TARGET, _run) if hasattr(jax, "ffi") else False


# ------------------------------------------------------------------------- shapes without data


def _dtype(call: Call, avals: Sequence[Any]) -> Any:
    """Return the dtype of the result: that of the data, where what is no float counts as float."""
    if "dtype" in call.options:
        return jax.dtypes.canonicalize_dtype(call.options["dtype"])
    data = [a.dtype for n, a in zip(call.names, avals, strict=False) if n in call.data]
    floats = (
        d if jnp.issubdtype(d, jnp.floating) else jax.dtypes.canonicalize_dtype(float) for d in data
    )
    return reduce(jnp.promote_types, floats)


def _dtypes(p: Any, args: Sequence[Any], call: str, wrt: tuple[str, ...] = ()) -> list[Any]:
    """Return the dtypes of the results of a primitive."""
    decoded = decode(call)
    if p is pullback_p:
        at = dict(zip(decoded.names, args[1:], strict=False))
        return [at[name].dtype for name in wrt]
    state = state_forms(decoded, args) if p is linearize_p else []
    return [_dtype(decoded, args[len(wrt) :]), *(np.dtype(np.uint8) for _ in state)]


def state_forms(call: Call, arrays: Sequence[Any]) -> list[tuple[int, ...]]:
    """Return the shapes of the state's bytes, which come in lanes."""
    forms = call.state_forms([np.shape(a) for a in arrays])
    return [(*shape[:-1], shape[-1] * dtype.itemsize) for shape, dtype in forms]


def _value_aval(*avals: Any, call: str) -> Any:
    decoded = decode(call)
    return aval_like(decoded.shape([a.shape for a in avals]), _dtype(decoded, avals), avals)


def _linearize_aval(*avals: Any, call: str) -> Any:
    state = [aval_like(s, np.dtype(np.uint8), avals) for s in state_forms(decode(call), avals)]
    return [_value_aval(*avals, call=call), *state]


def _pushforward_aval(*avals: Any, call: str, wrt: tuple[str, ...]) -> Any:
    decoded = decode(call)
    arrays = avals[len(wrt) :][: len(decoded.names)]
    return aval_like(decoded.shape([a.shape for a in arrays]), _dtype(decoded, arrays), avals)


def _pullback_aval(bar: Any, *arrays: Any, call: str, wrt: tuple[str, ...]) -> Any:
    at = dict(zip(decode(call).names, arrays, strict=False))
    return [aval_like(at[n].shape, at[n].dtype, (at[n], bar, *arrays)) for n in wrt]


# ------------------------------------------------------------------------------- evaluation


def _lowered(p: Any, aval: Callable[..., Any]) -> Callable[..., Any]:
    def through_host(*args: Any, **params: Any) -> Any:
        avals = aval(*map(aval_of, args), **params)
        several = avals if p.multiple_results else [avals]
        results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in several]
        if HAS_FFI:
            text = "/".join([p.name, " ".join(params.get("wrt", ())), params["call"]])
            found = jax.ffi.ffi_call(TARGET, results)(*args, call=text)
        else:

            def callback(*args: Any) -> list[Array]:
                values = _in_thread(_HOSTS[p.name], args, params)
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
        arrays = [a for a in args if isinstance(a, jax.Array)]
        devices = {d for a in arrays for d in a.devices()}
        if len(devices) > 1 or any(d.platform != "cpu" for d in devices):
            return jitted(tuple(params.items()))(*args)
        # None is where JAX puts what no array ties to a device.
        device = next((d for a in arrays if a.committed for d in a.devices()), None)
        values = _HOSTS[p.name](*args, **params)
        hosts = [
            np.asarray(v).astype(dtype, copy=False)
            for v, dtype in zip(values, _dtypes(p, args, **params), strict=True)
        ]
        if device is None:  # as device_put does, in a third of its time
            found = [jnp.asarray(v) for v in hosts]
        else:
            found = [jax.device_put(v, device) for v in hosts]
        return found if p.multiple_results else found[0]

    return evaluated


for _p, _of in (
    (value_p, _value_aval),
    (linearize_p, _linearize_aval),
    (pushforward_p, _pushforward_aval),
    (pullback_p, _pullback_aval),
):
    _p.def_abstract_eval(_of)
    _p.def_impl(_eager(_p))
    mlir.register_lowering(
        _p, mlir.lower_fun(_lowered(_p, _of), multiple_results=_p.multiple_results), platform="cpu"
    )
