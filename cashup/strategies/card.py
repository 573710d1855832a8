"""A small table in a notebook, for what has no picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def card(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    """HTML: a title, a table, and a sentence below it; everything is escaped."""
    lines = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    top = f"<thead><tr>{_cells('th', head)}</tr></thead>" if head else ""
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<div><b>{escape(title)}</b><table>{top}<tbody>{lines}</tbody></table>{below}</div>"


def _cells(tag: str, values: Iterable[object]) -> str:
    return "".join(f'<{tag} style="text-align:left">{escape(str(value))}</{tag}>' for value in values)
