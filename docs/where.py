"""Tables of where something is computed, which pages on papers show: they fail if it is gone."""

import re
from pathlib import Path

from IPython.display import Markdown

ROOT = Path(__file__).parent.parent
DEFINITION = re.compile(r"\s*(cdef|def|class|int|void|double|static|LAP_FUNCTION)\b|NAME")


def line(file, text):
    """Return the number of the first line that defines `text`, which must be there."""
    for number, code in enumerate((ROOT / file).read_text().splitlines(), 1):
        if text in code and DEFINITION.match(code):
            return number
    raise LookupError(f"{file} does not define {text}")


def table(*items):
    """Return a table of (what, file, texts of definitions ...), with the lines they stand in."""
    rows = ["| what | file | lines |", "| --- | --- | --- |"]
    for what, file, *texts in items:
        names = (f"`{text.split()[-1].strip('(:')}` {line(file, text)}" for text in texts)
        rows.append(f"| {what} | `{file}` | {', '.join(names)} |")
    return Markdown("\n".join(rows))
