"""What a kernel may use at most, as the system enforces it: real kernels that ask for more than they are allowed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError

from cashup.workers import headcount
from cashup.workers.context import Task
from cashup.workers.folder import prepare
from cashup.workers.process import _token_pipe

LIMITS = {"memory_mb": 200, "processes": 64, "open_files": 64, "disk_mb": 1}

ASK = """
import json, os, resource, signal
import numpy as np
said = {}
def attempt(name, work):
    try:
        work()
        said[name] = "done"
    except (OSError, MemoryError) as error:
        said[name] = type(error).__name__
def files():
    opened = []
    try:
        for _ in range(200):
            opened.append(open(os.devnull))
    finally:
        for each in opened:
            each.close()
attempt("little memory", lambda: np.ones(8_000_000))
attempt("much memory", lambda: np.ones(100_000_000))
attempt("files", files)
attempt("a small file", lambda: open("small", "wb").write(bytes(500_000)))
def large():
    with open("large", "wb", buffering=0) as file:
        while file.tell() < 2_000_000:
            file.write(bytes(300_000))
attempt("a large file", large)
said["core"] = resource.getrlimit(resource.RLIMIT_CORE)
said["pipe"] = signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
print(json.dumps(said))
"""


def execute(notebook: Path, limits: dict[str, int], **options: Any) -> nbformat.NotebookNode:
    """Execute as a worker does, with a task and its limits."""
    descriptor = _token_pipe("a-token")
    task = Task("http://127.0.0.1:1", "demo", 1, descriptor, limits)
    given = {"kernel_env": task.to_env(), "pass_fds": (descriptor,), "flavour": None}
    return papermill.execute_notebook(
        str(notebook),
        str(notebook.with_name("out.ipynb")),
        engine_name="cashup",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        **(given | options),
    )


def test_a_kernel_gets_memory_files_and_disk_up_to_its_limits(notebook: Callable[..., Path], tmp_path: Path) -> None:
    done = execute(notebook(("", ASK)), LIMITS, cwd=str(tmp_path))
    said = json.loads("".join(out.text for out in done.cells[0].outputs))
    assert said["little memory"] == "done"
    assert said["much memory"] == "MemoryError"
    assert (said["files"], said["a small file"], said["a large file"]) == ("OSError", "done", "OSError")
    assert (said["core"], said["pipe"]) == ([0, 0], True)


def test_a_kernel_that_starts_too_much_is_killed_with_what_it_started(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    source = (
        "import subprocess, sys, time\n"
        "started = [subprocess.Popen(['sleep', '1000.25']) for _ in range(40)]\n"
        "time.sleep(60)"
    )
    with pytest.raises(DeadKernelError):
        execute(notebook(("", source)), {}, cwd=str(tmp_path), most_tasks=40)
    left = subprocess.run(["pgrep", "-f", "^sleep 1000.25"], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_a_headcount_counts_processes_and_threads() -> None:
    words = "import subprocess, threading, time\nsubprocess.Popen(['sleep', '60'])\n"
    words += "threading.Thread(target=time.sleep, args=(60,)).start()\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found, pids = headcount.count(process.pid)
    assert (found, len(pids), pids[0]) == (3, 2, process.pid)
    for pid in pids:
        subprocess.run(["kill", "-9", str(pid)], check=True)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert headcount.count(process.pid) == (0, [])


def test_its_own_folder_shows_what_lies_beside_the_notebook(notebook: Callable[..., Path], tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    path = notebook(("", "import neighbour\nopen('mine.txt', 'w').write(open('prices.csv').read() + neighbour.NAME)"))
    path = path.rename(beside / "it.ipynb")
    (beside / "neighbour.py").write_text("NAME = 'a neighbour'")
    (beside / "prices.csv").write_text("1,2,")
    (beside / ".secret").write_text("x")
    home = beside / "home"
    folder = prepare(home / "work" / "demo", [beside])
    execute(path, {}, cwd=str(folder))
    assert (folder / "mine.txt").read_text() == "1,2,a neighbour"
    assert not (beside / "mine.txt").exists()
    assert sorted(each.name for each in folder.iterdir() if each.name != "__pycache__") == [
        "mine.txt",
        "neighbour.py",
        "prices.csv",
    ]
    (beside / "prices.csv").unlink()
    prepare(folder, [beside])
    assert not (folder / "prices.csv").is_symlink()
    assert (folder / "mine.txt").exists()
