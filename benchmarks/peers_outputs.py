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

scores = torch.tensor(x, requires_grad=True)
ranks = torchsort.soft_rank(scores[None], regularization_strength=1.0)
ranks[0, 0].backward()
ranks, scores.grad
torchsort.soft_rank(scores[None], regularization_strength=0.1)
torchsort.soft_sort(scores[None], regularization_strength=0.1)
torchsort.soft_sort(scores[None], regularization_strength=1.0)
""",
    ),
    "torchpsort": (
        ("torchpsort", "torch"),
        """\
import torch, torchpsort

scores = torch.tensor(x, requires_grad=True)
ranks = torchpsort.soft_rank(scores[None], tau=1.0)
ranks[0, 0].backward()
ranks, scores.grad
torchpsort.soft_quantile(scores[None], 0.5, tau=0.1)
torchpsort.soft_topk_values(scores[None], 2, tau=0.1)
""",
    ),
    "softtorch": (
        ("softtorch", "torch"),
        """\
import torch, softtorch as st

scores = torch.tensor(x, requires_grad=True)
ranks = st.rank(scores, softness=0.1, descending=False)
ranks[0].backward()
ranks, scores.grad
st.sort(scores, softness=0.1).values
""",
    ),
    "softjax": (
        ("softjax", "jax"),
        """\
import jax, jax.numpy as jnp, softjax as sj

scores = jnp.asarray(x)
ranks = lambda scores: sj.rank(scores, softness=0.1, descending=False)
grad = jax.grad(lambda scores: ranks(scores)[0])(scores)
ranks(scores), grad
sj.rank(scores, softness=0.1, descending=False, standardize=False)
sj.sort(scores, softness=0.1)
values, indices = sj.top_k(scores, 2, softness=0.1)
values
""",
    ),
    "ott": (
        ("ott-jax", "jax"),
        """\
import jax, jax.numpy as jnp
from ott.tools import soft_sort

jax.config.update("jax_enable_x64", True)
scores, v, q = jnp.asarray(x), jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0.5])
tight = dict(epsilon=1e-2, threshold=1e-9, max_iterations=10_000)
soft_sort.ranks(scores, **tight)
soft_sort.sort(scores, **tight)
soft_sort.sort(scores, topk=2, **tight)
soft_sort.quantile(scores, q, **tight)
soft_sort.topk_mask(scores, k=2, **tight)
soft_sort.sort_with(v[:, None], scores, **tight).ravel()
soft_sort.quantile_normalization(scores, v, **tight)
soft_sort.quantize(scores, num_levels=2, **tight)
""",
    ),
    "pot": (
        ("POT", "torch"),
        """\
import ot, torch

scores = torch.tensor(x, requires_grad=True)
mass, shares = torch.full((4,), 0.25), torch.tensor([0.5, 0.5])
cost = (scores[:, None] - torch.tensor([0.0, 1.0])) ** 2
p = 4 * ot.sinkhorn(mass.double(), shares.double(), cost, reg=0.6)[:, 1]
p[0].backward()
p, scores.grad
""",
    ),
    "difftopk": (
        ("difftopk", "torch"),
        """\
import torch
from difftopk import DiffTopkNet

network = DiffTopkNet("bitonic", 4, 2, steepness=10.0, distribution="logistic")
scores = torch.tensor(x, dtype=torch.float32, requires_grad=True)
p = network(scores[None])[1].sum(-1)
p[0, 0].backward()
p, scores.grad
""",
    ),
    "diffsort": (
        ("diffsort", "torch"),
        """\
import torch
from diffsort import DiffSortNet

network = DiffSortNet("bitonic", 4, steepness=10.0, distribution="logistic")
scores = torch.tensor(x, dtype=torch.float32, requires_grad=True)
values, matrix = network(scores[None])
values[0, 0].backward()
values, scores.grad
matrix[0]
""",
    ),
}


def rounded(value):
    """A tensor or array to three digits, on one line."""
    value = np.asarray(value.detach() if hasattr(value, "detach") else value).round(3)
    text = np.array2string(value, suppress_small=True, separator=" ")
    return " ".join(text.split()).replace("[ ", "[")


def run(code):
    """Lines of code, each with its value, or values: (source, text)."""
    space, found = {"np": np, "x": np.array(X)}, []
    for node in ast.parse(code).body:
        source = ast.get_source_segment(code, node)
        if isinstance(node, ast.Expr):
            value = eval(source, space)
            values = value if isinstance(value, tuple) else (value,)
            text = ", ".join(rounded(part) for part in values if part is not None)
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
