"""Plateau or peak: how good the neighbours of a parameter set are.

The best set of a sweep is partly luck. One whose neighbours are about as good stands on a plateau, and will be missed
by less when the market shifts; a lonely peak was fitted to these bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plateau:
    """`frame`: per trial its `own` objective, and `mean` and `worst` of its `neighbours` (their number), best first.

    `peak` is the trial with the best own value, `plateau` the one whose neighbourhood (with itself) is best on average.
    `lonely`: the peak's neighbours are on average not even in the best quarter of all trials.
    """

    frame: pd.DataFrame
    peak: int
    plateau: int
    lonely: bool

    @property
    def sentence(self) -> str:
        """What follows from it."""
        if self.lonely:
            return (
                f"the best set (trial {self.peak}) is a lonely peak: its neighbours are not among the best quarter; "
                f"prefer trial {self.plateau}, the middle of the best plateau"
            )
        if self.peak == self.plateau:
            return f"the best set (trial {self.peak}) is also the middle of the best plateau"
        return f"the best set (trial {self.peak}) has good neighbours; the best plateau is around trial {self.plateau}"


def plateau_of(frame: pd.DataFrame, names: Sequence[str], figure: str, direction: int) -> Plateau | None:
    """Look at the neighbours of every trial of `frame` that has the figure; None for fewer than three of them.

    Neighbours are at most one step away in every parameter, where the steps are the values that were tried; where
    hardly any set has such neighbours (draws by chance), they are the nearest ones by rank, two per parameter.
    """
    tried = frame[frame[figure].notna()]
    if len(tried) < 3:
        return None
    own = direction * tried[figure].to_numpy(dtype=np.float64)
    places = np.stack([_place(tried[name]) for name in names], axis=1)
    is_grid = len(tried) >= 0.5 * np.prod([len(np.unique(column)) for column in places.T], dtype=np.float64)
    around = _steps(places) if is_grid else _nearest(places, 2 * len(names))
    mean = np.array([own[rows].mean() if len(rows) else np.nan for rows in around])
    worst = np.array([own[rows].min() if len(rows) else np.nan for rows in around])
    count = np.array([len(rows) for rows in around])
    whole = np.where(count > 0, (np.nan_to_num(mean) * count + own) / (count + 1), -np.inf)
    enough = count >= np.median(count)  # a set at the edge of the grid has few to be compared with
    peak, best = int(own.argmax()), int(np.where(enough, whole, -np.inf).argmax())
    lonely = bool(count[peak] and mean[peak] < np.quantile(own, 0.75))
    table = pd.DataFrame(
        {"own": direction * own, "mean": direction * mean, "worst": direction * worst, "neighbours": count}, tried.index
    )
    table = pd.concat([tried[list(names)], table], axis=1).iloc[np.argsort(-whole, kind="stable")]
    return Plateau(table, int(tried.index[peak]), int(tried.index[best]), lonely)


def _place(values: pd.Series[Any]) -> NDArray[np.int64]:
    """Each value's position among those that were tried."""
    if pd.api.types.is_numeric_dtype(values):
        return np.unique(values.to_numpy(), return_inverse=True)[1].astype(np.int64)
    return pd.factorize(values.map(repr))[0].astype(np.int64)


def _steps(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Per row the rows at most one step away in every column; through a table of places, not by comparing all pairs."""
    rows = {tuple(place): row for row, place in enumerate(places.tolist())}
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * places.shape[1], indexing="ij"), -1).reshape(-1, places.shape[1])
    around = []
    for place in places:
        near = [rows.get(tuple(other)) for other in (place + shifts).tolist() if other != place.tolist()]
        around.append(np.array([row for row in near if row is not None], dtype=np.int64))
    return around


def _nearest(places: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    scaled = places / np.maximum(places.max(axis=0), 1)
    around = []
    for row in range(len(scaled)):
        distance = np.abs(scaled - scaled[row]).max(axis=1)
        distance[row] = np.inf
        take = min(count, len(scaled) - 1)
        around.append(np.argpartition(distance, take - 1)[:take].astype(np.int64))
    return around
