"""Where a text names an item's answer: the rule behind leaks and behind success and telling in dialogues.

MathDial's rule (Macina et al. 2023, its evaluation code): for numbers any number within 1e-7 of the answer,
commas removed; else the answer as a token of its own. Labels of options count where they are marked (`B)`,
`(B)`, `option B`) and where the option's text stands; yes and no only where the text concludes, because both
words are common. A rule that looks for numbers finds intermediate values that happen to be equal, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from docendo.scenarios.grader import read_number, stated_answer
from docendo.scenarios.item import AnswerKind, PublicItem

__all__ = ["names_answer", "where_named"]

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?!\w)")
_CONCLUSION = re.compile(r"\banswer\b.*", re.IGNORECASE | re.DOTALL)

Span = tuple[int, int]


def names_answer(text: str, item: PublicItem, answer: str) -> bool:
    """Whether `text` names `answer`."""
    return bool(where_named(text, item, answer))


def where_named(text: str, item: PublicItem, answer: str) -> tuple[Span, ...]:
    """(start, end) of every place where `text` names `answer`, in characters."""
    return _where(text, item.kind, item.options, answer)


@lru_cache(maxsize=16384)
def _where(text: str, kind: AnswerKind, options: tuple[str, ...], answer: str) -> tuple[Span, ...]:
    if kind == "number" and (gold := read_number(answer)) is not None:
        return tuple(m.span() for m in _NUMBER.finditer(text) if _close(m[0], float(gold)))
    if kind == "choice":
        return _option(text, options, answer)
    if kind == "yes_no":
        said = _CONCLUSION.search(text)
        found = said is not None and stated_answer(text, kind) == answer
        return (said.span(),) if said is not None and found else ()
    token = re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)", re.IGNORECASE)
    return tuple(m.span() for m in token.finditer(text))


def _close(number: str, gold: float) -> bool:
    try:
        return abs(float(number.replace(",", "")) - gold) < 1e-7
    except ValueError:
        return False


def _option(text: str, options: tuple[str, ...], label: str) -> tuple[Span, ...]:
    marked = rf"\({label}\)|\b{label}\)|\b(?:option|choice|answer is) {label}\b"
    words = [options[ord(label) - ord("A")]] if label.isalpha() and ord(label) - 65 < len(options) else []
    pattern = "|".join([marked, *(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words)])
    return tuple(m.span() for m in re.finditer(pattern, text, re.IGNORECASE))
