"""Every mistake of a plan is reported where it stands, with what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from docendo.errors import Problem, ScenarioError
from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.expand import expand
from docendo.scenarios.loader import load_scenario

GOOD = """\
version: 1
name: lesson
models:
  expert: {backend: simulated, mind: expert}
  novice: {backend: simulated, mind: procedural, bugs: [smaller_from_larger]}
agents:
  teacher: {model: expert, memory: {kind: demonstrations, size: 4, initial: 0, reset: lesson}}
  student: {model: novice, memory: {reset: lesson}, misconceptions: [smaller_from_larger]}
items:
  source: subtraction
  train: 20
  test: 10
  pools: {a: 4, b: 4, lesson: 6, exam: 5, near: 4, far: 4, later: 4, probe: 4, empty: 0}
taxonomies:
  nods: {slots: {mood: {kind: {}, stern: {}}, nod: {yes: {spends: nods}, no: {}}}}
fidelity: {items: probe}
plan:
  - test: {id: pretest, forms: [a, b]}
  - refine: {items: train, count: 4, beam: 2, scored: 4}
  - teach: {items: lesson, moves: {taxonomy: mathdial, fixed: [telling], save: {tells: 1}}, exam: exam}
  - test: {id: posttest, forms: [b, a]}
  - test: {id: near, items: near}
  - test: {id: far, items: far}
  - rest
  - test: {id: retention, items: later}
measures: [gain, normalised_gain, teacher_gain, near_transfer, far_transfer, retention, retained]
"""

TEACHER = "memory: {kind: demonstrations, size: 4, initial: 0, reset: lesson}"
MOVES = "{taxonomy: mathdial, fixed: [telling], save: {tells: 1}}"
SAVE = "taxonomy: mathdial, fixed: [telling], save: {tells: 1}"
RETENTION = "  - rest\n  - test: {id: retention, items: later}\n"
PRETEST = "  - test: {id: pretest, forms: [a, b]}\n"
LATER = "- test: {id: retention, items: later}"
POSTTEST = "  - test: {id: posttest, forms: [b, a]}\n"
KNOWN = {"bug": ["smaller_from_larger", "borrow_no_decrement"]}


def problems(folder: Path, text: str) -> list[Problem]:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, known=KNOWN)
    return list(caught.value.problems)


def sound(folder: Path, text: str) -> None:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    expand(load_scenario(path, known=KNOWN))


def changed(old: str, new: str, text: str = GOOD) -> tuple[str, int, int]:
    """`text` with `old` replaced by `new`, in which `^` marks the expected place: (text, line, column)."""
    assert text.count(old) == 1, old
    marked = text.replace(old, new)
    before = marked[: marked.index("^")]
    return marked.replace("^", "", 1), before.count("\n") + 1, len(before) - before.rfind("\n")


def test_the_scenario_that_the_mistakes_are_made_in_is_sound(tmp_path: Path) -> None:
    sound(tmp_path, GOOD)


@pytest.mark.parametrize("name", gallery_names())
def test_the_gallery_and_its_controls_are_sound(name: str) -> None:
    assert expand(load_scenario(name))


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "suggestion"),
    [
        # moves
        (MOVES, "^mathdail", "plan.teach.moves.taxonomy",
         "unknown taxonomy `mathdail`", "Did you mean `mathdial`?"),
        (MOVES, "{taxonomy: ^nod}", "plan.teach.moves.taxonomy",
         "unknown taxonomy `nod`", "Did you mean `nods`?"),
        ("[telling]", "[probing, ^teling]", "plan.teach.moves.fixed[1]",
         "`teling` is a move that is not in the taxonomy `mathdial`", "Did you mean `telling`?"),
        ("[telling]", "^teling", "plan.teach.moves.fixed",
         "`teling` is a move that is not in the taxonomy `mathdial`", "Did you mean `telling`?"),
        (SAVE, "taxonomy: mathdial, source: fixed, fixed: [^provide_hint]", "plan.teach.moves.fixed[0]",
         "`provide_hint` is a move that is not in the taxonomy `mathdial`", "`telling`"),
        (SAVE, "taxonomy: nods, source: fixed, fixed: [{^noud: 'yes'}]", "plan.teach.moves.fixed[0].noud",
         "the taxonomy `nods` has no slot `noud`", "Did you mean `nod`?"),
        (SAVE, "taxonomy: nods, source: fixed, fixed: {^noud: 'yes'}", "plan.teach.moves.fixed.noud",
         "the taxonomy `nods` has no slot `noud`", "Did you mean `nod`?"),
        (SAVE, "taxonomy: nods, source: fixed, fixed: [{nod: ^stern}]", "plan.teach.moves.fixed[0].nod",
         "slot `nod` of the taxonomy `nods` has no move `stern`", "Known: `no`, `yes`."),
        ("save: {tells: 1}", "save: {^tels: 1}", "plan.teach.moves.save.tels",
         "no move of the taxonomy `mathdial` spends `tels`", "Did you mean `tells`?"),
        (SAVE, "taxonomy: nods, save: {^tells: 1}", "plan.teach.moves.save.tells",
         "no move of the taxonomy `nods` spends `tells`", "Known: `nods`."),
        # pools
        ("exam: exam}", "exam: ^exan}", "plan.teach.exam.pool",
         "no pool of items is called `exan`", "Did you mean `exam`?"),
        ("exam: exam}", "exam: {pool: ^exan, count: 2}}", "plan.teach.exam.pool",
         "no pool of items is called `exan`", "Did you mean `exam`?"),
        ("exam: 5", "exam: ^0", "items.pools.exam",
         "the exam of phase `teach` works on pool `exam`, which has no items", "Give it a size above 0."),
        ("exam: exam}", "exam: ^lesson}", "plan.teach.exam.pool",
         "phase `teach` teaches pool `lesson` and takes its exam from it: exam items overlap the taught ones",
         "`exam: exam`"),
        ("forms: [b, a]", "forms: [b, ^lat]", "plan.posttest.forms[1]",
         "no pool of items is called `lat`", "Did you mean `later`?"),
        ("a: 4, b: 4", "a: 4, b: ^0", "items.pools.b",
         "phase `posttest` works on pool `b`, which has no items", "Give it a size above 0."),
        ("fidelity: {items: probe}", "fidelity: {items: ^prob}", "fidelity.items",
         "no pool of items is called `prob`", "Did you mean `probe`?"),
        # what was taught
        ("forms: [b, a]", "forms: [b, ^lesson]", "plan.posttest.forms[1]",
         "phase `posttest` tests on pool `lesson`, which `teach` taught: `student` may remember the answers",
         "`memory: {reset: episode}`"),
        ("items: later", "items: ^exam", "plan.retention.items",
         "tests on pool `exam`, which the exam of `teach` used", "`memory: {reset: episode}`"),
        # retention
        (RETENTION, "  - test: {id: ^retention, items: later}\n", "plan.retention.id",
         "retention without an interval: nothing lies between `teach` and the test `retention`",
         "Put `- rest`, or another lesson, before the test."),
        # students
        ("misconceptions: [", "misconceptions: [^smaller_from_large, ", "agents.student.misconceptions[0]",
         "unknown bug `smaller_from_large`", "Did you mean `smaller_from_larger`?"),
        (TEACHER, f"^misconceptions: [borrow_no_decrement], {TEACHER}", "agents.teacher.misconceptions",
         "only students have misconceptions; `teacher` is a teacher", "move them to a student"),
        # refinement
        (TEACHER, "memory: ^notes", "agents.teacher.memory",
         "phase `refine` refines the examples that `teacher` remembers, and its memory is of kind notes",
         "`memory: {kind: demonstrations"),
        (f"{{model: expert, {TEACHER}}}", "^{model: expert}", "agents.teacher.memory",
         "and its memory is of kind none", "Give `teacher` a"),
        # keys that only one kind of phase reads
        (LATER, "- test: {id: retention, items: later, ^beam: 2}", "plan.retention.beam",
         "only refine phases have a beam; `retention` is of kind test",
         "Take `beam` out, or move it to a phase of kind refine."),
        (LATER, "- test: {id: retention, items: later, ^scored: 2}", "plan.retention.scored",
         "only refine phases have `scored` items", "Take `scored` out"),
        (LATER, "- test: {id: retention, items: later, ^moves: mathdial}", "plan.retention.moves",
         "only teach phases have moves", "Take `moves` out, or move it to a phase of kind teach."),
        (LATER, "- test: {id: retention, items: later, ^exam: exam}", "plan.retention.exam",
         "only teach phases have an exam", "Take `exam` out"),
        (LATER, "- test: {id: retention, items: later, ^policy: always}", "plan.retention.policy",
         "only teach phases have a policy", "Take `policy` out"),
        (PRETEST, f"{PRETEST}  - observe: {{^forms: [train, test]}}\n", "plan.observe.forms",
         "only test and teach phases have parallel forms; `observe` is of kind observe",
         "Take `forms` out, or move it to a phase of kind test or teach."),
        ("refine: {items: train", "refine: {^forms: [train]", "plan.refine.forms",
         "only test and teach phases have parallel forms", "Take `forms` out"),
        ("- rest\n", "- rest: {^forms: [a]}\n", "plan.rest.forms",
         "only test and teach phases have parallel forms", "Take `forms` out"),
    ],
)  # fmt: skip
def test_every_mistake_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, path: str, message: str, suggestion: str
) -> None:
    text, line, column = changed(old, new)
    (problem,) = [p for p in problems(tmp_path, text) if message in p.message]
    assert (problem.where.line, problem.where.column, problem.where.path) == (line, column, path)
    assert suggestion in problem.suggestion


def the_one(folder: Path, marked: tuple[str, int, int], message: str) -> Problem:
    """The only problem of a text, which has the `message` and stands at the mark."""
    text, line, column = marked
    (problem,) = problems(folder, text)
    assert message in problem.message
    assert (problem.where.line, problem.where.column) == (line, column)
    return problem


def test_the_check_of_the_students_needs_items(tmp_path: Path) -> None:
    marked = changed("empty: 0", "empty: ^0", GOOD.replace("{items: probe}", "{items: empty}"))
    problem = the_one(tmp_path, marked, "`fidelity` works on pool `empty`, which has no items")
    assert problem.suggestion == "Give it a size above 0."


def test_refining_needs_a_teacher(tmp_path: Path) -> None:
    text = GOOD.replace("  teacher: {", "  critic: {")
    problem = the_one(tmp_path, changed("- refine:", "- ^refine:", text), "and there is no teacher")
    assert problem.suggestion == "Add `teacher:` with `memory: {kind: demonstrations}` to `agents`."


def test_refining_needs_students_as_everything_does(tmp_path: Path) -> None:
    text = GOOD.replace("  student: {", "  critic: {").replace(", misconceptions: [smaller_from_larger]", "")
    problem = the_one(tmp_path, changed("agents:", "^agents:", text), "nobody learns")
    assert problem.suggestion == "Add `student:`."


# --- what was taught ------------------------------------------------------------------------------------


def test_every_form_that_was_taught_counts(tmp_path: Path) -> None:
    text = GOOD.replace("teach: {items: lesson", "teach: {forms: [lesson, near]")
    marked = changed("near, items: near", "near, items: ^near", text)
    problem = the_one(tmp_path, marked, "`near` tests on pool `near`, which `teach` taught")
    assert "`memory: {reset: episode}`" in problem.suggestion


def test_students_who_forget_may_be_tested_on_what_they_saw(tmp_path: Path) -> None:
    text = GOOD.replace("memory: {reset: lesson}", "memory: {reset: episode}")
    sound(tmp_path, text.replace("items: later", "items: exam").replace("items: near", "items: lesson"))


def test_a_test_before_the_lesson_may_use_its_items(tmp_path: Path) -> None:
    sound(tmp_path, GOOD.replace("forms: [a, b]", "forms: [lesson, exam]"))


# --- retention ------------------------------------------------------------------------------------------

LESSON = "  - teach: {id: other, items: test}\n"
REST = "  - rest\n"


def planned(*phases: str) -> str:
    """The scenario with these phases after its lesson."""
    return f"{GOOD.partition(POSTTEST)[0]}{''.join(phases)}measures: [accuracy, retention]\n"


@pytest.mark.parametrize(
    "between", [(POSTTEST, REST), (POSTTEST, LESSON), (LESSON, POSTTEST, REST), (REST,), (LESSON, REST)]
)
def test_time_or_another_lesson_is_an_interval(tmp_path: Path, between: tuple[str, ...]) -> None:
    sound(tmp_path, planned(*between, f"  {LATER}\n"))


@pytest.mark.parametrize("before", ["", LESSON, REST + LESSON])
def test_without_a_posttest_only_time_after_the_last_lesson_is_one(tmp_path: Path, before: str) -> None:
    marked = changed("id: retention", "id: ^retention", planned(before, f"  {LATER}\n"))
    lesson = "other" if before else "teach"
    problem = the_one(tmp_path, marked, f"nothing lies between `{lesson}` and the test `retention`")
    assert problem.suggestion == "Put `- rest` before the test."


def test_without_a_lesson_there_is_nothing_to_retain(tmp_path: Path) -> None:
    sound(tmp_path, f"{GOOD.partition('plan:')[0]}plan:\n  {LATER}\nmeasures: [retention]\n")


# --- measures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "test"),
    [
        ("gain", "pretest"),
        ("gain", "posttest"),
        ("normalised_gain", "pretest"),
        ("normalised_gain", "posttest"),
        ("teacher_gain", "pretest"),
        ("teacher_gain", "posttest"),
        ("near_transfer", "near"),
        ("far_transfer", "far"),
        ("retention", "retention"),
        ("retained", "posttest"),
        ("retained", "retention"),
    ],
)
def test_a_measure_of_learning_needs_its_tests(tmp_path: Path, measure: str, test: str) -> None:
    text = GOOD.replace(f"id: {test},", f"id: {test}s,").partition("measures:")[0]
    marked = changed("^", "^", f"{text}measures: [accuracy, ^{measure}]\n")
    problem = the_one(tmp_path, marked, f"measure `{measure}` needs a test with the id `{test}`, and the")
    assert problem.where.path == "measures[1]"
    assert problem.suggestion == f"Write `- test: {{id: {test}, items: POOL}}` in the plan."


def test_a_phase_of_another_kind_is_no_test(tmp_path: Path) -> None:
    text = GOOD.replace("test: {id: near, items: near}", "observe: {id: near, items: train, count: 2}")
    marked = changed("near_transfer", "^near_transfer", text)
    problem = the_one(tmp_path, marked, "`near_transfer` needs a test with the id `near`")
    assert "`- test: {id: near, items: POOL}`" in problem.suggestion


# --- with others ----------------------------------------------------------------------------------------

AXES = "matrix:\n  plan.teach.moves.taxonomy: [mathdial, bridge]\n  plan.teach.moves.source: [self, fixed]\n"


def test_moves_for_an_axis_are_checked_where_they_are_used(tmp_path: Path) -> None:
    text = GOOD + AXES
    sound(
        tmp_path, text + "  exclude: [{plan.teach.moves.taxonomy: bridge, plan.teach.moves.source: fixed}]\n"
    )
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load_scenario(path)
    with pytest.raises(ScenarioError, match="`telling` is a move that is not in the taxonomy `bridge`"):
        expand(loaded)


def test_a_value_of_the_matrix_is_marked(tmp_path: Path) -> None:
    text = GOOD + "matrix:\n  plan.teach.moves.taxonomy: [mathdial, ^mathdail]\n"
    problem = the_one(tmp_path, changed("^", "^", text), "unknown taxonomy `mathdail`")
    assert problem.suggestion == "Did you mean `mathdial`?"


def test_taxonomies_of_the_wrong_shape_are_reported_alone(tmp_path: Path) -> None:
    text = GOOD.replace("taxonomy: mathdial", "taxonomy: nods")
    marked = changed("{spends: nods}", "{^spens: nods}", text)
    assert the_one(tmp_path, marked, "unknown key `spens`").suggestion == "Did you mean `spends`?"


def test_all_mistakes_of_a_plan_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("mathdial", "mathdail").replace("forms: [b, a]", "forms: [b, lat]")
    text = text.replace(REST, "").replace("beam: 2", "beam: 2, moves: bridge")
    text = text.replace("memory: {kind: demonstrations", "memory: {kind: notes")
    text = text.replace("near, items: near", "nearby, items: near")
    found = [p.message for p in problems(tmp_path, text)]
    parts = [
        "its memory is of kind notes",
        "only teach phases have moves",
        "unknown taxonomy",
        "no pool of items is called `lat`",
        "retention without an interval",
        "needs a test with the id `near`",
    ]
    assert [p in m for p, m in zip(parts, found, strict=True)] == [True] * len(parts), found
