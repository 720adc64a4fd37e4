"""Conditions on edges: sandboxed Jinja expressions without calls.

A condition reads names (`SCOPE_NAMES`), attributes and items, compares, computes and uses a few filters.
Its syntax tree is checked against an allow-list *before* Jinja compiles it, because Jinja computes
constants while compiling (`9 ** 9 ** 9` would hang a validation). Nothing that a condition may contain
loops or allocates more than its operands, so evaluating one always ends.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from docendo.errors import EpisodeFailure, PromptError, did_you_mean

__all__ = ["FILTERS", "MAX_LENGTH", "SCOPE_NAMES", "Condition", "compile_condition"]

SCOPE_NAMES = frozenset({
    "answer", "belief", "budget", "decision", "exhausted", "grade", "message", "params", "turn", "verdict",
})  # fmt: skip
"""What a condition may read.

The graph itself supplies `turn` (acts done so far on this path) and `exhausted` (the unit that the ledger
could not pay for the act just asked for, else `""`). The rest is the latest of its kind in this branch:
`decision`, `answer`, `grade`, `message`, `belief`, `verdict`, each `None` before the first; and `budget`
(left per unit) and `params` (of the phase).
"""

FILTERS = frozenset({
    "abs", "count", "default", "first", "float", "int", "last", "length", "lower", "max", "min", "sum",
    "trim", "upper",
})  # fmt: skip
"""Filters that a condition may use: those whose result is no larger than their input."""

MAX_LENGTH = 500
"""Most characters of a condition."""

_ALLOWED = (
    nodes.Name, nodes.Const, nodes.Tuple, nodes.List, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod,
    nodes.Getattr, nodes.Getitem, nodes.CondExpr, nodes.Filter, nodes.Test,
)  # fmt: skip
_WORDS: dict[type[nodes.Node], str] = {
    nodes.Call: "call",
    nodes.Pow: "`**`",
    nodes.Concat: "`~`",
    nodes.Dict: "mapping",
}


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with `*` and `%` for numbers only: on texts and lists they can fill the memory."""

    intercepted_binops = frozenset({"*", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"`{operator}` is for numbers only")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
    environment = _Environment(undefined=StrictUndefined)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition."""

    text: str
    names: frozenset[str]
    """Free names, which `holds` looks up in its scope."""
    _expression: TemplateExpression = field(repr=False, compare=False)

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether the condition is true in `scope`; only the names it mentions are looked up.

        Raises:
            EpisodeFailure: It cannot be evaluated there, e.g. an attribute is missing.
        """
        try:
            return bool(self._expression({name: scope[name] for name in self.names if name in scope}))
        except Exception as error:
            raise EpisodeFailure(
                "crash",
                f"the condition `{self.text}` cannot be evaluated: {error}",
                suggestion="Test first whether there is a value: `grade and grade.correct`.",
            ) from error


@functools.lru_cache(maxsize=1024)
def compile_condition(text: str) -> Condition:
    """Compile `text`; equal texts share one result.

    Raises:
        PromptError: It is too long, is not an expression, or contains what a condition may not.
    """
    if len(text) > MAX_LENGTH:
        raise PromptError(
            f"a condition of {len(text)} characters is too long (at most {MAX_LENGTH})",
            suggestion="Let an act decide, and test its decision.",
        )
    try:
        tree = _parse(text)
        _check(tree, text)
        names = frozenset(node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
        return Condition(text, names, TemplateExpression(_ENVIRONMENT.from_string(tree), False))
    except TemplateSyntaxError as error:
        raise PromptError(f"the condition `{text}` is not an expression: {error.message}") from error
    except (RecursionError, SyntaxError) as error:
        raise PromptError(f"the condition `{text}` is nested too deeply") from error


def _parse(text: str) -> nodes.Template:
    """The expression as the body of a template that assigns it, as `Environment.compile_expression` does."""
    parser = Parser(_ENVIRONMENT, text, state="variable")
    try:
        expression = parser.parse_expression()
        if not parser.stream.eos:
            parser.fail("something follows the expression")
    except TemplateSyntaxError as error:
        what = (error.message or "").rstrip(".").replace("end of template", "end")
        raise TemplateSyntaxError(f"{what}, at character {_column(text, parser)}", 1) from error
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    return nodes.Template(body, lineno=1).set_environment(_ENVIRONMENT)  # type: ignore[return-value]


def _column(text: str, parser: Parser) -> int:
    """One-based position of the token at which `parser` stopped."""
    try:
        left = sum(1 for _ in parser.stream)
        tokens = list(_ENVIRONMENT.lexer.tokeniter(text, None, state="variable"))
    except TemplateSyntaxError:
        return len(text)
    starts, offset = [], 1
    for _, kind, value in tokens:
        if kind != "whitespace":
            starts.append(offset)
        offset += len(value)
    return starts[-left] if 0 < left <= len(starts) else offset


def _check(tree: nodes.Template, text: str) -> None:
    """Refuse everything that a condition may not contain."""
    assign = tree.body[0]
    assert isinstance(assign, nodes.Assign)
    for node in (assign.node, *assign.node.find_all(nodes.Node)):
        if not isinstance(node, _ALLOWED):
            word = _WORDS.get(type(node), type(node).__name__.lower())
            raise PromptError(
                f"the condition `{text}` contains a {word}, which conditions may not",
                suggestion="Compare names and attributes; filters: " + ", ".join(sorted(FILTERS)) + ".",
            )
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise PromptError(
                f"the condition `{text}` uses the filter `{node.name}`, which conditions may not",
                suggestion=did_you_mean(node.name, FILTERS),
            )
        if _private(node):
            raise PromptError(f"the condition `{text}` reads a name that starts with `_`")


def _private(node: nodes.Node) -> bool:
    """Whether `node` names something that starts with an underscore."""
    match node:
        case nodes.Name(name=str(name)) | nodes.Getattr(attr=str(name)):
            return name.startswith("_")
        case nodes.Getitem(arg=nodes.Const(value=str(name))):
            return name.startswith("_")
    return False
