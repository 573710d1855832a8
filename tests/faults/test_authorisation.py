"""Who may do what: every operation and every frame of the API, with every kind of credential."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.api import ws
from cashup.api.app import create_app
from cashup.bootstrap import Gateway, open_administration
from cashup.client import Socket
from cashup.errors import Unauthenticated
from cashup.simulator.server import Simulator
from tests.faults.house import PASSWORD, SPEC, House, build
from tests.faults.scenarios.report import Scenario
from tests.integration.test_gateway import BTC, gateway, keys, simulator, url  # noqa: F401  (fixtures)
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

BAD = ("none", "expired", "wrong audience", "wrong signature", "revoked")
KNOWN = (
    "other user",
    "viewer",
    "view token",
    "worker of another run",
    "admin",
    "supervisor",
    "supervisor of another run",
)

ANYBODY, READER, RUN, PERSON, TRADER, OWNER, ADMIN = "anybody", "reader", "run", "person", "trader", "owner", "admin"
KEEPER, MACHINE, LEAVING = "keeper", "machine", "leaving"
REFUSALS: dict[str, tuple[int | None, ...]] = {
    # bad     other  viewer view   worker admin  supervisors   (None: let in)
    ANYBODY: (None, None, None, None, None, None, None, None),
    READER: (401, None, None, None, 401, None, 401, 401),
    RUN: (401, None, None, None, 403, None, None, 403),
    PERSON: (401, None, None, 401, 401, None, 401, 401),
    TRADER: (401, None, 403, 401, 401, None, 401, 401),
    OWNER: (401, 403, 403, 401, 401, None, 401, 401),
    ADMIN: (401, 403, 403, 401, 401, None, 401, 401),
    KEEPER: (401, 403, 403, 401, 401, None, None, 403),
    MACHINE: (401, None, 403, 401, 401, None, 403, 403),
    LEAVING: (401, None, 403, 401, 401, None, None, None),
}
"""What each kind of credential is answered, by who may do it."""


@dataclass(frozen=True)
class Row:
    """One operation: who may do it, and the status (or the other one) for those who may."""

    method: str
    path: str
    who: str
    good: int = 200
    body: Any = None
    query: str = ""
    also: int | None = None

    def status(self, credential: str) -> int:
        """The status that this credential gets."""
        refusals = REFUSALS[self.who]
        return (refusals[0] if credential in BAD else refusals[1 + KNOWN.index(credential)]) or self.good


API = "/api/v1"
DEMO = f"{API}/deployments/{{name}}"
ORDER = {"symbol": BTC, "side": "buy", "quantity": "0.1", "price": "100"}
LIMITS = {"max_open_orders": 5}
REPORT = {"first_bar": 0, "last_bar": 1, "total": "1", "parts": {"fee": "1"}, "document": {}}
DOMAINS = ("user", "trading", "exchange", "strategy", "market", "notification", "order", "config", "monitoring")

MATRIX = (
    Row("GET", "/health", ANYBODY, also=503),
    *(Row("GET", f"/health/{domain}", ANYBODY, also=503) for domain in DOMAINS),
    Row("POST", f"{API}/auth/login", ANYBODY, body={"name": "ann", "password": PASSWORD}),
    Row("GET", f"{API}/auth/me", READER),
    Row("POST", f"{API}/auth/renew", PERSON),
    Row("POST", f"{API}/auth/view-token", PERSON),
    Row("GET", f"{API}/accounts", READER),
    Row("GET", f"{API}/accounts/{{account}}", READER),
    Row("GET", f"{API}/accounts/{{account}}/reconciliation", READER),
    Row("GET", f"{API}/deployments", READER),
    Row("GET", DEMO, RUN),
    *(Row("GET", f"{DEMO}/{what}", RUN) for what in ("orders", "fills", "positions", "profit", "equity")),
    *(Row("GET", f"{DEMO}/{what}", RUN) for what in ("decisions", "payments", "markets", "reports")),
    Row("GET", f"{DEMO}/bars", RUN, query=f"?symbol={BTC}&timeframe=1h&since=0&until=1"),
    Row("POST", f"{DEMO}/reports", OWNER, 201, REPORT),
    Row("GET", f"{API}/halts", READER),
    Row("GET", f"{API}/kills", READER),
    Row("GET", f"{DEMO}/flatten", READER, 404),
    Row("GET", f"{API}/orders", READER),
    Row("GET", f"{API}/orders/{{order}}", READER),
    Row("GET", f"{API}/orders/{{order}}/explain", READER),
    Row("GET", f"{API}/fills", READER),
    Row("GET", f"{API}/positions", READER),
    Row("GET", f"{API}/ledger", READER),
    Row("GET", f"{API}/events", READER),
    Row("GET", f"{API}/alerts", READER),
    Row("GET", f"{API}/risk", READER),
    Row("GET", f"{API}/risk/limits", READER),
    Row("GET", f"{API}/market/channels", READER),
    Row("GET", f"{API}/settings", ADMIN),
    Row("POST", f"{API}/supervisor/lease", MACHINE, body={"holder": "test"}),
    Row("DELETE", f"{API}/supervisor/lease", LEAVING, 204, query="?holder=test"),
    Row("POST", f"{DEMO}/supervisor-token", OWNER, 201),
    Row("POST", f"{API}/accounts", TRADER, 201, {"name": "of-{cell}", "mode": "sandbox", "key": "k", "secret": "s"}),
    Row("PUT", DEMO, OWNER, body=SPEC),
    Row("PATCH", f"{API}/orders/{{order}}", OWNER, body={"price": "99"}),
    Row("POST", f"{DEMO}/orders", OWNER, 201, ORDER),
    Row("POST", f"{API}/orders/{{order}}/cancel", OWNER),
    Row("POST", f"{API}/accounts/{{account}}/accept-difference", OWNER, 409),
    Row("PUT", f"{API}/accounts/{{account}}/countdown", OWNER, body={"seconds": 60}),
    Row("PUT", f"{API}/risk/limits/{{scope}}/{{account}}", OWNER, 204, LIMITS),
    Row("DELETE", f"{API}/risk/latches", OWNER, 404, query="?scope=account&name=main&code=daily_loss"),
    Row("POST", f"{API}/kills", OWNER, 201, {"scope": "account", "name": "main"}),
    Row("DELETE", f"{API}/kills", OWNER, 204, query="?scope=account&name=main"),
    Row("POST", f"{DEMO}/flatten", OWNER, 202),
    Row("POST", f"{API}/alerts/{{alert}}/acknowledge", OWNER),
    Row("POST", f"{DEMO}/attempts/{{number}}/heartbeat", KEEPER, 204),
    Row("POST", f"{DEMO}/attempts/{{number}}/finish", KEEPER, body={"state": "finished"}, also=409),
    Row("POST", f"{DEMO}/attempts", KEEPER, 201),
    Row("POST", f"{DEMO}/pause", OWNER),
    Row("POST", f"{DEMO}/resume", OWNER),
    Row("POST", f"{DEMO}/restart", OWNER),
    Row("POST", f"{DEMO}/stop", OWNER),
    Row("POST", f"{DEMO}/start", OWNER),
)
PAGES = {"/docs", "/docs/oauth2-redirect", "/redoc"}
"""Pages about the API itself, for anybody."""


@pytest.fixture
async def house(gateway: Gateway, url: str, simulator: Simulator, keys: dict[str, str]) -> AsyncIterator[House]:  # noqa: F811
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        yield await build(gateway, url, http, simulator.url, keys)


def routes(router: Any) -> Iterator[APIRoute]:
    """Every route below `router`."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router)


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def test_the_matrix_names_every_operation(settings: Any) -> None:
    app = create_app(None)  # type: ignore[arg-type]
    declared = {(m.upper(), shape(path)) for path, item in app.openapi()["paths"].items() for m in item}
    assert {(row.method, shape(row.path)) for row in MATRIX} == declared
    hidden = {route.path for route in routes(app) if not route.include_in_schema}
    assert hidden == PAGES


CHANGEABLE = (
    "accounts",
    "users",
    "deployments",
    "attempts",
    "intents",
    "orders",
    "halts",
    "sweeps",
    "risk_limits",
    "alerts",
)


async def contents(database: AsyncEngine) -> dict[str, str]:
    """A digest of each table that a request could change, the audit trail and sessions left out."""
    digest = "SELECT '{0}', md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {0} t"
    query = " UNION ALL ".join(digest.format(name) for name in CHANGEABLE)
    async with database.connect() as connection:
        return {row[0]: row[1] for row in await connection.execute(text(query))}


async def at_rest(house: House) -> None:
    """Wait until nothing is on its way."""

    async def look() -> bool:
        async with house.gateway.database.connect() as connection:
            waiting = "SELECT (SELECT count(*) FROM intents WHERE finished_at IS NULL)"
            waiting += " + (SELECT count(*) FROM orders WHERE state IN ('pending_send', 'sending', 'unknown'))"
            waiting += " + (SELECT count(*) FROM sweeps WHERE state <> 'done')"
            return (await connection.execute(text(waiting))).scalar_one() == 0

    await until(look)


async def test_every_operation_with_every_credential(house: House) -> None:
    wrong: dict[tuple[str, str, str], tuple[int, int, str]] = {}
    for number, row in enumerate(MATRIX):
        await at_rest(house)
        for credential in (*BAD, *KNOWN):
            refused = row.status(credential) in (401, 403)
            if refused:
                await at_rest(house)  # after whatever the credential before was allowed to do
            before = await contents(house.gateway.database) if refused else {}
            cell = credential.replace(" ", "-")
            values = {
                "name": "demo",
                "account": "main",
                "order": house.order,
                "number": "1",
                "scope": "account",
                "alert": "1",
            }
            body = {k: v.format(cell=cell) if k == "name" else v for k, v in row.body.items()} if row.body else None
            path = row.path.format(**values) + row.query
            answer = await house.ask(row.method, path, house.tokens[credential], body, f"{number}-{cell}")
            if answer.status_code not in (row.status(credential), row.also):
                seen = (row.status(credential), answer.status_code, answer.text[:200])
                wrong[row.method, row.path, credential] = seen
            if refused:
                assert set(answer.json()["error"]) == {"code", "message"}
                assert await contents(house.gateway.database) == before, (row, credential)
    assert not wrong, wrong


async def test_what_is_denied_is_in_the_audit_trail(house: House) -> None:
    await house.ask("POST", f"{API}/deployments/demo/orders", house.tokens["other user"], ORDER, "k")
    await house.ask("GET", f"{API}/deployments/demo", house.tokens["worker of another run"])
    await house.ask("GET", f"{API}/settings", house.tokens["viewer"])
    async with house.gateway.database.connect() as connection:
        rows = await connection.execute(text("SELECT subject, object FROM audit WHERE action = 'denied' ORDER BY at"))
        assert [tuple(row) for row in rows] == [
            ("bob", "deployment:demo"),
            ("ann", f"{API}/deployments/demo"),
            ("eve", f"{API}/settings"),
        ]


async def test_the_supervisor_of_one_deployment_holds_that_one_alone(house: House) -> None:
    token = house.tokens["supervisor"]

    async def lease(**body: Any) -> int:
        return (await house.ask("POST", f"{API}/supervisor/lease", token, {"holder": "pod", **body})).status_code

    assert await lease(only="demo") == 200
    assert await lease(only="other") == 403
    assert await lease(only="demo", running=["other"]) == 200
    by_hand = await house.ask("POST", f"{API}/deployments/demo/attempts", house.tokens["owner"])
    assert by_hand.json()["error"]["code"] == "supervised"
    other = await house.ask("POST", f"{API}/deployments/other/attempts", house.tokens["owner"], {"holder": "x"})
    assert other.status_code == 201  # of `other` it has taken nothing
    begun = await house.ask("POST", f"{API}/deployments/demo/attempts", token, {"holder": "pod"})
    assert begun.status_code == 201
    worker = await house.ask("GET", f"{API}/deployments/demo", begun.json()["token"])
    assert worker.json()["fence"] == begun.json()["fence"]


# --- the socket ------------------------------------------------------------------------------------------------------

FRAMES: dict[str, dict[str, Any]] = {
    "events.subscribe": {"streams": ["deployment:demo"], "after": 0},
    "bars.subscribe": {"symbols": [BTC], "timeframe": "1h", "history": 1},
    "ready": {"bar": None},
    "missed": {"bar": 1, "missed": 2},
    "intent": {"key": "1", "bar": 1, "targets": {BTC: 0.5}},
    "order.place": {"key": "2", "order": ORDER},
    "order.cancel": {"key": "3"},
    "order.amend": {"key": "4", "terms": {"price": "99"}},
}
FOREIGN = {
    "events.subscribe": "error",
    "bars.subscribe": "bars.history",
    "ready": None,
    "missed": None,
    "intent": "intent.accepted",
    "order.place": "intent.accepted",
    "order.cancel": "intent.refused",
    "order.amend": "intent.refused",
}
"""What the worker of `other` is answered: it works for `other`, and may not touch what is `demo`'s."""


def test_the_table_names_every_frame() -> None:
    assert {"auth", *FRAMES} == set(ws.FRAMES)
    assert set(FOREIGN) == set(FRAMES)


def frame(house: House, kind: str) -> dict[str, Any]:
    return {"type": kind, **FRAMES[kind]} | ({"order": house.order} if kind in ("order.cancel", "order.amend") else {})


async def test_every_frame_with_every_credential(house: House) -> None:
    for credential in BAD:
        with pytest.raises(Unauthenticated):
            await Socket.connect(house.url, house.tokens[credential] or "")
    for credential in ("supervisor", "supervisor of another run"):
        with pytest.raises(Unauthenticated):
            await Socket.connect(house.url, house.tokens[credential] or "")
    for credential in ("other user", "viewer", "view token", "admin"):
        socket = await Socket.connect(house.url, house.tokens[credential] or "")
        before = await contents(house.gateway.database)
        for kind in FRAMES:
            await socket.send(frame(house, kind))
            expected = "event" if kind == "events.subscribe" else "error"
            assert (await answered(socket, expected))["type"] == expected, (credential, kind)
        assert await contents(house.gateway.database) == before
        await socket.close()


async def test_scenario_54_the_token_of_another_run(house: House, scenario: Scenario) -> None:
    """The token of one run is used for the orders of another one.

    Refused; nothing of the other run changes.
    """
    socket = await Socket.connect(house.url, house.tokens["worker of another run"] or "")
    before = await house.done("GET", "/deployments/demo/orders")
    for kind, expected in FOREIGN.items():
        await socket.send(frame(house, kind))
        if expected is not None:
            await answered(socket, expected)
    await at_rest(house)
    assert await house.done("GET", "/deployments/demo/orders") == before
    assert {order["deployment"] for order in await house.done("GET", "/orders")} == {"demo", "other"}
    await socket.close()
    refused = [kind for kind, expected in FOREIGN.items() if expected in ("error", "intent.refused")]
    scenario.seen(f"{', '.join(refused)} were refused; the orders of the other run are as they were.")


async def answered(socket: Socket, kind: str) -> dict[str, Any]:
    """The next message of this kind; events that come in between are skipped."""
    async with asyncio.timeout(20):
        while (message := await socket.receive())["type"] != kind:
            assert message["type"] in ("event", "bar", "stop"), (kind, message)
    return message


async def drain(socket: Socket) -> None:
    """Read until the connection ends."""
    async with asyncio.timeout(20):
        while True:
            await socket.receive()


async def test_scenario_55_the_owner_is_shut_out(
    house: House,
    settings: Any,
    simulator: Simulator,  # noqa: F811
    scenario: Scenario,
) -> None:
    """A user is disabled while sockets of theirs are open and an order is on its way.

    The sockets are closed within five seconds, nothing new passes the claim, what rests stays.
    """
    assert ws.SESSION_CHECK_SECONDS <= 5
    person = await Socket.connect(house.url, house.tokens["owner"] or "")
    worker = await Socket.connect(house.url, house.tokens["worker"] or "")
    async with open_administration(settings) as administration:
        await administration.shut_out("ann", by="test")
    placed = await house.ask("POST", f"{API}/deployments/demo/orders", house.tokens["admin"], ORDER, "late")
    for socket in (person, worker):
        with pytest.raises(Unauthenticated):
            await drain(socket)
    assert placed.status_code == 201
    async with house.gateway.database.connect() as connection:
        found = await connection.execute(text("SELECT client_order_id, state FROM orders WHERE claimed_at IS NOT NULL"))
        assert [tuple(row) for row in found] == [(house.order, "open")]
    assert [order.text for order in simulator.venue.orders.values()] == [house.order]
    async with open_administration(settings) as administration:
        await administration.let_in("ann", by="test")
    assert await house.gateway.halts.all() == []
    scenario.seen(
        f"Both sockets were closed (sessions are looked at every {ws.SESSION_CHECK_SECONDS:g} s); the order that came "
        "after it was taken and never claimed, the one that rested before it rests on."
    )
