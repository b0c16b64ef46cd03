"""The shared contract, on the operators with other densities than Laplace's."""

import importlib.util
import inspect
from pathlib import Path

import pytest
from any_density import DENSITIES, general_contracts
from backends import DEVICES, EVERYWHERE, HOST


def _load(name):
    path = Path(__file__).parents[1] / "contract" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"shared_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mathematics, inputs = _load("test_contract"), _load("test_contract_inputs")
every_backend = pytest.mark.parametrize("backend", EVERYWHERE)
EVERY_CASE = ["contract", "options", "weighted", "rng"]
EXACT = ("test_value_is_within_its_bound", "test_derivatives_match_the_dense_jacobian")


def _checks(*modules):
    return [
        check
        for module in modules
        for name, check in vars(module).items()
        if name.startswith("test_") and list(inspect.signature(check).parameters) == EVERY_CASE
    ]


def cases(name, most=None, backends=(HOST,)):
    """Every operator with this density, with options, with and without weights."""
    return [
        pytest.param(
            contract.on(backend),
            options,
            weighted,
            id="-".join(
                [backend.name, name, contract.func.__name__, *options, *["weighted"] * weighted]
            ),
            marks=backend.marks,
        )
        for backend in backends
        for contract in general_contracts(name)
        for options in contract.options[:most]
        for weighted in ([False, True] if contract.weighted else [False])
    ]


def _is_for(check, contract, options):
    """Whether a check is for this backend, and for outputs that belong to entries or not."""
    (mark,) = (mark for mark in check.pytestmark if mark.name == "parametrize")
    if all(case.values[0].backend.name != contract.backend.name for case in mark.args[1]):
        return False
    if check.__name__ != "test_tied_entries_get_identical_results":
        return True
    return contract.core == "matrix" or contract.follows or options.get("transpose")


@pytest.mark.parametrize("check", _checks(mathematics), ids=lambda f: f.__name__[5:])
@pytest.mark.parametrize(("contract", "options", "weighted"), cases("laplace", 2))
def test_the_laplace_density_like_any_other(check, contract, options, weighted, rng):
    if _is_for(check, contract, options):
        check(contract, options, weighted, rng)


@pytest.mark.parametrize("check", _checks(mathematics, inputs), ids=lambda f: f.__name__[5:])
@pytest.mark.parametrize(
    ("contract", "options", "weighted"), cases("logistic", 1, (HOST, *DEVICES))
)
def test_the_logistic_density(check, contract, options, weighted, rng):
    exact = check.__name__ in EXACT
    if not exact and _is_for(check, contract, options):
        check(contract, options, weighted, rng)


@every_backend
@pytest.mark.parametrize("name", DENSITIES)
def test_values_are_within_their_bounds(name, backend, rng):
    for case in cases(name, 1, (backend,)):
        contract, options, weighted = case.values
        for n in (1, 4):
            arguments = {**contract.random(rng, n, weighted), **options}
            assert contract.units(contract.call(**arguments), **arguments) <= 1, case.id


@every_backend
@pytest.mark.parametrize("name", DENSITIES)
def test_derivatives_match_the_dense_jacobian(name, backend, rng):
    # The others solve for the same thresholds, and differentiate them in the same way.
    few = ("soft_rank", "soft_topk", "log_soft_topk", "soft_quantile", "cdf_sum")
    for case in cases(name, 1, (backend,)):
        operator = case.values[0].func.__name__
        if operator in few or (name == "logistic" and operator != "soft_permute"):
            mathematics.test_derivatives_match_the_dense_jacobian(*case.values, rng)
