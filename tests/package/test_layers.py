"""Imports point down only, and what is optional is imported only when it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import lapsum

PACKAGE = Path(lapsum.__file__).parent
# From the top: a module may import from its own row's left and from the rows below it.
LAYERS = [
    ["__main__"],
    ["__init__"],
    ["_permutation_operator"],
    ["_soft_permute", "_lap_sum_inv"],
    ["_soft_permutation", "_lap_sum", "_soft_rank", "_soft_sort", "_soft_topk", "_soft_quantile"],
    ["_derivatives"],
    ["_rules"],
    ["_selection"],
    ["_sources"],
    ["_targets", "_validation"],
    ["_layout", "_backend"],
    ["_backends.cupy", "_numpy"],
    ["_kernels", "_memory"],
]
RANK = {module: rank for rank, row in enumerate(LAYERS) for module in row}


def imported(path):
    """The modules of the package that a file imports, but for those that only types need."""
    tree = ast.parse(path.read_text())
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "lapsum":
            yield "__init__"


def test_imports_point_down():
    for path in sorted(PACKAGE.glob("*.py")):
        # A new operator sits with the operators.
        rank = RANK.get(path.stem, RANK["_soft_rank"])
        for module in imported(path):
            assert RANK.get(module, RANK["_soft_rank"]) > rank, f"{path.name} imports {module}"


def test_only_the_kernels_know_numpy_s_loops():
    for path in PACKAGE.glob("*.py"):
        if "_kernels" in set(imported(path)):
            assert path.stem in ("_numpy", "__init__")


def test_import_loads_neither_scipy_nor_any_extra():
    code = (
        "import sys, numpy; before = set(sys.modules); import lapsum; "
        "print({m.partition('.')[0] for m in set(sys.modules) - before})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(out.stdout)
    assert not loaded & {"scipy", "pandas", "cupy", "sklearn", "matplotlib", "tqdm"}


def test_the_source_folder_alone_says_what_to_do(tmp_path):
    copy = tmp_path / "lapsum"
    copy.mkdir()
    for path in PACKAGE.glob("*.py"):
        (copy / path.name).write_text(path.read_text())
    code = "import sys; sys.path = [sys.argv[1], *sys.path[1:]]; import lapsum"
    bare = [sys.executable, "-S", "-E", "-c", code, str(tmp_path)]
    out = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert out.returncode != 0
    assert "pip install ." in out.stderr


def test_the_version_is_the_distribution_s():
    from importlib.metadata import version

    assert lapsum.__version__ == version("lapsum")


def test_the_shared_header_is_package_data():
    header = PACKAGE / "laplace.h"
    if not header.exists():  # an editable install leaves it in the source tree
        header = PACKAGE.parent / "src" / "laplace.h"
    assert "lap_cdf" in header.read_text()
