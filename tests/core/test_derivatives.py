"""linearize, jvp, vjp and Linearization beyond what the contract runs on every operator."""

import dataclasses
import pickle
import typing
from functools import partial

import numpy as np
import pandas as pd
import pytest
from contract import batch_of, contracts
from scipy.optimize import approx_fprime, least_squares, minimize
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsqr

import lapsum

X = np.array([0.3, -1.0, 2.0, 0.9])


@pytest.fixture
def lin():
    return lapsum.linearize(lapsum.soft_topk, X, 2, 0.5)


@pytest.mark.parametrize(
    "func", [np.sort, "soft_rank", None, lapsum.SoftPermutation, lapsum.vjp, []]
)
def test_only_operators_are_linearized(func):
    with pytest.raises(TypeError, match="^`func` must be an operator of lapsum, got"):
        lapsum.linearize(func, X, 0.5)


def test_arguments_bind_as_in_a_call():
    with pytest.raises(TypeError, match=r"^soft_rank\(\) missing a required argument: 'alpha'"):
        lapsum.linearize(lapsum.soft_rank, X)
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
        lapsum.linearize(lapsum.soft_rank, X, 0.5, beta=1)
    with pytest.raises(TypeError, match="^`primals` must be a tuple, .* got ndarray"):
        lapsum.jvp(lapsum.soft_rank, X, (X, None))
    with pytest.raises(TypeError, match="^`tangents` must be a tuple, .* got NoneType"):
        lapsum.jvp(lapsum.soft_rank, (X, 0.5), None)


def test_a_linearization_is_frozen_and_not_iterable(lin):
    with pytest.raises(dataclasses.FrozenInstanceError):
        lin.value = 1
    with pytest.raises(TypeError):
        iter(lin)
    assert repr(lin) == "Linearization(value of shape (4,), parameters=('x', 'k', 'alpha'))"


def test_tangents_are_counted_and_shaped(lin):
    with pytest.raises(TypeError, match=r"^jvp takes one tangent for each of .* got 2"):
        lin.jvp(X, None)
    with pytest.raises(ValueError, match=r"^`tangent of x` must have shape \(4,\), got \(3,\)"):
        lin.jvp(X[:3], None, None)
    with pytest.raises(ValueError, match=r"^`tangent of alpha` must have shape \(\), got \(1,\)"):
        lin.jvp(None, None, [1.0])
    with pytest.raises(TypeError, match="^`tangent of x` must be real numbers"):
        lin.jvp(X * 1j, None, None)
    with pytest.raises(ValueError, match=r"^`cotangent` must have shape \(4,\), got \(\)"):
        lin.vjp(1.0)
    for wrt, wrong in ((("y",), "'y'"), (0, "0"), ("alphas", "'alphas'")):
        with pytest.raises(ValueError, match=f"^`wrt` must name parameters of .* got {wrong}"):
            lin.vjp(X, wrt=wrt)


def test_wrt_leaves_the_others_out(lin):
    assert lin.vjp(X, wrt=()) == (None, None, None)
    assert lin.vjp(X, wrt="k")[0] is None
    assert isinstance(lin.vjp(X, wrt=["k"])[1], np.float64)


def test_scalars_are_numpy_scalars():
    value, tangent = lapsum.jvp(lapsum.soft_quantile, (X, 0.5, 0.5), (X, None, None))
    assert isinstance(value, np.float64)
    assert isinstance(tangent, np.float64)
    value, pullback = lapsum.vjp(lapsum.lap_sum, np.float32(1), X.astype(np.float32), 0.5)
    assert isinstance(value, np.float32)
    assert [type(bar).__name__ for bar in pullback(1.0)] == ["float32", "ndarray", "float64"]


def test_jacobian_is_a_linear_operator(lin):
    jacobian = lin.jacobian("x")
    assert isinstance(jacobian, LinearOperator)
    matrix = jacobian @ np.eye(4)
    np.testing.assert_allclose(matrix.T, jacobian.T @ np.eye(4), atol=1e-16)
    assert lin.jacobian("k").shape == (4, 1)
    with pytest.raises(ValueError, match="^`name` must be one of"):
        lin.jacobian("y")


def test_scipy_optimizers_take_the_derivatives():
    target = np.array([1.0, 4.0, 2.0, 3.0])

    def loss(x):
        rank, pullback = lapsum.vjp(lapsum.soft_rank, x, 0.5)
        return ((rank - target) ** 2).sum(), pullback(2 * (rank - target))[0]

    np.testing.assert_allclose(loss(X)[1], approx_fprime(X, lambda x: loss(x)[0]), rtol=1e-5)
    found = minimize(loss, X, jac=True)
    np.testing.assert_array_equal(np.argsort(found.x), [0, 2, 3, 1])

    wanted = lapsum.soft_sort([0.0, 1.0, 2.5, 4.0], 0.5)
    found = least_squares(
        lambda x: lapsum.soft_sort(x, 0.5) - wanted,
        X,
        jac=lambda x: lapsum.linearize(lapsum.soft_sort, x, 0.5).jacobian("x"),
    )
    np.testing.assert_allclose(np.sort(found.x), [0.0, 1.0, 2.5, 4.0], atol=1e-6)


class TestSoftPermutation:
    P = lapsum.SoftPermutation(X, 0.5)

    def test_products_agree_with_the_matrix(self, rng):
        for descending in (False, True):
            P = lapsum.SoftPermutation(X, 0.5, descending=descending)
            matrix = lapsum.soft_permutation(X, 0.5, descending=descending)
            np.testing.assert_array_equal(P.toarray(), matrix)
            v, V = rng.normal(size=4), rng.normal(size=(4, 3))
            pairs = [
                (P @ v, matrix @ v),
                (P.T @ v, matrix.T @ v),
                (P.H @ V, matrix.T @ V),
                (P @ V, matrix @ V),
                (v @ P, v @ matrix),
                (V.T @ P, V.T @ matrix),
                (P.matvec(v[:, None]), matrix @ v[:, None]),
                (P.rmatvec(v), matrix.T @ v),
                (P.matmat(V), matrix @ V),
                (P.rmatmat(V), matrix.T @ V),
                (P.T.toarray(), matrix.T),
                (P.T.T @ v, matrix @ v),
            ]
            for got, expected in pairs:
                np.testing.assert_allclose(got, expected, atol=1e-15, strict=True)

    def test_scipy_takes_it_for_an_operator(self):
        solution = lsqr(aslinearoperator(self.P), self.P @ X, atol=1e-14, btol=1e-14)[0]
        np.testing.assert_allclose(solution, X, atol=1e-10)

    def test_dtypes(self):
        P = lapsum.SoftPermutation(X.astype(np.float32), 0.5)
        assert P.dtype == np.float32
        assert (P @ X.astype(np.float32)).dtype == np.float32
        assert (P @ X).dtype == np.float64
        assert (P @ [1, 2, 3, 4]).dtype == np.float64
        assert P.toarray().dtype == np.float32

    def test_wrong_shapes_are_value_errors(self):
        for bad in (np.ones(3), np.ones((3, 2)), np.float64(2), np.ones((4, 2, 2))):
            with pytest.raises(ValueError, match="^`v` must have shape"):
                self.P @ bad
        with pytest.raises(ValueError, match="^`x` must be 1-D"):
            lapsum.SoftPermutation(np.ones((2, 2)), 0.5)
        with pytest.raises(ValueError, match="^`alpha` must be one number"):
            lapsum.SoftPermutation(X, [0.5, 0.6])

    def test_nan_and_empty(self):
        assert np.isnan(lapsum.SoftPermutation([0.0, np.nan], 0.5) @ np.ones(2)).all()
        assert np.isnan(self.P @ [1.0, np.nan, 0.0, 0.0]).all()
        assert (lapsum.SoftPermutation([], 0.5) @ np.ones(0)).shape == (0,)
        assert (lapsum.SoftPermutation([], 0.5) @ np.ones((0, 3))).shape == (0, 3)

    def test_keeps_a_copy(self):
        x = X.copy()
        P = lapsum.SoftPermutation(x, 0.5)
        x[:] = 0
        np.testing.assert_array_equal(P @ X, self.P @ X)


@pytest.mark.parametrize("name", ["soft_rank", "soft_quantile", "lap_sum", "lap_sum_inv"])
def test_an_absent_entry_changes_no_bit_of_other_lanes(name, rng):
    n = 40
    func, r, weights = getattr(lapsum, name), rng.normal(size=(2, n)), rng.uniform(size=(2, n))
    weights[1, ::3] = 0.0
    first = {
        "soft_rank": [r],
        "soft_quantile": [r, [0.2, 0.7]],
        "lap_sum": [rng.normal(size=(2, 9)), r],
        "lap_sum_inv": [rng.uniform(1.0, 2.0, size=(2, 9)), r],
    }[name]
    alone = [a[0] if isinstance(a, np.ndarray) else a for a in first]
    both = lapsum.linearize(func, *first, [0.3, 0.3], weights=weights)
    one = lapsum.linearize(func, *alone, 0.3, weights=weights[0])
    at = both.parameters.index("weights")
    lane = (slice(None), 0) if name == "soft_quantile" else 0
    bar, dot = rng.normal(size=both.value.shape), rng.normal(size=weights.shape)
    got = both.jvp(*[None] * at, dot)[lane]
    np.testing.assert_array_equal(got, one.jvp(*[None] * at, dot[0]))
    (got,) = filter(lambda a: a is not None, both.vjp(bar, wrt=["weights"]))
    (expected,) = filter(lambda a: a is not None, one.vjp(bar[lane], wrt=["weights"]))
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.parametrize("contract", [pytest.param(c, id=c.name) for c in contracts()])
def test_jacobians_are_written_out_and_pickled(contract, rng):
    arguments = batch_of(contract, [contract.random(rng, 4, contract.weighted) for _ in range(2)])
    lin = lapsum.linearize(contract.func, **arguments)
    again = pickle.loads(pickle.dumps(lin))
    bar = rng.normal(size=lin.value.shape)
    for name, one, other in zip(lin.parameters, lin.vjp(bar), again.vjp(bar), strict=True):
        np.testing.assert_array_equal(one, other)
        jacobian = lin.jacobian(name)
        matrix = jacobian.toarray()
        assert matrix.shape == jacobian.shape
        np.testing.assert_allclose(matrix, jacobian @ np.eye(matrix.shape[1]), atol=1e-15)
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(jacobian)).toarray(), matrix, strict=True
        )
        np.testing.assert_array_equal(jacobian.T.toarray(), matrix.T, strict=True)


# Those with a formula for the elements, which must hold where the products do.
@pytest.mark.parametrize("n", [1, 2, 7, 300])
@pytest.mark.parametrize("alpha", [1e-6, 0.3, 1e5])
@pytest.mark.parametrize(
    ("func", "levels", "flag"),
    [
        (lapsum.soft_rank, (), "descending"),
        (lapsum.soft_sort, (), "descending"),
        (lapsum.soft_topk, (0.7,), "largest"),
        (lapsum.log_soft_topk, (0.7,), "largest"),
    ],
)
def test_elements_of_jacobians_are_the_products(func, levels, flag, alpha, n, rng):
    x = rng.normal(size=(2, n, 3))
    x[0, : n // 2] = x[0, 0]  # ties
    for value in (False, True):
        lin = lapsum.linearize(func, x, *levels, alpha, axis=1, **{flag: value})
        jacobian = lin.jacobian("x")
        assert lin._rule.dense("x") is not None
        products = np.stack([jacobian @ unit for unit in np.eye(x.size)], axis=-1)
        scale = np.abs(products).max(initial=np.finfo(float).tiny)
        np.testing.assert_allclose(jacobian.toarray(), products, rtol=2e-13, atol=1e-14 * scale)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_jacobians_of_lanes_that_are_not_finite(spoilt):
    x = [[1.0, spoilt, 2.0], [3.0, 1.0, 2.0]]
    for func, levels in ((lapsum.soft_rank, ()), (lapsum.soft_topk, (1,)), (lapsum.soft_sort, ())):
        jacobian = lapsum.linearize(func, x, *levels, 0.5).jacobian("x")
        np.testing.assert_array_equal(jacobian.toarray(), jacobian @ np.eye(6))


def test_dense_jacobians_serve_least_squares():
    target = np.array([1.0, 3.0, 2.0, 4.0])

    def jacobian(x):
        return lapsum.linearize(lapsum.soft_rank, x, 0.5).jacobian("x").toarray()

    fit = least_squares(
        lambda x: lapsum.soft_rank(x, 0.5) - target, np.arange(4.0), jac=jacobian, method="lm"
    )
    assert fit.cost < 1e-20


def test_partials_of_operators():
    smooth = partial(lapsum.soft_rank, alpha=0.3)
    down = partial(smooth, descending=True)
    x = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(lapsum.linearize(smooth, x).value, smooth(x))
    np.testing.assert_array_equal(lapsum.vjp(down, x)[0], down(x))
    value, tangent = lapsum.jvp(partial(lapsum.soft_rank, x), (0.3,), (None, 1.0))
    expected = lapsum.jvp(lapsum.soft_rank, (x, 0.3), (None, 1.0))
    np.testing.assert_array_equal((value, tangent), expected)
    with pytest.raises(TypeError, match="^`func` must be an operator of lapsum"):
        lapsum.linearize(partial(np.sort), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0],), r"^soft_rank\(\) missing a required argument: 'alpha'; it is the scale"),
        (([1.0], 0.1, 2), r"^soft_rank\(\) too many positional arguments"),
    ],
)
def test_arguments_that_do_not_bind(arguments, message):
    for call in (lapsum.soft_rank, partial(lapsum.linearize, lapsum.soft_rank)):
        with pytest.raises(TypeError, match=message):
            call(*arguments)
        with pytest.raises(TypeError, match="unexpected keyword argument 'dim'; use `axis`$"):
            call([1.0], 0.1, dim=0)
        with pytest.raises(TypeError, match="unexpected keyword argument 'tau'; use `alpha`$"):
            call([1.0], tau=0.1)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (pd.Series([1, 2, None], dtype="Int64"), "dtype Int64 with missing values"),
        (pd.Series([True, None], dtype="boolean"), "dtype boolean with missing values"),
        (pd.Series([2, 1]).astype("category"), "dtype category; its codes are"),
    ],
)
def test_values_of_pandas_that_are_no_numbers(series, message):
    with pytest.raises(TypeError, match=f"^`x` must be real numbers, got Series of {message}"):
        lapsum.soft_rank(series, 0.1)


@pytest.mark.parametrize(
    "made",
    [
        *(getattr(lapsum, name) for name in lapsum.__all__),
        *(getattr(lapsum.ot, name) for name in lapsum.ot.__all__),
        *(getattr(lapsum.Linearization, name) for name in ("jvp", "vjp", "jacobian")),
    ],
    ids=lambda made: f"{made.__module__}.{made.__qualname__}",
)
def test_types_are_known_at_run_time(made):
    hints = typing.get_type_hints(made)
    assert hints.get("return") is not typing.Any


def test_transport_speaks_of_its_own_arguments():
    for message, arguments in (
        ("keyword argument 'tau'; use `epsilon`$", {"tau": 0.1}),
        ("argument: 'epsilon'; it is the strength of the entropy", {}),
    ):
        with pytest.raises(TypeError, match=message):
            lapsum.ot.sinkhorn_rank([1.0, 2.0], **arguments)


def test_what_dir_shows():
    assert dir(lapsum) == sorted([*lapsum.__all__, "__version__"])
