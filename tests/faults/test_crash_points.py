"""kill -9 at each of the named crash points: a new process finishes, each order is on the venue once, and booked.

`POINTS` says how each one is hit and what the tables hold at that moment, which shows that it was hit. Two scripts:
`buy` (a target that becomes a market order) and `rest` (limit orders: one is cancelled, a kill takes the others).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pytest

from cashup.errors import StorageError
from cashup.storage import schema
from cashup.storage.database import create_engine
from tests.faults.crashes.points import WRITTEN, AfterDeath, Itself, Passing, Point, Within
from tests.faults.crashes.stage import ROOT, Stage
from tests.faults.proxy import DOWN, UP, Proxy

pytestmark = pytest.mark.faults

_BOOKED = "EXISTS (SELECT FROM orders WHERE state IN ('open', 'filled'))"
_STATE = "(SELECT min(state) FROM orders) = "
_SENDING = _STATE + "'sending'"
_TRADES = "EXISTS (SELECT FROM fills)"
_INTENT = "EXISTS (SELECT FROM intents)"
_RESTING = "EXISTS (SELECT FROM orders WHERE state = 'open')"
_CANCELLING = "EXISTS (SELECT FROM orders WHERE state = 'pending_cancel')"
_KILLED = "EXISTS (SELECT FROM halts WHERE code = 'kill')"

POINTS: dict[str, tuple[str, Point, str, tuple[str, ...]]] = {
    "C01": ("frame read", Itself("intent"), f"NOT {_INTENT}", ("buy",)),
    "C02": ("after the idempotency lookup", Passing("postgres", b'"body_hash"'), f"NOT {_INTENT}", ("buy", "rest")),
    "C03": ("intent inserted", Within("intents"), f"NOT {_INTENT}", ("buy", "rest")),
    "C04": (
        "reservation posted",
        Within("ledger_entries", when="NEW.kind = 'reserved'"),
        f"NOT {_INTENT}",
        ("buy", "rest"),
    ),
    "C05": (
        "COMMIT sent, acknowledgement lost",
        Passing("postgres", b'"body_hash"', share=1.0, committed=_INTENT),
        _STATE + "'pending_send'",
        ("buy", "rest"),
    ),
    "C06": ("committed", Passing("postgres", b"send claim"), _STATE + "'pending_send'", ("buy", "rest")),
    "C07": ("send claim committed", Itself("claimed"), _SENDING, ("buy", "rest")),
    "C08": ("half of the bytes written", Passing("venue", WRITTEN.what, share=0.5), _SENDING, ("buy", "rest")),
    "C09": ("all bytes written", WRITTEN, _SENDING, ("buy", "rest")),
    "C10": (
        "response bytes read",
        Passing("venue", b"HTTP/1.1 201", direction=DOWN, share=1.0),
        "true",
        ("buy", "rest"),
    ),
    "C11": ("response parsed", Itself("answered"), "true", ("buy", "rest")),
    "C12": (
        "inside the acknowledgement transaction",
        Within("orders", "UPDATE", "NEW.state IN ('open', 'filled')"),
        f"NOT {_BOOKED}",
        ("buy", "rest"),
    ),
    "C13": ("acknowledgement committed", Itself("booked"), _BOOKED, ("buy", "rest")),
    "C14": (
        "notified, outbox unmarked",
        Itself("told"),
        "EXISTS (SELECT FROM outbox WHERE kind = 'order_changed' AND NOT published)",
        ("buy", "rest"),
    ),
    "C15": ("WebSocket frame read", Itself("frame"), "NOT EXISTS (SELECT FROM inbox)", ("buy", "rest")),
    "C16": ("inbox uncommitted", Within("inbox"), "NOT EXISTS (SELECT FROM inbox)", ("buy", "rest")),
    "C17": (
        "inbox committed",
        Passing("postgres", b'"applied":false', share=1.0, committed="EXISTS (SELECT FROM inbox WHERE NOT applied)"),
        "EXISTS (SELECT FROM inbox WHERE NOT applied)",
        ("buy", "rest"),
    ),
    "C18": ("fill applied, ledger not yet", Within("fills"), f"NOT {_TRADES}", ("buy",)),
    "C19": ("committed", Passing("postgres", b'"trade_id"', share=1.0, committed=_TRADES), _TRADES, ("buy",)),
    "C20": (
        "XADD done, outbox unmarked",
        Passing("redis", b"XADD", share=1.0, committed="true"),
        "EXISTS (SELECT FROM outbox WHERE NOT published)",
        ("buy", "rest"),
    ),
    "C21": ("cancel claimed", Itself("cancel 1"), _CANCELLING, ("rest",)),
    "C22": ("cancel sent", Passing("venue", b"DELETE /api/v4/spot/orders", share=1.0), _CANCELLING, ("rest",)),
    "C23": ("cancel answer read", Itself("cancelled"), _CANCELLING, ("rest",)),
    "C24": (
        "reconciliation page 1 of n",
        AfterDeath(Passing("venue", b"GET /api/v4/spot/open_orders", share=1.0)),
        "EXISTS (SELECT FROM account_leases WHERE state = 'reconciling')",
        ("buy", "rest"),
    ),
    "C25": (
        "exchange state completely read",
        AfterDeath(Itself("balances")),
        "EXISTS (SELECT FROM account_leases WHERE state = 'reconciling')",
        ("buy", "rest"),
    ),
    "C26": (
        "difference k of n",
        AfterDeath(Within("order_events", when="NEW.to_state IN ('open', 'filled')")),
        "true",
        ("buy", "rest"),
    ),
    "C27": (
        "before READY",
        AfterDeath(Passing("postgres", b"\x00\x00\x00\x05ready")),
        "EXISTS (SELECT FROM account_leases WHERE state = 'reconciling')",
        ("buy", "rest"),
    ),
    "C28": ("kill flag committed", Itself("killed"), f"{_KILLED} AND {_RESTING}", ("rest",)),
    "C29": ("cancel-all at market k of n", Itself("cancel 3"), _KILLED, ("rest",)),
    "C30": (
        "countdown refresh unanswered",
        Passing("venue", b"countdown_cancel_all", share=1.0),
        "EXISTS (SELECT FROM countdowns WHERE due > 0)",
        ("rest",),
    ),
    "C31": ("countdown disarmed", Itself("disarmed"), "EXISTS (SELECT FROM countdowns WHERE due > 0)", ("rest",)),
}
"""By point: the moment, how it is hit, what the tables hold right after the death, and the scripts that come to it."""

CASES = [(name, script) for name, (_, _, _, scripts) in POINTS.items() for script in scripts]


@pytest.mark.parametrize(("point", "script"), CASES, ids=["-".join(case) for case in CASES])
async def test_killed_at(point: str, script: str, stage: Stage) -> None:
    _, moment, seen, _ = POINTS[point]
    await moment.strike(stage, script)
    assert await stage.holds(seen), f"{point} was not hit where it should be"
    await stage.rest_of(script)
    await stage.check(script)


async def test_c32_an_upgrade_that_was_killed_half_way_is_seen_and_can_be_repeated(empty_database_url: str) -> None:
    """By the command itself, in the first migration; scenario 60 cuts off a later one."""
    sockets = Path(empty_database_url.partition("host=")[2])
    with tempfile.TemporaryDirectory(prefix="cx-") as folder:
        proxy = Proxy(sockets / ".s.PGSQL.5432", listen=Path(folder) / ".s.PGSQL.5432")
        await proxy.start()
        environment = os.environ | {"CASHUP_DATABASE_URL": empty_database_url.replace(str(sockets), folder)}
        environment |= {"CASHUP_HOME": folder, "PYTHONPATH": str(ROOT)}
        command = (sys.executable, "-m", "cashup", "db", "upgrade")
        process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT)
        hook = proxy.when(lambda link, data: process.kill(), direction=UP, what=b"CREATE TABLE ledger_entries")
        assert await process.wait() == -9
        assert hook.reached.is_set()
        await proxy.stop()
    engine = create_engine(empty_database_url)
    with pytest.raises(StorageError, match=r"run `cashup db upgrade`"):
        await schema.prepare(engine, ours=False)
    assert await schema.upgrade(engine) == schema.head()
    await schema.prepare(engine, ours=False)
    await engine.dispose()
