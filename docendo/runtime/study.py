"""From a loaded scenario to a study that can be run: everything checked, nothing asked yet.

`prepare` is where a scenario meets the registries of the upper layers: policies, measures, acts, graphs,
student models, items, prompts, capabilities. All problems that it finds are reported at once. What it
returns is plain data that any process can make again from the same file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docendo.agents.act import ACTS, Act, acts_of
from docendo.agents.payload import Explanation
from docendo.agents.policy import POLICIES, Policy
from docendo.agents.port import GenerateReply, GenerateRequest, ModelPort, ScoreReply, ScoreRequest
from docendo.agents.prompt import PromptTemplate
from docendo.agents.theory_of_mind import STUDENT_MODELS
from docendo.agents.view import ARTEFACTS
from docendo.errors import DocendoError, Problem, ScenarioError, Where, did_you_mean
from docendo.graphs.check import check_graph
from docendo.graphs.compile import CompiledGraph, compile_graph
from docendo.graphs.help import nodes_reached
from docendo.graphs.library import library_names
from docendo.runtime.admission import Admission
from docendo.runtime.backends.base import Backend, Capabilities
from docendo.runtime.backends.factory import build_backend
from docendo.runtime.identity import Identity, Pools, digest_of, identify
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import MEASURES, EpisodeTrace
from docendo.runtime.phase_graphs import GRAPH_OF, graph_of, graphs_of
from docendo.runtime.roster import agent_names, agent_role, templates_of
from docendo.runtime.setting import SHARED_UNITS, Finished, LessonSetting
from docendo.scenarios.amount import amount_of
from docendo.scenarios.arithmetic import BUGS, parse_problem
from docendo.scenarios.check import check_scenario
from docendo.scenarios.control import CONTROLS
from docendo.scenarios.expand import Condition
from docendo.scenarios.fidelity import FIDELITY
from docendo.scenarios.item import Item
from docendo.scenarios.items.pools import items_digest
from docendo.scenarios.loader import LoadedScenario
from docendo.scenarios.local_model_spec import LocalModel
from docendo.scenarios.schema import AgentSpec, GraphSpec, Phase, Scenario

__all__ = ["GRAPH_OF", "Setup", "Study", "graph_of", "graphs_of", "known_names", "lesson_setting", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One condition, ready to run."""

    condition: Condition
    scenario: Scenario
    pools: Pools
    templates: dict[str, dict[str, PromptTemplate]]
    graphs: dict[str, CompiledGraph]
    """Phase id -> compiled graph."""
    world: str
    """Conditions with the same world share models, items and so their client."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A scenario, ready to run."""

    loaded: LoadedScenario
    setups: tuple[Setup, ...]
    identity: Identity
    backends: Mapping[str, Mapping[str, Backend]] = field(repr=False)
    """World -> model name -> backend."""

    @property
    def scenario(self) -> Scenario:
        """The scenario as written."""
        return self.loaded.scenario

    @property
    def run_id(self) -> str:
        """The run's name, see `docendo.runtime.identity`."""
        return self.identity.run_id

    @property
    def engines(self) -> bool:
        """Whether any model's weights are on this machine, so that episodes need room in an engine."""
        return any(isinstance(m, LocalModel) for s in self.setups for m in s.scenario.models.values())

    @property
    def simulated(self) -> bool:
        """Whether every model is simulated, so that the work is this process's own."""
        return all(m.backend == "simulated" for s in self.setups for m in s.scenario.models.values())


def known_names() -> dict[str, Collection[str]]:
    """The names that a scenario may use, by kind."""
    return {
        "policy": POLICIES.names(),
        "measure": MEASURES,
        "student_model": STUDENT_MODELS.names(),
        "graph": library_names(),
        "control": CONTROLS.names(),
        "act": {ACTS.get(key).name for key in ACTS},
        "artefact": sorted(ARTEFACTS),
        "bug": sorted(BUGS),
    }


def prepare(loaded: LoadedScenario, *, past: Mapping[str, Mapping[str, Backend]] | None = None) -> Study:
    """Check a scenario through and through, and make it ready.

    Args:
        loaded: The scenario.
        past: World -> model -> backend of a recorded run, in place of new ones; see
            `docendo.runtime.backends.recorded`.

    Raises:
        ScenarioError: With all problems that were found.
        UsageError: Items, prompts or backends cannot be used.
    """
    problems = check_scenario(loaded, known_names())
    if problems:
        raise ScenarioError(problems)
    identity = identify(loaded)
    prepared: list[Setup] = []
    found: dict[tuple[str | None, str], Problem] = {}
    backends: dict[str, Mapping[str, Backend]] = {}
    for condition, pools in zip(identity.conditions, identity.pools, strict=True):
        scenario = condition.scenario
        world = digest_of([scenario.model_dump(mode="json")["models"], items_digest(pools)])
        trouble = list(_graph_problems(scenario))
        if not trouble:
            if world not in backends:
                backends[world] = _past(past, world, scenario) or _backends(scenario, pools, loaded.base)
            trouble = list(_needs_problems(scenario, pools, backends[world]))
        for problem in map(loaded.locate, trouble):
            found[problem.where.path, problem.message] = problem
        if trouble:
            continue
        setup = _setup(condition, pools, world, loaded.base)
        prepared.append(setup)
        for problem in map(
            loaded.locate, (*_allotment_problems(setup), *_distortion_problems(setup, loaded))
        ):
            found[problem.where.path, problem.message] = problem
    if found:
        raise ScenarioError(found.values())
    return Study(loaded=loaded, identity=identity, setups=tuple(prepared), backends=backends)


def lesson_setting(
    setup: Setup,
    replicate: int,
    port: ModelPort,
    finished: Finished,
    admission: Admission | None = None,
) -> LessonSetting:
    """What a lesson of `setup` needs; without `admission` all its episodes begin at once."""
    return LessonSetting(
        scenario=setup.scenario,
        condition=setup.condition.id,
        replicate=replicate,
        pools=setup.pools,
        templates=setup.templates,
        graphs=setup.graphs,
        examines=setup.condition.control == FIDELITY,
        port=port,
        finished=finished,
        admission=admission or Admission(),
    )


def _backends(scenario: Scenario, pools: Pools, base: Path) -> dict[str, Backend]:
    answer_key = {item.id: item for pool in pools.values() for item in pool}
    return {
        name: build_backend(name, spec, answer_key=answer_key, base=base)
        for name, spec in scenario.models.items()
    }


def _past(
    past: Mapping[str, Mapping[str, Backend]] | None, world: str, scenario: Scenario
) -> Mapping[str, Backend] | None:
    """A recorded run's models: those of the world, or where its items have changed since, of these names."""
    known = past or {}
    return known.get(world) or next((m for m in known.values() if scenario.models.keys() <= m.keys()), None)


def _setup(condition: Condition, pools: Pools, world: str, base: Path) -> Setup:
    scenario = condition.scenario
    templates = {name: templates_of(name, spec, base) for name, spec in scenario.agents.items()}
    graphs = {
        name: compile_graph(graph, limits=_limits(scenario, phase, pools))
        for phase in scenario.plan
        for name, graph in graphs_of(scenario, phase).items()
    }
    return Setup(
        condition=condition, scenario=scenario, pools=pools, templates=templates, graphs=graphs, world=world
    )


def _limits(scenario: Scenario, phase: Phase, pools: Pools) -> dict[str, int]:
    """Unit -> limit, for the bound on a graph's length."""
    n = max((len(pools.get(pool, ())) for pool in phase.pools), default=0) or 1
    return {u: amount_of(a, n) for u, a in scenario.budget.items()} if phase.kind == "teach" else {}


# --- checks ---------------------------------------------------------------------------------------------


def _unit_problems(scenario: Scenario) -> Iterator[Problem]:
    """A budget that nothing spends limits nothing, so it is a mistake."""
    tokens = {"tokens", *(f"{name}_tokens" for name in scenario.agents)}
    graphs = [graph_of(scenario, p) for p in scenario.plan if p.kind == "teach"]
    spent = {unit for graph in graphs for node in graph.nodes.values() for unit in node.spends}
    for unit in scenario.budget:
        if unit not in spent | tokens:
            yield Problem(
                message=f"nothing spends `{unit}`",
                suggestion=did_you_mean(unit, spent | tokens),
                where=Where(path=f"budget.{unit}"),
            )


def _graph_problems(scenario: Scenario) -> Iterator[Problem]:
    yield from _unit_problems(scenario)
    acts: dict[str, set[str]] = {}
    for group, spec in scenario.agents.items():
        role = agent_role(group, spec)
        for name in (role, group, *agent_names(group, spec)):
            acts.setdefault(name, set(acts_of(role)))
    for phase in scenario.plan:
        if phase.kind == "rest":
            continue
        inline = isinstance(phase.graph, GraphSpec)
        path = f"plan.{phase.id}.graph" if inline else f"graphs.{phase.graph}"
        units = set(scenario.budget) if phase.kind == "teach" else set()
        graph = graph_of(scenario, phase)
        yield from check_graph(graph, units=units, acts=acts, path=path)
        yield from _axis_problems(phase, graph)
        yield from _move_problems(phase, graph)
        if phase.kind == "teach":
            yield from _shared_unit_problems(scenario, phase, graph)


def _shared_unit_problems(scenario: Scenario, phase: Phase, graph: GraphSpec) -> Iterator[Problem]:
    """A shared unit may only be spent on a decision that was ranked beforehand, or one after the other."""
    for name, node in graph.nodes.items():
        for unit in set(node.spends) & set(SHARED_UNITS) & set(scenario.budget):
            if phase.order == "parallel" and not _follows_decision(graph):
                yield Problem(
                    message=f"node `{name}` spends the shared unit `{unit}`, and no `decide` comes first",
                    suggestion="Route to it on `decision.intervene`, or set `order: sequential`.",
                    where=Where(path=f"plan.{phase.id}"),
                )


def _axis_problems(phase: Phase, graph: GraphSpec) -> Iterator[Problem]:
    """A graph that fans out over samples or items needs a phase that says how many, or which."""
    axes = {axis for edge in graph.edges for axis in edge.each}
    wanted = [("samples", phase.samples, "samples: 4"), ("items", phase.exam, "exam: POOL")]
    for axis, given, example in wanted[:1] if phase.kind == "refine" else wanted:
        if axis in axes and given is None:
            yield Problem(
                message=f"the graph of phase `{phase.id}` fans out over `{axis}`, and the phase names none",
                suggestion=f"Add `{example}` to the phase.",
                where=Where(path=f"plan.{phase.id}"),
            )


def _move_problems(phase: Phase, graph: GraphSpec) -> Iterator[Problem]:
    """A graph whose teacher decides on moves needs a phase that says which there are, and conversely."""
    chooses = any(node.do.endswith(".choose") for node in graph.nodes.values())
    if chooses and phase.moves is None:
        yield Problem(
            message=f"in the graph of phase `{phase.id}` a teacher chooses moves, and the phase names none",
            suggestion="Add `moves: mathdial` to the phase.",
            where=Where(path=f"plan.{phase.id}"),
        )
    if phase.moves is not None and not chooses:
        yield Problem(
            message=f"phase `{phase.id}` has `moves`, and nobody chooses any in its graph",
            suggestion="Use a graph of dialogues: `graph: tutoring` or `graph: dialogue`.",
            where=Where(path=f"plan.{phase.id}.moves"),
        )


def _follows_decision(graph: GraphSpec) -> bool:
    return any(node.do.endswith(".decide") for node in graph.nodes.values())


def _needs_problems(scenario: Scenario, pools: Pools, backends: Mapping[str, Backend]) -> Iterator[Problem]:
    for phase in scenario.plan:
        if phase.kind == "rest":
            continue
        for pool in phase.pools:
            if not pools.get(pool):
                yield Problem(
                    message=f"pool `{pool}` has no items",
                    where=Where(path=f"plan.{phase.id}.{'forms' if phase.forms else 'items'}"),
                    suggestion=f"Give it a size: `items.{pool}: 20`." if pool in ("train", "test") else "",
                )
        pool = phase.pool
        yield from _hypothesis_problems(scenario, phase, pools.get(pool, ()))
        if phase.kind == "teach" and phase.policy is not None:
            policy = POLICIES.get(phase.policy.kind)
            yield from _policy_problems(scenario, phase, policy, pools.get(pool, ()), backends)


def _hypothesis_problems(scenario: Scenario, phase: Phase, items: tuple[Item, ...]) -> Iterator[Problem]:
    """The misconception posterior knows the bugs of column arithmetic and nothing else."""
    for name, agent in scenario.agents.items():
        if agent.student_model is not None and agent.student_model.kind == "misconceptions":
            strange = next((i for i in items if parse_problem(i.question) is None), None)
            if strange is not None:
                yield Problem(
                    message=f"student model `misconceptions` knows column arithmetic only, and item "
                    f"`{strange.id}` of pool `{phase.pool}` is none",
                    suggestion="Use `bkt` or `few_shot` for other items.",
                    where=Where(path=f"agents.{name}.student_model"),
                )


def _allotment_problems(setup: Setup) -> Iterator[Problem]:
    """Whether the pools suffice for all that a lesson takes from them, tried on the first replicate."""
    try:
        Lesson(lesson_setting(setup, 0, _NoPort(), _nobody)).allot()
    except DocendoError as error:
        yield Problem(message=error.message, suggestion=error.suggestion, where=error.where)


def _distortion_problems(setup: Setup, loaded: LoadedScenario) -> Iterator[Problem]:
    """A distortion that would deliver what the teacher says anyway controls nothing."""
    for phase in setup.scenario.plan:
        pool = setup.pools.get(phase.pool, ())
        for agent, act in _explanations(setup, phase):
            how = setup.scenario.agents[agent].distort
            if how == "wrong" and phase.kind == "teach" and act.do is not None:
                message = f"would change nothing of `{act.key}` in phase `{phase.id}`, which asks no model"
                suggestion = "Let the teacher `explain` or `demonstrate` there, or use another control."
            elif how == "irrelevant" and min(phase.count or len(pool), len(pool)) < 2:
                message = f"needs another item to explain, and phase `{phase.id}` has only one"
                suggestion = "Give the phase two items at least, or take the control out."
            else:
                continue
            what, path = _distorted_by(setup, loaded, agent)
            yield Problem(message=f"{what} {message}", suggestion=suggestion, where=Where(path=path))


def _explanations(setup: Setup, phase: Phase) -> Iterator[tuple[str, Act]]:
    """(agent, act) of the explanations that teachers can give in a phase."""
    if phase.kind in ("rest", "refine"):
        return
    graph = setup.graphs[phase.id]
    for node in sorted(nodes_reached(graph, phase.params)):
        group, _, name = graph.spec.nodes[node].do.partition(".")
        for agent, spec in setup.scenario.agents.items():
            role = agent_role(agent, spec)
            if role == "teacher" and group in (agent, role):
                act = ACTS.get(f"{role}.{name}")
                if issubclass(act.output, Explanation):
                    yield agent, act


def _distorted_by(setup: Setup, loaded: LoadedScenario, agent: str) -> tuple[str, str]:
    """What distorts an agent's words, in words, and where that is written."""
    for index, control in enumerate(loaded.scenario.controls):
        if control.kind == setup.condition.control:
            return f"control `{control.kind}`", f"controls[{index}]"
    return f"`distort: {setup.scenario.agents[agent].distort}`", f"agents.{agent}.distort"


async def _nobody(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
    """Told of episodes that never run."""


class _NoPort:
    """The port of a lesson that is only looked at."""

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        raise NotImplementedError

    async def score(self, request: ScoreRequest) -> ScoreReply:
        raise NotImplementedError


def _policy_problems(
    scenario: Scenario, phase: Phase, policy: Policy, items: tuple[Item, ...], backends: Mapping[str, Backend]
) -> Iterator[Problem]:
    where = Where(path=f"plan.{phase.id}.policy")
    roles = {agent_role(name, spec): spec for name, spec in scenario.agents.items()}
    teacher, student = roles.get("teacher"), roles.get("student")
    if policy.needs and (teacher is None or student is None):
        yield Problem(message=f"policy `{policy.name}` needs a teacher and a student", where=where)
        return
    assert policy.needs <= {"attempt"} or (teacher is not None and student is not None)
    if "prediction" in policy.needs and teacher is not None and teacher.student_model is None:
        yield Problem(
            message=f"policy `{policy.name}` needs a teacher with a student model",
            where=where,
            suggestion="Add `student_model: few_shot` to the teacher.",
        )
    asked = {"confidence": student, "teacher_confidence": teacher}
    optional = all(item.kind in ("yes_no", "choice") for item in items)
    if teacher is not None and teacher.student_model is not None and teacher.student_model.kind == "few_shot":
        asked["prediction"] = teacher
    for need, agent in asked.items():
        if need in policy.needs and agent is not None:
            yield from _scoring_problem(policy, agent, backends[agent.model].capabilities, where)
            if agent.confidence.mode == "renormalised" and not optional:
                yield Problem(
                    message=f"policy `{policy.name}` needs answer probabilities, and those of model "
                    f"`{agent.model}` are to be renormalised over options that the items do not have",
                    where=where,
                    suggestion="Set `confidence: {mode: raw}` for that agent: the default.",
                )
    if "options" in policy.needs and not optional:
        yield Problem(
            message=f"policy `{policy.name}` needs items with options",
            where=where,
            suggestion="Use `true_confidence_pre` for numbers and text.",
        )


def _scoring_problem(
    policy: Policy, agent: AgentSpec, capabilities: Capabilities, where: Where
) -> Iterator[Problem]:
    if agent.confidence.mode != "frequency" and not capabilities.scoring:
        yield Problem(
            message=f"policy `{policy.name}` needs answer probabilities, "
            f"and the backend of model `{agent.model}` cannot score",
            suggestion="Set `confidence: {mode: frequency, samples: 8}` for that agent, "
            "or use a backend that scores.",
            where=where,
        )
