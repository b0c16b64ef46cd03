"""Every operator on JAX's arrays: values, derivatives, transformations, compilation."""

import threading

import numpy as np
import pytest
import scipy.stats as st
from calls import EVERY, call

import lapsum
from lapsum._core.call import RULES

jax = pytest.importorskip("jax", reason="JAX is not installed (extra: jax)")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

from lapsum._adapters.jax import primitives  # noqa: E402

NAMES = sorted(EVERY)
every_operator = pytest.mark.parametrize("name", NAMES)
SECOND = "first order"


@pytest.fixture(autouse=True)
def _x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(params=["ffi", "callback"])
def lowering(request, monkeypatch):
    """Both ways to lower; what was compiled the other way is forgotten."""
    assert primitives.HAS_FFI, "XLA does not take the handler"
    if request.param == "ffi":
        yield request.param
        return
    monkeypatch.setattr(primitives, "HAS_FFI", False)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


def operator(name, rng, shape=(2, 5)):
    """An operator as a function of arrays alone, and arrays for all of its parameters."""
    func, given = call(name, rng, shape, EVERY[name].weighted)
    given["alpha"] = 0.4
    if name == "lap_sum_inv":
        given["w"] = rng.uniform(0.5, 2.0, shape)
    names = tuple(given)

    def of_arrays(*args, **options):
        return func(**dict(zip(names, args, strict=True)), **options)

    return of_arrays, [jnp.asarray(v, float) for v in given.values()]


def assert_all_close(found, expected, **tolerances):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


# ------------------------------------------------------------------------------- values and dtypes


@every_operator
def test_value_is_numpy_s(name, rng, lowering):
    func, arrays = operator(name, rng)
    expected = func(*map(np.asarray, arrays))
    for f in (func, jax.jit(func)):
        y = f(*arrays)
        assert isinstance(y, jax.Array)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@every_operator
def test_dtypes(name, dtype, rng):
    func, arrays = operator(name, rng)
    arrays = [a.astype(dtype) for a in arrays]
    exact = func(*(np.asarray(a, float) for a in arrays))
    for f in (func, jax.jit(func)):
        y = f(*arrays)
        assert y.dtype == dtype
        if dtype != "bfloat16":
            np.testing.assert_array_equal(y, np.asarray(exact).astype(dtype))
        bars = jax.grad(lambda *a, f=f: f(*a).astype(float).sum(), tuple(range(len(arrays))))(
            *arrays
        )
        assert all(bar.dtype == dtype for bar in bars)


def test_without_x64(rng):
    """Numbers of Python keep their digits, and float32 data is computed in double."""
    x = rng.normal(size=50).astype(np.float32)
    jax.config.update("jax_enable_x64", False)
    for f in (lapsum.soft_rank, jax.jit(lambda x, alpha: lapsum.soft_rank(x, 0.1))):
        y = f(jnp.asarray(x), 0.1)
        assert y.dtype == "float32"
        np.testing.assert_array_equal(y, lapsum.soft_rank(x, 0.1))
    assert lapsum.soft_rank(jnp.asarray([3, 1, 2]), 0.1).dtype == "float32"
    check_grads(lambda x: lapsum.soft_rank(x, 1.0), (jnp.asarray(x[:5]),), 1, eps=1e-2, rtol=1e-2)


def test_integers_count_as_float(rng):
    assert lapsum.soft_rank(jnp.asarray([3, 1, 2]), 0.1).dtype == "float64"
    x = jnp.asarray([3, 1, 2])
    alpha_bar = jax.grad(lambda alpha: lapsum.soft_rank(x, alpha)[0])(0.5)
    assert np.isfinite(alpha_bar)


def test_any_layout_of_arguments(rng):
    x = jnp.asarray(rng.normal(size=(4, 6)))
    for given in (x.T, x[:, ::2], x[1:1], x[::-1]):
        expected = lapsum.soft_rank(np.asarray(given), 0.3)
        np.testing.assert_array_equal(lapsum.soft_rank(given, 0.3), expected)
        np.testing.assert_array_equal(jax.jit(lapsum.soft_rank)(given, 0.3), expected)


# ------------------------------------------------------------------------------------- derivatives


@every_operator
def test_gradients(name, rng, lowering):
    func, arrays = operator(name, rng)
    check_grads(func, arrays, 1, ["fwd", "rev"], rtol=1e-5, atol=1e-5)
    check_grads(jax.jit(func), arrays, 1, ["fwd", "rev"], rtol=1e-5, atol=1e-5)


DENSITIES = {
    "named": "logistic",
    "StudentT": lapsum.StudentT(4.0),
    "Density": lapsum.Density(st.hypsecant.cdf, st.hypsecant.pdf),
    "frozen": st.t(3.0),
}


@pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES.keys())
def test_any_density(density, rng):
    x, alpha = jnp.asarray(rng.normal(size=(2, 5))), jnp.asarray(0.4)

    def rank(x, alpha):
        return lapsum.soft_rank(x, alpha, density=density)

    expected = lapsum.soft_rank(np.asarray(x), 0.4, density=density)
    np.testing.assert_array_equal(rank(x, alpha), expected)
    np.testing.assert_array_equal(jax.jit(rank)(x, alpha), expected)
    check_grads(jax.jit(rank), (x, alpha), 1, ["fwd", "rev"], rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(rank, (0, None))(x, alpha), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="`density` must be"):
        lapsum.soft_rank(x, 0.4, density="no such thing")


@every_operator
def test_gradients_are_numpy_s(name, rng):
    func, arrays = operator(name, rng)
    given = call(name, np.random.default_rng(0), (2, 5), EVERY[name].weighted)
    hosts = dict(zip(given[1], map(np.asarray, arrays), strict=True))
    lin = lapsum.linearize(given[0], **hosts)
    bar = rng.normal(size=lin.value.shape)
    by_name = dict(zip(lin.parameters, lin.vjp(bar), strict=True))
    _, pull = jax.vjp(func, *arrays)
    for parameter, found in zip(hosts, pull(jnp.asarray(bar)), strict=True):
        np.testing.assert_array_equal(found, by_name[parameter])
    dots = {n: rng.normal(size=h.shape) for n, h in hosts.items()}
    expected = lin.jvp(*(dots[n] for n in lin.parameters))
    _, dot = jax.jvp(func, arrays, [jnp.asarray(d) for d in dots.values()])
    np.testing.assert_array_equal(dot, expected)


@every_operator
def test_jacobians_linearize_and_transpose(name, rng):
    func, arrays = operator(name, rng, shape=(2, 4))
    every = tuple(range(len(arrays)))
    by_rows = jax.jit(jax.jacrev(func, every))(*arrays)
    by_columns = jax.jacfwd(func, every)(*arrays)
    assert_all_close(by_rows, by_columns, rtol=1e-10, atol=1e-11)
    _, push = jax.linearize(func, *arrays)
    np.testing.assert_allclose(push(*arrays), jax.jvp(func, arrays, arrays)[1], atol=1e-12)
    y, pull = jax.vjp(func, *arrays)
    transposed = jax.linear_transpose(push, *arrays)(y)
    assert_all_close(transposed, pull(y), atol=1e-12)


WITH_STATE = ["log_soft_topk", "soft_quantile", "soft_rank", "soft_sort", "soft_permute", "lap_sum"]


@pytest.fixture
def linearized(monkeypatch):
    """Which rules were linearized without a state."""
    found = []
    for name in WITH_STATE:
        rule = RULES[getattr(lapsum, name)]

        def counting(self, linearize=rule.linearize):
            found.append(self)
            return linearize(self)

        monkeypatch.setattr(rule, "linearize", counting)
    return found


def long_operator(name, rng, shape=(2, 300)):
    """On lanes so long that the derivative begins with a state."""
    func, given = call(name, rng, shape)
    given["alpha"] = 0.4
    names = tuple(given)
    arrays = [jnp.asarray(v, float) for v in given.values()]
    return lambda *args: func(**dict(zip(names, args, strict=True))), arrays


@pytest.mark.parametrize("name", WITH_STATE)
def test_derivatives_begin_with_the_state(name, rng, lowering, linearized):
    func, arrays = long_operator(name, rng)
    every = tuple(range(len(arrays)))
    exact = jax.grad(lambda *a: (func(*a) ** 2).sum(), every)(*arrays)
    assert len(linearized) == 1
    for f in (func, jax.jit(func)):
        linearized.clear()
        found = jax.jit(jax.grad(lambda *a, f=f: (f(*a) ** 2).sum(), every))(*arrays)
        assert len(linearized) == 1
        assert_all_close(found, exact, rtol=1e-15)
    y, push = jax.linearize(func, *arrays)
    linearized.clear()
    dot = push(*arrays)
    assert not linearized
    np.testing.assert_array_equal(dot, jax.jvp(func, arrays, arrays)[1])
    assert_all_close(jax.linear_transpose(push, *arrays)(2 * y), exact, rtol=1e-13)
    with pytest.raises(NotImplementedError, match=SECOND):
        jax.jit(jax.hessian(lambda *a: func(*a).sum()))(*arrays)


@pytest.mark.parametrize("name", ["log_soft_topk", "soft_rank", "lap_sum"])
def test_vmap_of_what_has_a_state(name, rng):
    """Gradients are those of a loop, whatever is mapped over, in a jit or not."""
    func, arrays = long_operator(name, rng)
    every = tuple(range(len(arrays)))
    grad = jax.grad(lambda *a: (func(*a) ** 2).sum(), every)
    hosts = list(map(np.asarray, arrays))
    several = [np.stack([a, 1.1 * a, 0.7 * a], axis=-1) for a in hosts]
    for mapped in [*([i] for i in every), every]:
        dims = tuple(-1 if i in mapped else None for i in every)
        given = [
            s if i in mapped else a for i, (s, a) in enumerate(zip(several, hosts, strict=True))
        ]
        of_loop = [
            grad(
                *(
                    jnp.asarray(a if d is None else a[..., i])
                    for a, d in zip(given, dims, strict=True)
                )
            )
            for i in range(3)
        ]
        given = list(map(jnp.asarray, given))
        expected = [np.stack(one) for one in zip(*of_loop, strict=True)]
        for f in (jax.vmap(grad, dims), jax.jit(jax.vmap(grad, dims))):
            assert_all_close(f(*given), expected, rtol=1e-11, atol=1e-12)
        # The map inside of the derivative: the state is that of the one call.
        outside = jax.grad(lambda *a, d=dims: (jax.vmap(func, d)(*a) ** 2).sum(), every)
        for found, exact, d in zip(outside(*given), expected, dims, strict=True):
            exact = np.moveaxis(exact, 0, -1) if d is not None else exact.sum(0)
            np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-11)
    nested = jax.vmap(jax.vmap(grad, (-1,) * len(every)), (-1,) * len(every))
    twice = [np.stack([s, 0.9 * s], axis=-1) for s in several]
    found = nested(*map(jnp.asarray, twice))
    expected = grad(*(jnp.asarray(t[..., 1, 1]) for t in twice))
    assert_all_close([f[1, 1] for f in found], expected, rtol=1e-11, atol=1e-12)


def test_state_without_x64(rng):
    x = rng.normal(size=(2, 300)).astype(np.float32)
    expected = lapsum.vjp(lapsum.soft_rank, x, 0.1)[1](x)[0]
    jax.config.update("jax_enable_x64", False)
    for make in (lambda f: f, jax.jit):
        found = jax.vjp(make(lambda x: lapsum.soft_rank(x, 0.1)), x)[1](jnp.asarray(x))[0]
        np.testing.assert_array_equal(found, expected)


def test_second_derivatives_raise_by_every_route(rng):
    x = jnp.asarray(rng.normal(size=5))

    def loss(x):
        return (lapsum.soft_topk(x, 2.0, 0.5) ** 3).sum()

    for route in (
        jax.hessian(loss),
        jax.grad(lambda x: jax.grad(loss)(x).sum()),
        jax.jacfwd(jax.jacfwd(loss)),
        jax.jacrev(jax.jacrev(loss)),
        jax.jit(jax.hessian(loss)),
        lambda x: jax.jvp(jax.grad(loss), (x,), (x,)),
    ):
        with pytest.raises(NotImplementedError, match=SECOND):
            route(x)


# --------------------------------------------------------------------------------- transformations


@pytest.mark.parametrize("options", [{}, {"axis": 0}])
@every_operator
def test_vmap_is_a_loop(name, options, rng):
    """To the bit, over each argument alone and all of them."""
    func, arrays = operator(name, rng, shape=(4, 4))

    def f(*args):
        return func(*args, **options)

    every = tuple(range(len(arrays)))
    grad = jax.grad(lambda *a: (f(*a) ** 2).sum(), every)
    # By NumPy, since JAX would compile each slice.
    hosts = list(map(np.asarray, arrays))
    several = [np.stack([a, 1.1 * a, 0.7 * a], axis=a.ndim) for a in hosts]
    for mapped in [*([i] for i in every), every]:
        dims = tuple(a.ndim if i in mapped else None for i, a in enumerate(hosts))
        given = [
            s if i in mapped else a for i, (s, a) in enumerate(zip(several, hosts, strict=True))
        ]
        lanes = [
            [jnp.asarray(a if d is None else a[..., i]) for a, d in zip(given, dims, strict=True)]
            for i in range(3)
        ]
        given = list(map(jnp.asarray, given))
        expected = np.stack([f(*lane) for lane in lanes])
        np.testing.assert_array_equal(jax.vmap(f, dims)(*given), expected)
        found = jax.vmap(grad, dims)(*given)
        of_loop = zip(*(grad(*lane) for lane in lanes), strict=True)
        assert_all_close(found, map(np.stack, of_loop), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(jax.jit(jax.vmap(f, dims))(*given), expected)


@every_operator
def test_vmap_of_nothing(name, rng):
    """Value and gradients of a batch of none, on lanes with a state and without."""
    for n in (4, 300):
        func, arrays = operator(name, rng, (1, n)) if n == 4 else long_operator(name, rng, (1, n))
        if name == "soft_permutation" and n > 4:
            continue
        every = tuple(range(len(arrays)))
        grad = jax.grad(lambda *a, f=func: (f(*a) ** 2).sum(), every)
        none = [jnp.empty((0, *a.shape)) for a in arrays]
        for dims in (0, tuple(None if i else 0 for i in every)):
            given = none if dims == 0 else [none[0], *arrays[1:]]
            assert jax.vmap(func, dims)(*given).shape == (0, *func(*arrays).shape)
            for found, a in zip(jax.vmap(grad, dims)(*given), arrays, strict=True):
                assert found.shape == (0, *a.shape)


def test_vmap_of_weights_along_several_axes(rng):
    x, weights = (jnp.asarray(rng.uniform(1, 2, shape)) for shape in ((3, 2, 4), (3, 8)))
    for axis in ((0, 1), (1, 0)):

        def quantile(x, weights, axis=axis):
            return lapsum.soft_quantile(x, 0.4, 0.5, weights=weights, axis=axis)

        expected = jnp.stack([quantile(x[i], weights[i]) for i in range(3)])
        np.testing.assert_array_equal(jax.vmap(quantile)(x, weights), expected)
        grad = jax.grad(quantile, (0, 1))
        of_loop = zip(*(grad(x[i], weights[i]) for i in range(3)), strict=True)
        found = jax.vmap(grad)(x, weights)
        assert_all_close(found, map(jnp.stack, of_loop), rtol=1e-12, atol=1e-12)


def test_vmap_of_targets_keys_and_levels(rng):
    x, r = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(3, 5)))
    found = jax.vmap(lambda x, r: lapsum.lap_sum(x, r, 0.5))(x, r)
    expected = jnp.stack([lapsum.lap_sum(x[i], r[i], 0.5) for i in range(3)])
    np.testing.assert_array_equal(found, expected)
    values = jnp.asarray(rng.normal(size=(3, 5, 2)))
    found = jax.vmap(lambda x, v: lapsum.soft_permute(x, v, 0.5, axis=0))(r, values)
    expected = [lapsum.soft_permute(r[i], values[i], 0.5, axis=0) for i in range(3)]
    np.testing.assert_array_equal(found, jnp.stack(expected))
    q = jnp.asarray([[0.1, 0.5], [0.2, 0.6], [0.3, 0.7]])
    found = jax.vmap(lambda x, q: lapsum.soft_quantile(x, q, 0.5))(r, q)
    expected = [lapsum.soft_quantile(r[i], q[i], 0.5) for i in range(3)]
    np.testing.assert_array_equal(found, jnp.stack(expected))
    found = jax.vmap(lambda x: lapsum.soft_quantile(x, [0.1, 0.5], 0.5, keepdims=True))(r)
    expected = [lapsum.soft_quantile(x, [0.1, 0.5], 0.5, keepdims=True) for x in r]
    np.testing.assert_array_equal(found, jnp.stack(expected))


def test_scan_cond_and_checkpoint(rng, lowering):
    x = jnp.asarray(rng.normal(size=(2, 6)))

    def loss(x):
        return (lapsum.soft_topk(x, 2.0, 0.5) ** 2).sum()

    def step(x, _):
        x = x - 0.1 * jax.grad(loss)(x)
        return x, loss(x)

    scanned, losses = jax.jit(lambda x: jax.lax.scan(step, x, None, length=5))(x)
    looped = x
    for _ in range(5):
        looped, _ = step(looped, None)
    np.testing.assert_allclose(scanned, looped, rtol=1e-12)
    assert losses[-1] < losses[0]
    through = jax.grad(
        lambda x: jax.lax.scan(lambda c, _: (lapsum.soft_rank(c, 0.5), None), x, None, length=3)[0][
            0, 0
        ]
    )
    assert np.isfinite(through(x)).all()
    found = jax.jit(jax.grad(lambda x: jax.checkpoint(loss)(x)))(x)
    np.testing.assert_array_equal(found, jax.grad(loss)(x))
    chosen = jax.jit(lambda b, x: jax.lax.cond(b, loss, lambda x: 0.0, x))
    np.testing.assert_array_equal(chosen(True, x), loss(x))


def test_sharded(rng):
    if len(jax.devices()) < 2:
        pytest.skip("JAX was initialized with one device")
    if not hasattr(jax, "shard_map"):
        pytest.skip("jax.shard_map came with JAX 0.7")
    from jax.sharding import NamedSharding, PartitionSpec

    x = jnp.asarray(rng.normal(size=(4, 6)))
    by = PartitionSpec("i")
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(x, NamedSharding(mesh, by))

    def rank(x):
        return lapsum.soft_rank(x, 0.5)

    def loss(x):
        return (rank(x) ** 2).sum()

    np.testing.assert_array_equal(jax.jit(rank)(split), rank(x))
    np.testing.assert_array_equal(rank(split), rank(x))
    for f in (rank, jax.grad(loss), lambda x: lapsum.soft_quantile(x, 0.5, 0.3)):
        mapped = jax.shard_map(f, mesh=mesh, in_specs=by, out_specs=by)
        np.testing.assert_array_equal(jax.jit(mapped)(split), f(x))

    # What all devices share gets the sum of their gradients.
    def of_alpha(x, alpha):
        return (lapsum.soft_rank(x, alpha) ** 2).sum(-1)

    shared = jax.shard_map(of_alpha, mesh=mesh, in_specs=(by, PartitionSpec()), out_specs=by)
    found = jax.grad(lambda alpha: jax.jit(shared)(split, alpha).sum())(0.5)
    expected = jax.grad(lambda alpha: of_alpha(x, alpha).sum())(0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # JAX's own
def test_pmap(rng):
    if len(jax.devices()) < 2:
        pytest.skip("JAX was initialized with one device")
    x = jnp.asarray(rng.normal(size=(2, 300)))

    def loss(x):
        return (lapsum.soft_rank(x, 0.5) ** 2).sum()

    found, expected = jax.pmap(jax.grad(loss))(x), jax.grad(loss)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_export(rng):
    pytest.importorskip("flatbuffers", reason="jax.export needs flatbuffers")
    export = pytest.importorskip("jax.export", reason="older versions of jax.export need absl")

    x = jnp.asarray(rng.normal(size=(2, 6)))
    func = jax.jit(lambda x: lapsum.soft_topk(x, 2.0, 0.5))
    allowed = [export.DisabledSafetyCheck.custom_call(primitives.TARGET)]
    exported = export.export(func, disabled_checks=allowed)(jax.ShapeDtypeStruct(x.shape, x.dtype))
    again = export.deserialize(exported.serialize())
    np.testing.assert_array_equal(again.call(x), func(x))


def test_annealing_does_not_recompile(rng):
    """A traced alpha is an argument, and eager calls compile nothing."""
    x = jnp.asarray(rng.normal(size=6))
    traced = 0

    @jax.jit
    def loss(x, alpha):
        nonlocal traced
        traced += 1
        return lapsum.soft_topk(x, 2.0, alpha).sum()

    for alpha in (1.0, 0.5, 0.25):
        loss(x, alpha)
    assert traced == 1
    q, others = jnp.asarray([[0.1, 0.5], [0.2, 0.6]]), jnp.asarray([[0.3, 0.4], [0.2, 0.8]])
    levels = jax.vmap(jax.grad(lambda q: lapsum.soft_quantile(x, q, 0.5).sum()))
    levels(q)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "compile" in event else None
    )
    for alpha in (1.0, 0.5, 0.25):
        lapsum.soft_rank(x, alpha)
    levels(others)
    jax.monitoring.clear_event_listeners()
    assert not compiled


def test_traced_k(rng):
    x = jnp.asarray(rng.normal(size=6))
    f = jax.jit(lambda x, k: lapsum.soft_topk(x, k, 0.5))
    for k in (1, 2.5):
        np.testing.assert_array_equal(f(x, k), lapsum.soft_topk(np.asarray(x), k, 0.5))


def test_integers_have_no_tangents(rng, lowering):
    """And those of all else are as without them."""
    x = jnp.asarray(rng.normal(size=(2, 5)))

    def first(k, x):
        return lapsum.soft_topk(x, k, 0.5)[0, 0]

    for k in (jnp.asarray(2), jnp.asarray([2, 3])):
        grad = jax.grad(first, (0, 1), allow_int=True)
        for f in (grad, jax.jit(grad)):
            k_bar, x_bar = f(k, x)
            assert k_bar.dtype == jax.dtypes.float0
            np.testing.assert_array_equal(x_bar, jax.grad(first, 1)(k.astype(float), x))
        dots = np.zeros(k.shape, jax.dtypes.float0), x
        dot = jax.jvp(first, (k, x), dots)[1]
        np.testing.assert_allclose(dot, jnp.vdot(x_bar, x), rtol=1e-12)


def test_denormal_numbers_count_in_the_threads_of_xla(lowering):
    """Which take them for zero."""
    f = jax.jit(lapsum.soft_rank)
    for entries, alpha in (([1e300, -1e300, 0.0], 0.5), ([3e-310, 1e-310, 2e-310], 1e-310)):
        expected = lapsum.soft_rank(np.array(entries), alpha)
        np.testing.assert_array_equal(f(np.array(entries), np.array(alpha)), expected)


def test_results_are_where_the_arguments_are(rng):
    """And as free to go elsewhere."""
    x = jnp.asarray(rng.normal(size=(2, 5)))
    assert not lapsum.soft_rank(x, 0.5).committed
    if len(jax.devices()) < 2:
        pytest.skip("JAX was initialized with one device")
    other = jax.device_put(x, jax.devices()[1])
    for y in (
        lapsum.soft_rank(other, 0.5),
        jax.grad(lambda x: lapsum.soft_sort(x, 0.5)[0, 0])(other),
    ):
        assert y.committed
        assert y.devices() == other.devices()
    np.testing.assert_array_equal(
        lapsum.soft_rank(x, 0.5) + other, lapsum.soft_rank(other, 0.5) + x
    )


def test_without_jit_with_checks_and_with_donated_memory(rng):
    x = jnp.asarray(rng.normal(size=(2, 5)))
    grad = jax.jit(jax.vmap(jax.grad(lambda x: lapsum.soft_rank(x, 0.5)[0] ** 2)))
    expected = grad(x)
    with jax.disable_jit():
        np.testing.assert_allclose(grad(x), expected, rtol=1e-12)
    with jax.checking_leaks():
        jax.clear_caches()
        np.testing.assert_array_equal(grad(x), expected)
        jax.jit(jax.jacfwd(lambda x: lapsum.soft_quantile(x, [0.3], 0.5)))(x)
    sort = jax.jit(lambda x: lapsum.soft_sort(x, 0.5), donate_argnums=0)
    expected = lapsum.soft_sort(x, 0.5)
    np.testing.assert_array_equal(sort(jnp.array(x)), expected)
    np.testing.assert_array_equal(jax.vmap(jax.custom_batching.sequential_vmap(sort))(x), expected)


# ----------------------------------------------------------------------------------------- threads


def test_threads_and_chains_do_not_hang(rng, lowering):
    x = jnp.asarray(rng.normal(size=(3, 40)))

    @jax.jit
    def chain(x):
        for _ in range(3):
            x = lapsum.soft_rank(x, 0.5) + lapsum.soft_sort(x, 0.5)
        return x.sum()

    grad = jax.jit(jax.grad(chain))
    expected = np.asarray(grad(x))
    found = []

    def work():
        found.extend(np.asarray(grad(x)) for _ in range(10))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert all((f == expected).all() for f in found)
    assert len(found) == 60


# ------------------------------------------------------------------------------------------ errors


def test_bad_values_name_the_argument(lowering):
    x = jnp.ones(5)
    with pytest.raises(ValueError, match="`alpha` must be positive"):
        lapsum.soft_rank(x, -1.0)
    with pytest.raises(ValueError, match="`k` must lie between"):
        lapsum.soft_topk(x, jnp.asarray(6.0), 0.1)
    with pytest.raises(jax.errors.JaxRuntimeError, match="`alpha` must be positive"):
        jax.jit(lapsum.soft_rank)(x, -1.0).block_until_ready()
    with pytest.raises(TypeError, match="`x` must be real numbers.*complex"):
        lapsum.soft_rank(x.astype(complex), 0.1)
    with pytest.raises(TypeError, match="`alpha` must be real numbers"):
        lapsum.soft_rank(x, "a")
    with pytest.raises(TypeError, match="`axis` must be an integer"):
        lapsum.soft_rank(x, 0.1, axis=0.5)
    with pytest.raises(TypeError, match="`out` must be None"):
        lapsum.soft_rank(x, 0.1, out=np.empty(5))
    with pytest.raises(np.exceptions.AxisError):
        jax.jit(lambda x: lapsum.soft_sort(x, 0.1, axis=2))(x)


def test_workers(rng):
    x = jnp.asarray(rng.normal(size=(8, 50)))
    found = jax.jit(lambda x: lapsum.soft_rank(x, 0.3, workers=2))(x)
    np.testing.assert_array_equal(found, lapsum.soft_rank(x, 0.3))
