"""Workers: each asks for one deployment's orders over its WebSocket, and again with the same key until answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from cashup.client import Backoff, Row, Socket
from cashup.errors import Unavailable

ENDED = frozenset({"filled", "cancelled", "rejected", "rejected_local", "not_placed", "expired"})

Frame = Mapping[str, Any]


class Worker:
    """One deployment's worker. `complain` is told when the gateway contradicts itself.

    `asked` says when (ns, monotonic) a key was first asked for, `keys` which key an order belongs to, `open` is the
    newest that was heard of each order that has not ended, `heard` counts the answers.
    """

    def __init__(self, name: str, gateway: str, token: str, complain: Callable[[str], None]) -> None:
        self.name = name
        self.asked: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.open: dict[str, Row] = {}
        self.heard: Counter[str] = Counter()
        self._complain = complain
        self._gateway = gateway
        self._token = token
        self._waiting: dict[str, Frame] = {}
        self._since: dict[str, float] = {}
        self._last: Frame | None = None
        self._accepted: dict[str, Row] = {}
        self._answered: dict[str, asyncio.Event] = {}
        self._socket: Socket | None = None
        self._seen: int | None = None

    @property
    def waiting(self) -> list[str]:
        """The keys that wait for their answer, oldest first."""
        return list(self._waiting)

    @property
    def lag(self) -> float:
        """How long the oldest of them has waited (s)."""
        return time.monotonic() - min(self._since.values()) if self._since else 0.0

    async def run(self) -> None:
        """Keep connected until cancelled."""
        backoff = Backoff()
        while True:
            await backoff.wait()
            try:
                socket = await Socket.connect(self._gateway, self._token)
            except Unavailable:
                continue  # the gateway is not there
            try:
                await self._serve(socket)
            except Unavailable:
                continue  # the connection broke
            finally:
                self._socket = None
                await socket.close()
                if self._socket is None and not self._waiting:
                    backoff.reset()

    async def ask(self, frame: Frame) -> None:
        """Ask for something new; its `key` was not used yet."""
        self.asked[frame["key"]] = time.perf_counter_ns()
        await self._send(frame)

    async def repeat(self) -> float:
        """Ask for the last thing once more, under the same key; after how many seconds the answer was there."""
        began = time.monotonic()
        if self._last is not None:
            answered = self._answered.setdefault(self._last["key"], asyncio.Event())
            await self._send(self._last)
            await answered.wait()
        return time.monotonic() - began

    async def hang_up(self) -> None:
        """Break the connection off; it comes back by itself."""
        if self._socket is not None:
            await self._socket.close()

    async def _send(self, frame: Frame) -> None:
        self._waiting[frame["key"]] = frame
        self._since[frame["key"]] = time.monotonic()
        if self._socket is not None:
            with suppress(Unavailable):  # it is sent again as soon as there is a connection
                await self._socket.send(frame)

    async def _serve(self, socket: Socket) -> None:
        await socket.send({"type": "events.subscribe", "streams": [f"deployment:{self.name}"], "after": self._seen})
        for frame in list(self._waiting.values()):
            await socket.send(frame)
        self._socket = socket
        while True:
            self._take(await socket.receive())

    def _take(self, message: Row) -> None:
        match message["type"]:
            case "intent.accepted":
                self._accept(message)
            case "intent.refused":
                self._refuse(message)
            case "event":
                self._seen = message["seq"]
                if message["kind"] == "order_changed":
                    self._follow(message["data"])
            case "token":
                self._token = message["token"]
            case "stop" | "error":
                self._complain(f"the worker of {self.name} was told: {message.get('reason') or message['message']}")

    def _accept(self, answer: Row) -> None:
        key = answer["key"]
        before = self._accepted.get(key)
        if before is not None and not (
            before["kind"] == answer["kind"] and set(before["orders"]) <= set(answer["orders"])
        ):
            self._complain(f"I17: {self.name} asked for {key} twice and was told {before}, then {answer}")
        if before is None:
            actions = {decision["action"] for decision in answer["decisions"]}
            self.heard["denied" if "deny" in actions and not answer["orders"] else "accepted"] += 1
        self._accepted[key] = answer
        if answer["kind"] in ("target", "order"):
            self.keys.update(dict.fromkeys(answer["orders"], key))
        self._end(key)

    def _refuse(self, answer: Row) -> None:
        key = answer["key"]
        if key in self._accepted:
            self._complain(f"I17: {self.name} was answered to {key} and is refused it now: {answer['message']}")
        self.heard[f"refused: {answer['code']}"] += 1
        self._end(key)

    def _end(self, key: str) -> None:
        self._last = self._waiting.pop(key, self._last)
        self._since.pop(key, None)
        if key in self._answered:
            self._answered.pop(key).set()

    def _follow(self, order: Row) -> None:
        if order["origin"] != "cashup":
            return
        self.keys.setdefault(order["client_order_id"], order["intent"])
        if order["state"] in ENDED:
            self.open.pop(order["client_order_id"], None)
        else:
            self.open[order["client_order_id"]] = order
