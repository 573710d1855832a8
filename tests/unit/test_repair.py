from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cashup.errors import DataError, UsageError
from cashup.markets.remarks import remarks
from cashup.markets.repair import repair
from cashup.markets.resample import resample
from cashup.markets.synthetic import generate

MINUTE = 60_000
HOUR = 3_600_000
START = 1_735_689_600_000
LATER = START + 10_000 * HOUR


def bars(count: int = 600) -> pd.DataFrame:
    return generate("BTC/USDT", "1h", START, count, 5)


def codes(frame: pd.DataFrame, now: int = LATER) -> dict[str, int]:
    return {remark.code: remark.count for remark in remarks(frame, "1h", now)}


def test_nothing_is_remarked_about_an_ordinary_market():
    assert codes(bars(5_000)) == {}


def test_a_bad_tick_and_a_wick_are_remarked_with_their_time():
    frame = bars()
    frame.iloc[100, 1] *= 1.5
    frame.iloc[200, [1, 3]] *= 1.5
    found = {remark.code: remark for remark in remarks(frame, "1h", LATER)}
    assert found["outlier"].count == 2  # there and back
    assert found["outlier"].first == START + 200 * HOUR
    assert found["wick"].first == START + 100 * HOUR


def test_a_shift_of_volatility_is_no_outlier():
    frame = bars()
    quiet = np.r_[np.full(300, 0.2), np.full(300, 3.0)]
    close = 60_000 * np.exp(np.cumsum(np.diff(np.log(frame["close"]), prepend=np.log(60_000)) * quiet))
    flat = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close"], close) | {"volume": 1.0}, index=frame.index)
    assert "outlier" not in codes(flat)


def test_silence_and_frozen_prices_are_remarked_from_a_run_on():
    frame = bars()
    frame.iloc[50:52, 4] = 0
    assert codes(frame) == {}
    frame.iloc[52, 4] = 0
    assert codes(frame) == {"zero_volume": 3}
    frame.iloc[300:312, :4] = frame.iloc[299, 3]
    assert codes(frame)["frozen"] >= 11


def test_a_last_bar_that_is_still_open_is_remarked():
    assert codes(bars(), START + 600 * HOUR - 1) == {"open_bar": 1}
    assert codes(bars(), START + 600 * HOUR) == {}


# -- repair -------------------------------------------------------------------------------------------------------


def test_nothing_is_repaired_unless_it_is_named():
    frame = bars().drop(bars().index[[5, 6]])
    done = repair(frame, "1h")
    assert done.steps == ()
    assert done.frame.equals(frame)
    assert done.filled == ()


def test_flat_bars_are_made_up_at_the_last_close_and_marked():
    frame = bars()
    done = repair(frame.drop(frame.index[[5, 6, 20]]), "1h", fill="flat")
    assert [(step.code, step.count, step.first) for step in done.steps] == [("fill_flat", 3, START + 5 * HOUR)]
    assert done.filled == ((START + 5 * HOUR, START + 6 * HOUR), (START + 20 * HOUR, START + 20 * HOUR))
    assert len(done.frame) == 600
    assert done.frame.iloc[6].tolist() == [frame["close"].iloc[4]] * 4 + [0.0]
    assert done.frame.iloc[7].equals(frame.iloc[7])


def test_real_bars_take_the_place_of_made_up_ones_and_of_no_others():
    frame = bars()
    made = repair(frame.drop(frame.index[[5, 6]]), "1h", fill="flat")
    theirs = frame.iloc[4:6] * 1.01
    done = repair(made.frame, "1h", fetched=theirs, filled=made.filled)
    assert [(step.code, step.count) for step in done.steps] == [("from_exchange", 1)]
    assert done.filled == ((START + 6 * HOUR, START + 6 * HOUR),)
    assert done.frame.iloc[4].equals(frame.iloc[4])
    assert done.frame["close"].iloc[5] == theirs["close"].iloc[1]


def test_bad_bars_and_duplicates_go_and_the_rest_stays():
    frame = bars()
    wrong = pd.concat([frame, frame.iloc[[3]] * 1.1])
    wrong.iloc[10, 1] = np.nan
    done = repair(wrong, "1h", drop_bad=True, drop_duplicates=True)
    assert [(step.code, step.count) for step in done.steps] == [("drop_bad", 1), ("drop_duplicates", 1)]
    assert len(done.frame) == 599
    assert done.frame["close"].iloc[3] == frame["close"].iloc[3] * 1.1
    assert done.frame.index.is_monotonic_increasing


def test_outliers_go_when_asked():
    frame = bars()
    frame.iloc[200, :4] *= 1.5
    done = repair(frame, "1h", drop_outliers=True, fill="flat")
    assert done.steps[0].code == "drop_outliers"
    assert done.frame["close"].max() < frame["close"].max()


# -- resample -----------------------------------------------------------------------------------------------------


def minutes(first: int, count: int) -> pd.DataFrame:
    return generate("BTC/USDT", "1m", START + first * MINUTE, count, 2)


def test_hours_are_made_of_their_minutes():
    frame = minutes(0, 180)
    made = resample(frame, "1m", "1h")
    assert made.index.asi8.tolist() == [START, START + HOUR, START + 2 * HOUR]
    second = frame.iloc[60:120]
    expected = [second["open"].iloc[0], second["high"].max(), second["low"].min(), second["close"].iloc[-1]]
    assert made.iloc[1].tolist()[:4] == expected
    assert made["volume"].iloc[1] == pytest.approx(second["volume"].sum(), rel=1e-12)


def test_what_pandas_makes_of_it_is_the_same():
    frame = minutes(0, 3_000).drop(minutes(0, 3_000).index[[70, 71, 1_000]])
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    expected = frame.resample("15min", label="left", closed="left").agg(rule)
    made = resample(frame, "1m", "15m")
    pd.testing.assert_frame_equal(made, expected, check_freq=False, check_index_type=False)


@pytest.mark.parametrize(("first", "count", "hours"), [(1, 119, [1]), (0, 119, [0]), (1, 178, [1]), (30, 90, [1])])
def test_incomplete_hours_at_the_ends_are_left_out(first, count, hours):
    made = resample(minutes(first, count), "1m", "1h")
    assert made.index.asi8.tolist() == [START + hour * HOUR for hour in hours]


def test_weeks_open_on_monday():
    made = resample(generate("BTC/USDT", "1d", START, 30, 1), "1d", "1w")
    assert set(made.index.day_of_week) == {0}
    assert made.index[0] == pd.Timestamp("2025-01-06", tz="UTC")


def test_what_cannot_be_resampled_says_why():
    with pytest.raises(UsageError, match="1h bars cannot be made of 1h bars"):
        resample(bars(), "1h", "1h")
    with pytest.raises(UsageError, match="90m bars cannot be made of 1h bars"):
        resample(bars(), "1h", "90m")
    with pytest.raises(DataError, match="do not cover one 1h bar"):
        resample(minutes(1, 59), "1m", "1h")
