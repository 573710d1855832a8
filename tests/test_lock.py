"""What requirements.lock may and may not hold."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

LOCK = (Path(__file__).parents[1] / "requirements.lock").read_text()


def test_every_package_is_pinned_with_hashes() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", LOCK)
    pinned = [entry for entry in entries if re.match(r"[a-z0-9][a-z0-9._-]*==", entry)]
    assert len(pinned) > 100
    assert [entry.splitlines()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_address() -> None:
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links", LOCK) == []


def test_the_grammar_that_slows_every_notebook_start_is_left_out() -> None:
    assert "rfc3987-syntax" not in LOCK
    assert find_spec("rfc3987_syntax") is None
