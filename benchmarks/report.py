"""Records of what the benchmarks measured, and the tables and the plot that are made of them.

A record is a file records/NAME.json: when and where, and the numbers as they were measured.  The
benchmarks write it and print its tables; the documentation shows the same tables from the file.
"""

import itertools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

RECORDS = Path(__file__).parent / "records"
VECTORS = ("soft_topk", "soft_rank", "soft_sort")
PALETTE = "#0b6fb8 #d55e00 #009e73 #cc79a7 #8c6d1f #e69f00 #6a51a3 #7f9a16 #b03060 #20a0c0 #c0504d"


def read(name):
    return json.loads((RECORDS / f"{name}.json").read_text())


def write(name, record):
    """One line for each entry of a list, so that changes can be read."""
    parts = []
    for key, held in record.items():
        text = json.dumps(held)
        if isinstance(held, list) and held and isinstance(held[0], dict):
            text = "[\n  " + ",\n  ".join(map(json.dumps, held)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    (RECORDS / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def stamp(machine):
    """When and where, in words."""
    return (
        f"{machine['date']}, {machine['processor']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}, lapsum {machine['lapsum']}"
    )


def _row(texts):
    return "| " + " | ".join(texts) + " |"


def _head(names):
    return _row(names) + "\n" + _row(["---"] * len(names))


# figures.py


NARROW = "\u00a0"  # a space at which a narrow column does not break
TIMES = f"{NARROW}\u00d7{NARROW}"
FIGURES = ("figure", "in units of", "must", "measured", "pass", "times")
BRIEF = ("figure", "in units of", "measured", "times")  # without what each must be


def figures_head(columns=FIGURES):
    return _head(columns)


def figures_row(row, columns=FIGURES):
    measured, must, detail = row["measured"], row["must"], row["detail"]
    verdict = limit = ""
    if must is not None:
        limit = f"{'>=' if row['least'] else '<='}{NARROW}{must}"
        if measured is not None:
            passed = measured >= must if row["least"] else measured <= must
            missed = must / measured - 1 if row["least"] else measured / must - 1
            verdict = "yes" if passed else f"missed by {math.ceil(100 * missed)}{NARROW}%"
    if not isinstance(detail, str):
        detail = " / ".join(f"{seconds * 1e3:.4g}{NARROW}ms" for seconds in detail)
    shown = "" if measured is None else f"{measured:.3g}"
    texts = (row["name"], row["unit"], limit, shown, verdict, detail)
    return _row([text for name, text in zip(FIGURES, texts, strict=True) if name in columns])


def figures(rows, columns=FIGURES):
    return "\n".join([figures_head(columns), *(figures_row(row, columns) for row in rows)])


# breakdown.py


def breakdown(record):
    out = [
        f"{stamp(record['machine'])}. np.exp of {record['n']:,} numbers: "
        f"{1e3 * record['exp']:.2f} ms; np.sort {record['sort']:.1f}, np.argsort "
        f"{record['argsort']:.1f} times that.\n",
        _head(["call", "in all", "kernels", "the rest"]),
    ]
    for call in record["calls"]:
        parts = (f"{name} {time:.1f}" for name, time in call["kernels"].items() if time >= 0.05)
        out.append(
            _row([call["call"], f"{call['whole']:.1f}", ", ".join(parts), f"{call['rest']:.1f}"])
        )
    return "\n".join(out)


# compare.py


@dataclass
class Cell:
    """One operator, library and shape: times in seconds, or why there are none."""

    operator: str
    peer: str
    lanes: int
    n: int
    value: float = math.nan
    both: float = math.nan
    ratio: float = math.nan
    both_ratio: float = math.nan
    memory: float = math.nan
    defect: float = math.nan
    error: float = math.nan
    absent: str = ""

    def known(self):
        """What a record holds of it."""
        return {name: held for name, held in asdict(self).items() if held == held and held != ""}


def _cells(record, operator):
    """Cells of one operator, by library."""
    rows = {}
    for known in record["cells"]:
        if known["operator"] == operator:
            rows.setdefault(known["peer"], []).append(Cell(**known))
    return rows


def _shape(cell):
    rows = f"{cell.lanes}{TIMES}" if cell.lanes > 1 else ""
    power = {10_000: "10⁴", 100_000: "10⁵", 1_000_000: "10⁶"}
    return rows + power.get(cell.n, f"{cell.n}")


def _number(v):
    return f"{v:.3g}" if v < 1000 else f"{v:.0f}"


def _mebibytes(cell):
    return f"{cell.memory / 2**20:.1f}" if cell.memory > 5e4 else "< 0.1"


def _accuracy(name):
    """What a library's row says of "defect" or "error": that at n = 1000, or the longest below."""

    def text(row):
        known = sorted((c for c in row if c.n <= 1000 and c.lanes == 1), key=lambda c: c.n)
        found = [getattr(c, name) for c in known if not c.absent]
        return f"{found[-1]:.0e}" if found and found[-1] == found[-1] else ""

    return text


def _text(cell, shown):
    if not cell.absent:
        return shown(cell)
    return f"- ({cell.absent[0]})" if cell.absent in ("time", "memory") else "error"


def _table(rows, shown, last=()):
    """One row a library, one column a shape; `shown(cell)` is what a measured cell holds."""
    cells = next(iter(rows.values()))
    out = [_head(["", *map(_shape, cells), *(name for name, _ in last)])]
    for peer, row in rows.items():
        texts = [_text(cell, shown) for cell in row]
        out.append(_row([peer, *texts, *(text(row) for _, text in last)]))
    return "\n".join(out)


def comparison_method(record):
    """What was measured, on what, and how to read the tables."""
    limits = record["limits"]
    versions = {p["library"]: p["version"] for p in record["peers"] if p["library"] != "lapsum"}
    listed = [f"{name} {version}" for name, version in versions.items()]
    out = [
        f"{', '.join([stamp(record['machine']), *listed])}; one core. Float64 normal "
        "data, the same for all, k = n/2. Times are medians of "
        f"{limits['runs']} runs after warming up ({limits['few']} where one takes over "
        f"{limits['seconds'] / 4:g} s), each in turn with the NumPy call. **The functions are not "
        "identical**: each library has its own relaxation, and its smoothing is set to be "
        "comparable or in its favour:",
        "\n".join(f"- {p['name']} ({p['arrays']}): {p['note']}." for p in record["peers"]),
    ]
    if record["absent"]:
        absent = "; ".join(f"{name} ({why})" for name, why in record["absent"].items())
        out.append(f"Absent: {absent}.")
    out.append(
        f'In the tables "- (t)" says that one run takes over {limits["seconds"]:g} s, or would, '
        f'going by shorter rows, and "- (m)" that it needs over {limits["bytes"] / 1e9:g} GB. '
        '"Sums off by" is the relative error of the sum that every such function should keep (k, '
        'the mean rank, rows and columns), "error" how far an iteration was from what it tends to, '
        "in units of the result; both at n = 1000 or the longest row below. Memory is the "
        "rise of the process's resident memory during value and vjp, results included; JAX uses "
        "again what it has freed, so that its figures are lower bounds."
    )
    return "\n\n".join(out)


def comparison_tables(record, operator):
    """The three tables of one operator."""
    rows, unit = _cells(record, operator), record["units"][operator]
    last = [("sums off by", _accuracy("defect"))] if operator != "soft_sort" else []
    if operator in VECTORS:
        last.append(("error", _accuracy("error")))
    out = []
    for title, shown, extra in [
        (f"Value and vjp, ms (in units of {unit})",
         lambda c: f"{_number(c.both * 1e3)} ({_number(c.both_ratio)})", last),
        (f"Value, ms (in units of {unit})",
         lambda c: f"{_number(c.value * 1e3)} ({_number(c.ratio)})", ()),
        ("Peak memory, MiB", _mebibytes, ()),
    ]:  # fmt: skip
        out += [f"{title}:", _table(rows, shown, extra)]
    out += [
        f"Error: {peer} at {_shape(cell)}: {cell.absent.rstrip(' .:-')}."
        for peer, row in rows.items()
        for cell in row
        if cell.absent not in ("", "time", "memory")
    ]
    return "\n\n".join(out)


def _at(record, operator, lanes, n):
    """What was measured at one shape, by library."""
    return {
        peer: cell
        for peer, row in _cells(record, operator).items()
        for cell in row
        if (cell.lanes, cell.n) == (lanes, n) and not cell.absent
    }


def _fastest(cells):
    """The fastest of the other libraries, or None."""
    others = (name for name in cells if not name.startswith("lapsum"))
    return min(others, key=lambda name: cells[name].both, default=None)


HIGHLIGHTS = [(f, *shape) for shape in [(10_000, 10), (128, 1000), (1, 10**6)] for f in VECTORS]
HIGHLIGHTS.append(("soft_topk", 1, 10))


def highlights(record):
    """Ten rows for users: value and vjp beside NumPy and the fastest of the other libraries."""
    names = [
        "",
        f"rows{TIMES}entries",
        "lapsum",
        "over NumPy",
        "fastest other",
        "its time",
        "over ours",
    ]
    out = [_head(names)]
    for operator, lanes, n in HIGHLIGHTS:
        cells = _at(record, operator, lanes, n)
        ours = cells.pop("lapsum")
        peer = _fastest(cells)
        theirs = times = ""
        if peer:
            theirs = _milliseconds(cells[peer].both)
            times = _number(float(f"{cells[peer].both / ours.both:.2g}"))
        texts = (
            f"`{operator}`",
            _shape(ours) if lanes > 1 else f"1{TIMES}{_shape(ours)}",
            _milliseconds(ours.both),
            f"{_number(ours.both_ratio)} `{record['units'][operator]}`",
            peer or "none",
            theirs,
            times,
        )
        out.append(_row(texts))
    return f"Record of `compare.py`: {stamp(record['machine'])}, one core.\n\n" + "\n".join(out)


README = [
    ("top-k of 128 rows of 1000", "soft_topk", 128, 1000),
    ("ranks of 10,000 rows of 10", "soft_rank", 10_000, 10),
    ("a sort of 1,000,000", "soft_sort", 1, 10**6),
]


def for_readme(record):
    """The README's table: three times and one error, beside the best of the other libraries."""
    out = [_head(["", "lapsum", "best of the others"])]
    for words, operator, lanes, n in README:
        cells = _at(record, operator, lanes, n)
        ours = cells.pop("lapsum")
        peer = _fastest(cells)
        theirs = f"{_milliseconds(cells[peer].both)}, {peer}"
        out.append(_row([f"{words}, with gradient", _milliseconds(ours.both), theirs]))
    # Of the others those that take long rows at all.
    able = _at(record, "soft_topk", 1, 10**5)
    off = {name: c.defect for name, c in _at(record, "soft_topk", 1, 1000).items() if name in able}
    ours = off["lapsum"]
    peer = min((name for name in off if not name.startswith("lapsum")), key=off.get)
    words = "relative error of the sum of 1000 top-k shares (of libraries that also take 100,000)"
    out.append(_row([words, f"{ours:.1g}", f"{off[peer]:.0e}, {peer}"]))
    return "\n".join(out)


def _milliseconds(seconds):
    return f"{_number(seconds * 1e3)}{NARROW}ms"


def comparison(record):
    """Everything but the plot."""
    out = [comparison_method(record)]
    for operator in dict.fromkeys(cell["operator"] for cell in record["cells"]):
        out += [f"### `{operator}`", comparison_tables(record, operator)]
    return "\n\n".join(out)


MEASURES = {"both": ("value and vjp (ms)", 1e3), "memory": ("peak memory (MiB)", 2.0**-20)}


def comparison_plot(record, peers=(), measure="both"):
    """A measure of the cells of single rows against n, both logarithmic, one panel an operator."""
    import matplotlib.pyplot as plt

    names = [p["name"] for p in record["peers"] if not peers or p["name"] in peers]
    colours = dict(zip(names, itertools.cycle(PALETTE.split()), strict=False))
    label, unit = MEASURES[measure]
    figure, panels = plt.subplots(1, len(VECTORS), figsize=(9, 4.4), sharey=True)
    drawn = {}
    for panel, operator in zip(panels, VECTORS, strict=True):
        for name, style in (("np.exp", "--"), ("np.sort", ":")):
            points = [(p["n"], p["seconds"] * unit) for p in record["numpy"] if p["name"] == name]
            if points and measure == "both":
                (drawn[name],) = panel.loglog(*zip(*points, strict=True), style, color="0.45")
        for peer, cells in _cells(record, operator).items():
            held = ((c.n, getattr(c, measure) * unit) for c in cells if c.lanes == 1)
            known = [(n, v) for n, v in held if v > (0.1 if measure == "memory" else 0.0)]
            if known and peer in colours:
                (drawn[peer],) = panel.loglog(
                    *zip(*known, strict=True), marker="o", color=colours[peer], ms=3.5,
                    lw=2.4 if peer.startswith("lapsum") else 1.3,
                    ls="-" if names.index(peer) < len(PALETTE.split()) else "--",
                )  # fmt: skip
        panel.set(title=operator, xlabel="n, entries of one row")
        panel.minorticks_off()
    panels[0].set_ylabel(label)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5)
    return figure


def comparison_errors(record, peers):
    """The errors of iterations on single rows, one line an operator and library."""
    out = []
    for operator in VECTORS:
        for peer, row in _cells(record, operator).items():
            cells = [c for c in row if c.lanes == 1]
            found = {_shape(c): c.error for c in cells if c.error == c.error}
            if peer in peers and found:
                shapes = [_shape(c) for c in cells]
                if not out:
                    out.append(_head(["", "", *shapes]))
                texts = (f"{found[s]:.0e}" if s in found else "" for s in shapes)
                out.append(_row([f"`{operator}`", peer, *texts]))
    return "\n".join(out)


# peers_outputs.py


def snippet(record, name):
    """A snippet with its outputs beside it, and what printed them."""
    (found,) = (s for s in record["snippets"] if s["name"] == name)
    code = "\n".join(
        source + (f"  # {output}" if output else "") for source, output in found["lines"]
    )
    versions = ", ".join(f"{library} {version}" for library, version in found["versions"].items())
    return f"```python\n{code}\n```\n\nRun on {record['machine']['date']} with {versions}."


if __name__ == "__main__":  # put the figures of the record into the README
    readme = RECORDS.parents[1] / "README.md"
    text = readme.read_text()
    start = text.index("|  | lapsum | best of the others |")
    end = text.index("\n\n", start)
    readme.write_text(text[:start] + for_readme(read("comparison")) + text[end:])
