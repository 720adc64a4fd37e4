"""Who gets help: a phase's policy looks at every item, and the scores are ranked before any episode runs.

So how a shared budget is spent never depends on which episode happened to be faster.
"""

from __future__ import annotations

from collections.abc import Sequence

from docendo.agents.policy import POLICIES, Policy, Score, rank
from docendo.errors import EpisodeFailure
from docendo.graphs.compile import CompiledGraph
from docendo.graphs.help import help_node
from docendo.runtime.consequences import note_failure
from docendo.runtime.episode import Episode
from docendo.runtime.ledger import Ledger
from docendo.runtime.rehearsal import BEFORE, ItemRehearsal
from docendo.runtime.together import grouped
from docendo.scenarios.schema import Phase, PolicySpec

__all__ = ["choose"]


async def choose(phase: Phase, graph: CompiledGraph, episodes: Sequence[Episode], shared: Ledger) -> None:
    """Let the policy score every item, rank, and give each episode its choice."""
    node = help_node(graph, phase.params)
    if phase.kind != "teach" or node is None:
        return
    spec = phase.policy or PolicySpec(kind="always")
    policy = POLICIES.get(spec.kind)
    budget = _budget(phase, shared, len(episodes))
    if budget == 0:  # nothing to choose, so nothing is asked
        scores = [Score(None, {})] * len(episodes)
    else:
        work = [
            _score(policy, ItemRehearsal(e, spec, node, place), e, spec) for place, e in enumerate(episodes)
        ]
        scores = await grouped(work, [e.key.student for e in episodes])
    choices = rank([s.value for s in scores], budget, spec.order)
    for episode, score, choice in zip(episodes, scores, choices, strict=True):
        episode.choice = choice
        episode.reasons = score.reasons
        episode.policy = spec.kind


def _budget(phase: Phase, shared: Ledger, n: int) -> int:
    """Interventions that this round may spend on `n` episodes."""
    left = shared.remaining("interventions")
    total = n if left is None else left
    return total if phase.per_round is None else min(total, phase.per_round)


async def _score(policy: Policy, rehearsal: ItemRehearsal, episode: Episode, spec: PolicySpec) -> Score:
    """One item's score; a failure is kept for the episode, and its item is not chosen."""
    try:
        return await policy.score(rehearsal, spec)
    except EpisodeFailure as failure:
        note_failure(episode, failure, BEFORE)
        return Score(None, {"failure": failure.kind})
