"""People: who there is, who may log in, and whether a session still stands."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.errors import Conflict, NotFound, Unauthenticated, UsageError
from cashup.storage.database import transaction
from cashup.types import Millis
from cashup.users.audit import record
from cashup.users.passwords import Passwords, generate
from cashup.users.roles import Role
from cashup.users.tables import users
from cashup.users.throttle import LoginThrottle
from cashup.users.tokens import Audience, Claims, Tokens

FIRST_ADMIN = "admin"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class User:
    """A person as others may see them."""

    id: str
    name: str
    role: Role
    session: int
    disabled: bool
    created_at: Millis


class People:
    """The users of one database."""

    def __init__(self, engine: AsyncEngine, passwords: Passwords, clock: Clock) -> None:
        self._engine = engine
        self._passwords = passwords
        self._clock = clock

    async def all(self) -> Sequence[User]:
        """Everybody, by name."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(*_SHOWN).order_by(users.c.name))
            return [_user(*row) for row in found]

    async def get(self, name: str) -> User:
        """The user named `name`; raises NotFound."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(*_SHOWN).where(users.c.name == name))).first()
        if row is None:
            raise NotFound(f"there is no user {name}; `cashup user list` shows who there is")
        return _user(*row)

    async def create(self, name: str, password: str, role: Role, *, by: str) -> User:
        """A new user; raises UsageError for a bad name or password, Conflict when the name is taken."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a user's name; use small letters, digits and . _ -")
        stored = await self._passwords.hash(password)
        async with transaction(self._engine) as connection:
            if not await self._insert(connection, name, stored, role):
                raise Conflict(f"there is a user {name} already; choose another name")
            await record(
                connection, at=self._clock.now(), subject=by, action="user.create", target=name, detail={"role": role}
            )
        return await self.get(name)

    async def ensure_admin(self) -> str | None:
        """Make the first admin when there is nobody; the generated password, to be shown once, or None."""
        async with self._engine.connect() as connection:
            if (await connection.execute(select(func.count()).select_from(users))).scalar_one():
                return None
        password = generate()
        stored = await self._passwords.hash(password)
        async with transaction(self._engine) as connection:
            if not await self._insert(connection, FIRST_ADMIN, stored, Role.ADMIN):
                return None  # another gateway was first, and has shown its password
            await record(connection, at=self._clock.now(), subject="system", action="user.create", target=FIRST_ADMIN)
        return password

    async def set_password(self, name: str, password: str, *, by: str) -> None:
        """Another password for `name`; every session of the user ends."""
        await self._change(name, by, "user.password", password=await self._passwords.hash(password))

    async def set_disabled(self, name: str, disabled: bool, *, by: str) -> None:
        """Shut `name` out, or let them in again; every session of the user ends."""
        await self._change(name, by, "user.disable" if disabled else "user.enable", disabled=disabled)

    async def check(self, claims: Claims) -> Claims:
        """`claims` with the role that holds now; raises Unauthenticated when the session was ended."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(*_SHOWN).where(users.c.name == claims.subject))).first()
        user = _user(*row) if row is not None else None
        if user is None or user.disabled or user.session != claims.session or user.role is not claims.role:
            raise Unauthenticated("this session was ended; log in again", code="session_ended")
        return claims

    async def verify(self, name: str, password: str) -> User:
        """The user with this name and password; raises Unauthenticated, the same for every reason."""
        async with self._engine.connect() as connection:
            query = select(users.c.password, *_SHOWN).where(users.c.name == name)
            row = (await connection.execute(query)).first()
        good = await self._passwords.verify(row[0] if row else None, password)
        user = _user(*row[1:]) if row else None
        if not good or user is None or user.disabled or row is None:
            raise Unauthenticated("wrong user name or password", code="login_failed")
        if self._passwords.outdated(row[0]):
            stored = await self._passwords.hash(password)
            async with transaction(self._engine) as connection:
                await connection.execute(update(users).where(users.c.id == user.id).values(password=stored))
        return user

    async def _insert(self, connection: AsyncConnection, name: str, stored: str, role: Role) -> bool:
        values = {"id": uuid.uuid4().hex, "name": name, "password": stored, "role": role.value}
        statement = upsert(users).values(**values, created_at=self._clock.now()).on_conflict_do_nothing()
        return (await connection.execute(statement.returning(users.c.id))).first() is not None

    async def _change(self, name: str, by: str, action: str, **values: object) -> None:
        async with transaction(self._engine) as connection:
            statement = update(users).where(users.c.name == name)
            statement = statement.values(session_version=users.c.session_version + 1, **values)
            if (await connection.execute(statement.returning(users.c.id))).first() is None:
                raise NotFound(f"there is no user {name}; `cashup user list` shows who there is")
            await record(connection, at=self._clock.now(), subject=by, action=action, target=name)


class Login:
    """Passwords in, tokens out."""

    def __init__(self, people: People, tokens: Tokens, throttle: LoginThrottle) -> None:
        self._people = people
        self._tokens = tokens
        self._throttle = throttle

    async def login(self, name: str, password: str, address: str) -> str:
        """An access token; raises Unauthenticated, or TooManyRequests after too many attempts."""
        await self._throttle.enter(name, address)
        user = await self._people.verify(name, password)
        await self._throttle.succeeded(name, address)
        return self.issue(user)

    def issue(self, user: User) -> str:
        """An access token for `user`, whose identity is established already."""
        return self._tokens.issue(user.name, Audience.API, role=user.role, session=user.session)


_SHOWN = (
    users.c.id,
    users.c.name,
    users.c.role,
    users.c.session_version,
    users.c.disabled,
    users.c.created_at,
)


def _user(id_: str, name: str, role: str, session: int, disabled: bool, created_at: Millis) -> User:
    return User(id_, name, Role(role), session, disabled, created_at)
