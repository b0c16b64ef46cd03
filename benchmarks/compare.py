"""lapsum beside other libraries: time of value and of value and vjp, and peak memory.

    python benchmarks/compare.py [--operators NAME ...] [--peers NAME ...] [--max-n N] [--record]

One process on one processor core, float64 normal data, the same for all.  --record writes
records/comparison.json, of which the documentation makes its tables and its plot.  Libraries that
are not installed are named as absent.  All takes some ten minutes; part of it, named by operators
and peers, goes into the record of the rest, if that was made on the same machine with the same
versions.
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

BATCHES = [(10_000, 10), (100_000, 3), (1024, 100), (128, 1000)]  # what people run
ROWS = [(1, 10**e) for e in (1, 3, 4, 5, 6)]
SIZES = {
    **{operator: [*BATCHES, *ROWS] for operator in report.VECTORS},
    "soft_permutation": [(10_000, 10), (1024, 100), (1, 10), (1, 100), (1, 1000)],
}
TIME, MEMORY = 0.5, 2e9  # seconds and bytes of one run, above which a peer is left out
PROBE = 16  # part of a batch that is tried first, where single rows say that all may take too long
CHECKED = 8  # lanes of which errors are measured
STARTED = time.perf_counter()
RUNS, FEW = 5, 3  # runs of a call, and of one that takes a quarter of TIME


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


def error(peer, operator, x, y):
    """How far iterations are from what they tend to, in the first lanes."""
    if operator not in peer.exact:
        return float("nan")
    exact = peer.exact[operator](x[:CHECKED])
    return float(np.abs(y[:CHECKED] - exact).max())


def predicted(cells, lanes, n):
    """Time of the next shape, from single rows: its growth is that between the last two."""
    rows = [c for c in cells if not c.absent and c.lanes == 1]
    if len(rows) < 2:
        return 0.0
    last = min(range(1, len(rows)), key=lambda i: abs(np.log(rows[i].n / n)))
    last, before = rows[last], rows[last - 1]
    growth = np.log(last.both / before.both) / np.log(last.n / before.n)
    return last.both * lanes * (n / last.n) ** max(growth, 1.0)


def calls(peer, operator, lanes, n):
    """The data, and the calls for value and for value and vjp."""
    x = data(lanes, n)
    shape = x.shape + (x.shape[-1:] if operator == "soft_permutation" else ())
    cotangent = np.random.default_rng(1).normal(size=shape)
    return x, *peer.operators[operator](x, cotangent)


def one(peer, operator, lanes, n, cells, runs):
    """Measure one cell."""
    n_run = peer.size(n)
    cell = Cell(operator, peer.name, lanes, n)
    limits = [c.absent for c in cells if c.absent in ("time", "memory") and c.lanes == 1 >= lanes]
    if limits:
        cell.absent = limits[-1]
    elif peer.memory(lanes, n_run) > MEMORY:
        cell.absent = "memory"
    elif n > peer.longest.get(operator, n) or lanes > peer.most_lanes.get(operator, lanes):
        cell.absent = "time"
    elif predicted(cells, lanes, n) > 2 * TIME:  # in between, a run decides
        cell.absent = "time" if lanes == 1 or probe(peer, operator, lanes, n_run) else ""
    if cell.absent:
        return cell
    x, value, both = calls(peer, operator, lanes, n_run)
    yardstick = hard(operator, x)[1]
    y = np.asarray(value())
    cell.defect, cell.error = defect(operator, y, k_of(x)), error(peer, operator, x, y)
    if measure.seconds(value) > TIME:
        cell.absent = "time"
        return cell
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


def probe(peer, operator, lanes, n):
    """Whether a part of a batch takes so long that all would take too long by far."""
    _, _, both = calls(peer, operator, lanes // PROBE, n)
    both()
    return measure.seconds(both) > 4 * TIME / PROBE


def compare(peer, operator, sizes, runs):
    """All cells of one peer and operator, single rows first; an exception is one."""
    cells = []
    gc.collect()
    gc.freeze()  # the libraries' own objects would make each later collection slow
    for lanes, n in sorted(sizes):
        at = f"[{time.perf_counter() - STARTED:4.0f} s]"
        print(f"{at} {operator} {lanes} x {n}: {peer.name}", file=sys.stderr, flush=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells.append(one(peer, operator, lanes, n, cells, runs))
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip(" -=")]
            # JAX puts a traceback, and a rule, around it.
            why = f"{type(error).__name__}: {lines[-1].strip()[:200] if lines else ''}"
            cells.append(Cell(operator, peer.name, lanes, n, absent=why))
    return sorted(cells, key=lambda cell: sizes.index((cell.lanes, cell.n)))


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


def joined(record):
    """The record with what the one on disk has of other operators and peers."""
    try:
        before = report.read("comparison")
    except FileNotFoundError:
        return record
    same = [{k: v for k, v in r["machine"].items() if k != "date"} for r in (record, before)]
    if same[0] != same[1] or any(record[k] != before[k] for k in ("limits", "alpha", "units")):
        return record
    made = {(cell["operator"], cell["peer"]) for cell in record["cells"]}
    kept = [cell for cell in before["cells"] if (cell["operator"], cell["peer"]) not in made]
    names = [peer.name for peer in PEERS]

    def place(cell):
        return list(SIZES).index(cell["operator"]), names.index(cell["peer"])

    cells = sorted((c for c in [*kept, *record["cells"]] if c["peer"] in names), key=place)
    return record | {"cells": cells, "numpy": record["numpy"] or before["numpy"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", nargs="+", choices=SIZES, default=list(SIZES))
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--max-n", type=int, default=10**6, help="the longest row")
    parser.add_argument(
        "--record", action="store_true", help="write records/comparison.json, for the documentation"
    )
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # what no thread setting reaches, stays on one core too
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cells = []
    for operator in options.operators:
        sizes = [s for s in SIZES[operator] if s[1] <= options.max_n]
        for peer in PEERS:
            if peer.name in options.peers and operator in peer.operators and not peer.missing:
                cells += compare(peer, operator, sizes, RUNS)
    rows = ROWS if "soft_sort" in options.operators and "lapsum" in options.peers else []
    record = {
        "machine": measure.machine(),
        "alpha": ALPHA,
        "limits": {"seconds": TIME, "bytes": MEMORY, "runs": RUNS, "few": FEW},
        "units": {operator: hard(operator, np.zeros((1, 2)))[0] for operator in SIZES},
        "absent": {peer.name: peer.missing for peer in PEERS if peer.missing},
        "peers": [
            {
                "name": p.name,
                "library": p.distribution,
                "version": p.version,
                "arrays": p.arrays,
                "note": p.note,
            }
            for p in PEERS
            if not p.missing
        ],
        "cells": [cell.known() for cell in cells],
        "numpy": numpy_times([s for s in rows if s[1] <= options.max_n], RUNS),
    }
    print(report.comparison(record))
    if options.record:
        report.write("comparison", joined(record))


if __name__ == "__main__":
    main()
