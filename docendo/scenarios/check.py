"""Checks of a scenario beyond its shape: names that must exist, amounts, plans that measure nothing.

Each check names the sections that it reads and runs where the schema found these sound, so that one look
at a file finds all its mistakes. Values of the matrix are checked in place: the scenario is built with each
of them in turn, and what is new is reported where the value stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import ValidationError

from docendo.errors import Problem, UsageError, Where, did_you_mean
from docendo.messages import Role
from docendo.registry import Registry
from docendo.scenarios.check_moves import check_moves
from docendo.scenarios.check_plan import (
    check_exams,
    check_fidelity_pool,
    check_keys,
    check_pools,
    check_refinement,
    check_retention,
    check_taught_items,
    check_tests_of_measures,
)
from docendo.scenarios.control import CONTROLS, agents_of_role
from docendo.scenarios.environment import bad_references
from docendo.scenarios.items.pools import pool_options
from docendo.scenarios.items.source import SOURCES
from docendo.scenarios.loaded import LoadedScenario
from docendo.scenarios.look import Known, Look
from docendo.scenarios.matrix import check_grid, grid_values
from docendo.scenarios.mentions import mentions
from docendo.scenarios.mistakes import Place, problems_of
from docendo.scenarios.paths import locate, set_path
from docendo.scenarios.positions import Path
from docendo.scenarios.schema import ItemsSpec, PoolSpec, Scenario, role_of

__all__ = ["Known", "check_scenario", "find_problems"]

_STAND_IN: dict[str, Any] = {
    "version": 1,
    "name": "x",
    "models": {},
    "agents": {},
    "items": {"source": "x"},
    "plan": [{"kind": "rest"}],
}
"""What broken sections are replaced with, so that the rest can be looked at."""


def check_scenario(loaded: LoadedScenario, known: Known) -> list[Problem]:
    """What is wrong with a loaded scenario, now that the names of upper layers are known."""
    return find_problems(loaded.raw, loaded.place, known)[1]


def find_problems(
    raw: dict[str, Any], place: Place, known: Known | None = None
) -> tuple[Scenario | None, list[Problem]]:
    """The scenario that `raw` (normal form) describes, and everything that is wrong with it.

    The scenario is `None` where its shape is wrong.
    """
    scenario, problems, broken = _validate(raw, place)
    sound = scenario
    if sound is None:
        usable = {k: v for k, v in raw.items() if k in Scenario.model_fields and k not in broken}
        sound, _, _ = _validate({**_STAND_IN, **usable}, place)
    if sound is not None:
        look = Look(sound, raw, place, known or {}, broken)
        for needs, check in _CHECKS:
            if not needs & broken:
                problems += check(look)
        problems += _matrix_values(look, problems)
    return scenario, list(dict.fromkeys(problems))


def _validate(raw: dict[str, Any], place: Place) -> tuple[Scenario | None, list[Problem], set[str]]:
    """The scenario, or what is wrong with its shape and in which sections."""
    try:
        return Scenario.model_validate(raw), [], set()
    except ValidationError as error:
        broken = {str(details["loc"][0]) for details in error.errors() if details["loc"]}
        return None, problems_of(error, raw, place), broken


def _matrix_values(look: Look, before: list[Problem]) -> Iterator[Problem]:
    """What each value of the grid makes wrong that was right without it."""
    if "matrix" in look.broken:
        return
    body = {key: value for key, value in look.raw.items() if key not in {"matrix", "controls", "baseline"}}
    same = {problem.message for problem in before}
    for path, value, spot in grid_values(look.raw.get("matrix") or {}):
        if path.split(".")[0] in look.broken | {"matrix", "controls", "baseline"}:
            continue
        try:
            target, changed = locate(body, path), set_path(body, path, value)
        except UsageError:
            continue  # reported at the axis

        def place(at: Path, key: bool, target: Path = target, spot: Path = spot) -> Where:
            inside = at[: len(target)] == target
            return look.place((*spot, *at[len(target) :]) if inside else spot, key and inside)

        _, problems = find_problems(changed, place, look.known)
        yield from (problem for problem in problems if problem.message not in same)


# --- checks ---------------------------------------------------------------------------------------------


def _models(look: Look) -> Iterator[Problem]:
    models = look.raw.get("models")
    for name, agent in look.scenario.agents.items():
        if isinstance(models, dict) and agent.model not in models:
            hint = did_you_mean(agent.model, models)
            where = look.place(("agents", name, "model"), False)
            yield Problem(message=f"no model is called `{agent.model[:60]}`", suggestion=hint, where=where)


def _roles(look: Look) -> Iterator[Problem]:
    agents = look.scenario.agents
    for name, agent in agents.items():
        if role_of(name, agent) is None:
            roles = ", ".join(f"`{role}`" for role in get_args(Role))
            yield Problem(
                message=f"agent `{name}` needs a `role`: its name is none",
                suggestion=did_you_mean(name, get_args(Role)) or f"Add `role:` with one of {roles}.",
                where=look.place(("agents", name), True),
            )
    if all(role_of(name, agent) != "student" for name, agent in agents.items()):
        where = look.place(("agents",), True)
        yield Problem(
            message="nobody learns: no agent is a student", suggestion="Add `student:`.", where=where
        )


def _twins(look: Look) -> Iterator[Problem]:
    agents = look.scenario.agents
    for name, agent in agents.items():
        if agent.twin is not None and agent.twin not in agents:
            message, hint = f"no agent is called `{agent.twin[:60]}`", did_you_mean(agent.twin, agents)
            where = look.place(("agents", name, "twin"), False)
            yield Problem(message=message, suggestion=hint, where=where)


def _profiles(look: Look) -> Iterator[Problem]:
    for name, agent in look.scenario.agents.items():
        role = role_of(name, agent)
        if agent.misconceptions and role not in ("student", None):
            yield Problem(
                message=f"only students have misconceptions; `{name}` is a {role}",
                suggestion="Take them out, or move them to a student.",
                where=look.place(("agents", name, "misconceptions"), True),
            )


def _item_options(look: Look) -> Iterator[Problem]:
    items = look.scenario.items
    keys = tuple(ItemsSpec.model_fields)
    yield from _options_at(look, ("items",), items.source, items.options, keys)
    for name, pool in items.pools.items():
        if isinstance(pool, PoolSpec) and (pool.source or pool.options):
            source, options = pool.source or items.source, pool_options(items, pool)
            found = _options_at(look, ("items", "pools", name), source, options, tuple(PoolSpec.model_fields))
            # what is wrong with an option that the pool takes over is said at `items`
            own = {*pool.options, *(["source"] if pool.source else [])}
            yield from (p for p in found if _key_below(p, f"items.pools.{name}") in {"", *own})


def _key_below(problem: Problem, path: str) -> str:
    """The key right below `path` that a problem is about; empty where it is about `path` itself."""
    return (problem.where.path or "").removeprefix(path).removeprefix(".").split(".")[0]


def _options_at(
    look: Look, at: Path, source: str, options: dict[str, Any], beside: tuple[str, ...]
) -> Iterator[Problem]:
    """What is wrong with a source and its options, which stand at `at` beside other keys."""
    if source not in SOURCES:
        hint = did_you_mean(source, SOURCES.names())
        where = look.place((*at, "source"), False)
        yield Problem(message=f"unknown item source `{source[:60]}`", suggestion=hint, where=where)
        return
    model = SOURCES.get(source).options
    try:
        model.model_validate(options)
    except ValidationError as error:
        yield from problems_of(error, look.raw, look.place, under=at, keys=[*beside, *model.model_fields])


def _controls(look: Look) -> Iterator[Problem]:
    for i, control in enumerate(look.scenario.controls):
        if control.kind not in CONTROLS:
            hint = did_you_mean(control.kind, CONTROLS.names())
            where = look.place(("controls", i, "kind"), False)
            yield Problem(message=f"unknown control `{control.kind[:60]}`", suggestion=hint, where=where)
        elif CONTROLS.get(control.kind).needs_teacher and not agents_of_role(look.raw, "teacher"):
            where = look.place(("controls", i, "kind"), False)
            yield Problem(message=f"control `{control.kind}` needs a teacher, and there is none", where=where)


def _environment(look: Look) -> Iterator[Problem]:
    for path, text in _texts({key: value for key, value in look.raw.items() if key != "description"}, ()):
        for message, hint in bad_references(text):
            yield Problem(message=message, suggestion=hint, where=look.place(path, False))


def _texts(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*path, key))


_WRITTEN_AS_KEYS = frozenset({"act", "unit"})


def _names(look: Look) -> Iterator[Problem]:
    for kind, name, path in mentions(look.scenario):
        names = look.known.get(kind)
        if names is not None and name not in names and path[0] not in look.broken:
            message = f"unknown {kind.replace('_', ' ')} `{name[:60]}`"
            where = look.place(path, kind in _WRITTEN_AS_KEYS)
            hint = names.suggestion(name) if isinstance(names, Registry) else did_you_mean(name, names)
            yield Problem(message=message, suggestion=hint, where=where)


def _grid(look: Look) -> Iterator[Problem]:
    yield from check_grid(look.raw, look.place, look.broken)


_CHECKS: tuple[tuple[set[str], Callable[[Look], Iterator[Problem]]], ...] = (
    ({"agents"}, _models),
    ({"agents"}, _roles),
    ({"agents"}, _twins),
    ({"agents"}, _profiles),
    ({"items", "plan"}, check_pools),
    ({"items", "fidelity"}, check_fidelity_pool),
    ({"items"}, _item_options),
    ({"plan"}, check_keys),
    ({"plan"}, check_exams),
    ({"plan", "taxonomies"}, check_moves),
    ({"agents", "plan"}, check_taught_items),
    ({"agents", "plan"}, check_refinement),
    ({"plan"}, check_retention),
    ({"plan", "measures"}, check_tests_of_measures),
    ({"agents", "controls"}, _controls),
    (set(), _environment),
    (set(), _names),
    ({"matrix"}, _grid),
)
"""Sections that must be sound -> what is checked in them."""
