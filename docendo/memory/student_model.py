"""Theory of mind: what a teacher believes about a student.

A `StudentModel` learns from `Evidence` and predicts whether a student will answer an item correctly, with
or without help. Two kinds of model exist. Those here with a formula answer by themselves. The few-shot
model (Saha et al. 2023, RQ2) answers by asking the teacher's own language model: it only *chooses the
evidence to show*, and leaves the rest to the act `teacher.predict`. Both are scored alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from docendo.memory.record import Evidence

__all__ = [
    "BayesianKnowledgeTracing",
    "ConstantPrior",
    "FewShot",
    "MisconceptionPosterior",
    "Oracle",
    "Query",
    "StudentModel",
]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question to a student model: will the student answer this item correctly?"""

    item: str
    question: str
    correct_answer: str
    skills: tuple[str, ...] = ()
    help: str = ""
    """Help that the student would have read; empty for the unaided answer."""


class StudentModel(Protocol):
    """What a teacher believes about one student."""

    asks_teacher: bool
    """Whether predictions are left to the teacher's language model, shown `shown(...)`."""

    def observe(self, evidence: Evidence) -> None:
        """Learn from one answer of the student."""
        ...

    def predict(self, query: Query) -> float | None:
        """Probability that the answer is correct; `None` where `asks_teacher`, and for the oracle."""
        ...

    def shown(self, *, helped: bool) -> tuple[Evidence, ...]:
        """The evidence to put into the teacher's prompt."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """The belief as plain data: `skills`, `misconceptions`, whatever else the kind knows."""
        ...


@dataclass
class _Remembering:
    """Keeps what was observed."""

    seen: list[Evidence] = field(default_factory=list)
    asks_teacher: bool = False

    def observe(self, evidence: Evidence) -> None:
        """Keep the evidence."""
        self.seen.append(evidence)

    def shown(self, *, helped: bool) -> tuple[Evidence, ...]:
        """All evidence of that sort, in the order observed."""
        return tuple(e for e in self.seen if bool(e.help) == helped)

    def snapshot(self) -> dict[str, Any]:
        """How much was observed, and how often the student was right."""
        return {"observed": len(self.seen), "base_rate": self.base_rate(helped=False)}

    def base_rate(self, *, helped: bool) -> float | None:
        """Share of correct answers among the observations of that sort; `None` without any."""
        graded = [e.correct for e in self.shown(helped=helped) if e.correct is not None]
        return sum(graded) / len(graded) if graded else None


@dataclass
class FewShot(_Remembering):
    """The teacher's own model, shown a few of the student's answers (Saha et al. 2023, section 4).

    For yes/no items the demonstrations are balanced by the student's own answer (half `yes`, half `no`,
    where observed); otherwise the first ones are taken.
    """

    demonstrations: int = 4
    asks_teacher: bool = True

    def predict(self, query: Query) -> float | None:
        """Left to the teacher."""
        return None

    def shown(self, *, helped: bool) -> tuple[Evidence, ...]:
        """At most `demonstrations` observations, balanced where answers are yes or no."""
        pool = super().shown(helped=helped)
        if pool and all(e.student_answer in {"yes", "no"} for e in pool):
            half = (self.demonstrations + 1) // 2
            said = [[e for e in pool if e.student_answer == answer] for answer in ("yes", "no")]
            pool = (*said[0][:half], *said[1][:half], *said[0][half:], *said[1][half:])
        return pool[: self.demonstrations]


@dataclass
class ConstantPrior(_Remembering):
    """Believes the same of every item, the base rate or a given number: the control for theory of mind."""

    p_correct: float | None = None

    def predict(self, query: Query) -> float | None:
        """The constant; with help, the base rate observed after help."""
        if self.p_correct is not None:
            return self.p_correct
        rate = self.base_rate(helped=bool(query.help))
        return 0.5 if rate is None else rate


@dataclass
class Oracle(_Remembering):
    """Knows what the student will do, because the laboratory tries it out: the ceiling."""

    def predict(self, query: Query) -> float | None:
        """Left to the laboratory."""
        return None


@dataclass
class BayesianKnowledgeTracing(_Remembering):
    """One two-state hidden Markov chain per skill (Corbett & Anderson 1995).

    With mastery probability L, guess g, slip s and learning rate t:
    P(correct) = prod over skills of L(1-s) + (1-L)g; after a correct answer
    L' = L(1-s) / (L(1-s) + (1-L)g), after a wrong one L' = Ls / (Ls + (1-L)(1-g)); reading help moves
    L to L + (1-L)t. Items with several skills update each skill with the others held at their means.
    """

    prior: float = 0.5
    guess: float = 0.1
    slip: float = 0.1
    learn: float = 0.3
    mastery: dict[str, float] = field(default_factory=dict)

    def observe(self, evidence: Evidence) -> None:
        """Update the mastery of the item's skills."""
        super().observe(evidence)
        if evidence.correct is None:
            return
        if evidence.help:
            for skill in evidence.skills:
                self.mastery[skill] = self._learned(skill)
        for skill, value in {s: self._updated(s, evidence) for s in evidence.skills}.items():
            self.mastery[skill] = value

    def predict(self, query: Query) -> float | None:
        """Product over the item's skills; the prior's where it has none."""
        p = 1.0
        for skill in query.skills or ("",):
            known = self._learned(skill) if query.help else self.mastery.get(skill, self.prior)
            p *= known * (1 - self.slip) + (1 - known) * self.guess
        return p

    def snapshot(self) -> dict[str, Any]:
        """Mastery per skill."""
        return {**super().snapshot(), "skills": {k: round(v, 6) for k, v in sorted(self.mastery.items())}}

    def _learned(self, skill: str) -> float:
        known = self.mastery.get(skill, self.prior)
        return known + (1 - known) * self.learn

    def _updated(self, skill: str, evidence: Evidence) -> float:
        known = self.mastery.get(skill, self.prior)
        others = 1.0
        for other in evidence.skills:
            if other != skill:
                m = self.mastery.get(other, self.prior)
                others *= m * (1 - self.slip) + (1 - m) * self.guess
        if_known, if_not = others * (1 - self.slip), others * self.guess
        if not evidence.correct:
            if_known, if_not = 1 - if_known, 1 - if_not
        total = known * if_known + (1 - known) * if_not
        return known * if_known / total if total else known


@dataclass
class MisconceptionPosterior(_Remembering):
    """A posterior over named hypotheses of how the student works (Brown & Burton 1978; Ross & Andreas 2024).

    Each hypothesis maps a question to the answer that a student holding it would give. An answer that the
    hypothesis predicts has likelihood 1 - noise, any other has `noise`. `comprehension` is the believed
    chance that help on the item puts the student right; it is learned from observations after help as a
    Beta(1, 1) posterior mean over the items that the student would otherwise have got wrong.
    """

    hypotheses: Mapping[str, Callable[[str], str | None]] = field(default_factory=dict)
    prior_correct: float = 0.5
    noise: float = 0.05
    weights: dict[str, float] = field(default_factory=dict)
    _helped: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        others = [h for h in self.hypotheses if h != "correct"]
        for name in self.hypotheses:
            alone = name == "correct" or not others
            self.weights[name] = self.prior_correct if alone else (1 - self.prior_correct) / len(others)

    def observe(self, evidence: Evidence) -> None:
        """Weigh every hypothesis by how well it predicted the unaided answer."""
        super().observe(evidence)
        if evidence.help:
            if evidence.correct is not None:
                self._helped.append(evidence.correct)
            return
        for name, answer in self.hypotheses.items():
            hit = answer(evidence.question) == evidence.student_answer
            self.weights[name] *= (1 - self.noise) if hit else self.noise
        total = sum(self.weights.values())
        for name in self.weights:
            self.weights[name] /= total

    def predict(self, query: Query) -> float | None:
        """Posterior mass of the hypotheses that get the item right; with help, plus what help repairs."""
        right = sum(w for n, w in self.weights.items() if self._right(n, query))
        p = right * (1 - self.noise) + (1 - right) * self.noise
        if not query.help:
            return p
        comprehension = (1 + sum(self._helped)) / (2 + len(self._helped))
        return p + (1 - p) * comprehension

    def snapshot(self) -> dict[str, Any]:
        """Posterior per hypothesis, the likeliest first."""
        ranked: Sequence[tuple[str, float]] = sorted(self.weights.items(), key=lambda kv: (-kv[1], kv[0]))
        return {**super().snapshot(), "misconceptions": {k: round(v, 6) for k, v in ranked if k != "correct"}}

    def _right(self, name: str, query: Query) -> bool:
        return self.hypotheses[name](query.question) == query.correct_answer
