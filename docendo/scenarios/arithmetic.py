"""Column subtraction and addition as a set of rules, each correct or *buggy*.

A problem is worked from the right, column by column. In each column the first slot that applies decides:
for subtraction `zero_minus` (0 over n), `borrow` (smaller over larger; `borrow_from_zero` where the next
digit is 0), `minus_zero` (n over 0), `bring_down` (blank below), else `subtract_column`; for addition
`add_zero`, `carry` (ten or more, not in the last column), else `add_column`. A bug replaces one slot and
touches no other (Brown & Burton 1978; VanLehn 1990), so it is wrong only where its slot is exercised.
Digits are those at the time: a 1 that lent becomes a 0 for `zero_minus`. `solve` works a problem under any
choice of variants and says in words what it does; `docendo.scenarios.worked_steps` reads such words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from docendo.errors import UnknownNameError, UsageError, did_you_mean
from docendo.scenarios.column_problem import Operation, Problem, parse_problem

__all__ = [
    "BASE_SLOTS", "BUGS", "CORRECT", "SLOTS", "Bug", "Operation", "Problem", "Solution", "Step",
    "exercised", "parse_problem", "rules_with", "solve",
]  # fmt: skip

CORRECT = "correct"

SLOTS: dict[str, Operation] = {
    "subtract_column": "-", "borrow": "-", "borrow_from_zero": "-", "zero_minus": "-", "minus_zero": "-",
    "bring_down": "-", "add_column": "+", "carry": "+", "add_zero": "+",
}  # fmt: skip
"""Every rule slot and the operation that it belongs to."""

BASE_SLOTS: frozenset[str] = frozenset({"subtract_column", "add_column"})
"""Slots that have no bug: plain number facts, used in nearly every problem."""

_BB = "Brown & Burton 1978"
_VL = "VanLehn 1990"


@dataclass(frozen=True, slots=True)
class Bug:
    """One systematic wrong rule."""

    name: str
    slot: str
    operation: Operation
    description: str
    source: str


def _bugs(*rows: tuple[str, str, str, str]) -> dict[str, Bug]:
    return {
        name: Bug(name, slot, SLOTS[slot], description, source) for name, slot, description, source in rows
    }


BUGS: dict[str, Bug] = _bugs(
    ("smaller_from_larger", "borrow", "Takes the smaller digit from the larger one.", _BB),
    ("borrow_no_decrement", "borrow", "Adds ten but does not make the next digit smaller.", _BB),
    ("zero_instead_of_borrow", "borrow", "Writes 0 where it should borrow.", _BB),
    ("always_borrow_left", "borrow", "Borrows from the leftmost digit instead of the next one.", _VL),
    ("stops_borrow_at_zero", "borrow_from_zero", "Adds ten, but nobody lends it, if a 0 is next.", _VL),
    ("borrow_across_zero", "borrow_from_zero", "Borrows beyond a 0 and leaves the 0 a 0.", _BB),
    ("zero_to_nine_only", "borrow_from_zero", "Makes the 0 a 9 and does not borrow further.", _BB),
    ("zero_minus_n_is_n", "zero_minus", "Writes n for 0 - n.", _BB),
    ("zero_minus_n_is_zero", "zero_minus", "Writes 0 for 0 - n.", _BB),
    ("n_minus_zero_is_zero", "minus_zero", "Writes 0 for n - 0.", _BB),
    ("quit_when_bottom_blank", "bring_down", "Stops when the bottom number has no more digits.", _VL),
    ("carry_dropped", "carry", "Writes the ones of a column's sum and forgets the carry.", _BB),
    ("carry_not_reset", "carry", "Never clears the carry: adds it in every later column.", _BB),
    ("writes_whole_sum", "carry", "Writes both digits of a column's sum into the column.", _BB),
    ("carries_wrong_digit", "carry", "Writes the tens of a column's sum and carries the ones.", _BB),
    ("n_plus_zero_is_zero", "add_zero", "Writes 0 for n + 0.", _BB),
)  # fmt: skip
"""All bugs by name. The name is also the variant that `solve` takes for the bug's slot."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule at work in one column."""

    slot: str
    variant: str
    column: int
    """0 is the ones column."""
    text: str
    """One sentence or two in plain words, from which `read_steps` recovers slot and variant."""
    equation: str = ""
    """The number fact of the step, e.g. `13 - 8 = 5`; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A worked problem. `answer` is what the rules give, right or wrong."""

    problem: Problem
    answer: int
    steps: tuple[Step, ...]

    @property
    def used(self) -> tuple[tuple[str, str], ...]:
        """The distinct (slot, variant) pairs in order of first use, without `BASE_SLOTS`."""
        pairs = ((step.slot, step.variant) for step in self.steps if step.slot not in BASE_SLOTS)
        return tuple(dict.fromkeys(pairs))


def rules_with(bugs: Iterable[str]) -> dict[str, str]:
    """A complete rule set (slot -> variant) that holds the named bugs and is correct elsewhere.

    Raises:
        UnknownNameError: A bug that does not exist.
        UsageError: Two bugs for one slot.
    """
    rules = dict.fromkeys(SLOTS, CORRECT)
    for name in bugs:
        if name not in BUGS:
            raise UnknownNameError(f"unknown bug `{name}`", suggestion=did_you_mean(name, BUGS))
        slot = BUGS[name].slot
        if rules[slot] not in (CORRECT, name):
            raise UsageError(
                f"bugs `{rules[slot]}` and `{name}` both replace the rule `{slot}`",
                suggestion="A learner holds one variant per rule; keep one of them.",
            )
        rules[slot] = name
    return rules


def solve(problem: Problem, rules: Mapping[str, str]) -> Solution:
    """Work `problem` under `rules` (slot -> variant; slots left out are correct).

    Raises:
        UsageError: `rules` names a slot or variant that does not exist.
    """
    for slot, variant in rules.items():
        if slot not in SLOTS or (variant != CORRECT and (variant not in BUGS or BUGS[variant].slot != slot)):
            known = [name for name, bug in BUGS.items() if bug.slot == slot]
            raise UsageError(
                f"no rule `{slot}: {variant}`", suggestion=did_you_mean(variant, [*known, CORRECT])
            )
    sheet = _Sheet(problem, rules)
    (_subtract if problem.operation == "-" else _add)(sheet)
    return Solution(problem, int("".join(reversed(sheet.written)) or "0"), tuple(sheet.steps))


def exercised(problem: Problem) -> tuple[str, ...]:
    """The slots that the correct procedure uses, in order: the problem's skills.

    `BASE_SLOTS` are left out, unless the problem needs nothing else. Never empty.
    """
    slots = tuple(slot for slot, _ in solve(problem, {}).used)
    return slots or ("subtract_column" if problem.operation == "-" else "add_column",)


# --- working on paper -----------------------------------------------------------------------------------

_PLACES = ("Ones", "Tens", "Hundreds", "Thousands", "Ten-thousands", "Hundred-thousands", "Millions")


def _digits(number: int) -> list[int]:
    return [int(c) for c in reversed(str(number))]


@dataclass
class _Sheet:
    """The paper: top digits as they stand now, what is written below, and the steps so far."""

    problem: Problem
    rules: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    """From the ones column upwards; one entry per column."""

    def __post_init__(self) -> None:
        self.top, self.bottom = _digits(self.problem.top), _digits(self.problem.bottom)

    def rule(self, slot: str) -> str:
        return self.rules.get(slot, CORRECT)

    def say(self, slot: str, column: int, text: str, equation: str = "") -> None:
        place = _PLACES[column] if column < len(_PLACES) else f"Column {column + 1}"
        self.steps.append(Step(slot, self.rule(slot), column, f"{place}: {text}", equation))

    def write(self, slot: str, column: int, before: str, fact: tuple[int, int, int]) -> None:
        """Close a column of a subtraction with the fact `a - b = c`."""
        equation = "{} - {} = {}".format(*fact)
        self.say(slot, column, f"{before}{equation}, write {fact[2]}.", equation)
        self.written.append(str(fact[2]))


def _subtract(sheet: _Sheet) -> None:
    for i in range(len(sheet.top)):
        top = sheet.top[i]
        if i >= len(sheet.bottom):
            if not any(sheet.top[i:]):
                return
            if sheet.rule("bring_down") != CORRECT:
                sheet.say("bring_down", i, "nothing is below, so stop here.")
                return
            sheet.say("bring_down", i, f"nothing is below, so bring down the {top}.")
            sheet.written.append(str(top))
        elif top < sheet.bottom[i]:
            _smaller_on_top(sheet, i)
        elif top > 0 == sheet.bottom[i]:
            sheet.write("minus_zero", i, "", (top, 0, top if sheet.rule("minus_zero") == CORRECT else 0))
        else:
            sheet.write("subtract_column", i, "", (top, sheet.bottom[i], top - sheet.bottom[i]))


def _smaller_on_top(sheet: _Sheet, i: int) -> None:
    top, bottom, variant = sheet.top[i], sheet.bottom[i], sheet.rule("zero_minus")
    if top == 0:
        if variant != CORRECT:
            sheet.write("zero_minus", i, "", (0, bottom, bottom if variant == "zero_minus_n_is_n" else 0))
            return
        sheet.say("zero_minus", i, f"0 is less than {bottom}, so this is worked like any other column.")
    less = f"{top} is less than {bottom}, so "
    variant = sheet.rule("borrow")
    if variant == "smaller_from_larger":
        sheet.write("borrow", i, "take the smaller digit from the larger: ", (bottom, top, bottom - top))
    elif variant == "zero_instead_of_borrow":
        sheet.write("borrow", i, less, (top, bottom, 0))
    else:
        lend = _LENDERS[variant](sheet, i)
        ten_more = top + 10
        sheet.write(
            "borrow", i, f"{less}{lend}the {top} becomes {ten_more}. ", (ten_more, bottom, ten_more - bottom)
        )


_NOTHING_LEFT = "with nothing left to borrow from, "
"""Only a bug further right can lead here. The learner adds ten all the same: the mildest repair of the
impasse (VanLehn 1990, repair theory)."""


def _lend_next(sheet: _Sheet, i: int) -> str:
    """Make the next digit smaller, going past zeros as `borrow_from_zero` says."""
    lender = next((j for j in range(i + 1, len(sheet.top)) if sheet.top[j]), None)
    if lender is None:
        return _NOTHING_LEFT
    if lender == i + 1:
        return _decrement(sheet, lender, "borrow: ")
    past_zero = {
        CORRECT: "the next digit is 0, so borrow past it: ",
        "stops_borrow_at_zero": "the next digit is 0, so borrowing stops at the 0 and no digit gets smaller.",
        "borrow_across_zero": "the next digit is 0, so skip it and leave it 0: ",
        "zero_to_nine_only": "the next digit is 0, so make the 0 a 9 and borrow no further.",
    }
    variant = sheet.rule("borrow_from_zero")
    text = past_zero[variant]
    if variant in (CORRECT, "borrow_across_zero"):
        text = _decrement(sheet, lender, text).removesuffix(", and ")
    if variant == CORRECT:
        sheet.top[i + 1 : lender] = [9] * (lender - i - 1)
        text += " and make each 0 on the way a 9"
    elif variant == "zero_to_nine_only":
        sheet.top[i + 1] = 9
    sheet.say("borrow_from_zero", i, text.removesuffix(".") + ".")
    return "with the borrowed ten "


def _lend_none(sheet: _Sheet, i: int) -> str:
    following = f"the {sheet.top[i + 1]}" if i + 1 < len(sheet.top) else "the rest"
    return f"add ten and leave {following} as it is: "


def _lend_leftmost(sheet: _Sheet, i: int) -> str:
    lender = next((j for j in range(len(sheet.top) - 1, i, -1) if sheet.top[j]), None)
    return "borrow from the far left: " + (_NOTHING_LEFT if lender is None else _decrement(sheet, lender, ""))


def _decrement(sheet: _Sheet, lender: int, before: str) -> str:
    sheet.top[lender] -= 1
    return f"{before}make the {sheet.top[lender] + 1} a {sheet.top[lender]}, and "


_LENDERS: dict[str, Callable[[_Sheet, int], str]] = {
    CORRECT: _lend_next,
    "borrow_no_decrement": _lend_none,
    "always_borrow_left": _lend_leftmost,
}


def _add(sheet: _Sheet) -> None:
    top, bottom = sheet.top, sheet.bottom
    width, carried = max(len(top), len(bottom)), 0
    for i in range(width):
        here = [digits[i] for digits in (top, bottom) if i < len(digits)]
        slot, total, text, equation = _sum(sheet, here, carried)
        if total < 10 or i == width - 1:
            sheet.say(slot, i, f"{text}, write {total}.", equation)
            sheet.written.append(str(total))
            carried = carried if sheet.rule("carry") == "carry_not_reset" else 0
            continue
        if slot == "add_zero":
            sheet.say(slot, i, f"{text}.", equation)
            text, equation = f"the sum is {total}", ""
        carried = _carry(sheet, i, total, carried, text, equation)


def _sum(sheet: _Sheet, here: list[int], carried: int) -> tuple[str, int, str, str]:
    """Slot, total, words and equation for the digits of one column and the carry."""
    if len(here) == 2 and here.count(0) == 1:
        value = sum(here) if sheet.rule("add_zero") == CORRECT else 0
        equation = f"{here[0]} + {here[1]} = {value}"
        extra = f", and the carried {carried} makes {value + carried}" if carried else ""
        return "add_zero", value + carried, equation + extra, equation
    terms = [*here, carried] if carried else here
    if len(terms) == 1 or (len(here) == 1 and here[0] == 0):
        return "add_column", sum(terms), f"copy the {sum(terms)}", ""
    equation = f"{' + '.join(map(str, terms))} = {sum(terms)}"
    return "add_column", sum(terms), equation, equation


def _carry(sheet: _Sheet, i: int, total: int, carried: int, text: str, equation: str) -> int:
    """Write a column's sum of ten or more; returns the new carry."""
    tens, ones = divmod(total, 10)
    actions: dict[str, tuple[str, str, int]] = {
        CORRECT: (f"write {ones} and carry {tens}", str(ones), tens),
        "carry_dropped": (f"write {ones} and forget the {tens}", str(ones), 0),
        "carry_not_reset": (
            f"write {ones} and carry {tens} to every later column", str(ones), carried + tens,
        ),
        "writes_whole_sum": (f"write the whole {total}", str(total), 0),
        "carries_wrong_digit": (f"write {tens} and carry {ones}", str(tens), ones),
    }  # fmt: skip
    words, digits, new = actions[sheet.rule("carry")]
    sheet.say("carry", i, f"{text}, {words}.", equation)
    sheet.written.append(digits)
    return new
