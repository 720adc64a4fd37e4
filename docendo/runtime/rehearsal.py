"""What a policy can find out about one item before it decides.

The answers come from trying the episode out in a scratch copy: the student's own attempt, the teacher's
explanation, the attempt with it, each made at most once and only if asked for. The scratch copy performs the
same acts with the same seeds as the episode itself will, so the calls are shared, and finding out what the
episode will do anyway costs nothing. What was predicted is recorded as beliefs, before the fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from docendo.agents.act import ACTS, Ask, Performed
from docendo.agents.confidence import Confidence, answer_confidence
from docendo.agents.participant import Participant
from docendo.agents.payload import Answer
from docendo.agents.port import GenerateRequest
from docendo.agents.reading import without_conclusion
from docendo.agents.view import Gold, View
from docendo.graphs.actor import ROOT
from docendo.memory.student_model import Query
from docendo.messages import PromptMessage, Span
from docendo.runtime.consequences import note_belief
from docendo.runtime.episode import Episode, scratch
from docendo.runtime.seed import uniform
from docendo.scenarios.grader import extract_answer, grade
from docendo.scenarios.schema import NodeSpec, PolicySpec

__all__ = ["BEFORE", "ItemRehearsal"]

BEFORE = -1
"""The turn of everything that happens before an episode's graph starts."""

Said = tuple[Performed, View]


@dataclass
class ItemRehearsal:
    """Implements `docendo.agents.policy.Rehearsal` for one episode."""

    episode: Episode
    policy: PolicySpec
    help_node: NodeSpec | None
    """The node of the graph that gives help."""
    place: int
    """The item's place in the phase, from 0."""
    _said: dict[str, Said] = field(default_factory=dict)
    _known: dict[str, float] = field(default_factory=dict)
    _scratch: Episode = field(init=False)

    def __post_init__(self) -> None:
        self._scratch = scratch(self.episode)

    # --- what policies ask --------------------------------------------------------------------------------

    def draw(self) -> float:
        """A uniform number that belongs to replicate, item and student."""
        lab, key = self.episode.lab, self.episode.key
        return uniform(lab.seed, lab.replicate, "policy", key.round, key.item, key.student)

    async def correct(self) -> bool:
        """Whether the student's own answer is right."""
        done, _ = await self._attempt()
        assert isinstance(done.payload, Answer)
        return bool(grade(self.episode.item, done.payload.answer).correct)

    async def confidence(self, *, helped: bool) -> float:
        """The student's probability of the target, before or after help."""
        name = f"student {helped}"
        if name not in self._known:
            await (self._retry() if helped else self._attempt())
            found = await self._confidence_of(self._student(), "retry" if helped else "attempt")
            self._known[name] = found.p
            self.episode.confidences[helped] = (found.p, found.label)
        return self._known[name]

    async def least_option(self) -> float:
        """The smallest of the student's option probabilities."""
        await self._attempt()
        found = await self._confidence_of(self._student(), "attempt")
        return min(found.options, default=0.0)

    async def teacher_confidence(self) -> float:
        """The teacher's probability of the target after its own reasoning."""
        if "teacher" not in self._known:
            await self._solve()
            self._known["teacher"] = (await self._confidence_of(self._teacher(), "solve")).p
        return self._known["teacher"]

    async def expected(self, *, helped: bool) -> float:
        """The student model's probability of a correct answer; recorded as a belief."""
        name = f"expected {helped}"
        if name not in self._known:
            self._known[name] = await self._expected(helped)
        return self._known[name]

    # --- trying out -----------------------------------------------------------------------------------------

    def _student(self) -> Participant:
        return self._scratch.participant("student", ROOT)

    def _teacher(self) -> Participant:
        return self._scratch.participant("teacher", ROOT)

    async def _perform(self, name: str, agent: Participant, act: str, params: Mapping[str, Any]) -> Said:
        if name not in self._said:
            self._said[name] = await self._scratch.perform(
                agent, act, params=params, turn=BEFORE, branch=ROOT
            )
        return self._said[name]

    async def _attempt(self) -> Said:
        return await self._perform("attempt", self._student(), "solve", {})

    async def _solve(self) -> Said:
        return await self._perform("solve", self._teacher(), "solve", {})

    async def _help(self) -> str:
        await self._attempt()
        node = self.help_node or NodeSpec(do="teacher.explain")
        group, _, act = node.do.partition(".")
        await self._perform("help", self._scratch.participant(group, ROOT), act, node.params)
        return next(m.text for m in self._scratch.spoken if m.kind == "explanation")

    async def _retry(self) -> Said:
        if "retry" not in self._said:
            await self._help()
        return await self._perform("retry", self._student(), "solve", {})

    async def _target(self) -> str:
        """The answer whose probability counts: gold, or the teacher's own."""
        if self.policy.target == "gold":
            return self.episode.item.answer
        done, _ = await self._solve()
        assert isinstance(done.payload, Answer)
        return done.payload.answer or ""

    async def _confidence_of(self, agent: Participant, name: str) -> Confidence:
        """Probability of the target (and of the options) after the words of act `name`."""
        done, view = self._said[name]
        spec = agent.spec.confidence
        prompt = done.prompt
        if spec.mode != "frequency" and prompt[-1].role != "assistant":
            words = f"{without_conclusion(done.text)} So the answer is".strip()
            prompt = (*prompt, PromptMessage("assistant", (Span(words, "own", f"own.{name}"),)))
        return await answer_confidence(
            self._ask(agent, "solve"),
            view,
            prompt,
            await self._target(),
            mode=spec.mode,
            samples=spec.samples,
            read=self._read,
        )

    async def _expected(self, helped: bool) -> float:
        teacher = self._teacher()
        model = teacher.student_models[self._student().name]
        text = await self._help() if helped else ""
        teacher = self._teacher()
        predicted: str | None = None
        mode = ""
        if model.asks_teacher:
            found, predicted = await self._predict(teacher, helped)
            p, mode = found.p, found.label
        else:
            item = self.episode.item
            query = Query(
                item=item.id,
                question=item.question,
                correct_answer=item.answer,
                skills=item.skills,
                help=text,
            )
            p = await self._oracle(helped) if (own := model.predict(query)) is None else own
        student = self._student()
        snapshot = model.snapshot()
        note_belief(
            self._scratch,
            teacher,
            "predict",
            BEFORE,
            ROOT,
            student,
            p_correct=p,
            predicted_answer=predicted,
            given_help=helped,
            confidence_mode=mode,
            skills=snapshot.get("skills", {}),
            misconceptions=snapshot.get("misconceptions", {}),
        )
        return p

    async def _oracle(self, helped: bool) -> float:
        """What the student will really do: the ceiling of all student models."""
        done, _ = await (self._retry() if helped else self._attempt())
        assert isinstance(done.payload, Answer)
        return float(bool(grade(self.episode.item, done.payload.answer).correct))

    async def _predict(self, teacher: Participant, helped: bool) -> tuple[Confidence, str | None]:
        """Ask the teacher's model to simulate the student: its answer, and how probable the right one is."""
        assert teacher.spec.student_model is not None
        act = ACTS.get("teacher.predict")
        evidence = teacher.student_models[self._student().name].shown(helped=helped)
        params = {"helped": helped, "template": teacher.spec.student_model.template}
        target = await self._target()
        view = self._scratch.view(teacher, act, ROOT, params=params, evidence=evidence)
        if view.gold is not None:
            view = view.model_copy(update={"gold": Gold(answer=target)})
        ask = self._ask(teacher, "predict")
        template = teacher.templates["predict"]
        prompt = template.render(view)
        from_words = await self._simulated_answer(ask, view, prompt)
        spec = teacher.spec.confidence
        confidence = await answer_confidence(
            ask, view, prompt, target, mode=spec.mode, samples=spec.samples, read=self._read
        )
        return confidence, from_words

    async def _simulated_answer(self, ask: Ask, view: View, prompt: tuple[PromptMessage, ...]) -> str | None:
        reply = await ask.port.generate(
            GenerateRequest(
                model=ask.model,
                prompt=prompt,
                view=view,
                sampling=ask.sampling,
                seed=ask.seed,
                origin=ask.origin,
            )
        )
        return self._read(reply.text)

    def _ask(self, agent: Participant, act: str) -> Ask:
        return self._scratch.asking(agent, ACTS.get(f"{agent.role}.{act}"), BEFORE, ROOT, "probe")

    def _read(self, text: str) -> str | None:
        item = self.episode.item
        return extract_answer(text, item.kind, item.options)
