"""What a strategy sees of the lake, in a backtest and in a replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.errors import DataError, NotebookError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate, generate_funding, generate_open_interest
from cashup.research.backtest import backtest
from cashup.research.history import load_bars, priced, waiting
from cashup.research.replay import replay_report
from cashup.research.spec import RunSpec

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
DAYS = 24 * HOUR
PERPETUAL = "BTC/USDT:USDT"
SPEC = RunSpec(exchange="gate", start="2025-01-08")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Ten days of four spot symbols, of which XRP was listed late and then missed a day, and a perpetual."""
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path))
    lake = Lake(tmp_path / "lake")
    for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT", PERPETUAL):
        lake.write("gate", symbol, "1h", generate(symbol, "1h", START, 240, seed=1))
    late = generate("XRP/USDT", "1h", START + 3 * DAYS, 24 * 7, seed=1)
    late["volume"] *= 1000
    lake.write("gate", "XRP/USDT", "1h", pd.concat([late.iloc[: 24 * 5], late.iloc[24 * 6 :]]))
    lake.write_series("funding", "gate", PERPETUAL, generate_funding(PERPETUAL, START + DAYS, START + 10 * DAYS, 1))
    interest = generate_open_interest(PERPETUAL, START, START + 10 * DAYS, 1)
    lake.write_series("open_interest", "gate", PERPETUAL, interest)
    return lake


def strategy(target: Any, **changes: Any) -> cu.Strategy:
    return cu.Strategy(target, **{"symbols": ["ETH/USDT"], "timeframe": "1h", "warmup": 48} | changes)


def follow(bars: cu.Bars) -> pd.DataFrame:
    """Hold what is traded while the watched symbol rises."""
    rising = (bars.watch.close.diff(5) > 0).any(axis=1).to_numpy()
    return (bars.close > 0) & rising[:, None]


def test_watched_symbols_are_beside_the_traded_ones_on_the_same_times(lake: Lake) -> None:
    bars = load_bars(lake, strategy(follow, watch=["BTC/USDT", "XRP/USDT"]), SPEC)
    assert bars.symbols == ("ETH/USDT",)
    assert bars.watch.symbols == ("BTC/USDT", "XRP/USDT")
    assert bars.watch.index.equals(bars.index)
    assert bars.watch.close["BTC/USDT"].equals(lake.read("gate", "BTC/USDT", "1h")["close"].reindex(bars.index))
    assert len(bars) == 48 + 3 * 24 - 24, "the day that XRP misses is in none of the frames"
    with pytest.raises(NotebookError, match="watch="):
        load_bars(lake, strategy(follow), SPEC).watch  # noqa: B018


def test_the_data_version_covers_what_is_watched(lake: Lake) -> None:
    watching = strategy(follow, watch=["BTC/USDT"])
    bars = load_bars(lake, watching, SPEC)
    tested = backtest(watching, bars, SPEC)
    changed = lake.read("gate", "BTC/USDT", "1h")
    changed.iloc[200, 4] += 1
    lake.write("gate", "BTC/USDT", "1h", changed)
    assert load_bars(lake, watching, SPEC).version != bars.version == tested.data_version
    again = RunSpec(exchange="gate", start="2025-01-08", data_version=bars.version)
    assert np.array_equal(load_bars(lake, watching, again).watch.values, bars.watch.values)


def test_funding_and_open_interest_are_what_was_known_at_the_close(lake: Lake) -> None:
    s = strategy(follow, symbols=[PERPETUAL], watch=["BTC/USDT"], sees=["funding", "open_interest"])
    bars = load_bars(lake, s, RunSpec(exchange="gate"))
    rates = lake.funding("gate", PERPETUAL)
    assert bars.funding[PERPETUAL].iloc[:23].isna().all()
    assert bars.funding[PERPETUAL].iloc[23] == rates.iloc[0], "due at midnight, when the bar of 23:00 closes"
    assert bars.funding[PERPETUAL].iloc[30] == rates.iloc[0]
    assert bars.funding[PERPETUAL].iloc[31] == rates.iloc[1]
    interest = lake.open_interest("gate", PERPETUAL)
    assert bars.open_interest[PERPETUAL].iloc[10] == interest.iloc[11]
    assert bars.watch.funding["BTC/USDT"].isna().all(), "spot has none"
    assert bars.rows(20, 40).funding.equals(bars.funding.iloc[20:40])


def test_what_is_not_asked_for_is_not_there(lake: Lake) -> None:
    bars = load_bars(lake, strategy(follow, symbols=[PERPETUAL]), SPEC)
    with pytest.raises(NotebookError, match=r"sees=\['funding'\]"):
        bars.funding  # noqa: B018
    lake.write("gate", "ETH/USDT:USDT", "1h", generate("ETH/USDT:USDT", "1h", START, 240, seed=1))
    with pytest.raises(DataError, match="the strategy sees funding, and"):
        load_bars(lake, strategy(follow, symbols=["ETH/USDT:USDT"], sees=["funding"]), SPEC)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sees": "funding"}, "sees is a list"),
        ({"sees": ["fundings"]}, "did you mean 'funding'"),
        ({"sees": ["funding"]}, "spot symbols have no funding"),
    ],
)
def test_what_cannot_be_seen_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        strategy(follow, **options)


def windows_agree(s: cu.Strategy, bars: cu.Bars) -> pd.DataFrame:
    targets = s.targets(bars)
    for row in range(s.warmup, len(bars)):
        decided = np.array(list(s.decide(bars.rows(row - s.warmup, row + 1)).values()))
        assert np.array_equal(decided, targets.to_numpy()[row], equal_nan=True), bars.index[row]
    return targets


def test_windows_give_the_targets_of_the_whole_with_watched_symbols_and_funding(lake: Lake) -> None:
    def carry(bars: cu.Bars) -> pd.DataFrame:
        return (bars.funding > 0.0001) & (bars.open_interest.diff(3) > 0) & follow(bars)

    s = strategy(carry, symbols=[PERPETUAL], watch=["BTC/USDT"], sees=["funding", "open_interest"])
    assert windows_agree(s, load_bars(lake, s, SPEC)).nunique().tolist() == [2]


def test_replay_agrees_with_the_backtest_of_a_strategy_that_watches(lake: Lake) -> None:
    report = replay_report(strategy(follow, watch=["BTC/USDT"]), lake, SPEC)
    assert report.parity.equal, report.report()
    assert len(report.backtest.orders) > 4


def universe_of_four() -> cu.Strategy:
    def equal(bars: cu.Bars) -> pd.DataFrame:
        return bars.universe * 0.5

    return strategy(
        equal,
        symbols=["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"],
        universe=cu.Universe(top=2, over="1d", listed="1d", every="1d"),
        warmup=24 * 3,
    )


def test_a_universe_sees_candidates_without_bars_and_trades_them_when_they_have_some(lake: Lake) -> None:
    s = universe_of_four()
    spec = RunSpec(exchange="gate", start="2025-01-04")
    bars = load_bars(lake, s, spec)
    assert len(bars) == 240
    assert bars.close["XRP/USDT"].isna().sum() == 24 * 4
    targets = windows_agree(s, bars)
    assert targets["XRP/USDT"].max() == 0.5
    tested = backtest(s, bars, spec)
    assert np.isfinite(tested.equity).all()
    there = bars.index[bars.close["XRP/USDT"].notna()]
    traded = tested.orders[tested.orders["symbol"] == "XRP/USDT"]
    assert len(traded) >= 2
    assert traded["timestamp"].isin(there).all(), "never where there is no bar"


def test_replay_agrees_with_the_backtest_of_a_universe(lake: Lake) -> None:
    report = replay_report(universe_of_four(), lake, RunSpec(exchange="gate", start="2025-01-04"))
    assert report.parity.equal, report.report()


def test_where_there_is_no_bar_the_last_close_stands_and_a_target_waits() -> None:
    values = np.arange(1.0, 26.0).reshape(5, 5, 1)
    values[:, [0, 3], 0] = np.nan
    bars = cu.Bars(np.arange(5, dtype=np.int64) * HOUR, ["ETH/USDT"], "1h", values)
    shown = priced(bars)
    assert shown.close.iloc[:, 0].tolist() == [2.0, 17.0, 18.0, 18.0, 20.0], "before the first bar its open"
    assert shown.open.iloc[3, 0] == 18.0
    assert np.isnan(bars.close.iloc[3, 0])
    targets = np.array([[0.0], [0.5], [1.0], [np.nan]])
    assert np.array_equal(waiting(targets, bars, 1)[:, 0], [0.0, np.nan, 1.0, 1.0], equal_nan=True)


def always(bars: cu.Bars) -> pd.DataFrame:
    return bars.close > 0


def grown(lake: Lake, kind: str, *, factor: float = 1.0) -> None:
    """The rows of a kind times `factor`, with more behind them."""
    frame = lake.read_series(kind, "gate", PERPETUAL) * factor
    later = frame.iloc[-8:]
    later.index = later.index + pd.Timedelta(days=10)
    lake.write_series(kind, "gate", PERPETUAL, pd.concat([frame, later]))


def test_a_version_covers_the_funding_that_a_run_pays_and_finds_it_again(lake: Lake) -> None:
    s = strategy(always, symbols=[PERPETUAL])
    paid = backtest(s, load_bars(lake, s, SPEC), SPEC)
    bare = load_bars(lake, s, replace(SPEC, funding=False)).version
    assert paid.data_version != bare
    grown(lake, "funding")
    assert load_bars(lake, s, SPEC).version == paid.data_version, "rows behind the bars are none of this run's"
    grown(lake, "funding", factor=3.0)
    assert load_bars(lake, s, replace(SPEC, funding=False)).version == bare
    corrected = backtest(s, load_bars(lake, s, SPEC), SPEC)
    assert corrected.data_version != paid.data_version
    assert corrected.funding["amount"].sum() != paid.funding["amount"].sum()
    lake.prune()
    then = replace(SPEC, data_version=paid.data_version[:12])
    again = backtest(s, load_bars(lake, s, then), then)
    assert again.data_version == paid.data_version
    assert again.equity.equals(paid.equity)
    assert again.funding.equals(paid.funding)


def test_a_version_covers_what_a_strategy_sees(lake: Lake) -> None:
    s = strategy(always, symbols=["ETH/USDT"], watch=[PERPETUAL], sees=["open_interest"])
    spec = replace(SPEC, end="2025-01-10")
    seen = load_bars(lake, s, spec)
    grown(lake, "funding", factor=2.0)
    assert load_bars(lake, s, spec).version == seen.version, "it sees no funding"
    grown(lake, "open_interest", factor=2.0)
    corrected = load_bars(lake, s, spec)
    assert corrected.version != seen.version
    assert not corrected.watch.open_interest.equals(seen.watch.open_interest)
    again = load_bars(lake, s, replace(spec, data_version=seen.version))
    assert again.version == seen.version
    assert again.watch.open_interest.equals(seen.watch.open_interest)


def test_a_perpetual_that_had_no_funding_in_a_run_has_none_when_it_is_repeated(lake: Lake) -> None:
    other = "ETH/USDT:USDT"
    lake.write("gate", other, "1h", generate(other, "1h", START, 240, seed=1))
    s = strategy(always, symbols=[PERPETUAL, other])
    before = load_bars(lake, s, SPEC)
    lake.write_series("funding", "gate", other, generate_funding(other, START, START + 10 * DAYS, 1))
    assert load_bars(lake, s, SPEC).version != before.version
    then = replace(SPEC, data_version=before.version)
    again = backtest(s, load_bars(lake, s, then), then)
    assert again.data_version == before.version
    assert set(again.funding["symbol"]) == {PERPETUAL}
    assert any(other in note for note in again.notes)
