"""What decides that an answer is right.

`extract_answer` reads the final answer out of free text; `grade` compares an answer with an item's. The
grader is the item's `taxonomy["grader"]` where its source names one, else the one of its answer kind.

Who failed is kept apart. A *student* without a readable answer failed to answer: that is wrong, with reason
`unreadable`. A *grader* that cannot decide (a gold answer that it cannot read) says nothing about the
student: `correct` is `None`, the outcome is missing, and it is reported as missing, never as a score.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from docendo.registry import Registry
from docendo.scenarios.item import AnswerKind, Item

__all__ = [
    "GRADERS", "Grader", "Verdict", "extract_answer", "grade", "label_of", "labels", "normalise_text",
    "read_choice", "read_number", "read_yes_no", "stated_answer",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says of one answer."""

    correct: bool | None
    """`None`: the grader failed, and the outcome is missing."""
    reason: str
    """`equal`, `different`, `unreadable` (no answer could be read), or why the grader failed."""
    normalised: str | None = None
    """The answer as the grader read it."""


Grader = Callable[[Item, str], Verdict]
"""Decides on a non-empty answer. Total: it returns a verdict for every string."""

GRADERS: Registry[Grader] = Registry("grader")

UNREADABLE = Verdict(False, "unreadable")


def grade(item: Item, answer: str | None, *, grader: str = "") -> Verdict:
    """Grade the answer to an item. See the module's text for what is wrong and what is missing.

    Args:
        item: The problem with its gold answer.
        answer: The final answer, as `extract_answer` returns it or as a student wrote it.
        grader: A grader's name, instead of the item's own.

    Raises:
        UnknownNameError: No such grader.
    """
    decide = GRADERS.get(grader or str(item.taxonomy.get("grader", item.kind)))
    if answer is None or not answer.strip():
        return UNREADABLE
    return decide(item, answer)


def _compare(gold: str | None, answer: str | None, item: Item) -> Verdict:
    if gold is None:
        return Verdict(None, f"the gold answer `{item.answer}` of item {item.id} cannot be read", answer)
    if answer is None:
        return UNREADABLE
    return Verdict(answer == gold, "equal" if answer == gold else "different", answer)


# --- numbers --------------------------------------------------------------------------------------------

_CURRENCY = r"[$\u00a3\u20ac\u00a5]"
_FIGURE = (
    rf"(?P<sign>[-+\u2212\u2013])?(?:{_CURRENCY}\s?)?(?P<sign2>[-\u2212])?"
    r"(?:(?P<mixed>\d+)\s(?=\d+/\d))?"
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?P<decimals>\.\d+)?(?P<exponent>[eE][-+]?\d{1,2}(?!\d))?"
    r"(?:\s?/\s?(?P<below>\d+)(?![\d/]))?"
    r"(?P<percent>\s?(?:\\?%|percent\b))?(?:\s(?P<scale>hundred|thousand|million|billion)\b)?"
)
_NUMBER = re.compile(rf"(?<![\w.]){_FIGURE}", re.ASCII)
_LONE_NUMBER = re.compile(
    rf"\W*?(?:[a-zA-Z]\s*=\s*)?{_FIGURE}(?:\s?\u00b0|[\s-](?!pi\b|sqrt\b)[a-zA-Z][a-zA-Z'/ -]+)?[\s.!)\]$*]*",
    re.ASCII,
)
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_CLOSE = Fraction(1, 10**6)


@lru_cache(maxsize=4096)
def read_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number, else `None`.

    Reads `1,234.50`, `$5`, `-3`, `3/4`, `2 1/2`, `1e3`, `2 million`, `18 dollars`, `x = 7`. A percent sign is
    read as a unit (`50%` is 50).
    """
    match = _LONE_NUMBER.fullmatch(text.strip())
    return _value(match) if match else None


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > 100:
        return None
    text = (match["whole"].replace(",", "") or "0") + (match["decimals"] or "") + (match["exponent"] or "")
    value = Fraction(text)
    if match["below"]:
        if int(match["below"]) == 0:
            return None
        value = int(match["mixed"] or 0) + value / int(match["below"])
    value *= _SCALES.get(match["scale"] or "", 1)
    signs = [s for s in (match["sign"], match["sign2"]) if s]
    return -value if signs and signs[0] != "+" else value


def _written(value: Fraction) -> str:
    """A number as plain text: `18`, `0.25`, or `1/3` where no decimal is exact."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 31):
        if (value * 10**places).denominator == 1:
            sign, digits = (
                "-" if value < 0 else "",
                str(abs(value.numerator) * 10**places // value.denominator),
            )
            return f"{sign}{digits.zfill(places + 1)[:-places]}.{digits.zfill(places + 1)[-places:]}"
    return f"{value.numerator}/{value.denominator}"


@GRADERS.register("number")
def _grade_number(item: Item, answer: str) -> Verdict:
    """Equal in value, to 1e-6 of the gold's size; `50%` equals 50 and 0.5.

    Plain numbers are compared exactly and fast. Anything else goes to math-verify, where installed.
    """
    gold, given = read_number(item.answer), read_number(answer)
    if gold is None or given is None:
        return _grade_expression(item, answer)
    given_as = {given, given / 100} if "%" in answer else {given}
    gold_as = {gold, gold / 100} if "%" in item.answer else {gold}
    equal = any(abs(g - a) <= _CLOSE * abs(g) for g in gold_as for a in given_as)
    return Verdict(equal, "equal" if equal else "different", _written(given))


_one_at_a_time = threading.Lock()
_HEAVY = re.compile(r"!|(?:\^|\*\*)\s*[{(]?\s*[^\s})]{3,}|(?:\^|\*\*).*(?:\^|\*\*)|\d{40}")
_LONGEST_EXPRESSION = 200


def _grade_expression(item: Item, answer: str) -> Verdict:
    """Compare by math-verify.

    Its time limits use signals, which work in the main thread only, so they are off: towers of powers,
    factorials and long texts, which could run for ever, are refused beforehand.
    """
    verify = _math_verify()
    if verify is None:
        if read_number(item.answer) is None:
            return Verdict(None, "the gold answer is no plain number; install docendo[math]", answer)
        return UNREADABLE
    with _one_at_a_time:
        gold, given = (
            verify.parse(f"${text.strip().strip('$')}$", parsing_timeout=None) if _is_light(text) else []
            for text in (item.answer, answer)
        )
        if not gold or not given:
            return _compare(item.answer if gold else None, None, item)
        equal = bool(verify.verify(gold, given, timeout_seconds=None))
    return Verdict(equal, "equal" if equal else "different", answer.strip())


def _is_light(text: str) -> bool:
    """Whether a text can be an expression, and one that is quick to work out."""
    figures = re.search(r"\d|\\", text) is not None
    return figures and len(text) <= _LONGEST_EXPRESSION and not _HEAVY.search(text)


def _math_verify() -> ModuleType | None:
    """math-verify, imported when first needed: it is optional, and slow to import."""
    if find_spec("math_verify") is None:
        return None
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limits are off
    return import_module("math_verify")


# --- choice, yes or no, text ----------------------------------------------------------------------------


def label_of(index: int) -> str:
    """`A` for 0, `B` for 1, ... at most `Z`."""
    return chr(ord("A") + index)


def labels(options: Sequence[str]) -> tuple[str, ...]:
    """The labels of options, in order."""
    return tuple(label_of(i) for i in range(len(options)))


def normalise_text(text: str) -> str:
    """Case, compatibility forms, outer punctuation and runs of white space removed."""
    flat = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"^[^\w$%+-]+|[^\w%+-]+$", "", flat) or flat


def read_choice(text: str, options: Sequence[str]) -> str | None:
    """The label that a text chooses: `B`, `(b)`, `B. ...`, `option B`, or an option's text.

    A lone letter is a label before it is an option's text. Two different options named: `None`.
    """
    known = labels(options)
    bare = normalise_text(text)
    for pattern in (
        r"(?:option |choice |answer )?\(?([a-z])\)?",
        r"\(?([a-z])[).:]\s(?!.*(?:\([a-z]\b|\b[a-z]\))).*",
    ):
        match = re.fullmatch(pattern, bare)
        if match and match[1].upper() in known:
            return match[1].upper()
    texts = [normalise_text(option) for option in options]
    if bare in texts:
        return known[texts.index(bare)]
    named = [i for i, t in enumerate(texts) if t and re.search(rf"(?<!\w){re.escape(t)}(?!\w)", bare)]
    longest = [i for i in named if not any(i != j and texts[i] in texts[j] for j in named)]
    return known[longest[0]] if len(longest) == 1 else None


_YES_NO = {"yes": "yes", "true": "yes", "y": "yes", "no": "no", "false": "no", "n": "no"}
_YES_NO_WORD = re.compile(r"(?<![\w'])(yes|no|true|false)(?![\w'])", re.IGNORECASE)


def read_yes_no(text: str) -> str | None:
    """`yes` or `no`: the first word if it says so, else the only one of the two that occurs."""
    words = re.findall(r"\w+", text.casefold())
    if words and words[0] in _YES_NO:
        return _YES_NO[words[0]]
    said = {_YES_NO[word.casefold()] for word in _YES_NO_WORD.findall(text)}
    return said.pop() if len(said) == 1 else None


@GRADERS.register("choice")
def _grade_choice(item: Item, answer: str) -> Verdict:
    return _compare(read_choice(item.answer, item.options), read_choice(answer, item.options), item)


@GRADERS.register("yes_no")
def _grade_yes_no(item: Item, answer: str) -> Verdict:
    return _compare(read_yes_no(item.answer), read_yes_no(answer), item)


@GRADERS.register("text")
def _grade_text(item: Item, answer: str) -> Verdict:
    return _compare(normalise_text(item.answer), normalise_text(answer), item)


# --- reading the final answer out of free text ----------------------------------------------------------

_MARKER = re.compile(
    r"(?:\b(?:final\s+|correct\s+|right\s+)?(?:answer|choice|option)\b\]{0,2}\s*(?:is\b\s*:?|[:=])|\#{4})\s*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_CLAUSE_END = re.compile(r"[.!?](?=\s|$)|\n|,?\s+(?:because|since)\b")


def extract_answer(text: str, kind: AnswerKind, options: Sequence[str] = ()) -> str | None:
    r"""The final answer in a text, ready for `grade`; `None` when there is none.

    The last `the answer is X`, `Answer: X`, `#### X` or `\boxed{X}` that can be read counts. Without one: the
    last number; a leading, else the last, yes or no; the last marked label or the one option named; the last
    line for text (after Saha et al. 2023, who read the last token).
    """
    return _extract(text, kind, tuple(options))


def stated_answer(text: str, kind: AnswerKind, options: Sequence[str] = ()) -> str | None:
    """The answer that a text announces (`the answer is X`); `None` where it announces none.

    In a dialogue a number may be a step, a doubt or a quotation; only what is announced is an answer.
    """
    text = text.replace("**", "").replace("__", "")
    for _, clause in sorted(_announced(text), reverse=True):
        if (answer := _read_clause(clause, kind, tuple(options))) is not None:
            return answer
    return None


@lru_cache(maxsize=4096)
def _extract(text: str, kind: AnswerKind, options: tuple[str, ...]) -> str | None:
    """The same completion is read again in every condition that shares it."""
    text = text.replace("**", "").replace("__", "")
    for _, clause in sorted(_announced(text), reverse=True):
        if (answer := _read_clause(clause, kind, options)) is not None:
            return answer
    return _FALLBACKS[kind](text, options)


def _announced(text: str) -> list[tuple[int, str]]:
    """(position, clause) of everything that is announced as the answer."""
    found = [(match.start(), match[1]) for match in _BOXED.finditer(text)]
    for match in _MARKER.finditer(text):
        end = _CLAUSE_END.search(text, match.end() + 1)
        found.append((match.start(), text[match.end() : end.start() if end else len(text)].strip()))
    return found


def _read_clause(clause: str, kind: AnswerKind, options: Sequence[str]) -> str | None:
    if not clause:
        return None
    if kind == "number":
        result = clause.rsplit("=", 1)[-1].strip()
        if re.search(r"\\(?!\$|%|boxed)|\^", result):
            return result.strip("$ .")
        numbers = _numbers(result)
        return numbers[0] if numbers else None
    if kind == "choice":
        return read_choice(clause, options) or _last_label(clause, options)
    return read_yes_no(clause) if kind == "yes_no" else clause


def _numbers(text: str) -> list[str]:
    """All numbers of a text, written plainly; a hyphen after a digit is no sign."""
    found = []
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is None:
            continue
        follows_figure = text[: match.start()].rstrip()[-1:].isdigit()
        value = abs(value) if follows_figure and match["sign"] else value
        found.append(_written(value) + ("%" if match["percent"] else ""))
    return found


def _last_number(text: str, _: Sequence[str]) -> str | None:
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def _last_yes_no(text: str, _: Sequence[str]) -> str | None:
    said = _YES_NO_WORD.findall(text)
    return read_yes_no(text) or (_YES_NO[said[-1].casefold()] if said else None)


def _last_label(text: str, options: Sequence[str]) -> str | None:
    marked = re.findall(
        r"\(([A-Za-z])\)|\b([A-Z])[).:](?=\s|$)|\b(?:option|choice)\s+([A-Z])\b|\b([B-HJ-Z])\b", text
    )
    found = [label for groups in marked for label in groups if label.upper() in labels(options)]
    return found[-1].upper() if found else None


def _last_choice(text: str, options: Sequence[str]) -> str | None:
    return read_choice(text, options) or _last_label(text, options)


def _last_line(text: str, _: Sequence[str]) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


_FALLBACKS: dict[AnswerKind, Callable[[str, Sequence[str]], str | None]] = {
    "number": _last_number,
    "yes_no": _last_yes_no,
    "choice": _last_choice,
    "text": _last_line,
}
