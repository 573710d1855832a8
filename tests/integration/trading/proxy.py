"""A TCP proxy that can withhold the answer to an order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Listens at `url` and passes everything on to `port`. From the `withhold`-th order on, its answer is kept back."""

    port: int
    withhold: int | None = None
    orders: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.port)
        link = _Link()
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._request(reader, upstream_writer, link))
                back = group.create_task(self._answer(upstream_reader, writer, link))
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        except* (OSError, asyncio.CancelledError):
            pass  # one side has gone: that is what the tests are about
        finally:
            writer.close()
            upstream_writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        while data := await reader.read(65_536):
            if data.startswith(b"POST /api/v4/spot/orders"):
                self.orders += 1
                link.held = self.withhold is not None and self.orders >= self.withhold
            writer.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        while data := await reader.read(65_536):
            if link.held:
                self.answered.set()
            else:
                writer.write(data)


@dataclass
class _Link:
    held: bool = False
