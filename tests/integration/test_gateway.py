"""A whole gateway over real sockets: its API, its WebSocket, and a simulated venue behind it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import pytest

from cashup.api.server import listen, make_server
from cashup.bootstrap import Gateway, open_gateway
from cashup.client import Socket
from cashup.exchanges.rules import gate_market
from cashup.settings import Settings
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.types import Symbol

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
START, HOUR = 1_735_689_600_000, 3_600_000
PAST, FUTURE = 30, 20
VERSION, SOURCES = "0123456789ab", "ab" * 32


def bars() -> Bars:
    """Hourly bars of two symbols that rise by one each hour; the bar at START opens at 130."""
    count = PAST + FUTURE
    opens = 100.0 + np.arange(count)
    one = np.stack([opens, opens + 0.75, opens - 0.25, opens + 0.5, np.full(count, 5.0)])
    values = np.repeat(one[:, :, None], 2, axis=2)
    return Bars(START + HOUR * np.arange(-PAST, FUTURE), [BTC, ETH], "1h", values)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    markets = {symbol: gate_market(symbol) for symbol in (BTC, ETH)}
    async with Simulator(Venue(Tape(bars()), markets, start=START)) as simulator:
        yield simulator


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    async with open_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
async def url(gateway: Gateway) -> AsyncIterator[str]:
    server = make_server(gateway)
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@dataclass
class Api:
    """The API as one person uses it."""

    url: str
    http: httpx.AsyncClient

    async def __call__(self, method: str, path: str, body: Any = None, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.request(method, f"/api/v1{path}", json=body, headers=headers)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self(method, path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
async def api(gateway: Gateway, url: str) -> AsyncIterator[Api]:
    """The API, logged in as the first admin."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        body = {"name": "admin", "password": gateway.first_password}
        token = (await http.post("/api/v1/auth/login", json=body)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield Api(url, http)


@pytest.fixture
def keys(simulator: Simulator) -> dict[str, str]:
    """Key and secret of a customer of the venue."""
    customer = simulator.venue.accounts.create("demo", {"USDT": Decimal(1000)})
    return {"key": customer.key, "secret": customer.secret}


@pytest.fixture
async def worker(api: Api, simulator: Simulator, keys: dict[str, str]) -> dict[str, Any]:
    """A running deployment on the simulator, and its newest attempt."""
    await api.ok("POST", "/accounts", {"name": "demo", "mode": "sandbox", "base_url": simulator.url} | keys)
    spec = {"notebook": "x.ipynb", "account": "demo", "capital": "1000", "symbols": [BTC, ETH], "timeframe": "1h"}
    spec |= {"version": VERSION, "notebook_hash": SOURCES}
    await api.ok("PUT", "/deployments/demo", spec)
    await api.ok("POST", "/deployments/demo/start")
    attempt: dict[str, Any] = await api.ok("POST", "/deployments/demo/attempts")
    return attempt


async def receive(socket: Socket, kind: str) -> dict[str, Any]:
    """The next message of this kind; others are skipped."""
    async with asyncio.timeout(20):
        while (message := await socket.receive())["type"] != kind:
            assert message["type"] != "error", message
    return message


async def subscribe(url: str, token: str, history: int = 5) -> tuple[Socket, dict[str, Any]]:
    socket = await Socket.connect(url, token)
    await socket.send({"type": "bars.subscribe", "symbols": [BTC, ETH], "timeframe": "1h", "history": history})
    return socket, await receive(socket, "bars.history")


async def test_a_bar_that_closed_while_the_first_worker_died_is_still_to_be_decided(
    url: str, api: Api, worker: dict[str, Any], simulator: Simulator
) -> None:
    first, history = await subscribe(url, worker["token"])
    await first.send({"type": "ready", "bar": history["times"][-1]})
    while (await api.ok("GET", "/deployments/demo"))["attempt"]["bar"] is None:
        await asyncio.sleep(0.01)
    simulator.control.step({})
    await receive(first, "bar")
    await first.close()
    again = await api.ok("POST", "/deployments/demo/attempts")
    second, history = await subscribe(url, again["token"])
    assert history["times"][-1] == START
    assert history["last_decided"] == START - HOUR
    await second.close()


async def test_a_worker_gets_its_bars_and_its_orders_are_made(
    url: str, api: Api, worker: dict[str, Any], simulator: Simulator, gateway: Gateway
) -> None:
    socket, history = await subscribe(url, worker["token"])
    assert history["times"] == [START - hours * HOUR for hours in (5, 4, 3, 2, 1)]
    assert history["bars"][BTC][-1] == [129.0, 129.75, 128.75, 129.5, 5.0]
    assert history["last_decided"] is None
    await socket.send({"type": "ready", "bar": history["times"][-1]})
    reader = await Socket.connect(url, api.http.headers["Authorization"].removeprefix("Bearer "))
    await reader.send({"type": "events.subscribe", "streams": ["deployment:demo"], "after": 0})
    for number in range(3):
        simulator.control.step({})
        bar = await receive(socket, "bar")
        assert bar["time"] == START + number * HOUR
        assert bar["bars"][ETH][0] == 130.0 + number
        assert gateway.feed.mark(f"gate@{simulator.url.removeprefix('http://')}", ETH) == 131 + number
        targets = {BTC: 0.5, ETH: None if number else 0.25}
        await socket.send({"type": "intent", "key": str(bar["time"]), "bar": bar["time"], "targets": targets})
        answer = await receive(socket, "intent.accepted")
        assert answer["key"] == str(bar["time"])
        assert len(answer["orders"]) == (0 if number else 2)
    seen = []
    while not seen or seen[-1]["kind"] != "bar_processed" or seen[-1]["data"]["bar"] != START + 2 * HOUR:
        seen.append(await receive(reader, "event"))
    assert [event["seq"] for event in seen] == sorted({event["seq"] for event in seen})
    assert [event["kind"] for event in seen].count("order_changed") >= 2
    orders = await api.ok("GET", "/deployments/demo/orders")
    assert {order["symbol"] for order in orders} == {BTC, ETH}
    assert {order["version"] for order in orders} == {VERSION}
    assert (await api.ok("GET", "/deployments/demo"))["state"] == "ready"
    await _shows_why(url, api)
    for connection in (socket, reader):
        await connection.close()


async def _shows_why(url: str, api: Api) -> None:
    """The orders' stories, the money behind them, and that the venue agrees; the same on the command line."""
    order = (await api.ok("GET", "/deployments/demo/orders"))[0]
    story = await api.ok("GET", f"/orders/{order['client_order_id']}/explain")
    assert story["order"]["client_order_id"] == order["client_order_id"]
    assert (story["order"]["version"], story["hashes"]["version"], story["hashes"]["notebook"]) == (
        VERSION,
        VERSION,
        SOURCES,
    )
    assert any(f"attempt 1 of demo (version {VERSION}) asks for" in step["summary"] for step in story["steps"])
    assert (await api.ok("GET", f"/orders/{order['client_order_id']}"))["version"] == VERSION
    assert {"bar", "intent", "plan", "risk", "request", "answer", "fill", "ledger"} <= {
        s["kind"] for s in story["steps"]
    }
    profit = await api.ok("GET", "/deployments/demo/profit")
    parts = Decimal(profit["realised"]) + Decimal(profit["unrealised"])
    assert Decimal(profit["profit"]) == parts == Decimal(profit["equity"]) - 1000
    positions = await api.ok("GET", "/positions")
    assert {row["symbol"]: row["mark"] for row in positions} == {BTC: "133", ETH: "133"}
    entries = await api.ok("GET", "/ledger?deployment=demo")
    assert {row["kind"] for row in entries} >= {"cash", "position", "reserved", "market", "fee"}
    compared = await api.ok("GET", "/accounts/demo/reconciliation")
    assert (compared["state"], compared["clean"], compared["differences"]) == ("READY", True, [])
    assert (await api("GET", "/orders/nothing/explain")).status_code == 404
    assert (await api.ok("PUT", "/accounts/demo/countdown", {"seconds": 60}))["countdown"] == 60
    assert (await api("PUT", "/accounts/demo/countdown", {"seconds": 5})).status_code == 422
    assert (await api.ok("GET", "/accounts/demo"))["countdown"] == 60

    token = api.http.headers["Authorization"].removeprefix("Bearer ")
    environment = {**os.environ, "CASHUP_GATEWAY_URL": url, "CASHUP_TOKEN": token}

    async def cashup(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cashup", *words), env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, words
        return out.decode()

    assert json.loads(await cashup("explain", order["client_order_id"], "--json")) == story
    shown = await cashup("explain", order["client_order_id"])
    assert all(step["time"] in shown and step["summary"] in shown for step in story["steps"])
    assert "demo is READY" in await cashup("account", "reconciliation", "demo")
    assert "position" in await cashup("ledger", "--deployment", "demo")
    assert "133" in await cashup("positions")
