"""The states of mind that learners begin with, what is true of them, and what rest does to them.

A state is small plain data that lives in the agent's own memory. Everything that differs between learners of
one model comes from its `seed`; what has not been learned or lost since is not stored but drawn again from
the seed, so learners need not know in advance which skills they will meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from docendo.errors import UsageError
from docendo.runtime.minds.draws import unit
from docendo.scenarios.arithmetic import BASE_SLOTS, BUGS, CORRECT, parse_problem, rules_with, solve
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import ExpertModel, ParrotModel, ProceduralModel, RecordedModel, SkillModel

__all__ = ["MindModel", "describe_mind", "has_mastered", "new_mind", "rest", "should_know"]

MindModel = ProceduralModel | SkillModel | ExpertModel | ParrotModel | RecordedModel


def new_mind(spec: MindModel, *, seed: int) -> dict[str, Any]:
    """The state in which one learner (or expert) of this model begins; JSON-able.

    A procedural learner holds one bug per rule at most: where `spec.bugs` lists several for one rule, one of
    them is drawn. `bugs_per_student` draws that many of them, on different rules (from all known bugs where
    the list is empty).

    Raises:
        UnknownNameError: The spec names a bug that does not exist.
        UsageError: More bugs per student than there are rules to hold them.
    """
    state: dict[str, Any] = {"kind": spec.mind, "seed": seed}
    if isinstance(spec, ProceduralModel):
        rules = _without_base(rules_with(_draw_bugs(spec, seed)))
        forgets = {"forget": spec.forget, "rests": 0, "first": rules} if spec.forget else {}
        return state | {"rules": rules, **forgets}
    if isinstance(spec, SkillModel):
        prior = spec.mastery if isinstance(spec.mastery, float | int) else dict(spec.mastery)
        return state | {"prior": prior, "forget": spec.forget, "rests": 0, "skills": {}}
    if isinstance(spec, ExpertModel):
        return state | {"prior": 1 - spec.error_rate, "forget": 0.0, "rests": 0, "skills": {},
                        "rules": _faulty_rules(spec.error_rate, seed)}  # fmt: skip
    return state


def _draw_bugs(spec: ProceduralModel, seed: int) -> list[str]:
    for name in spec.bugs:
        rules_with([name])
    wanted = spec.bugs_per_student
    pool = list(spec.bugs) or (sorted(BUGS) if wanted else [])
    Random(seed).shuffle(pool)
    by_rule = {BUGS[name].slot: name for name in pool}
    if wanted is not None and wanted > len(by_rule):
        raise UsageError(
            f"`bugs_per_student: {wanted}`, but the {len(pool)} bugs are variants of {len(by_rule)} rules",
            suggestion="A learner holds one variant per rule: list bugs of more rules, or ask for fewer.",
        )
    return list(by_rule.values())[:wanted]


def _without_base(rules: Mapping[str, str]) -> dict[str, str]:
    return {slot: variant for slot, variant in rules.items() if slot not in BASE_SLOTS}


def _faulty_rules(error_rate: float, seed: int) -> dict[str, str]:
    """Correct rules, each replaced by one of its bugs with chance `error_rate`."""
    random, rules = Random(seed), _without_base(rules_with([]))
    for slot in rules:
        variants = [b.name for b in BUGS.values() if b.slot == slot]
        faulty, variant = random.random() < error_rate, random.choice(variants)
        rules[slot] = variant if faulty else CORRECT
    return rules


def has_mastered(state: Mapping[str, Any], skill: str) -> bool:
    """Whether this mind has mastered a skill: as it was last changed, else as its seed has it.

    A skill of the prior (`mastery`, in a dict 0.5 where not listed) is drawn once per learner, and lost in
    each rest phase so far with chance `forget`.
    """
    recorded = state["skills"].get(skill)
    if recorded is not None:
        return bool(recorded)
    prior = state["prior"]
    chance = prior.get(skill, 0.5) if isinstance(prior, Mapping) else prior
    return unit(state["seed"], "mastery", skill) < chance and all(
        _keeps(state, skill, n) for n in range(state["rests"])
    )


def _keeps(state: Mapping[str, Any], skill: str, rest_number: int) -> bool:
    return unit(state["seed"], "forget", skill, rest_number) >= float(state["forget"])


def rest(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a rest phase: with chance `forget` each, what was learnt or mastered is lost.

    A skill mind no longer masters the skill; a rule gives way to the one that the learner began with.
    """
    if not state.get("forget"):
        return dict(state)
    n = state["rests"]
    after = {**state, "rests": n + 1}
    if "skills" in state:
        after["skills"] = {s: bool(known) and _keeps(state, s, n) for s, known in state["skills"].items()}
    if "first" in state:
        first = state["first"]
        after["rules"] = {s: v if _keeps(state, s, n) else first[s] for s, v in state["rules"].items()}
    return after


def describe_mind(state: Mapping[str, Any], skills: Iterable[str] = ()) -> dict[str, Any]:
    """The truth about a mind, for scoring beliefs about it: `skills` (-> mastered) and `misconceptions`.

    `skills` names those of interest: a mind that draws its skills on contact can only list what it met.
    """
    rules = state.get("rules", {})
    known = {slot: variant == CORRECT for slot, variant in rules.items()}
    if "skills" in state:
        met = {*state["skills"], *(s for s in skills if s not in known)}
        known |= {skill: has_mastered(state, skill) for skill in sorted(met)}
    return {"skills": known, "misconceptions": sorted(v for v in rules.values() if v != CORRECT)}


def should_know(state: Mapping[str, Any] | None, misconceptions: Sequence[str], item: Item) -> bool | None:
    """Whether a student should get `item` right: by its known mind, else by the bugs of its profile.

    `None` where neither says: a mind of another kind, or misconceptions that say nothing about such items.
    """
    problem = parse_problem(item.question)
    if problem is not None and (state is None or "rules" in state):
        if state is None and not misconceptions:
            return None
        rules = rules_with(misconceptions) if state is None else state["rules"]
        return str(solve(problem, rules).answer) == item.answer
    if state is not None and "skills" in state:
        return all(has_mastered(state, skill) for skill in item.skills or (f"item:{item.id}",))
    return None
