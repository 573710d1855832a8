from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import VirtualClock
from cashup.errors import Conflict, IntegrityError, NotFound, TooManyRequests, Unauthenticated, UsageError
from cashup.exchanges.paper_terms import PaperTerms
from cashup.storage.database import transaction
from cashup.types import Mode
from cashup.users import throttle
from cashup.users.accounts import Accounts
from cashup.users.passwords import Passwords
from cashup.users.people import Login, People
from cashup.users.roles import Role
from cashup.users.tables import accounts, audit, users
from cashup.users.throttle import LoginThrottle
from cashup.users.tokens import Audience, Tokens
from cashup.users.vault import Credentials, Vault

PASSWORD = "correct horse battery"
KEYS = Credentials("the-api-key", "the-api-secret")
TERMS = PaperTerms.parse({"balances": {"USDT": "10000"}})


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(1_750_000_000_000)


@pytest.fixture
def people(database: AsyncEngine, clock: VirtualClock) -> People:
    return People(database, Passwords(), clock)


@pytest.fixture
def tokens(tmp_path: Path, clock: VirtualClock) -> Tokens:
    return Tokens(tmp_path, clock)


@pytest.fixture
def login(people: People, tokens: Tokens, redis: Redis) -> Login:
    return Login(people, tokens, LoginThrottle(redis))


@pytest.fixture
def store(database: AsyncEngine, tmp_path: Path, clock: VirtualClock) -> Accounts:
    return Accounts(database, Vault(tmp_path), clock)


async def test_the_first_admin_is_made_once(people: People, login: Login) -> None:
    password = await people.ensure_admin()
    assert password is not None
    assert await people.ensure_admin() is None
    await login.login("admin", password, "here")
    assert [user.role for user in await people.all()] == [Role.ADMIN]


async def test_a_login_is_a_token_whose_session_stands(people: People, login: Login, tokens: Tokens) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    claims = tokens.verify(await login.login("eva", PASSWORD, "here"), Audience.API)
    assert (await people.check(claims)).role is Role.TRADER


@pytest.mark.parametrize(("name", "password"), [("eva", "wrong horse battery"), ("nobody", PASSWORD), ("eva", "")])
async def test_a_wrong_login_does_not_say_why(people: People, login: Login, name: str, password: str) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    with pytest.raises(Unauthenticated, match="wrong user name or password"):
        await login.login(name, password, "here")


async def test_a_long_password_is_not_cut(people: People, login: Login) -> None:
    long = "x" * 256
    await people.create("eva", long, Role.VIEWER, by="admin")
    await login.login("eva", long, "here")
    with pytest.raises(Unauthenticated):
        await login.login("eva", long[:-1], "here")
    with pytest.raises(Unauthenticated):
        await login.login("eva", long + "y", "here")


async def test_a_new_password_ends_every_session(people: People, login: Login, tokens: Tokens) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    claims = tokens.verify(await login.login("eva", PASSWORD, "here"), Audience.API)
    await people.set_password("eva", "another one entirely", by="admin")
    with pytest.raises(Unauthenticated, match="ended"):
        await people.check(claims)
    with pytest.raises(Unauthenticated):
        await login.login("eva", PASSWORD, "here")
    await login.login("eva", "another one entirely", "here")


async def test_a_disabled_user_is_out_at_once(people: People, login: Login, tokens: Tokens) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    claims = tokens.verify(await login.login("eva", PASSWORD, "here"), Audience.API)
    await people.set_disabled("eva", True, by="admin")
    with pytest.raises(Unauthenticated, match="ended"):
        await people.check(claims)
    with pytest.raises(Unauthenticated, match="wrong user name"):
        await login.login("eva", PASSWORD, "here")


async def test_guessing_is_throttled_per_name_and_address(people: People, login: Login) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    for _ in range(throttle.PER_NAME):
        with pytest.raises(Unauthenticated):
            await login.login("eva", "wrong", "there")
    with pytest.raises(TooManyRequests, match="try again in"):
        await login.login("eva", PASSWORD, "there")
    await login.login("eva", PASSWORD, "here")


async def test_bad_names_and_passwords_are_refused(people: People) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    with pytest.raises(Conflict):
        await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    for name in ("", "Eva", "../x", "a b", "a" * 64):
        with pytest.raises(UsageError, match="name"):
            await people.create(name, PASSWORD, Role.TRADER, by="admin")
    for password in ("short", "x" * 257):
        with pytest.raises(UsageError, match="characters"):
            await people.create("max", password, Role.TRADER, by="admin")
    with pytest.raises(NotFound):
        await people.set_password("nobody", PASSWORD, by="admin")


async def test_no_password_is_stored_in_clear(people: People, database: AsyncEngine) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    async with transaction(database) as connection:
        stored = (await connection.execute(select(users.c.password))).scalar_one()
        trail = (await connection.execute(select(audit))).all()
    assert stored.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert [(row.subject, row.action, row.object) for row in trail] == [("admin", "user.create", "eva")]
    assert PASSWORD not in str(trail)


async def test_an_account_keeps_its_keys_to_itself(people: People, store: Accounts, database: AsyncEngine) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    account = await store.create("main", "gate", Mode.SANDBOX, KEYS, by="eva", base_url="http://127.0.0.1:1")
    assert await store.get("main") == account
    assert account.venue == "gate@127.0.0.1:1"
    assert await store.credentials("main") == KEYS
    assert "the-api" not in repr(account)
    async with transaction(database) as connection:
        stored = (await connection.execute(select(accounts))).one()
        trail = (await connection.execute(select(audit))).all()
    assert "the-api" not in repr(stored) + repr(trail)
    with pytest.raises(Conflict):
        await store.create("main", "gate", Mode.SANDBOX, KEYS, by="eva")


async def test_a_paper_account_has_terms_and_no_keys(people: People, store: Accounts) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    account = await store.create("toy", "gate", Mode.PAPER, None, by="eva", terms=TERMS)
    assert (account.venue, account.terms, account.fingerprint) == ("gate", TERMS, "")
    assert await store.get("toy") == account
    with pytest.raises(NotFound, match="with keys"):
        await store.credentials("toy")


async def test_rows_cannot_be_swapped(people: People, store: Accounts, database: AsyncEngine) -> None:
    for name in ("eva", "max"):
        await people.create(name, PASSWORD, Role.TRADER, by="admin")
        await store.create(f"{name}-1", "gate", Mode.LIVE, Credentials(name, name), by=name)
    await store.create("eva-2", "gate", Mode.LIVE, Credentials("second", "second"), by="eva")
    secret = (accounts.c.wrapped_key, accounts.c.sealed)
    async with transaction(database) as connection:
        theirs = (await connection.execute(select(*secret).where(accounts.c.name == "max-1"))).one()
    for victim in ("eva-1", "eva-2"):
        async with transaction(database) as connection:
            moved = update(accounts).where(accounts.c.name == victim)
            await connection.execute(moved.values(wrapped_key=theirs.wrapped_key, sealed=theirs.sealed))
        with pytest.raises(IntegrityError, match="changed or moved"):
            await store.credentials(victim)
    assert (await store.credentials("max-1")).key == "max"


async def test_accounts_that_cannot_be_are_refused(people: People, store: Accounts) -> None:
    await people.create("eva", PASSWORD, Role.TRADER, by="admin")
    with pytest.raises(UsageError, match="no exchange"):
        await store.create("a", "ftx", Mode.LIVE, KEYS, by="eva")
    with pytest.raises(UsageError, match="paper, sandbox or live"):
        await store.create("a", "gate", Mode.BACKTEST, KEYS, by="eva")
    with pytest.raises(UsageError, match="needs no keys"):
        await store.create("a", "gate", Mode.PAPER, KEYS, by="eva", terms=TERMS)
    with pytest.raises(UsageError, match="USDT=10000"):
        await store.create("a", "gate", Mode.PAPER, None, by="eva")
    with pytest.raises(UsageError, match="the venue's affair"):
        await store.create("a", "gate", Mode.LIVE, KEYS, by="eva", terms=TERMS)
    with pytest.raises(UsageError, match="key and the secret"):
        await store.create("a", "gate", Mode.LIVE, None, by="eva")
    with pytest.raises(UsageError, match="key and the secret"):
        await store.create("a", "gate", Mode.LIVE, Credentials("", ""), by="eva")
    with pytest.raises(UsageError, match="not an address"):
        await store.create("a", "gate", Mode.LIVE, KEYS, by="eva", base_url="file:///etc/passwd")
    assert await store.all() == []
