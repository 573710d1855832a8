"""Faults of our own processes: the gateway, PostgreSQL, Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from random import Random

from cashup.storage.redis import create_redis
from tests.soak.stage import Stage


async def gateway_killed(stage: Stage, random: Random) -> None:
    """kill -9, and another one after a moment."""
    stage.stack.gateway.kill()
    await asyncio.sleep(random.uniform(0, 4))
    await asyncio.to_thread(stage.stack.gateway.start)


async def gateway_replaced(stage: Stage, random: Random) -> None:
    """SIGTERM, as for an upgrade."""
    await asyncio.to_thread(stage.stack.gateway.stop)
    await asyncio.to_thread(stage.stack.gateway.start)


async def gateway_frozen(stage: Stage, random: Random) -> None:
    """SIGSTOP, longer than its lease or not, and SIGCONT."""
    pid = stage.stack.gateway.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(random.uniform(1, 20))
    finally:
        os.kill(pid, signal.SIGCONT)


async def redis_flushed(stage: Stage, random: Random) -> None:
    """Redis forgets everything."""
    redis = create_redis(stage.servers.redis_url)
    await redis.flushall()
    await redis.aclose()


async def redis_restarted(stage: Stage, random: Random) -> None:
    """Redis ends, and is started again empty by its warden."""
    redis = create_redis(stage.servers.redis_url)
    await redis.shutdown(nosave=True)
    await redis.aclose()


async def postgres_restarted(stage: Stage, random: Random) -> None:
    """PostgreSQL shuts down fast, cutting its clients, and is started again by its warden."""
    await _end_postgres(stage, signal.SIGINT)


async def postgres_crashed(stage: Stage, random: Random) -> None:
    """PostgreSQL ends at once, without a checkpoint, and recovers from its log."""
    await _end_postgres(stage, signal.SIGQUIT)


async def _end_postgres(stage: Stage, number: signal.Signals) -> None:
    pid_file = stage.stack.home / "postgres" / "data" / "postmaster.pid"
    before = pid_file.read_text().splitlines()[0]
    os.kill(int(before), number)
    while True:
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        if len(lines) >= 8 and lines[0] != before and lines[7].strip() == "ready":
            return
        await asyncio.sleep(0.1)
