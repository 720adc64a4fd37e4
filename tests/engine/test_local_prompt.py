"""Chat templates and tokenizers of every kind: what the model reads, and what is read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt, require_room
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.local_model_spec import TransformersModel
from tests.engine.tiny_model import CHATML, DROPPING, NO_SYSTEM, TRIMMING

Turn = tuple[str, str]
CUTS = ["bytes", "metaspace", "digits", "spellings"]


def prompt(*turns: Turn) -> tuple[PromptMessage, ...]:
    return tuple(PromptMessage(role, (Span(text),)) for role, text in turns)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def prompts(make: Any) -> Any:
    """`prompts(template, cut)`: made once."""
    made: dict[Any, LocalPrompt] = {}

    def of(template: str | None = CHATML, cut: str = "bytes") -> LocalPrompt:
        if (template, cut) not in made:
            spec = TransformersModel(
                model=str(make(template=template, cut=cut)), chat_template=None if template else "plain"
            )
            made[template, cut] = LocalPrompt(resolve(spec, Path()))
        return made[template, cut]

    return of


def test_a_template_that_says_everything(prompts: Any) -> None:
    text = prompts().text(prompt(("system", "Be kind."), ("user", "Hi")))
    assert text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_is_told_its_variables(make: Any) -> None:
    template = (
        CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    spec = TransformersModel(
        model=str(make(template=template)), chat_template_kwargs={"enable_thinking": False}
    )
    assert LocalPrompt(resolve(spec, Path())).text(prompt(("user", "Hi"))).endswith("<think></think>")


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPPING], ids=["raises", "drops"])
def test_without_a_system_role_the_user_says_it(prompts: Any, template: str) -> None:
    text = prompts(template).text(prompt(("system", "Be kind."), ("user", "Hi")))
    assert "<|im_start|>user\nBe kind.\n\nHi<|im_end|>" in text
    assert "<|im_start|>system" not in text


def test_a_system_message_alone_is_the_users(prompts: Any) -> None:
    assert "<|im_start|>user\nBe kind.<|im_end|>" in prompts(NO_SYSTEM).text(prompt(("system", "Be kind.")))


def test_roles_that_must_alternate_are_joined(prompts: Any) -> None:
    turns = prompt(("user", "One"), ("user", "Two"), ("assistant", "Three"), ("user", "Four"))
    assert "user\nOne\n\nTwo<|im_end|>" in prompts(NO_SYSTEM).text(turns)
    assert "user\nOne<|im_end|>\n<|im_start|>user\nTwo<|im_end|>" in prompts(CHATML).text(turns)


@pytest.mark.parametrize("template", [CHATML, TRIMMING, NO_SYSTEM, DROPPING, None])
@given(opened=st.text(max_size=30))
@settings(max_examples=25, deadline=None)
def test_an_opened_answer_stays_as_it_is(prompts: Any, template: str | None, opened: str) -> None:
    text = prompts(template).text(prompt(("system", "S"), ("user", "Q"), ("assistant", opened)))
    assert text.endswith(opened)
    closed = text[: len(text) - len(opened)]
    assert not closed.endswith("<|im_end|>\n")


def test_an_opened_answer_goes_on_where_a_new_one_would_begin(prompts: Any) -> None:
    for template in (CHATML, TRIMMING, NO_SYSTEM, DROPPING, None):
        asked = prompts(template).text(prompt(("user", "Q")))
        assert prompts(template).text(prompt(("user", "Q"), ("assistant", "So "))) == asked + "So "


def test_the_begin_of_the_sentence_stands_once(prompts: Any, make: Any, tmp_path: Path) -> None:
    begin = prompts(NO_SYSTEM).tokenizer.bos_token_id
    assert prompts(NO_SYSTEM).tokens(prompt(("user", "Hi"))).count(begin) == 1
    # A tokenizer that puts it by itself, with and without a template that writes it too.
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(make(template=NO_SYSTEM))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A <|im_end|>", special_tokens=[("<s>", begin), ("<|im_end|>", 2)]
    )
    folder = tmp_path / "model"
    folder.mkdir()
    for file in make(template=NO_SYSTEM).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer.save_pretrained(folder)
    for chosen in (None, "plain"):
        spec = TransformersModel(model=str(folder), chat_template=chosen)
        ids = LocalPrompt(resolve(spec, Path())).tokens(prompt(("user", "Hi")))
        assert ids[0] == begin
        assert ids.count(begin) == 1
        assert ids[-1] != 2, "and nothing ends it"


@pytest.mark.parametrize("cut", CUTS)
@given(said=st.text(max_size=20).filter(lambda s: "<" not in s))
@settings(max_examples=30, deadline=None)
def test_what_was_said_is_read_back(prompts: Any, cut: str, said: str) -> None:
    local = prompts(CHATML, cut)
    before = local.tokens(prompt(("user", "Q")))
    whole = local.encode(local.text(prompt(("user", "Q"))) + said)
    if whole[: len(before)] == before:
        assert local.decode(whole[len(before) :], after=before) == said


@pytest.mark.parametrize("cut", CUTS)
def test_a_leading_blank_is_kept(prompts: Any, cut: str) -> None:
    local = prompts(CHATML, cut)
    before = local.encode(local.text(prompt(("user", "Q"), ("assistant", "So the answer is"))))
    ids = local.encode(local.text(prompt(("user", "Q"), ("assistant", "So the answer is no"))))[len(before) :]
    assert local.decode(ids, after=before) == " no"
    assert "".join(map(local.token_text, ids)) == " no"


def test_special_tokens_are_no_text(prompts: Any) -> None:
    local = prompts()
    assert local.decode(local.encode("Hi<|im_end|>\n<|im_start|>you")) == "Hi\nyou"


BROKEN = {
    "is no Jinja": "{% for m in messages %}",
    "does not show what the user says": "Hello, I am a template.",
    "refuses messages of user": "{{ raise_exception('never') }}",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_wrong_template_is_found_when_the_model_is_loaded(make: Any, tmp_path: Path, what: str) -> None:
    (tmp_path / "wrong.jinja").write_text(BROKEN[what], "utf-8")
    spec = TransformersModel(model=str(make()), chat_template="wrong.jinja")
    with pytest.raises(BackendFault, match=what) as caught:
        LocalPrompt(resolve(spec, tmp_path))
    assert caught.value.fatal
    assert "chat_template" in caught.value.suggestion


def test_room_is_told_in_tokens() -> None:
    require_room(90, 10, 100)
    with pytest.raises(
        BackendFault, match=r"90 tokens long and the model holds 100: 10 are left .* up to 11"
    ):
        require_room(90, 11, 100)
    with pytest.raises(BackendFault, match=r"100 tokens long .* nothing is left") as caught:
        require_room(100, 1, 100)
    assert (caught.value.kind, caught.value.retry, caught.value.fatal) == ("context", False, False)
