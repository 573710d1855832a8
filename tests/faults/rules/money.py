"""The ledger, the books and what orders hold: I7 to I10."""

from __future__ import annotations

from tests.faults.rules.look import Look


async def i07_each_transaction_balances(look: Look) -> list[str]:
    return await look.say(
        "I7: a transaction of the ledger does not sum to zero",
        """
        SELECT transaction, asset, sum(amount) FROM ledger_entries WHERE account = :account
        GROUP BY transaction, asset HAVING sum(amount) <> 0
        """,
    )


async def i08_books_are_what_the_ledger_says(look: Look) -> list[str]:
    return await look.say(
        "I8: a book's cash or reserved is not what the ledger says",
        """
        SELECT b.deployment, b.cash, b.reserved FROM books b
        LEFT JOIN ledger_entries e ON e.deployment = b.deployment AND e.asset = b.quote
            AND e.kind IN ('cash', 'reserved')
        WHERE b.account = :account GROUP BY b.deployment
        HAVING coalesce(sum(e.amount) FILTER (WHERE e.kind = 'cash'), 0) <> b.cash
            OR coalesce(sum(e.amount) FILTER (WHERE e.kind = 'reserved'), 0) <> b.reserved
        """,
    )


async def i08_positions_are_what_the_ledger_says(look: Look) -> list[str]:
    return await look.say(
        "I8: a position is not what the ledger says",
        """
        SELECT coalesce(p.deployment, e.deployment), coalesce(p.asset, e.asset), p.quantity, p.reserved, e.free, e.held
        FROM (SELECT p.deployment, p.asset, sum(p.quantity) AS quantity, sum(p.reserved) AS reserved
              FROM positions p JOIN books b ON b.deployment = p.deployment
              WHERE b.account = :account GROUP BY 1, 2) p
        FULL JOIN
             (SELECT e.deployment, e.asset,
                     coalesce(sum(e.amount) FILTER (WHERE e.kind = 'position'), 0) AS free,
                     coalesce(sum(e.amount) FILTER (WHERE e.kind = 'reserved'), 0) AS held
              FROM ledger_entries e JOIN books b ON b.deployment = e.deployment AND b.quote <> e.asset
              WHERE e.account = :account AND e.kind IN ('position', 'reserved') GROUP BY 1, 2) e
        ON e.deployment = p.deployment AND e.asset = p.asset
        WHERE coalesce(p.quantity, 0) <> coalesce(e.free, 0) OR coalesce(p.reserved, 0) <> coalesce(e.held, 0)
        """,
    )


async def i08_nothing_a_deployment_owns_is_below_zero(look: Look) -> list[str]:
    return await look.say(
        "I8: a deployment has less than nothing",
        """
        SELECT deployment, asset, kind, sum(amount) FROM ledger_entries
        WHERE account = :account AND deployment IS NOT NULL AND kind = ANY(:holdings)
        GROUP BY deployment, asset, kind HAVING sum(amount) < 0
        """,
    )


async def i09_at_rest_the_ledger_is_what_the_exchange_holds(look: Look) -> list[str]:
    query = """
        SELECT asset, sum(amount) FROM ledger_entries WHERE account = :account AND kind = ANY(:holdings)
        GROUP BY asset HAVING sum(amount) <> 0
        """
    books, venue = dict(tuple(row) for row in await look.rows(query)), look.after.totals
    return [
        f"I9: the exchange holds {venue.get(asset, 0)} {asset}, the ledger says {books.get(asset, 0)}"
        for asset in sorted(books.keys() | venue.keys())
        if books.get(asset, 0) != venue.get(asset, 0)
    ]


async def i10_a_reservation_lives_as_long_as_its_order(look: Look) -> list[str]:
    return await look.say(
        "I10: an order that has ended holds a reservation, or one that has not holds none",
        """
        SELECT client_order_id, state, reserved FROM orders WHERE account = :account
        AND ((reserved > 0 AND (origin <> 'cashup' OR state = ANY(:ended) AND reported <= traded))
            OR (reserved = 0 AND origin = 'cashup' AND state <> ALL(:ended) AND traded = 0))
        """,
    )


async def i10_reservations_are_what_the_ledger_holds(look: Look) -> list[str]:
    return await look.say(
        "I10: the reservations of orders are not what the ledger holds as reserved",
        """
        SELECT coalesce(o.deployment, e.deployment), coalesce(o.asset, e.asset), o.amount, e.amount FROM
            (SELECT deployment, reserved_asset AS asset, sum(reserved) AS amount FROM orders
             WHERE account = :account AND reserved > 0 GROUP BY 1, 2) o
        FULL JOIN
            (SELECT deployment, asset, sum(amount) AS amount FROM ledger_entries
             WHERE account = :account AND kind = 'reserved' GROUP BY 1, 2 HAVING sum(amount) <> 0) e
        ON e.asset = o.asset AND e.deployment = o.deployment WHERE o.amount IS DISTINCT FROM e.amount
        """,
    )
