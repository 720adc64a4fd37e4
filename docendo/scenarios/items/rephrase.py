"""The same items in other words, to see whether a student's answers hang on the wording.

Three sources of wordings: those that an item brings itself (`taxonomy["rephrasings"]`); templates for column
arithmetic, which `parse_problem` still reads; else neutral frames around the question. Only the question and
the id change. Ids are `ITEM~1`, `ITEM~2`, ..., and `taxonomy["rephrasing_of"]` names the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from docendo.errors import ItemError
from docendo.scenarios.arithmetic import SLOTS, Operation, Problem, parse_problem
from docendo.scenarios.item import Item

__all__ = ["column_problem", "original_id", "rephrased"]

_MARK = "~"

_COLUMN: dict[Operation, tuple[str, ...]] = {
    "-": (
        "Take {bottom} away from {top}. What is left?",
        "{top} minus {bottom} is what?",
        "Subtract {bottom} from {top}.",
        "What is the difference between {top} and {bottom}?",
        "How much is {top} take away {bottom}?",
        "Calculate {top} - {bottom}.",
    ),
    "+": (
        "Add {bottom} to {top}. What do you get?",
        "{top} plus {bottom} is what?",
        "What is the sum of {top} and {bottom}?",
        "How much are {top} and {bottom} together?",
        "What do you get for {top} + {bottom}?",
        "Calculate {top} + {bottom}.",
    ),
}

_FRAMES = (
    "Here is a question. {question} What is your answer?",
    "Please answer this question: {question}",
    "I would like to know what you think. {question}",
    "{question} Take your time, and then give your answer.",
    "The next question is this one. {question}",
    "{question} How would you answer this?",
)


def rephrased(items: Iterable[Item], wordings: int) -> Iterator[Item]:
    """`wordings` rephrasings of each item, with ids `ITEM~1`, `ITEM~2`, ...

    Raises:
        ItemError: There are fewer ways to put an item.
    """
    for item in items:
        texts = [text for text in _wordings(item) if text != item.question]
        if len(texts) < wordings:
            own = "rephrasings" in item.taxonomy
            raise ItemError(
                f"{wordings} other wordings of item `{item.id}` are wanted, but there are only {len(texts)}",
                suggestion="Give the item more `rephrasings`, or ask for fewer." if own
                else "Ask for fewer, or give the items `rephrasings` of their own.",
            )  # fmt: skip
        for number, question in enumerate(texts[:wordings], start=1):
            taxonomy = {**item.taxonomy, "rephrasing_of": item.id}
            update = {"id": f"{item.id}{_MARK}{number}", "question": question, "taxonomy": taxonomy}
            yield item.model_copy(update=update)


def original_id(name: str) -> str:
    """The id of the item that `name` is a rephrasing of; `name` itself where it is none."""
    head, mark, number = name.rpartition(_MARK)
    return head if mark and number.isdecimal() else name


def column_problem(item: Item) -> Problem | None:
    """The column problem that an item asks for, and nothing else; `None` for other items.

    A word problem may mention `16 - 3` on its way to something else: skills and answer must fit, too.
    """
    problem = parse_problem(item.question)
    fits = problem is not None and str(problem.answer) == item.answer and set(item.skills) & set(SLOTS)
    return problem if fits else None


def _wordings(item: Item) -> list[str]:
    own = item.taxonomy.get("rephrasings")
    if own is not None:
        return list(dict.fromkeys(str(text) for text in own))
    problem = column_problem(item)
    if problem is not None:
        return [t.format(top=problem.top, bottom=problem.bottom) for t in _COLUMN[problem.operation]]
    return [frame.replace("{question}", item.question.strip()) for frame in _FRAMES]
