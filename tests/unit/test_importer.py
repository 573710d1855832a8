from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import feather, table

from cashup.errors import Conflict, DataError
from cashup.markets.health import check_health
from cashup.markets.importer import import_file, read_file
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate, store_generated
from cashup.strategies.bars import FIELDS, to_index

HOUR = 3_600_000
START = 1_735_689_600_000
BARS = generate("ETH/USDT", "1h", START, 40, 3)
REAL = Path(__file__).parents[3] / "shared" / "data"


def columns(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: frame[name].to_numpy() for name in FIELDS}


def epoch_csv(path: Path, frame: pd.DataFrame = BARS, unit: int = 1) -> Path:
    data = {"timestamp": frame.index.asi8 // unit, "datetime": frame.index.strftime("%Y-%m-%d %H:%M:%S")}
    pd.DataFrame(data | columns(frame)).to_csv(path, index=False)
    return path


def text_csv(path: Path, frame: pd.DataFrame = BARS, form: str = "%Y-%m-%d %H:%M:%S") -> Path:
    pd.DataFrame({"timestamp": frame.index.strftime(form)} | columns(frame)).to_csv(path, index=False)
    return path


def freqtrade_feather(path: Path) -> Path:
    data = {"date": BARS.index.as_unit("ns")} | columns(BARS)
    pd.DataFrame(data).to_feather(path)
    return path


def seconds_csv(path: Path) -> Path:
    return epoch_csv(path, unit=1000)


def zoned_csv(path: Path) -> Path:
    return text_csv(path, BARS.tz_convert("Asia/Tokyo"), "%Y-%m-%dT%H:%M:%S%z")


@pytest.mark.parametrize("layout", [epoch_csv, text_csv, freqtrade_feather, seconds_csv, zoned_csv])
def test_layouts_are_recognised_whatever_the_file_is_called(tmp_path, layout):
    found = read_file(layout(tmp_path / "bars.data"), "1h")
    pd.testing.assert_frame_equal(found, BARS, check_freq=False)


def test_rows_in_any_order_and_equal_repetitions_are_fine(tmp_path):
    shuffled = pd.concat([BARS, BARS.iloc[3:9]]).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(read_file(epoch_csv(tmp_path / "x.csv", shuffled), "1h"), BARS, check_freq=False)


def cut(text: str, mark: str, by: int) -> str:
    return text[: text.index(mark) + by]


def break_bar(**changes: object):
    def change(path: Path) -> None:
        frame = pd.read_csv(path, dtype=object)
        for name, value in changes.items():
            frame.loc[7, name] = value
        frame.to_csv(path, index=False)

    return change


BROKEN = {
    "cut inside a row": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "may be cut off"),
    "cut inside the last number": (lambda path: path.write_bytes(path.read_bytes()[:-3]), "may be cut off"),
    "a row with too few fields": (
        lambda path: path.write_text(path.read_text() + f"{START + 40 * HOUR},x,1.0\n"),
        "has nothing where row 41 should have the high",
    ),
    "no bar at all": (lambda path: path.write_text(path.read_text().splitlines()[0] + "\n"), "holds no bars"),
    "nothing": (lambda path: path.write_text(""), "is empty"),
    "no header": (lambda path: path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n"), "has no column"),
    "no volume": (lambda path: path.write_text(path.read_text().replace("volume", "vol")), "no column 'volume'"),
    "bytes": (lambda path: path.write_bytes(b"\x00\xff\x01\n" * 30), "x.csv"),
    "a word as price": (break_bar(close="cheap"), "has 'cheap' where row 8 should have the close"),
    "a missing price": (break_bar(open=""), "has nothing where row 8 should have the open"),
    "a high below the low": (break_bar(high="1.0"), "1 of 40 bars have a high below"),
    "a price of zero": (break_bar(low="0"), "zero or less"),
    "a negative volume": (break_bar(volume="-1"), "zero or less, or a volume below zero"),
    "a time twice": (break_bar(timestamp=str(START)), "2 of 40 bars share|1 of 40 bars share"),
    "a time off the grid": (break_bar(timestamp=str(START + 7 * HOUR + 60_000)), "1 of 40 bars do not open on the 1h"),
    "no time": (break_bar(timestamp=""), "holds no times: row 8 has none"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_a_sentence_and_nothing_is_stored(tmp_path, name):
    change, sentence = BROKEN[name]
    path = epoch_csv(tmp_path / "x.csv")
    change(path)
    lake = Lake(tmp_path / "lake")
    with pytest.raises(DataError, match=sentence):
        import_file(lake, path, "gate", "ETH/USDT", "1h")
    assert lake.list() == []
    assert not list(Path(lake.location).rglob("*"))


def test_a_truncated_feather_is_refused(tmp_path):
    path = freqtrade_feather(tmp_path / "x.feather")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_file(path, "1h")


def test_another_timeframe_than_the_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="do not open on the 1d grid"):
        read_file(epoch_csv(tmp_path / "x.csv"), "1d")


def test_days_labelled_in_another_time_zone_are_refused(tmp_path):
    days = generate("ETH/USDT", "1d", START, 20, 1)
    shifted = days.set_axis(to_index(days.index.asi8 + 5 * HOUR))
    with pytest.raises(DataError, match="another time zone"):
        read_file(epoch_csv(tmp_path / "x.csv", shifted), "1d")


def test_a_second_file_adds_and_corrects(tmp_path):
    lake = Lake(tmp_path / "lake")
    first = import_file(lake, epoch_csv(tmp_path / "a.csv", BARS.iloc[:30]), "gate", "ETH/USDT", "1h")
    assert (first.bars, first.added, first.changed) == (30, 30, 0)
    later = BARS.iloc[20:].copy()
    later.iloc[0, FIELDS.index("volume")] += 1
    second = import_file(lake, epoch_csv(tmp_path / "b.csv", later), "gate", "ETH/USDT", "1h")
    assert (second.bars, second.added, second.changed) == (40, 10, 1)
    assert second.version != first.version
    found = lake.read("gate", "ETH/USDT", "1h")
    pd.testing.assert_frame_equal(found.iloc[:20], BARS.iloc[:20], check_freq=False)
    pd.testing.assert_frame_equal(found.iloc[20:], later, check_freq=False)
    assert lake.list()[0].source == "a.csv, b.csv"
    again = import_file(lake, tmp_path / "b.csv", "gate", "ETH/USDT", "1h", replace=True)
    assert (again.bars, lake.list()[0].source) == (20, "b.csv")


def test_made_up_bars_give_way_to_real_ones_and_never_the_other_way_round(tmp_path):
    lake = Lake(tmp_path / "lake")
    store_generated(lake, "gate", "ETH/USDT", "1h", START, 100, seed=1)
    assert import_file(lake, epoch_csv(tmp_path / "a.csv"), "gate", "ETH/USDT", "1h").bars == 40
    with pytest.raises(Conflict, match=r"from a.csv, and made-up bars never replace those"):
        store_generated(lake, "gate", "ETH/USDT", "1h", START, 100, seed=1)


def test_health_finds_gaps_and_what_is_wrong():
    frame = BARS.drop(BARS.index[[5, 6, 20]])
    health = check_health(frame, "1h")
    assert health.sound
    assert [(gap.after, gap.missing) for gap in health.gaps] == [(START + 4 * HOUR, 2), (START + 19 * HOUR, 1)]
    wrong = pd.concat([BARS, BARS.iloc[[3]]])
    wrong.iloc[8, 3] = np.nan
    assert [problem.code for problem in check_health(wrong, "1h").problems] == ["not_a_number", "duplicate", "order"]


def test_made_up_bars_are_sound_and_the_same_for_the_same_seed():
    frame = generate("BTC/USDT", "1h", START, 5000, 7)
    assert check_health(frame, "1h") == check_health(generate("BTC/USDT", "1h", START, 5000, 7), "1h")
    assert check_health(frame, "1h").sound
    assert not check_health(frame, "1h").gaps
    assert frame.equals(generate("BTC/USDT", "1h", START, 5000, 7))
    assert not frame.equals(generate("BTC/USDT", "1h", START, 5000, 8))
    yearly = np.log(frame["close"]).diff().std() * np.sqrt(365 * 24)
    assert 0.3 < yearly < 1.0
    assert (frame["open"].iloc[1:].to_numpy() == frame["close"].iloc[:-1].to_numpy()).all()


def test_a_feather_of_another_kind_of_table_is_refused(tmp_path):
    feather.write_feather(table({"a": [1.0]}), str(tmp_path / "x.feather"))
    with pytest.raises(DataError, match="no column 'timestamp'"):
        read_file(tmp_path / "x.feather", "1h")


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="the real bars are not there: ../shared/data is missing")
@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "bars", "gaps"),
    [
        ("ETHUSDT_1h.csv", "ETH/USDT", "1h", 53_308, []),
        ("XRPUSDT_1h.csv", "XRP/USDT", "1h", 53_308, []),
        ("BTC_USDT_1h.csv", "BTC/USDT", "1h", 26_292, [2, 7, 1]),
        ("ETH_BTC-5m.feather", "ETH/BTC", "5m", 5_760, []),
    ],
)
def test_real_files_come_in_as_they_are(tmp_path, file, symbol, timeframe, bars, gaps):
    lake = Lake(tmp_path)
    assert import_file(lake, REAL / file, "gate", symbol, timeframe).bars == bars
    health = check_health(lake.read("gate", symbol, timeframe), timeframe)
    assert health.sound
    assert [gap.missing for gap in health.gaps] == gaps
