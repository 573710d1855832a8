"""A soak on the screen: one line while it runs, tables at its end."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from tests.soak.record import Record
from tests.soak.soak import Soak


def line(soak: Soak) -> str:
    """Where it stands."""
    return (
        f"minute {soak.minute:.1f} of {soak.plan.minutes:g}   intents {soak.stage.asked}   "
        f"faults {len(soak.weather.struck)}   violations {len(soak.stage.violations)}   "
        f"checks {soak.verdict.checks}   lag {soak.lag:.1f} s   {soak.weather.now}"
    )


def table(record: Record) -> Table:
    """The numbers of a record."""
    made = Table(title=f"{record['minutes']:g} minutes, seed {record['seed']}", show_header=False)
    for name, value in _rows(record):
        made.add_row(name, value)
    return made


def _rows(record: Record) -> list[tuple[str, str]]:
    orders, memory = record["orders"], record["memory"]
    return [
        ("intents", _counts(record["intents"])),
        ("orders", f"{orders['total']} ({_counts(orders['states'])}), {orders['fills']} fills"),
        ("faults", f"{sum(record['faults'].values())} ({_counts(record['faults'])})"),
        ("checks, violations", f"{record['checks']}, {len(record['violations'])}"),
        ("intent to sent, ms", _spread(record["ms_to_sent"])),
        ("... while a fault was on", _spread(record["ms_to_sent_in_faults"])),
        ("an order's fate unknown, s", _spread(record["seconds_unknown"])),
        ("until recovered, s", _counts(record["seconds_to_recover"])),
        ("until at rest, s", str(record["seconds_to_rest"])),
        *((f"memory of the {name}", _counts(row)) for name, row in memory.items()),
    ]


def _spread(found: dict[str, Any]) -> str:
    return f"p50 {found['p50']}, p99 {found['p99']}, max {found['max']} ({found['count']})"


def _counts(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items()) or "none"
