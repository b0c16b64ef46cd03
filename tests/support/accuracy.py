"""Worst errors of every operator in units of its bound, by regime.

`python tests/support/accuracy.py` prints the table.
The bounds are those of the contracts: 16 eps (1 + |b - x|/alpha) relative for each top-k entry,
8 eps for ranks, 16 eps (|y| + alpha) for what is a threshold, and so on; see docs/numerics.md.
"""

import itertools
import zlib
from contextlib import ExitStack

import numpy as np
import oracle
from backends import BACKENDS
from contract import batch_of, contracts, lane_of
from mpmath import mp, mpf

SIZES = (1, 2, 3, 9)
# Many digits are slow where exponents are huge.
FEW = {"denormal": (1, 3, 6), "1e-300 to 1e300": (2, 5), "up to 1.7e308": (2, 5)}


def _heavy(rng, n):
    return rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-300, 300, n)


def _huge(rng, n):
    return rng.choice([-1.7e308, 1.7e308, 0, 1e308, -3e307], n) * rng.uniform(0.9, 1, n)


def _mirror(rng, n):
    half = rng.normal(size=n // 2)
    return np.concatenate([half, -half, rng.normal(size=n % 2) * 1e-13])


# name: entries, and the alphas they are met by.
REGIMES = {
    "normal": (lambda rng, n: rng.normal(size=n), 10.0 ** np.arange(-12, 13, 4)),
    "ties": (lambda rng, n: rng.integers(0, 4, n) / 3.0, (1e-9, 0.1, 3.0, 1e6)),
    "clusters": (
        lambda rng, n: rng.integers(0, 3, n) + 1e-9 * rng.normal(size=n),
        (1e-12, 1e-9, 1e-3, 1.0, 1e5),
    ),
    "offset 1e8": (lambda rng, n: 1e8 + rng.normal(size=n), (1e-9, 1e-6, 1e-2, 1.0, 1e5)),
    "median near 0": (_mirror, (1e-12, 1e-3, 0.1)),
    "grid": (lambda rng, n: rng.permutation(n) * (1e-3 / 3), (1e-7, 1e-4, 0.1, 1e3)),
    "denormal": (lambda rng, n: rng.integers(-20, 20, n) * 5e-324, (1e-322, 1e-310, 1.0)),
    "1e-300 to 1e300": (_heavy, (1e-200, 1.0, 1e200)),
    "up to 1.7e308": (_huge, (1.0, 1e300, 1e307, 1.7e308)),
}
WEIGHTS = {
    "": lambda rng, n: None,
    "weights over 8 decades": lambda rng, n: 10.0 ** rng.uniform(-8, 0, n),
}
LEVELS = (1e-3, 0.5, 1 / 2.7, 1 - 1e-6, 0.999)


def lanes(contract, regime, weights="", sizes=None):
    """All the lanes of one regime, deterministic."""
    entries, alphas = REGIMES[regime]
    sizes = sizes or FEW.get(regime, SIZES)
    rng = np.random.default_rng(zlib.crc32(f"{contract.name} {regime} {weights}".encode()))
    for n, alpha, options in itertools.product(sizes, alphas, contract.options):
        c = WEIGHTS[weights](rng, n)
        arguments = {**contract.lane(rng, entries(rng, n), alpha, c), **options}
        if "k" not in arguments:
            yield arguments
            continue
        total = oracle._float_total(c, n)
        whole = [np.floor(0.5 * total), min(1.0, total), min(1e-300, total)] if c is None else []
        for k in (*whole, *(level * total for level in LEVELS)):
            if k > 0.0 or "k" not in contract.positive:
                yield {**arguments, "k": float(k)}


def value_units(contract, regime, weights="", backends=BACKENDS[:1]):
    """Worst error of the values on these backends, in units of the bound."""
    batches = {}  # of lanes that one call takes
    for arguments in lanes(contract, regime, weights):
        shared = [(k, str(v)) for k, v in arguments.items() if k not in contract.of_each_lane]
        batches.setdefault((len(arguments[contract.data]), *shared), []).append(arguments)
    worst = 0.0
    with ExitStack() as stack:
        for backend in backends:  # here once, not at every call
            stack.enter_context(backend.active())
        for batch in batches.values():
            results = [contract.on(b).call(**batch_of(contract, batch)) for b in backends]
            for at, arguments in enumerate(batch):
                computed = (lane_of(contract, result, at) for result in results)
                worst = max(worst, contract.units(*computed, **arguments))
    return worst


def derivative_error(contract, regime, weights=""):
    """Worst error of jvp and vjp in units of 1e-12 of the lane's largest sum of |J_ij v_j|."""
    rng = np.random.default_rng(7)
    cases = lanes(contract, regime, weights, sizes=(3, 6))
    return max(derivative_error_of(contract, arguments, rng) for arguments in cases)


def derivative_error_of(contract, arguments, rng):
    """The same of one lane."""
    worst = 0.0
    # Between exact and rounded levels there is alpha eps, which no derivative can know.
    more = {"rounded": False} if contract.name == "soft_quantile" else {}
    exact = contract.exact_jacobian(**arguments, **more)
    lin = contract.linearize(**arguments)
    bar = rng.normal(size=np.shape(lin.value))
    bars = lin.vjp(bar)
    for at, name in enumerate(lin.parameters):
        dot = rng.normal(size=np.shape(arguments[name]))
        tangent = lin.jvp(*(dot if i == at else None for i in range(len(bars))))
        # d soft_sort/d alpha can be exponentially small beside its scale, which is one.
        scale_one = name == "alpha" and contract.degree == 1
        for got, matrix, v in (
            (tangent, exact[name], dot),
            (bars[at], oracle._transposed(exact[name]), bar),
        ):
            least = np.abs(v).sum() if scale_one else 0.0
            if name in contract.sums:
                least = np.abs(v).sum() * np.ptp(arguments[contract.data])
            worst = max(worst, _product_error(got, matrix, np.ravel(v), least))
    return worst


def _product_error(got, matrix, v, least):
    with mp.workdps(60):
        v = [mpf(float(value)) for value in v]
        terms = [[a * b for a, b in zip(row, v, strict=True)] for row in matrix]
        sums = [sum(abs(term) for term in row) for row in terms]
        # In a wide gap d/dk and d/dweights overflow, and then there is nothing to compare.
        kept = [i for i, size in enumerate(sums) if size < 1e300]
        scale = max((sums[i] for i in kept), default=mpf(0))
        scale += mpf(float(least))
        floor = mpf("1e-290")  # below, intermediate results are denormal
        bound = 1e-12 * 2.0**52 * (scale + floor)
        return oracle.units(np.ravel(got)[kept], [sum(terms[i]) for i in kept], bound)


def table():
    """A Markdown table of the worst case of each operator and regime."""
    found = contracts()
    yield "| regime | " + " | ".join(f"`{c.name}`" for c in found) + " |"
    yield "| --- |" + " --- |" * len(found)
    for regime, weights in itertools.product(REGIMES, WEIGHTS):
        row = [
            f"{value_units(c, regime, weights):.2f}" if c.weighted or not weights else ""
            for c in found
        ]
        yield f"| {', '.join(filter(None, (regime, weights)))} | " + " | ".join(row) + " |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
