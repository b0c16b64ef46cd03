"""Composed operators get from `Composed` what every operator has: here two losses."""

import numpy as np
import pytest
from backends import EVERYWHERE

import lapsum
from lapsum._core.call import evaluate, operator, rule_of
from lapsum._core.composed import Composed
from lapsum._core.layout import Reduced
from lapsum._core.shapes import reduced_shape


@operator
def rank_loss(x, target, alpha, *, weights=None, axis=-1, workers=None):
    """Half the mean squared distance of soft ranks from targets, one for each entry."""
    return evaluate(RankLoss, x, target, alpha, weights=weights, axis=axis, workers=workers)


@rule_of(rank_loss)
class RankLoss(Composed):
    several_axes = True
    along_axis = ("target", "x")

    def __init__(self, workers, x, target, alpha, *, weights=None, axis=-1):
        super().__init__(workers, {"x": x, "target": target, "alpha": alpha}, weights, axis)
        self.result = Reduced(self.entries, self.axes, keepdims=False)

    @classmethod
    def result_shape(cls, shapes, axes, **options):
        return reduced_shape(shapes["x"], axes, keepdims=False)

    def compose(self, graph, arguments):
        entries = {name: arguments[name] for name in ("x", "alpha", "weights") if name in arguments}
        distance = graph.apply(lapsum.soft_rank, entries) - arguments["target"]
        squares = distance * distance
        if "weights" in arguments:
            squares = squares * arguments["weights"]
        return 0.5 * squares.sum() / self.total_weight(graph, arguments)


@operator
def odds(x, k, alpha, *, axis=-1, workers=None):
    """1 / (2 - p) - 3 + (1 + p) of top-k: arithmetic with numbers on both sides."""
    return evaluate(Odds, x, k, alpha, axis=axis, workers=workers)


@rule_of(odds)
class Odds(Composed):
    def __init__(self, workers, x, k, alpha, *, axis=-1):
        super().__init__(workers, {"x": x, "k": k, "alpha": alpha}, None, axis)

    def compose(self, graph, arguments):
        p = graph.apply(lapsum.soft_topk, arguments)
        return 1 / (2 - p) - 3 + (1 + p)


def by_hand(x, target, alpha, weights=None):
    c = np.ones(len(x)) if weights is None else weights
    value, pullback = lapsum.vjp(lapsum.soft_rank, x, alpha, weights=weights)
    far = value - target
    x_bar, alpha_bar, *weights_bar = pullback(c * far / c.sum())
    loss = 0.5 * (c * far**2).sum() / c.sum()
    if weights_bar:
        weights_bar = [weights_bar[0] + (0.5 * far**2 - loss) / c.sum()]
    return loss, [x_bar, -c * far / c.sum(), alpha_bar, *weights_bar]


@pytest.mark.parametrize("weighted", [False, True])
def test_follows_the_chain_rule(rng, weighted):
    x, target = rng.normal(size=9), rng.uniform(1, 9, 9)
    weights = rng.uniform(0.5, 2, 9) if weighted else None
    lin = lapsum.linearize(rank_loss, x, target, 0.3, weights=weights)
    value, bars = by_hand(x, target, 0.3, weights)
    assert lin.parameters == ("x", "target", "alpha", "weights")[: 3 + weighted]
    np.testing.assert_allclose(lin.value, value, rtol=1e-13)
    tangents = [rng.normal(size=np.shape(bar)) for bar in bars]
    for found, expected in zip(lin.vjp(1.0), bars, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    total = sum(np.vdot(bar, dot) for bar, dot in zip(bars, tangents, strict=True))
    np.testing.assert_allclose(lin.jvp(*tangents), total, rtol=1e-11)


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_batches_lie_along_any_axis(rng, backend):
    x, target = rng.normal(size=(2, 4, 7, 3))
    alpha = rng.uniform(0.1, 1, (4, 1))
    lin = backend.linearize(rank_loss, x=x, target=target, alpha=alpha, axis=1)
    bars = lin.vjp(np.ones((4, 3)))
    assert [bar.shape for bar in bars] == [x.shape, x.shape, (4, 1)]
    for i, j in np.ndindex(4, 3):
        value, one = by_hand(x[i, :, j], target[i, :, j], alpha[i, 0])
        np.testing.assert_allclose(lin.value[i, j], value, rtol=1e-13)
        np.testing.assert_allclose(bars[0][i, :, j], one[0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(bars[1][i, :, j], one[1], rtol=1e-11, atol=1e-13)


def test_one_target_for_all_lanes(rng):
    x, target = rng.normal(size=(5, 3)), np.array([1.0, 2.0, 3.0])
    lin = lapsum.linearize(rank_loss, x, target, 0.1)
    np.testing.assert_array_equal(lin.value, [rank_loss(lane, target, 0.1) for lane in x])
    _, target_bar, _ = lin.vjp(np.ones(5))
    each = [lapsum.linearize(rank_loss, lane, target, 0.1).vjp(1.0)[1] for lane in x]
    np.testing.assert_allclose(target_bar, np.sum(each, axis=0), rtol=1e-13)
    whole = rank_loss(x, np.arange(15.0), 0.1, axis=None)
    np.testing.assert_array_equal(whole, rank_loss(x.ravel(), np.arange(15.0), 0.1))


def test_types_follow_both(rng):
    x, target = rng.normal(size=(2, 6)).astype(np.float32)
    lin = lapsum.linearize(rank_loss, x, target, 0.1)
    assert lin.value.dtype == np.float32
    assert rank_loss(x, target.astype(float), 0.1).dtype == np.float64
    assert [bar.dtype for bar in lin.vjp(np.float32(1))] == [np.float32, np.float32, np.float64]


def test_shapes_that_do_not_fit_name_the_argument():
    with pytest.raises(ValueError, match=r"^`target` of shape \(4,\) must have the shape \(2, 3\)"):
        rank_loss(np.zeros((2, 3)), np.zeros(4), 0.1)


def test_arithmetic_with_numbers(rng):
    x = rng.normal(size=8)
    p, push = lapsum.linearize(lapsum.soft_topk, x, 3, 0.4), rng.normal(size=8)
    lin = lapsum.linearize(odds, x, 3, 0.4)
    np.testing.assert_allclose(lin.value, 1 / (2 - p.value) - 3 + (1 + p.value), rtol=1e-15)
    slope = 1 / (2 - p.value) ** 2 + 1
    np.testing.assert_allclose(lin.jvp(push, None, None), slope * p.jvp(push, None, None))
    np.testing.assert_allclose(lin.vjp(push)[0], p.vjp(slope * push)[0])
