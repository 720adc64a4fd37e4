"""The gallery's scenarios on the published item files, where these lie beside the project."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from docendo.events import CallEvent
from docendo.runtime.store import open_store
from tests.trust.lab import DATA, docendo

GSM8K, STRATEGYQA = DATA / "gsm8k", DATA / "strategyqa"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("word-problems", (GSM8K / "train-first1500.jsonl", GSM8K / "test.jsonl")),
        ("yes-no-questions", (STRATEGYQA / "train.json", STRATEGYQA / "dev.json")),
    ],
)
def test_the_gallery_runs_on_published_items(tmp_path: Path, name: str, files: tuple[Path, Path]) -> None:
    train, test = files
    if not (train.exists() and test.exists()):
        pytest.skip(f"no {test.parent.name} files beside the project")
    url = f"sqlite:///{tmp_path / 'store.db'}"
    settings = [
        f"items.file={{train: {train}, test: {test}}}",
        "items.train=16",
        "items.test=24",
        "plan.observe.count=12",
        "plan.teach.policy=expected_utility",
        "matrix.budget.interventions=[0%, 50%]",
    ]
    said = docendo(
        "run",
        name,
        "-r",
        1,
        "--store",
        url,
        "--processes",
        1,
        "--json",
        *(p for s in settings for p in ("--set", s)),
    )
    assert said.code == 0, said.out
    assert said.data["failed"] == 0
    report = docendo("report", "--store", url, "--json").data
    arms = {
        c["coordinates"].get("budget.interventions"): c["measures"]["accuracy"]
        for c in report["conditions"]
        if not c.get("control")
    }
    assert arms["50%"]["mean"] > arms["0%"]["mean"], "a teacher that is right in nine of ten helps"
    with open_store(url, readonly=True) as store:
        run = store.run("latest").id
        questions = {
            s.text
            for e in store.episodes(run)
            if e.phase_kind == "teach"
            for c in store.calls([x.key for x in store.events(e.id) if isinstance(x, CallEvent)]).values()
            for m in c.prompt
            for s in m.spans
            if s.source == "item.question"
        }
    whole = test.read_text(encoding="utf-8")
    records = orjson.loads(whole) if test.suffix == ".json" else list(map(orjson.loads, whole.splitlines()))
    assert len(questions) == 24
    assert {_words(q) for q in questions} <= {_words(r["question"]) for r in records}


def _words(text: str) -> str:
    return " ".join(text.split())
