"""Orders on the exchange and their claims: I1 to I3."""

from __future__ import annotations

from typing import Any

from tests.faults.rules.look import Look


async def i01_each_venue_order_is_one_claim(look: Look) -> list[str]:
    query = "SELECT client_order_id, exchange_order_id FROM orders WHERE account = :account AND claimed_at IS NOT NULL"
    claims = {row[0]: row[1] for row in await look.rows(query)}
    said, ids = [], {}
    for order in look.before.orders:
        if order.ours:
            ids.setdefault(order.text, []).append(order.id)
    for name, found in ids.items():
        if len(found) > 1:
            said.append(f"I1: order {name} is on the exchange {len(found)} times: {', '.join(found)}")
        if name not in claims:
            said.append(f"I1: order {name} is on the exchange and was never claimed")
        elif claims[name] is not None and claims[name] not in found:
            said.append(f"I1: order {name} is known as {claims[name]}, the exchange has it as {', '.join(found)}")
    return said


async def i02_no_two_venue_orders_for_one_step(look: Look) -> list[str]:
    query = """
        SELECT o.client_order_id, o.deployment, o.intent, o.symbol, o.side FROM orders o
        JOIN intents i ON i.deployment = o.deployment AND i.key = o.intent
        WHERE o.account = :account AND (o.type = 'market' OR i.kind <> 'target')
        """
    steps = {row[0]: tuple(row[1:]) for row in await look.rows(query)}
    found: dict[Any, set[str]] = {}
    for order in look.before.orders:
        if order.ours and order.text in steps:
            found.setdefault(steps[order.text], set()).add(order.text)
    return [
        f"I2: {' '.join(map(str, step))} is on the exchange as {' and '.join(sorted(names))}"
        for step, names in found.items()
        if len(names) > 1
    ]


async def i03_nothing_was_sent_before_its_claim(look: Look) -> list[str]:
    query = "SELECT client_order_id, claimed_at FROM orders WHERE account = :account AND claimed_at IS NOT NULL"
    claimed = dict(tuple(row) for row in await look.rows(query))
    said = [
        f"I3: the exchange received order {order.text} at {order.created}, it was claimed at {claimed[order.text]}"
        for order in look.before.orders
        if order.ours and order.created is not None and order.created < claimed.get(order.text, order.created)
    ]
    return said + await look.say(
        "I3: an order has left its first state, or traded, without a claim",
        """
        SELECT client_order_id, state FROM orders WHERE account = :account AND origin = 'cashup'
        AND claimed_at IS NULL AND (traded > 0 OR reported > 0 OR exchange_order_id IS NOT NULL
            OR state NOT IN ('pending_send', 'expired', 'cancelled', 'rejected_local'))
        """,
    )
