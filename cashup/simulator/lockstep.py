"""The driver of a lockstep: the next bar opens when every deployment has reported the last one done.

It listens to the gateway's events and steps the simulator over its control channel. A step names the bar it wants to
close, so a repeated or old event does nothing: driver, gateway and workers may die and come back at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from cashup.errors import CashUpError, Unauthenticated, Unavailable
from cashup.events import EventKind
from cashup.types import Millis


class ControlClient:
    """The client side of the simulator's `/control`. Requests are answered in order, one at a time."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._asked = 0

    async def __aenter__(self) -> ControlClient:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> dict[str, Any]:
        """Connect and give the token; the simulator's state. Raises Unavailable or Unauthenticated."""
        await self.close()
        self._session = aiohttp.ClientSession()
        try:
            self._socket = await self._session.ws_connect(self.url, compress=0)
        except aiohttp.ClientError as error:
            await self.close()
            raise Unavailable(f"no simulator answers at {self.url}; start one with `cashup simulator`") from error
        try:
            return await self._exchange({"type": "auth", "token": self._token}, None)
        except Unavailable as error:
            raise Unauthenticated("the simulator does not accept this control token; read it anew") from error

    async def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()
        self._socket = self._session = None

    async def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """One request and its answer; an error answer is raised with the simulator's sentence."""
        self._asked += 1
        return await self._exchange({"type": kind, **fields, "id": self._asked}, self._asked)

    async def _exchange(self, request: Mapping[str, Any], ident: int | None) -> dict[str, Any]:
        """Send and wait for the answer with this id: the one before it may have been given up while it was waited for,
        and its answer then comes first."""
        if self._socket is None:
            raise Unavailable("the control channel is not connected; connect first")
        try:
            await self._socket.send_str(orjson.dumps(request).decode())
            while (answer := _answer(await self._socket.receive())).pop("id", None) != ident:
                pass
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unavailable("the simulator hung up; look at its log") from error
        if answer["type"] == "error":
            raise CashUpError(answer["message"], code=answer["code"])
        return answer


def _answer(message: aiohttp.WSMessage) -> dict[str, Any]:
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Unavailable("the simulator hung up; look at its log")
    answer: dict[str, Any] = orjson.loads(message.data)
    return answer


class Lockstep:
    """Steps a simulator for `deployments` (names) until the bar that opens at `until` is processed, or the tape ends.

    `run` may be called again after its events broke off: give it events that begin early enough (old ones are ignored).
    """

    def __init__(
        self,
        control: ControlClient,
        deployments: Sequence[str],
        *,
        until: Millis | None = None,
        progress: Callable[[Mapping[str, Any]], None] = lambda state: None,
    ) -> None:
        self.control = control
        self.until = until
        self.progress = progress
        self._ready = dict.fromkeys(deployments, False)
        self._done: dict[str, Millis | None] = dict.fromkeys(deployments)
        self._state: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """True when the last bar wanted is processed."""
        closed, done = self._state.get("closed"), [bar for bar in self._done.values() if bar is not None]
        if len(done) < len(self._done) or closed is None:
            return False
        if self.until is not None and min(done) >= self.until:
            return True
        return bool(self._state["ended"]) and min(done) >= closed

    async def run(self, events: AsyncIterator[Mapping[str, Any]]) -> bool:
        """Follow `events` (`{"kind", "data": {"deployment", "bar"}, ...}`); True when finished, False when they end."""
        self._state = await self.control.request("state")
        await self._advance()
        async for event in events:
            if self.finished:
                return True
            self._note(event)
            await self._advance()
            if self.finished:
                return True
        return self.finished

    def _note(self, event: Mapping[str, Any]) -> None:
        data = event.get("data", {})
        name = data.get("deployment")
        if name not in self._done:
            return
        if event.get("kind") == EventKind.ATTEMPT_READY:
            self._ready[name] = True
        elif event.get("kind") == EventKind.BAR_PROCESSED:
            before = self._done[name]
            self._done[name] = max(before or 0, int(data["bar"]))

    async def _advance(self) -> None:
        """Close the open bar when nobody still works on the one before it."""
        if self._state["ended"] or self.finished:
            return
        if self._state["steps"] == 0:
            # Nothing has closed yet: nobody has anything to process, the workers only have to be there.
            free = all(self._ready.values())
        else:
            free = all(bar is not None and bar >= self._state["closed"] for bar in self._done.values())
        if free:
            self._state = await self.control.request("step", close=self._state["open"])
            self.progress(self._state)
