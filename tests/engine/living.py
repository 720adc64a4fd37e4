"""What models are in this process's memory."""

from __future__ import annotations

import gc


def living_models() -> list[str]:
    """The kind of every causal language model that has not been freed."""
    import torch

    gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())  # Some objects warn when they are asked themselves.
    return [k.__name__ for k in kinds if issubclass(k, torch.nn.Module) and "ForCausalLM" in k.__name__]
