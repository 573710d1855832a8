"""Asking for a forked process, and holding it as if it were a child: `subprocess.Popen` for what a template made.

Only Linux has what this needs. Everywhere else, and whenever a template cannot be had, `fork` returns None and the
caller starts an ordinary process.
"""

from __future__ import annotations

import atexit
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cashup.workers import passage
from cashup.workers.identity import identity, template_environment
from cashup.workers.newborn import Request

WARM_SECONDS = 60.0
"""How long a template may take until it has imported everything and answers."""

_CONNECT_SECONDS = 30.0
_STATUS_SECONDS = 5.0
_UNKNOWN = -signal.SIGKILL
"""The exit code of a process whose template died before it could say how it ended."""


class Forked:
    """A process that a template forked for this one. A bound one is killed when this object, or its holder, is gone."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, watch: int, lifeline: int, connection: socket.socket, words: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(words)
        self.returncode: int | None = None
        self._watch = watch
        self._lifeline = lifeline
        self._connection = connection

    def poll(self) -> int | None:
        """Its exit code as `subprocess` has it (minus the number of the signal that killed it), None while it runs."""
        if self.returncode is None and select.select([self._watch], [], [], 0)[0]:
            self.returncode = self._status()
            self._close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Block until it has ended; raises subprocess.TimeoutExpired."""
        if self.returncode is None and not select.select([self._watch], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        code = self.poll()
        assert code is not None  # noqa: S101  (its pidfd is readable)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._watch, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def fileno(self) -> int:
        """A descriptor that is readable once it has ended (a pidfd)."""
        return self._watch

    def _status(self) -> int:
        self._connection.settimeout(_STATUS_SECONDS)
        try:
            return int(passage.receive(self._connection)[0]["exit"])
        except (EOFError, OSError):
            return _UNKNOWN

    def _close(self) -> None:
        self._connection.close()
        os.close(self._lifeline)
        os.close(self._watch)

    def __del__(self) -> None:
        if self.returncode is None:
            self._close()


def available(home: Path) -> bool:
    """True where templates can work: on Linux, and in a home that exists."""
    return sys.platform == "linux" and home.is_dir()


def start(flavour: str, home: Path, env: Mapping[str, str] | None = None) -> None:
    """Start the template of this flavour unless it runs; returns at once."""
    if available(home):
        _start(_socket(flavour, home, env or os.environ), flavour, env or os.environ)


def fork(
    flavour: str,
    home: Path,
    work: str,
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path,
    descriptors: Mapping[int, int],
    starting: bool = True,
    bound: bool = True,
) -> Forked | None:
    """A process that does `work` (see `newborn.WORK`), forked from the template of this flavour.

    `descriptors` maps the numbers it shall find to open descriptors of this process; 0, 1 and 2 must be among them.
    With `starting` a template is started when there is none. A process that is not `bound` lives on when this one dies.
    None when there is no template to be had; raises OSError when the folder `cwd` cannot be entered.
    """
    if not available(home):
        return None
    connection = _connection(flavour, home, env, starting=starting)
    if connection is None:
        return None
    request = Request(work, list(words), os.fspath(cwd), _umask(), dict(env), list(descriptors), bound)
    lifeline, held = os.pipe()
    try:
        connection.settimeout(WARM_SECONDS)
        passage.send(connection, request.to_json(), [*descriptors.values(), lifeline])
        answer, watch = passage.receive(connection)
    except (EOFError, OSError):
        os.close(held)
        connection.close()
        return None  # the template died, or does not answer: somebody else shall do it
    finally:
        os.close(lifeline)
    if "pid" not in answer:
        os.close(held)
        connection.close()
        if "error" in answer:
            raise OSError(answer["error"])
        return None  # it died before it had become anything; its template's log says why
    return Forked(answer["pid"], watch[0], held, connection, words)


def _connection(flavour: str, home: Path, env: Mapping[str, str], *, starting: bool) -> socket.socket | None:
    path = _socket(flavour, home, env)
    connection = passage.connect(path)
    if connection is not None or not starting:
        return connection
    process = _start(path, flavour, env)
    return None if process is None else _wait_for(path, process)


def _socket(flavour: str, home: Path, env: Mapping[str, str]) -> Path:
    return home / "run" / "warm" / f"{flavour}-{identity(flavour, env)}.sock"


_ALLOCATION: dict[str, dict[str, str]] = {"research": {}, "live": {"MALLOC_ARENA_MAX": "1"}}
"""How the C library keeps memory, which it reads once. A worker has a dozen threads, of which one at a time works."""


def _start(path: Path, flavour: str, env: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """Start a template; None when the home has no place for it."""
    home = path.parents[2]
    try:
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
    except OSError:
        return None
    with (home / "logs" / f"template-{flavour}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cashup.workers.template", flavour, str(path)],
            env=template_environment(env) | {"PATH": env.get("PATH", os.defpath)} | _ALLOCATION[flavour],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    _started[:] = [earlier for earlier in _started if earlier.poll() is None]
    _started.append(process)
    return process


_started: list[subprocess.Popen[bytes]] = []
"""Templates of this process that may run still; one that has ended is waited for when the next one is started."""


@atexit.register
def _let_go() -> None:
    for process in _started:
        if process.poll() is None:
            process.returncode = 0  # it outlives us; without this, Popen would warn that it was not waited for


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> socket.socket | None:
    """A connection to the template that `process`, or another one that was faster, is about to be."""
    deadline = time.monotonic() + _CONNECT_SECONDS
    while time.monotonic() < deadline:
        connection = passage.connect(path)
        if connection is not None or process.poll() not in (None, 0):
            return connection
        time.sleep(0.005)
    return None


def _umask() -> int:
    # os.umask() can only be read by setting it, and another thread might make a file meanwhile.
    found = re.search(r"^Umask:\s*([0-7]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 8) if found else 0o077
