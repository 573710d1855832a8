"""The checker is checked: for each rule there is a way to doctor the tables or the exchange's book that it must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from tests.faults import rules
from tests.faults.checker import Checker
from tests.faults.venue_book import VenueBook, exchange_book
from tests.integration.trading.conftest import BTC, ETH, Desk

SECRET = "0123456789abcdef-secret"


@dataclass(frozen=True)
class Doctored:
    """What is done to a sound account, and the rule that must speak."""

    rule: rules.Rule
    statements: tuple[str, ...] = ()
    book: Callable[[VenueBook], VenueBook] = lambda book: book

    def __str__(self) -> str:
        return self.rule.__name__


def tables(rule: rules.Rule, *statements: str) -> Doctored:
    """A case in which rows are not what they were."""
    return Doctored(rule, statements)


def with_first_order(**changes: Any) -> Callable[[VenueBook], VenueBook]:
    """The exchange's book with one of its orders changed."""
    return lambda book: replace(book, orders=(replace(book.orders[0], **changes), *book.orders[1:]))


def with_another_order(**changes: Any) -> Callable[[VenueBook], VenueBook]:
    """The exchange's book with one order twice, the second a little different."""
    return lambda book: replace(book, orders=(*book.orders, replace(book.orders[0], **changes)))


OTHER = "t-" + "0" * 26
EVENT = "INSERT INTO outbox (stream, kind, at, data) SELECT stream, kind, at, data FROM outbox WHERE kind = "
ENTRY = "INSERT INTO ledger_entries (transaction, account, deployment, kind, asset, amount, cause, at) VALUES "
COPY = """
    INSERT INTO orders (client_order_id, account, deployment, intent, bar, origin, symbol, side, type, cost, quantity,
        time_in_force, state, fees, limits, created_at, claimed_at, updated_at)
    SELECT :other, account, deployment, intent, bar, origin, symbol, side, type, cost, quantity, time_in_force,
        'cancelled', fees, limits, created_at, claimed_at, updated_at
    FROM orders ORDER BY created_at, client_order_id LIMIT 1
    """.replace(":other", f"'{OTHER}'")

LIMIT = "UPDATE orders SET limits = 'THIS'"
SPEC = """UPDATE deployments SET spec = '{"limits": {"THIS": "0.1"}}'"""
OF = "INSERT INTO risk_limits (scope, name, limits, by, updated_at) VALUES (THIS, 'ann', 0)"
WORTH = """
    INSERT INTO worths (scope, name, quote, day, opened, peak, value, capital, at)
    VALUES ('deployment', 'demo', 'USDT', 0, 100, 100, 80, 100, 1) ON CONFLICT (scope, name, quote)
    DO UPDATE SET opened = 100, peak = 100, value = 80, at = 1
    """
HALT = "INSERT INTO halts VALUES (THIS, 'a reason', 'ann', 1)"

CASES = [
    Doctored(rules.i01_each_venue_order_is_one_claim, book=with_another_order(id="77")),
    Doctored(rules.i01_each_venue_order_is_one_claim, book=with_another_order(text=OTHER, id="77")),
    Doctored(rules.i01_each_venue_order_is_one_claim, book=with_first_order(id="77")),
    tables(rules.i01_each_venue_order_is_one_claim, "UPDATE orders SET claimed_at = NULL"),
    Doctored(rules.i02_no_two_venue_orders_for_one_step, (COPY,), with_another_order(text=OTHER, id="77")),
    Doctored(rules.i03_nothing_was_sent_before_its_claim, book=with_first_order(created=1)),
    tables(rules.i03_nothing_was_sent_before_its_claim, "UPDATE orders SET claimed_at = NULL WHERE side = 'sell'"),
    tables(rules.i04_filled_stays_within_what_was_ordered, "UPDATE orders SET cost = spent - 1 WHERE side = 'buy'"),
    tables(rules.i04_filled_stays_within_what_was_ordered, "UPDATE orders SET reported = 100 WHERE side = 'sell'"),
    tables(rules.i04_filled_never_falls, "UPDATE orders SET traded = traded / 2, reported = reported / 2"),
    tables(rules.i05_fills_sum_to_what_an_order_traded, "DELETE FROM fills WHERE side = 'sell'"),
    tables(rules.i05_fills_sum_to_what_an_order_traded, "UPDATE orders SET spent = spent + 1"),
    tables(rules.i05_at_rest_an_order_has_what_the_exchange_filled, "UPDATE orders SET traded = traded / 2"),
    tables(rules.i05_at_rest_an_order_has_what_the_exchange_filled, "UPDATE orders SET reported = reported * 2"),
    Doctored(rules.i05_at_rest_an_order_has_what_the_exchange_filled, book=with_first_order(filled=Decimal(9))),
    tables(rules.i06_each_fill_is_booked_by_one_transaction, "DELETE FROM ledger_entries WHERE cause LIKE 'trade:%'"),
    tables(
        rules.i06_each_fill_is_booked_by_one_transaction,
        """
        INSERT INTO ledger_entries (transaction, account, deployment, kind, asset, amount, cause, at)
        SELECT 'again', account, deployment, kind, asset, amount, cause, at FROM ledger_entries
        WHERE cause LIKE 'trade:%'
        """,
    ),
    tables(rules.i06_each_fill_is_a_trade_of_the_exchange, "UPDATE fills SET price = price + 1 WHERE side = 'sell'"),
    tables(rules.i06_each_fill_is_a_trade_of_the_exchange, "UPDATE fills SET trade_id = 'x' WHERE side = 'sell'"),
    tables(rules.i06_at_rest_each_trade_of_the_exchange_is_booked, "DELETE FROM fills WHERE side = 'sell'"),
    tables(rules.i07_each_transaction_balances, ENTRY + "('T', 'main', NULL, 'cash', 'USDT', 1, 'x', 1)"),
    tables(rules.i08_books_are_what_the_ledger_says, "UPDATE books SET cash = cash + 1"),
    tables(rules.i08_books_are_what_the_ledger_says, "UPDATE books SET cash = cash - 1, reserved = reserved + 1"),
    tables(rules.i08_positions_are_what_the_ledger_says, "UPDATE positions SET quantity = quantity + 1"),
    tables(rules.i08_positions_are_what_the_ledger_says, "DELETE FROM positions"),
    tables(
        rules.i08_nothing_a_deployment_owns_is_below_zero,
        ENTRY + "('T', 'main', 'demo', 'reserved', 'USDT', -1, 'x', 1)",
    ),
    tables(
        rules.i09_at_rest_the_ledger_is_what_the_exchange_holds,
        ENTRY + "('T', 'main', NULL, 'cash', 'USDT', 0.00000001, 'x', 1)",
    ),
    Doctored(
        rules.i09_at_rest_the_ledger_is_what_the_exchange_holds,
        book=lambda book: replace(book, balances={**book.balances, "GT": (Decimal("1e-12"), Decimal(0))}),
    ),
    tables(rules.i10_a_reservation_lives_as_long_as_its_order, "UPDATE orders SET reserved = 1 WHERE side = 'sell'"),
    tables(
        rules.i10_a_reservation_lives_as_long_as_its_order,
        "UPDATE orders SET state = 'open', traded = 0, reported = 0 WHERE side = 'sell'",
    ),
    tables(rules.i10_reservations_are_what_the_ledger_holds, "UPDATE orders SET reserved = 1 WHERE side = 'sell'"),
    tables(rules.i11_an_ended_order_stays_ended, "UPDATE orders SET state = 'open' WHERE side = 'sell'"),
    tables(
        rules.i12_no_fate_is_unknown_for_long, "UPDATE orders SET state = 'unknown', claimed_at = claimed_at - 61000"
    ),
    tables(rules.i12_at_rest_no_fate_is_unknown, "UPDATE orders SET state = 'sending' WHERE side = 'sell'"),
    tables(
        rules.i13_nothing_is_claimed_while_the_account_is_not_ready,
        "UPDATE outbox SET at = at + 60000 WHERE kind = 'account_changed'",
    ),
    tables(
        rules.i13_nothing_is_claimed_while_the_account_is_not_ready,
        """
        INSERT INTO outbox (stream, kind, at, data)
        SELECT 'account:main', 'account_changed', claimed_at - 101, '{"state": "reconciling"}' FROM orders
        WHERE side = 'sell'
        """,
    ),
    tables(
        rules.i13_claims_follow_the_lease,
        """
        UPDATE order_events SET detail = jsonb_set(detail, '{fence}', '9') WHERE event = 'claimed'
        AND client_order_id IN (SELECT client_order_id FROM orders WHERE side = 'buy' AND bar = 1)
        """,
    ),
    *(
        tables(rules.i13_nothing_is_claimed_behind_a_halt, HALT.replace("THIS", halt))
        for halt in (
            "'all', '', 'kill', 'halted'",
            "'user', 'ann', 'kill', 'reducing'",
            "'account', 'main', 'kill', 'halted'",
            "'deployment', 'demo', 'daily_loss', 'reducing'",
        )
    ),
    tables(rules.i14_no_order_is_above_its_limit, LIMIT.replace("THIS", '{"max_order_notional": "10"}')),
    tables(
        rules.i14_no_order_is_above_its_limit, OF.replace("THIS", """'user', 'ann', '{"max_order_notional": "10"}'""")
    ),
    tables(rules.i14_no_position_may_outgrow_its_limit, LIMIT.replace("THIS", '{"max_position_notional": "10"}')),
    tables(
        rules.i14_no_position_may_outgrow_its_limit,
        OF.replace("THIS", """'account', 'main', '{"max_position_notional": "10"}'"""),
    ),
    tables(
        rules.i14_exposure_stays_within_its_multiple_of_equity, LIMIT.replace("THIS", '{"max_gross_exposure": "0.49"}')
    ),
    tables(rules.i14_exposure_stays_within_its_multiple_of_equity, LIMIT.replace("THIS", '{"max_net_exposure": 0.49}')),
    Doctored(
        rules.i14_no_more_orders_are_open_than_may_be,
        (
            LIMIT.replace("THIS", '{"max_open_orders": 1}'),
            "UPDATE order_events SET to_state = 'unknown' WHERE to_state = 'filled'",
        ),
    ),
    tables(
        rules.i14_no_more_orders_are_made_in_a_minute_than_may_be, LIMIT.replace("THIS", '{"max_orders_per_minute": 1}')
    ),
    *(
        Doctored(
            rules.i14_a_loss_beyond_its_limit_is_latched,
            (SPEC.replace("THIS", name), WORTH),
        )
        for name in ("max_daily_loss", "max_drawdown")
    ),
    tables(
        rules.i15_no_position_is_flipped,
        ENTRY
        + "('T', 'main', 'demo', 'position', 'BTC', -5, 'x', 1), ('T', 'main', 'demo', 'market', 'BTC', 5, 'x', 1)",
    ),
    tables(rules.i16_events_tell_what_the_tables_say_of_orders, "UPDATE orders SET state = 'cancelled'"),
    tables(rules.i16_events_tell_what_the_tables_say_of_orders, "DELETE FROM outbox WHERE kind = 'order_changed'"),
    tables(rules.i16_each_fill_is_told_once, "DELETE FROM outbox WHERE kind = 'fill_booked'"),
    tables(rules.i16_each_fill_is_told_once, EVENT + "'fill_booked'"),
    tables(rules.i16_each_bar_is_processed_once, EVENT + "'bar_processed'"),
    tables(rules.i17_each_intent_is_accepted_once, EVENT + "'intent_accepted'"),
    tables(rules.i17_each_order_belongs_to_an_intent, "UPDATE orders SET intent = 'nobody'"),
    tables(rules.i18_each_applied_trade_frame_is_booked, "DELETE FROM fills WHERE side = 'sell'"),
    tables(rules.i18_at_rest_each_frame_is_applied, "UPDATE inbox SET applied = false"),
    Doctored(rules.i19_the_exchange_was_not_asked_too_often, book=lambda book: replace(book, rate_violations=1)),
    tables(rules.i20_no_secret_is_written_down, "UPDATE orders SET reason = 'signed with SECRET'"),
    tables(
        rules.i20_no_secret_is_written_down,
        """UPDATE inbox SET body = '{"auth": {"KEY": "SECRET"}}' WHERE id = (SELECT min(id) FROM inbox)""",
    ),
    tables(rules.i11_no_step_leads_out_of_an_end, "UPDATE order_events SET from_state = 'filled', to_state = 'open'"),
    tables(rules.i21_each_transition_is_on_record, "DELETE FROM order_events WHERE to_state = 'sending'"),
    tables(rules.i21_each_transition_is_on_record, "UPDATE order_events SET actor = ''"),
    tables(rules.i21_each_transition_is_on_record, "UPDATE orders SET state = 'cancelled'"),
    tables(rules.i22_money_is_never_a_float, """UPDATE orders SET fees = '{"BTC": 0.5}'"""),
    tables(rules.i22_money_is_never_a_float, "ALTER TABLE positions ALTER COLUMN cost TYPE double precision"),
    tables(rules.at_rest_nothing_is_left_to_do, "UPDATE orders SET state = 'open' WHERE side = 'sell'"),
]


@pytest.fixture
async def traded(desk: Desk) -> tuple[Desk, Checker]:
    """An account that has bought twice and sold once, at rest, and a checker that found nothing on it."""
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await desk.submit(2, {BTC: 0.25, ETH: 0.25})
    await desk.processed(2)
    checker = Checker(desk.database, "main", lambda: read(desk), secrets=[SECRET])
    assert await checker.check_always() == []
    assert await checker.check_at_rest() == []
    return desk, checker


async def read(desk: Desk) -> VenueBook:
    return exchange_book(desk.exchange)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_rule_speaks(traded: tuple[Desk, Checker], case: Doctored) -> None:
    desk, checker = traded
    await desk.engine.stop()
    for statement in case.statements:
        async with desk.database.begin() as connection:
            changed = await connection.execute(text(statement.replace("SECRET", SECRET)))
            assert changed.rowcount != 0

    async def doctored() -> VenueBook:
        return case.book(await read(desk))

    checker.read_book = doctored
    said = await checker.check([case.rule])
    assert said
    assert all(len(sentence) > 20 for sentence in said)


def test_every_rule_is_seen_to_speak() -> None:
    assert {case.rule for case in CASES} == {*rules.ALWAYS, *rules.AT_REST}
