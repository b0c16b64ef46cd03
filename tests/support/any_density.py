"""High-precision references for the operators with any even density, and contracts for them.

Values come from the definitions in mpmath, at a precision that leaves many digits of the smallest
tail; derivatives are central differences of those values with a step of 1e-40.
"""

import itertools
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import oracle
import oracle_jacobian
from contract import contracts
from mpmath import mp, mpf

import lapsum
from lapsum._core.call import RULES
from lapsum._general.even_density import EvenDensity

DIGITS = 150
STEP = mpf(10) ** -40


class LaplaceLikeAny(EvenDensity):
    """The Laplace density, which has an oracle of its own for lanes of any kind."""

    decay = 1.0

    def tail(self, t):
        return 0.5 * np.exp(-t)

    def logtail(self, t):
        return -t - math.log(2.0)

    def even_pdf(self, t):
        return 0.5 * np.exp(-t)

    def logpdf(self, t):
        return -t - math.log(2.0)

    def hazard(self, t):
        return np.ones_like(t)

    def centre(self, t):
        return -0.5 * np.expm1(-t)

    def distance(self, q):
        return -np.log(2.0 * q)

    def log_tail_ratio(self, t, step):
        return 0.0 * t - step

    def log_pdf_ratio(self, t, step):
        return 0.0 * t - step


def _arctan_tail(t):
    return mp.atan2(1, t) / mp.pi


def _student3_tail(t):
    z = t / mp.sqrt(3)
    return (mp.atan2(1, z) - z / (1 + z * z)) / mp.pi


# The tail F(-t) and the density, for t >= 0, and how much F(-t) feels a relative error of t.
EXACT = {
    "logistic": (
        lambda t: 1 / (1 + mp.exp(t)),
        lambda t: 1 / (2 + mp.exp(t) + mp.exp(-t)),
        lambda t: 1 + t,
    ),
    "normal": (lambda t: mp.erfc(t / mp.sqrt(2)) / 2, mp.npdf, lambda t: 1 + t * t),
    "cauchy": (_arctan_tail, lambda t: 1 / (mp.pi * (1 + t * t)), lambda t: mpf(2)),
    "student3": (
        _student3_tail,
        lambda t: 2 / (mp.pi * mp.sqrt(3) * (1 + t * t / 3) ** 2),
        lambda t: mpf(4),
    ),
}
DENSITIES = {name: name for name in EXACT} | {"student3": lapsum.StudentT(3)}


@lru_cache(maxsize=2**15)  # differences move one argument at a time, and backends share them all
def _cdf(name, t, precision):
    tail = EXACT[name][0]
    return 1 - tail(t) if t > 0 else tail(-t)


_starts = {}  # a root by what it belongs to in floats, for lanes that differ by less


class Lane:
    """The sources of one lane, and thresholds among them."""

    def __init__(self, name, x, alpha, weights=None):
        self.name, (_, self.pdf, self.cond) = name, EXACT[name]
        self.x = oracle._flat(x)
        (self.alpha,) = oracle._flat(alpha)
        self.c = [mpf(1)] * len(self.x) if weights is None else oracle._flat(weights)

    def cdf(self, b, v):
        return _cdf(self.name, (b - v) / self.alpha, mp.prec)

    def sum(self, b):
        return mp.fsum(c * self.cdf(b, v) for c, v in zip(self.c, self.x, strict=True))

    def slope(self, b):
        return mp.fsum(
            c * self.pdf(abs(b - v) / self.alpha) / self.alpha
            for c, v in zip(self.c, self.x, strict=True)
        )

    def _start(self, level):
        """Within 1e-6 alpha of the root."""
        reach = self.alpha
        while self.sum(min(self.x) - reach) > level or self.sum(max(self.x) + reach) < level:
            reach *= 4
        low, high = min(self.x) - reach, max(self.x) + reach
        while high - low > mpf(10) ** -6 * self.alpha:
            middle = (low + high) / 2
            low, high = (low, middle) if self.sum(middle) > level else (middle, high)
        return (low + high) / 2

    def solve(self, level):
        floats = (tuple(map(float, numbers)) for numbers in (self.x, self.c, (self.alpha, level)))
        key = (self.name, *floats)
        b = _starts.get(key)
        b = self._start(level) if b is None else b
        for _ in range(12):
            step = (self.sum(b) - level) / self.slope(b)
            b -= step
            if abs(step) < mpf(10) ** (20 - mp.dps) * self.alpha:
                break
        _starts[key] = b
        return b

    def distances(self, b):
        return [abs(b - v) / self.alpha for v in self.x]


def _signed(x, negate):
    return [-v if negate else v for v in oracle._flat(x)]


def soft_rank(name, x, alpha, weights=None, descending=False):
    lane = Lane(name, _signed(x, descending), alpha, weights)
    return [mpf(1) / 2 + lane.sum(v) for v in lane.x]


def soft_sort(name, x, alpha, descending=False):
    lane = Lane(name, x, alpha)
    y = [lane.solve(i + mpf(1) / 2) for i in range(len(lane.x))]
    return y[::-1] if descending else y


def soft_topk(name, x, k, alpha, weights=None, largest=True):
    lane = Lane(name, _signed(x, largest), alpha, weights)
    b = lane.solve(oracle._flat(k)[0])
    return [lane.cdf(b, v) for v in lane.x]


def log_soft_topk(name, *args, **kwargs):
    return [mp.log(p) for p in soft_topk(name, *args, **kwargs)]


def soft_quantile(name, x, q, alpha, weights=None):
    lane = Lane(name, x, alpha, weights)
    return [lane.solve(level * mp.fsum(lane.c)) for level in oracle._flat(q)]


def soft_permutation(name, x, alpha, descending=False):
    lane = Lane(name, x, alpha)
    n = len(lane.x)
    inner = [[lane.cdf(lane.solve(mpf(i)), v) for v in lane.x] for i in range(1, n)]
    rows = [[mpf(0)] * n, *inner, [mpf(1)] * n]
    out = [[b - a for a, b in zip(p, q, strict=True)] for p, q in itertools.pairwise(rows)]
    return out[::-1] if descending else out


def soft_permute(name, x, values, alpha, descending=False, transpose=False):
    matrix = soft_permutation(name, x, alpha, descending)
    matrix = oracle._transposed(matrix) if transpose else matrix
    return oracle._product(matrix, oracle._flat(values))


def cdf_sum(name, x, r, alpha, weights=None):
    lane = Lane(name, r, alpha, weights)
    return [lane.sum(v) for v in oracle._flat(x)]


def cdf_sum_inv(name, w, r, alpha, weights=None):
    lane = Lane(name, r, alpha, weights)
    return [lane.solve(v) for v in oracle._flat(w)]


def exact(name, operator):
    """The reference of an operator, as a contract takes it."""

    def value(*, density=None, digits=None, **arguments):
        with mp.workdps(DIGITS):
            return globals()[operator](name, **arguments)

    return value


def jacobian(name, operator, parameters):
    """The dense Jacobians, by central differences in many digits."""

    def matrices(*, density=None, **arguments):
        out = {}
        with mp.workdps(DIGITS):
            for parameter in [p for p in parameters if p in arguments]:
                at = oracle._flat(arguments[parameter])
                columns = []
                for i in range(len(at)):
                    ends = []
                    for sign in (1, -1):
                        moved = [v + sign * STEP if i == j else v for j, v in enumerate(at)]
                        given = moved if np.ndim(arguments[parameter]) else moved[0]
                        call = {**arguments, parameter: given}
                        ends.append(oracle._flat(globals()[operator](name, **call)))
                    columns.append([(a - b) / (2 * STEP) for a, b in zip(*ends, strict=True)])
                out[parameter] = oracle._transposed(columns)
        return out

    return matrices


def bound(name, operator):
    """How far off each output may be, over eps."""

    def scales(exact, /, density=None, **arguments):
        cond = EXACT[name][2]
        with mp.workdps(DIGITS):
            alpha = mpf(float(arguments["alpha"]))
            if operator == "soft_rank":
                return [64 * abs(y) for y in exact]
            sources = arguments.get("r", arguments.get("x"))
            lane = Lane(name, sources, alpha, arguments.get("weights"))
            if operator in ("soft_topk", "log_soft_topk"):
                lane = Lane(name, _signed(sources, arguments.get("largest", True)), alpha)
                lane.c = oracle._weights(arguments.get("weights"), len(lane.x))
                t = lane.distances(lane.solve(mpf(float(arguments["k"]))))
                scale = [8 * cond(d) for d in t]
                if operator == "soft_topk":
                    return [s * abs(y) for s, y in zip(scale, exact, strict=True)]
                # That of p, and one rounding of its logarithm.
                return [s + 8 * abs(y) for s, y in zip(scale, exact, strict=True)]
            if operator == "cdf_sum":
                targets = oracle._flat(arguments["x"])
                return [
                    16 * abs(y) * cond(min(lane.distances(b)))
                    for y, b in zip(exact, targets, strict=True)
                ]
            if operator in ("soft_sort", "soft_quantile", "cdf_sum_inv"):
                return [16 * (abs(y) + alpha) * cond(min(lane.distances(y))) for y in exact]
            return _matrix_scales(name, lane, arguments, operator)

    return scales


def _matrix_scales(name, lane, arguments, operator):
    n = len(lane.x)
    cond, alpha = lane.cond, lane.alpha
    P = soft_permutation(name, lane.x, alpha)
    b = [lane.solve(mpf(i)) for i in range(1, n)]
    ends = [*b[:1], *b, *b[-1:]] or [lane.x[0]] * 2
    width = [mp.inf, *((q - p) / alpha for p, q in itertools.pairwise(b)), mp.inf][:n]
    width = [mp.inf] if n == 1 else width
    scale = [
        [
            16 * P[i][j] * (1 + 1 / width[i])
            * min(cond(abs(c - lane.x[j]) / alpha) for c in ends[i : i + 2])
            for j in range(n)
        ]
        for i in range(n)
    ]  # fmt: skip
    scale = scale[::-1] if arguments.get("descending") else scale
    if operator == "soft_permutation":
        return oracle._flat(scale)
    scale = oracle._transposed(scale) if arguments.get("transpose") else scale
    return oracle._product(scale, [abs(v) for v in oracle._flat(arguments["values"])])


def with_density(contract, name):
    """The contract of an operator for a density of this name."""
    operator = contract.name.replace("lap_sum", "cdf_sum")
    func = getattr(lapsum, operator)
    if name == "laplace":
        density, changes = LaplaceLikeAny(), {}
        for field in ("exact", "bound", "jacobian"):
            changes[field] = _without_density(_of_laplace(contract, field))
    else:
        density = DENSITIES[name]
        parameters = ("x", "w", "r", "k", "q", "values", "alpha", "weights")
        changes = {
            "exact": exact(name, operator),
            "bound": bound(name, operator),
            "jacobian": jacobian(name, operator, parameters),
        }
    options = tuple({**variant, "density": density} for variant in contract.options)
    return replace(contract, func=func, options=options, **changes)


def _of_laplace(contract, field):
    if getattr(contract, field) is not None:
        return getattr(contract, field)
    if field == "exact":
        return getattr(oracle, contract.name)
    return lambda **arguments: oracle_jacobian.jacobian(contract.name, **arguments)


def _without_density(function):
    return lambda *args, density=None, **arguments: function(*args, **arguments)


def general_contracts(name):
    """The contracts of all operators that take `density`."""
    names = [c for c in contracts() if c.name not in ("cdf_sum", "cdf_sum_inv")]
    found = []
    for contract in names:
        general = getattr(lapsum, contract.name.replace("lap_sum", "cdf_sum"))
        if getattr(RULES[general], "general", None) is not None:
            found.append(with_density(contract, name))
    return found
