"""Servers of three kinds over a toy model: what vLLM, llama.cpp and Ollama offer beside the common protocol.

The tokenizer cuts words with the blank before them, so a continuation can merge with the end of its prompt.
The log-probability of a token is a number made of the tokens before it. What was seen of real servers is
held to in tests/engine/test_vllm_server.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.runtime.http_server import Behaviour, Received, answer, chat_body, status

NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
    "template if the tokenizer does not define one."
)


@dataclass
class Toy:
    system: Literal["shows", "refuses", "drops"] = "shows"
    alternate: bool = False
    template: bool = True
    named: bool = True
    """`logprob_token_ids` are known (newer vLLM)."""
    context: int = 1000
    likeliest: int = 10**6
    """Most alternatives that llama.cpp shows here."""
    loading: int = 0
    """Looks at `/models` that still find the server loading."""
    resident: bool = False
    """The weights are loaded (Ollama, which loads them with the first question)."""
    longest: int = 100_000
    """Context that the weights are for (Ollama)."""
    abilities: tuple[str, ...] = ("completion",)
    """What Ollama says that the model can do."""
    words: list[str] = field(default_factory=lambda: ["<s>", "<u>", "<a>", "<y>", "</>"])

    # --- the model ---

    def encode(self, text: str) -> list[int]:
        ids = []
        for piece in re.findall(r"<s>|</?[uay]?>|\d| ?[^\W\d]+|\s|.", text):
            if piece not in self.words:
                self.words.append(piece)
            ids.append(self.words.index(piece))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[i] for i in ids)

    def render(self, body: dict[str, Any]) -> str:
        messages = body["messages"]
        text, last = "<s>", ""
        for m in messages:
            if m["role"] == "system" and self.system == "refuses":
                raise ValueError("System role not supported")
            if self.alternate and m["role"] == last:
                raise ValueError("Conversation roles must alternate user/assistant/user/assistant/...")
            last = m["role"]
            if m["role"] != "system" or self.system == "shows":
                text += {"user": "<u>", "assistant": "<a>", "system": "<y>"}[m["role"]] + m["content"] + "</>"
        if body.get("continue_final_message") or (
            messages[-1]["role"] == "assistant" and "model" not in body
        ):
            return text.removesuffix("</>")
        return text + "<a>"

    def logprob(self, before: Sequence[int], token: int) -> float:
        said = f"{self.decode(before)}|{self.words[token]}".encode()
        return -1.0 - int(hashlib.sha256(said).hexdigest()[:6], 16) % 9000 / 1000

    def total(self, prompt: str, continuation: str) -> float:
        """The truth: of prompt and continuation read as one text, the tokens behind the common beginning."""
        before, whole = self.encode(prompt), self.encode(prompt + continuation)
        start = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
        return sum(self.logprob(whole[:i], whole[i]) for i in range(start, len(whole)))

    # --- vLLM ---

    def vllm(self, *names: str, version: str = "0.32.0") -> dict[str, Any]:
        cards = [{"id": n, "owned_by": "vllm", "max_model_len": self.context} for n in names]
        return {
            "/v1/models": self._models(cards),
            "/version": {"version": version},
            "/tokenize": self._page(self._tokenize),
            "/detokenize": self._page(lambda body: {"prompt": self.decode(body["tokens"])}),
        }

    def _tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        if "messages" not in body:
            begin = [0] if body.get("add_special_tokens", True) else []
            return {"tokens": begin + self.encode(body["prompt"])}
        if not self.template:
            raise ValueError(NO_TEMPLATE)
        return {"tokens": self.encode(self.render(body)), "max_model_len": self.context}

    def vllm_model(self) -> Behaviour:
        """`/completions`, and `/chat/completions` that says `4`."""
        return self._page(lambda b: self._completions(b) if "prompt" in b else self._chat(b))

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.template:
            raise ValueError(NO_TEMPLATE)
        self.render(body)
        return chat_body(*["4"] * body.get("n", 1))

    def _completions(self, body: dict[str, Any]) -> dict[str, Any]:
        prompts = [p if isinstance(p, list) else self.encode(p) for p in body["prompt"]]
        make = self._echo if body.get("echo") else self._next
        choices = [{"index": i, "logprobs": make(p, body)} for i, p in enumerate(prompts)]
        usage = {
            "prompt_tokens": sum(map(len, prompts)),
            "completion_tokens": len(prompts),
            "prompt_tokens_details": {"cached_tokens": 16},
        }
        return {"choices": choices[::-1], "usage": usage}

    def _echo(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        logprobs = [None, *(self.logprob(ids[:i], ids[i]) for i in range(1, len(ids)))]
        return {"tokens": [self.words[i] for i in ids], "token_logprobs": logprobs}

    def _next(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        wanted = body.get("logprob_token_ids", []) if self.named else []
        assert not wanted or body["logprobs"] == len(wanted), "vLLM refuses anything else"
        top = {f"token_id:{i}": self.logprob(ids, i) for i in [4, *wanted]}
        return {"tokens": ["token_id:4"], "token_logprobs": [top["token_id:4"]], "top_logprobs": [top]}

    # --- llama.cpp ---

    def llama_cpp(self, *, slots: int = 2, file: str = "models/some.gguf") -> dict[str, Any]:
        cards = [{"id": file, "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}]
        return {
            "/v1/models": self._models(cards),
            "/props": {
                "default_generation_settings": {"n_ctx": self.context},
                "total_slots": slots,
                "build_info": "b7000-abc",
            },
            "/apply-template": self._page(lambda body: {"prompt": self.render(body)}),
            "/tokenize": self._page(lambda body: {"tokens": self.encode(body["content"])}),
            "/completion": self._page(self._likeliest),
        }

    def _likeliest(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["prompt"]
        assert (body["n_predict"], body["temperature"]) == (1, -1.0)
        every = [{"id": i, "logprob": self.logprob(ids, i)} for i in range(len(self.words))]
        every.sort(key=lambda token: -token["logprob"])
        top = every[: min(self.likeliest, body["n_probs"])]
        return {
            "completion_probabilities": [{**top[0], "top_logprobs": top}],
            "tokens_evaluated": len(ids),
            "timings": {"cache_n": len(ids) - 1, "prompt_n": 1, "predicted_n": 1},
        }

    # --- Ollama ---

    def ollama(self, *names: str) -> dict[str, Any]:
        return {
            "/v1/models": {"data": [{"id": n, "owned_by": "library"} for n in names]},
            "/api/version": {"version": "0.13.1"},
            "/api/show": {
                "capabilities": self.abilities,
                "template": "{{ .System }} {{ .Prompt }}",
                "model_info": {"general.architecture": "toy", "toy.context_length": self.longest},
            },
            "/api/ps": self._page(
                lambda _: {
                    "models": [{"name": n, "context_length": self.context} for n in names]
                    if self.resident
                    else []
                }
            ),
        }

    def ollama_model(self, behaviour: Behaviour) -> Behaviour:
        """Loads the weights, then behaves so."""

        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            self.resident = True
            await behaviour(request, writer)

        return behave

    # --- all ---

    def _models(self, cards: list[dict[str, Any]]) -> Behaviour:
        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            self.loading -= 1
            page = status(503, "Loading model") if self.loading >= 0 else answer({"data": cards})
            await page(request, writer)

        return behave

    def _page(self, make: Any) -> Behaviour:
        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            try:
                reply = answer(make(request.body))
            except ValueError as error:
                reply = status(400, str(error))
            await reply(request, writer)

        return behave
