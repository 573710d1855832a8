"""What is on record about an order, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from cashup.clock import isoformat
from cashup.types import Millis

Row = Mapping[str, Any]


def order(row: Row) -> str:
    """The order in one line, and what became of it."""
    base, quote = row["symbol"].split(":")[0].split("/")
    amount = f"{_plain(row['quantity'])} {base}" if row["quantity"] is not None else "some"
    if row["cost"] is not None:
        amount = f"{base} for {_plain(row['cost'])} {quote}"
    price = f" at {_plain(row['price'])}" if row["price"] is not None else ""
    whose = "somebody else" if row["deployment"] is None else row["deployment"]
    filled = max(row["traded"], row["reported"])
    became = f"{row['state']}, {_plain(filled)} {base} filled" if filled else row["state"]
    reason = f" ({row['reason']})" if row["reason"] and row["reason"] != row["state"] else ""
    return f"{whose}: {row['side']} {amount}{price}, {row['type']} {row['time_in_force']}: {became}{reason}"


def bar(open_time: Millis, timeframe: str | None) -> str:
    """The bar that was decided on."""
    return (
        f"the {timeframe} bar of {isoformat(open_time)} closed" if timeframe else f"the bar of {isoformat(open_time)}"
    )


def intent(row: Row, about: Row, version: str | None = None) -> str:
    """What was asked for; `version` is what the attempt ran that asked."""
    body = row["body"]
    attempt = f"attempt {row['fence']} of {row['deployment']}{f' (version {version})' if version else ''}"
    if row["kind"] == "target":
        target = body["targets"].get(about["symbol"])
        wish = "keeps its last target" if target is None else f"asks for {target} of the equity"
        return f"{attempt} {wish} in {about['symbol']}"
    who = attempt if row["fence"] else "somebody"
    words = ", ".join(f"{name} {value}" for name, value in body.items() if value is not None and name != "order")
    return f"{who} asks to {'place' if row['kind'] == 'order' else row['kind']} it{': ' if words else ''}{words}"


def plan(row: Row, symbol: str) -> str:
    """How large it was made, and at which price."""
    sizing = row["sizing"]
    mark = row["marks"].get(symbol)
    change = next((aim[3] for aim in sizing["aims"] if aim[0] == symbol), None)
    aim = f", to change {symbol} by {_plain(Decimal(change))}" if change is not None else ""
    price = f" at the mark {mark}" if mark is not None else ""
    return f"sized on an equity of {_plain(Decimal(sizing['equity']))}{price}{aim}"


def decision(row: Row) -> str:
    """One risk decision."""
    return f"risk: {row['action']} ({row['code']}): {row['reason']}"


def request(row: Row, sent: Row) -> str:
    """A request that went out."""
    verb = {"cancel_answered": "cancel", "amend_answered": "amend"}.get(row["event"], "place")
    return f"the request to {verb} it goes to the venue" + (f": {sent['request']}" if sent.get("request") else "")


def answer(told: Row, wire: Row) -> str:
    """What came back."""
    status = f"HTTP {wire['status']}, " if wire.get("status") is not None else ""
    why = " ".join(str(told[name]) for name in ("label", "message") if told.get(name))
    return f"{status}classified as {told['result']}" + (f": {why}" if why else "")


def event(row: Row) -> str:
    """One step of the state machine."""
    before, after = row["from_state"], row["to_state"]
    moved = f"begins {after}" if before is None else f"{before} -> {after}" if before != after else f"stays {after}"
    cause = f" ({row['cause']})" if row["cause"] else ""
    return f"{row['event'].replace('_', ' ')} by {row['actor']}{cause}: {moved}"


def fill(row: Row) -> str:
    """One execution."""
    base = row["symbol"].split("/")[0]
    fee = f", fee {_plain(row['fee'])} {row['fee_currency']}"
    return f"trade {row['trade_id']}: {row['side']} {_plain(row['quantity'])} {base} at {_plain(row['price'])}{fee}"


def transaction(rows: Sequence[Row]) -> str:
    """One transaction of the ledger."""
    entries = (f"{row['kind']} {_plain(row['amount'], sign=True)} {row['asset']}" for row in rows)
    return "booked: " + ", ".join(entries)


def _plain(amount: Decimal, *, sign: bool = False) -> str:
    number = amount.normalize()
    return f"{number:+f}" if sign else f"{number:f}"
