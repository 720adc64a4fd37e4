"""Full-text search: which messages hold the words, and where in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from docendo.errors import UsageError
from docendo.runtime.store.browse import Found
from docendo.runtime.store.words import Term, terms_of
from docendo.runtime.viewer.finding_models import Hit, SearchPage
from docendo.runtime.viewer.library import Library

__all__ = ["search_page", "snippet_of"]

BEFORE, AROUND = 60, 200
"""Characters before the first match, and of the whole snippet."""


def search_page(
    library: Library, query: str, *, run: str = "", after: str = "", limit: int = 50
) -> SearchPage:
    """Messages that hold the words of `query`: `word`, `"a phrase"`, `begin*`, `-without`.

    Raises:
        UsageError: `query` has no word, or `after` is no cursor.
        UnknownNameError: There is no such run.
    """
    if after and not after.isdecimal():
        raise UsageError(f"`{after}` is no cursor of this list", suggestion="Begin without `after`.")
    run_id = library.run(run).id if run else ""
    terms = terms_of(query)
    found, total, more = library.store.browse.search(
        query, run_id, after=int(after) if after else -1, limit=limit + 1
    )
    hits = [_hit(library, match, terms) for match in found[:limit]]
    goes_on = len(found) > limit
    return SearchPage(
        query=query,
        hits=hits,
        next=str(found[limit - 1].number) if goes_on else None,
        total=total,
        more=more,
    )


def _hit(library: Library, found: Found, terms: Sequence[Term]) -> Hit:
    where = found.episode.lesson
    message = found.event.payload["message"]
    text = message["text"]
    if message.get("thoughts"):
        text += "\n" + message["thoughts"]
    snippet, marks = snippet_of(text, terms)
    return Hit(
        run=where.run,
        condition=where.condition,
        replicate=where.replicate,
        ordinal=found.episode.ordinal,
        label=library.design(where.run).label(where.condition),
        phase=found.episode.phase,
        item=found.episode.item,
        event=found.index,
        turn=found.event.turn,
        agent=found.event.agent,
        act=found.event.act,
        snippet=snippet,
        marks=marks,
    )


def snippet_of(text: str, terms: Sequence[Term]) -> tuple[str, list[tuple[int, int]]]:
    """A piece of `text` around the first match, and where the terms are in it."""
    patterns = [_pattern(term) for term in terms if not term.without]
    spans = sorted(match.span() for pattern in patterns for match in pattern.finditer(text))
    first = spans[0][0] if spans else 0
    start = max(0, first - BEFORE)
    end = min(len(text), start + AROUND)
    start = max(0, end - AROUND)
    lead, tail = "…" if start else "", "…" if end < len(text) else ""
    marks: list[tuple[int, int]] = []
    for low, high in spans:
        if low >= start and high <= end and (not marks or low - start + len(lead) >= marks[-1][1]):
            marks.append((low - start + len(lead), high - start + len(lead)))
    return lead + text[start:end] + tail, marks


def _pattern(term: Term) -> re.Pattern[str]:
    """The words of a term with anything but words between them, as the index compares them."""
    between = r"[\W_]+".join(map(re.escape, re.findall(r"[^\W_]+", term.text)))
    end = "" if term.prefix else r"(?![^\W_])"
    return re.compile(rf"(?<![^\W_]){between}{end}", re.IGNORECASE)
