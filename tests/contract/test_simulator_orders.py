"""The simulated venue's order endpoints: amendments, batches, cancels, lists and the countdown, and how they refuse."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.contract.conftest import start_simulator
from tests.contract.gate_client import ORDER, Client, limit

PAIR = "currency_pair=BTC_USDT"


async def balance(client: Client, currency: str) -> tuple[str, str]:
    _, (row,), _ = await client.send("GET", "/spot/accounts", f"currency={currency}")
    return row["available"], row["locked"]


# -- amending -----------------------------------------------------------------------------------------------------


async def test_amending_moves_the_money_that_is_set_aside(client: Client) -> None:
    placed = await client.place(limit("buy", "2", "90"))
    path = f"/spot/orders/{placed['id']}"
    status, row, _ = await client.send("PATCH", path, PAIR, {"amount": "3", "amend_text": "t-more"})
    assert (status, row["amount"], row["left"], row["price"], row["amend_text"]) == (200, "3", "3", "90", "t-more")
    assert await balance(client, "USDT") == ("730", "270")
    status, row, _ = await client.send("PATCH", path, f"{PAIR}&account=spot", {"price": "80", "amount": "1"})
    assert (status, row["price"], await balance(client, "USDT")) == (200, "80", ("920", "80"))


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "INVALID_PARAM_VALUE"),
        ({"amount": "2", "price": "90"}, "NO_CHANGE"),
        ({"amount": "NaN"}, "INVALID_PARAM_VALUE"),
        ({"price": "90.05"}, "INVALID_PRECISION"),
        ({"amount": "2.000001"}, "INVALID_PRECISION"),
        ({"amount": "0.00001"}, "AMOUNT_TOO_LITTLE"),
        ({"amount": "600000"}, "AMOUNT_TOO_MUCH"),
        ({"amount": "100"}, "BALANCE_NOT_ENOUGH"),
        ({"amend_text": "no prefix", "price": "91"}, "INVALID_PARAM_VALUE"),
    ],
)
async def test_a_refused_amendment_changes_nothing(client: Client, change: dict[str, str], label: str) -> None:
    placed = await client.place(limit("buy", "2", "90"))
    path = f"/spot/orders/{placed['id']}"
    assert await client.refusal("PATCH", path, PAIR, change) == (400, label)
    _, row, _ = await client.send("GET", path, PAIR)
    assert (row["amount"], row["price"], row["status"]) == ("2", "90", "open")
    assert await balance(client, "USDT") == ("820", "180")


async def test_a_post_only_order_does_not_take_by_amendment(client: Client) -> None:
    placed = await client.place(limit("buy", "1", "90", tif="poc"))
    path = f"/spot/orders/{placed['id']}"
    assert await client.refusal("PATCH", path, PAIR, {"price": "100"}) == (400, "POC_FILL_IMMEDIATELY")
    assert (await client.send("GET", path, PAIR))[1]["status"] == "open"


async def test_what_ended_is_neither_amended_nor_cancelled(client: Client) -> None:
    filled = await client.place(ORDER)
    gone = await client.place(limit("buy", "1", "90", "t-gone"))
    await client.send("DELETE", f"/spot/orders/{gone['id']}", PAIR)
    for method, body in (("PATCH", {"amount": "5"}), ("DELETE", None)):
        for ident, answer in (
            (filled["id"], (400, "ORDER_CLOSED")),
            (gone["id"], (400, "ORDER_CANCELLED")),
            ("404404", (404, "ORDER_NOT_FOUND")),
            ("t-nobody", (404, "CLIENT_ID_NOT_FOUND")),
        ):
            assert await client.refusal(method, f"/spot/orders/{ident}", PAIR, body) == answer


async def test_an_order_is_amended_and_cancelled_by_its_client_id(client: Client) -> None:
    await client.place(limit("buy", "1", "90", "t-mine"))
    assert (await client.send("PATCH", "/spot/orders/t-mine", PAIR, {"price": "91"}))[1]["price"] == "91"
    assert (await client.send("DELETE", "/spot/orders/t-mine", PAIR))[1]["status"] == "cancelled"


# -- batches ------------------------------------------------------------------------------------------------------


async def test_every_item_of_a_batch_succeeds_or_fails_by_itself(client: Client) -> None:
    items = [limit("buy", "1", "90", "t-a"), limit("buy", "100", "90", "t-b"), limit("sell", "1", "110", "t-c")]
    status, rows, _ = await client.send("POST", "/spot/batch_orders", body=items)
    assert (status, [row["succeeded"] for row in rows]) == (200, [True, False, True])
    assert (rows[1]["text"], rows[1]["label"]) == ("t-b", "BALANCE_NOT_ENOUGH")
    amendments: list[dict[str, Any]] = [
        {"order_id": rows[0]["order_id"], "currency_pair": "BTC_USDT", "price": "91"},
        {"order_id": "404404", "currency_pair": "BTC_USDT", "price": "91"},
    ]
    _, amended, _ = await client.send("POST", "/spot/amend_batch_orders", body=amendments)
    assert [(row["succeeded"], row["label"]) for row in amended] == [(True, ""), (False, "ORDER_NOT_FOUND")]
    cancels = [{"id": row["id"], "currency_pair": "BTC_USDT"} for row in (rows[0], rows[2], rows[0])]
    status, cancelled, _ = await client.send("POST", "/spot/cancel_batch_orders", body=cancels)
    assert (status, [row["label"] for row in cancelled]) == (200, ["", "", "ORDER_CANCELLED"])


async def test_a_batch_has_its_limits(client: Client) -> None:
    item = limit("buy", "1", "90")
    assert await client.refusal("POST", "/spot/batch_orders", body=[item] * 11) == (400, "INVALID_PARAM_VALUE")
    assert await client.refusal("POST", "/spot/batch_orders", body=[item | {"text": ""}]) == (
        400,
        "INVALID_PARAM_VALUE",
    )
    assert await client.refusal("POST", "/spot/batch_orders", body=[]) == (400, "INVALID_REQUEST_BODY")
    assert await client.refusal("POST", "/spot/batch_orders", body=item) == (400, "INVALID_REQUEST_BODY")
    cancel = {"id": "1", "currency_pair": "BTC_USDT"}
    assert await client.refusal("POST", "/spot/cancel_batch_orders", body=[cancel] * 21) == (
        400,
        "INVALID_PARAM_VALUE",
    )


async def test_placing_and_amending_share_a_limit(client: Client) -> None:
    placed = await client.place(limit("buy", "1", "90"))
    for tick in range(9):
        status, _, headers = await client.send("PATCH", f"/spot/orders/{placed['id']}", PAIR, {"price": f"91.{tick}"})
        assert (status, headers["X-Gate-RateLimit-Requests-Remain"]) == (200, str(8 - tick))
    assert await client.refusal("POST", "/spot/batch_orders", body=[ORDER]) == (429, "TOO_MANY_REQUESTS")
    (offence,) = client.simulator.limits.offences
    assert (offence.scope, offence.limit) == ((str(client.account.uid), "place", "BTC_USDT"), 10)


# -- the client id ------------------------------------------------------------------------------------------------


async def test_a_client_id_is_a_label_and_its_lookup_finds_the_newest(client: Client) -> None:
    first, second = [await client.place(limit("buy", "1", "90", "t-same")) for _ in range(2)]
    assert first["id"] != second["id"]
    assert (await client.send("GET", "/spot/orders/t-same", PAIR))[1]["id"] == second["id"]


async def test_a_strict_venue_refuses_a_client_id_twice() -> None:
    simulator = await start_simulator(strict_text=True)
    account = simulator.venue.accounts.create("client", {"BTC": Decimal(2)})
    async with aiohttp.ClientSession() as session:
        client = Client(simulator, session, account)
        await client.place(ORDER)
        assert await client.refusal("POST", "/spot/orders", body=ORDER) == (400, "REPEATED_CREATION")
    await simulator.stop()


# -- lists --------------------------------------------------------------------------------------------------------


async def test_finished_orders_come_by_their_end_in_pages(client: Client) -> None:
    client.simulator.limits.enforce = False
    rows = [await client.place(limit("buy", "0.1", "90", f"t-{n}")) for n in range(5)]
    for row in rows[:4]:
        await client.send("DELETE", f"/spot/orders/{row['id']}", PAIR)
    query = f"{PAIR}&status=finished&limit=3"
    _, newest, _ = await client.send("GET", "/spot/orders", query)
    _, oldest, _ = await client.send("GET", "/spot/orders", f"{query}&page=2")
    assert [row["text"] for row in newest + oldest] == ["t-3", "t-2", "t-1", "t-0"]
    later = int(newest[0]["update_time"]) + 1
    assert (await client.send("GET", "/spot/orders", f"{query}&from={later}"))[1] == []
    assert len((await client.send("GET", "/spot/orders", f"{query}&to={later}"))[1]) == 3
    assert await client.refusal("GET", "/spot/orders", f"{PAIR}&status=finished&limit=101") == (
        400,
        "INVALID_PARAM_VALUE",
    )


async def test_open_orders_come_in_pages(client: Client) -> None:
    for number in range(3):
        await client.place(limit("buy", "0.1", "90", f"t-{number}"))
    _, (group,), _ = await client.send("GET", "/spot/open_orders", "limit=2&page=2")
    assert (group["total"], [row["text"] for row in group["orders"]]) == (3, ["t-0"])
    assert (await client.send("GET", "/spot/open_orders", "limit=2&page=3"))[1] == []


async def test_my_trades_have_a_longest_range(client: Client) -> None:
    await client.place(ORDER)
    now = int(client.simulator.venue.clock.now() / 1000)
    assert len((await client.send("GET", "/spot/my_trades", f"from={now - 30 * 86_400}&to={now}"))[1]) == 1
    refused = await client.refusal("GET", "/spot/my_trades", f"from={now - 31 * 86_400}&to={now}")
    assert refused == (400, "INVALID_PARAM_VALUE")
    assert await client.refusal("GET", "/spot/my_trades", "order_id=1") == (400, "INVALID_PARAM_VALUE")


# -- the countdown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"timeout": 4}, {"timeout": -1}, {"timeout": "30"}])
async def test_a_countdown_is_long_enough(client: Client, body: dict[str, Any]) -> None:
    refused = await client.refusal("POST", "/spot/countdown_cancel_all", body=body)
    assert refused == (400, "INVALID_PARAM_VALUE")


async def test_a_countdown_that_is_not_renewed_cancels_what_rests(client: Client) -> None:
    venue = client.simulator.venue
    placed = await client.place(limit("buy", "1", "90"))
    status, answer, _ = await client.send("POST", "/spot/countdown_cancel_all", body={"timeout": 5})
    assert (status, answer["triggerTime"]) == (200, venue.countdowns.next)
    async with asyncio.timeout(20):
        while venue.countdowns.next is not None:
            await asyncio.sleep(0.05)
    _, row, _ = await client.send("GET", f"/spot/orders/{placed['id']}", PAIR)
    assert (row["status"], row["finish_as"], row["update_time_ms"] >= answer["triggerTime"]) == (
        "cancelled",
        "cancelled",
        True,
    )


async def test_a_countdown_is_switched_off(client: Client) -> None:
    await client.send("POST", "/spot/countdown_cancel_all", body={"timeout": 5})
    _, answer, _ = await client.send("POST", "/spot/countdown_cancel_all", body={"timeout": 0})
    assert (answer, client.simulator.venue.countdowns.next) == ({"triggerTime": 0}, None)
