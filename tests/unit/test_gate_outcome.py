"""Every outcome of a placement falls into one of five classes, by bytes written, HTTP status and label."""

import json
from decimal import Decimal

import pytest

from cashup.exchanges.gate_outcome import ENDED_AT_ENTRY, GONE, REFUSED, Reply, classify, classify_change
from cashup.exchanges.gate_rows import order_report
from cashup.types import OrderReport, ResultClass, Symbol

OURS = "t-01JD8ZZZZZZZZZZZZZZZZZZZZZ"


def row(**changes: object) -> dict[str, object]:
    return {
        "id": "42",
        "text": OURS,
        "currency_pair": "BTC_USDT",
        "type": "limit",
        "side": "sell",
        "amount": "2",
        "left": "0",
        "filled_amount": "2",
        "filled_total": "200",
        "avg_deal_price": "100",
        "status": "closed",
        "finish_as": "filled",
        "update_time_ms": 1,
    } | changes


def read(body) -> OrderReport:
    return order_report(body, lambda pair: Symbol(pair.replace("_", "/")))


def answer(status: int, body: object) -> Reply:
    return Reply(True, status, body if isinstance(body, bytes) else json.dumps(body).encode())


def refused(label: str, status: int = 400) -> Reply:
    return answer(status, {"label": label, "message": "because"})


NOT_SENT, UNKNOWN = ResultClass.NOT_SENT, ResultClass.UNKNOWN
ACCEPTED, ENDED, NO = ResultClass.ACCEPTED, ResultClass.ENDED_AT_ENTRY, ResultClass.REFUSED

CASES = [
    # nothing was written, or nobody knows what became of it
    (Reply(False, error="connection refused"), NOT_SENT),
    (Reply(False, error="no such host"), NOT_SENT),
    (Reply(True, error="timeout"), UNKNOWN),
    (Reply(True, error="connection reset"), UNKNOWN),
    # authentication, form, precision
    (refused("MISSING_REQUIRED_HEADER", 401), NO),
    (refused("REQUEST_EXPIRED"), NO),
    (refused("INVALID_KEY", 401), NO),
    (refused("INVALID_SIGNATURE", 401), NO),
    (refused("IP_FORBIDDEN", 403), NO),
    (refused("READ_ONLY", 403), NO),
    (refused("FORBIDDEN", 403), NO),
    (refused("ACCOUNT_LOCKED", 403), NO),
    (refused("INVALID_PARAM_VALUE"), NO),
    (refused("INVALID_PRECISION"), NO),
    (refused("INVALID_CURRENCY_PAIR"), NO),
    # amount, balance, risk
    (refused("AMOUNT_TOO_LITTLE"), NO),
    (refused("AMOUNT_TOO_MUCH"), NO),
    (refused("QUANTITY_NOT_ENOUGH"), NO),
    (refused("BALANCE_NOT_ENOUGH"), NO),
    (refused("TOO_MANY_ORDERS"), NO),
    (refused("RISK_LIMIT_EXCEEDED"), NO),
    (refused("TOO_MANY_REQUESTS", 429), NO),
    # ended at entry
    (refused("POC_FILL_IMMEDIATELY"), ENDED),
    (refused("ORDER_POC_IMMEDIATE"), ENDED),
    (refused("FOK_NOT_FILL"), ENDED),
    (refused("ORDER_FOK"), ENDED),
    (answer(201, row(status="cancelled", left="2", filled_amount="0", finish_as="ioc")), ENDED),
    # labels that prove nothing: an order with this id may well exist
    (refused("REPEATED_CREATION"), UNKNOWN),
    (refused("DUPLICATE_REQUEST"), UNKNOWN),
    (refused("ORDER_EXISTS"), UNKNOWN),
    (refused("ORDER_NOT_FOUND", 404), UNKNOWN),
    (refused("SOMETHING_NEW"), UNKNOWN),
    (refused("INTERNAL", 500), UNKNOWN),
    (refused("SERVER_ERROR", 500), UNKNOWN),
    (refused("TOO_BUSY", 503), UNKNOWN),
    (refused("TOO_BUSY", 400), UNKNOWN),
    (refused("BALANCE_NOT_ENOUGH", 502), UNKNOWN),
    (answer(403, b"<html>blocked</html>"), UNKNOWN),
    (answer(400, {"detail": "no label"}), UNKNOWN),
    (answer(502, b"<html>bad gateway</html>"), UNKNOWN),
    # a success that must be readable, and about our order
    (answer(201, row()), ACCEPTED),
    (answer(200, row()), ACCEPTED),
    (answer(201, row(status="open", left="2", filled_amount="0", finish_as="open")), ACCEPTED),
    (answer(201, row(status="cancelled", left="1", filled_amount="1", finish_as="ioc")), ACCEPTED),
    (answer(201, row(text="t-another")), UNKNOWN),
    (answer(201, {"id": "42", "text": OURS}), UNKNOWN),
    (answer(201, row(left="many")), UNKNOWN),
    (answer(201, row(status="half open")), UNKNOWN),
    (answer(201, b"created"), UNKNOWN),
    (answer(201, []), UNKNOWN),
    (answer(202, row()), UNKNOWN),
    (answer(204, b""), UNKNOWN),
    (answer(302, b""), UNKNOWN),
    (answer(200, {"label": "INVALID_KEY", "message": "a label on a success"}), UNKNOWN),
]


@pytest.mark.parametrize(("reply", "expected"), CASES)
def test_class(reply: Reply, expected: ResultClass) -> None:
    assert classify(reply, read, OURS).result is expected


@pytest.mark.parametrize("label", sorted(REFUSED))
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_the_status_does_not_matter_for_a_known_label(label: str, status: int) -> None:
    assert classify(refused(label, status), read, OURS).result is ResultClass.REFUSED


def test_lists_do_not_overlap() -> None:
    assert not REFUSED & ENDED_AT_ENTRY


def test_accepted_carries_the_order_and_refused_the_reason() -> None:
    accepted = classify(answer(201, row()), read, OURS).report
    assert accepted is not None
    assert (accepted.exchange_order_id, accepted.filled, accepted.done) == ("42", Decimal(2), True)
    refusal = classify(refused("BALANCE_NOT_ENOUGH"), read, OURS)
    assert (refusal.label, refusal.message, refusal.report) == ("BALANCE_NOT_ENOUGH", "because", None)


CHANGES = [
    (Reply(False, error="connection refused"), NOT_SENT),
    (Reply(True, error="timeout"), UNKNOWN),
    (refused("REQUEST_EXPIRED"), NO),
    (refused("TOO_MANY_REQUESTS", 429), NO),
    (refused("INVALID_PRECISION"), NO),
    (refused("BALANCE_NOT_ENOUGH"), NO),
    (refused("SOMETHING_NEW"), UNKNOWN),
    (refused("POC_FILL_IMMEDIATELY"), UNKNOWN),
    (refused("INTERNAL", 500), UNKNOWN),
    (answer(404, b"<html>not here</html>"), UNKNOWN),
    (answer(200, row(status="cancelled", left="2", filled_amount="0", finish_as="cancelled")), ACCEPTED),
    (answer(200, row(status="open", left="2", filled_amount="0", finish_as="open")), ACCEPTED),
    (answer(200, row(id="43", text="t-another")), UNKNOWN),
    (answer(200, b"done"), UNKNOWN),
    (answer(202, row()), UNKNOWN),
]


@pytest.mark.parametrize(("reply", "expected"), CHANGES)
@pytest.mark.parametrize("order", ["42", OURS])
def test_class_of_a_cancel_or_an_amendment(reply: Reply, expected: ResultClass, order: str) -> None:
    assert classify_change(reply, read, order).result is expected


@pytest.mark.parametrize("label", sorted(GONE))
@pytest.mark.parametrize("status", [400, 404])
def test_a_label_that_says_the_order_is_gone_proves_nothing(label: str, status: int) -> None:
    found = classify_change(refused(label, status), read, "42")
    assert (found.result, found.label, found.report) == (UNKNOWN, label, None)
