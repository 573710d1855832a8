"""Exchange accounts: their public side for everybody, their keys for the gateway's own use only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import Conflict, NotFound, UsageError
from cashup.exchanges.paper_terms import PaperTerms
from cashup.storage.database import transaction
from cashup.types import Millis, Mode
from cashup.users.audit import record
from cashup.users.tables import accounts, users
from cashup.users.vault import Credentials, Envelope, Place, Vault, fingerprint

EXCHANGES = ("gate",)
COUNTDOWNS = range(10, 601)
"""The seconds for which a countdown may be set; 0 is none."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Account:
    """One set of credentials of one user on one venue, without the credentials; or a paper account with its terms.

    `countdown` is after how many seconds of the gateway's silence the venue shall cancel what rests, 0 for never.
    """

    id: str
    name: str
    user: str
    exchange: str
    mode: Mode
    base_url: str | None
    fingerprint: str
    created_at: Millis
    terms: PaperTerms | None = None
    countdown: int = 30

    @property
    def venue(self) -> str:
        """The name of the public side (markets, candles) that this account shares with others on the same venue."""
        if self.base_url is not None:
            return f"{self.exchange}@{urlsplit(self.base_url).netloc}"
        return f"{self.exchange}-sandbox" if self.mode is Mode.SANDBOX else self.exchange


class Accounts:
    """The accounts of one database, and the one place where their keys come out."""

    def __init__(self, engine: AsyncEngine, vault: Vault, clock: Clock) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = clock

    async def all(self) -> Sequence[Account]:
        """Every account, by name."""
        async with self._engine.connect() as connection:
            return [_account(row) for row in await connection.execute(_QUERY.order_by(accounts.c.name))]

    async def get(self, name: str) -> Account:
        """The account named `name`; raises NotFound."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_QUERY.where(accounts.c.name == name))).first()
        if row is None:
            raise NotFound(f"there is no account {name}; `cashup account list` shows what there is")
        return _account(row)

    async def create(
        self,
        name: str,
        exchange: str,
        mode: Mode,
        credentials: Credentials | None,
        *,
        by: str,
        base_url: str | None = None,
        terms: PaperTerms | None = None,
    ) -> Account:
        """Store an account of the user named `by`: a paper account with its terms, any other with its keys sealed.

        Raises UsageError, NotFound for an unknown user, or Conflict for a taken name.
        """
        _check(name, exchange, mode, credentials, base_url, terms)
        account = uuid.uuid4().hex
        shown = fingerprint(credentials.key) if credentials is not None else ""
        async with transaction(self._engine) as connection:
            owner = (await connection.execute(select(users.c.id).where(users.c.name == by))).scalar_one_or_none()
            if owner is None:
                raise NotFound(f"there is no user {by}; `cashup user list` shows who there is")
            secret = asdict(self._vault.seal(credentials, Place(owner, exchange, account))) if credentials else {}
            statement = insert(accounts).values(
                id=account,
                user_id=owner,
                name=name,
                exchange=exchange,
                mode=mode.value,
                base_url=base_url,
                fingerprint=shown,
                terms=terms.document() if terms is not None else None,
                created_at=self._clock.now(),
                **secret,
            )
            statement = statement.on_conflict_do_nothing(index_elements=[accounts.c.name])
            if (await connection.execute(statement.returning(accounts.c.id))).first() is None:
                raise Conflict(f"there is an account {name} already; choose another name")
            detail: dict[str, Any] = {"exchange": exchange, "mode": mode.value, "fingerprint": shown}
            detail |= {"terms": terms.document()} if terms is not None else {}
            now = self._clock.now()
            await record(connection, at=now, subject=by, action="account.create", target=name, detail=detail)
        return await self.get(name)

    async def set_countdown(self, name: str, seconds: int, *, by: str) -> Account:
        """Have the venue cancel what rests after so many seconds of silence, 0 for never; obeyed within seconds.

        Raises UsageError and NotFound.
        """
        if seconds and seconds not in COUNTDOWNS:
            first, last = COUNTDOWNS[0], COUNTDOWNS[-1]
            raise UsageError(f"a countdown takes {first} to {last} seconds, or 0 for none, not {seconds}")
        changed = update(accounts).where(accounts.c.name == name).values(countdown=seconds)
        async with transaction(self._engine) as connection:
            if (await connection.execute(changed)).rowcount:
                now, detail = self._clock.now(), {"seconds": seconds}
                await record(connection, at=now, subject=by, action="account.countdown", target=name, detail=detail)
        return await self.get(name)

    async def credentials(self, name: str) -> Credentials:
        """The keys of the account named `name`, for the gateway to trade with. Never goes into an answer or a log.

        Raises NotFound when there is no such account or it is a paper account, IntegrityError when the stored record
        was tampered with.
        """
        query = select(accounts).where(accounts.c.name == name)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None or row.sealed is None:
            raise NotFound(f"there is no account {name} with keys; `cashup account list` shows what there is")
        envelope = Envelope(row.version, row.kek, row.wrapped_key, row.sealed)
        return self._vault.open(envelope, Place(row.user_id, row.exchange, row.id))


_QUERY = select(
    accounts.c.id,
    accounts.c.name,
    users.c.name.label("user"),
    accounts.c.exchange,
    accounts.c.mode,
    accounts.c.base_url,
    accounts.c.fingerprint,
    accounts.c.created_at,
    accounts.c.terms,
    accounts.c.countdown,
).join(users, users.c.id == accounts.c.user_id)


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    id_, name, user, exchange, mode, base_url, shown, created_at, terms, countdown = row
    paper = PaperTerms.parse(terms) if terms is not None else None
    return Account(id_, name, user, exchange, Mode(mode), base_url, shown, created_at, paper, countdown)


def _check(
    name: str,
    exchange: str,
    mode: Mode,
    credentials: Credentials | None,
    base_url: str | None,
    terms: PaperTerms | None,
) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be an account's name; use small letters, digits and . _ -")
    if exchange not in EXCHANGES:
        raise UsageError(f"there is no exchange {exchange!r}; choose one of: {', '.join(EXCHANGES)}")
    if mode not in (Mode.PAPER, Mode.SANDBOX, Mode.LIVE):
        raise UsageError(f"an account is paper, sandbox or live, not {mode}")
    if mode is Mode.PAPER:
        if credentials is not None:
            raise UsageError("a paper account needs no keys; to trade on a simulator with keys choose mode sandbox")
        if terms is None:
            raise UsageError("a paper account begins with some money; give it a balance such as USDT=10000")
    else:
        if terms is not None:
            raise UsageError(f"what a {mode} account holds and how it trades is the venue's affair; leave that out")
        if credentials is None or not credentials.key or not credentials.secret:
            raise UsageError("an account needs the key and the secret that the exchange gave you")
    if base_url is not None and urlsplit(base_url).scheme not in ("http", "https"):
        raise UsageError(f"{base_url!r} is not an address; write http://host:port or https://host")
