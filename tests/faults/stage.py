"""The stage of the model: the simulation's world, in which nothing happens but what a rule says."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import text

from cashup.errors import CashUpError, Conflict, NotFound
from cashup.storage.database import create_engine
from cashup.trading.commands import By
from cashup.trading.halts import Halts, Scope, TradingState
from cashup.trading.intents import Request
from cashup.trading.kill import Kill, KillSwitch
from cashup.trading.requests import OrderIntent, parse_cancel
from cashup.types import OrderReport, OrderRequest, OrderType, SendResult, Side, Symbol, TimeInForce
from tests.faults.checker import Checker
from tests.faults.rules import i12_no_fate_is_unknown_for_long
from tests.faults.simulation.gateway import Gateway
from tests.faults.simulation.strategy import BTC, ETH
from tests.faults.simulation.tables import unrest
from tests.faults.simulation.venue import Weather
from tests.faults.simulation.world import ACCOUNT, DEPLOYMENTS, REST_SECONDS, World

PATIENCE_SECONDS = 2.0
"""How long a rule waits for an answer before it lets the next one happen (virtual)."""

RESTING = (
    "SELECT deployment, client_order_id FROM orders WHERE state IN ('open', 'pending_cancel') AND deployment <> ''"
)
OPEN_ENDED = """
    SELECT client_order_id, type, side, state, reason, traded, reported FROM orders WHERE reported > traded
    OR state NOT IN ('filled', 'cancelled', 'rejected', 'rejected_local', 'not_placed', 'expired')
    """
LOOK_SECONDS = 10.0
"""How long it may take until the engine sees that a halt was lifted."""

ROUNDS = 3
"""How many bars a deployment has to sell what it holds: a sell by hand may hold a part of it back in the first."""

DUST = Decimal(10)
"""What may be left of a position when everything is sold, in quote currency."""


class Stage(World):
    """One example. Every method is one thing that happens; `said` collects what went against the rules."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(seed, url, orders=0)
        gc.disable()  # what is collected when is nobody's choice
        self.bars = dict.fromkeys(DEPLOYMENTS, 0)
        self.said: list[str] = []
        self._waiting: list[asyncio.Task[Any]] = []
        self._keys = 0
        self.happen(self._open())

    async def _open(self) -> None:
        self.database = create_engine(self._url)
        # There are outages here in which nobody could find out what became of an order.
        unjust = [i12_no_fate_is_unknown_for_long]
        self._checker = Checker(self.database, ACCOUNT, self._book, clock=self._clock, without=unjust)
        self._halts = Halts(self.database, self._clock)
        self._switch = KillSwitch(self.database, self._clock, self._halts)
        await self._prepare()

    def happen(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let something happen in the world, to its end."""
        return self.loop.run_until_complete(self.loop.create_task(work, context=self._context))

    def check(self) -> list[str]:
        """What may never be so and is."""
        found: list[str] = self.happen(self._checker.check_always())
        return [*found, *self.said, *self.loop.unhandled]

    # -- what people and strategies ask for -------------------------------------------------------------------------

    def submit(self, deployment: str, targets: dict[Symbol, Decimal | None]) -> Request:
        """The targets of the next bar."""
        self.bars[deployment] += 1
        bar = self.bars[deployment]
        request = Request(str(bar), bar, targets)
        self._ask(lambda gateway: gateway.engine.submit(deployment, 1, request))
        return request

    def repeat(self, deployment: str, request: Request) -> None:
        """The same again: the answer names the same orders, and more of them only when the intent went on."""

        async def twice() -> None:
            first = await self.ask(lambda gateway: gateway.engine.submit(deployment, 1, request))
            again = await self.ask(lambda gateway: gateway.engine.submit(deployment, 1, request))
            if again["orders"][: len(first["orders"])] != first["orders"] or again["key"] != first["key"]:
                self.said.append(f"I17: the same intent was answered with {first} and then with {again}")

        self._start(twice())

    def contradict(self, deployment: str, request: Request) -> None:
        """The same key with another body is refused, whenever it comes."""
        other = replace(request, targets={BTC: Decimal("0.77")})

        async def refused() -> None:
            await self.ask(lambda gateway: gateway.engine.submit(deployment, 1, request))
            try:
                await self.ask(lambda gateway: gateway.engine.submit(deployment, 1, other))
            except Conflict:
                return
            self.said.append(f"I17: the key {request.key} was taken for another body")

        self._start(refused())

    def command(self, deployment: str, make: Callable[[str], OrderIntent]) -> None:
        """An explicit order, a cancel or an amendment, under a key of its own."""
        self._keys += 1
        request = make(f"by hand {self._keys}")
        self._ask(lambda gateway: gateway.engine.command(deployment, request, By("ann")))

    def resting(self) -> list[tuple[str, str]]:
        """The explicit orders that rest, with their deployments."""
        return self.happen(self._rows(RESTING))  # type: ignore[no-any-return]

    def _ask(self, question: Callable[[Gateway], Awaitable[Any]]) -> None:
        async def insist() -> None:
            try:
                await self.ask(question)
            except CashUpError as error:
                self.note(f"refused: {error}")

        self._start(insist())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something, and give it a moment."""

        async def begin() -> None:
            task = self.loop.create_task(work, context=self._context)
            self._waiting.append(task)
            await asyncio.wait([task], timeout=PATIENCE_SECONDS)

        self.happen(begin())

    # -- what happens at the venue ----------------------------------------------------------------------------------

    def move(self, symbol: Symbol, bips: int, liquidity: Decimal | None) -> None:
        """The market moves by so many hundredths of a percent, and has only so much for takers, if that is said."""
        matcher = self.venue.paper.matchers[symbol]
        assert matcher.price is not None
        price = matcher.market.round_price(matcher.price * (1 + Decimal(bips) / 10_000))
        self._at_the_venue(lambda: self.venue.move(symbol, price, liquidity))

    def trade_outside(self, side: Side, number: int) -> None:
        """Somebody trades on the web site with what no deployment was given."""
        amount = {"cost": Decimal(100)} if side is Side.BUY else {"quantity": Decimal("0.01")}
        request = OrderRequest(f"web-{number}", BTC, side, OrderType.MARKET, **amount)  # type: ignore[arg-type]
        self._at_the_venue(lambda: self.venue.place(request))

    def rest_outside(self, number: int) -> None:
        """Somebody leaves an order on the web site, far from the market."""
        request = OrderRequest(
            f"web-{number}",
            BTC,
            Side.SELL,
            OrderType.LIMIT,
            quantity=Decimal("0.001"),
            price=Decimal(900_000),
            time_in_force=TimeInForce.GTC,
        )
        self._at_the_venue(lambda: self.venue.place(request))

    def _at_the_venue(self, work: Callable[[], Any]) -> None:
        async def at_once() -> None:
            work()

        self.happen(at_once())

    def outage_of(self, seconds: float) -> None:
        """The venue is down for a while."""
        self._at_the_venue(self.venue.break_streams)
        self.venue.down_until = self.loop.time() + seconds

    def silence(self, seconds: float) -> None:
        """No frame comes for a while, and nobody says so."""
        self._at_the_venue(lambda: self.venue.silence_streams(seconds))

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.happen(asyncio.sleep(seconds))

    # -- what happens to gateways -----------------------------------------------------------------------------------

    def open_gateway(self) -> None:
        """One more process, at most two."""
        if len(self.gateways) < 2:
            self._at_the_venue(self.start_gateway)

    def crash(self) -> None:
        """`kill -9` of the oldest, and a new one in its place a moment later."""
        self._at_the_venue(lambda: self._crash(self.gateways[0]))
        self.open_gateway()

    def stop(self) -> None:
        """The oldest ends as it should, and a new one takes over."""
        gateway = self.gateways[0]

        async def end() -> None:
            await asyncio.wait([gateway.do(gateway.engine.stop())], timeout=REST_SECONDS)

        if not gateway.life.paused:
            self.happen(end())
            self._at_the_venue(lambda: self._crash(gateway))
            self.open_gateway()

    def freeze(self, seconds: float) -> None:
        """`kill -STOP` of the oldest."""
        self._at_the_venue(lambda: self.pause(self.gateways[0], seconds))

    def steal_lease(self) -> None:
        """Somebody who is gone again has had the lease."""
        self.happen(self._write("UPDATE account_leases SET fence = fence + 1, holder = 'elsewhere/1/x', expires = 1"))

    # -- what an operator does --------------------------------------------------------------------------------------

    def kill(self, scope: Scope, name: str, *, flatten: bool) -> None:
        """The kill switch."""
        self.happen(self._switch.kill(Kill(scope, name, flatten=flatten), by="ann"))

    def unkill(self, scope: Scope, name: str) -> None:
        """Take a kill back, if there is one."""

        async def lift() -> None:
            try:
                await self._switch.unkill(scope, name, by="ann")
            except NotFound:
                self.note("nothing was killed")

        self.happen(lift())

    def reduce(self, deployment: str) -> None:
        """A loss limit latches: only what leads toward zero may be sent."""
        halted = (Scope.DEPLOYMENT, deployment, "daily_loss", TradingState.REDUCING, "it lost too much today")
        self.happen(self._halts.latch(*halted, by="system"))

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> list[str]:
        """All is well again: whatever was asked for is answered, positions are closed as asked, and all is equal."""
        self.happen(self._finish())
        return self.said

    async def _finish(self) -> None:
        self._heal()
        self._settle_the_market()
        await self._lift_everything()
        _, unanswered = await asyncio.wait(self._waiting or [asyncio.ensure_future(_nothing())], timeout=REST_SECONDS)
        self.said += [f"liveness: {len(unanswered)} questions were never answered"] if unanswered else []
        held: list[str] = []
        for _ in range(ROUNDS):
            await asyncio.sleep(LOOK_SECONDS)
            for deployment in DEPLOYMENTS:
                await self._sell_everything(deployment)
            if not await self._comes_to_rest():
                return
            rows = await self._rows("SELECT deployment, symbol, quantity + reserved FROM positions")
            held = [f"{row[0]} holds {row[2]} {row[1]}" for row in rows if row[2] * self._worth(row[1]) > DUST]
            if not held:
                break
        self.said += await self._checker.check_at_rest()
        self.said += [f"{ROUNDS} bars that asked for nothing were processed, and {what}" for what in held]

    async def _sell_everything(self, deployment: str) -> None:
        """A bar whose targets are all zero, whatever the targets were before."""
        self.bars[deployment] += 1
        bar = self.bars[deployment]
        request = Request(str(bar), bar, {BTC: Decimal(0), ETH: Decimal(0)}, rebalance=Decimal("0.0001"))
        await self.ask(lambda gateway: gateway.engine.submit(deployment, 1, request))

    async def _comes_to_rest(self) -> bool:
        """Wait until nothing is on its way; False when that takes too long."""
        began = self.loop.time()
        while found := await unrest(self.database):
            if self.loop.time() - began > REST_SECONDS:
                self.said += [f"liveness: {REST_SECONDS:.0f} s after all was well: {what}" for what in found]
                rows = await self._rows(OPEN_ENDED)
                self.said += [f"liveness: {' '.join(map(str, row))}" for row in rows]
                return False
            await self._cancel_what_rests()
            await asyncio.sleep(0.5)
        return True

    def _worth(self, symbol: str) -> Decimal:
        return self._marks.mark("gate", Symbol(symbol))

    async def _cancel_what_rests(self) -> None:
        """Each explicit order once, as soon as it is known to rest."""
        for deployment, order in await self._rows(RESTING):
            request = parse_cancel(f"at last {order}", order)
            await self.ask(lambda gateway, d=deployment, r=request: gateway.engine.command(d, r, By("ann")))

    def _settle_the_market(self) -> None:
        """There is enough for everybody, and nobody else's order rests any more."""
        for symbol, matcher in self.venue.paper.matchers.items():
            assert matcher.price is not None
            self.venue.move(symbol, matcher.price, None)
        for report in self.venue.account.reports():
            if not report.done and str(report.client_order_id).startswith("web"):
                self.venue.change("web cancel", partial(self._cancel_outside, report))

    def _cancel_outside(self, report: OrderReport) -> SendResult:
        return self.venue.account.cancel(report.symbol, report.exchange_order_id)

    async def _lift_everything(self) -> None:
        for halt in await self._halts.all():
            if halt.code == "kill":
                await self._switch.unkill(halt.scope, halt.name, by="ann")
            else:
                await self._halts.lift(halt.scope, halt.name, halt.code, by="ann")

    async def _rows(self, statement: str) -> list[Any]:
        async with self.database.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(statement))]

    async def _write(self, statement: str) -> None:
        async with self.database.begin() as connection:
            await connection.execute(text(statement))

    def close(self) -> None:
        """Take everything apart."""
        try:
            self._take_apart()
        finally:
            gc.enable()
            gc.collect()

    def calm(self) -> None:
        """Messages arrive again."""
        self.venue.weather = Weather()


async def _nothing() -> None:
    """Only to be waited for."""
