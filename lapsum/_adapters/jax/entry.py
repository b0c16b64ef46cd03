"""JAX's arrays through every operator."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._backends.choose import refuse_mixtures
from ..._core.rule import Rule
from ..adapter import call_of
from . import rules  # noqa: F401  (registers them)
from .avals import varying_alike
from .primitives import value_p


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
