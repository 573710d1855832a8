"""Files as their publishers lay them out; the rows are made up, the layouts are theirs."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from cashup.errors import DataError
from cashup.markets.filenames import guess
from cashup.markets.importer import read_file
from cashup.markets.intake import Wish, take_in
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate, generate_funding

HOUR = 3_600_000
START = 1_735_689_600_000
BARS = generate("BTC/USDT", "1h", START, 30, 3)
TIMES = BARS.index.asi8.tolist()
ROWS = BARS.to_numpy().tolist()
KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def zipped(path: Path, *members: tuple[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return path


def klines(factor: int = 1, first: int = 0, last: int = 30, header: bool = False) -> str:
    lines = [KLINES] * header
    for time, row in list(zip(TIMES, ROWS, strict=True))[first:last]:
        lines.append(",".join(map(str, [time * factor, *row, (time + HOUR) * factor - 1, 9.5, 7, 1.5, 2.5, 0])))
    return "\n".join(lines) + "\n"


def binance_spot(folder: Path) -> Path:
    return zipped(folder / "BTCUSDT-1h-2025-01.zip", ("BTCUSDT-1h-2025-01.csv", klines()))


def binance_micros(folder: Path) -> Path:
    return zipped(folder / "BTCUSDT-1h-2025-01.zip", ("BTCUSDT-1h-2025-01.csv", klines(1_000)))


def binance_futures(folder: Path) -> Path:
    return zipped(folder / "BTCUSDT-1h-2025-01.zip", ("BTCUSDT-1h-2025-01.csv", klines(header=True)))


def binance_two_months(folder: Path) -> Path:
    return zipped(folder / "x.zip", ("a.csv", klines(1, 0, 12)), ("b.csv", klines(1_000, 12, 30)))


def cryptodatadownload(folder: Path) -> Path:
    lines = [
        "https://www.CryptoDataDownload.com",
        "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount",
    ]
    for number, (time, row) in reversed(list(enumerate(zip(TIMES, ROWS, strict=True)))):
        unix = time if number % 2 else time // 1000
        date = pd.Timestamp(time, unit="ms").strftime("%Y-%m-%d %H:%M:%S")
        lines.append(",".join(map(str, [unix, date, "BTCUSDT", *row, row[4] * row[3], 10])))
    path = folder / "Binance_BTCUSDT_1h.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def ccxt_arrays(folder: Path) -> Path:
    path = folder / "candles.json"
    path.write_text(json.dumps([[time, *row] for time, row in zip(TIMES, ROWS, strict=True)]))
    return path


def freqtrade_json(folder: Path) -> Path:
    path = ccxt_arrays(folder)
    return path.rename(folder / "BTC_USDT-1h.json")


def freqtrade_gzip(folder: Path) -> Path:
    path = folder / "BTC_USDT-1h.json.gz"
    path.write_bytes(gzip.compress(ccxt_arrays(folder).read_bytes()))
    return path


def headerless_csv(folder: Path) -> Path:
    path = folder / "candles.csv"
    path.write_text("".join(f"{time},{','.join(map(str, row))}\n" for time, row in zip(TIMES, ROWS, strict=True)))
    return path


def parquet(folder: Path) -> Path:
    BARS.to_parquet(folder / "bars.parquet")
    return folder / "bars.parquet"


@pytest.mark.parametrize(
    "layout",
    [
        *(binance_spot, binance_micros, binance_futures, binance_two_months, cryptodatadownload),
        *(ccxt_arrays, freqtrade_json, freqtrade_gzip, headerless_csv, parquet),
    ],
)
def test_a_layout_is_found_in_the_content(tmp_path, layout):
    path = layout(tmp_path)
    found = read_file(path.rename(tmp_path / "some.file"), "1h")
    pd.testing.assert_frame_equal(found, BARS, check_freq=False, check_index_type=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BTCUSDT-1m-2024-01.zip", (None, "BTC/USDT", "1m", None)),
        ("BTCUSDT-fundingRate-2024-01.zip", (None, "BTC/USDT:USDT", None, "funding")),
        ("BTCUSDT-aggTrades-2024-01-31.zip", (None, "BTC/USDT", None, "trades")),
        ("BTC_USDT-1h.feather", (None, "BTC/USDT", "1h", None)),
        ("binance/BTC_USDT-5m.feather", ("binance", "BTC/USDT", "5m", None)),
        ("okx/futures/BTC_USDT_USDT-8h-funding_rate.feather", ("okx", "BTC/USDT:USDT", "8h", "funding")),
        ("Binance_BTCUSDT_1h.csv", ("binance", "BTC/USDT", "1h", None)),
        ("Bitstamp_ETHUSD_d.csv", ("bitstamp", "ETH/USD", "1d", None)),
        ("ETH_BTC-5m.feather", (None, "ETH/BTC", "5m", None)),
        ("bars.csv", (None, None, None, None)),
        ("x.csv", (None, None, None, None)),
    ],
)
def test_a_name_is_read_as_its_publisher_means_it(name, expected):
    found = guess(Path("/data") / name)
    assert (found.exchange, found.symbol, found.timeframe, found.kind) == expected


def test_what_is_not_said_is_guessed_and_told(tmp_path):
    lake = Lake(tmp_path / "lake")
    taken = take_in(lake, cryptodatadownload(tmp_path), Wish())
    assert (taken.exchange, taken.symbol, taken.timeframe, taken.done.bars) == ("binance", "BTC/USDT", "1h", 30)
    assert taken.guessed == ("exchange binance", "symbol BTC/USDT", "timeframe 1h")
    said = take_in(lake, headerless_csv(tmp_path), Wish(symbol="ETH/USDT"))
    assert (said.exchange, said.symbol, said.timeframe) == ("gate", "ETH/USDT", "1h")
    with pytest.raises(DataError, match=r"does not tell what it is of; add --symbol"):
        take_in(lake, headerless_csv(tmp_path), Wish())


def funding_csv(folder: Path, rates: pd.DataFrame) -> Path:
    lines = ["calc_time,funding_interval_hours,last_funding_rate"]
    lines += [f"{time},8,{rate}" for time, rate in zip(rates.index.asi8, rates["rate"], strict=True)]
    return zipped(folder / "BTCUSDT-fundingRate-2025-01.zip", ("f.csv", "\n".join(lines) + "\n"))


def funding_candles(folder: Path, rates: pd.DataFrame) -> Path:
    data = {"date": rates.index.as_unit("ns"), "open": rates["rate"].to_numpy()}
    path = folder / "BTC_USDT_USDT-8h-funding_rate.feather"
    pd.DataFrame(data | dict.fromkeys(["high", "low", "close", "volume"], 0.0)).to_feather(path)
    return path


def funding_objects(folder: Path, rates: pd.DataFrame) -> Path:
    path = folder / "BTCUSDT_funding.json"
    told = zip(rates.index.asi8.tolist(), rates["rate"].tolist(), strict=True)
    path.write_text(
        json.dumps([{"symbol": "BTC/USDT:USDT", "timestamp": time, "fundingRate": rate} for time, rate in told])
    )
    return path


@pytest.mark.parametrize("layout", [funding_csv, funding_candles, funding_objects])
def test_funding_rates_come_in_beside_bars(tmp_path, layout):
    rates = generate_funding("BTC/USDT:USDT", START, START + 90 * HOUR, 1)
    lake = Lake(tmp_path / "lake")
    taken = take_in(lake, layout(tmp_path, rates), Wish())
    assert (taken.symbol, taken.timeframe, taken.done.added) == ("BTC/USDT:USDT", "funding", len(rates))
    assert lake.funding("gate", "BTC/USDT:USDT").tolist() == rates["rate"].tolist()
    again = take_in(lake, layout(tmp_path, rates), Wish())
    assert (again.done.added, again.done.changed) == (0, 0)


def test_trades_come_in_with_their_sides(tmp_path):
    lake = Lake(tmp_path / "lake")
    path = zipped(
        tmp_path / "BTCUSDT-aggTrades-2025-01.zip", ("t.csv", "7,100.5,0.2,1,1,1735689600000,True,True\n" * 2)
    )
    assert take_in(lake, path, Wish()).done.added == 2
    found = lake.read_series("trades", "gate", "BTC/USDT")
    assert found.to_numpy().tolist() == [[100.5, 0.2, -1.0]] * 2
    json_path = tmp_path / "ETH_USDT-trades.json"
    json_path.write_text(json.dumps([[START, "1", None, "buy", 5.0, 2.0, 10.0]]))
    take_in(lake, json_path, Wish())
    assert lake.read_series("trades", "gate", "ETH/USDT")["side"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.zip", b"PK\x03\x04 and then nothing", "damaged or cut off"),
        ("a.gz", gzip.compress(b"x" * 4_000, mtime=0)[:-20], "damaged or cut off"),
        ("a.json", b"[[1, 2, 3, 4, 5, 6], [1, 2", "no complete JSON"),
        ("a.json", b"[[1, 2, 3]]", "has rows of 3 values; bars have 6"),
        ("a.json", b"{}", "holds no list of rows"),
        ("a.csv", b"a,b\n1,2\n", r"no column 'timestamp' \(it has a, b\); bars come as CSV with a header"),
    ],
)
def test_a_file_that_is_unknown_or_damaged_says_so(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_file(tmp_path / name, "1h")


def test_a_file_is_mended_only_when_asked(tmp_path):
    lake = Lake(tmp_path / "lake")
    wrong = pd.concat([BARS, BARS.iloc[[4]] * 1.5]).reset_index()
    wrong.loc[8, "high"] = 1.0
    path = tmp_path / "BTCUSDT_1h.csv"
    wrong.to_csv(path, index=False)
    with pytest.raises(DataError, match="share their time with another bar"):
        take_in(lake, path, Wish())
    taken = take_in(lake, path, Wish(drop_bad=True, drop_duplicates=True))
    assert [(step.code, step.count) for step in taken.steps] == [("drop_bad", 1), ("drop_duplicates", 1)]
    assert lake.read("gate", "BTC/USDT", "1h")["close"].iloc[4] == BARS["close"].iloc[4] * 1.5
    assert taken.done.bars == 29
