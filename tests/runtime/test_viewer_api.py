"""Every document of the API, over HTTP, on a study that was run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from docendo.events import digest_events, event_adapter
from docendo.runtime.report.build import build_report
from docendo.runtime.report.model import Report
from docendo.runtime.store import open_store
from tests.runtime.viewer_server import Server, run_into, served


def move_numbers(url: str) -> None:
    """Give episodes numbers as in a large store, whose events have numbers beyond 2**31."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE event SET id = id + 104857600000")
        connection.exec_driver_sql("UPDATE episode SET id = id + 100000")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("UPDATE words SET event = event + 104857600000")
        else:
            connection.exec_driver_sql("INSERT INTO words (words) VALUES ('rebuild')")
    engine.dispose()


@pytest.fixture(scope="module")
def server(shared_store_url: str) -> Iterator[Server]:
    run_into(shared_store_url)
    move_numbers(shared_store_url)
    with served(shared_store_url) as found:
        yield found


@pytest.fixture(scope="module")
def run(server: Server) -> str:
    (found,) = server.get("store")["runs"]
    identity: str = found["id"]
    return identity


@pytest.fixture(scope="module")
def teaching(server: Server, run: str) -> dict[str, Any]:
    """The row of an episode with a dialogue in it."""
    found = server.get(f"runs/{run}/episodes", where="phase == 'teach' and len(moves) > 1 and not control")
    row: dict[str, Any] = found["episodes"][0]
    return row


def place(run: str, row: dict[str, Any]) -> str:
    return f"runs/{run}/lessons/{row['condition']}/{row['replicate']}/episodes/{row['ordinal']}"


def test_a_store_lists_its_runs(server: Server, run: str) -> None:
    page = server.get("store")
    assert (page["state"], page["problem"], page["exported"]) == ("ready", None, False)
    (row,) = page["runs"]
    lessons = server.store.lessons(run)
    assert row["episodes"] == sum(lesson.n_episodes for lesson in lessons)
    assert (row["lessons"], row["lessons_finished"], row["status"]) == (
        len(lessons),
        len(lessons),
        "finished",
    )


def test_a_run_says_what_was_planned(server: Server, run: str) -> None:
    page = server.get(f"runs/{run}")
    assert [p["id"] for p in page["phases"]][:3] == ["pretest", "teach", "posttest"]
    assert [p["index"] for p in page["phases"]] == list(range(len(page["phases"])))
    assert page["phases"][1]["graph"] == "tutoring"
    (axis,) = page["axes"]
    assert (axis["name"], axis["values"]) == ("source", ["random", "fixed"])
    assert {a["name"]: a["role"] for a in page["agents"]}["critic"] == "critic"
    assert page["scenario_yaml"].startswith("#") or "name: tutoring-dialogue" in page["scenario_yaml"]
    assert page["replicates"] == [0, 1]
    controls = {c["control"]: c["baseline"] for c in page["conditions"]}
    first = page["conditions"][0]["id"]
    assert controls["no_teacher"] == first
    assert page["conditions"][0]["baseline"] is None


@pytest.mark.parametrize("reference", ["latest", "tutoring-dialogue", "tutoring-d"])
def test_a_run_is_found_as_the_command_line_finds_it(server: Server, run: str, reference: str) -> None:
    assert server.get(f"runs/{reference}")["run"]["id"] == run


def test_the_report_is_that_of_the_command_line(server: Server, run: str) -> None:
    page = server.get(f"runs/{run}/report")
    assert Report.model_validate(page["report"]) == build_report(server.store, run)
    for measure, conditions in page["replicates"].items():
        for condition in page["report"]["conditions"]:
            means = [m for m in conditions[condition["id"]] if m is not None]
            if len(means) == 2 and (mean := condition["measures"][measure]["mean"]) is not None:
                assert min(means) - 1e-6 <= mean <= max(means) + 1e-6


def test_learning_is_shown_test_by_test(server: Server, run: str) -> None:
    curves = server.get(f"runs/{run}/learning")["curves"]
    assert len(curves) == 3
    for curve in curves:
        assert [p["phase"] for p in curve["points"]] == ["pretest", "posttest", "near", "far", "retention"]
        assert all(p["low"] <= p["mean"] <= p["high"] for p in curve["points"])
        assert curve["points"][0]["n"] == 4, "two items and two replicates"


def test_calibration_adds_up(server: Server, run: str) -> None:
    page = server.get(f"runs/{run}/calibration")
    assert page["scored"] == sum(curve["n"] for curve in page["curves"]) > 0
    for curve in page["curves"]:
        assert sum(b["n"] for b in curve["bins"]) == curve["n"]
        assert all(b["low"] <= b["observed"] <= b["high"] for b in curve["bins"])
        ece = sum(b["n"] * abs(b["observed"] - b["p"]) for b in curve["bins"]) / curve["n"]
        assert curve["ece"] == pytest.approx(ece, abs=1e-4)


def test_lessons_come_page_by_page(server: Server, run: str) -> None:
    whole = server.get(f"runs/{run}/lessons")["lessons"]
    first = server.get(f"runs/{run}/lessons", limit=3)
    rest = server.get(f"runs/{run}/lessons", limit=1000, after=first["next"])
    assert first["lessons"] + rest["lessons"] == whole
    assert rest["next"] is None
    condition = whole[0]["condition"]
    some = server.get(f"runs/{run}/lessons", condition=condition)["lessons"]
    assert {lesson["condition"] for lesson in some} == {condition}


def test_a_lesson_shows_its_plan_and_what_came_of_it(server: Server, run: str) -> None:
    lesson = server.get(f"runs/{run}/lessons")["lessons"][0]
    path = f"runs/{run}/lessons/{lesson['condition']}/{lesson['replicate']}"
    page = server.get(path)
    episodes = server.get(f"{path}/episodes", limit=1000)["episodes"]
    assert sum(p["episodes"] for p in page["phases"]) == len(episodes) == page["lesson"]["episodes"]
    for phase in page["phases"]:
        rows = [row for row in episodes if row["phase"] == phase["phase"]]
        assert phase["right"] == sum(row["right"] is True for row in rows)
        assert phase["right"] <= phase["graded"] <= phase["episodes"]
    assert page["previous"] is None
    following = server.get(f"runs/{run}/lessons/{page['next'][0]}/{page['next'][1]}")
    assert following["previous"] == [lesson["condition"], lesson["replicate"]]


def test_episodes_of_a_lesson_come_page_by_page(server: Server, run: str) -> None:
    lesson = server.get(f"runs/{run}/lessons")["lessons"][0]
    path = f"runs/{run}/lessons/{lesson['condition']}/{lesson['replicate']}/episodes"
    whole = server.get(path, limit=1000)
    found, after = [], ""
    while after is not None:
        page = server.get(path, limit=4, after=after)
        found += page["episodes"]
        after = page["next"]
    assert found == whole["episodes"]
    assert [row["ordinal"] for row in found] == sorted(row["ordinal"] for row in found)
    some = server.get(path, phase="teach")["episodes"]
    assert {row["phase"] for row in some} == {"teach"}


def test_an_episode_holds_every_event_in_order(server: Server, run: str, teaching: dict[str, Any]) -> None:
    page = server.get(place(run, teaching))
    events = [event_adapter.validate_python(event) for event in page["events"]]
    assert [e.position for e in events] == sorted(e.position for e in events)
    assert digest_events(events) == page["digest"]
    assert page["row"] == teaching
    assert page["item"]["question"].startswith("What is")


def test_the_ledger_counts_down(server: Server, run: str, teaching: dict[str, Any]) -> None:
    page = server.get(place(run, teaching))
    spent: dict[str, int] = {}
    for entry in page["ledger"]:
        spent[entry["unit"]] = spent.get(entry["unit"], 0) + entry["amount"]
        assert entry["spent"] == spent[entry["unit"]]
        assert page["events"][entry["event"]]["kind"] == "spend"
        if entry["remaining"] is not None:
            assert page["limits"][entry["unit"]] - entry["spent"] == entry["remaining"]
    assert spent == page["row"]["spent"]
    assert set(page["limits"]) == {"turns", "hints", "questions", "tells", "vetoes"}


def test_beliefs_stand_beside_what_happened(server: Server, run: str, teaching: dict[str, Any]) -> None:
    page = server.get(place(run, teaching))
    scored = [b for b in page["beliefs"] if b["brier"] is not None]
    assert scored
    for belief in scored:
        grade = page["events"][belief["graded"]]
        assert (grade["kind"], grade["correct"], grade["answer"]) == (
            "grade",
            belief["outcome"],
            belief["answer"],
        )
        assert belief["brier"] == pytest.approx((belief["p_correct"] - belief["outcome"]) ** 2)
    so_far = [b["brier"] for b in scored]
    assert scored[-1]["brier_so_far"] == pytest.approx(sum(so_far) / len(so_far)) == page["row"]["brier"]
    diagnoses = [b for b in page["beliefs"] if b["diagnosis_right"] is not None]
    assert diagnoses
    assert all(0 <= b["truth_brier"] <= 1 for b in diagnoses)
    if page["diagnosed_at"] is not None:
        assert all(b["diagnosis_right"] for b in diagnoses if b["turn"] >= page["diagnosed_at"])


def test_every_act_belongs_to_a_node_that_does_it(server: Server, run: str, teaching: dict[str, Any]) -> None:
    page = server.get(place(run, teaching))
    graphs = server.get(f"runs/{run}/lessons/{teaching['condition']}/{teaching['replicate']}/graphs")
    (graph,) = [g for g in graphs["phases"] if g["phase"] == "teach"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    edges = {(edge["source"], edge["target"]) for edge in graph["edges"]}
    acts = {
        (e["turn"], e["branch"]): (e["agent"], e["act"]) for e in page["events"] if e["kind"] == "message"
    }
    visited = ["start"]
    for visit in page["nodes"]:
        node = nodes[visit["node"]]
        if (said := acts.get((visit["turn"], visit["branch"]))) is not None:
            assert said == (node["agent"], node["act"])
        assert (visited[-1], visit["node"]) in edges
        visited.append(visit["node"])
    paid = {(e["turn"], e["unit"]) for e in page["ledger"]}
    for visit in page["nodes"]:
        assert {(visit["turn"], unit) for unit in nodes[visit["node"]]["spends"]} <= paid


def test_nodes_are_counted_over_the_lesson(server: Server, run: str, teaching: dict[str, Any]) -> None:
    path = f"runs/{run}/lessons/{teaching['condition']}/{teaching['replicate']}"
    rows = server.get(f"{path}/episodes", limit=1000, phase="teach")["episodes"]
    (graph,) = [g for g in server.get(f"{path}/graphs")["phases"] if g["phase"] == "teach"]
    assert graph["episodes"] == len(rows)
    acts = sum(len({(t["turn"], t["branch"]) for t in row["turns"]}) for row in rows)
    assert sum(node["count"] for node in graph["nodes"]) == acts
    assert sum(node["calls"] for node in graph["nodes"]) == sum(row["calls"] for row in rows)
    arrivals = {node["id"]: 0 for node in graph["nodes"]}
    for edge in graph["edges"]:
        if edge["target"] in arrivals:
            arrivals[edge["target"]] += edge["taken"]
    assert arrivals == {node["id"]: node["count"] for node in graph["nodes"]}
    assert graph["mermaid"].startswith("flowchart")


def test_what_an_agent_saw_is_the_recorded_prompt(server: Server, run: str, teaching: dict[str, Any]) -> None:
    page = server.get(place(run, teaching))
    calls = server.get(f"{place(run, teaching)}/calls")
    assert [call["event"] for call in calls["calls"]] == [
        index for index, event in enumerate(page["events"]) if event["kind"] == "call"
    ]
    recorded = server.store.calls([call["key"] for call in calls["calls"]])
    for call in calls["calls"]:
        record = recorded[call["key"]]
        shown = [[tuple(span) for span in calls["texts"][address]["spans"]] for address in call["prompt"]]
        assert shown == [[tuple(span) for span in message.spans] for message in record.prompt]
        assert call["request"] == record.request
        assert call["completions"][0]["text"] == record.result.reply["completions"][0]["text"]
        assert page["calls"][call["key"]]["usage"] == call["usage"]
        message = page["events"][call["said"]]
        assert (message["agent"], message["act"]) == (call["agent"], call["act"])
        assert call["parsed"] == message["message"]["payload"]
        assert call["curl"] is None, "no server was asked"
    used = {address for call in calls["calls"] for address in call["prompt"]}
    assert used == set(calls["texts"])
    assert len(used) < sum(len(call["prompt"]) for call in calls["calls"]), "equal messages stand once"


def test_a_call_says_which_conditions_share_it(server: Server, run: str) -> None:
    first = server.get(f"runs/{run}/episodes", where="phase == 'pretest' and not control")["episodes"][0]
    (call,) = server.get(f"{place(run, first)}/calls")["calls"]
    partners = server.get(place(run, first))["partners"]
    assert {p["condition"] for p in partners} == set(call["shared"]), "before teaching all ask the same"
    for partner in partners:
        assert server.get(place(run, partner))["row"]["key"] == first["key"]


def test_neighbours_lead_through_the_lesson(server: Server, run: str, teaching: dict[str, Any]) -> None:
    path = f"runs/{run}/lessons/{teaching['condition']}/{teaching['replicate']}/episodes"
    ordinals = [row["ordinal"] for row in server.get(path, limit=1000)["episodes"]]
    at: int | None = ordinals[0]
    walked = []
    while at is not None:
        walked.append(at)
        page = server.get(f"{path}/{at}")
        assert page["previous"] == (walked[-2] if len(walked) > 1 else None)
        at = page["next"]
    assert walked == ordinals


# --- filters --------------------------------------------------------------------------------------------


def test_a_filter_finds_what_it_says(server: Server, run: str) -> None:
    rows = all_rows(server, run)
    found = all_rows(server, run, where="right and not first")
    assert found == [row for row in rows if row["right"] and not row["first"]]
    moved = all_rows(server, run, where="any(t.move == 'telling' for t in turns)")
    assert moved == [row for row in rows if "telling" in row["moves"]] != []
    spoken = all_rows(server, run, where="any('borrow' in t.text for t in turns if t.agent == 'teacher')")
    assert {row["phase"] for row in spoken} == {"teach"}
    outcome = all_rows(server, run, outcome="budget")
    assert outcome == [row for row in rows if row["outcome"] == "budget"] != []


def all_rows(server: Server, run: str, **query: Any) -> list[dict[str, Any]]:
    """All pages of a filtered list."""
    rows: list[dict[str, Any]] = []
    after, scanned, total = "", 0, 0
    while after is not None:
        page = server.get(f"runs/{run}/episodes", after=after, limit=7, **query)
        rows += page["episodes"]
        scanned, total, after = scanned + page["scanned"], page["total"], page["next"]
    assert scanned == total or "outcome" in query
    return rows


def test_a_wrong_filter_says_where_and_what_was_meant(server: Server, run: str) -> None:
    fault = server.fault(f"runs/{run}/episodes", 400, where="gain < 0 and leek")
    assert (fault["code"], fault["column"]) == ("expression", 14)
    assert fault["suggestion"] == "Did you mean `leak`?"


def test_every_name_of_the_vocabulary_works(server: Server, run: str) -> None:
    page = server.get("filters")
    for name in page["names"]:
        text = {
            "episode": f"{name['name']} is None",
            "turn": f"any(t.{name['name']} is None for t in turns)",
            "function": f"{name['name']}(turns) == 0" if name["name"] in ("len", "any", "all") else "leak",
        }[name["of"]]
        server.get(f"runs/{run}/episodes", where=text, limit=1)
    for example in page["examples"]:
        server.get(f"runs/{run}/episodes", where=example, limit=1)


# --- side by side ---------------------------------------------------------------------------------------


def test_two_episodes_are_aligned_word_by_word(server: Server, run: str, teaching: dict[str, Any]) -> None:
    one = server.get(place(run, teaching))
    other = next(p for p in one["partners"] if not p["control"])
    sides = [f"{p['condition']}/{p['replicate']}/{p['ordinal']}" for p in (teaching, other)]
    found = server.get(f"runs/{run}/compare/episodes", first=sides[0], second=sides[1])
    texts = [
        {
            i: e["message"]["text"]
            for i, e in enumerate(server.get(place(run, p))["events"])
            if e["kind"] == "message"
        }
        for p in (teaching, other)
    ]
    assert [row["first"] for row in found["rows"] if row["first"] is not None] == list(texts[0])
    assert [row["second"] for row in found["rows"] if row["second"] is not None] == list(texts[1])
    for row in found["rows"]:
        if row["first"] is not None and row["second"] is not None:
            words = row["words"]
            assert "".join(w for kind, w in words if kind != "new") == texts[0][row["first"]]
            assert "".join(w for kind, w in words if kind != "gone") == texts[1][row["second"]]
            assert row["same"] == (texts[0][row["first"]] == texts[1][row["second"]])
    assert found["diverge"] == next(i for i, row in enumerate(found["rows"]) if not row["same"])
    itself = server.get(f"runs/{run}/compare/episodes", first=sides[0], second=sides[0])
    assert itself["diverge"] is None


def test_two_conditions_are_compared_item_by_item(server: Server, run: str) -> None:
    first, second = [c["id"] for c in server.get(f"runs/{run}")["conditions"] if not c["control"]]
    found = server.get(f"runs/{run}/compare/conditions", first=first, second=second)
    assert found["comparison"]["first"]["condition"] == first
    for measure, pairs in found["items"].items():
        if pairs:
            n = sum(p["n"] for p in pairs)
            mean = sum(p["n"] * (p["first"] - p["second"]) for p in pairs) / n
            difference = found["comparison"]["measures"][measure]["difference"]
            if difference["n_pairs"] == n:
                assert mean == pytest.approx(difference["mean"], abs=1e-5)
    fault = server.fault(f"runs/{run}/compare/conditions", 400, first=first, second=first)
    assert "both sides" in fault["message"]


# --- what is not there ----------------------------------------------------------------------------------


def test_what_is_not_there_is_said(server: Server, run: str) -> None:
    condition = server.get(f"runs/{run}")["conditions"][0]["id"]
    assert "tutoring-dialogue" in server.fault("runs/tutoring-dialog-x", 404)["suggestion"]
    server.fault(f"runs/{run}/lessons/nowhere/0", 404)
    server.fault(f"runs/{run}/lessons/{condition}/99", 404)
    assert "no episode 999" in server.fault(f"runs/{run}/lessons/{condition}/0/episodes/999", 404)["message"]
    server.fault(f"runs/{run}/lessons", 404, condition="nowhere")
    server.fault(f"runs/{run}/lessons", 400, after="nowhere/0")
    server.fault(f"runs/{run}/episodes", 400, after="x")
    server.fault(f"runs/{run}/compare/episodes", 400, first="x", second="y")
    assert "limit" in server.fault(f"runs/{run}/lessons", 422, limit=0)["message"]
    assert server.ask("/api/nothing").json["error"]["code"] == "unknown_name"


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    open_store(url).close()
    with served(url) as server:
        page = server.get("store")
    assert page["state"] == "empty"
    assert "docendo run" in page["problem"]["suggestion"]


def test_a_store_that_breaks_while_it_is_shown_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite:///{path}"
    run = run_into(url)
    with served(url) as server:
        damaged = bytearray(path.read_bytes())
        damaged[4096:] = b"\xff" * (len(damaged) - 4096)
        path.write_bytes(bytes(damaged))
        page = server.get("store")
        assert page["state"] == "unusable"
        assert "sqlite3 FILE .recover" in page["problem"]["suggestion"]
        assert server.fault(f"runs/{run}", 503)["code"] == "store"


def test_the_api_describes_itself(server: Server) -> None:
    described = server.get("openapi.json")
    assert {p.removeprefix("/api/").split("/")[0] for p in described["paths"]} == {
        "store", "runs", "search", "filters",
    }  # fmt: skip
    for operations in described["paths"].values():
        assert set(operations) == {"get"}
        assert "$ref" in operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]


def test_words_lead_to_the_message(server: Server, run: str) -> None:
    page = server.get("search", q="borrow", run=run, limit=5)
    assert page["total"] > 5
    for hit in page["hits"]:
        found = server.get(place(run, hit))["events"][hit["event"]]
        assert "borrow" in found["message"]["text"].lower()
        assert (found["agent"], found["turn"]) == (hit["agent"], hit["turn"])
    beyond = server.get("search", q="borrow", run=run, limit=5, after=page["next"])
    assert beyond["hits"][0] not in page["hits"]
