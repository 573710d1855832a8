"""Frozen versions: one per content, read-only, and refused when a byte of them was changed."""

from __future__ import annotations

import json
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cashup.errors import DeploymentError, IntegrityError, NotFound
from cashup.strategies.environment import environment_hash
from cashup.strategies.versions import (
    ABOUT,
    PROMOTED,
    Version,
    freeze,
    list_versions,
    read_version,
    require_environment,
    unjudged,
    version_id,
)


def write(path: Path, source: str = "fast = 10") -> Path:
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell(source)
    cell.metadata["tags"] = ["parameters"]
    notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "sma.ipynb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "versions"


def frozen(notebook: Path, folder: Path, **params: Any) -> Version:
    return freeze(notebook, unjudged(notebook, params), folder)


def rewrite(version: Version, **changes: Any) -> None:
    """Change what is written about a version, as somebody with a text editor would."""
    about = version.folder / ABOUT
    about.chmod(0o644)
    about.write_text(json.dumps({**version.document, **changes}))


def test_a_version_is_a_read_only_copy_with_what_it_was_made_of(notebook: Path, folder: Path) -> None:
    version = frozen(notebook, folder, fast=5)
    assert version.path.read_bytes() == notebook.read_bytes()
    assert (version.kind, version.promoted, dict(version.params)) == ("unjudged", False, {"fast": 5})
    assert version.lock_hash == environment_hash()
    assert {stat.S_IMODE(path.stat().st_mode) for path in version.folder.iterdir()} == {0o444}
    assert [path.name for path in folder.iterdir()] == [version.id]


def test_the_same_thing_is_one_version_and_anything_else_another(notebook: Path, folder: Path) -> None:
    first = frozen(notebook, folder)
    assert frozen(notebook, folder).document == first.document
    document = nbformat.read(notebook, as_version=4)
    document.cells[0].outputs = [nbformat.v4.new_output("stream", text="10")]
    nbformat.write(document, notebook)
    assert frozen(notebook, folder).id == first.id  # what it printed is not what it is
    assert frozen(notebook, folder, fast=5).id != first.id
    assert frozen(write(notebook, "fast = 11"), folder).id != first.id
    assert len(list_versions(folder)) == 3


def test_a_version_keeps_what_it_was_judged_on(notebook: Path, folder: Path) -> None:
    made_of = unjudged(notebook, {}) | {"spec": {"exchange": "gate"}, "data_version": "d"}
    findings = {"gate": {"passed": True}, "checks": {"passed": True, "checks": []}}
    version = freeze(notebook, made_of, folder, kind=PROMOTED, findings=findings)
    assert version.promoted
    assert version.id == version_id(made_of)
    assert read_version(folder, version.id).document["checks"] == findings["checks"]


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"fast": 99}},
        {"gate": {"passed": True}},
        {"kind": PROMOTED},
        {"notebook": "../sma.ipynb"},
        {"made_of": ["notebook"]},
        {"lock_hash": "0" * 64},
        {"created_at": 1},
        {"content_hash": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_written_about_a_version_cannot_be_changed(
    notebook: Path, folder: Path, change: dict[str, Any]
) -> None:
    version = frozen(notebook, folder)
    rewrite(version, **change)
    with pytest.raises(IntegrityError, match=f"version {version.id} is not what was frozen"):
        read_version(folder, version.id)
    with pytest.raises(IntegrityError):
        frozen(notebook, folder)  # it is not silently made anew either


def test_a_changed_notebook_is_refused_even_where_only_its_outputs_differ(notebook: Path, folder: Path) -> None:
    version = frozen(notebook, folder)
    version.path.chmod(0o644)
    text = version.path.read_text()
    version.path.write_text(text.replace('"outputs": []', '"outputs": [ ]'))
    assert version.path.read_text() != text
    with pytest.raises(IntegrityError):
        read_version(folder, version.id)
    version.path.unlink()
    with pytest.raises(IntegrityError):
        read_version(folder, version.id)
    assert list_versions(folder) == [version.id]


def test_a_forged_version_is_not_the_one_on_record(notebook: Path, folder: Path) -> None:
    real = frozen(notebook, folder)
    forged = freeze(notebook, unjudged(notebook, {}), folder / "x", kind=PROMOTED, findings={"gate": {"passed": True}})
    assert forged.id == real.id
    assert read_version(folder / "x", forged.id).promoted
    with pytest.raises(IntegrityError):
        read_version(folder / "x", forged.id, content_hash=real.content_hash)


def test_another_version_under_its_name_is_refused(notebook: Path, folder: Path) -> None:
    real, other = frozen(notebook, folder), frozen(notebook, folder, fast=99)
    shutil.rmtree(real.folder)
    other.folder.rename(real.folder)
    with pytest.raises(IntegrityError):
        read_version(folder, real.id)
    # Somebody who knows how the content is hashed still cannot make other parameters have the same id.
    document = {**other.document, "version": real.id}
    told = {name: value for name, value in document.items() if name != "content_hash"}
    told["bytes"] = sha256((real.folder / "sma.ipynb").read_bytes()).hexdigest()
    document["content_hash"] = sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    rewrite(Version(real.id, real.folder, document))
    with pytest.raises(IntegrityError):
        read_version(folder, real.id)
    assert list_versions(folder) == [real.id]


@pytest.mark.parametrize("ident", ["", "0123456789ab", "..", "../home"])
def test_an_unknown_version_is_said_to_be_unknown(notebook: Path, folder: Path, ident: str) -> None:
    frozen(notebook, folder)
    with pytest.raises(NotFound, match=r"there is no version .*`cashup versions list`"):
        read_version(folder, ident)


def test_other_packages_are_refused_for_real_money_and_said_otherwise(notebook: Path, folder: Path) -> None:
    assert require_environment(frozen(notebook, folder), live=True) == ""
    other = freeze(notebook, unjudged(notebook, {}) | {"lock_hash": "0" * 64}, folder)
    assert "frozen with other packages than are installed here" in require_environment(other, live=False)
    with pytest.raises(DeploymentError, match="install what it was judged with"):
        require_environment(other, live=True)


def test_a_notebook_that_changes_while_it_is_frozen_is_refused(notebook: Path, folder: Path) -> None:
    made_of = unjudged(notebook, {})
    write(notebook, "fast = 11")
    with pytest.raises(IntegrityError, match="was changed while it was frozen"):
        freeze(notebook, made_of, folder)
    assert list(folder.iterdir()) == []


def test_what_a_notebook_imports_from_beside_it_is_frozen_with_it(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "signals").mkdir()
    files = {
        "averages.py": "import levels\nimport json",
        "levels.py": "UP = 1",
        "signals/__init__.py": "",
        "json.py": "1",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    notebook = write(tmp_path / "sma.ipynb", "import averages\nfrom signals import *\nimport pandas")
    version = frozen(notebook, folder)
    assert set(version.modules) == {"averages.py", "levels.py", "signals/__init__.py"}
    assert (version.folder / "levels.py").read_text() == "UP = 1"
    (tmp_path / "levels.py").write_text("UP = 2")
    assert frozen(notebook, folder).id != version.id
    (version.folder / "levels.py").chmod(0o644)
    (version.folder / "levels.py").write_text("UP = 3")
    with pytest.raises(IntegrityError):
        read_version(folder, version.id)
