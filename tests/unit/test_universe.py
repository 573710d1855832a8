from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.errors import NotebookError
from cashup.strategies.bars import FIELDS, Bars

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
SYMBOLS = ("A/USDT", "B/USDT", "C/USDT", "D/USDT")
RULE = cu.Universe(top=2, over="2d", listed="3d", every="1d")


def market(n: int = 24 * 20, listed: int = 24 * 8) -> Bars:
    """Four symbols whose volumes change each day; D has no bars before row `listed`."""
    random = np.random.default_rng(5)
    values = np.empty((len(FIELDS), n, len(SYMBOLS)))
    values[:4] = 100 * np.exp(np.cumsum(random.normal(0, 0.01, (n, len(SYMBOLS))), axis=0))
    values[4] = np.repeat(random.uniform(1, 100, (n // 24, len(SYMBOLS))), 24, axis=0) * random.uniform(
        0.9, 1.1, (n, 1)
    )
    values[:, :listed, 3] = np.nan
    values[:, listed + 100, 3] = np.nan
    return Bars(START + np.arange(n, dtype=np.int64) * HOUR, SYMBOLS, "1h", values)


def all_in(bars: cu.Bars) -> pd.DataFrame:
    return bars.close * 0 + 0.5


def strategy(**changes: Any) -> cu.Strategy:
    return cu.Strategy(
        changes.pop("target", all_in),
        **{"symbols": SYMBOLS, "timeframe": "1h", "warmup": 24 * 5, "universe": RULE} | changes,
    )


def test_the_largest_by_traded_value_of_the_days_before_are_chosen() -> None:
    bars = market()
    chosen = bars.under(RULE).universe
    traded = (bars.close * bars.volume).fillna(0)
    row = 24 * 9 + 23  # closes at the tenth midnight
    best = traded.iloc[row + 1 - 48 : row + 1].sum()[["A/USDT", "B/USDT", "C/USDT"]].nlargest(2).index
    for held in range(row, row + 24):
        assert set(chosen.columns[chosen.iloc[held]]) == set(best), "until the next choice"
    assert chosen.iloc[24 * 4 :].nunique().max() == 2


def test_a_symbol_counts_when_it_was_listed_long_enough() -> None:
    bars = market(listed=24 * 8)
    chosen = bars.under(cu.Universe(top=4, over="2d", listed="3d", every="1d")).universe["D/USDT"]
    first = int(np.argmax(chosen.to_numpy()))
    assert bars.index[first] == bars.index[24 * 12 - 1], "three days after its first day had closed"


def test_before_there_is_history_nobody_is_in() -> None:
    chosen = market().under(RULE).universe
    assert not chosen.iloc[: 24 * 4 - 1].to_numpy().any()
    assert chosen.iloc[24 * 4 - 1].sum() == 2


def test_a_choice_waits_for_all_of_the_time_that_it_ranks_by() -> None:
    chosen = market().under(cu.Universe(top=2, over="6d", listed="1d", every="1d")).universe
    assert not chosen.iloc[: 24 * 6 - 1].to_numpy().any()
    assert chosen.iloc[24 * 6 - 1].sum() == 2


def test_targets_outside_are_zero_and_inside_they_stay() -> None:
    bars = market()
    s = strategy()
    targets = s.targets(bars)
    inside = bars.under(RULE).universe
    assert targets.where(inside, 0.0).equals(targets)
    held = bars.close["D/USDT"].isna() & inside["D/USDT"]
    assert held.sum() <= 1
    assert (targets.to_numpy()[inside & bars.close.notna()] == 0.5).all()
    assert targets["D/USDT"].iloc[: 24 * 8].tolist() == [0.0] * (24 * 8), "NaN before the first bar is 0"


def test_the_target_sees_its_universe() -> None:
    def spread(bars: cu.Bars) -> pd.DataFrame:
        return bars.universe / bars.universe.sum(axis=1).clip(lower=1).to_numpy()[:, None]

    targets = strategy(target=spread).targets(market())
    assert targets.iloc[24 * 5 :].sum(axis=1).tolist() == [1.0] * (24 * 15)
    with pytest.raises(NotebookError, match="no universe"):
        spread(market())


def test_a_function_ranks_too() -> None:
    bars = market()
    rule = cu.Universe(top=1, by=lambda seen: seen.close.pct_change(48), over="2d", listed="3d", every="1d")
    chosen = bars.under(rule).universe
    row = 24 * 9 + 23
    assert chosen.iloc[row].idxmax() == bars.close.pct_change(48).iloc[row].idxmax()
    assert (chosen.iloc[24 * 4 - 1 :].sum(axis=1) == 1).all()


@pytest.mark.parametrize("by", ["volume", lambda bars: bars.close.pct_change(24)])
def test_windows_give_the_targets_of_the_whole(by: Any) -> None:
    rule = cu.Universe(top=2, by=by, over="2d", listed="3d", every="1d")
    bars = market()
    s = strategy(universe=rule, warmup=24 * 5)
    targets = s.targets(bars)
    for row in range(s.warmup, len(bars)):
        decided = np.array(list(s.decide(bars.rows(row - s.warmup, row + 1)).values()))
        assert np.array_equal(decided, targets.to_numpy()[row], equal_nan=True), bars.index[row]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warmup": 24 * 5 - 1}, "warmup=120 or more"),
        ({"universe": 10}, "a rule such as"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        strategy(**change)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 0}, "top is 0"),
        ({"top": 3, "by": "size"}, "by is 'size'"),
        ({"top": 3, "over": "a month"}, "over of a universe"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NotebookError, match=words):
        cu.Universe(**options)
