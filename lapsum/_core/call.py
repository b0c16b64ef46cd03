"""Evaluation of operators, and which rule belongs to which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .._backends.types import Array
from .rule import Rule

LAPLACE = "laplace"

RULES: dict[Any, Callable[..., Rule]] = {}


def rule_of(func: Callable[..., Any]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated class as the rule of the operator `func`."""

    def register(rule: type[Rule]) -> type[Rule]:
        RULES[func] = rule
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
            other: Rule = general(workers, *args, **kwargs)
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
) -> Any:
    """Return the value of the operator that `rule` belongs to, in `out` if that is given."""
    call = call_of(rule, workers, args, kwargs)
    there = call.out_lanes(out)
    value = call.kernels.finish(call.to_result(call.quiet_value(there)), call.dtype)
    if out is None:
        return value
    if there is None:
        out[...] = value
    return out
