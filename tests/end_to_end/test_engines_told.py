"""What is told of models beforehand and afterwards: probes, self-tests, engine records, fresh answers."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from docendo.runtime.store import open_store
from docendo.runtime.store.records import EngineRecord
from tests.end_to_end.model_server import model_server, plain, served
from tests.end_to_end.test_models_and_doctor import local, weights
from tests.runtime.http_server import Received, chat_body
from tests.runtime.http_server import answer as answered
from tests.trust.lab import docendo, small, subtractions, write

# --- dry runs -------------------------------------------------------------------------------------------


def test_a_dry_run_of_simulated_models_says_the_plan_alone(tmp_path: Path) -> None:
    scenario, url = write(tmp_path, small()), f"sqlite:///{tmp_path / 's.db'}"
    said = docendo("run", scenario, "--dry-run", "--store", url, "--json")
    assert said.code == 0
    (plan,) = said.data
    assert plan["episodes"] == [
        "observe: 4 items x 1 students x 1 rounds",
        "teach: 8 items x 1 students x 1 rounds",
    ]
    assert "estimate" not in plan
    assert not (tmp_path / "s.db").exists()


def test_a_probe_of_all_items_is_the_run_itself(tmp_path: Path) -> None:
    """With nothing left to scale, the estimate is what the run then asks, to the call and the token."""
    raw = small(matrix={"plan.teach.policy": ["random", "expected_utility"]}, controls=["irrelevant"])
    scenario, url = write(tmp_path, raw), f"sqlite:///{tmp_path / 's.db'}"
    said = docendo("run", scenario, "--dry-run", "--probe", 100, "--store", url, "--json")
    (plan,) = said.data
    asked = docendo("run", scenario, "--store", url, "--processes", 1, "--json").data["asked"]
    for name, estimate in plan["estimate"]["models"].items():
        for key, figure in (("sent", "calls"), ("prompt_tokens",) * 2, ("completion_tokens",) * 2):
            assert estimate[figure] == {
                "mean": asked[name][key],
                "low": asked[name][key],
                "high": asked[name][key],
            }


def test_few_items_scale_to_what_a_run_costs(tmp_path: Path) -> None:
    raw = small(replicates=3, items={"source": "subtraction", "digits": 3, "train": 6, "test": 30})
    scenario, url = write(tmp_path, raw), f"sqlite:///{tmp_path / 's.db'}"
    said = docendo("run", scenario, "--dry-run", "--probe", 6, "--store", url, "--json")
    (plan,) = said.data
    asked = docendo("run", scenario, "--store", url, "--processes", 1, "--json").data["asked"]
    for name, estimate in plan["estimate"]["models"].items():
        calls = estimate["calls"]
        assert calls["low"] <= calls["mean"] <= calls["high"]
        assert calls["mean"] == pytest.approx(asked[name]["sent"], rel=0.15)
        assert estimate["completion_tokens"]["mean"] == pytest.approx(
            asked[name]["completion_tokens"], rel=0.25
        )
        seconds = estimate["seconds"]
        assert 0 <= seconds["low"] <= seconds["mean"] <= seconds["high"]


def test_models_that_are_not_simulated_are_probed_and_nothing_is_recorded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with model_server() as server:
        scenario = write(tmp_path, served(server.url))
        said = docendo("run", scenario, "--dry-run", "--store", url)
        counts = docendo("run", scenario, "--dry-run", "--probe", 2, "--json").data[0]["estimate"]
        before = server.asked
        assert docendo("run", scenario, "--dry-run", "--probe", 0, "--json").code == 0
        assert server.asked == before
    assert said.code == 0
    assert "It rests on" in said.out
    assert counts["probe"]["failed"] == 0
    assert set(counts["models"]) == {"expert", "novice"}
    assert not (tmp_path / "s.db").exists()
    gone = docendo("run", scenario, "--set", "models.novice.patience=0", "--dry-run", "--json")
    assert (gone.code, gone.error["code"]) == (3, "model")


def test_a_probe_without_a_dry_run_is_refused(tmp_path: Path) -> None:
    said = docendo("run", write(tmp_path, small()), "--probe", 3, "--json")
    assert (said.code, said.error["code"]) == (1, "usage")
    assert docendo("run", write(tmp_path, small()), "--probe", -1, "--json").code == 1


# --- self-tests and engine records ------------------------------------------------------------------------


def wavering(request: Received) -> Any:
    """A server that answers every further question about the sky differently."""
    wavering.asked += 1  # type: ignore[attr-defined]
    if "sky" in request.body["messages"][-1]["content"]:
        return [f"Answer {wavering.asked}."]  # type: ignore[attr-defined]
    return plain(request)


def test_a_self_test_counts_what_is_answered_differently(tmp_path: Path) -> None:
    wavering.asked = 0  # type: ignore[attr-defined]
    url = f"sqlite:///{tmp_path / 's.db'}"
    with model_server(wavering) as server:
        raw = served(server.url, items=subtractions(tmp_path, 2, train=4))
        scenario = write(tmp_path, raw)
        assert docendo("run", scenario, "--self-test", 5, "--store", url, "-q").code in (0, 2)
        assert docendo("run", scenario, "--self-test", 5, "--store", url, "-q").code in (0, 2)
    with open_store(url, readonly=True) as store:
        records = store.engines(store.run("latest").id)
    assert {r.model for r in records} == {"expert", "novice"}
    assert len(records) == 2  # the finished run was not started again
    for record in records:
        assert record.fingerprint
        assert record.self_test is not None
        for way in ("greedy", "seeded"):  # of four questions one differs, and its commonest answer counts
            assert record.self_test[way] == {"answers": 20, "differ": 4, "rate": 0.2, "failed": 0}
    assert "greedy 4 of 20" in docendo("ls", "latest", "--store", url).out
    assert "greedy 4 of 20" in docendo("report", "--store", url).out
    listed = docendo("ls", "--store", url, "--json").data
    assert len(listed[0]["engines"]) == 2
    assert "greedy 4 of 20" in docendo("show", "latest/as written/0", "--store", url).err
    assert docendo("replay", "--store", url).code == 0  # the self-test is in no journal


def test_engines_of_different_versions_are_warned_of(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    with open_store(url, create=False) as store:
        run = store.run("latest").id
        assert store.engines(run) == []  # minds have no engine
        record = EngineRecord(
            run=run, model="expert", fingerprint="f", about={"engine": "vllm", "vllm": "0.31.0", "steps": 1}
        )
        store.put_engine(record)
        store.put_engine(replace(record, about={**record.about, "steps": 2}))
    assert docendo("report", "--store", url, "--json").data["run"]["engines"] == [
        "expert: vllm 0.31.0; 2 starts"
    ]
    assert not any("engines" in w for w in docendo("report", "--store", url, "--json").envelope["warnings"])
    with open_store(url, create=False) as store:
        store.put_engine(replace(record, about={"engine": "vllm", "vllm": "0.32.0"}))
    for command in (("report",), ("ls", "latest")):
        warnings = docendo(*command, "--store", url, "--json").envelope["warnings"]
        assert any("vllm 0.31.0; vllm 0.32.0" in w and "`expert`" in w for w in warnings), warnings


def test_a_server_that_says_nothing_of_its_cache_is_shown_without_a_share(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with model_server() as server:
        scenario = write(tmp_path, served(server.url, items=subtractions(tmp_path, 3, train=4)))
        plan = docendo("run", scenario, "--dry-run", "--probe", 2)
        counts = docendo("run", scenario, "--dry-run", "--probe", 2, "--json").data[0]["estimate"]["models"]
        told = docendo("run", scenario, "--store", url)
        asked = docendo("run", scenario, "--set", "seed=9", "--store", url, "--json").data["asked"]
    assert plan.out.count("not told") == len(counts) == 2
    assert all(model["cached"] is None for model in counts.values())
    assert told.err.count("how many of them were cached is not told") == 2
    assert "%" not in told.err
    assert all(model["sent"] and "cached_tokens" not in model for model in asked.values())


def known(request: Received) -> Any:
    """Says of every prompt that 7 of its 20 tokens were known."""
    body = chat_body(*plain(request))
    body["usage"] = {
        "prompt_tokens": 20, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 7},
    }  # fmt: skip
    return answered(body)


def test_a_prefix_cache_is_counted_per_model_and_lesson(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with model_server(known) as server:
        raw = served(server.url, items=subtractions(tmp_path, 3, train=4), replicates=2)
        scenario = write(tmp_path, raw)
        said = docendo("run", scenario, "--store", url, "--json")
    models = said.data["asked"]
    assert models["novice"]["sent"] > 0
    for counts in models.values():
        assert counts["cached_tokens"] == 7 * counts["sent"]
        assert counts["prompt_tokens"] == 20 * counts["sent"]
    with open_store(url, readonly=True) as store:
        lessons = store.lessons(store.run("latest").id)
    assert all(lesson.usage.cached_tokens > 0 for lesson in lessons)
    for kind in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        assert sum(getattr(r.usage, kind) for r in lessons) == sum(m[kind] for m in models.values())
    again = docendo("run", scenario, "--store", url, "--json")
    assert again.data["asked"] == {}


def test_the_share_of_known_tokens_is_said_at_the_end(tmp_path: Path) -> None:
    with model_server(known) as server:
        raw = served(server.url, items=subtractions(tmp_path, 2, train=4))
        said = docendo("run", write(tmp_path, raw), "--store", f"sqlite:///{tmp_path / 's.db'}")
    assert "35% of them found in the prefix cache" in said.err


# --- fingerprints -----------------------------------------------------------------------------------------


def test_a_run_is_not_continued_with_another_model(tmp_path: Path) -> None:
    """Weights lie in a folder, and another file in it is another model."""
    folder = weights(tmp_path / "weights")
    raw = local(folder, plan=[{"test": {"items": "test", "count": 2}}], budget={})
    raw["models"]["expert"]["chat_template"] = "plain"
    raw["agents"]["teacher"].pop("student_model")  # so that nobody asks it, and nothing is loaded
    scenario, url = write(tmp_path, raw), f"sqlite:///{tmp_path / 's.db'}"
    first = docendo("run", scenario, "--store", url, "--json")
    assert first.code == 0, first.out
    assert docendo("run", scenario, "--store", url, "--json").code == 0
    (folder / "model.safetensors").write_bytes(b"1" * 2**20)
    changed = docendo("run", scenario, "--store", url, "--json")
    assert (changed.code, changed.error["code"]) == (1, "usage")
    assert "`expert`" in changed.error["message"]
    assert changed.error["where"]["path"] == "models.expert"


def test_a_replay_needs_no_weights(tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights")
    raw = local(folder, plan=[{"test": {"items": "test", "count": 2}}], budget={})
    raw["models"]["expert"]["chat_template"] = "plain"
    raw["agents"]["teacher"].pop("student_model")
    scenario, url = write(tmp_path, raw), f"sqlite:///{tmp_path / 's.db'}"
    assert docendo("run", scenario, "--store", url, "-q").code == 0
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    said = docendo("replay", "--store", url, "--json")
    assert said.data["exact"] is True
    assert said.data["calls"] > 0
    assert docendo("run", scenario, "--store", url, "--json").code == 1


# --- regeneration -----------------------------------------------------------------------------------------


def test_simulated_minds_repeat_themselves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    assert docendo("run", write(tmp_path, small(replicates=2)), "--store", url, "-q").code == 0
    said = docendo("replay", "--regenerate", "--store", url, "--json")
    assert said.code == 0
    acts = said.data["acts"]
    assert said.data["calls"] == said.data["distinct"] == sum(row["calls"] for row in acts)
    assert {row["operation"] for row in acts} == {"generate", "score"}
    assert all(row["identical"] == row["answers"] > 0 and row["failed"] == 0 for row in acts)
    assert all(row["max_delta"] == 0 for row in acts if row["operation"] == "score")


def test_a_sample_is_spread_over_the_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    said = docendo("replay", "--regenerate", "-n", 7, "--store", url, "--json")
    assert said.data["calls"] == 7 < said.data["distinct"]
    assert len(said.data["acts"]) > 1


def test_where_answers_part_is_said_and_the_record_stays(tmp_path: Path) -> None:
    url, changed = f"sqlite:///{tmp_path / 's.db'}", [False]

    def later(request: Received) -> Any:
        said = plain(request)
        return [text.replace("step by step", "digit by digit") for text in said] if changed[0] else said

    with model_server(later) as server:
        raw = served(server.url, items=subtractions(tmp_path, 2, train=4))
        assert docendo("run", write(tmp_path, raw), "--store", url, "-q").code in (0, 2)
        changed[0] = True
        said = docendo("replay", "--regenerate", "--store", url, "--json")
        text = docendo("replay", "--regenerate", "-n", 5, "--store", url)
    assert said.code == 0
    place = len("Take it away, ")
    rows = [row for row in said.data["acts"] if row["operation"] == "generate"]
    assert rows
    for row in rows:
        assert (row["identical"], row["first_difference"]) == (0, place)
        example = row["examples"][0]
        assert "step by step" in example["recorded"]
        assert "digit by digit" in example["fresh"]
    assert f"character {place}" in text.out
    assert docendo("replay", "--store", url).code == 0


def test_calls_that_fail_now_are_counted_and_a_model_that_is_gone_ends_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with model_server() as server:
        raw = served(server.url, items=subtractions(tmp_path, 2, train=4))
        assert docendo("run", write(tmp_path, raw), "--store", url, "-q").code in (0, 2)
    gone = docendo("replay", "--regenerate", "--store", url, "--json")
    assert (gone.code, gone.error["code"]) == (3, "model")


def test_an_edited_score_shows_its_distance(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    url = f"sqlite:///{path}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    with sqlite3.connect(path) as database:
        key, reply = database.execute(
            "select key, reply from call where operation = 'score' order by key"
        ).fetchone()
        data = orjson.loads(reply)
        data["scores"][0]["logprobs"][0] -= 0.25
        database.execute("update call set reply = ? where key = ?", (orjson.dumps(data).decode(), key))
    database.close()
    acts = docendo("replay", "--regenerate", "--store", url, "--json").data["acts"]
    scored = [row for row in acts if row["operation"] == "score"]
    assert max(row["max_delta"] for row in scored) == pytest.approx(0.25)
    assert sum(row["answers"] - row["identical"] for row in scored) == 1


def test_options_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    said = docendo("replay", "-n", 3, "--store", url, "--json")
    assert (said.code, said.error["code"]) == (1, "usage")
    assert (
        docendo("replay", "nobody", "--regenerate", "--store", url, "--json").error["code"] == "unknown_name"
    )
