"""The widgets a dashboard is made of. They only hold traits: change a trait and the page follows.

Everything they need is in this package (no address is ever loaded from). Each knows how old its figure is: call `touch`
with the age when the figure is set, and the page counts on by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import Box, DOMWidget, Layout

STATIC = Path(__file__).parent / "static"
_CSS = (STATIC / "board.css").read_text()


def _script(name: str) -> str:
    return (STATIC / "shared.js").read_text() + (STATIC / f"{name}.js").read_text()


class Aged(anywidget.AnyWidget):
    """A widget that shows how old its figure is. `seen` is [how often it was touched, the age in ms at that time]."""

    _css = _CSS
    seen: traitlets.List[int] = traitlets.List(default_value=[0, 0]).tag(sync=True)

    def touch(self, age: int = 0) -> None:
        """Say that the figure was confirmed just now, and was `age` milliseconds old then."""
        self.seen = [self.seen[0] + 1, max(age, 0)]


class Header(Aged):
    """The top line: what is shown, the worker's state, and whether data still arrive.

    When nothing was heard for `patience` seconds it says for how long, and the whole page fades.
    """

    _esm = _script("header")
    title = traitlets.Unicode().tag(sync=True)
    worker = traitlets.Unicode("worker not known yet").tag(sync=True)
    tone = traitlets.Unicode().tag(sync=True)
    patience = traitlets.Int(10).tag(sync=True)


class Tile(Aged):
    """One figure. `value` is text, exact as the gateway says it; the page rounds it to `digits`, hovering shows all."""

    _esm = _script("tile")
    label = traitlets.Unicode().tag(sync=True)
    value = traitlets.Unicode().tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    tone = traitlets.Unicode().tag(sync=True)
    digits = traitlets.Int(2).tag(sync=True)


class Chart(Aged):
    """A line over time. `points` are [milliseconds, value] in order of time; `base` draws a dashed line."""

    _esm = _script("chart")
    label = traitlets.Unicode().tag(sync=True)
    points: traitlets.List[Any] = traitlets.List().tag(sync=True)
    base = traitlets.Float(None, allow_none=True).tag(sync=True)


class Records(Aged):
    """A table. A column is {key, label} with `digits` for numbers (given as text) and `tones` from text to colour."""

    _esm = _script("records")
    title = traitlets.Unicode().tag(sync=True)
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    empty = traitlets.Unicode("nothing yet").tag(sync=True)


def row(*widgets: DOMWidget, shares: tuple[int, ...] | None = None) -> Box:
    """`widgets` side by side, in equal `shares` of the width unless told otherwise; a narrow page breaks the line."""
    for widget, share in zip(widgets, shares or (1,) * len(widgets), strict=True):
        widget.layout = Layout(flex=f"{share} 1 {share * 210}px", min_width="0", overflow="visible")
    return Box(widgets, layout=Layout(flex_flow="row wrap", grid_gap="12px", overflow="visible"))


def page(*rows: DOMWidget) -> Box:
    """A whole dashboard, top to bottom."""
    layout = Layout(flex_flow="column nowrap", grid_gap="12px", padding="0 14px 24px", overflow="visible")
    return Box(rows, layout=layout)


def thin(points: list[list[Any]], most: int = 600) -> list[list[Any]]:
    """At most about `most` of `points`: the lowest and highest of each stretch stay, so no spike is lost."""
    if len(points) <= most:
        return points
    stretch = -(-len(points) // (most // 2))
    kept = [points[0]]
    for start in range(1, len(points), stretch):
        part = points[start : start + stretch]
        ends = {id(point): point for point in (min(part, key=_value), max(part, key=_value))}
        kept.extend(sorted(ends.values()))
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _value(point: list[Any]) -> float:
    return float(point[1])
