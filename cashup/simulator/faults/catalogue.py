"""Every fault the simulator knows."""

from __future__ import annotations

from cashup.simulator.faults.board import Kind
from cashup.simulator.faults.events import EVENTS
from cashup.simulator.faults.frames import FRAMES
from cashup.simulator.faults.requests import REQUESTS

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*REQUESTS, *FRAMES, *EVENTS)}
