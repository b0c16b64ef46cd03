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
from .call import RULES, call_of
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

    def _node(self, other: Node | float) -> Node:
        """Return another operand as a node; a number follows from nothing."""
        if isinstance(other, Node):
            return other
        return self.graph.leaf(self.graph.one * other)

    def _of_two(self, value: Floats, other: Node, factors: tuple[Floats, Floats]) -> Node:
        """Return a node whose derivatives in this one and another are factors, entry by entry."""
        times = self.graph.kernels.times

        def push(dots: Sequence[Floats | None]) -> Floats:
            parts = [times(d, f) for d, f in zip(dots, factors, strict=True) if d is not None]
            return parts[0] if len(parts) == 1 else parts[0] + parts[1]

        def pull(bar: Floats) -> Sequence[Floats]:
            return [times(bar, factor) for factor in factors]

        return Node(self.graph, value, (self, other), push, pull)

    def __add__(self, other: Node | float) -> Node:
        one, other = self.graph.one, self._node(other)
        return self._of_two(self.value + other.value, other, (one, one))

    def __sub__(self, other: Node | float) -> Node:
        one, other = self.graph.one, self._node(other)
        return self._of_two(self.value - other.value, other, (one, -one))

    def __mul__(self, other: Node | float) -> Node:
        other = self._node(other)
        product = self.graph.kernels.times(self.value, other.value)
        return self._of_two(product, other, (other.value, self.value))

    def __truediv__(self, other: Node | float) -> Node:
        other = self._node(other)
        quotient = self.value / other.value
        return self._of_two(quotient, other, (1.0 / other.value, -quotient / other.value))

    def __radd__(self, other: float) -> Node:
        return self + other

    def __rsub__(self, other: float) -> Node:
        return self._node(other) - self

    def __rmul__(self, other: float) -> Node:
        return self * other

    def __rtruediv__(self, other: float) -> Node:
        return self._node(other) / self

    def sum(self) -> Node:
        """Return the sum of each lane."""
        return self.mapped(
            sum_in_lane(self.value)[:, None],
            lambda dot: sum_in_lane(dot)[:, None],
            lambda bar: bar + self.graph.zeros(self),
        )

    def replaced(self, value: Floats) -> Node:
        """Return a node with the derivatives of this one and another value."""
        return self.mapped(value, lambda dot: dot, lambda bar: bar)

    def mapped(
        self,
        value: Floats,
        push: Callable[[Floats], Floats],
        pull: Callable[[Floats], Floats],
    ) -> Node:
        """Return a node that follows from this one alone, with its derivative and the transpose."""

        def push_one(dots: Sequence[Floats | None]) -> Floats:
            (dot,) = dots
            return self.graph.zeros(self) if dot is None else push(dot)

        return Node(self.graph, value, (self,), push_one, lambda bar: [pull(bar)])


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

    def leaf(self, value: Floats) -> Node:
        """Return a node that follows from nothing: an argument, or a constant."""
        return Node(self, value, (), lambda dots: self.zeros_like(value), lambda bar: [])

    def zeros_like(self, value: Floats) -> Floats:
        """Return zeros of the shape of a value."""
        return self.kernels.xp.zeros(value.shape)

    def zeros(self, node: Node) -> Floats:
        """Return zeros of the shape of a node."""
        return self.zeros_like(node.value)

    def apply(
        self, operator: Callable[..., Any], arguments: Mapping[str, Node], **options: Any
    ) -> Node:
        """Return the result of an operator on nodes, its differentiable arguments by name."""
        lanes = (*RULES[operator].along_axis, "weights")  # type: ignore[attr-defined]
        scalars = [
            name for name, n in arguments.items() if n.value.shape[1] == 1 and name not in lanes
        ]
        given = {
            name: node.value[:, 0] if name in scalars else node.value
            for name, node in arguments.items()
        }
        rule = call_of(RULES[operator], self.workers, (), {**given, **options})
        value = rule.quiet_linearize() if self.linearize else rule.quiet_value()
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

        Entries and weights, which are rescaled, are (lanes, n), all others (lanes, 1).
        """

    def total_weight(self, graph: Graph, arguments: Mapping[str, Node]) -> Node:
        """Return W, rescaled: the correctly rounded sum of the weights, or how many entries."""
        if self.total is None:
            return graph.leaf(self.kernels.xp.full((self.count, 1), float(self.n)))
        weights = arguments["weights"]
        return weights.mapped(
            self.rescale(self.total)[:, None],
            lambda dot: sum_in_lane(dot)[:, None],
            lambda bar: bar + graph.zeros(weights),
        )

    def _composed(self, linearize: bool) -> Floats:
        graph = Graph(self.kernels, self.workers, linearize)
        lanes = {name: self.kernels.contiguous(self.lanes[name]) for name in self.layouts}
        if self.weights is not None:
            lanes["weights"] = self.weights
        arguments = {name: graph.leaf(_column(lanes[name])) for name in self.layouts}
        self.graph, self.arguments = graph, arguments
        self.outcome = self.compose(graph, arguments)
        for rule in graph.rules:
            self.nan_lanes = either(self.nan_lanes, rule.nan_lanes)
        return self.outcome.value

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the graph, which functions are in: it is composed again."""
        state = self.__dict__.copy()
        for name in ("graph", "arguments", "outcome"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.kernels.quiet():
            self._composed(linearize=True)

    def value(self, out: Array | None = None) -> Array:
        """Return the result."""
        return with_nan(self.kernels, self.nan_lanes, self._composed(linearize=False))

    def linearize(self) -> Array:
        """Return the same, and keep the rules of the operators."""
        self.lanes = {name: self.kernels.own(lanes) for name, lanes in self.lanes.items()}
        return with_nan(self.kernels, self.nan_lanes, self._composed(linearize=True))

    def _of_numbers(self, lanes: Floats) -> Floats:
        """Return what belongs to weights, zero for those of NaN: more of it has no meaning."""
        return self.kernels.xp.where(self.kernels.xp.isnan(self.lanes["x"]), 0.0, lanes)

    def careful_jvp(self, tangents: Tangents) -> Floats:
        """Return the tangent, in lanes of any kind."""
        dots = {}
        for name, dot in tangents.items():
            dot = self._of_numbers(self.rescale(dot)) if name == "weights" else dot
            dots[self.arguments[name]] = _column(dot)
        return self.graph.jvp(dots, self.outcome)

    def careful_vjp(self, bar: Floats, wrt: frozenset[str]) -> dict[str, Array]:
        """Return the cotangents, in lanes of any kind."""
        bars = self.graph.vjp(_column(bar), self.outcome)
        out: dict[str, Array] = {}
        for name in wrt:
            node = self.arguments[name]
            pulled = bars[node] if node in bars else self.graph.zeros(node)
            pulled = self._of_numbers(self.rescale(pulled)) if name == "weights" else pulled
            out[name] = pulled if self.lanes[name].ndim == 2 else pulled[:, 0]
        return out


def _column(lanes: Floats) -> Floats:
    return lanes if lanes.ndim == 2 else lanes[:, None]


def either(some: Flags | None, others: Flags | None) -> Flags | None:
    """Return which lanes are in one of two, None for none."""
    if some is None or others is None:
        return others if some is None else some
    return some | others
