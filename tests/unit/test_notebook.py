from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cashup.errors import NotebookError, WorkFailed
from cashup.strategies.notebook import check_parameters, load_strategy, notebook_hash, read_parameters

PARAMETERS = """\
symbols = ["BTC/USDT"]  # what it trades
timeframe = "1h"
fast = 10  # bars in the fast average
share: float = 0.5
flag = False
later = len("x")
"""
STRATEGY = """\
%matplotlib inline
import cashup as cu

def target(bars, fast):
    return (bars.close > fast).astype(float)

print("loading")
strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=fast, params={"fast": fast})
"""
RUN = """\
try:
    run = cu.run(strategy)
except Exception:
    pass
"""


def write(path: Path, *cells: str, outputs: list | None = None) -> Path:
    first = {"tags": ["parameters"]}
    body = [
        {
            "cell_type": "code",
            "source": source.splitlines(keepends=True),
            "metadata": first if number == 0 else {},
            "outputs": outputs or [],
            "execution_count": None,
        }
        for number, source in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": body, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "demo.ipynb", PARAMETERS, STRATEGY, RUN, "raise AssertionError('never reached')")


def test_the_strategy_is_what_cu_run_was_given(notebook, capsys):
    strategy = load_strategy(notebook)
    assert strategy.symbols == ("BTC/USDT",)
    assert strategy.warmup == 10
    assert load_strategy(notebook, {"fast": 3, "symbols": ["ETH/USDT"]}).params == {"fast": 3}
    assert capsys.readouterr().out == ""


def test_parameters_have_defaults_and_help(notebook):
    parameters = read_parameters(notebook)
    assert list(parameters) == ["symbols", "timeframe", "fast", "share", "flag", "later"]
    assert parameters["fast"].default == 10
    assert parameters["fast"].help == "bars in the fast average"
    assert parameters["share"].default == 0.5
    assert parameters["later"].default is None


def test_a_whole_number_will_do_for_a_float(notebook):
    assert check_parameters(notebook, {"share": 1}) == {"share": 1.0}
    assert check_parameters(notebook, {"later": "anything"}) == {"later": "anything"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"fsat": 1}, "no parameter 'fsat'; did you mean 'fast'"),
        ({"zzz": 1}, "there is fast, flag"),
        ({"fast": "ten"}, "is a whole number .default 10., but 'ten' is text"),
        ({"fast": 1.5}, "but 1.5 is a number"),
        ({"fast": True}, "but True is a truth value"),
        ({"flag": 1}, "is a truth value"),
        ({"symbols": "ETH/USDT"}, r"write \[ETH/USDT\]"),
    ],
)
def test_unknown_or_mistyped_parameters_are_refused(notebook, given, sentence):
    with pytest.raises(NotebookError, match=sentence):
        check_parameters(notebook, given)


def test_the_hash_is_of_sources_only(tmp_path):
    a = write(tmp_path / "a.ipynb", PARAMETERS, STRATEGY)
    b = write(tmp_path / "b.ipynb", PARAMETERS, STRATEGY, outputs=[{"output_type": "stream"}])
    c = write(tmp_path / "c.ipynb", PARAMETERS, STRATEGY + " ")
    assert notebook_hash(a) == notebook_hash(b) != notebook_hash(c)


def test_a_cell_that_raises_is_named(tmp_path):
    path = write(tmp_path / "x.ipynb", PARAMETERS, "\n1 / 0", RUN)
    with pytest.raises(WorkFailed, match=r"cell 2 of x.ipynb raised ZeroDivisionError: division by zero"):
        load_strategy(path)


def test_a_wrong_symbol_keeps_its_hint(notebook):
    with pytest.raises(NotebookError, match="did you mean BTC/USDT"):
        load_strategy(notebook, {"symbols": ["BTCUSDT"]})


def test_a_notebook_without_a_run_is_refused(tmp_path):
    with pytest.raises(NotebookError, match=r"never calls cu.run"):
        load_strategy(write(tmp_path / "x.ipynb", PARAMETERS, STRATEGY))


def test_the_cells_see_their_folder(tmp_path):
    (tmp_path / "mine.py").write_text("warmup = 7\n")
    path = write(tmp_path / "x.ipynb", PARAMETERS, STRATEGY + "from mine import warmup\nstrategy.warmup = warmup", RUN)
    before = Path.cwd()
    assert load_strategy(path).warmup == 7
    assert Path.cwd() == before
    assert os.environ.get("CASHUP_WORKER") is None


@pytest.mark.parametrize("text", ["", "{}", '{"cells": [{}]}', "[1]"])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError, match="is not a notebook"):
        load_strategy(path)


def test_a_missing_notebook_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="there is no notebook"):
        read_parameters(tmp_path / "none.ipynb")
