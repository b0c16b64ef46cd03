"""The house: what may import what, and what is imported only when it is needed."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import resolve_name
from pathlib import Path

import pytest

import lapsum

PACKAGE = Path(lapsum.__file__).parent
# From the top: a folder, or a module beside them, imports from the floors below its own alone, and
# those on one floor do not know each other.
FLOORS = [
    ["__main__"],
    ["__init__"],
    ["_adapters", "losses"],
    ["_operators"],
    ["_laplace", "_general", "ot"],
    ["_core"],
    ["_backends"],
    ["_kernels"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Folders of one library's kernels, which other floors reach by the table, or by modules beside
# them; and the modules outside that import from such a folder by its name all the same.
OF_ONE_LIBRARY = ("lapsum._backends.numpy", "lapsum._backends.cupy")
EXCHANGES = {"lapsum._adapters.torch.cuda": "lapsum._backends.cupy.exchange"}  # on the same device
LIBRARIES = {"cupy", "cupyx", "torch", "jax", "jaxlib", "dask"}
# Interfaces, one line or two for each of many names.
LONG_FILES = {"_backends/protocol.py"}
MOST_LINES = 350
SOURCES = Path(__file__).parents[2] / "src"
# One algorithm, or one kernel after another that only passes arrays on.
LONG_SOURCES = {
    "cuda/select.cuh",
    "general/tree.c",
    "kernels/short.pxi",
    "kernels/transport.pxi",
    "simd/short_topk.inc",
    "simd/vector_gnu.h",
}

FILES = {path.relative_to(PACKAGE): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {
    ".".join(["lapsum", *file.with_suffix("").parts]).removesuffix(".__init__"): file
    for file in FILES
}
FOLDERS = {module for module, file in MODULES.items() if file.name == "__init__.py"}
EVERY = pytest.mark.parametrize("module", MODULES)


def room_of(module):
    """The folder of a module in the package, or the module if it is in none."""
    return module.split(".")[1] if module != "lapsum" else "__init__"


def imported(module):
    """The modules that one imports, but for those that only types need."""
    tree = ast.parse(FILES[MODULES[module]])
    package = module if module in FOLDERS else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            name = resolve_name("." * node.level + (node.module or ""), package)
            inside = [f"{name}.{alias.name}" for alias in node.names]
            yield from (
                whole if whole in (*MODULES, "lapsum._kernels") else name for whole in inside
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant) and not name.value.startswith("."):
                yield name.value


@EVERY
def test_imports_point_down(module):
    for other in imported(module):
        if other.split(".")[0] == "lapsum" and room_of(other) != room_of(module):
            assert FLOOR[room_of(other)] > FLOOR[room_of(module)], f"{module} imports {other}"


def test_no_circle():
    # What a package holds is reached by name; the package itself holds nothing.
    graph = {m: {o for o in imported(m) if o in MODULES} - {m, "lapsum"} for m in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError


@EVERY
def test_only_its_own_folder_imports_a_library(module):
    for other in imported(module):
        library = other.split(".")[0]
        if library in LIBRARIES:
            assert room_of(module) in ("_backends", "_adapters"), f"{module} imports {other}"
            assert library.startswith(module.split(".")[2]), f"{module} imports {other}"


@EVERY
def test_kernels_of_one_library_are_reached_by_the_table(module):
    """In functions, too, and as text."""
    if room_of(module) != "_backends":
        found = {o for o in imported(module) if o.startswith(OF_ONE_LIBRARY)}
        assert found == {EXCHANGES[module]} if module in EXCHANGES else not found


def test_imports_in_functions_are_seen():
    lazy = {
        "lapsum._adapters.torch.cuda": "lapsum._backends.cupy.exchange",
        "lapsum._backends.cupy.lanes": "cupyx.scipy.sparse.linalg",
        "lapsum._operators.soft_topk": "lapsum._general.topk",
    }
    for module, other in lazy.items():
        assert other in imported(module)


@EVERY
def test_only_numpy_s_backend_knows_the_compiled_loops(module):
    if "lapsum._kernels" in imported(module):
        assert module.startswith("lapsum._backends.numpy") or module == "lapsum"


def test_where_arrays_are_is_asked_near_them():
    for module, file in MODULES.items():
        if room_of(module) not in ("_backends", "_core"):
            assert "on_host" not in FILES[file], file


def test_results_have_names():
    """Rows of what kernels return are not addressed by number, but for pairs and shapes."""
    for module, file in MODULES.items():
        if room_of(module) in ("_core", "_laplace", "_general", "_operators", "losses", "ot"):
            for node in ast.walk(ast.parse(FILES[file])):
                if isinstance(node, ast.Subscript) and ".shape" not in ast.unparse(node.value):
                    at = node.slice
                    ends = [at.lower, at.upper] if isinstance(at, ast.Slice) else [at]
                    for end in ends:
                        number = getattr(end, "value", 0)
                        assert not isinstance(number, int) or number < 2, f"{file}:{node.lineno}"


def test_files_are_short():
    long = {
        str(file)
        for file, text in FILES.items()
        if text.count("\n") > MOST_LINES and str(file) not in LONG_FILES
    }
    assert not long
    assert {
        str(file.relative_to(SOURCES))
        for file in SOURCES.rglob("*")
        if file.is_file() and file.read_text().count("\n") > MOST_LINES
    } == LONG_SOURCES


def test_import_loads_neither_scipy_nor_any_extra():
    code = (
        "import sys, numpy; before = set(sys.modules); import lapsum; "
        "[getattr(lapsum, name) for name in lapsum.__all__]; "
        "print({m.partition('.')[0] for m in set(sys.modules) - before})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(out.stdout)
    assert not loaded & {"scipy", "pandas", "sklearn", "matplotlib", "tqdm", *LIBRARIES}


@pytest.fixture
def copy_first(tmp_path):
    """A copy of the sources, first on the path of a new process; what that process says."""
    for file, text in FILES.items():
        (tmp_path / "lapsum" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lapsum" / file).write_text(text)

    def imported(*options, environment=None):
        code = "import sys; sys.path = [sys.argv[1], *sys.path[1:]]; import lapsum"
        command = [sys.executable, *options, "-c", code, str(tmp_path)]
        changed = {**os.environ, **(environment or {})}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=changed)

    return tmp_path / "lapsum", imported


def test_the_source_folder_alone_says_what_to_do(copy_first):
    folder, imported = copy_first
    out = imported("-S", "-E")
    assert out.returncode != 0
    assert "has no compiled kernels; install it again" in out.stderr
    (folder.parent / "meson.build").write_text("")  # now it is the source folder
    assert "pip install ." in imported("-S", "-E").stderr
    assert imported().returncode == 0  # beside an installed copy that is taken


def test_no_copy_without_kernels_is_passed_over(copy_first, tmp_path_factory):
    folder, imported = copy_first
    (folder.parent / "meson.build").write_text("")
    other = tmp_path_factory.mktemp("installed")
    (other / "lapsum").mkdir()
    (other / "lapsum" / "__init__.py").write_text("")
    out = imported("-S", environment={"PYTHONPATH": str(other)})
    assert f"the copy of lapsum in {other / 'lapsum'} has no compiled kernels" in out.stderr


def test_kernels_that_are_broken_show_their_own_error(copy_first):
    folder, imported = copy_first
    (folder / f"_kernels{EXTENSION_SUFFIXES[0]}").write_text("no library")
    out = imported("-S", "-E")
    assert "ImportError" in out.stderr
    assert str(folder) in out.stderr
    assert "pip install" not in out.stderr


def test_kernels_of_another_python_are_named(copy_first):
    folder, imported = copy_first
    (folder / "_kernels.cpython-399-somewhere.so").write_text("")
    out = imported("-S", "-E")
    assert "compiled for another Python: _kernels.cpython-399-somewhere.so" in out.stderr


def test_the_version_is_the_distribution_s():
    from importlib.metadata import version

    assert lapsum.__version__ == version("lapsum")


def test_the_shared_header_is_package_data():
    header = PACKAGE / "laplace.h"
    if not header.exists():  # an editable install leaves it in the source tree
        header = PACKAGE.parent / "src" / "laplace.h"
    assert "lap_cdf" in header.read_text()
