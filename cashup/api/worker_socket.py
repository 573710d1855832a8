"""What the WebSocket does for a worker: its bars, its intents, its token, and the word to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cashup.api.arrears import Arrears
from cashup.bootstrap import Gateway
from cashup.errors import CashUpError, Unavailable, UsageError
from cashup.events import Event, EventKind
from cashup.markets.live import LiveBar, LiveBars
from cashup.markets.past import Past
from cashup.trading.commands import By
from cashup.trading.intents import parse_request
from cashup.trading.requests import Amend, Cancel, Place, parse_amend, parse_cancel, parse_place
from cashup.trading.states import resumption
from cashup.types import Candle, Millis, Symbol
from cashup.users.tokens import LIFETIME, Audience, Claims

MOST_HISTORY = 10_000
"""Bars of history that one subscription may ask for."""
MOST_SYMBOLS = 100

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class WorkerSocket:
    """One attempt of a deployment, connected."""

    def __init__(self, gateway: Gateway, claims: Claims, send: Send, spawn: Callable[[Any], None]) -> None:
        assert claims.deployment is not None  # noqa: S101
        assert claims.attempt is not None  # noqa: S101
        assert claims.fence is not None  # noqa: S101
        self._gateway = gateway
        self._claims = claims
        self._deployment = claims.deployment
        self._attempt = claims.attempt
        self._fence = claims.fence
        self._send = send
        self._spawn = spawn
        self._expires = claims.expires_at
        self._stopped = False
        self._paused = False
        self._subscribed = False
        self._priced: set[Symbol] = set()
        self._arrears = Arrears(gateway.deployments, self._deployment, self._attempt, gateway.clock)

    async def start(self) -> None:
        """Tell a worker at once when it is not wanted (any more)."""
        await self._check()
        await self._arrears.forget()

    async def leave(self) -> None:
        """The connection is gone."""
        if not self._stopped:
            await self._gateway.deployments.present(self._deployment, self._attempt, here=False)

    async def answer(self, frame: Mapping[str, Any]) -> bool:
        """Do what `frame` asks for; False when it is nothing a worker may ask for."""
        if frame["type"] not in FRAMES:
            return False
        if frame["type"] == "intent":
            self._arrears.arrived(frame.get("bar"))
            await self._intent(frame, self._submit(frame))
            await self._arrears.decided()
        elif frame["type"] in _COMMANDS:
            await self._intent(frame, self._command(frame))
        elif frame["type"] == "bars.subscribe":
            await self._subscribe(frame)
        elif frame["type"] == "missed":
            await self._missed(frame)
        else:
            bar = _optional_millis(frame.get("bar"), "bar")
            await self._gateway.deployments.ready(self._deployment, self._attempt, bar)
        return True

    async def look_at(self, event: Event) -> None:
        """Events of the deployment may mean that this worker shall stop, pause or go on."""
        if event.kind in (EventKind.DEPLOYMENT_CHANGED, EventKind.ATTEMPT_STARTED):
            await self._check()

    async def renew(self) -> None:
        """A new token when a third of the old one's time has gone, while the attempt is the current one."""
        await self._check()
        now = self._gateway.clock.now()
        if self._stopped or self._expires - now > LIFETIME[Audience.WORKER] * 2 // 3:
            return
        token = self._gateway.tokens.issue(
            self._claims.subject,
            Audience.WORKER,
            role=self._claims.role,
            session=self._claims.session,
            deployment=self._deployment,
            attempt=self._attempt,
            fence=self._fence,
        )
        self._expires = now + LIFETIME[Audience.WORKER]
        await self._send({"type": "token", "token": token})

    async def _check(self) -> None:
        status = await self._gateway.deployments.status(self._deployment)
        if status.away and status.fence == self._fence:
            await self._gateway.deployments.present(self._deployment, self._attempt, here=True)
        if status.fence != self._fence:
            await self._stop("a newer attempt works for this deployment")
        elif status.desired == "stopped":
            await self._stop("the deployment shall not run any more")
        elif status.renew >= self._attempt:
            await self._stop("another attempt shall follow")
        elif (status.desired == "paused") is not self._paused:
            self._paused = not self._paused
            await self._arrears.forget()
            await self._send({"type": "pause" if self._paused else "resume"})

    async def _stop(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = True
            await self._send({"type": "stop", "reason": reason})

    async def _submit(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        terms = (frame.get("targets"), frame.get("rebalance"), frame.get("state"))
        request = parse_request(frame.get("key"), frame.get("bar"), *terms)
        return await self._gateway.engine.submit(self._deployment, self._fence, request)

    async def _command(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        request = _COMMANDS[frame["type"]](frame)
        if isinstance(request, Place) and request.symbol not in self._priced:
            await self._gateway.watch_price(self._deployment, request.symbol)
            self._priced.add(request.symbol)
        by = By(f"attempt {self._fence} of {self._deployment}", self._fence)
        return await self._gateway.engine.command(self._deployment, request, by)

    async def _intent(self, frame: Mapping[str, Any], deciding: Awaitable[dict[str, Any]]) -> None:
        key = str(frame.get("key"))
        try:
            answer = await deciding
        except Unavailable:
            raise  # the outcome is open: the worker connects again and repeats the same key
        except CashUpError as error:
            await self._send({"type": "intent.refused", "key": key, "code": error.code, "message": str(error)})
        else:
            await self._send({"type": "intent.accepted", **answer})

    async def _subscribe(self, frame: Mapping[str, Any]) -> None:
        if self._subscribed:
            raise UsageError("this connection has its bars already; connect again for others")
        wanted = _subscription(frame)
        found = await resumption(self._gateway.database, self._deployment)
        account = await self._gateway.accounts.get(found.account)
        bars = await LiveBars.open(
            self._gateway.feed,
            account.venue,
            wanted.symbols,
            wanted.timeframe,
            outer=wanted.outer,
            past=Past(self._gateway.settings.lake_path),
        )
        since = (found.decided if found.state is None else found.state_bar) if wanted.state else None
        history = await bars.history(wanted.count, since=since, most=MOST_HISTORY)
        self._subscribed = True
        self._arrears.excuse(wanted.count - 1 - len(history))
        rows = {symbol: [_ohlcv(bar.candles.get(symbol)) for bar in history] for symbol in wanted.symbols}
        message = {
            "type": "bars.history",
            "last_decided": found.decided,
            "missed_bars": found.spec.get("missed_bars", "act"),
            "times": [bar.time for bar in history],
            "bars": rows,
        }
        if wanted.state:
            message |= {"state": found.state, "state_bar": found.state_bar}
        await self._send(message)
        self._spawn(self._follow(bars, wanted.symbols))

    async def _missed(self, frame: Mapping[str, Any]) -> None:
        """The worker tells of bars that closed while nobody decided them."""
        bar, missed = _optional_millis(frame.get("bar"), "bar"), frame.get("missed")
        if type(missed) is not int or not 0 < missed < 1 << 53 or bar is None:
            raise UsageError("missed is a number of bars, and bar the newest one of them in milliseconds")
        self._arrears.arrived(bar)
        await self._gateway.deployments.missed(self._deployment, self._attempt, missed, bar)
        await self._arrears.decided()

    async def _follow(self, bars: LiveBars, symbols: Sequence[Symbol]) -> None:
        async for bar in bars.follow():
            await self._send(_bar_frame(bar, symbols))
            if not (self._paused or bar.late):
                await self._arrears.sent(bar.time)


def _place(frame: Mapping[str, Any]) -> Place:
    return parse_place(frame.get("key"), _object(frame, "order"))


def _cancel(frame: Mapping[str, Any]) -> Cancel:
    return parse_cancel(frame.get("key"), frame.get("order"))


def _amend(frame: Mapping[str, Any]) -> Amend:
    return parse_amend(frame.get("key"), frame.get("order"), _object(frame, "terms"))


_COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], Place | Cancel | Amend]] = {
    "order.place": _place,
    "order.cancel": _cancel,
    "order.amend": _amend,
}
"""What a worker may ask of single orders, by the type of the frame."""

FRAMES = ("intent", *_COMMANDS, "bars.subscribe", "ready", "missed")
"""Everything that a worker may send."""


def _object(frame: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = frame.get(name)
    if not isinstance(value, dict):
        raise UsageError(f"{frame['type']} has its {name} as a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a subscription asks for; with `state` also what the strategy kept, and the bars that it has not seen."""

    symbols: list[Symbol]
    timeframe: str
    count: int
    outer: bool
    state: bool


def _subscription(frame: Mapping[str, Any]) -> _Wanted:
    symbols, timeframe, count = frame.get("symbols"), frame.get("timeframe"), frame.get("history")
    if not isinstance(symbols, list) or not 0 < len(symbols) <= MOST_SYMBOLS:
        raise UsageError(f"bars.subscribe names 1 to {MOST_SYMBOLS} symbols")
    if not all(isinstance(symbol, str) for symbol in symbols) or len(set(symbols)) != len(symbols):
        raise UsageError("bars.subscribe names each symbol once")
    if not isinstance(timeframe, str):
        raise UsageError("bars.subscribe names a timeframe, such as 1h")
    if type(count) is not int or not 0 <= count <= MOST_HISTORY:
        raise UsageError(f"history is a number of bars from 0 to {MOST_HISTORY}")
    outer, state = frame.get("outer", False), frame.get("state", False)
    if type(outer) is not bool or type(state) is not bool:
        raise UsageError("outer (a symbol may lack a bar) and state (there is one to go on from) are true or false")
    return _Wanted([Symbol(symbol) for symbol in symbols], timeframe, count, outer, state)


def _optional_millis(value: Any, name: str) -> Millis | None:
    if value is not None and type(value) is not int:
        raise UsageError(f"{name} is a time in milliseconds, or null")
    return value


def _bar_frame(bar: LiveBar, symbols: Sequence[Symbol]) -> dict[str, Any]:
    candles = {symbol: _ohlcv(bar.candles.get(symbol)) for symbol in symbols}
    frame: dict[str, Any] = {"type": "bar", "time": bar.time, "bars": candles}
    return frame | {"late": True} if bar.late else frame


def _ohlcv(candle: Candle | None) -> list[float] | None:
    if candle is None:
        return None
    return [float(v) for v in (candle.open, candle.high, candle.low, candle.close, candle.volume)]
