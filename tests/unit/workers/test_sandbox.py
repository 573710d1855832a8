"""The walls' own reckoning; what they hold back is proven by probes in `tests/faults/test_escapes.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cashup.settings import Settings
from cashup.workers.sandbox import ENV, Mode, Plan, around


def test_a_folder_is_seen_without_what_is_hidden_in_it(tmp_path: Path) -> None:
    home = tmp_path / "project" / ".cashup"
    (home / "keys").mkdir(parents=True)
    (tmp_path / "project" / "notebooks").mkdir()
    (tmp_path / "project" / "shortcut").symlink_to(home / "keys")
    (tmp_path / "project" / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    seen = set(around(tmp_path / "project", home))
    assert seen == {tmp_path / "project" / "notebooks", tmp_path / "elsewhere"}
    assert set(around(tmp_path, home)) == {*seen, tmp_path / "elsewhere"}


def test_what_is_named_by_itself_is_seen_although_it_lies_in_the_home(tmp_path: Path) -> None:
    assert list(around(tmp_path / "lake", tmp_path)) == [tmp_path / "lake"]
    assert list(around(tmp_path, tmp_path)) == []
    assert list(around(Path("/usr"), tmp_path)) == [Path("/usr")]


@pytest.mark.parametrize(("lake", "seen"), [(None, "lake"), ("s3://bucket/lake", None)])
def test_a_plan_travels_to_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake: str, seen: str) -> None:
    plan = Plan.of(Settings(home=tmp_path, lake=lake, sandbox="require"))  # type: ignore[call-arg]
    assert plan == Plan(Mode.REQUIRE, str(tmp_path), seen and str(tmp_path / seen))
    assert Plan.from_env() is None
    for name, value in plan.to_env().items():
        monkeypatch.setenv(name, value)
    assert Plan.from_env() == plan
    assert list(plan.to_env()) == [ENV]
