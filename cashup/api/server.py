"""Serving the API: one uvicorn server in this process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from cashup.api.app import create_app
from cashup.bootstrap import Gateway, open_gateway
from cashup.errors import Unavailable
from cashup.settings import Settings

_GOODBYE_SECONDS = 5


def serve(settings: Settings, *, announce: Callable[[str, Gateway], None]) -> None:
    """Run a gateway until it is told to stop. `announce` is called with its address once it listens.

    Raises Unavailable when the port is taken, and what `open_gateway` raises.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[str, Gateway], None]) -> None:
    with listen(settings.host, settings.port) as listening:
        async with open_gateway(settings) as gateway:
            host, port = listening.getsockname()[:2]
            announce(f"http://{host}:{port}", gateway)
            await make_server(gateway).serve(sockets=[listening])


class Server(uvicorn.Server):
    """uvicorn, except that a signal only ends the serving: what stands around it must still be taken down in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C stop this server, and are then done with."""
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        for sign in handled:
            loop.add_signal_handler(sign, self.handle_exit, sign, None)
        try:
            yield
        finally:
            for sign in handled:
                loop.remove_signal_handler(sign)


def make_server(gateway: Gateway) -> Server:
    """A server for the API of `gateway`; `await serve(sockets=[…])` runs it until `should_exit` is set."""
    config = uvicorn.Config(
        create_app(gateway),
        loop="none",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=60.0,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises Unavailable with one sentence when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"port {port} is taken by another program; stop it, or choose another port with CASHUP_PORT",
                code="port_taken",
            ) from None
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}; check CASHUP_HOST") from None
    return listening
