"""Operators made of other operators: value, jvp and vjp by the chain rule.

A composed operator says in `compose` how its result follows from its arguments, in arithmetic on
nodes and calls of other operators; axis, batches, dtypes, weights and backends are those of any
operator on entries.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._backends.protocol import Kernels
from .._backends.types import Array, Flags, Floats, sum_in_lane
from .call import RULES
from .entries_rule import EntriesRule
from .layout import with_nan
from .rule import Rule, Tangents

Push = Callable[[Sequence[Floats | None]], Floats]
Pull = Callable[[Floats], Sequence[Floats | None]]


class Node:
    """A value on the way, (lanes, n), or (lanes, 1) for one number a lane.

    Parameters
    ----------
    graph : Graph
    value : array
    parents : sequence of Node
        What it follows from.
    push : callable
        Returns its tangent for those of the parents, None for those that are zero.
    pull : callable
        Returns cotangents of the parents for its own, None for those that are zero.
    """

    def __init__(
        self, graph: Graph, value: Floats, parents: Sequence[Node], push: Push, pull: Pull
    ) -> None:
        self.graph = graph
        self.value = value
        self.parents = parents
        self.push = push
        self.pull = pull
        graph.nodes.append(self)

    def _linear(self, value: Floats, factor: Floats, other: Node, other_factor: Floats) -> Node:
        """Return a node whose derivatives in two others are factors, entry by entry."""
        times = self.graph.kernels.times

        def push(dots: Sequence[Floats | None]) -> Floats:
            factors = (factor, other_factor)
            parts = [times(d, f) for d, f in zip(dots, factors, strict=True) if d is not None]
            return parts[0] + parts[1] if len(parts) > 1 else parts[0]

        def pull(bar: Floats) -> Sequence[Floats]:
            return times(bar, factor), times(bar, other_factor)

        return Node(self.graph, value, (self, other), push, pull)

    def _constant(self, other: Node | Floats | float) -> Node:
        return other if isinstance(other, Node) else self.graph.constant(other)

    def __add__(self, other: Node | Floats | float) -> Node:
        b, one = self._constant(other), self.graph.one
        return self._linear(self.value + b.value, one, b, one)

    def __sub__(self, other: Node | Floats | float) -> Node:
        b, one = self._constant(other), self.graph.one
        return self._linear(self.value - b.value, one, b, -one)

    def __mul__(self, other: Node | Floats | float) -> Node:
        b, times = self._constant(other), self.graph.kernels.times
        return self._linear(times(self.value, b.value), b.value, b, self.value)

    def __truediv__(self, other: Node | Floats | float) -> Node:
        b = self._constant(other)
        quotient = self.value / b.value
        return self._linear(quotient, 1.0 / b.value, b, -quotient / b.value)

    def sum(self) -> Node:
        """Return the sum of each lane."""

        def push(dots: Sequence[Floats | None]) -> Floats:
            (dot,) = dots
            return sum_in_lane(self.graph.zeros(self) if dot is None else dot)[:, None]

        def pull(bar: Floats) -> Sequence[Floats]:
            return (bar + self.graph.zeros(self),)

        return Node(self.graph, sum_in_lane(self.value)[:, None], (self,), push, pull)


class Graph:
    """How a result follows from the arguments: nodes, each after those that it follows from.

    Parameters
    ----------
    kernels : Kernels
    workers : int or None
    linearize : bool
        Whether derivatives will be asked for.
    """

    def __init__(self, kernels: Kernels, workers: int | None, linearize: bool) -> None:
        self.kernels = kernels
        self.workers = workers
        self.linearize = linearize
        self.nodes: list[Node] = []
        self.rules: list[Rule] = []
        self.one = kernels.xp.ones((1, 1))

    def constant(self, value: Floats | float) -> Node:
        """Return a node that does not move."""
        array = self.kernels.xp.full((1, 1), value) if isinstance(value, float) else value
        return Node(self, array, (), lambda dots: self.kernels.xp.zeros((1, 1)), lambda bar: ())

    def zeros(self, node: Node) -> Floats:
        """Return zeros of the shape of a node."""
        return self.kernels.xp.zeros(node.value.shape)

    def apply(
        self, operator: Callable[..., Any], arguments: Mapping[str, Node], **options: Any
    ) -> Node:
        """Return the result of an operator on nodes, its differentiable arguments by name."""
        scalars = [name for name, node in arguments.items() if node.value.shape[1] == 1]
        scalars = [name for name in scalars if name not in ("x", "weights")]
        given = {
            name: node.value[:, 0] if name in scalars else node.value
            for name, node in arguments.items()
        }
        rule = RULES[operator](self.workers, **given, **options)
        value = rule.linearize() if self.linearize else rule.value()
        self.rules.append(rule)
        names = tuple(arguments)

        def push(dots: Sequence[Floats | None]) -> Floats:
            tangents = {
                name: dot[:, 0] if name in scalars else dot
                for name, dot in zip(names, dots, strict=True)
                if dot is not None
            }
            tangent: Floats = rule.jvp(tangents)
            return tangent

        def pull(bar: Floats) -> Sequence[Floats]:
            bars = rule.vjp(bar, frozenset(names))
            return [bars[name][:, None] if name in scalars else bars[name] for name in names]

        nodes = tuple(arguments.values())
        return Node(self, self.kernels.contiguous(value), nodes, push, pull)

    def jvp(self, tangents: Mapping[Node, Floats], result: Node) -> Floats:
        """Return the tangent of the result for those of some nodes."""
        dots: dict[Node, Floats] = dict(tangents)
        for node in self.nodes:
            of_parents = [dots.get(parent) for parent in node.parents]
            if any(dot is not None for dot in of_parents):
                dots[node] = node.push(of_parents)
        return dots[result] if result in dots else self.zeros(result)

    def vjp(self, bar: Floats, result: Node) -> dict[Node, Floats]:
        """Return the cotangents of all nodes for that of the result."""
        bars = {result: bar}
        for node in reversed(self.nodes):
            if node in bars and node.parents:
                for parent, part in zip(node.parents, node.pull(bars[node]), strict=True):
                    if part is not None:
                        part = self._fitted(part, parent)
                        bars[parent] = bars[parent] + part if parent in bars else part
        return bars

    def _fitted(self, bar: Floats, node: Node) -> Floats:
        """Return the cotangent of a node that was broadcast."""
        if node.value.shape[1] == 1 != bar.shape[1]:
            bar = sum_in_lane(bar)[:, None]
        return bar


class Composed(EntriesRule):
    """An operator whose result follows from those of other operators.

    A subclass takes the operator's own arguments, as any rule on entries, and has `compose`.
    """

    graph: Graph

    @abstractmethod
    def compose(self, graph: Graph, arguments: Mapping[str, Node]) -> Node:
        """Return the result, from the differentiable arguments by name.

        Entries and weights are (lanes, n), all others (lanes, 1); infinite entries are zero there,
        since their derivatives are.
        """

    def _composed(self, linearize: bool) -> Floats:
        kernels, lanes = self.kernels, self.lanes
        self.graph = graph = Graph(kernels, self.workers, linearize)
        self.arguments = {
            name: Node(
                graph,
                lanes[name] if lanes[name].ndim == 2 else lanes[name][:, None],
                (),
                lambda dots: graph.one,
                lambda bar: (),
            )
            for name in self.layouts
        }
        self.outcome = self.compose(graph, self.arguments)
        for rule in graph.rules:
            self.nan_lanes = either(self.nan_lanes, getattr(rule, "nan_lanes", None))
        return self.outcome.value

    def value(self, out: Array | None = None) -> Array:
        """Return the result."""
        return with_nan(self.kernels, self.nan_lanes, self._composed(linearize=False))

    def linearize(self) -> Array:
        """Return the same, and keep the rules of the operators."""
        self.lanes = {name: self.kernels.own(lanes) for name, lanes in self.lanes.items()}
        return with_nan(self.kernels, self.nan_lanes, self._composed(linearize=True))

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        dots = {self.arguments[name]: _column(dot) for name, dot in tangents.items()}
        return self.graph.jvp(dots, self.outcome)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bars = self.graph.vjp(_column(bar), self.outcome)
        out: dict[str, Array] = {}
        for name in wrt:
            node, lanes = self.arguments[name], self.lanes[name]
            pulled = bars[node] if node in bars else self.graph.zeros(node)
            out[name] = pulled if lanes.ndim == 2 else pulled[:, 0]
        return out


def _column(lanes: Floats) -> Floats:
    return lanes if lanes.ndim == 2 else lanes[:, None]


def either(some: Flags | None, others: Flags | None) -> Flags | None:
    """Return which lanes are in one of two, None for none."""
    if some is None or others is None:
        return others if some is None else some
    return some | others
