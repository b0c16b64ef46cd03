"""Points of no weight: they influence nothing, on whichever side and however many there are."""

import numpy as np
import pytest

import lapsum
from lapsum import ot

KEPT = {"x": "entries", "weights": "entries", "targets": "targets", "target_weights": "targets"}


def lane(rng, n, m, zeros):
    """Return arguments, and which points have a weight."""
    weights, target_weights = rng.integers(1, 4, n) / 2.0, rng.integers(1, 4, m) / 2.0
    if zeros != "targets":
        weights[rng.permutation(n)[: n // 2]] = 0.0
    if zeros != "entries":
        target_weights[rng.permutation(m)[: m // 2]] = 0.0
    arguments = {
        "x": rng.normal(size=n),
        "weights": weights,
        "targets": np.sort(rng.uniform(size=m)),
        "target_weights": target_weights,
    }
    return arguments, {"entries": weights > 0.0, "targets": target_weights > 0.0}


@pytest.mark.parametrize("zeros", ["entries", "targets", "both"])
@pytest.mark.parametrize(("n", "m"), [(3, 13), (20, 20), (30, 9), (60, 61), (230, 250), (40, 300)])
@pytest.mark.parametrize("epsilon", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("name", ["rank", "sort"])
def test_the_same_without_them(name, epsilon, n, m, zeros, rng):
    arguments, some = lane(rng, n, m, zeros)
    func = getattr(ot, f"sinkhorn_{name}")
    without = {k: v[some[KEPT[k]]] for k, v in arguments.items()}
    lin = lapsum.linearize(func, epsilon=epsilon, **arguments)
    expected = lapsum.linearize(func, epsilon=epsilon, **without)
    here = some["entries" if name == "rank" else "targets"]
    total, x = arguments["weights"].sum(), without["x"]
    scale = total if name == "rank" else np.abs(x).max()
    np.testing.assert_allclose(lin.value[here], expected.value, rtol=0, atol=1e-12 * scale)
    lowest, highest = (0.5, total + 0.5) if name == "rank" else (x.min(), x.max())
    assert (lin.value >= lowest - 1e-12 * scale).all()
    assert (lin.value <= highest + 1e-12 * scale).all()

    if epsilon < 1e-3:
        return
    bar = np.where(here, rng.normal(size=len(here)), 0.0)
    bars = dict(zip(lin.parameters, lin.vjp(bar), strict=True))
    for k, exact in zip(expected.parameters, expected.vjp(bar[here]), strict=True):
        keep = some[KEPT[k]] if k in KEPT else ...
        np.testing.assert_allclose(bars[k][keep], exact, rtol=1e-9, atol=1e-10 * scale)
    assert not bars["x"][~some["entries"]].any()
    assert not bars["targets"][~some["targets"]].any()
    dots = {k: rng.normal(size=np.shape(bar)) for k, bar in bars.items()}
    for k in ("weights", "target_weights"):
        dots[k][~some[KEPT[k]]] = 0.0
    tangent = lin.jvp(*(dots[k] for k in lin.parameters))
    exact = expected.jvp(
        *(dots[k][some[KEPT[k]]] if k in KEPT else dots[k] for k in expected.parameters)
    )
    np.testing.assert_allclose(tangent[here], exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-12, 1e-100])
def test_the_same_without_them_near_the_hard_limit(epsilon, rng):
    """Ties, and targets that share them: there the last digit of an edge is worth much."""
    for _ in range(30):
        n, m = rng.integers(3, 40, 2)
        x, targets = rng.integers(0, 4, n).astype(float), np.sort(rng.uniform(size=m))
        weights, target_weights = rng.integers(0, 3, n), rng.integers(0, 3, m)
        weights[0] = target_weights[0] = 1
        given = {"weights": weights, "targets": targets, "target_weights": target_weights}
        a, b = weights > 0, target_weights > 0
        some = {"weights": weights[a], "targets": targets[b], "target_weights": target_weights[b]}
        got = ot.sinkhorn_rank(x, epsilon, **given)[a]
        expected = ot.sinkhorn_rank(x[a], epsilon, **some)
        np.testing.assert_allclose(got, expected, rtol=1e-13)
        got = ot.sinkhorn_sort(x, epsilon, **given)[b]
        expected = ot.sinkhorn_sort(x[a], epsilon, **some)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["rank", "sort"])
@pytest.mark.parametrize(("n", "m"), [(5, 9), (9, 5), (7, 7), (210, 220)])
@pytest.mark.parametrize("zeros", ["entries", "targets", "both"])
def test_derivatives_in_weights_of_zero(name, n, m, zeros, rng):
    arguments, _ = lane(rng, n, m, zeros)
    func = getattr(ot, f"sinkhorn_{name}")
    lin = lapsum.linearize(func, epsilon=0.3, **arguments)
    bar = rng.normal(size=lin.value.shape)
    bars = dict(zip(lin.parameters, lin.vjp(bar), strict=True))
    for k in ("weights", "target_weights"):
        dot = np.where(arguments[k] == 0.0, rng.uniform(size=len(arguments[k])), 0.0)
        tangent = lin.jvp(*(dot if p == k else None for p in lin.parameters))
        more = {**arguments, k: arguments[k] + 1e-7 * dot}
        change = (func(epsilon=0.3, **more) - lin.value) / 1e-7
        size = np.abs(change).max()
        np.testing.assert_allclose(tangent, change, rtol=0, atol=1e-4 * size)
        assert np.dot(bars[k], dot) == pytest.approx(bar @ tangent, rel=1e-9, abs=1e-10 * size)


@pytest.mark.parametrize("tiny", [1e-300, 1e-100, 1e-30, 1e-18, 1e-14])
def test_tiny_weights_are_next_to_none(tiny):
    x, weights, targets = [-0.7, -0.2, 1.7], np.array([2.0, 0.0, 1.0]), np.ones(13)
    got = ot.sinkhorn_rank(x, 0.1, weights=np.maximum(weights, tiny), target_weights=targets)
    exact = ot.sinkhorn_rank(x, 0.1, weights=weights, target_weights=targets)
    np.testing.assert_allclose(got, exact, rtol=1e-12)
    target_weights = np.maximum(np.arange(20) % 2, tiny)
    got = ot.sinkhorn_rank(np.arange(20.0), 0.1, target_weights=target_weights)
    exact = ot.sinkhorn_rank(np.arange(20.0), 0.1, target_weights=np.arange(20) % 2)
    np.testing.assert_allclose(got, exact, rtol=1e-12)


@pytest.mark.parametrize("name", ["rank", "sort"])
def test_lanes_with_and_without_them_do_not_depend_on_each_other(name, rng):
    n, m = 8, 11
    lanes = [lane(rng, n, m, zeros)[0] for zeros in ("entries", "both", "targets", "entries")]
    lanes.append({**lanes[0], "weights": np.ones(n), "target_weights": np.ones(m)})
    lanes = [{**one, "epsilon": 0.05} for one in lanes]
    func = getattr(ot, f"sinkhorn_{name}")
    lin = lapsum.linearize(func, **{k: np.stack([one[k] for one in lanes]) for k in lanes[0]})
    bar = rng.normal(size=lin.value.shape)
    bars = lin.vjp(bar)
    tangent = lin.jvp(*bars)
    for i, one in enumerate(lanes):
        alone = lapsum.linearize(func, **one)
        np.testing.assert_array_equal(lin.value[i], alone.value)
        for together, own in zip(bars, alone.vjp(bar[i]), strict=True):
            np.testing.assert_array_equal(together[i], own)
        np.testing.assert_array_equal(tangent[i], alone.jvp(*(dot[i] for dot in bars)))


@pytest.mark.parametrize("zeros", ["entries", "targets", "both"])
@pytest.mark.parametrize(("n", "m"), [(6, 15), (15, 6), (9, 9), (240, 210)])
def test_a_plan_with_them(n, m, zeros, rng):
    arguments, some = lane(rng, n, m, zeros)
    P = ot.SinkhornPlan(epsilon=0.05, **arguments)
    (a, b), (f, g), (z, y) = P.marginals, P.potentials, P.points
    matrix = P.toarray()
    np.testing.assert_allclose(matrix.sum(axis=0), b, rtol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), a, rtol=1e-12)
    assert not matrix[~some["entries"]].any()
    assert not matrix[:, ~some["targets"]].any()
    exponent = (f[:, None] + g - (z[:, None] - y) ** 2) / 0.05
    np.testing.assert_allclose(a[:, None] * b * np.exp(exponent), matrix, rtol=0, atol=1e-13)
    v, w = rng.normal(size=m), rng.normal(size=n)
    np.testing.assert_allclose(P @ v, matrix @ v, rtol=0, atol=1e-14)
    np.testing.assert_allclose(P.T @ w, w @ matrix, rtol=0, atol=1e-14)


def test_values_of_targets_without_weight_count_for_nothing(rng):
    x, values = rng.normal(size=6), rng.normal(size=8)
    target_weights = np.array([1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    options = {"target_weights": target_weights, "transpose": True}
    got = ot.sinkhorn_permute(x, values, 0.05, **options)
    other = np.where(target_weights > 0.0, values, 7.0)
    np.testing.assert_array_equal(ot.sinkhorn_permute(x, other, 0.05, **options), got)


@pytest.mark.parametrize("epsilon", [1e-100, 1e-12, 1e-3, 1.0, 1e300])
@pytest.mark.parametrize("kind", ["constant", "ties", "outlier"])
def test_hostile_input_with_them_has_finite_results(kind, epsilon, rng):
    n, m = 12, 25
    x = {
        "constant": np.full(n, 0.1),
        "ties": rng.integers(0, 3, n).astype(float),
        "outlier": np.r_[rng.normal(size=n - 1), 1e300],
    }[kind]
    for zeros in ("entries", "targets", "both"):
        arguments = {**lane(rng, n, m, zeros)[0], "x": x}
        for squash in ("logistic", None):
            for func in (ot.sinkhorn_rank, ot.sinkhorn_sort):
                lin = lapsum.linearize(func, epsilon=epsilon, squash=squash, **arguments)
                assert np.isfinite(lin.value).all()
                if kind != "outlier":
                    assert all(np.isfinite(bar).all() for bar in lin.vjp(np.ones(lin.value.shape)))


@pytest.mark.parametrize(("n", "m", "seed"), [(4, 8, 6), (12, 5, 13), (6, 6, 24)])
@pytest.mark.parametrize("name", ["rank", "sort"])
def test_an_absent_entry_near_an_absent_target_changes_no_derivative(name, n, m, seed):
    # Of a target without weight, too, no entry without weight has a share.
    rng = np.random.default_rng(seed)
    x, weights, target_weights = rng.normal(size=n), *(rng.uniform(0.5, 1.0, k) for k in (n, m))
    weights[rng.integers(0, n, 2)] = 0.0
    target_weights[[0, m // 2]] = 0.0
    func, some = getattr(ot, f"sinkhorn_{name}"), weights > 0.0
    more = {"targets": np.linspace(0.0, 1.0, m), "target_weights": target_weights}
    lin = lapsum.linearize(func, x, 0.002, weights=weights, **more)
    expected = lapsum.linearize(func, x[some], 0.002, weights=weights[some], **more)
    bar = rng.normal(size=len(lin.value))
    if name == "rank":
        bar[~some] = 0.0
    bars = dict(zip(lin.parameters, lin.vjp(bar), strict=True))
    exact = expected.vjp(bar[some] if name == "rank" else bar)
    for k, there in zip(expected.parameters, exact, strict=True):
        here = bars[k][some] if KEPT.get(k) == "entries" else bars[k]
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-9)
    dots = [np.where(some, rng.normal(size=n), 0.0), None, None, None, None]
    tangent, exact = lin.jvp(*dots), expected.jvp(dots[0][some], *dots[1:])
    here = tangent[some] if name == "rank" else tangent
    np.testing.assert_allclose(here, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [20, 300])
def test_what_absent_points_hold_may_be_of_any_size(n, rng):
    x, values, weights = rng.uniform(size=n), rng.normal(size=n), np.ones(n)
    weights[::3] = 0.0
    present, bar = weights > 0.0, rng.normal(size=n)
    one, other = (
        lapsum.linearize(
            ot.sinkhorn_permute, x, np.where(present, values, large), 0.5, weights=weights
        )
        for large in (0.0, 1e300)
    )
    np.testing.assert_array_equal(one.value, other.value)
    for a, b in zip(one.vjp(bar)[:2], other.vjp(bar)[:2], strict=True):
        np.testing.assert_allclose(a[present], b[present], rtol=1e-9, atol=1e-12)
    far = (np.where(present, x, large) for large in (0.5, 1e300))
    one, other = (ot.sinkhorn_sort(z, 0.5, weights=weights) for z in far)
    np.testing.assert_allclose(one, other, rtol=1e-12)
