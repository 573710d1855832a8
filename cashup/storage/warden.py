"""The process that keeps an embedded PostgreSQL and Redis running exactly as long as somebody uses them.

`embedded.py` starts this file as a script, with the standard library alone, so that it is small and starts at once.
Users hold a shared lock on `users.lock`; this process waits for the exclusive one. The kernel drops a lock when its
holder dies, however it dies, so the servers end with their last user and never earlier.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 20.0

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class StartFailed(Exception):
    """A server did not come up; the message is shown to the person who started it."""


@dataclass(frozen=True)
class Plan:
    """Where everything is; written by `embedded.py`, read here."""

    home: Path
    postgres_bin: Path
    redis_server: Path
    postgres_socket: Path
    redis_socket: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self.home / "postgres" / "data"

    @property
    def logs(self) -> Path:
        """Where the servers write what they have to say."""
        return self.home / "logs"


class Postgres:
    """One PostgreSQL server on a unix socket. As root it runs as another user, because it refuses to be root."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._user = _postgres_user() if os.geteuid() == 0 else None
        self._demote = self._become() if self._user else None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the data folder if there is none, start the server unless it runs already, wait until it answers."""
        self._own(self._plan.data.parent)
        self._own(self._plan.postgres_socket)
        if not (self._plan.data / "PG_VERSION").exists():
            self._init()
        if self._pid() is None:
            (self._plan.data / "postmaster.pid").unlink(missing_ok=True)
            self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process is not None and self._process.poll() is not None:
                raise StartFailed(f"PostgreSQL did not start; {_tail(self._plan.logs / 'postgres.log')}")
            if time.monotonic() > deadline:
                raise StartFailed(f"PostgreSQL did not answer; {_tail(self._plan.logs / 'postgres.log')}")
            time.sleep(0.005)

    def alive(self) -> bool:
        """True while the server process exists."""
        if self._process is not None:
            return self._process.poll() is None
        return self._pid() is not None

    def stop(self) -> None:
        """A fast shutdown (clients are cut, everything committed is safe); killed when it takes too long."""
        for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            pid = self._pid()
            if pid is None:
                return
            os.kill(pid, sign)
            if _until(lambda: not self.alive(), STOP_SECONDS):
                return

    def _init(self) -> None:
        fresh = self._plan.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = [
            str(self._plan.postgres_bin / "initdb"),
            "-D",
            str(fresh),
            "-U",
            "cashup",
            "--auth=trust",
            "--encoding=UTF8",
        ]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums"]
        done = subprocess.run(
            command, cwd="/", env=_environment(), preexec_fn=self._demote, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise StartFailed(f"a database folder could not be made under {self._plan.home}: {' '.join(reason)}")
        fresh.rename(self._plan.data)

    def _launch(self) -> None:
        command = [str(self._plan.postgres_bin / "postgres"), "-D", str(self._plan.data)]
        command += ["-k", str(self._plan.postgres_socket)]
        for name, value in _POSTGRES_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with (self._plan.logs / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                env=_environment(),
                preexec_fn=self._demote,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[7].strip() == "ready" and self._pid() is not None

    def _pid(self) -> int | None:
        """The running server's process, or None; a pid file of a dead server or of a reused pid does not count."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        return pid if _runs(pid, str(self._plan.data)) else None

    def _pid_file(self) -> list[str]:
        try:
            return (self._plan.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    def _become(self) -> Callable[[], None]:
        """A function for the child that gives up root for good; made here because libraries are not loaded after fork.

        Where a folder on the way is closed to others (a home of mode 0700), the child keeps the one capability that
        passes it. Opening the folders to everybody would be worse.
        """
        assert self._user is not None  # noqa: S101
        uid, gid = self._user.pw_uid, self._user.pw_gid
        keep = not all(_passable(path, uid) for path in (self._plan.home, self._plan.postgres_bin))
        keep = keep or not _passable(self._plan.postgres_socket, uid)
        libc = ctypes.CDLL(None, use_errno=True) if keep else None

        def demote() -> None:
            if libc is not None:
                libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
                libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            if libc is not None:
                _keep_passage(libc)

        return demote


class Redis:
    """One Redis server on a unix socket. It keeps nothing on disk: what it holds may be lost at any time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = plan.home / "redis"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it runs already, and wait until it answers."""
        if not self.alive():
            self._launch()
        if not _until(self._answers, START_SECONDS, giving_up=lambda: not self.alive()):
            raise StartFailed(f"Redis did not start; {_tail(self._plan.logs / 'redis.log')}")

    def alive(self) -> bool:
        """True while the server process exists, whether it answers or is busy or stopped."""
        if self._process is not None:
            return self._process.poll() is None
        return self._pid() is not None

    def stop(self) -> None:
        """Shut it down, there is nothing to save; killed when it takes too long."""
        self._ask(b"SHUTDOWN NOSAVE\r\n")
        if _until(lambda: not self.alive(), STOP_SECONDS):
            return
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            _until(lambda: not self.alive(), STOP_SECONDS)

    def _launch(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._plan.redis_socket.unlink(missing_ok=True)
        command = [str(self._plan.redis_server), "--port", "0", "--unixsocket", str(self._plan.redis_socket)]
        command += ["--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        command += ["--pidfile", str(self._folder / "redis.pid"), "--loglevel", "warning"]
        with (self._plan.logs / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _pid(self) -> int | None:
        """The running server's process, or None; a pid file of a dead server or of a reused pid does not count."""
        try:
            written = (self._folder / "redis.pid").read_text().strip()
        except FileNotFoundError:
            return None
        return int(written) if written.isdigit() and _runs(int(written), str(self._plan.redis_socket)) else None

    def _answers(self) -> bool:
        return self._ask(b"PING\r\n").startswith(b"+PONG")

    def _ask(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self._plan.redis_socket))
                connection.sendall(command)
                return connection.recv(64)
            except OSError:
                return b""


_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_NO_SETUID_FIXUP = 1 << 2
"""Without it access(2), by which initdb looks for its programs, forgets the capability of whoever is not root."""

_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION = 0x20080522


def _keep_passage(libc: ctypes.CDLL) -> None:
    """Leave this process, and what it executes, with CAP_DAC_OVERRIDE and no other capability."""
    mask = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _passable(path: Path, uid: int) -> bool:
    """True when the user `uid`, being in no group, can reach `path` from the root."""
    for folder in (path, *path.parents):
        if folder.exists():
            found = folder.stat()
            if not found.st_mode & (0o100 if found.st_uid == uid else 0o001):
                return False
    return True


def _postgres_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartFailed("PostgreSQL does not run as root, and there is neither a user postgres nor nobody; add one")


def _environment() -> dict[str, str]:
    """Nothing of the caller's environment: it may hold secrets, and PG* variables would change the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _runs(pid: int, word: str) -> bool:
    """True while there is a process of this number with this word in its command line."""
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return word in shown.stdout


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"the last words in {log} are: {lines[-1]}" if lines else f"see {log}"


def _until(true: Callable[[], bool], seconds: float, giving_up: Callable[[], bool] = lambda: False) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if giving_up() or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def main() -> int:
    """Hold `warden.lock`, start both servers, say `ready` on stdout, and stop them when the last user has gone."""
    paths = {name: Path(value) for name, value in json.loads(sys.argv[1]).items()}
    plan = Plan(**paths)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    lock = (plan.home / "run" / "warden.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _answer("another process is already starting the embedded servers; try again")
    servers = None
    try:
        plan.logs.mkdir(exist_ok=True)
        servers = (Postgres(plan), Redis(plan))
        for server in servers:
            server.start()
    except (StartFailed, OSError) as error:
        for server in servers or ():
            server.stop()
        return _answer(str(error))
    _answer("ready")
    threading.Thread(target=_wait_for_users, args=(plan, over), daemon=True).start()
    _keep(servers, over)
    for server in reversed(servers):
        server.stop()
    return 0


def _keep(servers: tuple[Postgres, Redis], over: threading.Event) -> None:
    """Until `over`: a server that died is started again (the truth is on PostgreSQL's disk, Redis may forget)."""
    while not over.wait(0.5):
        for server in servers:
            if not server.alive() and not over.is_set():
                try:
                    server.start()
                except (StartFailed, OSError) as error:
                    sys.stderr.write(f"{error}\n")
                    over.wait(1)


def _wait_for_users(plan: Plan, over: threading.Event) -> None:
    users = (plan.home / "run" / "users.lock").open("w")
    fcntl.flock(users, fcntl.LOCK_EX)
    over.set()
    threading.Event().wait()  # the lock is held until this process has stopped the servers and ends


def _answer(line: str) -> int:
    """Tell the starter, who may have gone already, and let go of its pipe."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line.replace("\n", " ").encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


if __name__ == "__main__":
    sys.exit(main())
