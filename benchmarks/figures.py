"""The headline figures: what an operator costs, as a ratio to a NumPy call on the same array.

    python benchmarks/figures.py [--only NAME] [--runs 9] [--pages default|fresh|warm] [--record]

One thread; alpha = 0.1 and k = n/2; normal float64 data.  Operator and yardstick run in turns, both
allocate their results, and the figure is the median ratio.  Each figure is taken in a new process,
for what the allocator kept from the one before would change it.
"""

import measure  # sets one thread, before NumPy is loaded

# isort: split
import argparse
import inspect
import itertools
import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import report
from scipy import special

import lapsum
from lapsum import (
    log_soft_topk,
    soft_permutation,
    soft_permute,
    soft_quantile,
    soft_rank,
    soft_sort,
    soft_topk,
)

ALPHA = 0.1
MILLION = (1_000_000,)


def normal(*shape, dtype="f8", seed=20250713):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def over(call, yardstick, runs):
    """One over the other, and the seconds of both."""
    ours, theirs = measure.in_turns(call, yardstick, runs=runs)
    return measure.ratio(ours, theirs), [float(np.median(ours)), float(np.median(theirs))]


def arguments(func, x):
    if func in (soft_topk, log_soft_topk):
        return x, x.shape[-1] / 2, ALPHA
    if func is soft_permute:
        return x, normal(*x.shape, seed=2), ALPHA
    return (x, 0.5, ALPHA) if func is soft_quantile else (x, ALPHA)


def value(func, x, **options):
    """The call that computes the value."""
    return partial(func, *arguments(func, x), **options)


def value_and_vjp(func, x, **options):
    """The call that linearizes and takes one vjp: value and cotangents of all parameters."""
    given = arguments(func, x)
    shape = np.shape(func(*given, **options))
    cotangent = normal(*shape, dtype=x.dtype, seed=1)

    def call():
        lin = lapsum.linearize(func, *given, **options)
        return lin.value, lin.vjp(cotangent)

    return call


def weighted(func, x):
    """The same with weights between 1/2 and 3/2."""
    weights = 0.5 + np.random.default_rng(3).uniform(size=x.shape)
    return value_and_vjp(func, x, weights=weights)


def vjp_alone(func, x):
    """The first vjp of a linearization, which is made outside of the timing."""
    cotangent = normal(*x.shape, seed=1)
    return (lambda lin: lin.vjp(cotangent)), lambda: (lapsum.linearize(func, *arguments(func, x)),)


def against(yardstick, make, func, shape=MILLION):
    """Measure ``make(func, x)`` in units of the NumPy function `yardstick` of x."""

    def run(runs):
        x = normal(*shape)
        middle = [shape[-1] // 2] if yardstick == "partition" else []
        return over(make(func, x), partial(getattr(np, yardstick), x, *middle), runs)

    return run


def long_calls(n=MILLION[0]):
    """Operators with several arguments, or weights, on one long lane: function and arguments."""
    x, others = normal(n), normal(n, seed=1)
    weights = np.random.default_rng(2).uniform(0.5, 1.5, n)
    shares = np.random.default_rng(3).uniform(size=n)
    scale, heavy = {"alpha": ALPHA}, {"alpha": ALPHA, "weights": weights}
    total = weights.sum()
    return {
        "soft_rank": (soft_rank, {"x": x, **scale}),
        "soft_rank weighted": (soft_rank, {"x": x, **heavy}),
        "soft_permute": (lapsum.soft_permute, {"x": x, "values": others, **scale}),
        "lap_sum": (lapsum.lap_sum, {"x": others, "r": x, **scale}),
        "lap_sum_inv": (lapsum.lap_sum_inv, {"w": shares * n, "r": x, **scale}),
        "lap_sum_inv weighted": (lapsum.lap_sum_inv, {"w": shares * total, "r": x, **heavy}),
        "soft_quantile weighted": (soft_quantile, {"x": x, "q": 0.3, **heavy}),
        "soft_quantile n levels": (soft_quantile, {"x": x, "q": shares, **scale}),
    }


def all_derivatives(name, tangents=False):
    """The call that linearizes and takes one vjp, or jvp, of every parameter."""
    func, given = long_calls()[name]
    shape = np.shape(func(**given))
    cotangent = normal(*shape, seed=4)

    def call():
        lin = lapsum.linearize(func, **given)
        return lin.value, lin.jvp(*dots) if tangents else lin.vjp(cotangent)

    lin = lapsum.linearize(func, **given)
    dots = [normal(*np.shape(given[parameter]), seed=5) for parameter in lin.parameters]
    return call


def long_derivatives(runs, name, tangents=False):
    x = normal(*MILLION)
    return over(all_derivatives(name, tangents), partial(np.argsort, x), runs)


def many_levels(runs):
    calls_of = long_calls()
    (quantile, levels), (inverse, given) = (
        calls_of[name] for name in ("soft_quantile n levels", "lap_sum_inv")
    )
    return over(partial(quantile, **levels), partial(inverse, **given), runs)


def memory_of_permute(runs):
    return peak_of(all_derivatives("soft_permute"))


def permutation_matrix(runs, n=3000):
    x, square = normal(n), normal(n, n)
    return over(partial(lapsum.soft_permutation, x, ALPHA), partial(np.exp, square), runs)


def permutation_operator(runs):
    x = normal(*MILLION)
    return over(partial(lapsum.SoftPermutation, x, ALPHA), partial(np.argsort, x), runs)


def permutation_product(runs, transpose=False):
    x, v = normal(*MILLION), normal(*MILLION, seed=1)
    matrix = lapsum.SoftPermutation(x, ALPHA)
    matrix = matrix.T if transpose else matrix
    return over(lambda: matrix @ v, partial(np.argsort, x), runs)


def one_call(runs):
    x = normal(10)
    return over(value(soft_topk, x), partial(special.softmax, x), runs)


def one_lane(runs, func):
    x = normal(1, 10)
    return over(value_and_vjp(func, x), partial(special.softmax, x, axis=-1), runs)


def growth(runs):
    return over(value(soft_topk, normal(10**7)), value(soft_topk, normal(10**6)), runs)


def peak_of(call):
    call()
    peak = np.median([measure.peak_memory(call) for _ in range(3)])
    return peak / (8 * MILLION[0]), f"{peak / 2**20:.1f} MiB, results included"


def memory(runs):
    return peak_of(value_and_vjp(soft_topk, normal(*MILLION)))


def workers(runs):
    if "workers" not in inspect.signature(soft_topk).parameters:
        return None, "skipped: soft_topk takes no workers"
    if len(os.sched_getaffinity(0)) < 2 if hasattr(os, "sched_getaffinity") else False:
        return None, "skipped: one CPU"
    x = normal(500, 10450)
    out = np.empty_like(x)

    def exp(*rows):
        np.exp(x[slice(*rows)], out=out[slice(*rows)])

    def exp_in_two():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(exp, (0, 250), (250, 500)))

    # What two threads are worth on this machine at this time.
    one, two, exps, halves = measure.in_turns(
        value(soft_topk, x, workers=1),
        value(soft_topk, x, workers=2),
        partial(exp, 0, 500),
        exp_in_two,
        runs=runs,
    )
    times = " / ".join(f"{1e3 * np.median(t):.4g} ms" for t in (one, two))
    return measure.ratio(one, two), f"{times}; np.exp: {measure.ratio(exps, halves):.2f} times"


def bad_days(n):
    """Data on which selection, sorting or branch prediction could go wrong."""
    rng, x = np.random.default_rng(1), normal(n)
    return {
        "normal": x,
        "sorted": np.sort(x),
        "reversed": np.sort(x)[::-1].copy(),
        "constant": np.full(n, 3.5),
        "two-valued": rng.integers(0, 2, n).astype(float),
        "clustered": rng.integers(0, 3, n) + 1e-9 * rng.normal(size=n),
        "Cauchy": rng.standard_cauchy(n),
        "huge outlier": np.append(x[:-1], 1e12),
        "partitioned": np.partition(x, n // 2),
    }


def no_bad_day(runs, func, n=100_000):
    """The slowest of all data, alpha and k, over the usual time."""
    usual, worst, where = value(func, normal(n)), 0.0, ""
    ks = [1, 2, n / 100, n / 2, n - 2, n - 1] if func is soft_topk else [None]
    for (name, x), decade, k in itertools.product(bad_days(n).items(), range(-9, 10), ks):
        case = partial(func, x, *([] if k is None else [k]), 10.0**decade)
        for length in (3, runs):  # only what looks like the worst is worth a long look
            found = measure.ratio(*measure.in_turns(case, usual, runs=length))
            if found <= worst:
                break
        else:
            worst, where = found, f"{name}, alpha=1e{decade}" + (f", k={k:g}" if k else "")
    return worst, f"at {where}"


def calls(dtype, n=MILLION[0]):
    """Every operator on data of one dtype."""
    x, levels = normal(n, dtype=dtype), np.linspace(1, n - 1, n).astype(dtype)
    return {
        "lap_sum": partial(lapsum.lap_sum, x, x[::-1].copy(), ALPHA),
        "lap_sum_inv": partial(lapsum.lap_sum_inv, levels, x, ALPHA),
        "soft_rank": value(soft_rank, x),
        "soft_sort": value(soft_sort, x),
        "soft_topk": value(soft_topk, x),
        "soft_topk, value and vjp": value_and_vjp(soft_topk, x),
        "log_soft_topk": value(log_soft_topk, x),
        "soft_quantile": partial(lapsum.soft_quantile, x, 0.5, ALPHA),
        "soft_permute": partial(lapsum.soft_permute, x, x[::-1].copy(), ALPHA),
        "soft_permutation": partial(lapsum.soft_permutation, x[:1000], ALPHA),
    }


def single_precision(runs, name):
    return over(calls("f4")[name], calls("f8")[name], runs)


@dataclass(frozen=True)
class Figure:
    """`run(runs)` measures a number, in units of `unit`; it must be at most (or least) `must`."""

    must: float | None
    unit: str
    run: Callable
    least: bool = False


# What value and all cotangents of batches of short lanes must be, in sorts of the same array, and
# of one such lane, in calls of scipy.special.softmax.
SHORT = (soft_topk, log_soft_topk, soft_quantile, soft_rank, soft_sort)
BATCHES = {
    (10_000, 10): (5, 6, 5, 5, 9),
    (100_000, 3): (4, 5, 4, 3, 6),
    (1024, 100): (4.5, 5.5, 4.5, 5.5, 8.5),
    (1000, 64): (6.5, 7.5, 6.5, 7, 12.5),
    (4096, 128): (4, 5, 4, 5, 7.5),
}
BATCH_FIGURES = {
    f"linearize({func.__name__})+vjp {lanes}x{n}": Figure(
        must, "sort", against("sort", value_and_vjp, func, (lanes, n))
    )
    for (lanes, n), musts in BATCHES.items()
    for func, must in zip(SHORT, musts, strict=True)
}
BATCH_FIGURES |= {
    f"linearize({func.__name__})+vjp {lanes}x{n}": Figure(
        None, "sort", against("sort", value_and_vjp, func, (lanes, n))
    )
    for lanes, n in ((10_000, 10), (1000, 64))
    for func in (soft_permute, soft_permutation)
}
BATCH_FIGURES |= {
    f"linearize({func.__name__})+vjp weighted {lanes}x{n}": Figure(
        None, "sort", against("sort", weighted, func, (lanes, n))
    )
    for lanes, n in ((10_000, 10), (1000, 64))
    for func in (soft_topk, log_soft_topk, soft_quantile, soft_rank)
}
ONE_LANE_FIGURES = {
    f"linearize({func.__name__})+vjp 1x10": Figure(
        4, "special.softmax", partial(one_lane, func=func)
    )
    for func in SHORT
}

FIGURES = {
    **BATCH_FIGURES,
    **ONE_LANE_FIGURES,
    "soft_topk n=1e6": Figure(5, "exp", against("exp", value, soft_topk)),
    "linearize(soft_topk)+vjp n=1e6": Figure(9, "exp", against("exp", value_and_vjp, soft_topk)),
    "linearize(soft_topk)+vjp 500x10450": Figure(
        1.0, "sort", against("sort", value_and_vjp, soft_topk, (500, 10450))
    ),
    "linearize(soft_topk)+vjp 128x1000": Figure(
        2.5, "sort", against("sort", value_and_vjp, soft_topk, (128, 1000))
    ),
    "linearize(log_soft_topk)+vjp n=1e6": Figure(
        None, "exp", against("exp", value_and_vjp, log_soft_topk)
    ),
    "soft_rank n=1e6": Figure(1.2, "argsort", against("argsort", value, soft_rank)),
    "linearize(soft_rank)+vjp n=1e6": Figure(
        1.6, "argsort", against("argsort", value_and_vjp, soft_rank)
    ),
    "soft_rank vjp alone n=1e6": Figure(None, "argsort", against("argsort", vjp_alone, soft_rank)),
    "soft_sort n=1e6": Figure(4, "sort", against("sort", value, soft_sort)),
    "linearize(soft_sort)+vjp n=1e6": Figure(
        2.0, "argsort", against("argsort", value_and_vjp, soft_sort)
    ),
    "soft_sort vjp alone n=1e6": Figure(None, "argsort", against("argsort", vjp_alone, soft_sort)),
    **{
        f"linearize({name})+{'jvp' if tangents else 'vjp'} n=1e6": Figure(
            must, "argsort", partial(long_derivatives, name=name, tangents=tangents)
        )
        for name, tangents, must in [
            ("soft_rank", True, 2.5),
            ("soft_rank weighted", False, 3.8),
            ("soft_permute", False, 4.5),
            ("soft_permute", True, 4.5),
            ("lap_sum", False, 4),
            ("lap_sum_inv", False, 3.4),
            ("lap_sum_inv weighted", False, 4.5),
            ("soft_quantile weighted", False, 2),
        ]
    },
    "soft_quantile of 1e6 levels": Figure(1.5, "lap_sum_inv", many_levels),
    "peak memory of linearize(soft_permute)+vjp n=1e6": Figure(20, "n-vectors", memory_of_permute),
    "soft_permutation n=3000": Figure(2, "exp of n x n", permutation_matrix),
    "SoftPermutation(x) n=1e6": Figure(2.2, "argsort", permutation_operator),
    "SoftPermutation @ v n=1e6": Figure(2, "argsort", permutation_product),
    "SoftPermutation .T @ v n=1e6": Figure(
        2, "argsort", partial(permutation_product, transpose=True)
    ),
    "soft_topk one call n=10": Figure(2, "special.softmax", one_call),
    "soft_topk time(1e7)/time(1e6)": Figure(13, "", growth),
    "peak memory of linearize(soft_topk)+vjp n=1e6": Figure(3.5, "n-vectors", memory),
    "soft_topk workers=2 500x10450": Figure(1.6, "times faster than one", workers, least=True),
    "no bad day, soft_topk n=1e5": Figure(3, "usual time", partial(no_bad_day, func=soft_topk)),
    "no bad day, soft_rank n=1e5": Figure(2, "usual time", partial(no_bad_day, func=soft_rank)),
    **{
        f"float32/float64 {name}": Figure(1, "", partial(single_precision, name=name))
        for name in calls("f8", 10)
    },
}

HUNDRED_THOUSAND = (100_000,)
# A few that take seconds together: the documentation measures them when it is built.
BRIEF = {
    **{
        name: Figure(None, figure.unit, figure.run)
        for name, figure in BATCH_FIGURES.items()
        if name.endswith("1000x64")
    },
    "soft_topk n=1e5": Figure(None, "exp", against("exp", value, soft_topk, HUNDRED_THOUSAND)),
    "soft_topk vjp alone n=1e5": Figure(
        None, "exp", against("exp", vjp_alone, soft_topk, HUNDRED_THOUSAND)
    ),
    "soft_topk 100x1000": Figure(
        None, "partition", against("partition", value, soft_topk, (100, 1000))
    ),
    "soft_rank n=1e5": Figure(
        None, "argsort", against("argsort", value, soft_rank, HUNDRED_THOUSAND)
    ),
    "soft_rank vjp alone n=1e5": Figure(
        None, "argsort", against("argsort", vjp_alone, soft_rank, HUNDRED_THOUSAND)
    ),
    "soft_sort n=1e5": Figure(None, "sort", against("sort", value, soft_sort, HUNDRED_THOUSAND)),
    "soft_permutation n=1000": Figure(None, "exp of n x n", partial(permutation_matrix, n=1000)),
}


def find(name):
    return FIGURES[name] if name in FIGURES else BRIEF[name]


def take(task):
    name, runs, pages = task
    warnings.simplefilter("error")
    measure.allocate(pages)
    return find(name).run(runs)


def taken(names, runs=9, pages="default"):
    """Measure figures, each in a new process, and give what a record holds of each."""
    tasks = [(name, runs, pages) for name in names]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name, (measured, detail) in zip(names, pool.map(take, tasks), strict=True):
            figure = find(name)
            yield {
                "name": name, "unit": figure.unit, "must": figure.must, "least": figure.least,
                "measured": measured, "detail": detail,
            }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", default="", help="part of the figures' names")
    parser.add_argument("--runs", type=int, default=9, help="runs of each, 9 or more")
    parser.add_argument(
        "--pages", choices=["default", "fresh", "warm"], default="default",
        help="where large arrays come from: always the system, always memory kept, or as it comes",
    )  # fmt: skip
    parser.add_argument(
        "--record", action="store_true", help="write records/figures.json, for the documentation"
    )
    options = parser.parse_args()
    if options.record and options.only:
        parser.error("a record has every figure: --record goes without --only")
    chosen = [name for name in FIGURES if options.only in name]
    if not chosen:
        parser.error(f"no figure has {options.only!r} in its name: {', '.join(FIGURES)}")
    machine = measure.machine()
    print(f"{report.stamp(machine)}, {options.pages} pages\n")
    print(report.figures_head())
    rows = []
    for row in taken(chosen, max(9, options.runs), options.pages):
        print(report.figures_row(row), flush=True)
        rows.append(row)
    if options.record:
        report.write("figures", {"machine": machine, "pages": options.pages, "figures": rows})


if __name__ == "__main__":
    main()
