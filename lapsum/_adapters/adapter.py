"""What adapters share: a call without its arrays, and its derivatives."""

from __future__ import annotations

import json
import operator
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from os import urandom
from typing import Any, NamedTuple

import numpy as np

from .._backends.choose import kernels_for
from .._backends.types import Array
from .._core.arguments import float_type, worker_count
from .._core.call import LAPLACE, RULES, evaluate
from .._core.call import call_of as rule_for
from .._core.checks import check_flag
from .._core.rule import Forms, Rule
from .._core.shapes import Shape, normalize_axes, normalize_axis
from .._general.densities import density_of
from .._general.student import StudentT

FIRST_ORDER = (
    "lapsum's derivatives are of first order (at a tie the Laplace CDF has no second derivative)"
)


class Call(NamedTuple):
    """A call of an operator, without its arrays.

    Attributes
    ----------
    rule : type
        The operator's rule.
    names : tuple of str
        The differentiable parameters that were given as arrays, in signature order.
    options : dict
        The others, but for `workers`.
    workers : int or None
    constants : dict
        Differentiable parameters that are numbers, or nested lists of numbers.
    """

    rule: type[Rule]
    names: tuple[str, ...]
    options: dict[str, Any]
    workers: int | None
    constants: dict[str, Any] = {}  # noqa: RUF012  (nobody writes to it)

    @property
    def data(self) -> tuple[str, ...]:
        """The parameters that lie along the axis and decide the dtype of the result."""
        return self.rule.along_axis

    @property
    def whole(self) -> tuple[str, ...]:
        """The parameters that every lane has whole, without an axis for lanes."""
        return () if self.options.get("per_lane") else self.rule.in_every_lane

    @property
    def is_single(self) -> bool:
        """Whether several such calls cannot be made one along a new axis."""
        return any(name in self.names for name in self.rule.of_one_call)

    def axes(self, shapes: Mapping[str, Shape]) -> Shape | None:
        """Return the axes along which lanes lie, counted from the end, None for all."""
        axis, rule = self.options.get("axis", -1), self.rule
        if axis is None:
            return None
        shape = rule.reference(shapes)
        return normalize_axes(axis, shape, self.data[-1], several=rule.several_axes)

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the result for arguments of these shapes."""
        by_name = self._shapes(shapes)
        options = {name: value for name, value in self.options.items() if name != "axis"}
        return self.rule.result_shape(by_name, self.axes(by_name), **options)

    def state_forms(self, shapes: Sequence[Shape]) -> Forms:
        """Return the shapes and dtypes of `Linearized.state` for arguments of these shapes.

        There is none where the derivative has to begin anew.
        """
        if "density" in self.options:
            return ()
        by_name = self._shapes(shapes)
        options = {name: value for name, value in self.options.items() if name != "axis"}
        return self.rule.state_forms(kernels_for({}), by_name, self.axes(by_name), **options)

    def _shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        """Return the shapes of all arguments by name."""
        by_name = {name: np.shape(value) for name, value in self.constants.items()}
        by_name.update(zip(self.names, shapes, strict=True))
        return by_name

    def arguments(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """Return the operator's arguments by name."""
        given = dict(self.constants)
        given.update(zip(self.names, arrays, strict=True))
        given.update(self.options)
        return given

    def value(self, arrays: Sequence[Any]) -> Any:
        """Return the operator's value at NumPy arrays or numbers."""
        return evaluate(self.rule, workers=self.workers, **self.arguments(arrays))

    def encode(self) -> str:
        """Return this as text, which compilers keep; it is made in ways that they follow."""
        options = [f"{name}={_to_text(value)}" for name, value in self.options.items()]
        if self.workers is not None:
            options.append(f"workers={int(self.workers)}")
        text = " ".join([self.rule.name, *self.names]) + "|" + " ".join(options)
        return text + "|" + json.dumps(self.constants) if self.constants else text


def call_of(
    rule: type[Rule], args: tuple[Any, ...], kwargs: dict[str, Any], workers: int | None
) -> tuple[Call, tuple[Any, ...]]:
    """Return a call, and its arguments as they were given."""
    given, options = {}, {}
    for name, value in (*zip(rule.positional, args, strict=True), *kwargs.items()):
        if name in rule.not_arrays:
            options[name] = _integer(name, value)
        elif name in rule.positional or (name in rule.array_keywords and value is not None):
            given[name] = value
        elif name not in rule.array_keywords and not _is_default(name, value):
            options[name] = _option(name, value)
    return Call(rule, tuple(given), options, workers), tuple(given.values())


_SIMPLE = frozenset({bool, int, str, type(None)})
_MOST_CALLS = 1024
_calls: dict[tuple[Any, ...], Call] = {}


def repeated_call_of(
    rule: type[Rule], args: tuple[Any, ...], kwargs: dict[str, Any], workers: int | None
) -> tuple[Call, tuple[Any, ...]]:
    """Return the same as `call_of`, sooner where all arrays are positional, as again and again."""
    kinds = type(workers), *map(type, kwargs.values())  # since True == 1
    if rule.not_arrays or not _SIMPLE.issuperset(kinds):
        return call_of(rule, args, kwargs, workers)
    for name in rule.array_keywords:
        if kwargs.get(name) is not None:  # a number
            return call_of(rule, args, kwargs, workers)
    key = rule, len(args), workers, kinds, *kwargs, *kwargs.values()
    call = _calls.get(key)
    if call is None:
        call, _ = call_of(rule, args, kwargs, workers)
        if len(_calls) >= _MOST_CALLS:
            _calls.clear()
        _calls[key] = call
    return call, args


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r}") from None


def _is_default(name: str, value: Any) -> bool:
    if name == "density":
        return isinstance(value, str) and value == LAPLACE
    return name == "dtype" and value is None


def _option(name: str, value: Any) -> Any:
    """Return an option as a number, None, a tuple or a dtype's name, or raise as operators do."""
    if value is True or value is False or type(value) is int:
        return value
    if name == "density":
        if isinstance(value, str) and not value.isidentifier():
            density_of(value)  # which raises
        return value
    if name == "squash":
        if value is not None and not (isinstance(value, str) and value.isidentifier()):
            sys.modules["lapsum.ot.squash"].check_squash(value)  # which raises
        return value
    if name == "dtype":
        text = str(value)
        return float_type(name, text[6:] if text.startswith("torch.") else value).name
    if name != "axis":
        return check_flag(name, value)
    if value is None or type(value) is tuple:
        return value
    try:
        return operator.index(value)
    except TypeError:
        return normalize_axis(value, (1,))


# Densities that are no names, for texts of this process; programs may ask for them at any time.
_OBJECTS: dict[str, Any] = {}
_PROCESS = urandom(8).hex()


def _kept(value: Any) -> str:
    """Return the name of an object in texts."""
    if type(value) is StudentT:
        return f"StudentT:{value.df!r}"
    name = f"object:{id(value)}:{_PROCESS}"
    _OBJECTS[name] = value
    return name


# So torch.compile calls it, with the object itself, when it traces a call.
vars(_kept)["_dynamo_marked_constant"] = True


def _to_text(value: Any) -> str:
    if type(value) is tuple:
        text = ""
        for one in value:
            text = f"{text}{_to_text(one)},"
        return text
    if value is None or type(value) is str:
        return str(value)
    if type(value) in (bool, int):
        return f"{int(value)}"  # str does not take the symbols of compilers
    return _kept(value)


def _from_text(text: str) -> Any:
    if "," in text:
        return tuple(int(one) for one in text.split(",")[:-1])
    if text == "None":
        return None
    if text.startswith("StudentT:"):
        return StudentT(float(text.removeprefix("StudentT:")))
    if text.startswith("object:"):
        if text not in _OBJECTS:
            raise ValueError(
                "`density` is an object of the process in which this program was made; programs "
                "of other processes can have one of the names, or a StudentT"
            )
        return _OBJECTS[text]
    return int(text) if text.lstrip("-").isdigit() else text


@lru_cache(maxsize=1024)
def decode(text: str) -> Call:
    """Undo `Call.encode`."""
    names, rest, *constants = text.split("|", 2)
    name, *given = names.split()
    options: dict[str, Any] = {}
    for item in rest.split():
        option, _, value = item.partition("=")
        options[option] = _from_text(value)
    workers = options.pop("workers", None)
    # Its module, where the rule is registered, is imported when the operator is asked for.
    family, _, operator = f"lapsum.{name}".rpartition(".")
    getattr(import_module(family), operator, None)
    for rule in RULES.values():
        if isinstance(rule, type) and issubclass(rule, Rule) and rule.name == name:
            found = Call(rule, tuple(given), options, workers)
            return found._replace(constants=json.loads(constants[0])) if constants else found
    raise ValueError(f"lapsum has no operator {name!r}")


class Linearized:
    """The value of a call, and its derivative there.

    Parameters
    ----------
    call : Call
    arrays : sequence of array
        The arguments.
    state : sequence of array
        That of the same call before, if it was kept: then the value is not wanted, and the
        arguments must not change.

    Attributes
    ----------
    value : ndarray or scalar
        Where the rule keeps its value, in memory that nobody may change.
    """

    value: Any = None

    def __init__(self, call: Call, arrays: Sequence[Any], state: Sequence[Array] = ()) -> None:
        workers = None if call.workers is None else worker_count(call.workers)
        self.rule = rule = rule_for(call.rule, workers, (), call.arguments(arrays))
        if state:
            with rule.kernels.quiet():
                rule.restore(state)
        else:
            value = rule.to_result(rule.quiet_linearize())
            self.value = rule.kernels.finish(value, rule.dtype)

    def state(self) -> tuple[Array, ...]:
        """Return what the call found, in arrays that nobody else holds."""
        return self.rule.state()

    def jvp(self, tangents: Mapping[str, Array]) -> Any:
        """Return the tangent of the value for those of some parameters."""
        return self.rule.tangent(tangents)

    def vjp(self, bar: Array, wrt: Sequence[str]) -> list[Any]:
        """Return the cotangents of some parameters."""
        return self.rule.cotangents(bar, wrt)
