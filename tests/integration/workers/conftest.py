"""A small server that speaks the gateway's protocol over real sockets, one step at a time, as a test tells it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest
from aiohttp import WSMsgType, web

from cashup.client import PROTOCOL
from cashup.strategies.conduct import conduct_of
from cashup.strategies.endings import DEATHS, FINAL, Reason
from cashup.trading.endings import pause_after

HOUR = 3_600_000
FIRST = 1_735_689_600_000  # 2025-01-01
TOKEN = "test-token"
ADMIN_TOKEN = "planted-admin-token"

CONTRACT = [
    ("parameters", 'symbols = ["ETH/USDT"]\ntimeframe = "1h"\nfast = 2\nslow = 4'),
    (
        "",
        "import cashup as cu\n"
        "def target(bars, fast, slow):\n"
        "    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)\n"
        "strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=slow, "
        'params={"fast": fast, "slow": slow})',
    ),
    ("", "run = cu.run(strategy)"),
    ("", "print('tear sheet', len(run.equity))\nrun.stats()"),
]


def price(bar: int) -> float:
    """A price that rises and falls, so that averages cross."""
    return 100.0 + (bar * 7) % 11


class Scripted:
    """The gateway as workers and supervisors see it. Bars close when the test says so; nothing is decided here."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self.closed = 40
        self.symbols = ["ETH/USDT"]
        self.listed: dict[str, int] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.attempts: dict[str, list[dict[str, Any]]] = {}
        self.accounts: list[dict[str, Any]] = [{"name": "demo"}]
        self.holder: str | None = None
        self.lost: list[str] = []
        self.intents: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.answering = True
        self.hanging: set[str] = set()
        self.again_in = 0
        self.protocol = PROTOCOL
        self.storing = True
        self.first_ready: int | None = None
        self.last_decided: int | None = None
        self.state: tuple[str, int] | None = None
        self.missed_bars = "act"
        self.paused = False
        self.changed = threading.Condition()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    # --- what tests do ---------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Block until `condition` holds; it is looked at after every message and call."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "it did not happen"

    def close_bar(self) -> int:
        """Close the open bar and send it; its open time."""
        bar = FIRST + self.closed * HOUR
        self._do(self._close({}))
        return bar

    def close_unseen(self, bars: int) -> None:
        """Bars close while nobody is connected."""
        self.go_away()
        self.closed += bars
        self.come_back()

    def pause(self) -> None:
        """As `cashup live pause` does it."""
        self.paused = True
        self.send({"type": "pause"})

    def resume(self) -> None:
        self.paused = False
        self.send({"type": "resume"})

    def late_bars(self, count: int) -> None:
        """The gateway's own stream was interrupted for so many bars; they come at once."""
        for left in range(count, 0, -1):
            self._do(self._close({"late": True} if left > 1 else {}))

    def send(self, message: dict[str, Any]) -> None:
        self._do(self._broadcast(message))

    def disconnect(self, code: int = 1012) -> None:
        """Break every connection, as a restart does."""

        async def close() -> None:
            for socket in list(self.sockets):
                await socket.close(code=code)

        self._do(close())

    def go_away(self) -> None:
        """Stop listening."""
        self._do(self._stop())

    def come_back(self) -> None:
        """Listen again on the same port."""
        self._do(self._start())

    def start(self) -> None:
        self._thread.start()
        self._do(self._start())

    def stop(self) -> None:
        self._do(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _do(self, work: Any) -> None:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self.loop)
        future.result(30)

    # --- the server ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._noted])
        api = "/api/v1"
        app.router.add_get("/ws", self._ws)
        app.router.add_post(f"{api}/supervisor/lease", self._lease)
        app.router.add_delete(f"{api}/supervisor/lease", self._release)
        app.router.add_get(f"{api}/accounts", self._accounts)
        app.router.add_get(f"{api}/deployments", self._list)
        app.router.add_get(f"{api}/deployments/{{name}}", self._one)
        app.router.add_put(f"{api}/deployments/{{name}}", self._put)
        app.router.add_post(f"{api}/deployments/{{name}}/{{wish:start|stop|pause|resume|restart}}", self._wish)
        app.router.add_post(f"{api}/deployments/{{name}}/attempts", self._attempt)
        app.router.add_post(f"{api}/deployments/{{name}}/attempts/{{number}}/{{what:heartbeat|finish}}", self._report)
        app.router.add_get(f"{api}/deployments/{{name}}/{{noun:orders|fills|positions|equity}}", self._rows)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close(code=1001)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _noted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            self._wake()

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    async def _lease(self, request: web.Request) -> web.Response:
        holder = (await request.json())["holder"]
        if self.holder not in (None, holder):
            return _error(409, "conflict", f"{self.holder} holds the supervisor's lease")
        self.holder = holder
        return web.json_response({"holder": holder, "expires": 0, "lost": self.lost})

    async def _release(self, request: web.Request) -> web.Response:
        self.holder = None
        return web.json_response({})

    async def _accounts(self, request: web.Request) -> web.Response:
        return web.json_response(self.accounts)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([self._view(name) for name in self.deployments])

    async def _one(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.deployments:
            return _error(404, "not_found", f"there is no deployment {name}")
        return web.json_response(self._view(name))

    def _view(self, name: str) -> dict[str, Any]:
        row, attempts = self.deployments[name], self.attempts[name]
        newest = attempts[-1] if attempts else None
        shown = {"state": newest and newest["state"], "message": "", "attempt": newest, "last_decided": None}
        shown |= {"reason": newest and newest.get("reason"), "exit": None}
        wait, self.again_in = self.again_in, 0  # over by the next look
        shown |= {"restarts": {"deaths": 0, "again_in": wait}, "hung": name in self.hanging}
        return {"name": name, **row["spec"], **row, **shown}

    async def _put(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        known = self.deployments.get(name, {"desired": "stopped", "fence": 0})
        spec = {key: value for key, value in (await request.json()).items() if key != "allow_live"}
        self.deployments[name] = known | {"spec": spec}
        self.attempts.setdefault(name, [])
        return web.json_response(self._view(name))

    async def _wish(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        wish = request.match_info["wish"]
        wishes = {"start": "running", "resume": "running", "pause": "paused", "stop": "stopped"}
        row = self.deployments[name]
        row |= {"desired": wishes[wish]} if wish in wishes else {"renew": row["fence"]}
        return web.json_response(self._view(name))

    async def _attempt(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        row = self.deployments[name]
        row["fence"] += 1
        self.attempts[name].append({"number": row["fence"], "state": "starting", "finished_at": None, "behind": 0})
        work = {"token": TOKEN, **{name: row["spec"].get(name) for name in ("notebook", "params", "version")}}
        return web.json_response({"attempt": row["fence"], "fence": row["fence"], **work}, status=201)

    async def _report(self, request: web.Request) -> web.Response:
        attempt = self.attempts[request.match_info["name"]][int(request.match_info["number"]) - 1]
        if request.match_info["what"] == "finish":
            attempt |= await request.json()
            attempt["finished_at"] = 1
            return web.json_response(self._settle(request.match_info["name"], Reason(attempt["reason"])))
        return web.Response(status=204)

    def _settle(self, name: str, reason: Reason) -> dict[str, Any]:
        """What follows, as the gateway decides it; all deaths are within the window."""
        row = self.deployments[name]
        deaths = sum(attempt.get("reason") in DEATHS for attempt in self.attempts[name])
        again = pause_after(conduct_of(row["spec"]).restarts, deaths)
        if row["desired"] == "stopped" or reason in (Reason.STOPPED, Reason.REPLACED):
            return {"verdict": "stopped", "again_in": None, "deaths": deaths}
        if reason in FINAL or again is None:
            row["desired"] = "stopped"
            return {"verdict": "given_up", "again_in": None, "deaths": deaths}
        self.again_in = again
        return {"verdict": "again", "again_in": again, "deaths": deaths}

    async def _rows(self, request: web.Request) -> web.Response:
        if request.match_info["noun"] != "equity":
            return web.json_response([])
        bars = [intent["bar"] for intent in self.intents]
        return web.json_response([{"bar": bar, "equity": "1000", "cash": "1000"} for bar in bars])

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        first = await socket.receive_json()
        if first not in [{"type": "auth", "token": token} for token in (TOKEN, ADMIN_TOKEN)]:
            await socket.close(code=4401, message=b"expired")
            return socket
        await socket.send_json({"type": "welcome", "protocol": self.protocol})
        self.connections += 1
        if self.paused:
            await socket.send_json({"type": "pause"})
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await self._on_message(socket, json.loads(frame.data))
                self._wake()
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    async def _on_message(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message["type"] == "bars.subscribe":
            history = self._history(message["history"], state=message.get("state", False))
            self.sockets.append(socket)  # whatever closes from here on comes after the history
            await socket.send_json(history)
        elif message["type"] == "ready":
            self.first_ready = message["bar"] if self.first_ready is None else self.first_ready
        elif message["type"] == "events.subscribe":
            self.sockets.append(socket)
        elif message["type"] == "intent":
            if not self.storing:
                return
            if self.paused:
                await socket.send_json(
                    {"type": "intent.refused", "key": message["key"], "code": "paused", "message": ""}
                )
                return
            if message["key"] not in [intent["key"] for intent in self.intents]:
                self.intents.append(message)
                if "state" in message:
                    self.state = message["state"], message["bar"]
            self.last_decided = message["bar"]
            if self.answering:
                answer = {"key": message["key"], "state": "done", "decisions": [], "orders": []}
                with suppress(ConnectionError):
                    await socket.send_json({"type": "intent.accepted", **answer})

    def _decided(self) -> int | None:
        """As the gateway has it: before the first decision, the newest bar when a worker was first ready."""
        return self.first_ready if self.last_decided is None else self.last_decided

    def _history(self, count: int, *, state: bool) -> dict[str, Any]:
        seen = self.state[1] if self.state is not None else self._decided()
        if state and seen is not None:
            count += self.closed - 1 - (seen - FIRST) // HOUR
        kept = {"state": self.state and self.state[0], "state_bar": self.state and self.state[1]} if state else {}
        numbers = range(max(self.closed - count, 0), self.closed)
        return kept | {
            "type": "bars.history",
            "last_decided": self._decided(),
            "missed_bars": self.missed_bars,
            "times": [FIRST + number * HOUR for number in numbers],
            "bars": {symbol: [self._bar(number)[symbol] for number in numbers] for symbol in self.symbols},
        }

    def _bar(self, number: int) -> dict[str, list[float] | None]:
        """One bar of each symbol that is listed by then; the second one runs three bars ahead of the first."""
        return {
            symbol: self._ohlcv(number + 3 * place) if number >= self.listed.get(symbol, 0) else None
            for place, symbol in enumerate(self.symbols)
        }

    def _ohlcv(self, number: int) -> list[float]:
        return [price(number - 1), price(number) + 1, price(number) - 1, price(number), 1.0]

    async def _close(self, more: dict[str, Any]) -> None:
        number, self.closed = self.closed, self.closed + 1
        await self._broadcast({"type": "bar", "time": FIRST + number * HOUR, "bars": self._bar(number), **more})

    async def _broadcast(self, message: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            with suppress(ConnectionError):  # it is leaving
                await socket.send_json(message)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


@pytest.fixture
def gateway() -> Iterator[Scripted]:
    server = Scripted()
    server.start()
    yield server
    server.stop()


def write_notebook(path: Path, cells: list[tuple[str, str]]) -> Path:
    """A notebook of code cells, each with a tag (or none) and its source."""
    notebook = nbformat.v4.new_notebook()
    for tag, source in cells:
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata["tags"] = [tag] if tag else []
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook into the test's folder: the sma contract, or the given cells."""

    def write(*cells: tuple[str, str], name: str = "sma.ipynb") -> Path:
        return write_notebook(tmp_path / name, list(cells) or CONTRACT)

    return write
