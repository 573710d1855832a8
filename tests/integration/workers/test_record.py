"""The record of a live run: a file per day, saves that cannot tear, pages beside closed files; and its log."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from cashup.clock import VirtualClock, parse_time
from cashup.workers.log import LOG_FILES, Follower, Log, tail
from cashup.workers.record import ADDRESS, Record
from cashup.workers.signals import StopSignals

from .conftest import write_notebook

LIVE = """
import pathlib, time
from IPython.display import display
shown = display("status 0", display_id=True)
n = 0
while not pathlib.Path({stop!r}).exists():
    n += 1
    print("line", n, flush=True)
    shown.update(f"status {{n}}")
    time.sleep(0.01)
"""


def wait_for(condition: Callable[[], object]) -> None:
    poll = threading.Event()
    for _ in range(3000):
        if condition():
            return
        poll.wait(0.02)
    pytest.fail("it did not happen")


def numbers(cell: Any) -> list[int]:
    text = "".join(out.text for out in cell.outputs if out.output_type == "stream")
    return [int(found) for found in re.findall(r"^line (\d+)$", text, re.MULTILINE)]


def test_the_record_begins_a_file_each_day_and_the_kernel_goes_on(tmp_path: Path) -> None:
    stop, folder, log = tmp_path / "stop", tmp_path / "runs", Log(tmp_path / "demo.log")
    folder.mkdir()
    notebook = write_notebook(tmp_path / "x.ipynb", [("", "print('before')"), ("", LIVE.format(stop=str(stop)))])
    clock = VirtualClock(parse_time("2025-01-01T23:59"))
    record = Record(folder, clock)
    record.register()
    options = {"engine_name": "cashup", "kernel_name": "python3", "language": "python", "progress_bar": False}
    options |= {"record": record, "log": log, "signals": StopSignals(graceful=True)}
    run = threading.Thread(target=papermill.execute_notebook, args=(str(notebook), ADDRESS), kwargs=options)
    run.start()
    wait_for(lambda: "line 20" in (tmp_path / "demo.log").read_text())
    for day in ("2025-01-02", "2025-01-04"):
        clock.advance_to(parse_time(day))
        wait_for((folder / f"{day}.ipynb").exists)
        time.sleep(0.2)
    stop.touch()
    run.join(30)
    log.close()
    files = {file.stem: nbformat.read(file, as_version=4) for file in sorted(folder.iterdir())}
    assert list(files) == ["2025-01-01", "2025-01-02", "2025-01-04"]
    seen = [numbers(nb.cells[1]) for nb in files.values()]
    assert all(seen)
    together = [number for day in seen for number in day]
    assert together == list(range(1, len(together) + 1)), "a line was lost, or came twice"
    for nb in files.values():
        assert nb.cells[0].outputs[0].text == "before\n"
        status = [out.data["text/plain"] for out in nb.cells[1].outputs if out.output_type == "display_data"]
        assert len(status) == 1
        assert Path(nb.metadata.papermill.output_path).stem in files
    assert files["2025-01-04"].metadata.papermill.continues == "2025-01-02.ipynb"
    assert status == [f"'status {together[-1]}'"]
    lines = (tmp_path / "demo.log").read_text().splitlines()
    assert [int(line.split()[-1]) for line in lines if " line " in line] == together


SAVE = """
import sys, pathlib
from cashup.workers.record import replace_file
target, n = pathlib.Path(sys.argv[1]), 0
text = '"' + "x" * 300_000
while True:
    n += 1
    replace_file(target, f'[{n}, {text}{n}"]')
    if n == 3:
        print("ready", flush=True)
"""


def test_a_record_that_is_being_saved_survives_kill_9(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo" / "1"
    folder.mkdir(parents=True)
    target, chance = folder / "2025-01-01.ipynb", random.Random(56)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", SAVE, str(target)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.wait()
        process.stdout.close()
        number, text = json.loads(target.read_text())
        assert text == "x" * 300_000 + str(number)
    archive(tmp_path, 100_000, "demo/1")
    assert list(folder.iterdir()) == [target], "what killed writers left behind is removed"


def archive(home: Path, days: int, *running: str) -> None:
    words = [sys.executable, "-P", "-m", "cashup.workers.archive", str(home), str(days), *running]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_closed_records_get_their_page_and_old_ones_go(tmp_path: Path) -> None:
    backtest = tmp_path / "runs" / "20200101-abc" / "output.ipynb"
    days = ["2020-01-01", "2125-01-01", "2125-01-02"]
    for folder, names in (("demo/1", days[:1]), ("demo/2", days), ("demo/3", days[1:])):
        for name in names:
            path = tmp_path / "runs" / folder / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_notebook(path, [("", f"'of {name}'")])
    backtest.parent.mkdir()
    write_notebook(backtest, [("", "1")])
    archive(tmp_path, 400, "demo/3")
    left = sorted(str(path.relative_to(tmp_path / "runs")) for path in (tmp_path / "runs").rglob("*.*"))
    assert left == [
        "20200101-abc/output.ipynb",
        "demo/2/2125-01-01.html",
        "demo/2/2125-01-01.ipynb",
        "demo/2/2125-01-02.html",
        "demo/2/2125-01-02.ipynb",
        "demo/3/2125-01-01.html",
        "demo/3/2125-01-01.ipynb",
        "demo/3/2125-01-02.ipynb",
    ]
    page = (tmp_path / "runs" / "demo" / "2" / "2125-01-01.html").read_text()
    assert "of 2125-01-01" in page
    assert not re.findall(r"""(?:src|href)=["']https?://""", page), "a page needs nothing from anywhere else"


WRITE = """
import sys, pathlib
from cashup.workers.log import Log
log = Log(pathlib.Path(sys.argv[1]), limit=8_000)
for n in range(250):
    log.write(f"{sys.argv[2]} {n}\\n", "stdout")
log.close()
"""


def test_two_writers_turn_the_log_over_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "demo.log"
    mine = Log(path, limit=8_000)
    follower = Follower(path)
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(path), name]) for name in ("a", "b")]
    followed = ""
    while any(writer.poll() is None for writer in writers):
        followed += follower.read()
    mine.write("the last one, token=hush and no end", "kernel")  # its descriptor is several files old
    mine.close()
    followed += follower.read()
    files = [path, *(path.with_name(f"demo.log.{n}") for n in range(1, LOG_FILES + 1))]
    text = "".join(file.read_text() for file in files if file.exists())
    assert path.with_name("demo.log.1").exists()
    for name in "ab":
        found = [int(n) for n in re.findall(rf"stdout {name} (\d+)$", text, re.MULTILINE)]
        assert sorted(found) == list(range(250))
    assert "hush" not in text
    (last,) = tail(path, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z kernel the last one, token=\*\*\* and no end\n", last)
    assert len(tail(path, 300)) == 300
    assert set(followed.splitlines()) <= set(text.splitlines())
    assert len(followed.splitlines()) > 490, "a line that is late for its file is not followed, but kept"


def test_what_the_kernel_writes_past_papermill_is_in_the_log(tmp_path: Path) -> None:
    log = Log(tmp_path / "demo.log")
    with log.pump("kernel") as descriptor:
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'one\\ntwo')"], stderr=descriptor, check=True)
    log.close()
    assert [line[25:] for line in tail(tmp_path / "demo.log", 5)] == ["kernel one\n", "kernel two\n"]
