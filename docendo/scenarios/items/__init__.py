"""Items: one module per family of sources, pools, and their allotment to purposes."""

from docendo.scenarios.items import (
    bridge,
    column_arithmetic,
    gsm8k,
    jsonl,
    mathdial,
    multiple_choice,
    reasoning_gym,
    strategyqa,
)

__all__ = [
    "bridge", "column_arithmetic", "gsm8k", "jsonl", "mathdial", "multiple_choice", "reasoning_gym",
    "strategyqa",
]  # fmt: skip
