"""What must hold of orders and money at any time, checked from the tables and the venue's own book alone."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.exchanges.base import Exchange
from cashup.orders.ids import is_ours
from cashup.trading.reconciliation import compare
from cashup.types import OrderReport, OrderState, Symbol

_ENDED = [state.value for state in OrderState if state.terminal]

_RULES = {
    "I4: more was filled than was ordered": """
        SELECT client_order_id FROM orders WHERE account = :account AND quantity IS NOT NULL AND traded > quantity
        """,
    "I5: the fills of an order do not sum to what it says it traded": """
        SELECT o.client_order_id FROM orders o
        LEFT JOIN fills f ON f.client_order_id = o.client_order_id AND f.deployment IS NOT NULL
        WHERE o.account = :account AND o.origin = 'cashup'
        GROUP BY o.client_order_id HAVING coalesce(sum(f.quantity), 0) <> o.traded
        """,
    "I6: a fill is not booked by exactly one transaction of the ledger": """
        SELECT f.symbol || ' ' || f.trade_id FROM fills f
        LEFT JOIN ledger_entries e ON e.account = f.account
            AND e.cause IN ('trade:' || f.symbol || ':' || f.trade_id, 'external:' || f.symbol || ':' || f.trade_id)
        WHERE f.account = :account
        GROUP BY f.id HAVING count(DISTINCT e.transaction) <> 1
        """,
    "I7: a transaction of the ledger does not sum to zero": """
        SELECT transaction || ' ' || asset FROM ledger_entries WHERE account = :account
        GROUP BY transaction, asset HAVING sum(amount) <> 0
        """,
    "I8: a book's cash is not what the ledger says": """
        SELECT b.deployment FROM books b
        LEFT JOIN ledger_entries e ON e.deployment = b.deployment AND e.asset = b.quote
            AND e.kind IN ('cash', 'reserved')
        WHERE b.account = :account
        GROUP BY b.deployment
        HAVING coalesce(sum(e.amount) FILTER (WHERE e.kind = 'cash'), 0) <> b.cash
            OR coalesce(sum(e.amount) FILTER (WHERE e.kind = 'reserved'), 0) <> b.reserved
        """,
    "I8: a position is not what the ledger says": """
        SELECT p.deployment || ' ' || p.asset FROM
            (SELECT deployment, asset, sum(quantity) AS quantity, sum(reserved) AS reserved
             FROM positions GROUP BY deployment, asset) p
        JOIN books b ON b.deployment = p.deployment
        LEFT JOIN ledger_entries e ON e.deployment = p.deployment AND e.asset = p.asset
            AND e.kind IN ('position', 'reserved')
        WHERE b.account = :account
        GROUP BY p.deployment, p.asset, p.quantity, p.reserved
        HAVING coalesce(sum(e.amount) FILTER (WHERE e.kind = 'position'), 0) <> p.quantity
            OR coalesce(sum(e.amount) FILTER (WHERE e.kind = 'reserved'), 0) <> p.reserved
        """,
    "I10: an order that has ended holds a reservation, or one that has not holds none": """
        SELECT client_order_id FROM orders WHERE account = :account AND origin = 'cashup'
        AND ((reserved > 0) <> (state <> ALL(:ended) OR reported > traded))
        AND NOT (reserved = 0 AND traded > 0 AND state <> ALL(:ended))
        """,
    "I10: the reservations of orders are not what the ledger holds as reserved": """
        SELECT coalesce(o.asset, e.asset) FROM
            (SELECT reserved_asset AS asset, sum(reserved) AS amount FROM orders
             WHERE account = :account AND reserved > 0 GROUP BY 1) o
        FULL JOIN
            (SELECT asset, sum(amount) AS amount FROM ledger_entries
             WHERE account = :account AND kind = 'reserved' GROUP BY 1 HAVING sum(amount) <> 0) e
        ON e.asset = o.asset WHERE o.amount IS DISTINCT FROM e.amount
        """,
    "I12: an order's fate is unknown": """
        SELECT client_order_id FROM orders WHERE account = :account AND state IN ('unknown', 'sending')
        """,
    "I21: the history of an order does not lead, step by step, to its state": """
        SELECT o.client_order_id FROM orders o LEFT JOIN
            (SELECT client_order_id, actor, from_state, to_state,
                lag(to_state) OVER (PARTITION BY client_order_id ORDER BY id) AS before,
                lead(id) OVER (PARTITION BY client_order_id ORDER BY id) IS NULL AS newest
             FROM order_events WHERE account = :account) e ON e.client_order_id = o.client_order_id
        WHERE o.account = :account
        GROUP BY o.client_order_id, o.state
        HAVING bool_or(e.from_state IS DISTINCT FROM e.before OR e.actor = '')
            OR max(e.to_state) FILTER (WHERE e.newest) IS DISTINCT FROM o.state
        """,
    "the intent is done, and an order of it is not": """
        SELECT o.client_order_id FROM orders o
        JOIN intents i ON i.deployment = o.deployment AND i.key = o.intent
        WHERE o.account = :account AND i.kind = 'target' AND i.finished_at IS NOT NULL
        AND (o.state <> ALL(:ended) OR o.reported > o.traded)
        """,
    "a bar was reported as processed more than once": """
        SELECT o.stream || ' ' || (o.data ->> 'bar') FROM outbox o
        JOIN deployments d ON o.stream = 'deployment:' || d.name
        WHERE d.account = :account AND o.kind = 'bar_processed'
        GROUP BY o.stream, o.data ->> 'bar' HAVING count(*) <> 1
        """,
    "an order was sent without a claim, or twice for one step of an intent": """
        SELECT string_agg(client_order_id, ' ') FROM orders
        WHERE account = :account AND origin = 'cashup' AND (traded > 0 OR reported > 0)
        GROUP BY deployment, intent, symbol, side HAVING count(*) > 1 OR bool_or(claimed_at IS NULL)
        """,
}
"""Each rule names the rows that break it."""

_AT_REST = {"I12: an order's fate is unknown"}
"""The rules that hold only when no order is on its way."""


async def violations(engine: AsyncEngine, account: str, *, at_rest: bool = True) -> list[str]:
    """Every broken rule, with the rows that break it; empty when all is well.

    Unless the account is `at_rest`, only the rules that hold at any moment are asked for.
    """
    found = []
    async with engine.connect() as connection:
        for rule, query in _RULES.items():
            if rule in _AT_REST and not at_rest:
                continue
            values = {"account": account} | ({"ended": _ENDED} if ":ended" in query else {})
            rows = (await connection.execute(text(query), values)).scalars().all()
            if rows:
                found.append(f"{rule}: {', '.join(map(str, rows[:5]))}")
    return found


async def venue_violations(
    engine: AsyncEngine, account: str, exchange: Exchange, symbols: Sequence[Symbol]
) -> list[str]:
    """The same against the venue: its orders map to our claims one to one, its balances equal the books."""
    found = [f"I9: {difference}" for difference in await compare(exchange, engine, account)]
    reports: list[OrderReport] = list(await exchange.open_orders())
    for symbol in symbols:
        reports += await exchange.finished_orders(symbol, 0, _FAR)
    ours = [report for report in reports if is_ours(report.client_order_id)]
    query = "SELECT client_order_id, exchange_order_id FROM orders WHERE account = :account AND claimed_at IS NOT NULL"
    async with engine.connect() as connection:
        claimed = {row[0]: row[1] for row in await connection.execute(text(query), {"account": account})}
    seen: dict[str, set[str]] = {}
    for report in ours:
        seen.setdefault(str(report.client_order_id), set()).add(report.exchange_order_id)
    for ident, venue_ids in seen.items():
        if len(venue_ids) > 1:
            found.append(f"I1: order {ident} is on the venue {len(venue_ids)} times")
        if ident not in claimed:
            found.append(f"I3: order {ident} is on the venue without a claim")
        elif claimed[ident] not in venue_ids:
            found.append(f"I1: order {ident} is known as {claimed[ident]}, the venue has {sorted(venue_ids)}")
    return found


_FAR = 1 << 42
"""Beyond any order's end, in milliseconds."""
