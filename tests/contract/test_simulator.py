"""The simulator's own promises: it checks what Gate checks, and it is driven over its control channel."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from cashup.clock import WallClock
from cashup.errors import CashUpError, Unauthenticated, Unavailable, UsageError
from cashup.simulator.accounts import Account
from cashup.simulator.limits import PLACE, RateLimits
from cashup.simulator.lockstep import ControlClient
from cashup.simulator.server import Simulator
from cashup.simulator.signing import rest_payload, sign, stream_payload
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from tests.contract.gate_client import ORDER, Client

START = 1_735_689_600_000
HOUR = 3_600_000


# -- HTTP ---------------------------------------------------------------------------------------------------------


async def test_create_answers_201_with_gates_headers(client: Client) -> None:
    status, answer, headers = await client.send("POST", "/spot/orders", body=ORDER, **{"X-Client-Request-Id": "mine"})
    assert (status, answer["status"], answer["finish_as"], answer["left"]) == (201, "closed", "filled", "0")
    assert headers["X-Client-Request-Id"] == "mine"
    assert headers["X-Gate-Trace-Id"]
    assert int(headers["X-Out-Time"]) >= int(headers["X-In-Time"])
    assert (headers["X-Gate-RateLimit-Limit"], headers["X-Gate-RateLimit-Requests-Remain"]) == ("10", "9")


async def test_the_time_is_checked_before_the_key(client: Client) -> None:
    old = str(WallClock().now() // 1000 - 61)
    assert await client.refusal("GET", "/spot/accounts", Timestamp=old, KEY="nobody") == (401, "REQUEST_EXPIRED")
    assert await client.refusal("GET", "/spot/accounts", KEY="nobody") == (401, "INVALID_KEY")
    early = str(WallClock().now() // 1000 + 58)
    assert (await client.send("GET", "/spot/accounts", Timestamp=early))[0] == 200


@pytest.mark.parametrize("header", ["KEY", "Timestamp", "SIGN"])
async def test_every_header_is_required(client: Client, header: str) -> None:
    answer = await client.refusal("GET", "/spot/accounts", **{header: None})
    assert answer == (401, "MISSING_REQUIRED_HEADER")


async def test_a_wrong_signature_is_refused(client: Client) -> None:
    assert await client.refusal("GET", "/spot/accounts", SIGN="0" * 128) == (401, "INVALID_SIGNATURE")
    assert (await client.send("GET", "/spot/my_trades", "currency_pair=BTC%5FUSDT"))[0] == 200


async def test_a_signature_is_good_for_its_body_only(client: Client) -> None:
    timestamp = str(WallClock().now() // 1000)
    payload = rest_payload("POST", "/api/v4/spot/orders", "", json.dumps(ORDER).encode(), timestamp)
    signature = sign(client.account.secret, payload)
    larger = ORDER | {"amount": "2"}
    refused = await client.refusal("POST", "/spot/orders", body=larger, SIGN=signature, Timestamp=timestamp)
    assert refused == (401, "INVALID_SIGNATURE")


async def test_one_customer_does_not_see_another(client: Client) -> None:
    _, placed, _ = await client.send("POST", "/spot/orders", body=ORDER)
    other = client.simulator.venue.accounts.create("other", {"USDT": Decimal(5)})
    stranger = Client(client.simulator, client.session, other)
    refused = await stranger.refusal("GET", f"/spot/orders/{placed['id']}", "currency_pair=BTC_USDT")
    assert refused == (404, "ORDER_NOT_FOUND")
    assert (await stranger.send("GET", "/spot/my_trades", "currency_pair=BTC_USDT"))[1] == []
    assert [row["available"] for row in (await stranger.send("GET", "/spot/accounts"))[1]] == ["5"]


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"text": "no-prefix"}, "INVALID_PARAM_VALUE"),
        ({"text": "t-" + "x" * 29}, "INVALID_PARAM_VALUE"),
        ({"side": "hold"}, "INVALID_PARAM_VALUE"),
        ({"time_in_force": "gtc"}, "INVALID_PARAM_VALUE"),
        ({"amount": "NaN"}, "INVALID_PARAM_VALUE"),
        ({"amount": "-1"}, "INVALID_PARAM_VALUE"),
        ({"amount": None}, "INVALID_PARAM_VALUE"),
        ({"account": "margin"}, "INVALID_PARAM_VALUE"),
        ({"currency_pair": "DOGE_USDT"}, "INVALID_CURRENCY_PAIR"),
        ({"type": "limit", "time_in_force": "fok", "price": "101"}, "FOK_NOT_FILL"),
        ({"type": "limit", "time_in_force": "poc", "price": "100"}, "POC_FILL_IMMEDIATELY"),
    ],
)
async def test_a_bad_order_is_refused_with_its_label(client: Client, change: dict[str, Any], label: str) -> None:
    assert await client.refusal("POST", "/spot/orders", body=ORDER | change) == (400, label)


async def test_bodies_must_be_json_objects(client: Client) -> None:
    assert await client.refusal("POST", "/spot/orders", body=[ORDER]) == (400, "INVALID_REQUEST_BODY")


async def test_a_path_that_is_not_simulated_is_not_found(client: Client) -> None:
    assert await client.refusal("GET", "/spot/price_orders") == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("currency_pair=BTC_USDT&interval=1m", "INVALID_PARAM_VALUE"),
        ("currency_pair=BTC_USDT&interval=1h&limit=5&from=1", "INVALID_PARAM_VALUE"),
        ("currency_pair=BTC_USDT&interval=1h&limit=1001", "INVALID_PARAM_VALUE"),
        ("interval=1h", "INVALID_CURRENCY_PAIR"),
    ],
)
async def test_bad_candle_queries_are_refused(client: Client, query: str, label: str) -> None:
    assert await client.refusal("GET", "/spot/candlesticks", query) == (400, label)


async def test_cancelling_everything_of_one_side(client: Client) -> None:
    for side, price in (("buy", "90"), ("sell", "110"), ("sell", "111")):
        body = ORDER | {"type": "limit", "time_in_force": "gtc", "side": side, "price": price}
        await client.send("POST", "/spot/orders", body=body)
    _, cancelled, _ = await client.send("DELETE", "/spot/orders", "currency_pair=BTC_USDT&side=sell")
    assert {row["price"] for row in cancelled} == {"110", "111"}
    _, (group,), _ = await client.send("GET", "/spot/open_orders")
    assert (group["currency_pair"], group["total"], group["orders"][0]["side"]) == ("BTC_USDT", 1, "buy")


# -- rate limits --------------------------------------------------------------------------------------------------


async def test_orders_over_the_limit_are_refused_until_the_window_is_over(client: Client) -> None:
    answers = [await client.send("POST", "/spot/orders", body=ORDER) for _ in range(11)]
    assert [status for status, _, _ in answers] == [201] * 10 + [429]
    _, answer, headers = answers[-1]
    assert (answer["label"], headers["X-Gate-RateLimit-Requests-Remain"]) == ("TOO_MANY_REQUESTS", "0")
    assert client.simulator.control.state()["rate_limit_violations"] == 1
    client.simulator.control.step({})  # an hour of the market is an hour for the limits
    assert (await client.send("POST", "/spot/orders", body=ORDER))[0] == 201


def test_limits_count_per_scope_and_can_be_switched_off() -> None:
    now = 0
    limits = RateLimits(lambda: now)
    for _ in range(10):
        assert limits.count(("1", "place", "A"), PLACE).allowed
    assert not limits.count(("1", "place", "A"), PLACE).allowed
    assert limits.count(("1", "place", "B"), PLACE).allowed
    now = 1_000
    assert limits.count(("1", "place", "A"), PLACE).allowed
    generous = RateLimits(lambda: 0, enforce=False)
    assert all(generous.count(("1",), PLACE).allowed for _ in range(20))
    assert generous.violations == 10


# -- WebSocket ----------------------------------------------------------------------------------------------------


async def converse(client: Client, frame: Any) -> Any:
    async with client.session.ws_connect(f"{client.simulator.url}/ws/v4/") as socket:
        await socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))
        return await socket.receive_json(timeout=10)


def subscription(channel: str, payload: list[str] | None = None, account: Account | None = None) -> dict[str, Any]:
    now = WallClock().now() // 1000
    frame: dict[str, Any] = {"time": now, "id": 7, "channel": channel, "event": "subscribe", "payload": payload}
    if account is not None:
        signature = sign(account.secret, stream_payload(channel, "subscribe", now))
        frame["auth"] = {"method": "api_key", "KEY": account.key, "SIGN": signature}
    return frame


async def test_a_subscription_is_answered_as_gate_answers(client: Client) -> None:
    answer = await converse(client, subscription("spot.orders", ["!all"], client.account))
    assert (answer["id"], answer["event"], answer["result"]) == (7, "subscribe", {"status": "success"})
    assert (await converse(client, {"time": 1, "channel": "spot.ping"}))["channel"] == "spot.pong"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", 1),
        (subscription("spot.orders", ["!all"]) | {"time": 1}, 1),
        (subscription("spot.nonsense", ["BTC_USDT"]), 2),
        (subscription("spot.trades", ["BTC_USDT", "DOGE_USDT"]), 2),
        (subscription("spot.trades", []), 2),
        (subscription("spot.candlesticks", ["5m", "BTC_USDT"]), 2),
        (subscription("spot.orders", ["!all"]), 4),
        (subscription("spot.orders", ["!all"], Account(1, "x", "nobody", "secret")), 4),
    ],
)
async def test_a_bad_subscription_is_answered_with_its_code(client: Client, frame: Any, code: int) -> None:
    if isinstance(frame, dict) and frame["time"] != 1:
        frame = frame | {"time": WallClock().now() // 1000}
    assert (await converse(client, frame))["error"]["code"] == code


async def test_a_wrong_stream_signature_is_refused(client: Client) -> None:
    forged = Account(client.account.uid, "client", client.account.key, "another secret")
    answer = await converse(client, subscription("spot.orders", ["!all"], forged))
    assert (answer["error"]["code"], json.loads(answer["error"]["message"])["label"]) == (4, "INVALID_SIGNATURE")


# -- control ------------------------------------------------------------------------------------------------------


async def test_a_step_names_its_bar_and_is_done_once(simulator: Simulator) -> None:
    async with ControlClient(simulator.control_url, simulator.token) as control:
        state = await control.request("state")
        assert (state["open"], state["closed"], state["steps"], state["ended"]) == (START, START - HOUR, 0, False)
        stepped = await control.request("step", close=START)
        assert (stepped["open"], stepped["closed"], stepped["steps"]) == (START + HOUR, START, 1)
        assert await control.request("step", close=START) == stepped
        with pytest.raises(CashUpError, match="open bar"):
            await control.request("step", close=START + 5 * HOUR)
        assert (await control.request("state"))["steps"] == 1


async def test_the_tape_ends(simulator: Simulator) -> None:
    async with ControlClient(simulator.control_url, simulator.token) as control:
        while not (state := await control.request("step"))["ended"]:
            pass
        assert (state["open"], state["closed"], state["steps"]) == (None, state["last"], 6)
        assert await control.request("step", close=state["last"]) == state


async def test_accounts_are_made_at_run_time(simulator: Simulator) -> None:
    async with ControlClient(simulator.control_url, simulator.token) as control:
        made = await control.request("account.create", name="one", balances={"USDT": "10.5"})
        other = await control.request("account.create", balances={})
        assert made["key"] != other["key"]
        assert made["secret"] != other["secret"]
        with pytest.raises(CashUpError, match="already"):
            await control.request("account.create", name="one")
        for wrong in ({"USDT": "much"}, {"USDT": "-1"}, {"USDT": "NaN"}, ["USDT"]):
            with pytest.raises(CashUpError):
                await control.request("account.create", name="two", balances=wrong)
        book = await control.request("book")
        assert book["accounts"]["one"]["balances"] == {"USDT": {"available": "10.5", "locked": "0"}}
        assert book["deposits"] == {"USDT": "10.5"}
        assert made["secret"] not in json.dumps(book)


async def test_an_unknown_request_is_answered(simulator: Simulator) -> None:
    async with ControlClient(simulator.control_url, simulator.token) as control:
        with pytest.raises(CashUpError, match=r"step.*account.create"):
            await control.request("dance")


async def test_the_control_channel_wants_its_token(simulator: Simulator) -> None:
    with pytest.raises(Unauthenticated, match="token"):
        await ControlClient(simulator.control_url, "wrong").connect()
    async with aiohttp.ClientSession() as session, session.ws_connect(simulator.control_url) as socket:
        await socket.send_str('{"type": "step"}')
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401
    assert simulator.venue.open_time == START
    with pytest.raises(Unavailable, match="cashup simulator"):
        await ControlClient("ws://127.0.0.1:1/control", "any").connect()


# -- the server ---------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_said(simulator: Simulator) -> None:
    second = Simulator(simulator.venue, port=simulator.port)
    with pytest.raises(Unavailable, match=f"port {simulator.port}"):
        await second.start()


async def test_a_speed_replays_by_itself(simulator: Simulator) -> None:
    venue = Venue(simulator.venue.tape, simulator.venue.markets, start=START)
    async with (
        asyncio.timeout(10),
        Simulator(venue, speed=500) as running,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{running.url}/ws/v4/") as socket,
    ):
        await socket.send_json(subscription("spot.tickers", ["BTC_USDT"]))
        while not venue.halted:
            await socket.receive()
    assert venue.closed_time == venue.tape.times[-1]


def test_a_speed_is_above_zero(simulator: Simulator) -> None:
    with pytest.raises(UsageError, match="speed"):
        Simulator(simulator.venue, speed=0)


def test_a_start_behind_the_last_bar_is_refused(simulator: Simulator) -> None:
    tape: Tape = simulator.venue.tape
    with pytest.raises(UsageError, match="start"):
        Venue(tape, simulator.venue.markets, start=tape.times[-1] + 1)
