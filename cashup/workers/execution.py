"""Executing a notebook: one kernel, its folder and environment, its signals, and saves that cannot tear."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine
from papermill.iorw import LocalHandler
from papermill.log import logger

from cashup.workers import headcount
from cashup.workers.environment import kernel_environment, private_folder
from cashup.workers.fork import Forked
from cashup.workers.log import Log
from cashup.workers.oom import OomKills
from cashup.workers.outputs import BoundedClient
from cashup.workers.record import Record, write_atomically
from cashup.workers.signals import StopSignals

FORCED = 143
"""The exit code of a run that did not end when it was asked to."""

_POLL_SECONDS = 0.005
_DIGESTS = 1_000
"""How many signatures of messages are remembered, so that none is taken twice. Usually 65,536: 9 MB within a month."""


class KernelDied(DeadKernelError):
    """The kernel ended by itself: `code` as `subprocess` shows it, `oom` when the system then killed for memory."""

    def __init__(self, message: str, code: int | None, *, oom: bool) -> None:
        super().__init__(message)
        self.code = code
        self.oom = oom


class PromptClient(AsyncKernelClient):
    """Is ready as soon as the kernel is: the base class listens for another 0.2 s whether something more comes."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (its signature)
        """Ask until an answer and, on the output channel, the end of that very request have arrived.

        Raises RuntimeError when the kernel dies or does not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while not await self._asked():
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")

    async def _asked(self) -> bool:
        request = self.kernel_info()
        try:
            while (reply := await self.shell_channel.get_msg(timeout=1))["parent_header"].get("msg_id") != request:
                pass
            while not _is_end(await self.iopub_channel.get_msg(timeout=0.2), request):
                pass
        except Empty:
            return False  # the output channel was not connected yet, or nobody is there
        self._handle_kernel_info_reply(reply)
        return True

    wait_for_ready = _async_wait_for_ready


def _is_end(message: dict[str, Any], request: str) -> bool:
    ours = message["parent_header"].get("msg_id") == request
    return ours and bool(message["content"].get("execution_state") == "idle")


class PrivateKernelManager(AsyncKernelManager):
    """Starts a kernel of this very Python that speaks over sockets in a private folder."""

    signals: StopSignals | None = None
    process: subprocess.Popen[bytes] | Forked | None = None
    oom: OomKills | None = None
    flavour: str | None = "research"
    warm: str | None = None
    most_tasks: int | None = None
    client_factory = PromptClient

    @property
    def kernel_spec(self) -> KernelSpec:
        """This interpreter and our own start module, whatever is registered on the machine."""
        # -P: the working directory must not shadow the library while the kernel starts.
        argv = [sys.executable, "-P", "-m", "cashup.workers.kernel", "-f", "{connection_file}"]
        if self.flavour == "live":
            argv.append("--HistoryManager.enabled=False")  # nobody types here, and SQLite weighs 2 MB
        warm = {"provisioner_name": "cashup", "config": {"flavour": self.flavour, "warm": self.warm}}
        about = {"kernel_provisioner": warm} if self.flavour is not None else {}
        return KernelSpec(argv=argv, display_name="CashUp", language="python", env={}, metadata=about)

    async def _async_wait(self, pollinterval: float = 0.1) -> None:
        await super()._async_wait(pollinterval=min(pollinterval, _POLL_SECONDS))

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        await super()._async_launch_kernel(kernel_cmd, **kw)
        if isinstance(self.provisioner, LocalProvisioner):
            self.process = self.provisioner.process
            if self.process is not None:
                self.oom = OomKills(self.process.pid)
            if self.signals is not None:
                self.signals.attach(self.process)
            if self.most_tasks is not None and self.process is not None:
                headcount.keep(self.process, self.most_tasks)


# papermill has one local handler and no way to give it another, and it saves through it inside and outside the engine.
LocalHandler.write = write_atomically


class ManagedEngine(NBClientEngine):  # type: ignore[misc]
    """papermill's engine with our kernel, client and signals."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        signals: StopSignals | None = None,
        kernel_env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        kernel_log: int | None = None,
        record: Record | None = None,
        log: Log | None = None,
        **options: Any,
    ) -> None:
        """Run the cells; see `CashUpEngine.execute_notebook` for what is raised."""
        options |= {"record": record, "output_log": log}
        if signals is None:
            with StopSignals(graceful=False) as own:
                cls._execute(nb_man, kernel_name, own, kernel_env, pass_fds, kernel_log, options)
        else:
            cls._execute(nb_man, kernel_name, signals, kernel_env, pass_fds, kernel_log, options)

    @classmethod
    def _execute(
        cls,
        nb_man: Any,
        kernel_name: str,
        signals: StopSignals,
        kernel_env: Mapping[str, str] | None,
        pass_fds: Sequence[int],
        kernel_log: int | None,
        options: dict[str, Any],
    ) -> None:
        with private_folder() as folder:
            client = _client(nb_man, kernel_name, folder, signals, options)
            manager = client.km  # a client that has cleaned up has none any more
            streams = {} if kernel_log is None else {"stdout": kernel_log, "stderr": kernel_log}
            env = kernel_environment(os.environ, folder, kernel_env)
            try:
                client.execute(env=env, pass_fds=tuple(pass_fds), **streams)
            except (DeadKernelError, RuntimeError) as error:
                # nbclient raises a bare RuntimeError for a kernel that dies while it starts.
                if signals.received:
                    raise SystemExit(FORCED) from error
                raise _death(manager, error) from error
            finally:
                signals.detach()
        if signals.forced and nb_man.nb.metadata.papermill.get("exception"):
            _raise_forced(signals)


def _client(
    nb_man: Any, kernel_name: str, folder: Path, signals: StopSignals, options: dict[str, Any]
) -> BoundedClient:
    manager = PrivateKernelManager(
        kernel_name=kernel_name,
        transport="ipc",
        connection_file=str(folder / "kernel.json"),
        ip=str(folder / "k"),
    )
    manager.session.digest_history_size = _DIGESTS
    manager.signals = signals
    manager.flavour = options.pop("flavour", manager.flavour)
    manager.warm = options.pop("warm", manager.warm)
    manager.most_tasks = options.pop("most_tasks", manager.most_tasks)
    settings: dict[str, Any] = {
        "km": manager,
        "kernel_name": kernel_name,
        "timeout": options.pop("execution_timeout", None),
        "startup_timeout": options.pop("start_timeout", 60),
        "log": logger,
        "store_widget_state": False,
        "coalesce_streams": True,
        "iopub_timeout": 30,
    }
    options.pop("input_path", None)
    record, log = options.pop("record"), options.pop("output_log")
    client = BoundedClient(nb_man, record=record, lines=log, **(settings | options))
    client.owns_km = True  # we made the manager, so the client shuts the kernel down
    return client


def _death(manager: PrivateKernelManager, error: Exception) -> KernelDied:
    """How the kernel ended, as far as that can be known."""
    code = None if manager.process is None else manager.process.poll()
    return KernelDied(str(error), code, oom=manager.oom is not None and manager.oom.happened())


def _raise_forced(signals: StopSignals) -> None:
    if signals.last is signal.SIGINT and not signals.graceful:
        raise KeyboardInterrupt
    raise SystemExit(FORCED)
