from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cashup.errors import DataError, UsageError
from cashup.markets.lake import Lake, content_version
from cashup.markets.synthetic import generate, generate_funding, generate_open_interest
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


@lru_cache
def whole(symbol: str, seed: int) -> pd.DataFrame:
    return generate(symbol, "1h", START, 20_000, seed)


def walk(count: int, symbol: str = "BTC/USDT", seed: int = 1) -> pd.DataFrame:
    """The first `count` bars of one long walk: a longer one begins with a shorter one."""
    return whole(symbol, seed).iloc[:count].copy()


def hours(first: int, count: int) -> list[list[float]]:
    """Rows as an exchange gives them, of the series that `bars` makes."""
    frame = walk(first + count).iloc[first:]
    return [[START + (first + n) * HOUR, *row] for n, row in enumerate(frame.to_numpy().tolist())]


def test_appended_bars_are_read_behind_the_others_and_are_what_a_write_would_have_made(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    lake.append("gate", "1h", {"BTC/USDT": hours(40, 1), "ETH/USDT": hours(0, 3)})
    lake.append("gate", "1h", {"BTC/USDT": hours(41, 9)})
    pd.testing.assert_frame_equal(lake.read("gate", "BTC/USDT", "1h"), walk(50), check_freq=False)
    assert lake.version("gate", "BTC/USDT", "1h") == content_version("gate", "BTC/USDT", "1h", walk(50))
    assert lake.describe("gate", "BTC/USDT", "1h").last == START + 49 * HOUR
    assert lake.read("gate", "BTC/USDT", "1h", START + 45 * HOUR).index.asi8.tolist()[0] == START + 45 * HOUR
    assert len(lake.read("gate", "ETH/USDT", "1h")) == 3
    assert len(lake.versions("gate", "BTC/USDT", "1h")) == 1


def test_many_appends_are_folded_into_segments(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    everything = walk(9_000)
    rows = hours(40, 8_960)
    for start in range(0, len(rows), 1_000):
        lake.append("gate", "1h", {"BTC/USDT": rows[start : start + 1_000]})
    found = lake.read("gate", "BTC/USDT", "1h")
    pd.testing.assert_frame_equal(found, everything, check_freq=False)
    assert lake.versions("gate", "BTC/USDT", "1h")[-1].rows == 5_040
    assert lake.version("gate", "BTC/USDT", "1h") == content_version("gate", "BTC/USDT", "1h", everything)
    files = [path.suffix for path in Path(lake.location).rglob("*") if path.is_file()]
    assert sorted(files) == [".json", ".parquet", ".rows"]


def test_an_append_that_would_correct_or_is_broken_stores_nothing(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    with pytest.raises(DataError, match="cannot be appended; import it as a correction"):
        lake.append("gate", "1h", {"BTC/USDT": hours(39, 2)})
    broken = hours(40, 2)
    broken[1][2] = broken[1][3] / 2
    with pytest.raises(DataError, match=r"BTC/USDT 1h cannot be used: 1 of 2 bars have a high below"):
        lake.append("gate", "1h", {"ETH/USDT": hours(40, 2), "BTC/USDT": broken})
    assert len(lake.read("gate", "BTC/USDT", "1h")) == 40
    assert not lake.has("gate", "ETH/USDT", "1h")


@pytest.mark.parametrize("torn", [b"\x01" * 20, b"\x00" * 96])
def test_what_a_power_cut_left_of_an_append_is_ignored_and_overwritten(lake, torn):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    lake.append("gate", "1h", {"BTC/USDT": hours(40, 2)})
    tail = next(Path(lake.location).rglob("*.rows"))
    tail.write_bytes(tail.read_bytes() + torn)
    assert len(lake.read("gate", "BTC/USDT", "1h")) == 42
    lake.append("gate", "1h", {"BTC/USDT": hours(42, 1)})
    pd.testing.assert_frame_equal(lake.read("gate", "BTC/USDT", "1h"), walk(43), check_freq=False)


def test_a_correction_rewrites_one_window_and_leaves_the_others(lake):
    frame = generate("BTC/USDT", "1m", START, 600_000, 1)
    lake.write("gate", "BTC/USDT", "1m", frame)
    before = {segment.file for segment in lake.versions("gate", "BTC/USDT", "1m")[-1].segments}
    frame.iloc[-1, 4] += 1
    lake.write("gate", "BTC/USDT", "1m", frame)
    after = {segment.file for segment in lake.versions("gate", "BTC/USDT", "1m")[-1].segments}
    assert len(before) == len(after) == 2
    assert len(before & after) == 1


# -- the version of a run -----------------------------------------------------------------------------------------


def run_version(lake: Lake, end: int = 40, **options: object) -> str:
    return lake.bars("gate", ["BTC/USDT"], "1h", START + 10 * HOUR, START + end * HOUR, warmup=5, **options).version


def test_a_runs_version_stays_when_bars_come_after_its_end_or_lie_before_its_start(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    before = run_version(lake)
    lake.append("gate", "1h", {"BTC/USDT": hours(40, 5)})
    assert run_version(lake) == before
    lake.write("gate", "BTC/USDT", "1h", walk(9_000))
    assert run_version(lake) == before
    lake.write("gate", "BTC/USDT", "1h", walk(9_000).iloc[3:])
    assert run_version(lake) == before
    assert run_version(lake, 41) != before


@pytest.mark.parametrize("row", [5, 17, 39])
def test_a_runs_version_changes_with_every_bar_that_it_saw(lake, row):
    frame = walk(60)
    lake.write("gate", "BTC/USDT", "1h", frame)
    before = run_version(lake)
    frame.iloc[row, 4] = np.nextafter(frame["volume"].iloc[row], np.inf)
    lake.write("gate", "BTC/USDT", "1h", frame)
    assert run_version(lake) != before


def test_a_runs_version_is_the_same_whether_blocks_are_whole_or_cut(lake):
    """The digests in the files and those made while reading must be of one kind."""
    frame = walk(20_000)
    lake.write("gate", "BTC/USDT", "1h", frame)
    end = START + 15_000 * HOUR
    known = lake.bars("gate", ["BTC/USDT"], "1h", START + 100 * HOUR, end).version
    assert known == content_version("gate", "BTC/USDT", "1h", frame.iloc[100:15_000])


def test_a_run_is_repeated_on_its_version_after_the_data_grew_and_were_corrected(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(60))
    first = lake.bars("gate", ["BTC/USDT"], "1h", START + 10 * HOUR, warmup=5)
    corrected = walk(80)
    corrected.iloc[20, 4] += 1
    lake.write("gate", "BTC/USDT", "1h", corrected)
    lake.append("gate", "1h", {"BTC/USDT": [[START + 80 * HOUR, 1.0, 1.0, 1.0, 1.0, 1.0]]})
    newest = lake.bars("gate", ["BTC/USDT"], "1h", START + 10 * HOUR, warmup=5)
    assert newest.version != first.version
    for name in (first.version, first.version[:12]):
        again = lake.bars("gate", ["BTC/USDT"], "1h", START + 10 * HOUR, warmup=5, version=name)
        assert again.version == first.version
        assert again.times.tolist() == first.times.tolist()
        assert (again.values == first.values).all()
    assert len(lake.read("gate", "BTC/USDT", "1h", version=first.version)) == 55


def test_a_version_ends_where_its_run_ended_though_the_series_only_grew(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(60))
    before = lake.bars("gate", ["BTC/USDT"], "1h", START + 10 * HOUR)
    lake.append("gate", "1h", {"BTC/USDT": hours(60, 5)})
    assert len(lake.versions("gate", "BTC/USDT", "1h")) == 1
    again = lake.bars("gate", ["BTC/USDT"], "1h", version=before.version)
    assert again.times.tolist() == before.times.tolist()
    assert again.version == before.version


def test_a_version_of_several_symbols_names_each(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(60))
    lake.write("gate", "ETH/USDT", "1h", walk(60, symbol="ETH/USDT").drop(to_index(np.array([START + 20 * HOUR]))))
    both = lake.bars("gate", ["BTC/USDT", "ETH/USDT"], "1h")
    assert len(both) == 59
    changed = walk(60)
    changed.iloc[20, 4] += 1
    lake.write("gate", "BTC/USDT", "1h", changed)
    assert lake.bars("gate", ["BTC/USDT", "ETH/USDT"], "1h").version != both.version
    again = lake.bars("gate", ["BTC/USDT", "ETH/USDT"], "1h", version=both.version)
    assert again.version == both.version
    lake.write("gate", "BTC/USDT", "1d", generate("BTC/USDT", "1d", START, 20, 1))
    with pytest.raises(DataError, match=r"is of BTC/USDT, ETH/USDT 1h on gate, not of BTC/USDT 1d on gate"):
        lake.bars("gate", ["BTC/USDT"], "1d", version=both.version)
    with pytest.raises(DataError, match="no run of this lake had the data version 'ffffffffffff'"):
        lake.bars("gate", ["BTC/USDT"], "1h", version="ffffffffffff")


def test_pruning_keeps_what_runs_need_and_says_what_is_gone(lake):
    seen, unseen, newest = walk(60), walk(60, seed=2), walk(60, seed=3)
    lake.write("gate", "BTC/USDT", "1h", seen)
    had = lake.bars("gate", ["BTC/USDT"], "1h").version
    other = lake.write("gate", "BTC/USDT", "1h", unseen)
    lake.write("gate", "BTC/USDT", "1h", newest)
    assert lake.prune() == (1, 1)
    assert lake.bars("gate", ["BTC/USDT"], "1h", version=had).version == had
    with pytest.raises(DataError, match="no run of this lake had"):
        lake.read("gate", "BTC/USDT", "1h", version=other)
    assert lake.prune(forget_runs=True) == (1, 1)
    with pytest.raises(DataError, match="no run of this lake had"):
        lake.bars("gate", ["BTC/USDT"], "1h", version=had)
    pd.testing.assert_frame_equal(lake.read("gate", "BTC/USDT", "1h"), newest, check_freq=False)


def test_with_outer_a_symbol_without_a_bar_has_nan(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(10))
    lake.write("gate", "ETH/USDT", "1h", walk(10, symbol="ETH/USDT").iloc[4:])
    found = lake.bars("gate", ["BTC/USDT", "ETH/USDT"], "1h", outer=True)
    assert len(found) == 10
    assert found.close["ETH/USDT"].isna().tolist() == [True] * 4 + [False] * 6
    assert not found.close["BTC/USDT"].isna().any()
    assert found.close["ETH/USDT"].iloc[4] == walk(10, symbol="ETH/USDT")["close"].iloc[4]


# -- the layout of before, and what lies beside bars --------------------------------------------------------------


def old_file(folder: Path, frame: pd.DataFrame) -> Path:
    """A series as lakes had it before there were versions."""
    path = folder / "gate" / "BTC_USDT" / "1h.parquet"
    path.parent.mkdir(parents=True)
    data = {"timestamp": pa.array(frame.index.asi8, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))}
    table = pa.table(data | {name: pa.array(frame[name].to_numpy()) for name in frame.columns})
    about = {"exchange": "gate", "symbol": "BTC/USDT", "timeframe": "1h", "version": "0" * 64, "source": "a.csv"}
    pq.write_table(table.replace_schema_metadata({f"cashup.{name}": word for name, word in about.items()}), path)
    return path


def test_a_lake_of_the_old_layout_opens_and_is_converted_by_a_write(tmp_path):
    path = old_file(tmp_path, walk(40))
    lake = Lake(tmp_path)
    assert lake.has("gate", "BTC/USDT", "1h")
    assert [(s.symbol, s.bars, s.source) for s in lake.list()] == [("BTC/USDT", 40, "a.csv")]
    assert lake.version("gate", "BTC/USDT", "1h") == content_version("gate", "BTC/USDT", "1h", walk(40))
    before = lake.bars("gate", ["BTC/USDT"], "1h", warmup=5)
    assert before.times[-1] == START + 39 * HOUR
    lake.append("gate", "1h", {"BTC/USDT": hours(40, 2)})
    assert not path.exists()
    pd.testing.assert_frame_equal(lake.read("gate", "BTC/USDT", "1h"), walk(42), check_freq=False)
    assert lake.list()[0].source == "a.csv"
    assert lake.bars("gate", ["BTC/USDT"], "1h", version=before.version).version == before.version


def test_funding_and_open_interest_lie_beside_bars(lake):
    end = START + 100 * HOUR
    rates = generate_funding("BTC/USDT:USDT", START, end, 1)
    lake.write_series("funding", "gate", "BTC/USDT:USDT", rates)
    lake.write_series("open_interest", "gate", "BTC/USDT:USDT", generate_open_interest("BTC/USDT:USDT", START, end, 1))
    found = lake.funding("gate", "BTC/USDT:USDT", START + HOUR, START + 17 * HOUR)
    assert found.index.name == "timestamp"
    assert found.index.dtype == "datetime64[ms, UTC]"
    assert found.index.asi8.tolist() == [START + 8 * HOUR, START + 16 * HOUR]
    assert found.tolist() == rates["rate"].tolist()[1:3]
    assert len(lake.open_interest("gate", "BTC/USDT:USDT")) == 100
    assert lake.list() == []
    assert [s.timeframe for s in lake.list(kinds=True)] == ["open_interest", "funding"]
    with pytest.raises(DataError, match=r"no funding of ETH/USDT:USDT on gate .*--kind funding"):
        lake.funding("gate", "ETH/USDT:USDT")
    with pytest.raises(DataError, match="'basis' is no kind of series"):
        lake.read_series("basis", "gate", "BTC/USDT:USDT")


def test_trades_may_share_a_time_and_a_rate_may_not(lake):
    index = to_index(np.array([START, START, START + 5]))
    trades = pd.DataFrame({"price": [1.0, 1.1, 1.2], "amount": [1.0, 2.0, 3.0], "side": [1.0, -1.0, 1.0]}, index=index)
    lake.write_series("trades", "gate", "BTC/USDT", trades)
    pd.testing.assert_frame_equal(lake.read_series("trades", "gate", "BTC/USDT"), trades)
    lake.append_series("trades", "gate", "BTC/USDT", trades.set_axis(index + pd.Timedelta(5, "ms")))
    assert len(lake.read_series("trades", "gate", "BTC/USDT")) == 6
    with pytest.raises(DataError, match="must ascend in time"):
        lake.write_series("funding", "gate", "BTC/USDT:USDT", pd.DataFrame({"rate": [0.1, 0.2, 0.3]}, index=index))


def test_sql_sees_segments_and_tails_and_nothing_else(lake, tmp_path):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    lake.append("gate", "1h", {"BTC/USDT": hours(40, 2)})
    lake.write("gate", "ETH/USDT", "1h", walk(7))
    lake.write_series("funding", "gate", "BTC/USDT:USDT", generate_funding("BTC/USDT:USDT", START, START + 9 * HOUR, 1))
    counted = lake.sql("select symbol, count(*) n, max(close) top, max(timestamp) last from bars group by 1 order by 1")
    assert counted["n"].tolist() == [42, 7]
    assert counted["top"].iloc[0] == walk(42)["close"].max()
    assert counted["last"].iloc[0] == walk(42).index[-1]
    assert lake.sql("select rate from funding").shape == (2, 1)
    assert lake.sql("select * from trades").empty
    with pytest.raises(DataError, match="the query failed"):
        lake.sql(f"copy bars to '{tmp_path / 'x.csv'}'")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="the query failed"):
        lake.sql(f"select * from read_csv('{tmp_path / 'secret.csv'}')")  # noqa: S608


def test_made_up_bars_are_counted_in_the_lake_and_in_bars(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40), filled=[(START + 3 * HOUR, START + 5 * HOUR)])
    assert lake.describe("gate", "BTC/USDT", "1h").filled == 3
    assert lake.bars("gate", ["BTC/USDT"], "1h").filled == 3
    assert lake.bars("gate", ["BTC/USDT"], "1h", START + 5 * HOUR).filled == 1


def test_a_lake_that_may_only_be_read_is_read(lake):
    lake.write("gate", "BTC/USDT", "1h", walk(40))
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    Path(lake.location).chmod(0o555)
    try:
        assert len(lake.bars("gate", ["BTC/USDT"], "1h")) == 40
    finally:
        Path(lake.location).chmod(0o755)
