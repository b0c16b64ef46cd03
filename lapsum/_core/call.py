"""Evaluation of operators, and which rule belongs to which."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, TypeVar, cast

import numpy as np

from .._backends.choose import ForAdapter, adapter_of_first
from .._backends.types import Array
from .rule import Rule

Operator = TypeVar("Operator", bound=Callable[..., Any])

LAPLACE = "laplace"

RULES: dict[Any, Callable[..., Rule]] = {}


# What other libraries call things.
_KEYWORDS = {
    "dim": ("axis",),
    "keepdim": ("keepdims",),
    "ascending": ("descending",),
    "temperature": ("alpha", "epsilon"),
    "tau": ("alpha", "epsilon"),
    "regularization_strength": ("alpha", "epsilon"),
}
_STARTS = {
    "argument: 'alpha'": (
        "; it is the scale of smoothing, in the units of the data; a tenth of their standard "
        "deviation is a start"
    ),
    "argument: 'epsilon'": (
        "; it is the strength of the entropy, in units of the squared range of the targets; 0.01 "
        "is a start"
    ),
}
_signature = cache(inspect.signature)


def operator(func: Operator) -> Operator:
    """Make arguments that do not bind an error in the terms of this package."""

    @wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except TypeError:
            wrong = unbound(func, args, kwargs)
            if wrong is None:
                raise
            raise wrong from None

    return cast(Operator, call)


def unbound(func: Callable[..., Any], args: Any, kwargs: Any) -> TypeError | None:
    """Return the error, if it is one, of calling an operator like that."""
    try:
        _signature(func).bind(*args, **kwargs)
    except TypeError as error:
        text = str(error)
        text += next((start for name, start in _STARTS.items() if name in text), "")
        # What another library calls it says more than that it is missing.
        known = _signature(func).parameters
        for name in kwargs.keys() & _KEYWORDS.keys() - known.keys():
            ours = next((one for one in _KEYWORDS[name] if one in known), None)
            if ours is not None:
                text = f"got an unexpected keyword argument {name!r}; use `{ours}`"
        name = func.__qualname__.removesuffix(".__init__")
        return TypeError(f"{name}() {text}")
    return None


def rule_of(func: Callable[..., Any]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated class as the rule of the operator `func`."""

    def register(rule: type[Rule]) -> type[Rule]:
        RULES[func] = rule
        _, family, *_ = f"{func.__module__}.".split(".")
        hidden = family.startswith("_") or not family
        rule.name = func.__name__ if hidden else f"{family}.{func.__name__}"
        rule.positional = tuple(
            name
            for name, parameter in inspect.signature(func).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        return rule

    return register


def call_of(
    rule: Callable[..., Rule], workers: int | None, args: Sequence[Any], kwargs: dict[str, Any]
) -> Rule:
    """Return the call of a rule, or of its general rule if `density` is not the Laplace one."""
    general = getattr(rule, "general", None)
    if general is not None and "density" in kwargs:
        density = kwargs["density"]
        if not (isinstance(density, str) and density == LAPLACE):
            other: Rule = general()(workers, *args, **kwargs)
            return other
        del kwargs["density"]
    return rule(workers, *args, **kwargs)


def quiet() -> AbstractContextManager[object]:
    """Return a context in which NumPy neither warns nor raises for floating-point events."""
    return np.errstate(all="ignore")


def evaluate(
    rule: Callable[..., Rule],
    *args: Any,
    workers: int | None,
    out: Array | None = None,
    **kwargs: Any,
) -> Array:
    """Return the value of the operator that `rule` belongs to, in `out` if that is given.

    Results of NumPy without dimensions are scalars.
    """
    adapter = adapter_of_first(args)
    if adapter is None:
        try:
            call = call_of(rule, workers, args, kwargs)
        except ForAdapter as found:
            adapter = found.adapter()
    if adapter is None:
        there = call.out_lanes(out)
        value: Array = call.kernels.finish(call.to_result(call.quiet_value(there)), call.dtype)
        if out is None:
            return value
        if there is None:
            out[...] = value
        return out
    result: Array = adapter.evaluate(rule, args, kwargs, workers, out)
    return result
