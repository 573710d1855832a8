"""The real PostgreSQL on virtual time: a statement is carried out at once, and its answer comes when the seed says.

A wire is a transport that sends, and reads the answer to its end, before it returns: nothing else runs meanwhile and
time stands still. The answer is then delivered after a virtual while. One transaction at a time: while one is open, the
statements of other wires queue, so that no statement ever waits for a lock that only a later step would release.

`clock_timestamp()` is a function of the database's own here (`CLOCK`), which tells the virtual time.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from typing import Any

from tests.faults.simulation.loop import LIFE, SimulatedLoop

CLOCK = (
    "CREATE SCHEMA simulated",
    """
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT pg_catalog.to_timestamp(pg_catalog.current_setting('simulated.now')::numeric / 1000.0) $$
    """,
)
"""Statements that put the virtual clock before the real one; the database's `search_path` must be `SEARCH_PATH`."""

SEARCH_PATH = "public, simulated, pg_catalog"

_SYNC, _FLUSH = ord("S"), ord("H")
_CANCEL = 80_877_102
_STATEMENT_NAME = re.compile(rb"__asyncpg_(stmt|portal)_[0-9a-f]+__")


class Server:
    """The database server as the simulation sees it. `latency` gives the seconds until an answer arrives."""

    def __init__(
        self,
        loop: SimulatedLoop,
        path: str,
        now: Callable[[], int],
        latency: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.path = path
        self.now = now
        self.latency = latency
        self.note = note
        self.holder: Wire | None = None
        self.statements = 0
        self.over = False
        self.wires: list[Wire] = []
        self._waiting: deque[tuple[Wire, bytes, Context]] = deque()

    def connect(self, protocol_factory: Callable[[], Any]) -> tuple[Wire, Any]:
        """A new connection, which dies with the life that opened it."""
        if self.over:
            raise OSError("the simulation is over")
        protocol = protocol_factory()
        wire = Wire(self, protocol)
        self.wires.append(wire)
        life = LIFE.get()
        if life is not None:
            life.wires.append(wire)
        protocol.connection_made(wire)
        return wire, protocol

    def close(self) -> None:
        """Close every connection, as a server does that stops."""
        self.over = True
        self._waiting.clear()
        for wire in self.wires:
            wire.close()

    def submit(self, wire: Wire, data: bytes) -> None:
        """Carry it out now, or after the transaction that is open on another wire."""
        if self.holder is None or self.holder is wire:
            wire.exchange(data, copy_context())
            self.release(None)
        else:
            self._waiting.append((wire, data, copy_context()))

    def release(self, wire: Wire | None) -> None:
        """Go on with what waited, when no transaction is open; `wire` is closed."""
        if wire is not None and self.holder is wire:
            self.holder = None
        while self._waiting and self.holder is None:
            waiting, data, context = self._waiting.popleft()
            if not waiting.is_closing():
                waiting.exchange(data, context)


class Wire(asyncio.Transport):
    """One connection to the database."""

    def __init__(self, server: Server, protocol: Any) -> None:
        super().__init__()
        self._server = server
        self._protocol = protocol
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(server.path)
        self._begun = False
        self._parsing = False
        self._told = 0
        self._buffer = bytearray()
        self._closed = False
        self._statements: dict[bytes, str] = {}

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Have the statement carried out; the answer follows."""
        if not self._closed:
            self._server.submit(self, bytes(data))

    def close(self) -> None:
        """Close; the protocol hears of it."""
        if not self.cut():
            self._server.loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def cut(self) -> bool:
        """Close without a word to anybody; True when it was closed before."""
        closed, self._closed = self._closed, True
        if not closed:
            self._socket.close()
            self._server.release(self)
        return closed

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Answers are never larger than what is asked for."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def exchange(self, data: bytes, context: Context) -> None:
        """Send, read the whole answer, and deliver it after a while."""
        if not self._begun and struct.unpack_from("!ii", data)[1] == _CANCEL:
            return  # what it would cancel has been carried out already
        last = self._last(data)
        if self._begun and not self._parsing:
            self._tell_time()
        self._parsing = last == _FLUSH
        self._socket.sendall(data)
        if last == ord("X"):
            return
        answer = self._read(last)
        if self._begun:
            self._server.statements += 1
            self._note(data, answer)
        self._begun = True
        self._server.loop.call_later(self._server.latency(), self._deliver, answer, context=context)

    def _deliver(self, answer: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(answer)

    def _tell_time(self) -> None:
        now = self._server.now()
        if now != self._told:
            self._told = now
            text = f"SET simulated.now = '{now}'".encode() + b"\0"
            self._socket.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
            self._read(_SYNC)

    def _last(self, data: bytes) -> int:
        """The type of the last message; the first message of a connection has none."""
        if not self._begun:
            return _SYNC
        return [kind for kind, _ in _messages(data)][-1]

    def _read(self, last: int) -> bytes:
        """Everything that the server says to a message of the type `last`."""
        ends = b"TnE" if last == _FLUSH else b"Z"
        position = 0
        while True:
            kind, end = self._message(position)
            if kind in ends:
                break
            position = end
        answer, self._buffer = bytes(self._buffer[:end]), self._buffer[end:]
        if kind == ord("Z"):
            self._server.holder = None if answer[-1:] == b"I" else self
        return answer

    def _message(self, position: int) -> tuple[int, int]:
        """The type and the end of the message at `position` of the buffer, read when it is not there yet."""
        while True:
            if len(self._buffer) >= position + 5:
                end = position + 1 + struct.unpack_from("!i", self._buffer, position + 1)[0]
                if len(self._buffer) >= end:
                    return self._buffer[position], end
            received = self._socket.recv(1 << 18)
            if not received:
                raise ConnectionError("the database closed the connection")
            self._buffer += received

    def _note(self, data: bytes, answer: bytes) -> None:
        """Put the statement and the rows that it gave into the trace."""
        sent, rows = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
        what = []
        for kind, body in _messages(data):
            sent.update(bytes([kind]) + _STATEMENT_NAME.sub(b"", body))
            if kind == ord("P"):
                name, sql = body.split(b"\0")[:2]
                self._statements[name] = _gist(sql.decode())
            elif kind == ord("B"):
                what.append(self._statements.get(body.split(b"\0")[1], ""))
            elif kind == ord("Q"):
                what.append(_gist(body[:-1].decode()))
        for kind, body in _messages(answer):
            if kind in b"DCE":
                rows.update(body)
        self._server.note(f"database {sent.hexdigest()} -> {rows.hexdigest()} {' '.join(what)}")


def _gist(sql: str) -> str:
    """What a statement does, in a few words: the writes of a commit by their names, of anything else the beginning."""
    writes = re.findall(r"\b(write_\w+) AS", sql)
    return ", ".join(writes) if writes else " ".join(sql.split())[:80]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the body of each message."""
    position = 0
    while position < len(data):
        end = position + 1 + struct.unpack_from("!i", data, position + 1)[0]
        yield data[position], data[position + 5 : end]
        position = end
