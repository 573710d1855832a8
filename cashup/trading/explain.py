"""Why an order is what it is: everything on record about it, in order of time, with times, latencies and hashes.

Only tables are read, so the answer is the same from any gateway and for an order of any fate: rejected, never placed,
cancelled, amended, or somebody else's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import isoformat_millis, timeframe_millis
from cashup.errors import NotFound, UsageError
from cashup.orders import record
from cashup.orders.tables import fills, inbox, order_events, orders
from cashup.storage.database import dump_json
from cashup.trading import narration
from cashup.trading.tables import attempts, deployments, intents, ledger_entries
from cashup.types import Millis
from cashup.users.tables import audit

Row = dict[str, Any]

_WIRE = ("request", "request_sha256", "status", "body", "body_sha256", "sent_at", "answered_at")


@dataclass(slots=True)
class Step:
    """One thing that happened: `kind` for machines, `summary` for people, `detail` as it lies in the tables."""

    at: Millis
    kind: str
    summary: str
    detail: Mapping[str, Any] = field(default_factory=dict)


async def explain(engine: AsyncEngine, name: str) -> Row:
    """The story of one order, named by our id, the venue's, or the beginning of either that no other order has.

    Raises NotFound, and UsageError when several orders begin like that.
    """
    async with engine.connect() as connection:
        order = await _find(connection, name)
        ident = order["client_order_id"]
        asked = await _asked(connection, order)
        history = await _rows(
            connection, select(order_events).where(order_events.c.client_order_id == ident).order_by(order_events.c.id)
        )
        traded = await _rows(connection, select(fills).where(fills.c.client_order_id == ident).order_by(fills.c.id))
        steps = [
            *_request_steps(order, asked),
            *_history_steps(history),
            *await _frame_steps(connection, history),
            *(Step(fill["time"], "fill", narration.fill(fill), fill) for fill in traded),
            *await _ledger_steps(connection, order, traded),
            *await _audit_steps(connection, order, asked),
        ]
    steps.sort(key=lambda step: step.at)
    return {
        "order": record.view(order) | {"version": asked["version"]},
        "summary": narration.order(order),
        "hashes": _hashes(asked, history),
        "latencies": _latencies(asked, history, traded),
        "steps": _shown(steps),
    }


# -- finding ----------------------------------------------------------------------------------------------------------


async def _find(connection: AsyncConnection, name: str) -> Row:
    ident, theirs = orders.c.client_order_id, orders.c.exchange_order_id
    found = await _rows(connection, select(orders).where(or_(ident == name, theirs == name)).limit(2))
    if not found and name:
        begins = or_(ident.startswith(name, autoescape=True), theirs.startswith(name, autoescape=True))
        found = await _rows(connection, select(orders).where(begins).limit(2))
    if not found:
        raise NotFound(f"there is no order {name}; `cashup orders` shows what there is")
    if len(found) > 1:
        raise UsageError(f"more than one order begins with {name}; give more of its id", code="ambiguous")
    return found[0]


async def _asked(connection: AsyncConnection, order: Row) -> dict[str, Any]:
    """The deployment, the attempts, and the intents about this order: the one that made it first.

    `version` is what the attempt ran that made it, `versions` what each attempt ran that asked something about it.
    """
    if order["deployment"] is None:
        return {"deployment": None, "attempt": None, "version": None, "versions": {}, "intents": []}
    name = order["deployment"]
    (deployment,) = await _rows(connection, select(deployments).where(deployments.c.name == name))
    made = intents.c.key == order["intent"]
    about = intents.c.kind.in_(("cancel", "amend")) & intents.c.body["order"].as_string().in_(
        [order["client_order_id"], order["exchange_order_id"]]
    )
    query = select(intents).where(intents.c.deployment == name, or_(made, about)).order_by(intents.c.number)
    found = await _rows(connection, query)
    fence = next((intent["fence"] for intent in found if intent["key"] == order["intent"]), 0)
    fences = {intent["fence"] for intent in found}
    query = select(attempts).where(attempts.c.deployment == name, attempts.c.number.in_(fences))
    known = {row["number"]: row for row in await _rows(connection, query)}
    attempt = known.get(fence)
    return {
        "deployment": deployment,
        "attempt": attempt,
        "version": attempt["version"] if attempt else None,
        "versions": {number: row["version"] for number, row in known.items()},
        "intents": found,
    }


async def _rows(connection: AsyncConnection, query: Select[Any]) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in (await connection.execute(query)).mappings()]


# -- steps ------------------------------------------------------------------------------------------------------------


def _request_steps(order: Row, asked: Mapping[str, Any]) -> Iterable[Step]:
    """The bar, and each intent about the order with its plan and the risk decisions."""
    for intent in asked["intents"]:
        mine = intent["key"] == order["intent"]
        if intent["bar"] is not None:
            timeframe = asked["deployment"]["spec"].get("timeframe")
            closed = intent["bar"] + timeframe_millis(timeframe) if timeframe else intent["bar"]
            bar = {"open_time": intent["bar"], "timeframe": timeframe}
            yield Step(closed, "bar", narration.bar(intent["bar"], timeframe), bar)
        names = ("key", "kind", "fence", "body", "body_hash", "state", "expires_at", "finished_at")
        version = asked["versions"].get(intent["fence"])
        detail = {name: intent[name] for name in names} | {"version": version}
        yield Step(intent["created_at"], "intent", narration.intent(intent, order, version), detail)
        if mine and intent["plan"]:
            yield Step(intent["created_at"], "plan", narration.plan(intent["plan"], order["symbol"]), intent["plan"])
        for decision in intent["decisions"]:
            if decision["symbol"] == order["symbol"]:
                yield Step(intent["created_at"], "risk", narration.decision(decision), decision)


def _history_steps(history: Sequence[Row]) -> Iterable[Step]:
    """What was learnt of the order; a request and its answer at the times at which they went and came."""
    for row in history:
        detail = dict(row["detail"])
        wire = {name: detail.pop(name) for name in _WIRE if name in detail}
        if wire.get("sent_at") is not None:
            sent: Row = {name: wire[name] for name in ("request", "request_sha256") if name in wire}
            yield Step(wire["sent_at"], "request", narration.request(row, sent), sent)
            answer: Row = {name: wire[name] for name in ("status", "body", "body_sha256") if name in wire}
            told: Row = {name: detail.get(name) for name in ("result", "label", "message")}
            yield Step(wire["answered_at"], "answer", narration.answer(told, answer), answer | told)
        names = ("event", "actor", "cause", "from_state", "to_state")
        yield Step(row["at"], "order", narration.event(row), {name: row[name] for name in names} | detail)


async def _frame_steps(connection: AsyncConnection, history: Sequence[Row]) -> list[Step]:
    """The raw frames that something was learnt from."""
    wanted = {ident for row in history for ident in row["detail"].get("frames", ())}
    if not wanted:
        return []
    steps = []
    for row in await _rows(connection, select(inbox).where(inbox.c.id.in_(wanted)).order_by(inbox.c.id)):
        detail = {"id": row["id"], "channel": row["channel"], "body": row["body"], "body_sha256": _sha256(row["body"])}
        steps.append(Step(row["received_at"], "frame", f"a frame of {row['channel']}", detail))
    return steps


async def _ledger_steps(connection: AsyncConnection, order: Row, traded: Sequence[Row]) -> list[Step]:
    """The transactions of the ledger, each with its entries."""
    causes = [f"order:{order['client_order_id']}"]
    origin = "trade" if order["origin"] == "cashup" else "external"
    causes += [f"{origin}:{fill['symbol']}:{fill['trade_id']}" for fill in traded]
    entry = ledger_entries.c
    query = select(ledger_entries).where(entry.cause.in_(causes), entry.account == order["account"]).order_by(entry.id)
    found: dict[str, list[Row]] = {}
    for row in await _rows(connection, query):
        found.setdefault(row["transaction"], []).append(row)
    return [
        Step(
            rows[0]["at"],
            "ledger",
            narration.transaction(rows),
            {
                "transaction": transaction,
                "cause": rows[0]["cause"],
                "entries": [{name: row[name] for name in ("deployment", "kind", "asset", "amount")} for row in rows],
            },
        )
        for transaction, rows in found.items()
    ]


async def _audit_steps(connection: AsyncConnection, order: Row, asked: Mapping[str, Any]) -> list[Step]:
    """What people and attempts did about it."""
    names = [order["client_order_id"], *(f"{order['deployment']}/{intent['key']}" for intent in asked["intents"])]
    rows = await _rows(connection, select(audit).where(audit.c.object.in_(names)).order_by(audit.c.id))
    return [Step(row["at"], "audit", f"{row['subject']} did {row['action']} on {row['object']}", row) for row in rows]


def _shown(steps: Sequence[Step]) -> list[Row]:
    """The steps with how long each came after the one before."""
    shown = []
    before = steps[0].at if steps else 0
    for step in steps:
        row: Row = {"at": step.at, "time": isoformat_millis(step.at), "after_ms": step.at - before}
        shown.append(row | {"kind": step.kind, "summary": step.summary, "detail": step.detail})
        before = step.at
    return shown


# -- figures ----------------------------------------------------------------------------------------------------------


def _hashes(asked: Mapping[str, Any], history: Sequence[Row]) -> Row:
    """What the order came from and what was said, as SHA-256; None where there is none."""
    spec = asked["deployment"]["spec"] if asked["deployment"] else {}
    attempt = asked["attempt"] or {}
    said = [row["detail"] for row in history if "request_sha256" in row["detail"]]
    first = asked["intents"][0] if asked["intents"] else None
    return {
        "notebook": attempt.get("notebook_hash"),
        "version": asked["version"],
        "params": _sha256(spec["params"]) if spec.get("params") else None,
        "intent": first["body_hash"] if first else None,
        "requests": [detail["request_sha256"] for detail in said],
        "answers": [detail.get("body_sha256") for detail in said],
    }


def _latencies(asked: Mapping[str, Any], history: Sequence[Row], traded: Sequence[Row]) -> Row:
    """Milliseconds from step to step; None where one of the two never was."""
    at = {row["event"]: row["at"] for row in reversed(history)}
    placed: Row = next((row["detail"] for row in history if row["event"] == "answered"), {})
    intent = asked["intents"][0]["created_at"] if asked["intents"] else None
    ended = history[-1]["at"] if history else None
    moments = {
        "intent_to_claim": (intent, at.get("claimed")),
        "claim_to_sent": (at.get("claimed"), placed.get("sent_at")),
        "sent_to_answer": (placed.get("sent_at"), placed.get("answered_at")),
        "sent_to_first_fill": (placed.get("sent_at"), traded[0]["time"] if traded else None),
        "first_fill_to_booked": (traded[0]["time"], traded[0]["booked_at"]) if traded else (None, None),
        "intent_to_last_step": (intent, ended),
    }
    return {name: None if None in pair else pair[1] - pair[0] for name, pair in moments.items()}  # type: ignore[operator]


def _sha256(document: Any) -> str:
    return hashlib.sha256(dump_json(document).encode()).hexdigest()
