"""A notebook that is run again in a process of its own: what it is told, what it may know, and how it may fail."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import nbformat
import numpy as np
import pytest

from cashup.errors import DataError, NotebookError
from cashup.research.asked import asked
from cashup.research.life_bars import joined, overlaid
from cashup.strategies.bars import Bars

HOUR = 3_600_000
BTC, ETH = "BTC/USDT", "ETH/USDT"

HEAD = 'import os, cashup as cu\nsymbols = ["BTC/USDT"]\nprint("hello")'
CALL = 'run = cu.run(cu.Strategy(target, symbols=symbols, timeframe="1h", warmup=2, rebalance=0.1))'
RISING = "def target(bars):\n    return (bars.close.diff() > 0).astype(float).where(bars.close != 100)"


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[[str], Path]:
    """Write a notebook with this target function."""

    def write(target: str) -> Path:
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (HEAD, target, CALL)])
        nbformat.write(made, tmp_path / "asked.ipynb")
        return tmp_path / "asked.ipynb"

    return write


def bars(closes: list[float]) -> Bars:
    times = np.arange(len(closes), dtype=np.int64) * HOUR
    values = np.array([[close] for close in closes])
    return Bars(times, (BTC,), "1h", np.stack([values + 0.1, values, values, values, values]))


def test_it_is_asked_bar_by_bar_and_nan_keeps(notebook: Callable[[str], Path]) -> None:
    with asked(notebook(RISING), {}) as strategy:
        assert (strategy.about.symbols, strategy.about.warmup, strategy.about.rebalance) == ((BTC,), 2, 0.1)
        found = strategy.rerun(bars([1, 2, 3, 2, 100, 5]), HOUR, 5 * HOUR)
        again = strategy.rerun(bars([1, 2, 1, 2, 3, 5]), 3 * HOUR, 5 * HOUR)
    # Bar 1 has no whole window before it, bar 5 is the last and is not executed any more.
    said = {2 * HOUR: {BTC: Decimal("1.0")}, 3 * HOUR: {BTC: Decimal("0.0")}, 4 * HOUR: {BTC: None}}
    assert found.targets == said
    assert found.series.after(2 * HOUR) == {BTC: Decimal("2.1")}
    assert found.series.after(5 * HOUR) == {}
    assert again.targets == {3 * HOUR: {BTC: Decimal("1.0")}, 4 * HOUR: {BTC: Decimal("1.0")}}


def test_it_knows_no_token_and_no_database(notebook: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("CASHUP_TOKEN", "CASHUP_DATABASE_URL", "CASHUP_REDIS_URL", "AWS_SECRET_ACCESS_KEY")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    looks = (
        "def target(bars):\n"
        "    known = [name for name, value in os.environ.items() if 'secret' in value]\n"
        "    parent = open(f'/proc/{os.getpid()}/environ').read()\n"
        "    return bars.close * 0 + (len(known) + parent.count('=secret'))\n"
    )
    with asked(notebook(looks), {}) as strategy:
        found = strategy.rerun(bars([1, 2, 3, 4]), 0, 4 * HOUR)
    assert {target[BTC] for target in found.targets.values()} == {Decimal("0.0")}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("def target(bars):\n    raise ValueError('no luck')", r"target\(\) raised ValueError .*: no luck"),
        ("def target(bars):\n    os._exit(7)", "ended its process with code 7"),
        ("def target(bars):\n    return 1", "returned a int"),
    ],
)
def test_a_notebook_that_fails_is_one_sentence(notebook: Callable[[str], Path], target: str, said: str) -> None:
    with asked(notebook(target), {}) as strategy, pytest.raises(NotebookError, match=said):
        strategy.rerun(bars([1, 2, 3, 4]), 0, 4 * HOUR)


def test_a_notebook_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="there is no notebook"), asked(tmp_path / "gone.ipynb", {}):
        pass


# -- bars -------------------------------------------------------------------------------------------------------------


def test_bars_of_several_symbols_are_joined_on_their_times() -> None:
    rows = {BTC: {0: [1.0] * 5, HOUR: [2.0] * 5}, ETH: {HOUR: [3.0] * 5, 2 * HOUR: [4.0] * 5}}
    assert joined(rows, "1h", outer=False).close.to_numpy().tolist() == [[2.0, 3.0]]
    assert np.isnan(joined(rows, "1h", outer=True).values[3]).tolist() == [[False, True], [False, False], [True, False]]
    with pytest.raises(DataError, match="no bars of BTC/USDT"):
        joined({BTC: {}}, "1h", outer=False)


def test_what_live_saw_lies_over_what_is_there_today() -> None:
    today = bars([1, 2, 3])
    seen = {int(time): today.values[:, place, 0].tolist() for place, time in enumerate(today.times)}
    assert overlaid(today, {BTC: seen}) == (today, 0, 0)
    assert overlaid(today, {BTC: {}}) == (today, 0, 3)
    other = seen | {HOUR: [2.1, 9.0, 2.0, 9.0, 2.0], 3 * HOUR: [4.0] * 5}
    del other[0]
    then, revised, unrecorded = overlaid(today, {BTC: other})
    assert then.close[BTC].tolist() == [1, 9, 3, 4]
    assert (revised, unrecorded) == (2, 1)
    assert today.close[BTC].tolist() == [1, 2, 3]
