"""Names of functions in the text become links, and every reference page says where it is used.

A code span whose text is a name, or a call of it, is a link: to the reference where lapsum has that
name, and to NumPy's or SciPy's own documentation where `_inventories` lists it.
"""

import os
import re
import zlib
from pathlib import Path
from pkgutil import resolve_name

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.inventory import InventoryFile

import lapsum
import lapsum.ot
from lapsum._general.even_density import EvenDensity

PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (lapsum, lapsum.ot)
    for name in module.__all__
}
METHODS = {
    f"lapsum.Linearization.{name}"
    for name in ("value", "parameters", "jvp", "vjp", "jacobian")
    if hasattr(lapsum.Linearization, name)
}
SHORT = {"np": "numpy", "lin": "lapsum.Linearization", "ot": "lapsum.ot"}
CODE = r"^```(?:\{code-cell\}|python).*?^```"
CALL = re.compile(r"([A-Za-z_][\w.]*)(\(.*\))?", re.DOTALL)


def target_of(text, foreign):
    """Return the full name that a code span stands for, or None."""
    found = CALL.fullmatch(text)
    if found is None:
        return None
    name = found[1]
    head, dot, rest = name.partition(".")
    if head in SHORT and dot:
        name = f"{SHORT[head]}.{rest}"
    for full in (name, f"lapsum.{name}"):
        if full in PUBLIC or full in METHODS:
            return full
    return name if name in foreign else None


class LinkNames(SphinxTransform):
    """Make references of the code spans that are names."""

    default_priority = 400

    def apply(self):
        """Wrap each in a reference that is resolved once all pages are read."""
        docname = self.env.docname
        own = docname.rpartition("/")[2] if docname.startswith("reference/generated") else None
        for literal in list(self.document.findall(nodes.literal)):
            parents = (nodes.title, nodes.reference, addnodes.pending_xref, addnodes.desc_signature)
            up = literal.parent
            while up is not None and not isinstance(up, parents):
                up = up.parent
            if up is not None:
                continue
            full = target_of(literal.astext(), self.config.foreign_names)
            if full is None or full == f"lapsum.{own}":
                continue
            reference = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=full, refexplicit=True, refwarn=True
            )
            reference["refdoc"] = docname
            literal.replace_self(reference)
            reference += literal


def inventories(folder, out):
    """Compress the lists of names in `folder`; return intersphinx's mapping, and the names."""
    mapping, names = {}, set()
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.txt")):
        lines = path.read_text().splitlines()
        url, entries = lines[0], [line.split() for line in lines[1:] if line]
        rows = "".join(f"{name} {role} 1 {place} -\n" for name, role, place in entries)
        head = f"# Sphinx inventory version 2\n# Project: {path.stem}\n# Version: \n"
        packed = out / f"{path.stem}.inv"
        text = (head + "# The remainder of this file is compressed using zlib.\n").encode()
        packed.write_bytes(text + zlib.compress(rows.encode()))
        InventoryFile.loads(packed.read_bytes(), uri=url)  # an error here names the file
        mapping[path.stem] = (url, str(packed))
        names.update(name for name, _, _ in entries)
    for name in names:
        resolve_name(name)  # a name that is gone there is an error here
    return mapping, names


def title_of(text):
    """Return the title of a page in Markdown."""
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].replace("`", "")


def listed(index, here):
    """Return the pages of a table of contents, in its order."""
    found = re.search(r"^```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)^```", index.read_text(), re.M | re.S)
    folder = index.parent.relative_to(here)
    return [os.path.normpath(folder / line) for line in found[1].split()]


def groups(here):
    """Return the pages that a reference page may link to, in groups that have a name."""
    out = {"Guide": ["start", *listed(here / "guide/index.md", here), "coming_from"]}
    for folder in ("tutorials", "studies"):
        if (index := here / folder / "index.md").exists():
            out[folder.capitalize()] = listed(index, here)
    out["Papers"] = ["paper", *listed(here / "paper.md", here)]
    return out


def pages_with(full, here):
    """Return lines with links to the pages whose examples call a function, and to the table of all.

    If no example calls it, the pages are those that name it.
    """
    name = full.removeprefix("lapsum.")
    called = re.compile(rf"(?<!\w){re.escape(name if '.' in name else full)}\b")
    named = re.compile(rf"(?<![\w.]){re.escape(name)}\b")
    texts = {g: {p: (here / f"{p}.md").read_text() for p in ps} for g, ps in groups(here).items()}
    for wanted, part in ((called, CODE), (named, ".*")):
        lines = []
        for group, pages in texts.items():
            links = [
                f":doc:`{title_of(text)} </{page}>`"
                for page, text in pages.items()
                if wanted.search("\n".join(re.findall(part, text, re.MULTILINE | re.DOTALL)))
                or (page == "guide/which" and named.search(text))
            ]
            if links:
                lines.append(f"- {group}: {', '.join(links)}")
        if lines:
            return lines
    raise ValueError(f"no page of the guide or the tutorials names {full}")


def toctrees():
    """Return the reference's table of contents, by the groups of the modules' docstrings."""
    out, listed = [], set()
    for module in (lapsum, lapsum.ot):
        _, *parts = re.split(r"^\*\*(.+)\*\*$", module.__doc__, flags=re.MULTILINE)
        for title, table in zip(parts[::2], parts[1::2], strict=True):
            full = [f"{module.__name__}.{name}" for name in re.findall(r"^`(\w+)`", table, re.M)]
            if full:
                names = "\n".join(f"generated/{name.removeprefix('lapsum.')}" for name in full)
                out.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{names}\n```\n")
            listed.update(full)
    if listed != PUBLIC.keys():
        missing = ", ".join(sorted(listed ^ PUBLIC.keys()))
        raise ValueError(f"the tables in the modules' docstrings and __all__ differ in {missing}")
    return "\n".join(out)


def write_reference(app):
    """Write one page for each public name, so that a new operator needs no page of its own."""
    here = Path(app.srcdir)
    folder = here / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    wanted = {}
    for full, made in PUBLIC.items():
        kind = "class" if isinstance(made, type) else "function"
        members = ""
        if kind == "class" and not issubclass(made, EvenDensity):  # whose methods are for operators
            members = "   :members:\n   :inherited-members: object\n"
        module, _, name = full.rpartition(".")
        title = full.removeprefix("lapsum.")
        text = (
            f"{title}\n{'=' * len(title)}\n\n.. currentmodule:: {module}\n\n"
            f".. auto{kind}:: {name}\n{members}"
        )
        links = "\n".join(pages_with(full, here))
        text += f"\n.. rubric:: Pages that use it\n\n{links}\n"
        wanted[f"{title}.rst"] = text
    wanted["toctrees.inc"] = toctrees()
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def setup(app):
    """Connect what is above."""
    app.setup_extension("sphinx.ext.intersphinx")
    here = Path(app.srcdir)
    mapping, names = inventories(here / "_inventories", Path(app.doctreedir) / "inventories")
    app.add_config_value("foreign_names", names, "env", set)
    app.config.intersphinx_mapping.update(mapping)
    app.add_transform(LinkNames)
    app.connect("builder-inited", write_reference, priority=400)
    return {"version": "1", "parallel_read_safe": True}
