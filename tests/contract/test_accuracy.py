"""Errors in units of the bounds: small lanes against many digits, and a million entries."""

from dataclasses import replace

import numpy as np
import pytest
from accuracy import REGIMES, WEIGHTS, derivative_error, lanes, value_units
from backends import ON_CPU
from contract import contracts
from mpmath import mp, mpf

import lapsum

N = 10**6
EPS = 2.0**-52
CASES = [
    pytest.param(c, regime, weights, id=" ".join(filter(None, (c.name, regime, weights))))
    for c in contracts()
    for regime in REGIMES
    for weights in WEIGHTS
    if c.weighted or not weights
]


@pytest.mark.parametrize(("contract", "regime", "weights"), CASES)
def test_values_are_within_their_bounds(contract, regime, weights):
    assert value_units(contract, regime, weights, ON_CPU) <= 1


@pytest.mark.parametrize(
    ("contract", "regime", "weights"),
    [
        case
        for case in CASES
        if case.values[1] not in ("1e-300 to 1e300", "up to 1.7e308", "denormal")
    ],
)
def test_derivatives_are_within_1e_12_of_their_scale(contract, regime, weights):
    assert derivative_error(contract, regime, weights) <= 1


def test_k_is_positive_where_a_contract_says_so():
    (topk,) = (c for c in contracts() if c.name == "soft_topk")
    for positive, least in ((), 0.0), (("k",), 1e-300):
        assert min(a["k"] for a in lanes(replace(topk, positive=positive), "ties")) == least


class Grid:
    """The lane x_j = j h for j < n, where the sums are geometric series: exact at any n."""

    def __init__(self, n, h, alpha):
        self.n, self.h, self.alpha = n, mpf(h), mpf(alpha)
        self.z = mp.exp(-self.h / self.alpha)

    def left(self, m):
        """A_m."""
        return -mp.expm1(-(m + 1) * self.h / self.alpha) / -mp.expm1(-self.h / self.alpha)

    def right(self, m):
        """B_m."""
        return self.left(self.n - 1 - m)

    def level(self, m):
        """S at node m."""
        return m + mpf(1) / 2 + (self.right(m) - self.left(m)) / 2

    def solve(self, w):
        """S(b) = w."""
        low, high = 0, self.n
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.level(middle) < w else (low, middle)
        d = mpf(w) - low
        product = self.z * self.left(low - 1) * self.right(low) if 0 < low < self.n else 0
        root = abs(d) + mp.sqrt(d * d + product)
        if d > 0:
            return low * self.h + self.alpha * mp.log(root / self.right(low))
        return (low - 1) * self.h - self.alpha * mp.log(root / self.left(low - 1))


@pytest.fixture(scope="module", params=[1e-6, 0.3, 7.0, 1e4, 1e9])
def grid(request):
    """On a grid the rounding of every decay is the same: a bias, where noise would average out."""
    with mp.workdps(40):
        yield Grid(N, 2.0**-10, request.param)


def grid_entries(rng):
    x = np.arange(N) * 2.0**-10
    order = rng.permutation(N)
    places = np.concatenate([[0, 1, 2, N - 1, N // 2], rng.integers(0, N, 20)])
    return x, order, places


def test_ranks_of_a_million(grid, rng):
    x, order, places = grid_entries(rng)
    up = np.empty(N)
    up[order] = lapsum.soft_rank(x[order], float(grid.alpha))
    down = np.empty(N)
    down[order] = lapsum.soft_rank(x[order], float(grid.alpha), descending=True)
    for m in map(int, places):
        exact = mpf(1) / 2 + grid.level(m)
        assert abs(up[m] - exact) <= 8 * EPS * exact
        exact = N + 1 - exact
        assert abs(down[m] - exact) <= 8 * EPS * exact


def test_thresholds_of_a_million(grid, rng):
    x, order, places = grid_entries(rng)
    alpha = float(grid.alpha)
    y = lapsum.soft_sort(x[order], alpha)
    for m in map(int, places):
        exact = grid.solve(m + 0.5)
        assert abs(y[m] - exact) <= 16 * EPS * (abs(exact) + grid.alpha)
    for k in (1e-3, 1.0, 333333.7, N / 2, N - 0.25):
        b = grid.solve(k)
        for largest in (False, True):
            p = np.empty(N)
            p[order] = lapsum.soft_topk(x[order], k, alpha, largest=largest)
            p = p[::-1] if largest else p  # the grid is its own mirror image
            near = int(min(max(b / grid.h, 0), N - 1))
            for m in {*map(int, places), *range(max(near - 3, 0), min(near + 4, N))}:
                t = (b - m * grid.h) / grid.alpha
                exact = mp.exp(t) / 2 if t <= 0 else 1 - mp.exp(-t) / 2
                assert abs(p[m] - exact) <= 16 * EPS * exact * (1 + abs(t)) + 1e-320


LONG = np.finfo(np.longdouble).eps < 1e-18
needs_long_double = pytest.mark.skipif(not LONG, reason="long double is double here")


@needs_long_double
@pytest.mark.parametrize("alpha", [1e-4, 0.1, 100.0])
def test_sums_and_products_over_a_million(alpha, rng):
    x, g = rng.normal(size=(2, N))
    wide, wide_g, a = x.astype(np.longdouble), g.astype(np.longdouble), np.longdouble(alpha)
    lin = lapsum.linearize(lapsum.soft_rank, x, alpha)
    tangent, (x_bar, _) = lin.jvp(g, None), lin.vjp(g)
    y = lapsum.soft_permute(x, g, alpha)
    for i in rng.integers(0, N, 4):
        t = (wide[i] - wide) / a
        tail = np.exp(-np.abs(t)) / 2
        rank = (np.where(t <= 0, tail, 1 - tail)).sum() + np.longdouble(0.5)
        assert abs(lin.value[i] - rank) <= 8 * EPS * rank
        terms = tail / a * (wide_g[i] - wide_g)
        assert abs(tangent[i] - terms.sum()) <= 1e-12 * np.abs(terms).sum()
        assert abs(x_bar[i] - terms.sum()) <= 1e-12 * np.abs(terms).sum()
    assert abs(y.sum() - wide_g.sum()) <= 1e-13 * np.abs(wide_g).sum()


def test_products_with_a_permutation_of_a_million(rng):
    # Far entries do not matter at this alpha, so a window around a row is enough.
    order = rng.permutation(N)
    x, v = np.arange(N) * 2.0**-10, rng.normal(size=N)
    P = lapsum.SoftPermutation(x[order], 2.0**-8)
    y, back = P @ v[order], np.empty(N)
    back[order] = P.T @ v
    for middle in (0, 300, N // 2, N - 1):
        window = slice(max(middle - 300, 0), min(middle + 300, N))
        dense = lapsum.soft_permutation(x[window], 2.0**-8)
        at = middle - window.start
        assert abs(y[middle] - dense[at] @ v[window]) <= 1e-13
        assert abs(back[middle] - dense[:, at] @ v[window]) <= 1e-13
    ones = np.ones(N)
    np.testing.assert_allclose(P @ ones, ones, rtol=1e-13)
    np.testing.assert_allclose(P.T @ ones, ones, rtol=1e-13)


def test_gradients_of_a_million_keep_their_sums(rng):
    x, g = rng.normal(size=(2, N))
    c = rng.uniform(0, 1, N)
    for func, arguments, total in (
        (lapsum.soft_topk, {"k": N / 3}, 0.0),
        (lapsum.soft_rank, {}, 0.0),
        (lapsum.soft_quantile, {"q": 0.3}, 1.0),
    ):
        lin = lapsum.linearize(func, x=x, alpha=0.1, **arguments)
        bar = g if np.ndim(lin.value) else 1.0
        x_bar = lin.vjp(bar, wrt=("x",))[0]
        assert abs(x_bar.sum() - total) <= 1e-12 * np.abs(x_bar).sum()
        weighted = lapsum.linearize(
            func,
            x=x,
            alpha=0.1,
            weights=c,
            **{**arguments, **({"k": c.sum() / 3} if "k" in arguments else {})},
        )
        x_bar = weighted.vjp(bar, wrt=("x",))[0]
        assert abs(x_bar.sum() - total) <= 1e-12 * np.abs(x_bar).sum()
