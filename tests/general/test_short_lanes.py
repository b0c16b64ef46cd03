"""Kernels for short lanes of other densities, several at once, against the careful twins."""

import numpy as np
import pytest
from any_density import DENSITIES
from mpmath import mp, mpf
from scipy import stats
from scipy.special import ndtr

import lapsum
from lapsum import _kernels
from lapsum._core.call import RULES
from lapsum._general.densities import density_of
from lapsum._general.tables import kernel_of

CALLS = {
    "soft_rank": (lapsum.soft_rank, (), {}),
    "descending ranks": (lapsum.soft_rank, (), {"descending": True}),
    "soft_sort": (lapsum.soft_sort, (), {}),
    "descending": (lapsum.soft_sort, (), {"descending": True}),
    "soft_topk": (lapsum.soft_topk, (2.5,), {}),
    "smallest, whole k": (lapsum.soft_topk, (2,), {"largest": False}),
    "log_soft_topk": (lapsum.log_soft_topk, (1.25,), {}),
    "soft_quantile": (lapsum.soft_quantile, ([0.1, 0.55],), {}),
    "soft_permutation": (lapsum.soft_permutation, (), {}),
    "descending matrices": (lapsum.soft_permutation, (), {"descending": True}),
}
every_density = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES.keys())
# Loops by a formula; those by a table, which says less of far sums, leave more lanes.
WITH_FORMULAS = {name: given for name, given in DENSITIES.items() if density_of(given).formula}


def general_rules():
    functions = lapsum.soft_rank, lapsum.soft_sort, lapsum.soft_topk, lapsum.log_soft_topk
    functions = *functions, lapsum.soft_quantile, lapsum.soft_permutation
    return [RULES[f].general() for f in functions]


def both_ways(monkeypatch, func, *args, **kwargs):
    """The linearization by these kernels, and without them."""
    short = lapsum.linearize(func, *args, **kwargs)
    with monkeypatch.context() as patch:
        for rule in general_rules():
            patch.setattr(rule, "operator", None)
        careful = lapsum.linearize(func, *args, **kwargs)
    assert careful._rule.short is None
    return short, careful


def check(short, careful, alpha, rng):
    bar = rng.normal(size=short.value.shape)
    np.testing.assert_allclose(short.value, careful.value, rtol=1e-12, atol=1e-13 * (1.0 + alpha))
    bars = short.vjp(bar)
    dots = [rng.normal(size=bars[0].shape), *(np.full(v.shape, 0.3) for v in bars[1:])]
    ours, theirs = (*bars, short.jvp(*dots)), (*careful.vjp(bar), careful.jvp(*dots))
    for a, b in zip(ours, theirs, strict=True):
        terms = bars[0] if b is theirs[-2] else b
        # In gaps where tails underflow thresholds move infinitely fast with their levels.
        a, b, terms = (np.clip(each, -1e250, 1e250) for each in (a, b, terms))
        scale = max(np.abs(terms[np.abs(terms) < 1e250]).max(initial=0.0), 1e-3)
        scale = scale * (1.0 if np.ndim(b) else 10.0)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * scale)


@every_density
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("alpha", [0.05, 0.6, 30.0])
@pytest.mark.parametrize("n", [4, 33])
def test_short_lanes_agree_with_long_ones(density, name, alpha, n, rng, monkeypatch):
    func, more, options = CALLS[name]
    x = rng.normal(size=(11, n)) + rng.integers(0, 2, (11, 1)) * 1e4
    x[3, 1] = x[3, 2]
    short, careful = both_ways(monkeypatch, func, x, *more, alpha, density=density, **options)
    assert short._rule.short is not None
    check(short, careful, alpha, rng)


@every_density
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 0.6, 30.0])
def test_products_agree_with_those_of_long_lanes(
    density, transpose, descending, alpha, rng, monkeypatch
):
    x, values = rng.normal(size=(7, 1, 9)), rng.normal(size=(7, 3, 9))
    x[3, 0, 1] = x[3, 0, 2]
    x[4, 0, 5], values[5, 1, 2], values[6, 0, :2] = -np.inf, np.inf, (np.inf, -np.inf)
    options = {"density": density, "transpose": transpose, "descending": descending}
    with np.errstate(invalid="ignore"):
        short = lapsum.linearize(lapsum.soft_permute, x, values, alpha, **options)
        with monkeypatch.context() as patch:
            patch.setattr(RULES[lapsum.soft_permute].general(), "short", None)
            careful = lapsum.linearize(lapsum.soft_permute, x, values, alpha, **options)
    careful._rule.short = None
    assert short._rule.short is not None
    assert short._rule.short.left[4]
    np.testing.assert_allclose(short.value, careful.value, rtol=1e-11, atol=1e-13 * (1 + alpha))
    bar = rng.normal(size=values.shape)
    dots = rng.normal(size=x.shape), rng.normal(size=values.shape), 0.3
    for a, b in zip(
        (*short.vjp(bar), short.jvp(*dots)), (*careful.vjp(bar), careful.jvp(*dots)), strict=True
    ):
        scale = np.abs(np.where(np.isfinite(b), b, 0.0)).max() + 1e-3
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("density", WITH_FORMULAS.values(), ids=WITH_FORMULAS.keys())
def test_most_lanes_stay_with_these_kernels(density, rng):
    x = rng.normal(size=(200, 10))
    for name in CALLS:
        func, more, options = CALLS[name]
        for alpha in (1e-3, 0.01, 0.1, 1.0, 10.0):
            lin = lapsum.linearize(func, x, *more, alpha, density=density, **options)
            assert lin._rule.short.left is None


@pytest.mark.parametrize("density", ["logistic", "normal"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("alpha", [1e-5, 1e-3, 0.02])
def test_gaps_where_tails_underflow(density, name, alpha, rng, monkeypatch):
    func, more, options = CALLS[name]
    x = rng.normal(size=(40, 10))
    x[1, 1], x[2, :5], x[3, :9], x[4], x[5, 0] = x[1, 2], x[2, 5:], 0.0, np.arange(10), 1e6
    short, careful = both_ways(monkeypatch, func, x, *more, alpha, density=density, **options)
    assert short._rule.short.left is None
    check(short, careful, alpha, rng)


@pytest.mark.parametrize("density", ["logistic", "normal"])
@pytest.mark.parametrize("gap", [70.0, 74.7, 300.0, 1385.5, 5e3])
def test_shares_in_wide_gaps_have_all_digits(density, gap):
    # Of entries 1, 2 | 3, 4, 5 those next to the gap have nearly all, in proportion to e^-t.
    x = np.cumsum([0.0, 0.03125, gap, 0.0625, 0.015625])
    short = lapsum.linearize(lapsum.soft_quantile, x, 0.4, 1.0, density=density)
    assert short._rule.short.left is None
    with mp.workdps(60):
        z = [mpf(v) for v in x]

        def log_tail(t):
            return mp.log(
                mp.erfc(t / mp.sqrt(2)) / 2 if density == "normal" else 1 / (1 + mp.exp(t))
            )

        def pdf(t):
            return mp.npdf(t) if density == "normal" else 1 / (mp.exp(-t / 2) + mp.exp(t / 2)) ** 2

        low, high = z[1], z[2]
        for _ in range(200):
            b = (low + high) / 2
            left = sum(mp.exp(log_tail(b - v)) for v in z[:2])
            right = sum(mp.exp(log_tail(v - b)) for v in z[2:])
            low, high = (b, high) if left > right else (low, b)
        exact = [pdf(v - b) for v in z]
        by_level = float(len(x) / sum(exact))  # infinite where it is none
        exact = np.array([float(f / sum(exact)) for f in exact])
        np.testing.assert_allclose(short.value, float(b), rtol=3e-16)
    np.testing.assert_allclose(short.vjp(1.0)[0], exact, rtol=1e-12)
    np.testing.assert_allclose(short.vjp(1.0)[1], by_level, rtol=1e-11)
    # What they are for top-k is the derivative in k.
    p = lapsum.linearize(lapsum.soft_topk, -x, 2.0, 1.0, density=density)
    np.testing.assert_allclose(p.jvp(0.0 * x, 1.0, 0.0), exact, rtol=1e-12)


@pytest.mark.parametrize("density", ["laplace", "logistic", "normal"])
def test_cotangents_of_k_beside_gaps_where_f_underflows(density, rng):
    x = np.array([[0.0, 0.0, 5e6, 5e6], [0.0, 0.0, 5e6, 5e6 + 1.0], [-0.5, 0.6, 1.36, -0.75]])
    bar = np.array([[1.0, -1.0, 1.0, 1.0], [1.0, -0.5, 1.0, 1.0], rng.normal(size=4)])
    k = np.array([2.0, 2.0, 1.3])
    lin = lapsum.linearize(lapsum.log_soft_topk, x, k, 1.0, density=density)
    k_bar = lin.vjp(bar)[1]
    # What the entries left of the gap give cancels, or is infinite; above it p has their shares.
    assert k_bar[0] == 0.5
    assert k_bar[1] == np.inf
    alone = lapsum.linearize(lapsum.log_soft_topk, x[2], 1.3, 1.0, density=density)
    assert k_bar[2] == alone.vjp(bar[2])[1]
    p_dot = lin.jvp(0.0 * x, [1.0, 1.0, 1.0], 0.0)
    np.testing.assert_array_equal(p_dot[0], [np.inf, np.inf, 0.25, 0.25])


def test_the_cotangent_of_an_entry_with_all_of_the_share_is_that_of_the_others():
    x, density = [0.1, 1541.2], lapsum.StudentT(9.99)
    x_bar = lapsum.linearize(lapsum.soft_topk, x, 0.14, 0.111, density=density).vjp([0.0, 1.0])[0]
    assert x_bar[1] == -x_bar[0] > 0.0


@every_density
def test_lanes_do_not_know_of_each_other(density, rng):
    x = rng.normal(size=(13, 9))
    x[1, 3], x[2, 5], x[4], x[6, 0], x[8, 1] = np.nan, np.inf, np.round(x[4]), 1e37, -np.inf
    for name in CALLS:
        func, more, options = CALLS[name]
        for dtype in (np.float64, np.float32):
            given = x.astype(dtype)
            lin = lapsum.linearize(func, given, *more, 0.2, density=density, **options)
            (x_bar, *_) = lin.vjp(np.ones(lin.value.shape))
            for i in range(len(x)):
                one = lapsum.linearize(func, given[i], *more, 0.2, density=density, **options)
                value = lin.value[:, i] if name == "soft_quantile" else lin.value[i]
                np.testing.assert_array_equal(value, one.value)
                np.testing.assert_array_equal(x_bar[i], one.vjp(np.ones(one.value.shape))[0])


@every_density
@pytest.mark.parametrize("transpose", [False, True])
def test_products_of_lanes_do_not_know_of_each_other(density, transpose, rng):
    x, values, bar = rng.normal(size=(3, 13, 9))
    x[1, 3], x[2, 5], x[4] = np.nan, np.inf, np.round(x[4])
    x[6] *= 100.0
    values[5, 2], values[6, 1], values[7, 3], values[8, :2] = np.nan, np.inf, 1e300, (1e280, -1e280)
    bar[9, 4], bar[10, 2] = 1e300, 1e-300
    options = {"density": density, "transpose": transpose}
    lin = lapsum.linearize(lapsum.soft_permute, x, values, 0.2, **options)
    assert lin._rule.short is not None
    x_bar, values_bar, _ = lin.vjp(bar)
    for i in range(len(x)):
        one = lapsum.linearize(lapsum.soft_permute, x[i], values[i], 0.2, **options)
        np.testing.assert_array_equal(lin.value[i], one.value)
        for whole, part in zip((x_bar, values_bar), one.vjp(bar[i]), strict=False):
            np.testing.assert_array_equal(whole[i], part)
    # Nothing times an infinity is nothing, and 1e300 times shares of one is no more.
    assert not np.isnan(lin.value[6]).any()
    assert np.isfinite(lin.value[7]).all()
    assert np.isfinite(values_bar[9]).all()
    assert np.isfinite(x_bar[9]).all()


def test_the_longest_short_lane_and_the_next(rng, monkeypatch):
    for n in (_kernels.short_most(), _kernels.short_most() + 1):
        x = rng.normal(size=(2, n))
        short, careful = both_ways(monkeypatch, lapsum.soft_sort, x, 0.3, density="logistic")
        assert (short._rule.short is not None) == (n <= _kernels.short_most())
        check(short, careful, 0.3, rng)


def test_tied_entries_keep_equal_ranks(rng):
    x = rng.integers(0, 4, (20, 30)) / 3.0
    for density in DENSITIES.values():
        y = lapsum.soft_rank(x, 0.2, density=density)
        for lane, ranks in zip(x, y, strict=True):
            for v in np.unique(lane):
                assert len(set(ranks[lane == v])) == 1


def test_a_logarithm_reaches_where_a_probability_underflows():
    p = lapsum.log_soft_topk([0.0, 1.0, 100.0], 1, 0.05, density="logistic")
    np.testing.assert_allclose(p[:2], [-1010.0, -990.0], rtol=1e-11)
    x = np.append(np.linspace(0.0, 1.0, 4000), -100.0)
    p = lapsum.log_soft_topk(x, 1, 0.05, density="logistic")
    assert np.isfinite(p).all()


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_level_of_simd(level, rng):
    now = _kernels.choose("")
    if _kernels.choose(level) is None:
        pytest.skip(f"no {level} here")
    try:
        x = rng.normal(size=(9, 12))
        t = (x[:, :, None] - x[:, None, :]) / 0.4
        for density, same in (("normal", stats.norm), ("cauchy", stats.cauchy)):
            ranks = 0.5 + same.cdf(t).sum(axis=-1)
            found = lapsum.soft_rank(x, 0.4, density=density)
            np.testing.assert_allclose(found, ranks, rtol=4e-15)
            back = lapsum.cdf_sum(
                lapsum.soft_sort(x, 0.4, density=density), x, 0.4, density=density
            )
            levels = np.broadcast_to(np.arange(12) + 0.5, back.shape)
            np.testing.assert_allclose(back, levels, rtol=1e-13)
            p = lapsum.soft_permutation(x, 0.4, density=density)
            for axis in (-1, -2):
                np.testing.assert_allclose(p.sum(axis=axis), 1.0, rtol=1e-13)
            lin = lapsum.linearize(lapsum.soft_permute, x, x, 0.4, density=density)
            np.testing.assert_allclose(lin.value, (p * x[:, None, :]).sum(axis=-1), rtol=1e-12)
            # What is asked of a product asks x_j bar_i of the matrix, and bar P of the values.
            x_bar, values_bar, alpha_bar = lin.vjp(ranks)
            matrix = lapsum.linearize(lapsum.soft_permutation, x, 0.4, density=density)
            bars = matrix.vjp(ranks[:, :, None] * x[:, None, :])
            np.testing.assert_allclose(x_bar, bars[0], rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(alpha_bar, bars[1], rtol=1e-9)
            np.testing.assert_allclose(values_bar, (p * ranks[:, :, None]).sum(axis=1), rtol=1e-12)
    finally:
        _kernels.choose(now)


@pytest.mark.parametrize("df", [1, 1.5, 2, 2.5, 3, 5, 7.25, 10])
def test_student_s_tails_of_few_degrees(df):
    density = lapsum.StudentT(df)
    t = np.append(np.geomspace(1e-6, 1e4, 60), 0.0)
    halves = lapsum.soft_topk(np.stack([0.0 * t, t], axis=1), 1, 1.0, density=density)[:, 0]
    with mp.workdps(40):
        for value, at in zip(halves, t, strict=True):
            exact = (
                mp.betainc(mpf(df) / 2, 0.5, 0, df / (df + mpf(at / 2) ** 2), regularized=True) / 2
            )
            assert abs(value - exact) <= 8 * (1 + df) * 2.0**-52 * exact


@pytest.mark.parametrize("df", [1.5, 2])
@pytest.mark.parametrize("t", [1e120, 1e160])
def test_student_s_tails_far_out(df, t):
    p = lapsum.soft_topk([0.0, 0.0, -t], 1, 1.0, density=lapsum.StudentT(df))
    with mp.workdps(40):
        top = mp.gamma((mpf(df) + 1) / 2) / mp.sqrt(df * mp.pi) / mp.gamma(mpf(df) / 2)
        exact = top * mpf(df) ** ((mpf(df) + 1) / 2) * mpf(t) ** -df / df
        if exact > 1e-300:
            assert abs(p[2] - exact) <= 1e-12 * exact
    np.testing.assert_array_less(p[2], 1e-100)


def test_small_shares_of_student_s_are_not_nothing(rng):
    x = np.append(rng.normal(size=8), 60.0)
    p = lapsum.soft_topk(x, 1, 0.02, density=lapsum.StudentT(7))
    assert (p > 0.0).all()
    b = lapsum.cdf_sum_inv([1.0], -x, 0.02, density=lapsum.StudentT(7))
    np.testing.assert_allclose(p, stats.t(7).cdf((b + x) / 0.02), rtol=1e-12)


def _tail_of_t40(t):
    t = mpf(t)
    return mp.betainc(20, 0.5, 0, 40 / (40 + t * t), regularized=True) / 2


TABULATED = {
    "many degrees": (lapsum.StudentT(40), _tail_of_t40),
    "with strip": (
        lapsum.Density(ndtr, lambda t: np.exp(-t * t / 2) / np.sqrt(2 * np.pi), strip=np.inf),
        lambda t: mp.erfc(mpf(t) / mp.sqrt(2)) / 2,
    ),
}


@pytest.mark.parametrize("given", TABULATED.values(), ids=TABULATED.keys())
def test_shares_beyond_the_end_of_a_table_keep_their_digits(given):
    # Tables end at 2^-70 and err as near F(0): shares must not be read there.
    density, tail = given
    assert kernel_of(density).name == "table"
    away = np.array([9.0, 11.0, 20.0])
    with mp.workdps(40):
        exact = np.array([float(tail(t)) for t in away])
    # By symmetry the threshold at k = 3/2 lies at the middle one of three entries.
    x = np.stack([-away, 0.0 * away, away], axis=1)
    for func, expected in ((lapsum.soft_topk, exact), (lapsum.log_soft_topk, np.log(exact))):
        lin = lapsum.linearize(func, x, 1.5, 1.0, density=density)
        np.testing.assert_allclose(lin.value[:, 0], expected, rtol=1e-12)
        np.testing.assert_array_equal(lin.value[1], func(x[1], 1.5, 1.0, density=density))
    lin = lapsum.linearize(lapsum.soft_topk, x, 1.5, 1.0, density=density)
    f, f0 = density.even_pdf(away), density.even_pdf(np.zeros(1))
    slope, first = f * (1.0 - f / (f0 + 2.0 * f)), np.broadcast_to([1.0, 0.0, 0.0], x.shape)
    np.testing.assert_allclose(lin.vjp(first)[0][:, 0], slope, rtol=1e-11)
    np.testing.assert_allclose(lin.jvp(first, None, None)[:, 0], slope, rtol=1e-11)
    # The threshold at 1 lies at the two that are equal, but for what the third has there.
    x = np.stack([0.0 * away, 0.0 * away, away], axis=1)
    P = lapsum.soft_permutation(x, 1.0, density=density)
    np.testing.assert_allclose(P[:, 0, 2], exact, rtol=1e-9)
    last = np.broadcast_to([0.0, 0.0, 1.0], x.shape)
    product = lapsum.soft_permute(x, last, 1.0, density=density)
    np.testing.assert_allclose(product[:, 0], exact, rtol=1e-9)


def test_what_cauchy_s_density_leaves_far_out_has_its_digits():
    # Between neighbouring thresholds its tails are nearly equal there.
    x = np.array([[0.0, 1.0, 3.0, 1e9]])
    P = lapsum.soft_permutation(x, 0.01, density="cauchy")
    product = lapsum.soft_permute(x, [[0.0, 0.0, 0.0, 1.0]], 0.01, density="cauchy")
    with mp.workdps(60):
        z, alpha = [mpf(v) for v in x[0]], mpf(0.01)
        bounds = []
        for level in (1, 2):
            low, high = mpf(0), mpf(4)
            for _ in range(180):
                middle = (low + high) / 2
                above = sum(mp.mpf(0.5) + mp.atan((middle - v) / alpha) / mp.pi for v in z) > level
                low, high = (low, middle) if above else (middle, high)
            bounds.append((low - z[3]) / alpha)
        share = mp.atan2(bounds[1] - bounds[0], 1 + bounds[0] * bounds[1]) / mp.pi
        for found in (P[0, 1, 3], product[0, 1]):
            assert abs(found - share) <= 1e-13 * share
