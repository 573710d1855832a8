"""How a request travels to a template: one JSON document and some open descriptors over a private unix socket."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")
_MOST_DESCRIPTORS = 16


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path` by way of its folder's descriptor: a socket's address holds 107 bytes, and a home may lie deep."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path) -> socket.socket | None:
    """A connection to the template that listens at `path`; None when none does, or when it is another user's."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with short_path(path) as address:
            connection.connect(address)
        if same_user(connection):
            return connection
    except OSError:
        pass  # no socket, nobody behind it, or no folder that could hold one: to the caller it is all the same
    connection.close()
    return None


def same_user(connection: socket.socket) -> bool:
    """True when the process at the other end belongs to this very user."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(found)
    return bool(user == os.geteuid())


def send(connection: socket.socket, document: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one document; the receiver gets copies of `descriptors`."""
    text = json.dumps(document).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(text))], list(descriptors))
    connection.sendall(text)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One document and its descriptors; raises EOFError when the other end has gone."""
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, _MOST_DESCRIPTORS)
    try:
        head += _read(connection, _LENGTH.size - len(head))
        document = json.loads(_read(connection, _LENGTH.unpack(head)[0]))
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return document, list(descriptors)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError("the other end of a template's socket has gone")
        data += more
    return data
