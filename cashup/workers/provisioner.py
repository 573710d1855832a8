"""The Jupyter kernel provisioner `cashup`: a kernel forked from a warm process, or an ordinary one."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

from cashup.workers.fork import Forked, fork

_MODULES = ("ipykernel_launcher", "cashup.workers.kernel")
"""What a kernel is started with; for any other program an ordinary process is started."""

_WATCHED = "--IPKernelApp.parent_handle=1"
"""A forked kernel is no child of ours that could look for its parent; it is killed with us (see `newborn.py`)."""


class WarmProvisioner(LocalProvisioner):
    """Forks a kernel from the template where one can be had. Papermill, JupyterLab and Voila use it alike."""

    flavour = Unicode("research", help="the template: `research` or `live`").tag(config=True)
    warm = Unicode(None, help="the home of the template; empty: no template; None: see the settings", allow_none=True)

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Start the kernel; where it listens."""
        # A template that is only just starting may take seconds to answer, and this is a server's loop.
        forked = await asyncio.to_thread(self._fork, cmd, options)
        if forked is None:
            return await super().launch_kernel(cmd, **options)
        # It is no Popen, but does all that LocalProvisioner asks of one.
        self.process = forked  # type: ignore[assignment]
        self.pid = self.pgid = forked.pid
        self.cwd = options.get("cwd") or Path.cwd()
        return self.connection_info

    def _fork(self, cmd: list[str], options: dict[str, Any]) -> Forked | None:
        if cmd[0] != sys.executable or not any(module in cmd for module in _MODULES) or "-f" not in cmd:
            return None
        home = self._home()
        if home is None:
            return None
        with Path(os.devnull).open("rb") as nothing:
            streams = {
                0: nothing.fileno(),
                1: _descriptor(options.get("stdout"), 1),
                2: _descriptor(options.get("stderr"), 2),
            }
            return fork(
                self.flavour,
                home,
                "kernel",
                [*cmd[cmd.index("-f") :], _WATCHED],
                env=options.get("env") or os.environ,
                cwd=options.get("cwd") or Path.cwd(),
                descriptors=streams | {number: number for number in options.get("pass_fds", ())},
            )

    def _home(self) -> Path | None:
        """The home whose template shall be used; a worker is told, and spares itself the settings, which are large."""
        if self.warm is not None:
            return Path(self.warm) if self.warm else None
        from cashup.settings import load_settings

        settings = load_settings()
        return settings.home_path if settings.warm else None

    async def wait(self) -> int | None:
        """Wait until the kernel has ended; without the base class's steps of a tenth of a second."""
        if isinstance(self.process, Forked):
            code = await asyncio.to_thread(self.process.wait)
            self.process = None
            return code
        return await super().wait()


def _descriptor(stream: Any, default: int) -> int:
    return default if stream is None else stream if isinstance(stream, int) else int(stream.fileno())
