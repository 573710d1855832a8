from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from cashup.errors import DataError, NotebookError
from cashup.strategies.bars import FIELDS, Bars, to_times
from cashup.strategies.strategy import Strategy

HOUR = 3_600_000


def make_bars(n: int = 10, symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT")) -> Bars:
    values = np.arange(1, len(FIELDS) * n * len(symbols) + 1, dtype=float).reshape(len(FIELDS), n, len(symbols))
    return Bars(np.arange(n, dtype=np.int64) * HOUR, symbols, "1h", values)


def follow(bars: Bars, level: float = 0.0) -> pd.DataFrame:
    return (bars.close > level).astype(float)


def strategy(target=follow, **changes) -> Strategy:
    return Strategy(target, **{"symbols": ["BTC/USDT", "ETH/USDT"], "timeframe": "1h", "warmup": 2} | changes)


def test_frames_are_float64_with_a_utc_index_in_ms_named_timestamp():
    bars = make_bars()
    for field in FIELDS:
        frame = getattr(bars, field)
        assert frame.shape == (10, 2)
        assert (frame.dtypes == np.float64).all()
        assert frame.index.dtype == "datetime64[ms, UTC]"
        assert frame.index.name == "timestamp"
    assert bars.close.iloc[3, 1] == bars.values[3, 3, 1]


def test_a_strategy_cannot_change_the_bars():
    bars = make_bars()
    with pytest.raises(ValueError, match="read-only"):
        bars.close.iloc[0, 0] = 1.0


def test_rows_are_a_window_on_the_same_memory():
    bars = make_bars()
    window = bars.rows(4, 7)
    assert window.close.equals(bars.close.iloc[4:7])
    assert np.shares_memory(window.values, bars.values)
    with pytest.raises(IndexError):
        bars.rows(5, 11)


def test_join_keeps_the_times_that_every_symbol_has():
    left = pd.DataFrame(dict.fromkeys(FIELDS, 1.0), index=make_bars(6).index)
    right = pd.DataFrame(dict.fromkeys(FIELDS, 2.0), index=make_bars(6).index[[0, 2, 3, 5]])
    bars = Bars.join({"A/USDT": left, "B/USDT": right}, "1h")
    assert bars.times.tolist() == [0, 2 * HOUR, 3 * HOUR, 5 * HOUR]
    assert bars.close["B/USDT"].tolist() == [2.0] * 4


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(DataError, match="time zone"):
        to_times(pd.DatetimeIndex(["2025-01-01"]))


def test_the_version_changes_with_one_number():
    values = make_bars().values.copy()
    before = make_bars().version
    assert before == make_bars().version
    values[3, 5, 1] = np.nextafter(values[3, 5, 1], np.inf)
    bars = make_bars()
    assert Bars(bars.times, bars.symbols, "1h", values).version != before
    assert Bars(bars.times, bars.symbols, "30m", bars.values).version != before
    assert Bars(bars.times + 1, bars.symbols, "1h", bars.values).version != before


def test_decide_is_the_last_row_of_targets():
    bars = make_bars()
    s = strategy(params={"level": float(bars.close.iloc[5, 0])})
    assert s.decide(bars.rows(3, 6)) == {"BTC/USDT": 0.0, "ETH/USDT": 1.0}
    assert s.targets(bars).iloc[5].to_dict() == s.decide(bars.rows(3, 6))


def test_columns_in_another_order_are_put_right():
    bars = make_bars()
    swapped = strategy(lambda b: (b.close * 0 + [0.25, 0.5])[["ETH/USDT", "BTC/USDT"]])
    assert swapped.decide(bars) == {"BTC/USDT": 0.25, "ETH/USDT": 0.5}


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (lambda b: None, "returned nothing"),
        (lambda b: b.close["BTC/USDT"], r"a Series of shape \(10,\)"),
        (lambda b: b.close.iloc[1:], r"shape \(9, 2\)"),
        (lambda b: b.close[["BTC/USDT"]], r"shape \(10, 1\)"),
        (lambda b: b.close.shift(freq="1h"), "other times"),
        (lambda b: b.close.rename(columns={"BTC/USDT": "X"}), "columns"),
        (lambda b: b.close.astype(str) + "x", "not numbers"),
        (lambda b: b.close / 0, "infinite"),
        (lambda b: b.close * np.nan, "nothing but NaN"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused_with_a_sentence(target, sentence):
    with pytest.raises(NotebookError, match=sentence):
        strategy(target).targets(make_bars())


def test_numbers_in_the_warm_up_only_are_no_target():
    def early(bars):
        frame = bars.close.copy()
        frame.iloc[2:] = np.nan
        return frame

    with pytest.raises(NotebookError, match="nothing but NaN after its warm-up of 2"):
        strategy(early).targets(make_bars())


def test_what_the_target_raises_comes_through():
    def broken(bars):
        raise KeyError("colour")

    with pytest.raises(KeyError, match="colour"):
        strategy(broken).targets(make_bars())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"symbols": ["BTCUSDT"]}, "did you mean BTC/USDT"),
        ({"symbols": ["btc-usdt"]}, "did you mean BTC/USDT"),
        ({"symbols": ["bitcoin"]}, "write it like BTC/USDT"),
        ({"symbols": "BTC/USDT"}, "is a list"),
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["BTC/USDT", "BTC/USDT"]}, "twice"),
        ({"timeframe": "1hour"}, "not a timeframe"),
        ({"warmup": None}, "names no warm-up"),
        ({"warmup": -1}, "0 or more"),
        ({"warmup": True}, "0 or more"),
        ({"rebalance": 5}, "between 0 and 1"),
        ({"params": {"levle": 1}}, "did you mean 'level'"),
        ({"target": 3}, "target function"),
        ({"target": lambda bars, fast: bars.close}, "needs 'fast'"),
    ],
)
def test_a_strategy_that_cannot_be_meant_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises(NotebookError, match=sentence):
        strategy(**changes)


def test_futures_symbols_are_ccxts():
    assert strategy(symbols=["BTC/USDT:USDT"]).symbols == ("BTC/USDT:USDT",)


def test_other_parameters_leave_the_rest_as_it_is():
    s = strategy(watch=["SOL/USDT"], rebalance=0.1, params={"level": 3.0})
    other = s.with_params({"level": 5.0})
    assert (s.params["level"], other.params["level"]) == (3.0, 5.0)
    assert {**vars(other), "params": None} == {**vars(s), "params": None}
    with pytest.raises(NotebookError, match="did you mean 'level'"):
        s.with_params({"levle": 1.0})


def test_a_boolean_frame_is_a_target():
    bars = make_bars()
    frame = strategy(lambda bars: bars.close > 111).targets(bars)
    assert (frame.dtypes == np.float64).all()
    assert frame.equals((bars.close > 111).astype(float))
    values = strategy(lambda bars: bars.close > 111).target_values(bars)
    assert values.dtype == np.float64
    assert np.array_equal(values, frame.to_numpy())


def test_bars_show_themselves_in_a_notebook_with_what_is_missing():
    bars = make_bars()
    there = [0, 1, 2, 5, 6, 9]
    page = Bars(bars.times[there], bars.symbols, "1h", bars.values[:, there])._repr_html_()
    for words in ("BTC/USDT", "ETH/USDT", "1970-01-01 00:00", "1970-01-01 09:00", ">6<", ">4<"):
        assert words in page


def test_a_strategy_shows_its_settings_and_no_markup_of_others():
    def climb(bars, level):
        """Long above <b>level</b>.

        More.
        """
        return bars.close > level

    page = strategy(climb, params={"level": "<i>"}, watch=["SOL/USDT"])._repr_html_()
    for words in ("Strategy climb", "SOL/USDT", "2 bars", "params: level", "Long above &lt;b&gt;level&lt;/b&gt;."):
        assert words in page
    assert "<i>" not in page
    assert "rebalance" not in page
    assert "More." not in page


def test_bars_travel_to_other_processes_without_what_was_computed_from_them():
    bars = make_bars().split(["BTC/USDT"])
    bars.close  # noqa: B018
    bars.memo.get("key", lambda: 1)
    other = pickle.loads(pickle.dumps(bars))  # noqa: S301
    assert (other.symbols, other.watch.symbols, len(other.memo)) == (("BTC/USDT",), ("ETH/USDT",), 0)
    assert other.close.equals(bars.close)
    assert other.version == bars.version
    with pytest.raises(ValueError, match="read-only"):
        other.values[0, 0, 0] = 1.0
