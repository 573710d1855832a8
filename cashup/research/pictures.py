"""The pictures of validation: distributions and bands, as plotly figures that stay small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from cashup.research.plot import BLUE, GREY, RED

Floats = NDArray[np.float64]

BINS = 60


def histogram(values: Floats, *, mark: float, mark_name: str, title: str, axis: str) -> go.Figure:
    """How often each value came, with a line at `mark`; counted here, so that the figure holds bins and not values."""
    counts, edges = np.histogram(values[np.isfinite(values)], bins=BINS)
    bars = go.Bar(x=(edges[1:] + edges[:-1]) / 2, y=counts, width=np.diff(edges), marker={"color": BLUE}, name="chance")
    made = go.Figure(bars)
    made.add_vline(x=mark, line={"color": RED, "width": 2}, annotation_text=mark_name)
    made.update_xaxes(title_text=axis)
    made.update_yaxes(title_text="count")
    return _styled(made, title)


def bands(
    x: Sequence[float] | Floats, levels: Mapping[str, Floats], observed: Floats, *, title: str, axis: str
) -> go.Figure:
    """Percentile curves from the lowest to the highest, the pairs filled, and what was observed."""
    made = go.Figure()
    for number, (name, curve) in enumerate(levels.items()):
        fill = "tonexty" if number else None
        made.add_trace(
            go.Scatter(
                x=x,
                y=curve,
                name=name,
                fill=fill,
                fillcolor="rgba(31,111,235,0.12)",
                line={"color": GREY, "width": 0.7},
            )
        )
    made.add_trace(go.Scatter(x=x, y=observed, name="as it was", line={"color": BLUE, "width": 2}))
    made.update_xaxes(title_text=axis)
    made.update_yaxes(title_text="equity")
    return _styled(made, title)


def _styled(made: go.Figure, title: str) -> go.Figure:
    made.update_layout(
        title=title, template="plotly_white", height=360, margin={"l": 60, "r": 20, "t": 50, "b": 40}, showlegend=False
    )
    return made
