"""Evaluation of operators, and which rule belongs to which."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .._backends.choose import ForAdapter
from .._backends.types import Array
from .rule import Rule

RULES: dict[Any, Callable[..., Rule]] = {}


def rule_of(func: Callable[..., Any]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated class as the rule of the operator `func`."""

    def register(rule: type[Rule]) -> type[Rule]:
        RULES[func] = rule
        rule.name = func.__name__
        rule.positional = tuple(
            name
            for name, parameter in inspect.signature(func).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        return rule

    return register


def quiet() -> AbstractContextManager[object]:
    """Return a context in which NumPy neither warns nor raises for floating-point events."""
    return np.errstate(all="ignore")


def evaluate(
    rule: Callable[..., Rule],
    *args: Any,
    workers: int | None,
    out: Array | None = None,
    **kwargs: Any,
) -> Any:
    """Return the value of the operator that `rule` belongs to, in `out` if that is given."""
    try:
        call = rule(workers, *args, **kwargs)
    except ForAdapter as found:
        adapter = found.adapter()
    else:
        there = call.out_lanes(out)
        value = call.kernels.finish(call.to_result(call.quiet_value(there)), call.dtype)
        if out is None:
            return value
        if there is None:
            out[...] = value
        return out
    return adapter.evaluate(rule, args, kwargs, workers, out)
