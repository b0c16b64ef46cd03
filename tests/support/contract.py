"""What a test of one operator declares, so that the shared contract can be run on it.

`tests/operators/test_<operator>.py` holds `CONTRACT = Contract(...)`; `test_contract.py` and
`accuracy.py` find it through `lapsum.__all__`.  Bounds are in units of eps = 2**-52, see
docs/numerics.md.
"""

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import oracle_jacobian
import pytest
from backends import BACKENDS, Host
from mpmath import mp, mpf

import lapsum
from lapsum._core.call import RULES

OPERATORS = str(Path(__file__).parents[1] / "operators")


@dataclass(frozen=True)
class Contract:
    """One operator.

    Attributes
    ----------
    func : the operator
    arguments : `arguments(rng, x, alpha)` returns one lane's arguments beside x and alpha, which
        are added under the names `data` and "alpha"
    bound : `bound(exact, **arguments)` returns the error each output may have, over eps
    options : keyword variants to run
    data : name of the argument that holds the n entries of a lane
    lanes : names of the arguments that lie along `axis`
    scalars : names of those that are one number a lane
    weighted : whether it takes weights
    core : what a lane gives: "vector" along `axis`, "matrix", or "first" (new axes in front)
    shifts, degree : f(x + s) = f(x) + shifts s, and f(t x, t alpha) = t**degree f(x, alpha)
    moves : what a common shift is added to
    follows : whether output i belongs to entry i
    unbounded : whether outputs may be infinite
    several_axes : whether `axis` may be a tuple; such an operator takes `keepdims`
    sums : names of parameters whose derivatives are sums of distances between entries, exact
        beside these alone
    positive : names of the arguments, beside alpha, that must be greater than zero; else they are a
        ValueError that begins with "`k` must be positive"
    exact : `exact(**arguments, digits)` in mpmath; the oracle's function of that name by default
    jacobian : `jacobian(**arguments)` in mpmath; the oracle's by default
    backend : where it is run
    """

    func: Callable[..., Any]
    bound: Callable[..., Any]
    arguments: Callable[..., dict[str, Any]] = field(default=lambda rng, x, alpha, weights=None: {})
    options: tuple[dict[str, Any], ...] = ({},)
    data: str = "x"
    lanes: tuple[str, ...] = ("x", "weights")
    scalars: tuple[str, ...] = ("alpha",)
    weighted: bool = True
    core: str = "vector"
    shifts: int = 0
    degree: int = 0
    moves: tuple[str, ...] = ("x",)
    follows: bool = False
    unbounded: bool = False
    several_axes: bool = False
    sums: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    exact: Callable[..., Any] | None = None
    jacobian: Callable[..., Any] | None = None
    backend: Host = BACKENDS[0]

    @property
    def name(self):
        return self.func.__name__

    @property
    def of_each_lane(self):
        """Names of the arguments that lanes of a batch do not share."""
        return (*self.lanes, *self.scalars)

    def call(self, *args, **arguments):
        """The value."""
        return self.backend.call(self.func, *args, **arguments)

    def jvp(self, primals, tangents, **arguments):
        """The value and its tangent."""
        return self.backend.call(lapsum.jvp, self.func, primals, tangents, **arguments)

    def vjp(self, **arguments):
        """The value and the pullback."""
        lin = self.linearize(**arguments)
        return lin.value, lin.vjp

    def linearize(self, **arguments):
        """The Linearization."""
        return self.backend.linearize(self.func, **arguments)

    def on(self, backend):
        """The same contract elsewhere."""
        return replace(self, backend=backend)

    def lane(self, rng, x, alpha, weights=None):
        """All arguments for one lane."""
        out = {self.data: np.asarray(x, float), "alpha": float(alpha)}
        if weights is not None:
            out["weights"] = np.asarray(weights, float)
        out.update(
            self.arguments(rng, out[self.data], **{k: out[k] for k in out if k != self.data})
        )
        return out

    def random(self, rng, n=6, weighted=False, alpha=None):
        """A lane of ordinary data without ties."""
        weights = rng.uniform(0.1, 2.0, n) if weighted else None
        return self.lane(rng, rng.normal(size=n), alpha or rng.uniform(0.2, 2.0), weights)

    def exact_value(self, **arguments):
        """The outputs in many digits, flat in C order."""
        exact = self.exact or getattr(oracle, self.name)
        return oracle._flat(exact(**arguments, digits=self.digits))

    def exact_jacobian(self, **arguments):
        """The dense Jacobians in many digits, by parameter."""
        if self.jacobian is not None:
            return self.jacobian(**arguments)
        return oracle_jacobian.jacobian(self.name, **arguments)

    @property
    def digits(self):
        # Permutation entries are differences of F, and 1 - tiny would eat the tails.
        return 400 if self.core == "matrix" or "values" in self.lanes else 60

    def units(self, *computed, **arguments):
        """Worst error of `computed`, in units of its bound; a few denormals are always free."""
        exact = self.exact_value(**arguments)
        with mp.workdps(60):
            floor = mpf(2) ** -1020
            scale = [s + floor for s in self.bound(exact, **arguments)]
        return max(oracle.units(values, exact, scale) for values in computed)


def contracts():
    """Every operator's contract; an operator without one is an error."""
    if OPERATORS not in sys.path:
        sys.path.append(OPERATORS)
    found = []
    for name in lapsum.__all__:
        # For the Laplace density `cdf_sum` is `lap_sum`, and for others see `any_density`.
        if getattr(lapsum, name) in RULES and not name.startswith("cdf_sum"):
            found.append(import_module(f"test_{name}").CONTRACT)
    return found


def distances(x, b, alpha):
    """|b - x|/alpha in mp."""
    return [abs(b - mpf(float(v))) / mpf(float(alpha)) for v in x]


def relative(factor):
    """A bound of `factor` eps relative to every output."""
    return lambda exact, **_: [factor * abs(y) for y in exact]


def threshold_bound(exact, alpha, **_):
    """16 (|y| + alpha)."""
    return [16 * (abs(y) + mpf(float(alpha))) for y in exact]


def total_of(n, weights=None):
    """The total weight."""
    return oracle._float_total(weights, n)


def some_k(rng, x, alpha, weights=None):
    """A fractional k somewhere in the middle."""
    return {"k": float(rng.uniform(0.2, 0.8) * total_of(len(x), weights))}


def topk_thresholds(x, k, alpha, weights=None, largest=True):
    """|b - x_i|/alpha, and the offset that b itself is stored with."""
    z = [-v for v in map(float, x)] if largest else [float(v) for v in x]
    total = total_of(len(x), weights)
    if not 0 < k < total:
        return [mpf(0)] * len(z)
    return distances(z, oracle.threshold(float(k), z, alpha, weights), alpha)


def permutation_scales(x, alpha):
    """16 P (1 + |t|)(1 + 1/width) for every entry, ascending."""
    n = len(x)
    matrix = oracle.soft_permutation(x, alpha, digits=400)
    b = oracle.lap_sum_inv([float(i) for i in range(1, n)], x, alpha, digits=400)
    with mp.workdps(400):
        a = mpf(float(alpha))
        width = [mp.inf, *((q - p) / a for p, q in itertools.pairwise(b)), mp.inf][:n]
        if n == 1:
            width = [mp.inf]
        t = [
            [min(abs(c - mpf(float(v))) / a for c in b[max(i - 1, 0) : i + 1]) for v in x]
            if b
            else [mpf(0)]
            for i in range(n)
        ]
        return [
            [16 * matrix[i][j] * (1 + t[i][j]) * (1 + 1 / width[i]) for j in range(n)]
            for i in range(n)
        ]


def cases(*backends, where=lambda contract, options: True):
    """Every operator, with every option for which `where` is true, with and without weights."""
    return [
        pytest.param(
            c.on(backend),
            options,
            weighted,
            id="-".join([backend.name, c.name, *options, *["weighted"] * weighted]),
            marks=backend.marks,
        )
        for backend in backends
        for c in contracts()
        for options in c.options
        if where(c, options)
        for weighted in ([False, True] if c.weighted else [False])
    ]


every_case = pytest.mark.parametrize(("contract", "options", "weighted"), cases(*BACKENDS))
every_case_by_entries = pytest.mark.parametrize(
    ("contract", "options", "weighted"),
    cases(*BACKENDS, where=lambda c, o: c.core == "matrix" or c.follows or o.get("transpose")),
)
every_host_case = pytest.mark.parametrize(("contract", "options", "weighted"), cases(BACKENDS[0]))


def every_contract(*backends, where=lambda contract: True):
    """Parametrize by the contracts for which `where` is true, on these backends."""
    return pytest.mark.parametrize(
        "contract",
        [
            pytest.param(c.on(b), id=f"{b.name}-{c.name}", marks=b.marks)
            for b in backends
            for c in contracts()
            if where(c)
        ],
    )


def batch_of(contract, lanes):
    """Stack lanes of arguments along a new first axis; q is shared."""
    return {
        name: np.stack([lane[name] for lane in lanes])
        if name in contract.of_each_lane
        else lanes[0][name]
        for name in lanes[0]
    }


def lane_of(contract, result, at):
    return result[..., at] if contract.core == "first" else result[at]


def tangents_for(rng, arguments, parameters):
    return [rng.normal(size=np.shape(arguments[name])) for name in parameters]
