"""Pages as notebooks to download.

Every page with code of its own is a notebook that needs nothing but the installed library:
`sphinx-build` writes each as `_notebooks/NAME.ipynb`, and ``python docs/_extensions/notebooks.py
FOLDER`` executes what is there, in an empty folder.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient

NOT_OFFERED = (
    "index",
    "development",
    "internals/",
    "reference/",
)  # for readers of a clone, or no lesson
ROOT = Path(__file__).parents[2]
OWN = {
    path.stem
    for folder in ("benchmarks", "docs", "tests/package", "tests/support")
    for path in (ROOT / folder).iterdir()
    if path.suffix == ".py" or path.is_dir()
}
HEAD = """*This notebook is a page of the documentation of lapsum {version}.
It needs `pip install 'lapsum[docs]'` and nothing else.*"""
LAYOUT = """import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True  # legends stand beside the axes"""


def own_code(text):
    """Return the cells of a page that need nothing of the repository."""
    cells = re.findall(r"^```\{code-cell\}.*?^```", text, re.MULTILINE | re.DOTALL)
    tagged = re.compile(r"^:?tags: \[.*\brepository\b", re.MULTILINE)
    return [cell for cell in cells if not tagged.search(cell)]


def is_notebook(page, text):
    """Whether a page can be downloaded: it is for users, and has code of its own."""
    return not page.startswith(NOT_OFFERED) and bool(own_code(text))


def check(page, text):
    """Fail if a notebook would import what only the repository has."""
    imported = re.findall(r"^(?:import|from) (\w+)", "\n".join(own_code(text)), re.MULTILINE)
    if strange := OWN.intersection(imported):
        raise ValueError(
            f"{page}: a cell without the tag `repository` imports {', '.join(strange)}"
        )


def plain(text, titles, page):
    """Return Markdown without what only Sphinx knows; `titles` are those of pages and labels."""

    def link(found):
        role, inside = found[1], found[2]
        named = re.fullmatch(r"(.+?) ?<(.+)>", inside, re.DOTALL)
        if named:
            return named[1]
        if role == "doc":
            path = (
                inside if inside.startswith("/") else "/" + (Path(page).parent / inside).as_posix()
            )
            return f"“{titles[os.path.normpath(path)[1:]]}”"
        return f"“{titles[inside]}”" if role == "ref" else f"`{inside}`"

    text = re.sub(r"\{(doc|ref|func|class|obj|term)\}`([^`]+)`", link, text)
    text = re.sub(r"^\(([\w-]+)\)=\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(:::|```)\{(index|toctree|only)\}.*?^\1$\n?", "", text, flags=re.M | re.S)
    text = re.sub(
        r"^:::\{(\w+)\} ?(.*)$", lambda m: f"**{m[2] or m[1].capitalize()}**", text, flags=re.M
    )
    text = re.sub(r"^:::$\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"^: ", "  ", text, flags=re.MULTILINE)
    if left := re.search(r"\{[a-z:-]+\}`|^(```|:::)\{.*", text, re.MULTILINE):
        raise ValueError(f"{page}: a notebook would show {left[0]!r} as it stands")
    return text


def shown(cell):
    """Return cells of Markdown with what a page shows of an executed cell: its text and figures."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "text/markdown" in data:
            yield nbformat.v4.new_markdown_cell(data["text/markdown"])
        elif "image/png" in data:
            attached = {"figure.png": {"image/png": data["image/png"]}}
            text = f"![{alt}](attachment:figure.png)"
            yield nbformat.v4.new_markdown_cell(text, attachments=attached)


def write_notebooks(app, exception):
    """Write the notebooks beside the pages."""
    if exception is not None or app.builder.format != "html":
        return
    sources = {
        path.relative_to(app.srcdir).with_suffix("").as_posix(): path.read_text()
        for path in Path(app.srcdir).rglob("*.md")
        if "_build" not in path.parts
    }
    titles = {page: re.search(r"^# (.+)$", text, re.MULTILINE)[1] for page, text in sources.items()}
    for text in sources.values():
        titles.update(re.findall(r"^\(([\w-]+)\)=\n+#+ (.+)$", text, re.MULTILINE))
    executed = Path(app.outdir).parent / "jupyter_execute"  # where myst-nb keeps them
    folder = Path(app.outdir) / "_notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    for page, text in sources.items():
        if not is_notebook(page, text):
            continue
        check(page, text)
        done = nbformat.read(executed / f"{page}.ipynb", 4).cells
        results = iter([cell for cell in done if cell.cell_type == "code"])
        book = read_myst_markdown_notebook(text, app.env.myst_config)
        cells = [nbformat.v4.new_markdown_cell(HEAD.format(version=app.config.release))]
        if "matplotlib" in text:
            cells.append(nbformat.v4.new_code_cell(LAYOUT))
        for cell in book.cells:
            if cell.cell_type == "markdown":
                cells.append(nbformat.v4.new_markdown_cell(plain(cell.source, titles, page)))
                continue
            result = next(results)
            if "repository" in cell.metadata.get("tags", ()):
                cells += shown(result)
            else:
                cells.append(nbformat.v4.new_code_cell(cell.source))
        for number, cell in enumerate(cells):  # the same file from the same page
            cell["id"] = f"cell-{number}"
        made = nbformat.v4.new_notebook(
            cells=cells,
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
            },
        )
        nbformat.validate(made)
        target = folder / f"{page.replace('/', '-')}.ipynb"
        target.parent.mkdir(exist_ok=True)
        nbformat.write(made, target)


def offer(app, page, template, context, doctree):
    """Put a line with the download under the title of a page."""
    if doctree is None or not is_notebook(page, app.env.doc2path(page).read_text()):
        return
    name = f"{page.replace('/', '-')}.ipynb"
    href = "../" * page.count("/") + f"_notebooks/{name}"
    line = (
        f'<p class="notebook"><a class="reference download" download href="{href}">'
        "Download this page as a notebook</a></p>"
    )
    context["body"] = context["body"].replace("</h1>", f"</h1>\n{line}", 1)


def execute(path):
    """Run a notebook in an empty folder; return its name and the seconds it took."""
    book = nbformat.read(path, 4)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    return path.name, time.perf_counter() - began


def main(folder):
    """Run all notebooks of a folder, two at a time."""
    os.environ.pop("PYTHONPATH", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths:
        raise SystemExit(f"no notebooks in {folder}")
    with ThreadPoolExecutor(2) as pool:
        for name, seconds in pool.map(execute, paths):
            print(f"{name:40} {seconds:5.1f} s", flush=True)


def setup(app):
    """Connect what is above."""
    app.connect("html-page-context", offer)
    app.connect("build-finished", write_notebooks)
    return {"version": "1", "parallel_read_safe": True}


if __name__ == "__main__":
    main(*sys.argv[1:])
