"""The command line as a person calls it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


Cashup = Callable[..., Done]


def process(*words: object) -> Done:
    """Call the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "cashup", *map(str, words)], capture_output=True, text=True, env=os.environ, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def sentence(done: Done) -> str:
    """The one line on stderr of a command that failed."""
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    return done.err
