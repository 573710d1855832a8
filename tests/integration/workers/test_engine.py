"""The papermill engine on real kernels: isolation, signals, bounded outputs, saves that cannot tear."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from cashup.workers.outputs import CELL_OUTPUTS, STREAM_CHARACTERS

RUN = """
import sys, papermill
from cashup.workers.signals import StopSignals
options = dict(engine_name="cashup", kernel_name="python3", language="python", progress_bar=False)
worker = len(sys.argv) > 3
if worker:
    with StopSignals(graceful=True, deadline=float(sys.argv[3]), grace=1.0) as signals:
        papermill.execute_notebook(sys.argv[1], sys.argv[2], signals=signals, **options)
else:
    papermill.execute_notebook(sys.argv[1], sys.argv[2], **options)
"""

LISTEN = """
import os, pathlib, signal, time
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
"""


def execute(notebook: Path, **options: Any) -> nbformat.NotebookNode:
    output = notebook.with_name("out.ipynb")
    return papermill.execute_notebook(
        str(notebook),
        str(output),
        engine_name="cashup",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        **options,
    )


def wait_for_file(path: Path, process: subprocess.Popen[bytes] | None = None) -> str:
    """What a cell wrote into `path`, once it is there."""
    end = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end, f"{path} did not appear"
        assert process is None or process.poll() is None, "the process ended first"
        time.sleep(0.02)
    return path.read_text().strip()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(notebook: Path, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", RUN, str(notebook), str(tmp_path / "out.ipynb"), *arguments]
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


def cells(path: Path) -> list[nbformat.NotebookNode]:
    return list(nbformat.read(path, as_version=4).cells)


def test_a_kernel_knows_nothing_of_its_parents_secrets(
    notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CASHUP_DATABASE_URL", "CASHUP_REDIS_URL", "CASHUP_TOKEN", "AWS_SECRET_ACCESS_KEY", "GATE_KEY"):
        monkeypatch.setenv(name, "planted-secret")
    monkeypatch.setenv("CASHUP_RUN", "spec.json")
    path = notebook(("", "import os, json; print(json.dumps(dict(os.environ)))"))
    env = json.loads(execute(path).cells[0].outputs[0].text)
    assert "planted-secret" not in env.values()
    assert env["CASHUP_RUN"] == "spec.json"
    assert Path(env["PATH"]) == Path(os.environ["PATH"])


def test_a_kernel_speaks_over_sockets_in_a_private_folder_that_is_removed(notebook: Callable[..., Path]) -> None:
    source = """
import json, os
from pathlib import Path
folder = Path(os.environ["IPYTHONDIR"]).parent
descriptors = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
ours = {os.readlink(path) for path in descriptors if path.exists()}
rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours]
print(json.dumps([str(folder), oct(folder.stat().st_mode & 0o777), len(list(folder.glob("k-*"))), listening]))
"""
    folder, mode, sockets, listening = json.loads(execute(notebook(("", source))).cells[0].outputs[0].text)
    assert mode == "0o700"
    assert sockets == 5
    assert listening == []
    assert not Path(folder).exists()


def test_parameters_reach_the_notebook(notebook: Callable[..., Path]) -> None:
    path = notebook(("parameters", "x = 1"), ("", "x + 1"))
    done = execute(path, parameters={"x": 41})
    assert done.cells[-1].outputs[0].data["text/plain"] == "42"


def test_a_flood_of_output_stays_small_and_keeps_its_end(notebook: Callable[..., Path]) -> None:
    flood = "for i in range(2_000):\n    print('x' * 60, 'line', i, flush=True)"
    shows = f"from IPython.display import display\nfor i in range({CELL_OUTPUTS + 50}):\n    display(i)"
    done = execute(notebook(("", flood), ("", shows)))
    (stream,) = done.cells[0].outputs
    assert stream.text.endswith("line 1999\n")
    assert len(stream.text) <= STREAM_CHARACTERS + 100
    assert "earlier output was dropped" in stream.text
    texts = [out.data["text/plain"] for out in done.cells[1].outputs]
    assert texts == [str(i) for i in range(50, CELL_OUTPUTS + 50)]


def test_a_display_is_updated_in_place_even_when_older_outputs_are_dropped(notebook: Callable[..., Path]) -> None:
    source = (
        "from IPython.display import display\n"
        f"for i in range({CELL_OUTPUTS - 1}):\n    display(i)\n"
        "shown = display('old', display_id=True)\n"
        "for i in range(10):\n    display(-i)\n"
        "for i in range(500):\n    shown.update(i)\n"
    )
    outputs = execute(notebook(("", source))).cells[0].outputs
    assert len(outputs) == CELL_OUTPUTS
    assert [out.data["text/plain"] for out in outputs if out.data["text/plain"] == "499"] == ["499"]


def test_a_cell_that_raises_fails_the_run_and_is_marked(notebook: Callable[..., Path]) -> None:
    path = notebook(("", "1 / 0"), ("", "print('not reached')"))
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        execute(path)
    code = [cell for cell in cells(path.with_name("out.ipynb")) if cell.cell_type == "code"]
    assert [cell.metadata.papermill.status for cell in code] == ["failed", "pending"]


def test_a_kernel_that_dies_is_not_recorded_as_completed(notebook: Callable[..., Path]) -> None:
    path = notebook(("", "import os; os.kill(os.getpid(), 9)"), ("", "print('not reached')"))
    with pytest.raises(DeadKernelError):
        execute(path)
    record = nbformat.read(path.with_name("out.ipynb"), as_version=4)
    assert record.metadata.papermill.exception is True
    assert [cell.metadata.papermill.status for cell in record.cells] == ["failed", "pending"]


def test_the_record_is_replaced_as_a_whole(notebook: Callable[..., Path], tmp_path: Path) -> None:
    # A hard link to the record keeps the old file: writing in place would change it, replacing does not.
    output = tmp_path / "out.ipynb"
    output.write_text("before")
    os.link(output, tmp_path / "kept")
    execute(notebook(("", "1")))
    assert (tmp_path / "kept").read_text() == "before"
    assert nbformat.read(output, as_version=4).cells
    assert not list(tmp_path.glob(".*.tmp"))


def test_ctrl_c_interrupts_a_notebook_that_is_no_worker(
    notebook: Callable[..., Path], start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    process = start(notebook(("", f"import time\nopen({str(ready)!r}, 'w').write('now\\n')\ntime.sleep(600)")))
    wait_for_file(ready, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in output
    assert cells(tmp_path / "out.ipynb")[-1].metadata.papermill.status == "failed"


def test_a_worker_that_is_asked_to_stop_runs_its_last_cells(
    notebook: Callable[..., Path], start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    loop = f"{LISTEN}\nopen({str(ready)!r}, 'w').write('now\\n')\nwhile not seen:\n    time.sleep(0.01)"
    process = start(notebook(("", loop), ("", "print('tear sheet')")), "60")
    wait_for_file(ready, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert cells(tmp_path / "out.ipynb")[-1].outputs[0].text == "tear sheet\n"


@pytest.mark.parametrize("deadline", ["60", "0.3"])
def test_a_worker_that_does_not_stop_is_forced(
    notebook: Callable[..., Path], start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, deadline: str
) -> None:
    ready, stopping = tmp_path / "ready", tmp_path / "stopping"
    deaf = (
        f"{LISTEN}\nopen({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        f"while True:\n    try:\n        time.sleep(0.01)\n"
        f"        if seen:\n            open({str(stopping)!r}, 'w').write('now\\n')\n"
        "    except KeyboardInterrupt:\n        pass\n"
    )
    process = start(notebook(("", deaf)), deadline)
    kernel = int(wait_for_file(ready, process))
    process.send_signal(signal.SIGTERM)
    if deadline == "60":
        wait_for_file(stopping, process)
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not alive(kernel)
    assert cells(tmp_path / "out.ipynb")[-1].metadata.papermill.status == "failed"


def test_no_kernel_outlives_a_killed_papermill(
    notebook: Callable[..., Path], start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    source = f"{LISTEN}\nopen({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n')\nwhile True:\n    time.sleep(1)"
    process = start(notebook(("", source)), "60")
    kernel = int(wait_for_file(ready, process))
    process.kill()
    wait_until_gone(kernel)


NEIGHBOURS = """
import json, own_averages, statistics
print(own_averages.NAME, hasattr(statistics, "mean"), json.dumps(1))
"""


def test_a_module_beside_the_notebook_is_imported_and_shadows_nothing(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "own_averages.py").write_text("NAME = 'a neighbour'\n")
    for name in ("statistics", "cashup", "pandas"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a neighbour took the place of a library')\n")
    done = execute(notebook(("", NEIGHBOURS + "import cashup, pandas\n")), cwd=str(tmp_path))
    assert "".join(out.text for out in done.cells[0].outputs) == "a neighbour True 1\n"
