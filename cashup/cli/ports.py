"""Ports: free ones, taken ones, and the sentence for the latter."""

from __future__ import annotations

import socket

from cashup.errors import Unavailable


def is_free(host: str, port: int) -> bool:
    """True when a server could listen there now; port 0 always is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_open(host: str, port: int) -> bool:
    """True when something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def require_free(host: str, port: int, what: str, setting: str) -> None:
    """Raise Unavailable with what to do when `what` cannot listen on `port`."""
    if not is_free(host, port):
        raise Unavailable(
            f"port {port} for {what} is taken; stop what listens there or set {setting}", code="port_taken"
        )


def free_port() -> int:
    """A port that is free now on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
