"""Division as statistics want it."""

from __future__ import annotations

import math


def ratio(above: float, below: float) -> float:
    """`above / below`; infinite when nothing stands below, NaN when neither is there."""
    if below and math.isfinite(below):
        return float(above / below)
    return float("inf") if above > 0 and below == 0 else float("nan")
