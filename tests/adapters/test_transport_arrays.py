"""The functions of `lapsum.ot` on PyTorch's tensors and JAX's arrays."""

import numpy as np
import pytest

import lapsum
from lapsum import ot
from lapsum._adapters.adapter import Call, call_of
from lapsum._core.call import RULES

KEYWORDS = ("weights", "targets", "target_weights")


def every(rng, shape=(2, 5)):
    """Calls: a function, its arrays by name, and its options."""
    x, n = rng.normal(size=shape), shape[-1]
    epsilon = np.array(0.3)
    weights = rng.uniform(1, 2, shape)
    targets, shares = np.sort(rng.uniform(0, 1, 4)), rng.uniform(1, 2, 4)
    full = {"weights": weights, "targets": targets, "target_weights": shares}
    values, at_targets = rng.normal(size=shape), rng.normal(size=4)
    return {
        "rank": (ot.sinkhorn_rank, {"x": x, "epsilon": epsilon}, {}),
        "rank-weighted": (ot.sinkhorn_rank, {"x": x, "epsilon": epsilon, **full}, {}),
        "sort": (ot.sinkhorn_sort, {"x": x, "epsilon": epsilon}, {"squash": None}),
        "sort-weighted": (ot.sinkhorn_sort, {"x": x, "epsilon": epsilon, **full}, {}),
        "sort-columns": (ot.sinkhorn_sort, {"x": x, "epsilon": epsilon}, {"axis": 0}),
        "quantile": (
            ot.sinkhorn_quantile,
            {"x": x, "q": np.array([0.3, 0.8]), "epsilon": epsilon, "weights": weights},
            {"keepdims": True},
        ),
        "permute": (ot.sinkhorn_permute, {"x": x, "values": values, "epsilon": epsilon}, {}),
        "permute-back": (
            ot.sinkhorn_permute,
            {"x": x, "values": at_targets, "epsilon": epsilon, "targets": targets},
            {"transpose": True, "descending": True},
        ),
        "topk": (
            ot.soft_topk,
            {"x": x, "k": np.array(n / 3), "epsilon": epsilon},
            {"largest": False},
        ),
        "topk-sorted": (ot.soft_topk_sorted, {"x": x, "epsilon": epsilon}, {"k": 2}),
    }


NAMES = list(every(np.random.default_rng(0)))
every_call = pytest.mark.parametrize("name", NAMES)


def function(name, rng):
    func, arrays, options = every(rng)[name]
    names = tuple(arrays)

    def of_arrays(*args):
        return func(**dict(zip(names, args, strict=True)), **options)

    return of_arrays, list(arrays.values())


@every_call
def test_shape_without_data(name, rng):
    func, arrays, options = every(rng)[name]
    keyword = {n: a for n, a in arrays.items() if n in KEYWORDS}
    rule = RULES[func]
    args = [options[n] if n in rule.not_arrays else arrays[n] for n in rule.positional]
    options = {n: o for n, o in options.items() if n not in rule.not_arrays}
    made, values = call_of(rule, tuple(args), {**keyword, **options}, None)
    assert isinstance(made, Call)
    assert len(values) == len(arrays)
    expected = func(*args, **keyword, **options).shape
    assert made.shape([v.shape for v in values]) == expected


@every_call
def test_torch(name, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    func, arrays = function(name, rng)
    expected = func(*arrays)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = func(*tensors)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    assert torch.autograd.gradcheck(func, tensors, check_forward_ad=True, atol=1e-5, rtol=2e-3)
    plain = [t.detach() for t in tensors]
    assert torch.equal(func(*plain), y)
    torch._dynamo.reset()
    compiled = torch.compile(func, fullgraph=True, dynamic=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*tensors).pow(2).sum(), tensors)
    exact = torch.autograd.grad(func(*tensors).pow(2).sum(), tensors)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)

    def loss(*args):
        return func(*args).pow(2).sum()

    several = [torch.stack([t, t * 1.1]) for t in plain]
    grad = torch.func.grad(loss, tuple(range(len(plain))))
    for f in (func, grad):
        mapped = torch.func.vmap(f)(*several)
        of_loop = [f(*(s[i] for s in several)) for i in range(2)]
        if f is func:
            assert torch.equal(mapped, torch.stack(of_loop))
        else:
            for one, each in zip(mapped, zip(*of_loop, strict=True), strict=True):
                torch.testing.assert_close(one, torch.stack(each), rtol=1e-11, atol=1e-12)
    assert func(*(t.float() for t in plain)).dtype is torch.float32


@every_call
def test_jax(name, rng):
    jax = pytest.importorskip("jax", reason="JAX is not installed (extra: jax)")
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    func, hosts = function(name, rng)
    arrays = [jax.numpy.asarray(a) for a in hosts]
    np.testing.assert_array_equal(jax.jit(func)(*arrays), func(*hosts))
    check_grads(jax.jit(func), arrays, 1, ["fwd", "rev"], rtol=1e-4, atol=1e-4)
    several = [jax.numpy.stack([a, a * 1.1]) for a in arrays]
    grad = jax.grad(lambda *a: (func(*a) ** 2).sum(), tuple(range(len(arrays))))
    mapped = jax.jit(jax.vmap(func))(*several)
    expected = [func(*(s[i] for s in several)) for i in range(2)]
    np.testing.assert_array_equal(mapped, jax.numpy.stack(expected))
    of_loop = [grad(*(s[i] for s in several)) for i in range(2)]
    for one, each in zip(jax.vmap(grad)(*several), zip(*of_loop, strict=True), strict=True):
        np.testing.assert_allclose(one, jax.numpy.stack(each), rtol=1e-10, atol=1e-12)
    assert jax.jit(func)(*(a.astype("float32") for a in arrays)).dtype == "float32"


def test_a_changed_result_is_an_error(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    for name in NAMES:
        func, arrays = function(name, rng)
        y = func(*(torch.tensor(a, requires_grad=True) for a in arrays))
        y.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_errors_and_other_kinds_of_array(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
    x = torch.randn(5, dtype=torch.float64)
    with pytest.raises(ValueError, match="`epsilon` must be positive"):
        ot.sinkhorn_rank(x, -1.0)
    with pytest.raises((TypeError, ValueError), match="`squash`"):
        ot.sinkhorn_rank(x, 0.1, squash="not one")
    with pytest.raises(TypeError, match=r"(?=.*torch\.Tensor)(?=.*numpy\.ndarray)"):
        ot.sinkhorn_rank(x, 0.1, weights=np.ones(5))
    with pytest.raises(TypeError, match=r"`x` is a torch.Tensor.*backward"):
        ot.SinkhornPlan(x, 0.1)
    with pytest.raises(TypeError, match=r"`x` is a torch.Tensor.*backward"):
        lapsum.linearize(ot.sinkhorn_rank, x, 0.1)
    with pytest.raises(TypeError, match="`k` must be an integer, got 2.5"):
        ot.soft_topk_sorted(x, 2.5, 0.1)
