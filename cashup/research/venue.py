"""A scenario through the trading code: what the replay makes of it, in the columns of a result."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pandas as pd

from cashup.exchanges.rules import gate_market, ideal_market
from cashup.markets.lake import Lake
from cashup.research.kernel import Funding
from cashup.research.rule import check_long_only
from cashup.research.simulation import Scenario, Simulated
from cashup.research.spec import RunSpec
from cashup.research.trades import ORDER_COLUMNS, empty_orders, no_funding
from cashup.settings import load_settings
from cashup.strategies.bars import Bars, to_index
from cashup.strategies.strategy import Strategy
from cashup.trading.replay import FundingRates, Replayed, exact, replay
from cashup.types import Market, Side, Symbol


def on_venue(strategy: Strategy, bars: Bars, spec: RunSpec, scenario: Scenario) -> Simulated:
    """`scenario` with the venue's lots, ticks and minimums, which only the trading code knows.

    Raises NotebookError for a target below zero of a spot symbol, DataError when there is nothing to decide.
    """
    check_long_only(scenario.targets, scenario.bars)
    made = replay(
        strategy,
        bars,
        venue_markets(Lake(load_settings().lake_path), strategy, spec),
        capital=exact(spec.capital),
        slippage=exact(spec.slippage),
        decisions=scenario.targets.to_numpy()[:-1],
        funding=funding_rates(scenario.funding),
    )
    return Simulated(made.equity, orders_of(made), payments_of(made), "replay")


def venue_markets(lake: Lake, strategy: Strategy, spec: RunSpec) -> dict[Symbol, Market]:
    """The venue's rules for the strategy's symbols, as the simulator has them on the same lake."""
    taker, maker = fees_of(spec)
    return {
        symbol: gate_market(symbol, _closes(lake, spec.exchange, symbol, strategy), fee=taker, maker_fee=maker)
        for symbol in strategy.symbols
    }


def ideal_markets(strategy: Strategy, spec: RunSpec) -> Mapping[Symbol, Market]:
    """A venue without steps, with the fees of `spec`."""
    taker, maker = fees_of(spec)
    return {symbol: ideal_market(symbol, taker, maker_fee=maker) for symbol in strategy.symbols}


def fees_of(spec: RunSpec) -> tuple[Decimal, Decimal]:
    """The taker's and the maker's fee."""
    return exact(spec.fee), exact(spec.fee if spec.maker_fee is None else spec.maker_fee)


def funding_rates(funding: Funding) -> FundingRates | None:
    """The funding of a scenario as a replay takes it."""
    return FundingRates(funding.at_open, funding.inside) if len(funding.inside) else None


def orders_of(replayed: Replayed) -> pd.DataFrame:
    """The executions as a result's orders: what entered or left the position, and the fee in quote currency."""
    if not replayed.trades:
        return empty_orders()
    reasons = {placed.order.client_order_id: placed.reason for placed in replayed.orders}
    rows = []
    for trade in replayed.trades:
        in_base = trade.side is Side.BUY and trade.fee_currency == trade.symbol.split("/")[0]
        fee = trade.fee * trade.price if in_base else trade.fee
        quantity = trade.quantity - trade.fee if in_base else trade.quantity
        reason = reasons[str(trade.client_order_id)]
        rows.append((trade.symbol, trade.side.value, float(quantity), float(trade.price), float(fee), reason))
    frame = pd.DataFrame(rows, columns=list(ORDER_COLUMNS[1:]))
    frame.insert(0, "timestamp", to_index(np.array([trade.time for trade in replayed.trades], dtype=np.int64)))
    return frame


def payments_of(replayed: Replayed) -> pd.DataFrame:
    """The funding payments as a result's."""
    if not replayed.payments:
        return no_funding()
    rows = [(payment.symbol, float(payment.amount)) for payment in replayed.payments]
    frame = pd.DataFrame(rows, columns=["symbol", "amount"])
    frame.insert(0, "timestamp", to_index(np.array([payment.bar for payment in replayed.payments], dtype=np.int64)))
    summed: pd.DataFrame = frame.groupby(["timestamp", "symbol"], sort=False)[["amount"]].sum().reset_index()
    return summed


def _closes(lake: Lake, exchange: str, symbol: str, strategy: Strategy) -> list[float]:
    closes: list[float] = lake.read(exchange, symbol, strategy.timeframe)["close"].tolist()
    return closes
