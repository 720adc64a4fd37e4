"""What the viewer's API answers about lessons, episodes, calls, and two of them side by side."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from docendo.events import Event, StopReason
from docendo.messages import Usage
from docendo.runtime.report.model import Comparison
from docendo.runtime.viewer.models import Part

__all__ = [
    "Answer", "BeliefPoint", "CallFacts", "CallPage", "CallsPage", "Change", "ConditionsCompared",
    "EpisodeList", "EpisodePage", "EpisodeRow", "EpisodesCompared", "ItemFacts", "ItemPair", "LedgerEntry",
    "LessonList", "LessonPage", "LessonRow", "NodeVisit", "Partner", "PhaseResult", "Place", "PromptText",
    "Turn",
]  # fmt: skip

# --- lessons and episodes -------------------------------------------------------------------------------


class LessonRow(Part):
    """A condition x a replicate."""

    condition: str
    label: str
    control: str
    replicate: int
    status: Literal["planned", "running", "finished"]
    episodes: int
    failed: int
    wall_s: float


class LessonList(Part):
    """Lessons in the order of the matrix."""

    lessons: list[LessonRow]
    next: str | None
    """Cursor for `after`; `None` at the end."""


class PhaseResult(Part):
    """One step of the plan in one lesson: the strip on top of a lesson."""

    phase: str
    kind: str
    index: int
    episodes: int
    failed: int
    graded: int
    """Students whose last answer in an episode was judged."""
    right: int
    first_right: int
    """Those of them that were right at the first answer already."""


class LessonPage(Part):
    """A lesson and what came of each phase."""

    run: str
    lesson: LessonRow
    coordinates: dict[str, Any]
    phases: list[PhaseResult]
    tokens: int
    """That its acts' messages cost, prompt and completion."""
    previous: list[Any] | None
    """`[condition, replicate]` of the lesson before this one."""
    next: list[Any] | None


class Turn(Part):
    """One act of an episode that said something: what filters call `t`."""

    turn: int
    branch: str
    agent: str
    act: str
    kind: str
    """Kind of the message: `attempt`, `hint`, `explanation` ..."""
    move: str
    """The teaching move under which it was said (labels joined by ` / `); empty without one."""
    public: bool
    """Whether everybody may read it."""
    tokens: int
    """Of its completion."""
    leak: bool
    """Whether a flag was raised on it."""
    event: int
    """Index in the episode's events."""
    text: str = Field("", exclude=True)
    """What was said: for filters; lists leave it out."""


class EpisodeRow(Part):
    """An episode in a list, with everything that a filter can ask for."""

    condition: str
    label: str
    """Of the condition."""
    control: str
    """Name of the control that the condition is; empty for an ordinary one."""
    replicate: int
    ordinal: int
    """Its place in the lesson; with the lesson it names the episode for good."""
    key: str
    phase: str
    phase_kind: str
    round: int
    item: str
    student: str
    outcome: StopReason
    detail: str
    """What stopped it, e.g. the budget unit that ran out."""
    failure: str
    message: str
    """What failed; empty otherwise."""
    events: int
    wall_s: float
    answers: int
    """Judged answers of students."""
    first: bool | None
    """Whether the first answer was right."""
    right: bool | None
    """Whether the last one was; with several students, whether all last ones were."""
    gain: float | None
    """Mean over students of last minus first (-1, 0 or 1); `None` with fewer than two judged answers."""
    helped: bool
    """Whether any answer came after help."""
    leak: int
    """Flags that found a leak."""
    vetoes: int
    """Refusals of a critic."""
    spent: dict[str, int]
    """Unit -> amount."""
    tokens: int
    """Prompt and completion tokens of its messages."""
    calls: int
    p: float | None
    """First predicted probability of a right answer."""
    brier: float | None
    """Mean Brier score of its predictions."""
    diagnosed: bool | None
    """Whether the last diagnosis was right; `None` where there is none, or no truth."""
    moves: list[str]
    """Teaching moves in turn."""
    turns: list[Turn]


class EpisodeList(Part):
    """A page of episodes."""

    episodes: list[EpisodeRow]
    next: str | None
    """Cursor for `after`; `None` at the end. With a filter a page may hold few or no episodes and still have
    a next one: the server looks at a bounded number at a time."""
    scanned: int
    """Episodes that this page looked at."""
    total: int
    """Episodes before filtering, of all pages."""


class Place(Part):
    """Where an episode is."""

    condition: str
    replicate: int
    ordinal: int


class Partner(Place):
    """The same item, student, round and replicate in another condition."""

    label: str
    control: str
    outcome: StopReason


class ItemFacts(Part):
    """What is known of the episode's item, from what agents were shown and how answers were judged."""

    id: str
    question: str
    answer: str
    """Gold; empty where nobody was shown it."""


class LedgerEntry(Part):
    """A payment."""

    event: int
    turn: int
    branch: str
    agent: str
    unit: str
    amount: int
    bought: str
    spent: int
    """Of this unit in this episode so far."""
    remaining: int | None


class BeliefPoint(Part):
    """A belief, held against what then happened and against the truth."""

    event: int
    turn: int
    branch: str
    agent: str
    act: str
    student: str
    item: str
    p_correct: float | None
    predicted_answer: str | None
    given_help: bool
    answer: str | None
    """What the student then answered."""
    outcome: bool | None
    """Whether that was right; `None`: it never came, or could not be judged."""
    graded: int | None
    """Event of that judgement."""
    brier: float | None
    brier_so_far: float | None
    """Mean over the beliefs up to this one."""
    truth_brier: float | None
    """Mean Brier score of skills and misconceptions against the mind."""
    named: str | None
    """The misconception that it names (the most probable one, from 0.5 on)."""
    diagnosis_right: bool | None
    """Whether that is right; `None` where it is no diagnosis, or the mind is not known."""


class CallFacts(Part):
    """What a call cost."""

    model: str
    usage: Usage
    latency_s: float
    failed: bool


class NodeVisit(Part):
    """Which node of the phase's graph acted at a turn."""

    turn: int
    branch: str
    node: str


class EpisodePage(Part):
    """An episode: everything that happened, in order."""

    run: str
    row: EpisodeRow
    label: str
    """Of the condition."""
    control: str
    coordinates: dict[str, Any]
    phase_index: int
    previous: int | None
    """Ordinal of the episode before it in the lesson."""
    next: int | None
    digest: str
    item: ItemFacts
    roles: dict[str, str]
    """Agent -> role."""
    limits: dict[str, int]
    """Unit -> most that the episode may spend, for units that have a limit of its own."""
    events: list[Event]
    """By position; an event's index in this list is what `event` means everywhere else."""
    ledger: list[LedgerEntry]
    beliefs: list[BeliefPoint]
    diagnosed_at: int | None
    """Turn of the first right diagnosis after which none was wrong."""
    calls: dict[str, CallFacts]
    """Key -> what it cost."""
    nodes: list[NodeVisit]
    partners: list[Partner]


class PromptText(Part):
    """One chat message of a prompt."""

    role: Literal["system", "user", "assistant"]
    spans: list[tuple[str, str, str]]
    """`[text, provenance, source]`."""


class Answer(Part):
    """One completion, as the model wrote it."""

    text: str
    finish: str
    logprobs: list[Any] = Field(default_factory=list)
    """`[token, logprob, [[alternative, logprob], ...]]` per token."""
    mind: dict[str, Any] | None = None
    """New state of a simulated mind."""


class CallPage(Part):
    """What an agent saw and what it said, to the letter."""

    key: str
    event: int
    """Its `call` event."""
    said: int | None
    """The `message` event that was made of it."""
    turn: int
    branch: str
    agent: str
    act: str
    model: str
    """Name in the scenario."""
    fingerprint: str
    operation: Literal["generate", "score"]
    purpose: Literal["act", "repair", "probe"]
    request: dict[str, Any]
    """Sampling, seed, schema, choices, continuations."""
    prompt: list[str]
    """Addresses in `CallsPage.texts`."""
    completions: list[Answer]
    scores: list[Any] = Field(default_factory=list)
    """`score`: per continuation its tokens' log-probabilities."""
    error: dict[str, Any] | None
    usage: Usage
    latency_s: float
    created_at: float | None
    shared: list[str]
    """Other conditions whose same episode got this very answer from the journal, or gave it."""
    parsed: dict[str, Any] | None
    """Typed output of the act."""
    curl: str | None
    """A command that asks again; `None` where no server was asked."""
    recorded: bool
    """Whether the journal still holds it."""


class CallsPage(Part):
    """All calls of an episode. Equal prompt messages stand once."""

    calls: list[CallPage]
    texts: dict[str, PromptText]


# --- side by side ---------------------------------------------------------------------------------------


class Change(Part):
    """One row of two aligned episodes; `None` where only the other one has it."""

    first: int | None
    """Index of a `message` event."""
    second: int | None
    same: bool
    words: list[tuple[Literal["same", "gone", "new"], str]]
    """Word by word: `gone` is only in the first, `new` only in the second."""


class EpisodesCompared(Part):
    """Two episodes aligned by turn."""

    first: EpisodeRow
    second: EpisodeRow
    rows: list[Change]
    tokens: tuple[int, int]
    spent: dict[str, tuple[int, int]]
    diverge: int | None
    """Index in `rows` of the first difference; `None` where all that was said is the same."""


class ItemPair(Part):
    """Both conditions' means on one item: a dumbbell."""

    phase: str
    item: str
    first: float | None
    second: float | None
    n: int
    """Pairs with both values."""


class ConditionsCompared(Part):
    """Two conditions: paired differences, and item by item."""

    comparison: Comparison
    items: dict[str, list[ItemPair]]
    """Measure -> items, the largest difference first."""
