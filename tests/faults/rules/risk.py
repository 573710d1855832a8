"""Limits: I14 and I15."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tests.faults.rules.look import ENDED, Look
from tests.faults.rules.story import REFRESHED, ZERO, Made, Story, told

MINUTE = 60_000


async def i14_no_order_is_above_its_limit(look: Look) -> list[str]:
    def check(story: Story, order: Made) -> Iterator[str]:
        for scope, most in _limits(order, "max_order_notional"):
            if order.value > most:
                yield f"I14: order {order.name} may add {order.value}, its {scope} allows {most}"

    return await told(look, check)


async def i14_no_position_may_outgrow_its_limit(look: Look) -> list[str]:
    def check(story: Story, order: Made) -> Iterator[str]:
        for scope, most in _limits(order, "max_position_notional"):
            held = story.holdings(scope, order).get(order.symbol, ZERO) * order.marks.get(order.symbol, ZERO)
            comes_to = held + story.buys(scope, order).get(order.symbol, ZERO) + order.value
            if comes_to > most:
                yield f"I14: with order {order.name} {order.symbol} may come to {comes_to}, its {scope} allows {most}"

    return await told(look, check)


async def i14_exposure_stays_within_its_multiple_of_equity(look: Look) -> list[str]:
    """On spot everything is long, so that gross and net are the same."""

    def check(story: Story, order: Made) -> Iterator[str]:
        for name in ("max_gross_exposure", "max_net_exposure"):
            for scope, most in _limits(order, name):
                held = {symbol: held for symbol, held in story.holdings(scope, order).items() if held}
                if not held.keys() <= order.marks.keys():
                    continue  # only what is sized for a target leaves its prices
                worth = sum((quantity * order.marks[symbol] for symbol, quantity in held.items()), ZERO)
                exposure = worth + sum(story.buys(scope, order).values(), ZERO) + order.value
                if order.marks and exposure > most * (story.money(scope, order) + worth):
                    yield f"I14: with order {order.name} the exposure is {exposure}, {name} of its {scope} is {most}"

    changed = await look.rows(
        "SELECT 1 FROM ledger_entries WHERE account = :account AND cause LIKE 'capital:%' GROUP BY cause "
        "HAVING count(DISTINCT transaction) > 1"
    )
    return [] if changed else await told(look, check)


async def i14_no_more_orders_are_open_than_may_be(look: Look) -> list[str]:
    def check(story: Story, order: Made) -> Iterator[str]:
        for scope, most in _limits(order, "max_open_orders"):
            count = sum(one.state not in ENDED for one in story.among(scope, order))
            if order not in story.made and count >= most:
                yield f"I14: order {order.name} is open beside {count} others, its {scope} allows {most} in all"

    return await told(look, check)


async def i14_no_more_orders_are_made_in_a_minute_than_may_be(look: Look) -> list[str]:
    def check(story: Story, order: Made) -> Iterator[str]:
        for scope, most in _limits(order, "max_orders_per_minute"):
            count = sum(one.at > order.at - MINUTE for one in story.among(scope, order))
            if order not in story.made and count >= most:
                yield f"I14: order {order.name} came within a minute of {count} others, its {scope} allows {most}"

    return await told(look, check)


async def i14_a_loss_beyond_its_limit_is_latched(look: Look) -> list[str]:
    return await look.say(
        "I14: a loss is beyond its limit, and nothing is latched",
        """
        SELECT w.scope, w.name, w.value, w.opened, w.peak, l.limits FROM worths w JOIN
            (SELECT 'deployment' AS scope, name, spec -> 'limits' AS limits, updated_at FROM deployments
             WHERE account = :account
             UNION ALL SELECT scope, name, limits, updated_at FROM risk_limits WHERE scope = 'account'
                AND name = :account) l ON l.scope = w.scope AND l.name = w.name AND l.updated_at < w.at
        CROSS JOIN LATERAL (VALUES ('daily_loss', 'max_daily_loss', w.opened), ('max_drawdown', 'max_drawdown', w.peak))
            b (code, limited, since)
        WHERE w.at + :refreshed < :now AND b.since - w.value >= b.since * (l.limits ->> b.limited)::numeric
        AND NOT EXISTS (SELECT 1 FROM halts h WHERE h.scope = w.scope AND h.name = w.name AND h.code = b.code)
        """,
        refreshed=REFRESHED,
        now=look.now,
    )


def _limits(order: Made, name: str) -> Iterator[tuple[str, Decimal]]:
    """The limits of this name that held for the order, by scope."""
    for scope, limits in order.limits.items():
        if name in limits:
            yield scope, Decimal(str(limits[name]))


async def i15_no_position_is_flipped(look: Look) -> list[str]:
    return await look.say(
        "I15: a spot position is below zero",
        """
        SELECT e.deployment, e.asset, sum(e.amount) FROM ledger_entries e
        JOIN books b ON b.deployment = e.deployment AND b.quote <> e.asset
        WHERE e.account = :account AND e.kind IN ('position', 'reserved')
        GROUP BY e.deployment, e.asset HAVING sum(e.amount) < 0
        """,
    )
