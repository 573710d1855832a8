"""Every fault of the simulator: what the customer sees, and what the venue really did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import islice
from typing import Any

import aiohttp
import pytest

from cashup.clock import WallClock
from cashup.errors import CashUpError, NotFound, UsageError
from cashup.simulator.faults.board import Layer
from cashup.simulator.faults.catalogue import KINDS
from cashup.simulator.faults.schedule import MENU, Schedule
from cashup.simulator.lockstep import ControlClient
from cashup.simulator.server import Simulator
from cashup.simulator.signing import sign, stream_payload
from tests.contract.conftest import start_simulator
from tests.contract.gate_client import ORDER, Client, limit

PAIR = "currency_pair=BTC_USDT"
EXERCISED: set[str] = set()


def switch(client: Client, kind: str, **settings: Any) -> None:
    """Switch a fault on, and note that it is tested."""
    EXERCISED.add(kind)
    client.simulator.faults.set(kind, **settings)


def made(client: Client) -> int:
    """How many orders the venue has really made for the customer."""
    return sum(order.account is client.account for order in client.simulator.venue.orders.values())


async def answered(client: Client, body: dict[str, str] = ORDER) -> tuple[int, bytes]:
    """(status, body) of placing an order, whatever comes back; (0, b"") when nothing does."""
    try:
        async with client.request("POST", "/spot/orders", body=body, **fence()) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, ConnectionError):
        return 0, b""


def fence(ahead: int = 60_000) -> dict[str, str]:
    return {"x-gate-exptime": str(WallClock().now() + ahead)}


# -- one request --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "status", "orders"),
    [
        ("error_before", {"status": 503}, 503, 0),
        ("error_after", {"status": 502}, 502, 1),
        ("accepted_only", {}, 202, 1),
        ("lost_effect", {}, 202, 0),
        ("too_many", {}, 429, 0),
        ("strange_label", {}, 400, 0),
        ("strange_label", {"done": True}, 400, 1),
        ("lost_request", {}, 0, 0),
        ("lost_request", {"reset": True}, 0, 0),
        ("lost_answer", {}, 0, 1),
        ("lost_answer", {"reset": True}, 0, 1),
        ("no_answer", {"seconds": 0.1}, 0, 1),
        ("no_answer", {"seconds": 0.1, "done": False}, 0, 0),
        ("truncated_answer", {}, 0, 1),
        ("truncated_answer", {"seconds": 0.1}, 0, 1),
        ("unreadable_answer", {}, 201, 1),
        ("wall_before", {"status": 400}, 400, 0),
        ("wall_after", {"status": 502}, 502, 1),
        ("double_effect", {}, 201, 2),
        ("self_trade_prevented", {}, 201, 1),
        ("late_effect", {"seconds": 0.1}, 201, 1),
        ("late_answer", {"seconds": 0.1}, 201, 1),
        ("maintenance", {}, 503, 0),
    ],
)
async def test_what_is_answered_and_what_was_done(
    client: Client, kind: str, settings: dict[str, Any], status: int, orders: int
) -> None:
    switch(client, kind, **settings)
    assert ((await answered(client))[0], made(client)) == (status, orders)
    assert [one["kind"] for one in client.simulator.faults.struck] == [kind]
    (seen,) = client.simulator.register.writes
    assert (seen.fault, seen.effect, seen.text) == (kind, orders > 0, "t-1" if kind != "lost_request" else seen.text)
    if kind != "maintenance":
        assert (await answered(client, ORDER | {"text": "t-2"}))[0] == 201


async def test_bodies_that_say_nothing(client: Client) -> None:
    switch(client, "unreadable_answer")
    with pytest.raises(json.JSONDecodeError):
        json.loads((await answered(client))[1])
    switch(client, "wall_before", status=403)
    status, page = await answered(client)
    assert (status, page.startswith(b"<html>")) == (403, True)


async def test_a_request_that_comes_late_meets_its_fence_but_one_that_works_slowly_does_not(client: Client) -> None:
    switch(client, "late_request", seconds=0.3)
    refused = await client.refusal("POST", "/spot/orders", body=ORDER, **fence(100))
    assert (refused, made(client)) == ((400, "REQUEST_EXPIRED"), 0)
    switch(client, "late_effect", seconds=0.3)
    status, row, _ = await client.send("POST", "/spot/orders", body=ORDER, **fence(200))
    assert status == 201
    book = client.simulator.control.book({})["accounts"]["client"]["orders"]
    assert book[0]["received_at"] + 200 < row["create_time_ms"]


async def test_a_429_says_when_the_window_ends(client: Client) -> None:
    switch(client, "too_many", seconds=5)
    status, answer, headers = await client.send("POST", "/spot/orders", body=ORDER)
    assert (status, answer["label"]) == (429, "TOO_MANY_REQUESTS")
    assert int(headers["X-Gate-RateLimit-Reset-Timestamp"]) * 1000 > client.simulator.venue.clock.now()


async def test_an_order_made_twice_has_one_client_id(client: Client) -> None:
    switch(client, "double_effect")
    row = await client.place(limit("buy", "1", "90", "t-twin"))
    twins = [order for order in client.simulator.venue.orders.values() if order.text == "t-twin"]
    assert [order.match.id for order in twins][1] == row["id"]
    assert twins[0].received == twins[1].received
    assert [seen.orders for seen in client.simulator.register.writes] == [tuple(order.match.id for order in twins)]
    _, found, _ = await client.send("GET", "/spot/orders/t-twin", PAIR)
    assert found["id"] == row["id"]


async def test_self_trade_prevention_ends_an_order_without_a_fill(client: Client) -> None:
    switch(client, "self_trade_prevented")
    row = await client.place(ORDER)
    assert (row["status"], row["finish_as"], row["left"], row["amount"]) == ("cancelled", "stp", "0.1", "0.1")
    assert client.account.balances()["BTC"].available == 2


# -- what is matched ----------------------------------------------------------------------------------------------


async def test_a_fault_strikes_what_it_matches_from_the_nth_on(client: Client) -> None:
    switch(client, "error_before", what="place", text="t-x*", nth=2, count=2)
    bodies = [limit("buy", "0.1", "90", text) for text in ("t-y1", "t-x1", "t-x2", "t-x3", "t-x4")]
    assert [(await answered(client, body))[0] for body in bodies] == [201, 201, 500, 500, 201]
    assert client.simulator.faults.active == []


async def test_chance_is_decided_by_the_seed(client: Client) -> None:
    switch(client, "error_before", what="read", count=None, probability=0.5)
    said = [(await client.send("GET", "/spot/accounts"))[0] for _ in range(20)]
    assert set(said) == {200, 500}


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("nothing", {}, "is not a fault"),
        ("error_before", {"speed": 1}, "no option 'speed'"),
        ("error_before", {"nth": 0}, "begin at 1"),
        ("error_before", {"count": 0}, "begin at 1"),
        ("error_before", {"probability": 2}, "between 0 and 1"),
        ("manual_order", {"account": "nobody", "pair": "BTC_USDT", "side": "buy", "amount": "10"}, "account"),
        ("market_halt", {"pair": "DOGE_USDT"}, "BTC_USDT"),
        ("changed_rules", {"pair": "BTC_USDT", "tick": "x"}, "tick"),
        ("order_ended", {"account": "client"}, "rests"),
    ],
)
async def test_a_wrong_switch_is_one_sentence(
    client: Client, kind: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        client.simulator.faults.set(kind, **settings)
    assert client.simulator.faults.active == []


async def test_faults_are_switched_over_the_control_channel(client: Client) -> None:
    simulator = client.simulator
    async with ControlClient(simulator.control_url, simulator.token) as control:
        fault = await control.request("fault.set", name="error_before", what="place", count=None)
        assert (await answered(client))[0] == 500
        shown = await control.request("fault.list")
        assert [(one["kind"], one["struck"]) for one in shown["active"]] == [("error_before", 1)]
        assert shown["struck"][0]["facts"]["text"] == "t-1"
        assert {one["kind"] for one in shown["kinds"]} == set(KINDS)
        assert (await control.request("fault.clear", fault=fault["fault"]))["active"] == []
        assert (await answered(client))[0] == 201
        with pytest.raises(CashUpError, match="not on"):
            await control.request("fault.clear", fault=99)
        with pytest.raises(CashUpError, match="not a fault"):
            await control.request("fault.set", name="bad luck")
        requests = await control.request("requests", account="client")
        assert [(one["fault"], one["effect"]) for one in requests["writes"]] == [("error_before", False), ("", True)]
        book = await control.request("book", account="client")
        assert [row["id"] for row in book["accounts"]["client"]["orders"]] == requests["writes"][1]["orders"]
        assert [one["kind"] for one in book["accounts"]["client"]["changes"]] == ["order-match"] * 2


async def test_a_fault_lasts_as_long_as_it_is_told(client: Client) -> None:
    switch(client, "maintenance", lasts=0.2)
    assert (await answered(client))[0] == 503
    async with asyncio.timeout(10):
        while client.simulator.faults.active:
            await asyncio.sleep(0.02)
    assert (await answered(client))[0] == 201
    with pytest.raises(NotFound):
        client.simulator.faults.clear(1)


# -- reads --------------------------------------------------------------------------------------------------------


async def test_reads_lag(client: Client) -> None:
    kept = await client.place(limit("buy", "1", "90", "t-kept"))
    switch(client, "stale_read", seconds=30)
    await client.place(ORDER)
    new = await client.place(limit("buy", "1", "91", "t-new"))
    await client.send("DELETE", f"/spot/orders/{kept['id']}", PAIR)
    _, (group,), _ = await client.send("GET", "/spot/open_orders")
    assert [row["id"] for row in group["orders"]] == [kept["id"]]
    assert (await client.send("GET", f"/spot/orders/{kept['id']}", PAIR))[1]["status"] == "open"
    assert await client.refusal("GET", f"/spot/orders/{new['id']}", PAIR) == (404, "ORDER_NOT_FOUND")
    assert await client.refusal("GET", "/spot/orders/t-new", PAIR) == (404, "CLIENT_ID_NOT_FOUND")
    assert (await client.send("GET", "/spot/my_trades", PAIR))[1] == []
    assert (await client.send("GET", "/spot/orders", f"{PAIR}&status=finished"))[1] == []
    _, (row,), _ = await client.send("GET", "/spot/accounts", "currency=USDT")
    assert (row["available"], row["locked"]) == ("910", "90")
    client.simulator.faults.clear()
    _, (group,), _ = await client.send("GET", "/spot/open_orders")
    assert [row["id"] for row in group["orders"]] == [new["id"]]
    assert len((await client.send("GET", "/spot/my_trades", PAIR))[1]) == 1


async def test_reads_that_lag_by_nothing_are_true(client: Client) -> None:
    switch(client, "stale_read", seconds=0)
    row = await client.place(limit("buy", "1", "90"))
    await client.send("DELETE", f"/spot/orders/{row['id']}", PAIR)
    _, (finished,), _ = await client.send("GET", "/spot/orders", f"{PAIR}&status=finished")
    assert finished["id"] == row["id"]
    assert [held["locked"] for held in (await client.send("GET", "/spot/accounts"))[1]] == ["0", "0"]


async def test_pages_lack_rows_or_fail(client: Client) -> None:
    for number in range(4):
        await client.place(limit("buy", "0.1", "90", f"t-{number}"))
    query = f"{PAIR}&status=open&limit=2"
    switch(client, "partial_page", what="read")
    assert [row["text"] for row in (await client.send("GET", "/spot/orders", query))[1]] == ["t-3"]
    switch(client, "failing_page", what="read", page=2)
    assert (await client.send("GET", "/spot/orders", query))[0] == 200
    assert (await client.send("GET", "/spot/orders", f"{query}&page=2"))[0] == 502
    assert (await client.send("GET", "/spot/orders", f"{query}&page=2"))[0] == 200


# -- frames -------------------------------------------------------------------------------------------------------


class Listener:
    """What the private channels bring."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def frames(self, count: int) -> list[tuple[str, str]]:
        """(channel, event or side) of the next `count` messages."""
        found = []
        for _ in range(count):
            message = await self.socket.receive_json(timeout=10)
            record = message["result"][0]
            found.append((message["channel"].removeprefix("spot."), record.get("event", "")))
        return found

    async def quiet(self) -> bool:
        """True when nothing but a pong comes."""
        await self.socket.send_json({"time": WallClock().now() // 1000, "channel": "spot.ping"})
        return bool((await self.socket.receive_json(timeout=10))["channel"] == "spot.pong")


@asynccontextmanager
async def listening(client: Client) -> AsyncIterator[Listener]:
    async with client.session.ws_connect(f"{client.simulator.url}/ws/v4/") as socket:
        for channel in ("spot.orders", "spot.usertrades"):
            now = WallClock().now() // 1000
            signature = sign(client.account.secret, stream_payload(channel, "subscribe", now))
            auth = {"method": "api_key", "KEY": client.account.key, "SIGN": signature}
            frame = {"time": now, "channel": channel, "event": "subscribe", "payload": ["!all"], "auth": auth}
            await socket.send_json(frame)
            assert (await socket.receive_json(timeout=10))["result"] == {"status": "success"}
        yield Listener(socket)


FILL = [("usertrades", ""), ("orders", "finish")]


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("missing_frame", {"channel": "spot.usertrades"}, FILL[1:]),
        ("missing_frame", {"channel": "spot.orders", "event": "finish"}, FILL[:1]),
        ("duplicated_frame", {"channel": "spot.usertrades", "times": 3}, [FILL[0]] * 3 + FILL[1:]),
        ("late_frame", {"channel": "spot.usertrades", "seconds": 0.2}, FILL[::-1]),
        ("overtaken_frame", {"channel": "spot.usertrades"}, FILL[::-1]),
    ],
)
async def test_frames_suffer(
    client: Client, kind: str, settings: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    async with listening(client) as listener:
        switch(client, kind, **settings)
        await client.place(ORDER)
        assert await listener.frames(len(expected)) == expected
        assert await listener.quiet()


async def test_frames_come_in_any_order(client: Client) -> None:
    async with listening(client) as listener:
        switch(client, "shuffled_frames", count=None)
        seen = set()
        for number in range(8):
            await client.place(ORDER | {"text": f"t-{number}", "amount": "0.03"})
            seen.add(tuple(await listener.frames(2)))
    assert seen == {tuple(FILL), tuple(FILL[::-1])}


async def test_frames_come_before_the_answer(client: Client) -> None:
    async with listening(client) as listener:
        switch(client, "frame_first", seconds=30)
        placing = asyncio.create_task(client.place(ORDER))
        assert await listener.frames(2) == FILL
        assert not placing.done()
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)


async def test_subscriptions_and_streams_fall_silent(client: Client) -> None:
    switch(client, "silent_subscription", count=2)
    async with listening(client) as listener:
        await client.place(ORDER)
        assert await listener.quiet()
    async with listening(client) as listener:
        await client.place(ORDER)
        assert await listener.frames(2) == FILL
        switch(client, "silent_stream")
        await client.place(ORDER)
        assert await listener.quiet()


async def test_connections_end_with_and_without_a_word(client: Client) -> None:
    async with listening(client) as listener:
        switch(client, "upgrade", seconds=0.1)
        assert (await listener.socket.receive_json(timeout=10))["type"] == "upgrade"
        assert (await listener.socket.receive(timeout=10)).type in {
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.ERROR,
        }
    async with listening(client) as listener:
        switch(client, "disconnect")
        await listener.socket.receive(timeout=10)
        assert listener.socket.closed
    switch(client, "maintenance")
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with listening(client):
            pass


# -- events -------------------------------------------------------------------------------------------------------


async def test_the_venues_clock_is_off(client: Client) -> None:
    switch(client, "clock_skew", milliseconds=61_000)
    assert await client.refusal("GET", "/spot/accounts") == (401, "REQUEST_EXPIRED")
    client.simulator.faults.clear()
    assert (await client.send("GET", "/spot/accounts"))[0] == 200
    switch(client, "clock_skew", milliseconds=-5_000)
    status, answer, _ = await client.send("GET", "/spot/time")
    assert (status, answer["server_time"] < WallClock().now()) == (200, True)


async def test_a_market_halts_and_ends(client: Client) -> None:
    row = await client.place(limit("buy", "1", "90"))
    switch(client, "market_halt", pair="BTC_USDT")
    assert await client.refusal("POST", "/spot/orders", body=ORDER) == (400, "INVALID_CURRENCY_PAIR")
    assert (await client.send("GET", "/spot/currency_pairs/BTC_USDT"))[1]["trade_status"] == "untradable"
    assert (await client.send("DELETE", f"/spot/orders/{row['id']}", PAIR))[0] == 200
    client.simulator.faults.clear()
    row = await client.place(limit("buy", "1", "90"))
    switch(client, "delisting", pair="BTC_USDT")
    assert (await client.send("GET", f"/spot/orders/{row['id']}", PAIR))[1]["status"] == "cancelled"
    assert await client.refusal("POST", "/spot/orders", body=ORDER) == (400, "INVALID_CURRENCY_PAIR")


async def test_rules_change_while_orders_rest(client: Client) -> None:
    await client.place(limit("buy", "1", "90.1", "t-old"))
    switch(client, "changed_rules", pair="BTC_USDT", tick="1", lot="0.01", min_cost="10")
    assert await client.refusal("POST", "/spot/orders", body=limit("buy", "1", "90.1")) == (400, "INVALID_PRECISION")
    assert await client.refusal("POST", "/spot/orders", body=limit("buy", "0.001", "90")) == (400, "INVALID_PRECISION")
    assert await client.refusal("POST", "/spot/orders", body=limit("buy", "0.1", "90")) == (400, "AMOUNT_TOO_LITTLE")
    _, pair, _ = await client.send("GET", "/spot/currency_pairs/BTC_USDT")
    assert (pair["precision"], pair["amount_precision"], pair["min_quote_amount"]) == (0, 2, "10")
    client.simulator.control.step({})
    assert (await client.send("GET", "/spot/orders", f"{PAIR}&status=finished"))[1][0]["text"] == "t-old"
    client.simulator.faults.clear()
    await client.place(limit("buy", "1", "80.1"))


async def test_orders_fill_in_part(client: Client) -> None:
    switch(client, "thin_market", pair="BTC_USDT", amount="0.3")
    row = await client.place(limit("sell", "0.5", "100", "t-ioc", "ioc"))
    assert (row["filled_amount"], row["left"], row["status"], row["finish_as"]) == ("0.3", "0.2", "cancelled", "ioc")
    assert await client.refusal("POST", "/spot/orders", body=limit("sell", "0.5", "100", "t-fok", "fok")) == (
        400,
        "FOK_NOT_FILL",
    )
    row = await client.place(limit("buy", "1", "95", "t-rests"))
    switch(client, "market_move", pair="BTC_USDT", price="95", amount="0.25")
    _, row, _ = await client.send("GET", f"/spot/orders/{row['id']}", PAIR)
    assert (row["filled_amount"], row["left"], row["status"]) == ("0.25", "0.75", "open")
    client.simulator.faults.clear()
    client.simulator.faults.set("market_move", pair="BTC_USDT", price="94")
    assert (await client.send("GET", f"/spot/orders/{row['id']}", PAIR))[1]["status"] == "closed"


async def test_the_customer_trades_by_hand(client: Client) -> None:
    async with listening(client) as listener:
        switch(client, "manual_order", account="client", pair="BTC_USDT", side="sell", amount="0.5")
        assert await listener.frames(2) == FILL
        by_hand = {"pair": "BTC_USDT", "side": "buy", "amount": "1", "price": "90"}
        switch(client, "manual_order", account="client", source="app", **by_hand)
        assert await listener.frames(1) == [("orders", "put")]
        switch(client, "order_ended", account="client", text="app", reason="small")
        assert await listener.frames(1) == [("orders", "finish")]
    _, rows, _ = await client.send("GET", "/spot/orders", f"{PAIR}&status=finished")
    assert {(row["text"], row["finish_as"]) for row in rows} == {("web", "filled"), ("app", "small")}
    with pytest.raises(UsageError, match="Not enough"):
        client.simulator.faults.set("manual_order", account="client", pair="BTC_USDT", side="sell", amount="50")


async def test_money_comes_and_goes(client: Client) -> None:
    switch(client, "transfer", account="client", currency="USDT", amount="-400.5")
    assert client.account.balances()["USDT"].available == Decimal("599.5")
    _, rows, _ = await client.send("GET", "/spot/account_book", "currency=USDT")
    assert [(row["type"], row["change"]) for row in rows] == [("withdraw", "-400.5")]
    assert client.simulator.control.book({})["deposits"]["USDT"] == "599.5"
    with pytest.raises(CashUpError):
        client.simulator.faults.set("transfer", account="client", currency="USDT", amount="-1000")


# -- by a seed ----------------------------------------------------------------------------------------------------


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    first, again, other = (list(islice(Schedule(seed, rate=2), 200)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert {planned.kind for planned in first} == set(MENU)
    assert 20 < sum(planned.wait for planned in first) / len(first) < 40


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"kinds": ("double_effect",)}])
def test_a_schedule_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Schedule(1, **wrong)


async def test_a_simulator_follows_its_schedule() -> None:
    schedule = Schedule(5, rate=60_000, kinds=("disconnect", "upgrade", "silent_stream"))
    simulator = await start_simulator(schedule=schedule)
    async with asyncio.timeout(20):
        while len(simulator.faults.struck) < 20:
            await asyncio.sleep(0.01)
    struck = [one["kind"] for one in simulator.faults.struck][:20]
    await simulator.stop()
    assert struck == [planned.kind for planned in islice(schedule, 20)]


async def test_a_fault_is_for_one_customer(client: Client) -> None:
    """Whose key it is decides, also of two customers on one connection."""
    other = Client(
        client.simulator, client.session, client.simulator.venue.accounts.create("other", {"BTC": Decimal(2)})
    )
    switch(client, "error_before", account="other", count=None)
    assert (await answered(client))[0] == 201
    assert (await answered(other))[0] == 500


async def test_a_client_id_is_on_two_orders_without_the_customer(client: Client) -> None:
    row = await client.place(limit("buy", "1", "90", "t-mine"))
    settings = {"account": "client", "pair": "BTC_USDT", "side": "buy", "amount": "1", "price": "90"}
    switch(client, "manual_order", source="t-mine", **settings)
    _, found, _ = await client.send("GET", "/spot/orders/t-mine", PAIR)
    assert found["id"] != row["id"]


async def test_everything_a_schedule_plans_can_be_set(simulator: Simulator) -> None:
    for planned in islice(Schedule(3), 200):
        simulator.faults.set(planned.kind, **planned.settings)
    simulator.faults.clear()
    assert simulator.venue.clock.skew == 0


def test_every_fault_is_tested() -> None:
    """Stands last: by now every kind of the catalogue has been switched on."""
    assert set(KINDS) - EXERCISED == set()
    assert {kind.layer for kind in KINDS.values()} == set(Layer)
    assert all(kind.about for kind in KINDS.values())
