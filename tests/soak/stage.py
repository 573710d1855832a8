"""Where a soak plays: every process of CashUp, a fault proxy before the venue, and workers with their accounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.settings import Settings
from cashup.simulator.lockstep import ControlClient
from cashup.storage.database import create_engine
from cashup.storage.servers import Servers, open_servers
from tests.faults.proxy import Proxy
from tests.soak.passage import Passage
from tests.soak.worker import Worker

SYMBOLS = ("BTC/USDT", "ETH/USDT")
HOUR = 3_600_000
START = "2025-01-01"
HISTORY = 50
DEPLOYMENTS = {"soak-a": "first", "soak-b": "first", "soak-c": "second", "soak-d": "third", "soak-e": "third"}
"""Deployments and the accounts that they trade on."""

CAPITAL = "500000"
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "sma_cross.ipynb"


@dataclass
class Stage:
    """Everything that a fault can strike, and that a check can look at. `violations` are sentences, each once.

    `clock_was_wrong` says that the venue's clock was made wrong, at whatever time.
    """

    stack: Stack
    proxy: Proxy
    passage: Passage
    servers: Servers
    database: AsyncEngine
    control: ControlClient
    workers: list[Worker] = field(default_factory=list)
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    clock_was_wrong: bool = False
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A request to the simulator's control channel."""
        async with self._turn:
            return await self.control.request(kind, **fields)

    def complain(self, sentence: str) -> None:
        """Something is not as it must be."""
        if sentence not in self.violations:
            self.violations.append(sentence)

    @property
    def asked(self) -> int:
        """How much has been asked for."""
        return sum(len(worker.asked) for worker in self.workers)

    async def ready(self) -> bool:
        """True when the gateway trades every account."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                found = (await client.get(f"{self.stack.url}/health/trading")).json()
        except httpx.HTTPError:
            return False
        states = found["detail"].get("accounts", {})
        return len(states) == len(self.secrets) and set(states.values()) == {"ready"}

    async def knows(self) -> bool:
        """True when the fate of every order is known."""
        try:
            async with self.database.connect() as connection:
                return not await connection.scalar(text("SELECT count(*) FROM orders WHERE state = 'unknown'"))
        except (SQLAlchemyError, OSError):
            return False


@asynccontextmanager
async def open_stage(home: Path, bars: int) -> AsyncIterator[Stage]:
    """A stage on which everybody is ready and the market has `bars` to come; everything has ended when it is left."""
    await asyncio.to_thread(_store_bars, home, bars)
    async with AsyncExitStack() as exit_:
        servers = await asyncio.to_thread(open_servers, Settings(home=home, database_url=None, redis_url=None))
        exit_.callback(servers.close)
        stack = Stack(home, Market(SYMBOLS, "1h", START, rate_limit=True), env={"CASHUP_WARM": "0"})
        await asyncio.to_thread(stack.__enter__)
        exit_.callback(stack.__exit__, None, None, None)
        proxy, passage = Proxy(urlsplit(stack.venue_url).port or 0), Passage()
        proxy.toxics.append(passage)
        await proxy.start()
        exit_.push_async_callback(proxy.stop)
        database = create_engine(servers.database_url, application="soak", pool_size=2)
        exit_.push_async_callback(database.dispose)
        control = await exit_.enter_async_context(stack.control())
        stage = Stage(stack, proxy, passage, servers, database, control)
        for account in dict.fromkeys(DEPLOYMENTS.values()):
            await _open_account(stage, account)
        for name, account in DEPLOYMENTS.items():
            stage.workers.append(await asyncio.to_thread(_deploy, stage, name, account))
        yield stage


def _store_bars(home: Path, bars: int) -> None:
    lake = Lake(home / "lake")
    for seed, symbol in enumerate(SYMBOLS):
        start = parse_time(START) - HISTORY * HOUR
        store_generated(lake, "gate", symbol, "1h", start=start, bars=HISTORY + bars, seed=seed)


async def _open_account(stage: Stage, name: str) -> None:
    balances = {"USDT": "1500000", "BTC": "1", "ETH": "10"}
    customer = await stage.ask("account.create", name=name, balances=balances)
    keys = {"key": customer["key"], "secret": customer["secret"]}
    account = {"name": name, "exchange": "gate", "mode": "sandbox", "base_url": stage.proxy.url}
    await asyncio.to_thread(stage.stack.client.add_account, account | keys)
    stage.secrets[name] = (customer["key"], customer["secret"])


def _deploy(stage: Stage, name: str, account: str) -> Worker:
    client = stage.stack.client
    spec = {"notebook": str(NOTEBOOK), "account": account, "capital": CAPITAL, "symbols": list(SYMBOLS)}
    client.put_deployment(name, spec | {"timeframe": "1h"})
    client.start(name)
    return Worker(name, stage.stack.url, client.new_attempt(name).token, stage.complain)
