"""What was allowed to be sent, and how often: I13 and I19."""

from __future__ import annotations

from tests.faults.rules.look import Look

GRACE = 100
"""How long after a halt was latched a claim may still appear, because its moment is taken before the claim (ms)."""


async def i13_nothing_is_claimed_while_the_account_is_not_ready(look: Look) -> list[str]:
    marks = await look.rows(
        """
        SELECT at, data ->> 'state' FROM outbox
        WHERE stream = 'account:' || :account AND kind = 'account_changed' AND data ? 'state' ORDER BY seq
        """
    )
    claims = await look.rows(
        "SELECT client_order_id, claimed_at FROM orders WHERE account = :account AND claimed_at IS NOT NULL"
    )
    ready, since = [], None
    for at, state in marks:
        if since is not None and state != "ready":
            ready.append((since, at + GRACE))
            since = None
        elif since is None and state == "ready":
            since = at
    if since is not None:
        ready.append((since, 1 << 62))
    return [
        f"I13: order {name} was claimed at {at}, while the account was not reconciled"
        for name, at in claims
        if not any(begin <= at <= end for begin, end in ready)
    ]


async def i13_claims_follow_the_lease(look: Look) -> list[str]:
    return await look.say(
        "I13: an order was claimed under a lease that another one had replaced",
        """
        SELECT client_order_id, event, fence, before FROM
            (SELECT client_order_id, event, fence,
                max(fence) OVER (ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
             FROM (SELECT client_order_id, event, at, (detail ->> 'fence')::bigint AS fence FROM order_events
                   WHERE account = :account AND event IN ('claimed', 'amend_claimed')) c) d
        WHERE fence < before
        """,
    )


async def i13_nothing_is_claimed_behind_a_halt(look: Look) -> list[str]:
    return await look.say(
        "I13: an order was claimed while a halt held it back",
        """
        SELECT o.client_order_id, o.claimed_at, h.scope, h.name, h.code, h.at FROM orders o
        JOIN deployments d ON d.name = o.deployment
        JOIN halts h ON h.scope = 'all' OR (h.scope = 'user' AND h.name = d.owner)
            OR (h.scope = 'account' AND h.name = o.account) OR (h.scope = 'deployment' AND h.name = d.name)
        WHERE o.account = :account AND o.claimed_at > h.at + :grace AND NOT o.flattens
        AND (h.state = 'halted' OR NOT o.reduces)
        """,
        grace=GRACE,
    )


async def i19_the_exchange_was_not_asked_too_often(look: Look) -> list[str]:
    count = look.after.rate_violations
    return [f"I19: the exchange counted {count} requests above its limits"] if count else []
