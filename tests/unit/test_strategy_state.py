"""What a strategy keeps: JSON and nothing else, the same in a backtest, a replay and after a resumption at any bar."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.errors import NotebookError
from cashup.exchanges.rules import ideal_market
from cashup.research.backtest import backtest
from cashup.research.checks.run import check
from cashup.research.checks.verdict import Verdict
from cashup.research.spec import RunSpec
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy
from cashup.trading.replay import replay

HOUR = 3_600_000


def make_bars(count: int = 300, seed: int = 1) -> Bars:
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    rows = [opened, np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998, close, np.ones(count)]
    return Bars(np.arange(count, dtype=np.int64) * HOUR, ["ETH/USDT"], "1h", np.array(rows)[:, :, None])


def trailing(fall: float = 0.02, **options: Any) -> Strategy:
    """Long after a rise, out when the price has fallen from its best since the entry, then three bars of rest."""

    def target(bars: Bars, fall: float) -> pd.DataFrame:
        state, close = strategy.state, bars.close.iloc[-1, 0]
        if state["best"] is not None:
            state["best"] = max(state["best"], close)
            if close < state["best"] * (1 - fall):
                state.update(best=None, rest=3, exits=[*state["exits"], close][-5:])
        elif state["rest"]:
            state["rest"] -= 1
        elif bars.close.iloc[-1, 0] > bars.close.iloc[0, 0]:
            state["best"] = close
        return bars.close * 0 + float(state["best"] is not None)

    strategy = Strategy(
        target,
        symbols=["ETH/USDT"],
        timeframe="1h",
        warmup=4,
        params={"fall": fall},
        state={"best": None, "rest": 0, "exits": []},
        **options,
    )
    return strategy


# --- what may be kept ---------------------------------------------------------------------------------------------


def kept(value: Any) -> Strategy:
    return Strategy(lambda bars: bars.close, symbols=["A/USDT"], timeframe="1h", warmup=0, state={"x": value})


text = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(text, parts),
    max_leaves=8,
)


@given(plain)
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    strategy = kept(value)
    strategy.begin(strategy.kept)
    assert repr(strategy.state["x"]) == repr(value)


def test_numbers_of_numpy_become_plain_ones() -> None:
    strategy = kept([np.float64(0.1), np.int64(7), np.bool_(True), np.float32(0.5)])
    assert [type(value) for value in strategy.state["x"]] == [float, int, bool, float]
    assert strategy.state["x"] == [0.1, 7, True, 0.5]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), r"strategy.state\['x'\] is nan, which JSON does not know; use None"),
        ((1, 2), r"strategy.state\['x'\] is a tuple;.*write a list"),
        ([{"at": pd.Timestamp("2025-01-01")}], r"strategy.state\['x'\]\[0\]\['at'\] is a Timestamp"),
        (np.zeros(3), r"strategy.state\['x'\] is a ndarray"),
        (np.datetime64("2025-01-01"), r"strategy.state\['x'\] is a datetime64"),
        (Decimal(1), r"is a Decimal"),
        ({1: 2}, r"a key of strategy.state\['x'\] is 1, a int; keys are text"),
        (2**63, "larger than JSON readers agree on"),
        ("x" * 300_000, "300,.* bytes as JSON, and at most 262,144 are kept with a bar; most of it is in 'x'"),
        ("\ud800", "cannot be kept"),
    ],
)
def test_what_is_no_json_is_named(value: Any, sentence: str) -> None:
    with pytest.raises(NotebookError, match=sentence):
        kept(value)


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotebookError, match="nested deeper than 20"):
        kept(endless)


def test_a_value_that_the_target_put_there_is_named_when_its_bar_is_over() -> None:
    def target(bars: Bars) -> pd.DataFrame:
        strategy.state["seen"] = bars.index[-1]
        return bars.close

    strategy = Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=2, state={})
    with pytest.raises(NotebookError, match=r"strategy.state\['seen'\] is a Timestamp"):
        strategy.targets(make_bars(10))


def test_a_state_that_was_not_declared_is_asked_for() -> None:
    with pytest.raises(NotebookError, match=r"say what it begins with: cu.Strategy\(..., state="):
        _ = Strategy(lambda bars: bars.close, symbols=["A/USDT"], timeframe="1h", warmup=0).state
    with pytest.raises(NotebookError, match="state is a dict"):
        Strategy(lambda bars: bars.close, symbols=["A/USDT"], timeframe="1h", warmup=0, state=["x"])  # type: ignore[arg-type]


def test_a_stop_may_not_read_it() -> None:
    strategy = trailing(stop_loss=lambda bars: bars.close * 0 + strategy.state["rest"])
    with pytest.raises(NotebookError, match="a stop is a function of bars"):
        backtest(strategy, make_bars(), RunSpec())
    assert strategy.state["rest"] >= 0


# --- one meaning in every mode ------------------------------------------------------------------------------------


def test_backtest_and_replay_agree() -> None:
    bars, strategy = make_bars(), trailing()
    tested = backtest(strategy, bars, RunSpec(fee=0.001))
    markets = {symbol: ideal_market(symbol, fee=Decimal("0.001")) for symbol in strategy.symbols}
    for decisions in ("window", "frame"):
        replayed = replay(strategy, bars, markets, capital=Decimal(10_000), decisions=decisions)  # type: ignore[arg-type]
        assert [order.order.side.value for order in replayed.orders] == tested.orders["side"].tolist()
        np.testing.assert_allclose(replayed.equity.to_numpy(), tested.equity.to_numpy(), rtol=1e-9)
    assert len(tested.orders) > 10


def test_a_run_begins_with_what_was_declared_whatever_ran_before() -> None:
    bars, strategy = make_bars(), trailing()
    first = strategy.targets(bars)
    assert strategy.state["exits"]
    assert strategy.targets(bars).equals(first)
    assert (
        strategy.with_params({"fall": 0.05}).targets(bars).iloc[4:].to_numpy().sum() > first.iloc[4:].to_numpy().sum()
    )


@pytest.mark.parametrize("death", [5, 40, 41, 120, 299])
def test_a_run_that_is_continued_from_any_bar_is_the_undisturbed_one(death: int) -> None:
    bars, strategy = make_bars(), trailing()
    whole = strategy.targets(bars).to_numpy()[:, 0]
    last = strategy.kept
    strategy.begin()
    for row in range(4, death):
        strategy.decide(bars.rows(row - 4, row + 1))
    text = strategy.kept
    again = trailing()  # another process: nothing is left but the text
    again.begin(text)
    targets = [again.decide(bars.rows(row - 4, row + 1))["ETH/USDT"] for row in range(death, len(bars))]
    assert targets == whole[death:].tolist()
    assert again.kept == last


def test_a_bar_sees_no_more_than_its_window() -> None:
    lengths = []

    def target(bars: Bars) -> pd.DataFrame:
        lengths.append(len(bars))
        return bars.close * 0

    strategy = Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, state={})
    strategy.targets(make_bars(20))
    assert lengths == [5] * 16


# --- honesty ------------------------------------------------------------------------------------------------------


def test_the_checks_accuse_no_honest_strategy_with_a_state() -> None:
    report = check(trailing(), make_bars(150))
    verdicts = {one.name: one.verdict for one in report.checks}
    assert verdicts["lookahead"] is verdicts["warmup"] is verdicts["determinism"] is Verdict.PASSED


def test_a_future_that_lies_outside_of_the_bars_is_found() -> None:
    bars = make_bars(150)
    everything = bars.close

    def target(window: Bars) -> pd.DataFrame:
        strategy.state["calls"] += 1
        now = everything.index.searchsorted(window.index[-1])
        ahead = everything.iloc[min(now + 3, len(everything) - 1), 0]
        return window.close * 0 + float(ahead > window.close.iloc[-1, 0])

    strategy = Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, state={"calls": 0})
    (found,) = check(strategy, bars, only=["lookahead"]).checks
    assert found.verdict is Verdict.FAILED


def test_chance_is_found_in_a_state() -> None:
    def target(bars: Bars) -> pd.DataFrame:
        strategy.state["luck"] = float(np.random.random())
        return bars.close * 0 + strategy.state["luck"]

    strategy = Strategy(target, symbols=["ETH/USDT"], timeframe="1h", warmup=4, state={"luck": 0.0})
    (found,) = check(strategy, make_bars(100), only=["determinism"]).checks
    assert found.verdict is Verdict.FAILED
