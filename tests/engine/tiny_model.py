"""Real model folders, made on the spot.

Configuration, a tokenizer trained on the package's own text, random weights: all code that loads and runs a
model is exercised; only the wisdom is missing. torch and transformers are imported when a model is made, so
that this module can be imported where they are not installed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

import docendo

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Says everything as it is (Qwen)."""
TRIMMING = CHATML.replace("m['content']", "m['content'] | trim")
"""Trims every message (Llama 3)."""
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
"""Refuses a system role, wants roles in turn, writes the begin of the sentence by itself (Gemma)."""
DROPPING = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
"""Loses the system's message without a word."""

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]

Cut = Literal["bytes", "metaspace", "digits", "spellings"]


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """What a model is made of. The defaults have about 140 thousand parameters."""

    architecture: Literal["qwen3", "llama"] = "qwen3"
    cut: Cut = "bytes"
    """How text becomes tokens: bytes merged (GPT-2), pieces with a visible blank (Llama 2), bytes merged but
    every digit alone, or bytes merged with several spellings of yes and no as tokens of their own."""
    template: str | None = CHATML
    vocabulary: int = 512
    hidden: int = 64
    layers: int = 2
    heads: int = 2
    head: int = 32
    context: int = 2048
    spread: float = 0.25
    """Standard deviation of the weights: wide enough that no two tokens are nearly alike."""
    seed: int = 0
    extra: tuple[tuple[str, Any], ...] = ()
    """Further fields of the configuration."""


MEDIUM = Tiny(vocabulary=4096, hidden=512, layers=8, heads=8, head=64, spread=0.05)
"""About 25 million parameters, for benchmarks."""


def make_model(folder: Path, what: Tiny = Tiny()) -> Path:
    """Write a model's folder as `save_pretrained` does; what is there already is kept."""
    if (folder / "made").is_file():
        return folder
    _make_tokenizer(folder, what)
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(what.seed)
    model = AutoModelForCausalLM.from_config(_config(what)).to(torch.float32)
    model.save_pretrained(folder)
    (folder / "made").write_bytes(orjson.dumps(asdict(what)))
    return folder


def make_adapter(folder: Path, base: Path, *, rank: int = 4, seed: int = 1) -> Path:
    """Write a LoRA adapter over `base` that changes its answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = LoraConfig(
        r=rank,
        lora_alpha=4 * rank,
        init_lora_weights=False,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
    )
    get_peft_model(model, wanted).save_pretrained(folder)
    return folder


def _config(what: Tiny) -> Any:
    from transformers import LlamaConfig, Qwen3Config

    kind = {"qwen3": Qwen3Config, "llama": LlamaConfig}[what.architecture]
    return kind(
        vocab_size=what.vocabulary,
        hidden_size=what.hidden,
        intermediate_size=2 * what.hidden,
        num_hidden_layers=what.layers,
        num_attention_heads=what.heads,
        num_key_value_heads=what.heads,
        head_dim=what.head,
        max_position_embeddings=what.context,
        initializer_range=what.spread,
        tie_word_embeddings=False,
        bos_token_id=3,
        eos_token_id=2,
        pad_token_id=0,
        **dict(what.extra),
    )


def _make_tokenizer(folder: Path, what: Tiny) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    blank = what.cut == "metaspace"
    tokenizer = Tokenizer(models.BPE(byte_fallback=blank, fuse_unk=blank))
    start = [f"<0x{i:02X}>" for i in range(256)] if blank else []
    alphabet = [] if blank else pre_tokenizers.ByteLevel.alphabet()
    if blank:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
        pieces = [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
        tokenizer.decoder = decoders.Sequence(pieces)
    else:
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alone = [pre_tokenizers.Digits(individual_digits=True)] if what.cut == "digits" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*alone, bytes_])
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=what.vocabulary,
        special_tokens=SPECIAL + start,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(what), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = what.template
    fast.save_pretrained(folder)


def _texts(what: Tiny) -> list[str]:
    """The package's own items, which hardly ever change; for a large vocabulary its code too."""
    home = Path(docendo.__file__).parent
    files = sorted((home / "scenarios" / "data").iterdir())
    if what.vocabulary > 1024:
        files += sorted(home.rglob("*.py"))
    texts = [file.read_text("utf-8") for file in files]
    if what.cut == "spellings":
        words = ["yes", "Yes", "YES", "no", "No", "NO"]
        texts += [f"{before}{word}\n" for word in words for before in ("", "is ", "(")] * 500
    return texts
