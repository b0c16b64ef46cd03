"""What the densities with parameters refuse, in a sentence that names the argument."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

import lapsum


def normal_pdf(t):
    return np.exp(-t * t / 2) / np.sqrt(2 * np.pi)


RETURNS = "^`density` must have a {} that takes an array and returns as many numbers, got "
BAD_FUNCTIONS = {
    "strings": ({"cdf": lambda t: ["a"] * len(t)}, TypeError, "cdf", "dtype <U1$"),
    "a string": ({"pdf": lambda t: "a"}, TypeError, "pdf", "dtype <U1$"),
    "complex": ({"cdf": lambda t: ndtr(t) + 0j}, TypeError, "cdf", "dtype complex128$"),
    "nothing": ({"logcdf": lambda t: None}, ValueError, "logcdf", r"shape \(\) for \(5,\)$"),
    "objects": ({"ppf": lambda t: np.array(["a"] * 5, object)}, TypeError, "ppf", "dtype object$"),
    "too few": ({"pdf": lambda t: normal_pdf(t[:2])}, ValueError, "pdf", r"shape \(2,\) for"),
    "raises": ({"ppf": lambda t: float("a")}, ValueError, "ppf", "ValueError: could not convert"),
}


@pytest.mark.parametrize("case", BAD_FUNCTIONS.values(), ids=BAD_FUNCTIONS.keys())
def test_functions_that_return_no_numbers(case):
    given, error, name, says = case
    functions = {"cdf": ndtr, "pdf": normal_pdf, **given}
    with pytest.raises(error, match=RETURNS.format(name) + says):
        lapsum.Density(functions.pop("cdf"), functions.pop("pdf"), **functions)


def test_a_frozen_distribution_of_several_scales():
    with pytest.raises(ValueError, match=RETURNS.format("cdf") + "ValueError: .*broadcast"):
        lapsum.soft_rank([1.0, 2.0], 1.0, density=stats.norm(scale=[1.0, 2.0]))


@pytest.mark.parametrize("value", ["a", "3", [3.0], None, 3j])
def test_what_is_no_number(value):
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"^`df` must be a number, got {name}$"):
        lapsum.StudentT(value)
    if value is not None:
        with pytest.raises(TypeError, match=f"^`strip` must be a number, got {name}$"):
            lapsum.Density(ndtr, normal_pdf, strip=value)


def test_a_number_that_is_no_float():
    with pytest.raises(ValueError, match="^`df` must be positive and finite, got 1000"):
        lapsum.StudentT(10**400)


@pytest.mark.parametrize("df", [1e61, 1e100, 1e300, 1.7e308])
def test_the_most_degrees_are_as_the_normal_density(df, rng):
    x, bar = rng.normal(size=(2, 12))
    for func, more in [
        (lapsum.soft_rank, ()),
        (lapsum.soft_sort, ()),
        (lapsum.soft_topk, (3.5,)),
        (lapsum.log_soft_topk, (3.5,)),
        (lapsum.soft_permute, (x,)),
    ]:
        one, other = (
            lapsum.linearize(func, x, *more, 0.3, density=density)
            for density in (lapsum.StudentT(df), "normal")
        )
        np.testing.assert_allclose(one.value, other.value, rtol=1e-11)
        for a, b in zip(one.vjp(bar), other.vjp(bar), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-62, 1e62, 1e200])
def test_a_scale_that_is_not_found(scale):
    size = "smaller" if scale < 1.0 else "larger"
    says = f"^`density` must be of a scale between 1e-60 and 1e60, got one that is {size};"
    with pytest.raises(ValueError, match=says):
        lapsum.soft_rank([1.0, 2.0], 1.0, density=stats.norm(scale=scale))


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_a_scale_that_is_found(scale):
    found = lapsum.soft_rank([1.0, 2.0], 1.0 / scale, density=stats.norm(scale=scale))
    np.testing.assert_allclose(found, [1.5 - 0.3413447460685429, 1.8413447460685429], rtol=1e-13)


@pytest.mark.parametrize("df", [0.0999, 1e-3, 5e-324])
def test_too_few_degrees(df):
    with pytest.raises(ValueError, match=f"^`df` must be at least 0.1, got {df}: too much of"):
        lapsum.StudentT(df)


@pytest.mark.parametrize("df", [0.1, 0.3])
@pytest.mark.parametrize("k", [1e-14, 1e-3, 5.0, 11.999])
def test_thresholds_far_out_are_found_for_the_fewest_degrees(df, k, rng):
    x = rng.normal(size=12)
    p = lapsum.soft_topk(x, k, 0.5, density=lapsum.StudentT(df))
    np.testing.assert_allclose(p.sum(), k, rtol=1e-14)
    P = lapsum.soft_permutation(x, 0.5, density=lapsum.StudentT(df))
    np.testing.assert_allclose(P.sum(axis=0), 1.0, rtol=1e-14)
