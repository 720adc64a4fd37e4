"""Seeds: every random draw comes from a name, never from a global generator or from the order of work.

A call's seed derives from (scenario seed, replicate, agent, act, item, occurrence) and *not* from the
condition: the same student facing the same prompt in two conditions makes the same draw (common random
numbers), and the two conditions share the call. Replicates never share a sampled answer.
"""

from __future__ import annotations

import hashlib

__all__ = ["derive_seed", "uniform"]


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from the parts' text; the same in every process."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def uniform(*parts: object) -> float:
    """A number in [0, 1) that belongs to the parts."""
    return derive_seed(*parts) / 2**63
