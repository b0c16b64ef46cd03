"""lapsum beside other libraries: time of value and of value and vjp, and peak memory.

    python benchmarks/compare.py [--quick] [--max-n N] [--record]

One process on one processor core, float64 normal data, the same for all.  --record writes
records/comparison.json, of which the documentation makes its tables and its plot.  Libraries that
are not installed are named as absent.
"""

import measure  # sets one thread, before NumPy is loaded

# isort: split
import argparse
import gc
import os
import sys
import time
import warnings

import numpy as np
import report
from peers import ALPHA, PEERS, hard, k_of
from report import Cell

ROWS = [(1, 10**e) for e in range(1, 7)]
SIZES = {
    **{operator: [*ROWS, (128, 1000), (500, 10450)] for operator in report.VECTORS},
    "soft_permutation": [(1, 10), (1, 100), (1, 1000), (1, 3000)],
}
TIME, MEMORY = 2.0, 2e9  # seconds and bytes of one run, above which a peer is left out
STARTED = time.perf_counter()
RUNS, FEW = 7, 3  # runs of a call, and of one that takes half a second


def data(lanes, n):
    rng = np.random.default_rng(20250713)
    return rng.normal(size=(lanes, n))


def defect(operator, y, k):
    """How far the sums of a value are off, relatively: what every relaxation should keep."""
    if operator == "soft_topk":
        return float(np.abs(y.sum(-1) / k - 1).max())
    if operator == "soft_rank":
        return float(np.abs(y.mean(-1) / ((y.shape[-1] + 1) / 2) - 1).max())
    if operator == "soft_permutation":
        return float(max(np.abs(y.sum(axis) - 1).max() for axis in (-1, -2)))
    return float("nan")


def predicted(cells, lanes, n):
    """Time of the next shape, from single rows: its growth is that between the last two."""
    rows = [c for c in cells if not c.absent and c.lanes == 1]
    if len(rows) < 2:
        return 0.0
    last = min(range(1, len(rows)), key=lambda i: abs(np.log(rows[i].n / n)))
    last, before = rows[last], rows[last - 1]
    growth = np.log(last.both / before.both) / np.log(last.n / before.n)
    return last.both * lanes * (n / last.n) ** max(growth, 1.0)


def one(peer, operator, lanes, n, cells, runs):
    """Measure one cell."""
    n_run = peer.size(n)
    cell = Cell(operator, peer.name, lanes, n)
    limits = [c.absent for c in cells if c.absent in ("time", "memory") if c.n <= n]
    if limits:
        cell.absent = limits[-1]
    elif peer.memory(lanes, n_run) > MEMORY:
        cell.absent = "memory"
    elif (
        n > peer.longest.get(operator, n) or predicted(cells, lanes, n) > 2 * TIME
    ):  # in between, a run decides
        cell.absent = "time"
    if cell.absent:
        return cell
    x = data(lanes, n_run)
    shape = x.shape + (x.shape[-1:] if operator == "soft_permutation" else ())
    cotangent = np.random.default_rng(1).normal(size=shape)
    yardstick = hard(operator, x)[1]
    value, both = peer.operators[operator](x, cotangent)
    cell.defect = defect(operator, np.asarray(value()), k_of(x))
    both()
    first = measure.seconds(both)
    if first > TIME:
        cell.absent = "time"
        return cell
    cell.memory = measure.peak_memory(both)
    if cell.memory > MEMORY:
        cell.absent = "memory"
        return cell
    runs = min(runs, FEW) if first > TIME / 4 else runs
    for name, call in (("", value), ("both", both)):
        ours, theirs = measure.in_turns(call, yardstick, runs=runs)
        setattr(cell, name or "value", float(np.median(ours)))
        setattr(cell, f"{name}_ratio".lstrip("_"), measure.ratio(ours, theirs))
    return cell


def compare(peer, operator, sizes, runs):
    """All cells of one peer and operator; an exception is one."""
    cells = []
    gc.collect()
    gc.freeze()  # the libraries' own objects would make each later collection slow
    for lanes, n in sizes:
        at = f"[{time.perf_counter() - STARTED:4.0f} s]"
        print(f"{at} {operator} {lanes} x {n}: {peer.name}", file=sys.stderr, flush=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells.append(one(peer, operator, lanes, n, cells, runs))
        except Exception as error:
            text = str(error).strip().splitlines() or [""]
            why = f"{type(error).__name__}: {text[0][:200]}"
            cells.append(Cell(operator, peer.name, lanes, n, absent=why))
    return cells


def numpy_times(sizes, runs):
    """Times of np.exp and np.sort, to draw beside the others."""
    rows = [data(1, n) for lanes, n in sizes if lanes == 1]
    return [
        {
            "name": f"np.{f.__name__}",
            "n": x.shape[-1],
            "seconds": float(np.median(measure.in_turns(lambda f=f, x=x: f(x), runs=runs))),
        }
        for f in (np.exp, np.sort)
        for x in rows
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="n up to 10,000 and no batches")
    parser.add_argument("--max-n", type=int, default=10**6, help="the longest row")
    parser.add_argument(
        "--record", action="store_true", help="write records/comparison.json, for the documentation"
    )
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # what no thread setting reaches, stays on one core too
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    most = min(options.max_n, 10**4) if options.quick else options.max_n
    runs = FEW if options.quick else RUNS
    cells = []
    for operator, all_sizes in SIZES.items():
        sizes = [s for s in all_sizes if s[1] <= most and (s[0] == 1 or not options.quick)]
        for peer in PEERS:
            if operator in peer.operators and not peer.missing:
                cells += compare(peer, operator, sizes, runs)
    record = {
        "machine": measure.machine(),
        "alpha": ALPHA,
        "limits": {"seconds": TIME, "bytes": MEMORY, "runs": runs, "few": FEW},
        "units": {operator: hard(operator, np.zeros((1, 2)))[0] for operator in SIZES},
        "absent": {peer.name: peer.missing for peer in PEERS if peer.missing},
        "peers": [
            {"name": p.name, "library": p.distribution, "version": p.version, "note": p.note}
            for p in PEERS
            if not p.missing
        ],
        "cells": [cell.known() for cell in cells],
        "numpy": numpy_times([s for s in SIZES["soft_sort"] if s[1] <= most], runs),
    }
    print(report.comparison(record))
    if options.record:
        report.write("comparison", record)


if __name__ == "__main__":
    main()
