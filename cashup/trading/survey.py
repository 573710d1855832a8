"""A survey: what the venue says of an account, read once as whole lists and matched here. It costs pages, not orders.

The lists are read in this order, so that nothing falls between two of them: what rests, the trades, and then how that
ended which rests no more. A survey of which one part fails proves nothing and raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.exchanges.base import Exchange
from cashup.orders.ids import is_ours
from cashup.orders.state import Order
from cashup.orders.tables import account_leases, fills
from cashup.trading.desks import Desks
from cashup.trading.differences import OrderDifference
from cashup.trading.mailbox import News
from cashup.types import Millis, OrderReport, OrderState, Symbol, Trade

log = structlog.get_logger()

OVERLAP: Millis = 60_000
"""How far behind the last complete survey the venue's trades are read again."""

RESTING = (OrderState.OPEN, OrderState.PENDING_CANCEL)

_EVER_TRADED = """
    WITH RECURSIVE seen AS (
        (SELECT symbol FROM fills WHERE account = :account ORDER BY symbol LIMIT 1)
        UNION ALL
        SELECT (SELECT symbol FROM fills WHERE account = :account AND symbol > seen.symbol ORDER BY symbol LIMIT 1)
        FROM seen WHERE seen.symbol IS NOT NULL
    )
    SELECT symbol FROM seen WHERE symbol IS NOT NULL
    """
"""From symbol to symbol along the index, however many fills there are."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found: `facts` that the books do not know yet, trades first, in the order in which they happened.

    `at` is when it began: everything before is in it. `resting` counts the orders that rest on the venue, `trades`
    those that were not booked. `differences` are orders on which venue and books contradict each other.
    """

    at: Millis
    resting: int
    trades: int
    facts: Sequence[Trade | OrderReport]
    differences: Sequence[OrderDifference]

    @property
    def news(self) -> News:
        """The facts, to be digested."""
        return News(self.facts, cause="reconciliation", surveyed=self.at)


async def survey(exchange: Exchange, desks: Desks, engine: AsyncEngine, clock: Clock) -> Survey:
    """Read the venue's lists. Raises ExchangeError when any part of them cannot be read."""
    at = clock.now()
    since, symbols = await _scope(engine, desks)
    resting = await exchange.open_orders()
    gone = _gone(_underway(desks), resting)
    trades: list[Trade] = []
    if since is not None:
        symbols |= {report.symbol for report in resting}
        for symbol in sorted(symbols & desks.markets.keys()):
            trades += await _unbooked(engine, desks.account, symbol, await exchange.trades(symbol, since))
    trades.sort(key=lambda trade: (trade.time, trade.trade_id.zfill(32)))
    strangers = _strangers(desks, resting, trades)
    ended = await _ended(exchange, gone, strangers, since or at, at)
    shown = {report.exchange_order_id for report in ended}
    lost = [order for order in gone if order.exchange_order_id not in shown]
    ended += [found for order in lost if (found := await _fetched(exchange, order)) is not None]
    shown = {report.exchange_order_id for report in ended}
    differences = [
        *(OrderDifference.lost(order) for order in lost if order.exchange_order_id not in shown),
        *await _undead(desks, resting),
    ]
    facts: list[Trade | OrderReport] = [*trades, *(report for report in (*resting, *ended) if _news(desks, report))]
    return Survey(at, len(resting), len(trades), facts, differences)


async def trades_of(
    exchange: Exchange, desks: Desks, engine: AsyncEngine, assets: Iterable[str], since: Millis
) -> list[Trade]:
    """Trades since `since` in markets of these assets that no survey looks at: somebody may have traded there."""
    _, known = await _scope(engine, desks)
    wanted = set(assets)
    found: list[Trade] = []
    for symbol, market in desks.markets.items():
        if market.base in wanted and symbol not in known:
            found += await _unbooked(engine, desks.account, symbol, await exchange.trades(symbol, since))
    return sorted(found, key=lambda trade: (trade.time, trade.trade_id.zfill(32)))


async def _scope(engine: AsyncEngine, desks: Desks) -> tuple[Millis | None, set[Symbol]]:
    """Since when trades are read (None before the account was opened), and of which symbols."""
    watermark = select(account_leases.c.surveyed_at).where(account_leases.c.account == desks.account)
    async with engine.connect() as connection:
        surveyed = (await connection.execute(watermark)).scalar_one_or_none()
        traded = (await connection.execute(text(_EVER_TRADED), {"account": desks.account})).scalars()
        symbols = {Symbol(symbol) for symbol in traded}
    symbols |= {order.symbol for order in _underway(desks)}
    for desk in desks.desks.values():
        symbols |= {*desk.book.positions, *desk.book.targets}
    if not desks.opened_at:
        return None, symbols
    return max((surveyed or 0) - OVERLAP, desks.opened_at), symbols


def _underway(desks: Desks) -> list[Order]:
    """Every order that the books hold to rest on the venue, whoever made it."""
    ours = (record.order for record in desks.unsettled())
    theirs = (external.order for external in desks.external.underway.values())
    return [order for order in (*ours, *theirs) if order.state in RESTING]


def _gone(orders: Iterable[Order], resting: Sequence[OrderReport]) -> list[Order]:
    shown = {report.exchange_order_id for report in resting} | {report.client_order_id for report in resting}
    return [o for o in orders if o.exchange_order_id not in shown and o.client_order_id not in shown]


async def _unbooked(engine: AsyncEngine, account: str, symbol: Symbol, trades: Sequence[Trade]) -> list[Trade]:
    """Those of one symbol's trades that are in no book."""
    if not trades:
        return []
    ids = [trade.trade_id for trade in trades]
    query = select(fills.c.trade_id).where(
        fills.c.account == account, fills.c.symbol == symbol, fills.c.trade_id.in_(ids)
    )
    async with engine.connect() as connection:
        booked = set((await connection.execute(query)).scalars())
    return [trade for trade in trades if trade.trade_id not in booked]


def _strangers(desks: Desks, resting: Sequence[OrderReport], trades: Sequence[Trade]) -> dict[str, Symbol]:
    """Orders of which nothing but these trades is known, by the venue's id: how they ended must be asked for."""
    known = {report.exchange_order_id for report in resting} | desks.external.underway.keys()
    known |= {record.order.exchange_order_id or "" for record in desks.unsettled()}
    return {t.exchange_order_id: t.symbol for t in trades if t.exchange_order_id not in known}


async def _ended(
    exchange: Exchange, gone: Sequence[Order], strangers: Mapping[str, Symbol], since: Millis, now: Millis
) -> list[OrderReport]:
    """How these orders ended, from one list per symbol; oldest first."""
    begins: dict[Symbol, Millis] = dict.fromkeys(strangers.values(), since)
    for order in gone:
        begins[order.symbol] = min(begins.get(order.symbol, now), order.updated_at or since, since)
    wanted = strangers.keys() | {order.exchange_order_id for order in gone}
    texts = {order.client_order_id for order in gone}
    found: list[OrderReport] = []
    for symbol, begin in sorted(begins.items()):
        reports = await exchange.finished_orders(symbol, begin - OVERLAP, now + OVERLAP)
        found += [r for r in reports if r.exchange_order_id in wanted or r.client_order_id in texts]
    return found


async def _fetched(exchange: Exchange, order: Order) -> OrderReport | None:
    """One order that no list shows, by its id."""
    if order.exchange_order_id is None:
        return await exchange.find_order(order.symbol, order.client_order_id)
    return await exchange.fetch_order(order.symbol, order.exchange_order_id)


async def _undead(desks: Desks, resting: Sequence[OrderReport]) -> list[OrderDifference]:
    """Orders of ours that rest on the venue and have ended in the books."""
    underway = {record.id for record in desks.unsettled()}
    found = []
    for report in resting:
        if is_ours(report.client_order_id) and report.client_order_id not in underway:
            record = await desks.known.find(report.client_order_id, report.exchange_order_id)
            if record is not None and record.state.terminal:
                found.append(OrderDifference.undead(record.order))
    return found


def _news(desks: Desks, report: OrderReport) -> bool:
    """False when the report only repeats what memory knows."""
    known = desks.remembered(report)
    if known is None:
        return True
    told = (report.quantity, report.price) if report.price is not None else (known.quantity, known.price)
    same_terms = told == (known.quantity, known.price) and known.amending is None
    return report.done or report.filled > known.filled or known.state is not OrderState.OPEN or not same_terms
