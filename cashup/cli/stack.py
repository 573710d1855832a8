"""A whole CashUp on a simulated venue, each part as its own process: what the demo, the tests and the benchmarks drive.

simulator (lockstep) <-> gateway <-> supervisor -> worker -> kernel, with this process as the driver that opens the next
bar when the deployment has reported the last one done. Any part may be killed at any bar.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cashup.cli.ports import free_port
from cashup.cli.process import Process
from cashup.errors import WorkFailed
from cashup.types import Millis

if TYPE_CHECKING:
    from cashup.client import Client
    from cashup.simulator.lockstep import ControlClient

LOOK_EVERY = 2.0
"""Seconds without an event after which the processes are looked at."""

OnStep = Callable[["Stack", Mapping[str, Any]], None]
"""Called after every step of the market with the simulator's state; it may kill parts of the stack."""


@dataclass(frozen=True, slots=True)
class Market:
    """What the simulator replays from the lake under `home`: bars of `exchange`, the first open one at `start`.

    With `rate_limit` it enforces Gate's limits; without, a market that is driven fast is never slowed by them.
    """

    symbols: Sequence[str]
    timeframe: str
    start: str
    end: str | None = None
    exchange: str = "gate"
    fee: str = "0.001"
    rate_limit: bool = False


@dataclass(slots=True)
class Lap:
    """How a drive through the market went. `steps` bars closed in `seconds`."""

    steps: int = 0
    seconds: float = 0.0
    last: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bars_per_second(self) -> float:
        """The speed of the whole loop."""
        return self.steps / self.seconds if self.seconds else 0.0


class Stack:
    """The processes of one home. Leaving the block stops all of them, the supervisor first."""

    def __init__(self, home: Path, market: Market, *, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.market = market
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_password = ""
        self.venue_url = ""
        self.env = {
            "CASHUP_HOME": str(home),
            "CASHUP_PORT": str(self.port),
            "CASHUP_GATEWAY_URL": self.url,
            **(env or {}),
        }
        self._control_file = home / "run" / "simulator.json"
        self.lap = Lap()
        self._client: Client | None = None
        self._exit = ExitStack()
        self.simulator = self._process("simulator", self._simulator_arguments())
        self.gateway = self._process("gateway", ["gateway", "--json"])
        self.supervisor = self._process("supervisor", ["live", "up", "--no-files"])

    def __enter__(self) -> Self:
        """Start simulator and gateway, and log in as the first admin."""
        try:
            self._open()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def client(self) -> Client:
        """A client that is logged in as the first admin."""
        if self._client is None:
            raise WorkFailed("the stack is not running")
        return self._client

    def _open(self) -> None:
        from cashup.client import Client, save_token
        from cashup.settings import Settings

        (self.home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._exit.callback(self.simulator.stop)
        self.venue_url = str(self.simulator.start().ready["url"])
        self._exit.callback(self.gateway.stop)
        self.admin_password = str(self.gateway.start().ready["admin_password"])
        self._client = self._exit.enter_context(Client(self.url))
        token = self._client.login("admin", self.admin_password)["access_token"]
        save_token(Settings(home=self.home, gateway_url=self.url), token)

    def _process(self, name: str, arguments: Sequence[str]) -> Process:
        return Process(name, arguments, log=self.home / "logs" / f"{name}.log", env=self.env)

    def _simulator_arguments(self) -> list[str]:
        market = self.market
        words = ["simulator", *market.symbols, "--lockstep", "--port", "0", "--json"]
        words += ["--timeframe", market.timeframe, "--exchange", market.exchange, "--start", market.start]
        words += ["--fee", market.fee, "--control-file", str(self._control_file)]
        words += ["--rate-limit" if market.rate_limit else "--no-rate-limit"]
        return words + (["--end", market.end] if market.end else [])

    # --- what runs -------------------------------------------------------------------------------------------------

    def add_account(self, name: str, balances: Mapping[str, str]) -> dict[str, Any]:
        """A customer of the venue with a deposit, and the account of it at the gateway; the venue's key and secret."""
        customer: dict[str, Any] = asyncio.run(self._ask("account.create", name=name, balances=dict(balances)))
        account = {"name": name, "exchange": "gate", "mode": "sandbox", "base_url": self.venue_url}
        self.client.add_account(account | {"key": customer["key"], "secret": customer["secret"]})
        return customer

    def deploy(
        self, name: str, notebook: Path, *, account: str, capital: str, params: Mapping[str, Any] | None = None
    ) -> None:
        """Wish `notebook` to run on `account`, and start the supervisor that makes it so."""
        from cashup.workers.deployment import DeploymentFile, freeze_spec

        versions = self.home / "versions"
        file = DeploymentFile.model_validate(
            {"notebook": str(notebook.resolve()), "account": account, "capital": capital, "parameters": params or {}}
        )
        spec = file.to_spec(Path("/"), name, versions)
        freeze_spec(spec, versions)
        self.client.put_deployment(name, spec)
        self.client.start(name)
        self.supervise()

    def supervise(self) -> None:
        """Start the supervisor, unless it was started before."""
        if self.supervisor.exit_code is None and not self.supervisor.started:
            self._exit.callback(self.supervisor.stop)
            self.supervisor.start(announces=False)

    def open_dashboards(self, notebook: Path) -> str:
        """Start the dashboards as well; their address."""
        dashboards = self._process("dashboards", ["dashboards", str(notebook), "--port", "0", "--json"])
        self._exit.callback(dashboards.stop)
        return str(dashboards.start().ready["url"])

    def wait_until_ended(self, name: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until the worker of a deployment that shall stop has ended; its attempt as the gateway has it."""
        deadline = time.monotonic() + seconds
        while (attempt := self.client.deployment(name)["attempt"]) is not None and attempt["finished_at"] is None:
            if time.monotonic() > deadline:
                raise WorkFailed(f"the worker of {name} has not stopped within {seconds:.0f} s")
            time.sleep(0.05)
        return dict(attempt or {})

    def book(self) -> dict[str, Any]:
        """What the venue holds: balances, orders and trades per account."""
        return asyncio.run(self._ask("book"))

    async def _ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        async with self.control() as control:
            answer: dict[str, Any] = await control.request(kind, **fields)
        return answer

    def control(self) -> ControlClient:
        """A client of the simulator's control channel, not yet connected."""
        from cashup.simulator.lockstep import ControlClient

        control = json.loads(self._control_file.read_text())
        return ControlClient(control["control"], control["token"])

    # --- driving ---------------------------------------------------------------------------------------------------

    def drive(self, deployments: Sequence[str], *, until: Millis | None = None, on_step: OnStep | None = None) -> Lap:
        """Let the market run until bar `until` is processed (default: to its end).

        Raises WorkFailed when a deployment gives up or a process ends by itself.
        """
        return asyncio.run(self._drive(deployments, until, on_step))

    async def _drive(self, deployments: Sequence[str], until: Millis | None, on_step: OnStep | None) -> Lap:
        from cashup.client import watch_events
        from cashup.simulator.lockstep import Lockstep

        lap = self.lap = Lap()
        started = time.monotonic()

        def progress(state: Mapping[str, Any]) -> None:
            nonlocal started
            if not lap.steps:
                started = time.monotonic()  # until the first step everybody was starting
            lap.steps += 1
            lap.seconds = time.monotonic() - started
            lap.last = state
            if on_step is not None:
                on_step(self, state)

        streams = [f"deployment:{name}" for name in deployments]
        events = watch_events(self.url, lambda: self.client.token, streams, after=0)
        async with self.control() as control:
            lockstep = Lockstep(control, deployments, until=until, progress=progress)
            finished = await lockstep.run(self._watched(events))
        lap.seconds = time.monotonic() - started
        if not finished:
            raise WorkFailed("the events ended before the market did")
        return lap

    async def _watched(self, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """`events`, as long as everything that makes them is alive."""
        coming = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=LOOK_EVERY)
                self._look()
                if not done:
                    continue
                event = coming.result()
                _refuse_failure(event)
                yield event
                coming = asyncio.ensure_future(anext(events))
        finally:
            coming.cancel()

    def _look(self) -> None:
        for process in (self.simulator, self.gateway, self.supervisor):
            if process.exit_code is not None:
                raise process.failure()

    # --- breaking --------------------------------------------------------------------------------------------------

    def crash_gateway(self) -> None:
        """kill -9 the gateway, and start it again on the same port."""
        self.gateway.kill()
        self.gateway.start()

    def crash_worker(self) -> list[int]:
        """kill -9 every worker and its kernel; the supervisor starts them again. The process ids that were killed."""
        killed = []
        for process in self.worker_processes():
            process.kill()
            killed.append(int(process.pid))
        return killed

    def worker_processes(self) -> list[Any]:
        """The workers and their kernels as psutil processes: the supervisor's children, or forks of its templates."""
        import psutil

        parents = [
            process for process in psutil.process_iter(["cmdline"]) if self._is_template(process.info["cmdline"])
        ]
        with suppress(psutil.NoSuchProcess):
            parents.append(psutil.Process(self.supervisor.pid))
        found = set()  # a template may be a child of the supervisor itself
        for parent in parents:
            with suppress(psutil.NoSuchProcess):
                children = {child: _words_of(child) for child in parent.children(recursive=True)}
                found |= {child for child, words in children.items() if words and not self._is_template(words)}
        return list(found)

    def _is_template(self, words: Sequence[str] | None) -> bool:
        return words is not None and "cashup.workers.template" in words and words[-1].startswith(f"{self.home}/")


def _words_of(process: Any) -> Sequence[str]:
    """The command line of a process; none of one that has ended and waits to be buried."""
    import psutil

    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def _refuse_failure(event: Mapping[str, Any]) -> None:
    data = event["data"]
    if event["kind"] == "deployment_changed" and (data["desired"], data["state"]) == ("stopped", "failed"):
        raise WorkFailed(f"{data['deployment']} gave up; its log under logs/ says why")
