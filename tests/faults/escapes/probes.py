"""What a hostile notebook tries, one function per probe. The text of this file is a cell of that notebook.

A probe does nothing that would harm if it worked: it opens and does not write, sends signal 0, and connects to
addresses of this machine only. It returns what it got hold of; what it was refused, it raises.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROBES: dict[str, Callable[[dict[str, Any]], object]] = {}
HARMLESS = 0


def probe(name: str) -> Callable[[Callable[[dict[str, Any]], object]], Callable[[dict[str, Any]], object]]:
    def named(function: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
        PROBES[name] = function
        return function

    return named


def call(number: int, *arguments: Any) -> int:
    """A system call by its number on x86-64."""
    answer = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


# --- files ------------------------------------------------------------------------------------------------------------


@probe("read the vault's key file")
def _(facts: dict[str, Any]) -> object:
    return len(next(path for path in Path(facts["home"], "keys").iterdir() if path.suffix != ".pem").read_bytes())


@probe("read the key that signs tokens")
def _(facts: dict[str, Any]) -> object:
    return len(Path(facts["home"], "keys", "jwt.pem").read_bytes())


@probe("read the saved login, or a pod's token file")
def _(facts: dict[str, Any]) -> object:
    return len(Path(facts["home"], "credentials.json").read_bytes())


@probe("read the database's files")
def _(facts: dict[str, Any]) -> object:
    return len(Path(facts["database"], "PG_VERSION").read_bytes())


@probe("open the database's shared memory")
def _(facts: dict[str, Any]) -> object:
    return len([*Path("/dev/shm").iterdir()])


@probe("read another deployment's notebook records and logs")
def _(facts: dict[str, Any]) -> object:
    return len(Path(facts["home"], "logs", "calm.log").read_bytes())


@probe("write to the versions folder")
def _(facts: dict[str, Any]) -> object:
    return os.close(os.open(Path(facts["home"], "versions"), os.O_TMPFILE | os.O_WRONLY))


@probe("change its own notebook")
def _(facts: dict[str, Any]) -> object:
    return Path(facts["notebook"]).open("ab").close()


@probe("change the library that the gateway runs")
def _(facts: dict[str, Any]) -> object:
    import cashup

    return Path(cashup.__file__).open("ab").close()


@probe("put a symlink in the path of its record")
def _(facts: dict[str, Any]) -> object:
    link = Path(facts["home"], "runs", "hostile", "link")
    link.symlink_to("/etc/hostname")
    return link.unlink()


@probe("read a key by a symlink in its own folder")
def _(facts: dict[str, Any]) -> object:
    link = Path(tempfile.mkdtemp(), "link")
    link.symlink_to(Path(facts["home"], "keys", "jwt.pem"))
    return len(link.read_bytes())


@probe("change the mode of a key file")
def _(facts: dict[str, Any]) -> object:
    return Path(facts["home"], "keys", "jwt.pem").chmod(0o600)


@probe("read the system's password file")
def _(facts: dict[str, Any]) -> object:
    return len(Path("/etc/shadow").read_bytes())


@probe("do all this from a shell (`!`)")
def _(facts: dict[str, Any]) -> object:
    words = ["sh", "-c", f"cat {facts['home']}/keys/jwt.pem"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr)
    return len(done.stdout)


# --- other processes --------------------------------------------------------------------------------------------------


@probe("read the gateway's environment")
def _(facts: dict[str, Any]) -> object:
    return len(Path(f"/proc/{facts['gateway_pid']}/environ").read_bytes())


@probe("read the gateway's memory by /proc")
def _(facts: dict[str, Any]) -> object:
    return Path(f"/proc/{facts['gateway_pid']}/mem").open("rb").close()


@probe("read the gateway's memory by a system call")
def _(facts: dict[str, Any]) -> object:
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    there = (ctypes.c_size_t * 2)(int(facts["gateway_address"]), 8)
    return call(310, facts["gateway_pid"], local, 1, there, 1, 0)


@probe("trace the gateway (ptrace)")
def _(facts: dict[str, Any]) -> object:
    seize = 0x4206  # without stopping it; it is let go when the process that traces ends, which is at once
    code = (
        f"import ctypes; raise SystemExit(ctypes.CDLL(None).syscall(101, {seize}, {facts['gateway_pid']}, 0, 0) != 0)"
    )
    if subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode:
        raise PermissionError("not traced")
    return 0


@probe("use the gateway's open files")
def _(facts: dict[str, Any]) -> object:
    return str(Path(f"/proc/{facts['gateway_pid']}/fd/0").readlink())


@probe("send the gateway a signal")
def _(facts: dict[str, Any]) -> object:
    return os.kill(facts["gateway_pid"], HARMLESS)


@probe("end its supervisor or its worker process")
def _(facts: dict[str, Any]) -> object:
    return os.kill(facts["supervisor_pid"], HARMLESS)


@probe("kill a sibling's kernel")
def _(facts: dict[str, Any]) -> object:
    return os.kill(facts["sibling_pid"], HARMLESS)


@probe("find a sibling's kernel and its sockets")
def _(facts: dict[str, Any]) -> object:
    found = [path for path in Path(facts["temporary"]).iterdir() if path.name.startswith("cashup-kernel-")]
    return len(found)


# --- sockets ----------------------------------------------------------------------------------------------------------


@probe("connect to PostgreSQL by its unix socket")
def _(facts: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect(facts["postgres_socket"])


@probe("connect to Redis by its unix socket")
def _(facts: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect(facts["redis_socket"])


@probe("connect to a database by TCP")
def _(facts: dict[str, Any]) -> object:
    return socket.create_connection(("127.0.0.1", facts["other_port"]), 5).close()


@probe("connect to an exchange or a metadata service")
def _(facts: dict[str, Any]) -> object:
    return socket.create_connection(("127.0.0.2", facts["other_port"]), 5).close()


@probe("listen for connections")
def _(facts: dict[str, Any]) -> object:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()


@probe("send a datagram")
def _(facts: dict[str, Any]) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("127.0.0.1", 9))


@probe("open a raw socket")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


# --- rights -----------------------------------------------------------------------------------------------------------


@probe("become root of a namespace of its own")
def _(facts: dict[str, Any]) -> object:
    done = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr)
    return done.returncode


@probe("let the kernel act for it (io_uring)")
def _(facts: dict[str, Any]) -> object:
    return os.close(call(425, 1, ctypes.create_string_buffer(120)))


@probe("share memory with the database (System V)")
def _(facts: dict[str, Any]) -> object:
    private, remove = 0, 0
    segment = call(29, private, 4096, 0o600)
    return call(31, segment, remove, 0)


@probe("keep a right of root")
def _(facts: dict[str, Any]) -> object:
    status = Path("/proc/self/status").read_text()
    held = int(status.split("CapBnd:")[1].split()[0], 16)
    if held == 0:
        raise PermissionError("no capability, and none to be had")
    return held


# --- secrets it was given ---------------------------------------------------------------------------------------------


@probe("find credentials in its environment")
def _(facts: dict[str, Any]) -> object:
    known = {**os.environ, "cmdline": " ".join(sys.orig_argv)}
    found = [name for name, value in known.items() if facts["canary"] in value or "postgresql" in value]
    if not found:
        raise PermissionError("nothing is there")
    return found


def api(facts: dict[str, Any], method: str, path: str, body: Any = None, token: str | None = None) -> int:
    """A call with the kernel's own token; raises PermissionError when it is refused."""
    request = urllib.request.Request(  # noqa: S310
        f"{facts['gateway']}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token or TOKEN}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise PermissionError(f"{error.code}") from error
        raise


@probe("read another deployment by the API")
def _(facts: dict[str, Any]) -> object:
    return api(facts, "GET", "/deployments/calm")


@probe("read everything there is by the API")
def _(facts: dict[str, Any]) -> object:
    return api(facts, "GET", "/deployments")


@probe("administer by the API")
def _(facts: dict[str, Any]) -> object:
    return api(facts, "DELETE", "/kills?scope=all")


@probe("begin an attempt, or get a supervisor's token")
def _(facts: dict[str, Any]) -> object:
    try:
        return api(facts, "POST", "/deployments/hostile/attempts", {})
    except PermissionError:
        return api(facts, "POST", "/deployments/hostile/supervisor-token", {})


@probe("show a token with another deployment's name in it")
def _(facts: dict[str, Any]) -> object:
    import base64

    header, payload, signature = TOKEN.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims |= {"deployment": "calm", "attempt": 1, "fence": 1}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return api(facts, "GET", "/deployments/calm", token=f"{header}.{forged}.{signature}")


def asked(facts: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """The gateway's answer to a frame of this worker's."""
    import asyncio

    from cashup.client import Socket

    async def ask() -> dict[str, Any]:
        connection = await Socket.connect(facts["gateway"], TOKEN)
        await connection.send(frame)
        try:
            async with asyncio.timeout(20):
                while (message := await connection.receive())["type"] in ("event", "stop"):
                    pass
        finally:
            await connection.close()
        return message

    (answer,) = [outside_of_the_loop(ask)]
    if answer["type"] in ("error", "intent.refused"):
        raise PermissionError(answer["message"])
    return answer


def outside_of_the_loop(work: Any) -> Any:
    """Run a coroutine where no loop runs: a notebook's cell is in one already."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(work())).result()


@probe("cancel another deployment's order by its socket")
def _(facts: dict[str, Any]) -> object:
    return asked(facts, {"type": "order.cancel", "key": "x", "order": facts["order"], "deployment": "calm"})


@probe("follow another deployment's events by its socket")
def _(facts: dict[str, Any]) -> object:
    return asked(facts, {"type": "events.subscribe", "streams": ["deployment:calm"], "after": 0})


@probe("send an intent in another deployment's name")
def _(facts: dict[str, Any]) -> object:
    forged = {"deployment": "calm", "attempt": 1, "fence": 1}
    return asked(facts, {"type": "order.place", "key": "forged", "order": facts["forged_order"], **forged})["orders"]


# --- limits -----------------------------------------------------------------------------------------------------------


@probe("open 10,000 files")
def _(facts: dict[str, Any]) -> object:
    with ExitStack() as stack:
        return len([stack.enter_context(open(os.devnull)) for _ in range(10_000)])  # noqa: PTH123


@probe("write a file of 10 GB")
def _(facts: dict[str, Any]) -> object:
    with tempfile.TemporaryFile() as file:
        return file.truncate(10 << 30)


@probe("use 2 GB of memory")
def _(facts: dict[str, Any]) -> object:
    return len(bytearray(2 << 30))


@probe("raise a limit again")
def _(facts: dict[str, Any]) -> object:
    return resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))


# --- and what came of it ----------------------------------------------------------------------------------------------

TOKEN = ""


def outcome(function: Callable[[dict[str, Any]], object], facts: dict[str, Any]) -> list[str]:
    """`refused` and by what, or `done` and what came of it."""
    try:
        return ["done", repr(function(facts))[:200]]
    except (OSError, MemoryError, ValueError) as error:
        return ["refused", f"{type(error).__name__}: {error}"[:200]]


def attack(facts: dict[str, Any], token: str) -> dict[str, list[str]]:
    """What became of every probe."""
    global TOKEN
    TOKEN = token
    return {name: outcome(function, facts) for name, function in PROBES.items()}
