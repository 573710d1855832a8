"""What the pictures have in common: colours, lines with few points, and a layout.

Every picture is a plotly `Figure`, never a widget, which would carry megabytes of script into a notebook.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

POINTS = 1_500
"""More points than this are not drawn: a picture has fewer pixels, and the notebook keeps every one of them."""

BLUE, RED, GREEN, GREY, AMBER = "#1f6feb", "#cf222e", "#1a7f37", "#8b949e", "#bf8700"
PALETTE = (BLUE, AMBER, GREEN, "#8250df", RED, "#0598bc", "#bc4c00", "#57606a")


def line(series: pd.Series[float], name: str, colour: str, width: float = 1.3, **more: Any) -> go.Scatter:
    """A line through at most POINTS points of `series`."""
    kept = thin(series)
    return go.Scatter(x=naive(kept.index), y=kept.to_numpy(), name=name, line={"color": colour, "width": width}, **more)


def thin(series: pd.Series[float], points: int = POINTS) -> pd.Series[float]:
    """At most `points` points, keeping the lowest and highest of every stretch, and both ends."""
    if len(series) <= points:
        return series
    values = series.to_numpy(dtype=np.float64)
    kept = {0, len(series) - 1}
    for stretch in np.array_split(np.arange(len(series)), points // 2 - 1):
        part = values[stretch]
        if not np.isnan(part).all():
            kept |= {int(stretch[np.nanargmin(part)]), int(stretch[np.nanargmax(part)])}
    return series.iloc[sorted(kept)]


def averaged(series: pd.Series[float], points: int = 400) -> tuple[pd.Series[float], int]:
    """The means of stretches of equally many bars, at most `points` of them, and how many bars make a stretch.

    For what jumps to and fro: its lowest and highest values would fill the picture.
    """
    size = -(-len(series) // points) or 1
    first = np.arange(0, len(series), size)
    values = series.to_numpy(dtype=np.float64)
    if size == 1:
        return series, 1
    counts = np.diff(np.append(first, len(series)))
    return pd.Series(np.add.reduceat(values, first) / counts, index=series.index[first], name=series.name), size


def naive(times: Any) -> np.ndarray[Any, Any]:
    """UTC times as numpy has them: passed to the browser as they are, where lists of stamps take 20 times as long."""
    return pd.DatetimeIndex(times).tz_localize(None).to_numpy()


def styled(figure: go.Figure, title: str | None, height: int, **more: Any) -> go.Figure:
    """`figure` with our layout."""
    # The mime type alone: JupyterLab and Voila draw it, and the script is not copied into every executed notebook.
    pio.renderers.default = "plotly_mimetype"
    figure.update_layout(
        **{
            "title": {"text": title, "font": {"size": 15}} if title else None,
            "template": "plotly_white",
            "height": height,
            "margin": {"l": 64, "r": 16, "t": 56 if title else 34, "b": 34},
            "legend": {"orientation": "h", "y": 1.01, "x": 1, "xanchor": "right", "yanchor": "bottom"},
            "hovermode": "x unified",
            **more,
        }
    )
    return figure
