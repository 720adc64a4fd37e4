"""The front end as one script and one style sheet, for a page that opens from its file.

A page from a file cannot load modules. So the modules are put into one script, each in a function of its own
that gives what it exports, in the order of their imports. That needs two habits of the sources: imports are
`import { a, b as c } from "./x.js";` at the top, and exports stand before a declaration at the start of a
line. Both are checked here; nothing else of the language has to be understood.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["script", "styles"]

STATIC = files("docendo.runtime.viewer") / "static"

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.-]+)";[ \t]*$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) ([\w$]+)", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*$|\bimport\(", re.MULTILINE)


def script(folder: Traversable = STATIC, entry: str = "app.js") -> str:
    """All modules that `entry` needs, as one classic script.

    Raises:
        ValueError: A module breaks one of the two habits, or modules import each other in a ring.
    """
    done: dict[str, str] = {}
    _add(folder, entry, done, ())
    body = "\n".join(done.values())
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def styles(folder: Traversable = STATIC) -> str:
    """The style sheets that `index.html` names, in their order."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    names = re.findall(r'<link rel="stylesheet" href="static/([\w.-]+)"', page)
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _add(folder: Traversable, name: str, done: dict[str, str], path: tuple[str, ...]) -> None:
    """Put a module behind those that it imports."""
    if name in path:
        raise ValueError(f"modules import each other in a ring: {' -> '.join((*path, name))}")
    if name in done:
        return
    source = (folder / name).read_text(encoding="utf-8")
    lines = []
    for names, other in _IMPORT.findall(source):
        _add(folder, other, done, (*path, name))
        parts = (" ".join(part.split()).replace(" as ", ": ") for part in names.split(","))
        wanted = ", ".join(part for part in parts if part)
        lines.append(f"const {{ {wanted} }} = {_variable(other)};")
    exported = [found[1] for found in _EXPORT.findall(source)]
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub("", source))
    if left := _LEFT.search(body):
        raise ValueError(f"{name}: `{left[0].strip()[:80]}` cannot be put into one script")
    head = "\n".join(lines)
    done[name] = (
        f"const {_variable(name)} = (() => {{\n{head}\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
    )


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))
