"""Toxics on every link of a gateway while orders flow: afterwards everybody agrees on what happened.

A cell is a toxic, a link and a direction. Eight of the 80 run always; `CASHUP_PROOF_SCALE=10` runs all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.api.server import listen as listen_at
from cashup.api.server import make_server
from cashup.bootstrap import open_gateway
from cashup.client import Socket
from cashup.errors import Unavailable
from cashup.exchanges.rules import gate_market
from cashup.settings import Settings
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from tests.faults.checker import Checker
from tests.faults.house import House, build
from tests.faults.proxy import (
    DOWN,
    UP,
    Bandwidth,
    Latency,
    LimitData,
    Link,
    Piece,
    Proxy,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)
from tests.faults.scale import NIGHTLY
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.test_gateway import BTC, ETH, START, bars
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

TOXICS: dict[str, Callable[[str], Toxic]] = {
    "latency": lambda way: Latency(0.2, 0.1, way),
    "bandwidth": lambda way: Bandwidth(20_000, way),
    "slicer": lambda way: Slicer(7, 0.0005, way),
    "limit_data": lambda way: LimitData(3_000, way),
    "timeout": lambda way: Timeout(way),
    "reset_peer": lambda way: ResetPeer(after=True, direction=way),
    "slow_close": lambda way: SlowClose(1.0, way),
    "down": lambda way: ResetPeer(direction=way),
}
LINKS = ("venue http", "venue websocket", "postgres", "redis", "worker")
ALL = tuple(itertools.product(TOXICS, LINKS, (UP, DOWN)))
SMOKE = (
    ("latency", "venue http", DOWN),
    ("bandwidth", "worker", UP),
    ("slicer", "venue websocket", DOWN),
    ("limit_data", "postgres", DOWN),
    ("timeout", "venue http", DOWN),
    ("reset_peer", "postgres", UP),
    ("slow_close", "redis", DOWN),
    ("down", "worker", DOWN),
)
SECONDS = 30.0 if NIGHTLY else 2.0
"""How long a toxic works."""


@dataclass
class Part:
    """A toxic for the venue's WebSocket only, or for its HTTP only, or (None) for everything; counts what it struck."""

    inner: Toxic
    websocket: bool | None
    upgraded: set[int]
    struck: int = 0

    @property
    def direction(self) -> str:
        """The inner one's."""
        return self.inner.direction

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        """What the inner one makes of it, on its part."""
        if self.websocket is not None and (id(link) in self.upgraded) != self.websocket:
            return pieces
        self.struck += 1
        return self.inner.spoil(pieces, link)


@dataclass
class Upgrades:
    """Notes which connections become WebSockets; changes nothing."""

    upgraded: set[int]
    direction: str = UP

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        """The same pieces."""
        if any(b"upgrade: websocket" in data.lower() for _, data in pieces):
            self.upgraded.add(id(link))
        return pieces


@dataclass
class Network:
    """A gateway all of whose connections pass a proxy."""

    database: AsyncEngine
    simulator: Simulator
    proxies: dict[str, Proxy]
    upgraded: set[int]
    house: House

    def proxy(self, link: str) -> Proxy:
        """The proxy of a link."""
        return self.proxies["venue" if link.startswith("venue") else link]

    async def poison(self, toxic: Toxic, link: str) -> int:
        """Spoil a link for a while; how often it was struck.

        What was swallowed leaves its connection useless, so all of them then break off.
        """
        proxy = self.proxy(link)
        part = Part(toxic, link == "venue websocket" if link.startswith("venue") else None, self.upgraded)
        toxics = [part, toxic] if isinstance(toxic, SlowClose) else [part]  # the proxy itself looks for a slow close
        proxy.toxics.extend(toxics)
        await asyncio.sleep(SECONDS / 2)
        if isinstance(toxic, SlowClose):
            self.hang_up(part)
        await asyncio.sleep(SECONDS / 2)
        for there in toxics:
            proxy.toxics.remove(there)
        proxy.cut()
        return part.struck

    def hang_up(self, part: Part) -> None:
        """One end of each connection closes, which the other end shall learn late."""
        for link in [link for proxy in self.proxies.values() if part in proxy.toxics for link in proxy.links]:
            if part.websocket in (None, id(link) in self.upgraded):
                (link.server if part.direction == DOWN else link.client).write_eof()

    async def book(self) -> VenueBook:
        """What the venue holds."""
        return simulator_book(self.simulator.control.book({}), "main", self.simulator.limits.violations)

    async def one(self, query: str) -> Any:
        """The value of a query, on a way around the proxies."""
        async with self.database.connect() as connection:
            return (await connection.execute(text(query))).scalar_one()

    async def settle(self) -> None:
        """Wait until nothing is on its way and the account is traded."""
        waiting = (
            "SELECT (SELECT count(*) FROM intents WHERE finished_at IS NULL)"
            " + (SELECT count(*) FROM orders WHERE state IN ('pending_send', 'sending', 'unknown'))"
            " + (SELECT count(*) FROM orders WHERE reported > traded)"
            " + (SELECT count(*) FROM inbox WHERE NOT applied)"
            " + (SELECT count(*) FROM account_leases WHERE state <> 'ready')"
        )

        async def rest() -> bool:
            return await self.one(waiting) == 0

        await until(rest, 120)


@asynccontextmanager
async def open_network(database: AsyncEngine, database_url: str, redis_url: str, home: Path) -> AsyncIterator[Network]:
    """A gateway with a running deployment, and proxies around it that do nothing yet."""
    sockets = Path(database_url.partition("host=")[2])
    venue = Venue(Tape(bars()), {symbol: gate_market(symbol) for symbol in (BTC, ETH)}, start=START)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(venue))
        listening = stack.enter_context(listen_at("127.0.0.1", 0))
        proxies = {
            "venue": Proxy(simulator.port),
            "postgres": Proxy(sockets / ".s.PGSQL.5432", listen=home / ".s.PGSQL.5432"),
            "redis": Proxy(Path(redis_url.removeprefix("unix://")), listen=home / "redis.sock"),
            "worker": Proxy(listening.getsockname()[1]),
        }
        upgraded: set[int] = set()
        proxies["venue"].toxics.append(Upgrades(upgraded))
        for proxy in proxies.values():
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        settings = Settings(
            home=home / "home",
            database_url=database_url.replace(str(sockets), str(home)),  # type: ignore[arg-type]
            redis_url=f"unix://{home / 'redis.sock'}",  # type: ignore[arg-type]
        )
        gateway = await stack.enter_async_context(open_gateway(settings))
        server = make_server(gateway)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        customer = venue.accounts.create("main", {"USDT": Decimal(1000)})
        url = proxies["worker"].url
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            keys = {"key": customer.key, "secret": customer.secret}
            house = await build(gateway, url, http, proxies["venue"].url, keys)
        yield Network(database, simulator, proxies, upgraded, house)
        server.should_exit = True
        await serving


async def work(house: House, over: asyncio.Event) -> int:
    """Orders one after the other until it is `over`, as a worker asks for them; how many were asked for."""
    socket: Socket | None = None
    number = 0
    while not over.is_set() or number < 10:
        number += 1
        answered = False
        while not answered:
            try:
                socket = socket or await Socket.connect(house.url, house.tokens["worker"] or "", timeout=3)
                await socket.send({"type": "order.place", "key": f"n{number}", "order": order(number)})
                answered = await _answer(socket, f"n{number}")
            except (Unavailable, TimeoutError, OSError):
                if socket is not None:
                    with suppress(Unavailable, OSError):
                        await socket.close()
                socket = None
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)
    if socket is not None:
        await socket.close()
    return number


def order(number: int) -> dict[str, str]:
    """Every third order rests, the others fill at once."""
    if number % 3:
        return {"symbol": BTC, "side": "buy", "type": "market", "cost": "3"}
    return {"symbol": BTC, "side": "buy", "quantity": "0.03", "price": "100"}


async def _answer(socket: Socket, key: str) -> bool:
    async with asyncio.timeout(5):
        while True:
            message = await socket.receive()
            if message["type"] in ("intent.accepted", "intent.refused") and message["key"] == key:
                return True


@pytest.mark.parametrize(("toxic", "link", "way"), ALL if NIGHTLY else SMOKE)
async def test_after_a_toxic_everybody_agrees(
    toxic: str, link: str, way: str, database: AsyncEngine, database_url: str, redis_url: str
) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cn-"))  # short: sockets lie in it
        network = await stack.enter_async_context(open_network(database, database_url, redis_url, Path(folder)))
        over = asyncio.Event()
        working = asyncio.create_task(work(network.house, over))
        await asyncio.sleep(0.3)
        struck = await network.poison(TOXICS[toxic](way), link)
        over.set()
        async with asyncio.timeout(120):
            asked = await working
        assert struck > 0
        await network.settle()
        assert await network.one("SELECT count(*) FROM intents WHERE key LIKE 'n%'") <= asked
        assert await network.one("SELECT count(*) = count(DISTINCT key) FROM intents")
        assert await network.one("SELECT count(*) FROM orders WHERE state = 'filled'") >= 2
        assert await Checker(database, "main", network.book).check_at_rest() == []


def test_the_smoke_cells_know_every_toxic_every_link_and_both_ways() -> None:
    assert len(ALL) == 80
    assert set(SMOKE) <= set(ALL)
    assert [len({cell[part] for cell in SMOKE}) for part in range(3)] == [len(TOXICS), len(LINKS), 2]
