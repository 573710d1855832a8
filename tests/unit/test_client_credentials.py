from __future__ import annotations

from pathlib import Path

import pytest

from cashup.client import load_token, save_token
from cashup.errors import Unauthenticated
from cashup.settings import Settings


def at(home: Path, port: int = 8700, token: str | None = None) -> Settings:
    return Settings(home=home, port=port, token=token)  # type: ignore[arg-type]


def test_a_saved_login_is_found_again_and_is_private(tmp_path: Path) -> None:
    save_token(at(tmp_path), "first")
    save_token(at(tmp_path), "second")
    assert load_token(at(tmp_path)) == "second"
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_token_is_for_its_own_gateway_only(tmp_path: Path) -> None:
    save_token(at(tmp_path), "ours")
    with pytest.raises(Unauthenticated, match=r"nobody is logged in to http://127.0.0.1:1; .*`cashup user login`"):
        load_token(at(tmp_path, port=1))


def test_a_token_from_outside_wins_over_the_saved_login(tmp_path: Path) -> None:
    save_token(at(tmp_path), "saved")
    assert load_token(at(tmp_path, token="given")) == "given"


def test_a_broken_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(Unauthenticated, match="log in again"):
        load_token(at(tmp_path))


def test_a_token_may_lie_in_a_file_that_somebody_else_replaces(tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = Settings(home=tmp_path, token_file=file)  # type: ignore[call-arg]
    save_token(settings, "saved")
    with pytest.raises(Unauthenticated, match=r"no token can be read there.*No such file"):
        load_token(settings)
    file.write_text("first\n")
    assert load_token(settings) == "first"
    file.write_text("second\n")
    assert load_token(settings) == "second"
    file.write_text("")
    with pytest.raises(Unauthenticated, match="is empty"):
        load_token(settings)
