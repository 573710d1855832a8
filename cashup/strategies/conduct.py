"""How a deployment is kept running: where it trades, which version, what follows a stop, a death or a missed bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]

VERSION = r"^[0-9a-f]{12}$"
"""What the id of a version looks like."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Restarts(_Frozen):
    """When a worker that died is started again, and when to give up. Times are seconds."""

    limit: Annotated[Whole, Field(ge=0, le=1_000)] = Field(
        5, description="how many deaths within the window are answered with a new start; 0: none is"
    )
    window: Seconds = Field(600.0, description="the seconds within which deaths are counted")
    pause: Seconds = Field(1.0, description="seconds before the second start; it doubles with each further one")
    longest: Seconds = Field(60.0, description="the most seconds that such a pause lasts")


class Resources(_Frozen):
    """What the worker's kernel may use at most."""

    memory_mb: Annotated[Whole, Field(ge=64, le=1_048_576)] = Field(512, description="memory in MB")
    processes: Annotated[Whole, Field(ge=1, le=65_536)] = Field(64, description="processes and threads")
    open_files: Annotated[Whole, Field(ge=32, le=1_048_576)] = Field(256, description="files open at the same time")
    disk_mb: Annotated[Whole, Field(ge=1, le=1_048_576)] = Field(512, description="the largest file, in MB")


class Conduct(_Frozen):
    """The keys of a deployment that say how it is kept running; every one has a default."""

    mode: Literal["paper", "sandbox", "live"] | None = Field(
        None, description="what its account has to be; without it whatever the account is, but never live"
    )
    version: Annotated[str, Field(pattern=VERSION)] | None = Field(
        None, description="the promoted version that runs, as `cashup promote` named it; live needs one"
    )
    on_exit: Literal["keep", "cancel", "flatten"] = Field(
        "keep", description="what becomes of its orders and positions when it is stopped or given up on"
    )
    missed_bars: Literal["act", "skip", "stop"] = Field(
        "act", description="after an absence: decide the newest bar, wait for the next one, or end with an error"
    )
    restarts: Restarts = Field(default_factory=Restarts, description="when a worker that died is started again")
    resources: Resources = Field(default_factory=Resources, description="what its kernel may use at most")
    hang_bars: Annotated[Whole, Field(ge=0, le=10_000)] = Field(
        3, description="bars that may arrive without being processed before the worker is replaced; 0: any number"
    )
    report_band: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.01, description="how far live may be from the backtest before an alarm, as a fraction of the capital"
    )

    def row(self) -> dict[str, Any]:
        """What differs from the defaults, as it is stored in a deployment's spec."""
        names = set(Conduct.model_fields)
        return self.model_dump(mode="json", include=names, exclude_defaults=True)


def conduct_of(spec: Mapping[str, Any]) -> Conduct:
    """The conduct in a deployment's stored spec, with the defaults for what it leaves out."""
    return Conduct.model_validate({name: spec[name] for name in Conduct.model_fields if name in spec})


def own_account(deployment: str) -> str:
    """The paper account of a deployment that names none. It is made with its capital when it is first needed."""
    return f"paper-{deployment}"
