"""How the documentation is built: ``sphinx-build -W docs docs/_build``, see development.md.

Nothing here needs the network: formulas are set by a copy of MathJax that pip installed, and every
example, number and figure is made by the build from the installed library.  What a build cannot
make is shown from benchmarks/records, which say when and where they were measured.
"""

import doctest
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import lapsum
import lapsum.ot

HERE = Path(__file__).parent

project = "lapsum"
author = "The lapsum developers"
copyright = f"2026, {author}"
release = version = lapsum.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
default_role = "autolink"

# Pages are executed. `-D nb_execution_mode=cache` saves time while one of them is written.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
os.environ["MATPLOTLIBRC"] = str(HERE / "matplotlibrc")
# Pages that measure errors use the tests' many-digit reference, those on speed the benchmarks, and
# the developer guide the layers that tests/package checks.
os.environ["PYTHONPATH"] = os.pathsep.join(
    str(HERE.parent / n) for n in ("tests/support", "tests/package", "benchmarks")
)

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "lapsum"
html_static_path = ["_static"]
html_css_files = ["lapsum.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "lapsum"},
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "start": [], "paper": [], "coming_from": [], "development": []}

# One file: glyphs are paths in it, so no fonts are fetched.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]]},
    "svg": {"fontCache": "global"},
    "options": {"enableMenu": True},
}
myst_update_mathjax = False


def copy_mathjax(app):
    """Put MathJax, which the package django-static-mathjax carries, beside the pages."""
    spec = find_spec("mathjax")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the documentation needs `pip install '.[docs]'`")
    (folder,) = spec.submodule_search_locations
    target = Path(app.outdir) / "_static" / "mathjax" / "tex-svg.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(folder) / "static" / "mathjax" / "es5" / "tex-svg.js", target)


PUBLIC = [(module, name) for module in (lapsum, lapsum.ot) for name in module.__all__]


def write_reference(app):
    """Write one page for each public name, so that a new operator needs no page of its own."""
    folder = HERE / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    wanted = {}
    for module, name in PUBLIC:
        made = getattr(module, name)
        kind = "class" if isinstance(made, type) else "function"
        members = ""
        if kind == "class":  # with what linear operators share
            members = "   :members:\n   :inherited-members: EvenDensity, object\n"
        title = f"{module.__name__}.{name}".removeprefix("lapsum.")
        wanted[f"{title}.rst"] = (
            f"{title}\n{'=' * len(title)}\n\n.. currentmodule:: {module.__name__}\n\n"
            f".. auto{kind}:: {name}\n{members}"
        )
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def run_examples(app):
    """Run the examples of the docstrings, which the reference shows with their outputs."""
    failed = 0
    for test in doctest.DocTestFinder().find(lapsum, extraglobs={}):
        failed += doctest.DocTestRunner().run(test).failed
    for module, name in PUBLIC:
        for test in doctest.DocTestFinder().find(getattr(module, name), name, module=False):
            failed += doctest.DocTestRunner().run(test).failed
    if failed:
        raise RuntimeError(f"{failed} examples of the docstrings do not print what stands there")


def hide_private_parameters(app, what, name, obj, options, signature, result):
    """Show no signature for a class that only the library makes."""
    if what == "class" and signature and "_rule" in signature:
        return "", None
    return None


def setup(app):
    """Connect what is above."""
    app.connect("builder-inited", run_examples)
    app.connect("builder-inited", write_reference, priority=400)
    app.connect("builder-inited", copy_mathjax)
    app.connect("autodoc-process-signature", hide_private_parameters)
