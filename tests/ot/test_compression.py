"""Long lanes: nodes in place of points change nothing."""

import numpy as np
import pytest

import lapsum
from lapsum import ot
from lapsum.ot import compression

KINDS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "clustered": lambda rng, n: np.r_[
        0.2 + 1e-4 * rng.normal(size=n // 2), 0.9 + 0.05 * rng.normal(size=n - n // 2)
    ],
    "ties": lambda rng, n: rng.integers(0, 6, n) / 5.0,
    "nearly tied": lambda rng, n: rng.integers(0, 4, n) / 3.0 + 1e-9 * rng.normal(size=n),
    "lognormal": lambda rng, n: np.exp(2.0 * rng.normal(size=n)),
    "gap": lambda rng, n: np.r_[rng.uniform(0, 0.1, n // 2), rng.uniform(0.9, 1.0, n - n // 2)],
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
}


def results(func, x, epsilon, squash, **given):
    lin = lapsum.linearize(func, x, epsilon, squash=squash, **given)
    rng = np.random.default_rng(1)
    bars = lin.vjp(rng.normal(size=lin.value.shape))
    tangent = lin.jvp(*(rng.normal(size=np.shape(bar)) for bar in bars))
    nodes = lin._rule.coupling.solved
    return lin.value, [*bars, tangent], (len(nodes.nodes.at), len(nodes.columns.at))


@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("epsilon", [1.0, 0.05, 3e-3])
@pytest.mark.parametrize("name", ["rank", "sort"])
def test_nodes_stand_for_points(name, kind, epsilon, squash, rng, monkeypatch):
    n = 300
    func, x = getattr(ot, f"sinkhorn_{name}"), KINDS[kind](rng, n)
    if squash is None:
        x = (x - x.min()) / np.ptp(x)
    weights = rng.uniform(0.2, 2.0, n)
    found = results(func, x, epsilon, squash, weights=weights)
    monkeypatch.setattr(compression, "LONG", 10**9)
    exact = results(func, x, epsilon, squash, weights=weights)
    assert found[2] != (n, n) or epsilon < 0.01
    compare(found, exact, weights.sum() if name == "rank" else np.abs(x).max())


def compare(found, exact, scale):
    assert np.abs(found[0] - exact[0]).max() <= 1e-13 * scale
    for got, expected in zip(found[1], exact[1], strict=True):
        assert np.abs(got - expected).max() <= 1e-10 * np.abs(expected).max()


def mean_over_levels(values, ends, to):
    """Return means of values, that a level has up to an end, between the levels of `to`."""
    cuts = np.unique(np.r_[0.0, ends, to])
    middles = 0.5 * (cuts[1:] + cuts[:-1])
    of, out = np.searchsorted(ends, middles), np.searchsorted(to, middles)
    of, out = np.minimum(of, len(values) - 1), np.minimum(out, len(to) - 1)
    mass = np.diff(cuts)
    sums = np.bincount(out, mass * values[of], len(to))
    return sums / np.bincount(out, mass, len(to))


@pytest.mark.parametrize("epsilon", [1e-12, 1e-100])
@pytest.mark.parametrize("m", [7, 20, 150, 301, 650])
@pytest.mark.parametrize("values", [2, 3, 5, 60])
@pytest.mark.parametrize("squash", ["logistic", None])
def test_many_ties_are_shared_by_targets_as_they_lie(squash, values, m, epsilon, rng):
    """Where so few points stand for the entries, the last digit of an edge is worth much."""
    n = 301
    x = np.sort(rng.integers(0, values, n) / values)
    ties, at, counts = np.unique(x, return_inverse=True, return_counts=True)
    of_ties, of_targets = np.cumsum(counts) / n, np.arange(1, m + 1) / m
    options = {"target_weights": np.ones(m), "squash": squash}
    sort = mean_over_levels(ties, of_ties, of_targets)
    got = ot.sinkhorn_sort(x, epsilon, **options)
    np.testing.assert_allclose(got, sort, rtol=0, atol=1e-12)
    levels = (np.arange(m) + 0.5) / m
    ranks = n * mean_over_levels(levels, of_targets, of_ties)[at] + 0.5
    got = ot.sinkhorn_rank(x, epsilon, **options)
    np.testing.assert_allclose(got, ranks, rtol=1e-12)
    matrix = ot.SinkhornPlan(x, epsilon, **options).toarray()
    np.testing.assert_allclose(matrix.sum(axis=0), 1.0 / m, rtol=1e-11)


@pytest.mark.parametrize("kind", ["normal", "clustered", "lognormal", "cauchy", "nearly tied"])
@pytest.mark.parametrize("m", [7, 260, 420])
@pytest.mark.parametrize("name", ["rank", "sort"])
def test_given_targets_are_compressed_too(name, m, kind, rng, monkeypatch):
    n, epsilon = 300, 0.02
    x, y = KINDS[kind](rng, n), np.sort(KINDS[kind](rng, m))
    given = {
        "weights": rng.uniform(0.2, 2.0, n),
        "targets": (y - y[0]) / (y[-1] - y[0]),
        "target_weights": rng.uniform(0.2, 2.0, m),
    }
    func = getattr(ot, f"sinkhorn_{name}")
    found = results(func, x, epsilon, "logistic", **given)
    monkeypatch.setattr(compression, "LONG", 10**9)
    exact = results(func, x, epsilon, "logistic", **given)
    assert exact[2] == (max(n, m), min(n, m))
    assert found[2] < exact[2]
    compare(found, exact, given["weights"].sum() if name == "rank" else np.abs(x).max())


def test_long_lanes_are_what_each_gives_alone(rng):
    x = np.stack([KINDS[kind](rng, 250) for kind in KINDS])
    for func in (ot.sinkhorn_rank, ot.sinkhorn_sort):
        together = lapsum.linearize(func, x, 0.02)
        bar = rng.normal(size=x.shape)
        (bars,) = together.vjp(bar, wrt="x")[:1]
        for i, lane in enumerate(x):
            alone = lapsum.linearize(func, lane, 0.02)
            np.testing.assert_array_equal(together.value[i], alone.value)
            np.testing.assert_array_equal(bars[i], alone.vjp(bar[i])[0])
        np.testing.assert_array_equal(func(x, 0.02, workers=2), together.value)


def test_values_of_targets_in_long_lanes(rng, monkeypatch):
    x, v = rng.normal(size=300), rng.normal(size=300)
    lin = lapsum.linearize(ot.sinkhorn_permute, x, v, 0.05, transpose=True)
    bars = lin.vjp(v)
    monkeypatch.setattr(compression, "LONG", 10**9)
    exact = lapsum.linearize(ot.sinkhorn_permute, x, v, 0.05, transpose=True)
    np.testing.assert_allclose(lin.value, exact.value, rtol=0, atol=1e-13)
    for got, expected in zip(bars, exact.vjp(v), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("epsilon", [0.1, 1e-3])
def test_a_hundred_thousand_entries(epsilon, rng):
    n = 10**5
    x = rng.normal(size=n)
    lin = lapsum.linearize(ot.sinkhorn_rank, x, epsilon)
    assert lin.value.sum() == pytest.approx(n * (n + 1) / 2, rel=1e-14)
    order = np.argsort(x)
    assert (np.diff(lin.value[order]) >= -1e-9).all()
    # A common shift, or factor, of x changes nothing.
    x_bar, epsilon_bar = lin.vjp(np.sin(x))
    assert abs(x_bar.sum()) <= 1e-12 * np.abs(x_bar).sum()
    assert abs(x_bar @ x) <= 1e-12 * np.abs(x_bar * x).sum()
    assert np.isfinite(epsilon_bar)


def test_entries_without_weight_in_long_lanes(rng):
    x, weights = rng.normal(size=400), np.ones(400)
    weights[::2] = 0.0
    ranks = ot.sinkhorn_rank(x, 0.05, weights=weights, targets=np.linspace(0.0, 1.0, 50))
    present = ot.sinkhorn_rank(x[1::2], 0.05, targets=np.linspace(0.0, 1.0, 50))
    np.testing.assert_allclose(ranks[1::2], present, rtol=1e-12)
    assert np.isfinite(ranks).all()
    skewed = rng.uniform(size=400) ** 60
    P = ot.SinkhornPlan(x, 0.05, weights=skewed)
    np.testing.assert_allclose(P @ np.ones(400), P.marginals[0], rtol=1e-13)


@pytest.fixture
def solutions(monkeypatch):
    """Nodes and columns of each solution, and how often it evaluated the plan."""
    from lapsum import _kernels

    solve, seen = _kernels.transport_solve, []

    def watched(*args):
        solve(*args)
        x, _, y = args[:3]
        seen.append((len(x), len(y), int(args[10].max())))

    monkeypatch.setattr(_kernels, "transport_solve", watched)
    return seen


HOSTILE = {
    **KINDS,
    "uniform": lambda rng, n: rng.uniform(size=n),
    "pareto": lambda rng, n: rng.pareto(0.5, n),
    "spread": lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
    "scales": lambda rng, n: 10.0 ** rng.uniform(-12, 0, n),
    "outlier": lambda rng, n: np.r_[rng.normal(size=n - 1), 1e300],
    "constant": lambda rng, n: np.full(n, 0.1),
}


@pytest.mark.parametrize("squash", ["logistic", None])
@pytest.mark.parametrize("kind", list(HOSTILE))
def test_work_is_bounded(kind, squash, rng, solutions):
    """The bounds that the documentation of `sinkhorn_rank` states."""
    n = 1000
    x = HOSTILE[kind](rng, n)
    if squash is None:
        with np.errstate(all="ignore"):
            x = (x - x.min()) / max(np.ptp(x), 1e-300)
    for epsilon in (1e-300, 1e-8, 1e-5, 1e-3, 1e-2, 1.0, 1e300):
        solutions.clear()
        ot.sinkhorn_rank(x, epsilon, squash=squash)
        # Samples of hundreds of scales have no cells of many points.
        most = n if kind == "spread" else min(n, 200.0 + 60.0 / np.sqrt(epsilon))
        assert len(solutions) <= 6
        for nodes, columns, evaluations in solutions:
            assert max(nodes, columns) <= most
            assert evaluations <= 20


def test_many_targets_and_much_entropy(rng):
    n = 30_000
    x, targets = rng.normal(size=n), np.linspace(0.0, 1.0, n)
    ranks = ot.sinkhorn_rank(x, 1.0, targets=targets)
    np.testing.assert_allclose(ranks, ot.sinkhorn_rank(x, 1.0), rtol=1e-13)


def test_a_plan_too_large_says_so(rng, monkeypatch):
    monkeypatch.setattr(compression, "LONG", 10**9)
    n = 20_000
    with pytest.raises(MemoryError, match="more than 1 GiB"):
        ot.sinkhorn_rank(rng.normal(size=n), 1.0)


def test_a_long_plan_is_the_same_operator(rng):
    n = 300
    x, v = rng.normal(size=n), rng.normal(size=n)
    P = ot.SinkhornPlan(x, 0.02)
    matrix = P.toarray()
    np.testing.assert_allclose(matrix @ v, P @ v, rtol=0, atol=1e-15)
    np.testing.assert_allclose(v @ matrix, v @ P, rtol=0, atol=1e-15)
    (a, b), (f, g), (z, y) = P.marginals, P.potentials, P.points
    np.testing.assert_allclose(matrix.sum(axis=0), b, rtol=1e-12)
    exponent = (f[:, None] + g - (z[:, None] - y) ** 2) / 0.02
    np.testing.assert_allclose(a[:, None] * b * np.exp(exponent), matrix, rtol=0, atol=1e-16)
