"""Procedural tasks of reasoning-gym (the extra `tasks`): `source: reasoning_gym, task: leg_counting`.

Items are generated from the scenario's seed. An item keeps how it was made (`task`, `config`, `seed`,
`index`), from which the `task` grader makes it again and asks the task itself for a score in 0..1: an answer
is right if it equals the gold answer, or scores `threshold` or more. `grader: exact` compares only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from docendo.errors import ItemError, Where, did_you_mean
from docendo.scenarios.grader import GRADERS, Verdict, read_number
from docendo.scenarios.item import AnswerKind, Item
from docendo.scenarios.items.source import SOURCES, SourceOptions, check_item, make_item

__all__ = ["SOURCE", "ReasoningGymOptions", "ReasoningGymSource"]

_TRIES_PER_ITEM = 20
"""Small tasks repeat themselves; so many draws are made per wanted item before giving up."""


class ReasoningGymOptions(SourceOptions):
    """Options of `source: reasoning_gym`."""

    task: str = Field(description="A data set of reasoning-gym, e.g. `chain_sum`.")
    config: dict[str, Any] = Field(default_factory=dict, description="The task's own settings.")
    grader: Literal["task", "exact"] = "task"
    threshold: float = Field(1.0, gt=0, le=1, description="Least score of the task that counts as right.")

    @field_validator("config")
    @classmethod
    def _ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        if ours := {"seed", "size"} & value.keys():
            raise ValueError(f"`{min(ours)}` is set by docendo, from the scenario's seed and pool sizes")
        return value


@dataclass(frozen=True)
class ReasoningGymSource:
    """Generates items of one task."""

    options: type[ReasoningGymOptions] = ReasoningGymOptions

    def load(self, options: ReasoningGymOptions, *, base: Path, size: int, seed: int) -> list[Item]:
        """`size` different items, the same for the same seed and version of reasoning-gym.

        Raises:
            ItemError: reasoning-gym is missing, the task or its settings are unknown, or it repeats itself.
        """
        del base
        made_by = json.dumps([options.task, options.config, seed, size * _TRIES_PER_ITEM], sort_keys=True)
        data = _data_set(made_by)
        found: dict[str, Item] = {}
        for index in range(size * _TRIES_PER_ITEM):
            if len(found) == size:
                break
            entry = data[index]
            if entry["question"] not in found:
                found[entry["question"]] = _item(options, entry, made_by, index)
        if len(found) < size:
            raise ItemError(
                f"{size} items are wanted, but `{options.task}` gave only {len(found)} different ones",
                suggestion="Make the task harder in `items.config`, or the pools smaller.",
                where=Where(path="items"),
            )
        return list(found.values())


def _item(options: ReasoningGymOptions, entry: dict[str, Any], made_by: str, index: int) -> Item:
    answer = str(entry["answer"])
    taxonomy: dict[str, Any] = {"made_by": made_by, "index": index, "threshold": options.threshold}
    if options.grader == "task":
        taxonomy["grader"] = "reasoning_gym"
    return check_item(
        make_item(
            id=f"{options.task}-{index}",
            question=entry["question"],
            kind=_kind(answer),
            answer=answer,
            skills=(options.task,),
            taxonomy=taxonomy,
        )
    )


def _kind(answer: str) -> AnswerKind:
    if answer.strip().casefold() in ("yes", "no", "true", "false"):
        return "yes_no"
    return "text" if read_number(answer) is None else "number"


@lru_cache(maxsize=16)
def _data_set(made_by: str) -> Any:
    task, config, seed, size = json.loads(made_by)
    if find_spec("reasoning_gym") is None:
        raise ItemError(
            "`source: reasoning_gym` needs the package reasoning-gym",
            suggestion="Install it: pip install 'docendo[tasks]'",
            where=Where(path="items.source"),
        )
    factory = import_module("reasoning_gym.factory")
    import_module("reasoning_gym")
    if task not in factory.DATASETS:
        raise ItemError(
            f"unknown task `{task}`",
            suggestion=did_you_mean(task, factory.DATASETS),
            where=Where(path="items.task"),
        )
    try:
        return factory.create_dataset(task, **config, seed=seed, size=size)
    except Exception as error:  # its settings are checked by `assert`, dataclass and hand-written code
        raise ItemError(
            f"task `{task}` refuses its settings: {error or type(error).__name__}",
            suggestion="Compare `items.config` with the task's documentation.",
            where=Where(path="items.config"),
        ) from None


@GRADERS.register("reasoning_gym")
def _grade(item: Item, answer: str) -> Verdict:
    """Right if equal to the gold answer, or if the task scores it at the threshold or above."""
    plain = GRADERS.get(item.kind)(item, answer)
    if plain.correct:
        return plain
    try:
        data = _data_set(str(item.taxonomy["made_by"]))
        score = float(data.score_answer(answer, data[int(item.taxonomy["index"])]))
    except Exception as error:  # a task's scorer is foreign code: its failure says nothing of the student
        return Verdict(None, f"the task's scorer failed: {error or type(error).__name__}", plain.normalised)
    if score >= float(item.taxonomy["threshold"]):
        return Verdict(True, "equal", answer)
    return plain if plain.reason == "unreadable" else Verdict(False, "different", answer)


SOURCE = SOURCES.add("reasoning_gym", ReasoningGymSource())
