"""The worker's end of the WebSocket, on a thread of its own, so that a slow strategy never loses the connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, cast

import uvloop

from cashup.client import Backoff, Row, Socket
from cashup.errors import Unavailable

_LAST_WORDS_SECONDS = 1.0

STOP: Row = {"type": "stop", "reason": "asked to stop"}
"""What the inbox gets when this process is asked to end."""


class Link:
    """Keeps one authenticated connection with one subscription to bars, and connects again when it breaks.

    The inbox gets the gateway's messages (`bars.history` after each connection, `bar`, `intent.accepted`,
    `intent.refused`, `stop`), `{"type": "disconnected"}`, and at last `{"type": "failed", "error": …}` when the gateway
    refuses this worker for good. Token renewals and events stay here.
    """

    def __init__(self, gateway: str, token: str, subscription: Mapping[str, Any]) -> None:
        self.inbox: SimpleQueue[Row] = SimpleQueue()
        self._gateway = gateway
        self._token = token
        self._subscription = {"type": "bars.subscribe", **subscription}
        self._loop = uvloop.new_event_loop()
        self._socket: Socket | None = None
        self._posted: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="cashup-link", daemon=True)

    @property
    def token(self) -> str:
        """The newest token that the gateway gave this worker."""
        return self._token

    def __enter__(self) -> Link:
        self._work = self._loop.create_task(self._keep_connected())
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._on_loop(lambda: self._loop.create_task(self._end()))
        self._thread.join()

    async def _end(self) -> None:
        """What was given to `send` is on its way before the connection ends."""
        if self._posted:
            await asyncio.wait(set(self._posted), timeout=_LAST_WORDS_SECONDS)
        if self._work is not None:
            self._work.cancel()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send `message` if there is a connection; without one it is lost, and the next history says what to repeat."""
        self._on_loop(self._post, message)

    def reconnect(self) -> None:
        """Leave the connection and make a new one: the inbox gets `disconnected`, and then a new history."""
        self._on_loop(self._leave)

    def _leave(self) -> None:
        if self._socket is not None:
            self._sending(self._socket.close())

    def _on_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the thread has ended, and `failed` has told so
            self._loop.call_soon_threadsafe(call, *arguments)

    def _post(self, message: Mapping[str, Any]) -> None:
        if self._socket is not None:
            self._sending(self._socket.send(message))

    def _sending(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)
        task.add_done_callback(_look_at)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(cast("asyncio.Task[None]", self._work))
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
                with suppress(asyncio.CancelledError, Unavailable):
                    self._loop.run_until_complete(task)
            self._loop.close()

    async def _keep_connected(self) -> None:
        backoff = Backoff()
        try:
            while True:
                await backoff.wait()
                with suppress(Unavailable):  # the gateway restarts or the network broke: try again, for ever
                    await self._connected(backoff)
                self.inbox.put({"type": "disconnected"})
        except Exception as error:  # noqa: BLE001  the thread's edge: whatever it is, the strategy must not wait for ever
            self.inbox.put({"type": "failed", "error": error})

    async def _connected(self, backoff: Backoff) -> None:
        socket = await Socket.connect(self._gateway, self._token)
        backoff.reset()
        try:
            socket.require_protocol()
            await socket.send(self._subscription)
            self._socket = socket
            while True:
                message = await socket.receive()
                kind = message["type"]
                if kind == "token":
                    self._token = message["token"]
                elif kind != "event":
                    self.inbox.put(message)
        finally:
            self._socket = None
            await socket.close()


def _look_at(task: asyncio.Task[None]) -> None:
    # A connection that broke under a message is noticed by the reader, which connects again.
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Unavailable):
        raise error
