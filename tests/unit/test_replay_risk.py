"""Limits on losses, protections and the rate of orders on a replay's clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from cashup.exchanges.rules import ideal_market
from cashup.strategies.bars import Bars
from cashup.strategies.limits import Limits, Protection
from cashup.strategies.strategy import Strategy
from cashup.trading.replay import Replayed, replay
from cashup.trading.rules import Rules
from cashup.types import Side, Symbol

D = Decimal
HOUR = 3_600_000
BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")


def played(
    prices: Sequence[float], targets: Sequence[float], rules: Rules, symbols: Sequence[Symbol] = (BTC,), **how: Any
) -> Replayed:
    """A replay in which bar t opens and closes at prices[t] for every symbol, and decides targets[t]."""
    grid = np.repeat(np.array(prices, dtype=float)[None, :, None], 5, axis=0).repeat(len(symbols), axis=2)
    bars = Bars(np.arange(len(prices), dtype=np.int64) * HOUR, list(symbols), "1h", grid)
    frame = pd.DataFrame(dict.fromkeys(symbols, targets), index=bars.index, dtype=float) / len(symbols)
    strategy = Strategy(lambda seen: frame.loc[seen.index], symbols=list(symbols), timeframe="1h", warmup=1, **how)
    markets = {symbol: ideal_market(symbol, D(0)) for symbol in symbols}
    return replay(strategy, bars, markets, capital=D(1000), rules=rules)


def codes(replayed: Replayed) -> Counter[str]:
    return Counter(decision.code for _, decision in replayed.decisions)


def made(replayed: Replayed) -> list[tuple[int, Side]]:
    """The hours whose decisions became orders."""
    return [(placed.bar // HOUR, placed.order.side) for placed in replayed.orders]


def test_a_daily_loss_leaves_only_the_way_out_for_the_rest_of_the_replay() -> None:
    prices = [100, 100, 100, 94, 94, 94, 94, 94]
    targets = [0, 1, 1, 1, 0, 1, 1, 1]
    replayed = played(prices, targets, Rules(Limits(max_daily_loss=D("0.05"))))
    assert made(replayed) == [(1, Side.BUY), (4, Side.SELL)]
    assert [(at // HOUR, breach.code) for at, breach in replayed.breaches] == [(3, "daily_loss")]
    assert codes(replayed)["reducing"] == 2  # wanted again at each bar


def test_halted_holds_the_way_out_back_as_well() -> None:
    rules = Rules(Limits(max_drawdown=D("0.05"), on_breach="halted"))
    replayed = played([100, 100, 100, 94, 94, 94, 94], [0, 1, 1, 1, 0, 0, 0], rules)
    assert made(replayed) == [(1, Side.BUY)]
    assert codes(replayed)["halted"] == 2


def test_a_loss_over_midnight_is_no_daily_loss() -> None:
    prices = [100.0] * 22 + [97, 97, 94.5, 94.5]  # 3 % at 22:00, 2.6 % at 00:00
    rules = Rules(Limits(max_daily_loss=D("0.05")))
    assert played(prices, [1] * 26, rules).breaches == []
    assert played(prices[4:], [1] * 22, rules).breaches != []


def test_a_cooldown_delays_the_next_entry_and_a_lasting_target_is_followed_after_it() -> None:
    cooldown = Protection(method="CooldownPeriod", stop_duration_candles=3)
    rules = Rules(protections=(cooldown,), timeframe=HOUR)
    replayed = played([100] * 9, [0, 1, 0, 1, 1, 1, 1, 1, 1], rules)
    # Left at the open of 3; the pause ends at 6, and what bar 5 decides is executed there.
    assert made(replayed) == [(1, Side.BUY), (2, Side.SELL), (5, Side.BUY)]
    assert codes(replayed)["cooldown_period"] == 2


def test_the_stoploss_guard_sees_stops() -> None:
    guard = Protection(method="StoplossGuard", trade_limit=1, lookback_period_candles=10, stop_duration_candles=4)
    prices = [100, 100, 100, 80, 80, 80, 80, 80, 80, 80]
    targets = [0, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    free = played(prices, targets, Rules(), stop_loss=0.1)
    held = played(prices, targets, Rules(protections=(guard,), timeframe=HOUR), stop_loss=0.1)
    assert [placed.reason for placed in free.orders] == ["target", "stop_loss", "target"]
    assert made(free)[-1] == (4, Side.BUY)
    assert made(held)[-1] == (6, Side.BUY)
    assert codes(held)["stoploss_guard"] == 2


def test_so_many_orders_in_a_minute_of_the_replays_clock() -> None:
    rules = Rules(Limits(max_orders_per_minute=1))
    replayed = played([100] * 4, [0, 1, 1, 1], rules, (BTC, ETH))
    assert codes(replayed)["max_orders_per_minute"] == 1
    assert made(replayed) == [(1, Side.BUY), (2, Side.BUY)]  # the second symbol at the next bar


def test_exposure_is_a_ratio_of_equity() -> None:
    replayed = played([100] * 4, [0, 1, 1, 1], Rules(Limits(max_gross_exposure=D("0.6"))))
    assert [placed.order.cost for placed in replayed.orders] == [D(600)]
