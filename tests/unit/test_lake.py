from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cashup.errors import DataError, UsageError
from cashup.markets.lake import Lake, content_version
from cashup.markets.synthetic import generate
from cashup.strategies.bars import to_index

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def bars(count: int = 50, start: int = START, symbol: str = "BTC/USDT", seed: int = 1) -> pd.DataFrame:
    return generate(symbol, "1h", start, count, seed)


def test_what_was_written_is_read(lake):
    frame = bars()
    lake.write("gate", "BTC/USDT", "1h", frame)
    found = lake.read("gate", "BTC/USDT", "1h")
    pd.testing.assert_frame_equal(found, frame, check_freq=False)
    assert found.index.dtype == "datetime64[ms, UTC]"
    assert found.index.name == "timestamp"


def test_a_range_is_half_open(lake):
    lake.write("gate", "BTC/USDT", "1h", bars())
    found = lake.read("gate", "BTC/USDT", "1h", START + 2 * HOUR, START + 5 * HOUR)
    assert found.index.asi8.tolist() == [START + n * HOUR for n in (2, 3, 4)]


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_the_version_changes_when_one_bar_changes_in_its_last_digit(lake, column):
    frame = bars()
    before = lake.write("gate", "BTC/USDT", "1h", frame)
    assert lake.version("gate", "BTC/USDT", "1h") == before == lake.write("gate", "BTC/USDT", "1h", frame)
    low_or_not = -np.inf if column == "low" else np.inf
    frame.iloc[17, frame.columns.get_loc(column)] = np.nextafter(frame[column].iloc[17], low_or_not)
    if column in ("open", "close"):
        frame.iloc[17, frame.columns.get_loc("high")] = max(frame.iloc[17][["open", "high", "close"]])
    assert lake.write("gate", "BTC/USDT", "1h", frame) != before


def test_the_version_changes_when_a_bar_is_added_or_moved():
    frame = bars()
    versions = {
        content_version("gate", "BTC/USDT", "1h", frame),
        content_version("gate", "BTC/USDT", "1h", frame.iloc[:-1]),
        content_version("gate", "BTC/USDT", "1h", frame.set_axis(to_index(frame.index.asi8 + HOUR))),
        content_version("other", "BTC/USDT", "1h", frame),
        content_version("gate", "ETH/USDT", "1h", frame),
    }
    assert len(versions) == 5


def test_a_frame_that_is_unsound_leaves_what_was_there(lake):
    version = lake.write("gate", "BTC/USDT", "1h", bars())
    broken = bars(seed=2)
    broken.iloc[9, 1] = broken.iloc[9, 2] / 2
    with pytest.raises(DataError, match=r"1 of 50 bars have a high below"):
        lake.write("gate", "BTC/USDT", "1h", broken)
    assert content_version("gate", "BTC/USDT", "1h", lake.read("gate", "BTC/USDT", "1h")) == version
    assert len(lake.versions("gate", "BTC/USDT", "1h")) == 1
    assert sorted(path.suffix for path in Path(lake.location).rglob("*") if path.is_file()) == [".json", ".parquet"]


WRITER = """
import sys
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate

frames = [generate("BTC/USDT", "1h", int(sys.argv[2]), 20_000, seed) for seed in (1, 2)]
for number in range(int(sys.argv[3])):
    Lake(sys.argv[1]).write("gate", "BTC/USDT", "1h", frames[number % 2])
    print(number, flush=True)
"""


@contextmanager
def writing(lake: Lake, times: int) -> Iterator[subprocess.Popen[str]]:
    """A process that replaces the bars of BTC/USDT by those of seed 1 and 2 in turn."""
    words = [sys.executable, "-c", WRITER, lake.location, str(START), str(times)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "0\n"
        yield process


def stored(lake: Lake) -> str:
    """The version of the bars that are read, which must be the one that the file names."""
    return content_version("gate", "BTC/USDT", "1h", lake.read("gate", "BTC/USDT", "1h"))


def test_a_reader_sees_the_old_bars_or_the_new_ones_and_never_a_part(lake):
    known = {content_version("gate", "BTC/USDT", "1h", bars(20_000, seed=seed)) for seed in (1, 2)}
    seen = set()
    with writing(lake, 25) as process:
        while process.poll() is None:
            seen.add(stored(lake))
    assert seen == known


def test_killed_while_writing_the_lake_is_whole(lake):
    with writing(lake, 10**6) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert stored(lake) == lake.version("gate", "BTC/USDT", "1h")


def test_the_list_tells_what_there_is(lake):
    lake.write("gate", "BTC/USDT:USDT", "1h", bars(), source="a.csv")
    lake.write("gate", "BTC/USDT", "1h", bars())
    lake.write("binance", "BTC/USDT", "1h", bars())
    listed = lake.list()
    assert [(s.exchange, s.symbol) for s in listed] == [
        ("binance", "BTC/USDT"),
        ("gate", "BTC/USDT"),
        ("gate", "BTC/USDT:USDT"),
    ]
    assert listed[2].source == "a.csv"
    assert (listed[2].first, listed[2].last, listed[2].bars) == (START, START + 49 * HOUR, 50)


def test_bars_load_the_warm_up_before_the_start(lake):
    lake.write("gate", "BTC/USDT", "1h", bars())
    lake.write("gate", "ETH/USDT", "1h", bars().drop(to_index(np.array([START + 20 * HOUR]))))
    found = lake.bars("gate", ["BTC/USDT", "ETH/USDT"], "1h", START + 21 * HOUR, START + 24 * HOUR, warmup=3)
    assert found.times.tolist() == [START + n * HOUR for n in (17, 18, 19, 21, 22, 23)]
    assert lake.bars("gate", ["BTC/USDT"], "1h", warmup=3).times[0] == START


def test_too_little_history_says_how_much_there_is(lake):
    lake.write("gate", "BTC/USDT", "1h", bars())
    with pytest.raises(
        DataError, match=r"needs 10 bars .* before 2025-01-01T04:00:00Z, and the lake has 4; start later"
    ):
        lake.bars("gate", ["BTC/USDT"], "1h", START + 4 * HOUR, warmup=10)
    with pytest.raises(DataError, match=r"no bars of BTC/USDT 1h on gate after the warm-up; it has 50 bars from"):
        lake.bars("gate", ["BTC/USDT"], "1h", warmup=50)
    with pytest.raises(DataError, match=r"no bars .* from 2025-02-"):
        lake.bars("gate", ["BTC/USDT"], "1h", START + 1000 * HOUR)


def test_missing_bars_name_the_commands_that_bring_them(lake):
    lake.write("gate", "BTC/USDT", "1h", bars())
    with pytest.raises(DataError, match=r"no 1h bars of DOGE/USDT on gate \(it has BTC/USDT 1h\).*`cashup data import"):
        lake.read("gate", "DOGE/USDT", "1h")


@pytest.mark.parametrize(
    ("exchange", "symbol", "timeframe"),
    [("gate", "BTCUSDT", "1h"), ("../x", "BTC/USDT", "1h"), ("gate", "BTC/USDT", "hour"), ("", "BTC/USDT", "1h")],
)
def test_names_that_cannot_be_are_refused(lake, exchange, symbol, timeframe):
    with pytest.raises(UsageError):
        lake.write(exchange, symbol, timeframe, bars())
    assert not Path(lake.location).exists()


def test_a_damaged_file_is_named(lake):
    lake.write("gate", "BTC/USDT", "1h", bars())
    path = next(Path(lake.list()[0].path).glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a file of the lake any more"):
        lake.read("gate", "BTC/USDT", "1h")
