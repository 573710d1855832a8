"""A relay between the gateway and the venue that notes when an order passes, and when its execution comes back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TEXT = re.compile(rb'"text": ?"(t-[0-9A-Z]{26})"')
_CHUNK = 1 << 16


@dataclass
class Relay:
    """`sent` and `filled`: per client order id the moment (ns, monotonic) of its request and of its trade's frame."""

    venue: str
    sent: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the gateway finds the venue."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        address = urlsplit(self.venue)
        there, back = await asyncio.open_connection(address.hostname, address.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, self._request))
                group.create_task(self._pass(there, writer, self._answer))
        except* (OSError, EOFError):
            pass  # one side has gone
        finally:
            writer.close()
            back.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None]
    ) -> None:
        while data := await reader.read(_CHUNK):
            look(data)
            writer.write(data)
        raise EOFError

    def _request(self, data: bytes) -> None:
        """An order's body passes, wherever its header was."""
        for text in _TEXT.findall(data):
            name = text.decode()
            self.sent.setdefault(name, time.perf_counter_ns())
            self.writes[name] = self.writes.get(name, 0) + 1

    def _answer(self, data: bytes) -> None:
        if b"spot.usertrades" in data:
            for text in _TEXT.findall(data):
                self.filled.setdefault(text.decode(), time.perf_counter_ns())
