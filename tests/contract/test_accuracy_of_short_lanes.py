"""Lanes of up to 256 entries, weighted or not, against many digits, in units of the bounds."""

import itertools

import numpy as np
import pytest
from accuracy import derivative_error_of
from contract import contracts

MATRICES = ("soft_permute", "soft_permutation")  # in many digits these take long
OPERATORS = ("soft_topk", "log_soft_topk", "soft_rank", "soft_quantile", "soft_sort", *MATRICES)
# Entries, and a scale they are met by.
REGIMES = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.1),
    "ties": (lambda rng, n: rng.integers(0, 4, n) / 3.0, 0.3),
    "offset": (lambda rng, n: 1e8 + rng.normal(size=n), 1e-2),
    "tiny alpha": (lambda rng, n: rng.normal(size=n), 1e-9),
    "subnormal": (lambda rng, n: rng.integers(-20, 20, n) * 5e-324, 1e-322),
}
WEIGHTS = {
    "unit weights": lambda rng, n: None,
    "weights": lambda rng, n: rng.uniform(0.5, 1.5, n),
    "weights over 8 decades": lambda rng, n: 10.0 ** rng.uniform(-8, 0, n),
    "some absent": lambda rng, n: np.maximum(rng.integers(0, 3, n), np.arange(n) == 0) * 1.0,
}
CASES = [
    pytest.param(contract, regime, weights, id=f"{contract.name} {regime} {weights}")
    for contract, regime, weights in itertools.product(contracts(), REGIMES, WEIGHTS)
    if contract.name in OPERATORS and (contract.weighted or weights == "unit weights")
]


def lanes(contract, regime, weights, sizes, rng):
    """A lane of each size with each option."""
    entries, alpha = REGIMES[regime]
    for n, options in itertools.product(sizes, contract.options):
        c = WEIGHTS[weights](rng, n)
        yield {**contract.lane(rng, entries(rng, n), alpha, c), **options}


@pytest.mark.parametrize(("contract", "regime", "weights"), CASES)
def test_values_are_within_their_bounds(contract, regime, weights, rng):
    sizes = (3, 7, 10, 33) if contract.name in MATRICES else (3, 7, 10, 33, 100, 200)
    if regime == "subnormal":  # many digits are slow where exponents are huge
        sizes = (3, 7, 10)
    for arguments in lanes(contract, regime, weights, sizes, rng):
        assert contract.units(contract.call(**arguments), **arguments) <= 1


@pytest.mark.parametrize(
    ("contract", "regime", "weights"), [case for case in CASES if case.values[1] != "subnormal"]
)
def test_derivatives_are_within_1e_12_of_their_scale(contract, regime, weights, rng):
    sizes = (7, 10) if contract.name in MATRICES else (7, 33)
    for arguments in lanes(contract, regime, weights, sizes, rng):
        assert derivative_error_of(contract, arguments, rng) <= 1
