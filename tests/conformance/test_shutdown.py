"""The end of a backend. Runs last, since nothing can be asked afterwards."""

from __future__ import annotations

import asyncio
import threading

import pytest

from docendo.agents.port import GenerateReply
from docendo.runtime.backends.base import BackendFault
from tests.conformance.subjects import Subject, ask
from tests.engine.living import living_models


def test_closing_ends_what_is_in_flight_and_leaves_nothing(subject: Subject) -> None:
    async def main() -> list[GenerateReply | BaseException]:
        requests = [ask(f"Q {i}", max_tokens=1500, temperature=1.0, seed=i) for i in range(8)]
        calls = [asyncio.create_task(subject.backend.generate(request)) for request in requests]
        await asyncio.sleep(0)
        await subject.backend.close()
        return await asyncio.gather(*calls, return_exceptions=True)

    for outcome in subject.run(main()):
        assert isinstance(outcome, GenerateReply | BackendFault)
    if subject.name in {"transformers", "vllm"}:
        with pytest.raises(BackendFault):
            subject.generate(ask())
        assert not [t.name for t in threading.enumerate() if t.name.startswith(subject.name)]
        assert not living_models()


def test_closing_twice_is_once(subject: Subject) -> None:
    subject.run(subject.backend.close())
    subject.run(subject.backend.close())
