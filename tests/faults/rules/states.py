"""The states of orders and how they came to be: I11, I12, I21."""

from __future__ import annotations

from tests.faults.rules.look import ENDED, Look

UNKNOWN_AT_MOST = 60_000
"""How long an order's fate may be unknown (ms)."""


async def i11_an_ended_order_stays_ended(look: Look) -> list[str]:
    query = "SELECT client_order_id, state FROM orders WHERE account = :account"
    return [
        f"I11: order {name} had ended as {look.seen.orders[name][0]} and is {state} now"
        for name, state in await look.rows(query)
        if name in look.seen.orders and look.seen.orders[name][0] in ENDED and state != look.seen.orders[name][0]
    ]


async def i11_no_step_leads_out_of_an_end(look: Look) -> list[str]:
    return await look.say(
        "I11: the history of an order leads out of an end",
        """
        SELECT client_order_id, id, from_state, to_state FROM order_events
        WHERE account = :account AND from_state = ANY(:ended) AND to_state <> from_state
        """,
    )


async def i12_no_fate_is_unknown_for_long(look: Look) -> list[str]:
    return await look.say(
        "I12: an order's fate is unknown for more than a minute",
        """
        SELECT client_order_id, state, claimed_at FROM orders
        WHERE account = :account AND state IN ('unknown', 'sending') AND claimed_at < :deadline
        """,
        deadline=look.now - UNKNOWN_AT_MOST,
    )


async def i12_at_rest_no_fate_is_unknown(look: Look) -> list[str]:
    return await look.say(
        "I12: an order's fate is unknown at rest",
        """
        SELECT client_order_id, state FROM orders
        WHERE account = :account AND state IN ('pending_send', 'unknown', 'sending', 'pending_cancel')
        """,
    )


async def i21_each_transition_is_on_record(look: Look) -> list[str]:
    return await look.say(
        "I21: the history of an order does not lead, step by step and each with its actor, to its state",
        """
        SELECT o.client_order_id, o.state FROM orders o LEFT JOIN
            (SELECT client_order_id, actor, from_state, to_state,
                lag(to_state) OVER (PARTITION BY client_order_id ORDER BY id) AS before,
                lead(id) OVER (PARTITION BY client_order_id ORDER BY id) IS NULL AS newest
             FROM order_events WHERE account = :account) e ON e.client_order_id = o.client_order_id
        WHERE o.account = :account GROUP BY o.client_order_id, o.state
        HAVING bool_or(e.from_state IS DISTINCT FROM e.before OR e.actor = '')
            OR max(e.to_state) FILTER (WHERE e.newest) IS DISTINCT FROM o.state
        """,
    )


async def at_rest_nothing_is_left_to_do(look: Look) -> list[str]:
    return await look.say(
        "an intent is done, and an order of it is not",
        """
        SELECT o.client_order_id, o.state FROM orders o
        JOIN intents i ON i.deployment = o.deployment AND i.key = o.intent
        WHERE o.account = :account AND i.kind = 'target' AND i.finished_at IS NOT NULL
        AND (o.state <> ALL(:ended) OR o.reported > o.traded)
        """,
    )
