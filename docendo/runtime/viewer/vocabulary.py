"""The words of filters, for whoever writes one: the fields of rows and turns, and the functions."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from docendo.runtime.viewer.episode_models import EpisodeRow, Turn
from docendo.runtime.viewer.finding_models import FilterName, FilterPage

__all__ = ["EXAMPLES", "FUNCTIONS", "filter_page"]

EXAMPLES = (
    'gain < 0 and not leak and any(t.move == "telling" for t in turns)',
    "outcome == 'budget' and spent.get('hints', 0) > 1",
    "leak and not right",
    "any('borrow' in t.text.lower() for t in turns if t.agent == 'teacher')",
    "brier > 0.25 and diagnosed is False",
    "count(t.public for t in turns) > 6",
)

GRAMMAR = (
    "A Python expression over one episode. Names are the fields below; `turns` can be looped over with any, "
    "all, sum, count, min, max and a variable of your own: any(t.leak for t in turns). Comparisons chain; "
    "and, or, not, in, is, + - * / // %, a if b else c, [..], spent['hints'], .lower(), .startswith(), "
    ".endswith(), .get(). What is missing (None) makes < <= > >= false and a calculation missing."
)

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "any": (any, "whether one of the values holds"),
    "all": (all, "whether all of the values hold"),
    "sum": (lambda values: sum(v for v in values if v is not None), "the sum, missing ones left out"),
    "count": (lambda values: sum(1 for v in values if v), "how many of the values hold"),
    "len": (len, "how many there are"),
    "min": (lambda values: min((v for v in values if v is not None), default=None), "the smallest one"),
    "max": (lambda values: max((v for v in values if v is not None), default=None), "the largest one"),
    "abs": (abs, "the size of a number"),
}
"""Name -> what it does with its one argument, and that in words. What is missing does not reach them."""


def filter_page() -> FilterPage:
    """The language of filters, made from the types that it reads."""
    names = [
        FilterName(name=name, of=of, type=_type(model.model_fields[name].annotation), description=words)
        for of, model in (("episode", EpisodeRow), ("turn", Turn))
        for name, words in _documented(model).items()
    ]
    names += [
        FilterName(name=n, of="function", type="function", description=d) for n, (_, d) in FUNCTIONS.items()
    ]
    return FilterPage(names=names, examples=list(EXAMPLES), grammar=GRAMMAR)


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text under it in the source."""
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    last = ""
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            last = statement.target.id
            found[last] = ""
        elif last and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found[last] = inspect.cleandoc(str(statement.value.value)).replace("\n", " ")
    return found


def _type(annotation: Any) -> str:
    """A type in short: `float?` for a float that can be missing."""
    arguments = get_args(annotation)
    if NoneType in arguments:
        return _type(next(a for a in arguments if a is not NoneType)) + "?"
    if arguments and all(isinstance(a, str) for a in arguments):
        return "str"
    origin = get_origin(annotation)
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(_type(a) for a in arguments)}]"
    return getattr(annotation, "__name__", "str").lower()
