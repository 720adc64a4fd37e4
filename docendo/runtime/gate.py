"""The gate in front of a batch: no lesson is held with students who are not who they should be.

The figures are those of the fidelity condition, over all replicates, as the store holds them; a limit of the
scenario that a figure breaks closes the gate. A figure that could not be measured closes it too: what is not
known cannot be vouched for.
"""

from __future__ import annotations

from dataclasses import dataclass

from docendo.errors import GateClosedError, Where
from docendo.runtime.store.reads import StoreReader
from docendo.scenarios.fidelity import MEASURES
from docendo.scenarios.schema import FidelitySpec

__all__ = ["Figure", "check_gate", "fidelity_figures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of the check."""

    measure: str
    mean: float | None
    """`None` where no answer could be judged."""
    n: int
    """Answers behind it."""
    limit: float | None
    at_least: bool
    """Whether the limit is the least value that will do, and not the most."""

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its limit."""
        if self.limit is None:
            return True
        if self.mean is None:
            return False
        return self.mean >= self.limit if self.at_least else self.mean <= self.limit


_AT_LEAST = frozenset({"consistency", "competence"})


def fidelity_figures(store: StoreReader, run: str, condition: str, spec: FidelitySpec) -> tuple[Figure, ...]:
    """The figures of the fidelity condition of a run, in a fixed order."""
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    for row in store.observations(run, list(MEASURES)):
        if row.lesson.condition == condition and row.value is not None:
            values[row.measure].append(row.value)
    return tuple(
        Figure(
            measure=name,
            mean=sum(found) / len(found) if found else None,
            n=len(found),
            limit=getattr(spec, name, None),
            at_least=name in _AT_LEAST,
        )
        for name, found in values.items()
    )


def check_gate(figures: tuple[Figure, ...]) -> None:
    """Let the batch pass, or say why not.

    Raises:
        GateClosedError: A figure breaks its limit, or could not be measured.
    """
    broken = [f for f in figures if not f.holds]
    if not broken:
        return
    said = "; ".join(_sentence(f) for f in broken)
    raise GateClosedError(
        f"the students are not who they should be: {said}. Nothing was taught.",
        suggestion="Look at their answers with `docendo show`; change their model, profile or memory, or the "
        "limit under `fidelity:`, and issue the command again.",
        where=Where(path=f"fidelity.{broken[0].measure}"),
    )


def _sentence(figure: Figure) -> str:
    if figure.mean is None:
        return f"`{figure.measure}` could not be measured"
    side = "below" if figure.at_least else "above"
    return f"`{figure.measure}` is {figure.mean:.2f} over {figure.n} answers, {side} {figure.limit:g}"
