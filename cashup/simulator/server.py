"""The simulator as a server: one port for Gate's HTTP and WebSocket and for the control channel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Any

from aiohttp import web

from cashup.errors import Unavailable, UsageError
from cashup.simulator.call import PREFIX, Call
from cashup.simulator.control import Control
from cashup.simulator.faults.board import Fault, Faults, Layer
from cashup.simulator.faults.catalogue import KINDS
from cashup.simulator.faults.schedule import Schedule
from cashup.simulator.gatekeeper import Gatekeeper, Route
from cashup.simulator.limits import RateLimits
from cashup.simulator.past import Past
from cashup.simulator.refusals import Refusal
from cashup.simulator.register import Register
from cashup.simulator.rest_account import AccountApi
from cashup.simulator.rest_orders import OrderApi
from cashup.simulator.rest_public import PublicApi
from cashup.simulator.streams import Streams
from cashup.simulator.venue import Venue
from cashup.types import Millis


class Simulator:
    """A running simulator. `async with Simulator(venue) as simulator:` listens at `simulator.url`.

    `speed` replays that many bars per second from the first moment; None is lockstep: the market stands still until the
    control channel steps it. `port` 0 takes a free one. `trigger_text` writes countdown times as
    text. `keep` is how many requests are remembered for whoever checks. Faults come from `faults.set`, the control
    channel or a `schedule`; `seed` decides what is left to chance. Raises Unavailable when the port is taken.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float | None = None,
        rate_limit: bool = True,
        trigger_text: bool = False,
        keep: int = 50_000,
        seed: int = 0,
        schedule: Schedule | None = None,
    ) -> None:
        if speed is not None and speed <= 0:
            raise UsageError("the speed is in bars per second and above zero; leave it out for lockstep")
        self.venue = venue
        self.host = host
        self.port = port
        self.speed = speed
        self.schedule = schedule
        self.trigger_text = trigger_text
        # A replayed hour is an hour for the limits, and while the market stands the wall's seconds count.
        self.limits = RateLimits(lambda: self._elapsed() + venue.simulated, enforce=rate_limit)
        self.gatekeeper = Gatekeeper(venue.accounts, venue.clock, self.limits)
        self.faults = Faults(KINDS, self, venue.clock, seed=seed)
        self.streams = Streams(venue, self.gatekeeper, self.faults)
        self.register = Register(keep)
        self.past = Past(venue)
        self.control = Control(venue, self.streams, self.limits, self.faults, self.register)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """The base address, without a path: what `point_at` and an account's base_url take."""
        return f"http://{self.host}:{self.port}"

    @property
    def control_url(self) -> str:
        """The address of the control channel."""
        return f"ws://{self.host}:{self.port}/control"

    @property
    def token(self) -> str:
        """What the control channel wants to hear first. A secret."""
        return self.control.token

    async def start(self) -> None:
        """Listen, and begin to replay when there is a speed."""
        runner = web.AppRunner(self._app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise Unavailable(f"port {self.port} on {self.host} is taken; choose another one with --port") from error
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self.streams.beat()), asyncio.create_task(self._watch_countdowns())]
        if self.schedule is not None:
            self._tasks.append(asyncio.create_task(self._misbehave(self.schedule)))
        if self.speed is not None:
            self._tasks.append(asyncio.create_task(self._replay(self.speed)))

    async def stop(self) -> None:
        """Close every connection and the port."""
        self.faults.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _replay(self, speed: float) -> None:
        """Step at a steady pace, without drift, until the tape ends."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.venue.halted:
            due += 1 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.streams.stepped(self.venue.step())

    async def _misbehave(self, schedule: Schedule) -> None:
        """Switch on what the schedule plans, when it does."""
        for planned in schedule:
            await asyncio.sleep(planned.wait)
            self.faults.set(planned.kind, **planned.settings)

    async def _watch_countdowns(self) -> None:
        """Fire the countdowns, within a few milliseconds of their time on the venue's clock."""
        while True:
            await asyncio.sleep(0.02)
            if self.venue.countdowns.next is not None:
                self.venue.expire()

    def _elapsed(self) -> Millis:
        return time.monotonic_ns() // 1_000_000

    def _app(self) -> web.Application:
        app = web.Application()
        for path, handler in PublicApi(self.venue).routes().items():
            app.router.add_get(PREFIX + path, self._endpoint(Route(handler, private=False)), allow_head=False)
        orders = OrderApi(self.venue, self.gatekeeper, trigger_text=self.trigger_text)
        for (method, path), route in {**AccountApi(self.venue).routes(), **orders.routes()}.items():
            app.router.add_route(method, PREFIX + path, self._endpoint(route))
        for path in ("/ws/v4/", "/ws/v4"):
            app.router.add_get(path, self._endpoint(Route(self.streams.handle, private=False, what="connect")))
        app.router.add_get("/control", self.control.handle)
        app.router.add_route("*", "/{path:.*}", self._endpoint(Route(_nowhere, private=False)))
        app.on_shutdown.append(self._leave)
        return app

    async def _leave(self, app: web.Application) -> None:
        with contextlib.suppress(ConnectionError):
            await self.streams.close()

    def _endpoint(self, route: Route) -> Any:
        """The way of one request: plain, unless a fault strikes it."""

        async def serve(request: web.Request) -> web.StreamResponse:
            call = Call(request, route, self.gatekeeper)
            fault: Fault | None = None
            try:
                if self.faults.awaits(Layer.REQUEST):
                    fault = self.faults.draw(Layer.REQUEST, await call.facts())
                call.settled = lambda: self.register.note(call, "" if fault is None else fault.kind.name)
                if fault is None:
                    return await call.answer()
                answer: web.StreamResponse = await fault.kind.apply(call, fault, self)
                return answer
            finally:
                call.settle()

        return serve


async def _nowhere(request: web.Request) -> Any:
    raise Refusal("NOT_FOUND", f"{request.method} {request.path} is not simulated", status=404)
