"""Closed trades, and the pauses that they lead to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from cashup.exchanges.rules import gate_market, ideal_market
from cashup.strategies.limits import Protection
from cashup.trading.risk.protections import locks
from cashup.trading.risk.round_trip import ClosedTrade, RoundTrip, trip_after
from cashup.types import Market, Side, Symbol, Trade

D = Decimal
BTC, ETH, PERP = Symbol("BTC/USDT"), Symbol("ETH/USDT"), Symbol("BTC/USDT:USDT")
MINUTE, HOUR = 60_000, 3_600_000


def closed(minute: int, ratio: str, symbol: Symbol = BTC, reason: str = "target") -> ClosedTrade:
    return ClosedTrade(symbol, Side.BUY, 0, minute * MINUTE, D(100), D(ratio) * 100, reason)


def paused(protection: dict[str, Any], trades: list[ClosedTrade], minute: int) -> list[tuple[str, str | None]]:
    found = locks([Protection.model_validate(protection)], HOUR, trades, minute * MINUTE)
    assert all(lock.reason and lock.until > minute * MINUTE for lock in found)
    return [(lock.code, lock.symbol) for lock in found]


def test_a_cooldown_is_for_the_symbol_and_ends() -> None:
    cooldown = {"method": "CooldownPeriod", "stop_duration": 30}
    trades = [closed(100, "0.1"), closed(110, "0.1", ETH)]
    assert paused(cooldown, trades, 129) == [("cooldown_period", BTC), ("cooldown_period", ETH)]
    assert paused(cooldown, trades, 130) == [("cooldown_period", ETH)]
    assert paused(cooldown, trades, 140) == []
    assert paused({"method": "CooldownPeriod", "stop_duration_candles": 2}, trades, 219) == [
        ("cooldown_period", BTC),
        ("cooldown_period", ETH),
    ]


def test_the_stoploss_guard_counts_stops_that_lost() -> None:
    guard = {"method": "StoplossGuard", "lookback_period": 60, "stop_duration": 20, "trade_limit": 2}
    stopped = [closed(10, "-0.02", reason="stop_loss"), closed(40, "-0.01", ETH, "trailing_stop")]
    assert paused(guard, stopped, 50) == [("stoploss_guard", None)]
    assert paused(guard, stopped, 60) == []  # the pause is over
    assert paused({**guard, "only_per_pair": True}, stopped, 50) == []
    assert paused(guard, [stopped[0], closed(40, "0.01", ETH, "trailing_stop")], 50) == []  # that one won
    assert paused(guard, [stopped[0], closed(40, "-0.01", ETH)], 50) == []  # that was no stop
    assert paused({**guard, "stop_duration": 600}, stopped, 75) == []  # the first one is too long ago


def test_the_drawdown_guard_adds_up_what_trades_made() -> None:
    guard = {"method": "MaxDrawdown", "lookback_period": 100, "stop_duration": 50, "max_allowed_drawdown": 0.05}
    trades = [closed(10, "0.04"), closed(20, "-0.03", ETH), closed(30, "-0.03")]
    assert paused(guard, trades, 40) == [("max_drawdown_guard", None)]
    assert paused({**guard, "max_allowed_drawdown": 0.06}, trades, 40) == []
    assert paused({**guard, "trade_limit": 4}, trades, 40) == []
    assert paused(guard, [closed(10, "-0.06")], 40) == [("max_drawdown_guard", None)]


def test_a_symbol_that_earns_too_little_is_paused_alone() -> None:
    low = {"method": "LowProfitPairs", "lookback_period": 100, "stop_duration": 50, "trade_limit": 2}
    trades = [closed(10, "0.01"), closed(20, "-0.02"), closed(25, "-0.5", ETH)]
    assert paused(low, trades, 30) == [("low_profit_pairs", BTC)]
    assert paused({**low, "required_profit": -0.02}, trades, 30) == []
    assert paused({**low, "trade_limit": 1}, trades, 30) == [("low_profit_pairs", BTC), ("low_profit_pairs", ETH)]


def test_a_protection_that_says_two_things_is_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        Protection(method="MaxDrawdown", lookback_period=5, lookback_period_candles=5)
    with pytest.raises(ValidationError, match="no lookback_period"):
        Protection(method="CooldownPeriod", lookback_period=5)
    with pytest.raises(ValidationError):
        Protection.model_validate({"method": "Coolness"})
    with pytest.raises(ValueError, match="timeframe"):
        Protection(method="CooldownPeriod", stop_duration_candles=5).pause(None)


def trade(side: Side, quantity: str, price: str, fee: str = "0", currency: str = "USDT", **more: Any) -> Trade:
    return Trade("1", "1", None, more.pop("symbol", BTC), side, D(price), D(quantity), D(fee), currency, **more)


def walk(market: Market, *trades: Trade) -> tuple[RoundTrip | None, list[ClosedTrade]]:
    trip: RoundTrip | None = None
    done: list[ClosedTrade] = []
    for one in trades:
        trip, ended = trip_after(trip, one, market, "stop_loss")
        done += [] if ended is None else [ended]
    return trip, done


def test_a_round_trip_ends_when_the_position_is_flat() -> None:
    trip, done = walk(
        ideal_market(BTC, D("0.001")),
        trade(Side.BUY, "1", "100", "1", time=5),
        trade(Side.BUY, "1", "110", "1", time=6),
        trade(Side.SELL, "0.5", "120", "1", time=7),
        trade(Side.SELL, "1.5", "130", "1", time=8),
    )
    assert trip is None
    assert done == [ClosedTrade(BTC, Side.BUY, 5, 8, D(212), D(41), "stop_loss")]
    assert done[0].ratio.quantize(D("0.0001")) == D("0.1934")


def test_what_the_venue_would_not_take_does_not_keep_a_trade_open() -> None:
    market = gate_market(BTC)
    bought = trade(Side.BUY, "0.1", "50000", "0.0001", "BTC", time=1)
    sold = trade(Side.SELL, str(market.round_quantity(D("0.0999"))), "51000", "1", time=2)
    trip, done = walk(market, bought, sold)
    assert trip is None
    assert len(done) == 1
    trip, done = walk(market, bought, trade(Side.SELL, "0.05", "51000", "1", time=2))
    assert (trip is not None, done) == (True, [])


def test_a_flip_ends_one_trade_and_begins_the_next() -> None:
    market = ideal_market(PERP, D(0))
    trip, done = walk(
        market,
        trade(Side.SELL, "2", "100", symbol=PERP, time=1),
        trade(Side.BUY, "3", "90", "3", symbol=PERP, time=2),
    )
    assert done == [ClosedTrade(PERP, Side.SELL, 1, 2, D(200), D(18), "stop_loss")]
    assert trip == RoundTrip(PERP, 2, D(1), D(91))
