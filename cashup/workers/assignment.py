"""What a supervisor hands to a worker process: one JSON line on its standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cashup.errors import UsageError


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt of a deployment. `deadline` is how many seconds a stop may take before it is forced.

    `resources` is what its kernel may use at most (see `limits.apply`), `folder` where it works ("": the notebook's).
    `warm` is the home whose warm process forks the kernel; "" asks for an ordinary kernel, None for what settings say.
    `version` is the id of what is executed, below the folder `versions`; without one it is the notebook itself.
    `content_hash` is what the version's content is on record as, `live` is true where it trades real money.
    """

    gateway: str
    deployment: str
    attempt: int
    token: str = field(repr=False)
    notebook: str
    params: Mapping[str, Any]
    output: str
    deadline: float = 30.0
    warm: str | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    version: str = ""
    versions: str = ""
    content_hash: str = ""
    live: bool = False

    def to_line(self) -> bytes:
        """The line, with the token in it: for a pipe, never for a file."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Assignment:
        """Read what `to_line` wrote; raises UsageError for anything else."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise UsageError(
                "a worker is started by its supervisor, which hands it its task on standard input; "
                "run `cashup live up` instead"
            ) from error


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a worker ended, as it tells its supervisor on standard output.

    `exit_code` is 0 clean, 1 when the strategy raised, 138 when the kernel died, 143 when it had to be forced. `error`
    is the name of what the notebook raised.
    """

    exit_code: int
    message: str
    error: str = ""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: bytes, exit_code: int) -> Outcome:
        """What the process wrote, or what its exit code alone says when it could not write any more."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
            return cls(exit_code, f"the worker process {how}; its log says more")
