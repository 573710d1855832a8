"""A model that is trained again and again inside a strategy, each time on what was known then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import NotebookError, UsageError
from cashup.strategies.bars import Bars
from cashup.strategies.timeframes import grid_floor
from cashup.types import Millis

Grid = NDArray[np.float64]

MOST_MODELS = 64
"""How many fitted models are kept; bars are asked in order of time, so a few would do."""

BLOCK = 256
"""Rows are predicted in blocks of this many. A matrix product of another shape may round differently, and one bar must
get the same number whether it is asked alone or among a year of others."""


class Estimator(Protocol):
    """What scikit-learn calls an estimator; nothing else is needed of it."""

    def fit(self, X: Any, y: Any) -> Any:  # noqa: N803
        """Learn from the rows of X and their labels."""
        ...

    def predict(self, X: Any) -> Any:  # noqa: N803
        """One prediction per row."""
        ...


class RollingModel:
    """A scikit-learn model, retrained on a rolling window of the bars themselves; the same in a backtest and live.

        model = cu.RollingModel(
            make=lambda: LogisticRegression(),
            features=lambda bars: {"r1": bars.close.pct_change(), "r5": bars.close.pct_change(5)},
            label=lambda bars: bars.close.pct_change().shift(-1) > 0,
            train="180d", every="30d", horizon=1, lookback=6,
        )

        def target(bars):
            return (model.predict(bars) > 0.55).astype(float)

    `make` returns a new estimator. `features` and `label` are functions of bars: frames time x symbol, by name, and one
    such frame; rows of all symbols are learnt together, rows with a NaN not at all. A label may look `horizon` bars
    ahead, and no further: training at a time R takes the rows of the `train` before R whose label was known at R.
    Training happens at fixed times (multiples of `every` since the epoch). `lookback` is how many bars before a row its
    features need. `seed` goes to an estimator whose random_state is None.

    A window must be `warmup(timeframe)` bars long. Fitted models are kept by time and training data.
    """

    def __init__(
        self,
        make: Callable[[], Estimator],
        *,
        features: Callable[[Bars], Mapping[str, pd.DataFrame]],
        label: Callable[[Bars], pd.DataFrame],
        train: str,
        every: str,
        horizon: int = 1,
        lookback: int = 0,
        seed: int = 0,
    ) -> None:
        for name, value, least in (("horizon", horizon, 1), ("lookback", lookback, 0)):
            if type(value) is not int or value < least:
                raise NotebookError(f"{name} of a model is a number of bars, {least} or more; it is {value!r}")
        self.make = make
        self.features = features
        self.label = label
        self.train = _duration("train", train)
        self.every = _duration("every", every)
        self.horizon = horizon
        self.lookback = lookback
        self.seed = seed
        self._fitted: OrderedDict[tuple[Millis, bytes], Estimator] = OrderedDict()
        self._lock = Lock()

    def warmup(self, timeframe: str) -> int:
        """The warm-up in bars of a strategy with this model: training, the time until the next one, lookback."""
        return -(-(self.train + self.every) // timeframe_millis(timeframe)) + self.lookback

    def predict(self, bars: Bars) -> pd.DataFrame:
        """The prediction at every bar, time x symbol; NaN where a feature is NaN or no model was trained yet.

        For a classifier the probability of its last class (True, 1), for anything else what it predicts.
        """
        table = _Table.of(self.features(bars), bars)
        trained = grid_floor(bars.closes, self.every)
        starts = np.flatnonzero(np.diff(trained, prepend=trained[:1] - 1))
        predicted = np.full((len(bars), len(bars.symbols)), np.nan)
        labels: Grid | None = None
        for start, stop in zip(starts, [*starts[1:], len(bars)], strict=True):
            moment = int(trained[start])
            rows = self._rows(bars, moment)
            if rows is None:
                continue
            if labels is None:
                labels = _numbers(self.label(bars), bars, "label")
            model = self._fit(moment, *table.training(rows, labels))
            if model is not None:
                predicted[start:stop] = table.predict(slice(int(start), int(stop)), model)
        return bars.frame(predicted)

    def _rows(self, bars: Bars, moment: Millis) -> slice | None:
        """The rows to train on at `moment`; None while the bars do not reach back far enough."""
        first = bars.position(moment - self.train)
        if bars.times[0] > moment - self.train or first < self.lookback:
            return None
        known = int(np.searchsorted(bars.closes, moment, side="right"))
        return slice(first, max(known - self.horizon, first))

    def _fit(self, moment: Millis, x: Grid, y: Grid) -> Estimator | None:
        if not len(y):
            return None
        key = moment, sha256(x.tobytes() + y.tobytes()).digest()
        with self._lock:
            model = self._fitted.get(key)
            if model is None:
                model = self._fitted[key] = _fit(self.make(), x, y, self.seed)
            self._fitted.move_to_end(key)
            while len(self._fitted) > MOST_MODELS:
                self._fitted.popitem(last=False)
        return model


@dataclass(frozen=True, slots=True)
class _Table:
    """Features as one array, n x symbols x features, and where all of them are numbers."""

    values: Grid
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, features: Mapping[str, pd.DataFrame], bars: Bars) -> _Table:
        if not isinstance(features, Mapping) or not features:
            raise NotebookError("a model's features are frames by name, such as {'return': bars.close.pct_change()}")
        values = np.stack([_numbers(frame, bars, name) for name, frame in features.items()], axis=2)
        whole: NDArray[np.bool_] = np.all(np.isfinite(values), axis=2)
        return cls(values, whole)

    def training(self, rows: slice, labels: Grid) -> tuple[Grid, Grid]:
        good = self.whole[rows] & np.isfinite(labels[rows])
        return np.ascontiguousarray(self.values[rows][good]), labels[rows][good]

    def predict(self, rows: slice, model: Estimator) -> Grid:
        good = self.whole[rows]
        x = self.values[rows][good]
        found = np.full(good.shape, np.nan)
        if len(x):
            blocks = np.zeros((-(-len(x) // BLOCK) * BLOCK, x.shape[1]))
            blocks[: len(x)] = x
            told = [_predict(model, blocks[first : first + BLOCK]) for first in range(0, len(blocks), BLOCK)]
            found[good] = np.concatenate(told)[: len(x)]
        return found


class _Always:
    """Stands for a classifier that saw one label only: it says that label."""

    def __init__(self, value: float) -> None:
        self.value = value

    def fit(self, X: Any, y: Any) -> _Always:  # noqa: N803
        return self

    def predict(self, X: Any) -> Grid:  # noqa: N803
        return np.full(len(X), self.value)


def _fit(estimator: Estimator, x: Grid, y: Grid, seed: int) -> Estimator:
    if hasattr(estimator, "predict_proba") and len(np.unique(y)) == 1:
        return _Always(float(y[0]))
    if hasattr(estimator, "get_params") and estimator.get_params().get("random_state", seed) is None:
        estimator.set_params(random_state=seed)  # type: ignore[attr-defined]
    estimator.fit(x, y)
    return estimator


def _predict(model: Estimator, x: Grid) -> Grid:
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(x)[:, -1], dtype=np.float64)
    return np.asarray(model.predict(x), dtype=np.float64)


def _numbers(frame: object, bars: Bars, name: str) -> Grid:
    if not isinstance(frame, pd.DataFrame) or frame.shape != bars.close.shape:
        raise NotebookError(f"{name} of a model must be a frame like bars.close, time x symbol; it is a {type(frame)}")
    return frame[list(bars.symbols)].to_numpy(dtype=np.float64)


def _duration(name: str, text: object) -> Millis:
    try:
        return timeframe_millis(str(text))
    except UsageError:
        raise NotebookError(f"{name} of a model is a duration such as '30d'; it is {text!r}") from None
