from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

import cashup as cu
from cashup.errors import NotebookError
from cashup.markets.synthetic import generate
from cashup.strategies.bars import Bars

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
SYMBOLS = ("BTC/USDT", "ETH/USDT")


def hourly(n: int = 24 * 16, symbols: tuple[str, ...] = SYMBOLS) -> Bars:
    return Bars.join({symbol: generate(symbol, "1h", START, n, seed=1) for symbol in symbols}, "1h")


def returns(bars: cu.Bars) -> dict[str, pd.DataFrame]:
    return {"r1": bars.close.pct_change(), "r5": bars.close.pct_change(5), "day": bars.close / bars.open - 1}


def rises(bars: cu.Bars) -> pd.DataFrame:
    return bars.close.shift(-1) > bars.close


def model(make: Any = LogisticRegression, **changes: Any) -> cu.RollingModel:
    options = {"features": returns, "label": rises, "train": "5d", "every": "2d", "horizon": 1, "lookback": 6}
    return cu.RollingModel(make, **options | changes)


def test_it_is_what_scikit_learn_says_when_it_is_trained_by_hand() -> None:
    bars = hourly()
    predicted = model().predict(bars)
    moment = pd.Timestamp("2025-01-10", tz="UTC")  # an even number of days since the epoch
    known = bars.index + pd.Timedelta("1h") <= moment
    rows = np.flatnonzero(known & (bars.index >= moment - pd.Timedelta("5D")))[:-1]  # the last label is not known yet
    x = np.stack([frame.to_numpy() for frame in returns(bars).values()], axis=2)
    y = rises(bars).to_numpy(dtype=float)
    by_hand = LogisticRegression().fit(x[rows].reshape(-1, 3), y[rows].ravel())
    at = bars.index.get_loc(moment) + 7
    assert predicted.iloc[at].tolist() == pytest.approx(by_hand.predict_proba(x[at])[:, 1].tolist(), rel=1e-12)


def test_before_the_first_training_there_is_no_prediction() -> None:
    bars = hourly()
    m = model()
    predicted = m.predict(bars)
    assert m.warmup("1h") == 7 * 24 + 6
    assert predicted.iloc[: 5 * 24 + 4].isna().all().all()
    assert predicted.iloc[m.warmup("1h") :].notna().all().all()


def test_a_training_waits_for_all_of_its_rows() -> None:
    bars = hourly()
    predicted = model(features=lambda bars: {"day": bars.close / bars.open - 1}, lookback=0).predict(bars)
    assert predicted.iloc[: 5 * 24 - 1].isna().all().all()
    assert predicted.iloc[7 * 24 :].notna().all().all()


def test_nothing_after_a_training_changes_what_it_learnt() -> None:
    bars = hourly()
    values = bars.values.copy()
    cut = 24 * 12
    values[:4, cut:] *= np.exp(np.random.default_rng(3).normal(0, 0.05, values[0, cut:].shape))
    other = Bars(bars.times, bars.symbols, "1h", values)
    assert model().predict(other).iloc[:cut].equals(model().predict(bars).iloc[:cut])


@pytest.mark.parametrize(
    "make",
    [LogisticRegression, LinearRegression, lambda: RandomForestClassifier(n_estimators=5, max_depth=3)],
    ids=["logistic", "linear", "forest"],
)
def test_windows_give_the_predictions_of_the_whole_to_the_last_digit(make: Any) -> None:
    m, bars = model(make), hourly()
    strategy = cu.Strategy(lambda bars: m.predict(bars), symbols=SYMBOLS, timeframe="1h", warmup=m.warmup("1h"))
    targets = strategy.targets(bars)
    assert targets.iloc[strategy.warmup :].nunique().min() > 5
    for row in range(strategy.warmup, len(bars)):
        assert strategy.decide(bars.rows(row - strategy.warmup, row + 1)) == targets.iloc[row].to_dict()
    again = model(make).predict(bars)
    assert again.equals(targets), "the seed is the same"


def test_a_window_does_not_train_what_was_trained_before() -> None:
    fits: list[int] = []

    class Counted(LogisticRegression):
        def fit(self, X: Any, y: Any) -> Any:  # noqa: N803
            fits.append(len(y))
            return super().fit(X, y)

    m, bars = model(Counted), hourly()
    m.predict(bars)
    trained = len(fits)
    warmup = m.warmup("1h")
    for row in range(warmup, warmup + 60):
        m.predict(bars.rows(row - warmup, row + 1))
    assert len(fits) == trained == 5


def test_one_label_alone_is_what_is_predicted() -> None:
    m = model(label=lambda bars: bars.close > 0)
    assert set(m.predict(hourly()).iloc[200:].to_numpy().ravel()) == {1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": "long"}, "train of a model"),
        ({"horizon": 0}, "horizon"),
        ({"features": lambda bars: bars.close}, "frames by name"),
        ({"features": lambda bars: {"last": bars.close.iloc[-1]}}, "last of a model"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        model(**changes).predict(hourly())
