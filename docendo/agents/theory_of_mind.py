"""Student models by name: what `agents.NAME.student_model` can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from docendo.memory.student_model import (
    BayesianKnowledgeTracing,
    ConstantPrior,
    FewShot,
    MisconceptionPosterior,
    Oracle,
    StudentModel,
)
from docendo.registry import Registry
from docendo.scenarios.arithmetic import BUGS, parse_problem, solve
from docendo.scenarios.schema import StudentModelSpec

__all__ = ["STUDENT_MODELS", "StudentModelKind", "new_student_model"]


@dataclass(frozen=True, kw_only=True)
class StudentModelKind:
    """One kind of student model."""

    name: str
    description: str
    make: Callable[[StudentModelSpec], StudentModel]


STUDENT_MODELS: Registry[StudentModelKind] = Registry("student model")


def new_student_model(spec: StudentModelSpec) -> StudentModel:
    """A student model that has seen nothing yet.

    Raises:
        UnknownNameError: No such kind.
    """
    return STUDENT_MODELS.get(spec.kind).make(spec)


def arithmetic_hypotheses() -> Mapping[str, Callable[[str], str | None]]:
    """Rule hypothesis -> the answer that a student holding it gives to a question of column arithmetic."""

    def answers(rules: Mapping[str, str]) -> Callable[[str], str | None]:
        def answer(question: str) -> str | None:
            problem = parse_problem(question)
            return str(solve(problem, rules).answer) if problem else None

        return answer

    held = {name: answers({bug.slot: name}) for name, bug in BUGS.items()}
    return {"correct": answers({}), **held}


for _kind in (
    StudentModelKind(
        name="few_shot",
        description="The teacher's own model, shown a few of the student's answers.",
        make=lambda spec: FewShot(demonstrations=spec.demonstrations),
    ),
    StudentModelKind(
        name="bkt",
        description="Bayesian knowledge tracing over the items' skills.",
        make=lambda spec: BayesianKnowledgeTracing(),
    ),
    StudentModelKind(
        name="misconceptions",
        description="A posterior over the known bugs of column arithmetic.",
        make=lambda spec: MisconceptionPosterior(hypotheses=arithmetic_hypotheses()),
    ),
    StudentModelKind(
        name="constant",
        description="The same probability for every item: the control.",
        make=lambda spec: ConstantPrior(p_correct=spec.p_correct),
    ),
    StudentModelKind(
        name="oracle", description="What the student will really do: the ceiling.", make=lambda spec: Oracle()
    ),
):
    STUDENT_MODELS.add(_kind.name, _kind)
