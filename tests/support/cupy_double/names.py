"""What the real CuPy has: a list, made where it is installed, that the double is held to.

python tests/support/cupy_double/names.py          compare it with the CuPy here
python tests/support/cupy_double/names.py --write  make it anew
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("names.json")


@cache
def real() -> dict[str, Any]:
    """Return the list: parameters by function and method, ufuncs, types and constants."""
    return json.loads(FILE.read_text())


@cache
def signature(parameters: str) -> inspect.Signature:
    """Return the signature that a parameter list of the file stands for."""
    return inspect.signature(eval(f"lambda {parameters}: None"))  # what we wrote ourselves


def _plain(text: str) -> str:
    """Return a parameter list with names and plain defaults only, or "*args, **kwargs"."""
    parts = []
    for item in text.split(","):
        name, equals, default = item.strip().partition("=")
        name = re.split(r"[:\s]", re.sub(r"^.* (?=[\w*]+$)", "", name.strip()))[0]
        if equals and not re.fullmatch(r"None|True|False|-?\d+(\.\d*)?|'\w*'", default.strip()):
            default = "None"
        parts.append(f"{name}={default.strip()}" if equals else name)
    plain = ", ".join(parts)
    try:
        signature(plain)
    except (SyntaxError, NameError):
        return "*args, **kwargs"
    return plain


def _parameters(function: Any) -> str:
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        first = (getattr(function, "__doc__", "") or "").partition("\n")[0]
        match = re.match(r"[\w.]+\((.*)\)", first)
        return _plain(match[1]) if match else "*args, **kwargs"
    bare = [
        p.replace(
            annotation=p.empty,
            default=p.default
            if p.default is p.empty or isinstance(p.default, (int, float, str, type(None)))
            else None,
        )
        for p in found.parameters.values()
    ]
    text = str(inspect.Signature(bare))[1:-1]
    return re.sub(r"=([^,)]*\b(nan|inf)\b)", "=None", text)


def introspect() -> dict[str, Any]:
    """Return the list for the CuPy that is installed here."""
    import cupy

    out: dict[str, Any] = {"version": cupy.__version__}
    functions, ufuncs, others = {}, {}, []
    for name in sorted(n for n in dir(cupy) if not n.startswith("_")):
        value = getattr(cupy, name)
        if isinstance(value, cupy.ufunc):
            ufuncs[name] = {"nin": value.nin, "nout": value.nout, "at": value._scatter_op}
        elif callable(value) and not isinstance(value, type):
            functions[name] = _parameters(value)
        elif not isinstance(value, types.ModuleType):
            others.append(name)
    methods, attributes = {}, []
    for name in sorted(n for n in dir(cupy.ndarray) if not n.startswith("_")):
        value = inspect.getattr_static(cupy.ndarray, name)
        if callable(value):
            methods[name] = re.sub(r"^self(, )?", "", _parameters(getattr(cupy.ndarray, name)))
        else:
            attributes.append(name)
    special = [n for n in dir(cupy.ndarray) if n.startswith("__")]
    return out | {
        "functions": functions,
        "ufuncs": ufuncs,
        "types and constants": others,
        "methods": methods,
        "attributes": attributes,
        "special methods": sorted(special),
    }


def main() -> int:
    """Compare or write, as the command line says."""
    found = introspect()
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(found, indent=0) + "\n")
        return 0
    known = real()
    for section in found:
        if known[section] == found[section]:
            continue
        print(f"{section}: not what {FILE.name} says")
        if isinstance(found[section], dict):
            names = known[section].keys() | found[section].keys()
            for name in sorted(names):
                before, now = known[section].get(name), found[section].get(name)
                if before != now:
                    print(f"  {name}: {before} -> {now}")
        else:
            print(f"  {known[section]} -> {found[section]}")
    return found != known


if __name__ == "__main__":
    sys.exit(main())
