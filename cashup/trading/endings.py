"""What follows the end of an attempt: another one, or giving up, and what then becomes of orders and positions.

All of it is decided and committed with the end itself, from what the tables say: how often a deployment's workers died
is counted there, so it survives the supervisor. What `on_exit` asks for is a row of `sweeps`, which the gateway that
trades the account carries out, after a crash as well (`sweep.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Subquery, and_, case, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.events import EventKind
from cashup.notifications.alerts import GIVEN_UP, Alert, Severity, raise_alert
from cashup.storage.outbox import emit
from cashup.strategies.conduct import Restarts, conduct_of
from cashup.strategies.endings import DEATHS, FINAL, Reason
from cashup.trading.halts import Scope
from cashup.trading.kill import Kill, begin_sweep
from cashup.trading.tables import attempts, deployments, sweeps
from cashup.types import Millis
from cashup.users.audit import record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows: nobody starts it (`stopped`), it is started `again` in `wait` ms, or it is `given_up`."""

    kind: str
    wait: Millis | None = None
    deaths: int = 0

    def row(self) -> dict[str, Any]:
        """As the API says it."""
        return {"verdict": self.kind, "again_in": self.wait, "deaths": self.deaths}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs: a machine by its name, and one of its lives, from one start of the machine to the next."""

    host: str
    boot: str


async def lose_rebooted(
    connection: AsyncConnection, place: Place, now: Millis, among: ColumnElement[bool] | None = None
) -> None:
    """Attempts that never ended and ran on this machine in an earlier life of it are lost (of those `among`)."""
    gone = attempts.c.finished_at.is_(None) & (attempts.c.host == place.host) & (attempts.c.boot != place.boot)
    lost = update(attempts).where(gone if among is None else gone & among)
    lost = lost.values(
        state="lost",
        reason=Reason.REBOOTED.value,
        finished_at=now,
        message=f"the machine {place.host} was started anew while it ran",
    ).returning(attempts.c.deployment, attempts.c.number, attempts.c.message)
    for row in (await connection.execute(lost)).all():
        data = {"deployment": row.deployment, "attempt": row.number, "state": "lost", "message": row.message}
        data["reason"] = Reason.REBOOTED.value
        await emit(connection, f"deployment:{row.deployment}", EventKind.ATTEMPT_FINISHED, data, now)


def deaths_of(now: Millis) -> Subquery:
    """Per deployment: how often its workers died within its window, and when last (`deaths`, `last`)."""
    window = cast(func.coalesce(deployments.c.spec["restarts"]["window"].astext, "600"), Float) * 1000
    since = func.greatest(now - window, func.coalesce(deployments.c.started_at, 0))
    died = attempts.c.reason.in_([reason.value for reason in DEATHS])
    unready = and_(attempts.c.reason == Reason.GATEWAY_UPGRADED.value, attempts.c.bar.is_(None))
    return (
        select(
            deployments.c.name.label("deployment"),
            func.count(attempts.c.number).label("deaths"),
            func.max(attempts.c.finished_at).label("last"),
        )
        .join(attempts, attempts.c.deployment == deployments.c.name)
        .where(died | unready, attempts.c.finished_at > since)
        .group_by(deployments.c.name)
        .subquery("died")
    )


def pause_after(restarts: Restarts, deaths: int) -> Millis | None:
    """How long to wait after so many deaths within the window; None when there were too many.

    The first new start is immediate, then the pauses double.
    """
    if deaths > restarts.limit:
        return None
    if deaths <= 1:
        return 0
    return round(1000 * min(restarts.pause * 2.0 ** min(deaths - 2, 40), restarts.longest))


def again_in(spec: dict[str, Any], deaths: int, last: Millis | None, now: Millis) -> Millis:
    """How long to wait for the next start of a deployment whose workers died so often, the last one at `last`."""
    wait = pause_after(conduct_of(spec).restarts, deaths) or 0
    return 0 if last is None else max(last + wait - now, 0)


async def settle(connection: AsyncConnection, name: str, number: int, reason: Reason, why: str, now: Millis) -> Verdict:
    """Decide what follows the end of attempt `number`, which is written already, and make it so in this transaction."""
    found = await connection.execute(
        select(deployments.c.desired, deployments.c.spec).where(deployments.c.name == name).with_for_update()
    )
    row = found.one()
    if row.desired == "stopped" or reason in (Reason.STOPPED, Reason.REPLACED):
        return Verdict("stopped")
    if reason in FINAL:
        await give_up(connection, name, why, now)
        return Verdict("given_up")
    died = deaths_of(now)
    query = select(died.c.deaths, died.c.last).where(died.c.deployment == name)
    counted = (await connection.execute(query)).first()
    deaths = counted.deaths if counted is not None else 0
    if pause_after(conduct_of(row.spec).restarts, deaths) is None:
        await give_up(connection, name, f"{why}; its workers died {deaths} times", now)
        return Verdict("given_up", None, deaths)
    return Verdict("again", again_in(row.spec, deaths, counted.last if counted is not None else None, now), deaths)


async def give_up(connection: AsyncConnection, name: str, why: str, now: Millis) -> None:
    """Nobody starts it again: it is wished to stop, its exit begins, and an alert stands."""
    stopped = update(deployments).where(deployments.c.name == name).values(desired="stopped", updated_at=now)
    await connection.execute(stopped)
    detail = {"why": why}
    await record(connection, at=now, subject="system", action="deployment.give_up", target=name, detail=detail)
    await begin_exit(connection, name, "given up on", now)
    sentence = f"{name} is not started again ({why}); look at it, then `cashup live start {name}`"
    await raise_alert(connection, Alert(GIVEN_UP, sentence, Severity.CRITICAL, name), now)


async def begin_exit(connection: AsyncConnection, name: str, why: str, now: Millis) -> None:
    """Have done what the deployment's `on_exit` asks for: cancel what rests, or also sell what is held."""
    spec = (await connection.execute(select(deployments.c.spec).where(deployments.c.name == name))).scalar_one()
    policy = conduct_of(spec).on_exit
    if policy == "keep":
        return
    await connection.execute(begin_sweep(Kill(Scope.DEPLOYMENT, name, flatten=policy == "flatten"), now, exit_=True))
    detail = {"on_exit": policy, "why": why}
    await record(connection, at=now, subject="system", action="deployment.on_exit", target=name, detail=detail)
    await tell_exit(connection, name, policy == "flatten", "begun", now)


async def end_exit(connection: AsyncConnection, name: str, *, by: str, now: Millis) -> None:
    """It shall run again: what is left of its exit is left."""
    undone = (sweeps.c.scope == Scope.DEPLOYMENT.value) & (sweeps.c.name == name) & sweeps.c.on_exit
    undone &= sweeps.c.state != "done"
    row = (await connection.execute(delete(sweeps).where(undone).returning(sweeps.c.flatten))).first()
    if row is not None:
        await record(connection, at=now, subject=by, action="deployment.on_exit.end", target=name)
        await tell_exit(connection, name, row.flatten, "ended", now)


async def tell_exit(connection: AsyncConnection, name: str, flatten: bool, state: str, now: Millis) -> None:
    """Emit how far the exit of a deployment is: `begun`, `done`, or `ended` by a new start."""
    policy = "flatten" if flatten else "cancel"
    data = {"deployment": name, "on_exit": policy, "state": state}
    await emit(connection, f"deployment:{name}", EventKind.EXIT_CHANGED, data, now)


def exits() -> Subquery:
    """Per deployment: how far its exit is, the newest one (`on_exit`, `state`, `message`)."""
    policy = case((sweeps.c.flatten, "flatten"), else_="cancel")
    return (
        select(sweeps.c.name.label("deployment"), policy.label("on_exit"), sweeps.c.state, sweeps.c.message)
        .where(sweeps.c.scope == Scope.DEPLOYMENT.value, sweeps.c.on_exit)
        .subquery("exits")
    )
