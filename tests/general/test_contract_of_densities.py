"""The shared contract, on the operators with other densities than Laplace's."""

import importlib.util
from pathlib import Path

import pytest
from any_density import general_contracts


def _load(name):
    path = Path(__file__).parents[1] / "contract" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"shared_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = _load("test_contract")
MATHEMATICS = [
    shared.test_value_is_within_its_bound,
    shared.test_derivatives_match_the_dense_jacobian,
    shared.test_jvp_and_vjp_are_adjoint,
    shared.test_equivariance_under_scaling_is_exact,
    shared.test_equivariance_under_translation,
    shared.test_infinities_are_the_limit_of_large_entries,
]


def cases(name):
    """Every operator with this density, with every option, with and without weights."""
    for contract in general_contracts(name):
        for options in contract.options:
            for weighted in (False, True) if contract.weighted else (False,):
                variant = "-".join([name, contract.name, *options, *["weighted"] * weighted])
                yield pytest.param(contract, options, weighted, id=variant)


@pytest.mark.parametrize("check", MATHEMATICS, ids=lambda f: f.__name__[5:])
@pytest.mark.parametrize(("contract", "options", "weighted"), list(cases("laplace")))
def test_the_laplace_density_like_any_other(check, contract, options, weighted, rng):
    check(contract, options, weighted, rng)


@pytest.mark.parametrize("name", ["logistic", "normal", "cauchy", "student3"])
def test_values_are_within_their_bounds(name, rng):
    for case in cases(name):
        shared.test_value_is_within_its_bound(*case.values, rng)


@pytest.mark.parametrize("name", ["logistic", "normal", "cauchy", "student3"])
def test_derivatives_match_the_dense_jacobian(name, rng):
    for case in cases(name):
        shared.test_derivatives_match_the_dense_jacobian(*case.values, rng)
