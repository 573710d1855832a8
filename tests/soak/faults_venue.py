"""Faults of the venue: the simulator's own, drawn from the menu of its schedule."""

from __future__ import annotations

import asyncio
from random import Random

from cashup.simulator.faults.schedule import MENU
from tests.soak.stage import Stage

LASTS = 20.0
"""Seconds after which a fault that met nothing is taken back."""


async def strike(stage: Stage, random: Random, kind: str) -> None:
    """Switch it on, and wait until it has struck or its time is over."""
    stage.clock_was_wrong |= kind == "clock_skew"
    settings = {"lasts": LASTS, **MENU[kind](random)}
    fault = (await stage.ask("fault.set", name=kind, **settings))["fault"]
    while fault in {each["fault"] for each in (await stage.ask("fault.list"))["active"]}:
        await asyncio.sleep(0.5)
