"""Figures as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd


def shown(label: str, value: Any) -> str:
    """`value` under `label`: two decimals, thousands apart, `-` where there is none; days for a duration."""
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, pd.Timedelta):
        return duration(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "∞" if value == float("inf") else f"{value:,.{_digits(label, value)}f}"
    return str(value)


def percent(ratio: float | None, sign: bool = True) -> str:
    """A ratio as percent."""
    if ratio is None or ratio != ratio:
        return "-"
    return f"{ratio * 100:{'+' if sign else ''},.2f} %"


def duration(span: pd.Timedelta) -> str:
    """`12d 4h`, `3h 20m`, `5m`."""
    minutes = round(span.total_seconds() / 60)
    days, hours, left = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        return f"{days:,}d {hours}h" if hours else f"{days:,}d"
    return f"{hours}h {left}m" if hours and left else f"{hours}h" if hours else f"{left}m"


def _digits(label: str, value: float) -> int:
    if "at Risk" in label or "Ulcer" in label:
        return 4
    return 0 if label == "Bars a Year" and value.is_integer() else 2
