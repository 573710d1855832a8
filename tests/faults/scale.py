"""How much is proven: `CASHUP_PROOF_SCALE=10` runs ten times as many examples, 0.1 a tenth. CI runs 1."""

from __future__ import annotations

import os

SCALE = float(os.environ.get("CASHUP_PROOF_SCALE", "1"))
NIGHTLY = SCALE >= 10
"""Everything there is, instead of a choice of it."""


def times(count: int) -> int:
    """`count` at this scale, at least one."""
    return max(1, round(count * SCALE))
