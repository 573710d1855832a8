"""The order path: from an intent to the venue's socket, and from a fill's frame to the worker, beside their floors.

Everything runs as processes of its own on this machine: embedded PostgreSQL with fsync on, Redis, the simulator, the
gateway. This process plays the workers, and relays between gateway and venue to see what passes when.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import uvloop
from aiohttp import ClientError, ClientSession, web
from websockets.asyncio.client import connect

from benchmarks.measure import ROOT, cashup, home, run
from benchmarks.relay import Relay
from cashup.cli.ports import free_port
from cashup.cli.stack import Market, Stack
from cashup.client import Socket
from cashup.orders.ids import client_order_id
from cashup.settings import Settings
from cashup.storage.servers import open_servers

START = "2025-01-01"
SYMBOLS = ("BTC/USDT", "ETH/USDT")
ACCOUNTS = 20
CALM, CALM_SECONDS = 50, 20
"""Intents per second, and for how long, when the delay of each is of interest."""
BUSY, BUSY_SECONDS = 200, 15
"""The same when it is asked whether the path keeps up: ten orders per second and account, which is what Gate takes."""
SETTLE_SECONDS = 5.0
NOTEBOOK = ROOT / "notebooks" / "sma_cross.ipynb"


def order_path() -> dict[str, Any]:
    """Intent to the venue's socket and fill's frame to the worker, in ms, at 50 intents/s; 200/s; their floor."""
    with home() as folder:
        words = ["--timeframe", "1h", "--start", "2024-12-25", "--bars", "400"]
        for symbol in SYMBOLS:
            run(cashup("data", "generate", "--symbol", symbol, *words), folder)
        with Stack(folder, Market(SYMBOLS, "1h", START)) as made:
            found = uvloop.run(_measure(made))
    calm, busy, floor = found["calm"], found["busy"], found["floor"]
    return {
        "intents_per_second": CALM,
        "accounts": ACCOUNTS,
        "ms_to_socket": calm["to_socket"],
        "ms_to_socket_floor": floor["to_socket"],
        "to_socket_to_floor": round(calm["to_socket"]["p50"] / floor["to_socket"]["p50"], 2),
        "ms_to_worker": calm["to_worker"],
        "ms_to_worker_floor": floor["to_worker"],
        "busy": busy,
        "durability": found["durability"],
    }


# --- the workers ---------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """One deployment's worker: its socket, what it asked for when, and what it heard."""

    name: str
    socket: Socket
    bar: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    orders: dict[str, str] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)

    async def listen(self) -> None:
        """Note the orders of each intent, and when a fill is heard of."""
        while True:
            message = await self.socket.receive()
            if message["type"] == "event" and message["kind"] == "order_changed":
                # not from the answer: an intent that waits for the one before it has no orders yet
                self.orders.setdefault(message["data"]["client_order_id"], message["data"]["intent"])
            elif message["type"] == "event" and message["kind"] == "fill_booked":
                self.heard.setdefault(message["data"]["client_order_id"], time.perf_counter_ns())
            elif message["type"] == "intent.refused":
                raise RuntimeError(f"{self.name}: {message['message']}")

    async def ask(self) -> None:
        """Another target: a little more than before, or a little less, in one of two symbols."""
        self.bar += 1
        symbol = SYMBOLS[self.bar // 2 % 2]
        key = str(self.bar)
        self.asked[key] = time.perf_counter_ns()
        targets = {symbol: 0.25 if self.bar % 2 else 0.35}
        await self.socket.send({"type": "intent", "key": key, "bar": self.bar, "targets": targets})


async def _measure(made: Stack) -> dict[str, Any]:
    relay = Relay(made.venue_url)
    await relay.start()
    try:
        workers = [await _worker(made, relay, number) for number in range(ACCOUNTS)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker.listen()) for worker in workers]
            await _pace(workers, CALM, 2)  # every path is warm
            calm = await _lap(workers, relay, CALM, CALM_SECONDS)
            busy = await _lap(workers, relay, BUSY, BUSY_SECONDS)
            for task in tasks:
                task.cancel()
        floor, durability = await _floor(made.home)
    finally:
        await relay.stop()
    return {"calm": calm, "busy": busy, "floor": floor, "durability": durability}


async def _worker(made: Stack, relay: Relay, number: int) -> Worker:
    name = f"bench-{number}"
    await asyncio.to_thread(_deploy, made, relay.url, name)
    attempt = await asyncio.to_thread(made.client.new_attempt, name)
    socket = await Socket.connect(made.url, attempt.token)
    await socket.send({"type": "events.subscribe", "streams": [f"deployment:{name}"], "after": None})
    await socket.send({"type": "bars.subscribe", "symbols": list(SYMBOLS), "timeframe": "1h", "history": 1})
    return Worker(name, socket)


def _deploy(made: Stack, venue: str, name: str) -> None:
    customer = asyncio.run(made._ask("account.create", name=name, balances={"USDT": "1000000"}))
    account = {"name": name, "exchange": "gate", "mode": "sandbox", "base_url": venue}
    made.client.add_account(account | {"key": customer["key"], "secret": customer["secret"]})
    spec = {"notebook": str(NOTEBOOK), "account": name, "capital": "1000000", "symbols": list(SYMBOLS)}
    made.client.put_deployment(name, spec)
    made.client.start(name)


async def _pace(workers: Sequence[Worker], rate: int, seconds: int) -> None:
    """Ask in turn, at a steady rate, without waiting for answers."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(rate * seconds):
        await workers[number % len(workers)].ask()
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
    await asyncio.sleep(SETTLE_SECONDS)


async def _lap(workers: Sequence[Worker], relay: Relay, rate: int, seconds: int) -> dict[str, Any]:
    """The delays of this lap alone, and how many intents a second reached the venue while they were asked for."""
    for worker in workers:
        worker.asked.clear()
        worker.orders.clear()
        worker.heard.clear()
    relay.sent.clear()
    relay.filled.clear()
    await _pace(workers, rate, seconds)
    asked = {order: w.asked[key] for w in workers for order, key in w.orders.items() if key in w.asked}
    heard = {order: moment for worker in workers for order, moment in worker.heard.items()}
    sent = sorted(relay.sent.values())
    twice = [order for order, count in relay.writes.items() if count > 1]
    if twice:
        raise RuntimeError(f"{twice[0]} was written twice")
    return {
        "intents": rate * seconds,
        "orders": len(asked),
        "per_second": round((len(sent) - 1) / (sent[-1] - sent[0]) * 1e9, 1),
        "to_socket": _percentiles([relay.sent[o] - began for o, began in asked.items() if o in relay.sent]),
        "to_worker": _percentiles([heard[o] - began for o, began in relay.filled.items() if o in heard]),
    }


def _percentiles(nanoseconds: Sequence[int]) -> dict[str, Any]:
    """Milliseconds."""
    if len(nanoseconds) < 100:
        raise RuntimeError(f"{len(nanoseconds)} measurements are too few")
    cuts = statistics.quantiles([value / 1e6 for value in nanoseconds], n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "count": len(nanoseconds)}


# --- the floor -----------------------------------------------------------------------------------------------------


async def _floor(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The same hops without any of our work, on the same PostgreSQL and Redis."""
    servers = open_servers(Settings(home=folder, database_url=None, redis_url=None))
    try:
        database = servers.database_url.replace("+asyncpg", "")
        connection = await asyncpg.connect(database)
        wanted = ("fsync", "synchronous_commit", "full_page_writes")
        durability = {name: str(await connection.fetchval(f"SHOW {name}")) for name in wanted}
        await connection.close()
        async with _stub() as (venue, frames):
            relay = Relay(venue)
            await relay.start()
            given = {"database": database, "redis": servers.redis_url, "venue": relay.url, "port": free_port()}
            words = ["-m", "benchmarks.floor", json.dumps(given)]
            process = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
            try:
                await _ready(f"http://127.0.0.1:{given['port']}/ready")
                return await _floor_lap(f"ws://127.0.0.1:{given['port']}/ws", relay, frames), durability
            finally:
                process.terminate()
                await process.wait()
                await relay.stop()
    finally:
        servers.close()


async def _floor_lap(url: str, relay: Relay, frames: asyncio.Queue[str]) -> dict[str, Any]:
    asked: dict[str, int] = {}
    heard: dict[str, int] = {}
    async with connect(url, compression=None, proxy=None) as socket:

        async def listen() -> None:
            async for message in socket:
                heard.setdefault(str(message), time.perf_counter_ns())

        listening = asyncio.create_task(listen())
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(CALM * (CALM_SECONDS + 2)):
            name = client_order_id(number + 1)
            asked[name] = time.perf_counter_ns()
            await socket.send(orjson.dumps({"text": name, "amount": "1", "currency_pair": "BTC_USDT"}).decode())
            due += 1 / CALM
            await asyncio.sleep(max(0.0, due - loop.time()))
            frames.put_nowait(orjson.dumps({"channel": "spot.usertrades", "text": name}).decode())
        await asyncio.sleep(1.0)
        listening.cancel()
    counted = list(asked)[2 * CALM :]
    return {
        "to_socket": _percentiles([relay.sent[name] - asked[name] for name in counted if name in relay.sent]),
        "to_worker": _percentiles([heard[name] - relay.filled[name] for name in counted if name in heard]),
    }


@asynccontextmanager
async def _stub() -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """A venue that takes any order and pushes the frames that are put into the queue."""
    frames: asyncio.Queue[str] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({}, status=201)

    async def push(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        while not socket.closed:
            await socket.send_str(await frames.get())
        return socket

    app = web.Application()
    app.router.add_post("/api/v4/spot/orders", take)
    app.router.add_get("/frames", push)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", frames
    finally:
        await runner.cleanup()


async def _ready(url: str) -> None:
    async with ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except ClientError:
                pass  # it is still starting
            await asyncio.sleep(0.05)
    raise RuntimeError("the floor did not start")
