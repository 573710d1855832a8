"""What was filled: I4 to I6."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.faults.rules.look import Look
from tests.faults.venue_book import VenueTrade


async def i04_filled_stays_within_what_was_ordered(look: Look) -> list[str]:
    return await look.say(
        "I4: more was filled than was ordered",
        """
        SELECT client_order_id, traded, reported FROM orders WHERE account = :account
        AND (quantity IS NOT NULL AND greatest(traded, reported) > quantity OR cost IS NOT NULL AND spent > cost)
        """,
    )


async def i04_filled_never_falls(look: Look) -> list[str]:
    query = "SELECT client_order_id, greatest(traded, reported) FROM orders WHERE account = :account"
    return [
        f"I4: order {name} had {look.seen.orders[name][1]} filled and has {filled} now"
        for name, filled in await look.rows(query)
        if name in look.seen.orders and filled < look.seen.orders[name][1]
    ]


async def i05_fills_sum_to_what_an_order_traded(look: Look) -> list[str]:
    return await look.say(
        "I5: the fills of an order do not sum to what it says it traded and spent",
        """
        SELECT o.client_order_id, o.traded, o.spent, sum(f.quantity), sum(f.price * f.quantity) FROM orders o
        LEFT JOIN fills f ON f.account = o.account AND f.client_order_id = o.client_order_id
        WHERE o.account = :account AND o.origin = 'cashup' GROUP BY o.client_order_id
        HAVING coalesce(sum(f.quantity), 0) <> o.traded OR coalesce(sum(f.price * f.quantity), 0) <> o.spent
        """,
    )


async def i05_at_rest_an_order_has_what_the_exchange_filled(look: Look) -> list[str]:
    query = """
        SELECT client_order_id, traded, reported FROM orders WHERE account = :account AND origin = 'cashup'
        """
    known = {row[0]: (row[1], row[2]) for row in await look.rows(query)}
    filled: dict[str, Decimal] = {}
    for order in look.after.orders:
        if order.ours and order.text in known:
            filled[order.text] = filled.get(order.text, Decimal(0)) + order.filled
    return [
        f"I5: order {name} traded {traded} and is reported with {reported}, the exchange filled {filled.get(name, 0)}"
        for name, (traded, reported) in known.items()
        if traded != filled.get(name, 0) or reported > traded
    ]


async def i06_each_fill_is_booked_by_one_transaction(look: Look) -> list[str]:
    return await look.say(
        "I6: a fill is not booked by exactly one transaction of the ledger",
        """
        SELECT f.symbol, f.trade_id, count(DISTINCT e.transaction) FROM fills f
        LEFT JOIN ledger_entries e ON e.account = f.account
            AND e.cause IN ('trade:' || f.symbol || ':' || f.trade_id, 'external:' || f.symbol || ':' || f.trade_id)
        WHERE f.account = :account GROUP BY f.id HAVING count(DISTINCT e.transaction) <> 1
        """,
    )


async def _fills(look: Look) -> dict[tuple[str, str], tuple[Any, ...]]:
    query = """
        SELECT symbol, trade_id, exchange_order_id, side, price, quantity, fee, fee_currency, time
        FROM fills WHERE account = :account
        """
    return {(row[0], row[1]): tuple(row[2:]) for row in await look.rows(query)}


def _facts(trade: VenueTrade) -> tuple[Any, ...]:
    return (trade.order, trade.side, trade.price, trade.quantity, trade.fee, trade.fee_currency, trade.time)


async def i06_each_fill_is_a_trade_of_the_exchange(look: Look) -> list[str]:
    trades = {(trade.symbol, trade.id): _facts(trade) for trade in look.after.trades}
    return [
        f"I6: fill {' '.join(name)} says {fill}, the exchange says {trades.get(name)}"
        for name, fill in (await _fills(look)).items()
        if trades.get(name) != fill
    ]


async def i06_at_rest_each_trade_of_the_exchange_is_booked(look: Look) -> list[str]:
    opened = await look.rows("SELECT opened_at FROM account_leases WHERE account = :account AND opened_at IS NOT NULL")
    if not opened:
        return []
    fills = await _fills(look)
    return [
        f"I6: trade {trade.symbol} {trade.id} of order {trade.order} is not booked"
        for trade in look.before.trades
        if trade.time >= opened[0][0] and (trade.symbol, trade.id) not in fills
    ]
