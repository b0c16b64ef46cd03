"""A directive `gallery`: pages, or sections of them, as cards with their first picture.

Each line of it is ``page`` or ``page#section``, or a pattern such as ``studies/*``.
"""

from fnmatch import fnmatch

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util.nodes import clean_astext


class gallery(nodes.General, nodes.Element):
    """The list of pages, until all of them are read."""


class Gallery(Directive):
    """The directive."""

    has_content = True

    def run(self):
        """Keep the lines."""
        return [gallery("", pages=[line.strip() for line in self.content if line.strip()])]


def find(document, section):
    """Return the part of a page that a line of the gallery names."""
    if not section:
        return document
    for node in document.findall(nodes.section):
        if section in node["ids"] or section in node.get("names", ()):
            return node
    raise ValueError(f"gallery: there is no section {section!r}")


def card(app, docname, line):
    """Return one card: a picture, a title that is a link, and the first paragraph."""
    page, _, section = line.partition("#")
    part = find(app.env.get_doctree(page), section)
    title = clean_astext(next(part.findall(nodes.title)))
    uri = app.builder.get_relative_uri(docname, page) + (f"#{section}" if section else "")
    box = nodes.container(classes=["card-of-gallery"])
    link = nodes.reference("", "", refuri=uri, internal=True)
    image = next(part.findall(nodes.image), None)
    if image is None:
        raise ValueError(f"gallery: {line} has no picture")
    picture = image.deepcopy()
    picture["classes"] = ["thumbnail"]
    picture["alt"] = ""
    link += picture
    box += nodes.paragraph("", "", link, classes=["picture"])
    name = nodes.reference("", title, refuri=uri, internal=True)
    box += nodes.paragraph("", "", name, classes=["title"])
    text = next((clean_astext(p) for p in part.findall(nodes.paragraph)), "").replace("\n", " ")
    end = text.find(". ", 30)  # one sentence, or two if the first is very short
    box += nodes.paragraph("", text[: end + 1] if end > 0 else text)
    return box


def resolve(app, doctree, docname):
    """Replace the lists by cards."""
    for node in list(doctree.findall(gallery)):
        cards = nodes.container(classes=["gallery"])
        for line in node["pages"]:
            pages = [line]
            if "*" in line:
                found = (page for page in app.env.found_docs if fnmatch(page, line))
                pages = [page for page in sorted(found) if not page.endswith("index")]
            cards += [card(app, docname, page) for page in pages]
        node.replace_self(cards)


def setup(app):
    """Connect what is above."""
    app.add_node(gallery)
    app.add_directive("gallery", Gallery)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True}
