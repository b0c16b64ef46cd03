"""Every operator on PyTorch's tensors: values, derivatives, transforms, compilers."""

import copy
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as st
from calls import EVERY, call

import lapsum
from lapsum._backends import choose
from lapsum._core.call import RULES

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")

import torch_rows  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

NAMES = sorted(EVERY)
every_operator = pytest.mark.parametrize("name", NAMES)
SECOND = "first order"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def operator(name, rng, shape=(2, 5), weighted=None):
    """An operator as a function of tensors alone, and tensors for all of its parameters."""
    weighted = EVERY[name].weighted if weighted is None else weighted
    func, given = call(name, rng, shape, weighted)
    given["alpha"] = 0.4
    if name == "lap_sum_inv":
        given["w"] = rng.uniform(0.5, 2.0, shape)
    names = tuple(given)
    tensors = [torch.tensor(np.asarray(given[n], float), requires_grad=True) for n in names]

    def of_tensors(*args, **options):
        return func(**dict(zip(names, args, strict=True)), **options)

    return of_tensors, tensors


def detached(tensors):
    return [t.detach().clone() for t in tensors]


def gradients(func, tensors):
    fresh = [t.detach().clone().requires_grad_() for t in tensors]
    func(*fresh).pow(2).sum().backward()
    return [t.grad for t in fresh]


def assert_all_close(found, expected, **tolerances):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerances)


# ----------------------------------------------------------------------------- values and dtypes


@every_operator
def test_value_is_numpy_s(name, rng):
    func, tensors = operator(name, rng)
    y = func(*tensors)
    expected = func(*(t.detach().numpy() for t in tensors))
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert y.requires_grad
    with torch.no_grad():
        bare = func(*tensors)
    assert not bare.requires_grad
    assert torch.equal(bare, y)
    with torch.inference_mode():
        assert torch.equal(func(*tensors), y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@every_operator
def test_dtypes(name, dtype, rng):
    func, tensors = operator(name, rng)
    tensors = [t.detach().to(dtype).requires_grad_() for t in tensors]
    y = func(*tensors)
    assert y.dtype is dtype
    y.float().sum().backward()
    assert all(t.grad.dtype is dtype and t.grad.shape == t.shape for t in tensors)
    exact = func(*(t.detach().double() for t in tensors))
    assert torch.equal(y, exact.to(torch.float32).to(dtype) if dtype is not torch.float64 else y)


def test_integers_and_bools_count_as_float64():
    assert lapsum.soft_rank(torch.tensor([3, 1, 2]), 0.1).dtype is torch.float64
    assert lapsum.soft_rank(torch.tensor([True, False]), 0.1).dtype is torch.float64


def test_alpha_does_not_promote():
    x = torch.randn(4, dtype=torch.float32)
    assert lapsum.soft_rank(x, torch.tensor(0.5, dtype=torch.float64)).dtype is torch.float32


def test_autocast():
    x, layer = torch.randn(3, 6), torch.nn.Linear(6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        h = layer(x)
        y = lapsum.soft_topk(h, 2, 0.5)
    assert h.dtype is y.dtype is torch.bfloat16
    y.float().pow(2).sum().backward()
    assert layer.weight.grad.dtype is torch.float32
    assert layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("grad", [False, True])
def test_any_memory(rng, grad):
    x = torch.tensor(rng.normal(size=(4, 6)))
    negated = torch.randn(4, 6, dtype=torch.complex128).conj().imag
    assert negated.is_neg()
    for given in (x.T, x[:, ::2], x[:1].expand(3, 6), x.flip(1), x[1:1], negated):
        contiguous = given.contiguous().resolve_neg().clone()
        given = given.detach().requires_grad_(grad)
        assert torch.equal(lapsum.soft_rank(given, 0.3), lapsum.soft_rank(contiguous, 0.3))


def test_the_memory_is_shared_on_the_way_in():
    from lapsum._adapters.torch.arrays import to_array

    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert to_array(x).__array_interface__["data"] == (x.data_ptr(), False)


def test_a_changed_result_spoils_no_derivative(rng):
    """Where the result is needed a change is an error, as with torch.sigmoid."""
    x, alpha = (torch.tensor(rng.normal(size=6) ** 2, requires_grad=True) for _ in range(2))
    alpha = alpha[0]
    y = lapsum.soft_topk(x, 2.0, alpha, weights=torch.ones(6))
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    (expected,) = torch.autograd.grad(lapsum.soft_sort(x, 0.5)[0], x)
    y = lapsum.soft_sort(x, 0.5)
    y.mul_(1.0).add_(3.0)
    (found,) = torch.autograd.grad(y[0], x)
    assert torch.equal(found, expected)


def test_a_changed_argument_is_an_error(rng):
    x = torch.tensor(rng.normal(size=6), requires_grad=True)
    moved = x * 1
    y = lapsum.soft_rank(moved, 0.3)
    moved.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.pow(2).sum().backward()


def test_parameter_module_and_non_leaf_alpha():
    class Ranker(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = torch.nn.Parameter(torch.arange(5.0))
            self.log_alpha = torch.nn.Parameter(torch.tensor(-1.0))

        def forward(self):
            return lapsum.soft_rank(self.scores, self.log_alpha.exp())

    ranker = Ranker()
    ranker().pow(2).sum().backward()
    assert ranker.log_alpha.grad.shape == ()
    assert ranker.log_alpha.grad.dtype is torch.float32
    assert ranker.scores.grad.abs().max() > 0
    assert torch.equal(copy.deepcopy(ranker)(), ranker())


# ----------------------------------------------------------------------------------- derivatives


@every_operator
def test_gradcheck(name, rng):
    func, tensors = operator(name, rng)
    assert torch.autograd.gradcheck(
        func, tensors, check_forward_ad=True, check_undefined_grad=True, atol=1e-5
    )


DENSITIES = {
    "named": "logistic",
    "StudentT": lapsum.StudentT(4.0),
    "Density": lapsum.Density(st.hypsecant.cdf, st.hypsecant.pdf),
    "frozen": st.logistic(),
}


@pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES.keys())
def test_any_density(density, rng):
    x = torch.tensor(rng.normal(size=(2, 5)), requires_grad=True)
    alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def rank(x, alpha):
        return lapsum.soft_rank(x, alpha, density=density)

    expected = lapsum.soft_rank(x.detach().numpy(), 0.4, density=density)
    np.testing.assert_array_equal(rank(x, alpha).detach().numpy(), expected)
    assert torch.autograd.gradcheck(rank, (x, alpha), check_forward_ad=True)
    plain = x.detach()
    mapped = torch.func.vmap(rank, (0, None))(plain, alpha.detach())
    torch.testing.assert_close(mapped, rank(plain, alpha.detach()))


def test_compile_any_density(rng):
    """Objects are told apart, not their types only."""
    x = torch.tensor(rng.normal(size=(2, 5)), requires_grad=True)

    def rank(x, density):
        return lapsum.soft_rank(x, 0.4, density=density)

    torch._dynamo.reset()
    compiled = torch.compile(rank, fullgraph=True, backend="eager")
    other = lapsum.Density(st.logistic.cdf, st.logistic.pdf)
    own, frozen = DENSITIES["Density"], DENSITIES["frozen"]
    with torch.no_grad():  # whose backward is not compiled
        for density in (lapsum.StudentT(4.0), lapsum.StudentT(9.0), own, other, frozen, own):
            assert torch.equal(compiled(x, density), rank(x, density))
    gradients_of = [
        torch.autograd.grad(func(x, own).pow(2).sum(), x)[0] for func in (compiled, rank)
    ]
    assert torch.equal(*gradients_of)
    with pytest.raises(ValueError, match="`density` must be"):
        rank(x, "no such thing")


def test_the_first_tensor_may_come_in_a_compiler(rng, monkeypatch):
    """Which then traces nothing of the way to other arrays."""
    monkeypatch.setattr(choose, "_ADAPTED", {})
    torch._dynamo.reset()
    x = torch.tensor(rng.normal(size=(2, 5)))
    options = {"density": "logistic"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compiled = torch.compile(
            lambda x: lapsum.soft_rank(x, 0.4, **options), fullgraph=True, backend="eager"
        )
        assert torch.equal(compiled(x), lapsum.soft_rank(x, 0.4, **options))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_gradcheck_per_lane(shape, rng):
    x = torch.tensor(rng.normal(size=(3, 5)), requires_grad=True)
    k, low, high, alpha = (
        torch.full(shape, v, dtype=torch.float64, requires_grad=True) for v in (2.0, 0.1, 0.8, 0.4)
    )
    weights = torch.tensor(rng.uniform(1, 2, 5), requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda *a: lapsum.soft_topk(*a[:3], weights=a[3]), (x, k, alpha, weights))
    assert check(
        lambda *a: lapsum.soft_trimmed_mean(*a[:4], weights=a[4]), (x, low, high, alpha, weights)
    )


@every_operator
def test_gradients_are_numpy_s(name, rng):
    func, tensors = operator(name, rng)
    y = func(*tensors)
    bar = torch.tensor(rng.normal(size=y.shape))
    found = torch.autograd.grad(y, tensors, bar)
    operator_, arguments = call(name, np.random.default_rng(0), (2, 5), EVERY[name].weighted)
    arguments = dict(zip(arguments, (t.detach().numpy() for t in tensors), strict=True))
    lin = lapsum.linearize(operator_, **arguments)
    by_name = dict(zip(lin.parameters, lin.vjp(bar.numpy()), strict=True))
    for parameter, grad in zip(arguments, found, strict=True):
        np.testing.assert_array_equal(grad.numpy(), by_name[parameter])


def test_only_what_is_needed(rng):
    x = torch.tensor(rng.normal(size=6))
    alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    lapsum.soft_rank(x, alpha).pow(2).sum().backward()
    assert x.grad is None
    assert alpha.grad.abs() > 0


def test_tensors_of_a_transform_that_has_ended(rng):
    kept = []
    x = torch.tensor(rng.normal(size=5), requires_grad=True)
    torch.func.grad(lambda t: (kept.append(t), (t * t).sum())[1])(x)
    lapsum.soft_rank(kept[0], 0.5).square().sum().backward()
    again = x.detach().requires_grad_()
    lapsum.soft_rank(again, 0.5).square().sum().backward()
    assert torch.equal(x.grad, again.grad)


def test_a_second_backward_needs_no_linearization(rng):
    x = torch.tensor(rng.normal(size=6), requires_grad=True)
    y = lapsum.soft_rank(x, 0.4)
    kept = weakref.ref(y.grad_fn.linearized)
    loss = y.pow(2).sum()
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    gc.collect()
    assert kept() is None  # though the graph is still there
    (second,) = torch.autograd.grad(loss, x)
    assert torch.equal(first, second)


def test_second_derivatives_raise_by_every_route(rng):
    x = torch.tensor(rng.normal(size=5), requires_grad=True)

    def loss(x):
        return lapsum.soft_topk(x, 2.0, 0.5).pow(3).sum()

    (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=SECOND):
        g.sum().backward()
    routes = (
        torch.func.hessian(loss),
        torch.func.grad(lambda x: torch.func.grad(loss)(x).sum()),
        torch.func.jacfwd(torch.func.jacfwd(loss)),
        torch.func.jacrev(torch.func.jacrev(loss)),
        torch.func.jacrev(torch.func.jacfwd(loss)),
        lambda x: torch.autograd.functional.hessian(loss, x),
        lambda x: torch.autograd.functional.hvp(loss, x, x),
        lambda x: torch.func.jvp(torch.func.grad(loss), (x,), (x,)),
    )
    for route in routes:
        with pytest.raises(NotImplementedError, match=SECOND):
            route(x.detach())


def test_the_old_vmap_raises(rng):
    """It has no rules for custom operators; what replaced it is torch.func."""
    x = torch.tensor(rng.normal(size=4), requires_grad=True)
    with pytest.raises(RuntimeError, match="Batching rule not implemented"):
        torch.autograd.grad(lapsum.soft_rank(x, 0.5), x, torch.eye(4), is_grads_batched=True)
    for strategy in ("reverse-mode", "forward-mode"):
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            torch.autograd.functional.jacobian(
                lambda x: lapsum.soft_rank(x, 0.5), x, vectorize=True, strategy=strategy
            )


def test_reverse_over_forward_raises_and_is_linear_in_the_tangent(rng):
    x = torch.tensor(rng.normal(size=5))
    v = torch.tensor(rng.normal(size=5), requires_grad=True)

    def rank(x):
        return lapsum.soft_rank(x, 0.5)

    def along(v):
        return torch.func.jvp(rank, (x,), (v,))[1]

    expected = torch.func.jacrev(rank)(x)
    torch.testing.assert_close(torch.func.jacrev(along)(v.detach()), expected)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, v)
        dot = torch.autograd.forward_ad.unpack_dual(rank(dual)).tangent
    (v_bar,) = torch.autograd.grad(dot.sum(), v)
    torch.testing.assert_close(v_bar, expected.sum(0))
    with torch.autograd.forward_ad.dual_level():
        needs = x.clone().requires_grad_()
        dual = torch.autograd.forward_ad.make_dual(needs, v)
        dot = torch.autograd.forward_ad.unpack_dual(rank(dual)).tangent
    with pytest.raises(NotImplementedError, match=SECOND):
        torch.autograd.grad(dot.sum(), needs)


def test_nothing_is_silently_zero(rng):
    """The same tangent, and gradient, by every route."""
    x = torch.tensor(rng.normal(size=(2, 5)))
    v = torch.tensor(rng.normal(size=(2, 5)))

    def rank(x):
        return lapsum.soft_rank(x, 0.5)

    expected = torch.tensor(lapsum.jvp(lapsum.soft_rank, (x.numpy(), 0.5), (v.numpy(), None))[1])
    graph = make_fx(rank)(x)
    compiled = torch.compile(rank, backend="aot_eager")
    exported = torch.export.export(_Module(rank), (x,)).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(rank, (x + 1.0,))
    for func in (rank, graph, compiled, exported, traced):
        assert torch.equal(func(x), rank(x))
        for found in (
            torch.func.jvp(func, (x,), (v,))[1],
            torch.func.vmap(lambda x, v, f=func: torch.func.jvp(f, (x,), (v,))[1])(
                x[None], v[None]
            )[0],
            torch.func.vjp(func, x)[1](v)[0],
            _by_dual_numbers(func, x, v),
        ):
            torch.testing.assert_close(found, expected)
        needs = x.clone().requires_grad_()
        func(needs).backward(v)
        torch.testing.assert_close(needs.grad, expected)  # the Jacobian is symmetric


@pytest.mark.parametrize("create_graph", [False, True])
def test_tangents_of_gradients(create_graph, rng):
    """A gradient is linear in its cotangent; a second derivative raises in forward mode too."""
    x = torch.tensor(rng.normal(size=5), requires_grad=True)
    v = torch.tensor(rng.normal(size=5))
    y = lapsum.soft_rank(x, 0.5)

    def gradient(bar):
        return torch.autograd.grad(y, x, bar, retain_graph=True, create_graph=create_graph)[0]

    expected = torch.func.jacrev(lambda x: lapsum.soft_rank(x, 0.5))(x.detach())
    torch.testing.assert_close(_by_dual_numbers(gradient, v, v), expected @ v)
    torch.testing.assert_close(torch.func.jvp(gradient, (v,), (v,))[1], expected @ v)
    if not create_graph:
        rows = torch.func.vmap(gradient)(torch.eye(5, dtype=v.dtype))
        torch.testing.assert_close(rows, expected)
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, v)
        rank = lapsum.soft_rank(dual, 0.5)[0]
        with pytest.raises(NotImplementedError, match=SECOND):
            torch.autograd.grad(rank, dual, create_graph=create_graph)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_level_of_forward_mode_in_a_compiled_function(backend, rng):
    x, v = (torch.tensor(rng.normal(size=5)) for _ in range(2))
    for func in (
        lambda x: lapsum.soft_rank(x, 0.5),
        lambda x: lapsum.soft_topk(x, 2, 0.5, density="normal"),
        lambda x: lapsum.ot.sinkhorn_rank(x, 0.1),
    ):
        torch._dynamo.reset()

        @torch.compile(backend=backend, fullgraph=True)
        def along(x, v, func=func):
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(x, v)
                return torch.autograd.forward_ad.unpack_dual(func(dual)).tangent

        torch.testing.assert_close(along(x, v), torch.func.jvp(func, (x,), (v,))[1])


def test_torch_linearize(rng):
    x, v = (torch.tensor(rng.normal(size=(2, 5))) for _ in range(2))
    value, push = torch.func.linearize(lambda x: lapsum.soft_rank(x, 0.5), x)
    assert torch.equal(value, lapsum.soft_rank(x, 0.5))
    expected = lapsum.jvp(lapsum.soft_rank, (x.numpy(), 0.5), (v.numpy(), None))[1]
    np.testing.assert_allclose(push(v).numpy(), expected, rtol=1e-12)


def _by_dual_numbers(func, x, v):
    with torch.autograd.forward_ad.dual_level():
        y = func(torch.autograd.forward_ad.make_dual(x, v))
        return torch.autograd.forward_ad.unpack_dual(y).tangent


class _Module(torch.nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, *args):
        return self.func(*args)


# -------------------------------------------------------------------------------------- torch.func


@pytest.mark.parametrize("options", [{}, {"axis": 0}])
@every_operator
def test_vmap_is_a_loop(name, options, rng):
    """To the bit, over each argument alone and all of them, and so are gradients."""
    func, tensors = operator(name, rng, shape=(4, 4))
    tensors = detached(tensors)

    def f(*args):
        return func(*args, **options)

    def grad(*args):
        return torch.func.grad(lambda *a: f(*a).pow(2).sum(), tuple(range(len(args))))(*args)

    several = [torch.stack([t, 1.1 * t, 0.7 * t], dim=t.ndim) for t in tensors]
    choices = [[i] for i in range(len(tensors))] + [list(range(len(tensors)))]
    for mapped in choices:
        dims = tuple(t.ndim if i in mapped else None for i, t in enumerate(tensors))
        given = [
            s if i in mapped else t for i, (s, t) in enumerate(zip(several, tensors, strict=True))
        ]
        lanes = [
            [a if d is None else a.select(d, i) for a, d in zip(given, dims, strict=True)]
            for i in range(3)
        ]
        found = torch.func.vmap(f, dims)(*given)
        assert torch.equal(found, torch.stack([f(*lane) for lane in lanes]))
        found = torch.func.vmap(grad, dims)(*given)
        for one, of_loop in zip(
            found, zip(*(grad(*lane) for lane in lanes), strict=True), strict=True
        ):
            torch.testing.assert_close(one, torch.stack(of_loop), rtol=1e-12, atol=1e-12)


@every_operator
def test_jacobians_and_nesting(name, rng):
    func, tensors = operator(name, rng, shape=(2, 4))
    tensors = detached(tensors)
    every = tuple(range(len(tensors)))
    by_rows = torch.func.jacrev(func, every)(*tensors)
    by_columns = torch.func.jacfwd(func, every)(*tensors)
    assert_all_close(by_rows, by_columns, rtol=1e-10, atol=1e-11)
    several = [torch.stack([t, t * 1.1]) for t in tensors]
    nested = torch.func.vmap(torch.func.jacrev(func, every))(*several)
    assert_all_close([n[0] for n in nested], by_rows, rtol=1e-10, atol=1e-11)
    nested = torch.func.vmap(torch.func.jacfwd(func, every))(*several)
    assert_all_close([n[0] for n in nested], by_columns, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ({"x": (), "r": (5,)}, -1),
        ({"x": (), "r": (2, 5)}, -1),
        ({"x": (3,), "r": (5, 2)}, 0),
        ({"x": (2, 3), "r": (5,)}, -1),
        ({"x": (2, 1, 3), "r": (4, 5)}, -1),
    ],
)
def test_vmap_over_targets_and_sources(shapes, axis, rng):
    x, r = (torch.tensor(rng.normal(size=(3, *shape))) for shape in shapes.values())
    w = torch.tensor(rng.uniform(0.5, 4, size=x.shape))
    weights = torch.tensor(rng.uniform(1, 2, size=(3, 5)))
    alpha = torch.tensor([0.3, 0.5, 2.0], dtype=torch.float64)
    for func, target in ((lapsum.lap_sum, x), (lapsum.lap_sum_inv, w)):

        def one(target, r, alpha, weights, func=func):
            return func(target, r, alpha, weights=weights, axis=axis)

        for dims in ((0, 0, 0, 0), (0, None, None, None), (None, 0, None, 0), (None, None, 0, 0)):
            given = [
                a if d == 0 else a[0]
                for a, d in zip((target, r, alpha, weights), dims, strict=True)
            ]
            found = torch.func.vmap(one, dims)(*given)
            expected = [
                one(*(a[i] if d == 0 else a for a, d in zip(given, dims, strict=True)))
                for i in range(3)
            ]
            assert torch.equal(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("keys", "values", "axis"), [((5,), (5, 3), 0), ((5,), (2, 5), -1), ((2, 5), (5,), 1)]
)
def test_vmap_over_keys_and_values(keys, values, axis, rng):
    x, v = (torch.tensor(rng.normal(size=(3, *shape))) for shape in (keys, values))
    for transpose in (False, True):

        def one(x, v, transpose=transpose):
            return lapsum.soft_permute(x, v, 0.5, axis=axis, transpose=transpose)

        for dims in ((0, 0), (0, None), (None, 0)):
            given = [a if d == 0 else a[0] for a, d in zip((x, v), dims, strict=True)]
            found = torch.func.vmap(one, dims)(*given)
            expected = [
                one(*(a[i] if d == 0 else a for a, d in zip(given, dims, strict=True)))
                for i in range(3)
            ]
            assert torch.equal(found, torch.stack(expected))


@every_operator
def test_vmap_of_nothing(name, rng):
    """Value and gradients of a batch of none, over the levels q too."""
    func, tensors = operator(name, rng)
    tensors = detached(tensors)
    none = [t.new_empty((0, *t.shape)) for t in tensors]
    shape, every = func(*tensors).shape, tuple(range(len(tensors)))
    grad = torch.func.grad(lambda *a: func(*a).pow(2).sum(), every)
    for dims in (0, tuple(None if n else 0 for n in every)):
        given = none if dims == 0 else [none[0], *tensors[1:]]
        assert torch.func.vmap(func, dims)(*given).shape == (0, *shape)
        for found, t in zip(torch.func.vmap(grad, dims)(*given), tensors, strict=True):
            assert found.shape == (0, *t.shape)


@pytest.mark.parametrize("axis", [(0, 1), (1, 0)])
def test_vmap_of_weights_along_several_axes(axis, rng):
    x, weights = (torch.tensor(rng.uniform(1, 2, shape)) for shape in ((3, 2, 4), (3, 8)))

    def quantile(x, weights):
        return lapsum.soft_quantile(x, 0.4, 0.5, weights=weights, axis=axis)

    for f in (quantile, torch.func.grad(quantile, (0, 1))):
        found = torch.func.vmap(f)(x, weights)
        of_loop = [f(x[i], weights[i]) for i in range(3)]
        if f is quantile:
            found, of_loop = [found], [(y,) for y in of_loop]
        for one, each in zip(found, zip(*of_loop, strict=True), strict=True):
            torch.testing.assert_close(one, torch.stack(each), rtol=1e-12, atol=1e-12)


def test_vmap_in_vmap_and_per_sample_gradients(rng):
    x = torch.tensor(rng.normal(size=(3, 6)))
    alphas = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)

    def f(x, alpha):
        return lapsum.soft_topk(x, 2.0, alpha)

    both = torch.func.vmap(torch.func.vmap(f, (None, 0)), (0, None))(x, alphas)
    assert torch.equal(both[:, 1], f(x, alphas[1]))
    layer = torch.nn.Linear(6, 4).double()
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        scores = torch.func.functional_call(layer, parameters, (x,))
        return lapsum.soft_rank(scores, 0.5).pow(2).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    torch.testing.assert_close(each["weight"][1], torch.func.grad(loss)(parameters, x[1])["weight"])


# --------------------------------------------------------------------------------------- compilers


@every_operator
def test_compile(name, rng):
    func, tensors = operator(name, rng)
    torch._dynamo.reset()

    def loss(*args):
        return func(*args).pow(2).sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 5), (2, 7), (3, 4)):
        func, tensors = operator(name, rng, shape)
        fresh = [t.detach().clone().requires_grad_() for t in tensors]
        compiled(*fresh).backward()
        assert_all_close([t.grad for t in fresh], gradients(func, tensors))


def test_compile_numbers_of_python(rng):
    torch._dynamo.reset()

    def loss(x):
        return (lapsum.soft_topk(x, x.shape[1] // 3, 0.5, largest=False) * x).sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (9, 11, 30):
        x = torch.tensor(rng.normal(size=(2, n)), requires_grad=True)
        (found,) = torch.autograd.grad(compiled(x), x)
        (expected,) = torch.autograd.grad(loss(x), x)
        torch.testing.assert_close(found, expected)


def test_compile_axes_that_change(rng):
    """Integers of Python are symbols when a compiled function is called with another."""
    torch._dynamo.reset()
    options = {"axis": 0}

    def sort(x):
        return lapsum.soft_sort(x, 0.5, **options)

    def quantile(x):
        return lapsum.soft_quantile(x, 0.5, 0.5, axis=(options["axis"], 2))

    x = torch.tensor(rng.normal(size=(2, 3, 4)))
    for func in (sort, quantile):
        compiled = torch.compile(func, fullgraph=True, dynamic=True, backend="aot_eager")
        for axis in (0, 1):
            options["axis"] = axis
            assert torch.equal(compiled(x), func(x))


def test_compile_transforms(rng):
    x = torch.tensor(rng.normal(size=(2, 5)))

    def rank(x):
        return lapsum.soft_rank(x, 0.5)

    def loss(x):
        return rank(x).pow(2).sum()

    for func in (
        torch.func.vmap(rank),
        torch.func.grad(loss),
        torch.func.vmap(torch.func.grad(loss)),
        lambda x: torch.func.jvp(rank, (x,), (x,))[1],
        lambda x: torch.func.vjp(rank, x)[1](x)[0],
    ):
        torch._dynamo.reset()
        compiled = torch.compile(func, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), func(x))


@every_operator
def test_export_and_back(name, rng, tmp_path):
    func, tensors = operator(name, rng)
    tensors = tuple(detached(tensors))
    program = torch.export.export(_Module(func), tensors)
    torch.export.save(program, tmp_path / "program.pt2")
    again = torch.export.load(tmp_path / "program.pt2").module()
    assert torch.equal(again(*tensors), func(*tensors))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert targets == {"lapsum.apply.default"}


def test_another_process_runs_an_exported_program(rng, tmp_path):
    """Once any operator has been called there, whichever."""
    x = torch.tensor(rng.normal(size=5))
    module = _Module(lambda x: lapsum.soft_sort(x, 0.5))
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "program.pt2")
    torch.save(x, tmp_path / "x")
    code = (
        "import sys, torch, lapsum; lapsum.soft_rank(torch.ones(1), 1.0); "
        "program = torch.export.load(sys.argv[1] + '/program.pt2').module(); "
        "torch.save(program(torch.load(sys.argv[1] + '/x')), sys.argv[1] + '/y')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    assert torch.equal(torch.load(tmp_path / "y"), module(x))


def test_export_with_any_length(rng):
    x = torch.tensor(rng.normal(size=(2, 5)))
    n = torch.export.Dim("n", min=4, max=100)
    module = _Module(lambda x: lapsum.soft_topk(x, 2.0, 0.5))
    program = torch.export.export(module, (x,), dynamic_shapes={"args": ({1: n},)}).module()
    longer = torch.tensor(rng.normal(size=(2, 9)))
    assert torch.equal(program(longer), module(longer))


@every_operator
def test_opcheck(name, rng):
    func, tensors = operator(name, rng)
    y = func(*tensors)
    names = call(name, rng, (2, 5), EVERY[name].weighted)[1].keys()
    text = f"{name} {' '.join(names)}|"
    ops, wrt = torch.ops.lapsum, "alpha"
    alpha = tensors[list(names).index("alpha")]
    checked = torch.library.opcheck
    checked(ops.apply.default, (tensors, text))
    plain = detached(tensors)
    checked(ops.pullback.default, (y.detach().requires_grad_(), plain, [], text, wrt))
    checked(ops.pushforward.default, ([alpha.detach().requires_grad_()], plain, text, wrt))


@pytest.mark.parametrize("name", ["soft_topk", "soft_rank", "soft_quantile", "lap_sum"])
def test_opcheck_of_state(name, rng):
    """On lanes so long that there is one."""
    func, tensors = operator(name, rng, (2, 300), weighted=False)
    func(*tensors)
    text = f"{name} {' '.join(call(name, rng, (2, 300))[1].keys())}|"
    ops, wrt = torch.ops.lapsum, "alpha"
    torch.library.opcheck(ops.linearize.default, (tensors, text))
    plain = detached(tensors)
    value, state = ops.linearize.default(plain, text)
    assert state
    torch.library.opcheck(ops.pullback.default, (value.requires_grad_(), plain, state, text, wrt))


@pytest.mark.parametrize(
    "name", ["soft_topk", "soft_rank", "soft_sort", "soft_quantile", "lap_sum"]
)
def test_compiled_derivatives_begin_with_the_state(name, rng, monkeypatch):
    """What has one is linearized once, forward; so no order is found twice."""
    func, tensors = operator(name, rng, (2, 300), weighted=False)
    rule = RULES[getattr(lapsum, name)]
    linearize, count = rule.linearize, []

    def counting(self):
        count.append(self)
        return linearize(self)

    monkeypatch.setattr(rule, "linearize", counting)
    torch._dynamo.reset()
    for backend in ("aot_eager", "aot_eager_decomp_partition"):
        compiled = torch.compile(func, fullgraph=True, dynamic=True, backend=backend)
        for n in (300, 310):
            func, tensors = operator(name, rng, (2, n), weighted=False)
            count.clear()
            found = gradients(compiled, tensors)
            assert len(count) == 1
            assert_all_close(found, gradients(func, tensors), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["log_soft_topk", "soft_quantile", "soft_rank", "lap_sum"])
def test_transforms_begin_with_the_state(name, rng, monkeypatch):
    """Gradients by torch.func are those of backward(), and of a loop under vmap, from one state."""
    func, tensors = operator(name, rng, (2, 300), weighted=False)
    tensors = detached(tensors)
    every = tuple(range(len(tensors)))
    grad = torch.func.grad(lambda *a: func(*a).pow(2).sum(), every)
    rule = RULES[getattr(lapsum, name)]
    linearize, count = rule.linearize, []

    def counting(self):
        count.append(self)
        return linearize(self)

    monkeypatch.setattr(rule, "linearize", counting)
    found = grad(*tensors)
    assert len(count) == 1
    assert_all_close(found, gradients(func, tensors), rtol=0, atol=0)
    several = [torch.stack([t, 1.1 * t, 0.7 * t], dim=-1) for t in tensors]
    for mapped in [*([i] for i in every), every]:
        dims = tuple(-1 if i in mapped else None for i in every)
        given = [
            s if i in mapped else t for i, (s, t) in enumerate(zip(several, tensors, strict=True))
        ]
        lanes = [
            [a if d is None else a[..., i] for a, d in zip(given, dims, strict=True)]
            for i in range(3)
        ]
        expected = [torch.stack(one) for one in zip(*(grad(*a) for a in lanes), strict=True)]
        count.clear()
        found = torch.func.vmap(grad, dims)(*given)
        alone = name == "soft_quantile"  # whose levels are a parameter, too
        assert len(count) == (3 if alone and 1 in mapped else 1)
        assert_all_close(found, expected, rtol=1e-12, atol=1e-12)
    rows = torch.func.jacrev(func)(*tensors)
    torch.testing.assert_close(rows, torch.func.jacfwd(func)(*tensors), rtol=1e-10, atol=1e-12)
    with pytest.raises(NotImplementedError, match=SECOND):
        torch.func.jvp(lambda x: grad(x, *tensors[1:])[0], (tensors[0],), (tensors[0],))
    none = [t.new_empty((0, *t.shape)) for t in tensors]
    for found, t in zip(torch.func.vmap(grad)(*none), tensors, strict=True):
        assert found.shape == (0, *t.shape)


def test_graphs_of_tensors_that_need_gradients(rng):
    """What make_fx recorded with a state can be differentiated in turn, by every route."""
    x = torch.tensor(rng.normal(size=(2, 300)))
    v = torch.tensor(rng.normal(size=(2, 300)))

    def rank(x):
        return lapsum.soft_rank(x, 0.5)

    graph = make_fx(rank)(x.clone().requires_grad_())
    assert "lapsum.linearize" in graph.code
    expected = torch.func.vjp(rank, x)[1](v)[0]
    needs = x.clone().requires_grad_()
    graph(needs).backward(v)
    torch.testing.assert_close(needs.grad, expected)
    torch.testing.assert_close(torch.func.vjp(graph, x)[1](v)[0], expected)
    torch.testing.assert_close(torch.func.jvp(graph, (x,), (v,))[1], expected)
    torch.testing.assert_close(_by_dual_numbers(graph, x, v), expected)
    torch.testing.assert_close(torch.func.vmap(graph)(x[None])[0], rank(x))
    # A graph with its derivative in it, too.
    graph = make_fx(lambda x, v: torch.autograd.grad(rank(x), x, v)[0])(needs, v)
    torch.testing.assert_close(graph(needs, v), expected)
    found = torch.func.vmap(graph)(x[None], v[None])[0]
    torch.testing.assert_close(found, expected)
    dot = torch.func.jvp(lambda v: graph(x, v), (v,), (v,))[1]
    torch.testing.assert_close(dot, expected)


def test_fake_and_meta_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        y = lapsum.soft_permutation(torch.empty(3, 5), 0.5)
    assert y.shape == (3, 5, 5)
    y = lapsum.soft_quantile(torch.empty(3, 5, device="meta"), [0.1, 0.2], 0.5)
    assert y.shape == (2, 3)
    assert y.is_meta


# ----------------------------------------------------------------------------- threads, processes


def test_checkpoint(rng):
    from torch.utils.checkpoint import checkpoint

    x = torch.tensor(rng.normal(size=(2, 6)), requires_grad=True)

    def loss(x):
        return lapsum.soft_rank(x, 0.3).pow(2).sum()

    (expected,) = torch.autograd.grad(loss(x), x)
    for reentrant in (False, True):
        y = checkpoint(loss, x, use_reentrant=reentrant)
        x.grad = None
        y.backward()
        assert torch.equal(x.grad, expected)


def test_threads(rng):
    x = torch.tensor(rng.normal(size=(4, 40)))
    found = [None] * 6

    def work(i):
        for _ in range(20):
            needs = x.clone().requires_grad_()
            lapsum.soft_rank(needs, 0.3).pow(2).sum().backward()
            found[i] = needs.grad

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(torch.equal(g, found[0]) for g in found)


def test_data_loader():
    """In another process, which no other library has started threads in."""
    code = """
import torch
from torch_rows import Rows
for start in ("fork", "spawn"):
    loader = torch.utils.data.DataLoader(
        Rows(), batch_size=2, num_workers=1, multiprocessing_context=start
    )
    assert torch.equal(torch.cat(list(loader)), torch.stack([Rows()[i] for i in range(4)]))
"""
    support = str(Path(torch_rows.__file__).parent)
    path = os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def test_kept_losses_hold_little(rng):
    """After backward no node keeps what it computed, though the graph is kept."""
    x = torch.tensor(rng.normal(size=1000), requires_grad=True)
    losses = [lapsum.soft_rank(x, 0.1).pow(2).sum() for _ in range(3)]
    for loss in losses:
        loss.backward(retain_graph=True)
    gc.collect()
    from lapsum._adapters.adapter import Linearized

    assert not [o for o in gc.get_objects() if type(o) is Linearized]


# ------------------------------------------------------------------------------------------ errors


def test_bad_values_name_the_argument():
    x = torch.randn(5, requires_grad=True)
    with pytest.raises(ValueError, match="`alpha` must be positive"):
        lapsum.soft_rank(x, -1.0)
    with pytest.raises(ValueError, match="`k` must lie between"):
        lapsum.soft_topk(x, torch.tensor(6.0), 0.1)
    with pytest.raises(TypeError, match="`x` must be real numbers.*complex64"):
        lapsum.soft_rank(torch.zeros(3, dtype=torch.complex64), 0.1)
    with pytest.raises(TypeError, match="`x` is a tensor of layout.*to_dense"):
        lapsum.soft_rank(torch.eye(3).to_sparse(), 0.1)
    for of in (lapsum.soft_rank, torch.func.vmap(lapsum.soft_rank, (0, None))):
        with pytest.raises(TypeError, match="`axis` must be an integer"):
            of(x.expand(2, 5), 0.1, axis=0.5)
        with pytest.raises(TypeError, match="`descending` must be True or False"):
            of(x.expand(2, 5), 0.1, descending="no")
    with pytest.raises(ValueError, match="`alpha` must be positive"):
        torch.func.vmap(lambda x: lapsum.soft_rank(x, -1.0))(torch.randn(2, 3))


def test_out():
    x = torch.randn(5, dtype=torch.float64)
    out = torch.empty(5, dtype=torch.float64)
    assert lapsum.soft_rank(x, 0.1, out=out) is out
    assert torch.equal(out, lapsum.soft_rank(x, 0.1))
    version = x._version
    same = x.clone()
    assert lapsum.soft_rank(x, 0.1, out=x) is x
    assert x._version > version
    assert torch.equal(x, lapsum.soft_rank(same, 0.1))
    with pytest.raises(ValueError, match="`out` must have shape"):
        lapsum.soft_rank(x, 0.1, out=torch.empty(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="`out` must have shape"):
        lapsum.soft_rank(x, 0.1, out=torch.empty(5))
    with pytest.raises(TypeError, match="`out` must be a torch.Tensor"):
        lapsum.soft_rank(x, 0.1, out=np.empty(5))
    with pytest.raises(TypeError, match="`out` must be None where a tensor needs a gradient"):
        lapsum.soft_rank(x.requires_grad_(), 0.1, out=out)
    with pytest.raises(TypeError, match="`out` must be None where tensors are"):
        torch.func.vmap(lambda x: lapsum.soft_rank(x, 0.1, out=x))(torch.ones(2, 3))


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_out_where_a_compiler_falls_back():
    x, out = torch.randn(3, 6), torch.empty(3, 6)
    torch._dynamo.reset()
    torch.compile(lambda x, out: lapsum.soft_rank(x, 0.1, out=out), backend="aot_eager")(x, out)
    assert torch.equal(out, lapsum.soft_rank(x, 0.1))


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused(layout):
    x = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
    with pytest.raises(TypeError, match="^`x` is a nested tensor; pad it"):
        lapsum.soft_rank(x, 0.1)


def test_workers(rng):
    x = torch.tensor(rng.normal(size=(8, 50)), requires_grad=True)
    y = lapsum.soft_rank(x, 0.3, workers=2)
    assert torch.equal(y, lapsum.soft_rank(x, 0.3))
    y.sum().backward()
    with pytest.raises(ValueError, match="`workers`"):
        lapsum.soft_rank(x, 0.3, workers=0)


def test_weights_that_are_a_number_are_refused_as_elsewhere():
    for weights in (2, 2.0, True):
        with pytest.raises(ValueError, match=r"^`weights` of shape \(\) must have the shape"):
            lapsum.soft_rank(torch.tensor([3.0, 1.0, 2.0]), 1.0, weights=weights)
