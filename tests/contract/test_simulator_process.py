"""`cashup simulator` as a process, on bars of the lake."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pytest

from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.simulator.faults.catalogue import KINDS
from cashup.simulator.faults.schedule import MENU
from cashup.simulator.lockstep import ControlClient
from cashup.simulator.serve import Options, open_venue
from cashup.strategies.bars import FIELDS

START = 1_735_689_600_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose lake holds ten flat bars of an unknown pair."""
    index = pd.date_range("2025-01-01", periods=10, freq="h", tz="UTC", unit="ms", name="timestamp")
    frame = pd.DataFrame(dict.fromkeys(FIELDS, 1.25), index=index)
    Lake(tmp_path / "lake").write("gate", "ABC/USDT", "1h", frame)
    return tmp_path


def launch(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cashup", "simulator", *words, "--port", "0", "--json"],
        env=os.environ | {"CASHUP_HOME": str(home)},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def read_private(file: Path) -> dict[str, str]:
    assert file.stat().st_mode & 0o777 == 0o600
    return dict(json.loads(file.read_text()))


def leftovers(home: Path) -> list[Path]:
    return list((home / "keys").iterdir())


async def test_it_says_where_it_listens_and_leaves_nothing_behind(home: Path) -> None:
    with launch(home, "ABC/USDT", "--start", "2025-01-01T03:00") as process:
        said = json.loads(pipe(process.stdout).readline())
        assert (said["open"], said["symbols"], said["steps"]) == (START + 3 * 3_600_000, ["ABC/USDT"], 0)
        private = read_private(Path(said["control_file"]))
        async with ControlClient(private["control"], private["token"]) as control:
            assert (await control.request("step"))["steps"] == 1
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert private["token"] not in json.dumps(said) + out + error
    assert leftovers(home) == []


def test_wrong_usage_is_one_sentence(home: Path) -> None:
    with launch(home, "ABC/USDT", "--lockstep", "--speed", "5") as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert error.strip() == "cashup: --lockstep and --speed exclude each other; choose one"


def test_the_faults_are_printed(home: Path) -> None:
    with launch(home, "--faults") as process:
        kinds = json.loads(process.communicate(timeout=60)[0])
    assert {"kind", "layer", "about", "options"} == set(kinds[0])
    assert [row["kind"] for row in kinds] == list(KINDS)


def test_a_market_must_be_named(home: Path) -> None:
    with launch(home) as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert error.strip() == "cashup: name what to trade, such as `cashup simulator BTC/USDT`"


async def test_faults_come_by_a_seed(home: Path) -> None:
    with launch(home, "ABC/USDT", "--fault-seed", "1", "--fault-rate", "6000") as process:
        said = json.loads(pipe(process.stdout).readline())
        private = read_private(Path(said["control_file"]))
        async with ControlClient(private["control"], private["token"]) as control, asyncio.timeout(30):
            while not (faults := await control.request("fault.list"))["active"]:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert {fault["kind"] for fault in faults["active"]} <= set(MENU)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"symbols": ("XYZ/USDT",)}, "no 1h bars of XYZ/USDT"),
        ({"start": "2030-01-01"}, "earlier --start"),
        ({"start": "soon"}, "not a date"),
        ({"end": "2024-01-01"}, "no bars"),
    ],
)
def test_bars_that_are_not_there_are_said(home: Path, changes: dict[str, Any], sentence: str) -> None:
    options = Options(symbols=("ABC/USDT",), lake=home / "lake", control_file=home / "control")
    with pytest.raises(UsageError, match=sentence):
        open_venue(replace(options, **changes))


def test_the_rules_of_an_unknown_pair_follow_from_its_bars(home: Path) -> None:
    venue = open_venue(Options(symbols=("ABC/USDT",), lake=home / "lake", control_file=home / "control"))
    (market,) = venue.markets.values()
    assert (market.tick, market.lot, market.min_cost) == (Decimal("0.01"), Decimal(1), Decimal(3))
