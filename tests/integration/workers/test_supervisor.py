"""The supervisor, its worker processes and their kernels, as real processes: stops, deaths, mistakes, leftovers."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from .conftest import ADMIN_TOKEN, CONTRACT, TOKEN, Scripted, write_notebook

DEPLOYMENT = """
notebook = "sma.ipynb"
account = "demo"
capital = "1000"
"""


class Command:
    """A `cashup` command as a process; its lines on stderr can be waited for."""

    def __init__(self, folder: Path, gateway: Scripted, *arguments: str) -> None:
        env = {
            name: value for name, value in os.environ.items() if not name.startswith("CASHUP_") or name == "CASHUP_WARM"
        }
        env |= {
            "CASHUP_HOME": str(folder / "home"),
            "CASHUP_GATEWAY_URL": gateway.url,
            "CASHUP_TOKEN": ADMIN_TOKEN,
            "CASHUP_DATABASE_URL": "postgresql://planted-secret@localhost/nowhere",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cashup", *arguments],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches."""
        while True:
            line = self._lines.get(timeout=60)
            assert line is not None, f"{pattern!r} was not said, but {self.said}"
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def end(self) -> tuple[int, str]:
        """Wait for the end; exit code and all that was said."""
        while (line := self._lines.get(timeout=60)) is not None:
            self.said.append(line)
        return self.process.wait(30), "\n".join(self.said)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_notebook(tmp_path / "sma.ipynb", CONTRACT)
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "demo.toml").write_text(DEPLOYMENT)
    return tmp_path


@pytest.fixture
def cashup(project: Path, gateway: Scripted) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def run(*arguments: str) -> Command:
        started.append(Command(project, gateway, *arguments))
        return started[-1]

    yield run
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()
        assert command.process.stdout is not None
        command.process.stdout.close()


def trading(command: Command, gateway: Scripted, attempt: int = 1) -> tuple[int, int]:
    """Wait until the attempt has warmed up; the pids of its worker and kernel."""
    worker = int(command.wait_for(rf"demo: attempt {attempt} started \(process (\d+)\)").group(1))
    gateway.wait_for(lambda: [m["type"] for m in gateway.messages].count("ready") == attempt)
    (kernel,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    return worker, int(kernel)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(*pids: int) -> None:
    poll = threading.Event()
    for _ in range(1500):
        if all(gone(pid) for pid in pids):
            return
        poll.wait(0.02)
    pytest.fail(f"one of {pids} is still there")


def decide(gateway: Scripted) -> int:
    """Close a bar and wait for its intent."""
    bar = gateway.close_bar()
    gateway.wait_for(lambda: any(intent["bar"] == bar for intent in gateway.intents))
    return bar


def finished(gateway: Scripted, attempt: int = 1) -> dict[str, Any]:
    row = gateway.attempts["demo"][attempt - 1]
    gateway.wait_for(lambda: "exit_code" in row)
    return row


def record(project: Path, attempt: int = 1) -> nbformat.NotebookNode:
    (file,) = (project / "home" / "runs" / "demo" / str(attempt)).glob("*.ipynb")
    return nbformat.read(file, as_version=4)


def test_a_worker_trades_until_it_is_stopped_and_leaves_its_tear_sheet(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    command = cashup("live", "up")
    command.wait_for("demo: new")
    pids = trading(command, gateway)
    for _ in range(3):
        decide(gateway)
    command.process.send_signal(signal.SIGTERM)
    code, said = command.end()
    assert code == 0, said
    wait_until_gone(*pids)
    row = finished(gateway)
    assert (row["state"], row["exit_code"]) == ("finished", 0)
    assert gateway.deployments["demo"]["desired"] == "running"
    assert gateway.holder is None
    last = record(project).cells[-1]
    assert "tear sheet 3" in last.outputs[0].text
    assert "Total Return [%]" in last.outputs[-1].data["text/plain"]
    assert "3 decided in this attempt" in record(project).cells[2].outputs[0].data["text/plain"]


def test_the_token_is_nowhere_but_in_memory(cashup: Callable[..., Command], gateway: Scripted, project: Path) -> None:
    command = cashup("live", "up")
    pids = trading(command, gateway)
    for pid in pids:
        for what in ("environ", "cmdline"):
            text = Path(f"/proc/{pid}/{what}").read_bytes()
            assert TOKEN.encode() not in text
            assert b"planted" not in text
    decide(gateway)
    command.process.send_signal(signal.SIGTERM)
    command.end()
    for path in (project / "home").rglob("*"):
        assert not path.is_file() or TOKEN not in path.read_text()


def test_a_stop_by_name_ends_the_worker_and_not_the_supervisor(
    cashup: Callable[..., Command], gateway: Scripted
) -> None:
    command = cashup("live", "up")
    trading(command, gateway)
    assert cashup("live", "stop", "demo").end()[0] == 0
    command.wait_for("demo: attempt 1 stopped")
    assert finished(gateway)["state"] == "finished"
    assert cashup("live", "start", "demo").end()[0] == 0
    trading(command, gateway, attempt=2)


def test_a_restart_replaces_the_attempt_and_a_pause_does_not_end_it(
    cashup: Callable[..., Command], gateway: Scripted
) -> None:
    command = cashup("live", "up")
    trading(command, gateway)
    assert cashup("live", "pause", "demo").end()[0] == 0
    assert gateway.deployments["demo"]["desired"] == "paused"
    assert cashup("live", "restart", "demo").end()[0] == 0
    command.wait_for("demo: attempt 1 stopped")
    assert finished(gateway)["state"] == "finished"
    trading(command, gateway, attempt=2)
    assert gateway.deployments["demo"]["desired"] == "paused"
    assert cashup("live", "resume", "demo").end()[0] == 0
    assert gateway.deployments["demo"]["desired"] == "running"


def test_a_killed_kernel_is_recorded_and_the_next_attempt_resumes(
    cashup: Callable[..., Command], gateway: Scripted
) -> None:
    command = cashup("live", "up")
    _, kernel = trading(command, gateway)
    first = decide(gateway)
    os.kill(kernel, signal.SIGKILL)
    row = finished(gateway)
    assert (row["state"], row["exit_code"]) == ("failed", 138)
    assert "the kernel died" in row["message"]
    trading(command, gateway, attempt=2)
    second = decide(gateway)
    assert [intent["bar"] for intent in gateway.intents] == [first, second]


def test_a_killed_worker_leaves_no_kernel_and_is_replaced(cashup: Callable[..., Command], gateway: Scripted) -> None:
    command = cashup("live", "up")
    worker, kernel = trading(command, gateway)
    os.kill(worker, signal.SIGKILL)
    wait_until_gone(kernel)
    row = finished(gateway)
    assert (row["state"], row["exit_code"]) == ("failed", -9)
    command.wait_for("starting again at once")
    trading(command, gateway, attempt=2)


def test_a_killed_supervisor_takes_its_workers_with_it(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    command = cashup("live", "up")
    pids = trading(command, gateway)
    decide(gateway)
    command.process.kill()
    wait_until_gone(*pids)
    assert "tear sheet 1" in record(project).cells[-1].outputs[0].text


def test_a_second_supervisor_is_refused_and_changes_nothing(cashup: Callable[..., Command], gateway: Scripted) -> None:
    gateway.holder = "elsewhere:1"
    code, said = cashup("live", "up").end()
    assert code == 1
    assert "another supervisor is at work" in said
    assert "elsewhere:1" in said
    assert len(said.splitlines()) == 1
    assert gateway.deployments == {}


def test_a_pods_supervisor_keeps_one_deployment(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    (project / "live" / "other.toml").write_text(DEPLOYMENT)
    assert cashup("live", "up", "--detach").end()[0] == 0
    gateway.holder = "elsewhere:1"
    pod = cashup("live", "up", "--no-files", "--wait", "--only", "demo")
    pod.wait_for("elsewhere:1 holds the supervisor's lease; waiting")
    gateway.holder = None
    trading(pod, gateway)
    decide(gateway)
    assert gateway.attempts["other"] == []
    assert (project / "home" / "run" / "supervisor.alive").exists()


def test_a_pod_of_another_version_does_not_begin(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    assert cashup("live", "up", "--detach").end()[0] == 0
    spec = gateway.deployments["demo"]["spec"]
    pod = cashup("live", "up", "--no-files", "--only", "demo", "--version", "ba9876543210")
    pod.wait_for(f"demo: version {spec['version']} shall run, and here lies ba9876543210")
    assert gateway.attempts["demo"] == []


def test_a_worker_that_another_supervisor_replaces_is_killed_at_once(
    cashup: Callable[..., Command], gateway: Scripted
) -> None:
    command = cashup("live", "up")
    pids = trading(command, gateway)
    gateway.lost = ["demo"]
    command.wait_for("demo: another supervisor works for it now; attempt 1 is killed")
    wait_until_gone(*pids)


def test_a_running_supervisor_takes_what_is_handed_over(cashup: Callable[..., Command], gateway: Scripted) -> None:
    supervisor = cashup("live", "up", "--no-files")
    gateway.wait_for(lambda: gateway.holder)
    assert cashup("live", "up", "--detach").end()[0] == 0
    trading(supervisor, gateway)


def test_one_broken_file_means_that_nothing_is_applied(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    (project / "live" / "bad.toml").write_text(DEPLOYMENT + "colour = 1\n")
    (project / "live" / "worse.toml").write_text("notebook = \n")
    (project / "live" / "typo.toml").write_text(DEPLOYMENT + "[parameters]\nfats = 5\n")
    code, said = cashup("live", "up").end()
    assert code == 2
    assert "bad.toml: colour is not a key" in said
    assert "worse.toml is not TOML" in said
    assert "no parameter 'fats'; did you mean 'fast'?" in said
    assert gateway.deployments == {}
    assert gateway.holder is None


def test_an_unknown_account_means_that_nothing_is_applied(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    (project / "live" / "other.toml").write_text(DEPLOYMENT.replace('"demo"', '"nobody"'))
    code, said = cashup("live", "up").end()
    assert code == 2
    assert "there is no account 'nobody' of other" in said
    assert gateway.deployments == {}


def test_what_has_changed_is_said_and_stored(cashup: Callable[..., Command], gateway: Scripted, project: Path) -> None:
    assert "demo: new" in cashup("live", "up", "--detach").end()[1]
    assert "demo: as it was" in cashup("live", "up", "--detach").end()[1]
    (project / "live" / "demo.toml").write_text(DEPLOYMENT.replace("1000", "2000"))
    assert "demo: capital 1000 -> 2000" in cashup("live", "up", "--detach").end()[1]
    assert gateway.deployments["demo"]["spec"]["capital"] == "2000"


def test_a_deployment_without_a_file_goes_on_unless_it_is_pruned(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    cashup("live", "up", "--detach").end()
    (project / "live" / "demo.toml").rename(project / "live" / "other.toml")
    assert "demo: has no file any more; it goes on" in cashup("live", "up", "--detach").end()[1]
    assert gateway.deployments["demo"]["desired"] == "running"
    assert "demo: has no file any more and shall stop" in cashup("live", "up", "--detach", "--prune").end()[1]
    assert gateway.deployments["demo"]["desired"] == "stopped"


def test_a_notebook_that_raises_fails_its_deployment_for_good(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    cells = [CONTRACT[0], ("", CONTRACT[1][1].replace("slow=", "slow=").replace("def target", "1 / 0\ndef target"))]
    write_notebook(project / "sma.ipynb", [*cells, *CONTRACT[2:]])
    command = cashup("live", "up")
    command.wait_for(r"demo: attempt 1 failed: cell \[\d\] raised ZeroDivisionError: division by zero")
    row = finished(gateway)
    assert (row["state"], row["exit_code"]) == ("failed", 1)
    gateway.wait_for(lambda: gateway.deployments["demo"]["desired"] == "stopped")


def test_a_notebook_that_never_trades_is_said_to_be_wrong(
    cashup: Callable[..., Command], gateway: Scripted, project: Path
) -> None:
    write_notebook(project / "sma.ipynb", CONTRACT[:2])
    cashup("live", "up").wait_for(r"attempt 1 failed: the notebook ended without being asked to; does it call cu.run")


def test_ps_prints_what_the_gateway_says(cashup: Callable[..., Command], gateway: Scripted, project: Path) -> None:
    cashup("live", "up", "--detach").end()
    table = cashup("live", "ps")
    assert table.process.stdout is not None
    words = table.process.stdout.read().splitlines()[1].split()
    assert words == ["demo", "demo", gateway.deployments["demo"]["spec"]["version"], "running", "never", "started"]
    command = cashup("live", "ps", "--json")
    assert command.process.stdout is not None
    rows = json.loads(command.process.stdout.read())
    assert [(row["name"], row["desired"]) for row in rows] == [("demo", "running")]


def test_logs_show_what_a_worker_wrote(cashup: Callable[..., Command], gateway: Scripted, project: Path) -> None:
    write_notebook(project / "sma.ipynb", [("", "import os; os.write(2, b'from the kernel\\n')"), *CONTRACT])
    command = cashup("live", "up")
    trading(command, gateway)
    shown = cashup("live", "logs", "demo")
    assert shown.process.stdout is not None
    assert "from the kernel" in shown.process.stdout.read()
    code, said = cashup("live", "logs", "other").end()
    assert code == 1
    assert "other has no log" in said


def test_without_a_gateway_there_is_one_clear_sentence(cashup: Callable[..., Command], gateway: Scripted) -> None:
    gateway.go_away()
    code, said = cashup("live", "up").end()
    assert code == 1
    assert "does not answer" in said
    assert "cashup up" in said
    assert len(said.splitlines()) == 1
    gateway.come_back()
