"""What agents take away from an observe phase.

Every answer of the student becomes `Evidence`: unaided ones for the pre-intervention prompt of the mental
model, ones after help for the post-intervention prompt (D_sim in Saha et al. 2023). With
`params: {keep: rectified}` the items on which help turned a wrong answer right become the teacher's
demonstrations instead (D_ToM, personalised explaining, RQ3); `{keep: first}` takes the first items as they
come, which is what D_ToM is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docendo.agents.participant import Participant
from docendo.events import GradeEvent
from docendo.memory.record import Demonstration, Evidence
from docendo.runtime.episode import Episode
from docendo.scenarios.schema import Phase

__all__ = ["absorb", "evidence_of"]


def evidence_of(episode: Episode) -> Iterator[Evidence]:
    """What an onlooker saw of the student in `episode`."""
    said = episode.heard()
    help_text = next(
        (m.text for m in said if m.kind == "explanation" and m.sender != episode.key.student), ""
    )
    explanations = [m.payload.get("explanation", "") for m in said if m.kind == "attempt"]
    for event in episode.recorder.sorted():
        if not isinstance(event, GradeEvent) or event.answer is None:
            continue
        item = episode.item
        yield Evidence(
            item=item.id,
            question=item.question,
            options=item.options,
            skills=item.skills,
            correct_answer=item.answer,
            student=event.student,
            student_answer=event.answer,
            correct=event.correct,
            student_explanation=explanations[event.attempt] if event.attempt < len(explanations) else "",
            help=help_text if event.helped else "",
        )


def absorb(
    phase: Phase, episodes: Sequence[Episode], agents: dict[str, Participant]
) -> dict[str, Participant]:
    """The agents after having observed `episodes`."""
    seen = [e for episode in episodes for e in evidence_of(episode)]
    if (kept := phase.params.get("keep")) is not None:
        return _demonstrating(seen if kept == "first" else _rectified(seen), agents)
    for agent in agents.values():
        for evidence in seen if agent.student_models else ():
            agent.student_models[evidence.student].observe(evidence)
    return agents


def _rectified(seen: Sequence[Evidence]) -> list[Evidence]:
    """The answers that help turned from wrong to right."""
    before = {(e.item, e.student): e for e in seen if not e.help}
    return [
        e
        for e in seen
        if e.help
        and e.correct
        and (first := before.get((e.item, e.student))) is not None
        and first.student_answer != e.student_answer
    ]


def _demonstrating(seen: Sequence[Evidence], agents: dict[str, Participant]) -> dict[str, Participant]:
    """Give teachers the helped items among `seen` as demonstrations, as many as their memory holds."""
    shown = [e for e in seen if e.help]
    kept = dict(agents)
    for name, agent in agents.items():
        if agent.role != "teacher" or agent.memory.kind != "demonstrations":
            continue
        size = agent.memory.size if agent.memory.size is not None else len(shown)
        memory = agent.memory.model_copy(update={"demonstrations": ()})
        for e in shown[:size]:
            memory = memory.add_demonstration(
                Demonstration(
                    item=e.item,
                    question=e.question,
                    options=e.options,
                    explanation=e.help,
                    answer=e.correct_answer,
                )
            )
        kept[name] = agent.remembering(memory)
    return kept
