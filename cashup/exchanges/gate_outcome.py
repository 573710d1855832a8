"""What became of a request to Gate, from three facts only: were bytes written, which HTTP status, which label.

Never from the type of an exception: one ancestor covers "certainly not placed" and "nobody knows" alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from cashup.errors import ExchangeRefused, ExchangeTransient, IntegrityError
from cashup.exchanges.limiter import Usage
from cashup.types import Millis, OrderReport, ResultClass, SendResult, Wire

REFUSED = frozenset(
    {
        # authentication
        "MISSING_REQUIRED_HEADER",
        "REQUEST_EXPIRED",
        "INVALID_KEY",
        "INVALID_CREDENTIALS",
        "INVALID_SIGNATURE",
        "IP_FORBIDDEN",
        "READ_ONLY",
        "FORBIDDEN",
        "ACCOUNT_LOCKED",
        # form
        "INVALID_PARAM_VALUE",
        "INVALID_PROTOCOL",
        "INVALID_ARGUMENT",
        "INVALID_REQUEST_BODY",
        "MISSING_REQUIRED_PARAM",
        "BAD_REQUEST",
        "INVALID_CONTENT_TYPE",
        "NOT_ACCEPTABLE",
        "METHOD_NOT_ALLOWED",
        "NOT_FOUND",
        "INVALID_CURRENCY",
        "INVALID_CURRENCY_PAIR",
        "INVALID_PRECISION",
        # amount, balance, risk
        "AMOUNT_TOO_LITTLE",
        "AMOUNT_TOO_MUCH",
        "QUANTITY_NOT_ENOUGH",
        "BALANCE_NOT_ENOUGH",
        "MARGIN_BALANCE_NOT_ENOUGH",
        "TOO_MANY_ORDERS",
        "CONTRACT_NOT_FOUND",
        "INSUFFICIENT_AVAILABLE",
        "RISK_LIMIT_EXCEEDED",
        "LIQUIDATE_IMMEDIATELY",
        "PRICE_TOO_DEVIATED",
        "SIZE_TOO_LARGE",
        "SIZE_TOO_SMALL",
        "POSITION_EMPTY",
        "POSITION_IN_LIQUIDATION",
        "CONTRACT_IN_DELISTING",
        "USER_NOT_FOUND",
        "TOO_MANY_REQUESTS",
    }
)
"""Labels that prove that no order came to be. Whatever is not listed proves nothing (a duplicate id, for instance)."""

OUTDATED = frozenset({"INVALID_PRECISION", "AMOUNT_TOO_LITTLE"})
"""Of these, the labels by which Gate says that an order does not keep to its market's rules, as it now has them."""

ENDED_AT_ENTRY = frozenset({"POC_FILL_IMMEDIATELY", "ORDER_POC_IMMEDIATE", "FOK_NOT_FILL", "ORDER_FOK"})
"""Labels of an order that was taken and ended at once without a fill."""

GONE = frozenset(
    {
        "ORDER_NOT_FOUND",
        "CLIENT_ID_NOT_FOUND",
        "ORDER_CLOSED",
        "ORDER_CANCELLED",
        "ORDER_FINISHED",
        "CANCEL_FAIL",
        "NO_CHANGE",
    }
)
"""On a cancel or an amendment: ask for the order, and infer nothing from the label."""

ABSENT = frozenset({"ORDER_NOT_FOUND", "CLIENT_ID_NOT_FOUND"})
"""On a query: no such order, as far as the venue remembers."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one HTTP exchange left behind. `status` is None when no answer arrived; `error` then says why.

    `request` is the body that was sent, or the query when there was none; `usage` what was said of the rate limit, and
    `told_at` the venue's time when it answered (ms).
    """

    written: bool
    status: int | None = None
    body: bytes = b""
    error: str = ""
    request: str = ""
    usage: Usage | None = None
    told_at: Millis | None = None

    @property
    def wire(self) -> Wire:
        """The exchange, to be kept."""
        return Wire(self.request, self.status, self.body.decode(errors="replace"))

    def json(self) -> Any:
        """The parsed body, or None when it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


def label_of(reply: Reply) -> tuple[str, str]:
    """Gate's (label, message); both empty when the body has none."""
    body = reply.json()
    if not isinstance(body, Mapping) or not isinstance(body.get("label"), str):
        return "", ""
    return body["label"], str(body.get("message") or body.get("detail") or "")


def content_of(reply: Reply) -> Any:
    """The parsed answer to a read; raises ExchangeTransient or ExchangeRefused when there is none."""
    if reply.status is None:
        raise ExchangeTransient(f"Gate did not answer: {reply.error}")
    label, message = label_of(reply)
    if reply.status == 429 or reply.status >= 500 or (reply.status >= 400 and not label):
        raise ExchangeTransient(f"Gate answered HTTP {reply.status} {label} {message}".rstrip())
    if reply.status >= 300:
        raise ExchangeRefused(f"Gate refused: {label} {message}".rstrip(), code=label.lower() or None)
    content = reply.json()
    if content is None:
        raise ExchangeTransient("Gate's answer cannot be read; try again")
    return content


Read = Callable[[Mapping[str, Any]], OrderReport]
"""Turns an order row into a report; raises IntegrityError for a broken one."""


def classify(reply: Reply, read: Read, client_order_id: str) -> SendResult:
    """The outcome of a placement."""
    failed = _failed(reply)
    if failed is not None:
        ended = failed.label in ENDED_AT_ENTRY and reply.status is not None and 400 <= reply.status < 500
        return replace(failed, result=ResultClass.ENDED_AT_ENTRY) if ended else failed
    report, problem = _read(reply, read)
    if report is None:
        return SendResult(ResultClass.UNKNOWN, message=problem)
    if report.client_order_id != client_order_id:
        return SendResult(ResultClass.UNKNOWN, message=f"the answer is about order {report.client_order_id}")
    nothing_filled = report.done and report.filled == Decimal(0)
    return SendResult(ResultClass.ENDED_AT_ENTRY if nothing_filled else ResultClass.ACCEPTED, report)


def classify_change(reply: Reply, read: Read, order_id: str) -> SendResult:
    """The outcome of a cancel or an amendment of the order with this id, the venue's or ours.

    A label of GONE proves nothing either way, like any other that is not on a list: the order must be asked for.
    """
    failed = _failed(reply)
    if failed is not None:
        return failed
    report, problem = _read(reply, read)
    if report is None:
        return SendResult(ResultClass.UNKNOWN, message=problem)
    if order_id not in (report.exchange_order_id, report.client_order_id):
        return SendResult(ResultClass.UNKNOWN, message=f"the answer is about order {report.exchange_order_id}")
    return SendResult(ResultClass.ACCEPTED, report)


def _failed(reply: Reply) -> SendResult | None:
    """What a reply that is no success proves; None for a success."""
    if reply.status is None:
        result = ResultClass.UNKNOWN if reply.written else ResultClass.NOT_SENT
        return SendResult(result, message=reply.error)
    label, message = label_of(reply)
    if reply.status in {200, 201} and not label:
        return None
    refused = 400 <= reply.status < 500 and label in REFUSED
    return SendResult(
        ResultClass.REFUSED if refused else ResultClass.UNKNOWN, label=label, message=message or f"HTTP {reply.status}"
    )


def _read(reply: Reply, read: Read) -> tuple[OrderReport | None, str]:
    """The order in an answer that Gate calls a success, or why it cannot be read."""
    body = reply.json()
    if not isinstance(body, Mapping):
        return None, "the answer is not a JSON object"
    try:
        return read(body), ""
    except IntegrityError as error:
        return None, str(error)
