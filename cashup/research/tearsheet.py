"""A run as one HTML file that needs nothing else: figures, picture, and what they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from cashup.research.result import Result

HEADLINES = (
    "Total Return [%]",
    "Benchmark Return [%]",
    "Sharpe Ratio",
    "Max Drawdown [%]",
    "Total Trades",
    "End Value",
)

_STYLE = (Path(__file__).parent / "tearsheet.css").read_text()


def tear_sheet(result: Result, *, title: str, notes: Sequence[str] = (), facts: Mapping[str, str] | None = None) -> str:
    """The page. `notes` are sentences about the run, `facts` what it was made of (hashes, parameters)."""
    stats = result.stats()
    heads = "".join(
        f'<div><span class="soft">{escape(name)}</span><b>{_shown(stats[name])}</b></div>' for name in HEADLINES
    )
    picture = result.plot().update_layout(title=None, height=640).to_html(full_html=False, include_plotlyjs="inline")
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{stats["Start"]:%Y-%m-%d %H:%M} to {stats["End"]:%Y-%m-%d %H:%M} UTC</p>',
        f'<section class="heads">{heads}</section>',
        f"<section><h2>What happened</h2><ul>{said}</ul></section>" if said else "",
        f"<section>{picture}</section>",
        f'<section><h2>Statistics</h2><div class="columns">{_table(stats.to_dict())}</div></section>',
        f"<section><h2>Made of</h2>{_table(facts)}</section>" if facts else "",
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>\n'


def _table(rows: Mapping[Any, Any]) -> str:
    return (
        f"<table>{''.join(f'<tr><td>{escape(str(k))}</td><td>{_shown(v)}</td></tr>' for k, v in rows.items())}</table>"
    )


def _shown(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return "-" if value != value else f"{value:,.2f}"
    return escape(str(value))
