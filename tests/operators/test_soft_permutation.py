import numpy as np
import oracle
import pytest
from contract import Contract, permutation_scales

import lapsum


def bound(exact, x, alpha, descending=False):
    scales = permutation_scales(x, alpha)
    return oracle._flat(scales[::-1] if descending else scales)


CONTRACT = Contract(
    lapsum.soft_permutation,
    bound=bound,
    options=({}, {"descending": True}),
    weighted=False,
    core="matrix",
)


def test_tends_to_the_permutation_that_sorts(rng):
    x = rng.permutation(9).astype(float)
    P = lapsum.soft_permutation(x, 1e-3)
    np.testing.assert_allclose(P, np.eye(9)[np.argsort(x)], atol=1e-200)
    np.testing.assert_array_equal(lapsum.soft_permutation(x, 1e-3, descending=True), P[::-1])


def test_the_operator_says_what_is_missing():
    with pytest.raises(TypeError, match=r"^SoftPermutation\(\) missing .* 'alpha'; it is"):
        lapsum.SoftPermutation([3.0, 1.0, 2.0])
    with pytest.raises(TypeError, match="keyword argument 'temperature'; use `alpha`$"):
        lapsum.SoftPermutation([3.0, 1.0, 2.0], temperature=0.1)


def test_is_doubly_stochastic_for_every_alpha(rng):
    for x in (rng.normal(size=30), rng.integers(0, 4, 30).astype(float)):
        for alpha in (1e-9, 1e-2, 1.0, 1e2, 1e9):
            P = lapsum.soft_permutation(x, alpha)
            assert (P >= 0).all()
            np.testing.assert_allclose(P.sum(axis=0), 1, rtol=1e-13)
            np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-13)
