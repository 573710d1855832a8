"""The client over real sockets: answers, errors, and a stream of events that survives reconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cashup.client import Client, Socket, watch_events
from cashup.errors import Conflict, NotFound, Unauthenticated, Unavailable

from .conftest import TOKEN, Scripted


def event(seq: int) -> dict[str, Any]:
    return {"type": "event", "seq": seq, "stream": "deployment:demo", "kind": "bar_processed", "at": 0, "data": {}}


async def test_events_come_once_each_and_go_on_after_a_reconnect(gateway: Scripted) -> None:
    seen: list[int] = []
    stream = watch_events(gateway.url, lambda: TOKEN, ["deployment:demo"], after=0)

    async def read(count: int) -> None:
        async for message in stream:
            seen.append(message["seq"])
            if len(seen) == count:
                return

    subscribed = lambda: [m["after"] for m in gateway.messages if m["type"] == "events.subscribe"]  # noqa: E731
    reading = asyncio.create_task(read(2))
    await asyncio.to_thread(gateway.wait_for, lambda: subscribed() == [0])
    for seq in (1, 2):
        await asyncio.to_thread(gateway.send, event(seq))
    await reading
    await asyncio.to_thread(gateway.disconnect)
    reading = asyncio.create_task(read(4))
    await asyncio.to_thread(gateway.wait_for, lambda: subscribed() == [0, 2])
    for seq in (2, 3, 4):
        await asyncio.to_thread(gateway.send, event(seq))
    await reading
    assert seen == [1, 2, 3, 4]
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_refused_token_ends_a_stream_of_events(gateway: Scripted) -> None:
    with pytest.raises(Unauthenticated):
        await anext(watch_events(gateway.url, lambda: "expired", ["account:*"]))


async def test_a_socket_to_nobody_is_unavailable(gateway: Scripted) -> None:
    await asyncio.to_thread(gateway.go_away)
    with pytest.raises(Unavailable, match="does not answer"):
        await Socket.connect(gateway.url, TOKEN)


def test_the_errors_of_the_gateway_are_ours(gateway: Scripted) -> None:
    gateway.holder = "somebody"
    with Client(gateway.url, TOKEN) as client:
        with pytest.raises(NotFound, match="there is no deployment nobody") as caught:
            client.deployment("nobody")
        assert caught.value.code == "not_found"
        with pytest.raises(Conflict, match="somebody holds"):
            client.lease("me")


def test_a_client_without_a_token_says_so() -> None:
    with pytest.raises(Unauthenticated, match="cashup user login"):
        _ = Client("http://127.0.0.1:1").token
