"""PostgreSQL does not run as root, and everything may lie under a folder that only root can enter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cashup.storage.warden import Plan, Postgres


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give itself up")
def test_what_lies_in_a_closed_folder_is_found_by_a_program_that_asks_first(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "home").mkdir(parents=True)
    program = closed / "program"
    program.touch(mode=0o755)
    closed.chmod(0o700)
    home = closed / "home"
    plan = Plan(home, closed, Path("redis-server"), home / "run" / "postgres", home / "run" / "redis.sock")
    demote = Postgres(plan)._demote
    code = f"import os; print(os.geteuid() != 0, os.access({str(program)!r}, os.R_OK))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd="/", preexec_fn=demote, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
