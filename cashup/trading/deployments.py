"""Deployments: what shall run, its attempts, and who may start workers.

An attempt's number is its fence. A new attempt takes the fence of the older ones: their intents are refused from that
commit on, whatever they still believe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.errors import Conflict, DeploymentError, NotFound
from cashup.events import EventKind
from cashup.storage.database import transaction
from cashup.storage.outbox import emit
from cashup.strategies.conduct import conduct_of
from cashup.strategies.endings import Reason
from cashup.strategies.registry import version_on_record
from cashup.trading.endings import Place, begin_exit, end_exit, lose_rebooted, settle
from cashup.trading.engine import Engine
from cashup.trading.funding import Funding
from cashup.trading.standing import shown, view
from cashup.trading.supervision import claim
from cashup.trading.tables import attempts, books, deployments
from cashup.types import Millis
from cashup.users.audit import record
from cashup.users.tokens import Audience, Claims, Tokens

DEFAULT_QUOTE = "USDT"
"""The currency of the capital when the spec names no symbols."""

log = structlog.get_logger()

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_READY_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a worker's connection must know of its deployment.

    `decided` is the last bar that has an intent; before the first one, the newest bar when a worker was first ready, so
    that the bar that closed while that worker died is decided all the same. None: no worker was ever ready. Attempts
    with a number up to `renew` shall end: a restart was asked for. The newest attempt is `away` when it is not known to
    be connected.
    """

    account: str
    desired: str
    fence: int
    renew: int
    decided: Millis | None
    away: bool


@dataclass(frozen=True, slots=True)
class Spec:
    """What shall run, as it is stored. `capital` is in the quote currency of the symbols."""

    notebook: str
    account: str
    capital: Decimal
    document: Mapping[str, Any]

    @property
    def quote(self) -> str:
        """The currency that the deployment trades in."""
        symbols = self.document.get("symbols") or ()
        quotes = {symbol.partition("/")[2].partition(":")[0] for symbol in symbols}
        if len(quotes) > 1 or "" in quotes:
            raise DeploymentError(f"the symbols of a deployment share one quote currency, not {', '.join(symbols)}")
        return quotes.pop() if quotes else DEFAULT_QUOTE


class Deployments:
    """The deployments of one database. `emitted` is called after each commit with events in it."""

    def __init__(
        self, database: AsyncEngine, engine: Engine, tokens: Tokens, clock: Clock, emitted: Callable[[], None]
    ) -> None:
        self._database = database
        self._engine = engine
        self._tokens = tokens
        self._clock = clock
        self._emitted = emitted

    # -- what shall run -------------------------------------------------------------------------------------------

    async def all(self) -> list[dict[str, Any]]:
        """Every deployment with its newest attempt, by name."""
        async with self._database.connect() as connection:
            now = self._clock.now()
            return [view(dict(row), now) for row in (await connection.execute(shown(now))).mappings()]

    async def get(self, name: str) -> dict[str, Any]:
        """One deployment; raises NotFound."""
        now = self._clock.now()
        async with self._database.connect() as connection:
            row = (await connection.execute(shown(now).where(deployments.c.name == name))).mappings().first()
        if row is None:
            raise _unknown(name)
        return view(dict(row), now)

    async def exists(self, name: str) -> bool:
        """True when there is a deployment with this name."""
        async with self._database.connect() as connection:
            return (
                await connection.execute(select(deployments.c.name).where(deployments.c.name == name))
            ).first() is not None

    async def status(self, name: str) -> Status:
        """What is wished of the deployment and how far it is; raises NotFound."""
        first_ready = select(func.min(attempts.c.bar)).where(attempts.c.deployment == name).scalar_subquery()
        decided = func.coalesce(books.c.decided, first_ready).label("decided")
        newest = (attempts.c.deployment == name) & (attempts.c.number == deployments.c.fence)
        away = select(attempts.c.away_since).where(newest).scalar_subquery().is_not(None).label("away")
        columns = [deployments.c[key] for key in ("account", "desired", "fence", "renew")]
        query = (
            select(*columns, decided, away)
            .outerjoin(books, books.c.deployment == deployments.c.name)
            .where(deployments.c.name == name)
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise _unknown(name)
        return Status(row.account, row.desired, row.fence, row.renew, row.decided, row.away)

    async def put(self, name: str, spec: Spec, *, by: str) -> dict[str, Any]:
        """Store what shall run. A running deployment gets capital and limits at once, the rest with its next attempt.

        Raises DeploymentError for a bad name, Conflict when the book lies on another account or the money is not there.
        """
        if not _NAME.fullmatch(name):
            raise DeploymentError(f"{name!r} cannot be a deployment's name; use small letters, digits and . _ -")
        quote = spec.quote
        async with self._database.connect() as connection:
            old = (await connection.execute(select(deployments).where(deployments.c.name == name))).first()
        if old is not None and (old.account, old.quote) != (spec.account, quote):
            raise Conflict(f"{name} has its book in {old.quote} on account {old.account}; use another name")
        if old is not None and old.desired != "stopped":
            await self._engine.fund(spec.account, Funding(name, spec.capital, quote, spec.document))
        now = self._clock.now()
        values = {"spec": dict(spec.document), "capital": spec.capital, "updated_at": now}
        new = insert(deployments).values(
            name=name, account=spec.account, owner=by, quote=quote, created_at=now, **values
        )
        async with transaction(self._database) as connection:
            await connection.execute(new.on_conflict_do_update(index_elements=[deployments.c.name], set_=values))
            await record(connection, at=now, subject=by, action="deployment.put", target=name, detail=spec.document)
            await self._changed(connection, name)
        self._emitted()
        return await self.get(name)

    async def start(self, name: str, *, by: str) -> dict[str, Any]:
        """Wish the deployment to run; its capital is booked first.

        Raises Conflict when the account does not have the money, Unavailable when it cannot be traded, with the reason.
        """
        row = await self.get(name)
        await self._engine.ready(row["account"], _READY_SECONDS)
        await self._engine.fund(row["account"], Funding(name, Decimal(row["capital"]), row["quote"], row["spec"]))
        return await self._wish(name, "start", by, desired="running")

    async def stop(self, name: str, *, by: str) -> dict[str, Any]:
        """Wish the deployment to stop; its `on_exit` says what becomes of its orders and positions."""
        stopped = await self._wish(name, "stop", by, desired="stopped")
        self._engine.sweep()
        return stopped

    async def pause(self, name: str, *, by: str) -> dict[str, Any]:
        """Wish its worker to follow the bars and decide nothing. Raises Conflict when it is stopped."""
        return await self._wish(name, "pause", by, unless_stopped=True, desired="paused")

    async def resume(self, name: str, *, by: str) -> dict[str, Any]:
        """Wish a paused deployment to decide again. Raises Conflict when it is stopped."""
        return await self._wish(name, "resume", by, unless_stopped=True, desired="running")

    async def restart(self, name: str, *, by: str) -> dict[str, Any]:
        """Wish another attempt in place of the newest one, paused or not as it is. Raises Conflict when it is stopped.

        The attempt ends as by a stop; what is stored by then runs in the next one.
        """
        return await self._wish(name, "restart", by, unless_stopped=True, renew=deployments.c.fence)

    async def _wish(
        self, name: str, verb: str, by: str, *, unless_stopped: bool = False, **values: Any
    ) -> dict[str, Any]:
        await self.get(name)
        now = self._clock.now()
        which = deployments.c.name == name
        if unless_stopped:
            which &= deployments.c.desired != "stopped"
        async with transaction(self._database) as connection:
            was = await connection.execute(select(deployments.c.desired).where(which).with_for_update())
            before = was.scalar_one_or_none()
            if before is None:
                raise Conflict(f"{name} is stopped; start it with `cashup live start {name}`")
            wished = values.get("desired")
            if verb == "start":
                values["started_at"] = now
                await end_exit(connection, name, by=by, now=now)
            elif wished == "stopped" and before != "stopped":
                await begin_exit(connection, name, f"stopped by {by}", now)
            await connection.execute(update(deployments).where(which).values(updated_at=now, **values))
            await record(connection, at=now, subject=by, action=f"deployment.{verb}", target=name)
            await self._changed(connection, name)
        self._emitted()
        return await self.get(name)

    async def _changed(self, connection: AsyncConnection, name: str) -> None:
        now = self._clock.now()
        row = (await connection.execute(shown(now).where(deployments.c.name == name))).mappings().one()
        shows = view(dict(row), now)
        data = {"deployment": name, **{key: shows[key] for key in ("desired", "state", "renew")}}
        await self._emit(connection, name, EventKind.DEPLOYMENT_CHANGED, data)

    # -- attempts -------------------------------------------------------------------------------------------------

    async def new_attempt(
        self, name: str, claims: Claims, place: Place | None = None, holder: str | None = None
    ) -> dict[str, Any]:
        """Begin an attempt on behalf of `claims`; older ones are lost. `place` is where it will run.

        `holder` is the supervisor that works for it from now on. Raises Conflict when it shall not run, or while
        another supervisor works for it.
        """
        spec = (await self.get(name))["spec"]
        now = self._clock.now()
        async with transaction(self._database) as connection:
            wanted = (deployments.c.name == name) & (deployments.c.desired != "stopped")
            raised = update(deployments).where(wanted).values(fence=deployments.c.fence + 1)
            fence = (await connection.execute(raised.returning(deployments.c.fence))).scalar_one_or_none()
            if fence is None:
                raise Conflict(f"{name} shall not run; start it with `cashup live start {name}`")
            await claim(connection, name, holder)
            unfinished = (attempts.c.deployment == name) & attempts.c.finished_at.is_(None)
            if place is not None:
                await lose_rebooted(connection, place, now, unfinished)
            lost = {"state": "lost", "reason": Reason.REPLACED.value, "finished_at": now}
            message = f"replaced by attempt {fence}"
            await connection.execute(update(attempts).where(unfinished).values(message=message, **lost))
            row = {"deployment": name, "number": fence, "state": "starting", "started_at": now, "heartbeat_at": now}
            row |= {"version": spec.get("version"), "notebook_hash": spec.get("notebook_hash")}
            row |= {} if place is None else {"host": place.host, "boot": place.boot}
            await connection.execute(insert(attempts).values(row))
            await record(connection, at=now, subject=claims.subject, action="attempt.start", target=f"{name}/{fence}")
            data = {"deployment": name, "attempt": fence, "version": spec.get("version")}
            await self._emit(connection, name, EventKind.ATTEMPT_STARTED, data)
        self._emitted()
        token = self._tokens.issue(
            claims.subject,
            Audience.WORKER,
            role=claims.role,
            session=claims.session,
            deployment=name,
            attempt=fence,
            fence=fence,
        )
        return {"attempt": fence, "fence": fence, "token": token, **await self._work(spec)}

    async def _work(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What the attempt's worker executes; `content_hash` is that of a promoted version, as it is on record."""
        conduct = conduct_of(spec)
        work: dict[str, Any] = {"notebook": spec["notebook"], "params": spec.get("params", {})}
        work |= {"resources": conduct.resources.model_dump(), "live": conduct.mode == "live"}
        if conduct.version is not None:
            known = await version_on_record(self._database, conduct.version)
            work |= {"version": conduct.version, "content_hash": known}
        return work

    async def ready(self, name: str, number: int, bar: Millis | None) -> None:
        """The attempt's worker has its bars and waits for the next close; `bar` is its newest closed one."""
        async with transaction(self._database) as connection:
            one = _attempt(name, number) & attempts.c.state.in_(("starting", "ready"))
            changed = update(attempts).where(one).values(state="ready", bar=bar, heartbeat_at=self._clock.now())
            if (await connection.execute(changed)).rowcount:
                data = {"deployment": name, "attempt": number, "bar": bar}
                await self._emit(connection, name, EventKind.ATTEMPT_READY, data)
        self._emitted()

    async def missed(self, name: str, number: int, missed: int, bar: Millis) -> None:
        """The attempt's worker found that `missed` bars closed while nobody decided them, the newest one at `bar`."""
        async with transaction(self._database) as connection:
            query = select(deployments.c.spec).where(deployments.c.name == name)
            spec = (await connection.execute(query)).scalar_one()
            policy = spec.get("missed_bars", "act")
            data = {"deployment": name, "attempt": number, "bar": bar, "missed": missed, "missed_bars": policy}
            await self._emit(connection, name, EventKind.BARS_MISSED, data)
        self._emitted()
        log.warning("bars were missed", **data)

    async def heartbeat(self, name: str, number: int) -> None:
        """The attempt's worker process lives. Raises NotFound when there is no such attempt."""
        async with transaction(self._database) as connection:
            changed = update(attempts).where(_attempt(name, number)).values(heartbeat_at=self._clock.now())
            if (await connection.execute(changed)).rowcount == 0:
                raise NotFound(f"{name} has no attempt {number}")

    async def behind(self, name: str, number: int, bars: int, since: Millis | None) -> None:
        """So many bars were sent to the attempt that it has not answered, since then."""
        async with transaction(self._database) as connection:
            one = _attempt(name, number) & (attempts.c.behind.is_distinct_from(bars) | (attempts.c.behind > 0))
            await connection.execute(update(attempts).where(one).values(behind=bars, behind_since=since))

    async def present(self, name: str, number: int, *, here: bool) -> None:
        """The attempt's worker is connected, or its connection was lost just now."""
        since = None if here else self._clock.now()
        async with transaction(self._database) as connection:
            changed = attempts.c.away_since.is_not(None) if here else attempts.c.away_since.is_(None)
            await connection.execute(update(attempts).where(_attempt(name, number), changed).values(away_since=since))

    async def absent(self) -> None:
        """A gateway was started: nobody is known to be connected; who is says so within seconds."""
        open_ = attempts.c.finished_at.is_(None) & attempts.c.away_since.is_(None)
        async with transaction(self._database) as connection:
            await connection.execute(update(attempts).where(open_).values(away_since=self._clock.now()))

    async def finish(
        self,
        name: str,
        number: int,
        *,
        state: str,
        reason: Reason,
        exit_code: int | None,
        message: str,
        output: str | None,
    ) -> dict[str, Any]:
        """Record how an attempt ended (`finished` or `failed`); what follows, decided in the same commit.

        The answer is `verdict` (`stopped`, `again`, `given_up`), `again_in` (ms) and `deaths`. Raises Conflict when the
        end of the attempt is recorded already.
        """
        end = {"state": state, "reason": reason.value, "exit_code": exit_code, "message": message, "output": output}
        now = self._clock.now()
        async with transaction(self._database) as connection:
            open_ = _attempt(name, number) & attempts.c.finished_at.is_(None)
            changed = update(attempts).where(open_).values(finished_at=now, heartbeat_at=now, **end)
            if (await connection.execute(changed)).rowcount == 0:
                raise Conflict(f"attempt {number} of {name} has ended already, or was replaced by a newer one")
            data = {"deployment": name, "attempt": number, "state": state, "reason": reason.value, "message": message}
            await self._emit(connection, name, EventKind.ATTEMPT_FINISHED, data)
            verdict = await settle(connection, name, number, reason, f"attempt {number} {state}: {message}", now)
            if verdict.kind == "given_up":
                await self._changed(connection, name)
        self._emitted()
        self._engine.sweep()
        return verdict.row()

    async def _emit(self, connection: AsyncConnection, name: str, kind: EventKind, data: Mapping[str, Any]) -> None:
        await emit(connection, f"deployment:{name}", kind, data, self._clock.now())


def _attempt(name: str, number: int) -> Any:
    return (attempts.c.deployment == name) & (attempts.c.number == number)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no deployment {name}; `cashup live ps` shows what there is")
