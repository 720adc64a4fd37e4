from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import ScenarioError
from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.control import CONTROLS
from docendo.scenarios.expand import Condition, expand, merge_notes
from docendo.scenarios.export import export_yaml
from docendo.scenarios.loader import LoadedScenario, load_raw, load_scenario
from docendo.scenarios.matrix import points_of

BODY: dict[str, Any] = {
    "version": 1,
    "name": "study",
    "models": {
        "expert": {"backend": "simulated", "mind": "expert"},
        "novice": {"backend": "simulated", "mind": "skill"},
    },
    "agents": {"teacher": {"model": "expert"}, "student": {"model": "novice", "memory": "notes"}},
    "items": {"source": "subtraction", "digits": 2, "train": 10, "test": 10},
    "plan": [{"teach": {"items": "train", "policy": "random"}}, {"test": "test"}],
    "budget": {"interventions": "40%", "hints": 3},
}
POLICY, BUDGET = "plan.teach.policy", "budget.interventions"


def study(**more: Any) -> LoadedScenario:
    return load_raw({**BODY, **more}, base=Path())


def conditions(**more: Any) -> list[Condition]:
    return expand(study(**more))


def test_no_matrix_is_one_condition() -> None:
    (only,) = conditions()
    assert only.coordinates == {}
    assert only.control is None
    assert only.scenario.plan[0].policy is not None


def test_the_grid_is_the_product_in_file_order_with_values_as_written() -> None:
    found = conditions(
        matrix={POLICY: ["never", {"kind": "random", "order": "worst"}], BUDGET: ["0%", 0.5, 4]}
    )
    assert [tuple(map(str, c.coordinates.values())) for c in found] == [
        (policy, budget)
        for policy in ("never", "{'kind': 'random', 'order': 'worst'}")
        for budget in ("0%", "0.5", "4")
    ]
    policies = [c.scenario.plan[0].policy for c in found]
    assert [p.kind for p in policies if p] == ["never"] * 3 + ["random"] * 3
    assert [c.scenario.budget["interventions"] for c in found] == ["0%", 0.5, 4] * 2
    assert all(c.scenario.matrix.axes == {} and c.scenario.controls == () for c in found)


def test_include_and_exclude_work_as_in_github_actions() -> None:
    grid = {
        "fruit": ["apple", "pear"],
        "animal": ["cat", "dog"],
        "include": [
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    }
    # the example of GitHub's documentation on `jobs.<job_id>.strategy.matrix.include`
    assert points_of(grid) == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert points_of({"a": [1, 2], "b": [1, 2], "exclude": [{"a": 1}, {"a": 2, "b": 1}]}) == [
        {"a": 2, "b": 2}
    ]
    assert points_of({"include": [{"a": 1}, {"b": 2}]}) == [{"a": 1}, {"b": 2}]
    assert points_of({"a": [1, True, 1.0], "exclude": [{"a": 1}]}) == [{"a": True}, {"a": 1.0}]


def test_include_reaches_places_that_are_no_axis() -> None:
    found = conditions(
        matrix={POLICY: ["never", "random"], "include": [{POLICY: "random", "models.novice.slip": 0.5}]}
    )
    assert [c.scenario.models["novice"].model_dump()["slip"] for c in found] == [0.05, 0.5]


def test_points_that_come_to_the_same_are_merged_and_said_so() -> None:
    found = conditions(matrix={POLICY: ["random", {"kind": "random"}, "never"]})
    assert [c.coordinates[POLICY] for c in found] == ["random", "never"]
    assert found[0].merged == ({POLICY: {"kind": "random"}},)
    (note,) = merge_notes(found)
    assert "plan.teach.policy=random" in note


def test_adding_cells_controls_and_replicates_renumbers_nothing() -> None:
    small = conditions(matrix={POLICY: ["random"], BUDGET: ["20%"]})
    large = conditions(
        matrix={BUDGET: ["0%", "20%"], POLICY: ["never", "random"]},
        controls=["silent"],
        replicates=9,
        name="other",
        description="more",
        measures=["accuracy", "x"],
        fail_on_error=0.5,
        baseline={POLICY: "never"},
    )
    assert small[0].id in {c.id for c in large}
    assert len({c.id for c in large}) == len(large) == 5
    assert conditions(seed=8)[0].id != conditions()[0].id


def test_a_matrix_cell_is_the_scenario_with_that_value_written_in() -> None:
    cell = conditions(matrix={BUDGET: ["80%"]})[0]
    assert cell.id == conditions(budget={"interventions": "80%", "hints": 3})[0].id


def test_controls_change_the_body_and_cross_only_what_they_name() -> None:
    found = conditions(
        matrix={POLICY: ["never", "random"], BUDGET: ["20%", "80%"]},
        controls=["no_teacher", {"irrelevant": {"over": [BUDGET]}}, {"kind": "silent"}],
    )
    controls = [c for c in found if c.control]
    assert [(c.control, c.coordinates) for c in controls] == [
        ("no_teacher", {}),
        ("irrelevant", {BUDGET: "20%"}),
        ("irrelevant", {BUDGET: "80%"}),
        ("silent", {}),
    ]
    nobody, irrelevant, *_ = controls
    assert nobody.scenario.plan[0].policy is not None
    assert nobody.scenario.plan[0].policy.kind == "never"
    assert set(nobody.scenario.budget.values()) == {0}
    assert irrelevant.scenario.agents["teacher"].distort == "irrelevant"
    assert irrelevant.scenario.agents["student"].distort == "none"
    assert irrelevant.scenario.budget == {"interventions": "20%", "hints": 3}


def test_a_control_is_never_merged_into_a_cell_of_the_grid() -> None:
    found = conditions(
        budget={"interventions": 0},
        matrix={POLICY: ["never", "random"]},
        controls=[{"no_teacher": {"over": [POLICY]}}],
    )
    assert [c.control for c in found] == [None, None, "no_teacher"]
    assert found[2].merged == ({POLICY: "random"},)


@pytest.mark.parametrize("name", CONTROLS.names())
def test_every_control_makes_a_sound_and_different_scenario(name: str) -> None:
    plain, control = conditions(controls=[name])
    assert control.id != plain.id
    assert CONTROLS.get(name).description
    assert expand(load_raw(control.raw, base=Path()))[0].scenario == control.scenario


def test_controls_find_teachers_by_role() -> None:
    agents = {"coach": {"model": "expert", "role": "teacher"}, "student": {"model": "novice"}}
    _, control = conditions(agents=agents, controls=["wrong_teacher"])
    assert control.scenario.agents["coach"].distort == "wrong"
    with pytest.raises(ScenarioError, match="needs a teacher"):
        study(agents={"student": {"model": "novice"}}, controls=["silent"])


def test_a_combination_that_is_wrong_names_its_condition() -> None:
    plan = [{"teach": {"items": "train"}}, {"test": "test"}]
    loaded = study(
        plan=plan,
        matrix={"plan.test.items": ["test", "train"], "agents.student.memory.reset": ["episode", "lesson"]},
    )
    with pytest.raises(ScenarioError) as caught:
        expand(loaded)
    (problem,) = caught.value.problems
    assert "in the condition plan.test.items=train, agents.student.memory.reset=lesson: " in problem.message


def test_grids_that_cannot_be_run_are_refused() -> None:
    with pytest.raises(ScenarioError, match="has 1000000 points"):
        study(matrix={POLICY: ["never"] * 100, BUDGET: list(range(100)), "seed": list(range(100))})
    with pytest.raises(ScenarioError, match="leaves no point"):
        study(matrix={POLICY: ["never"], "exclude": [{POLICY: "never"}]})
    with pytest.raises(ScenarioError, match="undoes"):
        study(matrix={f"{POLICY}.order": ["best"], POLICY: ["never"]})


def test_a_whole_part_can_be_an_axis() -> None:
    models = [{"backend": "simulated", "mind": "expert"}, {"backend": "openai", "model": "x"}]
    assert [c.scenario.models["expert"].backend for c in conditions(matrix={"models.expert": models})] == [
        "simulated",
        "openai",
    ]
    plans = [[{"test": "test"}], [{"teach": "train"}, "rest"]]
    assert [[p.kind for p in c.scenario.plan] for c in conditions(matrix={"plan": plans})] == [
        ["test"],
        ["teach", "rest"],
    ]


# --- export ---------------------------------------------------------------------------------------------


def exported(tmp_path: Path, scenario: LoadedScenario | dict[str, Any]) -> LoadedScenario:
    path = tmp_path / "exported.yaml"
    path.write_text(export_yaml(scenario), encoding="utf-8")
    return load_scenario(path)


def test_what_is_exported_loads_again_with_the_same_digest_and_conditions(tmp_path: Path) -> None:
    for name in gallery_names():
        loaded = load_scenario(name)
        again = exported(tmp_path, loaded)
        assert again.digest == loaded.digest
        assert [(c.id, c.coordinates) for c in expand(again)] == [
            (c.id, c.coordinates) for c in expand(loaded)
        ]


def test_one_condition_can_be_exported_and_is_itself_again(tmp_path: Path) -> None:
    for condition in conditions(matrix={BUDGET: ["0%", 0.5]}):
        assert expand(exported(tmp_path, condition.raw))[0].id == condition.id


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    [
        "yes",
        "20%",
        "1e3",
        "0o7",
        "~",
        "null",
        "2024-01-01",
        "- a",
        "# x",
        "<<",
        "=",
        "12:30",
        "a\nb\n",
        " x ",
        "\x85",
        "\u2028",
    ]
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(params=st.dictionaries(TEXTS, PLAIN, max_size=3), description=TEXTS)
def test_any_plain_value_survives_the_export(
    tmp_path_factory: pytest.TempPathFactory, params: dict[str, Any], description: str
) -> None:
    if "${" in str(params):
        return
    plan = [{"teach": {"items": "train", "params": params}}]
    loaded = study(plan=plan, description=description)
    again = exported(tmp_path_factory.getbasetemp(), loaded)
    assert again.digest == loaded.digest
    assert again.scenario.plan[0].params == params
