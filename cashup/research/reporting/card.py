"""A run on one card: what a notebook shows for a run that stands on a cell's last line."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cashup.research.reporting.format import shown

if TYPE_CHECKING:
    from cashup.research.performance import Performance

HEADLINES = {
    "Total Return [%]": "Return",
    "Benchmark Return [%]": "Buy and hold",
    "CAGR [%]": "CAGR",
    "Sharpe Ratio": "Sharpe",
    "Max Drawdown [%]": "Max drawdown",
    "Total Trades": "Trades",
    "End Value": "End value",
}
WIDTH, HEIGHT, STEPS = 220, 44, 110
INK, SOFT = "var(--jp-content-font-color1, inherit)", "var(--jp-content-font-color2, #6e7781)"
"""JupyterLab's colours, light or dark; elsewhere what is usual there."""


def card(result: Performance) -> str:
    """The headline figures, a small curve of the equity, and what is to be said about the run, as HTML."""
    stats = result.stats()
    cells = "".join(
        f'<div style="min-width:92px"><div style="color:{SOFT};font-size:11px">{name}</div>'
        f'<div style="font-size:16px;font-weight:600">{headline(label, stats[label])}</div></div>'
        for label, name in HEADLINES.items()
    )
    span = f"{stats['Start']:%Y-%m-%d} to {stats['End']:%Y-%m-%d}" if len(result.equity) else "no bars"
    said = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    notes = f'<ul style="margin:6px 0 0;padding-left:18px;font-size:12px;color:{SOFT}">{said}</ul>' if said else ""
    return (
        f'<div style="font-variant-numeric:tabular-nums;color:{INK};border:1px solid rgba(128,128,128,.35);'
        'border-radius:8px;padding:10px 14px;max-width:880px">'
        '<div style="display:flex;flex-wrap:wrap;justify-content:space-between;align-items:center;gap:4px 18px">'
        f'<div><b>{escape(result.heading)}</b><div style="color:{SOFT};font-size:12px">{span}, {len(result.equity):,} '
        f"bars; {stats['Annualisation']}</div></div>{sparkline(result.equity)}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:6px 22px;margin-top:8px">{cells}</div>{notes}</div>'
    )


def headline(label: str, value: object) -> str:
    """A figure with its unit."""
    text = shown(label, value)
    return f"{text}&nbsp;%" if label.endswith("[%]") and text != "-" else text


def sparkline(equity: pd.Series[float]) -> str:
    """The equity as a small inline SVG; nothing for fewer than two bars."""
    if len(equity) < 2:
        return ""
    values = equity.to_numpy(dtype=np.float64)[np.linspace(0, len(equity) - 1, min(STEPS, len(equity))).astype(int)]
    low, high = float(values.min()), float(values.max())
    heights = (HEIGHT - 4) * (1 - (values - low) / ((high - low) or 1.0)) + 2
    steps = np.linspace(2, WIDTH - 2, len(values))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(steps, heights, strict=True))
    colour = "#1a7f37" if values[-1] >= values[0] else "#cf222e"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="equity">'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/></svg>'
    )
