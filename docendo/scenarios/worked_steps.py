"""Worked steps as text: writing them, and reading them out of anybody's words.

`render_steps` writes one line per step. `read_steps` scans any text for the facts and phrases that a column
rule leaves behind (`13 - 8 = 5`, `make the 5 a 4`, `write 5 and carry 1`), in order; a number fact closes a
column and is read together with the phrases since the last one. Reading is charitable: `13 - 8 = 5` alone
is read as a correct borrow, and `allows` keeps the variants that the words leave open. What a sentence
denies (`do not take the smaller from the larger`) is not read. Plain number facts carry no rule: slots in
`BASE_SLOTS` are never read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from docendo.scenarios.arithmetic import CORRECT, SLOTS, Problem, Solution

__all__ = ["ReadStep", "read_steps", "render_steps"]


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A rule that a text shows at work."""

    slot: str
    variant: str
    allows: tuple[str, ...] = ()
    """Further variants of the slot that the words are consistent with."""

    def contradicts(self, variant: str) -> bool:
        """Whether a learner who holds `variant` for this slot sees something else here than it would do."""
        return variant != self.variant and variant not in self.allows


def render_steps(solution: Solution) -> str:
    """The steps of a solution, one per line, without a final answer sentence."""
    return "\n".join(step.text for step in solution.steps)


def read_steps(text: str, problem: Problem | None = None) -> tuple[ReadStep, ...]:
    """The rules that `text` shows at work, in order; repetitions are kept.

    Args:
        text: Worked steps with any prose around them.
        problem: The problem that the text is about, where known. It rules out steps of the other operation,
            lets a swapped column be seen (`8 - 2 = 6` where the next column says 2 over 8), and keeps a bare
            equation of the whole problem from being taken for a column.
    """
    reader = _Reader(text, problem)
    for start, kind, match in sorted(
        ((m.start(), kind, m) for kind, pattern in _PATTERNS.items() for m in pattern.finditer(text)),
        key=lambda event: event[:2],
    ):
        reader.start = start
        if kind in _ACTIONS:
            _ACTIONS[kind](reader, match)
        elif not reader.denied():
            reader.cues.add(kind)
    return tuple(reader.found)


# --- what is looked for ---------------------------------------------------------------------------------

_N = r"(?<![\d.,])(\d{1,2})(?!\d|[.,]\d)"
_IS = r"\s*(?:=|is|equals|gives|makes|leaves)\s*"
_MINUS = r"\s*(?:-|\N{MINUS SIGN}|\N{EN DASH}|minus|take away)\s*"
_PLUS = r"\s*(?:\+|plus)\s*"
_BECOMES = (
    r"(?:\s+on\s+the\s+way)?\s*(?:becomes?|turns?\s+into|changes?\s+to|is\s+now|(?:down\s+)?to|into|an?"
    r"|,?\s*(?:and\s+)?leaving|,?\s*and\s+write|\N{RIGHTWARDS ARROW}|->|=>)\s*(?:an?\s+)?"
)

_PATTERNS: dict[str, re.Pattern[str]] = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "minus": _N + _MINUS + _N + _IS + _N,
        "plus": rf"(?<![\d.,])(\d{{1,2}}(?:{_PLUS}\d{{1,2}}){{1,3}}){_IS}{_N}",
        "change": _N + _BECOMES + _N,
        "nine": (
            r"zeros?\s+(?:becomes?|turns?\s+into)\s+(?:an?\s+)?(?:9|nine)|\b10\W+(?:and\s+)?then\s+(?:an?\s+)?9\b"
        ),
        "larger": r"smaller\s+(?:\w+\s+)?from\s+(?:the\s+)?(?:larger|bigger)",
        "less": r"\b0\s+is\s+(?:less|smaller)\s+than",
        "leave": r"(?:leave|keep)\s+the\s+\w+(?:\s+digit)?\s+(?:as\s+it\s+is|alone|unchanged|the\s+same)",
        "far_left": r"far[\s-]left|leftmost",
        "stop": r"stops?\s+at\s+the\s+(?:0|zero)",
        "skip": r"skip\w*\s+(?:over\s+)?(?:it\b|the\s+(?:0|zero))",
        "no_further": r"no\s+further",
        "borrow": r"\b(?:borrow|regroup)",
        "quit": r"\bstop\s+here",
        "bring_down": r"bring(?:ing)?\s+down\s+(?:the\s+)?\d",
        "sum": r"the\s+(?:sum|total)\s+is\s+(\d{1,2})\b",
        "carry": (
            r"(?:write\s+(?:down\s+)?(?:the\s+)?(\d)\W+(?:and\s+|then\s+)*)?\bcarry\s+(?:over\s+)?(?:the\s+|an?\s+)?"
            r"(\d)\b(\s+to\s+every\s+later)?"
        ),
        "forget": r"(?:forget|drop|ignore)\s+(?:about\s+)?the\s+(?:carry|\d)\b",
        "whole": r"write\s+the\s+whole\s+\d{2}\b",
    }.items()
}
_DENIAL = re.compile(
    r"\b(?:not|never|cannot|avoid|wrong|mistake|instead\s+of|rather\s+than)\b"
    r"|n['\N{RIGHT SINGLE QUOTATION MARK}]t\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;:](?:\s|$)|\n")
_PAST_ZERO = {
    "stop": "stops_borrow_at_zero",
    "skip": "borrow_across_zero",
    "no_further": "zero_to_nine_only",
}


@dataclass
class _Reader:
    """What has been read so far, and the phrases since the last number fact."""

    text: str
    problem: Problem | None
    found: list[ReadStep] = field(default_factory=list)
    cues: set[str] = field(default_factory=set)
    total: int | None = None
    """The last column sum of an addition that was not yet carried."""
    column: int = 0
    """How many columns of a subtraction were closed."""
    start: int = 0
    """Where the present event begins."""

    def denied(self) -> bool:
        """Whether the sentence, up to here, denies what follows."""
        sentence = _SENTENCE_END.split(self.text[max(0, self.start - 80) : self.start])[-1]
        return _DENIAL.search(sentence) is not None

    def emit(self, slot: str, variant: str = CORRECT, *allows: str) -> None:
        if self.problem is not None and SLOTS[slot] != self.problem.operation:
            return
        if variant == CORRECT or not self.denied():
            self.found.append(ReadStep(slot, variant, allows))


def _minus(reader: _Reader, match: re.Match[str]) -> None:
    top, bottom, rest = (int(group) for group in match.groups())
    if _continues(reader) or (not reader.cues and _is_whole(reader.problem, top, bottom)):
        return
    if "borrow" in reader.cues and bottom == 1 and 1 <= top <= 9 and rest == top - 1:
        reader.cues.add("lent")  # the lender's own subtraction, not a column
        return
    if "larger" in reader.cues or _is_swapped(reader, top, bottom, rest):
        if bottom == 0:
            reader.emit("zero_minus")
        reader.emit("borrow", "smaller_from_larger")
    elif 10 <= top <= 18 and bottom <= 9 and rest == top - bottom <= 9:
        _borrow(reader, top)
    elif max(top, bottom) <= 9:
        _plain_column(reader, top, bottom, rest)
    reader.column += 1
    reader.cues.clear()


def _plain_column(reader: _Reader, top: int, bottom: int, rest: int) -> None:
    """A column in which nothing was borrowed."""
    if top == 0 < bottom:
        _zero_minus(reader, bottom, rest)
    elif bottom == 0 < top and rest in (top, 0):
        reader.emit("minus_zero", CORRECT if rest else "n_minus_zero_is_zero")
    elif top < bottom and rest in (0, bottom - top):
        reader.emit("borrow", "smaller_from_larger" if rest else "zero_instead_of_borrow")


def _zero_minus(reader: _Reader, bottom: int, rest: int) -> None:
    if rest == bottom:
        reader.emit("zero_minus", "zero_minus_n_is_n")
    elif rest == 0 and "less" in reader.cues:
        reader.emit("zero_minus")
        reader.emit("borrow", "zero_instead_of_borrow")
    elif rest == 0:
        reader.emit("zero_minus", "zero_minus_n_is_zero")


def _borrow(reader: _Reader, top: int) -> None:
    cues = reader.cues
    if top == 10:
        reader.emit("zero_minus")
    past_zero = next((variant for cue, variant in _PAST_ZERO.items() if cue in cues), None)
    if past_zero or "nine" in cues:
        open_ = () if past_zero or "lent" in cues else ("zero_to_nine_only",)
        reader.emit("borrow_from_zero", past_zero or CORRECT, *open_)
        reader.emit("borrow")
    elif "far_left" in cues:
        reader.emit("borrow", "always_borrow_left")
    elif "leave" in cues and "lent" not in cues:
        reader.emit("borrow", "borrow_no_decrement")
    else:
        two_columns = reader.problem is not None and reader.problem.top < 100
        reader.emit(
            "borrow", CORRECT,
            *(() if "lent" in cues else ("borrow_no_decrement",)),
            *(("always_borrow_left",) if two_columns else ()),
        )  # fmt: skip


def _continues(reader: _Reader) -> bool:
    """Whether the fact is the tail of a longer expression, such as `20 - 9 - 4 = 7`."""
    return reader.text[: reader.start].rstrip().endswith(("-", "+", "\N{MINUS SIGN}", "*"))


def _is_whole(problem: Problem | None, top: int, bottom: int) -> bool:
    """Whether the fact is the problem itself and not one of its columns."""
    return problem is not None and top > 9 and (top, bottom) == (problem.top, problem.bottom)


def _is_swapped(reader: _Reader, top: int, bottom: int, rest: int) -> bool:
    """Whether `top - bottom` is the next column of the problem turned upside down."""
    problem = reader.problem
    if problem is None or problem.operation != "-" or not bottom < top <= 9 or rest != top - bottom:
        return False
    columns = [*zip(reversed(str(problem.top)), reversed(str(problem.bottom)), strict=False)]
    return columns[reader.column : reader.column + 1] == [(str(bottom), str(top))]


def _change(reader: _Reader, match: re.Match[str]) -> None:
    before, after = int(match[1]), int(match[2])
    if before in (0, 10) and after == 9:
        reader.cues.add("nine")
    elif 1 <= before <= 9 and after == before - 1:
        reader.cues.add("lent")
    elif after == before + 10:
        reader.cues.add("ten")


def _plus(reader: _Reader, match: re.Match[str]) -> None:
    terms, total = [int(n) for n in re.findall(r"\d+", match[1])], int(match[2])
    reader.total = total
    if terms.count(0) == 1 and max(terms) <= 9:
        if total == sum(terms):
            reader.emit("add_zero")
        elif total == 0 and len(terms) == 2:
            reader.emit("add_zero", "n_plus_zero_is_zero")
    reader.cues.clear()


def _carry(reader: _Reader, match: re.Match[str]) -> None:
    written, carried = match[1], int(match[2])
    tens, ones = divmod(reader.total if reader.total is not None else 10 + int(written or 0), 10)
    if match[3]:
        reader.emit("carry", "carry_not_reset")
    elif tens and carried == tens and (written is None or int(written) == ones):
        reader.emit("carry", CORRECT, *(("carries_wrong_digit",) if tens == ones else ()))
    elif tens and carried == ones and (written is None or int(written) == tens):
        reader.emit("carry", "carries_wrong_digit")
    reader.total = None


_ACTIONS: dict[str, Callable[[_Reader, re.Match[str]], None]] = {
    "minus": _minus,
    "plus": _plus,
    "change": _change,
    "carry": _carry,
    "sum": lambda reader, match: setattr(reader, "total", int(match[1])),
    "quit": lambda reader, _: reader.emit("bring_down", "quit_when_bottom_blank"),
    "bring_down": lambda reader, _: reader.emit("bring_down"),
    "forget": lambda reader, _: reader.emit("carry", "carry_dropped"),
    "whole": lambda reader, _: reader.emit("carry", "writes_whole_sum"),
}
