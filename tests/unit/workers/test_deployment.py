from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from cashup.errors import DeploymentError, NotebookError
from cashup.strategies.conduct import Conduct, conduct_of
from cashup.workers.deployment import read_file, read_folder

GOOD = """
notebook = "notebooks/sma.ipynb"
account = "demo"
capital = "10000.50"

[parameters]
fast = 5

[limits]
max_order_notional = 500
"""


@pytest.fixture
def live(tmp_path: Path) -> Path:
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell('symbols = ["BTC/USDT"]\ntimeframe = "1h"\nfast = 10')
    cell.metadata["tags"] = ["parameters"]
    notebook.cells.append(cell)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "sma.ipynb")
    (tmp_path / "live").mkdir()
    return tmp_path / "live"


def test_a_file_becomes_what_the_gateway_stores(live: Path) -> None:
    (live / "sma-btc.toml").write_text(GOOD)
    assert read_folder(live) == {
        "sma-btc": {
            "notebook": str((live.parent / "notebooks" / "sma.ipynb").resolve()),
            "params": {"fast": 5},
            "account": "demo",
            "capital": "10000.50",
            "limits": {"max_order_notional": "500"},
            "symbols": ["BTC/USDT"],
            "timeframe": "1h",
        }
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("notebook =", "notebook"), "is not TOML"),
        (('capital = "10000.50"', ""), "capital is missing"),
        (('account = "demo"', 'acount = "demo"'), r"acount is not a key \(notebook, account, capital"),
        (('"10000.50"', "10000.5"), 'write money as text: "10000.5"'),
        (('"10000.50"', '"-1"'), "capital: Input should be greater than 0"),
        (('"10000.50"', '"much"'), "capital: Input should be a valid decimal"),
        (("max_order_notional", "max_ordercost"), r"limits.max_ordercost is not a key \(max_order_notional, max_pos"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(live: Path, change: tuple[str, str], sentence: str) -> None:
    (live / "bad.toml").write_text(GOOD.replace(*change))
    with pytest.raises(DeploymentError, match=rf"bad\.toml.*{sentence}"):
        read_file(live / "bad.toml")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("fast = 5", "fats = 5"), "no parameter 'fats'; did you mean 'fast'"),
        (("fast = 5", 'fast = "five"'), "'fast'.*whole number"),
        (("sma.ipynb", "gone.ipynb"), "there is no notebook"),
    ],
)
def test_what_the_notebook_does_not_take_is_refused(live: Path, change: tuple[str, str], sentence: str) -> None:
    (live / "bad.toml").write_text(GOOD.replace(*change))
    with pytest.raises(NotebookError, match=rf"bad\.toml.*{sentence}"):
        read_file(live / "bad.toml")


CONDUCT = """
mode = "sandbox"
on_exit = "flatten"
missed_bars = "act"
hang_bars = 5
report_band = 0.02

[restarts]
limit = 0
window = 600

[resources]
memory_mb = 256
"""


def test_how_it_runs_is_stored_where_it_differs_from_the_defaults(live: Path) -> None:
    (live / "sma.toml").write_text(GOOD.replace("[parameters]", CONDUCT + "\n[parameters]"))
    spec = read_file(live / "sma.toml")
    assert {name: spec[name] for name in spec if name in Conduct.model_fields} == {
        "mode": "sandbox",
        "on_exit": "flatten",
        "hang_bars": 5,
        "report_band": 0.02,
        "restarts": {"limit": 0},
        "resources": {"memory_mb": 256},
    }
    conduct = conduct_of(spec)
    assert (conduct.restarts.limit, conduct.restarts.longest, conduct.resources.processes) == (0, 60, 64)
    assert conduct_of({}).missed_bars == "act"


def test_without_an_account_it_is_its_own_paper_account(live: Path) -> None:
    (live / "sma.toml").write_text(GOOD.replace('account = "demo"', ""))
    spec = read_file(live / "sma.toml")
    assert (spec["account"], spec["mode"]) == ("paper-sma", "paper")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ('mode = "real"', "mode: Input should be 'paper', 'sandbox' or 'live'"),
        ('mode = "live"', "mode live needs the version"),
        ('version = "v1"', "version: String should match"),
        ('on_exit = "sell"', "on_exit: Input should be 'keep', 'cancel' or 'flatten'"),
        ("hang_bars = true", "hang_bars: Input should be a valid integer"),
        ('report_band = "0.1"', "report_band: Input should be a valid number"),
        ("restarts = {limits = 5}", r"restarts.limits is not a key \(limit, window, pause, longest\)"),
        ("restarts = {limit = 1.5}", "restarts.limit: Input should be a valid integer"),
        ("resources = {memory = 5}", r"resources.memory is not a key \(memory_mb, processes, open_files, disk_mb\)"),
        ("colour = 1", r"colour is not a key \(notebook, account, capital, mode, version, .*report_band, parameters"),
    ],
)
def test_what_is_not_understood_is_said_with_what_is(live: Path, given: str, sentence: str) -> None:
    (live / "bad.toml").write_text(GOOD.replace("[parameters]", given + "\n[parameters]"))
    with pytest.raises(DeploymentError, match=rf"bad\.toml: {sentence}"):
        read_file(live / "bad.toml")


def test_a_mode_with_keys_names_its_account(live: Path) -> None:
    (live / "bad.toml").write_text(GOOD.replace('account = "demo"', 'mode = "sandbox"'))
    with pytest.raises(DeploymentError, match=r"bad\.toml: a deployment with mode sandbox names its account"):
        read_file(live / "bad.toml")


def test_every_mistake_of_every_file_is_listed(live: Path) -> None:
    (live / "good.toml").write_text(GOOD)
    (live / "one.toml").write_text(GOOD.replace('account = "demo"', 'colour = "red"'))
    (live / "two.toml").write_text("= broken")
    (live / "Three.toml").write_text(GOOD)
    with pytest.raises(DeploymentError) as caught:
        read_folder(live)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "colour is not a key" in lines[1]
    assert "good" not in str(caught.value)
    assert lines[-1] == "nothing was changed"


def test_a_folder_without_deployments_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"there is no deployment .*demo\.toml"):
        read_folder(tmp_path)
