"""Generated column problems: `source: subtraction` and `source: addition`.

`digits` is the length of the top number; the bottom number has at most as many. Skills are the rule slots
that the correct procedure exercises, and the solution is that procedure, step by step. Problems drawn evenly
would seldom borrow across a zero, so the draw is balanced: the next problem is one for the skill that, in
relation to its weight in `skills`, was exercised least so far. No problem occurs twice. Functional variants
of a problem, for exams, are other problems of the same lengths that exercise exactly the same skills.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pydantic import Field, field_validator, model_validator

from docendo.errors import ItemError, Where, did_you_mean
from docendo.scenarios.arithmetic import BASE_SLOTS, SLOTS, Operation, Problem, exercised, solve
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import SOURCES, SourceOptions
from docendo.scenarios.worked_steps import render_steps

__all__ = ["ColumnOptions", "ColumnSource", "column_item", "variants"]

_ENUMERABLE = 20_000
"""Up to so many problems are all listed; beyond that, candidates are drawn."""


class ColumnOptions(SourceOptions):
    """Options of `source: subtraction` and `source: addition`."""

    digits: int = Field(3, ge=1, le=7, strict=True, description="Digits of the top number.")
    bottom_digits: int | None = Field(
        None, ge=1, le=7, strict=True, description="Digits of the bottom number; up to `digits` when unset."
    )
    skills: dict[str, float] = Field(
        default_factory=dict,
        description="Skills to practise: weights, or a list. When empty: all, plain columns half as often.",
    )

    @field_validator("skills", mode="before")
    @classmethod
    def _weights(cls, value: object) -> object:
        return dict.fromkeys(value, 1.0) if isinstance(value, list | tuple) else value

    @field_validator("skills")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for skill, weight in value.items():
            if skill not in SLOTS:
                raise ValueError(f"unknown skill `{skill}`. {did_you_mean(skill, SLOTS)}".strip())
            if weight <= 0:
                raise ValueError(f"the weight of `{skill}` must be above 0")
        return value

    @model_validator(mode="after")
    def _fits(self) -> ColumnOptions:
        if self.bottom_digits is not None and self.bottom_digits > self.digits:
            raise ValueError("`bottom_digits` is larger than `digits`")
        return self


@dataclass(frozen=True)
class ColumnSource:
    """Generates problems of one operation."""

    operation: Operation
    options: type[ColumnOptions] = ColumnOptions

    def load(self, options: ColumnOptions, *, base: Path, size: int, seed: int) -> list[Item]:
        """`size` different problems, the same for the same seed.

        Raises:
            ItemError: There are fewer such problems, or none that exercises a wanted skill.
        """
        del base
        space = _Space(self.operation, options)
        if size > space.count:
            length = options.digits if options.bottom_digits in (None, options.digits) else "these"
            raise ItemError(
                f"{size} problems are wanted, but there are only {space.count} with {length} digits",
                suggestion="Raise `items.digits`, or make the pools smaller.",
                where=Where(path="items"),
            )
        rng = Random(f"{seed}/{self.operation}/{options.model_dump_json()}")
        chosen = _balanced(_by_skills(space.candidates(size, rng)), options.skills, size, self.operation)
        return [column_item(problem, skills) for problem, skills in chosen]


class _Space:
    """All problems of given lengths."""

    def __init__(self, operation: Operation, options: ColumnOptions) -> None:
        self.operation = operation
        self.low, self.high = _range(options.digits)
        self.bottom_low, self.bottom_high = _range(options.bottom_digits or options.digits)
        if options.bottom_digits is None:
            self.bottom_low = min(1, self.low)

    @property
    def count(self) -> int:
        """How many there are; the bottom number of a difference is never above the top."""
        width = self.bottom_high - self.bottom_low + 1
        if self.operation == "+":
            return (self.high - self.low + 1) * width
        lowest_top = max(self.low, self.bottom_low)
        short = max(0, self.bottom_high - lowest_top)  # tops that cannot take every bottom number
        return (self.high - lowest_top + 1) * width - short * (short + 1) // 2

    def _last_bottom(self, top: int) -> int:
        return min(self.bottom_high, top) if self.operation == "-" else self.bottom_high

    def candidates(self, size: int, rng: Random) -> list[Problem]:
        """Shuffled, different problems, at least `size`."""
        if self.count <= _ENUMERABLE or size * 2 > self.count:
            every = [
                (top, bottom)
                for top in range(self.low, self.high + 1)
                for bottom in range(self.bottom_low, self._last_bottom(top) + 1)
            ]
            rng.shuffle(every)
        else:
            wanted = min(15 * size + 2000, self.count // 2)
            drawn: dict[tuple[int, int], None] = {}
            while len(drawn) < wanted:
                drawn[self._draw(rng)] = None
            every = list(drawn)
        return [Problem(self.operation, top, bottom) for top, bottom in every]

    def _draw(self, rng: Random) -> tuple[int, int]:
        """One problem; half of the draws are rich in zeros, which plain draws seldom are."""
        top = rng.randint(self.low, self.high)
        if rng.random() < 0.5:
            digits = [d if i == 0 or rng.random() < 0.5 else "0" for i, d in enumerate(str(top))]
            top = int("".join(digits))
        last = self._last_bottom(top)
        shortest = len(str(self.bottom_low))
        length = rng.choice([n for n in range(shortest, len(str(last)) + 1) for _ in range(n)])
        low, high = _range(length)
        low, high = max(low, self.bottom_low), min(high, last)
        return (top, rng.randint(low, high)) if low <= high else (top, rng.randint(self.bottom_low, last))


def _range(digits: int) -> tuple[int, int]:
    return (10 ** (digits - 1) if digits > 1 else 0), 10**digits - 1


_Candidate = tuple[Problem, tuple[str, ...]]


def _by_skills(problems: list[Problem]) -> list[_Candidate]:
    return [(problem, exercised(problem)) for problem in problems]


def _balanced(
    candidates: list[_Candidate], weights: dict[str, float], size: int, operation: Operation
) -> list[_Candidate]:
    """The first `size` candidates, taken so that each skill keeps up with its weight."""
    waiting: dict[str, list[_Candidate]] = {}
    for candidate in reversed(candidates):
        for skill in candidate[1]:
            waiting.setdefault(skill, []).append(candidate)
    for skill in weights:
        if skill not in waiting:
            raise ItemError(
                f"no such problem exercises the skill `{skill}`",
                suggestion=f"Skills of `{operation}` here: {', '.join(sorted(waiting))}.",
                where=Where(path="items.skills"),
            )
    wanted = dict(weights) or {skill: 0.5 if skill in BASE_SLOTS else 1.0 for skill in sorted(waiting)}
    done: Counter[str] = Counter()
    chosen: dict[Problem, tuple[str, ...]] = {}
    while len(chosen) < size:
        if not wanted:  # the skills asked for are used up: fill with what is left
            chosen |= {p: s for p, s in candidates if p not in chosen}
            break
        skill = min(wanted, key=lambda name: (done[name] / wanted[name], name))
        if not waiting[skill]:
            del wanted[skill]
            continue
        problem, skills = waiting[skill].pop()
        if problem not in chosen:
            chosen[problem] = skills
            done.update(skills)
    return list(chosen.items())[:size]


def variants(problem: Problem, count: int) -> tuple[Problem, ...]:
    """Other problems of the same lengths that exercise exactly the same rules; always the same ones.

    There may be fewer than `count`: no other problem of one digit is like 0 - 0.
    """
    options = ColumnOptions(digits=len(str(problem.top)), bottom_digits=len(str(problem.bottom)))
    space, rules = _Space(problem.operation, options), set(exercised(problem))
    found: dict[Problem, None] = {}
    for effort in (0, 1200):  # few candidates first: most rules are common
        if effort == 0 or space.count > _ENUMERABLE:
            for other in space.candidates(effort, Random(f"variants/{problem}/{effort}")):
                if len(found) == count:
                    return tuple(found)
                if other != problem and set(exercised(other)) == rules:
                    found[other] = None
    return tuple(found)


def column_item(problem: Problem, skills: tuple[str, ...] | None = None) -> Item:
    """The item that asks for `problem`."""
    skills = exercised(problem) if skills is None else skills
    return Item(
        id=str(problem).replace(" ", ""),
        question=f"What is {problem}?",
        kind="number",
        answer=str(problem.answer),
        skills=skills,
        solution=render_steps(solve(problem, {})),
    )


SUBTRACTION = SOURCES.add("subtraction", ColumnSource("-"))
ADDITION = SOURCES.add("addition", ColumnSource("+"))
