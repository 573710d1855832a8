"""Deployments as files: what differs is said first, what runs is frozen, and a running one can be watched."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import CONTRACT, Scripted, write_notebook
from .test_supervisor import DEPLOYMENT, Command, cashup, decide, finished, project, record, trading

__all__ = ["cashup", "project"]

Run = Callable[..., Command]
SLOWER = [("parameters", CONTRACT[0][1].replace("slow = 4", "slow = 5")), *CONTRACT[1:]]

ALERT = {
    "id": 3,
    "deployment": "demo",
    "code": "drift",
    "severity": "warning",
    "message": "live leaves its backtest",
    "acknowledged_at": None,
}


def out(command: Command) -> str:
    assert command.process.stdout is not None
    return command.process.stdout.read()


def up(cashup: Run, *words: str) -> tuple[int, str]:
    return cashup("live", "up", "--detach", *words).end()


def version_of(gateway: Scripted) -> str:
    return str(gateway.deployments["demo"]["spec"]["version"])


def test_a_dry_run_says_what_differs_and_changes_nothing(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    code, said = cashup("live", "up", "--dry-run").end()
    assert code == 0
    assert re.search(r"demo: new, version [0-9a-f]{12} of sma.ipynb on account demo with a capital of 1000", said)
    assert "nothing was changed: --dry-run" in said
    assert gateway.deployments == {}
    assert not (project / "home" / "versions").exists()
    assert up(cashup)[0] == 0
    (project / "live" / "demo.toml").write_text(DEPLOYMENT.replace("1000", "2000") + 'on_exit = "flatten"\n')
    said = cashup("live", "up", "--dry-run").end()[1]
    assert "demo: capital 1000 -> 2000; on_exit (default) -> flatten" in said
    assert gateway.deployments["demo"]["spec"]["capital"] == "1000"
    up(cashup)
    assert gateway.deployments["demo"]["spec"]["on_exit"] == "flatten"
    (project / "live" / "demo.toml").write_text(DEPLOYMENT.replace("1000", "2000"))
    assert "demo: on_exit flatten -> (default)" in up(cashup)[1]
    assert "on_exit" not in gateway.deployments["demo"]["spec"]


def test_a_worker_runs_the_frozen_notebook_and_a_changed_one_is_another_version(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    (project / "names.py").write_text("TITLE = 'the first one'")
    write_notebook(project / "sma.ipynb", [*CONTRACT, ("", "import names\nnames.TITLE")])
    up(cashup)
    first = version_of(gateway)
    (project / "sma.ipynb").write_text("half of a noteb")  # an editor that saves
    (project / "names.py").write_text("TITLE = ")
    supervisor = cashup("live", "up", "--no-files")
    trading(supervisor, gateway)
    decide(gateway)
    assert record(project).cells[0].source == CONTRACT[0][1]
    code, said = cashup("live", "up", "--detach").end()
    assert (code, "is not a notebook" in said) == (2, True)
    write_notebook(project / "sma.ipynb", SLOWER)
    said = up(cashup)[1]
    second = version_of(gateway)
    assert second != first
    assert f"demo: notebook changed: version {first} -> {second}; begins another attempt" in said
    supervisor.wait_for("demo: attempt 1 stopped")
    assert finished(gateway)["state"] == "finished"
    assert record(project).cells[-1].outputs[0].data["text/plain"] == "'the first one'"
    trading(supervisor, gateway, attempt=2)
    assert record(project, attempt=2).cells[0].source == SLOWER[0][1]
    assert {path.name for path in (project / "home" / "versions").iterdir()} == {first, second}
    (project / "live" / "demo.toml").write_text(DEPLOYMENT + "[parameters]\nfast = 3\n")
    said = up(cashup)[1]
    assert "parameters.fast (default) -> 3; " in said
    assert f"parameters changed: version {second} -> " in said


def test_a_version_that_was_tampered_with_never_runs(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    up(cashup)
    cashup("live", "stop", "demo").end()
    frozen = project / "home" / "versions" / version_of(gateway) / "sma.ipynb"
    frozen.chmod(0o644)
    frozen.write_text(frozen.read_text().replace("slow = 4", "slow = 9"))
    for words in (("start", "demo"), ("up", "--detach")):
        code, said = cashup("live", *words).end()
        assert code == 1
        assert "is not what was frozen" in said
    assert gateway.deployments["demo"]["desired"] == "stopped"
    gateway.deployments["demo"]["desired"] = "running"  # by somebody who did not look
    cashup("live", "up", "--no-files").wait_for("attempt 1 failed: version .* is not what was frozen")
    assert (finished(gateway)["state"], gateway.intents) == ("failed", [])


def test_a_paused_deployment_stays_paused_and_its_file_is_applied(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    up(cashup)
    cashup("live", "pause", "demo").end()
    (project / "live" / "demo.toml").write_text(DEPLOYMENT.replace("1000", "2000"))
    assert "demo: capital 1000 -> 2000; stays paused (`cashup live resume demo`)" in up(cashup)[1]
    assert gateway.deployments["demo"]["desired"] == "paused"


def test_a_secret_in_a_file_stops_everything(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    (project / "live" / "other.toml").write_text(DEPLOYMENT + "# api_key = 9fJ2kL5mN8pQ1rS4tV7wX0yZ3bC6dF\n")
    code, said = up(cashup)
    assert code == 2
    assert "other.toml, line 5: capital holds what looks like a secret" in said
    assert "9fJ2" not in said
    assert gateway.deployments == {}


def test_real_money_needs_a_promoted_version_and_the_switch(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    gateway.accounts = [{"name": "demo", "mode": "live"}]
    code, said = up(cashup)
    assert (code, 'needs mode = "live" and a version' in said) == (2, True)
    file = project / "live" / "demo.toml"
    file.write_text(DEPLOYMENT + 'mode = "live"\n')
    assert "mode live needs the version" in up(cashup)[1]
    file.write_text(DEPLOYMENT + 'mode = "live"\nversion = "0123456789ab"\n')
    assert "there is no version 0123456789ab" in up(cashup)[1]
    unjudged = project / "home" / "versions"
    gateway.accounts = [{"name": "demo", "mode": "sandbox"}]
    file.write_text(DEPLOYMENT)
    up(cashup)
    (found,) = unjudged.iterdir()
    gateway.deployments.clear()
    gateway.accounts = [{"name": "demo", "mode": "live"}]
    file.write_text(DEPLOYMENT + f'mode = "live"\nversion = "{found.name}"\n')
    assert f"version {found.name} was never promoted" in up(cashup, "--allow-live")[1]
    assert gateway.deployments == {}


def test_parameters_of_a_version_are_pinned(
    cashup: Run,
    gateway: Scripted,
    project: Path,
) -> None:
    file = project / "live" / "demo.toml"
    file.write_text(DEPLOYMENT + "[parameters]\nfast = 3\n")
    up(cashup)
    version = version_of(gateway)
    write_notebook(project / "sma.ipynb", SLOWER)
    file.write_text(DEPLOYMENT + f'version = "{version}"\n')
    code, said = up(cashup)
    assert (code, "demo: as it was" in said) == (0, True), said
    assert f"sma.ipynb was changed since version {version} was frozen; the version runs" in said
    assert gateway.deployments["demo"]["spec"]["params"] == {"fast": 3}
    file.write_text(DEPLOYMENT + f'version = "{version}"\n[parameters]\nfast = 4\n')
    code, said = up(cashup)
    assert code == 2
    assert f"parameters.fast is 4, and version {version} was promoted with 3" in said


def test_show_says_what_is_given_and_what_is_the_default(
    cashup: Run,
    project: Path,
) -> None:
    tables = "hang_bars = 3\n[parameters]\nfast = 3\n[limits]\nmax_open_orders = 5\n"
    (project / "live" / "demo.toml").write_text(DEPLOYMENT + tables)
    shown = json.loads(out(cashup("live", "show", "demo", "--json")))
    keys: dict[str, Any] = {key["key"]: (key["value"], key["given"]) for key in shown["keys"]}
    assert keys["capital"] == ("1000", True)
    assert keys["hang_bars"] == (3, True)
    assert keys["on_exit"] == ("keep", False)
    assert keys["limits.max_open_orders"] == (5, True)
    assert keys["restarts.limit"] == (5, False)
    assert (keys["parameters.fast"], keys["parameters.slow"]) == ((3, True), (4, False))
    table = out(cashup("live", "show", "demo")).splitlines()
    assert any(line.split()[:3] == ["on_exit", "keep", "default"] for line in table)


def test_show_of_what_is_stored_and_of_nothing(cashup: Run, gateway: Scripted) -> None:
    up(cashup)
    gateway.deployments["demo"]["spec"]["on_exit"] = "cancel"
    shown = json.loads(out(cashup("live", "show", "demo", "--stored", "--json")))
    keys = {key["key"]: (key["value"], key["given"]) for key in shown["keys"]}
    assert (keys["on_exit"], keys["missed_bars"]) == (("cancel", True), ("act", False))
    code, said = cashup("live", "show", "nobody").end()
    assert (code, "there is no deployment nobody" in said) == (1, True)


@pytest.mark.parametrize("ending", [signal.SIGINT])
def test_attach_follows_and_leaves_it_running(cashup: Run, gateway: Scripted, ending: signal.Signals) -> None:
    up(cashup)
    command = cashup("live", "attach", "demo")
    assert command.process.stdout is not None
    assert "demo on demo shall be running; it was never started" in command.process.stdout.readline()
    gateway.wait_for(lambda: gateway.sockets)
    events = [
        ("attempt_started", {"deployment": "demo", "attempt": 1, "version": "0123456789ab"}),
        ("intent_accepted", {"deployment": "demo", "key": "1", "bar": 0, "targets": {"A/B": 0.5}, "decisions": []}),
        ("fill_booked", {"deployment": "other", "side": "buy"}),
        ("bar_processed", {"deployment": "demo", "bar": 0, "equity": "1000.5", "cash": "1", "positions": {}}),
        ("alert_changed", ALERT),
        ("alert_changed", ALERT | {"acknowledged_at": 1}),
        ("something_new", {"deployment": "demo", "code": "drift"}),
    ]
    for seq, (kind, data) in enumerate(events, start=1):
        frame = {"type": "event", "seq": seq, "stream": "deployment:demo", "kind": kind, "at": 1_000, "data": data}
        gateway.send(frame)
    lines = [command.process.stdout.readline().rstrip() for _ in range(6)]
    assert [line.partition("  ")[2] for line in lines] == [
        "attempt  1 started, version 0123456789ab",
        "decided  bar 1970-01-01T00:00:00Z: A/B 0.5",
        "booked   bar 1970-01-01T00:00:00Z: equity 1000.5, cash 1",
        "alert    3 drift, warning: live leaves its backtest",
        "alert    3 drift: somebody has looked at it",
        "something new code drift",
    ]
    command.process.send_signal(ending)
    assert command.end() == (0, "demo goes on")
    assert gateway.deployments["demo"]["desired"] == "running"
