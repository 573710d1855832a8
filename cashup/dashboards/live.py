"""Keeping an overview true: a snapshot over REST, then the gateway's stream, for as long as the page is open."""

from __future__ import annotations

import asyncio

from cashup.client import Backoff, Client, Row, Socket
from cashup.clock import WallClock
from cashup.dashboards.board import Board
from cashup.dashboards.handover import handed_token
from cashup.dashboards.overview import Overview
from cashup.errors import Unauthenticated, Unavailable
from cashup.events import Event, EventKind
from cashup.settings import Settings, load_settings

DRAW_EVERY = 0.2
"""Seconds between two drawings at most: events come faster than anybody looks."""

REPORT_EVERY = 60.0
"""Seconds between two questions whether there is a newer report: there is one a day."""

POLL_EVERY = 3.0
"""Seconds between two questions whether the gateway is there and how the worker is (its heartbeats are no events)."""


def connect(settings: Settings | None = None) -> Client:
    """A client that may read: with the token handed to this kernel, else with this machine's login (for authors)."""
    settings = settings or load_settings()
    token = handed_token()
    return Client.from_settings(settings) if token is None else Client(settings.gateway, token)


def keep_live(overview: Overview, client: Client, deployment: str | None = None) -> asyncio.Task[None]:
    """Start to keep `overview` live on the running event loop; the task ends when the session has ended.

    It shows `deployment`, default the one that was changed last, and waits for one as long as there is none.
    """
    task = asyncio.get_running_loop().create_task(_keep(overview, client, deployment))
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


_running: set[asyncio.Task[None]] = set()
"""A task that nobody holds may be collected while it runs."""


async def _keep(overview: Overview, client: Client, deployment: str | None) -> None:
    changed = asyncio.Event()
    try:
        overview.adopt(await _choose(overview, client, deployment))
        async with asyncio.TaskGroup() as group:
            group.create_task(_follow(overview, client, changed))
            group.create_task(_poll(overview, client, changed))
            group.create_task(_read_reports(overview, client, changed))
            group.create_task(_paint(overview, changed))
    except* Unauthenticated:
        overview.sign_out()


async def _choose(overview: Overview, client: Client, deployment: str | None) -> Row:
    while True:
        try:
            rows = await asyncio.to_thread(client.deployments)
        except Unavailable:
            rows = []  # the page counts the seconds since the gateway was heard
        else:
            overview.heard()
        rows = [row for row in rows if deployment in (None, row["name"])]
        if rows:
            return max(rows, key=lambda row: int(row["updated_at"]))
        await asyncio.sleep(POLL_EVERY)


async def _follow(overview: Overview, client: Client, changed: asyncio.Event) -> None:
    """Subscribe, then load the snapshot, so that nothing falls between the two; again at each reconnect."""
    board = overview.board
    backoff = Backoff()
    while True:
        await backoff.wait()
        try:
            socket = await Socket.connect(client.gateway, client.token)
            try:
                streams = [f"deployment:{board.deployment}"]
                await socket.send({"type": "events.subscribe", "streams": streams, "after": None})
                await _snapshot(board, client)
                changed.set()
                backoff.reset()
                while True:
                    message = await socket.receive()
                    overview.heard()
                    if message["type"] == "event" and board.apply(_event(message)):
                        changed.set()
            finally:
                await socket.close()
        except Unavailable:
            continue  # the gateway restarts; the page says how long ago it was heard


async def _snapshot(board: Board, client: Client) -> None:
    name = board.deployment
    board.load_deployment(await asyncio.to_thread(client.deployment, name), WallClock().now())
    board.load_curve(await asyncio.to_thread(client.equity, name))
    board.load_positions(await asyncio.to_thread(client.positions, name), WallClock().now())
    board.load_orders(await asyncio.to_thread(client.orders, name))


def _event(message: Row) -> Event:
    kind = EventKind(message["kind"])
    return Event(message["seq"], message["stream"], kind, message["at"], message["data"])


async def _poll(overview: Overview, client: Client, changed: asyncio.Event) -> None:
    while True:
        try:
            row = await asyncio.to_thread(client.deployment, overview.board.deployment)
            alerts = await asyncio.to_thread(client.alerts)
        except Unavailable:
            pass  # the page counts the seconds since the gateway was heard
        else:
            overview.heard()
            overview.board.load_deployment(row, WallClock().now())
            overview.board.load_alerts(alerts, WallClock().now())
            changed.set()
        await asyncio.sleep(POLL_EVERY)


async def _read_reports(overview: Overview, client: Client, changed: asyncio.Event) -> None:
    while True:
        try:
            overview.board.load_reports(await asyncio.to_thread(client.reports, overview.board.deployment, 1))
        except Unavailable:
            pass
        else:
            changed.set()
        await asyncio.sleep(REPORT_EVERY)


async def _paint(overview: Overview, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        overview.draw(WallClock().now())
        await asyncio.sleep(DRAW_EVERY)
