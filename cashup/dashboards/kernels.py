"""A viewer's kernel: an almost empty environment, a private socket folder, and a read-only token through a pipe."""

from __future__ import annotations

import os
from typing import Any

import traitlets
from jupyter_server import CallContext
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from cashup.dashboards.handover import TOKEN_PIPE
from cashup.dashboards.session import ViewSession
from cashup.errors import Unauthenticated

KEPT = ("HOME", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", "USER", "LOGNAME")
KEPT_PREFIXES = ("LC_", "VOILA_", "SERVER_", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "JPY_")


class ViewerKernels(AsyncMappingKernelManager):
    """Starts one kernel per viewer and remembers whose it is."""

    kernel_environment = traitlets.Dict(help="variables every kernel gets").tag(config=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.owners: dict[str, str] = {}

    async def _async_start_kernel(self, *, env: dict[str, str] | None = None, **options: Any) -> str:
        handler = CallContext.get(CallContext.JUPYTER_HANDLER)
        session = ViewSession.from_cookie(handler)
        if session is None:
            raise Unauthenticated("a kernel is started for a signed-in viewer only")
        reader, writer = os.pipe()
        try:
            os.write(writer, session.token.encode())
            os.close(writer)
            kernel_env = {**scrubbed(env or {}), **self.kernel_environment, TOKEN_PIPE: str(reader)}
            kernel_id: str = await super()._async_start_kernel(env=kernel_env, pass_fds=(reader,), **options)
        finally:
            os.close(reader)
        self.owners[kernel_id] = session.name
        return kernel_id

    start_kernel = _async_start_kernel  # type: ignore[assignment]

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel and its owner."""
        self.owners.pop(kernel_id, None)
        return super().remove_kernel(kernel_id)


def scrubbed(env: dict[str, str]) -> dict[str, str]:
    """What a kernel may know of the server's environment: where programs are and what Voila says of the request."""
    return {name: value for name, value in env.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
