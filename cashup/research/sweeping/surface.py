"""The pictures of a sweep: heatmap of two parameters, parallel coordinates, plateau beside peak, Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cashup.research.reporting.style import BLUE, GREY, RED
from cashup.research.sweeping.plateau import Plateau

SCALE = "Viridis"


def heatmap(frame: pd.DataFrame, x: str, y: str, figure: str, direction: int) -> go.Figure:
    """The best `figure` of each pair of values of `x` and `y`, over everything else that was tried."""
    tried = frame[frame[figure].notna()]
    pairs = pd.DataFrame({x: _axis(tried[x]), y: _axis(tried[y]), figure: tried[figure]})
    grid = pairs.pivot_table(index=y, columns=x, values=figure, aggfunc="max" if direction > 0 else "min", sort=True)
    made = go.Figure(
        go.Heatmap(
            x=_ticks(grid.columns),
            y=_ticks(grid.index),
            z=grid.to_numpy(),
            colorscale=SCALE,
            reversescale=direction < 0,
            colorbar={"title": _words(figure)},
            hovertemplate=f"{x} %{{x}}<br>{y} %{{y}}<br>{_words(figure)} %{{z:.4g}}<extra></extra>",
        )
    )
    if len(pairs):
        row = int((direction * tried[figure].to_numpy()).argmax())
        best = {"x": [_tick(pairs[x].iloc[row])], "y": [_tick(pairs[y].iloc[row])]}
        made.add_trace(
            go.Scatter(**best, mode="markers", name="best", marker={"color": RED, "size": 12, "symbol": "x"})
        )
    made.update_xaxes(title_text=x, type="category" if _is_text(pairs[x]) else None)
    made.update_yaxes(title_text=y, type="category" if _is_text(pairs[y]) else None)
    return _styled(made, f"{_words(figure)} by {x} and {y}", 460)


def curve(frame: pd.DataFrame, x: str, figure: str) -> go.Figure:
    """`figure` along one parameter."""
    tried = frame[frame[figure].notna()]
    along = pd.DataFrame({x: _axis(tried[x]), figure: tried[figure]}).sort_values(x)
    made = go.Figure(go.Scatter(x=_ticks(along[x]), y=along[figure], mode="lines+markers", line={"color": BLUE}))
    made.update_xaxes(title_text=x)
    made.update_yaxes(title_text=_words(figure))
    return _styled(made, f"{_words(figure)} by {x}", 380)


def parallel(frame: pd.DataFrame, names: Sequence[str], figures: Sequence[str], direction: int) -> go.Figure:
    """Every trial as a line through its parameters and figures, coloured by the first figure."""
    tried = frame[frame[figures[0]].notna()]
    made = go.Figure(
        go.Parcoords(
            line={
                "color": tried[figures[0]].to_numpy(),
                "colorscale": SCALE,
                "reversescale": direction < 0,
                "showscale": True,
            },
            dimensions=[_dimension(tried[name]) for name in (*names, *figures)],
        )
    )
    return _styled(made, f"{len(tried)} trials", 420)


def plateau(found: Plateau, figure: str) -> go.Figure:
    """Each trial's own figure against its neighbours': on the diagonal it is a plateau, far below it a lonely peak."""
    table = found.frame
    made = go.Figure(
        go.Scatter(x=table["own"], y=table["mean"], mode="markers", name="trials", marker={"color": GREY, "size": 5})
    )
    for name, trial, colour in (("peak", found.peak, RED), ("plateau", found.plateau, BLUE)):
        row = table.loc[trial]
        made.add_trace(
            go.Scatter(x=[row["own"]], y=[row["mean"]], mode="markers", name=name, marker={"color": colour, "size": 12})
        )
    ends = [float(table["own"].min()), float(table["own"].max())]
    made.add_trace(go.Scatter(x=ends, y=ends, mode="lines", name="as good", line={"color": GREY, "dash": "dot"}))
    made.update_xaxes(title_text=f"{_words(figure)} of the set")
    made.update_yaxes(title_text="mean of its neighbours")
    return _styled(made, "plateau or peak", 420).update_layout(showlegend=True)


def front(frame: pd.DataFrame, chosen: pd.DataFrame, x: str, y: str) -> go.Figure:
    """Two objectives against each other, and the sets that no other one beats in both."""
    order = chosen.sort_values(x)
    made = go.Figure(
        [
            go.Scatter(x=frame[x], y=frame[y], mode="markers", name="trials", marker={"color": GREY, "size": 5}),
            go.Scatter(x=order[x], y=order[y], mode="lines+markers", name="front", marker={"color": BLUE, "size": 9}),
        ]
    )
    made.update_xaxes(title_text=_words(x))
    made.update_yaxes(title_text=_words(y))
    return _styled(made, "Pareto front", 420).update_layout(showlegend=True)


def _axis(values: pd.Series[Any]) -> pd.Series[Any]:
    return values if pd.api.types.is_numeric_dtype(values) else values.map(_text)


def _is_text(values: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(values)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _tick(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _ticks(values: Any) -> list[Any]:
    return [_tick(value) for value in values]


def _dimension(values: pd.Series[Any]) -> dict[str, Any]:
    label = _words(str(values.name))
    if not _is_text(values):
        return {"label": label, "values": values.to_numpy()}
    codes, texts = pd.factorize(values.map(_text))
    return {"label": label, "values": codes, "tickvals": list(range(len(texts))), "ticktext": list(texts)}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _styled(made: go.Figure, title: str, height: int) -> go.Figure:
    return made.update_layout(
        title=title,
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 40, "t": 60, "b": 50},
        showlegend=False,
    )
