"""The pictures of validation: distributions and bands, as plotly figures that stay small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from cashup.research.reporting.style import BLUE, GREY, RED, line, styled, thin

Floats = NDArray[np.float64]

BINS = 60

BEHIND = 400
"""Points of a line that is drawn behind the one that is looked at."""


def histogram(values: Floats, *, mark: float, mark_name: str, title: str, axis: str) -> go.Figure:
    """How often each value came, with a line at `mark`; counted here, so that the figure holds bins and not values."""
    counts, edges = np.histogram(values[np.isfinite(values)], bins=BINS)
    bars = go.Bar(x=(edges[1:] + edges[:-1]) / 2, y=counts, width=np.diff(edges), marker={"color": BLUE}, name="chance")
    made = go.Figure(bars)
    made.add_vline(x=mark, line={"color": RED, "width": 2}, annotation_text=mark_name)
    made.update_xaxes(title_text=axis)
    made.update_yaxes(title_text="count")
    return styled(made, title, 360, showlegend=False, hovermode="closest")


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
    return styled(made, title, 360, showlegend=False, hovermode="closest")


def walked(
    paths: pd.DataFrame,
    equity: pd.Series[float],
    seams: Sequence[pd.Timestamp],
    folds: pd.DataFrame,
    objective: str,
    *,
    title: str,
) -> go.Figure:
    """The stitched equity with a line where each test begins; below it every fold's objective in train and test."""
    made = make_subplots(rows=2, cols=1, row_heights=[0.65, 0.35], vertical_spacing=0.12)
    for way in paths if paths.shape[1] > 1 else ():
        made.add_trace(line(thin(paths[way], BEHIND), f"way {way}", "#c9d1d9"), row=1, col=1)
    made.add_trace(line(equity, "Equity", BLUE), row=1, col=1)
    for seam in seams:
        made.add_vline(x=seam.tz_localize(None), line={"color": GREY, "width": 0.6, "dash": "dot"}, row=1, col=1)
    for side, colour in (("train", GREY), ("test", BLUE)):
        heights = folds[f"{side}_{objective}"].to_numpy()
        made.add_trace(go.Bar(x=folds.index.to_numpy(), y=heights, name=side, marker={"color": colour}), row=2, col=1)
    made.update_yaxes(title_text="Equity", row=1, col=1)
    made.update_yaxes(title_text=objective.replace("_", " "), row=2, col=1)
    made.update_xaxes(title_text="fold", dtick=max(len(folds) // 15, 1), row=2, col=1)
    return styled(made, title, 560, hovermode="closest")
