"""A whole gateway over real sockets: its API, its WebSocket, and a simulated venue behind it."""

import asyncio
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
from cashup.errors import Unauthenticated
from cashup.exchanges.rules import gate_market
from cashup.settings import Settings
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.types import Symbol
from cashup.users.roles import Role
from cashup.users.tokens import Audience

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
START, HOUR = 1_735_689_600_000, 3_600_000
PAST, FUTURE = 30, 20


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
    assert (await api.ok("GET", "/deployments/demo"))["state"] == "ready"
    for connection in (socket, reader):
        await connection.close()


async def test_a_newer_attempt_stops_the_older_one(url: str, api: Api, worker: dict[str, Any]) -> None:
    old, _ = await subscribe(url, worker["token"])
    newer = await api.ok("POST", "/deployments/demo/attempts")
    assert newer["fence"] > worker["fence"]
    assert "newer attempt" in (await receive(old, "stop"))["reason"]
    await old.close()
    late = await Socket.connect(url, worker["token"])
    assert "newer attempt" in (await receive(late, "stop"))["reason"]
    await late.close()


async def test_a_stopped_deployment_tells_its_worker(url: str, api: Api, worker: dict[str, Any]) -> None:
    socket, _ = await subscribe(url, worker["token"])
    await api.ok("POST", "/deployments/demo/stop")
    assert "shall not run" in (await receive(socket, "stop"))["reason"]
    await socket.close()


async def test_a_subscription_that_cannot_be_is_explained(url: str, worker: dict[str, Any]) -> None:
    socket = await Socket.connect(url, worker["token"])
    wrong = [
        ({"symbols": ["BTCUSDT"], "timeframe": "1h", "history": 5}, "did you mean BTC/USDT"),
        ({"symbols": ["XRP/USDT"], "timeframe": "1h", "history": 5}, "no market XRP/USDT"),
        ({"symbols": [BTC], "timeframe": "1x", "history": 5}, "not a timeframe"),
        ({"symbols": [BTC], "timeframe": "1h", "history": -1}, "number of bars"),
        ({"symbols": [BTC, BTC], "timeframe": "1h", "history": 5}, "each symbol once"),
        ({"symbols": [], "timeframe": "1h", "history": 5}, "1 to 100 symbols"),
    ]
    for body, sentence in wrong:
        await socket.send({"type": "bars.subscribe"} | body)
        answer = await socket.receive()
        while answer["type"] in ("welcome", "event"):
            answer = await socket.receive()
        assert answer["type"] == "error"
        assert sentence in answer["message"]
    await socket.close()


@pytest.mark.parametrize(
    "change",
    [{"targets": {BTC: "much"}}, {"targets": {BTC: "Infinity"}}, {"bar": "1"}, {"key": 7}, {"targets": []}],
    ids=["words", "infinite", "bar", "key", "list"],
)
async def test_a_malformed_intent_is_refused(url: str, worker: dict[str, Any], change: dict[str, Any]) -> None:
    socket = await Socket.connect(url, worker["token"])
    await socket.send({"type": "intent", "key": "1", "bar": 1, "targets": {BTC: 0.5}} | change)
    async with asyncio.timeout(10):
        while (answer := await socket.receive())["type"] in ("welcome", "event"):
            pass
    assert answer["type"] in ("intent.refused", "error")
    await socket.close()


async def test_a_bad_token_ends_the_connection(url: str, gateway: Gateway, worker: dict[str, Any]) -> None:
    admin = await gateway.people.get("admin")
    expired = gateway.tokens.issue("admin", Audience.API, role=Role.ADMIN, session=admin.session, lifetime=-1000)
    outdated = gateway.tokens.issue("admin", Audience.API, role=Role.ADMIN, session=admin.session + 1)
    for token in (expired, outdated, "nonsense", worker["token"][:-3]):
        with pytest.raises(Unauthenticated):
            await Socket.connect(url, token)


async def test_a_worker_sees_its_own_deployment_only(url: str, api: Api, worker: dict[str, Any]) -> None:
    token = worker["token"]
    assert (await api("GET", "/deployments/demo/orders", token=token)).status_code == 200
    assert (await api("GET", "/deployments/other/orders", token=token)).status_code == 403
    for method, path in (("GET", "/accounts"), ("GET", "/orders"), ("POST", "/deployments/demo/stop")):
        assert (await api(method, path, token=token)).status_code == 401
    socket = await Socket.connect(url, token)
    await socket.send({"type": "events.subscribe", "streams": ["deployment:*"], "after": 0})
    assert (await socket.receive())["type"] in ("event", "error")
    await socket.close()


async def test_a_viewer_looks_and_does_not_touch(api: Api, gateway: Gateway, url: str) -> None:
    await gateway.people.create("eva", "correct horse battery", Role.VIEWER, by="admin")
    token = (await api.ok("POST", "/auth/login", {"name": "eva", "password": "correct horse battery"}))["access_token"]
    assert (await api("GET", "/accounts", token=token)).status_code == 200
    refused = await api("PUT", "/deployments/x", {"notebook": "x", "account": "x", "capital": "1"}, token=token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    view = (await api("POST", "/auth/view-token", token=token)).json()["access_token"]
    assert (await api("GET", "/accounts", token=view)).status_code == 200
    assert (await api("POST", "/auth/view-token", token=view)).status_code == 401
    assert (await api("POST", "/auth/renew", token=view)).status_code == 401
    fresh = (await api("POST", "/auth/renew", token=token)).json()["access_token"]
    assert (await api("GET", "/auth/me", token=fresh)).json()["audience"] == "api"
    socket = await Socket.connect(url, view)
    await socket.send({"type": "intent", "key": "1", "bar": 1, "targets": {}})
    assert (await socket.receive())["type"] == "error"
    await socket.close()


async def test_errors_have_one_form(api: Api, url: str) -> None:
    answers = {
        "no token": await httpx.AsyncClient(base_url=url).get("/api/v1/accounts"),
        "nothing there": await api("GET", "/nothing"),
        "wrong method": await api("DELETE", "/accounts"),
        "unknown": await api("GET", "/deployments/nobody"),
        "malformed": await api("POST", "/accounts", {"name": "x", "mode": "moon", "key": "k", "secret": "s"}),
        "wrong password": await api("POST", "/auth/login", {"name": "admin", "password": "wrong"}),
        "number as money": await api("PUT", "/deployments/x", {"notebook": "x", "account": "x", "capital": 1.5}),
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "no token": 401,
        "nothing there": 404,
        "wrong method": 405,
        "unknown": 404,
        "malformed": 422,
        "wrong password": 401,
        "number as money": 422,
    }
    for answer in answers.values():
        error = answer.json()["error"]
        assert set(error) == {"code", "message"}
        assert "\n" not in error["message"]


async def test_keys_never_come_back(api: Api, worker: dict[str, Any], keys: dict[str, str]) -> None:
    shown = (await api("GET", "/accounts")).text + (await api("GET", "/accounts/demo")).text
    shown += (await api("GET", "/events")).text + (await api("GET", "/settings")).text
    assert keys["key"] not in shown
    assert keys["secret"] not in shown
    account = (await api.ok("GET", "/accounts"))[0]
    assert account["state"] == "READY"
    assert len(account["fingerprint"]) == 12


async def test_nine_domains_are_well_and_say_so_when_not(api: Api, worker: dict[str, Any], url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as anybody:
        health = await anybody.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok"), health.text
        assert len(health.json()["domains"]) == 9
        await api.ok("POST", "/deployments/demo/attempts/1/finish", {"state": "failed", "message": "x"})
        strategy = await anybody.get("/health/strategy")
        assert strategy.status_code == 503
        assert "no worker does it" in strategy.json()["message"]
        assert (await anybody.get("/health")).status_code == 503
        documented = (await anybody.get("/openapi.json")).json()
    sections = {
        tag for path in documented["paths"].values() for operation in path.values() for tag in operation["tags"]
    }
    assert sections == set(health.json()["domains"])


async def test_the_docs_are_served_from_this_machine(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as anybody:
        page = await anybody.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text
        (script,) = [part.split('"')[0] for part in page.text.split('src="')[1:]]
        assert (await anybody.get(script)).status_code == 200


async def login(api: Api, gateway: Gateway, name: str, role: Role) -> str:
    """A new person's token."""
    await gateway.people.create(name, "correct horse battery", role, by="admin")
    body = {"name": name, "password": "correct horse battery"}
    return str((await api.ok("POST", "/auth/login", body))["access_token"])


async def test_a_trader_kills_what_is_theirs_and_an_admin_kills_everything(
    api: Api, gateway: Gateway, worker: dict[str, Any]
) -> None:
    tom, eva = await login(api, gateway, "tom", Role.TRADER), await login(api, gateway, "eva", Role.VIEWER)
    own = {"notebook": "x.ipynb", "account": "demo", "capital": "1", "symbols": [BTC], "timeframe": "1h"}
    assert (await api("PUT", "/deployments/toms", own, token=tom)).status_code == 200
    mine, yours = {"scope": "deployment", "name": "toms"}, {"scope": "deployment", "name": "demo"}
    assert (await api("POST", "/kills", mine, token=eva)).status_code == 403
    for body in (yours, {"scope": "all"}, {"scope": "account", "name": "demo"}, {"scope": "user", "name": "admin"}):
        assert (await api("POST", "/kills", body, token=tom)).status_code == 403
    assert (await api("POST", "/deployments/demo/flatten", token=tom)).status_code == 403
    for body in (mine, {"scope": "user", "name": "tom"}):
        assert (await api("POST", "/kills", body, token=tom)).status_code == 201
    assert (await api("POST", "/kills", {"scope": "all", "reason": "enough"})).status_code == 201
    assert (await api("DELETE", "/kills?scope=all", token=tom)).status_code == 403
    assert (await api("DELETE", "/kills?scope=deployment&name=toms", token=tom)).status_code == 204
    halts = (await api("GET", "/halts", token=eva)).json()
    assert [(halt["scope"], halt["name"], halt["by"]) for halt in halts] == [
        ("user", "tom", "tom"),
        ("all", "", "admin"),
    ]
    async with asyncio.timeout(20):
        while any(account["state"] != "done" for kill in await api.ok("GET", "/kills") for account in kill["accounts"]):
            await asyncio.sleep(0.05)
    assert (await api("DELETE", "/kills?scope=all")).status_code == 204
    assert (await api("DELETE", "/kills?scope=all")).status_code == 404


async def test_a_kill_that_cannot_be_is_explained(api: Api, worker: dict[str, Any]) -> None:
    for body, status in (
        ({"scope": "deployment", "name": "nobody"}, 404),
        ({"scope": "deployment"}, 422),
        ({"scope": "all", "name": "demo"}, 422),
        ({"scope": "account", "name": "demo", "external": True}, 422),
        ({"scope": "moon"}, 422),
    ):
        assert (await api("POST", "/kills", body)).status_code == status
    assert await api.ok("GET", "/halts") == []
    assert (await api("GET", "/deployments/demo/flatten")).status_code == 404
    assert (await api.ok("POST", "/deployments/demo/flatten"))["state"] in ("cancelling", "done")


async def test_a_paper_account_says_what_it_assumes(api: Api, simulator: Simulator) -> None:
    terms = {"balances": {"USDT": "10000"}, "timeframe": "1h", "latency": 5}
    body = {"name": "toy", "mode": "paper", "base_url": simulator.url, "terms": terms}
    made = await api.ok("POST", "/accounts", body)
    assert made == await api.ok("GET", "/accounts/toy")
    assert (made["fingerprint"], made["terms"]["latency"], made["terms"]["liquidity"]) == ("", 5, "0.1")
    assert "candles of 1h" in made["assumptions"][0]
    refused = await api("POST", "/accounts", body | {"name": "other", "key": "k", "secret": "s"})
    assert (refused.status_code, "needs no keys" in refused.text) == (422, True)
    for wrong in ({}, {"balances": {"USDT": "lots"}}, {"balances": []}, {"balances": {"USDT": "1"}, "latency": "x"}):
        answer = await api("POST", "/accounts", body | {"name": "other", "terms": wrong})
        assert answer.status_code == 422, answer.text


# -- orders by hand ------------------------------------------------------------------------------------------------


async def by_hand(api: Api, method: str, path: str, body: Any, key: str) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await api.http.request(method, f"/api/v1{path}", json=body, headers=headers)


async def settled(api: Api, order: str, **wanted: Any) -> dict[str, Any]:
    """The order as soon as it shows what is wanted."""
    async with asyncio.timeout(20):
        while True:
            row: dict[str, Any] = await api.ok("GET", f"/orders/{order}")
            if all(row[name] == value for name, value in wanted.items()):
                return row
            await asyncio.sleep(0.02)


async def test_an_order_by_hand_is_placed_amended_and_cancelled_on_the_venue(
    api: Api, worker: dict[str, Any], simulator: Simulator
) -> None:
    """Through the API and Gate's protocol: what the venue holds is what was asked for, once per key."""
    bid = {"symbol": BTC, "side": "buy", "quantity": "2", "price": "100"}
    placed = await by_hand(api, "POST", "/deployments/demo/orders", bid, "k1")
    assert placed.status_code == 201, placed.text
    assert (await by_hand(api, "POST", "/deployments/demo/orders", bid, "k1")).json() == placed.json()
    other = await by_hand(api, "POST", "/deployments/demo/orders", bid | {"price": "99"}, "k1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    (ident,) = placed.json()["orders"]
    row = await settled(api, ident, state="open")
    assert len(list(simulator.venue.book(BTC))) == 1

    amended = await by_hand(api, "PATCH", f"/orders/{ident}", {"quantity": "3", "price": "90"}, "k2")
    assert amended.json()["state"] == "working", amended.text
    await settled(api, ident, quantity="3", price="90", reserved="270")
    (there,) = simulator.venue.book(BTC)
    assert (there.quantity, there.price) == (3, 90)

    cancelled = await by_hand(api, "POST", f"/orders/{row['exchange_order_id']}/cancel", None, "k3")
    assert cancelled.json()["orders"] == [ident]
    assert (await settled(api, ident, state="cancelled"))["reserved"] == "0"
    again = (await by_hand(api, "POST", f"/orders/{ident}/cancel", None, "k3")).json()
    assert (again["state"], again["decisions"][0]["code"]) == ("done", "cancelled")
    assert list(simulator.venue.book(BTC)) == []


async def test_orders_by_hand_want_a_key_plain_amounts_and_a_trader(
    api: Api, worker: dict[str, Any], gateway: Gateway
) -> None:
    bid = {"symbol": BTC, "side": "buy", "quantity": "2", "price": "100"}
    assert (await api("POST", "/deployments/demo/orders", bid)).status_code == 422  # no key
    for wrong in ({"quantity": 2.0}, {"quantity": "1E+5"}, {"price": "100.00001"}, {"side": "up"}, {"size": "1"}):
        refused = await by_hand(api, "POST", "/deployments/demo/orders", bid | wrong, "k")
        assert refused.status_code == 422, refused.text
    assert (await by_hand(api, "POST", "/deployments/nobody/orders", bid, "k")).status_code == 404
    assert (await by_hand(api, "POST", "/orders/t-nobody/cancel", None, "k")).status_code == 404
    await gateway.people.create("eva", "correct horse battery", Role.VIEWER, by="admin")
    body = {"name": "eva", "password": "correct horse battery"}
    viewer = (await api.ok("POST", "/auth/login", body))["access_token"]
    assert (await api("POST", "/deployments/demo/orders", bid, token=viewer)).status_code == 403
    assert await api.ok("GET", "/orders") == []


async def test_a_worker_places_amends_and_cancels_its_own_orders(url: str, api: Api, worker: dict[str, Any]) -> None:
    socket = await Socket.connect(url, worker["token"])
    bid = {"symbol": BTC, "side": "buy", "quantity": "2", "price": "100"}
    await socket.send({"type": "order.place", "key": "g1", "order": bid})
    (ident,) = (await receive(socket, "intent.accepted"))["orders"]
    await settled(api, ident, state="open")
    await socket.send({"type": "order.amend", "key": "g2", "order": ident, "terms": {"price": "95"}})
    assert (await receive(socket, "intent.accepted"))["kind"] == "amend"
    await settled(api, ident, price="95")
    await socket.send({"type": "order.cancel", "key": "g3", "order": ident})
    assert (await receive(socket, "intent.accepted"))["orders"] == [ident]
    await settled(api, ident, state="cancelled")
    for frame in (
        {"type": "order.place", "key": "g1", "order": bid | {"price": "99"}},
        {"type": "order.place", "key": "g4", "order": bid | {"quantity": "NaN"}},
        {"type": "order.place", "key": "g5"},
        {"type": "order.cancel", "key": "g6", "order": "t-another"},
    ):
        await socket.send(frame)
        assert (await receive(socket, "intent.refused"))["key"] == frame["key"]
    await socket.close()


async def test_limits_are_shown_with_their_use_and_set_by_whom_they_concern(
    api: Api, gateway: Gateway, worker: dict[str, Any]
) -> None:
    tom, eva = await login(api, gateway, "tom", Role.TRADER), await login(api, gateway, "eva", Role.VIEWER)
    spec = {"notebook": "x.ipynb", "account": "demo", "capital": "1000", "symbols": [BTC, ETH], "timeframe": "1h"}
    limited = spec | {"limits": {"max_open_orders": 3, "max_drawdown": 0.5}}
    limited |= {"protections": [{"method": "CooldownPeriod", "stop_duration_candles": 1}]}
    stored = await api.ok("PUT", "/deployments/demo", limited)
    assert stored["limits"] == {"max_open_orders": 3, "max_drawdown": "0.5"}
    assert stored["spec"]["protections"] == [{"method": "CooldownPeriod", "stop_duration_candles": 1}]
    path = "/risk/limits/account/demo"
    assert (await api("PUT", path, {"max_open_orders": 5}, token=tom)).status_code == 403
    assert (await api("PUT", "/risk/limits/user/tom", {"max_drawdown": "0.1"}, token=tom)).status_code == 403
    assert (await api("PUT", path, {"max_open_order": 5})).status_code == 422
    assert (await api("PUT", "/risk/limits/account/nobody", {"max_open_orders": 5})).status_code == 404
    assert (await api("PUT", path, {"max_open_orders": 5})).status_code == 204
    assert [row["limits"] for row in await api.ok("GET", "/risk/limits")] == [{"max_open_orders": 5}]
    async with asyncio.timeout(20):
        while len((await api.ok("GET", "/risk"))[0]["limits"]) < 2:
            await asyncio.sleep(0.05)
    row = (await api("GET", "/risk", token=eva)).json()[0]
    assert (row["deployment"], row["state"], row["live"], row["halts"], row["pauses"]) == (
        "demo",
        "active",
        True,
        [],
        [],
    )
    assert [one["of"] for one in row["limits"]] == ["deployment demo", "account demo"]
    assert row["limits"][0]["used"]["equity"] == "1000"
    assert (await api("DELETE", "/risk/latches?scope=deployment&name=demo&code=max_drawdown")).status_code == 404
