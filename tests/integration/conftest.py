"""A home of its own for every test that calls the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cashup.cli import main
from tests.integration.commands import Cashup, Done


@pytest.fixture
def home(tmp_path, database_url, redis_url, monkeypatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CASHUP_HOME", str(home))
    monkeypatch.setenv("CASHUP_DATABASE_URL", database_url)
    monkeypatch.setenv("CASHUP_REDIS_URL", redis_url)
    return home


@pytest.fixture
def cashup(home, capsys) -> Cashup:
    """Call the command line in this process."""

    def call(*words: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Done(end.value.code, captured.out, captured.err)

    return call
