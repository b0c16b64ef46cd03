"""What JAX does with the primitives: derivatives, their transposes, and a batch axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from ..adapter import FIRST_ORDER, Front, batched, decode
from .avals import zero_tangent
from .primitives import linearize_p, pullback_p, pushforward_p, state_forms, value_p

# ---------------------------------------------------------------------------------- derivatives


def _is_zero(dot: Any) -> bool:
    return type(dot) is ad.Zero or getattr(dot, "dtype", None) == jax.dtypes.float0


def _value_jvp(arrays: Any, dots: Any, *, call: str) -> Any:
    decoded, found = decode(call), []
    if state_forms(decoded, arrays) and not all(map(_is_zero, dots)):
        found = linearize_p.bind(*arrays, call=call)
    else:
        found = [value_p.bind(*arrays, call=call)]
    return found[0], _tangent(found, arrays, dots, call)


def _linearize_jvp(arrays: Any, dots: Any, *, call: str) -> Any:
    found = linearize_p.bind(*arrays, call=call)
    state = [zero_tangent(one) for one in found[1:]]
    return found, [_tangent(found, arrays, dots, call), *state]


def _tangent(found: Sequence[Any], arrays: Any, dots: Any, call: str) -> Any:
    """Return the tangent of a value, of which the state comes after it."""
    names = decode(call).names
    given = {
        n: ad.instantiate_zeros(t) for n, t in zip(names, dots, strict=True) if not _is_zero(t)
    }
    if not given:
        return zero_tangent(found[0])
    return pushforward_p.bind(*given.values(), *arrays, *found[1:], call=call, wrt=tuple(given))


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
ad.primitive_jvps[linearize_p] = _linearize_jvp
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
    moved = jnp.moveaxis(array.reshape(front.reshaped), front.movable, front.moved)
    return jnp.broadcast_to(moved, front.stretched)


def _restored(bar: Any, front: Front, shape: Any) -> Any:
    """Undo `_fitted` for a cotangent, and the front's own reshaping."""
    bar = bar.sum(front.summed, keepdims=True) if front.summed else bar
    return jnp.moveaxis(bar, front.moved, front.movable).reshape(shape)


@lru_cache(maxsize=256)
def _each(p: Any, params: Any) -> Callable[..., Any]:
    """Return what evaluates a primitive for one call after the other, compiled once.

    So it is where all lanes share the levels.
    """
    mapped: Callable[..., Any] = jax.jit(
        lambda args: jax.lax.map(lambda each: p.bind(*each, **dict(params)), args)
    )
    return mapped


def _batcher(p: Any, leading: Callable[[tuple[str, ...]], int]) -> Callable[..., Any]:
    """Return the rule of a primitive whose arrays come after some that are bars or tangents."""

    def rule(args: Any, dims: Any, **params: Any) -> Any:
        call, wrt = decode(params["call"]), params.get("wrt", ())
        m = leading(wrt)
        size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        whole = args[m:][: len(call.names)]
        args = [_front(a, d, size) for a, d in zip(args, dims, strict=True)]
        of_arrays = zip(call.names, dims[m:], strict=False)
        varying = (n for n, d in of_arrays if d is not None or n in wrt)
        if call.is_single or any(n in call.whole for n in varying):
            found = _each(p, tuple(params.items()))(tuple(args))
            return found, [0] * len(found) if p.multiple_results else 0
        first, arrays, state = args[:m], args[m:][: len(call.names)], args[m + len(call.names) :]
        shapes = {n: np.shape(c) for n, c in call.constants.items()}
        shapes.update((n, a.shape[1:]) for n, a in zip(call.names, arrays, strict=True))
        batch = batched(call, shapes, size)
        arrays = [
            w if n in call.whole else _fitted(a, batch.fronts[n])
            for n, w, a in zip(call.names, whole, arrays, strict=True)
        ]
        own = [shapes[n] for n in call.names]
        result = call.shape(own)
        if p is pullback_p:
            at, shape = batch.at, batch.result
            bar = first[0].reshape(size, *shape[:at], *shape[at + 1 :])
            first = [jnp.moveaxis(bar, 0, at)]
        else:
            first = [_fitted(a, batch.fronts[n]) for n, a in zip(wrt, first, strict=True)]
        new = {**params, "call": batch.call.encode()}
        # Lanes of the one call are those of the first, then those of the second, and so on.
        state = [s.reshape(size * s.shape[1], *s.shape[2:]) for s in state]
        found = p.bind(*first, *arrays, *state, **new)
        if p is not pullback_p:
            value, *rest = found if p.multiple_results else [found]
            value = jnp.moveaxis(value, batch.at, 0).reshape(size, *result)
            if p is not linearize_p:
                return value, 0
            lanes = [shape[0] for shape, _ in call.state_forms(own)]
            rest = [s.reshape(size, n, *s.shape[1:]) for s, n in zip(rest, lanes, strict=True)]
            return [value, *rest], [0] * (1 + len(rest))
        both = zip(wrt, found, strict=True)
        bars = [_restored(b, batch.fronts[n], (size, *shapes[n])) for n, b in both]
        return bars, [0] * len(wrt)

    return rule


batching.primitive_batchers[value_p] = _batcher(value_p, lambda wrt: 0)
batching.primitive_batchers[linearize_p] = _batcher(linearize_p, lambda wrt: 0)
batching.primitive_batchers[pushforward_p] = _batcher(pushforward_p, len)
batching.primitive_batchers[pullback_p] = _batcher(pullback_p, lambda wrt: 1)
