"""The same lake on a folder, in an object store over a real socket, and in fsspec's memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cashup.errors import DataError, Unavailable, UsageError
from cashup.markets.lake import Lake, content_version
from cashup.markets.synthetic import generate, generate_funding

HOUR = 3_600_000
START = 1_735_689_600_000
WALK = generate("BTC/USDT", "1h", START, 6_000, 1)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, with one bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0)
    server.start()
    _host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("bars")
        yield "s3://bars"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own for each test."""
    name = request.node.name.replace("[", "-").replace("]", "")
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{name}"
    return {"folder": str(tmp_path / "lake"), "file": f"file://{tmp_path / 'lake'}", "memory": f"memory://{name}"}[
        request.param
    ]


def rows(first: int, last: int) -> list[list[float]]:
    return [[START + n * HOUR, *row] for n, row in enumerate(WALK.to_numpy().tolist())][first:last]


def test_a_lake_works_wherever_it_lies(location: str) -> None:
    lake = Lake(location)
    assert lake.list() == []
    with pytest.raises(DataError, match="it has none at all"):
        lake.read("gate", "BTC/USDT", "1h")
    lake.write("gate", "BTC/USDT", "1h", WALK.iloc[:5_000], source="a.csv")
    first = lake.bars("gate", ["BTC/USDT"], "1h", START + 100 * HOUR, warmup=10)
    for start in range(5_000, 5_020):
        lake.append("gate", "1h", {"BTC/USDT": rows(start, start + 1)})
    pd.testing.assert_frame_equal(lake.read("gate", "BTC/USDT", "1h"), WALK.iloc[:5_020], check_freq=False)
    corrected = WALK.copy()
    corrected.iloc[300, 4] += 1
    lake.write("gate", "BTC/USDT", "1h", corrected)
    assert lake.version("gate", "BTC/USDT", "1h") == content_version("gate", "BTC/USDT", "1h", corrected)
    month = lake.bars("gate", ["BTC/USDT"], "1h", START + 1_000 * HOUR, START + 1_700 * HOUR, warmup=30)
    assert (len(month), int(month.times[30])) == (730, START + 1_000 * HOUR)
    again = lake.bars("gate", ["BTC/USDT"], "1h", START + 100 * HOUR, warmup=10, version=first.version)
    assert (again.values == first.values).all()
    assert lake.prune(forget_runs=True)[0] == 1
    assert [(s.symbol, s.bars) for s in Lake(location).list()] == [("BTC/USDT", 6_000)]


def test_what_lies_beside_bars_and_sql_work_wherever_a_lake_lies(location: str) -> None:
    lake = Lake(location)
    lake.write("gate", "BTC/USDT", "1h", WALK.iloc[:50])
    lake.append("gate", "1h", {"BTC/USDT": rows(50, 52)})
    rates = generate_funding("BTC/USDT:USDT", START, START + 99 * HOUR, 1)
    lake.write_series("funding", "gate", "BTC/USDT:USDT", rates)
    assert lake.funding("gate", "BTC/USDT:USDT").tolist() == rates["rate"].tolist()
    found = lake.sql("select count(*) n, sum(volume) v from bars")
    assert found["n"].tolist() == [52]
    assert found["v"].iloc[0] == pytest.approx(WALK["volume"].iloc[:52].sum(), rel=1e-12)
    assert lake.sql("select * from funding").shape == (len(rates), 4)


def test_a_store_that_is_not_there_is_one_sentence(s3: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        Lake("nothing://bucket/lake")
    with pytest.raises((Unavailable, DataError), match=r"cannot be reached|none at all"):
        Lake("s3://no-such-bucket/lake").read("gate", "BTC/USDT", "1h")
