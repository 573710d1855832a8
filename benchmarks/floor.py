"""The floor under the order path: the same hops with nothing between them, as a process of its own.

A WebSocket in, two commits on PostgreSQL (the intent, the claim), one HTTP request to the venue; and back: a frame
from the venue's WebSocket, two commits (the frame, the booking), a Redis stream, and the WebSocket out. No planning, no
risk, no lease, no state machine, no ledger, no signature. Argument: one JSON object with `database`, `redis`, `venue`
and `port`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio import Redis

TABLES = """
DROP TABLE IF EXISTS floor_intents, floor_frames, floor_fills;
CREATE TABLE floor_intents (key text PRIMARY KEY, body jsonb NOT NULL, state text NOT NULL);
CREATE TABLE floor_frames (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text UNIQUE, body jsonb NOT NULL);
CREATE TABLE floor_fills (key text PRIMARY KEY, body jsonb NOT NULL);
"""
STREAM = "floor"


class Floor:
    """The hops. `sockets` are the workers that hear of fills."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.sockets: list[WebSocket] = []

    async def open(self) -> None:
        """Connect to everything."""
        self.pool = await asyncpg.create_pool(self.given["database"], min_size=4, max_size=10)
        self.redis = Redis.from_url(self.given["redis"])
        await self.redis.delete(STREAM)
        self.http = aiohttp.ClientSession()
        await self.pool.execute(TABLES)
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._fan_out())]

    async def intent(self, text: str) -> None:
        """Commit, commit, write."""
        key = orjson.loads(text)["text"]
        await self.pool.execute("INSERT INTO floor_intents VALUES ($1, $2, 'planned')", key, text)
        await self.pool.execute("UPDATE floor_intents SET state = 'sending' WHERE key = $1", key)
        async with self.http.post(f"{self.given['venue']}/api/v4/spot/orders", data=text) as answer:
            await answer.read()

    async def _listen(self) -> None:
        """The venue's frames, each committed, booked and told."""
        async with self.http.ws_connect(f"{self.given['venue']}/frames") as socket:
            async for message in socket:
                key = orjson.loads(message.data)["text"]
                await self.pool.execute("INSERT INTO floor_frames (key, body) VALUES ($1, $2)", key, message.data)
                await self.pool.execute("INSERT INTO floor_fills VALUES ($1, $2)", key, message.data)
                await self.redis.xadd(STREAM, {"key": key})

    async def _fan_out(self) -> None:
        last = b"0"
        while True:
            for _, entries in await self.redis.xread({STREAM: last}, block=1_000):
                for number, fields in entries:
                    last = number
                    for socket in self.sockets:
                        await socket.send_text(fields[b"key"].decode())


def main() -> None:
    """Serve until the process is ended."""
    given = json.loads(sys.argv[1])
    floor = Floor(given)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await floor.open()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        floor.sockets.append(socket)
        try:
            while True:
                await floor.intent(await socket.receive_text())
        except WebSocketDisconnect:
            floor.sockets.remove(socket)

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    uvicorn.run(app, host="127.0.0.1", port=given["port"], log_level="warning", loop="uvloop", ws="websockets-sansio")


if __name__ == "__main__":
    main()
