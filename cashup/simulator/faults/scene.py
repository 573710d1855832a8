"""What faults act on."""

from __future__ import annotations

from typing import Protocol

from cashup.simulator.faults.board import Faults
from cashup.simulator.past import Past
from cashup.simulator.streams import Streams
from cashup.simulator.venue import Venue


class Scene(Protocol):
    """The running simulator, as far as faults need it."""

    venue: Venue
    streams: Streams
    faults: Faults
    past: Past
