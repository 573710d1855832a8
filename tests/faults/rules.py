"""The invariants of orders and money, each a small function that answers with the sentences it has to say.

A rule sees the exchange's own book and our tables, by SQL of its own, and nothing of the code that wrote them. The
numbers are those of the list of invariants; a rule that only holds at rest (no fault, nothing on its way) says so by
standing in `AT_REST`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.faults.venue_book import VenueBook, VenueTrade

ENDED = ["filled", "cancelled", "rejected", "rejected_local", "not_placed", "expired"]
"""The states in which an order stays."""

HOLDINGS = ["cash", "position", "reserved"]
"""The kinds of entries that together are what the exchange must show."""

GRACE = 100
"""How long after a halt was latched a claim may still appear, because its moment is taken before the claim (ms)."""

UNKNOWN_AT_MOST = 60_000
"""How long an order's fate may be unknown (ms)."""


@dataclass(slots=True)
class Seen:
    """What earlier checks saw of each order: its state and what it had filled."""

    orders: dict[str, tuple[str, Decimal]] = field(default_factory=dict)


@dataclass(slots=True)
class Look:
    """One look at the tables (one snapshot) between two looks at the exchange's book."""

    connection: AsyncConnection
    account: str
    before: VenueBook
    after: VenueBook
    seen: Seen
    now: int
    secrets: tuple[str, ...] = ()

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query; `:account` and whatever else it names is bound."""
        bound = {"account": self.account, "ended": ENDED, "holdings": HOLDINGS, **values}
        used = {name: value for name, value in bound.items() if f":{name}" in query}
        return list((await self.connection.execute(text(query), used)).all())

    async def say(self, sentence: str, query: str, **values: Any) -> list[str]:
        """The sentence once for each of the first rows of a query, with the row behind it."""
        rows = await self.rows(query, **values)
        return [f"{sentence}: {' '.join(map(str, row))}" for row in rows[:5]]


Rule = Callable[[Look], Awaitable[list[str]]]


# -- orders on the exchange and claims --------------------------------------------------------------------------------


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


# -- quantities -------------------------------------------------------------------------------------------------------


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


# -- money ------------------------------------------------------------------------------------------------------------


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


# -- states -----------------------------------------------------------------------------------------------------------


async def i11_an_ended_order_stays_ended(look: Look) -> list[str]:
    query = "SELECT client_order_id, state FROM orders WHERE account = :account"
    return [
        f"I11: order {name} had ended as {look.seen.orders[name][0]} and is {state} now"
        for name, state in await look.rows(query)
        if name in look.seen.orders and look.seen.orders[name][0] in ENDED and state != look.seen.orders[name][0]
    ]


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


# -- permission to send -----------------------------------------------------------------------------------------------


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


# -- risk -------------------------------------------------------------------------------------------------------------


async def i14_no_order_is_above_its_limit(look: Look) -> list[str]:
    return await look.say(
        "I14: a buy is above the limit that was in force",
        """
        SELECT client_order_id, coalesce(cost, quantity * price), limits ->> 'max_order_cost' FROM orders
        WHERE account = :account AND side = 'buy'
        AND coalesce(cost, quantity * price) > (limits ->> 'max_order_cost')::numeric
        """,
    )


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


# -- events, intents, frames ------------------------------------------------------------------------------------------


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


async def i19_the_exchange_was_not_asked_too_often(look: Look) -> list[str]:
    count = look.after.rate_violations
    return [f"I19: the exchange counted {count} requests above its limits"] if count else []


# -- what is written down ---------------------------------------------------------------------------------------------


async def i20_no_secret_is_written_down(look: Look) -> list[str]:
    columns = await look.rows(
        """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type IN ('text', 'jsonb') ORDER BY 1, 2
        """
    )
    said = []
    for secret in look.secrets:
        for table, column in columns:
            query = f'SELECT 1 FROM "{table}" WHERE position(:secret in "{column}"::text) > 0 LIMIT 1'  # noqa: S608
            if await look.rows(query, secret=secret):
                said.append(f"I20: a secret stands in {table}.{column}")
    return said


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


async def i11_no_step_leads_out_of_an_end(look: Look) -> list[str]:
    return await look.say(
        "I11: the history of an order leads out of an end",
        """
        SELECT client_order_id, id, from_state, to_state FROM order_events
        WHERE account = :account AND from_state = ANY(:ended) AND to_state <> from_state
        """,
    )


async def i22_money_is_never_a_float(look: Look) -> list[str]:
    said = await look.say(
        "I22: a column holds floating point numbers",
        """
        SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
        AND data_type IN ('real', 'double precision') AND table_name = ANY(:tables) ORDER BY 1, 2
        """,
        tables=[table for table, _, _ in MONEY_DOCUMENTS] + ["books", "positions", "ledger_entries", "equity"],
    )
    for table, column, where in MONEY_DOCUMENTS:
        query = f"""
            SELECT {column} FROM {table} t WHERE {where}
            AND jsonb_path_exists({column}, '$.** ? (@.type() == "number" && @ != @.floor())') LIMIT 1
            """  # noqa: S608
        said += await look.say(f"I22: {table}.{column} holds a number with a fraction, not a text", query)
    return said


MONEY_DOCUMENTS = (
    ("orders", "fees", "account = :account"),
    ("orders", "limits", "account = :account"),
    ("order_events", "detail", "account = :account"),
    ("intents", "body", "deployment IN (SELECT name FROM deployments WHERE account = :account)"),
    ("intents", "plan", "deployment IN (SELECT name FROM deployments WHERE account = :account)"),
    ("outbox", "data", "kind IN ('order_changed', 'fill_booked', 'bar_processed', 'intent_accepted')"),
)
"""Documents with money in them, by table, column and the rows that concern an account."""


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


ALWAYS: tuple[Rule, ...] = (
    i01_each_venue_order_is_one_claim,
    i02_no_two_venue_orders_for_one_step,
    i03_nothing_was_sent_before_its_claim,
    i04_filled_stays_within_what_was_ordered,
    i04_filled_never_falls,
    i05_fills_sum_to_what_an_order_traded,
    i06_each_fill_is_booked_by_one_transaction,
    i06_each_fill_is_a_trade_of_the_exchange,
    i07_each_transaction_balances,
    i08_books_are_what_the_ledger_says,
    i08_positions_are_what_the_ledger_says,
    i08_nothing_a_deployment_owns_is_below_zero,
    i10_a_reservation_lives_as_long_as_its_order,
    i10_reservations_are_what_the_ledger_holds,
    i11_an_ended_order_stays_ended,
    i11_no_step_leads_out_of_an_end,
    i12_no_fate_is_unknown_for_long,
    i13_nothing_is_claimed_while_the_account_is_not_ready,
    i13_claims_follow_the_lease,
    i13_nothing_is_claimed_behind_a_halt,
    i14_no_order_is_above_its_limit,
    i15_no_position_is_flipped,
    i16_events_tell_what_the_tables_say_of_orders,
    i16_each_fill_is_told_once,
    i16_each_bar_is_processed_once,
    i17_each_intent_is_accepted_once,
    i17_each_order_belongs_to_an_intent,
    i18_each_applied_trade_frame_is_booked,
    i19_the_exchange_was_not_asked_too_often,
    i20_no_secret_is_written_down,
    i21_each_transition_is_on_record,
    i22_money_is_never_a_float,
)
"""What holds at any moment."""

AT_REST: tuple[Rule, ...] = (
    i05_at_rest_an_order_has_what_the_exchange_filled,
    i06_at_rest_each_trade_of_the_exchange_is_booked,
    i09_at_rest_the_ledger_is_what_the_exchange_holds,
    i12_at_rest_no_fate_is_unknown,
    i18_at_rest_each_frame_is_applied,
    at_rest_nothing_is_left_to_do,
)
"""What holds besides when no fault is on, every answer and frame has come in, and no intent is on its way."""

BY_THE_CLOCK: tuple[Rule, ...] = (
    i03_nothing_was_sent_before_its_claim,
    i12_no_fate_is_unknown_for_long,
    i13_nothing_is_claimed_while_the_account_is_not_ready,
    i13_nothing_is_claimed_behind_a_halt,
    i13_claims_follow_the_lease,
)
"""What compares times that different clocks may have told."""
