"""The documentation keeps up with the code: its examples run, its commands parse, and nothing is left out."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main

from cashup.cli import COMMANDS, app
from cashup.settings import Settings
from cashup.workers.deployment import DeploymentFile

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = {"data", "backtest", "check", "replay", "runs", "doctor", "sweep"}
"""Commands of the examples that are executed; the others need a running gateway and are parsed only."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [words[1:] for line in lines if (words := shlex.split(line[2:], comments=True))[0] == "cashup"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with notebooks, a file of bars, and bars in the lake."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    done = _cashup(folder, "data", "generate", "--start", "2024-11-01", "--bars", "4000")
    assert done.returncode == 0, done.stderr
    code = (
        "from cashup.markets.lake import Lake; Lake('.cashup/lake').read('gate', 'ETH/USDT', '1h').to_csv('bars.csv')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    yield folder
    shutil.rmtree(folder / ".cashup")


def _cashup(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cashup", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_examples_run(project: Path, page: Path) -> None:
    code = "\n".join(
        re.sub(r"^   ", "", block, flags=re.MULTILINE) if block[:1] == " " else block
        for block in blocks(page, "python")
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_the_commands_of_the_examples_work(project: Path, page: Path) -> None:
    for words in commands(page):
        if words[0] in RUN and page.name != "README.md":  # what stands there is run from the longer page
            # Bars were made up for the project already; replacing them is a decision of its own.
            done = _cashup(project, *words, *(["--replace"] if words[:2] == ["data", "import"] else []))
            assert done.returncode == 0, f"{words}: {done.stderr}"
        else:
            parse(words)


def parse(words: list[str]) -> None:
    """Let the command line read `words` without doing what they say."""
    command: Any = typer.main.get_command(app)
    name, parent = "cashup", None
    while hasattr(command, "resolve_command"):
        parent = command.context_class(command, info_name=name, parent=parent)
        name, command, words = command.resolve_command(parent, list(words))
    command.make_context(name, list(words), parent=parent)


def test_a_command_that_is_not_there_is_noticed() -> None:
    with pytest.raises(Exception, match=r"(?i)no such option"):
        parse(["live", "stop", "demo", "--no-such-option"])


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    missing = []
    for name in COMMANDS:
        loaded: Any = _load(name)
        children = getattr(loaded, "commands", None)
        wanted = [f"`cashup {name} {child}" for child in children] if children else [f"`cashup {name}"]
        missing += [words for words in wanted if not re.search(rf"{re.escape(words)}\b", page)]
    assert not missing, missing


def _load(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.resolve_command(group.context_class(group), [name])[1]


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    missing = [name for name in Settings.model_fields if f"`CASHUP_{name.upper()}`" not in page]
    assert not missing, missing
    named = set(re.findall(r"`CASHUP_([A-Z_]+)`", page))
    assert {name.lower() for name in named} == set(Settings.model_fields)


def test_the_deployment_of_the_examples_is_one() -> None:
    found = [block for page in PAGES for block in blocks(page, "toml")]
    assert found
    for block in found:
        DeploymentFile.model_validate(tomllib.loads(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not urlsplit(target).scheme:
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} points to {target}"


def test_the_examples_are_not_empty_words() -> None:
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 5
    assert sum(len(commands(page)) for page in PAGES) >= 12
    assert os.environ.get("CASHUP_HOME") is None
