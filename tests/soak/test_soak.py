"""The soak itself: its arithmetic, and half a minute of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.soak.memory import slope
from tests.soak.record import percentiles
from tests.soak.soak import Plan, soak


def test_memory_grows_at_one_rate_in_lives_of_different_size() -> None:
    mib_per_second = 1 / 3600
    first = [(at, 100 + at * mib_per_second) for at in (60.0, 65.0, 70.0, 300.0)]
    second = [(at, 180 + at * mib_per_second) for at in (61.0, 90.0)]
    assert slope([first, second]) == 1.0
    assert slope([]) is None


def test_percentiles_of_few_values_are_none_of_them() -> None:
    assert percentiles([]) == {"count": 0, "p50": None, "p99": None, "max": None}
    assert percentiles([float(value) for value in range(101)]) == {"count": 101, "p50": 50, "p99": 99, "max": 100}


@pytest.mark.faults
@pytest.mark.slow
async def test_half_a_minute_with_some_faults_finds_nothing() -> None:
    home = Path(tempfile.mkdtemp(prefix="cashup-soak-"))  # short: sockets live in it
    only = frozenset({"lost_answer", "duplicated_frame", "cut", "gateway_killed", "redis_flushed", "workers_reconnect"})
    try:
        record = await soak(Plan(minutes=0.5, rate=4, faults=8, seed=1, only=only), home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    assert record["violations"] == []
    assert record["intents"]["accepted"] > 0
    assert record["orders"]["fills"] > 0
    assert sum(record["faults"].values()) > 1
