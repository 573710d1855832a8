"""What a worker executes: its version, verified once more, with the parameters that it pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from cashup.errors import DeploymentError, IntegrityError, NotFound
from cashup.strategies.versions import Version, freeze, unjudged
from cashup.workers.assignment import Assignment
from cashup.workers.frozen import notebook_of


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "sma.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    return path


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    return tmp_path / "versions"


def task(notebook: Path, versions: Path, **more: Any) -> Assignment:
    about = {"gateway": "", "deployment": "demo", "attempt": 1, "token": "", "output": ""}
    return Assignment(**{**about, "notebook": str(notebook), "params": {"fast": 5}, "versions": str(versions), **more})


def frozen(notebook: Path, versions: Path, **more: Any) -> Version:
    return freeze(notebook, unjudged(notebook, {"fast": 5}) | more, versions)


def test_the_frozen_file_is_executed_and_not_the_working_copy(notebook: Path, versions: Path) -> None:
    version = frozen(notebook, versions)
    notebook.write_text("half")
    assert notebook_of(task(notebook, versions, version=version.id)) == version.path
    assert notebook_of(task(notebook, versions)) == notebook


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"params": {"fast": 6}}, DeploymentError, "has other parameters than demo is given"),
        ({"version": "000000000000"}, NotFound, "there is no version 000000000000"),
        ({"content_hash": "0" * 64}, IntegrityError, "is not what was frozen"),
    ],
)
def test_what_does_not_fit_is_refused(
    notebook: Path, versions: Path, change: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    version = frozen(notebook, versions)
    with pytest.raises(error, match=sentence):
        notebook_of(task(notebook, versions, **{"version": version.id, **change}))


def test_other_packages_are_refused_on_a_live_account_and_logged_on_any_other(
    notebook: Path, versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = frozen(notebook, versions, lock_hash="0" * 64)
    assert notebook_of(task(notebook, versions, version=version.id)) == version.path
    assert "demo: version" in capsys.readouterr().err
    with pytest.raises(DeploymentError, match="other packages"):
        notebook_of(task(notebook, versions, version=version.id, live=True))
