"""Who takes part in a lesson: the scenario's agents, made into participants.

A simulated learner gets its mind here, drawn from (scenario seed, replicate, name), so that the same
replicate of two conditions has the same learners. First demonstrations come from the training pool through
the lesson's allotment, which gives no item to two purposes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docendo.agents.act import acts_of
from docendo.agents.participant import Participant
from docendo.agents.port import Sampling
from docendo.agents.prompt import PromptTemplate, load_prompt
from docendo.agents.theory_of_mind import new_student_model
from docendo.errors import PromptError, UsageError, Where, did_you_mean
from docendo.memory.record import Demonstration
from docendo.memory.state import MemoryState
from docendo.memory.student_model import StudentModel
from docendo.messages import Role
from docendo.runtime.minds.population import new_mind
from docendo.runtime.seed import derive_seed
from docendo.scenarios.item import Item
from docendo.scenarios.items.allotment import Allotment
from docendo.scenarios.schema import AgentSpec, ModelSpec, Scenario

__all__ = ["agent_names", "agent_role", "make_roster", "new_models", "sampling_of", "templates_of"]

_ROLES: dict[str, Role] = {r: r for r in ("teacher", "student", "critic", "diagnostician")}


def agent_role(name: str, spec: AgentSpec) -> Role:
    """The role of the agent called `name`: given, or its name.

    Raises:
        UsageError: Neither.
    """
    role = spec.role or _ROLES.get(name)
    if role is None:
        raise UsageError(
            f"agent `{name}` has no role",
            suggestion="Add `role: teacher`, `student`, `critic` or `diagnostician`.",
            where=Where(path=f"agents.{name}"),
        )
    return role


def agent_names(name: str, spec: AgentSpec) -> tuple[str, ...]:
    """The participants that `name` stands for."""
    return (name,) if spec.count == 1 else tuple(f"{name}-{i}" for i in range(1, spec.count + 1))


def templates_of(name: str, spec: AgentSpec, base: Path) -> dict[str, PromptTemplate]:
    """Act -> prompt of an agent, its own files before the built-in ones.

    Raises:
        PromptError: A file is missing or broken, is for an unknown act, or reads outside the act's view.
    """
    acts = acts_of(agent_role(name, spec))
    for act in (*spec.prompts, *spec.view):
        if act not in acts:
            raise PromptError(
                f"agent `{name}` has no act `{act}`",
                suggestion=did_you_mean(act, acts),
                where=Where(path=f"agents.{name}"),
            )
    templates = {act.name: load_prompt(act.template) for act in acts.values() if act.template}
    for act_name, file in spec.prompts.items():
        template = load_prompt(file, base)
        allowed = frozenset(spec.view.get(act_name, acts[act_name].reads))
        for artefact in sorted(template.reads - allowed):
            raise PromptError(
                f"prompt `{file}` reads `{artefact}`, which `{name}.{act_name}` may not see",
                suggestion=f"Allowed: {', '.join(sorted(allowed))}. "
                f"Widen it with `agents.{name}.view.{act_name}`.",
                where=Where(path=f"agents.{name}.prompts.{act_name}", file=file),
            )
        templates[act_name] = template
    return templates


def sampling_of(spec: AgentSpec, model: ModelSpec) -> Sampling:
    """How an agent draws: its own settings, then its model's, then the backend's default."""
    default = Sampling(temperature=1.0 if model.backend == "simulated" else 0.0)
    chosen: dict[str, Any] = {}
    for settings in (model.sampling, spec.sampling):
        chosen |= {k: v for k, v in settings.model_dump(exclude_unset=True).items() if v is not None}
    return Sampling(
        temperature=chosen.get("temperature", default.temperature),
        top_p=chosen.get("top_p", default.top_p),
        max_tokens=chosen.get("max_tokens", default.max_tokens),
        stop=tuple(chosen.get("stop", default.stop)),
    )


def make_roster(
    scenario: Scenario, replicate: int, templates: dict[str, dict[str, PromptTemplate]], allotment: Allotment
) -> dict[str, Participant]:
    """All participants of one lesson, by name."""
    return {p.name: p for p in _participants(scenario, replicate, templates, allotment)}


def _participants(
    scenario: Scenario, replicate: int, templates: dict[str, dict[str, PromptTemplate]], allotment: Allotment
) -> Iterator[Participant]:
    for group, spec in scenario.agents.items():
        model = scenario.models[spec.model]
        for name in agent_names(group, spec):
            memory = _first_memory(spec, allotment)
            if model.backend == "simulated":
                seed = derive_seed(scenario.seed, replicate, "mind", _named_for(scenario, spec) or name)
                memory = memory.with_mind(new_mind(model, seed=seed))
            yield Participant(
                name=name,
                group=group,
                role=agent_role(group, spec),
                spec=spec,
                memory=memory,
                student_models=new_models(scenario, spec),
                templates=templates[group],
            )


def _named_for(scenario: Scenario, spec: AgentSpec) -> str | None:
    """The agent whose mind one of this spec shares; `None` where it has a mind of its own."""
    twin = scenario.agents.get(spec.twin) if spec.twin else None
    return spec.twin if twin is not None and twin.model == spec.model else None


def new_models(scenario: Scenario, spec: AgentSpec) -> dict[str, StudentModel]:
    """A student model that has seen nothing for each student; none for an agent without theory of mind."""
    if spec.student_model is None:
        return {}
    students = [
        name
        for group, other in scenario.agents.items()
        if agent_role(group, other) == "student"
        for name in agent_names(group, other)
    ]
    return {name: new_student_model(spec.student_model) for name in students}


def _first_memory(spec: AgentSpec, allotment: Allotment) -> MemoryState:
    """An empty memory, or the first demonstrations D: the same items for every agent (Saha et al. 2023)."""
    memory = MemoryState(kind=spec.memory.kind, size=spec.memory.size)
    initial = spec.memory.first
    if memory.kind != "demonstrations" or not initial:
        return memory
    items = allotment.held("demonstrations")
    if len(items) < initial:
        items += allotment.take("train", initial - len(items), "demonstrations")
    for item in items[:initial]:
        memory = memory.add_demonstration(demonstration_of(item))
    return memory


def demonstration_of(item: Item) -> Demonstration:
    """An item as a worked example, with its human explanation."""
    return Demonstration(
        item=item.id,
        question=item.question,
        options=item.options,
        explanation=item.solution,
        answer=item.answer,
    )
