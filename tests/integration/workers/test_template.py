"""The warm process and its forks: real templates, real kernels, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError

from cashup.settings import load_settings
from cashup.strategies.endings import Reason
from cashup.workers import fork as forking
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.child import Child
from cashup.workers.fork import Forked, fork
from cashup.workers.identity import identity

from .conftest import CONTRACT, TOKEN, Scripted, write_notebook

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what a template needs")


@pytest.fixture(scope="module")
def warm_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="cashup-warm-"))
    yield home
    end_templates(home)
    shutil.rmtree(home)


@pytest.fixture
def warm(warm_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose template this process may use."""
    monkeypatch.setenv("CASHUP_HOME", str(warm_home))
    monkeypatch.setenv("CASHUP_WARM", "1")
    return warm_home


def templates(home: Path) -> list[int]:
    """The pids of the templates of `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if b"cashup.workers.template" in words and str(home).encode() in words[-2] and state != "Z":
                found.append(int(entry.name))
    return found


def end_templates(home: Path) -> None:
    """Take their sockets away; a template that nobody can find ends by itself."""
    for path in (home / "run" / "warm").glob("*.sock"):
        path.unlink()
    wait_until(lambda: not templates(home))


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def execute(notebook: Path, **options: Any) -> nbformat.NotebookNode:
    return papermill.execute_notebook(
        str(notebook),
        str(notebook.with_name("out.ipynb")),
        engine_name="cashup",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        **({"flavour": "live"} | options),
    )


def told(notebook: Callable[..., Path], source: str, **options: Any) -> Any:
    """What a cell in a kernel prints, as JSON."""
    done = execute(notebook(("", source)), **options)
    return json.loads("".join(out.text for out in done.cells[0].outputs))


PARENT = 'open(f"/proc/{os.getppid()}/cmdline").read().split("\\0")'


def test_a_kernel_is_forked_and_as_isolated_as_a_cold_one(
    warm: Path, notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CASHUP_DATABASE_URL", "CASHUP_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "planted-secret")
    source = f"""
import json, os, signal, sys, threading
umask = os.umask(0o077)
paths = [f"/proc/self/fd/{{n}}" for n in os.listdir("/proc/self/fd")]
links = [os.readlink(path) for path in paths if os.path.exists(path)]
print(json.dumps(dict(
    parent={PARENT}, env=dict(os.environ), cwd=os.getcwd(), umask=umask, argv=sys.argv[1:2],
    leader=os.getsid(0) == os.getpid(), term=signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, links=links,
    blocked=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    ignored=[signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGPIPE, signal.SIGXFSZ)],
)))
"""
    before = os.umask(0o027)
    try:
        seen = told(notebook, source, cwd=str(tmp_path), kernel_env={"X": "1"})
    finally:
        os.umask(before)
    assert "cashup.workers.template" in seen["parent"]
    assert "planted-secret" not in seen["env"].values()
    assert seen["env"]["X"] == "1"
    assert (seen["cwd"], seen["umask"], seen["argv"]) == (str(tmp_path), 0o027, ["-f"])
    assert seen["leader"]
    assert seen["term"]
    assert seen["ignored"] == [True, True]  # as in every Python: else a connection that broke would be a death
    assert not seen["blocked"]
    assert not [link for link in seen["links"] if "warm" in link or "template" in link]
    for pid in templates(warm):
        assert b"planted-secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_forked_kernel_imports_what_lies_beside_the_notebook(
    warm: Path, notebook: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "own_averages.py").write_text("NAME = 'a neighbour'\n")
    (tmp_path / "pandas.py").write_text("raise RuntimeError('a neighbour took the place of a library')\n")
    source = f"import json, os, own_averages, pandas\nprint(json.dumps([own_averages.NAME, {PARENT}]))"
    name, parent = told(notebook, source, cwd=str(tmp_path))
    assert name == "a neighbour"
    assert "cashup.workers.template" in parent


def test_the_template_is_alone_with_itself(warm: Path, notebook: Callable[..., Path]) -> None:
    execute(notebook(("", "1")))
    (pid,) = templates(warm)
    threads = [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]
    # jemalloc's own thread, in Arrow, is stopped and started around a fork by jemalloc.
    assert [name for name in threads if name != "jemalloc_bg_thd"] == ["python"]
    assert (warm / "run" / "warm").stat().st_mode & 0o777 == 0o700


def test_two_kernels_draw_different_numbers(warm: Path, notebook: Callable[..., Path]) -> None:
    source = "import json, random, numpy as np\nprint(json.dumps([random.random(), np.random.rand()]))"
    first, second = told(notebook, source), told(notebook, source)
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_threads_plots_and_arrow_work_after_the_fork(warm: Path, notebook: Callable[..., Path]) -> None:
    source = """
import asyncio, json, subprocess
from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
square = np.random.rand(400, 400)
with ThreadPoolExecutor(4) as pool:
    sums = sum(pool.map(lambda n: n * n, range(10)))
pq.write_table(pa.table({c: np.arange(10_000.0) for c in "abcdefgh"}), "t.parquet")
rows = pq.read_table("t.parquet", use_threads=True).to_pandas().sum().sum()
import numba
@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(len(x)):
        s += x[i]
    return s
print(json.dumps([sums, rows, total(np.ones(1000)), float((square @ square).sum()) > 0,
    subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout]))
"""
    assert told(notebook, source, cwd=str(warm)) == [285, 8 * 49995000.0, 1000.0, True, "hi\n"]


def test_a_kernel_that_dies_is_noticed_with_its_exit_code(warm: Path, notebook: Callable[..., Path]) -> None:
    path = notebook(("", "import os; os.kill(os.getpid(), 9)"), ("", "print('not reached')"))
    with pytest.raises(DeadKernelError):
        execute(path)
    record = nbformat.read(path.with_name("out.ipynb"), as_version=4)
    assert [cell.metadata.papermill.status for cell in record.cells] == ["failed", "pending"]


def command(home: Path, *words: str, output: int | None = None, **options: Any) -> Forked:
    """A command of CashUp, forked from a template."""
    streams = {0: 0, 1: 1 if output is None else output, 2: 1 if output is None else output}
    env = dict(os.environ)
    made = fork("live", home, "command", words, env=env, cwd=Path.cwd(), descriptors=streams, **options)
    assert made is not None
    return made


def test_a_command_has_the_callers_streams_and_its_exit_code_comes_back(warm: Path) -> None:
    with tempfile.TemporaryFile() as file:
        assert command(warm, "--help", output=file.fileno()).wait(60) == 0
        assert command(warm, "data", "check", "--no-such-option", output=file.fileno()).wait(60) == 2
        file.seek(0)
        written = file.read()
    assert written.startswith(b"Usage: cashup")
    assert b"no-such-option" in written.lower()


KERNEL = """
import os, sys, time
from pathlib import Path
from cashup.workers.fork import fork
home, folder = map(Path, sys.argv[1:3])
words = ["-f", str(folder / "kernel.json"), "--IPKernelApp.parent_handle=1", "--transport=ipc", f"--ip={folder / 'k'}"]
env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
env["IPYTHONDIR"] = str(folder / "ipython")
nothing = os.open(os.devnull, os.O_RDWR)
made = fork("live", home, "kernel", words, env=env, cwd=folder, descriptors=dict.fromkeys(range(3), nothing))
print(made.pid, flush=True)
sys.stdin.read()
"""
"""A process that holds such a kernel until its standard input ends."""


def holder(home: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start KERNEL."""
    command = [sys.executable, "-c", KERNEL, str(home), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def held_by(process: subprocess.Popen[bytes]) -> int:
    """The pid of its kernel."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def kernel(home: Path, folder: Path) -> Forked:
    """A kernel that nobody speaks to."""
    info = folder / "kernel.json"
    words = ["-f", str(info), "--IPKernelApp.parent_handle=1", "--transport=ipc", f"--ip={folder / 'k'}"]
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    env["IPYTHONDIR"] = str(folder / "ipython")
    with Path(os.devnull).open("r+b") as nothing:
        streams = dict.fromkeys(range(3), nothing.fileno())
        for _ in range(5):  # that no template can be had at a moment is an answer too: one that has just been killed
            made = fork("live", home, "kernel", words, env=env, cwd=folder, descriptors=streams)
            if made is not None:
                return made
            time.sleep(1.0)
    raise AssertionError("no template could be had in five tries")


def test_signals_reach_it_and_say_how_it_ended(warm: Path, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        made = kernel(warm, tmp_path)
        assert made.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            made.wait(0)
        made.send_signal(number)
        assert made.wait(60) == -number
        made.send_signal(number)  # it has ended: nothing happens
        wait_until(lambda made=made: not Path(f"/proc/{made.pid}").exists())  # and no zombie is left


def test_it_dies_with_whoever_asked_for_it(warm: Path, tmp_path: Path) -> None:
    process = holder(warm, tmp_path)
    pid = held_by(process)
    assert not gone(pid)
    process.kill()
    process.communicate()
    wait_until(lambda: gone(pid), 20)


def test_a_kernel_outlives_its_template_and_the_next_one_gets_a_new_template(warm: Path, tmp_path: Path) -> None:
    made = kernel(warm, tmp_path)
    (pid,) = [pid for pid in templates(warm) if pid == parent_of(made.pid)]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    assert made.poll() is None
    again = kernel(warm, tmp_path)
    assert parent_of(again.pid) != pid
    for each in (made, again):
        each.kill()
        assert each.wait(60) == -signal.SIGKILL  # what killed it is known, or assumed when nobody can tell


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_many_at_once_start_one_template(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    processes = [holder(home, tmp_path) for _ in range(4)]
    parents = {parent_of(held_by(process)) for process in processes}
    for process in processes:
        process.communicate()
    assert len(parents) == 1
    end_templates(home)


def test_a_template_is_found_by_those_alone_who_would_import_the_same(warm: Path) -> None:
    env = {"PATH": "/bin", "LANG": "C.UTF-8"}
    same = identity("live", env)
    assert identity("live", env | {"PATH": "/usr/bin", "CASHUP_HOME": "/elsewhere", "SECRET": "x"}) == same
    assert identity("research", env) != same
    assert identity("live", env | {"OMP_NUM_THREADS": "1"}) != same
    package = warm / "cashup"
    package.mkdir()
    (package / "a.py").write_text("x = 1")
    before = identity("live", env, package)
    (package / "a.py").write_text("x = 12")
    assert identity("live", env, package) != before


def test_without_a_template_there_is_none_and_an_ordinary_kernel_runs(
    warm: Path, notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not forking.available(tmp_path / "no-such-home")
    monkeypatch.setenv("CASHUP_WARM", "0")
    load_settings.cache_clear()
    assert "cashup.workers.template" not in told(notebook, f"import json, os; print(json.dumps({PARENT}))")


def test_a_template_that_cannot_start_is_done_without(warm: Path, notebook: Callable[..., Path]) -> None:
    folder = warm / "run" / "warm"
    end_templates(warm)
    shutil.rmtree(folder)
    (warm / "run").mkdir(exist_ok=True)
    folder.write_text("in the way")
    try:
        assert "cashup.workers.template" not in told(notebook, f"import json, os; print(json.dumps({PARENT}))")
    finally:
        folder.unlink()


@pytest.fixture
def worker(warm: Path, gateway: Scripted, tmp_path: Path) -> Iterator[tuple[Child, int]]:
    """A worker that a supervisor has started, ready for bars, and the pid of its kernel."""
    notebook = write_notebook(tmp_path / "sma.ipynb", CONTRACT)
    gateway.deployments["demo"] = {"desired": "running", "fence": 1, "spec": {"capital": "1000"}}
    gateway.attempts["demo"] = []
    assignment = Assignment(gateway.url, "demo", 1, TOKEN, str(notebook), {}, str(tmp_path / "out.ipynb"))
    child = Child(assignment, tmp_path / "demo.log")
    gateway.wait_for(lambda: "ready" in [message["type"] for message in gateway.messages])
    kernels = [pid for pid in children_of(parent_of(child.pid)) if b"cashup.workers.kernel" in words_of(pid)]
    (kernel,) = [pid for pid in kernels if f"-{child.pid}-".encode() in b" ".join(words_of(pid))]
    yield child, kernel
    child.kill()
    wait_until(lambda: child.outcome is not None)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def words_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def memory_of(pid: int) -> Iterator[bytes]:
    """All that a process has written, piece by piece."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if mode.startswith("rw"):
                begin, end = (int(number, 16) for number in span.split("-"))
                with contextlib.suppress(OSError):
                    memory.seek(begin)
                    yield memory.read(end - begin)


def test_worker_and_kernel_come_from_one_template_which_never_sees_the_token(
    worker: tuple[Child, int], warm: Path
) -> None:
    child, kernel = worker
    assert parent_of(child.pid) == parent_of(kernel)
    assert words_of(child.pid)[3:5] == [b"demo", b"1"]
    assert b"cashup.workers.process" in words_of(child.pid)
    template = parent_of(child.pid)
    assert any(TOKEN.encode() in part for part in memory_of(child.pid))  # that this looks in the right place
    assert not any(TOKEN.encode() in part for part in memory_of(template))
    assert TOKEN not in "".join(log.read_text() for log in (warm / "logs").glob("*"))


def test_a_worker_outlives_its_template_and_its_kernel_dies_with_the_worker(
    worker: tuple[Child, int], gateway: Scripted
) -> None:
    child, kernel = worker
    os.kill(template := parent_of(child.pid), signal.SIGKILL)
    wait_until(lambda: gone(template))
    bar = gateway.close_bar()
    gateway.wait_for(lambda: [intent["bar"] for intent in gateway.intents] == [bar])
    child.kill()
    wait_until(lambda: gone(kernel), 0.5)  # ipykernel's own look at its parent comes once a second
    wait_until(lambda: child.outcome is not None)


def test_a_forked_worker_that_is_stopped_says_how_it_ended(worker: tuple[Child, int], gateway: Scripted) -> None:
    child, kernel = worker
    gateway.close_bar()
    gateway.wait_for(lambda: gateway.intents)
    child.stop(0.0)
    wait_until(lambda: child.outcome is not None)
    assert child.outcome == Outcome(0, "", Reason.STOPPED)
    assert gone(kernel)


SUPERVISOR = """
import sys
from pathlib import Path
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.child import Child
from cashup.workers.child import Child
url, token, notebook, folder = sys.argv[1:]
child = Child(Assignment(url, "demo", 1, token, notebook, {}, folder + "/runs"), Path(folder, "demo.log"))
print(child.pid, flush=True)
sys.stdin.read()
"""
"""A process that starts a worker and holds it until its standard input ends."""


def test_a_forked_worker_stops_in_good_order_when_its_supervisor_is_killed(
    warm: Path, gateway: Scripted, tmp_path: Path
) -> None:
    notebook = write_notebook(tmp_path / "sma.ipynb", CONTRACT)
    gateway.deployments["demo"] = {"desired": "running", "fence": 1, "spec": {"capital": "1000"}}
    gateway.attempts["demo"] = []
    words = [sys.executable, "-c", SUPERVISOR, gateway.url, TOKEN, str(notebook), str(tmp_path)]
    supervisor = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = held_by(supervisor)
    gateway.wait_for(lambda: "ready" in [message["type"] for message in gateway.messages])
    supervisor.kill()
    supervisor.communicate()
    wait_until(lambda: gone(pid))
    (file,) = (tmp_path / "runs").glob("*.ipynb")
    record = nbformat.read(file, as_version=4)
    assert [cell.metadata.papermill.status for cell in record.cells] == ["completed"] * len(record.cells)


@pytest.mark.slow
def test_a_warm_backtest_equals_a_cold_one_to_the_last_digit(warm: Path, database_url: str, redis_url: str) -> None:
    """The first run starts the template and forks its kernel, the second is a fork itself, the third is neither."""
    servers = {"CASHUP_DATABASE_URL": database_url, "CASHUP_REDIS_URL": redis_url}

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cashup", *words]
        return subprocess.run(command, env=os.environ | servers | env, capture_output=True, text=True, check=False)

    assert run("data", "generate", "--symbol", "BTC/USDT", "--bars", "2000").returncode == 0
    words = ("backtest", str(ROOT / "notebooks" / "sma_cross.ipynb"), "--json")
    done = [run(*words), run(*words), run(*words, CASHUP_WARM="0")]
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    of_the_run = ("run_id", "output")
    results = [{k: v for k, v in json.loads(each.stdout).items() if k not in of_the_run} for each in done]
    assert results[0] == results[1] == results[2]
    wrong = run("backtest", "no-such.ipynb")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no notebook" in wrong.stderr
