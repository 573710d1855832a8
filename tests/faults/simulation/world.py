"""One seed: gateways, a venue, strategies and everything that can go wrong, from the first order to the last.

First the safety phase: strategies ask for positions, and people trade by hand beside them, while faults strike and
gateways die, freeze and replace each other; what must always hold is checked throughout. Then everything heals, and
within `REST_SECONDS` all must be at rest: every intent carried out, every order's fate known, the books equal to the
venue to the last digit.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from cashup.errors import StorageError, Unavailable
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.monitoring.tasks import end
from cashup.storage.database import create_engine
from cashup.trading.funding import Funding
from cashup.types import Millis
from tests.faults.checker import Checker
from tests.faults.rules import BY_THE_CLOCK
from tests.faults.simulation.clock import SimulatedClock
from tests.faults.simulation.gateway import Gateway, Marks
from tests.faults.simulation.loop import Life, SimulatedLoop
from tests.faults.simulation.operator import Operator
from tests.faults.simulation.strategy import BTC, ETH, Strategy
from tests.faults.simulation.tables import deploy, empty, spans_of_unknown, unrest
from tests.faults.simulation.trader import Trader
from tests.faults.simulation.trouble import Trouble
from tests.faults.simulation.venue import SimulatedExchange, SimulatedVenue, Weather
from tests.faults.simulation.wire import Server
from tests.faults.venue_book import VenueBook, paper_book

START: Millis = 1_735_689_600_000
PRICES = {BTC: Decimal(50_000), ETH: Decimal(2_000)}
ACCOUNT = "main"
DEPLOYMENTS = ("carry", "trend")
CAPITAL = Decimal(10_000)
LIMITS = {
    "max_order_notional": "4500",
    "max_position_notional": "6000",
    "max_gross_exposure": "0.9",
    "max_open_orders": 6,
}
REST_SECONDS = 120.0
ANSWER_SECONDS = 20.0
TAKEOVER_SECONDS = 15.0
"""How long it may take after a death until another gateway is there, has the lease and has begun."""

LONGEST_SECONDS = 3_600.0
"""After so long the strategies stop, however few orders there were."""

CRASH_STEPS = 6_000
"""About how many steps a gateway lives."""


@dataclass(frozen=True)
class Outcome:
    """What a seed gave. Times are virtual seconds: `rest` from the healing on, `unknown` of each UNKNOWN order,
    less the time in which the venue was in maintenance or no gateway held the lease: nobody can find it out then."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    orders: int
    statements: int
    seconds: float
    rest: float
    unknown: tuple[float, ...]
    faults: Counter[str]


class World:
    """Everything of one seed. `note` is called with every line of the trace."""

    def __init__(self, seed: int, url: str, orders: int, note: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.gateways: list[Gateway] = []
        self._orders = orders
        self._url = url
        self._tell = note
        self._hash = hashlib.blake2b(digest_size=16)
        self._faults: Counter[str] = Counter()
        self._violations: list[str] = []
        self._mortal = False
        self._outages: list[tuple[Millis, Millis]] = []
        self._context = copy_context()
        self._crashes = self.chance("crashes")
        self._buried: list[Gateway] = []
        self._gone: set[str] = set()
        self.loop = SimulatedLoop(self.chance("order of steps"), self.note)
        self._clock = SimulatedClock(self.loop.time, START)
        self._server = self._open_server()
        self.venue = self._open_venue()
        self._marks = Marks(self.venue.paper)

    def _open_server(self) -> Server:
        pace = self.chance("database")
        socket = self._url.partition("host=")[2] + "/.s.PGSQL.5432"
        server = Server(self.loop, socket, self._clock.now, lambda: pace.expovariate(1_000), self.note)
        self.loop.connect = server.connect
        self.loop.before_step = self._before_step
        return server

    def _open_venue(self) -> SimulatedVenue:
        paper = PaperVenue([gate_market(symbol) for symbol in PRICES], self._clock)
        for symbol, price in PRICES.items():
            paper.move(symbol, price)
        balances = {"USDT": Decimal(25_000), "BTC": Decimal("0.5")}
        return SimulatedVenue(paper, balances, self.chance("network"), self.note, self.complain)

    def run(self) -> Outcome:
        """Live through the seed."""
        try:
            return self.loop.run_until_complete(self.loop.create_task(self._live(), context=self._context))
        finally:
            self._take_apart()

    # -- the course of things ---------------------------------------------------------------------------------------

    async def _live(self) -> Outcome:
        self.database = create_engine(self._url)
        # The gateways' clocks differ, so what compares their times cannot be asked for.
        self._checker = Checker(self.database, ACCOUNT, self._book, clock=self._clock, without=BY_THE_CLOCK)
        await self._prepare()
        self.venue.weather = Weather.drawn(self.chance("weather"))
        self._mortal = True
        operator = Operator(self, self.database, self._clock, self.chance("operator"))
        trouble = [
            self.loop.create_task(Trouble(self, self.chance("trouble")).run()),
            self.loop.create_task(operator.run(DEPLOYMENTS, ACCOUNT)),
        ]
        drivers = [Strategy(self, name, self.chance(name)) for name in DEPLOYMENTS]
        drivers += [Trader(self, name, self.chance(f"{name} by hand")) for name in DEPLOYMENTS]
        asking = [self.loop.create_task(driver.run()) for driver in drivers]
        while self.trading:
            await asyncio.sleep(10)
            await self._check()
        await end(*trouble)
        healed = self._heal()
        await operator.lift()
        _, waiting = await asyncio.wait(asking, timeout=REST_SECONDS)
        rest = await self._rest(healed)
        self._violations += [f"liveness: {task.get_coro()!r} was never answered" for task in sorted(waiting, key=hash)]
        for task in asking:
            if task.done():
                task.result()
        await self._check(at_rest=True)
        unknown = tuple(self._beside_outages(*span) for span in await spans_of_unknown(self.database))
        found = (*self._violations, *self.loop.unhandled)
        orders, statements = len(self.venue.received), self._server.statements
        return Outcome(
            self.seed, found, self._hash.hexdigest(), orders, statements, self.loop.time(), rest, unknown, self._faults
        )

    async def _prepare(self) -> None:
        """Empty tables, two deployments on one account, their capital booked by a first gateway."""
        await empty(self.database)
        self.start_gateway()
        for name in DEPLOYMENTS:
            await deploy(self.database, name, ACCOUNT, CAPITAL, LIMITS)
            funding = Funding(name, CAPITAL, "USDT", {"limits": LIMITS})
            await self.ask(lambda gateway, funding=funding: gateway.engine.fund(ACCOUNT, funding))

    @property
    def trading(self) -> bool:
        """True while not enough orders have reached the venue, and there is hope that they will."""
        return len(self.venue.received) < self._orders and self.loop.time() < LONGEST_SECONDS

    def _heal(self) -> float:
        """From now on nothing goes wrong any more; the time at which that was."""
        self.note("everything heals")
        self._mortal = False
        self.venue.weather = Weather()
        self.venue.down_until = 0.0
        self.venue.break_streams()
        for gateway in self.gateways:
            gateway.clock.wrong_by = 0
            self.loop.resume(gateway.life)
        if not self.gateways:
            self.start_gateway()
        return self.loop.time()

    async def _rest(self, healed: float) -> float:
        """Wait until all is at rest; how long it took since `healed`."""
        while found := await unrest(self.database):
            if self.loop.time() - healed > REST_SECONDS:
                self._violations += [f"liveness: {REST_SECONDS:.0f} s after all was well: {what}" for what in found]
                break
            await asyncio.sleep(0.5)
        return self.loop.time() - healed

    async def _check(self, *, at_rest: bool = False) -> None:
        found = await (self._checker.check_at_rest() if at_rest else self._checker.check_always())
        found += [f"I1: order {i} was sent {len(at)} times" for i, at in self.venue.received.items() if len(at) > 1]
        for what in found:
            self.complain(what)

    async def _book(self) -> VenueBook:
        return paper_book(self.venue.account)

    # -- gateways ---------------------------------------------------------------------------------------------------

    def start_gateway(self) -> None:
        """A new process."""
        number = len(self.gateways) + len(self._buried) + 1
        clock = SimulatedClock(self.loop.time, START)
        exchange = SimulatedExchange(self.venue, clock, self.chance(f"port {number}"), self._context)
        gateway = Gateway.open(
            number,
            self._url,
            clock,
            exchange,
            self._marks,
            self._gone,
            self.chance(f"ids {number}"),
            crash_at=round(self._crashes.expovariate(1 / CRASH_STEPS)),
        )
        self.gateways.append(gateway)
        self.note(f"gateway {number} starts")
        gateway.do(gateway.engine.start())

    def pause(self, gateway: Gateway, seconds: float) -> None:
        """`kill -STOP`, and `kill -CONT` some seconds later; not amid a transaction, which nobody could pass."""
        if self._server.holder in gateway.life.wires:
            return
        self.note("fault: pause")
        self.outage(seconds + TAKEOVER_SECONDS)
        gateway.life.paused = True
        self.loop.call_later(seconds, self._resume, gateway, context=self._context)

    def _resume(self, gateway: Gateway) -> None:
        if not gateway.life.dead:
            self.loop.resume(gateway.life)

    def _before_step(self, life: Life) -> None:
        gateway = next(each for each in self.gateways if each.life is life)
        if self._mortal and life.steps >= gateway.crash_at:
            self._crash(gateway)

    def _crash(self, gateway: Gateway) -> None:
        """`kill -9`. Whether its lease is taken over at once depends on whether its machine can be asked."""
        self.note("fault: crash")
        self.outage(TAKEOVER_SECONDS)
        gateway.life.dead = True
        if self._crashes.random() < 0.7:
            self._gone.add(gateway.holder.name)
        for wire in gateway.life.wires:
            wire.cut()
        self.venue.forget(gateway.exchange.streams)
        self.gateways.remove(gateway)
        self._buried.append(gateway)
        gateway.ended.set()

    async def ask(self, question: Callable[[Gateway], Awaitable[Any]]) -> Any:
        """Ask one gateway after the other until one answers; raises what it answers."""
        random = self._crashes
        gateway: Gateway | None = None  # one that did not answer, as one does not that waits for the lease
        while True:
            awake = [gateway for gateway in self.gateways if not gateway.life.paused]
            if awake:
                gateway = random.choice([each for each in awake if each is not gateway] or awake)
                task = gateway.do(question(gateway))
                ended = self.loop.create_task(gateway.ended.wait())
                await asyncio.wait([task, ended], timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if task.done():
                    try:
                        return task.result()
                    except (Unavailable, StorageError, SQLAlchemyError, OSError) as error:
                        self.note(f"gateway {gateway.number} answers: {type(error).__name__}")
                task.cancel()
            await asyncio.sleep(random.uniform(0.1, 0.5))

    # -- the trace --------------------------------------------------------------------------------------------------

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self._hash.update(line.encode() + b"\n")
        if line.startswith("fault: "):
            self._faults[line[7:].partition(" by ")[0].partition(" of ")[0]] += 1
        if self._tell is not None:
            self._tell(line)

    def outage(self, seconds: float) -> None:
        """For so long nobody can find out what became of an order."""
        now = self._clock.now()
        self._outages.append((now, now + round(seconds * 1000)))

    def _beside_outages(self, since: Millis, until: Millis) -> float:
        """The seconds between two moments that lie in no outage."""
        seconds, at = 0, since
        for began, ended in sorted(self._outages):
            seconds += max(0, min(began, until) - at)
            at = max(at, min(ended, until))
        return (seconds + max(0, until - at)) / 1000

    def complain(self, what: str) -> None:
        """A rule is broken."""
        self.note(f"VIOLATION {what}")
        if what not in self._violations:
            self._violations.append(what)

    def chance(self, purpose: str) -> Random:
        """A stream of chance of its own, so that a draw more in one place changes nothing in another."""
        return Random(f"{self.seed} {purpose}")

    def _take_apart(self) -> None:
        """End every task, also of the dead, so that nothing of this seed runs in the next one."""
        self._tell = None
        self._server.close()
        for gateway in (*self.gateways, *self._buried):
            self.loop.resume(gateway.life)
        self.loop.end()
