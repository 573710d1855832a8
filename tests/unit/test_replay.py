"""Replay against vectorbt: the same orders and the same equity, on generated bars and any targets."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cashup.errors import DataError, UsageError
from cashup.exchanges.rules import gate_market, ideal_market
from cashup.strategies.bars import Bars, to_index
from cashup.strategies.strategy import Strategy
from cashup.trading.replay import Decisions, Replayed, bars_per_second, replay
from cashup.trading.risk import Limits
from cashup.trading.rules import Rules
from cashup.types import OrderState, Side, Symbol

D = Decimal
SYMBOLS = [Symbol("ETH/USDT"), Symbol("XRP/USDT"), Symbol("BTC/USDT")]
HOUR = 3_600_000


def make_bars(count: int, symbols: int, seed: int) -> Bars:
    """A random walk per symbol on a venue's grid of prices."""
    chance = np.random.default_rng(seed)
    values = np.empty((5, count, symbols))
    for column, (price, decimals) in enumerate([(3000.0, 2), (2.5, 4), (100_000.0, 1)][:symbols]):
        close = price * np.exp(np.cumsum(chance.normal(0, 0.01, count)))
        opened = np.concatenate([[price], close[:-1]]) * np.exp(chance.normal(0, 0.002, count))
        rows = [opened, np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998, close]
        values[:4, :, column] = np.round(rows, decimals)
        values[4, :, column] = 1.0
    return Bars(np.arange(count, dtype=np.int64) * HOUR, SYMBOLS[:symbols], "1h", values)


def following(frame: pd.DataFrame, warmup: int = 1, rebalance: float | None = None) -> Strategy:
    """A strategy that wants what `frame` says, whichever window it is shown."""
    symbols = list(frame.columns)
    return Strategy(
        lambda bars: frame.loc[bars.index], symbols=symbols, timeframe="1h", warmup=warmup, rebalance=rebalance
    )


def by_vectorbt(strategy: Strategy, bars: Bars, fee: float, slippage: float) -> Any:
    """The same decisions in vectorbt: a target at bar t is an order at the open of t + 1 when it changed."""
    import vectorbt as vbt

    targets = strategy.targets(bars).iloc[strategy.warmup : -1].to_numpy()
    size = np.full((len(targets) + 1, targets.shape[1]), np.nan)
    previous = np.zeros(targets.shape[1])
    for row, wanted in enumerate(targets, start=1):
        changed = ~np.isnan(wanted) & (wanted != previous)
        size[row, changed] = previous[changed] = wanted[changed]
    traded = bars.rows(strategy.warmup, len(bars))
    return vbt.Portfolio.from_orders(
        traded.close,
        size=pd.DataFrame(size, index=traded.index, columns=traded.close.columns),
        size_type="targetpercent",
        price=traded.open,
        direction="longonly",
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        fees=fee,
        slippage=slippage,
        init_cash=10_000.0,
        freq="1h",
    )


def assert_equal(replayed: Replayed, portfolio: Any, strategy: Strategy, bars: Bars) -> None:
    records = portfolio.orders.records
    theirs = [
        (int(bars.times[strategy.warmup + row.idx - 1]), strategy.symbols[row.col], row.side == 0)
        for row in records.itertuples()
    ]
    ours = [(p.bar, p.order.symbol, p.order.side is Side.BUY) for p in replayed.orders]
    assert ours == theirs
    filled = [float(p.order.filled) for p in replayed.orders]
    prices = [float(p.order.average_price or 0) for p in replayed.orders]
    np.testing.assert_allclose(filled, records["size"], rtol=1e-9)
    np.testing.assert_allclose(prices, records["price"], rtol=1e-12)
    np.testing.assert_allclose(replayed.equity, portfolio.value(), rtol=1e-9)
    assert float(replayed.final_equity) == pytest.approx(float(portfolio.value().iloc[-1]), rel=1e-9)


def ideal(strategy: Strategy, fee: float) -> dict[Symbol, Any]:
    return {symbol: ideal_market(symbol, D(repr(fee))) for symbol in strategy.symbols}


def crossing(bars: Bars, fast: int, slow: int) -> pd.DataFrame:
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)


def rotating(bars: Bars, lookback: int) -> pd.DataFrame:
    change = bars.close / bars.close.shift(lookback) - 1
    return ((change.rank(axis=1, ascending=False) <= 2) & (change > 0)).astype(float) * 0.5


def sma(**how: Any) -> Strategy:
    return Strategy(crossing, symbols=SYMBOLS[:1], timeframe="1h", warmup=12, params={"fast": 4, "slow": 12}, **how)


def momentum() -> Strategy:
    return Strategy(rotating, symbols=SYMBOLS, timeframe="1h", warmup=24, params={"lookback": 24})


LEVELS = st.sampled_from(
    [0.0, 0.0, 0.25, 1 / 3, 0.5, 0.5 + 1e-9, 0.5000001, 0.7, 1.0, 1.0, 1.3, float("nan"), float("nan")]
)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Bars, pd.DataFrame]:
    """Generated bars and any targets for them: NaN, sums above 1, changes too small to matter."""
    symbols, count = draw(st.integers(1, 3)), draw(st.integers(4, 40))
    bars = make_bars(count, symbols, draw(st.integers(0, 2**20)))
    rows = draw(st.lists(st.lists(LEVELS, min_size=symbols, max_size=symbols), min_size=count, max_size=count))
    frame = pd.DataFrame(rows, index=to_index(bars.times), columns=SYMBOLS[:symbols])
    frame.iloc[1, 0] = 0.5
    return bars, frame


# Each example costs a vectorbt portfolio: shrinking a failure would take minutes.
@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(
    wishes(),
    st.sampled_from([0.0, 0.001, 0.0137]),
    st.sampled_from([0.0, 0.0005]),
    st.sampled_from(["window", "frame"]),
)
def test_any_targets_give_what_vectorbt_gives(
    wish: tuple[Bars, pd.DataFrame], fee: float, slippage: float, decisions: Any
):
    bars, frame = wish
    strategy = following(frame)
    replayed = replay(
        strategy, bars, ideal(strategy, fee), capital=D(10_000), slippage=D(repr(slippage)), decisions=decisions
    )
    assert_equal(replayed, by_vectorbt(strategy, bars, fee, slippage), strategy, bars)


@pytest.mark.parametrize("make", [sma, momentum])
def test_a_strategy_gives_what_vectorbt_gives(make: Callable[[], Strategy]):
    strategy = make()
    bars = make_bars(400, len(strategy.symbols), 7)
    replayed = replay(strategy, bars, ideal(strategy, 0.001), capital=D(10_000))
    assert len(replayed.orders) > 20
    assert_equal(replayed, by_vectorbt(strategy, bars, 0.001, 0.0), strategy, bars)


@pytest.mark.parametrize("make", [sma, momentum])
def test_on_gate_the_books_sum_to_the_account(make: Callable[[], Strategy]):
    strategy = make()
    bars = make_bars(400, len(strategy.symbols), 7)
    markets = {symbol: gate_market(symbol) for symbol in strategy.symbols}
    replayed = replay(strategy, bars, markets, capital=D(10_000))
    held = {markets[symbol].base: replayed.book.quantity(symbol) for symbol in strategy.symbols}
    assert {"USDT": replayed.book.cash} | held == {asset: D(0) for asset in held} | dict(replayed.balances)
    assert len(replayed.orders) > 20
    for placed in replayed.orders:
        market = markets[placed.order.symbol]
        assert placed.order.state is OrderState.FILLED
        assert placed.order.filled == market.round_quantity(placed.order.filled)
        assert placed.order.filled == sum(
            t.quantity for t in replayed.trades if t.client_order_id == placed.order.client_order_id
        )
    exact = replay(strategy, bars, ideal(strategy, 0.001), capital=D(10_000))
    assert float(replayed.final_equity) == pytest.approx(float(exact.final_equity), rel=2e-3)


def test_asking_once_for_all_bars_gives_the_same_as_asking_per_bar():
    strategy = momentum()
    bars = make_bars(300, 3, 3)
    markets = {symbol: gate_market(symbol) for symbol in strategy.symbols}
    window = replay(strategy, bars, markets, capital=D(10_000))
    frame = replay(strategy, bars, markets, capital=D(10_000), decisions="frame")
    assert window.orders == frame.orders
    assert window.trades == frame.trades


def test_a_strategy_that_looks_ahead_is_found_out_by_windows():
    def peeking(bars: Bars) -> pd.DataFrame:
        return (bars.close.shift(-1) > bars.close).astype(float)

    strategy = Strategy(peeking, symbols=SYMBOLS[:1], timeframe="1h", warmup=5)
    bars = make_bars(100, 1, 3)
    per_bar = replay(strategy, bars, ideal(strategy, 0.0), capital=D(10_000))
    at_once = replay(strategy, bars, ideal(strategy, 0.0), capital=D(10_000), decisions="frame")
    assert per_bar.orders == []
    assert at_once.final_equity > per_bar.final_equity


def test_a_decision_is_executed_at_the_next_open_and_the_last_one_never():
    bars = make_bars(6, 1, 1)
    frame = pd.DataFrame([[0.0], [0.0], [1.0], [1.0], [1.0], [0.0]], index=bars.index, columns=SYMBOLS[:1])
    strategy = following(frame)
    replayed = replay(strategy, bars, ideal(strategy, 0.0), capital=D(10_000))
    (placed,) = replayed.orders
    (trade,) = replayed.trades
    assert (placed.bar, trade.time) == (int(bars.times[2]), int(bars.times[3]))
    assert float(trade.price) == bars.open.iloc[3, 0]
    assert list(replayed.equity.index) == list(bars.index[1:])
    assert list(replayed.equity[:2]) == [10_000.0, 10_000.0]


def test_rebalance_trades_back_what_drifted():
    bars = make_bars(200, 2, 5)
    frame = pd.DataFrame(0.5, index=bars.index, columns=SYMBOLS[:2])
    markets = {symbol: gate_market(symbol) for symbol in SYMBOLS[:2]}
    once = replay(following(frame), bars, markets, capital=D(10_000))
    often = replay(following(frame, rebalance=0.02), bars, markets, capital=D(10_000))
    assert len(once.orders) == 2
    assert len(often.orders) > 4


def test_limits_hold_in_replay():
    bars = make_bars(100, 1, 5)
    frame = pd.DataFrame(1.0, index=bars.index, columns=SYMBOLS[:1])
    markets = {SYMBOLS[0]: gate_market(SYMBOLS[0])}
    rules = Rules(Limits(max_order_notional=D(500)))
    replayed = replay(following(frame), bars, markets, capital=D(10_000), rules=rules)
    assert [placed.order.cost for placed in replayed.orders] == [D(500)]
    assert [decision.code for _, decision in replayed.decisions] == ["max_order_notional"]


def test_too_few_bars_and_markets_that_do_not_fit_are_refused():
    strategy = sma()
    with pytest.raises(DataError, match="warm-up of 12"):
        replay(strategy, make_bars(13, 1, 1), ideal(strategy, 0.0), capital=D(1))
    with pytest.raises(UsageError, match="ETH/USDT"):
        replay(strategy, make_bars(20, 1, 1), {}, capital=D(1))


def test_the_speed_is_measured():
    strategy = sma()
    assert bars_per_second(strategy, make_bars(50, 1, 1), ideal(strategy, 0.0), decisions="frame") > 0


def test_a_stop_function_is_asked_about_windows_so_that_its_look_ahead_shows() -> None:
    bars = make_bars(120, 1, 5)

    def stopping(shift: int) -> Strategy:
        def level(bars: Bars) -> pd.DataFrame:
            moved = bars.close.pct_change().abs().shift(shift)
            return moved.where(moved > 0.0, 0.5)

        def target(bars: Bars) -> pd.DataFrame:
            return (bars.close.diff() > 0).astype(float)

        return Strategy(target, symbols=SYMBOLS[:1], timeframe="1h", warmup=3, stop_loss=level)

    def exits(strategy: Strategy, decisions: Decisions) -> list[tuple[int, Decimal]]:
        made = replay(strategy, bars, ideal(strategy, 0.0), capital=D(10_000), decisions=decisions)
        return [(placed.bar, placed.order.filled) for placed in made.orders if placed.reason == "stop_loss"]

    honest, dishonest = stopping(0), stopping(-1)
    assert exits(honest, "window") == exits(honest, "frame") != []
    assert exits(dishonest, "window") != exits(dishonest, "frame") != []
