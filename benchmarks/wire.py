"""A relay for many connections that notes when which bytes pass: between venue and gateway, and gateway and workers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit


class Watcher(Protocol):
    """What looks at one connection."""

    def asked(self, data: bytes) -> None:
        """The client has sent this."""

    def answered(self, data: bytes) -> None:
        """The server has sent this."""


class Wire:
    """Passes bytes on to `there` (an address with a port); each connection has a watcher of its own."""

    def __init__(self, there: str, watch: Callable[[], Watcher]) -> None:
        self._there = urlsplit(there)
        self._watch = watch
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        host, port = self._there.hostname, self._there.port
        self._server = await loop.create_server(lambda: _Near(self._watch(), host, port), "127.0.0.1", 0)

    def stop(self) -> None:
        """Take no new connections; those that are end with their ends."""
        if self._server is not None:
            self._server.close()


class _End(asyncio.Protocol):
    """One end of a connection; what arrives before the other end is there waits."""

    def __init__(self, look: Callable[[bytes], None]) -> None:
        self.look = look
        self.transport: Any = None
        self.other: _End | None = None
        self.waiting = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.other is not None and self.other.waiting:
            transport.write(bytes(self.other.waiting))
            self.other.waiting.clear()

    def data_received(self, data: bytes) -> None:
        self.look(data)
        if self.other is None or self.other.transport is None:
            self.waiting += data
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Near(_End):
    """The client's end, which opens the other one."""

    def __init__(self, watcher: Watcher, host: str | None, port: int | None) -> None:
        super().__init__(watcher.asked)
        self._watcher = watcher
        self._address = host, port

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.other = far = _End(self._watcher.answered)
        far.other = self
        self._opening = asyncio.ensure_future(self._open(far))

    async def _open(self, far: _End) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self._address)
        except OSError:
            self.transport.close()


_CLOSED = re.compile(rb'"t": ?"(\d+)"[^{}]*"n": ?"\w+?_([A-Z0-9_]+)"[^{}]*"w": ?true')
_SUBSCRIBED = re.compile(rb'"channel": ?"spot\.candlesticks"[^{}]*"event": ?"subscribe"')


@dataclass
class Venue:
    """Between venue and gateway. `closed`: per symbol and bar (ms) the moment its last frame passed, ns."""

    closed: dict[tuple[str, int], int] = field(default_factory=dict)
    subscriptions: int = 0

    def asked(self, data: bytes) -> None:
        """Masked frames and requests: nothing to read."""

    def answered(self, data: bytes) -> None:
        """Candles, and what the venue says of subscriptions to them."""
        if b"spot.candlesticks" not in data:
            return
        now = time.perf_counter_ns()
        self.subscriptions += len(_SUBSCRIBED.findall(data))
        for seconds, pair in _CLOSED.findall(data):
            self.closed.setdefault((pair.decode().replace("_", "/"), int(seconds) * 1000), now)


@dataclass(frozen=True, slots=True)
class Decision:
    """One bar of one worker: when it went out, when the intent came back, when that was accepted; moments in ns."""

    symbol: str
    bar: int
    sent: int
    intent: int
    accepted: int


_BAR = re.compile(rb'"type": ?"bar", ?"time": ?(\d+), ?"bars": ?\{"([^"]+)"')
_ACCEPTED = re.compile(rb'"intent\.accepted"')


@dataclass
class Workers:
    """Between gateway and workers: every decision of every worker, in `made`."""

    made: list[Decision] = field(default_factory=list)

    def connection(self) -> Watcher:
        """The watcher of one connection."""
        return _Worker(self.made)


class _Worker:
    """A worker answers a bar with its intent and nothing else."""

    def __init__(self, made: list[Decision]) -> None:
        self._made = made
        self._bar: tuple[str, int, int] | None = None
        self._intent = 0

    def asked(self, data: bytes) -> None:
        if self._bar is not None and not self._intent and len(data) > 40:  # not a pong
            self._intent = time.perf_counter_ns()

    def answered(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        if self._bar is not None and self._intent and _ACCEPTED.search(data):
            symbol, bar, sent = self._bar
            self._made.append(Decision(symbol, bar, sent, self._intent, now))
            self._bar, self._intent = None, 0
        if found := _BAR.search(data):
            self._bar, self._intent = (found[2].decode(), int(found[1]), now), 0
