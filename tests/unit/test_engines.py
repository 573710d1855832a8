"""The engines agree: the kernel in float64, the trading code in Decimal, vectorbt where it can."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cashup.research.backtest import backtest, scenario_of
from cashup.research.replay import backtest_record
from cashup.research.simulation import by_kernel, by_vectorbt
from cashup.research.spec import RunSpec
from cashup.research.venue import funding_rates, ideal_markets, orders_of, payments_of
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy
from cashup.trading.parity import Record, compare
from cashup.trading.replay import exact, replay

HOUR = 3_600_000
SPOT = ["ETH/USDT", "XRP/USDT", "BTC/USDT"]
PERPETUALS = [f"{symbol}:USDT" for symbol in SPOT]
NAN = float("nan")
LONG = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.5000001, 1.0, 1.3, NAN, NAN, NAN])
BOTH = st.sampled_from([0.0, 0.25, -0.25, 1 / 3, -0.5, 0.5, 1.0, -1.0, 1.5, -2.3, NAN, NAN, NAN, NAN])

few = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def walk(count: int, symbols: list[str], seed: int) -> Bars:
    """Random bars, with gaps between a close and the next open, on a grid of prices."""
    chance = np.random.default_rng(seed)
    values = np.empty((5, count, len(symbols)))
    for column, price in enumerate([3000.0, 2.5, 100_000.0][: len(symbols)]):
        close = price * np.exp(np.cumsum(chance.normal(0, 0.02, count)))
        opened = np.concatenate([[price], close[:-1]]) * np.exp(chance.normal(0, 0.01, count))
        high = np.maximum(opened, close) * (1 + chance.exponential(0.01, count))
        low = np.minimum(opened, close) * (1 - chance.uniform(0, 0.02, count))
        values[:4, :, column] = np.round([opened, high, low, close], 4)
    values[4] = 1.0
    return Bars(np.arange(count, dtype=np.int64) * HOUR, symbols, "1h", values)


def following(bars: Bars, targets: np.ndarray, **how: Any) -> Strategy:
    frame = pd.DataFrame(targets, index=bars.index, columns=bars.close.columns)
    return Strategy(lambda b: frame.loc[b.index], symbols=list(bars.symbols), timeframe="1h", warmup=1, **how)


@st.composite
def wishes(draw: st.DrawFn, names: list[str], levels: st.SearchStrategy[float]) -> tuple[Bars, np.ndarray]:
    symbols = names[: draw(st.integers(1, 3))]
    count = draw(st.integers(6, 40))
    bars = walk(count, symbols, draw(st.integers(0, 2**20)))
    rows = draw(
        st.lists(st.lists(levels, min_size=len(symbols), max_size=len(symbols)), min_size=count, max_size=count)
    )
    targets = np.array(rows)
    targets[1] = np.where(np.isnan(targets[1]), 0.5, targets[1])
    return bars, targets


def rates_on(bars: Bars, seed: int) -> dict[str, pd.Series]:
    """Funding every 90 minutes: at a bar's open, and inside one."""
    times = pd.to_datetime(np.arange(0, len(bars) * HOUR, HOUR * 3 // 2), unit="ms", utc=True).as_unit("ms")
    chance = np.random.default_rng(seed)
    return {symbol: pd.Series(np.round(chance.normal(0, 0.002, len(times)), 6), index=times) for symbol in bars.symbols}


def assert_replay_agrees(strategy: Strategy, bars: Bars, spec: RunSpec, rates: dict[str, pd.Series]) -> None:
    scenario = scenario_of(strategy, bars, spec, rates)
    tested = backtest(strategy, bars, spec, funding=rates)
    replayed = replay(
        strategy,
        bars,
        ideal_markets(strategy, spec),
        capital=exact(spec.capital),
        slippage=exact(spec.slippage),
        decisions="frame",
        funding=funding_rates(scenario.funding),
    )
    parity = compare(backtest_record(tested, bars), Record.of("replay", replayed), tolerance=Decimal("1e-9"))
    assert parity.equal, parity.report()
    assert tested.orders["reason"].tolist() == orders_of(replayed)["reason"].tolist()
    np.testing.assert_allclose(tested.orders["fee"], orders_of(replayed)["fee"], rtol=1e-8)
    np.testing.assert_allclose(tested.equity, replayed.equity, rtol=1e-9, atol=1e-6)
    assert tested.funding["amount"].sum() == pytest.approx(payments_of(replayed)["amount"].sum(), rel=1e-9, abs=1e-9)
    trades = tested.trades["pnl"].sum() + tested.funding["amount"].sum()
    assert tested.equity.iloc[-1] == pytest.approx(spec.capital + trades, rel=1e-9, abs=1e-6)


COSTS = st.fixed_dictionaries(
    {
        "fee": st.sampled_from([0.0, 0.001, 0.0137]),
        "maker_fee": st.sampled_from([None, 0.0, 0.0004]),
        "slippage": st.sampled_from([0.0, 0.0005, 0.01]),
    }
)
STOPS = st.fixed_dictionaries(
    {},
    optional={
        "stop_loss": st.sampled_from([0.005, 0.03]),
        "take_profit": st.sampled_from([0.01, 0.05]),
        "trailing_stop": st.sampled_from([0.01, 0.04]),
    },
)
REBALANCE = st.sampled_from([None, None, 0.02])


@few
@given(wishes(SPOT, LONG), COSTS, STOPS, REBALANCE)
def test_spot_with_stops_and_rebalancing(wish, costs, stops, rebalance):
    bars, targets = wish
    strategy = following(bars, targets, rebalance=rebalance, **stops)
    assert_replay_agrees(strategy, bars, RunSpec(**costs), {})


@few
@given(wishes(PERPETUALS, BOTH), COSTS, STOPS, REBALANCE, st.sampled_from([1, 1.5, 3]), st.booleans())
def test_perpetuals_short_on_credit_with_stops_and_funding(wish, costs, stops, rebalance, leverage, funded):
    bars, targets = wish
    strategy = following(bars, targets, rebalance=rebalance, leverage=leverage, **stops)
    assert_replay_agrees(strategy, bars, RunSpec(**costs), rates_on(bars, len(bars)) if funded else {})


@few
@given(wishes(SPOT, LONG), COSTS)
def test_the_kernel_is_vectorbt_where_that_can(wish, costs):
    bars, targets = wish
    scenario = scenario_of(following(bars, targets), bars, RunSpec(**costs), {})
    assert scenario.vectorbt_can
    theirs, ours = by_vectorbt(scenario), by_kernel(scenario)
    pd.testing.assert_frame_equal(ours.orders, theirs.orders, rtol=1e-9)
    np.testing.assert_allclose(ours.equity, theirs.equity, rtol=1e-9)


def test_stops_may_be_functions_of_the_bars():
    bars = walk(200, PERPETUALS[:2], 7)
    targets = np.full((200, 2), NAN)
    targets[1::10] = np.random.default_rng(1).choice([-0.5, 0.5, 0.3], size=targets[1::10].shape)

    def twice_the_range(bars: Bars, width: float) -> pd.DataFrame:
        return width * ((bars.high - bars.low) / bars.close).rolling(2).mean()

    frame = pd.DataFrame(targets, index=bars.index, columns=bars.close.columns)
    strategy = Strategy(
        lambda b, width: frame.loc[b.index],
        symbols=PERPETUALS[:2],
        timeframe="1h",
        warmup=1,
        params={"width": 0.8},
        stop_loss=twice_the_range,
        trailing_stop=0.05,
        take_profit=lambda b: frame.loc[b.index] * 0 + 0.04,
    )
    spec = RunSpec(maker_fee=0.0002, slippage=0.0003)
    assert_replay_agrees(strategy, bars, spec, rates_on(bars, 1))
    reasons = set(backtest(strategy, bars, spec, funding={}).orders["reason"])
    assert {"target", "stop_loss"} < reasons
