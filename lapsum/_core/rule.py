"""The rule of an operator: one call of it, its arguments checked and laid out as lanes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .checks import (
    ALONE,
    Running,
    arguments,
    batch_of,
    check_alpha,
    check_out,
    check_total,
    check_weights,
    normalize_axis,
    scalar_layout,
    weights_layout,
)
from .layout import Layout

Array = Any

LARGE = 2.0**900  # no sum of smaller values, or of their differences, overflows


def quiet() -> Any:
    """Return a context in which NumPy neither warns nor raises for floating-point events."""
    return np.errstate(all="ignore")


class Rule(ABC):
    """One call of an operator: its checked arguments as lanes, its value and its derivatives.

    A subclass sets, in `__init__`, the attributes below and takes the operator's own arguments.

    Attributes
    ----------
    kernels : Kernels
        The backend of the arrays.
    layouts : dict of str to Layout
        The differentiable parameters, in signature order.
    dtypes : dict of str to dtype
        What the cotangents of these parameters are rounded to.
    dtype : dtype
        What the result is rounded to.
    result : Layout
        Where the lanes of the result go.
    calm : bool
        Whether values are made without NumPy's floating-point events, where it can have any.
    """

    calm = False
    kernels: Any
    layouts: dict[str, Layout]
    dtypes: dict[str, Any]
    dtype: Any
    result: Layout

    @abstractmethod
    def value(self) -> Array:
        """Return the lanes of the result."""

    @abstractmethod
    def jvp(self, *args: Any, **kwargs: Any) -> Array:
        """Return the lanes of the result's tangent; one tangent for each of `layouts`."""

    @abstractmethod
    def vjp(self, bar: Array, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the lanes of the cotangents of the parameters named in `wrt`."""

    def place(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape."""
        return self.result.unpack(lanes)

    def take(self, array: Array) -> Array:
        """Undo `place`."""
        return self.result.pack(array)


class LaneRule(Rule):
    """What operators on the entries of one array share: shapes, checks, lanes and total weights.

    Parameters
    ----------
    running : Running
    values : mapping of str to array_like
        "x", the entries, then the parameters that are not weights, in signature order.  All but
        "q", which every lane has whole, are one number a lane.
    weights : array_like or None
    axis : int

    Attributes
    ----------
    arrays : dict of str to array
        The arguments.
    lanes : dict of str to array
        The same as float64 lanes; with `single`, x may be float32.
    total : array, shape (lanes,), or None
        Correctly rounded sums of the weights, if there are any; on a device, NaN for weights that
        the host would refuse.
    spoils : bool
        Whether results of invalid lanes are yet to become NaN.
    """

    single = False
    spoils = True

    def __init__(
        self,
        running: Running,
        values: Mapping[str, Any],
        weights: Any = None,
        axis: int = -1,
    ) -> None:
        self.kernels, self.arrays, self.dtypes = kernels, arrays, dtypes = arguments(
            running, values, weights
        )
        x = arrays["x"]
        self.dtype = dtypes["x"]
        self.axis = axis = normalize_axis(axis, x.ndim)
        self.batch = batch = batch_of("x", x.shape, axis)
        self.result = Layout(kernels, x.shape, axis, batch)
        self.layouts = layouts = {"x": self.result}
        number, count = Layout(kernels, (), None, batch), (prod(batch),)
        spread: dict[str, tuple[Any, tuple[int, ...]]] = {}
        for name, array in arrays.items():
            if name == "x":
                continue
            if name == "weights":
                layouts[name] = weights_layout(kernels, array, x.shape, axis, batch, "x")
                continue
            if not array.ndim and name != "q":
                layouts[name], spread[name] = number, (array, count)
                continue
            if name == "q":
                layout = Layout(kernels, array.shape, None, batch, flat=True)
            else:
                layout = scalar_layout(kernels, name, array, batch)
            layouts[name] = layout
            spread[name] = layout.spread(array)
        check_alpha(arrays["alpha"])
        if weights is not None:
            check_weights(arrays["weights"])
        self.lanes = lanes = {"x": self.result.pack(x, self.single)}
        lanes.update(kernels.numbers(spread))
        self.total = None
        if weights is not None:
            lanes["weights"] = layouts["weights"].pack(arrays["weights"])
            self.total = kernels.totals(lanes["weights"])
            check_total(self.total)

    @cached_property
    def weights(self) -> Array | None:
        """The weights, rescaled, or None."""
        weights = self.lanes.get("weights")
        return None if weights is None else self.rescale(weights)

    def rescale(self, lanes: Array) -> Array:
        """Return weights, levels, or cotangents of such, as `kernels.rescale` does."""
        return lanes if self.total is None else self.kernels.rescale(self.total, lanes)[0]

    def place(self, lanes: Array) -> Array:
        """Return the lanes of a result in the caller's shape."""
        return self.result.unpack(lanes, self.spoils)

    def into(self, running: Running) -> Array | None:
        """Return lanes for the result to be written to as it is made, None for new ones like x.

        They are those of `out` if possible; on the host, results are rounded to float16 later.
        """
        kernels, out = self.kernels, running.out
        if out is None and kernels.on_host:
            return None
        x = self.lanes["x"]
        fits = self.dtype == x.dtype or not (kernels.on_host or running.keep)
        if out is None:
            return kernels.xp.empty(x.shape, self.dtype) if fits and self.dtype != x.dtype else None
        check_out(kernels, out, self.result.shape, self.dtype)
        if any(kernels.xp.may_share_memory(out, array) for array in self.arrays.values()):
            return None
        return self.result.view(out) if fits else None

    def blend(
        self, quick: Array, one: Mapping[str, Array], other: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Return `one` where `quick` says so, else `other`: no lane may depend on the others."""
        xp = self.kernels.xp
        return {
            name: xp.where(
                quick if other[name].ndim == 1 else quick[:, None], one[name], other[name]
            )
            for name in other
        }

    def forget(self, name: str) -> None:
        """Let go of an argument that is not needed any more: it may change from now on."""
        del self.arrays[name], self.lanes[name]

    def spoil(self, invalid: Array | None) -> None:
        """Make the results and cotangents of invalid lanes NaN."""
        for layout in self.layouts.values():
            layout.invalid = invalid


RULES: dict[Any, type[Any]] = {}


def rule_of(func: Callable[..., Any]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated class as the derivative rule of the operator `func`."""

    def register(rule: type[Rule]) -> type[Rule]:
        RULES[func] = rule
        return rule

    return register


def evaluate(
    rule: type[Any], *args: Any, workers: int | None, out: Any = None, **kwargs: Any
) -> Array:
    """Return the value of the operator that `rule` belongs to, in `out` if that is given."""
    running = ALONE if workers is None and out is None else Running(workers, out=out)
    if rule.calm:
        call = rule(running, *args, **kwargs)
        value = call.place(call.value())
    else:
        with quiet():
            call = rule(running, *args, **kwargs)
            if out is not None:  # not after all the work
                check_out(call.kernels, out, call.result.shape, call.dtype)
            value = call.place(call.value())
    if value.dtype != call.dtype or not value.ndim:
        with quiet():
            value = call.kernels.finish(value, call.dtype)
    if out is None:
        return value
    if not call.kernels.xp.may_share_memory(out, value):  # else it was written there
        out[...] = value
    return out
