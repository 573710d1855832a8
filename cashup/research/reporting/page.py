"""A report as one HTML file that needs nothing else: figures, tables and sentences, in sections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STYLE = (Path(__file__).parent / "tearsheet.css").read_text()


@dataclass(frozen=True)
class Section:
    """A heading with a sentence, and what shows it: figures by name, a table, a picture, as far as they are there."""

    title: str
    text: str
    figures: Mapping[str, Any] | None = None
    table: pd.DataFrame | None = None
    picture: go.Figure | None = None


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page; plotly's script is in it once, with the first picture."""
    parts: list[str] = []
    script: bool | str = "inline"
    for section in sections:
        parts.append(f"<section><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        if section.figures is not None:
            rows = "".join(f"<tr><td>{escape(k)}</td><td>{shown(v)}</td></tr>" for k, v in section.figures.items())
            parts.append(f"<table>{rows}</table>")
        if section.table is not None:
            parts.append(_table(section.table))
        if section.picture is not None:
            parts.append(section.picture.to_html(full_html=False, include_plotlyjs=script))
            script = False
        parts.append("</section>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = f'<h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>{"".join(parts)}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def shown(value: Any) -> str:
    """A cell for people."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return escape(str(value))


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name).replace('_', ' '))}</th>" for name in ["", *table.columns])
    rows = ["".join(f"<td>{shown(value)}</td>" for value in row) for row in table.itertuples(index=True, name=None)]
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>'
