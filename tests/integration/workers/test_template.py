"""The warm process and its forks: real templates, real kernels, real signals."""

from __future__ import annotations

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
from cashup.workers import fork as forking
from cashup.workers.fork import Forked, fork
from cashup.workers.identity import identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what a template needs")


@pytest.fixture(scope="module")
def warm_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="cashup-warm-"))
    yield home
    end_templates(home)
    shutil.rmtree(home)


@pytest.fixture
def warm(warm_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose template this process may use."""
    monkeypatch.setenv("CASHUP_HOME", str(warm_home))
    monkeypatch.setenv("CASHUP_WARM", "1")
    load_settings.cache_clear()
    yield warm_home
    load_settings.cache_clear()


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
    assert not seen["blocked"]
    assert not [link for link in seen["links"] if "warm" in link or "template" in link]
    for pid in templates(warm):
        assert b"planted-secret" not in Path(f"/proc/{pid}/environ").read_bytes()


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


def kernel(home: Path, folder: Path) -> Forked:
    """A kernel that nobody speaks to."""
    info = folder / "kernel.json"
    words = ["-f", str(info), "--IPKernelApp.parent_handle=1", "--transport=ipc", f"--ip={folder / 'k'}"]
    env = {"PATH": os.environ["PATH"], "IPYTHONDIR": str(folder / "ipython")}
    with Path(os.devnull).open("r+b") as nothing:
        streams = dict.fromkeys(range(3), nothing.fileno())
        made = fork("live", home, "kernel", words, env=env, cwd=folder, descriptors=streams)
    assert made is not None
    return made


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
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_template import kernel
made = kernel(Path({str(warm)!r}), Path({str(tmp_path)!r}))
print(made.pid, flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    assert not gone(pid)
    holder.kill()
    holder.communicate()
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
    code = f"""
from pathlib import Path
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_template import kernel, parent_of
made = kernel(Path({str(home)!r}), Path({str(tmp_path)!r}))
print(parent_of(made.pid))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    parents = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(parents) == 1
    end_templates(home)


def test_a_template_is_found_by_those_alone_who_would_import_the_same(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"PATH": "/bin", "LANG": "C.UTF-8"}
    same = identity("live", env)
    assert identity("live", env | {"PATH": "/usr/bin", "CASHUP_HOME": "/elsewhere", "SECRET": "x"}) == same
    assert identity("research", env) != same
    assert identity("live", env | {"OMP_NUM_THREADS": "1"}) != same
    package = warm / "cashup"
    package.mkdir()
    (package / "a.py").write_text("x = 1")
    monkeypatch.setattr("cashup.workers.identity._PACKAGE", package)
    before = identity("live", env)
    (package / "a.py").write_text("x = 12")
    assert identity("live", env) != before


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
