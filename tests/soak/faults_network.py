"""Faults of the network between gateway and venue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random

from tests.faults.proxy import (
    DOWN,
    UP,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)
from tests.soak.stage import Stage

Draw = Callable[[Random], Toxic]


def _way(random: Random) -> str:
    return random.choice((UP, DOWN))


TOXICS: Mapping[str, Draw] = {
    "latency": lambda random: Latency(random.uniform(0.1, 2), random.uniform(0, 0.5), _way(random), random),
    "bandwidth": lambda random: Bandwidth(random.randint(2_000, 50_000), _way(random)),
    "slicer": lambda random: Slicer(random.randint(1, 64), 0.001, _way(random)),
    "limit_data": lambda random: LimitData(random.randint(100, 5_000), _way(random)),
    "half_open": lambda random: Timeout(_way(random)),
    "reset_peer": lambda random: ResetPeer(after=random.random() < 0.5, direction=_way(random)),
    "slow_close": lambda random: SlowClose(random.uniform(0.5, 3), _way(random)),
}


async def poison(stage: Stage, random: Random, toxic: Toxic) -> None:
    """Spoil what passes for a while; what was swallowed leaves its connection useless, so these then break off."""
    stage.proxy.toxics.append(toxic)
    try:
        await asyncio.sleep(random.uniform(3, 15))
    finally:
        stage.proxy.toxics.remove(toxic)
    if isinstance(toxic, Timeout):
        stage.proxy.cut()


async def refused(stage: Stage, random: Random) -> None:
    """Nobody listens at the venue's address for a while, and what was connected is reset."""
    await stage.proxy.refuse()
    stage.proxy.cut()
    try:
        await asyncio.sleep(random.uniform(1, 15))
    finally:
        await stage.proxy.start()


async def cut(stage: Stage, random: Random) -> None:
    """Every connection is reset."""
    stage.proxy.cut()
