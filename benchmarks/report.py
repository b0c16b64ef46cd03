"""The tables and the plot of compare.py."""

import datetime
import platform

import measure
import numpy as np
from peers import ALPHA, PEERS, hard

PALETTE = "#0b6fb8 #d55e00 #009e73 #cc79a7 #8c6d1f #e69f00 #6a51a3 #7f9a16 #b03060 #20a0c0 #c0504d"
COLOURS = dict(zip((peer.name for peer in PEERS), PALETTE.split(), strict=True))


def defect(operator, y, k):
    """How far the sums of a value are off, relatively: what every relaxation should keep."""
    if operator == "soft_topk":
        return float(np.abs(y.sum(-1) / k - 1).max())
    if operator == "soft_rank":
        return float(np.abs(y.mean(-1) / ((y.shape[-1] + 1) / 2) - 1).max())
    if operator == "soft_permutation":
        return float(max(np.abs(y.sum(axis) - 1).max() for axis in (-1, -2)))
    return float("nan")


def _shape(cell):
    rows = f"{cell.lanes} x " if cell.lanes > 1 else ""
    return rows + (
        f"10^{round(np.log10(cell.n))}" if cell.n in (10**4, 10**5, 10**6) else f"{cell.n}"
    )


def _number(v):
    return f"{v:.3g}" if v < 1000 else f"{v:.0f}"


def _mebibytes(cell):
    return f"{cell.memory / 2**20:.1f}" if cell.memory > 5e4 else "< 0.1"


def _table(rows, shown, last=None):
    """One row a peer, one column a shape; `shown(cell)` is what a measured cell holds."""
    notes = []
    cells = next(iter(rows.values()))
    header = ["", *map(_shape, cells), *([last[0]] if last else [])]
    out = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    for peer, row in rows.items():
        texts = []
        for cell in row:
            if not cell.absent:
                texts.append(shown(cell))
            elif cell.absent in ("time", "memory"):
                texts.append(f"- ({cell.absent[0]})")
            else:
                texts.append("error")
                notes.append(f"{peer.name} at {_shape(cell)}: {cell.absent}")
        out.append(
            f"| {peer.name} | " + " | ".join([*texts, *([last[1](row)] if last else [])]) + " |"
        )
    return "\n".join(out), list(dict.fromkeys(notes))


def _sums(row):
    known = [c.defect for c in row if not c.absent and c.n <= 1000 and c.lanes == 1]
    return f"{known[-1]:.0e}" if known and np.isfinite(known[-1]) else ""


def section(results, time, memory, runs, few, plot):
    """The section "Comparison" in Markdown."""

    present = [peer for peer in PEERS if not peer.missing]
    versions = {p.distribution: p.version for p in present}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    date = datetime.date.today().isoformat()
    out = [
        "## Comparison",
        f"`python benchmarks/compare.py --out docs` on {date}: {measure.processor()}, one core, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, {listed}. Float64 normal "
        "data, the same for all, k = n/2. Times are medians of "
        f"{runs} runs after warming up ({few} where one takes over {time / 4:g} s), each in turn "
        "with the NumPy call. **The functions are not identical**: each library has its own "
        "relaxation, and its smoothing is set to be comparable or in its favour:",
        "\n".join(f"- {p.name}: {p.note}." for p in present),
    ]
    absent = {p.name: p.missing for p in PEERS if p.missing}
    if absent:
        out.append("Absent: " + "; ".join(f"{name} ({why})" for name, why in absent.items()) + ".")
    out.append(
        f"- (t): one run takes over {time:g} s, or would, going by shorter rows; - (m): it needs "
        f"over {memory / 1e9:g} GB. "
        '"Sums off by": the relative error of the sum that every such function should keep (k, the '
        "mean rank, rows and columns), at n = 1000 or the longest row below. Memory is the rise of "
        "the process's resident memory during value and vjp, results included, in MiB; "
        "JAX uses again what it has freed, so that its figures are lower bounds."
    )
    if plot:
        out.append("![Time of value and vjp against n](performance.svg)")
    for operator, rows in results.items():
        yardstick = hard(operator, np.zeros((1, 2)))[0]
        out.append(f"### `{operator}`")
        last = None if operator == "soft_sort" else ("sums off by", _sums)
        notes = []
        for title, shown, extra in [
            (f"Value and vjp, ms (in units of {yardstick})",
             lambda c: f"{_number(c.both * 1e3)} ({_number(c.both_ratio)})", last),
            (f"Value, ms (in units of {yardstick})",
             lambda c: f"{_number(c.value * 1e3)} ({_number(c.ratio)})", None),
            ("Peak memory, MiB", _mebibytes, None),
        ]:  # fmt: skip
            table, more = _table(rows, shown, extra)
            out += [f"{title}:", table]
            notes += more
        out += [f"Error: {note.rstrip('.')}." for note in dict.fromkeys(notes)]
    return "\n\n".join(out) + "\n"


def replace_section(path, text):
    """Put `text`, a section with its heading, in the place of the one of that heading."""
    heading = text.splitlines()[0]
    old = path.read_text() if path.exists() else "# Performance\n"
    before, found, rest = old.partition(heading + "\n")
    after = "\n## " + rest.split("\n## ", 1)[1] if found and "\n## " in rest else ""
    path.write_text(before.rstrip("\n") + "\n\n" + text + after)


def plot(results, lines, path):
    """Time of value and vjp against n, both logarithmic, one panel an operator."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "lapsum", "font.size": 9})
    figure, panels = plt.subplots(1, len(results), figsize=(11, 4), sharey=True)
    for panel, (operator, rows) in zip(panels, results.items(), strict=True):
        for (name, points), style in zip(lines.items(), ("--", ":"), strict=True):
            n, t = np.transpose(points)
            panel.loglog(n, t * 1e3, style, color="0.45", label=name)
        for peer, cells in rows.items():
            known = [(c.n, c.both * 1e3) for c in cells if not c.absent and c.lanes == 1]
            if known:
                panel.loglog(
                    *np.transpose(known), "o-", ms=3.5, lw=2.4 if peer.name == "lapsum" else 1.3,
                    color=COLOURS[peer.name], label=peer.name,
                )  # fmt: skip
        panel.set(title=operator, xlabel="n, entries of one row")
        panel.minorticks_off()
        panel.grid(alpha=0.3, lw=0.5)
        panel.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("value and vjp, milliseconds")
    figure.suptitle(
        f"One core, float64, alpha = {ALPHA}; each library's own relaxation", fontsize=9
    )
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
