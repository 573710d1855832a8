"""Protections: pauses after closed trades, by freqtrade's names and meanings.

Each one looks at the trades that closed within its lookback. A pause lasts `stop_duration` from the end of the last of
the trades that led to it, holds entries only, and is never stored: the trades say it again after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from cashup.strategies.limits import Protection
from cashup.trading.risk.decision import percent
from cashup.trading.risk.round_trip import ClosedTrade
from cashup.trading.risk.standing import Lock
from cashup.types import ZERO, Millis, Symbol

STOPS = frozenset({"stop_loss", "trailing_stop"})
"""The reasons for which StoplossGuard counts a trade."""

Rule = Callable[[Protection, Sequence[ClosedTrade]], str | None]
"""What the trades within the lookback, of one symbol or of all, lead to: a sentence, or None."""


def locks(
    protections: Sequence[Protection], timeframe: Millis | None, closed: Iterable[ClosedTrade], now: Millis
) -> tuple[Lock, ...]:
    """The pauses that hold at `now`. `closed` are the trades of one deployment, oldest first."""
    return tuple(lock for one in protections for lock in _locks(one, timeframe, closed, now))


def memory(protections: Sequence[Protection], timeframe: Millis | None) -> Millis:
    """How far back trades must be known."""
    return max((one.lookback(timeframe) + one.pause(timeframe) for one in protections), default=0)


def _locks(one: Protection, timeframe: Millis | None, closed: Iterable[ClosedTrade], now: Millis) -> Iterator[Lock]:
    pause = one.pause(timeframe)
    back = pause if one.method == "CooldownPeriod" else one.lookback(timeframe)
    within = [trade for trade in closed if now - back < trade.closed_at <= now]
    for symbol, trades in _groups(one, within):
        reason = _RULES[one.method](one, trades)
        until = trades[-1].closed_at + pause
        if reason is not None and now < until:
            yield Lock(_CODES[one.method], reason, until, symbol)


def _groups(one: Protection, trades: Sequence[ClosedTrade]) -> Iterator[tuple[Symbol | None, Sequence[ClosedTrade]]]:
    """The trades of each symbol by themselves, or all of them together."""
    per_pair = one.method in ("CooldownPeriod", "LowProfitPairs") or one.only_per_pair
    names: list[Symbol | None] = list(dict.fromkeys(trade.symbol for trade in trades)) if per_pair else [None]
    for name in names:
        mine = [trade for trade in trades if name in (None, trade.symbol)]
        if mine:
            yield name, mine


def _cooldown(one: Protection, trades: Sequence[ClosedTrade]) -> str | None:
    return f"a trade in {trades[-1].symbol} closed a moment ago; it rests for a while"


def _stoploss_guard(one: Protection, trades: Sequence[ClosedTrade]) -> str | None:
    stopped = [trade for trade in trades if trade.reason in STOPS and trade.ratio < one.required_profit]
    if len(stopped) < (one.trade_limit or 10):
        return None
    return f"{len(stopped)} trades ended at a stop within the lookback"


def _max_drawdown(one: Protection, trades: Sequence[ClosedTrade]) -> str | None:
    if len(trades) < (one.trade_limit or 1):
        return None
    total = high = fall = ZERO
    for trade in trades:
        total += trade.ratio
        high = max(high, total)
        fall = max(fall, high - total)
    if fall <= one.max_allowed_drawdown:
        return None
    return f"the trades within the lookback fell by {percent(fall)}, {percent(one.max_allowed_drawdown)} are allowed"


def _low_profit(one: Protection, trades: Sequence[ClosedTrade]) -> str | None:
    if len(trades) < (one.trade_limit or 1):
        return None
    profit = sum((trade.ratio for trade in trades), Decimal(0))
    if profit >= one.required_profit:
        return None
    what = f"{len(trades)} trades in {trades[-1].symbol} made {percent(profit)} within the lookback"
    return f"{what}, {percent(one.required_profit)} are required"


_RULES: dict[str, Rule] = {
    "CooldownPeriod": _cooldown,
    "StoplossGuard": _stoploss_guard,
    "MaxDrawdown": _max_drawdown,
    "LowProfitPairs": _low_profit,
}
_CODES = {
    "CooldownPeriod": "cooldown_period",
    "StoplossGuard": "stoploss_guard",
    "MaxDrawdown": "max_drawdown_guard",
    "LowProfitPairs": "low_profit_pairs",
}
