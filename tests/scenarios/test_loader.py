from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import Problem, ScenarioError, UnknownNameError, UsageError, Where
from docendo.scenarios.amount import amount_of
from docendo.scenarios.bundled import gallery_names, read_template, template_names
from docendo.scenarios.check import check_scenario
from docendo.scenarios.environment import resolve_env
from docendo.scenarios.json_schema import json_schema
from docendo.scenarios.loader import load_raw, load_scenario
from docendo.scenarios.mistakes import format_problem
from docendo.scenarios.schema import MemorySpec, Phase, Scenario

GOOD = """\
# yaml-language-server: $schema=scenario.schema.json
version: 1
name: when-to-step-in
models:
  expert: {backend: simulated, mind: expert}
  novice: {backend: simulated, mind: procedural, bugs: [smaller_from_larger, borrow_no_decrement]}
agents:
  teacher: {model: expert, student_model: {kind: few_shot, demonstrations: 4}}
  student: {model: novice, memory: {kind: demonstrations, size: 4}}
items: {source: subtraction, digits: 3, train: 60, test: 200}
plan:
  - observe: {items: train}
  - teach:   {items: test, graph: intervention, policy: expected_utility}
budget: {interventions: 20%}
measures: [accuracy, calibration, rectified, broken]
controls: [no_teacher, irrelevant]
matrix:
  plan.teach.policy: [random, teacher_confidence, expected_utility, true_utility]
  budget.interventions: [0%, 20%, 40%, 60%, 80%, 100%]
replicates: 3
seed: 7
"""

EXPERT = "expert: {backend: simulated, mind: expert}"
MEMORY = "memory: {kind: demonstrations, size: 4}"
OBSERVE = "- observe: {items: train}"
BUDGETS = "[0%, 20%, 40%, 60%, 80%, 100%]"

KNOWN = {
    "policy": ["never", "random", "expected_utility", "teacher_confidence", "true_utility"],
    "measure": ["accuracy", "calibration", "rectified", "broken"],
    "student_model": ["few_shot"],
    "graph": ["intervention"],
    "act": ["solve", "explain"],
    "artefact": ["item", "dialogue"],
}


def write(folder: Path, text: str, name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | str, **options: Any) -> list[Problem]:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, **options)
    return list(caught.value.problems)


def changed(old: str, new: str, text: str = GOOD) -> tuple[str, int, int]:
    """`text` with `old` replaced by `new`, in which `^` marks the expected place: (text, line, column)."""
    assert text.count(old) == 1, old
    marked = text.replace(old, new)
    before = marked[: marked.index("^")]
    return marked.replace("^", "", 1), before.count("\n") + 1, len(before) - before.rfind("\n")


# --- what can be read -----------------------------------------------------------------------------------


def test_the_design_page_scenario_loads(tmp_path: Path) -> None:
    loaded = load_scenario(write(tmp_path, GOOD), known=KNOWN)
    assert [phase.id for phase in loaded.scenario.plan] == ["observe", "teach"]
    assert loaded.scenario.plan[1].policy is not None
    assert loaded.base == tmp_path.resolve()
    assert loaded.source_text == GOOD
    assert not check_scenario(loaded, KNOWN)


def test_gallery_names_and_templates_load(tmp_path: Path) -> None:
    for name in gallery_names():
        assert load_scenario(name).scenario.name
    assert {"budget", "minimal"} <= set(template_names())
    for name in template_names():
        assert load_scenario(write(tmp_path, read_template(name))).scenario.name
    with pytest.raises(UnknownNameError, match="unknown template"):
        read_template("bugdet")


def test_anchors_merge_keys_and_yaml_1_2_words(tmp_path: Path) -> None:
    text = GOOD.replace("expert: {backend", "expert: &m {backend").replace(
        "  novice:", "  second: {<<: *m, error_rate: 0.5}\n  novice:"
    )
    loaded = load_scenario(write(tmp_path, text + "description: yes\n"))
    assert loaded.raw["models"]["second"] == {"backend": "simulated", "mind": "expert", "error_rate": 0.5}
    assert loaded.scenario.description == "yes"


def test_short_forms_equal_long_forms(tmp_path: Path) -> None:
    long = GOOD.replace(OBSERVE, "- {kind: observe, items: train}").replace(
        "policy: expected_utility}", "policy: {kind: expected_utility}}"
    ).replace("[no_teacher, irrelevant]", "[{no_teacher: {}}, {kind: irrelevant}]")  # fmt: skip
    short = GOOD.replace(OBSERVE, "- observe: train")
    digests = {load_scenario(write(tmp_path, text)).digest for text in (GOOD, long, short)}
    assert len(digests) == 1
    assert MemorySpec.model_validate("notes").kind == "notes"
    assert Phase.model_validate("rest").kind == "rest"


def test_phase_ids_are_unique(tmp_path: Path) -> None:
    plan = "plan:\n  - test\n  - {kind: test, id: test-2}\n  - test\n  - rest\nrest_of: 1\n"
    text = GOOD[: GOOD.index("plan:")] + plan.replace("rest_of: 1\n", "") + "seed: 1\n"
    assert [p.id for p in load_scenario(write(tmp_path, text)).scenario.plan] == [
        "test",
        "test-2",
        "test-3",
        "rest",
    ]


# --- what cannot ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        (b"", "the file is empty", None),
        (b"# only this\n", "the file is empty", None),
        (b"- a\n", "a scenario is a mapping", 1),
        (b"version: 1\nname: \xff\n", "this is not UTF-8 text", 2),
        (b"version: 1\nname: [a\n", "YAML syntax", 3),
        (b"version: 1\nmodels:\n\tx: 1\n", "a tab cannot indent YAML", 3),
        (b"version: 1\n---\nversion: 1\n", "a second document begins here", 2),
        (b"version: 1\nname: a: b\n", "mapping values are not allowed here", 2),
        (b"version: 1\nname: \x07\n", "character U+0007", 2),
        (b"version: 1\nname: *base\n", "undefined alias", 2),
        (b"[" * 5000, "nested deeper", 1),
        (b"x: " + b"y" * 1_000_001, "the file is larger", None),
    ],
)
def test_files_that_are_no_scenario(tmp_path: Path, content: bytes, message: str, line: int | None) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    (problem,) = problems(path)
    assert message in problem.message
    assert problem.where.file == str(path)
    assert problem.where.line == line


def test_alias_bombs_are_refused(tmp_path: Path) -> None:
    lists = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
    )
    for bomb in (lists, merges):
        (problem,) = problems(write(tmp_path, bomb))
        assert "nested deeper" in problem.message


def test_missing_files_folders_and_gallery_names(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (missing,) = problems(tmp_path / "studdy.yaml")
    assert missing.message == "there is no such file"
    assert "study.yaml" in missing.suggestion
    (folder,) = problems(tmp_path)
    assert folder.message == "this is a folder"
    assert "study.yaml" in folder.suggestion
    (unknown,) = problems("when-to-step-on")
    assert "unknown gallery scenario" in unknown.message
    assert "Did you mean `when-to-step-in`?" in unknown.suggestion


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0)
    (problem,) = problems(path)
    assert "cannot be read" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "message", "suggestion"),
    [
        # unknown keys, wrong types, wrong values: the culprit itself is marked, never only its parent
        ("measures:", "^mesures: []\nmeasures:", "unknown key `mesures`", "Did you mean `measures`?"),
        ("demonstrations: 4}", "^demonstations: 4}", "unknown key `demonstations`", "`demonstrations`"),
        ("bugs: [", "^bug: [], bugs: [", "unknown key `bug`", "`bugs`"),
        ("policy: expected", "^polcy: expected", "unknown key `polcy`", "Did you mean `policy`?"),
        ("digits: 3", "^digit: 3", "unknown key `digit`", "Did you mean `digits`?"),
        ("digits: 3", "digits: ^300", "must be 7 or less, got 300", ""),
        ("replicates: 3", "replicates: ^abc", "expected a whole number, got 'abc'", ""),
        ("replicates: 3", 'replicates: ^"3"', "expected a whole number, got '3'", "Remove the quotes."),
        ("replicates: 3", "replicates: ^true", "expected a whole number, got `true`", ""),
        ("replicates: 3", "replicates: ^0", "must be above 0, got 0", ""),
        ("replicates: 3", "replicates: ^.nan", "is no number", ""),
        ("seed: 7", "seed: ^-7", "must be 0 or more, got -7", ""),
        ("seed: 7", "seed: ^123456789012345678901", "is no number", ""),
        ("seed: 7", "seed: ^!!python/name:os.system x",
         "tag `!!python/name:os.system` is not allowed", "plain"),
        ("seed: 7", "seed: 7\n^seed: 8", "`seed` is written twice", "line 21"),
        ("seed: 7", "seed: 7\n^3: 8", "a key is a text, not `3`", "quotes"),
        ("version: 1", "version: ^2", "unknown version 2", "version: 1"),
        ("name: when", "name: ^When", "`When-to-step-in` cannot be a name", "small letters"),
        ("  novice:", "  ^my novice: {}\n  novice:", "`my novice` cannot be a name", "letters"),
        ("measures: [accuracy", "measures: ^accuracy # [", "expected a list, got 'accuracy'", "`[accuracy]`"),
        ("model: novice", "model: ^5", "expected text, got 5", "`'5'`"),
        (MEMORY, "memory: {kind: ^demos}", "unknown kind `demos`", "demonstrations"),
        (MEMORY, "memory: ^[notes]", "expected a mapping of `key: value`, got a list", ""),
        ("items: {source: subtraction, digits: 3, train: 60, test: 200}", "^items: {train: 3}",
         "`source` is missing", "Add `source:` under `items`."),
        # models
        ("mind: expert", "mind: ^expret", "unknown mind `expret`", "Did you mean `expert`?"),
        (EXPERT, "^expert: {backend: simulated}", "needs a `mind`", "`expert`"),
        (EXPERT, "^expert: {mind: expert}", "needs a `backend`", "`openai`"),
        (EXPERT, "expert: {backend: ^vlm, model: x}", "unknown backend `vlm`", "`vllm`"),
        (EXPERT, "expert: {backend: ^opnai, model: x}", "unknown backend `opnai`", "`openai`"),
        (EXPERT, "^expert: {backend: openai}", "`model` is missing", "Add `model:`"),
        (EXPERT, "expert: ^simulated", "expected a mapping", ""),
        (EXPERT, "expert: {backend: openai, model: x, api_key: ^sk-123}",
         "a key must not be written", "${env:"),
        ("mind: expert", "mind: expert, error_rate: ^1.5", "must be 1 or less, got 1.5", ""),
        # amounts
        ("interventions: 20%", "interventions: ^120%", "'120%' is more than all items", "0%"),
        ("interventions: 20%", "interventions: ^-3", "-3 is negative", ""),
        ("interventions: 20%", "interventions: ^1.5", "1.5 is neither a count nor a share", ""),
        ("interventions: 20%", "interventions: ^lots", "'lots' is neither a count nor a share", ""),
        ("interventions: 20%", "interventions: ^true", "true is no amount", ""),
        # names and roles
        ("model: novice", "model: ^novize", "no model is called `novize`", "Did you mean `novice`?"),
        ("  student:", "  ^pupil: {model: novice}\n  student:", "agent `pupil` needs a `role`", "`student`"),
        ("items: train}", "items: ^trian}", "no pool of items is called `trian`", "Did you mean `train`?"),
        ("train: 60", "train: ^0", "phase `observe` works on pool `train`, which has no items", "above 0"),
        ("train: 60", "train: ^-1", "must be 0 or more, got -1", ""),
        ("source: subtraction", "source: ^subtracton", "unknown item source `subtracton`", "`subtraction`"),
        ("[no_teacher, irrelevant]", "[^no_techer, irrelevant]",
         "unknown control `no_techer`", "`no_teacher`"),
        ("[no_teacher, irrelevant]", "[{no_teacher: {over: [^seed]}}]", "no matrix axis `seed`", ""),
        # plan
        ("- observe: {", "- ^obsrve: {", "unknown phase `obsrve`", "Did you mean `observe`?"),
        (OBSERVE, "- ^observe:\n    items: train", "stand under its kind, `observe`", "Indent `items`"),
        (OBSERVE, "- observe: {items: train, ^policy: random}", "only teach phases have a policy", ""),
        # matrix
        ("plan.teach.policy:", "^plan.teach.polcy:", "`plan.teach` has no `polcy`", "Did you mean `policy`?"),
        ("plan.teach.policy:", "^plan.teech.policy:", "`plan` has no phase `teech`", "Did you mean `teach`?"),
        ("plan.teach.policy:", "^agents.techer.model:",
         "`agents` has no `techer`", "Did you mean `teacher`?"),
        ("budget.interventions:", "^budget.intervention:",
         "`budget` has no `intervention`", "`interventions`"),
        ("plan.teach.policy:", "^replicates:", "`replicates` cannot be varied", ""),
        ("[0%, 20%,", "[0%, ^200%,", "'200%' is more than all items", ""),
        ("[random, ", "[{kind: random, ^ordr: best}, ", "unknown key `ordr`", "Did you mean `order`?"),
        (BUDGETS, "^20%", "expected a list, got '20%'", "`[20%]`"),
        (BUDGETS, "^[]", "needs at least one entry", ""),
        ("replicates:", "  exclude: [{budget.interventions: ^30%}]\nreplicates:",
         "no value `30%` to exclude", "`20%`"),
        ("replicates:", "  exclude: [{^budget.hints: 1}]\nreplicates:", "no matrix axis `budget.hints`", ""),
        ("replicates:", "  include: [{models.novice.slip: ^2}]\nreplicates:", "must be 1 or less, got 2", ""),
        ("replicates:", "  include: [{^models.novice.slp: 1}]\nreplicates:",
         "`models.novice` has no `slp`", "`slip`"),
        ("replicates:", "  seed: [1]\n  budget: [{x: 1}]\n  items.digits: [^9]\nreplicates:",
         "must be 7 or less", ""),
        ("replicates:", "^baseline: {plan.teach.policy: randm}\nreplicates:",
         "`baseline` is no point of the matrix", "random"),
        # environment
        ("mind: expert", "mind: expert}\n  far: {backend: openai, model: ^'${env:DOCENDO_TEST_UNSET}'",
         "no `DOCENDO_TEST_UNSET`", "export"),
        ("seed: 7", "measures: [a]\nseed: 7\nbaseline: ^'${HOME}'", "expected a mapping", ""),
    ],
)  # fmt: skip
def test_every_mistake_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, message: str, suggestion: str
) -> None:
    text, line, column = changed(old, new)
    path = write(tmp_path, text)
    found = [p for p in problems(path) if message in p.message]
    assert found, [str(p) for p in problems(path)]
    where = found[0].where
    assert (where.file, where.line, where.column) == (str(path), line, column)
    assert suggestion in found[0].suggestion
    shown = format_problem(found[0])
    assert shown.startswith(f"{path}:{line}:{column}: ")
    if "sk-123" in text:
        assert "sk-123" not in shown
    else:
        assert text.splitlines()[line - 1].strip()[:20] in shown
    caret = [row for row in shown.splitlines() if row.rstrip().endswith("^")]
    assert len(caret) == (0 if "sk-123" in text else 1)


def test_a_test_on_taught_items_is_refused_where_learning_lasts(tmp_path: Path) -> None:
    taught = "  - teach: {items: train}\n  - test:  {items: ^train}\n"
    text, line, column = changed("  - observe: {items: train}\n", taught)
    lasting = text.replace("size: 4}}\n", "size: 4, reset: lesson}}\n")
    assert text != lasting
    (problem,) = [p for p in problems(write(tmp_path, lasting)) if "tests on pool" in p.message]
    assert (problem.where.line, problem.where.column) == (line, column)
    assert "reset: episode" in problem.suggestion
    assert load_scenario(write(tmp_path, text.replace("plan.teach.policy", "plan.teach-2.policy")))
    before = GOOD.replace(OBSERVE, "- test: {items: test}").replace("size: 4}}", "size: 4, reset: lesson}}")
    assert load_scenario(write(tmp_path, before))


def test_a_value_of_the_matrix_can_make_the_plan_unsound(tmp_path: Path) -> None:
    text = GOOD.replace(OBSERVE, "- teach: {items: train, id: lesson}\n  - test: {items: test}").replace(
        "size: 4}}", "size: 4, reset: lesson}}"
    )  # fmt: skip
    marked, line, column = changed("replicates:", "  plan.test.items: [test, ^train]\nreplicates:", text)
    (problem,) = problems(write(tmp_path, marked))
    assert "tests on pool `train`, which `lesson` taught" in problem.message
    assert (problem.where.line, problem.where.column) == (line, column)


def test_all_mistakes_are_reported_at_once_and_in_order(tmp_path: Path) -> None:
    text = (
        GOOD.replace("mind: expert", "mind: expret")
        .replace("model: novice", "model: novize")
        .replace("size: 4", "sise: 4")
        .replace("items: train}", "items: trian}")
        .replace("20%}", "120%}")
        .replace("seed: 7", "seed: x")
        .replace("calibration", "calibraton")
    )
    found = problems(write(tmp_path, text), known=KNOWN)
    assert [p.where.line for p in found] == [5, 9, 12, 14, 15, 21]
    assert "calibraton" in found[4].message
    assert "Did you mean `calibration`?" in found[4].suggestion


def test_names_of_upper_layers_are_checked_where_they_are_known(tmp_path: Path) -> None:
    text = GOOD.replace("few_shot", "few_shots").replace("graph: intervention", "graph: intervencion")
    text = text.replace("[random,", "[rando,").replace("size: 4}}", "size: 4}, prompts: {explan: x.md}}")
    path = write(tmp_path, text)
    loaded = load_scenario(path)
    found = check_scenario(loaded, KNOWN)
    assert {p.message for p in found} == {
        "unknown student model `few_shots`",
        "unknown graph `intervencion`",
        "unknown policy `rando`",
        "unknown act `explan`",
    }
    for problem in found:
        name = problem.message.split("`")[1]
        row = text.splitlines()[(problem.where.line or 0) - 1]
        assert row[(problem.where.column or 0) - 1 :].startswith(name)
    assert problems(path, known=KNOWN)


def test_dotted_paths_of_later_checks_find_their_place(tmp_path: Path) -> None:
    loaded = load_scenario(write(tmp_path, GOOD))
    row = GOOD.splitlines().index("  - teach:   {items: test, graph: intervention, policy: expected_utility}")
    found = loaded.locate(Problem(message="m", where=Where(path="plan.teach.graph.nodes.a")))
    assert (found.where.line, found.where.column) == (
        row + 1,
        GOOD.splitlines()[row].index("intervention") + 1,
    )
    elsewhere = Problem(message="m", where=Where(path="plan.teach", file="other.yaml"))
    assert loaded.locate(elsewhere) is elsewhere


def test_amounts_are_exact() -> None:
    assert amount_of(0.2, 229) == amount_of("20%", 229) == 45
    assert amount_of("60%", 10) == amount_of(0.6, 10) == 6
    assert amount_of("29%", 100) == amount_of(0.29, 100) == 29
    assert amount_of(7, 3) == 7
    assert amount_of(1.0, 12) == amount_of("100%", 12) == 12
    for bad in (-1, 1.1, -0.1, "101%", "x", "5", float("nan"), float("inf"), True):
        with pytest.raises(UsageError, match="impossible amount"):
            amount_of(bad, 10)


@settings(max_examples=60, deadline=None)
@given(percent=st.integers(0, 100), n=st.integers(0, 1000))
def test_shares_round_down_exactly(percent: int, n: int) -> None:
    assert amount_of(f"{percent}%", n) == amount_of(percent / 100, n) == percent * n // 100


# --- extends --------------------------------------------------------------------------------------------


def test_extends_merges_mappings_replaces_lists_and_keeps_places(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "base.yaml")
    text = "extends: base.yaml\nname: child\nbudget: {hints: 3}\nmeasures: [accuracy]\n"
    text += "models:\n  novice: {backend: simulated, mind: skill}\n"
    loaded = load_scenario(write(tmp_path, text))
    assert loaded.raw["budget"] == {"interventions": "20%", "hints": 3}
    assert loaded.raw["measures"] == ["accuracy"]
    assert loaded.raw["models"]["novice"] == {"backend": "simulated", "mind": "skill"}
    assert loaded.scenario.seed == 7
    assert loaded.scenario.extends is None

    write(tmp_path, GOOD.replace("replicates: 3", "replicates: x"), "base.yaml")
    own, base = problems(write(tmp_path, text.replace("hints: 3", "hints: -3")))
    assert own.where.file is not None
    assert own.where.file.endswith("study.yaml")
    assert base.where.file is not None
    assert base.where.file.endswith("base.yaml")
    assert base.where.line == 20


def test_extends_is_one_level_deep_and_explains_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, GOOD + "extends: other.yaml\n", "base.yaml")
    (deep,) = problems(write(tmp_path, "extends: base.yaml\n"))
    assert "cannot extend a third" in deep.message
    found = problems(write(tmp_path, "name: x\nextends: bass.yaml\n"))
    gone = next(p for p in found if "bass.yaml" in p.message)
    assert (gone.where.line, gone.where.column) == (2, 10)
    assert "base.yaml" in gone.suggestion


def test_files_named_by_a_base_resolve_from_the_base(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    base = GOOD.replace("model: expert,", "model: expert, prompts: {explain: p/e.md},")
    write(tmp_path / "shared", base, "base.yaml")
    loaded = load_scenario(write(tmp_path, "extends: shared/base.yaml\n"))
    prompt = loaded.scenario.agents["teacher"].prompts["explain"]
    assert (loaded.base / prompt).resolve() == (tmp_path / "shared" / "p" / "e.md").resolve()


# --- --set and --role -----------------------------------------------------------------------------------


def test_overrides_reach_phases_by_id_and_short_forms(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("matrix:", "fail_on_error: 1\nmatrix:"))
    loaded = load_scenario(
        path,
        overrides=[
            "plan.observe.count=5", "agents.teacher.student_model.demonstrations=2", "items.digits=2",
            "agents.student.memory=notes", "matrix.budget.interventions=[20%, 3]", "models.novice.slip=0.25",
        ],
    )  # fmt: skip
    assert loaded.scenario.plan[0].count == 5
    assert loaded.scenario.agents["student"].memory.kind == "notes"
    assert loaded.scenario.items.options == {"digits": 2}
    assert loaded.scenario.matrix.axes["budget.interventions"] == ["20%", 3]
    assert loaded.raw["models"]["novice"]["slip"] == 0.25
    kept = load_scenario(path, overrides=["plan.teach.policy={kind: threshold, threshold: 0.5}"])
    assert kept.scenario.plan[1].policy is not None
    assert kept.scenario.plan[1].policy.threshold == 0.5


def test_setting_an_axis_pins_the_matrix(tmp_path: Path) -> None:
    text = GOOD + "baseline: {plan.teach.policy: random}\n"
    loaded = load_scenario(write(tmp_path, text), overrides=["plan.teach.policy=true_utility"])
    assert loaded.scenario.matrix.axes["plan.teach.policy"] == ["true_utility"]
    assert loaded.scenario.baseline is None
    kept = load_scenario(write(tmp_path, text), overrides=["plan.teach.policy=random"])
    assert kept.scenario.baseline == {"plan.teach.policy": "random"}
    for flag in ("plan.teach.policy.kind=random", "budget={interventions: 3}"):
        (problem,) = problems(write(tmp_path, text), overrides=[flag])
        assert "would undo this" in problem.message


@pytest.mark.parametrize(
    ("flag", "message", "suggestion"),
    [
        ("replicates", "expected `path=value`", "--set"),
        ("replicats=3", "a scenario has no `replicats`", "`replicates`"),
        ("plan.techa.policy=x", "`plan` has no phase `techa`", "`teach`"),
        ("budget.intervention=1", "`budget` has no `intervention`", "`interventions`"),
        ("plan.teach.graph.nodes=1", "has nothing inside", ""),
        ("replicates=abc", "expected a whole number, got 'abc'", ""),
        ("replicates=[", "YAML syntax", ""),
        ("seed=!x 3", "tag `!x` is not allowed", ""),
        ("items.digit=3", "unknown key `digit`", "`digits`"),
    ],
)
def test_bad_settings_name_the_flag(tmp_path: Path, flag: str, message: str, suggestion: str) -> None:
    found = problems(write(tmp_path, GOOD), overrides=[flag])
    assert message in found[-1].message
    assert found[-1].where.file == f"--set {flag}"
    assert suggestion in found[-1].suggestion


def test_roles_replace_models_and_drop_what_nobody_uses(tmp_path: Path) -> None:
    server = "{backend: openai, model: a, base_url: '${env:DOCENDO_TEST_UNSET}'}"
    text = GOOD.replace(EXPERT, f"expert: {server}")
    path = write(tmp_path, text)
    loaded = load_scenario(path, roles=["teacher=simulated/expert"])
    assert loaded.raw["agents"]["teacher"]["model"] == "simulated-expert"
    assert "expert" not in loaded.raw["models"]
    assert load_scenario(path, roles=["teacher=novice"]).scenario.agents["teacher"].model == "novice"
    text = text.replace("${env:DOCENDO_TEST_UNSET}", "http://h/v1")
    other = load_scenario(write(tmp_path, text), roles=["teacher=openai/Qwen/Qwen3-8B"])
    spec = {"backend": "openai", "model": "Qwen/Qwen3-8B", "base_url": "http://h/v1"}
    assert other.raw["models"]["openai-Qwen-Qwen3-8B"] == spec


@pytest.mark.parametrize(
    ("flag", "message", "suggestion"),
    [
        ("teacher", "expected `role=model`", "--role"),
        ("techer=expert", "no agent is called `techer`", "`teacher`"),
        ("teacher=exprt", "no model is called `exprt`", "`expert`"),
        ("teacher=simulated/exprt", "unknown mind `exprt`", "`expert`"),
        ("teacher=vlm/Qwen/Qwen3-8B", "unknown backend `vlm`", "`vllm`"),
    ],
)
def test_bad_roles_name_the_flag(tmp_path: Path, flag: str, message: str, suggestion: str) -> None:
    (problem,) = problems(write(tmp_path, GOOD), roles=[flag])
    assert message in problem.message
    assert problem.where.file == f"--role {flag}"
    assert suggestion in problem.suggestion


EVERY_FLAG = {
    "name": "other",
    "description": "text",
    "models": "{expert: {backend: simulated, mind: expert}, novice: {backend: simulated, mind: skill}}",
    "agents": "{teacher: {model: expert}, student: {model: novice}}",
    "items": "{source: subtraction, train: 5, test: 5}",
    "plan": "[{teach: {items: test, policy: expected_utility}}]",
    "graphs": "{g: {nodes: {a: {do: student.solve}}, edges: []}}",
    "taxonomies": "{own: {slots: {move: {nod: {says: feedback}}}}}",
    "budget": "{interventions: 20%, hints: 3}",
    "fidelity": "{items: train, sycophancy: 0.2}",
    "measures": "[accuracy]",
    "baseline": "{plan.teach.policy: random}",
    "controls": "[silent]",
    "matrix": "{seed: [1, 2]}",
    "replicates": "4",
    "seed": "8",
    "fail_on_error": "0.5",
}


@pytest.mark.parametrize("name", sorted(Scenario.model_fields.keys() - {"version", "extends"}))
def test_every_flag_changes_resolved_config(tmp_path: Path, name: str) -> None:
    value = EVERY_FLAG[name]
    path = write(tmp_path, GOOD)
    assert load_scenario(path, overrides=[f"{name}={value}"]).digest != load_scenario(path).digest


@pytest.mark.parametrize(
    ("path", "on", "off"),
    [
        ("models.expert.misleading", "true", "false"),
        ("models.server.seed", "true", "false"),
        ("models.server.logprobs", "true", "false"),
        ("models.server.schema", "true", "false"),
        ("models.server.scoring", "true", "false"),
        ("plan.teach.order", "parallel", "sequential"),
        ("agents.teacher.distort", "none", "silent"),
    ],
)
def test_switches_are_read_both_ways(tmp_path: Path, path: str, on: str, off: str) -> None:
    file = write(tmp_path, GOOD.replace("  novice:", "  server: {backend: openai, model: x}\n  novice:"))
    digests = [load_scenario(file, overrides=[f"{path}={value}"]).digest for value in (on, off)]
    assert digests[0] != digests[1]
    assert load_scenario(file).digest in digests


def test_a_path_goes_through_a_bare_name(tmp_path: Path) -> None:
    """`moves: mathdial` and `exam: pool` stand for a taxonomy and a pool, whatever is set beside them."""
    plan = "plan=[{teach: {items: test, graph: dialogue, moves: bridge, exam: train}}]"
    changes = [
        "matrix={}",
        "baseline=null",
        plan,
        "plan.teach.moves.source=random",
        "plan.teach.exam.count=2",
    ]
    loaded = load_scenario(write(tmp_path, GOOD), overrides=changes)
    (phase,) = loaded.scenario.plan
    assert phase.moves is not None
    assert (phase.moves.taxonomy, phase.moves.source) == ("bridge", "random")
    assert phase.exam is not None
    assert (phase.exam.pool, phase.exam.count) == ("train", 2)


def test_comments_and_layout_do_not_change_the_digest(tmp_path: Path) -> None:
    digest = load_scenario(write(tmp_path, GOOD)).digest
    edited = GOOD.replace("seed: 7", "seed:   7   # lucky").replace("version: 1\n", "\n\nversion: 1\n")
    edited = edited.replace("matrix:", "fail_on_error: 0.0  # the default\nmatrix:")
    assert load_scenario(write(tmp_path, edited)).digest == digest
    raw = load_scenario(write(tmp_path, GOOD)).raw
    assert load_raw(dict(reversed(list(raw.items()))), base=tmp_path).digest == digest


# --- environment, schema --------------------------------------------------------------------------------


def test_references_to_the_environment_are_kept_and_resolved_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCENDO_TEST_HOST", "secret-host")
    text = GOOD.replace(
        "  novice:",
        "  far: {backend: openai, model: x, base_url: 'http://${env:DOCENDO_TEST_HOST}/v1'}\n  novice:",
    )
    loaded = load_scenario(write(tmp_path, text))
    assert "secret-host" not in str(loaded.raw) + loaded.scenario.model_dump_json()
    assert resolve_env(loaded.raw["models"]["far"]["base_url"]) == "http://secret-host/v1"
    monkeypatch.delenv("DOCENDO_TEST_HOST")
    with pytest.raises(UsageError, match="DOCENDO_TEST_HOST"):
        resolve_env("${env:DOCENDO_TEST_HOST}")


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """A small part of JSON Schema: enough for ours."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    for key, test in (("anyOf", any), ("oneOf", lambda r: sum(r) == 1), ("allOf", all)):
        if key in schema and not test([fits(value, option, root) for option in schema[key]]):
            return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    kind = schema.get("type")
    if kind == "null" and value is not None:
        return False
    if kind in kinds and (
        not isinstance(value, kinds[kind]) or isinstance(value, bool) != (kind == "boolean")
    ):
        return False
    if isinstance(value, list):
        return all(fits(entry, schema.get("items", {}), root) for entry in value)
    return not isinstance(value, dict) or fits_object(value, schema, root)


def fits_object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    if any(key not in value for key in schema.get("required", [])) or len(value) > schema.get(
        "maxProperties", 99
    ):
        return False
    patterns = list(schema.get("patternProperties", {}).values())
    for key, entry in value.items():
        inner = known.get(key, patterns[0] if patterns else rest)
        if inner is False or (isinstance(inner, dict) and not fits(entry, inner, root)):
            return False
    return True


def plain(text: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415

    return YAML(typ="safe", pure=True).load(text)


def test_the_json_schema_accepts_what_the_loader_accepts() -> None:
    schema = json_schema()
    texts = [GOOD, *(read_template(name) for name in template_names())]
    texts.append(
        GOOD.replace(OBSERVE, "- observe: train\n  - rest").replace(
            "irrelevant]", "{silent: {over: [budget.interventions]}}]"
        )
    )
    for text in texts:
        assert fits(plain(text), schema, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mind: expert", "mind: expret"),
        ("measures:", "mesures:"),
        ("replicates: 3", "replicates: three"),
        (OBSERVE, "- obsrve: {items: train}"),
        (OBSERVE, "- observe: {itms: train}"),
        ("[no_teacher", "[5"),
        (BUDGETS, "20%"),
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    schema = json_schema()
    assert not fits(plain(GOOD.replace(old, new)), schema, schema)
