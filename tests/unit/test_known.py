from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.errors import NotebookError
from cashup.markets.synthetic import generate
from cashup.strategies.bars import Bars

START = 1_735_689_600_000  # 2025-01-01


def hourly(n: int = 72) -> Bars:
    return Bars.join({"BTC/USDT": generate("BTC/USDT", "1h", START, n, seed=1)}, "1h")


def at(*texts: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([f"2025-01-{text}" for text in texts], tz="UTC")


def test_a_row_is_there_with_the_first_bar_that_closes_after_it_was_known() -> None:
    mood = pd.Series([1.0, 2.0], index=at("01 05:00", "01 07:30"))
    joined = hourly(10).known(mood)
    assert np.isnan(joined.iloc[3])
    assert joined.iloc[4] == 1.0, "the bar of 04:00 closes at 05:00"
    assert joined.iloc[6] == 1.0
    assert joined.iloc[7] == 2.0, "07:30 is inside the bar of 07:00"


def test_a_moment_after_the_close_is_too_late() -> None:
    mood = pd.Series([1.0], index=at("01 05:00:00.000001"))
    joined = hourly(10).known(mood)
    assert np.isnan(joined.iloc[4])
    assert joined.iloc[5] == 1.0


def test_the_column_of_knowledge_counts_and_not_what_the_row_is_about() -> None:
    figures = pd.DataFrame({"value": [1.0, 2.0], "published": at("01 06:00", "02 03:00")}, index=at("01", "02"))
    joined = hourly().known(figures, at="published")
    assert list(joined.columns) == ["value"]
    assert joined["value"].isna().sum() == 5
    assert joined["value"].iloc[25] == 1.0
    assert joined["value"].iloc[26] == 2.0
    later = hourly().known(figures, "published", delay="2h")
    assert later["value"].isna().sum() == 7


def test_a_late_row_about_an_earlier_time_does_not_hide_a_newer_one_and_a_revision_replaces() -> None:
    figures = pd.DataFrame(
        {"value": [3.0, 1.0, 2.0, 2.5], "published": at("01 09:00", "01 04:00", "01 06:00", "01 08:00")},
        index=at("01 01:00", "01 01:00", "01 02:00", "01 02:00"),
    )
    joined = hourly(12).known(figures, at="published")["value"]
    assert joined.iloc[3:6].tolist() == [1.0, 1.0, 2.0]
    assert joined.iloc[7] == 2.5, "a revision of the newest"
    assert joined.iloc[8:].tolist() == [2.5] * 4, "a revision of an older one"


def test_what_was_never_published_is_never_known() -> None:
    figures = pd.DataFrame({"value": [1.0, 2.0], "published": at("01 02:00", "01 03:00")}, index=at("01", "02"))
    figures.loc[figures.index[1], "published"] = pd.NaT
    joined = hourly().known(figures, at="published", delay="1d")["value"]
    assert joined.dropna().unique().tolist() == [1.0]


def test_a_row_about_no_time_does_not_hide_the_others() -> None:
    told = at("01 02:00", "01 03:00")
    figures = pd.DataFrame({"value": [1.0, 2.0], "published": told}, index=pd.DatetimeIndex([told[0], pd.NaT]))
    assert hourly().known(figures, at="published")["value"].dropna().unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (pd.Series([1.0], index=pd.DatetimeIndex(["2025-01-01"])), {}, "time zone"),
        (pd.Series([1.0], index=[3]), {}, "time zone"),
        (pd.DataFrame({"value": [1.0], "seen": ["2025-01-01"]}, index=at("01")), {"at": "seen"}, "'seen' needs times"),
        (pd.DataFrame({"value": [1.0]}, index=at("01")), {"at": "seen"}, "no column 'seen'"),
        (pd.Series([1.0], index=at("01")), {"at": "seen"}, "no column 'seen'"),
        (pd.Series([1.0], index=at("01")), {"delay": "soon"}, "delay is a duration"),
    ],
)
def test_data_without_a_time_of_knowledge_are_refused(data: pd.Series, options: dict, words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        hourly(3).known(data, **options)


def test_windows_give_the_targets_of_the_whole() -> None:
    mood = pd.DataFrame(
        {"mood": np.sin(np.arange(40)), "told": pd.date_range("2025-01-01 00:20", periods=40, freq="97min", tz="UTC")},
        index=pd.date_range("2025-01-01", periods=40, freq="97min", tz="UTC"),
    ).sample(frac=1, random_state=3)

    def target(bars: cu.Bars) -> pd.DataFrame:
        told = bars.known(mood, at="told")
        return bars.close.mul(0).add((told["mood"] > 0).astype(float), axis=0)

    strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=1)
    bars = hourly()
    targets = strategy.targets(bars)
    assert set(targets.iloc[:, 0]) == {0.0, 1.0}
    for row in range(1, len(bars)):
        assert strategy.decide(bars.rows(row - 1, row + 1)) == targets.iloc[row].to_dict()
