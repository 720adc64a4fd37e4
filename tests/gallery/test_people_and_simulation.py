"""Recorded dialogues are held again word for word, and measured as simulated ones are."""

from docendo.events import MessageEvent
from docendo.scenarios.items.dialogues import turns_of
from docendo.scenarios.items.pools import load_pools
from docendo.scenarios.loader import load_scenario
from tests.gallery.gallery_run import run_gallery


def test_people_say_what_the_record_says(tmp_path):
    run = run_gallery("people-and-simulation", tmp_path, "replicates=1")
    loaded = load_scenario("people-and-simulation")
    items = load_pools(loaded.scenario.items, base=loaded.base, seed=loaded.scenario.seed)["test"]
    arm = next(a for a in run.arms if a.coordinates.get("agents.teacher.model") == "people")
    held = {e.item: e for e in run.store.episodes(run.id, arm.id)}
    for item in items:
        messages = [e.message for e in run.store.events(held[item.id].id) if isinstance(e, MessageEvent)]
        for role, act in (("teacher", "say"), ("student", "reply")):
            said = [m.text for m in messages if m.act == act]
            recorded = [turn.text for turn in turns_of(item, role)]
            assert said[: len(recorded)] == recorded
    values = {o.lesson.condition for o in run.store.observations(run.id, ["success@3", "telling@3"])}
    assert values == {a.id for a in run.arms}, "all arms by the same measures"
    run.store.close()
