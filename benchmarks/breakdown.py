"""Where the time of one call goes, kernel by kernel, as multiples of np.exp of the same array.

python benchmarks/breakdown.py [--n 1000000] [--record]
"""

import measure  # sets one thread, before NumPy is loaded

# isort: split
import argparse
import re
import time
from collections import defaultdict

import numpy as np
import report
from numpy.random import default_rng

import lapsum
from lapsum._backends.numpy.kernels import Kernels

RUNS = 7


def cases(x, bar):
    """Calls to look into, by name."""
    half = x.size / 2
    topk = lapsum.linearize(lapsum.soft_topk, x, half, 0.1)
    log_topk = lapsum.linearize(lapsum.log_soft_topk, x, half, 0.1)
    quantile = lapsum.linearize(lapsum.soft_quantile, x, 0.5, 0.1)
    rank = lapsum.linearize(lapsum.soft_rank, x, 0.1)
    order = lapsum.linearize(lapsum.soft_sort, x, 0.1)
    matrix = lapsum.SoftPermutation(x, 0.1)
    small = x[:2000]
    levels = default_rng(2).uniform(0.0, x.size, x.size)
    return {
        "soft_topk": lambda: lapsum.soft_topk(x, half, 0.1),
        "its vjp": lambda: topk.vjp(bar),
        "its jvp": lambda: topk.jvp(bar, 1.0, 1.0),
        "log_soft_topk": lambda: lapsum.log_soft_topk(x, half, 0.1),
        "its vjp    ": lambda: log_topk.vjp(bar),
        "soft_quantile, one level": lambda: lapsum.soft_quantile(x, 0.5, 0.1),
        "its vjp   ": lambda: quantile.vjp(1.0),
        "soft_rank": lambda: lapsum.soft_rank(x, 0.1),
        "its vjp ": lambda: rank.vjp(bar),
        "soft_sort": lambda: lapsum.soft_sort(x, 0.1),
        "its vjp  ": lambda: order.vjp(bar),
        "SoftPermutation(x)": lambda: lapsum.SoftPermutation(x, 0.1),
        "its @ v": lambda: matrix @ bar,
        "its .T @ v": lambda: matrix.T @ bar,
        "soft_permutation, n = 2000": lambda: lapsum.soft_permutation(small, 0.1),
        "lap_sum": lambda: lapsum.lap_sum(bar, x, 0.1),
        "lap_sum_inv": lambda: lapsum.lap_sum_inv(levels, x, 0.1),
    }


def median(call):
    """Median seconds of a call."""
    call()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def by_kernel(call):
    """Median seconds of each kernel in a call."""
    turns = []

    def timed(run):
        def wrapped(self, kernel, *args):
            start = time.perf_counter()
            before = sum(turns[-1].values())
            run(self, kernel, *args)
            within = sum(turns[-1].values()) - before  # of kernels that this one has run
            turns[-1][kernel.__name__] += time.perf_counter() - start - within

        return wrapped

    runs = {name: getattr(Kernels, name) for name in ("_run", "_run_long")}
    for name, run in runs.items():
        setattr(Kernels, name, timed(run))
    try:
        for _ in range(RUNS):
            turns.append(defaultdict(float))
            call()
    finally:
        for name, run in runs.items():
            setattr(Kernels, name, run)
    return {
        re.sub(r"^__pyx_fuse_\d+", "", name): float(np.median([turn[name] for turn in turns]))
        for name in turns[0]  # Cython's prefix says the type
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument(
        "--record", action="store_true", help="write records/breakdown.json, for the documentation"
    )
    options = parser.parse_args()
    n, rng = options.n, default_rng(0)
    x, bar = rng.normal(size=n), rng.normal(size=n)
    unit = median(lambda: np.exp(x))
    record = {
        "machine": measure.machine(),
        "n": n,
        "exp": unit,
        "sort": median(lambda: np.sort(x)) / unit,
        "argsort": median(lambda: np.argsort(x)) / unit,
        "calls": [],
    }
    for name, call in cases(x, bar).items():
        whole = median(call) / unit
        kernels = {kernel: seconds / unit for kernel, seconds in by_kernel(call).items()}
        rest = max(whole - sum(kernels.values()), 0.0)
        record["calls"].append(
            {"call": name.strip(), "whole": whole, "kernels": kernels, "rest": rest}
        )
    print(report.breakdown(record))
    if options.record:
        report.write("breakdown", record)


if __name__ == "__main__":
    main()
