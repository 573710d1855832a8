"""Every notebook runs on generated bars; the golden ones give exactly the outputs that are stored in them.

nbval passes without comparing anything when a notebook has no execution counts, so the golden ones are checked for
theirs, the passed cells are counted, and one test proves that a changed output fails.

To store new outputs after an intended change: `python -m tests.notebooks.refresh`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cashup.strategies.notebook import read_cells
from tests.notebooks.market import fill_lake

HERE = Path(__file__).parent
NOTEBOOKS = sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))
GOLDEN = sorted((HERE / "golden").glob("*.ipynb"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose lake has generated bars for the notebooks."""
    home = tmp_path_factory.mktemp("notebooks")
    fill_lake(home / "lake")
    return home


def nbval(mode: str, notebook: Path, home: Path) -> tuple[int, str]:
    """pytest with nbval on one notebook, in a process and with a configuration of its own."""
    words = [sys.executable, "-m", "pytest", mode, "--nbval-current-env", "--nbval-cell-timeout=300"]
    words += ["-c", os.devnull, "--rootdir", str(notebook.parent), "--noconftest", "-p", "no:cacheprovider", "-q"]
    env = {**os.environ, "CASHUP_HOME": str(home)}
    done = subprocess.run(
        [*words, str(notebook)], capture_output=True, text=True, env=env, cwd=notebook.parent, check=False
    )
    return done.returncode, done.stdout + done.stderr


def passed(output: str) -> int:
    found = re.search(r"(\d+) passed", output)
    return int(found.group(1)) if found else 0


def code_cells(notebook: Path) -> int:
    return sum(cell.kind == "code" for cell in read_cells(notebook))


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 9
    assert GOLDEN


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_its_defaults(notebook: Path, home: Path) -> None:
    code, output = nbval("--nbval-lax", notebook, home)
    assert code == 0, output
    assert passed(output) == code_cells(notebook) > 5, output


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_checks_itself(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    assert any("assert " in "".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("notebook", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_notebook_gives_exactly_its_outputs(notebook: Path, home: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells), "without execution counts nbval compares nothing"
    assert sum(bool(cell["outputs"]) for cell in cells) > 5
    code, output = nbval("--nbval", notebook, home)
    assert code == 0, output
    assert passed(output) == len(cells), output


def test_a_changed_digit_is_found(tmp_path: Path, home: Path) -> None:
    text = (HERE / "golden" / "backtest.ipynb").read_text()
    changed = re.sub(r"(End Value +\d+\.)(\d)", lambda m: m[1] + str((int(m[2]) + 1) % 10), text)
    assert changed != text
    copy = tmp_path / "backtest.ipynb"
    copy.write_text(changed)
    code, output = nbval("--nbval", copy, home)
    assert code == 1
    assert "1 failed" in output, output
    assert passed(output) == code_cells(copy) - 1, output


def test_without_bars_the_notebook_names_the_command_that_brings_them(tmp_path: Path) -> None:
    code, output = nbval("--nbval-lax", NOTEBOOKS[-1], tmp_path)
    assert code == 1
    assert "cashup data generate --exchange gate --symbol BTC/USDT --timeframe 1h" in output
