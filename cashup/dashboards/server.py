"""The dashboards' process: Voila, standalone, started from code so that no stray file can loosen it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from traitlets.config import Config
from voila.app import Voila

from cashup.dashboards.guard import guarded, prove_closed
from cashup.dashboards.identity import GatewayIdentity
from cashup.dashboards.kernels import ViewerKernels
from cashup.dashboards.session import ViewSession, sign_in
from cashup.errors import CashUpError, Unavailable

Authenticate = Callable[[str, str], Awaitable[ViewSession]]
"""Checks a name and a password at the gateway; raises Unauthenticated when they are wrong."""


class Dashboards(Voila):  # type: ignore[misc]
    """Voila with one page, CashUp's login, and kernels that hold a read-only token."""

    name = "voila"

    def __init__(
        self,
        authenticate: Authenticate,
        announce: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.authenticate = authenticate
        self.announce = announce
        self.failure: CashUpError | None = None

    def init_settings(self) -> dict[str, Any]:
        """Voila's settings and the way to check a password."""
        return {**super().init_settings(), "authenticate": self.authenticate, "static_path": None}

    def init_handlers(self) -> list[tuple[Any, ...]]:
        """Voila's handlers, each behind a wall."""
        own = self.identity_provider.get_handlers()
        return [
            entry if entry in own else (entry[0], guarded(entry[1]), *entry[2:]) for entry in super().init_handlers()
        ]

    def listen(self) -> None:
        """Bind, prove that strangers are refused, say where, and serve until a signal."""
        try:
            sockets = bind_sockets(self.port, self.ip)
        except OSError as error:
            self.stop()
            raise Unavailable(
                f"port {self.port} for the dashboards cannot be used ({error.strerror}); "
                "stop what listens there or set CASHUP_DASHBOARD_PORT"
            ) from error
        HTTPServer(self.app).add_sockets(sockets)
        self.port: int = sockets[0].getsockname()[1]
        self.ioloop = IOLoop.current()
        self.ioloop.add_callback(self._open)
        try:
            self.ioloop.start()
        except KeyboardInterrupt:
            self.log.info("interrupted")
        finally:
            self.stop()
        if self.failure is not None:
            raise self.failure

    async def _open(self) -> None:
        try:
            await prove_closed(f"http://{self.ip}:{self.port}/")
        except CashUpError as error:
            self.failure = error
            self.ioloop.stop()
        else:
            self.announce(f"http://{self.ip}:{self.port}/")


def serve(
    notebook: Path,
    *,
    host: str,
    port: int,
    keys: Path,
    gateway: str,
    announce: Callable[[str], None],
) -> None:
    """Serve `notebook` until SIGTERM or SIGINT; port 0 takes a free one. `announce` is told the address when it is up.

    Raises Unavailable when the port is taken and IntegrityError when a stranger gets more than the login page.
    """
    app = Dashboards(
        partial(sign_in, gateway),
        announce,
        config=_config(gateway),
        config_file_paths=[],
        notebook_path=str(notebook.resolve()),
        ip=host,
        port=port,
        open_browser=False,
        cookie_secret=cookie_secret(keys),
        identity_provider_class=GatewayIdentity,
        log_level="WARN",
    )
    templates = str(Path(__file__).parent / "share")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [templates, os.environ.get("JUPYTER_PATH")]))
    app.initialize([])
    app.start()


def _config(gateway: str) -> Config:
    config = Config()
    config.VoilaConfiguration.update(
        multi_kernel_manager_class=ViewerKernels,
        allow_template_override="NO",
        allow_theme_override="NO",
        strip_sources=True,
        show_tracebacks=False,
        file_allowlist=[],
        extension_allowlist=["@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget"],
        template="cashup",
    )
    config.ViewerKernels.update(
        cull_idle_timeout=300, cull_interval=60, kernel_environment={"CASHUP_GATEWAY_URL": gateway}
    )
    # The page may load from its own server only; Voila's scripts compile templates, and widgets are modules in blobs.
    policy = "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; frame-ancestors 'none'; form-action 'self'"
    config.Voila.tornado_settings = {"headers": {"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}}
    config.KernelManager.update(transport="ipc", autorestart=False)
    return config


def cookie_secret(keys: Path) -> bytes:
    """The secret that signs viewers' cookies, made on first use and readable by its owner only."""
    path = keys / "cookie"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()
