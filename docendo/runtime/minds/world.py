"""The world behind the skill mind and the expert: the answer key, and how a text about an item is read.

No simulator can judge free prose. A text is read by what it has in common with the item's own solution:

- *about*: it shares enough of the words and numbers of question and solution, and not much more of another
  item's. A word weighs log((N + 1) / (n + 1/2)) for n of N items that use it: common ones count for little.
- *coverage*: the share of the solution's weight that the text contains.
- *conclusion*: what it says the answer is; else the conclusion of the nearest known explanation (the item's
  solution or one of its harmful explanations), turned round by an explicit denial; else, for numbers, the
  last number of the text that neither question nor solution contains, unless the gold one follows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

from docendo.runtime.minds.draws import pick, unit
from docendo.runtime.minds.mind import MindFault
from docendo.scenarios.arithmetic import parse_problem
from docendo.scenarios.grader import extract_answer, grade, labels, read_number
from docendo.scenarios.item import AnswerKind, Item, PublicItem
from docendo.scenarios.items.column_arithmetic import column_item
from docendo.scenarios.items.rephrase import original_id

__all__ = ["Reading", "World", "chance_level", "concludes", "harmful_explanations"]

OF_ITEM, OF_TEXT, OF_BEST = 0.15, 0.5, 0.9
"""A text is about an item if it has this share of the item's weighted words, or (a short hint) if this share
of its own is the item's; and if no other item shares much more with it. Chosen on StrategyQA dev and GSM8K
test: every solution of the item itself passes, 99.5 % of their first sentences do, and none of some 10,000
solutions of other items, drawn at random, did."""

_MOST_READINGS = 65536
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]{3,}|\d+(?:[.,]\d+)*")
_CONCLUSION = re.compile(
    r"\b(?:(?:so|thus|hence|therefore),?\s+)?the\s+(?:final\s+|correct\s+)?(?:answer|choice)\s+is\b.*\Z",
    re.IGNORECASE | re.DOTALL,
)
_DENIAL = re.compile(r"\b(?:not the case|not true|is false) that\b", re.IGNORECASE)
_CHANCE: dict[AnswerKind, float] = {"yes_no": 0.5, "number": 0.05, "text": 0.05}


@lru_cache(maxsize=65536)
def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower().replace(",", "") for word in _WORD.findall(text))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text comes to for a reader who has one item at hand."""

    conclusion: str | None
    """The answer that it leads to; `None` where it is about something else, or about nothing."""
    coverage: float
    """Share of the solution that it shows, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class World:
    """The answer key, and readings of texts in its light."""

    key: Mapping[str, Item]

    def item(self, public: PublicItem) -> Item:
        """The full item behind a public one, also where that is a rephrasing or a generated variant.

        Raises:
            MindFault: The key lacks it.
        """
        known = self.key.get(public.id) or self.key.get(original_id(public.id)) or _column_item(public)
        if known is None:
            raise MindFault(
                f"the answer key of this simulated model holds no item `{public.id}`",
                suggestion="Build the backend with the key of all items that its agents will meet.",
            )
        return known

    def gold(self, item: Item) -> str:
        """The right answer as `extract_answer` writes answers."""
        return extract_answer(item.answer, item.kind, item.options) or item.answer

    def read(self, text: str, item: Item) -> Reading:
        """What `text` comes to for somebody who works on `item`."""
        known = self._readings.get((text, item.id))
        if known is None:
            if len(self._readings) >= _MOST_READINGS:
                self._readings.clear()
            known = self._readings[text, item.id] = self._read_anew(text, item)
        return known

    def wrong_answers(self, item: Item, seed: int) -> list[str]:
        """The wrong answers that one mind may give: the recorded one, else the other options or a number.

        A recorded wrong answer (`taxonomy["wrong_answer"]`) is a student's that the item carries: nobody
        makes another mistake there. The number is off by 1, 2, 10, or a factor of two: a stable draw for this
        mind and item.
        """
        recorded = self._recorded_mistake(item)
        if recorded is not None:
            return [recorded]
        if item.kind == "yes_no":
            return ["no" if self.gold(item) == "yes" else "yes"]
        if item.kind == "choice":
            return [label for label in labels(item.options) if label != self.gold(item)]
        value = read_number(item.answer) if item.kind == "number" else None
        if value is None:
            return ["I do not know"]
        near = [value + 1, value - 1, value + 2, value + 10, value * 2, value / 2]
        possible = [_written(v) for v in near if v != value and (v >= 0 or value < 0)]
        given = _words(f"{item.question} {item.solution}")
        return [pick([v for v in possible if v not in given] or possible, seed, "wrong", item.id)]

    def _recorded_mistake(self, item: Item) -> str | None:
        """The wrong answer that the item's own student gave, where it is one."""
        noted = str(item.taxonomy.get("wrong_answer") or "")
        answer = extract_answer(noted, item.kind, item.options) if noted else None
        return None if answer is None or grade(item, answer).correct else answer

    def shuffled(self, answers: Mapping[str, float], item: Item, seed: int) -> dict[str, float]:
        """`answers` in an order of this mind's own, which settles what it says when it has no idea."""
        return dict(sorted(answers.items(), key=lambda pair: unit(seed, "order", item.id, pair[0])))

    # --- reading ------------------------------------------------------------------------------------------

    @cached_property
    def _weights(self) -> dict[str, float]:
        counts = Counter(w for item in self.key.values() for w in _words(f"{item.question} {item.solution}"))
        return {word: math.log((len(self.key) + 1) / (n + 0.5)) for word, n in counts.items()}

    @cached_property
    def _readings(self) -> dict[tuple[str, str], Reading]:
        return {}

    def _weigh(self, words: Iterable[str]) -> float:
        """Weight of words; one that no item uses weighs as one that a single item uses."""
        rare = math.log((len(self.key) + 1) / 1.5)
        return math.fsum(self._weights.get(word, rare) for word in words)

    def _read_anew(self, text: str, item: Item) -> Reading:
        stated = _CONCLUSION.search(text)
        answer = extract_answer(stated[0], item.kind, item.options) if stated else None
        words = _words(_CONCLUSION.sub("", text))
        if not words:
            return Reading(answer, 0.0)  # the bare answer, or nothing
        solution = _words(item.solution)
        topic = solution | _words(item.question)
        shared = self._weigh(words & topic)
        if shared < min(OF_ITEM * self._weigh(topic), OF_TEXT * self._weigh(words)):
            return Reading(None, 0.0)
        if not shared or shared < OF_BEST * self._best_shared(words):
            return Reading(None, 0.0)
        weight = self._weigh(solution)
        coverage = self._weigh(words & solution) / weight if weight else 0.0
        return Reading(answer or self._leads_to(text, words, item), coverage)

    def _leads_to(self, text: str, words: frozenset[str], item: Item) -> str | None:
        """The conclusion of a text that does not state one."""
        gold = self.gold(item)
        known = [(item.solution, gold), *harmful_explanations(item)]
        near = [self._alike(words, _words(explanation)) for explanation, _ in known]
        answer = known[near.index(max(near))][1]
        if item.kind == "yes_no" and len(_DENIAL.findall(text)) % 2:
            return "no" if answer == "yes" else "yes"
        if item.kind == "number":
            return self._number_reached(text, item) or answer
        if item.kind == "choice" and answer == gold:
            named = [i for i, option in enumerate(item.options) if _words(option) and _words(option) <= words]
            if len(named) == 1:
                return labels(item.options)[named[0]]
        return answer

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        """Word -> the items whose question or solution uses it."""
        users: dict[str, list[str]] = {}
        for name, item in self.key.items():
            for word in _words(f"{item.question} {item.solution}"):
                users.setdefault(word, []).append(name)
        return users

    def _best_shared(self, words: Iterable[str]) -> float:
        """The most weight that a text shares with any item of the key."""
        shared: Counter[str] = Counter()
        for word in sorted(words):
            for name in self._users.get(word, ()):
                shared[name] += self._weights[word]  # type: ignore[assignment]
        return max(shared.values(), default=0.0)

    def _alike(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Weighted Jaccard similarity."""
        either = self._weigh(one | other)
        return self._weigh(one & other) / either if either else 0.0

    def _number_reached(self, text: str, item: Item) -> str | None:
        """The last number of a text, where neither question nor solution contains it."""
        gold = self.gold(item)
        given = _words(f"{item.question} {item.solution}") - {gold}
        new = [n for n in (m.replace(",", "") for m in _FIGURE.findall(text)) if n not in given]
        return new[-1] if new and new[-1] != gold else None


def _column_item(public: PublicItem) -> Item | None:
    """A generated column problem is its own key."""
    problem = parse_problem(public.question)
    made = None if problem is None else column_item(problem)
    return made if made is not None and made.id == public.id else None


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def concludes(text: str) -> bool:
    """Whether a text states its final answer."""
    return _CONCLUSION.search(text) is not None


def harmful_explanations(item: Item) -> list[tuple[str, str]]:
    """(text, the wrong answer that it leads to) of the item's known misleading explanations.

    From `taxonomy["harmful"]`: `{explanations: [...], wrong_answer: ...}`.
    """
    harmful = item.taxonomy.get("harmful", {})
    return [(str(text), str(harmful["wrong_answer"])) for text in harmful.get("explanations", ())]


def chance_level(item: Item) -> float:
    """Chance of a right answer by guessing: 1/2, one over the options, 0.05 where anything may be written."""
    return 1 / len(item.options) if item.kind == "choice" and item.options else _CHANCE.get(item.kind, 0.05)
