"""The WebSocket: events for whoever may look, bars and intents for workers. One JSON document per text frame.

The first frame authenticates; until then nothing is answered. A token that is not good, or not any more, closes the
connection with 4401.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from cashup.api import worker_socket
from cashup.api.worker_socket import WorkerSocket
from cashup.bootstrap import Gateway
from cashup.client import PROTOCOL
from cashup.errors import CashUpError, Unauthenticated, UsageError
from cashup.events import Event
from cashup.storage.database import DATABASE_ERRORS, dump_json
from cashup.users.tokens import Audience, Claims

router = APIRouter()
log = structlog.get_logger()

BAD_TOKEN = 4401
TRY_AGAIN = 1013
PROTOCOL_ERROR = 1008

SESSION_CHECK_SECONDS = 2.0
"""How long a connection may outlive its session."""
FRAMES = ("auth", "events.subscribe", *worker_socket.FRAMES)
"""Everything that a client may send."""

_AUTH_SECONDS = 10.0
_MOST_SUBSCRIPTIONS = 16


@router.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    """Serve one connection until either side ends it."""
    gateway: Gateway = socket.app.state.gateway
    await socket.accept()
    connection: Connection | None = None
    try:
        claims = await _authenticate(gateway, socket)
        async with asyncio.TaskGroup() as tasks:
            connection = Connection(gateway, socket, claims, tasks)
            await connection.serve()
            connection.end()
    except* WebSocketDisconnect:
        pass  # the client has gone: the ordinary end
    except* CashUpError as group:
        await _refuse(socket, _first(group))
    except* (RuntimeError, OSError) as group:
        log.warning("connection broke", error=str(_first(group)))
    finally:
        if connection is not None:
            await connection.leave()


_LET_IN = {Audience.API, Audience.WORKER, Audience.VIEW}


async def _authenticate(gateway: Gateway, socket: WebSocket) -> Claims:
    try:
        async with asyncio.timeout(_AUTH_SECONDS):
            frame = _parse(await socket.receive_text())
    except (TimeoutError, UsageError) as error:
        raise Unauthenticated("the first frame must be an auth frame with a token") from error
    if frame["type"] != "auth" or not isinstance(frame.get("token"), str):
        raise Unauthenticated("the first frame must be an auth frame with a token")
    return await gateway.people.check(gateway.tokens.verify(frame["token"], _LET_IN))


class Connection:
    """One authenticated connection. Its tasks end with it."""

    def __init__(self, gateway: Gateway, socket: WebSocket, claims: Claims, tasks: asyncio.TaskGroup) -> None:
        self._gateway = gateway
        self._socket = socket
        self._claims = claims
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._worker = WorkerSocket(gateway, claims, self.send, self.spawn) if claims.deployment else None

    async def serve(self) -> None:
        """Welcome the client and answer its frames until it leaves."""
        about = {"subject": self._claims.subject, "audience": self._claims.audience.value}
        await self.send({"type": "welcome", "protocol": PROTOCOL, **about})
        self.spawn(self._watch_session())
        if self._worker is not None:
            await self._worker.start()
            self.spawn(self._watch_deployment(self._worker))
        while True:
            try:
                await self._answer(_parse(await self._socket.receive_text()))
            except UsageError as error:
                await self.send({"type": "error", "code": error.code, "message": str(error)})

    def spawn(self, work: Any) -> None:
        """Run `work` beside this connection, and end it together with it."""
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def end(self) -> None:
        """End everything that runs for this connection."""
        for task in self._running:
            task.cancel()

    async def leave(self) -> None:
        """Remember that a worker is away; when that fails, the gateway that comes next does."""
        if self._worker is not None:
            with suppress(*DATABASE_ERRORS, OSError, TimeoutError):
                await self._worker.leave()

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame; waits while the client does not read."""
        await self._socket.send_text(dump_json(frame))

    async def _answer(self, frame: Mapping[str, Any]) -> None:
        if frame["type"] == "events.subscribe":
            streams, after = frame.get("streams"), frame.get("after")
            if not isinstance(streams, list) or not all(isinstance(stream, str) for stream in streams):
                raise UsageError("events.subscribe names a list of streams, such as deployment:demo or account:*")
            if after is not None and type(after) is not int:
                raise UsageError("after is the number of an event, or null")
            self._subscribe([self._allowed(stream) for stream in streams], after)
        elif self._worker is None or not await self._worker.answer(frame):
            raise UsageError(f"{frame['type']!r} is not something this token may ask for")

    def _allowed(self, stream: str) -> str:
        own = f"deployment:{self._claims.deployment}"
        if self._claims.audience is Audience.WORKER and stream != own:
            raise UsageError(f"this token sees {own} only")
        return stream

    def _subscribe(self, streams: list[str], after: int | None) -> None:
        if len(self._running) > _MOST_SUBSCRIPTIONS:
            raise UsageError("too many subscriptions on one connection")
        self.spawn(self._follow_events(streams, after))

    async def _follow_events(self, streams: list[str], after: int | None) -> None:
        async for event in self._gateway.events.subscribe(streams, after):
            await self.send(_event_frame(event))

    async def _watch_deployment(self, worker: WorkerSocket) -> None:
        """See what concerns the worker; it gets the events themselves only when it asks for them."""
        async for event in self._gateway.events.subscribe([f"deployment:{self._claims.deployment}"]):
            await worker.look_at(event)

    async def _watch_session(self) -> None:
        """Renew a worker's token in time; end the connection when its token or session is over."""
        while True:
            await asyncio.sleep(SESSION_CHECK_SECONDS)
            await self._gateway.people.check(self._claims)
            if self._worker is not None:
                await self._worker.renew()
            elif self._claims.expires_at <= self._gateway.clock.now():
                raise Unauthenticated("this token has expired; log in again", code="token_expired")


def _event_frame(event: Event) -> dict[str, Any]:
    return {
        "type": "event",
        "seq": event.seq,
        "stream": event.stream,
        "kind": event.kind.value,
        "at": event.at,
        "data": event.data,
    }


def _parse(text: str) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError("a frame is one JSON object") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise UsageError("a frame is a JSON object with a type")
    return frame


async def _refuse(socket: WebSocket, error: CashUpError) -> None:
    code = BAD_TOKEN if error.status in (401, 403) else TRY_AGAIN if error.status >= 500 else PROTOCOL_ERROR
    reason = str(error).encode()[:120].decode(errors="ignore")  # a close frame holds 123 bytes
    await socket.close(code, reason)


def _first(group: BaseExceptionGroup[Any]) -> Any:
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
