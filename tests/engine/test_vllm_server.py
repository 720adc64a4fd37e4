"""A real vLLM server on the CPU with a tiny model: the whole conformance suite, and what only a server has.

One server for all tests; it takes about half a minute to start. The last test ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from docendo.agents.port import ScoreReply
from docendo.errors import EpisodeFailure, ModelError
from docendo.runtime.backends.base import Backend, BackendFault
from docendo.runtime.backends.openai_compatible import OpenAIBackend
from docendo.runtime.backends.openai_scoring import Scorer
from docendo.runtime.client import Client
from docendo.runtime.journal import MemoryJournal
from docendo.scenarios.model_spec import OpenAIModel, TransformersModel
from tests.conformance.subjects import CONTEXT, Subject, ask, weigh
from tests.conformance.test_generate import *  # noqa: F403 - the suite, run here on this module's subject
from tests.conformance.test_score import *  # noqa: F403
from tests.engine import quiet  # noqa: F401 - sets the environment before a model library is imported
from tests.engine.tiny_model import Tiny, make_model

pytestmark = [
    pytest.mark.slow,  # the server takes a minute to start
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="NO VLLM: docs/models.md says how to install it"
    ),
    # vLLM and its libraries use deprecated parts of each other.
    pytest.mark.filterwarnings("default"),
]

PATIENT = 600.0
"""Seconds that the server may take to start before the tests give up."""
OPTIONS = (
    "--enforce-eager", "--dtype", "float32", "--block-size", "32", "--max-model-len", str(CONTEXT),
    "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(CONTEXT), "--enable-prompt-tokens-details",
    "--structured-outputs-config.backend", "guidance",
    "--structured-outputs-config.disable_any_whitespace", "true",
)  # fmt: skip


@dataclass
class Served:
    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """End the server and its engine's process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = make_model(tmp_path_factory.mktemp("models") / "tiny", Tiny())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host",
        "127.0.0.1", "--served-model-name", "tiny", "--port", str(port), *OPTIONS,
    ]  # fmt: skip
    log = folder.parent / "server.log"
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **settings}, start_new_session=True
        )
    state = Served(f"http://127.0.0.1:{port}/v1", folder, process)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield state
    finally:
        state.end()


def _wait_for(page: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENT
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(page, timeout=10).close()
            return
        time.sleep(0.5)
    pytest.fail(f"the server did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


@pytest.fixture(scope="module")
def subject(served: Served) -> Iterator[Subject]:
    backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=served.url, scoring=True))
    with asyncio.Runner() as runner:
        runner.run(backend.start())
        yield Subject("vLLM server", backend, runner)
        runner.run(backend.close())


@pytest.fixture(scope="module")
def seen() -> dict[str, list[float]]:
    """Of other subjects nothing is known here."""
    return {}


def test_what_the_server_says_of_itself(subject: Subject) -> None:
    about = subject.backend.about()
    assert (about["kind"], about["served"], about["context"]) == ("vllm", ["tiny"], CONTEXT)
    assert about["version"][0].isdigit()
    assert (about["tokenizer"], about["template"], about["system"]) == (True, True, True)
    assert (about["alternate"], about["scoring"]) == (False, "tokens")


def test_both_ways_of_scoring_agree(subject: Subject) -> None:
    backend = subject.backend
    assert isinstance(backend, OpenAIBackend)
    echoing = Scorer(backend._link, "tiny", replace(backend._watch.server, scoring="echo"))
    for opened in ("So the answer is", None):
        request = weigh(*((" yes", " 123") if opened else ("yes", "123")), opened=opened)
        one: ScoreReply = subject.score(request)
        other: ScoreReply = subject.run(echoing.score(request))
        for a, b in zip(one.scores, other.scores, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)


def test_scores_are_those_of_transformers(subject: Subject, served: Served) -> None:
    from docendo.runtime.backends.transformers_backend import TransformersBackend

    requests = [weigh(" yes", " no", " 12"), weigh("yes", "no", opened=None), weigh(" maybe it is not so")]
    local: Backend = TransformersBackend(TransformersModel(model=str(served.folder)), Path())
    subject.run(local.start())
    try:
        for request in requests:
            theirs = subject.run(local.score(request)).scores
            for a, b in zip(subject.score(request).scores, theirs, strict=True):
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
    finally:
        subject.run(local.close())


def test_scoring_leaves_the_prefix_cache_in_use(subject: Subject) -> None:
    request = weigh(" yes", " no", text="Water is wet. " * 60)
    subject.score(request)
    usage = subject.score(request).usage
    assert usage.cached_tokens > 0.6 * usage.prompt_tokens, "of three prompts two at least"


def test_log_probabilities_under_a_choice_are_of_the_choice(subject: Subject) -> None:
    """The grammar is applied first: they say how the model chose, and not what it would have said."""
    completion = subject.generate(ask(choices=("yes", "no"), logprobs=1)).completions[0]
    assert completion.text in {"yes", "no"}
    assert completion.logprobs[-1].logprob == pytest.approx(0.0, abs=1e-3)
    assert math.exp(completion.logprobs[0].logprob) > 0.01


@pytest.mark.parametrize(
    ("fields", "words"), [({"model": "tyni"}, "`tiny`"), ({"context": CONTEXT + 1}, f"`context: {CONTEXT}`")]
)
def test_what_does_not_fit_the_server_is_told_before_the_first_call(
    served: Served, fields: dict[str, object], words: str
) -> None:
    async def main() -> BackendFault:
        backend = OpenAIBackend(OpenAIModel(**{"model": "tiny", "base_url": served.url, **fields}))  # type: ignore[arg-type]
        with pytest.raises(BackendFault) as caught:
            await backend.start()
        await backend.close()
        return caught.value

    fault = asyncio.run(main())
    assert fault.fatal
    assert words in fault.suggestion


def test_the_servers_own_refusal_is_read_as_well(subject: Subject) -> None:
    """Where prompts are not counted beforehand, its words tell what was wrong."""
    backend = OpenAIBackend(OpenAIModel(model="tiny", base_url=subject.backend._spec.base_url))  # type: ignore[attr-defined]
    for request in (ask("too long " * CONTEXT), ask(max_tokens=CONTEXT + 1)):
        with pytest.raises(BackendFault, match="answered 400") as caught:
            subject.run(backend.generate(request))
        assert caught.value.kind == "context"
    subject.run(backend.close())


def test_many_calls_through_the_client_find_their_number(served: Served) -> None:
    async def main() -> None:
        spec = OpenAIModel(model="tiny", base_url=served.url, max_concurrent=64)
        async with Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal()) as client:
            calls = [client.generate(ask(f"Question {i}", max_tokens=8)) for i in range(200)]
            await asyncio.gather(*calls)
            stats = client.stats()["m"]
            assert (stats.failures, stats.attempts) == (0, 200)
            assert 4 <= stats.limit <= 64
            assert stats.limit > 4 or stats.backoffs > 0
            with pytest.raises(EpisodeFailure) as caught:
                await client.generate(ask("too long " * CONTEXT))
            assert caught.value.kind == "context"

    asyncio.run(main())


def test_a_server_that_ends_in_mid_run_stops_the_run(served: Served) -> None:
    async def main() -> ModelError:
        spec = OpenAIModel(model="tiny", base_url=served.url, patience=0.5, retries=1)
        async with Client({"m": OpenAIBackend(spec)}, {"m": spec}, MemoryJournal(), base_delay=0.1) as client:
            await client.generate(ask())
            served.end()
            with pytest.raises(ModelError) as caught:
                await client.generate(ask("And now?"))
            return caught.value

    error = asyncio.run(main())
    assert error.exit_code == 3
    assert "cannot be reached" in error.message
