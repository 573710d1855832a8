"""`cashup gateway`, `user`, `account` and `db` as a person runs them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.settings import Settings
from cashup.storage.database import transaction

PASSWORD = "correct horse battery"


class Cli:
    """The command line with the home, database and Redis of one test."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database_url is not None
        assert settings.redis_url is not None
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("CASHUP_") or name == "CASHUP_WARM"
        } | {
            "CASHUP_HOME": str(settings.home_path),
            "CASHUP_DATABASE_URL": settings.database_url.get_secret_value(),
            "CASHUP_REDIS_URL": settings.redis_url.get_secret_value(),
        }
        self.folder = settings.home_path.parent

    def __call__(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cashup", *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.env | env,
            cwd=self.folder,
            timeout=120,
            check=False,
        )

    @contextmanager
    def gateway(self, *words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
        """A gateway that listens, and what it said."""
        command = [sys.executable, "-m", "cashup", "gateway", "--port", "0", "--json", *words]
        log = (self.folder / "gateway.log").open("a")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.env, cwd=self.folder
        )
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()
            log.close()


@pytest.fixture
def cli(settings: Settings) -> Cli:
    return Cli(settings)


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one sentence with which a command failed."""
    assert done.returncode == code, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("cashup: ")
    assert done.stdout == ""
    return lines[0]


def test_a_taken_port_is_one_sentence(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = complaint(cli("gateway", "--port", str(port)), 1)
    assert f"port {port} is taken" in sentence
    assert "CASHUP_PORT" in sentence


def test_the_first_password_is_shown_once_and_can_be_set_again(cli: Cli) -> None:
    with cli.gateway() as (process, said):
        body = {"name": "admin", "password": said["admin_password"]}
        assert httpx.post(f"{said['url']}/api/v1/auth/login", json=body).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert said["admin_password"] not in (cli.folder / "gateway.log").read_text()
    new = json.loads(cli("user", "password", "admin", "--json").stdout)["password"]
    with cli.gateway() as (_, again):
        assert again["admin_password"] is None
        login = f"{again['url']}/api/v1/auth/login"
        assert httpx.post(login, json=body).status_code == 401
        assert httpx.post(login, json={"name": "admin", "password": new}).status_code == 200


def test_people_are_administered(cli: Cli) -> None:
    assert cli("user", "create", "eva", "--role", "trader", stdin=PASSWORD).returncode == 0
    users = json.loads(cli("user", "list", "--json").stdout)
    assert [(user["name"], user["role"], user["disabled"]) for user in users] == [("eva", "trader", False)]
    assert "already" in complaint(cli("user", "create", "eva", stdin=PASSWORD), 1)
    assert "role" in complaint(cli("user", "create", "max", "--role", "king", stdin=PASSWORD), 2)
    assert "characters" in complaint(cli("user", "create", "max", stdin="short"), 2)
    assert "no user" in complaint(cli("user", "password", "nobody", stdin=PASSWORD), 1)
    assert cli("user", "token", "eva").stdout.count(".") == 2


def test_an_account_is_stored_by_whoever_is_logged_in(cli: Cli) -> None:
    with cli.gateway() as (_, said):
        where = {"CASHUP_GATEWAY_URL": said["url"]}
        assert "log in" in complaint(cli("account", "list", **where), 1)
        assert "wrong user name or password" in complaint(cli("user", "login", stdin="wrong", **where), 1)
        assert cli("user", "login", stdin=said["admin_password"], **where).returncode == 0
        made = cli("account", "create", "main", "--mode", "sandbox", "--json", stdin="the-key\nthe-secret\n", **where)
        assert json.loads(made.stdout)["name"] == "main"
        listed = cli("account", "list", "--json", **where).stdout
        assert [account["name"] for account in json.loads(listed)] == ["main"]
        assert "paper, sandbox or live" in complaint(
            cli("account", "create", "x", "--mode", "replay", stdin="the-key\nthe-secret\n", **where), 2
        )
        paper = ("account", "create", "toy", "--mode", "paper")
        assert cli(*paper, "--balance", "USDT=10000", "--liquidity", "unlimited", **where).returncode == 0
        assert "USDT=10000" in complaint(cli(*paper, **where), 2)
        assert "write it like USDT=10000" in complaint(cli(*paper, "--balance", "USDT", **where), 2)
        shown = cli("account", "show", "toy", **where).stdout
        assert "began with 10000 USDT" in shown
        assert "  5. The market takes and gives any quantity." in shown
        assert json.loads(cli("account", "show", "main", "--json", **where).stdout)["assumptions"] == []
    assert "the-secret" not in made.stdout + listed + (cli.folder / "gateway.log").read_text()
    assert "does not answer" in complaint(cli("account", "list", **where), 1)


def test_everything_is_killed_and_unkilled(cli: Cli) -> None:
    with cli.gateway() as (_, said):
        where = {"CASHUP_GATEWAY_URL": said["url"]}
        assert cli("user", "login", stdin=said["admin_password"], **where).returncode == 0
        killed = json.loads(cli("kill", "--all", "--reason", "a drill", "--json", **where).stdout)
        assert (killed["scope"], killed["reason"], killed["by"], killed["accounts"]) == ("all", "a drill", "admin", [])
        assert "everything may trade again" in cli("unkill", "--all", **where).stderr
        assert "not" in complaint(cli("unkill", "--all", **where), 1)
        assert "no deployment nobody" in complaint(cli("kill", "--deployment", "nobody", **where), 1)
        assert "no deployment nobody" in complaint(cli("flatten", "nobody", **where), 1)
        assert "one of --deployment" in complaint(cli("kill", "--all", "--user", "admin", **where), 2)
        assert "one of --deployment" in complaint(cli("kill", **where), 2)


def test_limits_are_set_shown_and_taken_away(cli: Cli) -> None:
    with cli.gateway() as (_, said):
        where = {"CASHUP_GATEWAY_URL": said["url"]}
        assert cli("user", "login", stdin=said["admin_password"], **where).returncode == 0
        assert "max_drawdown is 0.2" in cli("risk", "set", "user", "admin", "max_drawdown", "0.2", **where).stderr
        assert cli("risk", "set", "user", "admin", "on_breach", "halted", **where).returncode == 0
        limits = json.loads(cli("risk", "limits", "--json", **where).stdout)
        assert [row["limits"] for row in limits] == [{"max_drawdown": "0.2", "on_breach": "halted"}]
        shown = cli("risk", "limits", **where).stdout
        assert "max_drawdown" in shown
        assert "no limit of a user" in complaint(
            cli("risk", "set", "user", "admin", "max_open_orders", "3", **where), 2
        )
        assert "max_drawdown" in complaint(cli("risk", "set", "user", "admin", "max_drawdown", "2", **where), 2)
        assert "no account main" in complaint(cli("risk", "set", "account", "main", "max_drawdown", "1", **where), 1)
        assert cli("risk", "unset", "user", "admin", "max_drawdown", **where).returncode == 0
        assert "has no limit" in complaint(cli("risk", "unset", "user", "admin", "max_drawdown", **where), 1)
        assert json.loads(cli("risk", "show", "--json", **where).stdout) == []
        assert "no deployment nobody" in complaint(cli("risk", "show", "nobody", **where), 1)
        assert "nothing is halted" in complaint(cli("risk", "clear", "user", "admin", "daily_loss", **where), 1)


def test_servers_that_are_not_there_are_named(cli: Cli, tmp_path: Path) -> None:
    nowhere = f"postgresql://nobody@/nothing?host={tmp_path}"
    assert "CASHUP_DATABASE_URL" in complaint(cli("user", "list", CASHUP_DATABASE_URL=nowhere), 1)
    assert "PostgreSQL address" in complaint(cli("user", "list", CASHUP_DATABASE_URL="sqlite:///x"), 1)
    assert "CASHUP_REDIS_URL" in complaint(cli("user", "list", CASHUP_REDIS_URL=f"unix://{tmp_path}/none"), 1)


def test_a_database_of_another_version_is_refused_until_it_is_upgraded(cli: Cli, empty_database_url: str) -> None:
    where = {"CASHUP_DATABASE_URL": empty_database_url}
    sentence = complaint(cli("gateway", "--port", "0", **where), 1)
    assert "run `cashup db upgrade`" in sentence
    before = json.loads(cli("db", "status", "--json", **where).stdout)
    assert (before["version"], before["needed"]) == (None, before["needed"])
    assert cli("db", "upgrade", **where).returncode == 0
    after = json.loads(cli("db", "status", "--json", **where).stdout)
    assert after["version"] == before["needed"]
    assert cli("user", "list", "--json", **where).stdout == "[]\n"


async def test_a_database_that_forgets_is_refused(cli: Cli, database: AsyncEngine) -> None:
    async with transaction(database) as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        await connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    sentence = complaint(await asyncio.to_thread(cli, "gateway", "--port", "0"), 1)
    assert "synchronous_commit off" in sentence


def test_help_and_wrong_words(cli: Cli) -> None:
    assert "gateway" in cli("--help").stdout
    assert "No such command" in complaint(cli("gatway"), 2)
    assert "No such option" in complaint(cli("user", "list", "--jsn"), 2)
    assert cli("user").returncode == 2
    assert "Traceback" in cli("--debug", "user", "password", "nobody", stdin=PASSWORD).stderr
