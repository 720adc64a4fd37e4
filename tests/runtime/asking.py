"""What tests ask of servers."""

from __future__ import annotations

from typing import Any

from docendo.agents.port import GenerateRequest
from docendo.agents.view import View
from docendo.messages import PromptMessage, Span

VIEW = View(agent="student", role="student", act="solve")


def prompt(*texts: str, last: str = "user") -> tuple[PromptMessage, ...]:
    roles = ["system"] * (len(texts) - 1) + [last]
    return tuple(PromptMessage(r, (Span(t),)) for r, t in zip(roles, texts, strict=True))  # type: ignore[arg-type]


def ask(text: str = "2 + 2 = ?", **fields: Any) -> GenerateRequest:
    return GenerateRequest(model="m", prompt=prompt(text), view=VIEW, **fields)
