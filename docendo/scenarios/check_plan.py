"""Checks of a plan: pools that exist, keys that are read, tests that measure what their name says.

A check goes over the phases and yields a problem for each place that is wrong; `docendo.scenarios.check`
names the sections that must be sound before it runs. Where a plan runs without an error and measures nothing
(a test on taught items, retention without an interval, a gain without a pretest), that is a mistake, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docendo.errors import Problem, did_you_mean
from docendo.scenarios.look import Look
from docendo.scenarios.plan import Phase, PhaseKind
from docendo.scenarios.positions import Path
from docendo.scenarios.schema import role_of

__all__ = [
    "check_exams", "check_fidelity_pool", "check_keys", "check_pools", "check_refinement", "check_retention",
    "check_taught_items", "check_tests_of_measures",
]  # fmt: skip


# --- pools ----------------------------------------------------------------------------------------------


def check_pools(look: Look) -> Iterator[Problem]:
    """Pools that phases and their exams work on exist, and have items."""
    for i, phase in enumerate(look.scenario.plan):
        if phase.kind == "rest":
            continue
        for pool, path in _pools_of(i, phase):
            yield from _pool_problems(look, pool, path, f"phase `{phase.id}`")
        if phase.exam is not None and phase.exam.pool is not None:
            path = ("plan", i, "exam", "pool")
            yield from _pool_problems(look, phase.exam.pool, path, f"the exam of phase `{phase.id}`")


def check_fidelity_pool(look: Look) -> Iterator[Problem]:
    """The pool that students are examined on exists, and has items."""
    if look.scenario.fidelity is not None:
        yield from _pool_problems(look, look.scenario.fidelity.items, ("fidelity", "items"), "`fidelity`")


def _pools_of(i: int, phase: Phase) -> list[tuple[str, Path]]:
    """The pools of the phase `i`, and where each is written."""
    if phase.forms:
        return [(pool, ("plan", i, "forms", j)) for j, pool in enumerate(phase.forms)]
    return [(phase.pool, ("plan", i, "items"))]


def _pool_problems(look: Look, pool: str, path: Path, user: str) -> Iterator[Problem]:
    items = look.scenario.items
    pools = {"train": None, "test": None, **items.sizes}
    if pool not in pools:
        yield Problem(
            message=f"no pool of items is called `{pool[:60]}`",
            suggestion=did_you_mean(pool, pools),
            where=look.place(path, False),
        )
    elif pools[pool] == 0:
        at: Path = ("items", "pools", pool) if pool in items.pools else ("items", pool)
        yield Problem(
            message=f"{user} works on pool `{pool}`, which has no items",
            suggestion="Give it a size above 0.",
            where=look.place(at, False),
        )


# --- what students have seen ----------------------------------------------------------------------------


def check_exams(look: Look) -> Iterator[Problem]:
    """An exam on the pool that is taught asks for what was taught, not for what was learnt."""
    for i, phase in enumerate(look.scenario.plan):
        pool = phase.exam.pool if phase.exam is not None else None
        if phase.kind == "teach" and pool in phase.pools:
            yield Problem(
                message=f"phase `{phase.id}` teaches pool `{pool}` and takes its exam from it: exam items "
                "overlap the taught ones",
                suggestion="Give the exam a pool of its own: `items: {pools: {exam: 20}}`, `exam: exam`.",
                where=look.place(("plan", i, "exam", "pool"), False),
            )


def check_taught_items(look: Look) -> Iterator[Problem]:
    """A test on items that were taught, by students who may still know them, measures copying."""
    agents = look.scenario.agents.items()
    lasting = [name for name, a in agents if role_of(name, a) == "student" and a.memory.reset == "lesson"]
    taught: dict[str, str] = {}
    for i, phase in enumerate(look.scenario.plan if lasting else ()):
        if phase.kind == "teach":
            taught = {**_seen_in(phase), **taught}
        if phase.kind != "test":
            continue
        for pool, path in _pools_of(i, phase):
            if pool in taught:
                yield Problem(
                    message=f"phase `{phase.id}` tests on pool `{pool}`, which {taught[pool]}: "
                    f"`{lasting[0]}` may remember the answers",
                    suggestion="Test on a pool that no lesson uses, or forget: `memory: {reset: episode}` "
                    "for the student.",
                    where=look.place(path, False),
                )


def _seen_in(phase: Phase) -> dict[str, str]:
    """Pools whose items students see in a teach phase -> how, in words."""
    exam = phase.exam.pool if phase.exam is not None else None
    examined = {exam: f"the exam of `{phase.id}` used"} if exam is not None else {}
    return {**examined, **{pool: f"`{phase.id}` taught" for pool in phase.pools}}


# --- tests that are known by their ids ------------------------------------------------------------------

_RETENTION = "retention"
_POSTTEST = "posttest"

_TESTS_OF: dict[str, tuple[str, ...]] = {
    "gain": ("pretest", _POSTTEST),
    "normalised_gain": ("pretest", _POSTTEST),
    "teacher_gain": ("pretest", _POSTTEST),
    "near_transfer": ("near",),
    "far_transfer": ("far",),
    "retention": (_RETENTION,),
    "retained": (_POSTTEST, _RETENTION),
}
"""Measure -> ids of the tests that it is computed from. Without them it yields nothing."""


def check_tests_of_measures(look: Look) -> Iterator[Problem]:
    """A measure of learning needs the tests that it compares."""
    tests = {phase.id for phase in look.scenario.plan if phase.kind == "test"}
    for i, measure in enumerate(look.scenario.measures):
        for test in _TESTS_OF.get(measure, ()):
            if test not in tests:
                yield Problem(
                    message=f"measure `{measure}` needs a test with the id `{test}`, and the plan has none",
                    suggestion=f"Write `- test: {{id: {test}, items: POOL}}` in the plan.",
                    where=look.place(("measures", i), False),
                )


def check_retention(look: Look) -> Iterator[Problem]:
    """Between teaching and the test `retention` lies time, or another lesson."""
    plan = look.scenario.plan
    test = _test_called(plan, _RETENTION)
    if test is None:
        return
    posttest = _test_called(plan[:test], _POSTTEST)
    lessons = [i for i, phase in enumerate(plan[: test if posttest is None else posttest])
               if phase.kind == "teach"]  # fmt: skip
    if not lessons or any(phase.kind in ("rest", "teach") for phase in plan[lessons[-1] + 1 : test]):
        return
    yield Problem(
        message=f"retention without an interval: nothing lies between `{plan[lessons[-1]].id}` and the test "
        f"`{_RETENTION}`",
        suggestion="Put `- rest`, or another lesson, before the test."
        if posttest is not None
        else "Put `- rest` before the test.",
        where=look.place(("plan", test, "id"), False),
    )


def _test_called(plan: Sequence[Phase], name: str) -> int | None:
    return next((i for i, phase in enumerate(plan) if phase.kind == "test" and phase.id == name), None)


# --- kinds of phases ------------------------------------------------------------------------------------

_READ_BY: dict[str, tuple[str, tuple[PhaseKind, ...]]] = {
    "policy": ("a policy", ("teach",)),
    "moves": ("moves", ("teach",)),
    "exam": ("an exam", ("teach",)),
    "forms": ("parallel forms", ("test", "teach")),
    "beam": ("a beam", ("refine",)),
    "scored": ("`scored` items", ("refine",)),
}
"""Key -> what it gives a phase, and the kinds of phases that read it."""


def check_keys(look: Look) -> Iterator[Problem]:
    """A key that phases of this kind do not read would silently do nothing."""
    for i, phase in enumerate(look.scenario.plan):
        for key, (what, kinds) in _READ_BY.items():
            written = key in phase.model_fields_set and getattr(phase, key) not in (None, ())
            if written and phase.kind not in kinds:
                yield Problem(
                    message=f"only {' and '.join(kinds)} phases have {what}; "
                    f"`{phase.id}` is of kind {phase.kind}",
                    suggestion=f"Take `{key}` out, or move it to a phase of kind {' or '.join(kinds)}.",
                    where=look.place(("plan", i, key), True),
                )


def check_refinement(look: Look) -> Iterator[Problem]:
    """What a refine phase revises is the demonstrations that a teacher remembers.

    That somebody has to learn, refining or not, is a check of the agents.
    """
    agents = look.scenario.agents
    phases = [(i, phase) for i, phase in enumerate(look.scenario.plan) if phase.kind == "refine"]
    teacher = next((name for name, agent in agents.items() if role_of(name, agent) == "teacher"), None)
    for i, phase in phases:
        if teacher is None:
            yield Problem(
                message=f"phase `{phase.id}` refines a teacher's examples, and there is no teacher",
                suggestion="Add `teacher:` with `memory: {kind: demonstrations}` to `agents`.",
                where=look.place(("plan", i, "kind"), False),
            )
        elif agents[teacher].memory.kind != "demonstrations":
            kind = agents[teacher].memory.kind
            yield Problem(
                message=f"phase `{phase.id}` refines the examples that `{teacher}` remembers, and its memory "
                f"is of kind {kind}",
                suggestion=f"Give `{teacher}` a `memory: {{kind: demonstrations, size: 4, reset: lesson}}`.",
                where=look.place(("agents", teacher, "memory"), False),
            )
