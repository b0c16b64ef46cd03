"""Other densities for arrays of a device: what is theirs alone, beside the contract."""

import cupy_double
import numpy as np
import pytest
from any_density import DENSITIES
from backends import DEVICES, HOST
from mpmath import mp, mpf
from scipy import stats

import lapsum
from lapsum import ot
from lapsum._backends.portable import Portable

every_device = pytest.mark.parametrize(
    "device", [pytest.param(b, id=b.name, marks=b.marks) for b in DEVICES]
)
CALLS = {
    "soft_rank": ("alpha", "weights"),
    "soft_sort": ("alpha",),
    "soft_topk": ("k", "alpha", "weights"),
    "log_soft_topk": ("k", "alpha", "weights"),
    "soft_quantile": ("q", "alpha", "weights"),
    "soft_permutation": ("alpha",),
    "soft_permute": ("values", "alpha"),
    "cdf_sum": ("r", "alpha", "weights"),
    "cdf_sum_inv": ("r", "alpha", "weights"),
}


@every_device
@pytest.mark.parametrize("density", [*DENSITIES.values(), lapsum.StudentT(40.5)], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_the_host(device, name, density, rng):
    lanes, n = 3, 12
    x = rng.normal(size=(lanes, n))
    x[1, 2] = x[1, 3]
    given = {
        "k": np.array([0.5, 4.0, 3.2]),
        "q": np.array([0.2, 0.7]),
        "values": rng.normal(size=(lanes, n)),
        "r": rng.normal(size=(lanes, n)),
        "alpha": np.array([0.1, 0.5, 3.0]),
        "weights": rng.uniform(0.5, 2.0, size=(lanes, n)),
    }
    first = np.sort(rng.uniform(0.1, 0.9 * n, (lanes, n))) if name == "cdf_sum_inv" else x
    arguments = {"w" if name == "cdf_sum_inv" else "x": first}
    arguments |= {p: given[p] for p in CALLS[name]}
    func = getattr(lapsum, name)
    ours, theirs = (b.linearize(func, **arguments, density=density) for b in (device, HOST))
    if "values" in arguments:
        positive = {**arguments, "values": np.abs(given["values"])}
        a, b = (x.call(func, **positive, density=density) for x in (device, HOST))
        np.testing.assert_allclose(a, b, rtol=4e-13, atol=1e-20)
    # Sums of values of both signs are rounded in their units.
    atol = 1e-15 * np.abs(given["values"]).max() if "values" in arguments else 1e-20
    np.testing.assert_allclose(ours.value, theirs.value, rtol=4e-13, atol=atol)
    dots = [rng.normal(size=np.shape(arguments[p])) for p in theirs.parameters]
    bar = rng.normal(size=theirs.value.shape)
    results = ours.jvp(*dots), *ours.vjp(bar)
    for a, b in zip(results, (theirs.jvp(*dots), *theirs.vjp(bar)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@every_device
@pytest.mark.parametrize("df", [0.3, 1.0, 3.0, 40.5, 1e4])
def test_student_s_tails_have_all_digits(device, df):
    t = np.array([1e-9, 0.1, 0.9, 1.2, 1.7, 1.8, 2.5, 6.0, 20.0, 35.0, 1e6, 1e30])
    t = t[t < 20.0] if df > 1000.0 else t
    given = {"r": np.zeros(1), "alpha": 1.0, "density": lapsum.StudentT(df)}
    tails = device.call(lapsum.cdf_sum, -t, **given)
    with mp.workdps(50):
        for value, at in zip(tails, t, strict=True):
            x = mpf(df) / (mpf(df) + mpf(at) ** 2)
            exact = mp.betainc(mpf(df) / 2, 0.5, 0, x, regularized=True) / 2
            # The roundings of log f, whose exponential is taken, and of the fraction.
            bound = mpf(2) ** -52 * (16 + 2 * abs(mp.log(exact)) + abs(mp.log(at)))
            assert exact < 1e-300 or abs(value - exact) <= bound * exact


@every_device
def test_a_threshold_beyond_all_entries(device):
    for density in DENSITIES.values():
        for k in (1e-12, 3.0 - 1e-12):
            p = device.call(lapsum.soft_topk, np.zeros(3), k, 0.5, density=density)
            np.testing.assert_allclose(p, k / 3.0, rtol=1e-13)


@every_device
def test_what_is_for_numpy_s_arrays_is_refused(device):
    own = lapsum.Density(stats.hypsecant.cdf, stats.hypsecant.pdf)
    for density in (own, stats.norm()):
        with pytest.raises(TypeError, match="^a `density` given by functions is for NumPy"):
            device.call(lapsum.soft_rank, np.ones(3), 1.0, density=density)
    with pytest.raises(TypeError, match=r"cupy.ndarray, for which lapsum\.ot has no kernels"):
        device.call(ot.sinkhorn_rank, np.ones(3), 1.0)


@every_device
def test_what_the_host_would_refuse_spoils_its_lane(device, rng):
    x, k = rng.normal(size=(4, 6)), np.array([-1.0, 6.5, np.nan, 6.0])
    p = device.call(lapsum.soft_topk, x, k, 0.5, density="normal")
    assert np.isnan(p[:3]).all()
    np.testing.assert_array_equal(p[3], 1.0)
    alpha = np.array([0.0, -1.0, np.nan, 0.5])
    for func in (lapsum.soft_rank, lapsum.soft_sort, lapsum.soft_permutation):
        lin = device.linearize(func, x, alpha, density="cauchy")
        (x_bar, alpha_bar) = lin.vjp(np.ones(lin.value.shape))
        for result in (lin.value, x_bar, alpha_bar):
            assert np.isnan(result[:3]).all()
            assert np.isfinite(result[3]).all()


def test_direct_sums_take_blocks_of_bounded_memory(cupy, rng, monkeypatch):
    assert Portable.pairs_at_once.fget(None) <= 2**22
    monkeypatch.setattr(Portable, "pairs_at_once", 2**15)
    x = cupy.asarray(rng.normal(size=300))
    with cupy_double.recording() as log:
        lapsum.linearize(lapsum.soft_rank, x, 0.1, density="logistic").vjp(x)
    assert max(array.size for launch in log.launches for array in launch.outputs) <= 2**15


def test_only_questions_and_places_are_read(cupy, rng):
    x = cupy.asarray(rng.normal(size=(3, 40)))
    with cupy_double.recording() as log:
        for name in ("soft_rank", "soft_sort", "soft_topk", "soft_permutation"):
            k = (3,) if name == "soft_topk" else ()
            func = getattr(lapsum, name)
            lin = lapsum.linearize(func, x, *k, 0.1, density=lapsum.StudentT(3))
            lin.vjp(cupy.ones(lin.value.shape))
    # Which thresholds are not yet found is asked for as places.
    assert set(log.syncs) <= {"bool", "getitem", "flatnonzero"}


@every_device
def test_operators_made_of_others(device, rng):
    x, v = rng.normal(size=(2, 9))
    for density in ("normal", lapsum.StudentT(3)):
        trimmed = [
            b.call(lapsum.soft_trimmed_mean, x, 0.2, 0.7, 0.3, density=density)
            for b in (device, HOST)
        ]
        np.testing.assert_allclose(*trimmed, rtol=1e-13)
        P = lapsum.soft_permutation(x, 0.3, density=density)
        with device.active():
            operator = lapsum.SoftPermutation(device.put(x), 0.3, density=density)
            products = operator @ device.put(v), operator.T @ device.put(np.stack([v, x], 1))
            products = device.get(products)
        np.testing.assert_allclose(products[0], P @ v, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(products[1], P.T @ np.stack([v, x], 1), rtol=1e-12, atol=1e-13)


@every_device
def test_lanes_of_values_that_share_keys(device, rng):
    x, v = rng.normal(size=(2, 1, 5)), rng.normal(size=(1, 3, 5))
    bar = rng.normal(size=(2, 3, 5))
    for transpose in (False, True):
        options = {"density": "logistic", "transpose": transpose}
        ours, theirs = (
            b.linearize(lapsum.soft_permute, x, v, 0.4, **options) for b in (device, HOST)
        )
        np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-12)
        for a, b in zip(ours.vjp(bar), theirs.vjp(bar), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
