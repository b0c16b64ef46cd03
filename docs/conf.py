"""How the documentation is built: ``sphinx-build -W docs docs/_build``, see development.md.

Nothing here needs the network: formulas are set by a copy of MathJax that pip installed, and every
example, number and figure is made by the build from the installed library.  What a build cannot
make is shown from benchmarks/records, which say when and where they were measured.
"""

import doctest
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

import matplotlib  # noqa: E402
from names import PUBLIC  # noqa: E402

import lapsum  # noqa: E402

project = "lapsum"
author = "The lapsum developers"
copyright = f"2026, {author}"
release = version = lapsum.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "names",
    "notebooks",
    "gallery",
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

# NumPy's and SciPy's names: `_inventories` lists those that are used, so that nothing is fetched.
intersphinx_mapping = {}
intersphinx_disabled_reftypes = []

# Plots of the docstrings look like those of the pages.
plot_rcparams = matplotlib.rc_params_from_file(
    HERE / "matplotlibrc", fail_on_error=True, use_default_template=False
) | {"figure.figsize": (5.6, 2.9)}
plot_apply_rcparams = True
plot_formats = [("png", 140)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = True
plot_pre_code = ""

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = f"lapsum {release}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["lapsum.css"]
html_js_files = ["lapsum.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": f"lapsum {release}"},
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
html_sidebars = {
    page: [] for page in ("index", "start", "paper", "coming_from", "gallery", "glossary")
}

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


def run_examples(app):
    """Run the examples of the docstrings, which the reference shows with their outputs."""
    failed = 0
    for test in doctest.DocTestFinder().find(lapsum, extraglobs={}):
        failed += doctest.DocTestRunner().run(test).failed
    for name, made in PUBLIC.items():
        for test in doctest.DocTestFinder().find(made, name, module=False):
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
    app.connect("builder-inited", copy_mathjax)
    app.connect("autodoc-process-signature", hide_private_parameters)
