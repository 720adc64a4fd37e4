"""Filters: expressions in Python's notation over an episode, interpreted and never executed.

The text is parsed by `ast` and every node is looked up in an allow-list, so there is no attribute, name or
call that was not put there. What is missing (`None`) makes an ordering false and arithmetic missing, as in a
database; everything else is as in Python. Numbers stay small and loops run over the turns of one episode
only, so no expression can take long; a budget of steps per episode sees to the rest.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from docendo.errors import UsageError, did_you_mean
from docendo.runtime.viewer.episode_models import EpisodeRow, Turn
from docendo.runtime.viewer.vocabulary import FUNCTIONS

__all__ = ["ExpressionError", "Filter", "compile_filter"]

LONGEST = 2000
"""Characters of a filter."""
STEPS = 200_000
"""Nodes evaluated per episode."""
_LARGEST = 10**15

EPISODE_NAMES = frozenset(EpisodeRow.model_fields)
TURN_NAMES = frozenset(Turn.model_fields)
RECORD_NAMES = frozenset({
    "condition", "label", "control", "replicate", "ordinal", "key", "phase", "phase_kind", "round", "item",
    "student", "outcome", "failure", "wall_s",
})  # fmt: skip
"""Fields that an episode's record has, without its events."""

_ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_METHODS: dict[str, type] = {"lower": str, "startswith": str, "endswith": str, "get": Mapping}

Scope = dict[str, Any]
Node = Callable[["_Run"], Any]


class ExpressionError(UsageError):
    """A filter that cannot be read or evaluated; `where.column` is the place in its text."""

    code = "expression"

    def __init__(self, message: str, *, column: int | None = None, suggestion: str = "") -> None:
        super().__init__(message, suggestion=suggestion)
        self.column = column


@dataclass(slots=True)
class _Run:
    """One evaluation: what names mean, and how many steps are left."""

    row: EpisodeRow
    turns: dict[str, Turn] = field(default_factory=dict)
    left: int = STEPS

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ExpressionError("the filter takes too long", suggestion="Nest fewer loops over `turns`.")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that has been read."""

    text: str
    _node: Node
    _early: tuple[Node, ...] = ()
    """The parts of a conjunction that need no event of the episode."""

    def excludes(self, record: EpisodeRow) -> bool:
        """Whether an episode fails by what its record says, so that its events need not be read.

        Raises:
            ExpressionError: As in `holds`.
        """
        return not all(node(_Run(record)) for node in self._early)

    def holds(self, row: EpisodeRow) -> bool:
        """Whether the episode passes.

        Raises:
            ExpressionError: Two things cannot be compared or calculated with, or it takes too long.
        """
        return bool(self._node(_Run(row)))


def compile_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        ExpressionError: It is no expression, or uses what filters do not have.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"a filter has at most {LONGEST} characters, this one {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(
            f"not an expression: {error.msg}",
            column=error.offset,
            suggestion="Example: gain < 0 and not leak",
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("not an expression: it is nested too deeply, or holds a NUL") from None
    try:
        compiler = _Compiler(len(text) - len(text.lstrip()))
        return Filter(text, compiler.node(tree.body), tuple(map(compiler.node, _early(tree.body))))
    except RecursionError:
        raise ExpressionError("the filter is nested too deeply") from None


def _early(tree: ast.expr) -> list[ast.expr]:
    """The first parts of a conjunction (or the whole) that read nothing but the record.

    Later ones do not count: what stands before them may fail, and would be the first to say so.
    """
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    known = RECORD_NAMES | set(FUNCTIONS)

    def reads_more(part: ast.expr) -> bool:
        return any(isinstance(node, ast.Name) and node.id not in known for node in ast.walk(part))

    return list(takewhile(lambda part: not reads_more(part), parts))


@dataclass
class _Compiler:
    """From the syntax tree to closures."""

    indent: int
    """Characters before the expression."""
    variables: list[str] = field(default_factory=list)
    """Turns that are in scope."""

    def node(self, tree: ast.AST) -> Node:
        """The closure of a node."""
        method = getattr(self, f"_{type(tree).__name__.lower()}", None)
        if method is None:
            raise self.error(tree, f"a filter cannot use {_article(type(tree).__name__)}")
        inner: Node = method(tree)

        def stepping(run: _Run) -> Any:
            run.step()
            return inner(run)

        return stepping

    def error(self, tree: ast.AST, message: str, suggestion: str = "") -> ExpressionError:
        """That `tree` is not allowed."""
        column = getattr(tree, "col_offset", 0) + self.indent + 1
        return ExpressionError(message, column=column, suggestion=suggestion)

    # --- leaves ---------------------------------------------------------------------------------------

    def _constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        if not isinstance(value, str | bool | int | float | None):
            raise self.error(tree, f"a filter cannot use the value {value!r}")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise self.error(tree, "this number is too large")
        return lambda run: value

    def _name(self, tree: ast.Name) -> Node:
        name = tree.id
        if name in self.variables:
            return lambda run: run.turns[name]
        if name not in EPISODE_NAMES:
            known = EPISODE_NAMES | set(self.variables) | set(FUNCTIONS)
            hint = did_you_mean(name, known) or "The list of names is under the filter's `?`."
            raise self.error(tree, f"there is no `{name}`", hint)
        return lambda run: getattr(run.row, name)

    def _attribute(self, tree: ast.Attribute) -> Node:
        if not (isinstance(tree.value, ast.Name) and tree.value.id in self.variables):
            raise self.error(
                tree,
                f"`.{tree.attr}` is not something that can be read here",
                "Attributes are those of a turn: any(t.move == 'telling' for t in turns).",
            )
        name, attribute = tree.value.id, tree.attr
        if attribute not in TURN_NAMES:
            raise self.error(tree, f"a turn has no `{attribute}`", did_you_mean(attribute, TURN_NAMES))
        return lambda run: getattr(run.turns[name], attribute)

    def _list(self, tree: ast.List | ast.Tuple | ast.Set) -> Node:
        nodes = [self.node(e) for e in tree.elts]
        return lambda run: [n(run) for n in nodes]

    _tuple = _list
    _set = _list

    # --- operators ------------------------------------------------------------------------------------

    def _boolop(self, tree: ast.BoolOp) -> Node:
        *first, last = [self.node(v) for v in tree.values]
        ends = isinstance(tree.op, ast.Or)

        def decide(run: _Run) -> Any:
            for node in first:
                if bool(value := node(run)) is ends:
                    return value
            return last(run)

        return decide

    def _unaryop(self, tree: ast.UnaryOp) -> Node:
        operand = self.node(tree.operand)
        if isinstance(tree.op, ast.Not):
            return lambda run: not operand(run)
        if not isinstance(tree.op, ast.USub | ast.UAdd):
            raise self.error(tree, "a filter cannot use `~`")
        sign = -1 if isinstance(tree.op, ast.USub) else 1
        return lambda run: None if (v := self.number(tree, operand(run))) is None else sign * v

    def _binop(self, tree: ast.BinOp) -> Node:
        apply = _ARITHMETIC.get(type(tree.op))
        if apply is None:
            raise self.error(tree, "a filter can use + - * / // % and nothing else to calculate")
        left, right = self.node(tree.left), self.node(tree.right)

        def calculate(run: _Run) -> Any:
            a, b = self.number(tree, left(run)), self.number(tree, right(run))
            if a is None or b is None:
                return None
            try:
                value = apply(a, b)
            except ZeroDivisionError:
                return None
            except OverflowError:
                raise self.error(tree, "this number is too large") from None
            return self.number(tree, value)

        return calculate

    def number(self, tree: ast.AST, value: Any) -> Any:
        """`value`, if it is a number or missing."""
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise self.error(tree, f"cannot calculate with {_kind(value)}")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise self.error(tree, "this number is too large")
        return value

    def _compare(self, tree: ast.Compare) -> Node:
        operands = [self.node(tree.left), *(self.node(c) for c in tree.comparators)]
        tests = [self.test(tree, op) for op in tree.ops]

        def compare(run: _Run) -> bool:
            left = operands[0](run)
            for test, operand in zip(tests, operands[1:], strict=True):
                right = operand(run)
                if not test(left, right):
                    return False
                left = right
            return True

        return compare

    def test(self, tree: ast.Compare, op: ast.cmpop) -> Callable[[Any, Any], bool]:
        """What one comparison does."""
        match op:
            case ast.Eq() | ast.Is():
                return lambda a, b: bool(a == b)
            case ast.NotEq() | ast.IsNot():
                return lambda a, b: bool(a != b)
            case ast.In():
                return lambda a, b: self.within(tree, a, b)
            case ast.NotIn():
                return lambda a, b: not self.within(tree, a, b)
        order = _ORDER[type(op)]

        def ordered(a: Any, b: Any) -> bool:
            if a is None or b is None:
                return False
            both = (int, float) if isinstance(a, int | float) else (str,)
            if not (isinstance(a, both) and isinstance(b, both)):
                raise self.error(tree, f"cannot order {_kind(a)} and {_kind(b)}")
            return order(a, b)

        return ordered

    def within(self, tree: ast.AST, a: Any, b: Any) -> bool:
        """`a in b`."""
        if b is None:
            return False
        if isinstance(b, str):
            if not isinstance(a, str):
                raise self.error(tree, f"cannot look for {_kind(a)} in a text")
            return a in b
        if not isinstance(b, list | Mapping):
            raise self.error(tree, f"cannot look into {_kind(b)}")
        return any(a == x for x in b)

    def _ifexp(self, tree: ast.IfExp) -> Node:
        test, body, other = self.node(tree.test), self.node(tree.body), self.node(tree.orelse)
        return lambda run: body(run) if test(run) else other(run)

    def _subscript(self, tree: ast.Subscript) -> Node:
        value, index = self.node(tree.value), self.node(tree.slice)

        def at(run: _Run) -> Any:
            whole, place = value(run), index(run)
            if isinstance(whole, Mapping):
                return whole.get(place) if isinstance(place, str) else None
            if isinstance(whole, list | str) and isinstance(place, int):
                return whole[place] if -len(whole) <= place < len(whole) else None
            if whole is None:
                return None
            raise self.error(tree, f"cannot take an element of {_kind(whole)}")

        return at

    # --- calls ----------------------------------------------------------------------------------------

    def _call(self, tree: ast.Call) -> Node:
        if tree.keywords or any(isinstance(a, ast.Starred) for a in tree.args):
            raise self.error(tree, "functions of a filter take plain arguments only")
        if isinstance(tree.func, ast.Attribute):
            return self.method(tree, tree.func)
        if not (isinstance(tree.func, ast.Name) and tree.func.id in FUNCTIONS):
            name = tree.func.id if isinstance(tree.func, ast.Name) else "this"
            raise self.error(tree, f"there is no function `{name}`", did_you_mean(name, FUNCTIONS))
        name, function = tree.func.id, FUNCTIONS[tree.func.id][0]
        if len(tree.args) != 1:
            raise self.error(tree, f"`{name}` takes one argument")
        argument = self.node(tree.args[0])

        def call(run: _Run) -> Any:
            value = argument(run)
            if value is None:
                return None
            try:
                return function(value)
            except TypeError:
                raise self.error(tree, f"`{name}` cannot be taken of {_kind(value)}") from None

        return call

    def method(self, tree: ast.Call, function: ast.Attribute) -> Node:
        """`text.lower()`, `text.startswith(...)`, `spent.get(...)`."""
        name = function.attr
        if name not in _METHODS:
            raise self.error(tree, f"there is no `.{name}()`", did_you_mean(name, _METHODS))
        most = {"lower": (0, 0), "get": (1, 2)}.get(name, (1, 1))
        if not most[0] <= len(tree.args) <= most[1]:
            raise self.error(tree, f"`.{name}()` takes {most[0]} to {most[1]} arguments")
        subject, arguments = self.node(function.value), [self.node(a) for a in tree.args]

        def call(run: _Run) -> Any:
            value, given = subject(run), [a(run) for a in arguments]
            if value is None:
                return None
            if not isinstance(value, _METHODS[name]) or not all(isinstance(g, str) for g in given[:1]):
                raise self.error(tree, f"`.{name}()` is not for {_kind(value)}")
            return getattr(value, name)(*given)

        return call

    # --- loops ----------------------------------------------------------------------------------------

    def _generatorexp(self, tree: ast.GeneratorExp | ast.ListComp) -> Node:
        if len(tree.generators) != 1 or tree.generators[0].is_async:
            raise self.error(tree, "one `for` at a time")
        loop = tree.generators[0]
        if not (isinstance(loop.iter, ast.Name) and loop.iter.id == "turns"):
            raise self.error(loop.iter, "loops run over `turns`", "any(t.leak for t in turns)")
        if not isinstance(loop.target, ast.Name):
            raise self.error(loop.target, "a loop has one variable, e.g. `for t in turns`")
        name = loop.target.id
        if name in EPISODE_NAMES or name in self.variables:
            raise self.error(loop.target, f"`{name}` means something else already", "Write `for t in turns`.")
        self.variables.append(name)
        element, conditions = self.node(tree.elt), [self.node(c) for c in loop.ifs]
        self.variables.remove(name)

        def values(run: _Run) -> Iterable[Any]:
            for turn in run.row.turns:
                run.turns[name] = turn
                if all(c(run) for c in conditions):
                    yield element(run)

        return lambda run: list(values(run))

    _listcomp = _generatorexp


def _kind(value: Any) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "what is missing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case Turn():
            return "a turn"
        case _:
            return "this"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
