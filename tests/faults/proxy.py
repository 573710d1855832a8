"""A fault proxy between two processes: TCP or Unix socket in front, TCP or Unix socket behind.

Toxics spoil what passes, while they are in `proxy.toxics`; hooks call a test when a certain request or byte passes, and
the bytes wait until the call is over. Directions: UP from the client to the server, DOWN back.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

UP, DOWN = "up", "down"
CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST."""

Address = Path | tuple[str, int]
Piece = tuple[float, bytes]
"""Seconds to wait before these bytes go on."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.passed = {UP: 0, DOWN: 0}
        self.muted: set[str] = set()

    def mute(self, direction: str) -> None:
        """Swallow what comes from here on, and keep the connection open."""
        self.muted.add(direction)

    def reset(self) -> None:
        """Break off in both directions: RST on TCP, a close on a Unix socket."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    def close(self) -> None:
        """End in both directions, behind what was written."""
        self.client.close()
        self.server.close()


class Toxic(Protocol):
    """Changes what passes in its direction."""

    direction: str

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        """What goes on instead of `pieces`."""
        ...


@dataclass
class Latency:
    """Everything comes `seconds` later, give or take `jitter`."""

    seconds: float
    jitter: float = 0.0
    direction: str = DOWN
    random: Random = field(default_factory=lambda: Random(0))

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        delay = max(0.0, self.seconds + self.random.uniform(-self.jitter, self.jitter))
        return [(pause + (delay if index == 0 else 0), data) for index, (pause, data) in enumerate(pieces)]


@dataclass
class Bandwidth:
    """At most `rate` bytes per second."""

    rate: int
    direction: str = DOWN

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        return [(pause + len(data) / self.rate, data) for pause, data in pieces]


@dataclass
class Slicer:
    """Pieces of `size` bytes, `pause` seconds apart."""

    size: int
    pause: float = 0.0
    direction: str = DOWN

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        return [
            (pause if start == 0 else self.pause, data[start : start + self.size])
            for pause, data in pieces
            for start in range(0, len(data), self.size)
        ]


@dataclass
class LimitData:
    """The connection ends after `limit` bytes."""

    limit: int
    direction: str = DOWN

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        left, kept = self.limit - link.passed[self.direction], []
        for pause, data in pieces:
            kept.append((pause, data[: max(0, left)]))
            left -= len(data)
        if left <= 0:
            asyncio.get_running_loop().call_later(sum(pause for pause, _ in kept) + 0.01, link.close)
        return kept


@dataclass
class Timeout:
    """Half-open: the connection stands, and nothing passes."""

    direction: str = DOWN

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        return []


@dataclass
class ResetPeer:
    """The connection is reset by the first bytes: before they pass, or `after` they have."""

    after: bool = False
    direction: str = UP

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        if self.after:
            asyncio.get_running_loop().call_later(sum(pause for pause, _ in pieces) + 0.01, link.reset)
            return pieces
        link.reset()
        return []


@dataclass
class SlowClose:
    """An end is passed on `seconds` late."""

    seconds: float
    direction: str = DOWN

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        return pieces


Called = Callable[[Link, bytes], Awaitable[None] | None]


@dataclass
class Hook:
    """Calls `call(link, data)` for the `nth` chunk with `what` in it, or where the `byte`-th byte of a link passes.

    `share` of the chunk has passed by then: 0 is before it, 1 behind it. `reached` is set after the call.
    """

    call: Called
    direction: str = UP
    what: bytes = b""
    nth: int = 1
    byte: int | None = None
    share: float = 0.0
    seen: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self, direction: str, data: bytes, link: Link) -> int | None:
        """How many bytes of this chunk pass before the call; None when it is not its moment."""
        if direction != self.direction or self.reached.is_set():
            return None
        if self.byte is not None:
            ahead = self.byte - link.passed[direction]
            return ahead if 0 <= ahead < len(data) else None
        if self.what in data:
            self.seen += 1
            if self.seen == self.nth:
                return int(len(data) * self.share)
        return None


class Proxy:
    """Passes everything on to `upstream`. Listens on a free TCP port, or on the Unix socket `listen`."""

    def __init__(self, upstream: Address | int, *, listen: Path | None = None) -> None:
        self.upstream: Address = ("127.0.0.1", upstream) if isinstance(upstream, int) else upstream
        self.listen = listen
        self.port = 0
        self.toxics: list[Toxic] = []
        self.hooks: list[Hook] = []
        self.links: list[Link] = []
        self.swallowed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address as an HTTP client takes it."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; after `refuse`, at the same address again."""
        if self.listen is not None:
            self.listen.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self.listen)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no more connections, as if nobody listened; those that stand go on until they are `cut`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self.listen is not None:
            self.listen.unlink(missing_ok=True)

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self.links):
            link.reset()

    async def stop(self) -> None:
        """End everything."""
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def when(self, call: Called, **options: object) -> Hook:
        """Add a hook."""
        hook = Hook(call, **options)  # type: ignore[arg-type]
        self.hooks.append(hook)
        return hook

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server_writer)
        self.links.append(link)
        try:
            await asyncio.gather(
                self._pump(link, UP, reader, server_writer), self._pump(link, DOWN, server_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            link.reset()  # one side is gone, or the proxy: so shall the other one be
        finally:
            self.links.remove(link)
            link.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(self.upstream)
        return await asyncio.open_connection(*self.upstream)

    async def _pump(
        self, link: Link, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK):
            for hook in self.hooks:
                cut = hook.cut(direction, data, link)
                if cut is not None:
                    await self._pass(link, direction, data[:cut], writer)
                    called = hook.call(link, data)
                    if inspect.isawaitable(called):
                        await called
                    hook.reached.set()
                    data = data[cut:]
            await self._pass(link, direction, data, writer)
        slow = [toxic.seconds for toxic in self.toxics if isinstance(toxic, SlowClose) and toxic.direction == direction]
        await asyncio.sleep(sum(slow))
        if direction not in link.muted and not writer.transport.is_closing() and writer.can_write_eof():
            writer.write_eof()

    async def _pass(self, link: Link, direction: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        if not data:
            return
        pieces: list[Piece] = [(0.0, data)]
        for toxic in self.toxics:
            if toxic.direction == direction:
                pieces = toxic.spoil(pieces, link)
        if direction in link.muted or not pieces:
            self.swallowed.set()
            return
        for pause, piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()
            link.passed[direction] += len(piece)
