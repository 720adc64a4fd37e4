"""Items: one module per family of sources, pools, and their allotment to purposes."""

from docendo.scenarios.items import (
    column_arithmetic,
    gsm8k,
    jsonl,
    multiple_choice,
    reasoning_gym,
    strategyqa,
)

__all__ = ["column_arithmetic", "gsm8k", "jsonl", "multiple_choice", "reasoning_gym", "strategyqa"]
