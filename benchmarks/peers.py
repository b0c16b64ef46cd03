"""The libraries that compare.py measures: for each operator, how to call it.

Every entry builds, for one array, a function that computes the value and one that computes value
and vjp, in the arrays of that library.  Tensors, networks and compiled functions are made while
building, outside of the timing.  The functions are not identical: each library has its own
relaxation, and its smoothing parameter is chosen to be as near to ALPHA as that permits, or in the
library's favour.  Where one only approaches its function, by iterations, the exact one stands
beside it, so that its error can be told.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

ALPHA = 0.1
EPSILON = 0.01  # of transport between squashed entries: OTT's default


def k_of(x):
    return x.shape[-1] // 2


@dataclass(frozen=True, eq=False)
class Peer:
    """A library and its operators.

    Attributes
    ----------
    distribution, module : what pip installs and what Python imports
    arrays : whose arrays it takes
    operators : name: `build(x, cotangent)`, which returns the calls (value, value and vjp)
    note : its smoothing parameter, and what else must be known to compare
    memory : a lower estimate of the bytes one run needs, from (lanes, n)
    size : the length it is run at in place of n
    longest : operator: the longest row that returned within a minute, where shorter rows mislead
    most_lanes : operator: the most lanes that it is run on, where more took minutes
    exact : operator: the function of x that its iterations tend to
    """

    distribution: str
    module: str
    arrays: str
    operators: dict[str, Callable]
    note: str
    label: str = ""
    memory: Callable = lambda lanes, n: 40 * lanes * n
    size: Callable = lambda n: n
    longest: dict[str, int] = field(default_factory=dict)
    most_lanes: dict[str, int] = field(default_factory=dict)
    exact: dict[str, Callable] = field(default_factory=dict)

    @property
    def name(self):
        return self.label or self.distribution

    @functools.cached_property  # writes to __dict__, which frozen allows
    def missing(self):
        """Why it cannot be imported, or an empty string."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # difftopk prints
                importlib.import_module(self.module)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    @property
    def version(self):
        return importlib.metadata.version(self.distribution)


def linearized(function, *arguments, **options):
    """Calls of one of lapsum's operators on NumPy arrays."""

    def build(x, cotangent):
        import lapsum

        func = function(lapsum)
        given = [argument(x) if callable(argument) else argument for argument in arguments]

        def both():
            lin = lapsum.linearize(func, x, *given, **options)
            return lin.value, lin.vjp(cotangent)

        return functools.partial(func, x, *given, **options), both

    return build


def laplace(name, **options):
    """Calls of an operator by its name."""
    between = (k_of,) if name == "soft_topk" else ()
    return linearized(lambda lapsum: getattr(lapsum, name), *between, ALPHA, **options)


def adapted(calls, name):
    """Calls of the same operator on tensors, or on JAX's arrays."""

    def make(x):
        import lapsum

        between = (k_of(x),) if name == "soft_topk" else ()
        return lambda x: getattr(lapsum, name)(x, *between, ALPHA)

    return calls(make)


def soft_topk(x):
    """SOFT top-k, which POT's and OTT's iterations tend to."""
    import lapsum

    return lapsum.ot.soft_topk(x, k_of(x), 2 * ALPHA)


def sinkhorn_rank_from_0(x):
    import lapsum

    return lapsum.ot.sinkhorn_rank(x, EPSILON) - 1.0


def sinkhorn_sort(x):
    import lapsum

    return lapsum.ot.sinkhorn_sort(x, EPSILON)


def torch_calls(make):
    """`make(x)` returns a function of a tensor."""

    def build(x, cotangent):
        import torch

        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)  # difftopk makes matrices of the default
        with contextlib.redirect_stdout(io.StringIO()):
            function = make(x)
        leaf, bar = torch.from_numpy(x).requires_grad_(), torch.from_numpy(cotangent)

        def value():
            with torch.no_grad():
                return function(leaf)

        def both():
            y = function(leaf)
            return y, torch.autograd.grad(y, leaf, bar)

        return value, both

    return build


def jax_calls(make):
    """`make(x)` returns a function of an array; it is compiled, in float64."""

    def build(x, cotangent):
        import jax

        jax.config.update("jax_enable_x64", True)
        function = make(x)

        @jax.jit
        def value_and_vjp(x, bar):
            y, pullback = jax.vjp(function, x)
            return y, pullback(bar)

        value = jax.jit(function)
        device = jax.device_put(x), jax.device_put(cotangent)
        return (
            lambda: jax.block_until_ready(value(device[0])),
            lambda: jax.block_until_ready(value_and_vjp(*device)),
        )

    return build


def projected(module, name, strength):
    """Operators of torchsort and torchpsort."""
    parameter = {"torchsort": "regularization_strength", "torchpsort": "tau"}[module]

    def make(x):
        func = getattr(importlib.import_module(module), name)
        return functools.partial(func, **{parameter: strength(x.shape[-1])})

    return torch_calls(make)


@torch_calls
def pot_topk(x):
    import ot
    import torch
    from ot.batch import solve_batch

    lanes, n = x.shape
    ends = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    shares = torch.tensor([1 - k_of(x) / n, k_of(x) / n], dtype=torch.float64)
    mass = torch.full((n,), 1 / n, dtype=torch.float64)

    def function(x):
        cost = (x[..., None] - ends) ** 2
        if lanes == 1:
            plan = ot.sinkhorn(mass, shares, cost[0], 2 * ALPHA)[None]
        else:
            plan = solve_batch(
                cost, 2 * ALPHA, mass.expand(lanes, n), shares.expand(lanes, 2),
                method="sinkhorn", tol=1e-9, grad="autodiff",
            ).plan  # fmt: skip
        return n * plan[..., 1]

    return function


# A batch goes on until its slowest lane is done.
OTT_LANES = {"soft_topk": 1024, "soft_rank": 1, "soft_sort": 1}
CONVERGED = {"threshold": 1e-9, "max_iterations": 10**4}  # OTT's own are 1e-3 and 2000


def ott(name, **options):
    """An operator of OTT's soft_sort."""

    def make(x):
        from ott.initializers.linear import initializers
        from ott.tools import soft_sort

        given = dict(options)
        if name == "topk_mask":
            given |= {"k": k_of(x), "epsilon": 2 * ALPHA, "squashing_fun": lambda x: x}
        if name == "sort":
            given["initializer"] = initializers.DefaultInitializer()
        return functools.partial(getattr(soft_sort, name), **given)

    return jax_calls(make)


@torch_calls
def difftopk_network(x):
    from difftopk import DiffTopkNet

    net = DiffTopkNet("bitonic", x.shape[-1], k_of(x), steepness=1 / ALPHA, distribution="logistic")
    net.sorting_network = [[m.double() for m in layer] for layer in net.sorting_network]
    return lambda x: net(x)[1].sum(-1)


def softsort_matrix(take):
    def make(x):
        from difftopk import SoftSort

        matrix = SoftSort(tau=ALPHA)
        return lambda x: take(matrix(x), k_of(x))

    return torch_calls(make)


def diffsort_network(output):
    def make(x):
        from diffsort import DiffSortNet

        net = DiffSortNet("bitonic", x.shape[-1], steepness=1 / ALPHA, distribution="logistic")
        return lambda x: net(x)[output]

    return torch_calls(make)


def soft_library(module, operator):
    """Operators of softtorch and softjax, which have the same functions."""
    calls, axis, top = {
        "softtorch": (torch_calls, "dim", "topk"),
        "softjax": (jax_calls, "axis", "top_k"),
    }[module]

    def make(x):
        library, n = importlib.import_module(module), x.shape[-1]
        options = {axis: -1, "standardize": False}
        projection = {**options, "method": "fast_soft_sort", "mode": "c0"}
        matrix = {**options, "method": "softsort", "softness": ALPHA}
        values = (lambda y: y[0]) if module == "softtorch" else (lambda y: y)
        return {
            "soft_topk": lambda x: getattr(library, top)(x, k_of(x), **matrix)[1].sum(-2),
            "soft_rank": lambda x: library.rank(x, **projection, softness=5 / n, descending=False),
            "soft_sort": lambda x: values(library.sort(x, **projection, softness=n / 5)),
            "soft_permutation": lambda x: library.argsort(x, **matrix),
        }[operator]

    return calls(make)


def power_of_two(n):
    return 2 ** (n.bit_length() - 1)


def layers(n):
    """Layers of a bitonic network."""
    return n.bit_length() * (n.bit_length() - 1) // 2


def nothing(lanes, n):
    return 0


TRANSPORTS = {"soft_topk": soft_topk, "soft_rank": sinkhorn_rank_from_0, "soft_sort": sinkhorn_sort}
OPERATORS = ("soft_topk", "soft_rank", "soft_sort", "soft_permutation")
PEERS = [
    Peer(
        "lapsum",
        "lapsum",
        "NumPy",
        {name: laplace(name) for name in OPERATORS},
        f"alpha = {ALPHA}; `linearize(...)`, then `.vjp(...)` for all parameters, k and alpha too",
        memory=nothing,
    ),
    *(
        Peer(
            "lapsum",
            "lapsum",
            "NumPy",
            {name: laplace(name, density=density.lower()) for name in OPERATORS[:3]},
            f'the same with `density="{density.lower()}"`{note}',
            label=f"lapsum {density}",
            memory=nothing,
        )
        for density, note in (
            ("logistic", "; its top-k is that of POT and of OTT"),
            ("normal", ""),
            ("Cauchy", ""),
        )
    ),
    Peer(
        "lapsum",
        "lapsum",
        "NumPy",
        {
            "soft_topk": linearized(lambda lapsum: lapsum.ot.soft_topk, k_of, 2 * ALPHA),
            "soft_rank": linearized(lambda lapsum: lapsum.ot.sinkhorn_rank, EPSILON),
            "soft_sort": linearized(lambda lapsum: lapsum.ot.sinkhorn_sort, EPSILON),
        },
        f"OTT's functions, to rounding: `soft_topk` with epsilon = {2 * ALPHA}, `sinkhorn_rank` "
        f"and `sinkhorn_sort` with epsilon = {EPSILON} of squashed x; all cotangents, that of "
        "epsilon too",
        label="lapsum.ot",
        memory=nothing,
    ),
    *(
        Peer(
            "lapsum",
            "lapsum",
            arrays,
            {name: adapted(calls, name) for name in OPERATORS},
            f"the first one on {what}, for x alone",
            label=f"lapsum, {arrays}",
            memory=nothing,
        )
        for arrays, calls, what in (
            ("PyTorch", torch_calls, "tensors, by autograd"),
            ("JAX", jax_calls, "JAX arrays, under `jit`"),
        )
    ),
    *(
        Peer(
            module,
            module,
            "PyTorch",
            {
                "soft_rank": projected(module, "soft_rank", lambda n: 5 / n),
                "soft_sort": projected(module, "soft_sort", lambda n: n / 5),
            },
            note,
        )
        for module, note in (
            (
                "torchsort",
                "projection onto the permutahedron, l2; strength 5/n for ranks (they then rise by "
                "at most n/5 per unit of x), n/5 for sorts; the time hardly depends on it",
            ),
            ("torchpsort", "the same function and strengths; compiled by Numba beforehand"),
        )
    ),
    Peer(
        "POT",
        "ot",
        "PyTorch",
        {"soft_topk": pot_topk},
        f"optimal transport to two points at -1/2 and 1/2 with entropy: `ot.sinkhorn`, for batches "
        f"`ot.batch.solve_batch`; reg = {2 * ALPHA}, which gives a sigmoid of scale {ALPHA}; "
        "tolerance 1e-9, its default; PyTorch's autograd through the iterations",
        exact=TRANSPORTS,
    ),
    Peer(
        "ott-jax",
        "ott.tools.soft_sort",
        "JAX",
        {
            "soft_topk": ott("topk_mask", **CONVERGED),
            "soft_rank": ott("ranks", **CONVERGED),
            "soft_sort": ott("sort", **CONVERGED),
        },
        f"`topk_mask` without squashing, epsilon = {2 * ALPHA}; `ranks` and `sort` with its "
        f"epsilon of {EPSILON} of squashed x; threshold 1e-9, at most 10,000 iterations; the "
        "initializer of `sort` is not its own, which has no vjp; compiled beforehand, implicit "
        "derivatives",
        most_lanes=OTT_LANES,
        exact=TRANSPORTS,
    ),
    Peer(
        "ott-jax",
        "ott.tools.soft_sort",
        "JAX",
        {
            "soft_topk": ott("topk_mask"),
            "soft_rank": ott("ranks"),
            "soft_sort": ott("sort"),
        },
        "the same with its own threshold, 1e-3, and its own 2000 iterations at most",
        label="ott-jax, its tolerance",
        most_lanes=OTT_LANES,
        exact=TRANSPORTS,
    ),
    Peer(
        "difftopk",
        "difftopk",
        "PyTorch",
        {"soft_topk": difftopk_network},
        f"bitonic network in float64, logistic, steepness {1 / ALPHA:g}; n rounded down to a power "
        "of two, in its favour",
        label="difftopk network",
        memory=lambda lanes, n: 16 * layers(n) * n * n * (1 + lanes),
        size=power_of_two,
    ),
    Peer(
        "difftopk",
        "difftopk",
        "PyTorch",
        {
            "soft_topk": softsort_matrix(lambda P, k: P[:, :k].sum(1)),
            "soft_permutation": softsort_matrix(lambda P, k: P),
        },
        f"its `SoftSort` matrix, tau = {ALPHA}; top-k is the sum of k rows",
        label="difftopk SoftSort",
        memory=lambda lanes, n: 40 * lanes * n * n,
    ),
    Peer(
        "diffsort",
        "diffsort",
        "PyTorch",
        {"soft_sort": diffsort_network(0), "soft_permutation": diffsort_network(1)},
        f"bitonic network, logistic, steepness {1 / ALPHA:g}; it always computes the matrix; n "
        "rounded down to a power of two, in its favour",
        memory=lambda lanes, n: 16 * layers(n) * n * n * (1 + lanes),
        size=power_of_two,
    ),
    *(
        Peer(
            module,
            module,
            arrays,
            {o: soft_library(module, o) for o in ("soft_rank", "soft_sort")},
            "method fast_soft_sort, mode c0, not standardized: torchsort's function and strengths",
            longest={"soft_sort": 10**4} if module == "softjax" else {},
        )
        for module, arrays in (("softtorch", "PyTorch"), ("softjax", "JAX"))
    ),
    *(
        Peer(
            module,
            module,
            arrays,
            {o: soft_library(module, o) for o in ("soft_topk", "soft_permutation")},
            f"its softsort matrix, softness {ALPHA}, not standardized; top-k is the sum of k rows",
            label=f"{module} softsort",
            memory=lambda lanes, n: 32 * lanes * n * n,
        )
        for module, arrays in (("softtorch", "PyTorch"), ("softjax", "JAX"))
    ),
]


def hard(operator, x):
    """The name and the call of the NumPy function that an operator is measured in."""
    if operator == "soft_permutation":
        square = np.random.default_rng(2).normal(size=(*x.shape, x.shape[-1]))
        return "np.exp of the same shape", lambda: np.exp(square)
    if operator == "soft_topk":
        return "np.partition", lambda: np.partition(x, k_of(x), axis=-1)
    if operator == "soft_rank":
        return "np.argsort", lambda: np.argsort(x, axis=-1)
    return "np.sort", lambda: np.sort(x, axis=-1)
