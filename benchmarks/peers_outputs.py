"""What other libraries print: the snippets of the documentation's page "Coming from", run.

    python benchmarks/peers_outputs.py [--record]

Each line that is an expression gets its value beside it, to three digits.  --record writes
records/peers_outputs.json, from which the page shows code and results.
"""

import argparse
import ast
import importlib.metadata

import measure
import numpy as np
import report

X = [2.9, 1.0, 3.0, 7.0]  # x in the snippets; the page has the same
SNIPPETS = {
    # name: the libraries whose versions matter, and the code
    "torchsort": (
        ("torchsort", "torch"),
        """\
import torch, torchsort

t = torch.tensor(x)[None]
torchsort.soft_rank(t, regularization_strength=0.1)
torchsort.soft_rank(t, regularization_strength=1.0)
torchsort.soft_sort(t, regularization_strength=0.1)
torchsort.soft_sort(t, regularization_strength=1.0)
""",
    ),
    "soft": (
        ("softjax", "jax", "softtorch", "torch"),
        """\
import softjax as sj, softtorch as st, torch

sj.rank(x, softness=0.1, descending=False)
sj.rank(x, softness=0.1, descending=False, standardize=False)
st.rank(torch.tensor(x), softness=0.1, descending=False)
sj.sort(x, softness=0.1)
values, indices = sj.top_k(x, 2, softness=0.1)
values
""",
    ),
    "ott": (
        ("ott-jax", "jax"),
        """\
from ott.tools import soft_sort

soft_sort.ranks(x, epsilon=1e-2)
soft_sort.sort(x, epsilon=1e-2)
soft_sort.topk_mask(x, k=2, epsilon=1e-2)
v = np.array([1.0, 2.0, 3.0, 4.0])
soft_sort.sort_with(v[:, None], x, epsilon=1e-2).ravel()
""",
    ),
}


def run(code):
    """Lines of code, each with its value: (source, text)."""
    space, found = {"np": np, "x": np.array(X)}, []
    for node in ast.parse(code).body:
        source = ast.get_source_segment(code, node)
        if isinstance(node, ast.Expr):
            value = eval(source, space)
            text = np.array2string(np.asarray(value).round(3), suppress_small=True)
            found.append((source, text))
        else:
            exec(source, space)
            found.append((source, ""))
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.append(("", ""))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write records/peers_outputs.json")
    options = parser.parse_args()
    snippets = [
        {
            "name": name,
            "versions": {library: importlib.metadata.version(library) for library in libraries},
            "lines": run(code),
        }
        for name, (libraries, code) in SNIPPETS.items()
    ]
    record = {"machine": measure.machine(), "x": X, "snippets": snippets}
    for name in SNIPPETS:
        print(report.snippet(record, name) + "\n")
    if options.record:
        report.write("peers_outputs", record)


if __name__ == "__main__":
    main()
