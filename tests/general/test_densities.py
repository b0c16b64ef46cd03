"""Operators with any even density: theorems, limits, what is accepted, and long lanes."""

import inspect
import math
import pickle

import numpy as np
import pytest
from any_density import DENSITIES
from mpmath import mp
from scipy import stats
from scipy.special import expit, ndtr

import lapsum
from lapsum._general import long_products, solving, tables, thresholds, topk

every_density = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES.keys())
SCALES = [1e-3, 0.3, 1.0, 50.0]


@every_density
@pytest.mark.parametrize("alpha", SCALES)
def test_ranks_keep_their_sum_and_their_range(density, alpha, rng):
    # Theorem 3.2.
    x = rng.normal(size=60)
    y = lapsum.soft_rank(x, alpha, density=density)
    np.testing.assert_allclose(y.sum(), 60 * 61 / 2, rtol=1e-14)
    assert ((y >= 1.0) & (y <= 60.0)).all()
    assert (np.diff(y[np.argsort(x)]) >= 0.0).all()


@every_density
@pytest.mark.parametrize("alpha", SCALES)
def test_a_selection_adds_up_to_k(density, alpha, rng):
    # Theorem 3.3.
    x, c = rng.normal(size=40), rng.uniform(0.1, 2.0, 40)
    for k in (0.01, 1.0, 17.3, 39.9):
        p = lapsum.soft_topk(x, k, alpha, density=density)
        assert ((p >= 0.0) & (p <= 1.0)).all()
        assert (np.diff(p[np.argsort(x)]) >= 0.0).all()
        np.testing.assert_allclose(p.sum(), k, rtol=1e-13)
        p = lapsum.soft_topk(x, k * c.sum() / 40.0, alpha, weights=c, density=density)
        np.testing.assert_allclose((c * p).sum(), k * c.sum() / 40.0, rtol=1e-13)


@every_density
@pytest.mark.parametrize("alpha", SCALES)
def test_permutations_are_doubly_stochastic(density, alpha, rng):
    # Theorem 3.6.
    x = rng.normal(size=30)
    P = lapsum.soft_permutation(x, alpha, density=density)
    assert P.min() >= 0.0
    np.testing.assert_allclose(P.sum(axis=0), 1.0, rtol=1e-13)
    np.testing.assert_allclose(P.sum(axis=1), 1.0, rtol=1e-13)
    v = rng.normal(size=30)
    np.testing.assert_allclose(lapsum.soft_permute(x, v, alpha, density=density), P @ v, atol=1e-14)
    back = lapsum.soft_permute(x, v, alpha, density=density, transpose=True)
    np.testing.assert_allclose(back, P.T @ v, atol=1e-14)


@pytest.mark.parametrize("density", ["logistic", "normal"])
def test_the_hard_limit(density, rng):
    x = rng.integers(0, 5, 40) * 1.0
    ranks = lapsum.soft_rank(x, 1e-9, density=density)
    np.testing.assert_array_equal(ranks, stats.rankdata(x, "average"))
    x, q = rng.normal(size=20), np.linspace(0.05, 0.95, 19)
    expected = np.quantile(x, q, method="averaged_inverted_cdf")
    found = lapsum.soft_quantile(x, q, 1e-12, density=density)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(lapsum.soft_sort(x, 1e-12, density=density), np.sort(x), atol=1e-11)
    p = lapsum.soft_topk(x, 5, 1e-9, density=density)
    np.testing.assert_array_equal(p, x >= np.sort(x)[15])


@every_density
def test_the_inverse_undoes_the_sum(density, rng):
    r, c = rng.normal(size=30), rng.uniform(0.1, 1.0, 30)
    x = rng.normal(size=9)
    w = lapsum.cdf_sum(x, r, 0.4, weights=c, density=density)
    np.testing.assert_allclose(
        lapsum.cdf_sum_inv(w, r, 0.4, weights=c, density=density), x, rtol=1e-12, atol=1e-12
    )


@every_density
@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-9, 1e9, 1e300, 1.7e308])
def test_any_scale_ends_without_nan(density, alpha, rng):
    x = np.array([0.3, -1.2, 0.3, 5.0, 1e-310, 1e300, -1e300])
    for func, more in [
        (lapsum.soft_rank, ()),
        (lapsum.soft_sort, ()),
        (lapsum.soft_topk, (2.5,)),
        (lapsum.soft_topk, (3,)),
        (lapsum.soft_quantile, ([0.1, 0.5],)),
        (lapsum.soft_permutation, ()),
    ]:
        lin = lapsum.linearize(func, x, *more, alpha, density=density)
        assert not np.isnan(lin.value).any()
        assert not np.isnan(lin.vjp(np.ones(lin.value.shape))[0]).any()


# ------------------------------------------------------------------------------ what is accepted


@pytest.mark.parametrize(
    ("frozen", "named"),
    [
        (stats.logistic(), "logistic"),
        (stats.norm(), "normal"),
        (stats.cauchy(), "cauchy"),
        (stats.t(3), lapsum.StudentT(3)),
        (lapsum.Density(expit, lambda t: expit(t) * expit(-t)), "logistic"),
        (
            lapsum.Density(ndtr, lambda t: np.exp(-t * t / 2) / np.sqrt(2 * np.pi), strip=np.inf),
            "normal",
        ),
    ],
    ids=["logistic", "norm", "cauchy", "t", "cdf and pdf", "with strip"],
)
def test_densities_of_one_s_own(frozen, named, rng):
    x, bar = rng.normal(size=(2, 12))
    for func, more in [
        (lapsum.soft_rank, ()),
        (lapsum.soft_sort, ()),
        (lapsum.soft_topk, (3.5,)),
        (lapsum.log_soft_topk, (3.5,)),
        (lapsum.soft_permute, (x,)),
    ]:
        one = lapsum.linearize(func, x, *more, 0.3, density=frozen)
        other = lapsum.linearize(func, x, *more, 0.3, density=named)
        np.testing.assert_allclose(one.value, other.value, rtol=1e-12)
        for a, b in zip(one.vjp(bar), other.vjp(bar), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_student_s_density_with_one_degree_is_cauchy_s(rng):
    x = rng.normal(size=20)
    for func, more in [(lapsum.soft_rank, ()), (lapsum.soft_topk, (3,)), (lapsum.soft_sort, ())]:
        one = func(x, *more, 0.3, density=lapsum.StudentT(1))
        np.testing.assert_allclose(one, func(x, *more, 0.3, density="cauchy"), rtol=1e-13)


@pytest.mark.parametrize(
    ("density", "error", "says"),
    [
        ("gauss", ValueError, "^`density` must be 'laplace', 'logistic', .* got 'gauss'$"),
        (3, TypeError, "^`density` must be a name or have methods cdf and pdf, got int$"),
        (None, TypeError, "^`density` must be a name"),
        (stats.norm(1.0), ValueError, "^`density` must be symmetric about zero$"),
        (stats.gumbel_r(), ValueError, "^`density` must be symmetric about zero$"),
        (stats.uniform(-1, 2), ValueError, "^`density` must have a strictly increasing cdf$"),
    ],
    ids=["name", "number", "None", "shifted", "skew", "bounded"],
)
def test_what_is_no_density(density, error, says):
    with pytest.raises(error, match=says):
        lapsum.soft_rank([1.0, 2.0], 1.0, density=density)
    with pytest.raises(error, match=says):
        lapsum.linearize(lapsum.soft_topk, [1.0, 2.0], 1, 1.0, density=density)


def test_the_constructors_refuse_what_is_no_density():
    with pytest.raises(ValueError, match="^`df` must be positive and finite, got -1$"):
        lapsum.StudentT(-1)
    with pytest.raises(TypeError, match="^`df` must be a number, got list$"):
        lapsum.StudentT([3.0])
    with pytest.raises(TypeError, match="^`pdf` must be callable, got int$"):
        lapsum.Density(ndtr, 1)
    with pytest.raises(ValueError, match="^`density` must have a pdf that is the derivative"):
        lapsum.Density(ndtr, lambda t: np.exp(-t * t))
    with pytest.raises(ValueError, match="^`strip` must be positive, got 0$"):
        lapsum.Density(expit, lambda t: expit(t) * expit(-t), strip=0)


def test_the_laplace_sum_takes_none():
    with pytest.raises(TypeError, match="unexpected keyword argument 'density'"):
        lapsum.linearize(lapsum.lap_sum, [1.0], [2.0], 1.0, density="logistic")


@every_density
@pytest.mark.parametrize("weighted", [False, True])
def test_a_trimmed_mean_is_made_of_two_selections(density, weighted, rng):
    x, c = rng.normal(size=12) + 1e6, rng.uniform(0.5, 2.0, 12)
    options = {"weights": c} if weighted else {}
    c = c if weighted else np.ones(12)
    lin = lapsum.linearize(lapsum.soft_trimmed_mean, x, 0.2, 0.7, 0.3, density=density, **options)
    ends = [
        lapsum.soft_topk(x, q * c.sum(), 0.3, largest=False, density=density, **options)
        for q in (0.2, 0.7)
    ]
    share = c * (ends[1] - ends[0])
    expected = 1e6 + (share * (x - 1e6)).sum() / (0.5 * c.sum())
    np.testing.assert_allclose(lin.value, expected, rtol=1e-15)
    step = 1e-3

    def at(i, by):
        moved = x.copy()
        moved[i] += by
        call = lapsum.soft_trimmed_mean(moved, 0.2, 0.7, 0.3, density=density, **options)
        return call - 1e6

    slopes = [
        (8.0 * (at(i, step) - at(i, -step)) - (at(i, 2 * step) - at(i, -2 * step))) / (12.0 * step)
        for i in range(12)
    ]
    np.testing.assert_allclose(lin.vjp(1.0)[0], slopes, atol=1e-6)


def test_laplace_by_name_is_the_default(rng):
    x, r = rng.normal(size=(2, 30))
    for func, more in [(lapsum.soft_rank, ()), (lapsum.soft_topk, (3.5,)), (lapsum.soft_sort, ())]:
        one = lapsum.linearize(func, x, *more, 0.3, density="laplace")
        other = lapsum.linearize(func, x, *more, 0.3)
        assert type(one._rule) is type(other._rule)
        np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(lapsum.cdf_sum(x, r, 0.3), lapsum.lap_sum(x, r, 0.3))
    w = [0.5, 7.0]
    np.testing.assert_array_equal(lapsum.cdf_sum_inv(w, r, 0.3), lapsum.lap_sum_inv(w, r, 0.3))


# ------------------------------------------------------------------------------------ long lanes


@every_density
@pytest.mark.parametrize("alpha", [1e-4, 0.02, 1.0, 100.0])
def test_the_tree_agrees_with_direct_sums(density, alpha, rng, monkeypatch):
    n = 1300
    parts = rng.normal(size=n - 500), 1e-6 * rng.normal(size=400), rng.normal(size=100) ** 5
    x = np.concatenate(parts)
    x[3] = x[4]
    weights, bar = rng.uniform(0.0, 2.0, n) * (rng.uniform(size=n) > 0.1), rng.normal(size=n)
    for c in (None, weights):
        found = []
        for long in (1000, 10**9):
            monkeypatch.setattr(tables, "LONG", long)
            if long > n:
                monkeypatch.setattr(tables, "table_of", lambda density, kind: None)
            lin = lapsum.linearize(lapsum.soft_rank, x, alpha, weights=c, density=density)
            dots = (bar, 1.0, *([] if c is None else [bar]))
            found.append((lin.value, *lin.vjp(bar), lin.jvp(*dots)))
            monkeypatch.undo()
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=64 * 2.0**-52)
        for a, b in zip(found[0][1:], found[1][1:], strict=True):
            # Cotangents of alpha are sums of n numbers, of both signs.
            scale = max(np.abs(b).max(), 1e-3) * (1.0 if np.ndim(b) else 30.0)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("n", [9, 3000, 200_000])
@pytest.mark.parametrize("largest", [True, False])
def test_passes_over_the_entries_agree_with_sorting(n, largest, rng, monkeypatch):
    x, bar, dot = rng.normal(size=(3, n))
    for alpha, k in ((1.0, n / 3.0), (0.05, 2.5), (0.2, n - 1)):
        for func in (lapsum.soft_topk, lapsum.log_soft_topk):
            found = []
            for without in (False, True):
                if without:
                    for rule in (topk.GeneralTopk, topk.GeneralLogTopk):
                        monkeypatch.setattr(rule, "operator", None)
                lin = lapsum.linearize(func, x, k, alpha, largest=largest, density="logistic")
                assert without or lin._rule.short.left is None
                found.append((lin.value, *lin.vjp(bar), lin.jvp(dot, 0.7, 1.3)))
                monkeypatch.undo()
            for a, b in zip(*found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12 * np.abs(b).max())


def test_the_lanes_of_a_batch_do_not_know_of_each_other(rng):
    x = rng.normal(size=(6, 40))
    x[1, 3], x[2, 5], x[4] = np.nan, np.inf, np.round(x[4]) * 1e6
    for func, more in [(lapsum.soft_rank, ()), (lapsum.soft_topk, (3,)), (lapsum.soft_sort, ())]:
        lin = lapsum.linearize(func, x, *more, 0.1, density="logistic")
        (x_bar, *_) = lin.vjp(np.ones(x.shape))
        for i, lane in enumerate(x):
            one = lapsum.linearize(func, lane, *more, 0.1, density="logistic")
            np.testing.assert_array_equal(lin.value[i], one.value)
            np.testing.assert_array_equal(x_bar[i], one.vjp(np.ones(40))[0])


@pytest.mark.parametrize("workers", [2, -1])
def test_the_number_of_threads_changes_no_bit(workers, rng):
    x = rng.normal(size=(4, 20_000))
    for func, more in [(lapsum.soft_rank, ()), (lapsum.soft_topk, (30,))]:
        expected = func(x, *more, 0.1, density="logistic")
        found = func(x, *more, 0.1, density="logistic", workers=workers)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("density", ["logistic", "cauchy"])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0])
def test_sorting_together_agrees_with_one_by_one(density, alpha, rng, monkeypatch):
    n = 300
    x, bar = rng.normal(size=(2, n))
    found = []
    for many in (10**9, 1000):
        for module in (solving, thresholds):
            monkeypatch.setattr(module, "MANY", many)
        monkeypatch.setattr(tables, "LONG", 1)
        lin = lapsum.linearize(lapsum.soft_sort, x, alpha, density=density)
        found.append((lin.value, *lin.vjp(bar), lin.jvp(bar, 1.0)))
    one, together = found
    np.testing.assert_allclose(together[0], one[0], rtol=4e-15, atol=4e-14 * (0.1 + alpha))
    for a, b in zip(together[1:], one[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(np.abs(b).max(), 1.0))


@pytest.mark.parametrize("density", ["logistic", "cauchy"])
def test_sums_at_many_targets_agree_with_direct_ones(density, rng, monkeypatch):
    r, x = rng.normal(size=1500), np.append(rng.normal(size=700), [np.inf, -np.inf, np.nan])
    r[3], bar = -np.inf, rng.normal(size=x.size)
    found = []
    for many in (10**9, 1000):
        monkeypatch.setattr(thresholds, "MANY", many)
        lin = lapsum.linearize(lapsum.cdf_sum, x, r, 0.1, density=density)
        found.append(
            (lin.value, *lin.vjp(bar), lin.jvp(np.ones(x.shape), np.full(r.shape, 2.0), 0.5))
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.nanmax(np.abs(b)))


@pytest.mark.parametrize("density", ["logistic", "normal", "cauchy"])
@pytest.mark.parametrize("transpose", [False, True])
def test_long_products_agree_with_direct_ones(density, transpose, rng, monkeypatch):
    n = 300
    x, v, bar, dot = rng.normal(size=(4, n))
    v += 5.0
    found = []
    for many in (10**9, 1000):
        for module in (solving, thresholds, long_products):
            monkeypatch.setattr(module, "MANY", many)
        monkeypatch.setattr(tables, "LONG", 1)
        lin = lapsum.linearize(
            lapsum.soft_permute, x + 1e3, v, 0.1, density=density, transpose=transpose
        )
        found.append((lin.value, *lin.vjp(bar), lin.jvp(dot, bar, 0.7)))
    direct, long = found
    # A row of the permutation is alpha over the distance of its thresholds less exact than F.
    np.testing.assert_allclose(long[0], direct[0], rtol=64 * 2.0**-52 * (1 + 0.4 * n * 0.1))
    for a, b in zip(long[1:], direct[1:], strict=True):
        # Cotangents of alpha are sums of n numbers, of both signs.
        scale = np.abs(b).max() * (1.0 if np.ndim(b) else 30.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * scale)


def test_long_products_of_many_values_lose_nothing(rng):
    n = 20_000
    x = rng.normal(size=n)
    P, rtol = lapsum.SoftPermutation(x, 0.05, density="logistic"), 64 * 2.0**-52 * 0.4 * n * 0.05
    np.testing.assert_allclose(P @ np.ones(n), np.ones(n), rtol=rtol)
    np.testing.assert_allclose(P.T @ np.ones(n), np.ones(n), rtol=rtol)
    v = np.exp(x)
    ordered = P @ v
    np.testing.assert_allclose(ordered.sum(), v.sum(), rtol=1e-12)
    assert np.abs(ordered[1000:-1000] - np.sort(v)[1000:-1000]).max() < 0.05


@every_density
def test_the_linear_operator_is_the_matrix(density, rng):
    x, v = rng.normal(size=(2, 20))
    for descending in (False, True):
        P = lapsum.SoftPermutation(x, 0.3, descending=descending, density=density)
        matrix = lapsum.soft_permutation(x, 0.3, descending=descending, density=density)
        np.testing.assert_array_equal(P.toarray(), matrix)
        np.testing.assert_allclose(P @ v, matrix @ v, atol=1e-14)
        np.testing.assert_allclose(P.T @ v, matrix.T @ v, atol=1e-14)
    x[3] = np.nan
    assert np.isnan(lapsum.SoftPermutation(x, 0.3, density=density) @ v).all()


@pytest.mark.parametrize("density", ["logistic", "cauchy"])
def test_weights_of_many_targets_agree_with_direct_sums(density, rng, monkeypatch):
    r, x, c = rng.normal(size=1500), rng.normal(size=700), rng.uniform(0.5, 1.0, 1500)
    bar, dot = rng.normal(size=x.size), rng.normal(size=r.size)
    w = rng.uniform(0.0, 1.0, 700) * c.sum()
    found = []
    for many in (10**9, 1000):
        for module in (solving, thresholds):
            monkeypatch.setattr(module, "MANY", many)
        one = lapsum.linearize(lapsum.cdf_sum, x, r, 0.1, weights=c, density=density)
        other = lapsum.linearize(lapsum.cdf_sum_inv, w, r, 0.1, weights=c, density=density)
        found.append(
            [lin.vjp(bar, wrt=("weights",))[3] for lin in (one, other)]
            + [lin.jvp(None, None, None, dot) for lin in (one, other)]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12 * np.abs(b).max())


@every_density
@pytest.mark.parametrize("offset", [1e3, 2.0**27])
def test_a_common_offset_costs_long_ranks_no_digit(density, offset, rng):
    x = np.round(rng.normal(size=1500) * 2.0**20) / 2.0**20
    found = lapsum.soft_rank(x + offset, 0.1, density=density)
    np.testing.assert_array_equal(found, lapsum.soft_rank(x, 0.1, density=density))


@pytest.mark.parametrize("held", [np.inf, -np.inf])
@pytest.mark.parametrize("direction", [True, False])
def test_absent_infinite_entries_are_as_with_laplace(held, direction):
    x, weights = [0.3, -1.0, 0.7, held], [1.0, 1.0, 1.0, 0.0]
    calls = [(lapsum.soft_rank, (), {"descending": direction})]
    for k in (0, 0.5, 1.5, 3):
        calls += [
            (f, (k,), {"largest": direction}) for f in (lapsum.soft_topk, lapsum.log_soft_topk)
        ]
    for func, level, order in calls:
        found, expected = (
            func(x, *level, 0.25, weights=weights, density=density, **order)[3]
            for density in ("logistic", "laplace")
        )
        assert found == expected


@pytest.mark.parametrize("n", [7, 260])
@pytest.mark.parametrize("density", ["logistic", "normal", "cauchy", lapsum.StudentT(3.0)], ids=str)
def test_linearizations_can_be_pickled(density, n, rng):
    x = rng.normal(size=(2, n))
    levels = {"soft_topk": (2.5,), "log_soft_topk": (2.5,), "soft_quantile": ([0.2, 0.7],)}
    levels |= {"soft_permute": (x[::-1],), "soft_trimmed_mean": (0.1, 0.8)}
    levels |= {"cdf_sum": (x[:, ::-1],), "cdf_sum_inv": (x,)}
    for name in lapsum.__all__:
        func = getattr(lapsum, name)
        if isinstance(func, type) or "density" not in inspect.signature(func).parameters:
            continue
        args = np.abs(x) if name == "cdf_sum_inv" else x, *levels.get(name, ())
        lin = lapsum.linearize(func, *args, 0.3, density=density)
        again = pickle.loads(pickle.dumps(lin))
        np.testing.assert_array_equal(again.value, lin.value)
        bar = rng.normal(size=lin.value.shape)
        for one, other in zip(lin.vjp(bar), again.vjp(bar), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("alpha", [1e-2, 1e-3, 1e-4])
def test_passes_reach_a_threshold_many_alpha_from_that_of_a_sample(alpha, rng):
    x = rng.normal(size=200_000)
    lin = lapsum.linearize(lapsum.soft_topk, x, 300.5, alpha, density="logistic")
    assert lin._rule.short.left is None
    assert lin.value.sum() == pytest.approx(300.5, rel=1e-13)


@pytest.mark.parametrize("df", [60.0, 300.0, 401.0, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("t", [40.0, 150.0, 1e4, 1e12])
def test_logarithms_of_student_s_tails_beyond_underflow(df, t):
    # Of two entries, the threshold at k = 1 lies in the middle.
    found = lapsum.log_soft_topk([0.0, 2.0 * t], 1, 1.0, density=lapsum.StudentT(df))[0]
    with mp.workdps(30):
        d, t = mp.mpf(df), mp.mpf(t)

        def log_f(t):
            top = mp.loggamma((d + 1) / 2) - mp.loggamma(d / 2) - mp.log(d * mp.pi) / 2
            return top - (d + 1) / 2 * mp.log1p(t * t / d)

        width = (d + t * t) / ((d + 1) * t * t)
        places = [width * part for part in (0, 1, 3, 8, 20, 50, 120)]
        share = mp.quad(lambda v: mp.exp(v + log_f(t * mp.exp(v)) - log_f(t)), places)
        exact = log_f(t) + mp.log(t * share)
        assert abs(found - exact) <= 4 * 2.0**-52 * abs(exact)


@pytest.mark.parametrize("df", [0.1, 0.5, 0.95])
def test_half_of_student_s_mass_far_out_for_few_degrees(df):
    # F(t) - 1/2 keeps its digits where the tail falls by less than 1/t.
    for t in (0.01, 1.0, 5e5, 1e8, 1e20):
        P = lapsum.soft_permutation([0.0, 2.0 * t], 1.0, density=lapsum.StudentT(df))
        with mp.workdps(40):
            part = mp.mpf(df) / (df + mp.mpf(t) ** 2)
            tail = mp.betainc(mp.mpf(df) / 2, 0.5, 0, part, regularized=True) / 2
        np.testing.assert_allclose(P, np.array([[1 - tail, tail], [tail, 1 - tail]], float), 1e-12)
        centre = lapsum.StudentT(df).centre(np.array([t]))
        np.testing.assert_allclose(centre, float(mp.mpf(0.5) - tail), 1e-12)


@pytest.mark.parametrize("strip", [None, np.inf])
@pytest.mark.parametrize("n", [9, 260, 1100])
def test_the_scale_of_a_density_of_one_s_own_is_one_of_alpha(strip, n, rng):
    """Searches for thresholds end by steps that are small beside it."""
    x = rng.normal(size=n)
    sums = [
        (lapsum.soft_rank, ()),
        (lapsum.soft_topk, (2.5,)),
        (lapsum.log_soft_topk, (0.01,)),
        (lapsum.soft_quantile, ([0.2, 0.9],)),
    ]
    # Each of n thresholds is a search of its own, by the same loop at every length.
    searches = [(lapsum.soft_sort, ()), (lapsum.soft_permute, (x,))] if n < 1100 else []
    for func, more in sums + searches:
        for alpha in (0.3, 0.7):  # so that no tail underflows
            other = lapsum.linearize(func, x, *more, alpha, density="normal")
            bar = rng.normal(size=other.value.shape)
            b = other.vjp(bar)[0]
            for exponent in (-190, -60, -20, -3, 20, 190):
                scale = 2.0**exponent
                own = lapsum.Density(
                    lambda t, scale=scale: ndtr(t / scale),
                    lambda t, scale=scale: (
                        np.exp(-((t / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
                    ),
                    strip=strip,
                )
                one = lapsum.linearize(func, x, *more, alpha / scale, density=own)
                np.testing.assert_allclose(one.value, other.value, rtol=1e-10, atol=1e-12)
                a = one.vjp(bar)[0]
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize("data", ["normal", "far from zero", "clusters"])
@pytest.mark.parametrize("heavy", [1.0, 1e4])
def test_small_ranks_of_long_lanes_keep_their_digits(data, heavy, rng):
    # Whatever heavy points far to the right add to them by their tails.
    n, alpha = 20_000, 0.1
    x = rng.normal(size=n)
    if data == "far from zero":
        x += 1e6
    elif data == "clusters":
        x, alpha = rng.integers(0, 5, n) + 1e-3 * x, 0.01
    weights = np.where(rng.uniform(size=n) < 0.01, heavy, 1.0)
    ranks = lapsum.soft_rank(x, alpha, weights=weights, density="logistic")
    for i in (*np.argsort(x)[:20], *rng.integers(0, n, 20)):
        exact = 0.5 + math.fsum(weights * expit((x[i] - x) / alpha))
        assert abs(ranks[i] - exact) <= 40 * 2.0**-52 * exact


def test_weights_of_any_scale_cost_no_more(rng):
    # With pairs of boxes that are never far enough from each other this would take minutes.
    n = 100_000
    x, weights = np.sort(rng.normal(size=n)), np.exp(np.linspace(-300.0, 300.0, n))
    for density in ("logistic", "cauchy"):
        ranks = lapsum.soft_rank(x, 1.0, weights=weights, density=density)
        assert np.isfinite(ranks).all()
