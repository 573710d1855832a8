"""Events, intents and frames: I16 to I18."""

from __future__ import annotations

from tests.faults.rules.look import Look


async def i16_events_tell_what_the_tables_say_of_orders(look: Look) -> list[str]:
    return await look.say(
        "I16: the last event of an order says something else than its row",
        """
        SELECT o.client_order_id, o.state, e.data ->> 'state', o.reserved, e.data ->> 'reserved' FROM orders o
        LEFT JOIN (SELECT DISTINCT ON (data ->> 'client_order_id') data FROM outbox WHERE kind = 'order_changed'
            ORDER BY data ->> 'client_order_id', seq DESC) e ON e.data ->> 'client_order_id' = o.client_order_id
        WHERE o.account = :account AND o.origin = 'cashup' AND (e.data IS NULL
            OR e.data ->> 'state' <> CASE WHEN o.state = 'sending' THEN e.data ->> 'state' ELSE o.state END
            OR (e.data ->> 'filled')::numeric <> greatest(o.traded, o.reported)
            OR (e.data ->> 'reserved')::numeric <> o.reserved)
        """,
    )


async def i16_each_fill_is_told_once(look: Look) -> list[str]:
    return await look.say(
        "I16: a fill was not told exactly once",
        """
        SELECT f.symbol, f.trade_id, count(e.seq) FROM fills f LEFT JOIN outbox e ON e.kind = 'fill_booked'
            AND e.data ->> 'account' = f.account AND e.data ->> 'symbol' = f.symbol
            AND e.data ->> 'trade_id' = f.trade_id
        WHERE f.account = :account GROUP BY f.id HAVING count(e.seq) <> 1
        """,
    )


async def i16_each_bar_is_processed_once(look: Look) -> list[str]:
    return await look.say(
        "I16: a bar was reported as processed more than once",
        """
        SELECT o.stream, o.data ->> 'bar', count(*) FROM outbox o
        JOIN deployments d ON o.stream = 'deployment:' || d.name
        WHERE d.account = :account AND o.kind = 'bar_processed'
        GROUP BY o.stream, o.data ->> 'bar', o.data ->> 'key' HAVING count(*) > 1
        """,
    )


async def i17_each_intent_is_accepted_once(look: Look) -> list[str]:
    return await look.say(
        "I17: an intent was not accepted exactly once",
        """
        SELECT i.deployment, i.key, count(e.seq) FROM intents i JOIN deployments d ON d.name = i.deployment
        LEFT JOIN outbox e ON e.kind = 'intent_accepted' AND e.stream = 'deployment:' || i.deployment
            AND e.data ->> 'key' = i.key
        WHERE d.account = :account GROUP BY i.deployment, i.key HAVING count(e.seq) <> 1
        """,
    )


async def i17_each_order_belongs_to_an_intent(look: Look) -> list[str]:
    return await look.say(
        "I17: an order belongs to no intent",
        """
        SELECT o.client_order_id, o.deployment, o.intent FROM orders o
        LEFT JOIN intents i ON i.deployment = o.deployment AND i.key = o.intent
        WHERE o.account = :account AND o.origin = 'cashup' AND i.key IS NULL
        """,
    )


_TRADE_FRAMES = """
    SELECT id, applied, replace(split_part(name, ':', 1), '_', '/') AS symbol, split_part(name, ':', 2) AS trade_id
    FROM (SELECT id, applied, CASE channel WHEN 'trades' THEN dedupe_key ELSE substr(dedupe_key, 6) END AS name
          FROM inbox WHERE account = :account AND channel IN ('trades', 'spot.usertrades')) frames
    """
"""The frames of trades with the trade that each tells of, as the paper venue and as Gate name it."""


async def i18_each_applied_trade_frame_is_booked(look: Look) -> list[str]:
    return await look.say(
        "I18: a frame counts as applied, and its trade is not booked",
        f"""
        SELECT i.id, i.symbol, i.trade_id FROM ({_TRADE_FRAMES}) i
        LEFT JOIN fills f ON f.account = :account AND f.symbol = i.symbol AND f.trade_id = i.trade_id
        WHERE i.applied AND f.id IS NULL
        """,  # noqa: S608  (a constant of this file)
    )


async def i18_at_rest_each_frame_is_applied(look: Look) -> list[str]:
    return await look.say(
        "I18: a frame was stored and never acted upon",
        "SELECT id, channel, dedupe_key FROM inbox WHERE account = :account AND NOT applied",
    )
