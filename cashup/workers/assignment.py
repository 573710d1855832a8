"""What a supervisor hands to a worker process: one JSON line on its standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cashup.errors import UsageError
from cashup.strategies.endings import Reason
from cashup.workers.causes import EXIT_CODES, of_kernel


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt of a deployment. `output` is the folder of its record, `log` the file of its log ("": none).

    `deadline` is how many seconds a stop may take before it is forced. `speed` is how fast the record's days go by:
    simulations and tests have faster ones.
    `resources` is what its kernel may use at most (see `limits.apply`), `folder` where it works ("": the notebook's).
    `warm` is the home whose warm process forks the kernel; "" asks for an ordinary kernel, None for what settings say.
    `version` is the id of what is executed, below the folder `versions`; without one it is the notebook itself.
    `walls` is the plan of its kernel's walls (see `sandbox.Plan`); None: what the settings say.
    `content_hash` is what the version's content is on record as, `live` is true where it trades real money.
    """

    gateway: str
    deployment: str
    attempt: int
    token: str = field(repr=False)
    notebook: str
    params: Mapping[str, Any]
    output: str
    log: str = ""
    deadline: float = 30.0
    warm: str | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    version: str = ""
    versions: str = ""
    content_hash: str = ""
    live: bool = False
    speed: float = 1.0
    walls: Mapping[str, Any] | None = None

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

    `exit_code` is that of `causes.EXIT_CODES`, or minus the number of the signal that killed the worker process.
    `reason` is empty when the notebook came to its end: whether that was asked for is known outside.
    """

    exit_code: int
    message: str
    reason: Reason | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, reason: Reason, message: str) -> Outcome:
        """An end for this reason, with its exit code."""
        return cls(EXIT_CODES[reason], message, reason)

    @classmethod
    def read(cls, text: bytes, exit_code: int, *, oom: bool = False) -> Outcome:
        """What the process wrote, or what its exit code alone says when it could not write any more.

        `oom` is whether the system killed for memory at that time.
        """
        try:
            found = json.loads(text)
            reason = found.pop("reason")
            return cls(**found, reason=None if reason is None else Reason(reason))
        except (ValueError, TypeError, KeyError, AttributeError):
            reason, how = of_kernel(exit_code, oom=oom)
            return cls(exit_code, f"the worker process {how}; its log says more", reason)
